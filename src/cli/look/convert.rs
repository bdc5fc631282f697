//! Disks in the formats of hypervisors, made raw so that they can be looked into: by this machine's qemu-img, in a sandbox,
//! since a disk may come from anybody.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use crate::cli::session::Session;
use crate::fault::{Fault, Faults};
use crate::layer::EntryPath;
use crate::sandbox::image::{Call, ImageRun, Shown, View};
use crate::sandbox::{Launcher, PATH, resolve_program};
use crate::store::{Access, Store};
use crate::wording;

/// What tells that a file is a disk in a format of a hypervisor's: where which bytes are, and what qemu-img calls it.
const FORMATS: [(usize, &[u8], &str); 5] = [
    (0, b"QFI\xfb", "qcow2"),
    (0, b"KDMV", "vmdk"),
    (0, b"conectix", "vpc"),
    (0, b"vhdxfile", "vhdx"),
    // Behind a text that each writer words in its own way.
    (64, b"\x7f\x10\xda\xbe", "vdi"),
];

/// A raw disk, and the store whose stage it lies in: both go together.
pub struct Raw {
    /// Where it is.
    pub path: PathBuf,
    _store: Store,
}

/// The disk at `path` as a raw one; none if it is none, or is raw.
///
/// # Errors
///
/// There is no qemu-img on this machine, it fails, or the disk stands on another one.
pub fn raw(session: &Session, path: &Path) -> Result<Option<Raw>, Faults> {
    let failed = |error: io::Error| Fault::io("read", path, &error);
    let file = File::open(path).map_err(failed)?;
    let mut start = [0; 80];
    let length = file.read_at(&mut start, 0).map_err(failed)?;
    let start = start.get(..length).unwrap_or_default();
    let is = |(at, magic, _): &&(usize, &[u8], &str)| {
        start.get(*at..).is_some_and(|start| start.starts_with(magic))
    };
    let Some((_, _, format)) = FORMATS.iter().find(is) else { return Ok(None) };
    let others = match *format {
        "qcow2" => qcow2_names_others(start),
        "vmdk" => vmdk_names_others(start, &file).map_err(failed)?,
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
    Ok(Some(converted(session, path, format)?))
}

/// Whether a qcow2 names another file: one to stand on, or one with its data (QEMU's docs/interop/qcow2.txt).
fn qcow2_names_others(start: &[u8]) -> bool {
    let backing = start.get(8..16).is_some_and(|offset| offset.iter().any(|byte| *byte != 0));
    let version = start.get(4..8).unwrap_or_default();
    backing || (version == [0, 0, 0, 3] && start.get(79).is_some_and(|features| features & 4 != 0))
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

fn converted(session: &Session, path: &Path, format: &str) -> Result<Raw, Faults> {
    const FROM: &str = "run/imgbuild/disk";
    const TO: &str = "run/imgbuild/raw";
    let store = session.store(Access::Use)?;
    let stage = store.stage()?;
    let (raw, log) = (stage.path("raw"), stage.path("log"));
    File::create_new(&raw).map_err(|error| Fault::io("write", &raw, &error))?;
    let at = |path: &str| EntryPath::parse(path).unwrap_or_default();
    let words = ["convert", "-f", format, "-O", "raw", &format!("/{FROM}"), &format!("/{TO}")];
    let run = ImageRun {
        shown: vec![Shown { host: path.into(), at: at(FROM) }],
        written: vec![Shown { host: raw.clone(), at: at(TO) }],
        view: View::Host,
        commands: vec![Call {
            program: "qemu-img".into(),
            arguments: words.map(String::from).into(),
            must_succeed: true,
            ..Call::default()
        }],
        log,
        ..ImageRun::default()
    };
    let never = AtomicBool::new(false);
    let ran = Launcher::of(Path::new("/proc/self/exe")).run_image(&run, &never, &mut |_| {});
    let ran = ran?;
    if ran.failed.is_none() {
        return Ok(Raw { path: raw, _store: store });
    }
    let fault = Fault::build("look/damaged", format!("cannot read the disk `{}`", path.display()));
    let output = ran.tail.iter().map(|line| wording::printable(line)).collect();
    Err(Fault { output, ..fault }.into())
}
