//! Groups put on top of each other again, against the merge that they are made from.

use super::*;
use crate::work::roots::tests::{Bench, lines};

/// What the groups make when they are unpacked one after the other.
fn again(stack: &Stack) -> Merged {
    let mut merged = Merged::default();
    for (number, group) in stack.groups(i64::MAX).expect("groups").iter().enumerate() {
        let entries: Vec<Entry> =
            group.nodes.iter().map(|node| Entry { weak: false, ..node.entry.clone() }).collect();
        merged.add_layer(number, &entries).expect("a merge");
    }
    merged.settle();
    merged
}

fn told(merged: &Merged) -> Vec<String> {
    let tell = |node: &Node| {
        let Entry { path, kind, mode, owner, mtime, .. } = &node.entry;
        // What the time of another name is, its file says.
        let time = if matches!(kind, crate::layer::Kind::Hardlink(_)) { 0 } else { *mtime };
        format!("{path} {:?} {mode:o} {owner} {time}", kind.without_offset())
    };
    merged.nodes().map(tell).collect()
}

fn paths(group: &Group) -> Vec<String> {
    let told = |node: &Node| format!("{} {}", node.entry.kind.letter(), node.entry.path);
    group.nodes.iter().map(told).collect()
}

#[test]
fn a_group_is_each_layer_with_those_below_that_join_it() {
    let bench = Bench::new();
    let mut stack = bench.stack(&vec![lines(&["f:644 a x"]); 6]);
    for (layer, joins) in stack.layers.iter_mut().zip([true, true, false, false, true, true]) {
        layer.joins = joins;
    }
    assert_eq!(stack.grouped(), [0..3, 3..4, 4..6]);
}

#[test]
fn a_group_has_what_it_changes_where_that_lands() {
    let bench = Bench::new();
    let mut stack = bench.stack(&[
        lines(&["l:777 bin usr/bin", "d:755 usr", "d:755 usr/bin", "f:755 usr/bin/old o", "f:644 conf c"]),
        lines(&["d:755 bin", "f:755 bin/x x", "f:755 bin/old o"]),
        lines(&["w:644 conf", "h:755 bin/z bin/x", "f:644 gone g"]),
        lines(&["w:644 gone", "w:644 usr/bin/x"]),
    ]);
    for layer in &mut stack.layers[1..3] {
        layer.joins = true;
    }
    let groups = stack.groups(i64::MAX).expect("groups");
    assert_eq!(paths(&groups[1]), ["w conf", "f usr/bin/z"]);
    assert_eq!(told(&again(&stack)), told(&stack.merged().expect("a merge")));
}

/// Whatever the layers say, and however they are grouped.
#[test]
fn groups_unpacked_one_after_the_other_make_the_image() {
    let bench = Bench::new();
    let mut chance = 7u64;
    let mut number = |end: u64| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) % end
    };
    let mut compared = 0;
    for round in 0..60 {
        let mut layers = Vec::new();
        for _ in 0..5 {
            let mut layer: BTreeMap<String, String> = BTreeMap::new();
            for _ in 0..number(7) {
                let mut path = ["a", "b", "c"][number(3) as usize].to_string();
                for _ in 0..number(3) {
                    path = format!("{path}/{}", ["a", "b", "c"][number(3) as usize]);
                }
                let line = match number(7) {
                    0 => format!("d:755 {path}"),
                    1 => format!("D:750 {path}"),
                    2 => format!("w:644 {path}"),
                    3 => format!("f:2755 {path} s"),
                    4 => format!("f:600 {path} x"),
                    _ => format!("f:644 {path} x"),
                };
                layer.entry(path).or_insert(line);
            }
            // A layer does not contradict itself.
            let fits = |path: &String| {
                layer.iter().all(|(other, line)| {
                    line.to_lowercase().starts_with('d') || !path.starts_with(&format!("{other}/"))
                })
            };
            let lines = layer.iter().filter(|(path, _)| fits(path)).map(|(_, line)| line.clone());
            layers.push(lines.collect());
        }
        let mut stack = bench.stack(&layers);
        for layer in &mut stack.layers {
            layer.joins = number(2) == 0;
        }
        let wanted = stack.merged().expect("a merge");
        assert_eq!(told(&again(&stack)), told(&wanted), "round {round}: {layers:?} {:?}", stack.grouped());
        compared += usize::from(stack.grouped().len() < 5);
    }
    assert!(compared > 40);
}
