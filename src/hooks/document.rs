//! Documents of YAML and JSON as trees that know where each of their values stands.
//!
//! YAML 1.2 (<https://yaml.org/spec/1.2.2>) is what saphyr-parser reads; what plain words mean is taken from YAML 1.1,
//! as PyYAML takes it, since diskimage-builder reads with that: `yes` is true, `~` is null, `<<` merges a map. JSON
//! (RFC 8259) is held against serde_json first, and is read for its places as the YAML that it nearly is.
//!
//! A document comes from anywhere, so there are bounds to its size, its depth and to what its aliases make of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use crate::fault::{Fault, Faults, Place, Source};
use crate::lang::Spanned;
use crate::wording;

/// Larger texts are nothing that people wrote: bytes.
const LARGEST: usize = 1 << 20;

/// How deep lists and maps may stand in each other.
const DEEPEST: usize = 32;

/// What all values may weigh once aliases stand for what they name: a byte of text is 1, a value is [`NODE`] more.
const HEAVIEST: usize = 8 << 20;

/// What a value weighs besides its text.
const NODE: usize = 64;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// Where its text stands; of a list or a map, where it begins.
    pub place: Place,
    /// The value.
    pub what: What,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// Nothing, or a word for it.
    Null,
    /// A word that YAML 1.1 takes for true or false, with the text that stands there.
    Flag(bool, String),
    /// Any other text, numbers included.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map in the order of its text; no key stands there twice.
    Map(Vec<(Spanned<String>, Node)>),
}

impl Node {
    /// What it is, as a message says it.
    pub fn kind(&self) -> &'static str {
        match self.what {
            What::Null => "nothing",
            What::Flag(..) => "true or false",
            What::Text(_) => "a text",
            What::List(_) => "a list",
            What::Map(_) => "a map",
        }
    }

    /// Its text, if it is no list, no map and not nothing.
    pub fn text(&self) -> Option<&str> {
        match &self.what {
            What::Text(text) | What::Flag(_, text) => Some(text),
            What::Null | What::List(_) | What::Map(_) => None,
        }
    }
}

/// The document that a text in YAML writes; of an empty text, nothing. Keys that stand there twice are warned of: the
/// last one counts.
///
/// # Errors
///
/// It is no YAML, or one that is too large, too deep, or more than one document.
pub(super) fn yaml(source: &Arc<Source>, faults: &mut Faults) -> Result<Node, Fault> {
    check_size(source)?;
    read(source, &source.text, faults)
}

/// The document that a text in JSON writes. Keys that stand there twice are warned of: the last one counts.
///
/// # Errors
///
/// It is no JSON, or one that is too large or too deep.
pub(super) fn json(source: &Arc<Source>, faults: &mut Faults) -> Result<Node, Fault> {
    check_size(source)?;
    serde_json::from_str::<serde::de::IgnoredAny>(&source.text).map_err(|error| no_json(source, &error))?;
    // A tab can only be a blank in JSON, and YAML does not always take it for one.
    read(source, &source.text.replace('\t', " "), faults)
}

/// The document that a text writes in whichever of the two it is in: diskimage-builder tries JSON first.
///
/// # Errors
///
/// It is neither, or too large or too deep.
pub(super) fn either(source: &Arc<Source>, faults: &mut Faults) -> Result<Node, Fault> {
    let mut of_json = Faults::new();
    match json(source, &mut of_json) {
        Ok(node) => {
            faults.extend(of_json);
            Ok(node)
        }
        Err(_) => yaml(source, faults),
    }
}

fn check_size(source: &Arc<Source>) -> Result<(), Fault> {
    if source.text.len() <= LARGEST {
        return Ok(());
    }
    let message = format!("`{}` is larger than {}", source.name, wording::size(LARGEST as u64));
    Err(Fault::error("hooks/document", message).help("is this the right file?"))
}

fn no_json(source: &Arc<Source>, error: &serde_json::Error) -> Fault {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or_default();
    let before = source.text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len);
    let at = before.sum::<usize>() + error.column().saturating_sub(1);
    Fault::error("hooks/document", format!("this is no JSON: {message}"))
        .at(&Place::new(source, at..at + 1), "here")
        .help("JSON has no comments and no comma before `}` or `]`")
}

fn read(source: &Arc<Source>, text: &str, faults: &mut Faults) -> Result<Node, Fault> {
    let mut reader = Reader::new(source);
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| reader.no_yaml(&error))?;
        reader.take(event, span)?;
    }
    faults.extend(reader.faults);
    let nothing = || Node { place: Place::new(source, 0..0), what: What::Null };
    Ok(reader.document.unwrap_or_else(nothing))
}

