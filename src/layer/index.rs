//! The index of a layer: its entries as text, a line each.
//!
//! ```text
//! imgbuild-index 1
//! d 0755 0 0 1735689600 etc
//! f 0644 0 0 1735689600 etc/motd 6 1f5…d0c @512
//! x user.note 0a0b
//! l 0777 0 0 1735689600 etc/localtime /usr/share/zoneinfo/UTC
//! end 4 8192
//! ```
//!
//! Fields: kind, mode (a weak directory's is followed by `~`), user, group, mtime, path, then what the kind needs. Bytes
//! that are not printable ASCII, blanks and `%` stand as `%XX`. An `x` line is an extended attribute of the entry
//! above it. The last line tells how many entries there are and how many bytes the tar has, so that a text cut short
//! is never taken for a whole one. Entries are in the order of [`EntryPath`], each path once (an opaque marker shares
//! its directory's path and follows it).

use std::fmt::Write as _;
use std::str::{FromStr, SplitAsciiWhitespace};

use super::entry::{Entry, Kind};
use super::path::EntryPath;
use crate::key::Digest;
use crate::lang::Owner;
use crate::lang::value::Id;

/// The identity of a layer: the digest of its index without the offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId(pub Digest);

impl std::fmt::Display for LayerId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(out)
    }
}

/// The entries of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// In the order of their paths.
    pub entries: Vec<Entry>,
    /// Bytes of the layer's tar.
    pub tar_size: u64,
}

/// Why a text is no index: the line (from 1) and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub struct BadIndex {
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: &'static str,
}

const FIRST_LINE: &str = "imgbuild-index 1";

impl Index {
    /// The layer's identity.
    pub fn id(&self) -> LayerId {
        let mut text = String::with_capacity(self.entries.len() * 120);
        for entry in &self.entries {
            line(entry, false, &mut text);
        }
        LayerId(Digest::of(text))
    }

    /// The whole text.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(self.entries.len() * 140);
        let _ = writeln!(text, "{FIRST_LINE}");
        for entry in &self.entries {
            line(entry, true, &mut text);
        }
        let _ = writeln!(text, "end {} {}", self.entries.len(), self.tar_size);
        text
    }

    /// Reads a text, trusting nothing in it.
    pub fn from_text(text: &str) -> Result<Index, BadIndex> {
        let mut index = Index::default();
        let mut ended = false;
        for (number, content) in text.lines().enumerate() {
            let bad = |what| BadIndex { line: number + 1, what };
            if number == 0 {
                (content == FIRST_LINE).then_some(()).ok_or(bad("not an index of this version"))?;
                continue;
            }
            if ended {
                return Err(bad("something follows the end"));
            }
            ended = index.take_line(content).map_err(bad)?;
        }
        if ended {
            Ok(index)
        } else {
            Err(BadIndex { line: text.lines().count(), what: "the end is missing" })
        }
    }

    /// Whether the line was the last.
    fn take_line(&mut self, content: &str) -> Result<bool, &'static str> {
        let mut fields = content.split_ascii_whitespace();
        match fields.next().ok_or("an empty line")? {
            "end" => {
                let count: usize = number(&mut fields)?;
                self.tar_size = number(&mut fields)?;
                if count != self.entries.len() {
                    return Err("the count of entries is wrong");
                }
                Ok(true)
            }
            "x" => {
                let name = unescape(fields.next().ok_or("an attribute without a name")?)?;
                let value = from_hex(fields.next().unwrap_or_default())?;
                let entry = self.entries.last_mut().ok_or("an attribute of nothing")?;
                entry.xattrs.push((name, value));
                Ok(false)
            }
            kind => {
                let entry = read_entry(kind, &mut fields)?;
                if self.entries.last().is_some_and(|last| !follows(last, &entry)) {
                    return Err("a path out of order");
                }
                self.entries.push(entry);
                Ok(false)
            }
        }
    }
}

fn follows(last: &Entry, next: &Entry) -> bool {
    last.path < next.path
        || (last.path == next.path && next.kind == Kind::Opaque && last.kind != Kind::Opaque)
}

fn line(entry: &Entry, with_offset: bool, out: &mut String) {
    let weak = if entry.weak { "~" } else { "" };
    let _ = write!(
        out,
        "{} {:04o}{weak} {} {} ",
        entry.kind.letter(),
        entry.mode,
        entry.owner.user,
        entry.owner.group
    );
    let _ = write!(out, "{} ", entry.mtime);
    escape(if entry.path.is_root() { b"." } else { entry.path.as_bytes() }, out);
    match &entry.kind {
        Kind::File { size, digest, offset } => {
            let _ = write!(out, " {size} {digest}");
            if with_offset {
                let _ = write!(out, " @{offset}");
            }
        }
        Kind::Symlink(target) => {
            out.push(' ');
            escape(target, out);
        }
        Kind::Hardlink(target) => {
            out.push(' ');
            escape(target.as_bytes(), out);
        }
        Kind::Character(major, minor) | Kind::Block(major, minor) => {
            let _ = write!(out, " {major} {minor}");
        }
        Kind::Directory | Kind::Fifo | Kind::Whiteout | Kind::Opaque => {}
    }
    out.push('\n');
    for (name, value) in &entry.xattrs {
        out.push_str("x ");
        escape(name, out);
        out.push(' ');
        for byte in value {
            let _ = write!(out, "{byte:02x}");
        }
        out.push('\n');
    }
}

