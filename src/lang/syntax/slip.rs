//! The slips that people make while they write KDL, each as a fault: what is there, and how it is written.
//!
//! Only words are here; the cutter, the guard and the grammar find the slips.

use std::ops::Range;
use std::sync::Arc;

use super::token::{KEYWORDS, is_blank, is_newline};
use crate::fault::{Fault, Place, Source};
use crate::wording;

/// A fault about one range.
fn one(
    source: &Arc<Source>,
    range: Range<usize>,
    code: &'static str,
    message: impl Into<String>,
    label: &str,
) -> Fault {
    Fault::error(code, message).at(&Place::new(source, range), label)
}

/// The text of `range` on one line, short enough for a message.
pub fn shown(source: &Arc<Source>, range: Range<usize>) -> String {
    short(source.text.get(range).unwrap_or_default())
}

fn short(text: &str) -> String {
    const LONGEST: usize = 40;
    let line = text.split(is_newline).next().unwrap_or_default();
    let mut letters = line.chars();
    let start: String = letters.by_ref().take(LONGEST).collect();
    let more = letters.next().is_some() || line.len() < text.len();
    wording::printable(&start) + if more { "…" } else { "" }
}

/// `text` as KDL writes it in quotes.
fn quoted(text: &str) -> String {
    let text = short(text);
    match text.contains(['"', '\\']) {
        true if text.contains("\"#") => format!("##\"{text}\"##"),
        true => format!("#\"{text}\"#"),
        false => format!("\"{text}\""),
    }
}

fn text_of(source: &Source, range: Range<usize>) -> &str {
    source.text.get(range).unwrap_or_default()
}

// Strings.

pub fn unclosed_string(source: &Arc<Source>, range: Range<usize>, closing: &str) -> Fault {
    let long = closing.starts_with("\"\"\"");
    let help = match long {
        true => format!("close it with `{closing}` on a line of its own"),
        false => format!(
            "close it with `{closing}` on the same line; a text of several lines is written in `\"\"\"`"
        ),
    };
    let message =
        if long { "a string of several lines is not closed" } else { "a string is not closed on its line" };
    one(source, range, "kdl/unclosed-string", message, "begins here").help(help)
}

pub fn string_over_lines(source: &Arc<Source>, range: Range<usize>) -> Fault {
    one(source, range, "kdl/string-lines", "a string in `\"` cannot run over several lines", "begins here").help(
        "write `\"\"\"`, the text on lines of its own, and `\"\"\"` on the last line; or `\\n` for a newline",
    )
}

pub fn escape(source: &Arc<Source>, escape: Range<usize>, string: Range<usize>) -> Fault {
    let typed = shown(source, escape.clone());
    let code = "kdl/escape";
    if typed.starts_with("\\u") {
        return one(source, escape, code, format!("`{typed}` is no escape"), "not known")
            .help("a character is written by its number in hexadecimal, as in `\\u{e9}`");
    }
    let inner = text_of(source, string).trim_matches('"');
    let raw = if inner.contains(is_newline) {
        String::from("#\"…\"#")
    } else {
        format!("#\"{}\"#", short(inner))
    };
    one(source, escape, code, format!("`{typed}` is no escape"), "not known")
        .help(format!("write `\\\\` for a backslash, or `{raw}` for a text that is taken as it stands"))
}

pub fn multi_line_start(source: &Arc<Source>, quotes: Range<usize>, body: &str) -> Fault {
    let help = match body.contains(is_newline) {
        true => "put a newline behind the opening `\"\"\"`".to_string(),
        false => format!("a text of one line is written `{}`", quoted(body)),
    };
    one(
        source,
        quotes,
        "kdl/multi-line",
        "the text of a `\"\"\"` string begins on the next line",
        "begins here",
    )
    .help(help)
}

pub fn multi_line_end(source: &Arc<Source>, quotes: Range<usize>) -> Fault {
    one(source, quotes, "kdl/multi-line", "the closing `\"\"\"` stands behind text", "closed here")
        .help("put the closing `\"\"\"` on a line of its own")
}

pub fn multi_line_indent(source: &Arc<Source>, line: Range<usize>, quotes: Range<usize>) -> Fault {
    let message =
        "a line of a `\"\"\"` string does not begin with the blanks that stand before the closing `\"\"\"`";
    one(source, line, "kdl/multi-line", message, "indented otherwise")
        .at(&Place::new(source, quotes), "closed here")
        .help("indent every line at least as far as the closing `\"\"\"`, with the same tabs or spaces")
}

