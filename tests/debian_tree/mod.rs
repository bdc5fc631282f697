//! What is in a tar of a whole Debian tree, and where two of them may differ.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use imgbuild::key::Digest;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// `f` and the like.
    kind: char,
    mode: u32,
    owner: (u64, u64),
    /// Digest, target or numbers.
    content: String,
    /// Extended attributes.
    xattrs: BTreeMap<String, Vec<u8>>,
}

/// A tree by its paths; a file with several names is under each.
pub struct Tree {
    items: BTreeMap<String, Item>,
    /// Contents that are compared by more than their digest.
    texts: BTreeMap<String, Vec<u8>>,
}

/// How far two trees may differ at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum May {
    /// It may be in either, and anything.
    Anything,
    /// Only its mode and owner may differ.
    Access,
    /// Its lines may be in another order.
    Order,
    /// By what a compiled module's source is known, in its first four words (PEP 552).
    Source,
    /// Times in the archives that it consists of.
    Initramfs,
    /// Its target may be named through the link `/lib`.
    ThroughLib,
}

/// Where they may, and why; a `*` at an end stands for anything.
const MAY: &[(&str, May, &str)] = &[
    (
        "etc/apt/sources.list",
        May::Anything,
        "mmdebstrap writes down its mirrors; ours are the host's, and stay out",
    ),
    ("etc/fstab", May::Anything, "mmdebstrap writes an empty one"),
    ("etc/hostname", May::Anything, "mmdebstrap copies the host's"),
    ("etc/resolv.conf", May::Anything, "mmdebstrap copies the host's"),
    ("etc/machine-id", May::Access, "mmdebstrap makes it anew; systemd's own mode is 0444"),
    ("etc/ssh/ssh_host_*", May::Anything, "secrets of a machine"),
    ("usr/lib/systemd/system/imgbuild-ssh-host-keys.service", May::Anything, "makes them on the first boot"),
    ("usr/lib/systemd/system/ssh.service.d*", May::Anything, "makes them on the first boot"),
    ("usr/lib/systemd/system/ssh.socket.d*", May::Anything, "makes them on the first boot"),
    ("etc/passwd", May::Order, ACCOUNTS),
    ("etc/group", May::Order, ACCOUNTS),
    ("etc/shadow", May::Order, ACCOUNTS),
    ("etc/gshadow", May::Order, ACCOUNTS),
    ("etc/passwd-", May::Anything, BEFORE),
    ("etc/group-", May::Anything, BEFORE),
    ("etc/shadow-", May::Anything, BEFORE),
    ("etc/gshadow-", May::Anything, BEFORE),
    ("etc/shells", May::Order, "update-shells adds lines in the order of its calls"),
    (
        "etc/systemd/system/timers.target.wants/apt-*.timer",
        May::ThroughLib,
        "by systemctl if systemd is there before apt, else by a script",
    ),
    ("boot/initrd.img-*", May::Initramfs, "made of the same files with other times"),
    ("run/lock/subsys", May::Anything, "belongs to a running system"),
    (
        "usr/share/python3/debpython/__pycache__/*",
        May::Source,
        "with SOURCE_DATE_EPOCH, by its digest in place of its time",
    ),
    ("var/cache/man/*index.db", May::Anything, "has the times of pages, and an order by hash"),
    ("var/cache/apt/archives/lock", May::Anything, APT),
    ("var/cache/apt/archives/partial", May::Access, APT),
    ("var/lib/apt/lists/lock", May::Anything, APT),
    ("var/lib/apt/lists/partial", May::Access, APT),
    ("var/lib/apt/extended_states", May::Anything, "mmdebstrap's base counts as asked for by hand"),
    ("var/cache/debconf/*-old", May::Anything, BEFORE),
    ("var/lib/dpkg/*-old", May::Anything, BEFORE),
    ("var/lib/dpkg/arch", May::Anything, "mmdebstrap states the only architecture"),
    ("var/lib/dpkg/lock*", May::Anything, "an empty file"),
    ("var/lib/dpkg/triggers/Lock", May::Anything, "an empty file"),
    ("var/lib/dpkg/triggers/File", May::Order, "in the order in which packages were unpacked"),
];

