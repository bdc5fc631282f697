//! The hash of names that an indexed directory is in the order of: half MD4 (Documentation/filesystems/ext4/directory.rst,
//! "Hash Tree Directories"), of bytes as signed numbers, which is what `s_flags` says.

/// What the hashes of a file system are made with, beside the names.
#[derive(Clone, Copy, Debug)]
pub struct HashSeed(pub [u32; 4]);

/// Bytes of a name that are mixed at once.
const CHUNK: usize = 32;
/// Stands for the end of a directory, and so for no name.
const END: u32 = 0x7fff_ffff << 1;

impl HashSeed {
    /// The hash of a name, an even number, and what tells names apart that have the same.
    pub fn hash(self, name: &[u8]) -> (u32, u32) {
        let mut state = self.0;
        let mut rest = name;
        while !rest.is_empty() {
            mix(&mut state, &words(rest));
            rest = rest.get(CHUNK..).unwrap_or_default();
        }
        let [_, major, minor, _] = state;
        let major = major & !1;
        (if major == END { END - 2 } else { major }, minor)
    }
}

/// The first 32 bytes of `rest` as eight numbers; what is missing is made up for by its length.
fn words(rest: &[u8]) -> [u32; 8] {
    // Its lowest byte four times: no name has more than 255.
    let pad = (rest.len() as u32 & 0xff) * 0x0101_0101;
    let mut words = [pad; 8];
    for (word, bytes) in words.iter_mut().zip(rest.chunks(4)) {
        // A byte above 127 is negative, and takes from those before it.
        *word = bytes.iter().fold(pad, |word, byte| (*byte as i8 as u32).wrapping_add(word << 8));
    }
    words
}

fn mix(state: &mut [u32; 4], words: &[u32; 8]) {
    let choice = |x: u32, y: u32, z: u32| z ^ (x & (y ^ z));
    let majority = |x: u32, y: u32, z: u32| (x & y).wrapping_add((x ^ y) & z);
    let parity = |x: u32, y: u32, z: u32| x ^ y ^ z;
    let mut mixed = *state;
    round(&mut mixed, words, choice, 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]);
    round(&mut mixed, words, majority, 0x5a82_7999, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]);
    round(&mut mixed, words, parity, 0x6ed9_eba1, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]);
    state.iter_mut().zip(mixed).for_each(|(state, mixed)| *state = state.wrapping_add(mixed));
}

fn round(
    state: &mut [u32; 4],
    words: &[u32; 8],
    function: impl Fn(u32, u32, u32) -> u32,
    constant: u32,
    order: [usize; 8],
    shifts: [u32; 4],
) {
    for (word, shift) in order.into_iter().zip(shifts.into_iter().cycle()) {
        let [a, b, c, d] = *state;
        let word = words.get(word).copied().unwrap_or_default();
        let sum = a.wrapping_add(function(b, c, d)).wrapping_add(word).wrapping_add(constant);
        // The next is d's turn.
        *state = [d, sum.rotate_left(shift), b, c];
    }
}

#[cfg(test)]
mod tests {
    use super::HashSeed;

    /// What `dx_hash -h half_md4 -s 11111111-2222-8333-8444-555555555555 NAME` of debugfs(8) says.
    #[test]
    fn hashes_are_those_of_debugfs() {
        let seed = HashSeed([0x1111_1111, 0x3383_2222, 0x5555_4484, 0x5555_5555]);
        let long = "x".repeat(33) + "é";
        for (name, hash) in [
            ("a", (0x12bb_e642, 0x25fd_5298)),
            ("hello", (0xa2af_312a, 0x3c8f_6990)),
            ("n".repeat(100).as_str(), (0xd945_f4b6, 0x302f_e70f)),
            ("ümlaut", (0xc00a_f3b4, 0x4231_433b)),
            (long.as_str(), (0xab19_23c6, 0xe363_c9a9)),
        ] {
            assert_eq!(seed.hash(name.as_bytes()), hash, "{name}");
        }
    }
}
