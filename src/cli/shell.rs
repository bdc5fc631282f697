//! `imgbuild shell`: a shell in the state that a target or a step leaves, that a step begins in, or that one failed in.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::arguments::Shell;
use super::exit::Exit;
use super::inside::{self, Wish};
use super::look::{self, Meaning};
use super::session::{Project, Session};
use super::states::{self, When};
use crate::fault::{Fault, Faults};
use crate::key::{self, Key};
use crate::plan;
use crate::sandbox::Exit as Ended;
use crate::sandbox::image::Given;
use crate::store::Access;
use crate::wording;
use crate::work::State;
use crate::work::failed::{self, Failed};

/// Opens the shell, or runs the command, and says how it ended.
pub fn run(session: &Session, asked: &Shell) -> Result<Exit, Faults> {
    if let Some(file) = asked.keep.as_deref().filter(|file| session.folder().join(file).exists()) {
        let message = format!("`{}` is there already", file.display());
        return Err(Fault::error("shell/keep", message).help("name another file, or move that away").into());
    }
    let (project, state) = match (&asked.what, asked.failed) {
        (Some(what), false) => in_state(session, what, asked.before)?,
        (what, _) => in_failed_state(session, what.as_deref())?,
    };
    let file = asked.keep.as_ref().map(|file| session.folder().join(file));
    let wish = Wish { command: &asked.command, network: asked.network, keep: file.as_deref() };
    let ended = inside::enter(session, &project, &state, wish, &AtomicBool::new(false))?;
    if let Some(file) = &asked.keep {
        session.terminal.tell(&format!("wrote {}: an `overlay` can be made from it\n", file.display()));
    }
    // How an interactive shell ends says nothing.
    Ok(if ended == Some(Ended::Code(0)) || asked.command.is_empty() { Exit::Done } else { Exit::Failed })
}

/// The state that a target or a step leaves, or before a step.
fn in_state(session: &Session, what: &str, before: bool) -> Result<(Project, State), Faults> {
    let when = if before { When::Before } else { When::After };
    let (mut project, graph, step) = match look::meaning(session, what)? {
        Meaning::Image { output: None, .. } if before => return Err(no_step(what).into()),
        Meaning::Image { mut project, graph, stack, output: None } => {
            let stack = look::build_layers(session, &mut project, graph, &stack)?;
            let state = State::of(stack, &project.world, &states::quiet(&AtomicBool::new(false)))?;
            return Ok((*project, state));
        }
        Meaning::Image { project, graph, output: Some(step), .. }
        | Meaning::Layer { project, graph, step } => (project, graph, step),
        Meaning::Tar(path) | Meaning::Folder(path) => return Err(no_image(&path).into()),
    };
    let id = graph.task(step).id.clone();
    let state = states::of(session, &mut project, graph, step, when)?;
    if before {
        tell(session, &format!("in the state before {id}"), &state);
    }
    Ok((*project, state))
}

/// The state in which a step failed last: the one named, or the latest.
fn in_failed_state(session: &Session, what: Option<&str>) -> Result<(Project, State), Faults> {
    let project = session.project(Access::Use)?;
    session.warn(&project.warnings);
    let failed = match what {
        Some(what) => of_step(what, &project)?,
        None => failed::latest(&project.world).ok_or_else(nothing_failed)?,
    };
    let changed = changed(&failed, &project);
    let mut state = failed.state(&project.world, &states::quiet(&AtomicBool::new(false)))?;
    // Nobody keeps them.
    state.secrets = secrets_of(&failed, &project);
    let step = wording::printable(&failed.step);
    tell(session, &format!("in the state in which {step} failed"), &state);
    if let Some(changed) = changed {
        session.terminal.tell(&format!("{}\n", session.terminal.yellow(&changed)));
    }
    Ok((project, state))
}

/// What is known of the last failure of the step that is called so.
fn of_step(what: &str, project: &Project) -> Result<Failed, Faults> {
    let known = failed::read(what, &project.world);
    if let Some(failed) = known.or_else(|| failed::read(&format!("overlay:{what}"), &project.world)) {
        return Ok(failed);
    }
    let graph = project.graph()?;
    let id = &graph.task(states::step_named(&graph, what)?).id;
    let mut others: Vec<String> = failed::all(&project.world).into_iter().map(|failed| failed.step).collect();
    others.sort();
    let fault = Fault::error("failed/nothing", format!("`{id}` did not fail when it last ran"));
    Err(fault
        .help(if others.is_empty() {
            format!("`imgbuild shell {id} --before` opens a shell in the state before it")
        } else {
            format!("{} did", wording::all(others.iter().map(|other| wording::printable(other))))
        })
        .into())
}

fn nothing_failed() -> Fault {
    Fault::error("failed/nothing", "nothing failed: every step of this project did well when it last ran")
        .help("`imgbuild shell STEP --before` opens a shell in the state before a step")
}

/// The secrets of the step that failed, if it is still there.
fn secrets_of(failed: &Failed, project: &Project) -> Vec<Given> {
    let Ok(graph) = project.graph() else { return Vec::new() };
    let step = graph.find(&failed.step).and_then(|step| graph.layer(step));
    step.map(|step| step.secrets()).unwrap_or_default()
}

/// What has changed since the step failed, in a sentence.
fn changed(failed: &Failed, project: &Project) -> Option<String> {
    let step = wording::printable(&failed.step);
    let was = Key::from_text(failed.key.clone()?);
    let broken =
        |_: Faults| format!("since then the manifest has changed, and {step} cannot be planned any more");
    let graph = match project.graph().map_err(broken) {
        Ok(graph) => graph,
        Err(broken) => return Some(broken),
    };
    let Some(id) = graph.find(&failed.step) else {
        return Some(format!("since then {step} has gone from the manifest"));
    };
    let steps = graph.closure([id]);
    let plan = match plan::judge(graph, &steps, &project.world, &project.journal).map_err(broken) {
        Ok(plan) => plan,
        Err(broken) => return Some(broken),
    };
    let now = plan.steps.get(&id).and_then(|judged| judged.key.as_ref());
    let Some(now) = now else { return Some(format!("since then layers below {step} have changed")) };
    let changes = key::difference(&was, now);
    match changes.iter().find(|change| change.fact != "layer") {
        _ if changes.is_empty() => None,
        Some(_) => Some(format!("since then {step} itself has changed, or what it is made from")),
        None => Some(format!("since then layers below {step} have changed")),
    }
}

/// Says where one is.
fn tell(session: &Session, place: &str, state: &State) {
    let script = state.script.as_ref();
    let script = script.map(|path| format!("; its script is at {}", wording::printable(path)));
    let line = format!("{place}{}", script.unwrap_or_default());
    session.terminal.tell(&format!("{}\n", session.terminal.dim(&line)));
}

fn no_step(what: &str) -> Fault {
    let what = wording::printable(what);
    Fault::error("shell/target", format!("`{what}` is a target, and `--before` is about a step"))
        .help("`imgbuild plan --all` tells which steps there are")
}

fn no_image(path: &Path) -> Fault {
    Fault::error("shell/image", format!("`{}` is no target and no step", path.display()))
        .help("`imgbuild ls` tells which targets there are, `imgbuild plan --all` which steps")
}
