//! Which blocks are whose. Those that are for contents are counted without regard to what stands between them; whatever
//! takes some takes the next ones: the inode that has the room for more descriptors, the journal, and all items in their
//! order.

use super::extent::{Extent, extents, tree_blocks};
use super::geometry::{BLOCK, Geometry, Run};
use super::tree::{Item, Tree};
use crate::outputs::fit::STEP;

/// Bytes of a journal, the best first, as mke2fs(8) takes them for file systems of sixteen times that.
const JOURNALS: [u64; 3] = [64 << 20, 16 << 20, SMALLEST_JOURNAL];
/// A kernel takes none that is smaller.
const SMALLEST_JOURNAL: u64 = 4 << 20;

/// Whose blocks are where.
#[derive(Debug)]
pub struct Plan<'t, 'a> {
    pub tree: &'t Tree<'a>,
    pub geometry: Geometry,
    /// The block of the inode that has the room for more descriptors.
    pub resize: Option<u64>,
    pub journal: Spot,
    /// Of each item.
    pub spots: Vec<Spot>,
    /// How many blocks for contents are used.
    pub used: u64,
}

/// The blocks of one inode, counted among those for contents: one of extended attributes, its content, and what tells
/// where that is.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    pub first: u64,
    pub xattr: bool,
    pub content: u64,
    pub tree: u64,
}

impl Spot {
    /// How many they are.
    pub fn blocks(&self) -> u64 {
        u64::from(self.xattr) + self.content + self.tree
    }

    /// The first of its content.
    pub fn content_first(&self) -> u64 {
        self.first + u64::from(self.xattr)
    }

    /// The first of what tells where its content is.
    pub fn tree_first(&self) -> u64 {
        self.content_first() + self.content
    }
}

impl<'t, 'a> Plan<'t, 'a> {
    /// The plan of a file system of `size` bytes; none if that is too small.
    pub fn of(tree: &'t Tree<'a>, size: u64) -> Option<Plan<'t, 'a>> {
        let fits = |journal: &u64| *journal == SMALLEST_JOURNAL || size / 16 >= *journal;
        JOURNALS
            .iter()
            .filter(|journal| fits(journal))
            .find_map(|journal| Plan::with(tree, size, journal / BLOCK))
    }

    fn with(tree: &'t Tree<'a>, size: u64, journal: u64) -> Option<Plan<'t, 'a>> {
        let geometry = Geometry::of(size, tree.inodes())?;
        let least = tree.blocks().checked_add(journal)?;
        if least > geometry.capacity() {
            return None;
        }
        let mut used = 0;
        let mut take = |content: u64, xattr: bool| {
            let mut spot = Spot { first: used, xattr, content, tree: 0 };
            spot.tree = tree_blocks(extents(geometry.runs(spot.content_first(), content)).len());
            used += spot.blocks();
            spot
        };
        let resize = (geometry.reserved > 0).then(|| take(1, false).first);
        let journal = take(journal, false);
        let spots = tree.items.iter().map(|item| take(item.content, item.xattr_block)).collect();
        (used <= geometry.capacity()).then_some(Plan { tree, geometry, resize, journal, spots, used })
    }

    /// The items with their spots.
    pub fn items(&self) -> impl Iterator<Item = (&'t Item<'a>, &Spot)> {
        self.tree.items.iter().zip(&self.spots)
    }

    /// Where a spot's content is.
    pub fn extents(&self, spot: &Spot) -> Vec<Extent> {
        extents(self.geometry.runs(spot.content_first(), spot.content))
    }

    /// All blocks that are used, in their order.
    pub fn used(&self) -> Vec<Run> {
        let mut used: Vec<Run> = self.geometry.fixed.clone();
        used.extend(self.geometry.runs(0, self.used));
        used.sort_by_key(|run| run.first);
        used
    }

    /// How many blocks are used, of contents and others.
    pub fn used_blocks(&self) -> u64 {
        self.used + self.fixed()
    }

    /// How many blocks can never be a file's: those of the file system and of its journal.
    pub fn overhead(&self) -> u64 {
        self.fixed() + self.journal.blocks()
    }

    fn fixed(&self) -> u64 {
        self.geometry.fixed.iter().map(|run| run.blocks).sum()
    }
}

/// The smallest size, from `from` on, that does; or, if none does, one that is larger than there can be.
pub fn least(tree: &Tree<'_>, from: u64) -> u64 {
    use super::geometry::{GROUP, LARGEST};
    let content = tree.blocks().saturating_mul(BLOCK).saturating_add(SMALLEST_JOURNAL);
    // A group has only so many inodes.
    let groups = (tree.inodes() / GROUP).saturating_sub(1);
    let mut size =
        from.max(content).max(groups * GROUP * BLOCK).clamp(STEP, 2 * LARGEST).next_multiple_of(STEP);
    while size <= LARGEST && Plan::of(tree, size).is_none() {
        let lacks = Geometry::of(size, tree.inodes())
            .map_or(0, |geometry| (content / BLOCK).saturating_sub(geometry.capacity()));
        // As many blocks more are at best as many for contents.
        size += (lacks * BLOCK / STEP * STEP).max(STEP);
    }
    size
}
