//! The root of an image's programs: an overlay, with the sandbox's own folders mounted in it.
//!
//! One tmpfs, the store, holds all that is written: the upper part of the overlay, what stands above the folders of the
//! host (`top`), the places where something will be mounted that the image does not have (`points`, the lowest of all, so
//! that they are never in the upper part), and `/tmp`, `/run`, `/dev`. So one limit holds for all of it, and it is gone
//! with the sandbox. The store itself is mounted nowhere that a program could reach.
//!
//! Programs that see the host ([`View::Host`], [`View::Programs`]) have a folder of the store as their root, with the host's system folders
//! mounted in it, the sandbox's own, and the overlay.

use std::collections::BTreeSet;
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
use rustix::process::{chdir, fchdir};

use super::super::kernel::{Reach, seal};
use super::super::root::{
    DEVICES, HARMLESS, PROGRAMS, READ_ONLY, SYSTEM, System, change_root, clone_tree, mount_tmpfs, take_device,
};
use super::super::wire::Refusal;
use super::{ImageRun, TARGET, View, programs, top, within};
use crate::layer::EntryPath;

/// The root, entered.
pub(super) struct Root {
    /// The whole of the image.
    pub merged: OwnedFd,
    /// What was changed.
    pub upper: OwnedFd,
    /// The host's file for the capture.
    pub capture: Option<File>,
}

/// Where the sandbox has folders of its own.
const OWN: [&str; 5] = ["proc", "sys", "dev", "run", "tmp"];

/// What is mounted there, but for `/proc`: folders of the store.
const OWN_MOUNTS: [(&str, &str, MountAttrFlags); 5] = [
    ("dev", "dev", HARMLESS.union(MountAttrFlags::MOUNT_ATTR_NOEXEC)),
    ("dev/shm", "shm", HARMLESS),
    ("run", "run", HARMLESS),
    ("sys", "sys", READ_ONLY),
    ("tmp", "tmp", HARMLESS),
];

/// What is writable beside that where programs see the host, whose own folders of these names hold data.
const HOST_MOUNTS: [(&str, &str, MountAttrFlags); 2] =
    [("root", "user", HARMLESS), ("var/tmp", "var-tmp", HARMLESS)];

/// Folders of the store, with their modes.
const STORE: [(&str, u32); 13] = [
    ("upper", 0o755),
    ("work", 0o755),
    ("top", 0o755),
    ("points", 0o755),
    ("merged", 0o755),
    ("host", 0o755),
    ("dev", 0o755),
    ("shm", 0o1777),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("user", 0o700),
    ("var-tmp", 0o1777),
];

/// What of `/proc` tells of the machine's hardware, or lets it be changed, or tells of other people's keys.
const PROC_FOLDERS: [&str; 8] = ["acpi", "asound", "bus", "driver", "fs", "irq", "scsi", "tty"];
const PROC_FILES: [&str; 4] = ["keys", "key-users", "sched_debug", "timer_list"];

/// Makes the root of `run` and enters it.
pub(super) fn enter(run: &ImageRun) -> Result<Root, Refusal> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Refusal::of("part from the host's mounts", mount_change("/", private))?;
    // Every file that holds a content is open at once.
    let _ = programs::limit_files(None);
    let parts = Parts::take(run)?;
    Refusal::of("make a place in `/tmp` for what will be written", make_store(run))?;
    let folders = Folders::open()?;
    let user_marks = folders.user_marks()?;
    top::dress_root(run, &folders.upper)?;
    top::fill(run, &folders.top, &parts.lowers, &parts.contents)?;
    top::fill_scratch(run, &folders.store, &parts.points_in_scratch(), &parts.contents)?;
    parts.make_points(&folders)?;
    let root = parts.make_root(&folders)?;
    let (name, at) = match run.view {
        View::Image => ("merged", "merged".to_string()),
        View::Host | View::Programs => ("host", format!("host{TARGET}")),
    };
    let merged = Refusal::of("mount the overlay", parts.mount_overlay(&folders, user_marks, &at))?;
    parts.furnish(run, root.as_ref().unwrap_or(&merged), &folders.store)?;
    if let Some(root) = &root {
        Refusal::of("make the new root read-only", seal(root, READ_ONLY, Reach::Mount))?;
    }
    Refusal::of("change to the new root", chdir(name).and_then(|()| change_root()))?;
    Ok(Root { merged, upper: folders.upper, capture: parts.capture })
}

