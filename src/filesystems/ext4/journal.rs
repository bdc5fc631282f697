//! A journal that waits (Documentation/filesystems/ext4/journal.rst): what was written to it and not yet to its place is
//! read from it. Its numbers have the highest byte first.

use std::collections::BTreeMap;
use std::io;

use super::Ext4;
use super::blocks::{Blocks, Copied};
use super::checksum::Sum;
use super::format::JOURNAL_MAGIC;
use super::inode::Record;
use super::map::Run;
use super::numbers::{big_half, big_word, half, word};
use crate::filesystems::{InodeKind, damage, unread};

/// Bytes of what each of its own blocks begins with: a magic number, what it is, the number of its transaction.
const HEADER: usize = 12;

/// What a block of a journal is.
mod kind {
    pub const DESCRIPTOR: u32 = 1;
    pub const COMMIT: u32 = 2;
    pub const OLD_SUPERBLOCK: u32 = 3;
    pub const SUPERBLOCK: u32 = 4;
    pub const REVOCATION: u32 = 5;
}

/// Bits of what a reader of the journal has to know (`s_feature_incompat`).
mod needs {
    pub const WIDE: u32 = 0x2;
    /// Commits that may be older than what they commit.
    pub const ASYNC: u32 = 0x4;
    pub const SUMS_2: u32 = 0x8;
    pub const SUMS_3: u32 = 0x10;
    pub const FAST: u32 = 0x20;
    /// All that are read: those above, and revocations.
    pub const KNOWN: u32 = WIDE | ASYNC | SUMS_2 | SUMS_3 | FAST | 0x1;
}

/// The bit of `s_feature_compat` for commits with a checksum of their whole transaction.
const WHOLE_SUMS: u32 = 0x1;

/// What a journal has that is not in its place.
#[derive(Default)]
pub struct Replayed {
    /// Blocks, by their places.
    pub copied: BTreeMap<u64, Copied>,
    /// Whether there are changes beside the blocks (Documentation/filesystems/ext4/journal.rst, "Fast commits").
    pub has_fast: bool,
}

impl Ext4 {
    /// Reads the journal.
    pub fn replayed(&self) -> io::Result<Replayed> {
        let number = self.superblock.journal;
        if number == 0 {
            return Err(unread(
                "it has changes in its journal, which is on another disk: `e2fsck -p` writes them back",
            ));
        }
        let record = self.record(number.into())?;
        if record.kind()? != InodeKind::Regular {
            return Err(damage("its journal is no file"));
        }
        Journal::of(self, &record)?.map_or_else(|| Ok(Replayed::default()), |journal| journal.replayed())
    }
}

/// A journal.
struct Journal<'f> {
    own: Own<'f>,
    /// The first of its blocks with transactions, and the one behind the last.
    first: u64,
    last: u64,
    /// How many blocks it has.
    end: u64,
    /// Where the oldest transaction is, and its number.
    start: u64,
    sequence: u32,
    needed: u32,
    has_whole_sums: bool,
    /// What checksums begin with, if its blocks have them.
    sum: Option<Sum>,
}

