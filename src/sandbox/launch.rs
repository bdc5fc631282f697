//! imgbuild's side of a sandbox: starts one, listens to it, and ends it.

use std::collections::HashSet;
use std::io::{self, ErrorKind, PipeReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::output::Output;
use super::wire::{Exit, Order, Refusal, RootKind, Word};
use super::{Asked, STAGE, refusal};
use crate::fault::Fault;
use crate::wording;

/// How soon an interruption is noticed.
pub(super) const ROUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// How long a sandbox may take to end after it was told to, before it is killed from outside.
const GRACE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// How long a sandbox with nothing in it may take.
const PROBE: Duration = Duration::from_secs(10);

/// Starts sandboxes.
///
/// Everything that runs ends when the thread that started it ends, or when imgbuild is killed in whatever way. All
/// calls here wait in the calling thread, so there is nothing to heed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launcher {
    program: PathBuf,
}

impl Default for Launcher {
    /// Starts the program that is running, which must be imgbuild's: see [`entered`](super::entered).
    fn default() -> Launcher {
        Launcher::of("/proc/self/exe")
    }
}

impl Launcher {
    /// Starts `program`, which must be imgbuild's; for who uses the library from elsewhere.
    pub fn of(program: impl Into<PathBuf>) -> Launcher {
        Launcher { program: program.into() }
    }

    /// Whether sandboxes can be made here. Makes one and leaves it, which takes a few milliseconds.
    pub fn available(&self) -> Result<(), Fault> {
        let never = AtomicBool::new(false);
        self.run(RootKind::Host(Box::default()), Watch::probe(&never, &mut |_| {})).map(|_| ())
    }

    /// Runs what `order` says. Root tries without a user namespace where there is none to be had.
    pub(super) fn run(&self, root: RootKind, mut watch: Watch<'_>) -> Result<Ended, Fault> {
        with_or_without_users(root, |order| self.run_once(order, &mut watch))
    }

    fn run_once(&self, order: &Order, watch: &mut Watch<'_>) -> Result<Ended, Fault> {
        let output = Output::new(watch.log, watch.log_limit, watch.masked, watch.line)
            .map_err(|error| Fault::io("write", watch.log, &error))?;
        let end = watch.timeout.and_then(|time| Instant::now().checked_add(time));
        let started = self.start(order, false)?;
        let mut run = Run { started, output, words: Words::default() };
        let stopped = run.listen(watch.stop, end).map_err(|error| lost(&error));
        run.finish(stopped?, watch.log, watch.timeout)
    }

    /// Starts the outer stage; what programs say on standard error comes with the rest, or `apart`.
    pub(super) fn start(&self, order: &Order, apart: bool) -> Result<Started, Fault> {
        self.spawn(order, apart).map_err(|error| cannot_start(&error))
    }

    fn spawn(&self, order: &Order, apart: bool) -> io::Result<Started> {
        let (socket, inner) = UnixStream::pair()?;
        let (reader, writer) = io::pipe()?;
        let (errors, errors_writer) = match apart {
            true => io::pipe().map(|(errors, writer)| (Some(errors), writer))?,
            false => (None, writer.try_clone()?),
        };
        let child = Command::new(&self.program)
            .arg0("imgbuild")
            .arg(STAGE)
            .env_clear()
            .current_dir("/")
            // An interrupt from the terminal is for imgbuild, which ends its sandboxes in order.
            .process_group(0)
            .stdin(OwnedFd::from(inner))
            .stdout(writer)
            .stderr(errors_writer)
            .spawn()?;
        let mut started = Started { child, socket: Some(socket), reader: Some(reader), errors };
        // A stage that has ended has said why, which is better than that it did not listen.
        let _ = started.order(order);
        Ok(started)
    }
}

/// Does `once` with a user namespace, and for root, where there is none to be had, without.
pub(super) fn with_or_without_users(
    root: RootKind,
    mut once: impl FnMut(&Order) -> Result<Ended, Fault>,
) -> Result<Ended, Fault> {
    let mut order = Order { own_users: true, root };
    let first = once(&order)?;
    let Some(refused) = first.refused else { return Ok(first) };
    if refused.asked || !rustix::process::geteuid().is_root() {
        return Err(refusal::fault(&refused));
    }
    order.own_users = false;
    let second = once(&order)?;
    match second.refused {
        None => Ok(second),
        Some(second) if second.asked => Err(refusal::fault(&second)),
        Some(_) => Err(refusal::fault(&refused)),
    }
}

