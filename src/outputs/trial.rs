//! `test`: an image that boots in a machine of QEMU's, and does there what it should.
//!
//! QEMU and the firmware come from a locked Debian tree and run in a sandbox without a network, so that a test depends on
//! nothing of this machine but its speed. A test is a step like others: its key has the disk's, what it does, and the
//! emulator, and what it writes is what the machine said.

mod conversation;
mod lines;
mod machine;

use std::path::Path;
use std::sync::Arc;

use super::disk::{Firmware, Machine, formats};
use super::{Sibling, Stated, Target};
use crate::fault::{Fault, Faults, Place};
use crate::key::Key;
use crate::lang::{Child, Field, Form, Node, Spanned, Word};
use crate::work::{Facts, Output, TEST, World, Writing, Written};
use machine::{EMULATOR_AMD64, EMULATOR_ARM64};

/// `test NAME { … }`
pub static WORD: Word = Word {
    name: "test",
    summary: "what the image has to do when it boots",
    docs: "`imgbuild test` boots the disk of the same block, or else its ramdisk, in QEMU and takes its block from the top \
           to the end: text that has to come on the console, text that is typed there, commands that have to end with 0. \
           What is written to the disk is thrown away. A test that passed runs again when its disk, or it itself, has \
           changed.\n\nQEMU comes from a locked Debian tree that imgbuild brings itself, and the machine has a network of \
           its own that leads nowhere. What the console said is written to `build/IMAGE-HYPERVISOR.NAME.log`, whether the \
           test passed or not. Where the processor has to be emulated, the machine has one, whatever `machine cpus=` says.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    packages { linux-image-cloud-amd64; systemd-sysv; \
              udev }\n    boot console=\"ttyS0\"\n    output \"raw\"\n    test \"boots\" timeout=600 {\n        wait-for \"login:\"\n        \
              run \"systemctl is-system-running --wait\"\n    }\n}\n",
    arguments: &[Field::new("name", Form::Name, "Its name.").required()],
    properties: &[Field::new(
        "timeout",
        Form::Integer { min: 1, max: 86_400 },
        "Seconds that all of it may take.",
    )
    .default("600")],
    children: &[Child::many(&WAIT_FOR), Child::many(&SEND), Child::many(&RUN)],
    ..Word::BARE
};

/// `test` in an image or a hypervisor.
pub const CHILD: Child = Child::many(&WORD);

static WAIT_FOR: Word = Word {
    name: "wait-for",
    summary: "text that has to come on the machine's console",
    docs: "Behind what was waited for before. The console is the serial line, or what `boot console=` says.",
    example: "image \"server\" {\n    overlays \"site\"\n    output \"raw\"\n    test \"boots\" {\n        wait-for \"login:\"\n    }\n}\n",
    arguments: &[Field::new("text", Form::Text, "The text.").required()],
    ..Word::BARE
};

static SEND: Word = Word {
    name: "send",
    summary: "a line that is typed on the machine's console",
    docs: "With Enter behind it.",
    example: "image \"server\" {\n    overlays \"site\"\n    output \"raw\"\n    test \"logs-in\" {\n        wait-for \"login:\"\n        \
              send \"root\"\n        wait-for \"#\"\n    }\n}\n",
    arguments: &[Field::new("text", Form::Text, "The line.").required()],
    ..Word::BARE
};

static RUN: Word = Word {
    name: "run",
    summary: "a command that has to end with 0 in the machine",
    docs: "Run by `sh`, as root, with nothing to read. The shell is one that imgbuild brings into a machine whose systemd is \
           256 or newer, on a serial line of its own; the image stays as it is. Any other machine has to be logged into: with \
           `on=\"console\"` the command is typed on the console, where `send` has opened a shell.",
    example: "image \"server\" {\n    overlays \"site\"\n    output \"raw\"\n    test \"serves\" {\n        run \"systemctl is-active \
              nginx\"\n    }\n}\n",
    arguments: &[Field::new("command", Form::Script, "The command.").required()],
    properties: &[Field::new("on", Form::OneOf(&["shell", "console"]), "Where it is run.").default("shell")],
    ..Word::BARE
};

/// Something that a test does, and where that is said.
#[derive(Clone, Debug)]
enum Act {
    WaitFor(Spanned<String>),
    Send(Spanned<String>),
    Run { command: Spanned<String>, on_console: bool },
}

/// What a machine is made of: its disk, and the folder of its kernel.
#[derive(Clone, Copy, Debug)]
struct Files<'a> {
    disk: Option<&'a Path>,
    kernel: Option<&'a Path>,
}

#[derive(Debug)]
struct Trial {
    stated: Stated,
    name: String,
    machine: Machine,
    /// None for a machine that is all in its ramdisk.
    disk: Option<Sibling>,
    /// The folder of the kernel or of the ramdisk, for a machine that its emulator starts.
    kernel: Option<Sibling>,
    acts: Vec<Act>,
    /// Seconds.
    timeout: i64,
}

