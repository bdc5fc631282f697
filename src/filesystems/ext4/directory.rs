//! Folders (Documentation/filesystems/ext4/directory.rst): read as lists, which those with an index are, too: a block of
//! an index is one of an entry without a name.

use std::collections::HashSet;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Ext4;
use super::content::inline;
use super::format::{ROOT_INODE, flags};
use super::inode::Record;
use super::numbers::{half, word};
use crate::filesystems::{InodeKind, damage};

/// Names, and the inodes that they are of.
type Names = Vec<(Vec<u8>, u64)>;

/// Bytes of the shortest entry (`struct ext4_dir_entry_2`).
const SHORTEST: usize = 12;
/// What ends a block that has a checksum: an entry of no name, whose type is this one.
const TAIL: usize = 12;
const TAIL_TYPE: u8 = 0xde;
/// Where an index begins in its first block, and in each other one: what it has and has room for, in records of so many
/// bytes.
const INDEX_OF_ROOT: usize = 32;
const INDEX_OF_NODE: usize = 8;
const INDEX_RECORD: usize = 8;
/// Bytes of the number of the parent that a folder in an inode begins with.
const PARENT: usize = 4;

impl Ext4 {
    /// The names in a folder.
    pub fn names_of(&self, record: &Record) -> io::Result<Names> {
        if record.kind()? != InodeKind::Directory {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no folder"));
        }
        let mut names = Names::new();
        if record.is(flags::INLINE) {
            let content = inline(record)?;
            self.read_entries(record, content.get(PARENT..).unwrap_or_default(), &mut names)?;
            return Ok(names);
        }
        self.read_blocks(record, &mut names)?;
        Ok(names)
    }

    fn read_blocks(&self, record: &Record, names: &mut Names) -> io::Result<()> {
        // More than anybody looks through.
        const MOST: usize = 1 << 23;
        let (mut map, mut seen, mut at) = (self.map(record)?, HashSet::new(), 0);
        let blocks = record.size() / self.blocks.size;
        while at < blocks {
            let Some(run) = map.next()?.filter(|run| run.logical == at) else {
                return Err(odd(record, "has a hole"));
            };
            for block in run.first..run.first.saturating_add(run.blocks.min(blocks - at)) {
                if !seen.insert(block) || names.len() > MOST {
                    return Err(odd(record, "has more names than any can have"));
                }
                let bytes = self.blocks.own_block(block, record.number)?;
                check_sum(record, &bytes, at == 0)?;
                self.read_entries(record, &bytes, names)?;
                at += 1;
            }
        }
        Ok(())
    }

    /// Reads the entries of a block.
    fn read_entries(&self, record: &Record, block: &[u8], names: &mut Names) -> io::Result<()> {
        let mut rest = block;
        while !rest.is_empty() {
            let (number, length) = (word(rest, 0), length(rest, block.len()));
            let entry = rest.get(..length).filter(|entry| entry.len() >= SHORTEST && length % 4 == 0);
            let name = entry.and_then(|entry| {
                let [_, _, _, _, _, _, named, _, name @ ..] = entry else { return None };
                name.get(..usize::from(*named))
            });
            let Some(name) = name else { return Err(odd(record, "has an entry that does not fit")) };
            if number != 0 && ![b".".as_slice(), b".."].contains(&name) {
                names.push((self.name(record, name, number)?, number.into()));
            }
            rest = rest.get(length..).unwrap_or_default();
        }
        Ok(())
    }

    /// A name as it is told; one that is encrypted can be any bytes, and is written as what they are.
    fn name(&self, record: &Record, name: &[u8], number: u32) -> io::Result<Vec<u8>> {
        let superblock = &self.superblock;
        if number != ROOT_INODE && number < superblock.first_inode || number > superblock.inodes {
            return Err(odd(record, "has a name of an inode that nobody can have"));
        }
        if record.is(flags::ENCRYPTED) {
            return Ok(URL_SAFE_NO_PAD.encode(name).into_bytes());
        }
        if name.is_empty() || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(odd(record, "has a name that none can have"));
        }
        Ok(name.to_vec())
    }
}

/// Bytes of an entry, in a block of so many. Those of 64 KiB have no room for their own length.
fn length(entry: &[u8], block: usize) -> usize {
    const LARGEST: usize = 1 << 16;
    match half(entry, 4) {
        0 | 0xffff if block == LARGEST => LARGEST,
        length if block == LARGEST => usize::from(length & !3) | usize::from(length & 3) << 16,
        length => length.into(),
    }
}

/// That a block is as it was written.
fn check_sum(record: &Record, block: &[u8], is_first: bool) -> io::Result<()> {
    let Some(sum) = record.sum else { return Ok(()) };
    let is_node = word(block, 0) == 0 && length(block, block.len()) == block.len();
    let (found, told) = if record.is(flags::INDEXED) && (is_first || is_node) {
        let index = if is_first { INDEX_OF_ROOT } else { INDEX_OF_NODE };
        let (room, used) = (usize::from(half(block, index)), usize::from(half(block, index + 2)));
        let records = block.get(..index + used * INDEX_RECORD);
        // Behind the room are four bytes of nothing and the checksum, which counts as nothing.
        let tail = block.get(index + room * INDEX_RECORD..).and_then(|tail| tail.first_chunk::<8>());
        let whole = records.zip(tail).filter(|_| used <= room);
        let Some((records, tail)) = whole else { return Err(odd(record, "has an index that does not fit")) };
        let (nothing, own) = tail.split_at(4);
        (sum.with(records).with(nothing).with(&[0; 4]), word(own, 0))
    } else {
        let (entries, tail) = block.split_at_checked(block.len().saturating_sub(TAIL)).unwrap_or_default();
        let is_tail = word(tail, 0) == 0 && tail.get(4..8) == Some(&[TAIL as u8, 0, 0, TAIL_TYPE]);
        if !is_tail {
            return Err(odd(record, "has a block without a checksum"));
        }
        (sum.with(entries), word(tail, 8))
    };
    if found.value() == told { Ok(()) } else { Err(odd(record, "has a block with another checksum")) }
}

fn odd(record: &Record, what: &str) -> io::Error {
    damage(format!("folder {} {what}", record.number))
}
