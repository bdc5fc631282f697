//! Lines and columns of many places, each text counted once.
//!
//! `Place::line_column` counts from the start of the text: right for one place, quadratic for ten thousand of them
//! in a manifest that is one long line. Here a text is read once, and a look-up reads a kilobyte of it at most.
//! Knows texts and bytes, not what a place is blamed for.

use crate::fault::{Place, Source};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// The texts that were asked about so far.
#[derive(Default)]
pub(super) struct Positions<'a> {
    /// By address: every text is borrowed for `'a`, so none can move or be another one's later.
    texts: HashMap<*const Source, Lines<'a>>,
}

/// Where a place begins and ends, counted from 1 as in `Place::line_column`; the end is just behind it.
pub(super) struct Extent<'a> {
    pub file: &'a str,
    pub line: usize,
    pub column: usize,
    pub end_line: usize,
    pub end_column: usize,
}

impl<'a> Positions<'a> {
    /// Where `place` is.
    pub fn extent(&mut self, place: &'a Place) -> Extent<'a> {
        let lines = self.lines(&place.source);
        let (line, column) = lines.line_column(place.start);
        let (end_line, end_column) = lines.line_column(place.end.max(place.start));
        Extent { file: &place.source.name, line, column, end_line, end_column }
    }

    /// The lines of `source`.
    pub fn lines(&mut self, source: &'a Arc<Source>) -> &Lines<'a> {
        self.texts.entry(Arc::as_ptr(source)).or_insert_with(|| Lines::new(&source.text))
    }
}

/// A text that knows where its lines begin.
pub(super) struct Lines<'a> {
    text: &'a str,
    /// The first byte of each line.
    starts: Vec<usize>,
    /// How many characters begin before each [`STRIDE`]th byte.
    counts: Vec<usize>,
}

const STRIDE: usize = 1024;

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Lines<'a> {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut counts = vec![0];
        let mut total = 0;
        for stretch in text.as_bytes().chunks(STRIDE) {
            total += characters(stretch);
            counts.push(total);
        }
        Lines { text, starts, counts }
    }

    /// The whole text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// How many lines there are; a text that ends with a newline has an empty one behind it.
    pub fn count(&self) -> usize {
        self.starts.len()
    }

    /// Line and column of byte `at`, both from 1.
    pub fn line_column(&self, at: usize) -> (usize, usize) {
        let at = self.text.floor_char_boundary(at);
        let line = self.starts.partition_point(|start| *start <= at);
        (line, self.characters_before(at) - self.characters_before(self.start(line)) + 1)
    }

    /// The bytes of a line (from 1) without what ends it.
    pub fn range(&self, line: usize) -> Range<usize> {
        let start = self.start(line);
        let end = self.starts.get(line).map_or(self.text.len(), |next| next - 1);
        let content = self.text.get(start..end).unwrap_or_default();
        start..start + content.strip_suffix('\r').unwrap_or(content).len()
    }

    fn start(&self, line: usize) -> usize {
        self.starts.get(line - 1).copied().unwrap_or(self.text.len())
    }

    fn characters_before(&self, at: usize) -> usize {
        let stride = at / STRIDE;
        let counted = self.counts.get(stride).copied().unwrap_or_default();
        counted + characters(self.text.as_bytes().get(stride * STRIDE..at).unwrap_or_default())
    }
}

/// How many characters begin in `bytes`: all but UTF-8's continuation bytes (RFC 3629, section 3).
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| !(0x80..0xc0).contains(*byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_as_a_place_does() {
        let long = "äb\tc→".repeat(700);
        let source = Source::new("image.kdl", format!("a\n\n{long}\r\nz😀\n{long}\n"));
        let mut positions = Positions::default();
        for at in 0..=source.text.len() + 1 {
            let place = Place::new(&source, at..at + 3);
            assert_eq!(positions.lines(&source).line_column(at), place.line_column(), "byte {at}");
            assert_eq!(positions.lines(&source).line_column(place.end), place.end_line_column());
        }
    }

    #[test]
    fn a_line_is_without_its_end() {
        let lines = Lines::new("one\r\ntwo\n");
        let shown: Vec<&str> = (1..=lines.count()).map(|line| &lines.text()[lines.range(line)]).collect();
        assert_eq!(shown, ["one", "two", ""]);
        assert_eq!(Lines::new("").range(1), 0..0);
    }
}
