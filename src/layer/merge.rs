//! Merging: what a stack of layers looks like from above. In memory; no file is touched.
//!
//! The rules are those of unpacking one layer after the other inside a root that nothing can leave:
//!
//! - a later entry replaces an earlier one; a directory over a directory replaces its mode, owner and times only, and
//!   a weak one (see [`Entry::weak`]) not even these;
//! - a path leads through symbolic links that are there already, and these are resolved inside the root: an overlay's
//!   `lib/x` lands in `usr/lib/x` where `/lib` is a link to `usr/lib`, and a directory entry leaves such a link alone;
//! - a whiteout removes what lower layers put there, and an opaque marker what they put below;
//! - a hard link keeps its content when the name that it was linked to is replaced.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::entry::{Entry, Kind};
use super::path::EntryPath;

/// What a stack of layers looks like from above.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    nodes: BTreeMap<EntryPath, Node>,
    /// Files that have further names, and these.
    links: HashMap<EntryPath, Vec<EntryPath>>,
}

/// An entry and the layer that it came from.
#[derive(Clone, Debug)]
pub struct Node {
    /// The entry, at its final path.
    pub entry: Entry,
    /// The position of the layer in the stack, from 0.
    pub layer: usize,
}

/// Why an entry cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadMerge {
    /// Symbolic links that lead in a circle.
    Loop(EntryPath),
    /// A hard link to something that is not there or is no file.
    Link {
        /// The link.
        path: EntryPath,
        /// What it names.
        target: EntryPath,
    },
}

impl fmt::Display for BadMerge {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadMerge::Loop(path) => write!(out, "the symbolic links on the way to `{path}` lead in a circle"),
            BadMerge::Link { path, target } => {
                write!(out, "`{path}` is a hard link to `{target}`, which is no file that came before it")
            }
        }
    }
}

/// Merges whole layers, lowest first.
pub fn merge<'a>(layers: impl IntoIterator<Item = &'a super::Index>) -> Result<Merged, BadMerge> {
    let mut merged = Merged::default();
    for (number, index) in layers.into_iter().enumerate() {
        merged.add_layer(number, &index.entries)?;
    }
    merged.settle();
    Ok(merged)
}

impl Merged {
    /// The entries in the order of their paths.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The same, to be changed in place (owners resolved, times set); paths must stay.
    pub fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.nodes.values_mut()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The entry at exactly `path`.
    pub fn get(&self, path: &EntryPath) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The file that `path` leads to, through symbolic links and other names.
    pub fn file(&self, path: &EntryPath) -> Option<&Node> {
        let node = self.nodes.get(&self.resolve(path, true).ok()?)?;
        match &node.entry.kind {
            Kind::Hardlink(target) => self.nodes.get(target),
            Kind::File { .. } => Some(node),
            _ => None,
        }
    }

    /// Puts a whole layer on top.
    pub fn add_layer(&mut self, layer: usize, entries: &[Entry]) -> Result<(), BadMerge> {
        // A directory in which an entry landed as it is: most that follow are in it, too.
        let mut folder: Option<EntryPath> = None;
        for entry in entries {
            if !folder.as_ref().is_some_and(|folder| entry.path.is_directly_in(folder)) {
                folder = entry.path.parent().filter(|parent| self.is_directory(parent));
            }
            match folder {
                Some(_) => self.put(layer, entry.clone())?,
                None => drop(self.add(layer, entry.clone())?),
            }
        }
        Ok(())
    }

    /// Puts an entry on top; gives the path where it landed.
    pub fn add(&mut self, layer: usize, mut entry: Entry) -> Result<EntryPath, BadMerge> {
        entry.path = self.landing(layer, &entry)?;
        let path = entry.path.clone();
        self.put(layer, entry)?;
        Ok(path)
    }

    /// Puts an entry on top that is at its final path already.
    fn put(&mut self, layer: usize, mut entry: Entry) -> Result<(), BadMerge> {
        match &entry.kind {
            Kind::Whiteout => self.remove_lower(&entry.path, layer, true),
            Kind::Opaque => self.remove_lower(&entry.path, layer, false),
            Kind::Directory => self.add_directory(layer, entry)?,
            Kind::Hardlink(target) => {
                let target = self.link_target(&entry.path, target)?;
                if target != entry.path {
                    self.remove(&entry.path);
                    self.links.entry(target.clone()).or_default().push(entry.path.clone());
                    entry.kind = Kind::Hardlink(target);
                    self.nodes.insert(entry.path.clone(), Node { entry, layer });
                }
            }
            _ => self.replace(layer, entry),
        }
        Ok(())
    }

