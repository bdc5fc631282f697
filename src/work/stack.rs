//! Stacks: the layers under an output, and what they look like from above.

use super::{Below, Step};
use crate::fault::{Fault, Place};
use crate::lang::Owner;
use crate::layer::accounts::Accounts;
use crate::layer::merge::{BadMerge, Node};
use crate::layer::{Entry, EntryPath, Merged};
use crate::store::Layer;
use crate::wording;

/// A layer in a stack.
#[derive(Clone, Debug)]
pub struct StackLayer {
    /// What it is called.
    pub name: String,
    /// The step that made it.
    pub step: String,
    /// What kind of step that is.
    pub kind: &'static str,
    /// Where the manifest asks for it.
    pub place: Place,
    /// The layer.
    pub layer: Layer,
    /// What the step found out while it ran.
    pub found: Vec<String>,
    /// Whether it is part of the layer above it (see [`super::Step::joins`]).
    pub joins: bool,
}

impl StackLayer {
    /// A layer of `step`.
    pub fn of(step: &dyn Step, place: &Place, layer: Layer, found: Vec<String>) -> StackLayer {
        let (name, id, joins) = (step.name(), step.id(), step.joins());
        StackLayer { name, step: id, kind: step.kind(), place: place.clone(), layer, found, joins }
    }
}

/// Layers, lowest first.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    /// The layers.
    pub layers: Vec<StackLayer>,
}

impl Stack {
    /// The layers as a key sees them.
    pub fn below(&self) -> Vec<Below> {
        let below = |layer: &StackLayer| Below {
            step: layer.step.clone(),
            kind: layer.kind,
            name: layer.name.clone(),
            layer: layer.layer.id,
            found: layer.found.clone(),
            joins: layer.joins,
        };
        self.layers.iter().map(below).collect()
    }

    /// Where parts that belong together begin: each run of layers that join the one above them, and each other layer.
    pub fn bounds(&self) -> Vec<usize> {
        let joined = |at: usize| self.layers.get(at).is_some_and(|layer| layer.joins);
        (0..self.layers.len()).filter(|at| *at == 0 || !joined(*at) || !joined(*at - 1)).collect()
    }

    /// The layers seen from above, owners as they were stated.
    pub fn merged(&self) -> Result<Merged, Fault> {
        self.merged_from(Merged::default(), 0)
    }

    /// The same, where the lowest `first` layers were merged already.
    pub(super) fn merged_from(&self, mut merged: Merged, first: usize) -> Result<Merged, Fault> {
        for (number, layer) in self.layers.iter().enumerate().skip(first) {
            merged
                .add_layer(number, &layer.layer.index.entries)
                .map_err(|bad| self.bad_merge(number, &bad))?;
        }
        merged.settle();
        Ok(merged)
    }

    /// The layers seen from above as an image: with a root, a number for every owner, and no time behind `epoch`
    /// (seconds since 1970).
    pub fn image(&self, epoch: i64) -> Result<Merged, Fault> {
        self.as_image(self.merged()?, epoch)
    }

    /// What [`Stack::image`] makes of `merged`, which is [`Stack::merged`].
    pub(super) fn as_image(&self, mut merged: Merged, epoch: i64) -> Result<Merged, Fault> {
        if merged.get(&EntryPath::root()).is_none() {
            // The root of an empty stack cannot fail to be added.
            let _ = merged.add(0, Entry::passage(EntryPath::root(), epoch));
        }
        let accounts = self.accounts(&merged);
        accounts.resolve(&mut merged).map_err(|unknown| {
            let node = merged.get(&unknown.path);
            let help = match wording::nearest(&unknown.name, unknown.known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("add it to `/etc/{}` in a layer, or give its number", file_of(unknown.what)),
            };
            let message = format!(
                "`{}` is to belong to the {} `{}`, which the image's `/etc/{}` does not have",
                unknown.path,
                unknown.what,
                unknown.name,
                file_of(unknown.what)
            );
            self.at(Fault::build("owner/unknown", message).help(help), node.map(|node| node.layer))
        })?;
        for node in merged.nodes_mut() {
            node.entry.mtime = node.entry.mtime.min(epoch);
        }
        merged.settle_names();
        Ok(merged)
    }

    /// The layer that a node came from.
    pub fn layer_of(&self, node: &Node) -> Option<&Layer> {
        self.layers.get(node.layer).map(|layer| &layer.layer)
    }

    /// Whether everything belongs to root, so that no account is looked up.
    pub fn is_roots(&self) -> bool {
        let mut entries = self.layers.iter().flat_map(|layer| &layer.layer.index.entries);
        entries.all(|entry| entry.owner == Owner::ROOT)
    }

    fn accounts(&self, merged: &Merged) -> Accounts {
        let read = |path: &str| {
            let path = EntryPath::parse(path).ok()?;
            let node = merged.file(&path)?;
            // An account file of more than a few MiB is none.
            self.layer_of(node)?.bytes(&node.entry, 4 << 20).ok()
        };
        Accounts::read(&read("etc/passwd").unwrap_or_default(), &read("etc/group").unwrap_or_default())
    }

    pub(super) fn bad_merge(&self, layer: usize, bad: &BadMerge) -> Fault {
        self.at(Fault::build("layer/merge", format!("these layers cannot be stacked: {bad}")), Some(layer))
    }

    fn at(&self, fault: Fault, layer: Option<usize>) -> Fault {
        match layer.and_then(|layer| self.layers.get(layer)) {
            Some(layer) => fault.at(&layer.place, format!("`{}` brings it", layer.step)),
            None => fault,
        }
    }
}

fn file_of(what: &str) -> &'static str {
    if what == "group" { "group" } else { "passwd" }
}
