//! Indexes: what packages an archive has (`Packages`).
//!
//! An index is its text and where in it the stanzas are; a field is looked for when it is asked for.

use std::ops::Range;
use std::sync::Arc;

use memchr::memchr_iter;

use super::release::is_inside;
use super::stanza::{field, has_control};
use super::{Deb, version};
use crate::fault::Fault;
use crate::key::Digest;

/// A Packages file.
#[derive(Clone, Debug)]
pub struct Index {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    text: String,
    stanzas: Vec<Stanza>,
    source: String,
}

/// A stanza; offsets into the text.
#[derive(Clone, Debug, Default)]
struct Stanza {
    all: Range<u32>,
    name: Range<u32>,
    version: Range<u32>,
    arch: Range<u32>,
}

/// One stanza of an [`Index`].
#[derive(Clone, Copy, Debug)]
pub struct Package<'a> {
    index: &'a Index,
    number: usize,
}

/// The largest index, and the largest stanza in one, in bytes.
const LARGEST: usize = 1 << 30;
const LARGEST_STANZA: usize = 1 << 20;
const MOST_STANZAS: usize = 1_000_000;

impl Index {
    /// Reads `text`, the index of the source `source` (its name); `shown` is what messages call the file.
    ///
    /// # Errors
    ///
    /// The first stanza that lacks what every package has, or says something that no archive may say.
    pub fn parse(text: Vec<u8>, source: &str, shown: &str) -> Result<Index, Fault> {
        let refused = |reason: String| {
            Fault::build("deb/index", format!("cannot read the index `{shown}`: {reason}"))
                .help("tell those who run the repository, or leave it out")
        };
        if text.len() > LARGEST {
            return Err(refused("it is too large".into()));
        }
        // Old descriptions are not always UTF-8.
        let text = String::from_utf8(text)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        let stanzas = split(&text).map_err(refused)?;
        Ok(Index { inner: Arc::new(Inner { text, stanzas, source: source.into() }) })
    }

    /// The name of the source that it is of.
    pub fn source(&self) -> &str {
        &self.inner.source
    }

    /// How many packages it has.
    pub fn len(&self) -> usize {
        self.inner.stanzas.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.inner.stanzas.is_empty()
    }

    /// All packages, as they stand.
    pub fn packages(&self) -> impl Iterator<Item = Package<'_>> {
        (0..self.len()).map(|number| Package { index: self, number })
    }

    /// Package `number`, from 0.
    pub fn package(&self, number: usize) -> Option<Package<'_>> {
        (number < self.len()).then_some(Package { index: self, number })
    }

    /// The index with only the packages that are `wanted`, and of them only the fields that apt needs to solve and to
    /// fetch; no descriptions.
    pub fn trimmed(&self, wanted: impl Fn(Package<'_>) -> bool) -> Vec<u8> {
        let mut text = Vec::new();
        for package in self.packages().filter(|package| wanted(*package)) {
            trim(package.stanza().as_bytes(), &mut text);
            text.push(b'\n');
        }
        text
    }
}

/// Copies the fields that are needed, line by line.
fn trim(stanza: &[u8], out: &mut Vec<u8>) {
    let (mut start, mut keeps) = (0, false);
    let ends = memchr_iter(b'\n', stanza).map(|at| at + 1);
    let last = (!stanza.ends_with(b"\n")).then_some(stanza.len());
    for end in ends.chain(last) {
        let line = &stanza[start..end];
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            keeps = line.iter().position(|byte| *byte == b':').is_some_and(|colon| is_needed(&line[..colon]));
        }
        if keeps {
            out.extend_from_slice(line);
            if !line.ends_with(b"\n") {
                out.push(b'\n');
            }
        }
        start = end;
    }
}

fn is_needed(name: &[u8]) -> bool {
    matches!(
        name,
        b"Package"
            | b"Version"
            | b"Architecture"
            | b"Multi-Arch"
            | b"Essential"
            | b"Protected"
            | b"Important"
            | b"Priority"
            | b"Section"
            | b"Source"
            | b"Depends"
            | b"Pre-Depends"
            | b"Recommends"
            | b"Suggests"
            // apt tells versions apart by it, and by what they depend on.
            | b"Installed-Size"
            | b"Provides"
            | b"Conflicts"
            | b"Breaks"
            | b"Replaces"
            | b"Enhances"
            | b"Task"
            | b"Filename"
            | b"Size"
            | b"SHA256"
    )
}

