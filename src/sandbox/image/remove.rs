//! Removing what a run is not to leave, through the overlay, so that what comes from below is marked as removed.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, OFlags, ftruncate, unlinkat};
use rustix::io::Errno;

use super::{Removal, Removed, within};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// Directories in each other that are followed; a path can have no more.
const DEPTH: usize = 2048;

/// Removes what `removal` says below `root`.
pub(super) fn remove(root: &OwnedFd, removal: &Removal) -> io::Result<()> {
    let Some(parent) = removal.path.parent() else { return Err(Errno::INVAL.into()) };
    let folder = match within::open_as_root(root, parent.as_bytes(), FOLDER) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        opened => opened?,
    };
    let pattern = removal.path.name();
    if !pattern.contains(&b'*') {
        return apply(&folder, pattern, removal.what);
    }
    let names = within::names(&folder)?;
    names.iter().filter(|name| matches(pattern, name)).try_for_each(|name| apply(&folder, name, removal.what))
}

fn apply(folder: &OwnedFd, name: &[u8], what: Removed) -> io::Result<()> {
    let Some(kind) = within::kind(folder, name)? else { return Ok(()) };
    match (what, kind) {
        (Removed::Whole, _) => whole(folder, name, kind, 0),
        (Removed::Inside, FileType::Directory) => inside(&within::open(folder, name, FOLDER)?, 0),
        (Removed::Content, FileType::RegularFile) => {
            Ok(ftruncate(within::open(folder, name, OFlags::WRONLY)?, 0)?)
        }
        _ => Ok(()),
    }
}

fn whole(folder: &OwnedFd, name: &[u8], kind: FileType, depth: usize) -> io::Result<()> {
    if kind != FileType::Directory {
        return Ok(unlinkat(folder, name, AtFlags::empty())?);
    }
    inside(&within::open(folder, name, FOLDER)?, depth + 1)?;
    Ok(unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

fn inside(folder: &OwnedFd, depth: usize) -> io::Result<()> {
    if depth > DEPTH {
        return Err(Errno::NAMETOOLONG.into());
    }
    for name in within::names(folder)? {
        if let Some(kind) = within::kind(folder, &name)? {
            whole(folder, &name, kind, depth)?;
        }
    }
    Ok(())
}

/// Whether a name is one that `pattern` stands for, where `*` is any bytes.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&[u8]> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let found = rest.windows(part.len().max(1)).position(|window| window == part);
        match found {
            _ if part.is_empty() => {}
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_is_any_bytes() {
        let yes = [("a.log", "a.log"), ("*.log", "a.log"), ("*", "x"), ("a*b*c", "aXbYbc"), ("a*", "a"), ("**b", "ab")];
        let no = [("a.log", "a.logs"), ("*.log", "a.log.1"), ("a*b*c", "acb"), ("ab*ba", "aba")];
        assert!(yes.iter().all(|(pattern, name)| matches(pattern.as_bytes(), name.as_bytes())));
        assert!(no.iter().all(|(pattern, name)| !matches(pattern.as_bytes(), name.as_bytes())));
    }
}
