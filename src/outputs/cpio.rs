//! `output "cpio"`: the image as a cpio archive, which Linux takes as an initramfs.
//!
//! The "newc" format (magic 070701), as the kernel's documentation has it (initramfs buffer format).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use super::files::{number, type_bits};
use super::tarball::copy;
use super::{COMPRESSIONS, Compress, Kind, LEVEL, Stated, Target};
use crate::codec::{Earlier, Encoder, Format, Layout, Settings};
use crate::fault::{Fault, Faults, Place};
use crate::key::Key;
use crate::lang::{Field, Node, Spanned, Word};
use crate::layer::merge::Node as TreeNode;
use crate::layer::{Entry, EntryPath, Kind as EntryKind, Merged};
use crate::work::{Facts, Folders, Job, Output, Stack, World, Writing, Written};

pub(super) const KIND: Kind = Kind { word: &WORD, decode };

static WORD: Word = Word {
    name: "cpio",
    summary: "the image as a cpio archive: an initramfs",
    docs: "In the format that Linux unpacks as its first root file system (`newc`). It is always one stream, since the \
           kernel stops at the end of the first. cpio has no extended attributes, and no file of 4 GiB or more.",
    example: "image \"initramfs\" {\n    overlays \"busybox\"\n    output \"cpio\" compression=\"zstd\"\n}\n",
    properties: &[Field::new("compression", COMPRESSIONS, "How it is compressed.").default("none"), LEVEL],
    ..Word::BARE
};

#[derive(Debug)]
struct CpioOutput {
    stated: Stated,
    compress: Compress,
}

fn decode(
    node: &Node,
    _target: &Target<'_>,
    _folders: &Folders,
    faults: &mut Faults,
) -> Option<Arc<dyn Output>> {
    Some(Arc::new(CpioOutput {
        stated: Stated::of(node),
        compress: Compress::of(node, Format::None, faults),
    }))
}

impl Output for CpioOutput {
    fn kind(&self) -> &'static str {
        "cpio"
    }
    fn extension(&self) -> String {
        self.compress.extension("cpio")
    }
    fn place(&self) -> &Place {
        &self.stated.place
    }
    fn path(&self) -> Option<&Spanned<String>> {
        self.stated.path.as_ref()
    }

    fn facts(&self, world: &World) -> Result<Facts, Fault> {
        let mut key = Key::new("output-cpio", 1);
        self.compress.facts(&mut key);
        key.fact("epoch", world.epoch);
        Ok(Facts::new(key))
    }

    fn write(&self, writing: Writing<'_>) -> Result<Written, Fault> {
        let Writing { world, job, stack, path, aids, .. } = writing;
        write(self.compress, stack, path, aids.earlier, world, job)
    }
}

/// Writes the image to `path` as an archive.
pub(super) fn write(
    compress: Compress,
    stack: &Stack,
    path: &Path,
    earlier: Option<Earlier>,
    world: &World,
    job: &Job<'_>,
) -> Result<Written, Fault> {
    let failed = |error: io::Error| Fault::io("write", path, &error);
    let merged = world.image(stack)?;
    let out = BufWriter::with_capacity(1 << 20, File::create_new(path).map_err(failed)?);
    let settings = Settings {
        format: compress.format,
        level: compress.level,
        layout: Layout::OneFrame,
        threads: world.threads,
    };
    let mut encoder = Encoder::new(settings, earlier, out).map_err(failed)?;
    let mut archive = Archive { out: &mut encoder, at: 0, buffer: vec![0; 256 * 1024] };
    let links = Links::of(&merged);
    for (number, node) in merged.nodes().enumerate() {
        job.go_on()?;
        let inode = number as u32 + 1;
        archive.node(node, inode, &links, &merged, stack)?.map_err(failed)?;
    }
    archive.end().map_err(failed)?;
    Ok(Written { blocks: encoder.finish().map_err(failed)?.blocks })
}

/// Files with several names: all names share an inode number, and the content comes with the last.
struct Links {
    /// For every name: the holder's inode number, how many names there are, and whether it is the last.
    names: BTreeMap<EntryPath, (u32, u32, bool)>,
}

