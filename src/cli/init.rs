//! `imgbuild init`: a project to start from.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::arguments::Init;
use super::exit::Exit;
use super::session::Session;
use crate::fault::{Fault, Faults};
use crate::wording;

/// A starting point.
#[derive(Debug)]
struct Start {
    name: &'static str,
    summary: &'static str,
    manifest: &'static str,
    /// What else it needs: path, text, and whether it is a program.
    files: &'static [(&'static str, &'static str, bool)],
}

static STARTS: &[Start] = &[
    Start {
        name: "overlays",
        summary: "an image made of overlays, as a tar",
        manifest: include_str!("init/overlays.kdl"),
        files: &[("overlays/site/etc/motd", "welcome\n", false)],
    },
    Start {
        name: "debian",
        summary: "a Debian server: packages, and overlays on top",
        manifest: include_str!("init/debian.kdl"),
        files: &[("overlays/site/etc/motd", "welcome\n", false)],
    },
    Start {
        name: "xcluster",
        summary: "overlays with `tar` scripts, on a CD-ROM",
        manifest: include_str!("init/xcluster.kdl"),
        files: &[
            ("overlays/network/tar", include_str!("init/network.tar.sh"), true),
            ("overlays/network/default/etc/motd", "welcome\n", false),
        ],
    },
    Start {
        name: "initramfs",
        summary: "the first root file system of Linux, as a cpio archive",
        manifest: include_str!("init/initramfs.kdl"),
        files: &[("overlays/busybox/init", include_str!("init/init.sh"), true)],
    },
    Start {
        name: "oci",
        summary: "a container image",
        manifest: include_str!("init/oci.kdl"),
        files: &[("overlays/site/usr/bin/web", include_str!("init/web.sh"), true)],
    },
];

/// Writes a project. What is there already stays as it is.
pub fn run(session: &Session, asked: &Init) -> Result<Exit, Faults> {
    if asked.list {
        session.terminal.answer(&list());
        return Ok(Exit::Done);
    }
    let name = asked.name.as_deref().unwrap_or("overlays");
    let start = STARTS.iter().find(|start| start.name == name).ok_or_else(|| unknown(name))?;
    let manifest = session.manifest();
    write_new(session, &manifest, start.manifest, false)?;
    let folder = manifest.parent().unwrap_or(Path::new("."));
    for (path, text, is_program) in start.files {
        let path = folder.join(path);
        if path.symlink_metadata().is_ok() {
            session.terminal.tell(&format!("left {} as it is\n", session.shown(&path)));
        } else {
            write_new(session, &path, text, *is_program)?;
        }
    }
    session.terminal.tell("now: imgbuild\n");
    Ok(Exit::Done)
}

fn list() -> String {
    let mut text = String::new();
    for start in STARTS {
        let _ = writeln!(text, "{:<10}  {}", start.name, start.summary);
    }
    text
}

/// Writes a file that is not there yet.
fn write_new(session: &Session, path: &Path, text: &str, is_program: bool) -> Result<(), Fault> {
    let write = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mode = if is_program { 0o777 } else { 0o666 };
        let mut file = fs::File::options().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())
    };
    let shown = session.shown(path);
    write().map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Fault::error("init/there", format!("`{shown}` is there already"))
            .help("it is left as it is; begin in another folder, or move it away"),
        _ => Fault::io("write", path, &error),
    })?;
    session.terminal.tell(&format!("wrote {shown}\n"));
    Ok(())
}

fn unknown(name: &str) -> Fault {
    let fault =
        Fault::error("init/unknown", format!("there is no starting point `{}`", wording::printable(name)));
    fault.maybe_help(wording::suggest(name, STARTS.iter().map(|start| start.name)))
}