impl<'a> Package<'a> {
    /// Its name.
    pub fn name(self) -> &'a str {
        self.part(|stanza| &stanza.name)
    }

    /// Its version.
    pub fn version(self) -> &'a str {
        self.part(|stanza| &stanza.version)
    }

    /// Its architecture, or `all`.
    pub fn arch(self) -> &'a str {
        self.part(|stanza| &stanza.arch)
    }

    /// The whole stanza, each line with its end.
    pub fn stanza(self) -> &'a str {
        self.part(|stanza| &stanza.all)
    }

    /// The name of the source that has it.
    pub fn source(self) -> &'a str {
        self.index.source()
    }

    /// A field's value; empty if there is none.
    pub fn field(self, name: &str) -> &'a str {
        field(self.stanza(), name).unwrap_or_default()
    }

    /// `same`, `foreign`, `allowed`, or nothing.
    pub fn multi_arch(self) -> &'a str {
        self.field("Multi-Arch")
    }

    /// Whether it is marked `Essential: yes`.
    pub fn essential(self) -> bool {
        self.field("Essential") == "yes"
    }

    /// `required`, `important`, `standard`, `optional` or `extra`.
    pub fn priority(self) -> &'a str {
        self.field("Priority")
    }

    /// Its section: `utils`, `non-free/games`.
    pub fn section(self) -> &'a str {
        self.field("Section")
    }

    /// What it needs to run, as it is written.
    pub fn depends(self) -> &'a str {
        self.field("Depends")
    }

    /// What it needs to be unpacked, as it is written.
    pub fn pre_depends(self) -> &'a str {
        self.field("Pre-Depends")
    }

    /// What it is rarely without, as it is written.
    pub fn recommends(self) -> &'a str {
        self.field("Recommends")
    }

    /// What it stands for, as it is written.
    pub fn provides(self) -> &'a str {
        self.field("Provides")
    }

    /// What it cannot be unpacked beside, as it is written.
    pub fn conflicts(self) -> &'a str {
        self.field("Conflicts")
    }

    /// What it cannot be configured beside, as it is written.
    pub fn breaks(self) -> &'a str {
        self.field("Breaks")
    }

    /// What its files may replace files of, as it is written.
    pub fn replaces(self) -> &'a str {
        self.field("Replaces")
    }

    /// The tasks that it belongs to.
    pub fn tasks(self) -> impl Iterator<Item = &'a str> {
        self.field("Task").split(',').map(str::trim).filter(|task| !task.is_empty())
    }

    /// Where its file is, below the mirror.
    pub fn filename(self) -> &'a str {
        self.field("Filename")
    }

    /// Bytes of its file.
    pub fn size(self) -> u64 {
        self.field("Size").parse().unwrap_or(0)
    }

    /// SHA-256 of its file.
    pub fn sha256(self) -> Digest {
        // It was read once before.
        self.field("SHA256").parse().unwrap_or(Digest::from_bytes([0; 32]))
    }

    /// What a lock or the fetcher needs to know of it.
    pub fn to_deb(self) -> Deb {
        Deb {
            name: self.name().into(),
            version: self.version().into(),
            arch: self.arch().into(),
            size: self.size(),
            digest: self.sha256(),
            path: self.filename().trim_start_matches("./").into(),
            source: self.source().into(),
        }
    }

    fn part(self, range: impl Fn(&Stanza) -> &Range<u32>) -> &'a str {
        let inner = &self.index.inner;
        let range = inner.stanzas.get(self.number).map(range);
        range.and_then(|range| inner.text.get(range.start as usize..range.end as usize)).unwrap_or_default()
    }
}

/// A stanza while its lines are read, and which of the fields that it must have were there.
#[derive(Default)]
struct Reading {
    stanza: Stanza,
    seen: u8,
    /// Whether control characters do not matter where we are.
    free: bool,
}

const NAME: u8 = 1;
const VERSION: u8 = 2;
const ARCH: u8 = 4;
const FILENAME: u8 = 8;
const SIZE: u8 = 16;
const SHA256: u8 = 32;

