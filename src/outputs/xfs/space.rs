//! What a file system's space is given to: allocation groups, and what stands at the front of each.

use super::format::{BLOCK, CHUNK, CHUNK_BLOCKS, Extent, INODE, LARGEST_EXTENT, NONE, Record, SECTOR, Uuid};
use crate::fault::Fault;

/// Blocks of the log.
pub const LOG: u64 = (64 << 20) / BLOCK;
/// Groups, where none would be larger than it can be.
const GROUPS: u64 = 4;
/// What a group can have: blocks of 1 TiB.
const LARGEST_GROUP: u64 = (1 << 40) / BLOCK - 1;
/// Blocks that a group has for itself: its headers, a root for each of five trees, and four that trees may grow by.
const HEADERS: u64 = 1;
const ROOTS: u64 = 5;
const SPARE: u64 = 4;
/// Records of a tree of inodes in a leaf.
const RECORDS: u64 = (BLOCK - NODE_HEADER as u64) / 16;
/// Bytes in front of what a node of a tree holds.
const NODE_HEADER: usize = 56;

/// A node's block in its group, and those beside it.
type Links = (u64, u32, u32);

/// Where things lie.
#[derive(Clone, Debug)]
pub struct Space {
    pub groups: Vec<Group>,
    /// Blocks of a group, but for the last one.
    pub blocks: u64,
    /// Bits of a block's place in its group.
    pub bits: u32,
    /// The group with the log.
    pub log: usize,
    /// Inodes that are there, the free ones too.
    pub inodes: u64,
    /// How many of them are somebody's.
    pub taken: u64,
    current: usize,
}

/// An allocation group.
#[derive(Clone, Debug)]
pub struct Group {
    pub number: u64,
    pub length: u64,
    /// Its first chunk of inodes, and how many there are.
    pub chunks: (u64, u64),
    /// Leaves of its tree of inodes, if these are not its root.
    leaves: (u64, u64),
    /// Blocks in front of the first chunk that nobody has.
    gap: (u64, u64),
    next: u64,
    has_log: bool,
}

impl Space {
    /// Groups of `blocks` blocks in all, with room for `inodes`.
    ///
    /// # Errors
    ///
    /// There is no room for them.
    pub fn of(blocks: u64, inodes: u64) -> Result<Space, Fault> {
        let count = blocks.div_ceil(LARGEST_GROUP).max(GROUPS);
        let each = blocks.div_ceil(count);
        let log = (count / 2) as usize;
        let mut chunks = inodes.div_ceil(CHUNK);
        let mut groups = Vec::new();
        for number in 0..count {
            let length = each.min(blocks - number * each);
            let group = Group::of(number, length, number as usize == log, chunks);
            chunks -= group.chunks.1;
            groups.push(group);
        }
        if chunks > 0 {
            return Err(no_room());
        }
        let bits = each.next_power_of_two().trailing_zeros();
        let inodes_there = groups.iter().map(|group| group.chunks.1 * CHUNK).sum();
        Ok(Space { groups, blocks: each, bits, log, inodes: inodes_there, taken: inodes, current: 0 })
    }

    /// The number of an inode: the first is the root's.
    pub fn inode(&self, index: u64) -> u64 {
        let (mut chunk, place) = (index / CHUNK, index % CHUNK);
        for group in &self.groups {
            let (first, count) = group.chunks;
            if chunk < count {
                let block = (group.number << self.bits) + first + chunk * CHUNK_BLOCKS;
                return block * (BLOCK / INODE as u64) + place;
            }
            chunk -= count;
        }
        0
    }

    /// Where an inode is: bytes from the beginning.
    pub fn inode_at(&self, number: u64) -> u64 {
        let each = BLOCK / INODE as u64;
        self.at(number / each) + number % each * INODE as u64
    }

    /// Where a block is: bytes from the beginning.
    pub fn at(&self, block: u64) -> u64 {
        let (group, place) = (block >> self.bits, block & ((1 << self.bits) - 1));
        (group * self.blocks + place) * BLOCK
    }

    /// Takes `count` blocks for a file, from `offset` blocks on.
    ///
    /// # Errors
    ///
    /// There are fewer.
    pub fn take(&mut self, mut offset: u64, mut count: u64) -> Result<Vec<Extent>, Fault> {
        let mut extents = Vec::new();
        while count > 0 {
            let group = self.groups.get_mut(self.current).ok_or_else(no_room)?;
            let taken = count.min(group.room()).min(LARGEST_EXTENT);
            if taken == 0 {
                self.current += 1;
                continue;
            }
            extents.push(Extent { offset, block: (group.number << self.bits) + group.next, count: taken });
            group.next += taken;
            (offset, count) = (offset + taken, count - taken);
        }
        Ok(extents)
    }

    /// Blocks that are free, with those that only trees may grow by.
    pub fn free(&self) -> u64 {
        self.groups.iter().map(|group| group.free_blocks() + SPARE).sum()
    }

