//! Fetching Release files: signed by a key that is known, of its time, and never older than the one seen last.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Source;
use super::download::Lack;
use super::fetch::{Fetcher, Inner, aside, not_here, pause, suite_path};
use super::http::{Failure, Kind, join, shown};
use super::openpgp::{Keyring, Signed};
use super::release::Release;
use crate::fault::Fault;
use crate::key::Digest;
use crate::store::{clock, write_whole};

/// A Release file as it was fetched: with its signature in it, or beside it.
enum Bytes {
    Together(Vec<u8>),
    Apart(Vec<u8>, Vec<u8>),
}

impl Fetcher {
    /// The Release file of `source`. One that was fetched within the last hour, or at any time when offline, is used
    /// again unless `refresh` is set; its signature is checked again.
    ///
    /// # Errors
    ///
    /// Where no mirror has one that is signed by a key of the source's keyring, is of the suite that is asked for, has
    /// not expired, and is not older than the one seen last; or `stop` was set.
    pub fn release(&self, source: &Source, refresh: bool, stop: &AtomicBool) -> Result<Release, Fault> {
        self.find_release(source, refresh, stop).map_err(|fault| match &source.place {
            Some(place) => fault.at(place, "of this source"),
            None => fault,
        })
    }

    fn find_release(&self, source: &Source, refresh: bool, stop: &AtomicBool) -> Result<Release, Fault> {
        let keyring = keyring(source)?;
        let folder = self.release_folder(source);
        let now = clock::seconds();
        let kept = Bytes::kept(&folder).and_then(|bytes| bytes.open(&keyring, now).ok());
        if self.inner.offline {
            // It may have expired since: that no newer one is asked for is meant.
            let lagging = Source { check_valid_until: false, ..source.clone() };
            let usable = kept.filter(|release| release.check(&lagging, now).is_ok());
            return usable.ok_or_else(|| not_here(&format!("the Release file of {}", source.name)));
        }
        if !refresh
            && is_fresh(&folder, now)
            && let Some(release) = kept.as_ref().filter(|release| release.check(source, now).is_ok())
        {
            return Ok(release.clone());
        }
        let mut faults = Vec::new();
        for mirror in &source.mirrors {
            let found = self.fetch_release(source, mirror, &keyring, stop).and_then(|(bytes, release)| {
                release.check(source, now)?;
                check_newer(&release, kept.as_ref(), source, mirror)?;
                bytes.keep(&folder)?;
                Ok(release)
            });
            match found {
                Ok(release) => return Ok(release),
                Err(fault) if stop.load(Ordering::Relaxed) => return Err(fault),
                Err(fault) => faults.push(fault),
            }
        }
        Err(together(faults, source))
    }

    fn fetch_release(
        &self,
        source: &Source,
        mirror: &str,
        keyring: &Keyring,
        stop: &AtomicBool,
    ) -> Result<(Bytes, Release), Fault> {
        let url = |name: &str| join(mirror, &suite_path(source, name));
        let get = |name: &str| self.text(url(name), stop);
        let (bytes, name) = match get("InRelease") {
            Ok(bytes) => (Bytes::Together(bytes), "InRelease"),
            Err(Lack::NotFound(_)) => {
                let release = get("Release").map_err(Lack::fault)?;
                let unsigned = |lack| match lack {
                    Lack::NotFound(_) => {
                        refused(&url("Release"), "it is not signed: there is no `Release.gpg`")
                    }
                    other => other.fault(),
                };
                (Bytes::Apart(release, get("Release.gpg").map_err(unsigned)?), "Release")
            }
            Err(lack) => return Err(lack.fault()),
        };
        let release = bytes.open(keyring, clock::seconds()).map_err(|reason| refused(&url(name), &reason))?;
        Ok((bytes, release))
    }

    /// A small file, in memory.
    fn text(&self, url: String, stop: &AtomicBool) -> Result<Vec<u8>, Lack> {
        let inner = Arc::clone(&self.inner);
        aside(stop, move |stop| text(&inner, &url, stop))
    }

    /// Where the Release file seen last is kept; other mirrors are other sources: one may lag behind another.
    fn release_folder(&self, source: &Source) -> PathBuf {
        let key = format!("{}\n{}\n{}", source.name, source.suite, source.mirrors.join("\n"));
        self.inner.folder.join("releases").join(Digest::of(key).short())
    }
}

fn keyring(source: &Source) -> Result<Keyring, Fault> {
    match (&source.keyring, source.name.split(['-', ' ']).next()) {
        (Some(path), _) => Keyring::read(path),
        (None, Some("debian")) => Keyring::debian(),
        (None, Some("ubuntu")) => Keyring::ubuntu(),
        (None, _) => {
            let message = format!("the repository `{}` names no key that signs it", source.name);
            Err(Fault::error("deb/no-key", message)
                .help("name the file with its public key: `keyring=\"…\"`"))
        }
    }
}

