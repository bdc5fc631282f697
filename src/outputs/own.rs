//! File systems that imgbuild writes itself, one like the other.

use std::fs::File;
use std::path::Path;

use super::btrfs::{self, Btrfs};
use super::ext4::{self, Ext4};
use super::fit::{self, STEP};
use super::made::{Device, Made};
use super::xfs::{self, Xfs};
use crate::fault::{Fault, Place};
use crate::lang::Spanned;
use crate::layer::Merged;
use crate::work::Job;

/// What is free at least where no size is stated: bytes.
const ROOM: u64 = 64 << 20;

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    Ext4,
    Btrfs,
    Xfs,
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
            Own::Ext4 => ext4::least(merged)?,
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
        let device = Device { out, path, at };
        let of_output = |fault: Fault| fault.at(place, "this output");
        match self {
            // How much it needs depends on how large it is, so that it looks by itself.
            Own::Ext4 => Ext4 { made, place }.write(&device, size, job),
            Own::Btrfs => {
                self.check_room(made.merged, size, place)?;
                Btrfs(made).write(&device, size.value, job).map_err(of_output)
            }
            Own::Xfs => {
                self.check_room(made.merged, size, place)?;
                Xfs(made).write(&device, size.value, job).map_err(of_output)
            }
        }
    }

    /// Whether all of `merged` fits into `size`.
    fn check_room(self, merged: &Merged, size: &Spanned<u64>, place: &Place) -> Result<(), Fault> {
        let least = self.least(merged).map_err(|fault| fault.at(place, "this output"))?;
        fit::too_small(size, least, merged, place).map_or(Ok(()), Err)
    }
}
