//! The blocks of a file as ext2 and ext3 have them (Documentation/filesystems/ext4/ifork.rst, "Direct/Indirect Block
//! Addressing"): twelve in the inode, and where a block is with the numbers of more, one with the numbers of such blocks,
//! and one with the numbers of those.

use std::collections::HashSet;
use std::io;

use super::blocks::Blocks;
use super::inode::Record;
use super::map::Run;
use super::numbers::word;
use crate::filesystems::damage;

/// Blocks whose numbers stand in the inode.
const DIRECT: usize = 12;
/// Bytes of a number.
const NUMBER: usize = 4;

/// The blocks of a file, one after the other.
pub struct Lists<'f> {
    blocks: &'f Blocks,
    inode: u32,
    /// From the inode on, those that are being read.
    lists: Vec<List>,
    /// The blocks of the file that were told, or are not there.
    at: u64,
    /// Where it ends: what is behind that is not looked at.
    end: u64,
    /// The lists that were read: each stands once in a file, so that the reading has an end.
    seen: HashSet<u64>,
}

/// A list that is being read.
struct List {
    bytes: Vec<u8>,
    read: usize,
    /// How many lists are between its numbers and the file's blocks; the inode's are apart.
    depth: Option<u32>,
}

impl<'f> Lists<'f> {
    /// Those of an inode.
    pub fn of(blocks: &'f Blocks, record: &Record) -> Lists<'f> {
        let list = List { bytes: record.place().to_vec(), read: 0, depth: None };
        let end = record.size().div_ceil(blocks.size);
        Lists { blocks, inode: record.number, lists: vec![list], at: 0, end, seen: HashSet::new() }
    }

    /// The next one that is there.
    pub fn next(&mut self) -> io::Result<Option<Run>> {
        while self.at < self.end {
            let Some(list) = self.lists.last_mut() else { break };
            let Some((number, depth)) = list.next() else {
                self.lists.pop();
                continue;
            };
            match (number, depth) {
                (0, depth) => self.at = self.at.saturating_add(self.span(depth)),
                (number, 0) => {
                    self.blocks.check(number, 1)?;
                    let run = Run { logical: self.at, first: number, blocks: 1 };
                    self.at = run.end();
                    return Ok(Some(run));
                }
                (number, depth) => self.descend(number, depth - 1)?,
            }
        }
        Ok(None)
    }

    fn descend(&mut self, number: u64, depth: u32) -> io::Result<()> {
        if !self.seen.insert(number) {
            return Err(damage(format!("the blocks of inode {} lead back to themselves", self.inode)));
        }
        let bytes = self.blocks.own_block(number, self.inode)?;
        self.lists.push(List { bytes, read: 0, depth: Some(depth) });
        Ok(())
    }

    /// How many blocks a number stands for.
    fn span(&self, depth: u32) -> u64 {
        (self.blocks.size / NUMBER as u64).saturating_pow(depth)
    }
}

impl List {
    /// The next number, and how many lists are between it and the file's blocks.
    fn next(&mut self) -> Option<(u64, u32)> {
        let at = self.read * NUMBER;
        let number = self.bytes.get(at..at + NUMBER).map(|bytes| word(bytes, 0).into());
        // The thirteenth number of an inode is that of a list, the next one that of a list of lists.
        let depth = self.depth.unwrap_or((self.read + 1).saturating_sub(DIRECT) as u32);
        self.read += 1;
        number.map(|number| (number, depth))
    }
}
