//! Before the parser: what a text must be before anything reads it with care.
//!
//! The kdl crate overflows its stack on deep nesting, and takes exponential time on blocks that `/-` takes away, so
//! no text reaches it that was not looked through here: its size, its characters, its strings and comments, and its
//! braces. One pass, linear time, no recursion. Braces are blamed where they open; where the indentation shows it,
//! also where they should have closed. Knows nothing of nodes.

use std::ops::Range;
use std::sync::Arc;

use super::syntax::token::{self, Kind, Token, Tokens};
use super::syntax::{self, slip};
use crate::fault::{Fault, Source};

/// Larger texts are refused.
pub const LARGEST: usize = 4 << 20;

/// Blocks deeper than this are refused.
pub const DEEPEST: usize = 64;

/// All that is wrong with the size, characters, strings, comments and braces of `source`.
///
/// A text that passes is still no text for kdl itself: its valid `/-` blocks may take exponential time there, and
/// its comments overflow the stack. [`syntax::parse`] takes both out first.
pub fn guard(source: &Arc<Source>) -> Result<(), Vec<Fault>> {
    let tokens = tokens(source)?;
    if tokens.faults.is_empty() { Ok(()) } else { Err(syntax::in_order(source, tokens.faults)) }
}

/// The tokens of `source`, with the faults of its braces among theirs; an error if it is not worth reading on.
pub(super) fn tokens(source: &Arc<Source>) -> Result<Tokens, Vec<Fault>> {
    if source.text.len() > LARGEST {
        return Err(vec![slip::size(source, LARGEST)]);
    }
    let character = characters(source);
    if let Some(fault) = character.as_ref().filter(|_| source.text.contains('\0')) {
        return Err(vec![fault.clone()]);
    }
    let mut tokens = token::cut(source);
    match braces(source, &tokens) {
        Ok(faults) => tokens.faults.extend(faults),
        Err(fault) => return Err(vec![fault]),
    }
    tokens.faults.extend(character);
    Ok(tokens)
}

/// The first character that KDL does not allow; if there are more, their count.
fn characters(source: &Arc<Source>) -> Option<Fault> {
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    let skipped = source.text.len() - text.len();
    // A file of NUL bytes is to be called that, whatever else it holds.
    let found = text.find('\0').or_else(|| text.find(token::is_disallowed))?;
    let letter = text.get(found..)?.chars().next()?;
    let count = text.chars().filter(|other| *other == letter).count();
    let start = found + skipped;
    Some(slip::character(source, start..start + letter.len_utf8(), count))
}

/// A block that is open.
struct Block {
    brace: Range<usize>,
    /// Where its node begins.
    head: usize,
    /// How far the line with its brace is indented.
    indent: usize,
    /// How far the first line inside is indented.
    inner: Option<usize>,
}

/// Where the indentation says that a block ended, though its brace did not close yet.
struct Hint {
    brace: Range<usize>,
    head: usize,
    outside: Range<usize>,
}

#[derive(Default)]
struct Braces {
    open: Vec<Block>,
    hint: Option<Hint>,
    last_close: Option<Range<usize>>,
    faults: Vec<Fault>,
}

/// Matches braces. An error is a nesting so deep that nothing else is worth saying.
fn braces(source: &Arc<Source>, tokens: &Tokens) -> Result<Vec<Fault>, Fault> {
    let mut state = Braces::default();
    let (mut indent, mut head, mut fresh_line) = (0, None, true);
    for token in &tokens.list {
        let range = token.range();
        match token.kind {
            Kind::Newline => (indent, head, fresh_line) = (0, None, true),
            Kind::Blank if fresh_line => indent = range.len(),
            Kind::Blank | Kind::LineComment | Kind::BlockComment => {}
            kind => {
                if fresh_line {
                    state.line(indent, *token);
                }
                fresh_line = false;
                let start = *head.get_or_insert(range.start);
                match kind {
                    Kind::Open if state.open.len() == DEEPEST => {
                        return Err(slip::depth(source, range, DEEPEST));
                    }
                    Kind::Open => state.open.push(Block { brace: range, head: start, indent, inner: None }),
                    Kind::Close => state.close(source, range),
                    _ => {}
                }
                if matches!(kind, Kind::Open | Kind::Close | Kind::Semicolon) {
                    head = None;
                }
            }
        }
    }
    if tokens.torn {
        return Ok(Vec::new());
    }
    Ok(state.finish(source))
}

impl Braces {
    /// A line begins: is it indented as if the innermost block had ended?
    fn line(&mut self, indent: usize, first: Token) {
        let Some(block) = self.open.last_mut() else { return };
        let closes = first.kind == Kind::Close;
        if !closes && block.inner.is_none() {
            block.inner = Some(indent);
        }
        // Where the block itself is not indented, a line that is not either tells nothing; a `}` does.
        let indented = block.inner.is_some_and(|inner| inner > block.indent);
        let outside = if closes { indent < block.indent } else { indented && indent <= block.indent };
        if self.hint.is_none() && outside {
            let brace = block.brace.clone();
            self.hint = Some(Hint { brace, head: block.head, outside: first.range() });
        }
    }

    fn close(&mut self, source: &Arc<Source>, range: Range<usize>) {
        if self.open.pop().is_some() {
            self.last_close = Some(range);
        } else if self.faults.len() < token::MOST_FAULTS {
            self.faults.push(slip::unopened(source, range, self.last_close.clone()));
        }
    }

    fn finish(mut self, source: &Arc<Source>) -> Vec<Fault> {
        let head_of = |head: usize, brace: &Range<usize>| {
            source.text.get(head..brace.start).unwrap_or_default().trim_end_matches([' ', '\t', '-', '/'])
        };
        let Some(innermost) = self.open.last() else { return self.faults };
        let fault = match &self.hint {
            Some(hint) => {
                let head = head_of(hint.head, &hint.brace);
                slip::unclosed(source, head, std::slice::from_ref(&hint.brace), Some(hint.outside.clone()))
            }
            None => {
                let braces: Vec<_> = self.open.iter().rev().map(|block| block.brace.clone()).collect();
                slip::unclosed(source, head_of(innermost.head, &innermost.brace), &braces, None)
            }
        };
        self.faults.push(fault);
        self.faults
    }
}
