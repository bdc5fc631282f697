//! Roots: directories in which programs run, out of layers.
//!
//! A stack is cut into groups of layers that belong together. Each group becomes a tree of the store: what it changes
//! about the groups below it, as overlayfs wants a lower directory. A tree is plain: everything in it belongs to
//! whoever builds and has permission bits alone, so that nothing in the cache is another user's, or runs as root. What
//! is not plain (other owners, set-user-ID, sticky, extended attributes, pipes) is few, and told one by one, to be made
//! inside the sandbox on top of the trees. Devices are left out: no plain user can make one.

mod merges;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};

pub use merges::Merges;

use super::{Job, Stack, World};
use crate::fault::Fault;
use crate::key::{Digest, Key};
use crate::lang::Owner;
use crate::lang::value::Id;
use crate::layer::copy::copy_by_kernel;
use crate::layer::{Entry, EntryPath, Kind, Merged};
use crate::sandbox::image::{Special, SpecialKind};
use crate::store::{Held, Holdings};

/// What a program sees as its root, in parts.
#[derive(Clone, Debug)]
pub struct Root {
    /// Lower directories for overlayfs, the lowest first.
    pub lowers: Vec<PathBuf>,
    /// What has to lie on top of them, in the order of paths, with the directories on the way.
    pub specials: Vec<Special>,
    /// The whole: numbers for all owners, no time behind the epoch.
    pub merged: Merged,
}

/// Makes the root of `stack`, or finds it in the store. `groups` has, for each group, the position of its first layer.
pub fn root(stack: &Stack, groups: &[usize], world: &World, job: &Job<'_>) -> Result<Root, Fault> {
    let mut trees: Vec<(Digest, Option<PathBuf>)> = Vec::new();
    let bounds = bounds(groups, stack.layers.len());
    for (start, end) in &bounds {
        let key = key(stack, *start, *end, world.epoch);
        trees.push((key, world.store.tree(key)));
    }
    let missing = |number: usize| trees.get(number).is_some_and(|(_, path)| path.is_none());
    let known = world.merges.longest(stack, &bounds, world.epoch);
    let from = known.as_ref().map_or(0, |known| known.groups);
    let mut merged = known.as_ref().map(|known| known.merged.clone()).unwrap_or_default();
    let mut below = match &known {
        Some(known) if missing(from) => Some(known.plain(world.epoch)?),
        Some(_) => None,
        None => Some(Arc::default()),
    };
    let mut lowers: Vec<PathBuf> = trees.iter().take(from).filter_map(|(_, path)| path.clone()).collect();
    if lowers.len() < from {
        // Something of what is known to have been merged is no longer there as a tree.
        world.merges.forget();
        return root(stack, groups, world, job);
    }
    for (number, (start, end)) in bounds.iter().enumerate().skip(from) {
        for layer in *start..*end {
            let entries = &stack.layers[layer].layer.index.entries;
            merged.add_layer(layer, entries).map_err(|bad| stack.bad_merge(layer, &bad))?;
        }
        let needed = missing(number) || missing(number + 1);
        let plain = if needed { Some(Arc::new(Plain::of(&merged, world.epoch)?)) } else { None };
        match (&trees[number], &plain, &below) {
            ((_, Some(path)), ..) => lowers.push(path.clone()),
            ((key, None), Some(plain), Some(below)) => {
                lowers.push(make(*key, &plain.since(below), stack, world, job)?);
            }
            // A missing tree and the one before it were asked for above.
            ((_, None), ..) => return Err(Fault::build("tree/lost", "a tree of the cache was lost")),
        }
        below = plain;
    }
    merged.settle();
    world.merges.keep(stack, bounds.len(), world.epoch, &merged, below);
    let specials = special_paths(&merged);
    let merged = stack.as_image(merged, world.epoch)?;
    let specials = specials.into_iter().filter_map(|path| special(&path, &merged, stack)).collect();
    Ok(Root { lowers, specials, merged })
}

