//! Formats of disks, told by how their files begin.

/// What tells that a file is a disk in a format of a hypervisor's: where which bytes are, and what qemu-img calls it.
const FORMATS: [(usize, &[u8], &str); 5] = [
    (0, b"QFI\xfb", "qcow2"),
    (0, b"KDMV", "vmdk"),
    (0, b"conectix", "vpc"),
    (0, b"vhdxfile", "vhdx"),
    // Behind a text that each writer words in its own way.
    (64, b"\x7f\x10\xda\xbe", "vdi"),
];

/// Bytes from which a format is told.
pub const START: usize = 80;

/// What qemu-img calls the format of a file that starts so; none if it is none of a hypervisor's.
pub fn format_of(start: &[u8]) -> Option<&'static str> {
    let is = |at: usize, magic: &[u8]| start.get(at..).is_some_and(|start| start.starts_with(magic));
    FORMATS.iter().find(|(at, magic, _)| is(*at, magic)).map(|(.., format)| *format)
}

/// Whether a qcow2 that starts so names another file: one to stand on, or one with its data (QEMU's
/// docs/interop/qcow2.txt).
pub fn qcow2_names_others(start: &[u8]) -> bool {
    let backing = start.get(8..16).is_some_and(|offset| offset.iter().any(|byte| *byte != 0));
    let version = start.get(4..8).unwrap_or_default();
    backing || (version == [0, 0, 0, 3] && start.get(79).is_some_and(|features| features & 4 != 0))
}
