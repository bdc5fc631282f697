//! Control files: stanzas of fields (deb822(5)).
//!
//! Only an empty line ends a stanza, a line that begins with a space or a tab goes on with the field before it, and one
//! that begins with `#` is a comment. Nothing is copied: what is found is a part of the text.

use memchr::memchr;

/// The stanzas of a text, each without the empty line that ends it.
pub fn stanzas(text: &str) -> Stanzas<'_> {
    Stanzas { rest: text }
}

/// See [`stanzas`].
#[derive(Clone, Debug)]
pub struct Stanzas<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Stanzas<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let start = self.rest.trim_start_matches('\n');
        if start.is_empty() {
            self.rest = start;
            return None;
        }
        let end = memchr::memmem::find(start.as_bytes(), b"\n\n").map_or(start.len(), |at| at + 1);
        let (stanza, rest) = start.split_at(end);
        self.rest = rest;
        Some(stanza)
    }
}

/// The fields of a stanza with their values, in order. A value has no white space around it; the lines that go on with
/// it are in it as they stand.
pub fn fields(stanza: &str) -> Fields<'_> {
    Fields { rest: stanza }
}

/// See [`fields`].
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let (field, rest) = self.rest.split_at(end_of_field(self.rest));
            self.rest = rest;
            if let Some((name, value)) = field.split_once(':')
                && !name.is_empty()
                && !name.contains([' ', '\t', '\n', '#'])
            {
                return Some((name, value.trim()));
            }
        }
    }
}

/// Where the first line of `text` and the lines that go on with it end.
fn end_of_field(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        at = match memchr(b'\n', bytes.get(at..).unwrap_or_default()) {
            Some(length) => at + length + 1,
            None => return bytes.len(),
        };
        if !matches!(bytes.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
}

/// The value of the field `name`, whatever its case; the first one if there are several.
pub fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    fields(stanza).find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Whether `text` holds a control character other than a tab or the end of a line.
pub fn has_control(text: &[u8]) -> bool {
    // Without an early way out, so that it is done many bytes at once.
    text.iter().fold(false, |found, byte| {
        found | ((*byte < 0x20) & (*byte != b'\n') & (*byte != b'\t')) | (*byte == 0x7f)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_are_divided_by_empty_lines() {
        let text = "\n\nA: 1\nB: 2\n\n\nA: 3\n \n .\n x\n\nA: 4";
        let found: Vec<&str> = stanzas(text).collect();
        assert_eq!(found, ["A: 1\nB: 2\n", "A: 3\n \n .\n x\n", "A: 4"]);
        assert_eq!(stanzas("\n\n").count(), 0);
    }

    #[test]
    fn fields_go_on_over_lines() {
        let stanza = "Package: a\n# a comment: no field\nDepends: b,\n c\nnonsense\nDescription:\n x\n\ty\n";
        let found: Vec<(&str, &str)> = fields(stanza).collect();
        assert_eq!(found, [("Package", "a"), ("Depends", "b,\n c"), ("Description", "x\n\ty")]);
        assert_eq!(field(stanza, "depends"), Some("b,\n c"));
        assert_eq!(field(stanza, "Version"), None);
    }

    #[test]
    fn control_characters_are_seen() {
        assert!(!has_control("ä\tb\n".as_bytes()));
        for bad in ["a\rb", "\u{1b}[31m", "\0", "\u{7f}"] {
            assert!(has_control(bad.as_bytes()), "{bad:?}");
        }
    }
}
