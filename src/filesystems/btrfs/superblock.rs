//! The superblock: which of its copies counts, and what it says of the whole.

use std::io;

use super::format::{MAGIC, SUPERBLOCKS, number, slice};
use super::sums::Sums;
use crate::filesystems::Part;
use crate::filesystems::{damage, ends_early, label, unread};

/// Bytes of a superblock (`struct btrfs_super_block`).
const SUPERBLOCK: u64 = 4096;
/// What nodes and sectors can have: bytes.
const SMALLEST: u64 = 4 << 10;
const LARGEST: u64 = 64 << 10;
/// Bytes of the chunks that a superblock tells itself.
const ARRAY: u64 = 2048;

/// What a superblock says.
#[derive(Debug)]
pub struct Superblock {
    /// What all devices of it are called together.
    pub uuid: Vec<u8>,
    /// The UUID that stands in its nodes: another one if the first was changed without writing them anew.
    pub node_uuid: Vec<u8>,
    pub label: String,
    pub sums: Sums,
    /// Bytes of a node.
    pub node: u64,
    /// Bytes of a sector.
    pub sector: u64,
    /// The tree of all trees, and that of chunks.
    pub roots: Told,
    pub chunks: Told,
    /// The directory in the tree of all trees.
    pub directory: u64,
    /// The only device's number.
    pub device: u64,
    /// The chunks that have the tree of chunks in them: `btrfs_disk_key` and `btrfs_chunk`, again and again.
    pub first_chunks: Vec<u8>,
    /// Whether changes wait in the log.
    pub has_log: bool,
}

/// What is told of a tree's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub address: u64,
    pub generation: u64,
    pub level: u8,
}

impl Superblock {
    /// The first copy, which is the only one that the kernel looks at. Where that is damaged, the newest of the others.
    ///
    /// # Errors
    ///
    /// No copy that is whole; what imgbuild does not read.
    pub fn load(part: &Part) -> io::Result<Superblock> {
        let [first, others @ ..] = SUPERBLOCKS;
        if let Some(copy) = copy(part, first)? {
            return Superblock::of(&copy, part.size());
        }
        let mut newest: Option<(u64, Vec<u8>)> = None;
        for at in others {
            let Some(copy) = copy(part, at)? else { continue };
            let generation = number(&copy, 72, 8)?;
            if newest.as_ref().is_none_or(|(known, _)| generation > *known) {
                newest = Some((generation, copy));
            }
        }
        let (_, newest) =
            newest.ok_or_else(|| damage("no copy of its superblock has the checksum that it says"))?;
        Superblock::of(&newest, part.size())
    }

    /// The one that is written so, in a part of `size` bytes.
    fn of(bytes: &[u8], size: u64) -> io::Result<Superblock> {
        check_flags(number(bytes, 56, 8)?)?;
        let features = number(bytes, 188, 8)?;
        features::check(features)?;
        check_devices(number(bytes, 136, 8)?)?;
        let (sector, node) = (number(bytes, 144, 4)?, number(bytes, 148, 4)?);
        let fits = |size: u64| size.is_power_of_two() && (SMALLEST..=LARGEST).contains(&size);
        if !fits(sector) || !fits(node) || node < sector {
            return Err(damage("the sizes of its sectors and nodes are none that btrfs has"));
        }
        // Of its one device (`struct btrfs_dev_item`).
        if number(bytes, 201 + 8, 8)? > size {
            return Err(ends_early());
        }
        let array = number(bytes, 160, 4)?;
        if array > ARRAY {
            return Err(damage("its superblock has more chunks than it has room for"));
        }
        let told = |address, generation, level| -> io::Result<Told> {
            let (address, generation) = (number(bytes, address, 8)?, number(bytes, generation, 8)?);
            Ok(Told { address, generation, level: number(bytes, level, 1)? as u8 })
        };
        let uuid = slice(bytes, 32, 16)?.to_vec();
        let has_own = features & features::NODES_HAVE_OWN_UUID != 0;
        Ok(Superblock {
            node_uuid: if has_own { slice(bytes, 571, 16)?.to_vec() } else { uuid.clone() },
            uuid,
            label: label(slice(bytes, 299, 256)?),
            sums: Sums::of(number(bytes, 196, 2)?)?,
            node,
            sector,
            roots: told(80, 72, 198)?,
            chunks: told(88, 164, 199)?,
            directory: number(bytes, 128, 8)?,
            device: number(bytes, 201, 8)?,
            first_chunks: slice(bytes, 811, array as usize)?.to_vec(),
            has_log: number(bytes, 96, 8)? != 0,
        })
    }
}