/// All that is taken from the host.
struct Parts {
    lowers: Vec<OwnedFd>,
    contents: top::Files,
    shown: Vec<Part>,
    devices: Vec<(&'static str, OwnedFd)>,
    /// The host's system folders, where programs see them.
    system: Option<System>,
    capture: Option<File>,
}

/// Something of the host, which will stand at a path.
struct Part {
    at: EntryPath,
    clone: OwnedFd,
    is_folder: bool,
}

impl Parts {
    fn take(run: &ImageRun) -> Result<Parts, Refusal> {
        let lower = |path: &std::path::PathBuf| {
            let opened = openat(CWD, path, within::FOLDER | OFlags::CLOEXEC, Mode::empty());
            Refusal::of(format!("open `{}`", path.display()), opened)
        };
        let shown = |(shown, flags): (&super::Shown, MountAttrFlags)| {
            let step = || format!("show `{}`", shown.host.display());
            let clone = clone_tree(CWD, &shown.host);
            let clone = Refusal::of(step(), clone)?;
            Refusal::of(step(), seal(&clone, flags, Reach::Tree))?;
            let found = Refusal::of(step(), fstat(&clone))?;
            let is_folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
            Ok(Part { at: shown.at.clone(), clone, is_folder })
        };
        let capture = |path: &std::path::PathBuf| {
            let file = File::options().write(true).truncate(true).open(path);
            Refusal::of(format!("write `{}`", path.display()), file)
        };
        let device = |path| Ok((path, take_device(path)?));
        Ok(Parts {
            lowers: run.lowers.iter().map(lower).collect::<Result<_, _>>()?,
            contents: top::open_files(run)?,
            shown: all_shown(run).map(shown).collect::<Result<_, _>>()?,
            devices: devices(run).map(device).collect::<Result<_, _>>()?,
            system: system(run)?,
            capture: run.capture.as_ref().map(capture).transpose()?,
        })
    }

    fn points_in_scratch(&self) -> Vec<top::Point<'_>> {
        let inside = self.shown.iter().filter(|part| top::is_scratch(&part.at));
        inside.map(|part| (&part.at, part.is_folder)).collect()
    }

    /// Makes every place elsewhere where something will be mounted: in the image lowest of all, and around it where the
    /// host is seen.
    fn make_points(&self, folders: &Folders) -> Result<(), Refusal> {
        let mut shown = self.shown.iter().filter(|part| !top::is_scratch(&part.at));
        let Some(system) = &self.system else {
            Refusal::of("make places to mount at", make_folders(&folders.points, &OWN))?;
            return shown.try_for_each(|part| make_point(&folders.points, &part.at, part));
        };
        let step = "make the new root";
        let around_image = ["imgbuild", TARGET.trim_start_matches('/'), "root", "var", "var/tmp"];
        Refusal::of(step, make_folders(&folders.host, &OWN))?;
        Refusal::of(step, make_folders(&folders.host, &around_image))?;
        Refusal::of(step, fchdir(&folders.host))?;
        system.make_links()?;
        Refusal::of(step, fchdir(&folders.store))?;
        let target = EntryPath::parse(TARGET).unwrap_or_default();
        for part in shown {
            match part.at.below(&target) {
                Some(inner) => make_point(&folders.points, &EntryPath::root().join(inner), part)?,
                // What is there of the host will cover it.
                None => make_point(&folders.host, &part.at, part)?,
            }
        }
        Ok(())
    }

