//! Targets by name.

use std::collections::BTreeSet;

use super::graph::{Graph, StepId};
use crate::fault::{Fault, Faults};
use crate::wording;
use crate::work::TEST;

/// What is asked for of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// What it is written as.
    Outputs,
    /// That, and its tests.
    Tests,
}

/// The steps that the named targets need, all of them if none is named. A name is `IMAGE:HYPERVISOR`, or either half.
///
/// # Errors
///
/// Every name that is no target; `commands` are words that may have been meant instead.
pub fn select(
    graph: &Graph,
    names: &[String],
    what: Wanted,
    commands: &[&str],
) -> Result<BTreeSet<StepId>, Faults> {
    let mut chosen = BTreeSet::new();
    let mut faults = Faults::new();
    for name in names {
        let before = chosen.len();
        for (number, target) in graph.targets.iter().enumerate() {
            if [Some(&target.name), Some(&target.image), target.hypervisor.as_ref()].contains(&Some(name)) {
                chosen.insert(number);
            }
        }
        let known = graph.targets.iter().any(|target| {
            target.name == *name || target.image == *name || target.hypervisor.as_deref() == Some(name)
        });
        if before == chosen.len() && !known {
            faults.push(unknown(graph, name, commands));
        }
    }
    if faults.has_errors() {
        return Err(faults);
    }
    let wanted = |step: &StepId| {
        let targets = &graph.task(*step).targets;
        names.is_empty() || targets.iter().any(|target| chosen.contains(target))
    };
    let steps = graph.order().into_iter().filter(wanted).collect();
    Ok(if what == Wanted::Tests { steps } else { without_tests(graph, steps) })
}

/// The steps without tests, and without what only tests stand on.
fn without_tests(graph: &Graph, mut steps: BTreeSet<StepId>) -> BTreeSet<StepId> {
    let mut dropped: BTreeSet<StepId> = BTreeSet::new();
    for step in graph.order().into_iter().rev() {
        let above = graph.needed_by(step);
        let only_tests = !above.is_empty() && above.iter().all(|above| dropped.contains(above));
        let in_image = || graph.targets.iter().any(|target| target.stack.contains(&step));
        if graph.task(step).kind == TEST || (only_tests && graph.layer(step).is_some() && !in_image()) {
            dropped.insert(step);
        }
    }
    steps.retain(|step| !dropped.contains(step));
    steps
}

fn unknown(graph: &Graph, name: &str, commands: &[&str]) -> Fault {
    let mut names: Vec<&str> = Vec::new();
    for target in &graph.targets {
        for part in
            [Some(&target.name), Some(&target.image), target.hypervisor.as_ref()].into_iter().flatten()
        {
            if !names.contains(&part.as_str()) {
                names.push(part);
            }
        }
    }
    let fault = Fault::error("target/unknown", format!("there is no target `{}`", wording::printable(name)));
    match wording::nearest(name, names.iter().chain(commands).copied()) {
        Some(near) if commands.contains(&near) => {
            fault.help(format!("did you mean the command `imgbuild {near}`?"))
        }
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => {
            let targets = graph.targets.iter().map(|target| &target.name);
            let is = if graph.targets.len() == 1 { "is" } else { "are" };
            fault.help(format!("there {is} {}", wording::all(targets)))
        }
    }
}
