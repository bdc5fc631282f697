//! Lines of a machine: two pipes each, that QEMU has as a character device.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

/// A line: what is written goes to the machine.
#[derive(Debug)]
pub(super) struct Line {
    input: File,
    output: File,
    /// What came and was not asked for yet.
    pub unread: Vec<u8>,
    /// Whether what was waited for has come on it before.
    pub is_ready: bool,
}

impl Line {
    /// Makes the pipes `NAME.in` and `NAME.out` in `folder`, as QEMU's `-chardev pipe` opens them.
    pub fn make(folder: &Path, name: &str) -> io::Result<Line> {
        let open = |end: &str| -> io::Result<File> {
            let path = folder.join(format!("{name}.{end}"));
            rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
            // Both ends, so that nobody waits for anybody: Linux lets a pipe be opened so (fifo(7)).
            let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
            Ok(File::from(rustix::fs::open(&path, flags, Mode::empty())?))
        };
        Ok(Line { input: open("in")?, output: open("out")?, unread: Vec::new(), is_ready: false })
    }

    /// Writes what the machine takes now of `bytes`; gives how many that were.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.input.write(bytes) {
            Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&error.kind()) => {
                Ok(0)
            }
            written => written,
        }
    }

    /// Reads what there is, up to a bound that leaves others their turn; gives what is new.
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        const MOST: u64 = 1 << 20;
        let mut new = Vec::new();
        match (&self.output).take(MOST).read_to_end(&mut new) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        self.unread.extend_from_slice(&new);
        Ok(new)
    }

    /// Whether `text` has come; what is up to its end is read then.
    pub fn take(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        let at = memchr::memmem::find(&self.unread, text)?;
        let before = self.unread.get(..at).unwrap_or_default().to_vec();
        self.unread.drain(..at + text.len());
        Some(before)
    }
}

/// Waits for a moment, or until one of the lines has something.
pub(super) fn pause(lines: &[&Line]) -> io::Result<()> {
    let mut ready: Vec<PollFd<'_>> =
        lines.iter().map(|line| PollFd::from_borrowed_fd(line.output.as_fd(), PollFlags::IN)).collect();
    match poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 100_000_000 })) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
