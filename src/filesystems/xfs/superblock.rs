//! The superblock: sizes, features, and where blocks and inodes are.

use std::io;

use super::block;
use super::fields::Fields;
use super::format::{BASIC, Uuid};
use crate::filesystems::{Part, damage, ends_early, label, unread};

/// What of `xfs_dsb` is needed for reading.
#[derive(Debug)]
pub struct Superblock {
    /// What people know it by.
    pub uuid: Uuid,
    pub label: String,
    /// What its metadata have.
    pub own_uuid: Uuid,
    /// The number of the root's inode.
    pub root: u64,
    /// Bytes of a block.
    pub block: u64,
    /// Bytes of a block of a folder.
    pub folder_block: u64,
    /// Bytes of an inode.
    pub inode: u64,
    /// Whether it is of version 5: metadata have checksums, and inodes are longer.
    pub is_summed: bool,
    /// Whether names in folders have kinds.
    pub has_kinds: bool,
    /// The first block of the log, none where that is on another disk, and its blocks.
    pub log: (Option<u64>, u64),
    /// Blocks in all.
    blocks: u64,
    /// Blocks of a group, but for the last one.
    group: u64,
    /// Bits of a block's place in its group, and of an inode's place in its block.
    bits: (u32, u32),
}

/// Where things are in `xfs_dsb`.
mod at {
    pub const BLOCK: usize = 4;
    pub const BLOCKS: usize = 8;
    pub const UUID: usize = 32;
    pub const LOG_START: usize = 48;
    pub const ROOT: usize = 56;
    pub const GROUP: usize = 84;
    pub const GROUPS: usize = 88;
    pub const LOG_BLOCKS: usize = 96;
    pub const VERSION: usize = 100;
    pub const SECTOR: usize = 102;
    pub const INODE: usize = 104;
    pub const LABEL: usize = 108;
    pub const BLOCK_BITS: usize = 120;
    pub const GROUP_BITS: usize = 124;
    pub const IN_PROGRESS: usize = 126;
    pub const FOLDER_BITS: usize = 192;
    pub const MORE: usize = 200;
    pub const MISPLACED_MORE: usize = 204;
    pub const INCOMPATIBLE: usize = 216;
    pub const SUM: usize = 224;
    pub const OWN_UUID: usize = 248;
}

/// Features that a reader has to know (`XFS_SB_FEAT_INCOMPAT_*`).
mod feature {
    pub const KINDS: u32 = 1;
    pub const OWN_UUID: u32 = 1 << 2;
    pub const NEEDS_REPAIR: u32 = 1 << 4;
    pub const METADATA_FOLDERS: u32 = 1 << 8;
    pub const ZONED: u32 = 1 << 9;
    /// Kinds, chunks of inodes with holes, an own UUID, times of 64 bits, large counts of extents, extents that are
    /// exchanged between files, inodes that know their names.
    pub const READ: u32 = KINDS | 1 << 1 | OWN_UUID | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7;
}

impl Superblock {
    /// The one at the front of a file system.
    ///
    /// # Errors
    ///
    /// Damage, features that are not read, and errors of reading.
    pub fn read(part: &Part) -> io::Result<Superblock> {
        let start = part.bytes(0, BASIC)?;
        let fields = Fields(&start);
        if !start.starts_with(b"XFSB") {
            return Err(damage("its superblock is none of xfs"));
        }
        let is_summed = match fields.u16(at::VERSION)? & 0xf {
            5 => true,
            4 => false,
            _ => return Err(unread("it is of a version before 4, which Linux does not read, either")),
        };
        let sector = u64::from(fields.u16(at::SECTOR)?);
        if !sector.is_power_of_two() || sector < BASIC {
            return Err(odd());
        }
        if is_summed && !block::is_sum_right(&part.bytes(0, sector)?, at::SUM) {
            return Err(damage("the checksum of its superblock is wrong"));
        }
        if fields.u8(at::IN_PROGRESS)? != 0 {
            return Err(unread("mkfs.xfs(8) has not finished it"));
        }
        let has_kinds = has_kinds(fields, is_summed)?;
        sizes(fields, is_summed, has_kinds)
    }

    /// Whether it ends where its part does, or in front of that.
    ///
    /// # Errors
    ///
    /// It ends behind it.
    pub fn check_end(&self, size: u64) -> io::Result<()> {
        let end = self.blocks.checked_mul(self.block).filter(|end| *end <= size);
        end.map(|_| ()).ok_or_else(ends_early)
    }

