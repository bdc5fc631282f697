//! FAT with long names (Microsoft's FAT32 File System Specification 1.03). What it does not have is told as a tree has it by
//! default: everything is root's, folders are 0755 and files 0644; times are UTC, short names have the letters of code page
//! 437.

use std::collections::BTreeSet;
use std::io::{self, Read};

use super::part::Part;
use super::pieces::{Piece, Pieces};
use super::{FileSystem, Inode, InodeKind, damage, little};
use crate::lang::value::days_from_civil;

/// Bytes of an entry of a folder.
const ENTRY: u64 = 32;
/// Bytes of a folder: its entries are counted by 16 bits.
const LARGEST_FOLDER: u64 = ENTRY << 16;
/// The root is of no entry; no entry is where a file system begins.
const ROOT: u64 = 0;
/// Clusters of a FAT whose numbers have 12 bits (what Linux takes for one).
const MOST_OF_12: u64 = 0xff4;
/// What a folder's entry begins with: it is gone.
const GONE: u8 = 0xe5;

/// An entry's attributes.
mod attribute {
    pub const READ_ONLY: u8 = 0x01;
    pub const LABEL: u8 = 0x08;
    pub const FOLDER: u8 = 0x10;
    /// A part of a long name.
    pub const LONG: u8 = 0x0f;
}

/// A FAT file system. The number of an inode is where its entry is: bytes from the beginning.
pub struct Vfat {
    part: Part,
    /// Bytes of a cluster.
    cluster: u64,
    /// Where the table of clusters begins.
    table: u64,
    /// Bits of a number in that table.
    bits: u32,
    /// Where the first cluster begins, whose number is 2.
    first: u64,
    /// How many there are.
    clusters: u64,
    root: Root,
    id: u64,
    label: String,
}

/// Where the root's entries are.
enum Root {
    /// Between the tables and the clusters: where, and how many bytes.
    Apart(u64, u64),
    /// Its first cluster.
    Cluster(u64),
}

impl Vfat {
    /// The file system in `part`.
    ///
    /// # Errors
    ///
    /// Damage, and those of reading.
    pub fn load(part: Part) -> io::Result<Vfat> {
        let boot = part.bytes(0, 512)?;
        let number = |at: usize, bytes: usize| little(&boot[at..at + bytes]);
        let sector = number(11, 2);
        let (per_cluster, tables, entries) = (number(13, 1), number(16, 1), number(17, 2));
        let is_wide = number(22, 2) == 0;
        let per_table = if is_wide { number(36, 4) } else { number(22, 2) };
        let sectors = if number(19, 2) == 0 { number(32, 4) } else { number(19, 2) };
        if !(512..=4096).contains(&sector) || !sector.is_power_of_two() || !per_cluster.is_power_of_two() {
            return Err(damage("the sizes of its sectors and clusters are none that FAT has"));
        }
        let table = number(14, 2) * sector;
        let apart = table + tables * per_table * sector;
        let first = apart + (entries * ENTRY).next_multiple_of(sector);
        let clusters = (sectors * sector).saturating_sub(first) / (per_cluster * sector);
        let bits = match (is_wide, clusters > MOST_OF_12) {
            (true, _) => 32,
            (false, true) => 16,
            (false, false) => 12,
        };
        // What the table has no number for is no cluster.
        let clusters = clusters.min((per_table * sector * 8 / u64::from(bits)).saturating_sub(2));
        let root = if is_wide { Root::Cluster(number(44, 4)) } else { Root::Apart(apart, entries * ENTRY) };
        let names = if is_wide { 67 } else { 39 };
        let id = number(names, 4);
        let label = match &boot[names + 4..names + 15] {
            // What stands there if nobody gave it one.
            b"NO NAME    " => String::new(),
            label => String::from_utf8_lossy(label).trim_end().to_string(),
        };
        Ok(Vfat { part, cluster: per_cluster * sector, table, bits, first, clusters, root, id, label })
    }

    /// The entry of that number.
    fn entry(&self, number: u64) -> io::Result<Vec<u8>> {
        self.part.bytes(number, ENTRY)
    }

    /// The first cluster of a file: 0 if it has none.
    fn first_of(&self, entry: &[u8]) -> u64 {
        let high = if self.bits == 32 { little(&entry[20..22]) } else { 0 };
        high << 16 | little(&entry[26..28])
    }