impl Links {
    fn of(merged: &Merged) -> Links {
        let mut groups: BTreeMap<&EntryPath, Vec<&EntryPath>> = BTreeMap::new();
        let mut inodes: BTreeMap<&EntryPath, u32> = BTreeMap::new();
        for (number, node) in merged.nodes().enumerate() {
            inodes.insert(&node.entry.path, number as u32 + 1);
            if let EntryKind::Hardlink(holder) = &node.entry.kind {
                groups.entry(holder).or_insert_with(|| vec![holder]).push(&node.entry.path);
            }
        }
        let mut names = BTreeMap::new();
        for (holder, mut group) in groups {
            group.sort();
            let inode = inodes.get(holder).copied().unwrap_or_default();
            let last = group.len() - 1;
            for (position, name) in group.iter().enumerate() {
                names.insert((*name).clone(), (inode, group.len() as u32, position == last));
            }
        }
        Links { names }
    }
}

struct Archive<'a> {
    out: &'a mut dyn Write,
    at: u64,
    buffer: Vec<u8>,
}

impl Archive<'_> {
    /// The outer error is a fault of what is asked for, the inner one of writing.
    fn node(
        &mut self,
        node: &TreeNode,
        inode: u32,
        links: &Links,
        merged: &Merged,
        stack: &Stack,
    ) -> Result<io::Result<()>, Fault> {
        let entry = &node.entry;
        let holder = match &entry.kind {
            EntryKind::Hardlink(holder) => merged.get(holder).unwrap_or(node),
            _ => node,
        };
        let (inode, names, last) = links.names.get(&entry.path).copied().unwrap_or((inode, 1, true));
        let content = match &holder.entry.kind {
            EntryKind::File { size, .. } if last => *size,
            EntryKind::Symlink(target) => target.len() as u64,
            _ => 0,
        };
        let Ok(size) = u32::try_from(content) else {
            let message = format!("`{}` has 4 GiB or more, which a cpio archive cannot hold", entry.path);
            return Err(Fault::build("cpio/size", message).help("leave it out, or write a tar"));
        };
        let mut write = || -> io::Result<()> {
            self.header(&Header { entry: &holder.entry, path: &entry.path, inode, names, size })?;
            match (&holder.entry.kind, stack.layer_of(holder)) {
                (EntryKind::Symlink(target), _) => self.put(target)?,
                (EntryKind::File { .. }, Some(layer)) if last => {
                    copy(&mut layer.content(&holder.entry), content, self.out, &mut self.buffer)?;
                    self.at += content;
                }
                _ => {}
            }
            self.pad()
        };
        Ok(write())
    }

    fn header(&mut self, header: &Header<'_>) -> io::Result<()> {
        let entry = header.entry;
        let name = if header.path.is_root() { b"." } else { header.path.as_bytes() };
        let (major, minor) = match entry.kind {
            EntryKind::Character(major, minor) | EntryKind::Block(major, minor) => (major, minor),
            _ => (0, 0),
        };
        let fields = [
            header.inode,
            type_bits(&entry.kind) | entry.mode,
            number(&entry.owner.user),
            number(&entry.owner.group),
            header.names,
            u32::try_from(entry.mtime.max(0)).unwrap_or(u32::MAX),
            header.size,
            0,
            0,
            major,
            minor,
            name.len() as u32 + 1,
            0,
        ];
        let text: String = fields.iter().map(|field| format!("{field:08x}")).collect();
        self.put(b"070701")?;
        self.put(text.as_bytes())?;
        self.put(name)?;
        self.put(&[0])?;
        self.pad()
    }

    fn end(&mut self) -> io::Result<()> {
        let fields = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 11, 0];
        let text: String = fields.iter().map(|field| format!("{field:08x}")).collect();
        self.put(b"070701")?;
        self.put(text.as_bytes())?;
        self.put(b"TRAILER!!!\0")?;
        self.pad()?;
        // Whole blocks, as cpio writes them: boot loaders put archives one behind the other.
        let rest = self.at.wrapping_neg() % 512;
        self.put(&[0; 512][..rest as usize])
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn pad(&mut self) -> io::Result<()> {
        let rest = self.at.wrapping_neg() % 4;
        self.put(&[0; 4][..rest as usize])
    }
}

struct Header<'a> {
    entry: &'a Entry,
    path: &'a EntryPath,
    inode: u32,
    names: u32,
    size: u32,
}
