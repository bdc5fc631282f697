//! The difference of two trees, path by path.

use std::collections::BTreeMap;

use super::entry::{Entry, Kind};
use super::path::EntryPath;

/// How a path differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Only the second tree has it.
    Added,
    /// Only the first tree has it.
    Removed,
    /// Both have it; what differs, in words (`content`, `mode 0644 → 0755`).
    Changed(Vec<String>),
}

/// The paths that differ, in order. A weak directory and a strong one are the same directory here.
pub fn diff<'a>(
    old: impl IntoIterator<Item = &'a Entry>,
    new: impl IntoIterator<Item = &'a Entry>,
) -> Vec<(EntryPath, Difference)> {
    let old = by_path(old);
    let new = by_path(new);
    let mut out: BTreeMap<EntryPath, Difference> = BTreeMap::new();
    for (path, entry) in &old {
        match new.get(path) {
            None => {
                out.insert((*path).clone(), Difference::Removed);
            }
            Some(other) => {
                let what = changes(entry, other);
                if !what.is_empty() {
                    out.insert((*path).clone(), Difference::Changed(what));
                }
            }
        }
    }
    for path in new.keys().filter(|path| !old.contains_key(*path)) {
        out.insert((*path).clone(), Difference::Added);
    }
    out.into_iter().collect()
}

fn by_path<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> BTreeMap<&'a EntryPath, &'a Entry> {
    entries.into_iter().map(|entry| (&entry.path, entry)).collect()
}

fn changes(old: &Entry, new: &Entry) -> Vec<String> {
    let mut what = Vec::new();
    match (old.kind.without_offset(), new.kind.without_offset()) {
        (Kind::File { size: was, digest: before, .. }, Kind::File { size: now, digest: after, .. }) => {
            if was != now {
                what.push(format!("size {was} → {now}"));
            } else if before != after {
                what.push("content".to_string());
            }
        }
        (Kind::Symlink(was), Kind::Symlink(now)) if was != now => {
            what.push(format!(
                "target {} → {}",
                String::from_utf8_lossy(&was),
                String::from_utf8_lossy(&now)
            ));
        }
        (Kind::Hardlink(was), Kind::Hardlink(now)) if was != now => {
            what.push(format!("target {was} → {now}"));
        }
        (Kind::Character(major, minor), Kind::Character(new_major, new_minor))
        | (Kind::Block(major, minor), Kind::Block(new_major, new_minor))
            if (major, minor) != (new_major, new_minor) =>
        {
            what.push(format!("device {major}:{minor} → {new_major}:{new_minor}"));
        }
        (was, now) if was != now => what.push(format!("kind {} → {}", was.letter(), now.letter())),
        _ => {}
    }
    if old.mode != new.mode {
        what.push(format!("mode {:04o} → {:04o}", old.mode, new.mode));
    }
    if old.owner != new.owner {
        what.push(format!("owner {} → {}", old.owner, new.owner));
    }
    if old.mtime != new.mtime {
        what.push(format!("time {} → {}", old.mtime, new.mtime));
    }
    if old.xattrs != new.xattrs {
        what.push("extended attributes".to_string());
    }
    what
}
