//! Checksums of metadata (Documentation/filesystems/ext4/checksums.rst): CRC-32C that begins with all bits set, and is
//! not inverted at its end.

/// A checksum so far.
#[derive(Clone, Copy, Debug)]
pub struct Sum(u32);

impl Sum {
    /// That of nothing.
    pub const START: Sum = Sum(!0);

    /// That of `bytes` behind what was before.
    pub fn with(self, bytes: &[u8]) -> Sum {
        // The crate inverts before and behind.
        Sum(!crc32c::crc32c_append(!self.0, bytes))
    }

    /// What all sums of an inode and its blocks begin with: its number and its generation, which is 0.
    pub fn of_inode(self, number: u64) -> Sum {
        self.with(&(number as u32).to_le_bytes()).with(&[0; 4])
    }

    /// As it is written.
    pub fn value(self) -> u64 {
        self.0.into()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_castagnolis_but_not_inverted() {
        assert_eq!(super::Sum::START.with(b"12345").with(b"6789").value(), 0xe306_9283 ^ 0xffff_ffff);
    }
}
