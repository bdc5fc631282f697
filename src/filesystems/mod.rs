//! File systems on disks, read without mounting them: what is in them, as the kernel would show it.
//!
//! Disks come from anybody. Nothing here panics, takes more memory than the file system has metadata, or goes round in
//! circles, whatever stands on one; damage is an error of the kind [`io::ErrorKind::InvalidData`] with its reason, and what
//! imgbuild does not read one of the kind [`io::ErrorKind::Unsupported`].

pub mod btrfs;
pub mod ext4;
#[cfg(test)]
mod lacking;
mod part;
mod pieces;
pub mod table;
mod vfat;
pub mod xfs;

use std::io::{self, Read};

pub use part::Part;

/// A file system that can be read. Files are known by their inodes' numbers.
pub trait FileSystem: Send + Sync {
    /// How fstab(5) and blkid(8) write its UUID.
    fn uuid(&self) -> String;

    /// Its label; empty if it has none.
    fn label(&self) -> String;

    /// The number of the root's inode.
    fn root(&self) -> u64;

    /// The numbers of all inodes that may be mounted as a root, that of [`FileSystem::root`] first.
    fn roots(&self) -> Vec<u64> {
        vec![self.root()]
    }

    /// The number of the inode that is the root where it is mounted with these options of fstab(5); none if they name what is
    /// not there.
    ///
    /// # Errors
    ///
    /// Damage, and those of reading.
    fn mounted(&self, _options: &str) -> io::Result<Option<u64>> {
        Ok(Some(self.root()))
    }

    /// What the inode of that number says.
    ///
    /// # Errors
    ///
    /// Damage, and those of reading.
    fn inode(&self, number: u64) -> io::Result<Inode>;

    /// The names in a folder and the inodes that they are of, in any order, without `.` and `..`.
    ///
    /// # Errors
    ///
    /// Damage, and those of reading.
    fn names(&self, folder: u64) -> io::Result<Vec<(Vec<u8>, u64)>>;

    /// The extended attributes of an inode, sorted; access lists as programs see them (acl(5), `getfattr -d -m -`).
    ///
    /// # Errors
    ///
    /// Damage, and those of reading.
    fn xattrs(&self, number: u64) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>>;

    /// The content of a file, or the target of a symbolic link: as many bytes as its inode says.
    ///
    /// # Errors
    ///
    /// Damage, and those of reading.
    fn content(&self, number: u64) -> io::Result<Box<dyn Read + '_>>;

    /// Why what it tells may not be the last that was written to it, and what writes that back; none if it was unmounted
    /// well, or if it reads what is waiting.
    fn waiting(&self) -> Option<Waiting> {
        None
    }
}

/// Changes that are not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Where they are, in words: `its log`.
    pub place: &'static str,
    /// What writes them back, in words: `mount it once, and unmount it`.
    pub way_out: &'static str,
}

/// What an inode says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// What it is.
    pub kind: InodeKind,
    /// Its permissions, and the bits of set-user-ID, set-group-ID and sticky: 12 bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When its content was last changed: seconds since 1970.
    pub mtime: i64,
    /// Bytes of content.
    pub size: u64,
    /// How many names it has; 1 where a file system does not count.
    pub links: u32,
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InodeKind {
    /// A folder.
    Directory,
    /// A file with content.
    Regular,
    /// A symbolic link.
    Symlink,
    /// A character device: its major and its minor number.
    Character(u32, u32),
    /// A block device: its major and its minor number.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
    /// A socket, of a program that runs.
    Socket,
}

impl InodeKind {
    /// What the upper bits of a mode say (inode(7)); `device` are the numbers, if it is a device.
    ///
    /// # Errors
    ///
    /// Bits that stand for nothing.
    fn of_mode(mode: u32, device: (u32, u32)) -> io::Result<InodeKind> {
        Ok(match mode >> 12 & 0xf {
            0o01 => InodeKind::Fifo,
            0o02 => InodeKind::Character(device.0, device.1),
            0o04 => InodeKind::Directory,
            0o06 => InodeKind::Block(device.0, device.1),
            0o10 => InodeKind::Regular,
            0o12 => InodeKind::Symlink,
            0o14 => InodeKind::Socket,
            _ => return Err(damage("an inode is of no kind that there is")),
        })
    }
}

/// The longest path that Linux has, and the longest target of a symbolic link.
pub const LONGEST_PATH: u64 = 4096;

/// The file system of that name in `part`; none for a name that is not known here.
///
/// # Errors
///
/// Damage, what imgbuild does not read, and errors of reading.
pub fn open(name: &str, part: Part) -> io::Result<Option<Box<dyn FileSystem>>> {
    Ok(match name {
        "btrfs" => Some(Box::new(btrfs::Btrfs::load(part)?)),
        "vfat" => Some(Box::new(vfat::Vfat::load(part)?)),
        "ext4" => Some(Box::new(ext4::Ext4::load(part)?)),
        "xfs" => Some(Box::new(xfs::Xfs::load(part)?)),
        _ => None,
    })
}

/// What a path leads to from the folder `from`, if it is there and no symbolic link is on the way.
///
/// # Errors
///
/// Damage, and those of reading.
pub fn find(system: &dyn FileSystem, from: u64, path: &[u8]) -> io::Result<Option<(u64, Inode)>> {
    let mut number = from;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        if system.inode(number)?.kind != InodeKind::Directory {
            return Ok(None);
        }
        let names = system.names(number)?;
        let Some((_, next)) = names.into_iter().find(|(found, _)| found == name) else { return Ok(None) };
        number = next;
    }
    Ok(Some((number, system.inode(number)?)))
}

/// Bytes as a number, the lowest first.
pub fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A UUID as people see it.
fn uuid(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// A label: what stands in front of its first zero.
fn label(bytes: &[u8]) -> String {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// What is no damage, and not read.
fn unread(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, reason.into())
}

/// A file system that is cut short.
fn ends_early() -> io::Error {
    damage("it ends too early: a part of it is missing")
}

fn damage(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}
