//! Writing aside: a file appears under its name whole, or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FlockOperation;

use super::remove_tree;
use crate::fault::Fault;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A folder of this process for work in hand. Removed when dropped; if the process dies, by the next one.
#[derive(Debug)]
pub struct Stage {
    folder: PathBuf,
    /// Locked as long as the process lives: that is how others know.
    _alive: File,
}

impl Stage {
    /// Makes one in `tmp`.
    pub fn make(tmp: &Path) -> Result<Stage, Fault> {
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let folder = tmp.join(format!("{}-{number}", std::process::id()));
            match claim(&folder) {
                Ok(Some(alive)) => return Ok(Stage { folder, _alive: alive }),
                Ok(None) => {}
                Err(error) => return Err(Fault::io("make", &folder, &error)),
            }
        }
    }

    /// A path in it that nothing else uses.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}-{name}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next process.
        let _ = remove_tree(&self.folder);
    }
}

const ALIVE: &str = "alive";

/// Makes the folder and locks it; none if somebody who sweeps took it for dead before it was locked.
fn claim(folder: &Path) -> io::Result<Option<File>> {
    fs::create_dir_all(folder)?;
    let alive = match File::create(folder.join(ALIVE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        alive => alive?,
    };
    super::retry(|| rustix::fs::flock(&alive, FlockOperation::LockExclusive))?;
    Ok(folder.join(ALIVE).exists().then_some(alive))
}

/// Removes what processes that are gone left in `tmp`.
pub(super) fn sweep(tmp: &Path) {
    let Ok(entries) = fs::read_dir(tmp) else { return };
    for entry in entries.flatten() {
        let folder = entry.path();
        let owner_is_gone = match File::open(folder.join(ALIVE)) {
            Ok(alive) => rustix::fs::flock(&alive, FlockOperation::NonBlockingLockExclusive).is_ok(),
            // Made a moment ago and not locked yet, or half removed: an hour tells them apart.
            Err(_) => entry.metadata().is_ok_and(|metadata| is_old(&metadata)),
        };
        if owner_is_gone {
            let _ = remove_tree(&folder);
        }
    }
}

fn is_old(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::mtime(metadata) < super::clock::seconds() - 3600
}

/// Writes `bytes` to `path`: aside, then renamed.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let aside = beside(path);
    let write = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        File::create(&aside)?.write_all(bytes)?;
        fs::rename(&aside, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&aside);
        Fault::io("write", path, &error)
    })
}

/// As [`write_whole`], for a file of the store: a folder that stands in its place is damage, and goes.
pub(super) fn keep_whole(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    match write_whole(path, bytes) {
        Err(_) if path.is_dir() => {
            fs::remove_dir_all(path).map_err(|error| Fault::io("remove", path, &error))?;
            write_whole(path, bytes)
        }
        written => written,
    }
}

/// Does `open` again without the folder that stands at `path`, if one does: in the store it is damage.
pub(super) fn without_folder<T>(path: &Path, mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    match open() {
        Err(_) if path.is_dir() => {
            fs::remove_dir_all(path)?;
            open()
        }
        opened => opened,
    }
}

/// A name in the same folder that nothing else uses.
fn beside(path: &Path) -> PathBuf {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}-{number}", std::process::id()))
}
