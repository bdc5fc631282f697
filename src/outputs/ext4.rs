//! ext4, written without a tool: it is new, so that everything lies in one piece, in the order of paths.
//!
//! The format is that of the kernel's Documentation/filesystems/ext4 and of ext4(5); the features are those that Debian's
//! mke2fs(8) takes by itself, so that whoever reads one of its file systems reads these: kernels, boot loaders, resize2fs(8).
//! First is the [`Tree`](tree::Tree) of inodes, then the [`Plan`](plan::Plan) of their blocks, and only then anything is
//! written. The same image is the same bytes: the clock and what else mke2fs would draw are given.

mod directory;
mod extent;
mod geometry;
mod groups;
mod hash;
mod inode;
mod journal;
mod plan;
mod record;
mod superblock;
mod tree;
mod write;
mod xattr;

use self::geometry::LARGEST;
use self::plan::Plan;
use self::tree::Tree;
use self::write::Writer;
use super::fit;
use super::made::{Device, Made};
use super::seed::uuid_bytes;
use crate::fault::{Fault, Place};
use crate::lang::Spanned;
use crate::layer::Merged;
use crate::wording;
use crate::work::Job;

/// Bytes of the smallest that there is: with nothing in it.
pub const SMALLEST: u64 = 5 << 20;

/// A file system that is yet to be made.
pub struct Ext4<'a> {
    /// What it is to be.
    pub made: &'a Made<'a>,
    /// Who asks for it.
    pub place: &'a Place,
}

impl Ext4<'_> {
    /// Writes it, `size` bytes large, where nothing but zeros is.
    ///
    /// # Errors
    ///
    /// It does not fit; the image has what ext4 cannot have; reading layers, writing; the work was ended.
    pub fn write(&self, device: &Device<'_>, size: &Spanned<u64>, job: &Job<'_>) -> Result<(), Fault> {
        let of_output = |fault: Fault| fault.at(self.place, "this output");
        let Made { merged, stack, uuid, label, epoch, threads } = *self.made;
        let tree = Tree::of(merged, epoch).map_err(of_output)?;
        let plan = Plan::of(&tree, size.value).filter(|_| size.value <= LARGEST);
        let plan = &plan.ok_or_else(|| self.odd_size(size, &tree))?;
        let (uuid, label) = (uuid_bytes(uuid), label.unwrap_or_default());
        // Zero would be no time at all.
        let made = epoch.max(1);
        Writer { plan, stack, uuid, label, made, device, job }.write(threads).map_err(of_output)
    }

    /// What is wrong with a size.
    fn odd_size(&self, size: &Spanned<u64>, tree: &Tree<'_>) -> Fault {
        let needed = plan::least(tree, size.value);
        if let Some(fault) = fit::too_small(size, needed, self.made.merged, self.place) {
            return fault;
        }
        let message = format!("no ext4 of more than {} can be written", wording::size(LARGEST));
        let fault = Fault::build("output/too-large", message).at(&size.place, "this size");
        if size.place == *self.place { fault } else { fault.at(self.place, "of this output") }
    }
}

/// Bytes of the smallest that holds all of `merged`.
///
/// # Errors
///
/// What ext4 cannot have.
pub fn least(merged: &Merged) -> Result<u64, Fault> {
    Ok(plan::least(&Tree::of(merged, 0)?, 0))
}
