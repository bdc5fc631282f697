//! `imgbuild why`: why a step would run, or what it depends on.

use std::fmt::Write as _;

use super::arguments::Why;
use super::contract::StepAnswer;
use super::exit::Exit;
use super::session::Session;
use crate::fault::{Fault, Faults};
use crate::plan::{Plan, State, StepId, Wanted, cause};
use crate::store::Access;
use crate::wording;

/// Tells why.
pub fn run(session: &Session, asked: &Why) -> Result<Exit, Faults> {
    let project = session.project(Access::Look)?;
    let plan = project.plan(&[], Wanted::Tests)?;
    let steps = steps(&plan, &asked.step)?;
    let mut text = String::new();
    for step in steps {
        let Some(judged) = plan.steps.get(&step) else { continue };
        if asked.json {
            let answer = StepAnswer::of(&plan, step, judged);
            // Plain data: it can be written.
            let _ = writeln!(text, "{}", serde_json::to_string(&answer).unwrap_or_default());
            continue;
        }
        tell(&plan, step, session, &mut text);
        if let (true, Some(key)) = (asked.key, &judged.key) {
            key.text().lines().for_each(|line| text.push_str(&format!("    {line}\n")));
        }
    }
    session.terminal.answer(&text);
    Ok(Exit::Done)
}

fn tell(plan: &Plan, step: StepId, session: &Session, text: &mut String) {
    let (task, judged) = (plan.graph.task(step), &plan.steps[&step]);
    let what = match judged.state {
        State::Run => "will run",
        State::Maybe => "may run",
        State::Fresh => "is fresh",
    };
    let id = session.terminal.bold(&task.id);
    let _ = writeln!(text, "{id} {what} ({})", task.place);
    for cause in &judged.why {
        let _ = writeln!(text, "  {}", cause.text);
        match (&cause.was, &cause.now) {
            (None, None) => {}
            // The text has it all.
            _ if cause.fact == cause::PACKAGE => {}
            (was, now) => {
                let show = |value: &Option<String>| wording::printable(value.as_deref().unwrap_or("nothing"));
                let _ = writeln!(text, "    was  {}\n    now  {}", show(was), show(now));
            }
        }
    }
    if let Some(seconds) = judged.seconds.filter(|seconds| *seconds > 0.0) {
        let _ = writeln!(text, "  it took {} when it last ran", wording::duration(seconds));
    }
}

/// The steps that a name means: a step's id, the part behind its kind, or that of an output without its target; or a
/// target, whose outputs are meant.
fn steps(plan: &Plan, name: &str) -> Result<Vec<StepId>, Fault> {
    let tasks = || plan.steps.keys().map(|step| (*step, plan.graph.task(*step)));
    let is_meant = |id: &str| {
        let rest = id.split_once(':').map(|(_, rest)| rest);
        [Some(id), rest, id.split_once('@').map(|(id, _)| id)].contains(&Some(name))
    };
    let by_id: Vec<StepId> = tasks().filter(|(_, task)| is_meant(&task.id)).map(|(step, _)| step).collect();
    if !by_id.is_empty() {
        return Ok(by_id);
    }
    let outputs: Vec<StepId> = plan
        .graph
        .targets
        .iter()
        .filter(|target| {
            target.name == name || target.image == name || target.hypervisor.as_deref() == Some(name)
        })
        .flat_map(|target| target.outputs.clone())
        .collect();
    if !outputs.is_empty() {
        return Ok(outputs);
    }
    let ids: Vec<&str> = tasks().map(|(_, task)| task.id.as_str()).collect();
    Err(Fault::error("step/unknown", format!("there is no step `{}`", wording::printable(name)))
        .maybe_help(wording::suggest(name, ids.iter().copied())))
}
