//! Which packages elements ask for: `package-installs.yaml`, `package-installs.json`, and the older
//! `package-installs-ELEMENT` in the folder of a phase.
//!
//! The format is told in diskimage-builder's `elements/package-installs/README.rst`; what its readers make of it stands
//! in `package-installs-squash` beside it, which `tests/dialects.rs` compares with. A file is a map:
//!
//! ```yaml
//! libxml2:                        # nothing: installed with the rest of `install.d`
//! grub2: { phase: pre-install.d }
//! nano: { uninstall: true }       # removed when the phase is over
//! libssl-dev: { build-only: true }
//! dmidecode: { not-arch: "ppc64, ppc64le" }
//! linux-image-generic:            # more than one way to be asked for
//!   - { arch: amd64, when: DIB_KERNEL = generic }
//!   - { arch: arm64, when: [DIB_RELEASE != xenial, DIB_KERNEL = generic] }
//! ```
//!
//! It differs from its model where that has slips: `uninstall: false` and `build-only: false` mean what they say; blanks
//! around the commas of `arch` and `not-arch` do not count; an entry that does not apply here does not undo the
//! `uninstall` of another; what is never read (an unknown word, a phase in which nothing is installed) is told.

mod entry;
mod settle;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use settle::{outcomes, settle};

use self::entry::Entry;
use super::document::{self, Node, What};
use super::order::lines;
use super::phase::Phase;
use crate::fault::{Fault, Faults, Place, Severity, Source};
use crate::lang::Spanned;
use crate::wording;

/// What entries are held against.
#[derive(Clone, Debug)]
pub struct Conditions<'a> {
    /// The architecture's name in Debian: `amd64`.
    pub arch: &'a str,
    /// The variables that `when`, `dib_python_version` (`DIB_PYTHON_VERSION`) and the install types
    /// (`DIB_INSTALLTYPE_NAME`) are looked up in.
    pub variables: &'a BTreeMap<String, String>,
    /// The install type of elements for which no variable says another: `source` or `package`.
    pub install_type: &'a str,
}

/// A package that an element has a wish about.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Its name, which may have to be looked up in the element's `pkg-map`, and where it stands.
    pub package: Spanned<String>,
    /// The element.
    pub element: String,
    /// The phase: `pre-install`, `install` or `post-install`.
    pub phase: Phase,
    /// What is to become of it.
    pub outcome: Outcome,
}

/// What is to become of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It is not in the image when the phase is over, even if it was before.
    LeaveOut,
    /// It is there while the phase's scripts run, and not when the phase is over.
    BuildOnly,
    /// It is in the image.
    Install,
}

/// What a `package-installs.yaml` or `.json` of the element asks for here, in the order of the file. What is wrong in it
/// goes to `faults`, and so do warnings.
pub fn read(
    element: &str,
    source: &Arc<Source>,
    conditions: &Conditions<'_>,
    faults: &mut Faults,
) -> Vec<Wanted> {
    // Files of either name are tried as JSON first, as diskimage-builder does; the name says which fault to show.
    let document = match source.name.ends_with(".json") {
        true => document::either(source, faults).or_else(|_| document::json(source, faults)),
        false => document::either(source, faults),
    };
    let Some(document) = faults.keep(document) else { return Vec::new() };
    let entries = match document.what {
        What::Null => Vec::new(),
        What::Map(entries) => entries,
        _ => {
            let message = format!("{} cannot name packages", document.kind());
            faults.push(fault(message, &document.place, "a map of packages belongs here", FORM));
            Vec::new()
        }
    };
    let mut reader = Reader { element, conditions, faults, wanted: Vec::new() };
    for (package, node) in entries {
        reader.package(&package, node);
    }
    reader.wanted
}

/// What a `package-installs-ELEMENT` in the folder of a phase asks for: packages a line, `#` begins a line that does not
/// count, and `-` before the first is for those that go when the phase is over.
///
/// diskimage-builder installs those as well, and so they are [`Outcome::BuildOnly`]. It overlooks a last line that has no
/// line feed; here it counts.
pub fn read_legacy(element: &str, phase: Phase, source: &Arc<Source>, faults: &mut Faults) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for line in lines(source).filter(|line| !line.value.starts_with('#')) {
        let outcome = if line.value.starts_with('-') { Outcome::BuildOnly } else { Outcome::Install };
        let words = line.value.strip_prefix('-').unwrap_or(&line.value);
        let offset = line.value.len() - words.len();
        for word in words.split_whitespace() {
            let at = line.place.start + offset + (word.as_ptr() as usize - words.as_ptr() as usize);
            let package = Spanned::new(word.to_string(), &Place::new(source, at..at + word.len()));
            match misnamed(&package) {
                Some(fault) => faults.push(fault),
                None => wanted.push(Wanted { package, element: element.to_string(), phase, outcome }),
            }
        }
    }
    wanted
}

