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
    let mut what = Vec::from_iter(change_of_kind(&old.kind, &new.kind));
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

fn change_of_kind(old: &Kind, new: &Kind) -> Option<String> {
    match (old.without_offset(), new.without_offset()) {
        (was, now) if was == now => None,
        (Kind::File { size: was, .. }, Kind::File { size: now, .. }) if was != now => {
            Some(format!("size {was} → {now}"))
        }
        (Kind::File { .. }, Kind::File { .. }) => Some("content".to_string()),
        (Kind::Symlink(was), Kind::Symlink(now)) => {
            Some(format!("target {} → {}", String::from_utf8_lossy(&was), String::from_utf8_lossy(&now)))
        }
        (Kind::Hardlink(was), Kind::Hardlink(now)) => Some(format!("target {was} → {now}")),
        (Kind::Character(was, was_minor), Kind::Character(now, now_minor))
        | (Kind::Block(was, was_minor), Kind::Block(now, now_minor)) => {
            Some(format!("device {was}:{was_minor} → {now}:{now_minor}"))
        }
        (was, now) => Some(format!("kind {} → {}", was.letter(), now.letter())),
    }
}
