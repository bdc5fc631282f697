//! Packages: what an image or a hypervisor asks for, from lists and from blocks of its own.

mod file;
mod merge;
pub mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use merge::merge;

use crate::deb::Wish;
use crate::fault::{Fault, Faults, Place};
use crate::lang::field::package::{is_suite, is_version};
use crate::lang::{Node, Spanned};
use crate::wording;
use crate::work::Folders;

/// The lists that a manifest declares.
#[derive(Debug, Default)]
pub(super) struct Lists {
    declared: BTreeMap<String, List>,
    /// The files that were read, absolute.
    pub files: Vec<PathBuf>,
}

#[derive(Debug)]
struct List {
    place: Place,
    wishes: Vec<Wish>,
}

/// What an image, or a hypervisor, asks for in all its `packages` nodes.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Each package once.
    pub wishes: Vec<Wish>,
    /// Whether recommended packages come along, if that is said.
    pub recommends: Option<bool>,
    /// The first `packages` node.
    pub place: Option<Place>,
}

impl Asked {
    /// With packages that flavours ask for; what is said of one already is stronger.
    pub fn and(mut self, wishes: Vec<Wish>) -> Asked {
        for wish in wishes {
            if !self.wishes.iter().any(|known| known.name.value == wish.name.value) {
                self.place.get_or_insert_with(|| wish.name.place.clone());
                self.wishes.push(wish);
            }
        }
        self
    }
}

impl Lists {
    /// The lists of all `packages-list` nodes at the top of a manifest.
    pub fn of<'n>(nodes: impl Iterator<Item = &'n Node>, folders: &Folders, faults: &mut Faults) -> Lists {
        let mut lists = Lists::default();
        for node in nodes {
            let Some(name) = node.text("name") else { continue };
            let wishes = lists.content(node, &name, folders, faults);
            if let Some(first) = lists.declared.get(&name.value) {
                let message = format!("the list of packages `{}` is declared twice", name.value);
                faults.push(
                    Fault::error("packages-list/twice", message)
                        .at(&name.place, "again")
                        .at(&first.place, "first here"),
                );
                continue;
            }
            lists.declared.insert(name.value, List { place: name.place, wishes });
        }
        lists
    }

    fn content(
        &mut self,
        node: &Node,
        name: &Spanned<String>,
        folders: &Folders,
        faults: &mut Faults,
    ) -> Vec<Wish> {
        let own = wishes(node, Some(&name.value), faults);
        let Some(from) = node.text("from") else { return own };
        if let Some(first) = node.free_children().next() {
            faults.push(
                Fault::error("packages-list/both", "a list is read from a file, or stated here")
                    .at(&first.place, "stated here")
                    .at(&from.place, "read from here")
                    .help("make two lists of it; an image names both: `packages \"one\" \"other\"`"),
            );
        }
        let path = folders.path(&from);
        let read = file::read(&path, &folders.shown(&path), &name.value, faults);
        if let Some(fault) = read.as_ref().err() {
            faults.push(fault.clone().at(&from.place, "named here").maybe_help(near(&path, &from.value)));
        }
        self.files.push(path.canonicalize().unwrap_or(path));
        own.into_iter().chain(read.unwrap_or_default()).collect()
    }

    /// What the `packages` nodes among `nodes` ask for.
    pub fn asked(&self, nodes: &[&Node], faults: &mut Faults) -> Asked {
        let mut asked = Asked::default();
        let (mut of_lists, mut own) = (Vec::new(), Vec::new());
        let (mut used, mut recommends) = (BTreeMap::new(), None);
        for node in nodes.iter().filter(|node| node.word.name == words::PACKAGES.name) {
            asked.place.get_or_insert_with(|| node.place.clone());
            for name in node.texts("list") {
                let Some(list) = self.named(&name, faults) else { continue };
                match used.get(&name.value) {
                    Some(first) => faults.push(twice(&name, first)),
                    None => of_lists.extend(list.wishes.iter().cloned()),
                }
                used.entry(name.value).or_insert(name.place);
            }
            own.extend(wishes(node, None, faults));
            if let Some(said) = node.maybe_flag("recommends") {
                let (first, place) = recommends.get_or_insert_with(|| (said, node.place.clone()));
                if *first != said {
                    faults.push(
                        Fault::error("packages/recommends", "recommended packages are wanted, and are not")
                            .at(&node.place, "said here")
                            .at(place, "said otherwise here")
                            .help("it holds for all packages of an image, so say it once"),
                    );
                }
            }
        }
        asked.wishes = merge::lists_and_own(of_lists, own, faults);
        asked.recommends = recommends.map(|(said, _)| said);
        asked
    }

    fn named(&self, name: &Spanned<String>, faults: &mut Faults) -> Option<&List> {
        let found = self.declared.get(&name.value);
        if found.is_none() {
            let near = wording::nearest(&name.value, self.declared.keys().map(String::as_str));
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "a package is named in the block: `packages {{ {0} }}`; a list is declared with `packages-list \
                     \"{0}\" {{ … }}`",
                    name.value
                ),
            };
            faults.push(
                Fault::error(
                    "packages-list/unknown",
                    format!("no list of packages is called `{}`", name.value),
                )
                .at(&name.place, "not declared")
                .help(help),
            );
        }
        found
    }
}

