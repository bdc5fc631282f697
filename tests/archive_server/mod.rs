//! A small archive that a test makes, signs and serves: packages, indexes, Release files, keys, and an HTTP server that
//! can be told to misbehave.

#![allow(dead_code, unused_imports, reason = "each test that has this module uses a part of it")]

pub mod key;
pub mod server;

use std::collections::BTreeMap;
use std::io::Write as _;

use imgbuild::deb::Source;
use imgbuild::key::Digest;
pub use key::Key;
pub use server::{Reply, Request, Server};

/// Files by their path below the mirror.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What a member of a package, or an index, is compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gz,
    /// xz.
    Xz,
    /// Zstandard.
    Zst,
}

impl Compression {
    /// The ending of a file's name.
    pub fn ending(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gz => ".gz",
            Compression::Xz => ".xz",
            Compression::Zst => ".zst",
        }
    }

    /// The bytes, compressed.
    pub fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Compression::None => bytes.to_vec(),
            Compression::Gz => {
                let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                writer.write_all(bytes).unwrap();
                writer.finish().unwrap()
            }
            Compression::Xz => {
                let mut writer = xz2::write::XzEncoder::new(Vec::new(), 0);
                writer.write_all(bytes).unwrap();
                writer.finish().unwrap()
            }
            Compression::Zst => zstd::stream::encode_all(bytes, 1).unwrap(),
        }
    }
}

/// What a package puts into the image.
#[derive(Clone, Debug)]
pub enum Content {
    /// A folder.
    Folder,
    /// A file.
    File(Vec<u8>),
    /// A symbolic link.
    Link(String),
}

/// A package to be made.
#[derive(Clone, Debug)]
pub struct Deb {
    /// Its control file, with at least Package, Version and Architecture.
    pub control: String,
    /// Its files: path without a slash at the start, mode, content.
    pub files: Vec<(String, u32, Content)>,
    /// Other control members: `postinst`, `conffiles`, …
    pub scripts: Vec<(String, String)>,
    /// Of its tars.
    pub compression: Compression,
    /// The component that it is in.
    pub component: String,
}

impl Deb {
    /// A package without files; `more` are further lines of its control file.
    pub fn new(name: &str, version: &str, arch: &str, more: &str) -> Deb {
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {arch}\nMaintainer: Test <test@localhost>\n{more}Description: test\n of {name}\n"
        );
        Deb {
            control,
            files: Vec::new(),
            scripts: Vec::new(),
            compression: Compression::Xz,
            component: "main".into(),
        }
    }

    /// With a file.
    pub fn file(mut self, path: &str, mode: u32, text: impl AsRef<[u8]>) -> Deb {
        self.files.push((path.into(), mode, Content::File(text.as_ref().to_vec())));
        self
    }

    /// With a symbolic link.
    pub fn link(mut self, path: &str, target: &str) -> Deb {
        self.files.push((path.into(), 0o777, Content::Link(target.into())));
        self
    }

    /// With a maintainer script, or another control member.
    pub fn script(mut self, name: &str, text: &str) -> Deb {
        self.scripts.push((name.into(), text.into()));
        self
    }

    /// With its tars compressed so.
    pub fn packed(mut self, compression: Compression) -> Deb {
        self.compression = compression;
        self
    }

    /// In another component.
    pub fn component(mut self, component: &str) -> Deb {
        self.component = component.into();
        self
    }

    /// A field of its control file.
    pub fn field(&self, name: &str) -> &str {
        let line = self.control.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default()
    }

    /// Where its file is in the archive.
    pub fn path(&self) -> String {
        let (name, arch) = (self.field("Package"), self.field("Architecture"));
        let version = self.field("Version");
        let version = version.split_once(':').map_or(version, |(_, rest)| rest);
        format!("pool/{}/{}/{name}/{name}_{version}_{arch}.deb", self.component, &name[..1])
    }

    /// The bytes of the .deb (deb(5)).
    pub fn build(&self) -> Vec<u8> {
        let mut control =
            vec![("./control".to_string(), 0o644, Content::File(self.control.clone().into_bytes()))];
        for (name, text) in &self.scripts {
            let plain = ["conffiles", "triggers", "shlibs", "symbols", "md5sums"].contains(&name.as_str());
            let mode = if plain { 0o644 } else { 0o755 };
            control.push((format!("./{name}"), mode, Content::File(text.clone().into_bytes())));
        }
        let mut data: Vec<(String, u32, Content)> = Vec::new();
        for (path, mode, content) in &self.files {
            for (at, _) in path.match_indices('/') {
                let folder = format!("./{}/", &path[..at]);
                if !data.iter().any(|(known, ..)| *known == folder) {
                    data.push((folder, 0o755, Content::Folder));
                }
            }
            data.push((format!("./{path}"), *mode, content.clone()));
        }
        let ending = self.compression.ending();
        let members = [
            ("debian-binary".to_string(), b"2.0\n".to_vec()),
            (format!("control.tar{ending}"), self.compression.pack(&tar(&control))),
            (format!("data.tar{ending}"), self.compression.pack(&tar(&data))),
        ];
        ar(&members)
    }

    /// Its stanza in an index, for the file `bytes` at `path`.
    pub fn stanza(&self, path: &str, bytes: &[u8]) -> String {
        let digest = Digest::of(bytes);
        format!("{}Filename: {path}\nSize: {}\nSHA256: {digest}\n", self.control, bytes.len())
    }
}

