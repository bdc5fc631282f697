//! What programs see: the shapes of `--json`. They only grow. Their JSON Schemas are in `schema/`.

use schemars::JsonSchema;
use serde::Serialize;

use super::look::Item;
pub use super::messages::json::FaultLine;
use crate::fault::Place;
use crate::hooks::Phase;
use crate::layer::diff::Difference;
use crate::layer::{EntryPath, Kind};
use crate::manifest::flavours::{Described, Whence};
use crate::plan::{Judged, Plan, State, StepId};
use crate::store::Kept;
use crate::work::Stack;

/// A line of `imgbuild packages --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PackageAnswer {
    /// `IMAGE` or `IMAGE:HYPERVISOR`.
    pub target: String,
    /// The package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, or `all`.
    pub arch: String,
    /// Bytes of its file.
    pub size: u64,
    /// The set that it belongs to: the base, or a target.
    pub set: String,
    /// The list, the target, or the base's variant that asks for it; null if it only came along.
    pub asked: Option<String>,
}

/// A line of `imgbuild flavours --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FlavourAnswer {
    /// Its name.
    pub name: String,
    /// One line on what it is for; null if it does not say.
    pub summary: Option<String>,
    /// `stock`, `folder` or `manifest`.
    pub source: FlavourSourceAnswer,
    /// The folder, or the manifest and the line; null for imgbuild's own.
    pub place: Option<String>,
    /// What may be set.
    pub settings: Vec<SettingAnswer>,
    /// The flavours that it needs.
    pub needs: Vec<String>,
    /// The flavours that it takes the place of.
    pub provides: Vec<String>,
    /// The packages that it asks for by default, as on this machine's architecture.
    pub packages: Vec<String>,
    /// The paths that it states itself.
    pub files: Vec<String>,
    /// Its hooks, by phase.
    pub hooks: Vec<FlavourHookAnswer>,
    /// Its README, as a text; null if it has none.
    pub readme: Option<String>,
}

/// Where a flavour is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlavourSourceAnswer {
    /// It is imgbuild's own.
    Stock,
    /// It has a folder on the search path.
    Folder,
    /// It stands in a manifest.
    Manifest,
}

/// What may be set of a flavour.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SettingAnswer {
    /// Its name.
    pub name: String,
    /// Its value when nobody sets it; null if it must be set.
    pub default: Option<String>,
    /// What it is for.
    pub docs: String,
}

/// A hook of a flavour.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FlavourHookAnswer {
    /// When it runs.
    pub phase: String,
    /// Its name.
    pub name: String,
}

/// A line of `imgbuild update --json`: a package that changes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UpdateAnswer {
    /// The set that it belongs to: the base, or a target.
    pub set: String,
    /// The package.
    pub name: String,
    /// Its locked version; null if it is new.
    pub was: Option<String>,
    /// Its version from now on; null if it goes.
    pub now: Option<String>,
}

/// `imgbuild plan --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PlanAnswer {
    /// How many steps are in which state.
    pub summary: Summary,
    /// The steps, in an order in which each comes after all that it stands on.
    pub steps: Vec<StepAnswer>,
}

/// How many steps are in which state.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Summary {
    /// Steps that will run.
    pub run: usize,
    /// Steps whose result is there.
    pub fresh: usize,
    /// Steps that depend on what a step below them makes.
    pub maybe: usize,
}

/// A step of a plan.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StepAnswer {
    /// `KIND:NAME`, and what tells it apart; the same from run to run.
    pub id: String,
    /// What kind of step it is.
    pub kind: String,
    /// The targets that need it: `IMAGE` or `IMAGE:HYPERVISOR`.
    pub targets: Vec<String>,
    /// `run`, `fresh` or `maybe`.
    pub state: StateAnswer,
    /// The steps that it stands on, lowest first.
    pub needs: Vec<String>,
    /// The digest of its key; null as long as it is not known.
    pub key: Option<String>,
    /// Why it runs: root causes, and the steps that it follows from.
    pub why: Vec<CauseAnswer>,
    /// Where the manifest asks for it.
    pub place: PlaceAnswer,
    /// How long it took when it last ran; null if it never did.
    pub seconds: Option<f64>,
}