/// First layer of each group and the one behind its last; groups without layers are none.
fn bounds(groups: &[usize], layers: usize) -> Vec<(usize, usize)> {
    let mut starts: BTreeSet<usize> = groups.iter().copied().filter(|start| *start < layers).collect();
    if layers > 0 {
        starts.insert(0);
    }
    let ends = starts.iter().skip(1).copied().chain([layers]);
    starts.iter().copied().zip(ends).collect()
}

/// All that the tree of the layers from `start` to `end` depends on: these, and those below.
fn key(stack: &Stack, start: usize, end: usize, epoch: i64) -> Digest {
    let mut key = Key::new("tree", 1);
    key.fact("epoch", epoch);
    for (number, layer) in stack.layers.iter().take(end).enumerate() {
        key.fact(if number < start { "below" } else { "layer" }, layer.layer.id);
    }
    key.digest()
}

/// Whether a plain tree can hold the entry as it is.
fn is_plain(entry: &Entry) -> bool {
    let kind = matches!(entry.kind, Kind::Directory | Kind::File { .. } | Kind::Symlink(_));
    let mode = matches!(entry.kind, Kind::Symlink(_)) || entry.mode & 0o7000 == 0;
    kind && mode && entry.owner == Owner::ROOT && entry.xattrs.is_empty()
}

/// The entry whose attributes count: of a hard link, those of the file that it is.
fn holder<'a>(entry: &'a Entry, merged: &'a Merged) -> &'a Entry {
    match &entry.kind {
        Kind::Hardlink(target) => merged.get(target).map_or(entry, |node| &node.entry),
        _ => entry,
    }
}

/// Everything that is not plain, and the directories on the way; owners are still as they were stated.
fn special_paths(merged: &Merged) -> BTreeSet<EntryPath> {
    let mut paths = BTreeSet::new();
    for node in merged.nodes() {
        let entry = holder(&node.entry, merged);
        if is_plain(entry) || matches!(entry.kind, Kind::Character(..) | Kind::Block(..)) {
            continue;
        }
        let mut path = Some(node.entry.path.clone());
        while let Some(at) = path {
            path = at.parent();
            if !paths.insert(at) {
                break;
            }
        }
    }
    paths
}

fn special(path: &EntryPath, merged: &Merged, stack: &Stack) -> Option<Special> {
    let node = merged.get(path)?;
    let entry = &node.entry;
    let kind = match &entry.kind {
        Kind::Directory => SpecialKind::Directory,
        Kind::File { size, offset, .. } => {
            let file = stack.layer_of(node)?.path.clone();
            SpecialKind::File { file, offset: *offset, size: *size }
        }
        Kind::Hardlink(target) => SpecialKind::Hardlink(target.clone()),
        Kind::Symlink(target) => SpecialKind::Symlink(target.clone()),
        Kind::Fifo => SpecialKind::Fifo,
        Kind::Character(..) | Kind::Block(..) | Kind::Whiteout | Kind::Opaque => return None,
    };
    let number = |id: &Id| match id {
        Id::Number(number) => *number,
        // An image has numbers for all owners.
        Id::Name(_) => 0,
    };
    Some(Special {
        path: path.clone(),
        kind,
        mode: entry.mode,
        user: number(&entry.owner.user),
        group: number(&entry.owner.group),
        mtime: entry.mtime,
        xattrs: entry.xattrs.clone(),
    })
}

/// The plain part of a merge.
#[derive(Debug, Default)]
struct Plain {
    items: BTreeMap<EntryPath, Item>,
    /// Names of one file, by the first of them; only of files with several.
    links: BTreeMap<EntryPath, Vec<EntryPath>>,
}

#[derive(Clone, Debug)]
struct Item {
    what: What,
    mode: u32,
    mtime: i64,
}

