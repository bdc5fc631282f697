//! `imgbuild shell`: a shell in the state that a target, or a step, leaves.

use std::fs::File;
use std::io::BufReader;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::arguments::Shell;
use super::exit::Exit;
use super::look::{self, Meaning};
use super::session::{Project, Session};
use crate::fault::{Fault, Faults};
use crate::layer::EntryPath;
use crate::layer::read::{Rules, read_tar};
use crate::plan::{Graph, StepId};
use crate::sandbox::image::{Call, Console, Given, ImageRun};
use crate::sandbox::{Exit as Ended, Launcher};
use crate::work::Job;
use crate::work::roots::{Root, root};
use crate::work::upper::upper_layer;

/// What starts when nothing is named.
const SHELLS: [&str; 2] = ["bin/bash", "bin/sh"];

/// Opens the shell, or runs the command, and says how it ended.
pub fn run(session: &Session, asked: &Shell) -> Result<Exit, Faults> {
    if let Some(file) = asked.keep.as_deref().filter(|file| session.folder().join(file).exists()) {
        let message = format!("`{}` is there already", file.display());
        return Err(Fault::error("shell/keep", message).help("name another file, or move that away").into());
    }
    let (mut project, graph, stack) = match look::meaning(session, &asked.what)? {
        Meaning::Image { project, graph, stack } => (project, graph, stack),
        Meaning::Layer { project, graph, step } => {
            let stack = up_to(&graph, step);
            (project, graph, stack)
        }
        Meaning::Tar(path) | Meaning::Folder(path) => return Err(no_image(&path).into()),
    };
    let stack = look::build_layers(session, &mut project, graph, &stack)?;
    let stop = AtomicBool::new(false);
    let job = Job { cancel: &stop, say: &|_| {}, warn: &|_| {}, log: std::path::PathBuf::new() };
    let root = root(&stack, &stack.bounds(), &project.world, &job)?;
    let capture =
        asked.keep.as_ref().map(|_| project.world.store.stage().map(|stage| stage.path("upper.tar")));
    let run = ImageRun {
        lowers: root.lowers.clone(),
        specials: root.specials.clone(),
        passing: resolver(asked.network),
        network: asked.network,
        environment: session.terminal_kind().into_iter().collect(),
        commands: vec![call(asked, &root)?],
        capture: capture.transpose()?,
        epoch: project.world.epoch,
        ..ImageRun::default()
    };
    let (input, output, errors) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let console = Console { input: input.as_fd(), output: output.as_fd(), errors: errors.as_fd() };
    let ran = Launcher::of(&project.world.program).run_interactive(&run, console, &stop)?;
    if let (Some(file), Some(capture)) = (&asked.keep, &run.capture) {
        keep(capture, &root, &project, &session.folder().join(file))?;
        session.terminal.tell(&format!("wrote {}: an `overlay` can be made from it\n", file.display()));
    }
    let done = ran.exits.last().is_some_and(|exit| *exit == Ended::Code(0));
    // How an interactive shell ends says nothing.
    Ok(if done || asked.command.is_empty() { Exit::Done } else { Exit::Failed })
}

/// The layers of the first target that has the step, up to the step's own.
fn up_to(graph: &Graph, step: StepId) -> Vec<StepId> {
    let stacks = graph.targets.iter().map(|target| &target.stack);
    let found = stacks.into_iter().find_map(|stack| {
        let at = stack.iter().position(|other| *other == step)?;
        stack.get(..=at).map(<[StepId]>::to_vec)
    });
    found.unwrap_or_else(|| vec![step])
}

fn no_image(path: &Path) -> Fault {
    Fault::error("shell/image", format!("`{}` is no target and no step", path.display()))
        .help("`imgbuild ls` tells which targets there are, `imgbuild plan --all` which steps")
}

fn call(asked: &Shell, root: &Root) -> Result<Call, Fault> {
    let mut words = asked.command.iter().cloned();
    let program = match words.next() {
        Some(program) => program,
        None => {
            let there =
                |path: &&&str| EntryPath::parse(path).is_ok_and(|path| root.merged.file(&path).is_some());
            let shell = SHELLS.iter().find(there).ok_or_else(|| {
                Fault::build("shell/none", "there is no shell in it: neither `/bin/bash` nor `/bin/sh`")
                    .help("name a program: `imgbuild shell WHAT -- PROGRAM …`")
            })?;
            format!("/{shell}")
        }
    };
    Ok(Call { program, arguments: words.collect(), folder: "/".into(), ..Call::default() })
}

/// With the network, names are looked up as on this machine; nothing of that stays in the image.
fn resolver(network: bool) -> Vec<Given> {
    let text = if network { std::fs::read("/etc/resolv.conf").ok() } else { None };
    let given =
        |bytes| Given { path: EntryPath::parse("etc/resolv.conf").unwrap_or_default(), mode: 0o644, bytes };
    text.map(given).into_iter().collect()
}

/// Writes what changed as a tar.
fn keep(capture: &Path, root: &Root, project: &Project, file: &Path) -> Result<(), Fault> {
    let failed = |error: std::io::Error| Fault::io("read", capture, &error);
    let tar = File::open(capture).map_err(failed)?;
    let epoch = project.world.epoch;
    let rules = Rules { to: EntryPath::root(), owner: None, epoch, keep_times: true, root_counts: true };
    let gathered = read_tar(&mut BufReader::new(&tar), &rules, None)
        .map_err(|bad| Fault::build("shell/capture", format!("cannot take in what changed: {bad}")))?;
    let layer = upper_layer(gathered, &tar, &root.merged, |_| true, &project.world)?;
    std::fs::copy(&layer.path, file).map_err(|error| Fault::io("write", file, &error))?;
    Ok(())
}
