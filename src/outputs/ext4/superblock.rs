//! The superblock (Documentation/filesystems/ext4/super.rst): 1024 bytes, of which there are copies.

use super::geometry::{BLOCK, DESCRIPTOR, GROUP, INODE};
use super::inode::EXTRA;
use super::record::Record;
use crate::fault::Fault;
use crate::filesystems::ext4::checksum::Sum;

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
    ///
    /// # Errors
    ///
    /// Something has no place there.
    pub fn of_group(&self, group: u64) -> Result<[u8; SIZE], Fault> {
        let (mut bytes, mut label) = (Record::new(), Record::<16>::new());
        label.put(0, self.label.as_bytes());
        self.put_counts(&mut bytes);
        self.put_times(&mut bytes);
        self.put_features(&mut bytes);
        // In order; a copy does not know.
        bytes.put16(58, u64::from(group == 0));
        bytes.put16(90, group);
        bytes.put(104, &self.uuid);
        bytes.put(120, &label.done()?);
        let (place, size) = self.journal;
        // The journal's inode, and what stands in there once more, in case that it is lost.
        bytes.put32(224, 8);
        bytes.put(253, &[1]);
        bytes.put(268, &place);
        bytes.put_split((332, 328), size);
        let sum = Sum::START.with(bytes.up_to(SIZE - 4));
        bytes.put32(SIZE - 4, sum.value().into());
        bytes.done()
    }

    fn put_counts(&self, bytes: &mut Record<SIZE>) {
        bytes.put32(0, self.inodes);
        bytes.put_split((4, 336), self.blocks);
        // One of twenty is kept for root.
        bytes.put_split((8, 340), self.blocks / 20);
        bytes.put_split((12, 344), self.free_blocks);
        bytes.put32(16, self.free_inodes);
        // Blocks and clusters of 1024 << 2 bytes.
        bytes.put32(24, 2);
        bytes.put32(28, 2);
        bytes.put32(32, GROUP);
        bytes.put32(36, GROUP);
        bytes.put32(40, self.inodes_per_group);
        bytes.put16(206, self.reserved);
        bytes.put32(584, self.overhead);
        // In KiB.
        bytes.put_split((376, 380), self.written * (BLOCK / 1024));
    }

    fn put_times(&self, bytes: &mut Record<SIZE>) {
        // Written last, checked last, made: the lowest 32 bits, and eight more elsewhere.
        for (at, more) in [(48, 628), (64, 631), (264, 630)] {
            bytes.put32(at, self.made as u64);
            bytes.put(more, &[(self.made >> 32) as u8]);
        }
        // Never to be checked for how often it was mounted.
        bytes.put16(54, 0xffff);
    }

    fn put_features(&self, bytes: &mut Record<SIZE>) {
        bytes.put16(56, 0xef53);
        // On errors, go on.
        bytes.put16(60, 1);
        // A revision with what follows: the first inode of a file, and how large inodes are.
        bytes.put32(76, 1);
        bytes.put32(84, super::geometry::FIRST_INODES);
        bytes.put16(88, INODE);
        bytes.put32(92, COMPATIBLE | if self.reserved > 0 { RESIZE_INODE } else { 0 });
        bytes.put32(96, INCOMPATIBLE);
        bytes.put32(100, TO_WRITE);
        // Names are hashed with the UUID, by half MD4, as signed bytes.
        bytes.put(236, &self.uuid);
        bytes.put(252, &[1]);
        bytes.put32(352, 1);
        bytes.put16(254, DESCRIPTOR);
        // Mounted with user_xattr and acl.
        bytes.put32(256, 0xc);
        bytes.put16(348, EXTRA);
        bytes.put16(350, EXTRA);
        // Sixteen groups are one; checksums are CRC-32C.
        bytes.put(372, &[4, 1]);
    }
}
