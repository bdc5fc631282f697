//! From checked nodes to a manifest.

mod written;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use written::siblings;

use super::flavours::{self, Brought, Described, Elements, Flavours};
use super::hooks::{self, Looking};
use super::hypervisors;
use super::packages::{self, Lists};
use super::variables::Variables;
use super::{DEFAULT_EPOCH, Hypervisor, Image, Manifest, Said, SearchPath, Texts, Use, words};
use crate::bases::debian;
use crate::deb::Wish;
use crate::fault::{Fault, Faults, Place, Source};
use crate::hooks::element::Shelf;
use crate::lang::raw::RawNode;
use crate::lang::{Node, Scope, Spanned, check};
use crate::layer::EntryPath;
use crate::outputs::disk::Machine;
use crate::steps::files;
use crate::steps::folder::FolderOverlay;
use crate::steps::hook::Hook;
use crate::steps::overlay::{self, Overlay};
use crate::wording;
use crate::work::Step;
use crate::{bases, outputs};

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

    fn image(&mut self, node: &Node) -> Option<Image> {
        let name = node.text("name")?;
        let own = self.flat(node);
        let base = self.base(&own);
        let debian = self.debian(&own);
        let (brought, elements) = self.brought(&own, debian.as_ref(), &[]);
        let children = with(&brought, &own);
        let hooks = self.hooks(&children, &brought, elements.hooks, &hooks::Below::default());
        let asked = self.lists.asked(&children, self.faults).and(elements.wishes);
        let based = self.has_packages(node, &children);
        if !based {
            self.no_packages(&children, asked.place.as_ref());
        }
        let recommends = asked.recommends.unwrap_or(false);
        let under = Under {
            packages: &asked.wishes,
            recommends,
            based,
            steps: &[],
            hooks: hooks::Below::of(&hooks, &children),
            flavours: &brought.names,
            debian: debian.as_ref(),
        };
        let steps = self.steps(&children, &name.value);
        let version = node.text("version").map(|version| version.value);
        let arch = debian.as_ref().map_or(crate::deb::own_arch(), |spec| spec.arch.as_str());
        let folders = &self.said.folders;
        let machine = Machine::of(&children, arch, &name.place, folders, self.faults);
        let siblings = siblings(&children, &outputs::title(&name.value, None));
        let target = outputs::Target {
            image: &name.value,
            version: version.as_deref(),
            hypervisor: None,
            machine: &machine,
            siblings: &siblings,
        };
        let outputs = self.outputs(&children, &target);
        self.boots(&machine, &siblings);
        let hypervisors = self.hypervisors(&children, &target, &Under { steps: &steps, ..under });
        let any_hypervisor = children.iter().any(|child| child.word.name == words::HYPERVISOR.name);
        let any_output = children.iter().any(|child| child.word.name == outputs::WORD.name);
        if !any_hypervisor && !any_output && node.understood {
            self.no_output(&format!("the image `{}`", name.value), None, &node.place);
        }
        let (packages, early) = (asked.wishes, early(elements.trees, &name.place));
        Some(Image {
            name,
            version,
            debian,
            packages,
            recommends,
            base,
            early,
            steps,
            hooks,
            machine,
            outputs,
            hypervisors,
        })
    }

    /// Each has a name of its own.
    fn hypervisors(
        &mut self,
        children: &[&Node],
        image: &outputs::Target<'_>,
        under: &Under<'_>,
    ) -> Vec<Hypervisor> {
        let mut hypervisors: Vec<Hypervisor> = Vec::new();
        for child in children.iter().filter(|child| child.word.name == words::HYPERVISOR.name) {
            let Some(hypervisor) = self.hypervisor(child, image, under) else { continue };
            let first = hypervisors.iter().find(|other| other.name.value == hypervisor.name.value);
            if let Some(first) = first.map(|first| first.name.place.clone()) {
                let message =
                    format!("the hypervisor `{}` stands twice in this image", hypervisor.name.value);
                self.twice("hypervisor/twice", message, &hypervisor.name.place, &first);
                continue;
            }
            hypervisors.push(hypervisor);
        }
        hypervisors
    }

    fn hypervisor(
        &mut self,
        node: &Node,
        image: &outputs::Target<'_>,
        under: &Under<'_>,
    ) -> Option<Hypervisor> {
        let name = node.text("name")?;
        let own = self.flat(node);
        let (brought, elements) = self.brought(&own, under.debian, under.flavours);
        let mut children = with(&brought, &own);
        let kind = self.kind(node, &name.value);
        let usual = kind.map(|kind| kind.brought(&children, image.machine, &name.place)).unwrap_or_default();
        children.extend(&usual);
        let asked = self.lists.asked(&children, self.faults).and(elements.wishes);
        if !under.based {
            self.no_packages(&children, asked.place.as_ref());
        }
        let packages = packages::merge(under.packages, asked.wishes, self.faults);
        let recommends = asked.recommends.unwrap_or(under.recommends);
        let hooks = self.hooks(&children, &brought, elements.hooks, &under.hooks);
        let early = early(elements.trees, &name.place);
        let mut steps = self.steps(&children, &format!("{}:{}", image.image, name.value));
        steps.retain(|step| self.is_new(step, under.steps));
        let machine = image.machine.with(&children, &name.place, &self.said.folders, self.faults);
        let hypervisor = Some(name.value.as_str());
        let siblings = siblings(&children, &outputs::title(image.image, hypervisor));
        let target = outputs::Target { hypervisor, machine: &machine, siblings: &siblings, ..*image };
        let outputs = self.outputs(&children, &target);
        self.boots(&machine, &siblings);
        let any_output = children.iter().any(|child| child.word.name == outputs::WORD.name);
        if !any_output && node.understood {
            let near = wording::nearest(&name.value, words::HYPERVISOR_KINDS.iter().copied());
            self.no_output(&format!("the hypervisor `{}`", name.value), near, &node.place);
        }
        Some(Hypervisor { name, packages, recommends, early, steps, hooks, machine, outputs })
    }

    /// The kind of a hypervisor: the one that it states, or that of its name.
    fn kind(&mut self, node: &Node, name: &str) -> Option<&'static hypervisors::Kind> {
        match node.text("kind") {
            Some(kind) => hypervisors::find(&kind.value),
            None => hypervisors::find(name),
        }
    }

    /// Whether packages can be added to the image of these children; also where a misspelt base may be meant to be one.
    fn has_packages(&self, node: &Node, children: &[&Node]) -> bool {
        let base = children.iter().find(|child| child.word.name == bases::WORD.name);
        base.map_or(!node.understood, |base| base.kind.is_none() || bases::is_of_packages(base))
    }

    fn no_packages(&mut self, children: &[&Node], asked: Option<&Place>) {
        let Some(place) = asked else { return };
        let mut fault = Fault::error("packages/base", "this image has no base that packages can be added to")
            .at(place, "these packages")
            .help("give it one: `base \"debian\" suite=\"trixie\"`, or `base \"ubuntu\"`");
        if let Some(base) = children.iter().find(|child| child.word.name == bases::WORD.name) {
            fault = fault.at(&base.place, "it has this one");
        }
        self.faults.push(fault);
    }

    fn debian(&mut self, children: &[&Node]) -> Option<debian::Spec> {
        let node = children.iter().find(|child| child.word.name == bases::WORD.name)?;
        bases::packages(node, &self.said.folders, &self.said.distributions, self.faults)
    }

    /// The children of a node, with those of every `when` that holds in its place.
    fn flat<'n>(&mut self, node: &'n Node) -> Vec<&'n Node> {
        let mut flat = Vec::new();
        for child in &node.children {
            if child.word.name != words::WHEN.name {
                flat.push(child);
            } else if self.holds(child) {
                flat.extend(self.flat(child));
            }
        }
        flat
    }

    fn holds(&mut self, node: &Node) -> bool {
        let mut all = true;
        let mut any = false;
        for (name, value) in node.free() {
            any = true;
            all &= self.faults.keep(self.variables.holds(name, &value)).unwrap_or(false);
        }
        if !any && node.whole {
            self.faults.push(
                Fault::error("when/empty", "`when` names no variable")
                    .at(&node.place, "a condition belongs here")
                    .help("write `when NAME=\"value\" { … }`"),
            );
        }
        all && any
    }

    /// What the flavours that are named among `children` come to.
    fn brought(
        &mut self,
        children: &[&Node],
        debian: Option<&debian::Spec>,
        below: &[String],
    ) -> (Brought, Elements) {
        let distribution = debian.map(|spec| spec.distribution.as_str());
        let system = flavours::System {
            distribution: distribution.unwrap_or_default(),
            release: debian.map(|spec| spec.suite.value.as_str()).unwrap_or_default(),
            arch: debian.map(|spec| spec.arch.as_str()).unwrap_or(crate::deb::own_arch()),
        };
        let brought = self.flavours.brought(children, system, below, self.faults);
        let named = children.iter().find(|node| node.word.name == words::FLAVOURS.name);
        let Some(place) = named.map(|node| &node.place) else { return (brought, Elements::default()) };
        let elements = flavours::elements(
            &brought.elements,
            system,
            place,
            &brought.settings,
            &self.flavours,
            self.faults,
        );
        (brought, elements)
    }

    /// The hooks of elements, then those that nodes name or state.
    fn hooks(
        &mut self,
        children: &[&Node],
        brought: &Brought,
        of_elements: Vec<Hook>,
        below: &hooks::Below<'_>,
    ) -> Vec<Hook> {
        let looking = looking(self.said, self.variables, &self.hook_path);
        let owner = |node: &Node| brought.owner(node).map(String::from);
        self.hook_lists.used((children, of_elements), &owner, below, looking, self.faults)
    }

    fn base(&mut self, children: &[&Node]) -> Option<Use> {
        let stated: Vec<&&Node> =
            children.iter().filter(|child| child.word.name == bases::WORD.name).collect();
        if let [first, second, ..] = stated.as_slice() {
            self.twice("base/twice", "this image has two bases", &second.place, &first.place);
        }
        let node = stated.first()?;
        let step = bases::decode(node, &self.said.folders)?;
        Some(Use { step, place: node.place.clone() })
    }

    fn steps(&mut self, children: &[&Node], user: &str) -> Vec<Use> {
        let mut steps: Vec<Use> = Vec::new();
        let mut blocks = 0;
        for child in children {
            if child.word.name == words::OVERLAYS.name {
                for name in child.texts("name") {
                    let Some(step) = self.used(&name) else { continue };
                    let used = Use { step, place: name.place };
                    if self.is_new(&used, &steps) {
                        steps.push(used);
                    }
                }
            } else if child.word.name == files::WORD.name {
                blocks += 1;
                let step = files::decode(child, &self.said.folders, user, blocks, self.faults);
                let step: Arc<dyn Step> = Arc::new(step);
                if let Some(first) = steps.iter().find(|used| used.step.id() == step.id()) {
                    let (message, first) = (format!("`{}` stands twice", step.id()), first.place.clone());
                    self.twice("files/twice", message, &child.place, &first);
                    continue;
                }
                steps.push(Use { step, place: child.place.clone() });
            }
        }
        steps
    }

    /// Whether the step is not in the stack yet: an overlay that is there already would change nothing but order.
    fn is_new(&mut self, used: &Use, below: &[Use]) -> bool {
        let Some(first) = below.iter().find(|other| other.step.id() == used.step.id()) else { return true };
        self.faults.push(
            Fault::warning("overlays/twice", format!("`{}` is in this image already", used.step.name()))
                .at(&used.place, "left out")
                .at(&first.place, "it is used here")
                .help("remove one of them"),
        );
        false
    }
}

/// What a hypervisor stands on.
#[derive(Clone)]
struct Under<'a> {
    packages: &'a [Wish],
    recommends: bool,
    /// Whether packages can be added.
    based: bool,
    steps: &'a [Use],
    /// The image's hooks.
    hooks: hooks::Below<'a>,
    /// The names of the flavours below.
    flavours: &'a [String],
    debian: Option<&'a debian::Spec>,
}

/// The nodes of flavours, then an image's own.
fn with<'n>(brought: &'n Brought, own: &[&'n Node]) -> Vec<&'n Node> {
    brought.groups.iter().flat_map(|(_, nodes)| nodes).chain(own.iter().copied()).collect()
}

/// The trees of files that flavours bring.
fn early(trees: Vec<(String, PathBuf, EntryPath)>, place: &Place) -> Vec<Use> {
    let step = |(name, path, to): (String, PathBuf, EntryPath)| {
        let mut overlay = Overlay::named(Spanned::new(name, place), &Scope::new());
        overlay.to = to;
        Use { step: Arc::new(FolderOverlay { overlay, path }), place: place.clone() }
    };
    trees.into_iter().map(step).collect()
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
