//! In which order hooks run: as a file names them, and behind what `after` says.

use std::collections::BTreeSet;
use std::path::Path;

use crate::fault::{Fault, Faults, reason};
use crate::hooks;
use crate::lang::{Spanned, syntax};
use crate::steps::hook::Hook;
use crate::wording;

/// Larger files are no lists.
const LARGEST: u64 = 1 << 20;

/// The file at `path`, which names hooks one a line; `shown` is what people call it.
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
        Ok(source) => Ok(hooks::order::names(&source, faults)),
        Err(unfit) => {
            faults.extend(unfit);
            Ok(Vec::new())
        }
    }
}

/// The hooks in the order of the text, but each behind those that its `after` names. Those of an image run before its
/// hypervisors' of the same phase anyway: they are `below`.
pub fn behind(hooks: Vec<Hook>, below: &[Hook], faults: &mut Faults) -> Vec<Hook> {
    let mut waits: Vec<BTreeSet<usize>> = Vec::new();
    for hook in &hooks {
        let named = hook.after.iter().filter_map(|name| {
            let (own, others) = (find(&hooks, hook, name), find(below, hook, name));
            match own.or(others).map(|(_, other)| other) {
                None => faults.push(unknown(&hooks, name)),
                // What an image does in an earlier phase than these, no hypervisor does anything before.
                Some(other) if other.phase > hook.phase && (own.is_some() || other.phase.is_last()) => {
                    faults.push(too_late(hook, other, name));
                }
                Some(_) => {}
            }
            own.map(|(number, _)| number)
        });
        waits.push(named.collect());
    }
    let mut order: Vec<usize> = Vec::new();
    let mut left: BTreeSet<usize> = (0..hooks.len()).collect();
    while !left.is_empty() {
        let ready = |number: &&usize| waits.get(**number).is_some_and(|wait| wait.is_disjoint(&left));
        let Some(next) = left.iter().find(ready).copied() else {
            let stuck: Vec<&Hook> = left.iter().filter_map(|number| hooks.get(*number)).collect();
            let waiting = stuck.iter().find(|hook| !hook.after.is_empty());
            faults.extend(waiting.map(|hook| in_a_circle(hook, &stuck)));
            return hooks;
        };
        left.remove(&next);
        order.push(next);
    }
    let mut hooks: Vec<Option<Hook>> = hooks.into_iter().map(Some).collect();
    order.into_iter().filter_map(|number| hooks.get_mut(number)?.take()).collect()
}

/// The hook that `name` means to `from`: of its own list first.
fn find<'h>(hooks: &'h [Hook], from: &Hook, name: &Spanned<String>) -> Option<(usize, &'h Hook)> {
    let mut named = hooks
        .iter()
        .enumerate()
        .filter(|(_, hook)| hook.full_name() == name.value || hook.name.value == name.value);
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
    Fault::error("hook/after", message)
        .at(&name.place, "cannot run before this one")
        .at(&other.name.place, "this hook")
}

fn in_a_circle(hook: &Hook, stuck: &[&Hook]) -> Fault {
    let names = wording::all(stuck.iter().map(|hook| hook.full_name()));
    Fault::error("hook/circle", format!("{names} wait for each other"))
        .at(&hook.name.place, "this hook")
        .help("remove one `after`")
}
