//! The universe: all packages that there are to choose from.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::OnceLock;

use super::index::{Index, Package};
use super::version;
use crate::fault::Fault;
use crate::wording;

/// All indexes of a distribution together, for one architecture.
#[derive(Debug)]
pub struct Universe {
    indexes: Vec<Index>,
    /// Index and number in it, by name; of the same name, the newest first.
    order: Vec<(u32, u32)>,
    virtuals: OnceLock<Vec<Virtual>>,
}

/// What a package provides.
#[derive(Debug)]
struct Virtual {
    name: String,
    version: Option<String>,
    provider: (u32, u32),
}

/// A dependency that nothing there is can meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The names that led there, what was asked for first.
    pub chain: Vec<String>,
    /// What is missing, as it was written.
    pub wanted: String,
}

impl Missing {
    /// As a fault.
    pub fn fault(&self, universe: &Universe) -> Fault {
        let fault = match self.chain.as_slice() {
            [] => Fault::error("deb/unknown-package", format!("there is no package `{}`", self.wanted)),
            chain => {
                let chain = chain.join(" → ");
                Fault::error(
                    "deb/missing-dependency",
                    format!("{chain} needs `{}`, which cannot be had", self.wanted),
                )
            }
        };
        let name = self.wanted.split([' ', '(', ':', '|']).next().unwrap_or_default();
        fault.maybe_help(
            wording::nearest(name, universe.names()).map(|near| format!("did you mean `{near}`?")),
        )
    }
}

impl Universe {
    /// The packages of `indexes` that are for `arch` or for all; of two that are the same, the first index's.
    pub fn new(indexes: Vec<Index>, arch: &str) -> Universe {
        let mut order = Vec::with_capacity(indexes.iter().map(Index::len).sum());
        for (at, index) in (0u32..).zip(&indexes) {
            let fitting =
                (0u32..).zip(index.packages()).filter(|(_, package)| [arch, "all"].contains(&package.arch()));
            order.extend(fitting.map(|(number, _)| (at, number)));
        }
        let package = |at: &(u32, u32)| get(&indexes, *at);
        order.sort_by(|one, other| match (package(one), package(other)) {
            (Some(one), Some(other)) => {
                one.name().cmp(other.name()).then_with(|| version::compare(other.version(), one.version()))
            }
            // Every one of them is there.
            _ => std::cmp::Ordering::Equal,
        });
        order.dedup_by(|later, first| match (package(later), package(first)) {
            (Some(later), Some(first)) => {
                (later.name(), later.version(), later.arch()) == (first.name(), first.version(), first.arch())
            }
            _ => false,
        });
        Universe { indexes, order, virtuals: OnceLock::new() }
    }

    /// The indexes that it is made of.
    pub fn indexes(&self) -> &[Index] {
        &self.indexes
    }

    /// How many packages there are, each version counted.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// All packages, by name, of the same name the newest first.
    pub fn packages(&self) -> impl Iterator<Item = Package<'_>> {
        self.order.iter().filter_map(|at| get(&self.indexes, *at))
    }

    /// All versions of a package, the newest first.
    pub fn by_name(&self, name: &str) -> impl Iterator<Item = Package<'_>> {
        let compared = |at: &(u32, u32)| get(&self.indexes, *at).map_or("", Package::name).cmp(name);
        let start = self.order.partition_point(|at| compared(at).is_lt());
        let rest = self.order.get(start..).unwrap_or_default();
        rest.iter().take_while(move |at| compared(at).is_eq()).filter_map(|at| get(&self.indexes, *at))
    }

    /// The newest version of a package.
    pub fn newest(&self, name: &str) -> Option<Package<'_>> {
        self.by_name(name).next()
    }

    /// The very package.
    pub fn find(&self, name: &str, version: &str, arch: &str) -> Option<Package<'_>> {
        self.by_name(name).find(|package| package.version() == version && package.arch() == arch)
    }

    /// The names of all packages, each once, in order; not what they provide.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        let mut last = "";
        self.order.iter().filter_map(|at| get(&self.indexes, *at)).map(Package::name).filter(move |name| {
            let fresh = *name != last;
            last = name;
            fresh
        })
    }

    /// The packages that provide `name`, by name, the newest of each first.
    pub fn providers(&self, name: &str) -> impl Iterator<Item = Package<'_>> {
        self.virtuals(name).iter().filter_map(|one| get(&self.indexes, one.provider))
    }

    /// The tasks that packages belong to, with these packages' names.
    pub fn tasks(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut tasks: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for package in self.packages() {
            for task in package.tasks() {
                tasks.entry(task).or_default().insert(package.name());
            }
        }
        tasks.into_iter().map(|(task, names)| (task, names.into_iter().collect())).collect()
    }

    fn virtuals(&self, name: &str) -> &[Virtual] {
        let all = self.virtuals.get_or_init(|| {
            let mut all = Vec::new();
            for at in &self.order {
                let provides = get(&self.indexes, *at).map_or("", Package::provides);
                all.extend(relations(provides).flatten().map(|relation| Virtual {
                    name: relation.name.into(),
                    version: relation.bound.map(|(_, version)| version.into()),
                    provider: *at,
                }));
            }
            // Stable: packages stay in their order.
            all.sort_by(|one, other| one.name.cmp(&other.name));
            all
        });
        let start = all.partition_point(|one| one.name.as_str() < name);
        let rest = all.get(start..).unwrap_or_default();
        let end = rest.iter().take_while(|one| one.name == name).count();
        &rest[..end]
    }

    /// The package that a relation is met by: the newest that fits, else the first that provides it.
    fn meet<'a>(&'a self, relation: &Relation<'_>) -> Option<Package<'a>> {
        let fits = |version: &str| {
            relation.bound.is_none_or(|(operator, bound)| version::fits(version, operator, bound))
        };
        let real = self.by_name(relation.name).find(|package| fits(package.version()));
        let provided = || {
            let all = self.virtuals(relation.name).iter();
            let mut fitting = all.filter(|one| match (&one.version, relation.bound) {
                (_, None) => true,
                (Some(version), Some(_)) => fits(version),
                (None, Some(_)) => false,
            });
            fitting.find_map(|one| get(&self.indexes, one.provider))
        };
        real.or_else(provided)
    }
}

