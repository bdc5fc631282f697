//! Where what is about the others stands: superblocks, descriptors, bitmaps and tables of inodes
//! (Documentation/filesystems/ext4/blockgroup.rst); and so which blocks are for contents.
//!
//! The bitmaps and tables of sixteen groups stand in the first of them (`flex_bg`), so that contents lie in long pieces.
//! Copies of the superblock and of all descriptors are in group 1, and in those that are a power of 3, 5 or 7
//! (`sparse_super`).

/// Bytes of a block.
pub const BLOCK: u64 = 4096;
/// Bytes of an inode.
pub const INODE: u64 = 256;
/// Blocks of a group: as many as a bitmap of one block has bits. No group has more inodes, either.
pub const GROUP: u64 = 8 * BLOCK;
/// Bytes of a group's descriptor.
pub const DESCRIPTOR: u64 = 64;
/// Bytes of the largest file system.
pub const LARGEST: u64 = 64 << 40;
/// Inodes that are never a file's: from 1, the last is that of `lost+found`.
pub const FIRST_INODES: u64 = 11;

/// Groups whose tables stand together.
const FLEX: u64 = 16;
/// A last group has at least that many blocks for contents: fewer are not worth it.
const WORTHWHILE: u64 = 50;

/// Blocks that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub first: u64,
    /// How many.
    pub blocks: u64,
}

impl Run {
    /// The block behind the last.
    pub fn end(&self) -> u64 {
        self.first + self.blocks
    }
}

/// The first blocks of what a group has.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    /// Of the bitmap of its blocks.
    pub block_bitmap: u64,
    /// Of the bitmap of its inodes.
    pub inode_bitmap: u64,
    /// Of its inodes.
    pub inodes: u64,
}

/// What stands where in a file system.
#[derive(Debug)]
pub struct Geometry {
    /// How many blocks it has.
    pub blocks: u64,
    /// How many inodes a group has.
    pub inodes_per_group: u64,
    /// How many blocks all descriptors take.
    pub descriptors: u64,
    /// How many blocks behind these are kept for more: those of a file system a thousand times as large.
    pub reserved: u64,
    /// Of each group.
    pub tables: Vec<Tables>,
    /// All blocks that are not for contents, in their order.
    pub fixed: Vec<Run>,
    /// All others, in their order, each with the number of those before it.
    free: Vec<(u64, Run)>,
}

impl Geometry {
    /// That of a file system of up to `size` bytes with at least `inodes` files; none if there is no room for them.
    pub fn of(size: u64, inodes: u64) -> Option<Geometry> {
        let blocks = size.min(LARGEST) / BLOCK;
        let whole = Geometry::shape(blocks, size, inodes)?;
        let last = whole.groups() - 1;
        let geometry = match blocks - last * GROUP >= whole.needs(last) + WORTHWHILE {
            true => whole,
            false => Geometry::shape(last * GROUP, size, inodes)?,
        };
        geometry.settled()
    }

    /// How many of everything.
    fn shape(blocks: u64, size: u64, inodes: u64) -> Option<Geometry> {
        let groups = blocks.div_ceil(GROUP);
        let inodes = inodes.checked_add(FIRST_INODES)?;
        // Room for a quarter more.
        let wanted = (inodes.checked_mul(5)? / 4 + 1024).max(size / bytes_of_inode(size));
        let inodes_per_group = match groups {
            0 => return None,
            groups => wanted.div_ceil(groups).min(GROUP).next_multiple_of(BLOCK / INODE),
        };
        let all = inodes_per_group * groups;
        let descriptors = (groups * DESCRIPTOR).div_ceil(BLOCK);
        let (tables, fixed, free) = (Vec::new(), Vec::new(), Vec::new());
        let reserved = reserved(blocks, descriptors);
        let enough = all >= inodes && u32::try_from(all).is_ok();
        enough.then_some(Geometry { blocks, inodes_per_group, descriptors, reserved, tables, fixed, free })
    }

    /// With a place for everything.
    fn settled(mut self) -> Option<Geometry> {
        for first in (0..self.groups()).step_by(FLEX as usize) {
            let groups = first..(first + FLEX).min(self.groups());
            let (start, end) = (first * GROUP, (groups.end * GROUP).min(self.blocks));
            let mut used: Vec<Run> = groups.clone().filter_map(|group| self.front(group)).collect();
            let mut next = start;
            let mut place = |blocks: u64| {
                let first = self.beside_fronts(next, blocks);
                next = first + blocks;
                used.push(Run { first, blocks });
                (next <= end).then_some(first)
            };
            let count = groups.end - groups.start;
            let (block_bitmaps, inode_bitmaps) = (place(count)?, place(count)?);
            let mut tables = Vec::new();
            for number in 0..count {
                let inodes = place(self.inode_blocks())?;
                let (block_bitmap, inode_bitmap) = (block_bitmaps + number, inode_bitmaps + number);
                tables.push(Tables { block_bitmap, inode_bitmap, inodes });
            }
            self.tables.append(&mut tables);
            used.sort_by_key(|run| run.first);
            self.take(&used, start, end);
        }
        Some(self)
    }

