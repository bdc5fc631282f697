//! Trees of files: one that has everything, and what the kernel and the reader tell of one.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::fs::{CWD, FallocateFlags, FileType, Mode, XattrFlags, fallocate, mknodat};
use sha2::{Digest, Sha256};

use super::super::super::{FileSystem, Inode, InodeKind};
use super::run;

/// What is told of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub inode: Inode,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of a link, its target; of a file, the digest of its content.
    pub content: Vec<u8>,
    /// The first name of the same inode.
    pub first: String,
}

/// By path, the root as the empty one.
pub type All = BTreeMap<String, Told>;

/// What is told otherwise.
pub fn differences(found: &All, expected: &All) -> Vec<String> {
    let paths = found.keys().chain(expected.keys().filter(|path| !found.contains_key(*path)));
    let differ = paths.filter(|path| found.get(*path) != expected.get(*path));
    differ.map(|path| format!("{path}: {:?} and not {:?}", found.get(path), expected.get(path))).collect()
}

/// Larger files are not read to their end: most of them is a hole.
const MOST: u64 = 256 << 20;

fn digest(content: impl Read) -> io::Result<Vec<u8>> {
    let (mut digest, mut piece, mut content) = (Sha256::new(), vec![0; 50_001], content.take(MOST));
    loop {
        match content.read(&mut piece)? {
            0 => return Ok(digest.finalize().to_vec()),
            length => digest.update(&piece[..length]),
        }
    }
}

pub fn of_reader(system: &dyn FileSystem) -> io::Result<All> {
    let (mut all, mut firsts) = (All::new(), BTreeMap::new());
    let mut left = vec![(String::new(), system.root())];
    while let Some((path, number)) = left.pop() {
        let inode = system.inode(number)?;
        let content = match inode.kind {
            InodeKind::Regular => digest(system.content(number)?)?,
            InodeKind::Symlink => {
                let mut target = Vec::new();
                system.content(number)?.read_to_end(&mut target)?;
                target
            }
            _ => Vec::new(),
        };
        if inode.kind == InodeKind::Directory {
            for (name, number) in system.names(number)? {
                left.push((format!("{path}/{}", String::from_utf8_lossy(&name)), number));
            }
        }
        let xattrs = system.xattrs(number)?;
        let first = firsts.entry(number).or_insert_with(|| path.clone());
        *first = path.clone().min(first.clone());
        all.insert(path, Told { inode, xattrs, content, first: number.to_string() });
    }
    name_firsts(&mut all, &firsts);
    Ok(all)
}

pub fn of_kernel(root: &Path) -> All {
    let (mut all, mut firsts) = (All::new(), BTreeMap::new());
    let mut left = vec![String::new()];
    while let Some(path) = left.pop() {
        let there = root.join(path.trim_start_matches('/'));
        let metadata = fs::symlink_metadata(&there).unwrap();
        let inode = inode(&metadata);
        let content = match inode.kind {
            InodeKind::Regular => digest(File::open(&there).unwrap()).unwrap(),
            InodeKind::Symlink => fs::read_link(&there).unwrap().as_os_str().as_bytes().to_vec(),
            _ => Vec::new(),
        };
        if inode.kind == InodeKind::Directory {
            let names = fs::read_dir(&there).unwrap().map(|entry| entry.unwrap().file_name());
            left.extend(names.map(|name| format!("{path}/{}", name.to_string_lossy())));
        }
        let number = format!("{}:{}", metadata.dev(), metadata.ino());
        let first = firsts.entry(number.clone()).or_insert_with(|| path.clone());
        *first = path.clone().min(first.clone());
        all.insert(path, Told { inode, xattrs: xattrs(&there), content, first: number });
    }
    name_firsts(&mut all, &firsts);
    all
}

fn name_firsts<N: ToString>(all: &mut All, firsts: &BTreeMap<N, String>) {
    let firsts: BTreeMap<String, &String> =
        firsts.iter().map(|(number, path)| (number.to_string(), path)).collect();
    for told in all.values_mut() {
        told.first = firsts[&told.first].clone();
    }
}

