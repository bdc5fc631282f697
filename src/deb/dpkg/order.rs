//! The order of the layers, and the packages that are better left to dpkg.

use std::collections::{BTreeMap, BTreeSet};

use super::{Below, Names, Package, diversions, merged_usr};
use crate::layer::EntryPath;

/// In which order packages become layers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Positions of the packages that are unpacked as layers, the lowest first.
    pub layers: Vec<usize>,
    /// Positions of the packages that dpkg itself has to unpack, in order, and why.
    pub by_dpkg: Vec<(usize, String)>,
    /// By a package's name in dpkg's database, the files that others replace: they are in its list no more.
    pub lost: BTreeMap<String, BTreeSet<EntryPath>>,
}

/// Finds the order of `packages` on top of `below`.
///
/// What a package needs comes before it, as apt has it, base-files first of all. Where two packages have the same file,
/// the one that says that it replaces the other comes later; where neither says so, or dpkg has rules that layers do
/// not follow (diversions, overrides, a link where another has a directory), dpkg unpacks the package.
pub fn order(packages: &[Package], below: &Below) -> Order {
    let mut by_dpkg: BTreeMap<usize, String> = BTreeMap::new();
    for (number, package) in packages.iter().enumerate() {
        if let Some(why) = dpkg_alone(package, packages, below) {
            by_dpkg.insert(number, why);
        }
    }
    let claims = Claims::of(packages, below);
    let mut order = Order::default();
    let mut later: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (path, owners) in claims.contested() {
        settle(path, owners, &claims, &mut order, &mut later, &mut by_dpkg);
    }
    for (number, path) in claims.links_over_folders() {
        by_dpkg
            .entry(number)
            .or_insert_with(|| format!("it has `/{path}`, which is a directory of another package"));
    }
    let sorted = sort(packages, &later);
    let place: BTreeMap<usize, usize> = sorted.iter().enumerate().map(|(at, number)| (*number, at)).collect();
    for (winner, losers) in &later {
        if losers.iter().any(|loser| place.get(loser) > place.get(winner)) {
            let why = "it and another package replace files of each other";
            by_dpkg.entry(*winner).or_insert_with(|| why.to_string());
        }
    }
    order.layers = sorted.iter().copied().filter(|number| !by_dpkg.contains_key(number)).collect();
    let left = sorted.iter().filter_map(|number| Some((*number, by_dpkg.get(number)?.clone())));
    order.by_dpkg = left.collect();
    order
}

/// Why only dpkg can unpack the package, whatever else there is.
fn dpkg_alone(package: &Package, packages: &[Package], below: &Below) -> Option<String> {
    if let Some(path) = diverted(package, packages, below) {
        return Some(format!("its preinst calls `dpkg-divert`, perhaps on `/{path}` of another package"));
    }
    let installed = |other: &&Package| other.name() == package.name() && other.arch() == package.arch();
    if below.packages.iter().any(|other| installed(&other)) {
        return Some("another version of it is installed".into());
    }
    let files: BTreeSet<EntryPath> = package.files().collect();
    let has = |path: &str| EntryPath::parse(path).is_ok_and(|path| files.contains(&merged_usr(&path)));
    let diversions: Vec<&str> = below.diversions.lines().collect();
    for diversion in diversions.chunks(3) {
        if let [from, _, by] = diversion
            && *by != package.name()
            && has(from)
        {
            return Some(format!("`{from}` is diverted"));
        }
    }
    let overridden = below.overrides.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).find(|path| {
        let path = EntryPath::parse(path).map(|path| merged_usr(&path));
        path.is_ok_and(|path| package.paths.iter().any(|(own, _)| merged_usr(own) == path))
    });
    overridden.map(|path| format!("`{path}` has an owner and a mode of its own"))
}

/// A file of another package that the package's preinst may divert.
fn diverted(package: &Package, packages: &[Package], below: &Below) -> Option<EntryPath> {
    let calls = diversions::calls(package.preinst.as_deref().unwrap_or_default());
    for call in &calls {
        let owner = call.package.as_deref().unwrap_or(package.name());
        // On behalf of a package that is not there, a script mends what that one once did.
        if !packages.iter().chain(&below.packages).any(|other| other.name() == owner) {
            continue;
        }
        let others = packages.iter().chain(&below.packages).filter(|other| other.name() != owner);
        let mut paths = others.flat_map(|other| other.paths.iter().filter(|(_, is_folder)| !is_folder));
        let hit = paths.find(|(path, _)| {
            let merged = merged_usr(path);
            [path, &merged].iter().any(|path| call.matches(&String::from_utf8_lossy(path.as_bytes())))
        });
        if let Some((path, _)) = hit {
            return Some(path.clone());
        }
    }
    None
}

/// Who has a file: a package of the set, or one below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Below(usize),
    New(usize),
}

struct Claims<'a> {
    packages: &'a [Package],
    below: &'a Below,
    files: BTreeMap<EntryPath, Vec<Owner>>,
    folders: BTreeSet<EntryPath>,
}

