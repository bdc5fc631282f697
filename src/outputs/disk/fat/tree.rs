//! The files of a FAT file system as a tree: checked, given their places, and written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::entry::{ENTRY, alias, entry, is_short, long, long_entries, padded, short};
use super::shape::Shape;
use super::{Fat, Files, Source};
use crate::fault::Fault;
use crate::layer::Kind;
use crate::layer::copy::copy_by_kernel;
use crate::wording;
use crate::work::Stack;

/// A file or a folder with its place: clusters from `first` on.
pub(super) struct Item<'s> {
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

/// Entries of a folder; a long name takes several.
const MOST_ENTRIES: usize = 65_536;

impl<'s> Item<'s> {
    /// The files as a tree, each folder's in the order of their names.
    pub(super) fn tree(files: &'s Files<'s>) -> Result<Item<'s>, Fault> {
        let mut root = Item::new("", &Source::Folder);
        for (path, source) in files {
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
    pub(super) fn length(&self) -> usize {
        let own = if self.name.is_empty() { 1 } else { 2 };
        let entry = |item: &Item<'_>| 1 + if is_short(&item.name) { 0 } else { long_entries(&item.name) };
        (own + self.inside.iter().map(entry).sum::<usize>()) * ENTRY
    }

    /// Gives it its place, and then all that is in it.
    pub(super) fn settle(&mut self, shape: &Shape, next: &mut u32) {
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
    pub(super) fn fill(&mut self, fat: &Fat<'_>, above: u32, is_top: bool) {
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

    pub(super) fn write(&self, out: &mut File, at: u64, shape: &Shape, stack: &Stack) -> io::Result<()> {
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
    pub(super) fn chains(&self, into: &mut Vec<(u32, u32)>) {
        if self.clusters > 0 {
            into.push((self.first, self.clusters));
        }
        self.inside.iter().for_each(|item| item.chains(into));
    }
}
