//! Judging: which steps would run.
//!
//! A layer's key is known from the project's files alone. An output's key names the layers that it stands on; when one
//! of them has to be made first, the key is not known yet, and the output *may* run: if the layer comes out as it was,
//! it will not.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::cause::{self, Cause};
use super::graph::{Graph, StepId, Work};
use super::overlap::overlaps;
use crate::fault::{Fault, Faults};
use crate::key::Key;
use crate::layer::LayerId;
use crate::store::{Journal, Past, Stamp};
use crate::tree::{Detail, Filter};
use crate::work::{Facts, Step, World, layer_facts};

/// What a step would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing: its result is there.
    Fresh,
    /// It depends on what a step below it makes.
    Maybe,
    /// Run.
    Run,
}

impl State {
    /// The word that people and programs see.
    pub fn word(self) -> &'static str {
        match self {
            State::Run => "run",
            State::Fresh => "fresh",
            State::Maybe => "maybe",
        }
    }
}

/// A step, judged.
#[derive(Debug)]
pub struct Judged {
    /// What it would do.
    pub state: State,
    /// Its key, if it is known.
    pub key: Option<Key>,
    /// Its facts: for an output, those besides its layers.
    pub facts: Facts,
    /// The layers that it has made, if that is known.
    pub layers: Option<Vec<LayerId>>,
    /// Why it would run.
    pub why: Vec<Cause>,
    /// How long it took when it last ran.
    pub seconds: Option<f64>,
}

/// All steps that were asked for, judged.
#[derive(Debug)]
pub struct Plan {
    /// The graph.
    pub graph: Graph,
    /// The steps, in an order in which each comes after all that it stands on.
    pub steps: BTreeMap<StepId, Judged>,
}

impl Plan {
    /// How many steps are in that state.
    pub fn count(&self, state: State) -> usize {
        self.steps.values().filter(|judged| judged.state == state).count()
    }

    /// Whether a build would have nothing to do.
    pub fn is_fresh(&self) -> bool {
        self.count(State::Fresh) == self.steps.len()
    }
}

/// Judges the steps `wanted` of `graph`. Uses rayon, so it must not be called inside a job.
///
/// # Errors
///
/// Of looking at the project's files, and outputs that would be written over these: all of them.
pub fn judge(
    graph: Graph,
    wanted: &BTreeSet<StepId>,
    world: &World,
    journal: &Journal,
) -> Result<Plan, Faults> {
    let stated: Vec<(StepId, Result<Judged, Fault>)> =
        wanted.par_iter().map(|step| (*step, state_facts(&graph, *step, world, journal))).collect();
    let mut faults = Faults::new();
    let mut steps = BTreeMap::new();
    for (step, judged) in stated {
        if let Some(judged) = faults.keep(judged) {
            steps.insert(step, judged);
        }
    }
    if faults.has_errors() {
        return Err(faults);
    }
    let mut plan = Plan { graph, steps };
    let overlaps = overlaps(&plan, world);
    if overlaps.has_errors() {
        return Err(overlaps);
    }
    judge_outputs(&mut plan, world, journal);
    demand_layers(&mut plan, world);
    Ok(plan)
}

/// The facts of a step; for a layer, also whether it is there.
fn state_facts(graph: &Graph, step: StepId, world: &World, journal: &Journal) -> Result<Judged, Fault> {
    let task = graph.task(step);
    let past = journal.past(&task.id);
    match &task.work {
        Work::Layer(work) => layer(work.as_ref(), past, world).map_err(|fault| fault.while_building()),
        Work::Output { output, .. } => Ok(Judged {
            state: State::Maybe,
            key: None,
            facts: output.facts(world)?,
            layers: None,
            why: Vec::new(),
            seconds: past.map(|past| past.seconds),
        }),
    }
}

fn layer(step: &dyn Step, past: Option<&Past>, world: &World) -> Result<Judged, Fault> {
    let mut facts = step.facts(world, true)?;
    let mut known = true;
    if step.finds() {
        // What it found out when it last ran with these facts, here or in another project.
        let record = world.store.record(facts.key.digest());
        match record.map(|record| record.found).or_else(|| past.map(|past| past.found.clone())) {
            Some(found) => step.found_facts(world, &found, &mut facts)?,
            None => known = false,
        }
    }
    let layers = if known { known_layers(&facts.key, past, world) } else { None };
    let why = if layers.is_some() { Vec::new() } else { cause::of_key(&facts, past, world) };
    Ok(Judged {
        state: if layers.is_some() { State::Fresh } else { State::Run },
        key: Some(facts.key.clone()),
        facts,
        layers,
        why,
        seconds: past.map(|past| past.seconds),
    })
}

/// The layers that a step with that key made, here or in another project.
fn known_layers(key: &Key, past: Option<&Past>, world: &World) -> Option<Vec<LayerId>> {
    if let Some(past) = past.filter(|past| past.key == key.text()) {
        return past.layers.iter().map(|layer| layer.parse().ok().map(LayerId)).collect();
    }
    world.store.record(key.digest()).map(|record| record.layers)
}

