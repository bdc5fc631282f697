//! The graph: one for all images and hypervisors, every step in it once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use petgraph::Direction;
use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};

use super::{hooks, packages};
use crate::fault::{Fault, Faults, Place};
use crate::hooks::Phase;
use crate::manifest::{Hypervisor, Image, Manifest, ToolSet, Use};
use crate::resolve::Resolved;
use crate::steps::hook::Hook;
use crate::steps::host_tools::HostTools;
use crate::work::folders::real;
use crate::work::{OUTPUT, Output, Step, TEST, TOOLS};

/// A step in the graph.
pub type StepId = NodeIndex<u32>;

/// All steps of a manifest; an edge leads from a step to one that stands on it.
#[derive(Debug, Default)]
pub struct Graph {
    /// The steps.
    pub steps: DiGraph<Task, (), u32>,
    /// The targets, in the order of the text.
    pub targets: Vec<Target>,
    /// The project's folder.
    pub project: PathBuf,
    /// Whether outputs are written with this machine's own programs.
    pub host_tools: bool,
}

/// Something that can be asked for.
#[derive(Debug)]
pub struct Target {
    /// `IMAGE` or `IMAGE:HYPERVISOR`.
    pub name: String,
    /// The image's name.
    pub image: String,
    /// The hypervisor's name, if it is one's.
    pub hypervisor: Option<String>,
    /// The layers, lowest first.
    pub stack: Vec<StepId>,
    /// Its outputs.
    pub outputs: Vec<StepId>,
}

/// A step and where it stands.
#[derive(Debug)]
pub struct Task {
    /// `KIND:NAME`, and what tells it apart.
    pub id: String,
    /// What kind of step it is.
    pub kind: &'static str,
    /// Where the manifest asks for it first.
    pub place: Place,
    /// The targets that need it, by their position.
    pub targets: BTreeSet<usize>,
    /// What it does.
    pub work: Work,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Work {
    /// Makes a layer.
    Layer {
        /// The step.
        step: Arc<dyn Step>,
        /// The steps whose layers it stands on, lowest first.
        below: Vec<StepId>,
    },
    /// Writes a file or a folder.
    Output {
        /// The output.
        output: Arc<dyn Output>,
        /// Where it goes, absolute.
        path: PathBuf,
        /// What it is written with, then the image's layers, lowest first, if it needs them, and then the outputs that it
        /// reads.
        stack: Vec<StepId>,
    },
}

impl Graph {
    /// The graph of a manifest.
    ///
    /// # Errors
    ///
    /// Outputs that would overwrite each other, and what outputs find wrong with their stacks.
    pub fn of(manifest: &Manifest, resolved: &Resolved) -> Result<Graph, Faults> {
        let mut packages = packages::Steps::default();
        let of_tools = |tools: &ToolSet| {
            let steps = match manifest.host_tools {
                true => vec![host_tools(tools)],
                false => packages.of_tools(resolved, tools),
            };
            (tools.name().to_string(), steps)
        };
        let tools = manifest.tools.iter().map(of_tools).collect();
        let (project, host_tools) = (manifest.project.clone(), manifest.host_tools);
        let graph = Graph { project, host_tools, ..Graph::default() };
        let mut builder = Builder { graph, by_id: BTreeMap::new(), tools, faults: Faults::new() };
        for image in &manifest.images {
            let name = &image.name.value;
            let shared = shared(image, resolved, &mut packages);
            if !image.outputs.is_empty() || image.hypervisors.is_empty() {
                let mut all = shared.clone();
                all.extend(last(image, None));
                builder.target(name, None, &all, &image.outputs);
            }
            for hypervisor in &image.hypervisors {
                let mut all = shared.clone();
                all.extend(own(image, hypervisor, resolved, &mut packages));
                all.extend(last(image, Some(hypervisor)));
                let kind = Some(hypervisor.name.value.as_str());
                builder.target(name, kind, &all, &hypervisor.outputs);
            }
        }
        builder.check_paths();
        if builder.faults.has_errors() { Err(builder.faults) } else { Ok(builder.graph) }
    }