/// What a step would do.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StateAnswer {
    /// It will run.
    Run,
    /// Its result is there.
    Fresh,
    /// It depends on what a step below it makes.
    Maybe,
}

/// Why a step runs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CauseAnswer {
    /// The fact that differs: a fact of the key, or a file of the project.
    pub fact: String,
    /// What it was.
    pub was: Option<String>,
    /// What it is.
    pub now: Option<String>,
    /// The same in words.
    pub text: String,
    /// The step that this follows from; null for a root cause.
    pub follows: Option<String>,
}

/// A place in a text.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlaceAnswer {
    /// The file, as the caller would type it.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// A line of `imgbuild build --json`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum EventAnswer {
    /// The plan, before anything runs.
    Planned {
        /// Steps that will run.
        run: usize,
        /// Steps whose result is there.
        fresh: usize,
        /// Steps that depend on what a step below them makes.
        maybe: usize,
        /// The step that failed last time, where all before it are fresh: its place in the plan, from 1; else null.
        continues_at: Option<usize>,
    },
    /// A step began to run.
    Started {
        /// The step.
        step: String,
        /// Seconds since the build began.
        at: f64,
    },
    /// A program of a step said a line.
    Said {
        /// The step.
        step: String,
        /// The line, control characters made visible.
        line: String,
    },
    /// A step warned of something, and goes on.
    Warning {
        /// The step.
        step: String,
        /// The fault, in the shape of `--message-format json`.
        fault: serde_json::Value,
    },
    /// Packages came, ahead of the steps that unpack them.
    Fetching {
        /// Seconds since the build began.
        at: f64,
        /// How many have come, or were given up.
        packages: usize,
        /// How many there are to come in all.
        of: usize,
        /// How many bytes have come.
        bytes: u64,
        /// How many there are to come in all.
        total: u64,
    },
    /// A step ran.
    Ran {
        /// The step.
        step: String,
        /// Seconds since the build began.
        at: f64,
        /// How long it took.
        seconds: f64,
        /// Whether what it made is another result than last time.
        changed: bool,
    },
    /// A step failed.
    Failed {
        /// The step.
        step: String,
        /// The fault, in the shape of `--message-format json`.
        fault: serde_json::Value,
    },
    /// A step was not begun, because another one failed or the build was interrupted.
    Skipped {
        /// The step.
        step: String,
    },
    /// The build was to pause here, and ends: there is nobody to open a shell for.
    Stopped {
        /// `before` or `after`.
        when: String,
        /// The step.
        step: String,
    },
    /// The last line.
    Finished {
        /// Steps that ran.
        ran: usize,
        /// Steps that had nothing to do.
        fresh: usize,
        /// Steps that failed.
        failed: usize,
        /// Steps that were not begun.
        skipped: usize,
        /// How long the build took.
        seconds: f64,
        /// Where the next build goes on, if a step failed: a place in the plan, from 1; else null.
        continues_at: Option<usize>,
        /// Every output of the targets that were asked for and is there.
        outputs: Vec<OutputAnswer>,
    },
}

/// A file or folder that was asked for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OutputAnswer {
    /// Its target.
    pub target: String,
    /// What kind of output it is.
    pub kind: String,
    /// Where it is, absolute.
    pub path: String,
    /// Whether it was written by this build.
    pub written: bool,
}

/// A line of `imgbuild ls --json` without a name: a target.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TargetAnswer {
    /// `IMAGE` or `IMAGE:HYPERVISOR`.
    pub target: String,
    /// The steps that make its layers, lowest first.
    pub layers: Vec<String>,
    /// Where its outputs go, absolute.
    pub outputs: Vec<String>,
}

