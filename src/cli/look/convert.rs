//! Disks in the formats of hypervisors, made raw so that they can be looked into: by this machine's qemu-img, in a sandbox,
//! since a disk may come from anybody.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::cli::build::cancelled_by_signals;
use crate::cli::session::Session;
use crate::fault::{Fault, Faults};
use crate::layer::EntryPath;
use crate::outputs::disk::formats::{START, VMDK_TEXT, format_of, qcow2_names_others};
use crate::sandbox::image::{Call, ImageRan, ImageRun, Shown, View};
use crate::sandbox::{Exit, Launcher, PATH, resolve_program};
use crate::store::{Access, Store};
use crate::wording;

/// The largest disk that is looked into, in bytes: what one file of ext4 holds.
const MOST: u64 = (16 << 40) - 4096;

/// Where qemu-img finds the disk, and where it writes it.
const FROM: &str = "run/imgbuild/disk";
const TO: &str = "run/imgbuild/raw";

/// The disk at `path` as a raw one, which is gone when it is closed; none if it is in no format of a hypervisor's.
///
/// # Errors
///
/// There is no qemu-img on this machine, it fails, there is no space, or the disk stands on another one.
pub fn raw(session: &Session, path: &Path) -> Result<Option<File>, Faults> {
    let failed = |error: io::Error| Fault::io("read", path, &error);
    let file = File::open(path).map_err(failed)?;
    let mut start = [0; START];
    let length = file.read_at(&mut start, 0).map_err(failed)?;
    let start = start.get(..length).unwrap_or_default();
    let Some(format) = format_of(start) else { return Ok(None) };
    let others = match format {
        "qcow2" => qcow2_names_others(start),
        "vmdk" => start.starts_with(VMDK_TEXT) || vmdk_names_others(start, &file).map_err(failed)?,
        _ => false,
    };
    if others {
        let message = format!("`{}` stands on another disk, which is not looked into", path.display());
        return Err(Fault::error("look/backing", message)
            .help(format!(
                "look at it if you trust it: `qemu-img convert -f {format} -O raw {} disk.raw`",
                path.display()
            ))
            .into());
    }
    if resolve_program("qemu-img", PATH).is_none() {
        let message =
            format!("`{}` is a disk as {format}, which this machine's `qemu-img` would read", path.display());
        return Err(Fault::machine("look/format", message)
            .help("it is in Debian's package `qemu-utils`")
            .into());
    }
    converted(session, path, format).map(Some)
}

/// Whether a VMDK names another file: a parent, or where its data is (VMware Virtual Disk Format 5.0). Its header has the
/// capacity, which is 0 where only a descriptor follows, and the sector of that.
fn vmdk_names_others(start: &[u8], file: &File) -> io::Result<bool> {
    const DESCRIPTOR: usize = 20 * 512;
    let number =
        |at: usize| start.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    let (capacity, descriptor) = (number(12).unwrap_or_default(), number(28).unwrap_or_default());
    let mut text = vec![0; DESCRIPTOR];
    let length = descriptor.checked_mul(512).map_or(Ok(0), |at| file.read_at(&mut text, at))?;
    text.truncate(length);
    // QEMU looks for a parent behind the header, wherever the descriptor is said to be.
    let mut behind = vec![0; DESCRIPTOR];
    let length = file.read_at(&mut behind, 512)?;
    text.extend(behind.iter().take(length));
    let text = text.as_slice();
    Ok(capacity == 0 || memchr::memmem::find(text, b"parentFileNameHint").is_some())
}

fn converted(session: &Session, path: &Path, format: &str) -> Result<File, Faults> {
    let cancel = cancelled_by_signals();
    let store = session.store(Access::Use)?;
    let disk = Disk { path, format, store: &store, cancel: &cancel };
    disk.refuse_too_big()?;
    // What lies behind the end of a file that was cut short would be read as holes.
    if format == "qcow2" {
        disk.ask(&["check", &disk.source()], None)?;
    }
    let raw = store.stage()?.path("raw");
    let file = File::options().read(true).write(true).create_new(true).open(&raw);
    let file = file.map_err(|error| Fault::io("write", &raw, &error))?;
    disk.ask(&["convert", "-O", "raw", &disk.source(), &format!("/{TO}")], Some(&raw))?;
    // Its name goes, and the rest with whoever reads it: from here on a signal may end the process at once.
    drop(store);
    match cancel.swap(true, Ordering::Relaxed) {
        true => Err(Fault::build("look/interrupted", "interrupted").into()),
        false => Ok(file),
    }
}

