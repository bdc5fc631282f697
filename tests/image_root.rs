//! Programs of an image, really run in its own root: what they change and who owns it, and what they cannot do.
//!
//! Everything here runs as the caller, and once more as a plain user where the caller is root. The image is one static
//! busybox.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use imgbuild::fault::{Blame, Fault};
use imgbuild::lang::Owner;
use imgbuild::lang::value::Id;
use imgbuild::layer::{Entry, EntryPath, Kind, read};
use imgbuild::sandbox::image::{
    Call, Given, ImageRan, ImageRun, Removal, Removed, Shown, Special, SpecialKind,
};
use imgbuild::sandbox::{Exit, Launcher};

const IMGBUILD: &str = env!("CARGO_BIN_EXE_imgbuild");
const EPOCH: i64 = 1_700_000_000;

/// An image in `image`, and a run in it.
struct Image {
    folder: tempfile::TempDir,
    run: ImageRun,
}

impl Image {
    /// An image with a shell, and this script to run in it, if this machine can.
    fn new(script: &str) -> Option<Image> {
        if let Err(fault) = Launcher::of(IMGBUILD).images_available() {
            return skip(&format!("{fault}: {}", fault.help.clone().unwrap_or_default()));
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| is_static(path));
        let Some(busybox) = busybox else {
            return skip("this machine lacks a static busybox (Debian: busybox-static)");
        };
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        for name in ["bin", "etc", "usr/bin", "var/lib/x", "tmp"] {
            fs::create_dir_all(image.join(name)).unwrap();
        }
        fs::copy(busybox, image.join("bin/busybox")).unwrap();
        symlink("busybox", image.join("bin/sh")).unwrap();
        let mut image = Image { run: run_of(folder.path(), script), folder };
        image.run.lowers = vec![image.path("image")];
        Some(image)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.path("image").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn try_run(&self) -> Result<ImageRan, Fault> {
        Launcher::of(IMGBUILD).run_image(&self.run, &AtomicBool::new(false), &mut |_| {})
    }

    /// Runs, and everything must succeed.
    fn ran(&self) -> ImageRan {
        let ran = self.try_run().unwrap_or_else(|fault| panic!("{fault}: {:?} {:#?}", fault.help, fault.output));
        assert_eq!(ran.failed, None, "{:#?}", ran.tail);
        ran
    }

    /// Runs, and gives what was captured.
    fn changes(&self) -> Changes {
        self.ran();
        Changes::read(self.run.capture.as_deref().unwrap())
    }
}

fn is_static(path: &str) -> bool {
    let ldd = Command::new("ldd").arg(path).output();
    Path::new(path).exists() && ldd.is_ok_and(|ldd| !String::from_utf8_lossy(&ldd.stdout).contains("=>"))
}

fn run_of(folder: &Path, script: &str) -> ImageRun {
    ImageRun {
        commands: vec![shell(script)],
        capture: Some(folder.join("capture.tar")),
        epoch: EPOCH,
        log: folder.join("log"),
        timeout: Some(Duration::from_secs(60)),
        ..ImageRun::default()
    }
}

/// Every busybox command without a path.
fn shell(script: &str) -> Call {
    Call {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), format!("set -e; {script}")],
        must_succeed: true,
        ..Call::default()
    }
}

fn path(text: &str) -> EntryPath {
    EntryPath::parse(text).unwrap()
}

fn given(at: &str, text: &str) -> Given {
    Given { path: path(at), mode: 0o644, bytes: text.into() }
}

fn special(at: &str, kind: SpecialKind, mode: u32, owner: (u32, u32)) -> Special {
    Special { path: path(at), kind, mode, user: owner.0, group: owner.1, mtime: 1_600_000_000, xattrs: vec![] }
}

/// What a capture says, a line an entry: kind, mode, owner, path, content or target.
struct Changes {
    entries: BTreeMap<String, Entry>,
    lines: Vec<String>,
}

impl Changes {
    fn read(tar: &Path) -> Changes {
        let owner = None;
        let rules = read::Rules { to: EntryPath::root(), owner, epoch: EPOCH, keep_times: true, root_counts: true };
        let bytes = fs::read(tar).unwrap();
        let gathered = read::read_tar(&mut bytes.as_slice(), &rules, None).unwrap();
        let mut changes = Changes { entries: BTreeMap::new(), lines: Vec::new() };
        for entry in gathered.into_entries() {
            let number = |id: &Id| if let Id::Number(number) = id { *number } else { panic!("{id:?}") };
            let (user, group) = (number(&entry.owner.user), number(&entry.owner.group));
            let rest = match &entry.kind {
                Kind::File { size, offset, .. } => {
                    let content = &bytes[*offset as usize..(*offset + *size) as usize];
                    format!(" {}", String::from_utf8_lossy(&content[..content.len().min(60)]).trim_end())
                }
                Kind::Symlink(target) => format!(" -> {}", String::from_utf8_lossy(target)),
                Kind::Hardlink(target) => format!(" = {target}"),
                _ => String::new(),
            };
            let letter = entry.kind.letter();
            changes.lines.push(format!("{letter} {:o} {user}:{group} {}{rest}", entry.mode, entry.path));
            changes.entries.insert(entry.path.to_string(), entry);
        }
        changes
    }
}

#[allow(clippy::disallowed_methods, reason = "a switch of the tests themselves")]
fn skip<T>(why: &str) -> Option<T> {
    assert!(std::env::var("IMGBUILD_TESTS").as_deref() != Ok("all"), "{why}");
    eprintln!("skipped: {why}");
    None
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn what_programs_change_is_captured() {
    let script = "
        b=/bin/busybox; $b mkdir -p /opt/new; echo made > /opt/new/file; $b ln /opt/new/file /opt/new/link
        $b ln -s ../x /opt/new/symlink; $b mkfifo /opt/new/fifo; $b chmod 4755 /opt/new/file
        $b chown 33:34 /opt/new/fifo; $b chown -h 65534:65534 /opt/new/symlink
        echo changed > /etc/changed; $b rm /etc/gone; $b rm -r /etc/folder; $b rm -r /etc/again; $b mkdir /etc/again
        echo inner > /etc/again/inner; $b chmod 700 /var/lib/x; $b touch /tmp/x /run/x /dev/shm/x
        $b mv /etc/moved /etc/to";
    let Some(image) = Image::new(script) else { return };
    for name in ["changed", "gone", "folder/a", "again/old", "moved/in", "same"] {
        image.file(&format!("etc/{name}"), name);
    }
    let changes = image.changes();
    assert_eq!(
        changes.lines,
        [
            "d 755 0:0 etc",
            "d 755 0:0 etc/again",
            "o 644 0:0 etc/again",
            "f 644 0:0 etc/again/inner inner",
            "f 644 0:0 etc/changed changed",
            "w 644 0:0 etc/folder",
            "w 644 0:0 etc/gone",
            "w 644 0:0 etc/moved",
            "d 755 0:0 etc/to",
            "f 644 0:0 etc/to/in moved/in",
            "d 755 0:0 opt",
            "d 755 0:0 opt/new",
            "p 644 33:34 opt/new/fifo",
            "f 4755 0:0 opt/new/file made",
            "h 4755 0:0 opt/new/link = opt/new/file",
            "l 777 65534:65534 opt/new/symlink -> ../x",
            "d 755 0:0 var",
            "d 755 0:0 var/lib",
            "d 700 0:0 var/lib/x",
        ]
    );
    assert_eq!(changes.entries["etc/changed"].mtime, EPOCH, "no clock gets into it");
}
