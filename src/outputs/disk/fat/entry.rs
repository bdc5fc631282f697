//! Entries of folders: the short name, the long one in front of it, and what is told of a file.

use std::collections::{BTreeMap, BTreeSet};

use crate::lang::value::civil_from_days;

/// Bytes of an entry.
pub(super) const ENTRY: usize = 32;

/// A short name: eight bytes, and three of an extension.
pub(super) type Short = [u8; 11];

pub(super) fn padded(label: &str) -> Short {
    let mut name = [b' '; 11];
    name.iter_mut().zip(label.bytes()).for_each(|(place, byte)| *place = byte);
    name
}

/// The short name that `name` is, if it is one.
pub(super) fn short(name: &str) -> Option<Short> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let fits = |part: &str, most: usize| {
        let known = |byte: u8| {
            byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"_-~!@#$%&'(){}^`".contains(&byte)
        };
        part.len() <= most && part.bytes().all(known)
    };
    if base.is_empty() || !fits(base, 8) || !fits(extension, 3) || name.ends_with('.') {
        return None;
    }
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base.as_bytes());
    short[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    Some(short)
}

pub(super) fn is_short(name: &str) -> bool {
    short(name).is_some()
}

/// A short name for a long one, which none of `taken` is: `LOADER~1CON`. `numbers` has what was given last.
pub(super) fn alias(
    name: &str,
    taken: &BTreeSet<Short>,
    numbers: &mut BTreeMap<(Vec<u8>, Vec<u8>), u32>,
) -> Short {
    let plain = |text: &str, most: usize| -> Vec<u8> {
        let capitals = text.bytes().map(|byte| byte.to_ascii_uppercase());
        capitals.filter(u8::is_ascii_alphanumeric).take(most).collect()
    };
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let (base, extension) = (plain(base, 6), plain(extension, 3));
    let numbered = |number: u32| -> Short {
        let tail = format!("~{number}");
        let mut short = [b' '; 11];
        let kept = base.len().min(8 - tail.len());
        short[..kept].copy_from_slice(&base[..kept]);
        short[kept..kept + tail.len()].copy_from_slice(tail.as_bytes());
        short[8..8 + extension.len()].copy_from_slice(&extension);
        short
    };
    let last = numbers.entry((base.clone(), extension.clone())).or_default();
    // No folder has as many files.
    while *last < 9_999_999 {
        *last += 1;
        if !taken.contains(&numbered(*last)) {
            break;
        }
    }
    numbered(*last)
}

/// UTF-16 letters in an entry of a long name.
const LETTERS: usize = 13;

pub(super) fn long_entries(name: &str) -> usize {
    name.encode_utf16().count().div_ceil(LETTERS)
}

/// The entries of a long name, in front of that of its short one: the last part first.
pub(super) fn long(name: &str, short: &Short) -> Vec<u8> {
    let sum = short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let letters: Vec<u16> = name.encode_utf16().collect();
    let parts = letters.chunks(LETTERS).enumerate();
    let entry = |(number, part): (usize, &[u16])| {
        let is_last = number + 1 == long_entries(name);
        let mut padded: Vec<u16> = part.to_vec();
        if padded.len() < LETTERS {
            padded.push(0);
        }
        padded.resize(LETTERS, 0xffff);
        let bytes: Vec<u8> = padded.into_iter().flat_map(u16::to_le_bytes).collect();
        let mut entry = [0; ENTRY];
        entry[0] = u8::try_from(number + 1).unwrap_or_default() | if is_last { 0x40 } else { 0 };
        entry[1..11].copy_from_slice(&bytes[..10]);
        entry[11] = 0x0f;
        entry[13] = sum;
        entry[14..26].copy_from_slice(&bytes[10..22]);
        entry[28..].copy_from_slice(&bytes[22..]);
        entry
    };
    parts.map(entry).collect::<Vec<_>>().into_iter().rev().flatten().collect()
}

pub(super) fn entry(name: &Short, attribute: u8, first: u32, size: u32, seconds: i64) -> [u8; ENTRY] {
    let (date, time) = moment(seconds);
    let [low, more, high, highest] = first.to_le_bytes();
    let mut entry = [0; ENTRY];
    entry[..11].copy_from_slice(name);
    entry[11] = attribute;
    entry[14..16].copy_from_slice(&time.to_le_bytes());
    entry[16..18].copy_from_slice(&date.to_le_bytes());
    entry[18..20].copy_from_slice(&date.to_le_bytes());
    entry[20..22].copy_from_slice(&[high, highest]);
    entry[22..24].copy_from_slice(&time.to_le_bytes());
    entry[24..26].copy_from_slice(&date.to_le_bytes());
    entry[26..28].copy_from_slice(&[low, more]);
    entry[28..].copy_from_slice(&size.to_le_bytes());
    entry
}

/// A time as FAT has it, in UTC: from 1980 to 2107, and even seconds.
fn moment(seconds: i64) -> (u16, u16) {
    const FIRST: i64 = 315_532_800;
    const LAST: i64 = 4_354_819_198;
    let seconds = seconds.clamp(FIRST, LAST);
    let (year, month, day) = civil_from_days(seconds / 86400);
    let time = seconds % 86400;
    let part = |number: i64| u16::try_from(number).unwrap_or_default();
    (
        part((year - 1980) << 9 | month << 5 | day),
        part((time / 3600) << 11 | (time / 60 % 60) << 5 | ((time % 60) / 2)),
    )
}
