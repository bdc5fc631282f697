//! The calls to the kernel that have no safe wrapper.
//!
//! Knows nothing of sandboxes. All but [`seal`] and [`own_terminal`] are only right in a process with a single thread, which the stages of
//! a sandbox are: they begin in `main`, before any thread is made.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

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

/// Ends what programs would inherit of signals: whoever starts imgbuild may ignore some, as a shell does for what it puts
/// into the background.
pub(super) fn mind_signals() {
    const IGNORED_BY_SOME: [c_int; 11] = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGALRM,
        libc::SIGTERM,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGCHLD,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ];
    for signal in IGNORED_BY_SOME {
        // SAFETY: the process has no handler of its own that would be replaced.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Kills every process that this one may signal, but itself: for the first process of a pid namespace, all others in it.
pub(super) fn kill_all_others() -> io::Result<()> {
    // SAFETY: two numbers; nothing of this process is touched.
    let done = unsafe { libc::kill(-1, libc::SIGKILL) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has a program start in a session of its own, whose terminal is its standard input.
pub(super) fn own_terminal(command: &mut Command) {
    let take = || {
        rustix::process::setsid()?;
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        Ok(())
    };
    // SAFETY: what runs between fork and exec are two calls to the kernel, which take no lock and no memory.
    unsafe { command.pre_exec(take) };
}

/// Has a program end with the thread that starts it, however that ends.
pub(super) fn end_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let ask = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // It may have ended before it was asked.
        if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
    };
    // SAFETY: what runs between fork and exec are two calls to the kernel, which take no lock and no memory.
    unsafe { command.pre_exec(ask) };
}

/// Keeps this process and all that it starts from sockets with abstract names (unix(7)) that others have made: these
/// belong to the network namespace and not to any root. See landlock(7), `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET`.
pub(super) fn forbid_abstract_sockets() -> io::Result<()> {
    /// `struct landlock_ruleset_attr`, as of version 6.
    #[repr(C)]
    struct Rules {
        files: u64,
        network: u64,
        scoped: u64,
    }
    let rules = Rules { files: 0, network: 0, scoped: 1 };
    // SAFETY: the rules are as long as we say and outlive the call, which gives a new descriptor.
    let made = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const rules, size_of::<Rules>(), 0 as c_int)
    };
    let Ok(made) = c_int::try_from(made) else { return Err(io::ErrorKind::InvalidData.into()) };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: nobody else has the descriptor.
    let made = unsafe { OwnedFd::from_raw_fd(made) };
    // SAFETY: two numbers.
    let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, made.as_raw_fd(), 0 as c_int) };
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