/// The copy at `at`; none if there is none that is whole.
fn copy(part: &Part, at: u64) -> io::Result<Option<Vec<u8>>> {
    if at + SUPERBLOCK > part.size() {
        return Ok(None);
    }
    let bytes = part.bytes(at, SUPERBLOCK)?;
    if number(&bytes, 48, 8)? != at || slice(&bytes, 64, 8)? != MAGIC {
        return Ok(None);
    }
    let sums = Sums::of(number(&bytes, 196, 2)?);
    Ok(sums.is_ok_and(|sums| sums.is_whole(&bytes)).then_some(bytes))
}

/// `BTRFS_SUPER_FLAG_…`: what a tool was about to do, or did.
fn check_flags(flags: u64) -> io::Result<()> {
    const DUMPED: u64 = 1 << 33 | 1 << 34;
    const CHANGING_UUID: u64 = 1 << 35 | 1 << 36;
    const CHANGING_GROUPS: u64 = 1 << 38;
    const CHANGING_SUMS: u64 = 1 << 39 | 1 << 40;
    let reasons = [
        (DUMPED, "it is a dump of metadata, without the content of files"),
        (CHANGING_UUID, "btrfstune was about to change its UUID, and did not end"),
        (CHANGING_GROUPS, "btrfstune was about to convert its block groups, and did not end"),
        (CHANGING_SUMS, "btrfstune was about to change its checksums, and did not end"),
    ];
    match reasons.iter().find(|(bits, _)| flags & bits != 0) {
        Some((_, reason)) => Err(unread(*reason)),
        None => Ok(()),
    }
}

fn check_devices(count: u64) -> io::Result<()> {
    match count {
        0 => Err(damage("its superblock has no devices")),
        1 => Ok(()),
        count => Err(unread(format!("it is one of {count} devices of a btrfs file system"))),
    }
}

/// Features that who does not know them cannot read it (`BTRFS_FEATURE_INCOMPAT_…`).
mod features {
    use super::{io, unread};

    pub const NODES_HAVE_OWN_UUID: u64 = 1 << 10;
    /// All up to that, and RAID1 with three and four copies. What of them says how content is packed or chunks are laid
    /// out is told again by each extent and each chunk.
    const KNOWN: u64 = (1 << 12) - 1;
    /// Quotas that are counted simply: a record more in the tree of extents.
    const SIMPLE_QUOTAS: u64 = 1 << 16;
    const ZONED: u64 = 1 << 12;
    const EXTENT_TREE_V2: u64 = 1 << 13;
    const STRIPE_TREE: u64 = 1 << 14;
    const REMAPPED: u64 = 1 << 17;

    pub fn check(features: u64) -> io::Result<()> {
        let named = [
            (ZONED, "it is written in zones"),
            (EXTENT_TREE_V2, "it has extent trees of version 2"),
            (STRIPE_TREE, "it has a tree of RAID stripes"),
            (REMAPPED, "it has a tree of remapped block groups"),
        ];
        if let Some((_, reason)) = named.iter().find(|(bit, _)| features & bit != 0) {
            return Err(unread(*reason));
        }
        match features & !(KNOWN | SIMPLE_QUOTAS) {
            0 => Ok(()),
            bits => Err(unread(format!("it has features that imgbuild does not know ({bits:#x})"))),
        }
    }
}