    /// Where `count` blocks from `block` on are: bytes from the beginning.
    ///
    /// # Errors
    ///
    /// Blocks that it does not have.
    pub fn place(&self, block: u64, count: u64) -> io::Result<u64> {
        let within = block & ((1 << self.bits.0) - 1);
        let in_group = within.checked_add(count).is_some_and(|end| end <= self.group);
        let first =
            (block >> self.bits.0).checked_mul(self.group).and_then(|group| group.checked_add(within));
        let end = |first: &u64| first.checked_add(count).is_some_and(|end| end <= self.blocks);
        let first = first.filter(end).filter(|_| in_group && count > 0);
        // As many blocks have places that are numbers: it was looked at when it was read.
        let place = first.and_then(|first| first.checked_mul(self.block));
        place.ok_or_else(|| damage("a block that it names is outside of it"))
    }

    /// Where an inode is: bytes from the beginning.
    ///
    /// # Errors
    ///
    /// A number that no inode can have.
    pub fn inode_place(&self, number: u64) -> io::Result<u64> {
        let (block, place) = (number >> self.bits.1, number & ((1 << self.bits.1) - 1));
        let block = self.place(block, 1).map_err(|_| damage(format!("there can be no inode {number}")))?;
        Ok(block + place * self.inode)
    }
}

/// Whether names have kinds; what is not read is refused.
fn has_kinds(fields: Fields<'_>, is_summed: bool) -> io::Result<bool> {
    const FOLDERS: u16 = 1 << 13;
    const HAS_MORE: u16 = 1 << 15;
    const KINDS: u32 = 1 << 9;
    let features = fields.u32(at::INCOMPATIBLE)?;
    if !is_summed {
        let version = fields.u16(at::VERSION)?;
        if version & FOLDERS == 0 {
            return Err(unread("its folders are of version 1, which Linux does not read, either"));
        }
        // Some machines once wrote these four bytes behind: either has them.
        let more = fields.u32(at::MORE)? | fields.u32(at::MISPLACED_MORE)?;
        return Ok(version & HAS_MORE != 0 && more & KINDS != 0);
    }
    let has = |feature: u32| features & feature != 0;
    if has(feature::NEEDS_REPAIR) {
        return Err(unread("it is marked as one that xfs_repair(8) has to look at first"));
    }
    if has(feature::METADATA_FOLDERS) {
        return Err(unread("it has its own files in folders (`metadir`), which imgbuild does not read"));
    }
    if has(feature::ZONED) {
        return Err(unread("it is made for disks with zones (`zoned`), which imgbuild does not read"));
    }
    if has(!feature::READ) {
        let unknown = features & !feature::READ;
        return Err(unread(format!("it has features that imgbuild does not know (bits {unknown:#x})")));
    }
    Ok(has(feature::KINDS))
}

/// The rest of it, if its sizes are those of a file system.
fn sizes(fields: Fields<'_>, is_summed: bool, has_kinds: bool) -> io::Result<Superblock> {
    let (block, block_bits) = (u64::from(fields.u32(at::BLOCK)?), u32::from(fields.u8(at::BLOCK_BITS)?));
    let inode = u64::from(fields.u16(at::INODE)?);
    let group_bits = u32::from(fields.u8(at::GROUP_BITS)?);
    let (group, groups) = (u64::from(fields.u32(at::GROUP)?), u64::from(fields.u32(at::GROUPS)?));
    let folder_bits = u32::from(fields.u8(at::FOLDER_BITS)?);
    let blocks = fields.u64(at::BLOCKS)?;
    let has_sizes = (9..=16).contains(&block_bits)
        && block == 1 << block_bits
        && inode.is_power_of_two()
        && (256..=2048.min(block)).contains(&inode)
        && block_bits + folder_bits <= 16
        // The bits that the largest number of a block in its group has.
        && group.checked_next_power_of_two() == 1u64.checked_shl(group_bits)
        && groups > 0
        && (groups.saturating_sub(1) * group + 1..=groups * group).contains(&blocks)
        && blocks.checked_mul(block).is_some();
    if !has_sizes {
        return Err(odd());
    }
    let uuid = fields.array(at::UUID)?;
    let has_own = is_summed && fields.u32(at::INCOMPATIBLE)? & feature::OWN_UUID != 0;
    let log = Some(fields.u64(at::LOG_START)?).filter(|start| *start != 0);
    Ok(Superblock {
        uuid,
        own_uuid: if has_own { fields.array(at::OWN_UUID)? } else { uuid },
        label: label(&fields.array::<12>(at::LABEL)?),
        root: fields.u64(at::ROOT)?,
        block,
        folder_block: block << folder_bits,
        inode,
        is_summed,
        has_kinds,
        log: (log, fields.u32(at::LOG_BLOCKS)?.into()),
        blocks,
        group,
        bits: (group_bits, block_bits - inode.trailing_zeros()),
    })
}

fn odd() -> io::Error {
    damage("the sizes in its superblock are none that xfs has")
}
