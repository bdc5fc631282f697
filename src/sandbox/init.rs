//! The inner stage: the first process of the new pid namespace.
//!
//! It builds the root, gives up what it does not need, starts the program, collects orphans, answers `xcluster`, and
//! ends when the program or imgbuild does. With it ends everything inside: the kernel sees to that.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, Resource, Rlimit, WaitOptions, WaitStatus, pidfd_open,
    set_dumpable_behavior, setrlimit, setsid, umask, wait,
};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, remove_capability_from_bounding_set,
    set_capabilities, set_capabilities_secure_bits, set_no_new_privs,
};

use super::launch::say;
use super::root::{self, Root};
use super::search::Search;
use super::wire::{Answer, Exit, HostRoot, PACKET, Program, Refusal, Request, Word};
use super::{Asked, kernel, namespaces};

/// Bytes of requests after which a script is not answered any more.
const REQUESTS: usize = 16 << 20;
/// What a request counts beside its bytes.
const REQUEST: usize = 1 << 10;
/// Connections that wait for their request; a script that opens more loses the first.
const CONNECTIONS: usize = 64;
/// How often orphans are collected when nothing else happens.
pub(super) const ROUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };

/// Runs the inner stage.
pub(super) fn inner_stage(
    order: &HostRoot,
    own_users: bool,
    own_program: &Path,
    socket: &UnixStream,
) -> Result<ExitCode, Refusal> {
    part_from_host(own_users, b"imgbuild")?;
    let root = root::enter(order, own_program)?;
    Refusal::of("give up privileges", give_up_privileges())?;
    let last = match &order.program {
        None => Word::Ended(Exit::Code(0)),
        Some(program) => match start(program) {
            Ok(started) => match Inside::new(order, socket, root, started).serve() {
                Some(exit) => Word::Ended(exit),
                None => return Ok(ExitCode::FAILURE),
            },
            Err(error) => Word::NotStarted { reason: crate::fault::reason(&error) },
        },
    };
    // If this is not heard, imgbuild is gone.
    let _ = say(socket, &last);
    Ok(ExitCode::SUCCESS)
}

/// Leaves what of the caller's is still at hand in new namespaces: terminal, host name, keys, umask.
pub(super) fn part_from_host(own_users: bool, host_name: &[u8]) -> Result<(), Refusal> {
    namespaces::die_with_parent()?;
    umask(Mode::from_raw_mode(0o022));
    kernel::mind_signals();
    // Without a session of its own the program could reach the caller's terminal.
    Refusal::of("make a session", setsid())?;
    Refusal::of("set the host name", rustix::system::sethostname(host_name))?;
    if own_users {
        forbid_user_namespaces();
    }
    // A kernel without keys has none to leave, and where asking is forbidden, the program cannot ask either.
    let _ = kernel::leave_keyring();
    Ok(())
}

/// A program that makes a user namespace has all power in it, and much of the kernel to try that on. Only a second
/// fence, so that it does not matter where the host's `/proc` cannot be written.
fn forbid_user_namespaces() {
    let _ = std::fs::write("/proc/sys/user/max_user_namespaces", "0");
}

/// Leaves this process what it needs to show overlays, and the program that it will start nothing at all: neither by
/// being user 0, nor by any file. So the program can neither trace nor read this process, which has more power.
fn give_up_privileges() -> io::Result<()> {
    set_no_new_privs(true)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )?;
    let every = (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number));
    // The first number that the kernel does not know ends the list.
    every.take_while(|one| remove_capability_from_bounding_set(*one).is_ok()).for_each(drop);
    let kept = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_CHROOT;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}

/// A program that runs.
struct Started {
    pid: Pid,
    ended: OwnedFd,
}

fn start(program: &Program) -> io::Result<Started> {
    let child = Command::new(&program.path)
        .args(&program.arguments)
        .env_clear()
        .envs(&program.environment)
        .current_dir(&program.folder)
        .stdin(Stdio::null())
        .spawn()?;
    let pid = Pid::from_child(&child);
    Ok(Started { pid, ended: pidfd_open(pid, PidfdFlags::empty())? })
}

