//! Text cut into tokens, in one pass, in linear time and without recursion.
//!
//! Follows the KDL 2.0 specification (<https://kdl.dev/spec/>, sections "Whitespace", "Newline", "Comments",
//! "String", "Number" and "Disallowed Literal Code Points"). What cannot be a token of KDL becomes one of kind
//! [`Kind::Bad`] with a fault of its own; readers take it for some value, so that one slip is one fault. It knows
//! nothing of nodes: the grammar reads the tokens.

use std::ops::Range;
use std::sync::Arc;

use super::slip;
use crate::fault::{Fault, Source};

mod string;

/// Block comments deeper than this are refused.
const COMMENT_DEPTH: usize = 16;

/// More faults than this help nobody; reading stops there.
pub const MOST_FAULTS: usize = 100;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Blanks, but no newline.
    Blank,
    /// One newline of any of KDL's kinds.
    Newline,
    /// `// …`, without its newline.
    LineComment,
    /// `/* … */`.
    BlockComment,
    /// `/-`.
    SlashDash,
    /// `;`.
    Semicolon,
    /// `{`.
    Open,
    /// `}`.
    Close,
    /// `(`.
    OpenType,
    /// `)`.
    CloseType,
    /// `=`.
    Equals,
    /// `\` before the end of a line.
    Backslash,
    /// A run of identifier characters: a name or a number.
    Word,
    /// A string in quotes of any kind.
    Text,
    /// `#true` and its like.
    Keyword,
    /// Not KDL, and already reported.
    Bad,
}

/// A piece of the text.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    // Offsets of 32 bits: a text of 4 MiB can be that many tokens.
    start: u32,
    end: u32,
}

impl Token {
    /// The bytes it covers.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A text that was cut.
#[derive(Debug, Default)]
pub struct Tokens {
    /// The tokens, one behind the other without gaps.
    pub list: Vec<Token>,
    /// What was wrong inside tokens.
    pub faults: Vec<Fault>,
    /// Whether a broken token may have swallowed braces, so that counting them says nothing.
    pub torn: bool,
}

/// Cuts `source` into tokens.
pub fn cut(source: &Arc<Source>) -> Tokens {
    let mut cutter = Cutter { source, text: &source.text, at: 0, out: Tokens::default(), hash_line: None };
    if source.text.starts_with('\u{feff}') {
        cutter.take(Kind::Blank, '\u{feff}'.len_utf8());
    }
    while let Some(first) = cutter.peek() {
        cutter.step(first);
        if cutter.out.faults.len() >= MOST_FAULTS {
            cutter.out.torn = true;
            break;
        }
    }
    cutter.out
}

struct Cutter<'a> {
    source: &'a Arc<Source>,
    text: &'a str,
    at: usize,
    out: Tokens,
    /// Where the last `# …` ended: a run of such lines is one fault.
    hash_line: Option<usize>,
}

impl<'a> Cutter<'a> {
    fn step(&mut self, first: char) {
        match first {
            ';' => self.take(Kind::Semicolon, 1),
            '{' => self.take(Kind::Open, 1),
            '}' => self.take(Kind::Close, 1),
            '(' => self.take(Kind::OpenType, 1),
            ')' => self.take(Kind::CloseType, 1),
            '=' => self.take(Kind::Equals, 1),
            '\r' if self.rest().starts_with("\r\n") => self.take(Kind::Newline, 2),
            '"' => self.quoted(),
            '#' => self.hash(),
            '/' => self.slash(),
            '\\' if self.at_line_end() => self.take(Kind::Backslash, 1),
            '\\' => self.clump(self.at),
            '[' | ']' => self.brackets(),
            _ if is_newline(first) => self.take(Kind::Newline, first.len_utf8()),
            _ if is_blank(first) => self.take_while(Kind::Blank, is_blank),
            _ => self.word(first),
        }
    }

    fn word(&mut self, first: char) {
        let start = self.at;
        if let Some(length) = foreign_quotes(first, self.rest()) {
            self.at += length;
            let fault = slip::foreign_quotes(self.source, start..self.at);
            return self.bad(start, fault);
        }
        self.skip_while(is_word_char);
        let word = self.since(start);
        let rest = self.rest();
        if word == "r" && rest.trim_start_matches('#').starts_with('"') {
            self.old_raw_string(start);
        } else if self.goes_on(word, rest) {
            self.clump(start);
        } else {
            self.push(Kind::Word, start);
        }
    }