fn get(indexes: &[Index], (index, number): (u32, u32)) -> Option<Package<'_>> {
    indexes.get(index as usize)?.package(number as usize)
}

/// `NAME[:ARCH] [(OPERATOR VERSION)]`, one alternative of a dependency.
pub(super) struct Relation<'a> {
    pub(super) name: &'a str,
    bound: Option<(&'a str, &'a str)>,
}

/// The dependencies in a field, each with its alternatives.
pub(super) fn relations(field: &str) -> impl Iterator<Item = impl Iterator<Item = Relation<'_>>> {
    field.split(',').filter(|one| !one.trim().is_empty()).map(|one| one.split('|').filter_map(relation))
}

fn relation(text: &str) -> Option<Relation<'_>> {
    let text = text.trim();
    let (name, rest) = text.split_once([' ', '(', '[']).unwrap_or((text, ""));
    let name = name.split(':').next().unwrap_or_default();
    let inside =
        text.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(inside, _)| inside.trim());
    let bound = inside.filter(|_| !rest.is_empty()).map(|inside| {
        let at = inside.find(|letter: char| !"<>=".contains(letter)).unwrap_or(inside.len());
        let (operator, version) = inside.split_at(at);
        (operator, version.trim())
    });
    (!name.is_empty()).then_some(Relation { name, bound })
}

/// `roots` and all that they need: of alternatives the first that can be met, of a virtual package the first that
/// provides it. No conflicts are looked at. By name.
///
/// # Errors
///
/// The first dependency that nothing meets.
pub fn closure<'a>(universe: &'a Universe, roots: &[&str]) -> Result<Vec<Package<'a>>, Missing> {
    let mut chosen: BTreeMap<&str, Package<'a>> = BTreeMap::new();
    let mut reached: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::new();
    for root in roots {
        let relation = relation(root).and_then(|relation| universe.meet(&relation));
        let package = relation.ok_or_else(|| Missing { chain: Vec::new(), wanted: (*root).into() })?;
        if chosen.insert(package.name(), package).is_none() {
            queue.push_back(package);
        }
    }
    while let Some(package) = queue.pop_front() {
        for field in [package.pre_depends(), package.depends()] {
            for dependency in field.split(',').map(str::trim).filter(|one| !one.is_empty()) {
                let alternatives: Vec<Relation> = dependency.split('|').filter_map(relation).collect();
                if alternatives.iter().any(|one| is_met(&chosen, one)) {
                    continue;
                }
                let found = alternatives.iter().find_map(|one| universe.meet(one));
                let missing =
                    || Missing { chain: chain(&reached, package.name()), wanted: dependency.into() };
                let found = found.ok_or_else(missing)?;
                if !chosen.contains_key(found.name()) {
                    chosen.insert(found.name(), found);
                    reached.insert(found.name(), package.name());
                    queue.push_back(found);
                }
            }
        }
    }
    Ok(chosen.into_values().collect())
}

