//! The words `flavour` and `flavours`, and what a flavour says of itself.

use super::super::hooks::words::HOOKS;
use super::super::packages::words::PACKAGES;
use crate::lang::{Child, Field, Form, Word};
use crate::steps::files;

/// `flavour NAME …`
pub static FLAVOUR: Word = Word {
    name: "flavour",
    summary: "packages, files and hooks that belong together",
    docs: "It is declared in a manifest, or in the `flavour.kdl` of a folder of its name in one of the folders of \
           `search`. What it has counts as if it stood in the image that uses it, before what the image says itself.\n\n\
           A folder without `flavour.kdl` is a flavour, too, if it has what an element of diskimage-builder has: hooks in \
           `install.d` and its like, `element-deps`, `package-installs.yaml`, `pkg-map`, `environment.d`, `bin`, `static`. \
           Its hooks run as in the dialect `dib`, in one order with those of all other such flavours of the image.\n\n\
           `imgbuild flavours` lists what there is, and `imgbuild flavours NAME` tells of one.",
    example: "flavour \"monitoring\" summary=\"a node exporter, open to one address\" {\n    needs \"base\"\n    setting \
              \"AT\" default=\"127.0.0.1:9100\" docs=\"where it listens\"\n    packages {\n        \
              prometheus-node-exporter\n    }\n    files {\n        file \"/etc/default/prometheus-node-exporter\" \
              content=\"ARGS=--web.listen-address=${AT}\\n\"\n    }\n    hooks {\n        hook \
              \"enable\" run=\"systemctl enable prometheus-node-exporter\"\n    }\n}\nimage \"server\" {\n    base \
              \"debian\" suite=\"trixie\"\n    flavours \"monitoring\" AT=\"10.0.0.1:9100\"\n    output \"tar\"\n}\n",
    arguments: &[Field::new("name", Form::Name, "What images call it.").required()],
    properties: &[
        Field::new("summary", Form::Text, "One line on what it is for."),
        Field::new("docs", Form::Text, "What there is to know of it, as `imgbuild flavours NAME` shows it.")
            .default("the `README.md` of its folder"),
    ],
    children: &[
        Child::many(&NEEDS),
        Child::many(&PROVIDES),
        Child::many(&SETTING),
        Child::many(&PACKAGES),
        Child::many(&files::WORD),
        Child::many(&HOOKS),
    ],
    ..Word::BARE
};

static NEEDS: Word = Word {
    name: "needs",
    summary: "flavours that come along with it",
    docs: "What they have comes before what this one has.",
    example: "flavour \"web\" {\n    needs \"base\"\n}\n",
    rest: Some(Field::new("flavour", Form::Name, "A flavour.").required()),
    ..Word::BARE
};

static PROVIDES: Word = Word {
    name: "provides",
    summary: "flavours that it takes the place of",
    docs: "Two flavours of an image cannot take the place of the same one.",
    example: "flavour \"my-base\" {\n    provides \"base\"\n}\n",
    rest: Some(Field::new("flavour", Form::Name, "A flavour.").required()),
    ..Word::BARE
};

static SETTING: Word = Word {
    name: "setting",
    summary: "a value that who uses the flavour may set",
    docs: "`${NAME}` stands for it in the strings of the flavour, as a variable of the manifest does; hooks see it where \
           their `env` says so. `${IMGBUILD_ARCH}` and `${IMGBUILD_SUITE}` stand for the image's architecture and suite.\n\n\
           What a setting without text names by itself is left out: `\"${KERNEL}\"` among packages, `from=\"${KEYS}\"` of a \
           file, `input \"${KEYS}\"` of a hook. A path that is set starts at the folder of the manifest that sets it.",
    example: "flavour \"user\" {\n    setting \"NAME\" default=\"user\" docs=\"what the user is called\"\n    hooks {\n        \
              hook \"user\" run=\"useradd -m $USER_NAME\" {\n            env USER_NAME=\"${NAME}\"\n        }\n    }\n}\n",
    arguments: &[Field::new("name", Form::Name, "Its name.").required()],
    properties: &[
        Field::new("default", Form::Text, "Its value when nobody sets it.").default("none: it must be set"),
        Field::new("docs", Form::Text, "What it is for."),
    ],
    ..Word::BARE
};

/// `flavours NAME …`
pub static FLAVOURS: Word = Word {
    name: "flavours",
    summary: "flavours, by their names",
    docs: "What they have counts as if it stood here, before what the image says itself, each behind those that it needs. \
           A property sets what the flavours declare with `setting`; hooks of elements of diskimage-builder see it as an \
           environment variable.\n\n\
           Hooks of elements are offline and told so (`DIB_OFFLINE=1`), unless `network` is true here: then those of these \
           elements, and of the elements that they need, are not. Hooks of other flavours say themselves whether they \
           reach the network.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    flavours \"devuser\" \"growroot\" \
              USER=\"me\"\n    output \"tar\"\n}\n",
    rest: Some(Field::new("flavour", Form::Name, "A flavour.").required()),
    properties: &[Field::new(
        "network",
        Form::Flag,
        "Whether hooks of these elements can reach the network; what they find there is in no key.",
    )
    .default("#false")],
    free_properties: Some(Field::new("SETTING", Form::Text, "A setting of one of them, and its value.")),
    ..Word::BARE
};
