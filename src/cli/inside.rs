//! A program of an image that people talk to, and what becomes of what it changes.

use std::fs::File;
use std::io::{BufReader, IsTerminal};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::session::{Project, Session};
use crate::fault::{Fault, Faults};
use crate::key::Digest;
use crate::layer::read::{Gathered, Rules, read_tar};
use crate::layer::{EntryPath, Kind};
use crate::sandbox::image::{Call, Console, Given, ImageRun, View};
use crate::sandbox::{Exit as Ended, Launcher};
use crate::work::State;
use crate::work::upper::upper_layer;

/// What starts when nothing is named.
const SHELLS: [&str; 2] = ["bin/bash", "bin/sh"];

/// What somebody wants to do in a state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// The program and its arguments; a shell if there is none.
    pub command: &'a [String],
    /// Whether it reaches the network where the step's own programs do not.
    pub network: bool,
    /// The file that gets what it changes, as a tar.
    pub keep: Option<&'a Path>,
}

/// Whether people talk to this process on a terminal.
pub fn on_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Runs it in `state`, and says how it ended.
pub fn enter(
    session: &Session,
    project: &Project,
    state: &State,
    wish: Wish<'_>,
    stop: &AtomicBool,
) -> Result<Option<Ended>, Faults> {
    let mut run = state.run.clone();
    let capture = wish.keep.map(|_| project.world.store.stage().map(|stage| stage.path("upper.tar")));
    run.capture = capture.transpose()?;
    run.commands = vec![call(wish.command, state)?];
    run.environment.extend(state.environment.clone());
    run.environment.extend(session.terminal_kind());
    run.passing.extend(state.secrets.clone());
    run.network |= wish.network;
    let resolver = resolver(run.network);
    if run.passing.iter().all(|given| resolver.iter().all(|resolver| resolver.path != given.path)) {
        run.passing.extend(resolver);
    }
    let (input, output, errors) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let console = Console { input: input.as_fd(), output: output.as_fd(), errors: errors.as_fd() };
    let ran = Launcher::of(&project.world.program).run_interactive(&run, console, stop)?;
    if let (Some(file), Some(capture)) = (wish.keep, &run.capture) {
        keep(capture, state, &run, project, file)?;
    }
    Ok(ran.exits.last().copied())
}

fn call(command: &[String], state: &State) -> Result<Call, Fault> {
    let mut words = command.iter().cloned();
    let program = match words.next() {
        Some(program) => program,
        // The host's own, which sees the image as a folder.
        None if state.run.view == View::Host => "/bin/sh".into(),
        None => {
            let there = |path: &&&str| {
                EntryPath::parse(path).is_ok_and(|path| state.root.merged.file(&path).is_some())
            };
            let shell = SHELLS.iter().find(there).ok_or_else(|| {
                Fault::build("shell/none", "there is no shell in it: neither `/bin/bash` nor `/bin/sh`")
                    .help("name a program: `imgbuild shell WHAT -- PROGRAM …`")
            })?;
            format!("/{shell}")
        }
    };
    let folder = if state.folder.is_empty() { "/".into() } else { state.folder.clone() };
    Ok(Call { program, arguments: words.collect(), folder, ..Call::default() })
}

/// With the network, names are looked up as on this machine; nothing of that stays in the image.
fn resolver(network: bool) -> Vec<Given> {
    let text = if network { std::fs::read("/etc/resolv.conf").ok() } else { None };
    let given =
        |bytes| Given { path: EntryPath::parse("etc/resolv.conf").unwrap_or_default(), mode: 0o644, bytes };
    text.map(given).into_iter().collect()
}

/// Writes what changed as a tar.
fn keep(capture: &Path, state: &State, run: &ImageRun, project: &Project, file: &Path) -> Result<(), Fault> {
    let failed = |error: std::io::Error| Fault::io("read", capture, &error);
    let tar = File::open(capture).map_err(failed)?;
    let epoch = project.world.epoch;
    let rules = Rules { to: EntryPath::root(), owner: None, epoch, keep_times: true, root_counts: true };
    let mut gathered = read_tar(&mut BufReader::new(&tar), &rules, None)
        .map_err(|bad| Fault::build("shell/capture", format!("cannot take in what changed: {bad}")))?;
    let given = untouched(&mut gathered, &run.files);
    let keep = |path: &EntryPath| !given.contains(path);
    let layer = upper_layer(gathered, &tar, &state.root.merged, keep, &project.world)?;
    std::fs::copy(&layer.path, file).map_err(|error| Fault::io("write", file, &error))?;
    Ok(())
}

/// The files that the step itself puts there, and that are still as it does.
fn untouched(gathered: &mut Gathered, files: &[Given]) -> Vec<EntryPath> {
    let is_same = |given: &Given, digest: &Digest| *digest == Digest::of(&given.bytes);
    let untouched = gathered.entries_mut().filter(|entry| match &entry.kind {
        Kind::File { digest, .. } => {
            files.iter().any(|given| given.path == entry.path && is_same(given, digest))
        }
        _ => false,
    });
    untouched.map(|entry| entry.path.clone()).collect()
}
