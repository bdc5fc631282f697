//! `base "debian"` and `base "ubuntu"`: what they say. What it means is planned elsewhere.
//!
//! Both are Debian's archive format, so they have the same fields; what differs is which components and suites hold
//! where nothing is said.

mod sources;
mod words;

use std::path::{Path, PathBuf};

pub use words::MIRROR;
pub(super) use words::{DEBIAN, UBUNTU};

use crate::deb::{Source, Variant, own_arch};
use crate::fault::{Fault, Faults, Place};
use crate::lang::field::package::is_suite;
use crate::lang::{Node, Spanned};
use crate::wording;
use crate::work::Folders;

/// A base of Debian's kind, as a manifest states it.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The `base` node.
    pub place: Place,
    /// `debian` or `ubuntu`.
    pub distribution: String,
    /// The suite that it is made from.
    pub suite: Spanned<String>,
    /// The architecture, as Debian names it.
    pub arch: String,
    /// How much it has before anything is asked for.
    pub variant: Variant,
    /// The components, in the order of the text.
    pub components: Vec<String>,
    /// Mirrors: the manifest's own, else those of the user's configuration; none if neither names one.
    pub mirrors: Vec<Mirror>,
    /// Whether those are the manifest's own.
    pub states_mirrors: bool,
    /// Archives that keep what mirrors have given up.
    pub snapshots: Vec<Mirror>,
    /// Archives of others, with their own keys.
    pub repositories: Vec<Source>,
    /// An HTTP proxy.
    pub proxy: Option<String>,
    /// The key file that must have signed the mirrors' suites, absolute; without it, the distribution's own keys.
    pub keyring: Option<PathBuf>,
    /// Whether a mirror that lags behind its own date is refused.
    pub check_valid_until: bool,
}

/// Mirrors of one archive, and the suites that are taken from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// URLs without a slash at the end; any of them will do.
    pub urls: Vec<String>,
    /// The suites; `*` stands for the base's own. None for those that the distribution has in its main archive.
    pub suites: Vec<String>,
    /// Where it is named.
    pub place: Option<Place>,
}

impl Mirror {
    fn has_all_suites(&self) -> bool {
        self.suites.is_empty()
    }
}

/// What the user's configuration says of a distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// `debian` or `ubuntu`.
    pub distribution: String,
    /// Its mirrors.
    pub mirrors: Vec<Mirror>,
    /// An HTTP proxy.
    pub proxy: Option<String>,
}

impl Defaults {
    /// What a `base` node of the user's configuration says; none if that is nothing.
    pub fn of(node: &Node, faults: &mut Faults) -> Option<Defaults> {
        Some(Defaults {
            distribution: node.kind?.name.to_string(),
            mirrors: mirrors(node, words::MIRROR.name, faults),
            proxy: node.text("proxy").map(|proxy| proxy.value),
        })
    }
}

/// What a `base` node of these kinds says; `defaults` hold where it says nothing.
pub(super) fn decode(
    node: &Node,
    folders: &Folders,
    defaults: &[Defaults],
    faults: &mut Faults,
) -> Option<Spec> {
    let distribution = node.kind?.name;
    let defaults = defaults.iter().find(|defaults| defaults.distribution == distribution);
    let mut own = mirrors(node, words::MIRROR.name, faults);
    let states_mirrors = !own.is_empty();
    if own.is_empty() {
        own = defaults.map(|defaults| defaults.mirrors.clone()).unwrap_or_default();
    }
    let proxy = node.text("proxy").map(|proxy| proxy.value);
    Some(Spec {
        place: node.place.clone(),
        distribution: distribution.to_string(),
        suite: node.text("suite")?,
        arch: node.text("arch").map_or_else(|| own_arch().to_string(), |arch| arch.value),
        variant: variant(node),
        components: components(node).unwrap_or_else(|| words::components_of(distribution)),
        mirrors: own,
        states_mirrors,
        snapshots: mirrors(node, words::SNAPSHOT.name, faults),
        repositories: repositories(node, folders, faults),
        proxy: proxy.or_else(|| defaults.and_then(|defaults| defaults.proxy.clone())),
        keyring: keyring(node, folders, faults),
        check_valid_until: node.maybe_flag("check-valid-until").unwrap_or(true),
    })
}

/// What the programs come from that outputs are written with: the first suite whose erofs-utils reads tars.
const TOOLS: (&str, &str) = ("debian", "trixie");

/// Whether the mirrors that a base states have what [`of_tools`] needs, too.
pub fn has_tools(spec: &Spec) -> bool {
    spec.distribution == TOOLS.0 && spec.states_mirrors && spec.mirrors.iter().any(Mirror::has_all_suites)
}

/// The base of the programs that outputs are written with, asked for at `place`: the same for every image. Its mirrors are
/// those of `like`, else those of the user's configuration.
pub fn of_tools(place: &Place, like: Option<&Spec>, defaults: &[Defaults]) -> Spec {
    let (distribution, suite) = TOOLS;
    let whole = like.iter().flat_map(|spec| &spec.mirrors).filter(|mirror| mirror.has_all_suites());
    let mut mirrors: Vec<Mirror> = whole.cloned().collect();
    let defaults = defaults.iter().find(|defaults| defaults.distribution == distribution);
    if mirrors.is_empty() {
        mirrors = defaults.map(|defaults| defaults.mirrors.clone()).unwrap_or_default();
    }
    let proxy = like.and_then(|spec| spec.proxy.clone());
    Spec {
        place: place.clone(),
        distribution: distribution.to_string(),
        suite: Spanned::new(suite.to_string(), place),
        arch: own_arch().to_string(),
        variant: Variant::Essential,
        components: vec!["main".to_string()],
        mirrors,
        states_mirrors: false,
        snapshots: like.map(|spec| spec.snapshots.clone()).unwrap_or_default(),
        repositories: Vec::new(),
        proxy: proxy.or_else(|| defaults.and_then(|defaults| defaults.proxy.clone())),
        keyring: like.and_then(|spec| spec.keyring.clone()),
        check_valid_until: like.is_none_or(|spec| spec.check_valid_until),
    }
}

