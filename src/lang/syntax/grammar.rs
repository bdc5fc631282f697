//! The grammar of KDL over tokens: finds every slip in the shape of nodes, and what `/-` takes away.
//!
//! Follows the KDL 2.0 specification (<https://kdl.dev/spec/>, "Full Grammar"). It builds nothing: the kdl crate
//! does, from a text that passed here. Blocks are kept on a list, not on the stack. A slip costs one fault: reading
//! goes on behind it within its node where the rest can be understood, else with the next node. Unbalanced braces
//! are the guard's business and pass in silence.

use std::ops::Range;
use std::sync::Arc;

use super::number::{BARE_KEYWORDS, Number, is_bare_string, number};
use super::slip;
use super::token::{Kind, MOST_FAULTS, Token};
use crate::fault::{Fault, Source};

/// The kdl crate takes some two microseconds for each: this many are half a second.
const MOST_WORDS: usize = 200_000;

/// What the grammar says of a text.
#[derive(Debug, Default)]
pub struct Reading {
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// Comments, and what `/-` takes away.
    pub away: Vec<Range<usize>>,
}

/// Reads the tokens of `source`.
pub fn read(source: &Arc<Source>, tokens: &[Token]) -> Reading {
    let mut reader = Reader { source, tokens, at: 0, words: 0, open: Vec::new(), out: Reading::default() };
    while reader.out.faults.len() < MOST_FAULTS && reader.words <= MOST_WORDS {
        reader.line_space();
        let Some(kind) = reader.kind() else { break };
        match kind {
            Kind::Close => reader.close(),
            Kind::Semicolon => {
                let range = reader.advance();
                reader.fault(slip::lone_semicolon(source, range));
            }
            Kind::SlashDash => reader.node_away(),
            _ => reader.node(None),
        }
    }
    reader.out
}

/// A node whose end has not been read.
#[derive(Default)]
struct Node {
    /// Where the `/-` stands that takes all of it away.
    away: Option<usize>,
    /// Where the `/-` stands that takes the block away that is being read.
    block_away: Option<usize>,
    /// Whether it had the block that it may have.
    full: bool,
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    tokens: &'a [Token],
    at: usize,
    words: usize,
    /// The nodes whose blocks are open.
    open: Vec<Node>,
    out: Reading,
}

