//! Fields: an argument or a property as a word declares it, and reading what was typed there.

use super::raw::{RawEntry, RawValue};
use super::value::{self, Owner, Share, Value};
use crate::wording;

pub mod package;

/// An argument or a property.
#[derive(Debug)]
pub struct Field {
    /// Its name; for an argument, what the manual calls it.
    pub name: &'static str,
    /// What may stand there.
    pub form: Form,
    /// Whether it must be there.
    pub required: bool,
    /// What holds when it is not there, as the manual tells it.
    pub default: Option<&'static str>,
    /// One or two sentences.
    pub docs: &'static str,
}

impl Field {
    /// A field that may be left out.
    pub const fn new(name: &'static str, form: Form, docs: &'static str) -> Field {
        Field { name, form, required: false, default: None, docs }
    }

    /// The field, with what holds when it is not there.
    pub const fn default(mut self, default: &'static str) -> Field {
        self.default = Some(default);
        self
    }

    /// The field, which must be there.
    pub const fn required(mut self) -> Field {
        self.required = true;
        self
    }
}

/// What may stand in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Any text.
    Text,
    /// The text of a program, in which `${NAME}` is the program's own.
    Script,
    /// A name for something: letters, digits and `._+-`, beginning with a letter or a digit.
    Name,
    /// A path; relative ones start at the folder of the file they stand in.
    Path,
    /// An absolute path inside the image.
    ImagePath,
    /// A pattern: `*` within a component, `**` across them, `?`, `[…]`, `{a,b}`.
    Glob,
    /// `#true` or `#false`.
    Flag,
    /// A whole number in a range.
    Integer {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// Bytes: `"512MiB"`.
    Size,
    /// Bytes, or a part of what is left: `"512MiB"`, `"50%"`.
    Share,
    /// Permission bits in octal: `"0644"`.
    Mode,
    /// `"user"` or `"user:group"`, names or numbers.
    Owner,
    /// A time in UTC: `"2025-01-01"` or seconds since 1970.
    Time,
    /// A URL that begins with `http://` or `https://`.
    Url,
    /// A package of Debian: `curl`, `libc6:amd64`, a task as `ssh-server^`, or `!nano` for one to be left out.
    Package,
    /// One of these.
    OneOf(&'static [&'static str]),
}

impl Form {
    /// What a value of this form is called in a message, with its article.
    pub fn noun(self) -> String {
        match self {
            Form::Text | Form::Script => "text".into(),
            Form::Name => "a name".into(),
            Form::Path => "a path".into(),
            Form::ImagePath => "an absolute path inside the image".into(),
            Form::Glob => "a pattern".into(),
            Form::Flag => "`#true` or `#false`".into(),
            Form::Integer { min, max } if max == i64::MAX => format!("a whole number from {min} up"),
            Form::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Form::Size => "a size such as `\"512MiB\"`".into(),
            Form::Share => "a size such as `\"512MiB\"`, or a part of what is left such as `\"50%\"`".into(),
            Form::Mode => "permission bits in octal such as `\"0644\"`".into(),
            Form::Owner => "an owner such as `\"www-data:www-data\"`".into(),
            Form::Time => "a time such as `\"2025-01-01\"`".into(),
            Form::Url => "a URL such as `\"http://HOST/debian\"`".into(),
            Form::Package => "a package such as `curl`, `libc6:amd64` or `!nano`".into(),
            Form::OneOf(choice) => wording::either(choice),
        }
    }

