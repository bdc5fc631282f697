//! Putting an output into its place: whole, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags};

use crate::fault::Fault;
use crate::store::Stamp;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A path beside an output's own, for the output while it is being written. Removed when dropped.
#[derive(Debug)]
pub(super) struct Aside {
    path: PathBuf,
}

impl Aside {
    /// A path beside `place`, whose folder is made.
    pub(super) fn beside(place: &Path) -> Result<Aside, Fault> {
        let folder = place.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(|error| Fault::io("make", folder, &error))?;
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Aside { path: folder.join(format!(".{name}.imgbuild-{}-{number}", std::process::id())) })
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it into its place; gives what the file looks like there.
    pub(super) fn settle(self, place: &Path, is_folder: bool) -> Result<Stamp, Fault> {
        let failed = |error: io::Error| Fault::io("write", place, &error);
        if is_folder {
            self.exchange(place)?;
            return Ok(Stamp::of(&fs::symlink_metadata(place).map_err(failed)?));
        }
        refuse_folder(place)?;
        refuse_device(place)?;
        // By the file that is held open, the stamp is of what was written here, whoever renames over it next.
        let file = fs::File::open(&self.path).map_err(failed)?;
        fs::rename(&self.path, place).map_err(failed)?;
        Ok(Stamp::of(&file.metadata().map_err(failed)?))
    }

    /// A folder cannot be renamed over another; the two change places, and the old one goes.
    fn exchange(&self, place: &Path) -> Result<(), Fault> {
        let failed = |error: io::Error| Fault::io("write", place, &error);
        let there = fs::symlink_metadata(place);
        if there.is_ok() {
            refuse_foreign(place)?;
        }
        // Both, for it is not known yet that they will change places.
        let ours: Vec<u64> = [Some(fs::symlink_metadata(&self.path)), there.ok().map(Ok)]
            .into_iter()
            .flatten()
            .flatten()
            .map(|metadata| metadata.ino())
            .collect();
        mark(place, &ours)?;
        if ours.len() < 2 {
            return fs::rename(&self.path, place).map_err(failed);
        }
        match rustix::fs::renameat_with(CWD, &self.path, CWD, place, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                // A file system that cannot: for a moment there is none.
                fs::remove_dir_all(place).map_err(failed)?;
                fs::rename(&self.path, place).map_err(failed)?;
            }
            Err(error) => return Err(failed(error.into())),
        }
        Ok(())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // It is gone already once it is settled; what cannot be removed is left to the next build.
        let _ = remove(&self.path);
    }
}

/// Removes a file or a folder, whatever its modes.
pub fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        open_up(path);
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

/// Makes the folders of a tree writable for their owner, or nobody but root could remove what is in them.
fn open_up(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

fn refuse_folder(place: &Path) -> Result<(), Fault> {
    if fs::symlink_metadata(place).is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Fault::build(
            "output/folder",
            format!("`{}` is a folder, where a file is to be written", place.display()),
        )
        .help("move it away, or give the output another place with `path=`"));
    }
    Ok(())
}

/// Whoever names a device wants it written to, not replaced by a file.
fn refuse_device(place: &Path) -> Result<(), Fault> {
    let is_plain = |metadata: &fs::Metadata| metadata.is_file() || metadata.is_symlink();
    if fs::symlink_metadata(place).is_ok_and(|metadata| !is_plain(&metadata)) {
        let message =
            format!("`{}` is a device, a pipe or a socket, where a file is to be written", place.display());
        return Err(Fault::build("output/device", message)
            .help("give the output another place with `path=`, and copy it from there: `dd if=FILE of=DEVICE bs=4M`"));
    }
    Ok(())
}

/// Beside a folder that imgbuild wrote stands which one that is. It must outlive the cache, and a build that is killed.
pub fn marker(place: &Path) -> PathBuf {
    place.with_file_name(format!(".{}.imgbuild", place.file_name().unwrap_or_default().to_string_lossy()))
}

/// Whole or not at all, as all else: a build that is killed must not make a stranger of the folder that is there.
fn mark(place: &Path, ours: &[u64]) -> Result<(), Fault> {
    let lines: String = ours.iter().map(|inode| format!("inode {inode}\n")).collect();
    let (aside, marker) = (Aside::beside(place)?, marker(place));
    fs::write(aside.path(), format!("imgbuild wrote the folder beside this and may replace it\n{lines}"))
        .and_then(|()| fs::rename(aside.path(), &marker))
        .map_err(|error| Fault::io("write", &marker, &error))
}

fn is_marked(place: &Path) -> bool {
    let inode = fs::symlink_metadata(place).map(|metadata| format!("inode {}", metadata.ino()));
    let marked = fs::read_to_string(marker(place));
    matches!((inode, marked), (Ok(inode), Ok(marked)) if marked.lines().any(|line| line == inode))
}

/// A folder that imgbuild did not write here is somebody's work.
fn refuse_foreign(place: &Path) -> Result<(), Fault> {
    let ours = is_marked(place);
    let empty = || fs::read_dir(place).is_ok_and(|mut entries| entries.next().is_none());
    if ours || empty() {
        return Ok(());
    }
    Err(Fault::build(
        "output/foreign",
        format!("`{}` is there already, and imgbuild did not write it", place.display()),
    )
    .help("move it away, or give the output another place with `path=`"))
}

/// Removes what builds that are gone left beside these places.
pub(super) fn sweep<'a>(places: impl Iterator<Item = &'a Path>) {
    let mut folders: BTreeMap<&Path, BTreeSet<&OsStr>> = BTreeMap::new();
    for place in places {
        if let (Some(folder), Some(name)) = (place.parent(), place.file_name()) {
            folders.entry(folder).or_default().insert(name);
        }
    }
    for (folder, names) in folders {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if is_left(&entry.file_name(), &names) {
                // Another build may be sweeping, too.
                let _ = remove(&entry.path());
            }
        }
    }
}

/// Whether the name is `.NAME.imgbuild-PID-N`, and no process has that number any more.
fn is_left(name: &OsStr, names: &BTreeSet<&OsStr>) -> bool {
    let parts = name.to_str().and_then(|name| name.strip_prefix('.')?.rsplit_once(".imgbuild-"));
    let Some((name, rest)) = parts else { return false };
    let owner = rest.split('-').next().unwrap_or_default();
    names.contains(OsStr::new(name))
        && owner.parse::<u32>().is_ok()
        && !Path::new("/proc").join(owner).exists()
}
