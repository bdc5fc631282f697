//! Keys: canonical text, its digest, and the difference of two.
//!
//! A step's key is text, one fact a line: `NAME VALUE`. The digest of the text finds the step's result; the text is
//! kept beside the result. So "why did this run" compares two short texts and can never disagree with the decision.
//! A key holds no time stamp, no absolute path, no host name, and nothing that was not declared.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: impl AsRef<[u8]>) -> Digest {
        Digest(Sha256::digest(bytes.as_ref()).into())
    }

    /// The digest of all that `input` gives.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn read(mut input: impl Read) -> io::Result<Digest> {
        let (mut hasher, mut piece) = (Hasher::new(), vec![0; 1 << 20]);
        loop {
            match input.read(&mut piece)? {
                0 => return Ok(hasher.finish()),
                length => hasher.update(&piece[..length]),
            }
        }
    }

    /// A digest from its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first twelve hex digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0u8; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        out.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// What is not 64 lower-case hex digits.
#[derive(Debug, PartialEq, Eq)]
pub struct NotADigest;

impl FromStr for Digest {
    type Err = NotADigest;
    fn from_str(text: &str) -> Result<Digest, NotADigest> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return Err(NotADigest);
        }
        let mut bytes = [0u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Digest(bytes))
    }
}

fn nibble(letter: u8) -> Result<u8, NotADigest> {
    match letter {
        b'0'..=b'9' => Ok(letter - b'0'),
        b'a'..=b'f' => Ok(letter - b'a' + 10),
        _ => Err(NotADigest),
    }
}

/// A digest that is fed piece by piece.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Nothing fed yet.
    pub fn new() -> Hasher {
        Hasher::default()
    }

    /// Feeds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was fed.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl std::io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The text of a key: facts in the order they were stated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    text: String,
}

impl Key {
    /// A key of a step of `kind`; `version` grows whenever the same facts would give other bytes.
    pub fn new(kind: &str, version: u32) -> Key {
        let mut key = Key::default();
        key.fact("step", format_args!("{kind} {version}"));
        key
    }

    /// States a fact. A name holds no blank; a value may hold anything, line ends are escaped.
    pub fn fact(&mut self, name: &str, value: impl fmt::Display) {
        debug_assert!(!name.contains([' ', '\n']), "a fact's name is one word: {name}");
        self.text.push_str(name);
        self.text.push(' ');
        escape(&value.to_string(), &mut self.text);
        self.text.push('\n');
    }

    /// States a fact if there is one.
    pub fn fact_if(&mut self, name: &str, value: Option<impl fmt::Display>) {
        if let Some(value) = value {
            self.fact(name, value);
        }
    }

    /// The key that `text` was.
    pub fn from_text(text: impl Into<String>) -> Key {
        Key { text: text.into() }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What finds the step's result.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.text)
    }

    /// The facts, name and value.
    pub fn facts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.text.lines().map(|line| line.split_once(' ').unwrap_or((line, "")))
    }
}

fn escape(value: &str, out: &mut String) {
    if !value.contains(['\n', '\\', '\r']) {
        return out.push_str(value);
    }
    for letter in value.chars() {
        match letter {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\\' => out.push_str("\\\\"),
            letter => out.push(letter),
        }
    }
}

/// A fact that differs between two keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The fact's name.
    pub fact: String,
    /// The values that only the old key has, if any.
    pub was: Option<String>,
    /// The values that only the new key has, if any.
    pub now: Option<String>,
}

/// What tells `new` from `old`, a change a fact name, in the order of `new` (what is gone stands last).
///
/// Facts that share a name are a list (the layers below, say): equal values cancel out; an order that alone changed
/// is told as both whole lists.
pub fn difference(old: &Key, new: &Key) -> Vec<Change> {
    let before = by_name(old);
    let after = by_name(new);
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in new.facts().chain(old.facts()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().filter_map(|name| change(name, before.get(name), after.get(name))).collect()
}

fn by_name(key: &Key) -> BTreeMap<&str, Vec<&str>> {
    let mut facts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in key.facts() {
        facts.entry(name).or_default().push(value);
    }
    facts
}

fn change(fact: &str, was: Option<&Vec<&str>>, now: Option<&Vec<&str>>) -> Option<Change> {
    if was == now {
        return None;
    }
    let (was, now) = (was.cloned().unwrap_or_default(), now.cloned().unwrap_or_default());
    let mut only_was = without(&was, &now);
    let mut only_now = without(&now, &was);
    if only_was.is_empty() && only_now.is_empty() {
        (only_was, only_now) = (was, now);
    }
    let told = |values: Vec<&str>| (!values.is_empty()).then(|| values.join(", "));
    Some(Change { fact: fact.to_string(), was: told(only_was), now: told(only_now) })
}

fn without<'a>(values: &[&'a str], others: &[&str]) -> Vec<&'a str> {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for other in others {
        *left.entry(other).or_default() += 1;
    }
    let mut kept = Vec::new();
    for value in values {
        match left.get_mut(value) {
            Some(count) if *count > 0 => *count -= 1,
            _ => kept.push(*value),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_text_round_trips() {
        let digest = Digest::of("abc");
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!("BA".repeat(32).parse::<Digest>(), Err(NotADigest), "one spelling only");
    }

    #[test]
    fn a_value_stays_on_its_line() {
        let mut key = Key::new("files", 1);
        key.fact("content", "a\nstep other 1\\");
        assert_eq!(key.text(), "step files 1\ncontent a\\nstep other 1\\\\\n");
    }

    #[test]
    fn the_difference_tells_values_and_order() {
        let key = |values: &[(&str, &str)]| {
            let mut key = Key::new("tar", 1);
            values.iter().for_each(|(name, value)| key.fact(name, value));
            key
        };
        let old = key(&[("layer", "a"), ("layer", "b"), ("compression", "xz")]);
        let new = key(&[("layer", "a"), ("layer", "c"), ("epoch", "5")]);
        let told: Vec<String> =
            difference(&old, &new).iter().map(|c| format!("{} {:?} {:?}", c.fact, c.was, c.now)).collect();
        assert_eq!(
            told,
            [r#"layer Some("b") Some("c")"#, r#"epoch None Some("5")"#, r#"compression Some("xz") None"#]
        );
        let swapped =
            difference(&key(&[("layer", "a"), ("layer", "b")]), &key(&[("layer", "b"), ("layer", "a")]));
        assert_eq!(swapped[0].was.as_deref(), Some("a, b"));
        assert!(difference(&old, &old).is_empty());
    }
}
