//! What is read and what is written must not be the same: an output in an overlay's folder would be part of its own
//! next version, and one over the manifest would be the end of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::graph::{Task, Work};
use super::judge::Plan;
use crate::fault::{Fault, Faults};
use crate::work::folders::real;
use crate::work::{Source, World};

/// Outputs that would be written over, or into, what steps are made from, or over the manifest's files.
pub(super) fn overlaps(plan: &Plan, world: &World) -> Faults {
    let mut sources: BTreeMap<PathBuf, (&Source, &Task)> = BTreeMap::new();
    for (step, judged) in &plan.steps {
        let task = plan.graph.task(*step);
        for source in &judged.facts.sources {
            sources.entry(real(&source.path)).or_insert((source, task));
        }
    }
    let files: BTreeSet<PathBuf> = world.manifest_files.iter().map(|file| real(file)).collect();
    let mut folders: HashMap<&Path, PathBuf> = HashMap::new();
    let mut faults = Faults::new();
    for task in plan.steps.keys().map(|step| plan.graph.task(*step)) {
        let Work::Output { path, .. } = &task.work else { continue };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let place = folders.entry(folder).or_insert_with(|| real(folder)).join(name);
        let shown = world.shown(path);
        if files.range(place.clone()..).next().is_some_and(|file| file.starts_with(&place)) {
            let lock = place.to_string_lossy().ends_with(".lock.kdl");
            let what = if lock { "the manifest's lock" } else { "the manifest itself" };
            let message = format!("`{shown}` would be written over {what}");
            faults.push(at(Fault::error("output/manifest", message), task));
        } else if let Some((source, step)) = read_there(&place, &sources) {
            let inside = path.starts_with(&source.path) && *path != source.path;
            let how = if inside { "into" } else { "over" };
            let message =
                format!("`{shown}` would be written {how} `{}`, which `{}` reads", source.shown, step.id);
            let fault = at(Fault::error("output/source", message), task);
            faults.push(if step.id == task.id { fault } else { fault.at(&step.place, "and is read here") });
        }
    }
    faults
}

/// The source that would change, or go, if something were written to `place`.
fn read_there<'a>(
    place: &Path,
    sources: &BTreeMap<PathBuf, (&'a Source, &'a Task)>,
) -> Option<(&'a Source, &'a Task)> {
    // Paths sort by their components: what is below the place comes right behind it.
    let below = sources.range(place.to_path_buf()..).next().filter(|(path, _)| path.starts_with(place));
    let above = || {
        let mut above = place.ancestors().skip(1).filter_map(|path| Some((path, sources.get(path)?)));
        above.find(|(path, (source, _))| holds(source, place.strip_prefix(path).unwrap_or(place)))
    };
    below.map(|(_, found)| *found).or_else(|| above().map(|(_, found)| *found))
}

/// Whether the folder of the source takes in what is at `inside`: a folder on the way that is left out takes what is in
/// it along.
fn holds(source: &Source, inside: &Path) -> bool {
    let Some(tree) = &source.tree else { return false };
    let mut ways = inside.ancestors().filter(|path| !path.as_os_str().is_empty());
    !ways.any(|path| tree.filter.excludes(path.as_os_str().as_encoded_bytes()))
}

fn at(fault: Fault, task: &Task) -> Fault {
    fault
        .at(&task.place, "this output")
        .help("give it another place with `path=`; without one it goes to `build/`")
}
