//! `imgbuild plan`: what a build would do, and why. Changes nothing at all.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::arguments::{self, Drawing};
use super::contract::PlanAnswer;
use super::drawing;
use super::exit::Exit;
use super::packages;
use super::session::{Project, Session};
use super::terminal::Terminal;
use crate::fault::{Fault, Faults, Severity};
use crate::plan::{Judged, Plan, State, StepId};
use crate::sandbox::{self, Launcher};
use crate::store::Access;
use crate::wording;

/// Tells the plan.
pub fn run(session: &Session, asked: &arguments::Plan) -> Result<Exit, Faults> {
    let project = session.project(Access::Look)?;
    session.warn(&project.warnings);
    let plan = project.plan(&asked.targets)?;
    let mut impossible = impossible(&plan, &project);
    impossible.list.iter_mut().for_each(|fault| fault.severity = Severity::Warning);
    session.warn(&impossible);
    let text = match asked.graph {
        Some(Drawing::Dot) => drawing::dot(&plan),
        Some(Drawing::Mermaid) => drawing::mermaid(&plan),
        Some(Drawing::Svg) => drawing::svg(&plan),
        None if asked.json => json(&plan),
        None => {
            packages::changes(session, &project.resolved, asked.all)
                + &text(&plan, asked.all, &session.terminal)
        }
    };
    session.terminal.answer(&text);
    Ok(if asked.exit_code && !plan.is_fresh() { Exit::Work } else { Exit::Done })
}

/// What this machine cannot do of the plan.
pub fn impossible(plan: &Plan, project: &Project) -> Faults {
    let running = || {
        plan.steps
            .iter()
            .filter(|(_, judged)| judged.state == State::Run)
            .filter_map(|(step, _)| Some((plan.graph.task(*step), plan.graph.layer(*step)?)))
    };
    let launcher = Launcher::of(&project.world.program);
    let mut faults = Faults::new();
    if running().any(|(_, step)| step.finds()) {
        faults.extend(launcher.available().err());
    }
    if let Some((task, _)) = running().find(|(_, step)| step.runs_programs_of().is_some()) {
        let fault = launcher.images_available().err();
        faults.extend(
            fault.map(|fault| fault.at(&task.place, "its packages are configured by their own programs")),
        );
    }
    let mut foreign: BTreeSet<&str> = BTreeSet::new();
    for (task, step) in running() {
        let Some(arch) = step.runs_programs_of().filter(|arch| !sandbox::runs(arch)) else { continue };
        if foreign.insert(arch) {
            let message = format!("this machine cannot run programs of {arch}");
            faults.push(
                Fault::machine("packages/foreign", message)
                    .at(&task.place, "its packages are configured by their own programs")
                    .help("build it on such a machine, or install an emulator (Debian: `qemu-user-static`)"),
            );
        }
    }
    faults
}

fn json(plan: &Plan) -> String {
    // Plain data: it can be written.
    let mut text = serde_json::to_string_pretty(&PlanAnswer::of(plan)).unwrap_or_default();
    text.push('\n');
    text
}

fn text(plan: &Plan, all: bool, terminal: &Terminal) -> String {
    let shown: Vec<(&StepId, &Judged)> =
        plan.steps.iter().filter(|(_, judged)| all || judged.state != State::Fresh).collect();
    let width =
        shown.iter().map(|(step, _)| plan.graph.task(**step).id.chars().count()).max().unwrap_or(0).min(48);
    let mut text = String::new();
    for (step, judged) in shown {
        let task = plan.graph.task(*step);
        let state = format!("{:<5}", judged.state.word());
        let state = match judged.state {
            State::Run => terminal.bold(&state),
            State::Maybe => terminal.yellow(&state),
            State::Fresh => terminal.dim(&state),
        };
        let place = terminal.dim(&format!("({})", task.place));
        let first = judged.why.first().map(|cause| cause.text.as_str()).unwrap_or_default();
        let _ = writeln!(text, "{}", format!("{state}  {:<width$}  {first} {place}", task.id).trim_end());
        for cause in judged.why.iter().skip(1) {
            let _ = writeln!(text, "{:7}{:<width$}  {}", "", "", cause.text);
        }
    }
    let _ = writeln!(text, "{}", summary(plan));
    text
}

/// `2 steps to run, 1 perhaps, 11 fresh`.
pub fn summary(plan: &Plan) -> String {
    let (run, maybe, fresh) = (plan.count(State::Run), plan.count(State::Maybe), plan.count(State::Fresh));
    if plan.is_fresh() {
        return format!("nothing to do: {} fresh", all_steps(fresh));
    }
    let mut parts = Vec::new();
    if run > 0 {
        parts.push(format!("{} to run", wording::count(run, "step")));
    }
    if maybe > 0 {
        parts.push(if run > 0 {
            format!("{maybe} perhaps")
        } else {
            format!("{} perhaps", wording::count(maybe, "step"))
        });
    }
    if fresh > 0 {
        parts.push(format!("{fresh} fresh"));
    }
    parts.join(", ")
}

fn all_steps(count: usize) -> String {
    match count {
        1 => "the one step is".into(),
        2 => "both steps are".into(),
        count => format!("all {count} steps are"),
    }
}
