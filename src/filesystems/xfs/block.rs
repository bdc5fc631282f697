//! Blocks of metadata, which tell from version 5 on where they are, whose they are, and whether they are whole.

use std::io;

use super::Xfs;
use super::fields::Fields;
use super::format::BASIC;
use crate::filesystems::damage;

/// Where a block of version 5 has its checksum, its place, the file system's UUID, and its owner's inode.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    sum: usize,
    place: usize,
    uuid: usize,
    owner: usize,
}

/// `xfs_dir3_blk_hdr`: names.
pub const NAMES: Header = Header { sum: 4, place: 8, uuid: 24, owner: 40 };
/// `xfs_da3_blkinfo`: what is found by hashes.
pub const BY_HASH: Header = Header { sum: 12, place: 16, uuid: 32, owner: 48 };
/// `xfs_btree_block` with `xfs_btree_block_lhdr`: extents.
pub const EXTENTS: Header = Header { sum: 64, place: 24, uuid: 40, owner: 56 };
/// `xfs_attr3_rmt_hdr` and `xfs_dsymlink_hdr`: bytes.
pub const BYTES: Header = Header { sum: 12, place: 40, uuid: 16, owner: 32 };

/// Checks what a block tells of itself, where it is `place` bytes from the beginning, and of the inode `owner`.
///
/// # Errors
///
/// Damage.
pub fn check(xfs: &Xfs, bytes: &[u8], header: Header, (place, owner): (u64, u64)) -> io::Result<()> {
    if !xfs.superblock.is_summed {
        return Ok(());
    }
    let fields = Fields(bytes);
    if !is_sum_right(bytes, header.sum) {
        return Err(damage(format!("the checksum of a block of inode {owner} is wrong")));
    }
    let is_here = fields.u64(header.place)? == place / BASIC;
    if !is_here || fields.u64(header.owner)? != owner || fields.array(header.uuid)? != xfs.superblock.own_uuid
    {
        return Err(damage(format!("a block of inode {owner} is another's")));
    }
    Ok(())
}

/// Whether the checksum at `at` is that of all other bytes.
pub fn is_sum_right(bytes: &[u8], at: usize) -> bool {
    let parts = bytes.split_at_checked(at).and_then(|(front, rest)| Some((front, rest.split_first_chunk()?)));
    parts.is_some_and(|(front, (sum, rest))| {
        let own = crc32c::crc32c_append(crc32c::crc32c(front), &[0; 4]);
        crc32c::crc32c_append(own, rest) == u32::from_le_bytes(*sum)
    })
}
