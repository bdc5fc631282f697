//! The outer stage: leaves the caller's namespaces, and waits for the inner stage to end.
//!
//! This process is a child of imgbuild, has one thread, and dies with the thread that started it. As soon as it dies,
//! so does the inner stage, and with that one, the first of its pid namespace, all that runs inside. The namespaces
//! hold every mount that was made, so nothing is left, whoever is killed.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::process::{Signal, WaitOptions, getegid, geteuid, set_parent_process_death_signal, waitpid};
use rustix::thread::{UnshareFlags, set_thread_groups};

use super::kernel::{self, Forked};
use super::wire::{Order, Refusal, Word};
use super::{init, launch};

/// The user and the group that a program is, inside. Not root, so that `tar` and `cp` work as they do for people: as
/// root they insist on owners that do not exist here. Always the same, so that a layer does not depend on who built it.
const INSIDE: u32 = 1000;

/// Runs the outer stage; standard input is the socket to imgbuild, standard output and error are the program's.
pub(super) fn outer_stage() -> ExitCode {
    let Ok(socket) = rustix::stdio::stdin().try_clone_to_owned() else { return ExitCode::FAILURE };
    let socket = UnixStream::from(socket);
    match begin(&socket) {
        Ok(code) => code,
        Err(refusal) => {
            // If this is not heard, imgbuild is gone and nobody is left to tell.
            let _ = launch::say(&socket, &Word::Refused(refusal));
            ExitCode::FAILURE
        }
    }
}

fn begin(socket: &UnixStream) -> Result<ExitCode, Refusal> {
    die_with_parent()?;
    Refusal::of("keep the caller's files from the program", kernel::close_on_exec_from(3))?;
    let order = Refusal::of("read what to run", read_order(socket))?;
    // Asked for later, the name could be told from a root that is not ours any more.
    let own_program = Refusal::of("find imgbuild's own program", std::env::current_exe())?;
    leave(order.own_users)?;
    // New credentials can clear the death signal.
    die_with_parent()?;
    match Refusal::of("start a process", kernel::fork())? {
        Forked::Child => init::inner_stage(&order, &own_program, socket),
        Forked::Parent(child) => {
            let _ = Refusal::of("wait", waitpid(Some(child), WaitOptions::empty()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Has the kernel kill this process when its parent dies.
///
/// A parent that was dead before is noticed by the socket: the inner stage ends as soon as that is closed.
pub(super) fn die_with_parent() -> Result<(), Refusal> {
    Refusal::of("die with the caller", set_parent_process_death_signal(Some(Signal::KILL)))
}

fn read_order(socket: &UnixStream) -> io::Result<Order> {
    let mut line = String::new();
    BufReader::new(socket.as_fd().try_clone_to_owned().map(UnixStream::from)?).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

fn leave(own_users: bool) -> Result<(), Refusal> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    // Only root may, and only root needs to: its extra groups would otherwise be the program's.
    let _ = set_thread_groups(&[]);
    if own_users {
        Refusal::of("make a user namespace", kernel::unshare(UnshareFlags::NEWUSER))?;
        Refusal::of("set up the user namespace", map_ids(user, group))?;
    }
    let others = [
        ("mount", UnshareFlags::NEWNS),
        ("pid", UnshareFlags::NEWPID),
        ("ipc", UnshareFlags::NEWIPC),
        ("uts", UnshareFlags::NEWUTS),
        ("cgroup", UnshareFlags::NEWCGROUP),
        ("network", UnshareFlags::NEWNET),
    ];
    for (name, flag) in others {
        Refusal::of(format!("make a {name} namespace"), kernel::unshare(flag))?;
    }
    Ok(())
}

/// Makes the caller's ids, and no others, known in the new user namespace.
fn map_ids(user: u32, group: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{INSIDE} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{INSIDE} {group} 1"))
}
