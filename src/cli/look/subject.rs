//! What is looked at: the entries of an image, a layer, a tar file or a folder, and where each comes from.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::archive;
use super::convert;
use super::demand::build_layers;
use super::disk::{Disk, nothing_on};
use super::meaning::{self, Meaning};
use crate::cli::session::Session;
use crate::fault::{Fault, Faults};
use crate::filesystems::table::system;
use crate::layer::{Entry, EntryPath, Kind, Merged};
use crate::wording;
use crate::work::Stack;

/// Something that was looked at.
#[derive(Debug)]
pub struct Subject {
    /// What people call it.
    name: String,
    /// Its entries in order: as seen from above, or as they stand in its one layer.
    pub items: Vec<Item>,
    /// The layers that they come from.
    pub stack: Stack,
    /// The entries as seen from above.
    merged: Merged,
    origin: Origin,
}

/// Where contents are.
#[derive(Debug)]
enum Origin {
    /// In the layers of the stack.
    Layers,
    Folder(PathBuf),
    Disk(Disk),
}

/// An entry, and where it comes from.
#[derive(Clone, Debug)]
pub struct Item {
    /// The entry.
    pub entry: Entry,
    /// Its layer's position in the stack; none if there is only one anyway.
    pub layer: Option<usize>,
    /// Layers below whose file at this path it hides, lowest first.
    pub hides: Vec<usize>,
}

/// Whether somebody will ask for contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Nobody will.
    Unread,
    /// They are kept within reach.
    Kept,
}

impl Subject {
    /// What `what` means here; its layers are built if they are out of date.
    ///
    /// # Errors
    ///
    /// There is no such thing, it cannot be built or read; a `partition` of what is no disk.
    pub fn find(
        session: &Session,
        what: &str,
        partition: Option<u32>,
        contents: Contents,
    ) -> Result<Subject, Faults> {
        let meaning = meaning::of(session, what)?;
        if partition.is_some() && !matches!(meaning, Meaning::Tar(_)) {
            return Err(no_disk(what).into());
        }
        match meaning {
            Meaning::Image { mut project, graph, stack, .. } => {
                let stack = build_layers(session, &mut project, graph, &stack)?;
                Ok(Subject::of_image(what, stack, project.world.epoch)?)
            }
            Meaning::Layer { mut project, graph, step } => {
                let stack = build_layers(session, &mut project, graph, &[step])?;
                Ok(Subject::of_layer(what, stack)?)
            }
            Meaning::Tar(path) => Subject::of_file(session, what, &path, partition, contents),
            Meaning::Folder(path) => {
                let entries = archive::folder(&path)?;
                Ok(Subject::of_entries(what, entries, Origin::Folder(path))?)
            }
        }
    }

    /// The overlay of that name.
    pub fn overlay(session: &Session, name: &str) -> Result<Subject, Faults> {
        let (mut project, graph, step) = meaning::overlay(session, name)?;
        let stack = build_layers(session, &mut project, graph, &[step])?;
        Ok(Subject::of_layer(name, stack)?)
    }

    /// The disk, or the tar, at `path`.
    fn of_file(
        session: &Session,
        what: &str,
        path: &Path,
        partition: Option<u32>,
        contents: Contents,
    ) -> Result<Subject, Faults> {
        let (converted, mut warnings) = (convert::raw(session, path)?, Faults::new());
        let (disk, kind) = match &converted {
            Some(raw) => {
                let disk = Disk::open(path, raw, partition, &mut warnings)?;
                (Some(disk.ok_or_else(|| nothing_on(path))?), None)
            }
            None => {
                let file = File::open(path).map_err(|error| Fault::io("read", path, &error))?;
                match archive::is_one(&file) {
                    true => (None, None),
                    false => (Disk::open(path, &file, partition, &mut warnings)?, system(&file, 0)),
                }
            }
        };
        session.warn(&warnings);
        match (disk, kind) {
            (Some(disk), _) => {
                let entries = disk.entries()?;
                Ok(Subject::of_entries(what, entries, Origin::Disk(disk))?)
            }
            (None, _) if partition.is_some() => Err(no_disk(what).into()),
            (None, Some(kind)) => {
                let message = format!("`{}` is {kind}, which is not looked into", wording::printable(what));
                Err(Fault::error("look/kind", message).help(archive::HELP).into())
            }
            (None, None) => Ok(Subject::of_layer(what, archive::tar(path, contents)?)?),
        }
    }

    fn of_image(name: &str, stack: Stack, epoch: i64) -> Result<Subject, Fault> {
        let merged = stack.image(epoch)?;
        let placed = placed(&stack);
        let item = |node: &crate::layer::merge::Node| {
            let is_directory = node.entry.kind == Kind::Directory;
            let below = placed.get(&node.entry.path).into_iter().flatten();
            let mut hides: Vec<usize> = below
                .filter(|(layer, directory)| *layer < node.layer && !(*directory && is_directory))
                .map(|(layer, _)| *layer)
                .collect();
            hides.dedup();
            Item { entry: node.entry.clone(), layer: Some(node.layer), hides }
        };
        let items = merged.nodes().map(item).collect();
        Ok(Subject { name: name.to_string(), items, stack, merged, origin: Origin::Layers })
    }

