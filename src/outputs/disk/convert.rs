//! From a disk, byte by byte, to the formats of hypervisors: qemu-img writes them.
//!
//! What it draws at random or takes from the clock is put right behind it, so that the same disk is the same file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::formats::qemu_name;
use crate::fault::{Fault, Place};
use crate::filesystems::little;
use crate::key::{Digest, Key};
use crate::lang::Node;
use crate::outputs::seed::{Seed, uuid_bytes};
use crate::outputs::tool::{OUT, Tool, inside};
use crate::sandbox::image::Shown;
use crate::work::{Aids, Job, World};

pub(super) const TOOLS: &[&str] = &["qemu-utils"];

/// A format of disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Raw,
    Qcow2(Clusters),
    Vmdk { stream: bool },
    Vdi,
    Vhd { fixed: bool },
    Vhdx,
}

/// How the clusters of a qcow2 are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clusters {
    Plain,
    Zlib,
    Zstd,
}

impl Clusters {
    /// How they are compressed, as qemu-img calls it; none if they are not.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Clusters::Plain => None,
            Clusters::Zlib => Some("zlib"),
            Clusters::Zstd => Some("zstd"),
        }
    }
}

impl Format {
    /// The format that an output's node asks for.
    pub fn of(node: &Node) -> Option<Format> {
        let is = |field: &str, value: &str| node.text(field).is_some_and(|text| text.value == value);
        Some(match node.kind?.name {
            "qcow2" if is("compression", "zlib") => Format::Qcow2(Clusters::Zlib),
            "qcow2" if is("compression", "zstd") => Format::Qcow2(Clusters::Zstd),
            "qcow2" => Format::Qcow2(Clusters::Plain),
            "vmdk" => Format::Vmdk { stream: !is("format", "sparse") },
            "vdi" => Format::Vdi,
            "vhd" => Format::Vhd { fixed: node.flag("fixed") },
            "vhdx" => Format::Vhdx,
            _ => Format::Raw,
        })
    }

    /// What people call it, and what its files are called by.
    pub fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Qcow2(_) => "qcow2",
            Format::Vmdk { .. } => "vmdk",
            Format::Vdi => "vdi",
            Format::Vhd { .. } => "vhd",
            Format::Vhdx => "vhdx",
        }
    }

    pub fn facts(self, key: &mut Key) {
        let how = match self {
            Format::Qcow2(clusters) => clusters.name().unwrap_or("plain"),
            Format::Vmdk { stream: true } => "stream",
            Format::Vmdk { stream: false } => "sparse",
            Format::Vhd { fixed: true } => "fixed",
            _ => "plain",
        };
        key.fact("format", format_args!("{} {how}", self.name()));
        // Those of the first version could have bytes behind their descriptor that came from chance.
        key.fact_if("format-version", matches!(self, Format::Vmdk { .. }).then_some(2));
    }

    /// The tree that it is written with.
    pub fn tools(self) -> Option<&'static [&'static str]> {
        (self != Format::Raw).then_some(TOOLS)
    }

    /// Converts the disk at `raw` to the file at `path`, which is not there yet.
    ///
    /// # Errors
    ///
    /// qemu-img fails, or the file cannot be written.
    pub fn convert(
        self,
        raw: &Path,
        path: &Path,
        content: Digest,
        (aids, place): (&Aids, &Place),
        world: &World,
        job: &Job<'_>,
    ) -> Result<(), Fault> {
        const DISK: &str = "run/imgbuild/in";
        let failed = |error: io::Error| Fault::io("write", path, &error);
        File::create_new(path).map_err(failed)?;
        let options: &[&str] = match self {
            Format::Qcow2(Clusters::Zlib) => &["-c"],
            Format::Qcow2(Clusters::Zstd) => &["-c", "-o", "compression_type=zstd"],
            Format::Vmdk { stream: true } => &["-o", "subformat=streamOptimized"],
            // Else its size would be what cylinders, heads and sectors can tell.
            Format::Vhd { fixed: false } => &["-o", "force_size=on"],
            Format::Vhd { fixed: true } => &["-o", "subformat=fixed,force_size=on"],
            Format::Raw
            | Format::Qcow2(Clusters::Plain)
            | Format::Vmdk { stream: false }
            | Format::Vdi
            | Format::Vhdx => &[],
        };
        // The parallel ways lay out some formats now one way, now another.
        let ways = match self {
            Format::Qcow2(_) => world.threads.clamp(1, 16).to_string(),
            _ => "1".into(),
        };
        let disk = format!("/{DISK}");
        let mut words: Vec<&str> = vec!["convert", "-m", &ways, "-f", "raw", "-O", qemu_name(self.name())];
        words.extend(options);
        words.extend([disk.as_str(), OUT]);
        let mut tool = Tool::new("qemu-img", words.into_iter().map(String::from).collect());
        tool.shown.push(Shown { host: raw.to_path_buf(), at: inside(DISK) });
        tool.write((aids.tool(TOOLS[0])?, place), path, world, job)?;
        let seed = Seed::of(&crate::work::Stack::default(), &content.to_string());
        self.settle(path, seed).map_err(failed)
    }

    /// Puts what is random in the file in its place.
    fn settle(self, path: &Path, seed: Seed) -> io::Result<()> {
        let file = File::options().read(true).write(true).open(path)?;
        match self {
            Format::Raw | Format::Qcow2(_) => Ok(()),
            Format::Vmdk { .. } => settle_vmdk(&file, seed),
            Format::Vdi => settle_vdi(&file, seed),
            Format::Vhd { fixed } => settle_vhd(&file, fixed, seed),
            Format::Vhdx => settle_vhdx(&file, seed),
        }
    }
}

