//! What was merged last: stacks that begin alike need not be merged again from the ground.
//!
//! Hooks follow each other, each on top of the layer of the one before; what is below them is large and the same.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{Plain, Stack};
use crate::fault::Fault;
use crate::layer::{LayerId, Merged};

/// The merges that are kept, the last one used first. Two, so that two images that are built at once both have theirs.
#[derive(Debug, Default)]
pub struct Merges {
    kept: Mutex<Vec<Arc<Known>>>,
}

const MOST: usize = 2;

/// A stack that was merged.
#[derive(Debug)]
pub(super) struct Known {
    layers: Vec<LayerId>,
    epoch: i64,
    /// Into how many groups it was cut.
    pub groups: usize,
    /// What it looks like from above; owners are still as they were stated.
    pub merged: Merged,
    plain: OnceLock<Arc<Plain>>,
}

impl Known {
    /// Its plain part.
    pub fn plain(&self, epoch: i64) -> Result<Arc<Plain>, Fault> {
        if let Some(plain) = self.plain.get() {
            return Ok(Arc::clone(plain));
        }
        let plain = Arc::new(Plain::of(&self.merged, epoch)?);
        Ok(Arc::clone(self.plain.get_or_init(|| plain)))
    }
}

impl Merges {
    /// The largest part of `stack` that was merged, if it ends where one of the groups ends.
    pub(super) fn longest(&self, stack: &Stack, groups: &[(usize, usize)], epoch: i64) -> Option<Arc<Known>> {
        let begins = |known: &&Arc<Known>| {
            let ends = groups.get(known.groups.wrapping_sub(1)).map(|(_, end)| *end);
            let same = || known.layers.iter().zip(&stack.layers).all(|(id, layer)| *id == layer.layer.id);
            known.epoch == epoch && ends == Some(known.layers.len()) && same()
        };
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().filter(begins).max_by_key(|known| known.layers.len()).cloned()
    }

    /// What the stack looks like from above, as [`Stack::merged`].
    ///
    /// # Errors
    ///
    /// Of [`Stack::merged`].
    pub fn merged(&self, stack: &Stack) -> Result<Merged, Fault> {
        let begins = |known: &&Arc<Known>| {
            known.layers.len() <= stack.layers.len()
                && known.layers.iter().zip(&stack.layers).all(|(id, layer)| *id == layer.layer.id)
        };
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().filter(begins).max_by_key(|known| known.layers.len()).cloned();
        drop(kept);
        match known {
            Some(known) => stack.merged_from(known.merged.clone(), known.layers.len()),
            None => stack.merged(),
        }
    }

    /// Keeps a merge, and its plain part if that is known.
    pub(super) fn keep(
        &self,
        stack: &Stack,
        groups: usize,
        epoch: i64,
        merged: &Merged,
        plain: Option<Arc<Plain>>,
    ) {
        let layers: Vec<LayerId> = stack.layers.iter().map(|layer| layer.layer.id).collect();
        let known = OnceLock::new();
        if let Some(plain) = plain {
            let _ = known.set(plain);
        }
        let new = Arc::new(Known { layers, epoch, groups, merged: merged.clone(), plain: known });
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // What this one goes on from is of no use any more.
        kept.retain(|old| !(new.layers.starts_with(&old.layers) || old.layers.starts_with(&new.layers)));
        kept.insert(0, new);
        kept.truncate(MOST);
    }

    /// Forgets all of it.
    pub(super) fn forget(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
