//! Tar headers: the canonical bytes that stand before an entry's content.
//!
//! POSIX.1-2017 `pax` interchange format: a ustar header where everything fits, preceded by an extended header where
//! it does not (long or non-ASCII paths, large numbers) or for extended attributes (`SCHILY.xattr.`, as GNU tar,
//! bsdtar and the OCI image specification have them). Whiteouts are named as in the OCI image layer specification.

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
    let mut records = Vec::new();
    if needs_bytes(&name) || matches!(&entry.kind, Kind::Symlink(target) if needs_bytes(target)) {
        record(b"hdrcharset", b"BINARY", &mut records);
    }
    let mut header = Header::new_ustar();
    header.set_entry_type(entry_type(&entry.kind));
    header.set_mode(entry.mode);
    header.set_mtime(entry.mtime.max(0).unsigned_abs());
    set_path(&mut header, &name, &mut records);
    set_size(&mut header, entry.kind.size(), &mut records);
    set_owner(&mut header, entry, &mut records);
    set_kind(&mut header, &entry.kind, &mut records);
    for (name, value) in &entry.xattrs {
        record(&[b"SCHILY.xattr.", name.as_slice()].concat(), value, &mut records);
    }
    header.set_cksum();
    let mut out = extended(&records);
    out.extend_from_slice(header.as_bytes());
    out
}

fn member_name(entry: &Entry) -> Vec<u8> {
    let path = entry.path.as_bytes();
    match entry.kind {
        Kind::Directory if path.is_empty() => b"./".to_vec(),
        Kind::Directory => [path, b"/"].concat(),
        Kind::Opaque if path.is_empty() => b".wh..wh..opq".to_vec(),
        Kind::Opaque => [path, b"/.wh..wh..opq"].concat(),
        Kind::Whiteout => {
            let folder = path.len() - entry.path.name().len();
            [&path[..folder], b".wh.", entry.path.name()].concat()
        }
        _ => path.to_vec(),
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

fn set_path(header: &mut Header, name: &[u8], records: &mut Vec<u8>) {
    let fields = header.as_old_mut();
    if fits_field(name) {
        fields.name[..name.len()].copy_from_slice(name);
        return;
    }
    record(b"path", name, records);
    let kept = name.len().min(100);
    fields.name[..kept].copy_from_slice(&name[..kept]);
}

/// Whether a name goes into the old header's field: no longer, and either ASCII or no text at all, since an extended
/// header's text is UTF-8.
fn fits_field(name: &[u8]) -> bool {
    name.len() <= 100 && (name.is_ascii() || std::str::from_utf8(name).is_err())
}

/// Whether a name that is not UTF-8 has to go into an extended header.
fn needs_bytes(name: &[u8]) -> bool {
    name.len() > 100 && std::str::from_utf8(name).is_err()
}

fn set_size(header: &mut Header, size: u64, records: &mut Vec<u8>) {
    const USTAR_LIMIT: u64 = 0o77_777_777_777;
    if size > USTAR_LIMIT {
        record(b"size", size.to_string().as_bytes(), records);
    }
    header.set_size(size.min(USTAR_LIMIT));
}

fn set_owner(header: &mut Header, entry: &Entry, records: &mut Vec<u8>) {
    let (uid, user) = number_and_name(&entry.owner.user);
    let (gid, group) = number_and_name(&entry.owner.group);
    const USTAR_LIMIT: u64 = 0o7_777_777;
    header.set_uid(uid.min(USTAR_LIMIT));
    header.set_gid(gid.min(USTAR_LIMIT));
    for (name, id) in [(b"uid", uid), (b"gid", gid)] {
        if id > USTAR_LIMIT {
            record(name, id.to_string().as_bytes(), records);
        }
    }
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

fn set_kind(header: &mut Header, kind: &Kind, records: &mut Vec<u8>) {
    let target = match kind {
        Kind::Symlink(target) => target.as_slice(),
        Kind::Hardlink(target) => target.as_bytes(),
        Kind::Character(major, minor) | Kind::Block(major, minor) => {
            // Fails only for a header that is not ustar.
            let _ = header.set_device_major(*major);
            let _ = header.set_device_minor(*minor);
            return;
        }
        _ => return,
    };
    let kept = target.len().min(100);
    if !fits_field(target) {
        record(b"linkpath", target, records);
    }
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
    }

    #[test]
    fn a_plain_entry_is_one_block() {
        let entry = Entry::passage(EntryPath::parse("etc").expect("a path"), 1_735_689_600);
        assert_eq!(header(&entry).len(), 512);
        assert_eq!(padding(512), 0);
        assert_eq!(padding(513), 511);
    }
}
