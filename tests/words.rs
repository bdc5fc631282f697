//! Every word's example is a manifest that can be read as it stands, in a project that has what it names.

#![allow(clippy::expect_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use imgbuild::editor::words;
use imgbuild::fault::{Fault, Source};
use imgbuild::manifest::{self, Read, Said, Texts};
use imgbuild::work::Folders;

const OVERLAYS: [&str; 11] = [
    "busybox",
    "etc",
    "ipv6",
    "kernel",
    "lxc",
    "network",
    "serial-console",
    "site",
    "tests",
    "timezone",
    "web",
];
const FILES: [(&str, &str); 12] = [
    ("common.kdl", "variable \"COMMON\" default=\"\"\n"),
    ("rootfs.tar.xz", ""),
    ("scripts/backup", "#!/bin/sh\n"),
    ("downloads/linux.tar.xz", ""),
    ("keys/node.gpg", ""),
    ("packages-lists/vpn", "wireguard-tools # and its module\n"),
    ("hooks-lists/setup", "10-network # first\n"),
    ("hooks/10-network", "#!/bin/sh\n"),
    ("scripts/app", "#!/bin/sh\n"),
    ("downloads/app.tar", ""),
    ("downloads/modules.tar", ""),
    ("conf/openvz/config", "ONBOOT=yes\n"),
];

#[test]
fn every_example_can_be_read() {
    let project = tempfile::tempdir().expect("folder");
    make(project.path());
    for topic in words() {
        let read = read(project.path(), &whole(topic.word.example));
        let faults: Vec<String> = read.faults.list.iter().map(told).collect();
        assert!(faults.is_empty(), "the example of `{}`:\n{}\n{faults:#?}", topic.title, topic.word.example);
    }
}

#[test]
fn every_example_uses_its_word() {
    for topic in words() {
        // A word without a name of its own stands where any name does.
        let holder = topic.word.own_name.as_ref().and(topic.standing.first()).and_then(|first| first.within);
        let name = match (topic.kind_of, holder) {
            (Some(word), _) => format!("{} \"{}\"", word.name, topic.name()),
            (None, Some(holder)) => holder.name.trim_end_matches("-list").to_string(),
            (None, None) => topic.name().to_string(),
        };
        let uses = topic.word.example.split(['\n', '{', ';']).any(|node| {
            node.trim().strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        });
        assert!(uses, "the example of `{}` does not use it:\n{}", topic.title, topic.word.example);
    }
}

/// The example with an image, without which a manifest is none; an example need not have one.
fn whole(example: &str) -> String {
    let has_image = example.lines().any(|line| line.starts_with("image "));
    let image = if has_image { "" } else { "image \"example\" { output \"tar\"; }\n" };
    format!("{example}{image}")
}

fn told(fault: &Fault) -> String {
    format!("{}: {fault} {:?}", fault.code, fault.labels)
}

fn read(project: &Path, text: &str) -> Read {
    let folders = Folders { here: project.to_path_buf(), home: None };
    let texts = Texts::of_source(&Source::new("image.kdl", text), &folders);
    manifest::read(&texts, &Said { folders, ..Said::default() })
}

fn make(project: &Path) {
    for name in OVERLAYS {
        fs::create_dir_all(project.join("overlays").join(name)).expect("overlay");
    }
    for (name, text) in FILES {
        let path = project.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
        fs::write(path, text).expect("file");
    }
    fs::create_dir_all(project.join("flavours")).expect("folder");
    fs::write(project.join("overlays/kernel/tar"), "#!/bin/sh\n").expect("script");
    for script in ["overlays/kernel/tar", "hooks/10-network", "scripts/app"] {
        fs::set_permissions(project.join(script), fs::Permissions::from_mode(0o755)).expect("executable");
    }
}
