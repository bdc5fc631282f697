//! A tar file as a layer: an overlay that is one, what a `tar` script wrote, a base.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek};
use std::path::{Path, PathBuf};

use super::overlay::Overlay;
use crate::codec::{self, Compression};
use crate::fault::{Fault, Place};
use crate::key::Key;
use crate::layer::read::{BadTar, Gathered, Rules, read_tar, write_from_spool};
use crate::store::{Layer, Stamp};
use crate::work::{Facts, Job, Made, Stack, Step, World};

/// An overlay that is a tar file.
#[derive(Debug)]
pub struct ArchiveOverlay {
    /// What the manifest says of it.
    pub overlay: Overlay,
    /// The file.
    pub path: PathBuf,
}

impl Step for ArchiveOverlay {
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

    fn facts(&self, world: &World, _parallel: bool) -> Result<Facts, Fault> {
        let file = world.memory.file(&self.path).map_err(|fault| fault.at(self.place(), "this overlay"))?;
        let mut facts = Facts::new(Key::new("overlay-tar", 1));
        facts.file("tar", &self.path, world, file);
        self.overlay.facts(world, &mut facts);
        self.overlay.filter_facts(&mut facts);
        Ok(facts)
    }

    fn make(&self, world: &World, _below: &Stack, job: &Job<'_>) -> Result<Made, Fault> {
        let rules = self.overlay.rules(world);
        let layer = take_in(&self.path, &rules, |gathered| self.overlay.select(gathered), world, job)
            .map_err(|fault| fault.at(self.place(), "this overlay"))?;
        Ok(Made { layer, found: Vec::new() })
    }
}

/// Makes a layer of the tar file at `path`; `change` may leave out entries and set modes and owners.
pub fn take_in(
    path: &Path,
    rules: &Rules,
    change: impl FnOnce(&mut Gathered),
    world: &World,
    job: &Job<'_>,
) -> Result<Layer, Fault> {
    job.go_on()?;
    let failed = |error: std::io::Error| Fault::io("read", path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let before = Stamp::of(&file.metadata().map_err(failed)?);
    let mut start = Vec::new();
    (&file).take(512).read_to_end(&mut start).map_err(failed)?;
    file.rewind().map_err(failed)?;
    let stage = world.store.stage()?;
    let (mut gathered, contents) = match codec::sniff(&start) {
        Compression::None => {
            let mut source = Cancellable { inner: BufReader::with_capacity(1 << 18, &file), job };
            let gathered = read_tar(&mut source, rules, None).map_err(|bad| refused(path, &bad))?;
            (gathered, file.try_clone().map_err(failed)?)
        }
        _ => unpacked(&file, path, rules, &stage.path("contents"), job)?,
    };
    change(&mut gathered);
    let layer_path = stage.path("layer.tar");
    let write = || {
        let out = File::create_new(&layer_path)?;
        let (_, index) =
            write_from_spool(gathered.into_entries(), &contents, BufWriter::with_capacity(1 << 20, out))?;
        Ok(index)
    };
    let index = write().map_err(|error: std::io::Error| Fault::io("write", &layer_path, &error))?;
    if Stamp::of(&file.metadata().map_err(failed)?) != before {
        return Err(changed_meanwhile(path));
    }
    world.store.keep_layer(&layer_path, index)
}

/// What is in a compressed tar, and its contents, which are unpacked to a file at `spool_path` that nobody else sees.
fn unpacked(
    file: &File,
    path: &Path,
    rules: &Rules,
    spool_path: &Path,
    job: &Job<'_>,
) -> Result<(Gathered, File), Fault> {
    let failed = |error: std::io::Error| Fault::io("read", path, &error);
    let unwritten = |error: std::io::Error| Fault::io("write", spool_path, &error);
    let spool =
        File::options().read(true).write(true).create_new(true).open(spool_path).map_err(unwritten)?;
    // Only the open file is needed: it is gone when it is closed.
    let _ = std::fs::remove_file(spool_path);
    let inner = codec::reader(BufReader::with_capacity(1 << 18, file)).map_err(failed)?;
    let mut source = Cancellable { inner, job };
    let mut writer = BufWriter::with_capacity(1 << 20, &spool);
    let gathered = read_tar(&mut source, rules, Some(&mut writer)).map_err(|bad| refused(path, &bad))?;
    // Damage behind the tar's end is damage too.
    std::io::copy(&mut source, &mut std::io::sink()).map_err(failed)?;
    std::io::Write::flush(&mut writer).map_err(unwritten)?;
    drop(writer);
    Ok((gathered, spool))
}

/// Somebody changes what is being read.
pub(super) fn changed_meanwhile(path: &Path) -> Fault {
    Fault::build("source/changed", format!("`{}` changed while it was read", path.display()))
        .help("build again when nobody writes to it any more")
}

fn refused(path: &Path, bad: &BadTar) -> Fault {
    match bad {
        BadTar::Io(error) => Fault::io("read", path, error),
        _ => Fault::build("tar/refused", format!("cannot take in `{}`: {bad}", path.display())),
    }
}

/// A reader that fails as soon as nobody waits for the work any more.
struct Cancellable<'a, R> {
    inner: R,
    job: &'a Job<'a>,
}

impl<R: Read> Read for Cancellable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.job.go_on().map_err(|fault| std::io::Error::other(fault.message))?;
        self.inner.read(buffer)
    }
}
