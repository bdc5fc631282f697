//! The words `hook-list`, `hooks`, `hook`, and what may be said of a hook.

use crate::hooks::{Dialect, Phase};
use crate::lang::{Child, Field, Form, Word};

const PHASES: Form = Form::OneOf(Phase::WORDS);

const NETWORK: Field =
    Field::new("network", Form::Flag, "Whether it can reach the network; what it finds there is in no key.")
        .default("#false");
const TIMEOUT: Field =
    Field::new("timeout", Form::Integer { min: 1, max: 86_400 }, "Seconds after which it is ended.")
        .default("no limit");
const INTERPRETER: Field = Field::new(
    "interpreter",
    Form::Text,
    "The program that runs it, by its name or path, perhaps with options: `\"python3 -I\"`.",
)
.default("what its `#!` line says, else `/bin/sh`, and `/bin/sh -e` for a text that stands here");

const SAID_OF_HOOKS: &[Child] = &[Child::many(&ENV), Child::many(&INPUT), Child::many(&SECRET)];

/// `hook-list NAME …`
pub static HOOK_LIST: Word = Word {
    name: "hook-list",
    summary: "hooks that images run together",
    docs: "Its hooks stand in its block, or `from` names them: a file with a name a line, which run in that order, or a \
           folder with the scripts themselves. What is said of the list holds for each of its hooks.\n\n\
           `dialect` says whose rules hold.\n\n\
           - `list`: ALT's mkve. A file's order is the order; each name is looked for in the folders of `search`. Of a \
             folder, every executable whose name has only letters, digits, `_` and `-`, in the order of its bytes.\n\
           - `run-parts`: the hooks of ganeti's instance-debootstrap. They run on the host's side, with the image's tree \
             in `$TARGET`, and with `SUITE`, `ARCH`, `EXTRA_PKGS` and what else Ganeti tells a hook; they start in \
             `directory`. The first that fails ends the build, or, with `on-failure=\"go-on\"`, the others still run.\n\
           - `dib`: a phase of an element of diskimage-builder, in the order of the numbers that names begin with, with \
             the element's `environment.d`, its other files in `/tmp/in_target.d`, and `install-packages`, `pkg-map` and \
             their like.\n\n\
           A script that the tool would have passed over in silence, for its name or its mode, is a warning.",
    example: "hook-list \"setup\" from=\"hooks-lists/setup\"\nhook-list \"site\" phase=\"finalise\" {\n    hook \
              \"motd\" run=\"echo built for $IMGBUILD_IMAGE > /etc/motd\"\n}\nimage \"server\" {\n    base \"debian\" \
              suite=\"trixie\"\n    hooks \"setup\" \"site\"\n    output \"tar\"\n}\n",
    arguments: &[Field::new("name", Form::Name, "What images call it.").required()],
    properties: &[
        Field::new("from", Form::Path, "The file that names its hooks, or the folder that has them."),
        Field::new("phase", PHASES, "When its hooks run.")
            .default("that of the folder's name, as in `install.d`, else `post-install`"),
        Field::new("dialect", Form::OneOf(Dialect::WORDS), "Whose rules hold.").default("list"),
        Field::new(
            "on-failure",
            Form::OneOf(&["stop", "go-on"]),
            "Whether a hook that fails ends the list, or the others of a `run-parts` list still run, as one step, \
             which fails in the end.",
        )
        .default("stop"),
        Field::new(
            "directory",
            Form::Path,
            "The folder that hooks of the dialect `run-parts` start in, as Ganeti's in that of the OS definition.",
        )
        .default("one that has a `common.sh`"),
        INTERPRETER,
        NETWORK,
        TIMEOUT,
    ],
    children: &[Child::many(&HOOK), Child::many(&ENV), Child::many(&INPUT), Child::many(&SECRET)],
    ..Word::BARE
};

/// `hooks LIST … { hook … }`
pub static HOOKS: Word = Word {
    name: "hooks",
    summary: "scripts that run while an image is made, from lists and stated here",
    docs: "Each hook is a step with its own layer: it runs again only when its script, what it declares, or a layer below \
           it has changed, and what follows is left alone if it changes nothing.\n\n\
           Phases, in this order: `extra-data` (on the host's side; what it writes to `$EXTRA_DATA` is for the hooks that \
           follow, there too), `pre-install` (in the image, before its packages), `install` (behind them), overlays and \
           files, `post-install`; then what the hypervisor adds, in the same order; `block-device` (on the host's side, \
           the tree in `$TARGET`), `finalise` (in the image), `cleanup` (on the host's side), `first-boot` (in the booted \
           image, once, before there is a login prompt; with systemd, sysvinit and busybox).\n\n\
           A hook runs in a sandbox, as the image's root: without network, without the caller's environment and home, and \
           without any file of the project that is not declared. It finds `IMGBUILD_IMAGE`, `IMGBUILD_HYPERVISOR`, \
           `IMGBUILD_PHASE`, `IMGBUILD_ARCH`, `IMGBUILD_SUITE`, `IMGBUILD_VERSION` and what `env` states. No service is \
           started. `/tmp` and `/run` are empty, and nothing of them stays.\n\n\
           Hooks of a phase run in the order of the text, but for what `after` says.",
    example: "hook-list \"setup\" from=\"hooks-lists/setup\"\nimage \"server\" {\n    base \"debian\" suite=\"trixie\"\n    \
              hooks \"setup\" {\n        hook \"motd\" run=\"echo welcome > /etc/motd\"\n    }\n    hooks \
              phase=\"finalise\" {\n        hook \"no-docs\" run=\"rm -rf /usr/share/doc\"\n    }\n    output \
              \"tar\"\n}\n",
    rest: Some(Field::new("list", Form::Name, "A `hook-list`.")),
    properties: &[Field::new("phase", PHASES, "When the hooks of its block run.").default("post-install")],
    children: &[Child::many(&HOOK)],
    ..Word::BARE
};

