//! Extended attributes: in the inode, or in a block of their own (`fs/xfs/libxfs/xfs_da_format.h`).

use super::format::{BLOCK, Record, SECTOR, Uuid, name_hash};
use crate::filesystems::xfs::format::ACCESS_LISTS;
use crate::filesystems::xfs::format::attribute::{HERE, SECURITY, TRUSTED};
use crate::layer::Entry;
use crate::outputs::files::Access;
use crate::wording;

/// An attribute as xfs has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attribute {
    hash: u32,
    /// The first part of its name, as a bit.
    space: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Where entries begin in a block of their own.
const HEADER: usize = 80;

/// The attributes of an entry, in the order of their hashes.
///
/// # Errors
///
/// A name that xfs cannot have, or more than it has room for here.
pub fn attributes(entry: &Entry) -> Result<Vec<Attribute>, String> {
    let mut all = Vec::new();
    for (name, value) in &entry.xattrs {
        let (space, name, value) = translated(name, value).ok_or_else(|| {
            let name = wording::printable(&String::from_utf8_lossy(name));
            format!("its extended attribute `{name}` is none that xfs can have")
        })?;
        all.push(Attribute { hash: name_hash(&name), space, name, value });
    }
    all.sort();
    // An xfs tells an access list by both its names.
    all.dedup_by(|one, other| (one.space, &one.name) == (other.space, &other.name));
    let bytes: usize = all.iter().map(|attribute| 8 + attribute.size()).sum();
    if HEADER + bytes > BLOCK as usize {
        return Err("its extended attributes do not fit into a block of 4 KiB".into());
    }
    Ok(all)
}

/// The space, the name and the value that xfs has for one.
fn translated(name: &[u8], value: &[u8]) -> Option<(u8, Vec<u8>, Vec<u8>)> {
    if let Some((_, own)) = ACCESS_LISTS.into_iter().find(|(seen, _)| *seen == name) {
        return Some((TRUSTED, own.to_vec(), access_list(value)?));
    }
    let spaces: [(&[u8], u8); 3] = [(b"user.", 0), (b"trusted.", TRUSTED), (b"security.", SECURITY)];
    let mut known = spaces.iter().filter_map(|(prefix, space)| Some((*space, name.strip_prefix(*prefix)?)));
    let (space, name) = known.find(|(_, name)| (1..256).contains(&name.len()))?;
    Some((space, name.to_vec(), value.to_vec()))
}

/// An access control list: `xfs_acl`, out of what the kernel tells of one (`posix_acl_xattr_header`).
fn access_list(value: &[u8]) -> Option<Vec<u8>> {
    let entries = Access::list(value)?;
    let start = Record::new().u32(u32::try_from(entries.len()).ok()?);
    let entry = |record: Record, Access { tag, permissions, id }: &Access| {
        record.u32s(&[u32::from(*tag), *id]).u16(u16::from(*permissions)).u16(0)
    };
    Some(entries.iter().fold(start, entry).done())
}

impl Attribute {
    /// Bytes of name and value in a block.
    fn size(&self) -> usize {
        (3 + self.name.len() + self.value.len()).next_multiple_of(4)
    }
}

/// All of them as they stand in an inode; none if there is one that cannot.
pub fn local(all: &[Attribute]) -> Option<Vec<u8>> {
    let size = 4 + all.iter().map(|one| 3 + one.name.len() + one.value.len()).sum::<usize>();
    let start = Record::new().small(size).u8(u8::try_from(all.len()).ok()?).u8(0);
    let put = |record: Record, one: &Attribute| {
        let record = record.u8(one.name.len() as u8).u8(u8::try_from(one.value.len()).ok()?).u8(one.space);
        Some(record.bytes(&one.name).bytes(&one.value))
    };
    all.iter().try_fold(start, put).map(Record::done)
}

/// All of them as a block of inode `owner`, `at` bytes from the file system's beginning.
pub fn block(all: &[Attribute], at: u64, owner: u64, uuid: &Uuid) -> Vec<u8> {
    const MAGIC: u16 = 0x3bee;
    let used: usize = all.iter().map(Attribute::size).sum();
    let first = BLOCK as usize - used;
    let free = HEADER + 8 * all.len();
    let record = Record::new().zeros(8).u16(MAGIC).zeros(6).u64s(&[at / SECTOR, 0]).bytes(uuid).u64(owner);
    let record = record.small(all.len()).small(used).small(first).u8(0).u8(0);
    let mut record = record.small(free).small(first - free).zeros(8 + 4);
    // Values stand from the end on, the first one last.
    let mut end = BLOCK as usize;
    for one in all {
        end -= one.size();
        record = record.u32(one.hash).small(end).u8(one.space | HERE).u8(0);
    }
    let mut record = record.up_to(first);
    for one in all.iter().rev() {
        let end = record.len() + one.size();
        let start = record.small(one.value.len()).u8(one.name.len() as u8);
        record = start.bytes(&one.name).bytes(&one.value).up_to(end);
    }
    record.summed(12)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::EntryPath;

    #[test]
    fn an_access_list_that_has_both_its_names_is_one_attribute() {
        let seen = [2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255];
        let kept = [0, 0, 0, 1, 0, 0, 0, 1, 255, 255, 255, 255, 0, 6, 0, 0];
        let xattrs = vec![
            (b"system.posix_acl_access".to_vec(), seen.to_vec()),
            (b"trusted.SGI_ACL_FILE".to_vec(), kept.to_vec()),
            (b"user.SGI_ACL_FILE".to_vec(), b"x".to_vec()),
        ];
        let entry = Entry { xattrs, ..Entry::passage(EntryPath::root(), 0) };
        let all = attributes(&entry).expect("attributes");
        let told: Vec<(u8, &[u8])> = all.iter().map(|one| (one.space, one.value.as_slice())).collect();
        assert_eq!(told, [(0, b"x".as_slice()), (TRUSTED, &kept)]);
    }
}
