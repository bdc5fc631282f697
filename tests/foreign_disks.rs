//! Disks in the formats of hypervisors that come from anybody: those that name other files, that are damaged, that are far
//! larger than their files, and what is left behind where somebody wants no more of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod project;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use imgbuild::sandbox::{Launcher, PATH, resolve_program};
use insta::assert_snapshot;
use project::{Ended, Project, program, skipped};
use rustix::process::{Pid, Signal, kill_process};

/// What stands in a file that no disk may show.
const SECRET: &str = "nobody else's";

/// A folder with no manifest, a file with a secret, and an ext4 with `/etc/motd`.
fn disks() -> Option<Project> {
    let lacks = ["qemu-img", "mke2fs"].into_iter().find(|name| resolve_program(name, PATH).is_none());
    if lacks.is_some() || Launcher::of(program()).images_available().is_err() {
        skipped(lacks.unwrap_or("sandboxes of images"));
        return None;
    }
    let project = Project::new();
    project.write("secret", SECRET.repeat(100_000));
    project.write("root/etc/motd", "hello\n");
    tool(
        &project,
        &format!("mke2fs -q -t ext4 -d {} {} 8M", shown(&project, "root"), shown(&project, "raw")),
    );
    Some(project)
}

fn shown(project: &Project, name: &str) -> String {
    project.path(name).display().to_string()
}

/// Runs a program in the project; `line` is split at blanks.
fn tool(project: &Project, line: &str) {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap());
    let done = command.args(words).current_dir(&project.root).env("PATH", PATH).output().unwrap();
    assert!(done.status.success(), "{line}: {done:?}");
}

/// What is said of a disk, with the project's and the cache's folders named.
fn said(project: &Project, ended: &Ended) -> String {
    let named = ended.err.replace(project.root.to_str().unwrap(), "HERE");
    named.replace(project.cache.to_str().unwrap(), "CACHE")
}

fn looked(project: &Project, name: &str) -> Ended {
    project.run(&["ls", name, "--message-format", "short"])
}