/// The test of a `test` node; none for one that is not whole.
pub fn decode(node: &Node, target: &Target<'_>, faults: &mut Faults) -> Option<Arc<dyn Output>> {
    let name = node.text("name")?;
    let acts: Vec<Act> = node.children.iter().filter_map(act).collect();
    check_acts(&acts, node, faults);
    let machine = target.machine.clone();
    let of_kind = |kind| target.siblings.iter().filter(move |disk| disk.kind == kind);
    let disk = formats::written().flat_map(of_kind).next().cloned();
    let kernel = match disk {
        Some(_) => target.sibling(&["kernel"]).filter(|_| machine.firmware() == Firmware::Kernel),
        None => target.sibling(&["ramdisk"]),
    };
    if disk.is_none() && kernel.is_none() {
        faults.push(
            Fault::error("test/disk", "there is no disk beside this test that could boot")
                .at(&name.place, "this test")
                .help("add one to the same block: `output \"raw\"`, or `output \"qcow2\"`"),
        );
        return None;
    }
    if machine.firmware() == Firmware::Kernel && kernel.is_none() {
        faults.push(
            Fault::error("test/kernel", "this machine has no boot loader, and its kernel is not written")
                .at(&name.place, "this test")
                .help("add `output \"kernel\"` beside it"),
        );
    }
    let timeout = node.integer("timeout").map_or(600, |timeout| timeout.value);
    let stated = Stated { place: node.place.clone(), path: None };
    let kernel = kernel.cloned();
    Some(Arc::new(Trial { stated, name: name.value, machine, disk, kernel, acts, timeout }))
}

/// A test that cannot fail is none.
fn check_acts(acts: &[Act], node: &Node, faults: &mut Faults) {
    let only_types = acts.iter().all(|act| matches!(act, Act::Send(_)));
    let wrong = match acts {
        [] => Some(("test/empty", "this test asks for nothing")),
        _ => only_types.then_some(("test/passes", "this test only types, and passes whatever happens")),
    };
    if let Some((code, message)) = wrong.filter(|_| node.understood) {
        faults.push(
            Fault::error(code, message)
                .at(&node.place, "this test")
                .help("say what has to come: `wait-for \"login:\"`, or `run \"COMMAND\"`"),
        );
    }
    for act in acts {
        if let Act::WaitFor(text) | Act::Run { command: text, .. } = act
            && text.value.trim().is_empty()
        {
            faults.push(
                Fault::error("test/blank", "nothing is asked for here")
                    .at(&text.place, "this is always there"),
            );
        }
    }
}

fn act(node: &Node) -> Option<Act> {
    match node.word.name {
        "wait-for" => node.text("text").map(Act::WaitFor),
        "send" => node.text("text").map(Act::Send),
        _ => {
            let on_console = node.text("on").is_some_and(|on| on.value == "console");
            Some(Act::Run { command: node.text("command")?, on_console })
        }
    }
}

impl Output for Trial {
    fn kind(&self) -> &'static str {
        TEST
    }
    fn name(&self) -> String {
        self.name.clone()
    }
    fn extension(&self) -> String {
        format!("{}.log", self.name)
    }
    fn place(&self) -> &Place {
        &self.stated.place
    }
    fn path(&self) -> Option<&Spanned<String>> {
        None
    }
    fn is_report(&self) -> bool {
        true
    }
    fn needs_image(&self) -> bool {
        false
    }
    fn reads(&self, other: &dyn Output) -> bool {
        self.disk.iter().chain(&self.kernel).any(|sibling| sibling.is(other))
    }
    fn tools(&self) -> Vec<&'static [&'static str]> {
        vec![if self.machine.arch() == "arm64" { EMULATOR_ARM64 } else { EMULATOR_AMD64 }]
    }

    fn facts(&self, _world: &World) -> Result<Facts, Fault> {
        let mut key = Key::new(TEST, 1);
        self.machine.hardware_facts(&mut key);
        key.fact("arch", self.machine.arch());
        key.fact_if("console", self.machine.console());
        key.fact("timeout", self.timeout);
        for act in &self.acts {
            match act {
                Act::WaitFor(text) => key.fact("wait-for", &text.value),
                Act::Send(text) => key.fact("send", &text.value),
                Act::Run { command, on_console: false } => key.fact("run", &command.value),
                Act::Run { command, on_console: true } => key.fact("run-on-console", &command.value),
            }
        }
        Ok(Facts::new(key))
    }

    fn write(&self, writing: Writing<'_>) -> Result<Written, Fault> {
        let tree = writing.aids.tool(self.tools()[0][0])?;
        let file = |sibling: &Option<Sibling>| {
            let kind = sibling.as_ref()?.kind;
            writing.aids.outputs.iter().find(|(of, _)| *of == kind).map(|(_, path)| path.as_path())
        };
        let files = Files { disk: file(&self.disk), kernel: file(&self.kernel) };
        self.converse(tree, files, &writing).map(|()| Written::default())
    }
}
