//! What a file system's space is given to: block groups, the chunks that they are in, and what is taken of them.

use std::ops::Range;

use super::format::{CHUNKS, Item, Key, Record, SUPERBLOCKS, Uuid, flags, kind, tree};

/// Bytes that a stripe is counted in; around a superblock all of them are kept free.
const STRIPE: u64 = 64 << 10;
/// Bytes in front of all groups, which the kernel keeps free, too.
const FRONT: u64 = 1 << 20;
/// A group's size is a multiple of this: bytes.
const STEP: u64 = 1 << 20;
/// The largest group: bytes.
pub const LARGEST: u64 = 1 << 30;
/// The only device.
const DEVICE: u64 = 1;

/// All that is given out, in the order of its addresses.
#[derive(Clone, Debug)]
pub struct Space {
    pub groups: Vec<Group>,
    /// Where the next group begins on the device.
    pub end: u64,
    /// Its first address.
    address: u64,
}

/// A block group, which is a chunk of its own.
#[derive(Clone, Debug)]
pub struct Group {
    pub flags: u64,
    pub start: u64,
    pub length: u64,
    /// Where its copies are on the device.
    pub stripes: Vec<u64>,
    /// Addresses where copies of the superblock are.
    holes: Vec<Range<u64>>,
    /// The first address that nobody has.
    next: u64,
    pub used: u64,
}

impl Space {
    pub fn new() -> Space {
        Space { groups: Vec::new(), end: FRONT, address: FRONT }
    }

    /// Adds a group of `length` bytes, a multiple of 64 KiB, behind all others.
    pub fn add(&mut self, flags: u64, length: u64) {
        let copies = if flags & flags::DUP == 0 { 1 } else { 2 };
        let stripes: Vec<u64> = (0..copies).map(|copy| self.end + copy * length).collect();
        let start = self.address;
        let hole = |(stripe, at): (&u64, u64)| {
            let is_inside = (*stripe..stripe + length).contains(&at);
            is_inside.then(|| start + at - stripe..start + at - stripe + STRIPE)
        };
        let mut holes: Vec<Range<u64>> =
            stripes.iter().flat_map(|stripe| SUPERBLOCKS.map(|at| (stripe, at))).filter_map(hole).collect();
        holes.sort_by_key(|hole| hole.start);
        holes.dedup();
        self.end += copies * length;
        self.address += length;
        self.groups.push(Group { flags, start, length, stripes, holes, next: start, used: 0 });
    }

    /// Takes up to `most` bytes, a multiple of the sector or the node, of the last group, or of a new one.
    pub fn take(&mut self, flags: u64, most: u64) -> Range<u64> {
        if let Some(taken) =
            self.groups.last_mut().filter(|group| group.flags == flags).and_then(|group| group.take(most))
        {
            return taken;
        }
        self.add(flags, LARGEST);
        self.groups.last_mut().and_then(|group| group.take(most)).unwrap_or_default()
    }

    /// Cuts the last group, which has one copy, to what is taken of it, but for `least` bytes.
    pub fn trim(&mut self, least: u64) {
        let Some(group) = self.groups.last_mut() else { return };
        let length = (group.next - group.start).next_multiple_of(STEP).max(least).min(group.length);
        (self.end, self.address) =
            (self.end - (group.length - length), self.address - (group.length - length));
        group.length = length;
        let end = group.start + length;
        group.holes.retain(|hole| hole.start < end);
    }

    /// Where an address is on the device: each of its copies.
    pub fn on_device(&self, address: u64) -> Vec<u64> {
        let behind = self.groups.partition_point(|group| group.start <= address);
        let group = behind.checked_sub(1).and_then(|number| self.groups.get(number));
        group.map_or(Vec::new(), |group| group.stripes.iter().map(|at| at + address - group.start).collect())
    }

    /// Bytes that are taken.
    pub fn used(&self) -> u64 {
        self.groups.iter().map(|group| group.used).sum()
    }

    /// Bytes that groups have on the device.
    pub fn given(&self) -> u64 {
        self.groups.iter().map(|group| group.length * group.stripes.len() as u64).sum()
    }
}

impl Group {
    /// Takes up to `most` bytes in one piece; none if there are none.
    pub fn take(&mut self, most: u64) -> Option<Range<u64>> {
        while let Some(hole) = self.holes.iter().find(|hole| hole.contains(&self.next)) {
            self.next = hole.end;
        }
        let start = self.next;
        let free = self.free_from(start).next()?;
        self.next = free.end.min(start + most);
        self.used += self.next - start;
        Some(start..self.next)
    }

    /// What nobody has.
    pub fn free(&self) -> impl Iterator<Item = Range<u64>> {
        self.free_from(self.next)
    }

    fn free_from(&self, start: u64) -> impl Iterator<Item = Range<u64>> {
        let starts = std::iter::once(start).chain(self.holes.iter().map(|hole| hole.end));
        let ends = self.holes.iter().map(|hole| hole.start).chain([self.start + self.length]);
        let pieces = starts.zip(ends).map(move |(from, to)| from.max(start)..to);
        pieces.filter(|piece| piece.start < piece.end)
    }

    /// `struct btrfs_block_group_item`.
    pub fn item(&self) -> Item {
        let data = Record::new().u64s(&[self.used, CHUNKS, self.flags]).done();
        Item { key: Key(self.start, kind::BLOCK_GROUP, self.length), data }
    }

    /// `struct btrfs_chunk` on a device.
    pub fn chunk(&self, device: &Uuid) -> Item {
        let record = Record::new().u64s(&[self.length, tree::EXTENT, STRIPE, self.flags]);
        let record = record.u32(STRIPE as u32).u32(STRIPE as u32).u32(super::format::SECTOR as u32);
        let record = record.u16(self.stripes.len() as u16).u16(1);
        let stripe = |record: Record, at: &u64| record.u64s(&[DEVICE, *at]).bytes(device);
        Item {
            key: Key(CHUNKS, kind::CHUNK, self.start),
            data: self.stripes.iter().fold(record, stripe).done(),
        }
    }

    /// `struct btrfs_dev_extent` for each of its copies.
    pub fn device_extents(&self, chunks: &Uuid) -> impl Iterator<Item = Item> {
        let record = Record::new().u64s(&[tree::CHUNK, CHUNKS, self.start, self.length]).bytes(chunks).done();
        let item = move |at: &u64| Item { key: Key(DEVICE, kind::DEVICE_EXTENT, *at), data: record.clone() };
        self.stripes.iter().map(item)
    }

    /// What the tree of free space says of it.
    pub fn free_items(&self) -> Vec<Item> {
        let free = self.free().map(|piece| Key(piece.start, kind::FREE_EXTENT, piece.end - piece.start));
        let mut items: Vec<Item> = free.map(|key| Item { key, data: Vec::new() }).collect();
        let data = Record::new().u32(items.len() as u32).u32(0).done();
        items.push(Item { key: Key(self.start, kind::FREE_INFO, self.length), data });
        items
    }
}
