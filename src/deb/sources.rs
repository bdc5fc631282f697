//! The host's apt sources (sources.list(5)), for who names no mirror.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Source;
use super::stanza::field;
use crate::fault::{self, Place};

/// The sources of `suite` of the distribution `name` (`debian`, `ubuntu`) for `arch`, from the apt configuration in
/// `folder` (`/etc/apt`): the suite's own first, then its updates and its security updates where the host has such.
/// Where the host has other suites of the distribution only, the same mirrors with the suite that is asked for; none
/// if it has none.
pub fn host(folder: &Path, name: &str, suite: &str, arch: &str) -> Vec<Source> {
    let check_valid_until = checks_dates(folder);
    let entries: Vec<Entry> =
        entries(folder).into_iter().filter(|entry| belongs(entry, name, arch)).collect();
    let exact: Vec<&Entry> = entries.iter().filter(|entry| split(&entry.suite).0 == suite).collect();
    let chosen = if exact.iter().any(|entry| split(&entry.suite).1 == Part::Base) {
        exact
    } else {
        entries.iter().collect()
    };
    let mut sources: Vec<Source> = Vec::new();
    for part in [Part::Base, Part::Updates, Part::Security] {
        // These have one suite only.
        if part != Part::Base && ["sid", "unstable", "experimental"].contains(&suite) {
            continue;
        }
        for entry in chosen.iter().filter(|entry| split(&entry.suite).1 == part) {
            add(&mut sources, entry, name, &part.of(suite), check_valid_until);
        }
    }
    sources
}

/// Adds what an entry says of the suite `suite`; to the source that there is already, as another mirror.
fn add(sources: &mut Vec<Source>, entry: &Entry, name: &str, suite: &str, check_valid_until: bool) {
    let archive = if entry.uri.contains("debian-security") { "debian-security" } else { name };
    let called = format!("{archive} {suite}");
    let known = |source: &Source| source.suite == suite && source.keyring == entry.keyring;
    if let Some(source) = sources.iter_mut().find(|source| known(source)) {
        if !source.mirrors.contains(&entry.uri) {
            source.mirrors.push(entry.uri.clone());
        }
        let fresh: Vec<String> = entry
            .components
            .iter()
            .filter(|component| !source.components.contains(component))
            .cloned()
            .collect();
        source.components.extend(fresh);
        source.check_valid_until &= entry.check_valid_until;
        return;
    }
    sources.push(Source {
        name: called,
        mirrors: vec![entry.uri.clone()],
        suite: suite.into(),
        components: entry.components.clone(),
        keyring: entry.keyring.clone(),
        check_valid_until: check_valid_until && entry.check_valid_until,
        place: Some(entry.place.clone()),
    });
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Base,
    Updates,
    Security,
    /// Backports, proposed updates, and what else is not installed from unasked.
    Other,
}

impl Part {
    fn of(self, suite: &str) -> String {
        match self {
            Part::Updates => format!("{suite}-updates"),
            Part::Security => format!("{suite}-security"),
            Part::Base | Part::Other => suite.into(),
        }
    }
}

/// `trixie-updates` in `trixie` and what it is of it.
fn split(suite: &str) -> (&str, Part) {
    let suffixes = [("-updates", Part::Updates), ("-security", Part::Security), ("/updates", Part::Security)];
    let found = suffixes.into_iter().find_map(|(suffix, part)| Some((suite.strip_suffix(suffix)?, part)));
    found.unwrap_or_else(|| match suite.split_once('-') {
        Some((suite, _)) => (suite, Part::Other),
        None => (suite, Part::Base),
    })
}

/// One suite at one URL.
#[derive(Clone, Debug)]
struct Entry {
    uri: String,
    suite: String,
    components: Vec<String>,
    signed_by: Option<PathBuf>,
    /// `signed_by`, unless it is what the distribution brings.
    keyring: Option<PathBuf>,
    check_valid_until: bool,
    place: Place,
}

