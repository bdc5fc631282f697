//! Disks, looked into: the file systems on one, each where fstab(5) mounts it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::fault::{Fault, Faults, Severity};
use crate::filesystems::table::{Partition, partitions, system};
use crate::filesystems::{self, FileSystem, Inode, InodeKind, LONGEST_PATH, Part, Waiting, find};
use crate::key::Digest;
use crate::lang::Owner;
use crate::lang::value::Id;
use crate::layer::{Entry, EntryPath, Kind};
use crate::wording;

/// What is on a disk.
#[derive(Debug)]
pub struct Disk {
    /// What people call it.
    path: PathBuf,
    /// In the order of their partitions.
    systems: Vec<System>,
    found: BTreeMap<EntryPath, Found>,
}

/// A file system, and the partition that it is in.
struct System {
    name: &'static str,
    partition: Partition,
    reader: Box<dyn FileSystem>,
}

/// Where a part of a file system is seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mount {
    path: EntryPath,
    /// Its position in the disk's systems.
    system: usize,
    /// The number of the folder that is seen there.
    root: u64,
}

/// Something in a file system.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// Its position in the disk's systems.
    system: usize,
    number: u64,
    inode: Inode,
}

impl Disk {
    /// What is on the disk at `path`, or in one `partition` of it; none if it is no disk.
    ///
    /// # Errors
    ///
    /// A disk without a file system that can be read, a damaged one.
    pub fn open(
        path: &Path,
        file: &File,
        partition: Option<u32>,
        warnings: &mut Faults,
    ) -> Result<Option<Disk>, Fault> {
        let Some(parts) = partitions(file).map_err(|error| damaged(path, None, &error))? else {
            return Ok(None);
        };
        if let Some(number) = partition.filter(|number| parts.iter().all(|part| part.number != *number)) {
            return Err(no_partition(path, number, file, &parts));
        }
        let (mut systems, mut others, mut damage) = (Vec::new(), Vec::new(), Vec::new());
        for part in parts.into_iter().filter(|part| partition.is_none_or(|number| part.number == number)) {
            let Some(name) = system(file, part.at) else { continue };
            match read(file, name, &part) {
                Ok(Some(reader)) => systems.push(System { name, partition: part, reader }),
                Ok(None) => others.push(name),
                Err(error) => damage.push(damaged(path, Some((name, &part)), &error)),
            }
        }
        let mut disk = Disk { path: path.to_path_buf(), systems, found: BTreeMap::new() };
        let root = match (disk.root()?, disk.systems.first()) {
            (Some(root), _) => root,
            // Where there is none, what is damaged may be it.
            (None, _) if !damage.is_empty() => return Err(damage.remove(0)),
            (None, Some(first)) => Mount { path: EntryPath::root(), system: 0, root: first.reader.root() },
            (None, None) => return Err(nothing_to_read(path, partition, &others)),
        };
        damage.into_iter().for_each(|fault| warnings.push(Fault { severity: Severity::Warning, ..fault }));
        disk.mount_all(root, warnings)?;
        disk.warn(&others, warnings);
        Ok(Some(disk))
    }

    /// All that is on it, in order. No content is read: the digests are those of nothing.
    ///
    /// # Errors
    ///
    /// Damage, and those of reading.
    pub fn entries(&self) -> Result<Vec<Entry>, Fault> {
        let mut names: HashMap<(usize, u64), &EntryPath> = HashMap::new();
        let first_names = self.found.iter().map(|(path, found)| {
            let shared = found.inode.links > 1 && found.inode.kind != InodeKind::Directory;
            let first = shared.then(|| *names.entry((found.system, found.number)).or_insert(path));
            (path, found, first.filter(|first| *first != path))
        });
        let all: Vec<_> = first_names.collect();
        let entries = all.into_par_iter().map(|(path, found, first)| {
            let entry = self.entry(path, found, first);
            entry.map_err(|error| self.damaged(found.system, &error)).transpose()
        });
        // Which of several faults is told must not depend on who was first.
        let entries: Vec<_> = entries.collect();
        entries.into_iter().flatten().collect()
    }

