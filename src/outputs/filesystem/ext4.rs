//! ext4: how large it has to be, and what mke2fs is told (mke2fs(8)).

use std::collections::{BTreeMap, BTreeSet};

use crate::fault::{Fault, Faults, Place};
use crate::key::Key;
use crate::lang::{Node, Spanned};
use crate::layer::{EntryPath, Kind, Merged};
use crate::outputs::tool::{OUT, Then, Tool};
use crate::sandbox::image::Given;
use crate::wording;

/// What is said of it.
#[derive(Debug)]
pub struct Ext4 {
    size: Option<Spanned<u64>>,
    label: Option<String>,
}

const BLOCK: u64 = 4096;
const INODE: u64 = 256;
/// The longest label: bytes.
const LABEL: usize = 16;
/// A symbolic link up to this stands in its inode: bytes.
const SHORT_LINK: usize = 59;
/// Extended attributes up to this stand in the inode: bytes of names and values.
const SHORT_XATTRS: usize = 64;
/// What is free at least where no size is stated: bytes.
const ROOM: u64 = 64 << 20;
/// Bytes of the journal of a small file system.
const SMALLEST_JOURNAL: u64 = 4 << 20;
/// A size is a multiple of this: bytes.
const STEP: u64 = 1 << 20;

pub fn decode(node: &Node, faults: &mut Faults) -> Ext4 {
    let label = node.text("label");
    if let Some(label) = label.iter().find(|label| label.value.len() > LABEL) {
        let length = label.value.len();
        faults.push(
            Fault::error(
                "label/long",
                format!("a label of ext4 has up to {LABEL} bytes; this one has {length}"),
            )
            .at(&label.place, "this label"),
        );
    }
    let size = node.size("size");
    if let Some(size) = size.iter().find(|size| size.value % STEP != 0) {
        faults.push(
            Fault::error("size/odd", "the size of a file system is a multiple of 1 MiB")
                .at(&size.place, "this size"),
        );
    }
    Ext4 { size, label: label.map(|label| label.value) }
}

impl Ext4 {
    pub fn facts(&self, key: &mut Key) {
        key.fact_if("size", self.size.as_ref().map(|size| size.value));
        key.fact_if("label", self.label.as_ref());
    }

    /// What makes it, and how many bytes it has.
    ///
    /// # Errors
    ///
    /// A size is stated, and what is in the image needs more; a name that has an extended attribute and cannot be told.
    pub fn tool(&self, merged: &Merged, uuid: &str, epoch: i64, place: &Place) -> Result<(Tool, u64), Fault> {
        let needs = Needs::of(merged);
        let size = self.size(&needs, merged, place)?;
        let mut tool = Tool::new("mke2fs", self.arguments(&needs, size, uuid));
        // Zero would be no time at all.
        tool.environment.push(("E2FSPROGS_FAKE_TIME", epoch.max(1).to_string()));
        tool.then = with_xattrs(merged, place)?;
        Ok((tool, size))
    }

    fn size(&self, needs: &Needs, merged: &Merged, place: &Place) -> Result<u64, Fault> {
        let needed = needs.bytes();
        let Some(size) = &self.size else {
            return Ok((needed + needed / 10 + ROOM).next_multiple_of(STEP));
        };
        if size.value >= needed {
            return Ok(size.value);
        }
        let message = format!(
            "the image does not fit into {}: it needs {}",
            wording::size(size.value),
            wording::size(needed.next_multiple_of(STEP))
        );
        Err(Fault::build("output/too-small", message)
            .at(&size.place, "this size")
            .at(place, "of this output")
            .help(format!("make it larger; the largest folders are {}", largest(merged))))
    }

    fn arguments(&self, needs: &Needs, size: u64, uuid: &str) -> Vec<String> {
        let mut words: Vec<String> =
            ["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256"].map(String::from).into();
        words.extend(["-N".into(), needs.inodes_of(size).to_string()]);
        words.extend(["-J".into(), format!("size={}", needs.journal(size) >> 20)]);
        words.extend(["-U".into(), uuid.to_string(), "-E".into()]);
        // All is written now, so that nothing is left for whoever mounts it first.
        words.push(format!("hash_seed={uuid},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"));
        if let Some(label) = &self.label {
            words.extend(["-L".into(), label.clone()]);
        }
        words.extend(["-d".into(), "-".into(), OUT.into(), format!("{}k", size >> 10)]);
        words
    }
}

/// The one extended attribute that mke2fs takes from a tar.
const TAKEN: &[u8] = b"security.capability";

/// What sets the extended attributes that mke2fs leaves out: debugfs(8), with a script, which has a line for each.
fn with_xattrs(merged: &Merged, place: &Place) -> Result<Option<Then>, Fault> {
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
    let arguments = ["-w", "-f", &format!("/{FOLDER}/script"), OUT].map(String::from).to_vec();
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
