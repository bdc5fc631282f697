//! The root of an image's programs: an overlay, with the sandbox's own folders mounted in it.
//!
//! One tmpfs, the store, holds all that is written: the upper part of the overlay, what stands above the folders of the
//! host (`top`), the places where something will be mounted that the image does not have (`points`, the lowest of all, so
//! that they are never in the upper part), and `/tmp`, `/run`, `/dev`. So one limit holds for all of it, and it is gone
//! with the sandbox. The store itself is mounted nowhere that a program could reach.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, mkdirat, openat, statat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, mount_change,
    move_mount,
};
use rustix::process::chdir;

use super::super::kernel::{Reach, seal};
use super::super::root::{
    DEVICES, HARMLESS, READ_ONLY, change_root, clone_sealed, clone_tree, mount_tmpfs, take_device,
};
use super::super::wire::Refusal;
use super::{ImageRun, top, within};
use crate::layer::EntryPath;

/// The root, entered.
pub(super) struct Root {
    /// The whole of it, as programs see it.
    pub merged: OwnedFd,
    /// What was changed.
    pub upper: OwnedFd,
    /// The host's file for the capture.
    pub capture: Option<File>,
}

/// Where the sandbox has folders of its own.
const OWN: [&str; 5] = ["proc", "sys", "dev", "run", "tmp"];

/// Folders of the store, with their modes.
const STORE: [(&str, u32); 10] = [
    ("upper", 0o755),
    ("work", 0o755),
    ("top", 0o755),
    ("points", 0o755),
    ("merged", 0o755),
    ("dev", 0o755),
    ("shm", 0o1777),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
];

/// What of `/proc` tells of the machine's hardware, or lets it be changed, or tells of other people's keys.
const PROC_FOLDERS: [&str; 8] = ["acpi", "asound", "bus", "driver", "fs", "irq", "scsi", "tty"];
const PROC_FILES: [&str; 4] = ["keys", "key-users", "sched_debug", "timer_list"];

/// Makes the root of `run` and enters it.
pub(super) fn enter(run: &ImageRun) -> Result<Root, Refusal> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Refusal::of("part from the host's mounts", mount_change("/", private))?;
    let parts = Parts::take(run)?;
    Refusal::of("make a place in `/tmp` for what will be written", make_store())?;
    let folders = Folders::open()?;
    let user_marks = folders.user_marks()?;
    top::dress_root(run, &folders.upper)?;
    top::fill(run, &folders.top, &parts.lowers, &parts.contents)?;
    Refusal::of("make places to mount at", make_points(&parts.shown, &folders.points))?;
    let merged = Refusal::of("mount the overlay", parts.mount_overlay(&folders, user_marks))?;
    parts.furnish(&merged)?;
    Refusal::of("change to the new root", chdir("merged").and_then(|()| change_root()))?;
    Ok(Root { merged, upper: folders.upper, capture: parts.capture })
}

/// All that is taken from the host.
struct Parts {
    lowers: Vec<OwnedFd>,
    contents: top::Files,
    shown: Vec<(EntryPath, OwnedFd)>,
    devices: Vec<(&'static str, OwnedFd)>,
    capture: Option<File>,
}

impl Parts {
    fn take(run: &ImageRun) -> Result<Parts, Refusal> {
        let lower = |path: &std::path::PathBuf| {
            let opened = openat(CWD, path, within::FOLDER | OFlags::CLOEXEC, Mode::empty());
            Refusal::of(format!("open `{}`", path.display()), opened)
        };
        let shown = |shown: &super::Shown| {
            let clone =
                Refusal::of(format!("show `{}`", shown.host.display()), clone_sealed(CWD, &shown.host));
            Ok((shown.at.clone(), clone?))
        };
        let capture = |path: &std::path::PathBuf| {
            let file = File::options().write(true).truncate(true).open(path);
            Refusal::of(format!("write `{}`", path.display()), file)
        };
        let device = |path| Ok((path, take_device(path)?));
        Ok(Parts {
            lowers: run.lowers.iter().map(lower).collect::<Result<_, _>>()?,
            contents: top::open_files(run)?,
            shown: run.shown.iter().map(shown).collect::<Result<_, _>>()?,
            devices: DEVICES.into_iter().chain(["/dev/tty"]).map(device).collect::<Result<_, _>>()?,
            capture: run.capture.as_ref().map(capture).transpose()?,
        })
    }

