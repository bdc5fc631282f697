//! Writing a plan into a file: what is in blocks that follow each other is put together in memory, and written at once. A few
//! threads do so, each with the next such piece: one reads while another writes.

use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::directory::{self, Directory};
use super::extent::ExtentTree;
use super::geometry::{BLOCK, DESCRIPTOR, GROUP, INODE, Run};
use super::groups::Groups;
use super::hash::HashSeed;
use super::inode::{Inode, device};
use super::journal;
use super::plan::{Plan, Spot};
use super::record::{Block, Record, put};
use super::superblock::{self, Superblock};
use super::tree::{Item, inode_of, item_of};
use super::xattr::Packed;
use crate::fault::Fault;
use crate::filesystems::ext4::checksum::Sum;
use crate::filesystems::ext4::format::flags::{EXTENTS, INDEXED};
use crate::layer::Kind;
use crate::layer::read::At;
use crate::outputs::files::{self, type_bits};
use crate::outputs::made::Device;
use crate::work::{Job, Stack};

/// Blocks that are written at once, but for a large directory.
const AT_ONCE: u64 = 256;
/// More threads than that only wait for each other: one file is written by one at a time.
const MOST_THREADS: usize = 4;
/// The inodes of the room for more descriptors, and of the journal.
const RESIZE_INODE: u64 = 7;
const JOURNAL_INODE: u64 = 8;

/// A file system that is being written.
pub struct Writer<'w> {
    pub plan: &'w Plan<'w, 'w>,
    pub stack: &'w Stack,
    pub uuid: [u8; 16],
    pub label: &'w str,
    /// When it was made: seconds since 1970.
    pub made: i64,
    pub device: &'w Device<'w>,
    pub job: &'w Job<'w>,
}

/// What is written at once.
enum Piece {
    /// The inodes of a group.
    Inodes { group: u64 },
    /// Parts of items whose blocks follow each other, counted among those for contents.
    Parts(Vec<Part>),
}

/// Some blocks of an item.
#[derive(Clone, Copy)]
struct Part {
    item: usize,
    /// Counted from the item's first.
    from: u64,
    blocks: u64,
}