/// A disk that qemu-img reads.
struct Disk<'a> {
    path: &'a Path,
    format: &'a str,
    store: &'a Store,
    cancel: &'a AtomicBool,
}

impl Disk<'_> {
    /// What qemu-img calls it: a disk that stands on no other, whatever it says itself.
    fn source(&self) -> String {
        let file = json!({ "driver": "file", "filename": format!("/{FROM}") });
        format!("json:{}", json!({ "driver": self.format, "backing": null, "file": file }))
    }

    /// A few bytes can say that they are a disk larger than any other. Holes take no space, but contents do.
    fn refuse_too_big(&self) -> Result<(), Fault> {
        let number = |answer: &Value, field: &str| answer.get(field).and_then(Value::as_u64);
        let path = self.path.display();
        let told = self.ask(&["info", "--output=json", &self.source()], None)?;
        let size = number(&told, "virtual-size").unwrap_or(u64::MAX);
        if size > MOST {
            let message = format!("`{path}` says that it is a disk of {}", wording::size(size));
            let help = format!("disks of up to {} are looked into", wording::size(MOST));
            return Err(Fault::error("look/size", message).help(help));
        }
        // Of all formats this is the one for which holes are left out, and a qcow2 is larger than what is in it.
        let told = self.ask(&["measure", "-O", "qcow2", "--output=json", &self.source()], None)?;
        let needed = number(&told, "required").unwrap_or(size);
        let cache = self.store.root();
        let free = free_in(cache);
        if needed <= free {
            return Ok(());
        }
        let (needed, free) = (wording::size(needed), wording::size(free));
        let message =
            format!("`{path}` takes {needed} to be looked into, and `{}` has {free}", cache.display());
        Err(Fault::machine("look/space", message)
            .help("free some there, or name another folder: `--cache DIR`"))
    }

    /// What qemu-img answers, which may write to `written`.
    fn ask(&self, arguments: &[&str], written: Option<&Path>) -> Result<Value, Fault> {
        let at = |path: &str| EntryPath::parse(path).unwrap_or_default();
        let run = ImageRun {
            shown: vec![Shown { host: self.path.into(), at: at(FROM) }],
            written: written.map(|host| Shown { host: host.into(), at: at(TO) }).into_iter().collect(),
            view: View::Programs,
            commands: vec![Call {
                program: "qemu-img".into(),
                arguments: arguments.iter().map(|word| word.to_string()).collect(),
                ..Call::default()
            }],
            log: self.store.stage()?.path("log"),
            ..ImageRun::default()
        };
        let ran = Launcher::default().run_image(&run, self.cancel, &mut |_| {})?;
        // 3: a check found space that nothing uses.
        if !matches!(ran.exits.last(), Some(Exit::Code(0 | 3))) {
            return Err(self.damaged(&ran));
        }
        let said = fs::read(&run.log).map_err(|error| Fault::io("read", &run.log, &error))?;
        // Warnings may stand before it; what answers nothing is asked for none.
        let answer = said.get(said.iter().position(|byte| *byte == b'{').unwrap_or_default()..);
        let answer = serde_json::Deserializer::from_slice(answer.unwrap_or_default()).into_iter().next();
        Ok(answer.and_then(Result::ok).unwrap_or_default())
    }

    fn damaged(&self, ran: &ImageRan) -> Fault {
        let path = self.path.display().to_string();
        let message = format!("cannot read the disk `{path}`: it is damaged, or no {}", self.format);
        let inside = format!("/{FROM}");
        let named = |line: &String| line.replace(&self.source(), &path).replace(&inside, &path);
        let output = ran.tail.iter().map(|line| wording::printable(&named(line))).collect();
        let help = "get it again from where it came from, or build it again";
        Fault { output, ..Fault::build("look/damaged", message).help(help) }
    }
}

/// Bytes that are free where `folder` is; as many as can be where nobody knows.
fn free_in(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}
