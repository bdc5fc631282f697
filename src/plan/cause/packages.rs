//! Causes of a set of packages: which came, which went, which are others.

use std::collections::{BTreeMap, BTreeSet};

use super::Cause;
use crate::key;
use crate::steps::deb;

/// The fact of a cause that is a package, whose text says all.
pub const PACKAGE: &str = "package";

/// How many are told one by one.
const MOST: usize = 8;

/// Whether the step of that id is a package.
pub(super) fn is_one(id: &str) -> bool {
    read(id).is_some()
}

/// Name and architecture, and the version, of `deb:NAME_VERSION_ARCH`; a number behind it tells files apart.
fn read(id: &str) -> Option<((&str, &str), &str)> {
    let id = id.strip_prefix(deb::KIND)?.strip_prefix(':')?;
    let id = id.split_once('#').map_or(id, |(id, _)| id);
    let (rest, arch) = id.rsplit_once('_')?;
    let (name, version) = rest.split_once('_')?;
    Some(((name, arch), version))
}

/// What has become of the packages of a stack: `curl 1 → 2`, `+ curl 2`, `- nano 1`.
pub(super) fn of_stack(was: &[String], now: &[&str]) -> Vec<Cause> {
    let before: BTreeSet<&str> = was.iter().map(String::as_str).collect();
    let after: BTreeSet<&str> = now.iter().copied().collect();
    type Sides<'a> = [Option<(&'a str, &'a str)>; 2];
    let mut changed: BTreeMap<(&str, &str), Sides<'_>> = BTreeMap::new();
    for (side, ids) in [before.difference(&after), after.difference(&before)].into_iter().enumerate() {
        for id in ids {
            if let Some((package, version)) = read(id) {
                changed.entry(package).or_default()[side] = Some((*id, version));
            }
        }
    }
    let tell = |((name, _), [was, now]): ((&str, &str), Sides<'_>)| {
        let text = match (was.map(|was| was.1), now.map(|now| now.1)) {
            (Some(was), Some(now)) if was == now => format!("{name} {now} is another file"),
            (Some(was), Some(now)) => format!("{name} {was} → {now}"),
            (None, Some(now)) => format!("+ {name} {now}"),
            (Some(was), None) => format!("- {name} {was}"),
            (None, None) => name.to_string(),
        };
        let id = |side: Option<(&str, &str)>| side.map(|(id, _)| id.to_string());
        Cause::of(PACKAGE, id(was), id(now), &text)
    };
    changed.into_iter().map(tell).collect()
}

/// Packages that are asked for now, or no more, by name; of the difference of facts `NAME ARCH, NAME ARCH …` about
/// those that only came along.
pub(super) fn of_asking(change: &key::Change) -> Vec<(String, Cause)> {
    let names = |side: &Option<String>| -> Vec<String> {
        let facts = side.iter().flat_map(|side| side.split(", "));
        facts.map(|fact| fact.split(' ').next().unwrap_or(fact).to_string()).collect()
    };
    let cause = |name: String, text: &str| {
        let text = format!("{name} {text}");
        (name, Cause::of(PACKAGE, None, None, &text))
    };
    let asked = names(&change.was).into_iter().map(|name| cause(name, "is asked for now"));
    let along = names(&change.now).into_iter().map(|name| cause(name, "only comes along now"));
    asked.chain(along).collect()
}

/// Whether the package of that name is not the same in both stacks.
pub(super) fn is_changed(name: &str, was: &[String], now: &[&str]) -> bool {
    let is_called = |id: &&str| read(id).is_some_and(|((other, _), _)| other == name);
    let before: BTreeSet<&str> = was.iter().map(String::as_str).filter(is_called).collect();
    let after: BTreeSet<&str> = now.iter().copied().filter(is_called).collect();
    before != after
}

/// As many as can be taken in, and how many more there are.
pub(super) fn limited(causes: impl ExactSizeIterator<Item = Cause>) -> Vec<Cause> {
    let more = causes.len().saturating_sub(MOST);
    let mut causes: Vec<Cause> = causes.collect();
    let Some(next) = causes.get(MOST).cloned() else { return causes };
    causes.truncate(MOST);
    let text = format!("and {} more {}", more, crate::wording::plural(more, "package"));
    causes.push(Cause { was: None, now: None, text, ..next });
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_read_well_and_not_all_of_them() {
        let was = ["deb:curl_1_amd64", "deb:nano_1.0-2_amd64", "deb:same_1_all", "base:x"].map(String::from);
        let now = ["deb:curl_2_amd64", "deb:vim_9~x_amd64", "deb:same_1_all#2", "base:y"];
        let texts: Vec<String> = of_stack(&was, &now).into_iter().map(|cause| cause.text).collect();
        assert_eq!(texts, ["curl 1 → 2", "- nano 1.0-2", "same 1 is another file", "+ vim 9~x"]);
        assert!(is_changed("curl", &was, &now) && !is_changed("other", &was, &now));
        let many: Vec<String> = (0..20).map(|number| format!("deb:p{number:02}_1_all")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let told = limited(of_stack(&[], &many).into_iter());
        assert_eq!(told.len(), 9);
        assert_eq!((told[7].text.as_str(), told[8].text.as_str()), ("+ p07 1", "and 12 more packages"));
    }

    #[test]
    fn who_asked_is_told_by_name() {
        let change = key::Change {
            fact: "automatic".into(),
            was: Some("curl amd64".into()),
            now: Some("a all, b all".into()),
        };
        let texts: Vec<String> = of_asking(&change).into_iter().map(|(_, cause)| cause.text).collect();
        assert_eq!(texts, ["curl is asked for now", "a only comes along now", "b only comes along now"]);
    }
}