/// Whether an entry is of the distribution's own archive: third parties also have paths that end in `/debian`, so the
/// keyring decides where one is named; else the path and the component.
fn belongs(entry: &Entry, name: &str, arch: &str) -> bool {
    let path =
        entry.uri.split_once("://").map_or("", |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
    let last = path.rsplit('/').next().unwrap_or_default();
    let intel = ["amd64", "i386"].contains(&arch);
    let fits = match name {
        "debian" => last == "debian" || last == "debian-security" || path.contains("archive/debian"),
        "ubuntu" => (last == "ubuntu" && intel) || (last == "ubuntu-ports" && !intel),
        _ => false,
    };
    let own = entry.signed_by.as_deref().map(|keyring| is_brought(keyring, name));
    let main = entry.components.iter().any(|component| component == "main");
    main && match own {
        Some(true) => fits || name == "debian" || !path.contains("ubuntu"),
        Some(false) => fits && last == path,
        None => fits,
    }
}

/// Whether a keyring is the one of the distribution's archive.
fn is_brought(keyring: &Path, name: &str) -> bool {
    let stem = keyring.file_name().unwrap_or_default().to_string_lossy();
    stem.starts_with(&format!("{name}-archive-"))
}

/// Whether apt itself refuses a Release file that says it has expired.
fn checks_dates(folder: &Path) -> bool {
    let mut files = vec![folder.join("apt.conf")];
    files.extend(listed(&folder.join("apt.conf.d"), &[]));
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    let off = |line: &str| {
        let value = line
            .trim()
            .strip_prefix("Acquire::Check-Valid-Until")?
            .trim()
            .trim_end_matches(';')
            .trim_matches('"');
        Some(is_no(value))
    };
    // What stands last counts.
    !texts.flat_map(|text| text.lines().filter_map(off).collect::<Vec<bool>>()).last().unwrap_or(false)
}

fn is_no(value: &str) -> bool {
    ["no", "false", "0", "off", "without", "disable"].contains(&value.to_ascii_lowercase().as_str())
}

/// The entries of all files, in apt's order.
fn entries(folder: &Path) -> Vec<Entry> {
    let mut files = vec![folder.join("sources.list")];
    files.extend(listed(&folder.join("sources.list.d"), &["list", "sources"]));
    let mut entries = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let source = fault::Source::new(file.display().to_string(), text);
        if file.extension().is_some_and(|extension| extension == "sources") {
            read_stanzas(&source, &mut entries);
        } else {
            read_lines(&source, &mut entries);
        }
    }
    entries
}

/// The files of a folder that apt would read, by name.
fn listed(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.retain(|path| {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        extensions.is_empty() || extensions.contains(&extension)
    });
    files.sort();
    files
}

/// `deb [OPTION=VALUE …] URI SUITE COMPONENT …`, a line each.
fn read_lines(source: &Arc<fault::Source>, entries: &mut Vec<Entry>) {
    let mut start = 0;
    for line in source.text.split_inclusive('\n') {
        let range = start..start + line.trim_end().len();
        start += line.len();
        let text = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = text.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '['])) else {
            continue;
        };
        let rest = rest.trim();
        let (options, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let option = |name: &str| {
            let options = options.split_whitespace().filter_map(|option| option.split_once('='));
            options.filter(|(key, _)| *key == name).map(|(_, value)| value).last()
        };
        let mut words = rest.split_whitespace();
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else { continue };
        let facts = Facts {
            components: words.map(String::from).collect(),
            signed_by: option("signed-by"),
            check_valid_until: option("check-valid-until"),
            place: Place::new(source, range),
        };
        entries.extend(facts.entry(uri, suite));
    }
}

