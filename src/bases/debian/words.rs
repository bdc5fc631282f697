//! The words of `base "debian"` and `base "ubuntu"`.

use super::super::Kind;
use crate::lang::{Child, Field, Form, Word};

pub(in crate::bases) const DEBIAN: Kind = Kind { word: &DEBIAN_WORD, decode: |_, _| None };
pub(in crate::bases) const UBUNTU: Kind = Kind { word: &UBUNTU_WORD, decode: |_, _| None };

static DEBIAN_WORD: Word = Word {
    name: "debian",
    summary: "Debian, from its own packages",
    docs: "The base system of a suite, and what `packages` adds to it. Nothing of it is needed on this machine: the \
           archive is read, checked and unpacked by imgbuild, and Debian's own dpkg configures it inside the image.\n\n\
           Which versions the packages have is written to `image.lock.kdl` beside the manifest when they are chosen first, \
           and followed from then on; `imgbuild update` chooses again.\n\n\
           Without a `mirror`, those of the user's configuration (`base \"debian\" { mirror … }` in \
           `imgbuild/config.kdl`) are used; without those, the ones that this machine's own apt has for Debian. From \
           there come the suite and, where it has them, its updates and security updates. Where packages come from \
           does not matter to what is built: they count by their digests, and those by Debian's signature.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    packages {\n        openssh-server\n        \
              iproute2\n    }\n    output \"tar\"\n}\n",
    properties: FIELDS,
    children: CHILDREN,
    ..Word::BARE
};

static UBUNTU_WORD: Word = Word {
    name: "ubuntu",
    summary: "Ubuntu, from its own packages",
    docs: "As `base \"debian\"`, with Ubuntu's archive and keys. Its security updates are in the same archive as all \
           else, so one `mirror` has them too; without components it is `main` and `universe`.",
    example: "image \"server\" {\n    base \"ubuntu\" suite=\"noble\" variant=\"standard\" {\n        mirror \
              \"http://mirror.example/ubuntu\"\n    }\n    output \"tar\"\n}\n",
    properties: FIELDS,
    children: CHILDREN,
    ..Word::BARE
};

const FIELDS: &[Field] = &[
    Field::new("suite", Form::Name, "The suite, by its code name: `trixie`, `noble`.").required(),
    Field::new("arch", Form::OneOf(ARCHES), "The architecture, as Debian names it.").default("this machine's"),
    Field::new(
        "variant",
        Form::OneOf(&["essential", "minbase", "standard", "buildd"]),
        "How much there is before anything is asked for. `essential`: what is marked so, and what that needs; `minbase`: \
         and what has the priority `required`, and apt; `standard`: and the priorities `important` and `standard`; \
         `buildd`: as `minbase`, and what building packages takes.",
    )
    .default("minbase"),
    Field::new("proxy", Form::Url, "An HTTP proxy for its mirrors and repositories.")
        .default("the user's configuration"),
    Field::new(
        "keyring",
        Form::Path,
        "The public keys of which one must have signed the mirrors' suites: a file of OpenPGP keys, binary or armored.",
    )
    .default("the distribution's own keys"),
    CHECK_VALID_UNTIL,
];

const CHECK_VALID_UNTIL: Field = Field::new(
    "check-valid-until",
    Form::Flag,
    "Whether an index that says itself that it is out of date is refused. `#false` is for mirrors that lag and for \
     snapshots; it lets a mirror hold back updates.",
)
.default("#true");

/// The architectures of Debian and Ubuntu; fixed by the world, not by us.
const ARCHES: &[&str] =
    &["amd64", "arm64", "armel", "armhf", "i386", "loong64", "mips64el", "ppc64el", "riscv64", "s390x"];

const CHILDREN: &[Child] =
    &[Child::once(&COMPONENTS), Child::many(&MIRROR), Child::many(&SNAPSHOT), Child::many(&REPOSITORY)];

static COMPONENTS: Word = Word {
    name: "components",
    summary: "the parts of an archive that packages may come from",
    docs: "Without this word, `main`; of Ubuntu, `main` and `universe`.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\" {\n        components \"main\" \
              \"non-free-firmware\"\n    }\n    output \"tar\"\n}\n",
    rest: Some(Field::new("name", Form::Name, "A component.").required()),
    ..Word::BARE
};

