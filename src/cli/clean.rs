//! `imgbuild clean`: removes outputs. Only what imgbuild wrote, and only as it wrote it.

use std::fs;
use std::path::Path;

use super::arguments::Clean;
use super::exit::Exit;
use super::session::Session;
use crate::exec;
use crate::fault::{Fault, Faults};
use crate::store::{Access, Journal, PastOutput, Stamp};
use crate::tree::{Detail, Filter, Memory};
use crate::wording;

/// Removes the outputs that the journal tells of; needs no manifest, so that a broken one is not in the way.
pub fn run(session: &Session, asked: &Clean) -> Result<Exit, Faults> {
    let store = session.store(Access::Look)?;
    let project = session.project_folder();
    let folder = store.project(&session.project_name());
    let journal = Journal::read(&folder);
    let memory = Memory::new(&folder, false);
    let mut outputs: Vec<&PastOutput> = journal.all().filter_map(|past| past.output.as_ref()).collect();
    outputs.sort_by(|left, right| left.path.cmp(&right.path));
    let mut faults = Faults::new();
    let mut told = false;
    for output in outputs {
        match state(output, &memory) {
            State::Gone => continue,
            State::Changed => session.terminal.tell(&line("left", &session.shown(&output.path), CHANGED)),
            State::Ours => {
                let verb = if asked.dry_run { "would remove" } else { "removed" };
                if asked.dry_run || faults.keep(remove(&output.path)).is_some() {
                    session.terminal.tell(&line(verb, &session.shown(&output.path), ""));
                }
            }
        }
        told = true;
    }
    if !told {
        session.terminal.tell("nothing to remove\n");
    }
    if !asked.dry_run {
        // Where outputs go unless the manifest says otherwise. It stays if anything is left in it.
        let _ = fs::remove_dir(project.join("build"));
    }
    if faults.has_errors() { Err(faults) } else { Ok(Exit::Done) }
}

const CHANGED: &str = ": it was changed after it was built";

fn line(verb: &str, path: &str, reason: &str) -> String {
    format!("{verb} {}{reason}\n", wording::printable(path))
}

enum State {
    /// It is not there.
    Gone,
    /// Somebody else made it what it is.
    Changed,
    /// It is as it was written.
    Ours,
}

fn state(output: &PastOutput, memory: &Memory) -> State {
    let Ok(metadata) = fs::symlink_metadata(&output.path) else { return State::Gone };
    let stamp = Stamp::of(&metadata);
    let ours = match &output.tree {
        None => stamp == output.stamp,
        Some(digest) if stamp.inode == output.stamp.inode => {
            let tree = memory.tree(&output.path, &Filter::all(), Detail::Whole, true);
            tree.is_ok_and(|tree| tree.digest.to_string() == *digest)
        }
        Some(_) => false,
    };
    if ours { State::Ours } else { State::Changed }
}

fn remove(path: &Path) -> Result<(), Fault> {
    exec::remove(path).map_err(|error| Fault::io("remove", path, &error))?;
    // What says that a folder is imgbuild's goes with it.
    let _ = fs::remove_file(exec::marker(path));
    Ok(())
}
