//! What packages and services of an element are called in a distribution: `pkg-map` and `svc-map`.
//!
//! A `pkg-map` is JSON, told in diskimage-builder's `elements/pkg-map/README.rst` and read there by `bin/pkg-map`; the
//! table that is more to the point counts, name by name:
//!
//! ```json
//! {
//!   "default": { "nova_package": "nova" },
//!   "family": { "redhat": { "nova_package": "openstack-nova" } },
//!   "distro": { "ubuntu": { "nova_package": "nova-compute other" } },
//!   "release": { "ubuntu": { "noble": { "nova_package": "" } } }
//! }
//! ```
//!
//! A `svc-map` is YAML, told in `elements/svc-map/README.rst` and read by its `extra-data.d/10-merge-svc-map-files`: a map
//! of services, each with a map of names by distribution, family or `default`, in that order.
//!
//! ```yaml
//! nova-api: { default: openstack-nova-api, debian: nova-api }
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use super::document::{self, Node, What};
use crate::fault::{Fault, Faults, Place, Source};
use crate::lang::Spanned;
use crate::wording;

/// The system that names are looked up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct System<'a> {
    /// `debian`, `ubuntu`.
    pub distribution: &'a str,
    /// `trixie`; `None` where it has none.
    pub release: Option<&'a str>,
}

/// What a name comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// These packages.
    Names(Vec<String>),
    /// Nothing: this system needs no package for it.
    Skip,
    /// The map does not have the name: it is a package's own.
    Unknown,
}

/// A `pkg-map`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PackageNames {
    default: Names,
    families: BTreeMap<String, Names>,
    distributions: BTreeMap<String, Names>,
    releases: BTreeMap<String, BTreeMap<String, Names>>,
}

/// The services of a `svc-map`, or of several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceNames {
    services: BTreeMap<String, Service>,
}

/// Names of packages, with blanks between them, by the name that stands for them.
type Names = BTreeMap<String, String>;

/// What a service is called where, and where it stands.
#[derive(Clone, Debug, PartialEq)]
struct Service {
    names: Names,
    place: Place,
}

/// The family of a distribution: `debian` of `ubuntu`.
pub fn family(distribution: &str) -> Option<&'static str> {
    match distribution {
        "almalinux" | "centos" | "fedora" | "openeuler" | "rhel" | "rocky" => Some("redhat"),
        "debian" | "ubuntu" => Some("debian"),
        "opensuse" => Some("suse"),
        "gentoo" => Some("gentoo"),
        _ => None,
    }
}

impl PackageNames {
    /// The map that a text writes; what is wrong in it goes to `faults`, and so do warnings.
    pub fn read(source: &Arc<Source>, faults: &mut Faults) -> PackageNames {
        let mut map = PackageNames::default();
        let document = document::json(source, faults);
        let Some(document) = faults.keep(document) else { return map };
        for (table, node) in entries(document, "a map of tables", faults) {
            match table.value.as_str() {
                "default" => map.default = names(node, faults),
                "family" => map.families = tables(node, faults, names),
                "distro" => map.distributions = tables(node, faults, names),
                "release" => {
                    map.releases = tables(node, faults, |node, faults| tables(node, faults, names));
                }
                _ => faults.push(unknown_table(&table)),
            }
        }
        map
    }

    /// What the name comes to in that system.
    pub fn look_up(&self, name: &str, system: System<'_>) -> Mapped {
        let distribution = system.distribution;
        // The one release that diskimage-builder takes for another.
        let release = system.release.map(|release| if release == "8-stream" { "8" } else { release });
        let tables = [
            release.and_then(|release| self.releases.get(distribution)?.get(release)),
            self.distributions.get(distribution),
            family(distribution).and_then(|family| self.families.get(family)),
            Some(&self.default),
        ];
        let Some(names) = tables.into_iter().flatten().find_map(|table| table.get(name)) else {
            return Mapped::Unknown;
        };
        let names: Vec<String> = names.split_whitespace().map(String::from).collect();
        if names.is_empty() { Mapped::Skip } else { Mapped::Names(names) }
    }

    /// The packages that the name stands for in that system: itself, where the map does not have it.
    pub fn packages(&self, name: &str, system: System<'_>) -> Vec<String> {
        match self.look_up(name, system) {
            Mapped::Names(names) => names,
            Mapped::Skip => Vec::new(),
            Mapped::Unknown => vec![name.to_string()],
        }
    }
}

impl ServiceNames {
    /// The map that a text writes; what is wrong in it goes to `faults`, and so do warnings.
    pub fn read(source: &Arc<Source>, faults: &mut Faults) -> ServiceNames {
        let mut map = ServiceNames::default();
        let document = document::either(source, faults);
        let Some(document) = faults.keep(document) else { return map };
        for (service, node) in entries(document, "a map of services", faults) {
            let names = names(node, faults);
            map.services.insert(service.value, Service { names, place: service.place });
        }
        map
    }

    /// Takes in the services of another element. Two elements that name the same one are a fault, and the first counts.
    pub fn merge(&mut self, more: ServiceNames, faults: &mut Faults) {
        for (name, service) in more.services {
            match self.services.get(&name) {
                None => drop(self.services.insert(name, service)),
                Some(first) => faults.push(
                    Fault::error("hooks/svc-map", format!("two elements name the service `{name}`"))
                        .at(&service.place, "named again")
                        .at(&first.place, "named first")
                        .help("take it out of one of the two"),
                ),
            }
        }
    }