/// Stanzas with `Types`, `URIs`, `Suites`, `Components`.
fn read_stanzas(source: &Arc<fault::Source>, entries: &mut Vec<Entry>) {
    let mut start = 0;
    let (mut stanza, mut range) = (String::new(), 0..0);
    for line in source.text.split_inclusive('\n').chain(["\n"]) {
        let text = line.trim_end();
        if text.is_empty() {
            read_stanza(&stanza, Place::new(source, range.clone()), entries);
            stanza.clear();
        } else if !text.starts_with('#') {
            if stanza.is_empty() {
                range.start = start;
            }
            stanza.push_str(text);
            stanza.push('\n');
            range.end = start + text.len();
        }
        start += line.len();
    }
}

fn read_stanza(stanza: &str, place: Place, entries: &mut Vec<Entry>) {
    let words = |name| field(stanza, name).unwrap_or_default().split_whitespace();
    if !words("Types").any(|kind| kind == "deb") || words("Enabled").any(is_no) {
        return;
    }
    let facts = Facts {
        components: words("Components").map(String::from).collect(),
        signed_by: field(stanza, "Signed-By"),
        check_valid_until: field(stanza, "Check-Valid-Until"),
        place,
    };
    for uri in words("URIs") {
        entries.extend(words("Suites").filter_map(|suite| facts.entry(uri, suite)));
    }
}

/// What an entry says beside its URL and suite.
struct Facts<'a> {
    components: Vec<String>,
    signed_by: Option<&'a str>,
    check_valid_until: Option<&'a str>,
    place: Place,
}

