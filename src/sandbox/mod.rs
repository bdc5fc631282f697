//! The only room that starts a program.
//!
//! A program that a project brings runs in a sandbox: it sees what was declared, and nothing else of the machine, of
//! the network, or of the people who use it; all that it starts ends with it; and nothing outlives imgbuild, however
//! that is killed. The room knows what a program sees and how it is followed. It does not know what its result means.
//!
//! Three processes take part, from the outside in:
//!
//! - imgbuild ([`Launcher`]) starts its own program once more, and listens: output by a pipe, all else by a socket;
//! - the outer stage (`namespaces`) leaves the namespaces of the host, which a process with threads could not;
//! - the inner stage (`init`), first of the new pid namespace, makes the root (`root`), starts the program, and
//!   answers it.
//!
//! Root is no different from anyone: every sandbox has a user namespace.
//!
//! There are two kinds of root. The host's programs (`root`) get one with one user in it, and no capability at all;
//! a kind of program is a page that says what an order for it is: an overlay's script (`tar_script`)
//! sees the host's system folders, and asks by `xcluster` for more. An image's own programs ([`image`]) get the image's
//! file system and all its users; or they are the host's, and get its system folders with the image as one more folder.

mod clear;
pub mod emulator;
mod host_programs;
mod ids;
pub mod image;
mod init;
mod kernel;
mod launch;
mod mask;
mod namespaces;
mod output;
mod refusal;
mod root;
mod search;
mod tar_script;
mod wire;
mod xcluster;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

pub use host_programs::{PATH, resolve_program};
pub use launch::Launcher;
pub use mask::SHORTEST_MASKED;
pub use search::find_overlay;
pub use tar_script::{TarRun, TarScript};
pub use wire::Exit;

/// The first argument that makes this program a stage of a sandbox.
const STAGE: &str = "__sandbox";
/// Inside: the writable folder for the result.
const OUT: &str = "/imgbuild/out";
/// Inside: imgbuild itself, as the program that a script knows as `$XCLUSTER`.
const XCLUSTER: &str = "/imgbuild/xcluster";
/// Inside: where `xcluster` asks.
const SOCKET: &str = "/imgbuild/socket";
/// Inside: a file that nobody can open, which stands where a file is hidden.
const NOTHING: &str = "/imgbuild/nothing";

/// Something of the host that a script asked for while it ran: its result depends on the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Asked {
    /// Another overlay's folder. [`find_overlay`] answers again.
    Overlay {
        /// The name that was asked for.
        name: String,
        /// The host's folder.
        found: Option<PathBuf>,
    },
    /// A program of the host, copied or listed with its libraries. [`resolve_program`] with [`PATH`] answers again;
    /// which libraries are loaded depends on `/etc/ld.so.cache` too.
    Program {
        /// The name that was asked for; a path where [`PATH`] would not lead there.
        name: String,
        /// The real file.
        found: Option<PathBuf>,
        /// The files whose bytes were used: the program and its libraries.
        files: Vec<PathBuf>,
    },
    /// Other files of the host: libraries of a program that the script made itself, the loader.
    Files {
        /// The files whose bytes were used.
        files: Vec<PathBuf>,
    },
}

/// Does what this process was started for, if imgbuild started it as a part of a sandbox.
///
/// `main` calls this before all else, before any thread is made, and ends with the code that it gets.
pub fn entered() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if Path::new(&name).file_name() == Path::new(XCLUSTER).file_name() {
        return Some(xcluster::answer(arguments, std::env::vars_os()));
    }
    match arguments.next() {
        Some(first) if first == OsStr::new(STAGE) => Some(namespaces::outer_stage()),
        _ => None,
    }
}

/// Whether programs of the architecture, as Debian names it, run here: the machine's own, or by an emulator that the
/// kernel holds open (binfmt_misc's flag `F`), so that it works inside an image.
pub fn runs(arch: &str) -> bool {
    let (own, emulated): (&[&str], &str) = match arch {
        "amd64" => (&["x86_64"], "qemu-x86_64"),
        "i386" => (&["x86_64", "x86"], "qemu-i386"),
        "arm64" => (&["aarch64"], "qemu-aarch64"),
        "armhf" | "armel" => (&["aarch64", "arm"], "qemu-arm"),
        "ppc64el" => (&["powerpc64"], "qemu-ppc64le"),
        "riscv64" => (&["riscv64"], "qemu-riscv64"),
        "s390x" => (&["s390x"], "qemu-s390x"),
        "loong64" => (&["loongarch64"], "qemu-loongarch64"),
        _ => return true,
    };
    let told =
        || std::fs::read_to_string(Path::new("/proc/sys/fs/binfmt_misc").join(emulated)).unwrap_or_default();
    own.contains(&std::env::consts::ARCH)
        || told().lines().any(|line| line.strip_prefix("flags:").is_some_and(|flags| flags.contains('F')))
}
