//! A hook: a script of the project's, run inside the image, or beside it; what it changes is a layer.
//!
//! It runs in a sandbox and sees what the manifest declares: its script, its inputs, its secrets, what extra-data hooks
//! left for it, and the image as the layers below make it. So its key can hold all that it depends on.
//!
//! On the host's side it sees the host's programs in place of the image's, and the image as a folder.

pub mod dib;
mod run;
pub mod script;
pub mod secret;
mod shown;

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use run::{DEFINITION, INPUTS, script_folder};
pub use script::{Script, Text};
pub use secret::Secret;
pub use shown::ShownFolder;

use super::initramfs;
use crate::fault::{Fault, Place};
use crate::hooks::{Dialect, Phase, Side};
use crate::key::{Digest, Key};
use crate::lang::{Scope, Spanned};
use crate::layer::EntryPath;
use crate::sandbox::image::{Given, ImageRan, ImageRun};
use crate::sandbox::{Exit, Launcher};
use crate::tree::{Detail, Filter};
use crate::wording;
use crate::work::capture::{capture_file, path_at, taken};
use crate::work::failed;
use crate::work::upper::upper_layer;
use crate::work::{Below, Facts, Job, Made, Stack, StackLayer, State, Step, World};

/// What kind of step it is.
pub const KIND: &str = "hook";

/// What kind of step one is whose layer is for other hooks, and no part of the image.
pub const EXTRA_DATA: &str = "extra-data";

/// What a manifest says of a hook, for whatever target it runs.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The list that it stands in; none if it stands in an image's own block.
    pub list: Option<String>,
    /// What it is called.
    pub name: Spanned<String>,
    /// When it runs.
    pub phase: Phase,
    /// Whose rules hold for what its scripts see.
    pub dialect: Dialect,
    /// Its script; of a list that goes on after a failure, all that the list has.
    pub scripts: Vec<Script>,
    /// Folders that stand beside its script.
    pub shown: Vec<ShownFolder>,
    /// Where it starts: a folder of the project that it sees.
    pub directory: Option<ShownFolder>,
    /// Environment variables that are stated.
    pub environment: Scope,
    /// Files and folders of the project that it may read.
    pub inputs: Vec<Input>,
    /// Secrets.
    pub secrets: Vec<Secret>,
    /// Whether it can reach the network.
    pub network: bool,
    /// Seconds that it may take.
    pub timeout: Option<u64>,
    /// What runs its script, if that is stated: a program and its arguments.
    pub interpreter: Vec<String>,
    /// The hooks that it runs behind, as the manifest names them.
    pub after: Vec<Spanned<String>>,
    /// Of a script of diskimage-builder's: what packages and services are called.
    pub names: Option<Arc<dib::Names>>,
}

/// A file or folder of the project that a hook may read.
#[derive(Clone, Debug)]
pub struct Input {
    /// As the manifest states it.
    pub stated: Spanned<String>,
    /// Where it is, absolute.
    pub path: PathBuf,
    /// Where the hook finds it.
    pub at: EntryPath,
    /// The environment variable that tells the hook where.
    pub variable: Option<String>,
}

/// What hooks are told of the target that they run for.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// The image's name.
    pub image: String,
    /// Its version, if it has one.
    pub version: Option<String>,
    /// The hypervisor's name, where it is a hypervisor's.
    pub hypervisor: Option<String>,
    /// The architecture, as Debian names it.
    pub arch: String,
    /// The suite, if its base has one.
    pub suite: Option<String>,
    /// The packages that are asked for, by their names.
    pub packages: Vec<String>,
}

impl Target {
    /// `IMAGE` or `IMAGE:HYPERVISOR`.
    pub fn name(&self) -> String {
        match &self.hypervisor {
            Some(hypervisor) => format!("{}:{hypervisor}", self.image),
            None => self.image.clone(),
        }
    }
}

impl Hook {
    /// `LIST/NAME`, or `NAME`.
    pub fn full_name(&self) -> String {
        match &self.list {
            Some(list) => format!("{list}/{}", self.name.value),
            None => self.name.value.clone(),
        }
    }

    /// Where its script runs.
    pub fn side(&self) -> Side {
        match (self.phase.side(), self.dialect) {
            // As ganeti runs them: by the host's programs, with the image as a folder.
            (Side::Image, Dialect::RunParts) => Side::Host,
            (side, _) => side,
        }
    }
}

/// A hook of a target.
#[derive(Debug)]
pub struct HookStep {
    /// What the manifest says of it.
    pub hook: Hook,
    /// What it runs for.
    pub target: Target,
}

