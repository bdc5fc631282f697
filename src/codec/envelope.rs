//! What makes one stream of the blocks: the bytes before the first and behind the last.

use std::io;

use super::pool::Piece;
use super::recipe::Recipe;
use super::{gzip, xz, zstd};

/// The envelope of a stream while its blocks are written.
pub(super) enum Envelope {
    Gzip(gzip::Trailer),
    Xz(xz::Index),
    Zstd { level: i32, empty: bool },
}

impl Envelope {
    pub fn new(recipe: Recipe) -> Envelope {
        match recipe {
            Recipe::Gzip(_) => Envelope::Gzip(gzip::Trailer::default()),
            Recipe::Xz(_) => Envelope::Xz(xz::Index::default()),
            Recipe::Zstd(level) => Envelope::Zstd { level, empty: true },
        }
    }

    /// What stands before the first block.
    pub fn head(&self) -> &'static [u8] {
        match self {
            Envelope::Gzip(_) => &gzip::HEAD,
            Envelope::Xz(_) => &xz::HEAD,
            Envelope::Zstd { .. } => &[],
        }
    }

    /// Counts the next block in.
    pub fn add(&mut self, piece: &Piece) -> io::Result<()> {
        match self {
            Envelope::Gzip(trailer) => trailer.add(&piece.input_crc, piece.input_size),
            Envelope::Xz(index) => index.add(&piece.bytes, piece.input_size)?,
            Envelope::Zstd { empty, .. } => *empty = false,
        }
        Ok(())
    }

    /// What stands behind the last block.
    pub fn tail(self) -> io::Result<Vec<u8>> {
        match self {
            Envelope::Gzip(trailer) => Ok(trailer.bytes()),
            Envelope::Xz(index) => Ok(index.bytes()),
            // A file of no frames at all is not zstd.
            Envelope::Zstd { level, empty: true } => zstd::frame(level, &[]),
            Envelope::Zstd { .. } => Ok(Vec::new()),
        }
    }
}
