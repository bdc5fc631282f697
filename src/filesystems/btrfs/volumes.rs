//! Subvolumes: trees of files, each with inodes of its own, in folders of each other. And their numbers, made one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::entries::entries;
use super::format::{DEFAULT, Key, kind, name_hash, number, slice, tree};
use super::nodes::{Cursor, Nodes};
use super::superblock::Told;
use crate::filesystems::{damage, unread};

/// Bits of an inode's number in its own subvolume, below those that say which one that is.
const BITS: u32 = 44;
/// More subvolumes than that have no numbers.
const MOST: usize = 1 << 19;
/// Stands in the number of a folder that is empty because the subvolume that it is of is not there, as in a snapshot.
const STANDS_EMPTY: u64 = 1 << 63;

/// All subvolumes.
#[derive(Debug)]
pub struct Volumes {
    /// The one that all others are in is the first.
    volumes: Vec<Volume>,
    /// The position of the one that is mounted where nothing else is said.
    mounted: usize,
    /// Where they are in each other: which of them, and what it is called there.
    inner: BTreeMap<(u64, u64), Place>,
}

#[derive(Debug)]
struct Volume {
    id: u64,
    root: Told,
    /// The inode of its root.
    folder: u64,
}

/// Where a subvolume is in another.
#[derive(Debug)]
struct Place {
    folder: u64,
    name: Vec<u8>,
    /// Which of them all it is.
    volume: usize,
}

/// What a number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// An inode of a subvolume's tree.
    Inode { tree: Told, inode: u64 },
    /// The place of a subvolume that is not there, in a tree whose root is that inode.
    Empty { tree: Told, root: u64 },
}

impl Volumes {
    /// Those that are in each other from the first one on.
    ///
    /// # Errors
    ///
    /// Damage, and those of reading.
    pub fn load(nodes: &Nodes) -> io::Result<Volumes> {
        let mounted = default(nodes)?;
        let references = references(nodes)?;
        let mut known = BTreeSet::from([tree::FILES]);
        let first = volume(nodes, tree::FILES)?.ok_or_else(|| damage("it has no tree of files"))?;
        let mut found = Volumes { volumes: vec![first], mounted: 0, inner: BTreeMap::new() };
        let mut next = 0;
        while let Some(outer) = found.volumes.get(next).map(|volume| volume.id) {
            for ((_, inner), (folder, name)) in references.range((outer, 0)..=(outer, u64::MAX)) {
                if !known.insert(*inner) {
                    return Err(damage("a subvolume of it is at two places"));
                }
                let Some(volume) = volume(nodes, *inner)? else { continue };
                let place = Place { folder: *folder, name: name.clone(), volume: found.volumes.len() };
                found.inner.insert((outer, *inner), place);
                found.volumes.push(volume);
            }
            next += 1;
        }
        if found.volumes.len() > MOST {
            return Err(unread("it has more than 500,000 subvolumes"));
        }
        let position = found.volumes.iter().position(|volume| volume.id == mounted);
        found.mounted = position.ok_or_else(|| damage("the subvolume that is mounted is not there"))?;
        Ok(found)
    }

    /// The number of the root.
    pub fn root(&self) -> u64 {
        self.folder(self.mounted).unwrap_or_default()
    }

    /// The numbers of the roots of all subvolumes, an outer one in front of those in it.
    pub fn all(&self) -> impl Iterator<Item = u64> {
        (0..self.volumes.len()).filter_map(|position| self.folder(position))
    }

    /// The number of the root of the subvolume of that object.
    pub fn of_id(&self, id: u64) -> Option<u64> {
        self.folder(self.volumes.iter().position(|volume| volume.id == id)?)
    }

    fn folder(&self, position: usize) -> Option<u64> {
        let volume = self.volumes.get(position)?;
        // It was looked at when its own was read.
        whole(position as u64, volume.folder).ok()
    }

    /// What a number stands for.
    ///
    /// # Errors
    ///
    /// One that was never told.
    pub fn of_number(&self, number: u64) -> io::Result<Number> {
        let is_empty = number & STANDS_EMPTY != 0;
        let volume = (number & !STANDS_EMPTY) >> BITS;
        let volume =
            self.volumes.get(volume as usize).ok_or_else(|| damage("it has no inode of that number"))?;
        let (tree, inode) = (volume.root, number & ((1 << BITS) - 1));
        Ok(if is_empty { Number::Empty { tree, root: volume.folder } } else { Number::Inode { tree, inode } })
    }

