//! File systems: what the kernel sees in them when they are mounted is what is in the image, to the last attribute.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod based;
mod project;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use based::{debian, says};
use imgbuild::key::Digest;
use insta::assert_snapshot;
use project::{Project, is_root, skipped};

const MANIFEST: &str = "epoch \"2024-05-06\"\nimage \"box\" {\n    base \"tar\" from=\"odd.tar\"\n    output \"tar\"\n    \
                        output \"ext4\" label=\"odd\"\n    output \"squashfs\"\n    output \"squashfs\" path=\"build/xz.squashfs\" \
                        compression=\"xz\"\n    output \"erofs\"\n    output \"erofs\" path=\"build/lz4.erofs\" \
                        compression=\"lz4hc\"\n}\n";

/// A root file system with everything that one can have.
fn odd() -> Vec<u8> {
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

fn odd_project(manifest: &str) -> Option<Project> {
    let project = debian(manifest)?;
    project.write("odd.tar", odd());
    Some(project)
}

/// Everything that a tar says of each entry, by path.
fn entries(tar: &Path) -> BTreeMap<Vec<u8>, String> {
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
fn mounted(project: &Project, image: &str) -> BTreeMap<Vec<u8>, String> {
    let tar = project.path(&format!("{image}.seen.tar"));
    let script = "mkdir -p \"$2\"; mount -o loop,ro \"$1\" \"$2\"; tar -C \"$2\" --xattrs --xattrs-include='*' --numeric-owner \
                  --sort=name --format=pax --pax-option=delete=atime,delete=ctime --exclude=./lost+found -cf \"$3\" .";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-ec", script, "sh"])
        .args([project.path(image), project.path("mounted"), tar.clone()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{image}: {output:?}");
    entries(&tar)
}

#[test]
fn what_is_mounted_is_what_is_in_the_image() {
    let Some(project) = odd_project(MANIFEST) else { return };
    if !is_root() {
        return skipped("root, to mount file systems");
    }
    project.build();
    let expected = entries(&project.path("build/box.tar"));
    assert!(expected.len() > 3015, "{}", expected.len());
    for image in ["box.ext4", "box.squashfs", "xz.squashfs", "box.erofs", "lz4.erofs"] {
        let found = mounted(&project, &format!("build/{image}"));
        let differs = |path: &&Vec<u8>| found.get(*path) != expected.get(*path);
        let all = expected.keys().chain(found.keys());
        let told: Vec<String> = all
            .filter(differs)
            .take(5)
            .map(|path| {
                format!(
                    "{}: {:?}, not {:?}",
                    String::from_utf8_lossy(path),
                    found.get(path),
                    expected.get(path)
                )
            })
            .collect();
        assert!(told.is_empty(), "{image}: {told:#?}");
    }
    assert_eq!(checked(&project.path("build/box.ext4")), "");
    let header = Command::new("dumpe2fs").arg("-h").arg(project.path("build/box.ext4")).output().unwrap();
    let header = String::from_utf8(header.stdout).unwrap();
    assert!(header.contains("Filesystem volume name:   odd\n"), "{header}");
    assert!(header.contains("Mon May  6 00:00:00 2024"), "{header}");
    assert!(project.build().ran.is_empty());

    // The same bytes once more, elsewhere and with nothing that was made before but the tools.
    let before: Vec<Vec<u8>> = outputs(&project);
    fs::remove_dir_all(project.path("build")).unwrap();
    let again = project.build();
    assert!(again.ran.iter().all(|step| step.starts_with("output:")), "{again:?}");
    assert!(before == outputs(&project), "other bytes");
}

/// What e2fsck finds wrong.
fn checked(image: &Path) -> String {
    let check = Command::new("e2fsck").args(["-f", "-n"]).arg(image).output().unwrap();
    if check.status.success() { String::new() } else { format!("{check:?}") }
}

fn outputs(project: &Project) -> Vec<Vec<u8>> {
    let names = ["box.ext4", "box.squashfs", "xz.squashfs", "box.erofs", "lz4.erofs"];
    names.iter().map(|name| fs::read(project.path(&format!("build/{name}"))).unwrap()).collect()
}

#[test]
fn an_image_that_does_not_fit_says_so_and_the_size_that_it_names_will_do() {
    let manifest = |size: &str| {
        format!(
            "image \"box\" {{\n    base \"tar\" from=\"odd.tar\"\n    output \"ext4\" size=\"{size}\"\n}}\n"
        )
    };
    let Some(project) = odd_project(&manifest("8MiB")) else { return };
    let ended = project.run(&["build"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let told = says(&project, &ended);
    let told = told.split_once("error:").map(|(_, told)| told.to_string()).unwrap_or(told);
    let shown = told.split("\n1 step of ").next().unwrap();
    assert_snapshot!(shown, @r#"
     the image does not fit into 8.0 MiB: it needs 30 MiB [output/too-small]
       ╭─[image.kdl:3:24]
     2 │     base "tar" from="odd.tar"
     3 │     output "ext4" size="8MiB"
       ·     ────────────┬────────────┬
       ·                 │            ╰── this size
       ·                 ╰── of this output
     4 │ }
       ╰────
    help: make it larger; the largest folders are `/home` (4.8 MiB), `/many` (4.3
          MiB), `/etc` (11 B)
    "#);
    assert!(!project.path("build/box.ext4").exists());
    let needed = told.split("it needs ").nth(1).unwrap().split([' ', '[', '\n']).next().unwrap().to_string();
    project.write("image.kdl", manifest(&format!("{needed}MiB")));
    project.build();
    assert_eq!(checked(&project.path("build/box.ext4")), "");
    assert_eq!(
        fs::metadata(project.path("build/box.ext4")).unwrap().len(),
        needed.parse::<u64>().unwrap() << 20
    );

    // Other shapes: hardly anything, many folders, one large file.
    type Fill = fn(&Project);
    let shapes: [(&str, Fill); 3] = [
        ("few", |project| project.write("overlays/few/f", "x")),
        ("folders", |project| {
            for number in 0..5000 {
                let folder = format!("overlays/folders/{}/{number}", number % 50);
                fs::create_dir_all(project.path(&folder)).unwrap();
            }
        }),
        ("large", |project| project.write("overlays/large/f", vec![b'x'; 300 << 20])),
    ];
    for (name, fill) in shapes {
        let manifest = |size: &str| {
            format!("image \"box\" {{\n    overlays \"{name}\"\n    output \"ext4\" size=\"{size}\"\n}}\n")
        };
        fill(&project);
        project.write("image.kdl", manifest("1MiB"));
        let told = project.run(&["build", "--message-format", "short"]).err;
        let needed = told.split("it needs ").nth(1).unwrap().split(' ').next().unwrap();
        let needed: u64 = needed.parse().unwrap();
        for size in [needed, needed + 1, needed * 2] {
            project.write("image.kdl", manifest(&format!("{size}MiB")));
            project.build();
            assert_eq!(checked(&project.path("build/box.ext4")), "", "{name} in {size} MiB");
        }
    }
}

/// Compressions of both kinds, each at the ends of its levels and without one.
const COMPRESSIONS: [&str; 22] = [
    "squashfs zstd",
    "squashfs zstd 1",
    "squashfs zstd 22",
    "squashfs gzip",
    "squashfs gzip 1",
    "squashfs gzip 9",
    "squashfs lzo",
    "squashfs lzo 1",
    "squashfs lzo 9",
    "squashfs lz4",
    "squashfs xz",
    "erofs lz4",
    "erofs lz4hc 0",
    "erofs lz4hc 12",
    "erofs lzma 0",
    "erofs lzma 9",
    "erofs lzma 100",
    "erofs lzma 109",
    "erofs deflate 1",
    "erofs deflate 9",
    "erofs zstd 0",
    "erofs zstd 22",
];

#[test]
fn every_compression_works_from_its_least_level_to_its_highest() {
    let file = |words: &str| format!("build/{}", words.replace(' ', "-"));
    let output = |words: &&str| {
        let mut parts = words.split(' ');
        let (kind, compression) = (parts.next().unwrap(), parts.next().unwrap());
        let level = parts.next().map(|level| format!(" level={level}")).unwrap_or_default();
        format!("    output \"{kind}\" compression=\"{compression}\"{level} path=\"{}\"\n", file(words))
    };
    let outputs: String = COMPRESSIONS.iter().map(output).collect();
    let Some(project) = odd_project(&format!(
        "image \"box\" {{\n    base \"tar\" from=\"odd.tar\"\n    output \"tar\"\n{outputs}}}\n"
    )) else {
        return;
    };
    project.build();
    if !is_root() {
        return skipped("root, to mount file systems");
    }
    let expected = entries(&project.path("build/box.tar"));
    for words in COMPRESSIONS {
        assert!(mounted(&project, &file(words)) == expected, "{words}");
    }
}

#[test]
fn what_it_is_written_with_counts() {
    let manifest = "image \"box\" {\n    base \"tar\" from=\"odd.tar\"\n    output \"ext4\"\n    output \"squashfs\"\n}\n";
    let Some(project) = odd_project(manifest) else { return };
    project.build();
    // One package less, which mke2fs can do without.
    let lock = fs::read_to_string(project.path("image.lock.kdl")).unwrap();
    let lines = lock.lines().filter(|line| !line.trim_start().starts_with("package \"logsave\""));
    let changed: String = lines.map(|line| format!("{line}\n")).collect();
    assert!(changed.len() < lock.len(), "{lock}");
    project.write("image.lock.kdl", &changed);
    let why = project.run(&["why", "output:ext4@box"]).out;
    assert!(why.contains("tools:e2fsprogs"), "{why}");
    // Another run of this test may have left that tree in the cache.
    let ran = project.build().ran;
    let of_output: Vec<&String> = ran.iter().filter(|step| *step != "tools:e2fsprogs").collect();
    assert_eq!(of_output, ["output:ext4@box"]);
    assert!(project.build().ran.is_empty());
    // With the lock as it was, that tree is there still.
    project.write("image.lock.kdl", &lock);
    let why = project.run(&["why", "output:ext4@box"]).out;
    assert!(why.contains("tools:e2fsprogs made another layer"), "{why}");
    assert!(project.build().ran.iter().eq(&["output:ext4@box".to_string()]));
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left() {
    let kinds = ["ext4", "erofs"];
    let outputs: String = kinds.iter().map(|kind| format!("    output \"{kind}\"\n")).collect();
    let manifest = format!("image \"box\" {{\n    base \"tar\" from=\"odd.tar\"\n{outputs}}}\n");
    let Some(project) = odd_project(&manifest) else { return };
    if !is_root() {
        return skipped("root, to mount a small disk");
    }
    let script = "mkdir build; mount -t tmpfs -o size=1m none build; \"$0\" -k --message-format short --cache \"$1\"; \
                  echo \"code $?\"; ls -A build";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, &project::program()])
        .arg(&project.cache)
        .env("HOME", project.outer())
        .env_remove("IMGBUILD_CACHE")
        .current_dir(project.path(""))
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(out, "code 3\n", "{err}");
    assert_eq!(err.matches("no space left on device").count(), 2, "{err}");
}

#[test]
fn what_cannot_be_is_told_before_any_work() {
    let project = Project::new();
    project.write("overlays/site/etc/motd", "x\n");
    project.write(
        "image.kdl",
        "image \"box\" {\n    overlays \"site\"\n    output \"ext4\" size=\"1000000\" label=\"seventeen letters\"\n    output \
         \"squashfs\" compression=\"xz\" level=3\n    output \"erofs\" compression=\"lzma\" level=50\n    output \"ext4\" \
         size=\"a lot\" path=\"build/other\"\n}\n",
    );
    let told = project.run(&["check", "--message-format", "short"]);
    assert_eq!(told.code, Some(2), "{told:?}");
    assert_snapshot!(told.err, @r#"
    image.kdl:3:24: error: the size of a file system or a disk is a multiple of 1 MiB [size/odd]
    image.kdl:3:40: error: a label of ext4 has up to 16 bytes; this one has 17 [label/long]
    image.kdl:4:46: error: `xz` has no level 3 [output/level]
      help: remove the level
    image.kdl:5:45: error: `lzma` has no level 50 [output/level]
      help: it has 0 to 9 and 100 to 109
    image.kdl:6:24: error: `a lot` is not a size such as `"512MiB"` [value/unfit]
    "#);
}
