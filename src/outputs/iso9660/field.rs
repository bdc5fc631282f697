//! How ECMA-119 spells numbers (section 7) and dates (8.4.26.1 and 9.1.5), and how long a sector is.

/// The bytes of a logical sector, which is also the logical block here.
pub(super) const SECTOR: usize = 2048;

/// How many sectors `bytes` take.
pub(super) fn sectors(bytes: u64) -> u64 {
    bytes.div_ceil(SECTOR as u64)
}

/// How many bytes are missing behind `bytes` to the end of a sector.
pub(super) fn padding(bytes: u64) -> usize {
    (sectors(bytes) * SECTOR as u64 - bytes) as usize
}

/// A 16-bit number in both byte orders (7.2.3).
pub(super) fn both_u16(number: u16) -> [u8; 4] {
    let [low, high] = number.to_le_bytes();
    [low, high, high, low]
}

/// A 32-bit number in both byte orders (7.3.3).
pub(super) fn both_u32(number: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// A date in binary (9.1.5), in UTC.
pub(super) fn short_date(seconds: i64) -> [u8; 7] {
    let date = Date::new(seconds);
    let year = (date.year - FIRST_YEAR) as u8;
    [year, date.month as u8, date.day as u8, date.hour as u8, date.minute as u8, date.second as u8, UTC]
}

/// A date in digits (8.4.26.1), in UTC.
pub(super) fn long_date(seconds: i64) -> [u8; 17] {
    let Date { year, month, day, hour, minute, second } = Date::new(seconds);
    let digits = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}00");
    let mut bytes = NO_DATE;
    bytes[..16].copy_from_slice(digits.as_bytes());
    bytes
}

/// A date in digits that is not given.
pub(super) const NO_DATE: [u8; 17] = *b"0000000000000000\0";

/// The offset from UTC in quarters of an hour.
const UTC: u8 = 0;
const FIRST_YEAR: i64 = 1900;
/// 1900-01-01 00:00:00: the short form counts years from 1900 in one byte.
const FIRST: i64 = -2_208_988_800;
/// 2155-12-31 23:59:59.
const LAST: i64 = 5_869_583_999;
const DAY: i64 = 24 * 60 * 60;

struct Date {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

impl Date {
    fn new(seconds: i64) -> Date {
        let seconds = seconds.clamp(FIRST, LAST) - FIRST;
        let (mut day, second) = (seconds / DAY, seconds % DAY);
        let mut year = FIRST_YEAR;
        while day >= days_of_year(year) {
            day -= days_of_year(year);
            year += 1;
        }
        let mut month = 1;
        while day >= days_of_month(year, month) {
            day -= days_of_month(year, month);
            month += 1;
        }
        Date { year, month, day: day + 1, hour: second / 3600, minute: second / 60 % 60, second: second % 60 }
    }
}

fn days_of_year(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil_and_stay_within_their_bounds() {
        let spelled = |seconds| String::from_utf8(long_date(seconds)[..14].to_vec()).unwrap();
        assert_eq!(spelled(0), "19700101000000");
        assert_eq!(spelled(951_782_399), "20000228235959");
        assert_eq!(spelled(951_782_400), "20000229000000");
        assert_eq!(spelled(4_107_542_400), "21000301000000", "2100 is no leap year");
        assert_eq!(spelled(LAST), "21551231235959");
        assert_eq!(spelled(i64::MIN), "19000101000000");
        assert_eq!(short_date(i64::MAX), [255, 12, 31, 23, 59, 59, 0]);
    }
}
