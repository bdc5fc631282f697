//! Disks with damage. Whatever stands on one, it is told or refused, and soon; and where there are checksums, nothing is
//! told but what was there.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::machine::{Disk, open};
use super::{content, prototype_of};
use crate::filesystems::{FileSystem, InodeKind};

/// Small, and with small blocks: most of it is metadata, and folders and attributes have trees.
const SMALL: &str = "-d size=24m,agcount=1 -b size=1024";
/// Bytes that it has.
const SIZE: u64 = 24 << 20;
const SECTOR: usize = 512;

#[test]
fn damage_to_version_4_is_told_or_refused_in_time() {
    let Some(disk) = prototype_of(&format!("-m crc=0 {SMALL} -i size=256"), 150) else { return };
    Mutations::of(&disk).run(1, Sums::Kept);
}

#[test]
fn damage_that_checksums_do_not_show_is_told_or_refused_in_time() {
    let Some(disk) = prototype_of(SMALL, 150) else { return };
    Mutations::of(&disk).run(2, Sums::Made);
    let Some(disk) = mounted() else { return };
    Mutations::of(&disk).run(3, Sums::Made);
}

#[test]
fn damage_that_checksums_show_is_refused() {
    let Some(disk) = prototype_of(SMALL, 150) else { return };
    Mutations::of(&disk).run(4, Sums::Kept);
    let Some(disk) = mounted() else { return };
    Mutations::of(&disk).run(5, Sums::Kept);
}

/// A disk with what needs a Linux to be written: trees of extents, and attributes of every kind.
fn mounted() -> Option<Disk> {
    let disk = Disk::made(SMALL)?;
    disk.mounted(|root| {
        content::attributes(&root.join("attributes"), 60);
        content::special(&root.join("special"));
        content::folder(&root.join("folder"), 100);
        content::pieces(&root.join("pieces"), 300);
    })?;
    Some(disk)
}

/// What becomes of checksums where something is changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sums {
    /// They are left.
    Kept,
    /// They are made right again.
    Made,
}

struct Mutations {
    /// A copy, which is changed.
    file: File,
    _folder: tempfile::TempDir,
    /// Places of sectors that have something, but for the log.
    sectors: Vec<u64>,
    /// What all of it tells.
    told: u64,
}

