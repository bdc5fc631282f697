//! Resolving: which packages the names in a manifest stand for.
//!
//! What the lock says is followed as long as the manifest asks for the same. Otherwise the archives' indexes are
//! fetched, and Debian's own apt, in a sandbox, chooses; what was locked keeps its version as far as it can.

mod apt;
mod archive;
mod check;
mod wanted;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::deb::Deb;
use crate::fault::{Fault, Faults, Place};
use crate::lock::{Changes, Lock, Locked, Solution, base_request, changes, image_id};
use crate::manifest::Manifest;
use crate::work::World;
use archive::Archives;
use wanted::{Wanted, wanted};

/// How the lock is to be treated.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A lock that the manifest no longer fits is an error.
    pub locked: bool,
    /// Indexes that are kept count as old.
    pub refresh: bool,
    /// The packages whose versions are let go; an empty list for all.
    pub update: Option<Vec<String>>,
    /// Where the host's apt has its sources: `/etc/apt`.
    pub host_sources: std::path::PathBuf,
}

/// Every set of packages, found.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// By the lock's name for them.
    pub sets: BTreeMap<String, Arc<Set>>,
    /// What the lock is to be.
    pub lock: Lock,
    /// What changes from the lock as it is, for each set that changes, by the lock's name for it.
    pub changes: Vec<(String, Changes)>,
    /// Whether there was no lock at all.
    pub first: bool,
}

/// A set of packages.
#[derive(Clone, Debug)]
pub struct Set {
    /// What people call it.
    pub name: String,
    /// Whether it stands on another set; a base's own does not.
    pub is_on_top: bool,
    /// Where the manifest asks for it.
    pub place: Place,
    /// The architecture.
    pub arch: String,
    /// The packages, by name.
    pub packages: Vec<Locked>,
    /// Mirrors of each source that a package comes from.
    pub mirrors: BTreeMap<String, Arc<[String]>>,
}

impl Set {
    /// Where a package can be had.
    pub fn mirrors(&self, deb: &Deb) -> Arc<[String]> {
        self.mirrors.get(&deb.source).cloned().unwrap_or_else(|| Arc::from([]))
    }
}

impl Resolved {
    /// The sets of the target `name` (`IMAGE` or `IMAGE:HYPERVISOR`), lowest first.
    pub fn sets_of(&self, manifest: &Manifest, name: &str) -> Vec<Arc<Set>> {
        let all = wanted(manifest);
        let (image, hypervisor) =
            name.split_once(':').map_or((name, None), |(image, other)| (image, Some(other)));
        let ids = [Some(image_id(image, None)), hypervisor.map(|other| image_id(image, Some(other)))];
        let spec = manifest
            .images
            .iter()
            .find(|known| known.name.value == image)
            .and_then(|known| known.debian.as_ref());
        let base = spec.map(base_request);
        let is_own = |set: &&Wanted<'_>| {
            ids.contains(&Some(set.id.clone()))
                || (set.below.is_none() && Some(&set.request) == base.as_ref())
        };
        all.iter().filter(is_own).filter_map(|set| self.sets.get(&set.id).cloned()).collect()
    }
}

/// Whether the lock has all that `manifest` asks for, so that nothing is fetched to find its packages.
pub fn fits(manifest: &Manifest, lock: Option<&Lock>, options: &Options) -> bool {
    let locked = |set: &Wanted<'_>| {
        lock.and_then(|lock| lock.solution(&set.id)).is_some_and(|known| known.request == set.request)
    };
    options.update.is_none() && wanted(manifest).iter().all(locked)
}

/// Finds every set of packages of `manifest`. Fetches and runs programs only if the lock does not fit. `say` takes a
/// line on what goes on.
///
/// # Errors
///
/// All that is wrong with the names that the manifest gives; no mirror; an archive that is not to be trusted; a lock
/// that does not fit, if that is not allowed.
pub fn resolve(
    manifest: &Manifest,
    lock: Option<Lock>,
    world: &World,
    options: &Options,
    stop: &AtomicBool,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Resolved, Faults> {
    let wanted = wanted(manifest);
    if wanted.is_empty() {
        return Ok(Resolved::default());
    }
    let first = lock.is_none();
    let old = lock.unwrap_or_default();
    let mut resolver = Resolver {
        wanted: &wanted,
        archives: Archives::new(world, options, stop, say),
        old: &old,
        options,
        loosened: BTreeMap::new(),
    };
    let solutions = resolver.all()?;
    let mut resolved = Resolved { first, ..Resolved::default() };
    for (set, solution) in wanted.iter().zip(solutions) {
        let before = old.solution(&set.id).map(Solution::debs).unwrap_or_default();
        let changed = changes(&before, &solution.debs());
        if !changed.is_empty() {
            resolved.changes.push((set.id.clone(), changed));
        }
        let mirrors = resolver.archives.mirrors(set)?;
        resolved.sets.insert(set.id.clone(), Arc::new(found(set, &solution, mirrors)));
        resolved.lock.put(solution);
    }
    Ok(resolved)
}

fn found(set: &Wanted<'_>, solution: &Solution, mirrors: BTreeMap<String, Arc<[String]>>) -> Set {
    Set {
        name: set.name.clone(),
        is_on_top: set.below.is_some(),
        place: set.place.clone(),
        arch: set.spec.arch.clone(),
        packages: solution.packages.clone(),
        mirrors,
    }
}

struct Resolver<'a, 'm> {
    wanted: &'a [Wanted<'m>],
    archives: Archives<'a>,
    old: &'a Lock,
    options: &'a Options,
    /// Packages of a set, by its position, that another set cannot do with as they are locked.
    loosened: BTreeMap<usize, Vec<String>>,
}

