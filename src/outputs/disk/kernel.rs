//! The kernels of an image, and what they are told.

use std::cmp::Ordering;

use super::Machine;
use super::spec::{Boot, Content, Disk, Partition, Table};
use super::table::mbr_id;
use crate::deb::version;
use crate::fault::{Fault, Place};
use crate::layer::merge::Node;
use crate::layer::{EntryPath, Merged};
use crate::outputs::seed::Seed;
use crate::work::{Stack, World};

/// A kernel and what goes with it.
#[derive(Clone, Debug)]
pub struct Kernel<'a> {
    /// What stands behind `vmlinuz-`.
    pub version: String,
    pub kernel: &'a Node,
    pub initramfs: Option<&'a Node>,
}

/// The kernels in `/boot`, the newest first.
pub fn kernels(merged: &Merged) -> Vec<Kernel<'_>> {
    const BEGINNING: &[u8] = b"boot/vmlinuz-";
    let mut found: Vec<Kernel<'_>> = merged
        .nodes()
        .filter_map(|node| {
            let version = node.entry.path.as_bytes().strip_prefix(BEGINNING)?;
            let version = std::str::from_utf8(version).ok().filter(|version| is_plain(version))?.to_string();
            let kernel = merged.file(&node.entry.path)?;
            let initramfs = EntryPath::parse(format!("boot/initrd.img-{version}")).ok()?;
            Some(Kernel { version, kernel, initramfs: merged.file(&initramfs) })
        })
        .collect();
    found.sort_by(|one, other| newest_first(&one.version, &other.version));
    found
}

/// Whether it can stand in the file of a boot loader as it is.
fn is_plain(version: &str) -> bool {
    !version.is_empty()
        && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-~".contains(&byte))
}

fn newest_first(one: &str, other: &str) -> Ordering {
    version::compare(other, one).then_with(|| other.cmp(one))
}

/// The newest kernel. `or_else` says what else helps where there is none.
///
/// # Errors
///
/// There is none.
pub fn newest<'k, 'a>(
    kernels: &'k [Kernel<'a>],
    boot: &Boot,
    place: &Place,
    or_else: &str,
) -> Result<&'k Kernel<'a>, Fault> {
    kernels.first().ok_or_else(|| {
        let package = if boot.arch == "arm64" { "linux-image-arm64" } else { "linux-image-cloud-amd64" };
        Fault::build("boot/kernel", "there is no kernel in this image: nothing is at `/boot/vmlinuz-*`")
            .at(boot.place.as_ref().unwrap_or(place), "this is to boot")
            .help(format!("add one: `packages {{ {package} }}`{or_else}"))
    })
}

/// All that the kernel is told: where `/` is, that it is looked at first, and what the manifest says.
pub fn cmdline(boot: &Boot, disk: &Disk, ids: &Ids) -> String {
    let root = disk.mounted("/").unwrap_or_default();
    let partition = ids.partitions.get(root).map_or("", String::as_str);
    // A kernel without an initramfs knows partitions, not file systems.
    let root = match disk.table {
        Table::Gpt => format!("root=PARTUUID={partition}"),
        Table::Mbr => format!("root=PARTUUID={:08x}-{:02x}", mbr_id(&ids.disk), root + 1),
        Table::None => format!("root=UUID={}", ids.filesystem(root)),
    };
    format!("{root} ro {}", boot.words()).trim_end().to_string()
}

/// What tells a disk and the parts of it apart from others.
#[derive(Debug)]
pub struct Ids {
    pub disk: String,
    /// Of the partitions in a table.
    pub partitions: Vec<String>,
    /// Of what is in them; of FAT its volume ID.
    pub filesystems: Vec<String>,
}

impl Ids {
    /// Those of the machine's disk, with the image of `stack` on it.
    ///
    /// # Errors
    ///
    /// Files of the project that are on the disk cannot be read.
    pub fn of(machine: &Machine, title: &str, stack: &Stack, world: &World) -> Result<Ids, Fault> {
        let seed = Seed::of(stack, machine.facts(title, world)?.key.text());
        let partitions = &machine.disk.partitions;
        let filesystem = |part: &Partition| match part.content {
            Content::Vfat => {
                let id = seed.number(&format!("file system {}", part.name));
                format!("{:04X}-{:04X}", id >> 16, id & 0xffff)
            }
            _ => seed.uuid(&format!("file system {}", part.name)),
        };
        Ok(Ids {
            disk: seed.uuid("disk"),
            partitions: partitions
                .iter()
                .map(|part| seed.uuid(&format!("partition {}", part.name)))
                .collect(),
            filesystems: partitions.iter().map(filesystem).collect(),
        })
    }

    /// The UUID of what is in a partition, as blkid(8) tells it.
    pub fn filesystem(&self, part: usize) -> &str {
        self.filesystems.get(part).map_or("", String::as_str)
    }
}