#[derive(Clone, Debug)]
enum What {
    Folder,
    File { layer: usize, offset: u64, size: u64, digest: Digest },
    Symlink(Vec<u8>),
}

impl Item {
    fn same(&self, other: &Item) -> bool {
        let what = match (&self.what, &other.what) {
            (What::Folder, What::Folder) => true,
            (What::File { size, digest, .. }, What::File { size: other_size, digest: other, .. }) => {
                size == other_size && digest == other
            }
            (What::Symlink(target), What::Symlink(other)) => target == other,
            _ => false,
        };
        what && self.mode == other.mode && self.mtime == other.mtime
    }
}

/// What one tree adds to those below it.
#[derive(Debug, Default)]
struct Delta {
    folders: BTreeMap<EntryPath, Item>,
    /// Files and symbolic links; of a file with several names, the first.
    files: Vec<(EntryPath, Item)>,
    /// Further names: new name, first name.
    links: Vec<(EntryPath, EntryPath)>,
    whiteouts: Vec<EntryPath>,
}

impl Plain {
    fn of(merged: &Merged, epoch: i64) -> Result<Plain, Fault> {
        let mut merged = merged.clone();
        merged.settle();
        let mut plain = Plain::default();
        for node in merged.nodes() {
            let entry = holder(&node.entry, &merged);
            let whose = merged.get(&entry.path).map_or(node.layer, |node| node.layer);
            let what = match &entry.kind {
                Kind::Directory => What::Folder,
                Kind::File { size, offset, digest } if is_plain(entry) => {
                    What::File { layer: whose, offset: *offset, size: *size, digest: *digest }
                }
                Kind::Symlink(target) if is_plain(entry) => What::Symlink(target.clone()),
                _ => continue,
            };
            if let Kind::Hardlink(first) = &node.entry.kind {
                let names = plain.links.entry(first.clone()).or_insert_with(|| vec![first.clone()]);
                names.push(node.entry.path.clone());
            }
            // A directory that is not plain is seen through the special one on top.
            let mode = if is_plain(entry) { entry.mode & 0o777 } else { 0o755 };
            let item = Item { what, mode, mtime: entry.mtime.clamp(0, epoch.max(0)) };
            plain.add(node.entry.path.clone(), item)?;
        }
        Ok(plain)
    }

    /// Every path must lead through directories alone: so nothing is ever written through a link.
    fn add(&mut self, path: EntryPath, item: Item) -> Result<(), Fault> {
        let parent = path.parent().filter(|parent| !parent.is_root());
        let is_folder =
            |path: &EntryPath| self.items.get(path).is_some_and(|item| matches!(item.what, What::Folder));
        if parent.is_some_and(|parent| !is_folder(&parent)) {
            let message = format!("`{path}` lies in something that is no directory");
            return Err(Fault::build("tree/path", message));
        }
        self.items.insert(path, item);
        Ok(())
    }

    /// What this adds to `below`.
    fn since(&self, below: &Plain) -> Delta {
        let changed = self.changed(below);
        let mut delta = Delta::default();
        let mut further: BTreeMap<&EntryPath, &EntryPath> = BTreeMap::new();
        for (first, names) in &self.links {
            further.extend(names.iter().filter(|name| *name != first).map(|name| (name, first)));
        }
        for path in changed {
            let Some(item) = self.items.get(path) else { continue };
            match (&item.what, further.get(path)) {
                (What::Folder, _) => drop(delta.folders.insert(path.clone(), item.clone())),
                (_, Some(first)) => delta.links.push((path.clone(), (*first).clone())),
                (_, None) => delta.files.push((path.clone(), item.clone())),
            }
            self.passages(path, &mut delta.folders);
        }
        for path in below.items.keys().filter(|path| !self.items.contains_key(*path)) {
            let parent = path.parent().unwrap_or_default();
            let shows = parent.is_root()
                || self.items.get(&parent).is_some_and(|item| matches!(item.what, What::Folder));
            if shows {
                delta.whiteouts.push(path.clone());
                self.passages(path, &mut delta.folders);
            }
        }
        delta
    }

