//! Where partitions lie on a disk, and how large it is.

use super::spec::{Disk, Partition, Table};
use super::table::{GPT_SECTORS, SECTOR};
use crate::fault::{Fault, Place};
use crate::lang::Share;
use crate::wording;

/// A disk laid out: bytes.
#[derive(Debug)]
pub struct Layout {
    pub size: u64,
    /// Where each partition begins, and how long it is.
    pub places: Vec<(u64, u64)>,
}

impl Layout {
    /// Lays out `disk`; `wanted` is how large each partition without a size has to be, and `output` who asks for it.
    ///
    /// # Errors
    ///
    /// The disk is smaller than what is to be on it.
    pub fn of(disk: &Disk, wanted: &[u64], output: &Place) -> Result<Layout, Fault> {
        let (front, behind) = match disk.table {
            Table::None => (0, 0),
            Table::Mbr => (disk.align.max(MBR_GAP), 0),
            Table::Gpt => (disk.align.max((GPT_SECTORS + 1) * SECTOR), GPT_SECTORS * SECTOR),
        };
        let front = front.next_multiple_of(disk.align);
        let mut sizes = fixed(disk, wanted);
        if let Some(size) = &disk.size {
            let free = size.value.saturating_sub(behind) / disk.align * disk.align;
            let free = free.saturating_sub(front);
            share(disk, &mut sizes, free);
            let used: u64 = sizes.iter().flatten().map(|size| size.next_multiple_of(disk.align)).sum();
            // The last one need not end at a multiple.
            if used > free || sizes.contains(&Some(0)) {
                return Err(too_small(disk, size.value, &sizes, wanted, used + front + behind, output));
            }
        }
        let mut places = Vec::new();
        let mut at = front;
        for (size, wanted) in sizes.into_iter().zip(wanted) {
            let size = size.unwrap_or(*wanted);
            places.push((at, size));
            at = (at + size).next_multiple_of(disk.align);
        }
        let size = disk.size.as_ref().map_or((at + behind).next_multiple_of(1 << 20), |size| size.value);
        Ok(Layout { size, places })
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

/// Gives each of the others its part of what is free: hundredths of what is left in front of it, the rest to the one that
/// says nothing.
fn share(disk: &Disk, sizes: &mut [Option<u64>], free: u64) {
    let stated: u64 = sizes.iter().flatten().map(|size| size.next_multiple_of(disk.align)).sum();
    let mut left = free.saturating_sub(stated);
    for (part, size) in disk.partitions.iter().zip(sizes.iter_mut()) {
        if let Some(Share::Percent(percent)) = part.size.as_ref().map(|size| size.value) {
            let bytes = left / 100 * percent / disk.align * disk.align;
            *size = Some(bytes);
            left -= bytes;
        }
    }
    if let Some(open) = sizes.iter_mut().find(|size| size.is_none()) {
        *open = Some(left);
    }
}

fn too_small(
    disk: &Disk,
    size: u64,
    sizes: &[Option<u64>],
    wanted: &[u64],
    used: u64,
    output: &Place,
) -> Fault {
    let needed: u64 = sizes
        .iter()
        .zip(wanted)
        .map(|(size, wanted)| size.filter(|size| *size > 0).unwrap_or(*wanted))
        .sum::<u64>()
        .max(used);
    let message = format!("what is to be on this disk does not fit into {}", wording::size(size));
    let place = disk.size.as_ref().map_or(&disk.place, |size| &size.place);
    Fault::build("output/too-small", message)
        .at(place, "this size")
        .at(output, "for this output")
        .help(format!("{} would do", wording::size(needed.next_multiple_of(1 << 20))))
}
