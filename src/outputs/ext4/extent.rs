//! Extents: where the blocks of a file are (Documentation/filesystems/ext4/ifork.rst, "Extent Tree"). Four stand in the
//! inode; where there are more, they are in blocks, of which four stand there, and so on.

use super::geometry::{BLOCK, Run};
use super::record::{Block, Record};
use crate::fault::Fault;
use crate::filesystems::ext4::checksum::Sum;
use crate::filesystems::ext4::format::{EXTENT_HEADER, EXTENT_MAGIC, EXTENT_RECORD, LONGEST_EXTENT};

/// Records of an inode.
const OF_INODE: usize = 4;
/// Records of a block, behind which its checksum is.
const OF_BLOCK: usize = 340;

/// Blocks of a file that lie in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first of them, counted in the file.
    pub logical: u64,
    /// Where that is in the file system.
    pub first: u64,
    /// How many they are: up to 32768.
    pub blocks: u64,
}

/// The extents of what lies in `runs`.
pub fn extents(runs: impl Iterator<Item = Run>) -> Vec<Extent> {
    let mut extents = Vec::new();
    let mut logical = 0;
    for run in runs {
        let mut done = 0;
        while done < run.blocks {
            let blocks = (run.blocks - done).min(LONGEST_EXTENT.into());
            extents.push(Extent { logical, first: run.first + done, blocks });
            (done, logical) = (done + blocks, logical + blocks);
        }
    }
    extents
}

/// How many blocks it takes to tell where `extents` are.
pub fn tree_blocks(extents: usize) -> u64 {
    let (mut records, mut blocks) = (extents, 0);
    while records > OF_INODE {
        records = records.div_ceil(OF_BLOCK);
        blocks += records as u64;
    }
    blocks
}

/// A tree of extents.
pub struct ExtentTree {
    /// What stands in the inode.
    pub root: [u8; 60],
    /// The blocks, in the order of their places.
    pub blocks: Vec<[u8; BLOCK as usize]>,
}

impl ExtentTree {
    /// The tree of `extents`, its blocks at `places`, as many as [`tree_blocks`] says; `sum` is that of the inode.
    ///
    /// # Errors
    ///
    /// Something has no place in its block.
    pub fn of(
        extents: &[Extent],
        mut places: impl Iterator<Item = u64>,
        sum: Sum,
    ) -> Result<ExtentTree, Fault> {
        let mut records = extents.iter().map(leaf).collect::<Result<Vec<_>, _>>()?;
        let (mut blocks, mut depth) = (Vec::new(), 0);
        while records.len() > OF_INODE {
            let mut above = Vec::new();
            for (chunk, place) in records.chunks(OF_BLOCK).zip(&mut places) {
                blocks.push(block(chunk, depth, sum)?);
                let logical = chunk.first().map_or(0, |(logical, _)| *logical);
                above.push((logical, index(logical, place)?));
            }
            (records, depth) = (above, depth + 1);
        }
        let mut root = Record::new();
        fill(&mut root, &records, OF_INODE, depth);
        Ok(ExtentTree { root: root.done()?, blocks })
    }
}

fn leaf(extent: &Extent) -> Result<(u64, [u8; EXTENT_RECORD]), Fault> {
    let mut record = Record::new();
    record.put32(0, extent.logical);
    record.put16(4, extent.blocks);
    record.put16(6, extent.first >> 32);
    record.put32(8, extent.first);
    Ok((extent.logical, record.done()?))
}

fn index(logical: u64, place: u64) -> Result<[u8; EXTENT_RECORD], Fault> {
    let mut record = Record::new();
    record.put32(0, logical);
    record.put32(4, place);
    record.put16(8, place >> 32);
    record.done()
}

fn block(
    records: &[(u64, [u8; EXTENT_RECORD])],
    depth: u64,
    sum: Sum,
) -> Result<[u8; BLOCK as usize], Fault> {
    let mut block = Block::new();
    fill(&mut block, records, OF_BLOCK, depth);
    let end = EXTENT_HEADER + OF_BLOCK * EXTENT_RECORD;
    let sum = sum.with(block.up_to(end));
    block.put32(end, sum.value().into());
    block.done()
}

fn fill<const N: usize>(
    node: &mut Record<N>,
    records: &[(u64, [u8; EXTENT_RECORD])],
    room: usize,
    depth: u64,
) {
    node.put16(0, EXTENT_MAGIC.into());
    node.put16(2, records.len() as u64);
    node.put16(4, room as u64);
    node.put16(6, depth);
    for (number, (_, record)) in records.iter().enumerate() {
        node.put(EXTENT_HEADER + number * EXTENT_RECORD, record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_blocks_as_a_tree_takes() {
        assert_eq!([0, 4, 5, 1360, 1361].map(tree_blocks), [0, 0, 1, 4, 6]);
        for count in [0, 4, 5, 340, 341, 1360, 1361, 200_000] {
            let extents: Vec<Extent> =
                (0..count).map(|at| Extent { logical: at, first: 2 * at, blocks: 1 }).collect();
            let tree = ExtentTree::of(&extents, 1.., Sum::START).expect("room");
            assert_eq!(tree.blocks.len() as u64, tree_blocks(extents.len()), "{count}");
        }
    }

    #[test]
    fn an_extent_has_up_to_32768_blocks() {
        let runs = [Run { first: 7, blocks: 32769 }, Run { first: 40000, blocks: 1 }];
        let told =
            extents(runs.into_iter()).iter().map(|e| (e.logical, e.first, e.blocks)).collect::<Vec<_>>();
        assert_eq!(told, [(0, 7, 32768), (32768, 32775, 1), (32769, 40000, 1)]);
    }
}