pub fn lone_raw_quote(source: &Arc<Source>, range: Range<usize>) -> Fault {
    one(source, range, "kdl/raw-string", "a raw string cannot hold a single `\"`", "looks like `\"\"\"`")
        .help("write `\"\\\"\"`")
}

pub fn old_raw_string(source: &Arc<Source>, range: Range<usize>) -> Fault {
    let typed = text_of(source, range.clone()).trim_start_matches('r');
    let new = if typed.starts_with('#') { short(typed) } else { format!("#{}#", short(typed)) };
    one(source, range, "kdl/raw-string", "a raw string has no `r` in KDL 2", "as KDL 1 wrote it")
        .help(format!("write `{new}`"))
}

pub fn foreign_quotes(source: &Arc<Source>, range: Range<usize>) -> Fault {
    let typed = text_of(source, range.clone());
    let mut inner = typed.chars();
    let quote = inner.next().unwrap_or('\'');
    inner.next_back();
    let quote = if quote == '`' { String::from("a backtick") } else { format!("`{quote}`") };
    one(source, range, "kdl/quotes", format!("a string stands in `\"`, not in {quote}"), "these quotes")
        .help(format!("write `{}`", quoted(inner.as_str())))
}

// Words.

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

// Nodes.

pub fn nameless_property(source: &Arc<Source>, key: Range<usize>, value: Range<usize>, loose: bool) -> Fault {
    let whole = key.start..value.end;
    let (key, typed_value) = (text_of(source, key), text_of(source, value));
    let value = if typed_value.starts_with(['"', '#']) { short(typed_value) } else { quoted(typed_value) };
    let as_node = format!("{} {value}", short(key));
    let help = match loose || typed_value.starts_with(['"', '#']) {
        true => format!("write `{as_node}` for a node with a value"),
        false => format!(
            "a name with its version is written `{}`, a node with a value `{as_node}`",
            quoted(text_of(source, whole.clone()))
        ),
    };
    let message = format!("a node needs a name before the property `{}`", shown(source, whole.clone()));
    one(source, whole, "kdl/node-name", message, "a property, where a node's name is expected").help(help)
}

pub fn nameless_block(source: &Arc<Source>, brace: Range<usize>) -> Fault {
    one(source, brace, "kdl/node-name", "a block needs a node's name before it", "belongs to no node")
        .help("write `name { … }`; the `{` stands on the name's own line")
}

pub fn nameless(source: &Arc<Source>, range: Range<usize>) -> Fault {
    let typed = shown(source, range.clone());
    one(
        source,
        range,
        "kdl/node-name",
        format!("a node needs a name, and `{typed}` is none"),
        "a name is expected here",
    )
    .help("write `name value key=value { … }`; a name of other characters stands in quotes")
}

pub fn number_as_name(source: &Arc<Source>, range: Range<usize>) -> Fault {
    let typed = shown(source, range.clone());
    one(source, range, "kdl/node-name", format!("the number `{typed}` is no name"), "a name is expected here")
        .help(format!("write `\"{typed}\"`"))
}

pub fn no_value(source: &Arc<Source>, range: Range<usize>) -> Fault {
    let typed = shown(source, range.clone());
    let key = typed.trim_end_matches(['=', ' ', '\t']).to_string();
    one(source, range, "kdl/no-value", format!("the property `{key}` has no value"), "nothing behind the `=`")
        .help(format!("write `{key}=\"…\"`; the empty text is `{key}=\"\"`"))
}

pub fn second_equals(source: &Arc<Source>, entry: Range<usize>) -> Fault {
    let typed = text_of(source, entry.clone());
    let help = match typed.split_once('=') {
        Some((key, value)) if !value.contains('"') => {
            format!("write `{}={}`", short(key), quoted(value.trim()))
        }
        _ => String::from("a value that holds `=` stands in quotes"),
    };
    one(
        source,
        entry,
        "kdl/no-blank",
        format!("`{}` holds a second `=`", short(typed)),
        "two `=` in one property",
    )
    .help(help)
}

pub fn bad_key(source: &Arc<Source>, range: Range<usize>) -> Fault {
    let typed = shown(source, range.clone());
    one(source, range, "kdl/key", format!("`{typed}` cannot be a property's name"), "before `=`")
        .help(format!("a property is written `key=value`; the name `\"{typed}\"` needs quotes"))
}

pub fn lone_equals(source: &Arc<Source>, range: Range<usize>) -> Fault {
    one(source, range, "kdl/key", "this `=` has no property's name before it", "belongs to no name")
        .help("a property is written `key=value`; a text that holds `=` stands in quotes")
}

