//! The tar of what an image's programs changed: the upper part of the overlay, read when nothing runs any more.
//!
//! An overlay's upper directory, as the kernel's documentation has it (overlayfs.rst): what was removed from below is a
//! character device 0:0; a directory that hides what is below has the attribute `overlay.opaque`, of `trusted` or, in a
//! user namespace, of `user`. Both become OCI's whiteouts. Nothing is hashed here: who reads the tar does that.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, FileType, OFlags, Stat, fstat, lgetxattr, llistxattr, major, minor, readlinkat, statat,
};
use rustix::io::Errno;
use rustix::process::fchdir;

use super::{ImageRun, within};
use crate::key::Digest;
use crate::lang::Owner;
use crate::lang::value::Id;
use crate::layer::entry::{Entry, Kind};
use crate::layer::header::{END, header, padding};
use crate::layer::EntryPath;

/// Bytes that files may seem to have more than they take.
const MOST_HOLES: u64 = 4 << 30;
/// Directories in each other; a path can have no more.
const DEPTH: usize = 2048;
/// Bytes of an extended attribute; the kernel allows no more.
const MOST_XATTR: usize = 64 * 1024;

/// Writes the tar of `upper` to `file`; on failure, a sentence.
pub(super) fn capture(run: &ImageRun, upper: &OwnedFd, file: File) -> Result<(), String> {
    let passing = run.passing.iter().map(|given| given.path.clone()).collect();
    let out = BufWriter::with_capacity(1 << 20, file);
    let mut writer = Writer {
        out,
        epoch: run.epoch,
        passing,
        links: HashMap::new(),
        holes: 0,
        buffer: vec![0; 1 << 20],
        list: vec![0; MOST_XATTR],
    };
    let folder = writer.open_folder(upper, b".").map_err(|error| told(&EntryPath::root(), &error))?;
    writer.root(run, &folder)?;
    writer.folder(&folder, &EntryPath::root(), 0)?;
    writer.finish().map_err(|error| format!("cannot write what was changed: {}", crate::fault::reason(&error)))
}

fn told(path: &EntryPath, error: &io::Error) -> String {
    format!("cannot take `/{path}` from the image: {}", crate::fault::reason(error))
}

struct Writer {
    out: BufWriter<File>,
    epoch: i64,
    passing: BTreeSet<EntryPath>,
    /// Files with more than one name, by device and number, and the first of them.
    links: HashMap<(u64, u64), EntryPath>,
    holes: u64,
    buffer: Vec<u8>,
    list: Vec<u8>,
}

