//! What dpkg would do, and what it is left to do: its database as it is after unpacking, the order of the layers, and
//! the commands that configure.
//!
//! Packages are unpacked without dpkg (see [`super::unpack`]); only configuring runs, inside the image, by the image's
//! own dpkg. This module is pure: it takes what packages hold and what the database below says, and gives texts, orders
//! and command lines. Running them is for whoever has a sandbox.

mod clean;
mod database;
mod diversions;
pub mod helper;
mod order;
mod work;

use std::collections::{BTreeMap, BTreeSet};

pub use clean::{CLEANED, Clean, Cleaned};
pub use database::database;
pub use order::{Order, order};
pub use work::{Command, DURING, ENVIRONMENT, Work, work};

use super::control::Control;
use super::unpack::{INFO, NEW};
use crate::fault::Fault;
use crate::key::Digest;
use crate::layer::{Entry, EntryPath, Kind};
use crate::store::Layer;

/// A digest of all that is the same in every run: what it adds to the programs' world, and what is cleaned away.
pub fn recipe() -> Digest {
    Digest::of(format!("{ENVIRONMENT:?} {DURING:?} {CLEANED:?} {}", helper::QUICK))
}

/// A package as far as it counts for the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Package {
    /// Its stanza.
    pub control: Control,
    /// What it ships, as packed and in that order, and whether it is a directory.
    pub paths: Vec<(EntryPath, bool)>,
    /// The script that runs before it is unpacked.
    pub preinst: Option<Vec<u8>>,
    /// Whether a script runs when it is configured.
    pub has_postinst: bool,
    /// Its list of conffiles (deb-conffiles(5)).
    pub conffiles: String,
    /// Its triggers (deb-triggers(5)).
    pub triggers: String,
}

/// What is installed already, and what dpkg's database says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Below {
    /// The packages, all of them configured.
    pub packages: Vec<Package>,
    /// `var/lib/dpkg/status`.
    pub status: String,
    /// `var/lib/dpkg/diversions`: three lines a diversion.
    pub diversions: String,
    /// `var/lib/dpkg/statoverride`: owner, group, mode and path, a line each.
    pub overrides: String,
    /// The files in `var/lib/dpkg/triggers`, by name.
    pub triggers: BTreeMap<String, String>,
}

/// A file of dpkg's database is never longer.
const MOST: u64 = 64 << 20;

impl Package {
    /// Reads what counts out of the package's layer.
    ///
    /// # Errors
    ///
    /// Of reading, and for a layer that is none of this package.
    pub fn read(control: Control, layer: &Layer) -> Result<Package, Fault> {
        let info = EntryPath::root().join(INFO.as_bytes());
        let name = control.database_name();
        let entries = &layer.index.entries;
        let entry = |path: &EntryPath| {
            entries.binary_search_by(|entry| entry.path.cmp(path)).ok().and_then(|at| entries.get(at))
        };
        let member = |member: &str| -> Result<Option<Vec<u8>>, Fault> {
            let found = entry(&info.join(format!("{name}.{member}").as_bytes()));
            let bytes = found.map(|entry| layer.bytes(entry, MOST)).transpose();
            bytes.map_err(|error| Fault::io("read", &layer.path, &error))
        };
        let list = member("list")?.ok_or_else(|| {
            Fault::build("deb/layer", format!("the layer of `{name}` has no list of its files"))
        })?;
        let is_folder = |path: &EntryPath| {
            path.is_root() || entry(path).is_some_and(|entry| entry.kind == Kind::Directory)
        };
        let paths = list.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let paths = paths.filter_map(|line| EntryPath::parse(line).ok());
        let text = |bytes: Option<Vec<u8>>| String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
        Ok(Package {
            paths: paths.map(|path| (path.clone(), is_folder(&path))).collect(),
            preinst: member("preinst")?,
            has_postinst: member("postinst")?.is_some(),
            conffiles: text(member("conffiles")?),
            triggers: text(member("triggers")?),
            control,
        })
    }

    /// The package's name.
    pub fn name(&self) -> &str {
        self.control.package()
    }

    fn arch(&self) -> &str {
        self.control.text("Architecture")
    }

    fn is_essential(&self) -> bool {
        self.control.text("Essential") == "yes"
    }

    /// What it ships that is no directory, by the name that it has where `/bin` and its like lead into `/usr`.
    fn files(&self) -> impl Iterator<Item = EntryPath> {
        self.paths.iter().filter(|(_, is_folder)| !is_folder).map(|(path, _)| merged_usr(path))
    }