const ACCOUNTS: &str =
    "in the order in which packages of one step were configured; the base is a step of its own";
const BEFORE: &str = "the state before the last change";
const APT: &str = "made when apt runs, which it did not";

fn may(path: &str) -> Option<May> {
    let matches = |pattern: &str| match pattern.split_once('*') {
        None => path == pattern,
        Some((start, end)) => path.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
    };
    MAY.iter().find(|(pattern, ..)| matches(pattern)).map(|(_, may, _)| *may)
}

impl Tree {
    /// Reads a tar.
    pub fn read(tar: &Path) -> Tree {
        let mut tree = Tree { items: BTreeMap::new(), texts: BTreeMap::new() };
        let mut archive = tar::Archive::new(BufReader::with_capacity(1 << 20, File::open(tar).unwrap()));
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = name(&entry.path_bytes());
            let mut xattrs = BTreeMap::new();
            for extension in entry.pax_extensions().unwrap().into_iter().flatten() {
                let extension = extension.unwrap();
                let key = extension.key().unwrap().to_string();
                if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                    xattrs.insert(name.to_string(), extension.value_bytes().to_vec());
                }
            }
            let header = entry.header().clone();
            let target = entry.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default();
            let kind = header.entry_type();
            if kind.is_hard_link() {
                let first = name(&target);
                let item = tree.items[&first].clone();
                if let Some(text) = tree.texts.get(&first).cloned() {
                    tree.texts.insert(path.clone(), text);
                }
                tree.items.insert(path, item);
                continue;
            }
            let (letter, content) = if kind.is_symlink() {
                ('l', String::from_utf8_lossy(&target).into_owned())
            } else if kind.is_dir() {
                ('d', String::new())
            } else if kind.is_character_special() || kind.is_block_special() {
                let numbers = (header.device_major().unwrap(), header.device_minor().unwrap());
                (if kind.is_block_special() { 'b' } else { 'c' }, format!("{numbers:?}"))
            } else if kind.is_fifo() {
                ('p', String::new())
            } else {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                let content = format!("{} {}", bytes.len(), Digest::of(&bytes));
                if may(&path).is_some() {
                    tree.texts.insert(path.clone(), bytes);
                }
                ('f', content)
            };
            let mode = if letter == 'l' { 0 } else { header.mode().unwrap() & 0o7777 };
            let owner = (header.uid().unwrap(), header.gid().unwrap());
            tree.items.insert(path, Item { kind: letter, mode, owner, content, xattrs });
        }
        tree
    }

    /// What is at a path.
    pub fn get(&self, path: &str) -> Option<&Item> {
        self.items.get(path)
    }

    /// All paths, without a slash at an end; the root is empty.
    pub fn paths(&self) -> impl Iterator<Item = &String> {
        self.items.keys()
    }

    fn text(&self, path: &str) -> &[u8] {
        self.texts.get(path).map(Vec::as_slice).unwrap_or_default()
    }
}

fn name(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path).into_owned();
    let text = text.strip_prefix("./").unwrap_or(&text);
    text.trim_end_matches('/').trim_start_matches('/').trim_end_matches('.').to_string()
}

/// Where `got` differs from `wanted` and may not.
pub fn differences(wanted: &Tree, got: &Tree) -> Vec<String> {
    let allowed = |path: &String| match (may(path), wanted.get(path), got.get(path)) {
        (None, ..) => false,
        (Some(May::Anything), ..) => true,
        (Some(may), Some(one), Some(other)) => is_alike(may, path, (wanted, one), (got, other)),
        _ => false,
    };
    plain(wanted, got, |path| !allowed(path))
}

/// All differences.
pub fn plain_differences(wanted: &Tree, got: &Tree) -> Vec<String> {
    plain(wanted, got, |_| true)
}

