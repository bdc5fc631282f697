//! Finding flavours: declared, in a folder of the search path, or imgbuild's own, in this order.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Definition, ElementFolder, Flavours, System, elements, stock, words};
use crate::fault::{Fault, Faults, Place, Source, reason};
use crate::hooks::Phase;
use crate::hooks::element::{self, Element, Shelf};
use crate::lang::raw::from_document;
use crate::lang::{Node, Scope, Spanned, syntax};

/// What there is to tell of a flavour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// Where it is found.
    pub whence: Whence,
    /// One line on what it is for, if it has one.
    pub summary: Option<String>,
    /// What it has to say of itself.
    pub readme: Option<String>,
    /// What may be set: name, default if it has one, what it is for.
    pub settings: Vec<(String, Option<String>, String)>,
    /// The flavours that it needs.
    pub needs: Vec<String>,
    /// The flavours that it takes the place of.
    pub provides: Vec<String>,
    /// The packages that it asks for, and lists of them.
    pub packages: Vec<String>,
    /// The files that it brings itself, and folders of them.
    pub files: Vec<String>,
    /// Its hooks: phase and name, in the order in which they run.
    pub hooks: Vec<(Phase, String)>,
}

/// Where a flavour is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Whence {
    /// It is imgbuild's own.
    #[default]
    Stock,
    /// In a folder, as people type it.
    Folder(String),
    /// In a manifest: file and line.
    Manifest(String),
}

impl fmt::Display for Whence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whence::Stock => out.write_str("stock"),
            Whence::Folder(place) | Whence::Manifest(place) => out.write_str(place),
        }
    }
}

/// A text of more bytes is none of a flavour's.
const LARGEST: u64 = 1 << 20;

/// The file that makes a folder a flavour.
const FILE: &str = "flavour.kdl";

impl Shelf for Flavours<'_> {
    fn element(&self, name: &str) -> Result<Option<Element>, Faults> {
        let mut found: Option<Element> = None;
        if let Some(definition) = self.try_definition(name)? {
            let mut faults = Faults::new();
            let node = definition.checked(&Scope::new(), &System::unknown().scope(self.scope), &mut faults);
            if faults.has_errors() {
                return Err(faults);
            }
            let texts = |word: &str| -> Vec<Spanned<String>> {
                node.iter()
                    .flat_map(|node| node.children(word))
                    .flat_map(|node| node.texts("flavour"))
                    .collect()
            };
            found = Some(Element {
                name: name.to_string(),
                depends: texts("needs"),
                provides: texts("provides"),
            });
        }
        if let Some(folder) = self.element_folder(name) {
            let read = |file: &str| self.read(&folder.path.join(file));
            let own = Element::new(name, read("element-deps")?.as_ref(), read("element-provides")?.as_ref());
            let element = found.get_or_insert_with(|| Element::new(name, None, None));
            element.depends.extend(own.depends);
            element.provides.extend(own.provides);
        }
        Ok(found)
    }

    fn names(&self) -> Vec<String> {
        let found = self.path.iter().flat_map(|folder| flavours_in(folder));
        let own = stock::names().map(String::from);
        let mut names: Vec<String> = self.declared.keys().cloned().chain(found).chain(own).collect();
        names.sort();
        names.dedup();
        names
    }
}