/// The element that a file of that name in the folder of a phase is from, if it is a list of packages.
pub fn legacy_element(file: &str) -> Option<&str> {
    file.strip_prefix("package-installs-").filter(|element| !element.is_empty())
}

const FORM: &str = "write `NAME:` for each package, and `NAME: { phase: pre-install.d }` to say more of it";

struct Reader<'a> {
    element: &'a str,
    conditions: &'a Conditions<'a>,
    faults: &'a mut Faults,
    wanted: Vec<Wanted>,
}

impl Reader<'_> {
    fn package(&mut self, package: &Spanned<String>, node: Node) {
        if let Some(fault) = misnamed(package) {
            self.faults.push(fault);
            return;
        }
        match node.what {
            What::List(list) if list.is_empty() => self.entry(package, &[]),
            What::List(list) => list.into_iter().for_each(|node| self.map(package, node)),
            _ => self.map(package, node),
        }
    }

    fn map(&mut self, package: &Spanned<String>, node: Node) {
        match node.what {
            What::Null => self.entry(package, &[]),
            What::Map(words) => self.entry(package, &words),
            _ => {
                let message = format!("{} says nothing of `{}`", node.kind(), package.value);
                self.faults.push(fault(message, &node.place, "a map belongs here, or nothing", FORM));
            }
        }
    }

    /// One way in which a package is asked for. All of its words are looked at, whether it applies here or not.
    fn entry(&mut self, package: &Spanned<String>, words: &[(Spanned<String>, Node)]) {
        let before = self.faults.list.len();
        let mut entry = Entry::default();
        for (word, node) in words {
            match entry.take(word, node) {
                Ok(()) => {}
                Err(fault) => self.faults.push(fault),
            }
        }
        if let (Some(_), Some(not)) = (&entry.arch, &entry.not_arch) {
            let message = format!("`{}` has both `arch` and `not-arch`", package.value);
            self.faults.push(fault(message, &not.place, "and this", "take one of them out"));
        }
        let slips = self.faults.list.get(before..).unwrap_or_default();
        if slips.iter().any(|fault| fault.severity == Severity::Error) {
            return;
        }
        match entry.applies(self.element, self.conditions) {
            Ok(true) => self.wanted.push(Wanted {
                package: package.clone(),
                element: self.element.to_string(),
                phase: entry.phase.unwrap_or(Phase::Install),
                outcome: entry.outcome(),
            }),
            Ok(false) => {}
            Err(fault) => self.faults.push(fault),
        }
    }
}

fn misnamed(package: &Spanned<String>) -> Option<Fault> {
    let name = &package.value;
    let unfit = |letter: char| letter.is_whitespace() || letter.is_control();
    if !name.is_empty() && !name.starts_with('-') && !name.contains(unfit) {
        return None;
    }
    let message = format!("`{}` is no name of a package", wording::printable(name));
    let help = match name.strip_prefix('-') {
        Some(name) if !name.is_empty() => format!("write `{name}: {{ uninstall: true }}` to have it removed"),
        _ => String::from(FORM),
    };
    Some(fault(message, &package.place, "a package belongs here", &help))
}

