//! What its reader and its writer both know of xfs (`fs/xfs/libxfs/xfs_format.h`, `xfs_da_format.h`).

/// Bytes of what the places of blocks are counted in, whatever a sector has.
pub const BASIC: u64 = 512;

/// A UUID's bytes.
pub type Uuid = [u8; 16];

/// How a fork of an inode is kept.
pub mod fork {
    /// The numbers of a device.
    pub const DEVICE: u8 = 0;
    /// In the inode itself.
    pub const LOCAL: u8 = 1;
    /// In extents that the inode lists.
    pub const EXTENTS: u8 = 2;
    /// In extents that a tree lists, whose root is in the inode.
    pub const TREE: u8 = 3;
}

/// Bits of a device's minor number; its major number is above it (`sysv_encode_dev`).
pub const MINOR_BITS: u32 = 18;
/// Bits of a device's major number.
pub const MAJOR_BITS: u32 = 14;

/// Where times of 64 bits begin, which count nanoseconds: in seconds since 1970 (`XFS_BIGTIME_EPOCH_OFFSET`).
pub const TIME_BEGINS: i64 = i32::MIN as i64;
/// Nanoseconds of a second.
pub const NANOSECONDS: u64 = 1_000_000_000;

/// Bits of an extent's parts: blocks that it has, and the first of them; the rest is its place in the file, and the
/// uppermost bit, that nothing was written to it yet.
pub const COUNT_BITS: u32 = 21;
/// See [`COUNT_BITS`].
pub const BLOCK_BITS: u32 = 52;

/// Bits of an extended attribute's entry.
pub mod attribute {
    /// That its value stands beside its name.
    pub const HERE: u8 = 1;
    /// That its name begins with `trusted.`.
    pub const TRUSTED: u8 = 1 << 1;
    /// That its name begins with `security.`.
    pub const SECURITY: u8 = 1 << 2;
    /// That it is none, but tells where the inode has a name.
    pub const PARENT: u8 = 1 << 3;
    /// That it is being written or removed.
    pub const INCOMPLETE: u8 = 1 << 7;
}

/// Access lists: what programs know them by, and the `trusted.` attributes in which they are kept.
pub const ACCESS_LISTS: [(&[u8], &[u8]); 2] =
    [(b"system.posix_acl_access", b"SGI_ACL_FILE"), (b"system.posix_acl_default", b"SGI_ACL_DEFAULT")];
