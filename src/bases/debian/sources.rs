//! From what a base says to the sources that its packages are chosen from.

use std::fmt::Write as _;

use super::{Mirror, Spec, words};
use crate::deb::{Source, Wish};
use crate::fault::Fault;

impl Spec {
    /// Where its packages come from, the base's own suite first; `host` are those of the machine's apt, for want of mirrors.
    ///
    /// A suite that a wish names, and no mirror lists, is taken from the mirrors that have the base's own suite. The
    /// components are the manifest's own in any case, so that the machine has no say in what is chosen from.
    ///
    /// # Errors
    ///
    /// No mirror is known, or none of those that are has the base's suite.
    pub fn sources(&self, host: &[Source], wishes: &[Wish]) -> Result<Vec<Source>, Fault> {
        let mut sources: Vec<Source> = Vec::new();
        for mirror in &self.mirrors {
            let suites = mirror.suites_of(&self.distribution, &self.suite.value);
            suites.into_iter().for_each(|suite| add(&mut sources, self.source(suite, mirror)));
        }
        if self.mirrors.is_empty() {
            host.iter().for_each(|source| add(&mut sources, self.hosts(source)));
        }
        if sources.is_empty() {
            return Err(self.no_mirror());
        }
        let own = sources.iter().position(|source| source.suite == self.suite.value);
        let Some(own) = own else { return Err(self.no_suite()) };
        sources[..=own].rotate_right(1);
        for suite in wishes.iter().filter_map(|wish| wish.suite.as_ref().map(|suite| &suite.value)) {
            if sources.iter().chain(&self.repositories).any(|source| source.suite == *suite) {
                continue;
            }
            let name = format!("{} {suite}", archive(&self.distribution, suite));
            let main = sources[0].clone();
            sources.push(Source { name, suite: suite.clone(), ..main });
        }
        sources.extend(self.repositories.iter().cloned());
        Ok(sources)
    }

    /// What the image's own apt is to fetch from (sources.list(5), deb822): the mirrors that the manifest itself names.
    /// Those of a host or of a user's configuration stay out of images.
    pub fn sources_file(&self) -> Option<String> {
        let mut text = String::new();
        for mirror in self.mirrors.iter().filter(|_| self.states_mirrors) {
            let suites = mirror.suites_of(&self.distribution, &self.suite.value).join(" ");
            let (urls, components) = (mirror.urls.join(" "), self.components.join(" "));
            let _ = write!(text, "Types: deb\nURIs: {urls}\nSuites: {suites}\nComponents: {components}\n");
            let _ =
                write!(text, "Signed-By: /usr/share/keyrings/{}-archive-keyring.gpg\n\n", self.distribution);
        }
        (!text.is_empty()).then_some(text)
    }

    /// Where a file is looked for that no mirror of its source has any more; `suite` is that of the source.
    pub fn snapshot_urls(&self, suite: &str) -> Vec<String> {
        let of = |suite: &str| -> Vec<String> {
            let has = |mirror: &&Mirror| {
                mirror.suites_of(&self.distribution, &self.suite.value).iter().any(|other| other == suite)
            };
            self.snapshots.iter().filter(has).flat_map(|mirror| mirror.urls.clone()).collect()
        };
        let exact = of(suite);
        let repository = self.repositories.iter().any(|source| source.suite == suite);
        // What is in no list is in the main archive, as for mirrors.
        if exact.is_empty() && !repository { of(&self.suite.value) } else { exact }
    }

    fn source(&self, suite: String, mirror: &Mirror) -> Source {
        Source {
            name: format!("{} {suite}", archive(&self.distribution, &suite)),
            mirrors: mirror.urls.clone(),
            suite,
            components: self.components.clone(),
            keyring: self.keyring.clone(),
            check_valid_until: self.check_valid_until,
            place: mirror.place.clone(),
        }
    }

    /// A source of the host, as far as the manifest does not say otherwise.
    fn hosts(&self, source: &Source) -> Source {
        Source {
            components: self.components.clone(),
            keyring: self.keyring.clone().or_else(|| source.keyring.clone()),
            check_valid_until: self.check_valid_until && source.check_valid_until,
            ..source.clone()
        }
    }

    fn no_mirror(&self) -> Fault {
        let name = &self.distribution;
        Fault::error("mirror/none", format!("no mirror of {name} is known"))
            .at(&self.place, "fetched from nowhere")
            .help(format!(
                "name one in the block of a base, `mirror \"http://HOST/{name}\"`, or for all projects in \
                 `imgbuild/config.kdl` of the folder for configuration: `base \"{name}\" {{ mirror \"…\" }}`"
            ))
    }

    fn no_suite(&self) -> Fault {
        let suite = &self.suite.value;
        let fault = Fault::error("mirror/suite", format!("no mirror has the suite `{suite}` itself"))
            .at(&self.suite.place, "asked for here");
        let first = self.mirrors.iter().find_map(|mirror| mirror.place.as_ref());
        let fault = match first {
            Some(place) => fault.at(place, "only the suites of its block are taken from here"),
            None => fault,
        };
        fault.help("add a `mirror` without `suites`, or one with `suites \"*\"`")
    }
}

/// Adds a source; one of a suite that is there already is more mirrors of it.
fn add(sources: &mut Vec<Source>, source: Source) {
    let Some(known) = sources.iter_mut().find(|known| known.suite == source.suite) else {
        return sources.push(source);
    };
    for url in source.mirrors {
        if !known.mirrors.contains(&url) {
            known.mirrors.push(url);
        }
    }
}

impl Mirror {
    /// Its suites, for a base made from `suite`.
    pub fn suites_of(&self, distribution: &str, suite: &str) -> Vec<String> {
        let stated: Vec<&str> = self.suites.iter().map(String::as_str).collect();
        let patterns =
            if stated.is_empty() { words::suites_of(distribution, suite).to_vec() } else { stated };
        patterns.into_iter().map(|pattern| pattern.replace('*', suite)).collect()
    }
}

/// What Debian calls the archive that has this suite.
fn archive(distribution: &str, suite: &str) -> String {
    let security = suite.ends_with("-security") || suite.ends_with("/updates");
    if distribution == "debian" && security { "debian-security".into() } else { distribution.into() }
}
