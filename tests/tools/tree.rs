//! A tree on the disk as lines of text, so that two of them can be compared path by path.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Paths and what is there.
pub type Tree = BTreeMap<String, Item>;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its kind, and where it leads, how long it is, or which device.
    pub what: String,
    /// Mode bits, user and group.
    pub access: (u32, u32, u32),
    /// Seconds since 1970.
    pub time: i64,
    /// The first of its other names, if it has some.
    pub same_as: Option<String>,
    /// Extended attributes.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

/// Everything below `root`; the root itself is the path `.`.
pub fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut first_names = BTreeMap::new();
    visit(root, root, &mut tree, &mut first_names);
    tree
}

fn visit(root: &Path, path: &Path, tree: &mut Tree, first_names: &mut BTreeMap<u64, String>) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let relative = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
    let name = if relative.is_empty() { ".".to_string() } else { relative.escape_ascii().to_string() };
    let linked = metadata.nlink() > 1 && !metadata.is_dir();
    let first = first_names.entry(metadata.ino()).or_insert_with(|| name.clone()).clone();
    let item = Item {
        what: what(path, &metadata),
        access: (metadata.mode() & 0o7777, metadata.uid(), metadata.gid()),
        // The root was made by whoever unpacked, and its time is theirs.
        time: if relative.is_empty() { 0 } else { metadata.mtime() },
        same_as: Some(first).filter(|first| linked && *first != name),
        xattrs: xattrs(path),
    };
    tree.insert(name, item);
    if metadata.is_dir() {
        let mut below: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        below.sort();
        below.iter().for_each(|path| visit(root, path, tree, first_names));
    }
}

fn what(path: &Path, metadata: &fs::Metadata) -> String {
    let kind = metadata.file_type();
    if kind.is_symlink() {
        format!("link to {}", fs::read_link(path).unwrap().as_os_str().as_bytes().escape_ascii())
    } else if kind.is_dir() {
        "directory".to_string()
    } else if kind.is_char_device() || kind.is_block_device() {
        format!("device {:x} {}", metadata.rdev(), kind.is_block_device())
    } else if kind.is_fifo() {
        "fifo".to_string()
    } else {
        format!("file {:?}", fs::read(path).unwrap().escape_ascii().to_string())
    }
}

fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names[..]) else { return Vec::new() };
    let mut xattrs: Vec<(String, Vec<u8>)> = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..]).unwrap();
            value.truncate(length);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect();
    xattrs.sort();
    xattrs
}

/// Where two trees differ, in words.
pub fn differences(wanted: &Tree, got: &Tree) -> String {
    let mut lines = String::new();
    let mut paths: Vec<&String> = wanted.keys().chain(got.keys()).collect();
    paths.sort();
    paths.dedup();
    for path in paths {
        match (wanted.get(path), got.get(path)) {
            (Some(wanted), Some(got)) if wanted == got => {}
            (wanted, got) => lines += &format!("{path}\n  wanted {wanted:?}\n  got    {got:?}\n"),
        }
    }
    lines
}

/// Fails, naming every path that differs, if `got` is not the same as `wanted`.
pub fn same(wanted: &Tree, got: &Tree, who: &str) {
    let differences = differences(wanted, got);
    assert!(differences.is_empty(), "as {who} has it:\n{differences}");
}
