//! The inner stage of an image's sandbox: makes the root, runs the programs, ends what they left, and takes what they
//! changed.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, fchmod, fchown, openat, unlinkat};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use super::super::init::part_from_host;
use super::super::launch::say;
use super::super::namespaces::Ear;
use super::super::wire::{Exit, Refusal, Talk, Word};
use super::programs::{Programs, Stopped};
use super::root::{self, Root};
use super::{Given, ImageRun, capture, remove, within};

/// Runs the inner stage.
pub(in crate::sandbox) fn inner_stage(
    run: &ImageRun,
    talk: Talk,
    own_users: bool,
    socket: &UnixStream,
    ear: Ear,
) -> Result<ExitCode, Refusal> {
    part_from_host(own_users, b"localhost")?;
    if !run.network {
        Refusal::of("bring up the loopback network", bring_up_loopback())?;
    }
    let mut root = root::enter(run)?;
    write_files(run, &root)?;
    let mut programs = Programs::new(run, talk, own_users, socket, ear)?;
    let last = match programs.run_all() {
        Ok(true) => finish(run, &mut root),
        // What failed is to be looked at as it is: nothing is removed.
        Ok(false) if run.capture_always => take_changes(run, &mut root),
        Ok(false) => Ok(()),
        Err(Stopped) => return Ok(ExitCode::FAILURE),
    };
    // If this is not heard, imgbuild is gone.
    let _ = match last {
        Ok(()) => say(socket, &Word::Ended(Exit::Code(0))),
        Err(what) => say(socket, &Word::Unfit(what)).and_then(|()| say(socket, &Word::Ended(Exit::Code(1)))),
    };
    Ok(ExitCode::SUCCESS)
}

/// Nothing else runs any more.
fn finish(run: &ImageRun, root: &mut Root) -> Result<(), String> {
    for removal in &run.remove {
        remove::remove(&root.merged, removal).map_err(|error| {
            format!("cannot remove `/{}` of the image: {}", removal.path, crate::fault::reason(&error))
        })?;
    }
    take_changes(run, root)
}

fn take_changes(run: &ImageRun, root: &mut Root) -> Result<(), String> {
    match root.capture.take() {
        Some(file) => capture::capture(run, &root.upper, file),
        None => Ok(()),
    }
}

fn write_files(run: &ImageRun, root: &Root) -> Result<(), Refusal> {
    for given in &run.files {
        write_file(&root.merged, given).map_err(|error| {
            Refusal::asked(format!("write `/{}` in the image", given.path), crate::fault::reason(&error))
        })?;
    }
    Ok(())
}

fn write_file(merged: &OwnedFd, given: &Given) -> io::Result<()> {
    let (folder, name) = within::folder_of(merged, &given.path)?;
    match within::kind(&folder, name)? {
        Some(FileType::Directory) => return Err(Errno::ISDIR.into()),
        Some(_) => unlinkat(&folder, name, AtFlags::empty())?,
        None => {}
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut file = File::from(openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(&given.bytes)?;
    // A directory can give its group to what is made in it.
    fchown(&file, Some(Uid::ROOT), Some(Gid::ROOT))?;
    Ok(fchmod(&file, Mode::from_raw_mode(given.mode & 0o7777))?)
}

/// Sets the first interface of a new network namespace up: one message of rtnetlink(7), `struct nlmsghdr` and
/// `struct ifinfomsg`, in the machine's own byte order.
fn bring_up_loopback() -> io::Result<()> {
    const NEW_LINK: u16 = 16;
    const REQUEST_AND_ACKNOWLEDGE: u16 = 5;
    const LOOPBACK: i32 = 1;
    const UP: u32 = 1;
    let mut message = Vec::with_capacity(32);
    message.extend(32u32.to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(REQUEST_AND_ACKNOWLEDGE.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([0; 4]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0u8; 256];
    let (length, _) = recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
    // Behind the header of an acknowledgement stands a negative error number.
    match answer.get(16..20).filter(|_| length >= 20).and_then(|code| code.try_into().ok()) {
        Some(code) if i32::from_ne_bytes(code) == 0 => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(code))),
        None => Err(Errno::IO.into()),
    }
}