impl Mutations {
    fn of(disk: &Disk) -> Mutations {
        const LOG_START: usize = 48;
        const LOG_BLOCKS: usize = 96;
        const BLOCK: u64 = 1024;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk");
        // The rest of the disk is a hole.
        let mut bytes = Vec::new();
        File::open(disk.image()).expect("a disk").take(SIZE).read_to_end(&mut bytes).expect("a disk");
        fs::write(&path, &bytes).expect("a copy");
        let number = |at: usize, length: usize| {
            bytes[at..at + length].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let log = number(LOG_START, 8) * BLOCK..(number(LOG_START, 8) + number(LOG_BLOCKS, 4)) * BLOCK;
        let sectors = (0u64..).step_by(SECTOR).zip(bytes.chunks(SECTOR));
        let used = sectors.filter(|(at, sector)| !log.contains(at) && sector.iter().any(|byte| *byte != 0));
        let sectors = used.map(|(at, _)| at).collect();
        let file = OpenOptions::new().read(true).write(true).open(&path).expect("a copy");
        let told = told(open(file.try_clone().expect("a disk")).expect("a file system").as_ref());
        Mutations { file, _folder: folder, sectors, told: told.expect("a disk without damage") }
    }

    /// Changes something, reads everything, and makes it as it was, again and again.
    fn run(&self, seed: u64, sums: Sums) {
        const LONGEST: Duration = Duration::from_secs(60);
        let mut random = StdRng::seed_from_u64(seed);
        let (mut refused, rounds) = (0, rounds());
        for round in 0..rounds {
            let changed: Vec<Piece> =
                (0..random.gen_range(1..4)).map(|_| self.change(&mut random, sums)).collect();
            let start = Instant::now();
            let file = self.file.try_clone().expect("a disk");
            let told = open(file).ok().and_then(|system| told(system.as_ref()));
            assert!(start.elapsed() < LONGEST, "round {round} of {seed} took {:?}", start.elapsed());
            changed.iter().rev().for_each(|piece| self.write(piece));
            refused += usize::from(told.is_none());
            let is_same = told.is_none_or(|told| told == self.told);
            assert!(
                is_same || !self.is_summed() || sums == Sums::Made,
                "round {round} of {seed} tells what is not"
            );
        }
        assert!(refused > rounds / 20, "{refused} of {rounds} were refused");
    }

    fn is_summed(&self) -> bool {
        self.read(0, SECTOR)[101] & 0xf == 5
    }

    /// Changes some bytes of a sector; what was there before.
    fn change(&self, random: &mut StdRng, sums: Sums) -> Piece {
        const INTERESTING: [u64; 8] = [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, u64::MAX, 1 << 63];
        const BLOCK: u64 = 1024;
        let at = *self.sectors.choose(random).expect("a sector");
        let block = at / BLOCK * BLOCK;
        let before = Piece { at: block, bytes: self.read(block, BLOCK as usize) };
        // Most of what counts is at the front.
        let most = if random.gen_bool(0.6) { 200 } else { SECTOR - 8 };
        let place = random.gen_range(0..most);
        let mut bytes = match random.gen_range(0..4) {
            0 => vec![self.read(at + place as u64, 1)[0] ^ 1 << random.gen_range(0..8)],
            1 => vec![random.r#gen()],
            2 => {
                let number = INTERESTING.choose(random).expect("a number").to_be_bytes();
                number[8 - [2, 4, 8].choose(random).expect("a length")..].to_vec()
            }
            _ => {
                let other = *self.sectors.choose(random).expect("a sector");
                self.read(other + place as u64, random.gen_range(1..SECTOR - place))
            }
        };
        bytes.truncate(SECTOR - place);
        self.write(&Piece { at: at + place as u64, bytes });
        if sums == Sums::Made {
            self.sum(block, BLOCK as usize);
        }
        before
    }

    /// Makes the checksums in a block right.
    fn sum(&self, block: u64, length: usize) {
        let mut bytes = self.read(block, length);
        // Where the sum is, and what it is of: each magic number is at its own place.
        let sum = match (&bytes[..4], &bytes[8..10]) {
            (b"XDB3" | b"XDD3", _) => Some((4, length)),
            (b"BMA3", _) => Some((64, length)),
            (b"XSLM" | b"XARM", _) => Some((12, length)),
            (b"XFSB", _) => Some((224, SECTOR)),
            (_, [0x3b, 0xee] | [0x3e, 0xbe]) => Some((12, length)),
            _ => None,
        };
        match sum {
            Some((at, of)) => summed(&mut bytes[..of], at),
            None => {
                let inodes = bytes.chunks_mut(SECTOR).filter(|inode| inode.starts_with(b"IN"));
                inodes.for_each(|inode| summed(inode, 100));
            }
        }
        self.write(&Piece { at: block, bytes });
    }

    fn read(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, at).expect("a disk");
        bytes
    }

    fn write(&self, piece: &Piece) {
        self.file.write_all_at(&piece.bytes, piece.at).expect("a disk");
    }
}

struct Piece {
    at: u64,
    bytes: Vec<u8>,
}

fn summed(bytes: &mut [u8], at: usize) {
    bytes[at..at + 4].fill(0);
    let sum = crc32c::crc32c(bytes).to_le_bytes();
    bytes[at..at + 4].copy_from_slice(&sum);
}

/// How many changes are tried: few, or as many as somebody asks for.
#[allow(clippy::disallowed_methods, reason = "a switch of the tests themselves")]
fn rounds() -> usize {
    const FEW: usize = 400;
    std::env::var("IMGBUILD_TESTS_MUTATIONS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(FEW)
}

/// All that it tells but contents, which have no checksums, as a number; none if anything is refused. All is read, too.
fn told(system: &dyn FileSystem) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    let (mut known, mut all, mut is_whole) = (HashSet::from([system.root()]), vec![system.root()], true);
    (system.uuid(), system.root()).hash(&mut hasher);
    while let Some(number) = all.pop() {
        let (inode, xattrs) = (system.inode(number), system.xattrs(number));
        format!("{inode:?}").hash(&mut hasher);
        xattrs.as_ref().ok().hash(&mut hasher);
        is_whole &= xattrs.is_ok();
        match inode.map(|inode| inode.kind) {
            Ok(InodeKind::Directory) => match system.names(number) {
                Ok(names) => {
                    names.hash(&mut hasher);
                    all.extend(
                        names.into_iter().map(|(_, number)| number).filter(|number| known.insert(*number)),
                    );
                }
                Err(_) => is_whole = false,
            },
            Ok(kind @ (InodeKind::Regular | InodeKind::Symlink)) => {
                let content = content_of(system, number);
                is_whole &= content.is_some();
                content.filter(|_| kind == InodeKind::Symlink).hash(&mut hasher);
            }
            Ok(_) => {}
            Err(_) => is_whole = false,
        }
    }
    is_whole.then(|| hasher.finish())
}

/// The beginning of a content.
fn content_of(system: &dyn FileSystem, number: u64) -> Option<Vec<u8>> {
    const MOST: u64 = 1 << 20;
    let mut content = Vec::new();
    system.content(number).ok()?.take(MOST).read_to_end(&mut content).ok()?;
    Some(content)
}
