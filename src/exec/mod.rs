//! Doing it: the steps of a plan, as many at once as there are cores, each as soon as what it stands on is there.
//!
//! A build sends events and prints nothing. It runs on a rayon pool of its own; a job never waits on rayon, and holds no
//! lock across anything that does.
//!
//! When its turn comes a step is judged again, with the layers that are now known: an output whose layers came out as
//! they were is left alone.

mod ahead;
mod bench;
pub mod event;
mod place;
mod schedule;

use std::sync::atomic::AtomicBool;

use crossbeam_channel::Sender;

pub use event::{Event, Outcome};
pub use place::{marker, remove};

use crate::plan::{Plan, Work};
use crate::store::Journal;
use crate::work::World;

/// How a build is done.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many steps run at once.
    pub jobs: usize,
    /// Whether the rest goes on when a step fails.
    pub keep_going: bool,
}

/// Carries out `plan`. Returns when all is done, or as soon as the steps that run have ended after one failed or
/// `cancel` was set.
pub fn build(
    plan: &Plan,
    world: &World,
    journal: &Journal,
    options: Options,
    cancel: &AtomicBool,
    events: &Sender<Event>,
) {
    place::sweep(plan.steps.keys().filter_map(|step| match &plan.graph.task(*step).work {
        Work::Output { path, .. } => Some(path.as_path()),
        Work::Layer { .. } => None,
    }));
    let schedule = schedule::Schedule::new(plan, world, journal, options, cancel, events);
    let Some(ahead) = ahead::Ahead::begin(plan, world) else { return schedule.run() };
    let (end, ended) = crossbeam_channel::bounded(0);
    std::thread::scope(|scope| {
        scope.spawn(|| ahead.watch(&ended, events));
        schedule.run();
        drop(end);
    });
}
