//! Disks that are damaged, or that somebody means ill with: nothing panics, hangs, or is told wrongly.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::layouts::fill_little;
use super::made::{Image, Lines, differences, opened, told};
use crate::filesystems::{FileSystem, InodeKind};

/// With checksums; without them, with all that has a place of its own; with a journal that waits.
const LAYOUTS: [&str; 5] = [
    "-t ext4 -b 1024 -N 1024 -O ea_inode -J size=4",
    "-t ext4 -b 1024 -N 1024 -O ea_inode,inline_data,^has_journal,^metadata_csum",
    "-t ext4 -b 4096 -N 1024 -O ^metadata_csum,uninit_bg,^has_journal",
    "-t ext2 -b 1024 -N 1024",
    "-t ext4 -b 1024 -N 1024 -O ^metadata_csum -J size=4",
];

#[test]
fn what_has_checksums_is_told_rightly_or_not_at_all() {
    let Some(image) = small(LAYOUTS[0]) else { return };
    let expected = without_data(image.told());
    let (mut chance, bytes) = (Chance(1), std::fs::read(&image.path).unwrap());
    let places = filled(&bytes);
    let mut noticed = 0;
    for round in 0..rounds() / 7 {
        let place = places[chance.below(places.len())] + chance.below(UNIT);
        let file = mutated(&image, &[(place as u64, bytes[place] ^ 1 << chance.below(8))]);
        let found = opened(file).and_then(|system| told(system.as_ref()));
        noticed += usize::from(found.is_err());
        if let Ok(found) = found.map(without_data) {
            assert!(found == expected, "{round}, {place}: {:#?}", differences(&found, &expected));
        }
    }
    assert!(noticed > 30, "{noticed}");
}

/// What checksums do not cover are contents: of files, and of links that are long.
fn without_data(lines: Lines) -> Lines {
    lines
        .into_iter()
        .map(|(path, line)| (path, line.split(" bytes Array").next().unwrap().to_string()))
        .collect()
}

#[test]
fn nothing_that_stands_on_a_disk_makes_it_panic_or_hang() {
    let rounds = rounds();
    for (number, layout) in LAYOUTS.into_iter().enumerate() {
        let Some(image) = small(layout) else { return };
        let bytes = std::fs::read(&image.path).unwrap();
        let places = filled(&bytes);
        let mut chance = Chance(7 + number as u64);
        for round in 0..rounds / LAYOUTS.len() {
            let changes: Vec<(u64, u8)> =
                (0..1 + chance.below(8)).flat_map(|_| change(&mut chance, &places, &bytes)).collect();
            let file = mutated(&image, &changes);
            let before = Instant::now();
            if let Ok(system) = opened(file) {
                look_at_all(system.as_ref());
            }
            let took = before.elapsed();
            // No machine is as slow as what has no end.
            assert!(took < Duration::from_secs(60), "{layout}, round {round}: {took:?}");
        }
    }
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let Some(image) = Image::made(8 << 20, &["-t", "ext2", "-b", "1024"]) else { return };
    let needed = std::fs::read(&image.path).unwrap()[NEEDED];
    for (at, bit, reason) in [
        (0, 0x1, "it is compressed, in a way that no kernel reads"),
        (0, 0x8, "it is the journal of another file system"),
        (1, 0x10, "its folders hold more than names, as those of Lustre do"),
        (2, 0x40, "it has a feature that imgbuild does not know (0x400000)"),
    ] {
        let value = if at == 0 { needed | bit } else { bit };
        let file = mutated(&image, &[(NEEDED as u64 + at, value)]);
        assert_eq!(opened(file).err().map(|error| error.to_string()).as_deref(), Some(reason));
    }
    let file = mutated(&image, &[(1024 + 0x38, 0)]);
    let told = opened(file).err().map(|error| error.to_string());
    assert_eq!(told.as_deref(), Some("its superblock is none of ext4"));
    let file = File::options().write(true).open(&image.path).unwrap();
    file.set_len(5 << 20).unwrap();
    let told = image.opened().err().map(|error| error.to_string());
    assert_eq!(told.as_deref(), Some("it ends too early: a part of it is missing"));
}

/// Where the features stand that a reader has to know.
const NEEDED: usize = 1024 + 0x60;

