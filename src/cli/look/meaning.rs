//! What a name means: a target, an overlay, a step, a tar file, a disk or a folder.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::json_line;
use crate::cli::contract::TargetAnswer;
use crate::cli::exit::Exit;
use crate::cli::folded;
use crate::cli::session::{Project, Session};
use crate::fault::{Fault, Faults, Place, Source};
use crate::lang::Spanned;
use crate::manifest::{Image, Manifest, Use};
use crate::outputs::disk::Machine;
use crate::plan::graph::Target;
use crate::plan::{Graph, StepId, Work};
use crate::steps::overlay::Overlay;
use crate::store::Access;
use crate::wording;
use crate::work::Step;

/// What a name means.
#[derive(Debug)]
pub enum Meaning {
    /// An image, as its layers make it.
    Image {
        /// Where it is built.
        project: Box<Project>,
        /// Its graph.
        graph: Graph,
        /// Its layers, lowest first.
        stack: Vec<StepId>,
        /// The step that packs it, if that was named and not a target.
        output: Option<StepId>,
    },
    /// One layer.
    Layer {
        /// Where it is built.
        project: Box<Project>,
        /// Its graph.
        graph: Graph,
        /// The step that makes it.
        step: StepId,
    },
    /// A tar file, or what is taken for one.
    Tar(PathBuf),
    /// A folder.
    Folder(PathBuf),
}

/// What `what` means: to the manifest, if there is one, and else on the disk; what has a slash in it is a path first.
pub fn of(session: &Session, what: &str) -> Result<Meaning, Faults> {
    let path = session.folder().join(what);
    // Nothing that a manifest has needs to be known for a path; nor may it take the time that this would.
    if what.contains('/')
        && let Some(meaning) = on_disk(&path)
    {
        return Ok(meaning);
    }
    let project = match session.project(Access::Use) {
        Ok(project) => project,
        // What is on the disk can be looked at without a manifest.
        Err(faults) => return on_disk(&path).ok_or(faults),
    };
    session.warn(&project.warnings);
    let mut project = Box::new(project);
    let graph = graph_with(session, &mut project, what)?;
    if let Some(target) = target(&graph, what)? {
        let stack = target.stack.clone();
        return Ok(Meaning::Image { project, graph, stack, output: None });
    }
    if let Some(step) = graph.find(&overlay_id(what)).or_else(|| graph.find(what)) {
        return Ok(match &graph.task(step).work {
            Work::Layer { .. } => Meaning::Layer { project, graph, step },
            Work::Output { stack, .. } => {
                let stack = graph.image_of(stack);
                Meaning::Image { project, graph, stack, output: Some(step) }
            }
        });
    }
    on_disk(&path).ok_or_else(|| unbuilt(&graph, what, &path).unwrap_or_else(|| unknown(&graph, what)).into())
}

/// The overlay of that name.
pub fn overlay(session: &Session, name: &str) -> Result<(Box<Project>, Graph, StepId), Faults> {
    let project = session.project(Access::Use)?;
    session.warn(&project.warnings);
    let mut project = Box::new(project);
    let graph = graph_with(session, &mut project, name)?;
    let id = overlay_id(name);
    match graph.find(&id) {
        Some(step) => Ok((project, graph, step)),
        None => {
            let ids = graph.steps.node_weights().map(|task| task.id.as_str());
            let names: Vec<&str> = ids.filter_map(|id| id.strip_prefix("overlay:")).collect();
            let shown = wording::printable(name);
            let fault = Fault::error("overlay/unknown", format!("no overlay is called `{shown}`"));
            Err(fault.maybe_help(wording::suggest(name, names.iter().copied())).into())
        }
    }
}

/// `imgbuild ls` without a name: the targets, what they are made of, and where their outputs go.
pub fn overview(session: &Session, json: bool) -> Result<Exit, Faults> {
    let project = session.project(Access::Look)?;
    session.warn(&project.warnings);
    let graph = project.graph()?;
    let mut text = String::new();
    for target in &graph.targets {
        let outputs: Vec<&PathBuf> =
            target.outputs.iter().filter_map(|step| path_of(&graph, *step)).collect();
        if json {
            let layers = target.stack.iter().map(|step| graph.task(*step).id.clone()).collect();
            let outputs = outputs.iter().map(|path| path.display().to_string()).collect();
            text.push_str(&json_line(&TargetAnswer { target: target.name.clone(), layers, outputs }));
            continue;
        }
        let _ = writeln!(text, "{}", session.terminal.bold(&target.name));
        let layers = folded::stack(&graph, &target.stack);
        layers.iter().for_each(|layer| text.push_str(&format!("  {layer}\n")));
        for path in outputs {
            let _ = writeln!(text, "  → {}", wording::printable(&session.shown(path)));
        }
    }
    session.terminal.answer(&text);
    Ok(Exit::Done)
}

