//! The order for a sandbox that runs a hook: what it sees, and how it is started.

use std::collections::BTreeMap;

use super::shown::special;
use super::{Hook, HookStep, Input, Script, Secret, dib, parts};
use crate::deb::dpkg;
use crate::fault::Fault;
use crate::hooks::{Dialect, Phase, Side};
use crate::key::Digest;
use crate::layer::{EntryPath, Kind};
use crate::sandbox::image::{Call, Given, Shown, Special, SpecialKind, TARGET, View};
use crate::sandbox::{Exit, PATH};
use crate::work::{Job, Stack, State, Step, World};

/// Where scripts stand.
const SCRIPTS: &str = "run/imgbuild/hooks";
/// Where secrets stand.
const SECRETS: &str = "run/imgbuild/secrets";
/// Where what extra-data hooks left stands.
const DATA: &str = "run/imgbuild/extra-data";
/// Where programs stand that are there for hooks alone.
pub const PROGRAMS: &str = "run/imgbuild/bin";
/// Where inputs stand.
pub const INPUTS: &str = "run/imgbuild/input";
/// Where a hook of ganeti's kind starts.
pub const DEFINITION: &str = "run/imgbuild/os";

/// What a hook of ganeti's kind finds in its folder (instance-debootstrap's `common.sh`), as far as a hook uses it.
const COMMON_SH: &str = "\
log_error() { echo \"$@\" >&2; }\n\
debug() { [ \"${DEBUG_LEVEL:-0}\" = 0 ] || \"$@\"; }\n\
get_api5_arguments() { :; }\n\
get_api10_arguments() { :; }\n\
CLEANUP=\n\
cleanup() { :; }\n";

/// Everything that is the same in every run of such a hook, as far as its result can depend on it.
pub fn recipe(step: &HookStep) -> Digest {
    let hook = &step.hook;
    let side = format!("{:?} {:?} {:?}", hook.side(), hook.dialect, hook.phase == Phase::ExtraData);
    let start = if hook.dialect == Dialect::Dib { dib::START } else { "" };
    Digest::of(format!("{side} {:?} {:?} {:?} {start}", hook.interpreter, passing(step), programs()))
}

/// The environment beside the sandbox's usual one.
pub fn environment(step: &HookStep, world: &World) -> BTreeMap<String, String> {
    let HookStep { hook, target } = step;
    let mut environment: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, value: &str| drop(environment.insert(name.to_string(), value.to_string()));
    set("PATH", &format!("/{PROGRAMS}:{PATH}"));
    set("DEBIAN_FRONTEND", "noninteractive");
    set("SOURCE_DATE_EPOCH", &world.epoch.to_string());
    set("IMGBUILD_IMAGE", &target.image);
    set("IMGBUILD_PHASE", hook.phase.word());
    set("IMGBUILD_ARCH", &target.arch);
    let stated = [
        ("IMGBUILD_HYPERVISOR", &target.hypervisor),
        ("IMGBUILD_VERSION", &target.version),
        ("IMGBUILD_SUITE", &target.suite),
    ];
    for (name, value) in stated {
        value.iter().for_each(|value| set(name, value));
    }
    match (hook.phase, hook.side()) {
        (Phase::ExtraData, _) => set("EXTRA_DATA", TARGET),
        (_, Side::Host) => {
            set("TARGET", TARGET);
            set("EXTRA_DATA", &format!("/{DATA}"));
        }
        _ => set("EXTRA_DATA", &format!("/{DATA}")),
    }
    match hook.dialect {
        Dialect::RunParts => ganeti(step, &mut set),
        Dialect::Dib => dib::environment(step, &mut set),
        Dialect::List => {}
    }
    for input in &hook.inputs {
        input.variable.iter().for_each(|name| set(name, &format!("/{}", input.at)));
    }
    for secret in &hook.secrets {
        secret.variable.iter().for_each(|name| set(name, &format!("/{SECRETS}/{}", secret.name)));
    }
    environment.extend(hook.environment.clone());
    environment
}

/// What instance-debootstrap and Ganeti tell a hook (ganeti-os-interface(7)); there is no disk yet.
fn ganeti(step: &HookStep, set: &mut impl FnMut(&str, &str)) {
    let target = &step.target;
    let hypervisor = target.hypervisor.as_deref().unwrap_or_default();
    let known = [
        ("SUITE", target.suite.as_deref().unwrap_or_default()),
        ("ARCH", &target.arch),
        ("PARTITION_STYLE", "none"),
        ("EXTRA_PKGS", &target.packages.join(",")),
        ("BLOCKDEV", ""),
        ("FSYSDEV", ""),
        ("OS_API_VERSION", "20"),
        ("OS_NAME", "imgbuild"),
        ("OS_VARIANT", target.suite.as_deref().unwrap_or_default()),
        ("INSTANCE_OS", "imgbuild"),
        ("INSTANCE_NAME", &target.image),
        ("INSTANCE_REINSTALL", "0"),
        ("HYPERVISOR", hypervisor),
        ("DISK_COUNT", "0"),
        ("NIC_COUNT", "0"),
        ("DEBUG_LEVEL", "0"),
    ];
    known.iter().for_each(|(name, value)| set(name, value));
}

