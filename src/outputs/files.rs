//! What file systems of Linux say of a file in the same words.

use crate::lang::value::Id;
use crate::layer::{Entry, EntryPath, Kind};

/// What the entry of a directory is of.
pub mod file_type {
    pub const FILE: u8 = 1;
    pub const DIRECTORY: u8 = 2;
    pub const CHARACTER: u8 = 3;
    pub const BLOCK: u8 = 4;
    pub const FIFO: u8 = 5;
    pub const SYMLINK: u8 = 7;
}

/// What an entry of a directory says that it is of; another name of a file is of a file.
pub fn file_type_of(kind: &Kind) -> u8 {
    match kind {
        Kind::Directory => file_type::DIRECTORY,
        Kind::Symlink(_) => file_type::SYMLINK,
        Kind::Character(..) => file_type::CHARACTER,
        Kind::Block(..) => file_type::BLOCK,
        Kind::Fifo => file_type::FIFO,
        _ => file_type::FILE,
    }
}

/// The type in a mode (inode(7)).
pub fn type_bits(kind: &Kind) -> u32 {
    match kind {
        Kind::Directory => 0o040_000,
        Kind::Symlink(_) => 0o120_000,
        Kind::Character(..) => 0o020_000,
        Kind::Block(..) => 0o060_000,
        Kind::Fifo => 0o010_000,
        _ => 0o100_000,
    }
}

/// The path that has the content.
pub fn holder(entry: &Entry) -> &EntryPath {
    match &entry.kind {
        Kind::Hardlink(target) => target,
        _ => &entry.path,
    }
}

/// The number of an owner; names were made numbers before.
pub fn number(id: &Id) -> u32 {
    if let Id::Number(number) = id { *number } else { 0 }
}

/// Names of extended attributes that are access lists.
pub const ACCESS_LISTS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// What an access list lets somebody do.
pub struct Access {
    /// Who it is about: one user, one group, or some kind of them.
    pub tag: u8,
    /// Reading, writing, executing.
    pub permissions: u8,
    /// The number of the user or group, if it is about one.
    pub id: u32,
}

impl Access {
    pub const USER: u8 = 2;
    pub const GROUP: u8 = 8;

    /// Looks at the access lists among extended attributes.
    ///
    /// # Errors
    ///
    /// One that is none.
    pub fn check(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<(), String> {
        let is_odd = |(name, value): &&(Vec<u8>, Vec<u8>)| {
            ACCESS_LISTS.contains(&name.as_slice()) && Access::list(value).is_none()
        };
        xattrs.iter().find(is_odd).map_or(Ok(()), |(name, _)| {
            Err(format!("the value of its `{}` is no access list", String::from_utf8_lossy(name)))
        })
    }

    /// The entries of an access list as a program sees it (`posix_acl_xattr_header`; acl(5)); none if it is no such list.
    pub fn list(value: &[u8]) -> Option<Vec<Access>> {
        let entries = value.strip_prefix(&2u32.to_le_bytes())?;
        let (entries, []) = entries.as_chunks::<8>() else { return None };
        let entry = |[tag, zero, permissions, more, id @ ..]: &[u8; 8]| {
            // One user, one group; the owner, the owner's group, the mask, and all others.
            let is_known = matches!(*tag, Access::USER | Access::GROUP | 1 | 4 | 16 | 32);
            let is_whole = is_known && *zero == 0 && *more == 0 && *permissions <= 7;
            let id = u32::from_le_bytes(*id);
            is_whole.then_some(Access { tag: *tag, permissions: *permissions, id })
        };
        entries.iter().map(entry).collect()
    }
}

/// Whether a file system can have what an entry is: a symbolic link of so many bytes, a device whose numbers have so many
/// bits.
///
/// # Errors
///
/// Why it cannot.
pub fn check_kind(
    kind: &Kind,
    longest_link: usize,
    (major_bits, minor_bits): (u32, u32),
) -> Result<(), String> {
    match kind {
        Kind::Symlink(target) if target.is_empty() || target.len() > longest_link => {
            Err(format!("a symbolic link has from one byte to {longest_link}"))
        }
        Kind::Character(major, minor) | Kind::Block(major, minor)
            if *major >= 1 << major_bits || *minor >= 1 << minor_bits =>
        {
            Err(format!("the numbers of a device have {major_bits} and {minor_bits} bits"))
        }
        _ => Ok(()),
    }
}
