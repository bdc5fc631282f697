//! File systems that mkfs.xfs(8) made, Linux wrote to, and xfs_db(8) changed, read and compared with what Linux tells.

mod compare;
mod content;
mod machine;
mod mutation;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use compare::{find, same};
use machine::{Disk, run, tool};

use crate::filesystems::InodeKind;

/// What somebody does who copies a system to a disk, and looks into the disk later.
fn filled(options: &str, fill: impl Fn(&Path)) {
    let Some(disk) = Disk::made(options) else { return };
    let Some(()) = disk.mounted(|root| fill(root)) else { return };
    let system = disk.open();
    assert_eq!(system.waiting(), None, "{options}");
    let compared =
        disk.mounted(|root| same(system.as_ref(), root, options)).expect("a disk that can be mounted");
    assert!(compared > 1, "{options}: only {compared} files were compared");
}

#[test]
fn what_is_copied_to_a_new_disk_is_told_as_linux_does() {
    filled("-i nrext64=1 -m rmapbt=1", content::everything);
}

#[test]
fn a_disk_without_what_is_new_is_told_as_linux_does() {
    filled("-m bigtime=0,reflink=0,finobt=0,inobtcount=0 -i sparse=0,nrext64=0", content::everything);
}

#[test]
fn small_blocks_and_large_inodes_are_read() {
    filled("-b size=1024 -i size=512,nrext64=1 -n size=8192", content::everything);
    filled("-b size=2048 -i size=1024 -n size=4096 -s size=2048", content::everything);
}

#[test]
fn large_blocks_of_folders_are_read() {
    filled("-i size=2048 -n size=65536 -s size=4096", content::everything);
}

#[test]
fn large_blocks_are_read_where_linux_mounts_them() {
    filled("-b size=65536 -l size=128m", content::everything);
}

#[test]
fn a_folder_of_50_000_names_is_read() {
    filled("", |root| content::folder(&root.join("many"), 50_000));
}

#[test]
fn a_disk_that_got_another_uuid_is_read() {
    let Some(disk) = Disk::made("") else { return };
    let Some(()) = disk.mounted(content::everything) else { return };
    let Some(admin) = tool("xfs_admin") else { return };
    let uuid = "01234567-89ab-4def-8123-456789abcdef";
    run(&admin, &["-U", uuid, disk.image()]);
    let system = disk.open();
    assert_eq!(system.uuid(), uuid);
    disk.mounted(|root| same(system.as_ref(), root, "another UUID")).expect("a disk that can be mounted");
}

#[test]
fn what_waits_in_the_log_is_said_and_mounting_writes_it_back() {
    let Some(disk) = Disk::made("") else { return };
    assert_eq!(disk.open().waiting(), None, "a new disk");
    let pulled = disk.mounted(|root| {
        let mut file = File::create(root.join("file")).expect("a file");
        file.write_all(b"content").and_then(|()| file.sync_all()).expect("a file");
        run(
            &tool("xfs_io").expect("xfs_io comes with mkfs.xfs"),
            &["-x", "-c", "shutdown -f", &root.to_string_lossy()],
        );
    });
    let Some(()) = pulled else { return };
    assert_eq!(disk.open().waiting().expect("something waits").place, "its log");
    disk.mounted(|_| ()).expect("a disk that can be mounted");
    let system = disk.open();
    assert_eq!(system.waiting(), None, "written back");
    assert_eq!(
        find(system.as_ref(), "file").map(|number| text(system.as_ref(), number)),
        Some("content".into())
    );
}

#[test]
fn a_log_that_was_gone_round_is_read() {
    let Some(disk) = Disk::made("-d size=64m -l size=6m") else { return };
    for _ in 0..6 {
        let written = disk.mounted(|root| {
            content::folder(&root.join("many"), 6_000);
            fs::remove_dir_all(root.join("many")).expect("removed");
        });
        if written.is_none() {
            return;
        }
        assert_eq!(disk.open().waiting(), None);
    }
}

#[test]
fn version_4_is_read() {
    for options in [
        "-m crc=0 -n ftype=0",
        "-m crc=0 -n ftype=1 -i size=256",
        "-m crc=0 -b size=512 -i size=256 -n size=4096",
        "-m crc=0 -b size=1024 -i size=512",
        "-m crc=0 -b size=65536 -i size=2048",
        "",
    ] {
        prototype(options);
    }
}

