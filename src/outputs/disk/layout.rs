//! Where partitions lie on a disk, and how large it is.

use super::spec::{Disk, Partition, Table};
use super::table::{GPT_SECTORS, SECTOR};
use crate::fault::{Fault, Place};
use crate::lang::{Share, Spanned};
use crate::wording;

/// A disk laid out: bytes.
#[derive(Debug)]
pub struct Layout {
    pub size: u64,
    /// Where each partition begins, and how long it is.
    pub places: Vec<(u64, u64)>,
}

impl Layout {
    /// Bytes of a disk that has room for what is stated in bytes, and nothing for the rest.
    pub fn least(disk: &Disk) -> u64 {
        let stated = disk.partitions.iter().map(|part| match part.size.as_ref().map(|size| size.value) {
            Some(Share::Bytes(bytes)) => bytes,
            _ => 0,
        });
        Frame::of(disk).whole(stated)
    }

    /// Lays out `disk`; `wanted` is how large each partition without a size has to be, and `output` who asks for it.
    ///
    /// # Errors
    ///
    /// The disk is smaller than what is to be on it.
    pub fn of(disk: &Disk, wanted: &[u64], output: &Place) -> Result<Layout, Fault> {
        let frame = Frame::of(disk);
        let mut sizes = fixed(disk, wanted);
        if let Some(size) = &disk.size {
            let free = frame.free(size.value);
            frame.share(disk, &mut sizes, free);
            let used: u64 = sizes.iter().flatten().map(|size| size.next_multiple_of(frame.align)).sum();
            if used > free || sizes.contains(&Some(0)) {
                let sizes = sizes.iter().zip(wanted).map(|(size, wanted)| match size {
                    Some(0) | None => *wanted,
                    Some(size) => *size,
                });
                return Err(too_small(size, frame.whole(sizes), output));
            }
        }
        let mut places = Vec::new();
        let mut at = frame.front;
        for (size, wanted) in sizes.iter().zip(wanted) {
            let size = size.unwrap_or(*wanted);
            places.push((at, size));
            at = (at + size).next_multiple_of(frame.align);
        }
        let whole = frame.whole(places.iter().map(|(_, size)| *size));
        Ok(Layout { size: disk.size.as_ref().map_or(whole, |size| size.value), places })
    }
}

/// What of a disk is not its partitions': bytes.
struct Frame {
    front: u64,
    behind: u64,
    align: u64,
}

impl Frame {
    fn of(disk: &Disk) -> Frame {
        let (front, behind, align) = match disk.table {
            // The file system is the disk.
            Table::None => (0, 0, SECTOR),
            Table::Mbr => (MBR_GAP, 0, disk.align),
            Table::Gpt => ((GPT_SECTORS + 1) * SECTOR, GPT_SECTORS * SECTOR, disk.align),
        };
        Frame { front: front.next_multiple_of(align), behind, align }
    }

    /// What a disk of that size has for partitions: they end at multiples, too.
    fn free(&self, size: u64) -> u64 {
        (size.saturating_sub(self.behind) / self.align * self.align).saturating_sub(self.front)
    }

    /// How large a disk with partitions of these sizes is.
    fn whole(&self, sizes: impl Iterator<Item = u64>) -> u64 {
        let parts: u64 = sizes.map(|size| size.next_multiple_of(self.align)).sum();
        (self.front + parts + self.behind).next_multiple_of(1 << 20)
    }

    /// Gives each of the others its part of what is free: hundredths of what is left in front of it, the rest to the one
    /// that says nothing.
    fn share(&self, disk: &Disk, sizes: &mut [Option<u64>], free: u64) {
        let stated: u64 = sizes.iter().flatten().map(|size| size.next_multiple_of(self.align)).sum();
        let mut left = free.saturating_sub(stated);
        for (part, size) in disk.partitions.iter().zip(sizes.iter_mut()) {
            if let Some(Share::Percent(percent)) = part.size.as_ref().map(|size| size.value) {
                let bytes = left * percent / 100 / self.align * self.align;
                *size = Some(bytes);
                left -= bytes;
            }
        }
        if let Some(open) = sizes.iter_mut().find(|size| size.is_none()) {
            *open = Some(left);
        }
    }
}

/// Bytes in front of the first partition of an MBR: grub lies there.
const MBR_GAP: u64 = 1 << 20;

/// The sizes that are stated; on a disk without a size, all.
fn fixed(disk: &Disk, wanted: &[u64]) -> Vec<Option<u64>> {
    let size = |(part, wanted): (&Partition, &u64)| match part.size.as_ref().map(|size| size.value) {
        Some(Share::Bytes(bytes)) => Some(bytes),
        Some(Share::Percent(_)) => None,
        // What a boot loader needs, it needs and nothing more.
        None if disk.size.is_none() || part.kind == "bios-boot" => Some(*wanted),
        None => None,
    };
    disk.partitions.iter().zip(wanted).map(size).collect()
}

fn too_small(size: &Spanned<u64>, needed: u64, output: &Place) -> Fault {
    let message = format!("what is to be on this disk does not fit into {}", wording::size(size.value));
    Fault::build("output/too-small", message)
        .at(&size.place, "this size")
        .at(output, "for this output")
        .help(format!("{} would do", wording::size(needed)))
}
