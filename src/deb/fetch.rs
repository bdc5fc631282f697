//! The fetcher: Release files, indexes and packages, checked, from whichever mirror answers, and kept.
//!
//! ```text
//! FOLDER/downloads/ab/DIGEST          a file, by its SHA-256; DIGEST.part while it arrives
//! FOLDER/releases/KEY/InRelease       the Release file seen last of a source, as it was signed,
//! FOLDER/releases/KEY/Release{,.gpg}  or in two
//! ```
//!
//! The network is waited for in threads of their own, so that whoever asks can be stopped at any moment.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::download::{self, Lack, Want, download, stopped, whole};
use super::http::{Client, Patience, join};
use super::index::Index;
use super::release::Release;
use super::{Deb, Source};
use crate::fault::Fault;
use crate::key::Digest;

/// Fetches; one for a build. Clones share everything.
#[derive(Clone)]
pub struct Fetcher {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) folder: PathBuf,
    pub(super) client: Client,
    pub(super) offline: bool,
    /// What is on its way.
    flights: Mutex<HashMap<Digest, Arc<Flight>>>,
    /// What this process read in full.
    known: Mutex<HashSet<Digest>>,
}

/// A file on its way.
#[derive(Default)]
struct Flight {
    end: Mutex<Option<Result<PathBuf, Lack>>>,
    landed: Condvar,
    arrived: AtomicU64,
    /// Who waits for it; without anybody it ends.
    waiting: AtomicUsize,
    stop: AtomicBool,
}

impl Fetcher {
    /// A fetcher that keeps what it fetches in `folder`, goes through the HTTP proxy `proxy` if there is one, and does
    /// not use the network if it is `offline`.
    pub fn new(folder: PathBuf, proxy: Option<String>, offline: bool) -> Fetcher {
        Fetcher::with_patience(folder, proxy, offline, Patience::default())
    }

    /// As [`Fetcher::new`], with other waiting times.
    pub fn with_patience(
        folder: PathBuf,
        proxy: Option<String>,
        offline: bool,
        patience: Patience,
    ) -> Fetcher {
        let client = Client::new(proxy, patience);
        let (flights, known) = (Mutex::default(), Mutex::default());
        Fetcher { inner: Arc::new(Inner { folder, client, offline, flights, known }) }
    }

    /// Whether it does not use the network.
    pub fn offline(&self) -> bool {
        self.inner.offline
    }

    /// The file of `deb`, read in full once in this process to see that it is whole: from what is kept, or from the
    /// first of `mirrors` that gives it. `progress` is told how many of its bytes are there.
    ///
    /// # Errors
    ///
    /// Where no mirror has that very file, or `stop` was set.
    pub fn deb(
        &self,
        deb: &Deb,
        mirrors: &[String],
        stop: &AtomicBool,
        progress: &dyn Fn(u64),
    ) -> Result<PathBuf, Fault> {
        self.obtain(&want(deb, mirrors), stop, progress).map_err(Lack::fault)
    }

    /// The file of `deb`, if it is kept and whole.
    pub fn has(&self, deb: &Deb) -> Option<PathBuf> {
        self.kept(&want(deb, &[]))
    }

    /// Fetches `debs` in this order, from the mirrors beside each, with `connections` at once, in the background: what
    /// fails is tried again, and told of, by [`Fetcher::deb`]. Ends when the handle is dropped.
    pub fn prefetch(&self, debs: Vec<(Deb, Vec<String>)>, connections: usize) -> Prefetch {
        const MOST: usize = 16;
        let stop = Arc::new(AtomicBool::new(false));
        let left = Arc::new(AtomicUsize::new(debs.len()));
        if self.inner.offline {
            left.store(0, Ordering::Relaxed);
            return Prefetch { stop, left };
        }
        let queue = Arc::new(Mutex::new(VecDeque::from(debs)));
        for _ in 0..connections.clamp(1, MOST) {
            let (fetcher, queue, stop, left) =
                (self.clone(), Arc::clone(&queue), Arc::clone(&stop), Arc::clone(&left));
            let work = move || {
                while !stop.load(Ordering::Relaxed) {
                    let Some((deb, mirrors)) = lock(&queue).pop_front() else { return };
                    let _ = fetcher.obtain(&want(&deb, &mirrors), &stop, &|_| {});
                    left.fetch_sub(1, Ordering::Relaxed);
                }
            };
            // Without a thread there is nothing in the background, and all is fetched when it is asked for.
            let _ = std::thread::Builder::new().name("prefetch".into()).spawn(work);
        }
        Prefetch { stop, left }
    }

