//! Directories (Documentation/filesystems/ext4/directory.rst): one block as a list, more with an index of hashes, which
//! the kernel would make, too.

use super::geometry::BLOCK;
use super::hash::HashSeed;
use super::record::Block;
use crate::fault::Fault;
use crate::filesystems::ext4::checksum::Sum;
use crate::outputs::files::file_type;

/// A name in a directory, and what it is of.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// Up to 255 bytes.
    pub bytes: &'a [u8],
    /// The inode's number.
    pub inode: u64,
    /// Its type, as [`file_type`] has them.
    pub of: u8,
}

/// A directory's own facts.
pub struct Directory {
    /// Its inode's number.
    pub inode: u64,
    /// That of the directory that it is in.
    pub parent: u64,
    /// The sum of its inode.
    pub sum: Sum,
    /// What names are hashed with.
    pub seed: HashSeed,
}

const SIZE: usize = BLOCK as usize;
/// Bytes behind the entries of a block: an entry of nothing, with the checksum.
const TAIL: usize = 12;
const ROOM: usize = SIZE - TAIL;
/// `.` and `..`.
const DOTS: usize = 24;

/// Where the records of an index begin: in its root, and in each other block.
const ROOT_RECORDS: usize = 32;
const NODE_RECORDS: usize = 8;
const RECORD: usize = 8;
/// How many there can be: eight bytes are for the checksum.
const OF_ROOT: usize = (SIZE - ROOT_RECORDS - 8) / RECORD;
const OF_NODE: usize = (SIZE - NODE_RECORDS - 8) / RECORD;

/// Bytes of an entry: eight and the name, rounded up (`struct ext4_dir_entry_2`).
fn length(name: &[u8]) -> usize {
    (8 + name.len()).next_multiple_of(4)
}

/// How a directory is laid out, which depends only on how long its names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// One block behind the other.
    List { blocks: usize },
    /// An index, of a root and so many further blocks, and blocks with so many bytes in all.
    Index { nodes: usize, leaves: usize, bytes: usize },
}

impl Shape {
    fn of<'n>(names: impl Iterator<Item = &'n [u8]> + Clone) -> Shape {
        let (mut bytes, mut longest) = (0, 0);
        for name in names.clone() {
            let length = length(name);
            (bytes, longest) = (bytes + length, longest.max(length));
        }
        if bytes + DOTS <= ROOM {
            return Shape::List { blocks: 1 };
        }
        // In the order of hashes, which is not asked for here, a block may have less room left than the next entry takes.
        let leaves = bytes.div_ceil(ROOM - longest);
        let nodes = if leaves > OF_ROOT { leaves.div_ceil(OF_NODE) } else { 0 };
        match nodes <= OF_ROOT {
            true => Shape::Index { nodes, leaves, bytes },
            false => Shape::List { blocks: listed(names) },
        }
    }
}

/// How many blocks a list takes.
fn listed<'n>(names: impl Iterator<Item = &'n [u8]>) -> usize {
    let (mut blocks, mut used) = (1, DOTS);
    for name in names {
        if used + length(name) > ROOM {
            (blocks, used) = (blocks + 1, 0);
        }
        used += length(name);
    }
    blocks
}

/// How many blocks a directory with these names takes; as a list, at least `least`.
pub fn blocks<'n>(names: impl Iterator<Item = &'n [u8]> + Clone, least: u64) -> u64 {
    match Shape::of(names) {
        Shape::List { blocks } => least.max(blocks as u64),
        Shape::Index { nodes, leaves, .. } => (1 + nodes + leaves) as u64,
    }
}

/// Whether a directory with these names has an index.
pub fn is_indexed<'n>(names: impl Iterator<Item = &'n [u8]> + Clone) -> bool {
    matches!(Shape::of(names), Shape::Index { .. })
}