    /// Paths that are new or other than below. A file with several names counts as a whole.
    fn changed<'a>(&'a self, below: &'a Plain) -> BTreeSet<&'a EntryPath> {
        let differs =
            |(path, item): &(&EntryPath, &Item)| below.items.get(*path).is_none_or(|there| !there.same(item));
        let mut changed: BTreeSet<&EntryPath> =
            self.items.iter().filter(differs).map(|(path, _)| path).collect();
        for (first, names) in &self.links {
            let same = below.links.get(first) == Some(names);
            if !same || names.iter().any(|name| changed.contains(name)) {
                changed.extend(names);
            }
        }
        for (first, names) in &below.links {
            if self.links.get(first) != Some(names) {
                let still = names.iter().filter_map(|name| self.items.get_key_value(name));
                let still: Vec<&EntryPath> = still.map(|(path, _)| path).collect();
                changed.extend(still);
            }
        }
        // The names that those are linked to now come along.
        for names in self.links.values() {
            if names.iter().any(|name| changed.contains(name)) {
                changed.extend(names);
            }
        }
        changed
    }

    /// Adds the directories on the way to `path`.
    fn passages(&self, path: &EntryPath, folders: &mut BTreeMap<EntryPath, Item>) {
        let mut at = path.parent();
        while let Some(folder) = at.filter(|folder| !folder.is_root()) {
            if folders.contains_key(&folder) {
                return;
            }
            if let Some(item) = self.items.get(&folder) {
                folders.insert(folder.clone(), item.clone());
            }
            at = folder.parent();
        }
    }
}

/// Writes a tree aside and puts it into its place.
fn make(key: Digest, delta: &Delta, stack: &Stack, world: &World, job: &Job<'_>) -> Result<PathBuf, Fault> {
    let path = world.store.stage()?.path("tree");
    let failed = |error: io::Error| Fault::io("write", &path, &error);
    fs::create_dir(&path).map_err(failed)?;
    let maker = Maker { path: &path, root: open_folder(&path).map_err(failed)?, stack, job };
    for folder in delta.folders.keys().filter(|path| !path.is_root()) {
        rustix::fs::mkdirat(&maker.root, folder.as_os_str(), Mode::from_raw_mode(0o700))
            .map_err(|error| maker.failed(folder, error.into()))?;
    }
    maker.files(&delta.files, world.threads)?;
    for (name, first) in &delta.links {
        rustix::fs::linkat(&maker.root, first.as_os_str(), &maker.root, name.as_os_str(), AtFlags::empty())
            .map_err(|error| maker.failed(name, error.into()))?;
    }
    for whiteout in &delta.whiteouts {
        let (kind, mode) = (FileType::CharacterDevice, Mode::empty());
        rustix::fs::mknodat(&maker.root, whiteout.as_os_str(), kind, mode, 0)
            .map_err(|error| maker.failed(whiteout, error.into()))?;
    }
    for (folder, item) in delta.folders.iter().rev().filter(|(path, _)| !path.is_root()) {
        maker.finish_folder(folder, item).map_err(|error| maker.failed(folder, error))?;
    }
    rustix::fs::fchmod(&maker.root, Mode::from_raw_mode(0o755)).map_err(|error| failed(error.into()))?;
    world.store.keep_tree(key, &path, holdings(delta))
}

