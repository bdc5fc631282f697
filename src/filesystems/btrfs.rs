//! btrfs on one device, as Linux mounts it where nothing else is said: the default subvolume, and those in it.
//!
//! The format is that of the kernel's `include/uapi/linux/btrfs_tree.h` and of btrfs' own documentation, "On-disk format".
//! Nodes, and content that has checksums, are told only where these are right.

mod chunks;
mod content;
mod entries;
pub(crate) mod format;
mod lzo;
mod nodes;
mod packed;
mod sums;
mod superblock;
mod volumes;

use std::io::{self, Read};

use super::part::Part;
use super::{FileSystem, Inode, InodeKind, LONGEST_PATH, Waiting, damage, find};
use chunks::Chunks;
use content::{Content, File};
use entries::{check_name, entries};
use format::{Key, MINOR_BITS, kind, number, tree};
use nodes::{All, Cursor, Item, Nodes};
use superblock::{Superblock, Told};
use volumes::{Number, Volumes, tree_of};

/// What an inode says whose content has no sums (`BTRFS_INODE_NODATASUM`).
const WITHOUT_SUMS: u64 = 1;

/// A btrfs file system. The number of an inode is its own, and above it that of its subvolume; the one that is mounted has
/// the number 0.
pub struct Btrfs {
    nodes: Nodes,
    volumes: Volumes,
    /// The tree of sums of content.
    sums: Told,
}

impl Btrfs {
    /// The file system in `part`.
    ///
    /// # Errors
    ///
    /// Damage, what imgbuild does not read, and those of reading.
    pub fn load(part: Part) -> io::Result<Btrfs> {
        let superblock = Superblock::load(&part)?;
        let chunks = Chunks::of_array(superblock.device, &superblock.first_chunks)?;
        let mut nodes = Nodes::new(part, chunks, superblock);
        let all = All::of(&nodes, nodes.superblock.chunks, (format::CHUNKS, kind::CHUNK))?;
        for item in all.collect::<io::Result<Vec<Item>>>()? {
            nodes.chunks.add(item.key, item.data())?;
        }
        let volumes = Volumes::load(&nodes)?;
        let sums = tree_of(&nodes, tree::SUMS)?.ok_or_else(|| damage("it has no tree of checksums"))?;
        Ok(Btrfs { nodes, volumes, sums })
    }

    /// All that an inode has of one kind.
    fn all(&self, tree: Told, inode: u64, kind: u8) -> io::Result<All<'_>> {
        All::of(&self.nodes, tree, (inode, kind))
    }

    /// `struct btrfs_inode_item`.
    fn record(&self, tree: Told, inode: u64) -> io::Result<Item> {
        let found = Cursor::near(&self.nodes, tree, Key(inode, kind::INODE, u64::MAX))?.item()?;
        let found = found.filter(|item| (item.key.0, item.key.1) == (inode, kind::INODE));
        found.ok_or_else(|| damage("it has no inode of that number"))
    }

    /// A folder in the place of a subvolume that is not there: the kernel makes one up.
    fn stand_in(&self, tree: Told, root: u64) -> io::Result<Inode> {
        Ok(Inode { mode: 0o755, size: 0, links: 1, ..inode(self.record(tree, root)?.data())? })
    }
}

impl FileSystem for Btrfs {
    fn uuid(&self) -> String {
        super::uuid(&self.nodes.superblock.uuid)
    }

    fn label(&self) -> String {
        self.nodes.superblock.label.clone()
    }

    fn root(&self) -> u64 {
        self.volumes.root()
    }

    fn roots(&self) -> Vec<u64> {
        std::iter::once(self.root()).chain(self.volumes.all()).collect()
    }

    fn mounted(&self, options: &str) -> io::Result<Option<u64>> {
        let said =
            |name: &str| options.split(',').find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
        match (said("subvolid"), said("subvol")) {
            // The one that all others are in has two numbers.
            (Some("0"), _) => Ok(self.volumes.of_id(tree::FILES)),
            (Some(id), _) => Ok(id.parse().ok().and_then(|id| self.volumes.of_id(id))),
            (None, Some(path)) => match self.volumes.of_id(tree::FILES) {
                Some(top) => Ok(find(self, top, path.as_bytes())?.map(|(number, _)| number)),
                None => Ok(None),
            },
            (None, None) => Ok(Some(self.root())),
        }
    }

    fn inode(&self, number: u64) -> io::Result<Inode> {
        match self.volumes.of_number(number)? {
            Number::Inode { tree, inode: of } => inode(self.record(tree, of)?.data()),
            Number::Empty { tree, root } => self.stand_in(tree, root),
        }
    }

    fn names(&self, folder: u64) -> io::Result<Vec<(Vec<u8>, u64)>> {
        if self.inode(folder)?.kind != InodeKind::Directory {
            return Err(damage("an inode that has to be a folder is none"));
        }
        let Number::Inode { tree, inode } = self.volumes.of_number(folder)? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for item in self.all(tree, inode, kind::DIR_INDEX)? {
            for entry in entries(item?.data())? {
                check_name(entry.name)?;
                names.push((entry.name.to_vec(), self.volumes.number(folder, entry.location, entry.name)?));
            }
        }
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(damage("a folder has a name twice"));
        }
        Ok(names)
    }

    fn xattrs(&self, number: u64) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let Number::Inode { tree, inode } = self.volumes.of_number(number)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for item in self.all(tree, inode, kind::XATTR)? {
            // Names stand there whole, and access lists as programs see them.
            for entry in entries(item?.data())? {
                found.push((entry.name.to_vec(), entry.value.to_vec()));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn content(&self, of: u64) -> io::Result<Box<dyn Read + '_>> {
        let Number::Inode { tree, inode: own } = self.volumes.of_number(of)? else {
            return Err(damage("a folder has no content"));
        };
        let record = self.record(tree, own)?;
        let told = inode(record.data())?;
        if told.kind == InodeKind::Symlink && told.size > LONGEST_PATH {
            return Err(damage("a symbolic link in it is longer than any path can be"));
        }
        if ![InodeKind::Regular, InodeKind::Symlink].contains(&told.kind) {
            return Err(damage("what is no file has no content"));
        }
        let has_sums = number(record.data(), 64, 8)? & WITHOUT_SUMS == 0;
        let file = File { tree, inode: own, size: told.size, sums: has_sums.then_some(self.sums) };
        Ok(Box::new(Content::new(&self.nodes, file)?))
    }

    fn waiting(&self) -> Option<Waiting> {
        let has_log = self.nodes.superblock.has_log;
        has_log.then_some(Waiting { place: "its log", way_out: "mount it once, and unmount it" })
    }
}

/// What `struct btrfs_inode_item` says.
fn inode(record: &[u8]) -> io::Result<Inode> {
    // Each is a field of 32 bits.
    let half = |at| number(record, at, 4).map(|number| number as u32);
    let (mode, device) = (half(52)?, half(56)?);
    Ok(Inode {
        kind: InodeKind::of_mode(mode, (device >> MINOR_BITS, device & ((1 << MINOR_BITS) - 1)))?,
        mode: mode & 0o7777,
        uid: half(44)?,
        gid: half(48)?,
        mtime: number(record, 136, 8)?.cast_signed(),
        size: number(record, 16, 8)?,
        links: half(40)?,
    })
}

#[cfg(test)]
mod tests;
