//! Packages told as one: an image has hundreds, and each is a step.

use crate::plan::{Graph, Plan, State, StepId};
use crate::steps::deb;
use crate::wording;

/// A step, or packages of one set in the same state.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The steps.
    pub steps: Vec<StepId>,
    /// The state of each.
    pub state: State,
    /// The step's id, or `96 packages of debian trixie amd64 minbase`.
    pub label: String,
}

/// Whether the step is one package.
pub fn is_package(graph: &Graph, step: StepId) -> bool {
    graph.task(step).kind == deb::KIND
}

/// The steps of a plan that `wanted` takes; `all` one by one, or else the packages of a set as one.
pub fn shown(plan: &Plan, all: bool, wanted: impl Fn(State) -> bool) -> Vec<Shown> {
    let mut shown: Vec<(Shown, Option<StepId>)> = Vec::new();
    for (step, judged) in plan.steps.iter().filter(|(_, judged)| wanted(judged.state)) {
        let set = if all { None } else { set_of(plan, *step) };
        let same = |(other, of): &&mut (Shown, Option<StepId>)| *of == set && other.state == judged.state;
        match shown.iter_mut().find(|known| set.is_some() && same(known)) {
            Some((known, _)) => known.steps.push(*step),
            None => {
                let label = plan.graph.task(*step).id.clone();
                shown.push((Shown { steps: vec![*step], state: judged.state, label }, set));
            }
        }
    }
    let named = |(mut shown, set): (Shown, Option<StepId>)| {
        if let (Some(set), true) = (set, shown.steps.len() > 1) {
            let id = &plan.graph.task(set).id;
            let name = id.split_once(':').map_or(id.as_str(), |(_, name)| name);
            shown.label = format!("{} of {name}", wording::count(shown.steps.len(), "package"));
        }
        shown
    };
    shown.into_iter().map(named).collect()
}

/// The step that configures a package.
fn set_of(plan: &Plan, step: StepId) -> Option<StepId> {
    let graph = &plan.graph;
    let configures = |above: &StepId| graph.layer(*above).is_some_and(|layer| !layer.joins());
    is_package(graph, step).then(|| graph.needed_by(step).into_iter().filter(configures).min())?
}

/// What the steps of a stack are called, lowest first, the packages below each other layer as one.
pub fn stack(graph: &Graph, stack: &[StepId]) -> Vec<String> {
    let mut lines: Vec<(String, usize)> = Vec::new();
    let mut open: Option<usize> = None;
    for step in stack {
        let id = graph.task(*step).id.clone();
        match open.and_then(|at| lines.get_mut(at)) {
            Some((_, count)) if is_package(graph, *step) => *count += 1,
            _ => {
                if is_package(graph, *step) {
                    open = Some(lines.len());
                }
                lines.push((id, 1));
            }
        }
        if graph.layer(*step).is_some_and(|layer| !layer.joins()) {
            open = None;
        }
    }
    let told = |(id, count)| if count > 1 { wording::count(count, "package") } else { id };
    lines.into_iter().map(told).collect()
}
