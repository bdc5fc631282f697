//! What a test asks of a machine, act by act, and what it hears.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anstream::adapter::strip_str;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::lines::{Line, pause};
use super::machine::{CONSOLE, READY, SHELL, kvm_works, run};
use super::{Act, Files, Trial};
use crate::fault::Fault;
use crate::lang::Spanned;
use crate::sandbox::image::{ImageRan, ImageRun};
use crate::wording;
use crate::work::{Job, World, Writing};

/// What a machine may say before nobody listens any more: bytes.
const MOST_SAID: usize = 64 << 20;
/// Lines of what was heard that a failure tells.
const TAIL: usize = 20;
/// Letters of a command that are typed as one line: a terminal takes 4095 (termios(3)).
const LINE: usize = 1024;
/// What is missed where a machine has no shell for `run`, and what helps.
const NO_SHELL: &str = "the shell that `run` needs did not come";
const SHELL_HELP: &str = "it comes with systemd 256 or newer, when that has booted: give it more time with `timeout=`, or log \
                          in with `send` and say `on=\"console\"`";

impl Trial {
    /// Whether it needs the shell that comes into the machine.
    pub(super) fn runs_commands(&self) -> bool {
        self.acts.iter().any(|act| matches!(act, Act::Run { on_console: false, .. }))
    }

    /// Boots the machine and does all that is asked; what its console said is written, whatever becomes of that.
    pub(super) fn converse(
        &self,
        tree: &ImageRun,
        files: Files<'_>,
        writing: &Writing<'_>,
    ) -> Result<(), Fault> {
        let folder = writing.world.store.stage()?.path("machine");
        fs::create_dir(&folder).map_err(|error| Fault::io("make", &folder, &error))?;
        let ended = self.in_folder(tree, files, &folder, writing);
        let _ = fs::remove_dir_all(&folder);
        ended
    }

    fn in_folder(
        &self,
        tree: &ImageRun,
        files: Files<'_>,
        folder: &Path,
        writing: &Writing<'_>,
    ) -> Result<(), Fault> {
        let Writing { world, job, path, .. } = *writing;
        let failed = |error: io::Error| Fault::io("make", folder, &error);
        let kvm = kvm_works(self.machine.arch(), tree, folder, world, job);
        if !kvm {
            (job.say)("the processor is emulated, which is slow: KVM does not work here");
        }
        let machine = self.machine(tree, files, folder, kvm)?;
        let over = AtomicBool::new(false);
        let mut talk = Conversation {
            console: Line::make(folder, CONSOLE).map_err(failed)?,
            shell: self.runs_commands().then(|| Line::make(folder, SHELL)).transpose().map_err(failed)?,
            said: Vec::new(),
            told: 0,
            job,
            over: &over,
            until: Instant::now() + Duration::from_secs(self.timeout.unsigned_abs()),
            timeout: self.timeout,
        };
        let (heard, ran) = talk.while_it_runs(&self.acts, &machine, world);
        fs::write(path, &talk.said).map_err(|error| Fault::io("write", path, &error))?;
        let log = (!talk.said.is_empty()).then(|| world.shown(writing.goes_to));
        heard.map_err(|missed| self.failure(missed, ran, log))
    }

    fn failure(&self, missed: Missed, ran: Result<ImageRan, Fault>, log: Option<String>) -> Fault {
        let (why, place, output) = match missed {
            Missed::Act { why, place, output } => (why, place, output),
            Missed::Ended { what, place, output } => match ran {
                // The emulator's own words say more than a console that was never there.
                Err(fault) if !fault.is_interruption() => return fault.at(&self.stated.place, "this test"),
                Ok(ran) if output.is_empty() => (format!("the machine ended, and {what}"), place, ran.tail),
                _ => (format!("the machine ended, and {what}"), place, output),
            },
            Missed::Interrupted => return Fault::build("build/interrupted", "interrupted"),
        };
        let shell = why.contains(NO_SHELL).then(|| SHELL_HELP.to_string());
        let log = log.map(|log| format!("what the console said is in `{log}`"));
        let help = [shell, log].into_iter().flatten().reduce(|one, other| format!("{one}; {other}"));
        let fault = Fault::build("test/failed", format!("the test `{}` failed: {why}", self.name))
            .at(&place, "this did not happen")
            .maybe_help(help);
        Fault { output, ..fault }
    }
}

