//! Judging: which steps would run.
//!
//! The key of a step that stands on nothing is known at once. That of an output, or of a step that stands on layers,
//! names these; when one of them has to be made first, the key is not known yet, and the step *may* run: if the layer
//! comes out as it was, it will not.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::cause::{self, Cause};
use super::graph::{Graph, StepId, Work};
use super::overlap::overlaps;
use crate::fault::{Fault, Faults};
use crate::key::{Digest, Key};
use crate::layer::LayerId;
use crate::steps::hook;
use crate::store::{Journal, Past, Stamp};
use crate::tree::{Detail, Filter};
use crate::work::{Below, Facts, Step, World, layer_facts};

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
    /// Its facts besides the layers that it stands on.
    pub facts: Facts,
    /// The layers that it has made, if that is known.
    pub layers: Option<Vec<LayerId>>,
    /// What it found out when it made them.
    pub found: Vec<String>,
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
    /// Whether the layers of that step are known.
    pub(super) fn is_made(&self, step: StepId) -> bool {
        self.steps.get(&step).is_some_and(|judged| judged.layers.is_some())
    }

    /// How many steps are in that state.
    pub fn count(&self, state: State) -> usize {
        self.steps.values().filter(|judged| judged.state == state).count()
    }

    /// The steps that will ask for a package's file that is not kept yet.
    pub fn to_fetch(&self, world: &World) -> Vec<StepId> {
        let asks = |(step, judged): &(&StepId, &Judged)| {
            let file = self.graph.layer(**step).and_then(|layer| layer.file());
            judged.state == State::Run && file.is_some_and(|(deb, _)| !world.fetcher.seems_kept(deb))
        };
        self.steps.iter().filter(asks).map(|(step, _)| *step).collect()
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
    for step in wanted {
        judge_above(&mut plan, *step, world, journal);
    }
    demand_layers(&mut plan, world);
    Ok(plan)
}

/// The facts of a step; for one that stands on nothing, also whether its layer is there.
fn state_facts(graph: &Graph, step: StepId, world: &World, journal: &Journal) -> Result<Judged, Fault> {
    let task = graph.task(step);
    let past = journal.past(&task.id);
    let mut judged = Judged {
        state: State::Maybe,
        key: None,
        facts: Facts::default(),
        layers: None,
        found: Vec::new(),
        why: Vec::new(),
        seconds: past.map(|past| past.seconds),
    };
    match &task.work {
        Work::Layer { step, below } => {
            let known;
            (judged.facts, known) =
                layer_facts_now(step.as_ref(), past, world).map_err(|fault| fault.while_building())?;
            if below.is_empty() {
                settle_layer(&mut judged, known, past, world);
            }
        }
        Work::Output { output, .. } => judged.facts = output.facts(world)?,
    }
    Ok(judged)
}

/// A layer step's facts, and whether that is all of them: what it finds out while it runs may not be known yet.
fn layer_facts_now(step: &dyn Step, past: Option<&Past>, world: &World) -> Result<(Facts, bool), Fault> {
    let mut facts = step.facts(world, true)?;
    if !step.finds() {
        return Ok((facts, true));
    }
    // What it found out when it last ran with these facts, here or in another project.
    let record = world.store.record(facts.key.digest());
    match record.map(|record| record.found).or_else(|| past.map(|past| past.found.clone())) {
        Some(found) => step.found_facts(world, &found, &mut facts).map(|()| (facts, true)),
        None => Ok((facts, false)),
    }
}

/// With all its facts stated: whether it has made its layer already.
fn settle_layer(judged: &mut Judged, known: bool, past: Option<&Past>, world: &World) {
    let made = if known { known_result(&judged.facts.key, past, world) } else { None };
    judged.state = if made.is_some() { State::Fresh } else { State::Run };
    if made.is_none() {
        judged.why = cause::of_key(&judged.facts, past, world);
    }
    judged.key = Some(judged.facts.key.clone());
    (judged.layers, judged.found) = made.map_or((None, Vec::new()), |(layers, found)| (Some(layers), found));
}

/// The layers that a step with that key made, here or in another project, and what it found out.
pub fn known_result(key: &Key, past: Option<&Past>, world: &World) -> Option<(Vec<LayerId>, Vec<String>)> {
    if let Some(past) = past.filter(|past| past.key == key.text()) {
        let layers = past.layers.iter().map(|layer| layer.parse().ok().map(LayerId));
        return Some((layers.collect::<Option<_>>()?, past.found.clone()));
    }
    world.store.record(key.digest()).map(|record| (record.layers, record.found))
}

/// Judges a step that stands on others, all of which have been judged.
fn judge_above(plan: &mut Plan, step: StepId, world: &World, journal: &Journal) {
    let task = plan.graph.task(step);
    let stack = plan.graph.needs(step);
    let is_layer = matches!(task.work, Work::Layer { .. });
    if is_layer && stack.is_empty() {
        return;
    }
    // One without a key is of an output that failed.
    let past = journal.past(&task.id).filter(|past| !past.key.is_empty());
    let Some(facts) = plan.steps.get(&step).map(|judged| &judged.facts) else { return };
    let below = layers_below(plan, stack);
    let mut key = facts.key.clone();
    if let Some(below) = &below {
        state_layers(&task.work, below, &mut key);
    }
    let missing = missing_of(&task.work, past, world);
    let result = if is_layer && below.is_some() { known_result(&key, past, world) } else { None };
    let is_there = match past {
        _ if is_layer => result.is_some(),
        Some(past) => past.key == key.text() && missing.is_none(),
        None => false,
    };
    let mut why = Vec::new();
    if below.is_none() || !is_there {
        why = cause::of_stacked(plan, step, past, &key, world);
        why.extend(missing.clone());
        cause::tell_failure(&mut why, task, world);
    }
    let state = match &below {
        Some(_) if is_there => State::Fresh,
        None if missing.is_none() && may_be_fresh(plan, step, past, &why) => State::Maybe,
        _ => State::Run,
    };
    let key = below.is_some().then_some(key);
    let (layers, found) = match result {
        Some((layers, found)) => (Some(layers), found),
        None if is_layer => (None, Vec::new()),
        None => (key.as_ref().and_then(|key| stands_in(plan, step, state, key, past)), Vec::new()),
    };
    let Some(judged) = plan.steps.get_mut(&step) else { return };
    (judged.key, judged.state, judged.why) = (key, state, why);
    (judged.layers, judged.found) = (layers, found);
}

