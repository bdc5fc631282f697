//! A lock from its text. It may have been edited or merged by hand, so nothing in it is taken on trust.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Lock, Locked, Release, Solution, VERSION, words};
use crate::deb::Deb;
use crate::fault::{Fault, Faults, Place, Source};
use crate::key::Digest;
use crate::lang::field::package::{is_arch, is_version};
use crate::lang::raw::{RawNode, RawValue, from_document};
use crate::lang::value::parse_time;
use crate::lang::{Node, Scope, Spanned, check, syntax};
use crate::wording;

const WAY_OUT: &str = "restore it from version control, or run `imgbuild update` to have it written again";

/// The lock that `bytes` are; `name` is what messages call it.
pub fn lock(name: &str, bytes: Vec<u8>) -> Result<Lock, Faults> {
    let source = syntax::from_bytes(name, bytes)?;
    if let Some(lock) = as_written(&source.text) {
        return Ok(lock);
    }
    if let Some(fault) = conflict(&source) {
        return Err(fault.into());
    }
    let document = syntax::parse(&source)?;
    let raw = from_document(&document, &source.text);
    if let Some(fault) = newer(&raw, &source) {
        return Err(fault.into());
    }
    let mut faults = Faults::new();
    let nodes = check(&raw, &source, words::TOP, &Scope::new(), &mut faults);
    if !nodes.iter().any(|node| node.word.name == words::LOCK.name) && !faults.has_errors() {
        faults.push(versionless(&source));
    }
    let lock = Reader { faults: &mut faults }.lock(&nodes);
    if !faults.has_errors() {
        return Ok(lock);
    }
    Err(faults.list.into_iter().map(|fault| fault.or_help(WAY_OUT)).collect::<Vec<_>>().into())
}

/// The lock of a text that is, letter by letter, what would be written for it: many times faster than by way of
/// KDL, and nothing that is wrong can pass, since that is not what would be written.
pub(super) fn as_written(text: &str) -> Option<Lock> {
    let mut lock = Lock::default();
    for line in text.lines() {
        // Between quotes and outside them, by turns; a quote that is escaped is for the long way.
        let parts: Vec<&str> = line.split('"').collect();
        match *parts.as_slice() {
            ["solution ", id, " {"] => lock.solutions.push(Solution {
                id: id.into(),
                request: Vec::new(),
                releases: Vec::new(),
                packages: Vec::new(),
            }),
            ["    request ", line, ""] => lock.solutions.last_mut()?.request.push(line.into()),
            ["    release ", source, " suite=", suite, " date=", date, ""] => {
                let release = Release { source: source.into(), suite: suite.into(), date: parse_time(date)? };
                lock.solutions.last_mut()?.releases.push(release);
            }
            [
                "    package ",
                name,
                " ",
                version,
                " arch=",
                arch,
                size,
                digest,
                " path=",
                path,
                " source=",
                source,
                ref rest @ ..,
            ] => {
                let size = size.strip_prefix(" size=")?.strip_suffix(" sha256=")?.parse().ok()?;
                let asked = match *rest {
                    [""] => None,
                    [" for=", asked, ""] => Some(String::from(asked)),
                    _ => return None,
                };
                let fits = is_name(name) && is_version(version, false) && is_arch(arch) && is_pool_path(path);
                let deb = Deb {
                    name: name.into(),
                    version: version.into(),
                    arch: arch.into(),
                    size: Some(size).filter(|size| (1..=i64::MAX as u64).contains(size))?,
                    digest: digest.parse().ok().filter(|_| fits)?,
                    path: path.into(),
                    source: source.into(),
                };
                lock.solutions.last_mut()?.packages.push(Locked { deb, asked });
            }
            _ => {}
        }
    }
    let doubled = lock.solutions.windows(2).any(|pair| pair[0].id == pair[1].id)
        || lock.solutions.iter().any(|solution| {
            let key = |locked: &Locked| (locked.deb.name.clone(), locked.deb.arch.clone());
            solution.packages.windows(2).any(|pair| key(&pair[0]) == key(&pair[1]))
        });
    (!doubled && lock.to_text() == text).then_some(lock)
}

/// What git and others leave where two sides changed the same lines.
fn conflict(source: &Arc<Source>) -> Option<Fault> {
    const MARKS: [&str; 3] = ["<<<<<<<", "|||||||", ">>>>>>>"];
    let mut start = 0;
    for line in source.text.split_inclusive('\n') {
        if MARKS.iter().any(|mark| line.starts_with(mark)) {
            let place = Place::new(source, start..start + line.trim_end().len());
            return Some(
                Fault::error("lock/conflict", format!("`{}` holds a conflict of a merge", source.name))
                    .at(&place, "the two sides differ from here on")
                    .help(
                        "take either side (`git checkout --ours`, or `--theirs`), then run `imgbuild update`",
                    ),
            );
        }
        start += line.len();
    }
    None
}

