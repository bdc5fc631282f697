//! The lock: what the names of packages stood for.
//!
//! `image.lock.kdl` stands beside the manifest and is committed with it. It is KDL, with words of its own ([`words`]),
//! one package a line and all of it in a fixed order, so that a diff shows what changed and nothing else, and the same
//! solutions are the same bytes. What was solved for is kept as text ([`request`]): a lock fits as long as that text is
//! the same.

mod change;
mod read;
mod request;
pub mod words;
mod write;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use change::{Change, Changes, changes};
pub use request::{base_id, base_request, image_id, request, tools_id};

use crate::deb::Deb;
use crate::fault::{Fault, Faults};
use crate::lang::guard;
use crate::store::write_whole;

/// The version of the format that is written. Older ones are read; newer ones are refused.
pub const VERSION: i64 = 1;

/// All solutions of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// In any order; written in that of their ids.
    pub solutions: Vec<Solution>,
}

/// What one set of packages was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solution {
    /// Which set it is: `base debian trixie amd64 minbase`, `image server`, `image server hypervisor qemu`.
    pub id: String,
    /// What it was solved for, line by line.
    pub request: Vec<String>,
    /// What it was solved from; for people, and for finding the files again.
    pub releases: Vec<Release>,
    /// The packages, in any order; written in that of their names.
    pub packages: Vec<Locked>,
}

/// A suite as it was when packages were chosen from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The source: its [`crate::deb::Source::name`].
    pub source: String,
    /// The suite.
    pub suite: String,
    /// The `Date` of its Release file, in seconds since 1970.
    pub date: i64,
}

/// A package that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// Its file.
    pub deb: Deb,
    /// The list that asked for it, or another word for who did; none if it only came along.
    pub asked: Option<String>,
}

impl Lock {
    /// Where the lock of the manifest at `manifest` is: `image.lock.kdl` beside `image.kdl`.
    pub fn path(manifest: &Path) -> PathBuf {
        manifest.with_extension("lock.kdl")
    }

    /// Reads the lock at `path`, by which messages call it; none if there is no file.
    ///
    /// # Errors
    ///
    /// It cannot be read, is damaged, was merged with conflicts, or was written by a newer imgbuild.
    pub fn read(path: &Path) -> Result<Option<Lock>, Faults> {
        match bytes(path) {
            Ok(bytes) => read::lock(&path.display().to_string(), bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let reason = crate::fault::reason(&error);
                Err(Fault::error("lock/read", format!("cannot read `{}`: {reason}", path.display()))
                    .help("check who owns it and its mode")
                    .into())
            }
        }
    }

    /// Its text; the same for the same solutions, in whatever order they and their packages are.
    pub fn to_text(&self) -> String {
        write::text(self)
    }

    /// Writes it to `path`, aside and then renamed; not at all if the file is the same already. Whether it wrote.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<bool, Fault> {
        let text = self.to_text();
        if std::fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(false);
        }
        write_whole(path, text.as_bytes())?;
        Ok(true)
    }

    /// The solution of that id.
    pub fn solution(&self, id: &str) -> Option<&Solution> {
        self.solutions.iter().find(|solution| solution.id == id)
    }

    /// Puts a solution in the place of the one of its id, or adds it.
    pub fn put(&mut self, solution: Solution) {
        match self.solutions.iter_mut().find(|known| known.id == solution.id) {
            Some(known) => *known = solution,
            None => self.solutions.push(solution),
        }
    }
}

/// The file's bytes; of one that is larger than a lock can be, enough to see that.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(guard::LARGEST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Solution {
    /// The files of its packages.
    pub fn debs(&self) -> Vec<Deb> {
        self.packages.iter().map(|locked| locked.deb.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