    /// Where a file with this digest is kept.
    fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.inner.folder.join("downloads").join(&name[..2]).join(&name)
    }

    pub(super) fn kept(&self, want: &Want) -> Option<PathBuf> {
        let path = self.path(&want.digest);
        if lock(&self.inner.known).contains(&want.digest) {
            let there = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == want.size);
            return there.then_some(path);
        }
        if !whole(&path, want) {
            return None;
        }
        lock(&self.inner.known).insert(want.digest);
        Some(path)
    }

    /// The file that is wanted, kept or fetched.
    pub(super) fn obtain(
        &self,
        want: &Want,
        stop: &AtomicBool,
        progress: &dyn Fn(u64),
    ) -> Result<PathBuf, Lack> {
        loop {
            if let Some(path) = self.kept(want) {
                progress(want.size);
                return Ok(path);
            }
            if self.inner.offline {
                return Err(Lack::Failed(not_here(&want.name)));
            }
            match self.flight(want).wait(stop, progress) {
                // Whoever else wanted it was stopped.
                Err(Lack::Stopped) if !stop.load(Ordering::Relaxed) => {}
                Ok(path) => {
                    lock(&self.inner.known).insert(want.digest);
                    return Ok(path);
                }
                end => return end,
            }
        }
    }

    /// The flight that brings what is wanted; begun, if there is none yet.
    fn flight(&self, want: &Want) -> Arc<Flight> {
        let mut flights = lock(&self.inner.flights);
        if let Some(flight) = flights.get(&want.digest) {
            flight.waiting.fetch_add(1, Ordering::SeqCst);
            return Arc::clone(flight);
        }
        let flight = Arc::new(Flight { waiting: AtomicUsize::new(1), ..Flight::default() });
        flights.insert(want.digest, Arc::clone(&flight));
        drop(flights);
        let (fetcher, path, own, wanted) =
            (self.clone(), self.path(&want.digest), Arc::clone(&flight), want.clone());
        let work = move || {
            let end = download(&fetcher.inner.client, &wanted, &path, &own.arrived, &own.stop);
            lock(&fetcher.inner.flights).remove(&wanted.digest);
            own.land(end);
        };
        if let Err(error) = std::thread::Builder::new().name("fetch".into()).spawn(work) {
            lock(&self.inner.flights).remove(&want.digest);
            let message = format!("cannot start a thread to fetch `{}`: {error}", want.name);
            flight.land(Err(Lack::Failed(Fault::machine("deb/thread", message))));
        }
        flight
    }
}

impl Flight {
    fn land(&self, end: Result<PathBuf, Lack>) {
        *lock(&self.end) = Some(end);
        self.landed.notify_all();
    }

    fn wait(&self, stop: &AtomicBool, progress: &dyn Fn(u64)) -> Result<PathBuf, Lack> {
        const STEP: Duration = Duration::from_millis(100);
        let mut end = lock(&self.end);
        loop {
            if let Some(end) = end.as_ref() {
                return end.clone();
            }
            if stop.load(Ordering::Relaxed) {
                if self.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
                    self.stop.store(true, Ordering::Relaxed);
                }
                return Err(Lack::Stopped);
            }
            end = self.landed.wait_timeout(end, STEP).unwrap_or_else(PoisonError::into_inner).0;
            progress(self.arrived.load(Ordering::Relaxed));
        }
    }
}

/// Packages that are being fetched in the background; dropped, it ends.
#[derive(Debug)]
pub struct Prefetch {
    stop: Arc<AtomicBool>,
    left: Arc<AtomicUsize>,
}

