//! Extended attributes (Documentation/filesystems/ext4/attributes.rst): in the inode, in a block, and the values of large
//! ones in inodes of their own.

use std::io::{self, Read};

use super::Ext4;
use super::format::{XATTR_HEADER, XATTR_MAGIC, XATTR_SHORT_HEADER, flags};
use super::inode::Record;
use super::numbers::{half, word};
use crate::filesystems::damage;

/// An attribute.
type Attribute = (Vec<u8>, Vec<u8>);

/// The names of access lists, which are whole names.
const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";
/// Beginnings of names, by the numbers that stand for them. Others are the kernel's own, and no program sees them.
const PREFIXES: [(u8, &[u8]); 6] =
    [(1, b"user."), (2, ACCESS), (3, DEFAULT), (4, b"trusted."), (6, b"security."), (10, b"gnu.")];
/// The number and the name of what is in an inode of its file's content.
const INLINE: (u8, &[u8]) = (7, b"data");

/// Bytes of an entry in front of its name.
const ENTRY: usize = 16;
/// Bytes of the longest value that a program can see.
const LONGEST: u32 = 1 << 16;
/// Where the checksum of a block stands.
const SUM: usize = 16;

/// An attribute as it stands on the disk.
struct Entry<'a> {
    prefix: u8,
    name: &'a [u8],
    value: Value<'a>,
}

enum Value<'a> {
    Here(&'a [u8]),
    /// In the inode of that number, of so many bytes.
    In(u32, u32),
}

impl Ext4 {
    /// Those of an inode, sorted.
    pub fn attributes_of(&self, record: &Record) -> io::Result<Vec<Attribute>> {
        let mut found = Vec::new();
        self.tell(record, in_inode(record)?, &mut found)?;
        let number = record.xattr_block();
        if number != 0 {
            self.blocks.check(number, 1)?;
            let block = self.blocks.block(number)?;
            self.check_block(record, number, &block)?;
            self.tell(record, entries(record, &block, XATTR_HEADER, 0)?, &mut found)?;
        }
        found.sort();
        Ok(found)
    }

    fn check_block(&self, record: &Record, number: u64, block: &[u8]) -> io::Result<()> {
        const BLOCKS: usize = 8;
        if word(block, 0) != XATTR_MAGIC || word(block, BLOCKS) != 1 {
            return Err(odd(record, "are in a block that is none of such"));
        }
        let (before, behind) = block.split_at_checked(SUM).unwrap_or_default();
        let behind = behind.get(4..).unwrap_or_default();
        let sum = self.superblock.sum;
        let sum = sum.map(|sum| sum.with(&number.to_le_bytes()).with(before).with(&[0; 4]).with(behind));
        if sum.is_some_and(|sum| sum.value() != word(block, SUM)) {
            return Err(odd(record, "have another checksum"));
        }
        Ok(())
    }

    /// Adds what programs see of `entries`.
    fn tell(&self, record: &Record, entries: Vec<Entry<'_>>, found: &mut Vec<Attribute>) -> io::Result<()> {
        for entry in entries {
            let known = PREFIXES.iter().find(|(number, _)| *number == entry.prefix);
            let Some((_, prefix)) = known else { continue };
            let value = match entry.value {
                Value::Here(value) => value.to_vec(),
                Value::In(number, size) => self.value_in(record, number, size)?,
            };
            let value = match [ACCESS, DEFAULT].contains(prefix) {
                true => access_list(&value).ok_or_else(|| odd(record, "have an access list that is none"))?,
                false => value,
            };
            found.push(([*prefix, entry.name].concat(), value));
        }
        Ok(())
    }

    /// The value that an inode of its own has.
    fn value_in(&self, record: &Record, number: u32, size: u32) -> io::Result<Vec<u8>> {
        let holder = self.record(number.into())?;
        if !holder.is(flags::OF_XATTR) || holder.size() != u64::from(size) || size > LONGEST {
            return Err(odd(record, "are in an inode that is of something else"));
        }
        let mut value = Vec::new();
        self.blocks_of(&holder)?.read_to_end(&mut value)?;
        let is_known = self.superblock.seed.with(&value).value() == holder.atime();
        // Those that Lustre made say whose they are instead.
        if !is_known && !holder.is_held_for(record) {
            return Err(odd(record, "have a value with another checksum"));
        }
        Ok(value)
    }
}

