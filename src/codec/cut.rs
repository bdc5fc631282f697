//! Where a block ends: decided by the last bytes before the cut alone.
//!
//! The rule is a gear hash, as in FastCDC (Xia and others, USENIX ATC 2016): a cut where the hash of the last 64
//! bytes has enough leading zeros. After a change the cuts fall into step again at the next place that both streams
//! share, also in the middle of a large file and also when everything behind the change has moved.

/// How long blocks are: at least `min`, then about `2^spread` more on average, and never longer than `max`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub min: usize,
    pub spread: u32,
    pub max: usize,
}

/// Finds the ends of blocks in a stream that comes in pieces of any length.
pub(super) struct Cutter {
    sizes: Sizes,
    length: usize,
    hash: u64,
}

/// What was found in a piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// How many of the piece's bytes belong to the present block.
    pub bytes: usize,
    /// Whether the block ends behind them.
    pub ends: bool,
}

impl Cutter {
    /// At the start of the first block.
    pub fn new(sizes: Sizes) -> Cutter {
        debug_assert!(sizes.min >= WINDOW && sizes.min < sizes.max);
        Cutter { sizes, length: 0, hash: 0 }
    }

    /// Looks at the next bytes of the stream, up to the end of the block if it is among them.
    pub fn take(&mut self, piece: &[u8]) -> Taken {
        let unseen = self.upto(self.sizes.min - WINDOW, piece);
        let warm = self.upto(self.sizes.min, piece);
        let last = self.upto(self.sizes.max, piece);
        for byte in &piece[unseen..warm] {
            self.roll(*byte);
        }
        let shift = u64::BITS - self.sizes.spread;
        let found = piece[warm..last].iter().position(|byte| self.roll(*byte) >> shift == 0);
        let bytes = found.map_or(last, |at| warm + at + 1);
        self.length += bytes;
        let ends = found.is_some() || self.length == self.sizes.max;
        if ends {
            (self.length, self.hash) = (0, 0);
        }
        Taken { bytes, ends }
    }

    /// How much of `piece` lies before the block's length becomes `mark`.
    fn upto(&self, mark: usize, piece: &[u8]) -> usize {
        mark.saturating_sub(self.length).min(piece.len())
    }

    fn roll(&mut self, byte: u8) -> u64 {
        self.hash = (self.hash << 1).wrapping_add(GEAR[usize::from(byte)]);
        self.hash
    }
}

/// A byte leaves the hash after as many steps as the hash has bits.
const WINDOW: usize = u64::BITS as usize;

/// 256 numbers without a pattern: the first ones of SplitMix64 from 0.
static GEAR: [u64; 256] = {
    let mut table = [0; 256];
    let mut state = 0u64;
    let mut at = 0;
    while at < table.len() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[at] = mixed ^ (mixed >> 31);
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::super::tests::noise;
    use super::*;

    const SIZES: Sizes = Sizes { min: 1 << 10, spread: 11, max: 8 << 10 };

    fn cuts(stream: &[u8], piece: usize) -> Vec<usize> {
        let (mut cutter, mut cuts, mut at) = (Cutter::new(SIZES), Vec::new(), 0);
        for piece in stream.chunks(piece) {
            let mut rest = piece;
            while !rest.is_empty() {
                let taken = cutter.take(rest);
                rest = &rest[taken.bytes..];
                at += taken.bytes;
                if taken.ends {
                    cuts.push(at);
                }
            }
        }
        cuts
    }

    #[test]
    fn the_cuts_do_not_depend_on_how_the_stream_comes() {
        let stream = noise(1, 300_000);
        let whole = cuts(&stream, stream.len());
        assert!(whole.len() > 50, "{}", whole.len());
        assert_eq!(whole, cuts(&stream, 1));
        assert_eq!(whole, cuts(&stream, 777));
        for pair in whole.windows(2) {
            let length = pair[1] - pair[0];
            assert!((SIZES.min..=SIZES.max).contains(&length), "{length}");
        }
    }

    #[test]
    fn what_lies_behind_a_change_is_cut_as_before() {
        let stream = noise(2, 300_000);
        let mut longer = stream.clone();
        longer.splice(100_000..100_000, *b"three");
        let ends = |stream: &[u8]| {
            cuts(stream, stream.len()).iter().map(|cut| stream.len() - cut).collect::<Vec<_>>()
        };
        let (old, new) = (ends(&stream), ends(&longer));
        let same = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
        assert!(same * 100 > old.len() * 55, "{same} of {} cuts behind the change stayed", old.len());
    }

    #[test]
    fn a_run_of_one_byte_is_cut_at_the_longest() {
        assert_eq!(cuts(&[0; 20 << 10], 4096), [8 << 10, 16 << 10]);
    }
}
