//! Values: what an entry may hold, and reading it once into its type.

use std::fmt;

/// A value of one of the forms that a [`Field`](super::Field) can ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text, a name, a path, a glob, or one of a fixed choice.
    Text(String),
    /// `#true` or `#false`.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// Bytes.
    Size(u64),
    /// A part of something that has a size.
    Share(Share),
    /// Permission bits, at most 0o7777.
    Mode(u32),
    /// A user and a group.
    Owner(Owner),
    /// Seconds since 1970-01-01T00:00:00Z.
    Time(i64),
}

/// How much of something that has a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of what is left: 1 to 100.
    Percent(u64),
}

impl Share {
    /// Reads `512MiB`, or `50%`.
    pub fn parse(text: &str) -> Option<Share> {
        let Some(number) = text.strip_suffix('%') else { return parse_size(text).map(Share::Bytes) };
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let percent = number.parse().ok().filter(|percent| digits && (1..=100).contains(percent));
        percent.map(Share::Percent)
    }
}

/// Who a file belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// The user.
    pub user: Id,
    /// The group.
    pub group: Id,
}

/// A user or a group: a number, or a name that the image's own `/etc/passwd` or `/etc/group` resolves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    /// The number.
    Number(u32),
    /// The name.
    Name(String),
}

impl Owner {
    /// `0:0`.
    pub const ROOT: Owner = Owner { user: Id::Number(0), group: Id::Number(0) };

    /// Reads `user`, `user:group`, `33:33`; a user alone owns with the group of the same name or number.
    pub fn parse(text: &str) -> Option<Owner> {
        let (user, group) = text.split_once(':').unwrap_or((text, text));
        Some(Owner { user: Id::parse(user)?, group: Id::parse(group)? })
    }
}

impl Id {
    /// A number below 2³²−1, or a name as passwd(5) allows; `root` is 0 everywhere.
    pub fn parse(text: &str) -> Option<Id> {
        if text == "root" {
            return Some(Id::Number(0));
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
            return text.parse().ok().filter(|number| *number != u32::MAX).map(Id::Number);
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.$".contains(&byte);
        let starts = text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
        (starts && text.len() <= 32 && text.bytes().all(allowed)).then(|| Id::Name(text.to_string()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Number(number) => write!(out, "{number}"),
            Id::Name(name) => out.write_str(name),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.user, self.group)
    }
}

/// Bytes from `512MiB`, `4GB`, `10K`; units are binary, but `kB`, `MB`, `GB`, `TB` are decimal, as written.
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Permission bits from `0644`, `755`, `0o4755`.
pub fn parse_mode(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = (3..=5).contains(&digits.len()) && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten().filter(|mode| *mode <= 0o7777)
}

/// Seconds since the Unix epoch from `2025-01-01`, `2025-01-01T12:30:00Z` or a number of seconds (UTC, from 1970 on).
pub fn parse_time(text: &str) -> Option<i64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|seconds| *seconds <= LAST_TIME);
    }
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time.strip_suffix('Z')?, ':')?;
    let valid = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    valid.then(|| ((days_from_civil(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// 9999-12-31T23:59:59Z.
const LAST_TIME: i64 = 253_402_300_799;

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator).map(|part| {
        (part.len() >= 2 && part.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| part.parse::<i64>().ok())?
    });
    let read = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(read)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar.
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let before_year = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    let before_month: i64 = (1..month).map(|month| days_in_month(year, month)).sum();
    before_year + before_month + day - 1
}

/// Year, month and day of a count of days from 1970-01-01 (not before).
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let mut year = 1970 + days / 366;
    while days_from_civil(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_from_civil(year, month + 1, 1) <= days {
        month += 1;
    }
    (year, month, days - days_from_civil(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_modes_owners_and_times_are_read() {
        assert_eq!(parse_size("4GiB"), Some(4 << 30));
        assert_eq!(parse_size("512M"), Some(512 << 20));
        assert_eq!(parse_size("2 GB"), Some(2_000_000_000));
        assert_eq!(parse_size("99999999999T"), None, "too many bytes");
        assert_eq!(parse_mode("0o4755"), Some(0o4755));
        assert_eq!(parse_mode("8"), None);
        assert_eq!(parse_mode("77777"), None);
        assert_eq!(Owner::parse("www-data").map(|o| o.to_string()), Some("www-data:www-data".into()));
        assert_eq!(Owner::parse("root:33"), Some(Owner { user: Id::Number(0), group: Id::Number(33) }));
        assert_eq!(Owner::parse("a b"), None);
        assert_eq!(parse_time("2025-01-01"), Some(1_735_689_600));
        assert_eq!(parse_time("2024-02-29T23:59:59Z"), Some(1_709_251_199));
        assert_eq!(parse_time("2023-02-29"), None);
        assert_eq!(civil_from_days(1_709_251_199 / 86_400), (2024, 2, 29));
        assert_eq!(civil_from_days(0), (1970, 1, 1));
        assert_eq!(civil_from_days(LAST_TIME / 86_400), (9999, 12, 31));
        assert_eq!(parse_time("1735689600"), Some(1_735_689_600));
    }
}
