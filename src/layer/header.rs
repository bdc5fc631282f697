//! Tar headers: the canonical bytes that stand before an entry's content.
//!
//! POSIX.1-2017 `pax` interchange format: a ustar header where everything fits, preceded by an extended header where
//! it does not (long or non-ASCII paths, large numbers) or for extended attributes (`SCHILY.xattr.`, as GNU tar,
//! bsdtar and the OCI image specification have them). Whiteouts are named as in the OCI image layer specification.

use std::borrow::Cow;

use tar::{EntryType, Header};

use super::entry::{Entry, Kind};
use crate::lang::value::Id;

/// A tar's content is padded to this.
pub const BLOCK: u64 = 512;

/// The two zero blocks that end a tar.
pub const END: [u8; 1024] = [0; 1024];

/// Bytes of padding behind a content of `size` bytes.
pub fn padding(size: u64) -> usize {
    // Below 512, so it fits.
    (size.wrapping_neg() % BLOCK) as usize
}

/// The header blocks of `entry`, extended ones first; its content, if any, follows.
pub fn header(entry: &Entry) -> Vec<u8> {
    let name = member_name(entry);
    let mut header = Header::new_ustar();
    header.set_entry_type(entry_type(&entry.kind));
    header.set_mode(entry.mode);
    header.set_mtime(entry.mtime.max(0).unsigned_abs());
    let kept = name.len().min(FIELD);
    header.as_old_mut().name[..kept].copy_from_slice(&name[..kept]);
    header.set_size(entry.kind.size().min(LARGEST));
    set_owner(&mut header, entry);
    set_kind(&mut header, &entry.kind);
    header.set_cksum();
    let mut out = extended(&records(entry, &name));
    out.extend_from_slice(header.as_bytes());
    out
}

/// Bytes of [`header`].
pub fn header_size(entry: &Entry) -> u64 {
    let records = records(entry, &member_name(entry)).len() as u64;
    let extended = if records == 0 { 0 } else { BLOCK + records + padding(records) as u64 };
    extended + BLOCK
}

/// Bytes that a name's field of a ustar header holds.
const FIELD: usize = 100;

/// The largest size, and the largest owner, that a ustar header holds.
const LARGEST: u64 = 0o77_777_777_777;
const LARGEST_OWNER: u64 = 0o7_777_777;

/// What of the entry the ustar header cannot hold, for the extended one.
fn records(entry: &Entry, name: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    let target = link_target(&entry.kind).unwrap_or_default();
    let is_symlink = matches!(entry.kind, Kind::Symlink(_));
    if needs_bytes(name) || is_symlink && needs_bytes(target) {
        record(b"hdrcharset", b"BINARY", &mut records);
    }
    if !fits_field(name) {
        record(b"path", name, &mut records);
    }
    let numbers = [
        (b"size".as_slice(), entry.kind.size(), LARGEST),
        (b"uid", number_and_name(&entry.owner.user).0, LARGEST_OWNER),
        (b"gid", number_and_name(&entry.owner.group).0, LARGEST_OWNER),
    ];
    for (key, number, most) in numbers {
        if number > most {
            record(key, number.to_string().as_bytes(), &mut records);
        }
    }
    if !fits_field(target) {
        record(b"linkpath", target, &mut records);
    }
    for (name, value) in &entry.xattrs {
        record(&[b"SCHILY.xattr.", name.as_slice()].concat(), value, &mut records);
    }
    records
}

fn member_name(entry: &Entry) -> Cow<'_, [u8]> {
    let path = entry.path.as_bytes();
    match entry.kind {
        Kind::Directory if path.is_empty() => b"./".into(),
        Kind::Directory => [path, b"/"].concat().into(),
        Kind::Opaque if path.is_empty() => b".wh..wh..opq".into(),
        Kind::Opaque => [path, b"/.wh..wh..opq"].concat().into(),
        Kind::Whiteout => {
            let folder = path.len() - entry.path.name().len();
            [&path[..folder], b".wh.", entry.path.name()].concat().into()
        }
        _ => path.into(),
    }
}

fn entry_type(kind: &Kind) -> EntryType {
    match kind {
        Kind::Directory => EntryType::Directory,
        Kind::Symlink(_) => EntryType::Symlink,
        Kind::Hardlink(_) => EntryType::Link,
        Kind::Character(..) => EntryType::Char,
        Kind::Block(..) => EntryType::Block,
        Kind::Fifo => EntryType::Fifo,
        Kind::File { .. } | Kind::Whiteout | Kind::Opaque => EntryType::Regular,
    }
}

