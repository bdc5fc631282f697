//! The words of a manifest that are no step, base or output of their own.

pub use super::flavours::words::{FLAVOUR, FLAVOURS};
pub use super::hooks::words::{HOOK_LIST, HOOKS};
pub use super::packages::words::{PACKAGES, PACKAGES_LIST};
use crate::lang::{Child, Field, Form, Word};
use crate::{bases, outputs, steps};

/// What may stand at the top of a manifest.
pub static TOP: &[Child] = &[
    Child::many(&VARIABLE),
    Child::once(&SEARCH),
    Child::many(&INCLUDE),
    Child::once(&EPOCH),
    Child::many(&steps::overlay::WORD),
    Child::many(&PACKAGES_LIST),
    Child::many(&HOOK_LIST),
    Child::many(&FLAVOUR),
    Child::many(&IMAGE),
];

/// `variable NAME …`
pub static VARIABLE: Word = Word {
    name: "variable",
    summary: "a value that the caller may change",
    docs: "It is set with `--set NAME=VALUE`, or by the environment variable of that name if `env=#true`. `${NAME}` \
           stands for its value in any string of the manifest (`$${` for the two characters), but not in the path of an \
           `include`; a `default` may name variables that are declared before it. `when` asks for its value, and the \
           scripts of overlays see it. With `list=#true` it holds words separated by commas, as xcluster's SETUP does.",
    example: "variable \"SETUP\" default=\"ipv4\" list=#true {\n    one-of \"ipv4\" \"ipv6\" \"test\"\n}\n",
    arguments: &[Field::new("name", Form::Name, "Its name.").required()],
    properties: &[
        Field::new("default", Form::Text, "Its value when nobody sets it.").default("empty"),
        Field::new("env", Form::Flag, "Whether the environment variable of its name sets it.")
            .default("#false"),
        Field::new("list", Form::Flag, "Whether it holds words separated by commas.").default("#false"),
        Field::new("docs", Form::Text, "What it is for; told when it is set wrong, or has to be set."),
    ],
    children: &[Child::once(&ONE_OF)],
    ..Word::BARE
};

static ONE_OF: Word = Word {
    name: "one-of",
    summary: "the values that a variable may have",
    docs: "Any other value is an error, and so is none if the variable has no default. For a list, each of its words \
           must be one of them.",
    example: "variable \"SETUP\" default=\"ipv4\" {\n    one-of \"ipv4\" \"ipv6\"\n}\n",
    rest: Some(Field::new("value", Form::Text, "A value.").required()),
    ..Word::BARE
};

/// `search { … }`
pub static SEARCH: Word = Word {
    name: "search",
    summary: "where things are looked for by their name",
    docs: "What images use but the manifest does not declare is looked for here; the first match wins.",
    example: "search {\n    overlays \"overlays\" \"~/overlays\"\n}\n",
    children: &[Child::once(&SEARCH_OVERLAYS), Child::once(&SEARCH_HOOKS), Child::once(&SEARCH_FLAVOURS)],
    ..Word::BARE
};

static SEARCH_OVERLAYS: Word = Word {
    name: "overlays",
    summary: "folders that hold overlays",
    docs: "Each of them holds overlays, one folder each. The folders of `IMGBUILD_OVERLAY_PATH` come before these, and \
           those of `XCLUSTER_OVLPATH` after them. Where this word is missing, it is the project's folder `overlays`. \
           Folders that do not exist are passed over.",
    example: "search {\n    overlays \"overlays\"\n}\n",
    rest: Some(Field::new("folder", Form::Path, "A folder of overlays.").required()),
    ..Word::BARE
};

static SEARCH_HOOKS: Word = Word {
    name: "hooks",
    summary: "folders that hold hooks",
    docs: "Each of them holds scripts, one file each. The folders of `IMGBUILD_HOOK_PATH` come before these, and those of \
           `--hooks` behind them. Where this word is missing, it is the project's folder `hooks`. Folders that do not \
           exist are passed over.",
    example: "search {\n    hooks \"hooks\"\n}\n",
    rest: Some(Field::new("folder", Form::Path, "A folder of hooks.").required()),
    ..Word::BARE
};

static SEARCH_FLAVOURS: Word = Word {
    name: "flavours",
    summary: "folders that hold flavours",
    docs: "Each of them holds flavours, one folder each. The folders of `IMGBUILD_FLAVOUR_PATH` come before these, and \
           those of diskimage-builder's `ELEMENTS_PATH` behind them; imgbuild's own flavours come last. Where this word is \
           missing, it is the project's folder `flavours`. Folders that do not exist are passed over.",
    example: "search {\n    flavours \"flavours\"\n}\n",
    rest: Some(Field::new("folder", Form::Path, "A folder of flavours.").required()),
    ..Word::BARE
};

/// `include PATH`
pub static INCLUDE: Word = Word {
    name: "include",
    summary: "take in another file",
    docs: "As if its text stood here; relative paths in it start at its own folder. A file that is included more than \
           once counts once.",
    example: "include \"common.kdl\"\n",
    arguments: &[Field::new("path", Form::Path, "The file.").required()],
    ..Word::BARE
};

/// `epoch TIME`
pub static EPOCH: Word = Word {
    name: "epoch",
    summary: "the time that everything in the images gets",
    docs: "Files of overlays get it as their time, and no file of a base is later. The environment's \
           `SOURCE_DATE_EPOCH` is stronger. Without either it is 2025-01-01.",
    example: "epoch \"2025-06-01T12:00:00Z\"\n",
    arguments: &[
        Field::new("time", Form::Time, "A date, a date and time in UTC, or seconds since 1970.").required()
    ],
    ..Word::BARE
};

