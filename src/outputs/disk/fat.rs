//! FAT: what a firmware reads (Microsoft's FAT32 File System Specification 1.03). Written without a tool: it is new, so that
//! everything lies in one piece, folders first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::spec::Partition;
use super::table::SECTOR;
use crate::fault::{Fault, Place};
use crate::lang::value::civil_from_days;
use crate::layer::copy::copy_by_kernel;
use crate::layer::merge::Node;
use crate::layer::{Kind, Merged};
use crate::wording;
use crate::work::Stack;

/// What stands in a FAT file system, by its path in there.
pub type Files<'a> = BTreeMap<String, Source<'a>>;

/// Where a file's content comes from.
#[derive(Debug)]
pub enum Source<'a> {
    Folder,
    Bytes(Vec<u8>),
    /// A file of the image.
    Node(&'a Node),
}

impl Source<'_> {
    fn size(&self) -> u64 {
        match self {
            Source::Folder => 0,
            Source::Bytes(bytes) => bytes.len() as u64,
            Source::Node(node) => node.entry.kind.size(),
        }
    }
}

/// What is in `tree`, in a file system that has neither owners nor links.
///
/// # Errors
///
/// Anything else than files and folders, and names that FAT cannot have.
pub fn files_of<'a>(tree: &'a Merged, part: &Partition) -> Result<Files<'a>, Fault> {
    let mut files = Files::new();
    for node in tree.nodes().filter(|node| !node.entry.path.is_root()) {
        let refuse = |why: &str| {
            let message = format!("`/{}` cannot be in a FAT file system: {why}", node.entry.path);
            Fault::build("disk/fat", message).at(&part.place, "this partition")
        };
        let name =
            std::str::from_utf8(node.entry.path.as_bytes()).map_err(|_| refuse("its name is no UTF-8"))?;
        let odd = |letter: char| letter.is_control() || "\"*:<>?\\|".contains(letter);
        if name.contains(odd) || name.split('/').any(|name| name.ends_with(['.', ' '])) {
            return Err(refuse("its name has characters that FAT has not"));
        }
        let mut entry = node;
        if let Kind::Hardlink(target) = &node.entry.kind {
            entry = tree.get(target).ok_or_else(|| refuse("it is a link to nothing"))?;
        }
        if entry.entry.kind.size() > u64::from(u32::MAX) {
            return Err(refuse("it has 4 GiB or more"));
        }
        let source = match entry.entry.kind {
            Kind::Directory => Source::Folder,
            Kind::File { .. } => Source::Node(entry),
            _ => return Err(refuse("it is neither a file nor a folder")),
        };
        files.insert(name.to_string(), source);
    }
    Ok(files)
}

/// Bytes of a file system that holds `files`, with some room.
pub fn roomy(files: &Files<'_>) -> u64 {
    let bytes: u64 = files.values().map(|source| source.size().next_multiple_of(4096) + 4096).sum();
    (bytes + bytes / 10 + (8 << 20)).next_multiple_of(1 << 20).max(64 << 20)
}

/// The smallest one: bytes.
const LEAST: u64 = 4 << 20;

/// A FAT file system that is yet to be written.
pub struct Fat<'a> {
    pub files: Files<'a>,
    pub label: Option<&'a str>,
    /// Its volume ID.
    pub id: u32,
    /// The time of what the image does not have: seconds since 1970.
    pub epoch: i64,
}

/// A file or a folder with its place: clusters from `first` on.
struct Item<'s> {
    name: String,
    source: &'s Source<'s>,
    first: u32,
    clusters: u32,
    /// The entries of a folder.
    entries: Vec<u8>,
    inside: Vec<Item<'s>>,
    /// Where in there each name is.
    names: BTreeMap<String, usize>,
}