    /// The paths of its conffiles and whether each is to go when the package is upgraded.
    fn conffiles(&self) -> impl Iterator<Item = (&str, bool)> {
        let lines = self.conffiles.lines().map(str::trim_end).filter(|line| !line.is_empty());
        lines.map(|line| match line.strip_prefix("remove-on-upgrade ") {
            Some(path) => (path.trim(), true),
            None => (line, false),
        })
    }

    /// What its triggers file says: word and trigger, a line each.
    fn trigger_lines(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.triggers.lines().map(|line| line.split('#').next().unwrap_or_default());
        lines.filter_map(|line| line.trim().split_once([' ', '\t']).map(|(word, name)| (word, name.trim())))
    }
}

/// Files that the packages bring and dpkg puts in place when it configures.
pub fn conffile_new(path: &str) -> String {
    format!("{}{NEW}", path.trim_start_matches('/'))
}

/// Directories of the root that lead into `/usr` in every Debian since bookworm.
const ALIASES: [&[u8]; 6] = [b"bin", b"sbin", b"lib", b"lib32", b"lib64", b"libx32"];

/// The path with `/bin` and its like followed into `/usr`.
fn merged_usr(path: &EntryPath) -> EntryPath {
    let mut components = path.components();
    match (components.next(), components.next()) {
        (Some(first), Some(_)) if ALIASES.contains(&first) => {
            EntryPath::root().join(&[b"usr/", path.as_bytes()].concat())
        }
        _ => path.clone(),
    }
}

/// The links that make `/usr` merged (`bin` to `usr/bin` and so on), with the directories that they lead to, in the
/// order of a layer, with the time `epoch`; for suites whose base-files does not bring them, that is, up to bookworm.
pub fn links(arch: &str, epoch: i64) -> Vec<Entry> {
    let more: &[&str] = match arch {
        "amd64" | "x32" => &["lib32", "lib64", "libx32"],
        "i386" => &["lib64", "libx32"],
        "mips" | "mipsel" | "ppc64" | "sparc64" | "loong64" => &["lib32", "lib64"],
        "mips64" | "mips64el" => &["lib32", "lib64", "libo32"],
        "powerpc" | "ppc64el" | "sparc" => &["lib64"],
        "s390x" => &["lib32"],
        _ => &[],
    };
    let folder = |path: &[u8]| {
        let kind = Kind::Directory;
        Entry { kind, mode: 0o755, weak: false, ..Entry::passage(EntryPath::root().join(path), epoch) }
    };
    let mut entries = vec![folder(b"usr")];
    for name in ["bin", "lib", "sbin"].iter().chain(more) {
        let target = format!("usr/{name}").into_bytes();
        entries.push(folder(&target));
        entries.push(Entry { kind: Kind::Symlink(target), mode: 0o777, ..folder(name.as_bytes()) });
    }
    entries.sort_by(Entry::order);
    entries
}

/// Who among `packages` a relation names: by name, or by what it provides.
#[derive(Debug)]
struct Names<'a> {
    by_name: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Names<'a> {
    fn of(packages: &'a [Package]) -> Names<'a> {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, package) in packages.iter().enumerate() {
            by_name.entry(package.name()).or_default().push(number);
        }
        for (number, package) in packages.iter().enumerate() {
            for provided in package.control.relations("Provides").into_iter().flatten() {
                by_name.entry(provided).or_default().push(number);
            }
        }
        Names { by_name }
    }

    /// The packages that `field` of `package` leads to: of alternatives, the first that is there.
    fn related(&self, package: &Package, field: &str) -> Vec<usize> {
        let mut found = BTreeSet::new();
        for alternatives in package.control.relations(field) {
            let there = alternatives.iter().find_map(|name| self.by_name.get(name));
            found.extend(there.into_iter().flatten().copied());
        }
        found.into_iter().collect()
    }

    /// What the package needs before it is configured.
    fn needs(&self, package: &Package) -> Vec<usize> {
        let mut needs = self.related(package, "Pre-Depends");
        needs.extend(self.related(package, "Depends"));
        needs
    }

    /// `start` and all that they need.
    fn closure(&self, packages: &[Package], start: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut todo: Vec<usize> = start.into_iter().collect();
        while let Some(number) = todo.pop() {
            if found.insert(number) {
                todo.extend(packages.get(number).map(|package| self.needs(package)).unwrap_or_default());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
