//! The lines of a text that a fault is about, drawn with what is to be said beside them.
//!
//! miette draws; this decides what it is given. Handing it whole texts would cost the time and the space of whole
//! texts, and let their control characters through. So the few lines around the labels are copied to a *board*, cut
//! to the width that there is and made visible, and the labels are moved to where their bytes stand there. Lines
//! that lie apart, or in another file, are further sheets of the same board.
//!
//! Knows labels and lines, not the fault around them.

use crate::cli::messages::positions::{Lines, Positions};
use crate::cli::messages::visible::{clip, one_line, visible, width};
use crate::cli::messages::{Look, PLACES};
use crate::fault::{Label, Severity, Source};
use crate::wording::count;
use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents, ThemeCharacters, ThemeStyles,
};
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

/// As many lines of a place that covers more are shown.
const LINES: usize = 4;

/// As many characters of a label are shown.
const LABEL: usize = 200;

/// Draws the places that `labels` name, the first one's lines first; nothing if there are none.
pub(super) fn draw<'a>(
    severity: Severity,
    labels: &'a [Label],
    positions: &mut Positions<'a>,
    look: &Look,
) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let marks = labels.iter().enumerate().take(PLACES);
    let marks = marks.map(|(rank, label)| Mark::new(rank, label, positions, look)).collect();
    let mut board = Board::default();
    for excerpt in gather(marks, positions) {
        board.copy(&excerpt, positions, look);
    }
    let mut drawing = board.draw(severity, look);
    if let Some(more) = labels.len().checked_sub(PLACES).filter(|more| *more > 0) {
        drawing.push_str(&format!("    {} and {}\n", look.dots(), count(more, "more place")));
    }
    drawing
}

/// A label, found in the lines of its text.
struct Mark<'a> {
    /// Which of the fault's labels it is.
    rank: usize,
    source: &'a Arc<Source>,
    range: Range<usize>,
    lines: RangeInclusive<usize>,
    /// What to show of the line, if the label stands too far to the right to be seen from its beginning.
    scrolled: Option<Range<usize>>,
    text: Option<String>,
    line: usize,
    column: usize,
}

impl<'a> Mark<'a> {
    fn new(rank: usize, label: &'a Label, positions: &mut Positions<'a>, look: &Look) -> Mark<'a> {
        let source = &label.place.source;
        let lines = positions.lines(source);
        let range = without_newline(lines, label.place.start..label.place.end);
        let (line, column) = lines.line_column(range.start);
        let last = lines.line_column(range.end).0;
        let scrolled = scroll(lines.text(), &lines.range(line), &range, room(look));
        let shown = if scrolled.is_some() { line } else { last.min(line + LINES - 1) };
        let end = if shown < last { lines.range(shown).end.max(range.start) } else { range.end };
        let text = caption(&label.text, (shown < last).then_some(last), look);
        Mark { rank, source, range: range.start..end, lines: line..=shown, scrolled, text, line, column }
    }
}

/// `range` made to fit the text; a newline at its end belongs to the line that it ends, not to the next one.
fn without_newline(lines: &Lines, range: Range<usize>) -> Range<usize> {
    let start = lines.text().floor_char_boundary(range.start);
    let end = lines.text().floor_char_boundary(range.end).max(start);
    let newline = lines.text().get(start..end).is_some_and(|text| text.ends_with('\n'));
    start..end - usize::from(newline)
}

fn caption(text: &str, rest: Option<usize>, look: &Look) -> Option<String> {
    let text = one_line(&clip(text, LABEL, look.dots()));
    let rest = rest.map(|last| format!("(to line {last})")).unwrap_or_default();
    Some(format!("{text} {rest}").trim().to_owned()).filter(|text| !text.is_empty())
}

/// How many columns of a line are shown: what line numbers and brackets leave, within reason.
fn room(look: &Look) -> usize {
    look.width.clamp(40, 400) - 14
}

/// The part of `line` around `mark`, if that can't be seen from the line's beginning.
fn scroll(text: &str, line: &Range<usize>, mark: &Range<usize>, room: usize) -> Option<Range<usize>> {
    let before = text.get(line.start..mark.start).unwrap_or_default();
    let marked = text.get(mark.start..mark.end.min(line.end)).unwrap_or_default();
    let (wanted, _) = fit(marked.chars(), room / 2);
    if fit(before.chars(), room - wanted).1 == before.len() {
        return None;
    }
    let start = mark.start - fit(before.chars().rev(), room / 3).1;
    let rest = text.get(start..line.end).unwrap_or_default();
    Some(start..start + fit(rest.chars(), room).1)
}

/// The columns and the bytes of as many of `letters` as fit into `room` columns.
fn fit(letters: impl Iterator<Item = char>, room: usize) -> (usize, usize) {
    let (mut columns, mut bytes) = (0, 0);
    for letter in letters {
        if columns + width(letter) > room {
            break;
        }
        columns += width(letter);
        bytes += letter.len_utf8();
    }
    (columns, bytes)
}

