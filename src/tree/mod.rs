//! Trees: what the project's folders and files hold, known again without being read again.
//!
//! A folder is walked and every name in it is looked at (lstat); a file is read and hashed only if its [`Stamp`] is not
//! the one of last time, or is racy; the names in a folder are read only if its own is another. What was seen is remembered in the store, a file a folder. Looking writes nothing:
//! only a build saves its memory.
//!
//! A tree's digest is the digest of its listing, a line for each path with what counts of it; which things count is
//! the asker's choice ([`Detail`]). Time stamps never do.

mod contents;
mod filter;
mod listing;
mod memory;
mod scan;

pub use filter::{BadGlob, Filter, anchored};
pub use memory::Memory;

use std::sync::Arc;

use crate::key::Digest;
use crate::store::Stamp;

/// What a folder holds.
#[derive(Debug)]
pub struct Tree {
    /// Its items.
    pub root: Arc<Folder>,
    /// The digest of its listing.
    pub digest: Digest,
    /// Which things counted.
    pub detail: Detail,
    /// Which paths counted.
    pub filter: Filter,
}

/// The items of a folder, by name.
#[derive(Debug, Default, PartialEq)]
pub struct Folder {
    /// In the order of their names' bytes.
    pub items: Vec<Item>,
}

/// A name in a folder and what is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The name.
    pub name: Box<[u8]>,
    /// What it looked like from outside.
    pub stamp: Stamp,
    /// Whose it is here; counts only in [`Detail::Whole`].
    pub owner: (u32, u32),
    /// What it is.
    pub what: What,
    /// Extended attributes by name; only in [`Detail::Whole`].
    pub xattrs: Xattrs,
}

/// Extended attributes: names and values.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Takes an item and its path, relative to the tree's root.
pub type Visitor<'a, E> = dyn FnMut(&[u8], &Item) -> Result<(), E> + 'a;

/// What an item is.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A folder.
    Folder(Arc<Folder>),
    /// A file and the digest of its content.
    File(Digest),
    /// A symbolic link and its target.
    Symlink(Box<[u8]>),
    /// A named pipe.
    Fifo,
    /// A character device: major, minor.
    Character(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
}

/// What counts of a tree besides names, kinds and contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Detail {
    /// Whether a file can be executed: what a version control system keeps. No umask shows through.
    Plain,
    /// All permission bits.
    Modes,
    /// Permission bits and hard links: what a program that packs the tree shows of it, but for owners and times.
    Packed,
    /// Permission bits, owners, hard links and extended attributes: a root file system.
    Whole,
}

impl Item {
    /// The permission bits that count.
    pub fn mode(&self, detail: Detail) -> u32 {
        match (detail, &self.what) {
            (_, What::Symlink(_)) => 0o777,
            (Detail::Modes | Detail::Packed | Detail::Whole, _) => self.stamp.mode & 0o7777,
            (Detail::Plain, What::Folder(_)) => 0o755,
            (Detail::Plain, _) if self.stamp.mode & 0o100 != 0 => 0o755,
            (Detail::Plain, _) => 0o644,
        }
    }
}

impl Tree {
    /// Visits every item, a folder before what is in it; paths are relative to the tree's root.
    pub fn visit<E>(&self, visit: &mut Visitor<'_, E>) -> Result<(), E> {
        visit_folder(&self.root, &mut Vec::new(), visit)
    }

    /// Whether something in it changed in that time: nanoseconds since 1970.
    pub fn changed_within(&self, time: std::ops::RangeInclusive<i64>) -> bool {
        let mut look =
            |_: &[u8], item: &Item| if time.contains(&item.stamp.ctime) { Err(()) } else { Ok(()) };
        self.visit(&mut look).is_err()
    }

    /// The text whose digest the tree has: a line for each path with what counts of it.
    pub fn listing(&self) -> String {
        listing::listing(&self.root, self.detail)
    }
}

fn visit_folder<E>(folder: &Folder, path: &mut Vec<u8>, visit: &mut Visitor<'_, E>) -> Result<(), E> {
    let length = path.len();
    for item in &folder.items {
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&item.name);
        visit(path, item)?;
        if let What::Folder(inside) = &item.what {
            visit_folder(inside, path, visit)?;
        }
        path.truncate(length);
    }
    Ok(())
}

pub use listing::{Change, changes};
