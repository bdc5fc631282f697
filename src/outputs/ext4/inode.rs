//! Inodes (Documentation/filesystems/ext4/inodes.rst): 256 bytes each.

use super::geometry::INODE;
use super::record::Record;
use crate::fault::Fault;
use crate::filesystems::ext4::checksum::Sum;

/// What an inode says.
#[derive(Debug)]
pub struct Inode {
    /// Its type and its permissions.
    pub mode: u32,
    /// Whose it is.
    pub user: u32,
    /// Whose it is.
    pub group: u32,
    /// Bytes of what is in it.
    pub size: u64,
    /// When that was changed: seconds since 1970. No other time is known, but when the inode was made.
    pub modified: i64,
    /// When the file system was made.
    pub made: i64,
    /// How many names it has.
    pub links: u64,
    /// How many blocks it takes, with those that are about them.
    pub blocks: u64,
    /// [`EXTENTS`](crate::filesystems::ext4::format::flags::EXTENTS) and such.
    pub flags: u32,
    /// Where its blocks are, or what else stands there.
    pub place: [u8; 60],
    /// Where the block with its extended attributes is, if there is one.
    pub xattr_block: u64,
    /// The extended attributes that stand in the inode.
    pub xattrs: Vec<u8>,
}

/// Bytes of the fields behind the first 128.
pub const EXTRA: u64 = 32;

impl Inode {
    /// A file of root that nobody sees, from `made` on.
    pub fn hidden(made: i64, size: u64, blocks: u64) -> Inode {
        Inode {
            mode: 0o100_600,
            user: 0,
            group: 0,
            size,
            modified: made,
            made,
            links: 1,
            blocks,
            flags: 0,
            place: [0; 60],
            xattr_block: 0,
            xattrs: Vec::new(),
        }
    }

    /// Its bytes; `sum` is that of the inode.
    ///
    /// # Errors
    ///
    /// Something has no place there.
    pub fn bytes(&self, sum: Sum) -> Result<[u8; INODE as usize], Fault> {
        let mut bytes = Record::<{ INODE as usize }>::new();
        bytes.put16(0, self.mode.into());
        bytes.put_split16((2, 120), self.user.into());
        bytes.put_split16((24, 122), self.group.into());
        bytes.put_split((4, 108), self.size);
        bytes.put16(26, self.links);
        // In sectors of 512 bytes.
        let sectors = self.blocks * 8;
        bytes.put32(28, sectors);
        bytes.put16(116, sectors >> 32);
        bytes.put32(32, self.flags.into());
        bytes.put(40, &self.place);
        bytes.put32(104, self.xattr_block);
        bytes.put16(118, self.xattr_block >> 32);
        bytes.put16(128, EXTRA);
        // Last used, changed, modified, made.
        for (at, more) in [(8, 140), (12, 132), (16, 136)] {
            put_time(&mut bytes, (at, more), self.modified);
        }
        put_time(&mut bytes, (144, 148), self.made);
        bytes.put(160, &self.xattrs);
        let sum = sum.with(bytes.up_to(INODE as usize)).value().into();
        bytes.put_split16((124, 130), sum);
        bytes.done()
    }
}

/// Seconds in 34 bits, of which two are the lowest ones of the second field: they count how often 2^32 are to be added to
/// the first, which is signed. From 1901 to 2446.
fn put_time<const N: usize>(bytes: &mut Record<N>, (at, more): (usize, usize), seconds: i64) {
    const FIRST: i64 = -(1 << 31);
    const LAST: i64 = (1 << 34) - (1 << 31) - 1;
    let seconds = seconds.clamp(FIRST, LAST);
    bytes.put32(at, seconds as u64);
    bytes.put32(more, ((seconds - FIRST) as u64) >> 32);
}

/// Where a device's numbers stand, in the place of blocks: as the kernel once had them if they are small; else 12 bits of
/// the first and 20 of the second. None if they have more.
pub fn device(major: u32, minor: u32) -> Option<[u8; 60]> {
    let mut place = Record::new();
    match (major, minor) {
        (0..256, 0..256) => place.put32(0, (major << 8 | minor).into()),
        (0..0x1000, 0..0x10_0000) => {
            place.put32(4, (minor & 0xff | major << 8 | (minor & !0xff) << 12).into());
        }
        _ => return None,
    }
    place.done().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_34_bits() {
        let told = |seconds: i64| {
            let mut bytes = Record::new();
            put_time(&mut bytes, (0, 4), seconds);
            let [a, b, c, d, e, f, g, h] = bytes.done().expect("room");
            (i32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
        };
        assert_eq!(told(-1), (-1, 0));
        assert_eq!(told(i64::MIN), (i32::MIN, 0));
        assert_eq!(told((1 << 31) - 1), (i32::MAX, 0));
        assert_eq!(told(1 << 31), (i32::MIN, 1));
        assert_eq!(told(1 << 32), (0, 1));
        assert_eq!(told(i64::MAX), (i32::MAX, 3));
    }

    #[test]
    fn large_numbers_of_devices_are_elsewhere() {
        let told =
            |major, minor| device(major, minor).map(|place| place.into_iter().take(8).collect::<Vec<u8>>());
        assert_eq!(told(8, 1), Some(vec![1, 8, 0, 0, 0, 0, 0, 0]));
        assert_eq!(told(8, 300), Some(vec![0, 0, 0, 0, 44, 8, 16, 0]));
        assert_eq!(told(0xfff, 0xf_ffff), Some(vec![0, 0, 0, 0, 255, 255, 255, 255]));
        assert_eq!((told(0x1000, 0), told(0, 0x10_0000)), (None, None));
    }
}