impl Reader<'_> {
    fn node_away(&mut self) {
        let slashdash = self.advance();
        self.line_space();
        match self.kind() {
            None | Some(Kind::Close | Kind::Semicolon | Kind::SlashDash) => {
                self.fault(slip::lone_slashdash(self.source, slashdash));
            }
            _ => self.node(Some(slashdash.start)),
        }
    }

    fn node(&mut self, away: Option<usize>) {
        let node = Node { away, ..Node::default() };
        if self.kind() == Some(Kind::Open) {
            let brace = self.advance();
            self.fault(slip::nameless_block(self.source, brace));
            return self.open.push(Node { full: true, ..node });
        }
        if self.kind() == Some(Kind::OpenType) && self.type_annotation().is_none() {
            return self.skip_node(node);
        }
        if self.name() { self.entries(node) } else { self.skip_node(node) }
    }

    /// Reads a node's name; false if what stands there is so far from one that the rest tells nothing.
    fn name(&mut self) -> bool {
        let Some(token) = self.peek().filter(|token| is_value(token.kind)) else {
            let range = self.peek().map_or(self.end()..self.end(), Token::range);
            self.fault(slip::nameless(self.source, range));
            return false;
        };
        let name = self.value_token();
        if token.kind == Kind::Keyword {
            self.fault(slip::nameless(self.source, name));
            return true;
        }
        if self.equals_follows() {
            self.nameless_property(name, token.kind);
            return true;
        }
        if token.kind == Kind::Word {
            let word = self.text(&name);
            let fault = match number(word) {
                Number::Not if BARE_KEYWORDS.contains(&word) => {
                    Some(slip::bare_keyword(self.source, name.clone(), None, false))
                }
                Number::Not => self.trailing(&name),
                Number::Good | Number::Large => Some(slip::number_as_name(self.source, name.clone())),
                Number::Bad => Some(slip::number(self.source, name.clone(), None)),
            };
            self.out.faults.extend(fault);
        }
        self.glued(name);
        true
    }

    /// `nginx=1.26` where a node's name belongs.
    fn nameless_property(&mut self, key: Range<usize>, kind: Kind) {
        let blanks = self.node_space();
        let equals = self.advance();
        let loose = self.node_space() || blanks;
        let value_kind = self.kind().filter(|kind| is_value(*kind));
        let value = match value_kind {
            Some(_) => self.value_token(),
            None => equals.end..equals.end,
        };
        let value = value.start..self.skip_glued().max(value.end);
        if kind != Kind::Bad && value_kind != Some(Kind::Bad) {
            self.fault(slip::nameless_property(self.source, key, value, loose));
        }
    }

    /// What stands behind a node's name, up to its end or into its block.
    fn entries(&mut self, mut node: Node) {
        loop {
            let spaced = self.node_space();
            match self.kind() {
                None | Some(Kind::Newline | Kind::LineComment | Kind::Semicolon | Kind::Close) => {
                    return self.finish(node);
                }
                Some(Kind::Open) => {
                    self.advance();
                    node.full = true;
                    return self.open.push(node);
                }
                Some(Kind::SlashDash) => {
                    let slashdash = self.advance();
                    if !spaced {
                        self.fault(slip::glued_slashdash(self.source, slashdash.clone()));
                    }
                    self.line_space();
                    if self.kind() == Some(Kind::Open) {
                        return self.open_away(node, slashdash.start);
                    }
                    self.entry_away(slashdash);
                }
                Some(_) => self.entry(),
            }
        }
    }

    fn entry_away(&mut self, slashdash: Range<usize>) {
        match self.kind() {
            Some(kind) if is_value(kind) || kind == Kind::OpenType => {
                self.entry();
                self.out.away.push(slashdash.start..self.end());
            }
            _ => self.fault(slip::lone_slashdash(self.source, slashdash)),
        }
    }

    fn open_away(&mut self, mut node: Node, slashdash: usize) {
        self.advance();
        node.block_away = Some(slashdash);
        self.open.push(node);
    }

    /// A value or a property.
    fn entry(&mut self) {
        let Some(token) = self.peek() else { return };
        match token.kind {
            Kind::OpenType => self.typed_entry(),
            Kind::CloseType => {
                let range = self.advance();
                self.fault(slip::lone_parenthesis(self.source, range));
            }
            Kind::Equals => {
                let range = self.advance();
                self.fault(slip::lone_equals(self.source, range));
                self.skip_glued();
            }
            kind if is_value(kind) => {
                let value = self.value_token();
                if self.equals_follows() { self.property(value, kind) } else { self.value(kind, value, None) }
            }
            _ => {
                let range = self.advance();
                self.fault(slip::needs_quotes(self.source, range));
            }
        }
    }

    fn typed_entry(&mut self) {
        let (Some(annotation), Some(kind)) = (self.type_annotation(), self.kind()) else { return };
        let value = self.value_token();
        if self.equals_follows() {
            self.fault(slip::typed_key(self.source, annotation));
            self.node_space();
            self.skip_glued();
        } else {
            self.value(kind, value, None);
        }
    }

    fn property(&mut self, key: Range<usize>, key_kind: Kind) {
        let bare = key_kind == Kind::Word;
        if key_kind == Kind::Keyword || (bare && !is_bare_string(self.text(&key))) {
            self.fault(slip::bad_key(self.source, key.clone()));
        }
        self.node_space();
        let equals = self.advance();
        let after_equals = self.at;
        let loose = self.node_space();
        if self.kind() == Some(Kind::OpenType) && self.type_annotation().is_none() {
            return;
        }
        let Some(kind) = self.kind().filter(|kind| is_value(*kind)) else {
            if self.kind() == Some(Kind::Equals) {
                let end = self.skip_glued();
                return self.fault(slip::second_equals(self.source, key.start..end));
            }
            // The blanks behind the `=` belong to what follows.
            self.at = after_equals;
            return self.fault(slip::no_value(self.source, key.start..equals.end));
        };
        let value = self.value_token();
        if self.kind() == Some(Kind::Equals) {
            let end = self.skip_glued();
            return self.fault(slip::second_equals(self.source, key.start..end));
        }
        let key = (self.source.text.get(key).unwrap_or_default(), bare && !loose);
        self.value(kind, value, Some(key));
    }

    /// Checks a value that was read; `key` is its property's name, and whether all of it is one bare word.
    fn value(&mut self, kind: Kind, range: Range<usize>, key: Option<(&str, bool)>) {
        if kind == Kind::Word {
            let word = self.text(&range);
            let place = range.clone();
            let fault = match number(word) {
                Number::Good => None,
                Number::Large => Some(slip::large_number(self.source, place)),
                Number::Bad => Some(slip::number(self.source, place, key)),
                Number::Not if BARE_KEYWORDS.contains(&word) => {
                    Some(slip::bare_keyword(self.source, place, key.map(|(key, _)| key), true))
                }
                Number::Not => self.trailing(&range),
            };
            self.out.faults.extend(fault);
        }
        self.glued(range);
    }

    /// The fault of a word that ends as lists and mappings of other languages would have it.
    fn trailing(&self, range: &Range<usize>) -> Option<Fault> {
        let last = self.text(range).chars().next_back()?;
        matches!(last, ',' | ':').then(|| slip::trailing(self.source, range.clone(), last))
    }

    /// What stands behind a value without a blank.
    fn glued(&mut self, before: Range<usize>) {
        let Some(token) = self.peek().filter(|token| is_value(token.kind) || is_parenthesis(token.kind))
        else {
            return;
        };
        let silent = token.kind == Kind::Bad || self.before() == Some(Kind::Bad);
        let start = self.end();
        let end = self.skip_glued();
        if !silent {
            self.fault(slip::no_blank(self.source, before, start..end));
        }
    }

    /// Skips values and signs that stand together without blanks; where the last of them ends.
    fn skip_glued(&mut self) -> usize {
        while self.kind().is_some_and(|kind| is_value(kind) || is_parenthesis(kind) || kind == Kind::Equals) {
            self.advance();
        }
        self.end()
    }

    /// `(name)` with a value behind it; nothing if it is not that, which has then been reported.
    fn type_annotation(&mut self) -> Option<Range<usize>> {
        let start = self.advance().start;
        self.node_space();
        let named = match self.peek() {
            Some(token) if token.kind == Kind::Word => is_bare_string(self.text(&token.range())),
            Some(token) => matches!(token.kind, Kind::Text | Kind::Bad),
            None => false,
        };
        if named {
            self.advance();
            self.node_space();
        }
        let closed = named && self.kind() == Some(Kind::CloseType);
        while self.kind().is_some_and(|kind| !ends_node(kind) && kind != Kind::CloseType) {
            self.advance();
        }
        if self.kind() == Some(Kind::CloseType) {
            self.advance();
        }
        let range = start..self.end();
        if !closed {
            self.fault(slip::bad_type(self.source, range));
            self.skip_glued();
            return None;
        }
        self.node_space();
        if self.kind().is_some_and(is_value) {
            return Some(range);
        }
        self.fault(slip::typeless(self.source, range));
        if self.kind() == Some(Kind::SlashDash) {
            self.advance();
        }
        None
    }

    /// A block ends; then what may still follow within its node.
    fn close(&mut self) {
        self.advance();
        let Some(mut node) = self.open.pop() else { return };
        if let Some(start) = node.block_away.take() {
            self.out.away.push(start..self.end());
        }
        self.node_space();
        match self.kind() {
            None | Some(Kind::Newline | Kind::LineComment | Kind::Semicolon | Kind::Close) => {
                self.finish(node)
            }
            Some(Kind::Open) => {
                let brace = self.advance();
                if node.full {
                    self.fault(slip::second_block(self.source, brace));
                }
                node.full = true;
                self.open.push(node);
            }
            Some(Kind::SlashDash) => {
                let slashdash = self.advance();
                self.line_space();
                match self.kind() {
                    Some(Kind::Open) => self.open_away(node, slashdash.start),
                    _ => self.behind_block(node, slashdash),
                }
            }
            Some(_) => {
                let range = self.advance();
                self.behind_block(node, range);
            }
        }
    }

    fn behind_block(&mut self, node: Node, range: Range<usize>) {
        self.fault(slip::same_line(self.source, range));
        self.skip_node(node);
    }

    /// Gives the rest of a node's line up, but not its block.
    fn skip_node(&mut self, node: Node) {
        while self.kind().is_some_and(|kind| !ends_node(kind)) {
            self.advance();
        }
        if self.kind() == Some(Kind::Open) {
            self.advance();
            return self.open.push(Node { full: true, ..node });
        }
        self.finish(node);
    }

    fn finish(&mut self, node: Node) {
        if self.kind() == Some(Kind::Semicolon) {
            self.advance();
        }
        self.word();
        if let Some(start) = node.away {
            self.out.away.push(start..self.end());
        }
    }

    /// Specification, `node-space`: blanks, comments, and newlines behind `\`. Whether there were any.
    fn node_space(&mut self) -> bool {
        let start = self.at;
        loop {
            match self.kind() {
                Some(Kind::Blank) => self.at += 1,
                Some(Kind::BlockComment) => self.comment(),
                Some(Kind::Backslash) if self.backslash_joins() => self.join_lines(),
                _ => break,
            }
        }
        self.at > start
    }

    fn comment(&mut self) {
        let comment = self.advance();
        self.out.away.push(comment);
    }

    /// Whether only blanks and comments stand between the `\` here and the end of its line.
    fn backslash_joins(&self) -> bool {
        let behind = self.tokens.get(self.at + 1..).unwrap_or_default();
        let next = behind.iter().find(|token| !matches!(token.kind, Kind::Blank | Kind::BlockComment));
        next.is_none_or(|token| matches!(token.kind, Kind::Newline | Kind::LineComment))
    }

    fn join_lines(&mut self) {
        self.at += 1;
        loop {
            match self.kind() {
                Some(Kind::Blank) => self.at += 1,
                Some(Kind::BlockComment | Kind::LineComment) => self.comment(),
                Some(Kind::Newline) => return self.at += 1,
                _ => return,
            }
        }
    }

    /// Specification, `line-space`.
    fn line_space(&mut self) {
        while self.node_space() || matches!(self.kind(), Some(Kind::Newline | Kind::LineComment)) {
            match self.kind() {
                Some(Kind::Newline) => self.at += 1,
                Some(Kind::LineComment) => self.comment(),
                _ => {}
            }
        }
    }

    fn equals_follows(&self) -> bool {
        let behind = self.tokens.get(self.at..).unwrap_or_default();
        let next = behind.iter().find(|token| !matches!(token.kind, Kind::Blank | Kind::BlockComment));
        next.is_some_and(|token| token.kind == Kind::Equals)
    }

    fn value_token(&mut self) -> Range<usize> {
        self.word();
        self.advance()
    }

    fn word(&mut self) {
        self.words += 1;
        if self.words == MOST_WORDS + 1 {
            self.fault(slip::many(self.source, self.end()..self.end(), MOST_WORDS));
        }
    }

    fn advance(&mut self) -> Range<usize> {
        let range = self.peek().map_or(self.end()..self.end(), Token::range);
        self.at += 1;
        range
    }

    fn fault(&mut self, fault: Fault) {
        self.out.faults.push(fault);
    }

    fn peek(&self) -> Option<Token> {
        self.tokens.get(self.at).copied()
    }

    fn kind(&self) -> Option<Kind> {
        self.kind_at(self.at)
    }

    fn kind_at(&self, at: usize) -> Option<Kind> {
        self.tokens.get(at).map(|token| token.kind)
    }

    fn before(&self) -> Option<Kind> {
        self.kind_at(self.at.checked_sub(1)?)
    }

    /// Where the last token that was read ends.
    fn end(&self) -> usize {
        let last = self.at.checked_sub(1).and_then(|last| self.tokens.get(last)).or(self.tokens.last());
        if self.at == 0 { 0 } else { last.map_or(0, |token| token.range().end) }
    }

    fn text(&self, range: &Range<usize>) -> &str {
        self.source.text.get(range.clone()).unwrap_or_default()
    }
}

fn is_value(kind: Kind) -> bool {
    matches!(kind, Kind::Word | Kind::Text | Kind::Keyword | Kind::Bad)
}

fn is_parenthesis(kind: Kind) -> bool {
    matches!(kind, Kind::OpenType | Kind::CloseType)
}

fn ends_node(kind: Kind) -> bool {
    matches!(kind, Kind::Newline | Kind::LineComment | Kind::Semicolon | Kind::Open | Kind::Close)
}
