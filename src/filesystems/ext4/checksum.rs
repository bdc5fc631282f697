//! Checksums of metadata (Documentation/filesystems/ext4/checksums.rst): CRC-32C that begins with all bits set, and is
//! not inverted at its end.

/// A checksum so far.
#[derive(Clone, Copy, Debug)]
pub struct Sum(u32);

impl Sum {
    /// That of nothing.
    pub const START: Sum = Sum(!0);

    /// What a superblock says that all others begin with.
    pub fn seed(seed: u32) -> Sum {
        Sum(seed)
    }

    /// That of `bytes` behind what was before.
    pub fn with(self, bytes: &[u8]) -> Sum {
        // The crate inverts before and behind.
        Sum(!crc32c::crc32c_append(!self.0, bytes))
    }

    /// What all sums of an inode and its blocks begin with: its number and its generation.
    pub fn of_inode(self, number: u32, generation: u32) -> Sum {
        self.with(&number.to_le_bytes()).with(&generation.to_le_bytes())
    }

    /// As it is written.
    pub fn value(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_castagnolis_but_not_inverted() {
        assert_eq!(super::Sum::START.with(b"12345").with(b"6789").value(), 0xe306_9283 ^ 0xffff_ffff);
    }
}