/// Whether a name goes into the old header's field: no longer, and either ASCII or no text at all, since an extended
/// header's text is UTF-8.
fn fits_field(name: &[u8]) -> bool {
    name.len() <= FIELD && (name.is_ascii() || std::str::from_utf8(name).is_err())
}

/// Whether a name that is not UTF-8 has to go into an extended header.
fn needs_bytes(name: &[u8]) -> bool {
    name.len() > FIELD && std::str::from_utf8(name).is_err()
}

fn set_owner(header: &mut Header, entry: &Entry) {
    let (uid, user) = number_and_name(&entry.owner.user);
    let (gid, group) = number_and_name(&entry.owner.group);
    header.set_uid(uid.min(LARGEST_OWNER));
    header.set_gid(gid.min(LARGEST_OWNER));
    if let Some(ustar) = header.as_ustar_mut() {
        // At most 32 bytes, as `Id::parse` has it.
        ustar.uname[..user.len().min(32)].copy_from_slice(&user.as_bytes()[..user.len().min(32)]);
        ustar.gname[..group.len().min(32)].copy_from_slice(&group.as_bytes()[..group.len().min(32)]);
    }
}

/// Numbers carry no name, so that whoever unpacks cannot map them to something else.
fn number_and_name(id: &Id) -> (u64, &str) {
    match id {
        Id::Number(number) => (u64::from(*number), ""),
        Id::Name(name) => (0, name),
    }
}

fn link_target(kind: &Kind) -> Option<&[u8]> {
    match kind {
        Kind::Symlink(target) => Some(target),
        Kind::Hardlink(target) => Some(target.as_bytes()),
        _ => None,
    }
}

fn set_kind(header: &mut Header, kind: &Kind) {
    if let Kind::Character(major, minor) | Kind::Block(major, minor) = kind {
        // Fails only for a header that is not ustar.
        let _ = header.set_device_major(*major);
        let _ = header.set_device_minor(*minor);
    }
    let target = link_target(kind).unwrap_or_default();
    let kept = target.len().min(FIELD);
    header.as_old_mut().linkname[..kept].copy_from_slice(&target[..kept]);
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn extended(records: &[u8]) -> Vec<u8> {
    if records.is_empty() {
        return Vec::with_capacity(512);
    }
    let size = records.len() as u64;
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    header.as_old_mut().name[..9].copy_from_slice(b"PaxHeader");
    header.set_mode(0o644);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend_from_slice(records);
    out.resize(out.len() + padding(size), 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::path::EntryPath;

    #[test]
    fn a_records_length_counts_itself() {
        let mut out = Vec::new();
        record(b"path", &[b'x'; 89], &mut out);
        assert_eq!(out.len(), 98);
        assert!(out.starts_with(b"98 path="));
        out.clear();
        record(b"path", &[b'x'; 91], &mut out);
        assert!(out.starts_with(b"101 path="), "99 would have to be written with the length of 100");
        assert_eq!(out.len(), 101);
    }

    #[test]
    fn a_name_that_is_no_text_is_kept_as_bytes() {
        let header_of = |name: &[u8]| header(&Entry::passage(EntryPath::parse(name).expect("a path"), 0));
        let short = header_of(b"not \xff");
        assert!(short.len() == 512 && short.starts_with(b"not \xff/"));
        let long = header_of(&[0xff; 101]);
        assert!(long[512..].starts_with(b"21 hdrcharset=BINARY\n112 path=\xff"));
        assert!(header_of("ü".as_bytes())[512..].starts_with("12 path=ü/\n".as_bytes()));
        for length in [99, 100, 101, 470, 490, 500, 600, 1200] {
            let path = vec![vec![b'n'; 90]; 14].join(&b'/')[..length].to_vec();
            let entry = Entry::passage(EntryPath::parse(path).expect("a path"), 0);
            assert_eq!(header_size(&entry), header(&entry).len() as u64, "{length}");
        }
    }

    #[test]
    fn a_plain_entry_is_one_block() {
        let entry = Entry::passage(EntryPath::parse("etc").expect("a path"), 1_735_689_600);
        assert_eq!(header(&entry).len(), 512);
        assert_eq!(header_size(&entry), 512);
        assert_eq!(padding(512), 0);
        assert_eq!(padding(513), 511);
    }
}
