//! Upper directories as lists of entries.

use super::*;
use crate::key::Digest;
use crate::lang::Owner;
use crate::lang::value::Id;

const EPOCH: i64 = 1000;

/// `KIND[:MODE] PATH [CONTENT]`, of the user with the number in front of the kind if there is one.
fn entry(line: &str) -> Entry {
    let mut words = line.split(' ');
    let (kind, mode) = words.next().and_then(|word| word.split_once(':')).expect(line);
    let path = EntryPath::parse(words.next().expect(line)).expect(line);
    let content = words.next().unwrap_or_default();
    let kind = match kind {
        "d" => Kind::Directory,
        "l" => Kind::Symlink(content.into()),
        "h" => Kind::Hardlink(EntryPath::parse(content).expect(line)),
        "w" => Kind::Whiteout,
        "o" => Kind::Opaque,
        _ => Kind::File { size: content.len() as u64, digest: Digest::of(content), offset: 7 },
    };
    let mode = u32::from_str_radix(mode, 8).expect(line);
    Entry { kind, mode, weak: false, ..Entry::passage(path, 10) }
}

fn below(lines: &[&str]) -> Merged {
    let mut merged = Merged::default();
    let entries: Vec<Entry> = lines.iter().map(|line| entry(line)).collect();
    merged.add_layer(0, &entries).expect("a merge");
    merged.settle();
    merged
}

fn changed(upper: Vec<Entry>, below: &Merged) -> Vec<String> {
    let changes = changes(upper, below, EPOCH).expect("a layer");
    let tell = |entry: &Entry| format!("{}:{:o} {}", entry.kind.letter(), entry.mode, entry.path);
    changes.iter().map(tell).collect()
}

fn entries(lines: &[&str]) -> Vec<Entry> {
    lines.iter().map(|line| entry(line)).collect()
}

const BELOW: &[&str] =
    &["d:755 etc", "f:644 etc/a a", "f:644 etc/b b", "h:644 etc/c etc/b", "l:777 etc/l a", "d:755 var"];

#[test]
fn what_was_only_copied_up_is_no_change() {
    let below = below(BELOW);
    let mut upper =
        entries(&["d:755 etc", "f:644 etc/a a", "f:644 etc/b b", "h:644 etc/c etc/b", "l:777 etc/l a"]);
    upper[1].mtime = 999_999;
    upper[1].xattrs.push((b"trusted.overlay.origin".to_vec(), vec![1]));
    assert_eq!(changed(upper, &below), Vec::<String>::new());
    assert_eq!(changed(entries(&["d:755 etc", "f:644 etc/c b"]), &below), Vec::<String>::new());
}

#[test]
fn what_differs_is_kept_with_no_time_behind_the_epoch() {
    let below = below(BELOW);
    let mut upper = entries(&[
        "d:700 etc",
        "f:644 etc/a A",
        "f:600 etc/b b",
        "l:777 etc/l b",
        "d:755 new",
        "f:644 new/f f",
    ]);
    upper[1].mtime = 999_999;
    upper[5].owner = Owner { user: Id::Number(5), group: Id::Number(0) };
    let kept = changes(upper, &below, EPOCH).expect("a layer");
    assert_eq!(kept.iter().map(|entry| entry.mtime).collect::<Vec<_>>(), [10, EPOCH, 10, 10, 10, 10]);
    assert!(kept.iter().all(|entry| !entry.weak));
    let mut owner = entry("f:644 etc/a a");
    owner.owner = Owner { user: Id::Number(5), group: Id::Number(0) };
    assert_eq!(changed(vec![owner], &below), ["f:644 etc/a"]);
}

#[test]
fn a_file_with_several_names_counts_as_a_whole() {
    let below = below(BELOW);
    assert_eq!(
        changed(entries(&["f:644 etc/a b", "h:644 etc/b etc/a"]), &below),
        ["f:644 etc/a", "h:644 etc/b"]
    );
    let linked_anew = ["f:644 etc/b b", "h:644 etc/c etc/b", "h:644 etc/d etc/b"];
    assert_eq!(changed(entries(&linked_anew), &below), ["f:644 etc/b", "h:644 etc/c", "h:644 etc/d"]);
}

#[test]
fn removals_are_those_of_what_is_there() {
    let below = below(BELOW);
    assert_eq!(
        changed(entries(&["w:644 etc/a", "w:644 etc/none", "w:644 var"]), &below),
        ["w:644 etc/a", "w:644 var"]
    );
    let anew = ["d:755 etc", "o:644 etc", "f:644 etc/a a", "f:644 etc/new x"];
    let expected = ["w:644 etc/b", "w:644 etc/c", "w:644 etc/l", "f:644 etc/new"];
    assert_eq!(changed(entries(&anew), &below), expected, "a directory that was made anew");
    assert_eq!(
        changed(entries(&["f:644 etc x", "o:644 etc"]), &below),
        ["f:644 etc"],
        "all that was in it goes along"
    );
}

#[test]
fn a_directory_in_the_place_of_a_link_is_told() {
    let below = below(BELOW);
    let fault = changes(entries(&["d:755 etc", "d:755 etc/l"]), &below, EPOCH).expect_err("a fault");
    assert_eq!(fault.code, "layer/folder-over-link");
}

#[test]
fn stacked_again_it_is_what_the_program_left() {
    let mut merged = below(BELOW);
    let upper = entries(&[
        "d:755 etc",
        "o:644 etc",
        "f:644 etc/a a",
        "d:755 etc/l2",
        "f:644 etc/l2/x x",
        "w:644 var",
    ]);
    let layer = changes(upper, &merged, EPOCH).expect("a layer");
    merged.add_layer(1, &layer).expect("a merge");
    merged.settle();
    let paths: Vec<String> = merged.nodes().map(|node| node.entry.path.to_string()).collect();
    assert_eq!(paths, ["etc", "etc/a", "etc/l2", "etc/l2/x"]);
}
