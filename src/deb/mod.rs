//! Debian's archive: its index and signatures, fetching, unpacking, and solving with its own apt.
//!
//! Nothing of it is taken on trust: an index counts because a key that is known signed its digest, and a package because
//! the index, or the lock, has its digest. Where it came from does not matter.

pub mod solve;
pub mod stanza;
mod download;
pub mod fetch;
mod fetch_index;
mod fetch_release;
pub mod http;
pub mod index;
pub mod openpgp;
mod proxy;
pub mod reach;
pub mod release;
pub mod sources;
pub mod universe;
pub mod version;
pub mod ar;
pub mod control;
pub mod dpkg;
pub mod unpack;

use crate::fault::Place;
use crate::key::Digest;
use crate::lang::Spanned;

/// A package's file, as an index or a lock names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deb {
    /// The package's name.
    pub name: String,
    /// Its version, as Debian writes it (deb-version(7)).
    pub version: String,
    /// Its architecture, or `all`.
    pub arch: String,
    /// Bytes of the file.
    pub size: u64,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// Where the file is, below the mirror: `pool/main/c/curl/curl_8.14.1-2_amd64.deb`.
    pub path: String,
    /// The source that has it: its [`Source::name`].
    pub source: String,
}

impl Deb {
    /// `NAME_VERSION_ARCH`.
    pub fn id(&self) -> String {
        format!("{}_{}_{}", self.name, self.version, self.arch)
    }
}

/// Where packages come from: one suite of one archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What a lock calls it: `debian trixie`, `debian-security trixie-security`, or a repository's own name.
    pub name: String,
    /// URLs of mirrors, without a slash at the end; any of them will do.
    pub mirrors: Vec<String>,
    /// The suite; with a slash at its end it is a flat repository's folder.
    pub suite: String,
    /// The components; none for a flat repository.
    pub components: Vec<String>,
    /// The key file that must have signed it; without it, the distribution's own keys that imgbuild brings.
    pub keyring: Option<std::path::PathBuf>,
    /// Whether a Release file that says it has expired is refused.
    pub check_valid_until: bool,
    /// Where the manifest, or another file, names it.
    pub place: Option<Place>,
}

/// What a set of packages is chosen from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// `debian` or `ubuntu`.
    pub name: String,
    /// The suite that the base is made from.
    pub suite: String,
    /// The architecture, as Debian names it.
    pub arch: String,
    /// All sources, the base's own suite first.
    pub sources: Vec<Source>,
    /// An HTTP proxy.
    pub proxy: Option<String>,
}

/// How much a base has before anything is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// What is marked `Essential: yes`, and what it needs.
    Essential,
    /// And what has the priority `required`, and apt.
    Minbase,
    /// And what has the priorities `important` and `standard`.
    Standard,
    /// As `Minbase`, and `build-essential`.
    Buildd,
}

/// A package that a manifest asks for, or wants left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// The package's name, perhaps with `:arch`; with `^` at its end, a task's.
    pub name: Spanned<String>,
    /// The version it must have: a whole one, or one with `*` in it.
    pub version: Option<Spanned<String>>,
    /// The suite it must come from.
    pub suite: Option<Spanned<String>>,
    /// Whether it is wanted, or wanted left out.
    pub out: bool,
    /// Whether `update` leaves it at its locked version unless it is named.
    pub hold: bool,
    /// The list that names it; none if an image's own block does.
    pub list: Option<String>,
}

impl Wish {
    /// The package of that name, and nothing more to say.
    pub fn plain(name: &str, place: &Place) -> Wish {
        let name = Spanned::new(name.to_string(), place);
        Wish { name, version: None, suite: None, out: false, hold: false, list: None }
    }
}

/// An architecture that Debian names so, as the kernel names it.
pub fn kernel_arch(arch: &str) -> &str {
    match arch {
        "amd64" => "x86_64",
        "i386" => "i686",
        "arm64" => "aarch64",
        "armhf" => "armv7l",
        "ppc64el" => "ppc64le",
        "loong64" => "loongarch64",
        other => other,
    }
}

/// This machine's architecture, as Debian names it.
pub fn own_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "i386",
        "aarch64" => "arm64",
        "arm" => "armhf",
        "powerpc64" => "ppc64el",
        "loongarch64" => "loong64",
        other => other,
    }
}
