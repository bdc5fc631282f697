//! `imgbuild plan`: what a build would do, and why. Changes nothing at all.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::arguments::{self, Drawing};
use super::contract::PlanAnswer;
use super::drawing;
use super::exit::Exit;
use super::folded::{self, Shown};
use super::packages;
use super::session::{Project, Session};
use super::terminal::Terminal;
use crate::fault::{Fault, Faults, Severity};
use crate::plan::{Plan, State, StepId, Wanted};
use crate::sandbox::{self, Launcher};
use crate::store::Access;
use crate::wording;
use crate::work::{Step, World};

/// Tells the plan.
pub fn run(session: &Session, asked: &arguments::Plan) -> Result<Exit, Faults> {
    let project = session.project(Access::Look)?;
    session.warn(&project.warnings);
    let plan = project.plan(&asked.targets, if asked.tests { Wanted::Tests } else { Wanted::Outputs })?;
    let mut impossible = impossible(&plan, &project);
    impossible.list.iter_mut().for_each(|fault| fault.severity = Severity::Warning);
    session.warn(&impossible);
    let text = match asked.graph {
        Some(Drawing::Dot) => drawing::dot(&plan, asked.all),
        Some(Drawing::Mermaid) => drawing::mermaid(&plan, asked.all),
        Some(Drawing::Svg) => drawing::svg(&plan, asked.all),
        None if asked.json => json(&plan),
        None => {
            packages::changes(session, &project.resolved, asked.all)
                + &text(&plan, &project.world, asked.all, &session.terminal)
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
    if let Some((task, step)) = running().find(|(_, step)| step.runs_programs_of().is_some()) {
        faults.extend(launcher.images_available().err().map(|fault| fault.at(&task.place, runs_what(step))));
    }
    faults.extend(running().flat_map(|(_, step)| step.ready()));
    let mut foreign: BTreeSet<&str> = BTreeSet::new();
    for (task, step) in running() {
        let Some(arch) = step.runs_programs_of().filter(|arch| !sandbox::runs(arch)) else { continue };
        if foreign.insert(arch) {
            let message = format!("this machine cannot run programs of {arch}");
            faults.push(
                Fault::machine("packages/foreign", message)
                    .at(&task.place, runs_what(step))
                    .help("build it on such a machine, or install an emulator (Debian: `qemu-user-static`)"),
            );
        }
    }
    faults
}

/// Why a step runs programs of the image.
fn runs_what(step: &dyn Step) -> &'static str {
    match step.kind() {
        "hook" | "extra-data" => "this hook runs in the image, or beside it",
        _ => "its packages are configured by their own programs",
    }
}

fn json(plan: &Plan) -> String {
    // Plain data: it can be written.
    let mut text = serde_json::to_string_pretty(&PlanAnswer::of(plan)).unwrap_or_default();
    text.push('\n');
    text
}

fn text(plan: &Plan, world: &World, all: bool, terminal: &Terminal) -> String {
    let shown = folded::shown(plan, all, |state| all || state != State::Fresh);
    let to_fetch: BTreeSet<StepId> = plan.to_fetch(world).into_iter().collect();
    let width = shown.iter().map(|shown| shown.label.chars().count()).max().unwrap_or(0).min(48);
    let mut text = String::new();
    for Shown { steps, state, label } in shown {
        let state_word = format!("{:<5}", state.word());
        let state = match state {
            State::Run => terminal.bold(&state_word),
            State::Maybe => terminal.yellow(&state_word),
            State::Fresh => terminal.dim(&state_word),
        };
        let Some((step, judged)) = steps.first().and_then(|step| plan.steps.get_key_value(step)) else {
            continue;
        };
        let place = terminal.dim(&format!("({})", plan.graph.task(*step).place));
        if steps.len() > 1 {
            let fetched = fetched(plan, steps.iter().filter(|step| to_fetch.contains(step)));
            let _ = writeln!(text, "{state}  {label}{fetched} {place}");
            continue;
        }
        let first = judged.why.first().map(|cause| cause.text.as_str()).unwrap_or_default();
        let _ = writeln!(text, "{}", format!("{state}  {label:<width$}  {first} {place}").trim_end());
        for cause in judged.why.iter().skip(1) {
            let _ = writeln!(text, "{:7}{:<width$}  {}", "", "", cause.text);
        }
    }
    let _ = writeln!(text, "{}", summary(plan));
    text
}

/// `, 37 MiB to fetch`.
fn fetched<'a>(plan: &Plan, steps: impl Iterator<Item = &'a StepId>) -> String {
    let sizes = steps.filter_map(|step| Some(plan.graph.layer(*step)?.file()?.0.size));
    match sizes.sum() {
        0 => String::new(),
        bytes => format!(", {} to fetch", wording::size(bytes)),
    }
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
