//! File systems: what the kernel sees in them when they are mounted is what is in the image, to the last attribute.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod based;
mod mounted;
mod project;

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use based::{debian, says};
use imgbuild::filesystems::{self, InodeKind, Part};
use imgbuild::key::Digest;
use insta::assert_snapshot;
use mounted::{Entries, checked, differences, entries, mounted, odd_project};
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
        // Nor does imgbuild itself see anything else, who mounts nothing.
        let told = project.run(&["diff", "build/box.tar", &format!("build/{image}")]);
        let own = if image == "box.ext4" { "+ lost+found\n" } else { "" };
        assert_eq!((told.out.as_str(), told.err.as_str()), (own, ""), "{image}");
    }
    same_without_mounting(&project.path("build/box.xfs"), &expected);
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

/// The same is told of an xfs by imgbuild's own reader: what kind a file is, its mode, owner, time, and attributes.
fn same_without_mounting(image: &Path, expected: &Entries) {
    let file = fs::File::open(image).unwrap();
    let size = file.metadata().unwrap().len();
    let system = filesystems::open("xfs", Part::new(file, 0, size)).unwrap().unwrap();
    assert_eq!(system.waiting(), None);
    let (mut all, mut known, mut compared) = (vec![(Vec::new(), system.root())], HashSet::new(), 0);
    while let Some((path, number)) = all.pop() {
        let inode = system.inode(number).unwrap();
        let told = expected.get(&path).map(String::as_str).unwrap_or_else(|| panic!("{path:?} is too much"));
        let owned = format!(" {:o} {}:{} {} ", inode.mode, inode.uid, inode.gid, inode.mtime);
        let values = system.xattrs(number).unwrap().into_iter().map(|(name, value)| {
            format!("{}={} ", String::from_utf8_lossy(&name), Digest::of(&value).short())
        });
        let xattrs: String = values.collect();
        // A further name of a file is told as a link to the first.
        if inode.kind != InodeKind::Regular || known.insert(number) && !told.starts_with("Link") {
            assert!(told.contains(&owned) && told.contains(&xattrs), "{path:?} {owned}{xattrs}: {told}");
        }
        if inode.kind == InodeKind::Regular {
            let mut content = Vec::new();
            system.content(number).unwrap().read_to_end(&mut content).unwrap();
            assert!(
                told.ends_with(&Digest::of(&content).to_string()) || told.starts_with("Link"),
                "{path:?}"
            );
        }
        if inode.kind == InodeKind::Directory {
            let names = system.names(number).unwrap().into_iter();
            all.extend(names.map(|(name, number)| (below(&path, &name), number)));
        }
        compared += 1;
    }
    assert_eq!(compared, expected.len());
}

fn below(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, name].join(&b'/') }
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
     the image does not fit into 8.0 MiB: it needs 22 MiB [output/too-small]
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
        // The smallest that there is.
        project.write("image.kdl", manifest("5MiB"));
        let told = project.run(&["build", "--message-format", "short"]).err;
        let needed = told.split("it needs ").nth(1).and_then(|needed| needed.split(' ').next());
        let needed: u64 = needed.map_or(5, |needed| needed.parse().unwrap());
        project.write("image.kdl", manifest(&format!("{}MiB", needed - 1)));
        let told = project.run(&["build", "--message-format", "short"]).err;
        let is_told = told.contains("it needs ") || told.contains("ext4 has 5.0 MiB at least");
        assert!(is_told, "{name}: {needed} MiB is not the least: {told}");
        for size in [needed, needed + 1, needed * 2] {
            project.write("image.kdl", manifest(&format!("{size}MiB")));
            project.build();
            assert_eq!(checked(&project.path("build/box.ext4")), "", "{name} in {size} MiB");
        }
    }
}