impl<'a> Claims<'a> {
    fn of(packages: &'a [Package], below: &'a Below) -> Claims<'a> {
        let mut claims = Claims { packages, below, files: BTreeMap::new(), folders: BTreeSet::new() };
        let old = below.packages.iter().enumerate().map(|(number, package)| (Owner::Below(number), package));
        let new = packages.iter().enumerate().map(|(number, package)| (Owner::New(number), package));
        for (owner, package) in old.chain(new) {
            for (path, is_folder) in &package.paths {
                let path = merged_usr(path);
                if *is_folder {
                    claims.folders.insert(path);
                } else {
                    claims.files.entry(path).or_default().push(owner);
                }
            }
        }
        claims
    }

    fn package(&self, owner: Owner) -> Option<&'a Package> {
        match owner {
            Owner::Below(number) => self.below.packages.get(number),
            Owner::New(number) => self.packages.get(number),
        }
    }

    /// Files of several packages, one of them new.
    fn contested(&self) -> impl Iterator<Item = (&EntryPath, &Vec<Owner>)> {
        let is_new = |owner: &Owner| matches!(owner, Owner::New(_));
        self.files.iter().filter(move |(_, owners)| owners.len() > 1 && owners.iter().any(is_new))
    }

    /// New packages with something else where there is a directory.
    fn links_over_folders(&self) -> impl Iterator<Item = (usize, &EntryPath)> {
        let root = |path: &EntryPath| super::ALIASES.contains(&path.as_bytes());
        let clashing = self.files.iter().filter(move |(path, _)| self.folders.contains(*path) && !root(path));
        clashing.flat_map(|(path, owners)| {
            owners.iter().filter_map(move |owner| match owner {
                Owner::New(number) => Some((*number, path)),
                Owner::Below(_) => None,
            })
        })
    }

    fn replaces(&self, winner: Owner, loser: Owner) -> bool {
        let (Some(winner), Some(loser)) = (self.package(winner), self.package(loser)) else { return false };
        winner.control.relations("Replaces").iter().flatten().any(|name| *name == loser.name())
    }

    /// The same package for two architectures: dpkg sees to it that shared files are equal.
    fn same_package(&self, one: Owner, other: Owner) -> bool {
        let (Some(one), Some(other)) = (self.package(one), self.package(other)) else { return false };
        one.name() == other.name()
    }
}

/// Decides whose a contested file is.
fn settle(
    path: &EntryPath,
    owners: &[Owner],
    claims: &Claims<'_>,
    order: &mut Order,
    later: &mut BTreeMap<usize, BTreeSet<usize>>,
    by_dpkg: &mut BTreeMap<usize, String>,
) {
    for (at, one) in owners.iter().enumerate() {
        for other in owners.iter().skip(at + 1) {
            if claims.same_package(*one, *other) {
                continue;
            }
            // `owners` is sorted, those below first.
            let (winner, loser) = if claims.replaces(*other, *one) { (*other, *one) } else { (*one, *other) };
            let conffile = |owner: Owner| {
                claims.package(owner).is_some_and(|package| {
                    let mut conffiles = package.conffiles();
                    conffiles
                        .any(|(name, _)| EntryPath::parse(name).is_ok_and(|name| merged_usr(&name) == *path))
                })
            };
            let plain = claims.replaces(winner, loser) && !conffile(winner) && !conffile(loser);
            match (winner, loser) {
                (Owner::New(winner), _) if plain => {
                    if let Some(package) = claims.package(loser) {
                        order.lost.entry(package.control.database_name()).or_default().insert(path.clone());
                    }
                    if let Owner::New(loser) = loser {
                        later.entry(winner).or_default().insert(loser);
                    }
                }
                (Owner::Below(_), Owner::Below(_)) => {}
                (_, Owner::New(number)) | (Owner::New(number), _) => {
                    let name = |owner| claims.package(owner).map(Package::name).unwrap_or_default();
                    let other = if winner == Owner::New(number) { name(loser) } else { name(winner) };
                    let why = format!("it and `{other}` both have `/{path}`");
                    by_dpkg.entry(number).or_insert(why);
                }
            }
        }
    }
}

/// What is needed before what needs it; what loses files before what replaces them; else by name.
fn sort(packages: &[Package], later: &BTreeMap<usize, BTreeSet<usize>>) -> Vec<usize> {
    let names = Names::of(packages);
    let mut by_name: Vec<usize> = (0..packages.len()).collect();
    by_name.sort_by_key(|number| {
        packages.get(*number).map(|package| (package.name() != "base-files", package.name(), package.arch()))
    });
    let rank: BTreeMap<usize, usize> = by_name.iter().enumerate().map(|(at, number)| (*number, at)).collect();
    let before = |number: usize| -> Vec<usize> {
        let Some(package) = packages.get(number) else { return Vec::new() };
        let mut needs = names.needs(package);
        // Nothing comes before base-files: its directories count.
        needs.retain(|_| package.name() != "base-files");
        needs.sort_by_key(|need| rank.get(need).copied());
        let losers = later.get(&number).into_iter().flatten().copied();
        losers.chain(needs).collect()
    };
    let mut sorted = Vec::new();
    let mut seen = BTreeSet::new();
    for start in by_name {
        visit(start, &before, &mut seen, &mut sorted);
    }
    sorted
}

/// Depth first, without recursion: chains of packages can be long.
fn visit(
    start: usize,
    before: &dyn Fn(usize) -> Vec<usize>,
    seen: &mut BTreeSet<usize>,
    sorted: &mut Vec<usize>,
) {
    if !seen.insert(start) {
        return;
    }
    let mut stack = vec![(start, before(start).into_iter())];
    while let Some((number, rest)) = stack.last_mut() {
        match rest.next() {
            Some(next) if seen.insert(next) => stack.push((next, before(next).into_iter())),
            Some(_) => {}
            None => {
                sorted.push(*number);
                stack.pop();
            }
        }
    }
}
