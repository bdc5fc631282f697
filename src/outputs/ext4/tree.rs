//! The image as ext4 sees it: inodes, and the names that directories have for them.

use std::borrow::Cow;
use std::collections::HashMap;

use super::directory::{self, Name};
use super::geometry::{BLOCK, FIRST_INODES};
use super::xattr::Packed;
use crate::fault::Fault;
use crate::layer::{Entry, EntryPath, Kind, Merged};
use crate::outputs::files::{check_kind, file_type_of};
use crate::outputs::unfit;

/// A symbolic link up to this stands in its inode: bytes.
const SHORT_LINK: usize = 59;
/// Names of one file at most.
const MOST_LINKS: u64 = 65_000;
/// Blocks that `lost+found` has at least, so that e2fsck(8) need not look for any.
const LOST_BLOCKS: u64 = 4;

/// The inodes of a file system, but for its own.
#[derive(Debug)]
pub struct Tree<'a> {
    /// The root, `lost+found` unless the image has something else of that name, and all others in the order of their
    /// paths.
    pub items: Vec<Item<'a>>,
    /// Names of what is not there.
    astray: Vec<&'a Entry>,
}

/// An inode.
#[derive(Debug)]
pub struct Item<'a> {
    /// What the image says of it.
    pub entry: Cow<'a, Entry>,
    /// The layer that it came from.
    pub layer: usize,
    /// The directory that it is in, by its number in the tree.
    pub parent: usize,
    /// How many names it has; a directory with `.` and those in the directories inside.
    pub links: u64,
    /// In a directory: the names, and what they are of, by its number in the tree.
    pub names: Vec<(&'a [u8], usize)>,
    /// Blocks of what is in it.
    pub content: u64,
    /// Whether some extended attributes are in a block of their own.
    pub xattr_block: bool,
}

/// Where in a tree the root is; and, where it is a directory, `lost+found`.
const ROOT: usize = 0;
const LOST: usize = 1;
const LOST_NAME: &[u8] = b"lost+found";

impl<'a> Tree<'a> {
    /// That of `merged`; what is not in there is of `epoch`.
    ///
    /// # Errors
    ///
    /// What ext4 cannot have.
    pub fn of(merged: &'a Merged, epoch: i64) -> Result<Tree<'a>, Fault> {
        let mut tree = Tree { items: Vec::with_capacity(merged.len() + 1), astray: Vec::new() };
        tree.begin(merged, epoch);
        tree.fill(merged, epoch);
        tree.measure();
        tree.check()?;
        Ok(tree)
    }

    /// Adds the root and `lost+found`. What else the image calls so is left as it is: `e2fsck` can do without.
    fn begin(&mut self, merged: &'a Merged, epoch: i64) {
        let root = EntryPath::root();
        let lost = root.join(LOST_NAME);
        for (path, mode) in [(root, 0o755), (lost, 0o700)] {
            match merged.get(&path) {
                Some(node) if node.entry.kind == Kind::Directory => {
                    self.add(Cow::Borrowed(&node.entry), node.layer, (ROOT, LOST_NAME));
                }
                Some(_) => {}
                None => {
                    let entry = Entry { mode, ..Entry::passage(path, epoch) };
                    self.add(Cow::Owned(entry), 0, (ROOT, LOST_NAME));
                }
            }
        }
    }

    /// Adds all others.
    fn fill(&mut self, merged: &'a Merged, epoch: i64) {
        let root = EntryPath::root();
        let mut linked: HashMap<&EntryPath, usize> = merged
            .nodes()
            .filter_map(
                |node| if let Kind::Hardlink(target) = &node.entry.kind { Some((target, 0)) } else { None },
            )
            .collect();
        let mut links = Vec::new();
        let mut open = vec![(root, ROOT)];
        for node in merged.nodes().filter(|node| !node.entry.path.is_root() && !node.entry.is_whiteout()) {
            let (entry, path) = (&node.entry, &node.entry.path);
            let (parent, name) = self.folder(path, &mut open, epoch);
            if let Kind::Hardlink(target) = &entry.kind {
                links.push((parent, name, target, entry));
                continue;
            }
            let number = match is_lost_and_found(entry) {
                true => LOST,
                false => self.add(Cow::Borrowed(entry), node.layer, (parent, name)),
            };
            if entry.kind == Kind::Directory {
                open.push((path.clone(), number));
            } else if let Some(known) = linked.get_mut(path) {
                *known = number;
            }
        }
        for (parent, name, target, entry) in links {
            match linked.get(target) {
                Some(number) if *number > ROOT => self.name(*number, (parent, name)),
                _ => self.astray.push(entry),
            }
        }
    }

    /// The directory that `path` is in, which is the last of those that are `open` or made now, and its name in there.
    fn folder(
        &mut self,
        path: &'a EntryPath,
        open: &mut Vec<(EntryPath, usize)>,
        epoch: i64,
    ) -> (usize, &'a [u8]) {
        loop {
            let (folder, number) =
                open.last().map_or((EntryPath::root(), ROOT), |(path, at)| (path.clone(), *at));
            let Some(below) = path.below(&folder) else {
                open.pop();
                continue;
            };
            let Some(end) = below.iter().position(|byte| *byte == b'/') else { return (number, below) };
            let name = below.get(..end).unwrap_or_default();
            let missing = folder.join(name);
            let entry = Cow::Owned(Entry::passage(missing.clone(), epoch));
            let made = self.add(entry, 0, (number, name));
            open.push((missing, made));
        }
    }

    fn add(&mut self, entry: Cow<'a, Entry>, layer: usize, (parent, name): (usize, &'a [u8])) -> usize {
        let number = self.items.len();
        let is_folder = entry.kind == Kind::Directory;
        let (names, content, xattr_block) = (Vec::new(), 0, false);
        let links = u64::from(is_folder);
        self.items.push(Item { entry, layer, parent, links, names, content, xattr_block });
        if let (true, Some(parent)) = (is_folder, self.items.get_mut(parent)) {
            // Its `..`.
            parent.links += 1;
        }
        if number == ROOT {
            // The root has no name; but it is its own parent.
            return number;
        }
        self.name(number, (parent, name));
        number
    }

