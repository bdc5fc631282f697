//! Extended attributes: in the inode, in a block, or in blocks below a tree; long values in blocks of their own
//! (`xfs_attr_*`, `xfs_attr3_*`).

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;

use super::fields::Fields;
use super::format::{ACCESS_LISTS, attribute, fork};
use super::inode::{Fork, Known};
use super::{Xfs, block, extents};
use crate::filesystems::damage;

type Attributes = Vec<(Vec<u8>, Vec<u8>)>;
/// A name, its value, and the bytes that they have in a leaf.
type Entry<'b> = (&'b [u8], Cow<'b, [u8]>, usize);

/// The longest value that Linux has (`XATTR_SIZE_MAX`).
const LONGEST_VALUE: usize = 64 << 10;
/// Bytes of the values of one inode: more than anybody has, and no more than a machine has room for.
const MOST: usize = 64 << 20;
/// Levels of a tree above its leaves (`XFS_DA_NODE_MAXDEPTH`).
const DEEPEST: u16 = 5;

/// The attributes of an inode, sorted.
///
/// # Errors
///
/// Damage, and those of reading.
pub fn attributes(xfs: &Xfs, of: &Known) -> io::Result<Attributes> {
    let Some(fork) = &of.attributes else { return Ok(Attributes::new()) };
    let mut found = match fork.format {
        fork::LOCAL => local(fork).map_err(|_| odd(of.number))?,
        // All that it had were removed.
        fork::EXTENTS if fork.extents == 0 => Attributes::new(),
        _ => {
            let extents = extents::exclusive(xfs, of, fork)?;
            let (seen, found) = (HashSet::new(), Attributes::new());
            let mut list = List { xfs, owner: of.number, extents, seen, found, bytes: 0 };
            list.all()?;
            list.found
        }
    };
    found.sort();
    Ok(found)
}

/// `xfs_attr_shortform`: name and value, one behind the other.
fn local(fork: &Fork) -> io::Result<Attributes> {
    let mut found = Attributes::new();
    let size = usize::from(Fields(&fork.bytes).u16(0)?);
    let fields = Fields(Fields(&fork.bytes).bytes(0, size)?);
    let mut at = 4;
    for _ in 0..fields.u8(2)? {
        let (name, value) = (usize::from(fields.u8(at)?), usize::from(fields.u8(at + 1)?));
        let flags = fields.u8(at + 2)?;
        let start = at + 3;
        at = start + name + value;
        if is_told(flags) {
            found.push(told(flags, fields.bytes(start, name)?, fields.bytes(start + name, value)?)?);
        }
    }
    Ok(found)
}

/// Whether programs see it.
fn is_told(flags: u8) -> bool {
    flags & (attribute::PARENT | attribute::INCOMPLETE) == 0
}

/// An attribute as programs see it.
fn told(flags: u8, name: &[u8], value: &[u8]) -> io::Result<(Vec<u8>, Vec<u8>)> {
    const SPACES: u8 = attribute::TRUSTED | attribute::SECURITY;
    if name.is_empty() || name.contains(&0) {
        return Err(cut());
    }
    if flags & SPACES == attribute::TRUSTED
        && let Some((seen, _)) = ACCESS_LISTS.iter().find(|(_, own)| *own == name)
    {
        return Ok((seen.to_vec(), access_list(value)?));
    }
    let prefix: &[u8] = match flags & SPACES {
        0 => b"user.",
        attribute::TRUSTED => b"trusted.",
        attribute::SECURITY => b"security.",
        _ => return Err(cut()),
    };
    Ok(([prefix, name].concat(), value.to_vec()))
}

