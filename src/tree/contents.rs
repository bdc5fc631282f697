//! Contents at hand: small files that were read to be hashed, so that whoever copies them next need not read them again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::key::Digest;

/// Contents by their digests, up to a limit.
#[derive(Debug, Default)]
pub struct Contents {
    /// Bytes that are still free; none where nobody is going to copy anything.
    room: AtomicUsize,
    kept: Mutex<HashMap<Digest, Arc<[u8]>>>,
}

impl Contents {
    /// Keeps up to `room` bytes.
    pub fn new(room: usize) -> Contents {
        Contents { room: AtomicUsize::new(room), kept: Mutex::default() }
    }

    /// Keeps the content, if there is room for it.
    pub fn keep(&self, digest: Digest, content: Vec<u8>) {
        let size = content.len();
        let room =
            self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(size));
        if room.is_ok() {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.insert(digest, content.into());
        }
    }

    /// The content with that digest, if it is kept.
    pub fn get(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }
}
