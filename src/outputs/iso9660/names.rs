//! The names that a directory's entries have in either hierarchy: made of the characters that are allowed there, not
//! too long, no two alike.
//!
//! Names that come out alike are numbered in the order of the full names, so that the order stays. The full names are
//! in Rock Ridge's `NM` entries.

use std::collections::{BTreeMap, BTreeSet};

/// One of the two directory hierarchies of a volume.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// ECMA-119's own: upper-case letters, digits and `_`, 30 characters (7.5.1).
    Primary,
    /// Joliet's: most of Unicode in two bytes a character, 64 of them.
    Joliet,
}

/// A name as one dialect has it.
#[derive(Clone, Debug)]
pub(super) struct Name {
    /// What people see, without a version.
    visible: String,
    directory: bool,
}

impl Dialect {
    /// The names of siblings, given as full name and whether it is a directory's, in the order of the full names.
    pub(super) fn names(self, siblings: &[(&str, bool)]) -> Vec<Name> {
        let wanted: Vec<Parts> =
            siblings.iter().map(|(name, directory)| self.spell(name, *directory).cut(self.limit())).collect();
        let visible = distinct(&wanted, self.limit());
        let directories = siblings.iter().map(|(_, directory)| *directory);
        visible.into_iter().zip(directories).map(|(visible, directory)| Name { visible, directory }).collect()
    }

    /// `text` in the dialect's encoding. What UCS-2 lacks is written as UTF-16, as today's readers take it.
    pub(super) fn encode(self, text: &str) -> Vec<u8> {
        match self {
            Dialect::Primary => text.as_bytes().to_vec(),
            Dialect::Joliet => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        }
    }

    /// The identifier that a directory record has for `name` (ECMA-119, 7.5 and 7.6).
    pub(super) fn identifier(self, name: &Name) -> Vec<u8> {
        let visible = &name.visible;
        match self {
            _ if name.directory => self.encode(visible),
            // The dot is there even when no extension follows it.
            Dialect::Primary if !visible.contains('.') => self.encode(&format!("{visible}.;1")),
            _ => self.encode(&format!("{visible};1")),
        }
    }

    fn spell(self, name: &str, directory: bool) -> Parts {
        let spelled = |text: &str| text.chars().map(|letter| self.letter(letter)).collect::<String>();
        match name.rsplit_once('.') {
            Some((stem, extension)) if !directory && !stem.is_empty() && is_extension(extension) => {
                Parts { stem: spelled(stem), extension: spelled(extension) }
            }
            _ => Parts { stem: spelled(name), extension: String::new() },
        }
    }

    fn letter(self, letter: char) -> char {
        match (self, letter) {
            (Dialect::Primary, letter) if letter.is_ascii_alphanumeric() => letter.to_ascii_uppercase(),
            (Dialect::Primary, _) | (Dialect::Joliet, '*' | '/' | ':' | ';' | '?' | '\\') => '_',
            (Dialect::Joliet, letter) => letter,
        }
    }

    fn limit(self) -> usize {
        match self {
            Dialect::Primary => 30,
            Dialect::Joliet => 64,
        }
    }
}

impl Name {
    /// What directories are sorted by (ECMA-119, 9.3): the name up to its last dot, then what is behind it.
    pub(super) fn order(&self) -> (Vec<u16>, Vec<u16>) {
        let (stem, extension) = match self.visible.rsplit_once('.') {
            Some(parts) if !self.directory => parts,
            _ => (self.visible.as_str(), ""),
        };
        (stem.encode_utf16().collect(), extension.encode_utf16().collect())
    }
}

/// A name and the extension that is kept when the name is shortened.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Parts {
    stem: String,
    extension: String,
}

impl Parts {
    fn cut(&self, limit: usize) -> Parts {
        let room = limit.saturating_sub(self.tail().len());
        Parts { stem: cut(&self.stem, room).to_string(), extension: self.extension.clone() }
    }

    fn numbered(&self, number: usize, limit: usize) -> Parts {
        let number = format!("_{number:04}");
        let short = self.cut(limit - number.len());
        Parts { stem: short.stem + &number, extension: short.extension }
    }

    fn visible(&self) -> String {
        self.stem.clone() + &self.tail()
    }

    fn tail(&self) -> String {
        if self.extension.is_empty() { String::new() } else { format!(".{}", self.extension) }
    }
}

/// What is behind a name's last dot counts as its extension while it looks like one.
fn is_extension(text: &str) -> bool {
    (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The longest beginning of `text` of at most `units` UTF-16 units.
fn cut(text: &str, units: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, letter)| {
        used += letter.len_utf16();
        used > units
    });
    end.map_or(text, |(at, _)| &text[..at])
}

fn distinct(wanted: &[Parts], limit: usize) -> Vec<String> {
    let mut alike: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (sibling, parts) in wanted.iter().enumerate() {
        alike.entry(parts.visible()).or_default().push(sibling);
    }
    let mut taken: BTreeSet<String> = alike.keys().cloned().collect();
    let mut next: BTreeMap<Parts, usize> = BTreeMap::new();
    let mut names: Vec<String> = wanted.iter().map(Parts::visible).collect();
    for siblings in alike.values().filter(|siblings| siblings.len() > 1) {
        for &sibling in siblings {
            let parts = &wanted[sibling];
            // Counted by what is left of the name, else many alike would each be tried against all the others.
            let number = next.entry(parts.numbered(0, limit)).or_default();
            names[sibling] = free(parts, number, limit, &mut taken);
        }
    }
    names
}

fn free(parts: &Parts, number: &mut usize, limit: usize, taken: &mut BTreeSet<String>) -> String {
    loop {
        let name = parts.numbered(*number, limit).visible();
        *number += 1;
        if taken.insert(name.clone()) {
            return name;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(dialect: Dialect, names: &[&str]) -> Vec<String> {
        let siblings: Vec<(&str, bool)> = names.iter().map(|name| (*name, false)).collect();
        dialect.names(&siblings).into_iter().map(|name| name.visible).collect()
    }

    #[test]
    fn primary_names_are_upper_case_and_alike_ones_are_numbered_in_order() {
        assert_eq!(
            spelled(Dialect::Primary, &["00base.tar", "größe", "user-data", ".profile"]),
            ["00BASE.TAR", "GR__E", "USER_DATA", "_PROFILE"]
        );
        assert_eq!(
            spelled(Dialect::Primary, &["a-b", "a_b", "A_B_0000"]),
            ["A_B_0001", "A_B_0002", "A_B_0000"]
        );
    }

    #[test]
    fn long_names_are_cut_before_their_extension() {
        let long = "x".repeat(80);
        let names = [format!("{long}1.tar"), format!("{long}2.tar")];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let cut =
            |length: usize| ["0000", "0001"].map(|number| format!("{}_{number}.tar", "x".repeat(length - 9)));
        assert_eq!(spelled(Dialect::Primary, &names), cut(30).map(|name| name.to_uppercase()));
        assert_eq!(spelled(Dialect::Joliet, &names), cut(64));
        assert_eq!(spelled(Dialect::Joliet, &[&"🦀".repeat(40)]), ["🦀".repeat(32)], "two units each");
    }

    #[test]
    fn a_file_and_a_folder_are_never_alike() {
        let names = Dialect::Primary.names(&[("A", true), ("a", false)]);
        let identifiers: Vec<Vec<u8>> = names.iter().map(|name| Dialect::Primary.identifier(name)).collect();
        assert_eq!(identifiers, [b"A_0000".to_vec(), b"A_0001.;1".to_vec()]);
    }
}