    /// The number of what a folder, whose own one is `folder`, has under `name`.
    ///
    /// # Errors
    ///
    /// What points to nothing; an inode whose number is too large.
    pub fn number(&self, folder: u64, location: Key, name: &[u8]) -> io::Result<u64> {
        let (outer, inode) = (folder >> BITS, folder & ((1 << BITS) - 1));
        match location {
            Key(inner, kind::INODE, _) => whole(outer, inner),
            Key(inner, kind::ROOT, _) => {
                let id = self.volumes.get(outer as usize).map_or(0, |volume| volume.id);
                let place = self.inner.get(&(id, inner));
                // Only the place that the tree of all trees tells is its own; elsewhere the kernel shows an empty folder.
                let place = place.filter(|place| place.folder == inode && place.name == name);
                match place.and_then(|place| Some((place.volume, self.volumes.get(place.volume)?))) {
                    Some((number, volume)) => whole(number as u64, volume.folder),
                    None => Ok(STANDS_EMPTY | whole(outer, inner)?),
                }
            }
            _ => Err(damage("a name in a folder stands for nothing that there is")),
        }
    }
}

/// The number of an inode of a subvolume.
fn whole(volume: u64, inode: u64) -> io::Result<u64> {
    if inode >> BITS != 0 {
        return Err(unread("an inode of it has a number that is larger than imgbuild can tell"));
    }
    Ok(volume << BITS | inode)
}

/// The subvolume that is mounted where nothing else is said: the tree of all trees has a folder that says so.
fn default(nodes: &Nodes) -> io::Result<u64> {
    let key = Key(nodes.superblock.directory, kind::DIR_ITEM, name_hash(DEFAULT));
    let found = Cursor::near(nodes, nodes.superblock.roots, key)?.item()?;
    let Some(item) = found.filter(|item| item.key == key) else { return Ok(tree::FILES) };
    let entry = entries(item.data())?.into_iter().find(|entry| entry.name == DEFAULT);
    Ok(entry.map_or(tree::FILES, |entry| entry.location.0))
}

/// By the outer and the inner subvolume: the folder, and the name in it.
type References = BTreeMap<(u64, u64), (u64, Vec<u8>)>;

/// Where subvolumes are in each other (`struct btrfs_root_ref`).
fn references(nodes: &Nodes) -> io::Result<References> {
    let mut found = References::new();
    let mut cursor = Cursor::from(nodes, nodes.superblock.roots, Key(tree::FILES, 0, 0))?;
    while let Some(item) = cursor.next_up_to(Key(u64::MAX, u8::MAX, u64::MAX))? {
        if let Key(outer, kind::ROOT_REF, inner) = item.key {
            let data = item.data();
            let name = slice(data, 18, number(data, 16, 2)? as usize)?;
            found.insert((outer, inner), (number(data, 0, 8)?, name.to_vec()));
        }
    }
    Ok(found)
}

/// The subvolume of that number; none for one that is not there, or is being removed.
fn volume(nodes: &Nodes, id: u64) -> io::Result<Option<Volume>> {
    let Some(item) = root(nodes, id)? else { return Ok(None) };
    let references = number(&item, 216, 4)?;
    let folder = whole(0, number(&item, 168, 8)?)?;
    Ok((references > 0).then_some(Volume { id, root: told(&item)?, folder }))
}

/// `struct btrfs_root_item` of a tree: the last, if there are several.
fn root(nodes: &Nodes, id: u64) -> io::Result<Option<Vec<u8>>> {
    let found = Cursor::near(nodes, nodes.superblock.roots, Key(id, kind::ROOT, u64::MAX))?.item()?;
    let found = found.filter(|item| (item.key.0, item.key.1) == (id, kind::ROOT));
    Ok(found.map(|item| item.data().to_vec()))
}

fn told(item: &[u8]) -> io::Result<Told> {
    Ok(Told {
        address: number(item, 176, 8)?,
        generation: number(item, 160, 8)?,
        level: number(item, 238, 1)? as u8,
    })
}

/// The root of the tree of that number; none if there is none.
///
/// # Errors
///
/// Damage, and those of reading.
pub fn tree_of(nodes: &Nodes, id: u64) -> io::Result<Option<Told>> {
    root(nodes, id)?.map(|item| told(&item)).transpose()
}
