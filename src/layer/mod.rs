//! Layers: sets of file-system changes, each an ordinary tar with an index beside it.
//!
//! The tar is canonical: a function of the index and the contents, in one order, with PAX records only where ustar has
//! no room, and OCI whiteouts for what is removed. The index ([`Index`]) tells every path, kind, mode, owner, size,
//! xattr and content digest, and at which byte of the tar a content starts; so merging layers ([`merge()`]) touches no
//! file, and reading one is a read at an offset. A layer's identity ([`LayerId`]) is the digest of its index without
//! the offsets.
//!
//! This room writes and reads; where layers are kept is the store's business, and why they exist the steps'.

pub mod path;
pub mod entry;
pub mod index;
pub mod header;
pub mod write;
pub mod read;
pub mod copy;
pub mod merge;
pub mod accounts;
pub mod diff;

pub use entry::{Entry, Kind};
pub use index::{Index, LayerId};
pub use merge::{Merged, merge};
pub use path::EntryPath;
pub use write::LayerWriter;
