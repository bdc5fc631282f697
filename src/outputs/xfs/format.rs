//! The records of xfs, version 5, as the kernel's `fs/xfs/libxfs/xfs_format.h` has them: all numbers big-endian, but for
//! sums. What the reader knows of it, too, is with that.

use crate::filesystems::xfs::format::{BLOCK_BITS, COUNT_BITS, NANOSECONDS, TIME_BEGINS};
pub use crate::filesystems::xfs::format::{Uuid, fork};

/// Bytes of a block.
pub const BLOCK: u64 = 4096;
/// Bytes of a sector, which the headers of a group have each.
pub const SECTOR: u64 = 512;
/// Bytes of an inode.
pub const INODE: usize = 512;
/// Bytes of an inode's own part; content, or where it is, and attributes follow.
pub const CORE: usize = 176;
/// Inodes that are made at once.
pub const CHUNK: u64 = 64;
/// Blocks that they have.
pub const CHUNK_BLOCKS: u64 = CHUNK * INODE as u64 / BLOCK;
/// A number that stands for no block and no inode.
pub const NONE: u32 = u32::MAX;

/// Bytes that are put together number by number.
#[derive(Clone, Debug, Default)]
pub struct Record(Vec<u8>);

impl Record {
    pub fn new() -> Record {
        Record::default()
    }

    pub fn u8(self, number: u8) -> Record {
        self.bytes(&[number])
    }

    pub fn u16(self, number: u16) -> Record {
        self.bytes(&number.to_be_bytes())
    }

    /// A number that fits: an offset in a block, or how many there are in one.
    pub fn small(self, number: usize) -> Record {
        self.u16(u16::try_from(number).unwrap_or(u16::MAX))
    }

    pub fn u32(self, number: u32) -> Record {
        self.bytes(&number.to_be_bytes())
    }

    /// Numbers of four bytes, one behind the other.
    pub fn u32s(self, numbers: &[u32]) -> Record {
        numbers.iter().fold(self, |record, number| record.u32(*number))
    }

    pub fn u64(self, number: u64) -> Record {
        self.bytes(&number.to_be_bytes())
    }

    /// Numbers of eight bytes, one behind the other.
    pub fn u64s(self, numbers: &[u64]) -> Record {
        numbers.iter().fold(self, |record, number| record.u64(*number))
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Record {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn zeros(self, count: usize) -> Record {
        let length = self.0.len() + count;
        self.up_to(length)
    }

    /// Zeros until there are `length` bytes.
    pub fn up_to(mut self, length: usize) -> Record {
        self.0.resize(length, 0);
        self
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn done(self) -> Vec<u8> {
        self.0
    }

    /// The same with its sum at `at`, where zeros are.
    pub fn summed(mut self, at: usize) -> Vec<u8> {
        let sum = crc32c::crc32c(&self.0).to_le_bytes();
        self.0[at..at + 4].copy_from_slice(&sum);
        self.0
    }
}

/// A run of blocks of a file, and where in the file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Blocks from the file's beginning.
    pub offset: u64,
    /// The block, as the file system counts: bits of its group above bits of its place there.
    pub block: u64,
    pub count: u64,
}

/// What one extent can have: blocks.
pub const LARGEST_EXTENT: u64 = (1 << COUNT_BITS) - 1;
/// Bytes of an extent.
pub const EXTENT: usize = 16;

impl Extent {
    /// `xfs_bmbt_rec`: 54 bits, 52 and 21.
    pub fn record(&self) -> Vec<u8> {
        let high = self.offset << (BLOCK_BITS + COUNT_BITS - 64) | self.block >> (64 - COUNT_BITS);
        Record::new().u64s(&[high, self.block << COUNT_BITS | self.count]).done()
    }
}

/// What names are found by (`xfs_da_hashname`).
pub fn name_hash(name: &[u8]) -> u32 {
    let mut hash = 0u32;
    let mut fours = name.chunks_exact(4);
    for four in &mut fours {
        let [one, two, three, last] = [four[0], four[1], four[2], four[3]].map(u32::from);
        hash = one << 21 ^ two << 14 ^ three << 7 ^ last ^ hash.rotate_left(28);
    }
    match *fours.remainder() {
        [one, two, three] => {
            u32::from(one) << 14 ^ u32::from(two) << 7 ^ u32::from(three) ^ hash.rotate_left(21)
        }
        [one, two] => u32::from(one) << 7 ^ u32::from(two) ^ hash.rotate_left(14),
        [one] => u32::from(one) ^ hash.rotate_left(7),
        _ => hash,
    }
}

/// A point in time, in seconds since 1970 (`xfs_inode_encode_bigtime`): nanoseconds from 1901 on.
pub fn time(seconds: i64) -> u64 {
    const LAST: i64 = 16_299_260_424;
    (seconds.clamp(TIME_BEGINS, LAST) - TIME_BEGINS).unsigned_abs() * NANOSECONDS
}