impl Writer<'_> {
    /// Writes all of it.
    ///
    /// # Errors
    ///
    /// Reading layers, writing; the work was ended.
    pub fn write(&self, threads: usize) -> Result<(), Fault> {
        let pieces = self.pieces();
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let work = || {
            let mut buffer = Vec::new();
            while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(fault) = self.job.go_on().and_then(|()| self.piece(piece, &mut buffer)) {
                    next.store(pieces.len(), Ordering::Relaxed);
                    if let Ok(mut failed) = failed.lock() {
                        failed.get_or_insert(fault);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.clamp(1, MOST_THREADS) {
                // Without it, those that there are do its part.
                let _ = std::thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        match failed.into_inner() {
            Ok(None) => self.front(),
            Ok(Some(fault)) => Err(fault),
            Err(_) => Err(Fault::machine("internal", "a thread that wrote a file system was lost")),
        }
    }

    fn pieces(&self) -> Vec<Piece> {
        let groups = self.plan.tree.inodes().div_ceil(self.plan.geometry.inodes_per_group);
        let mut pieces: Vec<Piece> = (0..groups).map(|group| Piece::Inodes { group }).collect();
        let (mut parts, mut blocks) = (Vec::new(), 0);
        for (item, (of, spot)) in self.plan.items().enumerate() {
            let can_be_cut = of.entry.kind != Kind::Directory;
            let mut from = 0;
            while from < spot.blocks() {
                let left = spot.blocks() - from;
                let part = if can_be_cut { left.min(AT_ONCE - blocks) } else { left };
                parts.push(Part { item, from, blocks: part });
                (from, blocks) = (from + part, blocks + part);
                if blocks >= AT_ONCE {
                    pieces.push(Piece::Parts(std::mem::take(&mut parts)));
                    blocks = 0;
                }
            }
        }
        pieces.push(Piece::Parts(parts));
        pieces
    }

    fn piece(&self, piece: &Piece, buffer: &mut Vec<u8>) -> Result<(), Fault> {
        let parts = match piece {
            Piece::Inodes { group } => return self.inodes(*group, buffer),
            Piece::Parts(parts) => parts,
        };
        let blocks: u64 = parts.iter().map(|part| part.blocks).sum();
        let length = blocks * BLOCK;
        buffer.resize(usize::try_from(length).unwrap_or_default(), 0);
        let mut rest = buffer.as_mut_slice();
        for part in parts {
            let split = rest.split_at_mut_checked((part.blocks * BLOCK) as usize);
            let (bytes, behind) = split.unwrap_or_default();
            self.part(part, bytes)?;
            rest = behind;
        }
        let first = parts.first().and_then(|part| Some(self.plan.spots.get(part.item)?.first + part.from));
        let mut rest = buffer.as_slice();
        for run in first.into_iter().flat_map(|first| self.plan.geometry.runs(first, blocks)) {
            let (bytes, behind) = rest.split_at_checked((run.blocks * BLOCK) as usize).unwrap_or_default();
            // Where there are zeros alone, there are zeros already.
            if !is_zero(bytes) {
                self.put(run.first, 0, bytes)?;
            }
            rest = behind;
        }
        Ok(())
    }

    /// Writes at a byte of a block.
    fn put(&self, block: u64, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.device.put(block * BLOCK + offset, bytes)
    }

    /// Fills `bytes` with some blocks of an item.
    fn part(&self, part: &Part, bytes: &mut [u8]) -> Result<(), Fault> {
        let plan = self.plan;
        let (Some(item), Some(spot)) = (plan.tree.items.get(part.item), plan.spots.get(part.item)) else {
            return Ok(());
        };
        let (mut from, mut rest) = (part.from, bytes);
        if spot.xattr && from == 0 {
            let (block, behind) = rest.split_at_mut_checked(BLOCK as usize).unwrap_or_default();
            put(block, 0, &self.xattr_block(item, spot)?)?;
            (from, rest) = (1, behind);
        }
        let from = from - u64::from(spot.xattr);
        let content = spot.content.saturating_sub(from).min(rest.len() as u64 / BLOCK);
        let (content, tree) = rest.split_at_mut_checked((content * BLOCK) as usize).unwrap_or_default();
        if !content.is_empty() {
            self.content(part.item, item, from * BLOCK, content)?;
        }
        if !tree.is_empty() {
            let skipped = (from.saturating_sub(spot.content)) as usize;
            let blocks = self.extents(spot, self.sum_of(part.item))?.blocks;
            let mut blocks = tree.chunks_mut(BLOCK as usize).zip(blocks.iter().skip(skipped));
            blocks.try_for_each(|(place, block)| put(place, 0, block))?;
        }
        Ok(())
    }

    fn xattr_block(&self, item: &Item<'_>, spot: &Spot) -> Result<[u8; BLOCK as usize], Fault> {
        let packed = Packed::of(&item.entry.xattrs).unwrap_or_default();
        packed.block_at(self.plan.geometry.place(spot.first), self.sum())
    }

    /// Fills `bytes` with an item's content from byte `from` on, and with zeros behind.
    fn content(&self, number: usize, item: &Item<'_>, from: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        let length = match &item.entry.kind {
            Kind::File { size, offset, .. } => {
                let length = (size.saturating_sub(from)).min(bytes.len() as u64) as usize;
                let content = bytes.get_mut(..length).unwrap_or_default();
                self.read(item, offset.saturating_add(from), content)?;
                length
            }
            Kind::Symlink(target) => {
                put(bytes, 0, target)?;
                target.len()
            }
            _ => {
                let blocks = self.directory(number, item)?;
                put(bytes, 0, &blocks)?;
                blocks.len()
            }
        };
        bytes.get_mut(length..).unwrap_or_default().fill(0);
        Ok(())
    }

    /// Reads from the tar of the layer that an item came from.
    fn read(&self, item: &Item<'_>, at: u64, content: &mut [u8]) -> Result<(), Fault> {
        let Some(layer) = self.stack.layers.get(item.layer).map(|layer| &layer.layer) else { return Ok(()) };
        let left = content.len() as u64;
        let read = At { file: &layer.tar, at, left }.read_exact(content);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Fault::io("read", &layer.path, &crate::layer::copy::short()),
            _ => Fault::io("read", &layer.path, &error),
        })
    }

    fn directory(&self, number: usize, item: &Item<'_>) -> Result<Vec<u8>, Fault> {
        let (inode, parent, sum) = (inode_of(number), inode_of(item.parent), self.sum_of(number));
        Directory { inode, parent, sum, seed: self.seed() }.blocks(&self.plan.tree.names(item), item.content)
    }

    /// What all checksums begin with.
    fn sum(&self) -> Sum {
        Sum::START.with(&self.uuid)
    }

    /// That of an inode; each is the first of its number.
    fn inode_sum(&self, number: u64) -> Sum {
        self.sum().of_inode(number as u32, 0)
    }

    fn sum_of(&self, number: usize) -> Sum {
        self.inode_sum(inode_of(number))
    }

    fn seed(&self) -> HashSeed {
        let (words, _) = self.uuid.as_chunks::<4>();
        let mut seed = [0; 4];
        seed.iter_mut().zip(words).for_each(|(number, bytes)| *number = u32::from_le_bytes(*bytes));
        HashSeed(seed)
    }

    fn extents(&self, spot: &Spot, sum: Sum) -> Result<ExtentTree, Fault> {
        let geometry = &self.plan.geometry;
        let places = geometry.runs(spot.tree_first(), spot.tree).flat_map(|run| run.first..run.end());
        ExtentTree::of(&self.plan.extents(spot), places, sum)
    }

    /// Writes the inodes of a group, as far as they are used.
    fn inodes(&self, group: u64, buffer: &mut Vec<u8>) -> Result<(), Fault> {
        let of_group = self.plan.geometry.inodes_per_group;
        let first = group * of_group + 1;
        let end = (first + of_group).min(self.plan.tree.inodes() + 1);
        buffer.clear();
        let empty = [0; INODE as usize];
        for inode in first..end {
            buffer.extend(self.inode(inode)?.unwrap_or(empty));
        }
        let table = self.plan.geometry.tables.get(group as usize).map(|tables| tables.inodes);
        table.map_or(Ok(()), |table| self.put(table, 0, buffer))
    }

    /// The inode of that number; none if it is not used.
    fn inode(&self, number: u64) -> Result<Option<[u8; INODE as usize]>, Fault> {
        let inode = match number {
            RESIZE_INODE => self.resize_inode()?,
            JOURNAL_INODE => {
                let spot = &self.plan.journal;
                let place = self.extents(spot, self.inode_sum(number))?.root;
                let hidden = Inode::hidden(self.made, spot.content * BLOCK, spot.blocks());
                Some(Inode { flags: EXTENTS, place, ..hidden })
            }
            _ => self.item_inode(number)?,
        };
        inode.map(|inode| inode.bytes(self.inode_sum(number))).transpose()
    }

    fn item_inode(&self, number: u64) -> Result<Option<Inode>, Fault> {
        let plan = self.plan;
        let at = item_of(number);
        let found = at.and_then(|at| Some((plan.tree.items.get(at)?, plan.spots.get(at)?)));
        let Some((item, spot)) = found else { return Ok(None) };
        let entry = &item.entry;
        let (size, flags) = size_and_flags(item);
        let mut place = Record::new();
        match &entry.kind {
            Kind::Character(major, minor) | Kind::Block(major, minor) => {
                place.put(0, &device(*major, *minor).unwrap_or([0; 60]));
            }
            _ if flags & EXTENTS != 0 => {
                place.put(0, &self.extents(spot, self.inode_sum(number))?.root);
            }
            _ => place.put(0, item.short_link().unwrap_or_default()),
        }
        Ok(Some(Inode {
            mode: type_bits(&entry.kind) | entry.mode & 0o7777,
            user: files::number(&entry.owner.user),
            group: files::number(&entry.owner.group),
            size,
            modified: entry.mtime,
            made: self.made,
            links: item.told_links(),
            blocks: spot.blocks(),
            flags,
            place: place.done()?,
            xattr_block: if spot.xattr { plan.geometry.place(spot.first) } else { 0 },
            xattrs: Packed::of(&entry.xattrs).unwrap_or_default().inline,
        }))
    }

    /// The inode whose blocks are kept for more descriptors, and the copies of those
    /// (Documentation/filesystems/ext4/special_inodes.rst): a block that has them all, each of which has its copies.
    fn resize_inode(&self) -> Result<Option<Inode>, Fault> {
        let geometry = &self.plan.geometry;
        let Some(before) = self.plan.resize else { return Ok(None) };
        let (numbers, copies) = (BLOCK / 4, geometry.backups().count() as u64);
        // All that could be told there.
        let size = (12 + numbers + numbers * numbers) * BLOCK;
        let hidden = Inode::hidden(self.made, size, 1 + geometry.reserved * (1 + copies));
        // The thirteenth number is of a block with numbers of blocks with numbers.
        let mut place = Record::new();
        place.put32(13 * 4, geometry.place(before));
        Ok(Some(Inode { place: place.done()?, ..hidden }))
    }
}