/// `mirror URL … { suites … }`
pub static MIRROR: Word = Word {
    name: "mirror",
    summary: "where an archive is fetched from",
    docs: "Further URLs are further mirrors of the same archive: the next one is asked when one fails. Debian keeps its \
           security updates in an archive of their own, which is a second `mirror`, with its suite.\n\n\
           Once a manifest names a mirror, only what it names is used.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\" {\n        mirror \
              \"http://mirror.example/debian\" \"http://other.example/debian\"\n        mirror \
              \"http://mirror.example/debian-security\" {\n            suites \"*-security\"\n        }\n    }\n    output \
              \"tar\"\n}\n",
    rest: Some(
        Field::new("url", Form::Url, "The archive: the folder that `dists` and `pool` are in.").required(),
    ),
    children: &[Child::once(&SUITES)],
    ..Word::BARE
};

static SUITES: Word = Word {
    name: "suites",
    summary: "the suites that are taken from there",
    docs: "`*` stands for the base's own suite. Without this word it is the base's suite and its updates: `\"*\" \
           \"*-updates\"`; of Ubuntu, its security updates as well: `\"*-security\"`; of Debian's `sid` and \
           `experimental`, which have neither, only itself. A suite that a package names with `suite=`, such as \
           `trixie-backports`, need not stand here.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\" {\n        mirror \
              \"http://mirror.example/debian\" {\n            suites \"*\" \"*-updates\" \"*-proposed-updates\"\n        \
              }\n    }\n    output \"tar\"\n}\n",
    rest: Some(Field::new("suite", Form::Text, "A suite.").required()),
    ..Word::BARE
};

/// `snapshot URL … { suites … }`
pub(super) static SNAPSHOT: Word = Word {
    name: "snapshot",
    summary: "an archive that keeps what mirrors have given up",
    docs: "Mirrors keep only the newest version of a package. When none of them has the one that `image.lock.kdl` names \
           any more, it is fetched from here, and checked against the lock as always. Versions are never chosen from \
           here: to choose them as of a day, name the snapshot of that day as the `mirror`, with \
           `check-valid-until=#false`.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\" {\n        snapshot \
              \"http://snapshot.example/archive/debian/20260101T000000Z\"\n        snapshot \
              \"http://snapshot.example/archive/debian-security/20260101T000000Z\" {\n            suites \
              \"*-security\"\n        }\n    }\n    output \"tar\"\n}\n",
    rest: Some(
        Field::new("url", Form::Url, "The archive as of a time: the folder that `pool` is in.").required(),
    ),
    children: &[Child::once(&SUITES)],
    ..Word::BARE
};

pub(super) static REPOSITORY: Word = Word {
    name: "repository",
    summary: "somebody else's archive, with its key",
    docs: "Its packages may be chosen as those of the distribution are. The image gets no file of it: to have apt inside \
           the image use it too, bring its `sources.list.d` entry in an overlay.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\" {\n        repository \"node\" \
              url=\"https://deb.example\" suite=\"stable\" keyring=\"keys/node.gpg\" {\n            components \
              \"main\"\n        }\n    }\n    packages {\n        nodejs\n    }\n    output \"tar\"\n}\n",
    arguments: &[Field::new("name", Form::Name, "What messages and the lock call it.").required()],
    properties: &[
        Field::new("url", Form::Url, "The archive.").required(),
        Field::new(
            "suite",
            Form::Text,
            "The suite; for a flat repository, its folder with a slash at the end: `./`.",
        )
        .required(),
        Field::new(
            "keyring",
            Form::Path,
            "The public keys of which one must have signed it: a file of OpenPGP keys, binary or armored.",
        )
        .required(),
        CHECK_VALID_UNTIL,
    ],
    children: &[Child::once(&COMPONENTS)],
    ..Word::BARE
};

/// The components where none is stated.
pub(super) fn components_of(distribution: &str) -> Vec<String> {
    let names: &[&str] = if distribution == "ubuntu" { &["main", "universe"] } else { &["main"] };
    names.iter().map(|name| String::from(*name)).collect()
}

/// The suites of a mirror where none is stated; `*` stands for the base's own.
pub(super) fn suites_of(distribution: &str, suite: &str) -> &'static [&'static str] {
    match (distribution, suite) {
        ("ubuntu", _) => &["*", "*-updates", "*-security"],
        (_, "sid" | "unstable" | "experimental" | "rc-buggy") => &["*"],
        _ => &["*", "*-updates"],
    }
}