/// What work has left in the cache.
fn left(project: &Project) -> Vec<PathBuf> {
    let inside = fs::read_dir(project.cache.join("1/tmp")).into_iter().flatten();
    inside.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_disk_shows_no_other_file() {
    let Some(project) = disks() else { return };
    let secret = shown(&project, "secret");
    tool(&project, &format!("qemu-img create -q -f qcow2 -b {secret} -F raw on.qcow2"));
    // Made with another file, since to make it empties that.
    tool(&project, "qemu-img create -q -f qcow2 -o data_file=data,data_file_raw=on data.qcow2 1M");
    project.write("data", SECRET.repeat(100_000));
    tool(&project, "qemu-img convert -f raw -O vmdk raw plain.vmdk");
    let plain = fs::read(project.path("plain.vmdk")).unwrap();
    let hint = format!("# Disk DescriptorFile\nparentCID=12345678\nparentFileNameHint=\"{secret}\"\n");
    // Behind the header, where QEMU looks, and the header names another place.
    let mut behind = plain.clone();
    let descriptor = behind[512..512 + 20 * 512].to_vec();
    let sectors = (behind.len() as u64).div_ceil(512);
    behind.resize(sectors as usize * 512, 0);
    behind.extend(descriptor);
    behind[28..36].copy_from_slice(&sectors.to_le_bytes());
    behind[512..512 + hint.len()].copy_from_slice(hint.as_bytes());
    project.write("behind.vmdk", behind);
    // No data of its own: a text says where it is.
    let text = format!(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\
         RW 2048 FLAT \"{secret}\" 0\n"
    );
    let mut extent = plain;
    extent[12..20].fill(0);
    extent[512..512 + 20 * 512].fill(0);
    extent[512..512 + text.len()].copy_from_slice(text.as_bytes());
    project.write("extent.vmdk", extent);
    project.write("only.vmdk", text);
    for name in ["on.qcow2", "data.qcow2", "behind.vmdk", "extent.vmdk", "only.vmdk"] {
        for words in [&["ls", name][..], &["cat", name, "etc/motd"], &["extract", "kernel", name]] {
            let ended = project.run(words);
            let told = format!("{}{}", ended.out, ended.err);
            assert!(
                !told.contains(SECRET) && ended.out.is_empty() && ended.code != Some(0),
                "{name}: {told}"
            );
            let refused = told.contains("[look/backing]") || name == "only.vmdk";
            assert!(refused, "{name}: {told}");
        }
    }
    assert_eq!(left(&project), [""; 0].map(PathBuf::from));
}

/// A disk of 15 TiB in a few MiB: all of it is the same block.
fn bomb(project: &Project) {
    tool(project, "qemu-img create -q -f qcow2 -o cluster_size=2M bomb.qcow2 15T");
    let mut disk = fs::read(project.path("bomb.qcow2")).unwrap();
    let number = |at: usize| u64::from_be_bytes(disk[at..at + 8].try_into().unwrap()) as usize;
    let (entries, table) = (number(32) & 0xffff_ffff, number(40));
    let cluster = 2 << 20;
    disk.resize(disk.len().next_multiple_of(cluster), 0);
    let own = 1u64 << 63;
    let (second, data) = (disk.len() as u64, (disk.len() + cluster) as u64);
    for entry in 0..entries {
        disk[table + entry * 8..][..8].copy_from_slice(&(second | own).to_be_bytes());
    }
    disk.extend((data | own).to_be_bytes().repeat(cluster / 8));
    disk.extend(vec![b'x'; cluster]);
    project.write("bomb.qcow2", disk);
}

#[test]
fn a_disk_that_is_too_large_is_refused_before_it_is_written() {
    let Some(project) = disks() else { return };
    bomb(&project);
    tool(&project, "qemu-img create -q -f qcow2 huge.qcow2 1000T");
    let began = Instant::now();
    let ended = looked(&project, "bomb.qcow2");
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let told = said(&project, &ended);
    let told = told.split_once("`CACHE/1` has ").unwrap();
    assert_snapshot!(told.0, @"imgbuild: error: `HERE/bomb.qcow2` takes 15 TiB to be looked into, and");
    assert!(told.1.contains("free some there"), "{}", told.1);
    let ended = looked(&project, "huge.qcow2");
    assert_snapshot!(said(&project, &ended), @"
    imgbuild: error: `HERE/huge.qcow2` says that it is a disk of 1000 TiB [look/size]
      help: disks of up to 16 TiB are looked into
    ");
    assert!(ended.code == Some(2) && began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(left(&project), [""; 0].map(PathBuf::from));
}

#[test]
fn a_damaged_disk_says_so_in_the_words_of_who_reads_it() {
    let Some(project) = disks() else { return };
    tool(&project, "qemu-img convert -f raw -O qcow2 raw whole.qcow2");
    tool(&project, "qemu-img convert -f raw -O vmdk raw whole.vmdk");
    tool(&project, "qemu-img create -q -f qcow2 empty.qcow2 10M");
    assert_eq!(project.run(&["cat", "whole.qcow2", "etc/motd"]).out, "hello\n");
    for (from, to, length) in [("whole.qcow2", "cut.qcow2", 400_000), ("whole.vmdk", "cut.vmdk", 30_000)] {
        let whole = fs::read(project.path(from)).unwrap();
        project.write(to, &whole[..length]);
    }
    project.write("garbled.qcow2", b"QFI\xfb and more");
    let of = |name: &str| said(&project, &looked(&project, name));
    assert_snapshot!(of("cut.vmdk"), @"
    imgbuild: error: cannot read the disk `HERE/cut.vmdk`: it is damaged, or no vmdk [look/damaged]
      help: get it again from where it came from, or build it again
      | qemu-img: Could not open 'HERE/cut.vmdk': File truncated, expecting at least 65536 bytes
    ");
    assert_snapshot!(of("garbled.qcow2"), @"
    imgbuild: error: cannot read the disk `HERE/garbled.qcow2`: it is damaged, or no qcow2 [look/damaged]
      help: get it again from where it came from, or build it again
      | qemu-img: Could not open 'HERE/garbled.qcow2': Unsupported qcow2 version 543256164
    ");
    assert_snapshot!(of("empty.qcow2"), @"
    imgbuild: error: `HERE/empty.qcow2` is a disk without partitions or a file system [look/disk]
      help: nobody has written to it yet, or it was cut short
    ");
    let told = of("cut.qcow2");
    assert!(told.contains("cannot read the disk `HERE/cut.qcow2`: it is damaged, or no qcow2"), "{told}");
    assert!(told.contains("exceeding the end of the file"), "{told}");
}

/// Has debugfs(8) do something to a file system of the project.
fn debugged(project: &Project, name: &str, request: &str) {
    let mut command = Command::new("debugfs");
    let done = command.env("PATH", PATH).args(["-w", "-R", request, &shown(project, name)]).output().unwrap();
    assert!(done.status.success(), "{request}: {done:?}");
}

#[test]
fn every_ext_tells_of_devices_and_names_and_attributes() {
    let Some(project) = disks() else { return };
    if resolve_program("debugfs", PATH).is_none() {
        return skipped("debugfs");
    }
    fs::hard_link(project.path("root/etc/motd"), project.path("root/etc/other")).unwrap();
    // More than one block of names.
    (0..300).for_each(|number| project.write(&format!("root/etc/conf.d/{number:0>40}"), ""));
    let mut told = Vec::new();
    for kind in ["ext2 -b 1024", "ext3 -b 4096", "ext4 -b 1024", "ext4 -b 4096 -O ^64bit"] {
        tool(&project, &format!("mke2fs -q -F -t {kind} -d {} other 8M", shown(&project, "root")));
        for request in ["mknod small b 8 1", "mknod large c 5 300"] {
            debugged(&project, "other", request);
        }
        let lines = project.run(&["ls", "other"]).out;
        assert_eq!(lines.lines().count(), 308, "{kind}: {lines}");
        // Whose they are depends on who runs this.
        let line = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            format!("{} {}\n", &words[0][..1], words[2..].join(" "))
        };
        let names = ["small", "large", "etc/motd", "etc/other"];
        let is_told = |line: &&str| names.iter().any(|name| line.contains(name));
        told.push(lines.lines().filter(is_told).map(line).collect::<String>());
        fs::copy(project.path("other"), project.path("noted")).unwrap();
        debugged(&project, "noted", "ea_set etc/motd user.note text");
        let differs = project.run(&["diff", "other", "noted"]).out;
        assert!(differs.contains("~ etc/motd (extended attributes"), "{kind}: {differs}");
    }
    assert_snapshot!(told[0], @"
    - 6 etc/motd
    h 0 etc/other link to etc/motd
    c 5,300 large
    b 8,1 small
    ");
    assert!(told.iter().all(|one| *one == told[0]), "{told:#?}");
}

#[test]
fn a_file_that_says_to_be_larger_than_any_disk_takes_no_room() {
    let Some(project) = disks() else { return };
    if resolve_program("debugfs", PATH).is_none() {
        return skipped("debugfs");
    }
    project.link("root/link", "target");
    project.write("root/etc/fstab", "");
    let with_size = |path: &str| {
        tool(&project, &format!("mke2fs -q -F -t ext4 -b 4096 -d {} other 8M", shown(&project, "root")));
        debugged(&project, "other", &format!("set_inode_field {path} size {}", 15u64 << 40));
    };
    with_size("etc/motd");
    let listed = project.run(&["ls", "other", "etc/motd"]);
    assert_snapshot!(listed.out, @"-rw-r--r--  0:0  16492674416640  etc/motd");
    let begins = format!("{} cat other etc/motd | head -c 7 | od -c", program());
    let begins = Command::new("sh").args(["-c", &begins]).current_dir(&project.root).output().unwrap();
    assert_snapshot!(String::from_utf8_lossy(&begins.stdout), @r#"
    0000000   h   e   l   l   o  \n  \0
    0000007
    "#);
    // Nor is it read where nobody asks for it, or where its size says enough.
    let json = project.run(&["ls", "--json", "other", "etc/fstab"]).out;
    assert!(json.contains("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"), "{json}");
    let differs = project.run(&["diff", "raw", "other"]).out;
    assert_snapshot!(differs, @"
    + etc/fstab
    ~ etc/motd (size 6 → 16492674416640)
    + link
    ");
    with_size("etc/fstab");
    assert_eq!(project.run(&["cat", "other", "etc/motd"]).out, "hello\n");
    with_size("link");
    let told = project.run(&["ls", "other", "--message-format", "short"]);
    assert_snapshot!(said(&project, &told), @"imgbuild: error: cannot read the ext4 in `HERE/other`: the target of link 15 is as long as none can be [look/damaged]");
}

/// A disk of 4 GiB, all of which is the same block without anything in it: to be read it takes time, but no space.
fn slow(project: &Project) {
    tool(project, "qemu-img create -q -f vdi slow.vdi 4G");
    let mut disk = fs::read(project.path("slow.vdi")).unwrap();
    let number = |at: usize| u32::from_le_bytes(disk[at..at + 4].try_into().unwrap()) as usize;
    let (map, data, blocks) = (number(0x154), number(0x158), number(0x180));
    disk[map..map + blocks * 4].fill(0);
    disk.copy_within(0x180..0x184, 0x184);
    disk.resize(data + (1 << 20), 0);
    project.write("slow.vdi", disk);
}

#[test]
fn an_interruption_ends_the_reading_and_leaves_nothing() {
    let Some(project) = disks() else { return };
    slow(&project);
    let child = project.start(&["ls", "slow.vdi"]);
    let is_raw = |path: &Path| path.to_string_lossy().ends_with("-raw");
    let inside = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
    let until = Instant::now() + Duration::from_secs(20);
    while !left(&project).into_iter().flat_map(inside).any(|entry| is_raw(&entry.path())) {
        assert!(Instant::now() < until, "nothing is written");
        std::thread::sleep(Duration::from_millis(1));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let done = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.code() == Some(130) && told.contains("interrupted"), "{done:?}");
    assert_eq!(left(&project), [""; 0].map(PathBuf::from));
}

/// What cannot be told is said to be left out; it is not made up in silence.
#[test]
fn what_waits_in_a_journal_is_told() {
    let Some(project) = disks() else { return };
    if resolve_program("debugfs", PATH).is_none() {
        return skipped("debugfs");
    }
    tool(&project, &format!("mke2fs -q -F -t ext4 -b 1024 -d {} other 8M", shown(&project, "root")));
    let asked = Command::new("debugfs").args(["-R", "blocks etc/motd"]).arg(project.path("other")).output();
    let block = String::from_utf8(asked.unwrap().stdout).unwrap();
    // As after a loss of power: the file's new content is in the journal alone.
    project.write("block", [b"olleh\n".as_slice(), &[0; 1018]].concat());
    let requests = format!("jo -c -v 3\njw -b {} {}\njc\n", block.trim(), shown(&project, "block"));
    project.write("requests", requests);
    assert_eq!(project.run(&["cat", "other", "etc/motd"]).out, "hello\n");
    tool(&project, &format!("debugfs -w -f {} {}", shown(&project, "requests"), shown(&project, "other")));
    let told = project.run(&["cat", "other", "etc/motd"]);
    assert_eq!((told.out.as_str(), told.err.as_str()), ("olleh\n", ""));
}

/// What is said of a disk in short: what is in it, and what is wrong with it.
fn short(project: &Project, words: &[&str]) -> String {
    let ended = project.run(&[words, &["--message-format", "short"]].concat());
    format!("{}{}", ended.out, said(project, &ended))
}

/// Runs a script as root in a mount namespace of its own, in the project.
fn as_root(project: &Project, script: &str) {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script]).current_dir(&project.root).env("PATH", PATH);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn subvolumes_are_where_fstab_mounts_them() {
    let Some(project) = disks() else { return };
    let lacks = ["mkfs.btrfs", "btrfs"].into_iter().find(|name| resolve_program(name, PATH).is_none());
    if lacks.is_some() || !project::is_root() {
        return skipped(lacks.unwrap_or("root, to mount file systems"));
    }
    const UUID: &str = "6a9f0000-0000-4000-8000-00000000cafe";
    as_root(
        &project,
        &format!(
            r#"truncate -s 200M fedora; mkfs.btrfs -q -U {UUID} fedora; mkdir mnt; mount -o loop fedora mnt
            for name in root home; do btrfs -q subvolume create mnt/$name; done
            mkdir mnt/root/etc mnt/root/home; echo hello >mnt/home/note
            for line in '/ btrfs subvol=root' '/home btrfs compress=zstd,subvol=/home' '/my\040data btrfs subvol=gone'; do
                printf '%s\n' "UUID={UUID} $line 0 0" >>mnt/root/etc/fstab
            done
            sync; umount mnt"#
        ),
    );
    let told = short(&project, &["ls", "fedora"]);
    assert_snapshot!(told, @"
    drwxr-xr-x  0:0    0  /
    drwxr-xr-x  0:0    0  etc
    -rw-r--r--  0:0  227  etc/fstab
    drwxr-xr-x  0:0    0  home
    -rw-r--r--  0:0    6  home/note
    imgbuild: warning: what is at `/my data` is not told: the btrfs in `HERE/fedora` has no `subvol=gone` [look/unmounted]
      help: its `/etc/fstab` mounts that there
    ");
    as_root(&project, "mount -o loop fedora mnt; btrfs subvolume set-default mnt/root; sync; umount mnt");
    assert_eq!(short(&project, &["ls", "fedora"]), told, "whatever is mounted where nothing is said");
}

#[test]
fn a_table_that_is_damaged_has_a_copy() {
    let Some(project) = disks() else { return };
    if resolve_program("sfdisk", PATH).is_none() {
        return skipped("sfdisk");
    }
    let script = "truncate -s 12M disk; printf 'label: gpt\n,8M,L,\n,1M,L\n' | sfdisk -q disk
        dd if=raw of=disk bs=1M seek=1 conv=notrunc status=none";
    as_root(&project, script);
    let whole = short(&project, &["ls", "disk", "etc"]);
    assert_snapshot!(whole, @"
    drwxr-xr-x  0:0  0  etc
    -rw-r--r--  0:0  6  etc/motd
    ");
    // Its first entry begins elsewhere, which its sum does not know.
    as_root(&project, "printf x | dd of=disk bs=1 seek=1056 conv=notrunc status=none");
    assert_eq!(short(&project, &["ls", "disk", "etc"]), whole);
    as_root(&project, "dd if=/dev/zero of=disk bs=512 seek=1 count=1 conv=notrunc status=none");
    assert_eq!(short(&project, &["ls", "disk", "etc"]), whole);
    // The second partition is not there, nor is the second table.
    as_root(&project, "sfdisk -q --delete disk 2; truncate -s 10M disk");
    assert_eq!(short(&project, &["ls", "disk", "etc"]), whole);
    as_root(&project, "dd if=/dev/zero of=disk bs=512 seek=1 count=1 conv=notrunc status=none");
    assert_snapshot!(short(&project, &["ls", "disk"]), @"imgbuild: error: cannot read `HERE/disk`: neither of its two tables of partitions is whole, or its sectors have 4096 bytes [look/damaged]");
}

#[test]
fn what_is_older_than_a_table_is_not_told() {
    let Some(project) = disks() else { return };
    let lacks = ["mkfs.btrfs", "sfdisk"].into_iter().find(|name| resolve_program(name, PATH).is_none());
    if let Some(lacks) = lacks {
        return skipped(lacks);
    }
    let script = "truncate -s 120M disk; mkfs.btrfs -q disk; printf 'label: dos\n2048,8M,L\n' | sfdisk -q --wipe never disk
        dd if=raw of=disk bs=1M seek=1 conv=notrunc status=none";
    as_root(&project, script);
    assert_snapshot!(short(&project, &["cat", "disk", "etc/motd"]), @"hello");
}

#[test]
fn what_is_no_disk_and_no_tar_is_told() {
    let Some(project) = disks() else { return };
    project.write("zeros", vec![0; 1 << 20]);
    project.write("few-zeros", vec![0; 10240]);
    let mut disc = vec![0; 1 << 20];
    disc[32_769..32_774].copy_from_slice(b"CD001");
    project.write("disc.iso", disc);
    as_root(&project, "gzip -k raw; head -c 4M raw >cut");
    let names = ["zeros", "few-zeros", "disc.iso", "raw.gz", "cut"];
    let told: Vec<String> = names.iter().map(|name| short(&project, &["ls", name])).collect();
    assert_snapshot!(told.concat(), @"
    imgbuild: error: `HERE/zeros` begins with zeros: it is no tar, and no disk that can be looked into [tar/refused]
      help: this command reads tar files, disks and folders; an output of another kind is looked at by its target's name
    imgbuild: error: `disc.iso` is ISO 9660, which is not looked into [look/kind]
      help: this command reads tar files, disks and folders; an output of another kind is looked at by its target's name
    imgbuild: error: `HERE/raw.gz` begins with zeros: it is no tar, and no disk that can be looked into [tar/refused]
      help: this command reads tar files, disks and folders; an output of another kind is looked at by its target's name
    imgbuild: error: cannot read the ext4 in `HERE/cut`: it ends too early: a part of it is missing [look/damaged]
    ");
}

#[test]
fn folders_and_files_that_go_round_end() {
    let Some(project) = disks() else { return };
    let lacks = ["debugfs", "mkfs.fat"].into_iter().find(|name| resolve_program(name, PATH).is_none());
    if let Some(lacks) = lacks {
        return skipped(lacks);
    }
    project.write("requests", "mkdir a\nmkdir a/b\nln a a/b/c\nln a/b twice\n");
    as_root(&project, "cp raw round; debugfs -w -f requests round");
    let began = Instant::now();
    assert_snapshot!(short(&project, &["ls", "round"]), @"imgbuild: error: cannot read the ext4 in `HERE/round`: a folder is at two places [look/damaged]");
    // A file of 4 GiB whose two clusters follow each other.
    as_root(&project, "truncate -s 2M fat; mkfs.fat -F 12 -s 1 -R 1 fat");
    let mut fat = fs::read(project.path("fat")).unwrap();
    let per_table = usize::from(fat[22]);
    let (table, root) = (512, 512 * (1 + 2 * per_table));
    // 10 leads to 11, and 11 to 10, in 12 bits each.
    fat[table + 15..table + 18].copy_from_slice(&[0x0b, 0xa0, 0x00]);
    fat[root..root + 12].copy_from_slice(b"ROUND   BIN\0");
    fat[root + 26..root + 32].copy_from_slice(&[10, 0, 0xff, 0xff, 0xff, 0xff]);
    project.write("fat", fat);
    assert_snapshot!(short(&project, &["cat", "fat", "ROUND.BIN"]), @"imgbuild: error: cannot read `fat`: the clusters of a file lead nowhere [io/failed]");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