/// Bytes of what is in an item, and what its inode says of itself.
fn size_and_flags(item: &Item<'_>) -> (u64, u32) {
    match &item.entry.kind {
        Kind::File { size, .. } => (*size, EXTENTS),
        Kind::Directory if directory::is_indexed(item.names.iter().map(|(name, _)| *name)) => {
            (item.content * BLOCK, EXTENTS | INDEXED)
        }
        Kind::Directory => (item.content * BLOCK, EXTENTS),
        Kind::Symlink(target) => (target.len() as u64, if item.short_link().is_some() { 0 } else { EXTENTS }),
        _ => (0, 0),
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(BLOCK as usize).all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
}

/// What stands in front, and the copies of that.
impl Writer<'_> {
    fn front(&self) -> Result<(), Fault> {
        let geometry = &self.plan.geometry;
        let mut descriptors = Vec::with_capacity((geometry.groups() * DESCRIPTOR) as usize);
        for group in Groups::of(self.plan, self.sum()) {
            self.job.go_on()?;
            let group = group?;
            descriptors.extend(group.descriptor);
            group.bitmaps.iter().try_for_each(|(block, bytes)| self.put(*block, 0, bytes))?;
        }
        self.resize_blocks()?;
        let first = geometry.place(self.plan.journal.first);
        self.put(first, 0, &journal::first_block(self.plan.journal.content, &self.uuid)?)?;
        self.journal_tree()?;
        let superblock = self.superblock()?;
        for group in geometry.backups() {
            self.put(group * GROUP, 0, &superblock.of_group(group)?)?;
            self.put(group * GROUP + 1, 0, &descriptors)?;
        }
        self.put(1, 0, &descriptors)?;
        self.put(0, superblock::SIZE as u64, &superblock.of_group(0)?)
    }

    fn superblock(&self) -> Result<Superblock<'_>, Fault> {
        let (plan, geometry) = (self.plan, &self.plan.geometry);
        let inodes = geometry.groups() * geometry.inodes_per_group;
        let journal = self.extents(&plan.journal, self.inode_sum(JOURNAL_INODE))?.root;
        Ok(Superblock {
            uuid: self.uuid,
            label: self.label,
            made: self.made,
            blocks: geometry.blocks,
            free_blocks: geometry.blocks - plan.used_blocks(),
            overhead: plan.overhead(),
            written: plan.used - plan.journal.blocks(),
            inodes,
            free_inodes: inodes - plan.tree.inodes(),
            inodes_per_group: geometry.inodes_per_group,
            reserved: geometry.reserved,
            journal: (journal, plan.journal.content * BLOCK),
        })
    }

    /// What tells where the journal is, if it does not fit into its inode.
    fn journal_tree(&self) -> Result<(), Fault> {
        let spot = &self.plan.journal;
        let blocks = self.extents(spot, self.inode_sum(JOURNAL_INODE))?.blocks;
        let places =
            self.plan.geometry.runs(spot.tree_first(), spot.tree).flat_map(|run| run.first..run.end());
        places.zip(blocks).try_for_each(|(place, block)| self.put(place, 0, &block))
    }

    /// The blocks of the inode that keeps room for more descriptors.
    fn resize_blocks(&self) -> Result<(), Fault> {
        let geometry = &self.plan.geometry;
        let Some(before) = self.plan.resize else { return Ok(()) };
        let kept = Run { first: 1 + geometry.descriptors, blocks: geometry.reserved };
        let mut all = Block::new();
        let mut each = Vec::with_capacity((kept.blocks * BLOCK) as usize);
        for (number, block) in (kept.first..kept.end()).enumerate() {
            all.put32((geometry.descriptors as usize + number) % (BLOCK as usize / 4) * 4, block);
            let mut copies = Block::new();
            for (copy, group) in geometry.backups().enumerate() {
                copies.put32(copy * 4, group * GROUP + block);
            }
            each.extend(copies.done()?);
        }
        self.put(kept.first, 0, &each)?;
        self.put(geometry.place(before), 0, &all.done()?)
    }
}
