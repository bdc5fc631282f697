//! `imgbuild boot`: an image in a machine that QEMU emulates.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::arguments::{Boot, Build, Firmware as Asked, Only};
use super::build::{self, cancelled_by_signals};
use super::exit::Exit;
use super::look;
use super::session::{Project, Session};
use crate::deb::own_arch;
use crate::fault::{Fault, Faults};
use crate::outputs::disk::{FORMATS, Firmware, Machine, qemu_name};
use crate::plan::graph::Target;
use crate::plan::{self, Graph, StepId, Wanted, Work};
use crate::sandbox::Exit as Ended;
use crate::sandbox::emulator::{Emulated, Emulator, Start, Wait, Waited, efi};
use crate::store::Access;
use crate::wording;

/// Boots it, and says how that ended.
pub fn run(session: &Session, asked: &Boot) -> Result<Exit, Faults> {
    let file = session.folder().join(&asked.what);
    let format = file.extension().and_then(|extension| format_of(&extension.to_string_lossy()));
    let is_file = format.is_some() && file.is_file();
    if !is_file && (format.is_some() || asked.what.contains('/')) {
        return Err(no_file(&asked.what, &file, format.is_some()).into());
    }
    let found = if is_file { None } else { Some(built(session, asked)?) };
    let store = session.store(Access::Use)?;
    let folder = store.stage()?.path("machine");
    fs::create_dir(&folder).map_err(|error| Fault::io("make", &folder, &error))?;
    let machine = match (found, format) {
        (Some(Some((machine, disk, kernel))), _) => emulated(&machine, disk, kernel, asked, &folder)?,
        (Some(None), _) => return Ok(Exit::Failed),
        (None, format) => unknown(file, format.unwrap_or("raw"), asked, &folder)?,
    };
    let emulator = Emulator::find(&machine.arch, !asked.no_kvm && machine.arch == own_arch(), &folder)?;
    if emulator.is_slow() {
        session.terminal.tell("the processor is emulated, which is slow: KVM does not work here\n");
    }
    start(session, &emulator, &machine, asked)
}

/// What is named as a file is none that can be booted.
fn no_file(what: &str, file: &Path, is_format: bool) -> Fault {
    let shown = wording::printable(what);
    match file.is_file() {
        true => Fault::error("boot/format", format!("`{shown}` has no name of a disk")).help(format!(
            "what is in it is told by its name's end: {}",
            wording::either(FORMATS.map(|format| format!(".{format}")))
        )),
        false => Fault::error("boot/file", format!("there is no file `{shown}`"))
            .maybe_help(is_format.then(|| "to boot a target, name it as `imgbuild ls` does".into())),
    }
}

fn format_of(name: &str) -> Option<&'static str> {
    FORMATS.iter().find(|kind| **kind == name).map(|kind| qemu_name(kind))
}

fn start(session: &Session, emulator: &Emulator, machine: &Emulated, asked: &Boot) -> Result<Exit, Faults> {
    let cancel = cancelled_by_signals();
    if asked.wait_for.is_none() && asked.timeout.is_none() {
        session.terminal.tell("Ctrl-A X ends the machine\n");
        return Ok(match emulator.run(machine, &cancel)? {
            Ended::Code(0) => Exit::Done,
            _ => Exit::Failed,
        });
    }
    let timeout = asked.timeout.map(|seconds| Duration::from_secs(seconds.into()));
    let wait = Wait { text: asked.wait_for.as_deref(), timeout };
    let waited = emulator.watch(machine, wait, &cancel, &mut io::stdout())?;
    let text = asked.wait_for.as_deref().map(wording::printable);
    let fault = match (waited, text) {
        (Waited::Found, _) | (Waited::Ended(Ended::Code(0)), None) => return Ok(Exit::Done),
        (Waited::TimedOut, text) => {
            let what = text.map_or("it did not end".into(), |text| format!("`{text}` did not come"));
            Fault::build("boot/timeout", format!("{what} in {} s", asked.timeout.unwrap_or_default()))
        }
        (Waited::Ended(_), Some(text)) => {
            Fault::build("boot/ended", format!("the machine ended, and `{text}` did not come"))
        }
        (Waited::Ended(_), None) => Fault::build("boot/ended", "the emulator failed"),
    };
    Err(fault.into())
}

