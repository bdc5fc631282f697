//! Putting an output into its place: whole, or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags};

use crate::fault::Fault;
use crate::store::{PastOutput, Stamp};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A path beside an output's own, for the output while it is being written. Removed when dropped.
#[derive(Debug)]
pub(super) struct Aside {
    path: PathBuf,
}

impl Aside {
    /// A path beside `place`, whose folder is made. What builds that are gone left there is removed.
    pub(super) fn beside(place: &Path) -> Result<Aside, Fault> {
        let folder = place.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(|error| Fault::io("make", folder, &error))?;
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        sweep(folder, &format!(".{name}.imgbuild-"));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Aside { path: folder.join(format!(".{name}.imgbuild-{}-{number}", std::process::id())) })
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it into its place; gives what the file looks like there.
    pub(super) fn settle(
        self,
        place: &Path,
        is_folder: bool,
        past: Option<&PastOutput>,
    ) -> Result<Stamp, Fault> {
        let failed = |error: io::Error| Fault::io("write", place, &error);
        if is_folder {
            self.exchange(place, past)?;
        } else {
            refuse_folder(place)?;
            // By the file that is held open, the stamp is of what was written here, whoever renames over it next.
            let file = fs::File::open(&self.path).map_err(failed)?;
            fs::rename(&self.path, place).map_err(failed)?;
            return Ok(Stamp::of(&file.metadata().map_err(failed)?));
        }
        Ok(Stamp::of(&fs::symlink_metadata(place).map_err(failed)?))
    }

    /// A folder cannot be renamed over another; the two change places, and the old one goes.
    fn exchange(&self, place: &Path, past: Option<&PastOutput>) -> Result<(), Fault> {
        let failed = |error: io::Error| Fault::io("write", place, &error);
        if fs::symlink_metadata(place).is_err() {
            return fs::rename(&self.path, place).map_err(failed);
        }
        refuse_foreign(place, past)?;
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

/// A folder that imgbuild did not write here is somebody's work.
fn refuse_foreign(place: &Path, past: Option<&PastOutput>) -> Result<(), Fault> {
    let ours = past.is_some_and(|past| past.path == place);
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

/// Removes what processes that are gone left behind.
fn sweep(folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(prefix)).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|owner| owner.parse::<u32>().is_ok() && !Path::new("/proc").join(owner).exists())
        {
            // Another build may be sweeping, too.
            let _ = remove(&entry.path());
        }
    }
}
