//! Elements of diskimage-builder as parts of an image: their hooks in one order, their packages, their trees of files.
//!
//! diskimage-builder copies all elements into one folder, which every script sees. Here a script sees that folder without
//! the scripts of others, so that a change of one of them is no change of all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::hooks::folder::entries;
use super::Flavours;
use super::shelf;
use crate::deb::Wish;
use crate::fault::{Fault, Faults, Place, Source};
use crate::hooks::element::{self, Part};
use crate::hooks::order;
use crate::hooks::package_installs::{self, Conditions, Outcome, Wanted};
use crate::hooks::pkg_map::{self, PackageNames, ServiceNames};
use crate::hooks::{Dialect, Entry, Phase};
use crate::lang::field::package::is_package;
use crate::lang::{Scope, Spanned};
use crate::layer::EntryPath;
use crate::steps::hook::dib::Names;
use crate::steps::hook::{Hook, Script, ShownFolder, Text};
use crate::tree::Filter;
use crate::wording;

/// An element's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementFolder {
    /// The element's name.
    pub name: String,
    /// Where it is, absolute.
    pub path: PathBuf,
    /// Whether its hooks can reach the network.
    pub network: bool,
}

/// The system that elements are for.
#[derive(Clone, Copy, Debug)]
pub struct System<'a> {
    /// `debian`, `ubuntu`.
    pub distribution: &'a str,
    /// The suite.
    pub release: &'a str,
    /// The architecture, as Debian names it.
    pub arch: &'a str,
}

impl System<'_> {
    /// One that nobody has named yet: as it would be on this machine.
    pub fn unknown() -> System<'static> {
        System { distribution: "", release: "", arch: crate::deb::own_arch() }
    }

    /// The variables of `scope`, and those that tell a flavour's text of the system.
    pub fn scope(&self, scope: &Scope) -> Scope {
        let own = [("IMGBUILD_ARCH", self.arch), ("IMGBUILD_SUITE", self.release)];
        let own = own.map(|(name, value)| (name.to_string(), value.to_string()));
        own.into_iter().chain(scope.iter().map(|(name, value)| (name.clone(), value.clone()))).collect()
    }
}

/// What elements come to.
#[derive(Debug, Default)]
pub struct Elements {
    /// Their hooks, those of one phase in the order in which they run.
    pub hooks: Vec<Hook>,
    /// The packages that they ask for.
    pub wishes: Vec<Wish>,
    /// Trees of files that are there before any of their hooks runs: name, folder, and where they go.
    pub trees: Vec<(String, PathBuf, EntryPath)>,
}

/// What in an element's folder no script reads.
const UNREAD: [&str; 11] = [
    "/README*",
    "/tests",
    "/test-elements",
    "/static",
    "/init-scripts",
    "/element-deps",
    "/element-provides",
    "/package-installs.*",
    "/pkg-map",
    "/svc-map",
    "/block-device-*.yaml",
];

/// What these elements come to; `place` is where the manifest asks for them, `set` what it sets.
pub fn elements(
    folders: &[ElementFolder],
    system: System<'_>,
    place: &Place,
    set: &Scope,
    flavours: &Flavours<'_>,
    faults: &mut Faults,
) -> Elements {
    if folders.is_empty() {
        return Elements::default();
    }
    let mut reader = Reader { system, place, set, flavours, faults };
    let (mut found, mut maps) = (Found::default(), Vec::new());
    for (number, folder) in folders.iter().enumerate() {
        for (name, is_folder) in shelf::entries(&folder.path) {
            reader.part((number, folder), &name, is_folder, &mut found);
        }
        let map = reader.text(&folder.path.join("pkg-map"));
        maps.push(map.map(|source| PackageNames::read(&source, reader.faults)).unwrap_or_default());
    }
    let names = reader.names(folders, &maps, &found.services);
    let settled = package_installs::settle(found.wanted);
    let wishes = reader.wishes(&settled, folders, &maps);
    let hooks = reader.hooks(folders, found.scripts, &settled, &wishes, &Arc::new(names));
    Elements { hooks, wishes, trees: found.trees }
}

/// What is in the folders of elements.
#[derive(Default)]
struct Found {
    scripts: Scripts,
    wanted: Vec<Wanted>,
    services: ServiceNames,
    trees: Vec<(String, PathBuf, EntryPath)>,
}

