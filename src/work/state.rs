//! States: what the programs of a step find when they start.

use std::collections::BTreeMap;

use super::roots::{Root, root};
use super::{Job, Stack, World};
use crate::fault::Fault;
use crate::sandbox::image::{Given, ImageRun};

/// What the programs of a step find when they start: enough to put another program into their place.
#[derive(Clone, Debug)]
pub struct State {
    /// The layers that they stand on, in the order in which they see them, lowest first.
    pub stack: Stack,
    /// What these layers make.
    pub root: Root,
    /// The run: lowers and specials of the root, files, what is shown, the network, the environment of all programs.
    /// Without commands, removals and a capture, which belong to who runs it.
    pub run: ImageRun,
    /// Where the step's own programs start; `/` if empty.
    pub folder: String,
    /// What the step's own programs have in their environment beside the run's.
    pub environment: BTreeMap<String, String>,
    /// Files that are there while programs run, and that nobody keeps.
    pub secrets: Vec<Given>,
    /// Where a script that people wrote for this step stands, seen from inside.
    pub script: Option<String>,
}

impl State {
    /// The state that layers make, with nothing beside them.
    pub fn of(stack: Stack, world: &World, job: &Job<'_>) -> Result<State, Fault> {
        let root = root(&stack, &stack.bounds(), world, job)?;
        let run = ImageRun {
            lowers: root.lowers.clone(),
            specials: root.specials.clone(),
            epoch: world.epoch,
            ..ImageRun::default()
        };
        let (folder, environment) = (String::new(), BTreeMap::new());
        Ok(State { stack, root, run, folder, environment, secrets: Vec::new(), script: None })
    }
}
