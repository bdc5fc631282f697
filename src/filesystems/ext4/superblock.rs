//! The superblock (Documentation/filesystems/ext4/super.rst): what is in the file system, and where.

use std::io;

use super::checksum::Sum;
use super::format::SUPERBLOCK_MAGIC;
use super::numbers::{half, split, word};
use crate::filesystems::{damage, label, unread};

/// Where it stands: bytes from the beginning of the part.
pub const AT: u64 = 1024;
/// Its bytes.
pub const SIZE: u64 = 1024;

/// Where its own checksum stands: at its end.
const SUM: usize = 1020;

/// Bits of what a reader has to know (`s_feature_incompat`).
mod needs {
    pub const COMPRESSION: u32 = 0x1;
    pub const RECOVER: u32 = 0x4;
    pub const JOURNAL_DEVICE: u32 = 0x8;
    pub const META_GROUPS: u32 = 0x10;
    pub const WIDE: u32 = 0x80;
    pub const XATTR_INODES: u32 = 0x400;
    pub const DIRDATA: u32 = 0x1000;
    pub const SEED: u32 = 0x2000;
    pub const LARGE_DIRECTORIES: u32 = 0x4000;
    /// All that are read: those above, types in directories, extents, several mounts, flexible groups, content in inodes,
    /// encryption, folded names.
    pub const KNOWN: u32 = RECOVER
        | META_GROUPS
        | WIDE
        | XATTR_INODES
        | SEED
        | LARGE_DIRECTORIES
        | 0x2
        | 0x40
        | 0x100
        | 0x200
        | 0x8000
        | 0x1_0000
        | 0x2_0000;
}

/// Bits of what only a writer has to know (`s_feature_ro_compat`).
mod writes {
    pub const SPARSE: u32 = 0x1;
    pub const GROUP_SUMS: u32 = 0x10;
    pub const CLUSTERS: u32 = 0x200;
    pub const SUMS: u32 = 0x400;
}

/// The bit of `s_feature_compat` for two groups alone that have copies of the superblock.
const SPARSE_2: u32 = 0x200;

/// What a superblock says.
#[derive(Clone, Debug)]
pub struct Superblock {
    /// Bytes of a block.
    pub block: u64,
    /// How many blocks there are.
    pub blocks: u64,
    /// The first block of the first group.
    pub first_block: u64,
    /// How many inodes there are.
    pub inodes: u32,
    /// The first inode that people can have, beside the root.
    pub first_inode: u32,
    /// Bytes of an inode.
    pub inode: u64,
    /// Inodes of a group.
    pub inodes_per_group: u32,
    /// Bytes of a group's descriptor.
    pub descriptor: u64,
    /// How the descriptors of groups are known to be whole.
    pub group_sum: GroupSum,
    /// What checksums begin with, if metadata has them.
    pub sum: Option<Sum>,
    /// What they would begin with: some do without.
    pub seed: Sum,
    /// The inode of the journal.
    pub journal: u32,
    /// Its UUID.
    pub uuid: [u8; 16],
    pub label: String,
    blocks_per_group: u64,
    /// The first block of descriptors that stands in its own groups.
    first_meta: u64,
    /// The groups that have copies of the superblock, if they are two.
    copies: [u32; 2],
    compatible: u32,
    needed: u32,
    written: u32,
}

/// The checksum of a group's descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupSum {
    None,
    /// CRC-16.
    Old,
    New,
}

impl Superblock {
    /// What stands in these bytes.
    ///
    /// # Errors
    ///
    /// Damage, and features that are not read.
    pub fn of(bytes: &[u8]) -> io::Result<Superblock> {
        if half(bytes, 0x38) != SUPERBLOCK_MAGIC {
            return Err(damage("its superblock is none of ext4"));
        }
        let needed = word(bytes, 0x60);
        check_features(needed)?;
        let mut uuid = [0; 16];
        bytes.iter().skip(0x68).zip(&mut uuid).for_each(|(from, to)| *to = *from);
        let written = word(bytes, 0x64);
        let seed = seed(bytes, needed, &uuid);
        let superblock = Superblock {
            block: block(bytes)?,
            blocks: if needed & needs::WIDE == 0 { word(bytes, 4).into() } else { split(bytes, (4, 0x150)) },
            first_block: word(bytes, 0x14).into(),
            inodes: word(bytes, 0),
            // Those of the first revision do not say.
            first_inode: if word(bytes, 0x4c) == 0 { 11 } else { word(bytes, 0x54) },
            inode: if word(bytes, 0x4c) == 0 { 128 } else { half(bytes, 0x58).into() },
            inodes_per_group: word(bytes, 0x28),
            descriptor: if needed & needs::WIDE == 0 { 32 } else { half(bytes, 0xfe).into() },
            group_sum: group_sum(written),
            sum: (written & writes::SUMS != 0).then_some(seed),
            seed,
            journal: word(bytes, 0xe0),
            uuid,
            label: label(bytes.get(0x78..0x88).unwrap_or_default()),
            blocks_per_group: word(bytes, 0x20).into(),
            first_meta: word(bytes, 0x104).into(),
            copies: [word(bytes, 0x24c), word(bytes, 0x250)],
            compatible: word(bytes, 0x5c),
            needed,
            written,
        };
        superblock.check_sum(bytes)?;
        superblock.checked()
    }

