//! Hooks: what an image or a hypervisor runs, from lists and from blocks of its own.

pub(super) mod folder;
mod order;
pub mod words;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::fault::{Fault, Faults, Place};
use crate::hooks::{Dialect, Phase};
use crate::lang::{Node, Scope, Spanned};
use crate::layer::EntryPath;
use crate::steps::hook::secret::{From, Secret};
use crate::steps::hook::{Hook, INPUTS, Input, Script, ShownFolder, Text};
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

/// What may be said of a hook, and of all hooks of a list.
#[derive(Clone, Debug, Default)]
struct SaidOfHook {
    environment: Scope,
    inputs: Vec<Input>,
    secrets: Vec<Secret>,
    network: bool,
    timeout: Option<u64>,
    interpreter: Vec<String>,
}

impl SaidOfHook {
    /// This, and on top of it what is said of one hook.
    fn and(&self, own: SaidOfHook) -> SaidOfHook {
        let mut all = self.clone();
        all.environment.extend(own.environment);
        all.inputs.extend(own.inputs);
        all.secrets.retain(|secret| own.secrets.iter().all(|own| own.name != secret.name));
        all.secrets.extend(own.secrets);
        all.network |= own.network;
        all.timeout = own.timeout.or(all.timeout);
        if !own.interpreter.is_empty() {
            all.interpreter = own.interpreter;
        }
        all
    }
}

fn said(node: &Node, looking: Looking<'_>, faults: &mut Faults) -> SaidOfHook {
    let mut said = SaidOfHook {
        network: node.flag("network"),
        timeout: node.integer("timeout").map(|seconds| seconds.value.unsigned_abs()),
        interpreter: node
            .text("interpreter")
            .map(|text| text.value.split_whitespace().map(String::from).collect())
            .unwrap_or_default(),
        ..SaidOfHook::default()
    };
    for env in node.children("env") {
        said.environment.extend(overlay::chosen(env.texts("variable"), looking.scope, faults));
        for (name, value) in env.free() {
            if !is_variable(name) {
                faults.push(no_variable(name).at(&value.place, "its value"));
            }
            said.environment.insert(name.to_string(), value.value);
        }
    }
    said.inputs = node.children("input").filter_map(|child| input(child, looking, faults)).collect();
    said.secrets = node.children("secret").filter_map(|child| secret(child, looking, faults)).collect();
    said
}

fn no_variable(name: &str) -> Fault {
    Fault::error("env/name", format!("`{}` cannot be an environment variable", wording::printable(name)))
        .help("letters, digits and `_`, not beginning with a digit")
}

/// The environment variable that tells where something is.
fn variable(node: &Node, faults: &mut Faults) -> Option<String> {
    let name = node.text("variable")?;
    if !is_variable(&name.value) {
        faults.push(no_variable(&name.value).at(&name.place, "this name"));
    }
    Some(name.value)
}

/// Two inputs in one place would hide each other.
fn same_place(inputs: &[Input], faults: &mut Faults) {
    for (number, input) in inputs.iter().enumerate() {
        let earlier =
            inputs.iter().take(number).find(|other| other.at == input.at && other.path != input.path);
        if let Some(earlier) = earlier {
            faults.push(
                Fault::error("input/twice", format!("two inputs would stand at `/{}`", input.at))
                    .at(&input.stated.place, "this one")
                    .at(&earlier.stated.place, "and this one")
                    .help("give one of them another name, or name the folder that has both"),
            );
        }
    }
}

fn is_variable(name: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    letters && !name.is_empty() && !name.starts_with(|letter: char| letter.is_ascii_digit())
}

fn input(node: &Node, looking: Looking<'_>, faults: &mut Faults) -> Option<Input> {
    let stated = node.text("path")?;
    let path = looking.folders.path(&stated);
    if !path.exists() {
        faults.push(
            Fault::error("input/missing", format!("`{}` does not exist", stated.value))
                .at(&stated.place, "named here")
                .maybe_help(overlay::near_file(&path, &stated.value)),
        );
        return None;
    }
    let inside = EntryPath::parse(stated.value.trim_start_matches("./")).ok();
    let inside = inside.filter(|_| !stated.value.starts_with(['/', '~'])).filter(|inside| !inside.is_root());
    let last = || EntryPath::parse(path.canonicalize().ok()?.file_name()?.as_encoded_bytes()).ok();
    let inputs = EntryPath::parse(INPUTS).unwrap_or_default();
    let at = inside.or_else(last)?.components().fold(inputs, |at, name| at.join(name));
    Some(Input { stated, path, at, variable: variable(node, faults) })
}

