//! The edge: the only room that prints, exits, or reads the environment.

mod arguments;
mod build;
mod check;
mod drawing;
pub mod contract;
pub mod exit;
pub mod messages;
mod planning;
mod progress;
mod session;
mod terminal;
mod timings;
mod why;

use std::process::ExitCode;

use clap::Parser;

pub use arguments::Arguments;
use arguments::Command;
use exit::Exit;
use session::Session;

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
    let session = Session::new(&arguments.common);
    run(&session, arguments).unwrap_or_else(|faults| session.report(faults)).into()
}

fn run(session: &Session, arguments: Arguments) -> Result<Exit, crate::fault::Faults> {
    match arguments.command {
        None if arguments.build.dry_run => planning::run(session, &arguments.build.planned()),
        None => build::run(session, &arguments.build),
        Some(Command::Build(build)) if build.dry_run => planning::run(session, &build.planned()),
        Some(Command::Build(build)) => build::run(session, &build),
        Some(Command::Plan(plan)) => planning::run(session, &plan),
        Some(Command::Check) => check::run(session),
        Some(Command::Why(why)) => why::run(session, &why),
    }
}
