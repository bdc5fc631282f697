//! The words of a lock.

use crate::lang::{Child, Field, Form, Word};

/// What may stand at the top of a lock.
pub static TOP: &[Child] = &[Child { word: &LOCK, many: false, required: true }, Child::many(&SOLUTION)];

/// `lock version=1`
pub static LOCK: Word = Word {
    name: "lock",
    summary: "the version of the format",
    docs: "A lock of a newer version is refused.",
    example: "lock version=1\n",
    properties: &[
        Field::new("version", Form::Integer { min: 1, max: super::VERSION }, "The version.").required()
    ],
    ..Word::BARE
};

/// `solution ID { … }`
pub static SOLUTION: Word = Word {
    name: "solution",
    summary: "what one set of packages was found to be",
    docs: "It holds as long as what the manifest asks for is what `request` says.",
    example: "solution \"image server\" {\n    request \"suite trixie\"\n    release \"debian trixie\" suite=\"trixie\" \
              date=\"2026-01-10T10:01:02Z\"\n}\n",
    arguments: &[
        Field::new("id", Form::Text, "The set: a base, an image, or a hypervisor of an image.").required()
    ],
    children: &[Child::many(&REQUEST), Child::many(&RELEASE), Child::many(&PACKAGE)],
    ..Word::BARE
};

pub(super) static REQUEST: Word = Word {
    name: "request",
    summary: "a line of what was asked for",
    docs: "Written by imgbuild, and compared as text.",
    example: "solution \"image server\" {\n    request \"package curl\"\n}\n",
    arguments: &[Field::new("line", Form::Text, "The line.").required()],
    ..Word::BARE
};

pub(super) static RELEASE: Word = Word {
    name: "release",
    summary: "a suite that packages were chosen from",
    docs: "For people: nothing is held against it.",
    example: "solution \"image server\" {\n    release \"debian trixie\" suite=\"trixie\" \
              date=\"2026-01-10T10:01:02Z\"\n}\n",
    arguments: &[Field::new("source", Form::Text, "What packages call it.").required()],
    properties: &[
        Field::new("suite", Form::Text, "The suite.").required(),
        Field::new("date", Form::Time, "The date that it had.").required(),
    ],
    ..Word::BARE
};

pub(super) static PACKAGE: Word = Word {
    name: "package",
    summary: "a package that was chosen",
    docs: "A file that has not this size and this digest is never used.",
    example: "solution \"image server\" {\n    package \"nano\" \"8.4-1\" arch=\"amd64\" size=714424 \
              sha256=\"bfbd0a95dd8ccdb9b1ba1bcea4b40cc1b3fbb2e4d8a2fa3b6ff2e1ed37e42fe1\" \
              path=\"pool/main/n/nano/nano_8.4-1_amd64.deb\" source=\"debian trixie\" for=\"common\"\n}\n",
    arguments: &[
        Field::new("name", Form::Text, "Its name.").required(),
        Field::new("version", Form::Text, "Its version.").required(),
    ],
    properties: &[
        Field::new("arch", Form::Text, "Its architecture, or `all`.").required(),
        Field::new("size", Form::Integer { min: 1, max: i64::MAX }, "Bytes of its file.").required(),
        Field::new("sha256", Form::Text, "The digest of its file.").required(),
        Field::new("path", Form::Text, "Where its file is, below the mirror.").required(),
        Field::new("source", Form::Text, "The suite that has it, as `release` calls it.").required(),
        Field::new("for", Form::Text, "Who asked for it.").default("it came along"),
    ],
    ..Word::BARE
};
