//! The blocks of a file system: as they stand in its part, or, where a journal that waits has newer ones, as they stand
//! there.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Mutex, PoisonError};

use super::format::JOURNAL_MAGIC;
use crate::filesystems::{Part, damage};

/// A block in the journal that is to be written to another place.
#[derive(Clone, Copy, Debug)]
pub struct Copied {
    /// The block of the file system where it is.
    pub place: u64,
    /// Whether it began with what a journal's own blocks begin with, and there begins with zeros instead.
    pub is_escaped: bool,
}

/// All of them.
pub struct Blocks {
    part: Part,
    /// Bytes of a block.
    pub size: u64,
    /// How many there are.
    pub count: u64,
    /// The first that a file can have: before it is what boots.
    pub first: u64,
    /// Those that are elsewhere, by the number that they are to have.
    copied: BTreeMap<u64, Copied>,
    /// Whose those are that tell of names, or of where blocks are: no two inodes can have the same, so that all of them
    /// together take no longer than there are blocks.
    owners: Mutex<HashMap<u64, u32>>,
}

impl Blocks {
    /// Those of a part; `copied` are those that are elsewhere.
    pub fn new(part: Part, size: u64, count: u64, first: u64) -> Blocks {
        Blocks { part, size, count, first, copied: BTreeMap::new(), owners: Mutex::default() }
    }

    /// From now on, these stand elsewhere.
    pub fn copy(&mut self, copied: BTreeMap<u64, Copied>) {
        self.copied = copied;
        self.owners = Mutex::default();
    }

    /// The bytes of a block.
    pub fn block(&self, number: u64) -> io::Result<Vec<u8>> {
        self.bytes(self.start(number), self.size)
    }

    /// The bytes of a block that is that inode's alone.
    pub fn own_block(&self, number: u64, inode: u32) -> io::Result<Vec<u8>> {
        self.check(number, 1)?;
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if *owners.entry(number).or_insert(inode) != inode {
            return Err(damage(format!("inode {inode} and another one have the same block {number}")));
        }
        drop(owners);
        self.block(number)
    }

    /// The bytes from the byte `start` on: less than any record has.
    pub fn bytes(&self, start: u64, length: u64) -> io::Result<Vec<u8>> {
        // The largest block, which no record exceeds.
        const MOST: u64 = 1 << 16;
        let length = usize::try_from(length.min(MOST)).unwrap_or_default();
        let mut bytes = vec![0; length];
        self.fill(start, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `into` with the bytes from the byte `at` on.
    pub fn fill(&self, mut at: u64, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            let block = at / self.size;
            let next = self.copied.range(block..).next();
            let (end, copied) = match next {
                Some((number, copied)) if *number == block => (self.start(block + 1), Some(*copied)),
                Some((number, _)) => (self.start(*number), None),
                None => (u64::MAX, None),
            };
            let run = usize::try_from(end - at).unwrap_or(usize::MAX).min(into.len());
            let (now, rest) = into.split_at_mut(run);
            match copied {
                Some(copied) => self.fill_copied(copied, at % self.size, now)?,
                None => self.part.fill(at, now)?,
            }
            // A run that was read has an end.
            (at, into) = (at.saturating_add(run as u64), rest);
        }
        Ok(())
    }

    /// That files can have these blocks.
    pub fn check(&self, first: u64, blocks: u64) -> io::Result<()> {
        let end = first.checked_add(blocks).filter(|end| *end <= self.count && first >= self.first);
        end.map(|_| ()).ok_or_else(|| damage(format!("a file has the block {first}, which no file can have")))
    }

    /// That the part has a block of that number.
    pub fn check_place(&self, number: u64) -> io::Result<()> {
        let is_there = number < self.part.size() / self.size;
        if is_there {
            Ok(())
        } else {
            Err(damage(format!("its journal has the block {number}, which is none")))
        }
    }

    fn start(&self, block: u64) -> u64 {
        block.saturating_mul(self.size)
    }

    fn fill_copied(&self, copied: Copied, within: u64, into: &mut [u8]) -> io::Result<()> {
        self.part.fill(self.start(copied.place).saturating_add(within), into)?;
        if copied.is_escaped {
            let skipped = usize::try_from(within).unwrap_or(usize::MAX);
            let magic = JOURNAL_MAGIC.to_be_bytes();
            into.iter_mut().zip(magic.iter().skip(skipped)).for_each(|(byte, magic)| *byte = *magic);
        }
        Ok(())
    }
}
