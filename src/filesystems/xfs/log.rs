//! The log: whether its last record says that the file system was unmounted (`xfs_log_format.h`; the kernel's
//! `fs/xfs/xfs_log_recover.c` finds its end in the same way).
//!
//! It is a ring of sectors. The first number of each is how often the log had been gone round when it was written: up to
//! the end that is one more than behind it.

use std::io;

use super::fields::Fields;
use super::format::BASIC;
use super::superblock::Superblock;
use crate::filesystems::{Part, damage};

/// Sectors that can be on their way to the disk at once: 8 buffers of 256 KiB.
const IN_FLIGHT: u64 = 8 * (256 << 10) / BASIC;
/// Bytes of a record for which one sector of its header tells the first numbers of sectors.
const HEADER_FOR: u32 = 32 << 10;
/// What a record begins with.
const MAGIC: u32 = 0xfeed_babe;

/// Whether the log has something that is not in its place yet, or cannot be read.
///
/// # Errors
///
/// A log that is not in the file system, and those of reading.
pub fn is_waiting(part: &Part, superblock: &Superblock) -> io::Result<bool> {
    // What is on another disk cannot be told.
    let (Some(start), blocks) = superblock.log else { return Ok(true) };
    let place = superblock.place(start, blocks)?;
    let log = Log { part, place, sectors: blocks * superblock.block / BASIC };
    if log.is_new()? {
        return Ok(false);
    }
    let Some(end) = log.end()? else { return Ok(true) };
    Ok(!log.is_unmounted(end)?)
}

struct Log<'p> {
    part: &'p Part,
    /// Where it begins: bytes from the beginning.
    place: u64,
    sectors: u64,
}

impl Log<'_> {
    /// Whether nothing was ever written to it.
    fn is_new(&self) -> io::Result<bool> {
        Ok(self.round(0)? == 0 && self.round(self.sectors - 1)? == 0)
    }

    /// The sector behind the one that was written last; none if something is missing in front of it.
    fn end(&self) -> io::Result<Option<u64>> {
        let (first, last) = (self.round(0)?, self.round(self.sectors - 1)?);
        let (mut low, mut high) = (0, self.sectors);
        // Between `low`, which is of this round, and `high`, which is not.
        while high - low > 1 && first != last {
            let middle = low + (high - low) / 2;
            if self.round(middle)? == first {
                low = middle;
            } else {
                high = middle;
            }
        }
        let before = first.wrapping_sub(1);
        let is_odd = first != last && last != before;
        let front = self.rounds(high.saturating_sub(IN_FLIGHT), high)?;
        // Of the round before, as far as it can have been on its way together with these; in a log that was never full,
        // nothing is there.
        let rest = IN_FLIGHT.saturating_sub(high).min(self.sectors - high);
        let back = self.rounds(self.sectors - rest, self.sectors)?;
        let is_whole = front.iter().all(|round| *round == first) && back.iter().all(|round| *round == before);
        Ok((is_whole && !is_odd).then_some(high % self.sectors))
    }

    /// Whether the record in front of `end` is that of an unmounted file system.
    fn is_unmounted(&self, end: u64) -> io::Result<bool> {
        // A record with the largest header.
        const MOST: u64 = (256 << 10) / BASIC + 8;
        const UNMOUNT: u8 = 0x20;
        const WITH_SIZE: u32 = 2;
        for back in 1..=MOST.min(self.sectors) {
            let start = (end + self.sectors - back) % self.sectors;
            let bytes = self.sector(start)?;
            let fields = Fields(&bytes);
            if fields.u32(0)? != MAGIC {
                continue;
            }
            let (version, length, operations) = (fields.u32(8)?, fields.u32(12)?, fields.u32(40)?);
            let size = if version & WITH_SIZE == 0 { 0 } else { fields.u32(320)? };
            let header = u64::from(size.div_ceil(HEADER_FOR).max(1));
            let operation = self.sector((start + header) % self.sectors)?;
            let is_last = header + u64::from(length).div_ceil(BASIC) == back;
            return Ok(is_last && operations == 1 && Fields(&operation).u8(9)? & UNMOUNT != 0);
        }
        Ok(false)
    }

    /// How often the log had been gone round when a sector was written.
    fn round(&self, sector: u64) -> io::Result<u32> {
        round(Fields(&self.sector(sector)?))
    }

    /// The same for the sectors from `from` to `to`.
    fn rounds(&self, from: u64, to: u64) -> io::Result<Vec<u32>> {
        let bytes = self.part.bytes(self.place + from * BASIC, (to - from) * BASIC)?;
        bytes.chunks_exact(BASIC as usize).map(|sector| round(Fields(sector))).collect()
    }

    fn sector(&self, sector: u64) -> io::Result<Vec<u8>> {
        if sector >= self.sectors {
            return Err(damage("its log has no sectors"));
        }
        self.part.bytes(self.place + sector * BASIC, BASIC)
    }
}

fn round(sector: Fields<'_>) -> io::Result<u32> {
    match sector.u32(0)? {
        MAGIC => sector.u32(4),
        round => Ok(round),
    }
}