type Fields<'a> = SplitAsciiWhitespace<'a>;

fn read_entry(kind: &str, fields: &mut Fields<'_>) -> Result<Entry, &'static str> {
    let mode = fields.next().ok_or("a mode is missing")?;
    let (mode, weak) = mode.strip_suffix('~').map_or((mode, false), |mode| (mode, true));
    let mode = u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777).ok_or("a mode is wrong")?;
    let owner = Owner { user: read_id(fields)?, group: read_id(fields)? };
    let mtime = number(fields)?;
    let path = read_path(fields)?;
    let kind = match kind {
        "d" => Kind::Directory,
        "f" => read_file(fields)?,
        "l" => Kind::Symlink(unescape(fields.next().ok_or("a target is missing")?)?),
        "h" => Kind::Hardlink(read_path(fields)?),
        "c" => Kind::Character(number(fields)?, number(fields)?),
        "b" => Kind::Block(number(fields)?, number(fields)?),
        "p" => Kind::Fifo,
        "w" => Kind::Whiteout,
        "o" => Kind::Opaque,
        _ => return Err("an unknown kind"),
    };
    if fields.next().is_some() {
        return Err("one field too many");
    }
    Ok(Entry { path, kind, mode, owner, mtime, xattrs: Vec::new(), weak })
}

fn read_file(fields: &mut Fields<'_>) -> Result<Kind, &'static str> {
    let size: u64 = number(fields)?;
    let digest = fields.next().and_then(|text| text.parse().ok()).ok_or("a digest is wrong")?;
    let offset =
        fields.next().and_then(|text| text.strip_prefix('@')?.parse().ok()).ok_or("an offset is wrong")?;
    u64::checked_add(size, offset).ok_or("an offset is too large")?;
    Ok(Kind::File { size, digest, offset })
}

fn read_id(fields: &mut Fields<'_>) -> Result<Id, &'static str> {
    fields.next().and_then(Id::parse).ok_or("an owner is wrong")
}

fn read_path(fields: &mut Fields<'_>) -> Result<EntryPath, &'static str> {
    let bytes = unescape(fields.next().ok_or("a path is missing")?)?;
    EntryPath::parse(bytes).map_err(|_| "a path is wrong")
}

fn number<T: FromStr>(fields: &mut Fields<'_>) -> Result<T, &'static str> {
    fields.next().and_then(|text| text.parse().ok()).ok_or("a number is wrong")
}

/// Bytes as one word of printable ASCII.
pub fn escape(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        match byte {
            b'%' | 0..=b' ' | 0x7f.. => {
                let _ = write!(out, "%{byte:02X}");
            }
            byte => out.push(char::from(*byte)),
        }
    }
    if bytes.is_empty() {
        out.push('%');
    }
}

/// What [`escape`] wrote.
pub fn unescape(text: &str) -> Result<Vec<u8>, &'static str> {
    if text == "%" {
        return Ok(Vec::new());
    }
    if !text.contains('%') {
        return Ok(text.as_bytes().to_vec());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut pieces = text.split('%');
    bytes.extend_from_slice(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        let code = piece.get(..2).ok_or("an escape is cut short")?;
        bytes.push(u8::from_str_radix(code, 16).map_err(|_| "an escape is wrong")?);
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    Ok(bytes)
}

fn from_hex(text: &str) -> Result<Vec<u8>, &'static str> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return Err("an attribute's value is wrong");
    }
    let byte =
        |at: usize| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| "an attribute's value is wrong");
    (0..text.len()).step_by(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Index {
        let entry = |path: &[u8], kind| Entry {
            path: EntryPath::parse(path).expect("a path"),
            kind,
            mode: 0o644,
            owner: Owner { user: Id::Name("www-data".into()), group: Id::Number(0) },
            mtime: 5,
            xattrs: vec![],
            weak: false,
        };
        let mut index = Index { entries: vec![Entry::passage(EntryPath::root(), 7)], tar_size: 1024 };
        index
            .entries
            .push(entry(b"a b%\xff", Kind::File { size: 3, digest: Digest::of("abc"), offset: 512 }));
        index.entries.push(Entry {
            xattrs: vec![(b"user.x".to_vec(), vec![0, 255])],
            ..entry(b"c", Kind::Symlink(b"".to_vec()))
        });
        index.entries.push(entry(b"d", Kind::Block(8, 1)));
        index.entries.push(entry(b"d/e", Kind::Whiteout));
        index
    }

    #[test]
    fn text_round_trips_and_the_offset_is_no_identity() {
        let index = sample();
        let text = index.to_text();
        assert_eq!(Index::from_text(&text), Ok(index.clone()));
        let moved = Index::from_text(&text.replace("@512", "@1024")).expect("an index");
        assert_eq!(moved.id(), index.id());
        let other = Index::from_text(&text.replace("0644 www-data", "0600 www-data")).expect("an index");
        assert_ne!(other.id(), index.id());
    }

    #[test]
    fn a_damaged_text_is_refused() {
        let text = sample().to_text();
        let cut = &text[..text.len() / 2];
        assert!(Index::from_text(cut).is_err());
        assert!(Index::from_text(&text.replace("end 5", "end 4")).is_err());
        assert!(Index::from_text(&text.replace(" c ", " ../c ")).is_err());
        assert!(Index::from_text(&text.replace("d/e", "a")).is_err(), "out of order");
        assert!(Index::from_text("").is_err());
    }
}
