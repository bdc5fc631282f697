//! LZO1X, unpacked, as the kernel's Documentation/staging/lzo.rst describes its stream.

/// What has been copied before an instruction: that many literals behind a match, or a run of them.
const AFTER_RUN: usize = 4;
/// How far back the farthest matches begin to count.
const FAR: usize = 1 << 14;
/// How far back short matches behind a run of literals begin to count.
const BEHIND_RUN: usize = 1 << 11;

/// The bytes that `packed` stands for; none if it is no such stream, or is of more than `most`.
pub fn unpack(packed: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut stream = Stream { packed, unpacked: Vec::new(), most };
    let mut state = stream.begin()?;
    loop {
        let byte = usize::from(stream.byte()?);
        let (length, distance, literals) = match byte {
            0..16 if state == 0 => {
                let length = 3 + stream.length(byte, 15)?;
                stream.literals(length)?;
                state = AFTER_RUN;
                continue;
            }
            0..16 => {
                let distance = (usize::from(stream.byte()?) << 2) + (byte >> 2) + 1;
                let is_run = state == AFTER_RUN;
                (if is_run { 3 } else { 2 }, distance + if is_run { BEHIND_RUN } else { 0 }, byte & 3)
            }
            16..32 => {
                let length = 2 + stream.length(byte & 7, 7)?;
                let pair = stream.pair()?;
                let distance = FAR + ((byte & 8) << 11) + (pair >> 2);
                if distance == FAR {
                    return stream.packed.is_empty().then_some(stream.unpacked);
                }
                (length, distance, pair & 3)
            }
            32..64 => {
                let length = 2 + stream.length(byte & 31, 31)?;
                let pair = stream.pair()?;
                (length, (pair >> 2) + 1, pair & 3)
            }
            _ => {
                let length = if byte < 128 { 3 + (byte >> 5 & 1) } else { 5 + (byte >> 5 & 3) };
                (length, (usize::from(stream.byte()?) << 3) + (byte >> 2 & 7) + 1, byte & 3)
            }
        };
        stream.copy(length, distance)?;
        stream.literals(literals)?;
        state = literals;
    }
}

/// What is yet to be read, and what it stood for so far.
struct Stream<'p> {
    packed: &'p [u8],
    unpacked: Vec<u8>,
    most: usize,
}

impl Stream<'_> {
    /// Literals can stand in front of the first instruction.
    fn begin(&mut self) -> Option<usize> {
        /// Instructions end here; more than that is a number of literals.
        const NONE: u8 = 17;
        let count = usize::from(self.packed.first()?.saturating_sub(NONE));
        if count > 0 {
            self.byte()?;
            self.literals(count)?;
        }
        Some(count.min(AFTER_RUN))
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.packed.split_first()?;
        self.packed = rest;
        Some(*first)
    }

    /// A number of two bytes.
    fn pair(&mut self) -> Option<usize> {
        Some(usize::from(self.byte()?) | usize::from(self.byte()?) << 8)
    }

    /// A length whose bits in the instruction are `short`; where these are 0 it is longer than `most` and in bytes of its
    /// own.
    fn length(&mut self, short: usize, most: usize) -> Option<usize> {
        if short != 0 {
            return Some(short);
        }
        let mut length = most;
        loop {
            match self.byte()? {
                0 => length += 255,
                last => return Some(length + usize::from(last)),
            }
        }
    }

    fn literals(&mut self, count: usize) -> Option<()> {
        let (literals, rest) = self.packed.split_at_checked(count)?;
        self.packed = rest;
        self.unpacked.extend_from_slice(literals);
        (self.unpacked.len() <= self.most).then_some(())
    }

    /// Copies `length` bytes of what there is, which can grow while it is copied.
    fn copy(&mut self, length: usize, distance: usize) -> Option<()> {
        let start = self.unpacked.len().checked_sub(distance)?;
        if length > self.most.saturating_sub(self.unpacked.len()) {
            return None;
        }
        for at in start..start + length {
            self.unpacked.push(*self.unpacked.get(at)?);
        }
        Some(())
    }
}
