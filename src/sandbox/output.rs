//! What a program says: the last lines of it for people, and a log that cannot grow without bound.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::wording;

/// Lines that are kept to be shown when the program fails.
const TAIL: usize = 20;
/// Characters of a line that are kept.
const WIDTH: usize = 500;
/// Lines of one piece that are looked at; who prints faster is not read by anyone, and the log has the rest.
const TOLD_AT_ONCE: usize = 100;
/// Bytes of the log that are kept from its start, and as many from its end.
const LOG_HALF: usize = 1 << 20;

/// Takes what a program prints.
pub(super) struct Output<'a> {
    line: Vec<u8>,
    tail: VecDeque<String>,
    log: Log,
    tell: &'a mut dyn FnMut(&str),
}

impl<'a> Output<'a> {
    /// Nothing said yet; every line will be told to `tell` and the log stand at `log`.
    pub fn new(log: &Path, tell: &'a mut dyn FnMut(&str)) -> io::Result<Output<'a>> {
        let log = Log::new(File::create(log)?);
        Ok(Output { line: Vec::new(), tail: VecDeque::new(), log, tell })
    }

    /// Takes the next piece.
    pub fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        self.log.take(piece)?;
        let piece = self.skip_flood(piece);
        let mut lines = piece.split(|byte| *byte == b'\n');
        let begun = lines.next_back().unwrap_or_default();
        for rest in lines {
            self.lengthen(rest);
            self.end_line();
        }
        self.lengthen(begun);
        Ok(())
    }

    /// The last lines, once there is no more.
    pub fn finish(mut self) -> io::Result<Vec<String>> {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.log.finish()?;
        Ok(self.tail.into())
    }

    /// `piece` without lines that nobody will see.
    fn skip_flood<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        let ends = piece.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
        match ends.map(|(at, _)| at).nth(TOLD_AT_ONCE) {
            Some(end) => {
                self.line.clear();
                piece.get(end + 1..).unwrap_or_default()
            }
            None => piece,
        }
    }

    fn lengthen(&mut self, bytes: &[u8]) {
        // A character is at most four bytes; one more than fits shows that the line was cut.
        let space = (WIDTH + 1) * 4 - self.line.len().min((WIDTH + 1) * 4);
        self.line.extend_from_slice(bytes.get(..space).unwrap_or(bytes));
    }

    fn end_line(&mut self) {
        let line = readable(&self.line);
        self.line.clear();
        (self.tell)(&line);
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }
}

/// A line as people may see it: of a progress bar, which returns to its start, the last state.
fn readable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches('\r');
    let text = text.rsplit('\r').next().unwrap_or_default();
    let text = wording::printable(text);
    match text.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// The first and the last mebibyte of what was said.
struct Log {
    file: File,
    written: usize,
    end: VecDeque<u8>,
    dropped: u64,
}

impl Log {
    fn new(file: File) -> Log {
        Log { file, written: 0, end: VecDeque::new(), dropped: 0 }
    }

    fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        let (start, rest) = piece.split_at(piece.len().min(LOG_HALF - self.written));
        self.file.write_all(start)?;
        self.written += start.len();
        self.end.extend(rest);
        let over = self.end.len().saturating_sub(LOG_HALF);
        self.end.drain(..over);
        self.dropped += over as u64;
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        if self.dropped > 0 {
            writeln!(self.file, "\n[imgbuild left out {} here]", wording::size(self.dropped))?;
        }
        let (one, two) = self.end.as_slices();
        self.file.write_all(one)?;
        self.file.write_all(two)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pieces: &[&[u8]]) -> (Vec<String>, Vec<String>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut told = Vec::new();
        let mut tell = |line: &str| told.push(line.to_string());
        let mut output = Output::new(&log, &mut tell).unwrap();
        pieces.iter().for_each(|piece| output.take(piece).unwrap());
        let tail = output.finish().unwrap();
        (told, tail, std::fs::read(log).unwrap())
    }

    #[test]
    fn lines_are_put_together_and_made_harmless() {
        let (told, tail, log) = said(&[b"on", b"e\ntwo\r\n", b"10%\r20%\r", b"\n\x1b[2J\xff", b"\n\nend"]);
        assert_eq!(told, ["one", "two", "20%", "\u{fffd}[2J\u{fffd}", "", "end"]);
        assert_eq!(told, tail);
        assert!(log.ends_with(b"\x1b[2J\xff\n\nend"), "the log has the bytes as they are");
    }

    #[test]
    fn a_flood_stays_small() {
        let long = "ä".repeat(100_000);
        let lines: String = (0..400_000).map(|number| format!("{number}\n")).collect();
        let (told, tail, log) = said(&[lines.as_bytes(), long.as_bytes()]);
        assert_eq!(told.len(), TOLD_AT_ONCE + 1);
        assert_eq!(tail.len(), TAIL);
        assert_eq!(tail[0], "399981");
        assert_eq!(tail[TAIL - 1].chars().count(), WIDTH + 1);
        assert!(log.len() < 2 * LOG_HALF + 100);
        assert!(log.starts_with(b"0\n1\n") && log.ends_with("ää".as_bytes()));
        assert!(String::from_utf8_lossy(&log).contains("\n[imgbuild left out 773 KiB here]\n"));
    }
}