    /// Gives an item a name.
    fn name(&mut self, number: usize, (parent, name): (usize, &'a [u8])) {
        if let Some(parent) = self.items.get_mut(parent) {
            parent.names.push((name, number));
        }
        if let Some(item) = self.items.get_mut(number) {
            item.links += 1;
        }
    }

    fn measure(&mut self) {
        for item in &mut self.items {
            item.content = match &item.entry.kind {
                Kind::File { size, .. } => size.div_ceil(BLOCK),
                Kind::Symlink(target) => u64::from(target.len() > SHORT_LINK),
                Kind::Directory => {
                    let least = if is_lost_and_found(&item.entry) { LOST_BLOCKS } else { 1 };
                    directory::blocks(item.names.iter().map(|(name, _)| *name), least)
                }
                _ => 0,
            };
            item.xattr_block = Packed::of(&item.entry.xattrs).is_ok_and(|packed| packed.block.is_some());
        }
    }

    /// How many blocks all contents take at least.
    pub fn blocks(&self) -> u64 {
        let blocks = |item: &Item<'_>| item.content.saturating_add(item.xattr_block.into());
        self.items.iter().map(blocks).fold(0, u64::saturating_add)
    }

    /// How many inodes are used, with those that are never a file's.
    pub fn inodes(&self) -> u64 {
        FIRST_INODES + self.items.len() as u64 - 2
    }

    /// The names of a directory, as they are written.
    pub fn names(&self, item: &Item<'a>) -> Vec<Name<'a>> {
        let name = |(bytes, of): &(&'a [u8], usize)| {
            let kind = self.items.get(*of).map(|item| &item.entry.kind);
            Name { bytes, inode: inode_of(*of), of: kind.map_or(0, file_type_of) }
        };
        item.names.iter().map(name).collect()
    }

    /// Finds what ext4 cannot have.
    fn check(&self) -> Result<(), Fault> {
        let of_items = self.items.iter().filter_map(|item| Some((&item.entry.path, item.check().err()?)));
        let astray =
            self.astray.iter().map(|entry| (&entry.path, "it is a link to no file that is there".into()));
        unfit::check("an ext4 file system", of_items.chain(astray))
    }
}

fn is_lost_and_found(entry: &Entry) -> bool {
    entry.kind == Kind::Directory && entry.path.as_bytes() == LOST_NAME
}

impl Item<'_> {
    /// Why ext4 cannot have it, if so.
    fn check(&self) -> Result<(), String> {
        Packed::of(&self.entry.xattrs).map_err(|why| format!("of its extended attributes, {why}"))?;
        check_kind(&self.entry.kind, BLOCK as usize - 1, (12, 20))?;
        let why = match &self.entry.kind {
            Kind::File { .. } if self.content > u32::MAX.into() => "a file has less than 16 TiB",
            Kind::File { .. } if self.links > MOST_LINKS => "a file has up to 65000 names",
            _ => return Ok(()),
        };
        Err(why.into())
    }

    /// The number of links that its inode has: a directory with more than there can be has 1 (`dir_nlink`).
    pub fn told_links(&self) -> u64 {
        if self.links > MOST_LINKS { 1 } else { self.links }
    }

    /// The target of a symbolic link that stands in the inode.
    pub fn short_link(&self) -> Option<&[u8]> {
        match &self.entry.kind {
            Kind::Symlink(target) if target.len() <= SHORT_LINK => Some(target),
            _ => None,
        }
    }
}

/// The number of an item's inode.
pub fn inode_of(number: usize) -> u64 {
    match number {
        ROOT => 2,
        number => FIRST_INODES + number as u64 - 1,
    }
}

/// The item whose inode has that number, if it can have one.
pub fn item_of(inode: u64) -> Option<usize> {
    match inode {
        2 => Some(ROOT),
        inode => usize::try_from(inode.checked_sub(FIRST_INODES)?).ok().map(|number| number + 1),
    }
}