    /// The clusters from `first` on, as pieces: as far as `size` bytes go, or to their end.
    fn chain(&self, first: u64, size: Option<u64>, most: u64) -> io::Result<Vec<Piece>> {
        let (mut pieces, mut start, mut cluster): (Vec<Piece>, _, _) = (Vec::new(), 0, first);
        let mut window = Window::default();
        while size.is_none_or(|size| start < size) {
            if self.is_last(cluster) && size.is_none() {
                break;
            }
            if !(2..self.clusters + 2).contains(&cluster) || start >= most {
                return Err(damage("the clusters of a file lead nowhere"));
            }
            let place = self.first + (cluster - 2) * self.cluster;
            match pieces.last_mut().filter(|last| last.place + last.length == place) {
                Some(last) => last.length += self.cluster,
                None => pieces.push(Piece { start, length: self.cluster, place }),
            }
            start += self.cluster;
            cluster = self.next(cluster, &mut window)?;
        }
        Ok(pieces)
    }

    fn is_last(&self, cluster: u64) -> bool {
        let highest = if self.bits == 32 { 0x0fff_ffff } else { (1 << self.bits) - 1 };
        (highest - 7..=highest).contains(&cluster)
    }

    /// What the table has for a cluster: the next one.
    fn next(&self, cluster: u64, window: &mut Window) -> io::Result<u64> {
        let bit = cluster * u64::from(self.bits);
        let bytes = window.read(&self.part, self.table + bit / 8)?;
        Ok(match self.bits {
            12 => little(&bytes[..2]) >> (bit % 8) & 0xfff,
            16 => little(&bytes[..2]),
            // Four bits are reserved.
            _ => little(&bytes) & 0x0fff_ffff,
        })
    }

    /// Where the entries of a folder are.
    fn places(&self, folder: u64) -> io::Result<Vec<Piece>> {
        let first = match self.root {
            Root::Apart(place, length) if folder == ROOT => {
                return Ok(vec![Piece { start: 0, length, place }]);
            }
            Root::Cluster(first) if folder == ROOT => first,
            _ => self.first_of(&self.entry(folder)?),
        };
        self.chain(first, None, LARGEST_FOLDER)
    }
}

/// A few bytes of the table of clusters: numbers that follow each other stand together.
#[derive(Default)]
struct Window {
    at: u64,
    bytes: Vec<u8>,
}

impl Window {
    const SIZE: u64 = 4096;

    /// The four bytes at `place`; zeros where the part ends.
    fn read(&mut self, part: &Part, place: u64) -> io::Result<[u8; 4]> {
        let held = |window: &Window| {
            let start = usize::try_from(place.checked_sub(window.at)?).ok()?;
            window.bytes.get(start..)?.first_chunk().copied()
        };
        if held(self).is_none() {
            let length = Window::SIZE.min(part.size().saturating_sub(place));
            *self = Window { at: place, bytes: part.bytes(place, length)? };
            self.bytes.extend([0; 3]);
        }
        held(self).ok_or_else(|| damage("its table of clusters ends too early"))
    }
}

impl FileSystem for Vfat {
    fn uuid(&self) -> String {
        format!("{:04X}-{:04X}", self.id >> 16, self.id & 0xffff)
    }

    fn label(&self) -> String {
        self.label.clone()
    }

    fn root(&self) -> u64 {
        ROOT
    }

    fn inode(&self, number: u64) -> io::Result<Inode> {
        let folder =
            Inode { kind: InodeKind::Directory, mode: 0o755, uid: 0, gid: 0, mtime: 0, size: 0, links: 1 };
        if number == ROOT {
            return Ok(folder);
        }
        let entry = self.entry(number)?;
        let writable = if entry[11] & attribute::READ_ONLY == 0 { 0o200 } else { 0 };
        let mtime = seconds(little(&entry[24..26]), little(&entry[22..24]));
        let inode = Inode { mode: 0o555 | writable, mtime, ..folder };
        if entry[11] & attribute::FOLDER != 0 {
            return Ok(inode);
        }
        Ok(Inode { kind: InodeKind::Regular, mode: 0o444 | writable, size: little(&entry[28..32]), ..inode })
    }

