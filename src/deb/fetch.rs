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
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::download::{self, Lack, Want, download, stopped, whole};
use super::http::{Client, Patience, join};
use super::release::is_inside;
use super::{Deb, Source};
use crate::fault::Fault;
use crate::key::Digest;
use crate::wording::printable;

/// Fetches; one for a build. Clones share everything.
#[derive(Clone)]
pub struct Fetcher {
    pub(super) inner: Arc<Inner>,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Inner { folder, offline, .. } = &*self.inner;
        out.debug_struct("Fetcher").field("folder", folder).field("offline", offline).finish_non_exhaustive()
    }
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
        // A lock may say anything.
        if !is_inside(&deb.path) {
            let message =
                format!("the path of `{}` leads out of the archive: `{}`", deb.id(), printable(&deb.path));
            return Err(Fault::error("deb/path", message).help("renew the lock with `imgbuild update`"));
        }
        self.obtain(&want(deb, mirrors), stop, progress).map_err(Lack::fault)
    }

    /// The file of `deb`, if it is kept and whole.
    pub fn has(&self, deb: &Deb) -> Option<PathBuf> {
        self.kept(&want(deb, &[]))
    }

    /// Whether a file of that name and size is kept; it is read, to see that it is whole, only when it is used.
    pub fn seems_kept(&self, deb: &Deb) -> bool {
        fs::metadata(self.path(&deb.digest)).is_ok_and(|metadata| metadata.len() == deb.size)
    }

    /// Fetches `debs` in this order, from the mirrors beside each, with `connections` at once, in the background: what
    /// fails is tried again, and told of, by [`Fetcher::deb`]. Ends when the handle is dropped.
    pub fn prefetch(&self, debs: Vec<(Deb, Vec<String>)>, connections: usize) -> Prefetch {
        const MOST: usize = 16;
        let stop = Arc::new(AtomicBool::new(false));
        let left = Arc::new(AtomicUsize::new(debs.len()));
        let bytes = Arc::new(AtomicU64::new(0));
        if self.inner.offline {
            left.store(0, Ordering::Relaxed);
            return Prefetch { stop, left, bytes };
        }
        let queue = Arc::new(Mutex::new(VecDeque::from(debs)));
        for _ in 0..connections.clamp(1, MOST) {
            let (fetcher, queue) = (self.clone(), Arc::clone(&queue));
            let (stop, left, bytes) = (Arc::clone(&stop), Arc::clone(&left), Arc::clone(&bytes));
            let work = move || {
                while !stop.load(Ordering::Relaxed) {
                    let Some((deb, mirrors)) = lock(&queue).pop_front() else { return };
                    let before = std::cell::Cell::new(0);
                    let count = |arrived: u64| {
                        // A file that is begun anew has fewer than before.
                        bytes.fetch_add(arrived.wrapping_sub(before.replace(arrived)), Ordering::Relaxed);
                    };
                    if fetcher.deb(&deb, &mirrors, &stop, &count).is_ok() {
                        count(deb.size);
                    }
                    left.fetch_sub(1, Ordering::Relaxed);
                }
            };
            // Without a thread there is nothing in the background, and all is fetched when it is asked for.
            let _ = std::thread::Builder::new().name("prefetch".into()).spawn(work);
        }
        Prefetch { stop, left, bytes }
    }

    /// Where a file with this digest is kept.
    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
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
                crate::store::touch(&path);
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
            // Nobody may have waited for it any more.
            flight.stop.store(false, Ordering::Relaxed);
            return Arc::clone(flight);
        }
        let flight = Arc::new(Flight { waiting: AtomicUsize::new(1), ..Flight::default() });
        flights.insert(want.digest, Arc::clone(&flight));
        drop(flights);
        let (fetcher, path, own, wanted) =
            (self.clone(), self.path(&want.digest), Arc::clone(&flight), want.clone());
        let work = move || {
            let fetch = || download(&fetcher.inner.client, &wanted, &path, &own.arrived, &own.stop);
            // Whatever happens, nobody must wait for ever.
            let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(fetch)).unwrap_or_else(|_| {
                let message = format!("cannot fetch `{}`: the thread that fetched it broke off", wanted.name);
                Err(Lack::Failed(Fault::build("deb/thread", message)))
            });
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
    bytes: Arc<AtomicU64>,
}

impl Prefetch {
    /// How many bytes have come.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

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
