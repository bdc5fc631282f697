//! Disks, read as layers: a table of partitions, and the ext4 file systems in them, where fstab(5) mounts them.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use ext4_view::{Ext4, Ext4Error, Ext4Read, FileType, Metadata, PathBuf};

use super::archive::{free_in, nameless, stack_of};
use super::inodes::{Inodes, ROOT, Told};
use super::subject::Contents;
use crate::fault::{Fault, Faults};
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
pub fn disk(
    path: &Path,
    file: &File,
    contents: Contents,
    warnings: &mut Faults,
) -> Result<Option<Stack>, Fault> {
    let failed = |error: io::Error| Fault::io("read", path, &error);
    let Some(parts) = partitions(file).map_err(failed)? else { return Ok(None) };
    let (mut systems, mut others) = (Vec::new(), Vec::new());
    for (at, size) in parts {
        match system(file, at) {
            Some("ext4") => {
                let part = || Ok(Part { file: file.try_clone()?, at, size });
                let reader = Ext4::load(Box::new(part().map_err(failed)?));
                let reader = reader.map_err(|error| damaged(path, &error))?;
                systems.push(System { at, reader, inodes: Inodes::of(part().map_err(failed)?) });
            }
            other => others.extend(other),
        }
    }
    let root = root_of(path, &systems, &others)?;
    if systems.iter().any(|system| system.inodes.is_none()) {
        warnings.push(half_told(path));
    }
    if !others.is_empty() {
        let message = format!("what is in the {} of `{}` is not told", others.join(" and "), path.display());
        warnings.push(Fault::warning("look/systems", message).help("only ext4 is looked into"));
    }
    systems.swap(0, root);
    stack(path, file, &systems, contents).map(Some)
}

/// What is not told of a file system whose inodes are not all in their places.
fn half_told(path: &Path) -> Fault {
    let message = format!(
        "of the files in `{}`, devices' numbers, further names and extended attributes are not told",
        path.display()
    );
    Fault::warning("look/journal", message).help(
        "a file system of it was not unmounted, and has changes in its journal: `e2fsck -p` writes them back",
    )
}

