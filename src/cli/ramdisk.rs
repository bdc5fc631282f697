//! `imgbuild ramdisk`: a target as a kernel and an initramfs that is all of it, whatever its outputs are.

use std::path::Path;

use super::arguments::Ramdisk;
use super::look;
use super::session::Project;
use crate::fault::{Fault, Faults, Place, Source};
use crate::lang::Spanned;
use crate::outputs::disk::ramdisk;
use crate::plan::graph::Target;
use crate::plan::{self, Graph, Plan, StepId, Wanted, Work};
use crate::wording;

/// The plan of what is asked for: the one output, and what it stands on.
pub fn plan(project: &mut Project, asked: &Ramdisk, here: &Path) -> Result<Plan, Faults> {
    let graph = project.graph()?;
    let Some(target) = look::target(&graph, &asked.target)? else {
        // It says what there is.
        plan::select(
            &graph,
            std::slice::from_ref(&asked.target),
            Wanted::Outputs,
            super::arguments::COMMANDS,
        )?;
        let shown = wording::printable(&asked.target);
        return Err(Fault::error("target/unknown", format!("no target is called `{shown}`")).into());
    };
    if let (Some(step), None) = (written(&graph, target), &asked.output) {
        let id = graph.task(step).id.clone();
        return project.plan_of(graph, &[id]);
    }
    let path = asked.output.as_ref().map(|folder| here.join(folder).display().to_string());
    add(project, target, path);
    let name = target.name.clone();
    let graph = project.graph()?;
    let added = graph.targets.iter().find(|target| target.name == name);
    let step = added.and_then(|target| target.outputs.last().copied());
    let step = step.ok_or_else(|| Fault::machine("internal", "an output was lost"))?;
    let id = graph.task(step).id.clone();
    project.plan_of(graph, &[id])
}

/// The target's own output of this kind.
fn written(graph: &Graph, target: &Target) -> Option<StepId> {
    target.outputs.iter().copied().find(|step| match &graph.task(*step).work {
        Work::Output { output, .. } => output.kind() == "ramdisk",
        Work::Layer { .. } => false,
    })
}

/// Adds the output to the target, as if the manifest asked for it.
fn add(project: &mut Project, target: &Target, path: Option<String>) {
    let place = Place::new(&Source::new("the command line", "ramdisk"), 0..7);
    let path = path.map(|path| Spanned::new(path, &place));
    let Some(image) = project.manifest.images.iter_mut().find(|image| image.name.value == target.image)
    else {
        return;
    };
    let title = image.name.value.clone();
    let named = |name: &Spanned<String>| Some(&name.value) == target.hypervisor.as_ref();
    match image.hypervisors.iter_mut().find(|hypervisor| named(&hypervisor.name)) {
        Some(hypervisor) => hypervisor.outputs.push(ramdisk(&title, &hypervisor.machine, &place, path)),
        None => image.outputs.push(ramdisk(&title, &image.machine, &place, path)),
    }
}
