//! Disks: what their partitions hold, that they are what other tools take them for, and that they boot.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod based;
mod mounted;
mod project;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use based::{debian, says};
use imgbuild::sandbox::{PATH, resolve_program};
use insta::assert_snapshot;
use mounted::{checked, differences, entries, mounted_parts, odd_project};
use project::{Project, is_root, skipped, switch};

/// Whether all of these programs are here.
fn has(programs: &[&str]) -> bool {
    let lacks = programs.iter().find(|name| resolve_program(name, PATH).is_none());
    lacks.inspect(|name| skipped(name)).is_none()
}

/// What a program prints; it has to end well.
fn told(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).env("PATH", PATH).args(arguments).output().unwrap();
    assert!(done.status.success(), "{program} {arguments:?}: {done:?}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Where partitions begin and how long they are, in bytes, by sfdisk.
fn parts(disk: &Path) -> Vec<(u64, u64)> {
    let table = told("sfdisk", &["--json", disk.to_str().unwrap()]);
    let table: serde_json::Value = serde_json::from_str(&table).unwrap();
    let parts = table["partitiontable"]["partitions"].as_array().unwrap().iter();
    let sectors = |part: &serde_json::Value, field: &str| part[field].as_u64().unwrap() * 512;
    parts.map(|part| (sectors(part, "start"), sectors(part, "size"))).collect()
}

const PARTED: &str = r##"
epoch "2024-05-06"
image "box" {
    base "tar" from="odd.tar"
    files {
        file "/efi/EFI/Some Folder/loader.conf" content="timeout 0\n"
        file "/efi/EFI/Some Folder/Loader.conf.old" content=""
        file "/efi/README.TXT" content="read me\n"
        file "/boot/vmlinuz-1.9" content="old"
        file "/boot/vmlinuz-1.10" content="kernel"
        file "/boot/initrd.img-1.10" content="initramfs"
        file "/efi/ümlaut" content="u\n"
        file "/etc/fstab" content="# comment\nproc /proc proc defaults 0 0\n/dev/sda1 /home/ ext4 ro 0 0\n"
    }
    boot loader="none"
    output "tar"
    disk {
        partition "esp" filesystem="vfat" mount="/efi" label="efi"
        partition "swap" size="8MiB" filesystem="swap" label="swap"
        partition "root" filesystem="ext4" mount="/" label="root" flags="grow,no-auto"
        partition "home" size="64MiB" filesystem="ext4" mount="/home" options="nodev"
        partition "blob" from="blob" type="data"
    }
    output "raw"
    hypervisor "mbr" {
        disk size="256MiB" table="mbr" align="4MiB" {
            partition "small" size="16MiB" filesystem="vfat" type="data"
            partition "half" size="50%" filesystem="ext4" mount="/many" flags="boot"
            partition "root" filesystem="ext4" mount="/"
        }
        output "raw"
    }
    hypervisor "mixed" {
        disk {
            partition "esp" size="16MiB" filesystem="vfat" type="data"
            partition "root" filesystem="xfs" mount="/"
            partition "home" filesystem="btrfs" mount="/home"
            partition "efi" size="16MiB" filesystem="vfat" mount="/efi"
        }
        output "raw"
    }
    hypervisor "bare" {
        disk table="none" room="48MiB" align="64MiB" fstab=#false {
            partition "root" filesystem="ext4" mount="/"
        }
        output "raw"
    }
}
"##;

