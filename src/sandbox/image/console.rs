//! A program of an image that people talk to, seen from outside: what they type goes in, what it prints comes out.
//!
//! The program has a terminal of its own, inside; ours only carries its letters. So it can neither put words into the
//! caller's terminal nor outlive it there.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use super::super::launch::{self, Ended, Launcher, ROUND, Started, Words, with_or_without_users};
use super::super::wire::{Order, RootKind, Said, Talk};
use super::{ImageRan, ImageRun, clear_capture, judge, order};
use crate::fault::Fault;

/// The caller's side of a talk.
#[derive(Clone, Copy, Debug)]
pub struct Console<'a> {
    /// What is typed. If this and the output are terminals, the program gets a terminal, otherwise pipes.
    pub input: BorrowedFd<'a>,
    /// Where standard output goes, and on a terminal all that is printed.
    pub output: BorrowedFd<'a>,
    /// Where standard error goes.
    pub errors: BorrowedFd<'a>,
}

impl Launcher {
    /// Runs programs in an image, the last of which talks with the console; it and the others print there, and there is
    /// no log. The terminal is as it was before when this returns.
    ///
    /// # Errors
    ///
    /// As [`Launcher::run_image`].
    pub fn run_interactive(
        &self,
        run: &ImageRun,
        console: Console<'_>,
        stop: &AtomicBool,
    ) -> Result<ImageRan, Fault> {
        let root = RootKind::Image(Box::new(order(run)?), console.talk());
        let once = |order: &Order| {
            let started = self.start(order, console.size().is_none())?;
            let _raw = Raw::enter(&console);
            Exchange::new(started, console).run(stop)
        };
        let ran = with_or_without_users(root, once).and_then(|ended| judge(run, ended));
        clear_capture(run, &ran);
        ran
    }
}

impl Console<'_> {
    fn talk(&self) -> Talk {
        self.size().map_or(Talk::Plain, |(rows, columns)| Talk::Terminal(rows, columns))
    }

    /// Rows and columns; none if it is no terminal.
    fn size(&self) -> Option<(u16, u16)> {
        let terminal = isatty(self.input) && isatty(self.output);
        let size = terminal.then(|| tcgetwinsize(self.output)).transpose().ok()??;
        Some((size.ws_row, size.ws_col))
    }
}

