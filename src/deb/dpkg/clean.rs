//! What running dpkg leaves behind that is no part of an image.

/// What becomes of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clean {
    /// It goes, with what is in it.
    Remove,
    /// The directory stays, what is in it goes.
    Contents,
    /// If it is there, it stays as an empty file.
    Empty,
}

/// A path that is cleaned away after packages were configured.
#[derive(Clone, Copy, Debug)]
pub struct Cleaned {
    /// Relative to the root; `*` stands for any part of a last component.
    pub path: &'static str,
    /// What becomes of it.
    pub clean: Clean,
    /// Why it is no part of the image.
    pub why: &'static str,
}

impl Cleaned {
    /// Whether it is about `path` (relative to the root): for [`Clean::Contents`], about what is in it.
    pub fn matches(&self, path: &[u8]) -> bool {
        let pattern = self.path.as_bytes();
        let inside = |folder: &[u8]| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/"));
        match self.clean {
            Clean::Contents => inside(pattern),
            Clean::Empty => path == pattern,
            Clean::Remove => match pattern.iter().position(|byte| *byte == b'*') {
                None => path == pattern || inside(pattern),
                Some(star) => {
                    let (start, end) = (&pattern[..star], &pattern[star + 1..]);
                    let rest = path.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
                    rest.is_some_and(|between| !between.contains(&b'/'))
                }
            },
        }
    }
}

const LOG: &str = "a log of the build, with its times";
const CACHE: &str = "made anew from what is installed, and other bytes each time";
const BACKUP: &str = "the database as it was before the last change";
const SECRET: &str = "random; each machine has to make its own";
const RUN: &str = "belongs to a running system";

const fn remove(path: &'static str, why: &'static str) -> Cleaned {
    Cleaned { path, clean: Clean::Remove, why }
}

const fn contents(path: &'static str, why: &'static str) -> Cleaned {
    Cleaned { path, clean: Clean::Contents, why }
}

/// Everything that is cleaned away. What programs leave in `/run` and `/tmp` never gets there: while they run, other
/// directories stand in these places.
pub static CLEANED: &[Cleaned] = &[
    remove("var/log/dpkg.log", LOG),
    remove("var/log/alternatives.log", LOG),
    remove("var/log/bootstrap.log", LOG),
    remove("var/log/fontconfig.log", LOG),
    contents("var/log/apt", LOG),
    contents("var/log/journal", LOG),
    remove("var/cache/ldconfig/aux-cache", CACHE),
    remove("var/cache/apt/pkgcache.bin", CACHE),
    remove("var/cache/apt/srcpkgcache.bin", CACHE),
    remove("var/cache/apt/archives/*.deb", "the packages are installed; apt can fetch them again"),
    contents("var/lib/apt/lists/partial", "what a mirror had on the day of the build"),
    remove("var/lib/dpkg/status-old", BACKUP),
    remove("var/lib/dpkg/diversions-old", BACKUP),
    remove("var/lib/dpkg/statoverride-old", BACKUP),
    remove("var/lib/dpkg/available-old", BACKUP),
    remove("var/cache/debconf/*-old", BACKUP),
    remove("var/lib/dpkg/lock", "a lock that nobody holds"),
    remove("var/lib/dpkg/lock-frontend", "a lock that nobody holds"),
    remove("var/lib/dpkg/triggers/Lock", "a lock that nobody holds"),
    Cleaned { path: "etc/machine-id", clean: Clean::Empty, why: SECRET },
    remove("var/lib/dbus/machine-id", SECRET),
    remove("var/lib/systemd/random-seed", SECRET),
    remove("var/lib/systemd/credential.secret", SECRET),
    remove("var/lib/urandom/random-seed", SECRET),
    remove("etc/ssh/ssh_host_*_key", SECRET),
    remove("etc/ssh/ssh_host_*_key.pub", SECRET),
    contents("var/tmp", RUN),
];