impl Fat<'_> {
    /// Writes it into `out`, from `at` on and `size` bytes long, where nothing but zeros is.
    ///
    /// # Errors
    ///
    /// It does not fit, or two names are one to FAT; reading layers, writing.
    pub fn write(
        &self,
        (out, path): (&mut File, &Path),
        (at, size): (u64, u64),
        stack: &Stack,
        place: &Place,
    ) -> Result<(), Fault> {
        let shape = Shape::of(size).ok_or_else(|| self.too_small(size, place))?;
        let mut root = self.tree().map_err(|fault| fault.at(place, "in this partition"))?;
        let mut next = 2;
        root.settle(&shape, &mut next);
        if next > shape.clusters + 2 || (!shape.wide && root.length() > ROOT_ENTRIES * ENTRY) {
            return Err(self.too_small(size, place));
        }
        root.fill(self, 0, true);
        let write = |out: &mut File| -> io::Result<()> {
            for (offset, bytes) in shape.front(self, next, &root) {
                out.write_all_at(&bytes, at + offset)?;
            }
            root.write(out, at, &shape, stack)
        };
        write(out).map_err(|error| Fault::io("write", path, &error))
    }

    fn too_small(&self, size: u64, place: &Place) -> Fault {
        let content: u64 = self.files.values().map(Source::size).sum();
        let message = format!(
            "what is to be in this partition does not fit into {}: its files have {}",
            wording::size(size),
            wording::size(content)
        );
        Fault::build("output/too-small", message)
            .at(place, "this partition")
            .help(format!("{} would do", wording::size(roomy(&self.files))))
    }

    /// The files as a tree, each folder's in the order of their names.
    fn tree(&self) -> Result<Item<'_>, Fault> {
        let mut root = Item::new("", &Source::Folder);
        for (path, source) in &self.files {
            let mut folder = &mut root;
            let mut names = path.split('/').peekable();
            while let Some(name) = names.next() {
                let source = if names.peek().is_some() { &Source::Folder } else { source };
                if !folder.is_folder() {
                    let message = format!("`{}` is below a file", wording::printable(path));
                    return Err(Fault::build("disk/fat", message).help(
                        "the boot loader has files there: the image must not have a file in their way",
                    ));
                }
                let position = match folder.names.get(name) {
                    Some(position) => *position,
                    None => {
                        folder.names.insert(name.into(), folder.inside.len());
                        folder.inside.push(Item::new(name, source));
                        folder.inside.len() - 1
                    }
                };
                folder = &mut folder.inside[position];
            }
        }
        root.check(0)?;
        Ok(root)
    }
}