fn plain(wanted: &Tree, got: &Tree, counts: impl Fn(&String) -> bool) -> Vec<String> {
    let paths: BTreeSet<&String> = wanted.paths().chain(got.paths()).collect();
    let differ = paths.into_iter().filter(|path| wanted.get(path) != got.get(path) && counts(path));
    differ
        .map(|path| {
            let more = if path.starts_with("boot/initrd.img-") {
                initramfs_differences(wanted.text(path), got.text(path))
            } else {
                String::new()
            };
            format!("/{path}\n    wanted {:?}\n    got    {:?}{more}", wanted.get(path), got.get(path))
        })
        .collect()
}

fn is_alike(may: May, path: &str, (wanted, one): (&Tree, &Item), (got, other): (&Tree, &Item)) -> bool {
    let texts = (wanted.text(path), got.text(path));
    let same_but_content = Item { content: other.content.clone(), ..one.clone() } == *other;
    let lines = |text: &[u8]| {
        let mut lines: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        lines.sort();
        lines
    };
    match may {
        May::Anything => true,
        May::Access => one.kind == other.kind && one.content == other.content,
        May::Order => same_but_content && lines(texts.0) == lines(texts.1),
        May::Source => {
            let apart = |text: &[u8]| (text[..4].to_vec(), text[16..].to_vec());
            same_but_content && apart(texts.0) == apart(texts.1)
        }
        May::Initramfs => same_but_content && initramfs_differences(texts.0, texts.1).is_empty(),
        May::ThroughLib => {
            let whole =
                |item: &Item| item.content.replacen("/lib/", "/usr/lib/", 1).replace("/usr/usr", "/usr");
            same_but_content && whole(one) == whole(other)
        }
    }
}

fn initramfs_differences(wanted: &[u8], got: &[u8]) -> String {
    let (wanted, got) = (initramfs(wanted), initramfs(got));
    let paths: BTreeSet<&String> = wanted.keys().chain(got.keys()).collect();
    let differ = paths.into_iter().filter(|path| wanted.get(*path) != got.get(*path));
    differ.map(|path| format!("\n      {path}: {:?} / {:?}", wanted.get(path), got.get(path))).collect()
}

/// The entries of an initramfs (cpio archives in the form `newc`, one after the other, compressed or not), without times.
fn initramfs(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut entries = BTreeMap::new();
    let mut rest = bytes.to_vec();
    loop {
        let padding = rest.iter().take_while(|byte| **byte == 0).count();
        rest.drain(..padding);
        if rest.is_empty() {
            return entries;
        }
        if rest.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            rest = zstd::decode_all(rest.as_slice()).unwrap();
            continue;
        }
        if rest.starts_with(&[0x1f, 0x8b]) {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(rest.as_slice()).read_to_end(&mut plain).unwrap();
            rest = plain;
            continue;
        }
        let used = cpio(&rest, &mut entries);
        rest.drain(..used);
    }
}

fn cpio(bytes: &[u8], entries: &mut BTreeMap<String, String>) -> usize {
    let mut at = 0;
    loop {
        assert_eq!(&bytes[at..at + 6], b"070701", "no cpio at {at}");
        let field = |number: usize| {
            let text = std::str::from_utf8(&bytes[at + 6 + number * 8..at + 14 + number * 8]).unwrap();
            usize::from_str_radix(text, 16).unwrap()
        };
        let (mode, owner, size, name_size) = (field(1), (field(2), field(3)), field(6), field(11));
        let device = (field(9), field(10));
        let name = String::from_utf8_lossy(&bytes[at + 110..at + 110 + name_size - 1]).into_owned();
        let start = (at + 110 + name_size).next_multiple_of(4);
        at = (start + size).next_multiple_of(4);
        if name == "TRAILER!!!" {
            return at;
        }
        let content = Digest::of(&bytes[start..start + size]);
        entries.insert(name, format!("{mode:o} {owner:?} {device:?} {size} {content}"));
    }
}
