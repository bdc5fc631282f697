//! btrfs as Linux and mkfs.btrfs(8) write it, compared with what the kernel shows; and as nobody should.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod damaged;
mod tree;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::lacking::skipped;
use super::super::{FileSystem, InodeKind, Part, Waiting, open};
use tree::{All, differences, fill, fill_packed, of_kernel, of_reader};

/// Where Debian has tools.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn skip<T>(lack: &str) -> Option<T> {
    skipped(lack);
    None
}

fn output(line: &str, folder: &Path) -> Result<String, String> {
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let mut command = Command::new(words.next().unwrap());
    let done = command.args(words).current_dir(folder).env("PATH", PATH).output().unwrap();
    if !done.status.success() {
        return Err(format!("{line}: {}", String::from_utf8_lossy(&done.stderr)));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Runs a tool that has to succeed.
fn run(line: &str, folder: &Path) -> String {
    output(line, folder).unwrap()
}

/// A file system in a file.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// Made with `mkfs.btrfs LINE`; none where there is no such tool.
    fn made(size: &str, line: &str) -> Option<Disk> {
        if !PATH.split(':').any(|folder| Path::new(folder).join("mkfs.btrfs").exists()) {
            return skip("mkfs.btrfs");
        }
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("mnt")).unwrap();
        run(&format!("truncate -s {size} disk"), folder.path());
        run(&format!("mkfs.btrfs -q {line} disk"), folder.path());
        Some(Disk { folder })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Mounts it, lets `work` be done there, and unmounts it. None where this process cannot.
    fn mounted<T>(&self, options: &str, work: impl FnOnce(&Path) -> T) -> Option<T> {
        if let Err(why) = output(&format!("mount -t btrfs -o loop{options} disk mnt"), self.folder.path()) {
            return skip(&format!("root, loop devices, or a kernel with btrfs ({})", why.trim()));
        }
        let unmount = Unmount(self.folder.path());
        let done = work(&self.folder.path().join("mnt"));
        drop(unmount);
        Some(done)
    }

    fn open(&self) -> io::Result<Box<dyn FileSystem>> {
        let file = File::open(self.path())?;
        let size = file.metadata()?.len();
        Ok(open("btrfs", Part::new(file, 0, size))?.unwrap())
    }

    fn read(&self) -> All {
        of_reader(self.open().unwrap().as_ref()).unwrap()
    }
}

struct Unmount<'f>(&'f Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        // Another process can have a copy of the mount: then nothing is written because of its end here.
        run("sync -f mnt", self.0);
        run("umount mnt", self.0);
    }
}

/// What is read is what the kernel shows, after `work` was done in the file system.
fn check(size: &str, line: &str, options: &str, work: impl FnOnce(&Path)) -> Option<Disk> {
    let disk = Disk::made(size, line)?;
    disk.mounted(options, work)?;
    // Mounted again, so that all is as it was written.
    let expected = disk.mounted(",ro", of_kernel)?;
    assert!(expected.len() > 10, "{}", expected.len());
    let told = differences(&disk.read(), &expected);
    assert!(told.is_empty(), "{line} {options}: {told:#?}");
    assert_eq!(disk.open().unwrap().waiting(), None);
    Some(disk)
}

#[test]
fn every_layout_is_read_as_the_kernel_shows_it() {
    let ways = [
        ("", ""),
        // Debian 9's, and older ones.
        ("-m single -O ^no-holes -R ^free-space-tree", ",space_cache=v1"),
        ("-O ^no-holes,^skinny-metadata,^extref -R ^free-space-tree", ",max_inline=0"),
        ("-n 4096 -m single -d single", ""),
        ("-n 65536 -d dup", ""),
        ("-M", ""),
        ("-R quota", ",noatime"),
        ("--csum xxhash -n 32768", ""),
        ("--csum sha256", ",max_inline=4095"),
        ("--csum blake2", ""),
        ("", ",nodatasum"),
    ];
    for (line, options) in ways {
        let Some(disk) = check("300M", &format!("-L label {line}"), options, fill) else { return };
        let system = disk.open().unwrap();
        assert_eq!(system.label(), "label");
        let known = run("blkid -p -o value -s UUID disk", disk.folder.path());
        assert_eq!(system.uuid(), known.trim());
    }
}

#[test]
fn packed_content_is_unpacked() {
    for packing in ["zlib", "lzo", "zstd"] {
        let work = |root: &Path| {
            fill(root);
            fill_packed(root);
        };
        let options = format!(",compress-force={packing}");
        let Some(disk) = check("300M", "", &options, work) else { return };
        let tree = run("btrfs inspect-internal dump-tree -t 5 disk", disk.folder.path());
        let number = ["none", "zlib", "lzo", "zstd"].iter().position(|name| *name == packing).unwrap();
        let told = format!("extent compression {number} ");
        assert!(tree.matches(&told).count() > 20, "{packing}");
        // In the tree itself, too.
        assert!(tree.contains(&format!("compression {number} ({packing})")), "{packing}");
    }
}

/// Subvolumes in each other, one that is gone, one that was moved, and what snapshots have of these.
fn fill_subvolumes(root: &Path) {
    for line in [
        "create @",
        "create @/inner",
        "create @/inner/deep",
        "create @/gone",
        "snapshot @ snapshot",
        "snapshot -r @/inner @/read-only",
    ] {
        run(&format!("btrfs -q subvolume {line}"), root);
    }
    for number in 0..20 {
        fs::write(root.join(format!("@/inner/file {number}")), format!("{number}")).unwrap();
    }
    fs::write(root.join("@/inner/deep/file"), "deep").unwrap();
    fs::write(root.join("@/etc"), "etc").unwrap();
    run("btrfs -q subvolume delete @/gone", root);
    run("mv @/inner/deep @/moved", root);
}

