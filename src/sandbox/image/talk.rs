//! A program of an image that people talk to, seen from inside: its terminal or its pipe, and what goes through.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, fcntl_getfl, fcntl_setfl, openat};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::super::init::ROUND;
use super::super::kernel;
use super::super::namespaces::Ear;
use super::super::wire::{Said, Talk};
use super::programs::Stopped;

/// Bytes that may wait for the program to read them, before no more are taken.
const MOST_WAITING: usize = 64 * 1024;

/// What is typed, and where it goes.
pub(super) struct Line<'a> {
    socket: &'a UnixStream,
    heard: Vec<u8>,
    waiting: Vec<u8>,
    /// The other end of the program's terminal, or of the pipe that is its standard input.
    end: Option<File>,
    terminal: bool,
    closing: bool,
}

impl<'a> Line<'a> {
    /// Gives `command` what it reads, and on a terminal also what it writes to.
    pub fn connect(
        talk: Talk,
        command: &mut Command,
        socket: &'a UnixStream,
        ear: &Ear,
    ) -> io::Result<Line<'a>> {
        let end = match talk {
            Talk::Terminal(rows, columns) => {
                let (end, inner) = open_terminal(rows, columns)?;
                command.stdin(inner.try_clone()?).stdout(inner.try_clone()?).stderr(inner);
                kernel::own_terminal(command);
                end
            }
            Talk::Plain | Talk::No => {
                let (reader, writer) = io::pipe()?;
                command.stdin(Stdio::from(reader));
                File::from(OwnedFd::from(writer))
            }
        };
        fcntl_setfl(&end, fcntl_getfl(&end)? | OFlags::NONBLOCK)?;
        let terminal = matches!(talk, Talk::Terminal(..));
        let heard = ear.buffer().to_vec();
        Ok(Line { socket, heard, waiting: Vec::new(), end: Some(end), terminal, closing: false })
    }

    /// Carries what there is to carry, until `ended` or for a while.
    pub fn carry(&mut self, ended: &OwnedFd) -> Result<(), Stopped> {
        self.understand();
        let listening = self.waiting.len() < MOST_WAITING;
        let none = PollFlags::empty();
        let mut wanted = if self.terminal { PollFlags::IN } else { none };
        wanted |= if self.waiting.is_empty() { none } else { PollFlags::OUT };
        let mut descriptors = vec![
            PollFd::new(ended, PollFlags::IN),
            PollFd::new(self.socket, if listening { PollFlags::IN } else { none }),
        ];
        descriptors
            .extend(self.end.as_ref().filter(|_| !wanted.is_empty()).map(|end| PollFd::new(end, wanted)));
        match poll(&mut descriptors, Some(&ROUND)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return Err(Stopped),
        }
        let ready = |place: usize| descriptors.get(place).is_some_and(|one| !one.revents().is_empty());
        let (socket, end) = (ready(1), ready(2));
        drop(descriptors);
        if socket {
            self.hear()?;
            self.understand();
        }
        if end && self.terminal && !self.print()? {
            // Nobody has the terminal open just now.
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        self.type_on();
        Ok(())
    }

    /// Prints what a program that has ended left to print.
    pub fn finish(&mut self) -> Result<(), Stopped> {
        while self.terminal && self.print()? {}
        Ok(())
    }

    fn hear(&mut self) -> Result<(), Stopped> {
        let mut piece = [0; 16 * 1024];
        match (&mut &*self.socket).read(&mut piece) {
            Ok(0) => Err(Stopped),
            Ok(length) => {
                self.heard.extend_from_slice(piece.get(..length).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(_) => Err(Stopped),
        }
    }

    /// Takes the lines that are whole.
    fn understand(&mut self) {
        while let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.heard.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(Said::Typed(bytes)) => self.waiting.extend(bytes),
                Ok(Said::NoMore) => self.closing = true,
                Ok(Said::Size(rows, columns)) => self.resize(rows, columns),
                Err(_) => {}
            }
        }
    }

    fn resize(&self, rows: u16, columns: u16) {
        if let Some(end) = self.end.as_ref().filter(|_| self.terminal) {
            let _ = tcsetwinsize(end, window(rows, columns));
        }
    }

    /// Hands on as much of what was typed as the program takes.
    fn type_on(&mut self) {
        let Some(end) = &mut self.end else { return self.waiting.clear() };
        while !self.waiting.is_empty() {
            match end.write(&self.waiting) {
                Ok(length) => drop(self.waiting.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It reads no more.
                Err(_) => self.waiting.clear(),
            }
        }
        if self.closing && !self.terminal {
            self.end = None;
        } else if self.closing {
            // What a terminal reads as the end, when it is in the usual mode; a shell is told so.
            self.closing = false;
            self.waiting.push(4);
        }
    }

    /// Prints the next piece of what is on the terminal; false if there is none.
    fn print(&mut self) -> Result<bool, Stopped> {
        let mut piece = [0; 16 * 1024];
        let Some(end) = &mut self.end else { return Ok(false) };
        match end.read(&mut piece) {
            Ok(length) if length > 0 => {
                let bytes = piece.get(..length).unwrap_or_default();
                let mut out = io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush()).map_err(|_| Stopped)?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            // Closed on the other side, or nothing there.
            _ => Ok(false),
        }
    }
}

fn window(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// A terminal of the sandbox's own: our end, and the program's.
fn open_terminal(rows: u16, columns: u16) -> io::Result<(File, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let end = openat(CWD, "/dev/pts/ptmx", flags, Mode::empty())?;
    unlockpt(&end)?;
    let inner =
        ioctl_tiocgptpeer(end.as_fd(), OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    tcsetwinsize(&end, window(rows, columns))?;
    Ok((File::from(end), inner))
}