pub fn typed_key(source: &Arc<Source>, range: Range<usize>) -> Fault {
    one(
        source,
        range,
        "kdl/type",
        "a property's type stands before its value, not before its name",
        "before the name",
    )
    .help("write `key=(type)value`")
}

pub fn bad_type(source: &Arc<Source>, range: Range<usize>) -> Fault {
    one(source, range, "kdl/type", "this `(` does not begin a type", "a type is one name in parentheses")
        .help("a type is written `(name)value`; a text with parentheses stands in quotes")
}

pub fn typeless(source: &Arc<Source>, range: Range<usize>) -> Fault {
    let typed = shown(source, range.clone());
    one(source, range, "kdl/type", format!("nothing follows the type `{typed}`"), "belongs to no value")
        .help(format!("write `{typed}value`, or put it in quotes"))
}

pub fn lone_parenthesis(source: &Arc<Source>, range: Range<usize>) -> Fault {
    one(source, range, "kdl/type", "this `)` closes nothing", "no `(` before it")
        .help("a text with parentheses stands in quotes")
}

pub fn lone_semicolon(source: &Arc<Source>, range: Range<usize>) -> Fault {
    one(source, range, "kdl/semicolon", "this `;` ends no node", "no node before it")
        .help("take the `;` away")
}

pub fn same_line(source: &Arc<Source>, range: Range<usize>) -> Fault {
    let typed = shown(source, range.clone());
    one(
        source,
        range,
        "kdl/same-line",
        format!("`{typed}` stands behind a block that has ended"),
        "the node ended with its `}`",
    )
    .help("values and properties go before the `{`; another node begins on a new line or behind `;`")
}

pub fn second_block(source: &Arc<Source>, range: Range<usize>) -> Fault {
    one(source, range, "kdl/second-block", "a node has one block, and this is its second", "a second block")
        .help("put all children into one block, or write the node's name again")
}

pub fn lone_slashdash(source: &Arc<Source>, range: Range<usize>) -> Fault {
    one(source, range, "kdl/slashdash", "`/-` has nothing to take away", "nothing behind it")
        .help("put `/-` before a node, a value, a property or a block; `//` comments out the rest of a line")
}

pub fn glued_slashdash(source: &Arc<Source>, range: Range<usize>) -> Fault {
    one(source, range, "kdl/no-blank", "a blank is missing before `/-`", "glued to what stands before it")
        .help("write a blank before `/-`; a text that holds `/-` stands in quotes")
}

pub fn doubled_property(first: &Place, second: &Place, name: &str) -> Fault {
    let name = short(name);
    Fault::error("kdl/doubled-property", format!("the property `{name}` is given twice"))
        .at(second, "given again")
        .at(first, "given first")
        .help(format!("keep one of them: `{}` or `{}`", short(first.text()), short(second.text())))
}

// Blocks and comments.

pub fn unclosed_comment(source: &Arc<Source>, open: &[usize]) -> Fault {
    let place = |at: usize| Place::new(source, at..at + 2);
    let outer = open.first().copied().unwrap_or_default();
    let glued = text_of(source, 0..outer)
        .chars()
        .next_back()
        .is_some_and(|letter| !is_blank(letter) && !is_newline(letter));
    let fault =
        Fault::error("kdl/unclosed-comment", "a comment is not closed").at(&place(outer), "begins here");
    let fault = match open.last() {
        Some(inner) if *inner != outer => fault.at(&place(*inner), "another comment begins inside"),
        _ => fault,
    };
    match glued {
        true => {
            fault.help("a path with `/*` stands in quotes, as in `\"hooks/*\"`; a comment ends with `*/`")
        }
        false => fault.help("close it with `*/`; comments nest, so each `/*` needs a `*/` of its own"),
    }
}

pub fn comment_depth(source: &Arc<Source>, range: Range<usize>, most: usize) -> Fault {
    one(source, range, "kdl/comment-depth", format!("comments are nested deeper than {most}"), "one too deep")
        .help("comment out lines with `//`, or a node with `/-`")
}

pub fn depth(source: &Arc<Source>, range: Range<usize>, most: usize) -> Fault {
    one(source, range, "kdl/depth", format!("blocks are nested deeper than {most}"), "one too deep")
        .help("no manifest needs as many; is a `}` missing further up?")
}

pub fn unopened(source: &Arc<Source>, range: Range<usize>, last: Option<Range<usize>>) -> Fault {
    let fault = one(source, range, "kdl/unopened", "this `}` closes nothing", "no block is open here");
    match last {
        Some(last) => fault.at(&Place::new(source, last), "the last block was closed here"),
        None => fault,
    }
    .help("take the `}` away, or put the `{` that it should close before it")
}

