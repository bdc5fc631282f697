//! Formats of disks: what outputs and QEMU call them, and how their files begin.

/// A format of disks.
struct Format {
    /// What outputs in it are called, and how their files' names end; none if imgbuild writes none.
    output: Option<&'static str>,
    /// What QEMU calls it.
    qemu: &'static str,
    /// What tells that a file is in it: where which bytes are, in any of these ways.
    magics: &'static [(usize, &'static [u8])],
}

/// Those that are written, the first of them the one that needs the least to be read, and those that are only known.
const FORMATS: [Format; 8] = [
    Format { output: Some("raw"), qemu: "raw", magics: &[] },
    Format { output: Some("qcow2"), qemu: "qcow2", magics: &[(0, b"QFI\xfb")] },
    Format { output: Some("vmdk"), qemu: "vmdk", magics: &[(0, b"KDMV"), (0, b"COWD"), (0, VMDK_TEXT)] },
    // Behind a text that each writer words in its own way.
    Format { output: Some("vdi"), qemu: "vdi", magics: &[(64, b"\x7f\x10\xda\xbe")] },
    Format { output: Some("vhdx"), qemu: "vhdx", magics: &[(0, b"vhdxfile")] },
    Format { output: Some("vhd"), qemu: "vpc", magics: &[(0, b"conectix")] },
    Format { output: None, qemu: "qed", magics: &[(0, b"QED\0")] },
    Format { output: None, qemu: "parallels", magics: &[(0, b"WithoutFreeSpace"), (0, b"WithouFreSpacExt")] },
];

/// How a VMDK begins that is only a descriptor: where its data is, other files say.
pub const VMDK_TEXT: &[u8] = b"# Disk DescriptorFile";

/// Bytes from which a format is told.
pub const START: usize = 80;

/// The names of all outputs that are disks, those first that need the least to be read.
pub fn written() -> impl Iterator<Item = &'static str> + Clone {
    FORMATS.iter().filter_map(|format| format.output)
}

/// Whether outputs of that kind are disks, or have one in them.
pub fn has_disk(kind: &str) -> bool {
    kind == "ova" || written().any(|format| format == kind)
}

/// What QEMU calls a format of disks that outputs call so.
pub fn qemu_name(output: &'static str) -> &'static str {
    FORMATS.iter().find(|format| format.output == Some(output)).map_or(output, |format| format.qemu)
}

/// What QEMU calls the format of a file that starts so; none if it is none of a hypervisor's.
pub fn format_of(start: &[u8]) -> Option<&'static str> {
    let is = |(at, magic): &(usize, &[u8])| start.get(*at..).is_some_and(|start| start.starts_with(magic));
    FORMATS.iter().find(|format| format.magics.iter().any(is)).map(|format| format.qemu)
}

/// Whether a qcow2 that starts so names another file: one to stand on, or one with its data (QEMU's
/// docs/interop/qcow2.txt).
pub fn qcow2_names_others(start: &[u8]) -> bool {
    let backing = start.get(8..16).is_some_and(|offset| offset.iter().any(|byte| *byte != 0));
    let version = start.get(4..8).unwrap_or_default();
    backing || (version == [0, 0, 0, 3] && start.get(79).is_some_and(|features| features & 4 != 0))
}
