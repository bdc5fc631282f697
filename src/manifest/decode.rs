//! From checked nodes to a manifest.

mod image;
mod written;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::flavours::{Described, Flavours};
use super::hooks::{self, Looking};
use super::packages::Lists;
use super::variables::Variables;
use super::{DEFAULT_EPOCH, Image, Manifest, Said, SearchPath, Texts, words};
use crate::fault::{Fault, Faults, Place, Source};
use crate::hooks::element::Shelf;
use crate::lang::raw::RawNode;
use crate::lang::{Node, Spanned, check};
use crate::steps::overlay::{self, Overlay};
use crate::wording;
use crate::work::Step;

/// The manifest, as far as there is one; `faults` tells what is wrong.
pub(super) fn decode(
    texts: &Texts,
    variables: Variables,
    said: &Said,
    faults: &mut Faults,
) -> Option<Manifest> {
    let mut nodes = Vec::new();
    for segment in &texts.segments {
        // Variables have been read; flavours are read where they are used, with what is set there.
        let aside = [words::VARIABLE.name, words::FLAVOUR.name];
        let others: Vec<_> =
            segment.nodes.iter().filter(|raw| !aside.contains(&raw.name.as_str())).cloned().collect();
        nodes.extend(check(&others, &segment.source, words::TOP, &variables.values, faults));
    }
    let mut decoder = Decoder::new(&variables, said, faults);
    decoder.overlay_path = decoder.search(&nodes, texts, "overlays", &said.overlays);
    decoder.hook_path = decoder.search(&nodes, texts, "hooks", &said.hooks);
    let overlays = decoder.overlays(&nodes);
    decoder.lists = Lists::of(named(&nodes, &words::PACKAGES_LIST), &said.folders, decoder.faults);
    let declared = named(&nodes, &words::HOOK_LIST);
    let path = decoder.hook_path.clone();
    let looking = looking(said, &variables, &path);
    decoder.hook_lists = hooks::Lists::of(declared, looking, decoder.faults);
    decoder.find_flavours(&nodes, texts);
    let images = decoder.images(&nodes);
    let tools = decoder.tools(&images);
    let epoch = decoder.epoch(&nodes);
    let overlay_path = std::mem::take(&mut decoder.overlay_path);
    let mut files = texts.files.clone();
    files.append(&mut decoder.lists.files);
    files.append(&mut decoder.hook_lists.files);
    files.extend(decoder.flavours.files());
    Some(Manifest {
        project: texts.project.clone(),
        files,
        epoch,
        overlay_path,
        overlays,
        images,
        tools,
        host_tools: said.host_tools,
        variables: variables.values,
    })
}

struct Decoder<'a> {
    variables: &'a Variables,
    said: &'a Said,
    overlay_path: Vec<PathBuf>,
    hook_path: Vec<PathBuf>,
    declared: BTreeMap<String, Overlay>,
    /// Overlays by name; none for those that are at fault.
    resolved: BTreeMap<String, Option<Arc<dyn Step>>>,
    lists: Lists,
    hook_lists: hooks::Lists,
    flavours: Flavours<'a>,
    faults: &'a mut Faults,
}

/// What there is to tell of flavours: of that name, or of all. Nothing else of the texts need be right.
pub(super) fn flavours(
    texts: &Texts,
    variables: &Variables,
    said: &Said,
    name: Option<&str>,
    faults: &mut Faults,
) -> Vec<Described> {
    let mut nodes = Vec::new();
    for segment in &texts.segments {
        let search: Vec<_> =
            segment.nodes.iter().filter(|raw| raw.name == words::SEARCH.name).cloned().collect();
        nodes.extend(check(&search, &segment.source, words::TOP, &variables.values, faults));
    }
    let mut decoder = Decoder::new(variables, said, faults);
    decoder.find_flavours(&nodes, texts);
    let Some(name) = name else { return decoder.flavours.described(decoder.faults) };
    match decoder.flavours.describe(name) {
        Ok(Some(described)) => return vec![described],
        Ok(None) => {
            let names = decoder.flavours.names();
            let message = format!("no flavour is called `{}`", wording::printable(name));
            let near = wording::suggest(name, names.iter().map(String::as_str));
            decoder.faults.push(Fault::error("flavour/unknown", message).maybe_help(near));
        }
        Err(wrong) => decoder.faults.extend(wrong),
    }
    Vec::new()
}

impl<'a> Decoder<'a> {
    /// One that knows nothing of the texts yet.
    fn new(variables: &'a Variables, said: &'a Said, faults: &'a mut Faults) -> Decoder<'a> {
        Decoder {
            variables,
            said,
            overlay_path: Vec::new(),
            hook_path: Vec::new(),
            declared: BTreeMap::new(),
            resolved: BTreeMap::new(),
            lists: Lists::default(),
            hook_lists: hooks::Lists::default(),
            flavours: Flavours::none(&said.folders, &variables.values),
            faults,
        }
    }

    fn find_flavours(&mut self, nodes: &[Node], texts: &Texts) {
        let path = self.search(nodes, texts, "flavours", &self.said.flavours);
        let (said, variables) = (self.said, self.variables);
        self.flavours =
            Flavours::new(flavours_in(texts), path, &said.folders, &variables.values, self.faults);
    }
}

impl Decoder<'_> {
    fn epoch(&mut self, nodes: &[Node]) -> i64 {
        let stated: Vec<&Node> = named(nodes, &words::EPOCH).collect();
        if let [first, second, ..] = stated.as_slice() {
            self.twice("epoch/twice", "the epoch is stated twice", &second.place, &first.place);
        }
        let stated = stated.first().and_then(|node| node.time("time"));
        self.said.epoch.or(stated).unwrap_or(DEFAULT_EPOCH)
    }

