//! The states before and after a step: which layers they take, and what a program finds in them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::look;
use super::session::{Project, Session};
use crate::fault::{Fault, Faults};
use crate::plan::{Graph, StepId, Work};
use crate::wording;
use crate::work::{Job, State, Step};

/// On which side of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// As its programs find it.
    Before,
    /// As it leaves it.
    After,
}

impl When {
    /// The word that people type and see.
    pub fn word(self) -> &'static str {
        match self {
            When::Before => "before",
            When::After => "after",
        }
    }
}

/// The state on that side of a step of `graph`. What is out of date of it is built.
pub fn of(
    session: &Session,
    project: &mut Project,
    graph: Graph,
    step: StepId,
    when: When,
) -> Result<State, Faults> {
    let stop = AtomicBool::new(false);
    let (wanted, below) = (layers(&graph, step, when), up_to(&graph, step, When::Before));
    let runner = runner(&graph, step).filter(|_| when == When::Before);
    let mut stack = look::build_layers(session, project, graph, &wanted)?;
    if let Some(runner) = runner {
        if let Some(state) = runner.state(&project.world, &stack, &quiet(&stop))? {
            return Ok(state);
        }
        let graph = project.graph()?;
        stack = look::build_layers(session, project, graph, &below)?;
    }
    Ok(State::of(stack, &project.world, &quiet(&stop))?)
}

/// The layers that the state on that side of a step takes, lowest first.
pub fn layers(graph: &Graph, step: StepId, when: When) -> Vec<StepId> {
    match &graph.task(step).work {
        Work::Output { stack, .. } => graph.image_of(stack),
        Work::Layer { below, .. } if when == When::Before && runner(graph, step).is_some() => below.clone(),
        Work::Layer { .. } => up_to(graph, step, when),
    }
}

/// The step that is called `name`: by its whole id, or by an overlay's name.
pub fn step_named(graph: &Graph, name: &str) -> Result<StepId, Fault> {
    graph.find(name).or_else(|| graph.find(&format!("overlay:{name}"))).ok_or_else(|| {
        let ids: Vec<&str> = graph.steps.node_weights().map(|task| task.id.as_str()).collect();
        Fault::error("step/unknown", format!("there is no step `{}`", wording::printable(name)))
            .maybe_help(wording::suggest(name, ids.iter().copied()))
    })
}

/// A job that nobody listens to.
pub fn quiet(stop: &AtomicBool) -> Job<'_> {
    Job { cancel: stop, say: &|_| {}, warn: &|_| {}, log: std::path::PathBuf::new() }
}

/// The step, if it runs programs of the image.
fn runner(graph: &Graph, step: StepId) -> Option<Arc<dyn Step>> {
    match &graph.task(step).work {
        Work::Layer { step, .. } if step.runs_programs_of().is_some() => Some(Arc::clone(step)),
        _ => None,
    }
}

/// The layers of the first target that has the step, up to it.
fn up_to(graph: &Graph, step: StepId, when: When) -> Vec<StepId> {
    let found = graph.targets.iter().find_map(|target| {
        let at = target.stack.iter().position(|other| *other == step)?;
        let end = if when == When::After { at + 1 } else { at };
        target.stack.get(..end).map(<[StepId]>::to_vec)
    });
    match (found, when) {
        (Some(stack), _) => stack,
        (None, When::After) => vec![step],
        (None, When::Before) => Vec::new(),
    }
}
