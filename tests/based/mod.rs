//! Projects on a base of one static busybox, which costs nothing, or on a Debian of the host's mirror, and what is in
//! their outputs.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests; each uses a part"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use imgbuild::sandbox::{Launcher, PATH, resolve_program};

use crate::project::{self, Ended, Project, skipped};

/// A project with this manifest, and with a `base.tar` of busybox and links to it, if this machine can run it.
pub fn project(manifest: &str) -> Option<Project> {
    if let Err(fault) = Launcher::of(project::program()).images_available() {
        skipped(&fault.to_string());
        return None;
    }
    let Some(busybox) = resolve_program("busybox", PATH) else {
        skipped("busybox (Debian: busybox-static)");
        return None;
    };
    let project = Project::new();
    project.write("base.tar", base(&busybox));
    project.write("image.kdl", manifest);
    fs::create_dir_all(project.outer().join("home")).unwrap();
    Some(project)
}

fn base(busybox: &Path) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, mode: u32, content: &[u8], target: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000);
        match target {
            "" => tar.append_data(&mut header, path, content).unwrap(),
            target => tar.append_link(&mut header, path, target).unwrap(),
        }
    };
    let (file, folder, link) = (tar::EntryType::Regular, tar::EntryType::Directory, tar::EntryType::Symlink);
    for name in ["bin", "etc", "root", "usr", "usr/bin"] {
        add(&format!("{name}/"), folder, 0o755, b"", "");
    }
    add("tmp/", folder, 0o1777, b"", "");
    add("bin/busybox", file, 0o755, &fs::read(busybox).unwrap(), "");
    let list = Command::new(busybox).arg("--list").output().unwrap().stdout;
    for name in String::from_utf8(list).unwrap().lines().filter(|name| *name != "busybox") {
        add(&format!("bin/{name}"), link, 0o777, b"", "busybox");
    }
    add("usr/bin/env", link, 0o777, b"", "../../bin/busybox");
    add("etc/passwd", file, 0o644, b"root:x:0:0::/root:/bin/sh\nweb:x:33:33::/:/bin/sh\n", "");
    add("etc/group", file, 0o644, b"root:x:0:\nweb:x:33:\n", "");
    tar.into_inner().unwrap()
}

/// A project with this manifest and a cache that all such tests share, if this machine has a mirror of Debian.
pub fn debian(manifest: &str) -> Option<Project> {
    let host = imgbuild::deb::sources::host(Path::new("/etc/apt"), "debian", "bookworm", "amd64");
    if !cfg!(target_arch = "x86_64") || host.is_empty() {
        skipped("a mirror of Debian for amd64 in its apt sources");
        return None;
    }
    if !project::sandboxes() {
        return None;
    }
    let mut project = Project::new();
    project.cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("packages-cache");
    project.write("image.kdl", manifest);
    Some(project)
}

/// A word that no earlier run had.
pub fn unique() -> String {
    format!("{}-{}", std::process::id(), imgbuild::store::clock::now())
}

/// From now on a plain user with ids of its own runs the program.
pub fn rootless(project: &mut Project) {
    project::give_to_plain_user(project);
    let around = project.outer().parent().unwrap().to_path_buf();
    if around != std::env::temp_dir() {
        let _ = fs::set_permissions(around, fs::Permissions::from_mode(0o755));
    }
}

/// What was said, without the times and the places that differ from run to run.
pub fn says(project: &Project, ended: &Ended) -> String {
    let text = format!("{}{}", ended.out, ended.err).replace(project.cache.to_str().unwrap(), "CACHE");
    let lines = text.lines().filter(|line| !line.starts_with("ran ") && !line.contains(" steps ran "));
    let whole: String = lines.map(|line| format!("{}\n", line.trim_end())).collect();
    let mut parts = whole.split('`');
    let mut told = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let log = part.starts_with("CACHE") && part.ends_with(".log");
        told.push('`');
        told.push_str(if log { "LOG" } else { part });
    }
    told
}

/// Type, mode, owner, and target of each entry of a tar.
pub fn tar_entries(path: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(fs::File::open(path).unwrap());
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        let name = entry.path().unwrap().to_string_lossy().trim_end_matches('/').to_string();
        let target =
            entry.link_name().unwrap().map(|target| format!(" {}", target.display())).unwrap_or_default();
        let (mode, user, group) = (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap());
        found.insert(name, format!("{:?} {mode:o} {user}:{group}{target}", header.entry_type()));
    }
    found
}

/// The content of a file of an initramfs (initramfs buffer format: archives of the kind `newc` behind each other, the last
/// of them compressed).
pub fn in_initramfs(bytes: &[u8], name: &str) -> Option<String> {
    let begins = |magic: &[u8]| bytes.windows(magic.len()).position(|part| part == magic);
    let mut whole = Vec::new();
    match (begins(&[0x28, 0xb5, 0x2f, 0xfd]), begins(&[0x1f, 0x8b, 8])) {
        (Some(start), _)
            if start % 4 == 0 && bytes[..start].iter().all(|byte| byte.is_ascii() || *byte == 0) =>
        {
            zstd::Decoder::new(&bytes[start..]).unwrap().single_frame().read_to_end(&mut whole).unwrap();
        }
        (_, Some(start)) => {
            flate2::read::GzDecoder::new(&bytes[start..]).read_to_end(&mut whole).unwrap();
        }
        _ => panic!("neither zstd nor gzip"),
    }
    let mut rest = whole.as_slice();
    let number = |header: &[u8], field: usize| {
        let text = std::str::from_utf8(&header[6 + field * 8..14 + field * 8]).unwrap();
        usize::from_str_radix(text, 16).unwrap()
    };
    let round = |length: usize| length.next_multiple_of(4);
    while rest.starts_with(b"0707") {
        let (size, named) = (number(rest, 6), number(rest, 11));
        let content = round(110 + named);
        let own = &rest[110..110 + named - 1];
        if own == name.as_bytes() {
            return Some(String::from_utf8(rest[content..content + size].to_vec()).unwrap());
        }
        if own == b"TRAILER!!!" {
            break;
        }
        rest = &rest[content + round(size)..];
    }
    None
}
