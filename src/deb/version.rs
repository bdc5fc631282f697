//! Versions, compared as dpkg does (deb-version(7)).

use std::cmp::Ordering;

/// Which of two versions is newer.
pub fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (Parts::of(one), Parts::of(other));
    epoch(one.epoch)
        .cmp(&epoch(other.epoch))
        .then_with(|| compare_part(one.upstream, other.upstream))
        .then_with(|| compare_part(one.revision, other.revision))
}

/// Whether `version` stands in the relation `operator` (`<<`, `<=`, `=`, `>=`, `>>`) to `bound`.
pub fn fits(version: &str, operator: &str, bound: &str) -> bool {
    let order = compare(version, bound);
    match operator {
        "<<" => order.is_lt(),
        // Long ago these two meant what the next two mean (deb-control(5)).
        "<=" | "<" => order.is_le(),
        ">=" | ">" => order.is_ge(),
        ">>" => order.is_gt(),
        "=" => order.is_eq(),
        _ => false,
    }
}

/// Whether `text` is written as a version may be: its letters, and an epoch that is a number.
pub fn is_valid(text: &str) -> bool {
    const LONGEST: usize = 256;
    let parts = Parts::of(text);
    text.len() <= LONGEST
        && (parts.epoch.is_empty() != text.contains(':'))
        && parts.epoch.bytes().all(|byte| byte.is_ascii_digit())
        && parts.epoch.len() <= 10
        && !parts.upstream.is_empty()
        && parts.upstream.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-~:_".contains(&byte))
        && parts.revision.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+~_".contains(&byte))
}

/// `[EPOCH:]UPSTREAM[-REVISION]`.
struct Parts<'a> {
    epoch: &'a str,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Parts<'a> {
    fn of(version: &'a str) -> Parts<'a> {
        let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Parts { epoch, upstream, revision }
    }
}

fn epoch(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

/// Turns of what is no digit, letter by letter, and of digits, as numbers, until they differ.
fn compare_part(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    while !one.is_empty() || !other.is_empty() {
        let (text_one, rest_one) = split(one, |byte| !byte.is_ascii_digit());
        let (text_other, rest_other) = split(other, |byte| !byte.is_ascii_digit());
        let order = compare_text(text_one, text_other);
        if order.is_ne() {
            return order;
        }
        let (number_one, rest_one) = split(rest_one, u8::is_ascii_digit);
        let (number_other, rest_other) = split(rest_other, u8::is_ascii_digit);
        let order = compare_number(number_one, number_other);
        if order.is_ne() {
            return order;
        }
        (one, other) = (rest_one, rest_other);
    }
    Ordering::Equal
}

fn split(text: &[u8], belongs: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !belongs(byte)).unwrap_or(text.len());
    text.split_at(end)
}

/// A tilde is before the end, the end before letters, letters before everything else.
fn compare_text(one: &[u8], other: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    (0..one.len().max(other.len()))
        .map(|at| weight(one.get(at)).cmp(&weight(other.get(at))))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Numbers of any length.
fn compare_number(one: &[u8], other: &[u8]) -> Ordering {
    let (_, one) = split(one, |byte| *byte == b'0');
    let (_, other) = split(other, |byte| *byte == b'0');
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        // Each is older than the next.
        let ordered = [
            "0~~",
            "0~~a",
            "0~",
            "0",
            "0a",
            "0+",
            "1.0~rc1-1",
            "1.0",
            "1.0-1~bpo1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1.1",
            "1.0-2",
            "1.0a",
            "1.0+dfsg-1",
            "1.0.1",
            "1.2",
            "1.10",
            "2",
            "18446744073709551617",
            "1:0.1",
            "10:0",
        ];
        for pair in ordered.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
    }

    #[test]
    fn some_that_differ_in_writing_are_equal() {
        for (one, other) in [("1.0", "0:1.0"), ("1.0", "1.0-0"), ("1.01", "1.1"), ("", "0")] {
            assert_eq!(compare(one, other), Ordering::Equal, "{one} {other}");
        }
    }

    #[test]
    fn relations_hold() {
        assert!(
            fits("2", ">=", "2") && fits("2", ">>", "1") && fits("2", "=", "2-0") && fits("1~", "<<", "1")
        );
        assert!(!fits("2", "<<", "2") && !fits("2", "<=", "1") && !fits("2", "!", "2"));
    }

    #[test]
    fn what_is_no_version_is_seen() {
        for good in ["1", "1:2.3-4", "2024a~rc-1+b1", "1.0-1-2", "1:1:2-3"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", "-1", ":1", "a:1", "1 2", "1/2", "1\n", "1-ü", "1-2/3"] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    /// dpkg's own word for it, if there is a dpkg.
    #[test]
    fn dpkg_agrees() {
        let versions =
            ["1.0", "1.0~", "1.0-1", "1.0-1~deb12u1", "1:0", "1.0+b", "1.0.", "1.0a", "01.0", "1.0-1+b1"];
        for one in versions {
            for other in versions {
                let dpkg = std::process::Command::new("dpkg")
                    .args(["--compare-versions", one, "lt", other])
                    .status();
                let Ok(status) = dpkg else { return };
                assert_eq!(status.success(), compare(one, other).is_lt(), "{one} {other}");
            }
        }
    }
}