    /// The step.
    pub fn task(&self, step: StepId) -> &Task {
        &self.steps[step]
    }

    /// The steps in an order in which each comes after all that it stands on; ties as in the text.
    pub fn order(&self) -> Vec<StepId> {
        // Edges only lead from what was added earlier, so there is no cycle, and the indices are such an order.
        debug_assert!(toposort(&self.steps, None).is_ok(), "edges lead forward");
        self.steps.node_indices().collect()
    }

    /// What the step stands on, lowest first.
    pub fn needs(&self, step: StepId) -> &[StepId] {
        match &self.task(step).work {
            Work::Output { stack, .. } => stack,
            Work::Layer { below, .. } => below,
        }
    }

    /// The layers of an output, lowest first, without what it is written with.
    pub fn image_of(&self, stack: &[StepId]) -> Vec<StepId> {
        let is_image = |step: &&StepId| self.layer(**step).is_some_and(|layer| !layer.is_aside());
        stack.iter().filter(is_image).copied().collect()
    }

    /// The step that makes a layer; none for an output.
    pub fn layer(&self, step: StepId) -> Option<&dyn Step> {
        match &self.task(step).work {
            Work::Layer { step, .. } => Some(step.as_ref()),
            Work::Output { .. } => None,
        }
    }

    /// Whether an output is written with this machine's own programs, of which not all is in its key.
    pub fn is_of_host(&self, output: StepId) -> bool {
        self.host_tools && self.needs(output).iter().any(|below| self.task(*below).kind == TOOLS)
    }

    /// A path as people of the project know it.
    pub fn shown(&self, path: &Path) -> String {
        match path.strip_prefix(&self.project) {
            Ok(inside) if inside.as_os_str().is_empty() => ".".into(),
            inside => inside.unwrap_or(path).display().to_string(),
        }
    }

    /// The steps that stand on it.
    pub fn needed_by(&self, step: StepId) -> Vec<StepId> {
        self.steps.neighbors_directed(step, Direction::Outgoing).collect()
    }

    /// The steps, and all that they stand on.
    pub fn closure(&self, steps: impl IntoIterator<Item = StepId>) -> BTreeSet<StepId> {
        let mut closed = BTreeSet::new();
        let mut todo: Vec<StepId> = steps.into_iter().collect();
        while let Some(step) = todo.pop() {
            if closed.insert(step) {
                todo.extend(self.needs(step));
            }
        }
        closed
    }

