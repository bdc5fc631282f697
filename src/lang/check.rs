//! The check: what was typed against the table of words. Every fault at once; what fits is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::field::Field;
use super::node::{Given, Node, Spanned};
use super::raw::{RawEntry, RawNode, RawValue, Span};
use super::value::Value;
use super::word::{Child, Word};
use crate::fault::{Fault, Faults, Place, Source};
use crate::wording;

/// The variables that `${NAME}` may name, with their values.
pub type Scope = BTreeMap<String, String>;

/// The nodes of `source` that fit `words`; everything else becomes a fault.
pub fn check(
    nodes: &[RawNode],
    source: &Arc<Source>,
    words: &[Child],
    scope: &Scope,
    faults: &mut Faults,
) -> Vec<Node> {
    let checker = Checker { source, scope };
    checker.block(nodes, words, None, None, faults)
}

struct Checker<'a> {
    source: &'a Arc<Source>,
    scope: &'a Scope,
}

impl Checker<'_> {
    fn place(&self, span: Span) -> Place {
        Place::new(self.source, span.0 as usize..span.1 as usize)
    }

    fn block(
        &self,
        nodes: &[RawNode],
        words: &[Child],
        free: Option<&'static Word>,
        parent: Option<&RawNode>,
        faults: &mut Faults,
    ) -> Vec<Node> {
        let mut first: BTreeMap<&str, Span> = BTreeMap::new();
        let mut kept = Vec::new();
        let free = free.map(Child::once);
        for raw in nodes {
            let Some(child) = words.iter().find(|child| child.word.name == raw.name).or(free.as_ref()) else {
                faults.push(self.unknown_word(raw, words, parent));
                continue;
            };
            if let Some(earlier) = first.get(raw.name.as_str()).filter(|_| !child.many) {
                faults.push(self.twice(raw, *earlier));
                continue;
            }
            first.insert(&raw.name, raw.head_span);
            kept.push(self.node(raw, child.word, faults));
        }
        kept
    }

    fn unknown_word(&self, raw: &RawNode, words: &[Child], parent: Option<&RawNode>) -> Fault {
        let name = wording::printable(&raw.name);
        let message = match parent {
            Some(parent) => format!("unknown word `{name}` in `{}`", wording::printable(&parent.name)),
            None => format!("unknown word `{name}`"),
        };
        let fault = Fault::error("word/unknown", message)
            .at(&self.place(raw.name_span), "not a word that is known here");
        if words.is_empty() {
            return fault.help("this word takes no block");
        }
        fault.maybe_help(wording::suggest(&raw.name, words.iter().map(|child| child.word.name)))
    }

    fn twice(&self, raw: &RawNode, earlier: Span) -> Fault {
        Fault::error("word/twice", format!("`{}` stands here twice", wording::printable(&raw.name)))
            .at(&self.place(raw.head_span), "again")
            .at(&self.place(earlier), "first here")
            .help("keep one of them")
    }

    fn node(&self, raw: &RawNode, word: &'static Word, faults: &mut Faults) -> Node {
        let mut node = Node {
            word,
            kind: None,
            place: self.place(raw.head_span),
            name: self.place(raw.name_span),
            whole: true,
            understood: true,
            given: Vec::new(),
            children: Vec::new(),
        };
        let mut arguments: Vec<&RawEntry> = raw.entries.iter().filter(|entry| entry.name.is_none()).collect();
        if word.kinds.is_some() {
            node.kind = self.kind(raw, word, &mut arguments, faults);
            if node.kind.is_none() {
                // Without its kind, nothing else of the node can be judged.
                node.whole = false;
                return node;
            }
        }
        if let Some(field) = &word.own_name {
            self.own_name(raw, field, &mut node, faults);
        }
        let words: Vec<&'static Word> = std::iter::once(word).chain(node.kind).collect();
        self.arguments(raw, &words, &arguments, &mut node, faults);
        self.properties(raw, &words, &mut node, faults);
        let children: Vec<Child> = words.iter().flat_map(|word| word.children).copied().collect();
        let free = words.iter().find_map(|word| word.free_children);
        let before = faults.list.len();
        node.children = self.block(&raw.children, &children, free, Some(raw), faults);
        let misspelt = |fault: &Fault| matches!(fault.code, "word/unknown" | "kind/unknown" | "kind/missing");
        node.understood = !faults.list.iter().skip(before).any(misspelt);
        self.missing_children(raw, &children, &mut node, faults);
        node
    }

    /// The node's name, as the value of the field that it is for words that stand where names are free.
    fn own_name(&self, raw: &RawNode, field: &Field, node: &mut Node, faults: &mut Faults) {
        let entry = RawEntry {
            name: None,
            value: RawValue::Text(raw.name.clone()),
            typed: raw.name.clone(),
            span: raw.name_span,
        };
        self.take(field, field.name, &entry, node, faults);
    }

    fn kind(
        &self,
        raw: &RawNode,
        word: &Word,
        arguments: &mut Vec<&RawEntry>,
        faults: &mut Faults,
    ) -> Option<&'static Word> {
        let kinds = word.kinds();
        let names = || kinds.iter().map(|kind| kind.name);
        if arguments.is_empty() {
            faults.push(
                Fault::error("kind/missing", format!("`{}` does not say which kind", raw.name))
                    .at(&self.place(raw.head_span), "a kind in quotes belongs here")
                    .help(format!(
                        "write `{} \"{}\"`; there are {}",
                        raw.name,
                        kinds.first()?.name,
                        wording::all(names())
                    )),
            );
            return None;
        }
        let entry = arguments.remove(0);
        let typed = match &entry.value {
            RawValue::Text(text) => self.substituted(text, entry, faults)?,
            _ => entry.typed.clone(),
        };
        let found = kinds.iter().find(|kind| kind.name == typed).copied();
        if found.is_none() {
            faults.push(
                Fault::error(
                    "kind/unknown",
                    format!("there is no {} of kind `{}`", raw.name, wording::printable(&typed)),
                )
                .at(&self.place(entry.span), "not a kind that is known")
                .maybe_help(wording::suggest(&typed, kinds.iter().map(|kind| kind.name))),
            );
        }
        found
    }

    fn arguments(
        &self,
        raw: &RawNode,
        words: &[&'static Word],
        arguments: &[&RawEntry],
        node: &mut Node,
        faults: &mut Faults,
    ) {
        let declared: Vec<&Field> = words.iter().flat_map(|word| word.arguments).collect();
        let rest = words.iter().find_map(|word| word.rest.as_ref());
        for (position, entry) in arguments.iter().enumerate() {
            match declared.get(position).copied().or(rest) {
                Some(field) => self.take(field, field.name, entry, node, faults),
                None => faults.push(self.surplus(raw, entry, declared.len(), words)),
            }
        }
        let given = arguments.len();
        let required_rest = rest.filter(|field| field.required && given <= declared.len());
        for field in declared.iter().skip(given).filter(|field| field.required).copied().chain(required_rest)
        {
            node.whole = false;
            faults.push(
                Fault::error("argument/missing", format!("`{}` lacks its {}", raw.name, field.name))
                    .at(&self.place(raw.head_span), format!("{} belongs here", field.form.noun()))
                    .help(match given {
                        0 => format!("write `{} \"{}\"`", raw.name, field.name.to_uppercase()),
                        _ => format!("add {}", as_phrase(field.docs)),
                    }),
            );
        }
    }

    fn surplus(&self, raw: &RawNode, entry: &RawEntry, allowed: usize, words: &[&'static Word]) -> Fault {
        let takes = match allowed {
            0 => String::from("no argument"),
            count => format!("no more than {}", wording::count(count, "argument")),
        };
        let first = words.iter().flat_map(|word| word.properties).next();
        Fault::error("argument/surplus", format!("`{}` takes {takes}", raw.name))
            .at(&self.place(entry.span), "one too many")
            .maybe_help(first.map(|field| format!("properties have names: `{}=…`", field.name)))
    }

    fn properties(&self, raw: &RawNode, words: &[&'static Word], node: &mut Node, faults: &mut Faults) {
        let declared: Vec<&Field> = words.iter().flat_map(|word| word.properties).collect();
        let free = words.iter().find_map(|word| word.free_properties.as_ref());
        for entry in &raw.entries {
            let Some((name, span)) = &entry.name else { continue };
            match declared.iter().find(|field| field.name == name).copied().or(free) {
                Some(field) => self.take(field, name, entry, node, faults),
                None => faults.push(self.unknown_property(raw, name, *span, words, &declared)),
            }
        }
        let missing =
            |field: &&&Field| field.required && !raw.entries.iter().any(|entry| is_named(entry, field.name));
        for field in declared.iter().filter(missing) {
            node.whole = false;
            faults.push(
                Fault::error("property/missing", format!("`{}` lacks `{}=`", raw.name, field.name))
                    .at(
                        &self.place(raw.head_span),
                        format!("`{}=` with {} belongs here", field.name, field.form.noun()),
                    )
                    .help(format!("add `{}=`: {}", field.name, as_phrase(field.docs))),
            );
        }
    }

    fn unknown_property(
        &self,
        raw: &RawNode,
        name: &str,
        span: Span,
        words: &[&'static Word],
        declared: &[&Field],
    ) -> Fault {
        let fault = Fault::error(
            "property/unknown",
            format!("`{}` has no property `{}`", raw.name, wording::printable(name)),
        )
        .at(&self.place(span), "not a property that is known here");
        if let Some(child) = words.iter().flat_map(|word| word.children).find(|child| child.word.name == name)
        {
            return fault.help(format!(
                "`{}` is a word of its own: write it inside the block, `{{ {} … }}`",
                name, child.word.name
            ));
        }
        let names = declared.iter().map(|field| field.name);
        if words.iter().any(|word| word.free_children.is_some())
            && wording::nearest(name, names.clone()).is_none()
        {
            let (word, name) = (&raw.name, wording::printable(name));
            return fault.help(format!("names stand in the block: `{word} {{ {name} … }}`"));
        }
        fault.maybe_help(wording::suggest(name, names))
    }

    fn take(&self, field: &Field, name: &str, entry: &RawEntry, node: &mut Node, faults: &mut Faults) {
        let place = self.place(entry.span);
        match self.read(field, entry, faults) {
            Some(Ok(value)) => node.given.push(Given {
                field: name.to_string(),
                form: field.form,
                value: Spanned { value, place },
            }),
            Some(Err(unfit)) => {
                faults.push(
                    Fault::error("value/unfit", unfit.message)
                        .at(&place, format!("{} belongs here", field.form.noun()))
                        .maybe_help(unfit.help),
                );
                node.whole &= !field.required;
            }
            None => node.whole &= !field.required,
        }
    }

    /// None where a variable in the text is at fault, which has been said.
    fn read(
        &self,
        field: &Field,
        entry: &RawEntry,
        faults: &mut Faults,
    ) -> Option<Result<Value, super::field::Unfit>> {
        match &entry.value {
            RawValue::Text(text) if text.contains("${") && field.form != super::field::Form::Script => {
                Some(field.form.read_text(&self.substituted(text, entry, faults)?))
            }
            _ => Some(field.form.read(entry)),
        }
    }

    fn substituted(&self, text: &str, entry: &RawEntry, faults: &mut Faults) -> Option<String> {
        match substitute(text, self.scope) {
            Ok(text) => Some(text),
            Err(name) => {
                let fault = if name.is_empty() {
                    Fault::error("variable/unclosed", "`${` without its `}`")
                        .help("write `$${` for the two characters themselves")
                } else {
                    Fault::error(
                        "variable/unknown",
                        format!("no variable is called `{}`", wording::printable(&name)),
                    )
                    .maybe_help(
                        wording::nearest(&name, self.scope.keys().map(String::as_str))
                            .map(|near| format!("did you mean `{near}`?")),
                    )
                    .or_help(format!(
                        "declare it with `variable \"{name}\"`, or write `$${{{name}}}` for the text itself"
                    ))
                };
                faults.push(fault.at(&self.place(entry.span), "used here"));
                None
            }
        }
    }

    fn missing_children(&self, raw: &RawNode, children: &[Child], node: &mut Node, faults: &mut Faults) {
        let missing =
            |child: &&Child| child.required && !raw.children.iter().any(|raw| raw.name == child.word.name);
        for child in children.iter().filter(missing) {
            node.whole = false;
            faults.push(
                Fault::error("word/missing", format!("`{}` lacks a `{}`", raw.name, child.word.name))
                    .at(&self.place(raw.head_span), format!("`{}` belongs in its block", child.word.name))
                    .help(child.word.summary),
            );
        }
    }
}

/// `The folder.` within a sentence: `the folder`.
fn as_phrase(docs: &str) -> String {
    let mut letters = docs.chars();
    let first = letters.next().map(|first| first.to_lowercase().to_string()).unwrap_or_default();
    format!("{first}{}", letters.as_str().trim_end_matches('.'))
}

fn is_named(entry: &RawEntry, name: &str) -> bool {
    entry.name.as_ref().is_some_and(|(given, _)| given == name)
}

/// `text` with every `${NAME}` replaced; `$${` stands for `${` itself.
///
/// # Errors
///
/// The name that no variable has; empty where the brace is not closed.
pub fn substitute(text: &str, scope: &Scope) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(literal) = before.strip_suffix('$') {
            out.push_str(literal);
            out.push_str("${");
            rest = &from[2..];
            continue;
        }
        out.push_str(before);
        let (name, after) = from[2..].split_once('}').ok_or_else(String::new)?;
        out.push_str(scope.get(name).ok_or_else(|| name.to_string())?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in_once() {
        let scope = Scope::from([("A".to_string(), "${B}".to_string())]);
        assert_eq!(substitute("x${A}y$${A}z", &scope), Ok("x${B}y${A}z".into()));
        assert_eq!(substitute("${C}", &scope), Err("C".into()));
        assert_eq!(substitute("${A", &scope), Err(String::new()));
    }
}