/// A newer imgbuild's lock may have words that are not known here: its version comes first.
fn newer(nodes: &[RawNode], source: &Arc<Source>) -> Option<Fault> {
    let entries = nodes.iter().filter(|node| node.name == words::LOCK.name).flat_map(|node| &node.entries);
    let newer = entries
        .filter(|entry| entry.name.as_ref().is_some_and(|(name, _)| name == "version"))
        .find_map(|entry| match entry.value {
            RawValue::Integer(Some(version)) if version > VERSION => Some((entry, version)),
            _ => None,
        });
    let (entry, version) = newer?;
    let place = Place::new(source, entry.span.0 as usize..entry.span.1 as usize);
    Some(
        Fault::error("lock/newer", format!("`{}` was written by a newer imgbuild", source.name))
            .at(&place, format!("this one knows version {VERSION} of the format, not {version}"))
            .help("use that imgbuild here, too; or remove the lock, and all versions are chosen again"),
    )
}

fn versionless(source: &Arc<Source>) -> Fault {
    Fault::error("lock/version", format!("`{}` does not say which version of the format it has", source.name))
        .at(&Place::new(source, 0..0), format!("`lock version={VERSION}` belongs here"))
}

struct Reader<'a> {
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn lock(&mut self, nodes: &[Node]) -> Lock {
        let mut lock = Lock::default();
        let mut seen = BTreeMap::new();
        for node in nodes.iter().filter(|node| node.word.name == words::SOLUTION.name) {
            let Some(id) = node.text("id") else { continue };
            self.once(&mut seen, format!("the solution `{}`", wording::printable(&id.value)), &id.place);
            lock.solutions.push(self.solution(node, id.value));
        }
        lock
    }

    fn once(&mut self, seen: &mut BTreeMap<String, Place>, what: String, place: &Place) {
        match seen.get(&what) {
            Some(first) => self.faults.push(
                Fault::error("lock/twice", format!("{what} stands here twice"))
                    .at(place, "again")
                    .at(first, "first here"),
            ),
            None => drop(seen.insert(what, place.clone())),
        }
    }

    fn solution(&mut self, node: &Node, id: String) -> Solution {
        let request = node.children(words::REQUEST.name).filter_map(|node| node.text("line"));
        let request = request.map(|line| line.value).collect();
        let releases = node.children(words::RELEASE.name).filter_map(release).collect();
        let mut seen = BTreeMap::new();
        let mut packages = Vec::new();
        for node in node.children(words::PACKAGE.name) {
            let Some(locked) = self.package(node) else { continue };
            let what = format!("`{}:{}`", locked.deb.name, locked.deb.arch);
            self.once(&mut seen, what, &node.place);
            packages.push(locked);
        }
        Solution { id, request, releases, packages }
    }

    fn package(&mut self, node: &Node) -> Option<Locked> {
        let name = self.fitting(node, "name", "a package's name", is_name)?;
        let version = self.fitting(node, "version", "a version", |text| is_version(text, false))?;
        let arch = self.fitting(node, "arch", "an architecture", is_arch)?;
        let digest =
            self.fitting(node, "sha256", "a SHA-256 digest", |text| text.parse::<Digest>().is_ok())?;
        let path = self.fitting(node, "path", "a path below a mirror", is_pool_path)?;
        let source = node.text("source")?.value;
        let size = u64::try_from(node.integer("size")?.value).ok()?;
        let digest = digest.parse().ok()?;
        let asked = node.text("for").map(|asked| asked.value);
        Some(Locked { deb: Deb { name, version, arch, size, digest, path, source }, asked })
    }

    fn fitting(
        &mut self,
        node: &Node,
        field: &str,
        noun: &str,
        fits: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let Spanned { value, place } = node.text(field)?;
        if fits(&value) {
            return Some(value);
        }
        self.faults.push(
            Fault::error("lock/unfit", format!("`{}` is not {noun}", wording::printable(&value)))
                .at(&place, format!("{noun} belongs here")),
        );
        None
    }
}

fn release(node: &Node) -> Option<Release> {
    let (source, suite) = (node.text("source")?.value, node.text("suite")?.value);
    Some(Release { source, suite, date: node.time("date")? })
}

/// As dpkg has it, which takes more than Debian's policy.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+.-_".contains(&byte);
    name.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && name.len() <= 256
        && name.bytes().all(allowed)
}

/// Relative, without `..`, and of characters that stand in a URL as they are.
fn is_pool_path(path: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~-/:%@=,".contains(&byte);
    let part = |part: &str| !part.is_empty() && part != "..";
    path.len() <= 1024 && path.bytes().all(allowed) && path.split('/').all(part)
}
