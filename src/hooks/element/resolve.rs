//! Which elements a choice of them comes to.
//!
//! How names are resolved is taken from diskimage-builder's `diskimage_builder/element_dependencies.py`, and compared with
//! it in `tests/dialects.rs`:
//!
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

use super::Element;
use super::given::{Given, SYSTEM};
use crate::fault::{Fault, Faults, Place};
use crate::lang::Spanned;
use crate::wording;

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

/// What a choice of elements comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// The elements, each behind those that it needs where that is possible.
    pub elements: Vec<Element>,
    /// What was asked for or needed and is given, where it was first named, and why it is left out.
    pub given: Vec<(Spanned<String>, String)>,
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
    use crate::fault::Source;
    use crate::hooks::element::given;
    use crate::hooks::order::lines;

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
}
