//! What would be random elsewhere: UUIDs and serial numbers, out of what is written.

use crate::key::Digest;
use crate::work::Stack;

/// What all of them are made from: the same content has the same.
#[derive(Clone, Copy, Debug)]
pub struct Seed(Digest);

impl Seed {
    /// The seed of what is made of these layers, in the way that `how` states.
    pub fn of(stack: &Stack, how: &str) -> Seed {
        let ids: String = stack.layers.iter().map(|layer| format!("{}\n", layer.layer.id)).collect();
        Seed(Digest::of(ids + how))
    }

    /// The seed of what `text` tells from all others.
    pub fn of_text(text: &str) -> Seed {
        Seed(Digest::of(text))
    }

    /// 32 hexadecimal digits for what is called `name`.
    fn digits(self, name: &str) -> String {
        let mut digits = Digest::of(format!("{} {name}", self.0)).to_string();
        digits.truncate(32);
        digits
    }

    /// A UUID of version 8 (RFC 9562) for what is called `name`.
    pub fn uuid(self, name: &str) -> String {
        let digits = self.digits(name);
        let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
        format!("{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
    }

    /// A number of 32 bits, which is not 0, for what is called `name`.
    pub fn number(self, name: &str) -> u32 {
        let digits = self.digits(name);
        u32::from_str_radix(digits.get(..8).unwrap_or_default(), 16).unwrap_or_default().max(1)
    }
}

/// The bytes of a UUID, in the order of its digits.
pub fn uuid_bytes(uuid: &str) -> [u8; 16] {
    let digits: String = uuid.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).unwrap_or_default().to_be_bytes()
}
