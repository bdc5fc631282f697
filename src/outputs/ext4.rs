//! ext4: how large it has to be, and what mke2fs is told (mke2fs(8)).

use std::collections::{BTreeMap, BTreeSet};

use super::tool::{OUT, Then, Tool};
use crate::fault::{Fault, Place};
use crate::lang::Spanned;
use crate::layer::{EntryPath, Kind, Merged};
use crate::sandbox::image::Given;
use crate::wording;

/// What it is made with; the library is what mke2fs reads tars with, and loads only then.
pub const TOOLS: &[&str] = &["e2fsprogs", "libarchive13t64"];

const BLOCK: u64 = 4096;
const INODE: u64 = 256;
/// A symbolic link up to this stands in its inode: bytes.
const SHORT_LINK: usize = 59;
/// Extended attributes up to this stand in the inode: bytes of names and values.
const SHORT_XATTRS: usize = 64;
/// What is free at least where no size is stated: bytes.
const ROOM: u64 = 64 << 20;
/// Bytes of the journal of a small file system.
const SMALLEST_JOURNAL: u64 = 4 << 20;
/// A size is a multiple of this: bytes.
pub const STEP: u64 = 1 << 20;

/// A file system that is yet to be made.
pub struct Ext4<'a> {
    /// All that is in it.
    pub merged: &'a Merged,
    /// Its UUID, and what its hash seed is made from.
    pub uuid: &'a str,
    /// What it is called: up to 16 bytes.
    pub label: Option<&'a str>,
    /// The time of all that the tool makes itself: seconds since 1970.
    pub epoch: i64,
    /// Who asks for it.
    pub place: &'a Place,
}

impl Ext4<'_> {
    /// What makes it, in a file, `offset` bytes from its beginning and `size` bytes long.
    ///
    /// # Errors
    ///
    /// A name that has an extended attribute and cannot be told.
    pub fn tool(&self, offset: u64, size: u64) -> Result<Tool, Fault> {
        let mut tool = Tool::new("mke2fs", self.arguments(offset, size));
        // Zero would be no time at all.
        tool.environment.push(("E2FSPROGS_FAKE_TIME", self.epoch.max(1).to_string()));
        tool.then = with_xattrs(self.merged, offset, self.place)?;
        Ok(tool)
    }

    fn arguments(&self, offset: u64, size: u64) -> Vec<String> {
        let (needs, uuid) = (Needs::of(self.merged), self.uuid);
        let mut words: Vec<String> =
            ["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256"].map(String::from).into();
        words.extend(["-N".into(), needs.inodes_of(size).to_string()]);
        words.extend(["-J".into(), format!("size={}", needs.journal(size) >> 20)]);
        words.extend(["-U".into(), uuid.to_string(), "-E".into()]);
        // All is written now, so that nothing is left for whoever mounts it first.
        words.push(format!(
            "hash_seed={uuid},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,offset={offset}"
        ));
        if let Some(label) = &self.label {
            words.extend(["-L".into(), label.to_string()]);
        }
        words.extend(["-d".into(), "-".into(), OUT.into(), format!("{}k", size >> 10)]);
        words
    }
}

/// Bytes of the smallest file system that holds all of `merged`.
pub fn least(merged: &Merged) -> u64 {
    Needs::of(merged).bytes()
}

/// Bytes of a file system that holds all of `merged`, with some room.
pub fn roomy(merged: &Merged) -> u64 {
    let least = least(merged);
    (least + least / 10 + ROOM).next_multiple_of(STEP)
}

/// What is wrong where `size` bytes are stated, and it needs more.
pub fn too_small(size: &Spanned<u64>, merged: &Merged, place: &Place) -> Option<Fault> {
    let needed = least(merged);
    if size.value >= needed {
        return None;
    }
    let message = format!(
        "the image does not fit into {}: it needs {}",
        wording::size(size.value),
        wording::size(needed.next_multiple_of(STEP))
    );
    let fault = Fault::build("output/too-small", message)
        .at(&size.place, "this size")
        .help(format!("make it larger; the largest folders are {}", largest(merged)));
    Some(if size.place == *place { fault } else { fault.at(place, "of this output") })
}

/// The one extended attribute that mke2fs takes from a tar.
const TAKEN: &[u8] = b"security.capability";

