//! Byte strings that are not to be told, replaced in a stream that comes in pieces.
//!
//! Where two of them overlap, no byte of either is told: a run of overlapping ones becomes one `***`. What could be the
//! beginning of one is held back until it is known whether it is, and nothing else is: so a line is told as soon as it
//! is there.

use std::ops::Range;

use memchr::memchr_iter;
use memchr::memmem::Finder;

/// What stands for each.
const STARS: &[u8] = b"***";
/// Bytes of the shortest that is masked: shorter ones would be found everywhere, and the stars would tell where.
pub const SHORTEST_MASKED: usize = 4;

/// Replaces them.
pub(super) struct Mask {
    needles: Vec<Finder<'static>>,
    longest: usize,
    /// What was not told yet: it ends with what may be the beginning of one.
    held: Vec<u8>,
    /// How much of that belongs to one for which the stars were told already.
    covered: usize,
}

impl Mask {
    /// A mask for these; none if nothing is to be masked.
    pub fn of(masked: &[Vec<u8>]) -> Option<Mask> {
        let mut masked: Vec<&Vec<u8>> = masked.iter().filter(|one| one.len() >= SHORTEST_MASKED).collect();
        masked.sort();
        masked.dedup();
        let longest = masked.iter().map(|one| one.len()).max()?;
        let needles = masked.into_iter().map(|one| Finder::new(one).into_owned()).collect();
        Some(Mask { needles, longest, held: Vec::new(), covered: 0 })
    }

    /// Takes the next piece, and adds to `told` what can be told now.
    pub fn take(&mut self, piece: &[u8], told: &mut Vec<u8>) {
        self.held.extend_from_slice(piece);
        let end = self.begun();
        self.tell(end, told);
    }

    /// Adds to `told` what was held back, when there is no more.
    pub fn finish(&mut self, told: &mut Vec<u8>) {
        self.tell(self.held.len(), told);
    }

    /// A text without them.
    pub fn text(&mut self, text: &str) -> String {
        let mut told = Vec::with_capacity(text.len());
        self.take(text.as_bytes(), &mut told);
        self.finish(&mut told);
        String::from_utf8_lossy(&told).into_owned()
    }

    /// Tells what is before `end`, where no occurrence begins that is not whole yet.
    fn tell(&mut self, end: usize, told: &mut Vec<u8>) {
        let mut at = 0;
        // Its stars were told with the piece before.
        let mut covered = self.covered;
        for found in self.found() {
            if found.start >= end {
                break;
            }
            if found.start >= covered {
                at = at.max(covered);
                told.extend_from_slice(self.held.get(at..found.start).unwrap_or_default());
                told.extend_from_slice(STARS);
            }
            covered = covered.max(found.end);
        }
        at = at.max(covered);
        told.extend_from_slice(self.held.get(at..end).unwrap_or_default());
        self.covered = covered.saturating_sub(end);
        self.held.drain(..end);
    }

    /// Every occurrence in what is held, also those that overlap, by their beginnings.
    fn found(&self) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for needle in &self.needles {
            let length = needle.needle().len();
            let mut from = 0;
            while let Some(at) = self.held.get(from..).and_then(|rest| needle.find(rest)) {
                found.push(from + at..from + at + length);
                from += at + 1;
            }
        }
        found.sort_unstable_by_key(|range| range.start);
        found
    }

    /// Where the first one may begin that is not whole yet; the end if there is none.
    fn begun(&self) -> usize {
        let length = self.held.len();
        let from = (length + 1).saturating_sub(self.longest);
        let first = |needle: &Finder<'_>| {
            let needle = needle.needle();
            let from = (length + 1).saturating_sub(needle.len()).max(from);
            let tail = self.held.get(from..).unwrap_or_default();
            let begins = |at: &usize| needle.starts_with(tail.get(*at..).unwrap_or_default());
            memchr_iter(*needle.first()?, tail).find(begins).map(|at| from + at)
        };
        self.needles.iter().filter_map(first).min().unwrap_or(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(needles: &[&str], pieces: &[&[u8]]) -> String {
        let needles: Vec<Vec<u8>> = needles.iter().map(|needle| needle.as_bytes().to_vec()).collect();
        let mut mask = Mask::of(&needles).unwrap();
        let mut told = Vec::new();
        pieces.iter().for_each(|piece| mask.take(piece, &mut told));
        mask.finish(&mut told);
        String::from_utf8_lossy(&told).into_owned()
    }

    #[test]
    fn what_is_masked_is_not_told_however_it_comes() {
        let needles = ["secret", "secret-longer", "aaaa", "tail-of-s", "two\nlines"];
        for (text, told) in [
            ("a secret here", "a *** here"),
            ("secret-longer secret-longe secret", "*** ***-longe ***"),
            ("secretsecret", "******"),
            ("aaaaaaaaab aaa aaaa", "***b aaa ***"),
            ("tail-of-secret", "***"),
            ("secret-longerx", "***x"),
            ("two\nlines two\nline", "*** two\nline"),
            ("secre secr", "secre secr"),
            ("", ""),
        ] {
            let bytes = text.as_bytes();
            assert_eq!(masked(&needles, &[bytes]), told);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(masked(&needles, &single), told, "letter by letter");
            for at in 0..bytes.len() {
                assert_eq!(masked(&needles, &[&bytes[..at], &bytes[at..]]), told, "{text} cut at {at}");
            }
        }
    }

    #[test]
    fn only_what_may_be_a_beginning_is_held_back() {
        let mut mask = Mask::of(&[b"secret".to_vec(), b"no".to_vec()]).unwrap();
        let mut told = Vec::new();
        let mut take = |piece: &str| {
            told.clear();
            mask.take(piece.as_bytes(), &mut told);
            String::from_utf8_lossy(&told).into_owned()
        };
        assert_eq!(take("a line, no secrets\n"), "a line, no ***s\n");
        assert_eq!(take("a line and sec"), "a line and ");
        assert_eq!(take("ond"), "second");
        assert_eq!(take("secre"), "");
        assert_eq!(take("t"), "***");
        assert!(Mask::of(&[b"abc".to_vec(), Vec::new()]).is_none(), "too short");
    }

    /// Against the plain way: mark each byte of each occurrence in the whole.
    #[test]
    fn any_pieces_give_the_same() {
        let needles: [&[u8]; 4] = [b"abab", b"babaa", b"aabba", b"bbbbbb"];
        let mut state = 7u32;
        let mut next = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        for _ in 0..500 {
            let text: Vec<u8> = (0..next(60)).map(|_| b"ab"[next(2) as usize]).collect();
            let mut expected = Vec::new();
            let mut covered = 0;
            for at in 0..text.len() {
                let longest =
                    needles.iter().filter(|needle| text[at..].starts_with(needle)).map(|n| n.len()).max();
                if longest.is_some() && at >= covered {
                    expected.extend(b"***");
                }
                covered = covered.max(longest.map_or(0, |length| at + length));
                if at >= covered {
                    expected.push(text[at]);
                }
            }
            let mut mask = Mask::of(&needles.map(<[u8]>::to_vec)).unwrap();
            let (mut told, mut rest) = (Vec::new(), text.as_slice());
            while !rest.is_empty() {
                let (piece, more) = rest.split_at((next(5) as usize).min(rest.len()));
                mask.take(piece, &mut told);
                rest = more;
            }
            mask.finish(&mut told);
            assert_eq!(told, expected, "{}", String::from_utf8_lossy(&text));
        }
    }
}
