//! xfs, versions 4 and 5.
//!
//! The format is that of the kernel's `fs/xfs/libxfs/xfs_format.h`, `xfs_da_format.h` and `xfs_log_format.h`, and of "XFS
//! Algorithms & Data Structures", whose sources are in the kernel's `Documentation/filesystems/xfs` and in
//! `xfs-documentation`. All numbers are big-endian, but for checksums.

mod attributes;
mod block;
mod extents;
mod fields;
mod folder;
pub mod format;
mod inode;
mod link;
mod log;
mod superblock;
#[cfg(test)]
mod tests;

use std::io::{self, Cursor, Read};

use super::pieces::{Piece, Pieces};
use super::{FileSystem, Inode, InodeKind, Part, Waiting, damage, unread};
use format::fork;
use inode::Known;
use superblock::Superblock;

/// An xfs file system.
#[derive(Debug)]
pub struct Xfs {
    part: Part,
    superblock: Superblock,
    is_waiting: bool,
}

impl Xfs {
    /// The file system in `part`.
    ///
    /// # Errors
    ///
    /// Damage, features that are not read, and errors of reading.
    pub fn load(part: Part) -> io::Result<Xfs> {
        let superblock = Superblock::read(&part)?;
        superblock.check_end(part.size())?;
        let is_waiting = log::is_waiting(&part, &superblock)?;
        Ok(Xfs { part, superblock, is_waiting })
    }
}

impl FileSystem for Xfs {
    fn uuid(&self) -> String {
        super::uuid(&self.superblock.uuid)
    }

    fn label(&self) -> String {
        self.superblock.label.clone()
    }

    fn root(&self) -> u64 {
        self.superblock.root
    }

    fn inode(&self, number: u64) -> io::Result<Inode> {
        Ok(self.known(number)?.inode)
    }

    fn names(&self, folder: u64) -> io::Result<Vec<(Vec<u8>, u64)>> {
        let known = self.known(folder)?;
        if known.inode.kind != InodeKind::Directory {
            return Err(damage(format!("inode {folder} is no folder")));
        }
        folder::names(self, &known)
    }

    fn xattrs(&self, number: u64) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        attributes::attributes(self, &self.known(number)?)
    }

    fn content(&self, number: u64) -> io::Result<Box<dyn Read + '_>> {
        let known = self.known(number)?;
        match known.inode.kind {
            InodeKind::Regular => Ok(Box::new(self.pieces(&known)?)),
            InodeKind::Symlink => Ok(Box::new(Cursor::new(link::target(self, &known)?))),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("inode {number} has no content"))),
        }
    }

    fn waiting(&self) -> Option<Waiting> {
        self.is_waiting.then_some(Waiting { place: "its log", way_out: "mount it once, and unmount it" })
    }
}

impl Xfs {
    /// A regular file's content. What was reserved for it and never written to reads as zeros.
    fn pieces(&self, known: &Known) -> io::Result<Pieces<'_>> {
        if known.is_real_time && known.data.extents > 0 {
            return Err(unread("it is in the real-time part of its file system, which is on another disk"));
        }
        if ![fork::EXTENTS, fork::TREE].contains(&known.data.format) {
            return Err(damage(format!("inode {} has its content nowhere", known.number)));
        }
        let block = self.superblock.block;
        let extents = extents::extents(self, known, &known.data)?;
        let written = extents.iter().filter(|extent| extent.is_written);
        let piece = |extent: &extents::Extent| {
            let place = self.superblock.place(extent.block, extent.count)?;
            let start = extent.offset.saturating_mul(block);
            Ok(Piece { start, length: extent.count.saturating_mul(block), place })
        };
        Ok(Pieces::new(&self.part, written.map(piece).collect::<io::Result<_>>()?, known.inode.size))
    }
}