    /// The step of that id.
    pub fn find(&self, id: &str) -> Option<StepId> {
        self.steps.node_indices().find(|step| self.task(*step).id == id)
    }
}

/// The step that stands for this machine's programs.
fn host_tools(tools: &ToolSet) -> Arc<dyn Step> {
    Arc::new(HostTools { name: tools.name().to_string(), place: tools.base.place.clone() })
}

/// What all targets of an image have in common, lowest first.
fn shared(image: &Image, resolved: &Resolved, packages: &mut packages::Steps) -> Vec<Arc<dyn Step>> {
    let name = &image.name.value;
    let target = hooks::target(image, None);
    let phase = |phase| hooks::of_phase(&image.hooks, phase, &target);
    let mut steps: Vec<Arc<dyn Step>> = used(image.base.as_slice()).collect();
    steps.extend(image.debian.iter().flat_map(|spec| packages.of_base(resolved, spec)));
    steps.extend(used(&image.early));
    steps.extend(phase(Phase::ExtraData));
    steps.extend(phase(Phase::PreInstall));
    steps.extend(image.debian.iter().flat_map(|spec| packages.of_image(resolved, spec, name)));
    steps.extend(phase(Phase::Install));
    steps.extend(used(&image.steps));
    steps.extend(phase(Phase::PostInstall));
    steps
}

/// What a hypervisor adds to that, in the same order.
fn own(
    image: &Image,
    hypervisor: &Hypervisor,
    resolved: &Resolved,
    packages: &mut packages::Steps,
) -> Vec<Arc<dyn Step>> {
    let (name, kind) = (&image.name.value, &hypervisor.name.value);
    let target = hooks::target(image, Some(hypervisor));
    let phase = |phase| hooks::of_phase(&hypervisor.hooks, phase, &target);
    let mut steps: Vec<Arc<dyn Step>> = used(&hypervisor.early).collect();
    steps.extend(phase(Phase::ExtraData));
    steps.extend(phase(Phase::PreInstall));
    steps.extend(image.debian.iter().flat_map(|spec| packages.of_hypervisor(resolved, spec, name, kind)));
    steps.extend(phase(Phase::Install));
    steps.extend(used(&hypervisor.steps));
    steps.extend(phase(Phase::PostInstall));
    steps
}

/// What comes behind all that, for each target anew: the image's own, then the hypervisor's.
fn last(image: &Image, hypervisor: Option<&Hypervisor>) -> Vec<Arc<dyn Step>> {
    let target = hooks::target(image, hypervisor);
    let all: Vec<&Hook> =
        image.hooks.iter().chain(hypervisor.iter().flat_map(|hypervisor| &hypervisor.hooks)).collect();
    let phase = |phase| hooks::of_phase(all.iter().copied(), phase, &target);
    let mut steps = phase(Phase::BlockDevice);
    steps.extend(phase(Phase::Finalise));
    steps.extend(phase(Phase::Cleanup));
    steps.extend(hooks::first_boot(&all, &target));
    steps
}

fn used(steps: &[Use]) -> impl Iterator<Item = Arc<dyn Step>> {
    steps.iter().map(|used| Arc::clone(&used.step))
}

/// The outputs by their position, each behind those that it reads, else as in the text.
fn in_order(outputs: &[Arc<dyn Output>]) -> Vec<usize> {
    let mut left: Vec<usize> = (0..outputs.len()).collect();
    let mut order = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |at: &usize| left.iter().any(|other| outputs[*at].reads(outputs[*other].as_ref()));
        // No two read each other, so that there is one.
        let next = left.iter().position(|at| !waits(at)).unwrap_or(0);
        order.push(left.remove(next));
    }
    order
}

struct Builder {
    graph: Graph,
    by_id: BTreeMap<String, StepId>,
    /// The steps of each package that outputs are written with.
    tools: BTreeMap<String, Vec<Arc<dyn Step>>>,
    faults: Faults,
}

impl Builder {
    fn target(
        &mut self,
        image: &str,
        hypervisor: Option<&str>,
        steps: &[Arc<dyn Step>],
        outputs: &[Arc<dyn Output>],
    ) {
        let number = self.graph.targets.len();
        let name = hypervisor.map_or(image.to_string(), |hypervisor| format!("{image}:{hypervisor}"));
        let mut all: Vec<StepId> = Vec::new();
        for step in steps {
            let step = self.layer(step, &all, number);
            if !all.contains(&step) {
                all.push(step);
            }
        }
        let stack = self.graph.image_of(&all);
        let shown = steps.iter().filter(|step| !step.joins() && !step.is_aside());
        let names: Vec<String> = shown.map(|step| step.name()).collect();
        let file = crate::outputs::title(image, hypervisor);
        let mut written: BTreeMap<usize, StepId> = BTreeMap::new();
        for at in in_order(outputs) {
            let output = &outputs[at];
            self.faults.extend(output.check(&names));
            let path = match output.path() {
                Some(path) => self.graph.project.join(&path.value),
                None => self.graph.project.join("build").join(format!("{file}.{}", output.extension())),
            };
            let mut all = self.tools(output.as_ref(), number);
            all.extend(stack.iter().filter(|_| output.needs_image()));
            let read = written.iter().filter(|(other, _)| output.reads(outputs[**other].as_ref()));
            all.extend(read.map(|(_, step)| step));
            written.insert(at, self.output(output, path, &name, &all, number));
        }
        self.graph.targets.push(Target {
            name,
            image: image.to_string(),
            hypervisor: hypervisor.map(str::to_string),
            stack,
            outputs: written.into_values().collect(),
        });
    }