/// What is told of subvolumes, after that was found to be what the kernel shows.
fn told_of_subvolumes(disk: &Disk) -> All {
    let mut expected = disk.mounted(",ro", of_kernel).expect("it was mounted before");
    let mut found = disk.read();
    // In snapshots the kernel makes the inner ones up when they are looked at, all with one number.
    for path in ["/snapshot/inner", "/snapshot/gone", "/@/read-only/deep", "/read-only/deep"] {
        let (Some(found), Some(expected)) = (found.get_mut(path), expected.get_mut(path)) else { continue };
        expected.inode.mtime = found.inode.mtime;
        (expected.first, found.first) = (String::new(), String::new());
    }
    let told = differences(&found, &expected);
    assert!(told.is_empty(), "{told:#?}");
    found
}

#[test]
fn subvolumes_are_in_each_other_and_the_default_one_is_told() {
    let Some(disk) = Disk::made("300M", "") else { return };
    let Some(()) = disk.mounted("", fill_subvolumes) else { return };
    let found = told_of_subvolumes(&disk);
    for path in ["/@/moved/file", "/@/inner/file 3", "/snapshot/inner", "/snapshot/gone"] {
        assert!(found.contains_key(path), "{path}");
    }
    disk.mounted("", |root| run("btrfs subvolume set-default @", root));
    let found = told_of_subvolumes(&disk);
    assert!(found.contains_key("/etc") && !found.contains_key("/@"), "{:?}", found.keys());
}

#[test]
fn what_waits_in_the_log_is_told() {
    let Some(disk) = Disk::made("300M", "") else { return };
    let copied = disk.mounted(",commit=300", |root| {
        fs::write(root.join("before"), "before").unwrap();
        run("sync -f .", root);
        let file = File::create(root.join("file")).unwrap();
        file.sync_all().unwrap();
        run("cp --sparse=always disk waiting", disk.folder.path());
    });
    let Some(()) = copied else { return };
    assert_eq!(disk.open().unwrap().waiting(), None);
    run("mv waiting disk", disk.folder.path());
    let waiting = disk.open().unwrap().waiting().unwrap();
    assert_eq!(waiting, Waiting { place: "its log", way_out: "mount it once, and unmount it" });
    assert_eq!(disk.read().keys().collect::<Vec<_>>(), ["", "/before"]);
}

#[test]
fn a_changed_uuid_is_told_and_nodes_with_the_first_one_are_read() {
    let Some(disk) = check("300M", "", "", fill) else { return };
    let before = disk.read();
    const UUID: &str = "01234567-89ab-4def-8123-456789abcdef";
    run(&format!("btrfstune -M {UUID} disk"), disk.folder.path());
    assert_eq!(disk.open().unwrap().uuid(), UUID);
    let told = differences(&disk.read(), &before);
    assert!(told.is_empty(), "{told:#?}");
}

/// What is of a size that not every kernel mounts.
#[test]
fn what_mkfs_fills_is_what_the_folder_has() {
    for line in ["", "-s 8192", "-s 16384 -n 32768", "-s 65536"] {
        let Some(disk) = Disk::made("300M", "") else { return };
        let folder = disk.folder.path();
        fs::create_dir_all(folder.join("tree/deep/er")).unwrap();
        for size in [0, 1, 3000, 5000, 20_000, 70_000, 3_000_000] {
            let content: Vec<u8> =
                (0..size).map(|number: u32| (number.wrapping_mul(number) >> 7) as u8).collect();
            fs::write(folder.join(format!("tree/deep/{size}")), content).unwrap();
        }
        std::os::unix::fs::symlink("../deep", folder.join("tree/deep/er/link")).unwrap();
        run(&format!("mkfs.btrfs -q -f {line} --rootdir tree disk"), folder);
        let (mut found, mut expected) = (disk.read(), of_kernel(&folder.join("tree")));
        for told in found.values_mut().chain(expected.values_mut()) {
            // Directories of file systems count their sizes and their links in ways of their own.
            if told.inode.kind == InodeKind::Directory {
                (told.inode.size, told.inode.links) = (0, 0);
            }
        }
        // mkfs.btrfs 6.2 leaves the root the time at which it made it.
        expected.get_mut("").unwrap().inode.mtime = found[""].inode.mtime;
        let told = differences(&found, &expected);
        assert!(told.is_empty(), "{line}: {told:#?}");
    }
}

#[test]
fn folders_of_many_names_are_read() {
    const COUNT: usize = 50_000;
    let work = |root: &Path| {
        for number in 0..COUNT {
            File::create(root.join(format!("{number}"))).unwrap();
        }
    };
    let Some(disk) = check("300M", "", "", work) else { return };
    let system = disk.open().unwrap();
    assert_eq!(system.names(system.root()).unwrap().len(), COUNT);
}

#[test]
fn what_is_longer_than_the_disk_is_read_as_it_comes() {
    let work = |root: &Path| fill(root);
    let Some(disk) = check("300M", "", "", work) else { return };
    let system = disk.open().unwrap();
    let number = |folder, wanted: &[u8]| {
        let names = system.names(folder).unwrap();
        names.into_iter().find(|(name, _)| name == wanted).unwrap().1
    };
    let sparse = number(number(system.root(), b"extents"), b"sparse");
    assert_eq!(system.inode(sparse).unwrap().size, (1 << 40) + 3);
    let mut start = Vec::new();
    system.content(sparse).unwrap().take((1 << 16) + 6).read_to_end(&mut start).unwrap();
    assert!(start.ends_with(b"\0begin\0") && start.len() == (1 << 16) + 6);
}
