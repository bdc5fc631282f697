//! One of the two directory hierarchies: its names, its order, its directories' records, its path tables.

use super::names::Dialect;
use super::record::{self, DIRECTORY, Extent, MULTI_EXTENT, PARENT, Record, SELF, sections, system_use_room};
use super::rock_ridge::{self, Attributes, Continuation};
use super::tree::{Body, Entry, ROOT, Tree};

/// The directories of a tree, in the order of the path table (ECMA-119, 6.9.1): by level, then by their parents'
/// order, then by name.
pub(super) struct Hierarchy<'a> {
    pub dialect: Dialect,
    tree: &'a Tree<'a>,
    directories: Vec<Directory>,
}

struct Directory {
    /// Its number in the tree.
    entry: usize,
    /// The place of the directory it stands in.
    parent: usize,
    identifier: Vec<u8>,
    /// What is in it, in the standard's order.
    children: Vec<Child>,
}

struct Child {
    /// Its number in the tree.
    entry: usize,
    identifier: Vec<u8>,
    /// Its place among the directories, if it is one.
    directory: Option<usize>,
}

/// Where everything lies that records point at.
pub(super) struct Places<'a> {
    /// Each directory's extent, in the hierarchy's order.
    pub directories: Vec<Extent>,
    /// The first sector of what records have no room for.
    pub continuation: u32,
    /// Each tree entry's first sector of content.
    pub contents: &'a [u32],
}

/// The sectors of a hierarchy.
pub(super) struct Encoded {
    /// Each directory's, in the hierarchy's order.
    pub directories: Vec<Vec<u8>>,
    /// What their records have no room for.
    pub continuation: Vec<u8>,
}

impl<'a> Hierarchy<'a> {
    /// The hierarchy of `tree` in `dialect`.
    pub(super) fn new(tree: &'a Tree<'a>, dialect: Dialect) -> Hierarchy<'a> {
        let root = Directory { entry: ROOT, parent: 0, identifier: SELF.to_vec(), children: Vec::new() };
        let mut directories = vec![root];
        let mut at = 0;
        while at < directories.len() {
            let mut children = children(tree, dialect, directories[at].entry);
            for child in children.iter_mut().filter(|child| tree.entries[child.entry].is_directory()) {
                child.directory = Some(directories.len());
                let identifier = child.identifier.clone();
                directories.push(Directory {
                    entry: child.entry,
                    parent: at,
                    identifier,
                    children: Vec::new(),
                });
            }
            directories[at].children = children;
            at += 1;
        }
        Hierarchy { dialect, tree, directories }
    }

    /// How many directories there are.
    pub(super) fn len(&self) -> usize {
        self.directories.len()
    }

    /// The sectors of all directories. How long they are does not depend on `places`.
    pub(super) fn encode(&self, places: &Places) -> Encoded {
        let continuation = Continuation { sector: places.continuation, bytes: Vec::new() };
        let mut encoder = Encoder { hierarchy: self, places, continuation };
        let directories = (0..self.len()).map(|number| record::pack(&encoder.records(number))).collect();
        Encoded { directories, continuation: encoder.continuation.bytes }
    }

    /// The path table (ECMA-119, 9.4); `number_u32` and `number_u16` decide the order of its bytes.
    pub(super) fn path_table(
        &self,
        extents: &[Extent],
        number_u32: fn(u32) -> [u8; 4],
        number_u16: fn(u16) -> [u8; 2],
    ) -> Vec<u8> {
        let mut table = Vec::new();
        for (directory, extent) in self.directories.iter().zip(extents) {
            table.extend([directory.identifier.len() as u8, 0]);
            table.extend(number_u32(extent.sector));
            table.extend(number_u16(directory.parent as u16 + 1));
            table.extend(&directory.identifier);
            table.resize(table.len().next_multiple_of(2), 0);
        }
        table
    }
}

