//! Files that several outputs of one build are made from: made once. The last two stay until others take their place, or the
//! build ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::World;
use crate::fault::Fault;
use crate::key::Digest;

/// The files that were made last. Two, so that two images that are built at once both have theirs.
#[derive(Debug, Default)]
pub struct Shared {
    kept: Mutex<Vec<(Digest, Slot)>>,
}

/// Held by who makes the file, so that others wait for it.
type Slot = Arc<Mutex<Option<Arc<SharedFile>>>>;

const MOST: usize = 2;

/// A file that nobody changes; it goes with the last who knows it.
#[derive(Debug)]
pub struct SharedFile(PathBuf);

impl SharedFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SharedFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Shared {
    /// The file of that key, which says all that it depends on; `make` writes it to a path where nothing is.
    ///
    /// # Errors
    ///
    /// Of `make`. Who asks next makes it anew.
    pub fn file(
        &self,
        key: Digest,
        world: &World,
        make: impl FnOnce(&Path) -> Result<(), Fault>,
    ) -> Result<Arc<SharedFile>, Fault> {
        let slot = self.slot(key);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*slot {
            return Ok(Arc::clone(known));
        }
        let file = SharedFile(world.store.stage()?.path("shared"));
        make(file.path())?;
        Ok(Arc::clone(slot.insert(Arc::new(file))))
    }

    fn slot(&self, key: Digest) -> Slot {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = kept.iter().find(|(other, _)| *other == key) {
            return Arc::clone(known);
        }
        let slot = Slot::default();
        kept.insert(0, (key, Arc::clone(&slot)));
        kept.truncate(MOST);
        slot
    }
}
