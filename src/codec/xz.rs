//! One .xz stream (The .xz File Format, version 1.2.0, tukaani.org) out of blocks that were made one by one.
//!
//! Liblzma is asked for a small stream of one block. Its compressed data is taken out and gets a block header that
//! also tells both sizes (3.1.3, 3.1.4), which lets readers decompress the blocks of the whole stream in parallel.
//! The check is CRC32, the only one that every reader has: the Linux kernel takes no other for an initramfs.

use std::io;

use xz2::stream::{Action, Check, Status, Stream};

use super::recipe::{STEP, Stop};

/// The magic, the flags for CRC32, and the flags' checksum (2.1.1).
pub(super) const HEAD: [u8; 12] = [0xfd, b'7', b'z', b'X', b'Z', 0, 0, 1, 0x69, 0x22, 0xde, 0x36];

const FLAGS: [u8; 2] = [0, 1];
const CHECK_SIZE: usize = 4;

/// `input` as a block: header, data, padding, check.
pub(super) fn block(level: u32, input: &[u8], stop: &Stop) -> io::Result<Vec<u8>> {
    let small = small_stream(level, input, stop)?;
    rehead(&small, input.len() as u64)
        .ok_or_else(|| io::Error::other("liblzma made a stream that is not one block with a CRC32"))
}

fn small_stream(level: u32, input: &[u8], stop: &Stop) -> io::Result<Vec<u8>> {
    let mut stream = Stream::new_easy_encoder(level, Check::Crc32)?;
    let mut small = Vec::with_capacity(input.len() / 2 + STEP);
    for mut piece in input.chunks(STEP) {
        stop.check()?;
        while !piece.is_empty() {
            small.reserve(STEP);
            let before = stream.total_in();
            stream.process_vec(piece, &mut small, Action::Run)?;
            piece = piece.get((stream.total_in() - before) as usize..).unwrap_or_default();
        }
    }
    while stream.process_vec(&[], &mut small, Action::Finish)? != Status::StreamEnd {
        small.reserve(STEP);
    }
    Ok(small)
}

/// The block of the stream `small` under a header that tells its sizes.
fn rehead(small: &[u8], input_size: u64) -> Option<Vec<u8>> {
    let block = small.strip_prefix(&HEAD)?;
    let (head, rest) = block.split_at_checked(header_size(block)?)?;
    // No sizes, one filter, and that is LZMA2 (5.3.1) with its one byte on the dictionary.
    let [_, 0, filter @ .., _, _, _, _] = head else { return None };
    let filter = filter.get(..3).filter(|filter| filter.starts_with(&[0x21, 1]))?;
    let (unpadded, told) = only_record(small)?;
    let data = usize::try_from(unpadded).ok()?.checked_sub(head.len() + CHECK_SIZE)?;
    let body = rest.get(..padded(data) + CHECK_SIZE)?;
    (told == input_size).then(|| [header(data as u64, input_size, filter).as_slice(), body].concat())
}

/// The one record of the index of `small`, found from its end (2.1.2, 4).
fn only_record(small: &[u8]) -> Option<(u64, u64)> {
    let (before, footer) = small.split_at_checked(small.len().checked_sub(HEAD.len())?)?;
    let backward = u32::from_le_bytes(footer.get(4..8)?.try_into().ok()?);
    let index = before.get(before.len().checked_sub((backward as usize + 1) * 4)?..)?;
    let records = index.strip_prefix(&[0, 1])?;
    let (unpadded, records) = number(records)?;
    Some((unpadded, number(records)?.0))
}

/// A block header (3.1) with both sizes.
fn header(data: u64, input_size: u64, filter: &[u8]) -> Vec<u8> {
    const BOTH_SIZES: u8 = 0xc0;
    let mut header = vec![0, BOTH_SIZES];
    push_number(&mut header, data);
    push_number(&mut header, input_size);
    header.extend_from_slice(filter);
    pad(&mut header);
    // At most 2 + 9 + 9 + 3 bytes: the quarter fits a byte.
    header[0] = (header.len() / 4) as u8;
    push_crc(&mut header);
    header
}

/// The index of the stream: how long each block is, compressed and not.
#[derive(Default)]
pub(super) struct Index {
    records: Vec<(u64, u64)>,
}

impl Index {
    /// Counts a block in that [`block`] made.
    pub fn add(&mut self, block: &[u8], input_size: u64) -> io::Result<()> {
        let unpadded = unpadded_size(block).ok_or_else(|| io::Error::other("not a block of an xz stream"))?;
        self.records.push((unpadded, input_size));
        Ok(())
    }

    /// What stands behind the last block: the index (4) and the stream footer (2.1.2).
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0];
        push_number(&mut bytes, self.records.len() as u64);
        for (unpadded, input_size) in self.records {
            push_number(&mut bytes, unpadded);
            push_number(&mut bytes, input_size);
        }
        pad(&mut bytes);
        push_crc(&mut bytes);
        let backward = (bytes.len() / 4 - 1) as u32;
        let mut fields = backward.to_le_bytes().to_vec();
        fields.extend_from_slice(&FLAGS);
        bytes.extend_from_slice(&crc32fast::hash(&fields).to_le_bytes());
        bytes.extend_from_slice(&fields);
        bytes.extend_from_slice(b"YZ");
        bytes
    }
}

/// The length of a block without its padding, read from its header.
fn unpadded_size(block: &[u8]) -> Option<u64> {
    let header = header_size(block)?;
    let (data, _) = number(block.get(2..header)?)?;
    Some(header as u64 + data + CHECK_SIZE as u64)
}

fn header_size(block: &[u8]) -> Option<usize> {
    block.first().map(|quarters| (usize::from(*quarters) + 1) * 4)
}

/// A number of variable length (1.2) and what stands behind it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
}

fn push_number(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(padded(bytes.len()), 0);
}

fn push_crc(bytes: &mut Vec<u8>) {
    let crc = crc32fast::hash(bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
}