/// Builds the tree out of what the parser reports, without recursion.
struct Reader<'a> {
    source: &'a Arc<Source>,
    /// The byte that each character begins at; empty if each character is one byte.
    bytes: Vec<usize>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Node, usize)>,
    weight: usize,
    document: Option<Node>,
    faults: Faults,
}

/// A list or a map whose end has not come.
struct Open {
    place: Place,
    anchor: usize,
    /// What everything weighed before it.
    before: usize,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    Map { pairs: Vec<(Spanned<String>, Node)>, merged: Vec<Node>, key: Option<Key> },
}

enum Key {
    Name(Spanned<String>),
    Merge,
}

impl<'a> Reader<'a> {
    fn new(source: &'a Arc<Source>) -> Reader<'a> {
        let text = &source.text;
        let bytes =
            if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at).collect() };
        Reader {
            source,
            bytes,
            open: Vec::new(),
            anchors: BTreeMap::new(),
            weight: 0,
            document: None,
            faults: Faults::new(),
        }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let place = self.place(span);
        match event {
            Event::Scalar(_, _, _, Some(tag))
            | Event::SequenceStart(_, Some(tag))
            | Event::MappingStart(_, Some(tag)) => Err(tagged(&place, &tag.to_string())),
            Event::Scalar(text, style, anchor, None) => {
                let before = self.weight;
                self.weigh(text.len(), &place)?;
                let merges = text == "<<" && style == ScalarStyle::Plain;
                let what =
                    if style == ScalarStyle::Plain { plain(&text) } else { What::Text(text.into_owned()) };
                self.add(Node { place, what }, anchor, before, merges)
            }
            Event::SequenceStart(anchor, None) => self.begin(place, anchor, Inside::List(Vec::new())),
            Event::MappingStart(anchor, None) => {
                let inside = Inside::Map { pairs: Vec::new(), merged: Vec::new(), key: None };
                self.begin(place, anchor, inside)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, &place),
            Event::DocumentStart(_) if self.document.is_some() => Err(second_document(&place)),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, place: Place, anchor: usize, inside: Inside) -> Result<(), Fault> {
        if self.open.len() == DEEPEST {
            return Err(Fault::error("hooks/document", format!("this stands deeper than {DEEPEST} levels"))
                .at(&place, "too deep")
                .help("a file of this kind needs no more than three"));
        }
        let before = self.weight;
        self.weigh(0, &place)?;
        self.open.push(Open { place, anchor, before, inside });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let what = match open.inside {
            Inside::List(list) => What::List(list),
            Inside::Map { pairs, merged, .. } => What::Map(self.merge(pairs, merged)?),
        };
        self.add(Node { place: open.place, what }, open.anchor, open.before, false)
    }

    fn alias(&mut self, anchor: usize, place: &Place) -> Result<(), Fault> {
        let Some((node, weight)) = self.named(anchor) else {
            let message = match self.anchors.contains_key(&anchor) {
                true => "aliases make this document too large",
                false => "this alias stands inside of what it names",
            };
            return Err(Fault::error("hooks/document", message)
                .at(place, "this alias")
                .help("write out what it stands for"));
        };
        if self.open.len() + depth(&node) > DEEPEST {
            return Err(Fault::error(
                "hooks/document",
                format!("aliases make this deeper than {DEEPEST} levels"),
            )
            .at(place, "this alias")
            .help("write out what it stands for"));
        }
        let before = self.weight;
        self.weight += weight;
        self.add(node, 0, before, false)
    }

    /// A copy of what an anchor names and its weight, unless that is more than is left.
    fn named(&self, anchor: usize) -> Option<(Node, usize)> {
        let left = HEAVIEST.saturating_sub(self.weight);
        self.anchors.get(&anchor).filter(|(_, weight)| *weight <= left).cloned()
    }

