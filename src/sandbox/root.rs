//! The root that a program sees: made of the host's system folders, and of what was declared.
//!
//! First everything that will be shown is cloned, sealed (read-only, no devices, no set-user-id), and held by a
//! descriptor, attached nowhere. Then, in a mount namespace of its own, a small tmpfs becomes the new root, the clones
//! are attached to it, and the host's root is let go. So what was not cloned cannot be reached by any path.
//!
//! Of the host only the folders where programs live are shown: `/var`, `/srv`, `/mnt`, homes and the like hold data,
//! and data is declared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::mount::{
    MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_change, move_mount, open_tree, unmount,
};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::path::Arg;
use rustix::process::{chdir, pivot_root};
use rustix::thread::UnshareFlags;

use super::kernel::{self, Reach, seal};
use super::search::{Cover, Folder, Search};
use super::wire::{HostRoot, Refusal};
use super::{NOTHING, OUT, PATH, SOCKET, XCLUSTER};

/// Where programs, their libraries and their settings live; what the host does not have is left out.
pub(super) const SYSTEM: [&str; 11] =
    ["/bin", "/etc", "/gnu", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/opt", "/sbin", "/usr"];

/// The same with no settings but the loader's: what it takes to run a program.
pub(super) const PROGRAMS: [&str; 13] = [
    "/bin",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/gnu",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix",
    "/sbin",
    "/usr",
];

/// What only root may read in there. A script of root's has no power, but root's number, and so owns these files.
const SECRETS: [&str; 10] = [
    "/etc/apt/auth.conf",
    "/etc/apt/auth.conf.d",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/krb5.keytab",
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/sudoers",
];

/// The devices; all of them harmless.
pub(super) const DEVICES: [&str; 5] = ["/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

/// Writable folders, all on one tmpfs so that one limit holds for them together: where, its name there, its mode.
const SCRATCH: [(&str, &str, u32); 5] = [
    ("/tmp", "tmp", 0o1777),
    ("/var/tmp", "var-tmp", 0o1777),
    ("/home", "home", 0o755),
    ("/run", "run", 0o755),
    ("/dev/shm", "shm", 0o1777),
];

/// Folders that are the sandbox's own: nothing of the host can take their place.
pub(super) const OWN: [&str; 9] =
    ["/dev", "/dev/shm", "/home", "/imgbuild", "/proc", "/root", "/run", "/tmp", "/var/tmp"];

/// The new root, entered.
pub(super) struct Root {
    /// The overlays that can be asked for.
    pub search: Search,
    /// Where `xcluster` asks.
    pub listener: OwnedFd,
}

/// Makes the root that `order` describes and makes it this process's; `xcluster` is imgbuild's own program.
pub(super) fn enter(order: &HostRoot, xcluster: &Path) -> Result<Root, Refusal> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Refusal::of("part from the host's mounts", mount_change("/", private))?;
    let host_side = Refusal::of("hold the mount namespace", own_namespace())?;
    let parts = Parts::take(order, xcluster)?;
    Refusal::of("make a mount namespace", kernel::unshare(UnshareFlags::NEWNS))?;
    Refusal::of("make a new root in `/tmp`", begin_root())?;
    let (folders, listener) = parts.assemble()?;
    Refusal::of("change to the new root", change_root())?;
    let inside = Refusal::of("hold the mount namespace", own_namespace())?;
    Ok(Root { search: Search { folders, host_side, inside }, listener })
}

/// A read-only clone of the mounts at and below `path`, attached nowhere.
pub(super) fn clone_sealed(folder: impl AsFd, path: impl Arg) -> io::Result<OwnedFd> {
    let clone = clone_tree(folder, path)?;
    seal(&clone, READ_ONLY, Reach::Tree)?;
    Ok(clone)
}

pub(super) const HARMLESS: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);
pub(super) const READ_ONLY: MountAttrFlags = HARMLESS.union(MountAttrFlags::MOUNT_ATTR_RDONLY);

pub(super) fn clone_tree(folder: impl AsFd, path: impl Arg) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(folder, path, flags)?)
}

