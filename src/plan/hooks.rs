//! The steps of hooks, for a target.

use std::sync::Arc;

use crate::deb::own_arch;
use crate::hooks::Phase;
use crate::manifest::{Hypervisor, Image};
use crate::steps::first_boot::FirstBoot;
use crate::steps::hook::{Hook, HookStep, Target};
use crate::work::Step;

/// What hooks are told of the target that they run for.
pub(super) fn target(image: &Image, hypervisor: Option<&Hypervisor>) -> Target {
    let wishes = image.packages.iter().chain(hypervisor.iter().flat_map(|hypervisor| &hypervisor.packages));
    Target {
        image: image.name.value.clone(),
        version: image.version.clone(),
        hypervisor: hypervisor.map(|hypervisor| hypervisor.name.value.clone()),
        arch: image.debian.as_ref().map_or_else(|| own_arch().to_string(), |spec| spec.arch.clone()),
        suite: image.debian.as_ref().map(|spec| spec.suite.value.clone()),
        packages: wishes.filter(|wish| !wish.out).map(|wish| wish.name.value.clone()).collect(),
    }
}

/// The hooks of a phase, in their order.
pub(super) fn of_phase<'h>(
    hooks: impl IntoIterator<Item = &'h Hook>,
    phase: Phase,
    target: &Target,
) -> Vec<Arc<dyn Step>> {
    let step = |hook: &Hook| HookStep { hook: hook.clone(), target: target.clone() };
    let own = hooks.into_iter().filter(|hook| hook.phase == phase);
    own.map(|hook| Arc::new(step(hook)) as Arc<dyn Step>).collect()
}

/// What brings the hooks of the booted image, if there are any.
pub(super) fn first_boot(hooks: &[&Hook], target: &Target) -> Option<Arc<dyn Step>> {
    let own = hooks.iter().filter(|hook| hook.phase == Phase::FirstBoot);
    let hooks: Vec<Hook> = own.map(|hook| (*hook).clone()).collect();
    (!hooks.is_empty()).then(|| Arc::new(FirstBoot { hooks, target: target.name() }) as Arc<dyn Step>)
}
