//! The search path for overlays: hidden until asked for, one overlay at a time.
//!
//! A folder of the search path is covered by an empty, read-only tmpfs. When the script asks for an overlay, a
//! read-only clone of that overlay's folder is mounted on the cover, so that it stands at its own host path. For this
//! the first process holds on to two mount namespaces: one where everything is still to be seen, and the one that the
//! script lives in. It stays in the script's, and visits the other only for the moment that it takes to make a clone.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, mkdirat, openat, statat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::root;

/// The first folder `NAME` on the search path, as `xcluster ovld NAME` finds it.
///
/// For who wants to know, without running anything, whether [`Asked::Overlay`](super::Asked) would be answered the
/// same today. The answer is under the real path of the folder on the search path, which is what a script sees.
pub fn find_overlay(name: &str, search: &[PathBuf]) -> Option<PathBuf> {
    let name = plain(name)?;
    let places = search.iter().filter_map(|folder| folder.canonicalize().ok());
    places.map(|folder| folder.join(name)).find(|overlay| overlay.is_dir())
}

/// `name`, if it names something directly in a folder.
fn plain(name: &str) -> Option<&OsStr> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(part)), None) if part.as_bytes() == name.as_bytes() => Some(part),
        _ => None,
    }
}

/// A folder of the search path, seen from both sides.
pub(super) struct Folder {
    /// Its path, the same on both sides.
    pub path: PathBuf,
    /// The folder itself, on the host's side.
    pub host: OwnedFd,
    /// What covers it; without a cover it is shown whole.
    pub cover: Option<Cover>,
}

/// What covers a folder of the search path.
pub(super) struct Cover {
    /// The cover as the script sees it.
    pub front: OwnedFd,
    /// A second mount of the same tmpfs, which is not read-only: here mount points are made.
    pub back: OwnedFd,
    /// The names that are shown already.
    pub shown: Vec<String>,
}

/// The search path.
pub(super) struct Search {
    /// In the order of the search.
    pub folders: Vec<Folder>,
    /// The namespace where all is to be seen.
    pub host_side: OwnedFd,
    /// The script's.
    pub inside: OwnedFd,
}

impl Search {
    /// Shows the overlay `name`, if there is one, and says where.
    pub fn show(&mut self, name: &str) -> io::Result<Option<PathBuf>> {
        if plain(name).is_none() {
            return Ok(None);
        }
        enter(&self.host_side)?;
        let found = self.clone_first(name);
        // Whatever happened there, nothing may go on from the host's side.
        enter(&self.inside)?;
        let Some((place, clone)) = found? else { return Ok(None) };
        let Some(folder) = self.folders.get_mut(place) else { return Ok(None) };
        if let (Some(clone), Some(cover)) = (clone, &mut folder.cover) {
            cover.attach(name, &clone)?;
        }
        Ok(Some(folder.path.join(name)))
    }

    /// Which folder has the overlay first, with a clone of the overlay if it is not shown yet.
    fn clone_first(&self, name: &str) -> io::Result<Option<(usize, Option<OwnedFd>)>> {
        let mut folders = self.folders.iter().enumerate();
        let Some((place, folder)) = folders.find(|(_, folder)| folder.has(name)) else { return Ok(None) };
        let covered =
            folder.cover.as_ref().is_some_and(|cover| !cover.shown.iter().any(|shown| shown == name));
        let clone = covered.then(|| root::clone_sealed(&folder.host, name)).transpose()?;
        Ok(Some((place, clone)))
    }
}

impl Folder {
    fn has(&self, name: &str) -> bool {
        statat(&self.host, name, AtFlags::empty())
            .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory)
    }
}

impl Cover {
    /// A hold on the tmpfs that is mounted at `path`.
    pub fn of(path: &Path) -> io::Result<Cover> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        Ok(Cover {
            front: openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?,
            back: open_tree(CWD, path, flags)?,
            shown: Vec::new(),
        })
    }

    fn attach(&mut self, name: &str, clone: &OwnedFd) -> io::Result<()> {
        match mkdirat(&self.back, name, Mode::from_raw_mode(0o755)) {
            // A mount point of something that is shown further in.
            Err(Errno::EXIST) => {}
            made => made?,
        }
        move_mount(clone, "", &self.front, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        self.shown.push(name.to_string());
        Ok(())
    }
}

fn enter(namespace: &OwnedFd) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_is_a_folder_directly_on_the_search_path() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        std::fs::create_dir_all(one.join("a/inner")).unwrap();
        std::fs::create_dir_all(two.join("a")).unwrap();
        std::fs::create_dir_all(two.join("b")).unwrap();
        std::fs::write(one.join("b"), "a file").unwrap();
        let search = [folder.path().join("none"), one.clone(), two.clone()];
        assert_eq!(find_overlay("a", &search), Some(one.join("a")));
        assert_eq!(find_overlay("b", &search), Some(two.join("b")), "a file is no overlay");
        for name in ["", ".", "..", "a/inner", "a/", "./a", "/", "c"] {
            assert_eq!(find_overlay(name, &search), None, "{name}");
        }
    }
}
