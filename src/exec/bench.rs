//! One step at a time: made, or found to be there.

mod below;
mod blocks;
mod layer;
mod output;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_channel::Sender;

use self::layer::Twin;
use self::output::Wanted;
use super::event::{Event, Outcome};
use crate::fault::{Blame, Fault};
use crate::key::Digest;
use crate::layer::LayerId;
use crate::plan::{Judged, Plan, StepId, Work};
use crate::store::{Journal, Layer};
use crate::work::failed::{self, Failed};
use crate::work::{Job, World};

/// Where steps are done.
pub(super) struct Bench<'a> {
    plan: &'a Plan,
    world: &'a World,
    journal: &'a Journal,
    cancel: &'a AtomicBool,
    events: &'a Sender<Event>,
    /// What each step has made, and what stands for an output; locked while it is being made again.
    made: BTreeMap<StepId, Mutex<Option<Known>>>,
    /// Layers that were opened: what stands on a stack opens all of it, step by step.
    open: Mutex<BTreeMap<LayerId, Layer>>,
    /// Of several steps with one key the first makes the layer, and the others take what became of that.
    twins: Mutex<BTreeMap<Digest, Arc<Mutex<Twin>>>>,
    /// What failed before this build, by the step's id.
    failed: BTreeMap<String, Failed>,
}

/// A layer, and what its step found out.
#[derive(Clone, Debug)]
struct Known {
    layer: LayerId,
    found: Vec<String>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        world: &'a World,
        journal: &'a Journal,
        cancel: &'a AtomicBool,
        events: &'a Sender<Event>,
    ) -> Bench<'a> {
        let known = |judged: &Judged| {
            let layer = judged.layers.as_ref().and_then(|layers| layers.first().copied());
            layer.map(|layer| Known { layer, found: judged.found.clone() })
        };
        let made = plan.steps.iter().map(|(step, judged)| (*step, Mutex::new(known(judged)))).collect();
        let failed = failed::all(world).into_iter().map(|failed| (failed.step.clone(), failed)).collect();
        let (open, twins) = (Mutex::default(), Mutex::default());
        Bench { plan, world, journal, cancel, events, made, open, twins, failed }
    }

    /// Does the step, unless there is nothing to do.
    pub(super) fn step(&self, step: StepId) -> Outcome {
        if let Some(lost) = self.plan.graph.needs(step).iter().find(|need| self.judged(**need).is_none()) {
            return Outcome::Failed(Box::new(internal(self.id(*lost))));
        }
        let done = match &self.plan.graph.task(step).work {
            Work::Layer { step: work, .. } => self.layer(step, work.as_ref()),
            Work::Output { output, path, stack } => {
                self.output(Wanted { step, output: output.as_ref(), place: path, below: stack })
            }
        };
        let outcome = done.unwrap_or_else(|fault| Outcome::Failed(Box::new(fault.while_building())));
        self.note_failure(step, &outcome);
        outcome
    }

    /// Sees to it that what is kept of failures is true of the step: its state, if it kept one while it ran, or that
    /// it failed; or nothing.
    fn note_failure(&self, step: StepId, outcome: &Outcome) {
        let id = self.id(step);
        match outcome {
            Outcome::Ran { .. } | Outcome::Fresh if self.failed.contains_key(id) => {
                failed::forget(id, self.world)
            }
            Outcome::Failed(fault) if !fault.is_interruption() => {
                let before = self.failed.get(id).map(|failed| failed.at);
                if failed::read(id, self.world).map(|failed| failed.at) == before {
                    let key = self.judged(step).and_then(|judged| judged.key.as_ref());
                    // Only costs being told of it later.
                    let _ = failed::note(id, key, self.world);
                }
            }
            _ => {}
        }
    }

    fn judged(&self, step: StepId) -> Option<&Judged> {
        self.plan.steps.get(&step)
    }

    fn id(&self, step: StepId) -> &str {
        &self.plan.graph.task(step).id
    }

    fn running<T>(
        &self,
        step: StepId,
        run: impl FnOnce(&Job<'_>) -> Result<T, Fault>,
    ) -> Result<(T, f64), Fault> {
        // Nobody listens any more only when the process is about to end.
        let _ = self.events.send(Event::Started(step));
        let say = |line: &str| drop(self.events.send(Event::Said(step, line.to_string())));
        let warn = |fault: Fault| drop(self.events.send(Event::Warned(step, Box::new(fault))));
        let logs = self.world.kept.join("logs");
        let log = logs.join(format!("{}.log", file_name(self.id(step))));
        if log.is_dir() {
            // Damage: a log is a file.
            std::fs::remove_dir_all(&log).map_err(|error| Fault::io("remove", &log, &error))?;
        }
        std::fs::create_dir_all(&logs).map_err(|error| Fault::io("make", &logs, &error))?;
        let job = Job { cancel: self.cancel, say: &say, warn: &warn, log };
        let start = Instant::now();
        let made = run(&job)?;
        Ok((made, start.elapsed().as_secs_f64()))
    }

    fn slot(&self, step: StepId) -> Option<MutexGuard<'_, Option<Known>>> {
        self.made.get(&step).map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep_listings(&self, judged: &Judged) {
        for tree in judged.facts.sources.iter().filter_map(|source| source.tree.as_ref()) {
            // Without it a later cause is told less exactly.
            let _ = self.world.store.keep_listing(&tree.listing());
        }
    }
}

/// A step's id as a file's name.
fn file_name(id: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let readable: String =
        id.chars().take(80).map(|letter| if plain(letter) { letter } else { '_' }).collect();
    format!("{readable}-{}", &Digest::of(id).short()[..6])
}

fn internal(id: &str) -> Fault {
    Fault {
        blame: Blame::Build,
        ..Fault::error("internal", format!("the step `{id}` is not part of the plan"))
    }
}
