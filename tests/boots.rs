//! An initramfs that imgbuild wrote boots a Linux kernel, in each of its compressions.
//!
//! The kernel is Debian's, unpacked into `target/test-kernel`; where it is not there it is fetched with `apt-get
//! download` from wherever this machine has its packages from.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod tools;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use tools::{Project, ran, skip, tool};

const TIME_LIMIT: Duration = Duration::from_secs(90);

const INIT: &str =
    "#!/bin/busybox sh\n/bin/busybox echo \"imgbuild is up\" > /dev/console\n/bin/busybox poweroff -f\n";

#[test]
fn an_initramfs_boots_in_each_compression() {
    let (Some(qemu), Some(busybox), Some(kernel)) =
        (tool("qemu-system-x86_64", "qemu-system-x86"), tool("busybox", "busybox-static"), kernel())
    else {
        return;
    };
    let project = Project::new(&format!(
        "image \"tiny\" {{\n    overlays \"init\"\n    files {{ file \"/bin/busybox\" from=\"{}\"; }}\n    output \"cpio\"\n    \
         output \"cpio\" compression=\"gzip\"\n    output \"cpio\" compression=\"xz\"\n    output \"cpio\" \
         compression=\"zstd\"\n}}\n",
        busybox.display()
    ));
    project.script("overlays/init/init", INIT);
    fs::create_dir(project.at("overlays/init/dev")).unwrap();
    project.build();
    for ending in ["cpio", "cpio.gz", "cpio.xz", "cpio.zst"] {
        let console = boot(&qemu, &kernel, &project.at(format!("build/tiny.{ending}")));
        assert!(console.contains("imgbuild is up"), "{ending}:\n{console}");
    }
}

/// What stands on the serial console up to the awaited line, or to the end.
fn boot(qemu: &Path, kernel: &Path, initramfs: &Path) -> String {
    let machine =
        ["-accel", "tcg", "-m", "256", "-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio"];
    let mut child = Command::new(qemu)
        .args(machine)
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 panic=-1 rdinit=/init quiet"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let console = console(&mut child);
    // It has powered off by itself, or is not going to.
    let _ = child.kill();
    child.wait().unwrap();
    console
}

fn console(child: &mut Child) -> String {
    let (send, lines) = mpsc::channel();
    let mut serial = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        let mut line = Vec::new();
        while serial.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    let start = Instant::now();
    let mut console = String::new();
    while !console.contains("imgbuild is up") {
        match lines.recv_timeout(TIME_LIMIT.saturating_sub(start.elapsed())) {
            Ok(line) => console += &line,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                console += "\n(nothing more in time)\n";
                break;
            }
        }
    }
    console
}

/// A kernel, unpacked from Debian's package if it is not there yet.
fn kernel() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?.join("test-kernel");
    if let Some(kernel) = unpacked(&folder) {
        return Some(kernel);
    }
    let meta = "linux-image-cloud-amd64";
    tool("apt-get", "apt").and(tool("dpkg-deb", "dpkg"))?;
    let depends = ran(Command::new("apt-cache").args(["depends", meta]));
    let package = depends.out.lines().find_map(|line| line.trim().strip_prefix("Depends: "))?.to_string();
    fs::create_dir_all(&folder).ok()?;
    let fetched = ran(Command::new("apt-get").args(["download", &package]).current_dir(&folder));
    let archive = fs::read_dir(&folder)
        .ok()?
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let Some(archive) = archive else {
        return skip(&format!(
            "this machine lacks a kernel to boot (Debian: {meta}): {}",
            fetched.err.trim()
        ));
    };
    ran(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&folder));
    fs::remove_file(archive).ok()?;
    unpacked(&folder)
}

fn unpacked(folder: &Path) -> Option<PathBuf> {
    let boot = fs::read_dir(folder.join("boot")).ok()?;
    boot.flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")))
}
