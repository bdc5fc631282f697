//! What a FAT file system of some size looks like, and what stands in front of its clusters.

use super::Fat;
use super::entry::{ENTRY, padded};
use super::tree::Item;
use crate::outputs::disk::table::SECTOR;

/// What a file system of some size looks like.
pub(super) struct Shape {
    sectors: u64,
    /// Bytes of a cluster.
    pub(super) cluster: u64,
    pub(super) clusters: u32,
    /// Sectors in front of the first table.
    reserved: u64,
    /// Sectors of a table; there are two.
    table: u64,
    /// Whether it is FAT32; else it is FAT16.
    pub(super) wide: bool,
}

/// The smallest one: bytes.
const LEAST: u64 = 4 << 20;

/// Entries of the root of FAT16, which lies in front of the clusters.
pub(super) const ROOT_ENTRIES: usize = 512;

impl Shape {
    pub(super) fn of(size: u64) -> Option<Shape> {
        let sectors = size / SECTOR;
        if size < LEAST || u32::try_from(sectors).is_err() {
            return None;
        }
        // Microsoft's table of clusters by size; a smaller one has too few clusters to be FAT32.
        let wide = size >= 34 << 20;
        let cluster = match size >> 20 {
            0..16 => 512,
            16..34 => 1024,
            34..=260 => 512,
            261..=8192 => 4096,
            8193..=16384 => 8192,
            16385..=32768 => 16384,
            _ => 32768,
        };
        let (reserved, root, width) =
            if wide { (32, 0, 4) } else { (1, (ROOT_ENTRIES * ENTRY) as u64 / SECTOR, 2) };
        // Sectors for tables of all clusters that there could be: a few too many do no harm.
        let most = (sectors - reserved - root) * SECTOR / cluster + 2;
        let table = (most * width).div_ceil(SECTOR);
        let clusters = (sectors - reserved - root - 2 * table) * SECTOR / cluster;
        let clusters = u32::try_from(clusters).ok()?;
        Some(Shape { sectors, cluster, clusters, reserved, table, wide })
    }

    /// Where the root of FAT16 is, and where clusters begin: bytes.
    pub(super) fn root(&self) -> u64 {
        (self.reserved + 2 * self.table) * SECTOR
    }

    pub(super) fn place(&self, cluster: u32) -> u64 {
        let root = if self.wide { 0 } else { (ROOT_ENTRIES * ENTRY) as u64 };
        self.root() + root + u64::from(cluster - 2) * self.cluster
    }

    /// What stands in front of the clusters; `next` is the first that is free.
    pub(super) fn front(&self, fat: &Fat<'_>, next: u32, tree: &Item<'_>) -> Vec<(u64, Vec<u8>)> {
        let boot = self.boot_sector(fat);
        let mut pieces = vec![(0, boot.clone())];
        if self.wide {
            let mut info = vec![0; SECTOR as usize];
            info[..4].copy_from_slice(b"RRaA");
            info[484..488].copy_from_slice(b"rrAa");
            info[488..492].copy_from_slice(&(self.clusters + 2 - next).to_le_bytes());
            info[492..496].copy_from_slice(&next.to_le_bytes());
            info[510..].copy_from_slice(&[0x55, 0xaa]);
            pieces.extend([(SECTOR, info.clone()), (6 * SECTOR, boot), (7 * SECTOR, info)]);
        }
        let table = self.chain_table(next, tree);
        pieces.push((self.reserved * SECTOR, table.clone()));
        pieces.push(((self.reserved + self.table) * SECTOR, table));
        pieces
    }

    fn chain_table(&self, next: u32, tree: &Item<'_>) -> Vec<u8> {
        const LAST: u32 = 0x0fff_ffff;
        let mut chain = vec![0u32; next as usize];
        chain[0] = 0x0fff_fff8;
        chain[1] = LAST;
        let mut chains = Vec::new();
        tree.chains(&mut chains);
        for (first, clusters) in chains {
            for cluster in first..first + clusters {
                let is_last = cluster + 1 == first + clusters;
                chain[cluster as usize] = if is_last { LAST } else { cluster + 1 };
            }
        }
        let bytes = |link: u32| link.to_le_bytes().into_iter().take(if self.wide { 4 } else { 2 });
        chain.into_iter().flat_map(bytes).collect()
    }

    fn boot_sector(&self, fat: &Fat<'_>) -> Vec<u8> {
        let mut sector = vec![0; SECTOR as usize];
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        let small = |number: u64| u16::try_from(number).unwrap_or_default().to_le_bytes();
        put(0, &[0xeb, 0x58, 0x90]);
        put(3, b"imgbuild");
        put(11, &small(SECTOR));
        put(13, &[u8::try_from(self.cluster / SECTOR).unwrap_or(1)]);
        put(14, &small(self.reserved));
        put(16, &[2]);
        put(17, &small(if self.wide { 0 } else { ROOT_ENTRIES as u64 }));
        put(21, &[0xf8]);
        put(24, &small(63));
        put(26, &small(255));
        put(32, &u32::try_from(self.sectors).unwrap_or_default().to_le_bytes());
        let rest = if self.wide {
            put(36, &u32::try_from(self.table).unwrap_or_default().to_le_bytes());
            put(44, &2u32.to_le_bytes());
            put(48, &[1, 0, 6, 0]);
            64
        } else {
            put(22, &small(self.table));
            36
        };
        put(rest, &[0x80, 0, 0x29]);
        put(rest + 3, &fat.id.to_le_bytes());
        put(rest + 7, &padded(fat.label.unwrap_or("NO NAME")));
        put(rest + 18, if self.wide { b"FAT32   " } else { b"FAT16   " });
        put(510, &[0x55, 0xaa]);
        sector
    }
}
