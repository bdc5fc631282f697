//! Programs of an image, run in the image's own file system: a package's scripts, hooks, a shell.
//!
//! The root is an overlay: folders of the host below, which nobody writes to, and a tmpfs above them, which dies with
//! the sandbox. What the programs change is told at the end by one tar of that upper part ([`ImageRun::capture`]).
//!
//! Every program is the image's root, with what a package's scripts need of a root's power inside, and with none
//! outside: the ids of an image are a user namespace's. For root these are the host's own ids, for anyone else the ids
//! that `/etc/subuid` gives; the tar is the same.

mod capture;
mod programs;
mod remove;
mod root;
mod stage;
pub(super) mod text;
mod top;
mod within;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::launch::{Ended, Launcher, Watch};
use super::tar_script::real;
use super::wire::{Exit, RootKind, Talk};
use crate::fault::Fault;
use crate::layer::EntryPath;
pub(super) use stage::inner_stage;

/// Bytes of what programs print that are kept.
const MOST_LOG: u64 = 64 << 20;

/// Programs to run in an image's file system, and what they find there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRun {
    /// Folders of the host that make up the image, the lowest first. All in them is root's, whoever owns it here. The
    /// caller, and nobody else, may own and must not change what is in them meanwhile. At most 400.
    pub lowers: Vec<PathBuf>,
    /// What plain folders cannot hold; stands above them. A folder on the way that is not named here is as it is below.
    pub specials: Vec<Special>,
    /// Files, root's, that are written before the first program starts, and captured.
    pub files: Vec<Given>,
    /// Files, root's, that are there while the programs run. Nothing at these paths is captured, whatever happens to
    /// them: there, the image stays as it was.
    pub passing: Vec<Given>,
    /// Files and folders of the host that are shown, read-only.
    pub shown: Vec<Shown>,
    /// Whether programs can reach the network; without it there is only their own loopback.
    pub network: bool,
    /// The environment of all programs, beside [`ImageRun::environment`]'s usual one, which it overrides.
    pub environment: BTreeMap<String, String>,
    /// Run one after the other, until one that must succeed does not.
    pub commands: Vec<Call>,
    /// Removed after the last program, before the capture.
    pub remove: Vec<Removal>,
    /// A file of the host that gets the changes, as a tar: PAX, sorted by path, owners as numbers, with OCI whiteouts.
    /// Not written where a program failed that must not.
    pub capture: Option<PathBuf>,
    /// Times in the capture that are later than this are this: seconds since 1970.
    pub epoch: i64,
    /// A file of the host where all that the programs print goes; of more than 64 MiB, the first and the last half.
    pub log: PathBuf,
    /// How long all of it may take.
    pub timeout: Option<Duration>,
}

/// An entry of an image that a plain folder of the host cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Special {
    /// Where.
    #[serde(with = "text::path")]
    pub path: EntryPath,
    /// What.
    pub kind: SpecialKind,
    /// Permission bits with set-user-ID, set-group-ID and sticky: at most 0o7777.
    pub mode: u32,
    /// The user's number, as the image has it.
    pub user: u32,
    /// The group's number.
    pub group: u32,
    /// Last modification, seconds since 1970.
    pub mtime: i64,
    /// Extended attributes.
    #[serde(with = "text::pairs")]
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a [`Special`] is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpecialKind {
    /// A directory.
    Directory,
    /// A regular file with a content that is a part of a file of the host.
    File {
        /// The host's file.
        file: PathBuf,
        /// Its first byte that counts.
        offset: u64,
        /// How many count.
        size: u64,
    },
    /// Another name of a special file that comes before it.
    Hardlink(#[serde(with = "text::path")] EntryPath),
    /// A symbolic link and the text of its target.
    Symlink(#[serde(with = "text")] Vec<u8>),
    /// A named pipe.
    Fifo,
}

/// A small file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// Where. Links on the way are followed, inside the image, for [`ImageRun::files`], and refused for
    /// [`ImageRun::passing`].
    #[serde(with = "text::path")]
    pub path: EntryPath,
    /// Permission bits.
    pub mode: u32,
    /// Its content.
    #[serde(with = "text::length")]
    pub bytes: Vec<u8>,
}

/// Something of the host that is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The host's file or folder.
    pub host: PathBuf,
    /// Where it stands in the image.
    #[serde(with = "text::path")]
    pub at: EntryPath,
}

/// One program to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its path inside, or its name on `PATH`.
    pub program: String,
    /// Its arguments, without its own name.
    pub arguments: Vec<String>,
    /// Where it starts; `/` if empty.
    pub folder: String,
    /// What it reads on its standard input; nothing is `/dev/null`.
    #[serde(with = "text::maybe_length")]
    pub stdin: Option<Vec<u8>>,
    /// Whether the run ends with it if it does not end with code 0.
    pub must_succeed: bool,
    /// Its own environment, which overrides that of all.
    pub environment: BTreeMap<String, String>,
}

/// Something to remove. The last name of its path may hold `*`, which stands for any bytes; what is not there is fine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Where. Links on the way are followed inside the image; the last name is taken as it is.
    #[serde(with = "text::path")]
    pub path: EntryPath,
    /// How much of it.
    pub what: Removed,
}

/// How much a [`Removal`] removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Removed {
    /// It, and what is in it.
    Whole,
    /// What is in the directory.
    Inside,
    /// The content of the regular file.
    Content,
}

/// What a run gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRan {
    /// How the programs ended that were started, in their order. A program that is not there is code 127, one that
    /// cannot be run 126, as shells have it.
    pub exits: Vec<Exit>,
    /// Which of them failed that must not.
    pub failed: Option<usize>,
    /// The last lines that were printed.
    pub tail: Vec<String>,
    /// The names of programs that still ran in the end, and were ended; sorted.
    pub left: Vec<String>,
}

