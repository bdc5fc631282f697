//! The formats that can be written, and their levels.

use std::ops::RangeInclusive;

/// A format that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The bytes as they are.
    None,
    /// One gzip member (RFC 1952).
    Gzip,
    /// One .xz stream.
    Xz,
    /// Zstandard frames (RFC 8878).
    Zstd,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 4] = [Format::None, Format::Gzip, Format::Xz, Format::Zstd];

    /// Its name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Format::None => "none",
            Format::Gzip => "gzip",
            Format::Xz => "xz",
            Format::Zstd => "zstd",
        }
    }

    /// The ending of a file's name without its dot; empty when nothing is compressed.
    pub const fn extension(self) -> &'static str {
        match self {
            Format::None => "",
            Format::Gzip => "gz",
            Format::Xz => "xz",
            Format::Zstd => "zst",
        }
    }

    /// The level that is used when none is asked for: the default of the format's own program.
    pub const fn default_level(self) -> Option<i32> {
        match self {
            Format::None => None,
            Format::Gzip | Format::Xz => Some(6),
            Format::Zstd => Some(3),
        }
    }

    /// The levels there are, if there are any. Those of zstd end where its readers' limit of memory does (22).
    pub const fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            Format::None => None,
            Format::Gzip => Some(1..=9),
            Format::Xz => Some(0..=9),
            Format::Zstd => Some(1..=22),
        }
    }
}
