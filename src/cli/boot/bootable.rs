//! What a target boots from, built where it is out of date.

use std::path::PathBuf;

use super::Boot;
use crate::cli::arguments::{Build, COMMANDS, Only};
use crate::cli::build;
use crate::cli::exit::Exit;
use crate::cli::look;
use crate::cli::session::{Project, Session};
use crate::deb::own_arch;
use crate::fault::{Fault, Faults, Place, Source};
use crate::outputs::disk::formats::{self, qemu_name};
use crate::outputs::disk::{Firmware, Machine};
use crate::plan::graph::Target;
use crate::plan::{self, Graph, Plan, State, StepId, Wanted, Work};
use crate::store::Access;
use crate::wording;

/// What boots.
pub(super) struct Bootable {
    /// The machine around it.
    pub machine: Machine,
    /// Its disk, if it is not all in its ramdisk, and the format of that, as QEMU names it.
    pub disk: Option<(PathBuf, &'static str)>,
    /// The folder of its kernel, or of its ramdisk, where the emulator starts that.
    pub kernel: Option<PathBuf>,
}

/// An output that is booted from.
struct Chosen {
    step: StepId,
    kind: &'static str,
    path: PathBuf,
}

/// What the target boots from, all of it built; none if that failed.
pub(super) fn built(session: &Session, asked: &Boot) -> Result<Option<Bootable>, Faults> {
    let project = session.project(Access::Look)?;
    let graph = project.graph()?;
    let target = one_target(&graph, &asked.what)?;
    let machine = machine_of(&project, target);
    let (disk, kernel) = chosen(&graph, target, &machine)?;
    // Only what is booted: whatever else the target is written as can wait.
    let ids = disk.iter().chain(&kernel).map(|output| graph.task(output.step).id.clone());
    let mut needed: Vec<String> = ids.collect();
    let plan = project.plan_of(project.graph()?, &needed)?;
    let kept = disk.as_ref().filter(|disk| is_kept(&plan, disk.step));
    if let Some(id) = kept.map(|disk| &graph.task(disk.step).id) {
        session.terminal.tell("the disk is as it was left; a build makes it anew\n");
        needed.retain(|needed| needed != id);
    }
    drop(project);
    let needs_nothing = needed.is_empty();
    let build = Build { only: Some(Only::Steps(needed)), ..Build::default() };
    let disk = disk.map(|disk| (disk.path, qemu_name(disk.kind)));
    let kernel = kernel.map(|kernel| kernel.path);
    let is_there = needs_nothing || build::run(session, &build)? == Exit::Done;
    Ok(is_there.then_some(Bootable { machine, disk, kernel }))
}

/// Whether only somebody's writing tells the disk from what a build would make: an earlier machine kept that.
fn is_kept(plan: &Plan, disk: StepId) -> bool {
    plan.steps.get(&disk).is_some_and(|judged| {
        let only_written = judged.why.iter().all(|cause| cause.fact == "file" && cause.now.is_some());
        judged.state == State::Run && only_written
    })
}

/// The target's disk, or else its ramdisk, and the kernel that goes with it.
fn chosen(
    graph: &Graph,
    target: &Target,
    machine: &Machine,
) -> Result<(Option<Chosen>, Option<Chosen>), Fault> {
    let find = |wanted: &str| {
        target.outputs.iter().find_map(|step| match &graph.task(*step).work {
            Work::Output { output, path, .. } if output.kind() == wanted => {
                Some(Chosen { step: *step, kind: output.kind(), path: path.clone() })
            }
            _ => None,
        })
    };
    let name = &target.name;
    let disk = formats::written().find_map(find);
    if disk.is_none() {
        let ramdisk = find("ramdisk").ok_or_else(|| {
            Fault::error("boot/disk", format!("`{name}` has no disk that could boot"))
                .help("add one to its block: `output \"raw\"`, or `output \"qcow2\"`")
        })?;
        return Ok((None, Some(ramdisk)));
    }
    if machine.firmware() != Firmware::Kernel {
        return Ok((disk, None));
    }
    let kernel = find("kernel").ok_or_else(|| {
        let message = format!("`{name}` has no boot loader, and its kernel is not written");
        Fault::error("boot/kernel", message).help("add `output \"kernel\"` to its block")
    })?;
    Ok((disk, Some(kernel)))
}

fn one_target<'g>(graph: &'g Graph, what: &str) -> Result<&'g Target, Faults> {
    if let Some(target) = look::target(graph, what)? {
        return Ok(target);
    }
    // It says what there is.
    plan::select(graph, &[what.to_string()], Wanted::Outputs, COMMANDS)?;
    Err(Fault::error("target/unknown", format!("no target is called `{}`", wording::printable(what))).into())
}

fn machine_of(project: &Project, target: &Target) -> Machine {
    let image = project.manifest.images.iter().find(|image| image.name.value == target.image);
    let of_hypervisor = image.and_then(|image| {
        let name = target.hypervisor.as_ref()?;
        image.hypervisors.iter().find(|hypervisor| hypervisor.name.value == *name)
    });
    let nowhere = || Place::new(&Source::new("", ""), 0..0);
    match (of_hypervisor, image) {
        (Some(hypervisor), _) => hypervisor.machine.clone(),
        (None, Some(image)) => image.machine.clone(),
        (None, None) => Machine::unsaid(own_arch(), &nowhere()),
    }
}
