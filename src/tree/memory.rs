//! The memory: folders and files as they were seen last, kept in the store.
//!
//! A folder's file is binary: when it was seen, the digest of its listing, then its items in order. It is private to
//! this program and version; what cannot be read is as good as missing.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::contents::Contents;
use super::scan::{Before, Walk, hash_file};
use super::{Detail, Filter, Folder, Item, Tree, What, listing};
use crate::fault::Fault;
use crate::key::Digest;
use crate::store::{Stamp, clock, write_whole};

/// Folders and files as they were seen last.
#[derive(Debug)]
pub struct Memory {
    /// Where it is kept.
    folder: PathBuf,
    trees: Mutex<HashMap<Digest, Arc<Tree>>>,
    unsaved: Mutex<Vec<Unsaved>>,
    contents: Contents,
}

/// What is to be saved.
#[derive(Debug)]
struct Unsaved {
    /// Where.
    place: PathBuf,
    /// When it was seen.
    at: i64,
    /// What the folder, or the file, itself looked like.
    stamp: Stamp,
    tree: Arc<Tree>,
}

/// Bytes of contents that are kept at hand.
const MOST_CONTENTS: usize = 64 << 20;

const MAGIC: &[u8] = b"imgbuild-tree 3\n";

impl Memory {
    /// The memory of the project whose folder in the store is `project`. `copies` tells whether what is hashed is
    /// likely to be copied next.
    pub fn new(project: &Path, copies: bool) -> Memory {
        Memory {
            folder: project.join("trees"),
            trees: Mutex::default(),
            unsaved: Mutex::default(),
            contents: Contents::new(if copies { MOST_CONTENTS } else { 0 }),
        }
    }

    /// The content of a small file that was hashed a moment ago, if it is still at hand.
    pub fn content(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.contents.get(digest)
    }

    /// What the folder at `root` (absolute) holds now. `parallel` must be false inside a job.
    pub fn tree(
        &self,
        root: &Path,
        filter: &Filter,
        detail: Detail,
        parallel: bool,
    ) -> Result<Arc<Tree>, Fault> {
        let name = name(root, filter, detail);
        if let Some(tree) = lock(&self.trees).get(&name) {
            return Ok(Arc::clone(tree));
        }
        let place = self.folder.join(name.short());
        let known = load(&place);
        let began = clock::now();
        let known_at = known.as_ref().map_or(i64::MIN, |known| known.at);
        let before = known.as_ref().map(|known| Before { stamp: known.stamp, folder: &known.folder });
        let seen = Walk { root, filter, detail, known_at, parallel, contents: &self.contents }.run(before)?;
        let digest = match &known {
            Some(known) if !seen.changed => known.digest,
            _ => Digest::of(listing::listing(&seen.folder, detail)),
        };
        let tree = Arc::new(Tree { root: seen.folder, digest, detail, filter: filter.clone() });
        if seen.news {
            lock(&self.unsaved).push(Unsaved {
                place,
                at: began,
                stamp: seen.stamp,
                tree: Arc::clone(&tree),
            });
        }
        lock(&self.trees).insert(name, Arc::clone(&tree));
        Ok(tree)
    }

    /// Size and digest of the file at `path` (absolute; links are followed).
    pub fn file(&self, path: &Path) -> Result<(u64, Digest), Fault> {
        let failed = |error: std::io::Error| Fault::io("read", path, &error);
        let metadata = fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() {
            return Err(Fault::build("tree/no-file", format!("`{}` is not a regular file", path.display())));
        }
        let stamp = Stamp::of(&metadata);
        let place =
            self.folder.join(Digest::of([b"file\0", path.as_os_str().as_encoded_bytes()].concat()).short());
        if let Some(known) = load(&place)
            && let [Item { stamp: then, what: What::File(digest), .. }] = known.folder.items.as_slice()
            && *then == stamp
            && !stamp.is_racy(known.at)
        {
            return Ok((stamp.size, *digest));
        }
        let began = clock::now();
        let digest = hash_file(fs::File::open(path).map_err(failed)?, stamp.size).map_err(failed)?.0;
        let item =
            Item { name: Box::default(), stamp, owner: (0, 0), what: What::File(digest), xattrs: Vec::new() };
        let root = Arc::new(Folder { items: vec![item] });
        let tree = Arc::new(Tree { root, digest, detail: Detail::Plain, filter: Filter::all() });
        lock(&self.unsaved).push(Unsaved { place, at: began, stamp, tree });
        Ok((stamp.size, digest))
    }

    /// Forgets what this process saw of the folder, because it has changed it.
    pub fn forget(&self, root: &Path, filter: &Filter, detail: Detail) {
        lock(&self.trees).remove(&name(root, filter, detail));
    }

    /// Forgets what this process saw of all folders: whoever asks next looks again.
    pub fn look_again(&self) {
        lock(&self.trees).clear();
    }