impl<'s> Item<'s> {
    fn new(name: &str, source: &'s Source<'s>) -> Item<'s> {
        let (entries, inside, names) = (Vec::new(), Vec::new(), BTreeMap::new());
        Item { name: name.into(), source, first: 0, clusters: 0, entries, inside, names }
    }

    fn is_folder(&self) -> bool {
        matches!(self.source, Source::Folder)
    }

    /// To FAT, names that differ only in capitals are one; and it knows only so many folders in each other.
    fn check(&mut self, depth: usize) -> Result<(), Fault> {
        const DEEPEST: usize = 32;
        let mut names = BTreeSet::new();
        self.inside.sort_by(|one, other| one.name.cmp(&other.name));
        for item in &mut self.inside {
            let name = wording::printable(&item.name);
            if item.name.encode_utf16().count() > 255 {
                return Err(Fault::build(
                    "disk/fat",
                    format!("`{name}` is longer than a name of FAT can be"),
                ));
            }
            if !names.insert(item.name.to_uppercase()) {
                let message = format!("FAT cannot tell `{name}` from another name in the same folder");
                return Err(Fault::build("disk/fat", message));
            }
            if depth > DEEPEST {
                return Err(Fault::build("disk/fat", format!("`{name}` is too deep in folders for FAT")));
            }
            item.check(depth + 1)?;
        }
        if self.length() > MOST_ENTRIES * ENTRY {
            let message =
                format!("`{}` has more files than a folder of FAT can have", wording::printable(&self.name));
            return Err(Fault::build("disk/fat", message));
        }
        Ok(())
    }

    /// Bytes of it in the file system.
    fn length(&self) -> usize {
        let own = if self.name.is_empty() { 1 } else { 2 };
        let entry = |item: &Item<'_>| 1 + if is_short(&item.name) { 0 } else { long_entries(&item.name) };
        (own + self.inside.iter().map(entry).sum::<usize>()) * ENTRY
    }

    /// Gives it its place, and then all that is in it.
    fn settle(&mut self, shape: &Shape, next: &mut u32) {
        let bytes = if self.is_folder() { self.length() as u64 } else { self.source.size() };
        let in_front = self.name.is_empty() && !shape.wide;
        if bytes > 0 && !in_front {
            let clusters = bytes.div_ceil(shape.cluster);
            self.first = *next;
            self.clusters = u32::try_from(clusters).unwrap_or(u32::MAX);
            *next = next.saturating_add(self.clusters);
        }
        self.inside.iter_mut().for_each(|item| item.settle(shape, next));
    }

    /// Makes the entries of all folders; `above` is where the folder above begins.
    fn fill(&mut self, fat: &Fat<'_>, above: u32, is_top: bool) {
        if !self.is_folder() {
            return;
        }
        let mut entries = Vec::new();
        let time = fat.epoch;
        if is_top {
            if let Some(label) = fat.label {
                entries.extend(entry(&padded(label), 0x08, 0, 0, time));
            }
        } else {
            entries.extend(entry(b".          ", 0x10, self.first, 0, time));
            entries.extend(entry(b"..         ", 0x10, above, 0, time));
        }
        let mut short_names = BTreeSet::new();
        // Those that are their own short name keep it, and none gets what another is called in capitals.
        short_names.extend(self.inside.iter().filter_map(|item| short(&item.name.to_ascii_uppercase())));
        let mut numbers = BTreeMap::new();
        for item in &mut self.inside {
            let (attribute, size) = if item.is_folder() { (0x10, 0) } else { (0x20, item.source.size()) };
            let time = match item.source {
                Source::Node(node) => node.entry.mtime,
                _ => time,
            };
            let name = short(&item.name).unwrap_or_else(|| {
                let name = alias(&item.name, &short_names, &mut numbers);
                entries.extend(long(&item.name, &name));
                short_names.insert(name);
                name
            });
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            entries.extend(entry(&name, attribute, item.first, size, time));
            // The folder above those at the top is told as none.
            item.fill(fat, if is_top { 0 } else { self.first }, false);
        }
        self.entries = entries;
    }

    fn write(&self, out: &mut File, at: u64, shape: &Shape, stack: &Stack) -> io::Result<()> {
        let place = at + if self.first == 0 { shape.root() } else { shape.place(self.first) };
        match self.source {
            Source::Folder => out.write_all_at(&self.entries, place)?,
            Source::Bytes(bytes) => out.write_all_at(bytes, place)?,
            Source::Node(node) => {
                let layer = stack.layer_of(node).ok_or_else(|| io::Error::other("a layer was lost"))?;
                if let Kind::File { size, offset, .. } = node.entry.kind {
                    out.seek(SeekFrom::Start(place))?;
                    copy_by_kernel(&layer.tar, offset, size, out)?;
                }
            }
        }
        self.inside.iter().try_for_each(|item| item.write(out, at, shape, stack))
    }

    /// Each piece of the chain: its first cluster, and how many.
    fn chains(&self, into: &mut Vec<(u32, u32)>) {
        if self.clusters > 0 {
            into.push((self.first, self.clusters));
        }
        self.inside.iter().for_each(|item| item.chains(into));
    }
}

/// What a file system of some size looks like.
struct Shape {
    sectors: u64,
    /// Bytes of a cluster.
    cluster: u64,
    clusters: u32,
    /// Sectors in front of the first table.
    reserved: u64,
    /// Sectors of a table; there are two.
    table: u64,
    /// Whether it is FAT32; else it is FAT16.
    wide: bool,
}

/// Entries of the root of FAT16, which lies in front of the clusters.
const ROOT_ENTRIES: usize = 512;
/// Entries of a folder; a long name takes several.
const MOST_ENTRIES: usize = 65_536;
/// Bytes of an entry.
const ENTRY: usize = 32;

impl Shape {
    fn of(size: u64) -> Option<Shape> {
        let sectors = size / SECTOR;
        if size < LEAST || u32::try_from(sectors).is_err() {
            return None;
        }
        // Microsoft's table of clusters by size; a smaller one has too few clusters to be FAT32.
        let wide = size >= 34 << 20;
        let cluster = match size >> 20 {
            0..16 => 512,
            16..34 => 1024,
            34..=260 => 512,
            261..=8192 => 4096,
            8193..=16384 => 8192,
            16385..=32768 => 16384,
            _ => 32768,
        };
        let (reserved, root, width) =
            if wide { (32, 0, 4) } else { (1, (ROOT_ENTRIES * ENTRY) as u64 / SECTOR, 2) };
        // Sectors for tables of all clusters that there could be: a few too many do no harm.
        let most = (sectors - reserved - root) * SECTOR / cluster + 2;
        let table = (most * width).div_ceil(SECTOR);
        let clusters = (sectors - reserved - root - 2 * table) * SECTOR / cluster;
        let clusters = u32::try_from(clusters).ok()?;
        Some(Shape { sectors, cluster, clusters, reserved, table, wide })
    }

