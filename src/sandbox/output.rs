//! What a program says: the last lines of it for people, and a log that cannot grow without bound.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::mask::Mask;
use crate::wording;

/// Lines that are kept to be shown when the program fails.
const TAIL: usize = 20;
/// Characters of a line that are kept.
const WIDTH: usize = 500;
/// Lines of one piece that are looked at; who prints faster is not read by anyone, and the log has the rest.
const TOLD_AT_ONCE: usize = 100;

/// Takes what a program prints.
pub(super) struct Output<'a> {
    line: Vec<u8>,
    tail: VecDeque<String>,
    log: Log,
    mask: Option<Mask>,
    /// What the mask lets through of a piece.
    let_through: Vec<u8>,
    tell: &'a mut dyn FnMut(&str),
}

impl<'a> Output<'a> {
    /// Nothing said yet; every line will be told to `tell` and the log, `limit` bytes of it, stand at `log`; what is
    /// `masked` in neither.
    pub fn new(
        log: &Path,
        limit: u64,
        masked: &[Vec<u8>],
        tell: &'a mut dyn FnMut(&str),
    ) -> io::Result<Output<'a>> {
        let (log, mask) = (Log::new(log, limit)?, Mask::of(masked));
        Ok(Output { line: Vec::new(), tail: VecDeque::new(), log, mask, let_through: Vec::new(), tell })
    }

    /// Takes the next piece.
    pub fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        let Some(mask) = &mut self.mask else { return self.take_harmless(piece) };
        let mut told = std::mem::take(&mut self.let_through);
        told.clear();
        mask.take(piece, &mut told);
        let taken = self.take_harmless(&told);
        self.let_through = told;
        taken
    }

    fn take_harmless(&mut self, piece: &[u8]) -> io::Result<()> {
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
        if let Some(mut mask) = self.mask.take() {
            let mut told = Vec::new();
            mask.finish(&mut told);
            self.take_harmless(&told)?;
        }
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

/// The start and the end of what was said. What does not fit the first half goes round and round in a nameless file
/// beside the log, so that neither costs memory.
struct Log {
    file: File,
    path: PathBuf,
    half: u64,
    written: u64,
    ring: Option<File>,
    /// Bytes that went to the ring, of which the last half's worth is left.
    turned: u64,
}

impl Log {
    fn new(path: &Path, limit: u64) -> io::Result<Log> {
        let file = File::create(path)?;
        Ok(Log { file, path: path.to_path_buf(), half: limit / 2, written: 0, ring: None, turned: 0 })
    }

    fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        let room = usize::try_from(self.half - self.written).unwrap_or(usize::MAX);
        let (start, mut rest) = piece.split_at(piece.len().min(room));
        self.file.write_all(start)?;
        self.written += start.len() as u64;
        if self.half == 0 || rest.is_empty() {
            return Ok(());
        }
        let ring = match self.ring.take() {
            Some(ring) => ring,
            None => nameless(&self.path)?,
        };
        while !rest.is_empty() {
            let at = self.turned % self.half;
            let room = usize::try_from(self.half - at).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(rest.len().min(room));
            ring.write_all_at(now, at)?;
            self.turned += now.len() as u64;
            rest = later;
        }
        self.ring = Some(ring);
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        let Some(ring) = self.ring.take() else { return Ok(()) };
        let dropped = self.turned.saturating_sub(self.half);
        if dropped == 0 {
            return self.copy(&ring, 0, self.turned);
        }
        writeln!(self.file, "\n[imgbuild left out {} here]", wording::size(dropped))?;
        let oldest = self.turned % self.half;
        self.copy(&ring, oldest, self.half)?;
        self.copy(&ring, 0, oldest)
    }

    fn copy(&mut self, mut ring: &File, from: u64, to: u64) -> io::Result<()> {
        ring.seek(SeekFrom::Start(from))?;
        io::copy(&mut ring.take(to.saturating_sub(from)), &mut self.file).map(drop)
    }
}

/// A new file without a name in the folder of `path`.
fn nameless(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".end");
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&name)?;
    std::fs::remove_file(name)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 2 << 20;

    fn said(pieces: &[&[u8]]) -> (Vec<String>, Vec<String>, Vec<u8>) {
        said_masked(pieces, &[])
    }

    fn said_masked(pieces: &[&[u8]], masked: &[Vec<u8>]) -> (Vec<String>, Vec<String>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut told = Vec::new();
        let mut tell = |line: &str| told.push(line.to_string());
        let mut output = Output::new(&log, LIMIT as u64, masked, &mut tell).unwrap();
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
    fn what_is_masked_is_in_no_line_and_not_in_the_log() {
        let masked = [b"pass word".to_vec(), b"\xff\0\n\xfe".to_vec()];
        let pieces: [&[u8]; 5] = [b"a pass", b" word b\n", b"\xff\0", b"\n\xfe\nthe end: pass", b" wor"];
        let (told, tail, log) = said_masked(&pieces, &masked);
        assert_eq!(told, ["a *** b", "***", "the end: pass wor"]);
        assert_eq!(told, tail);
        assert_eq!(log, b"a *** b\n***\nthe end: pass wor");
        let flood = b"0123pass word".repeat(1 << 19);
        let (_, tail, log) = said_masked(&flood.chunks(65_536).collect::<Vec<_>>(), &masked);
        assert!(tail[0].starts_with("0123***0123***"));
        assert!(log.len() > LIMIT && memchr::memmem::find(&log, b"pass").is_none());
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
        assert!(log.len() < LIMIT + 100);
        assert!(log.starts_with(b"0\n1\n") && log.ends_with("ää".as_bytes()));
        assert!(String::from_utf8_lossy(&log).contains("\n[imgbuild left out 773 KiB here]\n"));
    }
}
