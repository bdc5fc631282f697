//! What bare words are: numbers, strings, or neither.

/// Words that KDL 2 keeps from being strings, so that values of KDL 1 are noticed.
pub const BARE_KEYWORDS: [&str; 6] = ["true", "false", "null", "inf", "-inf", "nan"];

/// Whether `word` is a string without quotes.
pub fn is_bare_string(word: &str) -> bool {
    matches!(number(word), Number::Not) && !BARE_KEYWORDS.contains(&word)
}

/// What a bare word is as a number.
#[derive(Debug, PartialEq, Eq)]
pub enum Number {
    /// It does not begin like one.
    Not,
    /// A number.
    Good,
    /// It begins like one.
    Bad,
    /// More than the kdl crate's 128 bits.
    Large,
}

/// Specification, "Number".
pub fn number(word: &str) -> Number {
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    let mut bytes = unsigned.bytes();
    match (bytes.next(), bytes.next()) {
        (Some(b'.'), Some(second)) if second.is_ascii_digit() => Number::Bad,
        (Some(b'0'), Some(b'x' | b'X')) => digits(unsigned.get(2..), 16),
        (Some(b'0'), Some(b'o' | b'O')) => digits(unsigned.get(2..), 8),
        (Some(b'0'), Some(b'b' | b'B')) => digits(unsigned.get(2..), 2),
        (Some(first), _) if first.is_ascii_digit() => decimal(unsigned),
        _ => Number::Not,
    }
}

fn decimal(unsigned: &str) -> Number {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let parts = [Some(whole), fraction, exponent].into_iter().flatten();
    parts.map(|part| digits(Some(part), 10)).fold(Number::Good, |all, part| match (all, part) {
        (Number::Bad, _) | (_, Number::Bad) => Number::Bad,
        (Number::Large, _) | (_, Number::Large) => Number::Large,
        (_, part) => part,
    })
}

/// A digit, then digits and `_`.
fn digits(text: Option<&str>, radix: u32) -> Number {
    let text = text.unwrap_or_default();
    let all = text.chars().all(|letter| letter == '_' || letter.is_digit(radix));
    if !all || !text.starts_with(|letter: char| letter.is_digit(radix)) {
        return Number::Bad;
    }
    match i128::from_str_radix(&text.replace('_', ""), radix) {
        Ok(_) => Number::Good,
        Err(_) => Number::Large,
    }
}