/// Which of the systems is the root's; `others` are those that are not looked into.
fn root_of(path: &Path, systems: &[System], others: &[&str]) -> Result<usize, Fault> {
    for (number, system) in systems.iter().enumerate() {
        if system.has_etc().map_err(|error| damaged(path, &error))? {
            return Ok(number);
        }
    }
    let message = format!("`{}` is a disk, and no ext4 file system on it has an `/etc`", path.display());
    let help = match others {
        [] => "only ext4 is looked into".to_string(),
        others => format!("only ext4 is looked into; this one has {}", others.join(" and ")),
    };
    Err(Fault::error("look/disk", message).help(help))
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
pub struct Part {
    file: File,
    at: u64,
    size: u64,
}

impl Part {
    /// The bytes from `start` on.
    pub fn bytes(&self, start: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.fill(start, &mut bytes)?;
        Ok(bytes)
    }

    fn fill(&self, start: u64, into: &mut [u8]) -> io::Result<()> {
        let end = start.checked_add(into.len() as u64).filter(|end| *end <= self.size);
        end.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its file system ends too early"))?;
        self.file.read_exact_at(into, self.at + start)
    }
}

impl Ext4Read for Part {
    fn read(&mut self, start: u64, into: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync + 'static>> {
        Ok(self.fill(start, into)?)
    }
}

/// A file system.
struct System {
    /// Where it begins.
    at: u64,
    reader: Ext4,
    /// What the reader does not tell; where that cannot be read it is not there.
    inodes: Option<Inodes>,
}

impl System {
    /// Whether it has a folder `/etc`.
    fn has_etc(&self) -> Result<bool, Ext4Error> {
        match self.reader.symlink_metadata("/etc") {
            Ok(found) => Ok(found.is_dir()),
            Err(Ext4Error::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Its fstab(5); nothing where it has none that is a file of a size that people can read.
    fn fstab(&self) -> Result<String, Ext4Error> {
        const MOST: u64 = 1 << 20;
        const FSTAB: &str = "/etc/fstab";
        let readable = |found: &Metadata| found.file_type() == FileType::Regular && found.len() <= MOST;
        match self.reader.symlink_metadata(FSTAB) {
            Ok(found) if readable(&found) => {
                Ok(String::from_utf8_lossy(&self.reader.read(FSTAB)?).into_owned())
            }
            Ok(_) | Err(Ext4Error::NotFound) => Ok(String::new()),
            Err(error) => Err(error),
        }
    }

    /// The numbers of the inodes in a folder, by their names, as far as they can be told.
    fn names(&self, folder: Option<u32>) -> Result<HashMap<Vec<u8>, u32>, Ext4Error> {
        let Some((inodes, folder)) = self.inodes.as_ref().zip(folder) else { return Ok(HashMap::new()) };
        inodes.names(folder).map_err(|error| Ext4Error::Io(error.into()))
    }
}

/// Something in a file system.
struct Found<'s> {
    path: EntryPath,
    system: &'s System,
    /// Where it is in there.
    inside: PathBuf,
    metadata: Metadata,
    /// Its inode's.
    number: Option<u32>,
}

impl Found<'_> {
    fn told(&self) -> io::Result<Told> {
        let inode = self.system.inodes.as_ref().zip(self.number);
        inode.map_or_else(|| Ok(Told::default()), |(inodes, number)| inodes.told(number))
    }

    /// What its names have in common, if it may have more than one.
    fn file(&self) -> Option<(u64, u32)> {
        (self.metadata.file_type() == FileType::Regular).then_some((self.system.at, self.number?))
    }
}

/// All that is in the systems: the first of them is the root's, others are where its fstab mounts them.
fn all_found(systems: &[System]) -> Result<Vec<Found<'_>>, Ext4Error> {
    let mut found = Vec::new();
    let Some((root, others)) = systems.split_first() else { return Ok(found) };
    walk(root, &EntryPath::root(), &mut found)?;
    let fstab = root.fstab()?;
    for other in others {
        let Some(mount) = mounted(&fstab, &other.reader.uuid().to_string()) else { continue };
        let mut here = Vec::new();
        walk(other, &mount, &mut here)?;
        found.retain(|entry| entry.path.below(&mount).is_none());
        found.extend(here);
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn stack(path: &Path, file: &File, systems: &[System], contents: Contents) -> Result<Stack, Fault> {
    let found = all_found(systems).map_err(|error| damaged(path, &error))?;
    let spool = match contents {
        Contents::Kept => Some(spool(path, &found)?),
        Contents::Unread => None,
    };
    let out: Box<dyn Write + '_> = match &spool {
        Some(spool) => Box::new(BufWriter::with_capacity(1 << 20, spool)),
        None => Box::new(io::sink()),
    };
    let mut writer = LayerWriter::new(out);
    write_all(&mut writer, &found).map_err(|error| Fault::io("read", path, &error))?;
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

/// A file for the contents of all files, if there is room for them: few bytes of a disk can be files of any size.
fn spool(path: &Path, found: &[Found<'_>]) -> Result<File, Fault> {
    let folder = std::env::temp_dir();
    let mut known = HashSet::new();
    let is_new = |one: &&Found<'_>| one.file().is_none_or(|file| known.insert(file));
    let files = found.iter().filter(|one| one.metadata.file_type() == FileType::Regular).filter(is_new);
    let needed = files.fold(0, |sum: u64, one| sum.saturating_add(one.metadata.len()));
    let free = free_in(&folder);
    if needed <= free {
        return nameless().map_err(|error| Fault::io("write", &folder, &error));
    }
    let (needed, free) = (wording::size(needed), wording::size(free));
    let message = format!(
        "the files in `{}` take {needed}, and `{}` has {free} free",
        path.display(),
        folder.display()
    );
    Err(Fault::machine("look/space", message).help("free some there, or name another folder: `TMPDIR=DIR`"))
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

/// The longest path that Linux has: one that is longer goes through a folder in itself.
const LONGEST: usize = 4096;

/// Everything in a file system, its root at `to`.
fn walk<'s>(system: &'s System, to: &EntryPath, found: &mut Vec<Found<'s>>) -> Result<(), Ext4Error> {
    // More than anybody would look through, in entries and in bytes of paths: folders that are in each other again and
    // again.
    const MOST: usize = 4_000_000;
    const MOST_BYTES: usize = 512 << 20;
    let mut bytes = 0;
    let root = PathBuf::new("/");
    let metadata = system.reader.metadata(&root)?;
    found.push(Found { path: to.clone(), system, inside: root.clone(), metadata, number: Some(ROOT) });
    let mut folders = vec![(to.clone(), root, Some(ROOT))];
    while let Some((path, inside, number)) = folders.pop() {
        let names = system.names(number)?;
        for entry in system.reader.read_dir(&inside)? {
            let entry = entry?;
            let name = entry.file_name();
            if [b".".as_slice(), b".."].contains(&name.as_ref()) {
                continue;
            }
            let (path, number) = (path.join(name.as_ref()), names.get(name.as_ref()).copied());
            bytes += path.as_bytes().len();
            if path.as_bytes().len() > LONGEST || found.len() > MOST || bytes > MOST_BYTES {
                return Err(Ext4Error::PathTooLong);
            }
            let (inside, metadata) = (entry.path(), entry.metadata()?);
            if metadata.is_dir() {
                folders.push((path.clone(), inside.clone(), number));
            }
            found.push(Found { path, system, inside, metadata, number });
        }
    }
    Ok(())
}

fn write_all<W: Write>(writer: &mut LayerWriter<W>, found: &[Found<'_>]) -> io::Result<()> {
    let mut files: HashMap<(u64, u32), &EntryPath> = HashMap::new();
    for entry in found {
        let first = entry.file().map(|file| *files.entry(file).or_insert(&entry.path));
        write(writer, entry, first.filter(|first| **first != entry.path))?;
    }
    Ok(())
}

/// Writes one entry; a file whose `first` name is another one as a link to that.
fn write<W: Write>(
    writer: &mut LayerWriter<W>,
    found: &Found<'_>,
    first: Option<&EntryPath>,
) -> io::Result<()> {
    let (metadata, told) = (&found.metadata, found.told()?);
    let Some(kind) = kind(found, told.device, first)? else { return Ok(()) };
    let entry = Entry {
        path: found.path.clone(),
        mode: u32::from(metadata.mode()) & 0o7777,
        owner: Owner { user: Id::Number(metadata.uid()), group: Id::Number(metadata.gid()) },
        mtime: metadata.modified().seconds(),
        xattrs: told.xattrs,
        weak: false,
        kind,
    };
    if !matches!(entry.kind, Kind::File { .. }) {
        return writer.entry(entry);
    }
    let file = found.system.reader.open(&found.inside).map_err(odd)?;
    writer.file(entry, metadata.len(), &mut io::BufReader::with_capacity(1 << 18, file).by_ref())?;
    Ok(())
}

/// What it is in a layer; none for a socket, which nobody can have left there: it is of a program that runs.
fn kind(
    found: &Found<'_>,
    (major, minor): (u32, u32),
    first: Option<&EntryPath>,
) -> io::Result<Option<Kind>> {
    let size = found.metadata.len();
    Ok(Some(match found.metadata.file_type() {
        FileType::Directory => Kind::Directory,
        // The reader would make room for all that it says.
        FileType::Symlink if size > LONGEST as u64 => {
            return Err(io::Error::other("a symbolic link in it is longer than any path can be"));
        }
        FileType::Symlink => {
            let target = found.system.reader.read_link(&found.inside).map_err(odd)?;
            Kind::Symlink(target.as_ref().to_vec())
        }
        FileType::CharacterDevice => Kind::Character(major, minor),
        FileType::BlockDevice => Kind::Block(major, minor),
        FileType::Fifo => Kind::Fifo,
        FileType::Regular => match first {
            Some(first) => Kind::Hardlink(first.clone()),
            None => Kind::File { size, digest: Digest::of(b""), offset: 0 },
        },
        FileType::Socket => return Ok(None),
    }))
}

fn odd(error: Ext4Error) -> io::Error {
    io::Error::other(error.to_string())
}
