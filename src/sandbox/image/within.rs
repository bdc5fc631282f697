//! Paths below a directory that others have filled: none of them leads out of it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, mkdirat, openat2, statat};
use rustix::io::Errno;

use crate::layer::EntryPath;

/// Opens what is at `path` below `folder`. A link on the way, or at its end, is an error.
pub(super) fn open(folder: impl AsFd, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    resolved(folder, path, flags | OFlags::NOFOLLOW, resolve)
}

/// Opens what is at `path` below `root`, with links as a program would follow them that has `root` as its root.
pub(super) fn open_as_root(root: impl AsFd, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    resolved(root, path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV)
}

fn resolved(
    folder: impl AsFd,
    path: &[u8],
    flags: OFlags,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    loop {
        match openat2(&folder, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // The kernel asks for another try where a rename anywhere came in between.
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return Ok(opened?),
        }
    }
}

/// A directory, opened to reach what is in it.
pub(super) const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// The directory that `path` is in, and the last name; made, root's, where it is not there.
pub(super) fn folder_of<'p>(root: &OwnedFd, path: &'p EntryPath) -> io::Result<(OwnedFd, &'p [u8])> {
    let parent = path.parent().ok_or(Errno::ISDIR)?;
    match open_as_root(root, parent.as_bytes(), FOLDER) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !parent.is_root() => {
            let (outer, name) = folder_of(root, &parent)?;
            mkdirat(&outer, name, Mode::from_raw_mode(0o755))?;
            Ok((open(&outer, name, FOLDER)?, path.name()))
        }
        opened => Ok((opened?, path.name())),
    }
}

/// The names in a directory, which was opened for reading; sorted, so that nothing depends on the file system.
pub(super) fn names(folder: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut entries = RawDir::new(folder, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// What is at a name; none if there is nothing.
pub(super) fn kind(folder: impl AsFd, name: &[u8]) -> io::Result<Option<FileType>> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
