//! Directories: in the inode itself, in one block, or in many with an index (`fs/xfs/libxfs/xfs_da_format.h`).

use super::format::{BLOCK, Record, Uuid, name_hash};
use crate::outputs::files::file_type;

/// What stands in a directory.
#[derive(Clone, Debug)]
pub struct Name<'a> {
    pub name: &'a [u8],
    pub inode: u64,
    /// What it is.
    pub kind: u8,
}

/// How a directory is kept.
pub enum Kept {
    /// In its inode.
    Local(Vec<u8>),
    /// In blocks, each with its place in the directory.
    Blocks(Vec<Block>),
}

/// A block of a directory.
pub struct Block {
    /// Blocks from the directory's beginning.
    pub offset: u64,
    shape: Shape,
}

enum Shape {
    /// Names; and behind them, in a directory of one block, their index.
    Names {
        entries: Vec<u8>,
        index: Option<Vec<(u32, u32)>>,
    },
    /// An index of everything, and the room that each block of names has.
    OnlyLeaf {
        index: Vec<(u32, u32)>,
        rooms: Vec<u16>,
    },
    Leaf {
        index: Vec<(u32, u32)>,
        links: [u32; 2],
    },
    Node {
        level: u16,
        pointers: Vec<(u32, u32)>,
        links: [u32; 2],
    },
    Rooms {
        first: u32,
        rooms: Vec<u16>,
    },
}

/// Where names begin in their block.
const NAMES: usize = 64;
/// Where all others begin.
const HEADER: usize = 64;
/// The first block of the index, and of what tells of free room: blocks from the directory's beginning.
const INDEX: u64 = (32 << 30) / BLOCK;
const ROOMS: u64 = (64 << 30) / BLOCK;
/// Entries of an index, or pointers of a node, in a block.
const ENTRIES: usize = (BLOCK as usize - HEADER) / 8;
/// Blocks of names that one block tells the room of.
const ROOMS_EACH: usize = (BLOCK as usize - HEADER) / 2;

