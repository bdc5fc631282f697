//! Elements of diskimage-builder: what is in their folders, and which of them a choice of them comes to.
//!
//! An element is a folder that is found by its name. What may be in it is told in diskimage-builder's
//! `doc/source/developer/developing_elements.rst`; how names are resolved is taken from its
//! `diskimage_builder/element_dependencies.py`, and compared with it in `tests/dialects.rs`:
//!
//! - `element-deps` names the elements that this one needs, `element-provides` those that it takes the place of: one
//!   name a line, no comments.
//! - Elements are looked at in the order in which they are asked for, then those that they need, and so on. A name that
//!   an element looked at earlier provides is not looked for.
//! - It is an error if nothing has a name, if two elements provide the same, or if an element that is asked for is
//!   provided by another. Elements may need each other, or themselves.
//!
//! diskimage-builder keeps names in sets, so that its order, and now and then its result, differs between runs. Here
//! lines count in the order of their file, a name that nothing has is an error only if nothing provides it in the end,
//! and the result is in the order in which needs are met: an element comes behind those that it needs, unless they need
//! it as well, and otherwise in the order in which elements are asked for and lines stand in `element-deps`.
//!
//! The rule that one element must be an operating system does not apply: the manifest's base is that ([`given`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::order::lines;
use super::phase::{Foreign, Phase, foreign};
use crate::fault::{Fault, Faults, Place, Source};
use crate::lang::Spanned;
use crate::wording;

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

/// Where elements are found.
pub trait Shelf {
    /// The element of that name, if there is one; of several the one that the search path has first.
    ///
    /// # Errors
    ///
    /// It is there but cannot be read.
    fn element(&self, name: &str) -> Result<Option<Element>, Faults>;

    /// The names of all elements there are, for a guess at what was meant.
    fn names(&self) -> Vec<String>;
}

/// An element that need not be found, because imgbuild does its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Its name.
    pub name: String,
    /// Why it need not be found: a clause in lower case.
    pub reason: String,
}

/// What a choice of elements comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// The elements, each behind those that it needs where that is possible.
    pub elements: Vec<Element>,
    /// What was asked for or needed and is given, where it was first named, and why it is left out.
    pub given: Vec<(Spanned<String>, String)>,
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

/// What imgbuild gives where the base is this distribution (`debian`, `ubuntu`).
pub fn given(distribution: &str) -> Vec<Given> {
    let base = format!("the base is {distribution}");
    let own = [distribution.to_string(), format!("{distribution}-minimal")];
    let more = RELATED.iter().filter(|(of, _)| *of == distribution).map(|(_, name)| name.to_string());
    let systems = own.into_iter().chain(more).map(|name| Given { name, reason: base.clone() });
    let others =
        GIVEN.iter().map(|(name, reason)| Given { name: name.to_string(), reason: reason.to_string() });
    systems.chain(others).collect()
}

/// The elements that these come to; `given` need not be found.
///
/// # Errors
///
/// All that is wrong: names that nothing has, names that are provided twice, and what the shelf cannot read.
pub fn resolve(wanted: &[Spanned<String>], given: &[Given], shelf: &dyn Shelf) -> Result<Resolved, Faults> {
    let mut search = Search::new(given, shelf);
    search.look(wanted);
    search.check(wanted);
    if search.faults.has_errors() {
        return Err(search.faults);
    }
    Ok(Resolved { elements: search.in_order(wanted), given: search.left })
}

const DISK: &str = "a disk is an output here, with all that it needs to start";

/// What imgbuild gives whatever the distribution is, and why.
const GIVEN: &[(&str, &str)] = &[
    ("operating-system", "the manifest's base is the operating system"),
    ("base", "the manifest's base is all that it adds to"),
    ("debootstrap", "the base is made out of the archive's packages"),
    ("dpkg", "packages are unpacked and configured without services being started"),
    ("install-types", "`install.d` has the folders of the install type"),
    ("package-installs", "`package-installs` files are read, and their packages are in the lock"),
    ("pkg-map", "`pkg-map` files are read"),
    ("svc-map", "`svc-map` files are read"),
    ("install-bin", "what is in `bin` is put into `/usr/local/bin`"),
    ("install-static", "what is in `static` is put into the image"),
    ("manifests", "the lock says what is in the image"),
    ("dib-init-system", "the base says what starts the system"),
    ("sysprep", "what two systems must not share is cleared"),
    ("dib-run-parts", "scripts are chosen and ordered without it"),
    ("block-device", DISK),
    ("block-device-mbr", DISK),
    ("block-device-gpt", DISK),
    ("block-device-efi", DISK),
    ("bootloader", DISK),
];

