//! Folders of the project that stand beside a hook's script.

use std::convert::Infallible;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::fault::{Fault, Place};
use crate::lang::Spanned;
use crate::layer::EntryPath;
use crate::layer::index::escape;
use crate::sandbox::image::{Special, SpecialKind};
use crate::tree::{Detail, Filter, Item, Tree, What};
use crate::work::{Facts, World};

/// A folder that is shown to a hook as it is, but for what its filter leaves out.
#[derive(Clone, Debug)]
pub struct ShownFolder {
    /// Where it is, absolute.
    pub path: PathBuf,
    /// As the manifest states it.
    pub stated: Spanned<String>,
    /// What of it is shown: not the scripts of other hooks.
    pub filter: Filter,
    /// Where it stands.
    pub at: EntryPath,
}

impl ShownFolder {
    /// States what is in it, and where it is shown.
    pub fn facts(
        &self,
        number: usize,
        world: &World,
        parallel: bool,
        facts: &mut Facts,
    ) -> Result<(), Fault> {
        let tree = self.tree(world, parallel)?;
        facts.tree(&format!("shown:{number}:{}", word(self.at.as_bytes())), &self.path, world, tree);
        Ok(())
    }

    fn tree(&self, world: &World, parallel: bool) -> Result<Arc<Tree>, Fault> {
        let tree = world.memory.tree(&self.path, &self.filter, Detail::Plain, parallel);
        tree.map_err(|fault| fault.at(self.place(), "shown to hooks"))
    }

    fn place(&self) -> &Place {
        &self.stated.place
    }

    /// All that is in it, as the sandbox makes it, below `base`.
    pub fn specials(&self, base: &EntryPath, world: &World) -> Result<Vec<Special>, Fault> {
        let tree = self.tree(world, false)?;
        let root = self.at.components().fold(base.clone(), |at, name| at.join(name));
        let mut specials = vec![special(root.clone(), SpecialKind::Directory, 0o755, world.epoch)];
        let mut add = |path: &[u8], item: &Item| -> Result<(), Infallible> {
            let kind = match &item.what {
                What::Folder(_) => SpecialKind::Directory,
                What::File(_) => SpecialKind::File {
                    file: self.path.join(std::ffi::OsStr::from_bytes(path)),
                    offset: 0,
                    size: item.stamp.size,
                },
                What::Symlink(target) => SpecialKind::Symlink(target.to_vec()),
                // Pipes and devices are nothing that a script keeps beside it.
                What::Fifo | What::Character(..) | What::Block(..) => return Ok(()),
            };
            let at = path.split(|byte| *byte == b'/').fold(root.clone(), |at, name| at.join(name));
            specials.push(special(at, kind, item.mode(Detail::Plain), world.epoch));
            Ok(())
        };
        let _ = tree.visit(&mut add);
        Ok(specials)
    }
}

/// Something of root's.
pub fn special(path: EntryPath, kind: SpecialKind, mode: u32, mtime: i64) -> Special {
    Special { path, kind, mode, user: 0, group: 0, mtime, xattrs: Vec::new() }
}

/// Bytes as one word, for a fact's name.
pub fn word(bytes: &[u8]) -> String {
    let mut word = String::new();
    escape(bytes, &mut word);
    word
}
