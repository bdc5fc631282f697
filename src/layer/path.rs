//! Paths inside an image: relative, of bytes, and never able to leave the root.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// A path below the root, without a leading slash, empty components, `.` or `..`. The root itself is empty.
///
/// Ordered by components, so a directory comes right before what is in it. A copy shares the bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct EntryPath(Arc<[u8]>);

/// Why bytes are no [`EntryPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPath {
    /// It has a `..`.
    Climbs,
    /// It has a NUL byte.
    Nul,
    /// It is longer than Linux allows (4,095 bytes, 255 a component).
    TooLong,
}

impl fmt::Display for BadPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            BadPath::Climbs => "its path has a `..`",
            BadPath::Nul => "its path has a NUL byte",
            BadPath::TooLong => "its path is longer than Linux allows (4,095 bytes, 255 for one name)",
        })
    }
}

impl EntryPath {
    /// The root.
    pub fn root() -> EntryPath {
        EntryPath::default()
    }

    /// Reads a path as archives write it: `./etc//motd`, `/etc/motd` and `etc/motd/` are all `etc/motd`.
    pub fn parse(bytes: impl AsRef<[u8]>) -> Result<EntryPath, BadPath> {
        let bytes = bytes.as_ref();
        if bytes.contains(&0) {
            return Err(BadPath::Nul);
        }
        let mut clean = Vec::with_capacity(bytes.len());
        for component in bytes.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(BadPath::Climbs),
                name if name.len() > 255 => return Err(BadPath::TooLong),
                name => {
                    if !clean.is_empty() {
                        clean.push(b'/');
                    }
                    clean.extend_from_slice(name);
                }
            }
        }
        if clean.len() > 4095 { Err(BadPath::TooLong) } else { Ok(EntryPath(clean.into())) }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// The directory that it is in; none for the root.
    pub fn parent(&self) -> Option<EntryPath> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(EntryPath(self.0[..end].into()))
    }

    /// The path of `name` in this directory; `name` may have several components, all of them already clean.
    pub fn join(&self, name: &[u8]) -> EntryPath {
        match (self.is_root(), name.is_empty()) {
            (true, _) => EntryPath(name.into()),
            (_, true) => self.clone(),
            _ => EntryPath([&self.0, b"/".as_slice(), name].concat().into()),
        }
    }

    /// What is left of the path below `directory`; none if it is not in there.
    pub fn below(&self, directory: &EntryPath) -> Option<&[u8]> {
        if directory.is_root() {
            return Some(&self.0);
        }
        match self.0.strip_prefix(directory.as_bytes())? {
            [] => Some(&[]),
            [b'/', rest @ ..] => Some(rest),
            _ => None,
        }
    }

    /// Whether that is the directory that it stands in.
    pub fn is_directly_in(&self, directory: &EntryPath) -> bool {
        self.below(directory).is_some_and(|rest| !rest.is_empty() && !rest.contains(&b'/'))
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
    }

    /// As a path of the system, relative.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }
}

/// The order by components: a slash sorts before every other byte.
fn compare(left: &[u8], right: &[u8]) -> Ordering {
    match mismatch(left, right) {
        None => left.len().cmp(&right.len()),
        Some(at) => match (left[at], right[at]) {
            (b'/', _) => Ordering::Less,
            (_, b'/') => Ordering::Greater,
            (left, right) => left.cmp(&right),
        },
    }
}

/// The first byte in which the two differ, if none is the beginning of the other. Paths that are compared begin alike for
/// long, so that is looked for eight bytes at once.
fn mismatch(left: &[u8], right: &[u8]) -> Option<usize> {
    let (words, others) = (left.as_chunks::<8>().0, right.as_chunks::<8>().0);
    let same = words.iter().zip(others).take_while(|(left, right)| left == right).count() * 8;
    let (left, right) = (left.get(same..).unwrap_or_default(), right.get(same..).unwrap_or_default());
    left.iter().zip(right).position(|(left, right)| left != right).map(|at| same + at)
}

impl Ord for EntryPath {
    fn cmp(&self, other: &EntryPath) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for EntryPath {
    fn partial_cmp(&self, other: &EntryPath) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Borrow<[u8]> for EntryPath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// As people read it: lossy, the root as `/`, control characters made visible.
impl fmt::Display for EntryPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return out.write_str("/");
        }
        out.write_str(&crate::wording::printable(&String::from_utf8_lossy(&self.0)))
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> EntryPath {
        EntryPath::parse(text).expect(text)
    }

    #[test]
    fn paths_are_cleaned_and_cannot_climb() {
        assert_eq!(path("./etc//motd/").as_bytes(), b"etc/motd");
        assert_eq!(path("/"), EntryPath::root());
        assert_eq!(EntryPath::parse("a/../b"), Err(BadPath::Climbs));
        assert_eq!(EntryPath::parse("a\0b"), Err(BadPath::Nul));
        assert_eq!(EntryPath::parse("n".repeat(256)), Err(BadPath::TooLong));
        assert_eq!(EntryPath::parse("d/".repeat(3000)), Err(BadPath::TooLong));
    }

    #[test]
    fn a_directory_comes_right_before_what_is_in_it() {
        let mut paths = [path("a-b"), path("a/c"), path("a"), path("a!"), path("a/b/d")];
        paths.sort();
        assert_eq!(paths.map(|path| path.to_string()), ["a", "a/b/d", "a/c", "a!", "a-b"]);
        // Wherever the difference lies within words of eight bytes.
        for length in 0..20 {
            let long = "x".repeat(length);
            let mut paths =
                [path(&format!("{long}b")), path(&format!("{long}a/y")), path(&format!("{long}a"))];
            paths.sort();
            assert_eq!(
                paths,
                [&format!("{long}a"), &format!("{long}a/y"), &format!("{long}b")].map(|text| path(text))
            );
        }
    }

    #[test]
    fn below_cuts_at_components() {
        assert_eq!(path("usr/lib/x").below(&path("usr")), Some(b"lib/x".as_slice()));
        assert_eq!(path("usrlib").below(&path("usr")), None);
        assert_eq!(path("usr").parent(), Some(EntryPath::root()));
        assert!(
            path("usr").is_directly_in(&EntryPath::root()) && path("usr/lib").is_directly_in(&path("usr"))
        );
        assert!(!path("usr/lib/x").is_directly_in(&path("usr")) && !path("usr").is_directly_in(&path("usr")));
    }
}