impl<'f> Journal<'f> {
    /// The one in an inode; none if nothing is in it.
    fn of(ext4: &'f Ext4, record: &Record) -> io::Result<Option<Journal<'f>>> {
        // The least and the most that mke2fs(8) makes one with.
        const FEWEST: u64 = 1024;
        const MOST: u64 = 10_240_000;
        let own = Own::of(ext4, record)?;
        let bytes = own.block(0)?;
        let is_new = check_superblock(&bytes, ext4.superblock.block)?;
        let needed = if is_new { big_word(&bytes, 40) } else { 0 };
        if needed & !needs::KNOWN != 0 {
            return Err(unread(format!(
                "its journal has a feature that imgbuild does not know ({needed:#x})"
            )));
        }
        let end = u64::from(big_word(&bytes, 16));
        let fast = if needed & needs::FAST == 0 { 0 } else { fast_blocks(&bytes) };
        let journal = Journal {
            own,
            first: big_word(&bytes, 20).into(),
            last: end.checked_sub(fast).filter(|last| *last >= FEWEST).unwrap_or(end),
            end,
            start: big_word(&bytes, 28).into(),
            sequence: big_word(&bytes, 24),
            needed,
            has_whole_sums: is_new && big_word(&bytes, 36) & WHOLE_SUMS != 0,
            sum: sum_of(&bytes, needed)?,
        };
        let begins = journal.first > 0 && (journal.first..journal.last).contains(&journal.start);
        match journal.start {
            0 => Ok(None),
            _ if begins && end <= MOST => Ok(Some(journal)),
            _ => Err(damage("the numbers of its journal are at odds with each other")),
        }
    }

    /// What all of its transactions say, up to the first one that is not whole.
    fn replayed(&self) -> io::Result<Replayed> {
        let mut replayed = Replayed::default();
        let mut cursor = Cursor { at: self.start, left: self.last - self.first };
        let mut sequence = self.sequence;
        while let Some(transaction) = self.transaction(&mut cursor, sequence)? {
            if !self.are_whole(&transaction, sequence)? {
                break;
            }
            for tag in transaction.tags {
                self.own.blocks.check_place(tag.number)?;
                let copied = Copied { place: tag.place, is_escaped: tag.is_escaped };
                replayed.copied.insert(tag.number, copied);
            }
            // What was revoked was written before, or is not to be written at all.
            for number in transaction.revoked {
                replayed.copied.remove(&number);
            }
            sequence = sequence.wrapping_add(1);
        }
        replayed.has_fast = self.needed & needs::FAST != 0 && self.has_fast(sequence)?;
        Ok(replayed)
    }

    /// The transaction of that number; none if it has no end.
    fn transaction(&self, cursor: &mut Cursor, sequence: u32) -> io::Result<Option<Transaction>> {
        let mut transaction = Transaction::default();
        while let Some(at) = cursor.next(self) {
            let block = self.own.block(at)?;
            if big_word(&block, 0) != JOURNAL_MAGIC || big_word(&block, 8) != sequence {
                break;
            }
            match big_word(&block, 4) {
                kind::DESCRIPTOR if self.is_whole(&block) => {
                    self.sum_up(&block, &mut transaction);
                    if !self.read_tags(&block, cursor, &mut transaction)? {
                        break;
                    }
                }
                kind::REVOCATION if self.is_whole(&block) => {
                    transaction.revoked.extend(self.revoked(&block));
                }
                kind::COMMIT => {
                    return Ok(self.is_commit(&block, &transaction).then_some(transaction));
                }
                _ => break,
            }
        }
        Ok(None)
    }

    /// Reads what a descriptor tells of the blocks behind it. Whether they are all there.
    fn read_tags(
        &self,
        block: &[u8],
        cursor: &mut Cursor,
        transaction: &mut Transaction,
    ) -> io::Result<bool> {
        const ESCAPED: u16 = 0x1;
        const SAME_UUID: u16 = 0x2;
        const LAST: u16 = 0x8;
        const UUID: usize = 16;
        let (size, end) = (self.tag_size(), block.len().saturating_sub(self.tail()));
        let mut at = HEADER;
        while let Some(bytes) = block.get(at..at + size).filter(|_| at + size <= end) {
            let Some(behind) = cursor.next(self) else { return Ok(false) };
            let place = self.own.place(behind)?;
            if self.has_whole_sums {
                self.sum_up(&self.own.blocks.block(place)?, transaction);
            }
            let flags = big_half(bytes, 6);
            let (number, sum) = self.place_and_sum(bytes);
            transaction.tags.push(Tag { number, place, is_escaped: flags & ESCAPED != 0, sum });
            at += size + if flags & SAME_UUID == 0 { UUID } else { 0 };
            if flags & LAST != 0 {
                break;
            }
        }
        Ok(true)
    }

    /// Where a block is to be written, and its checksum.
    fn place_and_sum(&self, bytes: &[u8]) -> (u64, u32) {
        let upper = if self.needed & needs::WIDE == 0 { 0 } else { big_word(bytes, 8) };
        let is_new = self.needed & needs::SUMS_3 != 0;
        let sum = if is_new { big_word(bytes, 12) } else { big_half(bytes, 4).into() };
        (u64::from(big_word(bytes, 0)) | u64::from(upper) << 32, sum)
    }

    /// Bytes of what a descriptor tells of a block.
    fn tag_size(&self) -> usize {
        let sums = if self.needed & needs::SUMS_2 == 0 { 0 } else { 2 };
        match (self.needed & needs::SUMS_3 != 0, self.needed & needs::WIDE != 0) {
            (true, _) => 16,
            (false, true) => 12 + sums,
            (false, false) => 8 + sums,
        }
    }

    /// Bytes of the checksum at the end of a descriptor.
    fn tail(&self) -> usize {
        if self.sum.is_some() { 4 } else { 0 }
    }

    /// Whether a descriptor is what was written.
    fn is_whole(&self, block: &[u8]) -> bool {
        let (before, tail) = block.split_at_checked(block.len().saturating_sub(4)).unwrap_or_default();
        self.sum.is_none_or(|sum| sum.with(before).with(&[0; 4]).value() == big_word(tail, 0))
    }

    /// The blocks that are not to be written.
    fn revoked(&self, block: &[u8]) -> Vec<u64> {
        const NUMBERS: usize = HEADER + 4;
        let used = usize::try_from(big_word(block, HEADER)).unwrap_or(usize::MAX);
        let end = used.min(block.len().saturating_sub(self.tail()));
        let numbers = block.get(NUMBERS..end).unwrap_or_default();
        if self.needed & needs::WIDE == 0 {
            numbers.chunks_exact(4).map(|number| big_word(number, 0).into()).collect()
        } else {
            let wide = |number: &[u8]| u64::from(big_word(number, 0)) << 32 | u64::from(big_word(number, 4));
            numbers.chunks_exact(8).map(wide).collect()
        }
    }

    /// Whether a block is the end of that transaction.
    fn is_commit(&self, block: &[u8], transaction: &Transaction) -> bool {
        /// Where its checksum stands, and which one that is.
        const SUM: usize = 16;
        const KIND: [u8; 2] = [1, 4];
        let (before, rest) = block.split_at_checked(SUM).unwrap_or_default();
        let (own, behind) = rest.split_at_checked(4).unwrap_or_default();
        if let Some(sum) = self.sum {
            return sum.with(before).with(&[0; 4]).with(behind).value() == big_word(own, 0);
        }
        let kind = block.get(HEADER..HEADER + 2).unwrap_or_default();
        !self.has_whole_sums
            || kind == KIND && whole_sum(&transaction.sum) == big_word(own, 0)
            || kind == [0, 0] && big_word(own, 0) == 0
    }

    /// Whether the blocks of a transaction that has an end are what was written.
    fn are_whole(&self, transaction: &Transaction, sequence: u32) -> io::Result<bool> {
        let Some(sum) = self.sum else { return Ok(true) };
        let sum = sum.with(&sequence.to_be_bytes());
        for tag in &transaction.tags {
            let found = sum.with(&self.own.blocks.block(tag.place)?).value();
            let found = if self.needed & needs::SUMS_3 == 0 { found & 0xffff } else { found };
            if found == tag.sum {
                continue;
            }
            // Its end was written after all of it, unless they were not waited for.
            if self.needed & needs::ASYNC != 0 {
                return Ok(false);
            }
            return Err(damage("a block in its journal has another checksum"));
        }
        Ok(true)
    }

    /// Adds a block to the checksum of its whole transaction.
    fn sum_up(&self, block: &[u8], transaction: &mut Transaction) {
        if self.has_whole_sums {
            // The journal's CRC-32 takes the highest bit of a byte first, this one the lowest.
            let turned: Vec<u8> = block.iter().map(|byte| byte.reverse_bits()).collect();
            transaction.sum.update(&turned);
        }
    }

    /// Whether there are changes behind the transaction before that one which are no blocks.
    fn has_fast(&self, sequence: u32) -> io::Result<bool> {
        /// What the first of them begins with: the tag, its length; behind that are features and the transaction.
        const HEAD: u16 = 9;
        const TRANSACTION: usize = 8;
        // One block is between them and the others.
        let first = self.last + 1;
        if first >= self.end {
            return Ok(false);
        }
        let block = self.own.block(first)?;
        Ok(half(&block, 0) == HEAD && word(&block, TRANSACTION) == sequence)
    }
}

/// The blocks that a journal has.
struct Own<'f> {
    blocks: &'f Blocks,
    /// Where they are.
    runs: Vec<Run>,
}

