//! Sums of nodes and of content: those that a superblock can name (`enum btrfs_csum_type`).

use std::io;

use blake2::Blake2b;
use blake2::digest::Digest as _;
use blake2::digest::consts::U32;
use sha2::{Digest as _, Sha256};
use twox_hash::XxHash64;

use super::format::SUM;
use crate::filesystems::unread;

/// How sums are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sums {
    Crc32c,
    Xxhash,
    Sha256,
    Blake2b,
}

impl Sums {
    /// The way of that number.
    ///
    /// # Errors
    ///
    /// A number that stands for none that is known.
    pub fn of(number: u64) -> io::Result<Sums> {
        Ok(match number {
            0 => Sums::Crc32c,
            1 => Sums::Xxhash,
            2 => Sums::Sha256,
            3 => Sums::Blake2b,
            _ => return Err(unread("its checksums are of a kind that imgbuild does not know")),
        })
    }

    /// Bytes of a sum.
    pub fn size(self) -> usize {
        match self {
            Sums::Crc32c => 4,
            Sums::Xxhash => 8,
            Sums::Sha256 | Sums::Blake2b => 32,
        }
    }

    /// Whether `sum` begins with the sum of `bytes`.
    pub fn agree(self, sum: &[u8], bytes: &[u8]) -> bool {
        match self {
            Sums::Crc32c => sum.starts_with(&crc32c::crc32c(bytes).to_le_bytes()),
            Sums::Xxhash => sum.starts_with(&XxHash64::oneshot(0, bytes).to_le_bytes()),
            Sums::Sha256 => sum.starts_with(&Sha256::digest(bytes)),
            Sums::Blake2b => sum.starts_with(&Blake2b::<U32>::digest(bytes)),
        }
    }

    /// Whether a block that begins with the sum of what is behind it is whole.
    pub fn is_whole(self, block: &[u8]) -> bool {
        block.split_at_checked(SUM).is_some_and(|(sum, rest)| self.agree(sum, rest))
    }
}
