//! A merged tree as a tar: laid out first, then written front to back.
//!
//! Most entries of an image are, header and all, exactly what stands in the tar of the layer that they come from. Those
//! are not even looked at: runs of them become one range to copy, which the kernel can do by itself.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use crate::fault::Fault;
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

/// Copies all of `source`, which has `length` bytes; less is an error.
pub fn copy(source: &mut dyn Read, length: u64, out: &mut dyn Write, buffer: &mut [u8]) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        match source.read(&mut buffer[..room]) {
            Ok(0) => return Err(short()),
            Ok(read) => {
                out.write_all(&buffer[..read])?;
                left -= read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Copies a range of `source` to where `out` stands.
pub fn copy_by_kernel(source: &File, at: u64, length: u64, out: &mut File) -> io::Result<()> {
    let (mut from, mut left) = (at, length);
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(source.as_fd(), Some(&mut from), out.as_fd(), None, most) {
            Ok(0) => return Err(short()),
            Ok(copied) => left -= copied as u64,
            Err(rustix::io::Errno::INTR) => {}
            // Other file systems, or a kernel that cannot: by hand.
            Err(
                rustix::io::Errno::XDEV
                | rustix::io::Errno::INVAL
                | rustix::io::Errno::NOSYS
                | rustix::io::Errno::OPNOTSUPP
                | rustix::io::Errno::PERM,
            ) => return send(source, from, left, out),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Copies a range through the page cache alone; through a buffer where that cannot be.
fn send(source: &File, at: u64, length: u64, out: &mut File) -> io::Result<()> {
    let (mut from, mut left) = (at, length);
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::sendfile(out.as_fd(), source.as_fd(), Some(&mut from), most) {
            Ok(0) => return Err(short()),
            Ok(copied) => left -= copied as u64,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                return copy(&mut At { file: source, at: from, left }, left, out, &mut vec![0; 256 * 1024]);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "a layer in the cache is cut short")
}
