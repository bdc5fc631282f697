//! The journal: new and empty (Documentation/filesystems/ext4/journal.rst). Its first block says so; the others are zeros.

use super::geometry::BLOCK;
use super::record::Block;
use crate::fault::Fault;
use crate::filesystems::ext4::format::JOURNAL_MAGIC;

/// A superblock of the second kind, which has what stands behind its first 36 bytes.
const SUPERBLOCK: u32 = 4;

/// The first block of a journal of `blocks` blocks. Its numbers have the highest byte first.
///
/// # Errors
///
/// Something has no place there.
pub fn first_block(blocks: u64, uuid: &[u8; 16]) -> Result<[u8; BLOCK as usize], Fault> {
    let mut bytes = Block::new();
    let mut number = |at: usize, number: u32| bytes.put(at, &number.to_be_bytes());
    number(0, JOURNAL_MAGIC);
    number(4, SUPERBLOCK);
    number(12, BLOCK as u32);
    number(16, blocks as u32);
    // The first block of the log, and the first transaction that is to come.
    number(20, 1);
    number(24, 1);
    // One file system uses it.
    number(64, 1);
    bytes.put(48, uuid);
    bytes.done()
}
