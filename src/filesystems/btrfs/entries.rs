//! Entries: what folders call files, and files' extended attributes (`struct btrfs_dir_item`).

use std::io;

use super::format::{Key, number, slice};
use crate::filesystems::damage;

/// Bytes in front of a name.
const FRONT: usize = 30;

/// A name, and what it stands for: a file has `location`, an attribute has `value`.
#[derive(Debug)]
pub struct Entry<'d> {
    pub location: Key,
    pub name: &'d [u8],
    pub value: &'d [u8],
}

/// All entries of an item: several where their names have the same hash.
///
/// # Errors
///
/// Damage.
pub fn entries(mut data: &[u8]) -> io::Result<Vec<Entry<'_>>> {
    let mut found = Vec::new();
    while !data.is_empty() {
        let (of_value, of_name) = (number(data, 25, 2)? as usize, number(data, 27, 2)? as usize);
        let (name, value) = (slice(data, FRONT, of_name)?, slice(data, FRONT + of_name, of_value)?);
        found.push(Entry { location: Key::of(data)?, name, value });
        data = data.get(FRONT + of_name + of_value..).unwrap_or_default();
    }
    Ok(found)
}

/// Whether a folder can have that name.
///
/// # Errors
///
/// One that it cannot have.
pub fn check_name(name: &[u8]) -> io::Result<()> {
    /// Bytes of a name.
    const LONGEST: usize = 255;
    let is_odd = name.is_empty() || name.len() > LONGEST || name.contains(&b'/') || name.contains(&0);
    if is_odd || name == b"." || name == b".." {
        return Err(damage("a folder has a name that none can have"));
    }
    Ok(())
}