fn fault(message: String, place: &Place, label: &str, help: &str) -> Fault {
    Fault::error("hooks/package-installs", message).at(place, label).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> BTreeMap<String, String> {
        let pairs = [("KERNEL", "generic"), ("EMPTY", ""), ("DIB_PYTHON_VERSION", "3")];
        pairs.map(|(name, value)| (name.to_string(), value.to_string())).into()
    }

    fn asked(text: &str) -> (Vec<String>, Vec<String>) {
        let variables = variables();
        let conditions = Conditions { arch: "amd64", variables: &variables, install_type: "source" };
        let mut faults = Faults::new();
        let source = Source::new("e/package-installs.yaml", text);
        let wanted = settle(read("e", &source, &conditions, &mut faults));
        let faults =
            faults.into_iter().map(|fault| format!("{}: {fault}", fault.labels[0].place.line_column().0));
        (wanted.iter().map(told).collect(), faults.collect())
    }

    pub(super) fn told(wanted: &Wanted) -> String {
        format!("{} {:?} {}", wanted.package.value, wanted.outcome, wanted.phase.word())
    }

    #[test]
    fn entries_are_held_against_what_is_so_here() {
        let text = "\
            libxml2:\n\
            grub2: { phase: pre-install.d }\n\
            nano: { uninstall: True }\n\
            vim: { uninstall: False }\n\
            gcc: { build-only: yes }\n\
            a1: { arch: 'arm64,  amd64' }\n\
            a2: { not-arch: ppc64, }\n\
            a3: { not-arch: 'ppc64, amd64' }\n\
            t1: { installtype: source }\n\
            t2: { installtype: package }\n\
            p2: { dib_python_version: 2 }\n\
            p3: { dib_python_version: 3 }\n\
            w1: { when: KERNEL = generic }\n\
            w2: { when: KERNEL!=generic }\n\
            w3: { when: [KERNEL=generic, 'EMPTY = '] }\n\
            w4: [ { when: KERNEL = x }, { arch: amd64, phase: post-install.d } ]\n\
            e1: []\n\
            e2: {}\n";
        let expected = [
            "grub2 Install pre-install",
            "libxml2 Install install",
            "nano LeaveOut install",
            "vim Install install",
            "gcc BuildOnly install",
            "a1 Install install",
            "a2 Install install",
            "t1 Install install",
            "p3 Install install",
            "w1 Install install",
            "w3 Install install",
            "e1 Install install",
            "e2 Install install",
            "w4 Install post-install",
        ];
        assert_eq!(asked(text), (expected.map(String::from).to_vec(), vec![]));
        assert_eq!(asked(""), (vec![], vec![]));
    }

    #[test]
    fn every_bad_entry_is_told_with_its_line() {
        let text = "\
            ok:\n\
            -bad:\n\
            a: 1\n\
            b: { phase: instal.d }\n\
            c: { phase: finalise.d }\n\
            d: { uninstall: maybe }\n\
            e: { arch: amd64, not-arch: arm64 }\n\
            f: { when: KERNEL == x }\n\
            g: { when: KERNAL = x }\n\
            h: { when: KERNAL = x, arch: arm64 }\n\
            i: { arch: '' }\n\
            j: { installtype: git }\n\
            k: { uninstal: true }\n\
            l: [x]\n\
            ok:\n";
        let (wanted, faults) = asked(text);
        assert_eq!(wanted, ["ok Install install", "k Install install"]);
        assert_eq!(
            faults,
            [
                "15: `ok` stands here twice",
                "2: `-bad` is no name of a package",
                "3: a text says nothing of `a`",
                "4: no packages are installed in `instal.d`",
                "5: no packages are installed in `finalise.d`",
                "6: `uninstall` is true or false",
                "7: `e` has both `arch` and `not-arch`",
                "8: `KERNEL == x` compares nothing",
                "9: the variable `KERNAL` is not set",
                "11: `` names no architecture",
                "12: there is no install type `git`",
                "13: `uninstal` says nothing of a package",
                "14: a text says nothing of `l`",
            ]
        );
        assert_eq!(asked("- a\n").1, ["1: a list cannot name packages"]);
    }

    #[test]
    fn json_is_read_by_either_name_and_shows_its_own_faults() {
        let read = |name: &str, text: &str| {
            let variables = variables();
            let conditions = Conditions { arch: "amd64", variables: &variables, install_type: "source" };
            let mut faults = Faults::new();
            let wanted = read("e", &Source::new(name, text), &conditions, &mut faults);
            let faults: Vec<String> = faults.into_iter().map(|fault| fault.message).collect();
            (wanted.iter().map(told).collect::<Vec<_>>(), faults)
        };
        let json = "{\n\t\"a\": null,\n\t\"b\": {\"uninstall\": true}\n}";
        let expected = ["a Install install", "b LeaveOut install"].map(String::from).to_vec();
        assert_eq!(read("package-installs.json", json), (expected.clone(), vec![]));
        assert_eq!(read("package-installs.yaml", json), (expected, vec![]));
        let (_, faults) = read("package-installs.json", "{\"a\": null \"b\": 1}");
        assert_eq!(faults, ["this is no JSON: expected `,` or `}`"]);
    }

    #[test]
    fn older_lists_are_lines() {
        let source = Source::new("l", "# x\n\n curl\n-gcc make\nlast");
        let mut faults = Faults::new();
        let wanted = read_legacy("e", Phase::PostInstall, &source, &mut faults);
        assert_eq!(
            wanted.iter().map(told).collect::<Vec<_>>(),
            [
                "curl Install post-install",
                "gcc BuildOnly post-install",
                "make BuildOnly post-install",
                "last Install post-install"
            ]
        );
        assert!(wanted.iter().all(|wanted| wanted.package.place.text() == wanted.package.value));
        assert!(faults.list.is_empty());
        read_legacy("e", Phase::Install, &Source::new("l", "a -b"), &mut faults);
        assert_eq!(faults.list.len(), 1);
        assert_eq!(legacy_element("package-installs-nova"), Some("nova"));
        assert_eq!(legacy_element("package-installs-"), None);
    }
}
