//! Groups: what is used in them (Documentation/filesystems/ext4/bitmaps.rst, group_descr.rst).
//!
//! A group with nothing in it has no bitmaps: its descriptor says so, and the kernel makes them.

use super::geometry::{BLOCK, DESCRIPTOR, GROUP, Geometry, Run, Tables};
use super::plan::Plan;
use super::record::Record;
use super::tree::inode_of;
use crate::fault::Fault;
use crate::filesystems::ext4::checksum::Sum;
use crate::layer::Kind;

const NO_INODES: u64 = 1;
const NO_BLOCKS: u64 = 2;
/// The inodes that are free are zeros.
const ZEROED: u64 = 4;

/// What is in a group.
pub struct Group {
    /// Its bitmaps, with the blocks where they belong.
    pub bitmaps: Vec<(u64, Vec<u8>)>,
    /// What its descriptor is.
    pub descriptor: [u8; DESCRIPTOR as usize],
}

/// The groups of a plan, one after the other.
pub struct Groups<'p> {
    geometry: &'p Geometry,
    /// The blocks that are used, in their order; and those before `next` are in groups that were told.
    used: Vec<Run>,
    next: usize,
    inodes: u64,
    /// Directories of each group that has inodes.
    directories: Vec<u64>,
    sum: Sum,
    group: u64,
}

impl<'p> Groups<'p> {
    /// Those of `plan`; `sum` is that of the file system.
    pub fn of(plan: &'p Plan<'_, '_>, sum: Sum) -> Groups<'p> {
        let (geometry, inodes) = (&plan.geometry, plan.tree.inodes());
        let of_group = geometry.inodes_per_group;
        let mut directories = vec![0; inodes.div_ceil(of_group) as usize];
        for (number, _) in
            plan.items().enumerate().filter(|(_, (item, _))| item.entry.kind == Kind::Directory)
        {
            let group = (inode_of(number) - 1) / of_group;
            directories.get_mut(group as usize).into_iter().for_each(|count| *count += 1);
        }
        Groups { geometry, used: plan.used(), next: 0, inodes, directories, sum, group: 0 }
    }

    /// What is used of a group's blocks, counted from its first.
    fn used(&mut self, first: u64, blocks: u64) -> Vec<Run> {
        let mut found = Vec::new();
        while let Some(run) = self.used.get(self.next).filter(|run| run.first < first + blocks) {
            let from = run.first.max(first);
            let end = run.end().min(first + blocks);
            found.push(Run { first: from - first, blocks: end - from });
            if run.end() > end {
                break;
            }
            self.next += 1;
        }
        found
    }
}

impl Iterator for Groups<'_> {
    type Item = Result<Group, Fault>;

    fn next(&mut self) -> Option<Result<Group, Fault>> {
        let (group, geometry) = (self.group, self.geometry);
        let tables = *geometry.tables.get(group as usize)?;
        self.group += 1;
        let first = group * GROUP;
        let blocks = (geometry.blocks - first).min(GROUP);
        let used = self.used(first, blocks);
        let used_inodes = self.inodes.saturating_sub(group * geometry.inodes_per_group);
        let state = State {
            group,
            tables,
            blocks,
            used_blocks: used.iter().map(|run| run.blocks).sum(),
            inodes: geometry.inodes_per_group,
            used_inodes: used_inodes.min(geometry.inodes_per_group),
            directories: self.directories.get(group as usize).copied().unwrap_or(0),
        };
        let of_front = geometry.front(group).map_or(0, |front| front.blocks);
        // The kernel knows by itself which blocks a group's own front has; and that the last one is short.
        let is_last = group + 1 == geometry.groups();
        let empty = state.used_blocks == of_front && group > 0 && !is_last;
        let block_bitmap = (!empty).then(|| bitmap(&used, blocks));
        let used = [Run { first: 0, blocks: state.used_inodes }];
        let inode_bitmap = (state.used_inodes > 0).then(|| bitmap(&used, state.inodes));
        let descriptor = state.descriptor([block_bitmap.as_deref(), inode_bitmap.as_deref()], self.sum);
        let block_bitmap = block_bitmap.map(|bytes| (tables.block_bitmap, bytes));
        let inode_bitmap = inode_bitmap.map(|bytes| (tables.inode_bitmap, bytes));
        let bitmaps = block_bitmap.into_iter().chain(inode_bitmap).collect();
        Some(descriptor.map(|descriptor| Group { bitmaps, descriptor }))
    }
}

/// What a descriptor is made from.
struct State {
    group: u64,
    tables: Tables,
    blocks: u64,
    used_blocks: u64,
    inodes: u64,
    used_inodes: u64,
    directories: u64,
}

impl State {
    /// The descriptor; `bitmaps` are that of blocks and that of inodes, if there are any.
    fn descriptor(
        &self,
        [blocks, inodes]: [Option<&[u8]>; 2],
        sum: Sum,
    ) -> Result<[u8; DESCRIPTOR as usize], Fault> {
        let mut bytes = Record::<{ DESCRIPTOR as usize }>::new();
        bytes.put_split((0, 32), self.tables.block_bitmap);
        bytes.put_split((4, 36), self.tables.inode_bitmap);
        bytes.put_split((8, 40), self.tables.inodes);
        let free = self.inodes - self.used_inodes;
        bytes.put_split16((12, 44), self.blocks - self.used_blocks);
        bytes.put_split16((14, 46), free);
        bytes.put_split16((16, 48), self.directories);
        let flag = |bitmap: Option<&[u8]>, flag| if bitmap.is_none() { flag } else { 0 };
        bytes.put16(18, ZEROED | flag(blocks, NO_BLOCKS) | flag(inodes, NO_INODES));
        // Those that were never used are the last ones.
        bytes.put_split16((28, 50), free);
        if let Some(bitmap) = blocks {
            bytes.put_split16((24, 56), sum.with(bitmap).value().into());
        }
        if let Some(bitmap) = inodes.and_then(|bitmap| bitmap.get(..self.inodes as usize / 8)) {
            bytes.put_split16((26, 58), sum.with(bitmap).value().into());
        }
        let sum = sum.with(&(self.group as u32).to_le_bytes()).with(bytes.up_to(DESCRIPTOR as usize));
        bytes.put16(30, sum.value().into());
        bytes.done()
    }
}

/// A block with the bits of `used` set, and all from `count` on: these stand for nothing.
fn bitmap(used: &[Run], count: u64) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK as usize];
    for run in used.iter().copied().chain([Run { first: count, blocks: 8 * BLOCK - count }]) {
        set(&mut bytes, run.first as usize, run.end() as usize);
    }
    bytes
}

/// Sets the bits from `first` on, up to `end`.
fn set(bytes: &mut [u8], first: usize, end: usize) {
    let mut bit = first;
    while bit < end {
        let Some(byte) = bytes.get_mut(bit / 8) else { return };
        if bit.is_multiple_of(8) && end - bit >= 8 {
            *byte = 0xff;
            bit += 8;
        } else {
            *byte |= 1 << (bit % 8);
            bit += 1;
        }
    }
}
