//! File systems: what the kernel sees in them when they are mounted is what is in the image, to the last attribute.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod based;
mod mounted;
mod project;

use std::fs;
use std::process::Command;

use based::{debian, says};
use insta::assert_snapshot;
use mounted::{checked, differences, entries, mounted, odd_project};
use project::{Project, is_root, skipped};

const MANIFEST: &str = "epoch \"2024-05-06\"\nimage \"box\" {\n    base \"tar\" from=\"odd.tar\"\n    output \"tar\"\n    \
                        output \"ext4\" label=\"odd\"\n    output \"btrfs\" label=\"odd\"\n    output \"xfs\" label=\"odd\"\n    output \"squashfs\"\n    output \"squashfs\" path=\"build/xz.squashfs\" \
                        compression=\"xz\"\n    output \"erofs\"\n    output \"erofs\" path=\"build/lz4.erofs\" \
                        compression=\"lz4hc\"\n}\n";

const IMAGES: [&str; 7] =
    ["box.ext4", "box.btrfs", "box.xfs", "box.squashfs", "xz.squashfs", "box.erofs", "lz4.erofs"];

#[test]
fn what_is_mounted_is_what_is_in_the_image() {
    let Some(project) = odd_project(MANIFEST) else { return };
    if !is_root() {
        return skipped("root, to mount file systems");
    }
    project.build();
    let expected = entries(&project.path("build/box.tar"));
    assert!(expected.len() > 3015, "{}", expected.len());
    for image in IMAGES {
        let found = mounted(&project, &format!("build/{image}"));
        let told = differences(&found, &expected);
        assert!(told.is_empty(), "{image}: {told:#?}");
    }
    for image in ["box.ext4", "box.btrfs", "box.xfs"] {
        assert_eq!(checked(&project.path(&format!("build/{image}"))), "", "{image}");
    }
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

fn outputs(project: &Project) -> Vec<Vec<u8>> {
    IMAGES.iter().map(|name| fs::read(project.path(&format!("build/{name}"))).unwrap()).collect()
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

/// The file systems that imgbuild writes itself.
const OWN: [&str; 2] = ["btrfs", "xfs"];

#[test]
fn own_file_systems_fit_in_the_size_that_they_name_and_can_be_written_to() {
    type Fill = fn(&Project);
    let shapes: [(&str, Fill); 4] = [
        ("few", |project| project.write("overlays/few/f", "x")),
        ("folders", |project| {
            for number in 0..5000 {
                let folder = format!("overlays/folders/{}/{number}", number % 50);
                fs::create_dir_all(project.path(&folder)).unwrap();
            }
        }),
        // An index of several levels.
        ("names", |project| {
            fs::create_dir_all(project.path("overlays/names/all")).unwrap();
            for number in 0..40_000 {
                let name = format!("overlays/names/all/{number:0>100}");
                fs::write(project.path(&name), "").unwrap();
            }
        }),
        ("large", |project| project.write("overlays/large/f", vec![b'x'; 500 << 20])),
    ];
    for (name, fill) in shapes {
        let Some(project) = debian("") else { return };
        fill(&project);
        for own in OWN {
            let manifest = |size: &str| {
                format!("image \"box\" {{\n    overlays \"{name}\"\n    output \"{own}\"{size}\n}}\n")
            };
            // The smallest that there is, or what it says that it needs.
            let smallest = if own == "btrfs" { 109 } else { 300 };
            project.write("image.kdl", manifest(&format!(" size=\"{smallest}MiB\"")));
            let told = project.run(&["build", "--message-format", "short"]).err;
            let needed = told
                .split("it needs ")
                .nth(1)
                .map_or(smallest, |needed| needed.split(' ').next().unwrap().parse().unwrap());
            project.write("image.kdl", manifest(&format!(" size=\"{needed}MiB\"")));
            project.build();
            let image = project.path(&format!("build/box.{own}"));
            assert_eq!(fs::metadata(&image).unwrap().len(), needed << 20);
            assert_eq!(checked(&image), "", "{name} in {needed} MiB");
            written_to(&project, own, name);
            project.write("image.kdl", manifest(""));
            project.build();
            assert_eq!(checked(&image), "", "{name}");
        }
    }
}

/// Writes to a copy of a file system that is mounted, and checks it again.
fn written_to(project: &Project, own: &str, name: &str) {
    if !is_root() {
        return skipped("root, to mount file systems");
    }
    let copy = project.path(&format!("build/copy.{own}"));
    fs::copy(project.path(&format!("build/box.{own}")), &copy).unwrap();
    let script = "mkdir -p \"$2\"; mount -o loop \"$1\" \"$2\"; mkdir \"$2/new\"; cd \"$2\"; \
                  for number in $(seq 200); do echo \"$number\" > \"new/$number\"; done; ln new/1 new/link; \
                  mv new/2 new/moved; rm new/3; cd /; umount \"$2\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-ec", script, "sh"])
        .args([&copy, &project.path("written")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{own} with {name}: {output:?}");
    assert_eq!(checked(&copy), "", "{own} with {name}");
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
         size=\"a lot\" path=\"build/other\"\n    output \"btrfs\" size=\"108MiB\"\n    output \"xfs\" size=\"299MiB\" \
         label=\"thirteen here\"\n}\n",
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
    image.kdl:7:25: error: btrfs has 109 MiB at least [size/small]
    image.kdl:8:23: error: xfs has 300 MiB at least [size/small]
    image.kdl:8:37: error: a label of xfs has up to 12 bytes; this one has 13 [label/long]
    "#);
}