fn inode(metadata: &Metadata) -> Inode {
    let kind = metadata.file_type();
    let device = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    let kind = match kind {
        kind if kind.is_dir() => InodeKind::Directory,
        kind if kind.is_file() => InodeKind::Regular,
        kind if kind.is_symlink() => InodeKind::Symlink,
        kind if kind.is_fifo() => InodeKind::Fifo,
        kind if kind.is_socket() => InodeKind::Socket,
        kind if kind.is_block_device() => InodeKind::Block(device.0, device.1),
        _ => InodeKind::Character(device.0, device.1),
    };
    Inode {
        kind,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: metadata.mtime(),
        size: metadata.size(),
        links: metadata.nlink() as u32,
    }
}

fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap();
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        value[..length].to_vec()
    };
    let mut found: Vec<_> = names.map(|name| (name.to_vec(), value(name))).collect();
    found.sort();
    found
}

/// Everything that a file system can have.
pub fn fill(root: &Path) {
    let mut random = StdRng::seed_from_u64(1);
    files(root, &mut random);
    kinds(root);
    attributes(root);
    extents(root, &mut random);
    fs::create_dir_all(root.join("many")).unwrap();
    for number in 0..3000 {
        fs::write(root.join(format!("many/file number {number}")), []).unwrap();
    }
    for number in (0..3000).step_by(7) {
        fs::remove_file(root.join(format!("many/file number {number}"))).unwrap();
    }
}

