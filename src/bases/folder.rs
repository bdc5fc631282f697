//! `base "dir"`: a root file system from a folder.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::Kind;
use crate::fault::{Fault, Place};
use crate::key::Key;
use crate::lang::Owner;
use crate::lang::value::Id;
use crate::lang::{Field, Form, Node, Spanned, Word};
use crate::layer::{Entry, EntryPath, Kind as EntryKind};
use crate::steps::folder::{Times, take_in};
use crate::tree::{Detail, Filter};
use crate::work::{Facts, Folders, Job, Made, Stack, Step, World};

pub(super) const KIND: Kind = Kind { word: &WORD, decode };

static WORD: Word = Word {
    name: "dir",
    summary: "a root file system from a folder",
    docs: "The folder is taken as it is: owners, modes, hard links, devices and extended attributes are kept, so it \
           should be one that a tool for root file systems made. Times are kept, but none is later than the epoch. For \
           files of the project, whose owners and modes mean nothing, use an `overlay`.",
    example: "image \"router\" {\n    base \"dir\" from=\"/srv/rootfs\"\n    output \"tar\"\n}\n",
    properties: &[Field::new("from", Form::Path, "The folder.").required()],
    ..Word::BARE
};

#[derive(Debug)]
struct FolderBase {
    place: Place,
    from: Spanned<String>,
    path: PathBuf,
}

fn decode(node: &Node, folders: &Folders) -> Option<Arc<dyn Step>> {
    let from = node.text("from")?;
    Some(Arc::new(FolderBase { place: node.place.clone(), path: folders.path(&from), from }))
}

impl Step for FolderBase {
    fn id(&self) -> String {
        format!("base:dir {}", self.from.value)
    }
    fn kind(&self) -> &'static str {
        "base"
    }
    fn name(&self) -> String {
        "base".into()
    }
    fn place(&self) -> &Place {
        &self.place
    }

    fn facts(&self, world: &World, parallel: bool) -> Result<Facts, Fault> {
        let tree = world
            .memory
            .tree(&self.path, &Filter::all(), Detail::Whole, parallel)
            .map_err(|fault| fault.at(&self.from.place, "named here"))?;
        let mut facts = Facts::new(Key::new("base-dir", 2));
        facts.tree("from", &self.path, world, tree);
        let root = self.root(world)?;
        facts.key.fact("root", format_args!("{:04o} {} {}", root.mode, root.owner, root.mtime));
        facts.key.fact("epoch", world.epoch);
        Ok(facts)
    }

    fn make(&self, world: &World, _below: &Stack, job: &Job<'_>) -> Result<Made, Fault> {
        let tree = world.memory.tree(&self.path, &Filter::all(), Detail::Whole, false)?;
        let times = Times { epoch: world.epoch, keep: true };
        let root = self.root(world)?;
        let change = |entries: &mut Vec<Entry>| entries.push(root);
        let layer = take_in(&self.path, &tree, &EntryPath::root(), times, change, world, job)?;
        Ok(Made { layer, found: Vec::new() })
    }
}

impl FolderBase {
    /// The folder itself, which becomes the image's root.
    fn root(&self, world: &World) -> Result<Entry, Fault> {
        let metadata =
            std::fs::metadata(&self.path).map_err(|error| Fault::io("look at", &self.path, &error))?;
        Ok(Entry {
            path: EntryPath::root(),
            kind: EntryKind::Directory,
            mode: metadata.mode() & 0o7777,
            owner: Owner { user: Id::Number(metadata.uid()), group: Id::Number(metadata.gid()) },
            mtime: metadata.mtime().clamp(0, world.epoch),
            xattrs: Vec::new(),
            weak: false,
        })
    }
}