    /// Reads the text of a string, after variables were put in.
    pub fn read_text(self, text: &str) -> Result<Value, Unfit> {
        let unfit = || Unfit::new(format!("`{}` is not {}", wording::printable(text), self.noun()));
        match self {
            Form::Text | Form::Script | Form::Glob => Some(Value::Text(text.to_string())),
            Form::Name => match is_name(text) {
                true => Some(Value::Text(text.to_string())),
                false => return Err(unfit().maybe_help(Some(name_help()))),
            },
            Form::Path => (!text.is_empty() && !text.contains('\0')).then(|| Value::Text(text.to_string())),
            Form::ImagePath => is_image_path(text).then(|| Value::Text(text.to_string())),
            Form::Size => value::parse_size(text).map(Value::Size),
            Form::Share => Share::parse(text).map(Value::Share),
            Form::Mode => value::parse_mode(text).map(Value::Mode),
            Form::Owner => Owner::parse(text).map(Value::Owner),
            Form::Time => value::parse_time(text).map(Value::Time),
            Form::Url => is_url(text).then(|| Value::Text(text.to_string())),
            Form::Package => match package::is_package(text) {
                true => Some(Value::Text(text.to_string())),
                false => return Err(unfit().maybe_help(package::help(text))),
            },
            Form::OneOf(choice) => {
                if !choice.contains(&text) {
                    return Err(
                        unfit().maybe_help(wording::nearest(text, choice.iter().copied()).map(did_you_mean))
                    );
                }
                Some(Value::Text(text.to_string()))
            }
            Form::Flag => return Err(unfit().maybe_help(flag_help(text))),
            Form::Integer { .. } => return Err(unfit().maybe_help(number_help(text))),
        }
        .ok_or_else(unfit)
    }

    /// Reads what was typed, variables aside.
    pub fn read(self, entry: &RawEntry) -> Result<Value, Unfit> {
        match (&entry.value, self) {
            (RawValue::Text(text), form) => form.read_text(text),
            (RawValue::Flag(flag), Form::Flag) => Ok(Value::Flag(*flag)),
            (RawValue::Integer(Some(number)), Form::Integer { min, max }) if (min..=max).contains(number) => {
                Ok(Value::Integer(*number))
            }
            (RawValue::Integer(Some(number)), Form::Size) if *number >= 0 => {
                Ok(Value::Size(number.unsigned_abs()))
            }
            (RawValue::Integer(Some(number)), Form::Share) if *number >= 0 => {
                Ok(Value::Share(Share::Bytes(number.unsigned_abs())))
            }
            (RawValue::Integer(Some(_)), Form::Time) => self.read_text(&entry.typed),
            (RawValue::Integer(_) | RawValue::Decimal, form) if form.is_textual() => {
                Err(self.number_for_text(entry))
            }
            _ => Err(Unfit::new(format!("`{}` is not {}", wording::printable(&entry.typed), self.noun()))),
        }
    }

    fn is_textual(self) -> bool {
        !matches!(self, Form::Flag | Form::Integer { .. })
    }

    /// A version or a mode that KDL reads as a number would lose its text: `1.10` is 1.1, `0644` is 644.
    fn number_for_text(self, entry: &RawEntry) -> Unfit {
        let quoted = format!("\"{}\"", entry.typed);
        match self.read_text(&entry.typed) {
            Ok(_) => Unfit::new(format!("`{}` is read as a number here, and its text is lost", entry.typed))
                .maybe_help(Some(format!("put it in quotes: `{quoted}`"))),
            Err(unfit) => unfit,
        }
    }
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

fn flag_help(text: &str) -> Option<String> {
    match text.to_lowercase().as_str() {
        "true" | "yes" | "on" => Some("write `#true`".into()),
        "false" | "no" | "off" => Some("write `#false`".into()),
        _ => None,
    }
}

fn number_help(text: &str) -> Option<String> {
    text.parse::<i64>().is_ok().then(|| format!("write it without quotes: `{text}`"))
}

/// The most letters of a name: files are called by it, with more in front and behind, and have up to 255.
const LONGEST_NAME: usize = 128;

/// What a name may have beside letters and digits, but not at its beginning.
const IN_NAMES: &str = "._+-";

fn is_name(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && text.len() <= LONGEST_NAME
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || IN_NAMES.contains(letter))
}

fn name_help() -> String {
    format!(
        "a name has letters and digits of ASCII and `{IN_NAMES}`, begins with a letter or a digit, and is at most \
         {LONGEST_NAME} long"
    )
}

fn is_image_path(text: &str) -> bool {
    let escapes = text.split('/').any(|component| component == ".." || component == ".");
    text.starts_with('/') && !escapes && !text.contains('\0')
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
    // Query and fragment have no place where paths are added to the end.
    !host.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\`{}|^".contains(&byte))
}

/// Why a value does not fit its field.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfit {
    /// What is wrong.
    pub message: String,
    /// A way out.
    pub help: Option<String>,
}

impl Unfit {
    fn new(message: String) -> Unfit {
        Unfit { message, help: None }
    }
    fn maybe_help(mut self, help: Option<String>) -> Unfit {
        self.help = help;
        self
    }
}
