//! Compressed streams: any common one is read; gzip, xz and zstd are written, in parallel and again and again.
//!
//! A stream is written as independent blocks. Where a block ends is decided by the bytes alone, so the output is the
//! same for any number of threads, and a change in the input changes the blocks around it and no others: what an
//! earlier output already holds is copied from it instead of being compressed anew.
//!
//! The room knows nothing of tars, layers or manifests: bytes come in, bytes go out.

mod cut;
mod earlier;
mod envelope;
mod format;
mod gzip;
mod pool;
mod read;
mod recipe;
mod write;
mod xz;
mod zstd;

#[cfg(test)]
mod tests;

pub use earlier::{Block, Earlier};
pub use format::Format;
pub use read::{Compression, reader, reader_of_proven, sniff};
pub use recipe::VERSION;
pub use write::{Encoder, Finished, Layout, Settings};
