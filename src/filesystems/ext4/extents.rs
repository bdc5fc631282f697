//! Extents (Documentation/filesystems/ext4/ifork.rst, "Extent Tree"): a tree of which the inode has the root.

use std::io;

use super::blocks::Blocks;
use super::checksum::Sum;
use super::format::{EXTENT_HEADER, EXTENT_MAGIC, EXTENT_RECORD, LONGEST_EXTENT};
use super::inode::Record;
use super::map::Run;
use super::numbers::{half, word};
use crate::filesystems::damage;

/// Deeper than this no tree is.
const DEEPEST: u16 = 5;

/// The extents of a file, one after the other.
pub struct Extents<'f> {
    blocks: &'f Blocks,
    inode: u32,
    sum: Option<Sum>,
    /// From the root on, those that are being read.
    nodes: Vec<Node>,
    /// Where the next extent can begin. It only rises, so that the reading has an end.
    floor: u64,
}

/// A node that is being read.
struct Node {
    bytes: Vec<u8>,
    /// How many nodes are below.
    depth: u16,
    records: usize,
    read: usize,
    /// The block that the last record began with.
    before: Option<u32>,
}

impl<'f> Extents<'f> {
    /// Those of an inode.
    pub fn of(blocks: &'f Blocks, record: &Record) -> io::Result<Extents<'f>> {
        let mut extents =
            Extents { blocks, inode: record.number, sum: record.sum, nodes: Vec::new(), floor: 0 };
        let root = extents.node(record.place().to_vec(), None)?;
        extents.nodes.push(root);
        Ok(extents)
    }

    /// The next one that was written to.
    pub fn next(&mut self) -> io::Result<Option<Run>> {
        loop {
            let Some(node) = self.nodes.last_mut() else { return Ok(None) };
            let depth = node.depth;
            let Some(record) = node.next() else {
                self.nodes.pop();
                continue;
            };
            let (logical, before) = (word(&record, 0), node.before.replace(word(&record, 0)));
            if u64::from(logical) < self.floor || before.is_some_and(|before| before >= logical) {
                return Err(self.odd("are not in order"));
            }
            self.floor = logical.into();
            if depth > 0 {
                self.descend(&record, depth)?;
            } else if let Some(run) = self.run(&record)? {
                return Ok(Some(run));
            }
        }
    }

    fn descend(&mut self, record: &[u8; EXTENT_RECORD], depth: u16) -> io::Result<()> {
        let place = u64::from(word(record, 4)) | u64::from(half(record, 8)) << 32;
        let bytes = self.blocks.own_block(place, self.inode)?;
        let node = self.node(bytes, depth.checked_sub(1))?;
        self.nodes.push(node);
        Ok(())
    }

    /// What an extent says; none if nothing was written to it yet.
    fn run(&mut self, record: &[u8; EXTENT_RECORD]) -> io::Result<Option<Run>> {
        let length = half(record, 4);
        let (blocks, is_written) = match length.checked_sub(LONGEST_EXTENT) {
            None | Some(0) => (u64::from(length), true),
            Some(blocks) => (u64::from(blocks), false),
        };
        let first = u64::from(word(record, 8)) | u64::from(half(record, 6)) << 32;
        if blocks == 0 {
            return Err(self.odd("are empty"));
        }
        self.blocks.check(first, blocks)?;
        let run = Run { logical: self.floor, first, blocks };
        self.floor = run.end();
        Ok(is_written.then_some(run))
    }

    /// The node in `bytes`, with as many below it as the one above it lets it have; the root has none above it.
    fn node(&self, bytes: Vec<u8>, below: Option<u16>) -> io::Result<Node> {
        let (records, most, depth) = (half(&bytes, 2), half(&bytes, 4), half(&bytes, 6));
        let room = bytes.len().saturating_sub(EXTENT_HEADER) / EXTENT_RECORD;
        let whole = half(&bytes, 0) == EXTENT_MAGIC
            && records <= most
            && usize::from(most) <= room
            && below.map_or(depth <= DEEPEST, |below| depth == below)
            && (records > 0 || depth == 0);
        if !whole {
            return Err(self.odd("are told by what is no node of theirs"));
        }
        let end = EXTENT_HEADER + usize::from(most) * EXTENT_RECORD;
        let sum =
            self.sum.filter(|_| below.is_some()).map(|sum| sum.with(bytes.get(..end).unwrap_or_default()));
        if sum.is_some_and(|sum| sum.value() != word(&bytes, end)) {
            return Err(self.odd("have another checksum"));
        }
        Ok(Node { bytes, depth, records: records.into(), read: 0, before: None })
    }

    fn odd(&self, what: &str) -> io::Error {
        damage(format!("the extents of inode {} {what}", self.inode))
    }
}

impl Node {
    /// The next record.
    fn next(&mut self) -> Option<[u8; EXTENT_RECORD]> {
        let record = self.bytes.get(EXTENT_HEADER + self.read * EXTENT_RECORD..)?.first_chunk().copied();
        self.read += 1;
        record.filter(|_| self.read <= self.records)
    }
}