/// What a run is watched with.
pub(super) struct Watch<'a> {
    /// Where all that it prints goes.
    pub log: &'a Path,
    /// Bytes of the log that are kept; the middle of more is left out.
    pub log_limit: u64,
    /// What is told nowhere.
    pub masked: &'a [Vec<u8>],
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// Set to interrupt it.
    pub stop: &'a AtomicBool,
    /// Told every line.
    pub line: &'a mut dyn FnMut(&str),
}

impl<'a> Watch<'a> {
    /// What a sandbox with nothing in it is watched with.
    pub fn probe(stop: &'a AtomicBool, line: &'a mut dyn FnMut(&str)) -> Watch<'a> {
        Watch { log: Path::new("/dev/null"), log_limit: 0, masked: &[], timeout: Some(PROBE), stop, line }
    }
}

/// How a run ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// How the program ended; nothing if it could not be started.
    pub exit: Option<Exit>,
    /// Why the program could not be started.
    pub not_started: Option<String>,
    /// What it asked for, each thing once.
    pub asked: Vec<Asked>,
    /// What it asked for that is not there.
    pub missing: Vec<String>,
    /// How each of an image's programs ended.
    pub exits: Vec<Exit>,
    /// What an image's programs left running.
    pub left: Vec<String>,
    /// Why what an image's programs left cannot be taken.
    pub unfit: Option<String>,
    /// Its last lines.
    pub tail: Vec<String>,
    refused: Option<Refusal>,
}

impl Ended {
    /// Whether the sandbox said how it ended; otherwise something killed it.
    pub fn is_told(&self) -> bool {
        self.exit.is_some() || self.not_started.is_some() || self.refused.is_some()
    }
}

/// What was heard from a sandbox so far.
#[derive(Default)]
pub(super) struct Words {
    bytes: Vec<u8>,
    seen: HashSet<Word>,
    /// What it amounts to.
    pub ended: Ended,
}

impl Words {
    /// Hears the next piece of what is said on the socket; false if nothing more will be.
    pub fn hear(&mut self, mut socket: &UnixStream, piece: &mut [u8]) -> io::Result<bool> {
        match socket.read(piece) {
            Ok(0) => return Ok(false),
            Ok(length) => self.bytes.extend_from_slice(piece.get(..length).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            // The outer stage ended without reading its order.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(error),
        }
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            self.note(serde_json::from_slice(&line)?);
        }
        Ok(true)
    }

    fn note(&mut self, word: Word) {
        if !self.seen.insert(word.clone()) {
            return;
        }
        let ended = &mut self.ended;
        match word {
            Word::Refused(refused) => ended.refused = Some(refused),
            Word::NotStarted { reason } => ended.not_started = Some(reason),
            Word::Ended(exit) => ended.exit = Some(exit),
            Word::Called(_, exit) => ended.exits.push(exit),
            Word::Left(names) => ended.left = names,
            Word::Unfit(what) => ended.unfit = Some(what),
            Word::Asked(asked) => ended.asked.push(asked),
            Word::Missing(what) => ended.missing.push(what),
        }
    }
}

/// Says a word (or an order) on a socket.
pub(super) fn say(mut socket: &UnixStream, word: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    socket.write_all(&line)
}

/// The outer stage, with the ends of what connects us; an end that was closed from inside is gone.
pub(super) struct Started {
    child: Child,
    /// Where we speak and hear [`Word`]s.
    pub socket: Option<UnixStream>,
    /// What programs print.
    pub reader: Option<PipeReader>,
    /// What they print on standard error, where that is apart.
    pub errors: Option<PipeReader>,
}

impl Started {
    fn order(&mut self, order: &Order) -> io::Result<()> {
        let Some(mut socket) = self.socket.as_ref() else { return Ok(()) };
        say(socket, order)?;
        order.bytes().into_iter().try_for_each(|bytes| socket.write_all(bytes))
    }