fn secret(node: &Node, looking: Looking<'_>, faults: &mut Faults) -> Option<Secret> {
    let name = node.text("name")?;
    let from = match (node.text("from"), node.text("env")) {
        (Some(file), None) => From::File { path: looking.folders.path(&file), shown: file.value },
        (None, Some(variable)) => {
            let value = looking.environment.get(&variable.value).cloned();
            From::Variable(variable.value, value)
        }
        (file, _) => {
            if node.whole {
                let (problem, help) = match file {
                    None => ("neither `from=` nor `env=`", "add one of them"),
                    Some(_) => ("both `from=` and `env=`", "keep one of them"),
                };
                faults.push(
                    Fault::error("secret/from", format!("this secret has {problem}"))
                        .at(&node.place, "here")
                        .help(help),
                );
            }
            return None;
        }
    };
    let variable = variable(node, faults);
    Some(Secret { name: name.value, place: node.place.clone(), from, variable })
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

/// The hook of a `hook` node.
fn hook(node: &Node, all: &OfAll, looking: Looking<'_>, faults: &mut Faults) -> Option<Hook> {
    let name = node.text("name")?;
    let said = all.said.and(said(node, looking, faults));
    same_place(&said.inputs, faults);
    let all = OfAll { said, ..all.clone() };
    let after = node.text("after").map(|text| {
        text.value.split_whitespace().map(|name| Spanned::new(name.to_string(), &text.place)).collect()
    });
    let text = match (node.text("run"), node.text("from")) {
        (Some(text), None) => Some(Text::Stated(text)),
        (None, Some(from)) => {
            let path = looking.folders.path(&from);
            Some(file(&path, &from, &all, looking, faults)?)
        }
        (None, None) => None,
        (Some(_), Some(from)) => {
            faults.push(
                Fault::error("hook/both", "this hook has both `run=` and `from=`")
                    .at(&from.place, "here")
                    .help("keep one of them"),
            );
            return None;
        }
    };
    let mut hook = named_hook(name, text, &all, looking, faults)?;
    hook.after = after.unwrap_or_default();
    first_boot(&hook, &node.place, faults);
    Some(hook)
}

/// A hook by its name; without a text it is looked for on the search path.
fn named_hook(
    name: Spanned<String>,
    text: Option<Text>,
    all: &OfAll,
    looking: Looking<'_>,
    faults: &mut Faults,
) -> Option<Hook> {
    let text = match text {
        Some(text) => text,
        None => {
            let path = faults.keep(find(&name, looking))?;
            file(&path, &name, all, looking, faults)?
        }
    };
    let script = Script { name: name.value.clone(), place: name.place.clone(), text };
    Some(of_script(name, vec![script], all))
}

fn of_script(name: Spanned<String>, scripts: Vec<Script>, all: &OfAll) -> Hook {
    let said = all.said.clone();
    Hook {
        list: all.list.clone(),
        name,
        phase: all.phase,
        dialect: all.dialect,
        scripts,
        shown: Vec::new(),
        directory: None,
        environment: said.environment,
        inputs: said.inputs,
        secrets: said.secrets,
        network: said.network,
        timeout: said.timeout,
        interpreter: said.interpreter,
        after: Vec::new(),
        names: None,
    }
}

/// What has no meaning for a hook that runs in another machine, later.
fn first_boot(hook: &Hook, place: &Place, faults: &mut Faults) {
    let odd = [
        (!hook.inputs.is_empty(), "an `input`"),
        (!hook.secrets.is_empty(), "a `secret`"),
        (hook.network, "`network`"),
        (hook.timeout.is_some(), "a `timeout`"),
    ];
    for (_, what) in odd.into_iter().filter(|(is, _)| *is && hook.phase == Phase::FirstBoot) {
        faults.push(
            Fault::error("hook/first-boot", format!("{what} means nothing to a hook of the booted image"))
                .at(place, "it runs when the image boots")
                .help("remove it; what the hook needs then, an overlay brings"),
        );
    }
}

/// The script in a file, which must be one that can run.
fn file(
    path: &Path,
    stated: &Spanned<String>,
    all: &OfAll,
    looking: Looking<'_>,
    faults: &mut Faults,
) -> Option<Text> {
    let shown = looking.folders.shown(path);
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) => {
            faults.push(
                Fault::error(
                    "hook/missing",
                    format!("cannot read `{shown}`: {}", crate::fault::reason(&error)),
                )
                .at(&stated.place, "named here")
                .maybe_help(overlay::near_file(path, &stated.value)),
            );
            return None;
        }
    };
    if !metadata.is_file() {
        faults.push(
            Fault::error("hook/missing", format!("`{shown}` is not a file"))
                .at(&stated.place, "named here")
                .help("a folder of hooks is a list: `hook-list \"NAME\" from=\"FOLDER\"`"),
        );
        return None;
    }
    if metadata.permissions().mode() & 0o111 == 0 && all.said.interpreter.is_empty() {
        faults.push(
            Fault::error("hook/executable", format!("`{shown}` is not executable"))
                .at(&stated.place, "this hook")
                .help(format!("run `chmod +x {shown}`, or say what runs it: `interpreter=\"sh\"`")),
        );
        return None;
    }
    Some(Text::File { path: path.to_path_buf(), shown })
}

/// The first file of that name on the search path.
fn find(name: &Spanned<String>, looking: Looking<'_>) -> Result<PathBuf, Fault> {
    if let Some(found) =
        looking.path.iter().map(|folder| folder.join(&name.value)).find(|path| path.is_file())
    {
        return Ok(found);
    }
    let fault =
        Fault::error("hook/unknown", format!("no hook is called `{}`", wording::printable(&name.value)))
            .at(&name.place, "not found on the search path");
    let names: Vec<String> = looking.path.iter().flat_map(|folder| names_in(folder)).collect();
    Err(match wording::nearest(&name.value, names.iter().map(String::as_str)) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None if looking.path.is_empty() => fault
            .help("put it into the folder `hooks`, say `search { hooks … }`, or give it a `run=` or `from=`"),
        None => fault.help(format!(
            "looked in {}; or give it a `run=` or `from=`",
            wording::all(looking.path.iter().map(|folder| looking.folders.shown(folder)))
        )),
    })
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
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
