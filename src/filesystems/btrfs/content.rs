//! The content of a file: its extents, zeros where there are none. What has sums is told only where they are right.

use std::io::{self, Read};

use super::format::{CONTENT_SUMS, Key, kind, number};
use super::nodes::{All, Cursor, Nodes};
use super::packed::{MOST, Packing, unpack};
use super::superblock::Told;
use crate::filesystems::{damage, unread};

/// Bytes that are read at once.
const AT_ONCE: u64 = 256 << 10;

/// What is known of a file.
pub struct File {
    /// The tree that it is in.
    pub tree: Told,
    pub inode: u64,
    pub size: u64,
    /// The tree of sums, if what is in it has some.
    pub sums: Option<Told>,
}

/// A file that is being read.
pub struct Content<'n> {
    nodes: &'n Nodes,
    file: File,
    at: u64,
    /// The extents that are yet to come.
    extents: All<'n>,
    /// The one that is being read, or that comes next.
    extent: Option<Extent>,
    /// What of the file is in memory.
    held: Held,
    /// What was unpacked last. Several extents can be parts of it.
    unpacked: Option<(Packed, Vec<u8>)>,
}

#[derive(Default)]
struct Held {
    /// Where it is in the file.
    start: u64,
    bytes: Vec<u8>,
}

/// A piece of a file.
struct Extent {
    start: u64,
    end: u64,
    source: Source,
}

/// Where its content is.
enum Source {
    Zeros,
    /// In the tree itself.
    Inline(Vec<u8>),
    /// At an address.
    Plain(u64),
    /// In what is packed, from that byte of it on.
    Packed(Packed, u64),
}

/// Bytes that are packed together.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Packed {
    packing: Packing,
    address: u64,
    /// Packed, whole sectors.
    length: u64,
    /// Unpacked.
    size: u64,
}

