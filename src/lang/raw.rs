//! A document without its parser: names, entries and children, each with the bytes where it stands.
//!
//! It is small and can be written down, so a text that did not change need not be parsed again.

use kdl::{KdlDocument, KdlEntry, KdlNode, KdlValue};
use serde::{Deserialize, Serialize};

/// First byte, and one past the last.
pub type Span = (u32, u32);

/// A node as it was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawNode {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub name_span: Span,
    /// From the name to the last entry: the line that people mean by "here".
    pub head_span: Span,
    /// Arguments and properties in their order.
    pub entries: Vec<RawEntry>,
    /// The nodes in its block.
    pub children: Vec<RawNode>,
}

/// An argument, or a property if it has a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawEntry {
    /// A property's name and where it stands.
    pub name: Option<(String, Span)>,
    /// The value.
    pub value: RawValue,
    /// The value as it was typed: numbers lose their text otherwise (`1.10` would become 1.1).
    pub typed: String,
    /// Where the value stands.
    pub span: Span,
}

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RawValue {
    /// A string, quoted or bare.
    Text(String),
    /// A whole number; none where it does not fit.
    Integer(Option<i64>),
    /// Any other number.
    Decimal,
    /// `#true` or `#false`.
    Flag(bool),
    /// `#null`.
    Null,
}

/// The nodes of `document`, whose text is `text`.
pub fn from_document(document: &KdlDocument, text: &str) -> Vec<RawNode> {
    document.nodes().iter().map(|node| from_node(node, text)).collect()
}

fn from_node(node: &KdlNode, text: &str) -> RawNode {
    let name_span = trimmed(node.name().span().offset(), node.name().span().len(), text);
    let entries: Vec<RawEntry> = node.entries().iter().map(|entry| from_entry(entry, text)).collect();
    let end = entries.iter().map(|entry| entry.span.1).max().unwrap_or(name_span.1);
    RawNode {
        name: node.name().value().to_string(),
        name_span,
        head_span: (name_span.0, end),
        entries,
        children: node.children().map(|block| from_document(block, text)).unwrap_or_default(),
    }
}

fn from_entry(entry: &KdlEntry, text: &str) -> RawEntry {
    let whole = trimmed(entry.span().offset(), entry.span().len(), text);
    let typed = entry.format().map(|format| format.value_repr.clone()).unwrap_or_default();
    let name = entry.name().map(|name| {
        let length = name.repr().map_or(name.value().len(), str::len);
        (name.value().to_string(), (whole.0, whole.0 + offset(length)))
    });
    // A property's span covers `key=value`; what people mean by the value is its end.
    let start =
        if name.is_some() { whole.1.saturating_sub(offset(typed.len())).max(whole.0) } else { whole.0 };
    RawEntry { name, value: from_value(entry.value()), typed, span: (start, whole.1) }
}

fn from_value(value: &KdlValue) -> RawValue {
    match value {
        KdlValue::String(text) => RawValue::Text(text.clone()),
        KdlValue::Integer(number) => RawValue::Integer(i64::try_from(*number).ok()),
        KdlValue::Float(_) => RawValue::Decimal,
        KdlValue::Bool(flag) => RawValue::Flag(*flag),
        KdlValue::Null => RawValue::Null,
    }
}

/// The span without the blanks that the parser counts to it.
fn trimmed(start: usize, length: usize, text: &str) -> Span {
    let covered = text.get(start..start + length).unwrap_or_default();
    let left = covered.len() - covered.trim_start().len();
    let right = covered.len() - covered.trim_end().len();
    (offset(start + left), offset((start + length).saturating_sub(right)))
}

fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
