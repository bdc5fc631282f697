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
pub use shelf::Described;

use crate::fault::{Fault, Faults, Source};
use crate::hooks::element::{Given, Resolved, given, resolve};
use crate::lang::raw::RawNode;
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
            let Some(checked) = definition.checked(&Scope::new(), scope, faults) else { continue };
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
        distribution: Option<&str>,
        below: &[String],
        faults: &mut Faults,
    ) -> Brought {
        let uses: Vec<&&Node> = nodes.iter().filter(|node| node.word.name == words::FLAVOURS.name).collect();
        let mut wanted: Vec<Spanned<String>> = Vec::new();
        let mut set: BTreeMap<String, Spanned<String>> = BTreeMap::new();
        for node in uses {
            wanted.extend(node.texts("flavour"));
            set.extend(node.free().map(|(name, value)| (name.to_string(), value)));
        }
        if wanted.is_empty() {
            return Brought::default();
        }
        let there = below
            .iter()
            .map(|name| Given { name: name.clone(), reason: "it is in the image already".into() });
        // A stock flavour of that name does what the element does.
        let own = given(distribution.unwrap_or_default()).into_iter();
        let own = own.filter(|given| stock::text(&given.name).is_none());
        let given: Vec<Given> = there.chain(own).collect();
        let Some(resolved) = faults.keep(resolve(&wanted, &given, self)) else { return Brought::default() };
        self.taken(&resolved, &set, faults)
    }

    fn taken(
        &self,
        resolved: &Resolved,
        set: &BTreeMap<String, Spanned<String>>,
        faults: &mut Faults,
    ) -> Brought {
        let mut brought = Brought {
            settings: set.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect(),
            ..Brought::default()
        };
        let mut known: BTreeSet<String> = BTreeSet::new();
        for element in &resolved.elements {
            let name = &element.name;
            brought.names.push(name.clone());
            if let Some(definition) = self.definition(name) {
                let nodes = definition.nodes(name, &brought.settings, self.scope, &mut known, faults);
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
        let mut own = scope.clone();
        let mut ignored = Faults::new();
        // What a setting is called is known only when the node has been read once.
        let first = check(std::slice::from_ref(&self.node), &self.source, &words, scope, &mut ignored);
        for setting in first.iter().flat_map(|node| node.children("setting")) {
            let Some(name) = setting.text("name") else { continue };
            let default = setting.text("default").map(|default| default.value).unwrap_or_default();
            own.insert(name.value.clone(), set.get(&name.value).cloned().unwrap_or(default));
        }
        check(std::slice::from_ref(&self.node), &self.source, &words, &own, faults).into_iter().next()
    }

    /// What it has for an image; `known` gets the names of its settings.
    fn nodes(
        &self,
        flavour: &str,
        set: &Scope,
        scope: &Scope,
        known: &mut BTreeSet<String>,
        faults: &mut Faults,
    ) -> Vec<Node> {
        // What is wrong with the text was told where it was read first.
        let Some(node) = self.checked(set, scope, &mut Faults::new()) else { return Vec::new() };
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
