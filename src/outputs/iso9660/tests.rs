//! Volumes read back by readers that others wrote.

use std::process::Command;

use tempfile::TempDir;

use super::field::SECTOR;
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

    /// The lines of `bsdtar`'s long list, sorted.
    fn list(&self) -> Vec<String> {
        let list = self.told("bsdtar", &["-tvf"]);
        let columns = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut lines: Vec<String> = list.lines().map(columns).collect();
        lines.sort();
        lines
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
    let digest = "4572ee269c5b02599109fe2fa2883be428dd56290a0e1a582a473a31129f2171";
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
    assert_eq!(
        written.list(),
        [
            "-rw-r--r-- 1 0 0 0 Nov 14 2023 empty",
            "-rw-r--r-- 1 0 0 2048 Nov 14 2023 00base.tar",
            "-rw-r--r-- 1 0 0 5000 Nov 14 2023 01name.tar",
            "-rwsr-xr-x 1 0 0 10 Feb 29 2000 script",
            "drwxr-x--- 2 0 0 2048 Nov 14 2023 sub",
            "drwxr-xr-x 3 0 0 2048 Nov 14 2023 .",
            "lrw-r--r-- 1 0 0 0 Nov 14 2023 sub/link -> ../a/b/./c",
        ]
    );
    for path in [["-R", "-x", "/script"], ["-J", "-x", "/script;1"]] {
        assert_eq!(written.told("isoinfo", &[&path[..], &["-i"]].concat()), "#!/bin/sh\n");
    }
    assert_eq!(written.read("isoinfo", &["-x", "/00BASE.TAR;1", "-i"]), [b'y'; 2048]);
    assert_eq!(
        written.told("isoinfo", &["-J", "-f", "-i"]).lines().collect::<Vec<_>>(),
        ["/00base.tar;1", "/01name.tar;1", "/empty;1", "/script;1", "/sub",]
    );
}

#[test]
fn names_survive_when_they_are_many_long_foreign_and_deep() {
    if !has_readers() {
        return;
    }
    let long = |number| format!("{}{number:03}.tar", "long".repeat(49));
    let mut paths: Vec<String> = (0..300).map(long).collect();
    paths.push("x".repeat(253));
    paths.push("a/b/c/d/e/f/g/größe 🦀.txt".into());
    paths.push("a/b/c.d/日本語;1".into());
    let nodes = paths.iter().map(|path| file(path, format!("content of {path}"))).collect();
    let written = Written::new(&volume(nodes));

    let mut read = written.paths(ROCK_RIDGE);
    let folders = ["a", "a/b", "a/b/c", "a/b/c.d", "a/b/c/d", "a/b/c/d/e", "a/b/c/d/e/f", "a/b/c/d/e/f/g"];
    read.retain(|path| !folders.contains(&path.as_str()));
    read.sort();
    let mut sorted = paths.clone();
    sorted.sort();
    assert_eq!(read, sorted, "Rock Ridge has the whole names");
    for path in [&paths[0], &paths[299], &paths[300], &paths[301], &paths[302]] {
        let arguments = ["--options", ROCK_RIDGE, "-xO", "--include", path, "-f"];
        assert_eq!(written.told("bsdtar", &arguments), format!("content of {path}"));
    }
    let primary: Vec<String> = written.told("isoinfo", &["-f", "-i"]).lines().map(String::from).collect();
    let numbered = |number| format!("/{}_{number:04}.TAR;1", &"LONG".repeat(6)[..21]);
    assert_eq!(primary[1..301], (0..300).map(numbered).collect::<Vec<_>>(), "in the order of the full names");
    let joliet = written.paths(JOLIET);
    let numbered = |number| format!("{}_{number:04}.tar", &"long".repeat(14)[..55]);
    assert!((0..300).all(|number| joliet.contains(&numbered(number))), "{joliet:?}");
    assert!(joliet.contains(&"a/b/c/d/e/f/g/größe 🦀.txt".into()), "{joliet:?}");
    assert!(joliet.contains(&"a/b/c.d/日本語_1".into()), "{joliet:?}");
}

#[test]
fn a_file_of_5_gib_is_told_whole() {
    if !has("bsdtar", "libarchive-tools") {
        return;
    }
    let content = Content::File { path: "never read".into(), size: 5 << 30 };
    let volume = volume(vec![Node { kind: Kind::File(content), ..file("big", "") }, file("later", "it")]);
    let tree = Tree::new(&volume).unwrap();
    let layout = Layout::new(&tree);
    assert_eq!(layout.size(), layout.metadata.len() as u64 + (5 << 30) + SECTOR as u64);

    // The content stays a hole.
    let folder = TempDir::new().unwrap();
    let mut out = File::create(folder.path().join("volume.iso")).unwrap();
    out.write_all(&layout.metadata).unwrap();
    out.set_len(layout.size()).unwrap();
    let written = Written { folder, bytes: Vec::new() };
    for options in [ROCK_RIDGE, JOLIET] {
        let list = written.told("bsdtar", &["--options", options, "-tvf"]);
        assert!(list.lines().any(|line| line.contains(" 5368709120 ") && line.ends_with(" big")), "{list}");
    }
}

#[test]
fn what_cannot_be_written_is_told_at_once() {
    let mut wrong = volume(vec![
        file("twice", ""),
        file("twice", ""),
        file("/absolute", ""),
        file("up/../down", ""),
        file("bell\u{7}", ""),
        file(&"x".repeat(254), ""),
        folder("1/2/3/4/5/6/7/8"),
        file("1/2/3/4/5/6/7/8/9", ""),
    ]);
    wrong.label = "größe".into();
    let codes =
        |volume: &Volume| check(volume).unwrap_err().into_iter().map(|fault| fault.code).collect::<Vec<_>>();
    let path = "outputs/iso-path";
    assert_eq!(
        codes(&wrong),
        ["outputs/iso-label", path, path, path, path, path, path, "outputs/iso-doubled"]
    );
    assert_eq!(
        codes(&volume(vec![file("a", ""), file("a-b", ""), file("a/b/c", "")])),
        [path],
        "`a` is a file"
    );
    let content = Content::File { path: "huge".into(), size: u64::MAX };
    let huge = Node { kind: Kind::File(content), ..file("huge", "") };
    assert_eq!(
        codes(&volume(vec![huge.clone(), Node { path: "huger".into(), ..huge }])),
        ["outputs/iso-size"]
    );

    assert_eq!(check(&volume(vec![folder("1/2/3/4/5/6/7"), file("1/2/3/4/5/6/7/8", "")])), Ok(()));
    let mut out = tempfile::tempfile().unwrap();
    assert_eq!(write(&wrong, &mut out).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(out.metadata().unwrap().len(), 0);
}

#[test]
fn a_copied_file_has_the_size_that_was_promised() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("source");
    std::fs::write(&path, [b'z'; 3000]).unwrap();
    let copied = |size| {
        let content = Content::File { path: path.clone(), size };
        volume(vec![Node { kind: Kind::File(content), ..file("copy", "") }])
    };
    let given = volume(vec![file("copy", [b'z'; 3000])]);
    assert!(Written::new(&copied(3000)).bytes == Written::new(&given).bytes);
    for size in [0, 2999, 3001] {
        let error = write(&copied(size), &mut tempfile::tempfile().unwrap()).unwrap_err().to_string();
        let told = format!("`{}`: it has 3000 bytes where {size} were expected", path.display());
        assert!(error.contains(&told), "{error}");
    }
}
