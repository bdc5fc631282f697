//! Tables of partitions: GPT (UEFI specification 2.10, chapter 5) and the MBR's.

use super::spec::Table;
use crate::outputs::seed::uuid_bytes;

/// Bytes of a sector; every disk here has these.
pub const SECTOR: u64 = 512;
/// Sectors at each end of a disk with a GPT that are the table's: a header, and 128 entries of 128 bytes. In front of them
/// at the beginning lies the protective MBR.
pub const GPT_SECTORS: u64 = 33;

/// Bytes of the MBR that are a boot loader's.
pub const BOOT_CODE: usize = 440;

/// A partition in a table.
#[derive(Clone, Debug)]
pub struct Slot {
    /// First sector.
    pub first: u64,
    /// How many.
    pub sectors: u64,
    /// A name of [`super::words::TYPES`].
    pub kind: &'static str,
    /// Its UUID in a GPT.
    pub uuid: String,
    pub name: String,
    pub flags: Vec<&'static str>,
}

/// Bytes of a table, and where they begin on the disk.
pub type Piece = (u64, Vec<u8>);

/// The pieces of a table on a disk of so many sectors; `id` is the disk's, a UUID of which an MBR has the first part.
pub fn pieces(table: Table, slots: &[Slot], sectors: u64, id: &str, arch: &str) -> Vec<Piece> {
    match table {
        Table::None => Vec::new(),
        Table::Mbr => vec![(0, mbr(slots, id))],
        Table::Gpt => gpt(slots, sectors, id, arch),
    }
}

/// The number of a disk with an MBR: the first part of its UUID.
pub fn mbr_id(id: &str) -> u32 {
    u32::from_str_radix(id.get(..8).unwrap_or_default(), 16).unwrap_or(1)
}

fn mbr(slots: &[Slot], id: &str) -> Vec<u8> {
    let mut sector = empty_mbr();
    sector[BOOT_CODE..BOOT_CODE + 4].copy_from_slice(&mbr_id(id).to_le_bytes());
    for (number, slot) in slots.iter().enumerate() {
        let boot = if slot.flags.contains(&"boot") { 0x80 } else { 0 };
        put_mbr_entry(&mut sector, number, (boot, mbr_type(slot.kind)), slot.first, slot.sectors);
    }
    sector
}

fn empty_mbr() -> Vec<u8> {
    let mut sector = vec![0; SECTOR as usize];
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn put_mbr_entry(sector: &mut [u8], number: usize, (boot, kind): (u8, u8), first: u64, sectors: u64) {
    let at = BOOT_CODE + 6 + number * 16;
    // Cylinders and heads cannot tell where it is: what every system takes for that.
    let nowhere = [0xfe, 0xff, 0xff];
    let start = if first == 1 { [0, 2, 0] } else { nowhere };
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    sector[at] = boot;
    sector[at + 1..at + 4].copy_from_slice(&start);
    sector[at + 4] = kind;
    sector[at + 5..at + 8].copy_from_slice(&nowhere);
    sector[at + 8..at + 12].copy_from_slice(&small(first));
    sector[at + 12..at + 16].copy_from_slice(&small(sectors));
}

fn mbr_type(kind: &str) -> u8 {
    match kind {
        "esp" => 0xef,
        "swap" => 0x82,
        "lvm" => 0x8e,
        "raid" => 0xfd,
        "data" => 0x0c,
        _ => 0x83,
    }
}

fn gpt(slots: &[Slot], sectors: u64, id: &str, arch: &str) -> Vec<Piece> {
    const ENTRY: usize = 128;
    let mut entries = vec![0; (GPT_SECTORS as usize - 1) * SECTOR as usize];
    for (slot, entry) in slots.iter().zip(entries.chunks_exact_mut(ENTRY)) {
        entry[..16].copy_from_slice(&guid(gpt_type(slot.kind, arch)));
        entry[16..32].copy_from_slice(&guid(&slot.uuid));
        entry[32..40].copy_from_slice(&slot.first.to_le_bytes());
        entry[40..48].copy_from_slice(&(slot.first + slot.sectors - 1).to_le_bytes());
        entry[48..56].copy_from_slice(&attributes(&slot.flags).to_le_bytes());
        let name = slot.name.encode_utf16().take(35).flat_map(u16::to_le_bytes);
        for (place, byte) in entry[56..].iter_mut().zip(name) {
            *place = byte;
        }
    }
    let last = sectors - 1;
    let header = |here: u64, other: u64, table: u64| -> Vec<u8> {
        let mut header = vec![0; SECTOR as usize];
        header[..8].copy_from_slice(b"EFI PART");
        header[8..12].copy_from_slice(&0x10000u32.to_le_bytes());
        header[12..16].copy_from_slice(&92u32.to_le_bytes());
        for (at, number) in
            [(24, here), (32, other), (40, GPT_SECTORS + 1), (48, last - GPT_SECTORS), (72, table)]
        {
            header[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        header[56..72].copy_from_slice(&guid(id));
        for (at, number) in [(80, 128), (84, ENTRY as u32), (88, crc32fast::hash(&entries))] {
            header[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        let sum = crc32fast::hash(&header[..92]);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        header
    };
    let mut protective = empty_mbr();
    put_mbr_entry(&mut protective, 0, (0, 0xee), 1, last);
    let (front, back) = (header(1, last, 2), header(last, 1, last - GPT_SECTORS + 1));
    let behind = (last - GPT_SECTORS + 1) * SECTOR;
    vec![
        (0, protective),
        (SECTOR, front),
        (2 * SECTOR, entries.clone()),
        (behind, entries),
        (last * SECTOR, back),
    ]
}

/// A UUID as a GPT has it: the first three parts with their lowest byte first.
fn guid(uuid: &str) -> [u8; 16] {
    let mut bytes = uuid_bytes(uuid);
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

/// UEFI's types, and those of the Discoverable Partitions Specification (UAPI.2).
fn gpt_type(kind: &str, arch: &str) -> &'static str {
    match (kind, arch) {
        ("esp", _) => "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
        ("bios-boot", _) => "21686148-6449-6e6f-744e-656564454649",
        ("swap", _) => "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f",
        ("root", "amd64") => "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
        ("root", "arm64") => "b921b045-1df0-41c3-af44-4c6f280d3fae",
        ("home", _) => "933ac7e1-2eb4-4f13-b844-0e14e2aef915",
        ("srv", _) => "3b8f8425-20e0-4f3b-907f-1a25a76f98e8",
        ("var", _) => "4d21b016-b534-45c2-a9fb-5c16e091fd2d",
        ("boot", _) => "bc13c2ff-59e6-4262-a352-b275fd6f7172",
        ("lvm", _) => "e6d6d379-f507-44c2-a23c-238f2a3df928",
        ("raid", _) => "a19d880f-05fc-4d3b-a006-743f0f84911e",
        ("data", _) => "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7",
        _ => "0fc63daf-8483-4772-8e79-3d69d8477de4",
    }
}

fn attributes(flags: &[&str]) -> u64 {
    let bit = |flag: &&str| match *flag {
        // A BIOS may boot it.
        "boot" => 1 << 2,
        "grow" => 1 << 59,
        "read-only" => 1 << 60,
        "no-auto" => 1 << 63,
        _ => 0,
    };
    flags.iter().map(bit).fold(0, |all, bit: u64| all | bit)
}

#[cfg(test)]
mod tests {
    use super::guid;

    #[test]
    fn the_first_parts_of_a_guid_stand_the_other_way_round() {
        let esp =
            [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
        assert_eq!(guid("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"), esp);
    }
}
