//! Downloading one file that is known by its size and SHA-256: resumed, checked while it arrives, whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};

use super::http::{Answer, Client, Failure, Kind, shown};
use crate::fault::Fault;
use crate::key::Digest;

/// A file that is wanted.
#[derive(Clone, Debug)]
pub(super) struct Want {
    /// What messages call it.
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) digest: Digest,
    /// Where it may be; the first that works is taken.
    pub(super) urls: Vec<String>,
}

/// Why there is no file.
#[derive(Clone, Debug)]
pub(super) enum Lack {
    /// Somebody said stop.
    Stopped,
    /// None of the mirrors has it.
    NotFound(Fault),
    /// Anything else.
    Failed(Fault),
}

impl Lack {
    pub(super) fn fault(self) -> Fault {
        match self {
            Lack::Stopped => stopped(),
            Lack::NotFound(fault) | Lack::Failed(fault) => fault,
        }
    }
}

/// That somebody said stop.
pub(super) fn stopped() -> Fault {
    Fault::build("deb/stopped", "fetching was stopped")
}

const TRIES: u32 = 3;

/// Fetches `want` to `path`, through `PATH.part`; what of that is there already is kept if it fits. `arrived` counts
/// the bytes that are there.
pub(super) fn download(
    client: &Client,
    want: &Want,
    path: &Path,
    arrived: &AtomicU64,
    stop: &AtomicBool,
) -> Result<PathBuf, Lack> {
    let mut part = Part::open(path, stop)?;
    if whole(path, want) {
        part.remove();
        return Ok(path.to_path_buf());
    }
    let mut urls: Vec<&String> = want.urls.iter().collect();
    let mut failures: Vec<(&String, Failure)> = Vec::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            pause(client.patience().pause * attempt, stop)?;
        }
        let mut later = Vec::new();
        for url in urls {
            match fetch_part(client, want, url, &mut part, arrived, stop) {
                Ok(()) => return part.keep(path).map_err(Lack::Failed),
                Err(Broken::Stopped) => return Err(Lack::Stopped),
                Err(Broken::Here(fault)) => return Err(Lack::Failed(fault)),
                Err(Broken::There(failure)) => {
                    if failure.kind == Kind::Passing {
                        later.push(url);
                    }
                    failures.retain(|(known, _)| *known != url);
                    failures.push((url, failure));
                }
            }
        }
        urls = later;
        if urls.is_empty() {
            break;
        }
    }
    Err(lack(want, &failures))
}

fn lack(want: &Want, failures: &[(&String, Failure)]) -> Lack {
    // That one mirror of many does not have it tells less than what is wrong with the others.
    let worst = failures.iter().find(|(_, failure)| failure.kind != Kind::NotFound).or(failures.first());
    let Some((url, failure)) = worst else {
        let message = format!("cannot fetch `{}`: there is no mirror to fetch it from", want.name);
        return Lack::Failed(Fault::error("deb/no-mirror", message).help("name a mirror"));
    };
    let also = match failures.len() - 1 {
        0 => String::new(),
        more => format!(" (and from {} more)", crate::wording::count(more, "place")),
    };
    let message = format!("cannot fetch `{}` from {}{also}: {}", want.name, shown(url), failure.reason);
    if failure.kind == Kind::NotFound {
        let help =
            "the mirror has moved on: run `imgbuild update`, or name a mirror or snapshot that still has it";
        return Lack::NotFound(Fault::build("deb/not-found", message).help(help));
    }
    let help = "check the network, name another mirror, or use what was fetched before with `--offline`";
    Lack::Failed(Fault::build("deb/fetch", message).help(help))
}

/// Waits, unless somebody says stop.
pub(super) fn pause(time: Duration, stop: &AtomicBool) -> Result<(), Lack> {
    const STEP: Duration = Duration::from_millis(50);
    let mut left = time;
    while !left.is_zero() {
        if stop.load(Ordering::Relaxed) {
            return Err(Lack::Stopped);
        }
        let step = left.min(STEP);
        std::thread::sleep(step);
        left -= step;
    }
    Ok(())
}

/// Whether the file at `path` is what is wanted, read in full.
pub(super) fn whole(path: &Path, want: &Want) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == want.size) {
        return false;
    }
    Got::of(&mut file).is_ok_and(|got| got.is(want))
}

/// What has come of a file.
#[derive(Clone, Default)]
struct Got {
    hasher: Sha256,
    bytes: u64,
}