/// Elements that are a distribution as well, but not by its name alone.
const RELATED: &[(&str, &str)] = &[
    ("debian", "debian-systemd"),
    ("debian", "debian-upstart"),
    ("ubuntu", "ubuntu-common"),
    ("ubuntu", "ubuntu-signed"),
    ("ubuntu", "ubuntu-systemd-container"),
];

/// The virtual element that every operating system provides.
const SYSTEM: &str = "operating-system";

fn distinct(source: Option<&Arc<Source>>) -> Vec<Spanned<String>> {
    let mut seen = BTreeSet::new();
    source.into_iter().flat_map(lines).filter(|line| seen.insert(line.value.clone())).collect()
}

struct Search<'a> {
    given: BTreeMap<&'a str, &'a str>,
    shelf: &'a dyn Shelf,
    /// Elements that were looked at.
    found: BTreeMap<String, Element>,
    /// Names that nothing has, where they are named first, and the element that needs them.
    missing: Vec<(Spanned<String>, Option<String>)>,
    /// What is provided, by which element, and where that is said.
    provided: BTreeMap<String, (String, Place)>,
    left: Vec<(Spanned<String>, String)>,
    faults: Faults,
}

impl<'a> Search<'a> {
    fn new(given: &'a [Given], shelf: &'a dyn Shelf) -> Search<'a> {
        Search {
            given: given.iter().map(|given| (given.name.as_str(), given.reason.as_str())).collect(),
            shelf,
            found: BTreeMap::new(),
            missing: Vec::new(),
            provided: BTreeMap::new(),
            left: Vec::new(),
            faults: Faults::new(),
        }
    }

    /// Looks at what is asked for, then at what that needs, and so on.
    fn look(&mut self, wanted: &[Spanned<String>]) {
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let mut queue: VecDeque<(Spanned<String>, Option<String>)> = VecDeque::new();
        for name in wanted {
            if seen.insert(name.value.clone()) {
                queue.push_back((name.clone(), None));
            }
        }
        while let Some((name, by)) = queue.pop_front() {
            if let Some(reason) = self.given.get(name.value.as_str()) {
                self.left.push((name, reason.to_string()));
                continue;
            }
            if self.provided.contains_key(&name.value) {
                continue;
            }
            let Some(element) = self.find(&name.value) else {
                self.missing.push((name, by));
                continue;
            };
            self.note_provided(&element);
            for needed in &element.depends {
                if !self.provided.contains_key(&needed.value) && seen.insert(needed.value.clone()) {
                    queue.push_back((needed.clone(), Some(element.name.clone())));
                }
            }
            self.found.insert(element.name.clone(), element);
        }
    }

    /// The element of that name; one that cannot be read is a fault, and then an element without needs.
    fn find(&mut self, name: &str) -> Option<Element> {
        if name.contains('/') || name.starts_with('.') {
            return None;
        }
        match self.shelf.element(name) {
            Ok(found) => found,
            Err(faults) => {
                self.faults.extend(faults);
                Some(Element::new(name, None, None))
            }
        }
    }

    fn note_provided(&mut self, element: &Element) {
        for name in &element.provides {
            let fault = match (self.given.get(name.value.as_str()), self.provided.get(&name.value)) {
                (Some(_), _) if name.value == SYSTEM => another_system(element, name),
                (Some(reason), _) => given_already(element, name, reason),
                (None, Some((by, place))) => provided_twice(element, name, by, place),
                (None, None) => {
                    self.provided.insert(name.value.clone(), (element.name.clone(), name.place.clone()));
                    continue;
                }
            };
            self.faults.push(fault);
        }
    }

    fn check(&mut self, wanted: &[Spanned<String>]) {
        let mut seen = BTreeSet::new();
        for name in wanted.iter().filter(|name| seen.insert(&name.value)) {
            if let Some((by, place)) = self.provided.get(&name.value) {
                self.faults.push(asked_and_provided(name, by, place));
            }
        }
        let missing = std::mem::take(&mut self.missing);
        let missing = missing.into_iter().filter(|(name, _)| !self.provided.contains_key(&name.value));
        let faults: Vec<Fault> = missing.map(|(name, by)| self.not_found(&name, by.as_deref())).collect();
        self.faults.extend(faults);
    }

    fn not_found(&self, name: &Spanned<String>, by: Option<&str>) -> Fault {
        let shown = wording::printable(&name.value);
        let label = match by {
            Some(by) => format!("`{by}` needs it"),
            None => String::from("asked for here"),
        };
        let names = self.shelf.names();
        let known = || names.iter().map(String::as_str).chain(self.given.keys().copied());
        let near = wording::nearest(&name.value, known()).or_else(|| longer(&name.value, known()));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => String::from("there are no elements where they are looked for"),
            None => format!("it is none of the {} that were found", wording::count(names.len(), "element")),
        };
        Fault::error("hooks/element", format!("there is no element `{shown}`"))
            .at(&name.place, label)
            .help(help)
    }

    /// What was found and is not provided by another, each behind what it needs.
    fn in_order(&self, wanted: &[Spanned<String>]) -> Vec<Element> {
        let mut walk = Walk { search: self, begun: BTreeSet::new(), done: Vec::new() };
        for name in wanted {
            walk.visit(&name.value);
        }
        let stays = |element: &&Element| !self.provided.contains_key(&element.name);
        walk.done.into_iter().filter(stays).cloned().collect()
    }

    /// The element that stands for a name: its own, or the one that provides it.
    fn standing_for(&self, name: &str) -> Option<&Element> {
        let name = self.provided.get(name).map_or(name, |(by, _)| by.as_str());
        self.found.get(name)
    }
}