    /// The first block, from `first` on, of `blocks` that are in nobody's way. They are fewer than those of a group.
    fn beside_fronts(&self, first: u64, blocks: u64) -> u64 {
        match self.front((first + blocks - 1) / GROUP) {
            Some(front) if first < front.end() => front.end(),
            _ => first,
        }
    }

    /// Between `start` and `end`, `used` is used.
    fn take(&mut self, used: &[Run], start: u64, end: u64) {
        let mut at = start;
        for run in used.iter().copied().chain([Run { first: end, blocks: 0 }]) {
            if run.first > at {
                let before = self.capacity();
                self.free.push((before, Run { first: at, blocks: run.first - at }));
            }
            at = run.end();
            match self.fixed.last_mut() {
                Some(last) if last.end() == run.first => last.blocks += run.blocks,
                _ if run.blocks > 0 => self.fixed.push(run),
                _ => {}
            }
        }
    }

    /// How many groups it has.
    pub fn groups(&self) -> u64 {
        self.blocks.div_ceil(GROUP)
    }

    /// How many blocks the inodes of a group take.
    fn inode_blocks(&self) -> u64 {
        self.inodes_per_group / (BLOCK / INODE)
    }

    /// How many blocks are for contents.
    pub fn capacity(&self) -> u64 {
        self.free.last().map_or(0, |(before, run)| before + run.blocks)
    }

    /// What begins a group: a superblock, all descriptors, and the room for more; most have none.
    pub fn front(&self, group: u64) -> Option<Run> {
        let blocks = 1 + self.descriptors + self.reserved;
        has_superblock(group).then_some(Run { first: group * GROUP, blocks })
    }

    /// Blocks that a last group has to have beside contents.
    fn needs(&self, group: u64) -> u64 {
        let tables = if group.is_multiple_of(FLEX) { 2 + self.inode_blocks() } else { 0 };
        self.front(group).map_or(0, |front| front.blocks) + tables
    }

    /// The groups that have a copy of the superblock.
    pub fn backups(&self) -> impl Iterator<Item = u64> {
        (1..self.groups()).filter(|group| has_superblock(*group))
    }

    /// Where `blocks` blocks for contents are, of which `first` come before them.
    pub fn runs(&self, first: u64, blocks: u64) -> impl Iterator<Item = Run> {
        let from = self.free.partition_point(|(before, run)| before + run.blocks <= first);
        let end = first + blocks;
        let inside = self.free.iter().skip(from).take_while(move |(before, _)| *before < end);
        inside.map(move |(before, run)| {
            let skipped = first.saturating_sub(*before);
            let blocks = (end - before).min(run.blocks) - skipped;
            Run { first: run.first + skipped, blocks }
        })
    }

    /// Where the block for contents is that `before` come before.
    pub fn place(&self, before: u64) -> u64 {
        self.runs(before, 1).next().map_or(0, |run| run.first)
    }
}

fn has_superblock(group: u64) -> bool {
    let is_power = |of: u64| {
        let mut left = group;
        while left > 1 && left.is_multiple_of(of) {
            left /= of;
        }
        left == 1
    };
    group <= 1 || [3, 5, 7].into_iter().any(is_power)
}

/// For how many bytes there is an inode (mke2fs.conf(5): `big` from 4 TiB, `huge` from 16 TiB).
fn bytes_of_inode(size: u64) -> u64 {
    match size >> 40 {
        0..4 => 16 << 10,
        4..16 => 32 << 10,
        _ => 64 << 10,
    }
}

/// Blocks that are kept for more descriptors: up to as many as a block tells the places of. From 2^32 blocks on, the
/// inode that has them could not: it knows no such numbers.
fn reserved(blocks: u64, descriptors: u64) -> u64 {
    let most = u64::from(u32::MAX);
    if blocks > most {
        return 0;
    }
    let groups = (blocks * 1024).min(most).div_ceil(GROUP);
    (groups * DESCRIPTOR).div_ceil(BLOCK).saturating_sub(descriptors).min(BLOCK / 4)
}
