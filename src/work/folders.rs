//! Folders, and the ways between them.

use std::path::{Component, Path, PathBuf};

use crate::fault::Place;
use crate::lang::Spanned;

/// Where relative paths start.
#[derive(Clone, Debug, Default)]
pub struct Folders {
    /// Where the caller stands: sources are named from here.
    pub here: PathBuf,
    /// The caller's home, for `~/`.
    pub home: Option<PathBuf>,
}

impl Folders {
    /// The absolute path that a manifest means: relative ones start at the folder of the file that they stand in.
    pub fn path(&self, path: &Spanned<String>) -> PathBuf {
        if let (Some(home), Some(rest)) = (&self.home, path.value.strip_prefix("~/")) {
            return home.join(rest);
        }
        clean(&self.folder_of(&path.place).join(&path.value))
    }

    /// `path` as the caller would type it where they stand.
    pub fn shown(&self, path: &Path) -> String {
        match path.strip_prefix(&self.here) {
            Ok(below) if below.as_os_str().is_empty() => String::from("."),
            Ok(below) => below.display().to_string(),
            Err(_) => path.display().to_string(),
        }
    }

    /// The folder of the file that `place` is in, absolute.
    pub fn folder_of(&self, place: &Place) -> PathBuf {
        let file = self.here.join(&place.source.name);
        clean(file.parent().unwrap_or(&self.here))
    }
}

/// The path without `.`; `..` stays, since what is before it may be a link.
fn clean(path: &Path) -> PathBuf {
    path.components().filter(|component| *component != Component::CurDir).collect()
}

/// The path with the links on its way followed as far as it exists, and without `..` behind that.
pub fn real(path: &Path) -> PathBuf {
    let mut rest: Vec<Component<'_>> = Vec::new();
    let mut there = path;
    loop {
        if let Ok(real) = there.canonicalize() {
            return rest.into_iter().rev().fold(real, step);
        }
        // A path that ends in `..` has no name, but a parent.
        match (there.components().next_back(), there.parent()) {
            (Some(last), Some(parent)) => {
                rest.push(last);
                there = parent;
            }
            _ => return path.to_path_buf(),
        }
    }
}

/// What is not there is no link: `..` leads back to where it was come from.
fn step(mut path: PathBuf, component: Component<'_>) -> PathBuf {
    match component {
        Component::ParentDir => _ = path.pop(),
        component => path.push(component),
    }
    path
}

/// The way from a folder to a file.
pub fn way(folder: &Path, file: &Path) -> PathBuf {
    let shared = folder.components().zip(file.components()).take_while(|(one, other)| one == other).count();
    let up = folder.components().skip(shared).map(|_| Path::new("..").as_os_str());
    let down = file.components().skip(shared).map(|part| part.as_os_str());
    up.chain(down).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_from_a_folder() {
        let way = |folder: &str, file: &str| way(Path::new(folder), Path::new(file)).display().to_string();
        assert_eq!(way("/p/build", "/p/build/a.tar"), "a.tar");
        assert_eq!(way("/p/sums", "/p/build/a/b"), "../build/a/b");
        assert_eq!(way("/p", "/p/build/a"), "build/a");
    }

    #[test]
    fn two_ways_to_a_place_are_one() {
        let root = Path::new("/").canonicalize().unwrap();
        assert_eq!(real(Path::new("/no/such/../folder/./x")), root.join("no/folder/x"));
        assert_eq!(real(Path::new("/no/../../x")), root.join("x"));
    }
}
