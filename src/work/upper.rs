//! What a program changed, as a layer.
//!
//! Overlayfs copies a file up as soon as somebody opens it for writing, and every directory on its way: an upper
//! directory has much that did not change. The layer has only what did, so that a program that changes nothing makes
//! the empty layer, and one that makes the same thing twice makes the same layer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter};

use super::{Stack, World};
use crate::fault::Fault;
use crate::layer::merge::Node;
use crate::layer::read::{At, Gathered, write_from_spool};
use crate::layer::{Entry, EntryPath, Index, Kind, LayerWriter, Merged};
use crate::store::Layer;

/// Makes the layer of what a program left above `below` (whose owners are numbers). `gathered` has it as a tar with OCI
/// whiteouts says it, its contents lie in `spool`.
///
/// What is as it was below is left out, times aside; a time behind the epoch becomes the epoch.
///
/// # Errors
///
/// `layer/folder-over-link` where a directory stands in the place of a symbolic link to one: a layer cannot say that.
pub fn upper_layer(
    gathered: Gathered,
    spool: &File,
    below: &Merged,
    keep: impl Fn(&EntryPath) -> bool,
    world: &World,
) -> Result<Layer, Fault> {
    let mut entries = changes(gathered.into_entries(), below, world.epoch)?;
    entries.retain(|entry| keep(&entry.path));
    write(entries, spool, world)
}

/// The same for a program whose root was not quite what the layers of `stack` make: `root` and the layers that it was
/// made of, `of`. The layer has what makes the one into the other, too.
pub fn corrected_layer(
    gathered: Gathered,
    spool: &File,
    (root, of): (&Merged, &Stack),
    stack: &Stack,
    world: &World,
) -> Result<Layer, Fault> {
    let entries = changes(gathered.into_entries(), root, world.epoch)?;
    let shown = world.image(stack)?;
    if is_same_tree(root, &shown) {
        return write(entries, spool, world);
    }
    let mut whole = root.clone();
    let own = of.layers.len();
    whole.add_layer(own, &entries).map_err(|bad| of.bad_merge(own, &bad))?;
    whole.settle();
    let path = world.store.stage()?.path("layer.tar");
    let write = || -> io::Result<Index> {
        let mut writer = LayerWriter::new(BufWriter::with_capacity(1 << 20, File::create_new(&path)?));
        for (entry, layer) in difference(&shown, &whole, Times::Aside) {
            let Kind::File { size, offset, .. } = entry.kind else {
                writer.entry(entry)?;
                continue;
            };
            let tar = of.layers.get(layer).map_or(spool, |layer| &layer.layer.tar);
            writer.file(entry, size, &mut At { file: tar, at: offset, left: size })?;
        }
        Ok(writer.finish()?.1)
    };
    let index = write().map_err(|error| Fault::io("write", &path, &error))?;
    world.store.keep_layer(&path, index)
}

/// Whether both are the same but for times.
fn is_same_tree(one: &Merged, other: &Merged) -> bool {
    one.len() == other.len() && one.nodes().all(|node| is_same_node(&node.entry, other, Times::Aside))
}

fn is_same_node(entry: &Entry, other: &Merged, times: Times) -> bool {
    let Some(there) = other.get(&entry.path).map(|node| &node.entry) else { return false };
    if matches!(entry.kind, Kind::Hardlink(_)) {
        // All else is the file's.
        return there.kind == entry.kind;
    }
    let same_time = times == Times::Aside || there.mtime == entry.mtime;
    same_time && !matches!(there.kind, Kind::Hardlink(_)) && is_same(entry, &entry.path, other)
}

/// Whether another time alone makes something another thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// It does.
    Count,
    /// It does not.
    Aside,
}

/// What makes `old` into `new`, in the order of a layer, each with the layer of `new` that has its content.
pub(super) fn difference(old: &Merged, new: &Merged, times: Times) -> Vec<(Entry, usize)> {
    let mut wanted: BTreeSet<&EntryPath> = new
        .nodes()
        .filter(|node| !is_same_node(&node.entry, old, times))
        .map(|node| &node.entry.path)
        .collect();
    // Names of one file stand in one layer.
    let named = |node: &Node| match &node.entry.kind {
        Kind::Hardlink(first) => Some((first.clone(), node.entry.path.clone())),
        _ => None,
    };
    let links: Vec<(EntryPath, EntryPath)> = new.nodes().filter_map(named).collect();
    let touched: BTreeSet<&EntryPath> = links
        .iter()
        .filter(|(first, name)| wanted.contains(first) || wanted.contains(name))
        .map(|(first, _)| first)
        .collect();
    for (first, name) in links.iter().filter(|(first, _)| touched.contains(first)) {
        wanted.extend([first, name]);
    }
    let mut entries: Vec<(Entry, usize)> = wanted
        .into_iter()
        .filter_map(|path| new.get(path))
        .map(|node| (node.entry.clone(), node.layer))
        .collect();
    let gone = |path: &EntryPath| new.get(path).is_none();
    for path in old.nodes().map(|node| &node.entry.path).filter(|path| gone(path)) {
        // Not every merge has the root as an entry.
        let along = path.parent().filter(|parent| !parent.is_root()).is_some_and(|parent| {
            gone(&parent) || new.get(&parent).is_some_and(|node| node.entry.kind != Kind::Directory)
        });
        if !along {
            entries.push((whiteout(path.clone()), 0));
        }
    }
    entries.sort_by(|one, other| one.0.order(&other.0));
    entries
}

