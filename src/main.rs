//! The program.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before all else: a stage of a sandbox must not have made a thread.
    imgbuild::sandbox::entered().unwrap_or_else(imgbuild::cli::main)
}