    /// Saves what is new, for the next process. Losing it costs only time, so the first failure ends it quietly.
    pub fn save(&self) {
        for Unsaved { place, at, stamp, tree } in lock(&self.unsaved).drain(..) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend_from_slice(&at.to_le_bytes());
            bytes.extend_from_slice(tree.digest.as_bytes());
            put_stamp(stamp, &mut bytes);
            put_folder(&tree.root, &mut bytes);
            let crc = crc32fast::hash(&bytes);
            bytes.extend_from_slice(&crc.to_le_bytes());
            if write_whole(&place, &bytes).is_err() {
                return;
            }
        }
    }
}

fn name(root: &Path, filter: &Filter, detail: Detail) -> Digest {
    Digest::of(
        [root.as_os_str().as_encoded_bytes(), b"\0", filter.text().as_bytes(), &[detail as u8]].concat(),
    )
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic elsewhere leaves whole values behind: each is inserted in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Known {
    at: i64,
    digest: Digest,
    stamp: Stamp,
    folder: Arc<Folder>,
}

fn load(place: &Path) -> Option<Known> {
    let bytes = fs::read(place).ok()?;
    let (bytes, crc) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(bytes) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut reader = Reader(bytes.strip_prefix(MAGIC)?);
    let at = i64::from_le_bytes(*reader.chunk()?);
    let digest = Digest::from_bytes(*reader.chunk()?);
    let stamp = reader.stamp()?;
    let folder = Arc::new(reader.folder()?);
    reader.0.is_empty().then_some(Known { at, digest, stamp, folder })
}

fn put_folder(folder: &Folder, out: &mut Vec<u8>) {
    put_number(folder.items.len(), out);
    for item in &folder.items {
        put_bytes(&item.name, out);
        put_stamp(item.stamp, out);
        for number in [item.owner.0, item.owner.1] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        put_what(&item.what, out);
        put_number(item.xattrs.len(), out);
        for (name, value) in &item.xattrs {
            put_bytes(name, out);
            put_bytes(value, out);
        }
    }
}

fn put_stamp(Stamp { size, mtime, ctime, inode, mode }: Stamp, out: &mut Vec<u8>) {
    for number in [size, mtime.cast_unsigned(), ctime.cast_unsigned(), inode] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&mode.to_le_bytes());
}

fn put_what(what: &What, out: &mut Vec<u8>) {
    match what {
        What::Folder(folder) => {
            out.push(b'd');
            put_folder(folder, out);
        }
        What::File(digest) => {
            out.push(b'f');
            out.extend_from_slice(digest.as_bytes());
        }
        What::Symlink(target) => {
            out.push(b'l');
            put_bytes(target, out);
        }
        What::Fifo => out.push(b'p'),
        What::Character(major, minor) => put_device(b'c', *major, *minor, out),
        What::Block(major, minor) => put_device(b'b', *major, *minor, out),
    }
}

fn put_device(letter: u8, major: u32, minor: u32, out: &mut Vec<u8>) {
    out.push(letter);
    out.extend_from_slice(&major.to_le_bytes());
    out.extend_from_slice(&minor.to_le_bytes());
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_number(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn put_number(number: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn chunk<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(chunk)
    }

    fn number(&mut self) -> Option<u32> {
        self.chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn long(&mut self) -> Option<u64> {
        self.chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn folder(&mut self) -> Option<Folder> {
        let count = self.number()? as usize;
        // Every item takes more than forty bytes, so a count that lies cannot ask for much.
        let mut items = Vec::with_capacity(count.min(self.0.len() / 40));
        for _ in 0..count {
            items.push(self.item()?);
        }
        Some(Folder { items })
    }

    fn stamp(&mut self) -> Option<Stamp> {
        let (size, mtime, ctime, inode) = (self.long()?, self.long()?, self.long()?, self.long()?);
        let mode = self.number()?;
        Some(Stamp { size, mtime: mtime.cast_signed(), ctime: ctime.cast_signed(), inode, mode })
    }

    fn item(&mut self) -> Option<Item> {
        let name = self.bytes()?.into();
        let stamp = self.stamp()?;
        let (user, group) = (self.number()?, self.number()?);
        let what = self.what()?;
        let mut xattrs = Vec::new();
        for _ in 0..self.number()? {
            xattrs.push((self.bytes()?.to_vec(), self.bytes()?.to_vec()));
        }
        Some(Item { name, stamp, owner: (user, group), what, xattrs })
    }

    fn what(&mut self) -> Option<What> {
        Some(match self.chunk::<1>()? {
            b"d" => What::Folder(Arc::new(self.folder()?)),
            b"f" => What::File(Digest::from_bytes(*self.chunk()?)),
            b"l" => What::Symlink(self.bytes()?.into()),
            b"p" => What::Fifo,
            b"c" => What::Character(self.number()?, self.number()?),
            b"b" => What::Block(self.number()?, self.number()?),
            _ => return None,
        })
    }
}