fn tar(entries: &[(String, u32, Content)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut root = header(tar::EntryType::Directory, 0o755, 0);
    tar.append_data(&mut root, "./", std::io::empty()).unwrap();
    for (path, mode, content) in entries {
        match content {
            Content::Folder => {
                tar.append_data(&mut header(tar::EntryType::Directory, *mode, 0), path, std::io::empty())
                    .unwrap();
            }
            Content::File(bytes) => {
                let mut header = header(tar::EntryType::Regular, *mode, bytes.len() as u64);
                tar.append_data(&mut header, path, bytes.as_slice()).unwrap();
            }
            Content::Link(target) => {
                tar.append_link(&mut header(tar::EntryType::Symlink, *mode, 0), path, target).unwrap();
            }
        }
    }
    tar.into_inner().unwrap()
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(1_700_000_000);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root").unwrap();
    header.set_groupname("root").unwrap();
    header
}

/// An ar archive (deb(5) says which of its dialects).
fn ar(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        writeln!(
            bytes,
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`",
            1_700_000_000,
            0,
            0,
            100_644,
            content.len()
        )
        .unwrap();
        bytes.extend_from_slice(content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

/// An archive to be made.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The suite's folder below `dists`; with a slash at its end, a flat repository's folder.
    pub suite: String,
    /// What the Release file says of itself, apart from what follows.
    pub head: String,
    /// Seconds since 1970.
    pub date: i64,
    /// Seconds since 1970.
    pub valid_until: Option<i64>,
    /// Whether indexes are there by their digest, too.
    pub by_hash: bool,
    /// The architectures that there are indexes of.
    pub arches: Vec<String>,
    /// Whether packages for all architectures are in an index of their own only.
    pub all_apart: bool,
    /// The forms in which indexes are there.
    pub forms: Vec<Compression>,
    /// The packages.
    pub debs: Vec<Deb>,
}

impl Archive {
    /// An archive of today, laid out as Debian's.
    pub fn debian(suite: &str, debs: Vec<Deb>) -> Archive {
        Archive {
            suite: suite.into(),
            head: format!("Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: {suite}\n"),
            date: imgbuild::store::clock::seconds() - 3600,
            valid_until: None,
            by_hash: true,
            arches: vec!["amd64".into()],
            all_apart: false,
            forms: vec![Compression::Xz, Compression::Gz],
            debs,
        }
    }

    /// An archive of today, laid out as Ubuntu's.
    pub fn ubuntu(suite: &str, debs: Vec<Deb>) -> Archive {
        let head =
            format!("Origin: Ubuntu\nLabel: Ubuntu\nSuite: {suite}\nVersion: 24.04\nCodename: {suite}\n");
        Archive { head, arches: vec!["amd64".into(), "i386".into()], ..Archive::debian(suite, debs) }
    }

    /// A flat repository in `folder`, as third parties have them.
    pub fn flat(folder: &str, debs: Vec<Deb>) -> Archive {
        let head = String::from("Origin: Third\nLabel: Third\n");
        let forms = vec![Compression::None, Compression::Gz];
        Archive { head, forms, by_hash: false, ..Archive::debian(&format!("{folder}/"), debs) }
    }

    /// All its files, with the Release file signed by `key`: InRelease, and Release with Release.gpg.
    pub fn build(&self, key: &Key) -> Files {
        let mut files = self.unsigned();
        let path = |name: &str| format!("{}{name}", self.folder());
        let release = String::from_utf8(files[&path("Release")].clone()).unwrap();
        files.insert(path("InRelease"), key.clear_sign(&release));
        files.insert(path("Release.gpg"), key.sign(release.as_bytes()));
        files
    }

    /// All its files without signatures.
    pub fn unsigned(&self) -> Files {
        let mut files = Files::new();
        let mut indexes: BTreeMap<String, String> = BTreeMap::new();
        for component in self.components() {
            for arch in &self.arches {
                indexes.insert(self.index(&component, arch), String::new());
            }
            if self.all_apart {
                indexes.insert(self.index(&component, "all"), String::new());
            }
        }
        for deb in &self.debs {
            let bytes = deb.build();
            let path = deb.path();
            let arch = deb.field("Architecture");
            let everywhere = arch == "all" && !self.all_apart && !self.is_flat();
            let arches = if everywhere { self.arches.clone() } else { vec![arch.to_string()] };
            for arch in arches {
                let text = indexes.entry(self.index(&deb.component, &arch)).or_default();
                text.push_str(&deb.stanza(&path, &bytes));
                text.push('\n');
            }
            files.insert(path, bytes);
        }
        let mut sums = String::new();
        for (path, text) in &indexes {
            // Archives list the plain form whether they have it or not.
            let forms = self.forms.iter().copied().chain([Compression::None]);
            for form in forms.collect::<std::collections::BTreeSet<_>>() {
                let bytes = form.pack(text.as_bytes());
                let name = format!("{path}{}", form.ending());
                let digest = Digest::of(&bytes);
                sums.push_str(&format!(" {digest} {} {name}\n", bytes.len()));
                if self.forms.contains(&form) {
                    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                    if self.by_hash {
                        files.insert(
                            format!("{}{folder}/by-hash/SHA256/{digest}", self.folder()),
                            bytes.clone(),
                        );
                    }
                    files.insert(format!("{}{name}", self.folder()), bytes);
                }
            }
        }
        files.insert(format!("{}Release", self.folder()), self.release(&sums).into_bytes());
        files
    }

    /// The source that reads this archive from `mirrors`.
    pub fn source(&self, name: &str, mirrors: &[&str], keyring: Option<&std::path::Path>) -> Source {
        Source {
            name: name.into(),
            mirrors: mirrors.iter().map(|mirror| (*mirror).to_string()).collect(),
            suite: self.suite.clone(),
            components: if self.is_flat() { Vec::new() } else { self.components() },
            keyring: keyring.map(std::path::Path::to_path_buf),
            check_valid_until: true,
            place: None,
        }
    }

    /// The suite's folder below the mirror, with a slash at its end.
    pub fn folder(&self) -> String {
        if self.is_flat() {
            self.suite.trim_start_matches("./").into()
        } else {
            format!("dists/{}/", self.suite)
        }
    }

    fn is_flat(&self) -> bool {
        self.suite.ends_with('/')
    }

    fn components(&self) -> Vec<String> {
        let mut components: Vec<String> = self.debs.iter().map(|deb| deb.component.clone()).collect();
        components.push("main".into());
        components.sort();
        components.dedup();
        components
    }

    fn index(&self, component: &str, arch: &str) -> String {
        if self.is_flat() { "Packages".into() } else { format!("{component}/binary-{arch}/Packages") }
    }

    fn release(&self, sums: &str) -> String {
        let mut text = self.head.clone();
        text.push_str(&format!("Date: {}\n", date(self.date)));
        if let Some(until) = self.valid_until {
            text.push_str(&format!("Valid-Until: {}\n", date(until)));
        }
        if self.by_hash {
            text.push_str("Acquire-By-Hash: yes\n");
        }
        if !self.is_flat() {
            if !self.all_apart {
                text.push_str("No-Support-for-Architecture-all: Packages\n");
            }
            text.push_str(&format!("Architectures: all {}\n", self.arches.join(" ")));
            text.push_str(&format!("Components: {}\n", self.components().join(" ")));
        }
        text.push_str("Description: test - with a dash\nSHA256:\n");
        text.push_str(sums);
        text
    }
}

impl PartialOrd for Compression {
    fn partial_cmp(&self, other: &Compression) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Compression {
    fn cmp(&self, other: &Compression) -> std::cmp::Ordering {
        self.ending().cmp(other.ending())
    }
}

/// Seconds since 1970 as archives write them.
pub fn date(seconds: i64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let (mut year, mut left) = (1970, days);
    while left >= 365 + i64::from(is_leap(year)) {
        left -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let mut month = 0;
    for length in [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!(
        "{}, {:02} {} {year} {:02}:{:02}:{:02} UTC",
        DAYS[usize::try_from(days.rem_euclid(7)).unwrap()],
        left + 1,
        MONTHS[month],
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}
