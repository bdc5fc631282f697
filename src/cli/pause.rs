//! `imgbuild --break before STEP`: a shell in the middle of a build.

use std::sync::atomic::AtomicBool;

use super::inside::{self, Wish};
use super::session::{Project, Session};
use super::states::{self, When};
use crate::fault::{Fault, Faults};
use crate::plan::{self, Plan, StepId};
use crate::sandbox::Exit as Ended;
use crate::wording;

/// Where a build pauses.
#[derive(Clone, Debug)]
pub struct Pause {
    /// On which side of the step.
    pub when: When,
    /// The step.
    step: StepId,
    /// Its id.
    pub id: String,
}

/// What came of a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paused {
    /// The build goes on.
    GoOn,
    /// Whoever was in the shell wants no more.
    Enough,
    /// There is nobody to open a shell for.
    Nobody,
}

impl Pause {
    /// What `--break` says about `plan`: none if it was not given.
    pub fn asked(words: &[String], plan: &Plan) -> Result<Option<Pause>, Fault> {
        let [when, name] = words else { return Ok(None) };
        let when = match when.as_str() {
            "before" => When::Before,
            "after" => When::After,
            other => {
                let message = format!("`--break {}` is neither before nor after", wording::printable(other));
                return Err(Fault::error("command/break", message)
                    .help("write `--break before STEP` or `--break after STEP`"));
            }
        };
        let step = states::step_named(&plan.graph, name)?;
        let id = plan.graph.task(step).id.clone();
        if !plan.steps.contains_key(&step) {
            let message = format!("`{id}` is no step of the targets that are to be built");
            return Err(Fault::error("command/break", message).help("name a target that has it, or none"));
        }
        Ok(Some(Pause { when, step, id }))
    }

    /// `before base:debian trixie`.
    pub fn shown(&self) -> String {
        format!("{} {}", self.when.word(), self.id)
    }

    /// The plan of what has to be done before it.
    pub fn plan(&self, project: &Project) -> Result<Plan, Faults> {
        let graph = project.graph()?;
        let mut last = states::layers(&graph, self.step, self.when);
        if self.when == When::After {
            last.push(self.step);
        }
        let steps = graph.closure(last);
        plan::judge(graph, &steps, &project.world, &project.journal)
    }

    /// Opens the shell, if there is somebody to open it for, and waits for its end.
    pub fn open(
        &self,
        session: &Session,
        project: &mut Project,
        somebody: bool,
        cancel: &AtomicBool,
    ) -> Result<Paused, Faults> {
        if !somebody {
            return Ok(Paused::Nobody);
        }
        let graph = project.graph()?;
        let state = states::of(session, project, graph, self.step, self.when)?;
        let script =
            state.script.as_ref().map(|path| format!("; its script is at {}", wording::printable(path)));
        let line = format!(
            "{}: `exit 0` goes on with the build, `exit 1` stops it{}",
            self.shown(),
            script.unwrap_or_default()
        );
        session.terminal.tell(&format!("{}\n", session.terminal.bold(&line)));
        let ended = inside::enter(session, project, &state, Wish::default(), cancel)?;
        Ok(if ended == Some(Ended::Code(0)) { Paused::GoOn } else { Paused::Enough })
    }
}
