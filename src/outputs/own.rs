//! File systems that imgbuild writes itself: what all of them have in common.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::btrfs::{self, Btrfs};
use super::ext4::{self, Ext4};
use super::fit::{self, STEP};
use super::xfs::{self, Xfs};
use crate::fault::{Fault, Place};
use crate::lang::Spanned;
use crate::layer::Merged;
use crate::layer::merge::Node;
use crate::store::Layer;
use crate::work::{Job, Stack};

/// What is free at least where no size is stated: bytes.
const ROOM: u64 = 64 << 20;

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    Ext4,
    Btrfs,
    Xfs,
}

/// A file system that is yet to be written.
pub struct Made<'a> {
    /// All that is in it, and where its content is.
    pub merged: &'a Merged,
    pub stack: &'a Stack,
    /// Its UUID, and what all others in it are made from.
    pub uuid: &'a str,
    /// What it is called.
    pub label: Option<&'a str>,
    /// The time of what is not in the image: seconds since 1970.
    pub epoch: i64,
    /// How many threads may write it.
    pub threads: usize,
}

impl Made<'_> {
    /// The layer that has the content of a file.
    pub fn layer(&self, node: &Node) -> Result<&Layer, Fault> {
        self.stack.layer_of(node).ok_or_else(|| Fault::machine("internal", "a layer was lost"))
    }

    /// The whole content of a file.
    pub fn content(&self, node: &Node) -> Result<Vec<u8>, Fault> {
        let layer = self.layer(node)?;
        let read = layer.bytes(&node.entry, node.entry.kind.size());
        read.map_err(|error| Fault::io("read", &layer.path, &error))
    }

    /// Copies `length` bytes of a file, whole sectors, from `offset` on to a place; what is behind its end is zeros. `each`
    /// is given piece by piece what was copied.
    pub fn copy(
        &self,
        node: &Node,
        (offset, length): (u64, u64),
        (device, mut place): (&Device<'_>, u64),
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Fault> {
        let layer = self.layer(node)?;
        let mut content = layer.content(&node.entry);
        content.at += offset;
        content.left = content.left.saturating_sub(offset).min(length);
        let mut buffer = vec![0; length.min(PIECE) as usize];
        while content.left > 0 {
            let length = content.left.min(PIECE) as usize;
            let piece = buffer.get_mut(..length.next_multiple_of(SECTOR)).unwrap_or_default();
            let (read, rest) = piece.split_at_mut(length);
            content.read_exact(read).map_err(|error| Fault::io("read", &layer.path, &error))?;
            rest.fill(0);
            each(piece);
            // What is zero is there already.
            if piece.iter().any(|byte| *byte != 0) {
                device.put(place, piece)?;
            }
            place += piece.len() as u64;
        }
        Ok(())
    }
}

/// Bytes that are copied at once.
const PIECE: u64 = 1 << 20;
/// What content is given out in: bytes.
const SECTOR: usize = 4096;

/// Where a file system is written.
pub struct Device<'a> {
    pub out: &'a File,
    pub path: &'a Path,
    /// Where it begins: bytes.
    pub at: u64,
}

impl Device<'_> {
    /// Writes at a place of the file system.
    pub fn put(&self, place: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.out.write_all_at(bytes, self.at + place).map_err(|error| Fault::io("write", self.path, &error))
    }
}

impl Own {
    /// The one of that name.
    pub fn named(name: &str) -> Option<Own> {
        [Own::Ext4, Own::Btrfs, Own::Xfs].into_iter().find(|own| own.name() == name)
    }

    /// What the kernel calls it.
    pub fn name(self) -> &'static str {
        match self {
            Own::Ext4 => "ext4",
            Own::Btrfs => "btrfs",
            Own::Xfs => "xfs",
        }
    }

    /// Bytes of the smallest that there is.
    pub fn smallest(self) -> u64 {
        match self {
            Own::Ext4 => ext4::SMALLEST,
            Own::Btrfs => btrfs::SMALLEST,
            Own::Xfs => xfs::SMALLEST,
        }
    }

    /// Bytes of the smallest that holds all of `merged`.
    ///
    /// # Errors
    ///
    /// What it cannot have.
    pub fn least(self, merged: &Merged) -> Result<u64, Fault> {
        let least = match self {
            Own::Ext4 => ext4::least(merged),
            Own::Btrfs => btrfs::least(merged)?,
            Own::Xfs => xfs::least(merged)?,
        };
        Ok(least.next_multiple_of(STEP).max(self.smallest()))
    }

    /// Bytes of one that holds all of `merged`, with some room.
    ///
    /// # Errors
    ///
    /// What it cannot have.
    pub fn roomy(self, merged: &Merged) -> Result<u64, Fault> {
        let least = self.least(merged)?;
        Ok((least + least / 10 + ROOM).next_multiple_of(STEP))
    }

    /// What is wrong where a size is stated, before any work.
    pub fn check_size(self, size: u64, place: &Place) -> Option<Fault> {
        if size >= self.smallest() {
            return None;
        }
        let (name, least) = (self.name(), crate::wording::size(self.smallest()));
        let fault = Fault::error("size/small", format!("{name} has {least} at least"));
        Some(fault.at(place, "this size"))
    }

    /// Writes it into `out`, which is at `path`, from `at` on, where nothing but zeros is.
    ///
    /// # Errors
    ///
    /// It does not fit into its size, or cannot have what is in it; reading layers, writing.
    pub fn write(
        self,
        made: &Made<'_>,
        (out, path): (&File, &Path),
        (at, size): (u64, &Spanned<u64>),
        place: &Place,
        job: &Job<'_>,
    ) -> Result<(), Fault> {
        if self == Own::Ext4 {
            // How much it needs depends on how large it is.
            return Ext4 { made, place }.write((out, path), at, size, job);
        }
        let of_output = |fault: Fault| fault.at(place, "this output");
        let least = self.least(made.merged).map_err(of_output)?;
        if let Some(fault) = fit::too_small(size, least, made.merged, place) {
            return Err(fault);
        }
        let device = Device { out, path, at };
        match self {
            Own::Btrfs => Btrfs(made).write(&device, size.value, job),
            Own::Xfs | Own::Ext4 => Xfs(made).write(&device, size.value, job),
        }
        .map_err(of_output)
    }
}