    /// Puts an entry in the place of all that is there.
    fn replace(&mut self, layer: usize, entry: Entry) {
        match self.nodes.entry(entry.path.clone()) {
            // Most paths are in one layer alone.
            Slot::Vacant(slot) => drop(slot.insert(Node { entry, layer })),
            Slot::Occupied(_) => {
                self.remove(&entry.path);
                self.nodes.insert(entry.path.clone(), Node { entry, layer });
            }
        }
    }

    fn is_directory(&self, path: &EntryPath) -> bool {
        path.is_root() || self.nodes.get(path).is_some_and(|node| node.entry.kind == Kind::Directory)
    }

    /// Leaves out every path that `keep` refuses; other names of a file that goes keep its content.
    pub fn retain(&mut self, keep: impl Fn(&EntryPath) -> bool) {
        let gone: Vec<EntryPath> = self.nodes.keys().filter(|path| !keep(path)).cloned().collect();
        gone.iter().for_each(|path| self.remove_one(path));
    }

    /// Makes the first of a file's names, in the order of paths, the one that holds the content.
    pub fn settle(&mut self) {
        let groups: Vec<EntryPath> = self.links.keys().cloned().collect();
        for holder in groups {
            let first = self.links.get(&holder).and_then(|names| names.iter().min()).cloned();
            if let Some(first) = first.filter(|first| *first < holder) {
                self.move_content(&holder, &first);
            }
        }
    }

    /// Gives each further name of a file the file's own attributes: some who read tars give the file those of the name.
    pub fn settle_names(&mut self) {
        for (holder, names) in &self.links {
            let Some(of) = self.nodes.get(holder).map(|node| node.entry.clone()) else { continue };
            for name in names {
                if let Some(node) = self.nodes.get_mut(name) {
                    (node.entry.mode, node.entry.mtime) = (of.mode, of.mtime);
                    node.entry.owner = of.owner.clone();
                }
            }
        }
    }

    /// Where the entry lands: its directory with links resolved, made where it is missing.
    fn landing(&mut self, layer: usize, entry: &Entry) -> Result<EntryPath, BadMerge> {
        let Some(parent) = entry.path.parent() else { return Ok(EntryPath::root()) };
        if parent.is_root() {
            return Ok(entry.path.clone());
        }
        // Almost always the directory is there, and no link is on the way to it.
        let known = self.is_directory(&parent);
        let folder = if known { parent } else { self.resolve(&parent, true)? };
        if !known && !entry.is_whiteout() {
            self.make_passages(layer, &folder, entry.mtime);
        }
        Ok(folder.join(entry.path.name()))
    }

    fn make_passages(&mut self, layer: usize, folder: &EntryPath, mtime: i64) {
        let mut path = EntryPath::root();
        for component in folder.components() {
            path = path.join(component);
            let there = self.nodes.get(&path).is_some_and(|node| node.entry.kind == Kind::Directory);
            if !there {
                self.remove(&path);
                self.nodes.insert(path.clone(), Node { entry: Entry::passage(path.clone(), mtime), layer });
            }
        }
    }

