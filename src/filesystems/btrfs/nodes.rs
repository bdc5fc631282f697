//! Nodes of trees: each is checked before anything in it is believed.
//!
//! What a node says that it begins with has to be what is above it says. So no node is at two places of a tree, and going
//! through one ends, whatever is on the disk.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::chunks::Chunks;
use super::format::{HEADER, ITEM, KEY, Key, POINTER, SUM, number, slice};
use super::superblock::{Superblock, Told};
use crate::filesystems::Part;
use crate::filesystems::damage;

/// Levels that trees have (`BTRFS_MAX_LEVEL`).
const LEVELS: u8 = 8;
/// Bytes of nodes that are kept.
const KEPT: u64 = 32 << 20;

/// All nodes of all trees.
pub struct Nodes {
    pub part: Part,
    pub chunks: Chunks,
    pub superblock: Superblock,
    /// Those that were read last, by their addresses.
    kept: Mutex<BTreeMap<u64, Arc<Node>>>,
}

/// A node of a tree.
#[derive(Debug)]
pub struct Node {
    generation: u64,
    level: u8,
    keys: Vec<Key>,
    bytes: Vec<u8>,
}

impl Nodes {
    pub fn new(part: Part, chunks: Chunks, superblock: Superblock) -> Nodes {
        Nodes { part, chunks, superblock, kept: Mutex::new(BTreeMap::new()) }
    }

    /// The node of which that is told.
    fn node(&self, told: Told) -> io::Result<Arc<Node>> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept().get(&told.address).cloned();
        let node = match known {
            Some(node) => node,
            None => {
                let node = Arc::new(self.read(told)?);
                let mut kept = kept();
                if kept.len() as u64 >= KEPT / self.superblock.node {
                    kept.clear();
                }
                kept.insert(told.address, Arc::clone(&node));
                node
            }
        };
        if (node.level, node.generation) != (told.level, told.generation) {
            return Err(stale());
        }
        Ok(node)
    }

    /// Reads the first copy that is whole.
    fn read(&self, told: Told) -> io::Result<Node> {
        let size = self.superblock.node;
        let places = self.chunks.places(told.address, size)?;
        if places.length != size {
            return Err(damage("a node of its trees goes over the end of a chunk"));
        }
        let mut failed = None;
        for copy in places.copies {
            match self.part.bytes(copy, size).and_then(|bytes| self.checked(told, bytes)) {
                Ok(node) => return Ok(node),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or_else(stale))
    }

    fn checked(&self, told: Told, bytes: Vec<u8>) -> io::Result<Node> {
        if !self.superblock.sums.is_whole(&bytes) {
            return Err(damage("the checksum of a node of its trees is wrong"));
        }
        let is_own = slice(&bytes, SUM, 16)? == self.superblock.node_uuid;
        if !is_own || number(&bytes, 48, 8)? != told.address {
            return Err(damage("a node of its trees is where it does not belong"));
        }
        let node = Node::of(bytes)?;
        if (node.level, node.generation) != (told.level, told.generation) {
            return Err(stale());
        }
        Ok(node)
    }
}

impl Node {
    /// `struct btrfs_header`, and what is behind it.
    fn of(bytes: Vec<u8>) -> io::Result<Node> {
        let (generation, count) = (number(&bytes, 80, 8)?, number(&bytes, 96, 4)? as usize);
        let level = number(&bytes, 100, 1)? as u8;
        let size = if level == 0 { ITEM } else { POINTER };
        if level >= LEVELS || count > (bytes.len() - HEADER) / size || (level > 0 && count == 0) {
            return Err(damage("a node of its trees has more than it has room for, or nothing"));
        }
        let keys = (0..count).map(|slot| Key::of(slice(&bytes, HEADER + slot * size, KEY)?));
        let keys = keys.collect::<io::Result<Vec<Key>>>()?;
        if !keys.is_sorted_by(|one, next| one < next) {
            return Err(unordered());
        }
        Ok(Node { generation, level, keys, bytes })
    }

    /// The last slot whose key is not behind `key`; the first if all are.
    fn slot(&self, key: Key) -> usize {
        self.keys.partition_point(|own| *own <= key).saturating_sub(1)
    }

    /// Where the data of an item is.
    fn data(&self, slot: usize) -> io::Result<Range<usize>> {
        let at = HEADER + slot * ITEM + KEY;
        let (offset, size) = (number(&self.bytes, at, 4)? as usize, number(&self.bytes, at + 4, 4)? as usize);
        let (start, items) = (HEADER + offset, self.keys.len() * ITEM);
        if offset < items || start + size > self.bytes.len() {
            return Err(damage("an item of its trees is not where a node has items"));
        }
        Ok(start..start + size)
    }

    /// The node that a pointer points to.
    fn below(&self, slot: usize) -> io::Result<Told> {
        let at = HEADER + slot * POINTER + KEY;
        let (address, generation) = (number(&self.bytes, at, 8)?, number(&self.bytes, at + 8, 8)?);
        Ok(Told { address, generation, level: self.level.saturating_sub(1) })
    }
}