impl Got {
    fn of(file: &mut File) -> io::Result<Got> {
        let mut got = Got::default();
        let mut buffer = vec![0; 1 << 17];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(got),
                read => got.take(&buffer[..read]),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Whether it is all that is wanted.
    fn is(&self, want: &Want) -> bool {
        let digest = || Digest::from_bytes(self.hasher.clone().finalize().into());
        self.bytes == want.size && digest() == want.digest
    }
}

/// A file that is being fetched; nobody else fetches it as long as this is open.
struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    fn open(path: &Path, stop: &AtomicBool) -> Result<Part, Lack> {
        let mut name = path.as_os_str().to_os_string();
        name.push(".part");
        let part = PathBuf::from(name);
        let failed = |error: io::Error| Lack::Failed(Fault::io("write", &part, &error));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        loop {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&part);
            let file = file.map_err(failed)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Whoever had it may have put it into its place meanwhile.
                Ok(()) if is_same(&file, &part) => return Ok(Part { path: part, file }),
                Ok(()) | Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => pause(Duration::from_millis(20), stop)?,
                Err(error) => return Err(failed(error.into())),
            }
        }
    }

    fn keep(self, path: &Path) -> Result<PathBuf, Fault> {
        fs::rename(&self.path, path).map_err(|error| Fault::io("write", path, &error))?;
        Ok(path.to_path_buf())
    }

    fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }

    /// What is in it.
    fn got(&mut self) -> Result<Got, Fault> {
        let got = self.file.rewind().and_then(|()| Got::of(&mut self.file));
        got.map_err(|error| self.failed(&error))
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.file.write_all(bytes).map_err(|error| self.failed(&error))
    }

    /// Begins anew, with nothing.
    fn clear(&mut self) -> Result<Got, Fault> {
        let cleared = self.file.set_len(0).and_then(|()| self.file.rewind());
        cleared.map(|()| Got::default()).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Fault {
        Fault::io("write", &self.path, error)
    }
}

fn is_same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(one), Ok(other)) => identity(one) == identity(other),
        _ => false,
    }
}

enum Broken {
    Stopped,
    /// This machine's fault.
    Here(Fault),
    /// The mirror's.
    There(Failure),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Broken {
        Broken::Here(fault)
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Broken {
        Broken::There(failure)
    }
}

/// Fetches what of `want` is not in `part` yet from one URL.
fn fetch_part(
    client: &Client,
    want: &Want,
    url: &str,
    part: &mut Part,
    arrived: &AtomicU64,
    stop: &AtomicBool,
) -> Result<(), Broken> {
    let mut got = part.got()?;
    if got.is(want) {
        return Ok(());
    }
    if got.bytes >= want.size {
        got = part.clear()?;
    }
    let mut answer = client.get(url, got.bytes)?;
    let resumed = answer.from > 0;
    if answer.from != got.bytes {
        got = part.clear()?;
    }
    if let Some(length) = answer.length.filter(|length| got.bytes.saturating_add(*length) != want.size) {
        let all = got.bytes.saturating_add(length);
        let reason = format!("it has {all} bytes where the index says {}", want.size);
        return Err(Failure::new(Kind::Lasting, reason).into());
    }
    receive(&mut answer, want, part, &mut got, arrived, stop)?;
    if got.bytes < want.size {
        let reason = format!("it ended after {} of {} bytes", got.bytes, want.size);
        return Err(Failure::new(Kind::Passing, reason).into());
    }
    if got.is(want) {
        return Ok(());
    }
    part.clear()?;
    // The part that was there before may be what is wrong.
    let kind = if resumed { Kind::Passing } else { Kind::Lasting };
    Err(Failure::new(kind, "its SHA-256 is not the one that the index says").into())
}

/// Puts what comes behind what has come, until it ends.
fn receive(
    answer: &mut Answer,
    want: &Want,
    part: &mut Part,
    got: &mut Got,
    arrived: &AtomicU64,
    stop: &AtomicBool,
) -> Result<(), Broken> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        arrived.store(got.bytes, Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) {
            return Err(Broken::Stopped);
        }
        let read = answer.read(&mut buffer)?;
        let bytes = &buffer[..read];
        if bytes.is_empty() {
            return Ok(());
        }
        got.take(bytes);
        if got.bytes > want.size {
            part.clear()?;
            let reason = format!("it has more than the {} bytes that the index says", want.size);
            return Err(Failure::new(Kind::Lasting, reason).into());
        }
        part.add(bytes)?;
    }
}
