//! xfs, written without a tool: it is new, so that everything lies in one piece, inodes first. Nothing is unpacked and
//! nothing mounted; nothing is taken from chance or the clock.
//!
//! Version 5, as mkfs.xfs(8) makes it: four groups or more, inodes of 512 bytes with times up to 2486, trees of free
//! inodes and of shared blocks, an empty log of 64 MiB.
//!
//! The format is that of the kernel's `fs/xfs/libxfs/xfs_format.h`, `xfs_da_format.h` and `xfs_log_format.h`.

mod attributes;
mod folder;
mod format;
mod space;

use std::collections::BTreeMap;

use super::files::{Access, check_kind, file_type, file_type_of, holder, number, type_bits};
use super::made::{Device, Made};
use super::seed::uuid_bytes;
use super::unfit;
use crate::fault::Fault;
use crate::filesystems::xfs::format::{MAJOR_BITS, MINOR_BITS};
use crate::layer::merge::Node;
use crate::layer::{Entry, EntryPath, Kind, Merged};
use crate::work::Job;
use attributes::attributes;
use folder::{Kept, Name};
use format::{BLOCK, CHUNK, CORE, EXTENT, Extent, INODE, NONE, Record, SECTOR, Uuid, fork};
use space::{LOG, Space};

/// The smallest one: bytes (mkfs.xfs(8)).
pub const SMALLEST: u64 = 300 << 20;

/// What is free in the smallest file system: bytes. Of this, the kernel keeps 32 MiB and a part of each group for itself.
const ROOM: u64 = 48 << 20;
/// Bytes of an inode that content and attributes share.
const FORKS: usize = INODE - CORE;
/// Bytes that attributes have in an inode at least: where they grow, the root of a tree that tells where they are, which
/// has two records (`MINABTPTRS`).
const LEAST_ATTRIBUTES: usize = 4 + 2 * 16;
/// Bytes of attributes that stand in an inode, so that some are left for content.
const MOST_ATTRIBUTES: usize = FORKS - 6 * EXTENT;
/// Bytes of a symbolic link.
const LONGEST_LINK: usize = 1023;
/// Inodes that are there in front of the image's: the root, and two of what is never used without another device.
const OWN_INODES: u64 = 3;

/// A file system that is yet to be written.
pub struct Xfs<'a>(pub &'a Made<'a>);

/// Bytes of the smallest file system that holds all of `merged`.
///
/// # Errors
///
/// What xfs cannot have.
pub fn least(merged: &Merged) -> Result<u64, Fault> {
    let content: u64 =
        merged.nodes().map(|node| node.entry.kind.size().next_multiple_of(BLOCK) + 4 * BLOCK).sum();
    // In one that is surely large enough: how much of it is used?
    let enough = (content + content / 8 + (1 << 30)) / BLOCK;
    let used = Plan::of(merged, &Uuid::default(), (enough, 0))?.space.used() * BLOCK;
    Ok(used + used / 50 + ROOM)
}