fn own_namespace() -> io::Result<OwnedFd> {
    Ok(openat(CWD, "/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// What stands at a path of the new root.
enum Part {
    /// Something of the host's.
    Shown(OwnedFd),
    /// Nothing, where the host has something.
    Hidden,
    /// A folder of the search path: nothing, until asked for.
    Search,
}

/// What is seen of the host at its own paths, attached nowhere yet.
pub(super) struct System {
    /// In the order of their paths, so that an outer one comes before what stands in it: the innermost wins.
    parts: BTreeMap<PathBuf, Part>,
    /// Links such as `/bin` to `usr/bin`.
    links: Vec<(&'static str, PathBuf)>,
}

/// All that is taken from the host, attached nowhere yet.
struct Parts {
    system: System,
    /// In the order of the search.
    search: Vec<(PathBuf, OwnedFd)>,
    devices: Vec<(&'static str, OwnedFd)>,
    xcluster: OwnedFd,
    out: Option<OwnedFd>,
}

impl Parts {
    fn take(order: &HostRoot, xcluster: &Path) -> Result<Parts, Refusal> {
        let mut system = System::of(&SYSTEM)?;
        for path in &order.visible {
            system.parts.insert(path.clone(), Part::Shown(show(path)?));
        }
        system.hide(&order.hidden);
        for path in &order.search {
            system.parts.entry(path.clone()).and_modify(Part::cover_for_search).or_insert(Part::Search);
        }
        drop_needless_covers(&mut system.parts);
        Ok(Parts {
            system,
            search: open_search(&order.search)?,
            devices: take_devices()?,
            xcluster: take_own_program(xcluster)?,
            out: order.out.as_deref().map(open_out).transpose()?,
        })
    }

    /// Builds the tree in the working folder.
    fn assemble(self) -> Result<(Vec<Folder>, OwnedFd), Refusal> {
        Refusal::of("make folders in the new root", make_folders())?;
        Refusal::of("mount `/proc`", mount_proc())?;
        Refusal::of(
            "fill `/dev`",
            attach_all(self.devices.iter().map(|(path, clone)| (Path::new(*path), clone))),
        )?;
        Refusal::of("show imgbuild's own program", attach(&self.xcluster, XCLUSTER))?;
        if let Some(out) = &self.out {
            Refusal::of("show the folder for the result", attach(out, OUT))?;
        }
        self.system.make_links()?;
        let covers = self.system.place()?;
        let listener = Refusal::of("listen for `xcluster`", open_listener())?;
        let folders = Refusal::of("hold the search path", hold_search(self.search, &self.system.parts))?;
        for cover in covers.iter().map(inside).chain([PathBuf::from(".")]) {
            Refusal::of("make the new root read-only", seal_mount(&cover))?;
        }
        Ok((folders, listener))
    }
}

impl System {
    /// These files and folders of the system, without `hidden` and without what only root may read.
    pub fn take(paths: &[&'static str], hidden: &[PathBuf]) -> Result<System, Refusal> {
        let mut system = System::of(paths)?;
        system.hide(hidden);
        drop_needless_covers(&mut system.parts);
        Ok(system)
    }

    /// Makes links such as `/bin` in the working folder, which is to become the root and where `imgbuild` is a folder;
    /// and the file that stands where one is hidden.
    pub fn make_links(&self) -> Result<(), Refusal> {
        Refusal::of("make folders in the new root", make_links(&self.links))
    }

    /// Mounts the folders there.
    pub fn attach(&self) -> Result<(), Refusal> {
        let covers = self.place()?;
        let sealed = covers.iter().try_for_each(|cover| seal_mount(&inside(cover)));
        Refusal::of("make the new root read-only", sealed)
    }

    fn of(paths: &[&'static str]) -> Result<System, Refusal> {
        let mut parts = BTreeMap::new();
        let links = take_system(paths, &mut parts)?;
        Ok(System { parts, links })
    }

    fn hide(&mut self, hidden: &[PathBuf]) {
        let hidden = hidden.iter().filter(|path| !holds_programs(path)).cloned();
        // Where a link leads to a secret, that has to be hidden where it is.
        let secrets = SECRETS.map(|path| fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path)));
        for path in hidden.chain(secrets) {
            self.parts.entry(path).or_insert(Part::Hidden);
        }
    }

    /// Puts all of it in its place; tells the covers that have to be sealed in the end.
    fn place(&self) -> Result<Vec<&Path>, Refusal> {
        let covers = self.parts.iter().map(|(path, part)| place(path, part));
        Ok(covers.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }
}

impl Part {
    /// A hidden folder that is also searched has to be able to show overlays.
    fn cover_for_search(&mut self) {
        if matches!(self, Part::Hidden) {
            *self = Part::Search;
        }
    }
}

fn take_system(
    paths: &[&'static str],
    parts: &mut BTreeMap<PathBuf, Part>,
) -> Result<Vec<(&'static str, PathBuf)>, Refusal> {
    let mut links = Vec::new();
    for &path in paths {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => {
                links.push((path, Refusal::of(format!("read the link `{path}`"), fs::read_link(path))?));
            }
            Ok(found) if found.is_dir() || found.is_file() => {
                parts.insert(PathBuf::from(path), Part::Shown(show(Path::new(path))?));
            }
            _ => {}
        }
    }
    Ok(links)
}

fn show(path: &Path) -> Result<OwnedFd, Refusal> {
    Refusal::of(format!("show `{}`", path.display()), clone_sealed(CWD, path))
}

/// Whether nothing would run if `path` were hidden; some homes are `/` or `/usr/sbin`.
fn holds_programs(path: &Path) -> bool {
    PATH.split(':').chain(["/etc", "/usr/lib"]).any(|folder| Path::new(folder).starts_with(path))
}

/// Keeps a cover only where something of the host would show; elsewhere there is nothing to hide.
fn drop_needless_covers(parts: &mut BTreeMap<PathBuf, Part>) {
    let shown: BTreeSet<PathBuf> = parts
        .iter()
        .filter(|(_, part)| matches!(part, Part::Shown(_)))
        .map(|(path, _)| path.clone())
        .collect();
    let within = |path: &Path| path.ancestors().skip(1).any(|outer| shown.contains(outer));
    parts.retain(|path, part| {
        !matches!(part, Part::Hidden) || (within(path) && fs::symlink_metadata(path).is_ok())
    });
}

fn open_search(search: &[PathBuf]) -> Result<Vec<(PathBuf, OwnedFd)>, Refusal> {
    let open = |path: &PathBuf| {
        let opened = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        Ok((path.clone(), Refusal::of(format!("open `{}`", path.display()), opened)?))
    };
    search.iter().map(open).collect()
}

fn take_devices() -> Result<Vec<(&'static str, OwnedFd)>, Refusal> {
    DEVICES.map(|path| Ok((path, take_device(path)?))).into_iter().collect()
}

/// A device of the host, which can be used and not changed.
pub(super) fn take_device(path: &str) -> Result<OwnedFd, Refusal> {
    // A device on a read-only mount is written to as ever, but its mode and owner stay: they are the host's.
    let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_RDONLY;
    let taken = clone_tree(CWD, path).and_then(|clone| seal(&clone, quiet, Reach::Tree).map(|()| clone));
    Refusal::of(format!("show `{path}`"), taken)
}

fn take_own_program(path: &Path) -> Result<OwnedFd, Refusal> {
    Refusal::of("show imgbuild's own program (was it replaced while it runs?)", clone_sealed(CWD, path))
}

fn open_out(path: &Path) -> Result<OwnedFd, Refusal> {
    let clone = clone_tree(CWD, path).and_then(|clone| seal(&clone, HARMLESS, Reach::Tree).map(|()| clone));
    Refusal::of(format!("show `{}`", path.display()), clone)
}

/// Mounts the tmpfs that will be the root, and stands in it.
fn begin_root() -> io::Result<()> {
    mount_tmpfs("/tmp", c"mode=755")?;
    Ok(chdir("/tmp")?)
}

pub(super) fn mount_tmpfs(at: impl Arg, options: &std::ffi::CStr) -> io::Result<()> {
    Ok(mount("tmpfs", at, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options)?)
}

fn make_folders() -> io::Result<()> {
    for folder in OWN {
        fs::create_dir_all(inside(folder))?;
    }
    make_scratch()?;
    for (name, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        symlink(format!("/proc/self/fd{target}"), format!("dev/{name}"))?;
    }
    Ok(())
}

fn make_links(links: &[(&'static str, PathBuf)]) -> io::Result<()> {
    for (path, target) in links {
        if let Some(folder) = inside(path).parent() {
            fs::create_dir_all(folder)?;
        }
        symlink(target, inside(path))?;
    }
    File::create(inside(NOTHING))?.set_permissions(Permissions::from_mode(0o000))
}

fn make_scratch() -> io::Result<()> {
    fs::create_dir("scratch")?;
    mount_tmpfs("scratch", c"mode=755")?;
    for (path, name, mode) in SCRATCH {
        let folder = Path::new("scratch").join(name);
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, Permissions::from_mode(mode))?;
        attach(&clone_tree(CWD, &folder)?, path)?;
    }
    fs::create_dir("home/imgbuild")?;
    unmount("scratch", UnmountFlags::DETACH)?;
    fs::remove_dir("scratch")
}

/// A `/proc` of the new pid namespace with nothing but processes in it: what the kernel lets be changed in the rest of
/// `/proc` is open to user 0 by its number alone, and a script of root's has that number outside.
fn mount_proc() -> io::Result<()> {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount("proc", "proc", "proc", flags, c"subset=pid")?)
}

fn attach_all<'a>(clones: impl Iterator<Item = (&'a Path, &'a OwnedFd)>) -> io::Result<()> {
    clones.into_iter().try_for_each(|(path, clone)| attach(clone, path))
}

/// Attaches a clone at the absolute `path` of the new root; makes the mount point if need be.
fn attach(clone: &OwnedFd, path: impl AsRef<Path>) -> io::Result<()> {
    let path = inside(path);
    if FileType::from_raw_mode(fstat(clone)?.st_mode) == FileType::Directory {
        fs::create_dir_all(&path)?;
    } else {
        make_file(&path)?;
    }
    Ok(move_mount(clone, "", CWD, &path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn make_file(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match File::create_new(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Puts a part in its place; tells the cover that has to be sealed in the end, if one was mounted.
fn place<'a>(path: &'a Path, part: &Part) -> Result<Option<&'a Path>, Refusal> {
    let at = path.display();
    match part {
        Part::Shown(clone) => Refusal::of(format!("show `{at}`"), attach(clone, path)).map(|()| None),
        Part::Hidden => Refusal::of(format!("hide `{at}`"), hide(path)),
        Part::Search => Refusal::of(format!("hide `{at}`"), cover(path)).map(|()| Some(path)),
    }
}

fn hide(path: &Path) -> io::Result<Option<&Path>> {
    match fs::symlink_metadata(inside(path)) {
        Ok(found) if found.is_dir() => cover(path).map(|()| Some(path)),
        Ok(_) => attach(&clone_sealed(CWD, inside(NOTHING))?, path).map(|()| None),
        // Something further out hides it.
        Err(_) => Ok(None),
    }
}

fn cover(path: &Path) -> io::Result<()> {
    fs::create_dir_all(inside(path))?;
    mount_tmpfs(inside(path), c"mode=755,size=1m")
}

fn hold_search(search: Vec<(PathBuf, OwnedFd)>, parts: &BTreeMap<PathBuf, Part>) -> io::Result<Vec<Folder>> {
    let hold = |(path, host): (PathBuf, OwnedFd)| {
        let covered = matches!(parts.get(&path), Some(Part::Search));
        let mut cover = covered.then(|| Cover::of(&inside(&path))).transpose()?;
        if let Some(cover) = &mut cover {
            let shown = parts.iter().filter(|(_, part)| matches!(part, Part::Shown(_)));
            let names = shown
                .filter(|(inner, _)| inner.parent() == Some(&path))
                .filter_map(|(inner, _)| inner.file_name());
            cover.shown.extend(names.filter_map(|name| name.to_str()).map(String::from));
        }
        Ok(Folder { path, host, cover })
    };
    search.into_iter().map(hold).collect()
}

fn seal_mount(path: &Path) -> io::Result<()> {
    let mount = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    seal(&mount, READ_ONLY, Reach::Mount)
}

/// A packet socket, so that a request comes whole or not at all.
fn open_listener() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    bind(&listener, &SocketAddrUnix::new(inside(SOCKET))?)?;
    listen(&listener, 64)?;
    Ok(listener)
}

/// Makes the working folder the root, and lets the host's go: `pivot_root(2)`, "pivot_root(".", ".")".
pub(super) fn change_root() -> Result<(), Errno> {
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")
}

/// An absolute path as one from the working folder, which is to become the root.
fn inside(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    path.strip_prefix("/").unwrap_or(path).to_path_buf()
}