    /// Mounts the overlay at `merged` of the store.
    fn mount_overlay(&self, folders: &Folders, user_marks: bool) -> io::Result<OwnedFd> {
        let lowers = [&folders.top].into_iter().chain(self.lowers.iter().rev()).chain([&folders.points]);
        let lowers: Vec<String> = lowers.map(path_of).collect();
        match configure_overlay(&lowers, folders, user_marks) {
            // Before Linux 6.5 folders cannot be added one by one.
            Err(Errno::INVAL) => mount_overlay_at_once(&lowers, folders, user_marks)?,
            mounted => attach_here(&mounted?, "merged")?,
        }
        Ok(openat(CWD, "merged", within::FOLDER | OFlags::CLOEXEC, Mode::empty())?)
    }

    fn furnish(&self, merged: &OwnedFd) -> Result<(), Refusal> {
        for (name, flags) in [
            ("dev", HARMLESS | MountAttrFlags::MOUNT_ATTR_NOEXEC),
            ("run", HARMLESS),
            ("sys", READ_ONLY),
            ("tmp", HARMLESS),
        ] {
            attach(merged, name, Refusal::of(format!("make `/{name}`"), clone_with(name, flags))?)?;
        }
        attach(merged, "dev/shm", Refusal::of("make `/dev/shm`", clone_with("shm", HARMLESS))?)?;
        attach(merged, "dev/pts", Refusal::of("make `/dev/pts`", new_terminals())?)?;
        for (path, device) in &self.devices {
            attach(merged, path.trim_start_matches('/'), device)?;
        }
        attach(merged, "proc", Refusal::of("mount `/proc`", new_proc())?)?;
        Refusal::of("hide parts of `/proc`", hide_in_proc(merged))?;
        for (at, clone) in &self.shown {
            attach_bytes(merged, at.as_bytes(), clone)
                .map_err(|error| Refusal::asked(format!("show something at `/{at}`"), no_place(&error)))?;
        }
        Ok(())
    }
}

/// The folders of the store that are needed again.
struct Folders {
    upper: OwnedFd,
    work: OwnedFd,
    top: OwnedFd,
    points: OwnedFd,
}

impl Folders {
    fn open() -> Result<Folders, Refusal> {
        let open = |name: &str| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Refusal::of("open what was made in `/tmp`", openat(CWD, name, flags, Mode::empty()))
        };
        Ok(Folders { upper: open("upper")?, work: open("work")?, top: open("top")?, points: open("points")? })
    }

    /// Whether the overlay keeps its marks as anyone may, which it must wherever this root is not the machine's. Where
    /// it could not keep them, it would fail later, in the middle of a program.
    fn user_marks(&self) -> Result<bool, Refusal> {
        let set = |name: &str| rustix::fs::fsetxattr(&self.work, name, b"y", rustix::fs::XattrFlags::empty());
        if set("trusted.overlay.probe").is_ok() {
            return Ok(false);
        }
        Refusal::of("keep extended attributes in memory", set("user.overlay.probe"))
            .map_err(|refusal| refusal.help("it takes Linux 6.6 or newer"))?;
        Ok(true)
    }
}

