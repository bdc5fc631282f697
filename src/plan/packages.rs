//! The steps of a set of packages: each package a layer, and what configuring them changes another.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bases::debian::Spec;
use crate::lock::{base_id, base_request, image_id, tools_id};
use crate::manifest::ToolSet;
use crate::resolve::{Resolved, Set};
use crate::steps::deb::DebStep;
use crate::steps::initramfs::Initramfs;
use crate::steps::packages::{Files, Packages};
use crate::steps::skeleton::{self, Skeleton};
use crate::steps::tools::Tools;
use crate::work::Step;

/// Makes steps of sets, and sees to it that packages that are not the same have not the same id.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// The packages of each id, by what is in their files.
    ids: BTreeMap<String, Vec<crate::key::Digest>>,
}

impl Steps {
    /// The steps of a base, lowest first.
    pub fn of_base(&mut self, resolved: &Resolved, spec: &Spec) -> Vec<Arc<dyn Step>> {
        base_set(resolved, spec).map(|base| self.base(base, spec)).unwrap_or_default()
    }

    /// The steps of an image's packages, on top of its base.
    pub fn of_image(&mut self, resolved: &Resolved, spec: &Spec, image: &str) -> Vec<Arc<dyn Step>> {
        match (base_set(resolved, spec), resolved.sets.get(&image_id(image, None))) {
            (Some(base), Some(set)) => self.packages(set, &[base], image),
            _ => Vec::new(),
        }
    }

    /// The steps of a hypervisor's packages, on top of its image's.
    pub fn of_hypervisor(
        &mut self,
        resolved: &Resolved,
        spec: &Spec,
        image: &str,
        hypervisor: &str,
    ) -> Vec<Arc<dyn Step>> {
        let Some(set) = resolved.sets.get(&image_id(image, Some(hypervisor))) else { return Vec::new() };
        let below = [base_set(resolved, spec), resolved.sets.get(&image_id(image, None))];
        let below: Vec<&Arc<Set>> = below.into_iter().flatten().collect();
        self.packages(set, &below, &format!("{image}:{hypervisor}"))
    }

    /// The steps of a package that outputs are written with; the last one is the tools'.
    pub fn of_tools(&mut self, resolved: &Resolved, tools: &ToolSet) -> Vec<Arc<dyn Step>> {
        let set = resolved.sets.get(&tools_id(tools.name()));
        let (Some(base), Some(set)) = (base_set(resolved, &tools.base), set) else { return Vec::new() };
        let mut debs = self.debs(base);
        // The links of the merged `/usr` come before what leads through them.
        debs.sort_by_key(|deb| deb.deb.name != skeleton::BELOW);
        debs.extend(self.debs(set));
        let step = Tools {
            name: tools.name().to_string(),
            place: tools.base.place.clone(),
            debs: debs.iter().map(|deb| deb.id.clone()).collect(),
        };
        let mut steps = shared(debs);
        steps.push(Arc::new(step));
        steps
    }

    fn base(&mut self, set: &Arc<Set>, spec: &Spec) -> Vec<Arc<dyn Step>> {
        let mut debs = self.debs(set);
        // The folders that base-files has come before all others, so that their modes are its own.
        debs.sort_by_key(|deb| deb.deb.name != skeleton::BELOW);
        let (name, place) = (set.name.clone(), set.place.clone());
        let all = Packages::base(
            (name.clone(), set.arch.clone()),
            place.clone(),
            files(&debs),
            automatic(set),
            spec.sources_file(),
        );
        let mut steps = shared(debs);
        let root = Skeleton { name, arch: set.arch.clone(), place };
        steps.insert(steps.len().min(1), Arc::new(root));
        steps.push(Arc::new(all));
        steps
    }

    fn packages(&mut self, set: &Arc<Set>, below: &[&Arc<Set>], target: &str) -> Vec<Arc<dyn Step>> {
        let debs = self.debs(set);
        let (target, place) = (target.to_string(), set.place.clone());
        let all =
            Packages::on_top((target.clone(), set.arch.clone()), place.clone(), files(&debs), automatic(set));
        let mut known = files(&debs);
        let mut steps = shared(debs);
        if has_kernel(below.iter().copied().chain([set])) {
            for set in below {
                known.extend(files(&self.debs(set)));
            }
            steps.push(Arc::new(Initramfs { target, arch: set.arch.clone(), place, debs: known }));
        }
        steps.push(Arc::new(all));
        steps
    }

    fn debs(&mut self, set: &Set) -> Vec<DebStep> {
        let step = |locked: &crate::lock::Locked| DebStep {
            id: self.id(&locked.deb),
            mirrors: set.mirrors(&locked.deb),
            deb: locked.deb.clone(),
            place: set.place.clone(),
        };
        let mut debs: Vec<DebStep> = set.packages.iter().map(step).collect();
        debs.sort_by(|one, other| one.id.cmp(&other.id));
        debs
    }

    /// `deb:NAME_VERSION_ARCH`, with a number for another file of the same name.
    fn id(&mut self, deb: &crate::deb::Deb) -> String {
        let id = format!("deb:{}", deb.id());
        let known = self.ids.entry(id.clone()).or_default();
        let at = known.iter().position(|digest| *digest == deb.digest).unwrap_or_else(|| {
            known.push(deb.digest);
            known.len() - 1
        });
        if at == 0 { id } else { format!("{id}#{}", at + 1) }
    }
}

/// The set of an image's base: of those with its name, the one that was asked for in the same words.
fn base_set<'r>(resolved: &'r Resolved, spec: &Spec) -> Option<&'r Arc<Set>> {
    let (id, request) = (base_id(spec), base_request(spec));
    let solution = resolved
        .lock
        .solutions
        .iter()
        .find(|solution| solution.request == request && solution.id.starts_with(&id))?;
    resolved.sets.get(&solution.id)
}

/// The names of packages that only came along.
fn automatic(set: &Set) -> Vec<(String, String)> {
    let along = set.packages.iter().filter(|locked| locked.asked.is_none());
    let mut names: Vec<(String, String)> =
        along.map(|locked| (locked.deb.name.clone(), locked.deb.arch.clone())).collect();
    names.sort();
    names
}

fn files(debs: &[DebStep]) -> Files {
    debs.iter().map(|step| (step.id.clone(), (step.deb.clone(), Arc::clone(&step.mirrors)))).collect()
}

fn shared(debs: Vec<DebStep>) -> Vec<Arc<dyn Step>> {
    debs.into_iter().map(|deb| Arc::new(deb) as Arc<dyn Step>).collect()
}

/// Whether there is a kernel, and what makes an initramfs for it.
fn has_kernel<'s>(sets: impl Iterator<Item = &'s Arc<Set>> + Clone) -> bool {
    let mut names = sets.flat_map(|set| &set.packages).map(|locked| locked.deb.name.as_str());
    let mut again = names.clone();
    names.any(|name| name.starts_with("linux-image-")) && again.any(|name| name == "initramfs-tools")
}
