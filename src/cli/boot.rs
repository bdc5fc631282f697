//! `imgbuild boot`: an image in a machine that QEMU emulates.

mod bootable;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::arguments::{Boot, Firmware as Asked};
use super::build::cancelled_by_signals;
use super::exit::Exit;
use super::session::Session;
use crate::deb::own_arch;
use crate::fault::{Fault, Faults};
use crate::outputs::disk::Firmware;
use crate::outputs::disk::formats::{self, qemu_name};
use crate::sandbox::Exit as Ended;
use crate::sandbox::emulator::{Emulated, Emulator, Start, Wait, Waited, firmware};
use crate::store::Access;
use crate::wording;
use bootable::Bootable;

/// Boots it, and says how that ended.
pub fn run(session: &Session, asked: &Boot) -> Result<Exit, Faults> {
    let file = session.folder().join(&asked.what);
    let format = file.extension().and_then(|extension| format_of(&extension.to_string_lossy()));
    let is_file = format.is_some() && file.is_file();
    if !is_file && (format.is_some() || asked.what.contains('/')) {
        return Err(no_file(&asked.what, &file, format.is_some()).into());
    }
    let found = if is_file { None } else { Some(bootable::built(session, asked)?) };
    let store = session.store(Access::Use)?;
    let folder = store.stage()?.path("machine");
    fs::create_dir(&folder).map_err(|error| Fault::io("make", &folder, &error))?;
    let machine = match (found, format) {
        (Some(Some(bootable)), _) => emulated(bootable, asked, &folder)?,
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
            wording::either(formats::written().map(|format| format!(".{format}")))
        )),
        false => Fault::error("boot/file", format!("there is no file `{shown}`"))
            .maybe_help(is_format.then(|| "to boot a target, name it as `imgbuild ls` does".into())),
    }
}

fn format_of(name: &str) -> Option<&'static str> {
    formats::written().find(|format| *format == name).map(qemu_name)
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

fn emulated(bootable: Bootable, asked: &Boot, folder: &Path) -> Result<Emulated, Fault> {
    let Bootable { machine, disk, kernel } = bootable;
    let start = match (asked.firmware, kernel) {
        (told, Some(kernel)) if told.is_none() || disk.is_none() => Start::of_folder(&kernel, &kernel)?,
        (Some(Asked::Efi), _) => firmware::here(machine.arch())?,
        (None, None) if machine.firmware() == Firmware::Efi => firmware::here(machine.arch())?,
        _ => Start::Bios,
    };
    Ok(Emulated {
        arch: machine.arch().to_string(),
        memory: asked.memory.map_or(machine.memory(), |mib| u64::from(mib) << 20),
        cpus: machine.cpus(),
        nics: machine.nics(),
        disk,
        backing: None,
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
        disk: Some((disk, format)),
        backing: None,
        keep: asked.keep,
        console: None,
        // No other has a BIOS.
        start: match asked.firmware == Some(Asked::Efi) || own_arch() != "amd64" {
            true => firmware::here(own_arch())?,
            false => Start::Bios,
        },
        ssh: asked.ssh,
        folder: folder.to_path_buf(),
    })
}
