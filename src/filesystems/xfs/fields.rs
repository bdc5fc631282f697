//! Numbers in records, which may be shorter than they should be.

use std::io;

use crate::filesystems::damage;

/// The bytes of a record.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'b>(pub &'b [u8]);

impl<'b> Fields<'b> {
    pub fn u8(self, at: usize) -> io::Result<u8> {
        self.array::<1>(at).map(|[byte]| byte)
    }

    pub fn u16(self, at: usize) -> io::Result<u16> {
        self.array(at).map(u16::from_be_bytes)
    }

    pub fn u32(self, at: usize) -> io::Result<u32> {
        self.array(at).map(u32::from_be_bytes)
    }

    pub fn u64(self, at: usize) -> io::Result<u64> {
        self.array(at).map(u64::from_be_bytes)
    }

    /// The `length` bytes from `at` on.
    pub fn bytes(self, at: usize, length: usize) -> io::Result<&'b [u8]> {
        self.0.get(at..).and_then(|rest| rest.get(..length)).ok_or_else(cut)
    }

    /// As many bytes as an array has.
    pub fn array<const LENGTH: usize>(self, at: usize) -> io::Result<[u8; LENGTH]> {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or_else(cut)
    }
}

fn cut() -> io::Error {
    damage("a record in it ends too early")
}
