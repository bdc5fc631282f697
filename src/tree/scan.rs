//! Walking a folder, with what was seen there last time at hand.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::contents::Contents;
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
    /// When what is known was seen.
    pub known_at: i64,
    /// Whether rayon may be used: not inside a job.
    pub parallel: bool,
    /// Where contents that were read go.
    pub contents: &'a Contents,
}

/// What a walk found.
pub(super) struct Seen {
    /// What the folder itself looked like.
    pub stamp: Stamp,
    /// The folder.
    pub folder: Arc<Folder>,
    /// Whether the listing may differ from that of what was known.
    pub changed: bool,
    /// Whether there is something to remember: a stamp differs.
    pub news: bool,
}

/// What was seen of a folder before: what it looked like, and what was in it.
#[derive(Clone, Copy)]
pub(super) struct Before<'a> {
    pub stamp: Stamp,
    pub folder: &'a Arc<Folder>,
}

/// A name in a folder, compared with what was known.
enum Look {
    /// It is what it was.
    Same,
    /// It is left out, or gone.
    Nothing,
    /// It is new, or has to be remembered anew.
    New(Box<SeenItem>),
}

struct SeenItem {
    item: Item,
    changed: bool,
    news: bool,
}

impl Walk<'_> {
    /// Walks the folder; `before` is what was seen there at `known_at`.
    pub fn run(&self, before: Option<Before<'_>>) -> Result<Seen, Fault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let failed = |error: rustix::io::Errno| Fault::io("open", self.root, &error.into());
        let fd = rustix::fs::open(self.root, flags, Mode::empty()).map_err(failed)?;
        let stamp = stamp(&rustix::fs::fstat(&fd).map_err(failed)?);
        let mut seen = self.folder(fd, &[], stamp, before, 0)?;
        seen.news |= before.is_none_or(|before| before.stamp != stamp || stamp.is_racy(self.known_at));
        Ok(seen)
    }

    fn folder(
        &self,
        fd: OwnedFd,
        path: &[u8],
        stamp: Stamp,
        before: Option<Before<'_>>,
        depth: usize,
    ) -> Result<Seen, Fault> {
        if depth > DEEPEST {
            return Err(Fault::build(
                "tree/deep",
                format!("`{}` is nested too deep", self.path(path).display()),
            )
            .help(format!("at most {DEEPEST} folders can lie in one another")));
        }
        let known = before.map(|before| before.folder.as_ref());
        // A folder whose own times did not change holds the names that it held. Where only some count, those of folders
        // that held nothing then are not known.
        let names_hold = !self.filter.is_selective()
            && before.is_some_and(|before| before.stamp == stamp && !stamp.is_racy(self.known_at));
        let read = if names_hold { Vec::new() } else { self.names(&fd, path)? };
        let looks: Vec<Look> =
            match known.filter(|_| names_hold) {
                Some(known) => self
                    .each(&known.items, |item| self.look(fd.as_fd(), path, &item.name, Some(item), depth))?,
                None => self
                    .each(&read, |name| self.look(fd.as_fd(), path, name, known_item(known, name), depth))?,
            };
        let same = looks.iter().filter(|look| matches!(look, Look::Same)).count();
        if let Some(before) = before.filter(|before| same == looks.len() && same == before.folder.items.len())
        {
            return Ok(Seen { stamp, folder: Arc::clone(before.folder), changed: false, news: false });
        }
        let names: Vec<&[u8]> = match known.filter(|_| names_hold) {
            Some(known) => known.items.iter().map(|item| &*item.name).collect(),
            None => read.iter().map(|name| &**name).collect(),
        };
        Ok(self.gather(stamp, names, looks, known))
    }

    fn gather(&self, stamp: Stamp, names: Vec<&[u8]>, looks: Vec<Look>, known: Option<&Folder>) -> Seen {
        let mut folder = Folder { items: Vec::with_capacity(names.len()) };
        let (mut changed, mut news) = (known.is_none(), true);
        for (name, look) in names.into_iter().zip(looks) {
            match look {
                Look::Nothing => {}
                Look::Same => folder.items.extend(known_item(known, name).cloned()),
                Look::New(seen) => {
                    changed |= seen.changed;
                    news |= seen.news;
                    folder.items.push(seen.item);
                }
            }
        }
        changed |= known.is_some_and(|known| known.items.len() != folder.items.len());
        Seen { stamp, folder: Arc::new(folder), changed, news }
    }

    fn each<T: Sync>(
        &self,
        names: &[T],
        look: impl Fn(&T) -> Result<Look, Fault> + Send + Sync,
    ) -> Result<Vec<Look>, Fault> {
        if self.parallel {
            names.par_iter().with_min_len(16).map(look).collect()
        } else {
            names.iter().map(look).collect()
        }
    }

    fn path(&self, relative: &[u8]) -> PathBuf {
        self.root.join(std::ffi::OsStr::from_bytes(relative))
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

    fn look(
        &self,
        folder: BorrowedFd<'_>,
        folder_path: &[u8],
        name: &[u8],
        known: Option<&Item>,
        depth: usize,
    ) -> Result<Look, Fault> {
        // Only needed where something is to be decided or told; what is known and did not change is most.
        let path = || if folder_path.is_empty() { name.to_vec() } else { [folder_path, b"/", name].concat() };
        let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return Ok(Look::Nothing),
            Err(error) => return Err(Fault::io("look at", &self.path(&path()), &error.into())),
        };
        let stamp = stamp(&stat);
        if known.is_some_and(|known| self.is_known(known, &stamp)) {
            return Ok(Look::Same);
        }
        let path = path();
        if self.filter.excludes(&path) {
            return Ok(Look::Nothing);
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return self.subfolder(folder, &path, name, &stat, known, depth);
        }
        if !self.filter.includes(&path) {
            return Ok(Look::Nothing);
        }
        let failed = |verb: &str, error: rustix::io::Errno| Fault::io(verb, &self.path(&path), &error.into());
        let what = match kind {
            FileType::RegularFile => What::File(self.hash(folder, &path, name, stamp.size)?),
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
        Ok(Look::New(Box::new(self.new_item(&path, name, &stat, what, known)?)))
    }

    fn subfolder(
        &self,
        folder: BorrowedFd<'_>,
        path: &[u8],
        name: &[u8],
        stat: &Stat,
        known: Option<&Item>,
        depth: usize,
    ) -> Result<Look, Fault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(folder, name, flags, Mode::empty())
            .map_err(|error| Fault::io("open", &self.path(path), &error.into()))?;
        let before = known.and_then(|known| match &known.what {
            What::Folder(folder) => Some(Before { stamp: known.stamp, folder }),
            _ => None,
        });
        let stamp = stamp(stat);
        let seen = self.folder(fd, path, stamp, before, depth + 1)?;
        if !seen.changed
            && !seen.news
            && known.is_some_and(|known| known.stamp == stamp && !stamp.is_racy(self.known_at))
        {
            return Ok(Look::Same);
        }
        if self.filter.is_selective() && seen.folder.items.is_empty() && !self.filter.includes(path) {
            return Ok(Look::Nothing);
        }
        let mut item = self.new_item(path, name, stat, What::Folder(seen.folder), None)?;
        item.changed = seen.changed || known.is_none_or(|known| !self.counts_same(known, &item.item));
        item.news = true;
        Ok(Look::New(Box::new(item)))
    }

    fn is_known(&self, known: &Item, stamp: &Stamp) -> bool {
        known.stamp == *stamp && !stamp.is_racy(self.known_at) && !matches!(known.what, What::Folder(_))
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
            && (self.detail < Detail::Packed || known.stamp.inode == item.stamp.inode)
            && (self.detail != Detail::Whole || whole(known) == whole(item))
    }

    fn hash(&self, folder: BorrowedFd<'_>, path: &[u8], name: &[u8], size: u64) -> Result<Digest, Fault> {
        let hash = || {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let file = File::from(rustix::fs::openat(folder, name, flags, Mode::empty())?);
            hash_file(file, size)
        };
        let (digest, content) =
            hash().map_err(|error: io::Error| Fault::io("read", &self.path(path), &error))?;
        if let Some(content) = content {
            self.contents.keep(digest, content);
        }
        Ok(digest)
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

fn known_item<'a>(known: Option<&'a Folder>, name: &[u8]) -> Option<&'a Item> {
    let items = &known?.items;
    items.get(items.binary_search_by(|item| (*item.name).cmp(name)).ok()?)
}

/// The digest of a file of `size` bytes from where it stands; of a small one, the content too.
///
/// What is written to it meanwhile is noticed when it is copied, or by its stamp next time.
pub(super) fn hash_file(mut file: File, size: u64) -> io::Result<(Digest, Option<Vec<u8>>)> {
    let room = usize::try_from(size).unwrap_or(usize::MAX).min(SMALL);
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; room];
    let mut left = size;
    while left > 0 {
        match io::Read::read(&mut file, &mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&buffer[..read]);
                left = left.saturating_sub(read as u64);
                if read == room && left == 0 && size == room as u64 {
                    return Ok((hasher.finish(), Some(buffer)));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((hasher.finish(), None))
}

/// Files up to this size are read in one piece.
const SMALL: usize = 64 * 1024;

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
