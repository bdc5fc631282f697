//! Directory records (ECMA-119, 9.1) and how they fill a directory's sectors (6.8.1.1).

use super::field::{SECTOR, both_u16, both_u32, padding, short_date};

/// Where something lies in the volume.
#[derive(Clone, Copy, Default)]
pub(super) struct Extent {
    /// The first sector.
    pub sector: u32,
    /// How many bytes.
    pub length: u32,
}

/// The identifier of the record by which a directory names itself (6.8.2.2); also the root's everywhere else.
pub(super) const SELF: &[u8] = &[0];
/// The identifier of the record by which a directory names the one above it.
pub(super) const PARENT: &[u8] = &[1];

/// File flags (9.1.6): the record is of a directory.
pub(super) const DIRECTORY: u8 = 0x02;
/// File flags: another record of the same file follows.
pub(super) const MULTI_EXTENT: u8 = 0x80;

/// One directory record.
pub(super) struct Record<'a> {
    pub identifier: &'a [u8],
    pub extent: Extent,
    pub mtime: i64,
    pub flags: u8,
    /// What other standards add.
    pub system_use: &'a [u8],
}

impl Record<'_> {
    /// The record's bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let length = system_use_start(self.identifier) + self.system_use.len();
        let length = length.next_multiple_of(2);
        let mut bytes = Vec::with_capacity(length);
        bytes.push(length as u8);
        bytes.push(0); // no extended attribute record
        bytes.extend(both_u32(self.extent.sector));
        bytes.extend(both_u32(self.extent.length));
        bytes.extend(short_date(self.mtime));
        bytes.push(self.flags);
        bytes.extend([0, 0]); // not interleaved
        bytes.extend(both_u16(1)); // on the first volume of the set
        bytes.push(self.identifier.len() as u8);
        bytes.extend(self.identifier);
        bytes.resize(system_use_start(self.identifier), 0);
        bytes.extend(self.system_use);
        bytes.resize(length, 0);
        bytes
    }
}

/// How many bytes a record has for its system use; a record's length is a byte, and even.
pub(super) fn system_use_room(identifier: &[u8]) -> usize {
    const LONGEST: usize = 254;
    LONGEST - system_use_start(identifier)
}

fn system_use_start(identifier: &[u8]) -> usize {
    const FIXED: usize = 33;
    (FIXED + identifier.len()).next_multiple_of(2)
}

/// The sectors of a directory: no record crosses from one into the next.
pub(super) fn pack(records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        let left = padding(bytes.len() as u64);
        if record.len() > left {
            bytes.resize(bytes.len() + left, 0);
        }
        bytes.extend(record);
    }
    bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
    bytes
}

/// The parts of a file of `size` bytes that lies at `sector`: a record says no more than 32 bits can, so a larger file
/// has several, all but the last of whole sectors (ECMA-119, 6.4.2).
pub(super) fn sections(sector: u32, size: u64) -> impl Iterator<Item = Extent> {
    const LONGEST: u64 = (1 << 32) - SECTOR as u64;
    let count = size.div_ceil(LONGEST).max(1);
    (0..count).map(move |number| {
        let start = number * LONGEST;
        Extent { sector: sector + (start / SECTOR as u64) as u32, length: (size - start).min(LONGEST) as u32 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_ends_at_a_sector_and_the_sections_make_the_file() {
        let told = |size| sections(100, size).map(|part| (part.sector, part.length)).collect::<Vec<_>>();
        assert_eq!(told(0), [(100, 0)]);
        assert_eq!(told(0xffff_f800), [(100, 0xffff_f800)]);
        assert_eq!(told(0xffff_f801), [(100, 0xffff_f800), (100 + 0x1f_ffff, 1)]);
        assert_eq!(told(5 << 30), [(100, 0xffff_f800), (100 + 0x1f_ffff, 0x4000_0800)]);
    }

    #[test]
    fn no_record_crosses_a_sector() {
        let record = |length: usize| vec![1; length];
        let packed = pack(&[record(2000), record(48), record(2000), record(50)]);
        assert_eq!(packed.len(), 3 * SECTOR);
        assert_eq!(packed[SECTOR..][1999..2001], [1, 0]);
        assert_eq!(packed[2 * SECTOR..][49..51], [1, 0]);
    }
}
