//! The manifest's schema, for editors and other programs, in the KDL Schema Language.
//!
//! KDL Schema Language Specification 2.0.0 (`SCHEMA-SPEC.md` of kdl-org/kdl); references are KDL Query Language
//! (`QUERY-SPEC.md` there). What the schema language cannot say is left open, never forbidden: it has no choice of
//! shapes by a node's first value, so a word with kinds allows what any of them does.

use super::words::{Topic, words_of};
use crate::lang::{Child, Field, Form, Word};
use crate::{lock as locks, manifest};

const HEAD: &str = "\
// https://github.com/kdl-org/kdl/blob/main/SCHEMA-SPEC.md
//
// Whatever imgbuild accepts fits this schema, but not the other way round: what the schema language cannot say is left
// open. A word with kinds (such as `output`) allows here what any of its kinds does. Where a value has a pattern, the
// pattern also lets through strings that name a variable, since those are put in before the value is read.
//
// Generated from the program's table of words; `IMGBUILD_UPDATE=1 cargo test --test generated` writes it again.
";

/// The schema of a manifest.
pub fn kdl() -> String {
    document(
        manifest::words::TOP,
        "The manifest of imgbuild",
        "image.kdl",
        "What images a project has, and what they are made of.",
    )
}

/// The schema of a lock.
pub fn lock() -> String {
    document(
        locks::words::TOP,
        "The lock of imgbuild",
        "image.lock.kdl",
        "What the names of packages in a manifest stood for.",
    )
}

fn document(top: &'static [Child], title: &str, file: &str, description: &str) -> String {
    let schema = Schema { topics: words_of(top) };
    let head = format!("// {title}, {file}, in the KDL Schema Language 2.0.0, written as KDL 2.\n{HEAD}");
    let mut out = Writer { text: head, depth: 0 };
    out.block("document", |out| {
        out.block("info", |out| {
            out.line(format!("title {} lang=en", quoted(title)));
            out.line(format!("description {} lang=en", quoted(description)));
            out.line(format!("link {} rel=documentation", quoted("https://kdl.dev")));
        });
        top.iter().for_each(|child| schema.child(child, out));
        let shared: Vec<&Topic> = schema.topics.iter().filter(|topic| is_shared(topic)).collect();
        if !shared.is_empty() {
            out.block("definitions", |out| shared.iter().for_each(|topic| schema.definition(topic, out)));
        }
    });
    out.text
}

/// Whether it stands in several blocks: it is defined once, and they refer to it. `when` stands in itself.
fn is_shared(topic: &Topic) -> bool {
    topic.kind_of.is_none() && topic.standing.len() > 1
}

struct Schema {
    topics: Vec<Topic>,
}

impl Schema {
    fn child(&self, child: &Child, out: &mut Writer) {
        let Some(topic) = self.topics.iter().find(|topic| topic.is(child.word)) else { return };
        let name = quoted(topic.name());
        if is_shared(topic) {
            let reference = quoted(&format!("[id = {}]", id(topic)));
            out.block(&format!("node {name} ref={reference}"), |out| often(child, out));
        } else {
            out.block(&format!("node {name} description={}", quoted(topic.word.summary)), |out| {
                often(child, out);
                self.content(topic, out);
            });
        }
    }

    fn definition(&self, topic: &Topic, out: &mut Writer) {
        let summary = quoted(topic.word.summary);
        // A word without a name of its own is a rule for nodes of any name.
        let name = if topic.word.own_name.is_some() { String::new() } else { quoted(topic.name()) + " " };
        out.block(&format!("node {name}id={} description={summary}", id(topic)), |out| {
            self.content(topic, out)
        });
    }

    fn content(&self, topic: &Topic, out: &mut Writer) {
        let kinds: Vec<&Topic> =
            self.topics.iter().filter(|other| other.kind_of.is_some_and(|word| topic.is(word))).collect();
        if !kinds.is_empty() {
            kind_value(&kinds, out);
        }
        topic.arguments().for_each(|field| value(field, Some(1), out));
        topic.rest().into_iter().for_each(|field| value(field, None, out));
        topic.properties().for_each(|field| property(field, out));
        kind_properties(&kinds, out);
        if let Some(field) = topic.free_properties() {
            out.line("other-props-allowed #true");
            out.block(&format!("prop description={}", quoted(field.docs)), |out| form(field.form, out));
        }
        // What one kind needs in its block, another does not.
        let of_kinds = kinds.iter().flat_map(|kind| kind.word.children);
        let of_kinds = of_kinds.map(|child| Child { required: false, ..*child });
        let mut children: Vec<Child> = Vec::new();
        for child in topic.children().copied().chain(of_kinds) {
            if !children.iter().any(|other| std::ptr::eq(other.word, child.word)) {
                children.push(child);
            }
        }
        let free = topic.free_children();
        if !children.is_empty() || free.is_some() {
            out.block("children", |out| {
                children.iter().for_each(|child| self.child(child, out));
                free.into_iter().for_each(|word| self.free(word, out));
            });
        }
    }

