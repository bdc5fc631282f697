//! Names that nothing stands behind, told all at once and before apt is asked.

use crate::deb::Wish;
use crate::deb::universe::Universe;
use crate::fault::{Fault, Faults};
use crate::wording;

/// What is wrong with the wishes, as far as the indexes tell.
pub(super) fn wishes(
    wishes: &[Wish],
    arch: &str,
    universe: &Universe,
    suites: &[String],
) -> Result<(), Faults> {
    let mut faults = Faults::new();
    for wish in wishes {
        faults.extend(
            foreign(wish, arch)
                .or_else(|| name(wish, universe))
                .or_else(|| version(wish, universe))
                .or_else(|| suite(wish, suites)),
        );
    }
    if faults.has_errors() { Err(faults) } else { Ok(()) }
}

/// An image has packages of one architecture.
fn foreign(wish: &Wish, arch: &str) -> Option<Fault> {
    let (name, other) = wish.name.value.split_once(':')?;
    if [arch, "all", "native", "any"].contains(&other) {
        return None;
    }
    let message = format!("`{name}` is wanted for `{other}`, and this image is for `{arch}`");
    Some(
        Fault::error("packages/arch", message)
            .at(&wish.name.place, "asked for here")
            .help(format!("write `{name}`; an image for `{other}` has a base with `arch=\"{other}\"`")),
    )
}

fn name(wish: &Wish, universe: &Universe) -> Option<Fault> {
    let stated = wish.name.value.as_str();
    if let Some(task) = stated.strip_suffix('^') {
        let tasks = universe.tasks();
        if tasks.contains_key(task) {
            return None;
        }
        let near = wording::nearest(task, tasks.keys().copied());
        let fault = Fault::error("packages/unknown", format!("there is no task `{task}`"));
        return Some(helped(
            fault.at(&wish.name.place, "asked for here"),
            near.map(|near| format!("{near}^")),
        ));
    }
    let plain = stated.split(':').next().unwrap_or(stated);
    if universe.newest(plain).is_some() {
        return None;
    }
    let providers: Vec<&str> = universe.providers(plain).map(|package| package.name()).collect();
    if providers.is_empty() {
        let near = wording::nearest(plain, universe.names()).map(str::to_string);
        let message = format!("there is no package `{plain}`");
        return Some(helped(
            Fault::error("packages/unknown", message).at(&wish.name.place, "asked for here"),
            near,
        ));
    }
    let mut names = providers;
    names.sort_unstable();
    names.dedup();
    if names.len() < 2 || wish.out {
        return None;
    }
    let message = format!(
        "`{plain}` is no package but something that {} provide",
        wording::count(names.len(), "package")
    );
    let shown = wording::all(names.iter().take(8));
    Some(
        Fault::error("packages/virtual", message)
            .at(&wish.name.place, "asked for here")
            .help(format!("name one of them: {shown}")),
    )
}

fn helped(fault: Fault, near: Option<String>) -> Fault {
    match near {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault.help("see what the suite and its components have, or add another `repository`"),
    }
}

fn version(wish: &Wish, universe: &Universe) -> Option<Fault> {
    let stated = wish.version.as_ref()?;
    let plain = wish.name.value.split(':').next()?;
    let mut versions: Vec<&str> = universe.by_name(plain).map(|package| package.version()).collect();
    versions.dedup();
    if versions.iter().any(|version| fits(version, &stated.value)) {
        return None;
    }
    let message = format!("`{plain}` cannot be had in version `{}`", stated.value);
    let there = wording::all(versions.iter().take(6));
    Some(
        Fault::error("packages/version", message)
            .at(&stated.place, "this version")
            .help(format!("there is {there}; `*` stands for any end of a version")),
    )
}

/// Whether the version is the one that is stated, whose `*` stand for anything.
fn fits(version: &str, stated: &str) -> bool {
    let Some((start, rest)) = stated.split_once('*') else { return version == stated };
    let Some(left) = version.strip_prefix(start) else { return false };
    rest.is_empty() || left.char_indices().any(|(at, _)| fits(&left[at..], rest))
}

fn suite(wish: &Wish, suites: &[String]) -> Option<Fault> {
    let stated = wish.suite.as_ref()?;
    if suites.contains(&stated.value) {
        return None;
    }
    let known = wording::all(suites.iter().map(String::as_str));
    Some(
        Fault::error("packages/suite", format!("no source has the suite `{}`", stated.value))
            .at(&stated.place, "this suite")
            .help(format!("there is {known}")),
    )
}
