//! A merged tree as a tar: laid out first, then written front to back.
//!
//! Most entries of an image are, header and all, exactly what stands in the tar of the layer that they come from. Those
//! are not even looked at: runs of them become one range to copy, which the kernel can do by itself.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, Read, Write};

use crate::fault::Fault;
pub use crate::layer::copy::{copy, copy_by_kernel};
use crate::layer::header::{END, header, header_size, padding};
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
        let mut layers: Vec<Walk<'a>> = stack.layers.iter().map(|layer| Walk::of(&layer.layer)).collect();
        let mut tarball = Tarball::default();
        for node in nodes {
            match layers.get_mut(node.layer) {
                Some(walk) => tarball.entry(&node.entry, walk),
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

    fn entry(&mut self, entry: &Entry, walk: &mut Walk<'a>) {
        if let Some((at, length)) = walk.range(entry) {
            return self.range(walk.layer, at, length);
        }
        self.bytes(header(entry));
        if let Kind::File { size, offset, .. } = entry.kind {
            self.range(walk.layer, offset, size + padding(size) as u64);
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

/// A walk through a layer's tar, in the order of paths, as the image's entries are asked for.
struct Walk<'a> {
    layer: &'a Layer,
    next: usize,
    /// Where the header of the next one starts.
    at: u64,
}

impl<'a> Walk<'a> {
    fn of(layer: &'a Layer) -> Walk<'a> {
        Walk { layer, next: 0, at: 0 }
    }

    /// Where `entry` stands in the tar, header and all, and how long that is; none if it stands there otherwise.
    fn range(&mut self, entry: &Entry) -> Option<(u64, u64)> {
        while let Some(other) = self.layer.index.entries.get(self.next) {
            let order = other.path.cmp(&entry.path);
            if order == Ordering::Greater {
                break;
            }
            let (start, size) = (self.at, other.kind.size());
            self.at += header_size(other) + size + padding(size) as u64;
            self.next += 1;
            if order == Ordering::Equal {
                return same_bytes(other, entry).then(|| (start, self.at - start));
            }
        }
        None
    }
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

const BUFFER: usize = 256 * 1024;

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