    /// Whether the outer stage ends by itself, as it does when the inner one finds its socket closed.
    fn ends_soon(&self) -> bool {
        let Ok(process) = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()) else { return false };
        matches!(poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&GRACE)), Ok(1))
    }
}

/// Whoever leaves early leaves nothing running.
impl Drop for Started {
    fn drop(&mut self) {
        self.socket = None;
        if !self.ends_soon() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Why a run was ended from outside.
enum Stopped {
    Interrupted,
    TimeOut,
}

struct Run<'a> {
    started: Started,
    output: Output<'a>,
    words: Words,
}

impl Run<'_> {
    /// Listens until both ends are closed from inside, which happens when all there has ended.
    fn listen(&mut self, stop: &AtomicBool, end: Option<Instant>) -> io::Result<Option<Stopped>> {
        let mut piece = vec![0; 64 * 1024];
        while self.started.socket.is_some() || self.started.reader.is_some() {
            if stop.load(Ordering::Relaxed) {
                return Ok(Some(Stopped::Interrupted));
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                return Ok(Some(Stopped::TimeOut));
            }
            let (socket, reader) = self.wait()?;
            if socket {
                self.hear(&mut piece)?;
            }
            if reader {
                self.read(&mut piece)?;
            }
        }
        Ok(None)
    }

    fn wait(&self) -> io::Result<(bool, bool)> {
        let Started { socket, reader, .. } = &self.started;
        let mut descriptors: Vec<PollFd<'_>> = Vec::new();
        descriptors.extend(socket.as_ref().map(|socket| PollFd::new(socket, PollFlags::IN)));
        descriptors.extend(reader.as_ref().map(|reader| PollFd::new(reader, PollFlags::IN)));
        match poll(&mut descriptors, Some(&ROUND)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = descriptors.iter().map(|descriptor| !descriptor.revents().is_empty());
        let socket = socket.is_some() && ready.next().unwrap_or_default();
        let reader = reader.is_some() && ready.next().unwrap_or_default();
        Ok((socket, reader))
    }

    fn read(&mut self, piece: &mut [u8]) -> io::Result<()> {
        let Some(reader) = &mut self.started.reader else { return Ok(()) };
        match reader.read(piece) {
            Ok(0) => self.started.reader = None,
            Ok(length) => self.output.take(piece.get(..length).unwrap_or_default())?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn hear(&mut self, piece: &mut [u8]) -> io::Result<()> {
        let Some(socket) = &self.started.socket else { return Ok(()) };
        if !self.words.hear(socket, piece)? {
            self.started.socket = None;
        }
        Ok(())
    }

    fn finish(self, stopped: Option<Stopped>, log: &Path, limit: Option<Duration>) -> Result<Ended, Fault> {
        let Run { started, output, words } = self;
        drop(started);
        let mut ended = words.ended;
        ended.tail = output.finish().map_err(|error| Fault::io("write", log, &error))?;
        let fault = match stopped {
            Some(Stopped::Interrupted) => interrupted(),
            Some(Stopped::TimeOut) => {
                let limit = limit.unwrap_or_default();
                let message = format!("it took longer than {}", wording::duration(limit.as_secs_f64()));
                Fault::build("sandbox/timeout", message).help("allow it more time, or see what it waits for")
            }
            None if ended.is_told() => return Ok(ended),
            None => died(),
        };
        Err(Fault { output: ended.tail, ..fault })
    }
}

fn cannot_start(error: &io::Error) -> Fault {
    let message = format!("cannot start a process for a sandbox: {}", crate::fault::reason(error));
    Fault::machine("sandbox/start", message)
        .help("see the limits of this user (`ulimit -a`) and the memory that is left")
}

/// Somebody set `stop`.
pub(super) fn interrupted() -> Fault {
    Fault::build("sandbox/interrupted", "interrupted")
}

/// The sandbox ended without a word.
pub(super) fn died() -> Fault {
    Fault::machine("sandbox/died", "the sandbox was killed from outside")
        .help("see whether this machine ran out of memory (`dmesg`)")
}

/// The sandbox cannot be listened to.
pub(super) fn lost(error: &io::Error) -> Fault {
    let message = format!("cannot follow what runs in a sandbox: {}", crate::fault::reason(error));
    Fault::machine("sandbox/lost", message).help("see whether there is space for the log")
}