/// Lines of one text that are shown together.
struct Excerpt<'a> {
    source: &'a Arc<Source>,
    lines: RangeInclusive<usize>,
    scrolled: Option<Range<usize>>,
    marks: Vec<Mark<'a>>,
}

/// Puts marks whose lines touch together; the lines of the first label come first.
fn gather<'a>(marks: Vec<Mark<'a>>, positions: &mut Positions<'a>) -> Vec<Excerpt<'a>> {
    let mut excerpts: Vec<Excerpt> = Vec::new();
    for mark in marks {
        if let Some(home) = excerpts.iter_mut().find(|excerpt| excerpt.shows(&mark)) {
            home.marks.push(mark);
            continue;
        }
        let mut wider = Excerpt::around(mark, positions);
        let (touching, apart) = excerpts.into_iter().partition(|excerpt| excerpt.touches(&wider));
        excerpts = apart;
        Vec::into_iter(touching).for_each(|excerpt| wider.absorb(excerpt));
        excerpts.push(wider);
    }
    excerpts.sort_by_key(|excerpt| excerpt.marks.iter().map(|mark| mark.rank).min());
    excerpts
}

impl<'a> Excerpt<'a> {
    /// The lines of `mark` and their neighbours, unless those say nothing.
    fn around(mark: Mark<'a>, positions: &mut Positions<'a>) -> Excerpt<'a> {
        let lines = positions.lines(mark.source);
        let speaks = |line: &usize| {
            let text = lines.text().get(lines.range(*line)).unwrap_or_default();
            mark.scrolled.is_none() && !text.trim().is_empty()
        };
        let (first, last) = (*mark.lines.start(), *mark.lines.end());
        let before = Some(first - 1).filter(|line| *line > 0).filter(speaks).unwrap_or(first);
        let after = Some(last + 1).filter(|line| *line <= lines.count()).filter(speaks).unwrap_or(last);
        let scrolled = mark.scrolled.clone();
        Excerpt { source: mark.source, lines: before..=after, scrolled, marks: vec![mark] }
    }

    /// Whether `mark` is on the part of the line that is shown.
    fn shows(&self, mark: &Mark) -> bool {
        let inside = |part: &Range<usize>| part.contains(&mark.range.start) && mark.range.end <= part.end;
        Arc::ptr_eq(self.source, mark.source) && self.scrolled.as_ref().is_some_and(inside)
    }

    fn touches(&self, other: &Excerpt) -> bool {
        let (here, there) = (&self.lines, &other.lines);
        Arc::ptr_eq(self.source, other.source)
            && self.scrolled.is_none()
            && other.scrolled.is_none()
            && *here.start() <= there.end() + 1
            && *there.start() <= here.end() + 1
    }

    fn absorb(&mut self, other: Excerpt<'a>) {
        let first = *self.lines.start().min(other.lines.start());
        self.lines = first..=*self.lines.end().max(other.lines.end());
        self.marks.extend(other.marks);
    }
}

/// All that is drawn of a fault, in the shape that miette takes: one text, with spans into it.
#[derive(Debug, Default)]
struct Board {
    text: String,
    sheets: Vec<Sheet>,
    spots: Vec<Spot>,
}

/// Lines on the board that follow each other in a text.
#[derive(Debug)]
struct Sheet {
    name: String,
    first_line: usize,
    lines: usize,
    range: Range<usize>,
}

/// A label on the board, and where it is in its own text.
#[derive(Debug)]
struct Spot {
    range: Range<usize>,
    text: Option<String>,
    line: usize,
    column: usize,
    primary: bool,
}

/// A line on the board.
struct Row {
    /// Which bytes of the text it shows.
    shown: Range<usize>,
    /// Where they begin on the board.
    start: usize,
    /// Where the line ends on the board.
    end: usize,
}