fn twice(name: &Spanned<String>, first: &Place) -> Fault {
    Fault::warning("packages-list/twice", format!("the list `{}` is in this image already", name.value))
        .at(&name.place, "counts once")
        .at(first, "it is used here")
        .help("remove one of them")
}

fn near(path: &std::path::Path, typed: &str) -> Option<String> {
    crate::steps::overlay::near_file(path, typed)
}

/// The packages in a node's block.
fn wishes(node: &Node, list: Option<&str>, faults: &mut Faults) -> Vec<Wish> {
    node.free_children().filter_map(|child| wish(child, list, faults)).collect()
}

fn wish(node: &Node, list: Option<&str>, faults: &mut Faults) -> Option<Wish> {
    let written = node.text("package")?;
    let (version, suite, hold) = (node.text("version"), node.text("suite"), node.flag("hold"));
    let wish = wish_of(written, version, suite, list, faults)?;
    if wish.out && hold {
        faults.push(contrary(&wish.name, &node.place));
    }
    Some(Wish { hold, ..wish })
}

/// A wish of a name as it is written, with `!`; a fault where its parts do not fit.
fn wish_of(
    written: Spanned<String>,
    version: Option<Spanned<String>>,
    suite: Option<Spanned<String>>,
    list: Option<&str>,
    faults: &mut Faults,
) -> Option<Wish> {
    let out = written.value.starts_with('!');
    let name = written.map(|name| name.trim_start_matches('!').to_string());
    if let Some(version) = version.as_ref().filter(|version| !is_version(&version.value, true)) {
        faults.push(
            Fault::error(
                "package/version",
                format!("`{}` is not a version", wording::printable(&version.value)),
            )
            .at(&version.place, "a version belongs here")
            .help("write it as Debian does, `\"8.14.1-2\"`, or with a `*` for what may differ: `\"8.14.*\"`"),
        );
        return None;
    }
    if let Some(suite) = suite.as_ref().filter(|suite| !is_suite(&suite.value)) {
        faults.push(
            Fault::error("suite/unfit", format!("`{}` is not a suite", wording::printable(&suite.value)))
                .at(&suite.place, "a suite belongs here")
                .help("a suite is called as in the archive: `\"trixie-backports\"`"),
        );
        return None;
    }
    if let Some(stated) = version.as_ref().or(suite.as_ref()).filter(|_| out) {
        faults.push(contrary(&name, &stated.place));
        return None;
    }
    Some(Wish { name, version, suite, out, hold: false, list: list.map(String::from) })
}

fn contrary(name: &Spanned<String>, stated: &Place) -> Fault {
    Fault::error("package/out", format!("`{}` is left out, so nothing else can be said of it", name.value))
        .at(stated, "this")
        .help("remove the `!`, or what is said beside it")
}

#[cfg(test)]
mod tests;
