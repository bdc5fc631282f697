//! Inodes (Documentation/filesystems/ext4/inodes.rst), and the descriptors of the groups that they are in
//! (group_descr.rst).

use std::io;

use super::Ext4;
use super::checksum::Sum;
use super::numbers::{half, split, word};
use super::superblock::GroupSum;
use crate::filesystems::{Inode, InodeKind, damage};

/// Bytes that all inodes have; behind them are the newer fields, then extended attributes.
const OLD: usize = 128;
/// Bytes of the newer fields that kernels have, and take for granted where an inode says that it has none.
const NEWER: usize = 32;
/// Where the halves of its checksum stand.
const SUM: (usize, usize) = (124, 130);

/// An inode as it stands on the disk.
pub struct Record {
    /// Its number.
    pub number: u32,
    /// What the checksums of its blocks begin with.
    pub sum: Option<Sum>,
    bytes: Vec<u8>,
    is_wide: bool,
    has_large_directories: bool,
}

impl Ext4 {
    /// The inode of that number.
    pub fn record(&self, number: u64) -> io::Result<Record> {
        let superblock = &self.superblock;
        let index = number.checked_sub(1).filter(|index| *index < u64::from(superblock.inodes));
        let number = u32::try_from(number).ok();
        let Some((index, number)) = index.zip(number) else { return Err(damage("an inode is none of its")) };
        let per_group = u64::from(superblock.inodes_per_group);
        let table = self.inode_table(index / per_group)?.saturating_mul(superblock.block);
        let at = table.saturating_add(index % per_group * superblock.inode);
        let record = Record {
            number,
            sum: None,
            bytes: self.blocks.bytes(at, superblock.inode)?,
            is_wide: superblock.is_wide(),
            has_large_directories: superblock.has_large_directories(),
        };
        record.checked(superblock.sum)
    }

    /// The first block of a group's inodes.
    fn inode_table(&self, group: u64) -> io::Result<u64> {
        let superblock = &self.superblock;
        let bytes = self.blocks.bytes(superblock.descriptor_at(group), superblock.descriptor)?;
        // No group has a number of more bits: there are not more of them than inodes.
        let number = (group as u32).to_le_bytes();
        let (before, behind) = bytes.split_at_checked(GROUP_SUM).unwrap_or_default();
        let behind = behind.get(2..).unwrap_or_default();
        let sum = match superblock.group_sum {
            GroupSum::None => None,
            GroupSum::Old => Some(crc16([&superblock.uuid, number.as_slice(), before, behind])),
            GroupSum::New => {
                let sum = superblock.seed.with(&number).with(before).with(&[0; 2]).with(behind);
                // Its lower half.
                Some(sum.value() as u16)
            }
        };
        if sum.is_some_and(|sum| sum != half(&bytes, GROUP_SUM)) {
            return Err(damage(format!("the checksum of the descriptor of group {group} is another one")));
        }
        // A short one ends before the upper half, which is nothing then.
        Ok(split(&bytes, (0x8, 0x28)))
    }
}

/// Where the checksum of a group's descriptor stands.
const GROUP_SUM: usize = 0x1e;

/// CRC-16 with the polynomial x^16 + x^15 + x^2 + 1, the lowest bit first.
fn crc16<'b>(parts: impl IntoIterator<Item = &'b [u8]>) -> u16 {
    const POLYNOMIAL: u16 = 0xa001;
    parts.into_iter().flatten().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 0 { 0 } else { POLYNOMIAL })
    })
}

impl Record {
    /// What it says.
    pub fn told(&self) -> io::Result<Inode> {
        if self.links() == 0 {
            return Err(damage(format!("inode {} has a name and says that it has none", self.number)));
        }
        Ok(Inode {
            kind: self.kind()?,
            mode: u32::from(self.mode()) & 0o7777,
            uid: u32::from(half(&self.bytes, 2)) | u32::from(half(&self.bytes, 120)) << 16,
            gid: u32::from(half(&self.bytes, 24)) | u32::from(half(&self.bytes, 122)) << 16,
            mtime: self.mtime(),
            size: self.size(),
            links: self.links(),
        })
    }

    /// What it is.
    pub fn kind(&self) -> io::Result<InodeKind> {
        InodeKind::of_mode(self.mode().into(), device(self.place()))
    }

