//! Secrets: what a hook may read while it runs, and what is in no layer, no key and no log.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use memchr::memmem;

use crate::fault::{Fault, Place};
use crate::sandbox::SHORTEST_MASKED;

/// A secret as a manifest states it.
#[derive(Clone)]
pub struct Secret {
    /// What the hook finds it under.
    pub name: String,
    /// Where the manifest names it.
    pub place: Place,
    /// Where it comes from.
    pub from: From,
    /// The environment variable that tells the hook where it is.
    pub variable: Option<String>,
}

/// Where a secret comes from.
#[derive(Clone)]
pub enum From {
    /// A file of the caller's.
    File {
        /// Where, absolute.
        path: PathBuf,
        /// As the manifest has it.
        shown: String,
    },
    /// A variable of the caller's environment, and its value if it is set.
    Variable(String, Option<String>),
}

/// Longer ones are none.
const LONGEST: u64 = 1 << 20;

/// Shorter ones are not looked for in layers: they are in any file by chance.
const SHORTEST: usize = 8;

/// Neither what it says nor how long that is.
impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Secret({})", self.name)
    }
}

impl Secret {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// It is not there, cannot be read, or is too short to be kept out of a log.
    pub fn read(&self) -> Result<Vec<u8>, Fault> {
        let missing = |why: String, help: String| {
            Fault::machine("secret/missing", format!("the secret `{}` {why}", self.name))
                .at(&self.place, "this secret")
                .help(help)
        };
        let bytes = match &self.from {
            From::Variable(name, value) => value.clone().map(String::into_bytes).ok_or_else(|| {
                missing(format!("is not there: `{name}` is not set"), format!("set it: `{name}=… imgbuild`"))
            })?,
            From::File { path, shown } => {
                let read = || -> io::Result<Vec<u8>> {
                    let mut bytes = Vec::new();
                    File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
                    Ok(bytes)
                };
                let bytes = read().map_err(|error| {
                    let why = format!("cannot be read from `{shown}`: {}", crate::fault::reason(&error));
                    missing(why, "put it there, or name another file".into())
                })?;
                if bytes.len() as u64 > LONGEST {
                    return Err(missing(
                        format!("in `{shown}` is longer than 1 MiB"),
                        "is that the file?".into(),
                    ));
                }
                bytes
            }
        };
        if bytes.trim_ascii().len() < SHORTEST_MASKED {
            let why = format!("is shorter than {SHORTEST_MASKED} bytes: no log could be kept free of it");
            return Err(missing(
                why,
                "take a longer one, or state it with `env` if everybody may know it".into(),
            ));
        }
        Ok(bytes)
    }

    /// Whether it can be read, as far as can be told without reading all of a long one.
    pub fn is_there(&self) -> bool {
        const LONG: u64 = 16;
        match &self.from {
            From::File { path, .. } => {
                let is_long = |metadata: fs::Metadata| metadata.is_file() && metadata.len() >= LONG;
                fs::metadata(path).is_ok_and(is_long) || self.read().is_ok()
            }
            From::Variable(..) => self.read().is_ok(),
        }
    }
}

/// What of a secret is told nowhere: all of it, and each line that is long enough to be one itself, for much is printed
/// line by line.
pub fn masked(secret: &[u8]) -> Vec<Vec<u8>> {
    let lines =
        secret.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| line.len() >= SHORTEST);
    std::iter::once(secret.trim_ascii()).chain(lines).map(<[u8]>::to_vec).collect()
}

/// Writes stars over each of these that stands in the file.
pub fn blot(secrets: &[&[u8]], file: &File) -> io::Result<()> {
    // One of stars alone would be found again and again.
    let secrets: Vec<&[u8]> =
        secrets.iter().filter(|secret| secret.iter().any(|byte| *byte != b'*')).copied().collect();
    while let Some((number, at)) = find(&secrets, file)? {
        let length = secrets.get(number).map_or(0, |secret| secret.trim_ascii().len());
        file.write_all_at(&vec![b'*'; length], at)?;
    }
    Ok(())
}

/// Whether one of these stands in the file, and the position of the first byte of it.
pub fn find(secrets: &[&[u8]], file: &File) -> io::Result<Option<(usize, u64)>> {
    let finders: Vec<(usize, memmem::Finder<'_>)> = secrets
        .iter()
        .enumerate()
        .map(|(number, secret)| (number, secret.trim_ascii()))
        .filter(|(_, secret)| secret.len() >= SHORTEST)
        .map(|(number, secret)| (number, memmem::Finder::new(secret)))
        .collect();
    let Some(longest) = finders.iter().map(|(_, finder)| finder.needle().len()).max() else {
        return Ok(None);
    };
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    let mut window = vec![0; (1 << 20) + longest];
    let (mut kept, mut at) = (0, 0);
    loop {
        let length = file.read(window.get_mut(kept..).unwrap_or_default())?;
        let seen = window.get(..kept + length).unwrap_or_default();
        let found =
            finders.iter().find_map(|(number, finder)| Some((*number, at + finder.find(seen)? as u64)));
        if found.is_some() || length == 0 {
            return Ok(found);
        }
        // What begins here may end in the next piece.
        let rest = seen.len().min(longest - 1);
        let end = seen.len();
        at += (end - rest) as u64;
        window.copy_within(end - rest..end, 0);
        kept = rest;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_secret_is_found_wherever_it_stands() {
        let secrets: [&[u8]; 2] = [b"short", b"correct horse battery\n"];
        let found = |at: usize| {
            let mut file = tempfile::tempfile().unwrap();
            let mut bytes = vec![b'x'; 3 << 20];
            if let Some(place) = bytes.get_mut(at..at + 21) {
                place.copy_from_slice(b"correct horse battery");
            }
            bytes.extend(b"short");
            file.write_all(&bytes).unwrap();
            find(&secrets, &file).unwrap()
        };
        for at in [0, 77, (1 << 20) - 20, (1 << 20), (1 << 20) + 21, (1 << 20) + 30, (3 << 20) - 21] {
            assert_eq!(found(at), Some((1, at as u64)), "at {at}");
        }
        assert_eq!(found(usize::MAX - 100), None, "what is short is everywhere");
    }
}