    /// Blocks that are not.
    pub fn used(&self) -> u64 {
        self.groups.iter().map(|group| group.length - group.free_blocks()).sum()
    }

    /// The block where the log begins.
    pub fn log_start(&self) -> u64 {
        ((self.log as u64) << self.bits) + HEADERS + ROOTS
    }

    /// What stands at the front of each group but the superblock, and the leaves of its tree of inodes: where, and what.
    pub fn headers(&self, uuid: &Uuid) -> Vec<(u64, Vec<u8>)> {
        let mut taken = self.taken;
        let mut all = Vec::new();
        for group in &self.groups {
            let own = taken.min(group.chunks.1 * CHUNK);
            taken -= own;
            let start = group.number * self.blocks;
            let pieces = group.headers(own, start, uuid);
            all.extend(pieces.into_iter().map(|(at, bytes)| (start * BLOCK + at, bytes)));
        }
        all
    }
}

impl Group {
    fn of(number: u64, length: u64, has_log: bool, chunks: u64) -> Group {
        let front = HEADERS + ROOTS + SPARE + if has_log { LOG } else { 0 };
        let first = front.next_multiple_of(CHUNK_BLOCKS);
        let room = length.saturating_sub(first) / CHUNK_BLOCKS;
        // Some room is for the leaves of the tree that tells of them.
        let chunks = chunks.min(room - room / 64).min(RECORDS * 500);
        let leaves = if chunks > RECORDS { chunks.div_ceil(RECORDS) } else { 0 };
        let behind = first + chunks * CHUNK_BLOCKS;
        Group {
            number,
            length,
            chunks: (first, chunks),
            leaves: (behind, leaves),
            gap: (front, first - front),
            next: behind + leaves,
            has_log,
        }
    }

    /// What nobody has: first blocks and lengths.
    fn free(&self) -> Vec<(u64, u64)> {
        let mut free = vec![self.gap, (self.next, self.length - self.next)];
        free.retain(|(_, length)| *length > 0);
        free
    }

    /// Blocks that files may have: a part stays for what trees of inodes and of shared blocks can grow to, which the kernel
    /// sets aside in each group.
    fn room(&self) -> u64 {
        (self.length - self.next).saturating_sub(self.length / 64 + 16)
    }

    fn free_blocks(&self) -> u64 {
        self.free().iter().map(|(_, length)| length).sum()
    }

    /// The same with places from the group's beginning; `own` of its inodes are somebody's, and it begins at block `start`.
    fn headers(&self, own: u64, start: u64, uuid: &Uuid) -> Vec<(u64, Vec<u8>)> {
        let tree = |magic, block, count, rest: &[u8]| {
            self.node(magic, (0, count), (block, NONE, NONE), (start, uuid), rest)
        };
        let pairs = |free: &[(u64, u64)]| -> Vec<u8> {
            let record =
                |record: Record, (at, length): &(u64, u64)| record.u32s(&[*at as u32, *length as u32]);
            free.iter().fold(Record::new(), record).done()
        };
        let by_place = self.free();
        let mut by_length = by_place.clone();
        by_length.sort_by_key(|(at, length)| (*length, *at));
        let records = self.inode_records(own);
        let has_free = |record: &&Vec<u8>| record.get(7) > Some(&0);
        let with_free: Vec<u8> = records.iter().filter(has_free).flatten().copied().collect();
        let mut pieces = vec![
            (SECTOR, self.free_header(uuid)),
            (2 * SECTOR, self.inode_header(own, uuid)),
            (3 * SECTOR, self.spare_header(uuid)),
            tree(b"AB3B", 1, by_place.len(), &pairs(&by_place)),
            tree(b"AB3C", 2, by_length.len(), &pairs(&by_length)),
            tree(b"FIB3", 4, with_free.len() / 16, &with_free),
            tree(b"R3FC", 5, 0, &[]),
        ];
        pieces.extend(self.inode_tree(&records, start, uuid));
        pieces
    }

    /// The tree of inodes: its root, or the leaves, which are about equally full, and a root above them.
    fn inode_tree(&self, records: &[Vec<u8>], start: u64, uuid: &Uuid) -> Vec<(u64, Vec<u8>)> {
        const ROOT: Links = (3, NONE, NONE);
        let tree =
            |level, count, links, rest: &[u8]| self.node(b"IAB3", (level, count), links, (start, uuid), rest);
        let (first, leaves) = self.leaves;
        if leaves == 0 {
            return vec![tree(0, records.len(), ROOT, &records.concat())];
        }
        let bound = |leaf: u64| (leaf * records.len() as u64 / leaves) as usize;
        let (mut keys, mut places, mut pieces) = (Record::new(), Record::new(), Vec::new());
        for leaf in 0..leaves {
            let block = first + leaf;
            let left = if leaf == 0 { NONE } else { block as u32 - 1 };
            let right = if leaf + 1 == leaves { NONE } else { block as u32 + 1 };
            let here = records.get(bound(leaf)..bound(leaf + 1)).unwrap_or_default();
            pieces.push(tree(0, here.len(), (block, left, right), &here.concat()));
            keys = keys.bytes(here.first().and_then(|record| record.get(..4)).unwrap_or_default());
            places = places.u32(block as u32);
        }
        // Pointers stand behind room for all keys that there could be.
        let most = (BLOCK as usize - NODE_HEADER) / 8;
        let root = keys.up_to(most * 4).bytes(&places.done()).done();
        pieces.push(tree(1, leaves as usize, ROOT, &root));
        pieces
    }

