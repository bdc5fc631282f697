//! The content of files: in blocks, in the inode, or, of an inode that has room for it, in both (Documentation/filesystems/
//! ext4/ifork.rst, "Inline Data").

use std::io::{self, Cursor, Read};

use super::Ext4;
use super::attributes;
use super::blocks::Blocks;
use super::format::flags;
use super::inode::Record;
use super::map::{Map, Run};
use crate::filesystems::{InodeKind, LONGEST_PATH, damage, unread};

impl Ext4 {
    /// The content of a file, or the target of a link.
    pub fn content_of(&self, record: &Record) -> io::Result<Box<dyn Read + '_>> {
        let kind = record.kind()?;
        if !matches!(kind, InodeKind::Regular | InodeKind::Symlink) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file, and no link"));
        }
        if record.is(flags::ENCRYPTED) {
            return Err(unread("it is encrypted"));
        }
        if kind == InodeKind::Symlink {
            return Ok(Box::new(Cursor::new(self.target(record)?)));
        }
        if record.is(flags::INLINE) {
            return Ok(Box::new(Cursor::new(inline(record)?)));
        }
        Ok(Box::new(self.blocks_of(record)?))
    }

    /// What stands in the blocks of an inode.
    pub fn blocks_of(&self, record: &Record) -> io::Result<Content<'_>> {
        Ok(Content { blocks: &self.blocks, map: self.map(record)?, run: None, at: 0, size: record.size() })
    }

    /// The target of a link: one that is short enough stands where its blocks would be told.
    fn target(&self, record: &Record) -> io::Result<Vec<u8>> {
        let size = record.size();
        if !(1..=LONGEST_PATH).contains(&size) {
            return Err(damage(format!("the target of link {} is as long as none can be", record.number)));
        }
        let mut target = Vec::new();
        if record.is(flags::INLINE) {
            target = inline(record)?;
        } else if size < record.place().len() as u64 && !record.is(flags::EXTENTS) {
            record.place().take(size).read_to_end(&mut target)?;
        } else {
            self.blocks_of(record)?.read_to_end(&mut target)?;
        }
        if target.contains(&0) {
            return Err(damage(format!("the target of link {} ends too early", record.number)));
        }
        Ok(target)
    }
}

/// All that stands in an inode: behind what has the place of blocks is what an extended attribute has.
pub fn inline(record: &Record) -> io::Result<Vec<u8>> {
    let mut content = record.place().to_vec();
    content.extend(attributes::inline(record)?);
    let size = usize::try_from(record.size()).ok().filter(|size| *size <= content.len());
    let Some(size) = size else {
        return Err(damage(format!("the content of inode {} ends too early", record.number)));
    };
    content.truncate(size);
    Ok(content)
}

/// Content in blocks; zeros where there are none.
pub struct Content<'f> {
    blocks: &'f Blocks,
    map: Map<'f>,
    /// What is at `at`, or the first behind that.
    run: Option<Run>,
    at: u64,
    size: u64,
}

impl Content<'_> {
    /// The first run that does not end before `at`.
    fn run(&mut self) -> io::Result<Option<Run>> {
        let at = self.at / self.blocks.size;
        while self.run.is_none_or(|run| run.end() <= at) {
            self.run = self.map.next()?;
            if self.run.is_none() {
                break;
            }
        }
        Ok(self.run)
    }
}

impl Read for Content<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.size.saturating_sub(self.at);
        if left == 0 || into.is_empty() {
            return Ok(0);
        }
        let block = self.blocks.size;
        let bytes = |blocks: u64| blocks.saturating_mul(block);
        let (place, end) = match self.run()? {
            Some(run) if bytes(run.logical) <= self.at => {
                (Some(bytes(run.first).saturating_add(self.at - bytes(run.logical))), bytes(run.end()))
            }
            Some(run) => (None, bytes(run.logical)),
            None => (None, u64::MAX),
        };
        let length = (end - self.at).min(left).min(into.len() as u64);
        let into = into.split_at_mut(usize::try_from(length).unwrap_or(usize::MAX).min(into.len())).0;
        match place {
            Some(place) => self.blocks.fill(place, into)?,
            None => into.fill(0),
        }
        self.at += length;
        Ok(into.len())
    }
}
