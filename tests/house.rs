//! The house: a room uses only rooms above it in `src/lib.rs`.

#![allow(clippy::expect_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn a_room_uses_only_rooms_above_it() {
    let rooms = rooms();
    assert_eq!(rooms.last().map(String::as_str), Some("cli"), "the edge is the last room");
    let mut offenders = Vec::new();
    for (number, room) in rooms.iter().enumerate() {
        let below = rooms.get(number + 1..).unwrap_or_default();
        for file in files(room) {
            let text = fs::read_to_string(&file).expect("a source");
            let shown = file.strip_prefix(ROOT).unwrap_or(&file).display().to_string();
            let uses = uses(&text).into_iter().filter(|(_, used)| below.contains(used));
            offenders.extend(uses.map(|(line, used)| format!("{shown}:{line}: `{room}` uses `{used}`")));
        }
    }
    assert!(offenders.is_empty(), "these rooms use rooms below them:\n{}", offenders.join("\n"));
}

#[test]
fn uses_are_found_wherever_they_stand() {
    let text = "use crate::fault::Fault;\nlet x = crate::cli::y(crate::key::Z); // crate::no\n\
                use crate::{\n    bases::{tar, cli},\n    steps,\n};\n/// [`crate::manifest`]\n";
    let found: Vec<(usize, String)> = uses(text);
    let expected = [(1, "fault"), (2, "cli"), (2, "key"), (4, "bases"), (5, "steps")];
    assert_eq!(found, expected.map(|(line, room)| (line, room.to_string())));
}

/// The rooms as `src/lib.rs` declares them.
fn rooms() -> Vec<String> {
    let text = fs::read_to_string(Path::new(ROOT).join("src/lib.rs")).expect("src/lib.rs");
    let names = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    names.map(String::from).collect()
}

/// The sources of a room.
fn files(room: &str) -> Vec<PathBuf> {
    let folder = Path::new(ROOT).join("src").join(room);
    let mut files = vec![folder.with_extension("rs")];
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.retain(|file| file.is_file() && file.extension().is_some_and(|extension| extension == "rs"));
    files.sort();
    files
}

/// What stands behind `crate::` outside comments, with its line; of `crate::{…}`, every name at its first level.
fn uses(text: &str) -> Vec<(usize, String)> {
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let mut uses = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        let rest = &code[at + path.len()..];
        let line = |offset: usize| code[..at + path.len() + offset].matches('\n').count() + 1;
        let names = if rest.starts_with('{') { group(rest) } else { vec![(0, rest)] };
        uses.extend(names.into_iter().map(|(offset, name)| (line(offset), identifier(name))));
    }
    uses
}

/// Where the names at the first level of a `{…}` begin, and what follows from there.
fn group(text: &str) -> Vec<(usize, &str)> {
    let (mut depth, mut fresh, mut names) = (0, false, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => (depth, fresh) = (depth + 1, depth == 0),
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' => fresh = depth == 1,
            letter if fresh && !letter.is_whitespace() => {
                names.push((at, &text[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}
