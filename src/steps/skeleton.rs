//! What a Debian root has before its first package is unpacked: the links of a merged `/usr`, `/dev`, and
//! `/run/lock`.

use std::fs::File;
use std::io::BufWriter;

use super::deb;
use crate::deb::dpkg::links;
use crate::fault::{Fault, Place};
use crate::key::Key;
use crate::lang::Owner;
use crate::layer::{Entry, EntryPath, Kind, LayerWriter};
use crate::work::{Facts, Job, Made, Stack, Step, World};

/// The lowest part of a Debian base but for base-files, which it stands on.
#[derive(Debug)]
pub struct Skeleton {
    /// What the base is called.
    pub name: String,
    /// The architecture, as Debian names it.
    pub arch: String,
    /// Where the manifest asks for the base.
    pub place: Place,
}

/// The package that has the links itself in newer suites.
pub const BELOW: &str = "base-files";

/// Character devices of a root, as mmdebstrap(1) makes them: name, major, minor.
const DEVICES: [(&str, u32, u32); 8] = [
    ("console", 5, 1),
    ("full", 1, 7),
    ("null", 1, 3),
    ("ptmx", 5, 2),
    ("random", 1, 8),
    ("tty", 5, 0),
    ("urandom", 1, 9),
    ("zero", 1, 5),
];
/// Links of `/dev`.
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];

impl Step for Skeleton {
    fn id(&self) -> String {
        format!("base:{}/root", self.name)
    }
    fn kind(&self) -> &'static str {
        "base"
    }
    fn name(&self) -> String {
        "base".into()
    }
    fn place(&self) -> &Place {
        &self.place
    }
    fn joins(&self) -> bool {
        true
    }
    fn stands_on(&self, other: &dyn Step) -> bool {
        other.kind() == deb::KIND && other.name() == BELOW
    }

    fn facts(&self, world: &World, _parallel: bool) -> Result<Facts, Fault> {
        let mut key = Key::new("debian-root", 2);
        key.fact("arch", &self.arch);
        key.fact("epoch", world.epoch);
        Ok(Facts::new(key))
    }

    fn make(&self, world: &World, below: &Stack, _job: &Job<'_>) -> Result<Made, Fault> {
        let mut entries = own_entries(world.epoch);
        let has_links = below.layers.iter().any(|layer| {
            layer
                .layer
                .index
                .entries
                .iter()
                .any(|entry| entry.path.as_bytes() == b"bin" && matches!(entry.kind, Kind::Symlink(_)))
        });
        if !has_links {
            entries.extend(links(&self.arch, world.epoch));
        }
        entries.sort_by(Entry::order);
        let path = world.store.stage()?.path("layer.tar");
        let write = || -> std::io::Result<_> {
            let mut writer = LayerWriter::new(BufWriter::new(File::create_new(&path)?));
            entries.into_iter().try_for_each(|entry| writer.entry(entry))?;
            Ok(writer.finish()?.1)
        };
        let index = write().map_err(|error| Fault::io("write", &path, &error))?;
        Ok(Made { layer: world.store.keep_layer(&path, index)?, found: Vec::new() })
    }
}

fn entry(path: &str, kind: Kind, mode: u32, epoch: i64) -> Entry {
    let path = EntryPath::parse(path).unwrap_or_default();
    Entry { path, kind, mode, owner: Owner::ROOT, mtime: epoch, xattrs: Vec::new(), weak: false }
}

fn own_entries(epoch: i64) -> Vec<Entry> {
    let folder = |path| entry(path, Kind::Directory, 0o755, epoch);
    let mut entries = vec![folder("dev"), folder("dev/pts"), folder("dev/shm"), folder("run")];
    // base-files makes it when it is configured, where another directory stands in for `/run`; containers count on it.
    entries.push(Entry { mode: 0o1777, ..folder("run/lock") });
    entries.extend(DEVICES.map(|(name, major, minor)| {
        entry(&format!("dev/{name}"), Kind::Character(major, minor), 0o666, epoch)
    }));
    entries.extend(DEVICE_LINKS.map(|(name, target)| link(&format!("dev/{name}"), target, epoch)));
    entries
}

fn link(path: &str, target: &str, epoch: i64) -> Entry {
    entry(path, Kind::Symlink(target.as_bytes().into()), 0o777, epoch)
}