#[test]
fn what_leads_back_to_itself_is_told() {
    let Some(image) = Image::made(8 << 20, &["-t", "ext2", "-b", "1024"]) else { return };
    let Some(mounted) = image.mounted("rw") else { return };
    for name in ["loop", "one", "two"] {
        std::fs::write(mounted.0.join(name), [7; 1024]).unwrap();
    }
    std::fs::create_dir(mounted.0.join("folder")).unwrap();
    std::fs::create_dir(mounted.0.join("folder/below")).unwrap();
    drop(mounted);
    let Some(said) = image.debugfs("blocks loop") else { return };
    let block: u32 = said.split_whitespace().next().unwrap().parse().unwrap();
    // A block that is full of its own number.
    let file = File::options().write(true).open(&image.path).unwrap();
    file.write_all_at(&block.to_le_bytes().repeat(256), u64::from(block) * 1024).unwrap();
    for name in ["one", "two"] {
        image.debugfs(&format!("set_inode_field {name} block[TIND] {block}"));
        image.debugfs(&format!("set_inode_field {name} size 0x40000000"));
    }
    let system = image.opened().unwrap();
    let root = system.names(system.root()).unwrap();
    let read = |name: &[u8]| {
        let (_, number) = root.iter().find(|(known, _)| known == name).unwrap();
        let mut content = system.content(*number).unwrap();
        std::io::copy(&mut content, &mut std::io::sink())
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    assert!(read(b"one").contains("lead back to themselves"), "{}", read(b"one"));
    assert!(read(b"two").contains("have the same block"), "{}", read(b"two"));

    // A folder that has the blocks of another one.
    let Some(said) = image.debugfs("blocks folder") else { return };
    image.debugfs(&format!(
        "set_inode_field folder/below block[0] {}",
        said.split_whitespace().next().unwrap()
    ));
    let told =
        told(image.opened().unwrap().as_ref()).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(told.contains("have the same block"), "{told}");
}

/// How many times: more if somebody asks for it.
#[allow(clippy::disallowed_methods, reason = "how long a test may take is the tester's word")]
fn rounds() -> usize {
    std::env::var("IMGBUILD_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2000)
}

/// A file system with a little of everything.
fn small(layout: &str) -> Option<Image> {
    let words: Vec<&str> = layout.split(' ').collect();
    let image = Image::made(16 << 20, &words)?;
    let mounted = image.mounted("rw")?;
    fill_little(&mounted.0, if layout.contains("ea_inode") { "large" } else { "" });
    if layout.contains("-J") && layout.contains("^metadata_csum") {
        rustix::fs::syncfs(File::open(&mounted.0).unwrap()).unwrap();
        return Some(image.copied());
    }
    Some(image)
}

/// Bytes that are changed together, and looked at whether there is something.
const UNIT: usize = 256;

/// Where something is.
fn filled(bytes: &[u8]) -> Vec<usize> {
    (0..bytes.len())
        .step_by(UNIT)
        .filter(|at| bytes[*at..].iter().take(UNIT).any(|byte| *byte != 0))
        .collect()
}

/// A change: a bit, a byte, a number that is at an edge, or what stands elsewhere.
fn change(chance: &mut Chance, places: &[usize], bytes: &[u8]) -> Vec<(u64, u8)> {
    let at = places[chance.below(places.len())] + chance.below(UNIT / 4) * 4;
    let other = places[chance.below(places.len())];
    let new = match chance.below(5) {
        0 => vec![bytes[at] ^ 1 << chance.below(8)],
        1 => vec![chance.number() as u8],
        2 => [0_u32, 1, 0x7fff_ffff, 0x8000_0000, !0][chance.below(5)].to_le_bytes().to_vec(),
        3 => (chance.number() as u32 % 16_384).to_le_bytes().to_vec(),
        _ => bytes[other..other + UNIT].to_vec(),
    };
    (at as u64..).zip(new).filter(|(at, _)| *at < bytes.len() as u64).collect()
}

/// The image with these bytes, as long as it is open; they are put back when the next one is made.
fn mutated(image: &Image, changes: &[(u64, u8)]) -> File {
    let path = image.folder.path().join("mutated");
    let before = image.folder.path().join("changed");
    if !path.exists() {
        std::fs::copy(&image.path, &path).unwrap();
        std::fs::write(&before, b"").unwrap();
    }
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let original = File::open(&image.path).unwrap();
    for place in std::fs::read(&before).unwrap().chunks_exact(8) {
        let at = u64::from_le_bytes(place.try_into().unwrap());
        let mut byte = [0];
        original.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&byte, at).unwrap();
    }
    for (at, byte) in changes {
        file.write_all_at(&[*byte], *at).unwrap();
    }
    let places: Vec<u8> = changes.iter().flat_map(|(at, _)| at.to_le_bytes()).collect();
    std::fs::write(&before, places).unwrap();
    file
}

/// Looks at all that is there, whatever errors there are, as far as names lead, and a while into contents.
fn look_at_all(system: &dyn FileSystem) {
    const MOST: usize = 3000;
    const CONTENT: u64 = 4 << 20;
    let (mut left, mut known) = (vec![system.root()], std::collections::HashSet::new());
    let mut bytes = Vec::new();
    while let Some(number) = left.pop() {
        if !known.insert(number) || known.len() > MOST {
            continue;
        }
        let _ = system.xattrs(number);
        let Ok(inode) = system.inode(number) else { continue };
        if inode.kind == InodeKind::Directory {
            left.extend(system.names(number).into_iter().flatten().map(|(_, number)| number));
        }
        if let Ok(content) = system.content(number) {
            bytes.clear();
            let _ = content.take(CONTENT).read_to_end(&mut bytes);
        }
    }
}

/// Numbers that look like chance and are the same from run to run: splitmix64 (Steele, Lea, Flood 2014).
struct Chance(u64);

impl Chance {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }
}
