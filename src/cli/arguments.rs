//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::messages;
use crate::plan::Wanted;

/// A Makefile for images: declare them in image.kdl, build only what changed.
#[derive(Debug, Parser)]
#[command(name = "imgbuild", version, subcommand_precedence_over_arg = true, disable_help_subcommand = true)]
#[command(
    after_help = "Without a command, imgbuild builds what is out of date.\n\nExit codes: 0 done, 1 a step failed, \
                        2 the manifest or the command line is wrong,\n3 this machine cannot, 130 interrupted. `diff` \
                        ends with 1 if there is a difference.\n\n`imgbuild help WORD` tells of a command, or of a \
                        word of the manifest."
)]
pub struct Arguments {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// What to build when there is no command.
    #[command(flatten)]
    pub build: Build,
    /// The command.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Common {
    /// Work as if started in DIR
    #[arg(short = 'C', value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,
    /// The manifest [default: image.kdl]
    #[arg(short, long, value_name = "FILE", global = true)]
    pub file: Option<PathBuf>,
    /// Set a variable of the manifest
    #[arg(long = "set", value_name = "NAME=VALUE", global = true)]
    pub set: Vec<String>,
    /// The folder where what was built is kept
    #[arg(long, value_name = "DIR", global = true)]
    pub cache: Option<PathBuf>,
    /// A folder of hooks, behind those of the manifest
    #[arg(long, value_name = "DIR", global = true)]
    pub hooks: Vec<PathBuf>,
    /// A lock that the manifest no longer fits is an error
    #[arg(long, global = true)]
    pub locked: bool,
    /// Fetch nothing: use what was fetched before
    #[arg(long, global = true, conflicts_with = "refresh")]
    pub offline: bool,
    /// Fetch the indexes of packages anew
    #[arg(long, global = true)]
    pub refresh: bool,
    /// Write formats with this machine's programs, in place of those of a locked Debian tree
    #[arg(long, global = true)]
    pub host_tools: bool,
    /// How mistakes are told
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "fancy", global = true)]
    pub message_format: messages::Format,
    /// When to use colour
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto", global = true)]
    pub color: Color,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build what is out of date
    Build(Build),
    /// Say what a build would do, and why; change nothing
    Plan(Plan),
    /// Boot what has tests, and see whether it does what they ask for
    Test(Test),
    /// Say what is wrong with the manifest
    Check,
    /// Say why a step would run, or when it would
    Why(Why),
    /// Let locked versions of packages go, and say what changes
    Update(Update),
    /// List the packages of an image: version, size, and which list asked for each
    Packages(Packages),
    /// List the flavours that images can take, or tell of one
    Flavours(Flavours),
    /// Open a shell in the state that an image, or a step, leaves
    Shell(Shell),
    /// Boot an image in QEMU, its serial line in this terminal
    Boot(Boot),
    /// Write a target as a kernel and an initramfs that is all of it
    Ramdisk(Ramdisk),
    /// Write the kernel of an image, and its initramfs, to files
    Extract(Extract),
    /// List what is in an image, a layer, a tar file or a folder
    Ls(Ls),
    /// Write out a file of an image, a layer, a tar file or a folder
    Cat(Cat),
    /// Say in which paths two images, layers, tar files or folders differ
    Diff(Diff),
    /// List an overlay, or write it out as a tar
    Overlay(Overlay),
    /// Look after what is kept of earlier builds
    #[command(subcommand)]
    Cache(Cache),
    /// Remove the outputs that were built, if nobody changed them since
    Clean(Clean),
    /// Begin a project: write an image.kdl to start from
    Init(Init),
    /// Write the completions for a shell
    Completions(Completions),
    /// Write the manual page
    Man(Man),
    /// Tell of a command, or of a word of the manifest
    Help(Help),
    /// Write the schema of manifests, or of what a command answers with `--json`
    Schema(Schema),
}

impl Command {
    /// Whether it needs neither a manifest nor a cache: it must work even where the user's configuration is wrong.
    pub fn is_about_imgbuild(&self) -> bool {
        matches!(
            self,
            Command::Init(_)
                | Command::Completions(_)
                | Command::Man(_)
                | Command::Help(_)
                | Command::Schema(_)
        )
    }
}

