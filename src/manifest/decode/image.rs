//! An image, and the hypervisors that it is written for: what they are made of, and what they are written as.

use std::path::PathBuf;
use std::sync::Arc;

use super::written::siblings;
use super::{Decoder, looking};
use crate::bases::{self, debian};
use crate::deb::Wish;
use crate::fault::{Fault, Place};
use crate::lang::{Node, Scope, Spanned};
use crate::layer::EntryPath;
use crate::manifest::flavours::{self, Brought, Elements};
use crate::manifest::{Hypervisor, Image, Use, hooks, hypervisors, packages, words};
use crate::outputs;
use crate::outputs::disk::Machine;
use crate::steps::files;
use crate::steps::folder::FolderOverlay;
use crate::steps::hook::Hook;
use crate::steps::overlay::Overlay;
use crate::wording;
use crate::work::{Output, Step};

impl Decoder<'_> {
    /// The image of a node; none for one that is not whole.
    pub(super) fn image(&mut self, node: &Node) -> Option<Image> {
        let name = node.text("name")?;
        let own = self.flat(node);
        let (base, debian) = (self.base(&own), self.debian(&own));
        let (brought, elements) = self.brought(&own, debian.as_ref(), &[]);
        let children = with(&brought, &own);
        let hooks = self.hooks(&children, &brought, elements.hooks, &hooks::Below::default());
        let asked = self.lists.asked(&children, self.faults).and(elements.wishes);
        let based = self.has_packages(node, &children);
        if !based {
            self.no_packages(&children, asked.place.as_ref());
        }
        let (packages, recommends) = (asked.wishes, asked.recommends.unwrap_or(false));
        let early = early(elements.trees, &name.place);
        let steps = self.steps(&children, &name.value);
        let version = node.text("version").map(|version| version.value);
        let arch = debian.as_ref().map_or(crate::deb::own_arch(), |spec| spec.arch.as_str());
        let machine = Machine::of(&children, arch, &name.place, &self.said.folders, self.faults);
        let under = Under {
            packages: &packages,
            recommends,
            based,
            steps: &steps,
            hooks: hooks::Below::of(&hooks, &children),
            flavours: &brought.names,
            debian: debian.as_ref(),
        };
        let (outputs, hypervisors) =
            self.written(node, &children, (&name.value, version.as_deref(), &machine), &under);
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

    /// What an image with that name, version and machine is written as: by itself, and for each hypervisor.
    fn written(
        &mut self,
        node: &Node,
        children: &[&Node],
        (image, version, machine): (&str, Option<&str>, &Machine),
        under: &Under<'_>,
    ) -> (Vec<Arc<dyn Output>>, Vec<Hypervisor>) {
        let siblings = &siblings(children, &outputs::title(image, None), &self.said.folders);
        let target = outputs::Target { image, version, hypervisor: None, machine, siblings };
        let outputs = self.outputs(children, &target);
        let hypervisors = self.hypervisors(children, &target, under);
        let writes = |child: &&Node| [outputs::WORD.name, words::HYPERVISOR.name].contains(&child.word.name);
        if !children.iter().any(writes) && node.understood {
            self.no_output(&format!("the image `{image}`"), None, &node.place);
        }
        (outputs, hypervisors)
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
        let siblings = siblings(&children, &outputs::title(image.image, hypervisor), &self.said.folders);
        let target = outputs::Target { hypervisor, machine: &machine, siblings: &siblings, ..*image };
        let outputs = self.outputs(&children, &target);
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
