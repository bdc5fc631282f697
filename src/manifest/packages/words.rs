//! The words `packages-list` and `packages`.

use crate::lang::{Field, Form, Word};

/// `packages-list NAME …`
pub static PACKAGES_LIST: Word = Word {
    name: "packages-list",
    summary: "packages that images ask for together",
    docs: "Either its block names them, or a file does. A file names them as other tools' lists do: one or several a \
           line, `#` begins a comment, `curl=8.14.1-2` asks for a version, `curl/trixie-backports` for a suite, and \
           `!nano` leaves one out.",
    example: "packages-list \"common\" {\n    openssh-server\n    iproute2\n    !nano\n}\npackages-list \"vpn\" \
              from=\"packages-lists/vpn\"\nimage \"server\" {\n    base \"debian\" suite=\"trixie\"\n    packages \
              \"common\" \"vpn\"\n    output \"tar\"\n}\n",
    arguments: &[Field::new("name", Form::Name, "What images call it.").required()],
    properties: &[Field::new("from", Form::Path, "The file that names its packages.")],
    free_children: Some(&PACKAGE),
    ..Word::BARE
};

/// `packages LIST … { PACKAGE … }`
pub static PACKAGES: Word = Word {
    name: "packages",
    summary: "packages on top of a base, from lists and named here",
    docs: "All that an image asks for, in however many of these, is chosen at once, with what it depends on, exactly as \
           apt would. What the block names is stronger than the lists: with `!nano`, a list's `nano` does not count.\n\n\
           An image has no secrets of its own: the host keys of openssh-server, which are made when it is installed, are \
           left out, and each machine makes its own when it boots first. Keys that an overlay brings stay.\n\n\
           What a hypervisor asks for goes on top of that, and leaves it as it is. Only images with a base that is made \
           of packages (`debian`, `ubuntu`) can have any.",
    example: "packages-list \"common\" {\n    openssh-server\n    iproute2\n}\nimage \"server\" {\n    base \"debian\" \
              suite=\"trixie\"\n    packages \"common\" {\n        curl\n    }\n    hypervisor \"qemu\" {\n        packages \
              {\n            linux-image-cloud-amd64\n        }\n        output \"tar\"\n    }\n}\n",
    rest: Some(Field::new("list", Form::Name, "A `packages-list`.")),
    properties: &[Field::new(
        "recommends",
        Form::Flag,
        "Whether what these packages recommend comes along. It holds for all packages of the image; for a \
         hypervisor's, unless it says otherwise itself.",
    )
    .default("#false")],
    free_children: Some(&PACKAGE),
    ..Word::BARE
};

/// `curl version="8.14.*"` in one of these.
static PACKAGE: Word = Word {
    name: "package",
    summary: "a package; with `!`, one that must not be there; with `^`, a task",
    docs: "Its name is a word of its own, as in `curl`. A name that another package provides will do \
           (`mail-transport-agent`). `libc6:i386` asks for another architecture, `ssh-server^` for all packages of a \
           task, and `!nano` keeps a package out that something would bring along.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    packages {\n        ssh-server^\n        curl \
              version=\"8.14.*\"\n        nginx suite=\"trixie-backports\"\n        linux-image-amd64 hold=#true\n        \
              !nano\n    }\n    output \"tar\"\n}\n",
    own_name: Some(Field::new("package", Form::Package, "The package, or the task.").required()),
    properties: &[
        Field::new("version", Form::Text, "The version that it must have; `*` stands for any text in it.")
            .default("the newest"),
        Field::new("suite", Form::Text, "The suite that it must come from.")
            .default("whichever has the version that apt would take"),
        Field::new(
            "hold",
            Form::Flag,
            "Whether `imgbuild update` leaves it at the version that it has, unless told its name.",
        )
        .default("#false"),
    ],
    ..Word::BARE
};
