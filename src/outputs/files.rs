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