/// Goes through what was found, needs first. It keeps its own stack: a chain of needs may be of any length.
struct Walk<'a> {
    search: &'a Search<'a>,
    begun: BTreeSet<&'a str>,
    done: Vec<&'a Element>,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, name: &str) {
        let mut stack: Vec<(&'a Element, std::vec::IntoIter<&'a str>)> = Vec::new();
        stack.extend(self.begin(name));
        while let Some((element, needs)) = stack.last_mut() {
            let element: &'a Element = element;
            match needs.next() {
                Some(needed) => stack.extend(self.begin(needed)),
                None => {
                    self.done.push(element);
                    stack.pop();
                }
            }
        }
    }

    /// The element that stands for the name and what it needs, the first time.
    fn begin(&mut self, name: &str) -> Option<(&'a Element, std::vec::IntoIter<&'a str>)> {
        let element = self.search.standing_for(name)?;
        self.begun.insert(&element.name).then(|| (element, self.needs(element).into_iter()))
    }

    /// What it needs. One that another provides was perhaps looked at before that one: what it needs is there as well.
    fn needs(&self, element: &'a Element) -> Vec<&'a str> {
        let mut needs = Vec::new();
        for needed in &element.depends {
            let hidden =
                self.search.provided.get(&needed.value).and_then(|_| self.search.found.get(&needed.value));
            needs.extend(
                hidden.into_iter().flat_map(|hidden| &hidden.depends).map(|needed| needed.value.as_str()),
            );
            needs.push(&needed.value);
        }
        needs
    }
}

/// A name that this one is a part of, or that is a part of it: elements are renamed by what stands before.
fn longer<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let within = |short: &str, long: &str| {
        short.len() > 2 && (long.ends_with(&format!("-{short}")) || long.starts_with(&format!("{short}-")))
    };
    names.filter(|name| within(typed, name) || within(name, typed)).min_by_key(|name| (name.len(), *name))
}

fn another_system(element: &Element, name: &Spanned<String>) -> Fault {
    let message = format!("`{}` is an operating system, and the base is one already", element.name);
    Fault::error("hooks/element", message)
        .at(&name.place, "said here")
        .help("take it out, or what needs it; which system it is stands at `base` in the manifest")
}

fn given_already(element: &Element, name: &Spanned<String>, reason: &str) -> Fault {
    let message =
        format!("`{}` takes the place of `{}`, which imgbuild does itself", element.name, name.value);
    Fault::error("hooks/element", message)
        .at(&name.place, "said here")
        .help(format!("take it out, or what needs it: {reason}"))
}

fn provided_twice(element: &Element, name: &Spanned<String>, by: &str, place: &Place) -> Fault {
    let message = format!("both `{by}` and `{}` take the place of `{}`", element.name, name.value);
    Fault::error("hooks/element", message)
        .at(&name.place, format!("said of `{}`", element.name))
        .at(place, format!("said of `{by}`"))
        .help("take one of them out, or what needs it")
}

