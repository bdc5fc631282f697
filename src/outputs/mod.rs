//! What images are written as.

pub mod iso9660;
