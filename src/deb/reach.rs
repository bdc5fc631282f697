//! What a choice of packages can come to: of a whole distribution, most can be left aside before apt is asked.

use std::collections::HashSet;

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
}
