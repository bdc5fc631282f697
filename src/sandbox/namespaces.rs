//! The outer stage: leaves the caller's namespaces, and waits for the inner stage to end.
//!
//! This process is a child of imgbuild, has one thread, and dies with the thread that started it. As soon as it dies,
//! so does the inner stage, and with that one, the first of its pid namespace, all that runs inside. The namespaces
//! hold every mount that was made, so nothing is left, whoever is killed.

use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::process::{Signal, WaitOptions, set_parent_process_death_signal, waitpid};
use rustix::thread::{UnshareFlags, set_thread_groups};

use super::kernel::{self, Forked};
use super::wire::{Order, Refusal, RootKind, Word};
use super::{ids, image, init, launch};

/// What imgbuild says on the socket.
pub(super) type Ear = BufReader<UnixStream>;

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
    let (order, ear) = Refusal::of("read what to run", read_order(socket))?;
    // Asked for later, the name could be told from a root that is not ours any more.
    let own_program = Refusal::of("find imgbuild's own program", std::env::current_exe())?;
    leave(&order)?;
    // New credentials can clear the death signal.
    die_with_parent()?;
    match Refusal::of("start a process", kernel::fork())? {
        Forked::Child => match &order.root {
            RootKind::Host(root) => init::inner_stage(root, order.own_users, &own_program, socket),
            RootKind::Image(run, talk) => image::inner_stage(run, *talk, order.own_users, socket, ear),
        },
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

fn read_order(socket: &UnixStream) -> io::Result<(Order, Ear)> {
    let mut ear = BufReader::new(socket.as_fd().try_clone_to_owned().map(UnixStream::from)?);
    let mut line = String::new();
    ear.read_line(&mut line)?;
    let mut order: Order = serde_json::from_str(&line)?;
    order.bytes_mut().into_iter().try_for_each(|bytes| ear.read_exact(bytes))?;
    Ok((order, ear))
}

fn leave(order: &Order) -> Result<(), Refusal> {
    let all_users = matches!(order.root, RootKind::Image(..));
    if order.own_users && all_users {
        ids::enter_with_all()?;
    } else {
        // Only root may, and only root needs to: its extra groups would otherwise be the program's.
        let _ = set_thread_groups(&[]);
        if order.own_users {
            ids::enter_with_one()?;
        }
    }
    let network = matches!(&order.root, RootKind::Image(run, _) if run.network);
    let others = [
        ("mount", UnshareFlags::NEWNS),
        ("pid", UnshareFlags::NEWPID),
        ("ipc", UnshareFlags::NEWIPC),
        ("uts", UnshareFlags::NEWUTS),
        ("cgroup", UnshareFlags::NEWCGROUP),
        ("network", UnshareFlags::NEWNET),
    ];
    for (name, flag) in others.into_iter().filter(|(_, flag)| !(network && *flag == UnshareFlags::NEWNET)) {
        Refusal::of(format!("make a {name} namespace"), kernel::unshare(flag))?;
    }
    Ok(())
}
