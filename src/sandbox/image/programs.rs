//! Running an image's programs from the first process inside, which they cannot reach.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, Resource, Rlimit, WaitOptions, getrlimit, pidfd_open,
    set_dumpable_behavior, setrlimit, wait,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use super::super::init::{ROUND, how};
use super::super::kernel;
use super::super::launch::say;
use super::super::namespaces::Ear;
use super::super::wire::{Exit, Refusal, Talk, Word};
use super::talk::Line;
use super::{Call, ImageRun};

/// imgbuild wants no more, or is gone.
pub(super) struct Stopped;

/// How long programs that were left may take to end by themselves.
const GRACE: Duration = Duration::from_millis(100);

/// What a package's scripts need of root's power.
const POWERS: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SETFCAP);

/// What they have beside it where these powers end at the user namespace. Without one, the first opens any file of a
/// file system of which something is shown, by its handle; the second leads out of the root where imgbuild itself runs
/// in a `chroot`; the others speak to the machine.
const POWERS_IN_NAMESPACE: CapabilitySet = CapabilitySet::DAC_READ_SEARCH
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::AUDIT_WRITE);

/// The programs of a run.
pub(super) struct Programs<'a> {
    run: &'a ImageRun,
    talk: Talk,
    socket: &'a UnixStream,
    ear: Ear,
}

impl<'a> Programs<'a> {
    /// Gives up what no program may have.
    pub fn new(
        run: &'a ImageRun,
        talk: Talk,
        own_users: bool,
        socket: &'a UnixStream,
        ear: Ear,
    ) -> Result<Programs<'a>, Refusal> {
        Refusal::of("give up privileges", give_up_privileges(own_users))?;
        if run.network {
            // A kernel without this (before 6.12) shows what the host's programs offer under such names.
            let _ = kernel::forbid_abstract_sockets();
        }
        Ok(Programs { run, talk, socket, ear })
    }

    /// Runs them, and ends what they leave; says whether all went well that must.
    pub fn run_all(&mut self) -> Result<bool, Stopped> {
        let mut well = true;
        for (number, call) in self.run.commands.iter().enumerate() {
            let exit = self.run_one(call, number + 1 == self.run.commands.len())?;
            say(self.socket, &Word::Called(number, exit)).map_err(|_| Stopped)?;
            if call.must_succeed && exit != Exit::Code(0) {
                well = false;
                break;
            }
        }
        let left = end_others();
        if !left.is_empty() {
            say(self.socket, &Word::Left(left)).map_err(|_| Stopped)?;
        }
        // The capture may have more directories open than a program should.
        let _ = limit_files(None);
        Ok(well)
    }

    fn run_one(&mut self, call: &Call, last: bool) -> Result<Exit, Stopped> {
        let talk = if last { self.talk } else { Talk::No };
        match self.start(call, talk) {
            Ok((started, None)) => self.wait_for(started),
            Ok((started, Some(line))) => talk_with(started, line),
            Err(error) => {
                // Where what the programs say goes, in place of what this one would have said.
                let _ = writeln!(
                    io::stderr(),
                    "imgbuild: cannot start `{}`: {}",
                    call.program,
                    crate::fault::reason(&error)
                );
                Ok(Exit::Code(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }))
            }
        }
    }

    fn start(&self, call: &Call, talk: Talk) -> io::Result<(Pid, Option<Line<'a>>)> {
        let mut environment: BTreeMap<&String, &String> = self.run.environment.iter().collect();
        environment.extend(&call.environment);
        let stdin = match &call.stdin {
            Some(bytes) => Stdio::from(file_of(bytes)?),
            None => Stdio::null(),
        };
        let folder = if call.folder.is_empty() { "/" } else { &call.folder };
        let mut command = Command::new(&call.program);
        command.args(&call.arguments).env_clear().envs(environment).current_dir(folder).stdin(stdin);
        let line = match talk {
            Talk::No => None,
            _ => Some(Line::connect(talk, &mut command, self.socket, &self.ear)?),
        };
        if !matches!(talk, Talk::Terminal(..)) {
            command.process_group(0);
        }
        Ok((Pid::from_child(&command.spawn()?), line))
    }

    /// Waits for one, and collects all others that end meanwhile.
    fn wait_for(&mut self, pid: Pid) -> Result<Exit, Stopped> {
        let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| Stopped)?;
        loop {
            if let Some(exit) = collect(pid) {
                return Ok(exit);
            }
            // What may be typed meanwhile is for the last program; only the end of the socket counts.
            let mut descriptors =
                [PollFd::new(self.socket, PollFlags::empty()), PollFd::new(&ended, PollFlags::IN)];
            match poll(&mut descriptors, Some(&ROUND)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return Err(Stopped),
            }
            if descriptors.first().is_some_and(|socket| !socket.revents().is_empty()) {
                return Err(Stopped);
            }
        }
    }
}