fn variant(node: &Node) -> Variant {
    match node.text("variant").map(|variant| variant.value).as_deref() {
        Some("essential") => Variant::Essential,
        Some("standard") => Variant::Standard,
        Some("buildd") => Variant::Buildd,
        _ => Variant::Minbase,
    }
}

/// The name of a variant in a manifest.
pub fn variant_name(variant: Variant) -> &'static str {
    match variant {
        Variant::Essential => "essential",
        Variant::Minbase => "minbase",
        Variant::Standard => "standard",
        Variant::Buildd => "buildd",
    }
}

fn components(node: &Node) -> Option<Vec<String>> {
    let names = node.child("components")?.texts("name");
    let names: Vec<String> = names.into_iter().map(|name| name.value).collect();
    (!names.is_empty()).then_some(names)
}

fn mirrors(node: &Node, word: &str, faults: &mut Faults) -> Vec<Mirror> {
    let mut mirrors = Vec::new();
    for child in node.children(word) {
        let urls: Vec<String> = child.texts("url").into_iter().map(|url| without_slash(&url.value)).collect();
        let suites: Vec<Spanned<String>> =
            child.child("suites").map(|suites| suites.texts("suite")).unwrap_or_default();
        let fitting = suites.iter().filter(|suite| suite_fits(suite, true, faults));
        let suites: Vec<String> = fitting.map(|suite| suite.value.clone()).collect();
        if !urls.is_empty() {
            mirrors.push(Mirror { urls, suites, place: Some(child.place.clone()) });
        }
    }
    mirrors
}

fn repositories(node: &Node, folders: &Folders, faults: &mut Faults) -> Vec<Source> {
    let mut repositories: Vec<Source> = Vec::new();
    for child in node.children(words::REPOSITORY.name) {
        let Some(repository) = repository(child, folders, faults) else { continue };
        let first = repositories.iter().find(|other| other.name == repository.name);
        if let Some(place) = first.and_then(|first| first.place.as_ref()) {
            faults.push(
                Fault::error(
                    "repository/twice",
                    format!("two repositories are called `{}`", repository.name),
                )
                .at(&child.place, "again")
                .at(place, "first here")
                .help("a repository with several suites is one of each, with names that tell them apart"),
            );
            continue;
        }
        repositories.push(repository);
    }
    repositories
}

fn repository(node: &Node, folders: &Folders, faults: &mut Faults) -> Option<Source> {
    let (name, url, suite) = (node.text("name")?, node.text("url")?, node.text("suite")?);
    if !suite_fits(&suite, false, faults) {
        return None;
    }
    let flat = suite.value.ends_with('/');
    let stated = components(node);
    if let Some(place) = node.child("components").map(|child| &child.place).filter(|_| flat) {
        faults.push(
            Fault::error(
                "repository/flat",
                "a suite that ends with a slash is a folder, and has no components",
            )
            .at(place, "these components")
            .at(&suite.place, "a flat repository")
            .help("remove the components, or the slash"),
        );
    }
    let main = if flat { Vec::new() } else { vec![String::from("main")] };
    Some(Source {
        name: name.value,
        mirrors: vec![without_slash(&url.value)],
        suite: suite.value,
        components: stated.unwrap_or(main),
        keyring: keyring(node, folders, faults),
        check_valid_until: node.maybe_flag("check-valid-until").unwrap_or(true),
        place: Some(node.place.clone()),
    })
}

/// The key file that a node names; a fault if it is not there.
fn keyring(node: &Node, folders: &Folders, faults: &mut Faults) -> Option<PathBuf> {
    let stated = node.text("keyring")?;
    let path = folders.path(&stated);
    if !Path::is_file(&path) {
        faults.push(
            Fault::error(
                "keyring/missing",
                format!("there is no key file `{}`", wording::printable(&stated.value)),
            )
            .at(&stated.place, "named here")
            .help("put the archive's public key there, as it is published (binary or armored); a path starts at the folder of this file"),
        );
    }
    Some(path)
}

fn suite_fits(suite: &Spanned<String>, wild: bool, faults: &mut Faults) -> bool {
    let text = if wild { suite.value.replacen('*', "x", 1) } else { suite.value.clone() };
    let fits = is_suite(&text);
    if !fits {
        let help = if wild { "; `*` stands for the base's own" } else { "" };
        faults.push(
            Fault::error("suite/unfit", format!("`{}` is not a suite", wording::printable(&suite.value)))
                .at(&suite.place, "a suite belongs here")
                .help(format!(
                    "a suite is called as in the archive: `\"trixie\"`, `\"trixie-security\"`{help}"
                )),
        );
    }
    fits
}

fn without_slash(url: &str) -> String {
    url.trim_end_matches('/').to_string()
}

#[cfg(test)]
mod tests;
