//! dpkg's database as it is after unpacking.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Below, Order, Package, merged_usr};
use crate::layer::EntryPath;

/// The files of dpkg's database (path below the root, content) that say that `packages` are unpacked on top of `below`;
/// the packages that `order` leaves to dpkg are not among them. The files of one package alone are in its layer.
pub fn database(packages: &[Package], order: &Order, below: &Below) -> BTreeMap<String, String> {
    let placed: Vec<&Package> = order.layers.iter().filter_map(|number| packages.get(*number)).collect();
    let mut files = BTreeMap::new();
    files.insert("var/lib/dpkg/info/format".to_string(), "1\n".to_string());
    files.insert("var/lib/dpkg/status".to_string(), status(&below.status, &placed));
    for (name, text) in triggers(&placed, below) {
        files.insert(format!("var/lib/dpkg/triggers/{name}"), text);
    }
    for (name, text) in lists(packages, order, below) {
        files.insert(format!("var/lib/dpkg/info/{name}.list"), text);
    }
    files
}

/// dpkg's own order of fields (its `lib/dpkg/parse.c`); others follow in theirs.
const FIELDS: [&str; 22] = [
    "Package",
    "Essential",
    "Protected",
    "Status",
    "Priority",
    "Section",
    "Installed-Size",
    "Origin",
    "Maintainer",
    "Bugs",
    "Architecture",
    "Multi-Arch",
    "Source",
    "Version",
    "Replaces",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Conflicts",
];

/// The rest of that order, of which `Conffiles` is no field of a package's own.
const LAST_FIELDS: [&str; 3] = ["Enhances", "Conffiles", "Description"];

/// Fields that stand in an index, or in dpkg's database, but not in what a package says of itself.
const NOT_KEPT: [&str; 6] = ["Filename", "Size", "MD5sum", "SHA256", "Triggers-Pending", "Triggers-Awaited"];

const RELATIONS: [&str; 9] = [
    "Replaces",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Conflicts",
    "Enhances",
];

/// The stanzas of `below` and of `packages`, by name and architecture, as dpkg sorts them.
fn status(below: &str, packages: &[&Package]) -> String {
    let mut stanzas: BTreeMap<(String, String), String> = BTreeMap::new();
    for stanza in below.split("\n\n").map(|stanza| stanza.trim_matches('\n')).filter(|text| !text.is_empty())
    {
        let field = |name: &str| {
            let line = stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_string()
        };
        stanzas.insert((field("Package"), field("Architecture")), format!("{stanza}\n"));
    }
    for package in packages {
        stanzas.insert((package.name().to_string(), package.arch().to_string()), stanza(package));
    }
    stanzas.into_values().map(|stanza| stanza + "\n").collect()
}

fn stanza(package: &Package) -> String {
    let mut text = String::new();
    for name in FIELDS.iter().chain(&LAST_FIELDS) {
        let value = match *name {
            "Status" => Some("install ok unpacked".to_string()),
            "Conffiles" => conffiles(package),
            name if RELATIONS.contains(&name) => package.control.field(name).map(relations),
            "Essential" | "Protected" => {
                package.control.field(name).filter(|value| *value == "yes").map(Into::into)
            }
            "Multi-Arch" => package.control.field(name).filter(|value| *value != "no").map(Into::into),
            name => package.control.field(name).map(Into::into),
        };
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            field(&mut text, name, &value);
        }
    }
    for (name, value) in package.control.fields() {
        let mut done = FIELDS.iter().chain(&LAST_FIELDS).chain(&NOT_KEPT);
        if !value.is_empty() && !done.any(|known| known.eq_ignore_ascii_case(name)) {
            field(&mut text, name, value);
        }
    }
    text
}

fn field(text: &mut String, name: &str, value: &str) {
    let blank = if value.starts_with('\n') { "" } else { " " };
    let _ = writeln!(text, "{name}:{blank}{value}");
}

