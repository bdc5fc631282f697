//! Journals that wait: the power of a machine went, and nobody has mounted its disk since.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::made::{Image, differences, run, seen, skipped};
use crate::filesystems::ext4::Ext4;
use crate::filesystems::ext4::journal::Replayed;
use crate::filesystems::{Part, Waiting};

/// What a file system is made with, and mounted with.
const JOURNALS: [(&str, &str); 9] = [
    ("-t ext4 -b 4096", "data=ordered"),
    ("-t ext4 -b 4096", "data=journal"),
    ("-t ext4 -b 1024", "data=journal"),
    ("-t ext4 -O ^64bit", "data=ordered"),
    ("-t ext4 -b 4096 -O ^metadata_csum,64bit", "data=journal"),
    ("-t ext4 -O ^metadata_csum,^64bit", "data=ordered"),
    ("-t ext4 -b 4096 -O ^metadata_csum", "data=ordered,journal_checksum"),
    ("-t ext4 -O ^metadata_csum", "data=writeback,journal_async_commit"),
    ("-t ext3 -b 1024", "data=journal"),
];

#[test]
fn what_waits_in_a_journal_is_told_as_the_kernel_would_write_it_back() {
    for (arguments, options) in JOURNALS {
        let words: Vec<&str> = arguments.split(' ').chain(["-J", "size=8"]).collect();
        let Some(image) = Image::made(48 << 20, &words) else { return };
        let Some(mounted) = image.mounted(options) else { return };
        work(&mounted.0);
        let cut = image.copied();
        drop(mounted);
        let replayed = replayed(&cut);
        assert!(replayed.copied.len() > 10, "{arguments} {options}: {}", replayed.copied.len());
        assert!(!replayed.has_fast);
        let told = cut.told();
        assert_eq!(cut.opened().unwrap().waiting(), None);

        // The kernel's way, and that of e2fsck(8).
        let (mounted, checked) = (cut.copied(), cut.copied());
        let Some(kernel) = mounted.mounted("rw") else { return };
        let expected = seen(&kernel.0);
        drop(kernel);
        assert!(told == expected, "{arguments} {options}: {:#?}", differences(&told, &expected));
        let path = checked.path.to_str().unwrap();
        let Some(_) = run("e2fsck", &["-E", "journal_only", "-y", path]) else { return };
        assert!(checked.told() == told, "{arguments} {options}: {:#?}", differences(&told, &checked.told()));
    }
}

/// What is in a journal.
fn replayed(image: &Image) -> Replayed {
    let file = File::open(&image.path).unwrap();
    let size = file.metadata().unwrap().len();
    Ext4::load(Part::new(file, 0, size)).unwrap().replayed().unwrap()
}

/// Leaves something of all kinds in the journal of what is mounted there: new, changed, revoked, not whole.
fn work(root: &Path) {
    let synced = || {
        let folder = File::open(root).unwrap();
        rustix::fs::syncfs(&folder).unwrap();
    };
    let many = root.join("many");
    fs::create_dir(&many).unwrap();
    for number in 0..400 {
        fs::write(many.join(format!("{number}-{}", "x".repeat(100))), "before").unwrap();
    }
    synced();
    // Blocks of this folder become those of a file, which is not to be what the journal has of the folder.
    fs::remove_dir_all(&many).unwrap();
    synced();
    fs::write(root.join("first"), vec![b'a'; 20 << 20]).unwrap();
    synced();
    // What a journal must not take for its own: its magic number.
    let escaped = [&0xc03b_3998_u32.to_be_bytes(), &[7; 1020][..]].concat().repeat(40);
    fs::write(root.join("escaped"), &escaped).unwrap();
    fs::write(root.join("changed"), "before").unwrap();
    synced();
    fs::write(root.join("changed"), "after").unwrap();
    fs::create_dir(root.join("folder")).unwrap();
    for number in 0..100 {
        fs::hard_link(root.join("changed"), root.join(format!("folder/{number}"))).unwrap();
    }
    synced();
    fs::write(root.join("not written"), "yet").unwrap();
}