impl Prefetch {
    /// How many packages have neither come nor failed yet.
    pub fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn want(deb: &Deb, mirrors: &[String]) -> Want {
    Want {
        name: deb.id(),
        size: deb.size,
        digest: deb.digest,
        urls: mirrors.iter().map(|mirror| join(mirror, &deb.path)).collect(),
    }
}

pub(super) fn not_here(name: &str) -> Fault {
    Fault::build(
        "deb/offline",
        format!("cannot fetch `{name}` without the network, and it was not fetched before"),
    )
    .help("build once without `--offline`")
}

/// A lock; who died with it left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// --- indexes ---

/// What an index may be compressed with, the best first, and the ending of its name.
const ENDINGS: [&str; 4] = [".xz", ".zst", ".gz", ""];

impl Fetcher {
    /// The indexes of packages for `arch` and for all that `release` lists for `source`, by component.
    ///
    /// # Errors
    ///
    /// Where a component or the architecture is not in the archive, or no mirror gives an index with its digest.
    pub fn packages(
        &self,
        source: &Source,
        release: &Release,
        arch: &str,
        stop: &AtomicBool,
    ) -> Result<Vec<Index>, Fault> {
        let at = |fault: Fault| match &source.place {
            Some(place) => fault.at(place, "of this source"),
            None => fault,
        };
        let mut indexes = Vec::new();
        for (path, needed) in index_paths(source, release, arch).map_err(at)? {
            if needed || lists(release, &path) {
                indexes.push(self.index(source, release, &path, stop).map_err(at)?);
            }
        }
        Ok(indexes)
    }

    fn index(
        &self,
        source: &Source,
        release: &Release,
        path: &str,
        stop: &AtomicBool,
    ) -> Result<Index, Fault> {
        let shown = format!("{} {path}", source.suite);
        let plain = release.files.get(path).copied();
        if let Some((0, _)) = plain {
            return Index::parse(Vec::new(), &source.name, &shown);
        }
        let text = match plain.and_then(|plain| self.kept_text(plain)) {
            Some(text) => text,
            None => self.fetch_index(source, release, path, stop)?,
        };
        Index::parse(text, &source.name, &shown)
    }

    fn kept_text(&self, (size, digest): (u64, Digest)) -> Option<Vec<u8>> {
        let bytes = fs::read(self.path(&digest)).ok()?;
        (bytes.len() as u64 == size && Digest::of(&bytes) == digest).then_some(bytes)
    }

    /// Fetches an index in the best form that a mirror has, and keeps it as plain text.
    fn fetch_index(
        &self,
        source: &Source,
        release: &Release,
        path: &str,
        stop: &AtomicBool,
    ) -> Result<Vec<u8>, Fault> {
        let mut last = None;
        for ending in ENDINGS {
            let form = format!("{path}{ending}");
            let Some((size, digest)) = release.files.get(&form).copied() else { continue };
            let want = Want {
                name: format!("{} {form}", source.suite),
                size,
                digest,
                urls: index_urls(source, release, &form, &digest),
            };
            match self.obtain(&want, stop, &|_| {}) {
                Ok(file) => return self.unpack(&want.name, &file, release.files.get(path).copied()),
                Err(Lack::NotFound(fault)) => last = Some(fault),
                Err(lack) => return Err(lack.fault()),
            }
        }
        Err(last.unwrap_or_else(|| no_index(source, path)))
    }

