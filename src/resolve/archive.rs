//! The archives that packages are chosen from, fetched when they are first asked for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::apt::{self, Said};
use super::wanted::Wanted;
use super::{Chosen, Options, check};
use crate::bases::debian::{Spec, variant_name};
use crate::deb::control::Control;
use crate::deb::index::{Index, Package};
use crate::deb::own_arch;
use crate::deb::reach::{first_mentions, mark, reachable};
use crate::deb::release::Release as Signed;
use crate::deb::solve::{self, Answer, List, Problem};
use crate::deb::sources;
use crate::deb::universe::Universe;
use crate::deb::{Deb, Source, Variant, Wish};
use crate::fault::{Fault, Faults};
use crate::lock::{Locked, Release, Solution};
use crate::work::World;
use crate::work::roots::Root;

/// What was fetched of one base's archives.
pub(super) struct Archive {
    /// The packages that there are.
    pub universe: Universe,
    /// For each index, the position of its source, and what that says it is.
    lists: Vec<(usize, String)>,
    releases: Vec<Release>,
    /// What the sources' suites are called: as they are asked for, and as they call themselves.
    suites: Vec<String>,
}

/// What was fetched of one source.
type Fetched = (Signed, Vec<Index>);

/// All archives.
pub(super) struct Archives<'a> {
    world: &'a World,
    options: &'a Options,
    stop: &'a AtomicBool,
    say: &'a (dyn Fn(&str) + Sync),
    /// By the source's name and where it is, and the architecture.
    fetched: HashMap<String, Fetched>,
    /// By all of these.
    archives: HashMap<String, Arc<Archive>>,
    /// The programs that choose, by the archive that they are of.
    programs: HashMap<String, Arc<Root>>,
}

impl<'a> Archives<'a> {
    pub fn new(
        world: &'a World,
        options: &'a Options,
        stop: &'a AtomicBool,
        say: &'a (dyn Fn(&str) + Sync),
    ) -> Archives<'a> {
        let (fetched, archives, programs) = Default::default();
        Archives { world, options, stop, say, fetched, archives, programs }
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

    /// Lets apt choose the packages of a set on top of what is `installed`; `keep` has versions by name.
    pub fn solve(
        &mut self,
        set: &Wanted<'_>,
        installed: &[Deb],
        keep: &BTreeMap<String, String>,
    ) -> Result<Chosen, Faults> {
        let sources = self.sources(set.spec, &set.spec.arch, set.wishes)?;
        let archive = self.archive(set.spec, sources, &set.spec.arch)?;
        check::wishes(set.wishes, &set.spec.arch, &archive.universe, &archive.suites)?;
        let stanzas: Vec<String> =
            installed.iter().map(|deb| self.stanza(deb, &archive)).collect::<Result<_, Fault>>()?;
        let roots = if set.below.is_none() { roots(set.spec, &archive) } else { Vec::new() };
        let names = archive.seeds(set.wishes, &roots, installed);
        let within = reachable(&archive.universe, names, set.recommends);
        let first = first_mentions(&archive.universe, &within);
        let is_needed =
            |package: Package<'_>| within.contains(package.name()) || first.contains(&mark(package));
        let trimmed = |index: &Index| index.trimmed(is_needed);
        let trimmed: Vec<Vec<u8>> = archive.universe.indexes().iter().map(trimmed).collect();
        let lists: Vec<List<'_>> = archive.lists(&trimmed);
        let wishes: Vec<&Wish> = set.wishes.iter().filter(|wish| !is_there(wish, installed)).collect();
        let problem = Problem {
            arch: &set.spec.arch,
            lists: &lists,
            installed: &stanzas,
            firm: true,
            roots: &roots,
            wishes: &wishes,
            keep,
            recommends: set.recommends,
        };
        let answer = self.ask(problem, set)?;
        let packages = chosen(set, &answer, &roots, &archive)?;
        let releases = archive.releases.clone();
        let solution = Solution { id: set.id.clone(), request: set.request.clone(), releases, packages };
        Ok(Chosen { solution, disturbed: answer.disturbed })
    }