    /// A layer by itself: its markers about what is below are part of it.
    fn of_layer(name: &str, stack: Stack) -> Result<Subject, Fault> {
        let merged = stack.merged()?;
        let entries = stack.layers.iter().flat_map(|layer| &layer.layer.index.entries);
        let items =
            entries.map(|entry| Item { entry: entry.clone(), layer: None, hides: Vec::new() }).collect();
        Ok(Subject { name: name.to_string(), items, stack, merged, origin: Origin::Layers })
    }

    /// What is in no layer.
    fn of_entries(name: &str, entries: Vec<Entry>, origin: Origin) -> Result<Subject, Fault> {
        let mut merged = Merged::default();
        merged.add_layer(0, &entries).map_err(|bad| {
            Fault::build("look/folder", format!("`{}` makes no image: {bad}", wording::printable(name)))
        })?;
        let items = entries.into_iter().map(|entry| Item { entry, layer: None, hides: Vec::new() }).collect();
        Ok(Subject { name: name.to_string(), items, stack: Stack::default(), merged, origin })
    }

    /// The entries at `path` and below it.
    pub fn within(&self, path: &EntryPath) -> Result<Vec<&Item>, Fault> {
        let inside: Vec<&Item> =
            self.items.iter().filter(|item| item.entry.path.below(path).is_some()).collect();
        if inside.is_empty() && !path.is_root() { Err(self.missing(path)) } else { Ok(inside) }
    }

    /// Has the digests told of those of its files that are asked for: those of a disk are not known until then.
    pub fn tell_digests(&mut self, is_asked: impl Fn(&Entry) -> bool) -> Result<(), Fault> {
        let Origin::Disk(disk) = &self.origin else { return Ok(()) };
        let is_asked = |entry: &Entry| matches!(entry.kind, Kind::File { .. }) && is_asked(entry);
        let asked: Vec<&mut Entry> =
            self.items.iter_mut().map(|item| &mut item.entry).filter(|entry| is_asked(entry)).collect();
        let digests: Vec<_> = asked.par_iter().map(|entry| disk.digest(&entry.path)).collect();
        for (entry, told) in asked.into_iter().zip(digests) {
            if let Kind::File { digest, .. } = &mut entry.kind {
                *digest = told?;
            }
        }
        Ok(())
    }

    /// The content of the file that `path` leads to.
    pub fn content(&self, path: &EntryPath) -> Result<Box<dyn Read + '_>, Fault> {
        let Some(node) = self.merged.file(path) else { return Err(self.no_file(path)) };
        let failed = |path: &Path, error: io::Error| Fault::io("read", path, &error);
        match &self.origin {
            Origin::Folder(folder) => {
                let path = folder.join(node.entry.path.as_os_str());
                let file = File::open(&path).map_err(|error| failed(&path, error))?;
                Ok(Box::new(file))
            }
            Origin::Disk(disk) => {
                disk.content(&node.entry.path).map_err(|error| failed(Path::new(&self.name), error))
            }
            Origin::Layers => {
                let layer = self.stack.layer_of(node).ok_or_else(|| self.missing(path))?;
                Ok(Box::new(layer.content(&node.entry)))
            }
        }
    }

    fn no_file(&self, path: &EntryPath) -> Fault {
        let Some(node) = self.merged.get(path).filter(|_| !path.is_root()) else {
            if path.is_root() {
                return self.is_directory(path);
            }
            return self.missing(path);
        };
        match &node.entry.kind {
            Kind::Directory => self.is_directory(path),
            Kind::Symlink(target) => {
                let target = wording::printable(&String::from_utf8_lossy(target));
                let message =
                    format!("`{path}` in `{}` leads to `{target}`, which is no file in it", self.shown());
                Fault::error("look/link", message)
            }
            _ => Fault::error("look/content", format!("`{path}` in `{}` has no content", self.shown())),
        }
    }

    fn is_directory(&self, path: &EntryPath) -> Fault {
        Fault::error("look/directory", format!("`{path}` in `{}` is a directory", self.shown()))
            .help(format!("see what is in it with `imgbuild ls {} {path}`", self.shown()))
    }

    fn missing(&self, path: &EntryPath) -> Fault {
        let paths: Vec<String> = self.items.iter().map(|item| item.entry.path.to_string()).collect();
        let fault = Fault::error("look/missing", format!("`{}` has no `{path}`", self.shown()));
        let near = wording::nearest(&path.to_string(), paths.iter().map(String::as_str));
        match near {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault.help(format!("see what there is with `imgbuild ls {}`", self.shown())),
        }
    }

    fn shown(&self) -> String {
        wording::printable(&self.name)
    }
}

/// What has partitions is a file.
fn no_disk(what: &str) -> Fault {
    let message = format!("`{}` is no disk, and has no partitions", wording::printable(what));
    Fault::error("look/partition", message).help("name the file of a disk, or leave `--partition` away")
}

/// The layers that put something of their own at each path, lowest first, and whether it is a directory.
fn placed(stack: &Stack) -> HashMap<EntryPath, Vec<(usize, bool)>> {
    let mut placed: HashMap<EntryPath, Vec<(usize, bool)>> = HashMap::new();
    let mut merged = Merged::default();
    for (number, layer) in stack.layers.iter().enumerate() {
        for entry in &layer.layer.index.entries {
            // The merge that is shown has gone well, and so does this one.
            let Ok(path) = merged.add(number, entry.clone()) else { continue };
            if !entry.is_whiteout() && !entry.weak {
                placed.entry(path).or_default().push((number, entry.kind == Kind::Directory));
            }
        }
    }
    placed
}
