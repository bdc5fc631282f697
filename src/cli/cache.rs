//! `imgbuild cache`: what is kept of earlier builds.

use std::fmt::Write as _;

use super::arguments::Cache;
use super::contract::LayerAnswer;
use super::exit::Exit;
use super::look::{build_layers, json_line, with_overlays};
use super::session::Session;
use crate::fault::{Fault, Faults};
use crate::plan::{Graph, StepId};
use crate::store::{Access, Kept, Removed, Store};
use crate::wording;

/// Looks after it.
pub fn run(session: &Session, asked: &Cache) -> Result<Exit, Faults> {
    match asked {
        Cache::List { json } => list(session, *json),
        Cache::Add { overlays } => add(session, overlays),
        Cache::Clear => {
            let removed = session.store(Access::Remove)?.clear()?;
            tell_removed(session, removed, "the cache is empty");
            Ok(Exit::Done)
        }
        Cache::Gc { max_age, max_size } => {
            let removed = session.store(Access::Remove)?.collect(i64::from(*max_age) * DAY, *max_size);
            tell_removed(session, removed, "nothing to remove");
            Ok(Exit::Done)
        }
        Cache::Verify => verify(session),
    }
}

fn list(session: &Session, json: bool) -> Result<Exit, Faults> {
    let store = session.store(Access::Look)?;
    let layers = store.layers();
    let text: String = if json {
        layers.iter().map(|kept| json_line(&LayerAnswer::of(kept))).collect()
    } else {
        let text = table(&layers) + &rooms(&store);
        if text.is_empty() { "the cache is empty\n".to_string() } else { text }
    };
    session.terminal.answer(&text);
    Ok(Exit::Done)
}

/// A line for each layer, and how much they are together.
fn table(layers: &[Kept]) -> String {
    let mut text = String::new();
    for kept in layers {
        let steps: Vec<&str> = kept.steps.iter().map(String::as_str).collect();
        let steps = if steps.is_empty() { "no build uses it".to_string() } else { steps.join(", ") };
        let (size, age) = (wording::size(kept.size), ago(kept.age));
        let steps = wording::printable(&steps);
        let _ = writeln!(text, "{}  {size:>8}  {age:<14}  {steps}", kept.id.0.short());
    }
    text + &room(layers.len(), "layer", layers.iter().map(|kept| kept.size).sum())
}

/// How much there is besides layers.
fn rooms(store: &Store) -> String {
    let (trees, downloads, releases) = (store.trees(), store.downloads(), store.releases());
    [
        room(trees.len(), "unpacked tree", trees.iter().map(|tree| tree.size).sum()),
        room(downloads.len(), "download", downloads.iter().map(|download| download.size).sum()),
        room(releases.0, "release file", releases.1),
    ]
    .concat()
}

fn room(count: usize, what: &str, bytes: u64) -> String {
    match count {
        0 => String::new(),
        _ => format!("{}, {}\n", wording::count(count, what), wording::size(bytes)),
    }
}

/// Builds the layers of these overlays, or of all; says which they are.
fn add(session: &Session, names: &[String]) -> Result<Exit, Faults> {
    let mut project = session.project(Access::Use)?;
    session.warn(&project.warnings);
    let graph = with_overlays(&mut project)?;
    let wanted = overlays(&graph, names)?;
    let stack = build_layers(session, &mut project, graph, &wanted)?;
    let bytes = stack.layers.iter().map(|layer| layer.layer.index.tar_size).sum();
    let overlays = wording::count(stack.layers.len(), "overlay");
    let verb = if stack.layers.len() == 1 { "is" } else { "are" };
    session.terminal.tell(&format!("{overlays} {verb} in the cache ({})\n", wording::size(bytes)));
    Ok(Exit::Done)
}

fn overlays(graph: &Graph, names: &[String]) -> Result<Vec<StepId>, Faults> {
    let known: Vec<(&str, StepId)> = graph
        .steps
        .node_indices()
        .filter_map(|step| Some((graph.task(step).id.strip_prefix("overlay:")?, step)))
        .collect();
    if names.is_empty() {
        return Ok(known.into_iter().map(|(_, step)| step).collect());
    }
    let mut faults = Faults::new();
    let find = |name: &String| {
        let step = known.iter().find(|(known, _)| known == name).map(|(_, step)| *step);
        step.ok_or_else(|| unknown(name, known.iter().map(|(known, _)| *known)))
    };
    let mut wanted: Vec<StepId> = names.iter().filter_map(|name| faults.keep(find(name))).collect();
    wanted.sort_unstable();
    wanted.dedup();
    if faults.has_errors() { Err(faults) } else { Ok(wanted) }
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Fault {
    let shown = wording::printable(name);
    Fault::error("overlay/unknown", format!("the manifest has no overlay `{shown}`"))
        .maybe_help(wording::suggest(name, known))
}

fn verify(session: &Session) -> Result<Exit, Faults> {
    let store = session.store(Access::Use)?;
    let (count, damaged) = store.verify();
    let (_, trees) = store.verify_trees();
    let (downloaded, downloads) = store.verify_downloads();
    let mut text = String::new();
    for id in &downloads {
        let _ =
            writeln!(text, "{} was damaged and is removed; it is fetched again if it is needed", id.short());
    }
    for id in damaged.iter().map(|id| &id.0).chain(&trees) {
        let _ = writeln!(text, "{} was damaged and is removed; the next build makes it again", id.short());
    }
    let _ = match (count, damaged.len()) {
        (0, _) if downloaded > 0 => Ok(()),
        (0, _) => writeln!(text, "the cache is empty"),
        (1, 0) => writeln!(text, "the one layer is whole"),
        (count, 0) => writeln!(text, "all {count} layers are whole"),
        (count, bad) => writeln!(text, "{bad} of {} damaged", wording::count(count, "layer")),
    };
    let _ = match (downloaded, downloads.len()) {
        (0, _) => Ok(()),
        (1, 0) => writeln!(text, "the one download is whole"),
        (count, 0) => writeln!(text, "all {count} downloads are whole"),
        (count, bad) => writeln!(text, "{bad} of {} damaged", wording::count(count, "download")),
    };
    session.terminal.answer(&text);
    Ok(if damaged.is_empty() && trees.is_empty() && downloads.is_empty() { Exit::Done } else { Exit::Failed })
}

fn tell_removed(session: &Session, removed: Removed, nothing: &str) {
    let counts =
        [(removed.layers, "layer"), (removed.trees, "unpacked tree"), (removed.downloads, "download")];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, what)| wording::count(count, what)).collect();
    let text = match counts.as_slice() {
        [] => format!("{nothing}\n"),
        [first @ .., last] => {
            let first = if first.is_empty() { String::new() } else { format!("{} and ", first.join(", ")) };
            format!("removed {first}{last} ({})\n", wording::size(removed.bytes))
        }
    };
    session.terminal.tell(&text);
}

const DAY: i64 = 24 * 60 * 60;

/// `just now`, `5 minutes ago`, `3 days ago`.
fn ago(seconds: i64) -> String {
    let (number, unit) = match seconds {
        ..60 => return "just now".to_string(),
        60..3600 => (seconds / 60, "minute"),
        3600..DAY => (seconds / 3600, "hour"),
        _ => (seconds / DAY, "day"),
    };
    format!("{} ago", wording::count(usize::try_from(number).unwrap_or_default(), unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_well() {
        assert_eq!(ago(0), "just now");
        assert_eq!(ago(60), "1 minute ago");
        assert_eq!(ago(DAY - 1), "23 hours ago");
        assert_eq!(ago(15 * DAY), "15 days ago");
    }
}
