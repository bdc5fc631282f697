//! Hooks: what an image or a hypervisor runs, from lists and from blocks of its own.

pub(super) mod folder;
mod one;
mod order;
mod said;
pub mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use one::{hook, named_hook};
use said::{SaidOfHook, said};

use crate::fault::{Fault, Faults, Place};
use crate::hooks::{Dialect, Phase};
use crate::lang::{Node, Scope, Spanned};
use crate::layer::EntryPath;
use crate::steps::hook::{Hook, ShownFolder};
use crate::steps::overlay;
use crate::wording;
use crate::work::Folders;

/// What hooks are looked for with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looking<'a> {
    /// Where relative paths start.
    pub folders: &'a Folders,
    /// Folders that hooks are looked for in, absolute, first match wins.
    pub path: &'a [PathBuf],
    /// The manifest's variables.
    pub scope: &'a Scope,
    /// The caller's environment, for secrets.
    pub environment: &'a Scope,
}

/// The lists that a manifest declares.
#[derive(Debug, Default)]
pub(super) struct Lists {
    declared: BTreeMap<String, List>,
    /// The files that were read, absolute.
    pub files: Vec<PathBuf>,
}

/// What a hypervisor's image has of hooks.
#[derive(Clone, Debug, Default)]
pub(super) struct Below<'a> {
    hooks: &'a [Hook],
    /// The lists that it names, and where.
    lists: BTreeMap<String, Place>,
}

impl<'a> Below<'a> {
    /// What an image with these children has.
    pub fn of(hooks: &'a [Hook], children: &[&Node]) -> Below<'a> {
        let nodes = children.iter().filter(|node| node.word.name == words::HOOKS.name);
        let lists = nodes.flat_map(|node| node.texts("list")).map(|name| (name.value, name.place)).collect();
        Below { hooks, lists }
    }
}

#[derive(Debug)]
struct List {
    place: Place,
    hooks: Vec<Hook>,
}

impl Lists {
    /// The lists of all `hook-list` nodes at the top of a manifest.
    pub fn of<'n>(nodes: impl Iterator<Item = &'n Node>, looking: Looking<'_>, faults: &mut Faults) -> Lists {
        let mut lists = Lists::default();
        for node in nodes {
            let Some(name) = node.text("name") else { continue };
            let hooks = lists.content(node, &name, looking, faults);
            if let Some(first) = lists.declared.get(&name.value) {
                faults.push(
                    Fault::error(
                        "hook-list/twice",
                        format!("the list of hooks `{}` is declared twice", name.value),
                    )
                    .at(&name.place, "again")
                    .at(&first.place, "first here"),
                );
                continue;
            }
            lists.declared.insert(name.value, List { place: name.place, hooks });
        }
        lists
    }

    fn content(
        &mut self,
        node: &Node,
        name: &Spanned<String>,
        looking: Looking<'_>,
        faults: &mut Faults,
    ) -> Vec<Hook> {
        let from = node.text("from");
        let dialect =
            node.text("dialect").and_then(|word| Dialect::of_word(&word.value)).unwrap_or(Dialect::List);
        let stated = node.text("phase").and_then(|word| Phase::of_word(&word.value));
        let by_folder =
            from.as_ref().and_then(|from| Phase::of_folder(Path::new(&from.value).file_name()?.to_str()?));
        let all = OfAll {
            list: Some(name.value.clone()),
            phase: stated.or(by_folder).unwrap_or(Phase::PostInstall),
            dialect,
            said: said(node, looking, faults),
        };
        if let (Some(from), Some(first)) = (&from, node.children("hook").next()) {
            faults.push(
                Fault::error("hook-list/both", "a list is read from a file or folder, or stated here")
                    .at(&first.place, "stated here")
                    .at(&from.place, "read from here")
                    .help("make two lists of it; an image names both: `hooks \"one\" \"other\"`"),
            );
        }
        misplaced(node, dialect, from.as_ref(), faults);
        let mut hooks: Vec<Hook> =
            node.children("hook").filter_map(|child| hook(child, &all, looking, faults)).collect();
        if let Some(from) = from {
            hooks.extend(self.read(node, &from, &all, looking, faults));
        }
        twice(&hooks, faults);
        hooks
    }

    /// What `from` has: a file that names hooks, or a folder of scripts.
    fn read(
        &mut self,
        node: &Node,
        from: &Spanned<String>,
        all: &OfAll,
        looking: Looking<'_>,
        faults: &mut Faults,
    ) -> Vec<Hook> {
        let path = looking.folders.path(from);
        if path.is_dir() {
            let said = folder::Said {
                from,
                path: &path,
                go_on: node.text("on-failure").is_some_and(|word| word.value == "go-on"),
                directory: directory(node, looking, faults),
            };
            return folder::hooks(&said, all, looking, faults);
        }
        let names = order::names(&path, &looking.folders.shown(&path), faults);
        if let Some(fault) = names.as_ref().err() {
            faults.push(
                fault
                    .clone()
                    .at(&from.place, "named here")
                    .maybe_help(overlay::near_file(&path, &from.value)),
            );
        }
        self.files.push(path.canonicalize().unwrap_or(path));
        let names = names.unwrap_or_default();
        names.into_iter().filter_map(|name| named_hook(name, None, all, looking, faults)).collect()
    }