/// By phase and name: the number of the element, the file, and what is known of it.
type Scripts = BTreeMap<Phase, BTreeMap<String, (usize, PathBuf, Entry)>>;

struct Reader<'a> {
    system: System<'a>,
    place: &'a Place,
    set: &'a Scope,
    flavours: &'a Flavours<'a>,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn text(&mut self, path: &Path) -> Option<Arc<Source>> {
        let read = self.flavours.read(path);
        self.faults.keep(read).flatten()
    }

    /// Takes in what stands in an element's folder, which has that number.
    fn part(
        &mut self,
        (number, folder): (usize, &ElementFolder),
        name: &str,
        is_folder: bool,
        found: &mut Found,
    ) {
        let path = folder.path.join(name);
        let at = |path: &str| EntryPath::parse(path).unwrap_or_default();
        match element::part(name, is_folder) {
            Part::Scripts(phase) => self.scripts((number, folder), phase, &path, found),
            Part::Foreign(foreign) => self.left(folder, &foreign),
            Part::Packages => found.wanted.extend(self.packages(folder, &path)),
            Part::ServiceNames => {
                let read = self.text(&path).map(|source| ServiceNames::read(&source, self.faults));
                read.into_iter().for_each(|names| found.services.merge(names, self.faults));
            }
            Part::Programs => found.trees.push((format!("{}/bin", folder.name), path, at("usr/local/bin"))),
            Part::Files => found.trees.push((format!("{}/static", folder.name), path, at(""))),
            // Debian's and Ubuntu's init system.
            Part::InitScripts if path.join("systemd").is_dir() => {
                let name = format!("{}/init-scripts", folder.name);
                found.trees.push((name, path.join("systemd"), at("usr/lib/systemd/system")));
            }
            Part::Disk => self.disk(folder, name),
            Part::Repository => self.repository(folder, &path),
            _ => {}
        }
    }

    /// Takes in the scripts of a phase, and what its lists of packages ask for.
    fn scripts(
        &mut self,
        (number, folder): (usize, &ElementFolder),
        phase: Phase,
        path: &Path,
        found: &mut Found,
    ) {
        let Some(files) = self.files(folder, phase, path, &mut found.wanted) else { return };
        let all: Vec<Entry> = files.iter().map(|(_, entry)| entry.clone()).collect();
        for (name, why) in Dialect::Dib.select(&all).skipped {
            let shown = self.flavours.folders.shown(&path.join(String::from_utf8_lossy(&name).as_ref()));
            self.faults.extend(why.warning(&shown).map(|warning| warning.at(self.place, "of this flavour")));
        }
        let of_phase = found.scripts.entry(phase).or_default();
        for (file, entry) in files {
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            if let Some((_, earlier, _)) = of_phase.get(&name).filter(|_| Dialect::Dib.counts(&entry.name)) {
                self.hidden(&file, earlier);
            }
            of_phase.insert(name, (number, file, entry));
        }
    }

    /// The scripts of a phase, also those of the install type that holds; its lists of packages go to `wanted`.
    fn files(
        &mut self,
        folder: &ElementFolder,
        phase: Phase,
        path: &Path,
        wanted: &mut Vec<Wanted>,
    ) -> Option<Vec<(PathBuf, Entry)>> {
        let failed = |error: std::io::Error| Fault::io("read", path, &error).at(self.place, "this flavour");
        let found = self.faults.keep(entries(path).map_err(failed))?;
        let mut files: Vec<(PathBuf, Entry)> = Vec::new();
        for entry in found {
            let Ok(name) = String::from_utf8(entry.name.clone()) else { continue };
            let file = path.join(&name);
            if let Some(own) = element::install_type_folder(&name).filter(|_| phase == Phase::Install) {
                // The scripts of the install type that holds stand there as if they were in `install.d`.
                if element::install_type(own.0, "source", self.set) == own.1 {
                    let at = |name: &[u8]| file.join(String::from_utf8_lossy(name).as_ref());
                    let inner = entries(&file).unwrap_or_default();
                    files.extend(inner.into_iter().map(|inner| (at(&inner.name), inner)));
                }
            } else if package_installs::legacy_element(&name).is_some() {
                if let Some(source) = self.text(&file) {
                    wanted.extend(package_installs::read_legacy(&folder.name, phase, &source, self.faults));
                }
            } else {
                files.push((file, entry));
            }
        }
        Some(files)
    }

    /// Warns of a script that has the name of an earlier element's.
    fn hidden(&mut self, file: &Path, earlier: &Path) {
        let (shown, hidden) = (self.flavours.folders.shown(file), self.flavours.folders.shown(earlier));
        let message = format!("`{shown}` runs in place of `{hidden}`, which has the same name");
        self.faults.push(
            Fault::warning("flavour/hidden", message)
                .at(self.place, "both flavours are used here")
                .help("rename one of them"),
        );
    }

    fn left(&mut self, folder: &ElementFolder, foreign: &crate::hooks::phase::Foreign) {
        if foreign.fate == crate::hooks::phase::Fate::Left {
            let message = format!(
                "`{}` of the flavour `{}` is not run: {}",
                foreign.folder, folder.name, foreign.reason
            );
            let fault = Fault::warning("flavour/left", message).at(self.place, "used here");
            self.faults.push(fault.maybe_help(foreign.instead.map(String::from)));
        }
    }

    fn disk(&mut self, folder: &ElementFolder, name: &str) {
        let message =
            format!("`{name}` of the flavour `{}` is not read: `disk` says what is on a disk", folder.name);
        self.faults.push(Fault::warning("flavour/left", message).at(self.place, "used here"));
    }

    /// What is to be fetched is told, line by line: no hook would find it.
    fn repository(&mut self, folder: &ElementFolder, path: &Path) {
        let Some(source) = self.text(path) else { return };
        for line in order::lines(&source).filter(|line| !line.value.starts_with('#')) {
            let name = line.value.split_whitespace().next().unwrap_or_default();
            let message =
                format!("`{}` of the flavour `{}` is not fetched", wording::printable(name), folder.name);
            self.faults.push(
                Fault::warning("flavour/left", message)
                    .at(&line.place, "named here")
                    .at(self.place, "used here")
                    .help("fetch it in a hook of phase `extra-data` with `network=#true`, or put it into an overlay"),
            );
        }
    }

    fn packages(&mut self, folder: &ElementFolder, path: &Path) -> Vec<Wanted> {
        let Some(source) = self.text(path) else { return Vec::new() };
        let conditions = Conditions { arch: self.system.arch, variables: self.set, install_type: "source" };
        package_installs::read(&folder.name, &source, &conditions, self.faults)
    }

    /// What packages and services are called, for the programs that scripts ask.
    fn names(&self, folders: &[ElementFolder], maps: &[PackageNames], services: &ServiceNames) -> Names {
        let system = self.map_system();
        let mut names = Names {
            elements: folders.iter().map(|folder| folder.name.clone()).collect(),
            distribution: self.system.distribution.to_string(),
            ..Names::default()
        };
        for (folder, map) in folders.iter().zip(maps) {
            names
                .packages
                .extend(map.all(system).into_iter().map(|(name, to)| (folder.name.clone(), name, to)));
        }
        let services = services.services(self.system.distribution);
        names.services = services.into_iter().map(|(name, to)| (name.to_string(), to.to_string())).collect();
        names
    }

    fn map_system(&self) -> pkg_map::System<'_> {
        pkg_map::System { distribution: self.system.distribution, release: Some(self.system.release) }
    }

    /// The packages that elements ask for, by the names that they have here.
    fn wishes(&mut self, settled: &[Wanted], folders: &[ElementFolder], maps: &[PackageNames]) -> Vec<Wish> {
        let mut wishes: Vec<Wish> = Vec::new();
        let outcomes = package_installs::outcomes(settled);
        for wanted in settled {
            let map =
                folders.iter().position(|folder| folder.name == wanted.element).and_then(|at| maps.get(at));
            let name = &wanted.package.value;
            let names =
                map.map(|map| map.packages(name, self.map_system())).unwrap_or_else(|| vec![name.clone()]);
            for name in names {
                if !is_package(&name) {
                    let message = format!("`{}` is not a package", wording::printable(&name));
                    self.faults.push(
                        Fault::error("package/unfit", message).at(&wanted.package.place, "asked for here"),
                    );
                    continue;
                }
                let out = outcomes.get(wanted.package.value.as_str()) == Some(&Outcome::LeaveOut);
                if !wishes.iter().any(|wish| wish.name.value == name) {
                    wishes.push(Wish {
                        name: Spanned::new(name, &wanted.package.place),
                        version: None,
                        suite: None,
                        out,
                        hold: false,
                        list: Some(wanted.element.clone()),
                    });
                }
            }
        }
        wishes
    }

    fn hooks(
        &self,
        folders: &[ElementFolder],
        scripts: Scripts,
        settled: &[Wanted],
        wishes: &[Wish],
        names: &Arc<Names>,
    ) -> Vec<Hook> {
        let shown = self.shown(folders, &scripts);
        let mut hooks = Vec::new();
        for (phase, found) in &scripts {
            let entries: Vec<Entry> = found.values().map(|(_, _, entry)| entry.clone()).collect();
            for name in Dialect::Dib.select(&entries).run {
                let Ok(name) = String::from_utf8(name) else { continue };
                let Some((number, path, _)) = found.get(&name) else { continue };
                let Some(element) = folders.get(*number) else { continue };
                let text = Text::File { path: path.clone(), shown: self.flavours.folders.shown(path) };
                // An element has scripts of the same name in several phases.
                let list = format!("{}/{}", element.name, phase.folder());
                let hook = self.hook(list, name, *phase, text, &shown, names);
                hooks.push(Hook { network: element.network, ..hook });
            }
        }
        hooks.extend(self.removal(settled, wishes, names));
        hooks
    }

    fn hook(
        &self,
        list: String,
        name: String,
        phase: Phase,
        text: Text,
        shown: &[ShownFolder],
        names: &Arc<Names>,
    ) -> Hook {
        let script = Script { name: name.clone(), place: self.place.clone(), text };
        Hook {
            list: Some(list),
            name: Spanned::new(name, self.place),
            phase,
            dialect: Dialect::Dib,
            scripts: vec![script],
            shown: shown.to_vec(),
            directory: None,
            environment: self.set.clone(),
            inputs: Vec::new(),
            secrets: Vec::new(),
            network: false,
            timeout: None,
            interpreter: Vec::new(),
            after: Vec::new(),
            names: Some(Arc::clone(names)),
        }
    }

    /// The folders of all elements, without the scripts that run.
    fn shown(&self, folders: &[ElementFolder], scripts: &Scripts) -> Vec<ShownFolder> {
        let mut shown = Vec::new();
        for (number, folder) in folders.iter().enumerate() {
            let mut left: Vec<String> = UNREAD.iter().map(|pattern| pattern.to_string()).collect();
            for found in scripts.values() {
                let counts = |entry: &Entry| Dialect::Dib.counts(&entry.name) && entry.executable;
                let own = found.values().filter(|(of, _, entry)| *of == number && counts(entry));
                // Also in the folder of an install type.
                let inside = own.filter_map(|(_, path, _)| path.strip_prefix(&folder.path).ok()?.to_str());
                left.extend(inside.map(|path| format!("/{path}")));
            }
            let filter = Filter::new(&[], &left).unwrap_or_default();
            let stated = Spanned::new(folder.name.clone(), self.place);
            shown.push(ShownFolder { path: folder.path.clone(), stated, filter, at: EntryPath::root() });
        }
        shown
    }

    /// Removes what was there only for the scripts, behind all of them.
    fn removal(&self, settled: &[Wanted], wishes: &[Wish], names: &Arc<Names>) -> Option<Hook> {
        let only: BTreeSet<&str> = package_installs::outcomes(settled)
            .into_iter()
            .filter(|(_, outcome)| *outcome == Outcome::BuildOnly)
            .map(|(name, _)| name)
            .collect();
        let by_place: BTreeSet<usize> = settled
            .iter()
            .filter(|one| only.contains(one.package.value.as_str()))
            .map(|one| one.package.place.start)
            .collect();
        let gone: Vec<&str> = wishes
            .iter()
            .filter(|wish| by_place.contains(&wish.name.place.start))
            .map(|wish| wish.name.value.as_str())
            .collect();
        if gone.is_empty() {
            return None;
        }
        let text = format!("apt-get -y purge --auto-remove {}", gone.join(" "));
        let text = Text::Stated(Spanned::new(text, self.place));
        Some(self.hook("packages".into(), "99-build-only".into(), Phase::PostInstall, text, &[], names))
    }
}