/// An access list (`xfs_acl`) as programs see it (`posix_acl_xattr_header`): little-endian, in version 2, and with a number
/// only for those who are named.
fn access_list(value: &[u8]) -> io::Result<Vec<u8>> {
    const VERSION: u32 = 2;
    const USER: u32 = 2;
    const GROUP: u32 = 8;
    let (count, entries) = value.split_first_chunk().ok_or_else(cut)?;
    let (entries, rest) = entries.as_chunks::<12>();
    if u32::from_be_bytes(*count) as usize != entries.len() || !rest.is_empty() {
        return Err(cut());
    }
    let mut seen = VERSION.to_le_bytes().to_vec();
    for entry in entries {
        let fields = Fields(entry);
        let (tag, number, permissions) = (fields.u32(0)?, fields.u32(4)?, fields.u16(8)?);
        let number = if [USER, GROUP].contains(&tag) { number } else { u32::MAX };
        seen.extend(u16::try_from(tag).map_err(|_| cut())?.to_le_bytes());
        seen.extend(permissions.to_le_bytes());
        seen.extend(number.to_le_bytes());
    }
    Ok(seen)
}

/// Attributes that are being found in blocks.
struct List<'x> {
    xfs: &'x Xfs,
    owner: u64,
    extents: Vec<extents::Extent>,
    /// Blocks that were read, counted from the fork's beginning: none of them is there twice.
    seen: HashSet<u64>,
    found: Attributes,
    /// Bytes of what was found.
    bytes: usize,
}

impl List<'_> {
    /// Finds them from the first block on, which is a leaf or the root of a tree.
    fn all(&mut self) -> io::Result<()> {
        const NODE: u16 = 0xfebe;
        const LEAF: u16 = 0xfbee;
        const SUMMED_NODE: u16 = 0x3ebe;
        const SUMMED_LEAF: u16 = 0x3bee;
        const MAGIC: usize = 8;
        let (node, leaf) =
            if self.xfs.superblock.is_summed { (SUMMED_NODE, SUMMED_LEAF) } else { (NODE, LEAF) };
        // None for the root: its level is what it says.
        let mut blocks: Vec<(u64, Option<u16>)> = vec![(0, None)];
        while let Some((number, level)) = blocks.pop() {
            let bytes = self.block(number, block::BY_HASH)?;
            match (Fields(&bytes).u16(MAGIC)?, level) {
                (magic, None | Some(0)) if magic == leaf => self.leaf(&bytes)?,
                (magic, None | Some(1..)) if magic == node => blocks.extend(self.node(&bytes, level)?),
                _ => return Err(odd(self.owner)),
            }
        }
        Ok(())
    }

    /// The blocks that a node leads to, each with its level.
    fn node(&self, bytes: &[u8], level: Option<u16>) -> io::Result<Vec<(u64, Option<u16>)>> {
        const ENTRY: usize = 8;
        let (count, start) = if self.xfs.superblock.is_summed { (56, 64) } else { (12, 16) };
        let fields = Fields(bytes);
        let own = fields.u16(count + 2)?;
        if !(1..=DEEPEST).contains(&own) || level.is_some_and(|level| level != own) {
            return Err(odd(self.owner));
        }
        let entry = |number: usize| Ok((fields.u32(start + number * ENTRY + 4)?.into(), Some(own - 1)));
        (0..usize::from(fields.u16(count)?)).map(entry).collect()
    }

    /// Adds the attributes in a leaf.
    fn leaf(&mut self, bytes: &[u8]) -> io::Result<()> {
        const ENTRY: usize = 8;
        let (count, start) = if self.xfs.superblock.is_summed { (56, 80) } else { (12, 32) };
        let fields = Fields(bytes);
        // What the entries lead to: no more than a block has room for, or some have the same.
        let mut used = 0;
        for number in 0..usize::from(fields.u16(count)?) {
            let entry = start + number * ENTRY;
            let (at, flags) = (usize::from(fields.u16(entry + 4)?), fields.u8(entry + 6)?);
            let (name, value, size) = self.entry(fields, at, flags)?;
            used += size;
            self.bytes += name.len() + value.len();
            if used > bytes.len() || self.bytes > MOST {
                return Err(odd(self.owner));
            }
            if is_told(flags) {
                self.found.push(told(flags, name, &value).map_err(|_| odd(self.owner))?);
            }
        }
        Ok(())
    }

    /// What an entry with `flags` leads to, at `at` in a leaf.
    fn entry<'b>(&mut self, leaf: Fields<'b>, at: usize, flags: u8) -> io::Result<Entry<'b>> {
        if flags & attribute::HERE != 0 {
            let (value, name) = (usize::from(leaf.u16(at)?), usize::from(leaf.u8(at + 2)?));
            let start = at + 3;
            let size = start + name + value - at;
            return Ok((leaf.bytes(start, name)?, leaf.bytes(start + name, value)?.into(), size));
        }
        let name = leaf.bytes(at + 9, leaf.u8(at + 8)?.into())?;
        let value = if is_told(flags) { self.value(leaf.u32(at)?, leaf.u32(at + 4)?)? } else { Vec::new() };
        Ok((name, value.into(), 9 + name.len()))
    }

    /// The value of `length` bytes in the blocks from `first` on.
    fn value(&mut self, first: u32, length: u32) -> io::Result<Vec<u8>> {
        const HEADER: usize = 56;
        let length = length as usize;
        if length > LONGEST_VALUE {
            return Err(odd(self.owner));
        }
        let mut value = Vec::new();
        let mut number = u64::from(first);
        while value.len() < length {
            let bytes = self.block(number, block::BYTES)?;
            let left = length - value.len();
            if !self.xfs.superblock.is_summed {
                value.extend(bytes.iter().take(left));
            } else {
                let fields = Fields(&bytes);
                let (offset, count) = (fields.u32(4)? as usize, fields.u32(8)? as usize);
                let expected = left.min(bytes.len() - HEADER);
                if !bytes.starts_with(b"XARM") || offset != value.len() || count != expected {
                    return Err(odd(self.owner));
                }
                value.extend(fields.bytes(HEADER, count)?);
            }
            number += 1;
        }
        Ok(value)
    }

    /// A block of the fork, which is read once.
    fn block(&mut self, number: u64, header: block::Header) -> io::Result<Vec<u8>> {
        let (block, _) = extents::find(&self.extents, number).ok_or_else(|| odd(self.owner))?;
        if !self.seen.insert(number) {
            return Err(odd(self.owner));
        }
        let place = self.xfs.superblock.place(block, 1)?;
        let bytes = self.xfs.part.bytes(place, self.xfs.superblock.block)?;
        block::check(self.xfs, &bytes, header, (place, self.owner))?;
        Ok(bytes)
    }
}

