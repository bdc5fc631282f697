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
use crate::lock::{Changes, Lock, Locked, Solution, base_request, changes, image_id, tools_id};
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
    // This machine's programs stand for those for once: what is locked stays.
    let unused = manifest.tools.iter().filter(|_| manifest.host_tools).map(|tools| tools_id(tools.name()));
    let unused: Vec<Solution> = unused.filter_map(|id| old.solution(&id).cloned()).collect();
    let mut resolver = Resolver {
        wanted: &wanted,
        archives: Archives::new(world, options, stop, say),
        old: &old,
        options,
        loosened: BTreeMap::new(),
        unsettled: None,
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
    unused.into_iter().for_each(|solution| resolved.lock.put(solution));
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
    /// Versions, by name, that packages of a set, by its position, must have for the sake of another on top of it.
    loosened: BTreeMap<usize, BTreeMap<String, String>>,
    /// What was asked for last that a set below could not do with.
    unsettled: Option<Fault>,
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
        let plain =
            || Fault::error("packages/unsettled", "no choice of packages was found that all sets agree on");
        Err(self.unsettled.take().unwrap_or_else(plain).into())
    }

    /// Each set in turn; none if a lower one has to be chosen again.
    fn round(&mut self) -> Result<Option<Vec<Solution>>, Faults> {
        let wanted = self.wanted;
        let mut solutions: Vec<Solution> = Vec::new();
        let mut states: Vec<State> = Vec::new();
        let mut faults = Faults::new();
        for (at, set) in wanted.iter().enumerate() {
            let kept = self.old.solution(&set.id).filter(|old| old.request == set.request);
            let below = set.below.and_then(|below| states.get(below)).copied().unwrap_or(State::Kept);
            let none =
                || Solution { id: set.id.clone(), request: vec![], releases: vec![], packages: vec![] };
            let (solution, state) = match kept {
                _ if below == State::Open => (none(), State::Open),
                Some(kept) if below == State::Kept && !self.is_loose(at, kept) => (kept.clone(), State::Kept),
                _ => match self.solve(at, &solutions) {
                    Ok(Some(solution)) => match kept {
                        // Of a new date alone there is nothing to say.
                        Some(kept) if kept.packages == solution.packages => (kept.clone(), State::Kept),
                        _ => (solution, State::Fresh),
                    },
                    Ok(None) => (none(), State::Open),
                    Err(found) => {
                        faults.extend(found.list);
                        (none(), State::Open)
                    }
                },
            };
            solutions.push(solution);
            states.push(state);
        }
        if faults.has_errors() {
            return Err(faults);
        }
        Ok((!states.contains(&State::Open)).then_some(solutions))
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

    /// The versions that packages keep, by name.
    fn keep(&self, at: usize, set: &Wanted<'_>) -> BTreeMap<String, String> {
        let old = self.old.solution(&set.id).map(Solution::debs).unwrap_or_default();
        let held = |name: &str| {
            let mut sets = self
                .wanted
                .iter()
                .filter(|other| std::ptr::eq(*other, set) || self.chain(other).contains(&at));
            sets.any(|set| {
                set.wishes.iter().any(|wish| wish.hold && wish.name.value.split(':').next() == Some(name))
            })
        };
        let keeps = |deb: &Deb| match &self.options.update {
            Some(names) if names.is_empty() => held(&deb.name),
            Some(names) => !names.contains(&deb.name),
            None => true,
        };
        let mut keep: BTreeMap<String, String> =
            old.into_iter().filter(keeps).map(|deb| (deb.name, deb.version)).collect();
        keep.extend(self.loosened.get(&at).cloned().unwrap_or_default());
        keep
    }

    /// Chooses; none if a set below has to be chosen anew first.
    fn solve(&mut self, at: usize, below: &[Solution]) -> Result<Option<Solution>, Faults> {
        let Some(set) = self.wanted.get(at) else { return Ok(None) };
        let chain = self.chain(set);
        let installed: Vec<Deb> =
            chain.iter().filter_map(|at| below.get(*at)).flat_map(Solution::debs).collect();
        let mut keep = self.keep(at, set);
        installed.iter().for_each(|deb| drop(keep.remove(&deb.name)));
        let answer = self.archives.solve(set, &installed, &keep)?;
        if answer.disturbed.is_empty() {
            return Ok(Some(answer.solution));
        }
        let gone = answer.disturbed.iter().filter(|(_, version)| version.is_none());
        let gone: Vec<&str> = gone.map(|(name, _)| name.as_str()).collect();
        if !gone.is_empty() {
            return Err(unfit(set, &gone).into());
        }
        for at in chain {
            let Some(solution) = below.get(at) else { continue };
            for Locked { deb: Deb { name, .. }, .. } in &solution.packages {
                if let Some(Some(version)) = answer.disturbed.get(name) {
                    self.loosened.entry(at).or_default().insert(name.clone(), version.clone());
                }
            }
        }
        let names = crate::wording::all(answer.disturbed.keys().take(8));
        let message = format!("`{}` needs other versions of {names} than others can do with", set.name);
        let fault = Fault::error("packages/unsettled", message).at(&set.place, "asked for here");
        self.unsettled =
            Some(fault.help("ask for the same versions everywhere, or give it a base of its own"));
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

/// What became of a set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its packages are the lock's.
    Kept,
    /// Others were chosen.
    Fresh,
    /// None were: it has faults, or what is below it has to change first.
    Open,
}

/// A set that packages below it cannot be beside.
fn unfit(set: &Wanted<'_>, gone: &[&str]) -> Fault {
    let names = crate::wording::all(gone.iter().take(8));
    Fault::error(
        "packages/unfit",
        format!("the packages of `{}` do not go with {names} below them", set.name),
    )
    .at(&set.place, "asked for here")
    .at(&set.spec.place, "on this base")
    .help("leave out what conflicts, or start from a base with less: `variant=\"minbase\"`")
}

/// What apt chose.
struct Chosen {
    solution: Solution,
    /// Packages of the sets below that would have to change, by name: to which version, or away.
    disturbed: BTreeMap<String, Option<String>>,
}
