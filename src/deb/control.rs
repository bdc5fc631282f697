//! A package's control stanza: fields and what they say (deb-control(5), deb822(5)).

use std::fmt::Write as _;

/// The fields of a stanza, in the order that they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    fields: Vec<(String, String)>,
}

/// A stanza longer than this is refused.
const MOST: usize = 1 << 20;

/// What can follow a package's name in a relation.
const NAME_ENDS: [char; 7] = [' ', '(', '[', '<', ':', '\n', '\t'];

impl Control {
    /// Reads a text that holds one stanza.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Control, String> {
        if text.len() > MOST {
            return Err("it is longer than 1 MiB".into());
        }
        let mut control = Control::default();
        for line in text.trim_matches('\n').split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.contains(|letter: char| letter.is_control() && letter != '\t') {
                return Err("it has control characters".into());
            }
            match (line.starts_with([' ', '\t']), control.fields.last_mut()) {
                (true, Some((_, value))) => {
                    value.push('\n');
                    value.push_str(line);
                }
                (true, None) => return Err("it begins with a line that continues another".into()),
                (false, _) => control.begin(line)?,
            }
        }
        Ok(control)
    }

    /// What the field says: its first line without blanks around it, and further lines as they stand.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// What the field says; nothing where it is missing.
    pub fn text(&self, name: &str) -> &str {
        self.field(name).unwrap_or_default()
    }

    /// All fields in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Puts a field behind the others, or in the place of the one that has that name.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        match self.fields.iter_mut().find(|(field, _)| field.eq_ignore_ascii_case(name)) {
            Some((_, old)) => *old = value.into(),
            None => self.fields.push((name.to_string(), value.into())),
        }
    }

    /// The package's name.
    pub fn package(&self) -> &str {
        self.text("Package")
    }

    /// What dpkg calls the package's files in its database: `NAME`, or `NAME:ARCH` where several architectures of it
    /// can be installed side by side.
    pub fn database_name(&self) -> String {
        match self.text("Multi-Arch") {
            "same" => format!("{}:{}", self.package(), self.text("Architecture")),
            _ => self.package().to_string(),
        }
    }

    /// The relations that a field such as `Depends` states: for each the alternatives, by name alone.
    pub fn relations(&self, field: &str) -> Vec<Vec<&str>> {
        let relations = self.text(field).split(',').map(|alternatives| {
            let names = alternatives.split('|').map(|one| {
                let one = one.trim();
                &one[..one.find(NAME_ENDS).unwrap_or(one.len())]
            });
            names.filter(|name| !name.is_empty()).collect::<Vec<&str>>()
        });
        relations.filter(|names| !names.is_empty()).collect()
    }

    /// The stanza as text, with a line end at its end.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.fields {
            let blank = if value.is_empty() || value.starts_with('\n') { "" } else { " " };
            let _ = writeln!(text, "{name}:{blank}{value}");
        }
        text
    }

    /// The stanza as lines that a step's record can keep.
    pub fn found(&self) -> Vec<String> {
        self.to_text().lines().map(|line| format!("control {line}")).collect()
    }

    /// What [`Control::found`] wrote, among other lines; none if there is no such line.
    pub fn from_found(found: &[String]) -> Option<Control> {
        let lines: Vec<&str> = found.iter().filter_map(|line| line.strip_prefix("control ")).collect();
        if lines.is_empty() { None } else { Control::parse(&lines.join("\n")).ok() }
    }

    fn begin(&mut self, line: &str) -> Result<(), String> {
        let shown = || crate::wording::printable(&line.chars().take(60).collect::<String>());
        let (name, value) = line.split_once(':').ok_or_else(|| format!("`{}` is no field", shown()))?;
        let fits = |byte: u8| byte.is_ascii_graphic();
        if name.is_empty() || name.starts_with('-') || !name.bytes().all(fits) {
            return Err(format!("`{}` is no field", shown()));
        }
        if self.field(name).is_some() {
            return Err(format!("it has the field `{name}` twice"));
        }
        self.fields.push((name.to_string(), value.trim().to_string()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Package: libc6\nVersion: 2.36-9\nArchitecture: amd64\nMulti-Arch: same\n\
                        Depends: libgcc-s1 (>= 1),\n libcrypt1:any (>= 1:4.4) | x\nDescription: C library\n Two\n .\n Three\n";

    #[test]
    fn a_stanza_is_read_and_written() {
        let control = Control::parse(TEXT).expect("a stanza");
        assert_eq!(control.to_text(), TEXT);
        assert_eq!(control.field("version"), Some("2.36-9"));
        assert_eq!(control.database_name(), "libc6:amd64");
        assert_eq!(control.relations("Depends"), [vec!["libgcc-s1"], vec!["libcrypt1", "x"]]);
        let mut found = vec!["other".to_string()];
        found.extend(control.found());
        assert_eq!(Control::from_found(&found), Some(control));
        assert_eq!(Control::from_found(&[]), None);
    }

    #[test]
    fn what_is_no_stanza_is_refused() {
        for bad in
            [" a", "a", "Package: a\nPackage: b", ": x", "a b: c", "Package: a\n\nPackage: b", "a: \u{1b}[2J"]
        {
            assert!(Control::parse(bad).is_err(), "{bad:?}");
        }
    }
}
