//! A root file system with everything that one can have, and what the kernel sees in one that is mounted.

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
use std::path::Path;
use std::process::Command;

use imgbuild::key::Digest;

use crate::based::debian;
use crate::project::Project;

/// What a tar says of each entry, by path.
pub type Entries = BTreeMap<Vec<u8>, String>;

/// A root file system with everything that one can have.
pub fn odd() -> Vec<u8> {
    use tar::EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &[u8],
                   kind: tar::EntryType,
                   (mode, user, group): (u32, u64, u64),
                   content: &[u8],
                   target: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_uid(user);
        header.set_gid(group);
        header.set_mtime(1_234_567 + path.len() as u64);
        if matches!(kind, Char | Block) {
            header.set_device_major(8).unwrap();
            header.set_device_minor(300).unwrap();
        }
        let path = Path::new(std::ffi::OsStr::new(std::str::from_utf8(path).unwrap_or("odd")));
        match target {
            "" => tar.append_data(&mut header, path, content).unwrap(),
            target => tar.append_link(&mut header, path, target).unwrap(),
        }
    };
    let root = (0o755, 0, 0);
    add(b"./", Directory, (0o711, 3, 4), b"", "");
    for (folder, attributes) in
        [("dev", root), ("etc", root), ("home", (0o2775, 1000, 50)), ("many", root), ("tmp", (0o1777, 0, 0))]
    {
        add(format!("{folder}/").as_bytes(), Directory, attributes, b"", "");
    }
    add(b"dev/block", Block, (0o640, 0, 6), b"", "");
    add(b"dev/char", Char, (0o666, 0, 0), b"", "");
    add(b"dev/pipe", Fifo, (0o600, 1000, 1000), b"", "");
    add(b"etc/empty", Regular, (0o000, 0, 0), b"", "");
    add(b"etc/first", Regular, (0o4755, 1_000_000, 70_000), b"content\n", "");
    add(b"etc/second", Link, (0o4755, 1_000_000, 70_000), b"", "etc/first");
    add(b"etc/link", Symlink, (0o777, 0, 0), b"", "first");
    add(b"etc/long-link", Symlink, (0o777, 7, 7), b"", &"../".repeat(30));
    add(b"home/linked", Link, (0o4755, 1_000_000, 70_000), b"", "etc/first");
    add("home/ümlaut".as_bytes(), Regular, (0o644, 0, 0), &vec![7; 5_000_001], "");
    add(format!("home/{}", "n".repeat(255)).as_bytes(), Regular, root, b"long", "");
    for number in 0..3000 {
        add(
            format!("many/{}{number}", "x".repeat(number % 40)).as_bytes(),
            Regular,
            (0o644, 0, 0),
            &vec![1; number],
            "",
        );
    }
    let mut with_xattrs = |path: &str, xattrs: &[(&str, &[u8])]| {
        let names: Vec<String> = xattrs.iter().map(|(name, _)| format!("SCHILY.xattr.{name}")).collect();
        let pairs = names.iter().map(String::as_str).zip(xattrs.iter().map(|(_, value)| *value));
        tar.append_pax_extensions(pairs).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o755);
        header.set_size(1);
        header.set_mtime(5);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, path, b"x".as_slice()).unwrap();
    };
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    with_xattrs("etc/ping", &[("security.capability", capability)]);
    with_xattrs("etc/a \"quoted\" name", &[("user.x", b"y")]);
    with_xattrs("etc/xattrs", &[("user.long", &[9; 900]), ("user.short", b"\0\xff")]);
    tar.into_inner().unwrap()
}

pub fn odd_project(manifest: &str) -> Option<Project> {
    let project = debian(manifest)?;
    project.write("odd.tar", odd());
    Some(project)
}

