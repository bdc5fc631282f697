//! The nodes of a volume as a tree, once everything is known to be writable.

use std::collections::BTreeMap;

use super::field::sectors;
use super::{Content, Kind, Node, Volume};
use crate::fault::{Fault, Faults};
use crate::wording;

/// A volume that can be written.
pub(super) struct Tree<'a> {
    pub label: &'a str,
    pub epoch: i64,
    /// The root first, then by path; so siblings stand in the order of their names.
    pub entries: Vec<Entry<'a>>,
}

/// A folder, file or link of the tree.
pub(super) struct Entry<'a> {
    /// The last part of its path; the root's is empty.
    pub name: &'a str,
    pub body: Body<'a>,
    /// The permission bits.
    pub mode: u32,
    pub mtime: i64,
}

/// What an entry is.
pub(super) enum Body<'a> {
    /// A folder and the numbers of the entries in it.
    Directory(Vec<usize>),
    File(&'a Content),
    Symlink(&'a str),
}

/// The number of the root among the entries.
pub(super) const ROOT: usize = 0;

/// ECMA-119, 6.8.2.1: the root is the first of eight levels.
const LEVELS: usize = 8;
/// What Linux can read of a Rock Ridge name.
const NAME_LIMIT: usize = 253;
/// A path table names a directory's parent with 16 bits.
const DIRECTORY_LIMIT: usize = 65_535;
/// Enough entries for any use, few enough that serial numbers and the lengths of directories fit their 32 bits.
const ENTRY_LIMIT: usize = 1 << 22;
/// Sectors are counted with 32 bits; what [`ENTRY_LIMIT`] entries need for themselves is kept free.
const CONTENT_LIMIT: u64 = (1 << 32) - (1 << 23);

impl<'a> Tree<'a> {
    /// The tree of `volume`, or everything that is wrong with it.
    pub(super) fn new(volume: &'a Volume) -> Result<Tree<'a>, Faults> {
        let mut faults = Faults::new();
        faults.keep(check_label(&volume.label));
        for node in &volume.nodes {
            faults.keep(check_path(node));
        }
        let by_path = faults.keep(by_path(&volume.nodes)).unwrap_or_default();
        faults.extend(misplaced(&by_path));
        if faults.has_errors() {
            return Err(faults);
        }
        let tree =
            Tree { label: &volume.label, epoch: volume.epoch, entries: entries(&by_path, volume.epoch) };
        faults.keep(tree.check_limits());
        if faults.has_errors() { Err(faults) } else { Ok(tree) }
    }

    /// What stands in the folder of number `entry`.
    pub(super) fn children(&self, entry: usize) -> &[usize] {
        match &self.entries[entry].body {
            Body::Directory(children) => children,
            _ => &[],
        }
    }

    fn check_limits(&self) -> Result<(), Fault> {
        let directories = self.entries.iter().filter(|entry| entry.is_directory()).count();
        let content = self.entries.iter().fold(0_u64, |sum, entry| sum.saturating_add(sectors(entry.size())));
        let over = if directories > DIRECTORY_LIMIT {
            format!("{directories} folders, at most {DIRECTORY_LIMIT} fit")
        } else if self.entries.len() > ENTRY_LIMIT {
            format!("{} entries, at most {ENTRY_LIMIT} fit", self.entries.len())
        } else if content > CONTENT_LIMIT {
            String::from("more than 8176 GiB, which is the most that fits")
        } else {
            return Ok(());
        };
        let message = format!("a CD-ROM volume (ISO 9660) was to hold {over}");
        Err(Fault::error("outputs/iso-size", message)
            .help("put it into several volumes, or into a disk image"))
    }
}

impl Entry<'_> {
    pub(super) fn is_directory(&self) -> bool {
        matches!(self.body, Body::Directory(_))
    }

    /// How many bytes of content it has.
    pub(super) fn size(&self) -> u64 {
        match self.body {
            Body::File(content) => content.size(),
            _ => 0,
        }
    }
}

fn check_label(label: &str) -> Result<(), Fault> {
    let wrong = match label {
        "" => "is empty",
        _ if !label.bytes().all(|byte| matches!(byte, b' '..=b'~')) => "has more than printable ASCII in it",
        _ if label.len() > 32 => "is longer than 32 characters",
        _ if label.trim() != label => "begins or ends with a blank",
        _ => return Ok(()),
    };
    let message = format!("the volume's label `{}` {wrong}", wording::printable(label));
    Err(Fault::error("outputs/iso-label", message).help("take 1 to 32 ASCII letters, digits and `_`"))
}

fn check_path(node: &Node) -> Result<(), Fault> {
    let parts = node.path.split('/');
    let levels = parts.clone().count() + usize::from(node.kind == Kind::Directory);
    let (wrong, help) = if node.path.chars().any(char::is_control) {
        ("has a control character in it", "rename it")
    } else if parts.clone().any(|part| matches!(part, "" | "." | "..")) {
        ("is not a plain relative path", "write it without `.`, `..`, and slashes at either end or doubled")
    } else if parts.clone().any(|part| part.len() > NAME_LIMIT) {
        ("has a name of more than 253 bytes", "shorten it: Linux reads no longer ones from a CD-ROM")
    } else if levels > LEVELS {
        (
            "is nested too deep",
            "ISO 9660 has seven levels of folders below the root; put deeper ones into a tar",
        )
    } else if matches!(&node.kind, Kind::Symlink(target) if !is_target(target)) {
        (
            "is a link to nothing that can be said",
            "a link's target is 1 to 1023 bytes without control characters",
        )
    } else {
        return Ok(());
    };
    let message = format!("`{}` cannot stand in a CD-ROM volume: it {wrong}", wording::printable(&node.path));
    Err(Fault::error("outputs/iso-path", message).help(help))
}

fn is_target(target: &str) -> bool {
    (1..=1023).contains(&target.len()) && !target.chars().any(char::is_control)
}

fn by_path(nodes: &[Node]) -> Result<BTreeMap<Vec<&str>, &Node>, Faults> {
    let mut faults = Vec::new();
    let mut by_path = BTreeMap::new();
    for node in nodes {
        if by_path.insert(node.path.split('/').collect(), node).is_some() {
            let message = format!("`{}` is in the volume twice", wording::printable(&node.path));
            faults.push(Fault::error("outputs/iso-doubled", message).help("rename or leave out one of them"));
        }
    }
    if faults.is_empty() { Ok(by_path) } else { Err(faults.into()) }
}

/// The nodes whose folder is no folder.
fn misplaced(by_path: &BTreeMap<Vec<&str>, &Node>) -> Vec<Fault> {
    let obstacle = |path: &[&str]| {
        (1..path.len())
            .filter_map(|depth| by_path.get(&path[..depth]))
            .find(|node| node.kind != Kind::Directory)
            .map(|node| node.path.as_str())
    };
    let told = |path: &Vec<&str>| {
        let file = obstacle(path)?;
        let path = wording::printable(&path.join("/"));
        let file = wording::printable(file);
        let message = format!("`{path}` cannot stand in the volume: `{file}` is not a folder");
        Some(Fault::error("outputs/iso-path", message).help("rename one of them"))
    };
    by_path.keys().filter_map(told).collect()
}

fn entries<'a>(by_path: &BTreeMap<Vec<&'a str>, &'a Node>, epoch: i64) -> Vec<Entry<'a>> {
    let mut entries = vec![Entry::folder("", epoch)];
    let mut folders = BTreeMap::from([(Vec::new(), ROOT)]);
    for (path, node) in by_path {
        for depth in 1..path.len() {
            add(&mut entries, &mut folders, &path[..depth], Entry::folder(path[depth - 1], epoch));
        }
        let name = path.last().copied().unwrap_or_default();
        add(&mut entries, &mut folders, path, Entry::of(name, node));
    }
    entries
}

/// Adds `entry` at `path` unless there is a folder already; the folder that it stands in is there.
fn add<'a>(
    entries: &mut Vec<Entry<'a>>,
    folders: &mut BTreeMap<Vec<&'a str>, usize>,
    path: &[&'a str],
    entry: Entry<'a>,
) {
    if folders.contains_key(path) {
        return;
    }
    let number = entries.len();
    let parent = path.split_last().and_then(|(_, above)| folders.get(above)).copied().unwrap_or(ROOT);
    if let Body::Directory(children) = &mut entries[parent].body {
        children.push(number);
    }
    if entry.is_directory() {
        folders.insert(path.to_vec(), number);
    }
    entries.push(entry);
}

impl<'a> Entry<'a> {
    fn folder(name: &'a str, mtime: i64) -> Entry<'a> {
        Entry { name, body: Body::Directory(Vec::new()), mode: 0o755, mtime }
    }

    fn of(name: &'a str, node: &'a Node) -> Entry<'a> {
        let body = match &node.kind {
            Kind::Directory => Body::Directory(Vec::new()),
            Kind::File(content) => Body::File(content),
            Kind::Symlink(target) => Body::Symlink(target),
        };
        Entry { name, body, mode: node.mode & 0o7777, mtime: node.mtime }
    }
}