impl Xfs<'_> {
    /// Writes it, `size` bytes large, where nothing but zeros is. It has to be as large as [`least`] says.
    ///
    /// # Errors
    ///
    /// What xfs cannot have; reading layers, writing.
    pub fn write(&self, device: &Device<'_>, size: u64, job: &Job<'_>) -> Result<(), Fault> {
        let (made, uuid, blocks) = (self.0, uuid_bytes(self.0.uuid), size / BLOCK);
        let plan = Plan::of(made.merged, &uuid, (blocks, made.epoch))?;
        for piece in &plan.contents {
            job.go_on()?;
            let (at, offset) = (plan.space.at(piece.extent.block), piece.extent.offset * BLOCK);
            made.copy(piece.node, (offset, piece.extent.count * BLOCK), (device, at), &mut |_| {})?;
        }
        let chunks = (0..).step_by(CHUNK as usize).zip(plan.inodes.chunks(CHUNK as usize * INODE));
        for (first, bytes) in chunks {
            device.put(plan.space.inode_at(plan.space.inode(first)), bytes)?;
        }
        for (at, bytes) in
            plan.blocks.iter().chain(&plan.space.headers(&uuid)).chain(&log(&plan.space, &uuid))
        {
            device.put(*at, bytes)?;
        }
        let superblock = self.superblock(&plan.space, blocks, &uuid);
        let groups = plan.space.groups.iter().map(|group| group.number * plan.space.blocks * BLOCK);
        groups.into_iter().try_for_each(|at| device.put(at, &superblock))
    }

    /// `xfs_dsb`.
    fn superblock(&self, space: &Space, blocks: u64, uuid: &Uuid) -> Vec<u8> {
        // Version 5, and bits of versions before: links, alignment, the second log, directories and bits of more.
        const VERSION: u16 = 0xb4b5;
        // Counts that are only written at the end, attributes in any place, projects of 32 bits, sums.
        const MORE: u32 = 0x18a;
        // Trees of free inodes and of shared blocks, and how many blocks trees of inodes have.
        const READ_ONLY_COMPATIBLE: u32 = 1 | 4 | 8;
        // Directories with kinds, chunks of inodes with holes, times of 64 bits.
        const INCOMPATIBLE: u32 = 1 | 2 | 8;
        const LABEL: usize = 12;
        let root = space.inode(0);
        let record = Record::new().bytes(b"XFSB").u32(BLOCK as u32).u64s(&[blocks, 0, 0]).bytes(uuid);
        let record = record.u64s(&[space.log_start(), root, root + 1, root + 2]);
        let record = record.u32s(&[1, space.blocks as u32, space.groups.len() as u32, 0, LOG as u32]);
        let record =
            record.u16(VERSION).u16(SECTOR as u16).u16(INODE as u16).u16((BLOCK / INODE as u64) as u16);
        let label = self.0.label.unwrap_or_default().as_bytes();
        let record = record.bytes(label).zeros(LABEL.saturating_sub(label.len()));
        // The same sizes as powers of two; at most a quarter is of inodes.
        let record = record.bytes(&[12, 9, 9, 3, space.bits as u8, 0, 0, 25]);
        let record = record.u64s(&[space.inodes, space.inodes - space.taken, space.free(), 0, 0, 0]);
        let record = record.zeros(4).u32s(&[8, 0, 0]).zeros(4).u32s(&[1, MORE, MORE]);
        let record = record.u32s(&[0, READ_ONLY_COMPATIBLE, INCOMPATIBLE, 0]);
        let at = record.len();
        record.zeros(4).u32(4).up_to(SECTOR as usize).summed(at)
    }
}

/// The log's first two sectors: that it was left in order (`fs/xfs/libxfs/xfs_log_format.h`).
fn log(space: &Space, uuid: &Uuid) -> [(u64, Vec<u8>); 1] {
    const MAGIC: u32 = 0xfeed_babe;
    const LEFT: u32 = 0xb0c0_d0d0;
    // Cycle, version, length of the record, where it is, where the oldest is, a sum that none is, none before it.
    let record = Record::new().u32s(&[MAGIC, 1, 2, SECTOR as u32]).u64s(&[1 << 32, 1 << 32]).u32s(&[0, NONE]);
    // One operation; the first number of its sector, in whose place the cycle stands.
    let record = record.u32s(&[1, LEFT]).up_to(300);
    // As a machine writes it whose lowest byte is first; and the size of what it writes at once.
    let record = record.u32(1).bytes(uuid).u32(32 << 10).up_to(SECTOR as usize);
    let record = record.u32s(&[1, 8]).bytes(&[0xaa, 0x20, 0, 0]).bytes(b"nU");
    [(space.at(space.log_start()), record.up_to(2 * SECTOR as usize).done())]
}

/// Where everything is to be.
struct Plan<'a> {
    space: Space,
    uuid: Uuid,
    /// All inodes, in the order of their numbers.
    inodes: Vec<u8>,
    /// Blocks of directories, attributes and links, with their places: bytes from the beginning.
    blocks: Vec<(u64, Vec<u8>)>,
    contents: Vec<Piece<'a>>,
}

