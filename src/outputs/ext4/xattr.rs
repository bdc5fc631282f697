//! Extended attributes (Documentation/filesystems/ext4/attributes.rst): in the inode as far as there is room, the others
//! in a block.

use super::geometry::BLOCK;
use super::record::{Block, Record};
use crate::fault::Fault;
use crate::filesystems::ext4::checksum::Sum;
use crate::filesystems::ext4::format::{XATTR_HEADER, XATTR_MAGIC, XATTR_SHORT_HEADER};
use crate::outputs::files::Access;

/// Bytes behind an inode's fields.
pub const INLINE: usize = 96;
/// What ends the entries.
const END: usize = 4;

/// Beginnings of names, and the numbers that stand for them; `true` where there is nothing behind.
const PREFIXES: [(&[u8], u8, bool); 5] = [
    (b"user.", 1, false),
    (b"system.posix_acl_access", 2, true),
    (b"system.posix_acl_default", 3, true),
    (b"trusted.", 4, false),
    (b"security.", 6, false),
];

/// The attributes of a file, as they are written.
#[derive(Debug, Default)]
pub struct Packed {
    /// What stands in the inode; empty if nothing does.
    pub inline: Vec<u8>,
    /// The block, but for its checksum.
    pub block: Option<Block>,
}

/// An attribute as it is written.
struct Attribute<'a> {
    prefix: u8,
    name: &'a [u8],
    value: Vec<u8>,
}