    /// Puts a finished value where it belongs.
    fn add(&mut self, node: Node, anchor: usize, before: usize, merges: bool) -> Result<(), Fault> {
        if anchor != 0 {
            // What an anchor names is kept once more.
            let weight = self.weight - before;
            self.weight += weight;
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        match self.open.last_mut().map(|open| &mut open.inside) {
            None => self.document = Some(node),
            Some(Inside::List(list)) => list.push(node),
            Some(Inside::Map { pairs, merged, key }) => match key.take() {
                None => *key = Some(if merges { Key::Merge } else { Key::Name(name(node)?) }),
                Some(Key::Merge) => merged.push(node),
                Some(Key::Name(name)) => pairs.push((name, node)),
            },
        }
        Ok(())
    }

    /// A map's own pairs, the last of each key, and behind them what it merges and does not have.
    fn merge(
        &mut self,
        pairs: Vec<(Spanned<String>, Node)>,
        merged: Vec<Node>,
    ) -> Result<Vec<(Spanned<String>, Node)>, Fault> {
        let mut all: Vec<(Spanned<String>, Node)> = Vec::with_capacity(pairs.len());
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        for (key, value) in pairs {
            if let Some(earlier) = known.get(&key.value).and_then(|number| all.get_mut(*number)) {
                self.faults.push(doubled(&key, &earlier.0.place));
                *earlier = (key, value);
            } else {
                known.insert(key.value.clone(), all.len());
                all.push((key, value));
            }
        }
        let sources = merged.into_iter().flat_map(|node| match node.what {
            What::List(list) => list,
            what => vec![Node { place: node.place, what }],
        });
        for Node { place, what } in sources {
            let What::Map(more) = what else {
                return Err(Fault::error("hooks/document", "only a map can be merged")
                    .at(&place, "no map")
                    .help("behind `<<:` belongs the alias of a map"));
            };
            for (key, value) in more {
                if !known.contains_key(&key.value) {
                    known.insert(key.value.clone(), all.len());
                    all.push((key, value));
                }
            }
        }
        Ok(all)
    }

    fn weigh(&mut self, text: usize, place: &Place) -> Result<(), Fault> {
        self.weight += NODE + text;
        if self.weight <= HEAVIEST {
            return Ok(());
        }
        Err(Fault::error("hooks/document", "this document is too large")
            .at(place, "not read from here on")
            .help("is this the right file?"))
    }

    fn place(&self, span: Span) -> Place {
        Place::new(self.source, self.byte(span.start.index())..self.byte(span.end.index()))
    }

    fn byte(&self, character: usize) -> usize {
        if self.bytes.is_empty() {
            return character;
        }
        self.bytes.get(character).copied().unwrap_or(self.source.text.len())
    }

    fn no_yaml(&self, error: &ScanError) -> Fault {
        let at = self.byte(error.marker().index());
        let message = wording::printable(error.info());
        Fault::error("hooks/document", format!("this is no YAML: {message}"))
            .at(&Place::new(self.source, at..at + 1), "here")
            .help("look at the blanks that lines begin with, and for a `:` without a blank behind it")
    }
}

fn name(node: Node) -> Result<Spanned<String>, Fault> {
    let text = match &node.what {
        What::Null => Some(node.place.text().to_string()),
        _ => node.text().map(String::from),
    };
    match text {
        Some(text) => Ok(Spanned::new(text, &node.place)),
        None => Err(Fault::error("hooks/document", format!("{} cannot be a key", node.kind()))
            .at(&node.place, "a name belongs here")
            .help("put a name that has `{`, `[` or `&` in it into quotes")),
    }
}

fn depth(node: &Node) -> usize {
    match &node.what {
        What::List(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        What::Map(pairs) => 1 + pairs.iter().map(|(_, value)| depth(value)).max().unwrap_or(0),
        What::Null | What::Flag(..) | What::Text(_) => 0,
    }
}

/// What a word without quotes means: <https://yaml.org/type/null.html> and <https://yaml.org/type/bool.html>, as PyYAML
/// has them (a single `y` or `n` stays a text).
fn plain(text: &str) -> What {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => What::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            What::Flag(true, text.into())
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            What::Flag(false, text.into())
        }
        _ => What::Text(text.into()),
    }
}

fn tagged(place: &Place, tag: &str) -> Fault {
    Fault::error("hooks/document", format!("`{}` is not understood", wording::printable(tag)))
        .at(place, "a value with a tag")
        .help("take the tag away; a text that looks like something else is put into quotes")
}

fn second_document(place: &Place) -> Fault {
    Fault::error("hooks/document", "a second document begins here")
        .at(place, "only one is read")
        .help("take the line `---` away")
}