/// What to build, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Build {
    /// Targets: IMAGE, HYPERVISOR or IMAGE:HYPERVISOR [default: all]
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// How many steps run at once [default: one a core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Go on with what does not need a step that failed
    #[arg(short, long)]
    pub keep_going: bool,
    /// Only say what would be done (the same as `plan`)
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Tell what happens as lines of JSON
    #[arg(long)]
    pub json: bool,
    /// Build what is needed up to STEP, open a shell in the state `before` or `after` it, and go on when it ends with 0
    #[arg(long = "break", value_names = ["WHEN", "STEP"], num_args = 2, conflicts_with = "dry_run")]
    pub pause: Vec<String>,
    /// Write a page with the steps over time
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "build/timings.html")]
    pub timings: Option<PathBuf>,
    /// Whether tests run, too.
    #[arg(skip)]
    pub tests: bool,
    /// Where a report of the tests goes.
    #[arg(skip)]
    pub junit: Option<PathBuf>,
    /// What is built in place of targets.
    #[arg(skip)]
    pub only: Option<Only>,
}

/// A part of what a manifest asks for, or something that it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Only {
    /// An output that a target may not have.
    Ramdisk(Ramdisk),
    /// Steps by their ids, and what they stand on.
    Steps(Vec<String>),
}

impl Build {
    /// The plan of this build.
    pub fn planned(&self) -> Plan {
        let (targets, json, tests) = (self.targets.clone(), self.json, self.tests);
        Plan { targets, json, graph: None, all: false, tests, exit_code: false }
    }

    /// What is asked for of its targets.
    pub fn wanted(&self) -> Wanted {
        if self.tests { Wanted::Tests } else { Wanted::Outputs }
    }
}

/// What to test, and how.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Each `test` of the manifest boots its disk in QEMU, which comes from a locked Debian tree. What is out of date \
                  is built first. A test that passed runs again when its disk, or it itself, has changed. What the console \
                  said is in `build/IMAGE-HYPERVISOR.NAME.log`, whether the test passed or not."
)]
pub struct Test {
    /// What is built for it.
    #[command(flatten)]
    pub build: Build,
    /// Write a report of all tests in JUnit's format
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

impl Test {
    /// The build in which the tests are steps.
    pub fn asked(&self) -> Build {
        Build { tests: true, junit: self.junit.clone(), ..self.build.clone() }
    }
}

/// What to plan, and how to tell it.
#[derive(Clone, Debug, Args)]
pub struct Plan {
    /// Targets: IMAGE, HYPERVISOR or IMAGE:HYPERVISOR [default: all]
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Tell it as JSON
    #[arg(long, conflicts_with = "graph")]
    pub json: bool,
    /// Draw the steps
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub graph: Option<Drawing>,
    /// Name the steps that are fresh, too
    #[arg(short, long)]
    pub all: bool,
    /// With the steps of `imgbuild test`
    #[arg(long)]
    pub tests: bool,
    /// End with 10 if there is work
    #[arg(long)]
    pub exit_code: bool,
}

/// How a graph is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Drawing {
    /// For Graphviz
    Dot,
    /// For Mermaid, as Markdown pages show it
    Mermaid,
    /// A picture
    Svg,
}

/// Which step to explain.
#[derive(Clone, Debug, Args)]
pub struct Why {
    /// A step as `plan` names it, an overlay, or a target
    pub step: String,
    /// Tell it as JSON
    #[arg(long)]
    pub json: bool,
    /// Show the whole key
    #[arg(long)]
    pub key: bool,
}

/// Which packages to let go.
#[derive(Clone, Debug, Args)]
pub struct Update {
    /// Packages [default: all but those that are held]
    #[arg(value_name = "PACKAGE")]
    pub packages: Vec<String>,
    /// Only say what would change
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Tell it as lines of JSON
    #[arg(long)]
    pub json: bool,
}

/// Whose packages to list.
#[derive(Clone, Debug, Args)]
pub struct Packages {
    /// Targets: IMAGE, HYPERVISOR or IMAGE:HYPERVISOR [default: all]
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Tell it as lines of JSON
    #[arg(long)]
    pub json: bool,
}

/// Which flavour to tell of.
#[derive(Clone, Debug, Args)]
pub struct Flavours {
    /// A flavour: what it has, and what may be set [default: list all]
    pub name: Option<String>,
    /// Tell it as lines of JSON
    #[arg(long)]
    pub json: bool,
}

