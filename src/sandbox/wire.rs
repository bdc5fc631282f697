//! What the parts of a sandbox say to each other.
//!
//! Three speak: imgbuild, which gives one [`Order`] and then hears [`Word`]s, a JSON text a line, on a stream socket,
//! and says [`Said`] where people talk to the program;
//! the first process inside; and the `xcluster` that a script calls, which sends the first process one [`Request`] a
//! connection and hears one [`Answer`], a packet each. What comes from a script is believed by nobody: it can make its
//! own overlay wrong, and nothing else.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Asked;
use super::image::ImageRun;

/// What is to run, and all that it sees. Behind its line on the socket come the bytes of [`Order::bytes`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// Whether the sandbox has a user namespace; only root can do without.
    pub own_users: bool,
    /// Which root the programs see.
    pub root: RootKind,
}

/// The two kinds of root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum RootKind {
    /// One of the host's programs.
    Host(HostRoot),
    /// An image's own.
    Image(Box<ImageRun>, Talk),
}

/// Whether people talk to the last program of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Talk {
    /// They do not.
    No,
    /// Through pipes.
    Plain,
    /// On a terminal of its own, of so many rows and columns.
    Terminal(u16, u16),
}

impl Order {
    /// What goes beside the JSON text, in this order and as long as the text says.
    pub fn bytes(&self) -> Vec<&[u8]> {
        match &self.root {
            RootKind::Host(_) => Vec::new(),
            RootKind::Image(run, _) => run.bytes(),
        }
    }

    /// The same, to be filled by who reads the order.
    pub fn bytes_mut(&mut self) -> Vec<&mut Vec<u8>> {
        match &mut self.root {
            RootKind::Host(_) => Vec::new(),
            RootKind::Image(run, _) => run.bytes_mut(),
        }
    }
}

/// A root of the host's programs, and one program in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HostRoot {
    /// Host folders and files that are shown, read-only, at their own path. All paths here are real and absolute.
    pub visible: Vec<PathBuf>,
    /// Host folders and files of which nothing is shown.
    pub hidden: Vec<PathBuf>,
    /// Host folders whose overlays are shown once they are asked for.
    pub search: Vec<PathBuf>,
    /// The names that `xcluster env` answers.
    pub exported: Vec<String>,
    /// The host folder that stands, writable, at [`super::OUT`].
    pub out: Option<PathBuf>,
    /// The program; without one the sandbox is made and left.
    pub program: Option<Program>,
}

/// A program with what it is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Program {
    /// Where it stands inside.
    pub path: PathBuf,
    /// Its arguments, without its own name.
    pub arguments: Vec<String>,
    /// Where it starts.
    pub folder: PathBuf,
    /// Its whole environment.
    pub environment: BTreeMap<String, String>,
}

/// What imgbuild hears.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Word {
    /// The sandbox could not be made.
    Refused(Refusal),
    /// The program could not be started.
    NotStarted {
        /// The system's reason.
        reason: String,
    },
    /// The program asked for something.
    Asked(Asked),
    /// The program asked for something that this machine lacks; a sentence.
    Missing(String),
    /// One of an image's programs ended; which, from 0.
    Called(usize, Exit),
    /// An image's programs left these running, which were ended; their names.
    Left(Vec<String>),
    /// What an image's programs left cannot be taken; a sentence.
    Unfit(String),
    /// The program, or the last of an image's, ended; so does all that it started.
    Ended(Exit),
}

/// What imgbuild says while an image's program runs that people talk to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Said {
    /// This was typed.
    Typed(#[serde(with = "super::image::text")] Vec<u8>),
    /// Nothing more will be typed.
    NoMore,
    /// The terminal has so many rows and columns.
    Size(u16, u16),
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Exit {
    /// With a code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// A step that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Refusal {
    /// What was tried, as in "cannot …".
    pub step: String,
    /// The system's reason.
    pub reason: String,
    /// What to do about it, where that is known.
    pub way_out: Option<String>,
    /// Whether it is not this machine but what was asked for: no other way of making a sandbox would help.
    pub asked: bool,
}

/// What `xcluster` sends to the first process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    /// Show the overlay of this name, and say where it is.
    Overlay(String),
    /// The names of the exported variables.
    Exported,
    /// A program of the host and its libraries were used.
    Program {
        /// The name to look up.
        name: String,
        /// What it was found to be.
        found: Option<PathBuf>,
        /// The files whose bytes were used.
        files: Vec<PathBuf>,
    },
    /// Files of the host were used.
    Files(Vec<PathBuf>),
    /// Something that the script needs is not there; a sentence.
    Missing(String),
}

/// What `xcluster` hears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// Where the overlay is, if there is one.
    Overlay(Option<PathBuf>),
    /// The names of the exported variables.
    Exported(Vec<String>),
    /// It will be told.
    Noted,
    /// A script has asked for more than any honest one does.
    TooMuch,
}

/// The largest packet.
pub(super) const PACKET: usize = 128 * 1024;

impl Refusal {
    /// The value of `result`, or that `step` was refused.
    pub fn of<T>(step: impl Into<String>, result: Result<T, impl Into<io::Error>>) -> Result<T, Refusal> {
        result.map_err(|error| Refusal::new(step, crate::fault::reason(&error.into())))
    }

    /// The machine refuses `step`.
    pub fn new(step: impl Into<String>, reason: impl Into<String>) -> Refusal {
        Refusal { step: step.into(), reason: reason.into(), way_out: None, asked: false }
    }

    /// What was asked for makes `step` impossible.
    pub fn asked(step: impl Into<String>, reason: impl Into<String>) -> Refusal {
        Refusal { asked: true, ..Refusal::new(step, reason) }
    }

    /// Adds what to do about it.
    pub fn help(self, way_out: impl Into<String>) -> Refusal {
        Refusal { way_out: Some(way_out.into()), ..self }
    }
}