/// A piece of a file's content.
struct Piece<'a> {
    node: &'a Node,
    extent: Extent,
}

/// What an inode says of itself.
#[derive(Default)]
struct Inode {
    /// With the bits of its type.
    mode: u32,
    user: u32,
    group: u32,
    links: u32,
    time: i64,
    size: u64,
    /// How many it has: content and attributes.
    blocks: u64,
    format: u8,
    extents: usize,
    content: Vec<u8>,
    attributes: Attributes,
    /// Bits of its own.
    flags: u16,
}

/// Where the attributes of an inode are.
#[derive(Default)]
enum Attributes {
    #[default]
    None,
    Here(Vec<u8>),
    /// The extent of their block.
    There(Vec<u8>),
}

/// What is known of a file before its inode is made.
struct Known<'a> {
    index: u64,
    links: u32,
    /// What stands in a directory.
    names: Vec<Name<'a>>,
}

impl<'a> Plan<'a> {
    /// The plan for `blocks` blocks with `merged`; what is not in the image is as of `epoch`.
    fn of(merged: &'a Merged, uuid: &Uuid, (blocks, epoch): (u64, i64)) -> Result<Plan<'a>, Fault> {
        let unfit = |node: &'a Node| Some((&node.entry.path, check(&node.entry).err()?));
        unfit::check("an xfs file system", merged.nodes().filter_map(unfit))?;
        let known = known(merged);
        let inodes = known.len() as u64 + OWN_INODES - 1;
        let space = Space::of(blocks, inodes)?;
        let mut plan =
            Plan { uuid: *uuid, inodes: Vec::new(), blocks: Vec::new(), contents: Vec::new(), space };
        plan.inodes = vec![0; plan.space.inodes as usize * INODE];
        let known = plan.named(merged, known)?;
        for index in 0..plan.space.inodes {
            plan.put(index, &Inode::default());
        }
        // Without a device for it, the files of what is real-time are empty.
        const NEW_BITMAP: u16 = 4;
        for (index, flags) in [(1, NEW_BITMAP), (2, 0)] {
            let (mode, format) = (0o100_000, fork::EXTENTS);
            plan.put(index, &Inode { mode, format, links: 1, time: epoch, flags, ..Inode::default() });
        }
        if merged.get(&EntryPath::root()).is_none() {
            let root = Entry::passage(EntryPath::root(), epoch);
            let of = Known { index: 0, links: 2, names: Vec::new() };
            let inode = plan.folder(&root, &of, 0, Inode::default())?;
            plan.put(0, &Inode { mode: 0o040_755, links: 2, time: epoch, ..inode });
        }
        for node in merged.nodes() {
            if let Some(of) = known.get(&node.entry.path) {
                let parent = node.entry.path.parent().and_then(|parent| known.get(&parent));
                plan.file(node, of, parent.map_or(0, |parent| parent.index))?;
            }
        }
        Ok(plan)
    }

    /// The same with all names in their directories.
    fn named(
        &self,
        merged: &'a Merged,
        mut known: BTreeMap<EntryPath, Known<'a>>,
    ) -> Result<BTreeMap<EntryPath, Known<'a>>, Fault> {
        for Node { entry, .. } in merged.nodes() {
            let Some(parent) = entry.path.parent() else { continue };
            let holder = holder(entry);
            let kind = if holder == &entry.path { file_type_of(&entry.kind) } else { file_type::FILE };
            let lost = || {
                Fault::machine("internal", format!("`/{}` is in no folder, or a name of nothing", entry.path))
            };
            let inode = self.space.inode(known.get(holder).ok_or_else(lost)?.index);
            let folder = known.get_mut(&parent).ok_or_else(lost)?;
            folder.links += u32::from(kind == file_type::DIRECTORY);
            folder.names.push(Name { name: entry.path.name(), inode, kind });
        }
        Ok(known)
    }

    fn put(&mut self, index: u64, inode: &Inode) {
        let bytes = inode.record(self.space.inode(index), &self.uuid);
        let at = index as usize * INODE;
        if let Some(place) = self.inodes.get_mut(at..at + INODE) {
            place.copy_from_slice(&bytes);
        }
    }

