//! The manifest: what was asked for. Texts become declarations; nothing is looked at but the manifest's own files, and
//! whether what they name exists.
//!
//! In order: the file and what it includes are read and parsed (`load`); variables get their values
//! (`variables`); everything is held against the table of words, `when` blocks are taken in or left out, and what
//! fits is decoded (`decode`). Faults of every stage are reported together, as far as one stage can go on without
//! the other.

mod decode;
pub mod flavours;
pub mod hooks;
pub mod hypervisors;
mod load;
pub mod packages;
mod variables;
pub mod words;

use std::path::PathBuf;
use std::sync::Arc;

use crate::bases::debian;
use crate::deb::Wish;
use crate::fault::{Fault, Faults, Place};
use crate::lang::{Scope, Spanned};
use crate::outputs::disk::Machine;
use crate::steps::hook::Hook;
use crate::work::{Folders, Output, Step};

pub use load::Texts;

/// What a manifest asks for.
#[derive(Debug)]
pub struct Manifest {
    /// The project's folder: the one of the first file.
    pub project: PathBuf,
    /// The manifest, what it includes, and the files of its lists of packages, absolute.
    pub files: Vec<PathBuf>,
    /// Variables and their values.
    pub variables: Scope,
    /// The time that everything gets: seconds since 1970.
    pub epoch: i64,
    /// Folders that overlays are looked for in, absolute, first match wins.
    pub overlay_path: Vec<PathBuf>,
    /// Overlays that are declared, in the order of the text.
    pub overlays: Vec<Arc<dyn Step>>,
    /// The images, in the order of the text.
    pub images: Vec<Image>,
    /// What their outputs are written with, each once.
    pub tools: Vec<ToolSet>,
    /// Whether this machine's programs stand for these.
    pub host_tools: bool,
}

/// A tree whose programs outputs are written with.
#[derive(Debug)]
pub struct ToolSet {
    /// The packages in it.
    pub wishes: Vec<Wish>,
    /// What it stands on.
    pub base: debian::Spec,
}

impl ToolSet {
    /// The name of the first package, by which the tree is called.
    pub fn name(&self) -> &str {
        self.wishes.first().map_or("", |wish| &wish.name.value)
    }
}

/// An image.
#[derive(Debug)]
pub struct Image {
    /// Its name.
    pub name: Spanned<String>,
    /// Its version, if it has one.
    pub version: Option<String>,
    /// What it is made from, if that is a distribution's packages; then no base is among its steps.
    pub debian: Option<debian::Spec>,
    /// The packages on top of that, each once.
    pub packages: Vec<Wish>,
    /// Whether what those recommend comes along.
    pub recommends: bool,
    /// Its base, if that is not a distribution's packages.
    pub base: Option<Use>,
    /// Trees of files that flavours bring, right on top of the base.
    pub early: Vec<Use>,
    /// What goes on top of base and packages, lowest first.
    pub steps: Vec<Use>,
    /// Its hooks, those of one phase in the order in which they run.
    pub hooks: Vec<Hook>,
    /// Its disk, how that boots, and the machine that it is for.
    pub machine: Machine,
    /// Outputs of its own.
    pub outputs: Vec<Arc<dyn Output>>,
    /// What differs for hypervisors.
    pub hypervisors: Vec<Hypervisor>,
}

/// What differs for a hypervisor.
#[derive(Debug)]
pub struct Hypervisor {
    /// Its name.
    pub name: Spanned<String>,
    /// The packages on top of the image's, each once and none of those.
    pub packages: Vec<Wish>,
    /// Whether what those recommend comes along.
    pub recommends: bool,
    /// Trees of files that flavours bring, on top of the image's steps.
    pub early: Vec<Use>,
    /// What goes on top of the image's steps.
    pub steps: Vec<Use>,
    /// Its own hooks, those of one phase in the order in which they run.
    pub hooks: Vec<Hook>,
    /// Its disk, how that boots, and the machine that it is for.
    pub machine: Machine,
    /// Outputs.
    pub outputs: Vec<Arc<dyn Output>>,
}

/// A step where it is used.
#[derive(Clone, Debug)]
pub struct Use {
    /// The step.
    pub step: Arc<dyn Step>,
    /// Where it is used, which may be another place than where it is declared.
    pub place: Place,
}

/// What the caller says beside the manifest.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Where relative paths start.
    pub folders: Folders,
    /// Variables that are set, by name.
    pub set: Scope,
    /// The environment's variables; only those that a manifest declares `env=#true` are looked at.
    pub environment: Scope,
    /// `SOURCE_DATE_EPOCH`, if it is set.
    pub epoch: Option<i64>,
    /// Whether outputs are written with this machine's programs.
    pub host_tools: bool,
    /// Where overlays are looked for.
    pub overlays: SearchPath,
    /// Where hooks are looked for.
    pub hooks: SearchPath,
    /// Where flavours are looked for.
    pub flavours: SearchPath,
    /// What the user's configuration says of distributions.
    pub distributions: Vec<debian::Defaults>,
}

/// Folders that things are looked for in by their names, absolute.
#[derive(Clone, Debug, Default)]
pub struct SearchPath {
    /// Those before the manifest's own.
    pub before: Vec<PathBuf>,
    /// Those behind the manifest's own: the older tools'.
    pub behind: Vec<PathBuf>,
}

/// The time that everything gets unless something else is said: 2025-01-01T00:00:00Z.
pub const DEFAULT_EPOCH: i64 = 1_735_689_600;

/// What was read, as far as it could be, and everything that is wrong.
#[derive(Debug)]
pub struct Read {
    /// The manifest, if nothing keeps it from being one.
    pub manifest: Option<Manifest>,
    /// Errors and warnings.
    pub faults: Faults,
}

/// Reads the manifest in `texts`.
pub fn read(texts: &Texts, said: &Said) -> Read {
    let mut faults = texts.faults.clone();
    let scope = variables::scope(texts, said, &mut faults);
    let manifest = decode::decode(texts, scope, said, &mut faults);
    in_order(&mut faults.list, texts);
    let manifest = if faults.has_errors() { None } else { manifest };
    Read { manifest, faults }
}

/// What there is to tell of flavours that can be found from `texts`: of the one of that name, or of all.
pub fn flavours(texts: &Texts, said: &Said, name: Option<&str>) -> (Vec<flavours::Described>, Faults) {
    let mut faults = texts.faults.clone();
    let scope = variables::scope(texts, said, &mut faults);
    let described = decode::flavours(texts, &scope, said, name, &mut faults);
    (described, faults)
}

/// Faults as somebody who mends them goes through the files: from the top of each to its end, whichever stage found
/// them.
fn in_order(faults: &mut [Fault], texts: &Texts) {
    let mut files: Vec<&str> = Vec::new();
    for segment in &texts.segments {
        if !files.contains(&segment.source.name.as_str()) {
            files.push(&segment.source.name);
        }
    }
    faults.sort_by_cached_key(|fault| {
        let place = fault.labels.first().map(|label| &label.place);
        place.map(|place| {
            // Files that are no manifests, such as lists of packages, come last.
            let file = files.iter().position(|name| *name == place.source.name);
            (file.unwrap_or(files.len()), place.source.name.clone(), place.start)
        })
    });
}