fn talk_with(pid: Pid, mut line: Line<'_>) -> Result<Exit, Stopped> {
    let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| Stopped)?;
    loop {
        if let Some(exit) = collect(pid) {
            line.finish()?;
            return Ok(exit);
        }
        line.carry(&ended)?;
    }
}

/// Collects all that ended; says how `pid` did, if it is among them.
fn collect(pid: Pid) -> Option<Exit> {
    while let Ok(Some((ended, status))) = wait(WaitOptions::NOHANG) {
        if let (true, Some(exit)) = (ended == pid, how(status)) {
            return Some(exit);
        }
    }
    None
}

/// A nameless file that holds `bytes`.
fn file_of(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("stdin", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// Takes from all programs what they do not need, for good. This process keeps what it has: no program can trace or
/// read one that has more power than itself, and cannot be dumped.
fn give_up_privileges(own_users: bool) -> io::Result<()> {
    set_no_new_privs(true)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    limit_files(Some(1024))?;
    let powers = if own_users { POWERS | POWERS_IN_NAMESPACE } else { POWERS };
    let every = (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number));
    // The first number that the kernel does not know ends the list.
    every
        .take_while(|one| powers.contains(*one) || remove_capability_from_bounding_set(*one).is_ok())
        .for_each(drop);
    let _ = clear_ambient_capability_set();
    let has = capabilities(None)?.permitted;
    let kept = has & (POWERS | POWERS_IN_NAMESPACE | CapabilitySet::SYS_ADMIN);
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}

/// Programs that close every descriptor they may have take long where they may have many. None is as many as can be.
pub(super) fn limit_files(limit: Option<u64>) -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = match (limit, maximum) {
        (Some(limit), Some(maximum)) => Some(limit.min(maximum)),
        (limit, maximum) => limit.or(maximum),
    };
    Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum })?)
}

/// Ends all other processes of this pid namespace, and gives the names of those that did not end by themselves.
fn end_others() -> Vec<String> {
    let until = Instant::now() + GRACE;
    while !nobody_left() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
    if nobody_left() {
        return Vec::new();
    }
    let mut names: Vec<String> =
        fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(name).collect();
    names.sort();
    names.dedup();
    names.truncate(100);
    let _ = kernel::kill_all_others();
    while !nobody_left() {
        let _ = wait(WaitOptions::empty());
        let _ = kernel::kill_all_others();
    }
    names
}

/// Collects all that ended. Orphans are this process's children, so without a child there is nobody.
fn nobody_left() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

/// The name of a process that still runs; the first one is this.
fn name(process: fs::DirEntry) -> Option<String> {
    let number = process.file_name().into_string().ok()?.parse::<u32>().ok().filter(|number| *number != 1)?;
    let status = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    let (name, state) = status.split_once(" (")?.1.rsplit_once(") ")?;
    (!state.starts_with('Z')).then(|| crate::wording::printable(name))
}