/// Everything that a tar says of each entry, by path.
pub fn entries(tar: &Path) -> Entries {
    let mut archive = tar::Archive::new(fs::File::open(tar).unwrap());
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path_bytes().into_owned();
        let path = path.strip_prefix(b"./").unwrap_or(&path).to_vec();
        let path = path.strip_suffix(b"/").unwrap_or(&path).to_vec();
        let xattrs: BTreeMap<String, Vec<u8>> = entry
            .pax_extensions()
            .unwrap()
            .into_iter()
            .flatten()
            .map(|extension| extension.unwrap())
            .filter_map(|one| {
                Some((one.key().ok()?.strip_prefix("SCHILY.xattr.")?.to_string(), one.value_bytes().to_vec()))
            })
            .collect();
        let xattrs = xattrs.iter().map(|(name, value)| format!("{name}={} ", Digest::of(value).short()));
        let xattrs: String = xattrs.collect();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        let target = entry.link_name_bytes().map(|target| String::from_utf8_lossy(&target).into_owned());
        let target = target.map(|target| target.trim_start_matches("./").to_string());
        let is_device = matches!(header.entry_type(), tar::EntryType::Char | tar::EntryType::Block);
        let device = is_device.then(|| (header.device_major().unwrap(), header.device_minor().unwrap()));
        // The mode of a symbolic link says nothing, and not every file system has one.
        let mode = if header.entry_type().is_symlink() { 0o777 } else { header.mode().unwrap() & 0o7777 };
        found.insert(
            path,
            format!(
                "{:?} {mode:o} {}:{} {} {target:?} {device:?} {xattrs} {}",
                header.entry_type(),
                header.uid().unwrap(),
                header.gid().unwrap(),
                header.mtime().unwrap(),
                Digest::of(&content)
            ),
        );
    }
    found
}

/// What the kernel sees in a file system, as a tar; the mount is gone with its namespace.
pub fn mounted(project: &Project, image: &str) -> Entries {
    let size = fs::metadata(project.path(image)).unwrap().len();
    mounted_parts(project, image, &[(0, size, "")])
}

/// The same with parts of a file, bytes where they begin and how many they are, each mounted at a path in those before it.
pub fn mounted_parts(project: &Project, image: &str, parts: &[(u64, u64, &str)]) -> Entries {
    let tar = project.path(&format!("{image}.seen.tar"));
    let mounts: String = parts
        .iter()
        .map(|(at, size, path)| {
            format!("mount -o loop,ro,offset={at},sizelimit={size} \"$1\" \"$2/{path}\"; ")
        })
        .collect();
    let script = format!(
        "mkdir -p \"$2\"; {mounts} tar -C \"$2\" --xattrs --xattrs-include='*' --numeric-owner --sort=name --format=pax \
         --pax-option=delete=atime,delete=ctime --exclude=lost+found -cf \"$3\" ."
    );
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-ec", &script, "sh"])
        .args([project.path(image), project.path("mounted"), tar.clone()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{image}: {output:?}");
    entries(&tar)
}

/// The first paths whose entries are not what they should be.
pub fn differences(found: &Entries, expected: &Entries) -> Vec<String> {
    let differs = |path: &&Vec<u8>| found.get(*path) != expected.get(*path);
    let all = expected.keys().chain(found.keys());
    all.filter(differs)
        .take(5)
        .map(|path| {
            format!("{}: {:?}, not {:?}", String::from_utf8_lossy(path), found.get(path), expected.get(path))
        })
        .collect()
}

/// What the file system's own program finds wrong, by the file's extension: that of ext4 where there is none.
pub fn checked(image: &Path) -> String {
    let extension = image.extension().and_then(|extension| extension.to_str());
    let words: &[&str] = match extension {
        Some("btrfs") => &["btrfs", "check", "--readonly", "--check-data-csum"],
        Some("xfs") => &["xfs_repair", "-n", "-f"],
        _ => &["e2fsck", "-f", "-n"],
    };
    let check = Command::new(words[0]).args(&words[1..]).arg(image).output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout) + String::from_utf8_lossy(&check.stderr);
    let is_well = check.status.success() && !said.contains("WARNING") && !said.contains("would have");
    if is_well { String::new() } else { format!("{check:?}") }
}