impl Flavours<'_> {
    /// The text of the flavour, if it has one and that can be read.
    pub(super) fn definition(&self, name: &str) -> Option<Definition> {
        self.try_definition(name).ok().flatten()
    }

    fn try_definition(&self, name: &str) -> Result<Option<Definition>, Faults> {
        if let Some(declared) = self.declared.get(name) {
            return Ok(Some(declared.clone()));
        }
        match self.folder(name) {
            Some(folder) => match self.read(&folder.join(FILE))? {
                Some(source) => of_file(&source, name).map(Some),
                None => Ok(None),
            },
            None => stock::text(name).map(|source| of_file(&source, name)).transpose(),
        }
    }

    /// The folder of the flavour, if it has what an element has.
    pub(super) fn element_folder(&self, name: &str) -> Option<ElementFolder> {
        let path = self.folder(name).filter(|_| !self.declared.contains_key(name))?;
        let names = entries(&path);
        let is_element =
            element::is_element(names.iter().map(|(name, is_folder)| (name.as_str(), *is_folder)));
        is_element.then(|| ElementFolder { name: name.to_string(), path, network: false })
    }

    /// The first folder of that name on the search path that is a flavour.
    fn folder(&self, name: &str) -> Option<PathBuf> {
        self.path.iter().map(|folder| folder.join(name)).find(|path| is_flavour(path))
    }

    /// A file of a flavour, if it is there.
    pub(super) fn read(&self, path: &Path) -> Result<Option<Arc<Source>>, Faults> {
        let shown = self.folders.shown(path);
        let unreadable =
            |why: String| Faults::from(Fault::error("flavour/read", format!("cannot read `{shown}`: {why}")));
        let metadata = match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.map_err(|error| unreadable(reason(&error)))?,
        };
        if !metadata.is_file() || metadata.len() > LARGEST {
            return Err(unreadable("it is no small file".into()));
        }
        let bytes = std::fs::read(path).map_err(|error| unreadable(reason(&error)))?;
        self.files.borrow_mut().insert(path.canonicalize().unwrap_or_else(|_| path.to_path_buf()));
        Ok(Some(syntax::from_bytes(&shown, bytes)?))
    }

    /// What there is to tell of every flavour that can be found, by name; of one that is at fault, what is wrong.
    pub fn described(&self, faults: &mut Faults) -> Vec<Described> {
        let told = self.names().into_iter().filter_map(|name| faults.keep(self.describe(&name)).flatten());
        told.collect()
    }

    /// What there is to tell of one, if there is one.
    ///
    /// # Errors
    ///
    /// What is wrong with its texts.
    pub fn describe(&self, name: &str) -> Result<Option<Described>, Faults> {
        let Some(element) = self.element(name)? else { return Ok(None) };
        let definition = self.definition(name);
        let scope = System::unknown().scope(self.scope);
        let node =
            definition.as_ref().and_then(|found| found.checked(&Scope::new(), &scope, &mut Faults::new()));
        let readme = self.readme(name)?;
        let names = |list: Vec<Spanned<String>>| list.into_iter().map(|name| name.value).collect();
        let mut told = Described {
            name: name.to_string(),
            whence: self.whence(name),
            summary: readme.as_deref().and_then(|text| first_line(text, name)),
            readme,
            needs: names(element.depends),
            provides: names(element.provides),
            ..Described::default()
        };
        if let Some(node) = node {
            told.take(&node);
        }
        if let Some(folder) = self.element_folder(name) {
            self.describe_element(folder, &mut told);
        }
        told.hooks.sort_by_key(|(phase, _)| *phase);
        Ok(Some(told))
    }

    fn whence(&self, name: &str) -> Whence {
        if let Some(declared) = self.declared.get(name) {
            let place = declared.place();
            return Whence::Manifest(format!("{}:{}", place.source.name, place.line_column().0));
        }
        self.folder(name).map_or(Whence::Stock, |folder| Whence::Folder(self.folders.shown(&folder)))
    }

    fn readme(&self, name: &str) -> Result<Option<String>, Faults> {
        let Some(folder) = self.folder(name).filter(|_| !self.declared.contains_key(name)) else {
            return Ok(None);
        };
        let mut files = ["README.md", "README.rst", "README"].iter().map(|file| folder.join(file));
        let Some(file) = files.find(|path| path.is_file()) else { return Ok(None) };
        Ok(self.read(&file)?.map(|source| source.text.clone()))
    }

    /// What an element has beside what a `flavour.kdl` may say; it is as for Debian here.
    fn describe_element(&self, folder: ElementFolder, told: &mut Described) {
        let place = Place::new(&Source::new(folder.name.clone(), ""), 0..0);
        let system = System { distribution: "debian", ..System::unknown() };
        // What is wrong with it is told where it is used, for the system that it is used for.
        let mut ignored = Faults::new();
        let found = elements(&[folder], system, &place, &Scope::new(), self, &mut ignored);
        let wish =
            |wish: crate::deb::Wish| if wish.out { format!("!{}", wish.name.value) } else { wish.name.value };
        told.packages.extend(found.wishes.into_iter().map(wish));
        told.files.extend(found.trees.into_iter().map(|(_, _, to)| format!("/{to}")));
        told.hooks.extend(found.hooks.into_iter().map(|hook| (hook.phase, hook.name.value)));
    }
}

