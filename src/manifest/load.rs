//! Reading the manifest's files and those that they include.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::words;
use crate::fault::{Fault, Faults, Place, Source, reason};
use crate::key::Digest;
use crate::lang::raw::{RawNode, RawValue, from_document};
use crate::lang::{Child, Scope, check, guard, syntax};
use crate::store::Store;
use crate::wording;
use crate::work::Folders;

/// The manifest's text and that of what it includes, parsed.
#[derive(Debug, Default)]
pub struct Texts {
    /// The project's folder, absolute.
    pub project: PathBuf,
    /// Runs of nodes, each of one file, in the order in which they count.
    pub segments: Vec<Segment>,
    /// What is wrong with the texts.
    pub faults: Faults,
    /// Every file that was read, the first one first, absolute.
    pub files: Vec<PathBuf>,
}

/// A run of nodes of one file.
#[derive(Debug)]
pub struct Segment {
    /// The file.
    pub source: Arc<Source>,
    /// Nodes at its top.
    pub nodes: Vec<RawNode>,
}

impl Texts {
    /// Reads the manifest at `path`, which is relative to where the caller stands. `store` remembers parsed texts.
    pub fn load(path: &Path, folders: &Folders, store: Option<&Store>) -> Texts {
        let whole = folders.here.join(path);
        let project = whole.parent().map(Path::to_path_buf).unwrap_or_default();
        let mut loader =
            Loader { folders, store, texts: Texts { project, ..Texts::default() }, open: Vec::new() };
        loader.file(path, None);
        loader.texts
    }

    /// A manifest that is only a text: for examples.
    pub fn of_source(source: &Arc<Source>, folders: &Folders) -> Texts {
        let mut loader = Loader { folders, store: None, texts: Texts::default(), open: Vec::new() };
        loader.texts.project = folders.here.clone();
        loader.source(source);
        loader.texts
    }
}

struct Loader<'a> {
    folders: &'a Folders,
    store: Option<&'a Store>,
    texts: Texts,
    /// The files that are being read, outermost first, with where the next one is included.
    open: Vec<(PathBuf, Option<Place>)>,
}

impl Loader<'_> {
    fn file(&mut self, path: &Path, asked: Option<&Place>) {
        let whole = self.folders.here.join(path);
        let real = whole.canonicalize().unwrap_or(whole);
        if let Some(at) = self.open.iter().position(|(open, _)| *open == real) {
            let fault = self.cycle(at, asked);
            return self.texts.faults.push(fault);
        }
        if self.texts.files.contains(&real) {
            return;
        }
        match read(path, &real) {
            Ok(source) => {
                self.texts.files.push(real.clone());
                self.open.push((real, asked.cloned()));
                self.source(&source);
                self.open.pop();
            }
            Err(faults) => {
                let faults = faults.into_iter().map(|fault| match asked {
                    Some(place) if fault.code == "manifest/read" => fault
                        .at(place, "included here")
                        .help("a path to include starts at the folder of the file that it stands in"),
                    Some(place) => fault.at(place, "included here"),
                    None => fault,
                });
                self.texts.faults.extend(faults);
            }
        }
    }

    fn source(&mut self, source: &Arc<Source>) {
        let Some(nodes) = self.parsed(source) else { return };
        let mut run = Vec::new();
        for node in nodes {
            if node.name != words::INCLUDE.name {
                run.push(node);
                continue;
            }
            self.segment(source, std::mem::take(&mut run));
            self.include(source, node);
        }
        self.segment(source, run);
    }

    fn segment(&mut self, source: &Arc<Source>, nodes: Vec<RawNode>) {
        if !nodes.is_empty() {
            self.texts.segments.push(Segment { source: Arc::clone(source), nodes });
        }
    }

    fn include(&mut self, source: &Arc<Source>, node: RawNode) {
        if let Some(place) = variable_in(&node, source) {
            self.texts.faults.push(
                Fault::error("include/variable", "a path to include cannot have variables")
                    .at(&place, "this path")
                    .help("variables are declared in the files that are included, so they come first"),
            );
            return;
        }
        let words = [Child::many(&words::INCLUDE)];
        let nodes = check(&[node], source, &words, &Scope::new(), &mut self.texts.faults);
        let Some(stated) = nodes.first().and_then(|node| node.text("path")) else { return };
        let folder = Path::new(&source.name).parent().unwrap_or(Path::new(""));
        let path = match (stated.value.strip_prefix("~/"), &self.folders.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => folder.join(&stated.value),
        };
        self.file(&path, Some(&stated.place));
    }

    /// Files that include each other in a circle: every edge of it is shown.
    fn cycle(&self, first: usize, last: Option<&Place>) -> Fault {
        let names: Vec<String> = self.open[first..].iter().map(|(path, _)| shown(path)).collect();
        let mut fault =
            Fault::error("include/cycle", format!("{} include each other in a circle", wording::all(&names)));
        if names.len() == 1 {
            fault.message = format!("`{}` includes itself", names[0]);
        }
        let edges = self.open[first + 1..].iter().filter_map(|(_, place)| place.as_ref()).chain(last);
        for (place, to) in edges.zip(names.iter().cycle().skip(1)) {
            fault = fault.at(place, format!("`{to}` is included here"));
        }
        fault.help("move what they share into a third file, and include that")
    }

    fn parsed(&mut self, source: &Arc<Source>) -> Option<Vec<RawNode>> {
        // A parser's version is part of what is remembered: another one may see another tree.
        let key = Digest::of(format!("parsed 1 {}\n{}", env!("CARGO_PKG_VERSION"), source.text));
        let worthwhile = source.text.len() > 8192;
        if let Some(nodes) = self.store.filter(|_| worthwhile).and_then(|store| store.parsed(key)) {
            return Some(nodes);
        }
        let nodes = match syntax::parse(source) {
            Ok(document) => from_document(&document, &source.text),
            Err(faults) => {
                self.texts.faults.extend(faults);
                return None;
            }
        };
        if let Some(store) = self.store.filter(|store| worthwhile && store.writable()) {
            // Only costs parsing again if it fails.
            let _ = store.keep_parsed(key, &nodes);
        }
        Some(nodes)
    }
}

/// Where a node that includes a file names a variable.
fn variable_in(node: &RawNode, source: &Arc<Source>) -> Option<Place> {
    let names_one = |value: &RawValue| matches!(value, RawValue::Text(text) if text.contains("${"));
    let entry = node.entries.iter().find(|entry| names_one(&entry.value))?;
    Some(Place::new(source, entry.span.0 as usize..entry.span.1 as usize))
}

fn shown(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn read(path: &Path, real: &Path) -> Result<Arc<Source>, Faults> {
    let failed = |error: std::io::Error| {
        let fault =
            Fault::error("manifest/read", format!("cannot read `{}`: {}", path.display(), reason(&error)));
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                fault.help("name another file with `-f FILE` or another folder with `-C DIR`; `imgbuild init` begins a project here")
            }
            _ => fault,
        }
    };
    let metadata = fs::metadata(real).map_err(failed)?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a folder" } else { "not a file" };
        let fault = Fault::error("manifest/read", format!("`{}` is {what}", path.display()));
        return Err(fault
            .help("name the manifest itself; for a folder that holds one there is `-C DIR`")
            .into());
    }
    let mut bytes = Vec::new();
    // A file that is too large is refused by its first bytes; the rest is not read.
    let most = guard::LARGEST as u64 + 1;
    let file = fs::File::open(real).map_err(failed)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, most), &mut bytes).map_err(failed)?;
    syntax::from_bytes(&path.display().to_string(), bytes).map_err(Faults::from)
}
