//! A file system that is yet to be written: what is to be in it, and where it goes.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::fault::Fault;
use crate::layer::Merged;
use crate::layer::merge::Node;
use crate::store::Layer;
use crate::work::Stack;

/// A file system that is yet to be written.
pub struct Made<'a> {
    /// All that is in it, and where its content is.
    pub merged: &'a Merged,
    pub stack: &'a Stack,
    /// Its UUID, and what all others in it are made from.
    pub uuid: &'a str,
    /// What it is called.
    pub label: Option<&'a str>,
    /// The time of what is not in the image: seconds since 1970.
    pub epoch: i64,
    /// How many threads may write it.
    pub threads: usize,
}

impl Made<'_> {
    /// The layer that has the content of a file.
    pub fn layer(&self, node: &Node) -> Result<&Layer, Fault> {
        self.stack.layer_of(node).ok_or_else(|| Fault::machine("internal", "a layer was lost"))
    }

    /// The whole content of a file.
    pub fn content(&self, node: &Node) -> Result<Vec<u8>, Fault> {
        let layer = self.layer(node)?;
        let read = layer.bytes(&node.entry, node.entry.kind.size());
        read.map_err(|error| Fault::io("read", &layer.path, &error))
    }

    /// Copies `length` bytes of a file, whole sectors, from `offset` on to a place; what is behind its end is zeros. `each`
    /// is given piece by piece what was copied.
    pub fn copy(
        &self,
        node: &Node,
        (offset, length): (u64, u64),
        (device, mut place): (&Device<'_>, u64),
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Fault> {
        let layer = self.layer(node)?;
        let mut content = layer.content(&node.entry);
        content.at += offset;
        content.left = content.left.saturating_sub(offset).min(length);
        let mut buffer = vec![0; length.min(PIECE) as usize];
        while content.left > 0 {
            let length = content.left.min(PIECE) as usize;
            let piece = buffer.get_mut(..length.next_multiple_of(SECTOR)).unwrap_or_default();
            let (read, rest) = piece.split_at_mut(length);
            content.read_exact(read).map_err(|error| Fault::io("read", &layer.path, &error))?;
            rest.fill(0);
            each(piece);
            // What is zero is there already.
            if piece.iter().any(|byte| *byte != 0) {
                device.put(place, piece)?;
            }
            place += piece.len() as u64;
        }
        Ok(())
    }
}

/// Bytes that are copied at once.
const PIECE: u64 = 1 << 20;
/// What content is given out in: bytes.
const SECTOR: usize = 4096;

/// Where a file system is written.
pub struct Device<'a> {
    pub out: &'a File,
    pub path: &'a Path,
    /// Where it begins: bytes.
    pub at: u64,
}

impl Device<'_> {
    /// Writes at a place of the file system.
    pub fn put(&self, place: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.out.write_all_at(bytes, self.at + place).map_err(|error| Fault::io("write", self.path, &error))
    }
}
