//! An earlier output, and what can be taken from it.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::recipe::Recipe;
use crate::key::Digest;

/// A block of an output: what went in, and where it came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The SHA-256 of the bytes that it holds, before compression.
    pub input: Digest,
    /// How many these are.
    pub input_size: u64,
    /// Where its compressed bytes begin in the output.
    pub offset: u64,
    /// How many these are.
    pub size: u64,
    /// A SHA-256 over the compressed bytes, `input`, the format, the level and [`VERSION`](super::VERSION): a block
    /// is taken from an earlier output only if all of them are still the same.
    pub seal: Digest,
}

/// An earlier output of [`Encoder`](super::Encoder), to take unchanged blocks from. Nothing in it is trusted: what
/// does not fit is compressed anew.
///
/// The file must not be the one that is being written: write beside it and rename.
#[derive(Debug)]
pub struct Earlier {
    /// The output.
    pub file: File,
    /// Its blocks.
    pub blocks: Vec<Block>,
}

/// The blocks of an earlier output, by what they hold.
pub(super) struct Shelf {
    file: File,
    blocks: HashMap<Digest, Block>,
}

impl Shelf {
    pub fn new(earlier: Earlier) -> Shelf {
        Shelf {
            file: earlier.file,
            blocks: earlier.blocks.into_iter().map(|block| (block.input, block)).collect(),
        }
    }

    /// The compressed bytes of the block that holds `input`, and their seal; none if there is any doubt.
    pub fn find(&self, recipe: Recipe, input: &Digest, input_size: usize) -> Option<(Vec<u8>, Digest)> {
        let block = self.blocks.get(input)?;
        // No format makes a block much longer than its input: a size that says so is not worth the memory.
        let size = usize::try_from(block.size).ok().filter(|size| size / 2 <= input_size + 1024)?;
        let mut bytes = vec![0; size];
        self.file.read_exact_at(&mut bytes, block.offset).ok()?;
        (recipe.seal(input, &bytes) == block.seal).then_some((bytes, block.seal))
    }
}
