//! The superblock (Documentation/filesystems/ext4/super.rst): 1024 bytes, of which there are copies.

use super::checksum::Sum;
use super::geometry::{BLOCK, DESCRIPTOR, GROUP, INODE};
use super::inode::EXTRA;
use super::record::{put, put_split, put16, put32};

/// Bytes of a superblock; the first one stands as many bytes behind the beginning.
pub const SIZE: usize = 1024;

/// has_journal, ext_attr, dir_index; and resize_inode.
const COMPATIBLE: u64 = 0x4 | 0x8 | 0x20;
const RESIZE_INODE: u64 = 0x10;
/// filetype, extents, 64bit, flex_bg.
const INCOMPATIBLE: u64 = 0x2 | 0x40 | 0x80 | 0x200;
/// sparse_super, large_file, huge_file, dir_nlink, extra_isize, metadata_csum.
const TO_WRITE: u64 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400;

/// What a superblock says that others do not.
pub struct Superblock<'a> {
    pub uuid: [u8; 16],
    pub label: &'a str,
    /// When it was made: seconds since 1970.
    pub made: i64,
    pub blocks: u64,
    pub free_blocks: u64,
    /// How many can never be a file's.
    pub overhead: u64,
    /// How many were written so far, about.
    pub written: u64,
    pub inodes: u64,
    pub free_inodes: u64,
    pub inodes_per_group: u64,
    /// Blocks that are kept for more descriptors.
    pub reserved: u64,
    /// Of the journal's inode: where its blocks are, and how many bytes it has.
    pub journal: ([u8; 60], u64),
}

impl Superblock<'_> {
    /// That of `group`: of 0, the first; of others, a copy.
    pub fn of_group(&self, group: u64) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        self.put_counts(&mut bytes);
        self.put_times(&mut bytes);
        self.put_features(&mut bytes);
        // In order; a copy does not know.
        put16(&mut bytes, 58, u64::from(group == 0));
        put16(&mut bytes, 90, group);
        put(&mut bytes, 104, &self.uuid);
        put(&mut bytes, 120, self.label.as_bytes().get(..16).unwrap_or(self.label.as_bytes()));
        let (place, size) = self.journal;
        // The journal's inode, and what stands in there once more, in case that it is lost.
        put32(&mut bytes, 224, 8);
        put(&mut bytes, 253, &[1]);
        put(&mut bytes, 268, &place);
        put_split(&mut bytes, (332, 328), size);
        let sum = Sum::START.with(bytes.get(..SIZE - 4).unwrap_or_default());
        put32(&mut bytes, SIZE - 4, sum.value());
        bytes
    }

    fn put_counts(&self, bytes: &mut [u8]) {
        put32(bytes, 0, self.inodes);
        put_split(bytes, (4, 336), self.blocks);
        // One of twenty is kept for root.
        put_split(bytes, (8, 340), self.blocks / 20);
        put_split(bytes, (12, 344), self.free_blocks);
        put32(bytes, 16, self.free_inodes);
        // Blocks and clusters of 1024 << 2 bytes.
        put32(bytes, 24, 2);
        put32(bytes, 28, 2);
        put32(bytes, 32, GROUP);
        put32(bytes, 36, GROUP);
        put32(bytes, 40, self.inodes_per_group);
        put16(bytes, 206, self.reserved);
        put32(bytes, 584, self.overhead);
        // In KiB.
        put_split(bytes, (376, 380), self.written * (BLOCK / 1024));
    }

    fn put_times(&self, bytes: &mut [u8]) {
        // Written last, checked last, made: the lowest 32 bits, and eight more elsewhere.
        for (at, more) in [(48, 628), (64, 631), (264, 630)] {
            put32(bytes, at, self.made as u64);
            put(bytes, more, &[(self.made >> 32) as u8]);
        }
        // Never to be checked for how often it was mounted.
        put16(bytes, 54, 0xffff);
    }

    fn put_features(&self, bytes: &mut [u8]) {
        put16(bytes, 56, 0xef53);
        // On errors, go on.
        put16(bytes, 60, 1);
        // A revision with what follows: the first inode of a file, and how large inodes are.
        put32(bytes, 76, 1);
        put32(bytes, 84, super::geometry::FIRST_INODES);
        put16(bytes, 88, INODE);
        put32(bytes, 92, COMPATIBLE | if self.reserved > 0 { RESIZE_INODE } else { 0 });
        put32(bytes, 96, INCOMPATIBLE);
        put32(bytes, 100, TO_WRITE);
        // Names are hashed with the UUID, by half MD4, as signed bytes.
        put(bytes, 236, &self.uuid);
        put(bytes, 252, &[1]);
        put32(bytes, 352, 1);
        put16(bytes, 254, DESCRIPTOR);
        // Mounted with user_xattr and acl.
        put32(bytes, 256, 0xc);
        put16(bytes, 348, EXTRA);
        put16(bytes, 350, EXTRA);
        // Sixteen groups are one; checksums are CRC-32C.
        put(bytes, 372, &[4, 1]);
    }
}