    /// Whether a journal waits.
    pub fn waits(&self) -> bool {
        self.needed & needs::RECOVER != 0
    }

    /// Whether numbers of blocks and groups' descriptors have upper halves.
    pub fn is_wide(&self) -> bool {
        self.needed & needs::WIDE != 0
    }

    /// Whether the sizes of folders have upper halves.
    pub fn has_large_directories(&self) -> bool {
        self.needed & needs::LARGE_DIRECTORIES != 0
    }

    /// How many groups there are.
    pub fn groups(&self) -> u64 {
        self.blocks.saturating_sub(self.first_block).div_ceil(self.blocks_per_group)
    }

    /// Where the descriptor of a group stands: bytes from the beginning of the part.
    pub fn descriptor_at(&self, group: u64) -> u64 {
        let in_block = self.block / self.descriptor;
        let (number, within) = (group / in_block, group % in_block);
        let block = if self.needed & needs::META_GROUPS == 0 || number < self.first_meta {
            // Behind the superblock.
            AT / self.block + 1 + number
        } else {
            self.meta_block(number.saturating_mul(in_block))
        };
        block.saturating_mul(self.block).saturating_add(within * self.descriptor)
    }

    /// The block with the descriptors of the groups from `group` on, where it stands in the first of them.
    fn meta_block(&self, group: u64) -> u64 {
        let first = self.first_block.saturating_add(group.saturating_mul(self.blocks_per_group));
        // Where blocks are 1024 bytes and yet counted from zero on, there is one more in front: what boots.
        let in_front = group == 0 && self.block == AT && self.first_block == 0;
        first.saturating_add(u64::from(self.has_superblock(group))).saturating_add(u64::from(in_front))
    }

    /// Whether a group begins with a copy of the superblock.
    fn has_superblock(&self, group: u64) -> bool {
        if group == 0 {
            return true;
        }
        if self.compatible & SPARSE_2 != 0 {
            return self.copies.iter().any(|copy| u64::from(*copy) == group);
        }
        let is_power = |base: u64| std::iter::successors(Some(base), move |at| at.checked_mul(base));
        self.written & writes::SPARSE == 0
            || group == 1
            || [3, 5, 7]
                .iter()
                .any(|base| is_power(*base).take_while(|at| *at <= group).any(|at| at == group))
    }

    fn check_sum(&self, bytes: &[u8]) -> io::Result<()> {
        let of = bytes.get(..SUM).unwrap_or_default();
        if self.sum.is_some() && Sum::START.with(of).value() != word(bytes, SUM) {
            return Err(damage("the checksum of its superblock is another one"));
        }
        Ok(())
    }

    /// It, if what it says of sizes can be true.
    fn checked(self) -> io::Result<Superblock> {
        // Where blocks are no larger than what boots, they are counted from behind it on.
        let clusters = self.written & writes::CLUSTERS != 0;
        let begins = self.first_block == u64::from(self.block == AT) || self.first_block == 0 && clusters;
        let descriptors = if self.is_wide() { 64..=1024 } else { 32..=32 };
        let whole = begins
            && self.first_block < self.blocks
            && self.blocks_per_group > 0
            && self.inode.is_power_of_two()
            && (128..=self.block).contains(&self.inode)
            && self.descriptor.is_power_of_two()
            && descriptors.contains(&self.descriptor)
            && (1..=self.block * 8).contains(&self.inodes_per_group.into())
            && self.groups().checked_mul(self.inodes_per_group.into()) == Some(self.inodes.into());
        if whole {
            Ok(self)
        } else {
            Err(damage("the numbers in its superblock are at odds with each other"))
        }
    }
}

fn check_features(needed: u32) -> io::Result<()> {
    let others = [
        (needs::COMPRESSION, "it is compressed, in a way that no kernel reads"),
        (needs::JOURNAL_DEVICE, "it is the journal of another file system"),
        (needs::DIRDATA, "its folders hold more than names, as those of Lustre do"),
    ];
    for (feature, reason) in others {
        if needed & feature != 0 {
            return Err(unread(reason));
        }
    }
    match needed & !needs::KNOWN {
        0 => Ok(()),
        unknown => Err(unread(format!("it has a feature that imgbuild does not know ({unknown:#x})"))),
    }
}

/// Bytes of a block.
fn block(bytes: &[u8]) -> io::Result<u64> {
    // 64 KiB.
    const MOST: u32 = 6;
    match word(bytes, 0x18) {
        power @ 0..=MOST => Ok(1024 << power),
        _ => Err(damage("its blocks are larger than any can be")),
    }
}

fn group_sum(written: u32) -> GroupSum {
    match (written & writes::SUMS != 0, written & writes::GROUP_SUMS != 0) {
        (true, _) => GroupSum::New,
        (false, true) => GroupSum::Old,
        (false, false) => GroupSum::None,
    }
}

/// What checksums begin with: kept where it was once that of a UUID that has been changed.
fn seed(bytes: &[u8], needed: u32, uuid: &[u8]) -> Sum {
    if needed & needs::SEED != 0 { Sum::seed(word(bytes, 0x270)) } else { Sum::START.with(uuid) }
}