/// Whether something that was chosen already is an alternative, by its own name.
fn is_met(chosen: &BTreeMap<&str, Package<'_>>, relation: &Relation<'_>) -> bool {
    chosen.get(relation.name).is_some_and(|package| {
        relation.bound.is_none_or(|(operator, bound)| version::fits(package.version(), operator, bound))
    })
}

fn chain(reached: &BTreeMap<&str, &str>, name: &str) -> Vec<String> {
    let mut chain = vec![name.to_string()];
    let mut at = name;
    while let Some(from) = reached.get(at) {
        chain.push((*from).to_string());
        at = from;
    }
    chain.reverse();
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn universe(packages: &[(&str, &str, &str, &str)]) -> Universe {
        let text: Vec<String> = packages
            .iter()
            .map(|(name, version, arch, more)| {
                let digest = crate::key::Digest::of(name);
                format!("Package: {name}\nVersion: {version}\nArchitecture: {arch}\n{more}Filename: {name}.deb\nSize: 1\nSHA256: {digest}\n")
            })
            .collect();
        let index = Index::parse(text.join("\n").into_bytes(), "s", "Packages").unwrap();
        Universe::new(vec![index.clone(), index], "amd64")
    }

    fn names(packages: Result<Vec<Package<'_>>, Missing>) -> Vec<String> {
        packages.unwrap().iter().map(|package| package.to_deb().id()).collect()
    }

    #[test]
    fn packages_are_found_newest_first() {
        let all = universe(&[
            ("aa", "1", "amd64", ""),
            ("bb", "1", "armhf", ""),
            ("aa", "1.10", "amd64", ""),
            ("aa", "1.9", "all", ""),
        ]);
        let versions: Vec<&str> = all.by_name("aa").map(Package::version).collect();
        assert_eq!(versions, ["1.10", "1.9", "1"]);
        assert_eq!(all.newest("aa").unwrap().version(), "1.10");
        assert!(all.newest("bb").is_none(), "another architecture's");
        assert_eq!(all.find("aa", "1.9", "all").unwrap().version(), "1.9");
        assert!(all.find("aa", "1.9", "amd64").is_none());
        assert_eq!(all.names().collect::<Vec<_>>(), ["aa"]);
    }

    #[test]
    fn the_closure_takes_the_first_that_can_be_had() {
        let all = universe(&[
            ("app", "1", "amd64", "Depends: none | lib (>= 2), mta | real-mta, tool:any\nPre-Depends: pre\n"),
            ("lib", "1", "amd64", ""),
            ("lib", "3", "amd64", ""),
            ("pre", "1", "amd64", "Depends: app\n"),
            ("post", "1", "all", "Provides: mta\n"),
            ("exim", "1", "amd64", "Provides: mta (= 4)\n"),
            ("tool", "1", "amd64", ""),
            ("needs4", "1", "amd64", "Depends: mta (>= 4)\n"),
        ]);
        assert_eq!(
            names(closure(&all, &["app"])),
            ["app_1_amd64", "exim_1_amd64", "lib_3_amd64", "pre_1_amd64", "tool_1_amd64"]
        );
        assert_eq!(names(closure(&all, &["needs4"])), ["exim_1_amd64", "needs4_1_amd64"]);
        assert_eq!(all.providers("mta").map(Package::name).collect::<Vec<_>>(), ["exim", "post"]);
    }

    #[test]
    fn what_is_missing_is_told_with_the_way_there() {
        let all = universe(&[
            ("app", "1", "all", "Depends: lib\n"),
            ("lib", "1", "all", "Depends: libx2 (>= 3)\n"),
            ("libx2", "1", "all", ""),
        ]);
        let missing = closure(&all, &["app"]).unwrap_err();
        assert_eq!(
            missing,
            Missing { chain: vec!["app".into(), "lib".into()], wanted: "libx2 (>= 3)".into() }
        );
        assert!(missing.fault(&all).message.contains("app → lib needs `libx2 (>= 3)`"));
        let unknown = closure(&all, &["aapp"]).unwrap_err();
        assert_eq!(unknown.fault(&all).help.as_deref(), Some("did you mean `app`?"));
    }

    #[test]
    fn tasks_are_listed() {
        let all = universe(&[("aa", "1", "all", "Task: web, x\n"), ("bb", "1", "all", "Task: web\n")]);
        assert_eq!(all.tasks(), BTreeMap::from([("web", vec!["aa", "bb"]), ("x", vec!["aa"])]));
    }
}