fn judge_outputs(plan: &mut Plan, world: &World, journal: &Journal) {
    let outputs: Vec<StepId> = plan
        .steps
        .keys()
        .copied()
        .filter(|step| matches!(plan.graph.task(*step).work, Work::Output { .. }))
        .collect();
    let judged: Vec<(StepId, State, Option<Key>, Vec<Cause>)> =
        outputs.into_iter().map(|step| judge_output(plan, step, world, journal)).collect();
    for (step, state, key, why) in judged {
        if let Some(judged) = plan.steps.get_mut(&step) {
            (judged.state, judged.key, judged.why) = (state, key, why);
        }
    }
}

fn judge_output(
    plan: &Plan,
    step: StepId,
    world: &World,
    journal: &Journal,
) -> (StepId, State, Option<Key>, Vec<Cause>) {
    let task = plan.graph.task(step);
    let Work::Output { output, path, stack } = &task.work else {
        return (step, State::Fresh, None, Vec::new());
    };
    let past = journal.past(&task.id);
    let facts = &plan.steps[&step].facts;
    let below: Option<Vec<(String, LayerId)>> = stack_layers(plan, stack);
    let mut key = facts.key.clone();
    if let Some(layers) = &below {
        layer_facts(&mut key, layers, output.names_layers());
    }
    let missing = missing_output(path, past, output.is_folder(), world);
    let made: Vec<StepId> =
        stack.iter().copied().filter(|below| plan.steps[below].layers.is_none()).collect();
    let mut why = cause::of_output(plan, past, &key, facts, stack, &made, world);
    why.extend(missing.clone());
    let only_layers = why.iter().all(|cause| cause.follows.is_some());
    match (below, past) {
        (Some(_), Some(past)) if past.key == key.text() && missing.is_none() => {
            (step, State::Fresh, Some(key), Vec::new())
        }
        (Some(_), _) => (step, State::Run, Some(key), why),
        (None, Some(_)) if missing.is_none() && only_layers => (step, State::Maybe, None, why),
        (None, _) => (step, State::Run, None, why),
    }
}

/// The names and layers of a stack, if all are known.
pub fn stack_layers(plan: &Plan, stack: &[StepId]) -> Option<Vec<(String, LayerId)>> {
    let mut layers = Vec::new();
    for below in stack {
        let Work::Layer(work) = &plan.graph.task(*below).work else { continue };
        for layer in plan.steps.get(below)?.layers.as_ref()? {
            layers.push((work.name(), *layer));
        }
    }
    Some(layers)
}

/// Why the output's file is not the one that was written last, if it is not.
pub fn missing_output(
    path: &std::path::Path,
    past: Option<&Past>,
    is_folder: bool,
    world: &World,
) -> Option<Cause> {
    let written = past?.output.as_ref()?;
    let (shown, stamp) = (world.shown(path), written.stamp);
    if !is_same(&written.path, path) {
        return Some(Cause::of(
            "path",
            Some(world.shown(&written.path)),
            Some(shown),
            "it goes to another place",
        ));
    }
    let now = std::fs::symlink_metadata(path).ok().map(|metadata| Stamp::of(&metadata));
    let text = match now {
        None => format!("{shown} is gone"),
        Some(now) if is_folder => {
            let tree = world.memory.tree(path, &Filter::all(), Detail::Whole, false).ok();
            let digest = tree.map(|tree| tree.digest.to_string());
            let same = |one: &Stamp| (one.inode, one.mode, one.mtime);
            if same(&now) == same(&stamp) && written.tree == digest {
                return None;
            }
            format!("{shown} was changed by somebody else")
        }
        Some(now) if now == stamp => return None,
        Some(_) => format!("{shown} was changed by somebody else"),
    };
    Some(Cause::of("file", Some(format!("{stamp:?}")), now.map(|now| format!("{now:?}")), &text))
}

/// Whether the two name one file, in whatever way the folder is spelt.
fn is_same(one: &std::path::Path, other: &std::path::Path) -> bool {
    let folder = |path: &std::path::Path| path.parent()?.canonicalize().ok();
    one == other
        || (one.file_name() == other.file_name() && folder(one).is_some_and(|one| Some(one) == folder(other)))
}

/// A layer that has been made and is no longer there has to be made again, but only if somebody needs its content.
fn demand_layers(plan: &mut Plan, world: &World) {
    let mut needed: BTreeMap<StepId, State> = BTreeMap::new();
    for (step, judged) in &plan.steps {
        if judged.state == State::Fresh {
            continue;
        }
        for below in plan.graph.needs(*step) {
            let state = needed.entry(*below).or_insert(State::Fresh);
            *state = (*state).max(judged.state);
        }
    }
    for (step, state) in needed {
        let Some(judged) = plan.steps.get_mut(&step).filter(|judged| judged.state == State::Fresh) else {
            continue;
        };
        let there = judged.layers.iter().flatten().all(|layer| world.store.has_layer(*layer));
        if !there {
            judged.state = state;
            judged.why = vec![Cause::of("layer", None, None, "its layer is no longer in the cache")];
        }
    }
}
