//! The content of a file that lies in pieces.

use std::io::{self, Read};

use super::part::Part;

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Piece {
    /// Where it is in the file: bytes from its beginning.
    pub start: u64,
    /// Its bytes.
    pub length: u64,
    /// Where it is in the part: bytes from its beginning.
    pub place: u64,
}

/// A file's content: its pieces in order, zeros where there are none.
#[derive(Debug)]
pub struct Pieces<'p> {
    part: &'p Part,
    /// Those that are yet to be read, the first of them last.
    pieces: Vec<Piece>,
    at: u64,
    size: u64,
}

impl<'p> Pieces<'p> {
    /// A file of `size` bytes. Where pieces stand in each other's place, which is damage, the first has it.
    pub fn new(part: &'p Part, mut pieces: Vec<Piece>, size: u64) -> Pieces<'p> {
        pieces.sort_unstable_by(|one, other| other.cmp(one));
        Pieces { part, pieces, at: 0, size }
    }

    /// The piece at `at`, or the next one behind it.
    fn next(&mut self) -> Option<Piece> {
        while let Some(piece) = self.pieces.last() {
            if piece.start.saturating_add(piece.length) > self.at {
                return Some(*piece);
            }
            self.pieces.pop();
        }
        None
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let next = self.next();
        let (at, left) = (self.at, self.size - self.at);
        let (within, run) = match next {
            Some(piece) if piece.start <= at => (Some(piece), piece.length - (at - piece.start)),
            Some(piece) => (None, piece.start - at),
            None => (None, left),
        };
        let length = run.min(left).min(into.len() as u64) as usize;
        let into = &mut into[..length];
        match within {
            Some(piece) => self.part.fill(piece.place.saturating_add(at - piece.start), into)?,
            None => into.fill(0),
        }
        self.at += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::{Part, Piece, Pieces};

    fn read(pieces: &[(u64, u64, u64)], size: u64) -> std::io::Result<String> {
        let mut file = tempfile::tempfile()?;
        file.write_all(b"..abcdefgh..")?;
        let part = Part::new(file, 2, 8);
        let pieces = pieces.iter().map(|(start, length, place)| Piece {
            start: *start,
            length: *length,
            place: *place,
        });
        let mut content = String::new();
        Pieces::new(&part, pieces.collect(), size).read_to_string(&mut content)?;
        Ok(content.replace('\0', "-"))
    }

    #[test]
    fn what_is_in_no_piece_is_zero() -> std::io::Result<()> {
        assert_eq!(read(&[(6, 2, 0), (1, 3, 4)], 10)?, "-efg--ab--");
        assert_eq!(read(&[(0, 8, 0)], 3)?, "abc");
        assert_eq!(read(&[], 2)?, "--");
        Ok(())
    }

    #[test]
    fn what_is_not_in_the_part_is_not_read() {
        for piece in [(0, 9, 0), (0, 2, 7), (0, 1, u64::MAX), (0, u64::MAX, 0)] {
            assert!(read(&[piece], 10).is_err(), "{piece:?}");
        }
    }
}
