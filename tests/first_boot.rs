//! Hooks of the first boot, in a machine that boots: once, in order, before the login prompt, whatever becomes of one.
//!
//! The machine is emulated, as there may be no other: a boot takes a minute on a machine that has much to do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod project;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use imgbuild::deb::sources;
use project::{Project, is_root, sandboxes, skipped};

const TIME_LIMIT: Duration = Duration::from_secs(300);

const MANIFEST: &str = r#"
hook-list "helped" from="first-boot.d"
image "machine" {
    base "debian" suite="bookworm"
    hooks "helped"
    hooks phase="first-boot" {
        hook "fails" run="echo words of the one that fails; echo fails >>/var/lib/marks; exit 7"
        hook "last" run="echo words of the last: $WORD; echo last >>/var/lib/marks" {
            env WORD="it's there"
        }
    }
    hypervisor "systemd" {
        flavours "vm" "serial-console" "growroot" ROOT="/dev/vda" RESOLVER=""
        output "dir"
    }
    hypervisor "sysvinit" {
        packages { sysvinit-core; initscripts; udev; linux-image-cloud-amd64 }
        flavours "serial-console" "growroot"
        files {
            file "/etc/fstab" content="/dev/vda / auto defaults 0 1\n"
        }
        output "dir"
    }
}
"#;

/// What a file beside the script says, it takes in.
const HELPED: &str = "#!/bin/sh\n. \"$(dirname \"$0\")/defaults\"\necho \"words of the first: $WORDS\"\n\
                      echo first >>/var/lib/marks\n";

/// How big the disk is; the file system begins with half of it.
const DISK: u64 = 1 << 30;

#[test]
fn hooks_run_once_before_the_login_prompt() {
    let found = sources::host(Path::new("/etc/apt"), "debian", "bookworm", "amd64");
    if !cfg!(target_arch = "x86_64") || found.is_empty() {
        return skipped("a mirror of Debian for amd64 in its apt sources");
    }
    if !is_root() {
        return skipped("root, for a disk with files of others");
    }
    for tool in ["qemu-system-x86_64", "mke2fs", "e2fsck", "debugfs"] {
        if imgbuild::sandbox::resolve_program(tool, imgbuild::sandbox::PATH).is_none() {
            return skipped(tool);
        }
    }
    if !sandboxes() {
        return;
    }
    let project = Project::new();
    project.write("image.kdl", MANIFEST);
    project.write("first-boot.d/10-helped", HELPED);
    project.mode("first-boot.d/10-helped", 0o755);
    project.write("first-boot.d/defaults", "WORDS=helped\n");
    project.build();
    // Beside each other: most of a boot is waiting.
    std::thread::scope(|scope| {
        for kind in ["systemd", "sysvinit"] {
            let project = &project;
            scope.spawn(move || boots_twice(project, kind));
        }
    });
}

fn boots_twice(project: &Project, kind: &str) {
    let machine = Machine::of(project, kind);
    let first = machine.boot("first");
    let prompt = first.find("login:").unwrap_or_else(|| panic!("{kind}: no prompt:\n{first}"));
    let mut from = 0;
    for words in
        ["words of the first: helped", "words of the one that fails", "words of the last: it's there"]
    {
        assert_eq!(first.matches(words).count(), 1, "{kind}: {words}:\n{first}");
        let at = first.find(words).unwrap();
        assert!((from..prompt).contains(&at), "{kind}: `{words}` is in its place:\n{first}");
        from = at;
    }
    assert!(first.contains("-fails failed with 7"), "{kind}: it is told:\n{first}");
    // The machine lost its power at the prompt.
    let second = machine.boot("second");
    machine.settle();
    assert!(second.contains("login:"), "{kind}: no prompt:\n{second}");
    assert!(!second.contains("words of") && !second.contains("first boot:"), "{kind}:\n{second}");
    assert_eq!(machine.debugfs("cat /var/lib/marks"), "first\nfails\nlast\n", "{kind}");
    assert_eq!(machine.debugfs("ls -p /var/lib/imgbuild/first-boot.d"), "", "{kind}: they are gone");
    // The kernel counts as much of a disk as fits in blocks.
    let size = machine.blocks();
    assert!(size > DISK / 10 * 9, "{kind}: the root file system has {size} bytes");
}