    /// The content of the file at `path`.
    ///
    /// # Errors
    ///
    /// Damage, and those of reading.
    pub fn content(&self, path: &EntryPath) -> io::Result<Box<dyn Read + '_>> {
        match self.found.get(path) {
            Some(found) => self.reader(found).content(found.number),
            None => Ok(Box::new(io::empty())),
        }
    }

    /// The digest of the content of the file at `path`.
    ///
    /// # Errors
    ///
    /// Damage, and those of reading.
    pub fn digest(&self, path: &EntryPath) -> Result<Digest, Fault> {
        let digest = self.content(path).and_then(Digest::read);
        let system = self.found.get(path).map_or(0, |found| found.system);
        digest.map_err(|error| self.damaged(system, &error))
    }

    /// The root: the first of all that may be one and have a folder `/etc`.
    fn root(&self) -> Result<Option<Mount>, Fault> {
        for (number, system) in self.systems.iter().enumerate() {
            for root in system.reader.roots() {
                let found = find(system.reader.as_ref(), root, b"etc");
                let found = found.map_err(|error| self.damaged(number, &error))?;
                if found.is_some_and(|(_, inode)| inode.kind == InodeKind::Directory) {
                    return Ok(Some(Mount { path: EntryPath::root(), system: number, root }));
                }
            }
        }
        Ok(None)
    }

    /// Puts the systems into each other: the root's, and where its fstab mounts them.
    fn mount_all(&mut self, root: Mount, warnings: &mut Faults) -> Result<(), Fault> {
        let fstab = fstab(self.systems[root.system].reader.as_ref(), root.root);
        let fstab = fstab.map_err(|error| self.damaged(root.system, &error))?;
        let mut mounts = vec![root];
        for line in fstab.lines().filter_map(Line::of) {
            let of_line = |system: &System| system.is(&line.device);
            let Some(number) = self.systems.iter().position(of_line) else { continue };
            let folder = self.systems[number].reader.mounted(&line.options);
            match folder.map_err(|error| self.damaged(number, &error))? {
                Some(root) => mounts.push(Mount { path: line.path, system: number, root }),
                None => warnings.push(self.not_there(number, &line)),
            }
        }
        for (number, system) in self.systems.iter().enumerate() {
            if mounts.iter().all(|mount| mount.system != number) {
                warnings.push(self.hidden(system));
            }
        }
        // What is mounted below another one is mounted after it.
        mounts.sort();
        let mut bytes = 0;
        for mount in mounts {
            self.found.retain(|path, _| path.below(&mount.path).is_none());
            let system = mount.system;
            let walked = walk(&self.systems[system], mount, &mut self.found, &mut bytes);
            walked.map_err(|error| self.damaged(system, &error))?;
        }
        Ok(())
    }

    /// A line of the fstab that mounts what a system does not have.
    fn not_there(&self, number: usize, line: &Line) -> Fault {
        let System { name, partition, .. } = &self.systems[number];
        let message = format!(
            "what is at `/{}` is not told: {} has no `{}`",
            line.path,
            place(&self.path, Some((name, partition))),
            wording::printable(&line.options)
        );
        Fault::warning("look/unmounted", message).help("its `/etc/fstab` mounts that there")
    }

    fn hidden(&self, system: &System) -> Fault {
        let place = place(&self.path, Some((system.name, &system.partition)));
        let message = format!("{place} is not mounted by its `/etc/fstab`");
        let (path, number) = (self.path.display(), system.partition.number);
        let help = format!("see what is in it: `imgbuild ls {path} --partition {number}`");
        Fault::warning("look/unmounted", message).help(help)
    }

    /// Says what is not told.
    fn warn(&self, others: &[&str], warnings: &mut Faults) {
        let path = self.path.display();
        for system in &self.systems {
            let Some(Waiting { place: waiting, way_out }) = system.reader.waiting() else { continue };
            let place = place(&self.path, Some((system.name, &system.partition)));
            let message = format!(
                "{place} was not unmounted: what was last written to it is in {waiting}, and not told"
            );
            warnings.push(
                Fault::warning("look/journal", message).help(format!("{way_out}: that writes it back")),
            );
        }
        let is_socket = |found: &&Found| found.inode.kind == InodeKind::Socket;
        let sockets = self.found.values().filter(is_socket).count();
        if sockets > 0 {
            let message = format!("left out of what `{path}` has: {}", wording::count(sockets, "socket"));
            let help = "a socket is of a program that runs, and nothing without that";
            warnings.push(Fault::warning("look/sockets", message).help(help));
        }
        if !others.is_empty() {
            let message = format!("what is in the {} of `{path}` is not told", wording::all(others));
            warnings.push(Fault::warning("look/systems", message).help(ONLY));
        }
    }

    fn damaged(&self, system: usize, error: &io::Error) -> Fault {
        let System { name, partition, .. } = &self.systems[system];
        damaged(&self.path, Some((name, partition)), error)
    }

    fn reader(&self, found: &Found) -> &dyn FileSystem {
        self.systems[found.system].reader.as_ref()
    }

    /// It as an entry; a file whose `first` name is another one is a link to that. None for a socket, which nobody can
    /// have left there: it is of a program that runs.
    fn entry(&self, path: &EntryPath, found: &Found, first: Option<&EntryPath>) -> io::Result<Option<Entry>> {
        let (inode, reader) = (&found.inode, self.reader(found));
        let kind = match (inode.kind, first) {
            (InodeKind::Socket, _) => return Ok(None),
            (InodeKind::Directory, _) => Kind::Directory,
            (_, Some(first)) => Kind::Hardlink(first.clone()),
            (InodeKind::Character(major, minor), _) => Kind::Character(major, minor),
            (InodeKind::Block(major, minor), _) => Kind::Block(major, minor),
            (InodeKind::Fifo, _) => Kind::Fifo,
            (InodeKind::Symlink, _) => Kind::Symlink(target(reader, found)?),
            (InodeKind::Regular, _) => Kind::File { size: inode.size, digest: Digest::of(b""), offset: 0 },
        };
        Ok(Some(Entry {
            path: path.clone(),
            mode: inode.mode,
            owner: Owner { user: Id::Number(inode.uid), group: Id::Number(inode.gid) },
            mtime: inode.mtime,
            xattrs: reader.xattrs(found.number)?,
            weak: false,
            kind,
        }))
    }
}