/// A terminal that hands on every key as it is, until this is dropped.
struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    fn enter(console: &Console<'a>) -> Option<Raw<'a>> {
        console.size()?;
        let before = tcgetattr(console.input).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(console.input, OptionalActions::Now, &raw).ok()?;
        Some(Raw { terminal: console.input, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// What goes to and fro.
struct Exchange<'a> {
    started: Started,
    console: Console<'a>,
    words: Words,
    /// What is to be said and was not yet taken. Nothing more is read from the console before it is: so neither side
    /// ever waits for the other.
    unsaid: Vec<u8>,
    typing: bool,
    size: Option<(u16, u16)>,
}

impl<'a> Exchange<'a> {
    fn new(started: Started, console: Console<'a>) -> Exchange<'a> {
        let size = console.size();
        Exchange { started, console, words: Words::default(), unsaid: Vec::new(), typing: true, size }
    }

    fn run(mut self, stop: &AtomicBool) -> Result<Ended, Fault> {
        let exchanged = self.exchange(stop).map_err(|error| launch::lost(&error));
        let Exchange { started, words, .. } = self;
        drop(started);
        match exchanged? {
            true => Err(launch::interrupted()),
            false if words.ended.is_told() => Ok(words.ended),
            false => Err(launch::died()),
        }
    }

    /// Goes on until all ends are closed from inside; true if it was stopped before.
    fn exchange(&mut self, stop: &AtomicBool) -> io::Result<bool> {
        if let Some(socket) = &self.started.socket {
            socket.set_nonblocking(true)?;
        }
        let mut piece = vec![0; 16 * 1024];
        while self.started.socket.is_some() || self.started.reader.is_some() || self.started.errors.is_some()
        {
            if stop.load(Ordering::Relaxed) {
                return Ok(true);
            }
            self.follow_size()?;
            let ready = self.wait()?;
            if ready.output {
                carry(&mut self.started.reader, self.console.output, &mut piece)?;
            }
            if ready.errors {
                carry(&mut self.started.errors, self.console.errors, &mut piece)?;
            }
            if ready.typed {
                self.read_typed(&mut piece)?;
            }
            if ready.socket {
                self.hear(&mut piece)?;
            }
            self.say()?;
        }
        Ok(false)
    }

    fn wait(&self) -> io::Result<Ready> {
        let Started { socket, reader, errors, .. } = &self.started;
        let mut descriptors: Vec<(Source, PollFd<'_>)> = Vec::new();
        if let Some(socket) = socket {
            let out = if self.unsaid.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            descriptors.push((Source::Socket, PollFd::new(socket, PollFlags::IN | out)));
            if self.typing && self.unsaid.is_empty() {
                descriptors
                    .push((Source::Typed, PollFd::from_borrowed_fd(self.console.input, PollFlags::IN)));
            }
        }
        descriptors.extend(reader.as_ref().map(|pipe| (Source::Output, PollFd::new(pipe, PollFlags::IN))));
        descriptors.extend(errors.as_ref().map(|pipe| (Source::Errors, PollFd::new(pipe, PollFlags::IN))));
        let (sources, mut descriptors): (Vec<Source>, Vec<PollFd<'_>>) = descriptors.into_iter().unzip();
        match poll(&mut descriptors, Some(&ROUND)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is = |source: Source| {
            let found = sources.iter().zip(&descriptors).find(|(of, _)| **of == source);
            found.is_some_and(|(_, descriptor)| !descriptor.revents().is_empty())
        };
        Ok(Ready {
            socket: is(Source::Socket),
            output: is(Source::Output),
            errors: is(Source::Errors),
            typed: is(Source::Typed),
        })
    }

    fn follow_size(&mut self) -> io::Result<()> {
        let size = self.console.size();
        if let (Some((rows, columns)), true) = (size, size != self.size) {
            self.size = size;
            self.line(&Said::Size(rows, columns))?;
        }
        Ok(())
    }

    fn read_typed(&mut self, piece: &mut [u8]) -> io::Result<()> {
        match rustix::io::read(self.console.input, &mut *piece) {
            Ok(0) | Err(Errno::IO) => {
                self.typing = false;
                self.line(&Said::NoMore)
            }
            Ok(length) => self.line(&Said::Typed(piece.get(..length).unwrap_or_default().to_vec())),
            Err(Errno::INTR | Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn line(&mut self, said: &Said) -> io::Result<()> {
        serde_json::to_writer(&mut self.unsaid, said)?;
        self.unsaid.push(b'\n');
        Ok(())
    }

    fn say(&mut self) -> io::Result<()> {
        let Some(mut socket) = self.started.socket.as_ref() else { return Ok(()) };
        if self.unsaid.is_empty() {
            return Ok(());
        }
        match socket.write(&self.unsaid) {
            Ok(length) => {
                self.unsaid.drain(..length);
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(())
            }
            // It has ended, and says so on its own.
            Err(_) => {
                self.unsaid.clear();
                self.typing = false;
                Ok(())
            }
        }
    }

    fn hear(&mut self, piece: &mut [u8]) -> io::Result<()> {
        let Some(socket): Option<&UnixStream> = self.started.socket.as_ref() else { return Ok(()) };
        if !self.words.hear(socket, piece)? {
            self.started.socket = None;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Socket,
    Output,
    Errors,
    Typed,
}

/// What has something to say.
struct Ready {
    socket: bool,
    output: bool,
    errors: bool,
    typed: bool,
}

/// Carries the next piece of what is printed; a pipe that has ended is gone. A console that is gone ends nothing: the
/// program has its own reasons to end.
fn carry(from: &mut Option<PipeReader>, to: impl AsFd, piece: &mut [u8]) -> io::Result<()> {
    let Some(pipe) = from else { return Ok(()) };
    match pipe.read(piece) {
        Ok(0) => *from = None,
        Ok(length) => {
            let mut to = File::from(to.as_fd().try_clone_to_owned()?);
            match to.write_all(piece.get(..length).unwrap_or_default()) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) => return Err(error),
    }
    Ok(())
}