#[test]
fn an_ext4_has_all_that_a_tree_can_have() {
    let manifest = "epoch \"2200-01-01\"\nimage \"box\" {\n    base \"tar\" from=\"all.tar\"\n    output \"tar\"\n    \
                    output \"ext4\"\n}\n";
    let project = Project::new();
    project.write("image.kdl", manifest);
    project.write("all.tar", all_of_ext4());
    project.build();
    let image = project.path("build/box.ext4");
    assert_eq!(checked(&image), "");
    if !is_root() {
        return skipped("root, to mount file systems");
    }
    // Whoever looks for each name finds it by its hash.
    let mut expected = entries(&project.path("build/box.tar"));
    expected.retain(|path, _| !path.starts_with(b"lost+found"));
    let told = differences(&mounted(&project, "build/box.ext4"), &expected);
    assert!(told.is_empty(), "{told:#?}");
    let script = "mkdir -p seen; mount -o loop,ro build/box.ext4 seen; cd seen; stat -c '%n %Y' times/*; stat -c '%n %t:%T' \
                  dev/*; cat lost+found/kept; stat -c '%n %h' many list";
    let mut command = Command::new("unshare");
    let output =
        command.args(["--mount", "sh", "-ec", script]).current_dir(project.path("")).output().unwrap();
    assert_snapshot!(String::from_utf8(output.stdout).unwrap(), @"
    times/0 2147483647
    times/1 2147483648
    times/2 4294967303
    times/3 7000000000
    dev/255 ff:ff
    dev/259 103:12c
    dev/4000 fa0:f4240
    dev/8 8:1
    kept
    many 2
    list 17
    ");
}

/// A tar with what ext4 has more than one way to write, or more room for than others.
fn all_of_ext4() -> Vec<u8> {
    use tar::EntryType::{Block, Char, Directory, Regular};
    let mut tar = tar::Builder::new(Vec::new());
    let mut add =
        |path: &str, kind, content: &[u8], change: &dyn Fn(&mut tar::Header), xattrs: &[(&str, &[u8])]| {
            let names: Vec<String> = xattrs.iter().map(|(name, _)| format!("SCHILY.xattr.{name}")).collect();
            let pairs = names.iter().map(String::as_str).zip(xattrs.iter().map(|(_, value)| *value));
            tar.append_pax_extensions(pairs).unwrap();
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o755);
            header.set_size(content.len() as u64);
            header.set_uid(4_000_000_000);
            header.set_gid(3_999_999_999);
            header.set_mtime(1_700_000_000);
            change(&mut header);
            tar.append_data(&mut header, path, content).unwrap();
        };
    let same = |_: &mut tar::Header| {};
    for folder in ["acl", "dev", "lost+found", "many", "list", "times"] {
        add(folder, Directory, b"", &same, &[]);
    }
    add("lost+found/kept", Regular, b"kept\n", &same, &[]);
    let access = acl(&[(1, 6, !0), (2, 4, 4_000_000_000), (4, 4, !0), (16, 4, !0), (32, 0, !0)]);
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let several: [(&str, &[u8]); 4] = [
        ("security.capability", capability),
        ("system.posix_acl_access", &access),
        ("trusted.x", b"\0\xff"),
        ("user.empty", b""),
    ];
    add("acl/file", Regular, b"x", &|header| header.set_mode(0o640), &several);
    let default = acl(&[(1, 7, !0), (4, 5, !0), (8, 7, 70_000), (16, 7, !0), (32, 5, !0)]);
    add("acl/folder", Directory, b"", &same, &[("system.posix_acl_default", &default)]);
    add("acl/full", Regular, b"", &same, &[("user.full", &[b'f'; 4036]), ("user.beside", &[b'b'; 60])]);
    for (number, seconds) in [(0, (1 << 31) - 1), (1, 1 << 31), (2, (1u64 << 32) + 7), (3, 7_000_000_000)] {
        add(&format!("times/{number}"), Regular, b"", &|header| header.set_mtime(seconds), &[]);
    }
    for (kind, major, minor) in [(Block, 8, 1), (Block, 259, 300), (Char, 4000, 1_000_000), (Char, 255, 255)]
    {
        let numbers = |header: &mut tar::Header| {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        };
        add(&format!("dev/{major}"), kind, b"", &numbers, &[]);
    }
    // As many as take an index of two levels, and as many as just fit into one block.
    (0..11_000).for_each(|number| add(&format!("many/{number:0200}"), Regular, b"", &same, &[]));
    (0..15).for_each(|number| add(&format!("list/{number:0255}"), Directory, b"", &same, &[]));
    for size in [4095, 4096, 4097, 1 << 20, (1 << 20) + 1, 5 << 20] {
        add(&format!("of-{size}"), Regular, &vec![b's'; size], &same, &[]);
    }
    let mut deep = String::from("deep");
    for _ in 0..200 {
        add(&deep, Directory, b"", &same, &[]);
        deep.push_str("/d");
    }
    tar.into_inner().unwrap()
}

/// An access list as programs see it: tags, permissions, and whose.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