impl Writer {
    fn open_folder(&self, folder: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
        within::open(folder, name, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// The image's root is told of where programs changed it.
    fn root(&mut self, run: &ImageRun, folder: &OwnedFd) -> Result<(), String> {
        let root = EntryPath::root();
        let take = || -> io::Result<(Stat, Vec<(Vec<u8>, Vec<u8>)>)> {
            fchdir(folder)?;
            Ok((fstat(folder)?, Vec::new()))
        };
        let (found, _) = take().map_err(|error| told(&root, &error))?;
        let xattrs = self.xattrs(b".").map_err(|error| told(&root, &error))?;
        let entry = self.entry(root.clone(), Kind::Directory, &found, xattrs.kept);
        let special = run.specials.iter().rfind(|special| special.path.is_root());
        let before = special.map_or((0o755, 0, 0, Vec::new()), |special| {
            (special.mode, special.user, special.group, special.xattrs.clone())
        });
        if before != (entry.mode, found.st_uid, found.st_gid, entry.xattrs.clone()) {
            self.put(&header(&entry)).map_err(|error| told(&root, &error))?;
        }
        Ok(())
    }

    fn folder(&mut self, folder: &OwnedFd, path: &EntryPath, depth: usize) -> Result<(), String> {
        if depth > DEPTH {
            return Err(told(path, &Errno::NAMETOOLONG.into()));
        }
        let names = within::names(folder).map_err(|error| told(path, &error))?;
        for name in names {
            let inner = path.join(&name);
            let inner = EntryPath::parse(inner.as_bytes())
                .map_err(|bad| format!("cannot take `/{inner}` from the image: {bad}"))?;
            if self.passing.contains(&inner) {
                continue;
            }
            if let Some(opened) = self.one(folder, &name, &inner)? {
                self.folder(&opened, &inner, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Writes one entry; a directory is given back, to be gone into.
    fn one(&mut self, folder: &OwnedFd, name: &[u8], path: &EntryPath) -> Result<Option<OwnedFd>, String> {
        let fail = |error: io::Error| told(path, &error);
        let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| fail(error.into()))?;
        let kind = match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => {
                if Entry::marker(path).is_some() {
                    return Err(format!(
                        "cannot take `/{path}` from the image: a layer reads that name as the removal of another file"
                    ));
                }
                self.file_kind(&found, path)?
            }
            FileType::Symlink => {
                let target = readlinkat(folder, name, Vec::new()).map_err(|error| fail(error.into()))?;
                Kind::Symlink(target.into_bytes())
            }
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice if found.st_rdev == 0 => Kind::Whiteout,
            FileType::CharacterDevice => Kind::Character(major(found.st_rdev), minor(found.st_rdev)),
            FileType::BlockDevice => Kind::Block(major(found.st_rdev), minor(found.st_rdev)),
            // A socket is nothing without the program that listens.
            _ => return Ok(None),
        };
        self.write(folder, name, path, kind, &found).map_err(fail)
    }

    fn file_kind(&mut self, found: &Stat, path: &EntryPath) -> Result<Kind, String> {
        if found.st_nlink > 1 {
            let first = self.links.entry((found.st_dev, found.st_ino)).or_insert_with(|| path.clone());
            if first != path {
                return Ok(Kind::Hardlink(first.clone()));
            }
        }
        let size = found.st_size.max(0).unsigned_abs();
        self.holes += size.saturating_sub(found.st_blocks.max(0).unsigned_abs() * 512);
        if self.holes > MOST_HOLES {
            return Err(format!(
                "cannot take `/{path}` from the image: it is sparse, and too large where it is written in full"
            ));
        }
        Ok(Kind::File { size, digest: Digest::from_bytes([0; 32]), offset: 0 })
    }

    fn write(
        &mut self,
        folder: &OwnedFd,
        name: &[u8],
        path: &EntryPath,
        kind: Kind,
        found: &Stat,
    ) -> io::Result<Option<OwnedFd>> {
        if kind == Kind::Whiteout {
            let mut entry = self.entry(path.clone(), kind, found, Vec::new());
            (entry.mode, entry.mtime, entry.owner) = (0o644, 0, Owner::ROOT);
            return self.put(&header(&entry)).map(|()| None);
        }
        fchdir(folder)?;
        let xattrs = self.xattrs(name)?;
        let entry = self.entry(path.clone(), kind, found, xattrs.kept);
        self.put(&header(&entry))?;
        match &entry.kind {
            Kind::File { size, .. } => self.content(within::open(folder, name, OFlags::RDONLY)?, *size)?,
            Kind::Directory => {
                if xattrs.opaque {
                    let mut marker = Entry::passage(path.clone(), 0);
                    (marker.kind, marker.mode) = (Kind::Opaque, 0o644);
                    self.put(&header(&marker))?;
                }
                return self.open_folder(folder, name).map(Some);
            }
            _ => {}
        }
        Ok(None)
    }

    fn entry(&self, path: EntryPath, kind: Kind, found: &Stat, xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Entry {
        let owner = Owner { user: Id::Number(found.st_uid), group: Id::Number(found.st_gid) };
        let mode = found.st_mode & 0o7777;
        Entry { path, kind, mode, owner, mtime: found.st_mtime.clamp(0, self.epoch.max(0)), xattrs, weak: false }
    }

    fn content(&mut self, from: OwnedFd, size: u64) -> io::Result<()> {
        let mut from = File::from(from);
        let mut left = size;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let piece = self.buffer.get_mut(..room).unwrap_or_default();
            from.read_exact(piece)?;
            self.out.write_all(piece)?;
            left -= room as u64;
        }
        self.put(END.get(..padding(size)).unwrap_or_default())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// The attributes of a name in the working directory that are the image's own.
    fn xattrs(&mut self, name: &[u8]) -> io::Result<Xattrs> {
        let mut xattrs = Xattrs::default();
        let length = match llistxattr(name, self.list.as_mut_slice()) {
            Err(Errno::NOTSUP) => 0,
            listed => listed?,
        };
        let list = self.list.get(..length).unwrap_or_default().to_vec();
        for xattr in list.split(|byte| *byte == 0).filter(|xattr| !xattr.is_empty()) {
            let opaque = xattr == b"user.overlay.opaque" || xattr == b"trusted.overlay.opaque";
            if !opaque && !is_the_images(xattr) {
                continue;
            }
            let mut value = vec![0; MOST_XATTR];
            let length = lgetxattr(name, xattr, value.as_mut_slice())?;
            value.truncate(length);
            match opaque {
                true => xattrs.opaque = value == b"y",
                false => xattrs.kept.push((xattr.to_vec(), value)),
            }
        }
        xattrs.kept.sort();
        Ok(xattrs)
    }

    fn finish(mut self) -> io::Result<()> {
        self.put(&END)?;
        self.out.flush()
    }
}

#[derive(Default)]
struct Xattrs {
    kept: Vec<(Vec<u8>, Vec<u8>)>,
    opaque: bool,
}

/// Labels and checksums of a security module are this machine's, and an overlay's marks nobody's but its own.
fn is_the_images(xattr: &[u8]) -> bool {
    let kept: [&[u8]; 3] = [b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"];
    kept.contains(&xattr) || (xattr.starts_with(b"user.") && !xattr.starts_with(b"user.overlay."))
}
