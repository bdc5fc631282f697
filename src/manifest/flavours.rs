//! Flavours: what images take over as a whole, declared in the manifest, in a folder, or by imgbuild itself.

mod element;
mod shelf;
mod stock;
pub mod words;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

pub use element::{ElementFolder, Elements, System, elements};
pub use shelf::{Described, Whence};

use crate::fault::{Fault, Faults, Place, Source};
use crate::hooks::element::{Given, Resolved, given, resolve};
use crate::lang::raw::{RawEntry, RawNode, RawValue};
use crate::lang::{Child, Node, Scope, Spanned, check};
use crate::wording;
use crate::work::Folders;

/// Where flavours are found.
#[derive(Debug)]
pub struct Flavours<'a> {
    declared: BTreeMap<String, Definition>,
    /// Folders that flavours are looked for in, absolute, first match wins.
    path: Vec<PathBuf>,
    folders: &'a Folders,
    /// The manifest's variables.
    scope: &'a Scope,
    /// Every file that was read, absolute.
    files: RefCell<BTreeSet<PathBuf>>,
}

/// The text of a flavour.
#[derive(Clone, Debug)]
struct Definition {
    source: Arc<Source>,
    node: RawNode,
}

/// What an image's flavours come to.
#[derive(Debug, Default)]
pub struct Brought {
    /// What each has, in their order.
    pub groups: Vec<(String, Vec<Node>)>,
    /// Those that are elements, in their order.
    pub elements: Vec<ElementFolder>,
    /// All of them, by name.
    pub names: Vec<String>,
    /// What was set.
    pub settings: Scope,
}

impl Brought {
    /// The flavour that a node comes from.
    pub fn owner(&self, node: &Node) -> Option<&str> {
        let has = |nodes: &[Node]| nodes.iter().any(|own| std::ptr::eq(own, node));
        self.groups.iter().find(|(_, nodes)| has(nodes)).map(|(name, _)| name.as_str())
    }
}

impl<'a> Flavours<'a> {
    /// The flavours that `nodes` declare, and those that are found in `path`.
    pub fn new(
        nodes: impl Iterator<Item = (Arc<Source>, RawNode)>,
        path: Vec<PathBuf>,
        folders: &'a Folders,
        scope: &'a Scope,
        faults: &mut Faults,
    ) -> Flavours<'a> {
        let files = RefCell::default();
        let mut flavours = Flavours { declared: BTreeMap::new(), path, folders, scope, files };
        for (source, node) in nodes {
            let definition = Definition { source, node };
            let Some(checked) = definition.checked(&Scope::new(), &System::unknown().scope(scope), faults)
            else {
                continue;
            };
            let Some(name) = checked.text("name") else { continue };
            if let Some(first) = flavours.declared.get(&name.value) {
                let message = format!("the flavour `{}` is declared twice", name.value);
                let first = first.place();
                faults.push(
                    Fault::error("flavour/twice", message).at(&name.place, "again").at(&first, "first here"),
                );
                continue;
            }
            flavours.declared.insert(name.value, definition);
        }
        flavours
    }

    /// No flavour at all, not even imgbuild's own.
    pub fn none(folders: &'a Folders, scope: &'a Scope) -> Flavours<'a> {
        Flavours { declared: BTreeMap::new(), path: Vec::new(), folders, scope, files: RefCell::default() }
    }

    /// What the `flavours` nodes among `nodes` come to; `below` are those that are there already.
    pub fn brought(
        &self,
        nodes: &[&Node],
        system: System<'_>,
        below: &[String],
        faults: &mut Faults,
    ) -> Brought {
        let uses: Vec<&&Node> = nodes.iter().filter(|node| node.word.name == words::FLAVOURS.name).collect();
        let (mut wanted, mut online): (Vec<Spanned<String>>, Vec<Spanned<String>>) = Default::default();
        let mut set: BTreeMap<String, Spanned<String>> = BTreeMap::new();
        for node in uses {
            let names = || node.texts("flavour").into_iter();
            wanted.extend(names());
            online.extend(names().filter(|_| node.flag("network")));
            set.extend(node.free().map(|(name, value)| (name.to_string(), value)));
        }
        if wanted.is_empty() {
            return Brought::default();
        }
        let there = below
            .iter()
            .map(|name| Given { name: name.clone(), reason: "it is in the image already".into() });
        // A stock flavour of that name does what the element does.
        let own = given(system.distribution).into_iter();
        let own = own.filter(|given| stock::text(&given.name).is_none());
        let given: Vec<Given> = there.chain(own).collect();
        let Some(resolved) = faults.keep(resolve(&wanted, &given, self)) else { return Brought::default() };
        // What an element needs fetches for it.
        let online = if online.is_empty() { None } else { resolve(&online, &given, self).ok() };
        let mut brought = self.taken(&resolved, &set, system, faults);
        for folder in &mut brought.elements {
            let is_it = |resolved: &Resolved| resolved.elements.iter().any(|one| one.name == folder.name);
            folder.network = online.as_ref().is_some_and(is_it);
        }
        brought
    }

    fn taken(
        &self,
        resolved: &Resolved,
        set: &BTreeMap<String, Spanned<String>>,
        system: System<'_>,
        faults: &mut Faults,
    ) -> Brought {
        let scope = system.scope(self.scope);
        let mut brought = Brought {
            settings: set.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect(),
            ..Brought::default()
        };
        let mut known: BTreeSet<String> = BTreeSet::new();
        for element in &resolved.elements {
            let name = &element.name;
            brought.names.push(name.clone());
            if let Some(definition) = self.definition(name) {
                let nodes = definition.nodes(name, set, &scope, &mut known, faults);
                brought.groups.push((name.clone(), nodes));
            }
            brought.elements.extend(self.element_folder(name));
        }
        let elements = !brought.elements.is_empty();
        for (name, value) in set.iter().filter(|(name, _)| !elements && !known.contains(*name)) {
            faults.push(
                Fault::error(
                    "flavour/setting",
                    format!("none of these flavours has a setting `{}`", wording::printable(name)),
                )
                .at(&value.place, "its value")
                .maybe_help(wording::suggest(name, known.iter().map(String::as_str))),
            );
        }
        brought
    }

    /// Every file that was read, absolute.
    pub fn files(&self) -> Vec<PathBuf> {
        self.files.borrow().iter().cloned().collect()
    }
}

