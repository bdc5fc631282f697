//! Records of fixed places: numbers with the lowest byte first, but for a journal's.

/// Puts `bytes` at `at`. What does not fit is left out: all places are within the records that they are of.
pub fn put(record: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = at.checked_add(bytes.len()).and_then(|end| record.get_mut(at..end)) {
        place.copy_from_slice(bytes);
    }
}

/// The lowest 16 bits, at `at`.
pub fn put16(record: &mut [u8], at: usize, number: u64) {
    put(record, at, &(number as u16).to_le_bytes());
}

/// The lowest 32 bits, at `at`.
pub fn put32(record: &mut [u8], at: usize, number: u64) {
    put(record, at, &(number as u32).to_le_bytes());
}

/// The lowest 32 bits at `low`, and the 32 above them at `high`.
pub fn put_split(record: &mut [u8], (low, high): (usize, usize), number: u64) {
    put32(record, low, number);
    put32(record, high, number >> 32);
}

/// The lowest 16 bits at `low`, and the 16 above them at `high`.
pub fn put_split16(record: &mut [u8], (low, high): (usize, usize), number: u64) {
    put16(record, low, number);
    put16(record, high, number >> 16);
}
