//! The records of btrfs, as they are written.

pub use crate::filesystems::btrfs::format::{
    CHUNKS, CONTENT_SUMS, DEFAULT, HEADER, ITEM, Key, MAGIC, MINOR_BITS, POINTER, ROOT_INODE, SUM,
    SUPERBLOCKS, Uuid, flags, kind, name_hash, tree,
};

/// Bytes of a sector: what data is given out and summed in.
pub const SECTOR: u64 = 4096;
/// Bytes of a node of a tree.
pub const NODE: u64 = 16384;
/// Bytes that an item can have.
pub const LARGEST_ITEM: usize = NODE as usize - HEADER - ITEM;
/// The only generation: everything was written at once.
pub const GENERATION: u64 = 1;
/// What the entry of an attribute says that it is.
pub const OF_ATTRIBUTE: u8 = 8;

/// An item of a tree.
#[derive(Clone, Debug)]
pub struct Item {
    pub key: Key,
    pub data: Vec<u8>,
}

/// Bytes that are put together number by number.
#[derive(Clone, Debug, Default)]
pub struct Record(Vec<u8>);

impl Record {
    pub fn new() -> Record {
        Record::default()
    }

    pub fn u8(mut self, number: u8) -> Record {
        self.0.push(number);
        self
    }

    pub fn u16(self, number: u16) -> Record {
        self.bytes(&number.to_le_bytes())
    }

    pub fn u32(self, number: u32) -> Record {
        self.bytes(&number.to_le_bytes())
    }

    pub fn u64(self, number: u64) -> Record {
        self.bytes(&number.to_le_bytes())
    }

    /// Numbers of eight bytes, one behind the other.
    pub fn u64s(self, numbers: &[u64]) -> Record {
        numbers.iter().fold(self, |record, number| record.u64(*number))
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Record {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn zeros(mut self, count: usize) -> Record {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    /// A point in time, in seconds since 1970.
    pub fn time(self, seconds: i64) -> Record {
        self.bytes(&seconds.to_le_bytes()).u32(0)
    }

    pub fn key(self, Key(object, kind, offset): Key) -> Record {
        self.u64(object).u8(kind).u64(offset)
    }

    /// The length of a name or a value; none has more than a leaf.
    pub fn length(self, bytes: &[u8]) -> Record {
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX))
    }

    pub fn done(self) -> Vec<u8> {
        self.0
    }
}

/// What an inode says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inode {
    pub size: u64,
    /// What its extents have.
    pub bytes: u64,
    pub links: u32,
    pub user: u32,
    pub group: u32,
    /// With the bits of its type.
    pub mode: u32,
    /// Of a device, as the kernel has it inside: twenty bits are the minor.
    pub device: u64,
    /// Seconds since 1970.
    pub time: i64,
}

impl Inode {
    /// `struct btrfs_inode_item`.
    pub fn record(&self) -> Vec<u8> {
        let record = Record::new().u64s(&[GENERATION, GENERATION, self.size, self.bytes, 0]);
        let record = record.u32(self.links).u32(self.user).u32(self.group).u32(self.mode);
        // Flags and a sequence, and four numbers that are kept free.
        let record = record.u64s(&[self.device, 0, 0]).zeros(32);
        record.time(self.time).time(self.time).time(self.time).time(self.time).done()
    }
}

/// `struct btrfs_dir_item` with its name and its value.
pub fn dir_item(location: Key, name: &[u8], value: &[u8], kind: u8) -> Vec<u8> {
    let record = Record::new().key(location).u64(GENERATION).length(value).length(name).u8(kind);
    record.bytes(name).bytes(value).done()
}

/// `struct btrfs_inode_ref` with its name.
pub fn inode_ref(index: u64, name: &[u8]) -> Vec<u8> {
    Record::new().u64(index).length(name).bytes(name).done()
}

/// What further names of a file are found by: the same, from the directory's number.
pub fn extref_hash(directory: u64, name: &[u8]) -> u64 {
    u64::from(!crc32c::crc32c_append(!(directory as u32), name))
}
