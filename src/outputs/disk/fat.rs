//! FAT: what a firmware reads (Microsoft's FAT32 File System Specification 1.03). Written without a tool: it is new, so that
//! everything lies in one piece, folders first.

mod entry;
mod shape;
mod tree;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use self::entry::ENTRY;
use self::shape::{ROOT_ENTRIES, Shape};
use self::tree::Item;
use super::spec::Partition;
use crate::fault::{Fault, Place};
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

/// A FAT file system that is yet to be written.
pub struct Fat<'a> {
    pub files: Files<'a>,
    pub label: Option<&'a str>,
    /// Its volume ID.
    pub id: u32,
    /// The time of what the image does not have: seconds since 1970.
    pub epoch: i64,
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
        let mut root = Item::tree(&self.files).map_err(|fault| fault.at(place, "in this partition"))?;
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
}
