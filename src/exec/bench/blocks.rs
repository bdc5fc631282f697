//! Where compressed blocks are in an output as it was written last, so that those that stay need not be compressed again.

use std::path::{Path, PathBuf};

use crate::codec::{Block, Earlier};
use crate::key::Digest;
use crate::store::write_whole;
use crate::work::World;

/// The blocks of the output with the id `id`, in the file at `place`. Each is checked before it is used.
pub(super) fn earlier(id: &str, world: &World, place: &Path) -> Option<Earlier> {
    let bytes = std::fs::read(path(id, world)).ok()?;
    let lines = String::from_utf8(bytes).ok()?;
    let blocks = lines.lines().map(read).collect::<Option<Vec<Block>>>()?;
    Some(Earlier { file: std::fs::File::open(place).ok()?, blocks })
}

/// Keeps them for the next time.
pub(super) fn keep(id: &str, world: &World, blocks: &[Block]) {
    if blocks.is_empty() {
        return;
    }
    let lines: String = blocks.iter().map(line).collect();
    // Only costs compressing again if it fails.
    let _ = write_whole(&path(id, world), lines.as_bytes());
}

fn path(id: &str, world: &World) -> PathBuf {
    world.kept.join("blocks").join(Digest::of(id).short())
}

fn line(block: &Block) -> String {
    format!("{} {} {} {} {}\n", block.input, block.input_size, block.offset, block.size, block.seal)
}

fn read(line: &str) -> Option<Block> {
    let mut words = line.split(' ');
    Some(Block {
        input: words.next()?.parse().ok()?,
        input_size: words.next()?.parse().ok()?,
        offset: words.next()?.parse().ok()?,
        size: words.next()?.parse().ok()?,
        seal: words.next()?.parse().ok()?,
    })
}
