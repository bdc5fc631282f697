//! Folders: in the inode, or in blocks of names, behind which stands what finds them by their hashes (`xfs_dir2_*`,
//! `xfs_dir3_*`). Names are read from their blocks, as readdir(3) does.

use std::io;

use super::fields::Fields;
use super::format::fork;
use super::inode::Known;
use super::{Xfs, block, extents};
use crate::filesystems::damage;

type Names = Vec<(Vec<u8>, u64)>;

/// Where what finds names begins: bytes from a folder's beginning (`XFS_DIR2_LEAF_OFFSET`).
const INDEX: u64 = 32 << 30;

/// The names in a folder.
///
/// # Errors
///
/// Damage, and those of reading.
pub fn names(xfs: &Xfs, of: &Known) -> io::Result<Names> {
    if of.data.format == fork::LOCAL {
        return local(xfs, of).map_err(|_| odd(of));
    }
    let extents = extents::exclusive(xfs, of, &of.data)?;
    let (block, each) = (xfs.superblock.block, xfs.superblock.folder_block / xfs.superblock.block);
    let end = INDEX / block;
    let is_only = extents.last().is_some_and(|last| last.offset + last.count <= each);
    let mut names = Names::new();
    let mut next = 0;
    for extent in extents.iter().take_while(|extent| extent.offset < end) {
        let first = (extent.offset / each * each).max(next);
        next = (extent.offset + extent.count).min(end).next_multiple_of(each);
        for offset in (first..next).step_by(each as usize) {
            let (bytes, place) = read(xfs, of, &extents, (offset, each))?;
            block::check(xfs, &bytes, block::NAMES, (place, of.number))?;
            of_block(xfs, &bytes, is_only, &mut names).map_err(|_| odd(of))?;
        }
    }
    if next == 0 {
        return Err(odd(of));
    }
    Ok(names)
}

/// `xfs_dir2_sf_hdr` and what follows: names with inodes' numbers of four bytes, or of eight.
fn local(xfs: &Xfs, of: &Known) -> io::Result<Names> {
    let size = usize::try_from(of.inode.size).map_err(|_| odd(of))?;
    let fields = Fields(Fields(&of.data.bytes).bytes(0, size)?);
    let is_wide = fields.u8(1)? != 0;
    let (number, kind) = (if is_wide { 8 } else { 4 }, usize::from(xfs.superblock.has_kinds));
    let mut names = Names::new();
    let mut at = 2 + number;
    for _ in 0..fields.u8(0)? {
        let length = usize::from(fields.u8(at)?);
        let name = fields.bytes(at + 3, length)?;
        at += 3 + length + kind;
        let inode = if is_wide { fields.u64(at)? } else { fields.u32(at)?.into() };
        add(name, inode, &mut names)?;
        at += number;
    }
    if at == size { Ok(names) } else { Err(odd(of)) }
}

/// A block of a folder, which may have several of the file system's, from `offset` on; and where it is.
fn read(
    xfs: &Xfs,
    of: &Known,
    extents: &[extents::Extent],
    (offset, each): (u64, u64),
) -> io::Result<(Vec<u8>, u64)> {
    let (mut bytes, mut place) = (Vec::new(), None);
    for number in 0..each {
        let (block, _) = extents::find(extents, offset + number).ok_or_else(|| odd(of))?;
        let at = xfs.superblock.place(block, 1)?;
        bytes.extend(xfs.part.bytes(at, xfs.superblock.block)?);
        place = place.or(Some(at));
    }
    Ok((bytes, place.unwrap_or_default()))
}

/// Adds the names in a block; `is_only` is whether it is the only one, which can have its index behind its names.
fn of_block(xfs: &Xfs, bytes: &[u8], is_only: bool, names: &mut Names) -> io::Result<()> {
    const HEADER: usize = 16;
    const SUMMED_HEADER: usize = 64;
    const UNUSED: u16 = 0xffff;
    let (header, [many, only]): (usize, [&[u8; 4]; 2]) = if xfs.superblock.is_summed {
        (SUMMED_HEADER, [b"XDD3", b"XDB3"])
    } else {
        (HEADER, [b"XD2D", b"XD2B"])
    };
    let fields = Fields(bytes);
    let end = match fields.array(0)? {
        magic if magic == *many => bytes.len(),
        magic if magic == *only && is_only => index(fields)?,
        _ => return Err(cut()),
    };
    let fields = Fields(fields.bytes(0, end)?);
    let mut at = header;
    while at < end {
        if fields.u16(at)? == UNUSED {
            // No shorter than its own fields, or it would never end.
            at += usize::from(fields.u16(at + 2)?).max(8);
            continue;
        }
        let length = usize::from(fields.u8(at + 8)?);
        let size = (8 + 1 + length + usize::from(xfs.superblock.has_kinds) + 2).next_multiple_of(8);
        // Its last two bytes say where it begins.
        if usize::from(fields.u16(at + size - 2)?) != at {
            return Err(cut());
        }
        add(fields.bytes(at + 9, length)?, fields.u64(at)?, names)?;
        at += size;
    }
    if at == end { Ok(()) } else { Err(cut()) }
}

/// Where the index of a folder's only block begins: its last eight bytes say how much it has.
fn index(fields: Fields<'_>) -> io::Result<usize> {
    const ENTRY: usize = 8;
    let tail = fields.0.len().saturating_sub(8);
    let entries = usize::try_from(fields.u32(tail)?).ok().and_then(|count| count.checked_mul(ENTRY));
    entries.and_then(|length| tail.checked_sub(length)).ok_or_else(cut)
}

fn add(name: &[u8], inode: u64, names: &mut Names) -> io::Result<()> {
    if name.is_empty() || name.iter().any(|byte| [b'/', 0].contains(byte)) {
        return Err(cut());
    }
    if ![b".".as_slice(), b".."].contains(&name) {
        names.push((name.to_vec(), inode));
    }
    Ok(())
}

/// Damage, whose folder is said above.
fn cut() -> io::Error {
    damage("a folder's names cannot be told")
}

fn odd(of: &Known) -> io::Error {
    damage(format!("the names in the folder that is inode {} cannot be told", of.number))
}
