//! Disks, read as layers: a table of partitions, and the ext4 file systems in them, where fstab(5) mounts them.
//!
//! What the reader of ext4 does not tell is not there: extended attributes, the numbers of devices, and that two names are
//! of one file.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use ext4_view::{Ext4, Ext4Error, Ext4Read, FileType, Metadata, PathBuf};

use super::archive::{nameless, stack_of};
use super::subject::Contents;
use crate::fault::Fault;
use crate::key::Digest;
use crate::lang::Owner;
use crate::lang::value::Id;
use crate::layer::{Entry, EntryPath, Kind, LayerWriter};
use crate::outputs::disk::{partitions, system};
use crate::store::Layer;
use crate::wording;
use crate::work::Stack;

/// The disk as a stack of one layer, none if it is none; `path` is what people call it.
///
/// # Errors
///
/// A disk without a system, a damaged file system.
pub fn disk(path: &Path, file: &File, contents: Contents) -> Result<Option<Stack>, Fault> {
    let failed = |error: io::Error| Fault::io("read", path, &error);
    let Some(parts) = partitions(file).map_err(failed)? else { return Ok(None) };
    let (mut systems, mut others) = (Vec::new(), Vec::new());
    for (at, size) in parts {
        match system(file, at) {
            Some("ext4") => {
                let part = Part { file: file.try_clone().map_err(failed)?, at, size };
                systems.push(Ext4::load(Box::new(part)).map_err(|error| damaged(path, &error))?);
            }
            other => others.extend(other),
        }
    }
    let Some(root) = systems.iter().position(|system| system.exists("/etc").unwrap_or(false)) else {
        let message = format!("`{}` is a disk, and no ext4 file system on it has an `/etc`", path.display());
        let help = match others.as_slice() {
            [] => "only ext4 is looked into".to_string(),
            others => format!("only ext4 is looked into; this one has {}", others.join(" and ")),
        };
        return Err(Fault::error("look/disk", message).help(help));
    };
    systems.swap(0, root);
    stack(path, file, &systems, contents).map(Some)
}

/// A disk without anything on it that is known.
pub fn nothing_on(path: &Path) -> Fault {
    let message = format!("`{}` is a disk without partitions or a file system", path.display());
    Fault::error("look/disk", message).help("nobody has written to it yet, or it was cut short")
}

fn damaged(path: &Path, error: &Ext4Error) -> Fault {
    let reason = wording::printable(&error.to_string());
    Fault::build("look/damaged", format!("cannot read the file system in `{}`: {reason}", path.display()))
}

/// A part of a disk, as a file system's reader asks for it.
struct Part {
    file: File,
    at: u64,
    size: u64,
}

impl Ext4Read for Part {
    fn read(&mut self, start: u64, into: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync + 'static>> {
        let end = start.checked_add(into.len() as u64).filter(|end| *end <= self.size);
        end.ok_or("it ends too early")?;
        Ok(self.file.read_exact_at(into, self.at + start)?)
    }
}

/// Something in a file system.
struct Found<'s> {
    path: EntryPath,
    system: &'s Ext4,
    /// Where it is in there.
    inside: PathBuf,
    metadata: Metadata,
}

/// The first of the systems is the root's; others are where its fstab mounts them.
fn stack(path: &Path, file: &File, systems: &[Ext4], contents: Contents) -> Result<Stack, Fault> {
    let bad = |error: Ext4Error| damaged(path, &error);
    let Some((root, others)) = systems.split_first() else { return Ok(Stack::default()) };
    let mut found = Vec::new();
    walk(root, &EntryPath::root(), &mut found).map_err(bad)?;
    let fstab = root.read_to_string("/etc/fstab").unwrap_or_default();
    for other in others {
        let Some(mount) = mounted(&fstab, &other.uuid().to_string()) else { continue };
        let mut here = Vec::new();
        walk(other, &mount, &mut here).map_err(bad)?;
        found.retain(|entry| entry.path.below(&mount).is_none());
        found.extend(here);
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    let spool = match contents {
        Contents::Kept => {
            Some(nameless().map_err(|error| Fault::io("write", &std::env::temp_dir(), &error))?)
        }
        Contents::Unread => None,
    };
    let out: Box<dyn Write + '_> = match &spool {
        Some(spool) => Box::new(BufWriter::with_capacity(1 << 20, spool)),
        None => Box::new(io::sink()),
    };
    let mut writer = LayerWriter::new(out);
    for entry in &found {
        write(&mut writer, entry).map_err(|error| Fault::io("read", path, &error))?;
    }
    let (out, index) = writer.finish().map_err(|error| Fault::io("read", path, &error))?;
    drop(out);
    let tar = match spool {
        Some(spool) => spool,
        None => file.try_clone().map_err(|error| Fault::io("read", path, &error))?,
    };
    let layer =
        Layer { id: index.id(), index: Arc::new(index), tar: Arc::new(tar), path: path.to_path_buf() };
    Ok(stack_of(path, layer))
}

