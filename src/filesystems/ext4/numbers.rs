//! Numbers in records: the lowest byte first, but for a journal's. Where a record is too short they are 0.

/// That of 16 bits at `at`.
pub fn half(record: &[u8], at: usize) -> u16 {
    bytes(record, at).map_or(0, u16::from_le_bytes)
}

/// That of 32 bits at `at`.
pub fn word(record: &[u8], at: usize) -> u32 {
    bytes(record, at).map_or(0, u32::from_le_bytes)
}

/// That of 64 bits whose lower ones stand at `low`, the upper ones at `high`.
pub fn split(record: &[u8], (low, high): (usize, usize)) -> u64 {
    u64::from(word(record, low)) | u64::from(word(record, high)) << 32
}

/// That of 16 bits at `at`, the highest byte first.
pub fn big_half(record: &[u8], at: usize) -> u16 {
    bytes(record, at).map_or(0, u16::from_be_bytes)
}

/// That of 32 bits at `at`, the highest byte first.
pub fn big_word(record: &[u8], at: usize) -> u32 {
    bytes(record, at).map_or(0, u32::from_be_bytes)
}

fn bytes<const N: usize>(record: &[u8], at: usize) -> Option<[u8; N]> {
    record.get(at..)?.first_chunk().copied()
}