/// The graph of a manifest in which every overlay that it declares has a step, used or not.
pub fn with_overlays(project: &mut Project) -> Result<Graph, Faults> {
    let overlays: Vec<Arc<dyn Step>> = project.manifest.overlays.clone();
    add(&mut project.manifest, overlays);
    project.graph()
}

/// The same, and in which the overlay `name` has one if it is found on the search path.
fn graph_with(session: &Session, project: &mut Project, name: &str) -> Result<Graph, Faults> {
    let graph = with_overlays(project)?;
    let is_found = || project.manifest.overlay_path.iter().any(|folder| folder.join(name).is_dir());
    if graph.find(&overlay_id(name)).is_some() || name.contains('/') || name.starts_with('.') || !is_found() {
        return Ok(graph);
    }
    let place = Place::new(&Source::new("the command line", name), 0..name.len());
    let overlay = Overlay::named(Spanned::new(name.to_string(), &place), &project.manifest.variables);
    let step = overlay.resolve(&session.said()?.folders, &project.manifest.overlay_path)?;
    add(&mut project.manifest, vec![step]);
    project.graph()
}

/// Adds an image of these layers to the manifest; its name is one that no text can give.
fn add(manifest: &mut Manifest, steps: Vec<Arc<dyn Step>>) {
    let Some(first) = steps.first() else { return };
    let name = Spanned::new(String::new(), first.place());
    let used = |step: &Arc<dyn Step>| Use { step: Arc::clone(step), place: step.place().clone() };
    let steps = steps.iter().map(used).collect();
    manifest.images.push(Image {
        name,
        version: None,
        debian: None,
        packages: Vec::new(),
        recommends: false,
        base: None,
        early: Vec::new(),
        steps,
        hooks: Vec::new(),
        machine: Machine::unsaid(crate::deb::own_arch(), first.place()),
        outputs: Vec::new(),
        hypervisors: Vec::new(),
    });
}

/// The target that is called so, by its whole name or by a half that is no other's.
pub fn target<'a>(graph: &'a Graph, name: &str) -> Result<Option<&'a Target>, Fault> {
    if name.is_empty() {
        return Ok(None);
    }
    if let Some(target) = graph.targets.iter().find(|target| target.name == name) {
        return Ok(Some(target));
    }
    let half = |target: &&Target| target.image == name || target.hypervisor.as_deref() == Some(name);
    let called: Vec<&Target> = graph.targets.iter().filter(half).collect();
    match called.as_slice() {
        [] => Ok(None),
        [target] => Ok(Some(target)),
        _ => {
            let names = wording::either(called.iter().map(|target| &target.name));
            let message = format!("`{name}` is {}", wording::count(called.len(), "target"));
            Err(Fault::error("target/ambiguous", message).help(format!("say which: {names}")))
        }
    }
}

fn path_of(graph: &Graph, step: StepId) -> Option<&PathBuf> {
    match &graph.task(step).work {
        Work::Output { path, .. } => Some(path),
        Work::Layer { .. } => None,
    }
}

fn on_disk(path: &Path) -> Option<Meaning> {
    let path = path.canonicalize().ok()?;
    Some(if path.is_dir() { Meaning::Folder(path) } else { Meaning::Tar(path) })
}

fn overlay_id(name: &str) -> String {
    format!("overlay:{name}")
}

/// The path is that of an output which is not there.
fn unbuilt(graph: &Graph, what: &str, path: &Path) -> Option<Fault> {
    let is_it =
        |step: &StepId| path_of(graph, *step).is_some_and(|output| output.components().eq(path.components()));
    let target = graph.targets.iter().find(|target| target.outputs.iter().any(is_it))?;
    let message = format!("`{}` is not built yet", wording::printable(what));
    let name = &target.name;
    let help = format!("`imgbuild build {name}` builds it; what it will hold is seen by the name `{name}`");
    Some(Fault::error("look/unbuilt", message).help(help))
}

fn unknown(graph: &Graph, what: &str) -> Fault {
    let targets = graph.targets.iter().map(|target| target.name.as_str());
    let ids = graph.steps.node_indices().map(|step| graph.task(step).id.as_str());
    let overlays = ids.clone().filter_map(|id| id.strip_prefix("overlay:"));
    let names: Vec<&str> = targets.chain(overlays).chain(ids).filter(|name| !name.is_empty()).collect();
    let shown = wording::printable(what);
    let fault = Fault::error(
        "look/unknown",
        format!("`{shown}` is no target, overlay, step, tar file, disk or folder"),
    );
    match wording::nearest(what, names.iter().copied()) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault.help("`imgbuild ls` says what there is"),
    }
}
