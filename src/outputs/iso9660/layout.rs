//! Where everything lies in the volume, and everything of it but the contents.
//!
//! From the front: the system area (zeros), the volume descriptors, the path tables, the primary directories and what
//! their records have no room for, Joliet's directories, one sector that empty files point at, and the contents in
//! the order of the paths.

use super::Content;
use super::descriptor::{Descriptor, terminator};
use super::field::{SECTOR, sectors};
use super::hierarchy::{Encoded, Hierarchy, Places};
use super::names::Dialect;
use super::record::Extent;
use super::tree::{Body, ROOT, Tree};

/// A volume that is ready to be written.
pub(super) struct Layout<'a> {
    /// All sectors before the contents.
    pub metadata: Vec<u8>,
    /// What follows them, each filled up to whole sectors.
    pub contents: Vec<&'a Content>,
    sectors: u32,
}

const DESCRIPTORS: u32 = 16;
const DESCRIPTOR_COUNT: u32 = 3;

impl<'a> Layout<'a> {
    /// The layout of `tree`.
    pub(super) fn new(tree: &'a Tree<'a>) -> Layout<'a> {
        let mut next = Sectors(DESCRIPTORS + DESCRIPTOR_COUNT);
        let hierarchies = [Dialect::Primary, Dialect::Joliet].map(|dialect| Hierarchy::new(tree, dialect));
        let path_tables = hierarchies.each_ref().map(|hierarchy| PathTables::place(hierarchy, &mut next));
        let [primary, joliet] = hierarchies;
        let [primary_tables, joliet_tables] = path_tables;
        let parts = [
            Part::place(primary, primary_tables, tree, &mut next),
            Part::place(joliet, joliet_tables, tree, &mut next),
        ];
        let nothing = next.take(SECTOR as u64);
        let contents = place_contents(tree, nothing, &mut next);
        Layout {
            metadata: metadata(tree, parts, &contents, next.0),
            contents: files(tree).map(|(_, content)| content).collect(),
            sectors: next.0,
        }
    }

    /// The bytes of the whole volume.
    pub(super) fn size(&self) -> u64 {
        u64::from(self.sectors) * SECTOR as u64
    }
}

/// Everything before the contents, in the order in which the places were given out.
fn metadata(tree: &Tree, parts: [Part; 2], contents: &[u32], volume: u32) -> Vec<u8> {
    let mut bytes = vec![0; DESCRIPTORS as usize * SECTOR];
    for part in &parts {
        bytes.extend(part.descriptor(tree, volume).encode());
    }
    bytes.extend(terminator());
    for Part { hierarchy, directories, .. } in &parts {
        extend(&mut bytes, &hierarchy.path_table(directories, u32::to_le_bytes, u16::to_le_bytes));
        extend(&mut bytes, &hierarchy.path_table(directories, u32::to_be_bytes, u16::to_be_bytes));
    }
    for Part { hierarchy, directories, continuation, .. } in parts {
        let encoded = hierarchy.encode(&Places { directories, continuation, contents });
        encoded.directories.iter().for_each(|directory| extend(&mut bytes, directory));
        extend(&mut bytes, &encoded.continuation);
    }
    extend(&mut bytes, &[0; SECTOR]);
    bytes
}

/// The next free sector. That no volume outgrows 32 bits is the tree's promise.
struct Sectors(u32);

impl Sectors {
    /// The first of the sectors for `bytes`.
    fn take(&mut self, bytes: u64) -> u32 {
        let first = self.0;
        self.0 += sectors(bytes) as u32;
        first
    }
}

struct PathTables {
    low_first: Extent,
    high_first: u32,
}

impl PathTables {
    fn place(hierarchy: &Hierarchy, next: &mut Sectors) -> PathTables {
        let nowhere = vec![Extent::default(); hierarchy.len()];
        let length = hierarchy.path_table(&nowhere, u32::to_le_bytes, u16::to_le_bytes).len() as u32;
        let [sector, high_first] = [next.take(length.into()), next.take(length.into())];
        PathTables { low_first: Extent { sector, length }, high_first }
    }
}

/// A hierarchy and its places.
struct Part<'a> {
    hierarchy: Hierarchy<'a>,
    path_tables: PathTables,
    directories: Vec<Extent>,
    continuation: u32,
}

impl<'a> Part<'a> {
    /// Encodes the directories once with places that are not true yet, for their lengths.
    fn place(hierarchy: Hierarchy<'a>, path_tables: PathTables, tree: &Tree, next: &mut Sectors) -> Part<'a> {
        let directories = vec![Extent::default(); hierarchy.len()];
        let contents = vec![0; tree.entries.len()];
        let Encoded { directories, continuation } =
            hierarchy.encode(&Places { directories, continuation: 0, contents: &contents });
        let extent = |directory: &Vec<u8>| {
            let length = directory.len() as u32;
            Extent { sector: next.take(length.into()), length }
        };
        let directories = directories.iter().map(extent).collect();
        Part { hierarchy, path_tables, directories, continuation: next.take(continuation.len() as u64) }
    }

    fn descriptor<'t>(&self, tree: &Tree<'t>, volume: u32) -> Descriptor<'t> {
        Descriptor {
            dialect: self.hierarchy.dialect,
            label: tree.label,
            epoch: tree.epoch,
            volume,
            path_tables: (self.path_tables.low_first, self.path_tables.high_first),
            root: self.directories[0],
            root_mtime: tree.entries[ROOT].mtime,
        }
    }
}

/// Each entry's first sector; what is empty lies at `nothing`, for readers that check extents of no length too.
fn place_contents(tree: &Tree, nothing: u32, next: &mut Sectors) -> Vec<u32> {
    let mut places = vec![nothing; tree.entries.len()];
    for (entry, content) in files(tree).filter(|(_, content)| content.size() > 0) {
        places[entry] = next.take(content.size());
    }
    places
}

/// The files, in the order in which their contents lie.
fn files<'a>(tree: &'a Tree<'a>) -> impl Iterator<Item = (usize, &'a Content)> {
    tree.entries.iter().enumerate().filter_map(|(number, entry)| match entry.body {
        Body::File(content) => Some((number, content)),
        _ => None,
    })
}

/// Adds `bytes` as whole sectors.
fn extend(metadata: &mut Vec<u8>, bytes: &[u8]) {
    metadata.extend(bytes);
    metadata.resize(metadata.len().next_multiple_of(SECTOR), 0);
}