#[test]
fn a_crowded_lost_and_found_is_whole() {
    let project = Project::new();
    project.write("image.kdl", "image \"box\" {\n    overlays \"full\"\n    output \"ext4\"\n}\n");
    // As many as take an index of two blocks, and of three.
    for count in [20, 30] {
        for number in 0..count {
            project.write(&format!("overlays/full/lost+found/{number:0>200}"), "found\n");
        }
        project.build();
        let image = project.path("build/box.ext4");
        assert_eq!(checked(&image), "", "{count} names");
        let listed = debugfs(&image, "ls -p lost+found");
        assert_eq!(listed.matches("/00000").count(), count, "{listed}");
    }
}

#[test]
fn what_is_called_lost_and_found_and_is_no_folder_stays_what_it_is() {
    let project = Project::new();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(0);
    tar.append_data(&mut header, "a", b"".as_slice()).unwrap();
    header.set_entry_type(tar::EntryType::Link);
    tar.append_link(&mut header, "lost+found", "a").unwrap();
    project.write("linked.tar", tar.into_inner().unwrap());
    for (files, kind) in [
        ("base \"tar\" from=\"linked.tar\"", "regular"),
        ("files { file \"/lost+found\" content=\"x\"; file \"/other\" content=\"x\"; }", "regular"),
        ("files { link \"/lost+found\" to=\"other\"; directory \"/other\"; }", "symlink"),
    ] {
        project.write("image.kdl", format!("image \"box\" {{\n    {files}\n    output \"ext4\"\n}}\n"));
        project.build();
        let image = project.path("build/box.ext4");
        assert_eq!(checked(&image), "", "{files}");
        let listed = debugfs(&image, "ls -p /");
        assert_eq!(listed.matches("/lost+found/").count(), 1, "{listed}");
        let told = debugfs(&image, "stat lost+found");
        assert!(told.contains(&format!("Type: {kind}")), "{told}");
    }
}