    /// Where the root of FAT16 is, and where clusters begin: bytes.
    fn root(&self) -> u64 {
        (self.reserved + 2 * self.table) * SECTOR
    }

    fn place(&self, cluster: u32) -> u64 {
        let root = if self.wide { 0 } else { (ROOT_ENTRIES * ENTRY) as u64 };
        self.root() + root + u64::from(cluster - 2) * self.cluster
    }

    /// What stands in front of the clusters; `next` is the first that is free.
    fn front(&self, fat: &Fat<'_>, next: u32, tree: &Item<'_>) -> Vec<(u64, Vec<u8>)> {
        let boot = self.boot_sector(fat);
        let mut pieces = vec![(0, boot.clone())];
        if self.wide {
            let mut info = vec![0; SECTOR as usize];
            info[..4].copy_from_slice(b"RRaA");
            info[484..488].copy_from_slice(b"rrAa");
            info[488..492].copy_from_slice(&(self.clusters + 2 - next).to_le_bytes());
            info[492..496].copy_from_slice(&next.to_le_bytes());
            info[510..].copy_from_slice(&[0x55, 0xaa]);
            pieces.extend([(SECTOR, info.clone()), (6 * SECTOR, boot), (7 * SECTOR, info)]);
        }
        let table = self.chain_table(next, tree);
        pieces.push((self.reserved * SECTOR, table.clone()));
        pieces.push(((self.reserved + self.table) * SECTOR, table));
        pieces
    }

    fn chain_table(&self, next: u32, tree: &Item<'_>) -> Vec<u8> {
        const LAST: u32 = 0x0fff_ffff;
        let mut chain = vec![0u32; next as usize];
        chain[0] = 0x0fff_fff8;
        chain[1] = LAST;
        let mut chains = Vec::new();
        tree.chains(&mut chains);
        for (first, clusters) in chains {
            for cluster in first..first + clusters {
                let is_last = cluster + 1 == first + clusters;
                chain[cluster as usize] = if is_last { LAST } else { cluster + 1 };
            }
        }
        let bytes = |link: u32| link.to_le_bytes().into_iter().take(if self.wide { 4 } else { 2 });
        chain.into_iter().flat_map(bytes).collect()
    }

    fn boot_sector(&self, fat: &Fat<'_>) -> Vec<u8> {
        let mut sector = vec![0; SECTOR as usize];
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        let small = |number: u64| u16::try_from(number).unwrap_or_default().to_le_bytes();
        put(0, &[0xeb, 0x58, 0x90]);
        put(3, b"imgbuild");
        put(11, &small(SECTOR));
        put(13, &[u8::try_from(self.cluster / SECTOR).unwrap_or(1)]);
        put(14, &small(self.reserved));
        put(16, &[2]);
        put(17, &small(if self.wide { 0 } else { ROOT_ENTRIES as u64 }));
        put(21, &[0xf8]);
        put(24, &small(63));
        put(26, &small(255));
        put(32, &u32::try_from(self.sectors).unwrap_or_default().to_le_bytes());
        let rest = if self.wide {
            put(36, &u32::try_from(self.table).unwrap_or_default().to_le_bytes());
            put(44, &2u32.to_le_bytes());
            put(48, &[1, 0, 6, 0]);
            64
        } else {
            put(22, &small(self.table));
            36
        };
        put(rest, &[0x80, 0, 0x29]);
        put(rest + 3, &fat.id.to_le_bytes());
        put(rest + 7, &padded(fat.label.unwrap_or("NO NAME")));
        put(rest + 18, if self.wide { b"FAT32   " } else { b"FAT16   " });
        put(510, &[0x55, 0xaa]);
        sector
    }
}

/// A short name: eight bytes, and three of an extension.
type Short = [u8; 11];

fn padded(label: &str) -> Short {
    let mut name = [b' '; 11];
    name.iter_mut().zip(label.bytes()).for_each(|(place, byte)| *place = byte);
    name
}

/// The short name that `name` is, if it is one.
fn short(name: &str) -> Option<Short> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let fits = |part: &str, most: usize| {
        let known = |byte: u8| {
            byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"_-~!@#$%&'(){}^`".contains(&byte)
        };
        part.len() <= most && part.bytes().all(known)
    };
    if base.is_empty() || !fits(base, 8) || !fits(extension, 3) || name.ends_with('.') {
        return None;
    }
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base.as_bytes());
    short[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    Some(short)
}