/// How often a base may have to give way to what is asked for on top of it.
const MOST_ROUNDS: usize = 4;

impl Resolver<'_, '_> {
    fn all(&mut self) -> Result<Vec<Solution>, Faults> {
        if self.options.locked {
            self.refuse_stale()?;
        }
        for _ in 0..MOST_ROUNDS {
            if let Some(solutions) = self.round()? {
                return Ok(solutions);
            }
        }
        Err(Fault::error("packages/unsettled", "no choice of packages was found that all sets agree on")
            .into())
    }

    /// Each set in turn; none if a lower one has to be chosen again.
    fn round(&mut self) -> Result<Option<Vec<Solution>>, Faults> {
        let mut solutions: Vec<Solution> = Vec::new();
        let mut fresh = vec![false; self.wanted.len()];
        let mut faults = Faults::new();
        for at in 0..self.wanted.len() {
            let Some(set) = self.wanted.get(at) else { break };
            let kept = self.old.solution(&set.id).filter(|old| old.request == set.request);
            let moved = set.below.is_some_and(|below| fresh.get(below) == Some(&true));
            let (solution, is_fresh) = match kept {
                Some(kept) if !moved && !self.is_loose(at, kept) => (kept.clone(), false),
                _ => match self.solve(at, &solutions) {
                    Ok(Some(solution)) => {
                        let same = kept.is_some_and(|kept| kept.packages == solution.packages);
                        (solution, !same)
                    }
                    Ok(None) => return Ok(None),
                    Err(found) => {
                        faults.extend(found.list);
                        let set = Solution {
                            id: set.id.clone(),
                            request: vec![],
                            releases: vec![],
                            packages: vec![],
                        };
                        (set, false)
                    }
                },
            };
            solutions.push(solution);
            if let Some(flag) = fresh.get_mut(at) {
                *flag = is_fresh;
            }
        }
        if faults.has_errors() { Err(faults) } else { Ok(Some(solutions)) }
    }

    /// Whether some of what is locked is to be let go.
    fn is_loose(&self, at: usize, kept: &Solution) -> bool {
        let asked = match &self.options.update {
            Some(names) => {
                names.is_empty() || kept.packages.iter().any(|locked| names.contains(&locked.deb.name))
            }
            None => false,
        };
        asked || self.loosened.contains_key(&at)
    }

    /// The locked packages that keep their versions.
    fn keep(&self, at: usize, set: &Wanted<'_>) -> Vec<Deb> {
        let Some(old) = self.old.solution(&set.id) else { return Vec::new() };
        let loosened = self.loosened.get(&at);
        let held = |name: &str| set.wishes.iter().any(|wish| wish.hold && wish.name.value == name);
        let keeps = |deb: &Deb| {
            let loose = loosened.is_some_and(|names| names.contains(&deb.name));
            let updated = match &self.options.update {
                Some(names) if names.is_empty() => !held(&deb.name),
                Some(names) => names.contains(&deb.name),
                None => false,
            };
            !loose && !updated
        };
        old.debs().into_iter().filter(keeps).collect()
    }

    /// Chooses; none if a set below has to be chosen anew first.
    fn solve(&mut self, at: usize, below: &[Solution]) -> Result<Option<Solution>, Faults> {
        let Some(set) = self.wanted.get(at) else { return Ok(None) };
        let chain = self.chain(set);
        let installed: Vec<Deb> =
            chain.iter().filter_map(|at| below.get(*at)).flat_map(Solution::debs).collect();
        let keep = self.keep(at, set);
        let answer = self.archives.solve(set, &installed, &keep)?;
        if answer.disturbed.is_empty() {
            return Ok(Some(answer.solution));
        }
        for at in chain {
            let Some(solution) = below.get(at) else { continue };
            let named = solution.packages.iter().map(|locked| &locked.deb.name);
            let loose: Vec<String> = named.filter(|name| answer.disturbed.contains(name)).cloned().collect();
            if !loose.is_empty() {
                self.loosened.entry(at).or_default().extend(loose);
            }
        }
        Ok(None)
    }

    /// The positions of the sets below, lowest first.
    fn chain(&self, set: &Wanted<'_>) -> Vec<usize> {
        let mut chain = Vec::new();
        let mut below = set.below;
        while let Some(at) = below {
            chain.insert(0, at);
            below = self.wanted.get(at).and_then(|set| set.below);
        }
        chain
    }

    fn refuse_stale(&self) -> Result<(), Faults> {
        let mut faults = Faults::new();
        for set in self.wanted {
            let kept = self.old.solution(&set.id);
            if kept.is_some_and(|kept| kept.request == set.request) {
                continue;
            }
            let message = match kept {
                Some(_) => format!("the lock was made for other packages of `{}`", set.name),
                None => format!("the lock does not have the packages of `{}`", set.name),
            };
            let fault = Fault::error("lock/stale", message)
                .at(&set.place, "asked for here")
                .help("run `imgbuild` without `--locked`, and commit `image.lock.kdl`");
            faults.push(fault);
        }
        if faults.has_errors() { Err(faults) } else { Ok(()) }
    }
}

/// What apt chose.
struct Chosen {
    solution: Solution,
    /// Packages of the sets below that would have to change.
    disturbed: Vec<String>,
}