/// What sets the extended attributes that mke2fs leaves out: debugfs(8), with a script, which has a line for each.
fn with_xattrs(merged: &Merged, offset: u64, place: &Place) -> Result<Option<Then>, Fault> {
    const FOLDER: &str = "run/imgbuild/xattrs";
    let given = |name: &str, bytes: Vec<u8>| {
        let path = EntryPath::parse(format!("{FOLDER}/{name}")).unwrap_or_default();
        Given { path, mode: 0o600, bytes }
    };
    let (mut script, mut files) = (Vec::new(), Vec::new());
    for node in merged.nodes().filter(|node| !matches!(node.entry.kind, Kind::Hardlink(_))) {
        for (name, value) in node.entry.xattrs.iter().filter(|(name, _)| name != TAKEN) {
            let number = files.len().to_string();
            script.extend(format!("ea_set -f /{FOLDER}/{number} ").into_bytes());
            script.extend(quoted(&[b"/", node.entry.path.as_bytes()].concat()));
            script.push(b' ');
            script.extend(quoted(name));
            script.push(b'\n');
            files.push(given(&number, value.clone()));
            if node.entry.path.as_bytes().contains(&b'\n') || name.contains(&b'\n') {
                let message =
                    format!("`{}` has an extended attribute, and a name of several lines", node.entry.path);
                return Err(Fault::build("output/xattr", message)
                    .at(place, "this output")
                    .help("leave one of them out"));
            }
        }
    }
    if files.is_empty() {
        return Ok(None);
    }
    files.push(given("script", script));
    let device = format!("{OUT}?offset={offset}");
    let arguments = ["-w", "-f", &format!("/{FOLDER}/script"), &device].map(String::from).to_vec();
    Ok(Some(Then { program: "debugfs", arguments, files }))
}

/// A word of debugfs: between double quotes, of which one inside stands there twice.
fn quoted(word: &[u8]) -> Vec<u8> {
    let inside = word.iter().flat_map(|byte| if *byte == b'"' { vec![b'"', b'"'] } else { vec![*byte] });
    std::iter::once(b'"').chain(inside).chain([b'"']).collect()
}

/// What an image needs of an ext4 file system.
struct Needs {
    inodes: u64,
    blocks: u64,
}

impl Needs {
    fn of(merged: &Merged) -> Needs {
        let mut needs = Needs { inodes: 0, blocks: 0 };
        let mut folders: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for node in merged.nodes() {
            let entry = &node.entry;
            let name = entry.path.name().len() as u64;
            if let Some(parent) = entry.path.parent() {
                // An entry of a directory: eight bytes and the name, rounded up (struct ext4_dir_entry_2).
                *folders.entry(parent.as_bytes().to_vec()).or_default() += (8 + name).next_multiple_of(4);
            }
            let xattrs: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
            needs.blocks += u64::from(xattrs > SHORT_XATTRS);
            needs.blocks += match &entry.kind {
                // Of a large file, blocks that say where the others are.
                Kind::File { size, .. } => size.div_ceil(BLOCK) + size / (128 << 20),
                Kind::Symlink(target) => u64::from(target.len() > SHORT_LINK),
                _ => 0,
            };
            needs.inodes += u64::from(!matches!(entry.kind, Kind::Hardlink(_)));
        }
        let folders: u64 = merged
            .nodes()
            .filter(|node| node.entry.kind == Kind::Directory)
            .map(|node| folders.get(node.entry.path.as_bytes()).copied().unwrap_or(0))
            // Blocks are never quite full, and a large directory has an index.
            .map(|bytes| (bytes * 5 / 4).div_ceil(BLOCK).max(1) + 1)
            .sum();
        needs.blocks += folders;
        needs
    }

    /// Bytes of the smallest file system that holds it.
    fn bytes(&self) -> u64 {
        let content = self.blocks * BLOCK + SMALLEST_JOURNAL;
        // The tables are of the whole, and they are part of it.
        (content + self.tables(content + self.tables(content))).next_multiple_of(STEP)
    }

    /// Bytes of all that is there for the others: inodes; for each group of 128 MiB two bitmaps and its descriptor; the
    /// copies of the superblock and of all descriptors, and room for more of these.
    fn tables(&self, size: u64) -> u64 {
        self.inodes_of(size) * INODE + size.div_ceil(128 << 20) * 3 * BLOCK + (8 << 20)
    }

    /// How many files it can have: room for a quarter more, or one for each 16 KiB.
    fn inodes_of(&self, size: u64) -> u64 {
        (self.inodes * 5 / 4 + 1024).max(size / 16384)
    }

    /// Bytes of the journal of a file system of `size`: what mke2fs would take, if there is room for it.
    fn journal(&self, size: u64) -> u64 {
        let free = size.saturating_sub(self.blocks * BLOCK + self.tables(size));
        let fits = |journal: &u64| size >= 16 * journal && free >= *journal;
        [64 << 20, 16 << 20].into_iter().find(fits).unwrap_or(SMALLEST_JOURNAL)
    }
}

/// The five largest folders, two levels deep, with their sizes.
fn largest(merged: &Merged) -> String {
    let mut sizes: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for node in merged.nodes() {
        let parts: BTreeSet<Vec<u8>> = node
            .entry
            .path
            .parent()
            .into_iter()
            .map(|folder| folder.components().take(2).collect::<Vec<_>>().join(&b'/'))
            .collect();
        parts.into_iter().for_each(|part| *sizes.entry(part).or_default() += node.entry.kind.size());
    }
    let mut sizes: Vec<(Vec<u8>, u64)> = sizes.into_iter().filter(|(_, size)| *size > 0).collect();
    sizes.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let told = |(path, size): &(Vec<u8>, u64)| {
        let path = wording::printable(&String::from_utf8_lossy(path));
        format!("`/{path}` ({})", wording::size(*size))
    };
    sizes.iter().take(5).map(told).collect::<Vec<_>>().join(", ")
}