impl Definition {
    fn place(&self) -> crate::fault::Place {
        let (start, end) = self.node.head_span;
        crate::fault::Place::new(&self.source, start as usize..end as usize)
    }

    /// The node with these settings, and the manifest's variables where they say nothing. What is not set has no text.
    fn checked(&self, set: &Scope, scope: &Scope, faults: &mut Faults) -> Option<Node> {
        let words = [Child::many(&words::FLAVOUR)];
        let (mut own, mut empty) = (scope.clone(), BTreeSet::new());
        let mut ignored = Faults::new();
        // What a setting is called is known only when the node has been read once.
        let first = check(std::slice::from_ref(&self.node), &self.source, &words, scope, &mut ignored);
        for setting in first.iter().flat_map(|node| node.children("setting")) {
            let Some(name) = setting.text("name") else { continue };
            let default = setting.text("default").map(|default| default.value).unwrap_or_default();
            let value = set.get(&name.value).cloned().unwrap_or(default);
            if value.is_empty() {
                empty.insert(name.value.clone());
            }
            own.insert(name.value, value);
        }
        let node = without(&self.node, &empty);
        check(&[node], &self.source, &words, &own, faults).into_iter().next()
    }

    /// Where the values were set that are a whole name or path of the text, by the bytes where they are used.
    fn places(&self, set: &BTreeMap<String, Spanned<String>>) -> BTreeMap<(usize, usize), Place> {
        let mut places = BTreeMap::new();
        let mut todo = vec![&self.node];
        while let Some(node) = todo.pop() {
            let name = setting_of(&node.name).map(|name| (name, node.name_span));
            let values =
                node.entries.iter().filter_map(|entry| Some((setting_of(text_of(entry)?)?, entry.span)));
            for (name, span) in values.chain(name) {
                places.extend(
                    set.get(name).map(|value| ((span.0 as usize, span.1 as usize), value.place.clone())),
                );
            }
            todo.extend(&node.children);
        }
        places
    }

    /// What it has for an image; `known` gets the names of its settings.
    fn nodes(
        &self,
        flavour: &str,
        set: &BTreeMap<String, Spanned<String>>,
        scope: &Scope,
        known: &mut BTreeSet<String>,
        faults: &mut Faults,
    ) -> Vec<Node> {
        let values: Scope = set.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect();
        let (places, mut own) = (self.places(set), Faults::new());
        let Some(mut node) = self.checked(&values, scope, &mut own) else { return Vec::new() };
        let moved = |place: &Place| places.get(&(place.start, place.end)).cloned();
        node.moved(&moved);
        // What is wrong with the text itself was told where it was read first; the rest is with what was set.
        for mut fault in own {
            let set = fault.labels.iter_mut().filter_map(|label| Some((moved(&label.place)?, label)));
            if set.map(|(place, label)| label.place = place).count() > 0 {
                faults.push(fault);
            }
        }
        for setting in node.children("setting") {
            let Some(name) = setting.text("name") else { continue };
            if setting.text("default").is_none() && !set.contains_key(&name.value) {
                let docs = setting.text("docs").map(|docs| format!(": {}", docs.value)).unwrap_or_default();
                faults.push(
                    Fault::error(
                        "flavour/setting",
                        format!("the flavour `{flavour}` needs `{}`{docs}", name.value),
                    )
                    .at(&name.place, "declared here")
                    .help(format!(
                        "set it where the flavour is used: `flavours \"{flavour}\" {}=…`",
                        name.value
                    )),
                );
            }
            known.insert(name.value);
        }
        node.children
    }
}

/// The node, without what a setting that is empty names in it: a package, or a file that something is taken from.
fn without(node: &RawNode, empty: &BTreeSet<String>) -> RawNode {
    let is_empty = |text: &str| setting_of(text).is_some_and(|name| empty.contains(name));
    let names_nothing = |node: &&RawNode| {
        let names = |entry: &RawEntry| match &entry.name {
            Some((name, _)) => name == "from",
            None => node.name == "input",
        };
        let mut sources = node.entries.iter().filter(|entry| names(entry)).filter_map(text_of);
        is_empty(&node.name) || sources.any(is_empty)
    };
    let children = node.children.iter().filter(|child| !names_nothing(child));
    RawNode { children: children.map(|child| without(child, empty)).collect(), ..node.clone() }
}

fn text_of(entry: &RawEntry) -> Option<&str> {
    match &entry.value {
        RawValue::Text(text) => Some(text),
        _ => None,
    }
}

/// The setting that a text is, and nothing beside it: `NAME` of `${NAME}`.
fn setting_of(text: &str) -> Option<&str> {
    text.strip_prefix("${")?.strip_suffix('}').filter(|name| !name.contains('}'))
}
