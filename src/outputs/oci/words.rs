//! The words of a container image.

use crate::lang::{Child, Field, Form, Word};
use crate::outputs::LEVEL;

/// `output "oci" …`
pub(super) static WORD: Word = Word {
    name: "oci",
    summary: "a container image",
    docs: "A layer of the image for every layer here, so that images that share overlays share them in a registry too, or \
           one for all with `layers=\"squash\"`. `format` chooses between one tar file with an OCI image layout \
           (`skopeo copy oci-archive:FILE …`, `podman load`), the same as a folder, and what `docker load` takes.",
    example: "image \"web\" {\n    overlays \"site\"\n    output \"oci\" tag=\"web:1.0\" user=\"33:33\" {\n        \
              entrypoint \"/usr/bin/web\" \"--port\" \"8080\"\n        env LANG=\"C.UTF-8\"\n        label \
              org.opencontainers.image.title=\"web\"\n        port \"8080/tcp\"\n    }\n}\n",
    properties: &[
        Field::new("tag", Form::Text, "Its name, `NAME:TAG`; without `:TAG`, `latest`.")
            .default("the image's name, and its version"),
        Field::new(
            "format",
            Form::OneOf(&["archive", "layout", "docker"]),
            "One tar file, a folder, or what `docker \
            load` takes.",
        )
        .default("archive"),
        Field::new(
            "layers",
            Form::OneOf(&["each", "squash"]),
            "A layer for every layer here, or one for all.",
        )
        .default("each"),
        Field::new("arch", Form::Name, "The architecture that it is for, as Go calls it: `amd64`, `arm64` …")
            .default("amd64"),
        Field::new("user", Form::Text, "Whom its program runs as: `user` or `user:group`, names or numbers."),
        Field::new("workdir", Form::ImagePath, "The directory that its program starts in."),
        Field::new(
            "compression",
            Form::OneOf(&["none", "gzip", "zstd"]),
            "How layers are compressed; `docker` takes none.",
        )
        .default("gzip"),
        LEVEL,
    ],
    children: &[
        Child::once(&ENTRYPOINT),
        Child::once(&COMMAND),
        Child::many(&ENV),
        Child::many(&LABEL),
        Child::once(&PORT),
        Child::once(&VOLUME),
    ],
    ..Word::BARE
};

macro_rules! list_word {
    ($name:ident, $word:literal, $summary:literal, $docs:literal, $value:literal, $example:literal) => {
        static $name: Word = Word {
            name: $word,
            summary: $summary,
            docs: $docs,
            example: concat!("image \"web\" {\n    output \"oci\" {\n        ", $example, "\n    }\n}\n"),
            rest: Some(Field::new("value", Form::Text, $value).required()),
            ..Word::BARE
        };
    };
}

list_word!(
    ENTRYPOINT,
    "entrypoint",
    "the program that runs",
    "As the container starts; what `command` says, or who starts it, comes behind it.",
    "The program, then its arguments, one each.",
    "entrypoint \"/sbin/init\""
);
list_word!(
    COMMAND,
    "command",
    "arguments that whoever starts it may replace",
    "They follow those of `entrypoint`; without one, the first of them is the program.",
    "An argument.",
    "command \"--help\""
);
list_word!(
    PORT,
    "port",
    "ports that it listens on",
    "They are only told: whoever starts the container decides which can be reached.",
    "`NUMBER`, `NUMBER/tcp`, `NUMBER/udp` or `NUMBER/sctp`; a number alone is tcp.",
    "port \"80/tcp\" \"443/tcp\""
);
list_word!(
    VOLUME,
    "volume",
    "directories for data",
    "They hold what outlives a container.",
    "A directory of the image.",
    "volume \"/var/lib/data\""
);

static ENV: Word = Word {
    name: "env",
    summary: "environment variables of its program",
    docs: "`NAME=\"VALUE\"`, any number of them. Where a name is given twice, the last one counts.",
    example: "image \"web\" {\n    output \"oci\" {\n        env LANG=\"C.UTF-8\" TZ=\"UTC\"\n    }\n}\n",
    free_properties: Some(Field::new("NAME", Form::Text, "The variable's value.")),
    ..Word::BARE
};

static LABEL: Word = Word {
    name: "label",
    summary: "what registries and tools show of it",
    docs: "`NAME=\"VALUE\"`, any number of them. Where a name is given twice, the last one counts. The names that tools \
           know begin with `org.opencontainers.image.`.",
    example: "image \"web\" {\n    output \"oci\" {\n        label org.opencontainers.image.title=\"web\"\n    }\n}\n",
    free_properties: Some(Field::new("NAME", Form::Text, "The label's value.")),
    ..Word::BARE
};
