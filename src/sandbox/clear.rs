//! Emptying a folder that a program has filled, however deep, odd or guarded what it left there.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Removes all that is in `folder` but the file `keep`, and makes the folder its owner's alone.
///
/// The usual way down and up again needs a descriptor, or a longer path, for every level, and a program can nest more
/// levels than there are of either. So inner folders are first moved to the top: it is never deeper than two. Nothing
/// else may change the folder meanwhile.
pub(super) fn empty(folder: &Path, keep: Option<&str>) -> io::Result<()> {
    unlock(folder)?;
    let mut free_names = (0u64..).map(|number| folder.join(format!(".imgbuild-{number}")));
    loop {
        let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        entries.retain(|entry| keep.is_none_or(|keep| entry.file_name() != keep));
        if entries.is_empty() {
            return Ok(());
        }
        for entry in entries {
            let inner = entry.file_type()?.is_dir();
            if inner { flatten(&entry.path(), &mut free_names)? } else { fs::remove_file(entry.path())? }
        }
    }
}

/// Removes one folder; the folders in it get names of `free_names`.
fn flatten(folder: &Path, free_names: &mut impl Iterator<Item = PathBuf>) -> io::Result<()> {
    unlock(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            fs::remove_file(entry.path())?;
            continue;
        }
        // To move a folder is to change its `..`, which its own mode can forbid.
        unlock(&entry.path())?;
        let free = free_names.find(|name| fs::symlink_metadata(name).is_err()).unwrap_or_default();
        fs::rename(entry.path(), free)?;
    }
    fs::remove_dir(folder)
}

fn unlock(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

    #[test]
    fn a_folder_deeper_than_any_path_goes() {
        let stage = tempfile::tempdir().unwrap();
        fs::write(stage.path().join("kept"), "").unwrap();
        fs::create_dir(stage.path().join(".imgbuild-0")).unwrap();
        let mut inner = openat(CWD, stage.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..3000 {
            mkdirat(&inner, "deep", Mode::RWXU).unwrap();
            mkdirat(&inner, "shut", Mode::empty()).unwrap();
            inner = openat(&inner, "deep", OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        empty(stage.path(), Some("kept")).unwrap();
        assert_eq!(fs::read_dir(stage.path()).unwrap().count(), 1);
    }
}
