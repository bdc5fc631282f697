//! Entries: one path of a layer and what is there.

use std::cmp::Ordering;

use super::path::EntryPath;
use crate::key::Digest;
use crate::lang::Owner;

/// One path and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: EntryPath,
    /// What.
    pub kind: Kind,
    /// Permission bits with set-user-ID, set-group-ID and sticky: at most 0o7777.
    pub mode: u32,
    /// Whose. A name is resolved by the image's own accounts when an output is written.
    pub owner: Owner,
    /// Last modification, whole seconds since 1970-01-01T00:00:00Z.
    pub mtime: i64,
    /// Extended attributes, by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// For a directory: whether the layer merely passes through. Such a directory is made where there is none and
    /// otherwise keeps the mode and owner that it has below.
    pub weak: bool,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// Of the content.
        digest: Digest,
        /// Where the content starts in the layer's tar; no part of the layer's identity.
        offset: u64,
    },
    /// A symbolic link and the text of its target.
    Symlink(Vec<u8>),
    /// Another name of a file in the same layer.
    Hardlink(EntryPath),
    /// A character device: major, minor.
    Character(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
    /// Removes what is below (OCI's `.wh.NAME`).
    Whiteout,
    /// Removes everything in this directory that comes from below (OCI's `.wh..wh..opq`).
    Opaque,
}

impl Kind {
    /// The letter that the index and listings use.
    pub fn letter(&self) -> char {
        match self {
            Kind::Directory => 'd',
            Kind::File { .. } => 'f',
            Kind::Symlink(_) => 'l',
            Kind::Hardlink(_) => 'h',
            Kind::Character(..) => 'c',
            Kind::Block(..) => 'b',
            Kind::Fifo => 'p',
            Kind::Whiteout => 'w',
            Kind::Opaque => 'o',
        }
    }

    /// Bytes of content.
    pub fn size(&self) -> u64 {
        match self {
            Kind::File { size, .. } => *size,
            _ => 0,
        }
    }

    /// The same kind with the content at no particular place: what counts when kinds are compared.
    pub fn without_offset(&self) -> Kind {
        match self {
            Kind::File { size, digest, .. } => Kind::File { size: *size, digest: *digest, offset: 0 },
            other => other.clone(),
        }
    }
}

impl Entry {
    /// A directory that a layer passes through: root's, 0755.
    pub fn passage(path: EntryPath, mtime: i64) -> Entry {
        Entry {
            path,
            kind: Kind::Directory,
            mode: 0o755,
            owner: Owner::ROOT,
            mtime,
            xattrs: Vec::new(),
            weak: true,
        }
    }

    /// What a file of that path stands for if it is named as OCI's whiteouts are: the path that it is about, and how.
    pub fn marker(path: &EntryPath) -> Option<(EntryPath, Kind)> {
        let marked = path.name().strip_prefix(b".wh.")?;
        let folder = path.parent()?;
        match marked {
            // No name that a layer below could have brought: the file is just a file.
            b"" | b"." | b".." => None,
            b".wh..opq" => Some((folder, Kind::Opaque)),
            name => Some((folder.join(name), Kind::Whiteout)),
        }
    }

    /// The order of a layer: by paths, an opaque marker behind its directory.
    pub fn order(&self, other: &Entry) -> Ordering {
        let late = |entry: &Entry| entry.kind == Kind::Opaque;
        self.path.cmp(&other.path).then_with(|| late(self).cmp(&late(other)))
    }

    /// Whether this is a marker about what is below and not something of its own.
    pub fn is_whiteout(&self) -> bool {
        matches!(self.kind, Kind::Whiteout | Kind::Opaque)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_can_be_is_removed() {
        let marker = |path: &str| Entry::marker(&EntryPath::parse(path).expect("a path"));
        let path = |path: &str| EntryPath::parse(path).expect("a path");
        assert_eq!(marker("etc/.wh.motd"), Some((path("etc/motd"), Kind::Whiteout)));
        assert_eq!(marker("etc/.wh..wh..opq"), Some((path("etc"), Kind::Opaque)));
        assert_eq!(["etc/.wh.", "etc/.wh..", "etc/.wh...", "etc/motd"].map(marker), [None, None, None, None]);
    }
}
