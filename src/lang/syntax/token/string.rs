//! Strings in quotes: on one line, over several, raw, and as KDL 1 wrote raw ones.
//!
//! Specification, "Quoted String", "Multi-line String" and "Raw String".

use std::ops::Range;

use super::{Cutter, Kind, is_blank, is_newline, is_space};
use crate::lang::syntax::slip;

impl Cutter<'_> {
    pub(super) fn quoted(&mut self) {
        if self.rest().starts_with(TRIPLE) {
            return self.multi_line(0);
        }
        let start = self.at;
        let mut wrong = None;
        self.at += 1;
        loop {
            match self.peek() {
                Some('"') => {
                    self.at += 1;
                    return self.finish(start, wrong);
                }
                Some('\\') => wrong = wrong.or(self.escape()),
                Some(letter) if !is_newline(letter) => self.at += letter.len_utf8(),
                _ => return self.unclosed(start, 0),
            }
        }
    }

    /// A string in `"` whose line ended: it lacks its end, or its end stands on a line below.
    fn unclosed(&mut self, start: usize, hashes: usize) {
        if let Some(length) = closing_below(self.rest(), hashes) {
            self.at += length;
            let fault = slip::string_over_lines(self.source, start..self.at);
            return self.bad(start, fault);
        }
        let closing = format!("\"{}", "#".repeat(hashes.min(8)));
        let fault = slip::unclosed_string(self.source, start..self.at, &closing);
        // Braces that such a string holds may have been meant as braces.
        self.out.torn |= self.since(start).contains(['{', '}']);
        self.bad(start, fault);
    }

    /// Reads the escape that begins here; the range of one that KDL does not know.
    fn escape(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        self.at += 1;
        let next = self.peek()?;
        if is_space(next) {
            self.skip_while(is_space);
            return None;
        }
        self.at += next.len_utf8();
        match next {
            '"' | '\\' | 'b' | 'f' | 'n' | 'r' | 't' | 's' => None,
            'u' => {
                let good = unicode_escape(self.rest());
                self.at += good.or(braced(self.rest())).unwrap_or(0);
                good.is_none().then_some(start..self.at)
            }
            _ => Some(start..self.at),
        }
    }

    fn finish(&mut self, start: usize, wrong: Option<Range<usize>>) {
        match wrong {
            None => self.push(Kind::Text, start),
            Some(escape) => {
                let fault = slip::escape(self.source, escape, start..self.at);
                self.bad(start, fault);
            }
        }
    }

    pub(super) fn raw_string(&mut self, hashes: usize) {
        let start = self.at;
        let behind = self.rest().get(hashes..).unwrap_or_default();
        if behind.strip_prefix(TRIPLE).is_some_and(|body| body.starts_with(is_newline)) {
            return self.multi_line(hashes);
        }
        self.at += hashes + 1;
        while let Some(letter) = self.peek().filter(|letter| !is_newline(*letter)) {
            self.at += letter.len_utf8();
            if letter == '"' && self.skip_hashes(hashes) {
                return self.finish_raw(start, hashes);
            }
        }
        self.unclosed(start, hashes);
    }

    fn finish_raw(&mut self, start: usize, hashes: usize) {
        if self.since(start).len() == 2 * hashes + TRIPLE.len() && self.since(start).contains(TRIPLE) {
            let fault = slip::lone_raw_quote(self.source, start..self.at);
            return self.bad(start, fault);
        }
        self.push(Kind::Text, start);
    }

    /// `r"…"` and `r#"…"#`, the raw strings of KDL 1; the `r` has been read.
    pub(super) fn old_raw_string(&mut self, start: usize) {
        let hashes = self.rest().bytes().take_while(|byte| *byte == b'#').count();
        self.at += hashes + 1;
        while let Some(letter) = self.peek().filter(|letter| !is_newline(*letter)) {
            self.at += letter.len_utf8();
            if letter == '"' && self.skip_hashes(hashes) {
                break;
            }
        }
        let fault = slip::old_raw_string(self.source, start..self.at);
        self.bad(start, fault);
    }

    /// Skips `count` hashes if they are there; else those that are, which cannot end the string anyway.
    fn skip_hashes(&mut self, count: usize) -> bool {
        let found = self.rest().bytes().take(count).take_while(|byte| *byte == b'#').count();
        self.at += found;
        found == count
    }

    fn multi_line(&mut self, hashes: usize) {
        let start = self.at;
        self.at += hashes + TRIPLE.len();
        let body = self.at;
        let mut wrong = None;
        loop {
            let rest = self.rest();
            if rest.starts_with(TRIPLE) {
                let end = self.at;
                self.at += TRIPLE.len();
                if self.skip_hashes(hashes) {
                    return self.finish_multi_line(start, body..end, hashes > 0, wrong);
                }
                continue;
            }
            match rest.chars().next() {
                Some('\\') if hashes == 0 => wrong = wrong.or(self.escape()),
                Some(letter) => self.at += letter.len_utf8(),
                None => break,
            }
        }
        let closing = format!("{TRIPLE}{}", "#".repeat(hashes.min(8)));
        let fault = slip::unclosed_string(self.source, start..body, &closing);
        self.lose_the_rest(start, fault);
    }

    fn finish_multi_line(
        &mut self,
        start: usize,
        body: Range<usize>,
        raw: bool,
        wrong: Option<Range<usize>>,
    ) {
        let text = self.text.get(body.clone()).unwrap_or_default();
        let (source, whole) = (self.source, start..self.at);
        let fault = if !text.starts_with(is_newline) {
            slip::multi_line_start(source, start..body.start, text)
        } else if let Some(escape) = wrong {
            slip::escape(source, escape, whole)
        } else {
            match indentation(text, raw) {
                Indentation::Good => return self.push(Kind::Text, start),
                Indentation::End => slip::multi_line_end(source, body.end..body.end + TRIPLE.len()),
                Indentation::Line(line) => {
                    let line = body.start + line.start..body.start + line.end;
                    slip::multi_line_indent(source, line, body.end..body.end + TRIPLE.len())
                }
            }
        };
        self.bad(start, fault);
    }
}

