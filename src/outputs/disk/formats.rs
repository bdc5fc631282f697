//! Formats of disks, told by how their files begin.

/// What tells that a file is a disk in a format of a hypervisor's: where which bytes are, and what qemu-img calls it.
const MAGICS: [(usize, &[u8], &str); 10] = [
    (0, b"QFI\xfb", "qcow2"),
    (0, b"QED\0", "qed"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, VMDK_TEXT, "vmdk"),
    (0, b"conectix", "vpc"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"WithoutFreeSpace", "parallels"),
    (0, b"WithouFreSpacExt", "parallels"),
    // Behind a text that each writer words in its own way.
    (64, b"\x7f\x10\xda\xbe", "vdi"),
];

/// How a VMDK begins that is only a descriptor: where its data is, other files say.
pub const VMDK_TEXT: &[u8] = b"# Disk DescriptorFile";

/// Bytes from which a format is told.
pub const START: usize = 80;

/// What qemu-img calls the format of a file that starts so; none if it is none of a hypervisor's.
pub fn format_of(start: &[u8]) -> Option<&'static str> {
    let is = |at: usize, magic: &[u8]| start.get(at..).is_some_and(|start| start.starts_with(magic));
    MAGICS.iter().find(|(at, magic, _)| is(*at, magic)).map(|(.., format)| *format)
}

/// Whether a qcow2 that starts so names another file: one to stand on, or one with its data (QEMU's
/// docs/interop/qcow2.txt).
pub fn qcow2_names_others(start: &[u8]) -> bool {
    let backing = start.get(8..16).is_some_and(|offset| offset.iter().any(|byte| *byte != 0));
    let version = start.get(4..8).unwrap_or_default();
    backing || (version == [0, 0, 0, 3] && start.get(79).is_some_and(|features| features & 4 != 0))
}
