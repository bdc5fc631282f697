//! An overlay that makes itself: a folder with an executable `tar`, as xcluster runs it.
//!
//! The contract, from `xcluster.sh` (github.com/Nordix/xcluster): `OVERLAY/tar OUT` writes a tar to the file `OUT`,
//! calls `$XCLUSTER` for other overlays and for programs of the host, and reads variables such as `SETUP`. It knows its
//! own folder from `$0`. Different from xcluster on purpose: what was not declared is not there, and a program that is
//! missing is an error.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::launch::{Ended, Launcher, Watch};
use super::wire::{Exit, HostRoot, Program, RootKind};
use super::{Asked, OUT, PATH, XCLUSTER, clear, root};
use crate::fault::Fault;
use crate::wording;

/// The name of the tar in the stage.
const TAR: &str = "overlay.tar";
/// Bytes of what a script prints that are kept.
const MOST_LOG: u64 = 2 << 20;

/// A run of an overlay's `tar`.
#[derive(Clone, Debug)]
pub struct TarScript {
    /// The host's folder with the executable `tar`.
    pub overlay: PathBuf,
    /// The search path for overlays; the first match wins. What is not there is left out.
    pub search: Vec<PathBuf>,
    /// Exported as they are.
    pub variables: BTreeMap<String, String>,
    /// Other files and folders of the host that the script sees, read-only, at their own path.
    pub inputs: Vec<PathBuf>,
    /// Files and folders of the host that it does not see even where it sees what is around them.
    pub hidden: Vec<PathBuf>,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: u64,
    /// An empty folder of the host where the result appears.
    pub stage: PathBuf,
    /// Where all that the script prints goes; of more than two mebibytes, the first and the last.
    pub log: PathBuf,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

/// What a run gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TarRun {
    /// The tar, a regular file and all that the stage holds.
    pub tar: PathBuf,
    /// What the result depends on beside what was given, in the order it was asked for, each thing once.
    pub asked: Vec<Asked>,
    /// The last lines that the script printed.
    pub tail: Vec<String>,
}

impl Launcher {
    /// Runs an overlay's `tar`. `line` is told what it prints, line by line; setting `stop` interrupts it.
    pub fn run_tar_script(
        &self,
        script: &TarScript,
        stop: &AtomicBool,
        line: &mut dyn FnMut(&str),
    ) -> Result<TarRun, Fault> {
        let order = order(script)?;
        let watch =
            Watch { log: &script.log, log_limit: MOST_LOG, masked: &[], timeout: script.timeout, stop, line };
        let run = self.run(RootKind::Host(Box::new(order)), watch).and_then(|ended| judge(script, ended));
        let kept = run.is_ok().then_some(TAR);
        let emptied =
            clear::empty(&script.stage, kept).map_err(|error| Fault::io("empty", &script.stage, &error));
        run.and_then(|run| emptied.map(|()| run))
    }
}

fn order(script: &TarScript) -> Result<HostRoot, Fault> {
    let overlay = real(&script.overlay)?;
    let program = overlay.join("tar");
    if let Err(error) = fs::metadata(&program) {
        return Err(Fault::io("run", &program, &error));
    }
    let mut visible = vec![overlay.clone()];
    for input in &script.inputs {
        visible.push(real(input)?);
    }
    visible.iter().try_for_each(|path| refuse_own(path))?;
    Ok(HostRoot {
        visible,
        hidden: real_ones(&script.hidden)?,
        search: real_ones(&script.search)?,
        exported: script.variables.keys().cloned().collect(),
        out: Some(empty_stage(&script.stage)?),
        program: Some(Program {
            path: program,
            arguments: vec![format!("{OUT}/{TAR}")],
            folder: overlay,
            environment: environment(script),
        }),
    })
}

/// The real, absolute path.
pub(super) fn real(path: &Path) -> Result<PathBuf, Fault> {
    let real = path.canonicalize().map_err(|error| Fault::io("read", path, &error))?;
    match real.to_str() {
        Some(_) => Ok(real),
        None => Err(Fault::error(
            "sandbox/not-utf8",
            format!("the name of `{}` is not UTF-8, so no program can be shown it", real.display()),
        )
        .help("rename it, or move it to another folder")),
    }
}