/// A line of `imgbuild ls --json` and of `imgbuild overlay --json`: a path and what is there.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EntryAnswer {
    /// Relative to the root; the root itself is empty. What is no UTF-8 in it is replaced.
    pub path: String,
    /// What is there.
    pub kind: KindAnswer,
    /// Permission bits in octal: `0644`.
    pub mode: String,
    /// `USER:GROUP`, names or numbers.
    pub owner: String,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Bytes of content.
    pub size: u64,
    /// Of a file's content: SHA-256 in hex.
    pub digest: Option<String>,
    /// Where a link leads; for another name of a file, the path that holds the content.
    pub target: Option<String>,
    /// Of a device: its numbers.
    pub device: Option<DeviceAnswer>,
    /// The step that brings it; null where there is only one layer, tar or folder.
    pub step: Option<String>,
    /// The steps whose file at this path it hides, lowest first.
    pub hides: Vec<String>,
}

/// Which driver a device is of, and which of its devices it is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeviceAnswer {
    /// The driver.
    pub major: u32,
    /// The device.
    pub minor: u32,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KindAnswer {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// Another name of a file.
    Hardlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
    /// A marker that removes what is below.
    Whiteout,
    /// A marker that removes what is below in this directory.
    Opaque,
}

/// A line of `imgbuild diff --json`: a path that differs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DifferenceAnswer {
    /// Relative to the root. What is no UTF-8 in it is replaced.
    pub path: String,
    /// How it differs.
    pub change: ChangeAnswer,
    /// What differs of a path that both have, in words.
    pub what: Vec<String>,
}

/// How a path differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeAnswer {
    /// Only the second has it.
    Added,
    /// Only the first has it.
    Removed,
    /// Both have it.
    Changed,
}

/// A line of `imgbuild cache list --json`: a layer that is kept.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LayerAnswer {
    /// Its identity.
    pub id: String,
    /// Bytes on the disk.
    pub size: u64,
    /// Seconds since a build last used it.
    pub age: i64,
    /// The steps that made or found it last, over all projects.
    pub steps: Vec<String>,
}

impl FlavourAnswer {
    /// The answer that tells of a flavour.
    pub fn of(described: &Described) -> FlavourAnswer {
        let (source, place) = match &described.whence {
            Whence::Stock => (FlavourSourceAnswer::Stock, None),
            Whence::Folder(folder) => (FlavourSourceAnswer::Folder, Some(folder.clone())),
            Whence::Manifest(place) => (FlavourSourceAnswer::Manifest, Some(place.clone())),
        };
        let setting = |(name, default, docs): &(String, Option<String>, String)| SettingAnswer {
            name: name.clone(),
            default: default.clone(),
            docs: docs.clone(),
        };
        let hook = |(phase, name): &(Phase, String)| FlavourHookAnswer {
            phase: phase.word().into(),
            name: name.clone(),
        };
        FlavourAnswer {
            name: described.name.clone(),
            summary: described.summary.clone(),
            source,
            place,
            settings: described.settings.iter().map(setting).collect(),
            needs: described.needs.clone(),
            provides: described.provides.clone(),
            packages: described.packages.clone(),
            files: described.files.clone(),
            hooks: described.hooks.iter().map(hook).collect(),
            readme: described.readme.clone(),
        }
    }
}

