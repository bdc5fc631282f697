//! Stamps: what tells a file from itself, changed. Size, times and inode, and git's rule for racy entries.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

/// What a file looked like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Last modification, nanoseconds since 1970.
    pub mtime: i64,
    /// Last change of the inode, nanoseconds since 1970; no program can set it.
    pub ctime: i64,
    /// Inode number.
    pub inode: u64,
    /// Type and permission bits.
    pub mode: u32,
}

impl fmt::Display for Stamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, rest) = (self.mtime.div_euclid(1_000_000_000), self.mtime.rem_euclid(1_000_000_000));
        write!(
            out,
            "{} bytes, inode {}, mode {:o}, written at {seconds}.{rest:09}",
            self.size,
            self.inode,
            self.mode & 0o7777
        )
    }
}

impl Stamp {
    /// From what lstat(2) says.
    pub fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            size: metadata.size(),
            mtime: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
            mode: metadata.mode(),
        }
    }

    /// Whether a change after `seen` (nanoseconds since 1970) could have left the stamp as it is: the file was still
    /// being written in the tick in which it was looked at.
    pub fn is_racy(&self, seen: i64) -> bool {
        const TICK: i64 = 10_000_000;
        self.mtime.max(self.ctime) >= seen - TICK
    }
}

/// Seconds and nanoseconds in one number.
pub fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}