    /// `path` with the symbolic links on its way followed inside the root; the last component's too if `whole`.
    fn resolve(&self, path: &EntryPath, whole: bool) -> Result<EntryPath, BadMerge> {
        let mut todo: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
        let mut at = EntryPath::root();
        let mut followed = 0;
        while let Some(component) = todo.pop() {
            match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    at = at.parent().unwrap_or_default();
                    continue;
                }
                _ => {}
            }
            let next = at.join(&component);
            match self.nodes.get(&next).map(|node| &node.entry.kind) {
                Some(Kind::Symlink(target)) if whole || !todo.is_empty() => {
                    followed += 1;
                    if followed > 40 {
                        return Err(BadMerge::Loop(path.clone()));
                    }
                    if target.first() == Some(&b'/') {
                        at = EntryPath::root();
                    }
                    todo.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
                }
                _ => at = next,
            }
        }
        Ok(at)
    }

    fn add_directory(&mut self, layer: usize, entry: Entry) -> Result<(), BadMerge> {
        match self.nodes.get_mut(&entry.path) {
            Some(node) if node.entry.kind == Kind::Directory => {
                if !entry.weak {
                    *node = Node { entry, layer };
                }
                return Ok(());
            }
            Some(node) if matches!(node.entry.kind, Kind::Symlink(_)) => {
                let leads_to = self.resolve(&entry.path, true)?;
                if self.is_directory(&leads_to) {
                    return Ok(());
                }
            }
            _ => {}
        }
        self.replace(layer, entry);
        Ok(())
    }

    fn link_target(&self, path: &EntryPath, target: &EntryPath) -> Result<EntryPath, BadMerge> {
        let missing = || BadMerge::Link { path: path.clone(), target: target.clone() };
        let resolved = self.resolve(target, false)?;
        match self.nodes.get(&resolved).map(|node| &node.entry.kind) {
            Some(Kind::Hardlink(holder)) => Ok(holder.clone()),
            Some(Kind::File { .. }) => Ok(resolved),
            _ => Err(missing()),
        }
    }

    /// Removes what is at `path` and below it, whatever layer it came from.
    fn remove(&mut self, path: &EntryPath) {
        let is_directory = match self.nodes.get(path) {
            None => return,
            Some(node) => node.entry.kind == Kind::Directory,
        };
        if is_directory {
            for inside in self.inside(path, usize::MAX) {
                self.remove_one(&inside);
            }
        }
        self.remove_one(path);
    }

    /// Removes what layers below `layer` put at `path` (if `itself`) and in it.
    fn remove_lower(&mut self, path: &EntryPath, layer: usize, itself: bool) {
        for inside in self.inside(path, layer) {
            self.remove_one(&inside);
        }
        let kept_inside =
            || self.nodes.range(path.clone()..).nth(1).is_some_and(|(next, _)| next.below(path).is_some());
        let goes = self.nodes.get(path).is_some_and(|node| node.layer < layer);
        if itself && goes && !kept_inside() {
            self.remove_one(path);
        }
    }

    /// The paths in the directory `path` that came from layers below `layer`.
    fn inside(&self, path: &EntryPath, layer: usize) -> Vec<EntryPath> {
        self.nodes
            .range(path.clone()..)
            .take_while(|(inside, _)| inside.below(path).is_some())
            .filter(|(inside, node)| *inside != path && node.layer < layer)
            .map(|(inside, _)| inside.clone())
            .collect()
    }

    /// Removes one entry; the content of a file with further names goes to the first of these.
    fn remove_one(&mut self, path: &EntryPath) {
        let Some(node) = self.nodes.get(path) else { return };
        match node.entry.kind.clone() {
            Kind::Hardlink(holder) => {
                if let Some(names) = self.links.get_mut(&holder) {
                    names.retain(|name| name != path);
                }
            }
            Kind::File { .. } => {
                let heir = self.links.get(path).and_then(|names| names.iter().min()).cloned();
                if let Some(heir) = heir {
                    self.move_content(path, &heir);
                    return self.remove_one(path);
                }
            }
            _ => {}
        }
        self.links.remove(path);
        self.nodes.remove(path);
    }

    /// Makes `heir`, so far another name of `holder`, the holder of the content.
    fn move_content(&mut self, holder: &EntryPath, heir: &EntryPath) {
        let Some(node) = self.nodes.get(holder) else { return };
        let (kind, layer, xattrs) = (node.entry.kind.clone(), node.layer, node.entry.xattrs.clone());
        let mut names = self.links.remove(holder).unwrap_or_default();
        names.retain(|name| name != heir);
        names.push(holder.clone());
        for name in &names {
            if let Some(node) = self.nodes.get_mut(name) {
                node.entry.kind = Kind::Hardlink(heir.clone());
            }
        }
        if let Some(node) = self.nodes.get_mut(heir) {
            node.entry.kind = kind;
            node.layer = layer;
            // Most tars name the attributes of a file once, where its content is.
            if node.entry.xattrs.is_empty() {
                node.entry.xattrs = xattrs;
            }
        }
        self.links.insert(heir.clone(), names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Digest;
    use crate::lang::Owner;

    fn path(text: &str) -> EntryPath {
        EntryPath::parse(text).expect(text)
    }

    fn entry(text: &str) -> Entry {
        let mut words = text.split(' ');
        let (letter, at) = (words.next().unwrap_or_default(), path(words.next().unwrap_or_default()));
        let target = words.next().unwrap_or_default();
        let kind = match letter {
            "d" | "D" => Kind::Directory,
            "l" => Kind::Symlink(target.into()),
            "h" => Kind::Hardlink(path(target)),
            "w" => Kind::Whiteout,
            "o" => Kind::Opaque,
            _ => Kind::File { size: 1, digest: Digest::of(target), offset: 0 },
        };
        let mode = if letter == "D" { 0o1777 } else { 0o755 };
        Entry { path: at, kind, mode, owner: Owner::ROOT, mtime: 0, xattrs: vec![], weak: letter == "d" }
    }

    fn merged(layers: &[&[&str]]) -> Vec<String> {
        let mut merged = Merged::default();
        for (number, layer) in layers.iter().enumerate() {
            let entries: Vec<Entry> = layer.iter().map(|text| entry(text)).collect();
            merged.add_layer(number, &entries).expect("a merge");
        }
        merged.settle();
        let tell = |node: &Node| {
            let extra = match &node.entry.kind {
                Kind::Hardlink(target) => format!(" {target}"),
                Kind::Symlink(target) => format!(" {}", String::from_utf8_lossy(target)),
                Kind::Directory => format!(" {:o}", node.entry.mode),
                _ => String::new(),
            };
            format!("{}{} {}{extra}", node.layer, node.entry.kind.letter(), node.entry.path)
        };
        merged.nodes().map(tell).collect()
    }

    #[test]
    fn later_layers_win_and_passages_keep_what_is_below() {
        assert_eq!(
            merged(&[&["D tmp", "f tmp/a", "f x"], &["d tmp", "f tmp/b", "d x", "f x/y"]]),
            ["0d tmp 1777", "0f tmp/a", "1f tmp/b", "1d x 755", "1f x/y"]
        );
    }

    #[test]
    fn paths_lead_through_links_and_stay_inside() {
        assert_eq!(
            merged(&[
                &["l lib usr/lib", "D usr", "D usr/lib", "l out ../../../etc"],
                &["D lib", "f lib/x", "f out/passwd"]
            ]),
            [
                "1d etc 755",
                "1f etc/passwd",
                "0l lib usr/lib",
                "0l out ../../../etc",
                "0d usr 1777",
                "0d usr/lib 1777",
                "1f usr/lib/x"
            ]
        );
        let mut circle = Merged::default();
        circle.add(0, entry("l a b")).expect("a link");
        circle.add(0, entry("l b a")).expect("a link");
        assert_eq!(circle.add(0, entry("f a/x")), Err(BadMerge::Loop(path("a"))));
    }

    #[test]
    fn whiteouts_remove_only_what_is_below() {
        assert_eq!(
            merged(&[&["D a", "f a/1", "f a/2", "f b"], &["o a", "f a/3", "w b", "w missing/x"]]),
            ["0d a 1777", "1f a/3"]
        );
        assert_eq!(merged(&[&["D a", "f a/1"], &["D a", "f a/2", "w a"]]), ["1d a 1777", "1f a/2"]);
    }

    #[test]
    fn a_hard_link_outlives_the_name_it_was_linked_to() {
        assert_eq!(merged(&[&["f b", "h c b", "h d c"], &["f b"]]), ["1f b", "0f c", "0h d c"]);
        assert_eq!(merged(&[&["f b", "h a b"]]), ["0f a", "0h b a"], "the first name holds the content");
        assert_eq!(merged(&[&["D d", "f d/x", "h y d/x"], &["f d"]]), ["1f d", "0f y"]);
        let mut none = Merged::default();
        let bad = BadMerge::Link { path: path("a"), target: path("b") };
        assert_eq!(none.add(0, entry("h a b")), Err(bad));
    }
}