/// Where to open a shell.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "WHAT is a target (IMAGE, HYPERVISOR or IMAGE:HYPERVISOR) or a step as `imgbuild plan` names it; a step's \
                  state is that of the first target that has it, up to the step. Layers that are out of date are built \
                  first. Before a step there is what its programs find: its files, environment and folder. What the \
                  shell changes is thrown away unless --keep says otherwise."
)]
pub struct Shell {
    /// A target or a step
    #[arg(required_unless_present = "failed")]
    pub what: Option<String>,
    /// In the state in which the step begins
    #[arg(long, conflicts_with_all = ["after", "failed"])]
    pub before: bool,
    /// In the state that the step leaves (as without it)
    #[arg(long, conflicts_with = "failed")]
    pub after: bool,
    /// In the state in which the step, or else the latest that did, failed
    #[arg(long)]
    pub failed: bool,
    /// Write what the shell changes to FILE, as a tar that an overlay can be made from
    #[arg(long, value_name = "FILE")]
    pub keep: Option<PathBuf>,
    /// Let it reach the network
    #[arg(long)]
    pub network: bool,
    /// A command to run in place of the shell
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// What to boot, and how.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The target's disk is built first: its output `raw`, or else `qcow2` or one of the others. Memory, processors \
                  and firmware are those of the manifest's `machine`. Ctrl-A X ends the machine. What it writes to its disk \
                  is thrown away unless --keep says otherwise.\n\n\
                  With --wait-for it ends with 0 as soon as TEXT stands on the serial line, and with 1 if it does not come."
)]
pub struct Boot {
    /// A target, or the file of a disk: raw, qcow2, vmdk, vdi, vhd or vhdx
    pub what: String,
    /// Let the disk keep what is written to it, until it is built anew
    #[arg(long)]
    pub keep: bool,
    /// Let connections to this port of localhost reach the machine's port 22
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub ssh: Option<u16>,
    /// End as soon as this text stands on the serial line
    #[arg(long, value_name = "TEXT")]
    pub wait_for: Option<String>,
    /// How many seconds to wait for the text, or for the machine's end
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout: Option<u32>,
    /// Its memory, in MiB [default: the manifest's]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(16..))]
    pub memory: Option<u32>,
    /// What starts it [default: the manifest's]
    #[arg(long, value_enum, value_name = "FIRMWARE")]
    pub firmware: Option<Firmware>,
    /// Emulate the processor even where KVM works
    #[arg(long)]
    pub no_kvm: bool,
}

/// What starts a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Firmware {
    /// A BIOS
    Bios,
    /// EFI
    Efi,
}

/// What to write as a kernel and its initramfs, and where.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(
    after_help = "What `output \"ramdisk\"` writes, for a target that has none: the image's newest kernel as `vmlinuz`, and all of \
                  the image as `initramfs`, which needs an `/init`."
)]
pub struct Ramdisk {
    /// A target: IMAGE, HYPERVISOR or IMAGE:HYPERVISOR
    pub target: String,
    /// The folder that is written [default: build/IMAGE-HYPERVISOR.ramdisk]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

impl Ramdisk {
    /// The build of it.
    pub fn asked(&self) -> Build {
        Build { only: Some(Only::Ramdisk(self.clone())), ..Build::default() }
    }
}

/// What to take out of what.
#[derive(Clone, Debug, Args)]
#[command(after_help = WHAT)]
pub struct Extract {
    /// What is taken out: the newest kernel, and the initramfs of the same version
    #[arg(value_enum)]
    pub part: ExtractPart,
    /// A target, a step, a tar file, a disk or a folder
    pub what: String,
    /// The folder that they are written to
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub output: PathBuf,
}

/// What can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExtractPart {
    /// NAME-vmlinuz and NAME-initrd
    Kernel,
}

/// What to list.
#[derive(Clone, Debug, Args)]
#[command(after_help = WHAT)]
pub struct Ls {
    /// A target, an overlay, a step, a tar file, a disk or a folder [default: say what there is]
    pub what: Option<String>,
    /// Only this path of it, and what is below
    pub path: Option<OsString>,
    /// Of a disk, only what is in the partition of that number
    #[arg(long, value_name = "N", requires = "what")]
    pub partition: Option<u32>,
    /// Tell it as lines of JSON
    #[arg(long)]
    pub json: bool,
}

/// Which file to write out.
#[derive(Clone, Debug, Args)]
#[command(after_help = WHAT)]
pub struct Cat {
    /// A target, an overlay, a step, a tar file, a disk or a folder
    pub what: String,
    /// The path of a file in it; links are followed inside it
    pub path: OsString,
    /// Of a disk, only what is in the partition of that number
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,
}

/// What to compare.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Each is a target, an overlay, a step, a tar file, a disk or a folder (see `imgbuild ls --help`).\n\
                  Ends with 0 if there is no difference and with 1 if there is one."
)]
pub struct Diff {
    /// The first
    pub a: String,
    /// The second
    pub b: String,
    /// Tell it as lines of JSON
    #[arg(long)]
    pub json: bool,
}

