//! Packed content: zlib, LZO and zstd, as "Compression" in btrfs' documentation has them.

use std::io::{self, Read};

use super::format::number;
use super::lzo;
use crate::filesystems::{damage, unread};

/// What an extent that is packed can have, packed or not: bytes (`BTRFS_MAX_COMPRESSED`, `BTRFS_MAX_UNCOMPRESSED`).
pub const MOST: u64 = 128 << 10;
/// Bits of the window of zstd, all that the kernel takes (`ZSTD_BTRFS_MAX_WINDOWLOG`).
const WINDOW: u32 = 17;

/// How content is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Zlib,
    Lzo,
    Zstd,
}

impl Packing {
    /// That of a number (`enum btrfs_compression_type`); none for what is not packed.
    ///
    /// # Errors
    ///
    /// A number that stands for none that is known.
    pub fn of(number: u64) -> io::Result<Option<Packing>> {
        Ok(match number {
            0 => None,
            1 => Some(Packing::Zlib),
            2 => Some(Packing::Lzo),
            3 => Some(Packing::Zstd),
            _ => return Err(unread("the content of a file is packed in a way that imgbuild does not know")),
        })
    }
}

/// The `size` bytes that `packed` stands for: what it does not tell of them is zeros, as in the kernel.
///
/// # Errors
///
/// What cannot be unpacked.
pub fn unpack(packing: Packing, packed: &[u8], size: u64, sector: u64) -> io::Result<Vec<u8>> {
    let mut unpacked = match packing {
        Packing::Zlib => read(flate2::read::ZlibDecoder::new(packed), size)?,
        Packing::Lzo => pieces(packed, size as usize, sector as usize)?,
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?.single_frame();
            decoder.window_log_max(WINDOW)?;
            read(decoder, size)?
        }
    };
    unpacked.resize(size as usize, 0);
    Ok(unpacked)
}

fn read(decoder: impl Read, size: u64) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    match decoder.take(size).read_to_end(&mut unpacked) {
        Ok(_) => Ok(unpacked),
        Err(_) => Err(wrong()),
    }
}

/// LZO packs each sector apart: in front of all is how long they are together, in front of each how long it is. No such
/// number stands in two sectors.
fn pieces(packed: &[u8], size: usize, sector: usize) -> io::Result<Vec<u8>> {
    const LENGTH: usize = 4;
    let end = number(packed, 0, LENGTH)? as usize;
    let packed = packed.get(..end).ok_or_else(wrong)?;
    let (mut unpacked, mut at) = (Vec::new(), LENGTH);
    while at < end && unpacked.len() < size {
        let length = number(packed, at, LENGTH)? as usize;
        let piece = packed.get(at + LENGTH..).and_then(|rest| rest.get(..length)).ok_or_else(wrong)?;
        let most = sector.min(size - unpacked.len());
        unpacked.extend(lzo::unpack(piece, sector).ok_or_else(wrong)?.iter().take(most));
        at += LENGTH + length;
        let left = sector - at % sector;
        at += if left < LENGTH { left } else { 0 };
    }
    Ok(unpacked)
}

fn wrong() -> io::Error {
    damage("the content of a file cannot be unpacked")
}