impl Board {
    fn copy<'a>(&mut self, excerpt: &Excerpt<'a>, positions: &mut Positions<'a>, look: &Look) {
        let lines = positions.lines(excerpt.source);
        let (first_line, start) = (*excerpt.lines.start(), self.text.len());
        let copied = excerpt.lines.clone();
        let rows: Vec<Row> = copied.map(|line| self.copy_line(excerpt, lines, line, look)).collect();
        let locate = |at: usize, line: usize| {
            rows.get(line - first_line).map_or(start, |row| row.locate(lines.text(), at))
        };
        for Mark { rank, range, lines, text, line, column, .. } in &excerpt.marks {
            let start = locate(range.start, *lines.start());
            let end = locate(range.end, *lines.end()).max(start);
            let (line, column, primary) = (*line, *column, *rank == 0);
            self.spots.push(Spot { range: start..end, text: text.clone(), line, column, primary });
        }
        let name = one_line(&excerpt.source.name);
        let range = start..self.text.len();
        self.sheets.push(Sheet { name, first_line, lines: rows.len(), range });
    }

    /// Copies what there is room for of a line. Each ends with a newline here, even the last one of a text without
    /// one: a label at the very end needs a byte to stand on.
    fn copy_line(&mut self, excerpt: &Excerpt, lines: &Lines, line: usize, look: &Look) -> Row {
        let whole = lines.range(line);
        let content = lines.text().get(whole.clone()).unwrap_or_default();
        let beginning = || whole.start..whole.start + fit(content.chars(), room(look)).1;
        let shown = excerpt.scrolled.clone().unwrap_or_else(beginning);
        if shown.start > whole.start {
            self.text.push_str(look.dots());
        }
        let start = self.text.len();
        self.text.push_str(&visible(lines.text().get(shown.clone()).unwrap_or_default()));
        if shown.end < whole.end {
            self.text.push_str(look.dots());
        }
        let end = self.text.len();
        self.text.push('\n');
        Row { shown, start, end }
    }

    fn draw(mut self, severity: Severity, look: &Look) -> String {
        self.spots.sort_by_key(|spot| spot.range.start);
        let handler = GraphicalReportHandler::new_themed(self.theme(severity, look))
            .with_context_lines(1)
            .with_links(false)
            .without_syntax_highlighting();
        let mut drawing = String::new();
        // Writing into a string cannot fail, and every span lies on the board.
        let _ = handler.render_report(&mut drawing, &self);
        // miette begins with the message, which here is empty: it was said already.
        let (_message, snippets) = drawing.split_once('\n').unwrap_or_default();
        snippets.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// The first label in the colour of the fault, the others in a quieter one.
    fn theme(&self, severity: Severity, look: &Look) -> GraphicalTheme {
        let characters = if look.unicode { ThemeCharacters::unicode() } else { ThemeCharacters::ascii() };
        let mut styles = if look.colour { ThemeStyles::ansi() } else { ThemeStyles::none() };
        if look.colour {
            let loud = match severity {
                Severity::Error => styles.error.bold(),
                Severity::Warning => styles.warning.bold(),
            };
            let quiet = styles.advice;
            styles.link = quiet.bold();
            styles.highlights =
                self.spots.iter().map(|spot| if spot.primary { loud } else { quiet }).collect();
        }
        GraphicalTheme { characters, styles }
    }
}

impl Row {
    /// Where byte `at` of the text is on the board.
    fn locate(&self, text: &str, at: usize) -> usize {
        if at > self.shown.end {
            return self.end;
        }
        self.start + visible(text.get(self.shown.start..at).unwrap_or_default()).len()
    }
}

impl SourceCode for Board {
    /// The sheet that `span` is on; without context, where the label of that span is. A span over two sheets is
    /// refused, which tells miette to draw them apart.
    fn read_span<'b>(
        &'b self,
        span: &SourceSpan,
        context_before: usize,
        _context_after: usize,
    ) -> Result<Box<dyn SpanContents<'b> + 'b>, MietteError> {
        let (start, end) = (span.offset(), span.offset() + span.len());
        let on_it = |sheet: &&Sheet| sheet.range.contains(&start) && end <= sheet.range.end;
        let sheet = self.sheets.iter().find(on_it).ok_or(MietteError::OutOfBounds)?;
        let spot = self.spots.iter().find(|spot| spot.range == (start..end));
        let (line, column) = match spot {
            Some(spot) if context_before == 0 => (spot.line, spot.column),
            _ => (sheet.first_line, 1),
        };
        let text = self.text.get(sheet.range.clone()).unwrap_or_default().as_bytes();
        let range = SourceSpan::from(sheet.range.clone());
        let name = sheet.name.clone();
        let contents = MietteSpanContents::new_named(name, text, range, line - 1, column - 1, sheet.lines);
        Ok(Box::new(contents))
    }
}

impl Diagnostic for Board {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.spots.iter().map(|spot| {
            let new =
                if spot.primary { LabeledSpan::new_primary_with_span } else { LabeledSpan::new_with_span };
            new(spot.text.clone(), spot.range.clone())
        })))
    }
}

impl fmt::Display for Board {
    fn fmt(&self, _out: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl std::error::Error for Board {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::messages::samples::LOOK;
    use crate::fault::Place;

    #[test]
    fn every_place_of_a_nasty_text_can_be_drawn() {
        let text =
            format!("a\t\x1b\r\n\n{}äö\r한국어{}\u{202e}\n\t}}\n\n\n\n", "x".repeat(60), "y".repeat(30));
        let source = Source::new("a.kdl", text);
        for start in 0..=source.text.len() {
            for end in (start..=source.text.len()).step_by(3) {
                let (whole, point) = (Place::new(&source, start..end), Place::new(&source, end..end));
                let labels = [(whole, "mark"), (point, "point")]
                    .map(|(place, text)| Label { place, text: text.into() });
                let text =
                    draw(Severity::Error, &labels, &mut Positions::default(), &Look { width: 0, ..LOOK });
                assert_eq!(text.matches(" mark").count(), 1, "{start}..{end}\n{text}");
                assert_eq!(text.matches(" point").count(), 1, "{start}..{end}\n{text}");
            }
        }
    }
}
