//! Trees, each made at once out of all its items: leaves are filled from the first item on, and have nodes above them.

use std::collections::BTreeMap;

use super::format::{GENERATION, HEADER, ITEM, Item, Key, NODE, POINTER, Record, SUM, Uuid, kind};

/// A tree that has no places yet.
#[derive(Debug)]
pub struct Tree {
    /// Its object.
    pub id: u64,
    /// In the order of their keys.
    pub items: Vec<Item>,
    /// The first item of each leaf.
    leaves: Vec<usize>,
    /// Where its nodes are: leaves first, the root last.
    pub places: Vec<u64>,
}

impl Tree {
    /// The tree of `items`, each no larger than a leaf.
    pub fn of(id: u64, mut items: Vec<Item>) -> Tree {
        items.sort_by_key(|item| item.key);
        let (mut leaves, mut room) = (vec![0], NODE as usize - HEADER);
        for (number, item) in items.iter().enumerate() {
            let size = ITEM + item.data.len();
            if size > room {
                leaves.push(number);
                room = NODE as usize - HEADER;
            }
            room = room.saturating_sub(size);
        }
        Tree { id, items, leaves, places: Vec::new() }
    }

    /// How many nodes there are on each level, from the leaves to the root.
    fn levels(&self) -> Vec<usize> {
        let mut levels = vec![self.leaves.len()];
        while let Some(count) = levels.last().copied().filter(|count| *count > 1) {
            levels.push(count.div_ceil(POINTERS));
        }
        levels
    }

    /// How many nodes it has.
    pub fn nodes(&self) -> usize {
        self.levels().iter().sum()
    }

    /// How far the root is above the leaves.
    pub fn level(&self) -> u8 {
        u8::try_from(self.levels().len() - 1).unwrap_or(u8::MAX)
    }

    /// Where the root is.
    pub fn root(&self) -> u64 {
        self.places.last().copied().unwrap_or_default()
    }

    /// Each node's place and level.
    pub fn placed(&self) -> impl Iterator<Item = (u64, u8)> {
        let levels = (0_u8..).zip(self.levels());
        let each = levels.flat_map(|(level, count)| std::iter::repeat_n(level, count));
        self.places.iter().copied().zip(each)
    }

    /// Where this is the tree of extents, which tells of its own nodes: at which level they are.
    pub fn tell_own_levels(&mut self) {
        let levels: BTreeMap<u64, u8> = self.placed().collect();
        for Item { key: Key(place, of, level), .. } in &mut self.items {
            if let (kind::METADATA, Some(own)) = (*of, levels.get(place)) {
                *level = u64::from(*own);
            }
        }
    }

    /// Each node's place and bytes.
    pub fn written(&self, ids: &NodeIds) -> impl Iterator<Item = (u64, Vec<u8>)> {
        let mut firsts: Vec<Key> = self.leaves.iter().map(|first| self.first_key(*first)).collect();
        let mut nodes: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut below = 0..self.leaves.len();
        for (number, place) in self.places.iter().take(self.leaves.len()).enumerate() {
            nodes.push((*place, self.leaf(number, *place, ids)));
        }
        let mut level = 0;
        while below.len() > 1 {
            level += 1;
            let children = self.places.get(below.clone()).unwrap_or_default();
            let pointed: Vec<(Key, u64)> = firsts.into_iter().zip(children.iter().copied()).collect();
            let groups = pointed.chunks(POINTERS);
            firsts = groups.clone().filter_map(|group| group.first()).map(|(key, _)| *key).collect();
            let places = self.places.iter().skip(below.end);
            nodes.extend(
                places.zip(groups).map(|(place, group)| (*place, self.node(group, level, *place, ids))),
            );
            below = below.end..below.end + firsts.len();
        }
        nodes.into_iter()
    }

    fn first_key(&self, item: usize) -> Key {
        self.items.get(item).map_or(Key(0, 0, 0), |item| item.key)
    }

    /// Items stand at the front, what they hold at the end, the first of it last.
    fn leaf(&self, number: usize, place: u64, ids: &NodeIds) -> Vec<u8> {
        let first = self.leaves.get(number).copied().unwrap_or_default();
        let end = self.leaves.get(number + 1).copied().unwrap_or(self.items.len());
        let items = self.items.get(first..end).unwrap_or_default();
        let mut at = NODE as usize - HEADER;
        let mut told = Record::new();
        for item in items {
            at -= item.data.len();
            told = told.key(item.key).u32(at as u32).u32(item.data.len() as u32);
        }
        let told = told.done();
        let mut bytes = self.header(items.len(), 0, place, ids).bytes(&told).zeros(at - told.len());
        for item in items.iter().rev() {
            bytes = bytes.bytes(&item.data);
        }
        summed(bytes.done())
    }

    fn node(&self, children: &[(Key, u64)], level: u8, place: u64, ids: &NodeIds) -> Vec<u8> {
        let start = self.header(children.len(), level, place, ids);
        let pointer =
            |record: Record, (key, place): &(Key, u64)| record.key(*key).u64(*place).u64(GENERATION);
        let mut bytes = children.iter().fold(start, pointer).done();
        bytes.resize(NODE as usize, 0);
        summed(bytes)
    }

    /// `struct btrfs_header`.
    fn header(&self, count: usize, level: u8, place: u64, ids: &NodeIds) -> Record {
        // It is written, and who points to it is told as in all file systems since 2008.
        const FLAGS: u64 = 1 | 1 << 56;
        let record = Record::new().zeros(SUM).bytes(&ids.system).u64s(&[place, FLAGS]).bytes(&ids.chunks);
        record.u64s(&[GENERATION, self.id]).u32(count as u32).u8(level)
    }
}

/// What every node says of the whole.
#[derive(Debug)]
pub struct NodeIds {
    /// The file system's UUID.
    pub system: Uuid,
    /// The UUID of the tree of chunks.
    pub chunks: Uuid,
}

/// Pointers in a node.
const POINTERS: usize = (NODE as usize - HEADER) / POINTER;

/// The same with the sum of all that is behind it at its front.
pub fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
    let (sum, rest) = bytes.split_at_mut(SUM);
    sum[..4].copy_from_slice(&crc32c::crc32c(rest).to_le_bytes());
    bytes
}