const TRIPLE: &str = "\"\"\"";

enum Indentation {
    Good,
    /// Something stands before the closing quotes.
    End,
    /// This line lacks the blanks of the last.
    Line(Range<usize>),
}

/// Every line of a multi-line string begins with the blanks that stand before the closing quotes, or is empty.
fn indentation(body: &str, raw: bool) -> Indentation {
    let last = body.char_indices().rfind(|(_, letter)| is_newline(*letter));
    let last = last.map_or(0, |(at, newline)| at + newline.len_utf8());
    let (lines, prefix) = (body.get(..last).unwrap_or_default(), body.get(last..).unwrap_or_default());
    if !prefix.chars().all(is_blank) {
        // An escaped newline may join lines here; that is rare enough to leave to kdl.
        return if !raw && prefix.contains('\\') { Indentation::Good } else { Indentation::End };
    }
    let (mut at, mut joined) = (0, false);
    for line in lines.split_inclusive(is_newline) {
        let text = line.trim_end_matches(is_newline);
        let empty = text.chars().all(is_blank);
        // A line that is only blanks and escaped ones counts as empty.
        let escaped = !raw && text.trim_matches(is_blank) == "\\";
        if !joined && !empty && !escaped && !text.starts_with(prefix) {
            return Indentation::Line(at..at + text.len());
        }
        joined = !raw && (ends_escaped(text) || (joined && empty));
        at += line.len();
    }
    Indentation::Good
}

/// Whether the newline behind `line` is escaped: an odd number of `\`, then blanks.
fn ends_escaped(line: &str) -> bool {
    let line = line.trim_end_matches(is_blank);
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Length up to a `"` on one of the next lines that looks as if it closed a string.
fn closing_below(rest: &str, hashes: usize) -> Option<usize> {
    const LINES: usize = 20;
    let mut lines = 0;
    let end = rest.find(|letter| {
        lines += usize::from(letter == '\n');
        letter == '"' || lines > LINES
    })?;
    let before = rest.get(..end)?.chars().next_back()?;
    let behind = rest.get(end..)?.strip_prefix('"')?;
    let closed = behind.bytes().take(hashes).take_while(|byte| *byte == b'#').count() == hashes;
    let behind = behind.get(hashes..).filter(|_| closed)?;
    let closes = behind.is_empty()
        || behind.starts_with(|letter| is_space(letter) || matches!(letter, ';' | '{' | '}' | ')'));
    (closes && !matches!(before, '=' | '(')).then_some(end + 1 + hashes)
}

/// The length of `{…}`, if it is short and looks like one thing.
fn braced(rest: &str) -> Option<usize> {
    const LONGEST: usize = 12;
    let inner = rest.strip_prefix('{')?.bytes().take(LONGEST).take_while(u8::is_ascii_alphanumeric).count();
    (rest.as_bytes().get(inner + 1) == Some(&b'}')).then_some(inner + 2)
}

/// The length of `{1F600}` behind `\u`.
fn unicode_escape(rest: &str) -> Option<usize> {
    let behind = rest.strip_prefix('{')?;
    let digits = behind.bytes().take(6).take_while(u8::is_ascii_hexdigit).count();
    let known = u32::from_str_radix(behind.get(..digits)?, 16).ok().and_then(char::from_u32);
    (known.is_some() && behind.as_bytes().get(digits) == Some(&b'}')).then_some(digits + 2)
}
