//! Which step is next: of those that are ready, the one with the longest way behind it.

use std::collections::{BTreeMap, BinaryHeap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

use super::Options;
use super::bench::Bench;
use super::event::{Event, Outcome};
use crate::plan::{Plan, State, StepId};
use crate::store::Journal;
use crate::work::{Step, World};

/// A build on its way.
pub(super) struct Schedule<'a> {
    plan: &'a Plan,
    bench: Bench<'a>,
    options: Options,
    cancel: &'a AtomicBool,
    events: &'a Sender<Event>,
    queue: Mutex<Queue>,
    /// Milliseconds from a step's start to the end of everything that stands on it, as far as known.
    way: BTreeMap<StepId, u64>,
}

#[derive(Default)]
struct Queue {
    /// Steps that can begin, the longest way first; ties in the order of the text.
    ready: BinaryHeap<(u64, std::cmp::Reverse<StepId>)>,
    /// For a step that cannot begin yet, how many it waits for.
    waiting: BTreeMap<StepId, usize>,
    /// Steps that cannot be done because one below them failed.
    doomed: BTreeMap<StepId, ()>,
    failed: bool,
}

impl<'a> Schedule<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        world: &'a World,
        journal: &'a Journal,
        options: Options,
        cancel: &'a AtomicBool,
        events: &'a Sender<Event>,
    ) -> Schedule<'a> {
        let bench = Bench::new(plan, world, journal, cancel, events);
        Schedule { plan, bench, options, cancel, events, queue: Mutex::default(), way: ways(plan) }
    }

    pub(super) fn run(&self) {
        for (step, _) in self.plan.steps.iter() {
            // One that is not planned will never be done: whoever needs it says so.
            let planned = |need: &&StepId| self.plan.steps.contains_key(need);
            let needs = self.plan.graph.needs(*step).iter().filter(planned).count();
            let mut queue = self.queue();
            if needs == 0 {
                queue.ready.push((self.way[step], std::cmp::Reverse(*step)));
            } else {
                queue.waiting.insert(*step, needs);
            }
        }
        let ready = self.queue().ready.len();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.options.jobs.max(1))
            .thread_name(|number| format!("job-{number}"))
            .build();
        match pool {
            // Each spawned closure takes whatever is first in the queue then, not what it was spawned for.
            Ok(pool) => pool.scope(|scope| (0..ready).for_each(|_| scope.spawn(|scope| self.one(scope)))),
            // No threads to be had: in turn.
            Err(_) => while self.next_in_turn() {},
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn one<'s>(&'s self, scope: &rayon::Scope<'s>) {
        let Some((_, std::cmp::Reverse(step))) = self.queue().ready.pop() else { return };
        for _ in 0..self.finish(step) {
            scope.spawn(|scope| self.one(scope));
        }
    }

    fn next_in_turn(&self) -> bool {
        let Some((_, std::cmp::Reverse(step))) = self.queue().ready.pop() else { return false };
        self.finish(step);
        true
    }

    /// Does the step; gives how many others can begin now.
    fn finish(&self, step: StepId) -> usize {
        let skip = {
            let queue = self.queue();
            let stop = queue.failed && !self.options.keep_going;
            stop || queue.doomed.contains_key(&step) || self.cancel.load(Ordering::Relaxed)
        };
        let outcome = if skip { Outcome::Skipped } else { self.bench.step(step) };
        let bad = matches!(outcome, Outcome::Failed(_) | Outcome::Skipped);
        let failed = matches!(outcome, Outcome::Failed(_));
        // Nobody listens any more only when the process is about to end.
        let _ = self.events.send(Event::Ended(step, outcome));
        self.release(step, bad, failed)
    }

    fn release(&self, step: StepId, bad: bool, failed: bool) -> usize {
        let mut queue = self.queue();
        queue.failed |= failed;
        let mut released = 0;
        for above in self.plan.graph.needed_by(step) {
            if bad {
                queue.doomed.insert(above, ());
            }
            let Some(left) = queue.waiting.get_mut(&above) else { continue };
            *left -= 1;
            if *left == 0 {
                queue.waiting.remove(&above);
                let way = self.way.get(&above).copied().unwrap_or_default();
                queue.ready.push((way, std::cmp::Reverse(above)));
                released += 1;
            }
        }
        released
    }
}

/// For each step, how long it and the longest chain that stands on it took last time, or are likely to take.
fn ways(plan: &Plan) -> BTreeMap<StepId, u64> {
    let mut ways: BTreeMap<StepId, u64> = BTreeMap::new();
    for (step, judged) in plan.steps.iter().rev() {
        let above = plan.graph.needed_by(*step).into_iter().filter_map(|above| ways.get(&above)).max();
        let own = match judged.state {
            State::Fresh => 0,
            _ => (judged.seconds.unwrap_or_else(|| likely_seconds(plan, *step)) * 1000.0) as u64 + 1,
        };
        ways.insert(*step, own + above.copied().unwrap_or_default());
    }
    ways
}

/// For a step that never ran.
fn likely_seconds(plan: &Plan, step: StepId) -> f64 {
    // Nothing is known of an output.
    plan.graph.layer(step).map_or(1.0, Step::likely_seconds)
}
