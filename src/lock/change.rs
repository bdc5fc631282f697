//! What changes from one set of packages to another.

use std::collections::BTreeMap;
use std::fmt;

use crate::deb::{Deb, version};
use crate::wording;

/// What becomes of one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It comes.
    Added(Deb),
    /// It goes.
    Removed(Deb),
    /// Another version takes its place, or other bytes of the same version do.
    Changed {
        /// What is there.
        from: Deb,
        /// What takes its place.
        to: Deb,
        /// Whether the version that comes is older.
        downgrade: bool,
    },
}

/// All that changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In the order of the packages' names.
    pub list: Vec<Change>,
}

/// What changes from `old` to `new`, in the order of names; files are the same if their digests are.
pub fn changes(old: &[Deb], new: &[Deb]) -> Changes {
    let by_name = |debs: &'_ [Deb]| -> BTreeMap<(String, String), Deb> {
        debs.iter().map(|deb| ((deb.name.clone(), deb.arch.clone()), deb.clone())).collect()
    };
    let (mut old, new) = (by_name(old), by_name(new));
    let mut list = BTreeMap::new();
    for (key, to) in new {
        let Some(from) = take(&mut old, &key) else {
            list.insert(key, Change::Added(to));
            continue;
        };
        if from.digest != to.digest || from.version != to.version {
            let downgrade = version::compare(&to.version, &from.version).is_lt();
            list.insert(key, Change::Changed { from, to, downgrade });
        }
    }
    list.extend(old.into_iter().map(|(key, deb)| (key, Change::Removed(deb))));
    Changes { list: list.into_values().collect() }
}

/// The package of that name and architecture; one that was built for each architecture may now be for `all`, and back.
fn take(old: &mut BTreeMap<(String, String), Deb>, key: &(String, String)) -> Option<Deb> {
    if let Some(deb) = old.remove(key) {
        return Some(deb);
    }
    let (name, arch) = key;
    let other =
        old.keys().find(|(other, before)| other == name && (before == "all" || arch == "all")).cloned()?;
    old.remove(&other)
}

impl Changes {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The files that come.
    pub fn coming(&self) -> impl Iterator<Item = &Deb> {
        self.list.iter().filter_map(|change| match change {
            Change::Added(deb) | Change::Changed { to: deb, .. } => Some(deb),
            Change::Removed(_) => None,
        })
    }

    /// How many files come, and their bytes.
    pub fn total(&self) -> (usize, u64) {
        self.coming().fold((0, 0), |(count, bytes), deb| (count + 1, bytes.saturating_add(deb.size)))
    }

    /// `3 packages to fetch, 12.4 MiB`; of those for which `here` says that they are here already, nothing is fetched.
    pub fn summary(&self, here: impl Fn(&Deb) -> bool) -> String {
        let to_fetch: Vec<&Deb> = self.coming().filter(|deb| !here(deb)).collect();
        if to_fetch.is_empty() {
            return String::from("nothing to fetch");
        }
        let bytes = to_fetch.iter().fold(0u64, |bytes, deb| bytes.saturating_add(deb.size));
        format!("{} to fetch, {}", wording::count(to_fetch.len(), "package"), wording::size(bytes))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Added(deb) => write!(out, "+ {} {}", deb.name, deb.version),
            Change::Removed(deb) => write!(out, "- {} {}", deb.name, deb.version),
            Change::Changed { from, to, .. } if from.version == to.version => {
                write!(out, "  {} {} (other bytes)", to.name, to.version)
            }
            Change::Changed { from, to, downgrade } => {
                let older = if *downgrade { " (older)" } else { "" };
                write!(out, "  {} {} → {}{older}", to.name, from.version, to.version)
            }
        }
    }
}
