//! Tools: the programs that write formats, out of a small locked Debian tree of their own.
//!
//! The tree is unpacked packages and nothing more: none is configured, so none of their scripts ever runs. The step's
//! layer names what the tree is made of, so that an output which uses the tools depends on every byte of them; the
//! packages themselves are steps like those of any image, and shared with them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufWriter;

use crate::fault::{Fault, Place};
use crate::key::{Digest, Key};
use crate::lang::Owner;
use crate::layer::{Entry, EntryPath, Kind, LayerWriter};
use crate::store::Layer;
use crate::work::{Facts, Job, Made, Stack, State, Step, TOOLS, World};

/// One tool and what it needs to run.
#[derive(Debug)]
pub struct Tools {
    /// The package that has the tool: `erofs-utils`.
    pub name: String,
    /// The first output that needs it.
    pub place: Place,
    /// The ids of the packages' steps.
    pub debs: BTreeSet<String>,
}

impl Step for Tools {
    fn id(&self) -> String {
        format!("{TOOLS}:{}", self.name)
    }
    fn kind(&self) -> &'static str {
        TOOLS
    }
    fn name(&self) -> String {
        self.name.clone()
    }
    fn place(&self) -> &Place {
        &self.place
    }
    fn is_aside(&self) -> bool {
        true
    }
    fn stands_on(&self, other: &dyn Step) -> bool {
        self.debs.contains(&other.id())
    }

    fn facts(&self, world: &World, _parallel: bool) -> Result<Facts, Fault> {
        let mut key = Key::new(TOOLS, 1);
        key.fact("epoch", world.epoch);
        Ok(Facts::new(key))
    }

    fn state(&self, world: &World, below: &Stack, job: &Job<'_>) -> Result<Option<State>, Fault> {
        State::of(below.clone(), world, job).map(Some)
    }

    fn make(&self, world: &World, below: &Stack, job: &Job<'_>) -> Result<Made, Fault> {
        // Whoever uses the tools finds their tree made.
        self.state(world, below, job)?;
        let text: String =
            below.layers.iter().map(|layer| format!("{} {}\n", layer.step, layer.layer.id)).collect();
        Ok(Made { layer: listing_layer(&text, world)?, found: Vec::new() })
    }
}

/// A layer that says what a tool is made of.
pub(super) fn listing_layer(text: &str, world: &World) -> Result<Layer, Fault> {
    let path = world.store.stage()?.path("layer.tar");
    let write = || -> std::io::Result<_> {
        let mut writer = LayerWriter::new(BufWriter::new(File::create_new(&path)?));
        writer.file(listing(text, world.epoch), text.len() as u64, &mut text.as_bytes())?;
        Ok(writer.finish()?.1)
    };
    let index = write().map_err(|error| Fault::io("write", &path, &error))?;
    world.store.keep_layer(&path, index)
}

fn listing(text: &str, epoch: i64) -> Entry {
    let kind = Kind::File { size: text.len() as u64, digest: Digest::of(text), offset: 0 };
    let path = EntryPath::parse("packages").unwrap_or_default();
    Entry { path, kind, mode: 0o644, owner: Owner::ROOT, mtime: epoch, xattrs: Vec::new(), weak: false }
}
