//! Entries as lines for people, in the manner of ls(1).

use std::fmt::Write as _;

use super::subject::Item;
use crate::cli::terminal::Terminal;
use crate::layer::{Entry, Kind};
use crate::wording;
use crate::work::Stack;

/// A line for each item: mode, owner, size, path, and where it comes from.
pub fn of(items: &[&Item], stack: &Stack, terminal: &Terminal) -> String {
    let columns: Vec<(String, String, String)> = items
        .iter()
        .map(|item| (item.entry.owner.to_string(), size(&item.entry), name(&item.entry)))
        .collect();
    let width = |column: fn(&(String, String, String)) -> &String| {
        columns.iter().map(|columns| column(columns).chars().count()).max().unwrap_or(0)
    };
    let (owners, sizes) = (width(|columns| &columns.0), width(|columns| &columns.1));
    // A path or two of great length must not push away what stands behind the others.
    let names = width(|columns| &columns.2).min(48);
    let mut text = String::new();
    for (item, (owner, size, name)) in items.iter().zip(&columns) {
        let mode = mode(&item.entry);
        let origin = origin(item, stack);
        let line = if origin.is_empty() {
            format!("{mode}  {owner:<owners$}  {size:>sizes$}  {name}")
        } else {
            format!("{mode}  {owner:<owners$}  {size:>sizes$}  {name:<names$}  {}", terminal.dim(&origin))
        };
        let _ = writeln!(text, "{line}");
    }
    text
}

/// `-rw-r--r--`, `drwxrwxrwt`.
fn mode(entry: &Entry) -> String {
    if entry.is_whiteout() {
        return format!("{}---------", entry.kind.letter());
    }
    let kind = match entry.kind.letter() {
        'f' => '-',
        letter => letter,
    };
    let bit = |bit: u32, letter: char| if entry.mode & bit != 0 { letter } else { '-' };
    let execute =
        |bit: u32, special: u32, letter: char| match (entry.mode & bit != 0, entry.mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        };
    [
        kind,
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        execute(0o100, 0o4000, 's'),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        execute(0o010, 0o2000, 's'),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        execute(0o001, 0o1000, 't'),
    ]
    .iter()
    .collect()
}

/// Bytes; of a device, its numbers.
fn size(entry: &Entry) -> String {
    match entry.kind {
        Kind::Character(major, minor) | Kind::Block(major, minor) => format!("{major},{minor}"),
        _ => entry.kind.size().to_string(),
    }
}

fn name(entry: &Entry) -> String {
    let path = &entry.path;
    match &entry.kind {
        Kind::Symlink(target) => {
            format!("{path} -> {}", wording::printable(&String::from_utf8_lossy(target)))
        }
        Kind::Hardlink(target) => format!("{path} link to {target}"),
        Kind::Whiteout => format!("{path} (removed below)"),
        Kind::Opaque => format!("{path} (emptied below)"),
        _ => path.to_string(),
    }
}

/// `overlay:site (hides overlay:base)`.
fn origin(item: &Item, stack: &Stack) -> String {
    let step = |layer: &usize| stack.layers.get(*layer).map(|layer| layer.step.as_str());
    let Some(step_of_it) = item.layer.as_ref().and_then(step) else { return String::new() };
    let hidden: Vec<&str> = item.hides.iter().filter_map(step).collect();
    if hidden.is_empty() {
        step_of_it.to_string()
    } else {
        format!("{step_of_it} (hides {})", hidden.join(", "))
    }
}