#[test]
fn a_transaction_that_is_not_whole_is_none() {
    let Some(image) = Image::made(32 << 20, &["-t", "ext4", "-b", "4096"]) else { return };
    let Some(mounted) = image.mounted("data=ordered") else { return };
    work_in_steps(&mounted.0);
    let cut = image.copied();
    drop(mounted);
    let bytes = fs::read(&cut.path).unwrap();
    let commits: Vec<usize> = (0..bytes.len())
        .step_by(4096)
        .filter(|at| bytes[*at..].starts_with(&[0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 2]))
        .collect();
    let told = |image: &Image| {
        let system = image.opened().unwrap();
        let mut names: Vec<Vec<u8>> =
            system.names(system.root()).unwrap().into_iter().map(|(name, _)| name).collect();
        names.retain(|name| name.starts_with(b"step"));
        names.len()
    };
    assert_eq!(told(&cut), 5);
    let mut left: Vec<usize> = commits
        .iter()
        .map(|at| {
            let broken = cut.copied();
            // Where the seconds of its time stand.
            OpenOptions::new()
                .write(true)
                .open(&broken.path)
                .unwrap()
                .write_all_at(&[0xff; 8], *at as u64 + 48)
                .unwrap();
            told(&broken)
        })
        .collect();
    // A kernel may commit once more, of its own accord.
    left.retain(|names| *names < 5);
    left.dedup();
    assert!(left.ends_with(&[1, 2, 3, 4]), "{left:?} of {commits:?}");
}

fn work_in_steps(root: &Path) {
    for number in 0..5 {
        fs::write(root.join(format!("step {number}")), vec![number; 5000]).unwrap();
        rustix::fs::syncfs(File::open(root).unwrap()).unwrap();
    }
}

#[test]
fn a_block_of_a_journal_that_is_damaged_is_told() {
    let Some(image) = Image::made(32 << 20, &["-t", "ext4", "-b", "4096"]) else { return };
    let Some(mounted) = image.mounted("data=ordered") else { return };
    fs::write(mounted.0.join("needle"), "x").unwrap();
    rustix::fs::syncfs(File::open(&mounted.0).unwrap()).unwrap();
    let cut = image.copied();
    drop(mounted);
    assert!(cut.told().contains_key(b"/needle".as_slice()));
    let mut bytes = fs::read(&cut.path).unwrap();
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"needle")).collect();
    // Where it is to be, and where it waits.
    places.into_iter().for_each(|at| bytes[at] = b'N');
    fs::write(&cut.path, bytes).unwrap();
    let told = cut.opened().err().map(|error| error.to_string());
    assert_eq!(told.as_deref(), Some("a block in its journal has another checksum"));
}

#[test]
fn fast_commits_are_told_to_wait() {
    let Some(image) = Image::made(48 << 20, &["-t", "ext4", "-O", "fast_commit"]) else { return };
    let Some(mounted) = image.mounted("rw") else { return };
    let file = File::create(mounted.0.join("file")).unwrap();
    file.write_all_at(b"first", 0).unwrap();
    rustix::fs::syncfs(&file).unwrap();
    let before = image.copied();
    file.write_all_at(b"second", 10_000).unwrap();
    file.sync_all().unwrap();
    let after = image.copied();
    drop((file, mounted));
    assert_eq!(before.opened().unwrap().waiting(), None);
    if !has_fast_commits(&after) {
        return skipped("a kernel that makes fast commits");
    }
    let waiting = Waiting { place: "its fast commits", way_out: "run `e2fsck -p`" };
    assert_eq!(after.opened().unwrap().waiting(), Some(waiting));
    let Some(_) = run("e2fsck", &["-E", "journal_only", "-y", after.path.to_str().unwrap()]) else { return };
    assert_eq!(after.opened().unwrap().waiting(), None);
}

/// Whether a block begins with what begins fast commits: the tag, its length, no features.
fn has_fast_commits(image: &Image) -> bool {
    let bytes = fs::read(&image.path).unwrap();
    bytes.chunks(1024).any(|block| block.starts_with(&[9, 0, 8, 0, 0, 0, 0, 0]))
}

#[test]
fn a_journal_elsewhere_is_refused_only_if_it_waits() {
    let Some(journal) = Image::made(8 << 20, &["-O", "journal_dev", "-b", "4096"]) else { return };
    let told = journal.opened().err().map(|error| error.to_string());
    assert_eq!(told.as_deref(), Some("it is the journal of another file system"));
    let Some(image) = Image::made(32 << 20, &["-t", "ext4", "-O", "^has_journal,^metadata_csum"]) else {
        return;
    };
    let set = |field: &str| image.debugfs(&format!("set_super_value {field}"));
    let Some(_) = set("feature_compat 0x3c") else { return };
    set("journal_dev 0x801");
    assert!(image.opened().is_ok());
    set("feature_incompat 0x2c6");
    let told = image.opened().err().map(|error| error.to_string());
    assert!(told.as_deref().is_some_and(|told| told.contains("which is on another disk")), "{told:?}");
}