/// Each with the word that stands for a digest until the package is configured.
fn conffiles(package: &Package) -> Option<String> {
    let mut value = String::new();
    for (path, goes) in package.conffiles() {
        let goes = if goes { " remove-on-upgrade" } else { "" };
        let _ = write!(value, "\n {path} newconffile{goes}");
    }
    (!value.is_empty()).then_some(value)
}

/// `a (>= 1) | b, c`, with blanks as dpkg sets them.
fn relations(value: &str) -> String {
    let one = |text: &str| {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        match text.split_once('(') {
            None => text,
            Some((name, version)) => {
                let version = version.trim_end_matches(')').trim();
                let end = version.find(|letter| !"<>=".contains(letter)).unwrap_or_default();
                let (operator, version) = version.split_at(end);
                format!("{} ({operator} {})", name.trim(), version.trim())
            }
        }
    };
    let alternatives = |text: &str| text.split('|').map(one).collect::<Vec<_>>().join(" | ");
    let relations = value.split(',').filter(|text| !text.trim().is_empty());
    relations.map(alternatives).collect::<Vec<_>>().join(", ")
}

/// Who is interested in what (deb-triggers(5)), and which of those that are configured have something to do.
fn triggers(packages: &[&Package], below: &Below) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut change = |name: &str, line: String| {
        let text = files
            .entry(name.to_string())
            .or_insert_with(|| below.triggers.get(name).cloned().unwrap_or_default());
        if !text.lines().any(|there| there == line) {
            *text += &format!("{line}\n");
        }
    };
    for package in packages {
        for (word, trigger) in package.trigger_lines() {
            let ending = match word {
                "interest" | "interest-await" => "",
                "interest-noawait" => "/noawait",
                _ => continue,
            };
            let who = format!("{}{ending}", package.control.database_name());
            if trigger.starts_with('/') {
                change("File", format!("{trigger} {who}"));
            } else if is_trigger(trigger) {
                change(trigger, who);
            }
        }
    }
    for trigger in activated(packages, below) {
        change("Unincorp", format!("{trigger} -"));
    }
    files
}

/// Whether the name of a trigger can be that of a file in the folder of triggers.
fn is_trigger(name: &str) -> bool {
    !name.starts_with('.')
        && !["File", "Lock", "Unincorp"].contains(&name)
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._:".contains(&byte))
}

/// Triggers of configured packages that unpacking `packages` sets off.
fn activated(packages: &[&Package], below: &Below) -> BTreeSet<String> {
    let mut activated = BTreeSet::new();
    for package in packages {
        for (word, trigger) in package.trigger_lines() {
            if word.starts_with("activate") && below.triggers.contains_key(trigger) {
                activated.insert(trigger.to_string());
            }
        }
    }
    let interests = below.triggers.get("File").map(String::as_str).unwrap_or_default();
    let interests = interests.lines().filter_map(|line| line.split_once(' '));
    for (trigger, _) in interests {
        let Ok(folder) = EntryPath::parse(trigger) else { continue };
        let folder = merged_usr(&folder);
        let paths = || packages.iter().flat_map(|package| &package.paths);
        if paths().any(|(path, _)| merged_usr(path).below(&folder).is_some()) {
            activated.insert(trigger.to_string());
        }
    }
    activated
}

/// The lists of packages that lost files to others that replace them.
fn lists(packages: &[Package], order: &Order, below: &Below) -> BTreeMap<String, String> {
    let mut lists = BTreeMap::new();
    for package in packages.iter().chain(&below.packages) {
        let Some(lost) = order.lost.get(&package.control.database_name()) else { continue };
        let mut text = String::new();
        for (path, _) in package.paths.iter().filter(|(path, _)| !lost.contains(&merged_usr(path))) {
            let path = if path.is_root() { ".".into() } else { String::from_utf8_lossy(path.as_bytes()) };
            let _ = writeln!(text, "/{path}");
        }
        lists.insert(package.control.database_name(), text);
    }
    lists
}
