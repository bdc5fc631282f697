//! Tables of partitions, read: GPT (UEFI specification 2.10, chapter 5) and the MBR's, with its logical partitions.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::{damage, little};

/// Bytes of a sector.
const SECTOR: u64 = 512;
/// Bytes of the MBR in front of the disk's number and the table.
const NUMBER: usize = 440;
/// Bytes of the MBR in front of the table.
const SLOTS: usize = 446;
/// Bytes of a slot of the MBR.
const SLOT: usize = 16;
/// The fewest bytes that a disk has.
const LEAST: u64 = 64 << 10;
/// More logical partitions than Linux shows: what leads to each other has no end.
const MOST_LOGICAL: u32 = 256;

/// A partition, or a disk that has a file system and no table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1; 0 for a disk without a table.
    pub number: u32,
    /// Where it begins: bytes.
    pub at: u64,
    /// Bytes of it.
    pub size: u64,
    /// What fstab(5) calls `PARTUUID`, in small letters; empty if it has none.
    pub uuid: String,
    /// What fstab(5) calls `PARTLABEL`; empty if it has none.
    pub label: String,
}

/// A name, how many bytes from the beginning something stands, and what.
type Magic = (&'static str, u64, &'static [u8]);

/// File systems that are read.
const READ: [Magic; 6] = [
    ("ext4", 1080, &[0x53, 0xef]),
    ("btrfs", (64 << 10) + 64, b"_BHRfS_M"),
    ("xfs", 0, b"XFSB"),
    ("vfat", 82, b"FAT32   "),
    ("vfat", 54, b"FAT16   "),
    ("vfat", 54, b"FAT12   "),
];

/// What else people have in partitions.
const OTHERS: [Magic; 8] = [
    ("LVM", 536, b"LVM2 001"),
    ("LUKS", 0, b"LUKS\xba\xbe"),
    ("squashfs", 0, b"hsqs"),
    ("erofs", 1024, &[0xe2, 0xe1, 0xf5, 0xe0]),
    ("f2fs", 1024, &[0x10, 0x20, 0xf5, 0xf2]),
    ("ntfs", 3, b"NTFS    "),
    ("ISO 9660", 32_769, b"CD001"),
    ("exfat", 3, b"EXFAT   "),
];

/// The name of what begins at a byte of a disk, if it is known by its magic number.
pub fn system(disk: &File, at: u64) -> Option<&'static str> {
    named(disk, at, &READ).or_else(|| named(disk, at, &OTHERS))
}

fn named(disk: &File, at: u64, known: &[Magic]) -> Option<&'static str> {
    let is = |(_, offset, magic): &&Magic| {
        let mut found = vec![0; magic.len()];
        let place = at.checked_add(*offset);
        place.is_some_and(|place| disk.read_exact_at(&mut found, place).is_ok()) && found == *magic
    };
    known.iter().find(is).map(|(name, ..)| *name)
}

/// The partitions of a disk, in the order of their numbers; all of it for a disk that is one file system. None for what is
/// no disk.
///
/// # Errors
///
/// A damaged table, and those of reading.
pub fn partitions(disk: &File) -> io::Result<Option<Vec<Partition>>> {
    // The length of a device is not among what is said of its file.
    let mut end = disk;
    let size = end.seek(SeekFrom::End(0))?;
    if size < LEAST {
        return Ok(None);
    }
    let mut mbr = vec![0; SECTOR as usize];
    disk.read_exact_at(&mut mbr, 0)?;
    if let Some(found) = gpt(disk, &mbr, size)? {
        return apart(found).map(Some);
    }
    let of_mbr = is_mbr(&mbr).then(|| of_mbr(disk, &mbr));
    if named(disk, 0, &READ).is_some() {
        // What is older than a table may still stand in front; and the code in front of a file system may look like a table.
        let parts = of_mbr.and_then(Result::ok).unwrap_or_default();
        let is_table = parts.iter().any(|part| named(disk, part.at, &READ).is_some());
        return if is_table { apart(parts) } else { Ok(vec![Partition { size, ..Partition::default() }]) }
            .map(Some);
    }
    of_mbr.map(|parts| apart(parts?)).transpose()
}

/// The partitions, if none has a part of another.
fn apart(found: Vec<Partition>) -> io::Result<Vec<Partition>> {
    let mut places: Vec<(u64, u64)> =
        found.iter().map(|part| (part.at, part.at.saturating_add(part.size))).collect();
    places.sort_unstable();
    if places.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err(damage("its partitions have parts in common"));
    }
    Ok(found)
}

/// The partitions of a GPT, by the table in front or else by the one at the end; none where there is none.
fn gpt(disk: &File, mbr: &[u8], size: u64) -> io::Result<Option<Vec<Partition>>> {
    const PROTECTIVE: u8 = 0xee;
    if !is_mbr(mbr) || slots(mbr).all(|(kind, ..)| kind != PROTECTIVE) {
        return Ok(None);
    }
    for at in [SECTOR, (size / SECTOR - 1) * SECTOR] {
        if let Some(entries) = gpt_at(disk, at)? {
            return Ok(Some(entries));
        }
    }
    Err(damage("neither of its two tables of partitions is whole, or its sectors have 4096 bytes"))
}

