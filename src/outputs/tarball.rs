//! A merged tree as a tar: laid out first, then written front to back.
//!
//! Most entries of an image are, header and all, exactly what stands in the tar of the layer that they come from. Those
//! are not even looked at: runs of them become one range to copy, which the kernel can do by itself.

use std::fs::File;
use std::io::{self, Read, Write};

use crate::fault::Fault;
pub use crate::layer::copy::{copy, copy_by_kernel};
use crate::layer::header::{END, header, padding};
use crate::layer::merge::Node;
use crate::layer::read::At;
use crate::layer::{Entry, Kind};
use crate::store::Layer;
use crate::work::{Job, Stack};

/// A tar that is yet to be written.
#[derive(Debug, Default)]
pub struct Tarball<'a> {
    pieces: Vec<Piece<'a>>,
}

#[derive(Debug)]
enum Piece<'a> {
    Bytes(Vec<u8>),
    Range { layer: &'a Layer, at: u64, length: u64 },
}

impl<'a> Tarball<'a> {
    /// The tar of `nodes`, which come from the layers of `stack`.
    pub fn of<'n>(nodes: impl Iterator<Item = &'n Node>, stack: &'a Stack) -> Tarball<'a> {
        let starts: Vec<Vec<u64>> = stack.layers.iter().map(|layer| starts(&layer.layer)).collect();
        let mut tarball = Tarball::default();
        for node in nodes {
            match stack.layer_of(node) {
                Some(layer) => tarball.entry(&node.entry, layer, &starts[node.layer]),
                None => tarball.bytes(header(&node.entry)),
            }
        }
        tarball.bytes(END.to_vec());
        tarball
    }

    /// Writes it anywhere.
    pub fn write(&self, out: &mut dyn Write, job: &Job<'_>) -> Result<io::Result<()>, Fault> {
        let mut buffer = vec![0; 256 * 1024];
        for piece in &self.pieces {
            job.go_on()?;
            let written = match piece {
                Piece::Bytes(bytes) => out.write_all(bytes),
                Piece::Range { layer, at, length } => {
                    copy(&mut At { file: &layer.tar, at: *at, left: *length }, *length, out, &mut buffer)
                }
            };
            if let Err(error) = written {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// Writes it to a file, by the kernel where it can.
    pub fn write_file(&self, out: &mut File, job: &Job<'_>) -> Result<io::Result<()>, Fault> {
        let mut waiting: Vec<u8> = Vec::with_capacity(BUFFER + (1 << 16));
        for piece in &self.pieces {
            job.go_on()?;
            let written = match piece {
                Piece::Bytes(bytes) => gather(bytes, &mut waiting, out),
                Piece::Range { layer, at, length } if *length < WORTHWHILE => {
                    let start = waiting.len();
                    waiting.resize(start + *length as usize, 0);
                    let read =
                        At { file: &layer.tar, at: *at, left: *length }.read_exact(&mut waiting[start..]);
                    read.and_then(|()| gather(&[], &mut waiting, out))
                }
                Piece::Range { layer, at, length } => out.write_all(&waiting).and_then(|()| {
                    waiting.clear();
                    copy_by_kernel(&layer.tar, *at, *length, out)
                }),
            };
            if let Err(error) = written {
                return Ok(Err(error));
            }
        }
        Ok(out.write_all(&waiting))
    }

    fn entry(&mut self, entry: &Entry, layer: &'a Layer, starts: &[u64]) {
        let entries = &layer.index.entries;
        let found = entries.binary_search_by(|other| other.path.cmp(&entry.path)).ok();
        if let Some(at) = found.filter(|at| same_bytes(&entries[*at], entry)) {
            let end = starts.get(at + 1).copied().unwrap_or(layer.index.tar_size - END.len() as u64);
            return self.range(layer, starts[at], end - starts[at]);
        }
        self.bytes(header(entry));
        if let Kind::File { size, offset, .. } = entry.kind {
            self.range(layer, offset, size + padding(size) as u64);
        }
    }

    fn bytes(&mut self, bytes: Vec<u8>) {
        match self.pieces.last_mut() {
            Some(Piece::Bytes(before)) => before.extend_from_slice(&bytes),
            _ => self.pieces.push(Piece::Bytes(bytes)),
        }
    }

    fn range(&mut self, layer: &'a Layer, at: u64, length: u64) {
        if let Some(Piece::Range { layer: before, at: start, length: so_far }) = self.pieces.last_mut()
            && before.id == layer.id
            && *start + *so_far == at
        {
            *so_far += length;
        } else if length > 0 {
            self.pieces.push(Piece::Range { layer, at, length });
        }
    }
}

/// Where the header of each entry starts in the layer's tar.
fn starts(layer: &Layer) -> Vec<u64> {
    let mut at = 0;
    let start = |entry: &Entry| {
        let start = at;
        let size = entry.kind.size();
        at += header(entry).len() as u64 + size + padding(size) as u64;
        start
    };
    layer.index.entries.iter().map(start).collect()
}

/// Whether two entries are the same bytes in a tar; that a directory is weak shows in none.
fn same_bytes(left: &Entry, right: &Entry) -> bool {
    left.path == right.path
        && left.kind == right.kind
        && left.mode == right.mode
        && left.owner == right.owner
        && left.mtime == right.mtime
        && left.xattrs == right.xattrs
}

const BUFFER: usize = 1 << 20;

/// Below this a system call of its own costs more than copying.
const WORTHWHILE: u64 = 64 * 1024;

fn gather(bytes: &[u8], waiting: &mut Vec<u8>, out: &mut File) -> io::Result<()> {
    waiting.extend_from_slice(bytes);
    if waiting.len() >= BUFFER {
        out.write_all(waiting)?;
        waiting.clear();
    }
    Ok(())
}
