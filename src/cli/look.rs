//! Looking inside: `imgbuild ls`, `cat`, `diff` and `overlay`.

mod archive;
mod convert;
mod demand;
mod disk;
mod lines;
mod meaning;
mod subject;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::arguments::{Cat, Diff, Extract, ExtractPart, Ls, Overlay};
use super::contract::{DifferenceAnswer, EntryAnswer};
use super::exit::Exit;
use super::session::Session;
use crate::deb::version;
use crate::fault::{Fault, Faults};
use crate::layer::diff::{Difference, diff};
use crate::layer::read::At;
use crate::layer::{EntryPath, Kind};
use crate::wording;

pub(super) use demand::build_layers;
pub(super) use meaning::{Meaning, of as meaning, target, with_overlays};
pub use subject::Item;
use subject::{Contents, Subject};

/// `imgbuild ls`.
pub fn list(session: &Session, asked: &Ls) -> Result<Exit, Faults> {
    let Some(what) = &asked.what else { return meaning::overview(session, asked.json) };
    let mut subject = Subject::find(session, what, asked.partition, Contents::Unread)?;
    let within = asked.path.as_deref().map_or(Ok(EntryPath::root()), image_path)?;
    if asked.json {
        subject.tell_digests(|entry| entry.path.below(&within).is_some())?;
    }
    tell_items(session, &subject, &within, asked.json)
}

/// `imgbuild cat`.
pub fn write_out(session: &Session, asked: &Cat) -> Result<Exit, Faults> {
    let subject = Subject::find(session, &asked.what, asked.partition, Contents::Kept)?;
    let path = image_path(&asked.path)?;
    let mut content = subject.content(&path)?;
    session.terminal.pour(&mut content).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::Unsupported => {
            Fault::io("read", Path::new(&asked.what), &error)
        }
        _ => write_failed("the content", &error),
    })?;
    Ok(Exit::Done)
}

/// `imgbuild extract kernel`.
pub fn extract(session: &Session, asked: &Extract) -> Result<Exit, Faults> {
    let ExtractPart::Kernel = asked.part;
    let subject = Subject::find(session, &asked.what, None, Contents::Kept)?;
    let Some(version) = newest_kernel(&subject) else {
        let message = format!("there is no kernel in `{}`", wording::printable(&asked.what));
        return Err(Fault::error("extract/kernel", message).help("nothing is at `/boot/vmlinuz-*`").into());
    };
    let name = Path::new(&asked.what).file_stem().map_or("image".into(), |name| name.to_string_lossy());
    let name = name.replace(':', "-");
    let folder = session.folder().join(&asked.output);
    let elsewhere = |fault: Fault| fault.or_help("name a folder that can be written to: `-o DIR`");
    fs::create_dir_all(&folder).map_err(|error| elsewhere(Fault::io("make", &folder, &error)))?;
    for (from, to) in [("vmlinuz", "vmlinuz"), ("initrd.img", "initrd")] {
        let inside = EntryPath::parse(format!("boot/{from}-{version}"))
            .map_err(|bad| Fault::error("look/path", format!("no path inside an image: {bad}")))?;
        // Not every kernel has an initramfs.
        if from != "vmlinuz" && !subject.items.iter().any(|item| item.entry.path == inside) {
            continue;
        }
        let path = folder.join(format!("{name}-{to}"));
        let mut content = Vec::new();
        let failed = |error: io::Error| Fault::io("read", Path::new(&asked.what), &error);
        subject.content(&inside)?.read_to_end(&mut content).map_err(failed)?;
        crate::store::write_whole(&path, &content).map_err(elsewhere)?;
        session.terminal.answer(&format!("{}\n", wording::printable(&session.shown(&path))));
    }
    Ok(Exit::Done)
}

/// The version of the newest kernel in there.
fn newest_kernel(subject: &Subject) -> Option<&str> {
    let versions = subject.items.iter().filter_map(|item| {
        std::str::from_utf8(item.entry.path.as_bytes().strip_prefix(b"boot/vmlinuz-")?).ok()
    });
    versions.max_by(|one, other| version::compare(one, other))
}