const WHAT: &str = "WHAT is one of these, the first that fits:\n  \
                    a target      IMAGE, HYPERVISOR or IMAGE:HYPERVISOR\n  \
                    an overlay    declared, used, or on the search path\n  \
                    a step        as `imgbuild plan` names it\n  \
                    a tar file    plain, or compressed with gzip, bzip2, xz or zstd\n  \
                    a disk        also as qcow2, vmdk, vhd, vhdx or vdi: ext4, btrfs, xfs, vfat, where its fstab mounts them\n  \
                    a folder\n\nLayers that are out of date are built first. A name with a slash in it is a path.\n\
                    The path of an output is the file as it is there; its target's name is what the manifest makes now.";

/// Which overlay.
#[derive(Clone, Debug, Args)]
pub struct Overlay {
    /// An overlay: declared, used, or on the search path
    pub name: String,
    /// Write its layer as a tar to FILE, `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub tar: Option<PathBuf>,
    /// Tell it as lines of JSON
    #[arg(long, conflicts_with = "tar")]
    pub json: bool,
}

/// What to do with what is kept of earlier builds.
#[derive(Clone, Debug, Subcommand)]
pub enum Cache {
    /// Say which layers are kept
    List {
        /// Tell it as lines of JSON
        #[arg(long)]
        json: bool,
    },
    /// Build the layers of overlays now, so that later builds find them
    Add {
        /// Overlays [default: all that the manifest names]
        #[arg(value_name = "OVERLAY")]
        overlays: Vec<String>,
    },
    /// Remove everything
    Clear,
    /// Remove what no build used for long
    Gc {
        /// Keep what was used in the last DAYS days
        #[arg(long, value_name = "DAYS", default_value_t = 14, value_parser = clap::value_parser!(u32).range(0..=36_500))]
        max_age: u32,
        /// Then remove what was used longest ago until no more than SIZE is left, such as 10GiB
        #[arg(long, value_name = "SIZE", value_parser = size)]
        max_size: Option<u64>,
    },
    /// Read every layer, and remove what is damaged
    Verify,
}

fn size(text: &str) -> Result<u64, String> {
    crate::lang::value::parse_size(text).ok_or_else(|| "write it like 500MiB or 10GiB".to_string())
}

/// What to remove.
#[derive(Clone, Debug, Args)]
pub struct Clean {
    /// Only say what would be removed
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// What to begin with.
#[derive(Clone, Debug, Args)]
pub struct Init {
    /// A starting point [default: overlays]
    pub name: Option<String>,
    /// Say which starting points there are
    #[arg(long, conflicts_with = "name")]
    pub list: bool,
}

/// For which shell.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "For bash:  imgbuild completions bash > ~/.local/share/bash-completion/completions/imgbuild\n\
                  For zsh:   imgbuild completions zsh > DIR/_imgbuild, where DIR is in $fpath\n\
                  For fish:  imgbuild completions fish > ~/.config/fish/completions/imgbuild.fish"
)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Where the manual goes.
#[derive(Clone, Debug, Args)]
#[command(after_help = "To read it:  imgbuild man | man -l -")]
pub struct Man {
    /// Write a page for each command into DIR
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// What to tell of.
#[derive(Clone, Debug, Args)]
pub struct Help {
    /// A command, such as `cache gc`, or a word of the manifest, such as `output tar`
    pub words: Vec<String>,
}

/// Which schema.
#[derive(Clone, Debug, Args)]
pub struct Schema {
    /// The JSON Schema of what that command answers (`ls` without a name: `targets`)
    #[arg(long, value_name = "COMMAND")]
    pub json: Option<String>,
}

/// The names of the commands, for those who type one of them wrong.
pub const COMMANDS: &[&str] = &[
    "build",
    "plan",
    "test",
    "check",
    "why",
    "update",
    "packages",
    "flavours",
    "shell",
    "boot",
    "ramdisk",
    "extract",
    "ls",
    "cat",
    "diff",
    "overlay",
    "cache",
    "clean",
    "init",
    "completions",
    "man",
    "help",
    "schema",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split(' '))
    }

    #[test]
    fn what_every_command_takes_may_stand_before_it() {
        for line in ["imgbuild -C there plan", "imgbuild plan -C there"] {
            let arguments = parse(line).expect(line);
            assert_eq!(arguments.common.directory.as_deref(), Some("there".as_ref()), "{line}");
            assert!(matches!(arguments.command, Some(Command::Plan(_))), "{line}");
        }
        assert_eq!(parse("imgbuild -C there qemu").expect("a target").build.targets, ["qemu"]);
    }
}
