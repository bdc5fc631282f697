//! Programs of an image, run in the image's own file system: a package's scripts, hooks, a shell.
//!
//! The root is an overlay: folders of the host below, which nobody writes to, and a tmpfs above them, which dies with
//! the sandbox. What the programs change is told at the end by one tar of that upper part ([`ImageRun::capture`]).
//! The programs are the image's own, or the host's, which see the image as a folder ([`View`]).
//!
//! Every program is the image's root, with what a package's scripts need of a root's power inside, and with none
//! outside: the ids of an image are a user namespace's. For root these are the host's own ids, for anyone else the ids
//! that `/etc/subuid` gives; the tar is the same.

mod capture;
mod console;
mod programs;
mod remove;
mod root;
mod run;
mod stage;
pub(super) mod text;
mod talk;
mod top;
mod within;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::launch::{Ended, Launcher, Watch};
use super::mask::Mask;
use super::tar_script::{real, real_ones};
use super::wire::{Exit, RootKind, Talk};
use crate::fault::Fault;
pub use console::Console;
pub use run::{Call, Given, ImageRan, ImageRun, Removal, Removed, Shown, Special, SpecialKind, TARGET, View};
pub(super) use stage::inner_stage;

/// Bytes of what programs print that are kept.
const MOST_LOG: u64 = 64 << 20;
/// Folders that can lie above each other; an overlay has 500 layers at most.
const MOST_LOWERS: usize = 400;

impl Launcher {
    /// Whether programs of an image can be run here. Makes a sandbox and leaves it.
    pub fn images_available(&self) -> Result<(), Fault> {
        let never = AtomicBool::new(false);
        let run = RootKind::Image(Box::default(), Talk::No);
        self.run(run, Watch::probe(&never, &mut |_| {})).map(|_| ())
    }

    /// Runs programs in an image. `line` is told what they print, line by line; setting `stop` interrupts them. A flood
    /// costs no memory: of many lines at once only the last are told, and the log is bounded.
    ///
    /// # Errors
    ///
    /// Where the sandbox cannot be made (the machine's), where what was asked for cannot be shown or taken, where it was
    /// interrupted or took too long. A program that fails is no error: see [`ImageRan::failed`].
    pub fn run_image(
        &self,
        run: &ImageRun,
        stop: &AtomicBool,
        line: &mut dyn FnMut(&str),
    ) -> Result<ImageRan, Fault> {
        let order = RootKind::Image(Box::new(order(run)?), Talk::No);
        let watch = Watch {
            log: &run.log,
            log_limit: MOST_LOG,
            masked: &run.masked,
            timeout: run.timeout,
            stop,
            line,
        };
        let ran = self.run(order, watch).and_then(|ended| judge(run, ended));
        clear_capture(run, &ran);
        ran
    }
}

/// The run with real paths of the host, and with an empty file for the capture.
fn order(run: &ImageRun) -> Result<ImageRun, Fault> {
    if run.lowers.len() > MOST_LOWERS {
        let message = format!("an image of {} folders is more than can be put together", run.lowers.len());
        return Err(Fault::build("sandbox/lowers", message)
            .help(format!("merge some of them: at most {MOST_LOWERS} can lie above each other")));
    }
    let mut order = run.clone();
    order.lowers.iter_mut().try_for_each(make_real)?;
    order.shown.iter_mut().chain(&mut order.written).map(|shown| &mut shown.host).try_for_each(make_real)?;
    order.hidden = real_ones(&order.hidden)?;
    // Many specials have one spool.
    let mut known: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for special in order.specials.iter_mut().chain(&mut order.scratch) {
        let SpecialKind::File { file, .. } = &mut special.kind else { continue };
        match known.get(file) {
            Some(found) => file.clone_from(found),
            None => {
                let found = real(file)?;
                known.insert(std::mem::replace(file, found.clone()), found);
            }
        }
    }
    if let Some(capture) = &mut order.capture {
        File::create(&*capture).map_err(|error| Fault::io("write", capture, &error))?;
        make_real(capture)?;
    }
    let usual = ImageRun::usual_environment().map(|(name, value)| (name.to_string(), value.to_string()));
    order.environment = usual.into_iter().chain(order.environment).collect();
    Ok(order)
}

fn make_real(path: &mut PathBuf) -> Result<(), Fault> {
    *path = real(path)?;
    Ok(())
}

fn judge(run: &ImageRun, mut ended: Ended) -> Result<ImageRan, Fault> {
    if let Some(mut mask) = Mask::of(&run.masked) {
        ended.left.iter_mut().chain(&mut ended.unfit).for_each(|text| *text = mask.text(text));
        ended.left.sort();
        ended.left.dedup();
    }
    let bad = |(number, exit): (usize, &Exit)| {
        let call = run.commands.get(number)?;
        (call.must_succeed && *exit != Exit::Code(0)).then_some(number)
    };
    let failed = ended.exits.iter().enumerate().find_map(bad);
    match ended.unfit {
        // What went wrong first is what people have to know.
        Some(unfit) if failed.is_none() => {
            let fault = Fault::build("sandbox/capture", unfit);
            Err(Fault { output: ended.tail, ..fault })
        }
        unfit => {
            let finished = unfit.is_none() && (failed.is_none() || run.capture_always);
            let captured = finished && run.capture.is_some();
            Ok(ImageRan { exits: ended.exits, failed, tail: ended.tail, left: ended.left, captured })
        }
    }
}

/// A capture that is not whole is not left to be taken for one.
fn clear_capture(run: &ImageRun, ran: &Result<ImageRan, Fault>) {
    let whole = ran.as_ref().is_ok_and(|ran| ran.captured);
    if let (Some(capture), false) = (&run.capture, whole) {
        let _ = fs::remove_file(Path::new(capture));
    }
}
