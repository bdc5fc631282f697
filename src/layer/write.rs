//! Writing a layer: entries in the order of their paths, each content hashed while it is copied.

use std::io::{self, Read, Write};

use super::entry::{Entry, Kind};
use super::header::{END, header, padding};
use super::index::Index;
use crate::key::{Digest, Hasher};

/// Writes a layer's tar and collects its index.
pub struct LayerWriter<W: Write> {
    out: W,
    at: u64,
    index: Index,
    buffer: Vec<u8>,
}

impl<W: Write> LayerWriter<W> {
    /// A layer that is written to `out`, from its first byte.
    pub fn new(out: W) -> LayerWriter<W> {
        LayerWriter { out, at: 0, index: Index::default(), buffer: vec![0; 256 * 1024] }
    }

    /// Adds an entry that has no content. Paths must come in their order, each once.
    pub fn entry(&mut self, entry: Entry) -> io::Result<()> {
        debug_assert!(!matches!(entry.kind, Kind::File { .. }), "a file has a content");
        self.begin(&entry)?;
        self.index.entries.push(entry);
        Ok(())
    }

    /// Adds a file with a content of `size` bytes; gives its digest.
    ///
    /// # Errors
    ///
    /// Of reading or writing; `UnexpectedEof` or `InvalidData` where the content is shorter or longer than `size`,
    /// that is, where somebody changed it meanwhile.
    pub fn file(&mut self, mut entry: Entry, size: u64, content: &mut dyn Read) -> io::Result<Digest> {
        entry.kind = Kind::File { size, digest: Digest::from_bytes([0; 32]), offset: 0 };
        self.begin(&entry)?;
        let offset = self.at;
        let digest = self.copy(size, content)?;
        entry.kind = Kind::File { size, digest, offset };
        self.index.entries.push(entry);
        Ok(digest)
    }

    /// Adds a file whose content is at hand and has that digest.
    pub fn known_file(&mut self, mut entry: Entry, content: &[u8], digest: Digest) -> io::Result<()> {
        let size = content.len() as u64;
        entry.kind = Kind::File { size, digest, offset: 0 };
        self.begin(&entry)?;
        entry.kind = Kind::File { size, digest, offset: self.at };
        self.put(content)?;
        self.put(&END[..padding(size)])?;
        self.index.entries.push(entry);
        Ok(())
    }

    /// Adds a file whose content is read and has that digest, for which whoever calls answers.
    ///
    /// # Errors
    ///
    /// Of reading or writing; `UnexpectedEof` where the content is shorter than `size`.
    pub fn known_content(
        &mut self,
        mut entry: Entry,
        size: u64,
        digest: Digest,
        content: &mut dyn Read,
    ) -> io::Result<()> {
        entry.kind = Kind::File { size, digest, offset: 0 };
        self.begin(&entry)?;
        entry.kind = Kind::File { size, digest, offset: self.at };
        let mut left = size;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            content.read_exact(&mut self.buffer[..room])?;
            self.out.write_all(&self.buffer[..room])?;
            left -= room as u64;
        }
        self.out.write_all(&END[..padding(size)])?;
        self.at += size + padding(size) as u64;
        self.index.entries.push(entry);
        Ok(())
    }

    /// Ends the tar.
    pub fn finish(mut self) -> io::Result<(W, Index)> {
        self.put(&END)?;
        self.out.flush()?;
        self.index.tar_size = self.at;
        Ok((self.out, self.index))
    }

    fn begin(&mut self, entry: &Entry) -> io::Result<()> {
        debug_assert!(
            self.index.entries.last().is_none_or(|last| last.path <= entry.path),
            "in order: {entry:?}"
        );
        self.put(&header(entry))
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn copy(&mut self, size: u64, content: &mut dyn Read) -> io::Result<Digest> {
        let mut hasher = Hasher::new();
        let mut left = size;
        loop {
            // One byte more than is left is asked for, so that a content that grew is noticed.
            let room = usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX).min(self.buffer.len());
            let read = content.read(&mut self.buffer[..room])?;
            let Some(rest) = left.checked_sub(read as u64) else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it grew while it was read"));
            };
            if read == 0 {
                break;
            }
            left = rest;
            hasher.update(&self.buffer[..read]);
            self.out.write_all(&self.buffer[..read])?;
        }
        if left > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it shrank while it was read"));
        }
        self.out.write_all(&END[..padding(size)])?;
        self.at += size + padding(size) as u64;
        Ok(hasher.finish())
    }
}
