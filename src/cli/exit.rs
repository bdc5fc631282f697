//! How imgbuild ends, as scripts see it.

use std::process::ExitCode;

use crate::fault::{Blame, Fault, Faults, Severity};

/// The ways to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done, or nothing was to be done.
    Done,
    /// 1: a step failed, or what is kept is damaged.
    Failed,
    /// 1: with `diff`, there is a difference.
    Different,
    /// 2: the manifest or the command line is wrong.
    Asked,
    /// 3: this machine cannot: no space, no permission, no namespaces.
    Machine,
    /// 10: with `plan --exit-code`, there is work.
    Work,
    /// 130: interrupted.
    Interrupted,
}

impl Exit {
    /// The ending that faults lead to; the one that is mended last counts.
    pub fn of(faults: &Faults) -> Exit {
        let errors = || faults.list.iter().filter(|fault| fault.severity == Severity::Error);
        if errors().any(Fault::is_interruption) {
            return Exit::Interrupted;
        }
        let blamed = |blame| errors().any(|fault| fault.blame == blame);
        match (blamed(Blame::Asked), blamed(Blame::Machine), blamed(Blame::Build)) {
            (true, _, _) => Exit::Asked,
            (_, true, _) => Exit::Machine,
            (_, _, true) => Exit::Failed,
            _ => Exit::Done,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed | Exit::Different => 1,
            Exit::Asked => 2,
            Exit::Machine => 3,
            Exit::Work => 10,
            Exit::Interrupted => 130,
        })
    }
}
