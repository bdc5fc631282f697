//! Numbers of the format that whoever reads it and whoever writes it share.

/// What a superblock has in its place for that.
pub const SUPERBLOCK_MAGIC: u16 = 0xef53;
/// What each of a journal's own blocks begins with.
pub const JOURNAL_MAGIC: u32 = 0xc03b_3998;
/// What each node of a tree of extents begins with.
pub const EXTENT_MAGIC: u16 = 0xf30a;
/// Bytes of what is in front of the records of such a node.
pub const EXTENT_HEADER: usize = 12;
/// Bytes of such a record.
pub const EXTENT_RECORD: usize = 12;
/// Blocks of one extent at most; one that says more is of blocks that nothing was written to yet.
pub const LONGEST_EXTENT: u16 = 32768;
/// What extended attributes begin with, in an inode and in a block.
pub const XATTR_MAGIC: u32 = 0xea02_0000;
/// Bytes of what is in front of the attributes of a block.
pub const XATTR_HEADER: usize = 32;
/// Bytes of what is in front of those of an inode.
pub const XATTR_SHORT_HEADER: usize = 4;

/// The number of the root's inode.
pub const ROOT_INODE: u32 = 2;

/// Bits of an inode's flags.
pub mod flags {
    /// Its content is encrypted.
    pub const ENCRYPTED: u32 = 0x800;
    /// A folder with an index.
    pub const INDEXED: u32 = 0x1000;
    /// Its blocks are told by extents.
    pub const EXTENTS: u32 = 0x8_0000;
    /// It holds the value of an extended attribute.
    pub const OF_XATTR: u32 = 0x20_0000;
    /// Its content is in the inode.
    pub const INLINE: u32 = 0x1000_0000;
}
