//! Files that an output brings itself, as a layer of their own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter};

use crate::fault::Fault;
use crate::key::Digest;
use crate::lang::Owner;
use crate::layer::{Entry, EntryPath, Kind, LayerWriter};
use crate::store::Layer;
use crate::work::World;

/// A layer of these files, with the folders on the way; a folder has no content.
///
/// # Errors
///
/// It cannot be written.
pub(super) fn layer_of(files: BTreeMap<EntryPath, Option<Vec<u8>>>, world: &World) -> Result<Layer, Fault> {
    let mut all = files;
    for path in all.keys().cloned().collect::<Vec<_>>() {
        let mut above = path.parent();
        while let Some(folder) = above {
            above = folder.parent();
            all.entry(folder).or_insert(None);
        }
    }
    let path = world.store.stage()?.path("layer.tar");
    let epoch = world.epoch;
    let write = || -> io::Result<_> {
        let mut writer = LayerWriter::new(BufWriter::new(File::create_new(&path)?));
        for (path, content) in all {
            let Some(bytes) = content else {
                writer.entry(Entry::passage(path, epoch))?;
                continue;
            };
            let size = bytes.len() as u64;
            let kind = Kind::File { size, digest: Digest::of(&bytes), offset: 0 };
            let (owner, xattrs) = (Owner::ROOT, Vec::new());
            let entry = Entry { path, kind, mode: 0o644, owner, mtime: epoch, xattrs, weak: false };
            writer.file(entry, size, &mut bytes.as_slice())?;
        }
        Ok(writer.finish()?.1)
    };
    let index = write().map_err(|error| Fault::io("write", &path, &error))?;
    world.store.keep_layer(&path, index)
}
