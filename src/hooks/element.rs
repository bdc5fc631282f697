//! Elements of diskimage-builder: what is in their folders, and which of them a choice of them comes to ([`resolve`](fn@resolve)).
//!
//! An element is a folder that is found by its name. What may be in it is told in diskimage-builder's
//! `doc/source/developer/developing_elements.rst`: among other things `element-deps`, which names the elements that this
//! one needs, and `element-provides`, with those that it takes the place of: one name a line, no comments.

mod given;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use given::{Given, given};
pub use resolve::{Resolved, Shelf, resolve};

use super::order::lines;
use super::phase::{Foreign, Phase, foreign};
use crate::fault::Source;
use crate::lang::Spanned;

/// What an element says of itself and others.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// Its name, which is its folder's.
    pub name: String,
    /// The elements that it needs, in the order of `element-deps`.
    pub depends: Vec<Spanned<String>>,
    /// The elements that it takes the place of, in the order of `element-provides`.
    pub provides: Vec<Spanned<String>>,
}

/// What a name in an element's folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The folder of a phase's scripts.
    Scripts(Phase),
    /// A folder of scripts that is no phase here, `environment.d` among them.
    Foreign(Foreign),
    /// `element-deps`: what it needs ([`Element::new`]).
    Depends,
    /// `element-provides`: what it takes the place of ([`Element::new`]).
    Provides,
    /// `package-installs.json` or `package-installs.yaml` ([`package_installs`](super::package_installs)).
    Packages,
    /// `pkg-map`: what its packages are called ([`pkg_map`](super::pkg_map)).
    PackageNames,
    /// `svc-map`: what its services are called ([`pkg_map`](super::pkg_map)).
    ServiceNames,
    /// `bin`: programs, for `/usr/local/bin`.
    Programs,
    /// `static`: a tree of files, for `/`.
    Files,
    /// `init-scripts`: a folder of files for each init system.
    InitScripts,
    /// `block-device-ARCH.yaml` or `block-device-default.yaml`: how a disk is divided.
    Disk,
    /// `source-repository-NAME`: what `extra-data.d` of the element `source-repositories` fetches.
    Repository,
    /// What people read.
    Readme,
    /// Tests of the element.
    Tests,
    /// Something of the element's own.
    Own,
}

impl Element {
    /// An element out of its two files, where it has them.
    pub fn new(name: &str, depends: Option<&Arc<Source>>, provides: Option<&Arc<Source>>) -> Element {
        Element { name: name.to_string(), depends: distinct(depends), provides: distinct(provides) }
    }
}

/// What the name is in an element's folder.
pub fn part(name: &str, is_folder: bool) -> Part {
    match (name, is_folder) {
        ("bin", true) => Part::Programs,
        ("static", true) => Part::Files,
        ("init-scripts", true) => Part::InitScripts,
        ("tests" | "test-elements", true) => Part::Tests,
        (_, true) => Phase::of_folder(name)
            .map(Part::Scripts)
            .or_else(|| foreign(name).map(Part::Foreign))
            .unwrap_or(Part::Own),
        ("element-deps", false) => Part::Depends,
        ("element-provides", false) => Part::Provides,
        ("package-installs.json" | "package-installs.yaml", false) => Part::Packages,
        ("pkg-map", false) => Part::PackageNames,
        ("svc-map", false) => Part::ServiceNames,
        ("README" | "README.rst" | "README.md", false) => Part::Readme,
        (_, false) if name.starts_with("source-repository-") => Part::Repository,
        (_, false) if name.starts_with("block-device-") && name.ends_with(".yaml") => Part::Disk,
        (_, false) => Part::Own,
    }
}

/// Whether a folder that has these names in it (and whether each is a folder) looks like an element's.
pub fn is_element<'a>(entries: impl IntoIterator<Item = (&'a str, bool)>) -> bool {
    let telling = |part| !matches!(part, Part::Own | Part::Readme | Part::Tests | Part::Programs);
    entries.into_iter().any(|(name, is_folder)| telling(part(name, is_folder)))
}

/// The prefix and the install type of a folder below `install.d` whose scripts run as if they stood in `install.d`
/// itself: `simple-init` and `source` of `simple-init-source-install`.
pub fn install_type_folder(folder: &str) -> Option<(&str, &str)> {
    let (prefix, kind) = folder.strip_suffix("-install")?.rsplit_once('-')?;
    (!prefix.is_empty() && matches!(kind, "source" | "package")).then_some((prefix, kind))
}

/// The install type of an element or of a prefix: what `DIB_INSTALLTYPE_NAME` says, with `_` for each `-` of the name,
/// or else `default`.
pub fn install_type<'a>(name: &str, default: &'a str, variables: &'a BTreeMap<String, String>) -> &'a str {
    let variable = format!("DIB_INSTALLTYPE_{}", name.replace('-', "_"));
    variables.get(&variable).map_or(default, String::as_str)
}

fn distinct(source: Option<&Arc<Source>>) -> Vec<Spanned<String>> {
    let mut seen = BTreeSet::new();
    source.into_iter().flat_map(lines).filter(|line| seen.insert(line.value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_an_element_are_known() {
        assert_eq!(part("install.d", true), Part::Scripts(Phase::Install));
        assert!(matches!(part("root.d", true), Part::Foreign(_)));
        assert_eq!(part("install.d", false), Part::Own);
        assert_eq!(part("block-device-arm64.yaml", false), Part::Disk);
        assert!(is_element([("README.md", false), ("element-deps", false)]));
        assert!(!is_element([("README.md", false), ("src", true)]));
        assert_eq!(install_type_folder("simple-init-source-install"), Some(("simple-init", "source")));
        assert_eq!(install_type_folder("source-install"), None);
        let variables = BTreeMap::from([("DIB_INSTALLTYPE_simple_init".into(), "package".into())]);
        assert_eq!(install_type("simple-init", "source", &variables), "package");
        assert_eq!(install_type("other", "source", &variables), "source");
    }
}
