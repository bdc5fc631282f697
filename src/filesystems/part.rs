//! The part of a disk that a file system has.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{damage, ends_early};

/// A part of a disk.
#[derive(Debug)]
pub struct Part {
    file: File,
    at: u64,
    size: u64,
}

impl Part {
    /// The `size` bytes of a disk from the byte `at` on.
    pub fn new(file: File, at: u64, size: u64) -> Part {
        Part { file, at, size }
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes from `start` on. `length` is what a record says: a disk with holes has room for more than a machine.
    ///
    /// # Errors
    ///
    /// Bytes that are not in it, more than any record has, and errors of reading.
    pub fn bytes(&self, start: u64, length: u64) -> io::Result<Vec<u8>> {
        const MOST: u64 = 64 << 20;
        self.within(start, length)?;
        if length > MOST {
            return Err(damage("a record in it is larger than any can be"));
        }
        let mut bytes = vec![0; length as usize];
        self.fill(start, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `into` with the bytes from `start` on.
    ///
    /// # Errors
    ///
    /// Bytes that are not in it, and those of reading.
    pub fn fill(&self, start: u64, into: &mut [u8]) -> io::Result<()> {
        self.within(start, into.len() as u64)?;
        self.file.read_exact_at(into, self.at + start)
    }

    fn within(&self, start: u64, length: u64) -> io::Result<()> {
        let end = start.checked_add(length).filter(|end| *end <= self.size);
        end.map(|_| ()).ok_or_else(ends_early)
    }
}
