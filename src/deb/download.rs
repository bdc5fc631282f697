//! Downloading one file that is known by its size and SHA-256: resumed, checked while it arrives, whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};

use super::http::{Client, Failure, Kind, shown};
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
    let mut hasher = Sha256::new();
    copy_into(&mut file, &mut hasher).is_ok() && Digest::from_bytes(hasher.finalize().into()) == want.digest
}

fn copy_into(file: &mut File, hasher: &mut Sha256) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 17];
    let mut all = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(all),
            read => {
                hasher.update(&buffer[..read]);
                all += read as u64;
            }
        }
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

    /// Begins anew.
    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0)).map(|_| ())
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
    let here = |path: &Path, error: &io::Error| Broken::Here(Fault::io("write", path, error));
    let path = part.path.clone();
    let write = |result: io::Result<()>| result.map_err(|error| here(&path, &error));
    let mut hasher = Sha256::new();
    write(part.file.seek(SeekFrom::Start(0)).map(|_| ()))?;
    let mut have = copy_into(&mut part.file, &mut hasher).map_err(|error| here(&path, &error))?;
    if have >= want.size {
        if have == want.size && Digest::from_bytes(hasher.clone().finalize().into()) == want.digest {
            return Ok(());
        }
        write(part.clear())?;
        (hasher, have) = (Sha256::new(), 0);
    }
    let mut answer = client.get(url, have)?;
    let resumed = answer.from > 0;
    if answer.from != have {
        write(part.clear())?;
        (hasher, have) = (Sha256::new(), 0);
    }
    if let Some(length) = answer.length.filter(|length| have.saturating_add(*length) != want.size) {
        let all = have.saturating_add(length);
        let reason = format!("it has {all} bytes where the index says {}", want.size);
        return Err(Failure::new(Kind::Lasting, reason).into());
    }
    let mut buffer = vec![0; 1 << 16];
    loop {
        arrived.store(have, Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) {
            return Err(Broken::Stopped);
        }
        let read = answer.read(&mut buffer)?;
        let bytes = &buffer[..read];
        if bytes.is_empty() {
            break;
        }
        have += read as u64;
        if have > want.size {
            write(part.clear())?;
            let reason = format!("it has more than the {} bytes that the index says", want.size);
            return Err(Failure::new(Kind::Lasting, reason).into());
        }
        hasher.update(bytes);
        write(part.file.write_all(bytes))?;
    }
    if have < want.size {
        return Err(
            Failure::new(Kind::Passing, format!("it ended after {have} of {} bytes", want.size)).into()
        );
    }
    if Digest::from_bytes(hasher.finalize().into()) == want.digest {
        return Ok(());
    }
    write(part.clear())?;
    // The part that was there before may be what is wrong.
    let kind = if resumed { Kind::Passing } else { Kind::Lasting };
    Err(Failure::new(kind, "its SHA-256 is not the one that the index says").into())
}
