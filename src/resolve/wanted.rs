//! The sets of packages that a manifest asks for, each on top of another.

use crate::bases::debian::Spec;
use crate::deb::Wish;
use crate::fault::Place;
use crate::lock::{base_id, base_request, image_id, request, tools_id};
use crate::manifest::Manifest;

/// A set of packages: what a base, an image, or a hypervisor adds to the set below it.
#[derive(Debug)]
pub struct Wanted<'m> {
    /// What the lock calls it.
    pub id: String,
    /// What people call it: the base's kind and suite, or the target.
    pub name: String,
    /// The base that it belongs to.
    pub spec: &'m Spec,
    /// The position of the set below; none for a base's own.
    pub below: Option<usize>,
    /// What is wished for on top of that.
    pub wishes: &'m [Wish],
    /// Whether recommended packages come along.
    pub recommends: bool,
    /// The same as text: a lock still fits if its own is the same.
    pub request: Vec<String>,
    /// Where the manifest asks for it.
    pub place: Place,
}

/// All sets of `manifest`, each after the one below it, and for each target the positions of its own, lowest first.
pub fn wanted(manifest: &Manifest) -> Vec<Wanted<'_>> {
    let mut sets = Vec::new();
    for image in &manifest.images {
        let Some(spec) = &image.debian else { continue };
        let name = &image.name.value;
        let base = add_base(&mut sets, spec);
        let own = Asked { name: name.clone(), id: image_id(name, None), wishes: &image.packages };
        let own = add(&mut sets, own, spec, base, image.recommends).unwrap_or(base);
        for hypervisor in &image.hypervisors {
            let target = format!("{name}:{}", hypervisor.name.value);
            let id = image_id(name, Some(&hypervisor.name.value));
            let asked = Asked { name: target, id, wishes: &hypervisor.packages };
            add(&mut sets, asked, spec, own, hypervisor.recommends);
        }
    }
    for tools in manifest.tools.iter().filter(|_| !manifest.host_tools) {
        let base = add_base(&mut sets, &tools.base);
        let id = tools_id(tools.name());
        let asked = Asked { name: id.clone(), id, wishes: &tools.wishes };
        add(&mut sets, asked, &tools.base, base, false);
    }
    sets
}

/// Adds the base's set, unless one that asks for the same is there.
fn add_base<'m>(sets: &mut Vec<Wanted<'m>>, spec: &'m Spec) -> usize {
    let request = base_request(spec);
    if let Some(same) = sets.iter().position(|set| set.below.is_none() && set.request == request) {
        return same;
    }
    let plain = base_id(spec);
    let taken = |id: &String| sets.iter().any(|set| set.id == *id);
    let numbered = (2..).map(|number| format!("{plain} #{number}"));
    let id = std::iter::once(plain.clone()).chain(numbered).find(|id| !taken(id)).unwrap_or(plain);
    let name = id.strip_prefix("base ").unwrap_or(&id).to_string();
    let place = spec.place.clone();
    sets.push(Wanted { id, name, spec, below: None, wishes: &[], recommends: false, request, place });
    sets.len() - 1
}

struct Asked<'m> {
    name: String,
    id: String,
    wishes: &'m [Wish],
}

/// Adds a set on top of another, if there is anything in it.
fn add<'m>(
    sets: &mut Vec<Wanted<'m>>,
    asked: Asked<'m>,
    spec: &'m Spec,
    below: usize,
    recommends: bool,
) -> Option<usize> {
    let Asked { name, id, wishes } = asked;
    let place = wishes.first()?.name.place.clone();
    let request = request(spec, wishes, recommends);
    sets.push(Wanted { id, name, spec, below: Some(below), wishes, recommends, request, place });
    Some(sets.len() - 1)
}