    /// Makes the root of programs that see the host, with the host's folders in it.
    fn make_root(&self, folders: &Folders) -> Result<Option<OwnedFd>, Refusal> {
        let Some(system) = &self.system else { return Ok(None) };
        let step = "make the new root";
        let clone = Refusal::of(step, clone_with(&folders.store, "host", HARMLESS))?;
        Refusal::of(step, attach_here(&clone, "host").and_then(|()| chdir("host")))?;
        system.attach()?;
        Refusal::of(step, fchdir(&folders.store))?;
        let opened = openat(CWD, "host", within::FOLDER | OFlags::CLOEXEC, Mode::empty());
        Refusal::of(step, opened).map(Some)
    }

    /// Mounts the overlay at `at` of the store.
    fn mount_overlay(&self, folders: &Folders, user_marks: bool, at: &str) -> io::Result<OwnedFd> {
        let lowers = [&folders.top].into_iter().chain(self.lowers.iter().rev()).chain([&folders.points]);
        let lowers: Vec<String> = lowers.map(path_of).collect();
        match configure_overlay(&lowers, folders, user_marks) {
            // Before Linux 6.5 folders cannot be added one by one.
            Err(Errno::INVAL) => mount_overlay_at_once(&lowers, folders, user_marks, at)?,
            mounted => attach_here(&mounted?, at)?,
        }
        Ok(openat(CWD, at, within::FOLDER | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Mounts all but the image and the host's system.
    fn furnish(&self, run: &ImageRun, root: &OwnedFd, store: &OwnedFd) -> Result<(), Refusal> {
        let host_mounts = if self.system.is_some() { HOST_MOUNTS.as_slice() } else { &[] };
        for (at, name, flags) in OWN_MOUNTS.iter().chain(host_mounts) {
            attach(root, at, Refusal::of(format!("make `/{at}`"), clone_with(store, name, *flags))?)?;
        }
        attach(root, "dev/pts", Refusal::of("make `/dev/pts`", new_terminals())?)?;
        for (path, device) in &self.devices {
            attach(root, path.trim_start_matches('/'), device)?;
        }
        attach(root, "proc", Refusal::of("mount `/proc`", new_proc())?)?;
        Refusal::of("hide parts of `/proc`", hide_in_proc(root, store))?;
        seal_scratch(run, root, store)?;
        for Part { at, clone, .. } in &self.shown {
            attach_bytes(root, at.as_bytes(), clone)
                .map_err(|error| Refusal::asked(format!("show something at `/{at}`"), no_place(&error)))?;
        }
        Ok(())
    }
}

/// What programs see of the host's system.
fn system(run: &ImageRun) -> Result<Option<System>, Refusal> {
    match run.view {
        View::Image => Ok(None),
        View::Host => System::take(&SYSTEM, &run.hidden).map(Some),
        View::Programs => System::take(&PROGRAMS, &run.hidden).map(Some),
    }
}

/// What is shown of the host, and what may be done there.
fn all_shown(run: &ImageRun) -> impl Iterator<Item = (&super::Shown, MountAttrFlags)> {
    let read = run.shown.iter().map(|shown| (shown, READ_ONLY));
    read.chain(run.written.iter().map(|written| (written, HARMLESS)))
}

/// Mounts what no program may change onto itself, an outer folder before what is in it.
fn seal_scratch(run: &ImageRun, root: &OwnedFd, store: &OwnedFd) -> Result<(), Refusal> {
    let sealed: BTreeSet<&EntryPath> = run.sealed.iter().collect();
    for path in sealed {
        let seal = || {
            let folder = within::open(store, path.as_bytes(), within::FOLDER)?;
            attach_bytes(root, path.as_bytes(), clone_with(&folder, ".", READ_ONLY)?)
        };
        seal().map_err(|error| Refusal::asked(format!("seal `/{path}`"), no_place(&error)))?;
    }
    Ok(())
}

/// The folders of the store that are needed again.
struct Folders {
    store: OwnedFd,
    upper: OwnedFd,
    work: OwnedFd,
    top: OwnedFd,
    points: OwnedFd,
    host: OwnedFd,
}

impl Folders {
    fn open() -> Result<Folders, Refusal> {
        let open = |name: &str| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Refusal::of("open what was made in `/tmp`", openat(CWD, name, flags, Mode::empty()))
        };
        Ok(Folders {
            store: open(".")?,
            upper: open("upper")?,
            work: open("work")?,
            top: open("top")?,
            points: open("points")?,
            host: open("host")?,
        })
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

/// The host's devices that programs find.
fn devices(run: &ImageRun) -> impl Iterator<Item = &'static str> {
    DEVICES.into_iter().chain(["/dev/tty"]).chain(run.kvm.then_some("/dev/kvm"))
}

fn make_store(run: &ImageRun) -> io::Result<()> {
    mount_tmpfs("/tmp", c"mode=755,size=75%")?;
    chdir("/tmp")?;
    for (name, mode) in STORE {
        make_folder(name, mode)?;
    }
    make_folder("run/lock", 0o1777)?;
    make_folder("dev/shm", 0o1777)?;
    make_folder("dev/pts", 0o755)?;
    for device in devices(run) {
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

fn make_folders(folder: &OwnedFd, names: &[&str]) -> io::Result<()> {
    names.iter().try_for_each(|name| Ok(mkdirat(folder, *name, Mode::from_raw_mode(0o755))?))
}

/// Makes a place where `part` will be mounted.
fn make_point(root: &OwnedFd, at: &EntryPath, part: &Part) -> Result<(), Refusal> {
    let make = || {
        let (folder, name) = within::folder_of(root, at)?;
        let made = if part.is_folder {
            mkdirat(&folder, name, Mode::from_raw_mode(0o755))
        } else {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(&folder, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        };
        if matches!(made, Err(Errno::EXIST)) { Ok(()) } else { Ok(made?) }
    };
    make().map_err(|error: io::Error| {
        Refusal::asked(format!("show something at `/{}`", part.at), no_place(&error))
    })
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

fn mount_overlay_at_once(lowers: &[String], folders: &Folders, user_marks: bool, at: &str) -> io::Result<()> {
    let options: String = OPTIONS.iter().map(|(name, value)| format!(",{name}={value}")).collect();
    let data = format!(
        "lowerdir={},upperdir={},workdir={}{options}{}",
        lowers.join(":"),
        path_of(&folders.upper),
        path_of(&folders.work),
        if user_marks { ",userxattr" } else { "" },
    );
    let data = std::ffi::CString::new(data)?;
    Ok(mount("overlay", at, "overlay", MountFlags::NOSUID | MountFlags::NODEV, data.as_c_str())?)
}

fn clone_with(folder: &OwnedFd, path: &str, flags: MountAttrFlags) -> io::Result<OwnedFd> {
    let clone = clone_tree(folder, path)?;
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
fn hide_in_proc(root: &OwnedFd, store: &OwnedFd) -> io::Result<()> {
    let proc = within::open(root, b"proc", OFlags::RDONLY | OFlags::DIRECTORY)?;
    for name in within::names(&proc)? {
        if name.first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let found = statat(&proc, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
        let named = |list: &[&str]| list.iter().any(|one| one.as_bytes() == name);
        let cover = match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory if named(&PROC_FOLDERS) => clone_with(store, "sys", READ_ONLY)?,
            FileType::RegularFile if named(&PROC_FILES) || found.st_mode & 0o004 == 0 => {
                clone_tree(root, "dev/null")?
            }
            _ => continue,
        };
        attach_bytes(&proc, &name, &cover)?;
    }
    Ok(())
}

fn attach(root: &OwnedFd, path: &str, clone: impl AsFd) -> Result<(), Refusal> {
    attach_bytes(root, path.as_bytes(), clone)
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

/// Attaches a clone at a path of the root, which is followed through no link.
fn attach_bytes(root: &OwnedFd, path: &[u8], clone: impl AsFd) -> io::Result<()> {
    let target = within::open(root, path, OFlags::PATH)?;
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
