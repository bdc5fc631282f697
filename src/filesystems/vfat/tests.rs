//! FAT as mkfs.fat(8) and mtools write it, and as nobody should.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::lacking::skipped;
use super::super::table::{partitions, system};
use super::super::{FileSystem, InodeKind, Part, open};

/// Where Debian has tools.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn has(program: &str) -> bool {
    let found = PATH.split(':').any(|folder| Path::new(folder).join(program).exists());
    if !found {
        skipped(program);
    }
    found
}

#[allow(clippy::disallowed_methods, reason = "the tools of the format are what is compared with")]
fn tool(folder: &Path, line: &str) {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap());
    let done = command.args(words).current_dir(folder).env("PATH", PATH).env("TZ", "UTC").output().unwrap();
    assert!(done.status.success(), "{line}: {done:?}");
}

/// Everything below a folder: kind, mode, time and content by path.
type All = BTreeMap<String, (InodeKind, u32, i64, Vec<u8>)>;

fn all(system: &dyn FileSystem, folder: u64, at: &str, into: &mut All) -> std::io::Result<()> {
    // What is damaged may have folders in themselves.
    if at.len() > 200 || into.len() > 10_000 {
        return Ok(());
    }
    for (name, number) in system.names(folder)? {
        let path = format!("{at}/{}", String::from_utf8_lossy(&name));
        let (inode, mut content) = (system.inode(number)?, Vec::new());
        match inode.kind {
            InodeKind::Directory => all(system, number, &path, into)?,
            _ => drop(system.content(number)?.take(1 << 20).read_to_end(&mut content)?),
        }
        into.insert(path, (inode.kind, inode.mode, inode.mtime, content));
    }
    Ok(())
}

fn read(path: &Path) -> std::io::Result<All> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let (mut found, system) = (All::new(), open("vfat", Part::new(file, 0, size))?.unwrap());
    all(system.as_ref(), system.root(), "", &mut found)?;
    Ok(found)
}

/// Names that a short one is, that have small letters in one half, and that have none of it.
const NAMES: [&str; 7] = [
    "SHORT.TXT",
    "small.txt",
    "Mixed.Txt",
    "a long name, with an ending.conf",
    "übergrößenträger-Ж-漢字.bin",
    "thirteen-long",
    ".hidden",
];

#[test]
fn what_mtools_wrote_is_read_in_every_size() {
    if !has("mkfs.fat") || !has("mcopy") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    let mut random = StdRng::seed_from_u64(1);
    let mut expected = All::new();
    let mut put = |path: String, content: Vec<u8>| {
        fs::write(tree.join(&path), &content).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
        File::options().write(true).open(tree.join(&path)).unwrap().set_modified(time).unwrap();
        expected.insert(format!("/{path}"), (InodeKind::Regular, 0o644, 1_600_000_000, content));
    };
    for (number, name) in NAMES.into_iter().enumerate() {
        let content = (0..number * 7001).map(|_| random.r#gen()).collect();
        put(format!("deep/er/{name}"), content);
    }
    // More than one cluster of names.
    for number in 0..300 {
        put(format!("deep/file number {number}"), Vec::new());
    }
    let ways = [
        ("1M", "-F 12 -s 1"),
        ("4M", "-F 12 -s 8"),
        ("24M", "-F 16 -s 1"),
        ("48M", "-F 16 -s 8"),
        ("48M", "-F 32 -s 1"),
        ("600M", "-F 32 -s 1 -S 4096"),
    ];
    for (size, line) in ways {
        tool(folder.path(), "truncate -s 0 disk");
        tool(folder.path(), &format!("truncate -s {size} disk"));
        tool(folder.path(), &format!("mkfs.fat {line} -i 1234ABCD -n LABELLED disk"));
        tool(folder.path(), "mcopy -s -m -i disk tree/deep ::/");
        // What was removed leaves its place, and clusters apart.
        tool(folder.path(), "mdel -i disk ::/deep/er/SHORT.TXT");
        tool(folder.path(), "mcopy -m -i disk tree/deep/er/SHORT.TXT ::/deep/er/SHORT.TXT");
        let mut found = read(&folder.path().join("disk")).unwrap();
        found.retain(|_, (kind, ..)| *kind != InodeKind::Directory);
        assert!(found == expected, "{line}: {:?}", found.keys());
        let file = File::open(folder.path().join("disk")).unwrap();
        assert_eq!(system(&file, 0), Some("vfat"), "{line}");
        assert_eq!(partitions(&file).unwrap().unwrap().len(), 1, "{line}");
        let size = file.metadata().unwrap().len();
        let vfat = open("vfat", Part::new(file, 0, size)).unwrap().unwrap();
        assert_eq!((vfat.uuid(), vfat.label()), ("1234-ABCD".into(), "LABELLED".into()), "{line}");
    }
}

#[test]
fn what_nobody_should_write_ends() {
    if !has("mkfs.fat") || !has("mcopy") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("a/b/c")).unwrap();
    for name in NAMES {
        fs::write(tree.join("a/b").join(name), vec![1; 3000]).unwrap();
    }
    let mut random = StdRng::seed_from_u64(2);
    for (bits, sectors) in [(12, 120), (16, 9000), (32, 67_000)] {
        let disk = folder.path().join("disk");
        fs::write(&disk, vec![0; sectors * 512]).unwrap();
        tool(folder.path(), &format!("mkfs.fat -F {bits} -s 1 disk"));
        tool(folder.path(), "mcopy -s -i disk tree/a ::/");
        let whole = fs::read(&disk).unwrap();
        assert_eq!(read(&disk).unwrap().len(), 3 + NAMES.len());
        let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0 || at % 512 < 8).collect();
        let file = File::options().write(true).open(&disk).unwrap();
        for _ in 0..1000 {
            let odd: Vec<usize> =
                (0..random.gen_range(1..6)).map(|_| used[random.gen_range(0..used.len())]).collect();
            for at in &odd {
                file.write_all_at(&[random.r#gen()], *at as u64).unwrap();
            }
            // Whatever it says, it comes back.
            drop(read(&disk));
            for at in odd {
                file.write_all_at(&whole[at..=at], at as u64).unwrap();
            }
        }
    }
}