    fn twice(&mut self, code: &'static str, message: impl Into<String>, again: &Place, first: &Place) {
        self.faults.push(Fault::error(code, message).at(again, "again").at(first, "first here"));
    }

    /// The caller's folders of `things`, the manifest's, then those of older tools.
    fn search(&mut self, nodes: &[Node], texts: &Texts, things: &str, around: &SearchPath) -> Vec<PathBuf> {
        let mut path = around.before.clone();
        let stated: Vec<Spanned<String>> = named(nodes, &words::SEARCH)
            .flat_map(|node| node.children(things))
            .flat_map(|node| node.texts("folder"))
            .collect();
        for folder in &stated {
            let whole = self.said.folders.path(folder);
            self.look_at_search_folder(folder, &whole);
            path.push(whole);
        }
        if stated.is_empty() {
            path.push(texts.project.join(things));
        }
        path.extend(around.behind.iter().cloned());
        path.retain(|folder| folder.is_dir());
        path
    }

    fn look_at_search_folder(&mut self, stated: &Spanned<String>, whole: &std::path::Path) {
        if whole.join("tar").is_file() {
            let parent =
                stated.value.trim_end_matches('/').rsplit_once('/').map_or(".", |(parent, _)| parent);
            self.faults.push(
                Fault::warning("search/overlay", format!("`{}` is itself an overlay", stated.value))
                    .at(&stated.place, "its folders are looked at as overlays")
                    .help(format!("did you mean its parent, `{parent}`?")),
            );
        } else if !whole.is_dir() && !stated.value.starts_with("~/") {
            self.faults.push(
                Fault::warning("search/missing", format!("there is no folder `{}`", stated.value))
                    .at(&stated.place, "nothing is found here")
                    .help("make it, or remove it from the search path"),
            );
        }
    }

    fn overlays(&mut self, nodes: &[Node]) -> Vec<Arc<dyn Step>> {
        let mut order = Vec::new();
        for node in named(nodes, &overlay::WORD) {
            let decoded = overlay::decode(node, &self.said.folders, &self.variables.values, self.faults);
            let Some(overlay) = decoded else { continue };
            let name = overlay.name.clone();
            if let Some(first) = self.declared.get(&name.value).map(|first| first.name.place.clone()) {
                let message = format!("the overlay `{}` is declared twice", name.value);
                self.twice("overlay/twice", message, &name.place, &first);
                continue;
            }
            order.push(name.value.clone());
            self.declared.insert(name.value, overlay);
        }
        order.iter().filter_map(|name| self.declared_overlay(name)).collect()
    }

    fn declared_overlay(&mut self, name: &str) -> Option<Arc<dyn Step>> {
        let overlay = self.declared.get(name)?.clone();
        self.resolve(&overlay)
    }

    fn resolve(&mut self, overlay: &Overlay) -> Option<Arc<dyn Step>> {
        if let Some(known) = self.resolved.get(&overlay.name.value) {
            return known.clone();
        }
        let resolved = self.faults.keep(overlay.resolve(&self.said.folders, &self.overlay_path));
        self.resolved.insert(overlay.name.value.clone(), resolved.clone());
        resolved
    }

    /// The overlay that is used by `name`; what is not declared is looked for on the search path.
    fn used(&mut self, name: &Spanned<String>) -> Option<Arc<dyn Step>> {
        if let Some(known) = self.resolved.get(&name.value) {
            return known.clone();
        }
        let overlay = Overlay::named(name.clone(), &self.variables.values);
        let resolved = overlay.resolve(&self.said.folders, &self.overlay_path).map_err(|mut fault| {
            let declared = wording::nearest(&name.value, self.declared.keys().map(String::as_str));
            if let Some(near) = declared {
                fault.help = Some(format!("did you mean `{near}`?"));
            }
            fault
        });
        let resolved = self.faults.keep(resolved);
        self.resolved.insert(name.value.clone(), resolved.clone());
        resolved
    }

    fn images(&mut self, nodes: &[Node]) -> Vec<Image> {
        let mut images: Vec<Image> = Vec::new();
        for node in named(nodes, &words::IMAGE) {
            let Some(image) = self.image(node) else { continue };
            if let Some(first) = images.iter().find(|other| other.name.value == image.name.value) {
                let (message, first) =
                    (format!("the image `{}` is declared twice", image.name.value), first.name.place.clone());
                self.twice("image/twice", message, &image.name.place, &first);
                continue;
            }
            images.push(image);
        }
        if images.is_empty() && !self.faults.has_errors() {
            self.faults.push(
                Fault::error("image/none", "the manifest declares no image")
                    .help("add one: `image \"NAME\" { overlays \"…\"; output \"tar\" }`"),
            );
        }
        images
    }
}

/// The flavours that texts declare.
fn flavours_in(texts: &Texts) -> impl Iterator<Item = (Arc<Source>, RawNode)> {
    texts.segments.iter().flat_map(|segment| {
        let declared = segment.nodes.iter().filter(|raw| raw.name == words::FLAVOUR.name);
        declared.map(|raw| (Arc::clone(&segment.source), raw.clone()))
    })
}

fn looking<'a>(said: &'a Said, variables: &'a Variables, path: &'a [PathBuf]) -> Looking<'a> {
    Looking { folders: &said.folders, path, scope: &variables.values, environment: &said.environment }
}

fn named<'n>(nodes: &'n [Node], word: &'static crate::lang::Word) -> impl Iterator<Item = &'n Node> {
    nodes.iter().filter(|node| node.word.name == word.name)
}