fn split(text: &str) -> Result<Vec<Stanza>, String> {
    let bytes = text.as_bytes();
    let mut stanzas = Vec::with_capacity(bytes.len() / 800);
    let (mut start, mut reading) = (0, None);
    let last = (!bytes.ends_with(b"\n")).then_some(bytes.len());
    for end in memchr_iter(b'\n', bytes).chain(last) {
        let line = start..end;
        start = end + 1;
        if line.is_empty() {
            stanzas.extend(reading.take().map(|reading| finish(text, reading)).transpose()?);
            if stanzas.len() > MOST_STANZAS {
                return Err("it has too many packages".into());
            }
            continue;
        }
        let next = (end + 1).min(bytes.len());
        let reading: &mut Reading = reading.get_or_insert_default();
        if reading.stanza.all.is_empty() {
            reading.stanza.all.start = offset(line.start);
        }
        reading.stanza.all.end = offset(next);
        if reading.stanza.all.len() > LARGEST_STANZA {
            return Err("a stanza is too large".into());
        }
        read_line(text, line, reading)?;
    }
    stanzas.extend(reading.take().map(|reading| finish(text, reading)).transpose()?);
    Ok(stanzas)
}

/// The text is shorter than what a `u32` can count.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn read_line(text: &str, line: Range<usize>, reading: &mut Reading) -> Result<(), String> {
    let bytes = &text.as_bytes()[line.clone()];
    let goes_on = matches!(bytes.first(), Some(b' ' | b'\t'));
    if !goes_on {
        reading.free = bytes.starts_with(b"Description");
    }
    if !reading.free && has_control(bytes) {
        return Err(format!("{} holds control characters", told(text, reading)));
    }
    if goes_on {
        return Ok(());
    }
    let Some(colon) = bytes.iter().position(|byte| *byte == b':') else {
        return Err(format!("{} has a line that is no field", told(text, reading)));
    };
    let Some(field) = known(&bytes[..colon]) else { return Ok(()) };
    if reading.seen & field != 0 {
        return Err(format!("{} has a field twice", told(text, reading)));
    }
    reading.seen |= field;
    let value = &text[line.start + colon + 1..line.end];
    if take_field(field, value, line.end, &mut reading.stanza) {
        return Ok(());
    }
    let (name, value) = (String::from_utf8_lossy(&bytes[..colon]), crate::wording::printable(value.trim()));
    Err(format!("the {name} of {} cannot be right: `{value}`", told(text, reading)))
}

/// Takes in the value of a field that ends at `end`; gives whether it is one that the field can have.
fn take_field(field: u8, value: &str, end: usize, stanza: &mut Stanza) -> bool {
    let trimmed = value.trim();
    let start = end - value.trim_start().len();
    let range = offset(start)..offset(start + trimmed.len());
    match field {
        NAME => {
            stanza.name = range;
            is_name(trimmed)
        }
        VERSION => {
            stanza.version = range;
            version::is_valid(trimmed)
        }
        ARCH => {
            stanza.arch = range;
            is_arch(trimmed)
        }
        FILENAME => is_inside(trimmed.trim_start_matches("./")),
        SIZE => trimmed.parse::<u64>().is_ok_and(|size| size > 0),
        _ => trimmed.parse::<Digest>().is_ok(),
    }
}

fn known(name: &[u8]) -> Option<u8> {
    Some(match name {
        b"Package" => NAME,
        b"Version" => VERSION,
        b"Architecture" => ARCH,
        b"Filename" => FILENAME,
        b"Size" => SIZE,
        b"SHA256" => SHA256,
        _ => return None,
    })
}

fn finish(text: &str, reading: Reading) -> Result<Stanza, String> {
    let lacks = [
        (NAME, "Package"),
        (VERSION, "Version"),
        (ARCH, "Architecture"),
        (FILENAME, "Filename"),
        (SIZE, "Size"),
    ];
    let lacks = lacks.into_iter().chain([(SHA256, "SHA256")]).find(|(field, _)| reading.seen & field == 0);
    match lacks {
        Some((_, name)) => Err(format!("{} has no {name}", told(text, &reading))),
        None => Ok(reading.stanza),
    }
}

/// What messages call the stanza that is read.
fn told(text: &str, reading: &Reading) -> String {
    let name = &reading.stanza.name;
    match text.get(name.start as usize..name.end as usize) {
        Some(name) if !name.is_empty() => format!("`{}`", crate::wording::printable(name)),
        _ => format!("the stanza at byte {}", reading.stanza.all.start),
    }
}

/// Whether a package may be called so (deb-control(5), with the capital letters that dpkg lets pass).
pub fn is_name(text: &str) -> bool {
    const LONGEST: usize = 200;
    text.len() >= 2
        && text.len() <= LONGEST
        && text.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
}