    /// What each service is called in that distribution, by the name that scripts have for it.
    ///
    /// The program `svc-map` prefers the name as it is where the image has a unit of that name; that is for whoever can
    /// look into the image.
    pub fn services(&self, distribution: &str) -> BTreeMap<&str, &str> {
        self.services
            .iter()
            .map(|(own, service)| {
                let keys = [Some(distribution), family(distribution), Some("default")];
                let found = keys.into_iter().flatten().find_map(|key| service.names.get(key));
                (own.as_str(), found.unwrap_or(own).as_str())
            })
            .collect()
    }
}

const TABLES: &[&str] = &["default", "family", "distro", "release"];

const FORM: &str = "a map of names belongs here: `{ \"NAME\": \"PACKAGE\" }`";

/// The pairs of a map; anything else is a fault, but nothing is an empty map.
fn entries(node: Node, wanted: &str, faults: &mut Faults) -> Vec<(Spanned<String>, Node)> {
    match node.what {
        What::Map(pairs) => pairs,
        What::Null => Vec::new(),
        _ => {
            faults.push(
                Fault::error("hooks/pkg-map", format!("{} is no map", node.kind()))
                    .at(&node.place, format!("{wanted} belongs here"))
                    .help(FORM),
            );
            Vec::new()
        }
    }
}

fn tables<T>(node: Node, faults: &mut Faults, read: impl Fn(Node, &mut Faults) -> T) -> BTreeMap<String, T> {
    let pairs = entries(node, "a map of tables", faults);
    pairs.into_iter().map(|(name, node)| (name.value, read(node, faults))).collect()
}

fn names(node: Node, faults: &mut Faults) -> Names {
    let mut names = Names::new();
    for (name, node) in entries(node, "a map of names", faults) {
        match &node.what {
            What::Text(text) | What::Flag(_, text) => drop(names.insert(name.value, text.clone())),
            What::Null => drop(names.insert(name.value, String::new())),
            What::List(_) | What::Map(_) => faults.push(
                Fault::error("hooks/pkg-map", format!("{} is no name", node.kind()))
                    .at(&node.place, format!("`{}` is to be named here", wording::printable(&name.value)))
                    .help("several names stand in one text, with blanks between them"),
            ),
        }
    }
    names
}

fn unknown_table(table: &Spanned<String>) -> Fault {
    let message = format!("`{}` is no table that anybody looks into", wording::printable(&table.value));
    Fault::warning("hooks/pkg-map", message)
        .at(&table.place, "not read")
        .maybe_help(wording::suggest(&table.value, TABLES.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = r#"{
        "default": {"a": "a-default", "b": "b-default", "c": "c-default", "d": "d-default", "n": null},
        "family": {"debian": {"b": "b-debian-family", "c": "c-family", "d": "d-family"}},
        "distro": {"ubuntu": {"c": "c-ubuntu c2", "d": "d-ubuntu"}},
        "release": {"ubuntu": {"noble": {"d": ""}}, "centos": {"8": {"a": "a-8"}}}
    }"#;

    #[test]
    fn the_table_that_is_more_to_the_point_counts() {
        let mut faults = Faults::new();
        let map = PackageNames::read(&Source::new("pkg-map", MAP), &mut faults);
        assert!(faults.list.is_empty(), "{faults:#?}");
        let noble = System { distribution: "ubuntu", release: Some("noble") };
        assert_eq!(map.packages("a", noble), ["a-default"]);
        assert_eq!(map.packages("b", noble), ["b-debian-family"]);
        assert_eq!(map.packages("c", noble), ["c-ubuntu", "c2"]);
        assert_eq!(map.look_up("d", noble), Mapped::Skip);
        assert_eq!(map.look_up("n", noble), Mapped::Skip);
        assert_eq!(map.packages("other", noble), ["other"]);
        assert_eq!(map.packages("d", System { release: None, ..noble }), ["d-ubuntu"]);
        assert_eq!(map.packages("d", System { distribution: "debian", ..noble }), ["d-family"]);
        assert_eq!(map.packages("d", System { distribution: "plan9", ..noble }), ["d-default"]);
        let stream = System { distribution: "centos", release: Some("8-stream") };
        assert_eq!(map.packages("a", stream), ["a-8"]);
    }

    #[test]
    fn what_is_no_map_is_told_with_its_line() {
        let mut faults = Faults::new();
        let text = "{\n\"defaults\": {},\n\"family\": [],\n\"distro\": {\"debian\": {\"a\": [\"x\"]}}\n}";
        PackageNames::read(&Source::new("pkg-map", text), &mut faults);
        let told: Vec<String> =
            faults.list.iter().map(|fault| format!("{}: {fault}", fault.labels[0].place)).collect();
        assert_eq!(
            told,
            [
                "pkg-map:2: `defaults` is no table that anybody looks into",
                "pkg-map:3: a list is no map",
                "pkg-map:4: a list is no name"
            ]
        );
    }

    #[test]
    fn services_have_the_name_that_their_distribution_gives_them() {
        let mut faults = Faults::new();
        let text = "api: {default: d, debian: b, ubuntu: u}\nold: {redhat: r}\n";
        let mut map = ServiceNames::read(&Source::new("a/svc-map", text), &mut faults);
        assert_eq!(map.services("ubuntu"), BTreeMap::from([("api", "u"), ("old", "old")]));
        assert_eq!(map.services("debian"), BTreeMap::from([("api", "b"), ("old", "old")]));
        assert_eq!(map.services("fedora"), BTreeMap::from([("api", "d"), ("old", "r")]));
        assert!(faults.list.is_empty(), "{faults:#?}");
        let more = ServiceNames::read(&Source::new("b/svc-map", "api: {}\nnew: {}\n"), &mut faults);
        map.merge(more, &mut faults);
        assert_eq!(map.services("fedora").len(), 3);
        assert_eq!(faults.list[0].message, "two elements name the service `api`");
    }
}