impl Packed {
    /// `xattrs` packed.
    ///
    /// # Errors
    ///
    /// What cannot be written, and why: a name that ext4 does not know, an access list that is none, too much for one
    /// block.
    pub fn of(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<Packed, String> {
        if xattrs.is_empty() {
            return Ok(Packed::default());
        }
        let mut attributes =
            xattrs.iter().map(|(name, value)| Attribute::of(name, value)).collect::<Result<Vec<_>, _>>()?;
        attributes.sort_by_key(|attribute| (attribute.prefix, attribute.name.len(), attribute.name));
        let (mut inside, mut others, mut room) = (Vec::new(), Vec::new(), INLINE - XATTR_SHORT_HEADER - END);
        for attribute in attributes {
            match room.checked_sub(attribute.length()) {
                Some(left) => (room, _) = (left, inside.push(attribute)),
                None => others.push(attribute),
            }
        }
        let length: usize = others.iter().map(Attribute::length).sum();
        if XATTR_HEADER + length + END > BLOCK as usize {
            return Err("all that do not fit into its inode have to fit into one block of 4 KiB".into());
        }
        let inline = if inside.is_empty() { Ok(Vec::new()) } else { inline(&inside) };
        let inline = inline.map_err(|fault| fault.message)?;
        Ok(Packed { inline, block: (!others.is_empty()).then(|| block(&others)) })
    }

    /// The block with its checksum, at `place`; `sum` is that of the file system.
    ///
    /// # Errors
    ///
    /// Something has no place there.
    pub fn block_at(self, place: u64, sum: Sum) -> Result<[u8; BLOCK as usize], Fault> {
        let mut block = self.block.unwrap_or_else(Block::new);
        let sum = sum.with(&place.to_le_bytes()).with(block.up_to(BLOCK as usize));
        block.put32(16, sum.value().into());
        block.done()
    }
}

impl<'a> Attribute<'a> {
    fn of(name: &'a [u8], value: &[u8]) -> Result<Attribute<'a>, String> {
        let told = || String::from_utf8_lossy(name).into_owned();
        for (prefix, number, whole) in PREFIXES {
            match name.strip_prefix(prefix) {
                Some([]) if whole => {
                    let value =
                        acl(value).ok_or_else(|| format!("the value of `{}` is no access list", told()))?;
                    return Ok(Attribute { prefix: number, name: b"", value });
                }
                Some(rest) if !whole && !rest.is_empty() => {
                    return Ok(Attribute { prefix: number, name: rest, value: value.to_vec() });
                }
                _ => {}
            }
        }
        Err(format!("ext4 has no `{}`", told()))
    }

    /// Bytes of its entry and its value.
    fn length(&self) -> usize {
        self.entry_length() + self.value.len().next_multiple_of(4)
    }

    fn entry_length(&self) -> usize {
        (16 + self.name.len()).next_multiple_of(4)
    }

    /// Of its name and its value, in words of four bytes.
    fn hash(&self) -> u32 {
        let named = self.name.iter().fold(0u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
        self.value.chunks(4).fold(named, |hash, bytes| {
            let word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
            hash.rotate_left(16) ^ word
        })
    }
}

fn inline(attributes: &[Attribute<'_>]) -> Result<Vec<u8>, Fault> {
    let mut bytes = Record::<INLINE>::new();
    bytes.put32(0, XATTR_MAGIC.into());
    // Without hashes: these are for blocks that files share.
    fill(&mut bytes, XATTR_SHORT_HEADER, XATTR_SHORT_HEADER, attributes, |_| 0);
    Ok(bytes.done()?.to_vec())
}

fn block(attributes: &[Attribute<'_>]) -> Block {
    let mut bytes = Block::new();
    bytes.put32(0, XATTR_MAGIC.into());
    // Of one file, and of one block.
    bytes.put32(4, 1);
    bytes.put32(8, 1);
    let hash = attributes.iter().fold(0u32, |hash, one| hash.rotate_left(16) ^ one.hash());
    bytes.put32(12, hash.into());
    fill(&mut bytes, XATTR_HEADER, 0, attributes, |attribute| attribute.hash());
    bytes
}

/// Puts entries from `at` on, and values from the end on, whose places are told from `from` on.
fn fill<const N: usize>(
    bytes: &mut Record<N>,
    mut at: usize,
    from: usize,
    attributes: &[Attribute<'_>],
    hash: impl Fn(&Attribute<'_>) -> u32,
) {
    let mut end = N;
    for attribute in attributes {
        end = end.saturating_sub(attribute.value.len().next_multiple_of(4));
        bytes.put(at, &[attribute.name.len() as u8, attribute.prefix]);
        // A value of no bytes is nowhere.
        let place = if attribute.value.is_empty() { 0 } else { end.saturating_sub(from) };
        bytes.put16(at + 2, place as u64);
        bytes.put32(at + 8, attribute.value.len() as u64);
        bytes.put32(at + 12, hash(attribute).into());
        bytes.put(at + 16, attribute.name);
        bytes.put(end, &attribute.value);
        at += attribute.entry_length();
    }
}

/// An access list as ext4 has it, out of what a program sees (fs/ext4/acl.h; acl(5)): a version of its own, and numbers
/// only where an entry is of one user or group.
fn acl(value: &[u8]) -> Option<Vec<u8>> {
    let mut written = 1u32.to_le_bytes().to_vec();
    for Access { tag, permissions, id } in Access::list(value)? {
        written.extend([tag, 0, permissions, 0]);
        if matches!(tag, Access::USER | Access::GROUP) {
            written.extend(id.to_le_bytes());
        }
    }
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_list_loses_the_numbers_that_say_nothing() {
        let mut seen = 2u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in
            [(1u16, 7u16, !0u32), (2, 5, 1000), (4, 5, !0), (16, 5, !0), (32, 0, !0)]
        {
            seen.extend(tag.to_le_bytes());
            seen.extend(permissions.to_le_bytes());
            seen.extend(id.to_le_bytes());
        }
        let written =
            [1, 0, 0, 0, 1, 0, 7, 0, 2, 0, 5, 0, 232, 3, 0, 0, 4, 0, 5, 0, 16, 0, 5, 0, 32, 0, 0, 0];
        assert_eq!(acl(&seen).as_deref(), Some(written.as_slice()));
        for bad in [b"".as_slice(), &[1, 0, 0, 0], &[2, 0, 0, 0, 1], &[2, 0, 0, 0, 3, 0, 7, 0, 0, 0, 0, 0]] {
            assert_eq!(acl(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_does_not_fit_into_the_inode_is_in_a_block() {
        let xattr = |name: &str, length: usize| (name.as_bytes().to_vec(), vec![7; length]);
        let places = |xattrs: &[(Vec<u8>, Vec<u8>)]| {
            Packed::of(xattrs).map(|packed| (!packed.inline.is_empty(), packed.block.is_some())).map_err(drop)
        };
        assert_eq!(places(&[]), Ok((false, false)));
        assert_eq!(places(&[xattr("user.a", 68)]), Ok((true, false)));
        assert_eq!(places(&[xattr("user.a", 69)]), Ok((false, true)));
        assert_eq!(places(&[xattr("user.a", 8), xattr("user.b", 80)]), Ok((true, true)));
        assert_eq!(places(&[xattr("user.a", 4040)]), Ok((false, true)));
        assert_eq!(places(&[xattr("user.a", 4041)]), Err(()));
        assert_eq!(places(&[xattr("system.other", 1)]), Err(()));
    }
}