impl Directory {
    /// The blocks of the directory with these names; of a list, at least `least`: no index tells of empty ones.
    ///
    /// # Errors
    ///
    /// Something has no place in its block.
    pub fn blocks(&self, names: &[Name<'_>], least: u64) -> Result<Vec<u8>, Fault> {
        match Shape::of(names.iter().map(|name| name.bytes)) {
            Shape::List { .. } => self.list(names, least),
            Shape::Index { nodes, leaves, bytes } => self.indexed(names, nodes, leaves, bytes),
        }
    }

    fn list(&self, names: &[Name<'_>], least: u64) -> Result<Vec<u8>, Fault> {
        let mut blocks = Vec::new();
        let mut leaf = Leaf::new();
        self.dots().iter().for_each(|name| leaf.add(name));
        for name in names {
            if leaf.used + length(name.bytes) > ROOM {
                blocks.extend(std::mem::replace(&mut leaf, Leaf::new()).finished(self.sum)?);
            }
            leaf.add(name);
        }
        blocks.extend(leaf.finished(self.sum)?);
        while (blocks.len() as u64) < least * BLOCK {
            blocks.extend(Leaf::new().finished(self.sum)?);
        }
        Ok(blocks)
    }

    fn dots(&self) -> [Name<'static>; 2] {
        let name = |bytes, inode| Name { bytes, inode, of: file_type::DIRECTORY };
        [name(b".", self.inode), name(b"..", self.parent)]
    }

    /// The root of the index, its other blocks, and the leaves: each as full as the others.
    fn indexed(
        &self,
        names: &[Name<'_>],
        nodes: usize,
        leaves: usize,
        bytes: usize,
    ) -> Result<Vec<u8>, Fault> {
        let mut hashed: Vec<((u32, u32), &Name<'_>)> =
            names.iter().map(|name| (self.seed.hash(name.bytes), name)).collect();
        hashed.sort_unstable_by_key(|(hash, name)| (*hash, name.bytes));
        let mut filled: Vec<(u32, Leaf)> = Vec::with_capacity(leaves);
        let (mut before, mut last) = (0, None);
        for ((hash, _), name) in hashed {
            let leaf = before * leaves / bytes;
            if leaf >= filled.len() {
                // The lowest bit says that some with this hash are in the leaf before.
                let continued = u32::from(last == Some(hash));
                filled.push((hash | continued, Leaf::new()));
            }
            if let Some((_, leaf)) = filled.last_mut() {
                leaf.add(name);
            }
            (before, last) = (before + length(name.bytes), Some(hash));
        }
        let firsts: Vec<u32> = filled.iter().map(|(first, _)| *first).collect();
        let mut blocks = self.index(&firsts, nodes)?;
        for (_, leaf) in filled {
            blocks.extend(leaf.finished(self.sum)?);
        }
        Ok(blocks)
    }

    /// The index of leaves that begin with these hashes.
    fn index(&self, firsts: &[u32], nodes: usize) -> Result<Vec<u8>, Fault> {
        let leaves: Vec<(u32, u64)> = firsts.iter().copied().zip(1 + nodes as u64..).collect();
        let mut root = Block::new();
        let [dot, dots] = self.dots();
        entry(&mut root, 0, &dot, 12);
        entry(&mut root, 12, &dots, SIZE - 12);
        // Half MD4; eight bytes of this; as many levels below.
        root.put(28, &[1, 8, u8::from(nodes > 0), 0]);
        if nodes == 0 {
            self.records(&mut root, ROOT_RECORDS, OF_ROOT, &leaves);
            return Ok(root.done()?.to_vec());
        }
        let chunks = leaves.chunks(OF_NODE).zip(1..);
        let above: Vec<(u32, u64)> =
            chunks.clone().filter_map(|(chunk, block)| Some((chunk.first()?.0, block))).collect();
        self.records(&mut root, ROOT_RECORDS, OF_ROOT, &above);
        let mut blocks = root.done()?.to_vec();
        for (chunk, _) in chunks {
            let mut node = Block::new();
            node.put16(4, BLOCK);
            self.records(&mut node, NODE_RECORDS, OF_NODE, chunk);
            blocks.extend(node.done()?);
        }
        Ok(blocks)
    }

    /// Puts the records of an index behind what begins its block, and the checksum behind the room for all.
    fn records(&self, block: &mut Block, at: usize, room: usize, records: &[(u32, u64)]) {
        for (number, (hash, place)) in records.iter().enumerate() {
            block.put32(at + number * RECORD, (*hash).into());
            block.put32(at + number * RECORD + 4, *place);
        }
        // The first has no hash: that is where it says how many there can be, and are.
        block.put16(at, room as u64);
        block.put16(at + 2, records.len() as u64);
        let used = block.up_to(at + records.len() * RECORD);
        let sum = self.sum.with(used).with(&[0; 8]);
        block.put32(at + room * RECORD + 4, sum.value().into());
    }
}

/// A block of entries that is being filled.
struct Leaf {
    bytes: Block,
    used: usize,
    /// Where the last entry is.
    last: usize,
}

impl Leaf {
    fn new() -> Leaf {
        Leaf { bytes: Block::new(), used: 0, last: 0 }
    }

    fn add(&mut self, name: &Name<'_>) {
        let length = length(name.bytes);
        entry(&mut self.bytes, self.used, name, length);
        (self.last, self.used) = (self.used, self.used + length);
    }

    /// The block: its last entry has all that is left.
    fn finished(mut self, sum: Sum) -> Result<[u8; SIZE], Fault> {
        self.bytes.put16(self.last + 4, (ROOM - self.last) as u64);
        self.bytes.put16(ROOM + 4, TAIL as u64);
        self.bytes.put(ROOM + 7, &[0xde]);
        let sum = sum.with(self.bytes.up_to(ROOM));
        self.bytes.put32(ROOM + 8, sum.value().into());
        self.bytes.done()
    }
}

fn entry(block: &mut Block, at: usize, name: &Name<'_>, length: usize) {
    block.put32(at, name.inode);
    block.put16(at + 4, length as u64);
    block.put(at + 6, &[name.bytes.len() as u8, name.of]);
    block.put(at + 8, name.bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_takes_as_many_blocks_as_it_says() {
        let directory = Directory { inode: 2, parent: 2, sum: Sum::START, seed: HashSeed([1, 2, 3, 4]) };
        for (count, length) in [
            (0, 0),
            (1, 255),
            (15, 255),
            (16, 255),
            (339, 4),
            (340, 4),
            (9000, 200),
            (70_000, 20),
            (180_000, 7),
        ] {
            let names: Vec<String> = (0..count).map(|number| format!("{number:0length$}")).collect();
            let names = || names.iter().map(String::as_bytes);
            let listed: Vec<Name<'_>> =
                names().map(|bytes| Name { bytes, inode: 12, of: file_type::FILE }).collect();
            for least in [0, 4] {
                let bytes = directory.blocks(&listed, least).expect("room");
                let told = blocks(names(), least) * BLOCK;
                assert_eq!(bytes.len() as u64, told, "{count} names of {length} bytes");
            }
        }
    }
}