/// `hook NAME …`
pub static HOOK: Word = Word {
    name: "hook",
    summary: "a script that runs while an image is made",
    docs: "Its text stands here (`run`), or in a file (`from`); without either it is looked for by its name in the folders \
           of `search`, the project's `hooks` where that says nothing.\n\n\
           Where it fails, the last lines that it printed are shown, with the place in the script where that is known, and \
           `imgbuild shell --failed` opens a shell in the state that it left.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    hooks phase=\"finalise\" {\n        hook \
              \"10-app\" from=\"scripts/app\" network=#true timeout=600 {\n            env LANG=\"C.UTF-8\"\n            \
              input \"downloads/app.tar\" variable=\"APP\"\n            secret \"token\" env=\"APP_TOKEN\"\n        }\n        \
              hook \"20-check\" interpreter=\"python3\" after=\"10-app\" run=\"\"\"\n            import \
              app\n            app.check()\n            \"\"\"\n    }\n    output \"tar\"\n}\n",
    arguments: &[Field::new("name", Form::Name, "What it is called.").required()],
    properties: &[
        Field::new(
            "run",
            Form::Script,
            "Its text, as it is: `${NAME}` in it is the shell's own; variables of the manifest come by `env`.",
        ),
        Field::new("from", Form::Path, "The file that is its script."),
        Field::new(
            "after",
            Form::Text,
            "Hooks of the same phase that run before it, by their names or as `LIST/NAME`, with blanks between them.",
        )
        .default("those that stand before it"),
        INTERPRETER,
        NETWORK,
        TIMEOUT,
    ],
    children: SAID_OF_HOOKS,
    ..Word::BARE
};

static ENV: Word = Word {
    name: "env",
    summary: "environment variables that a hook sees",
    docs: "Names alone are variables of the manifest, with the values that they have there.",
    example: "variable \"SETUP\" default=\"ipv4\"\nhook-list \"network\" {\n    env \"SETUP\" \
              DOMAIN=\"example.org\"\n    hook \"10-network\" run=\"echo $SETUP.$DOMAIN > /etc/setup\"\n}\n",
    rest: Some(Field::new("variable", Form::Name, "A variable of the manifest.")),
    free_properties: Some(Field::new("NAME", Form::Text, "An environment variable, and its value.")),
    ..Word::BARE
};

static INPUT: Word = Word {
    name: "input",
    summary: "a file or folder of the project that a hook may read",
    docs: "It stands below `/run/imgbuild/input`, by the path that is stated, or by its last name where that leads out of \
           the folder; and the hook runs again when it changes.",
    example: "hook-list \"kernel\" {\n    hook \"10-modules\" run=\"tar -C / -xf $MODULES\" {\n        input \
              \"downloads/modules.tar\" variable=\"MODULES\"\n    }\n}\n",
    arguments: &[Field::new("path", Form::Path, "The file or folder.").required()],
    properties: &[Field::new(
        "variable",
        Form::Name,
        "An environment variable that tells the hook where it is.",
    )],
    ..Word::BARE
};

static SECRET: Word = Word {
    name: "secret",
    summary: "something that a hook may read and nobody else",
    docs: "It stands in `/run/imgbuild/secrets` while the hook runs. It is in no key: a new password makes no new image. \
           It is in no log: what is printed of it shows as `***`. And it is in no layer: a hook that leaves it in the \
           image fails. Only what is as long as eight bytes is looked for there, and only as it is: what a script encodes is its \
           own to remove. One of fewer than four bytes is refused: no log could be kept free of it.",
    example: "hook-list \"app\" {\n    hook \"10-fetch\" network=#true run=\"curl -K $TOKEN_FILE …\" {\n        secret \
              \"token\" env=\"APP_TOKEN\" variable=\"TOKEN_FILE\"\n    }\n}\n",
    arguments: &[Field::new("name", Form::Name, "What its file is called.").required()],
    properties: &[
        Field::new("from", Form::Path, "The file that holds it."),
        Field::new("env", Form::Name, "The variable of the caller's environment that holds it."),
        Field::new("variable", Form::Name, "An environment variable that tells the hook where it is."),
    ],
    ..Word::BARE
};