#[test]
fn partitions_hold_what_the_image_has() {
    let Some(project) = odd_project(PARTED) else { return };
    if !is_root() {
        return skipped("root, to mount file systems");
    }
    if !has(&["sfdisk", "fsck.vfat", "mcopy", "blkid"]) {
        return;
    }
    project.write("blob", vec![b'b'; 3_000_000]);
    project.build();

    let disk = project.path("build/box.raw");
    assert!(told("sfdisk", &["--verify", disk.to_str().unwrap()]).contains("No errors detected"));
    let all = parts(&disk);
    assert_eq!(all.len(), 5);
    assert!(all.iter().all(|(at, size)| at % (1 << 20) == 0 && size % (1 << 20) == 0), "{all:?}");
    let mut expected = entries(&project.path("build/box.tar"));
    let (root, home) = (all[2], all[3]);
    let found = mounted_parts(&project, "build/box.raw", &[(root.0, root.1, ""), (home.0, home.1, "home")]);
    // On a partition of its own a further name of a file is a file.
    let linked = expected[b"etc/first".as_slice()].clone();
    assert!(expected.insert(b"home/linked".to_vec(), linked).unwrap().starts_with("Link"));
    // What is on the partition for EFI is told by FAT's own tools.
    expected.retain(|path, _| !path.starts_with(b"efi/"));
    for (path, entry) in
        [(b"etc/fstab".as_slice(), "Regular 644 0:0 1714953600 "), (b"efi", "Directory 755 0:0 ")]
    {
        assert!(found[path].starts_with(entry), "{}", found[path]);
        expected.insert(path.to_vec(), found[path].clone());
    }
    let told_by = differences(&found, &expected);
    assert!(told_by.is_empty(), "{told_by:#?}");

    let fstab = of_ext4(&disk, root.0, "/etc/fstab");
    let lines: Vec<Vec<&str>> = fstab.lines().map(|line| line.split(' ').collect()).collect();
    let rest: Vec<String> = lines.iter().map(|line| line[1..].join(" ")).collect();
    assert_eq!(
        rest,
        [
            "<file system> <mount point> <type> <options> <dump> <pass>",
            "/ ext4 defaults 0 1",
            "/efi vfat umask=0077 0 0",
            "/home ext4 nodev 0 2",
            "none swap sw 0 0",
            "/proc proc defaults 0 0",
        ]
    );
    let known: Vec<String> = (0..4).map(|part| identity(&disk, all[part])).collect();
    for (line, part) in [(1, 2), (2, 0), (3, 3), (4, 1)] {
        assert!(known[part].contains(&format!("UUID={}\n", &lines[line][0][5..])), "{} {fstab}", known[part]);
    }
    for (part, label) in [(0, "EFI"), (1, "swap"), (2, "root")] {
        assert!(known[part].contains(&format!("LABEL={label}\n")), "{}", known[part]);
    }
    for (at, size) in [root, home] {
        let part = cut(&project, &disk, (at, size));
        assert_eq!(checked(&part), "");
    }
    let esp = cut(&project, &disk, all[0]);
    assert_eq!(
        fat(&esp),
        BTreeMap::from([
            ("EFI/Some Folder/Loader.conf.old".to_string(), String::new()),
            ("EFI/Some Folder/loader.conf".to_string(), "timeout 0\n".to_string()),
            ("README.TXT".to_string(), "read me\n".to_string()),
            ("ümlaut".to_string(), "u\n".to_string()),
        ])
    );
    let blob = fs::read(cut(&project, &disk, all[4])).unwrap();
    assert!(blob.len() == 3 << 20 && blob[..3_000_000].iter().all(|byte| *byte == b'b'));

    let disk = project.path("build/box-mbr.raw");
    let all = parts(&disk);
    let mib: Vec<(u64, u64)> = all.iter().map(|(at, size)| (at >> 20, size >> 20)).collect();
    assert_eq!(mib, [(4, 16), (20, 116), (136, 120)]);
    assert_eq!(fs::metadata(&disk).unwrap().len(), 256 << 20);
    assert_eq!(fat(&cut(&project, &disk, all[0])), BTreeMap::new());
    let found = mounted_parts(
        &project,
        "build/box-mbr.raw",
        &[(all[2].0, all[2].1, ""), (all[1].0, all[1].1, "many")],
    );
    assert!(found.len() > 3015 && found.contains_key(b"efi/README.TXT".as_slice()), "{}", found.len());

    // The file system is the disk, to its end.
    let header = told("dumpe2fs", &["-h", project.path("build/box-bare.raw").to_str().unwrap()]);
    let blocks = header.lines().find_map(|line| line.strip_prefix("Block count:")).unwrap().trim();
    let blocks: u64 = blocks.parse().unwrap();
    assert_eq!(fs::metadata(project.path("build/box-bare.raw")).unwrap().len(), blocks * 4096);
    let found = mounted::mounted(&project, "build/box-bare.raw");
    let told_by = differences(&found, &entries(&project.path("build/box.tar")));
    assert!(told_by.is_empty(), "{told_by:#?}");

    look_into_disks(&project);

    // The second time there is nothing to do; from nothing there are the same bytes, whoever builds.
    assert!(project.build().ran.is_empty());
    let outputs = || {
        ["box", "box-mbr", "box-bare"]
            .map(|name| project::digest(&project.path(&format!("build/{name}.raw"))))
    };
    let before = outputs();
    fs::remove_dir_all(project.path("build")).unwrap();
    project.build();
    assert_eq!(outputs(), before);
    // A label counts, whatever it is; what a partition is filled from counts.
    project.write("image.kdl", PARTED.replace("options=\"nodev\"", "options=\"nodev\" label=\"-\""));
    assert_eq!(project.build().ran.into_iter().collect::<Vec<_>>(), ["output:raw@box"]);
    project.write("blob", vec![b'c'; 3_000_000]);
    assert_eq!(project.build().ran.into_iter().collect::<Vec<_>>(), ["output:raw@box"]);
}