type Built = (Machine, (PathBuf, &'static str), Option<PathBuf>);

/// The target's machine, its disk, and the folder of its kernel if it has one; all of it is built. None if that failed.
fn built(session: &Session, asked: &Boot) -> Result<Option<Built>, Faults> {
    let project = session.project(Access::Look)?;
    let graph = project.graph()?;
    let target = one_target(&graph, &asked.what)?;
    let (name, machine) = (target.name.clone(), machine_of(&project, target));
    let outputs: Vec<(&str, StepId, &Path)> = target
        .outputs
        .iter()
        .filter_map(|step| match &graph.task(*step).work {
            Work::Output { output, path, .. } => Some((output.kind(), *step, path.as_path())),
            Work::Layer { .. } => None,
        })
        .collect();
    let find = |kind: &str| outputs.iter().find(|(of, ..)| *of == kind);
    let path = |kind: &str| find(kind).map(|(.., path)| path.to_path_buf());
    let disk = FORMATS.iter().find_map(|kind| Some((path(kind)?, *kind)));
    let (disk, format) = disk.ok_or_else(|| {
        Fault::error("boot/disk", format!("`{name}` has no disk that could boot"))
            .help("add one to its block: `output \"raw\"`, or `output \"qcow2\"`")
    })?;
    let kernel = path("kernel");
    if machine.firmware() == Firmware::Kernel && kernel.is_none() {
        return Err(Fault::error(
            "boot/kernel",
            format!("`{name}` has no boot loader, and its kernel is not written"),
        )
        .help("add `output \"kernel\"` to its block")
        .into());
    }
    // Only what is booted: whatever else the target is written as can wait.
    let needed = [Some(format), kernel.as_ref().map(|_| "kernel")].into_iter().flatten().filter_map(find);
    let needed = needed.map(|(_, step, _)| graph.task(*step).id.clone()).collect();
    let build = Build { only: Some(Only::Steps(needed)), ..Build::default() };
    let disk = (disk, qemu_name(format));
    drop(project);
    Ok((build::run(session, &build)? == Exit::Done).then_some((machine, disk, kernel)))
}

fn one_target<'g>(graph: &'g Graph, what: &str) -> Result<&'g Target, Faults> {
    if let Some(target) = look::target(graph, what)? {
        return Ok(target);
    }
    // It says what there is.
    plan::select(graph, &[what.to_string()], Wanted::Outputs, super::arguments::COMMANDS)?;
    Err(Fault::error("target/unknown", format!("no target is called `{}`", wording::printable(what))).into())
}

fn machine_of(project: &Project, target: &Target) -> Machine {
    let image = project.manifest.images.iter().find(|image| image.name.value == target.image);
    let of_hypervisor = image.and_then(|image| {
        let name = target.hypervisor.as_ref()?;
        image.hypervisors.iter().find(|hypervisor| hypervisor.name.value == *name)
    });
    let nowhere = || crate::fault::Place::new(&crate::fault::Source::new("", ""), 0..0);
    match (of_hypervisor, image) {
        (Some(hypervisor), _) => hypervisor.machine.clone(),
        (None, Some(image)) => image.machine.clone(),
        (None, None) => Machine::unsaid(own_arch(), &nowhere()),
    }
}

fn emulated(
    machine: &Machine,
    disk: (PathBuf, &'static str),
    kernel: Option<PathBuf>,
    asked: &Boot,
    folder: &Path,
) -> Result<Emulated, Fault> {
    let start = match (asked.firmware, machine.firmware(), kernel) {
        (Some(Asked::Efi), ..) | (None, Firmware::Efi, _) => efi(machine.arch())?,
        (None, Firmware::Kernel, Some(kernel)) => Start::of_folder(&kernel, &kernel)?,
        _ => Start::Bios,
    };
    Ok(Emulated {
        arch: machine.arch().to_string(),
        memory: asked.memory.map_or(machine.memory(), |mib| u64::from(mib) << 20),
        cpus: machine.cpus(),
        nics: machine.nics(),
        disk,
        keep: asked.keep,
        start,
        console: machine.console().map(String::from),
        ssh: asked.ssh,
        folder: folder.to_path_buf(),
    })
}

/// A machine for a disk of which nothing else is known.
fn unknown(disk: PathBuf, format: &'static str, asked: &Boot, folder: &Path) -> Result<Emulated, Fault> {
    Ok(Emulated {
        arch: own_arch().to_string(),
        memory: asked.memory.map_or(1 << 30, |mib| u64::from(mib) << 20),
        cpus: 2,
        nics: 1,
        disk: (disk, format),
        keep: asked.keep,
        console: None,
        // No other has a BIOS.
        start: match asked.firmware == Some(Asked::Efi) || own_arch() != "amd64" {
            true => efi(own_arch())?,
            false => Start::Bios,
        },
        ssh: asked.ssh,
        folder: folder.to_path_buf(),
    })
}
