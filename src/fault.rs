//! What went wrong: a message, the places it is about, and a way out.
//!
//! Every room reports through [`Fault`]; none of them prints. How a fault looks (in a terminal, as a line for an
//! editor, as JSON) is decided in `cli/`, which is the only room that shows one to somebody.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// A text that people wrote, under the name that they know it by (a path relative to where they stand).
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The path as people would type it.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A shared source.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Source> {
        Arc::new(Source { name: name.into(), text: text.into() })
    }
}

/// A range of bytes in a source.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// The text.
    pub source: Arc<Source>,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Place {
    /// The bytes `range` of `source`, made to fit the text and its characters.
    pub fn new(source: &Arc<Source>, range: Range<usize>) -> Place {
        let text = &source.text;
        let start = floor_boundary(text, range.start);
        let end = floor_boundary(text, range.end).max(start);
        Place { source: Arc::clone(source), start, end }
    }

    /// Line and column of the first byte, both from 1; columns count characters.
    pub fn line_column(&self) -> (usize, usize) {
        line_column(&self.source.text, self.start)
    }

    /// Line and column just behind the last byte.
    pub fn end_line_column(&self) -> (usize, usize) {
        line_column(&self.source.text, self.end)
    }

    /// The text that the place covers.
    pub fn text(&self) -> &str {
        self.source.text.get(self.start..self.end).unwrap_or_default()
    }
}

/// `image.kdl:27`, as people say it.
impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.source.name, self.line_column().0)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_column();
        write!(out, "{}:{line}:{column}", self.source.name)
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at.min(text.len()))
}

fn line_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..floor_boundary(text, at)).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// A place with a few words on what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub place: Place,
    /// What is there, a few words in lower case.
    pub text: String,
}

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Nothing can be done before it is mended.
    Error,
    /// The work goes on.
    Warning,
}

/// Whose turn it is to mend a fault; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The manifest or the command line is wrong.
    Asked,
    /// A step failed while it ran.
    Build,
    /// This machine lacks something (a kernel feature, space, a permission).
    Machine,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A stable name of the kind of fault, `room/what` in lower case with dashes.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// Whose turn it is.
    pub blame: Blame,
    /// One sentence in lower case without a full stop; what people typed stands in backticks.
    pub message: String,
    /// A way out.
    pub help: Option<String>,
    /// Places, the one that matters most first.
    pub labels: Vec<Label>,
    /// What the program that failed said last, line by line.
    pub output: Vec<String>,
}

impl Fault {
    /// An error in what was asked for.
    pub fn error(code: &'static str, message: impl Into<String>) -> Fault {
        Fault {
            code,
            severity: Severity::Error,
            blame: Blame::Asked,
            message: message.into(),
            help: None,
            labels: Vec::new(),
            output: Vec::new(),
        }
    }

    /// A warning about what was asked for.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Fault {
        Fault { severity: Severity::Warning, ..Fault::error(code, message) }
    }

    /// A step that failed.
    pub fn build(code: &'static str, message: impl Into<String>) -> Fault {
        Fault { blame: Blame::Build, ..Fault::error(code, message) }
    }

    /// Something that this machine cannot do.
    pub fn machine(code: &'static str, message: impl Into<String>) -> Fault {
        Fault { blame: Blame::Machine, ..Fault::error(code, message) }
    }

    /// `verb` (as in "cannot read") failed on `path`; no space left is the machine's fault, the rest the build's.
    pub fn io(verb: &str, path: &Path, error: &io::Error) -> Fault {
        let message = format!("cannot {verb} `{}`: {}", path.display(), reason(error));
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::machine("io/no-space", message)
                .help("free some space there, or name another folder (`--cache DIR`, `output … path=`); what was finished is kept"),
            io::ErrorKind::PermissionDenied => {
                Fault::build("io/permission", message).help("check who owns it and its mode")
            }
            _ => Fault::build("io/failed", message),
        }
    }

    /// Adds a place; the first one added matters most.
    pub fn at(mut self, place: &Place, text: impl Into<String>) -> Fault {
        self.labels.push(Label { place: place.clone(), text: text.into() });
        self
    }

    /// Adds the way out.
    pub fn help(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }

    /// Adds the way out, if there is one.
    pub fn maybe_help(mut self, help: Option<String>) -> Fault {
        self.help = help.or(self.help);
        self
    }

    /// Adds a way out where there is none yet.
    pub fn or_help(mut self, help: impl Into<String>) -> Fault {
        self.help.get_or_insert_with(|| help.into());
        self
    }

    /// Whether nothing is wrong but that somebody wanted no more.
    pub fn is_interruption(&self) -> bool {
        self.code.ends_with("/interrupted")
    }

    /// Says that a step could not go on because of this, whoever is to mend it otherwise.
    pub fn while_building(mut self) -> Fault {
        if self.blame == Blame::Asked {
            self.blame = Blame::Build;
        }
        self
    }
}

/// The system's reason in lower case and without its number.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if !text.starts_with(char::is_uppercase) || text.len() < 2 => {
            format!("{first}{}", letters.as_str())
        }
        Some(first) => format!("{}{}", first.to_lowercase(), letters.as_str()),
        None => String::from("unknown error"),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// Everything that is wrong so far, in the order it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The list.
    pub list: Vec<Fault>,
}

impl Faults {
    /// None yet.
    pub fn new() -> Faults {
        Faults::default()
    }

    /// Adds one, unless it is there already: what two ask for is missing once.
    pub fn push(&mut self, fault: Fault) {
        if !self.list.contains(&fault) {
            self.list.push(fault);
        }
    }

    /// Adds what another search found.
    pub fn extend(&mut self, more: impl IntoIterator<Item = Fault>) {
        more.into_iter().for_each(|fault| self.push(fault));
    }

    /// The value of `result`; an error is added instead.
    pub fn keep<T>(&mut self, result: Result<T, impl Into<Faults>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(faults) => {
                self.extend(faults.into());
                None
            }
        }
    }

    /// Whether something keeps the work from going on.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|fault| fault.severity == Severity::Error)
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Faults {
        Faults { list: vec![fault] }
    }
}

impl From<Vec<Fault>> for Faults {
    fn from(list: Vec<Fault>) -> Faults {
        Faults { list }
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;
    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters() {
        let source = Source::new("image.kdl", "a\nbäc d\n");
        let place = Place::new(&source, 5..7);
        assert_eq!(place.line_column(), (2, 3));
        assert_eq!(place.to_string(), "image.kdl:2");
        assert_eq!(
            Place::new(&source, 4..400).text(),
            "äc d\n",
            "a place never cuts a character or leaves the text"
        );
    }

    #[test]
    fn no_space_is_the_machines_fault() {
        let fault = Fault::io("write", Path::new("build/a.tar"), &io::Error::from_raw_os_error(28));
        assert_eq!(fault.blame, Blame::Machine);
        assert_eq!(fault.message, "cannot write `build/a.tar`: no space left on device");
    }
}
