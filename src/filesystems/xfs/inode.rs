//! Inodes (`xfs_dinode`).

use std::io;

use super::fields::Fields;
use super::format::{MAJOR_BITS, MINOR_BITS, NANOSECONDS, TIME_BEGINS, fork};
use super::{Xfs, block};
use crate::filesystems::{Inode, InodeKind, damage};

/// An inode, and where what is its is.
#[derive(Debug)]
pub struct Known {
    /// Its number.
    pub number: u64,
    /// What it says.
    pub inode: Inode,
    /// Content: names, a target, where blocks are.
    pub data: Fork,
    /// Extended attributes, if there are any.
    pub attributes: Option<Fork>,
    /// Whether its content is on the disk for what is real-time.
    pub is_real_time: bool,
}

/// A part of an inode that tells of content or of attributes.
#[derive(Debug)]
pub struct Fork {
    /// One of [`fork`].
    pub format: u8,
    /// How many extents it has.
    pub extents: u64,
    /// What stands in the inode.
    pub bytes: Vec<u8>,
}

/// Where things are in `xfs_dinode`.
mod at {
    pub const MODE: usize = 2;
    pub const VERSION: usize = 4;
    pub const FORMAT: usize = 5;
    pub const OLD_LINKS: usize = 6;
    pub const USER: usize = 8;
    pub const GROUP: usize = 12;
    pub const LINKS: usize = 16;
    pub const MANY_EXTENTS: usize = 24;
    pub const TIME: usize = 40;
    pub const SIZE: usize = 56;
    pub const EXTENTS: usize = 76;
    pub const ATTRIBUTE_EXTENTS: usize = 80;
    pub const FORK: usize = 82;
    pub const ATTRIBUTE_FORMAT: usize = 83;
    pub const FLAGS: usize = 90;
    pub const SUM: usize = 100;
    pub const MORE_FLAGS: usize = 120;
    pub const NUMBER: usize = 152;
    pub const UUID: usize = 160;
}

/// Bytes of an inode's own part: in version 4 of the file system, and in version 5.
const CORE: usize = 100;
const SUMMED_CORE: usize = 176;

impl Xfs {
    /// The inode of that number.
    ///
    /// # Errors
    ///
    /// Damage, and those of reading.
    pub fn known(&self, number: u64) -> io::Result<Known> {
        const REAL_TIME: u16 = 1;
        let place = self.superblock.inode_place(number)?;
        let bytes = self.part.bytes(place, self.superblock.inode)?;
        self.check(&bytes, number)?;
        let fields = Fields(&bytes);
        let mode = u32::from(fields.u16(at::MODE)?);
        if mode == 0 {
            return Err(damage(format!("inode {number} has a name, and is free")));
        }
        let (data, attributes) = self.forks(&bytes, number)?;
        let device = Fields(&data.bytes).u32(0)?;
        let device = (device >> MINOR_BITS & ((1 << MAJOR_BITS) - 1), device & ((1 << MINOR_BITS) - 1));
        let kind = InodeKind::of_mode(mode, device)?;
        let is_device = matches!(kind, InodeKind::Character(..) | InodeKind::Block(..));
        if is_device && data.format != fork::DEVICE {
            return Err(damage(format!("inode {number} is a device without numbers")));
        }
        let size = fields.u64(at::SIZE)?;
        if size > i64::MAX.unsigned_abs() {
            return Err(damage(format!("inode {number} is larger than any file can be")));
        }
        let is_first = fields.u8(at::VERSION)? == 1;
        let links = if is_first { fields.u16(at::OLD_LINKS)?.into() } else { fields.u32(at::LINKS)? };
        let (uid, gid) = (fields.u32(at::USER)?, fields.u32(at::GROUP)?);
        let inode = Inode { kind, mode: mode & 0o7777, uid, gid, mtime: self.time(fields)?, size, links };
        let is_real_time = fields.u16(at::FLAGS)? & REAL_TIME != 0;
        Ok(Known { number, inode, data, attributes, is_real_time })
    }

    fn check(&self, bytes: &[u8], number: u64) -> io::Result<()> {
        let fields = Fields(bytes);
        let is_summed = self.superblock.is_summed;
        if is_summed && !block::is_sum_right(bytes, at::SUM) {
            return Err(damage(format!("the checksum of inode {number} is wrong")));
        }
        let is_own = !is_summed
            || fields.u64(at::NUMBER)? == number && fields.array(at::UUID)? == self.superblock.own_uuid;
        let versions = if is_summed { 3..=3 } else { 1..=2 };
        if !bytes.starts_with(b"IN") || !is_own || !versions.contains(&fields.u8(at::VERSION)?) {
            return Err(damage(format!("where inode {number} should be is something else")));
        }
        Ok(())
    }

    /// Its content's and its attributes' part.
    fn forks(&self, bytes: &[u8], number: u64) -> io::Result<(Fork, Option<Fork>)> {
        const MANY: u64 = 1 << 4;
        let fields = Fields(bytes);
        let core = if self.superblock.is_summed { SUMMED_CORE } else { CORE };
        let (format, start) = (fields.u8(at::FORMAT)?, usize::from(fields.u8(at::FORK)?) * 8);
        let both = bytes.get(core..).unwrap_or_default();
        let (data, attributes) = match start {
            0 => (both, None),
            start => {
                let parts = both.split_at_checked(start);
                parts
                    .map(|(data, attributes)| (data, Some(attributes)))
                    .ok_or_else(|| damage(format!("the attributes of inode {number} begin behind it")))?
            }
        };
        let (extents, attribute_extents) = if self.more_flags(fields)? & MANY == 0 {
            (fields.u32(at::EXTENTS)?.into(), fields.u16(at::ATTRIBUTE_EXTENTS)?.into())
        } else {
            (fields.u64(at::MANY_EXTENTS)?, fields.u32(at::EXTENTS)?.into())
        };
        let data = Fork { format, extents, bytes: data.to_vec() };
        let format = fields.u8(at::ATTRIBUTE_FORMAT)?;
        let attributes =
            attributes.map(|bytes| Fork { format, extents: attribute_extents, bytes: bytes.to_vec() });
        Ok((data, attributes))
    }

    /// When it was last changed: seconds since 1970; parts of a second are left out, downwards.
    fn time(&self, fields: Fields<'_>) -> io::Result<i64> {
        const BIG: u64 = 1 << 3;
        if self.more_flags(fields)? & BIG == 0 {
            return Ok(fields.u32(at::TIME)?.cast_signed().into());
        }
        Ok((fields.u64(at::TIME)? / NANOSECONDS).cast_signed().saturating_add(TIME_BEGINS))
    }

    /// Flags that inodes have from version 5 on.
    fn more_flags(&self, fields: Fields<'_>) -> io::Result<u64> {
        if self.superblock.is_summed { fields.u64(at::MORE_FLAGS) } else { Ok(0) }
    }
}