fn doubled(key: &Spanned<String>, first: &Place) -> Fault {
    Fault::warning("hooks/document-twice", format!("`{}` stands here twice", wording::printable(&key.value)))
        .at(&key.place, "this one counts")
        .at(first, "this one does not")
        .help("take one of them out")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn told(node: &Node) -> String {
        match &node.what {
            What::Null => "null".into(),
            What::Flag(flag, _) => flag.to_string(),
            What::Text(text) => format!("{text:?}"),
            What::List(list) => format!("[{}]", list.iter().map(told).collect::<Vec<_>>().join(", ")),
            What::Map(pairs) => {
                let pairs = pairs.iter().map(|(key, value)| format!("{}: {}", key.value, told(value)));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn of_yaml(text: &str) -> Result<String, String> {
        yaml(&Source::new("a.yaml", text), &mut Faults::new())
            .map(|node| told(&node))
            .map_err(|fault| format!("{}: {}", fault.labels[0].place, fault.message))
    }

    fn of_json(text: &str) -> Result<String, String> {
        json(&Source::new("a.json", text), &mut Faults::new())
            .map(|node| told(&node))
            .map_err(|fault| format!("{}: {}", fault.labels[0].place, fault.message))
    }

    #[test]
    fn values_are_what_pyyaml_makes_of_them() {
        let text = "a:\nb: yes\nc: 'yes'\nd: 2\n~: [x, {y: off}, \"\"]\nc: last\n";
        assert_eq!(
            of_yaml(text).as_deref(),
            Ok(r#"{a: null, b: true, c: "last", d: "2", ~: ["x", {y: false}, ""]}"#)
        );
        assert_eq!(of_yaml("# nothing\n").as_deref(), Ok("null"));
        assert_eq!(of_yaml("").as_deref(), Ok("null"));
    }

    #[test]
    fn aliases_stand_for_what_they_name() {
        let text = "a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3\nc: *x\nd: {<<: [*x, {r: 4}]}\n";
        assert_eq!(
            of_yaml(text).as_deref(),
            Ok(
                r#"{a: {p: "1", q: "2"}, b: {q: "3", p: "1"}, c: {p: "1", q: "2"}, d: {p: "1", q: "2", r: "4"}}"#
            )
        );
    }

    #[test]
    fn places_count_bytes() {
        let source = Source::new("a.yaml", "# größer\nä: ö\nb: [c]\n");
        let node = yaml(&source, &mut Faults::new()).unwrap();
        let What::Map(pairs) = &node.what else { panic!("{node:?}") };
        assert_eq!(pairs[0].0.place.text(), "ä");
        assert_eq!(pairs[0].1.place.text(), "ö");
        assert_eq!(pairs[1].0.place.line_column(), (3, 1));
    }

    #[test]
    fn json_may_have_tabs_and_nothing_that_it_does_not_have() {
        let text = "{\n\t\"a\":\t{\"b\":[1,true,null,\"x\\ty \\u00e4\\/\"]},\"c\": \"yes\"\n}";
        assert_eq!(of_json(text).as_deref(), Ok(r#"{a: {b: ["1", true, null, "x\ty ä/"]}, c: "yes"}"#));
        assert_eq!(of_json("{\"a\": 1,\n}").unwrap_err(), "a.json:2: this is no JSON: key must be a string");
        assert_eq!(of_json("").unwrap_err(), "a.json:1: this is no JSON: EOF while parsing a value");
    }

    #[test]
    fn what_is_no_document_says_where() {
        for (text, expected) in [
            ("a: b: c\n", "a.yaml:1: this is no YAML: "),
            ("a: 1\n---\nb: 2\n", "a.yaml:2: a second document begins here"),
            ("a: !!python/object:os.system x\n", "a.yaml:1: `"),
            ("[a, b]: c\n", "a.yaml:1: a list cannot be a key"),
            ("a: &x [*x]\n", "a.yaml:1: this alias stands inside of what it names"),
            ("a: *x\n", "a.yaml:1: this is no YAML: "),
            ("a:\n  <<: b\n", "a.yaml:2: only a map can be merged"),
        ] {
            let said = of_yaml(text).unwrap_err();
            assert!(said.starts_with(expected), "{text:?}: {said}");
        }
    }

    #[test]
    fn hostile_texts_end_soon_and_with_a_fault() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..20 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        let wide = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), "*a, ".repeat(100_000));
        let mut tower = String::from("a0: &a0 [x]\n");
        for level in 1..2000 {
            tower.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
        }
        let many = 200_000;
        let texts = [
            bomb,
            wide,
            tower,
            "[".repeat(many),
            "{a: ".repeat(many),
            "- ".repeat(many),
            "? ".repeat(many),
            "a: &a\n".repeat(many / 2) + "[",
            "&a ".repeat(many),
            "[a, ".repeat(many),
            "\"".to_string() + &"\\x41".repeat(many),
            "'".to_string() + &"\n".repeat(many),
            "| \n".to_string() + &" \n".repeat(many) + "\t[",
            "%TAG ! x\n".repeat(many / 10),
            "# \n".repeat(many) + "[",
            "a\n".repeat(many) + ": [",
            "? a\n".repeat(many) + "[",
            "[".to_string() + &"a: b, ".repeat(many / 2),
            "[".to_string() + &"? ".repeat(many / 2),
            "x".repeat(2 << 20),
        ];
        for text in texts {
            let start = Instant::now();
            let source = Source::new("a.yaml", text);
            let ended = yaml(&source, &mut Faults::new()).is_err();
            let _ = either(&source, &mut Faults::new());
            assert!(ended, "{:?}…", source.text.get(..40));
            assert!(start.elapsed() < Duration::from_secs(10), "{:?}…", source.text.get(..40));
        }
    }
}
