//! Layers on demand: what a command looks at is built first, and without a word.

use std::sync::atomic::Ordering;

use crate::cli::build::{cancelled_by_signals, carry_out};
use crate::cli::session::{Project, Session};
use crate::exec::{Event, Options, Outcome};
use crate::fault::{Fault, Faults};
use crate::plan::{self, Graph, Plan, State, StepId};
use crate::work::{Stack, StackLayer};

/// The layers of the steps `wanted` of `graph`, lowest first. What is out of date is built.
///
/// # Errors
///
/// Of every layer that could not be built.
pub fn build_layers(
    session: &Session,
    project: &mut Project,
    graph: Graph,
    wanted: &[StepId],
) -> Result<Stack, Faults> {
    let steps = graph.closure(wanted.iter().copied());
    let mut plan = plan::judge(graph, &steps, &project.world, &project.journal)?;
    demand(&mut plan, project);
    if !plan.is_fresh() {
        build(session, project, &plan)?;
        project.read_journal();
        plan = plan::judge(plan.graph, &steps, &project.world, &project.journal)?;
    }
    let mut stack = Stack::default();
    for step in wanted {
        stack.layers.extend(layers(&plan, *step, project)?);
    }
    Ok(stack)
}

/// A plan of layers alone takes one for fresh that is no longer there: nothing in it asks for the content.
fn demand(plan: &mut Plan, project: &Project) {
    for judged in plan.steps.values_mut() {
        let mut layers = judged.layers.iter().flatten();
        if !layers.all(|layer| project.world.store.has_layer(*layer)) {
            judged.state = State::Run;
        }
    }
}

fn build(session: &Session, project: &Project, plan: &Plan) -> Result<(), Faults> {
    let cancel = cancelled_by_signals();
    let options = Options { jobs: session.jobs(), keep_going: true };
    let mut faults = Faults::new();
    carry_out(plan, project, options, &cancel, &mut |event| match event {
        Event::Ended(_, Outcome::Failed(fault)) => faults.push(*fault),
        Event::Warned(_, fault) => session.warn(&(*fault).into()),
        _ => {}
    });
    project.world.memory.save();
    // Nothing is left to be ended in order: the next signal may end the process at once.
    if cancel.swap(true, Ordering::Relaxed) {
        return Err(Fault::build("build/interrupted", "interrupted").into());
    }
    if faults.has_errors() { Err(faults) } else { Ok(()) }
}

fn layers(plan: &Plan, step: StepId, project: &Project) -> Result<Vec<StackLayer>, Fault> {
    let task = plan.graph.task(step);
    let Some(work) = plan.graph.layer(step) else { return Ok(Vec::new()) };
    let judged = plan.steps.get(&step);
    let known = judged.and_then(|judged| judged.layers.as_ref());
    let found = judged.map(|judged| judged.found.clone()).unwrap_or_default();
    let changing = || {
        Fault::build("look/changing", format!("`{}` changed while it was looked at", task.id))
            .at(&task.place, "this one")
            .help("try again when nobody writes to its files any more")
    };
    let layer = |id: &crate::layer::LayerId| {
        let layer = project.world.store.layer(*id).ok_or_else(changing)?;
        Ok(StackLayer::of(work, &task.place, layer, found.clone()))
    };
    known.ok_or_else(changing)?.iter().map(layer).collect()
}
