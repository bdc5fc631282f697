//! A hook's script: its text, where it stands, and the line of it that failed.

use std::fs;
use std::path::PathBuf;

use crate::fault::{Fault, Place, Source};
use crate::key::Digest;
use crate::lang::Spanned;
use crate::work::{Facts, World};

/// A script and where the manifest names it.
#[derive(Clone, Debug)]
pub struct Script {
    /// What it is called.
    pub name: String,
    /// Where the manifest names it, or its list.
    pub place: Place,
    /// Its text.
    pub text: Text,
}

/// Where a script's text is.
#[derive(Clone, Debug)]
pub enum Text {
    /// In the manifest.
    Stated(Spanned<String>),
    /// In a file.
    File {
        /// Where, absolute.
        path: PathBuf,
        /// The path as people type it.
        shown: String,
    },
}

/// Larger files are no scripts.
const LARGEST: u64 = 64 << 20;

impl Script {
    /// States the text.
    pub fn facts(&self, world: &World, facts: &mut Facts) -> Result<(), Fault> {
        match &self.text {
            Text::Stated(text) => {
                facts.key.fact("script", format_args!("{} {}", Digest::of(&text.value), self.name))
            }
            Text::File { path, .. } => {
                let file = world.memory.file(path).map_err(|fault| fault.at(&self.place, "this hook"))?;
                facts.file(&format!("script:{}", self.name), path, world, file);
            }
        }
        Ok(())
    }

    /// The bytes that run; of a text in the manifest, with a last line that is whole.
    pub fn bytes(&self) -> Result<Vec<u8>, Fault> {
        match &self.text {
            Text::Stated(text) => Ok(format!("{}\n", text.value.trim_end_matches('\n')).into_bytes()),
            Text::File { path, .. } => {
                let read = |path: &PathBuf| {
                    let length = fs::metadata(path)?.len();
                    if length > LARGEST {
                        return Err(std::io::Error::other("it is too large for a script"));
                    }
                    fs::read(path)
                };
                read(path).map_err(|error| Fault::io("read", path, &error).at(&self.place, "this hook"))
            }
        }
    }

    /// Whether its text stands in the manifest.
    pub fn is_stated(&self) -> bool {
        matches!(self.text, Text::Stated(_))
    }

    /// The place of one of its lines, counted from 1.
    pub fn line(&self, number: usize) -> Option<Place> {
        match &self.text {
            Text::Stated(text) => stated_line(&text.place, number),
            Text::File { path, shown } => {
                let text = String::from_utf8(fs::read(path).ok()?).ok()?;
                let source = Source::new(shown.clone(), text);
                line_of(&source.text, 0, number).map(|range| Place::new(&source, range))
            }
        }
    }
}

/// The line of the manifest that a line of a text in it is: in a string of several lines (`"""`), the first one stands
/// behind the line of the quotes.
fn stated_line(place: &Place, number: usize) -> Option<Place> {
    let text = place.text();
    if !text.trim_start_matches('#').starts_with("\"\"\"") {
        return Some(place.clone());
    }
    let at = line_start(text, number, !text.starts_with('#'))?;
    let range = line_of(&place.source.text, place.start + at, 1)?;
    Some(Place::new(&place.source, range))
}

/// Where a line of the string begins that `text` states; a `\n` in it begins one, and a `\` at the end of a line none.
fn line_start(text: &str, number: usize, escapes: bool) -> Option<usize> {
    let mut letters = text.char_indices().peekable();
    let mut line = 0;
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' && escapes {
            let (_, escaped) = letters.next()?;
            line += usize::from(escaped == 'n');
            while escaped.is_whitespace() && letters.next_if(|(_, blank)| blank.is_whitespace()).is_some() {}
        }
        line += usize::from(letter == '\n');
        if line == number {
            return Some(at + 1);
        }
    }
    None
}

/// The bytes of the line `number`, counted from 1 where `from` stands in the first, without blanks at its ends.
fn line_of(text: &str, from: usize, number: usize) -> Option<std::ops::Range<usize>> {
    let mut start = text.get(..from)?.rfind('\n').map_or(0, |at| at + 1);
    for _ in 1..number {
        start += text.get(start..)?.find('\n')? + 1;
    }
    let line = text.get(start..)?.split('\n').next()?;
    let begin = start + (line.len() - line.trim_start().len());
    Some(begin..start + line.trim_end().len().max(begin - start))
}

/// The line of the script at `path` that its interpreter complained of, as shells, Python, Perl and others word it.
pub fn failed_line(tail: &[String], path: &str) -> Option<usize> {
    tail.iter().rev().find_map(|line| {
        let (_, rest) = line.rsplit_once(path)?;
        let openings = [": line ", "\", line ", "', line ", " line ", ": ", ":"];
        let digits = openings.iter().find_map(|opening| rest.strip_prefix(opening))?;
        let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
        digits.get(..end)?.parse().ok().filter(|number| *number > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_name_the_line_that_failed() {
        let of = |line: &str| failed_line(&["first".into(), line.into(), "last".into()], "/run/h/10-x");
        assert_eq!(of("/run/h/10-x: line 12: foo: command not found"), Some(12), "bash");
        assert_eq!(of("/run/h/10-x: 3: foo: not found"), Some(3), "dash");
        assert_eq!(of("  File \"/run/h/10-x\", line 7, in <module>"), Some(7), "Python");
        assert_eq!(of("Died at /run/h/10-x line 4."), Some(4), "Perl");
        assert_eq!(of("/run/h/10-x:5:in `<main>': no (RuntimeError)"), Some(5), "Ruby");
        assert_eq!(of("cat: /run/h/10-x.conf: No such file"), None);
        assert_eq!(of("nothing of it"), None);
    }

    #[test]
    fn a_line_of_a_text_is_found_in_the_manifest() {
        let source = Source::new(
            "image.kdl",
            "hook \"x\" run=\"\"\"\n    one\n    two\n    \"\"\"\nhook \"y\" run=\"one\"\n",
        );
        let place = |start: usize, end: usize| Place::new(&source, start..end);
        let long = source.text.find("\"\"\"").unwrap();
        let found = stated_line(&place(long, source.text.len()), 2).unwrap();
        assert_eq!((found.text(), found.line_column().0), ("two", 3));
        let escaped = Source::new("x", "run=\"\"\"\n  a\\nb\n  c \\\n   d\n  e\n  \"\"\"");
        let found = |number| {
            stated_line(&Place::new(&escaped, 4..escaped.text.len()), number).unwrap().line_column().0
        };
        assert_eq!([1, 2, 3, 4].map(found), [2, 2, 3, 5], "lines of the text are not those of the file");
        let short = source.text.find("\"one\"").unwrap();
        assert_eq!(stated_line(&place(short, short + 5), 1).unwrap().text(), "\"one\"");
        assert_eq!(stated_line(&place(long, source.text.len()), 99), None);
    }
}
