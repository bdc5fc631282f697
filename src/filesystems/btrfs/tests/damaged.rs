//! What is damaged, and what nobody should write.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::super::super::{FileSystem, InodeKind};
use super::tree::{differences, of_kernel, of_reader};
use super::{Disk, run};

/// Where the superblock and its first copy are.
const SUPERBLOCKS: [usize; 2] = [64 << 10, 64 << 20];
const SUPERBLOCK: usize = 4096;

/// A few files of every kind, one of which has content beside the tree.
fn fill(root: &Path) {
    fs::create_dir(root.join("folder")).unwrap();
    for number in 0..30 {
        fs::write(root.join(format!("folder/file {number}")), format!("{number}").repeat(number)).unwrap();
    }
    fs::write(root.join("content"), "content ".repeat(10_000)).unwrap();
    let odd = File::create(root.join("odd")).unwrap();
    for number in 0..20 {
        odd.write_all_at(&[b'x'; 4096], number * 12_288).unwrap();
    }
    std::os::unix::fs::symlink("folder/file 1", root.join("link")).unwrap();
    rustix::fs::setxattr(root.join("odd"), "user.name", b"value", rustix::fs::XattrFlags::empty()).unwrap();
    run("btrfs -q subvolume create inner", root);
    fs::write(root.join("inner/file"), "content of the inner one").unwrap();
    run("btrfs -q subvolume snapshot . inner/snapshot", root);
}

fn made(size: &str, line: &str, options: &str) -> Option<Disk> {
    let disk = Disk::made(size, line)?;
    disk.mounted(options, fill)?;
    Some(disk)
}

/// Where blocks of the size of a node are that are whole: their checksum is right.
fn nodes(image: &[u8], size: usize) -> Vec<usize> {
    let uuid = &image[SUPERBLOCKS[0] + 32..][..16];
    let is_node = |at: &usize| {
        let block = &image[*at..*at + size];
        block[32..48] == *uuid && block[64..72] != *b"_BHRfS_M" && is_whole(block)
    };
    (0..=image.len() - size).step_by(4096).filter(is_node).collect()
}

fn is_whole(block: &[u8]) -> bool {
    block[..4] == crc32c::crc32c(&block[32..]).to_le_bytes()
}

fn sum(block: &mut [u8]) {
    let sum = crc32c::crc32c(&block[32..]).to_le_bytes();
    block[..4].copy_from_slice(&sum);
}

#[test]
fn a_damaged_copy_is_told_from_the_other() {
    let Some(disk) = made("300M", "-m dup -d dup", "") else { return };
    let whole = disk.read();
    let image = fs::read(disk.path()).unwrap();
    let file = File::options().write(true).open(disk.path()).unwrap();
    let nodes = nodes(&image, 16384);
    let mut by_address: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
    for at in &nodes {
        by_address.entry(&image[at + 48..at + 56]).or_default().push(*at);
    }
    let firsts = by_address.values().filter(|copies| copies.len() > 1).map(|copies| copies[0]);
    let firsts: Vec<usize> = firsts.collect();
    assert!(firsts.len() > 8, "{by_address:?}");
    for at in firsts {
        file.write_all_at(&[0xff; 50], at as u64 + 200).unwrap();
    }
    let content = b"content content ";
    let copies: Vec<usize> =
        (0..image.len()).step_by(4096).filter(|at| image[*at..].starts_with(content)).collect();
    assert!(copies.len() >= 2, "{copies:?}");
    file.write_all_at(b"other", copies[0] as u64 + 100).unwrap();
    file.write_all_at(&[0; SUPERBLOCK], SUPERBLOCKS[0] as u64).unwrap();
    let told = differences(&disk.read(), &whole);
    assert!(told.is_empty(), "{told:#?}");
    // The other copies, too.
    for copy in &copies {
        file.write_all_at(b"other", *copy as u64 + 100).unwrap();
    }
    let error = of_reader(disk.open().unwrap().as_ref()).unwrap_err();
    assert_eq!(error.to_string(), "the checksum of a file's content is wrong");
    for at in &nodes {
        file.write_all_at(&[0xff; 50], *at as u64 + 200).unwrap();
    }
    let error = disk.open().err().unwrap();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::InvalidData, "the checksum of a node of its trees is wrong")
    );
}

#[test]
fn what_is_not_read_is_named() {
    let Some(disk) = Disk::made("300M", "") else { return };
    let image = fs::read(disk.path()).unwrap();
    let refused = |at: usize, bytes: &[u8]| {
        let mut block = image[SUPERBLOCKS[0]..][..SUPERBLOCK].to_vec();
        block[at..at + bytes.len()].copy_from_slice(bytes);
        sum(&mut block);
        let file = File::options().write(true).open(disk.path()).unwrap();
        file.write_all_at(&block, SUPERBLOCKS[0] as u64).unwrap();
        let error = disk.open().err().unwrap();
        (error.kind(), error.to_string())
    };
    let unsupported = |reason: &str| (ErrorKind::Unsupported, reason.to_string());
    assert_eq!(refused(136, &[2]), unsupported("it is one of 2 devices of a btrfs file system"));
    assert_eq!(refused(189, &[0x13]), unsupported("it is written in zones"));
    assert_eq!(refused(191, &[1]).0, ErrorKind::Unsupported);
    let dump = unsupported("it is a dump of metadata, without the content of files");
    assert_eq!(refused(60, &[2]), dump);
    assert_eq!(refused(145, &[0x11]).0, ErrorKind::InvalidData);
    assert_eq!(refused(201, &[9]), unsupported("a part of it is on another device"));
}

