//! The contract of xcluster's overlays, through the program: what a `tar` script may ask for, and what it gets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod tools;

use std::fs;

use tools::{Project, Ran, skip, tree};

/// How xcluster's scripts begin and end: they fill a temporary folder and pack it.
const HEAD: &str = "#!/bin/sh\nset -e\ndir=$(dirname $(readlink -f $0))\ntmp=$(mktemp -d)\n";
const TAIL: &str = "cd $tmp\ntar cf $1 *\nrm -rf $tmp\n";

/// A project whose only overlay on the command line is `main`, with this script.
fn project(head: &str, body: &str) -> Project {
    let project =
        Project::new(&format!("{head}\nimage \"vm\" {{\n    overlays \"main\"\n    output \"dir\"\n}}\n"));
    overlay(&project, "main", body);
    project
}

fn overlay(project: &Project, name: &str, body: &str) {
    project.script(&format!("overlays/{name}/tar"), &format!("{HEAD}{body}\n{TAIL}"));
}

/// The files of the image and their texts; none where this machine cannot run a script.
fn image(project: &Project, ran: &Ran) -> Option<Vec<(String, String)>> {
    if ran.code == Some(3) {
        return skip(&ran.err);
    }
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let root = project.at("build/vm.dir");
    let files = tree::read(&root).into_iter().filter(|(_, item)| item.what.starts_with("file"));
    Some(
        files
            .map(|(path, _)| (path.clone(), fs::read_to_string(root.join(&path)).unwrap_or_default()))
            .collect(),
    )
}

fn built(project: &Project) -> Option<Vec<(String, String)>> {
    image(project, &project.run(["build"]))
}

fn pairs(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect()
}

#[test]
fn an_overlay_asks_for_another_and_packs_it_with_its_own() {
    let project = project("", "$($XCLUSTER ovld lower)/tar - | tar -C $tmp -x\necho main > $tmp/main");
    overlay(&project, "lower", "echo lower > $tmp/lower");
    let Some(files) = built(&project) else { return };
    assert_eq!(files, pairs(&[("lower", "lower\n"), ("main", "main\n")]));
    // A script that another one runs counts as much as its own.
    overlay(&project, "lower", "echo changed > $tmp/lower");
    assert_eq!(built(&project).unwrap(), pairs(&[("lower", "changed\n"), ("main", "main\n")]));
}

#[test]
fn setup_chooses_folders_by_its_words() {
    let head = "variable \"SETUP\" default=\"default\" list=#true";
    let body =
        "for s in $(echo $SETUP | tr , ' '); do\n  if test -d $dir/$s; then cp -r $dir/$s/* $tmp; fi\ndone";
    let project = project(head, body);
    for name in ["default", "ipv6", "test"] {
        project.write(&format!("overlays/main/{name}/etc/{name}"), "");
    }
    let Some(files) = built(&project) else { return };
    assert_eq!(files, pairs(&[("etc/default", "")]));
    let set = project.run(["--set", "SETUP=ipv6,test"]);
    assert_eq!(image(&project, &set).unwrap(), pairs(&[("etc/ipv6", ""), ("etc/test", "")]));
}

#[test]
fn a_script_may_write_its_tar_to_a_pipe_and_be_told_a_dash() {
    let project = Project::new("image \"vm\" {\n    overlays \"main\"\n    output \"dir\"\n}\n");
    let body =
        "echo a > $tmp/a\nif test \"$1\" = -; then tar -C $tmp -cf - .; else tar -C $tmp -cf - . > $1; fi\n";
    project.script("overlays/main/tar", &format!("{HEAD}{body}"));
    let Some(files) = built(&project) else { return };
    assert_eq!(files, pairs(&[("a", "a\n")]));
}

#[test]
fn programs_of_the_host_come_with_their_libraries_and_missing_ones_are_told() {
    let project =
        project("", "$XCLUSTER install_prog --dest=$tmp/bin ls\n$XCLUSTER cplib --dest=$tmp/lib /bin/ls");
    let ran = project.run(["build"]);
    if ran.code == Some(3) {
        return skip(&ran.err).unwrap_or_default();
    }
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let paths: Vec<String> = tree::read(&project.at("build/vm.dir")).into_keys().collect();
    assert!(paths.iter().any(|path| path.ends_with("/ls")), "{paths:?}");
    assert!(paths.iter().any(|path| path.contains("libc.so.6")), "{paths:?}");
    overlay(&project, "main", "$XCLUSTER install_prog --dest=$tmp/bin no-such-program ls");
    let ran = project.run(["--message-format", "short"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("`no-such-program`"), "{}", ran.err);
}

#[test]
fn a_script_sees_what_is_declared_and_nothing_else() {
    let head = "variable \"SEEN\" default=\"yes\"\nvariable \"OTHER\" default=\"no\"\n\
                overlay \"main\" {\n    variables \"SEEN\"\n    input \"downloads/x\" variable=\"INPUT\"\n}";
    let body = "echo \"$SEEN,$OTHER,$HIDDEN\" > $tmp/variables\ncp $INPUT $tmp/input\n\
                { ls $dir/../other $dir/../../secret $dir/../../downloads; } > $tmp/others 2>/dev/null || true\n\
                o=$($XCLUSTER ovld other)\ncat $o/file > $tmp/found";
    let project = project(head, body);
    project.write("downloads/x", "an input");
    project.write("secret", "not an input");
    project.write("overlays/other/file", "asked for");
    let ran = project.run_with(["build"], &[("HIDDEN", "from the environment"), ("OTHER", "too")]);
    let Some(files) = image(&project, &ran) else { return };
    let text = |name: &str| files.iter().find(|(path, _)| path == name).map(|(_, text)| text.as_str());
    assert_eq!(text("variables"), Some("yes,,\n"));
    assert_eq!(text("input"), Some("an input"));
    assert_eq!(text("found"), Some("asked for"));
    let others = text("others").unwrap();
    assert!(!others.contains("secret") && !others.contains("file"), "{others}");
}

#[test]
fn a_comment_in_the_script_runs_the_script_and_nothing_else() {
    let project = project("", "echo a > $tmp/a");
    if built(&project).is_none() {
        return;
    }
    overlay(&project, "main", "# why\necho a > $tmp/a");
    let ran = project.run(["build"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("ran overlay:main"), "{}", ran.err);
    assert!(!ran.err.contains("ran output"), "what it made is the same: {}", ran.err);
}
