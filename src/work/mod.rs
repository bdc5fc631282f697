//! Work: what every step is, whatever it makes.
//!
//! A step states its key without doing anything ([`Step::facts`], [`Output::facts`]); whether it runs, when, and where
//! its result goes is for others to say. A [`Step`] makes a layer; an [`Output`] writes a file out of a stack of layers.
//! Neither knows the graph that it stands in.

pub mod capture;
pub mod failed;
pub mod folders;
mod groups;
pub mod roots;
mod shared;
mod stack;
mod state;
pub mod upper;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use folders::Folders;
pub use groups::Group;
pub use shared::{Shared, SharedFile};
pub use stack::{Stack, StackLayer};
pub use state::State;

use crate::codec::{Block, Earlier};
use crate::deb::Deb;
use crate::deb::fetch::Fetcher;
use crate::fault::{Fault, Place};
use crate::key::Key;
use crate::layer::{LayerId, Merged};
use crate::sandbox::image::{Given, ImageRun};
use crate::store::{Layer, Store};
use crate::tree::{Memory, Tree};
use crate::wording;

/// What steps may look at.
#[derive(Debug)]
pub struct World {
    /// The project's folder, absolute.
    pub project: PathBuf,
    /// The manifest, what it is read together with, and its lock, absolute.
    pub manifest_files: Vec<PathBuf>,
    /// The project's folder in the store.
    pub kept: PathBuf,
    /// What was built before.
    pub store: Store,
    /// What the project's files hold.
    pub memory: Memory,
    /// The time that everything made here gets: seconds since 1970.
    pub epoch: i64,
    /// Folders that overlays are looked for in, absolute, first match wins.
    pub overlay_path: Vec<PathBuf>,
    /// Folders that no program may see (the caller's home, the project but for what a step declares).
    pub hidden: Vec<PathBuf>,
    /// What brings files from the network.
    pub fetcher: Fetcher,
    /// What was merged last.
    pub merges: roots::Merges,
    /// What several outputs are made from.
    pub shared: Shared,
    /// How many threads one step may use for compressing.
    pub threads: usize,
    /// Program that answers inside the sandbox: this one.
    pub program: PathBuf,
}

impl World {
    /// `path` as people would type it in the project's folder.
    pub fn shown(&self, path: &Path) -> String {
        match path.strip_prefix(&self.project) {
            Ok(inside) if inside.as_os_str().is_empty() => ".".into(),
            inside => inside.unwrap_or(path).display().to_string(),
        }
    }

    /// What a stack looks like from above as an image, as [`Stack::image`] has it: what was merged last is not merged anew.
    ///
    /// # Errors
    ///
    /// Of [`Stack::image`].
    pub fn image(&self, stack: &Stack) -> Result<Merged, Fault> {
        stack.as_image(self.merges.merged(stack)?, self.epoch)
    }
}

/// A step's key so far, and where its facts come from.
#[derive(Debug, Default)]
pub struct Facts {
    /// The key.
    pub key: Key,
    /// What was looked at, so that a changed digest can be told as a changed file.
    pub sources: Vec<Source>,
}

/// A file or folder of the project behind a fact.
#[derive(Debug)]
pub struct Source {
    /// The fact's name in the key.
    pub fact: String,
    /// Where it is, absolute.
    pub path: PathBuf,
    /// The path as people know it.
    pub shown: String,
    /// What is in it, if it is a folder.
    pub tree: Option<Arc<Tree>>,
}

impl Facts {
    /// Facts without sources.
    pub fn new(key: Key) -> Facts {
        Facts { key, sources: Vec::new() }
    }

    /// States a folder's digest.
    pub fn tree(&mut self, fact: &str, path: &Path, world: &World, tree: Arc<Tree>) {
        self.key.fact(fact, tree.digest);
        let (fact, shown) = (fact.to_string(), world.shown(path));
        self.sources.push(Source { fact, path: path.to_path_buf(), shown, tree: Some(tree) });
    }

    /// States a file's size and digest.
    pub fn file(
        &mut self,
        fact: &str,
        path: &Path,
        world: &World,
        (size, digest): (u64, crate::key::Digest),
    ) {
        self.key.fact(fact, format_args!("{digest} {size}"));
        let (fact, shown) = (fact.to_string(), world.shown(path));
        self.sources.push(Source { fact, path: path.to_path_buf(), shown, tree: None });
    }
}