    /// Whether a word runs into something that people meant to be a part of it.
    fn goes_on(&self, word: &str, rest: &str) -> bool {
        match rest.chars().next() {
            // `http://…`: to KDL the word `http:` and a comment.
            Some('/') if rest.starts_with("//") => word.ends_with(':'),
            Some('/') => !rest.starts_with("/*"),
            Some('\\') => !self.at_line_end(),
            Some('[' | ']' | '#' | '(') => true,
            Some('{') => word.ends_with('$'),
            _ => false,
        }
    }

    /// A bare word with characters that need quotes: a path, an address, `${VARIABLE}`.
    fn clump(&mut self, start: usize) {
        while let Some(letter) = self.peek() {
            match letter {
                '{' if self.since(start).ends_with('$') => match variable(self.rest()) {
                    Some(length) => self.at += length,
                    None => break,
                },
                ';' | '{' | '}' | '"' => break,
                letter if is_space(letter) => break,
                letter => self.at += letter.len_utf8(),
            }
        }
        if self.at == start {
            self.at += self.peek().map_or(0, char::len_utf8);
        }
        let fault = slip::needs_quotes(self.source, start..self.at);
        self.bad(start, fault);
    }

    fn slash(&mut self) {
        let rest = self.rest();
        if rest.starts_with("//") {
            self.take_while(Kind::LineComment, |letter| !is_newline(letter));
        } else if rest.starts_with("/*") {
            self.block_comment();
        } else if rest.starts_with("/-") {
            self.take(Kind::SlashDash, 2);
        } else {
            self.clump(self.at);
        }
    }

    fn block_comment(&mut self) {
        let start = self.at;
        let mut open = Vec::new();
        loop {
            let rest = self.rest();
            let Some(found) = rest.find(['*', '/']) else { break };
            let rest = rest.get(found..).unwrap_or_default();
            self.at += found;
            if rest.starts_with("*/") && !open.is_empty() {
                self.at += 2;
                open.pop();
                if open.is_empty() {
                    return self.push(Kind::BlockComment, start);
                }
            } else if rest.starts_with("/*") {
                if open.len() == COMMENT_DEPTH {
                    let fault = slip::comment_depth(self.source, self.at..self.at + 2, COMMENT_DEPTH);
                    return self.lose_the_rest(start, fault);
                }
                open.push(self.at);
                self.at += 2;
            } else {
                self.at += 1;
            }
        }
        let fault = slip::unclosed_comment(self.source, &open);
        self.lose_the_rest(start, fault);
    }

    /// `#true`, a raw string, or a comment as shells write it.
    fn hash(&mut self) {
        let start = self.at;
        let hashes = self.rest().bytes().take_while(|byte| *byte == b'#').count();
        if self.rest().as_bytes().get(hashes) == Some(&b'"') {
            return self.raw_string(hashes);
        }
        let node_start = self.at_node_start();
        self.at += hashes;
        let next = self.peek();
        self.skip_while(is_word_char);
        if hashes == 1 && KEYWORDS.contains(&self.since(start)) {
            return self.push(Kind::Keyword, start);
        }
        if node_start || hashes > 1 || next.is_none_or(|next| is_space(next) || next == '!') {
            return self.hash_comment(start);
        }
        let fault = slip::unknown_keyword(self.source, start..self.at);
        self.bad(start, fault);
    }

    fn hash_comment(&mut self, start: usize) {
        self.skip_while(|letter| !is_newline(letter));
        let between = self.hash_line.and_then(|end| self.text.get(end..start));
        if !between.is_some_and(|between| between.chars().all(is_space)) {
            let fault = slip::hash_comment(self.source, start..self.at);
            self.out.faults.push(fault);
        }
        self.hash_line = Some(self.at);
        self.push(Kind::LineComment, start);
    }

    /// `["a", "b"]`, or `[section]`.
    fn brackets(&mut self) {
        // A list is short; and looking no further keeps a text full of `[` linear.
        const LIST: usize = 4096;
        let (start, section) = (self.at, self.at_node_start());
        let near = self.rest().get(..self.rest().floor_char_boundary(LIST)).unwrap_or_default();
        let length = match near.find([']', '{', '}']) {
            Some(end) if near.as_bytes().get(end) == Some(&b']') => end + 1,
            _ => 1,
        };
        self.at += length;
        if self.rest().starts_with(',') {
            self.at += 1;
        }
        let fault = slip::brackets(self.source, start..start + length, section);
        self.bad(start, fault);
    }