/// Damage, whose inode is said above.
fn cut() -> io::Error {
    damage("an extended attribute cannot be told")
}

fn odd(owner: u64) -> io::Error {
    damage(format!("the extended attributes of inode {owner} cannot be told"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attributes as they stand in an inode: flags, names, values.
    fn short(all: &[(u8, &[u8], &[u8])]) -> Fork {
        let mut bytes = vec![0, 0, all.len() as u8, 0];
        for (flags, name, value) in all {
            bytes.extend([name.len() as u8, value.len() as u8, *flags]);
            bytes.extend(name.iter().chain(*value));
        }
        bytes[1] = bytes.len() as u8;
        Fork { format: fork::LOCAL, extents: 0, bytes }
    }

    #[test]
    fn what_programs_do_not_see_is_not_told() {
        let all: [(u8, &[u8], &[u8]); 4] = [
            (0, b"a", b"1"),
            (attribute::PARENT, b"name", b"number"),
            (attribute::INCOMPLETE, b"b", b"2"),
            (4, b"c", b""),
        ];
        let told = local(&short(&all)).expect("attributes");
        assert_eq!(told, [(b"user.a".to_vec(), b"1".to_vec()), (b"security.c".to_vec(), Vec::new())]);
    }

    #[test]
    fn what_is_no_attribute_is_damage() {
        let list = [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 6, 0, 0];
        assert!(local(&short(&[(attribute::TRUSTED, b"SGI_ACL_FILE", &list)])).is_ok());
        for odd in [
            (attribute::TRUSTED, b"SGI_ACL_FILE".as_slice(), &list[..15]),
            (attribute::TRUSTED, b"SGI_ACL_FILE", &list[..4]),
            (attribute::TRUSTED | attribute::SECURITY, b"a", b"1"),
            (0, b"", b"1"),
            (0, b"a\0b", b"1"),
        ] {
            assert!(local(&short(&[odd])).is_err(), "{odd:?}");
        }
    }
}
