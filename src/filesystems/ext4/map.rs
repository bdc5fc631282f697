//! Where the blocks of a file are, in the order of its content.

use std::io;

use super::Ext4;
use super::extents::Extents;
use super::format::flags;
use super::inode::Record;
use super::lists::Lists;

/// Blocks of a file that lie in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first of them, counted in the file.
    pub logical: u64,
    /// Where that is in the file system.
    pub first: u64,
    /// How many they are.
    pub blocks: u64,
}

impl Run {
    /// The block behind the last of them, counted in the file.
    pub fn end(&self) -> u64 {
        self.logical.saturating_add(self.blocks)
    }
}

/// The runs of a file, one after the other; what is in none is zeros.
pub struct Map<'f> {
    told: Told<'f>,
    /// The one that was read before it was known that the one before it had ended.
    next: Option<Run>,
}

enum Told<'f> {
    Extents(Extents<'f>),
    Lists(Lists<'f>),
}

impl Ext4 {
    /// Where the blocks of an inode are.
    pub fn map(&self, record: &Record) -> io::Result<Map<'_>> {
        let told = if record.is(flags::EXTENTS) {
            Told::Extents(Extents::of(&self.blocks, record)?)
        } else {
            Told::Lists(Lists::of(&self.blocks, record))
        };
        Ok(Map { told, next: None })
    }
}

impl Map<'_> {
    /// The next run.
    pub fn next(&mut self) -> io::Result<Option<Run>> {
        let Some(mut run) = self.read()? else { return Ok(None) };
        while let Some(next) = self.read()? {
            let continues = next.logical == run.end() && next.first == run.first.saturating_add(run.blocks);
            if !continues {
                self.next = Some(next);
                break;
            }
            run.blocks = run.blocks.saturating_add(next.blocks);
        }
        Ok(Some(run))
    }

    fn read(&mut self) -> io::Result<Option<Run>> {
        match (self.next.take(), &mut self.told) {
            (Some(run), _) => Ok(Some(run)),
            (None, Told::Extents(extents)) => extents.next(),
            (None, Told::Lists(lists)) => lists.next(),
        }
    }
}