    /// The steps that stand for the programs an output is written with.
    fn tools(&mut self, output: &dyn Output, target: usize) -> Vec<StepId> {
        let known = |packages: &&[&str]| self.tools.get(*packages.first()?).cloned();
        let found: Vec<_> = output.tools().iter().filter_map(known).collect();
        let mut tools = Vec::new();
        for steps in found {
            let mut all: Vec<StepId> = Vec::new();
            for step in &steps {
                all.push(self.layer(step, &all, target));
            }
            tools.extend(all.pop());
        }
        tools
    }

    fn layer(&mut self, step: &Arc<dyn Step>, stack: &[StepId], target: usize) -> StepId {
        let id = step.id();
        if let Some(known) = self.by_id.get(&id) {
            self.graph.steps[*known].targets.insert(target);
            return *known;
        }
        let stands = |other: &&StepId| self.graph.layer(**other).is_some_and(|other| step.stands_on(other));
        let below: Vec<StepId> = stack.iter().filter(stands).copied().collect();
        let node = self.graph.steps.add_node(Task {
            id: id.clone(),
            kind: step.kind(),
            place: step.place().clone(),
            targets: BTreeSet::from([target]),
            work: Work::Layer { step: Arc::clone(step), below: below.clone() },
        });
        self.by_id.insert(id, node);
        self.stand(node, &below);
        node
    }

    fn stand(&mut self, step: StepId, below: &[StepId]) {
        for below in below {
            self.graph.steps.update_edge(*below, step, ());
        }
    }

    fn output(
        &mut self,
        output: &Arc<dyn Output>,
        path: PathBuf,
        target: &str,
        stack: &[StepId],
        number: usize,
    ) -> StepId {
        let kind = if output.kind() == TEST { TEST } else { OUTPUT };
        let id = self.free_id(format!("{kind}:{}@{target}", output.name()));
        let step = self.graph.steps.add_node(Task {
            id: id.clone(),
            kind,
            place: output.place().clone(),
            targets: BTreeSet::from([number]),
            work: Work::Output { output: Arc::clone(output), path, stack: stack.to_vec() },
        });
        self.by_id.insert(id, step);
        self.stand(step, stack);
        step
    }

    /// The id, with a number if it is taken: two outputs of a kind, told apart by their paths.
    fn free_id(&self, id: String) -> String {
        let numbered = (2..).map(|number| format!("{id}#{number}"));
        std::iter::once(id.clone()).chain(numbered).find(|id| !self.by_id.contains_key(id)).unwrap_or(id)
    }

    /// No output may be another's, or lie in another that is a folder, in whatever way their paths are spelt.
    fn check_paths(&mut self) {
        let mut taken: BTreeMap<PathBuf, &Task> = BTreeMap::new();
        let mut faults = Vec::new();
        for task in self.graph.steps.node_weights() {
            let Work::Output { path, .. } = &task.work else { continue };
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { continue };
            // A link in its place is replaced, not followed.
            let place = real(folder).join(name);
            // Paths sort by their components: what is in the folder comes right behind it.
            let inside = taken.range(place.clone()..).next().filter(|(other, _)| other.starts_with(&place));
            let around = || place.ancestors().find_map(|above| taken.get_key_value(above));
            if let Some((other, first)) = inside.or_else(around) {
                let outer = if other.starts_with(&place) { &place } else { other };
                let outer = self.graph.shown(outer);
                let message = match *other == place {
                    true => format!("two outputs would be written to `{outer}`"),
                    false => format!("an output would be written into `{outer}`, which is another output"),
                };
                faults.push(
                    Fault::error("output/twice", message)
                        .at(&task.place, "this one")
                        .at(&first.place, "and this one")
                        .help("give one of them another place with `path=`"),
                );
            }
            taken.entry(place).or_insert(task);
        }
        faults.into_iter().for_each(|fault| self.faults.push(fault));
    }
}