/// Disks as files that no manifest knows: what is not the same as in a tar of the same image is what a disk has of its own,
/// and what is on a partition that is not looked into.
fn look_into_disks(project: &Project) {
    let folder = project.outer().join("elsewhere");
    fs::create_dir(&folder).unwrap();
    for (from, to) in [
        ("box.tar", "box.tar"),
        ("box.raw", "gpt.raw"),
        ("box-mbr.raw", "mbr.raw"),
        ("box-bare.raw", "bare.raw"),
        ("box-mixed.raw", "mixed.raw"),
    ] {
        fs::copy(project.path(&format!("build/{from}")), folder.join(to)).unwrap();
    }
    let elsewhere = Project::at(folder, project.outer().join("elsewhere-cache"));
    let differs = |disk: &str| elsewhere.run(&["diff", "box.tar", disk]).out;
    assert_snapshot!(differs("gpt.raw"), @"
    ~ efi (time 1714953600 → 0)
    ~ etc/fstab (size 68 → 314)
    ~ home/linked (kind h → f)
    + home/lost+found
    + lost+found
    ");
    assert_snapshot!(differs("bare.raw"), @"+ lost+found");
    assert_snapshot!(differs("mixed.raw"), @"
    ~ efi (time 1714953600 → 0)
    ~ etc/fstab (size 68 → 258)
    ~ home/linked (kind h → f)
    ");
    look_into_partitions(&elsewhere);
    let many = elsewhere.run(&["ls", "mbr.raw", "/many"]).out;
    // With itself, and `lost+found`.
    assert_eq!(many.lines().count(), 3002, "{many}");
    assert_eq!(elsewhere.run(&["cat", "gpt.raw", "/etc/link"]).out, "content\n");
    let extracted = elsewhere.run(&["extract", "kernel", "gpt.raw", "-o", "kernels"]);
    assert_eq!(extracted.out, "kernels/gpt-vmlinuz\nkernels/gpt-initrd\n", "{extracted:?}");
    for (name, content) in [("gpt-vmlinuz", "kernel"), ("gpt-initrd", "initramfs")] {
        assert_eq!(fs::read_to_string(elsewhere.path(&format!("kernels/{name}"))).unwrap(), content);
    }
    look_into_formats(&elsewhere);
    let cut = fs::read(elsewhere.path("gpt.raw")).unwrap();
    elsewhere.write("cut.raw", &cut[..cut.len() / 2]);
    elsewhere.write("odd.qcow2", b"QFI\xfb and more");
    let faults =
        ["cut.raw", "odd.qcow2"].map(|name| elsewhere.run(&["ls", name, "--message-format", "short"]).err);
    let faults = faults.concat().replace(elsewhere.path("x").parent().unwrap().to_str().unwrap(), "HERE");
    assert_snapshot!(faults, @"
    imgbuild: error: cannot read the ext4 in partition 3 of `HERE/cut.raw`: it ends behind the end of the file [look/damaged]
    imgbuild: error: cannot read the disk `HERE/odd.qcow2`: it is damaged, or no qcow2 [look/damaged]
      help: get it again from where it came from, or build it again
      | qemu-img: Could not open 'HERE/odd.qcow2': Unsupported qcow2 version 543256164
    ");
}

/// One partition, mounted or not.
fn look_into_partitions(elsewhere: &Project) {
    let short = |words: &[&str]| {
        let ended = elsewhere.run(&[words, &["--message-format", "short"]].concat());
        ended.out + &ended.err.replace(elsewhere.root.to_str().unwrap(), "HERE")
    };
    assert_snapshot!(short(&["ls", "gpt.raw", "efi"]), @"
    drwxr-xr-x  0:0   0  efi
    drwxr-xr-x  0:0   0  efi/EFI
    drwxr-xr-x  0:0   0  efi/EFI/Some Folder
    -rw-r--r--  0:0   0  efi/EFI/Some Folder/Loader.conf.old
    -rw-r--r--  0:0  10  efi/EFI/Some Folder/loader.conf
    -rw-r--r--  0:0   8  efi/README.TXT
    -rw-r--r--  0:0   2  efi/ümlaut
    ");
    assert_snapshot!(short(&["ls", "mixed.raw", "etc/link"]), @"
    lrwxrwxrwx  0:0  0  etc/link -> first
    imgbuild: warning: the vfat in partition 1 of `HERE/mixed.raw` is not mounted by its `/etc/fstab` [look/unmounted]
      help: see what is in it: `imgbuild ls HERE/mixed.raw --partition 1`
    ");
    assert_snapshot!(short(&["ls", "gpt.raw", "--partition", "1", "EFI"]), @"
    drwxr-xr-x  0:0   0  EFI
    drwxr-xr-x  0:0   0  EFI/Some Folder
    -rw-r--r--  0:0   0  EFI/Some Folder/Loader.conf.old
    -rw-r--r--  0:0  10  EFI/Some Folder/loader.conf
    ");
    assert_snapshot!(short(&["cat", "mixed.raw", "--partition", "4", "README.TXT"]), @"read me");
    assert_snapshot!(short(&["ls", "gpt.raw", "--partition", "2"]), @"
    imgbuild: error: partition 2 of `HERE/gpt.raw` has no file system that can be looked into [look/disk]
      help: ext4, btrfs, xfs and vfat are looked into
    ");
    assert_snapshot!(short(&["ls", "gpt.raw", "--partition", "6"]), @"
    imgbuild: error: `HERE/gpt.raw` has no partition 6 [look/partition]
      help: it has 1 (vfat), 2, 3 (ext4), 4 (ext4), 5
    ");
    assert_snapshot!(short(&["ls", "bare.raw", "--partition", "1"]), @"
    imgbuild: error: `HERE/bare.raw` has no partition 1 [look/partition]
      help: it has none: leave `--partition` away
    ");
    assert_snapshot!(short(&["ls", "box.tar", "--partition", "1"]), @"
    imgbuild: error: `box.tar` is no disk, and has no partitions [look/partition]
      help: name the file of a disk, or leave `--partition` away
    ");
}

/// The same disk in every format that hypervisors have.
fn look_into_formats(elsewhere: &Project) {
    if !has(&["qemu-img"]) {
        return;
    }
    let path = |name: &str| elsewhere.path(name).to_str().unwrap().to_string();
    let listed = elsewhere.run(&["ls", "gpt.raw"]).out;
    assert!(listed.contains("etc/fstab"), "{listed}");
    for (format, name) in
        [("qcow2", "qcow2"), ("vmdk", "vmdk"), ("vdi", "vdi"), ("vhdx", "vhdx"), ("vpc", "vhd")]
    {
        let disk = format!("gpt.{name}");
        told("qemu-img", &["convert", "-f", "raw", "-O", format, &path("gpt.raw"), &path(&disk)]);
        let ran = elsewhere.run(&["ls", &disk]);
        assert!(ran.out == listed, "{disk}: {}", ran.err);
        assert_eq!(elsewhere.run(&["cat", &disk, "/etc/link"]).out, "content\n", "{disk}");
    }
    // What it stands on may be any file of whoever looks.
    let on = path("on.qcow2");
    told("qemu-img", &["create", "-q", "-f", "qcow2", "-b", &path("gpt.raw"), "-F", "raw", &on]);
    told(
        "qemu-img",
        &["create", "-q", "-f", "vmdk", "-b", &path("gpt.vmdk"), "-F", "vmdk", &path("on.vmdk")],
    );
    let mut only_text = fs::read(elsewhere.path("gpt.vmdk")).unwrap();
    only_text[12..20].fill(0);
    elsewhere.write("text.vmdk", &only_text);
    for disk in ["on.qcow2", "on.vmdk", "text.vmdk"] {
        let refused = elsewhere.run(&["ls", disk, "--message-format", "short"]);
        assert!(refused.err.contains("stands on another disk") && refused.code == Some(2), "{refused:?}");
    }
}

/// A file of an ext4 that begins at a byte of a disk.
fn of_ext4(disk: &Path, at: u64, path: &str) -> String {
    told("debugfs", &["-R", &format!("cat {path}"), &format!("{}?offset={at}", disk.display())])
}

/// What blkid says of a part of a disk.
fn identity(disk: &Path, (at, size): (u64, u64)) -> String {
    let (at, size) = (at.to_string(), size.to_string());
    told("blkid", &["--probe", "-o", "export", "-O", &at, "-S", &size, disk.to_str().unwrap()])
}

/// A part of a disk as a file.
fn cut(project: &Project, disk: &Path, (at, size): (u64, u64)) -> std::path::PathBuf {
    use std::io::{Read, Seek, SeekFrom};
    let path = project.outer().join("part");
    let mut from = fs::File::open(disk).unwrap();
    from.seek(SeekFrom::Start(at)).unwrap();
    std::io::copy(&mut from.take(size), &mut fs::File::create(&path).unwrap()).unwrap();
    path
}

/// The files of a FAT file system, which has to be clean.
fn fat(part: &Path) -> BTreeMap<String, String> {
    let part = part.to_str().unwrap();
    let check = told("fsck.vfat", &["-n", "-v", part]);
    assert!(check.contains("Checking for unused clusters"), "{check}");
    let list =
        Command::new("mdir").args(["-/", "-b", "-i", part, "::"]).env("LC_ALL", "C.UTF-8").output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let files = list.lines().filter_map(|line| line.strip_prefix("::/")).filter(|line| !line.ends_with('/'));
    files
        .map(|path| (path.to_string(), told("mcopy", &["-n", "-i", part, &format!("::/{path}"), "-"])))
        .collect()
}

#[test]
fn what_cannot_be_is_told_before_any_work() {
    let project = Project::new();
    project.write("overlays/site/etc/motd", "x\n");
    project.write(
        "image.kdl",
        r#"image "box" {
    overlays "site"
    output "raw"
    disk size="1GiB" {
        partition "esp" size="64MiB" filesystem="vfat" label="much too long" mount="/efi"
        partition "root" size="100" filesystem="ext4" mount="/efi/" flags="boot,primary,grwo"
        partition "root" filesystem="swap" mount="/" label="l"
        partition "more" filesystem="ext4" label="l" options="a b" size="120%"
        partition "raw" from="x" filesystem="ext4"
    }
    hypervisor "mbr" {
        disk table="mbr" room="1MiB" {
            partition "bios" type="bios-boot" flags="grow"
            partition "root" size="50%" mount="/" filesystem="vfat"
            partition "c" filesystem="swap"
            partition "d"
            partition "e" mount="relative"
        }
        boot loader="systemd-boot" cmdline="a\nb" timeout=-1
        output "qcow2" compression="xz"
    }
    hypervisor "none" {
        disk table="none" align="5" { partition "root" filesystem="ext4" mount="/"; }
        boot loader="lilo"
        output "raw"
    }
    hypervisor "large" {
        disk size="3TiB" table="mbr" {
            partition "root" filesystem="ext4" mount="/" size="9000000TiB"
            partition "esp" filesystem="ext4" type="esp" size="1KiB"
        }
        output "raw"
    }
    hypervisor "crowded" {
        disk size="32MiB" {
            partition "swap" size="40MiB" filesystem="swap"
            partition "root" filesystem="ext4" mount="/"
        }
        machine memory="1000"
        output "raw"
    }
    hypervisor "qemuu" {
        machine cpus=2
    }
    hypervisor "fat" {
        disk room="1MiB" {
            partition "one" filesystem="vfat" label="a.b" mount="/efi"
            partition "two" filesystem="vfat" label="" mount="/boot"
            partition "three" filesystem="vfat" size="3MiB" mount="/three" label="no name"
            partition "root" filesystem="ext4" mount="/" size="1GiB"
        }
        output "raw"
    }
    hypervisor "files" {
        disk {
            partition "root" filesystem="ext4" mount="/"
            partition "gone" from="gone.img"
            partition "folder" from="overlays"
        }
        boot loader="none"
        output "raw"
    }
}
"#,
    );
    let told = project.run(&["check", "--message-format", "short"]);
    assert_eq!(told.code, Some(2), "{told:?}");
    assert_snapshot!(told.err, @r#"
    image.kdl:4:5: error: no partition of this disk is mounted at `/` [disk/root]
      help: give the one with the system `mount="/"`
    image.kdl:5:62: error: a label of vfat has up to 11 bytes; this one has 13 [label/long]
    image.kdl:6:9: error: two partitions have the mount point `/efi` [partition/twice]
    image.kdl:6:75: error: there is no flag `primary`: every partition is primary [partition/flag]
      help: remove it
    image.kdl:6:75: error: there is no flag `grwo` [partition/flag]
      help: did you mean `grow`?
    image.kdl:7:9: error: two partitions have the name `root` [partition/twice]
    image.kdl:7:50: error: there is no file system in this partition that could be mounted [partition/mount]
      help: give it one: `filesystem="ext4"`
    image.kdl:8:9: error: two partitions have the label `l` [partition/twice]
    image.kdl:8:62: error: mount options are words separated by commas [partition/options]
      help: as in `options="noatime,nodev"`
    image.kdl:8:73: error: `120%` is not a size such as `"512MiB"`, or a part of what is left such as `"50%"` [value/unfit]
    image.kdl:9:30: error: a partition has a file system, or the content of a file [partition/content]
      help: leave one of them out
    image.kdl:12:9: error: there is no place for systemd-boot on this disk [boot/place]
      help: add `partition "esp" filesystem="vfat" mount="/efi"`
    image.kdl:12:31: error: a partition with a size has no room beyond what is in it [disk/room]
      help: leave one of them out
    image.kdl:13:13: error: only a disk with a GPT has a `bios-boot` partition [partition/type]
      help: remove it: on other disks grub lies in front of the first partition
    image.kdl:13:53: error: only a GPT has the flag `grow` [partition/flag]
      help: remove it, or give the disk `table="gpt"`
    image.kdl:14:47: error: vfat cannot hold a system: it has no owners and no links [partition/mount]
      help: `filesystem="ext4"` can
    image.kdl:17:13: error: an MBR has up to 4 partitions [disk/partitions]
    image.kdl:17:33: error: `relative` is not an absolute path inside the image [value/unfit]
    image.kdl:19:44: error: a command line of the kernel is one line [boot/cmdline]
    image.kdl:19:59: error: `-1` is not a whole number from 0 to 3600 [value/unfit]
    image.kdl:20:36: error: `xz` is not `none`, `zlib` or `zstd` [value/unfit]
    image.kdl:23:9: error: there is no place for grub on this disk [boot/place]
      help: add `partition "bios" size="1MiB"` in front, for a BIOS, or `partition "esp" filesystem="vfat" mount="/boot/efi"`, for EFI; or say `boot loader="none"`
    image.kdl:23:33: error: an alignment is a power of two from 4KiB to 1GiB [disk/align]
    image.kdl:24:21: error: `lilo` is not `grub`, `systemd-boot`, `uki` or `none` [value/unfit]
    image.kdl:28:19: error: an MBR tells up to 2 TiB [disk/size]
      help: `table="gpt"` tells more
    image.kdl:29:63: error: no file system and no disk can have 1.0 PiB or more [size/odd]
    image.kdl:30:13: error: a partition of the type `esp` has a vfat file system [partition/type]
      help: `filesystem="vfat"`
    image.kdl:30:63: error: the size of a file system or a disk is a multiple of 1 MiB [size/odd]
    image.kdl:35:9: error: there is no place for grub on this disk [boot/place]
      help: add `partition "bios" size="1MiB"` in front, for a BIOS, or `partition "esp" filesystem="vfat" mount="/boot/efi"`, for EFI; or say `boot loader="none"`
    image.kdl:35:19: error: these partitions do not fit into 32 MiB [disk/size]
      help: they need 42 MiB at least
    image.kdl:39:24: error: the memory of a machine is a multiple of 1 MiB, up to 64 TiB [machine/memory]
    image.kdl:42:5: error: the hypervisor `qemuu` has no output [output/none]
      help: did you mean `hypervisor "qemu"`, which brings its own? Else add one: `output "tar"`
    image.kdl:46:19: error: a partition with a size has no room beyond what is in it [disk/room]
      help: leave one of them out
    image.kdl:47:53: error: a label of vfat has letters and digits of ASCII, `_`, `-` and, inside, spaces [label/unfit]
    image.kdl:48:13: error: two partitions are of the type `esp` [partition/type]
      help: the boot loader is in one: give the other `type="data"`
    image.kdl:48:53: error: a label has at least one letter, and no control characters [label/unfit]
    image.kdl:49:54: error: a FAT file system has 4 MiB or more, and less than 2 TiB [partition/size]
    image.kdl:49:82: error: a label of vfat has letters and digits of ASCII, `_`, `-` and, inside, spaces [label/unfit]
    image.kdl:57:35: error: there is no `gone.img` [partition/file]
      help: paths start at the folder of the file that they stand in
    image.kdl:58:37: error: `overlays` is no file [partition/file]
      help: name a file; what the image has in a folder goes there with `filesystem=` and `mount=`
    "#);

    project.write(
        "image.kdl",
        r#"image "box" {
    overlays "site"
    disk { partition "root" filesystem="ext4" mount="/"; }
    output "raw"
    hypervisor "sd" {
        boot loader="systemd-boot"
        output "qcow2"
    }
}
"#,
    );
    let told = project.run(&["check", "--message-format", "short"]);
    assert_eq!(told.code, Some(2), "{told:?}");
    assert_snapshot!(told.err, @r#"
    image.kdl:3:5: error: there is no place for grub on this disk [boot/place]
      help: add `partition "bios" size="1MiB"` in front, for a BIOS, or `partition "esp" filesystem="vfat" mount="/boot/efi"`, for EFI; or say `boot loader="none"`
    image.kdl:3:5: error: there is no place for systemd-boot on this disk [boot/place]
      help: add `partition "esp" filesystem="vfat" mount="/efi"`
    "#);
}

#[test]
fn what_does_not_fit_says_so() {
    let manifest = |disk: &str| {
        format!(
            "image \"box\" {{\n    base \"tar\" from=\"odd.tar\"\n    boot loader=\"none\"\n    output \"raw\"\n{disk}}}\n"
        )
    };
    let small = "    disk size=\"64MiB\" {\n        partition \"root\" size=\"12MiB\" filesystem=\"ext4\" mount=\"/\"\n        \
                 partition \"esp\" filesystem=\"vfat\" mount=\"/home\"\n    }\n";
    let Some(project) = odd_project(&manifest(small)) else { return };
    let short = |project: &Project| {
        let ended = project.run(&["build", "--message-format", "short"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(!project.path("build/box.raw").exists());
        let told = says(project, &ended);
        told.lines()
            .filter(|line| line.contains("error:") || line.contains("help:"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_snapshot!(short(&project), @r#"
    image.kdl:6:31: error: the image does not fit into 12 MiB: it needs 18 MiB [output/too-small]
      help: make it larger; the largest folders are `/many` (4.3 MiB), `/etc` (175 B)
    "#);
    let crowded = "    disk size=\"32MiB\" {\n        partition \"swap\" size=\"28MiB\" filesystem=\"swap\"\n        partition \
                   \"root\" filesystem=\"ext4\" mount=\"/\"\n    }\n";
    project.write("image.kdl", manifest(crowded));
    assert_snapshot!(short(&project), @r#"
    image.kdl:7:9: error: the image does not fit into 2.0 MiB: it needs 22 MiB [output/too-small]
      help: make it larger; the largest folders are `/home` (4.8 MiB), `/many` (4.3 MiB), `/etc` (193 B)
    "#);
    let little = "    disk size=\"64MiB\" {\n        partition \"root\" filesystem=\"ext4\" mount=\"/\"\n        partition \"home\" \
                  size=\"4MiB\" filesystem=\"vfat\" mount=\"/many\"\n    }\n";
    project.write("image.kdl", manifest(little));
    assert_snapshot!(short(&project), @r#"
    image.kdl:7:31: error: what is to be in this partition does not fit into 4.0 MiB: its files have 4.3 MiB [output/too-small]
      help: 64 MiB would do
    "#);
    std::fs::write(project.path("blob"), vec![1; (5 << 20) + 1]).unwrap();
    let blob = |size: &str, part: &str| {
        format!(
            "    disk size=\"{size}\" {{\n        partition \"root\" size=\"40MiB\" filesystem=\"ext4\" mount=\"/\"\n        \
             partition \"blob\" from=\"blob\"{part}\n    }}\n"
        )
    };
    project.write("image.kdl", manifest(&blob("64MiB", " size=\"5MiB\"")));
    assert_snapshot!(short(&project), @r#"
    image.kdl:7:43: error: the file of this partition does not fit into 5.0 MiB: it needs 6 MiB [output/too-small]
      help: say `size="6MiB"`
    "#);
    project.write("image.kdl", manifest(&blob("46MiB", "")));
    assert_snapshot!(short(&project), @"
    image.kdl:7:9: error: the file of this partition does not fit into 4.0 MiB: it needs 6 MiB [output/too-small]
      help: make the disk larger
    ");
}

#[test]
fn what_would_hide_files_is_refused() {
    let manifest = |mount: &str, file: &str| {
        format!(
            "image \"box\" {{\n    base \"tar\" from=\"odd.tar\"\n    files {{\n        link \"/lib\" to=\"/etc\"\n        file \
             \"{file}\" content=\"x\"\n    }}\n    output \"raw\"\n    boot loader=\"none\"\n    disk {{\n        partition \"a\" \
             filesystem=\"vfat\" mount=\"/efi\"\n        partition \"b\" filesystem=\"ext4\" mount=\"{mount}\"\n        \
             partition \"root\" filesystem=\"ext4\" mount=\"/\"\n    }}\n}}\n"
        )
    };
    let Some(project) = odd_project(&manifest("/lib/modules", "/x")) else { return };
    let cases = [("/lib/modules", "/x"), ("/etc/first", "/x"), ("/srv", "/efi/a/b"), ("/srv", "/efi/na:me")];
    let told = cases.map(|(mount, file)| {
        project.write("image.kdl", manifest(mount, file));
        let ended = project.run(&["build", "--message-format", "short"]);
        let told = says(&project, &ended);
        let told = told.lines().filter(|line| line.contains("error:") || line.contains("help:"));
        told.map(|line| format!("{line}\n")).collect::<String>()
    });
    assert_snapshot!(told.concat(), @r#"
    image.kdl:11:47: error: nothing can be mounted at `/lib/modules`: in the image, `/lib` is a symbolic link [partition/mount]
      help: name the folder itself
    image.kdl:11:47: error: nothing can be mounted at `/etc/first`: in the image, `/etc/first` is no folder [partition/mount]
      help: name the folder itself
    image.kdl:10:9: error: `/na:me` cannot be in a FAT file system: its name has characters that FAT has not [disk/fat]
    "#);
}

const FORMATS: &str = r#"
image "box" {
    base "tar" from="odd.tar"
    boot loader="none"
    disk size="64MiB" { partition "root" filesystem="ext4" mount="/"; }
    output "raw"
    output "qcow2"
    output "qcow2" path="build/zlib.qcow2" compression="zlib"
    output "qcow2" path="build/zstd.qcow2" compression="zstd"
    output "vmdk"
    output "vmdk" path="build/sparse.vmdk" format="sparse"
    output "vdi"
    output "vhd"
    output "vhd" path="build/fixed.vhd" fixed=#true
    output "vhdx"
}
"#;

#[test]
fn every_format_holds_the_same_disk() {
    let Some(project) = odd_project(FORMATS) else { return };
    if !has(&["qemu-img"]) {
        return;
    }
    project.build();
    let formats = [
        ("box.qcow2", "qcow2"),
        ("zlib.qcow2", "qcow2"),
        ("zstd.qcow2", "qcow2"),
        ("box.vmdk", "vmdk"),
        ("sparse.vmdk", "vmdk"),
        ("box.vdi", "vdi"),
        ("box.vhd", "vpc"),
        ("fixed.vhd", "vpc"),
        ("box.vhdx", "vhdx"),
    ];
    let path = |name: &str| project.path(&format!("build/{name}")).to_str().unwrap().to_string();
    for (name, format) in formats {
        let told_by =
            told("qemu-img", &["compare", "-f", "raw", "-F", format, &path("box.raw"), &path(name)]);
        assert_eq!(told_by, "Images are identical.\n", "{name}");
        if format != "vpc" {
            told("qemu-img", &["check", "-f", format, &path(name)]);
        }
    }
    assert!(project.build().ran.is_empty());
    let digests = || formats.map(|(name, _)| project::digest(Path::new(&path(name))));
    let before = digests();
    formats.iter().for_each(|(name, _)| fs::remove_file(path(name)).unwrap());
    // What is the time, and which random numbers there are, does not matter.
    project.build();
    for ((name, _), (now, then)) in formats.iter().zip(digests().iter().zip(&before)) {
        assert_eq!(now, then, "{name}");
    }
}

/// One disk, and a later one that stands on it.
const STANDING: &str = r#"
image "box" {
    base "tar" from="odd.tar"
    files { file "/etc/version" content="two"; }
    disk size="256MiB" { partition "root" filesystem="ext4" mount="/"; }
    boot loader="none"
    output "raw"
    output "qcow2" backing="disks/v1:base.qcow2" path="disks/box.qcow2"
    output "qcow2" backing="disks/base.raw" compression="zstd" path="other/place/packed.qcow2"
}
"#;

#[test]
fn a_disk_stands_on_an_earlier_one() {
    let plain = "    output \"raw\"\n    output \"qcow2\"\n}\n";
    let earlier = STANDING.split_once("    output").unwrap().0.replace("two", "one") + plain;
    let Some(project) = odd_project(&earlier) else { return };
    if !has(&["qemu-img"]) {
        return;
    }
    project.build();
    fs::create_dir(project.path("disks")).unwrap();
    for (name, to) in [("raw", "base.raw"), ("qcow2", "v1:base.qcow2")] {
        fs::rename(project.path(&format!("build/box.{name}")), project.path(&format!("disks/{to}"))).unwrap();
    }
    project.write("image.kdl", STANDING);
    project.build();
    let path = |name: &str| project.path(name).to_str().unwrap().to_string();
    let standing = ["disks/box.qcow2", "other/place/packed.qcow2"];
    for (name, backing) in standing.iter().zip(["./v1:base.qcow2", "../../disks/base.raw"]) {
        let info = told("qemu-img", &["info", &path(name)]);
        assert!(info.contains(&format!("backing file: {backing} (actual path:")), "{info}");
        let compared =
            told("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", &path("build/box.raw"), &path(name)]);
        assert_eq!(compared, "Images are identical.\n");
        told("qemu-img", &["check", "-f", "qcow2", &path(name)]);
        let (own, whole) = (
            fs::metadata(path(name)).unwrap().len(),
            fs::metadata(path("disks/v1:base.qcow2")).unwrap().len(),
        );
        assert!(own * 3 < whole, "only the difference is in it: {own} of {whole}");
    }
    assert!(project.build().ran.is_empty());
    let digests = || standing.map(|name| project::digest(&project.path(name)));
    let before = digests();
    standing.iter().for_each(|name| fs::remove_file(project.path(name)).unwrap());
    project.build();
    assert_eq!(digests(), before);
    // The disk below is an input like all others.
    project.write("disks/base.raw", [0; 4096]);
    let did = project.build();
    assert_eq!(did.ran.into_iter().collect::<Vec<_>>(), ["output:qcow2@box#2"]);
    let compared = told(
        "qemu-img",
        &["compare", "-f", "raw", "-F", "qcow2", &path("build/box.raw"), &path(standing[1])],
    );
    assert_eq!(compared, "Images are identical.\n");

    fs::copy(project.path("disks/box.qcow2"), project.path("disks/v1:base.qcow2")).unwrap();
    project.write("disks/base.raw", "KDMV");
    project.write(
        "image.kdl",
        STANDING.replace("output \"raw\"", "output \"qcow2\" backing=\"disks/bas.raw\" path=\"~/x\""),
    );
    let ended = project.run(&["check", "--message-format", "short"]);
    assert_snapshot!(ended.err, @r#"
    image.kdl:7:28: error: there is no `disks/bas.raw` [backing/missing]
    image.kdl:7:49: error: an output has no place in anybody's home [output/home]
      help: write where it is from the project's folder, or from `/`
    image.kdl:8:28: error: `disks/v1:base.qcow2` is neither raw nor a qcow2 that is whole by itself [backing/format]
      help: make it one: `qemu-img convert -O qcow2 DISK NEW.qcow2`
    image.kdl:9:28: error: `disks/base.raw` is neither raw nor a qcow2 that is whole by itself [backing/format]
      help: make it one: `qemu-img convert -O qcow2 DISK NEW.qcow2`
    "#);
}

#[test]
fn what_is_left_is_given_once_and_places_of_the_kernel_are_none() {
    let project = Project::new();
    project.write("overlays/site/etc/motd", "x\n");
    project.write(
        "image.kdl",
        r#"image "box" {
    overlays "site"
    boot loader="none"
    disk size="1GiB" {
        partition "root" size="100%" filesystem="ext4" mount="/"
        partition "home" size="50%" filesystem="ext4" mount="/home"
        partition "odd" size="16MiB" filesystem="ext4" mount="/proc/x"
    }
    output "raw"
}
"#,
    );
    let told = project.run(&["check", "--message-format", "short"]);
    assert_snapshot!(told.err, @"
    image.kdl:6:9: error: nothing is left for the partition `home` [partition/size]
      help: give both a part: of what is left, each takes its own, in turn
    image.kdl:7:62: error: `/proc/x` is no place for a partition [partition/mount]
      help: the kernel fills it when it runs: leave it on `/`
    ");
}

#[test]
fn machines_that_cannot_start_are_told() {
    let project = Project::new();
    project.write("overlays/site/etc/motd", "x\n");
    project.write(
        "image.kdl",
        r#"image "box" {
    overlays "site"
    hypervisor "one" {
        boot loader="systemd-boot"
        machine firmware="bios"
        output "raw"
    }
    hypervisor "two" {
        disk table="mbr" { partition "root" filesystem="ext4" mount="/"; }
        machine firmware="efi"
        output "raw"
    }
    hypervisor "three" {
        boot loader="none"
        machine firmware="efi"
        output "kernel"
        output "vmdk"
        output "machine" format="vmx"
    }
    hypervisor "four" {
        disk { partition "root" filesystem="ext4" mount="/"; partition "a" filesystem="ext4" mount="/proc"; partition "b" filesystem="xfs" mount="/etc"; }
        boot loader="none"
        output "raw"
    }
}
"#,
    );
    assert_snapshot!(project.run(&["check", "--message-format", "short"]).err, @r#"
    image.kdl:5:9: error: this machine starts with a BIOS, and nothing on its disk boots with that [boot/firmware]
      help: `boot loader="grub"` does, from a GPT with `partition "bios" size="1MiB"` in front; or leave `firmware` out
    image.kdl:10:9: error: this machine starts with EFI, and nothing on its disk boots with that [boot/firmware]
      help: add `partition "esp" filesystem="vfat" mount="/efi"` to its disk, or leave `firmware` out
    image.kdl:17:9: error: this `vmdk` is stream-optimised, which is imported, and attached to no machine as it is [machine/stream]
      help: write one that is attached: `output "vmdk" format="sparse"`
    image.kdl:21:100: error: `/proc` is no place for a partition [partition/mount]
      help: the kernel fills it when it runs: leave it on `/`
    image.kdl:21:146: error: `/etc` is no place for a partition [partition/mount]
      help: it has to be there before anything is mounted: leave it on `/`
    "#);
}

#[test]
fn what_cannot_boot_says_so() {
    let manifest = "image \"box\" {\n    base \"tar\" from=\"odd.tar\"\n    output \"tar\"\n    hypervisor \"grub\" {\n        \
                    output \"raw\"\n    }\n    hypervisor \"beside\" {\n        boot loader=\"none\"\n        output \"raw\"\n    \
                    }\n    hypervisor \"pxe\" {\n        output \"ramdisk\"\n    }\n}\n";
    let Some(project) = odd_project(manifest) else { return };
    let short = |arguments: &[&str], code: i32| {
        let ended = project.run(&[arguments, &["--message-format", "short"]].concat());
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        let told = says(&project, &ended);
        told.lines()
            .filter(|line| line.contains("error:") || line.contains("help:"))
            .collect::<Vec<_>>()
            .join("\n")
            + "\n"
    };
    let told: String = [
        short(&["boot", "bx"], 2),
        short(&["boot", "box"], 2),
        short(&["boot", "pxe"], 1),
        short(&["boot", "beside"], 2),
        // A loader is of no use where there is nothing to load.
        short(&["build", "grub"], 1),
        short(&["build", "pxe"], 1),
    ]
    .concat();
    assert_snapshot!(told, @r#"
    imgbuild: error: there is no target `bx` [target/unknown]
      help: there are `box`, `box:grub`, `box:beside` and `box:pxe`
    imgbuild: error: `box` has no disk that could boot [boot/disk]
      help: add one to its block: `output "raw"`, or `output "qcow2"`
    image.kdl:11:16: error: there is no kernel in this image: nothing is at `/boot/vmlinuz-*` [boot/kernel]
      help: add one: `packages { linux-image-cloud-amd64 }`
    imgbuild: error: `box:beside` has no boot loader, and its kernel is not written [boot/kernel]
      help: add `output "kernel"` to its block
    image.kdl:5:9: error: there is no kernel in this image: nothing is at `/boot/vmlinuz-*` [boot/kernel]
      help: add one: `packages { linux-image-cloud-amd64 }`; or say that the hypervisor brings it: `boot loader="none"`
    image.kdl:11:16: error: there is no kernel in this image: nothing is at `/boot/vmlinuz-*` [boot/kernel]
      help: add one: `packages { linux-image-cloud-amd64 }`
    "#);
    if !has(&["qemu-system-x86_64"]) {
        return;
    }
    // A file is a disk by its name; this one has nothing on it.
    project.write("empty.raw", vec![0; 1 << 20]);
    let told = short(&["boot", "empty.raw", "--wait-for", "login:", "--timeout", "2", "--no-kvm"], 1);
    assert_snapshot!(told, @r#"
    imgbuild: error: `login:` did not come in 2 s [boot/timeout]
    "#);
}

const OWN: &str = r#"
epoch "2024-05-06"
image "box" {
    base "tar" from="odd.tar"
    boot loader="none"
    output "tar"
    disk {
        partition "root" filesystem="xfs" mount="/" label="root"
        partition "many" filesystem="btrfs" mount="/many" size="150MiB" options="noatime"
        partition "empty" filesystem="btrfs"
    }
    output "raw"
}
"#;

#[test]
fn btrfs_and_xfs_hold_what_the_image_has() {
    let Some(project) = odd_project(OWN) else { return };
    if !is_root() {
        return skipped("root, to mount file systems");
    }
    if !has(&["sfdisk", "blkid", "btrfs", "xfs_repair"]) {
        return;
    }
    project.build();
    let disk = project.path("build/box.raw");
    let all = parts(&disk);
    let found =
        mounted_parts(&project, "build/box.raw", &[(all[0].0, all[0].1, ""), (all[1].0, all[1].1, "many")]);
    let mut expected = entries(&project.path("build/box.tar"));
    expected.insert(b"etc/fstab".to_vec(), found[b"etc/fstab".as_slice()].clone());
    let told_by = differences(&found, &expected);
    assert!(told_by.is_empty(), "{told_by:#?}");
    for ((at, size), name) in all.iter().zip(["xfs", "btrfs", "btrfs"]) {
        let part = cut(&project, &disk, (*at, *size));
        let named = part.with_extension(name);
        fs::rename(&part, &named).unwrap();
        assert_eq!(checked(&named), "");
        assert!(identity(&disk, (*at, *size)).contains(&format!("TYPE={name}\n")));
    }
    assert!(identity(&disk, all[0]).contains("LABEL=root\n"));
    // As a file that no manifest knows.
    let folder = project.outer().join("elsewhere");
    fs::create_dir(&folder).unwrap();
    fs::copy(&disk, folder.join("disk.raw")).unwrap();
    let elsewhere = Project::at(folder, project.outer().join("elsewhere-cache"));
    fs::copy(project.path("build/box.tar"), elsewhere.path("box.tar")).unwrap();
    let told = elsewhere.run(&["diff", "box.tar", "disk.raw", "--message-format", "short"]);
    assert_snapshot!(told.out + &told.err.replace(elsewhere.root.to_str().unwrap(), "HERE"), @"
    + etc/fstab
    imgbuild: warning: the btrfs in partition 3 of `HERE/disk.raw` is not mounted by its `/etc/fstab` [look/unmounted]
      help: see what is in it: `imgbuild ls HERE/disk.raw --partition 3`
    ");
    let empty = elsewhere.run(&["ls", "disk.raw", "--partition", "3"]);
    assert_eq!((empty.out.as_str(), empty.err.as_str()), ("drwxr-xr-x  0:0  0  /\n", ""));
    let before = fs::read(&disk).unwrap();
    fs::remove_file(&disk).unwrap();
    project.build();
    assert!(before == fs::read(&disk).unwrap(), "other bytes");
}

const BOOTING: &str = r#"
image "SUITE" {
    base "debian" suite="SUITE"
    packages { linux-image-cloud-amd64; systemd-sysv }
    boot console="ttyS0"
    hypervisor "grub" {
        output "qcow2"
    }
    hypervisor "systemd-boot" {
        boot loader="systemd-boot" console="ttyS0"
        output "vhdx"
    }
    hypervisor "uki" {
        boot loader="uki" console="ttyS0" cmdline="quiet"
        output "raw"
    }
    hypervisor "mbr" {
        disk table="mbr" {
            partition "boot" filesystem="ext4" mount="/boot" flags="boot"
            partition "root" filesystem="ext4" mount="/"
        }
        output "vdi"
    }
    hypervisor "beside" {
        boot loader="none" console="ttyS0"
        output "raw"
        output "kernel"
    }
    hypervisor "btrfs" {
        disk {
            partition "bios" size="1MiB"
            partition "root" filesystem="btrfs" mount="/"
        }
        output "raw"
    }
    hypervisor "xfs" {
        disk {
            partition "esp" filesystem="vfat" mount="/boot/efi"
            partition "root" filesystem="xfs" mount="/"
        }
        output "raw"
    }
}
"#;

/// What boots in each suite: the target, and options.
const BOOTS: [(&str, &[&str]); 8] = [
    ("grub", &["--firmware", "bios"]),
    ("grub", &["--firmware", "efi"]),
    ("systemd-boot", &[]),
    ("uki", &[]),
    ("mbr", &[]),
    ("beside", &[]),
    ("btrfs", &[]),
    ("xfs", &[]),
];

#[test]
fn disks_boot_to_a_login_prompt() {
    let all = switch("IMGBUILD_TEST_BOOTS").is_some();
    // Each takes half a minute here: the rest is for who asks.
    let chosen: [(&str, &[usize]); 2] = if all {
        [("trixie", &[0, 1, 2, 3, 4, 5, 6, 7]), ("bookworm", &[0, 1, 2, 3, 4, 5, 6, 7])]
    } else {
        [("trixie", &[1, 3]), ("bookworm", &[0, 2])]
    };
    if !cfg!(target_arch = "x86_64") || !has(&["qemu-system-x86_64"]) {
        return;
    }
    if !Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd").is_file() {
        return skipped("ovmf");
    }
    let projects: Vec<_> = chosen
        .iter()
        .map_while(|(suite, boots)| Some((*suite, debian(&BOOTING.replace("SUITE", suite))?, *boots)))
        .collect();
    // Beside each other: most of a boot is waiting.
    std::thread::scope(|scope| {
        for (suite, project, boots) in &projects {
            scope.spawn(move || {
                for (target, options) in boots.iter().map(|boot| BOOTS[*boot]) {
                    let name = format!("{suite}:{target}");
                    let mut words = vec!["boot", &name, "--wait-for", "login:", "--timeout", "200"];
                    words.extend(options);
                    let ended = project.run(&words);
                    assert_eq!(ended.code, Some(0), "{name} {options:?}: {ended:?}");
                    assert!(!ended.out.contains("[FAILED]"), "{name}: {}", ended.out);
                }
            });
        }
    });
}
