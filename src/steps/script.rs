//! A folder with an executable `tar` as a layer: the script is run in a sandbox and what it writes is taken in.
//!
//! What else the script depends on it tells while it runs: other overlays that it asks for, programs of this machine
//! that it installs. These are kept with its result and looked at again before the result is used, so they are part of
//! the key like everything that was declared.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::archive::take_in;
use super::overlay::Overlay;
use crate::fault::{Fault, Place};
use crate::key::Key;
use crate::lang::Spanned;
use crate::layer::index::escape;
use crate::sandbox::{Asked, Launcher, PATH, TarScript, find_overlay, resolve_program};
use crate::tree::{Detail, Filter};
use crate::work::{Facts, Job, Made, Stack, Step, World};

/// An overlay that is a folder with an executable `tar`.
#[derive(Debug)]
pub struct ScriptOverlay {
    /// What the manifest says of it.
    pub overlay: Overlay,
    /// The folder.
    pub path: PathBuf,
}

/// A file or folder that a script may read.
#[derive(Clone, Debug)]
pub struct Input {
    /// As the manifest states it.
    pub shown: Spanned<String>,
    /// Where it is.
    pub path: PathBuf,
    /// The environment variable that tells the script.
    pub variable: Option<String>,
}

impl Step for ScriptOverlay {
    fn id(&self) -> String {
        self.overlay.id()
    }
    fn kind(&self) -> &'static str {
        "overlay"
    }
    fn name(&self) -> String {
        self.overlay.name.value.clone()
    }
    fn place(&self) -> &Place {
        &self.overlay.name.place
    }

    fn facts(&self, world: &World, parallel: bool) -> Result<Facts, Fault> {
        let mut facts = Facts::new(Key::new("overlay-script", 2));
        self.tree("folder", &self.path, world, parallel, &mut facts)
            .map_err(|fault| fault.at(self.place(), "this overlay"))?;
        for (name, value) in &self.overlay.variables {
            facts.key.fact("variable", format_args!("{name}={value}"));
        }
        for input in &self.overlay.inputs {
            let named = |fault: Fault| fault.at(&input.shown.place, "named here");
            facts.key.fact("input-variable", input.variable.as_deref().unwrap_or("-"));
            let fact = format!("input:{}", word(input.shown.value.as_bytes()));
            if input.path.is_dir() {
                self.tree(&fact, &input.path, world, parallel, &mut facts).map_err(named)?;
            } else {
                let file = world.memory.file(&input.path).map_err(named)?;
                facts.file(&fact, &input.path, world, file);
                facts.key.fact("input-mode", format_args!("{:04o}", mode(&input.path)));
            }
        }
        self.overlay.facts(world, &mut facts);
        self.overlay.filter_facts(&mut facts);
        Ok(facts)
    }

    fn finds(&self) -> bool {
        true
    }

    fn found_facts(&self, world: &World, found: &[String], facts: &mut Facts) -> Result<(), Fault> {
        let mut loads = false;
        for line in found {
            // A line of another version says nothing that could be looked at again: the script runs.
            match serde_json::from_str(line) {
                Ok(Asked::Overlay { name, .. }) => self.found_overlay(&name, world, facts)?,
                Ok(Asked::Program { name, files, .. }) => {
                    let found = resolve_program(&name, PATH);
                    let shown = found.as_deref().map_or("nothing".into(), |path| path.display().to_string());
                    facts.key.fact(&format!("program:{}", word(name.as_bytes())), shown);
                    files.iter().for_each(|file| host_file(file, world, facts));
                    loads = true;
                }
                Ok(Asked::Files { files }) => {
                    files.iter().for_each(|file| host_file(file, world, facts));
                    loads = true;
                }
                Err(_) => facts.key.fact("unreadable", line),
            }
        }
        if loads {
            // It decides which libraries a program loads.
            host_file(Path::new("/etc/ld.so.cache"), world, facts);
        }
        Ok(())
    }

    fn make(&self, world: &World, _below: &Stack, job: &Job<'_>) -> Result<Made, Fault> {
        let here = |fault: Fault| fault.at(self.place(), "this overlay");
        let stage = world.store.stage()?.path("script");
        std::fs::create_dir(&stage).map_err(|error| Fault::io("make", &stage, &error))?;
        if let Some(folder) = job.log.parent() {
            std::fs::create_dir_all(folder).map_err(|error| Fault::io("make", folder, &error))?;
        }
        let script = self.script(world, stage.clone(), job.log.clone());
        let run =
            Launcher::of(&world.program).run_tar_script(&script, job.cancel, &mut |line| (job.say)(line));
        let made = run.map_err(here).and_then(|run| {
            let rules = self.overlay.rules(world);
            let layer = take_in(&run.tar, &rules, |gathered| self.overlay.select(gathered), world, job);
            let found = run.asked.iter().filter_map(|asked| serde_json::to_string(asked).ok()).collect();
            Ok(Made { layer: layer.map_err(|fault| here(written(fault, &run.tar)))?, found })
        });
        // Left to the next sweep if it cannot be removed.
        let _ = std::fs::remove_dir_all(&stage);
        made
    }
}

