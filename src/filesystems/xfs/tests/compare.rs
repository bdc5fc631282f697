//! All that a file system tells, beside what Linux tells of it.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{lgetxattr, llistxattr, major, minor};

use crate::filesystems::{FileSystem, Inode, InodeKind};

/// Bytes of a file that are compared: those with holes are larger than anybody waits for.
const COMPARED: u64 = 64 << 20;

/// Compares everything below the root; how many files there are.
pub fn same(system: &dyn FileSystem, root: &Path, what: &str) -> usize {
    let mut compared = 0;
    let mut all = vec![(root.to_path_buf(), system.root())];
    while let Some((path, number)) = all.pop() {
        let shown = format!("{what}: {}", path.display());
        let inode = system.inode(number).expect(&shown);
        assert_eq!((number, inode), seen(&path), "{shown}");
        assert!(system.xattrs(number).expect(&shown) == attributes(&path), "attributes of {shown}");
        match inode.kind {
            InodeKind::Directory => all.extend(same_names(system, number, &path)),
            InodeKind::Regular => same_content(system, number, &path),
            InodeKind::Symlink => same_target(system, number, &path),
            _ => {}
        }
        compared += 1;
    }
    compared
}

/// Compares the names in a folder; what they lead to.
fn same_names(system: &dyn FileSystem, number: u64, path: &Path) -> Vec<(PathBuf, u64)> {
    let mut names = system.names(number).expect("names");
    names.sort();
    let entries = fs::read_dir(path).expect("a folder");
    let mut expected: Vec<Vec<u8>> =
        entries.map(|entry| entry.expect("an entry").file_name().into_vec()).collect();
    expected.sort();
    assert!(names.iter().map(|(name, _)| name).eq(&expected), "names in {}", path.display());
    let inside = |(name, number): (Vec<u8>, u64)| (path.join(OsStr::from_bytes(&name)), number);
    names.into_iter().map(inside).collect()
}

fn same_target(system: &dyn FileSystem, number: u64, path: &Path) {
    let mut target = Vec::new();
    system.content(number).expect("a link").read_to_end(&mut target).expect("a target");
    let expected = fs::read_link(path).expect("a link").into_os_string().into_vec();
    assert_eq!(target, expected, "{}", path.display());
}

fn same_content(system: &dyn FileSystem, number: u64, path: &Path) {
    let (mut told, mut seen) = (Vec::new(), Vec::new());
    let content = system.content(number).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    content.take(COMPARED).read_to_end(&mut told).expect("content");
    fs::File::open(path).expect("a file").take(COMPARED).read_to_end(&mut seen).expect("content");
    assert!(told == seen, "the content of {}", path.display());
}

/// What Linux tells of a file, and its inode's number.
fn seen(path: &Path) -> (u64, Inode) {
    let found = fs::symlink_metadata(path).expect("a file");
    let (device, of) = ((major(found.rdev()), minor(found.rdev())), found.file_type());
    let kind = match () {
        () if of.is_dir() => InodeKind::Directory,
        () if of.is_file() => InodeKind::Regular,
        () if of.is_symlink() => InodeKind::Symlink,
        () if of.is_char_device() => InodeKind::Character(device.0, device.1),
        () if of.is_block_device() => InodeKind::Block(device.0, device.1),
        () if of.is_fifo() => InodeKind::Fifo,
        () => InodeKind::Socket,
    };
    let (uid, gid, links) = (found.uid(), found.gid(), found.nlink() as u32);
    let (mode, mtime, size) = (found.mode() & 0o7777, found.mtime(), found.size());
    (found.ino(), Inode { kind, mode, uid, gid, mtime, size, links })
}

/// The attributes that Linux tells. It tells access lists a second time, as they are kept.
fn attributes(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 64 << 10];
    let length = llistxattr(path, &mut names).expect("names");
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 64 << 10];
        let length = lgetxattr(path, OsStr::from_bytes(name), &mut value).expect("a value");
        value.truncate(length);
        (name.to_vec(), value)
    };
    let mut all: Vec<_> = names.filter(|name| !name.starts_with(b"trusted.SGI_ACL_")).map(value).collect();
    all.sort();
    all
}

/// The number of the inode at a path.
pub fn find(system: &dyn FileSystem, path: &str) -> Option<u64> {
    path.split('/').try_fold(system.root(), |folder, name| {
        let names = system.names(folder).expect("names");
        Some(names.iter().find(|(one, _)| one == name.as_bytes())?.1)
    })
}