/// What its scripts find when they start.
pub fn state(step: &HookStep, below: &Stack, world: &World, job: &Job<'_>) -> Result<State, Fault> {
    let hook = &step.hook;
    let (data, image) = parts(below);
    // Before there is an image, what went before is what such a hook adds to.
    let (stack, data) = if step.is_aside() { (data, Stack::default()) } else { (image, data) };
    let mut state = State::of(stack, world, job)?;
    let run = &mut state.run;
    let beside = folders(hook, world)?;
    if step.is_aside() && hook.dialect == Dialect::Dib {
        // The folder that it adds to.
        run.specials = merged(beside.into_iter().chain(std::mem::take(&mut run.specials)));
    } else {
        let data = left_by_others(&data, &place_of_data(hook), world)?;
        run.scratch = merged(beside.into_iter().chain(data));
    }
    if hook.dialect == Dialect::Dib && hook.side() == Side::Image {
        run.sealed.push(path(dib::IN_TARGET));
    }
    run.passing = passing(step);
    for script in &hook.scripts {
        run.passing.push(Given { path: script_path(hook, script), mode: 0o755, bytes: script.bytes()? });
    }
    run.passing.extend(programs());
    run.passing.extend(resolver(hook).filter(|_| hook.network));
    let shown = |input: &Input| Shown { host: input.path.clone(), at: input.at.clone() };
    run.shown = hook.inputs.iter().map(shown).collect();
    run.view = if hook.side() == Side::Host { View::Host } else { View::Image };
    run.hidden.clone_from(&world.hidden);
    run.network = hook.network;
    run.environment = environment(step, world);
    state.folder = folder(hook);
    state.secrets = hook.secrets.iter().map(secret).collect::<Result<_, _>>()?;
    state.script = hook.scripts.first().map(|script| seen_path(hook, script));
    Ok(state)
}

/// A secret, where a hook finds it.
pub fn secret(secret: &Secret) -> Result<Given, Fault> {
    Ok(Given { path: path(&format!("{SECRETS}/{}", secret.name)), mode: 0o400, bytes: secret.read()? })
}

/// How its scripts are started, in their order.
pub fn calls(step: &HookStep) -> Result<Vec<Call>, Fault> {
    let hook = &step.hook;
    let one = |script: &Script| -> Result<Call, Fault> {
        let mut words = hook.interpreter.clone();
        if hook.dialect == Dialect::Dib {
            let folder = format!("/{}", dib::folder(hook.phase, hook.side()));
            words = ["/bin/bash", "-c", dib::START, "dib-run-parts", &folder].map(String::from).to_vec();
        }
        if words.is_empty() && !script.bytes()?.starts_with(b"#!") {
            // As a shell runs a text; one that stands in the manifest ends with the first command that fails.
            words.push("/bin/sh".into());
            words.extend(script.is_stated().then(|| "-e".into()));
        }
        words.push(seen_path(hook, script));
        let mut words = words.into_iter();
        Ok(Call {
            program: words.next().unwrap_or_default(),
            arguments: words.collect(),
            folder: folder(hook),
            // Of several, all run.
            must_succeed: hook.scripts.len() == 1,
            ..Call::default()
        })
    };
    hook.scripts.iter().map(one).collect()
}

/// Where a hook starts.
pub fn folder(hook: &Hook) -> String {
    match (hook.phase, hook.dialect) {
        (_, Dialect::RunParts) => format!("/{DEFINITION}"),
        (Phase::ExtraData, _) => TARGET.to_string(),
        _ => "/".to_string(),
    }
}

/// Where a script stands.
pub fn script_path(hook: &Hook, script: &Script) -> EntryPath {
    let folder = match hook.dialect {
        // The root of what it sees as the image is that folder.
        Dialect::Dib if hook.phase == Phase::ExtraData => path(hook.phase.folder()),
        Dialect::Dib => path(&dib::folder(hook.phase, hook.side())).join(hook.phase.folder().as_bytes()),
        _ => script_folder(hook.phase),
    };
    folder.join(script.name.as_bytes())
}

/// Where a script stands as it sees that itself.
pub fn seen_path(hook: &Hook, script: &Script) -> String {
    match (hook.dialect, hook.phase) {
        (Dialect::Dib, Phase::ExtraData) => format!("{TARGET}/{}", script_path(hook, script)),
        _ => format!("/{}", script_path(hook, script)),
    }
}

/// Where the scripts of a phase stand.
pub fn script_folder(phase: Phase) -> EntryPath {
    path(SCRIPTS).join(phase.folder().as_bytes())
}

/// How a script ended.
pub fn ended(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("its script ended with {code}"),
        Exit::Signal(signal) => format!("its script was ended by signal {signal}"),
    }
}