/// What can be looked into.
const ONLY: &str = "ext4, btrfs, xfs and vfat are looked into";

/// A disk without anything on it that is known.
pub fn nothing_on(path: &Path) -> Fault {
    let message = format!("`{}` is a disk without partitions or a file system", path.display());
    Fault::error("look/disk", message).help("nobody has written to it yet, or it was cut short")
}

fn nothing_to_read(path: &Path, partition: Option<u32>, others: &[&str]) -> Fault {
    let (path, place) = (path.display(), partition.map(|number| format!("partition {number} of ")));
    let message = match place {
        Some(place) => format!("{place}`{path}` has no file system that can be looked into"),
        None => format!("`{path}` is a disk, and no file system on it can be looked into"),
    };
    let help = match others {
        [] => ONLY.to_string(),
        others => format!("{ONLY}; this is {}", wording::all(others)),
    };
    Fault::error("look/disk", message).help(help)
}

fn no_partition(path: &Path, number: u32, file: &File, parts: &[Partition]) -> Fault {
    let message = format!("`{}` has no partition {number}", path.display());
    let known = parts.iter().filter(|part| part.number > 0);
    let names = known.map(|part| match system(file, part.at) {
        Some(name) => format!("{} ({name})", part.number),
        None => part.number.to_string(),
    });
    let names = names.collect::<Vec<_>>().join(", ");
    let help = match names.is_empty() {
        true => "it has none: leave `--partition` away".to_string(),
        false => format!("it has {names}"),
    };
    Fault::error("look/partition", message).help(help)
}

/// What cannot be read: the table of partitions, or the file system of that name in a partition.
fn damaged(path: &Path, part: Option<(&str, &Partition)>, error: &io::Error) -> Fault {
    let code = match error.kind() {
        io::ErrorKind::InvalidData => "look/damaged",
        io::ErrorKind::Unsupported => "look/unread",
        _ => return Fault::io("read", path, error),
    };
    let reason = wording::printable(&error.to_string());
    Fault::build(code, format!("cannot read {}: {reason}", place(path, part)))
}

/// A disk, or the file system of that name in a partition of it.
fn place(path: &Path, part: Option<(&str, &Partition)>) -> String {
    let path = path.display();
    match part {
        None => format!("`{path}`"),
        Some((name, Partition { number: 0, .. })) => format!("the {name} in `{path}`"),
        Some((name, part)) => format!("the {name} in partition {} of `{path}`", part.number),
    }
}

fn read(file: &File, name: &str, part: &Partition) -> io::Result<Option<Box<dyn FileSystem>>> {
    let mut file = file.try_clone()?;
    if part.at.checked_add(part.size).is_none_or(|end| end > file.seek(SeekFrom::End(0)).unwrap_or_default())
    {
        return Err(odd("it ends behind the end of the file"));
    }
    filesystems::open(name, Part::new(file, part.at, part.size))
}