    fn file(&mut self, node: &'a Node, of: &Known<'_>, parent: u64) -> Result<(), Fault> {
        let entry = &node.entry;
        let mut inode = Inode {
            mode: entry.mode | type_bits(&entry.kind),
            user: number(&entry.owner.user),
            group: number(&entry.owner.group),
            links: of.links,
            time: entry.mtime,
            ..Inode::default()
        };
        self.attributes(entry, of, &mut inode)?;
        let inode = match &entry.kind {
            Kind::Directory => self.folder(entry, of, parent, inode)?,
            Kind::Symlink(target) => self.link(entry, of, target, inode)?,
            Kind::File { size, .. } => {
                let extents = self.space.take(0, size.div_ceil(BLOCK))?;
                self.contents.extend(extents.iter().map(|extent| Piece { node, extent: *extent }));
                Inode { size: *size, ..inode.with_extents(&extents, entry)? }
            }
            Kind::Character(major, minor) | Kind::Block(major, minor) => {
                Inode { content: Record::new().u32(major << MINOR_BITS | minor).done(), ..inode }
            }
            Kind::Fifo | Kind::Hardlink(_) | Kind::Whiteout | Kind::Opaque => inode,
        };
        self.put(of.index, &inode);
        Ok(())
    }

    fn attributes(&mut self, entry: &Entry, of: &Known<'_>, inode: &mut Inode) -> Result<(), Fault> {
        let all = attributes(entry).unwrap_or_default();
        if all.is_empty() {
            return Ok(());
        }
        let local = attributes::local(&all).filter(|local| local.len() <= MOST_ATTRIBUTES);
        inode.attributes = match local {
            Some(local) => Attributes::Here(local),
            None => {
                let extents = self.space.take(0, 1)?;
                let record = extents.first().map(Extent::record).unwrap_or_default();
                let at = extents.first().map_or(0, |extent| self.space.at(extent.block));
                let block = attributes::block(&all, at, self.space.inode(of.index), &self.uuid);
                self.blocks.push((at, block));
                inode.blocks += 1;
                Attributes::There(record)
            }
        };
        Ok(())
    }

    fn folder(&mut self, entry: &Entry, of: &Known<'_>, parent: u64, inode: Inode) -> Result<Inode, Fault> {
        let (own, parent) = (self.space.inode(of.index), self.space.inode(parent));
        let blocks = match folder::kept(own, parent, &of.names, inode.room()) {
            Kept::Local(content) => {
                return Ok(Inode { size: content.len() as u64, format: fork::LOCAL, content, ..inode });
            }
            Kept::Blocks(blocks) => blocks,
        };
        let mut extents: Vec<Extent> = Vec::new();
        for block in &blocks {
            for extent in self.space.take(block.offset, 1)? {
                let at = self.space.at(extent.block);
                self.blocks.push((at, block.bytes(at, own, &self.uuid)));
                match extents.last_mut() {
                    Some(last)
                        if (last.offset + last.count, last.block + last.count)
                            == (extent.offset, extent.block) =>
                    {
                        last.count += 1;
                    }
                    _ => extents.push(extent),
                }
            }
        }
        let size = blocks.iter().filter(|block| block.has_names()).count() as u64 * BLOCK;
        Ok(Inode { size, ..inode.with_extents(&extents, entry)? })
    }

    fn link(&mut self, entry: &Entry, of: &Known<'_>, target: &[u8], inode: Inode) -> Result<Inode, Fault> {
        let size = target.len() as u64;
        if target.len() <= inode.room() {
            return Ok(Inode { size, format: fork::LOCAL, content: target.to_vec(), ..inode });
        }
        let extents = self.space.take(0, 1)?;
        let at = extents.first().map_or(0, |extent| self.space.at(extent.block));
        let own = self.space.inode(of.index);
        let record = Record::new().bytes(b"XSLM").u32s(&[0, size as u32, 0]).bytes(&self.uuid);
        let record = record.u64s(&[own, at / SECTOR, 0]).bytes(target);
        self.blocks.push((at, record.up_to(BLOCK as usize).summed(12)));
        Ok(Inode { size, ..inode.with_extents(&extents, entry)? })
    }
}