/// What an inode has of its file's content behind what has the place of blocks.
pub fn inline(record: &Record) -> io::Result<Vec<u8>> {
    let found = in_inode(record)?.into_iter().find(|entry| (entry.prefix, entry.name) == INLINE);
    match found.map(|entry| entry.value) {
        Some(Value::Here(value)) => Ok(value.to_vec()),
        Some(Value::In(..)) => Err(odd(record, "have the file's content elsewhere")),
        None => Ok(Vec::new()),
    }
}

/// Those that stand in an inode, behind its fields.
fn in_inode(record: &Record) -> io::Result<Vec<Entry<'_>>> {
    let area = record.behind();
    if word(area, 0) != XATTR_MAGIC {
        return Ok(Vec::new());
    }
    entries(record, area, XATTR_SHORT_HEADER, XATTR_SHORT_HEADER)
}

/// The entries in `area` from `at` on; the places of values are told from `from` on.
fn entries<'a>(record: &Record, area: &'a [u8], mut at: usize, from: usize) -> io::Result<Vec<Entry<'a>>> {
    let mut found = Vec::new();
    loop {
        let rest = area.get(at..).filter(|rest| rest.len() >= 4);
        let Some(rest) = rest else { return Err(odd(record, "have no end")) };
        if word(rest, 0) == 0 {
            return Ok(found);
        }
        let entry = entry(area, rest, from).ok_or_else(|| odd(record, "do not fit"))?;
        at += (ENTRY + entry.name.len()).next_multiple_of(4);
        found.push(entry);
    }
}

/// What `rest` begins with; its value may be anywhere in `area`.
fn entry<'a>(area: &'a [u8], rest: &'a [u8], from: usize) -> Option<Entry<'a>> {
    let (length, prefix) = (*rest.first()?, *rest.get(1)?);
    let name = rest.get(ENTRY..)?.get(..length.into()).filter(|name| !name.contains(&0))?;
    let (inode, size) = (word(rest, 4), word(rest, 8));
    if inode != 0 {
        return Some(Entry { prefix, name, value: Value::In(inode, size) });
    }
    let start = from + usize::from(half(rest, 2));
    let value = match size {
        // One of no bytes is nowhere.
        0 => &[],
        size => area.get(start..)?.get(..usize::try_from(size).ok()?)?,
    };
    Some(Entry { prefix, name, value: Value::Here(value) })
}

/// An access list as programs see it (`posix_acl_xattr_header`; acl(5)), out of what ext4 has (fs/ext4/acl.h): there only
/// who is named has a number. None if it is no such list.
fn access_list(value: &[u8]) -> Option<Vec<u8>> {
    const ON_DISK: [u8; 4] = 1u32.to_le_bytes();
    const SEEN: [u8; 4] = 2u32.to_le_bytes();
    const NOBODY: [u8; 4] = [0xff; 4];
    const USER: u16 = 2;
    const GROUP: u16 = 8;
    // The owner, the owner's group, the mask, all others.
    const UNNAMED: [u16; 4] = [1, 4, 16, 32];
    let mut rest = value.strip_prefix(&ON_DISK)?;
    let mut seen = SEEN.to_vec();
    while !rest.is_empty() {
        let (entry, behind) = rest.split_at_checked(4)?;
        let tag = half(entry, 0);
        let named = matches!(tag, USER | GROUP);
        if !named && !UNNAMED.contains(&tag) {
            return None;
        }
        let (number, behind) = if named { behind.split_at_checked(4)? } else { (NOBODY.as_slice(), behind) };
        seen.extend(entry.iter().chain(number));
        rest = behind;
    }
    Some(seen)
}

fn odd(record: &Record, what: &str) -> io::Error {
    damage(format!("the extended attributes of inode {} {what}", record.number))
}
