//! What the reader of ext4 does not tell of inodes, as it stands on the disk (Documentation/filesystems/ext4): which names
//! are of which one, devices' numbers, extended attributes.

use std::collections::HashMap;
use std::io;

use super::attributes;
use super::disk::Part;

/// The number of the root's inode.
pub const ROOT: u32 = 2;

/// Blocks of one folder that are looked at: more than any has whose names could all be told.
const MOST: usize = 1 << 16;

/// The inodes of a file system.
pub struct Inodes {
    part: Part,
    /// Bytes of a block.
    block: u64,
    /// Inodes of a group.
    per_group: u64,
    /// Bytes of an inode.
    size: u64,
    /// Where the groups' descriptors begin, and bytes of one.
    groups: (u64, u64),
}

/// What an inode says.
#[derive(Debug, Default)]
pub struct Told {
    /// The numbers of the device that it is, if it is one.
    pub device: (u32, u32),
    /// Extended attributes, by their names.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Inodes {
    /// Those of a file system that its reader has found well. None where newer ones are in the journal, or the
    /// descriptors are apart from each other.
    pub fn of(part: Part) -> Option<Inodes> {
        const IN_JOURNAL: u64 = 0x4;
        const APART: u64 = 0x10;
        const WIDE: u64 = 0x80;
        let start = part.bytes(1024, 1024).ok()?;
        let features = word(&start, 0x60);
        let block = 1024 << word(&start, 0x18).min(6);
        let size = if word(&start, 0x4c) == 0 { 128 } else { half(&start, 0x58) };
        let group = if features & WIDE == 0 { 32 } else { half(&start, 0xfe) };
        let groups = (block * (word(&start, 0x14) + 1), group);
        let inodes = Inodes { part, block, per_group: word(&start, 0x28).max(1), size, groups };
        (features & (IN_JOURNAL | APART) == 0).then_some(inodes)
    }

    /// The numbers of the inodes in a folder, by their names.
    pub fn names(&self, folder: u32) -> io::Result<HashMap<Vec<u8>, u32>> {
        const EXTENTS: u64 = 0x8_0000;
        let inode = self.inode(folder)?;
        let place = inode.get(40..100).unwrap_or_default();
        let blocks = if word(&inode, 32) & EXTENTS == 0 { self.listed(place) } else { self.blocks(place) };
        let mut names = HashMap::new();
        for block in blocks? {
            let block = self.block(block)?;
            let mut rest = block.as_slice();
            while let [_, _, _, _, _, _, length, _, name @ ..] = rest {
                if let Some(name) = name.get(..usize::from(*length)) {
                    names.insert(name.to_vec(), word(rest, 0) as u32);
                }
                // No shorter than its own fields, or it would never end.
                rest = rest.get(half(rest, 4).max(8) as usize..).unwrap_or_default();
            }
        }
        Ok(names)
    }

    /// What the inode of that number says.
    pub fn told(&self, number: u32) -> io::Result<Told> {
        let inode = self.inode(number)?;
        let behind = inode.get(128 + half(&inode, 128) as usize..).unwrap_or_default();
        let mut xattrs = attributes::of_inode(behind);
        let block = word(&inode, 104) | half(&inode, 118) << 32;
        if block != 0 {
            xattrs.extend(attributes::of_block(&self.block(block)?));
        }
        xattrs.sort();
        Ok(Told { device: device(&inode), xattrs })
    }

    fn inode(&self, number: u32) -> io::Result<Vec<u8>> {
        let index = u64::from(number.saturating_sub(1));
        let (start, size) = self.groups;
        let group = self.part.bytes(start + index / self.per_group * size, size)?;
        let table = (word(&group, 8) | word(&group, 0x28) << 32).saturating_mul(self.block);
        self.part.bytes(table.saturating_add(index % self.per_group * self.size), self.size)
    }

    fn block(&self, number: u64) -> io::Result<Vec<u8>> {
        self.part.bytes(number.saturating_mul(self.block), self.block)
    }

    /// The blocks of a file as ext2 has them: a list of twelve, and where a block is with a list of more. What is beyond
    /// these, thousands of names, is not told.
    fn listed(&self, list: &[u8]) -> io::Result<Vec<u64>> {
        let (own, further) = list.split_at_checked(48).unwrap_or_default();
        let more = match word(further, 0) {
            0 => Vec::new(),
            place => self.block(place)?,
        };
        let all = own.chunks_exact(4).chain(more.chunks_exact(4)).map(|place| word(place, 0));
        Ok(all.filter(|place| *place != 0).collect())
    }

    /// The blocks of a file, by the root of its tree of extents.
    fn blocks(&self, root: &[u8]) -> io::Result<Vec<u64>> {
        // Deeper than any tree of extents: nodes that lead to each other have no end.
        const DEEPEST: u64 = 5;
        let (mut found, mut nodes, mut node, mut most) = (Vec::new(), Vec::new(), root.to_vec(), DEEPEST);
        for _ in 0..MOST {
            let depth = half(&node, 6);
            if depth > most {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a folder's blocks lead nowhere"));
            }
            let records = node.get(12..).unwrap_or_default().chunks_exact(12).take(half(&node, 2) as usize);
            for record in records {
                if depth > 0 {
                    nodes.push((depth - 1, word(record, 4) | half(record, 8) << 32));
                } else {
                    let first = word(record, 8) | half(record, 6) << 32;
                    found.extend((first..first + half(record, 4)).take(MOST.saturating_sub(found.len())));
                }
            }
            let Some((depth, next)) = nodes.pop() else { break };
            (node, most) = (self.block(next)?, depth);
        }
        Ok(found)
    }
}

/// The numbers of the device that an inode is: as the kernel once had them, or with 12 bits and 20.
fn device(inode: &[u8]) -> (u32, u32) {
    let (small, large) = (word(inode, 40) as u32, word(inode, 44) as u32);
    match small {
        0 => (large >> 8 & 0xfff, large & 0xff | large >> 12 & 0xf_ff00),
        _ => (small >> 8 & 0xff, small & 0xff),
    }
}

/// The number of 32 bits at `at`; 0 where nothing is.
pub fn word(record: &[u8], at: usize) -> u64 {
    let bytes = record.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes).into())
}

/// The number of 16 bits at `at`; 0 where nothing is.
pub fn half(record: &[u8], at: usize) -> u64 {
    let bytes = record.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u16::from_le_bytes(*bytes).into())
}
