//! Folders of scripts, read as the tools do that they come from.
//!
//! What stands beside a script is shown to it, but for the other scripts: so that a change of one is no change of all.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::one::of_script;
use super::{Looking, OfAll};
use crate::fault::{Fault, Faults};
use crate::hooks::{Dialect, Entry, What};
use crate::lang::Spanned;
use crate::steps::hook::{Hook, Script, ShownFolder, Text, script_folder};
use crate::tree::Filter;

/// What is said of the folder.
pub(super) struct Said<'a> {
    /// As the manifest states it.
    pub from: &'a Spanned<String>,
    /// Where it is.
    pub path: &'a Path,
    /// Whether all run, whatever becomes of one.
    pub go_on: bool,
    /// Where they start.
    pub directory: Option<ShownFolder>,
}

/// Its hooks, in the order in which they run. What is passed over although it looks like a script is warned of.
pub(super) fn hooks(said: &Said<'_>, all: &OfAll, looking: Looking<'_>, faults: &mut Faults) -> Vec<Hook> {
    let Some(names) = selected(said.path, all.dialect, said.from, looking, faults) else { return Vec::new() };
    let script = |name: &String| {
        let path = said.path.join(name);
        let shown = looking.folders.shown(&path);
        Script { name: name.clone(), place: said.from.place.clone(), text: Text::File { path, shown } }
    };
    let groups: Vec<Vec<&String>> = match said.go_on {
        true => vec![names.iter().collect()],
        false => names.iter().map(|name| vec![name]).collect(),
    };
    let beside = beside(said, &names, all);
    let hook = |group: Vec<&String>| {
        // Several are called by their list.
        let list = all.list.clone().unwrap_or_default();
        let name =
            if said.go_on { list } else { group.first().map(|name| (*name).clone()).unwrap_or_default() };
        let list = all.list.clone().filter(|_| !said.go_on);
        let hook =
            of_script(Spanned::new(name, &said.from.place), group.into_iter().map(script).collect(), all);
        Hook { list, shown: beside.iter().cloned().collect(), directory: said.directory.clone(), ..hook }
    };
    groups.into_iter().filter(|group| !group.is_empty()).map(hook).collect()
}

/// The names of a folder that run, in their order.
pub(super) fn selected(
    path: &Path,
    dialect: Dialect,
    from: &Spanned<String>,
    looking: Looking<'_>,
    faults: &mut Faults,
) -> Option<Vec<String>> {
    let entries = match entries(path) {
        Ok(entries) => entries,
        Err(error) => {
            faults.push(Fault::io("read", path, &error).at(&from.place, "named here"));
            return None;
        }
    };
    let selection = dialect.select(&entries);
    for (name, why) in &selection.skipped {
        let shown = looking.folders.shown(&path.join(OsStr::from_bytes(name)));
        faults.extend(why.warning(&shown).map(|warning| warning.at(&from.place, "in this folder")));
    }
    // Such names are ASCII.
    Some(selection.run.into_iter().filter_map(|name| String::from_utf8(name).ok()).collect())
}

/// What is in the folder, as far as it decides what runs.
pub(in crate::manifest) fn entries(folder: &Path) -> std::io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let metadata = fs::metadata(&path);
        let what = match &metadata {
            Ok(metadata) if metadata.is_file() => What::File,
            Ok(metadata) if metadata.is_dir() => What::Folder,
            Ok(_) => What::Other,
            Err(_) => What::Dangling,
        };
        let executable = metadata.is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0);
        let interpreted = what == What::File && begins_as_script(&path);
        entries.push(Entry { name: entry.file_name().into_vec(), what, executable, interpreted });
    }
    Ok(entries)
}

fn begins_as_script(path: &Path) -> bool {
    let mut start = [0; 2];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"#!"
}

/// The folder beside its scripts, without them.
fn beside(said: &Said<'_>, names: &[String], all: &OfAll) -> Option<ShownFolder> {
    let scripts: Vec<String> = names.iter().map(|name| format!("/{name}")).collect();
    // The names that run have no letter that a pattern reads otherwise.
    let filter = Filter::new(&[], &scripts).unwrap_or_default();
    let (path, stated) = (said.path.to_path_buf(), said.from.clone());
    let at = script_folder(all.phase);
    (all.dialect == Dialect::RunParts || all.phase.side() == crate::hooks::Side::Booted)
        .then_some(ShownFolder { path, stated, filter, at })
}
