//! Builds at the same time, and the same bytes wherever, however and by whomever a project is built.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod project;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use project::{Project, difference};

fn fill(project: &Project) {
    fill_in(project, &[0, 1, 2, 3, 4], 0);
}

/// The project, its files made in this order.
fn fill_in(project: &Project, order: &[usize], late: usize) {
    let mut names: Vec<String> = order.iter().map(|number| format!("part{number}")).collect();
    for name in &names {
        for file in order {
            project.write(
                &format!("overlays/{name}/srv/{name}/{file}"),
                format!("{name}{file}").repeat(late + 5000),
            );
        }
        project.script(&format!("overlays/{name}/usr/bin/{name}"), "exit 0");
        project.link(&format!("overlays/{name}/etc/{name}"), "nowhere");
    }
    names.sort();
    project.write(
        "image.kdl",
        format!(
            "variable \"SETUP\" default=\"a\"\nimage \"box\" {{\n    overlays \"{}\"\n    files {{\n        file \
             \"/etc/setup\" content=\"${{SETUP}}\"\n        file \"/etc/one\" from=\"overlays/part1/srv/part1/1\"\n    \
             }}\n    output \"tar\"\n    output \"tar\" compression=\"xz\"\n    output \"tar\" compression=\"zstd\"\n    \
             output \"iso\"\n    output \"cpio\" compression=\"gzip\"\n    output \"oci\"\n    output \"dir\"\n}}\n",
            names.join("\" \"")
        ),
    );
}

fn all_end_well(children: Vec<Child>) {
    for child in children {
        let ended = child.wait_with_output().unwrap();
        let told =
            format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert_eq!(ended.status.code(), Some(0), "{told}");
    }
}

fn assert_same(left: &BTreeMap<String, String>, right: &BTreeMap<String, String>, what: &str) {
    assert!(!left.is_empty());
    assert!(left == right, "{what}:{}", difference(left, right));
}

#[test]
fn builds_of_one_project_at_once_get_on() {
    for round in 0..4 {
        for count in [2, 10] {
            let project = Project::new();
            fill(&project);
            let expected = project.clean();
            let start = || (0..count).map(|_| project.start(&["build"])).collect();
            all_end_well(start());
            assert_same(&project.outputs(), &expected, &format!("{count} at once, round {round}"));
            assert!(project.build().ran.is_empty(), "after {count} at once, round {round}");
            // Once more, with something to do for all of them in an old cache.
            project.write("overlays/part1/srv/part1/1", "changed");
            let expected = project.clean();
            all_end_well(start());
            assert_same(&project.outputs(), &expected, &format!("{count} again, round {round}"));
            assert!(project.build().ran.is_empty(), "after {count} again, round {round}");
        }
    }
}

#[test]
fn builds_with_other_settings_at_once_never_pass_for_each_other() {
    let mut project = Project::new();
    fill(&project);
    let mut expected = BTreeMap::new();
    for setup in ["a", "b", "c"] {
        project.arguments = vec!["--set".into(), format!("SETUP={setup}")];
        expected.insert(setup, project.clean());
    }
    project.arguments.clear();
    for round in 0..6 {
        let start = |setup: &&str| project.start(&["build", "--set", &format!("SETUP={setup}")]);
        let mut children: Vec<Child> = ["a", "b", "c", "b", "a"].iter().map(start).collect();
        children.push(project.start(&["plan"]));
        all_end_well(children);
        for setup in ["c", "a", "b"] {
            project.arguments = vec!["--set".into(), format!("SETUP={setup}")];
            project.build();
            assert_same(&project.outputs(), &expected[setup], &format!("{setup}, round {round}"));
            assert!(project.build().ran.is_empty(), "{setup}, round {round}");
        }
        project.arguments.clear();
    }
}