fn whiteout(path: EntryPath) -> Entry {
    Entry { kind: Kind::Whiteout, mode: 0o644, weak: false, ..Entry::passage(path, 0) }
}

/// The layer of these entries of another one.
pub fn part_of(layer: &Layer, entries: Vec<Entry>, world: &World) -> Result<Layer, Fault> {
    write(entries, &layer.tar, world)
}

fn write(entries: Vec<Entry>, spool: &File, world: &World) -> Result<Layer, Fault> {
    let path = world.store.stage()?.path("layer.tar");
    let write = || -> io::Result<Index> {
        let out = BufWriter::with_capacity(1 << 20, File::create_new(&path)?);
        Ok(write_from_spool(entries, spool, out)?.1)
    };
    let index = write().map_err(|error| Fault::io("write", &path, &error))?;
    world.store.keep_layer(&path, index)
}

/// The entries that change `below`, in the order of a layer.
fn changes(entries: Vec<Entry>, below: &Merged, epoch: i64) -> Result<Vec<Entry>, Fault> {
    let (markers, entries): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(Entry::is_whiteout);
    let mut upper: BTreeMap<EntryPath, Entry> = BTreeMap::new();
    for mut entry in entries {
        entry.xattrs.retain(|(name, _)| !is_overlays_own(name));
        entry.mtime = entry.mtime.clamp(0, epoch.max(0));
        entry.weak = false;
        upper.insert(entry.path.clone(), entry);
    }
    let mut changes: Vec<Entry> = whiteouts(&markers, &upper, below);
    let same = unchanged(&upper, below);
    for (path, entry) in upper {
        if same.contains(&path) {
            continue;
        }
        let over_link = below.get(&path).is_some_and(|node| matches!(node.entry.kind, Kind::Symlink(_)));
        if entry.kind == Kind::Directory && over_link {
            let message =
                format!("`/{path}` was a symbolic link and became a directory, which a layer cannot say");
            return Err(Fault::build("layer/folder-over-link", message)
                .help("make it a directory in an overlay below, or another link"));
        }
        changes.push(entry);
    }
    changes.sort_by(Entry::order);
    Ok(changes)
}

/// What overlayfs notes for itself.
fn is_overlays_own(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// What was removed, each as a path of its own, and only what is there below.
fn whiteouts(markers: &[Entry], upper: &BTreeMap<EntryPath, Entry>, below: &Merged) -> Vec<Entry> {
    let mut gone: BTreeSet<EntryPath> = BTreeSet::new();
    for marker in markers {
        match marker.kind {
            Kind::Whiteout if below.get(&marker.path).is_some() => drop(gone.insert(marker.path.clone())),
            Kind::Opaque => {
                let hidden = below.nodes().map(|node| &node.entry.path);
                let inside =
                    |path: &&EntryPath| path.below(&marker.path).is_some_and(|rest| !rest.is_empty());
                gone.extend(hidden.filter(inside).filter(|path| !upper.contains_key(*path)).cloned());
            }
            _ => {}
        }
    }
    // What goes with the directory that it is in is not named again.
    let goes_along = |path: &EntryPath| {
        path.parent().is_some_and(|parent| {
            let replaced = upper.get(&parent).is_some_and(|entry| entry.kind != Kind::Directory);
            gone.contains(&parent) || replaced
        })
    };
    let alone = gone.iter().filter(|path| !goes_along(path));
    alone.map(|path| whiteout(path.clone())).collect()
}

/// The paths that are as they are below. A file with several names counts as a whole.
fn unchanged(upper: &BTreeMap<EntryPath, Entry>, below: &Merged) -> BTreeSet<EntryPath> {
    let mut names: BTreeMap<&EntryPath, Vec<&EntryPath>> = BTreeMap::new();
    for (path, entry) in upper {
        let first = match &entry.kind {
            Kind::Hardlink(first) => first,
            _ => path,
        };
        names.entry(first).or_default().push(path);
    }
    let mut same = BTreeSet::new();
    for (first, names) in names {
        let Some(entry) = upper.get(first) else { continue };
        let holders: BTreeSet<&EntryPath> = names.iter().filter_map(|name| holder(name, below)).collect();
        let one_below = names.len() == 1
            || (holders.len() == 1 && names.iter().all(|name| holder(name, below).is_some()));
        if one_below && names.iter().all(|name| is_same(entry, name, below)) {
            same.extend(names.into_iter().cloned());
        }
    }
    same
}

/// The path under which the content of what is at `path` below is known.
fn holder<'a>(path: &EntryPath, below: &'a Merged) -> Option<&'a EntryPath> {
    let node = below.get(path)?;
    match &node.entry.kind {
        Kind::Hardlink(target) => Some(target),
        _ => Some(&node.entry.path),
    }
}

fn is_same(entry: &Entry, path: &EntryPath, below: &Merged) -> bool {
    let Some(there) = holder(path, below).and_then(|holder| below.get(holder)) else { return false };
    let there = &there.entry;
    let mode = matches!(entry.kind, Kind::Symlink(_)) || entry.mode == there.mode;
    let mut xattrs = (entry.xattrs.clone(), there.xattrs.clone());
    xattrs.0.sort();
    xattrs.1.sort();
    mode && entry.kind.without_offset() == there.kind.without_offset()
        && entry.owner == there.owner
        && xattrs.0 == xattrs.1
}

#[cfg(test)]
mod tests;