    fn names(&self, folder: u64) -> io::Result<Vec<(Vec<u8>, u64)>> {
        let (mut names, mut known, mut long) = (Vec::new(), BTreeSet::new(), Long::default());
        for piece in self.places(folder)? {
            let bytes = self.part.bytes(piece.place, piece.length)?;
            for (entry, place) in
                bytes.chunks_exact(ENTRY as usize).zip((piece.place..).step_by(ENTRY as usize))
            {
                if entry[0] == 0 {
                    return Ok(names);
                }
                if entry[0] != GONE && entry[11] & 0x3f == attribute::LONG {
                    long.add(entry);
                    continue;
                }
                let name = long.take(entry).unwrap_or_else(|| short(entry));
                let is_own =
                    entry[0] == GONE || entry[11] & attribute::LABEL != 0 || name == "." || name == "..";
                if is_own {
                    continue;
                }
                if name.contains(['/', '\0']) || name.is_empty() || !known.insert(name.clone()) {
                    return Err(damage("a folder has a name that none can have, or has it twice"));
                }
                names.push((name.into_bytes(), place));
            }
        }
        Ok(names)
    }

    fn xattrs(&self, _: u64) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(Vec::new())
    }

    fn content(&self, number: u64) -> io::Result<Box<dyn Read + '_>> {
        let entry = self.entry(number)?;
        let size = little(&entry[28..32]);
        let pieces = self.chain(self.first_of(&entry), Some(size), self.clusters * self.cluster)?;
        Ok(Box::new(Pieces::new(&self.part, pieces, size)))
    }
}

/// The parts of a long name, the last one first.
#[derive(Default)]
struct Long {
    letters: Vec<u16>,
    /// The number of the part that was last.
    number: u8,
    /// The sum of the short name that all of it belongs to.
    sum: u8,
}

impl Long {
    fn add(&mut self, entry: &[u8]) {
        const IS_LAST: u8 = 0x40;
        let (number, sum) = (entry[0] & !IS_LAST, entry[13]);
        if entry[0] & IS_LAST != 0 {
            *self = Long { letters: Vec::new(), number: number.saturating_add(1), sum };
        }
        if number == 0 || sum != self.sum || number.checked_add(1) != Some(self.number) {
            *self = Long::default();
            return;
        }
        let bytes = entry[1..11].iter().chain(&entry[14..26]).chain(&entry[28..32]);
        let bytes: Vec<u8> = bytes.copied().collect();
        let letters = bytes.chunks_exact(2).map(|letter| little(letter) as u16);
        self.letters = letters.chain(self.letters.iter().copied()).collect();
        self.number = number;
    }

    /// The name, if all of it was there, and in front of the entry that it belongs to.
    fn take(&mut self, entry: &[u8]) -> Option<String> {
        let long = std::mem::take(self);
        let sum = entry[..11].iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        let letters = long.letters.into_iter().take_while(|letter| *letter != 0).collect::<Vec<_>>();
        (long.number == 1 && long.sum == sum).then(|| String::from_utf16_lossy(&letters))
    }
}

/// The short name of an entry.
fn short(entry: &[u8]) -> String {
    /// Letters from 128 on.
    const PAGE: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
                        └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";
    /// What stands for the byte that says that an entry is gone.
    const STANDS_FOR_GONE: u8 = 0x05;
    let letter = |byte: &u8| match byte {
        0..128 => char::from(*byte),
        128.. => PAGE.chars().nth(usize::from(byte - 128)).unwrap_or(char::REPLACEMENT_CHARACTER),
    };
    let text = |bytes: &[u8], is_small: bool| {
        let text: String = bytes.iter().map(letter).collect();
        let text = text.trim_end_matches(' ');
        if is_small { text.to_lowercase() } else { text.to_string() }
    };
    let mut base = entry[..8].to_vec();
    if base[0] == STANDS_FOR_GONE {
        base[0] = GONE;
    }
    // Windows NT says here which half has small letters, where all of a half has.
    let (base, extension) = (text(&base, entry[12] & 0x08 != 0), text(&entry[8..11], entry[12] & 0x10 != 0));
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}

/// A time of FAT in seconds since 1970. What is no date is 1970.
fn seconds(date: u64, time: u64) -> i64 {
    let part = |number: u64| number as i64;
    let (year, month, day) = (1980 + part(date >> 9), part(date >> 5 & 15), part(date & 31));
    if !(1..=12).contains(&month) || day == 0 {
        return 0;
    }
    let of_day = part(time >> 11) * 3600 + part(time >> 5 & 63) * 60 + part(time & 31) * 2;
    days_from_civil(year, month, day) * 86400 + of_day
}

#[cfg(test)]
mod tests;
