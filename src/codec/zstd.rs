//! Zstandard frames (RFC 8878).

use std::io::{self, Write};

use ::zstd::bulk::Compressor;
use ::zstd::stream::write::Encoder;
use ::zstd::zstd_safe::CParameter;

/// `input` as one frame that tells its size and ends with a checksum.
///
/// Each frame has a context of its own, so that its bytes cannot depend on what a thread compressed before. It is
/// given the whole block at once: fed in steps, version 1.5.7 splits it worse and makes it 1 % longer.
pub(super) fn frame(level: i32, input: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressor = Compressor::new(level)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    compressor.compress(input)
}

/// A writer of one single frame. With at least one worker the library cuts its jobs by the level alone; with none it
/// would give other bytes.
pub(super) fn single<W: Write>(level: i32, threads: usize, out: W) -> io::Result<Encoder<'static, W>> {
    // The library's own limit where it is lowest.
    const MOST: u32 = 64;
    let mut encoder = Encoder::new(out, level)?;
    encoder.include_checksum(true)?;
    encoder.multithread(u32::try_from(threads).unwrap_or(MOST).clamp(1, MOST))?;
    Ok(encoder)
}