    /// Whether nothing but blanks stands between here and the beginning of a node.
    fn at_node_start(&self) -> bool {
        let before = self.out.list.iter().rev().find(|token| token.kind != Kind::Blank);
        before.is_none_or(|token| {
            matches!(
                token.kind,
                Kind::Newline | Kind::Semicolon | Kind::Open | Kind::Close | Kind::LineComment
            )
        })
    }

    /// Whether the `\` here has only blanks and comments behind it on its line.
    fn at_line_end(&self) -> bool {
        let behind = self.rest().get(1..).unwrap_or_default().trim_start_matches(is_blank);
        behind.is_empty()
            || behind.starts_with(is_newline)
            || behind.starts_with("//")
            || behind.starts_with("/*")
    }

    fn lose_the_rest(&mut self, start: usize, fault: Fault) {
        self.at = self.text.len();
        self.out.torn = true;
        self.bad(start, fault);
    }

    fn bad(&mut self, start: usize, fault: Fault) {
        self.out.faults.push(fault);
        self.push(Kind::Bad, start);
    }

    fn take(&mut self, kind: Kind, length: usize) {
        let start = self.at;
        self.at += length;
        self.push(kind, start);
    }

    fn take_while(&mut self, kind: Kind, belongs: impl Fn(char) -> bool) {
        let start = self.at;
        self.skip_while(belongs);
        self.push(kind, start);
    }

    fn push(&mut self, kind: Kind, start: usize) {
        // The guard has refused what does not fit 32 bits.
        let fit = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        self.out.list.push(Token { kind, start: fit(start), end: fit(self.at) });
    }

    fn skip_while(&mut self, belongs: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.find(|letter| !belongs(letter)).unwrap_or(rest.len());
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }
}

/// Specification, "Keyword" and "Keyword Number".
pub const KEYWORDS: [&str; 6] = ["#true", "#false", "#null", "#inf", "#-inf", "#nan"];

/// Specification, "Newline".
pub fn is_newline(letter: char) -> bool {
    matches!(letter, '\n' | '\r' | '\u{85}' | '\u{b}' | '\u{c}' | '\u{2028}' | '\u{2029}')
}

/// Specification, "Whitespace".
pub fn is_blank(letter: char) -> bool {
    matches!(
        letter,
        '\t' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

fn is_space(letter: char) -> bool {
    is_blank(letter) || is_newline(letter)
}

/// Specification, "Disallowed Literal Code Points".
pub fn is_disallowed(letter: char) -> bool {
    matches!(letter,
        '\0'..='\u{8}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{200e}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Specification, "Identifier String"; what is disallowed everywhere counts, as it is reported elsewhere.
fn is_word_char(letter: char) -> bool {
    !is_space(letter)
        && !matches!(letter, '\\' | '/' | '(' | ')' | '{' | '}' | ';' | '[' | ']' | '"' | '#' | '=')
}

/// The length of `{NAME}` behind `$`.
fn variable(rest: &str) -> Option<usize> {
    // A name is short; and looking no further keeps a text full of `${` linear.
    const NAME: usize = 100;
    let near = rest.as_bytes().iter().take(NAME);
    let end = near.take_while(|byte| byte.is_ascii_graphic()).position(|byte| *byte == b'}')?;
    Some(end + 1)
}

/// The length of a string in quotes that KDL does not have, if it ends on its line.
fn foreign_quotes(first: char, rest: &str) -> Option<usize> {
    // What opens also closes, so that a line is searched in vain at most once for each kind.
    let closing: &[char] = match first {
        '\'' => &['\''],
        '`' => &['`'],
        '\u{2018}' | '\u{2019}' | '\u{201a}' => &['\u{2018}', '\u{2019}', '\u{201a}'],
        '\u{201c}' | '\u{201d}' | '\u{201e}' => &['\u{201c}', '\u{201d}', '\u{201e}', '"'],
        _ => return None,
    };
    let behind = rest.get(first.len_utf8()..)?;
    let end = behind.find(|letter| closing.contains(&letter) || is_newline(letter))?;
    let last = behind.get(end..)?.chars().next().filter(|last| !is_newline(*last))?;
    Some(first.len_utf8() + end + last.len_utf8())
}
