//! ext4, and ext2 and ext3, which are older forms of it. The format is that of the kernel's Documentation/filesystems/ext4
//! and of ext4(5); what is not said there is what fs/ext4 and fs/jbd2 do.
//!
//! All is read through `Blocks`, which know what a journal that waits has of them. Checksums are looked at wherever there
//! are some.

mod attributes;
mod blocks;
pub mod checksum;
mod content;
mod directory;
mod extents;
pub mod format;
mod inode;
mod journal;
mod lists;
mod map;
mod numbers;
mod superblock;
#[cfg(test)]
mod tests;

use std::io::{self, Read};

use self::blocks::Blocks;
use self::format::ROOT_INODE;
use self::superblock::Superblock;
use super::{FileSystem, Inode, Part, Waiting, damage, ends_early};

/// A file system.
pub struct Ext4 {
    superblock: Superblock,
    blocks: Blocks,
    waiting: Option<Waiting>,
}

impl Ext4 {
    /// The one in a part.
    ///
    /// # Errors
    ///
    /// Damage, what is not read, and errors of reading.
    pub fn load(part: Part) -> io::Result<Ext4> {
        let superblock = Superblock::of(&part.bytes(superblock::AT, superblock::SIZE)?)?;
        let (block, size) = (superblock.block, part.size());
        let blocks = Blocks::new(part, block, superblock.blocks, superblock.first_block);
        let mut ext4 = Ext4 { superblock, blocks, waiting: None };
        if ext4.superblock.waits() {
            ext4.replay()?;
        }
        if ext4.superblock.blocks.checked_mul(block).is_none_or(|end| end > size) {
            return Err(ends_early());
        }
        Ok(ext4)
    }

    /// Reads what the journal has, from now on, instead of what is in its place.
    fn replay(&mut self) -> io::Result<()> {
        let replayed = self.replayed()?;
        self.waiting =
            replayed.has_fast.then_some(Waiting { place: "its fast commits", way_out: "run `e2fsck -p`" });
        self.blocks.copy(replayed.copied);
        let superblock = Superblock::of(&self.blocks.bytes(superblock::AT, superblock::SIZE)?)?;
        if superblock.block != self.superblock.block {
            return Err(damage("its journal has a superblock of another file system"));
        }
        (self.blocks.count, self.blocks.first) = (superblock.blocks, superblock.first_block);
        self.superblock = superblock;
        Ok(())
    }
}

impl FileSystem for Ext4 {
    fn uuid(&self) -> String {
        super::uuid(&self.superblock.uuid)
    }

    fn label(&self) -> String {
        self.superblock.label.clone()
    }

    fn root(&self) -> u64 {
        ROOT_INODE.into()
    }

    fn inode(&self, number: u64) -> io::Result<Inode> {
        self.record(number)?.told()
    }

    fn names(&self, folder: u64) -> io::Result<Vec<(Vec<u8>, u64)>> {
        self.names_of(&self.record(folder)?)
    }

    fn xattrs(&self, number: u64) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.attributes_of(&self.record(number)?)
    }

    fn content(&self, number: u64) -> io::Result<Box<dyn Read + '_>> {
        self.content_of(&self.record(number)?)
    }

    fn waiting(&self) -> Option<Waiting> {
        self.waiting
    }
}