impl Step for HookStep {
    fn id(&self) -> String {
        format!("{KIND}:{}@{}", self.hook.full_name(), self.target.name())
    }
    fn kind(&self) -> &'static str {
        if self.hook.phase == Phase::ExtraData { EXTRA_DATA } else { KIND }
    }
    fn name(&self) -> String {
        self.hook.name.value.clone()
    }
    fn place(&self) -> &Place {
        &self.hook.name.place
    }
    fn is_aside(&self) -> bool {
        self.hook.phase == Phase::ExtraData
    }
    fn stands_on(&self, other: &dyn Step) -> bool {
        // Before there is an image there are only the hooks that went before.
        !self.is_aside() || other.is_aside()
    }
    fn runs_programs_of(&self) -> Option<&str> {
        // On the host's side it runs the host's own.
        Some(if self.hook.side() == Side::Host { crate::deb::own_arch() } else { &self.target.arch })
    }

    fn ready(&self) -> Vec<Fault> {
        self.hook
            .secrets
            .iter()
            .filter(|secret| !secret.is_there())
            .filter_map(|one| one.read().err())
            .collect()
    }

    fn reads_live(&self) -> bool {
        !self.hook.inputs.is_empty() || !self.hook.shown.is_empty()
    }

    fn facts(&self, world: &World, parallel: bool) -> Result<Facts, Fault> {
        let mut facts = Facts::new(Key::new(KIND, 1));
        facts.key.fact("epoch", world.epoch);
        facts.key.fact("recipe", run::recipe(self));
        for script in &self.hook.scripts {
            script.facts(world, &mut facts)?;
        }
        for (number, shown) in self.hook.shown.iter().chain(&self.hook.directory).enumerate() {
            shown.facts(number, world, parallel, &mut facts)?;
        }
        for (name, value) in run::environment(self, world) {
            facts.key.fact("environment", format_args!("{name}={value}"));
        }
        for input in &self.hook.inputs {
            input.facts(world, parallel, &mut facts)?;
        }
        for secret in &self.hook.secrets {
            // That there is one, not what it says: who renews a password has the same image.
            facts.key.fact("secret", &secret.name);
        }
        if self.hook.network {
            facts.key.fact("network", true);
        }
        Ok(facts)
    }

    fn below_facts(&self, below: &[Below], key: &mut Key) {
        // What changes nothing is nothing below.
        let nothing = Digest::of("");
        for Below { layer, kind, .. } in below.iter().filter(|below| below.layer.0 != nothing) {
            key.fact(if *kind == EXTRA_DATA { EXTRA_DATA } else { "layer" }, layer);
        }
    }

    fn state(&self, world: &World, below: &Stack, job: &Job<'_>) -> Result<Option<State>, Fault> {
        run::state(self, below, world, job).map(Some)
    }

    fn secrets(&self) -> Vec<Given> {
        self.hook.secrets.iter().filter_map(|secret| run::secret(secret).ok()).collect()
    }

    fn make(&self, world: &World, below: &Stack, job: &Job<'_>) -> Result<Made, Fault> {
        let here = |fault: Fault| fault.at(self.place(), "this hook");
        let mut state = run::state(self, below, world, job)?;
        let capture = capture_file(world)?;
        let run = ImageRun {
            capture: Some(capture.clone()),
            capture_always: true,
            log: job.log.clone(),
            commands: run::calls(self)?,
            timeout: self.hook.timeout.map(Duration::from_secs),
            passing: state.run.passing.iter().chain(&state.secrets).cloned().collect(),
            masked: state.secrets.iter().flat_map(|secret| secret::masked(&secret.bytes)).collect(),
            ..state.run.clone()
        };
        job.go_on()?;
        let ran = Launcher::of(&world.program)
            .run_image(&run, job.cancel, &mut |line| (job.say)(line))
            .map_err(here)?;
        job.warn_of_left(&ran.left, self.place(), "this hook");
        if let Some(fault) = self.failure(&run, &ran, job) {
            state.script = self.failed(&ran).first().map(|(script, _)| run::seen_path(&self.hook, script));
            // Without it there is less to look at, and the failure is the same.
            let _ = self
                .blot_secrets(&state.secrets, &capture)
                .and_then(|()| failed::keep(self, below, &state, &capture, world));
            let _ = std::fs::remove_file(&capture);
            return Err(fault);
        }
        let (gathered, tar) = taken(&capture, world.epoch).map_err(here)?;
        self.refuse_secrets(&state.secrets, &tar)?;
        let layer = upper_layer(gathered, &tar, &state.root.merged, |_| true, world).map_err(here)?;
        Ok(Made { found: initramfs::found(&layer), layer })
    }
}

/// What extra-data hooks left, and the image.
fn parts(below: &Stack) -> (Stack, Stack) {
    let (data, image): (Vec<StackLayer>, Vec<StackLayer>) =
        below.layers.iter().cloned().partition(|layer| layer.kind == EXTRA_DATA);
    (Stack { layers: data }, Stack { layers: image })
}