/// A system's fstab(5), seen from the folder `root`; nothing where it has none that is a file of a size that people can read.
fn fstab(reader: &dyn FileSystem, root: u64) -> io::Result<String> {
    const MOST: u64 = 1 << 20;
    let found = find(reader, root, b"etc/fstab")?;
    let readable = |(_, inode): &(u64, Inode)| inode.kind == InodeKind::Regular && inode.size <= MOST;
    let Some((number, _)) = found.filter(readable) else { return Ok(String::new()) };
    let mut text = Vec::new();
    reader.content(number)?.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A line of fstab(5) that mounts something somewhere, and not as the root.
struct Line {
    device: String,
    path: EntryPath,
    options: String,
}

impl Line {
    fn of(text: &str) -> Option<Line> {
        let mut words = text.split_whitespace().map(unescaped);
        let device = words.next().filter(|device| !device.starts_with('#'))?;
        let path = EntryPath::parse(words.next()?.strip_prefix('/')?).ok().filter(|path| !path.is_root())?;
        Some(Line { device, path, options: words.nth(1).unwrap_or_default() })
    }
}

/// A word of fstab(5), in which blanks are written as octal numbers.
fn unescaped(word: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(word.to_string(), |word, (from, to)| word.replace(from, to))
}

impl System {
    /// Whether fstab(5) calls it so.
    fn is(&self, device: &str) -> bool {
        let names = [
            ("UUID", "by-uuid", self.reader.uuid()),
            ("LABEL", "by-label", self.reader.label()),
            ("PARTUUID", "by-partuuid", self.partition.uuid.clone()),
            ("PARTLABEL", "by-partlabel", self.partition.label.clone()),
        ];
        names.iter().filter(|(_, _, name)| !name.is_empty()).any(|(tag, folder, name)| {
            let said = device.strip_prefix(tag).and_then(|rest| rest.strip_prefix('='));
            let linked = || device.strip_prefix("/dev/disk/")?.strip_prefix(folder)?.strip_prefix('/');
            let said = said.map(|said| said.trim_matches('"')).or_else(linked);
            said.is_some_and(|said| said.eq_ignore_ascii_case(name))
        })
    }
}

/// Everything that a mount shows. `bytes` are those of all paths of the disk.
fn walk(
    system: &System,
    mount: Mount,
    found: &mut BTreeMap<EntryPath, Found>,
    bytes: &mut usize,
) -> io::Result<()> {
    // More than anybody would look through, in entries and in bytes of paths.
    const MOST: usize = 4_000_000;
    const MOST_BYTES: usize = 512 << 20;
    let reader = system.reader.as_ref();
    let here =
        |number: u64| io::Result::Ok(Found { system: mount.system, number, inode: reader.inode(number)? });
    let (mut folders, mut known) = (vec![(mount.path.clone(), mount.root)], HashSet::from([mount.root]));
    found.insert(mount.path, here(mount.root)?);
    while let Some((path, folder)) = folders.pop() {
        for (name, number) in reader.names(folder)? {
            if !is_name(&name) {
                return Err(odd("a folder has a name that none can have"));
            }
            let path = path.join(&name);
            *bytes += path.as_bytes().len();
            if path.as_bytes().len() as u64 > LONGEST_PATH || found.len() > MOST || *bytes > MOST_BYTES {
                return Err(odd("it has more than anybody would look through"));
            }
            let entry = here(number)?;
            if entry.inode.kind == InodeKind::Directory {
                if !known.insert(number) {
                    return Err(odd("a folder is at two places"));
                }
                folders.push((path.clone(), number));
            }
            if found.insert(path, entry).is_some() {
                return Err(odd("a folder has the same name twice"));
            }
        }
    }
    Ok(())
}

fn odd(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn is_name(name: &[u8]) -> bool {
    !name.contains(&b'/') && !name.contains(&0) && ![b"".as_slice(), b".", b".."].contains(&name)
}

/// Where a symbolic link leads.
fn target(reader: &dyn FileSystem, found: &Found) -> io::Result<Vec<u8>> {
    // What a disk says would be made room for.
    if found.inode.size > LONGEST_PATH {
        return Err(odd("a symbolic link in it is longer than any path can be"));
    }
    let mut target = Vec::new();
    reader.content(found.number)?.read_to_end(&mut target)?;
    Ok(target)
}

impl std::fmt::Debug for System {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{} at {}", self.name, self.partition.at)
    }
}