/// What is in the directory of number `entry`.
fn children(tree: &Tree, dialect: Dialect, entry: usize) -> Vec<Child> {
    let is_said =
        |entry: &usize| dialect == Dialect::Primary || !matches!(tree.entries[*entry].body, Body::Symlink(_));
    let entries: Vec<usize> = tree.children(entry).iter().copied().filter(is_said).collect();
    let siblings: Vec<(&str, bool)> = entries
        .iter()
        .map(|entry| (tree.entries[*entry].name, tree.entries[*entry].is_directory()))
        .collect();
    let mut named: Vec<_> = dialect.names(&siblings).into_iter().zip(entries).collect();
    named.sort_by_cached_key(|(name, _)| name.order());
    let child = |(name, entry)| Child { entry, identifier: dialect.identifier(&name), directory: None };
    named.into_iter().map(child).collect()
}

/// Makes the records of a hierarchy, directory by directory.
struct Encoder<'a> {
    hierarchy: &'a Hierarchy<'a>,
    places: &'a Places<'a>,
    continuation: Continuation,
}

impl Encoder<'_> {
    fn records(&mut self, number: usize) -> Vec<Vec<u8>> {
        let Directory { entry, parent, children, .. } = &self.hierarchy.directories[number];
        let above = self.hierarchy.directories[*parent].entry;
        let extents = &self.places.directories;
        let mut records = vec![
            self.record(*entry, SELF, extents[number], DIRECTORY),
            self.record(above, PARENT, extents[*parent], DIRECTORY),
        ];
        for Child { entry, identifier, directory } in children {
            match directory {
                Some(number) => records.push(self.record(*entry, identifier, extents[*number], DIRECTORY)),
                None => records.extend(self.file_records(*entry, identifier)),
            }
        }
        records
    }

    fn file_records(&mut self, entry: usize, identifier: &[u8]) -> Vec<Vec<u8>> {
        let size = self.hierarchy.tree.entries[entry].size();
        let mut sections = sections(self.places.contents[entry], size).peekable();
        let mut records = Vec::new();
        while let Some(extent) = sections.next() {
            let flags = if sections.peek().is_some() { MULTI_EXTENT } else { 0 };
            records.push(self.record(entry, identifier, extent, flags));
        }
        records
    }

    fn record(&mut self, entry: usize, identifier: &[u8], extent: Extent, flags: u8) -> Vec<u8> {
        let system_use = match self.hierarchy.dialect {
            Dialect::Primary => {
                let entries = rock_ridge(self.hierarchy.tree, entry, identifier);
                self.continuation.place(&entries, system_use_room(identifier))
            }
            Dialect::Joliet => Vec::new(),
        };
        let mtime = self.hierarchy.tree.entries[entry].mtime;
        Record { identifier, extent, mtime, flags, system_use: &system_use }.encode()
    }
}

/// What Rock Ridge says in the record `identifier` of an entry.
fn rock_ridge(tree: &Tree, entry: usize, identifier: &[u8]) -> Vec<Vec<u8>> {
    let mut entries = Vec::from(rock_ridge::attributes(&attributes(tree, entry)));
    match identifier {
        SELF if entry == ROOT => {
            entries.insert(0, rock_ridge::sharing_protocol());
            entries.push(rock_ridge::extension_reference());
        }
        SELF | PARENT => {}
        _ => {
            let Entry { name, body, .. } = &tree.entries[entry];
            entries.extend(rock_ridge::name(name));
            if let Body::Symlink(target) = body {
                entries.extend(rock_ridge::link(target));
            }
        }
    }
    entries
}

fn attributes(tree: &Tree, number: usize) -> Attributes {
    let entry = &tree.entries[number];
    let (kind, links) = match &entry.body {
        Body::Directory(children) => {
            let below = children.iter().filter(|child| tree.entries[**child].is_directory()).count();
            (0o040_000, 2 + below as u32)
        }
        Body::File(_) => (0o100_000, 1),
        Body::Symlink(_) => (0o120_000, 1),
    };
    Attributes { mode: kind | entry.mode, links, serial: number as u32 + 1, mtime: entry.mtime }
}