impl<'n> Content<'n> {
    /// The content of `file`.
    ///
    /// # Errors
    ///
    /// Damage, and those of reading.
    pub fn new(nodes: &'n Nodes, file: File) -> io::Result<Content<'n>> {
        let extents = All::of(nodes, file.tree, (file.inode, kind::EXTENT_DATA))?;
        Ok(Content { nodes, file, at: 0, extents, extent: None, held: Held::default(), unpacked: None })
    }

    /// Goes on to the extent that is here, or comes next.
    fn find(&mut self) -> io::Result<()> {
        while self.extent.as_ref().is_none_or(|extent| extent.end <= self.at) {
            let before = self.extent.take().map_or(0, |extent| extent.end);
            let Some(item) = self.extents.next().transpose()? else { return Ok(()) };
            let extent = extent(item.key.2, item.data(), self.nodes.superblock.sector)?;
            if extent.start < before {
                return Err(damage("the extents of a file are in each other's place"));
            }
            self.extent = Some(extent);
        }
        Ok(())
    }

    /// Reads what is here, and gives none; or gives up to where there are zeros.
    fn zeros(&mut self) -> io::Result<Option<u64>> {
        self.find()?;
        let Some(Extent { start, end, source }) = &self.extent else { return Ok(Some(self.file.size)) };
        if *start > self.at {
            return Ok(Some(*start));
        }
        let (within, left) = (self.at - start, end - self.at);
        let held = match source {
            Source::Zeros => return Ok(Some(*end)),
            Source::Inline(bytes) => bytes.get(within as usize..).unwrap_or_default().to_vec(),
            Source::Plain(address) => {
                let sector = self.nodes.superblock.sector;
                let rest = (self.file.size - self.at).div_ceil(sector).saturating_mul(sector);
                self.sectors(address + within, left.min(rest).min(AT_ONCE))?
            }
            Source::Packed(packed, offset) => {
                let (packed, length, from) = (*packed, left as usize, (offset + within) as usize);
                self.unpacked(packed)?.get(from..).unwrap_or_default().iter().copied().take(length).collect()
            }
        };
        self.held = Held { start: self.at, bytes: held };
        Ok(None)
    }

    fn unpacked(&mut self, packed: Packed) -> io::Result<&[u8]> {
        if self.unpacked.as_ref().is_none_or(|(last, _)| *last != packed) {
            let bytes = self.sectors(packed.address, packed.length)?;
            let bytes = unpack(packed.packing, &bytes, packed.size, self.nodes.superblock.sector)?;
            self.unpacked = Some((packed, bytes));
        }
        Ok(self.unpacked.as_ref().map_or(&[], |(_, bytes)| bytes))
    }

    /// The bytes at an address, whole sectors.
    fn sectors(&self, address: u64, length: u64) -> io::Result<Vec<u8>> {
        let sector = self.nodes.superblock.sector;
        let sums = self.file.sums.map(|tree| self.sums(tree, address, length)).transpose()?;
        let size = self.nodes.superblock.sums.size();
        let mut sums = sums.as_deref().map(|sums| sums.chunks_exact(size));
        let mut bytes = vec![0; length as usize];
        let mut rest = bytes.as_mut_slice();
        let mut next = address;
        while !rest.is_empty() {
            let places = self.nodes.chunks.places(next, rest.len() as u64)?;
            let length = places.length / sector * sector;
            let (piece, behind) = rest.split_at_mut(length as usize);
            if piece.is_empty() {
                return Err(damage("a chunk of it ends within a sector"));
            }
            self.read(&places.copies, piece)?;
            for (number, piece) in (0..).zip(piece.chunks_exact_mut(sector as usize)) {
                let sum = sums.as_mut().and_then(Iterator::next);
                self.check(&places.copies, number * sector, piece, sum)?;
            }
            (rest, next) = (behind, next + length);
        }
        Ok(bytes)
    }

    /// Reads the first copy that can be read.
    fn read(&self, copies: &[u64], into: &mut [u8]) -> io::Result<()> {
        let mut ended = Ok(());
        for copy in copies {
            ended = self.nodes.part.fill(*copy, into);
            if ended.is_ok() {
                break;
            }
        }
        ended
    }

    /// Checks a sector that is `within` the copies; where it is damaged, it is read from another one.
    fn check(&self, copies: &[u64], within: u64, sector: &mut [u8], sum: Option<&[u8]>) -> io::Result<()> {
        let is_right = |sector: &[u8]| sum.is_none_or(|sum| self.nodes.superblock.sums.agree(sum, sector));
        if is_right(sector) {
            return Ok(());
        }
        for copy in copies {
            let read = self.nodes.part.fill(copy.saturating_add(within), sector);
            if read.is_ok() && is_right(sector) {
                return Ok(());
            }
        }
        Err(damage("the checksum of a file's content is wrong"))
    }

    /// The sums of all sectors at an address: what the tree of sums has of them, in pieces of any length.
    fn sums(&self, tree: Told, address: u64, length: u64) -> io::Result<Vec<u8>> {
        let missing = || damage("a file's content has no checksum, and should have one");
        let (sector, size) = (self.nodes.superblock.sector, self.nodes.superblock.sums.size());
        let count = (length / sector) as usize * size;
        let mut sums = Vec::with_capacity(count);
        let mut cursor = Cursor::near(self.nodes, tree, Key(CONTENT_SUMS, kind::SUMS, address))?;
        while sums.len() < count {
            let last = Key(CONTENT_SUMS, kind::SUMS, address + (length - sector));
            let item = cursor.next_up_to(last)?.ok_or_else(missing)?;
            let next = address + (sums.len() / size) as u64 * sector;
            let Key(CONTENT_SUMS, kind::SUMS, start) = item.key else { continue };
            let skipped = next
                .checked_sub(start)
                .filter(|skipped| skipped.is_multiple_of(sector))
                .ok_or_else(missing)?;
            let skipped = usize::try_from(skipped / sector).unwrap_or(usize::MAX).saturating_mul(size);
            let here = item.data().get(skipped..).unwrap_or_default();
            sums.extend(here.chunks_exact(size).flatten().take(count - sums.len()));
        }
        Ok(sums)
    }
}

impl Read for Content<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.file.size - self.at).unwrap_or(usize::MAX).min(into.len());
        let into = &mut into[..left];
        if into.is_empty() {
            return Ok(0);
        }
        let mut held = self.held.from(self.at);
        if held.is_empty() {
            if let Some(end) = self.zeros()? {
                let length = usize::try_from(end - self.at).unwrap_or(usize::MAX).min(into.len());
                into[..length].fill(0);
                self.at += length as u64;
                return Ok(length);
            }
            held = self.held.from(self.at);
        }
        let length = held.len().min(into.len());
        into[..length].copy_from_slice(&held[..length]);
        self.at += length as u64;
        Ok(length)
    }
}