/// What debugfs(8) says.
fn debugfs(image: &Path, request: &str) -> String {
    let output = Command::new("debugfs").args(["-R", request]).arg(image).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn all_that_a_file_system_cannot_have_is_told_at_once() {
    let project = Project::new();
    let mut tar = tar::Builder::new(Vec::new());
    let large = vec![b'x'; 20_000];
    for (name, key, value) in [
        ("a", "user.large", large.as_slice()),
        ("b", "system.other", b"x"),
        ("c", "system.posix_acl_access", b"x"),
    ] {
        tar.append_pax_extensions([(format!("SCHILY.xattr.{key}").as_str(), value)]).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, b"".as_slice()).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Char);
    header.set_mode(0o644);
    header.set_size(0);
    header.set_device_major(8).unwrap();
    header.set_device_minor(1 << 18).unwrap();
    tar.append_data(&mut header, "d", b"".as_slice()).unwrap();
    project.write("odd.tar", tar.into_inner().unwrap());
    let links: String = (0..4).map(|number| format!("link \"/l{number}\" to=\"\"; ")).collect();
    let told = |base: &str, own: &str, links: &str| {
        let manifest =
            format!("image \"box\" {{\n    {base}\n    files {{ {links}}}\n    output \"{own}\"\n}}\n");
        project.write("image.kdl", manifest);
        let told = project.run(&["build", "--message-format", "short"]).err;
        assert!(!project.path(&format!("build/box.{own}")).exists());
        told.lines().filter(|line| line.contains("error")).map(String::from).collect::<Vec<_>>()
    };
    let all = ["ext4", "btrfs", "xfs"].map(|own| told("base \"tar\" from=\"odd.tar\"", own, &links));
    let alone = told("", "ext4", "link \"/l\" to=\"\"; ");
    assert_snapshot!(all.concat().into_iter().chain(alone).collect::<Vec<_>>().join("\n"), @"
    image.kdl:4:5: error: 7 files cannot be in an ext4 file system: `/a` (of its extended attributes, all that do not fit into its inode have to fit into one block of 4 KiB), `/b` (of its extended attributes, ext4 has no `system.other`), `/c` (of its extended attributes, the value of `system.posix_acl_access` is no access list), `/l0` (a symbolic link has from one byte to 4095), `/l1` (a symbolic link has from one byte to 4095) and 2 more [output/unfit]
    image.kdl:4:5: error: 6 files cannot be in a btrfs file system: `/a` (its extended attribute `user.large` has more than 16228 bytes), `/c` (the value of its `system.posix_acl_access` is no access list), `/l0` (a symbolic link has from one byte to 4095), `/l1` (a symbolic link has from one byte to 4095), `/l2` (a symbolic link has from one byte to 4095) and 1 more [output/unfit]
    image.kdl:4:5: error: 8 files cannot be in an xfs file system: `/a` (its extended attributes do not fit into a block of 4 KiB), `/b` (its extended attribute `system.other` is none that xfs can have), `/c` (the value of its `system.posix_acl_access` is no access list), `/d` (the numbers of a device have 14 and 18 bits), `/l0` (a symbolic link has from one byte to 1023) and 3 more [output/unfit]
    image.kdl:4:5: error: `/l` cannot be in an ext4 file system: a symbolic link has from one byte to 4095 [output/unfit]
    ");
}

/// What is measured by the tools of btrfs and xfs.
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

#[test]
fn files_that_have_attributes_can_have_more() {
    let mut tar = tar::Builder::new(Vec::new());
    // In the inode, in a block, and in one that is almost full.
    for (path, length) in [("more", 500), ("few", 1), ("some", 200), ("many", 1000), ("full", 3900)] {
        tar.append_pax_extensions([(
            format!("SCHILY.xattr.user.{path}").as_str(),
            vec![b'x'; length].as_slice(),
        )])
        .unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(1);
        tar.append_data(&mut header, path, b"x".as_slice()).unwrap();
    }
    let project = Project::new();
    project.write("all.tar", tar.into_inner().unwrap());
    for own in OWN {
        project.write(
            "image.kdl",
            format!("image \"box\" {{\n    base \"tar\" from=\"all.tar\"\n    output \"{own}\"\n}}\n"),
        );
        project.build();
        let script =
            "for file in few some many full; do cp --attributes-only --preserve=xattr more $file; done";
        changed(&project, own, "attributes", script);
    }
}

fn written_to(project: &Project, own: &str, name: &str) {
    let script = "mkdir new; for number in $(seq 200); do echo \"$number\" > \"new/$number\"; done; \
                  ln new/1 new/link; mv new/2 new/moved; rm new/3";
    changed(project, own, name, script);
}

/// Runs a script in a copy of a file system that is mounted, and checks it again.
fn changed(project: &Project, own: &str, name: &str, script: &str) {
    if !is_root() {
        return skipped("root, to mount file systems");
    }
    let copy = project.path(&format!("build/copy.{own}"));
    fs::copy(project.path(&format!("build/box.{own}")), &copy).unwrap();
    let script =
        format!("mkdir -p \"$2\"; mount -o loop \"$1\" \"$2\"; cd \"$2\"; {script}; cd /; umount \"$2\"");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-ec", &script, "sh"])
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
    let manifest = "image \"box\" {\n    base \"tar\" from=\"odd.tar\"\n    output \"erofs\"\n    output \"squashfs\"\n}\n";
    let Some(project) = odd_project(manifest) else { return };
    project.build();
    // One package more, which mkfs.erofs has no use for.
    let lock = fs::read_to_string(project.path("image.lock.kdl")).unwrap();
    let line = |name: &str| {
        let line = lock.lines().find(|line| line.trim_start().starts_with(&format!("package \"{name}\"")));
        format!("{}\n", line.unwrap())
    };
    // The first is that of erofs-utils.
    let changed = lock.replacen(&line("liblz4-1"), &(line("liblz4-1") + &line("liblzo2-2")), 1);
    project.write("image.lock.kdl", &changed);
    let why = project.run(&["why", "output:erofs@box"]).out;
    assert!(why.contains("tools:erofs-utils"), "{why}");
    // Another run of this test may have left that tree in the cache.
    let ran = project.build().ran;
    let of_output: Vec<&String> = ran.iter().filter(|step| *step != "tools:erofs-utils").collect();
    assert_eq!(of_output, ["output:erofs@box"]);
    assert!(project.build().ran.is_empty());
    // With the lock as it was, that tree is there still.
    project.write("image.lock.kdl", &lock);
    let why = project.run(&["why", "output:erofs@box"]).out;
    assert!(why.contains("tools:erofs-utils made another layer"), "{why}");
    assert!(project.build().ran.iter().eq(&["output:erofs@box".to_string()]));
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
    image.kdl:8:38: error: a label of xfs has up to 12 bytes; this one has 13 [label/long]
    "#);
}
