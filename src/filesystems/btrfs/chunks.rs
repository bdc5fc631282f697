//! Chunks: where on the device an address is. All else goes by addresses.

use std::collections::BTreeMap;
use std::io;

use super::format::{CHUNKS, KEY, Key, flags, kind, number};
use crate::filesystems::{damage, unread};

/// Bytes of a chunk in front of its stripes (`struct btrfs_chunk`), and of a stripe (`struct btrfs_stripe`).
const CHUNK: usize = 48;
const STRIPE: usize = 32;

/// All chunks.
#[derive(Debug)]
pub struct Chunks {
    /// The only device.
    device: u64,
    /// By the address of its first byte.
    by_start: BTreeMap<u64, Chunk>,
}

#[derive(Debug, PartialEq, Eq)]
struct Chunk {
    length: u64,
    /// Where its copies are on the device.
    copies: Vec<u64>,
}

/// Where bytes are on the device.
#[derive(Debug)]
pub struct Places {
    /// Each has all of them.
    pub copies: Vec<u64>,
    /// How many there are: as many as were asked for, or less where the chunk ends.
    pub length: u64,
}

impl Chunks {
    /// The chunks that a superblock tells.
    ///
    /// # Errors
    ///
    /// Damage, and chunks on several devices.
    pub fn of_array(device: u64, mut array: &[u8]) -> io::Result<Chunks> {
        let mut chunks = Chunks { device, by_start: BTreeMap::new() };
        while !array.is_empty() {
            let key = Key::of(array)?;
            let chunk = array.get(KEY..).unwrap_or_default();
            let size = CHUNK + STRIPE * number(chunk, 44, 2)? as usize;
            chunks.add(key, chunk)?;
            array = chunk.get(size..).unwrap_or_default();
        }
        Ok(chunks)
    }

    /// Adds the chunk that an item of the tree of chunks tells; one that is known already has to be the same.
    ///
    /// # Errors
    ///
    /// Damage, and chunks on several devices.
    pub fn add(&mut self, key: Key, item: &[u8]) -> io::Result<()> {
        let Key(CHUNKS, kind::CHUNK, start) = key else {
            return Err(damage("an item of its chunks is none"));
        };
        let chunk = self.read(item)?;
        let end = start.checked_add(chunk.length).filter(|_| chunk.length > 0);
        let end = end.ok_or_else(|| damage("a chunk of it ends nowhere"))?;
        match self.by_start.range(..end).next_back() {
            Some((known, there)) if *known == start && *there == chunk => return Ok(()),
            Some((known, there)) if known.saturating_add(there.length) > start => {
                return Err(damage("chunks of it are in each other's place"));
            }
            _ => self.by_start.insert(start, chunk),
        };
        Ok(())
    }

    fn read(&self, item: &[u8]) -> io::Result<Chunk> {
        const SEVERAL: u64 = flags::RAID0 | flags::RAID10 | flags::RAID5 | flags::RAID6;
        let (length, flags, stripes) = (number(item, 0, 8)?, number(item, 24, 8)?, number(item, 44, 2)?);
        let mut copies = Vec::new();
        for stripe in 0..stripes as usize {
            let at = CHUNK + stripe * STRIPE;
            if number(item, at, 8)? == self.device {
                copies.push(number(item, at + 8, 8)?);
            }
        }
        // A single stripe is the same with all of them.
        if flags & SEVERAL != 0 && stripes != 1 {
            return Err(unread("it is spread over several devices (RAID)"));
        }
        if copies.is_empty() {
            return Err(unread("a part of it is on another device"));
        }
        Ok(Chunk { length, copies })
    }

    /// Where the `length` bytes at `address` are.
    ///
    /// # Errors
    ///
    /// An address in no chunk.
    pub fn places(&self, address: u64, length: u64) -> io::Result<Places> {
        let found = self.by_start.range(..=address).next_back();
        let found = found.map(|(start, chunk)| (address - start, chunk));
        let (within, chunk) = found
            .filter(|(within, chunk)| *within < chunk.length)
            .ok_or_else(|| damage("it points to where it has nothing"))?;
        // What does not fit into 64 bits is on no device.
        let copies = chunk.copies.iter().map(|copy| copy.saturating_add(within)).collect();
        Ok(Places { copies, length: length.min(chunk.length - within) })
    }
}