impl Bytes {
    /// What the signature is of, if it is good.
    fn open(&self, keyring: &Keyring, now: i64) -> Result<Release, String> {
        let Signed { text, key } = match self {
            Bytes::Together(message) => keyring.open(message, now)?,
            Bytes::Apart(release, signature) => keyring.verify(release, signature, now)?,
        };
        Release::parse(text, key)
    }

    fn kept(folder: &Path) -> Option<Bytes> {
        let read = |name: &str| fs::read(folder.join(name)).ok();
        match read("InRelease") {
            Some(message) => Some(Bytes::Together(message)),
            None => Some(Bytes::Apart(read("Release")?, read("Release.gpg")?)),
        }
    }

    fn keep(&self, folder: &Path) -> Result<(), Fault> {
        let gone = |names: &[&str]| names.iter().for_each(|name| drop(fs::remove_file(folder.join(name))));
        match self {
            Bytes::Together(message) => {
                write_whole(&folder.join("InRelease"), message)?;
                gone(&["Release", "Release.gpg"]);
            }
            Bytes::Apart(release, signature) => {
                write_whole(&folder.join("Release.gpg"), signature)?;
                write_whole(&folder.join("Release"), release)?;
                gone(&["InRelease"]);
            }
        }
        Ok(())
    }
}

/// Whether what is kept was fetched within the last hour.
fn is_fresh(folder: &Path, now: i64) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    const AN_HOUR: i64 = 3600;
    let made = ["InRelease", "Release"].iter().find_map(|name| fs::metadata(folder.join(name)).ok());
    made.is_some_and(|metadata| (0..AN_HOUR).contains(&(now - metadata.mtime())))
}

fn check_newer(
    release: &Release,
    kept: Option<&Release>,
    source: &Source,
    mirror: &str,
) -> Result<(), Fault> {
    match kept {
        Some(kept) if kept.date > release.date => {
            let message = format!(
                "{} gives an older Release file of `{}` than it gave before: it lags, or somebody replays it",
                shown(mirror),
                source.suite
            );
            Err(Fault::build("deb/replay", message).help(
                "try again later, name another mirror, or use what was fetched before with `--offline`",
            ))
        }
        _ => Ok(()),
    }
}

fn refused(url: &str, reason: &str) -> Fault {
    Fault::build("deb/signature", format!("{} is refused: {reason}", shown(url)))
        .help("name another mirror, or the key that signs this one (`keyring=\"…\"`)")
}

/// Several mirrors' faults as one.
fn together(faults: Vec<Fault>, source: &Source) -> Fault {
    let others = faults.len().saturating_sub(1);
    match faults.into_iter().next() {
        Some(fault) if others == 0 => fault,
        Some(mut fault) => {
            let mirrors = crate::wording::count(others, "mirror");
            fault.message = format!("{} (and {mirrors} more did not help)", fault.message);
            fault
        }
        None => Fault::error("deb/no-mirror", format!("there is no mirror for `{}`", source.name))
            .help("name a mirror"),
    }
}

/// The largest Release file.
const LARGEST: u64 = 16 << 20;

fn text(inner: &Inner, url: &str, stop: &AtomicBool) -> Result<Vec<u8>, Lack> {
    const TRIES: u32 = 3;
    let mut last = Failure::new(Kind::Lasting, "it was not tried");
    for attempt in 0..TRIES {
        if attempt > 0 {
            pause(inner.client.patience().pause * attempt, stop)?;
        }
        match text_once(inner, url, stop) {
            Ok(text) => return Ok(text),
            Err(failure) => last = failure,
        }
        if last.kind != Kind::Passing {
            break;
        }
    }
    let message = format!("cannot fetch {}: {}", shown(url), last.reason);
    if last.kind == Kind::NotFound {
        let help = "check the suite's name and the mirror's URL";
        return Err(Lack::NotFound(Fault::build("deb/not-found", message).help(help)));
    }
    let help = "check the network, name another mirror, or use what was fetched before with `--offline`";
    Err(Lack::Failed(Fault::build("deb/fetch", message).help(help)))
}

fn text_once(inner: &Inner, url: &str, stop: &AtomicBool) -> Result<Vec<u8>, Failure> {
    let mut answer = inner.client.get(url, 0)?;
    let mut text = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(Failure::new(Kind::Lasting, "fetching was stopped"));
        }
        let read = answer.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        text.extend_from_slice(&buffer[..read]);
        if text.len() as u64 > LARGEST {
            return Err(Failure::new(Kind::Lasting, "it is too large"));
        }
    }
    match answer.length {
        Some(length) if length != text.len() as u64 => Err(Failure::new(Kind::Passing, "it ended too early")),
        _ => Ok(text),
    }
}