/// Where fstab(5) mounts the file system of that UUID.
fn mounted(fstab: &str, uuid: &str) -> Option<EntryPath> {
    let mut lines = fstab.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|words| {
        words
            .first()
            .and_then(|word| word.strip_prefix("UUID="))
            .is_some_and(|of| of.eq_ignore_ascii_case(uuid))
    })?;
    EntryPath::parse(line.get(1)?.strip_prefix('/')?).ok().filter(|path| !path.is_root())
}

/// Everything in a file system, its root at `to`.
fn walk<'s>(system: &'s Ext4, to: &EntryPath, found: &mut Vec<Found<'s>>) -> Result<(), Ext4Error> {
    // Deeper than any path of Linux can be: a folder in itself.
    const LONGEST: usize = 4096;
    // More than anybody would look through: folders that are in each other again and again.
    const MOST: usize = 4_000_000;
    let root = PathBuf::new("/");
    let metadata = system.metadata(&root)?;
    found.push(Found { path: to.clone(), system, inside: root.clone(), metadata });
    let mut folders = vec![(to.clone(), root)];
    while let Some((path, inside)) = folders.pop() {
        for entry in system.read_dir(&inside)? {
            let entry = entry?;
            let name = entry.file_name();
            if [b".".as_slice(), b".."].contains(&name.as_ref()) {
                continue;
            }
            let path = path.join(name.as_ref());
            if path.as_bytes().len() > LONGEST || found.len() > MOST {
                return Err(Ext4Error::PathTooLong);
            }
            let (inside, metadata) = (entry.path(), entry.metadata()?);
            if metadata.is_dir() {
                folders.push((path.clone(), inside.clone()));
            }
            found.push(Found { path, system, inside, metadata });
        }
    }
    Ok(())
}

fn write<W: Write>(writer: &mut LayerWriter<W>, found: &Found<'_>) -> io::Result<()> {
    let metadata = &found.metadata;
    let odd = |error: Ext4Error| io::Error::other(error.to_string());
    let kind = match metadata.file_type() {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => {
            let target = found.system.read_link(&found.inside).map_err(odd)?;
            Kind::Symlink(target.as_ref().to_vec())
        }
        FileType::CharacterDevice => Kind::Character(0, 0),
        FileType::BlockDevice => Kind::Block(0, 0),
        FileType::Fifo => Kind::Fifo,
        FileType::Regular => Kind::File { size: metadata.len(), digest: Digest::of(b""), offset: 0 },
        // Nobody can have left it there: it is of a program that runs.
        FileType::Socket => return Ok(()),
    };
    let entry = Entry {
        path: found.path.clone(),
        mode: u32::from(metadata.mode()) & 0o7777,
        owner: Owner { user: Id::Number(metadata.uid()), group: Id::Number(metadata.gid()) },
        mtime: metadata.modified().seconds(),
        xattrs: Vec::new(),
        weak: false,
        kind,
    };
    if !matches!(entry.kind, Kind::File { .. }) {
        return writer.entry(entry);
    }
    let file = found.system.open(&found.inside).map_err(odd)?;
    writer.file(entry, metadata.len(), &mut io::BufReader::with_capacity(1 << 18, file).by_ref())?;
    Ok(())
}