    /// What apt answers.
    fn ask(&mut self, mut problem: Problem<'_>, set: &Wanted<'_>) -> Result<Answer, Faults> {
        (self.say)(&format!("choosing packages for {}", set.name));
        let program = self.program(set.spec)?;
        let mut said = apt::ask(&problem, &program, self.world, self.stop)?;
        if matches!(said, Said::Refusal(_)) && !problem.installed.is_empty() {
            // Perhaps there is a way if what is below gives way.
            problem.firm = false;
            said = apt::ask(&problem, &program, self.world, self.stop)?;
        }
        match said {
            Said::Answer(answer) => Ok(answer),
            Said::Refusal(text) => Err(apt::refused(&text, set).into()),
        }
    }

    /// The apt of a base's own suite, for this machine.
    fn program(&mut self, spec: &Spec) -> Result<Arc<Root>, Faults> {
        let mut sources = self.sources(spec, own_arch(), &[])?;
        // Those of others need not have packages for this machine.
        sources.retain(|source| spec.repositories.iter().all(|other| other.name != source.name));
        let key = key(&sources, own_arch());
        if let Some(known) = self.programs.get(&key) {
            return Ok(Arc::clone(known));
        }
        let mirrors = sources.iter().map(|source| (source.name.clone(), source.mirrors.clone())).collect();
        let native = self.archive(spec, sources, own_arch())?;
        let program = Arc::new(apt::program(spec, &native.universe, &mirrors, self.world, self.stop)?);
        self.programs.insert(key, Arc::clone(&program));
        Ok(program)
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

    /// Fetches and reads the indexes of `sources` for `arch`, each once.
    fn archive(&mut self, spec: &Spec, sources: Vec<Source>, arch: &str) -> Result<Arc<Archive>, Faults> {
        let all = key(&sources, arch);
        if let Some(known) = self.archives.get(&all) {
            return Ok(Arc::clone(known));
        }
        let lacking: Vec<&Source> =
            sources.iter().filter(|source| !self.fetched.contains_key(&key([*source], arch))).collect();
        let answers: Vec<Result<Fetched, Fault>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                lacking.iter().map(|source| scope.spawn(|| self.fetch(source, arch))).collect();
            let lost = || Err(Fault::machine("internal", "a thread that fetched an index was lost"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
        });
        let mut faults = Faults::new();
        for (source, answer) in lacking.into_iter().zip(answers) {
            if let Some(fetched) = faults.keep(answer) {
                self.fetched.insert(key([source], arch), fetched);
            }
        }
        if faults.has_errors() {
            return Err(of_suite(faults, spec));
        }
        let archive = Arc::new(self.together(&sources, arch));
        self.archives.insert(all, Arc::clone(&archive));
        Ok(archive)
    }

    fn fetch(&self, source: &Source, arch: &str) -> Result<Fetched, Fault> {
        let refresh = self.options.refresh || self.options.update.is_some();
        (self.say)(&format!("reading the index of {}", source.name));
        let signed = self.world.fetcher.release(source, arch, refresh, self.stop)?;
        let indexes = self.world.fetcher.packages(source, &signed, arch, self.stop)?;
        Ok((signed, indexes))
    }

    /// What was fetched of these sources.
    fn together(&self, sources: &[Source], arch: &str) -> Archive {
        let (mut all, mut lists) = (Vec::new(), Vec::new());
        let (mut releases, mut suites) = (Vec::new(), Vec::new());
        for (at, source) in sources.iter().enumerate() {
            let Some((signed, indexes)) = self.fetched.get(&key([source], arch)) else { continue };
            let Source { name, suite, .. } = source;
            releases.push(Release { source: name.clone(), suite: suite.clone(), date: signed.date });
            let mut identity = signed.identity();
            if signed.suite.is_empty() && signed.codename.is_empty() {
                identity.push_str(&format!("Suite: {suite}\n"));
            }
            suites.extend([suite, &signed.suite, &signed.codename].map(String::from));
            lists.extend(indexes.iter().map(|_| (at, identity.clone())));
            all.extend(indexes.iter().cloned());
        }
        suites.retain(|suite| !suite.is_empty());
        suites.sort();
        suites.dedup();
        Archive { universe: Universe::new(all, arch), lists, releases, suites }
    }
}

/// Where no mirror has the base's own suite, that it is misspelt is likelier than anything else: only that is told.
fn of_suite(mut faults: Faults, spec: &Spec) -> Faults {
    let own = format!("/dists/{}/", spec.suite.value);
    match faults.list.iter().position(|fault| fault.code == "deb/not-found" && fault.message.contains(&own)) {
        Some(at) => {
            let mut fault = faults.list.swap_remove(at);
            fault.labels.clear();
            let help = "check the suite's name, and that the mirror has it";
            fault.at(&spec.suite.place, "this suite").help(help).into()
        }
        None => faults,
    }
}

/// What tells sources for `arch` from others.
fn key<'s>(sources: impl IntoIterator<Item = &'s Source>, arch: &str) -> String {
    let one = |source: &Source| {
        let Source { name, suite, mirrors, components, .. } = source;
        format!("|{name}|{suite}|{}|{}", mirrors.join(" "), components.join(" "))
    };
    std::iter::once(arch.to_string()).chain(sources.into_iter().map(one)).collect()
}

