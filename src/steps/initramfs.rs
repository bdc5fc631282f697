//! The initramfs of an image's kernels, made beside everything else.
//!
//! update-initramfs(8) takes longer than all other configuring together. It runs in a root of its own: the base, the
//! kernels, and the packages that have something to say in it, with what these need. So the result depends on them
//! alone, and nothing else waits for it.

mod copying;

use std::collections::{BTreeMap, BTreeSet};

use super::deb;
use super::packages::{Files, Set, given};
use crate::deb::control::Control;
use crate::deb::dpkg;
use crate::fault::{Fault, Place};
use crate::key::Key;
use crate::layer::EntryPath;
use crate::sandbox::image::Call;
use crate::work::upper::upper_layer;
use crate::work::{Below, Facts, Job, Made, Stack, StackLayer, State, Step, World};

/// What kind of step it is.
pub const KIND: &str = "initramfs";

/// The initramfs of a target's kernels.
#[derive(Debug)]
pub struct Initramfs {
    /// The target.
    pub target: String,
    /// The architecture.
    pub arch: String,
    /// Where the manifest asks for the packages.
    pub place: Place,
    /// The target's packages.
    pub debs: Files,
}

/// Makes one for every kernel; each package's hooks find the same clock. The links beside those to the kernels are what
/// linux-update-symlinks(1) would make if it were not told that there is no initramfs.
const SCRIPT: &str = r#"
set -e
for kernel in /boot/vmlinu[xz]-*; do
    [ -e "$kernel" ] || continue
    version=${kernel#/boot/vmlinu?-}
    [ -d "/lib/modules/$version" ] || continue
    update-initramfs -c -k "$version"
done
for folder in / /boot/; do
    for link in "$folder"vmlinu[xz] "$folder"vmlinu[xz].old; do
        [ -L "$link" ] || continue
        kernel=$(readlink "$link")
        initrd=${kernel%vmlinu?-*}initrd.img-${kernel##*vmlinu?-}
        [ ! -e "$folder$initrd" ] || ln -sfn "$initrd" "${folder}initrd.img${link##*vmlinu?}"
    done
done
"#;

impl Step for Initramfs {
    fn id(&self) -> String {
        format!("{KIND}:{}", self.target)
    }
    fn kind(&self) -> &'static str {
        KIND
    }
    fn name(&self) -> String {
        KIND.into()
    }
    fn place(&self) -> &Place {
        &self.place
    }
    fn joins(&self) -> bool {
        true
    }
    fn stands_on(&self, other: &dyn Step) -> bool {
        [deb::KIND, "base", super::hook::KIND, KIND].contains(&other.kind())
    }

    fn runs_programs_of(&self) -> Option<&str> {
        Some(&self.arch)
    }

    fn likely_seconds(&self) -> f64 {
        4.0
    }

    fn facts(&self, world: &World, _parallel: bool) -> Result<Facts, Fault> {
        let mut key = Key::new(KIND, 2);
        key.fact("epoch", world.epoch);
        key.fact("recipe", dpkg::recipe());
        Ok(Facts::new(key))
    }

    fn below_facts(&self, below: &[Below], key: &mut Key) {
        let parts: Vec<Part<'_>> = below.iter().map(Part::of_below).collect();
        let used = below.iter().zip(roles(&parts)).filter(|(_, role)| *role != Role::Unused);
        deb::below_facts(used.map(|(layer, _)| layer), key);
    }

    fn state(&self, world: &World, below: &Stack, job: &Job<'_>) -> Result<Option<State>, Fault> {
        let set = self.set(below)?;
        set.state(set.files(), world, job).map(Some)
    }

    fn make(&self, world: &World, below: &Stack, job: &Job<'_>) -> Result<Made, Fault> {
        let set = self.set(below)?;
        let mut state = set.state(set.files(), world, job)?;
        let functions = set.only_file(copying::HOOK_FUNCTIONS)?;
        let quicker = functions.and_then(|functions| copying::quicker(&functions));
        state.run.passing.extend(quicker.map(|text| given(copying::HOOK_FUNCTIONS, 0o644, text)));
        let call = Call {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), SCRIPT.into()],
            must_succeed: true,
            environment: BTreeMap::from([("SOURCE_DATE_EPOCH".to_string(), world.epoch.to_string())]),
            ..Call::default()
        };
        let keep = |path: &EntryPath| {
            let path = path.as_bytes();
            path.starts_with(b"boot/initrd.img")
                || [&b"initrd.img"[..], b"initrd.img.old"].contains(&path)
                || path.starts_with(b"var/lib/initramfs-tools/")
        };
        let configured = set.configure((self, below), &state, vec![call], world, job)?;
        let layer = upper_layer(configured.gathered, &configured.tar, &state.root.merged, keep, world)?;
        Ok(Made { layer, found: Vec::new() })
    }
}

