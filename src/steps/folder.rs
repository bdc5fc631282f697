//! A folder as a layer: an overlay that is one, or a base. From the project's files into a tar in one pass.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::archive::changed_meanwhile;
use super::overlay::Overlay;
use crate::fault::{Fault, Place};
use crate::key::{Digest, Key};
use crate::lang::Owner;
use crate::lang::value::Id;
use crate::layer::{Entry, EntryPath, Index, Kind, LayerWriter};
use crate::store::Layer;
use crate::tree::{Detail, Item, Tree, What};
use crate::work::{Facts, Job, Made, Stack, Step, World};

/// An overlay that is a folder of files.
#[derive(Debug)]
pub struct FolderOverlay {
    /// What the manifest says of it.
    pub overlay: Overlay,
    /// The folder.
    pub path: PathBuf,
}

impl FolderOverlay {
    fn tree(&self, world: &World, parallel: bool) -> Result<std::sync::Arc<Tree>, Fault> {
        let tree = world.memory.tree(&self.path, &self.overlay.filter, self.overlay.detail(), parallel);
        tree.map_err(|fault| fault.at(self.place(), "this overlay"))
    }
}

impl Step for FolderOverlay {
    fn id(&self) -> String {
        self.overlay.id()
    }
    fn kind(&self) -> &'static str {
        "overlay"
    }
    fn name(&self) -> String {
        self.overlay.name.value.clone()
    }
    fn place(&self) -> &Place {
        &self.overlay.name.place
    }

    fn facts(&self, world: &World, parallel: bool) -> Result<Facts, Fault> {
        let mut facts = Facts::new(Key::new("overlay-folder", 1));
        facts.tree("folder", &self.path, world, self.tree(world, parallel)?);
        self.overlay.facts(world, &mut facts);
        Ok(facts)
    }

    fn make(&self, world: &World, _below: &Stack, job: &Job<'_>) -> Result<Made, Fault> {
        let tree = self.tree(world, false)?;
        let change = |entries: &mut Vec<Entry>| self.overlay.adapt(entries);
        let times = Times { epoch: world.epoch, keep: false };
        let layer = take_in(&self.path, &tree, &self.overlay.to, times, change, world, job)
            .map_err(|fault| fault.at(self.place(), "this overlay"))?;
        Ok(Made { layer, found: Vec::new() })
    }
}

/// What becomes of times.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Seconds since 1970.
    pub epoch: i64,
    /// Whether times up to the epoch are kept; otherwise all are the epoch.
    pub keep: bool,
}

/// Makes a layer of the folder at `root`, which holds `tree`, below `to`; `change` may set modes and owners, and add entries.
pub fn take_in(
    root: &Path,
    tree: &Tree,
    to: &EntryPath,
    times: Times,
    change: impl FnOnce(&mut Vec<Entry>),
    world: &World,
    job: &Job<'_>,
) -> Result<Layer, Fault> {
    let mut entries = entries(tree, to, times)?;
    change(&mut entries);
    entries.sort_by(Entry::order);
    let path = world.store.stage()?.path("layer.tar");
    let out = File::create_new(&path).map_err(|error| Fault::io("write", &path, &error))?;
    let source = Source { root, to, world };
    let index = source.write(entries, BufWriter::with_capacity(1 << 20, out), &path, job)?;
    world.store.keep_layer(&path, index)
}

/// The entries of a tree; contents are still where they are, but their digests are known.
pub fn entries(tree: &Tree, to: &EntryPath, times: Times) -> Result<Vec<Entry>, Fault> {
    let mut entries = passages(to, times.epoch);
    let mut first_names: HashMap<u64, EntryPath> = HashMap::new();
    tree.visit(&mut |path: &[u8], item: &Item| -> Result<(), Fault> {
        let path = EntryPath::parse([to.as_bytes(), path].join(&b'/')).map_err(|bad| {
            let shown = String::from_utf8_lossy(path).into_owned();
            Fault::build("tree/path", format!("`{shown}` cannot be in an image: {bad}"))
        })?;
        let mut entry = entry(path, item, tree.detail, times);
        if let Some(marker) = marker(&entry) {
            entry = marker;
        } else if tree.detail == Detail::Whole && matches!(item.what, What::File(_)) {
            match first_names.get(&item.stamp.inode) {
                Some(first) => entry.kind = Kind::Hardlink(first.clone()),
                None => drop(first_names.insert(item.stamp.inode, entry.path.clone())),
            }
        }
        entries.push(entry);
        Ok(())
    })?;
    Ok(entries)
}

