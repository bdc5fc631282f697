//! What failed: for each step of a project that failed last, a record, and what its programs had changed until then.
//!
//! The changes are a layer like any other. No step has made it, so `cache gc` removes it as soon as it is old; the
//! record, which then leads nowhere, says what it was.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::upper::upper_layer;
use super::{Job, Stack, StackLayer, State, Step, World};
use crate::fault::{Fault, Place, Source};
use crate::key::{Digest, Key};
use crate::layer::read::{Rules, read_tar};
use crate::layer::{EntryPath, LayerId};
use crate::sandbox::image::{Given, Shown, Special, SpecialKind, View};
use crate::store::{clock, write_whole};
use crate::wording;

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The step's id.
    pub step: String,
    /// The text of its key then; none if it was not known yet.
    pub key: Option<String>,
    /// When: nanoseconds since 1970.
    pub at: i64,
    /// What its programs had made of their state; none if it runs none in an image, or if that could not be kept.
    pub state: Option<KeptState>,
}

/// The state that programs which failed have left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptState {
    /// The layer of what they changed.
    layer: String,
    /// The layers that they stood on, lowest first.
    below: Vec<KeptLayer>,
    /// Where they started.
    folder: String,
    /// The environment of all programs of the run, and then what they had beside it.
    environment: [BTreeMap<String, String>; 2],
    network: bool,
    passing: Vec<KeptFile>,
    /// What stood in the sandbox's own folders.
    scratch: Vec<Special>,
    /// What stood in the image beside what the layers make.
    specials: Vec<Special>,
    sealed: Vec<Vec<u8>>,
    view: View,
    /// What of the host was shown, and where.
    shown: Vec<(PathBuf, Vec<u8>)>,
    script: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeptLayer {
    id: String,
    step: String,
    joins: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeptFile {
    path: Vec<u8>,
    mode: u32,
    bytes: Vec<u8>,
}

/// Keeps what the programs of `step` had made of `state` when they failed; `capture` is the tar of their changes, and
/// `below` what the step was given to stand on. Replaces what was kept of an earlier failure.
///
/// # Errors
///
/// Where it cannot be kept; that the step failed is all that matters then.
pub fn keep(
    step: &dyn Step,
    below: &Stack,
    state: &State,
    capture: &Path,
    world: &World,
) -> Result<(), Fault> {
    let failed = |error: std::io::Error| Fault::io("read", capture, &error);
    let tar = File::open(capture).map_err(failed)?;
    if tar.metadata().map_err(failed)?.len() == 0 {
        return Err(Fault::build("failed/capture", "what was changed could not be taken"));
    }
    let epoch = world.epoch;
    let rules = Rules { to: EntryPath::root(), owner: None, epoch, keep_times: true, root_counts: true };
    let gathered = read_tar(&mut BufReader::with_capacity(1 << 18, &tar), &rules, None)
        .map_err(|bad| Fault::build("failed/capture", format!("cannot take in what was changed: {bad}")))?;
    let layer = upper_layer(gathered, &tar, &state.root.merged, |_| true, world)?;
    let mut key = step.facts(world, false)?.key;
    if !below.layers.is_empty() {
        step.below_facts(&below.below(), &mut key);
    }
    let kept = KeptState::of(state, layer.id);
    write(
        world,
        &Failed { step: step.id(), key: Some(key.text().into()), at: clock::now(), state: Some(kept) },
    )
}

/// Notes that a step failed of which there is no state to keep.
pub fn note(step: &str, key: Option<&Key>, world: &World) -> Result<(), Fault> {
    let key = key.map(|key| key.text().to_string());
    write(world, &Failed { step: step.to_string(), key, at: clock::now(), state: None })
}

/// What is known of the step's last failure, if it has not succeeded since.
pub fn read(step: &str, world: &World) -> Option<Failed> {
    read_file(&path(step, world)).filter(|failed| failed.step == step)
}

/// What is known of the last failure of all.
pub fn latest(world: &World) -> Option<Failed> {
    all(world).into_iter().max_by_key(|failed| failed.at)
}

/// All steps that failed last, in no order.
pub fn all(world: &World) -> Vec<Failed> {
    let files = fs::read_dir(folder(world)).into_iter().flatten().flatten();
    files.filter_map(|file| read_file(&file.path())).collect()
}

/// Forgets that the step failed: it did well since.
pub fn forget(step: &str, world: &World) {
    // What stays is told of a step that is fresh, where nobody takes it for news.
    let _ = fs::remove_file(path(step, world));
}

impl Failed {
    /// The state in which the step's programs failed: what they had changed on top of what they stood on.
    ///
    /// # Errors
    ///
    /// `failed/none` where no state was kept, `failed/gone` where it is no longer in the cache.
    pub fn state(&self, world: &World, job: &Job<'_>) -> Result<State, Fault> {
        let step = wording::printable(&self.step);
        let Some(kept) = &self.state else {
            let message = format!("`{step}` failed, and left no state that could be opened");
            return Err(Fault::error("failed/none", message)
                .help("only programs that run in the image leave one; build again to see what it said"));
        };
        let stack = kept.stack(world).ok_or_else(|| {
            let message = format!("the state in which `{step}` failed is no longer in the cache");
            Fault::error("failed/gone", message).help("build again: when it fails, its state is kept anew")
        })?;
        let mut state = State::of(stack, world, job)?;
        state.run.passing = kept.passing.iter().filter_map(KeptFile::given).collect();
        state.run.scratch = kept.scratch.iter().filter(|special| is_there(special)).cloned().collect();
        let beside = kept.specials.iter().filter(|special| is_there(special)).cloned();
        let merged = &state.root.merged;
        state.run.specials.extend(beside.filter(|special| merged.get(&special.path).is_none()));
        state.run.sealed =
            kept.sealed.iter().filter_map(|path| EntryPath::parse(path.as_slice()).ok()).collect();
        state.run.view = kept.view;
        state.run.hidden.clone_from(&world.hidden);
        let shown = |(host, at): &(PathBuf, Vec<u8>)| {
            Some(Shown { host: host.clone(), at: EntryPath::parse(at.as_slice()).ok()? })
        };
        // What is gone of the host since then cannot be shown.
        state.run.shown = kept.shown.iter().filter(|(host, _)| host.exists()).filter_map(shown).collect();
        state.run.network = kept.network;
        let [all, own] = &kept.environment;
        (state.run.environment, state.environment) = (all.clone(), own.clone());
        (state.folder, state.script) = (kept.folder.clone(), kept.script.clone());
        Ok(state)
    }
}

impl KeptState {
    fn of(state: &State, layer: LayerId) -> KeptState {
        let below = |layer: &StackLayer| KeptLayer {
            id: layer.layer.id.to_string(),
            step: layer.step.clone(),
            joins: layer.joins,
        };
        let passing = |given: &Given| KeptFile {
            path: given.path.as_bytes().to_vec(),
            mode: given.mode,
            bytes: given.bytes.clone(),
        };
        let shown = |shown: &Shown| (shown.host.clone(), shown.at.as_bytes().to_vec());
        let beside_root = |special: &&Special| state.root.merged.get(&special.path).is_none();
        KeptState {
            layer: layer.to_string(),
            below: state.stack.layers.iter().map(below).collect(),
            folder: state.folder.clone(),
            environment: [state.run.environment.clone(), state.environment.clone()],
            network: state.run.network,
            passing: state.run.passing.iter().map(passing).collect(),
            scratch: state.run.scratch.clone(),
            specials: state.run.specials.iter().filter(beside_root).cloned().collect(),
            sealed: state.run.sealed.iter().map(|path| path.as_bytes().to_vec()).collect(),
            view: state.run.view,
            shown: state.run.shown.iter().map(shown).collect(),
            script: state.script.clone(),
        }
    }

    /// The layers, if all of them are still there.
    fn stack(&self, world: &World) -> Option<Stack> {
        let own = KeptLayer { id: self.layer.clone(), step: String::new(), joins: false };
        let open = |kept: &KeptLayer| {
            let layer = world.store.layer(LayerId(kept.id.parse().ok()?))?;
            world.store.touch(layer.id);
            let place = Place::new(&Source::new("the cache", ""), 0..0);
            Some(StackLayer {
                name: kept.step.clone(),
                step: kept.step.clone(),
                kind: "kept",
                place,
                layer,
                found: Vec::new(),
                joins: kept.joins,
            })
        };
        Some(Stack { layers: self.below.iter().chain([&own]).map(open).collect::<Option<_>>()? })
    }
}

impl KeptFile {
    fn given(&self) -> Option<Given> {
        let path = EntryPath::parse(self.path.as_slice()).ok()?;
        Some(Given { path, mode: self.mode, bytes: self.bytes.clone() })
    }
}

/// Whether its content can still be read: a file of the project may be gone since then.
fn is_there(special: &Special) -> bool {
    !matches!(&special.kind, SpecialKind::File { file, .. } if !file.exists())
}

fn folder(world: &World) -> PathBuf {
    world.kept.join("failed")
}

fn path(step: &str, world: &World) -> PathBuf {
    folder(world).join(Digest::of(step).short())
}

/// The CRC-32 of the rest, and then JSON, as in the journal.
fn write(world: &World, failed: &Failed) -> Result<(), Fault> {
    let path = path(&failed.step, world);
    if path.is_dir() {
        // Damage: a record is a file.
        fs::remove_dir_all(&path).map_err(|error| Fault::io("remove", &path, &error))?;
    }
    // Plain data: it can be written, and an empty text would not be read again.
    let json = serde_json::to_string(failed).unwrap_or_default();
    write_whole(&path, format!("{:08x} {json}", crc32fast::hash(json.as_bytes())).as_bytes())
}

fn read_file(path: &Path) -> Option<Failed> {
    let text = fs::read_to_string(path).ok()?;
    let (crc, json) = text.split_once(' ')?;
    let stated = u32::from_str_radix(crc, 16).ok()?;
    (stated == crc32fast::hash(json.as_bytes())).then(|| serde_json::from_str(json).ok())?
}