/// A disk with a folder's content, made without mounting it, and with attributes by xfs_db(8).
fn prototype_of(options: &str, names: usize) -> Option<Disk> {
    let source = tempfile::tempdir().expect("a folder");
    let file = source.path().join("file");
    fs::write(&file, vec![7; 300_000]).expect("a file");
    let (file, target) = (file.display(), target(options));
    let mut listed = format!(
        "/dev/null\n0 0\nd--755 3 4\nfile -u-640 70000 5 {file}\nlink l--777 0 0 {target}\nshort l--777 0 0 to\n\
         block b--600 0 0 259 70000\ncharacter c--600 0 0 1 3\nfifo p--600 0 0\nempty d--700 0 0\n$\nmany d-g755 1 2\n"
    );
    (0..names).for_each(|number| listed += &format!("name-{number} ---644 0 0 /dev/null\n"));
    listed += "$\n$\n";
    let list = source.path().join("prototype");
    fs::write(&list, listed).expect("a list");
    let disk = Disk::made(&format!("{options} -p {}", list.display()))?;
    disk.attributes(find(disk.open().as_ref(), "file").expect("a file"))?;
    Some(disk)
}

/// A target that has a block of its own; in version 5, where mkfs.xfs(8) 6.1 writes what Linux does not read, one that has
/// none.
fn target(options: &str) -> String {
    "t".repeat(if options.contains("crc=0") { 1_000 } else { 300 })
}

/// The same is told, whatever it was made with.
fn prototype(options: &str) {
    const NAMES: usize = 3_000;
    let Some(disk) = prototype_of(options, NAMES) else { return };
    let system = disk.open();
    let told = |path: &str| system.inode(find(system.as_ref(), path).expect(path)).expect(path);
    let kinds = ["block", "character", "fifo", "empty", "short"].map(|path| told(path).kind);
    let device = [InodeKind::Block(259, 70_000), InodeKind::Character(1, 3)];
    assert_eq!(kinds[..2], device, "{options}");
    assert_eq!(kinds[2..], [InodeKind::Fifo, InodeKind::Directory, InodeKind::Symlink], "{options}");
    let inode = told("file");
    let owned = (inode.mode, inode.uid, inode.gid, inode.size, inode.links);
    assert_eq!(owned, (0o4640, 70_000, 5, 300_000, 1), "{options}");
    assert_eq!((told("many").mode, told("many").links), (0o2755, 2), "{options}");
    let number = |path: &str| find(system.as_ref(), path).expect(path);
    let mut read = Vec::new();
    system.content(number("file")).expect("content").read_to_end(&mut read).expect("content");
    assert!(read == [7; 300_000], "{options}");
    assert_eq!(text(system.as_ref(), number("link")), target(options), "{options}");
    assert_eq!(text(system.as_ref(), number("short")), "to", "{options}");
    let mut names = system.names(number("many")).expect("names");
    names.sort();
    let mut expected: Vec<Vec<u8>> = (0..NAMES).map(|number| format!("name-{number}").into_bytes()).collect();
    expected.sort();
    assert!(names.iter().map(|(name, _)| name).eq(&expected), "{options}: {} names", names.len());
    assert!(system.xattrs(number("file")).expect("attributes") == machine::attributes(), "{options}");
}

fn text(system: &dyn crate::filesystems::FileSystem, number: u64) -> String {
    let mut text = String::new();
    system.content(number).expect("content").read_to_string(&mut text).expect("a text");
    text
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let Some(disk) = Disk::made("") else { return };
    // Where bits of features are that a reader has to know, and whether mkfs.xfs(8) is done.
    for (at, bits, name) in [
        (218, 1, "metadir"),
        (218, 2, "zoned"),
        (218, 0x40, "features that imgbuild does not know (bits 0x4000)"),
        (219, 0x10, "xfs_repair(8)"),
        (126, 1, "mkfs.xfs(8) has not finished"),
    ] {
        let refused = disk.with_superblock(at, bits, |file| machine::open(file).err().expect(name));
        assert!(refused.to_string().contains(name), "{refused}");
        assert_eq!(refused.kind(), std::io::ErrorKind::Unsupported, "{refused}");
    }
    assert!(machine::open(File::open(disk.image()).expect("a disk")).is_ok(), "it is as it was");
}

#[test]
fn a_file_that_is_on_another_disk_is_refused_by_name() {
    let Some(disk) = Disk::made("") else { return };
    let Some(()) = disk.mounted(|root| fs::write(root.join("file"), "content").expect("a file")) else {
        return;
    };
    let number = find(disk.open().as_ref(), "file").expect("a file");
    if disk.change(&[&format!("inode {number}"), "write core.realtime 1"]).is_none() {
        return;
    }
    let system = disk.open();
    assert_eq!(system.inode(number).expect("an inode").size, 7);
    let refused = system.content(number).err().expect("it is not here");
    assert!(refused.to_string().contains("real-time"), "{refused}");
}
