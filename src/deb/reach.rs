//! What a choice of packages can come to: of a whole distribution, most can be left aside before apt is asked.

//!
//! apt takes of several providers that are equal in all else the one whose name it met first, whoever mentioned it. So
//! the packages that mention these first stay, too, although nobody needs them.

use std::collections::HashSet;

use super::index::Package;
use super::universe::{Universe, relations};

/// The names of all packages that could come along with `names`, whichever alternatives and providers are taken, in
/// any of their versions. What packages conflict with is not followed, since that brings nothing.
pub fn reachable<'a>(universe: &'a Universe, names: Vec<&'a str>, recommends: bool) -> HashSet<&'a str> {
    let mut reached = HashSet::new();
    let mut queue = names;
    while let Some(name) = queue.pop() {
        if !reached.insert(name) {
            continue;
        }
        queue.extend(universe.providers(name).map(|package| package.name()));
        for package in universe.by_name(name) {
            let along = if recommends { package.recommends() } else { "" };
            let fields = [package.pre_depends(), package.depends(), along];
            queue.extend(fields.into_iter().flat_map(relations).flatten().map(|relation| relation.name));
        }
    }
    reached
}

/// The packages in which the providers that there is a choice of are mentioned first, in the order of the indexes: by the
/// place of their stanzas in memory ([`mark`]).
pub fn first_mentions(universe: &Universe, within: &HashSet<&str>) -> HashSet<usize> {
    let mut looked_for: HashSet<&str> = HashSet::new();
    for name in within {
        let providers: HashSet<&str> = universe.providers(name).map(Package::name).collect();
        if providers.len() > 1 {
            looked_for.extend(providers);
        }
    }
    let mut first = HashSet::new();
    for package in universe.indexes().iter().flat_map(|index| index.packages()) {
        if looked_for.is_empty() {
            break;
        }
        let before = looked_for.len();
        looked_for.remove(package.name());
        mentioned(package.stanza(), &mut |name| _ = looked_for.remove(name));
        if looked_for.len() < before {
            first.insert(mark(package));
        }
    }
    first
}

/// What tells a stanza from all others.
pub fn mark(package: Package<'_>) -> usize {
    package.stanza().as_ptr() as usize
}

/// The fields in which a package names others, as apt reads them.
const RELATIONS: [&str; 8] = [
    "Pre-Depends:",
    "Depends:",
    "Conflicts:",
    "Breaks:",
    "Recommends:",
    "Suggests:",
    "Replaces:",
    "Enhances:",
];

fn mentioned<'a>(stanza: &'a str, tell: &mut impl FnMut(&'a str)) {
    for line in stanza.lines() {
        let Some(names) = RELATIONS.iter().find_map(|field| line.strip_prefix(field)) else { continue };
        for one in names.split([',', '|']) {
            let name = one.trim().split([' ', '(', '[']).next().unwrap_or_default();
            // `NAME:any` is another package to apt.
            if !name.contains(':') {
                tell(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::Index;
    use super::*;

    #[test]
    fn every_way_is_gone() {
        let digest = crate::key::Digest::of("");
        let stanza = |name: &str, more: &str| {
            format!(
                "Package: {name}\nVersion: 1\nArchitecture: all\n{more}Filename: {name}.deb\nSize: 1\nSHA256: {digest}\n\n"
            )
        };
        let text = [
            stanza(
                "app",
                "Depends: one | two (>= 2), mta\nRecommends: nice\nConflicts: foe\nSuggests: hint\n",
            ),
            stanza("one", "Pre-Depends: app:any\n"),
            stanza("two", "Breaks: foe\n"),
            stanza("exim", "Provides: mta (= 4)\nDepends: deep\n"),
            stanza("deep", ""),
            stanza("nice", ""),
            stanza("foe", ""),
            stanza("hint", ""),
        ];
        let index = Index::parse(text.concat().into_bytes(), "s", "Packages").unwrap();
        let universe = Universe::new(vec![index], "amd64");
        let sorted = |recommends| {
            let mut names: Vec<&str> = reachable(&universe, vec!["app"], recommends).into_iter().collect();
            names.sort_unstable();
            names
        };
        assert_eq!(sorted(false), ["app", "deep", "exim", "mta", "one", "two"]);
        assert_eq!(sorted(true), ["app", "deep", "exim", "mta", "nice", "one", "two"]);
    }

    #[test]
    fn who_mentions_a_provider_first_stays() {
        let digest = crate::key::Digest::of("");
        let stanza = |name: &str, more: &str| {
            format!(
                "Package: {name}\nVersion: 1\nArchitecture: all\n{more}Filename: {name}.deb\nSize: 1\nSHA256: {digest}\n\n"
            )
        };
        let text = [
            stanza("app", "Depends: mta\n"),
            stanza("ardent", "Suggests: other, postfix (>= 2)\n"),
            stanza("breaker", "Breaks: exim:any, postfix\n"),
            stanza("exim", "Provides: mta\n"),
            stanza("later", "Depends: exim\n"),
            stanza("postfix", "Provides: mta (= 2)\n"),
            stanza("single", "Provides: alone\n"),
        ];
        let index = Index::parse(text.concat().into_bytes(), "s", "Packages").unwrap();
        let universe = Universe::new(vec![index], "amd64");
        let within = reachable(&universe, vec!["app", "alone"], false);
        let first = first_mentions(&universe, &within);
        let kept: Vec<&str> = universe
            .packages()
            .filter(|package| first.contains(&mark(*package)))
            .map(Package::name)
            .collect();
        assert_eq!(kept, ["ardent", "exim"]);
    }
}