/// A layer below a step, before anybody opens it.
#[derive(Clone, Debug)]
pub struct Below {
    /// The step that made it.
    pub step: String,
    /// What kind of step that is.
    pub kind: &'static str,
    /// What the layer is called.
    pub name: String,
    /// The layer.
    pub layer: LayerId,
    /// What the step found out while it ran.
    pub found: Vec<String>,
    /// Whether it is part of the layer above it (see [`Step::joins`]).
    pub joins: bool,
}

/// Makes a layer: out of the project's files, or of what the network has, or of the layers below it.
pub trait Step: Send + Sync + Debug {
    /// `KIND:NAME`, the same from run to run.
    fn id(&self) -> String;
    /// What kind of step it is.
    fn kind(&self) -> &'static str;
    /// What its layer is called on a CD-ROM or in a listing.
    fn name(&self) -> String;
    /// Where the manifest asks for it.
    fn place(&self) -> &Place;

    /// Whether its layer is only a part of the one above it: where layers are shown or kept apart, the two are one.
    fn joins(&self) -> bool {
        false
    }

    /// The package's file that it is made from, and the mirrors that may have it.
    fn file(&self) -> Option<(&Deb, &[String])> {
        None
    }

    /// States everything that its layer depends on but the layers below. `parallel` must be false inside a job.
    fn facts(&self, world: &World, parallel: bool) -> Result<Facts, Fault>;

    /// The architecture, as Debian names it, whose programs it runs inside the image, if it does.
    fn runs_programs_of(&self) -> Option<&str> {
        None
    }

    /// Seconds that it is likely to take. Asked only where it never ran: it decides what comes first, nothing else.
    fn likely_seconds(&self) -> f64 {
        1.0
    }

    /// Whether it finds out while it runs what else it depends on (see [`Step::found_facts`]).
    fn finds(&self) -> bool {
        false
    }

    /// Adds, to its facts, what it found out when it ran last, as that is now.
    fn found_facts(&self, _world: &World, _found: &[String], _facts: &mut Facts) -> Result<(), Fault> {
        Ok(())
    }

    /// What keeps it from running as things are, asked before any work starts and only of a step that will run.
    fn ready(&self) -> Vec<Fault> {
        Vec::new()
    }

    /// Whether its programs read files of the project themselves, so that these must be looked at again behind it.
    fn reads_live(&self) -> bool {
        self.finds()
    }

    /// Whether its layer is no part of the image: only steps that stand on it see it.
    fn is_aside(&self) -> bool {
        false
    }

    /// Whether it stands on what `other` made, which is below it in an image: then it waits for that.
    fn stands_on(&self, _other: &dyn Step) -> bool {
        false
    }

    /// States what it depends on of the layers that it stands on, lowest first.
    fn below_facts(&self, below: &[Below], key: &mut Key) {
        layer_facts(key, below, false);
    }

    /// How it runs its programs inside the image, on top of `below`, for who wants a look there; none if it runs none.
    fn state(&self, _world: &World, _below: &Stack, _job: &Job<'_>) -> Result<Option<State>, Fault> {
        Ok(None)
    }

    /// Files that are there while its programs run and that nobody keeps, as far as they can be read now.
    fn secrets(&self) -> Vec<Given> {
        Vec::new()
    }

    /// Makes the layer; `below` holds the layers that it stands on.
    fn make(&self, world: &World, below: &Stack, job: &Job<'_>) -> Result<Made, Fault>;
}

/// What a step made.
#[derive(Debug)]
pub struct Made {
    /// The layer.
    pub layer: Layer,
    /// What it found out while it ran, one line each.
    pub found: Vec<String>,
}

/// Writes a file, or a folder, out of a stack of layers.
pub trait Output: Send + Sync + Debug {
    /// What kind of output it is.
    fn kind(&self) -> &'static str;
    /// What a file of it is called by: `tar.xz`.
    fn extension(&self) -> String;
    /// What tells it from others of its target.
    fn name(&self) -> String {
        let (kind, extension) = (self.kind(), self.extension());
        // What it is must be said where the name of its file does not.
        if extension.starts_with(kind) { extension } else { format!("{kind}.{extension}") }
    }
    /// Where the manifest asks for it.
    fn place(&self) -> &Place;
    /// The path that the manifest states, if it does.
    fn path(&self) -> Option<&crate::lang::Spanned<String>>;
    /// States everything but the layers that it depends on.
    fn facts(&self, world: &World) -> Result<Facts, Fault>;
    /// Whether the layers show in it one by one, with their names.
    fn names_layers(&self) -> bool {
        false
    }
    /// The trees with the programs that it is written with: for each, the packages in it. The first one gives it its name.
    fn tools(&self) -> Vec<&'static [&'static str]> {
        Vec::new()
    }
    /// Whether it is a folder.
    fn is_folder(&self) -> bool {
        false
    }
    /// Whether its file only reports of what was done: also of a failure, and nothing is done again because it is gone.
    fn is_report(&self) -> bool {
        false
    }
    /// Whether it is made from the image, or only from the project's files and from what it [reads](Output::reads).
    fn needs_image(&self) -> bool {
        true
    }
    /// Whether it reads that other output of the same target: then it waits for it. No two read each other.
    fn reads(&self, _other: &dyn Output) -> bool {
        false
    }
    /// What is wrong with asking for it of this stack, before anything is built.
    fn check(&self, _names: &[String]) -> Option<Fault> {
        None
    }
    /// Writes it; whoever called puts it into its place.
    fn write(&self, writing: Writing<'_>) -> Result<Written, Fault>;
}

/// The writing of one output.
pub struct Writing<'a> {
    /// Where it is built.
    pub world: &'a World,
    /// The running of its step.
    pub job: &'a Job<'a>,
    /// The layers that it is made of.
    pub stack: &'a Stack,
    /// Where it is written, which is aside: nothing is there.
    pub path: &'a Path,
    /// Where it goes then.
    pub goes_to: &'a Path,
    /// What helps.
    pub aids: Aids,
}