fn asked_and_provided(name: &Spanned<String>, by: &str, place: &Place) -> Fault {
    let message = format!("`{by}` takes the place of `{}`", wording::printable(&name.value));
    Fault::error("hooks/element", message)
        .at(&name.place, "asked for here")
        .at(place, format!("said of `{by}`"))
        .help("take one of them out, or what needs it")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Elements, a line each: `NAME: needs … > provides …`.
    struct Lines(&'static str);

    impl Shelf for Lines {
        fn element(&self, name: &str) -> Result<Option<Element>, Faults> {
            let line = self.0.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
            Ok(line.map(|line| {
                let (depends, provides) = line.split_once('>').unwrap_or((line, ""));
                let file = |what: &str, names: &str| {
                    Source::new(format!("{name}/element-{what}"), names.trim().replace(' ', "\n\n"))
                };
                Element::new(name, Some(&file("deps", depends)), Some(&file("provides", provides)))
            }))
        }

        fn names(&self) -> Vec<String> {
            self.0.lines().filter_map(|line| Some(line.trim().split_once(':')?.0.to_string())).collect()
        }
    }

    fn resolved(wanted: &str, given: &[Given], shelf: &'static str) -> Result<Resolved, Vec<String>> {
        let source = Source::new("image.kdl", wanted.replace(' ', "\n"));
        let wanted: Vec<Spanned<String>> = lines(&source).collect();
        resolve(&wanted, given, &Lines(shelf)).map_err(|faults| {
            let told = |fault: Fault| {
                format!("{}: {fault} ({})", fault.labels[0].place, fault.help.as_deref().unwrap())
            };
            faults.into_iter().map(told).collect()
        })
    }

    fn names(wanted: &str, shelf: &'static str) -> Result<Vec<String>, Vec<String>> {
        let resolved = resolved(wanted, &[], shelf)?;
        Ok(resolved.elements.into_iter().map(|element| element.name).collect())
    }

    #[test]
    fn an_element_comes_behind_what_it_needs() {
        assert_eq!(names("a", "a: b c\nb: d\nc: d\nd:").unwrap(), ["d", "b", "c", "a"]);
        assert_eq!(names("x a a", "a: b\nb:\nx:").unwrap(), ["x", "b", "a"]);
        assert_eq!(
            names("a", "a: b a\nb: c\nc: a").unwrap(),
            ["c", "b", "a"],
            "elements may need each other"
        );
    }

    #[test]
    fn what_is_provided_is_not_looked_for() {
        assert_eq!(names("p a", "a: v\np: > v").unwrap(), ["p", "a"]);
        assert_eq!(names("a", "a: v p\np: > v").unwrap(), ["p", "a"], "whichever comes first");
        assert_eq!(names("a", "a: v p\np: > v\nv: w\nw:").unwrap(), ["w", "p", "a"]);
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let shelf = "a: enable\nb: > v\nc: > v\nd: > e\ne:\nenable-serial-console:";
        assert_eq!(
            names("a b c d e serial-console zebra ../x", shelf).unwrap_err(),
            [
                "c/element-provides:1: both `b` and `c` take the place of `v` (take one of them out, or what needs it)",
                "image.kdl:5: `d` takes the place of `e` (take one of them out, or what needs it)",
                "image.kdl:6: there is no element `serial-console` (did you mean `enable-serial-console`?)",
                "image.kdl:7: there is no element `zebra` (it is none of the 6 elements that were found)",
                "image.kdl:8: there is no element `../x` (it is none of the 6 elements that were found)",
                "a/element-deps:1: there is no element `enable` (did you mean `enable-serial-console`?)",
            ]
        );
    }

    #[test]
    fn what_is_given_is_left_out_and_said() {
        let given = given("debian");
        let shelf = "a: pkg-map debian-minimal b\nb:\ndebian-minimal: debootstrap";
        let resolved_ = resolved("debian a", &given, shelf).unwrap();
        assert_eq!(resolved_.elements.iter().map(|element| &*element.name).collect::<Vec<_>>(), ["b", "a"]);
        let left: Vec<String> =
            resolved_.given.iter().map(|(name, reason)| format!("{}: {reason}", name.value)).collect();
        assert_eq!(
            left,
            [
                "debian: the base is debian",
                "pkg-map: `pkg-map` files are read",
                "debian-minimal: the base is debian"
            ]
        );
        assert_eq!(
            resolved("centos", &given, "centos: > operating-system").unwrap_err(),
            [
                "centos/element-provides:1: `centos` is an operating system, and the base is one already (take it out, \
                 or what needs it; which system it is stands at `base` in the manifest)"
            ]
        );
    }

    #[test]
    fn a_long_chain_of_needs_is_followed() {
        struct Chain;
        impl Shelf for Chain {
            fn element(&self, name: &str) -> Result<Option<Element>, Faults> {
                let number: usize = name.parse().unwrap();
                let next = (number < 50_000).then(|| Source::new("element-deps", (number + 1).to_string()));
                Ok(Some(Element::new(name, next.as_ref(), None)))
            }
            fn names(&self) -> Vec<String> {
                Vec::new()
            }
        }
        let wanted: Vec<Spanned<String>> = lines(&Source::new("l", "0")).collect();
        let resolved = resolve(&wanted, &[], &Chain).unwrap();
        assert_eq!(resolved.elements.len(), 50_001);
        assert_eq!(resolved.elements[0].name, "50000");
    }

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
