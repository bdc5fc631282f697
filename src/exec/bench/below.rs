//! What a step stands on: its ids, what is known of it, and the layers themselves.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Bench, Known, internal};
use crate::exec::event::{Event, Outcome};
use crate::fault::Fault;
use crate::layer::LayerId;
use crate::plan::judge::below_of;
use crate::plan::{StepId, Work};
use crate::store::Layer;
use crate::work::{Below, Stack, StackLayer};

impl Bench<'_> {
    /// What is below a step, as far as it has been made.
    pub(super) fn known_below(&self, step: StepId) -> Vec<Below> {
        let graph = &self.plan.graph;
        let below = graph.needs(step).iter().filter_map(|below| {
            let Known { layer, found } = self.slot(*below)?.clone()?;
            Some(below_of(graph, *below, layer, found))
        });
        below.collect()
    }

    pub(super) fn ids_below(&self, step: StepId) -> Vec<String> {
        self.plan.graph.needs(step).iter().map(|below| self.id(*below).to_string()).collect()
    }

    /// The layers themselves; one that has gone missing, or was damaged, is made again.
    pub(super) fn stack(&self, below: &[StepId]) -> Result<Stack, Fault> {
        self.open_ahead(below);
        let mut stack = Stack::default();
        for step in below {
            let task = self.plan.graph.task(*step);
            let Work::Layer { step: work, .. } = &task.work else { continue };
            // Held while it is made again, with those below it: locks are only ever taken downwards.
            let mut slot = self.slot(*step).ok_or_else(|| internal(&task.id))?;
            let there = slot.clone().and_then(|known| Some((self.opened(known.layer)?, known.found)));
            let (layer, found) = match there {
                Some(there) => there,
                None => {
                    let (layer, found, seconds) = self.make(*step, work.as_ref())?;
                    let changed = slot.as_ref().is_none_or(|known| known.layer != layer.id);
                    let outcome = Outcome::Ran { seconds, changed, wrote: None };
                    let _ = self.events.send(Event::Ended(*step, outcome));
                    (layer, found)
                }
            };
            *slot = Some(Known { layer: layer.id, found: found.clone() });
            stack.layers.push(StackLayer::of(work.as_ref(), &task.place, layer, found));
        }
        Ok(stack)
    }

    /// Opens the layers of a large stack on several threads: each has an index to be read.
    fn open_ahead(&self, below: &[StepId]) {
        const FEW: usize = 16;
        let known = |step: &StepId| Some(self.made.get(step)?.try_lock().ok()?.as_ref()?.layer);
        let ids: Vec<LayerId> = below.iter().filter_map(known).collect();
        let threads = self.world.threads.min(ids.len() / FEW);
        if threads < 2 {
            return;
        }
        let next = AtomicUsize::new(0);
        let open = || {
            while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                // One that is missing or damaged is seen where it is needed.
                let _ = self.opened(*id);
            }
        };
        std::thread::scope(|scope| {
            (1..threads).for_each(|_| drop(scope.spawn(open)));
            open();
        });
    }

    fn opened(&self, id: LayerId) -> Option<Layer> {
        // Each holds a file open, of which a process may have a thousand.
        const MOST: usize = 300;
        let open = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open().get(&id) {
            return Some(known.clone());
        }
        let layer = self.world.store.layer(id)?;
        let mut open = open();
        if open.len() < MOST {
            open.insert(id, layer.clone());
        }
        Some(layer)
    }
}
