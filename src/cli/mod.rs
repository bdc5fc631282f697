//! The edge: the only room that prints, exits, or reads the environment.

mod arguments;
mod boot;
mod build;
mod cache;
mod check;
mod clean;
mod config;
mod drawing;
mod flavours;
mod folded;
mod init;
mod inside;
mod junit;
mod look;
mod packages;
mod pages;
mod pause;
pub mod contract;
pub mod exit;
pub mod messages;
mod planning;
mod progress;
pub mod schemas;
mod ramdisk;
mod session;
mod shell;
mod states;
mod terminal;
mod timings;
mod why;

use std::process::ExitCode;

use clap::Parser;

pub use arguments::Arguments;
use arguments::{Build, Command};
use exit::Exit;
use session::Session;

use crate::fault::{Fault, Faults};

/// Does what the command line asks for.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors, and go to where they were asked for.
            let _ = error.print();
            return if error.use_stderr() { Exit::Asked.into() } else { Exit::Done.into() };
        }
    };
    let mut session = Session::new(&arguments.common);
    run(&mut session, arguments).unwrap_or_else(|faults| session.report(faults)).into()
}

fn run(session: &mut Session, arguments: Arguments) -> Result<Exit, Faults> {
    if arguments.command.is_some() && arguments.build != Build::default() {
        let fault = Fault::error("command/order", "targets and options of a build stand before a command");
        return Err(fault.help("write them behind it: `imgbuild COMMAND …`").into());
    }
    let command = arguments.command.unwrap_or(Command::Build(arguments.build));
    if !command.is_about_imgbuild() {
        session.configure()?;
    }
    match command {
        Command::Build(build) if build.dry_run => planning::run(session, &build.planned()),
        Command::Build(build) => build::run(session, &build),
        Command::Plan(plan) => planning::run(session, &plan),
        Command::Test(test) if test.build.dry_run => planning::run(session, &test.asked().planned()),
        Command::Test(test) => build::run(session, &test.asked()),
        Command::Check => check::run(session),
        Command::Why(why) => why::run(session, &why),
        Command::Update(update) => packages::update(session, &update),
        Command::Packages(asked) => packages::list(session, &asked),
        Command::Flavours(asked) => flavours::run(session, &asked),
        Command::Shell(shell) => shell::run(session, &shell),
        Command::Boot(asked) => boot::run(session, &asked),
        Command::Ramdisk(asked) => build::run(session, &asked.asked()),
        Command::Extract(asked) => look::extract(session, &asked),
        Command::Ls(ls) => look::list(session, &ls),
        Command::Cat(cat) => look::write_out(session, &cat),
        Command::Diff(diff) => look::compare(session, &diff),
        Command::Overlay(overlay) => look::overlay(session, &overlay),
        Command::Cache(cache) => cache::run(session, &cache),
        Command::Clean(clean) => clean::run(session, &clean),
        Command::Init(init) => init::run(session, &init),
        Command::Completions(asked) => pages::completions(session, &asked),
        Command::Man(man) => pages::manual(session, &man),
        Command::Help(help) => pages::help(session, &help),
        Command::Schema(schema) => pages::schema(session, &schema),
    }
}
