//! One gzip member (RFC 1952) out of blocks of raw deflate data (RFC 1951).
//!
//! Each block but the last ends with a sync flush: an empty stored block, which leaves the stream at a whole byte and
//! does not end it. So blocks that know nothing of each other stand one behind the other in a single deflate stream.

use std::io;

use flate2::{Compress, Compression, FlushCompress};

/// The header: deflate, no flags, no time, no word on the level, an unknown system.
pub(super) const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// A final deflate block of fixed codes with nothing in it (RFC 1951, 3.2.6).
const END: [u8; 2] = [3, 0];

/// `input` as deflate data that ends at a whole byte without ending the stream.
pub(super) fn block(level: u32, input: &[u8]) -> io::Result<Vec<u8>> {
    // Enough for one call: the worst case is fixed codes of nine bits a byte. A flush that is asked for twice could
    // leave two marks.
    let mut block = Vec::with_capacity(input.len() + input.len() / 8 + 1024);
    let mut deflate = Compress::new(Compression::new(level), false);
    deflate.compress_vec(input, &mut block, FlushCompress::Sync)?;
    if deflate.total_in() != input.len() as u64 || block.len() == block.capacity() {
        return Err(io::Error::other("deflate did not take the whole block"));
    }
    Ok(block)
}

/// The checksum and the length of all that was compressed.
#[derive(Default)]
pub(super) struct Trailer {
    crc: crc32fast::Hasher,
    length: u32,
}

impl Trailer {
    /// Counts a block in: the checksum of its input and the input's length.
    pub fn add(&mut self, crc: &crc32fast::Hasher, input_size: u64) {
        self.crc.combine(crc);
        // The format keeps the length modulo 2^32.
        self.length = self.length.wrapping_add(input_size as u32);
    }

    /// What stands behind the last block.
    pub fn bytes(self) -> Vec<u8> {
        [&END[..], &self.crc.finalize().to_le_bytes(), &self.length.to_le_bytes()].concat()
    }
}