#[test]
fn a_cache_is_tidied_while_others_build() {
    let project = Project::new();
    fill(&project);
    if !project.run(&["cache", "--help"]).out.contains("gc") {
        return eprintln!("skipped: there is no command `cache` yet");
    }
    let expected = project.clean();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        let _ = fs::remove_dir_all(project.path("build"));
        let children = vec![
            project.start(&["build"]),
            project.start(&["cache", "gc"]),
            project.start(&["build", "-j1"]),
            project.start(&["cache", "clear"]),
            project.start(&["plan"]),
            project.start(&["build"]),
        ];
        all_end_well(children);
        assert_same(&project.outputs(), &expected, "with a cache that is tidied");
    }
}

#[test]
fn the_same_bytes_wherever_and_however_it_is_built() {
    let mut project = Project::new();
    fill(&project);
    let expected = project.clean();
    for jobs in ["1", "8"] {
        project.arguments = vec!["-j".into(), jobs.into()];
        let copy = project.copy("jobs");
        copy.run(&["build"]);
        assert_same(&copy.outputs(), &expected, &format!("with {jobs} jobs"));
    }
    project.arguments.clear();
    let settings = [
        ("LANG", "de_DE.UTF-8"),
        ("LC_ALL", "C"),
        ("TZ", "Asia/Tokyo"),
        ("HOSTNAME", "other"),
        ("USER", "me"),
    ];
    project.environment = settings.map(|(name, value)| (name.to_string(), value.to_string())).into();
    assert_same(&project.clean(), &expected, "with another environment");
    project.environment.clear();

    // Another folder, files made in another order, other times, other modes that do not count.
    let other = Project::new();
    fill_in(&other, &[3, 1, 4, 0, 2], 0);
    for folder in ["overlays", "overlays/part1", "overlays/part1/srv"] {
        other.mode(folder, 0o700);
    }
    other.mode("overlays/part1/srv/part1/1", 0o600);
    other.build();
    assert_same(&other.outputs(), &expected, "of files made in another order");

    // A umask under which nobody else may read anything.
    let strict = project.copy("strict");
    let script = format!("umask 077; exec {} build", project::program());
    let mut shell = strict.command(&[]);
    shell = {
        let mut strict_shell = Command::new("sh");
        strict_shell.args(["-c", &script]).current_dir(&strict.root).env("HOME", strict.outer());
        strict_shell.env("IMGBUILD_CACHE", &strict.cache);
        drop(shell);
        strict_shell
    };
    assert!(shell.status().unwrap().success());
    assert_same(&strict.outputs(), &expected, "under a strict umask");
}

#[test]
fn the_same_bytes_for_root_and_for_a_plain_user() {
    if !project::is_root() {
        return project::skipped("a second user: run it as root");
    }
    if Command::new("setpriv").arg("--version").output().is_err() {
        return project::skipped("setpriv (Debian: util-linux)");
    }
    let project = Project::new();
    fill(&project);
    // What is in a folder belongs to whoever may make it, so that output is left out.
    let text = fs::read_to_string(project.path("image.kdl")).unwrap();
    project.write("image.kdl", text.replace("    output \"dir\"\n", ""));
    if project::sandboxes() {
        project.script("overlays/part2/tar", "tar cf \"$1\" -C srv .");
    }
    let expected = project.clean();
    fs::set_permissions(project.outer(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut user = project.copy("user");
    user.prefix =
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"].map(str::to_string).to_vec();
    let outer = user.outer().display().to_string();
    assert!(Command::new("chown").args(["-R", "65534:65534", &outer]).status().unwrap().success());
    user.build();
    assert_same(&user.outputs(), &expected, "by a plain user");
}

/// However the way to the project is spelt.
#[test]
fn a_project_is_the_same_by_every_path() {
    let project = Project::new();
    fill(&project);
    project.build();
    let link = project.outer().join("link");
    std::os::unix::fs::symlink(&project.root, &link).unwrap();
    for folder in ["project", "./project", "../project", "link", "project/../project"] {
        let mut command = project.command(&["build", "--json", "-C", folder]);
        let here =
            if folder.starts_with("..") { project.cache.clone() } else { project.outer().to_path_buf() };
        let done = command.current_dir(here).output().unwrap();
        let out = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success(), "{folder}: {out}");
        let ran = project::Did::read(&out).ran;
        assert!(ran.is_empty(), "by `-C {folder}` ran {ran:?}");
    }
}