fn is_short(name: &str) -> bool {
    short(name).is_some()
}

/// A short name for a long one, which none of `taken` is: `LOADER~1CON`. `numbers` has what was given last.
fn alias(name: &str, taken: &BTreeSet<Short>, numbers: &mut BTreeMap<(Vec<u8>, Vec<u8>), u32>) -> Short {
    let plain = |text: &str, most: usize| -> Vec<u8> {
        let capitals = text.bytes().map(|byte| byte.to_ascii_uppercase());
        capitals.filter(u8::is_ascii_alphanumeric).take(most).collect()
    };
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let (base, extension) = (plain(base, 6), plain(extension, 3));
    let numbered = |number: u32| -> Short {
        let tail = format!("~{number}");
        let mut short = [b' '; 11];
        let kept = base.len().min(8 - tail.len());
        short[..kept].copy_from_slice(&base[..kept]);
        short[kept..kept + tail.len()].copy_from_slice(tail.as_bytes());
        short[8..8 + extension.len()].copy_from_slice(&extension);
        short
    };
    let last = numbers.entry((base.clone(), extension.clone())).or_default();
    // No folder has as many files.
    while *last < 9_999_999 {
        *last += 1;
        if !taken.contains(&numbered(*last)) {
            break;
        }
    }
    numbered(*last)
}

/// UTF-16 letters in an entry of a long name.
const LETTERS: usize = 13;

fn long_entries(name: &str) -> usize {
    name.encode_utf16().count().div_ceil(LETTERS)
}

/// The entries of a long name, in front of that of its short one: the last part first.
fn long(name: &str, short: &Short) -> Vec<u8> {
    let sum = short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let letters: Vec<u16> = name.encode_utf16().collect();
    let parts = letters.chunks(LETTERS).enumerate();
    let entry = |(number, part): (usize, &[u16])| {
        let is_last = number + 1 == long_entries(name);
        let mut padded: Vec<u16> = part.to_vec();
        if padded.len() < LETTERS {
            padded.push(0);
        }
        padded.resize(LETTERS, 0xffff);
        let bytes: Vec<u8> = padded.into_iter().flat_map(u16::to_le_bytes).collect();
        let mut entry = [0; ENTRY];
        entry[0] = u8::try_from(number + 1).unwrap_or_default() | if is_last { 0x40 } else { 0 };
        entry[1..11].copy_from_slice(&bytes[..10]);
        entry[11] = 0x0f;
        entry[13] = sum;
        entry[14..26].copy_from_slice(&bytes[10..22]);
        entry[28..].copy_from_slice(&bytes[22..]);
        entry
    };
    parts.map(entry).collect::<Vec<_>>().into_iter().rev().flatten().collect()
}

fn entry(name: &Short, attribute: u8, first: u32, size: u32, seconds: i64) -> [u8; ENTRY] {
    let (date, time) = moment(seconds);
    let [low, more, high, highest] = first.to_le_bytes();
    let mut entry = [0; ENTRY];
    entry[..11].copy_from_slice(name);
    entry[11] = attribute;
    entry[14..16].copy_from_slice(&time.to_le_bytes());
    entry[16..18].copy_from_slice(&date.to_le_bytes());
    entry[18..20].copy_from_slice(&date.to_le_bytes());
    entry[20..22].copy_from_slice(&[high, highest]);
    entry[22..24].copy_from_slice(&time.to_le_bytes());
    entry[24..26].copy_from_slice(&date.to_le_bytes());
    entry[26..28].copy_from_slice(&[low, more]);
    entry[28..].copy_from_slice(&size.to_le_bytes());
    entry
}

/// A time as FAT has it, in UTC: from 1980 to 2107, and even seconds.
fn moment(seconds: i64) -> (u16, u16) {
    const FIRST: i64 = 315_532_800;
    const LAST: i64 = 4_354_819_198;
    let seconds = seconds.clamp(FIRST, LAST);
    let (year, month, day) = civil_from_days(seconds / 86400);
    let time = seconds % 86400;
    let part = |number: i64| u16::try_from(number).unwrap_or_default();
    (
        part((year - 1980) << 9 | month << 5 | day),
        part((time / 3600) << 11 | (time / 60 % 60) << 5 | ((time % 60) / 2)),
    )
}
