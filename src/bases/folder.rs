//! `base "dir"`: a root file system from a folder.

use std::path::PathBuf;
use std::sync::Arc;

use super::Kind;
use crate::fault::{Fault, Place};
use crate::key::Key;
use crate::lang::{Field, Form, Node, Spanned, Word};
use crate::layer::EntryPath;
use crate::steps::folder::{Times, take_in};
use crate::tree::{Detail, Filter};
use crate::work::{Facts, Folders, Job, Made, Step, World};

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
        let mut facts = Facts::new(Key::new("base-dir", 1));
        facts.tree("from", &self.path, world, tree);
        facts.key.fact("epoch", world.epoch);
        Ok(facts)
    }

    fn make(&self, world: &World, job: &Job<'_>) -> Result<Made, Fault> {
        let tree = world.memory.tree(&self.path, &Filter::all(), Detail::Whole, false)?;
        let times = Times { epoch: world.epoch, keep: true };
        let layer = take_in(&self.path, &tree, &EntryPath::root(), times, |_| {}, world, job)?;
        Ok(Made { layer, found: Vec::new() })
    }
}