/// What helps to write an output.
#[derive(Debug, Default)]
pub struct Aids {
    /// Its earlier version, and where its blocks are, which can be used again.
    pub earlier: Option<Earlier>,
    /// The trees of [`Output::tools`] by their names, to run programs in.
    pub tools: BTreeMap<String, ImageRun>,
    /// What [`Output::reads`], each with its kind, in the order of the text.
    pub outputs: Vec<(&'static str, PathBuf)>,
}

impl Aids {
    /// The tree of that name.
    ///
    /// # Errors
    ///
    /// The output did not ask for it.
    pub fn tool(&self, name: &str) -> Result<&ImageRun, Fault> {
        self.tools.get(name).ok_or_else(|| Fault::machine("internal", format!("there is no `{name}`")))
    }
}

/// What writing an output gave.
#[derive(Debug, Default)]
pub struct Written {
    /// Where its compressed blocks are, for the next version.
    pub blocks: Vec<Block>,
}

/// The running of one step: how it speaks, and how it learns that nobody waits for it any more.
pub struct Job<'a> {
    /// Set when all work is to end.
    pub cancel: &'a AtomicBool,
    /// Takes a line that a program said.
    pub say: &'a (dyn Fn(&str) + Sync),
    /// Takes a warning, which people see at once and which stays.
    pub warn: &'a (dyn Fn(Fault) + Sync),
    /// Where a program's words go.
    pub log: PathBuf,
}

impl Job<'_> {
    /// Ends the work if nobody waits for it any more.
    pub fn go_on(&self) -> Result<(), Fault> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Fault::build("build/interrupted", "interrupted"));
        }
        Ok(())
    }

    /// Warns of programs that a step left running, and that were ended: `names` as the sandbox tells them, and the
    /// place that stands for the step.
    pub fn warn_of_left(&self, names: &[String], place: &Place, label: &str) {
        if names.is_empty() {
            return;
        }
        let (it, was) = if names.len() == 1 { ("it", "was") } else { ("them", "were") };
        let message = format!("{} still ran in the end, and {was} ended", wording::all(names));
        let help = format!("end {it} in what started {it}: only files stay in an image");
        (self.warn)(Fault::warning("step/left", message).at(place, label).help(help));
    }
}

/// The kind of a step that stands for the programs an output is written with: its layer is in no image.
pub const TOOLS: &str = "tools";

/// The kind of a step that writes a file or a folder.
pub const OUTPUT: &str = "output";

/// The kind of an output that is a test: it runs where tests are asked for.
pub const TEST: &str = "test";

/// The layers that a stack is made of, as a key states them, and the outputs that are read.
pub fn layer_facts(key: &mut Key, layers: &[Below], names: bool) {
    for Below { layer, kind, name, joins, .. } in layers {
        match (names, joins) {
            _ if [TOOLS, OUTPUT].contains(kind) => key.fact(kind, format_args!("{layer} {name}")),
            (false, _) => key.fact("layer", layer),
            // A part goes by the name of the whole, which ends it.
            (true, true) => key.fact("layer", format_args!("{layer} +")),
            (true, false) => key.fact("layer", format_args!("{layer} {name}")),
        }
    }
}
