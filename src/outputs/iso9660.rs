//! A CD-ROM volume: ISO 9660 with Rock Ridge and Joliet, written front to back without any foreign program.
//!
//! The sources: ECMA-119 (ISO 9660, interchange level 3), the System Use Sharing Protocol (IEEE P1281, "SUSP"), the
//! Rock Ridge Interchange Protocol (IEEE P1282, RRIP 1.12) and the Joliet specification (level 3).
//!
//! A volume has two directory hierarchies over the same contents: the primary one, where Rock Ridge adds the full
//! names, modes and dates, and Joliet's, for systems that don't read Rock Ridge. What a volume says follows from the
//! [`Volume`] alone, never from the clock or the host. This page knows files and folders, not where they come from.

mod descriptor;
mod field;
mod hierarchy;
mod layout;
mod names;
mod record;
mod rock_ridge;
mod tree;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::fault::{Faults, reason};
use field::padding;
use layout::Layout;
use tree::Tree;

/// What a volume says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The name that the volume is found by, up to 32 printable ASCII characters; kept as it is spelled
    /// (`cidata` stays in lower case). Joliet has room for the first 16.
    pub label: String,
    /// When the volume was made, and the date of folders that no node describes: seconds since the Unix epoch.
    pub epoch: i64,
    /// The files and folders, in any order. A folder that only appears in the paths of others has mode 0755.
    pub nodes: Vec<Node>,
}

/// One file or folder of a volume. All of them belong to root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it stands: relative to the volume's root, separated by slashes.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// The permission bits; what else is set is ignored.
    pub mode: u32,
    /// When it changed last, in seconds since the Unix epoch. Dates reach from 1900 to 2155; what lies outside
    /// becomes the first or the last of these.
    pub mtime: i64,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link and what it points at, where doubled and closing slashes are not kept. Joliet has no links,
    /// so only the primary hierarchy has it.
    Symlink(String),
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// What the file at `path` holds, which has to be `size` bytes long when it is copied.
    File {
        /// Where the bytes are.
        path: PathBuf,
        /// How many they are.
        size: u64,
    },
}

impl Content {
    /// How many bytes it holds.
    pub fn size(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File { size, .. } => *size,
        }
    }
}

/// Everything that keeps `volume` from being written; reads no file.
pub fn check(volume: &Volume) -> Result<(), Faults> {
    Tree::new(volume).map(drop)
}

/// Writes `volume` to `out` in one pass from where `out` stands, and returns how many bytes that took.
///
/// Memory grows with the number of nodes, not with the size of the files. What [`check`] finds is an error of kind
/// [`io::ErrorKind::InvalidInput`]; an error about a file that is copied names it.
pub fn write(volume: &Volume, out: &mut File) -> io::Result<u64> {
    let tree = Tree::new(volume).map_err(refused)?;
    let layout = Layout::new(&tree);
    out.write_all(&layout.metadata)?;
    for content in &layout.contents {
        write_content(content, out)?;
    }
    Ok(layout.size())
}

fn refused(faults: Faults) -> io::Error {
    let messages: Vec<String> = faults.into_iter().map(|fault| fault.message).collect();
    io::Error::new(io::ErrorKind::InvalidInput, messages.join("; "))
}

fn write_content(content: &Content, out: &mut File) -> io::Result<()> {
    match content {
        Content::Bytes(bytes) => out.write_all(bytes)?,
        Content::File { path, size } => copy(path, *size, out).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot copy `{}`: {}", path.display(), reason(&error)))
        })?,
    }
    out.write_all(&vec![0; padding(content.size())])
}

/// From file to file, so that the kernel can copy (or share) without the bytes passing through here.
fn copy(path: &Path, size: u64, out: &mut File) -> io::Result<()> {
    let file = File::open(path)?;
    let found = file.metadata()?.len();
    if found != size {
        return Err(changed(found, size));
    }
    match io::copy(&mut file.take(size), out)? {
        copied if copied == size => Ok(()),
        copied => Err(changed(copied, size)),
    }
}

fn changed(found: u64, size: u64) -> io::Error {
    let message = format!("it has {found} bytes where {size} were expected; something changed it");
    io::Error::new(io::ErrorKind::InvalidData, message)
}