    /// The hooks that the `hooks` nodes among `nodes` name and state, in the order of the text, behind those that are
    /// there `first`; `owner` says which flavour a node is from, and `below` what an image has of which this is a
    /// hypervisor.
    pub fn used(
        &self,
        (nodes, first): (&[&Node], Vec<Hook>),
        owner: &dyn Fn(&Node) -> Option<String>,
        below: &Below<'_>,
        looking: Looking<'_>,
        faults: &mut Faults,
    ) -> Vec<Hook> {
        let mut used = below.lists.clone();
        let mut hooks = first;
        for node in nodes.iter().filter(|node| node.word.name == words::HOOKS.name) {
            for name in node.texts("list") {
                let Some(list) = self.named(&name, faults) else { continue };
                match used.get(&name.value) {
                    Some(first) => faults.push(
                        Fault::warning(
                            "hook-list/twice",
                            format!("the list `{}` is in this image already", name.value),
                        )
                        .at(&name.place, "left out")
                        .at(first, "it is used here")
                        .help("remove one of them"),
                    ),
                    None => hooks.extend(list.hooks.iter().cloned()),
                }
                used.entry(name.value).or_insert(name.place);
            }
            let phase = node.text("phase").and_then(|word| Phase::of_word(&word.value));
            let phase = phase.unwrap_or(Phase::PostInstall);
            let list = owner(node);
            let all = OfAll { list, phase, dialect: Dialect::List, said: SaidOfHook::default() };
            hooks.extend(node.children("hook").filter_map(|child| hook(child, &all, looking, faults)));
        }
        twice(&hooks, faults);
        // Such hooks run for each target anew, the image's and the hypervisor's together.
        let together = below.hooks.iter().filter(|hook| hook.phase.is_last());
        twice(together.chain(hooks.iter().filter(|hook| hook.phase.is_last())), faults);
        order::behind(hooks, below.hooks, faults)
    }

    fn named(&self, name: &Spanned<String>, faults: &mut Faults) -> Option<&List> {
        let found = self.declared.get(&name.value);
        if found.is_none() {
            let near = wording::nearest(&name.value, self.declared.keys().map(String::as_str));
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "declare it with `hook-list \"{0}\" {{ … }}`; a single hook is named in the block: `hooks {{ hook \"{0}\" }}`",
                    name.value
                ),
            };
            faults.push(
                Fault::error("hook-list/unknown", format!("no list of hooks is called `{}`", name.value))
                    .at(&name.place, "not declared")
                    .help(help),
            );
        }
        found
    }
}

/// What holds for all hooks of a list or a block.
#[derive(Clone, Debug)]
struct OfAll {
    list: Option<String>,
    phase: Phase,
    dialect: Dialect,
    said: SaidOfHook,
}

/// What is said of a list that has no meaning for its dialect.
fn misplaced(node: &Node, dialect: Dialect, from: Option<&Spanned<String>>, faults: &mut Faults) {
    let mut only = |field: &str, fits: bool| {
        if let Some(value) = node.text(field).filter(|_| !fits) {
            faults.push(
                Fault::error(
                    "hook-list/dialect",
                    format!("`{field}` is for a folder of the dialect `run-parts`"),
                )
                .at(&value.place, "said here")
                .help("remove it, or say `dialect=\"run-parts\"`"),
            );
        }
    };
    let fits = dialect == Dialect::RunParts && from.is_some();
    only("directory", fits);
    only("on-failure", fits || node.text("on-failure").is_none_or(|word| word.value == "stop"));
    if let (Some(first), true) = (node.children("hook").next(), dialect != Dialect::List) {
        faults.push(
            Fault::error("hook-list/dialect", "hooks of another tool stand in a folder")
                .at(&first.place, "stated here")
                .help("name the folder with `from=`, or leave the dialect out"),
        );
    }
}

fn directory(node: &Node, looking: Looking<'_>, faults: &mut Faults) -> Option<ShownFolder> {
    let stated = node.text("directory")?;
    let path = looking.folders.path(&stated);
    if !path.is_dir() {
        faults.push(
            Fault::error("hook-list/directory", format!("there is no folder `{}`", stated.value))
                .at(&stated.place, "named here")
                .maybe_help(overlay::near_file(&path, &stated.value)),
        );
        return None;
    }
    let at = EntryPath::parse(crate::steps::hook::DEFINITION).unwrap_or_default();
    Some(ShownFolder { path, stated, filter: crate::tree::Filter::all(), at })
}

/// Two hooks of one name would be one step.
fn twice<'h>(hooks: impl IntoIterator<Item = &'h Hook>, faults: &mut Faults) {
    let mut first: BTreeMap<String, &Place> = BTreeMap::new();
    for hook in hooks {
        // Of a list, that is told where the list is read.
        let told = |fault: &Fault| {
            fault.code == "hook/twice"
                && fault.labels.first().is_some_and(|label| label.place == hook.name.place)
        };
        match first.get(&hook.full_name()) {
            Some(_) if faults.list.iter().any(told) => {}
            Some(earlier) => faults.push(
                Fault::error("hook/twice", format!("the hook `{}` stands twice", hook.full_name()))
                    .at(&hook.name.place, "again")
                    .at(earlier, "first here")
                    .help("give one of them another name"),
            ),
            None => drop(first.insert(hook.full_name(), &hook.name.place)),
        }
    }
}
