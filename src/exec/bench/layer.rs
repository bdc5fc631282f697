//! A step's layer: found, or made and remembered.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Bench, Known, internal};
use crate::exec::event::Outcome;
use crate::fault::Fault;
use crate::key::Key;
use crate::plan::judge::known_result;
use crate::plan::{State, StepId};
use crate::store::{Layer, Past, Record, clock};
use crate::work::{Facts, Made, Stack, Step};

/// What became of the steps of one key in this build.
#[derive(Debug, Default)]
pub(super) enum Twin {
    /// None of them had its turn.
    #[default]
    New,
    /// One made the layer.
    Made(Known),
    /// One could not.
    Failed,
}

impl Bench<'_> {
    pub(super) fn layer(&self, step: StepId, work: &dyn Step) -> Result<Outcome, Fault> {
        let judged = self.judged(step).ok_or_else(|| internal(self.id(step)))?;
        if let (Some(layers), true) = (&judged.layers, judged.state != State::Run) {
            let known = layers.first().map(|layer| Known { layer: *layer, found: judged.found.clone() });
            self.adopt(step, judged.key.as_ref(), known.as_ref());
            return Ok(Outcome::Fresh);
        }
        let mut slot = self.slot(step).ok_or_else(|| internal(self.id(step)))?;
        let key = self.on_layers(step, work, judged.facts.key.clone());
        let twin = self.twin(&key);
        let mut twin = twin.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match &*twin {
            Twin::Failed => return Ok(Outcome::Skipped),
            Twin::Made(known) => Some(known.clone()),
            Twin::New => self.made_before(step, &key),
        };
        if let Some(known) = known {
            self.adopt(step, Some(&self.whole_key(step, work, key, &known)?), Some(&known));
            *slot = Some(known);
            return Ok(Outcome::Fresh);
        }
        *twin = Twin::Failed;
        let (layer, found, seconds) = self.make(step, work)?;
        let known = Known { layer: layer.id, found };
        *twin = Twin::Made(known.clone());
        let before = self.journal.past(self.id(step)).and_then(|past| past.layers.first().cloned());
        *slot = Some(known);
        Ok(Outcome::Ran { seconds, changed: before != Some(layer.id.to_string()), wrote: None })
    }

    /// A step's key with the layers that it stands on.
    fn on_layers(&self, step: StepId, work: &dyn Step, mut key: Key) -> Key {
        let below = self.known_below(step);
        if !below.is_empty() {
            work.below_facts(&below, &mut key);
        }
        key
    }

    /// A step's key, which was known but for what it finds out while it runs.
    fn whole_key(&self, step: StepId, work: &dyn Step, key: Key, known: &Known) -> Result<Key, Fault> {
        if !work.finds() {
            return Ok(key);
        }
        let mut facts = work.facts(self.world, false)?;
        work.found_facts(self.world, &known.found, &mut facts)?;
        Ok(self.on_layers(step, work, facts.key))
    }

    /// What a step has made with that key before it was its turn: earlier, or as another step of this build.
    fn made_before(&self, step: StepId, key: &Key) -> Option<Known> {
        let (layers, found) = known_result(key, self.journal.past(self.id(step)), self.world)?;
        let layer = layers.first().copied().filter(|layer| self.world.store.has_layer(*layer))?;
        Some(Known { layer, found })
    }

    /// What steps of that key have in common; held while one of them makes its layer.
    fn twin(&self, key: &Key) -> Arc<Mutex<Twin>> {
        let mut twins = self.twins.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(twins.entry(key.digest()).or_default())
    }

    /// A layer that another project, or another version of this one, made: from now on this project's too.
    fn adopt(&self, step: StepId, key: Option<&Key>, known: Option<&Known>) {
        known.iter().for_each(|known| self.world.store.touch(known.layer));
        let past = self.journal.past(self.id(step));
        let key = key.map(|key| key.text().to_string()).unwrap_or_default();
        if past.is_some_and(|past| past.key == key) {
            return;
        }
        let found = match self.plan.graph.layer(step) {
            Some(work) if work.finds() => self.found(work),
            _ => known.map(|known| known.found.clone()).unwrap_or_default(),
        };
        // Only costs a look into the records next time if it fails.
        let _ = self.journal.add(&Past {
            step: self.id(step).to_string(),
            key,
            layers: known.iter().map(|known| known.layer.to_string()).collect(),
            seconds: past.map_or(0.0, |past| past.seconds),
            found,
            stack: self.ids_below(step),
            output: None,
        });
        if let Some(judged) = self.judged(step) {
            self.keep_listings(judged);
        }
    }

    fn found(&self, work: &dyn Step) -> Vec<String> {
        let key = work.facts(self.world, false).map(|facts| facts.key.digest());
        key.ok().and_then(|key| self.world.store.record(key)).map(|record| record.found).unwrap_or_default()
    }

    /// Makes the layer and remembers it under the key that it has turned out to have.
    pub(super) fn make(&self, step: StepId, work: &dyn Step) -> Result<(Layer, Vec<String>, f64), Fault> {
        let stack = self.stack(self.plan.graph.needs(step))?;
        let (made, seconds, stated, mut facts) = self.undisturbed(step, work, &stack)?;
        let store = &self.world.store;
        if work.finds() {
            // Under what is known beforehand stands what to look at next time.
            let record = Record { layers: Vec::new(), seconds, found: made.found.clone() };
            store.keep_record(&stated, &record)?;
        }
        if !stack.layers.is_empty() {
            work.below_facts(&stack.below(), &mut facts.key);
        }
        let record = Record { layers: vec![made.layer.id], seconds, found: made.found.clone() };
        store.keep_record(&facts.key, &record)?;
        for tree in facts.sources.iter().filter_map(|source| source.tree.as_ref()) {
            store.keep_listing(&tree.listing())?;
        }
        self.journal.add(&Past {
            step: self.id(step).to_string(),
            key: facts.key.text().to_string(),
            layers: vec![made.layer.id.to_string()],
            seconds,
            found: made.found.clone(),
            stack: self.ids_below(step),
            output: None,
        })?;
        Ok((made.layer, made.found, seconds))
    }

    /// Makes the layer while nothing changes that it depends on: its facts are the same afterwards, or it is made
    /// again. Gives the key of what was stated beforehand, and all facts.
    fn undisturbed(
        &self,
        step: StepId,
        work: &dyn Step,
        stack: &Stack,
    ) -> Result<(Made, f64, Key, Facts), Fault> {
        const TRIES: usize = 3;
        for _ in 0..TRIES {
            self.look_again(work);
            let before = work.facts(self.world, false)?;
            let began = clock::now();
            let (made, seconds) = self.running(step, |job| work.make(self.world, stack, job))?;
            self.look_again(work);
            let mut facts = work.facts(self.world, false)?;
            let stated = facts.key.clone();
            if work.finds() {
                work.found_facts(self.world, &made.found, &mut facts)?;
            }
            // What was found was not looked at before: its times must say that it was left alone. Times still to come
            // are those of a file server whose clock is ahead.
            let run = began..=clock::now();
            let mut trees = facts.sources.iter().filter_map(|source| source.tree.as_ref());
            let disturbed = !made.found.is_empty() && trees.any(|tree| tree.changed_within(run.clone()));
            if before.key == stated && !disturbed {
                return Ok((made, seconds, stated, facts));
            }
        }
        let message = format!("what `{}` is made from changes again and again while it runs", self.id(step));
        Err(Fault::build("source/changed", message)
            .at(work.place(), "this one")
            .help("build again when nobody writes to it any more"))
    }

    /// A program reads the folders themselves, not what was seen of them earlier.
    fn look_again(&self, work: &dyn Step) {
        if work.reads_live() {
            self.world.memory.look_again();
        }
    }
}