impl Described {
    /// Takes in what the flavour's text says.
    fn take(&mut self, node: &Node) {
        let text = |node: &Node, field: &str| node.text(field).map(|text| text.value);
        self.summary = text(node, "summary").or(self.summary.take());
        let settings = node.children("setting").filter_map(|setting| {
            Some((
                text(setting, "name")?,
                text(setting, "default"),
                text(setting, "docs").unwrap_or_default(),
            ))
        });
        self.settings = settings.collect();
        self.readme = self.readme.take().or(text(node, "docs"));
        for packages in node.children("packages") {
            self.packages
                .extend(packages.texts("list").into_iter().map(|list| format!("the list {}", list.value)));
            self.packages.extend(packages.free_children().filter_map(|child| text(child, "package")));
        }
        let files = node.children("files").flat_map(|files| &files.children);
        self.files.extend(files.filter_map(|child| text(child, "path")));
        for hooks in node.children("hooks") {
            let phase = hooks
                .text("phase")
                .and_then(|word| Phase::of_word(&word.value))
                .unwrap_or(Phase::PostInstall);
            let lists = hooks.texts("list").into_iter().map(|list| format!("the list {}", list.value));
            let own = hooks.children("hook").filter_map(|hook| text(hook, "name"));
            self.hooks.extend(lists.chain(own).map(|name| (phase, name)));
        }
    }
}

/// The first line of a text that says something: no heading, no name.
fn first_line(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.starts_with(char::is_alphabetic) && *line != name).map(String::from)
}

/// The one `flavour` of a `flavour.kdl`, which has the name of its folder.
fn of_file(source: &Arc<Source>, name: &str) -> Result<Definition, Faults> {
    let document = syntax::parse(source)?;
    let mut nodes = from_document(&document, &source.text).into_iter();
    let whole = Place::new(source, 0..source.text.find('\n').unwrap_or(source.text.len()));
    let wrong = |place: &Place| {
        Faults::from(
            Fault::error(
                "flavour/file",
                format!("a `{FILE}` declares one flavour, the one that its folder is called by"),
            )
            .at(place, format!("`flavour \"{name}\" {{ … }}` belongs here, and nothing else")),
        )
    };
    match (nodes.next(), nodes.next()) {
        (Some(node), None) if node.name == words::FLAVOUR.name => {
            let definition = Definition { source: Arc::clone(source), node };
            let mut faults = Faults::new();
            let checked =
                definition.checked(&Scope::new(), &System::unknown().scope(&Scope::new()), &mut faults);
            match checked.and_then(|node| node.text("name")) {
                _ if faults.has_errors() => Err(faults),
                Some(own) if own.value == name => Ok(definition),
                own => Err(wrong(&own.map_or(whole, |own| own.place))),
            }
        }
        _ => Err(wrong(&whole)),
    }
}

fn is_flavour(path: &Path) -> bool {
    path.join(FILE).is_file()
        || element::is_element(entries(path).iter().map(|(name, is_folder)| (name.as_str(), *is_folder)))
}

/// The names of the flavours in a folder of the search path.
fn flavours_in(folder: &Path) -> Vec<String> {
    let found =
        entries(folder).into_iter().filter(|(name, is_folder)| *is_folder && is_flavour(&folder.join(name)));
    found.map(|(name, _)| name).collect()
}

/// The names in a folder that are text, sorted, and whether each is a folder.
pub(super) fn entries(folder: &Path) -> Vec<(String, bool)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<(String, bool)> = entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path().is_dir())))
        .collect();
    names.sort();
    names
}
