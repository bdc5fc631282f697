//! Where the blocks of a fork are: listed in the inode, or by a tree with its root there (`xfs_bmbt_rec`).

use std::collections::HashSet;
use std::io;

use super::fields::Fields;
use super::format::{BLOCK_BITS, COUNT_BITS, fork};
use super::inode::{Fork, Known};
use super::{Xfs, block};
use crate::filesystems::damage;

/// A run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Blocks from the fork's beginning.
    pub offset: u64,
    /// The first block, as the file system counts.
    pub block: u64,
    /// How many there are.
    pub count: u64,
    /// Whether anything was written to them.
    pub is_written: bool,
}

/// Bytes of an extent.
const EXTENT: usize = 16;
/// Bytes of a key in a node, and of a pointer.
const KEY: usize = 8;
/// More levels than any tree has (`XFS_BTREE_MAXLEVELS`).
const DEEPEST: u16 = 9;

/// The extents of a fork, in order.
///
/// # Errors
///
/// Damage, and those of reading.
pub fn extents(xfs: &Xfs, of: &Known, fork: &Fork) -> io::Result<Vec<Extent>> {
    let mut list =
        List { xfs, owner: of.number, most: fork.extents, found: Vec::new(), seen: HashSet::new() };
    match fork.format {
        fork::EXTENTS => list.add(&fork.bytes, usize::try_from(fork.extents).unwrap_or(usize::MAX))?,
        fork::TREE => list.tree(&fork.bytes)?,
        _ => return Err(damage(format!("inode {} has no blocks where it needs some", of.number))),
    }
    if list.found.len() as u64 != fork.extents {
        return Err(list.odd());
    }
    Ok(list.found)
}

/// The same for metadata, whose blocks are all written, and nowhere two at once: what is small cannot be read again and
/// again.
///
/// # Errors
///
/// Damage, and those of reading.
pub fn exclusive(xfs: &Xfs, of: &Known, fork: &Fork) -> io::Result<Vec<Extent>> {
    let extents = extents(xfs, of, fork)?;
    let mut by_place: Vec<(u64, u64)> = extents.iter().map(|one| (one.block, one.count)).collect();
    by_place.sort_unstable();
    let overlap =
        by_place.windows(2).any(|pair| matches!(pair, [(at, count), (next, _)] if at + count > *next));
    if overlap || extents.iter().any(|extent| !extent.is_written) {
        return Err(damage(format!("inode {} has a block twice, or one without anything", of.number)));
    }
    Ok(extents)
}

/// Where the blocks from `offset` on are, and how many of them are in one piece; none where nothing is.
pub fn find(extents: &[Extent], offset: u64) -> Option<(u64, u64)> {
    let behind = extents.partition_point(|extent| extent.offset <= offset);
    let extent = extents.get(behind.checked_sub(1)?)?;
    let within = offset - extent.offset;
    (within < extent.count).then(|| (extent.block + within, extent.count - within))
}

/// Extents that are being found.
struct List<'x> {
    xfs: &'x Xfs,
    owner: u64,
    most: u64,
    found: Vec<Extent>,
    /// Blocks of the tree that were read.
    seen: HashSet<u64>,
}

impl List<'_> {
    /// Adds the first `count` extents in `records`.
    fn add(&mut self, records: &[u8], count: usize) -> io::Result<()> {
        let all =
            count.checked_mul(EXTENT).and_then(|length| records.get(..length)).ok_or_else(|| self.odd())?;
        if (self.found.len() + count) as u64 > self.most {
            return Err(self.odd());
        }
        for record in all.chunks_exact(EXTENT) {
            let extent = extent(Fields(record))?;
            let next = self.found.last().map_or(0, |last| last.offset + last.count);
            // This looks whether it is in the file system, too.
            self.xfs.superblock.place(extent.block, extent.count)?;
            if extent.offset < next {
                return Err(self.odd());
            }
            self.found.push(extent);
        }
        Ok(())
    }

    /// Adds those of a tree: its root in the inode has its level, the number of its pointers, and room for keys before them.
    fn tree(&mut self, root: &[u8]) -> io::Result<()> {
        const HEADER: usize = 4;
        let (level, count) = (Fields(root).u16(0)?, Fields(root).u16(2)?);
        if !(1..DEEPEST).contains(&level) {
            return Err(self.odd());
        }
        let mut nodes = Vec::new();
        nodes.extend(self.pointers(root, HEADER, count, level)?);
        while let Some((block, level)) = nodes.pop() {
            let (bytes, header, count) = self.node(block, level)?;
            match level {
                0 => self.add(bytes.get(header..).unwrap_or_default(), usize::from(count))?,
                level => nodes.extend(self.pointers(&bytes, header, count, level)?),
            }
        }
        Ok(())
    }

    /// What a node leads to, the first of it last, each with its level.
    fn pointers(&self, node: &[u8], header: usize, count: u16, level: u16) -> io::Result<Vec<(u64, u16)>> {
        let room = node.len().saturating_sub(header) / (2 * KEY);
        let count = usize::from(count);
        if count == 0 || count > room {
            return Err(self.odd());
        }
        let pointer = |number: usize| Ok((Fields(node).u64(header + (room + number) * KEY)?, level - 1));
        (0..count).rev().map(pointer).collect()
    }

    /// The node in `block`, where what it holds begins, and how much that is.
    fn node(&mut self, block: u64, level: u16) -> io::Result<(Vec<u8>, usize, u16)> {
        const HEADER: usize = 24;
        const SUMMED_HEADER: usize = 72;
        let (magic, header): (&[u8], usize) =
            if self.xfs.superblock.is_summed { (b"BMA3", SUMMED_HEADER) } else { (b"BMAP", HEADER) };
        let place = self.xfs.superblock.place(block, 1)?;
        let bytes = self.xfs.part.bytes(place, self.xfs.superblock.block)?;
        block::check(self.xfs, &bytes, block::EXTENTS, (place, self.owner))?;
        let fields = Fields(&bytes);
        if !bytes.starts_with(magic) || fields.u16(4)? != level || !self.seen.insert(block) {
            return Err(self.odd());
        }
        let count = fields.u16(6)?;
        Ok((bytes, header, count))
    }

    fn odd(&self) -> io::Error {
        damage(format!("where inode {} has its blocks cannot be told", self.owner))
    }
}

fn extent(record: Fields<'_>) -> io::Result<Extent> {
    const OFFSET_SHIFT: u32 = 64 - 1 - OFFSET_BITS;
    const OFFSET_BITS: u32 = 128 - 1 - BLOCK_BITS - COUNT_BITS;
    let (high, low) = (record.u64(0)?, record.u64(8)?);
    Ok(Extent {
        offset: (high & !(1 << 63)) >> OFFSET_SHIFT,
        block: (high & ((1 << OFFSET_SHIFT) - 1)) << (64 - COUNT_BITS) | low >> COUNT_BITS,
        count: low & ((1 << COUNT_BITS) - 1),
        is_written: high >> 63 == 0,
    })
}