impl Inode {
    /// Bytes that content can have in it.
    fn room(&self) -> usize {
        match &self.attributes {
            Attributes::None => FORKS,
            Attributes::Here(bytes) | Attributes::There(bytes) => {
                FORKS - bytes.len().max(LEAST_ATTRIBUTES).next_multiple_of(8)
            }
        }
    }

    /// The same with content there.
    fn with_extents(mut self, extents: &[Extent], entry: &Entry) -> Result<Inode, Fault> {
        (self.format, self.extents) = (fork::EXTENTS, extents.len());
        self.content = extents.iter().flat_map(Extent::record).collect();
        self.blocks += extents.iter().map(|extent| extent.count).sum::<u64>();
        if self.content.len() > self.room() {
            let message = format!("`/{}` would be in too many pieces of an xfs file system", entry.path);
            return Err(Fault::build("output/large", message));
        }
        Ok(self)
    }

    /// `xfs_dinode` with what it has.
    fn record(&self, number: u64, uuid: &Uuid) -> Vec<u8> {
        const BIG_TIME: u64 = 1 << 3;
        const VERSION: u8 = 3;
        let is_free = self.mode == 0;
        let (format, there, attributes): (u8, u16, &[u8]) = match &self.attributes {
            Attributes::None => (if is_free { fork::DEVICE } else { fork::EXTENTS }, 0, &[]),
            Attributes::Here(bytes) => (fork::LOCAL, 0, bytes),
            Attributes::There(bytes) => (fork::EXTENTS, 1, bytes),
        };
        // Behind a device's number attributes begin at once.
        let room = if self.format == fork::DEVICE { 8 } else { self.room() };
        let begin = if attributes.is_empty() { 0 } else { room / 8 };
        let time = if is_free { 0 } else { format::time(self.time) };
        let record = Record::new().bytes(b"IN").u16(self.mode as u16).u8(VERSION).u8(self.format).u16(0);
        let record = record.u32s(&[self.user, self.group, self.links, 0]).zeros(8);
        let record = record.u64s(&[time, time, time, self.size, self.blocks]);
        let record = record.u32s(&[0, self.extents as u32]).u16(there).u8(begin as u8).u8(format).zeros(6);
        let record = record.u16(self.flags).u32s(&[0, NONE]);
        let at = record.len();
        let record = record.zeros(4).u64s(&[u64::from(!is_free), 0, if is_free { 0 } else { BIG_TIME }]);
        let record = record.zeros(16).u64s(&[time, number]).bytes(uuid).bytes(&self.content);
        let record =
            if attributes.is_empty() { record } else { record.up_to(CORE + 8 * begin).bytes(attributes) };
        record.up_to(INODE).summed(at)
    }
}

/// An inode for each file, in the order of paths, and how many names it has.
fn known<'a>(merged: &Merged) -> BTreeMap<EntryPath, Known<'a>> {
    let of = |index, links| Known { index, links, names: Vec::new() };
    let mut known = BTreeMap::from([(EntryPath::root(), of(0, 2))]);
    let files = || merged.nodes().map(|node| &node.entry);
    let holders = files().filter(|entry| !entry.path.is_root() && holder(entry) == &entry.path);
    for (index, entry) in (OWN_INODES..).zip(holders) {
        let links = if entry.kind == Kind::Directory { 2 } else { 0 };
        known.insert(entry.path.clone(), of(index, links));
    }
    for entry in files().filter(|entry| entry.kind != Kind::Directory) {
        if let Some(known) = known.get_mut(holder(entry)) {
            known.links += 1;
        }
    }
    known
}

/// Why xfs cannot have it, if so.
fn check(entry: &Entry) -> Result<(), String> {
    Access::check(&entry.xattrs)?;
    attributes(entry)?;
    check_kind(&entry.kind, LONGEST_LINK, (MAJOR_BITS, MINOR_BITS))
}