fn make_store() -> io::Result<()> {
    mount_tmpfs("/tmp", c"mode=755,size=75%")?;
    chdir("/tmp")?;
    for (name, mode) in STORE {
        make_folder(name, mode)?;
    }
    make_folder("run/lock", 0o1777)?;
    make_folder("dev/shm", 0o1777)?;
    make_folder("dev/pts", 0o755)?;
    for device in DEVICES.into_iter().chain(["/dev/tty"]) {
        File::create_new(device.trim_start_matches('/'))?;
    }
    let links = [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")];
    for (name, target) in links {
        symlink(format!("/proc/self/fd{target}"), format!("dev/{name}"))?;
    }
    symlink("pts/ptmx", "dev/ptmx")
}

fn make_folder(path: &str, mode: u32) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Makes, lowest of all, every place where something will be mounted.
fn make_points(shown: &[(EntryPath, OwnedFd)], points: &OwnedFd) -> io::Result<()> {
    for name in OWN {
        mkdirat(points, name, Mode::from_raw_mode(0o755))?;
    }
    for (at, clone) in shown {
        let (folder, name) = within::folder_of(points, at)?;
        let made = if FileType::from_raw_mode(fstat(clone)?.st_mode) == FileType::Directory {
            mkdirat(&folder, name, Mode::from_raw_mode(0o755))
        } else {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(&folder, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        };
        if !matches!(made, Err(Errno::EXIST)) {
            made?;
        }
    }
    Ok(())
}

/// A path of an open directory without a letter that an overlay's options would read otherwise.
fn path_of(folder: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", folder.as_raw_fd())
}

const OPTIONS: [(&str, &str); 3] = [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")];

fn configure_overlay(lowers: &[String], folders: &Folders, user_marks: bool) -> Result<OwnedFd, Errno> {
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for lower in lowers {
        fsconfig_set_string(&overlay, "lowerdir+", lower.as_str())?;
    }
    fsconfig_set_string(&overlay, "upperdir", path_of(&folders.upper).as_str())?;
    fsconfig_set_string(&overlay, "workdir", path_of(&folders.work).as_str())?;
    for (name, value) in OPTIONS {
        fsconfig_set_string(&overlay, name, value)?;
    }
    if user_marks {
        fsconfig_set_flag(&overlay, "userxattr")?;
    }
    fsconfig_create(&overlay)?;
    // Without set-user-ID a file's capabilities do not count either, which no program here has to be given.
    fsmount(&overlay, FsMountFlags::FSMOUNT_CLOEXEC, HARMLESS)
}

fn mount_overlay_at_once(lowers: &[String], folders: &Folders, user_marks: bool) -> io::Result<()> {
    let options: String = OPTIONS.iter().map(|(name, value)| format!(",{name}={value}")).collect();
    let data = format!(
        "lowerdir={},upperdir={},workdir={}{options}{}",
        lowers.join(":"),
        path_of(&folders.upper),
        path_of(&folders.work),
        if user_marks { ",userxattr" } else { "" },
    );
    let data = std::ffi::CString::new(data)?;
    Ok(mount("overlay", "merged", "overlay", MountFlags::NOSUID | MountFlags::NODEV, data.as_c_str())?)
}

fn clone_with(path: &str, flags: MountAttrFlags) -> io::Result<OwnedFd> {
    let clone = clone_tree(CWD, path)?;
    seal(&clone, flags, Reach::Mount)?;
    Ok(clone)
}

fn new_terminals() -> Result<OwnedFd, Errno> {
    let make = |group: bool| {
        let terminals = fsopen("devpts", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&terminals, "ptmxmode", "0666")?;
        fsconfig_set_string(&terminals, "mode", "0620")?;
        if group {
            fsconfig_set_string(&terminals, "gid", "5")?;
        }
        fsconfig_create(&terminals)?;
        let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        fsmount(&terminals, FsMountFlags::FSMOUNT_CLOEXEC, flags)
    };
    // The group `tty`, where this machine gives it.
    make(true).or_else(|_| make(false))
}

/// A `/proc` that nobody writes to: much of it is open to user 0 by the number alone, which is root's own outside.
fn new_proc() -> Result<OwnedFd, Errno> {
    let processes = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&processes)?;
    fsmount(&processes, FsMountFlags::FSMOUNT_CLOEXEC, READ_ONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC)
}

/// Covers what only root of the machine is to read.
fn hide_in_proc(merged: &OwnedFd) -> io::Result<()> {
    let proc = within::open(merged, b"proc", OFlags::RDONLY | OFlags::DIRECTORY)?;
    for name in within::names(&proc)? {
        if name.first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let found = statat(&proc, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
        let named = |list: &[&str]| list.iter().any(|one| one.as_bytes() == name);
        let cover = match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory if named(&PROC_FOLDERS) => clone_with("sys", READ_ONLY)?,
            FileType::RegularFile if named(&PROC_FILES) || found.st_mode & 0o004 == 0 => {
                clone_tree(merged, "dev/null")?
            }
            _ => continue,
        };
        attach_bytes(&proc, &name, &cover)?;
    }
    Ok(())
}

fn attach(merged: &OwnedFd, path: &str, clone: impl AsFd) -> Result<(), Refusal> {
    attach_bytes(merged, path.as_bytes(), clone)
        .map_err(|error| Refusal::asked(format!("make `/{path}` in the image"), no_place(&error)))
}

/// What a mount point says that is none.
fn no_place(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ELOOP) => "the image has a symbolic link there, or on the way".into(),
        Some(libc::ENOTDIR) => "the image has no directory there, or on the way".into(),
        _ => crate::fault::reason(error),
    }
}

/// Attaches a clone at a path of the image, which is followed through no link.
fn attach_bytes(merged: &OwnedFd, path: &[u8], clone: impl AsFd) -> io::Result<()> {
    let target = within::open(merged, path, OFlags::PATH)?;
    let folder = |fd: &OwnedFd| Ok::<_, Errno>(FileType::from_raw_mode(fstat(fd)?.st_mode));
    if folder(&target)? != FileType::from_raw_mode(fstat(&clone)?.st_mode)
        && folder(&target)? == FileType::Symlink
    {
        return Err(Errno::LOOP.into());
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(clone, "", &target, "", flags)?)
}

fn attach_here(mounted: &OwnedFd, path: &str) -> Result<(), Errno> {
    move_mount(mounted, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}
