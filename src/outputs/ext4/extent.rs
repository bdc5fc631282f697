//! Extents: where the blocks of a file are (Documentation/filesystems/ext4/ifork.rst, "Extent Tree"). Four stand in the
//! inode; where there are more, they are in blocks, of which four stand there, and so on.

use super::checksum::Sum;
use super::geometry::{BLOCK, Run};
use super::record::{put, put16, put32};

/// Blocks of one extent at most.
const LONGEST: u64 = 32768;
const MAGIC: u64 = 0xf30a;
const HEADER: usize = 12;
const RECORD: usize = 12;
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
            let blocks = (run.blocks - done).min(LONGEST);
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
    pub blocks: Vec<Vec<u8>>,
}

impl ExtentTree {
    /// The tree of `extents`, its blocks at `places`, as many as [`tree_blocks`] says; `sum` is that of the inode.
    pub fn of(extents: &[Extent], mut places: impl Iterator<Item = u64>, sum: Sum) -> ExtentTree {
        let mut records: Vec<(u64, [u8; RECORD])> = extents.iter().map(leaf).collect();
        let (mut blocks, mut depth) = (Vec::new(), 0);
        while records.len() > OF_INODE {
            let mut above = Vec::new();
            for (chunk, place) in records.chunks(OF_BLOCK).zip(&mut places) {
                blocks.push(block(chunk, depth, sum));
                let logical = chunk.first().map_or(0, |(logical, _)| *logical);
                above.push((logical, index(logical, place)));
            }
            (records, depth) = (above, depth + 1);
        }
        let mut root = [0; 60];
        fill(&mut root, &records, OF_INODE, depth);
        ExtentTree { root, blocks }
    }
}

fn leaf(extent: &Extent) -> (u64, [u8; RECORD]) {
    let mut record = [0; RECORD];
    put32(&mut record, 0, extent.logical);
    put16(&mut record, 4, extent.blocks);
    put16(&mut record, 6, extent.first >> 32);
    put32(&mut record, 8, extent.first);
    (extent.logical, record)
}

fn index(logical: u64, place: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    put32(&mut record, 0, logical);
    put32(&mut record, 4, place);
    put16(&mut record, 8, place >> 32);
    record
}

fn block(records: &[(u64, [u8; RECORD])], depth: u64, sum: Sum) -> Vec<u8> {
    let mut block = vec![0; BLOCK as usize];
    fill(&mut block, records, OF_BLOCK, depth);
    let end = HEADER + OF_BLOCK * RECORD;
    let sum = sum.with(block.get(..end).unwrap_or_default());
    put32(&mut block, end, sum.value());
    block
}

fn fill(node: &mut [u8], records: &[(u64, [u8; RECORD])], room: usize, depth: u64) {
    put16(node, 0, MAGIC);
    put16(node, 2, records.len() as u64);
    put16(node, 4, room as u64);
    put16(node, 6, depth);
    for (number, (_, record)) in records.iter().enumerate() {
        put(node, HEADER + number * RECORD, record);
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
            let tree = ExtentTree::of(&extents, 1.., Sum::START);
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