impl Initramfs {
    /// What of `below` it is made of.
    fn set(&self, below: &Stack) -> Result<Set<'_>, Fault> {
        let parts: Vec<Part<'_>> = below.layers.iter().map(Part::of_layer).collect();
        let roles = roles(&parts);
        let with = |role: &[Role]| -> Vec<StackLayer> {
            let layers = below.layers.iter().zip(&roles).filter(|(_, own)| role.contains(own));
            layers.map(|(layer, _)| layer.clone()).collect()
        };
        let own: BTreeSet<String> = with(&[Role::Own]).into_iter().map(|layer| layer.step).collect();
        let stack = Stack { layers: with(&[Role::Base, Role::Own]) };
        Set::of(&stack, &self.debs, |layer| own.contains(&layer.step))
    }
}

/// A layer below, as far as it counts here.
struct Part<'a> {
    kind: &'static str,
    found: &'a [String],
}

impl<'a> Part<'a> {
    fn of_below(below: &'a Below) -> Part<'a> {
        Part { kind: below.kind, found: &below.found }
    }

    fn of_layer(layer: &'a StackLayer) -> Part<'a> {
        Part { kind: layer.kind, found: &layer.found }
    }
}

/// What a layer below is to an initramfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It belongs to the base.
    Base,
    /// A package that an initramfs is made of, or that such a package needs.
    Own,
    /// Nothing.
    Unused,
}

fn roles(parts: &[Part<'_>]) -> Vec<Role> {
    // A base's packages come before the base's last layer.
    let base_ends = parts.iter().rposition(|part| part.kind == "base").map_or(0, |at| at + 1);
    let control = |(at, part): (usize, &Part<'_>)| Some((at, Control::from_found(part.found)?));
    let packages: Vec<(usize, Control)> = parts
        .iter()
        .enumerate()
        .skip(base_ends)
        .filter(|(_, part)| part.kind == deb::KIND)
        .filter_map(control)
        .collect();
    let mut providers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, (_, control)) in packages.iter().enumerate() {
        let provided = control.relations("Provides").into_iter().flatten();
        for name in provided.chain([control.package()]) {
            providers.entry(name).or_default().push(number);
        }
    }
    let is_early = |at: usize| parts.get(at).is_some_and(|part| deb::is_early(part.found));
    let early = packages.iter().enumerate().filter(|(_, (at, _))| is_early(*at));
    let mut todo: Vec<usize> = early.map(|(number, _)| number).collect();
    // A hook that has changed what an initramfs is made of counts as the base does.
    let is_base = |at: usize| {
        let is_hook = parts.get(at).is_some_and(|part| part.kind == super::hook::KIND);
        at < base_ends || (is_hook && is_early(at))
    };
    let mut roles: Vec<Role> =
        (0..parts.len()).map(|at| if is_base(at) { Role::Base } else { Role::Unused }).collect();
    while let Some((at, control)) = todo.pop().and_then(|number| packages.get(number)) {
        match roles.get_mut(*at) {
            Some(role) if *role == Role::Unused => *role = Role::Own,
            _ => continue,
        }
        for field in ["Pre-Depends", "Depends"] {
            let needed = control.relations(field).into_iter().flatten();
            todo.extend(needed.filter_map(|name| providers.get(name)).flatten());
        }
    }
    roles
}
