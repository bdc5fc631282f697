//! What is made before the first program starts: the topmost of the folders below, with what the host's folders cannot
//! hold and what is there for a run only, and what stands in the sandbox's own `/run` and `/tmp`.
//!
//! Of an overlay's directory the attributes of its topmost part count. So a directory that is made here because something
//! stands in it gets those that it has further down.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, linkat,
    lsetxattr, mkdirat, mknodat, openat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::super::wire::Refusal;
use super::{ImageRun, Special, SpecialKind, within};
use crate::layer::EntryPath;

/// Files of the host that hold contents.
pub(super) type Files = BTreeMap<PathBuf, File>;

/// Opens the files of the host that hold special files' contents.
pub(super) fn open_files(run: &ImageRun) -> Result<Files, Refusal> {
    let mut files = Files::new();
    for special in run.specials.iter().chain(&run.scratch) {
        if let SpecialKind::File { file, .. } = &special.kind
            && !files.contains_key(file)
        {
            let opened = Refusal::of(format!("read `{}`", file.display()), File::open(file))?;
            files.insert(file.clone(), opened);
        }
    }
    Ok(files)
}

/// Makes it in the empty directory `top`; `lowers` are the directories below, the lowest first.
pub(super) fn fill(run: &ImageRun, top: &OwnedFd, lowers: &[OwnedFd], files: &Files) -> Result<(), Refusal> {
    let things = image_things(run)?;
    make(&things, Maker { epoch: run.epoch, top, lowers, files, times: Vec::new(), buffer: Vec::new() })
}

/// Where something of the host will be mounted, and whether that is a folder.
pub(super) type Point<'a> = (&'a EntryPath, bool);

