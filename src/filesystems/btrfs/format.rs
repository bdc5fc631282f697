//! The records of btrfs, as the kernel's `include/uapi/linux/btrfs_tree.h` has them: all numbers little-endian. Who reads
//! it and who writes it goes by these.

use std::io;

use super::super::{damage, little};

/// Where the superblock and its copies are: bytes (`btrfs_sb_offset`).
pub const SUPERBLOCKS: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
/// What a superblock says that it is.
pub const MAGIC: &[u8] = b"_BHRfS_M";
/// Bytes that a sum has room for, in front of what it is of.
pub const SUM: usize = 32;
/// Bytes in front of what a node holds (`struct btrfs_header`).
pub const HEADER: usize = 101;
/// Bytes that tell of an item where it is (`struct btrfs_item`).
pub const ITEM: usize = 25;
/// Bytes that point to a node below (`struct btrfs_key_ptr`).
pub const POINTER: usize = 33;
/// Bytes of a key (`struct btrfs_disk_key`).
pub const KEY: usize = 17;
/// The object of all chunks.
pub const CHUNKS: u64 = 256;
/// The object of all sums of data.
pub const CONTENT_SUMS: u64 = -10_i64 as u64;
/// The root of a tree of files.
pub const ROOT_INODE: u64 = 256;
/// What the entry is called that says which tree of files is mounted.
pub const DEFAULT: &[u8] = b"default";
/// Bits of a device's minor number, below those of its major number.
pub const MINOR_BITS: u32 = 20;

/// Trees, by their objects.
pub mod tree {
    pub const ROOT: u64 = 1;
    pub const EXTENT: u64 = 2;
    pub const CHUNK: u64 = 3;
    pub const DEVICE: u64 = 4;
    pub const FILES: u64 = 5;
    pub const ROOT_DIRECTORY: u64 = 6;
    pub const SUMS: u64 = 7;
    pub const UUID: u64 = 9;
    pub const FREE: u64 = 10;
    pub const RELOCATION: u64 = -9_i64 as u64;
}

/// Kinds of items.
pub mod kind {
    pub const INODE: u8 = 1;
    pub const INODE_REF: u8 = 12;
    pub const INODE_EXTREF: u8 = 13;
    pub const XATTR: u8 = 24;
    pub const DIR_ITEM: u8 = 84;
    pub const DIR_INDEX: u8 = 96;
    pub const EXTENT_DATA: u8 = 108;
    pub const SUMS: u8 = 128;
    pub const ROOT: u8 = 132;
    /// Where the root of a tree of files is in another: from that one's number to its own.
    pub const ROOT_REF: u8 = 156;
    pub const EXTENT: u8 = 168;
    pub const METADATA: u8 = 169;
    pub const BLOCK_GROUP: u8 = 192;
    pub const FREE_INFO: u8 = 198;
    pub const FREE_EXTENT: u8 = 199;
    pub const DEVICE_EXTENT: u8 = 204;
    pub const DEVICE: u8 = 216;
    pub const CHUNK: u8 = 228;
    pub const UUID_OF_SUBVOLUME: u8 = 251;
    /// In an extent's item: who has it.
    pub const OF_TREE: u8 = 176;
    pub const OF_FILE: u8 = 178;
}

/// What is in a block group, and how often.
pub mod flags {
    pub const DATA: u64 = 1;
    pub const SYSTEM: u64 = 2;
    pub const METADATA: u64 = 4;
    pub const RAID0: u64 = 8;
    pub const RAID10: u64 = 64;
    pub const RAID5: u64 = 128;
    pub const RAID6: u64 = 256;
    pub const DUP: u64 = 32;
}

/// A UUID's bytes.
pub type Uuid = [u8; 16];

/// Where an item stands in its tree: object, kind, offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub u64, pub u8, pub u64);

impl Key {
    /// The key that begins `bytes`.
    ///
    /// # Errors
    ///
    /// Bytes that are too few.
    pub fn of(bytes: &[u8]) -> io::Result<Key> {
        Ok(Key(number(bytes, 0, 8)?, number(bytes, 8, 1)? as u8, number(bytes, 9, 8)?))
    }
}

/// The number of `length` bytes at `at`.
///
/// # Errors
///
/// Bytes that are too few.
pub fn number(bytes: &[u8], at: usize, length: usize) -> io::Result<u64> {
    slice(bytes, at, length).map(little)
}

/// The `length` bytes at `at`.
///
/// # Errors
///
/// Bytes that are too few.
pub fn slice(bytes: &[u8], at: usize, length: usize) -> io::Result<&[u8]> {
    let found = at.checked_add(length).and_then(|end| bytes.get(at..end));
    found.ok_or_else(|| damage("a record in it ends too early"))
}

/// What names are found by: CRC-32C from another start, and not inverted at its end.
pub fn name_hash(name: &[u8]) -> u64 {
    u64::from(!crc32c::crc32c_append(1, name))
}
