//! The journal of a project: the last results of its steps, a line each.
//!
//! A line is the CRC-32 of the rest and then JSON. Lines are only ever added at the end, so a build that is killed
//! loses nothing that it finished, and a torn line is passed over. Among lines of one step the last one counts. When
//! most of it no longer counts, and nobody is adding to it, the journal is written anew.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::aside::without_folder;
use super::{Stamp, write_whole};
use crate::fault::Fault;
use crate::key::Key;

/// What a step did last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// The step's id.
    pub step: String,
    /// Its key's text then.
    pub key: String,
    /// The layers that it made.
    pub layers: Vec<String>,
    /// How long it took when it last ran.
    pub seconds: f64,
    /// What it found out while it ran (see [`super::Record::found`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<String>,
    /// The steps that it stood on, lowest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<String>,
    /// For an output: what it wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<PastOutput>,
}

/// What an output wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastOutput {
    /// Where, absolute.
    pub path: PathBuf,
    /// What it looked like.
    pub stamp: Stamp,
    /// For a folder, the digest of what is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
}

/// The last results of a project's steps.
#[derive(Debug, Default)]
pub struct Journal {
    path: PathBuf,
    past: HashMap<String, Past>,
    /// Bytes of the file as it was read, and of the lines among them that count.
    size: usize,
    counting: usize,
    file: Mutex<Option<File>>,
}

/// A journal of so many bytes is read in no time, whatever is in it.
const SMALL: usize = 64 * 1024;

impl Journal {
    /// Reads the journal in the project's folder of the store; a missing one is empty.
    pub fn read(folder: &Path) -> Journal {
        let path = folder.join("journal");
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(&path) {
            // What cannot be read is as good as missing.
            let _ = file.read_to_end(&mut bytes);
        }
        let (mut past, mut lengths) = (HashMap::new(), HashMap::new());
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Some(entry) = parse(line) {
                lengths.insert(entry.step.clone(), line.len());
                past.insert(entry.step.clone(), entry);
            }
        }
        let counting = lengths.into_values().sum();
        Journal { path, past, size: bytes.len(), counting, file: Mutex::default() }
    }

    /// What the step did last.
    pub fn past(&self, step: &str) -> Option<&Past> {
        self.past.get(step)
    }

    /// All steps, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Past> {
        self.past.values()
    }

    /// Adds what a step did just now; others may be adding at the same time.
    pub fn add(&self, entry: &Past) -> Result<(), Fault> {
        let line = line(entry);
        let add = || -> io::Result<()> {
            let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if file.is_none() {
                *file = Some(open(&self.path)?);
            }
            // One write at the end of the file: lines of two builds never mix.
            file.as_mut().map_or(Ok(()), |file| file.write_all(&line))
        };
        add().map_err(|error| Fault::io("write", &self.path, &error))
    }

    /// Waits until nobody else puts an output of this project into its place, and holds others off as long as the
    /// result lives: so each file belongs to the line that is added last.
    pub fn turn(&self) -> Result<File, Fault> {
        let path = self.path.with_file_name("turn");
        let wait = || -> io::Result<File> {
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
            let open = || File::options().write(true).create(true).truncate(false).open(&path);
            let turn = without_folder(&path, open)?;
            super::retry(|| rustix::fs::flock(&turn, FlockOperation::LockExclusive))?;
            Ok(turn)
        };
        wait().map_err(|error| Fault::io("lock", &path, &error))
    }

    /// Writes the journal anew if most of it no longer counted when it was read, unless somebody else is adding to it.
    pub fn tidy(self) {
        if self.size <= SMALL || self.size < 2 * self.counting {
            return;
        }
        // This one is no longer adding either.
        drop(self.file);
        let Ok(file) = File::options().read(true).write(true).open(&self.path) else { return };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return;
        }
        let now = Journal::read(self.path.parent().unwrap_or(Path::new("/")));
        let mut entries: Vec<&Past> = now.past.values().collect();
        entries.sort_by(|left, right| left.step.cmp(&right.step));
        // Tidying is for the next one's sake; the journal as it is does as well.
        let _ = write_whole(&self.path, &entries.into_iter().flat_map(line).collect::<Vec<u8>>());
    }
}

/// The journal, open for adding lines. Who tidies may put another one into its place before this one is locked.
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::MetadataExt;
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    loop {
        let journal = without_folder(path, || File::options().append(true).create(true).open(path))?;
        super::retry(|| rustix::fs::flock(&journal, FlockOperation::LockShared))?;
        if std::fs::metadata(path).is_ok_and(|now| journal.metadata().is_ok_and(|own| own.ino() == now.ino()))
        {
            return Ok(journal);
        }
    }
}

impl Past {
    /// The key as it was.
    pub fn key(&self) -> Key {
        Key::from_text(self.key.clone())
    }
}

fn line(entry: &Past) -> Vec<u8> {
    // Serialising plain data into memory cannot fail; an empty line would be passed over.
    let json = serde_json::to_string(entry).unwrap_or_default();
    format!("\n{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes()
}

fn parse(line: &[u8]) -> Option<Past> {
    let line = std::str::from_utf8(line).ok()?;
    let (crc, json) = line.split_once(' ')?;
    let stated = u32::from_str_radix(crc, 16).ok()?;
    (stated == crc32fast::hash(json.as_bytes())).then(|| serde_json::from_str(json).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_step_counts_and_torn_ones_do_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let entry = |seconds| Past {
            step: "overlay:a".into(),
            key: "step overlay 1\n".into(),
            layers: vec![],
            seconds,
            found: vec![],
            stack: vec![],
            output: None,
        };
        let journal = Journal::read(folder.path());
        journal.add(&entry(1.0)).expect("a line");
        journal.add(&entry(2.0)).expect("a line");
        assert_eq!(Journal::read(folder.path()).past("overlay:a"), Some(&entry(2.0)));
        let path = folder.path().join("journal");
        let mut bytes = std::fs::read(&path).expect("the journal");
        bytes.truncate(bytes.len() - 5);
        std::fs::write(&path, bytes).expect("written");
        assert_eq!(Journal::read(folder.path()).past("overlay:a"), Some(&entry(1.0)));
        Journal::read(folder.path()).add(&entry(3.0)).expect("a line behind a torn one");
        assert_eq!(Journal::read(folder.path()).past("overlay:a"), Some(&entry(3.0)));
    }

    #[test]
    fn what_no_longer_counts_goes_when_it_is_most() {
        let folder = tempfile::tempdir().expect("a folder");
        let entry = |number: usize| Past {
            step: format!("overlay:{}", number % 2),
            key: format!("{number}{}", "x".repeat(10_000)),
            layers: vec![],
            seconds: 0.0,
            found: vec![],
            stack: vec![],
            output: None,
        };
        let size = || std::fs::metadata(folder.path().join("journal")).expect("the journal").len();
        let mut largest = 0;
        for number in 0..100 {
            let journal = Journal::read(folder.path());
            journal.add(&entry(number)).expect("a line");
            largest = largest.max(size());
            // As long as somebody else adds to it, it stays as it is.
            let other = Journal::read(folder.path());
            if number == 50 {
                other.add(&entry(51)).expect("a line");
                let before = size();
                Journal::read(folder.path()).tidy();
                assert_eq!(size(), before);
            }
            drop(other);
            journal.tidy();
        }
        assert!(largest < 120_000, "{largest}");
        let journal = Journal::read(folder.path());
        assert_eq!(
            (journal.past("overlay:0"), journal.past("overlay:1")),
            (Some(&entry(98)), Some(&entry(99)))
        );
    }
}
