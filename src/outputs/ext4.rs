//! ext4, written without a tool: it is new, so that everything lies in one piece, in the order of paths.
//!
//! The format is that of the kernel's Documentation/filesystems/ext4 and of ext4(5); the features are those that Debian's
//! mke2fs(8) takes by itself, so that whoever reads one of its file systems reads these: kernels, boot loaders, resize2fs(8).
//! First is the [`Tree`](tree::Tree) of inodes, then the [`Plan`](plan::Plan) of their blocks, and only then anything is
//! written. The same image is the same bytes: the clock and what else mke2fs would draw are given.

mod checksum;
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

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use self::geometry::LARGEST;
pub use self::plan::STEP;
use self::plan::{Plan, least};
use self::tree::Tree;
use self::write::Writer;
use crate::fault::{Fault, Place};
use crate::lang::Spanned;
use crate::layer::Merged;
use crate::wording;
use crate::work::{Job, Stack};

/// What is free at least where no size is stated: bytes.
const ROOM: u64 = 64 << 20;

/// A file system that is yet to be made.
pub struct Ext4<'a> {
    /// All that is in it.
    pub merged: &'a Merged,
    /// Where its contents are.
    pub stack: &'a Stack,
    /// Its UUID, and what its hash seed is made from.
    pub uuid: &'a str,
    /// What it is called: up to 16 bytes.
    pub label: Option<&'a str>,
    /// The time of all that the image does not have: seconds since 1970.
    pub epoch: i64,
    /// Who asks for it.
    pub place: &'a Place,
    /// How many threads may write it.
    pub threads: usize,
}

impl Ext4<'_> {
    /// Writes it into `out`, from byte `at` on and `size` bytes long, where nothing but zeros is.
    ///
    /// # Errors
    ///
    /// It does not fit; the image has what ext4 cannot have; reading layers, writing; the work was ended.
    pub fn write(
        &self,
        (out, path): (&File, &Path),
        at: u64,
        size: &Spanned<u64>,
        job: &Job<'_>,
    ) -> Result<(), Fault> {
        let tree = Tree::of(self.merged, self.epoch);
        tree.check(self.place)?;
        let plan = Plan::of(&tree, size.value).filter(|_| size.value <= LARGEST);
        let plan = plan.ok_or_else(|| self.odd_size(size, &tree))?;
        let digits: String = self.uuid.chars().filter(char::is_ascii_hexdigit).collect();
        let uuid = u128::from_str_radix(&digits, 16).unwrap_or_default().to_be_bytes();
        let (plan, stack, label) = (&plan, self.stack, self.label.unwrap_or_default());
        // Zero would be no time at all.
        let made = self.epoch.max(1);
        Writer { plan, stack, uuid, label, made, out, path, at, job }.write(self.threads)
    }

    /// What is wrong with a size.
    fn odd_size(&self, size: &Spanned<u64>, tree: &Tree<'_>) -> Fault {
        let needed = least(tree, size.value);
        let (told, largest) = (wording::size(size.value), wording::size(LARGEST));
        let fault = match needed > LARGEST {
            true => {
                Fault::build("output/too-large", format!("no ext4 of more than {largest} can be written"))
                    .at(&size.place, "this size")
            }
            false => {
                // Not rounded: it is to be written there.
                let needed = needed / STEP;
                let message = format!("the image does not fit into {told}: it needs {needed} MiB");
                Fault::build("output/too-small", message)
                    .at(&size.place, "this size")
                    .help(format!("make it larger; the largest folders are {}", largest_folders(self.merged)))
            }
        };
        if size.place == *self.place { fault } else { fault.at(self.place, "of this output") }
    }
}

/// Bytes of a file system that holds all of `merged`, with some room.
pub fn roomy(merged: &Merged) -> u64 {
    let least = least(&Tree::of(merged, 0), 0);
    (least + least / 10 + ROOM).next_multiple_of(STEP)
}

/// The five largest folders, two levels deep, with their sizes.
fn largest_folders(merged: &Merged) -> String {
    let mut sizes: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for node in merged.nodes() {
        let parts: BTreeSet<Vec<u8>> = node
            .entry
            .path
            .parent()
            .into_iter()
            .map(|folder| folder.components().take(2).collect::<Vec<_>>().join(&b'/'))
            .collect();
        parts.into_iter().for_each(|part| *sizes.entry(part).or_default() += node.entry.kind.size());
    }
    let mut sizes: Vec<(Vec<u8>, u64)> = sizes.into_iter().filter(|(_, size)| *size > 0).collect();
    sizes.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let told = |(path, size): &(Vec<u8>, u64)| {
        let path = wording::printable(&String::from_utf8_lossy(path));
        format!("`/{path}` ({})", wording::size(*size))
    };
    sizes.iter().take(5).map(told).collect::<Vec<_>>().join(", ")
}