/// Content of about two thirds of its size when it is packed.
fn content(random: &mut StdRng, length: usize) -> Vec<u8> {
    let mut content = Vec::with_capacity(length);
    while content.len() < length {
        match random.gen_range(0..3) {
            0 => content.extend((0..random.gen_range(1..4000)).map(|_| random.r#gen::<u8>())),
            1 => content.resize(content.len() + random.gen_range(1..9000), random.r#gen()),
            _ if content.is_empty() => content.extend(b"text and more text "),
            _ => {
                let start = random.gen_range(0..content.len());
                let end = content.len().min(start + random.gen_range(1..500));
                content.extend_from_within(start..end);
            }
        }
    }
    content.truncate(length);
    content
}

fn files(root: &Path, random: &mut StdRng) {
    let folder = root.join("files");
    fs::create_dir(&folder).unwrap();
    for size in [0, 1, 100, 2047, 2048, 2049, 3900, 4095, 4096, 4097, 70_000, 131_073, 1 << 20, 5_000_001] {
        fs::write(folder.join(format!("{size}")), content(random, size)).unwrap();
    }
    for (name, seconds) in [("old", -5_000_000_000_i64), ("before", -1), ("late", 16_000_000_000)] {
        let time = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 { UNIX_EPOCH - time } else { UNIX_EPOCH + time };
        fs::write(folder.join(name), name).unwrap();
        File::options().write(true).open(folder.join(name)).unwrap().set_modified(time).unwrap();
    }
    for number in 0..200 {
        fs::hard_link(
            folder.join("100"),
            root.join(format!("another name, of a hundred and more: {number}")),
        )
        .unwrap();
    }
}

fn kinds(root: &Path) {
    let folder = root.join("kinds");
    fs::create_dir(&folder).unwrap();
    symlink("../files", folder.join("short")).unwrap();
    symlink("x/".repeat(1500), folder.join("long")).unwrap();
    let device = |name: &str, kind, (major, minor)| {
        let device = rustix::fs::makedev(major, minor);
        mknodat(CWD, folder.join(name), kind, Mode::from(0o640), device).unwrap();
    };
    device("character", FileType::CharacterDevice, (5, 1));
    device("block", FileType::BlockDevice, (4095, (1 << 20) - 1));
    device("fifo", FileType::Fifo, (0, 0));
    drop(UnixListener::bind(folder.join("socket")));
    for mode in [0o4755, 0o2711, 0o1777, 0] {
        let path = folder.join(format!("{mode:o}"));
        fs::write(&path, "mode").unwrap();
        chown(&path, Some(70_000), Some(u32::MAX - 1)).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }
}

/// `system.posix_acl_access`: version 2, and of each entry what it is of, what it gives, and whom it names.
const ACL: &[u8] =
    b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x05\0\xe8\x03\0\0\x04\0\x05\0\xff\xff\xff\xff\
                     \x10\0\x07\0\xff\xff\xff\xff\x20\0\x05\0\xff\xff\xff\xff";
/// `security.capability` of revision 2: that of `cap_net_raw=ep`.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn attributes(root: &Path) {
    let folder = root.join("attributes");
    fs::create_dir(&folder).unwrap();
    let put = |name: &str, attribute: &str, value: &[u8]| {
        let path = folder.join(name);
        if !path.exists() {
            fs::write(&path, name).unwrap();
        }
        rustix::fs::setxattr(&path, attribute, value, XattrFlags::empty()).unwrap();
    };
    put("ping", "security.capability", CAPABILITY);
    put("labelled", "security.selinux", b"system_u:object_r:etc_t:s0\0");
    put("acl", "system.posix_acl_access", ACL);
    put("acl", "trusted.overlay.opaque", b"y");
    put(".", "system.posix_acl_default", ACL);
    put("large", "user.large", &[b'x'; 3000]);
    for number in 0..100 {
        put("many", &format!("user.number {number}"), format!("{number}").repeat(number).as_bytes());
    }
    // The hashes of these names are the same.
    for number in COLLIDING {
        put("colliding", &format!("user.{number}"), number.as_bytes());
        fs::write(folder.join(format!("user.{number}")), number).unwrap();
    }
}

/// Names whose CRC-32C is the same, with `user.` in front.
const COLLIDING: [&str; 2] = ["1371838", "2000402"];

/// Files of many extents, with holes, with room that is not used, shared with others, and longer than any disk.
fn extents(root: &Path, random: &mut StdRng) {
    let folder = root.join("extents");
    fs::create_dir(&folder).unwrap();
    let file = |name: &str| File::create(folder.join(name)).unwrap();
    let many = file("many");
    for number in 0..400 {
        many.write_all_at(&content(random, 4096), number * 8192).unwrap();
        if number % 40 == 0 {
            many.sync_all().unwrap();
        }
    }
    let odd = file("odd");
    odd.write_all_at(&content(random, 300_000), 12_345).unwrap();
    odd.sync_all().unwrap();
    odd.write_all_at(&content(random, 10_000), 100_001).unwrap();
    odd.set_len(777_777).unwrap();
    let sparse = file("sparse");
    sparse.write_all_at(b"begin", 1 << 16).unwrap();
    sparse.write_all_at(b"end", 1 << 40).unwrap();
    let room = file("room");
    fallocate(&room, FallocateFlags::empty(), 0, 1 << 20).unwrap();
    room.write_all_at(&content(random, 10_000), 50_000).unwrap();
    fallocate(&room, FallocateFlags::KEEP_SIZE, 1 << 20, 1 << 20).unwrap();
    let punched = file("punched");
    punched.write_all_at(&content(random, 500_000), 0).unwrap();
    punched.sync_all().unwrap();
    fallocate(&punched, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 100_000, 90_000).unwrap();
    let cut = file("cut");
    cut.write_all_at(&content(random, 500_000), 0).unwrap();
    cut.sync_all().unwrap();
    cut.set_len(123_456).unwrap();
    run("cp --reflink=always punched shared", &folder);
    let shared = File::options().write(true).open(folder.join("shared")).unwrap();
    shared.write_all_at(b"other", 200_000).unwrap();
    fs::write(folder.join("unsummed"), []).unwrap();
    run("chattr +C unsummed", &folder);
    fs::write(folder.join("unsummed"), content(random, 100_000)).unwrap();
}

/// Content that packing is for, as large as an extent and smaller, in files whose extents are overwritten.
pub fn fill_packed(root: &Path) {
    let mut random = StdRng::seed_from_u64(2);
    let folder = root.join("packed");
    fs::create_dir(&folder).unwrap();
    for size in [50, 1500, 4000, 4096, 40_000, 131_072, 131_073, 3 << 20] {
        fs::write(folder.join(format!("text {size}")), "all work and no play ".repeat(size / 21 + 1))
            .unwrap();
        fs::write(folder.join(format!("mixed {size}")), content(&mut random, size)).unwrap();
        let zeros = File::create(folder.join(format!("zeros {size}"))).unwrap();
        zeros.write_all_at(&vec![0; size], 0).unwrap();
        zeros.write_all_at(b"x", size as u64 / 2).unwrap();
    }
    let file = File::create(folder.join("overwritten")).unwrap();
    file.write_all_at(&b"overwritten".repeat(100_000), 0).unwrap();
    for _ in 0..100 {
        file.sync_all().unwrap();
        let length = random.gen_range(1..20_000);
        file.write_all_at(&content(&mut random, length), random.gen_range(0..1_000_000)).unwrap();
    }
}