/// Fills `run` and `tmp`, which are in `store`.
pub(super) fn fill_scratch(
    run: &ImageRun,
    store: &OwnedFd,
    points: &[Point<'_>],
    files: &Files,
) -> Result<(), Refusal> {
    let things = scratch_things(run, points)?;
    make(
        &things,
        Maker { epoch: run.epoch, top: store, lowers: &[], files, times: Vec::new(), buffer: Vec::new() },
    )
}

fn make(things: &Things<'_>, mut maker: Maker<'_>) -> Result<(), Refusal> {
    let is_link =
        |thing: &Thing<'_>| matches!(thing, Thing::Special(Special { kind: SpecialKind::Hardlink(_), .. }));
    let mut parent: Option<(EntryPath, OwnedFd)> = None;
    // Other names last, whatever the order of the paths.
    let (links, others): (Vec<_>, Vec<_>) = things.iter().partition(|(_, thing)| is_link(thing));
    for (path, thing) in others.into_iter().chain(links) {
        let Some(outer) = path.parent() else { continue };
        let folder = match parent.take() {
            Some((known, folder)) if known == outer => folder,
            _ => refused(path, within::open(maker.top, outer.as_bytes(), within::FOLDER))?,
        };
        maker.make(&folder, path, *thing)?;
        parent = Some((outer, folder));
    }
    maker.set_times()
}

/// Gives a directory the attributes of the image's root: the special one's, or the usual ones.
pub(super) fn dress_root(run: &ImageRun, folder: &OwnedFd) -> Result<(), Refusal> {
    let usual = Special {
        path: EntryPath::root(),
        kind: SpecialKind::Directory,
        mode: 0o755,
        user: 0,
        group: 0,
        mtime: run.epoch,
        xattrs: Vec::new(),
    };
    let special = run.specials.iter().rfind(|special| special.path.is_root()).unwrap_or(&usual);
    refused(&special.path, dress(folder, b".", special))
}

#[derive(Clone, Copy)]
enum Thing<'a> {
    Special(&'a Special),
    Passing(u32, &'a [u8]),
    /// A directory on the way.
    Passage,
    /// Nothing yet: something will be mounted there; a folder, or not.
    Point(bool),
}

type Things<'a> = BTreeMap<EntryPath, Thing<'a>>;

/// The folders of the sandbox's own that can be filled, as they begin a path, and what is in them anyway.
const SCRATCH: [&[u8]; 2] = [b"run/", b"tmp/"];
const THERE: [&str; 3] = ["run", "run/lock", "tmp"];

/// Whether a path is in the sandbox's own `/run` or `/tmp`.
pub(super) fn is_scratch(path: &EntryPath) -> bool {
    SCRATCH.iter().any(|folder| path.as_bytes().starts_with(folder))
}

fn image_things(run: &ImageRun) -> Result<Things<'_>, Refusal> {
    let mut things = Things::new();
    things.extend(run.specials.iter().map(|special| (special.path.clone(), Thing::Special(special))));
    add_passing(&mut things, run, |path| !is_scratch(path))?;
    add_passages(&mut things, &[]);
    Ok(things)
}

fn scratch_things<'a>(run: &'a ImageRun, points: &[Point<'_>]) -> Result<Things<'a>, Refusal> {
    let mut things = Things::new();
    for special in &run.scratch {
        refuse_elsewhere(&special.path)?;
        if let SpecialKind::Hardlink(first) = &special.kind {
            refuse_elsewhere(first)?;
        }
        things.insert(special.path.clone(), Thing::Special(special));
    }
    add_passing(&mut things, run, is_scratch)?;
    for (path, folder) in points {
        things.entry((*path).clone()).or_insert(Thing::Point(*folder));
    }
    for path in &run.sealed {
        refuse_elsewhere(path)?;
        things.entry(path.clone()).or_insert(Thing::Passage);
    }
    add_passages(&mut things, &THERE);
    Ok(things)
}

fn refuse_elsewhere(path: &EntryPath) -> Result<(), Refusal> {
    if is_scratch(path) {
        return Ok(());
    }
    let step = format!("make `/{path}` as the sandbox's own");
    Err(Refusal::asked(step, "only what is in `/run` and in `/tmp` can be that"))
}

fn add_passing<'a>(
    things: &mut Things<'a>,
    run: &'a ImageRun,
    counts: impl Fn(&EntryPath) -> bool,
) -> Result<(), Refusal> {
    for given in run.passing.iter().filter(|given| counts(&given.path)) {
        let folder = |thing: &Thing<'_>| matches!(thing, Thing::Special(special) if special.kind == SpecialKind::Directory);
        if things.get(&given.path).is_some_and(folder) {
            return Err(Refusal::asked(format!("show `/{}`", given.path), "the image has a directory there"));
        }
        things.insert(given.path.clone(), Thing::Passing(given.mode, &given.bytes));
    }
    Ok(())
}

/// Adds the directories on the way, but those that are `there`.
fn add_passages(things: &mut Things<'_>, there: &[&str]) {
    let paths: Vec<EntryPath> = things.keys().cloned().collect();
    for path in paths {
        let mut outer = path.parent();
        while let Some(path) = outer {
            outer = path.parent();
            if things.contains_key(&path) || there.iter().any(|there| there.as_bytes() == path.as_bytes()) {
                break;
            }
            things.insert(path, Thing::Passage);
        }
    }
}

fn refused<T>(path: &EntryPath, result: Result<T, impl Into<io::Error>>) -> Result<T, Refusal> {
    result.map_err(|error| {
        let error: io::Error = error.into();
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::OutOfMemory);
        let step = format!("make `/{path}`");
        let reason = crate::fault::reason(&error);
        match full {
            true => Refusal::new(step, reason).help("a sandbox keeps what changes in memory; free some"),
            false => Refusal::asked(step, reason),
        }
    })
}

struct Maker<'a> {
    epoch: i64,
    top: &'a OwnedFd,
    lowers: &'a [OwnedFd],
    files: &'a Files,
    /// Of directories, set when nothing changes in them any more.
    times: Vec<(EntryPath, Timestamps)>,
    buffer: Vec<u8>,
}