/// `imgbuild diff`.
pub fn compare(session: &Session, asked: &Diff) -> Result<Exit, Faults> {
    let mut old = Subject::find(session, &asked.a, None, Contents::Unread)?;
    let mut new = Subject::find(session, &asked.b, None, Contents::Unread)?;
    // Files of other sizes differ, whatever is in them.
    let (of_old, of_new) = (sizes(&old), sizes(&new));
    old.tell_digests(|entry| of_new.get(&entry.path) == Some(&entry.kind.size()))?;
    new.tell_digests(|entry| of_old.get(&entry.path) == Some(&entry.kind.size()))?;
    let entries = |subject: &Subject| subject.items.iter().map(|item| item.entry.clone()).collect::<Vec<_>>();
    let differences = diff(&entries(&old), &entries(&new));
    let mut text = String::new();
    for (path, difference) in &differences {
        if asked.json {
            text.push_str(&json_line(&DifferenceAnswer::of(path, difference)));
        } else {
            let _ = match difference {
                Difference::Added => writeln!(text, "+ {path}"),
                Difference::Removed => writeln!(text, "- {path}"),
                Difference::Changed(what) => {
                    writeln!(text, "~ {path} ({})", wording::printable(&what.join(", ")))
                }
            };
        }
    }
    session.terminal.answer(&text);
    Ok(if differences.is_empty() { Exit::Done } else { Exit::Different })
}

/// The sizes of the files in there.
fn sizes(subject: &Subject) -> HashMap<EntryPath, u64> {
    let files = subject.items.iter().map(|item| &item.entry);
    let files = files.filter(|entry| matches!(entry.kind, Kind::File { .. }));
    files.map(|entry| (entry.path.clone(), entry.kind.size())).collect()
}

/// `imgbuild overlay`.
pub fn overlay(session: &Session, asked: &Overlay) -> Result<Exit, Faults> {
    if asked.tar.as_deref() == Some(Path::new("-")) && io::stdout().is_terminal() {
        let fault = Fault::error("overlay/terminal", "a tar is nothing to be read on a terminal");
        let name = wording::printable(&asked.name);
        return Err(fault.help(format!("pipe it: `imgbuild overlay {name} --tar - | tar tv`")).into());
    }
    let subject = Subject::overlay(session, &asked.name)?;
    let Some(file) = &asked.tar else {
        return tell_items(session, &subject, &EntryPath::root(), asked.json);
    };
    // An overlay is one layer.
    for layer in subject.stack.layers.iter().map(|layer| &layer.layer) {
        let mut tar = At { file: &layer.tar, at: 0, left: layer.index.tar_size };
        if file.as_path() == Path::new("-") {
            session.terminal.pour(&mut tar).map_err(|error| write_failed("the tar", &error))?;
        } else {
            let path = session.folder().join(file);
            let mut out = File::create(&path).map_err(|error| Fault::io("write", &path, &error))?;
            io::copy(&mut tar, &mut out).map_err(|error| Fault::io("write", &path, &error))?;
        }
    }
    Ok(Exit::Done)
}

fn tell_items(session: &Session, subject: &Subject, within: &EntryPath, json: bool) -> Result<Exit, Faults> {
    let items = subject.within(within)?;
    let text = if json {
        items.iter().map(|item| json_line(&EntryAnswer::of(item, &subject.stack))).collect()
    } else {
        lines::of(&items, &subject.stack, &session.terminal)
    };
    session.terminal.answer(&text);
    Ok(Exit::Done)
}

/// A path inside an image as people type it.
fn image_path(typed: &OsStr) -> Result<EntryPath, Fault> {
    EntryPath::parse(typed.as_bytes()).map_err(|bad| {
        let shown = wording::printable(&typed.to_string_lossy());
        Fault::error("look/path", format!("`{shown}` is no path inside an image: {bad}"))
            .help("paths start at the root of the image, as in `etc/motd` or `/etc/motd`")
    })
}

fn write_failed(what: &str, error: &io::Error) -> Fault {
    Fault::build("look/write", format!("cannot write {what}: {}", crate::fault::reason(error)))
}

/// A value as a line of JSON.
pub(super) fn json_line(value: &impl serde::Serialize) -> String {
    // Plain data: it can be written.
    let mut line = super::messages::json::escape_hidden(&serde_json::to_string(value).unwrap_or_default());
    line.push('\n');
    line
}