    /// The plain text of a fetched index; of `plain` it must be, if the Release file says.
    fn unpack(&self, name: &str, file: &Path, plain: Option<(u64, Digest)>) -> Result<Vec<u8>, Fault> {
        use std::io::Read as _;
        const LARGEST: u64 = 1 << 30;
        let limit = plain.map_or(LARGEST, |(size, _)| size.min(LARGEST));
        let read = || -> std::io::Result<Vec<u8>> {
            let mut text = Vec::with_capacity(usize::try_from(limit.min(64 << 20)).unwrap_or(0));
            let reader = crate::codec::reader(fs::File::open(file)?)?;
            reader.take(limit + 1).read_to_end(&mut text)?;
            Ok(text)
        };
        let wrong = |reason: &str| {
            Fault::build("deb/index", format!("cannot read the index `{name}`: {reason}"))
                .help("name another mirror, or tell those who run the repository")
        };
        let text = read().map_err(|error| wrong(&crate::fault::reason(&error)))?;
        let Some((size, digest)) = plain else {
            return if text.len() as u64 > limit { Err(wrong("it is too large")) } else { Ok(text) };
        };
        if text.len() as u64 != size || Digest::of(&text) != digest {
            return Err(wrong("it is not what the Release file says"));
        }
        let kept = self.path(&digest);
        if kept != file {
            crate::store::write_whole(&kept, &text)?;
            let _ = fs::remove_file(file);
        }
        Ok(text)
    }
}

/// The paths of the indexes below the suite's folder, without an ending, and whether each must be there.
fn index_paths(source: &Source, release: &Release, arch: &str) -> Result<Vec<(String, bool)>, Fault> {
    if source.suite.ends_with('/') {
        return Ok(vec![("Packages".into(), true)]);
    }
    let known = &release.architectures;
    if !known.is_empty() && !known.iter().any(|name| name == arch) {
        let message = format!("suite `{}` has no packages for `{arch}`", source.suite);
        return Err(Fault::error("deb/arch", message).help(format!("it has {}", crate::wording::all(known))));
    }
    let mut paths = Vec::new();
    for component in &source.components {
        let path = |arch: &str| format!("{component}/binary-{arch}/Packages");
        if !lists(release, &path(arch)) {
            let message = format!("suite `{}` has no component `{component}`", source.suite);
            let names = release.components.iter().map(String::as_str);
            let help = crate::wording::suggest(component, names);
            return Err(Fault::error("deb/component", message).maybe_help(help));
        }
        paths.push((path(arch), true));
        if release.all_apart {
            paths.push((path("all"), false));
        }
    }
    Ok(paths)
}

fn lists(release: &Release, path: &str) -> bool {
    ENDINGS.iter().any(|ending| release.files.contains_key(&format!("{path}{ending}")))
}

fn no_index(source: &Source, path: &str) -> Fault {
    Fault::build("deb/index", format!("the Release file of `{}` lists no index `{path}`", source.suite))
        .help("name another suite, or tell those who run the repository")
}

/// Where the index at `path` may be: by its digest, where the archive has that, and by its name.
fn index_urls(source: &Source, release: &Release, path: &str, digest: &Digest) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let mut urls = Vec::new();
    for mirror in &source.mirrors {
        if release.by_hash {
            urls.push(join(mirror, &suite_path(source, &format!("{folder}by-hash/SHA256/{digest}"))));
        }
        urls.push(join(mirror, &suite_path(source, path)));
    }
    urls
}

/// The path of a file of the suite below the mirror.
pub(super) fn suite_path(source: &Source, path: &str) -> String {
    match source.suite.strip_suffix('/') {
        Some("" | ".") => path.into(),
        Some(folder) => format!("{}/{path}", folder.trim_start_matches("./").trim_start_matches('/')),
        None => format!("dists/{}/{path}", source.suite),
    }
}

/// Runs `work` in a thread of its own and waits for it, or for `stop`.
pub(super) fn aside<T: Send + 'static>(
    stop: &AtomicBool,
    work: impl FnOnce(&AtomicBool) -> Result<T, Lack> + Send + 'static,
) -> Result<T, Lack> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let gone = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&gone);
    let started = std::thread::Builder::new().name("fetch".into()).spawn(move || {
        let _ = sender.send(work(&theirs));
    });
    started.map_err(|error| {
        let message = format!("cannot start a thread to fetch: {error}");
        Lack::Failed(Fault::machine("deb/thread", message))
    })?;
    loop {
        match receiver.recv_timeout(Duration::from_millis(50)) {
            Ok(result) => return result,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) if !stop.load(Ordering::Relaxed) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                gone.store(true, Ordering::Relaxed);
                return Err(Lack::Stopped);
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return Err(Lack::Failed(stopped())),
        }
    }
}

pub(super) use download::pause;
