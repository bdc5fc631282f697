//! Asking Debian's own apt, of the suite itself, in a sandbox without network.
//!
//! apt and what it needs are unpacked, not installed: to choose packages it needs nothing that a maintainer script
//! would set up.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::wanted::Wanted;
use crate::bases::debian::Spec;
use crate::deb::Wish;
use crate::deb::solve::{self, Answer, FOLDER, Problem};
use crate::deb::universe::{Universe, closure};
use crate::fault::{Fault, Faults};
use crate::layer::EntryPath;
use crate::sandbox::Launcher;
use crate::sandbox::image::{Call, ImageRun, Shown};
use crate::steps::deb;
use crate::work::roots::{Root, root};
use crate::work::{Job, Stack, StackLayer, World};

/// What apt needs to run: itself, dpkg for its tables of architectures, base-files for the links of a merged `/usr`.
const NEEDED: [&str; 3] = ["apt", "base-files", "dpkg"];

/// The programs that choose: the root that apt runs in.
pub(super) fn program(
    spec: &Spec,
    native: &Universe,
    mirrors: &BTreeMap<String, Vec<String>>,
    world: &World,
    stop: &AtomicBool,
) -> Result<Root, Faults> {
    let stack = unpacked(spec, native, mirrors, world, stop)?;
    let job = Job { cancel: stop, say: &|_| {}, warn: &|_| {}, log: std::path::PathBuf::new() };
    Ok(root(&stack, &[0], world, &job)?)
}

/// What apt says.
pub(super) enum Said {
    /// What it would do.
    Answer(Answer),
    /// That there is no way, in its own words.
    Refusal(String),
}

/// Puts `problem` to apt.
pub(super) fn ask(
    problem: &Problem<'_>,
    program: &Root,
    world: &World,
    stop: &AtomicBool,
) -> Result<Said, Fault> {
    let stage = world.store.stage()?;
    let folder = stage.path("solve");
    write(&folder, problem)?;
    let mut command = solve::command(problem).into_iter();
    let call = Call {
        program: command.next().unwrap_or_default(),
        arguments: command.collect(),
        must_succeed: true,
        ..Call::default()
    };
    let at = EntryPath::parse(FOLDER.trim_start_matches('/')).unwrap_or_default();
    let log = stage.path("solve.log");
    let run = ImageRun {
        lowers: program.lowers.clone(),
        specials: program.specials.clone(),
        shown: vec![Shown { host: folder.clone(), at }],
        environment: solve::environment().into_iter().map(|(name, value)| (name.into(), value)).collect(),
        commands: vec![call],
        epoch: world.epoch,
        log: log.clone(),
        ..ImageRun::default()
    };
    let ran = Launcher::of(&world.program).run_image(&run, stop, &mut |_| {})?;
    let text = std::fs::read_to_string(&log).map_err(|error| Fault::io("read", &log, &error))?;
    // Only takes space until the build ends if it stays.
    let _ = std::fs::remove_dir_all(&folder);
    Ok(match ran.failed {
        None => Said::Answer(solve::read_answer(&text)),
        Some(_) => Said::Refusal(text),
    })
}

fn write(folder: &Path, problem: &Problem<'_>) -> Result<(), Fault> {
    for (path, bytes) in solve::files(problem) {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).map_err(|error| Fault::io("make", parent, &error))?;
        std::fs::write(&path, bytes).map_err(|error| Fault::io("write", &path, &error))?;
    }
    Ok(())
}

/// apt's packages as layers.
fn unpacked(
    spec: &Spec,
    native: &Universe,
    mirrors: &BTreeMap<String, Vec<String>>,
    world: &World,
    stop: &AtomicBool,
) -> Result<Stack, Faults> {
    let needed =
        closure(native, &NEEDED).map_err(|missing| missing.fault(native).at(&spec.place, "this base"))?;
    let mut layers = Vec::new();
    for package in needed {
        let step = deb::DebStep {
            id: format!("deb:{}", package.to_deb().id()),
            mirrors: mirrors.get(package.source()).cloned().unwrap_or_default().into(),
            deb: package.to_deb(),
            place: spec.place.clone(),
        };
        let layer = deb::layer(&step, world, stop)?;
        layers.push(StackLayer::of(&step, &spec.place, layer, Vec::new()));
    }
    Ok(Stack { layers })
}

/// apt's refusal as a fault.
pub(super) fn refused(text: &str, set: &Wanted<'_>) -> Fault {
    let complaints = solve::complaints(text);
    let message = format!("the packages of `{}` cannot be installed together", set.name);
    let named = |name: &str| complaints.iter().any(|line| line.split([' ', ':']).any(|word| word == name));
    let plain = |wish: &Wish| wish.name.value.split(':').next().is_some_and(named);
    let blamed = set.wishes.iter().filter(|wish| plain(wish));
    let mut fault = Fault::error("packages/unsolvable", message);
    for wish in blamed.take(8) {
        fault = fault.at(&wish.name.place, "apt complains about this one");
    }
    if fault.labels.is_empty() {
        fault = fault.at(&set.place, "asked for here");
    }
    fault.output = complaints;
    fault.help("ask for other versions, leave a package out with `!NAME`, or run `imgbuild update` if a lock stands in the way")
}
