//! Slips in bare words, numbers and keywords, and between values.

use std::ops::Range;
use std::sync::Arc;

use super::{one, quoted, short, shown, text_of};
use crate::fault::{Fault, Source};
use crate::lang::syntax::token::KEYWORDS;
use crate::wording;

pub fn needs_quotes(source: &Arc<Source>, range: Range<usize>) -> Fault {
    let typed = text_of(source, range.clone());
    let code = "kdl/needs-quotes";
    if typed == "\\" {
        return one(source, range, code, "`\\` stands before the end of its line", "joins no lines").help(
            "a `\\` that joins two lines is the last thing on the first; as a text it is written `#\"\\\"#`",
        );
    }
    let culprit = typed.chars().find(|letter| "\\/(){}[]#".contains(*letter)).unwrap_or('/');
    let message = match typed.len() {
        1 => format!("`{culprit}` needs quotes"),
        _ => format!("`{}` holds `{culprit}`, so it needs quotes", short(typed)),
    };
    one(source, range, code, message, "not in quotes").help(format!("write `{}`", quoted(typed)))
}

pub fn unknown_keyword(source: &Arc<Source>, range: Range<usize>) -> Fault {
    let typed = text_of(source, range.clone());
    let meant = match typed.trim_start_matches('#').to_lowercase().as_str() {
        "yes" | "on" => Some("#true"),
        "no" | "off" => Some("#false"),
        "none" | "nil" => Some("#null"),
        _ => wording::nearest(typed, KEYWORDS),
    };
    let help = match meant {
        Some(keyword) => format!("did you mean `{keyword}`?"),
        None => format!("a string is written `{}`, a comment begins with `//`", quoted(typed)),
    };
    one(source, range, "kdl/keyword", format!("`{}` is no keyword", short(typed)), "not known").help(help)
}

pub fn hash_comment(source: &Arc<Source>, range: Range<usize>) -> Fault {
    let typed = text_of(source, range.clone()).trim_start_matches(['#', '!']).trim();
    one(source, range, "kdl/hash-comment", "a comment begins with `//`, not with `#`", "read as a comment")
        .help(format!("write `// {}`", short(typed)))
}

pub fn brackets(source: &Arc<Source>, range: Range<usize>, section: bool) -> Fault {
    let typed = text_of(source, range.clone());
    let inner = typed.trim_matches(['[', ']']).trim();
    if section && !inner.is_empty() {
        return one(source, range, "kdl/brackets", "KDL has no sections in `[…]`", "as in an INI file")
            .help(format!("write `{} {{ … }}`", short(inner)));
    }
    let values: Vec<&str> =
        inner.split([',', '\n']).map(str::trim).filter(|value| !value.is_empty()).take(4).collect();
    let example = if values.is_empty() { String::from("name \"a\" \"b\"") } else { short(&values.join(" ")) };
    one(source, range, "kdl/brackets", "KDL has no lists in `[…]`", "a list in brackets")
        .help(format!("write the values one behind the other: `{example}`"))
}

pub fn bare_keyword(source: &Arc<Source>, range: Range<usize>, key: Option<&str>, value: bool) -> Fault {
    let typed = shown(source, range.clone());
    let key = key.map(|key| format!("{}=", short(key))).unwrap_or_default();
    let message = match value {
        true => format!("`{typed}` stands without its `#`"),
        false => format!("`{typed}` is no name"),
    };
    let help = match value {
        true => format!("write `{key}#{typed}`, or `{key}\"{typed}\"` if it is a text"),
        false => format!("a node of that name is written `\"{typed}\"`"),
    };
    one(source, range, "kdl/bare-bool", message, "not in this spelling").help(help)
}

pub fn number(source: &Arc<Source>, range: Range<usize>, key: Option<(&str, bool)>) -> Fault {
    let typed = text_of(source, range.clone());
    let digits = typed.trim_start_matches(['+', '-']);
    if let Some(rest) = digits.strip_prefix('.').filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    {
        let sign = typed.get(..typed.len() - digits.len()).unwrap_or_default();
        return one(
            source,
            range,
            "kdl/number",
            format!("`{}` lacks a digit before its point", short(typed)),
            "no number",
        )
        .help(format!("write `{sign}0.{}`", short(rest)));
    }
    let help = match key {
        Some((key, true)) => {
            let (key, typed) = (short(key), short(typed));
            format!("write `{key}=\"{typed}\"`; if all of it is one name, `\"{key}={typed}\"`")
        }
        Some((key, false)) => format!("write `{}=\"{}\"`", short(key), short(typed)),
        None => format!("write `\"{}\"`", short(typed)),
    };
    let message = format!("`{}` begins like a number but is none, so it needs quotes", short(typed));
    one(source, range, "kdl/number", message, "neither a number nor a name").help(help)
}

pub fn large_number(source: &Arc<Source>, range: Range<usize>) -> Fault {
    let typed = shown(source, range.clone());
    one(source, range, "kdl/number", format!("the number `{typed}` is too large"), "does not fit 128 bits")
        .help(format!("if it is a name or a digest, write it in quotes: `\"{typed}\"`"))
}

pub fn trailing(source: &Arc<Source>, range: Range<usize>, letter: char) -> Fault {
    let typed = shown(source, range.clone());
    let bare = typed.trim_end_matches(letter);
    let place = range.end - letter.len_utf8()..range.end;
    let (code, message) = match letter {
        ',' => ("kdl/comma", "no `,` stands between values"),
        _ => ("kdl/colon", "no `:` stands behind a name"),
    };
    let help = match (bare, letter) {
        ("", _) => String::from("leave it out; blanks separate values"),
        (bare, ',') => format!("write `{bare}` and a blank; a name that ends in `,` needs quotes"),
        (bare, _) => format!("write `{bare} …` without the `:`; a name that ends in `:` needs quotes"),
    };
    one(source, place, code, message, "not in KDL").help(help)
}

pub fn no_blank(source: &Arc<Source>, before: Range<usize>, behind: Range<usize>) -> Fault {
    let (first, second) = (text_of(source, before.clone()), text_of(source, behind.clone()));
    if let Some(mark) = second.chars().next().filter(|mark| matches!(mark, ',' | ':')) {
        let code = if mark == ',' { "kdl/comma" } else { "kdl/colon" };
        let mark_only = behind.start..behind.start + 1;
        let what = if mark == ',' {
            "values are separated by blanks"
        } else {
            "a value follows a name after a blank"
        };
        return one(source, mark_only, code, format!("no `{mark}` stands behind a string"), "not in KDL")
            .help(format!("leave it out: {what}, as in `name \"a\" \"b\"`"));
    }
    let spelled = format!("{} {}", short(first), short(second));
    one(
        source,
        before.start..behind.end,
        "kdl/no-blank",
        format!("a blank is missing behind `{}`", short(first)),
        "two values in one",
    )
    .help(format!("write `{spelled}`, or put all of it into one pair of quotes"))
}
