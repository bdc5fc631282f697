//! The calls to the kernel that have no safe wrapper.
//!
//! Knows nothing of sandboxes. All but [`seal`] are only right in a process with a single thread, which the stages of
//! a sandbox are: they begin in `main`, before any thread is made.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::mount::MountAttrFlags;
use rustix::process::Pid;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Which side of a fork this is.
pub(super) enum Forked {
    /// The one that called.
    Parent(Pid),
    /// The new one.
    Child,
}

/// Makes a second process that goes on from here.
pub(super) fn fork() -> io::Result<Forked> {
    // SAFETY: the process has a single thread, so no lock is held and the child may do whatever the parent may.
    let pid = unsafe { libc::fork() };
    match Pid::from_raw(pid) {
        _ if pid < 0 => Err(io::Error::last_os_error()),
        Some(child) => Ok(Forked::Parent(child)),
        None => Ok(Forked::Child),
    }
}

/// Moves this process into new namespaces.
pub(super) fn unshare(namespaces: UnshareFlags) -> io::Result<()> {
    debug_assert!(!namespaces.contains(UnshareFlags::FILES));
    // SAFETY: what makes the call unsafe is `CLONE_FILES`, which is not asked for.
    Ok(unsafe { unshare_unsafe(namespaces) }?)
}

/// Lets no descriptor from `first` on reach a program that is started later.
pub(super) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: only marks descriptors; none is closed under its owner. Three words are what this call takes.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Leaves the caller's keys (of Kerberos, of encrypted folders) behind: a program inherits its session's keyring.
pub(super) fn leave_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: a null name asks for a new, nameless keyring; nothing is read or written.
    let keyring = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) };
    if keyring >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Kills every process that this one may signal, but itself: for the first process of a pid namespace, all others in it.
pub(super) fn kill_all_others() -> io::Result<()> {
    // SAFETY: two numbers; nothing of this process is touched.
    let done = unsafe { libc::kill(-1, libc::SIGKILL) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How far [`seal`] reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The mount alone.
    Mount,
    /// The mount and all that is mounted below it.
    Tree,
}

/// `struct mount_attr`, version 0, as `mount_setattr(2)` has it.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Adds `flags` to a mount. Only adds: flags that the host has locked stay as they are.
pub(super) fn seal(mount: impl AsFd, flags: MountAttrFlags, reach: Reach) -> io::Result<()> {
    let attributes =
        MountAttributes { set: u64::from(flags.bits()), clear: 0, propagation: 0, user_namespace: 0 };
    let tree = if reach == Reach::Tree { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string, the attributes are as long as we say, and both outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            (libc::AT_EMPTY_PATH | tree) as c_int,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
