//! Walking a folder, with what was seen there last time at hand.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::{Detail, Filter, Folder, Item, What, Xattrs};
use crate::fault::Fault;
use crate::key::{Digest, Hasher};
use crate::store::Stamp;
use crate::store::stamp::nanoseconds;

/// Folders nested deeper than this are refused.
const DEEPEST: usize = 256;

/// How a walk is done.
pub(super) struct Walk<'a> {
    /// The folder.
    pub root: &'a Path,
    /// Which paths count.
    pub filter: &'a Filter,
    /// Which things count.
    pub detail: Detail,
    /// When it began, for racy stamps.
    pub began: i64,
    /// When what is known was seen.
    pub known_at: i64,
    /// Whether rayon may be used: not inside a job.
    pub parallel: bool,
}

/// What a walk found.
pub(super) struct Seen {
    /// The folder.
    pub folder: Folder,
    /// Whether the listing may differ from that of what was known.
    pub changed: bool,
    /// Whether there is something to remember: a stamp differs.
    pub news: bool,
}

impl Walk<'_> {
    /// Walks the folder; `known` is what was seen there at `known_at`.
    pub fn run(&self, known: Option<&Folder>) -> Result<Seen, Fault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(self.root, flags, Mode::empty())
            .map_err(|error| Fault::io("open", self.root, &error.into()))?;
        self.folder(fd, &[], known, 0)
    }

    fn path(&self, relative: &[u8]) -> PathBuf {
        self.root.join(std::ffi::OsStr::from_bytes(relative))
    }

    fn folder(&self, fd: OwnedFd, path: &[u8], known: Option<&Folder>, depth: usize) -> Result<Seen, Fault> {
        if depth > DEEPEST {
            return Err(Fault::build(
                "tree/deep",
                format!("`{}` is nested too deep", self.path(path).display()),
            )
            .help(format!("at most {DEEPEST} folders can lie in one another")));
        }
        let names = self.names(&fd, path)?;
        let visit = |name: &[u8]| self.item(fd.as_fd(), path, name, known, depth);
        let found: Vec<Option<SeenItem>> = if self.parallel {
            names.par_iter().with_min_len(16).map(|name| visit(name)).collect::<Result<_, Fault>>()?
        } else {
            names.iter().map(|name| visit(name)).collect::<Result<_, Fault>>()?
        };
        let mut seen = Seen { folder: Folder::default(), changed: false, news: false };
        seen.folder.items.reserve(found.len());
        for item in found.into_iter().flatten() {
            seen.changed |= item.changed;
            seen.news |= item.news;
            seen.folder.items.push(item.item);
        }
        if known.is_none_or(|known| known.items.len() != seen.folder.items.len()) {
            (seen.changed, seen.news) = (true, true);
        }
        Ok(seen)
    }

    fn names(&self, fd: &OwnedFd, path: &[u8]) -> Result<Vec<Box<[u8]>>, Fault> {
        let failed = |error: rustix::io::Errno| Fault::io("list", &self.path(path), &error.into());
        let mut names = Vec::new();
        for entry in Dir::read_from(fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(Box::from(name));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// None for what is left out, or is gone again.
    fn item(
        &self,
        folder: BorrowedFd<'_>,
        folder_path: &[u8],
        name: &[u8],
        known: Option<&Folder>,
        depth: usize,
    ) -> Result<Option<SeenItem>, Fault> {
        let path = if folder_path.is_empty() { name.to_vec() } else { [folder_path, b"/", name].concat() };
        if self.filter.excludes(&path) {
            return Ok(None);
        }
        let failed = |verb: &str, error: rustix::io::Errno| Fault::io(verb, &self.path(&path), &error.into());
        let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed("look at", error)),
        };
        let known = known.and_then(|known| {
            let at = known.items.binary_search_by(|item| (*item.name).cmp(name)).ok()?;
            known.items.get(at)
        });
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return self.subfolder(folder, &path, name, &stat, known, depth);
        }
        if !self.filter.includes(&path) {
            return Ok(None);
        }
        let stamp = stamp(&stat);
        if let Some(known) = known.filter(|known| self.is_known(known, &stamp)) {
            return Ok(Some(self.unchanged(known)));
        }
        let what = match kind {
            FileType::RegularFile => What::File(self.hash(folder, &path, name)?),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(folder, name, Vec::new())
                    .map_err(|error| failed("read", error))?;
                What::Symlink(target.into_bytes().into())
            }
            FileType::Fifo => What::Fifo,
            FileType::CharacterDevice => What::Character(major(&stat), minor(&stat)),
            FileType::BlockDevice => What::Block(major(&stat), minor(&stat)),
            _ => return Err(self.unfit(&path)),
        };
        Ok(Some(self.new_item(&path, name, &stat, what, known)?))
    }

    fn subfolder(
        &self,
        folder: BorrowedFd<'_>,
        path: &[u8],
        name: &[u8],
        stat: &Stat,
        known: Option<&Item>,
        depth: usize,
    ) -> Result<Option<SeenItem>, Fault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(folder, name, flags, Mode::empty())
            .map_err(|error| Fault::io("open", &self.path(path), &error.into()))?;
        let inside = match known.map(|known| &known.what) {
            Some(What::Folder(folder)) => Some(folder),
            _ => None,
        };
        let seen = self.folder(fd, path, inside, depth + 1)?;
        if self.filter.is_selective() && seen.folder.items.is_empty() && !self.filter.includes(path) {
            return Ok(None);
        }
        let mut item = self.new_item(path, name, stat, What::Folder(seen.folder), None)?;
        item.changed = seen.changed || known.is_none_or(|known| !self.counts_same(known, &item.item));
        item.news = seen.news || known.is_none_or(|known| known.stamp != item.item.stamp);
        Ok(Some(item))
    }

    fn is_known(&self, known: &Item, stamp: &Stamp) -> bool {
        known.stamp == *stamp && !stamp.is_racy(self.known_at) && !matches!(known.what, What::Folder(_))
    }

    fn unchanged(&self, known: &Item) -> SeenItem {
        let what = match &known.what {
            What::File(digest) => What::File(*digest),
            What::Symlink(target) => What::Symlink(target.clone()),
            What::Character(major, minor) => What::Character(*major, *minor),
            What::Block(major, minor) => What::Block(*major, *minor),
            What::Fifo | What::Folder(_) => What::Fifo,
        };
        let item = Item {
            name: known.name.clone(),
            stamp: known.stamp,
            owner: known.owner,
            what,
            xattrs: known.xattrs.clone(),
        };
        SeenItem { item, changed: false, news: false }
    }

    fn new_item(
        &self,
        path: &[u8],
        name: &[u8],
        stat: &Stat,
        what: What,
        known: Option<&Item>,
    ) -> Result<SeenItem, Fault> {
        let xattrs = match (self.detail, &what) {
            (Detail::Whole, What::File(_) | What::Folder(_)) => self.xattrs(path)?,
            _ => Vec::new(),
        };
        let item =
            Item { name: name.into(), stamp: stamp(stat), owner: (stat.st_uid, stat.st_gid), what, xattrs };
        let changed = known.is_none_or(|known| !self.counts_same(known, &item));
        // A racy stamp is news even if it is the same: it is looked at again until it is not racy any more.
        let news = known.is_none_or(|known| known.stamp != item.stamp || item.stamp.is_racy(self.known_at));
        Ok(SeenItem { item, changed, news })
    }

    /// Whether the two have the same line in a listing; of folders, apart from what is in them.
    fn counts_same(&self, known: &Item, item: &Item) -> bool {
        let same_kind = match (&known.what, &item.what) {
            (What::Folder(_), What::Folder(_)) => true,
            (known, now) => known == now,
        };
        let whole = |item: &Item| (item.owner, item.stamp.inode, item.stamp.mtime, item.xattrs.clone());
        same_kind
            && known.mode(self.detail) == item.mode(self.detail)
            && (self.detail != Detail::Whole || whole(known) == whole(item))
    }

    fn hash(&self, folder: BorrowedFd<'_>, path: &[u8], name: &[u8]) -> Result<Digest, Fault> {
        let hash = || -> io::Result<Digest> {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let file = File::from(rustix::fs::openat(folder, name, flags, Mode::empty())?);
            hash_file(file)
        };
        hash().map_err(|error| Fault::io("read", &self.path(path), &error))
    }

    fn xattrs(&self, path: &[u8]) -> Result<Xattrs, Fault> {
        let path = self.path(path);
        read_xattrs(&path).map_err(|error| Fault::io("read the extended attributes of", &path, &error))
    }

    fn unfit(&self, path: &[u8]) -> Fault {
        let name = String::from_utf8_lossy(path).into_owned();
        Fault::build(
            "tree/socket",
            format!("`{}` is a socket, which no image can hold", self.path(path).display()),
        )
        .help(format!("remove it, or leave it out: `exclude \"{name}\"`"))
    }
}

struct SeenItem {
    item: Item,
    changed: bool,
    news: bool,
}

/// The digest of a file from where it stands.
pub(super) fn hash_file(mut file: File) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match io::Read::read(&mut file, &mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn stamp(stat: &Stat) -> Stamp {
    Stamp {
        size: stat.st_size.cast_unsigned(),
        mtime: nanoseconds(stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
        ctime: nanoseconds(stat.st_ctime, stat.st_ctime_nsec.cast_signed()),
        inode: stat.st_ino,
        mode: stat.st_mode,
    }
}

fn major(stat: &Stat) -> u32 {
    rustix::fs::major(stat.st_rdev)
}

fn minor(stat: &Stat) -> u32 {
    rustix::fs::minor(stat.st_rdev)
}

/// All attributes but the labels that the host's own security module puts on everything.
fn read_xattrs(path: &Path) -> io::Result<Xattrs> {
    let mut names = vec![0u8; 64 * 1024];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        other => other?,
    };
    let mut xattrs = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name == b"security.selinux" {
            continue;
        }
        let mut value = vec![0u8; 64 * 1024];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..])?;
        value.truncate(length);
        xattrs.push((name.to_vec(), value));
    }
    xattrs.sort();
    Ok(xattrs)
}
