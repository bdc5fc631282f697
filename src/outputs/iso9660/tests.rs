//! Volumes read back by readers that others wrote.

use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::key::Digest;

const EPOCH: i64 = 1_700_000_000;

fn file(path: &str, content: impl Into<Vec<u8>>) -> Node {
    let kind = Kind::File(Content::Bytes(content.into()));
    Node { path: path.into(), kind, mode: 0o644, mtime: EPOCH }
}

fn folder(path: &str) -> Node {
    Node { path: path.into(), kind: Kind::Directory, mode: 0o750, mtime: EPOCH }
}

fn volume(nodes: Vec<Node>) -> Volume {
    Volume { label: "xcluster".into(), epoch: EPOCH, nodes }
}

/// A written volume.
struct Written {
    folder: TempDir,
    bytes: Vec<u8>,
}

impl Written {
    fn new(volume: &Volume) -> Written {
        let folder = TempDir::new().unwrap();
        let mut out = File::create(folder.path().join("volume.iso")).unwrap();
        let size = write(volume, &mut out).unwrap();
        let bytes = std::fs::read(folder.path().join("volume.iso")).unwrap();
        assert_eq!(bytes.len() as u64, size);
        assert_eq!(bytes.len() % SECTOR, 0);
        let said = u32::from_le_bytes(bytes[16 * SECTOR + 80..][..4].try_into().unwrap());
        assert_eq!(said as usize * SECTOR, bytes.len(), "the descriptor says the size of the volume");
        Written { folder, bytes }
    }

    /// What `reader` says of it in UTC.
    fn read(&self, reader: &str, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new(reader);
        command.args(arguments).arg(self.folder.path().join("volume.iso"));
        let output = command.env("TZ", "UTC").env("LC_ALL", "C.UTF-8").output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && complaint.is_empty(), "{reader} {arguments:?}: {complaint}");
        output.stdout
    }

    fn told(&self, reader: &str, arguments: &[&str]) -> String {
        String::from_utf8(self.read(reader, arguments)).unwrap()
    }

    /// The paths as `bsdtar` reads them, the root left out.
    fn paths(&self, options: &str) -> Vec<String> {
        let list = self.told("bsdtar", &["--options", options, "-tf"]);
        list.lines().filter(|line| *line != ".").map(String::from).collect()
    }
}

const ROCK_RIDGE: &str = "iso9660:rockridge,iso9660:!joliet";
const JOLIET: &str = "iso9660:!rockridge,iso9660:joliet";

/// Whether the reader is there; a machine without it skips a test unless all are asked for.
#[allow(clippy::disallowed_methods, reason = "a test asks which tests are wanted")]
fn has(reader: &str, package: &str) -> bool {
    let there = Command::new(reader).arg("--version").output().is_ok();
    let all = std::env::var("IMGBUILD_TESTS").is_ok_and(|wanted| wanted == "all");
    assert!(there || !all, "this machine lacks {reader} (Debian: {package})");
    if !there {
        eprintln!("skipped: this machine lacks {reader} (Debian: {package})");
    }
    there
}

fn has_readers() -> bool {
    has("isoinfo", "genisoimage") && has("bsdtar", "libarchive-tools")
}

#[test]
fn a_tiny_volume_is_always_the_same_bytes() {
    let nodes =
        vec![file("user-data", "#cloud-config\n"), file("empty", ""), file("deep/er/meta-data", "{}")];
    let mut turned = nodes.clone();
    turned.reverse();
    let written = Written::new(&volume(nodes));
    let digest = "unknown";
    assert_eq!(Digest::of(&written.bytes).to_string(), digest, "the format changed");
    assert!(Written::new(&volume(turned)).bytes == written.bytes, "the order of the nodes does not matter");
}

#[test]
fn both_hierarchies_tell_names_sizes_modes_and_dates() {
    if !has_readers() {
        return;
    }
    let mut script = file("script", "#!/bin/sh\n");
    script.mode = 0o4755;
    script.mtime = 951_782_400;
    let link = Node { kind: Kind::Symlink("../a//b/./c".into()), ..file("sub/link", "") };
    let written = Written::new(&volume(vec![
        file("01name.tar", vec![b'x'; 5000]),
        file("00base.tar", vec![b'y'; 2048]),
        file("empty", ""),
        script,
        folder("sub"),
        link,
    ]));

    let descriptor = written.told("isoinfo", &["-d", "-i"]);
    for line in
        ["Volume id: xcluster", "Joliet with UCS level 3 found", "Rock Ridge signatures version 1 found"]
    {
        assert!(descriptor.contains(line), "{line} in {descriptor}");
    }
    let list = written.told("bsdtar", &["-tvf"]);
    let columns: Vec<String> =
        list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        columns,
        [
            "drwxr-xr-x 3 0 0 2048 Nov 14 2023 .",
            "drwxr-x--- 2 0 0 2048 Nov 14 2023 sub",
            "-rw-r--r-- 1 0 0 0 Nov 14 2023 empty",
            "lrw-r--r-- 1 0 0 0 Nov 14 2023 sub/link -> ../a/b/./c",
            "-rw-r--r-- 1 0 0 2048 Nov 14 2023 00base.tar",
            "-rw-r--r-- 1 0 0 5000 Nov 14 2023 01name.tar",
            "-rwsr-xr-x 1 0 0 10 Feb 29 2000 script",
        ]
    );
    assert_eq!(written.read("bsdtar", &["-xOf"]).len(), 5000 + 2048 + 10);
}
