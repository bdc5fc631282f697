//! Slips in what opens and closes: blocks and comments.

use std::ops::Range;
use std::sync::Arc;

use super::{one, short, text_of};
use crate::fault::{Fault, Place, Source};
use crate::lang::syntax::token::{is_blank, is_newline};
use crate::wording;

pub fn unclosed_comment(source: &Arc<Source>, open: &[usize]) -> Fault {
    let place = |at: usize| Place::new(source, at..at + 2);
    let outer = open.first().copied().unwrap_or_default();
    let glued = text_of(source, 0..outer)
        .chars()
        .next_back()
        .is_some_and(|letter| !is_blank(letter) && !is_newline(letter));
    let fault =
        Fault::error("kdl/unclosed-comment", "a comment is not closed").at(&place(outer), "begins here");
    let fault = match open.last() {
        Some(inner) if *inner != outer => fault.at(&place(*inner), "another comment begins inside"),
        _ => fault,
    };
    match glued {
        true => {
            fault.help("a path with `/*` stands in quotes, as in `\"hooks/*\"`; a comment ends with `*/`")
        }
        false => fault.help("close it with `*/`; comments nest, so each `/*` needs a `*/` of its own"),
    }
}

pub fn comment_depth(source: &Arc<Source>, range: Range<usize>, most: usize) -> Fault {
    one(source, range, "kdl/comment-depth", format!("comments are nested deeper than {most}"), "one too deep")
        .help("comment out lines with `//`, or a node with `/-`")
}

pub fn depth(source: &Arc<Source>, range: Range<usize>, most: usize) -> Fault {
    one(source, range, "kdl/depth", format!("blocks are nested deeper than {most}"), "one too deep")
        .help("no manifest needs as many; is a `}` missing further up?")
}

pub fn unopened(source: &Arc<Source>, range: Range<usize>, last: Option<Range<usize>>) -> Fault {
    let fault = one(source, range, "kdl/unopened", "this `}` closes nothing", "no block is open here");
    match last {
        Some(last) => fault.at(&Place::new(source, last), "the last block was closed here"),
        None => fault,
    }
    .help("take the `}` away, or put the `{` that it should close before it")
}

/// `outside` is where the indentation shows that the block should have ended.
pub fn unclosed(
    source: &Arc<Source>,
    head: &str,
    braces: &[Range<usize>],
    outside: Option<Range<usize>>,
) -> Fault {
    const SHOWN: usize = 4;
    let (head, count) = (short(head), braces.len());
    let message = match (count, head.as_str()) {
        (0 | 1, "") => String::from("a block is not closed"),
        (0 | 1, head) => format!("the block of `{head}` is not closed"),
        _ => format!("{} are not closed", wording::count(count, "block")),
    };
    let mut fault = Fault::error("kdl/unclosed", message);
    for (number, brace) in braces.iter().take(SHOWN).enumerate() {
        let label = if number == 0 { "opened here" } else { "and here" };
        fault = fault.at(&Place::new(source, brace.clone()), label);
    }
    let closing = wording::plural(count, "`}`").replace("`s", "`");
    match outside.map(|range| Place::new(source, range)) {
        Some(place) => {
            let line = place.line_column().0;
            fault
                .at(&place, "this line looks as if it stood outside of it")
                .help(format!("add a `}}` before line {line}"))
        }
        None => fault.help(match count {
            0 | 1 => String::from("add a `}` where the block ends"),
            _ => format!("add {count} {closing}, one where each block ends"),
        }),
    }
}