fn holdings(delta: &Delta) -> Holdings {
    let mut holdings = Holdings::default();
    let mut add = |path: &EntryPath, item: &Item| {
        let held = match &item.what {
            What::Folder => Held::Folder,
            What::File { size, digest, .. } => Held::File(*size, *digest),
            What::Symlink(target) => Held::Symlink(target),
        };
        holdings.add(path.as_bytes(), &held, item.mode, item.mtime);
    };
    let by_path: BTreeMap<&EntryPath, &Item> = delta.files.iter().map(|(path, item)| (path, item)).collect();
    delta.folders.iter().filter(|(path, _)| !path.is_root()).for_each(|(path, item)| add(path, item));
    delta.files.iter().for_each(|(path, item)| add(path, item));
    for (name, first) in &delta.links {
        if let Some(item) = by_path.get(first) {
            add(name, item);
        }
    }
    for path in &delta.whiteouts {
        holdings.add(path.as_bytes(), &Held::Whiteout, 0, 0);
    }
    holdings
}

struct Maker<'a> {
    path: &'a Path,
    root: OwnedFd,
    stack: &'a Stack,
    job: &'a Job<'a>,
}

/// Below this a system call of its own costs more than copying.
const WORTHWHILE: u64 = 64 * 1024;

impl Maker<'_> {
    /// Writes files on several threads; the first mistake ends the work.
    fn files(&self, files: &[(EntryPath, Item)], threads: usize) -> Result<(), Fault> {
        const RUN: usize = 32;
        let next = AtomicUsize::new(0);
        let work = || -> Result<(), Fault> {
            let mut buffer = Vec::with_capacity(WORTHWHILE as usize);
            loop {
                self.job.go_on()?;
                let start = next.fetch_add(RUN, Ordering::Relaxed).min(files.len());
                let run = files.get(start..(start + RUN).min(files.len())).unwrap_or_default();
                if run.is_empty() {
                    return Ok(());
                }
                for (path, item) in run {
                    if let Err(error) = self.file(path, item, &mut buffer) {
                        next.store(files.len(), Ordering::Relaxed);
                        return Err(self.failed(path, error));
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(work)).collect();
            let mut result = work();
            for other in others {
                let ended = other.join().unwrap_or_else(|_| {
                    Err(Fault::build("tree/thread", "a thread that wrote a tree broke down"))
                });
                result = result.and(ended);
            }
            result
        })
    }

    fn file(&self, path: &EntryPath, item: &Item, buffer: &mut Vec<u8>) -> io::Result<()> {
        let (layer, offset, size) = match &item.what {
            What::Folder => return Ok(()),
            What::Symlink(target) => {
                rustix::fs::symlinkat(target.as_slice(), &self.root, path.as_os_str())?;
                return Ok(rustix::fs::utimensat(
                    &self.root,
                    path.as_os_str(),
                    &times(item.mtime),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?);
            }
            What::File { layer, offset, size, .. } => (*layer, *offset, *size),
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.root, path.as_os_str(), flags, Mode::from_raw_mode(0o600))?;
        let mut file = File::from(file);
        if let Some(layer) = self.stack.layers.get(layer) {
            let tar = &layer.layer.tar;
            if size >= WORTHWHILE {
                copy_by_kernel(tar, offset, size, &mut file)?;
            } else if size > 0 {
                buffer.resize(size as usize, 0);
                std::os::unix::fs::FileExt::read_exact_at(&**tar, buffer, offset)?;
                io::Write::write_all(&mut file, buffer)?;
            }
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(item.mode))?;
        rustix::fs::futimens(&file, &times(item.mtime))?;
        Ok(())
    }

    fn finish_folder(&self, path: &EntryPath, item: &Item) -> io::Result<()> {
        let none = AtFlags::empty();
        rustix::fs::utimensat(&self.root, path.as_os_str(), &times(item.mtime), none)?;
        Ok(rustix::fs::chmodat(&self.root, path.as_os_str(), Mode::from_raw_mode(item.mode), none)?)
    }

    fn failed(&self, path: &EntryPath, error: io::Error) -> Fault {
        Fault::io("write", &self.path.join(path.as_os_str()), &error)
    }
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn times(mtime: i64) -> Timestamps {
    let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
pub(super) mod tests;