impl ScriptOverlay {
    fn script(&self, world: &World, stage: PathBuf, log: PathBuf) -> TarScript {
        let mut variables = self.overlay.variables.clone();
        for input in &self.overlay.inputs {
            if let Some(name) = &input.variable {
                let path = input.path.canonicalize().unwrap_or_else(|_| input.path.clone());
                variables.insert(name.clone(), path.display().to_string());
            }
        }
        TarScript {
            overlay: self.path.clone(),
            search: world.overlay_path.clone(),
            variables,
            inputs: self.overlay.inputs.iter().map(|input| input.path.clone()).collect(),
            hidden: world.hidden.clone(),
            epoch: world.epoch.unsigned_abs(),
            stage,
            log,
            timeout: self.overlay.timeout.map(Duration::from_secs),
        }
    }

    /// A script packs modes and hard links as it finds them. Owners count only where its tar's are kept.
    fn detail(&self) -> Detail {
        if self.overlay.keeps_owners() { Detail::Whole } else { Detail::Packed }
    }

    fn tree(
        &self,
        fact: &str,
        path: &Path,
        world: &World,
        parallel: bool,
        facts: &mut Facts,
    ) -> Result<(), Fault> {
        let tree = world.memory.tree(path, &Filter::all(), self.detail(), parallel)?;
        facts.tree(fact, path, world, tree);
        Ok(())
    }

    fn found_overlay(&self, name: &str, world: &World, facts: &mut Facts) -> Result<(), Fault> {
        let fact = format!("ovld:{}", word(name.as_bytes()));
        match find_overlay(name, &world.overlay_path) {
            Some(path) => self.tree(&fact, &path, world, false, facts),
            None => {
                facts.key.fact(&fact, "nothing");
                Ok(())
            }
        }
    }
}

/// Nobody knows the script's tar by the path that it had in the cache.
fn written(mut fault: Fault, tar: &Path) -> Fault {
    fault.message = fault.message.replace(&format!("`{}`", tar.display()), "the tar that the script wrote");
    fault
}

/// A file of this machine whose bytes went into the layer. Its path is part of the key because libraries are installed
/// under the very path that they have here.
fn host_file(path: &Path, world: &World, facts: &mut Facts) {
    let fact = format!("host:{}", word(path.as_os_str().as_encoded_bytes()));
    match world.memory.file(path) {
        Ok(file) => facts.file(&fact, path, world, file),
        Err(_) => facts.key.fact(&fact, "nothing"),
    }
}

/// The permission bits of a file; none if it is gone, which reading it tells.
fn mode(path: &Path) -> u32 {
    path.metadata().map_or(0, |metadata| metadata.permissions().mode() & 0o7777)
}

/// Bytes as one word, for a fact's name.
fn word(bytes: &[u8]) -> String {
    let mut word = String::new();
    escape(bytes, &mut word);
    word
}
