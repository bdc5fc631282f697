//! What a build tells while it goes on.

use std::path::PathBuf;

use crate::fault::Fault;
use crate::plan::StepId;

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A step began to run.
    Started(StepId),
    /// A program of a step said a line.
    Said(StepId, String),
    /// A step warned of something; it goes on.
    Warned(StepId, Box<Fault>),
    /// Packages came, ahead of the steps that unpack them.
    Fetching {
        /// How many have come, or were given up.
        packages: usize,
        /// How many bytes have come.
        bytes: u64,
        /// How many packages, and how many bytes, there are to come in all.
        of: (usize, u64),
    },
    /// A step has ended.
    Ended(StepId, Outcome),
}

/// How a step ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It ran.
    Ran {
        /// How long it took.
        seconds: f64,
        /// For a layer: whether it is another one than last time.
        changed: bool,
        /// For an output: what it wrote, and how many bytes.
        wrote: Option<(PathBuf, u64)>,
    },
    /// There was nothing to do.
    Fresh,
    /// It failed.
    Failed(Box<Fault>),
    /// It was not begun, because another one failed or the build was interrupted.
    Skipped,
}
