//! The slips that people make while they write KDL, each as a fault: what is there, and how it is written.
//!
//! Only words are here; the cutter, the guard and the grammar find the slips.

use std::ops::Range;
use std::sync::Arc;

use super::token::is_newline;
use crate::fault::{Fault, Place, Source};
use crate::wording;

mod block;
mod node;
mod string;
mod word;

pub use block::*;
pub use node::*;
pub use string::*;
pub use word::*;

pub fn character(source: &Arc<Source>, range: Range<usize>, count: usize) -> Fault {
    let number = text_of(source, range.clone()).chars().next().map_or(0, u32::from);
    let more = if count > 1 {
        format!(", here and {}", wording::count(count - 1, "more time"))
    } else {
        String::new()
    };
    if number == 0 {
        return one(
            source,
            range,
            "kdl/character",
            format!("this is no text: it holds NUL bytes{more}"),
            "a NUL byte",
        )
        .help("name a text file in UTF-8");
    }
    let what = match number {
        0x200e..=0x2069 => "turns the direction of what is shown",
        0xfeff => "is invisible",
        _ => "is a control character",
    };
    one(
        source,
        range,
        "kdl/character",
        format!("the character U+{number:04X} {what} and is not allowed{more}"),
        "this character",
    )
    .help(format!("delete it; inside a string it is written `\\u{{{number:x}}}`"))
}

pub fn size(source: &Arc<Source>, most: usize) -> Fault {
    let message = format!("`{}` is larger than a manifest can be", source.name);
    one(source, 0..0, "kdl/size", message, "this file")
        .help(format!("the limit is {}; is this the right file?", wording::size(most as u64)))
}

pub fn many(source: &Arc<Source>, range: Range<usize>, most: usize) -> Fault {
    one(source, range, "kdl/size", format!("there are more than {most} nodes and values"), "one too many")
        .help("put long lists into a file of their own, and name it with `from=`")
}

pub fn gave_up(source: &Arc<Source>, range: Range<usize>, count: usize) -> Fault {
    one(source, range, "kdl/too-many", format!("gave up after {count} faults"), "not read beyond this line")
        .help("mend these first; is this a KDL file?")
}

pub fn not_utf8(source: &Arc<Source>, at: usize, byte: u8, utf16: bool) -> Fault {
    let message = format!("`{}` is not UTF-8: byte {at} (0x{byte:02x}) begins no character", source.name);
    let help = match utf16 {
        true => "it looks like UTF-16; save it as UTF-8",
        false => "save it as UTF-8; is it a text file at all?",
    };
    one(source, at..at + '\u{fffd}'.len_utf8(), "kdl/utf8", message, "not UTF-8").help(help)
}

pub fn internal(source: &Arc<Source>, reason: &str) -> Fault {
    one(
        source,
        0..0,
        "kdl/internal",
        format!("reading `{}` failed inside imgbuild: {reason}", source.name),
        "this file",
    )
    .help("please report it, with the file")
}

/// What kdl refused although the grammar here found nothing.
pub fn refused(source: &Arc<Source>, range: Range<usize>, message: &str, help: Option<&str>) -> Fault {
    let help = help.map_or(String::from("https://kdl.dev/spec/ says how KDL is written"), lower);
    one(source, range, "kdl/refused", lower(message), "here").help(help)
}

/// A sentence of kdl as ours are written.
fn lower(sentence: &str) -> String {
    let mut letters = sentence.trim().trim_end_matches('.').chars();
    let first = letters.next().map(|first| first.to_lowercase().to_string()).unwrap_or_default();
    format!("{first}{}", letters.as_str())
}

/// A fault about one range.
fn one(
    source: &Arc<Source>,
    range: Range<usize>,
    code: &'static str,
    message: impl Into<String>,
    label: &str,
) -> Fault {
    Fault::error(code, message).at(&Place::new(source, range), label)
}

/// The text of `range` on one line, short enough for a message.
fn shown(source: &Arc<Source>, range: Range<usize>) -> String {
    short(source.text.get(range).unwrap_or_default())
}

fn short(text: &str) -> String {
    const LONGEST: usize = 40;
    let line = text.split(is_newline).next().unwrap_or_default();
    let mut letters = line.chars();
    let start: String = letters.by_ref().take(LONGEST).collect();
    let more = letters.next().is_some() || line.len() < text.len();
    wording::printable(&start) + if more { "…" } else { "" }
}

/// `text` as KDL writes it in quotes.
fn quoted(text: &str) -> String {
    let text = short(text);
    match text.contains(['"', '\\']) {
        true if text.contains("\"#") => format!("##\"{text}\"##"),
        true => format!("#\"{text}\"#"),
        false => format!("\"{text}\""),
    }
}

fn text_of(source: &Source, range: Range<usize>) -> &str {
    source.text.get(range).unwrap_or_default()
}