/// Why a test did not go on.
enum Missed {
    /// Something did not come, or ended badly.
    Act {
        why: String,
        place: crate::fault::Place,
        output: Vec<String>,
    },
    /// There is no machine any more.
    Ended {
        what: String,
        place: crate::fault::Place,
        output: Vec<String>,
    },
    Interrupted,
}

struct Conversation<'a> {
    console: Line,
    shell: Option<Line>,
    /// All that the console said.
    said: Vec<u8>,
    /// How much of that was told, line by line.
    told: usize,
    job: &'a Job<'a>,
    /// Set when there is no machine any more.
    over: &'a AtomicBool,
    until: Instant,
    timeout: i64,
}

/// Which line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Console,
    Shell,
}

impl Conversation<'_> {
    /// Runs the machine until all acts are done, or one is missed.
    fn while_it_runs(
        &mut self,
        acts: &[Act],
        machine: &ImageRun,
        world: &World,
    ) -> (Result<(), Missed>, Result<ImageRan, Fault>) {
        let (stop, over) = (AtomicBool::new(false), self.over);
        std::thread::scope(|scope| {
            let emulator = scope.spawn(|| {
                let ran = run(machine, &stop, world);
                over.store(true, Ordering::Relaxed);
                ran
            });
            let heard = acts.iter().enumerate().try_for_each(|(number, act)| self.act(act, number));
            stop.store(true, Ordering::Relaxed);
            let lost = || Err(Fault::machine("internal", "a thread with a machine was lost"));
            (heard, emulator.join().unwrap_or_else(|_| lost()))
        })
    }

    fn act(&mut self, act: &Act, number: usize) -> Result<(), Missed> {
        match act {
            Act::WaitFor(text) => {
                let what = format!("`{}` did not come", wording::printable(&text.value));
                self.wait(On::Console, text.value.as_bytes(), &what, text).map(|_| ())
            }
            Act::Send(text) => {
                let what = format!("the machine did not take `{}`", wording::printable(&text.value));
                self.write(On::Console, format!("{}\r", text.value).as_bytes(), &what, text)
            }
            Act::Run { command, on_console: true } => self.run(On::Console, command, number),
            Act::Run { command, on_console: false } => {
                if !self.has_shell() {
                    self.wait(On::Shell, READY.as_bytes(), NO_SHELL, command)?;
                }
                self.run(On::Shell, command, number)
            }
        }
    }

    fn has_shell(&self) -> bool {
        self.shell.as_ref().is_some_and(|line| line.is_ready)
    }

    /// Runs a command, whose end is told behind it.
    fn run(&mut self, on: On, command: &Spanned<String>, number: usize) -> Result<(), Missed> {
        let end = if on == On::Console { "\r" } else { "\n" };
        let mut lines = String::new();
        for (number, piece) in STANDARD.encode(&command.value).as_bytes().chunks(LINE).enumerate() {
            let before = if number == 0 { "" } else { "${imgbuild_text}" };
            lines.push_str(&format!("imgbuild_text={before}{}{end}", String::from_utf8_lossy(piece)));
        }
        // Whoever echoes the line does not say what ends it: it stands there in parts.
        lines.push_str(&format!(
            "sh -c \"$(echo $imgbuild_text | base64 -d)\" </dev/null 2>&1; imgbuild_code=$?; echo; \
             echo imgbuild-''ended-{number} $imgbuild_code .{end}"
        ));
        let shown = wording::printable(command.value.lines().next().unwrap_or_default());
        let what = format!("`{shown}` did not end");
        self.write(on, lines.as_bytes(), &what, command)?;
        let heard = self.wait(on, format!("imgbuild-ended-{number} ").as_bytes(), &what, command)?;
        let code = self.wait(on, b" .", &what, command)?;
        let code = String::from_utf8_lossy(&code).trim().to_string();
        if on == On::Shell {
            self.note(&format!("+ {shown}\n"), &heard);
        }
        if code == "0" {
            return Ok(());
        }
        let why = format!("`{shown}` ended with {code}");
        Err(Missed::Act { why, place: command.place.clone(), output: tail(&heard) })
    }

    /// What the shell said stands in the log between what the console said.
    fn note(&mut self, command: &str, heard: &[u8]) {
        let before = if self.said.ends_with(b"\n") || self.said.is_empty() { "" } else { "\n" };
        self.said.extend(before.bytes().chain(command.bytes()));
        self.said.extend(heard.trim_ascii());
        self.said.push(b'\n');
        self.tell();
    }

    fn line(&mut self, on: On) -> &mut Line {
        match (&mut self.shell, on) {
            (Some(shell), On::Shell) => shell,
            _ => &mut self.console,
        }
    }

    /// Types all of `bytes`, as fast as the machine takes them.
    fn write(&mut self, on: On, bytes: &[u8], what: &str, at: &Spanned<String>) -> Result<(), Missed> {
        let mut left = bytes;
        while !left.is_empty() {
            let is_over = self.over.load(Ordering::Relaxed);
            // A line that cannot be written to takes nothing any more, and time goes on.
            let taken = self.line(on).write(left).unwrap_or(0);
            left = left.get(taken..).unwrap_or_default();
            if taken == 0 {
                self.listen();
                self.go_on(is_over, what, at)?;
                self.pause();
            }
        }
        Ok(())
    }

    /// Waits for the text; gives what stood before it.
    fn wait(&mut self, on: On, text: &[u8], what: &str, at: &Spanned<String>) -> Result<Vec<u8>, Missed> {
        loop {
            let is_over = self.over.load(Ordering::Relaxed);
            self.listen();
            if let Some(before) = self.line(on).take(text) {
                self.line(on).is_ready = true;
                return Ok(before);
            }
            self.go_on(is_over, what, at)?;
            self.pause();
        }
    }

    /// Whether there is still something to wait for.
    fn go_on(&self, is_over: bool, what: &str, at: &Spanned<String>) -> Result<(), Missed> {
        if self.job.cancel.load(Ordering::Relaxed) {
            return Err(Missed::Interrupted);
        }
        let place = at.place.clone();
        if is_over {
            return Err(Missed::Ended { what: what.into(), place, output: tail(&self.said) });
        }
        let unread =
            [Some(&self.console), self.shell.as_ref()].into_iter().flatten().map(|line| line.unread.len());
        let why = if unread.chain([self.said.len()]).any(|said| said > MOST_SAID) {
            format!("{what}, and the machine said more than {} MiB", MOST_SAID >> 20)
        } else if Instant::now() >= self.until {
            format!("{what} in {} s", self.timeout)
        } else {
            return Ok(());
        };
        Err(Missed::Act { why, place, output: tail(&self.said) })
    }

    fn pause(&self) {
        // What comes meanwhile is seen in the next round.
        let _ = pause(&[&self.console].into_iter().chain(&self.shell).collect::<Vec<_>>());
    }

    /// Takes in what came on both lines.
    fn listen(&mut self) {
        // A line that cannot be read says nothing any more, and time goes on.
        if let Ok(new) = self.console.read() {
            self.said.extend(new);
            self.tell();
        }
        if let Some(shell) = &mut self.shell {
            let _ = shell.read();
        }
    }

    /// Tells the lines that are whole.
    fn tell(&mut self) {
        let new = self.said.get(self.told..).unwrap_or_default();
        let Some(end) = memchr::memrchr(b'\n', new) else { return };
        let whole = String::from_utf8_lossy(new.get(..end).unwrap_or_default()).into_owned();
        self.told += end + 1;
        whole.lines().map(|line| line.trim_end_matches('\r')).for_each(|line| (self.job.say)(line));
    }
}

/// The last lines.
fn tail(bytes: &[u8]) -> Vec<String> {
    // Colours, and where a cursor is to go, would be letters in a report.
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<String> = text
        .lines()
        .map(|line| wording::printable(&strip_str(line.trim_end_matches('\r')).to_string()))
        // Nor what was typed to run a command.
        .filter(|line| !line.trim().is_empty() && !line.contains("imgbuild_"))
        .collect();
    lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().to_vec()
}