/// Where what extra-data hooks left stands for this hook: for diskimage-builder's, among the elements' files.
fn place_of_data(hook: &Hook) -> EntryPath {
    match hook.dialect {
        Dialect::Dib => path(&dib::folder(hook.phase, hook.side())),
        _ => path(DATA),
    }
}

/// Each path once, as it comes last.
fn merged(specials: impl Iterator<Item = Special>) -> Vec<Special> {
    let by_path: BTreeMap<EntryPath, Special> =
        specials.map(|special| (special.path.clone(), special)).collect();
    by_path.into_values().collect()
}

/// The folders that a hook sees beside its script.
fn folders(hook: &Hook, world: &World) -> Result<Vec<Special>, Fault> {
    let mut specials = Vec::new();
    let base = match (hook.dialect, hook.phase) {
        (Dialect::Dib, Phase::ExtraData) => EntryPath::root(),
        (Dialect::Dib, _) => path(&dib::folder(hook.phase, hook.side())),
        _ => EntryPath::root(),
    };
    for shown in hook.shown.iter().chain(&hook.directory) {
        specials.extend(shown.specials(&base, world)?);
    }
    if hook.dialect == Dialect::RunParts && hook.directory.is_none() {
        specials.push(special(path(DEFINITION), SpecialKind::Directory, 0o755, world.epoch));
    }
    Ok(specials)
}

/// What extra-data hooks left, at `at`.
fn left_by_others(data: &Stack, at: &EntryPath, world: &World) -> Result<Vec<Special>, Fault> {
    let merged = data.merged()?;
    let mut specials = vec![special(at.clone(), SpecialKind::Directory, 0o755, world.epoch)];
    for node in merged.nodes().filter(|node| !node.entry.path.is_root()) {
        let inside = |path: &EntryPath| path.components().fold(at.clone(), |at, name| at.join(name));
        let kind = match &node.entry.kind {
            Kind::Directory => SpecialKind::Directory,
            Kind::File { size, offset, .. } => match data.layer_of(node) {
                Some(layer) => SpecialKind::File { file: layer.path.clone(), offset: *offset, size: *size },
                None => continue,
            },
            Kind::Symlink(target) => SpecialKind::Symlink(target.clone()),
            Kind::Hardlink(target) => SpecialKind::Hardlink(inside(target)),
            _ => continue,
        };
        specials.push(special(inside(&node.entry.path), kind, node.entry.mode, world.epoch));
    }
    Ok(specials)
}

/// What stands in the image while a hook runs, and not behind.
fn passing(step: &HookStep) -> Vec<Given> {
    let hook = &step.hook;
    let mut passing = Vec::new();
    if hook.side() == Side::Image && step.target.suite.is_some() {
        let given = |(at, mode, text): &(&str, u32, &str)| given(at, *mode, text);
        passing.extend(dpkg::DURING.iter().map(given));
    }
    if hook.dialect == Dialect::RunParts && hook.directory.is_none() {
        passing.push(given(&format!("{DEFINITION}/common.sh"), 0o644, COMMON_SH));
    }
    if let Some(names) = hook.names.as_ref().filter(|_| hook.dialect == Dialect::Dib) {
        passing.extend(dib::files(names).iter().map(|(at, mode, text)| given(at, *mode, text)));
    }
    passing
}

/// Programs that are there for hooks alone: who is root already needs no other way to be.
fn programs() -> Vec<Given> {
    let sudo = "#!/bin/sh\n\
                # What is asked for runs as it is: the caller is root.\n\
                while :; do\n    case $1 in\n        --) shift; break ;;\n        -u|-g|-h|-p|-C|-T|-r|-t|-U) shift 2 ;;\n        \
                -*) shift ;;\n        *=*) export \"$1\"; shift ;;\n        *) break ;;\n    esac\ndone\n\
                [ $# -gt 0 ] || exit 0\nexec \"$@\"\n";
    vec![given(&format!("{PROGRAMS}/sudo"), 0o755, sudo)]
}

/// With the network, names are looked up as on this machine; nothing of that stays in the image.
fn resolver(hook: &Hook) -> Option<Given> {
    const FILE: &str = "/etc/resolv.conf";
    let bytes = std::fs::read(FILE).ok()?;
    if hook.side() == Side::Image {
        return Some(Given { path: path(FILE), mode: 0o644, bytes });
    }
    // On the host's side the file is there; what it leads to in `/run`, where systemd-resolved has it, is not.
    let real = std::fs::canonicalize(FILE).ok().filter(|real| real.starts_with("/run"))?;
    Some(Given { path: path(real.to_str()?), mode: 0o644, bytes })
}

fn given(at: &str, mode: u32, text: &str) -> Given {
    Given { path: path(at), mode, bytes: text.as_bytes().to_vec() }
}

fn path(text: &str) -> EntryPath {
    EntryPath::parse(text.trim_start_matches('/')).unwrap_or_default()
}