    /// Nodes of names that no other rule of the block has.
    fn free(&self, word: &'static Word, out: &mut Writer) {
        let Some(topic) = self.topics.iter().find(|topic| topic.is(word)) else { return };
        out.line("other-nodes-allowed #true");
        if let Some(field) = &word.own_name {
            out.block("node-names", |out| form(field.form, out));
        }
        if is_shared(topic) {
            out.line(format!("node ref={}", quoted(&format!("[id = {}]", id(topic)))));
        } else {
            out.block(&format!("node description={}", quoted(word.summary)), |out| self.content(topic, out));
        }
    }
}

/// The first argument of a word with kinds.
fn kind_value(kinds: &[&Topic], out: &mut Writer) {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    out.block("value description=\"The kind.\"", |out| {
        out.line("min 1");
        out.line("max 1");
        pattern(&choice(&names), out);
    });
}

/// Properties of kinds, each once. None of them is required: of another kind, it is not.
fn kind_properties(kinds: &[&Topic], out: &mut Writer) {
    let mut done: Vec<&str> = Vec::new();
    let fields =
        || kinds.iter().flat_map(|kind| kind.word.properties.iter().map(move |field| (kind.name(), field)));
    for (_, first) in fields() {
        if done.contains(&first.name) {
            continue;
        }
        done.push(first.name);
        let same: Vec<(&str, &Field)> = fields().filter(|(_, field)| field.name == first.name).collect();
        out.block(
            &format!("prop {} description={}", quoted(first.name), quoted(&description(&same))),
            |out| {
                // Kinds that do not agree leave it open.
                if same.iter().all(|(_, field)| field.form == first.form) {
                    form(first.form, out);
                }
            },
        );
    }
}

/// `tar, cpio: How it is compressed. oci: …`
fn description(fields: &[(&str, &Field)]) -> String {
    let mut told: Vec<(&str, Vec<&str>)> = Vec::new();
    for (kind, field) in fields {
        match told.iter_mut().find(|(docs, _)| *docs == field.docs) {
            Some((_, kinds)) => kinds.push(kind),
            None => told.push((field.docs, vec![kind])),
        }
    }
    told.iter().map(|(docs, kinds)| format!("{}: {docs}", kinds.join(", "))).collect::<Vec<_>>().join(" ")
}

fn often(child: &Child, out: &mut Writer) {
    if child.required {
        out.line("min 1");
    }
    if !child.many {
        out.line("max 1");
    }
}

fn value(field: &Field, most: Option<u32>, out: &mut Writer) {
    out.block(&format!("value description={}", quoted(field.docs)), |out| {
        out.line(format!("min {}", u32::from(field.required)));
        most.into_iter().for_each(|most| out.line(format!("max {most}")));
        form(field.form, out);
    });
}

fn property(field: &Field, out: &mut Writer) {
    out.block(&format!("prop {} description={}", quoted(field.name), quoted(field.docs)), |out| {
        if field.required {
            out.line("required #true");
        }
        form(field.form, out);
    });
}

/// What a value of that form has to be.
fn form(form: Form, out: &mut Writer) {
    match form {
        Form::Text | Form::Script | Form::Glob => out.line("type string"),
        Form::Path => {
            out.line("type string");
            out.line("min-length 1");
        }
        Form::Name => pattern("[A-Za-z0-9][A-Za-z0-9._+-]{0,127}", out),
        Form::ImagePath => pattern("/.*", out),
        Form::Mode => pattern("(0o)?[0-7]{3,5}", out),
        Form::Owner => pattern("[A-Za-z0-9_][A-Za-z0-9._$-]*(:[A-Za-z0-9_][A-Za-z0-9._$-]*)?", out),
        Form::OneOf(names) => pattern(&choice(names), out),
        Form::Url => pattern("https?://[^/?#]+[^?#]*", out),
        Form::Package => {
            pattern("[a-z0-9][a-z0-9+.-]{1,127}\\^|!?[a-z0-9][a-z0-9+.-]{1,127}(:[a-z][a-z0-9-]*)?", out)
        }
        Form::Flag => out.line("type boolean"),
        Form::Integer { min, max } => {
            out.line("type number");
            out.line("format i64");
            out.line(format!("\">=\" {min}"));
            if max != i64::MAX {
                out.line(format!("\"<=\" {max}"));
            }
        }
        Form::Size | Form::Share | Form::Time => out.line("type string number"),
    }
}

/// A string of that pattern, or one that names a variable.
fn pattern(pattern: &str, out: &mut Writer) {
    out.line("type string");
    out.line(format!("pattern {}", quoted(&format!("^({pattern}|.*\\$\\{{.*)$"))));
}

fn choice(names: &[&str]) -> String {
    names.join("|")
}

fn id(topic: &Topic) -> String {
    topic.title.replace(' ', "-")
}

/// `text` as a KDL string.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

struct Writer {
    text: String,
    depth: usize,
}

impl Writer {
    fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(&"    ".repeat(self.depth));
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    /// A node with what `inside` writes in its block; without a block if that is nothing.
    fn block(&mut self, head: &str, inside: impl FnOnce(&mut Writer)) {
        self.line(format!("{head} {{"));
        let (start, before) = (self.text.len(), self.text.len() - 3);
        self.depth += 1;
        inside(self);
        self.depth -= 1;
        if self.text.len() == start {
            self.text.truncate(before);
            self.text.push('\n');
        } else {
            self.line("}");
        }
    }
}

#[cfg(test)]
mod tests;