/// The descriptor in the file has a content ID (VMware Virtual Disk Format 5.0): a number, written without zeros in front.
fn settle_vmdk(file: &File, seed: Seed) -> io::Result<()> {
    const DESCRIPTOR: u64 = 512;
    let mut text = vec![0; 20 * 512];
    file.read_exact_at(&mut text, DESCRIPTOR)?;
    let settled = with_content_id(&text, seed.number("vmdk")).ok_or_else(|| odd("VMDK"))?;
    file.write_all_at(&settled, DESCRIPTOR)
}

/// A descriptor with another content ID, as long as it was. Behind its end may be what is left of one that was longer:
/// qemu-img writes it twice.
fn with_content_id(text: &[u8], id: u32) -> Option<Vec<u8>> {
    let text_end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    let told = text.get(..text_end)?;
    let at = memchr::memmem::find(told, b"\nCID=")? + 5;
    let digits = told.get(at..)?.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let mut settled = told.get(..at)?.to_vec();
    settled.extend(format!("{id:x}").into_bytes());
    settled.extend(told.get(at + digits..)?);
    let has_room = settled.len() <= text.len();
    settled.resize(text.len(), 0);
    has_room.then_some(settled)
}

/// The UUIDs of the image and of its last snapshot (VirtualBox's `VDIHEADER1`).
fn settle_vdi(file: &File, seed: Seed) -> io::Result<()> {
    file.write_all_at(&uuid_bytes(&seed.uuid("vdi")), 0x188)?;
    file.write_all_at(&uuid_bytes(&seed.uuid("vdi snapshot")), 0x198)
}

/// The footer, and its copy in front of a disk that grows: a time, a UUID, and the sum (Microsoft's Virtual Hard Disk
/// Image Format Specification).
fn settle_vhd(file: &File, fixed: bool, seed: Seed) -> io::Result<()> {
    let end = file.metadata()?.len() - 512;
    let mut footer = [0; 512];
    file.read_exact_at(&mut footer, end)?;
    if !footer.starts_with(b"conectix") {
        return Err(odd("VHD"));
    }
    footer[24..28].fill(0);
    footer[68..84].copy_from_slice(&uuid_bytes(&seed.uuid("vhd")));
    footer[64..68].fill(0);
    let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    file.write_all_at(&footer, end)?;
    if fixed { Ok(()) } else { file.write_all_at(&footer, 0) }
}

/// Two headers with GUIDs, numbers and a sum, of which the higher number counts; a log, which is empty; and the disk's ID
/// among the metadata (MS-VHDX).
fn settle_vhdx(file: &File, seed: Seed) -> io::Result<()> {
    const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
    const NUMBER: std::ops::Range<usize> = 8..16;
    let mut headers = [vec![0; 4096], vec![0; 4096]];
    for (header, at) in headers.iter_mut().zip(HEADERS) {
        file.read_exact_at(header, at)?;
    }
    let [first, second] = &headers;
    let counts = if little(&first[NUMBER]) > little(&second[NUMBER]) { first } else { second };
    let (log_id, log_size, log) = (&counts[48..64], little(&counts[68..72]), little(&counts[72..80]));
    if !counts.starts_with(b"head") || log_id.iter().any(|byte| *byte != 0) || log_size > 64 << 20 {
        return Err(odd("VHDX"));
    }
    file.write_all_at(&vec![0; usize::try_from(log_size).unwrap_or_default()], log)?;
    let mut header = counts.clone();
    for (place, name) in [(16, "vhdx file"), (32, "vhdx data")] {
        header[place..place + 16].copy_from_slice(&uuid_bytes(&seed.uuid(name)));
    }
    for (order, at) in (1u64..).zip(HEADERS) {
        header[NUMBER].copy_from_slice(&order.to_le_bytes());
        header[4..8].fill(0);
        let sum = crc32c::crc32c(&header);
        header[4..8].copy_from_slice(&sum.to_le_bytes());
        file.write_all_at(&header, at)?;
    }
    let id = vhdx_disk_id(file)?;
    file.write_all_at(&uuid_bytes(&seed.uuid("vhdx disk")), id)
}

/// Where the disk's ID stands: the item of that name, in the region of the metadata.
fn vhdx_disk_id(file: &File) -> io::Result<u64> {
    const REGIONS: u64 = 192 << 10;
    const METADATA: [u8; 16] =
        [0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e];
    const DISK_ID: [u8; 16] =
        [0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46];
    let mut table = vec![0; 4096];
    file.read_exact_at(&mut table, REGIONS)?;
    let region =
        table[16..].chunks_exact(32).find(|entry| entry[..16] == METADATA).ok_or_else(|| odd("VHDX"))?;
    let region = little(&region[16..24]);
    file.read_exact_at(&mut table, region)?;
    let item =
        table[32..].chunks_exact(32).find(|entry| entry[..16] == DISK_ID).ok_or_else(|| odd("VHDX"))?;
    Ok(region + little(&item[16..20]))
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("qemu-img wrote no {what} that is known"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_content_id_is_replaced_however_long_it_was() {
        let descriptor = |id: &str| {
            let mut text = format!("version=1\nCID={id}\nparentCID=ffffffff\n").into_bytes();
            text.resize(64, 0);
            text
        };
        for id in ["9e324dc3", "e324dc3", "0"] {
            assert_eq!(super::with_content_id(&descriptor(id), 0xabcdef), Some(descriptor("abcdef")));
        }
        assert_eq!(super::with_content_id(b"\nCID=1", 0xabcdef), None, "no room");
        let mut left = descriptor("e324dc");
        let end = left.iter().position(|byte| *byte == 0).expect("an end");
        left[end + 1] = b'\n';
        assert_eq!(super::with_content_id(&left, 0xabcdef), Some(descriptor("abcdef")), "what was left");
    }
}