/// An image on a disk, with its kernel and initramfs beside it.
struct Machine {
    folder: PathBuf,
}

impl Machine {
    fn of(project: &Project, kind: &str) -> Machine {
        let folder = project.outer().join(kind);
        fs::create_dir(&folder).unwrap();
        let machine = Machine { folder };
        let target = format!("machine:{kind}");
        let boot = project.run(&["ls", &target, "/boot", "--json"]).out;
        for (file, name) in [("kernel", "boot/vmlinuz-"), ("initrd", "boot/initrd.img-")] {
            let entries = boot.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            let mut paths = entries.map(|entry| entry["path"].as_str().unwrap().to_string());
            let path = paths.find(|path| path.starts_with(name)).unwrap();
            let cat = project.command(&["cat", &target, &path]).output().unwrap();
            assert!(cat.status.success(), "{cat:?}");
            fs::write(machine.folder.join(file), cat.stdout).unwrap();
        }
        let disk = machine.folder.join("disk");
        let mut mke2fs = Command::new("/usr/sbin/mke2fs");
        mke2fs.args(["-q", "-t", "ext4", "-d"]).arg(project.path(&format!("build/machine-{kind}.dir")));
        let made = mke2fs.arg(&disk).arg("512M").output().unwrap();
        assert!(made.status.success(), "{made:?}");
        fs::File::options().write(true).open(disk).unwrap().set_len(DISK).unwrap();
        machine
    }

    /// What stands on the serial line up to the login prompt; then the power goes.
    fn boot(&self, name: &str) -> String {
        let log = self.folder.join(name);
        let drive = format!("file={},format=raw,if=virtio", self.folder.join("disk").display());
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args([
            "-accel",
            "tcg,thread=multi",
            "-m",
            "512",
            "-smp",
            "2",
            "-display",
            "none",
            "-nodefaults",
        ]);
        qemu.arg("-no-reboot").args(["-serial", &format!("file:{}", log.display()), "-drive", &drive]);
        qemu.arg("-kernel").arg(self.folder.join("kernel")).arg("-initrd").arg(self.folder.join("initrd"));
        qemu.args(["-append", "root=/dev/vda rw console=ttyS0 quiet panic=-1"]);
        let mut child = Running(qemu.stdin(Stdio::null()).spawn().unwrap());
        let start = Instant::now();
        let read = || String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
        while start.elapsed() < TIME_LIMIT && child.0.try_wait().unwrap().is_none() {
            if read().contains("login:") {
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        drop(child);
        read()
    }

    /// Puts what stands in the journal into its place, as the next boot would: debugfs does not look there.
    fn settle(&self) {
        let mut e2fsck = Command::new("/usr/sbin/e2fsck");
        let done = e2fsck.args(["-y", "-E", "journal_only"]).arg(self.folder.join("disk")).output().unwrap();
        // 1: it has done so.
        assert!(done.status.code().is_some_and(|code| code <= 1), "{done:?}");
    }

    /// What debugfs answers, which looks into the disk as it is.
    fn debugfs(&self, request: &str) -> String {
        let mut debugfs = Command::new("/usr/sbin/debugfs");
        let done = debugfs.args(["-R", request]).arg(self.folder.join("disk")).output().unwrap();
        String::from_utf8(done.stdout).unwrap()
    }

    /// How many bytes the file system has.
    fn blocks(&self) -> u64 {
        let told = self.debugfs("show_super_stats -h");
        let number = |title: &str| -> u64 {
            told.lines().find_map(|line| line.strip_prefix(title)).unwrap().trim().parse().unwrap()
        };
        number("Block count:") * number("Block size:")
    }
}

/// A process that ends with the test, whichever way that goes.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
