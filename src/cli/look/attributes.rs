//! Extended attributes of ext4, as they stand on the disk (Documentation/filesystems/ext4/attributes.rst).

use super::inodes::{half, word};

const MAGIC: u64 = 0xea02_0000;

/// Beginnings of names, by the numbers that stand for them.
const PREFIXES: [(u8, &[u8]); 6] =
    [(1, b"user."), (2, ACCESS), (3, DEFAULT), (4, b"trusted."), (6, b"security."), (7, b"system.")];
const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// Those that stand in an inode, behind its fields.
pub fn of_inode(area: &[u8]) -> Attributes {
    if word(area, 0) == MAGIC { entries(area.get(4..).unwrap_or_default(), 0) } else { Attributes::new() }
}

/// Those that have a block.
pub fn of_block(block: &[u8]) -> Attributes {
    if word(block, 0) == MAGIC { entries(block, 32) } else { Attributes::new() }
}

/// The entries from `at` on; their values are in `area`, too. What has another place is left out.
fn entries(area: &[u8], mut at: usize) -> Attributes {
    let mut found = Attributes::new();
    while let Some([length, prefix, rest @ ..]) = area.get(at..) {
        let length = usize::from(*length);
        if word(area, at) == 0 {
            break;
        }
        let (start, size) = (half(area, at + 2) as usize, word(area, at + 8) as usize);
        let known = PREFIXES.iter().find(|(number, _)| number == prefix);
        let value = area.get(start..).and_then(|value| value.get(..size));
        if let (Some((_, prefix)), Some(name), Some(value), 0) =
            (known, rest.get(14..14 + length), value, word(area, at + 4))
        {
            let name = [prefix, name].concat();
            let value = if [ACCESS, DEFAULT].contains(prefix) { acl(value) } else { value.to_vec() };
            found.push((name, value));
        }
        at += (16 + length).next_multiple_of(4);
    }
    found
}

/// An access list as programs see it: on the disk, only who is named has a number.
fn acl(value: &[u8]) -> Vec<u8> {
    const VERSION: u32 = 2;
    const USER: u64 = 2;
    const GROUP: u64 = 8;
    let mut told = VERSION.to_le_bytes().to_vec();
    let mut rest = value.get(4..).unwrap_or_default();
    while let Some((entry, behind)) = rest.split_at_checked(4) {
        told.extend(entry);
        let named = [USER, GROUP].contains(&half(entry, 0));
        let (number, behind) = behind.split_at_checked(if named { 4 } else { 0 }).unwrap_or_default();
        told.extend(if named { number } else { &[0xff; 4] });
        rest = behind;
    }
    told
}
