//! Layers in the store.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::aside::{keep_whole, without_folder};
use super::{Stamp, Store};
use crate::fault::Fault;
use crate::key::{Digest, Hasher};
use crate::layer::header::{END, header, padding};
use crate::layer::read::At;
use crate::layer::{Entry, Index, Kind, LayerId};

/// A layer that can be read.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its identity.
    pub id: LayerId,
    /// What is in it.
    pub index: Arc<Index>,
    /// Its tar.
    pub tar: Arc<File>,
    /// Where that is.
    pub path: std::path::PathBuf,
}

impl Layer {
    /// The content of one of its files.
    pub fn content(&self, entry: &Entry) -> At<'_> {
        match entry.kind {
            Kind::File { size, offset, .. } => At { file: &self.tar, at: offset, left: size },
            _ => At { file: &self.tar, at: 0, left: 0 },
        }
    }

    /// The whole content of one of its files, up to `most` bytes.
    pub fn bytes(&self, entry: &Entry, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.content(entry).take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Store {
    /// The layer, if it is there and whole. Reads all of it if it is not known to be the file that was sealed.
    pub fn layer(&self, id: LayerId) -> Option<Layer> {
        let (layer, sealed) = self.open_layer(id)?;
        if !sealed {
            if !is_whole(&layer) {
                self.forget(id);
                return None;
            }
            if self.writable() {
                // Only costs another reading next time if it fails.
                let _ = self.seal(id);
            }
        }
        Some(layer)
    }

    /// Whether the layer is there as it was sealed; whole, too, as far as reading its index and stamp tells.
    pub fn has_layer(&self, id: LayerId) -> bool {
        let sealed = Seal::read(&self.seal_path(id));
        let stamp = fs::symlink_metadata(self.tar_path(id)).map(|metadata| Stamp::of(&metadata));
        match (sealed, stamp) {
            (Some(seal), Ok(stamp)) if seal.tar == stamp && seal.boot == boot() => {
                self.index_path(id).exists()
            }
            _ => self.layer(id).is_some(),
        }
    }

    /// Reads all of the layer; false if it is missing or not whole, and then it is removed.
    pub fn verify_layer(&self, id: LayerId) -> bool {
        let whole = self.open_layer(id).is_some_and(|(layer, _)| is_whole(&layer));
        if !whole {
            self.forget(id);
        }
        whole
    }

    /// Takes a layer in whose tar was written at `tar`, on the store's own file system.
    pub fn keep_layer(&self, tar: &Path, index: Index) -> Result<Layer, Fault> {
        let id = index.id();
        let place = self.tar_path(id);
        keep_whole(&self.index_path(id), index.to_text().as_bytes())?;
        without_folder(&place, || fs::rename(tar, &place))
            .map_err(|error| Fault::io("write", &place, &error))?;
        self.seal(id)?;
        let file = File::open(&place).map_err(|error| Fault::io("read", &place, &error))?;
        Ok(Layer { id, index: Arc::new(index), tar: Arc::new(file), path: place })
    }

    /// Removes a layer.
    pub(super) fn forget(&self, id: LayerId) {
        if self.writable() {
            for path in [self.seal_path(id), self.index_path(id), self.tar_path(id)] {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// The layer, and whether both files are the ones that were sealed in this boot.
    fn open_layer(&self, id: LayerId) -> Option<(Layer, bool)> {
        let text = fs::read_to_string(self.index_path(id)).ok()?;
        let tar = File::open(self.tar_path(id)).ok()?;
        let stamp = Stamp::of(&tar.metadata().ok()?);
        let index = Index::from_text(&text).ok()?;
        let seal = Seal::read(&self.seal_path(id));
        let sealed = seal
            .is_some_and(|seal| seal.tar == stamp && seal.boot == boot() && seal.index == Digest::of(&text));
        let fits = stamp.size == index.tar_size && (sealed || index.id() == id);
        fits.then(|| {
            (Layer { id, index: Arc::new(index), tar: Arc::new(tar), path: self.tar_path(id) }, sealed)
        })
    }

    fn seal(&self, id: LayerId) -> Result<(), Fault> {
        let tar = self.tar_path(id);
        let metadata = fs::symlink_metadata(&tar).map_err(|error| Fault::io("read", &tar, &error))?;
        let index = self.index_path(id);
        let text = fs::read(&index).map_err(|error| Fault::io("read", &index, &error))?;
        let seal = Seal { tar: Stamp::of(&metadata), index: Digest::of(text), boot: boot() };
        keep_whole(&self.seal_path(id), seal.to_text().as_bytes())
    }

    pub(super) fn tar_path(&self, id: LayerId) -> std::path::PathBuf {
        self.sharded("layers", &id.0, ".tar")
    }

    pub(super) fn index_path(&self, id: LayerId) -> std::path::PathBuf {
        self.sharded("layers", &id.0, ".index")
    }

    fn seal_path(&self, id: LayerId) -> std::path::PathBuf {
        self.sharded("layers", &id.0, ".seal")
    }
}

/// What the files of a layer looked like when they were last known to be whole.
///
/// The boot is part of it because nothing is synced: after a crash a file can have its size and times and yet not its
/// bytes, so each layer is read in full once a boot before it is trusted.
#[derive(Debug, PartialEq, Eq)]
struct Seal {
    tar: Stamp,
    index: Digest,
    boot: String,
}

impl Seal {
    fn to_text(&self) -> String {
        let Stamp { size, mtime, ctime, inode, mode } = self.tar;
        format!("seal 1 {size} {mtime} {ctime} {inode} {mode} {} {}\n", self.index, self.boot)
    }

    fn read(path: &Path) -> Option<Seal> {
        let text = fs::read_to_string(path).ok()?;
        let mut words = text.strip_prefix("seal 1 ")?.strip_suffix('\n')?.split(' ');
        let tar = Stamp {
            size: words.next()?.parse().ok()?,
            mtime: words.next()?.parse().ok()?,
            ctime: words.next()?.parse().ok()?,
            inode: words.next()?.parse().ok()?,
            mode: words.next()?.parse().ok()?,
        };
        Some(Seal { tar, index: words.next()?.parse().ok()?, boot: words.next()?.to_string() })
    }
}

/// The kernel's name for the time since it started.
pub(super) fn boot() -> String {
    static BOOT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    BOOT.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        text.trim().to_string()
    })
    .clone()
}

/// Whether the tar is what its index says, to the last byte: headers are a function of the index, contents have digests.
fn is_whole(layer: &Layer) -> bool {
    let mut at = 0;
    for entry in &layer.index.entries {
        let expected = header(entry);
        if !holds(layer, at, &expected) {
            return false;
        }
        at += expected.len() as u64;
        if let Kind::File { size, digest, offset } = entry.kind {
            let mut hasher = Hasher::new();
            let copied = io::copy(&mut layer.content(entry), &mut hasher).ok();
            let padded = at + size;
            if offset != at
                || copied != Some(size)
                || hasher.finish() != digest
                || !holds(layer, padded, &END[..padding(size)])
            {
                return false;
            }
            at = padded + padding(size) as u64;
        }
    }
    at + END.len() as u64 == layer.index.tar_size && holds(layer, at, &END)
}

fn holds(layer: &Layer, at: u64, expected: &[u8]) -> bool {
    let mut bytes = vec![0; expected.len()];
    let read = At { file: &layer.tar, at, left: expected.len() as u64 }.read_exact(&mut bytes);
    read.is_ok() && bytes == expected
}
