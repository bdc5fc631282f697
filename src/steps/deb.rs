//! A Debian package as a layer: fetched, verified, unpacked once, and shared by every image that has it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::deb::control::Control;
use crate::deb::{Deb, unpack};
use crate::fault::{Fault, Place};
use crate::key::{Digest, Key};
use crate::layer::EntryPath;
use crate::store::{Layer, Record};
use crate::work::{Below, Facts, Job, Made, Stack, Step, World};

/// What kind of step it is.
pub const KIND: &str = "deb";

/// A line of what such a step finds out: an initramfs is made with something of it.
pub const EARLY: &str = "initramfs";

/// What holds what an initramfs is made of.
const EARLY_FOLDERS: [&str; 13] = [
    "boot/vmlinuz-",
    "boot/vmlinux-",
    "etc/initramfs-tools/",
    "etc/modprobe.d/",
    "lib/firmware/",
    "lib/modprobe.d/",
    "lib/modules/",
    "lib/udev/rules.d/",
    "usr/lib/firmware/",
    "usr/lib/modprobe.d/",
    "usr/lib/modules/",
    "usr/lib/udev/rules.d/",
    "usr/share/initramfs-tools/",
];

/// One package.
#[derive(Debug)]
pub struct DebStep {
    /// `deb:NAME_VERSION_ARCH`, and what tells it apart.
    pub id: String,
    /// The file.
    pub deb: Deb,
    /// Where it can be had.
    pub mirrors: Arc<[String]>,
    /// Where the manifest asks for the set that it belongs to.
    pub place: Place,
}

impl Step for DebStep {
    fn id(&self) -> String {
        self.id.clone()
    }
    fn kind(&self) -> &'static str {
        KIND
    }
    fn name(&self) -> String {
        self.deb.name.clone()
    }
    fn place(&self) -> &Place {
        &self.place
    }
    fn joins(&self) -> bool {
        true
    }

    fn file(&self) -> Option<(&Deb, &[String])> {
        Some((&self.deb, &self.mirrors))
    }

    fn likely_seconds(&self) -> f64 {
        // A core decompresses about so many bytes in a second.
        self.deb.size as f64 / 20e6
    }

    fn facts(&self, _world: &World, _parallel: bool) -> Result<Facts, Fault> {
        Ok(Facts::new(key(&self.deb)))
    }

    fn make(&self, world: &World, _below: &Stack, job: &Job<'_>) -> Result<Made, Fault> {
        make(&self.deb, &self.mirrors, world, job).map_err(|fault| fault.at(&self.place, "asked for here"))
    }
}

/// The key of a package's layer: what it is, not where it came from, and no epoch, which images differ in.
pub fn key(deb: &Deb) -> Key {
    let mut key = Key::new("deb", 2);
    key.fact("deb", format_args!("{} {}", deb.digest, deb.size));
    key.fact("package", deb.id());
    key
}

/// Fetches and unpacks a package.
pub fn make(deb: &Deb, mirrors: &[String], world: &World, job: &Job<'_>) -> Result<Made, Fault> {
    job.go_on()?;
    let file = world.fetcher.deb(deb, mirrors, job.cancel, &|_| {})?;
    let unpacked = unpack::unpack(&file, deb, &world.store, &|| job.go_on())?;
    let found = found(&unpacked.control, &unpacked.layer);
    Ok(Made { layer: unpacked.layer, found })
}

/// The layer of a package, made if it is not there.
pub fn layer(step: &DebStep, world: &World, stop: &AtomicBool) -> Result<Layer, Fault> {
    let key = key(&step.deb);
    let known =
        world.store.record(key.digest()).and_then(|record| world.store.layer(*record.layers.first()?));
    if let Some(layer) = known {
        world.store.touch(layer.id);
        return Ok(layer);
    }
    let job = Job { cancel: stop, say: &|_| {}, warn: &|_| {}, log: PathBuf::new() };
    let start = Instant::now();
    let made = step.make(world, &Stack::default(), &job)?;
    let record =
        Record { layers: vec![made.layer.id], seconds: start.elapsed().as_secs_f64(), found: made.found };
    world.store.keep_record(&key, &record)?;
    Ok(made.layer)
}

fn found(control: &Control, layer: &Layer) -> Vec<String> {
    control.found().into_iter().chain(early(layer)).collect()
}

/// The line about a layer that an initramfs is made with something of.
fn early(layer: &Layer) -> Option<String> {
    let mut files = layer.index.entries.iter().filter(|entry| entry.kind.size() > 0);
    files.any(|entry| is_early_path(&entry.path)).then(|| EARLY.to_string())
}

/// Whether an initramfs is made with what is at that path.
pub fn is_early_path(path: &EntryPath) -> bool {
    EARLY_FOLDERS.iter().any(|folder| path.as_bytes().starts_with(folder.as_bytes()))
}

/// States layers below as a step sees them that configures: a package's stanza is in no layer, and counts.
pub fn below_facts<'b>(below: impl Iterator<Item = &'b Below>, key: &mut Key) {
    for Below { layer, kind, found, .. } in below {
        match *kind {
            KIND => key.fact("layer", format_args!("{layer} {}", Digest::of(found.join("\n")))),
            _ => key.fact("layer", layer),
        }
    }
}

/// Whether an initramfs is made with something of the package.
pub fn is_early(found: &[String]) -> bool {
    found.iter().any(|line| line == EARLY)
}
