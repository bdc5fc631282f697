//! Groups: layers that are shown as one, and what each group changes of the groups below it.
//!
//! A package's layer is only a part of the layer that the packages of its set make together. Where layers show one by
//! one, the parts show as that one: what it changes in all, at the paths where it lands.

use std::collections::BTreeMap;
use std::ops::Range;

use super::upper::{Times, difference};
use super::{Stack, StackLayer};
use crate::fault::Fault;
use crate::lang::Owner;
use crate::lang::value::Id;
use crate::layer::merge::Node;
use crate::layer::{Entry, EntryPath, Merged};

/// Layers that are shown as one.
#[derive(Clone, Debug)]
pub struct Group {
    /// Their positions in the stack.
    pub layers: Range<usize>,
    /// What they change of what is below, in the order of a layer: whiteouts for what they remove, numbers for all
    /// owners, no time behind the epoch. Each has the position of the layer that has its content.
    pub nodes: Vec<Node>,
}

impl Stack {
    /// Which layers are shown as one, lowest first: each layer together with those right below that join it.
    pub fn grouped(&self) -> Vec<Range<usize>> {
        let mut groups = Vec::new();
        let mut start = 0;
        for (number, layer) in self.layers.iter().enumerate() {
            if !layer.joins || number + 1 == self.layers.len() {
                groups.push(start..number + 1);
                start = number + 1;
            }
        }
        groups
    }

    /// The layer that gives a group its name: the last.
    pub fn face(&self, group: &Range<usize>) -> Option<&StackLayer> {
        self.layers.get(group.clone())?.last()
    }

    /// The groups of [`Stack::grouped`], each with what it changes.
    ///
    /// # Errors
    ///
    /// Of [`Stack::image`].
    pub fn groups(&self, epoch: i64) -> Result<Vec<Group>, Fault> {
        // Owners are numbers only in the image as a whole, so they are taken from there.
        let image = self.image(epoch)?;
        let mut below = Merged::default();
        let mut groups = Vec::new();
        for layers in self.grouped() {
            let mut nodes = match layers.len() {
                1 => self.own_nodes(&mut below, layers.start)?,
                _ => self.changed_nodes(&mut below, layers.clone())?,
            };
            for Node { entry, .. } in &mut nodes {
                number_owner(entry, &image);
                entry.mtime = entry.mtime.min(epoch);
            }
            groups.push(Group { layers, nodes });
        }
        Ok(groups)
    }

    /// What a layer adds to those below it as it says itself, paths where they landed; puts it on top of `below`.
    fn own_nodes(&self, below: &mut Merged, number: usize) -> Result<Vec<Node>, Fault> {
        let mut markers: BTreeMap<EntryPath, Entry> = BTreeMap::new();
        for entry in self.layers.get(number).into_iter().flat_map(|layer| &layer.layer.index.entries) {
            let path = below.add(number, entry.clone()).map_err(|bad| self.bad_merge(number, &bad))?;
            if entry.is_whiteout() {
                markers.insert(path.clone(), Entry { path, ..entry.clone() });
            }
        }
        below.settle();
        let mut nodes: Vec<Node> = below.nodes().filter(|node| node.layer == number).cloned().collect();
        nodes.extend(markers.into_values().map(|entry| Node { entry, layer: number }));
        nodes.sort_by(|left, right| left.entry.order(&right.entry));
        Ok(nodes)
    }

    /// What several layers change together; puts them on top of `below`.
    fn changed_nodes(&self, below: &mut Merged, layers: Range<usize>) -> Result<Vec<Node>, Fault> {
        let old = below.clone();
        for (number, layer) in self.layers.iter().enumerate().filter(|(number, _)| layers.contains(number)) {
            let added = below.add_layer(number, &layer.layer.index.entries);
            added.map_err(|bad| self.bad_merge(number, &bad))?;
        }
        below.settle();
        let changes = difference(&old, below, Times::Count);
        Ok(changes.into_iter().map(|(entry, layer)| Node { entry, layer }).collect())
    }
}

/// Whoever owns the path in the whole image; a path that a later layer hides belongs to root.
fn number_owner(entry: &mut Entry, image: &Merged) {
    if matches!((&entry.owner.user, &entry.owner.group), (Id::Number(_), Id::Number(_))) {
        return;
    }
    entry.owner = image.get(&entry.path).map_or(Owner::ROOT, |node| node.entry.owner.clone());
}

#[cfg(test)]
mod tests;