/// A place in a tree.
#[derive(Clone)]
pub struct Cursor<'n> {
    nodes: &'n Nodes,
    /// From the root to a leaf: which slot of each.
    path: Vec<(Arc<Node>, usize)>,
}

/// An item of a tree.
pub struct Item {
    pub key: Key,
    node: Arc<Node>,
    data: Range<usize>,
}

impl Item {
    pub fn data(&self) -> &[u8] {
        self.node.bytes.get(self.data.clone()).unwrap_or_default()
    }
}

impl<'n> Cursor<'n> {
    /// At the last item of the tree that is not behind `key`; at the first if all are.
    ///
    /// # Errors
    ///
    /// Damage, and those of reading.
    pub fn near(nodes: &'n Nodes, tree: Told, key: Key) -> io::Result<Cursor<'n>> {
        let mut cursor = Cursor { nodes, path: Vec::new() };
        cursor.descend(tree, key)?;
        Ok(cursor)
    }

    /// At the first item of the tree that is not before `key`.
    ///
    /// # Errors
    ///
    /// Damage, and those of reading.
    pub fn from(nodes: &'n Nodes, tree: Told, key: Key) -> io::Result<Cursor<'n>> {
        let mut cursor = Cursor::near(nodes, tree, key)?;
        if cursor.key().is_some_and(|found| found < key) {
            cursor.forward()?;
        }
        Ok(cursor)
    }

    /// The item here; none behind the last.
    ///
    /// # Errors
    ///
    /// Damage.
    pub fn item(&self) -> io::Result<Option<Item>> {
        let (Some(key), Some((node, slot))) = (self.key(), self.path.last()) else { return Ok(None) };
        Ok(Some(Item { key, node: Arc::clone(node), data: node.data(*slot)? }))
    }

    /// The item here, after which this is at the next; none behind the last one that is not behind `last`.
    ///
    /// # Errors
    ///
    /// Damage, and those of reading.
    pub fn next_up_to(&mut self, last: Key) -> io::Result<Option<Item>> {
        if self.key().is_none_or(|key| key > last) {
            return Ok(None);
        }
        let item = self.item()?;
        self.forward()?;
        Ok(item)
    }

    fn key(&self) -> Option<Key> {
        // Where going down failed, the last one is no leaf.
        let (leaf, slot) = self.path.last().filter(|(node, _)| node.level == 0)?;
        leaf.keys.get(*slot).copied()
    }

    /// Goes to the next item.
    fn forward(&mut self) -> io::Result<()> {
        while let Some((node, slot)) = self.path.last_mut() {
            *slot += 1;
            if *slot < node.keys.len() {
                if node.level == 0 {
                    return Ok(());
                }
                let below = node.below(*slot)?;
                return self.descend(below, Key(0, 0, 0));
            }
            self.path.pop();
        }
        Ok(())
    }

    /// Goes down to `key`, from the node of which that is told.
    fn descend(&mut self, mut told: Told, key: Key) -> io::Result<()> {
        loop {
            let node = self.nodes.node(told)?;
            self.check_order(&node)?;
            let (slot, level) = (node.slot(key), node.level);
            told = if level == 0 { told } else { node.below(slot)? };
            self.path.push((node, slot));
            if level == 0 {
                return Ok(());
            }
        }
    }

    /// Whether a node has what belongs below the last one of the path.
    fn check_order(&self, node: &Node) -> io::Result<()> {
        let Some((above, slot)) = self.path.last() else { return Ok(()) };
        let is_first = node.keys.first().is_some_and(|first| above.keys.get(*slot) == Some(first));
        let mut next = self.path.iter().rev().filter_map(|(above, slot)| above.keys.get(slot + 1));
        let ends = next.next().is_none_or(|next| node.keys.last() < Some(next));
        if is_first && ends { Ok(()) } else { Err(unordered()) }
    }
}

/// All items of one object and one kind, in order.
pub struct All<'n> {
    cursor: Cursor<'n>,
    last: Key,
}

impl<'n> All<'n> {
    /// Those of `object` and `kind` in a tree.
    ///
    /// # Errors
    ///
    /// Damage, and those of reading.
    pub fn of(nodes: &'n Nodes, tree: Told, (object, kind): (u64, u8)) -> io::Result<All<'n>> {
        let cursor = Cursor::from(nodes, tree, Key(object, kind, 0))?;
        Ok(All { cursor, last: Key(object, kind, u64::MAX) })
    }
}

impl Iterator for All<'_> {
    type Item = io::Result<Item>;

    fn next(&mut self) -> Option<io::Result<Item>> {
        self.cursor.next_up_to(self.last).transpose()
    }
}

fn unordered() -> io::Error {
    damage("the items of its trees are out of order")
}

fn stale() -> io::Error {
    damage("a node of its trees is of another time than what points to it")
}