/// The real paths of those that are there.
pub(super) fn real_ones(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Fault> {
    paths.iter().filter(|path| path.exists()).map(|path| real(path)).collect()
}

/// Refuses what would take the place of the sandbox's own folders, or bring in the machine itself.
fn refuse_own(path: &Path) -> Result<(), Fault> {
    let holds_own = root::OWN.iter().any(|own| Path::new(own).starts_with(path));
    // What people keep in /dev/shm is data like that in /tmp.
    let machine = ["/dev", "/imgbuild", "/proc", "/sys"].iter().any(|folder| path.starts_with(folder))
        && !path.starts_with("/dev/shm");
    if !holds_own && !machine {
        return Ok(());
    }
    let message = format!("`{}` cannot be shown to a script: it has a `{0}` of its own", path.display());
    Err(Fault::error("sandbox/own-folder", message)
        .help("name the folders or files in it that the script needs"))
}

fn empty_stage(stage: &Path) -> Result<PathBuf, Fault> {
    let mut entries = fs::read_dir(stage).map_err(|error| Fault::io("read", stage, &error))?;
    if entries.next().is_some() {
        let message =
            format!("`{}` is not empty, so a result could not be told from what is there", stage.display());
        return Err(Fault::build("sandbox/stage", message).help("empty it"));
    }
    real(stage)
}

/// The whole environment. What the manifest declares wins, but for `XCLUSTER`, which is not its to say.
fn environment(script: &TarScript) -> BTreeMap<String, String> {
    let epoch = script.epoch.to_string();
    let fixed = [
        ("HOME", "/home/imgbuild"),
        ("LANG", "C.UTF-8"),
        ("LOGNAME", "imgbuild"),
        ("PATH", PATH),
        ("SOURCE_DATE_EPOCH", &epoch),
        ("TMPDIR", "/tmp"),
        ("TZ", "UTC"),
        ("USER", "imgbuild"),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_string(), value.to_string());
    let mut environment: BTreeMap<String, String> = fixed.into_iter().map(owned).collect();
    environment.extend(script.variables.clone());
    environment.insert("XCLUSTER".into(), XCLUSTER.into());
    environment
}

fn judge(script: &TarScript, ended: Ended) -> Result<TarRun, Fault> {
    let name = script.overlay.join("tar");
    let name = name.display();
    let fault = match (&ended.not_started, ended.exit) {
        (Some(reason), _) => not_started(&script.overlay, reason),
        _ if !ended.missing.is_empty() => missing(&name, &ended.missing),
        (None, Some(Exit::Code(0))) => match take_tar(&script.stage) {
            Ok(tar) => return Ok(TarRun { tar, asked: ended.asked, tail: ended.tail }),
            Err(why) => Fault::build("sandbox/no-tar", format!("`{name}` ended well, but {why}")).help(
                "an overlay's `tar` writes an uncompressed tar to the file that its first argument names",
            ),
        },
        (None, Some(Exit::Code(code))) => {
            Fault::build("sandbox/failed", format!("`{name}` ended with exit code {code}"))
        }
        (None, Some(Exit::Signal(signal))) => Fault::build(
            "sandbox/failed",
            format!("`{name}` was ended by signal {signal}{}", signal_name(signal)),
        ),
        (None, None) => Fault::build("sandbox/failed", format!("`{name}` ended, and nobody knows how")),
    };
    let whole = format!("all that it printed is in `{}`", script.log.display());
    let help = overlay_help(script, &ended.asked).or(fault.help.clone()).unwrap_or(whole);
    Err(Fault { output: ended.tail, ..fault }.help(help))
}

fn not_started(overlay: &Path, reason: &str) -> Fault {
    let tar = overlay.join("tar");
    let executable = fs::metadata(&tar).is_ok_and(|found| found.permissions().mode() & 0o111 != 0);
    let help = match executable {
        false => format!("make it executable: `chmod +x {}`", tar.display()),
        true => "see its first line: after `#!` stands a program of this machine, in `/usr` or `/bin`".into(),
    };
    Fault::build("sandbox/not-started", format!("cannot start `{}`: {reason}", tar.display())).help(help)
}

fn missing(name: &dyn std::fmt::Display, missing: &[String]) -> Fault {
    const SHOWN: usize = 8;
    let mut list: Vec<String> = missing.iter().take(SHOWN).map(|what| wording::printable(what)).collect();
    if missing.len() > SHOWN {
        list.push(format!("{} more", missing.len() - SHOWN));
    }
    Fault::build(
        "sandbox/missing-program",
        format!("`{name}` needs what this machine lacks: {}", list.join(", ")),
    )
    .help("install it on this machine, or take it out of the script")
}

/// The tar, made readable, or why there is none. Nothing runs any more that could change it meanwhile.
fn take_tar(stage: &Path) -> Result<PathBuf, String> {
    let tar = stage.join(TAR);
    let found = match fs::symlink_metadata(&tar) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err("wrote no tar".into()),
        found => {
            found.map_err(|error| format!("its tar cannot be read: {}", crate::fault::reason(&error)))?
        }
    };
    if !found.is_file() {
        return Err("what it left in place of a tar is no regular file".into());
    }
    if found.len() == 0 {
        return Err("its tar is empty".into());
    }
    fs::set_permissions(&tar, Permissions::from_mode(0o644))
        .map_err(|error| format!("its tar cannot be read: {}", crate::fault::reason(&error)))?;
    Ok(tar)
}

/// What people call the signals that end programs.
fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => " (illegal instruction)",
        6 => " (aborted)",
        7 => " (bus error)",
        8 => " (arithmetic error)",
        9 => " (killed; perhaps for want of memory)",
        11 => " (segmentation fault)",
        13 => " (broken pipe)",
        15 => " (terminated)",
        _ => "",
    }
}

/// The way out where the last overlay that was asked for is not there.
fn overlay_help(script: &TarScript, asked: &[Asked]) -> Option<String> {
    let lost = asked.iter().rev().find_map(|asked| match asked {
        Asked::Overlay { name, found: None } => Some(name),
        _ => None,
    })?;
    let name = wording::printable(lost);
    let itself = script.search.iter().find(|folder| folder.ends_with(lost) && folder.join("tar").exists());
    if let Some(folder) = itself {
        let folder = folder.display();
        return Some(format!(
            "`{folder}` on the search path is the overlay `{name}` itself; name the folder that it is in"
        ));
    }
    let entries = script.search.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let known: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let guess = wording::nearest(lost, known.iter().map(String::as_str));
    let guess = guess.map(|guess| format!("; did you mean `{guess}`?")).unwrap_or_default();
    Some(format!("it asked for the overlay `{name}`, which is not on the search path{guess}"))
}