impl<'f> Own<'f> {
    fn of(ext4: &'f Ext4, record: &Record) -> io::Result<Own<'f>> {
        let (mut map, mut runs) = (ext4.map(record)?, Vec::new());
        while let Some(run) = map.next()? {
            runs.push(run);
        }
        // If one block stood for many of a journal, that would be longer than the disk.
        let mut places: Vec<(u64, u64)> = runs.iter().map(|run| (run.first, run.blocks)).collect();
        places.sort_unstable();
        let is_odd = |(one, next): (&(u64, u64), &(u64, u64))| one.0.saturating_add(one.1) > next.0;
        if places.iter().zip(places.iter().skip(1)).any(is_odd) {
            return Err(damage("its journal has blocks that stand in it twice"));
        }
        Ok(Own { blocks: &ext4.blocks, runs })
    }

    fn block(&self, logical: u64) -> io::Result<Vec<u8>> {
        self.blocks.block(self.place(logical)?)
    }

    /// Where one of them is.
    fn place(&self, logical: u64) -> io::Result<u64> {
        let index = self.runs.partition_point(|run| run.end() <= logical);
        let run = self.runs.get(index).filter(|run| run.logical <= logical);
        let run = run.ok_or_else(|| damage("its journal ends too early"))?;
        Ok(run.first.saturating_add(logical - run.logical))
    }
}

/// Where in a journal something is read.
struct Cursor {
    at: u64,
    /// Blocks that were not read: after these, it would be read again.
    left: u64,
}

impl Cursor {
    /// The block that is next: the first is behind the last.
    fn next(&mut self, journal: &Journal<'_>) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        let at = self.at;
        self.at = if at + 1 >= journal.last { journal.first } else { at + 1 };
        Some(at)
    }
}

/// Changes that are made all or not at all.
#[derive(Default)]
struct Transaction {
    tags: Vec<Tag>,
    revoked: Vec<u64>,
    /// Of descriptors and blocks, if the journal has such sums.
    sum: crc32fast::Hasher,
}

/// A block that is to be written.
struct Tag {
    number: u64,
    /// Where it is.
    place: u64,
    is_escaped: bool,
    sum: u32,
}

/// The checksum of a whole transaction: not inverted at its end.
fn whole_sum(sum: &crc32fast::Hasher) -> u32 {
    (!sum.clone().finalize()).reverse_bits()
}

/// That it is a journal's superblock; whether it is one that has features.
fn check_superblock(bytes: &[u8], block: u64) -> io::Result<bool> {
    let kind = big_word(bytes, 4);
    let is_known = matches!(kind, kind::SUPERBLOCK | kind::OLD_SUPERBLOCK);
    if big_word(bytes, 0) != JOURNAL_MAGIC || !is_known || u64::from(big_word(bytes, 12)) != block {
        return Err(damage("its journal is none"));
    }
    Ok(kind == kind::SUPERBLOCK)
}

/// What the checksums of a journal begin with, if it has them, and its superblock is what was written.
fn sum_of(bytes: &[u8], needed: u32) -> io::Result<Option<Sum>> {
    const SIZE: usize = 1024;
    const SUM: usize = 0xfc;
    if needed & (needs::SUMS_2 | needs::SUMS_3) == 0 {
        return Ok(None);
    }
    let (before, rest) = bytes.split_at_checked(SUM).unwrap_or_default();
    let behind = rest.get(4..SIZE - SUM).unwrap_or_default();
    if Sum::START.with(before).with(&[0; 4]).with(behind).value() != big_word(rest, 0) {
        return Err(damage("the checksum of its journal's superblock is another one"));
    }
    Ok(Some(Sum::START.with(bytes.get(48..64).unwrap_or_default())))
}

/// How many blocks at its end are for changes that are no blocks.
fn fast_blocks(bytes: &[u8]) -> u64 {
    const USUAL: u32 = 256;
    match big_word(bytes, 84) {
        0 => USUAL.into(),
        some => some.into(),
    }
}