impl Held {
    /// What it has from `at` on.
    fn from(&self, at: u64) -> &[u8] {
        let within = at.checked_sub(self.start).and_then(|within| usize::try_from(within).ok());
        within.and_then(|within| self.bytes.get(within..)).unwrap_or_default()
    }
}

/// `struct btrfs_file_extent_item`, which begins at `start` in its file.
fn extent(start: u64, item: &[u8], sector: u64) -> io::Result<Extent> {
    const INLINE: u64 = 0;
    const REGULAR: u64 = 1;
    const PREALLOCATED: u64 = 2;
    if number(item, 17, 1)? != 0 {
        return Err(unread("the content of a file is encrypted"));
    }
    if number(item, 18, 2)? != 0 {
        return Err(unread("the content of a file is encoded in a way that imgbuild does not know"));
    }
    let packing = Packing::of(number(item, 16, 1)?)?;
    let kind = number(item, 20, 1)?;
    let source = match kind {
        INLINE => return inline(start, item, packing, sector),
        REGULAR => regular(item, packing, sector)?,
        PREALLOCATED => Source::Zeros,
        _ => return Err(odd()),
    };
    let length = number(item, 45, 8)?;
    let end = start.checked_add(length).filter(|_| length > 0 && length.is_multiple_of(sector));
    let end = end.filter(|_| start.is_multiple_of(sector)).ok_or_else(odd)?;
    Ok(Extent { start, end, source })
}

fn inline(start: u64, item: &[u8], packing: Option<Packing>, sector: u64) -> io::Result<Extent> {
    /// Bytes in front of the content.
    const FRONT: usize = 21;
    let (content, unpacked) = (item.get(FRONT..).unwrap_or_default(), number(item, 8, 8)?);
    let bytes = match packing {
        None => content.to_vec(),
        Some(_) if unpacked > sector => return Err(odd()),
        Some(packing) => unpack(packing, content, unpacked, sector)?,
    };
    if start != 0 || bytes.is_empty() {
        return Err(odd());
    }
    Ok(Extent { start, end: bytes.len() as u64, source: Source::Inline(bytes) })
}

/// An extent that has bytes at an address. None of its numbers has to be believed: they are only used to read.
fn regular(item: &[u8], packing: Option<Packing>, sector: u64) -> io::Result<Source> {
    let (unpacked, address, length) = (number(item, 8, 8)?, number(item, 21, 8)?, number(item, 29, 8)?);
    let (offset, used) = (number(item, 37, 8)?, number(item, 45, 8)?);
    if address == 0 {
        return Ok(Source::Zeros);
    }
    let whole = if packing.is_some() { unpacked } else { length };
    let fits = offset.checked_add(used).is_some_and(|end| end <= whole);
    let is_whole = [address, length, offset].iter().all(|number| number.is_multiple_of(sector));
    if !fits || !is_whole || length == 0 || address.checked_add(length).is_none() {
        return Err(odd());
    }
    match packing {
        None => Ok(Source::Plain(address + offset)),
        Some(_) if unpacked > MOST || length > MOST => Err(odd()),
        Some(packing) => Ok(Source::Packed(Packed { packing, address, length, size: unpacked }, offset)),
    }
}

fn odd() -> io::Error {
    damage("an extent of a file is none that can be")
}