impl Archive {
    fn lists<'l>(&self, trimmed: &'l [Vec<u8>]) -> Vec<List<'l>> {
        let lists = self.lists.iter().zip(trimmed).map(|((source, release), packages)| List {
            source: *source,
            release: release.clone(),
            packages,
        });
        lists.collect()
    }

    /// All names that a choice can start from.
    fn seeds<'a>(&'a self, wishes: &'a [Wish], roots: &'a [String], installed: &'a [Deb]) -> Vec<&'a str> {
        let mut names: Vec<&str> = roots.iter().map(String::as_str).collect();
        names.extend(installed.iter().map(|deb| deb.name.as_str()));
        for wish in wishes {
            match wish.name.value.strip_suffix('^') {
                Some(task) => names.extend(self.universe.tasks().remove(task).unwrap_or_default()),
                None => names.extend(wish.name.value.split(':').next()),
            }
        }
        names
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
        let wish = set.wishes.iter().find(|wish| !wish.out && is_meant(wish, package, &archive.universe));
        let asked = match wish {
            Some(wish) => Some(wish.list.clone().unwrap_or_else(|| set.name.clone())),
            None => roots.contains(name).then(|| variant_name(set.spec.variant).to_string()),
        };
        packages.push(Locked { deb: package.to_deb(), asked });
    }
    packages.sort_by_key(|locked| locked.deb.id());
    if faults.has_errors() { Err(faults) } else { Ok(packages) }
}

/// Whether a wish is met by what is below, so that apt need not look for something newer.
fn is_there(wish: &Wish, installed: &[Deb]) -> bool {
    let name = wish.name.value.split(':').next().unwrap_or_default();
    let plain = !wish.out && wish.version.is_none() && wish.suite.is_none();
    plain && installed.iter().any(|deb| deb.name == name)
}

/// Whether a wish names that very package: itself, a task of it, or, where there is no such package, what it provides.
fn is_meant(wish: &Wish, package: Package<'_>, universe: &Universe) -> bool {
    if let Some(task) = wish.name.value.strip_suffix('^') {
        return package.tasks().any(|other| other == task);
    }
    let name = wish.name.value.split(':').next().unwrap_or_default();
    let provided = || universe.providers(name).any(|provider| provider.name() == package.name());
    name == package.name() || (universe.newest(name).is_none() && provided())
}
