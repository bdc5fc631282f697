//! Variables: declared in the text, set by the caller.

use std::collections::BTreeMap;

use super::{Said, Texts, words};
use crate::fault::{Fault, Faults, Place};
use crate::lang::{Child, Node, Scope, Spanned, check};
use crate::wording;

/// The variables of a manifest.
#[derive(Debug, Default)]
pub struct Variables {
    /// Their values.
    pub values: Scope,
    declared: BTreeMap<String, Declared>,
}

#[derive(Debug)]
struct Declared {
    place: Place,
    list: bool,
    one_of: Vec<String>,
    docs: Option<String>,
}

/// The variables that the texts declare, with their values. A default may name variables that stand before it.
pub fn scope(texts: &Texts, said: &Said, faults: &mut Faults) -> Variables {
    let mut variables = Variables::default();
    for segment in &texts.segments {
        for raw in segment.nodes.iter().filter(|raw| raw.name == words::VARIABLE.name) {
            let words = [Child::many(&words::VARIABLE)];
            let nodes = check(std::slice::from_ref(raw), &segment.source, &words, &variables.values, faults);
            nodes.iter().for_each(|node| variables.declare(node, said, faults));
        }
    }
    for name in said.set.keys().filter(|name| !variables.declared.contains_key(*name)) {
        faults.push(
            Fault::error(
                "variable/unknown",
                format!("`--set {name}=…`: no variable is called `{}`", wording::printable(name)),
            )
            .maybe_help(wording::suggest(name, variables.declared.keys().map(String::as_str)))
            .or_help(format!("declare it in the manifest with `variable \"{name}\"`")),
        );
    }
    variables
}

impl Variables {
    fn declare(&mut self, node: &Node, said: &Said, faults: &mut Faults) {
        let Some(name) = node.text("name") else { return };
        if let Some(earlier) = self.declared.get(&name.value) {
            faults.push(
                Fault::error("variable/twice", format!("the variable `{}` is declared twice", name.value))
                    .at(&name.place, "again")
                    .at(&earlier.place, "first here"),
            );
            return;
        }
        let one_of = node.child("one-of").map(|node| node.texts("value")).unwrap_or_default();
        let declared = Declared {
            place: name.place.clone(),
            list: node.flag("list"),
            one_of: one_of.into_iter().map(|value| value.value).collect(),
            docs: node.text("docs").map(|docs| docs.value),
        };
        let default = node.text("default");
        let from_environment = said.environment.get(&name.value).filter(|_| node.flag("env"));
        let (value, place, how) = match (said.set.get(&name.value), from_environment, &default) {
            (Some(value), _, _) => (value.clone(), &name.place, "`--set`"),
            (None, Some(value), _) => (value.clone(), &name.place, "the environment"),
            (None, None, Some(default)) => (default.value.clone(), &default.place, "its default"),
            (None, None, None) => (String::new(), &name.place, "no default"),
        };
        if let Some(bad) = declared.unfit(&value) {
            faults.push(unfit(&name, bad, how, place, &declared));
        }
        self.values.insert(name.value.clone(), value);
        self.declared.insert(name.value, declared);
    }

    /// Whether the variable has that value; a fault where it never could.
    pub fn holds(&self, name: &str, wanted: &Spanned<String>) -> Result<bool, Fault> {
        let (Some(declared), Some(value)) = (self.declared.get(name), self.values.get(name)) else {
            return Err(Fault::error(
                "variable/unknown",
                format!("no variable is called `{}`", wording::printable(name)),
            )
            .at(&wanted.place, "asked for here")
            .maybe_help(wording::suggest(name, self.declared.keys().map(String::as_str)))
            .or_help(format!("declare it with `variable \"{name}\"`")));
        };
        if let Some(bad) = declared.unfit(&wanted.value) {
            return Err(Fault::error(
                "variable/never",
                format!("`{name}` is never `{}`", wording::printable(bad)),
            )
            .at(&wanted.place, "this value")
            .at(&declared.place, "declared here")
            .maybe_help(wording::suggest(bad, declared.one_of.iter().map(String::as_str))));
        }
        Ok(*value == wanted.value || (declared.list && value.split(',').any(|word| word == wanted.value)))
    }
}

impl Declared {
    /// The part of `value` that the declaration does not allow, if any.
    fn unfit<'a>(&self, value: &'a str) -> Option<&'a str> {
        if self.one_of.is_empty() {
            return None;
        }
        let allowed = |word: &&str| !self.one_of.iter().any(|one| one == word);
        if self.list {
            value.split(',').filter(|word| !word.is_empty()).find(allowed)
        } else {
            Some(value).filter(allowed)
        }
    }
}

fn unfit(name: &Spanned<String>, bad: &str, how: &str, place: &Place, declared: &Declared) -> Fault {
    let (name, bad) = (&name.value, wording::printable(bad));
    let message = match how {
        "no default" => format!("`{name}` has no default, and nobody set it"),
        "its default" => format!("`{name}` cannot be `{bad}`, its default"),
        _ => format!("`{name}` cannot be `{bad}`, as {how} says"),
    };
    let purpose = declared.docs.iter().map(|docs| format!("{docs}: ")).collect::<String>();
    Fault::error("variable/unfit", message)
        .at(place, "this variable")
        .help(format!("{purpose}it is {}", wording::either(&declared.one_of)))
}
