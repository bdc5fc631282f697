//! Text from outside, made fit to be shown.
//!
//! A manifest, a file's name or a program's last words may hold escape sequences that drive a terminal, or characters
//! that reorder or hide what stands beside them ("Trojan Source", CVE-2021-42574). They are spelled out here the way
//! `less` does it, so that nothing is done and nothing is hidden: `^[` for escape, `<U+202E>` for an override.
//! Knows characters, not what they are part of.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` with everything spelled out that would not be seen; tabs and newlines stay.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    text.chars().for_each(|letter| push_visible(&mut shown, letter));
    Cow::Owned(shown)
}

/// [`visible`] text of which the lines are joined to one.
pub(super) fn one_line(text: &str) -> String {
    visible(text).lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// What a terminal would have left standing of a line that a program wrote: no colours, and only the last state of
/// a progress bar.
pub(super) fn program_line(line: &str) -> String {
    let plain = without_escapes(line.trim_end_matches(['\r', '\n']));
    visible(plain.rsplit('\r').next().unwrap_or_default()).trim_end().to_owned()
}

/// Whether a character is never shown by itself, but does something to what is around it.
pub(super) fn is_hidden(letter: char) -> bool {
    match letter {
        '\t' | '\n' => false,
        // Marks, overrides and isolates of the bidirectional algorithm (UAX #9, section 2), and line separators.
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' => true,
        // Without width; the joiners 200C and 200D are left alone, because scripts and emoji need them.
        '\u{200b}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => true,
        _ => letter.is_control(),
    }
}

/// The first `limit` characters, and `dots` if there are more.
pub(super) fn clip<'a>(text: &'a str, limit: usize, dots: &str) -> Cow<'a, str> {
    match text.char_indices().nth(limit).and_then(|(end, _)| text.get(..end)) {
        Some(start) => Cow::Owned(format!("{start}{dots}")),
        None => Cow::Borrowed(text),
    }
}

/// How many columns of a terminal `text` takes once it is [`visible`].
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// How many columns a character takes once it is [`visible`].
pub(super) fn width(letter: char) -> usize {
    match letter {
        '\t' => 4,
        '\0'..='\x1f' | '\x7f' => 2,
        hidden if is_hidden(hidden) => 8,
        // The blocks of which nearly all is wide (UAX #11): good enough to cut a line with.
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

fn push_visible(shown: &mut String, letter: char) {
    match letter {
        '\t' | '\n' => shown.push(letter),
        '\0'..='\x1f' | '\x7f' => shown.extend(['^', char::from(letter as u8 ^ 0x40)]),
        hidden if is_hidden(hidden) => {
            // Writing into a string cannot fail.
            let _ = write!(shown, "<U+{:04X}>", u32::from(hidden));
        }
        _ => shown.push(letter),
    }
}

/// `text` without the escape sequences of ECMA-48; a broken one is left in, for [`visible`] to show.
fn without_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains('\x1b') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\x1b') {
        plain.push_str(before);
        rest = behind_escape(after).unwrap_or_else(|| {
            plain.push('\x1b');
            after
        });
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// What follows an escape sequence, of which `after` is all but the escape character.
fn behind_escape(after: &str) -> Option<&str> {
    if let Some(control) = after.strip_prefix('[') {
        // A control sequence (ECMA-48, section 5.4): parameters and intermediates, then the byte that names it.
        let name = control.trim_start_matches(|byte| ('\x20'..='\x3f').contains(&byte));
        return name.strip_prefix(|byte| ('\x40'..='\x7e').contains(&byte));
    }
    if let Some(string) = after.strip_prefix([']', 'P', 'X', '^', '_']) {
        // A command or a string (section 5.6), ended by ST, or by the bell as xterm has it for titles and links.
        let (_, rest) = string.split_once(['\x07', '\x1b'])?;
        return Some(rest.strip_prefix('\\').unwrap_or(rest));
    }
    let name = after.trim_start_matches(|byte| ('\x20'..='\x2f').contains(&byte));
    name.strip_prefix(|byte| ('\x30'..='\x7e').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drives_a_terminal_is_spelled_out() {
        assert_eq!(visible("a\x1b[2Jb\x07\u{9b}1m\x7f"), "a^[[2Jb^G<U+009B>1m^?");
        assert_eq!(visible("root\u{202e}gnp.\u{2066}x\u{200b}"), "root<U+202E>gnp.<U+2066>x<U+200B>");
        assert_eq!(visible("tab\tstays, so do ä, 한 and 👩‍🚀"), "tab\tstays, so do ä, 한 and 👩‍🚀");
        for letter in (0..0x3000).filter_map(char::from_u32) {
            let shown = visible(letter.encode_utf8(&mut [0; 4])).into_owned();
            assert!(!shown.contains(is_hidden), "{letter:?}");
            assert!(letter == '\t' || columns(&shown) == width(letter), "{letter:?}");
        }
    }

    #[test]
    fn a_program_is_quoted_without_its_colours() {
        assert_eq!(
            program_line("\x1b[1;31mE:\x1b[0m no \x1b]8;;http://x\x1b\\link\x1b]8;;\x07\r\n"),
            "E: no link"
        );
        assert_eq!(program_line(" 10%\r 90%\r100%\r\n"), "100%");
        assert_eq!(program_line("\x1b(Bx\x1b]unended"), "x^[]unended");
        assert_eq!(program_line("\x1b"), "^[");
    }

    #[test]
    fn clipping_keeps_characters_whole() {
        assert_eq!(clip("äöü", 2, "…"), "äö…");
        assert_eq!(clip("äöü", 3, "…"), "äöü");
    }
}
