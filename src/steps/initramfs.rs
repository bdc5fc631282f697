//! The initramfs of an image's kernels, made beside everything else.
//!
//! update-initramfs(8) takes longer than all other configuring together. It runs in a root of its own: the base, the
//! kernels, and the packages that have something to say in it, with what these need, and what hooks below have put
//! beside them. So the result depends on them alone, and nothing else waits for it.

mod copying;

use std::collections::{BTreeMap, BTreeSet};

use super::deb;
use super::packages::{Files, Set, given};
use crate::deb::control::Control;
use crate::deb::dpkg;
use crate::fault::{Fault, Place};
use crate::key::{Digest, Key};
use crate::layer::{Entry, EntryPath, Kind};
use crate::sandbox::image::Call;
use crate::store::Layer;
use crate::work::upper::{part_of, upper_layer};
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
        for (layer, role) in below.iter().zip(roles(&parts)) {
            match role {
                Role::Unused => {}
                // Whatever else it changed does not count.
                Role::Hook => layer.found.iter().for_each(|part| key.fact("hook", part)),
                Role::Base | Role::Own => deb::below_facts(std::iter::once(layer), key),
            }
        }
    }

    fn state(&self, world: &World, below: &Stack, job: &Job<'_>) -> Result<Option<State>, Fault> {
        let set = self.set(below, world)?;
        set.state(set.files(), world, job).map(Some)
    }

    fn make(&self, world: &World, below: &Stack, job: &Job<'_>) -> Result<Made, Fault> {
        let set = self.set(below, world)?;
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
    fn set(&self, below: &Stack, world: &World) -> Result<Set<'_>, Fault> {
        let parts: Vec<Part<'_>> = below.layers.iter().map(Part::of_layer).collect();
        let mut own: BTreeSet<String> = BTreeSet::new();
        let mut stack = Stack::default();
        for (layer, role) in below.layers.iter().zip(roles(&parts)) {
            match role {
                Role::Unused => continue,
                Role::Hook => stack.layers.push(early_part(layer, world)?),
                Role::Base => stack.layers.push(layer.clone()),
                Role::Own => {
                    own.insert(layer.step.clone());
                    stack.layers.push(layer.clone());
                }
            }
        }
        Set::of(&stack, &self.debs, |layer| own.contains(&layer.step))
    }
}

/// What of a hook's layer an initramfs is made with.
fn early(layer: &Layer) -> impl Iterator<Item = &Entry> {
    let is_whole = |entry: &&Entry| match &entry.kind {
        Kind::Hardlink(first) => deb::is_early_path(first),
        _ => true,
    };
    layer.index.entries.iter().filter(|entry| deb::is_early_path(&entry.path)).filter(is_whole)
}

/// The lines about a hook's layer that an initramfs is made with something of, and about what that is.
pub fn found(layer: &Layer) -> Vec<String> {
    let part: String = early(layer)
        .map(|entry| format!("{:?}\n", Entry { kind: entry.kind.without_offset(), ..entry.clone() }))
        .collect();
    if part.is_empty() { Vec::new() } else { vec![deb::EARLY.to_string(), Digest::of(part).to_string()] }
}

fn early_part(layer: &StackLayer, world: &World) -> Result<StackLayer, Fault> {
    let entries = early(&layer.layer).cloned().collect();
    Ok(StackLayer { layer: part_of(&layer.layer, entries, world)?, ..layer.clone() })
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
    /// A hook has put something beside these.
    Hook,
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
    let mut roles: Vec<Role> =
        (0..parts.len()).map(|at| if at < base_ends { Role::Base } else { Role::Unused }).collect();
    for (at, role) in roles.iter_mut().enumerate() {
        let is_hook = parts.get(at).is_some_and(|part| part.kind == super::hook::KIND);
        if is_hook && is_early(at) {
            *role = Role::Hook;
        }
    }
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