impl Facts<'_> {
    /// None if it cannot be fetched from here.
    fn entry(&self, uri: &str, suite: &str) -> Option<Entry> {
        let uri = match uri.strip_prefix("file:/") {
            Some(path) => format!("file:///{}", path.trim_start_matches('/')),
            None => uri.to_string(),
        };
        if !["http://", "https://", "file://"].iter().any(|scheme| uri.starts_with(scheme)) {
            return None;
        }
        // A key that stands there itself, or a fingerprint, is no file.
        let signed_by =
            self.signed_by.filter(|value| value.starts_with('/') && !value.contains([' ', '\n', ',']));
        let signed_by = signed_by.map(PathBuf::from);
        let brought = |path: &PathBuf| ["debian", "ubuntu"].iter().any(|name| is_brought(path, name));
        Some(Entry {
            uri: uri.trim_end_matches('/').to_string(),
            suite: suite.to_string(),
            components: self.components.clone(),
            keyring: signed_by.clone().filter(|path| !brought(path)),
            signed_by,
            check_valid_until: !self.check_valid_until.is_some_and(is_no),
            place: self.place.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apt(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn told(sources: &[Source]) -> Vec<String> {
        let told = |source: &Source| {
            format!(
                "{} | {} | {} | {}",
                source.name,
                source.suite,
                source.mirrors.join(" "),
                source.components.join(" ")
            )
        };
        sources.iter().map(told).collect()
    }

    const MODERN: &str = "Types: deb deb-src\n# http://old.example/\nURIs: http://a.example/debian/\nSuites: bookworm bookworm-updates\n  bookworm-backports\nComponents: main contrib\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n \nTypes: deb\nURIs: http://a.example/debian-security\nSuites: bookworm-security\nComponents: main\n\nTypes: deb\nURIs: https://third.example/linux/debian\nSuites: bookworm\nComponents: stable\nSigned-By: /etc/apt/keyrings/third.gpg\n\nEnabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\n";

    #[test]
    fn stanzas_are_read() {
        let folder = apt(&[("sources.list.d/debian.sources", MODERN)]);
        let sources = host(folder.path(), "debian", "bookworm", "amd64");
        assert_eq!(
            told(&sources),
            [
                "debian bookworm | bookworm | http://a.example/debian | main contrib",
                "debian bookworm-updates | bookworm-updates | http://a.example/debian | main contrib",
                "debian-security bookworm-security | bookworm-security | http://a.example/debian-security | main",
            ]
        );
        assert!(sources.iter().all(|source| source.keyring.is_none() && source.check_valid_until));
        let place = sources[2].place.as_ref().unwrap();
        assert!(
            place.text().starts_with("Types: deb\nURIs: http://a.example/debian-security"),
            "{}",
            place.text()
        );
        assert!(host(folder.path(), "ubuntu", "noble", "amd64").is_empty());
    }

    #[test]
    fn another_suite_is_derived() {
        let folder = apt(&[("sources.list.d/debian.sources", MODERN)]);
        assert_eq!(
            told(&host(folder.path(), "debian", "trixie", "arm64")),
            [
                "debian trixie | trixie | http://a.example/debian | main contrib",
                "debian trixie-updates | trixie-updates | http://a.example/debian | main contrib",
                "debian-security trixie-security | trixie-security | http://a.example/debian-security | main",
            ]
        );
        assert_eq!(
            told(&host(folder.path(), "debian", "sid", "amd64")),
            ["debian sid | sid | http://a.example/debian | main contrib"]
        );
    }

    #[test]
    fn lines_are_read() {
        let text = "# deb http://no.example/debian trixie main\n\
                    deb [arch=amd64 signed-by=/etc/keys/own.gpg check-valid-until=no] http://b.example/debian/ trixie main # here\n\
                    deb-src http://b.example/debian trixie main\n\
                    deb file:/srv/mirror/debian trixie main\n\
                    deb cdrom:[x]/ trixie main\n\
                    deb http://c.example/debian trixie non-free\n\
                    deb http://d.example/zabbix/debian trixie main\n\
                    deb [signed-by=/z.gpg] http://e.example/zabbix/debian trixie main\n";
        let folder =
            apt(&[("sources.list", text), ("sources.list.d/x.list.off", "deb http://x/debian trixie main")]);
        let sources = host(folder.path(), "debian", "trixie", "amd64");
        assert_eq!(
            told(&sources),
            [
                "debian trixie | trixie | http://b.example/debian | main",
                "debian trixie | trixie | file:///srv/mirror/debian http://d.example/zabbix/debian | main",
            ]
        );
        assert_eq!(sources[0].keyring.as_deref(), Some(Path::new("/etc/keys/own.gpg")));
        assert!(!sources[0].check_valid_until && sources[1].check_valid_until);
        assert_eq!(sources[0].place.as_ref().unwrap().line_column().0, 2);
    }

    #[test]
    fn ubuntu_has_its_ports_elsewhere() {
        let text = "Types: deb\nURIs: http://a.example/ubuntu\nSuites: noble noble-updates noble-backports\nComponents: main universe\nSigned-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg\n\nTypes: deb\nURIs: http://s.example/ubuntu\nSuites: noble-security\nComponents: main\n";
        let folder = apt(&[("sources.list.d/ubuntu.sources", text)]);
        assert_eq!(
            told(&host(folder.path(), "ubuntu", "jammy", "amd64")),
            [
                "ubuntu jammy | jammy | http://a.example/ubuntu | main universe",
                "ubuntu jammy-updates | jammy-updates | http://a.example/ubuntu | main universe",
                "ubuntu jammy-security | jammy-security | http://s.example/ubuntu | main",
            ]
        );
        assert!(host(folder.path(), "debian", "trixie", "amd64").is_empty());
        assert!(host(folder.path(), "ubuntu", "noble", "arm64").is_empty());
    }

    #[test]
    fn apt_may_be_told_not_to_check_dates() {
        let folder = apt(&[
            ("sources.list", "deb http://a.example/debian sid main\n"),
            ("apt.conf.d/99x", "Acquire::Check-Valid-Until \"false\";\n"),
        ]);
        assert!(!host(folder.path(), "debian", "sid", "amd64")[0].check_valid_until);
        fs::write(folder.path().join("apt.conf.d/99y"), "Acquire::Check-Valid-Until \"true\";\n").unwrap();
        assert!(host(folder.path(), "debian", "sid", "amd64")[0].check_valid_until);
    }

    #[test]
    fn no_sources_give_none() {
        assert!(host(Path::new("/nonexistent"), "debian", "trixie", "amd64").is_empty());
    }
}