impl EntryAnswer {
    /// The answer that tells of an entry whose layers are those of `stack`.
    pub fn of(item: &Item, stack: &Stack) -> EntryAnswer {
        let entry = &item.entry;
        let step = |layer: &usize| stack.layers.get(*layer).map(|layer| layer.step.clone());
        let (kind, target) = match &entry.kind {
            Kind::Directory => (KindAnswer::Directory, None),
            Kind::File { .. } => (KindAnswer::File, None),
            Kind::Symlink(target) => (KindAnswer::Symlink, Some(lossy(target))),
            Kind::Hardlink(target) => (KindAnswer::Hardlink, Some(lossy(target.as_bytes()))),
            Kind::Character(..) => (KindAnswer::Character, None),
            Kind::Block(..) => (KindAnswer::Block, None),
            Kind::Fifo => (KindAnswer::Fifo, None),
            Kind::Whiteout => (KindAnswer::Whiteout, None),
            Kind::Opaque => (KindAnswer::Opaque, None),
        };
        let digest = match &entry.kind {
            Kind::File { digest, .. } => Some(digest.to_string()),
            _ => None,
        };
        let device = match entry.kind {
            Kind::Character(major, minor) | Kind::Block(major, minor) => Some(DeviceAnswer { major, minor }),
            _ => None,
        };
        EntryAnswer {
            path: lossy(entry.path.as_bytes()),
            kind,
            mode: format!("{:04o}", entry.mode),
            owner: entry.owner.to_string(),
            mtime: entry.mtime,
            size: entry.kind.size(),
            digest,
            target,
            device,
            step: item.layer.as_ref().and_then(step),
            hides: item.hides.iter().filter_map(step).collect(),
        }
    }
}

impl DifferenceAnswer {
    /// The answer that tells of a difference at `path`.
    pub fn of(path: &EntryPath, difference: &Difference) -> DifferenceAnswer {
        let (change, what) = match difference {
            Difference::Added => (ChangeAnswer::Added, Vec::new()),
            Difference::Removed => (ChangeAnswer::Removed, Vec::new()),
            Difference::Changed(what) => (ChangeAnswer::Changed, what.clone()),
        };
        DifferenceAnswer { path: lossy(path.as_bytes()), change, what }
    }
}

impl LayerAnswer {
    /// The answer that tells of a layer.
    pub fn of(kept: &Kept) -> LayerAnswer {
        LayerAnswer {
            id: kept.id.to_string(),
            size: kept.size,
            age: kept.age,
            steps: kept.steps.iter().cloned().collect(),
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl PlanAnswer {
    /// The answer that tells of `plan`.
    pub fn of(plan: &Plan) -> PlanAnswer {
        PlanAnswer {
            summary: Summary {
                run: plan.count(State::Run),
                fresh: plan.count(State::Fresh),
                maybe: plan.count(State::Maybe),
            },
            steps: plan.steps.iter().map(|(step, judged)| StepAnswer::of(plan, *step, judged)).collect(),
        }
    }
}

impl StepAnswer {
    /// The answer that tells of one step.
    pub fn of(plan: &Plan, step: StepId, judged: &Judged) -> StepAnswer {
        let task = plan.graph.task(step);
        let name = |target: &usize| plan.graph.targets.get(*target).map(|target| target.name.clone());
        StepAnswer {
            id: task.id.clone(),
            kind: task.kind.to_string(),
            targets: task.targets.iter().filter_map(name).collect(),
            state: match judged.state {
                State::Run => StateAnswer::Run,
                State::Fresh => StateAnswer::Fresh,
                State::Maybe => StateAnswer::Maybe,
            },
            needs: plan.graph.needs(step).iter().map(|below| plan.graph.task(*below).id.clone()).collect(),
            key: judged.key.as_ref().map(|key| key.digest().to_string()),
            why: judged
                .why
                .iter()
                .map(|cause| CauseAnswer {
                    fact: cause.fact.clone(),
                    was: cause.was.clone(),
                    now: cause.now.clone(),
                    text: cause.text.clone(),
                    follows: cause.follows.clone(),
                })
                .collect(),
            place: PlaceAnswer::of(&task.place),
            seconds: judged.seconds,
        }
    }
}

impl PlaceAnswer {
    /// The answer that tells of a place.
    pub fn of(place: &Place) -> PlaceAnswer {
        let (line, column) = place.line_column();
        PlaceAnswer { file: place.source.name.clone(), line, column }
    }
}