impl Maker<'_> {
    fn make(&mut self, folder: &OwnedFd, path: &EntryPath, thing: Thing<'_>) -> Result<(), Refusal> {
        match thing {
            Thing::Special(special) => refused(path, self.special(folder, path.name(), special)),
            Thing::Passing(mode, bytes) => {
                refused(path, passing(folder, path.name(), mode, bytes, self.epoch))
            }
            Thing::Passage | Thing::Point(true) => self.passage(folder, path),
            Thing::Point(false) => refused(path, passing(folder, path.name(), 0o644, &[], self.epoch)),
        }
    }

    fn special(&mut self, folder: &OwnedFd, name: &[u8], special: &Special) -> io::Result<()> {
        match &special.kind {
            SpecialKind::Directory => {
                match mkdirat(folder, name, Mode::RWXU) {
                    Err(Errno::EXIST) if special.path.as_bytes() == b"run/lock" => {}
                    made => made?,
                }
                self.times.push((special.path.clone(), times(special.mtime, 0)));
            }
            SpecialKind::File { file, offset, size } => {
                let new = create(folder, name)?;
                self.copy(file, *offset, *size, new)?;
            }
            SpecialKind::Hardlink(first) => {
                let outer = first.parent().ok_or(Errno::ISDIR)?;
                let outer = within::open(self.top, outer.as_bytes(), within::FOLDER)?;
                return Ok(linkat(&outer, first.name(), folder, name, AtFlags::empty())?);
            }
            SpecialKind::Symlink(target) => symlinkat(target.as_slice(), folder, name)?,
            SpecialKind::Fifo => mknodat(folder, name, FileType::Fifo, Mode::RUSR, 0)?,
        }
        dress(folder, name, special)
    }

    fn copy(&mut self, from: &Path, mut offset: u64, size: u64, mut to: File) -> io::Result<()> {
        let file = self.files.get(from).ok_or(Errno::NOENT)?;
        self.buffer.resize(256 * 1024, 0);
        let mut left = size;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let piece = self.buffer.get_mut(..room).unwrap_or_default();
            file.read_exact_at(piece, offset)?;
            to.write_all(piece)?;
            (offset, left) = (offset + room as u64, left - room as u64);
        }
        Ok(())
    }

    /// A directory as it is in the highest of the folders below that has it.
    fn passage(&mut self, folder: &OwnedFd, path: &EntryPath) -> Result<(), Refusal> {
        let below = self.lowers.iter().rev().find_map(|lower| self.below(lower, path).transpose());
        refused(path, mkdirat(folder, path.name(), Mode::RWXU))?;
        let name = path.name();
        let (mode, owner, time) = match below.transpose()? {
            Some(found) => {
                let time = Timespec { tv_sec: found.st_mtime as _, tv_nsec: found.st_mtime_nsec as _ };
                (found.st_mode, (found.st_uid, found.st_gid), time)
            }
            None => (0o755, (0, 0), Timespec { tv_sec: self.epoch, tv_nsec: 0 }),
        };
        let owner = (Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)));
        refused(path, chownat(folder, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW))?;
        refused(path, chmodat(folder, name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty()))?;
        self.times.push((path.clone(), Timestamps { last_access: time, last_modification: time }));
        Ok(())
    }

    fn below(&self, lower: &OwnedFd, path: &EntryPath) -> Result<Option<rustix::fs::Stat>, Refusal> {
        let no_folder = || {
            let step = format!("put something into `/{path}` of the image");
            Err(Refusal::asked(step, "it is a link or a file in one of the folders below"))
        };
        let outer = path.parent().unwrap_or_default();
        let folder = match within::open(lower, outer.as_bytes(), within::FOLDER) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(_) => return no_folder(),
        };
        match statat(&folder, path.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            _ => no_folder(),
        }
    }

    /// From the innermost outwards, although the order does not matter: a time is no change of what is around.
    fn set_times(self) -> Result<(), Refusal> {
        for (path, times) in self.times.iter().rev() {
            let set = within::open(self.top, path.as_bytes(), within::FOLDER)
                .and_then(|folder| Ok(utimensat(&folder, ".", times, AtFlags::SYMLINK_NOFOLLOW)?));
            refused(path, set)?;
        }
        Ok(())
    }
}

fn create(folder: &OwnedFd, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    Ok(File::from(openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?))
}

fn passing(folder: &OwnedFd, name: &[u8], mode: u32, bytes: &[u8], epoch: i64) -> io::Result<()> {
    create(folder, name)?.write_all(bytes)?;
    // A directory can give its group to what is made in it.
    chownat(folder, name, Some(Uid::ROOT), Some(Gid::ROOT), AtFlags::SYMLINK_NOFOLLOW)?;
    chmodat(folder, name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
    Ok(utimensat(folder, name, &times(epoch, 0), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times(seconds: i64, nanoseconds: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    Timestamps { last_access: time, last_modification: time }
}

/// Owner first, because a change of it takes set-user-ID and capabilities away.
fn dress(folder: impl AsFd, name: &[u8], special: &Special) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    let (user, group) = (Uid::from_raw(special.user), Gid::from_raw(special.group));
    chownat(&folder, name, Some(user), Some(group), nofollow)?;
    if !matches!(special.kind, SpecialKind::Symlink(_)) {
        chmodat(&folder, name, Mode::from_raw_mode(special.mode & 0o7777), AtFlags::empty())?;
    }
    if !special.xattrs.is_empty() {
        let path = [format!("/proc/self/fd/{}/", folder.as_fd().as_raw_fd()).as_bytes(), name].concat();
        for (xattr, value) in &special.xattrs {
            lsetxattr(path.as_slice(), xattr.as_slice(), value, XattrFlags::empty())?;
        }
    }
    Ok(utimensat(&folder, name, &times(special.mtime, 0), nofollow)?)
}
