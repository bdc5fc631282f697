//! One hook: where its script is, and whether it is one that can run.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::said::{said, same_place};
use super::{Looking, OfAll};
use crate::fault::{Fault, Faults, Place};
use crate::hooks::Phase;
use crate::lang::{Node, Spanned};
use crate::steps::hook::{Hook, Script, Text};
use crate::steps::overlay;
use crate::wording;

/// The hook of a `hook` node.
pub(super) fn hook(node: &Node, all: &OfAll, looking: Looking<'_>, faults: &mut Faults) -> Option<Hook> {
    let name = node.text("name")?;
    let said = all.said.and(said(node, looking, faults));
    same_place(&said.inputs, faults);
    let all = OfAll { said, ..all.clone() };
    let after = node.text("after").map(|text| {
        text.value.split_whitespace().map(|name| Spanned::new(name.to_string(), &text.place)).collect()
    });
    let text = match (node.text("run"), node.text("from")) {
        (Some(text), None) => Some(Text::Stated(text)),
        (None, Some(from)) => {
            let path = looking.folders.path(&from);
            Some(file(&path, &from, &all, looking, faults)?)
        }
        (None, None) => None,
        (Some(_), Some(from)) => {
            faults.push(
                Fault::error("hook/both", "this hook has both `run=` and `from=`")
                    .at(&from.place, "here")
                    .help("keep one of them"),
            );
            return None;
        }
    };
    let mut hook = named_hook(name, text, &all, looking, faults)?;
    hook.after = after.unwrap_or_default();
    first_boot(&hook, &node.place, faults);
    Some(hook)
}

/// A hook by its name; without a text it is looked for on the search path.
pub(super) fn named_hook(
    name: Spanned<String>,
    text: Option<Text>,
    all: &OfAll,
    looking: Looking<'_>,
    faults: &mut Faults,
) -> Option<Hook> {
    let text = match text {
        Some(text) => text,
        None => {
            let path = faults.keep(find(&name, looking))?;
            file(&path, &name, all, looking, faults)?
        }
    };
    let script = Script { name: name.value.clone(), place: name.place.clone(), text };
    Some(of_script(name, vec![script], all))
}

pub(super) fn of_script(name: Spanned<String>, scripts: Vec<Script>, all: &OfAll) -> Hook {
    let said = all.said.clone();
    Hook {
        list: all.list.clone(),
        name,
        phase: all.phase,
        dialect: all.dialect,
        scripts,
        shown: Vec::new(),
        directory: None,
        environment: said.environment,
        inputs: said.inputs,
        secrets: said.secrets,
        network: said.network,
        timeout: said.timeout,
        interpreter: said.interpreter,
        after: Vec::new(),
        names: None,
    }
}

/// What has no meaning for a hook that runs in another machine, later.
fn first_boot(hook: &Hook, place: &Place, faults: &mut Faults) {
    let odd = [
        (!hook.inputs.is_empty(), "an `input`"),
        (!hook.secrets.is_empty(), "a `secret`"),
        (hook.network, "`network`"),
        (hook.timeout.is_some(), "a `timeout`"),
    ];
    for (_, what) in odd.into_iter().filter(|(is, _)| *is && hook.phase == Phase::FirstBoot) {
        faults.push(
            Fault::error("hook/first-boot", format!("{what} means nothing to a hook of the booted image"))
                .at(place, "it runs when the image boots")
                .help("remove it; what the hook needs then, an overlay brings"),
        );
    }
}

/// The script in a file, which must be one that can run.
fn file(
    path: &Path,
    stated: &Spanned<String>,
    all: &OfAll,
    looking: Looking<'_>,
    faults: &mut Faults,
) -> Option<Text> {
    let shown = looking.folders.shown(path);
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) => {
            faults.push(
                Fault::error(
                    "hook/missing",
                    format!("cannot read `{shown}`: {}", crate::fault::reason(&error)),
                )
                .at(&stated.place, "named here")
                .maybe_help(overlay::near_file(path, &stated.value)),
            );
            return None;
        }
    };
    if !metadata.is_file() {
        faults.push(
            Fault::error("hook/missing", format!("`{shown}` is not a file"))
                .at(&stated.place, "named here")
                .help("a folder of hooks is a list: `hook-list \"NAME\" from=\"FOLDER\"`"),
        );
        return None;
    }
    if metadata.permissions().mode() & 0o111 == 0 && all.said.interpreter.is_empty() {
        faults.push(
            Fault::error("hook/executable", format!("`{shown}` is not executable"))
                .at(&stated.place, "this hook")
                .help(format!("run `chmod +x {shown}`, or say what runs it: `interpreter=\"sh\"`")),
        );
        return None;
    }
    Some(Text::File { path: path.to_path_buf(), shown })
}

/// The first file of that name on the search path.
fn find(name: &Spanned<String>, looking: Looking<'_>) -> Result<PathBuf, Fault> {
    if let Some(found) =
        looking.path.iter().map(|folder| folder.join(&name.value)).find(|path| path.is_file())
    {
        return Ok(found);
    }
    let fault =
        Fault::error("hook/unknown", format!("no hook is called `{}`", wording::printable(&name.value)))
            .at(&name.place, "not found on the search path");
    let names: Vec<String> = looking.path.iter().flat_map(|folder| names_in(folder)).collect();
    Err(match wording::nearest(&name.value, names.iter().map(String::as_str)) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None if looking.path.is_empty() => fault
            .help("put it into the folder `hooks`, say `search { hooks … }`, or give it a `run=` or `from=`"),
        None => fault.help(format!(
            "looked in {}; or give it a `run=` or `from=`",
            wording::all(looking.path.iter().map(|folder| looking.folders.shown(folder)))
        )),
    })
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
