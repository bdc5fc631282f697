//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::messages;

/// A Makefile for images: declare them in image.kdl, build only what changed.
#[derive(Debug, Parser)]
#[command(name = "imgbuild", version, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
#[command(
    after_help = "Without a command, imgbuild builds what is out of date.\n\nExit codes: 0 done, 1 a step failed, \
                        2 the manifest or the command line is wrong,\n3 this machine cannot, 130 interrupted."
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
    /// Say what is wrong with the manifest
    Check,
    /// Say why a step would run, or when it would
    Why(Why),
}

/// What to build, and how.
#[derive(Clone, Debug, Default, Args)]
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
    /// Write a page with the steps over time
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "build/timings.html")]
    pub timings: Option<PathBuf>,
}

impl Build {
    /// The plan of this build.
    pub fn planned(&self) -> Plan {
        Plan { targets: self.targets.clone(), json: self.json, graph: None, all: false, exit_code: false }
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

/// The names of the commands, for those who type one of them wrong.
pub const COMMANDS: &[&str] = &["build", "plan", "check", "why"];
