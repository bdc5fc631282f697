//! From text to a KDL document, or to faults that a person understands.
//!
//! The kdl crate builds the document, but a text reaches it only when nothing is wrong with it any more: it can
//! abort on deep nesting, takes exponential time on nested `/-` blocks, and reports common slips poorly. So the
//! text is cut into tokens (`token`), looked through by the guard, and held against the grammar (`grammar`); what
//! is wrong is worded in `slip`. What KDL ignores (comments, which cost kdl microseconds a
//! letter, and what `/-` takes away) is blanked before kdl sees it, byte for byte, so that every span of the document
//! is a span of the text.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::thread;

use kdl::{KdlDocument, KdlEntry, KdlError, KdlNode};

use super::guard;
use crate::fault::{Fault, Place, Source};

mod grammar;
mod number;
pub(super) mod slip;
pub(super) mod token;

/// More than kdl's recursion takes for the blocks that the guard lets through, in any build.
const STACK: usize = 64 << 20;

/// The document that `source` writes, or all that is wrong with its KDL, in the order of the text.
///
/// Its spans are bytes of `source`. Its formatting is not: comments and what `/-` takes away are blanks in it.
pub fn parse(source: &Arc<Source>) -> Result<KdlDocument, Vec<Fault>> {
    let tokens = guard::tokens(source)?;
    let reading = grammar::read(source, &tokens.list);
    let mut faults = tokens.faults;
    faults.extend(reading.faults);
    if !faults.is_empty() {
        return Err(in_order(source, faults));
    }
    let document = build(source, &blanked(&source.text, reading.away))?;
    let mut doubled = Vec::new();
    doubled_properties(source, &document, &mut doubled);
    if doubled.is_empty() { Ok(document) } else { Err(in_order(source, doubled)) }
}

/// The source called `name` that `bytes` are. A byte-order mark is dropped: editors do not count it either.
pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Arc<Source>, Vec<Fault>> {
    if bytes.len() > guard::LARGEST {
        return Err(vec![slip::size(&Source::new(name, ""), guard::LARGEST)]);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(name, text.strip_prefix('\u{feff}').unwrap_or(&text))),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let bytes = error.as_bytes();
            let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
            let byte = bytes.get(at).copied().unwrap_or_default();
            let readable = Source::new(name, String::from_utf8_lossy(bytes));
            Err(vec![slip::not_utf8(&readable, at, byte, utf16)])
        }
    }
}

/// A value as it was typed: `1.10`, where its number is only 1.1.
pub fn value_repr(entry: &KdlEntry) -> Option<&str> {
    entry.format().map(|format| format.value_repr.as_str())
}

/// `faults` from the top of the text to its end, and no more of them than help.
pub(super) fn in_order(source: &Arc<Source>, mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.sort_by_key(start);
    if let Some(last) = faults.get(token::MOST_FAULTS - 1).map(start) {
        faults.truncate(token::MOST_FAULTS);
        faults.push(slip::gave_up(source, last..last, token::MOST_FAULTS));
    }
    faults
}

fn start(fault: &Fault) -> usize {
    fault.labels.first().map_or(0, |label| label.place.start)
}

/// `text` with blanks, as many bytes, for what KDL ignores.
fn blanked(text: &str, away: Vec<Range<usize>>) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for range in away {
        if let Some(part) = bytes.get_mut(range) {
            part.fill(b' ');
        }
    }
    // Tokens begin and end between characters, so what is left is whole characters.
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Has kdl build the document, on a thread whose stack is large enough and whose panic is a fault.
fn build(source: &Arc<Source>, text: &str) -> Result<KdlDocument, Vec<Fault>> {
    let internal = |reason: &str| vec![slip::internal(source, reason)];
    let built = thread::scope(|scope| {
        let builder = thread::Builder::new().name(String::from("kdl")).stack_size(STACK);
        let reader = builder.spawn_scoped(scope, || KdlDocument::parse_v2(text));
        reader.map(thread::ScopedJoinHandle::join)
    });
    match built {
        Ok(Ok(Ok(document))) => Ok(document),
        Ok(Ok(Err(error))) => Err(vec![refused(source, &error)]),
        Ok(Err(_)) => Err(internal("the KDL reader panicked")),
        Err(error) => Err(internal(&crate::fault::reason(&error))),
    }
}

/// What kdl says first of a place; the rest follows from it.
fn refused(source: &Arc<Source>, error: &KdlError) -> Fault {
    let placed = error.diagnostics.iter().find(|diagnostic| !diagnostic.span.is_empty());
    let Some(diagnostic) = placed.or(error.diagnostics.first()) else {
        return slip::internal(source, "the KDL reader refused it without a reason");
    };
    let start = diagnostic.span.offset();
    let range = start..start + diagnostic.span.len();
    let message = diagnostic.message.as_deref().unwrap_or("this is not KDL");
    slip::refused(source, range, message, diagnostic.help.as_deref())
}

/// kdl takes the last of properties with one name; the others would be lost in silence. As deep as blocks are.
fn doubled_properties(source: &Arc<Source>, document: &KdlDocument, faults: &mut Vec<Fault>) {
    for node in document.nodes() {
        doubled_in(source, node, faults);
        if let Some(children) = node.children() {
            doubled_properties(source, children, faults);
        }
    }
}

fn doubled_in(source: &Arc<Source>, node: &KdlNode, faults: &mut Vec<Fault>) {
    let mut seen: HashMap<&str, Place> = HashMap::new();
    for entry in node.entries() {
        let Some(name) = entry.name().map(|name| name.value()) else { continue };
        let span = entry.span();
        let place = Place::new(source, span.offset()..span.offset() + span.len());
        match seen.get(name) {
            Some(first) => faults.push(slip::doubled_property(first, &place, name)),
            None => drop(seen.insert(name, place)),
        }
    }
}

#[cfg(test)]
mod tests;
