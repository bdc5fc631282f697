//! Targets of symbolic links: in the inode, or in blocks (`xfs_dsymlink_hdr`).

use std::io;

use super::fields::Fields;
use super::format::fork;
use super::inode::Known;
use super::{Xfs, block, extents};
use crate::filesystems::{LONGEST_PATH, damage};

/// The target of a symbolic link.
///
/// # Errors
///
/// Damage, and those of reading.
pub fn target(xfs: &Xfs, of: &Known) -> io::Result<Vec<u8>> {
    let odd = || damage(format!("where the symbolic link that is inode {} leads cannot be told", of.number));
    let size = Some(of.inode.size).filter(|size| (1..=LONGEST_PATH).contains(size)).ok_or_else(odd)? as usize;
    if of.data.format == fork::LOCAL {
        return of.data.bytes.get(..size).map(<[u8]>::to_vec).ok_or_else(odd);
    }
    let mut target = Vec::new();
    let mut next = 0;
    for extent in extents::exclusive(xfs, of, &of.data)? {
        if extent.offset != next || target.len() >= size {
            return Err(odd());
        }
        next += extent.count;
        let left = size - target.len();
        target.extend(piece(xfs, of, &extent, (target.len(), left))?.ok_or_else(odd)?);
    }
    if target.len() == size { Ok(target) } else { Err(odd()) }
}

/// The part of a target that an extent has, `at` bytes from its beginning, of which `left` are to come; none if it is
/// another's.
fn piece(
    xfs: &Xfs,
    of: &Known,
    extent: &extents::Extent,
    (at, left): (usize, usize),
) -> io::Result<Option<Vec<u8>>> {
    const HEADER: usize = 56;
    let place = xfs.superblock.place(extent.block, extent.count)?;
    let length = extent.count.saturating_mul(xfs.superblock.block);
    // A target that long has no more blocks.
    if length > LONGEST_PATH.next_multiple_of(xfs.superblock.block) * 2 {
        return Ok(None);
    }
    let bytes = xfs.part.bytes(place, length)?;
    if !xfs.superblock.is_summed {
        return Ok(Some(bytes.get(..left.min(bytes.len())).unwrap_or_default().to_vec()));
    }
    block::check(xfs, &bytes, block::BYTES, (place, of.number))?;
    let fields = Fields(&bytes);
    let (offset, count) = (fields.u32(4)? as usize, fields.u32(8)? as usize);
    let is_next = bytes.starts_with(b"XSLM") && offset == at && count == left.min(bytes.len() - HEADER);
    Ok(if is_next { Some(fields.bytes(HEADER, count)?.to_vec()) } else { None })
}