/// The directories on the way to `to`.
pub fn passages(to: &EntryPath, epoch: i64) -> Vec<Entry> {
    let mut path = EntryPath::root();
    let mut entries = Vec::new();
    for component in to.components() {
        path = path.join(component);
        entries.push(Entry::passage(path.clone(), epoch));
    }
    entries
}

fn entry(path: EntryPath, item: &Item, detail: Detail, times: Times) -> Entry {
    let kind = match &item.what {
        What::Folder(_) => Kind::Directory,
        What::File(digest) => Kind::File { size: item.stamp.size, digest: *digest, offset: 0 },
        What::Symlink(target) => Kind::Symlink(target.to_vec()),
        What::Fifo => Kind::Fifo,
        What::Character(major, minor) => Kind::Character(*major, *minor),
        What::Block(major, minor) => Kind::Block(*major, *minor),
    };
    let owner = match detail {
        Detail::Whole => Owner { user: Id::Number(item.owner.0), group: Id::Number(item.owner.1) },
        _ => Owner::ROOT,
    };
    let mtime = item.stamp.mtime.div_euclid(1_000_000_000);
    Entry {
        path,
        weak: kind == Kind::Directory && detail == Detail::Plain,
        kind,
        mode: item.mode(detail),
        owner,
        mtime: if times.keep { mtime.clamp(0, times.epoch) } else { times.epoch },
        xattrs: item.xattrs.clone(),
    }
}

/// What a file named as OCI's whiteouts are stands for.
fn marker(entry: &Entry) -> Option<Entry> {
    let Kind::File { .. } = entry.kind else { return None };
    let (path, kind) = Entry::marker(&entry.path)?;
    Some(Entry { path, kind, mode: 0o644, owner: Owner::ROOT, mtime: 0, xattrs: Vec::new(), weak: false })
}

struct Source<'a> {
    root: &'a Path,
    to: &'a EntryPath,
    world: &'a World,
}

impl Source<'_> {
    fn write(
        &self,
        entries: Vec<Entry>,
        out: BufWriter<File>,
        path: &Path,
        job: &Job<'_>,
    ) -> Result<Index, Fault> {
        let failed = |error: io::Error| Fault::io("write", path, &error);
        let mut writer = LayerWriter::new(out);
        for entry in entries {
            job.go_on()?;
            match entry.kind {
                Kind::File { size, digest, .. } => self.copy(entry, size, digest, &mut writer)?,
                _ => writer.entry(entry).map_err(failed)?,
            }
        }
        let (_, index) = writer.finish().map_err(failed)?;
        Ok(index)
    }

    fn copy(
        &self,
        entry: Entry,
        size: u64,
        digest: Digest,
        writer: &mut LayerWriter<BufWriter<File>>,
    ) -> Result<(), Fault> {
        if let Some(content) = self.world.memory.content(&digest) {
            let written = writer.known_file(entry, &content, digest);
            return written.map_err(|error| Fault::io("write", self.world.store.root(), &error));
        }
        let relative = entry.path.below(self.to).unwrap_or_default();
        let path = self.root.join(std::ffi::OsStr::from_bytes(relative));
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut file = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP) => return Err(changed_meanwhile(&path)),
            Err(error) => return Err(Fault::io("read", &path, &error.into())),
        };
        match writer.file(entry, size, &mut file) {
            Ok(written) if written == digest => Ok(()),
            Ok(_) => Err(changed_meanwhile(&path)),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                Err(changed_meanwhile(&path))
            }
            Err(error) => Err(Fault::io("copy", &path, &error)),
        }
    }
}
