//! The store: what was built before, kept where every project of this user finds it.
//!
//! ```text
//! CACHE/1/
//!   lock                      shared by whoever builds or looks, exclusive for whoever removes
//!   layers/ab/ID.tar          a layer's tar
//!   layers/ab/ID.index        its index (see layer/index.rs)
//!   layers/ab/ID.seal         what both looked like when they were last known to be whole
//!   trees/ab/KEY/             a folder that programs see as a part of their root; KEY.seal beside it
//!   trees/turn                locked by whoever puts a tree into its place
//!   downloads/ab/SHA256       a file of an archive; SHA256.part while it arrives
//!   releases/KEY/…            the Release file seen last of a source, and its signature
//!   records/ab/KEY            what the step with that key made; the key's text beside it
//!   listings/ab/DIGEST        what a folder held, so that a later difference can be told
//!   parsed/ab/DIGEST          a manifest's text, parsed
//!   projects/HASH/journal     the last results of a project's steps, a line each, newest last
//!   projects/HASH/turn        locked by whoever puts an output into its place
//!   projects/HASH/trees/…     folders as they were seen last: sizes and times, so that nothing is read twice
//!   projects/HASH/logs/…      what programs said
//!   projects/HASH/failed/…    the steps that failed last, and the layers of what they had changed
//!   projects/HASH/blocks/…    where the compressed blocks of an output are, for use in its next version
//!   tmp/PID-N/                work in hand; swept when its owner is gone
//! ```
//!
//! Whole or not at all: everything is written aside and renamed into place. Nothing is synced; instead nothing is
//! believed: every text carries a digest or a checksum, and a layer is used only while its files are the very files
//! that were sealed, since this boot. Otherwise it is read in full first. What is damaged counts as missing and is
//! made again.
//!
//! This room knows layers and texts. It does not know what a step is.

mod aside;
mod downloads;
mod layers;
mod records;
mod trees;
mod journal;
mod upkeep;
pub mod clock;
pub mod stamp;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::FlockOperation;

pub use aside::{Stage, write_whole};
pub use downloads::KeptDownload;
pub use journal::{Journal, Past, PastOutput};
pub use layers::Layer;
pub use records::Record;
pub use stamp::Stamp;
pub use trees::{Held, Holdings, KeptTree, remove_tree};
pub use upkeep::{Kept, Removed, touch};

use crate::fault::{Fault, reason};
use crate::key::Digest;
use crate::lang::raw::RawNode;

/// The layout's version; another layout lives beside it.
const LAYOUT: &str = "1";

/// What somebody wants of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only to look: nothing is written, not even the folder.
    Look,
    /// To build.
    Use,
    /// To remove things: waits until nobody else is there.
    Remove,
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    access: Access,
    /// Held as long as the store is open; none where there is no store yet and none may be made.
    _lock: Option<File>,
    stage: OnceLock<Stage>,
}

impl Store {
    /// Opens the store in the cache folder `cache`.
    ///
    /// # Errors
    ///
    /// Where the folder cannot be made or locked.
    pub fn open(cache: &Path, access: Access) -> Result<Store, Fault> {
        let root = cache.join(LAYOUT);
        let lock = match access {
            Access::Look => File::open(root.join("lock")).ok(),
            Access::Use | Access::Remove => Some(make(&root).map_err(|error| unusable(&root, &error))?),
        };
        if let Some(lock) = &lock {
            let operation = match access {
                Access::Remove => FlockOperation::LockExclusive,
                Access::Look | Access::Use => FlockOperation::LockShared,
            };
            retry(|| rustix::fs::flock(lock, operation)).map_err(|error| unusable(&root, &error.into()))?;
        }
        let store = Store { root, access, _lock: lock, stage: OnceLock::new() };
        if access != Access::Look {
            aside::sweep(&store.root.join("tmp"));
        }
        Ok(store)
    }

    /// Whether things may be written.
    pub fn writable(&self) -> bool {
        self.access != Access::Look
    }

    /// The folder that it lives in.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder for work in hand, on the store's own file system; gone with the process.
    pub fn stage(&self) -> Result<&Stage, Fault> {
        if let Some(stage) = self.stage.get() {
            return Ok(stage);
        }
        let stage = Stage::make(&self.root.join("tmp"))?;
        Ok(self.stage.get_or_init(|| stage))
    }

    /// The folder of what belongs to the project at `root` (an absolute path).
    pub fn project(&self, root: &Path) -> PathBuf {
        let name = Digest::of(root.as_os_str().as_encoded_bytes()).short();
        self.root.join("projects").join(name)
    }

    /// Keeps a text that can be found by its digest.
    pub fn keep_listing(&self, text: &str) -> Result<(), Fault> {
        let path = self.sharded("listings", &Digest::of(text), "");
        if path.is_file() { Ok(()) } else { aside::keep_whole(&path, text.as_bytes()) }
    }

    /// A text kept earlier, if it is still there and whole.
    pub fn listing(&self, digest: Digest) -> Option<String> {
        let text = fs::read_to_string(self.sharded("listings", &digest, "")).ok()?;
        (Digest::of(&text) == digest).then_some(text)
    }

    /// Keeps a parsed text.
    pub fn keep_parsed(&self, key: Digest, nodes: &[RawNode]) -> Result<(), Fault> {
        // Plain data in memory: it cannot fail, and an empty text would not be read again.
        let json = serde_json::to_vec(nodes).unwrap_or_default();
        let mut bytes = crc32fast::hash(&json).to_le_bytes().to_vec();
        bytes.extend_from_slice(&json);
        aside::keep_whole(&self.sharded("parsed", &key, ""), &bytes)
    }

    /// A text parsed earlier, if it is still there and whole.
    pub fn parsed(&self, key: Digest) -> Option<Vec<RawNode>> {
        let bytes = fs::read(self.sharded("parsed", &key, "")).ok()?;
        let (crc, json) = bytes.split_first_chunk()?;
        (crc32fast::hash(json) == u32::from_le_bytes(*crc)).then(|| serde_json::from_slice(json).ok())?
    }

    fn sharded(&self, room: &str, digest: &Digest, ending: &str) -> PathBuf {
        let name = digest.to_string();
        self.root.join(room).join(&name[..2]).join(format!("{name}{ending}"))
    }
}

fn make(root: &Path) -> io::Result<File> {
    fs::create_dir_all(root)?;
    let lock = root.join("lock");
    aside::without_folder(&lock, || {
        File::options().create(true).truncate(false).read(true).write(true).open(&lock)
    })
}

/// A system call again as long as a signal interrupts it.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return other,
        }
    }
}

fn unusable(root: &Path, error: &io::Error) -> Fault {
    Fault::machine("store/unusable", format!("cannot use the cache `{}`: {}", root.display(), reason(error)))
        .help("name another folder with `--cache DIR` or `IMGBUILD_CACHE`")
}