impl ImageRun {
    /// The environment that every program has before [`ImageRun::environment`] and [`Call::environment`].
    fn usual_environment() -> [(&'static str, &'static str); 8] {
        [
            ("HOME", "/root"),
            ("LANG", "C.UTF-8"),
            ("LOGNAME", "root"),
            ("PATH", super::PATH),
            ("SHELL", "/bin/sh"),
            ("TMPDIR", "/tmp"),
            ("TZ", "UTC"),
            ("USER", "root"),
        ]
    }

    /// What does not go into a JSON text, in one order.
    pub(super) fn bytes(&self) -> Vec<&[u8]> {
        let given = self.files.iter().chain(&self.passing).map(|given| given.bytes.as_slice());
        given.chain(self.commands.iter().filter_map(|call| call.stdin.as_deref())).collect()
    }

    /// The same, to be filled.
    pub(super) fn bytes_mut(&mut self) -> Vec<&mut Vec<u8>> {
        let given = self.files.iter_mut().chain(&mut self.passing).map(|given| &mut given.bytes);
        given.chain(self.commands.iter_mut().filter_map(|call| call.stdin.as_mut())).collect()
    }
}

impl Launcher {
    /// Whether programs of an image can be run here. Makes a sandbox and leaves it.
    pub fn images_available(&self) -> Result<(), Fault> {
        let never = AtomicBool::new(false);
        let run = RootKind::Image(Box::default(), Talk::No);
        self.run(run, Watch::probe(&never, &mut |_| {})).map(|_| ())
    }

    /// Runs programs in an image. `line` is told what they print, line by line; setting `stop` interrupts them.
    ///
    /// # Errors
    ///
    /// Where the sandbox cannot be made (the machine's), where what was asked for cannot be shown or taken, where it was
    /// interrupted or took too long. A program that fails is no error: see [`ImageRan::failed`].
    pub fn run_image(
        &self,
        run: &ImageRun,
        stop: &AtomicBool,
        line: &mut dyn FnMut(&str),
    ) -> Result<ImageRan, Fault> {
        let order = RootKind::Image(Box::new(order(run)?), Talk::No);
        let watch = Watch { log: &run.log, log_limit: MOST_LOG, timeout: run.timeout, stop, line };
        let ran = self.run(order, watch).and_then(|ended| judge(run, ended));
        clear_capture(run, &ran);
        ran
    }
}

/// The run with real paths of the host, and with an empty file for the capture.
fn order(run: &ImageRun) -> Result<ImageRun, Fault> {
    let mut order = run.clone();
    order.lowers.iter_mut().try_for_each(make_real)?;
    order.shown.iter_mut().map(|shown| &mut shown.host).try_for_each(make_real)?;
    // Many specials have one spool.
    let mut known: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for special in &mut order.specials {
        let SpecialKind::File { file, .. } = &mut special.kind else { continue };
        match known.get(file) {
            Some(found) => file.clone_from(found),
            None => {
                let found = real(file)?;
                known.insert(std::mem::replace(file, found.clone()), found);
            }
        }
    }
    if let Some(capture) = &mut order.capture {
        File::create(&*capture).map_err(|error| Fault::io("write", capture, &error))?;
        make_real(capture)?;
    }
    let usual = ImageRun::usual_environment().map(|(name, value)| (name.to_string(), value.to_string()));
    order.environment = usual.into_iter().chain(order.environment).collect();
    Ok(order)
}

fn make_real(path: &mut PathBuf) -> Result<(), Fault> {
    *path = real(path)?;
    Ok(())
}

fn judge(run: &ImageRun, ended: Ended) -> Result<ImageRan, Fault> {
    if let Some(unfit) = ended.unfit {
        let fault = Fault::build("sandbox/capture", unfit);
        return Err(Fault { output: ended.tail, ..fault });
    }
    let bad = |(number, exit): (usize, &Exit)| {
        let call = run.commands.get(number)?;
        (call.must_succeed && *exit != Exit::Code(0)).then_some(number)
    };
    let failed = ended.exits.iter().enumerate().find_map(bad);
    Ok(ImageRan { exits: ended.exits, failed, tail: ended.tail, left: ended.left })
}

/// A capture that is not whole is not left to be taken for one.
fn clear_capture(run: &ImageRun, ran: &Result<ImageRan, Fault>) {
    let whole = matches!(ran, Ok(ImageRan { failed: None, .. }));
    if let (Some(capture), false) = (&run.capture, whole) {
        let _ = fs::remove_file(Path::new(capture));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_beside_the_text() {
        let path = EntryPath::parse(b"etc/\xff").unwrap();
        let given = Given { path: path.clone(), mode: 0o644, bytes: vec![7; 3] };
        let call = Call { stdin: Some(b"in".to_vec()), ..Call::default() };
        let special = Special {
            path,
            kind: SpecialKind::Symlink(b"\xfe/x".to_vec()),
            mode: 0o4755,
            user: 0,
            group: 1,
            mtime: 2,
            xattrs: vec![(b"user.x".to_vec(), vec![0, 255])],
        };
        let run = ImageRun {
            files: vec![given.clone()],
            passing: vec![given],
            commands: vec![Call::default(), call],
            specials: vec![special],
            ..ImageRun::default()
        };
        let text = serde_json::to_string(&run).unwrap();
        let mut read: ImageRun = serde_json::from_str(&text).unwrap();
        let mut bytes = run.bytes().into_iter();
        read.bytes_mut().into_iter().for_each(|place| place.copy_from_slice(bytes.next().unwrap()));
        assert_eq!(read, run);
    }
}
