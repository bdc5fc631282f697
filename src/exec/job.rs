//! One step at a time: made, or found to be there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::event::{Event, Outcome};
use super::place::Aside;
use crate::codec::{Block, Earlier};
use crate::fault::{Blame, Fault};
use crate::key::{Digest, Key};
use crate::layer::LayerId;
use crate::plan::judge::{below_of, known_result, missing_output, stand_in};
use crate::plan::{Judged, Plan, State, StepId, Work};
use crate::sandbox::image::ImageRun;
use crate::store::{Journal, Layer, Past, PastOutput, Record, Stamp, clock};
use crate::tree::{Detail, Filter};
use crate::work::failed::{self, Failed};
use crate::work::{
    Aids, Below, Facts, Job, Made, Output, Stack, StackLayer, Step, TOOLS, World, Writing, Written,
    layer_facts,
};

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

/// What became of the steps of one key in this build.
#[derive(Debug, Default)]
enum Twin {
    /// None of them had its turn.
    #[default]
    New,
    /// One made the layer.
    Made(Known),
    /// One could not.
    Failed,
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
            Work::Output { output, path, stack } => self.output(step, output.as_ref(), path, stack),
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

    fn layer(&self, step: StepId, work: &dyn Step) -> Result<Outcome, Fault> {
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

    fn ids_below(&self, step: StepId) -> Vec<String> {
        self.plan.graph.needs(step).iter().map(|below| self.id(*below).to_string()).collect()
    }

    fn slot(&self, step: StepId) -> Option<std::sync::MutexGuard<'_, Option<Known>>> {
        self.made.get(&step).map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the layer and remembers it under the key that it has turned out to have.
    fn make(&self, step: StepId, work: &dyn Step) -> Result<(Layer, Vec<String>, f64), Fault> {
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

    fn keep_listings(&self, judged: &Judged) {
        for tree in judged.facts.sources.iter().filter_map(|source| source.tree.as_ref()) {
            // Without it a later cause is told less exactly.
            let _ = self.world.store.keep_listing(&tree.listing());
        }
    }

    fn output(
        &self,
        step: StepId,
        output: &dyn Output,
        path: &Path,
        below: &[StepId],
    ) -> Result<Outcome, Fault> {
        let judged = self.judged(step).ok_or_else(|| internal(self.id(step)))?;
        let past = self.journal.past(self.id(step));
        let mut key = judged.facts.key.clone();
        layer_facts(&mut key, &self.known_below(step), output.names_layers());
        let is_there = || missing_output(path, past, output.is_folder(), self.world).is_none();
        if past.is_some_and(|past| past.key == key.text()) && (output.is_report() || is_there()) {
            self.note_written(step, &key, past.and_then(|past| past.output.as_ref()).map(|of| of.stamp));
            return Ok(Outcome::Fresh);
        }
        let mut stack = self.stack(below)?;
        // A layer that was gone and came out different when it was made again has changed the key.
        let mut key = judged.facts.key.clone();
        layer_facts(&mut key, &self.known_below(step), output.names_layers());
        stack.layers.retain(|layer| layer.kind != TOOLS);
        let ((aside, written), seconds) =
            self.running(step, |job| self.write(step, (output, path, below), &stack, job))?;
        let _turn = self.journal.turn()?;
        let stamp = aside.settle(path, output.is_folder())?;
        self.keep_blocks(step, &written.blocks);
        self.keep_listings(judged);
        self.journal.add(&Past {
            step: self.id(step).to_string(),
            key: key.text().to_string(),
            layers: Vec::new(),
            seconds,
            found: Vec::new(),
            stack: self.ids_below(step),
            output: Some(PastOutput {
                path: path.to_path_buf(),
                stamp,
                tree: self.folder_digest(output, path)?,
            }),
        })?;
        self.note_written(step, &key, Some(stamp));
        Ok(Outcome::Ran { seconds, changed: true, wrote: Some((path.to_path_buf(), stamp.size)) })
    }

    /// Writes an output, which stands on `below` and goes to `place`, aside.
    fn write(
        &self,
        step: StepId,
        (output, place, below): (&dyn Output, &Path, &[StepId]),
        stack: &Stack,
        job: &Job<'_>,
    ) -> Result<(Aside, Written), Fault> {
        let aside = Aside::beside(place)?;
        let (earlier, tools) = (self.earlier(step, place), self.tools(below, job)?);
        let aids = Aids { earlier, tools, outputs: self.outputs(below) };
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

    /// Lets the outputs that read this one know which it is.
    fn note_written(&self, step: StepId, key: &Key, stamp: Option<Stamp>) {
        let stamp = stamp.filter(|_| self.plan.graph.is_of_host(step));
        if let Some(mut slot) = self.slot(step) {
            *slot = Some(Known { layer: stand_in(key, stamp), found: Vec::new() });
        }
    }

    /// The outputs among what an output stands on.
    fn outputs(&self, below: &[StepId]) -> Vec<(&'static str, PathBuf)> {
        let written = below.iter().filter_map(|step| match &self.plan.graph.task(*step).work {
            Work::Output { output, path, .. } => Some((output.kind(), path.clone())),
            Work::Layer { .. } => None,
        });
        written.collect()
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

    fn folder_digest(&self, output: &dyn Output, path: &Path) -> Result<Option<String>, Fault> {
        if !output.is_folder() {
            return Ok(None);
        }
        self.world.memory.forget(path, &Filter::all(), Detail::Whole);
        let tree = self.world.memory.tree(path, &Filter::all(), Detail::Whole, false)?;
        Ok(Some(tree.digest.to_string()))
    }

    /// What is below a step, as far as it has been made.
    fn known_below(&self, step: StepId) -> Vec<Below> {
        let graph = &self.plan.graph;
        let below = graph.needs(step).iter().filter_map(|below| {
            let Known { layer, found } = self.slot(*below)?.clone()?;
            Some(below_of(graph, *below, layer, found))
        });
        below.collect()
    }

    /// The layers themselves; one that has gone missing, or was damaged, is made again.
    fn stack(&self, below: &[StepId]) -> Result<Stack, Fault> {
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

    fn blocks_path(&self, step: StepId) -> PathBuf {
        let folder = self.world.kept.join("blocks");
        folder.join(Digest::of(self.id(step)).short())
    }

    /// Where compressed blocks are in the file as it was written last. Each is checked before it is used.
    fn earlier(&self, step: StepId, path: &Path) -> Option<Earlier> {
        let bytes = std::fs::read(self.blocks_path(step)).ok()?;
        let lines = String::from_utf8(bytes).ok()?;
        let blocks = lines.lines().map(read_block).collect::<Option<Vec<Block>>>()?;
        Some(Earlier { file: std::fs::File::open(path).ok()?, blocks })
    }

    fn keep_blocks(&self, step: StepId, blocks: &[Block]) {
        if blocks.is_empty() {
            return;
        }
        let lines: String = blocks
            .iter()
            .map(|block| {
                format!(
                    "{} {} {} {} {}\n",
                    block.input, block.input_size, block.offset, block.size, block.seal
                )
            })
            .collect();
        // Only costs compressing again if it fails.
        let _ = crate::store::write_whole(&self.blocks_path(step), lines.as_bytes());
    }
}

fn read_block(line: &str) -> Option<Block> {
    let mut words = line.split(' ');
    Some(Block {
        input: words.next()?.parse().ok()?,
        input_size: words.next()?.parse().ok()?,
        offset: words.next()?.parse().ok()?,
        size: words.next()?.parse().ok()?,
        seal: words.next()?.parse().ok()?,
    })
}

/// A step's id as a file's name.
pub fn file_name(id: &str) -> String {
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
