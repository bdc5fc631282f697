//! How a fault looks.
//!
//! Whoever finds a fault says what is wrong, where, and what to do; what becomes of it depends on who is listening:
//!
//! - [`Format::Fancy`], for people at a terminal: the message, the lines of the manifest that it is about, the way
//!   out. It is the one format that leaves things out: fifty faults and eight places of each are as many as anybody
//!   reads at once, and a line is cut to what fits beside its label.
//! - [`Format::Short`], for editors and `grep`: `file:line:column: error: …`, the shape of the GNU coding standards
//!   that quickfix lists and compilation buffers have read for decades. One line a fault, and indented ones below
//!   it for the way out and the last words of a program.
//! - [`Format::Json`], for programs: everything a fault knows, a line each, in a shape that only grows.
//! - [`Format::Github`], for a workflow: the commands that GitHub's runner turns into annotations beside the lines
//!   of a pull request.
//! - [`Format::Sarif`], for code scanning and the viewers of many editors: the OASIS standard for what a tool found,
//!   one document in which all faults stand, and which is there even if there are none.
//!
//! All of them are given text by strangers: a manifest, names of files, what a program wrote. None passes on a
//! character that drives a terminal or hides what stands beside it; the first two spell it out, the JSON ones
//! escape it, which leaves the value as it was. And all answer promptly, however many faults there are and
//! however long the lines.
//!
//! This room knows nothing of what can be wrong, and prints nothing: it makes text.

mod fancy;
mod github;
pub mod json;
mod paint;
mod positions;
mod sarif;
mod short;
mod snippet;
mod visible;

use crate::fault::{Fault, Severity};

/// Who the faults are shown to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: the lines in question, with what is wrong beside them.
    Fancy,
    /// For editors: a line a fault, `file:line:column: error: …`.
    Short,
    /// For programs: a line of JSON a fault.
    Json,
    /// For GitHub workflows: annotations.
    Github,
    /// For code scanning: a SARIF 2.1.0 document.
    Sarif,
}

/// What the place can show that the text goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether it understands colours.
    pub colour: bool,
    /// How many columns it has.
    pub width: usize,
    /// Whether it has more than ASCII to draw lines with.
    pub unicode: bool,
}

/// `faults` in the order given, as text that ends with a newline; no faults are no text, but for SARIF's document.
pub fn render(faults: &[Fault], format: Format, look: &Look) -> String {
    match format {
        Format::Fancy => fancy::render(faults, look),
        Format::Short => short::render(faults, look),
        Format::Json => json::render(faults),
        Format::Github => github::render(faults),
        Format::Sarif => sarif::render(faults),
    }
}

impl Look {
    fn dots(&self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }
}

/// The word that every format has for how bad a fault is.
fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// What a program said last, fit to be shown.
fn last_lines<'a>(output: &'a [String], dots: &'a str) -> impl Iterator<Item = String> + 'a {
    let shown = output.iter().skip(output.len().saturating_sub(LAST_LINES));
    shown.map(move |line| visible::clip(&visible::program_line(line), MESSAGE, dots).into_owned())
}

/// As many of a fault's places are shown to people; a thousand say no more, and take a drawing seconds.
const PLACES: usize = 8;

/// As many of a program's last lines are shown to people.
const LAST_LINES: usize = 40;

/// As many characters of a message are shown to people; a name in it may be a megabyte long.
const MESSAGE: usize = 2000;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
