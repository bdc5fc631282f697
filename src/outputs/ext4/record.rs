//! Records of fixed places: numbers with the lowest byte first, but for a journal's.

use super::geometry::BLOCK;
use crate::fault::Fault;

/// `N` bytes that are put together; zeros where nothing is put.
#[derive(Clone, Debug)]
pub struct Record<const N: usize> {
    bytes: [u8; N],
    /// Whether everything had a place.
    is_whole: bool,
}

/// A block that is put together.
pub type Block = Record<{ BLOCK as usize }>;

impl<const N: usize> Record<N> {
    pub fn new() -> Record<N> {
        Record { bytes: [0; N], is_whole: true }
    }

    /// Puts `bytes` at `at`.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        self.is_whole &= put(&mut self.bytes, at, bytes).is_ok();
    }

    /// The lowest 16 bits, at `at`.
    pub fn put16(&mut self, at: usize, number: u64) {
        self.put(at, &(number as u16).to_le_bytes());
    }

    /// The lowest 32 bits, at `at`.
    pub fn put32(&mut self, at: usize, number: u64) {
        self.put(at, &(number as u32).to_le_bytes());
    }

    /// The lowest 32 bits at `low`, and the 32 above them at `high`.
    pub fn put_split(&mut self, (low, high): (usize, usize), number: u64) {
        self.put32(low, number);
        self.put32(high, number >> 32);
    }

    /// The lowest 16 bits at `low`, and the 16 above them at `high`.
    pub fn put_split16(&mut self, (low, high): (usize, usize), number: u64) {
        self.put16(low, number);
        self.put16(high, number >> 16);
    }

    /// What is there so far, up to `end`.
    pub fn up_to(&self, end: usize) -> &[u8] {
        self.bytes.get(..end).unwrap_or(&self.bytes)
    }

    /// All of it.
    ///
    /// # Errors
    ///
    /// Something had no place.
    pub fn done(self) -> Result<[u8; N], Fault> {
        if self.is_whole { Ok(self.bytes) } else { Err(no_place()) }
    }
}

/// Puts `bytes` at `at`.
///
/// # Errors
///
/// They have no place there.
pub fn put(record: &mut [u8], at: usize, bytes: &[u8]) -> Result<(), Fault> {
    let end = at.checked_add(bytes.len()).ok_or_else(no_place)?;
    record.get_mut(at..end).ok_or_else(no_place)?.copy_from_slice(bytes);
    Ok(())
}

fn no_place() -> Fault {
    Fault::machine("internal", "a record of an ext4 file system is longer than its place")
}

#[cfg(test)]
mod tests {
    use super::Record;

    #[test]
    fn what_has_no_place_is_told() {
        let mut record = Record::<4>::new();
        record.put16(1, 0x1234);
        assert_eq!(record.clone().done().ok(), Some([0, 0x34, 0x12, 0]));
        record.put32(1, 0);
        record.put16(2, 0);
        assert!(record.done().is_err());
    }
}
