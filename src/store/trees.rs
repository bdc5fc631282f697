//! Trees: folders that programs see as lower directories of their root.
//!
//! A tree is made once from layers and never changed. Its seal tells what it must hold and in which boot it was made:
//! nothing is synced, so after another boot it is made again.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::aside::keep_whole;
use super::layers::boot;
use super::{Store, clock};
use crate::fault::Fault;
use crate::key::{Digest, Hasher};

/// What a tree holds: a line a path, which in the order of paths give its digest.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    lines: Vec<(Vec<u8>, String)>,
    bytes: u64,
}

/// What is at a path of a tree.
#[derive(Clone, Debug)]
pub enum Held<'a> {
    /// A directory.
    Folder,
    /// A regular file: bytes and digest.
    File(u64, Digest),
    /// A symbolic link and its target.
    Symlink(&'a [u8]),
    /// A mark that there is nothing, whatever is below (a character device 0:0, as overlayfs has it).
    Whiteout,
}

/// A tree that is kept.
#[derive(Clone, Debug)]
pub struct KeptTree {
    /// The digest of its key.
    pub key: Digest,
    /// Bytes of its files.
    pub size: u64,
    /// Seconds since a build last used it.
    pub age: i64,
}

impl Holdings {
    /// Adds a path (relative to the tree's root), its mode and its time in seconds since 1970.
    pub fn add(&mut self, path: &[u8], held: &Held<'_>, mode: u32, mtime: i64) {
        let line = match held {
            Held::Folder => format!("d {mode:o} {mtime}"),
            Held::File(size, digest) => {
                self.bytes += size;
                format!("f {mode:o} {mtime} {size} {digest}")
            }
            Held::Symlink(target) => format!("l {mtime} {}", Digest::of(target)),
            Held::Whiteout => "w".to_string(),
        };
        self.lines.push((path.to_vec(), line));
    }

    fn digest(mut self) -> Digest {
        self.lines.sort();
        let mut hasher = Hasher::new();
        for (path, line) in &self.lines {
            hasher.update(line.as_bytes());
            hasher.update(b" ");
            hasher.update(path);
            hasher.update(b"\0");
        }
        hasher.finish()
    }

    /// What the folder `root` holds, read in full.
    fn read(root: &Path) -> io::Result<Holdings> {
        let mut holdings = Holdings::default();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let metadata = fs::symlink_metadata(&path)?;
                let kind = metadata.file_type();
                let target;
                let held = if kind.is_dir() {
                    folders.push(path.clone());
                    Held::Folder
                } else if kind.is_symlink() {
                    target = fs::read_link(&path)?;
                    Held::Symlink(target.as_os_str().as_bytes())
                } else if kind.is_file() {
                    let mut hasher = Hasher::new();
                    let size = io::copy(&mut File::open(&path)?, &mut hasher)?;
                    Held::File(size, hasher.finish())
                } else if kind.is_char_device() && metadata.rdev() == 0 {
                    Held::Whiteout
                } else {
                    return Err(io::ErrorKind::InvalidData.into());
                };
                let name = path.strip_prefix(root).unwrap_or(&path).as_os_str().as_bytes();
                holdings.add(name, &held, metadata.mode() & 0o7777, metadata.mtime());
            }
        }
        Ok(holdings)
    }
}

impl Store {
    /// The tree with that key, if it was made in this boot.
    pub fn tree(&self, key: Digest) -> Option<PathBuf> {
        let seal = Seal::read(&self.tree_seal_path(key))?;
        let path = self.tree_path(key);
        (seal.boot == boot() && fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir())).then(
            || {
                self.touch_file(&self.tree_seal_path(key));
                path
            },
        )
    }

    /// Takes in a tree that was made at `folder`, on the store's own file system. If another build made it meanwhile,
    /// that one stays.
    pub fn keep_tree(&self, key: Digest, folder: &Path, holdings: Holdings) -> Result<PathBuf, Fault> {
        let place = self.tree_path(key);
        let failed = |error: io::Error| Fault::io("write", &place, &error);
        let parent = place.parent().unwrap_or(self.root());
        fs::create_dir_all(parent).map_err(failed)?;
        let _turn = self.turn_of_trees().map_err(failed)?;
        if let Some(there) = self.tree(key) {
            // What cannot be removed now is swept with the stage.
            let _ = remove_tree(folder);
            return Ok(there);
        }
        let _ = fs::remove_file(self.tree_seal_path(key));
        if fs::symlink_metadata(&place).is_ok() {
            let old = self.stage()?.path("old-tree");
            fs::rename(&place, &old).map_err(failed)?;
            let _ = remove_tree(&old);
        }
        fs::rename(folder, &place).map_err(failed)?;
        let (entries, bytes) = (holdings.lines.len() as u64, holdings.bytes);
        let seal = Seal { entries, bytes, digest: holdings.digest(), boot: boot() };
        keep_whole(&self.tree_seal_path(key), seal.to_text().as_bytes())?;
        Ok(place)
    }

    /// All trees, the one used last first.
    pub fn trees(&self) -> Vec<KeptTree> {
        let kept = |key: Digest| {
            let path = self.tree_seal_path(key);
            let used = fs::metadata(&path).map_or(0, |metadata| metadata.mtime());
            let size = Seal::read(&path).map_or(0, |seal| seal.bytes);
            KeptTree { key, size, age: clock::seconds().saturating_sub(used).max(0) }
        };
        let mut trees: Vec<KeptTree> = self.tree_keys().into_iter().map(kept).collect();
        trees.sort_by_key(|tree| (tree.age, tree.key));
        trees
    }

    /// Reads all of the tree; false if it is not what its seal says, and then it is removed.
    pub(super) fn verify_tree(&self, key: Digest) -> bool {
        let seal = Seal::read(&self.tree_seal_path(key));
        let holdings = Holdings::read(&self.tree_path(key));
        let whole = match (seal, holdings) {
            (Some(seal), Ok(holdings)) => {
                seal.entries == holdings.lines.len() as u64 && seal.digest == holdings.digest()
            }
            _ => false,
        };
        if !whole {
            self.forget_tree(key);
        }
        whole
    }

    /// Removes a tree.
    pub(super) fn forget_tree(&self, key: Digest) {
        if self.writable() {
            let _ = fs::remove_file(self.tree_seal_path(key));
            let _ = remove_tree(&self.tree_path(key));
        }
    }

    /// Every tree that there is a folder or a seal of.
    pub(super) fn tree_keys(&self) -> Vec<Digest> {
        let names = super::upkeep::shards(&self.root().join("trees"));
        let mut keys: Vec<Digest> =
            names.iter().filter_map(|path| path.file_stem()?.to_str()?.parse().ok()).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// Holds off others who put trees into their places.
    fn turn_of_trees(&self) -> io::Result<File> {
        let path = self.root().join("trees").join("turn");
        let turn = File::options().write(true).create(true).truncate(false).open(path)?;
        super::retry(|| rustix::fs::flock(&turn, FlockOperation::LockExclusive))?;
        Ok(turn)
    }

    fn tree_path(&self, key: Digest) -> PathBuf {
        self.sharded("trees", &key, "")
    }

    fn tree_seal_path(&self, key: Digest) -> PathBuf {
        self.sharded("trees", &key, ".seal")
    }
}