/// What an output's file lacks, if it is not as it was written.
fn missing_of(work: &Work, past: Option<&Past>, world: &World) -> Option<Cause> {
    match work {
        // Whether a report is still there does not matter: what it is of was done.
        Work::Output { output, .. } if output.is_report() => None,
        Work::Output { output, path, .. } => missing_output(path, past, output.is_folder(), world),
        Work::Layer { .. } => None,
    }
}

/// Whether a step can turn out to have nothing to do once what is below it is made.
fn may_be_fresh(plan: &Plan, step: StepId, past: Option<&Past>, why: &[Cause]) -> bool {
    let Some(past) = past else { return false };
    // Other steps below may make the same layers, if they are as many; to a hook, a layer of nothing is none.
    let as_many = past.stack.len() == plan.graph.needs(step).len();
    let may_be_same = as_many || [hook::KIND, hook::EXTRA_DATA].contains(&plan.graph.task(step).kind);
    why.iter().all(|cause| cause.follows.is_some() || (cause.fact == "stack" && may_be_same))
}

/// What stands for an output's file to those that read it, if that is known before it is written.
fn stands_in(
    plan: &Plan,
    step: StepId,
    state: State,
    key: &Key,
    past: Option<&Past>,
) -> Option<Vec<LayerId>> {
    let written = past.and_then(|past| past.output.as_ref()).map(|written| written.stamp);
    match plan.graph.is_of_host(step) {
        true if state != State::Fresh => None,
        true => Some(vec![stand_in(key, written)]),
        false => Some(vec![stand_in(key, None)]),
    }
}

/// What is below a step, if all of it is known.
pub fn layers_below(plan: &Plan, stack: &[StepId]) -> Option<Vec<Below>> {
    let mut below = Vec::with_capacity(stack.len());
    for id in stack {
        let judged = plan.steps.get(id)?;
        for layer in judged.layers.as_ref()? {
            below.push(below_of(&plan.graph, *id, *layer, judged.found.clone()));
        }
    }
    Some(below)
}

/// A layer of `step` as what stands on it sees it; of an output, that is what [stands in](stand_in) for it.
pub fn below_of(graph: &Graph, step: StepId, layer: LayerId, found: Vec<String>) -> Below {
    let task = graph.task(step);
    let (name, joins) = match &task.work {
        Work::Layer { step, .. } => (step.name(), step.joins()),
        Work::Output { path, .. } => (graph.shown(path), false),
    };
    Below { step: task.id.clone(), kind: task.kind, name, layer, found, joins }
}

/// What stands for the file that an output of that key writes. The same key writes the same bytes, here and elsewhere; where
/// it is written with this machine's programs it need not, and the file's stamp says which one it is.
pub fn stand_in(key: &Key, written: Option<Stamp>) -> LayerId {
    match written {
        None => LayerId(key.digest()),
        Some(stamp) => LayerId(Digest::of(format!("{} {stamp:?}", key.digest()))),
    }
}

/// Adds the layers below to the key of a step that stands on them.
pub fn state_layers(work: &Work, below: &[Below], key: &mut Key) {
    match work {
        Work::Layer { step, .. } => step.below_facts(below, key),
        Work::Output { output, .. } => layer_facts(key, below, output.names_layers()),
    }
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
    Some(Cause::of("file", Some(stamp.to_string()), now.map(|now| now.to_string()), &text))
}

/// Whether the two name one file, in whatever way the folder is spelt.
fn is_same(one: &std::path::Path, other: &std::path::Path) -> bool {
    let folder = |path: &std::path::Path| path.parent()?.canonicalize().ok();
    one == other
        || (one.file_name() == other.file_name() && folder(one).is_some_and(|one| Some(one) == folder(other)))
}

/// A layer that has been made and is no longer there has to be made again, but only if somebody needs its content.
fn demand_layers(plan: &mut Plan, world: &World) {
    let steps: Vec<StepId> = plan.steps.keys().rev().copied().collect();
    // From above: what has to be made again needs in turn what it stands on.
    for step in steps {
        let above = plan.graph.needed_by(step);
        let states = above.iter().filter_map(|above| plan.steps.get(above)).map(|above| above.state);
        let needed = states.max().unwrap_or(State::Fresh);
        let Some(judged) = plan.steps.get_mut(&step) else { continue };
        let is_layer = plan.graph.layer(step).is_some();
        if needed == State::Fresh || judged.state != State::Fresh || !is_layer {
            continue;
        }
        if !judged.layers.iter().flatten().all(|layer| world.store.has_layer(*layer)) {
            judged.state = needed;
            judged.why = vec![Cause::of("layer", None, None, "its layer is no longer in the cache")];
        }
    }
}