impl HookStep {
    /// The scripts that failed.
    fn failed(&self, ran: &ImageRan) -> Vec<(&Script, Exit)> {
        let ended = self.hook.scripts.iter().zip(ran.exits.iter().copied());
        ended.filter(|(_, exit)| *exit != Exit::Code(0)).collect()
    }

    /// What is wrong with how its scripts ended.
    fn failure(&self, run: &ImageRun, ran: &ImageRan, job: &Job<'_>) -> Option<Fault> {
        let bad = self.failed(ran);
        let (script, exit) = bad.first()?;
        let path = run::seen_path(&self.hook, script);
        let message = match bad.len() {
            1 => format!("the hook `{}` failed: {}", self.hook.full_name_of(script), run::ended(*exit)),
            number => format!("{number} hooks of `{}` failed", self.hook.full_name()),
        };
        let mut fault = Fault::build("hook/failed", message);
        if let [(script, _)] = bad.as_slice() {
            let line = script::failed_line(&ran.tail, &path).and_then(|line| script.line(line));
            // The place that matters most stands first.
            fault = line.into_iter().fold(fault, |fault, place| fault.at(&place, "it failed here"));
        }
        fault = fault.at(self.place(), "this hook");
        for (script, exit) in bad.iter().filter(|_| bad.len() > 1) {
            fault = fault.at(&script.place, format!("`{}`: {}", script.name, run::ended(*exit)));
        }
        fault.output = ran.tail.clone();
        let is_missing = |line: &String| line.starts_with("imgbuild: cannot start");
        Some(match *exit == Exit::Code(127) && ran.tail.iter().any(is_missing) {
            true => {
                let program = self.interpreter(run, script).unwrap_or_default();
                let place = if self.hook.side() == Side::Host { "on this machine" } else { "in the image" };
                fault.help(format!("it is run by `{program}`, which has to be {place}"))
            }
            false => fault.help(format!("the whole output is in `{}`", job.log.display())),
        })
    }

    /// What runs the script: as its `#!` line has it, or as it is said.
    fn interpreter(&self, run: &ImageRun, script: &Script) -> Option<String> {
        let program = run.commands.first().map(|call| call.program.clone())?;
        if program != run::seen_path(&self.hook, script) {
            return Some(program);
        }
        let bytes = script.bytes().ok()?;
        let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
        Some(wording::printable(String::from_utf8_lossy(line).trim()))
    }

    /// What is kept of a failure is no secret: stars stand for what was.
    fn blot_secrets(&self, secrets: &[Given], capture: &Path) -> Result<(), Fault> {
        let failed = |error| Fault::io("write", capture, &error);
        let bytes: Vec<&[u8]> = secrets.iter().map(|secret| secret.bytes.as_slice()).collect();
        let file = File::options().read(true).write(true).open(capture).map_err(failed)?;
        secret::blot(&bytes, &file).map_err(failed)
    }

    /// What a hook has left in the image is for everybody to read.
    fn refuse_secrets(&self, secrets: &[Given], tar: &File) -> Result<(), Fault> {
        let failed = |error| Fault::io("read", Path::new("what the hook changed"), &error);
        let bytes: Vec<&[u8]> = secrets.iter().map(|secret| secret.bytes.as_slice()).collect();
        let Some((number, at)) = secret::find(&bytes, tar).map_err(failed)? else { return Ok(()) };
        let Some(secret) = self.hook.secrets.get(number) else { return Ok(()) };
        let path = path_at(tar, at).map(|path| format!(" in `/{path}`")).unwrap_or_default();
        let message = format!("the hook `{}` left the secret `{}`{path}", self.hook.full_name(), secret.name);
        Err(Fault::build("secret/left", message)
            .at(&secret.place, "this secret")
            .at(self.place(), "this hook")
            .help("remove it before the script ends: everybody who has the image could read it"))
    }
}

impl Hook {
    fn full_name_of(&self, script: &Script) -> String {
        match (&self.list, self.scripts.len()) {
            (_, 1) => self.full_name(),
            (Some(list), _) => format!("{list}/{}", script.name),
            (None, _) => script.name.clone(),
        }
    }
}

impl Input {
    fn facts(&self, world: &World, parallel: bool, facts: &mut Facts) -> Result<(), Fault> {
        let named = |fault: Fault| fault.at(&self.stated.place, "named here");
        let fact = format!("input:{}", shown::word(self.at.as_bytes()));
        if self.path.is_dir() {
            let tree = world.memory.tree(&self.path, &Filter::all(), Detail::Packed, parallel);
            let tree = tree.map_err(named)?;
            facts.tree(&fact, &self.path, world, tree);
        } else {
            let file = world.memory.file(&self.path).map_err(named)?;
            facts.file(&fact, &self.path, world, file);
            let mode = self.path.metadata().map_or(0, |metadata| metadata.permissions().mode() & 0o7777);
            facts.key.fact("input-mode", format_args!("{mode:04o}"));
        }
        Ok(())
    }
}
