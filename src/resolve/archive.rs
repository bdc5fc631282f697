//! The archives that packages are chosen from, fetched when they are first asked for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::wanted::Wanted;
use super::{Chosen, Options, apt, check};
use crate::bases::debian::{Spec, own_arch, variant_name};
use crate::deb::control::Control;
use crate::deb::index::{Index, Package};
use crate::deb::release::Release as Signed;
use crate::deb::solve::{self, List, Problem};
use crate::deb::sources;
use crate::deb::universe::Universe;
use crate::deb::{Deb, Source, Variant, Wish};
use crate::fault::{Fault, Faults};
use crate::lock::{Locked, Release, Solution};
use crate::work::World;

/// What was fetched of one base's archives.
pub(super) struct Archive {
    /// The packages that there are.
    pub universe: Universe,
    /// For each index, the position of its source, and what that says it is.
    lists: Vec<(usize, String)>,
    sources: Vec<Source>,
    releases: Vec<Release>,
}

/// All archives.
pub(super) struct Archives<'a> {
    world: &'a World,
    options: &'a Options,
    stop: &'a AtomicBool,
    say: &'a (dyn Fn(&str) + Sync),
    /// By the sources' names and suites.
    fetched: HashMap<String, Arc<Archive>>,
}

impl<'a> Archives<'a> {
    pub fn new(
        world: &'a World,
        options: &'a Options,
        stop: &'a AtomicBool,
        say: &'a (dyn Fn(&str) + Sync),
    ) -> Archives<'a> {
        Archives { world, options, stop, say, fetched: HashMap::new() }
    }

    /// Mirrors for every source that a package of the set can come from.
    pub fn mirrors(&self, set: &Wanted<'_>) -> Result<BTreeMap<String, Arc<[String]>>, Fault> {
        let mut mirrors: BTreeMap<String, Vec<String>> = BTreeMap::new();
        // Without any mirror what is kept can still be built from.
        for source in self.sources(set.spec, &set.spec.arch, set.wishes).unwrap_or_default() {
            let snapshots = set.spec.snapshot_urls(&source.suite);
            mirrors.entry(source.name).or_default().extend(source.mirrors.into_iter().chain(snapshots));
        }
        Ok(mirrors.into_iter().map(|(name, urls)| (name, Arc::from(urls))).collect())
    }

    fn sources(&self, spec: &Spec, arch: &str, wishes: &[Wish]) -> Result<Vec<Source>, Fault> {
        let host = sources::host(&self.options.host_sources, &spec.distribution, &spec.suite.value, arch);
        spec.sources(&host, wishes)
    }

    /// Lets apt choose the packages of a set on top of what is `installed`.
    pub fn solve(&mut self, set: &Wanted<'_>, installed: &[Deb], keep: &[Deb]) -> Result<Chosen, Faults> {
        let archive = self.archive(set.spec, &set.spec.arch, set.wishes)?;
        check::wishes(set.wishes, &archive.universe, &archive.releases)?;
        let stanzas: Vec<String> =
            installed.iter().map(|deb| self.stanza(deb, &archive)).collect::<Result<_, Fault>>()?;
        let roots = if set.below.is_none() { roots(set.spec, &archive) } else { Vec::new() };
        let trimmed: Vec<Vec<u8>> = archive.universe.indexes().iter().map(Index::trimmed).collect();
        let lists: Vec<List<'_>> = archive.lists(&trimmed);
        let wishes: Vec<&Wish> = set.wishes.iter().collect();
        let problem = Problem {
            arch: &set.spec.arch,
            lists: &lists,
            installed: &stanzas,
            roots: &roots,
            wishes: &wishes,
            keep,
            recommends: set.recommends,
        };
        (self.say)(&format!("choosing packages for {}", set.name));
        let native = self.archive(set.spec, own_arch(), &[])?;
        let text =
            apt::ask(&problem, set, &native.universe, &self.apt_mirrors(set.spec)?, self.world, self.stop)?;
        let answer = solve::read_answer(&text);
        let packages = chosen(set, &answer, &roots, &archive)?;
        let releases = archive.releases.clone();
        let solution = Solution { id: set.id.clone(), request: set.request.clone(), releases, packages };
        Ok(Chosen { solution, disturbed: answer.disturbed })
    }

    fn apt_mirrors(&self, spec: &Spec) -> Result<BTreeMap<String, Vec<String>>, Fault> {
        let sources = self.sources(spec, own_arch(), &[])?;
        Ok(sources.into_iter().map(|source| (source.name, source.mirrors)).collect())
    }

    /// The control stanza of a package that is there already: from the index, or what was kept when it was unpacked.
    fn stanza(&self, deb: &Deb, archive: &Archive) -> Result<String, Fault> {
        if let Some(package) = archive.universe.find(&deb.name, &deb.version, &deb.arch) {
            return Ok(package.stanza().to_string());
        }
        let record = self.world.store.record(crate::steps::deb::key(deb).digest());
        record
            .and_then(|record| Control::from_found(&record.found))
            .map(|control| control.to_text())
            .ok_or_else(|| {
                Fault::error(
                    "lock/gone",
                    format!("`{}` is locked, and neither its mirror nor the cache has it", deb.id()),
                )
                .help(format!("run `imgbuild update {}`, or name a `snapshot` that has it", deb.name))
            })
    }

    /// Fetches and reads the indexes of a base for `arch`, once.
    fn archive(&mut self, spec: &Spec, arch: &str, wishes: &[Wish]) -> Result<Arc<Archive>, Faults> {
        let sources = self.sources(spec, arch, wishes)?;
        let names: Vec<String> =
            sources.iter().map(|source| format!("{}|{}", source.name, source.mirrors.join(" "))).collect();
        let key = format!("{arch}|{}", names.join("|"));
        if let Some(known) = self.fetched.get(&key) {
            return Ok(Arc::clone(known));
        }
        let archive = Arc::new(self.fetch(sources, arch)?);
        self.fetched.insert(key, Arc::clone(&archive));
        Ok(archive)
    }

    fn fetch(&self, sources: Vec<Source>, arch: &str) -> Result<Archive, Faults> {
        let refresh = self.options.refresh || self.options.update.is_some();
        let one = |source: &Source| -> Result<(Signed, Vec<Index>), Fault> {
            (self.say)(&format!("reading the index of {}", source.name));
            let signed = self.world.fetcher.release(source, arch, refresh, self.stop)?;
            let indexes = self.world.fetcher.packages(source, &signed, arch, self.stop)?;
            Ok((signed, indexes))
        };
        let answers: Vec<Result<_, Fault>> = std::thread::scope(|scope| {
            let threads: Vec<_> = sources.iter().map(|source| scope.spawn(|| one(source))).collect();
            let lost = || Err(Fault::machine("internal", "a thread that fetched an index was lost"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
        });
        let mut faults = Faults::new();
        let (mut all, mut lists, mut releases) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (source, answer)) in sources.iter().zip(answers).enumerate() {
            let Some((signed, indexes)) = faults.keep(answer) else { continue };
            releases.push(Release {
                source: source.name.clone(),
                suite: source.suite.clone(),
                date: signed.date,
            });
            lists.extend(indexes.iter().map(|_| (at, signed.identity())));
            all.extend(indexes);
        }
        if faults.has_errors() {
            return Err(faults);
        }
        Ok(Archive { universe: Universe::new(all, arch), lists, sources, releases })
    }
}

