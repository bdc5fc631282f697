//! Slips in strings of any kind.

use std::ops::Range;
use std::sync::Arc;

use super::{one, quoted, short, shown, text_of};
use crate::fault::{Fault, Place, Source};
use crate::lang::syntax::token::is_newline;

pub fn unclosed_string(source: &Arc<Source>, range: Range<usize>, closing: &str) -> Fault {
    let long = closing.starts_with("\"\"\"");
    let help = match long {
        true => format!("close it with `{closing}` on a line of its own"),
        false => format!(
            "close it with `{closing}` on the same line; a text of several lines is written in `\"\"\"`"
        ),
    };
    let message =
        if long { "a string of several lines is not closed" } else { "a string is not closed on its line" };
    one(source, range, "kdl/unclosed-string", message, "begins here").help(help)
}

pub fn string_over_lines(source: &Arc<Source>, range: Range<usize>) -> Fault {
    one(source, range, "kdl/string-lines", "a string in `\"` cannot run over several lines", "begins here").help(
        "write `\"\"\"`, the text on lines of its own, and `\"\"\"` on the last line; or `\\n` for a newline",
    )
}

pub fn escape(source: &Arc<Source>, escape: Range<usize>, string: Range<usize>) -> Fault {
    let typed = shown(source, escape.clone());
    let code = "kdl/escape";
    if typed.starts_with("\\u") {
        return one(source, escape, code, format!("`{typed}` is no escape"), "not known")
            .help("a character is written by its number in hexadecimal, as in `\\u{e9}`");
    }
    let inner = text_of(source, string).trim_matches('"');
    let raw = if inner.contains(is_newline) {
        String::from("#\"…\"#")
    } else {
        format!("#\"{}\"#", short(inner))
    };
    one(source, escape, code, format!("`{typed}` is no escape"), "not known")
        .help(format!("write `\\\\` for a backslash, or `{raw}` for a text that is taken as it stands"))
}

pub fn multi_line_start(source: &Arc<Source>, quotes: Range<usize>, body: &str) -> Fault {
    let help = match body.contains(is_newline) {
        true => "put a newline behind the opening `\"\"\"`".to_string(),
        false => format!("a text of one line is written `{}`", quoted(body)),
    };
    one(
        source,
        quotes,
        "kdl/multi-line",
        "the text of a `\"\"\"` string begins on the next line",
        "begins here",
    )
    .help(help)
}

pub fn multi_line_end(source: &Arc<Source>, quotes: Range<usize>) -> Fault {
    one(source, quotes, "kdl/multi-line", "the closing `\"\"\"` stands behind text", "closed here")
        .help("put the closing `\"\"\"` on a line of its own")
}

pub fn multi_line_indent(source: &Arc<Source>, line: Range<usize>, quotes: Range<usize>) -> Fault {
    let message =
        "a line of a `\"\"\"` string does not begin with the blanks that stand before the closing `\"\"\"`";
    one(source, line, "kdl/multi-line", message, "indented otherwise")
        .at(&Place::new(source, quotes), "closed here")
        .help("indent every line at least as far as the closing `\"\"\"`, with the same tabs or spaces")
}

pub fn lone_raw_quote(source: &Arc<Source>, range: Range<usize>) -> Fault {
    one(source, range, "kdl/raw-string", "a raw string cannot hold a single `\"`", "looks like `\"\"\"`")
        .help("write `\"\\\"\"`")
}

pub fn old_raw_string(source: &Arc<Source>, range: Range<usize>) -> Fault {
    let typed = text_of(source, range.clone()).trim_start_matches('r');
    let new = if typed.starts_with('#') { short(typed) } else { format!("#{}#", short(typed)) };
    one(source, range, "kdl/raw-string", "a raw string has no `r` in KDL 2", "as KDL 1 wrote it")
        .help(format!("write `{new}`"))
}

pub fn foreign_quotes(source: &Arc<Source>, range: Range<usize>) -> Fault {
    let typed = text_of(source, range.clone());
    let mut inner = typed.chars();
    let quote = inner.next().unwrap_or('\'');
    inner.next_back();
    let quote = if quote == '`' { String::from("a backtick") } else { format!("`{quote}`") };
    one(source, range, "kdl/quotes", format!("a string stands in `\"`, not in {quote}"), "these quotes")
        .help(format!("write `{}`", quoted(inner.as_str())))
}
