//! The program.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = imgbuild::sandbox::entered() {
        return code;
    }
    ExitCode::SUCCESS
}