impl Archive {
    fn lists<'l>(&'l self, trimmed: &'l [Vec<u8>]) -> Vec<List<'l>> {
        let lists =
            self.lists.iter().zip(trimmed).enumerate().filter_map(|(number, ((at, release), packages))| {
                let suite = &self.sources.get(*at)?.suite;
                // apt only needs to tell them apart.
                let component = format!("part{number}");
                Some(List { source: *at, suite, component, release: release.clone(), packages })
            });
        lists.collect()
    }
}

/// The names of the packages that a base of that variant has before any wish.
fn roots(spec: &Spec, archive: &Archive) -> Vec<String> {
    let foreign =
        |package: &Package<'_>| spec.repositories.iter().any(|source| source.name == package.source());
    let wanted = |package: &Package<'_>| {
        let priority = package.priority();
        package.essential()
            || match spec.variant {
                Variant::Essential => false,
                Variant::Minbase | Variant::Buildd => priority == "required",
                Variant::Standard => ["required", "important", "standard"].contains(&priority),
            }
    };
    let mut names: Vec<String> = archive
        .universe
        .packages()
        .filter(|package| !foreign(package) && wanted(package))
        .map(|package| package.name().to_string())
        .collect();
    if spec.variant != Variant::Essential {
        names.push("apt".into());
    }
    if spec.variant == Variant::Buildd {
        names.push("build-essential".into());
    }
    names.sort();
    names.dedup();
    names
}

/// The packages of an answer, each with who asked for it.
fn chosen(
    set: &Wanted<'_>,
    answer: &solve::Answer,
    roots: &[String],
    archive: &Archive,
) -> Result<Vec<Locked>, Faults> {
    let mut faults = Faults::new();
    let mut packages = Vec::new();
    for (name, version, arch) in &answer.install {
        let Some(package) = archive.universe.find(name, version, arch) else {
            let message = format!("apt chose `{name} {version} {arch}`, which no index has");
            faults.push(Fault::error("packages/lost", message).at(&set.place, "asked for here"));
            continue;
        };
        let wish = set.wishes.iter().find(|wish| wish.name.value == *name && !wish.out);
        let asked = match wish {
            Some(wish) => Some(wish.list.clone().unwrap_or_else(|| set.name.clone())),
            None => roots.contains(name).then(|| variant_name(set.spec.variant).to_string()),
        };
        packages.push(Locked { deb: package.to_deb(), asked });
    }
    packages.sort_by_key(|locked| locked.deb.id());
    if faults.has_errors() { Err(faults) } else { Ok(packages) }
}