    /// A node of a tree (`xfs_btree_block`), with its place: its level and how many records it has, its block and those
    /// beside it.
    fn node(
        &self,
        magic: &[u8; 4],
        (level, count): (u16, usize),
        (block, left, right): Links,
        (start, uuid): (u64, &Uuid),
        rest: &[u8],
    ) -> (u64, Vec<u8>) {
        let record = Record::new().bytes(magic).u16(level).small(count).u32s(&[left, right]);
        let record = record.u64s(&[(start + block) * (BLOCK / SECTOR), 0]).bytes(uuid);
        let record = record.u32(self.number as u32);
        let at = record.len();
        (block * BLOCK, record.zeros(4).bytes(rest).up_to(BLOCK as usize).summed(at))
    }

    /// `xfs_inobt_rec` for each chunk of inodes.
    fn inode_records(&self, own: u64) -> Vec<Vec<u8>> {
        let record = |number: u64| {
            let first = (self.chunks.0 + number * CHUNK_BLOCKS) * (BLOCK / INODE as u64);
            let taken = own.saturating_sub(number * CHUNK).min(CHUNK);
            let free = u64::MAX.checked_shl(taken as u32).unwrap_or_default();
            // No part of it is a hole.
            let record = Record::new().u32(first as u32).u16(0).u8(CHUNK as u8).u8((CHUNK - taken) as u8);
            record.u64(free).done()
        };
        (0..self.chunks.1).map(record).collect()
    }

    /// `xfs_agf`: what is free.
    fn free_header(&self, uuid: &Uuid) -> Vec<u8> {
        let longest = self.free().iter().map(|(_, length)| *length).max().unwrap_or_default();
        let record = Record::new().bytes(b"XAGF").u32s(&[1, self.number as u32, self.length as u32]);
        // Two trees of what is free, none of who has what, and how many levels they have.
        let record = record.u32s(&[1, 2, 0, 1, 1, 0]);
        let record =
            record.u32s(&[1, SPARE as u32, SPARE as u32, self.free_blocks() as u32, longest as u32, 0]);
        let record = record.bytes(uuid).u32s(&[0, 1, 5, 1]).zeros(14 * 8).u64(0);
        let at = record.len();
        record.up_to(SECTOR as usize).summed(at)
    }

    /// `xfs_agi`: inodes.
    fn inode_header(&self, own: u64, uuid: &Uuid) -> Vec<u8> {
        let (first, chunks) = self.chunks;
        let newest = (first + (chunks.saturating_sub(1)) * CHUNK_BLOCKS) * (BLOCK / INODE as u64);
        let newest = if chunks == 0 { NONE } else { newest as u32 };
        let (level, blocks) = if self.leaves.1 == 0 { (1, 1) } else { (2, 1 + self.leaves.1 as u32) };
        let inodes = chunks * CHUNK;
        let record = Record::new().bytes(b"XAGI").u32s(&[1, self.number as u32, self.length as u32]);
        let record = record.u32s(&[inodes as u32, 3, level, (inodes - own) as u32, newest, NONE]);
        let record = record.u32s(&[NONE; 64]).bytes(uuid);
        let at = record.len();
        record.zeros(8).u64(0).u32s(&[4, 1, blocks, 1]).up_to(SECTOR as usize).summed(at)
    }

    /// `xfs_agfl`: the blocks that trees may grow by.
    fn spare_header(&self, uuid: &Uuid) -> Vec<u8> {
        let record = Record::new().bytes(b"XAFL").u32(self.number as u32).bytes(uuid).u64(0);
        let at = record.len();
        let first = HEADERS + ROOTS + if self.has_log { LOG } else { 0 };
        let numbers = (0..(SECTOR as usize - at - 4) / 4).map(|slot| match slot as u64 {
            slot if (1..=SPARE).contains(&slot) => (first + slot - 1) as u32,
            _ => NONE,
        });
        record.zeros(4).u32s(&numbers.collect::<Vec<_>>()).summed(at)
    }
}

/// How large it has to be is found out before: that is wrong.
fn no_room() -> Fault {
    Fault::machine("internal", "an xfs file system has no room for its own files")
}