/// The directory with `names`, in the order in which they are to stand there; `most` bytes fit into its inode.
pub fn kept(own: u64, parent: u64, names: &[Name<'_>], most: usize) -> Kept {
    if let Some(local) = local(parent, names).filter(|local| local.len() <= most) {
        return Kept::Local(local);
    }
    let dots = [(b".".as_slice(), own), (b"..", parent)];
    let dots = dots.map(|(name, inode)| Name { name, inode, kind: file_type::DIRECTORY });
    let mut blocks: Vec<Vec<u8>> = vec![Vec::new()];
    let mut index: Vec<(u32, u32)> = Vec::new();
    for name in dots.iter().chain(names) {
        let size = size(name.name);
        if blocks.last().is_none_or(|last| NAMES + last.len() + size > BLOCK as usize) {
            blocks.push(Vec::new());
        }
        let number = blocks.len() as u64 - 1;
        let Some(block) = blocks.last_mut() else { break };
        let at = NAMES + block.len();
        index.push((name_hash(name.name), ((number * BLOCK + at as u64) / 8) as u32));
        let record = Record::new().u64(name.inode).u8(name.name.len() as u8).bytes(name.name).u8(name.kind);
        block.extend(record.up_to(size - 2).small(at).done());
    }
    index.sort_unstable();
    Kept::Blocks(shaped(blocks, index))
}

/// `xfs_dir2_sf_hdr` and what follows; none where a number has more than 32 bits.
fn local(parent: u64, names: &[Name<'_>]) -> Option<Vec<u8>> {
    // No inode has as much room.
    if names.len() > 64 {
        return None;
    }
    let record = Record::new().u8(names.len() as u8).u8(0).u32(u32::try_from(parent).ok()?);
    // Where it would stand in a block.
    let mut at = NAMES + size(b".") + size(b"..");
    let mut all = record;
    for name in names {
        all = all.u8(name.name.len() as u8).small(at).bytes(name.name).u8(name.kind);
        all = all.u32(u32::try_from(name.inode).ok()?);
        at += size(name.name);
    }
    Some(all.done())
}

/// Bytes of an entry: its inode, its length, its name, its kind and where it is, rounded up.
fn size(name: &[u8]) -> usize {
    (8 + 1 + name.len() + 1 + 2).next_multiple_of(8)
}

fn shaped(names: Vec<Vec<u8>>, index: Vec<(u32, u32)>) -> Vec<Block> {
    let rooms: Vec<u16> =
        names.iter().map(|entries| (BLOCK as usize - NAMES - entries.len()) as u16).collect();
    let count = names.len();
    let in_one = count == 1 && usize::from(rooms[0]) >= 8 * index.len() + 8;
    let mut own = in_one.then(|| index.clone());
    let names = (0u64..).zip(names);
    let mut blocks: Vec<Block> = names
        .map(|(offset, entries)| Block { offset, shape: Shape::Names { entries, index: own.take() } })
        .collect();
    if in_one {
        return blocks;
    }
    if HEADER + 8 * index.len() + 2 * count + 4 <= BLOCK as usize {
        blocks.push(Block { offset: INDEX, shape: Shape::OnlyLeaf { index, rooms } });
        return blocks;
    }
    blocks.extend(index_blocks(&index));
    for (number, rooms) in rooms.chunks(ROOMS_EACH).enumerate() {
        let shape = Shape::Rooms { first: (number * ROOMS_EACH) as u32, rooms: rooms.to_vec() };
        blocks.push(Block { offset: ROOMS + number as u64, shape });
    }
    blocks
}

/// The index of a large directory: its root stands first, below it level for level, the leaves last.
fn index_blocks(index: &[(u32, u32)]) -> Vec<Block> {
    let mut counts = vec![index.len().div_ceil(ENTRIES)];
    while counts[0] > 1 {
        counts.insert(0, counts[0].div_ceil(ENTRIES));
    }
    let mut blocks = Vec::new();
    // From the root on: where each level begins.
    let starts: Vec<u64> =
        counts.iter().scan(INDEX, |at, count| Some(std::mem::replace(at, *at + *count as u64))).collect();
    let links = |number: usize, count: usize, offset: u64| {
        let next = if number + 1 < count { offset as u32 + 1 } else { 0 };
        let before = if number > 0 { offset as u32 - 1 } else { 0 };
        [next, before]
    };
    let leaves = counts.len() - 1;
    let mut highest: Vec<(u32, u32)> = Vec::new();
    for (number, entries) in index.chunks(ENTRIES).enumerate() {
        let offset = starts[leaves] + number as u64;
        highest.push((entries.last().map_or(0, |(hash, _)| *hash), offset as u32));
        let links = links(number, counts[leaves], offset);
        blocks.push(Block { offset, shape: Shape::Leaf { index: entries.to_vec(), links } });
    }
    for row in (0..leaves).rev() {
        let mut above = Vec::new();
        for (number, pointers) in highest.chunks(ENTRIES).enumerate() {
            let offset = starts[row] + number as u64;
            above.push((pointers.last().map_or(0, |(hash, _)| *hash), offset as u32));
            let (level, links) = ((leaves - row) as u16, links(number, counts[row], offset));
            blocks.push(Block { offset, shape: Shape::Node { level, pointers: pointers.to_vec(), links } });
        }
        highest = above;
    }
    blocks.sort_by_key(|block| block.offset);
    blocks
}

impl Block {
    /// Whether it has names: these alone are what a directory's size counts.
    pub fn has_names(&self) -> bool {
        matches!(self.shape, Shape::Names { .. })
    }

    /// Its bytes, where it is `at` bytes from the file system's beginning, and of the directory `owner`.
    pub fn bytes(&self, at: u64, owner: u64, uuid: &Uuid) -> Vec<u8> {
        const SECTOR: u64 = super::format::SECTOR;
        let block = |magic: &[u8; 4]| {
            Record::new().bytes(magic).zeros(4).u64s(&[at / SECTOR, 0]).bytes(uuid).u64(owner)
        };
        let indexed = |magic: u16, links: [u32; 2]| {
            let record = Record::new().u32s(&links).u16(magic).zeros(6).u64s(&[at / SECTOR, 0]);
            record.bytes(uuid).u64(owner)
        };
        let pairs = |record: Record, pair: &(u32, u32)| record.u32s(&[pair.0, pair.1]);
        match &self.shape {
            Shape::Names { entries, index } => {
                let magic = if index.is_some() { b"XDB3" } else { b"XDD3" };
                names_block(block(magic), entries, index.as_deref()).summed(4)
            }
            Shape::OnlyLeaf { index, rooms } => {
                let record = indexed(0x3df1, [0, 0]).small(index.len()).zeros(6);
                let record = index.iter().fold(record, pairs).up_to(BLOCK as usize - 4 - 2 * rooms.len());
                let record = rooms.iter().fold(record, |record, room| record.u16(*room));
                record.u32(rooms.len() as u32).summed(12)
            }
            Shape::Leaf { index, links } => {
                let record = indexed(0x3dff, *links).small(index.len()).zeros(6);
                index.iter().fold(record, pairs).up_to(BLOCK as usize).summed(12)
            }
            Shape::Node { level, pointers, links } => {
                let record = indexed(0x3ebe, *links).small(pointers.len()).u16(*level).zeros(4);
                pointers.iter().fold(record, pairs).up_to(BLOCK as usize).summed(12)
            }
            Shape::Rooms { first, rooms } => {
                let record = block(b"XDF3").u32s(&[*first, rooms.len() as u32, rooms.len() as u32, 0]);
                let record = rooms.iter().fold(record, |record, room| record.u16(*room));
                record.up_to(BLOCK as usize).summed(4)
            }
        }
    }
}

/// The rest of a block of names: where there is room, the entries, what nobody has, and the index.
fn names_block(start: Record, entries: &[u8], index: Option<&[(u32, u32)]>) -> Record {
    let behind = index.map_or(0, |index| 8 * index.len() + 8);
    let at = NAMES + entries.len();
    let room = BLOCK as usize - at - behind;
    let told = if room > 0 { (at, room) } else { (0, 0) };
    let mut record = start.small(told.0).small(told.1).zeros(8 + 4).bytes(entries);
    if room > 0 {
        let end = record.len() + room - 2;
        record = record.u16(0xffff).small(room).up_to(end).small(at);
    }
    let Some(index) = index else { return record };
    let record = index.iter().fold(record, |record, (hash, place)| record.u32s(&[*hash, *place]));
    record.u32s(&[index.len() as u32, 0])
}