#[test]
fn a_disk_of_several_is_named() {
    let Some(disk) = Disk::made("300M", "") else { return };
    run("truncate -s 300M other", disk.folder.path());
    run("mkfs.btrfs -q -f -d raid1 -m raid1 disk other", disk.folder.path());
    let error = disk.open().err().unwrap();
    assert_eq!(error.to_string(), "it is one of 2 devices of a btrfs file system");
}

/// How a walk through a damaged file system ended.
#[derive(Debug, Default)]
struct Ends {
    whole: usize,
    damaged: usize,
}

/// Goes through everything, whatever it is.
fn walk(disk: &Disk) -> io::Result<()> {
    const DEEPEST: usize = 8;
    const MOST: usize = 2000;
    let system = disk.open()?;
    let (mut left, mut count, mut ended) = (vec![(0, system.root())], 0, Ok(()));
    while let Some((depth, number)) = left.pop() {
        count += 1;
        let one = all_of(system.as_ref(), number);
        match one {
            Ok(names) if depth < DEEPEST && count < MOST => {
                left.extend(names.iter().map(|number| (depth + 1, *number)));
            }
            Ok(_) => {}
            Err(error) => ended = Err(error),
        }
    }
    ended
}

/// The inodes in it, if it is a folder, after all else was asked for.
fn all_of(system: &dyn FileSystem, number: u64) -> io::Result<Vec<u64>> {
    const MOST: u64 = 1 << 20;
    let inode = system.inode(number)?;
    system.xattrs(number)?;
    if inode.kind == InodeKind::Directory {
        return Ok(system.names(number)?.into_iter().map(|(_, number)| number).collect());
    }
    if matches!(inode.kind, InodeKind::Regular | InodeKind::Symlink) {
        let length = io::copy(&mut system.content(number)?.take(MOST), &mut io::sink())?;
        assert_eq!(length, inode.size.min(MOST));
    }
    Ok(Vec::new())
}

/// Numbers that records go wrong with.
const ODD: [u64; 10] = [0, 1, 2, 0xff, 0xffff, 1 << 31, 0xffff_ffff, 1 << 63, u64::MAX - 4095, u64::MAX];

/// Overwrites a few bytes of a block: with anything, with odd numbers, with other bytes of the same block.
fn spoil(block: &mut [u8], random: &mut StdRng) {
    for _ in 0..random.gen_range(1..5) {
        // Most is at the front, where headers, keys and pointers are.
        let end = if random.gen_bool(0.5) { 300 } else { block.len() };
        let length = *[1, 1, 2, 4, 8, 17].choose(random).unwrap();
        let at = random.gen_range(32..end - length);
        let bytes = match random.gen_range(0..4) {
            0 => (0..length).map(|_| random.r#gen()).collect(),
            1 => ODD.choose(random).unwrap().to_le_bytes().repeat(3)[..length].to_vec(),
            2 => {
                block[at..at + length].iter().map(|byte| byte.wrapping_add(random.gen_range(0..3))).collect()
            }
            _ => {
                let from = random.gen_range(32..block.len() - length);
                block[from..from + length].to_vec()
            }
        };
        block[at..at + length].copy_from_slice(&bytes);
    }
    sum(block);
}

/// How long this thread has worked: the clock on the wall goes on where the machine stands still.
fn worked() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).try_into().unwrap()
}

/// Spoils nodes and superblocks, whose checksums are right all the same; whatever they say, a walk has to end, and soon.
fn campaign(disk: &Disk, size: usize, rounds: usize, random: &mut StdRng) -> Ends {
    const LONGEST: Duration = Duration::from_secs(2);
    let image = fs::read(disk.path()).unwrap();
    let file = File::options().write(true).open(disk.path()).unwrap();
    let mut blocks: Vec<(usize, usize)> = nodes(&image, size).into_iter().map(|at| (at, size)).collect();
    // Others are of trees that nobody asks for, or of another time.
    blocks.retain(|(at, _)| {
        file.write_all_at(&[0; 32], *at as u64).unwrap();
        let is_read = walk(disk).is_err();
        file.write_all_at(&image[*at..at + 32], *at as u64).unwrap();
        is_read
    });
    assert!(blocks.len() > 5, "{blocks:?}");
    blocks.push((SUPERBLOCKS[0], SUPERBLOCK));
    let mut ends = Ends::default();
    for _ in 0..rounds {
        let (at, size) = *blocks.choose(random).unwrap();
        let mut block = image[at..at + size].to_vec();
        spoil(&mut block, random);
        file.write_all_at(&block, at as u64).unwrap();
        let start = worked();
        match walk(disk) {
            Ok(()) => ends.whole += 1,
            Err(error) if [ErrorKind::InvalidData, ErrorKind::Unsupported].contains(&error.kind()) => {
                ends.damaged += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
        assert!(worked() - start < LONGEST, "{:?}", worked() - start);
        file.write_all_at(&image[at..at + size], at as u64).unwrap();
    }
    ends
}

#[test]
fn whatever_stands_there_it_comes_back() {
    let ways = [
        ("-m single -n 4096", 4096, ",compress-force=zstd"),
        ("-m single -O ^no-holes", 16384, ",compress-force=lzo"),
        ("-m single", 16384, ",compress-force=zlib"),
        ("-M -n 4096 -m single -d single", 4096, ""),
    ];
    let mut random = StdRng::seed_from_u64(3);
    for (line, size, options) in ways {
        let Some(disk) = made("120M", line, options) else { return };
        let expected = disk.mounted(",ro", of_kernel);
        assert!(expected.is_some_and(|expected| expected.len() > 70), "{line}");
        walk(&disk).unwrap();
        let ends = campaign(&disk, size, 500, &mut random);
        assert!(ends.damaged > 50 && ends.whole > 50, "{ends:?}");
        walk(&disk).unwrap();
    }
}