/// All that goes on inside.
struct Inside<'a> {
    order: &'a HostRoot,
    socket: &'a UnixStream,
    search: Search,
    listener: OwnedFd,
    connections: Vec<OwnedFd>,
    requests: usize,
    started: Started,
}

impl<'a> Inside<'a> {
    fn new(order: &'a HostRoot, socket: &'a UnixStream, root: Root, started: Started) -> Inside<'a> {
        let Root { search, listener } = root;
        Inside { order, socket, search, listener, connections: Vec::new(), requests: 0, started }
    }

    /// Serves until the program ends, and says how; nothing if imgbuild wants no more.
    fn serve(&mut self) -> Option<Exit> {
        loop {
            let Ready { socket, listener, connections } = self.wait().ok()?;
            if socket {
                return None;
            }
            if let Some(exit) = self.collect() {
                return Some(exit);
            }
            // From the last, so that the numbers of the others stay.
            for place in connections.into_iter().rev() {
                let connection = self.connections.remove(place);
                // A script that breaks off its own request has no answer to miss.
                let _ = self.answer(&connection);
            }
            if listener {
                self.accept();
            }
        }
    }

    fn wait(&self) -> io::Result<Ready> {
        let ready = |descriptor: &PollFd<'_>| !descriptor.revents().is_empty();
        let mut descriptors = vec![
            PollFd::new(self.socket, PollFlags::IN),
            PollFd::new(&self.started.ended, PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        descriptors.extend(self.connections.iter().map(|connection| PollFd::new(connection, PollFlags::IN)));
        match poll(&mut descriptors, Some(&ROUND)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let connections =
            descriptors.iter().skip(3).enumerate().filter(|(_, one)| ready(one)).map(|(at, _)| at);
        Ok(Ready {
            socket: descriptors.first().is_some_and(ready),
            listener: descriptors.get(2).is_some_and(ready),
            connections: connections.collect(),
        })
    }

    /// Collects all that ended; says how the program did, if it is among them.
    fn collect(&self) -> Option<Exit> {
        let mut exit = None;
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == self.started.pid {
                exit = how(status);
            }
        }
        exit
    }

    fn accept(&mut self) {
        if let Ok(connection) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            if self.connections.len() == CONNECTIONS {
                self.connections.remove(0);
            }
            self.connections.push(connection);
        }
    }

    fn answer(&mut self, connection: &OwnedFd) -> io::Result<()> {
        let mut packet = vec![0; PACKET];
        let (length, _) = recv(connection, packet.as_mut_slice(), RecvFlags::empty())?;
        let request = serde_json::from_slice(packet.get(..length).unwrap_or_default())?;
        self.requests += length + REQUEST;
        let answer = if self.requests > REQUESTS { Answer::TooMuch } else { self.reply(request)? };
        send(connection, &serde_json::to_vec(&answer)?, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    fn reply(&mut self, request: Request) -> io::Result<Answer> {
        match request {
            Request::Exported => Ok(Answer::Exported(self.order.exported.clone())),
            Request::Overlay(name) => {
                let found = self.search.show(&name)?;
                self.tell(Word::Asked(Asked::Overlay { name, found: found.clone() }), Answer::Overlay(found))
            }
            Request::Program { name, found, files } => {
                self.tell(Word::Asked(Asked::Program { name, found, files }), Answer::Noted)
            }
            Request::Files(files) => self.tell(Word::Asked(Asked::Files { files }), Answer::Noted),
            Request::Missing(what) => self.tell(Word::Missing(what), Answer::Noted),
        }
    }

    /// imgbuild hears of it before the script does: what the script knows is never missing in the key.
    fn tell(&self, word: Word, answer: Answer) -> io::Result<Answer> {
        say(self.socket, &word).map(|()| answer)
    }
}

/// What has something to say.
struct Ready {
    socket: bool,
    listener: bool,
    connections: Vec<usize>,
}

pub(super) fn how(status: WaitStatus) -> Option<Exit> {
    status.exit_status().map(Exit::Code).or_else(|| status.terminating_signal().map(Exit::Signal))
}