fn is_arch(text: &str) -> bool {
    const LONGEST: usize = 64;
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(good) && !text.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn stanza(name: &str, more: &str) -> String {
        format!(
            "Package: {name}\nVersion: 1.0-1\nArchitecture: all\n{more}Filename: pool/{name}.deb\nSize: 12\nSHA256: {DIGEST}\n"
        )
    }

    fn parse(text: &str) -> Result<Index, Fault> {
        Index::parse(text.as_bytes().to_vec(), "debian trixie", "Packages")
    }

    #[test]
    fn packages_are_read() {
        let text = format!(
            "{}\n{}",
            stanza("aa", "Depends: b,\n c\nDescription: x\n y\n"),
            stanza("b1", "Task: t, u\n")
        );
        let index = parse(&text).unwrap();
        let packages: Vec<Package> = index.packages().collect();
        assert_eq!(packages.len(), 2);
        assert_eq!((packages[0].name(), packages[0].version(), packages[0].arch()), ("aa", "1.0-1", "all"));
        assert_eq!(packages[0].depends(), "b,\n c");
        assert_eq!(packages[0].recommends(), "");
        assert_eq!(packages[1].tasks().collect::<Vec<_>>(), ["t", "u"]);
        assert_eq!(packages[1].stanza(), stanza("b1", "Task: t, u\n"));
        let deb = packages[1].to_deb();
        assert_eq!((deb.id().as_str(), deb.size, deb.path.as_str()), ("b1_1.0-1_all", 12, "pool/b1.deb"));
        assert_eq!(deb.source, "debian trixie");
    }

    #[test]
    fn a_trimmed_index_keeps_what_apt_needs() {
        let more = "Depends: b,\n c\nDescription: x\n y\nTag: role::program,\n  z\nTask: t\n";
        let index = parse(stanza("aa", more).trim_end()).unwrap();
        let trimmed = String::from_utf8(index.trimmed(|_| true)).unwrap();
        assert_eq!(trimmed, format!("{}\n", stanza("aa", "Depends: b,\n c\nTask: t\n")));
        assert_eq!(parse(&trimmed).unwrap().len(), 1);
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        let good = stanza("aa", "");
        assert!(parse(&good).is_ok() && parse("").is_ok_and(|index| index.is_empty()));
        let bad = [
            good.replace("pool/", "../"),
            good.replace("pool/", "/"),
            good.replace("pool/", "a/../../"),
            good.replace("Size: 12", "Size: -1"),
            good.replace("Size: 12", "Size: 99999999999999999999"),
            good.replace(DIGEST, "12"),
            good.replace("1.0-1", "1.0 && x"),
            good.replace("aa\n", "a/b\n"),
            good.replace("aa\n", "../a\n"),
            good.replace("all", "../x"),
            good.replace("Size: 12\n", ""),
            good.replace("Size: 12\n", "Size: 12\nSize: 12\n"),
            format!("{good}Depends: \u{1b}[31m\n"),
            format!("{good}no field\n"),
            format!("{good}Depends: a\r\n"),
        ];
        for text in bad {
            let fault = parse(&text).expect_err(&text);
            assert_eq!(fault.code, "deb/index");
            assert!(!fault.message.contains('\u{1b}'), "{fault}");
        }
    }

    #[test]
    fn whatever_is_changed_it_is_read_or_refused() {
        let good = format!("{}\n{}", stanza("aa", "Depends: b,\n ü\n"), stanza("bb", ""));
        for at in 0..good.len() {
            for new in [0, b'\n', b' ', b':', b'/', b'.', 0xff, b'9'] {
                let mut text = good.clone().into_bytes();
                text[at] = new;
                let Ok(index) = Index::parse(text, "s", "Packages") else { continue };
                for package in index.packages() {
                    let deb = package.to_deb();
                    assert!(
                        is_inside(&deb.path) && deb.size > 0 && is_name(&deb.name) && is_arch(&deb.arch),
                        "{deb:?}"
                    );
                }
                assert_eq!(Index::parse(index.trimmed(|_| true), "s", "trimmed").unwrap().len(), index.len());
            }
        }
    }

    #[test]
    fn a_stanza_has_an_end() {
        let text = stanza("aa", &format!("Depends: {}\n", "b, ".repeat(LARGEST_STANZA / 3)));
        assert!(parse(&text).unwrap_err().message.contains("too large"));
    }
}