/// What the table says whose header is at that byte; none if it is not whole.
fn gpt_at(disk: &File, at: u64) -> io::Result<Option<Vec<Partition>>> {
    const MOST: u64 = 1024;
    const SUM: std::ops::Range<usize> = 16..20;
    let mut header = vec![0; SECTOR as usize];
    disk.read_exact_at(&mut header, at)?;
    let (sum, length) = (little(&header[SUM]), little(&header[12..16]));
    header[SUM].fill(0);
    let is_whole = header.starts_with(b"EFI PART")
        && (92..=SECTOR).contains(&length)
        && u64::from(crc32fast::hash(&header[..length as usize])) == sum;
    let (at, count, length) = (little(&header[72..80]), little(&header[80..84]), little(&header[84..88]));
    if !is_whole || count > MOST || !(128..=4096).contains(&length) || at > i64::MAX as u64 / SECTOR {
        return Ok(None);
    }
    let mut entries = vec![0; (count * length) as usize];
    let read = disk.read_exact_at(&mut entries, at * SECTOR);
    if read.is_err() || u64::from(crc32fast::hash(&entries)) != little(&header[88..92]) {
        return Ok(None);
    }
    let numbered = (1..).zip(entries.chunks_exact(length as usize));
    Ok(Some(numbered.filter(|(_, entry)| entry[..16] != [0; 16]).map(entry).collect()))
}

/// What an entry of a GPT says.
fn entry((number, entry): (u32, &[u8])) -> Partition {
    let bytes = |sectors: u64| sectors.saturating_mul(SECTOR);
    let (first, last) = (little(&entry[32..40]), little(&entry[40..48]));
    let letters = entry[56..128].chunks_exact(2).map(|letter| little(letter) as u16);
    let label: Vec<u16> = letters.take_while(|letter| *letter != 0).collect();
    Partition {
        number,
        at: bytes(first),
        size: bytes(last.saturating_sub(first).saturating_add(1)),
        uuid: guid(&entry[16..32]),
        label: String::from_utf16_lossy(&label),
    }
}

/// A UUID of a GPT, whose first three parts stand with their lowest byte first.
fn guid(bytes: &[u8]) -> String {
    let (front, rest) = (&bytes[..8], &bytes[8..]);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (one, two, three) = (little(&front[..4]), little(&front[4..6]), little(&front[6..]));
    format!("{one:08x}-{two:04x}-{three:04x}-{}-{}", hex(&rest[..2]), hex(&rest[2..]))
}

/// A slot of the MBR, or of what is in front of a logical partition: its type, where it begins and how long it is, in bytes.
fn slots(sector: &[u8]) -> impl Iterator<Item = (u8, u64, u64)> {
    let slots = sector.get(SLOTS..SLOTS + 4 * SLOT).unwrap_or_default().chunks_exact(SLOT);
    slots.map(|slot| (slot[4], little(&slot[8..12]) * SECTOR, little(&slot[12..16]) * SECTOR))
}

fn is_mbr(sector: &[u8]) -> bool {
    let states = sector[SLOTS..].chunks_exact(SLOT).map(|slot| slot[0]);
    sector.ends_with(&[0x55, 0xaa]) && states.into_iter().all(|state| state & 0x7f == 0)
}

/// Whether a type is that of a partition that has others in it.
fn is_extended(kind: u8) -> bool {
    [0x05, 0x0f, 0x85].contains(&kind)
}

fn of_mbr(disk: &File, mbr: &[u8]) -> io::Result<Vec<Partition>> {
    let id = little(&mbr[NUMBER..NUMBER + 4]);
    let part = |number: u32, at: u64, size: u64| Partition {
        number,
        at,
        size,
        uuid: format!("{id:08x}-{number:02x}"),
        label: String::new(),
    };
    let mut found = Vec::new();
    for ((kind, at, size), number) in slots(mbr).zip(1..) {
        if size > 0 && !is_extended(kind) {
            found.push(part(number, at, size));
        }
    }
    for (_, start, size) in slots(mbr).filter(|(kind, ..)| is_extended(*kind)) {
        let logical = logical(disk, start, size)?;
        found.extend(logical.into_iter().zip(5..).map(|((at, size), number)| part(number, at, size)));
    }
    Ok(found)
}

/// Where the logical partitions in an extended one are: each is behind a table that has it, and where the next table is.
fn logical(disk: &File, start: u64, size: u64) -> io::Result<Vec<(u64, u64)>> {
    let (mut found, mut table) = (Vec::new(), start);
    for _ in 0..MOST_LOGICAL {
        let mut sector = vec![0; SECTOR as usize];
        let read = disk.read_exact_at(&mut sector, table);
        if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
            return Err(damage("a logical partition is behind the end of the disk"));
        }
        read?;
        if size == 0 || !sector.ends_with(&[0x55, 0xaa]) {
            return Ok(found);
        }
        let here = slots(&sector).filter(|(kind, _, size)| *size > 0 && !is_extended(*kind));
        found.extend(here.map(|(_, at, size)| (table + at, size)));
        match slots(&sector).find(|(kind, _, size)| *size > 0 && is_extended(*kind)) {
            Some((_, next, _)) => table = start + next,
            None => return Ok(found),
        }
    }
    Err(damage("its logical partitions lead to each other"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_uuid_is_written_as_people_see_it() {
        let esp =
            [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
        assert_eq!(super::guid(&esp), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    }
}