/// `outside` is where the indentation shows that the block should have ended.
pub fn unclosed(
    source: &Arc<Source>,
    head: &str,
    braces: &[Range<usize>],
    outside: Option<Range<usize>>,
) -> Fault {
    const SHOWN: usize = 4;
    let (head, count) = (short(head), braces.len());
    let message = match (count, head.as_str()) {
        (0 | 1, "") => String::from("a block is not closed"),
        (0 | 1, head) => format!("the block of `{head}` is not closed"),
        _ => format!("{} are not closed", wording::count(count, "block")),
    };
    let mut fault = Fault::error("kdl/unclosed", message);
    for (number, brace) in braces.iter().take(SHOWN).enumerate() {
        let label = if number == 0 { "opened here" } else { "and here" };
        fault = fault.at(&Place::new(source, brace.clone()), label);
    }
    let closing = wording::plural(count, "`}`").replace("`s", "`");
    match outside.map(|range| Place::new(source, range)) {
        Some(place) => {
            let line = place.line_column().0;
            fault
                .at(&place, "this line looks as if it stood outside of it")
                .help(format!("add a `}}` before line {line}"))
        }
        None => fault.help(match count {
            0 | 1 => String::from("add a `}` where the block ends"),
            _ => format!("add {count} {closing}, one where each block ends"),
        }),
    }
}

// The whole text.

pub fn character(source: &Arc<Source>, range: Range<usize>, count: usize) -> Fault {
    let number = text_of(source, range.clone()).chars().next().map_or(0, u32::from);
    let more = if count > 1 {
        format!(", here and {}", wording::count(count - 1, "more time"))
    } else {
        String::new()
    };
    if number == 0 {
        return one(
            source,
            range,
            "kdl/character",
            format!("this is no text: it holds NUL bytes{more}"),
            "a NUL byte",
        )
        .help("name a text file in UTF-8");
    }
    let what = match number {
        0x200e..=0x2069 => "turns the direction of what is shown",
        0xfeff => "is invisible",
        _ => "is a control character",
    };
    one(
        source,
        range,
        "kdl/character",
        format!("the character U+{number:04X} {what} and is not allowed{more}"),
        "this character",
    )
    .help(format!("delete it; inside a string it is written `\\u{{{number:x}}}`"))
}

pub fn size(source: &Arc<Source>, bytes: usize, most: usize) -> Fault {
    let message = format!("`{}` is too large: {}", source.name, wording::size(bytes as u64));
    one(source, 0..0, "kdl/size", message, "this file")
        .help(format!("a manifest is at most {}; is this the right file?", wording::size(most as u64)))
}

pub fn many(source: &Arc<Source>, range: Range<usize>, most: usize) -> Fault {
    one(source, range, "kdl/size", format!("there are more than {most} nodes and values"), "one too many")
        .help("put long lists into a file of their own, and name it with `from=`")
}

pub fn gave_up(source: &Arc<Source>, range: Range<usize>, count: usize) -> Fault {
    one(source, range, "kdl/too-many", format!("gave up after {count} faults"), "not read beyond this line")
        .help("mend these first; is this a KDL file?")
}

pub fn not_utf8(source: &Arc<Source>, at: usize, byte: u8, utf16: bool) -> Fault {
    let message = format!("`{}` is not UTF-8: byte {at} (0x{byte:02x}) begins no character", source.name);
    let help = match utf16 {
        true => "it looks like UTF-16; save it as UTF-8",
        false => "save it as UTF-8; is it a text file at all?",
    };
    one(source, at..at + '\u{fffd}'.len_utf8(), "kdl/utf8", message, "not UTF-8").help(help)
}

pub fn internal(source: &Arc<Source>, reason: &str) -> Fault {
    one(
        source,
        0..0,
        "kdl/internal",
        format!("reading `{}` failed inside imgbuild: {reason}", source.name),
        "this file",
    )
    .help("please report it, with the file")
}

/// What kdl refused although the grammar here found nothing.
pub fn refused(source: &Arc<Source>, range: Range<usize>, message: &str, help: Option<&str>) -> Fault {
    let help = help.map_or(String::from("https://kdl.dev/spec/ says how KDL is written"), lower);
    one(source, range, "kdl/refused", lower(message), "here").help(help)
}

/// A sentence of kdl as ours are written.
fn lower(sentence: &str) -> String {
    let mut letters = sentence.trim().trim_end_matches('.').chars();
    let first = letters.next().map(|first| first.to_lowercase().to_string()).unwrap_or_default();
    format!("{first}{}", letters.as_str())
}