    /// Bytes of its content.
    pub fn size(&self) -> u64 {
        // Elsewhere something else stood in the upper half once.
        let has_upper = match self.mode() >> 12 {
            0o10 => true,
            0o04 => self.has_large_directories,
            _ => false,
        };
        if has_upper { split(&self.bytes, (4, 108)) } else { word(&self.bytes, 4).into() }
    }

    /// Whether it has one of the [`flags`](super::format::flags).
    pub fn is(&self, flag: u32) -> bool {
        word(&self.bytes, 32) & flag != 0
    }

    /// Where its blocks are, or what else stands there: 60 bytes.
    pub fn place(&self) -> &[u8] {
        self.bytes.get(40..100).unwrap_or_default()
    }

    /// The block with its extended attributes, 0 if there is none.
    pub fn xattr_block(&self) -> u64 {
        let upper = if self.is_wide { half(&self.bytes, 118) } else { 0 };
        u64::from(word(&self.bytes, 104)) | u64::from(upper) << 32
    }

    /// What is behind its fields.
    pub fn behind(&self) -> &[u8] {
        let fields = self.newer();
        if fields == 0 { &[] } else { self.bytes.get(OLD + fields..).unwrap_or_default() }
    }

    /// When it was last used, which in one of an extended attribute is the checksum of its value.
    pub fn atime(&self) -> u32 {
        word(&self.bytes, 8)
    }

    /// Whether it says, as Lustre's do, that it has the value of an attribute of `owner`.
    pub fn is_held_for(&self, owner: &Record) -> bool {
        word(&self.bytes, 16) == owner.number && self.generation() == owner.generation()
    }

    /// It, if it is whole; `sum` is what checksums begin with, if there are some.
    fn checked(mut self, sum: Option<Sum>) -> io::Result<Record> {
        let fields = self.newer();
        if OLD + fields > self.bytes.len() || !fields.is_multiple_of(4) {
            return Err(damage(format!("inode {} has fields that it has no room for", self.number)));
        }
        let Some(sum) = sum else { return Ok(self) };
        let sum = sum.of_inode(self.number, self.generation());
        let mut bytes = self.bytes.clone();
        let has_upper = fields >= SUM.1 + 2 - OLD;
        for at in [Some(SUM.0), has_upper.then_some(SUM.1)].into_iter().flatten() {
            if let Some(own) = bytes.get_mut(at..at + 2) {
                own.fill(0);
            }
        }
        let found = sum.with(&bytes).value();
        let upper = if has_upper { half(&self.bytes, SUM.1) } else { 0 };
        let told = u32::from(half(&self.bytes, SUM.0)) | u32::from(upper) << 16;
        if told != if has_upper { found } else { found & 0xffff } {
            return Err(damage(format!("the checksum of inode {} is another one", self.number)));
        }
        self.sum = Some(sum);
        Ok(self)
    }

    fn mode(&self) -> u16 {
        half(&self.bytes, 0)
    }

    fn generation(&self) -> u32 {
        word(&self.bytes, 100)
    }

    fn links(&self) -> u32 {
        half(&self.bytes, 26).into()
    }

    /// Bytes of the newer fields.
    fn newer(&self) -> usize {
        if self.bytes.len() > OLD { half(&self.bytes, OLD).into() } else { 0 }
    }

    /// When its content was last changed: 32 bits, and two that count how often 2^32 are to be added.
    fn mtime(&self) -> i64 {
        const MORE: usize = 136;
        let seconds = i64::from(word(&self.bytes, 16).cast_signed());
        let fields = if self.newer() == 0 { NEWER } else { self.newer() };
        let has_more = OLD + fields >= MORE + 4 && self.bytes.len() > OLD;
        seconds + if has_more { i64::from(word(&self.bytes, MORE) & 3) << 32 } else { 0 }
    }
}

/// The numbers of the device that an inode is: as kernels once had them, or with 12 bits and 20.
fn device(place: &[u8]) -> (u32, u32) {
    let (small, large) = (word(place, 0), word(place, 4));
    match small {
        0 => (large >> 8 & 0xfff, large & 0xff | large >> 12 & 0xf_ff00),
        _ => (small >> 8 & 0xff, small & 0xff),
    }
}
