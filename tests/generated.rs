//! What is generated and committed is what the library generates.

#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;

#[test]
fn the_manual_is_current() {
    current("schema/manifest.md", &imgbuild::editor::manual::reference());
}

#[test]
fn the_schema_is_current() {
    current("schema/image-schema.kdl", &imgbuild::editor::schema::kdl());
}

#[test]
fn the_schema_of_locks_is_current() {
    current("schema/lock-schema.kdl", &imgbuild::editor::schema::lock());
}

/// Holds the committed file at `path` against `text`; with `IMGBUILD_UPDATE=1`, writes it.
fn current(path: &str, text: &str) {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    #[allow(clippy::disallowed_methods, reason = "asked by whoever runs the tests")]
    if std::env::var_os("IMGBUILD_UPDATE").is_some() {
        fs::write(&whole, text).expect("the file can be written");
        return;
    }
    let committed = fs::read_to_string(&whole).unwrap_or_default();
    if committed == text {
        return;
    }
    let same = committed.lines().zip(text.lines()).take_while(|(old, new)| old == new).count();
    panic!(
        "{path} is not what the program generates; from line {} on, it has\n    {}\nand not\n    {}\n\
         refresh it with `IMGBUILD_UPDATE=1 cargo test --test generated`, and commit it",
        same + 1,
        committed.lines().nth(same).unwrap_or("(no more lines)"),
        text.lines().nth(same).unwrap_or("(no more lines)"),
    );
}