/// `image NAME …`
pub static IMAGE: Word = Word {
    name: "image",
    summary: "what is built: a base, what goes on top of it, and what it is written as",
    docs: "It is made of its base, its packages and, on top of that, of the overlays and files that its block names, in \
           the order of the text. Each of its hypervisors adds to that. An image with outputs of its own, or without hypervisors, is \
           a target by itself; a hypervisor's target is called `IMAGE:HYPERVISOR`.",
    example: "image \"server\" version=\"0.2\" {\n    overlays \"timezone\" \"site\"\n    output \"tar\"\n    hypervisor \
              \"lxc\" {\n        overlays \"lxc\"\n        output \"tar\" compression=\"xz\"\n    }\n}\n",
    arguments: &[Field::new("name", Form::Name, "Its name.").required()],
    properties: &[Field::new(
        "version",
        Form::Text,
        "Its version, for people; in quotes, since the number 1.10 is 1.1.",
    )],
    children: &[
        Child::once(&bases::WORD),
        Child::many(&FLAVOURS),
        Child::many(&PACKAGES),
        Child::many(&OVERLAYS),
        Child::many(&steps::files::WORD),
        Child::many(&HOOKS),
        Child::once(&outputs::disk::words::DISK),
        Child::once(&outputs::disk::words::BOOT),
        Child::once(&outputs::disk::words::MACHINE),
        Child::many(&HYPERVISOR),
        outputs::config::CHILD,
        outputs::CHILD,
        outputs::trial::CHILD,
        Child::many(&WHEN),
    ],
    ..Word::BARE
};

/// All names of [`super::hypervisors::KINDS`].
pub const HYPERVISOR_KINDS: &[&str] = &[
    "qemu",
    "kvm",
    "libvirt",
    "xen",
    "vmware",
    "esxi",
    "virtualbox",
    "hyperv",
    "azure",
    "cloud",
    "openstack",
    "nspawn",
    "ganeti",
    "openvz",
    "virtuozzo",
    "lxc",
    "proxmox",
    "incus",
    "lxd",
    "oci",
    "docker",
    "podman",
    "pxe",
];

/// `hypervisor NAME …`
pub static HYPERVISOR: Word = Word {
    name: "hypervisor",
    summary: "what differs for one hypervisor",
    docs: "What its block names goes on top of what the image names. The name is free. One that is called as a kind that \
           imgbuild knows (qemu, xen, vmware, virtualbox, hyperv, azure, cloud, nspawn, ganeti, openvz, lxc, proxmox, \
           incus, oci, pxe), or that says which it is, has what such a hypervisor needs where nothing else is said: its outputs, how it \
           boots, its machine. One `output` of its own stands in place of all of these outputs. `imgbuild help hypervisor NAME` \
           tells of a kind.",
    example: "image \"server\" {\n    overlays \"site\"\n    hypervisor \"qemu\" {\n        overlays \"serial-console\"\n  \
              \x20     output \"cpio\" compression=\"zstd\"\n    }\n}\n",
    arguments: &[Field::new("name", Form::Name, "Its name.").required()],
    properties: &[Field::new("kind", Form::OneOf(HYPERVISOR_KINDS), "Which kind of hypervisor it is.")
        .default("its name")],
    children: &[
        Child::many(&FLAVOURS),
        Child::many(&PACKAGES),
        Child::many(&OVERLAYS),
        Child::many(&steps::files::WORD),
        Child::many(&HOOKS),
        Child::once(&outputs::disk::words::DISK),
        Child::once(&outputs::disk::words::BOOT),
        Child::once(&outputs::disk::words::MACHINE),
        outputs::config::CHILD,
        outputs::CHILD,
        outputs::trial::CHILD,
        Child::many(&WHEN_INSIDE),
    ],
    ..Word::BARE
};

/// `overlays NAME …`
pub static OVERLAYS: Word = Word {
    name: "overlays",
    summary: "overlays, by their names, lowest first",
    docs: "Each is a layer. An overlay that is not declared is looked for by its name in the folders of `search`. One \
           that is in the image already is left out, with a warning.",
    example: "image \"server\" {\n    overlays \"timezone\" \"site\"\n    output \"tar\"\n}\n",
    rest: Some(Field::new("name", Form::Name, "An overlay.").required()),
    ..Word::BARE
};

const WHEN_DOCS: &str = "Its block counts only when every variable that it names has the value beside it; a variable \
                         that is a list, when the value is one of its words.";
const WHEN_FIELD: Field =
    Field::new("VARIABLE", Form::Text, "A variable of the manifest, and the value that it has to have.");

/// `when VARIABLE=VALUE { … }` in an image.
pub static WHEN: Word = Word {
    name: "when",
    summary: "a part that counts only for certain values of variables",
    docs: WHEN_DOCS,
    example: "variable \"SETUP\" default=\"ipv4\"\nimage \"server\" {\n    overlays \"site\"\n    when SETUP=\"ipv6\" \
              {\n        overlays \"ipv6\"\n    }\n    output \"tar\"\n}\n",
    free_properties: Some(WHEN_FIELD),
    children: IMAGE.children,
    ..Word::BARE
};

/// `when VARIABLE=VALUE { … }` in a hypervisor.
pub static WHEN_INSIDE: Word = Word {
    name: "when",
    summary: "a part that counts only for certain values of variables",
    docs: WHEN_DOCS,
    example: "variable \"SETUP\" default=\"ipv4\"\nimage \"server\" {\n    hypervisor \"qemu\" {\n        overlays \
              \"serial-console\"\n        when SETUP=\"ipv6\" {\n            overlays \"ipv6\"\n        }\n        output \
              \"tar\"\n    }\n}\n",
    free_properties: Some(WHEN_FIELD),
    children: HYPERVISOR.children,
    ..Word::BARE
};
