//! An output: left alone, or written aside and put into its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Bench, Known, blocks, internal};
use crate::exec::event::Outcome;
use crate::exec::place::Aside;
use crate::fault::Fault;
use crate::key::Key;
use crate::plan::judge::{missing_output, stand_in};
use crate::plan::{Judged, StepId, Work};
use crate::sandbox::image::ImageRun;
use crate::store::{Past, PastOutput, Stamp};
use crate::tree::{Detail, Filter};
use crate::work::{Aids, Job, Output, Stack, TOOLS, Writing, Written, layer_facts};

/// An output, as the step that it is in the plan.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) step: StepId,
    pub(super) output: &'a dyn Output,
    /// Where it goes.
    pub(super) place: &'a Path,
    /// The steps that it stands on, lowest first.
    pub(super) below: &'a [StepId],
}

impl Bench<'_> {
    /// Writes the output, unless what is in its place is what it would write.
    pub(super) fn output(&self, wanted: Wanted<'_>) -> Result<Outcome, Fault> {
        let Wanted { step, output, place, below } = wanted;
        let judged = self.judged(step).ok_or_else(|| internal(self.id(step)))?;
        let (past, key) = (self.journal.past(self.id(step)), self.output_key(wanted, judged));
        if past.is_some_and(|past| self.stands(wanted, past, &key)) {
            self.note_written(step, &key, past.and_then(|past| past.output.as_ref()).map(|of| of.stamp));
            return Ok(Outcome::Fresh);
        }
        let mut stack = self.stack(below)?;
        // A layer that was gone and came out different when it was made again has changed the key.
        let key = self.output_key(wanted, judged);
        stack.layers.retain(|layer| layer.kind != TOOLS);
        let ((aside, written), seconds) = self.running(step, |job| self.write(wanted, &stack, job))?;
        let _turn = self.journal.turn()?;
        let stamp = aside.settle(place, output.is_folder())?;
        blocks::keep(self.id(step), self.world, &written.blocks);
        self.keep_listings(judged);
        self.journal.add(&Past {
            step: self.id(step).to_string(),
            key: key.text().to_string(),
            layers: Vec::new(),
            seconds,
            found: Vec::new(),
            stack: self.ids_below(step),
            output: Some(PastOutput {
                path: place.to_path_buf(),
                stamp,
                tree: self.folder_digest(output, place)?,
            }),
        })?;
        self.note_written(step, &key, Some(stamp));
        Ok(Outcome::Ran { seconds, changed: true, wrote: Some((place.to_path_buf(), stamp.size)) })
    }

    /// The output's key, with the layers that it stands on, as far as they are known.
    fn output_key(&self, wanted: Wanted<'_>, judged: &Judged) -> Key {
        let mut key = judged.facts.key.clone();
        layer_facts(&mut key, &self.known_below(wanted.step), wanted.output.names_layers());
        key
    }

    /// Whether the output was written under that key, and is where it was put.
    fn stands(&self, Wanted { output, place, .. }: Wanted<'_>, past: &Past, key: &Key) -> bool {
        let is_there = || missing_output(place, Some(past), output.is_folder(), self.world).is_none();
        past.key == key.text() && (output.is_report() || is_there())
    }

    /// Lets the outputs that read this one know which it is.
    fn note_written(&self, step: StepId, key: &Key, stamp: Option<Stamp>) {
        let stamp = stamp.filter(|_| self.plan.graph.is_of_host(step));
        if let Some(mut slot) = self.slot(step) {
            *slot = Some(Known { layer: stand_in(key, stamp), found: Vec::new() });
        }
    }

    /// Writes the output aside.
    fn write(&self, wanted: Wanted<'_>, stack: &Stack, job: &Job<'_>) -> Result<(Aside, Written), Fault> {
        let Wanted { step, output, place, below } = wanted;
        let aside = Aside::beside(place)?;
        let earlier = blocks::earlier(self.id(step), self.world, place);
        let aids = Aids { earlier, tools: self.tools(below, job)?, outputs: self.outputs(below) };
        let (world, path) = (self.world, aside.path());
        let written = output.write(Writing { world, job, stack, path, goes_to: place, aids });
        job.go_on()?;
        match written {
            Ok(written) => {
                let judged = self.judged(step).ok_or_else(|| internal(self.id(step)))?;
                self.unchanged(output, judged).map(|()| (aside, written))
            }
            Err(fault) => {
                if output.is_report() {
                    // Where that cannot be, the failure is told all the same.
                    let _ = self.keep_failed(step, aside, place);
                }
                Err(fault)
            }
        }
    }

    /// The trees of the tools among what an output stands on.
    fn tools(&self, below: &[StepId], job: &Job<'_>) -> Result<BTreeMap<String, ImageRun>, Fault> {
        let graph = &self.plan.graph;
        let mut trees = BTreeMap::new();
        for step in below {
            let Some(tools) = graph.layer(*step).filter(|layer| layer.kind() == TOOLS) else { continue };
            let stack = self.stack(graph.needs(*step))?;
            let state = tools.state(self.world, &stack, job)?;
            trees.extend(state.map(|state| (tools.name(), state.run)));
        }
        Ok(trees)
    }

    /// The outputs among what an output stands on.
    fn outputs(&self, below: &[StepId]) -> Vec<(&'static str, PathBuf)> {
        let written = below.iter().filter_map(|step| match &self.plan.graph.task(*step).work {
            Work::Output { output, path, .. } => Some((output.kind(), path.clone())),
            Work::Layer { .. } => None,
        });
        written.collect()
    }

    /// What an output reads of the project must be, behind the writing, what its key says.
    fn unchanged(&self, output: &dyn Output, judged: &Judged) -> Result<(), Fault> {
        if judged.facts.sources.is_empty() {
            return Ok(());
        }
        self.world.memory.look_again();
        if output.facts(self.world)?.key == judged.facts.key {
            return Ok(());
        }
        Err(Fault::build(
            "source/changed",
            "what this output reads of the project changed while it was written",
        )
        .at(output.place(), "this output")
        .help("build again when nobody writes to it any more"))
    }

    /// Puts what an output that failed has written into its place, where it is imgbuild's and nobody's result.
    fn keep_failed(&self, step: StepId, aside: Aside, place: &Path) -> Result<(), Fault> {
        let _turn = self.journal.turn()?;
        let stamp = aside.settle(place, false)?;
        self.journal.add(&Past {
            step: self.id(step).to_string(),
            key: String::new(),
            layers: Vec::new(),
            seconds: 0.0,
            found: Vec::new(),
            stack: Vec::new(),
            output: Some(PastOutput { path: place.to_path_buf(), stamp, tree: None }),
        })
    }

    fn folder_digest(&self, output: &dyn Output, path: &Path) -> Result<Option<String>, Fault> {
        if !output.is_folder() {
            return Ok(None);
        }
        self.world.memory.forget(path, &Filter::all(), Detail::Whole);
        let tree = self.world.memory.tree(path, &Filter::all(), Detail::Whole, false)?;
        Ok(Some(tree.digest.to_string()))
    }
}
