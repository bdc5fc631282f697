//! In which order hooks run: as a file names them, and behind what `after` says.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::fault::{Fault, Faults, Place, Source, reason};
use crate::lang::{Spanned, syntax};
use crate::steps::hook::Hook;
use crate::wording;

/// Larger files are no lists.
const LARGEST: u64 = 1 << 20;

/// The names in the file at `path`: one a line, `#` begins a comment; `shown` is what people call the file.
///
/// # Errors
///
/// It cannot be read at all. What is wrong inside it goes to `faults`, with its lines.
pub fn names(path: &Path, shown: &str, faults: &mut Faults) -> Result<Vec<Spanned<String>>, Fault> {
    let unreadable = |why: String| Fault::error("hook-list/read", format!("cannot read `{shown}`: {why}"));
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(reason(&error)))?;
    if !metadata.is_file() {
        return Err(unreadable("it is neither a file nor a folder".into()));
    }
    if metadata.len() > LARGEST {
        return Err(unreadable(format!("it is larger than {}", wording::size(LARGEST))));
    }
    let bytes = std::fs::read(path).map_err(|error| unreadable(reason(&error)))?;
    match syntax::from_bytes(shown, bytes) {
        Ok(source) => Ok(lines(&source, faults)),
        Err(unfit) => {
            faults.extend(unfit);
            Ok(Vec::new())
        }
    }
}

fn lines(source: &Arc<Source>, faults: &mut Faults) -> Vec<Spanned<String>> {
    let mut names = Vec::new();
    let mut start = 0;
    for line in source.text.split_inclusive('\n') {
        let item = line.split('#').next().unwrap_or_default().trim();
        let at = start + (item.as_ptr() as usize - line.as_ptr() as usize);
        start += line.len();
        if item.is_empty() {
            continue;
        }
        let place = Place::new(source, at..at + item.len());
        if item.contains(char::is_whitespace) || item.contains('/') {
            faults.push(
                Fault::error("hook-list/line", format!("`{}` is not the name of a hook", wording::printable(item)))
                    .at(&place, "a name belongs here")
                    .help("a list has one name a line; `#` begins a comment"),
            );
            continue;
        }
        names.push(Spanned::new(item.to_string(), &place));
    }
    names
}

/// The hooks in the order of the text, but each behind those that its `after` names.
pub fn behind(hooks: Vec<Hook>, faults: &mut Faults) -> Vec<Hook> {
    let mut waits: Vec<BTreeSet<usize>> = Vec::new();
    for hook in &hooks {
        let named = hook.after.iter().filter_map(|name| {
            let found = find(&hooks, hook, name);
            if found.is_none() {
                faults.push(unknown(&hooks, name));
            }
            let (number, other) = found?;
            if other.phase > hook.phase {
                faults.push(too_late(hook, other, name));
            }
            Some(number)
        });
        waits.push(named.collect());
    }
    let mut order: Vec<usize> = Vec::new();
    while order.len() < hooks.len() {
        let ready = |number: &usize| {
            let wait = waits.get(*number);
            !order.contains(number) && wait.is_some_and(|wait| wait.iter().all(|other| order.contains(other)))
        };
        let Some(next) = (0..hooks.len()).find(ready) else {
            let stuck = hooks.iter().enumerate().filter(|(number, _)| !order.contains(number));
            let stuck: Vec<&Hook> = stuck.map(|(_, hook)| hook).collect();
            faults.extend(stuck.iter().find(|hook| !hook.after.is_empty()).map(|hook| in_a_circle(hook, &stuck)));
            return hooks;
        };
        order.push(next);
    }
    let mut hooks: Vec<Option<Hook>> = hooks.into_iter().map(Some).collect();
    order.into_iter().filter_map(|number| hooks.get_mut(number)?.take()).collect()
}

/// The hook that `name` means to `from`: of its own list first.
fn find<'h>(hooks: &'h [Hook], from: &Hook, name: &Spanned<String>) -> Option<(usize, &'h Hook)> {
    let mut named = hooks.iter().enumerate().filter(|(_, hook)| {
        hook.full_name() == name.value || hook.name.value == name.value
    });
    let own = named.clone().find(|(_, hook)| hook.list == from.list);
    own.or_else(|| named.next())
}

fn unknown(hooks: &[Hook], name: &Spanned<String>) -> Fault {
    let names: Vec<String> = hooks.iter().map(Hook::full_name).collect();
    Fault::error("hook/after", format!("no hook `{}` runs here", wording::printable(&name.value)))
        .at(&name.place, "it is to run before this one")
        .maybe_help(wording::suggest(&name.value, names.iter().map(String::as_str)))
}

fn too_late(hook: &Hook, other: &Hook, name: &Spanned<String>) -> Fault {
    let message = format!(
        "`{}` runs in the phase `{}`, behind the phase `{}` of `{}`",
        other.full_name(),
        other.phase.word(),
        hook.phase.word(),
        hook.full_name()
    );
    Fault::error("hook/after", message).at(&name.place, "cannot run before this one").at(&other.name.place, "this hook")
}

fn in_a_circle(hook: &Hook, stuck: &[&Hook]) -> Fault {
    let names = wording::all(stuck.iter().map(|hook| hook.full_name()));
    Fault::error("hook/circle", format!("{names} wait for each other"))
        .at(&hook.name.place, "this hook")
        .help("remove one `after`")
}