/// Removes a folder and all that is in it, directories that cannot be written to included.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn open_up(folder: &Path) -> io::Result<()> {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if !fs::symlink_metadata(&folder)?.is_dir() {
            continue;
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

/// What a tree must hold, and the boot in which it was made.
#[derive(Debug, PartialEq, Eq)]
struct Seal {
    entries: u64,
    bytes: u64,
    digest: Digest,
    boot: String,
}

impl Seal {
    fn to_text(&self) -> String {
        format!("tree 1 {} {} {} {}\n", self.entries, self.bytes, self.digest, self.boot)
    }

    fn read(path: &Path) -> Option<Seal> {
        let text = fs::read_to_string(path).ok()?;
        let mut words = text.strip_prefix("tree 1 ")?.strip_suffix('\n')?.split(' ');
        Some(Seal {
            entries: words.next()?.parse().ok()?,
            bytes: words.next()?.parse().ok()?,
            digest: words.next()?.parse().ok()?,
            boot: words.next()?.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Access;

    fn tree(store: &Store, content: &str) -> (PathBuf, Holdings) {
        let folder = store.stage().expect("a stage").path("tree");
        fs::create_dir_all(folder.join("d")).expect("a folder");
        fs::write(folder.join("d/f"), content).expect("a file");
        fs::set_permissions(folder.join("d"), fs::Permissions::from_mode(0o500)).expect("a mode");
        let holdings = Holdings::read(&folder).expect("holdings");
        (folder, holdings)
    }

    #[test]
    fn the_first_tree_stays_and_one_of_another_boot_goes() {
        let cache = tempfile::tempdir().expect("a folder");
        let store = Store::open(cache.path(), Access::Use).expect("a store");
        let key = Digest::of("key");
        assert_eq!(store.tree(key), None);
        let (first, holdings) = tree(&store, "one");
        let place = store.keep_tree(key, &first, holdings).expect("kept");
        let (second, holdings) = tree(&store, "two");
        assert_eq!(store.keep_tree(key, &second, holdings).expect("kept"), place);
        assert_eq!(fs::read_to_string(place.join("d/f")).expect("a file"), "one");
        assert_eq!(store.trees().iter().map(|tree| (tree.key, tree.size)).collect::<Vec<_>>(), [(key, 3)]);
        assert!(store.verify_tree(key));

        let seal = store.tree_seal_path(key);
        let text = fs::read_to_string(&seal).expect("a seal").replace(&boot(), "another");
        fs::write(&seal, text).expect("written");
        assert_eq!(store.tree(key), None);
        let (third, holdings) = tree(&store, "three");
        store.keep_tree(key, &third, holdings).expect("kept");
        assert_eq!(fs::read_to_string(place.join("d/f")).expect("a file"), "three");
    }

    #[test]
    fn a_tree_that_changed_is_noticed_and_removed() {
        let cache = tempfile::tempdir().expect("a folder");
        let store = Store::open(cache.path(), Access::Use).expect("a store");
        let key = Digest::of("key");
        let (folder, holdings) = tree(&store, "one");
        let place = store.keep_tree(key, &folder, holdings).expect("kept");
        fs::write(place.join("d/f"), "two").expect("written");
        assert!(!store.verify_tree(key));
        assert!(!place.exists() && store.tree_keys().is_empty());
    }
}
