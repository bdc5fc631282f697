//! Slips in the shape of nodes: names, properties, types, what follows a block.

use std::ops::Range;
use std::sync::Arc;

use super::{one, quoted, short, shown, text_of};
use crate::fault::{Fault, Place, Source};

pub fn nameless_property(source: &Arc<Source>, key: Range<usize>, value: Range<usize>, loose: bool) -> Fault {
    let whole = key.start..value.end;
    let (key, typed_value) = (text_of(source, key), text_of(source, value));
    let value = if typed_value.starts_with(['"', '#']) { short(typed_value) } else { quoted(typed_value) };
    let as_node = format!("{} {value}", short(key));
    let help = match loose || typed_value.starts_with(['"', '#']) {
        true => format!("write `{as_node}` for a node with a value"),
        false if typed_value.starts_with(|letter: char| letter.is_ascii_digit()) => format!(
            "a name with its version is written `{} version={value}`, a node with a value `{as_node}`",
            short(key)
        ),
        false => format!("write `{as_node}` for a node with a value"),
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
