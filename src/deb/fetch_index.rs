//! Fetching indexes of packages: by the digest that the Release file has, in the best form that a mirror has.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::Source;
use super::download::{Lack, Want};
use super::fetch::{Fetcher, suite_path};
use super::http::join;
use super::index::Index;
use super::release::Release;
use crate::fault::Fault;
use crate::key::Digest;

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
    check_arch(source, release, arch)?;
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

/// Whether the suite has packages for `arch`, as far as it says.
pub(super) fn check_arch(source: &Source, release: &Release, arch: &str) -> Result<(), Fault> {
    let known = &release.architectures;
    if source.suite.ends_with('/') || known.is_empty() || known.iter().any(|name| name == arch) {
        return Ok(());
    }
    let message = format!("suite `{}` has no packages for `{arch}`", source.suite);
    Err(Fault::error("deb/arch", message).help(format!("it has {}", crate::wording::all(known))))
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
