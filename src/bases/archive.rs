//! `base "tar"`: a root file system from a tar file.

use std::path::PathBuf;
use std::sync::Arc;

use super::Kind;
use crate::fault::{Fault, Place};
use crate::key::Key;
use crate::lang::{Field, Form, Node, Spanned, Word};
use crate::layer::EntryPath;
use crate::layer::read::Rules;
use crate::steps::archive::take_in;
use crate::work::{Facts, Folders, Job, Made, Stack, Step, World};

pub(super) const KIND: Kind = Kind { word: &WORD, decode };

static WORD: Word = Word {
    name: "tar",
    summary: "a root file system from a tar file",
    docs: "The tar may be plain or compressed with gzip, bzip2, xz or zstd; its content says which. Owners, modes, \
           links, devices and extended attributes are kept; times too, but none is later than the epoch. \
           Entries that climb out of the root, sparse files and broken headers are refused.",
    example: "image \"router\" {\n    base \"tar\" from=\"rootfs.tar.xz\"\n    output \"tar\"\n}\n",
    properties: &[Field::new("from", Form::Path, "The tar file.").required()],
    ..Word::BARE
};

#[derive(Debug)]
struct TarBase {
    place: Place,
    from: Spanned<String>,
    path: PathBuf,
}

fn decode(node: &Node, folders: &Folders) -> Option<Arc<dyn Step>> {
    let from = node.text("from")?;
    Some(Arc::new(TarBase { place: node.place.clone(), path: folders.path(&from), from }))
}

impl Step for TarBase {
    fn id(&self) -> String {
        format!("base:tar {}", self.from.value)
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

    fn facts(&self, world: &World, _parallel: bool) -> Result<Facts, Fault> {
        let file = world.memory.file(&self.path).map_err(|fault| fault.at(&self.from.place, "named here"))?;
        let mut facts = Facts::new(Key::new("base-tar", 1));
        facts.file("from", &self.path, world, file);
        facts.key.fact("epoch", world.epoch);
        Ok(facts)
    }

    fn make(&self, world: &World, _below: &Stack, job: &Job<'_>) -> Result<Made, Fault> {
        let rules = Rules {
            to: EntryPath::root(),
            owner: None,
            epoch: world.epoch,
            keep_times: true,
            root_counts: true,
        };
        let layer = take_in(&self.path, &rules, |_| {}, world, job)
            .map_err(|fault| fault.at(&self.from.place, "named here"))?;
        Ok(Made { layer, found: Vec::new() })
    }
}
