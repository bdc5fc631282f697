//! Programs of an image, really run in its own root: what they change and who owns it, and what they cannot do.
//!
//! Everything here runs as the caller, and once more as a plain user where the caller is root. The image is one static
//! busybox.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod processes;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use imgbuild::fault::{Blame, Fault};
use imgbuild::lang::value::Id;
use imgbuild::layer::{Entry, EntryPath, Kind, read};
use imgbuild::sandbox::image::{
    Call, Console, Given, ImageRan, ImageRun, Removal, Removed, Shown, Special, SpecialKind, TARGET, View,
};
use imgbuild::sandbox::{Exit, Launcher};
use processes::{runs, wait_until};

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

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
        let ran =
            self.try_run().unwrap_or_else(|fault| panic!("{fault}: {:?} {:#?}", fault.help, fault.output));
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
    Special {
        path: path(at),
        kind,
        mode,
        user: owner.0,
        group: owner.1,
        mtime: 1_600_000_000,
        xattrs: vec![],
    }
}

/// What a capture says, a line an entry: kind, mode, owner, path, content or target.
struct Changes {
    entries: BTreeMap<String, Entry>,
    lines: Vec<String>,
}

impl Changes {
    fn read(tar: &Path) -> Changes {
        let owner = None;
        let rules =
            read::Rules { to: EntryPath::root(), owner, epoch: EPOCH, keep_times: true, root_counts: true };
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

/// Every test here, by a user without any power but ids of its own.
#[test]
fn all_of_this_as_a_plain_user() {
    if !is_root() {
        return;
    }
    let Some(run) = as_plain_user(&["--test-threads=2"]) else { return };
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.contains("test result: ok") && !said.contains(" 0 passed"), "{said}");
    eprint!("{}", String::from_utf8_lossy(&run.stderr));
}

/// This test's own program, by `nobody`, who has sub-ids in a mount namespace of the test's own.
fn as_plain_user(arguments: &[&str]) -> Option<std::process::Output> {
    let needed = ["setpriv", "unshare", "newuidmap", "newgidmap"];
    let lacks = |name: &&&str| imgbuild::sandbox::resolve_program(name, imgbuild::sandbox::PATH).is_none();
    if let Some(name) = needed.iter().find(lacks) {
        return skip(&format!("this machine lacks {name} (Debian: util-linux, uidmap)"));
    }
    if !Path::new("/etc/subuid").exists() || !Path::new("/etc/subgid").exists() {
        return skip("this machine has no /etc/subuid and /etc/subgid to stand something before");
    }
    let ids = tempfile::NamedTempFile::new().unwrap();
    fs::write(ids.path(), "65534:100000:65536\n").unwrap();
    fs::set_permissions(ids.path(), PermissionsExt::from_mode(0o644)).unwrap();
    let script = "mount --bind $0 /etc/subuid; mount --bind $0 /etc/subgid
        exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"";
    let run = Command::new("unshare")
        .args(["--mount", "sh", "-ec", script])
        .arg(ids.path())
        .arg(std::env::current_exe().unwrap())
        .args(arguments)
        .current_dir("/")
        .env("HOME", "/nonexistent")
        .env("TMPDIR", "/tmp")
        .output();
    Some(run.unwrap())
}

#[test]
fn what_plain_folders_cannot_hold_is_there() {
    let script = "b=/bin/busybox
        $b stat -c '%n %a %u:%g %Y %F' /usr/bin/su /var/spool /var/spool/at /usr/bin /usr/bin/ping /pipe /usr/bin/two /away
        $b cat /usr/bin/su; $b readlink /away; $b stat -c %h /usr/bin/two; $b head -c 3 /usr/bin/ping
        echo x >> /usr/bin/ping; $b chmod 755 /usr/bin/su";
    let Some(mut image) = Image::new(script) else { return };
    fs::set_permissions(image.path("image/usr/bin"), PermissionsExt::from_mode(0o751)).unwrap();
    fs::write(image.path("spool"), "....switch user....ping").unwrap();
    let file = |offset, size| SpecialKind::File { file: image.path("spool"), offset, size };
    let mut ping = special("usr/bin/ping", file(19, 4), 0o755, (0, 0));
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
    ping.xattrs =
        vec![(b"security.capability".to_vec(), capability), (b"user.note".to_vec(), b"\0\xffx".to_vec())];
    image.run.specials = vec![
        ping,
        special("usr/bin/su", file(4, 11), 0o4755, (0, 0)),
        special("usr/bin/two", SpecialKind::Hardlink(path("usr/bin/su")), 0, (0, 0)),
        special("var/spool/at", SpecialKind::Directory, 0o1770, (1, 33)),
        special("pipe", SpecialKind::Fifo, 0o620, (0, 5)),
        special("away", SpecialKind::Symlink(b"/nowhere/\xff".to_vec()), 0o777, (7, 8)),
    ];
    let ran = image.ran();
    let mut said: Vec<String> = ran.tail.clone();
    said.retain(|line| !line.starts_with("/usr/bin 751 0:0") && !line.starts_with("/var/spool 755 0:0"));
    assert_eq!(
        said,
        [
            "/usr/bin/su 4755 0:0 1600000000 regular file",
            "/var/spool/at 1770 1:33 1600000000 directory",
            "/usr/bin/ping 755 0:0 1600000000 regular file",
            "/pipe 620 0:5 1600000000 fifo",
            "/usr/bin/two 4755 0:0 1600000000 regular file",
            "/away 777 7:8 1600000000 symbolic link",
            "switch user/nowhere/\u{fffd}",
            "2",
            "pin",
        ]
    );
    assert_eq!(ran.tail.len(), 11, "the folders on the way have the modes of what is below: {:#?}", ran.tail);
    let changes = Changes::read(image.run.capture.as_deref().unwrap());
    let names: Vec<&str> = changes.lines.iter().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "d 755 0:0 usr",
            "d 751 0:0 usr/bin",
            "f 755 0:0 usr/bin/ping pingx",
            "f 755 0:0 usr/bin/su switch user",
        ]
    );
    let ping = &changes.entries["usr/bin/ping"];
    assert_eq!(
        ping.xattrs,
        [(b"user.note".to_vec(), b"\0\xffx".to_vec())],
        "who writes to it takes its powers away"
    );
}

#[test]
fn attributes_are_captured_as_they_are() {
    let Some(mut image) =
        Image::new("/bin/busybox chmod 711 /usr/bin/ping; /bin/busybox mv /usr/bin/ping /etc/ping")
    else {
        return;
    };
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
    fs::write(image.path("spool"), "ping").unwrap();
    let kind = SpecialKind::File { file: image.path("spool"), offset: 0, size: 4 };
    let mut ping = special("usr/bin/ping", kind, 0o755, (0, 0));
    ping.xattrs = vec![(b"security.capability".to_vec(), capability.clone())];
    image.run.specials = vec![ping];
    let changes = image.changes();
    let ping = &changes.entries["etc/ping"];
    assert_eq!(ping.xattrs, [(b"security.capability".to_vec(), capability)]);
    assert_eq!((ping.mode, ping.mtime), (0o711, 1_600_000_000));
    assert_eq!(changes.entries["usr/bin/ping"].kind, Kind::Whiteout);
}

#[test]
fn lowers_lie_above_each_other() {
    let Some(mut image) =
        Image::new("/bin/busybox cat /etc/one /etc/two; /bin/busybox ls /etc | /bin/busybox wc -l")
    else {
        return;
    };
    image.file("etc/one", "below");
    let awkward = image.path("a,b:c\\d e=f");
    fs::create_dir_all(awkward.join("etc")).unwrap();
    fs::write(awkward.join("etc/one"), "above\n").unwrap();
    image.run.lowers.push(awkward);
    for number in 0..60 {
        let lower = image.path(&format!("lower{number}"));
        fs::create_dir_all(lower.join("etc")).unwrap();
        fs::write(lower.join(format!("etc/n{number}")), "").unwrap();
        fs::write(lower.join("etc/two"), format!("{number}\n")).unwrap();
        image.run.lowers.push(lower);
    }
    assert_eq!(image.ran().tail, ["above", "59", "62"]);
}

#[test]
fn given_files_are_captured_and_passing_ones_are_not() {
    let script =
        "b=/bin/busybox; $b cat /etc/given /lib/deep/given /usr/sbin/policy-rc.d /etc/resolv.conf /etc/was
        $b stat -c '%a %u:%g' /usr/sbin/policy-rc.d; $b readlink /etc/resolv.conf && exit 1
        echo changed > /etc/resolv.conf; $b rm /usr/sbin/policy-rc.d; $b ln -sf /x /etc/was";
    let Some(mut image) = Image::new(script) else { return };
    fs::create_dir_all(image.path("image/usr/lib")).unwrap();
    symlink("usr/lib", image.path("image/lib")).unwrap();
    symlink("../run/resolv.conf", image.path("image/etc/resolv.conf")).unwrap();
    image.file("etc/was", "image's");
    image.file("etc/given", "image's");
    image.run.files = vec![given("etc/given", "given\n"), given("lib/deep/given", "deep\n")];
    let mut policy = given("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n");
    policy.mode = 0o755;
    image.run.passing = vec![policy, given("etc/resolv.conf", "passing\n"), given("etc/was", "now\n")];
    let ran = image.ran();
    assert_eq!(ran.tail, ["given", "deep", "#!/bin/sh", "exit 101", "passing", "now", "755 0:0"]);
    let changes = Changes::read(image.run.capture.as_deref().unwrap());
    assert_eq!(
        changes.lines,
        [
            "d 755 0:0 etc",
            "f 644 0:0 etc/given given",
            "d 755 0:0 usr",
            "d 755 0:0 usr/lib",
            "d 755 0:0 usr/lib/deep",
            "f 644 0:0 usr/lib/deep/given deep",
            "d 755 0:0 usr/sbin",
        ]
    );
}

#[test]
fn the_host_shows_what_it_is_told_to() {
    let script = "b=/bin/busybox; $b cat /imgbuild/debs/a /imgbuild/file; ! echo x > /imgbuild/debs/a
        ! $b touch /imgbuild/debs/b; ! $b rm /imgbuild/file; ! $b mount -o remount,rw /imgbuild/debs";
    let Some(mut image) = Image::new(script) else { return };
    fs::create_dir(image.path("debs")).unwrap();
    fs::write(image.path("debs/a"), "package\n").unwrap();
    image.run.shown = vec![
        Shown { host: image.path("debs"), at: path("imgbuild/debs") },
        Shown { host: image.path("debs/a"), at: path("imgbuild/file") },
    ];
    let ran = image.ran();
    assert_eq!(ran.tail[..2], ["package", "package"]);
    assert_eq!(Changes::read(image.run.capture.as_deref().unwrap()).lines, [""; 0]);
    assert_eq!(fs::read_to_string(image.path("debs/a")).unwrap(), "package\n");
}

#[test]
fn programs_run_in_turn_until_one_fails() {
    let Some(mut image) = Image::new("echo one; exit 3") else { return };
    image.run.commands[0].must_succeed = false;
    let reads = Call { stdin: Some(b"typed\n".to_vec()), ..shell("/bin/busybox cat; echo $A $B; $B pwd") };
    let reads = Call {
        folder: "/etc".into(),
        environment: [("B", "/bin/busybox")].map(|(name, value)| (name.into(), value.into())).into(),
        ..reads
    };
    let none = Call { program: "no-such".into(), ..Call::default() };
    image.run.environment = [("A", "all"), ("B", "none")].map(|(n, v)| (n.into(), v.into())).into();
    image.run.commands.extend([reads, none, shell("kill -SEGV $$"), shell("echo never")]);
    let ran = image.try_run().unwrap();
    assert_eq!(ran.exits, [Exit::Code(3), Exit::Code(0), Exit::Code(127), Exit::Signal(11)]);
    assert_eq!(ran.failed, Some(3));
    assert_eq!(ran.tail[..4], ["one", "typed", "all /bin/busybox", "/etc"]);
    assert!(ran.tail[4].starts_with("imgbuild: cannot start `no-such`: no such file"), "{:?}", ran.tail);
    assert!(!image.run.capture.unwrap().exists());
}

#[test]
fn what_failed_can_be_captured_too() {
    let Some(mut image) = Image::new("echo half > /etc/half; echo x > /etc/gone; exit 5") else { return };
    image.run.commands.push(shell("echo never > /etc/never"));
    image.run.remove = vec![Removal { path: path("etc/gone"), what: Removed::Whole }];
    let ran = image.try_run().unwrap();
    assert_eq!((ran.failed, ran.captured), (Some(0), false));
    assert!(!image.path("capture.tar").exists());
    image.run.capture_always = true;
    let ran = image.try_run().unwrap();
    assert_eq!((ran.failed, ran.captured, ran.exits), (Some(0), true, vec![Exit::Code(5)]));
    // As it is: nothing is removed.
    assert_eq!(
        Changes::read(&image.path("capture.tar")).lines,
        ["d 755 0:0 etc", "f 644 0:0 etc/gone x", "f 644 0:0 etc/half half"]
    );
    image.run.commands[0] = shell("echo x > /etc/.wh.x; exit 5");
    let ran = image.try_run().unwrap();
    assert_eq!((ran.failed, ran.captured), (Some(0), false), "the failure is told, not what is odd besides");
    assert!(!image.path("capture.tar").exists());
}

/// What there is in the sandbox's own folders, a line each.
const LIST: &str = "b=/bin/busybox; list() { for f; do $b stat -c '%A %u:%g %Y %n' $f; done; }";

#[test]
fn scratch_stands_in_run_and_tmp() {
    let script = format!(
        "{LIST}; list /run/lock /run/deps /run/deps/a /run/deps/b /run/deps/pipe /run/lock/x /tmp/one /tmp/one/two
        list /tmp/one/two/f /run/pass /tmp/link; $b cat /run/deps/a /run/deps/b /tmp/one/two/f /run/pass /run/lock/x
        $b readlink /tmp/link; $b find /run /tmp | $b wc -l; echo x > /run/deps/a; $b rm -r /tmp/one; $b touch /tmp/new"
    );
    let Some(mut image) = Image::new(&script) else { return };
    fs::write(image.path("spool"), "....depends\ntwo\n").unwrap();
    fs::write(image.path("other"), "other\n").unwrap();
    let file = |name: &str, offset, size| SpecialKind::File { file: image.path(name), offset, size };
    image.run.scratch = vec![
        special("run/deps/b", SpecialKind::Hardlink(path("run/deps/a")), 0, (0, 0)),
        special("run/deps/pipe", SpecialKind::Fifo, 0o600, (0, 0)),
        special("run/deps/a", file("spool", 4, 8), 0o640, (33, 34)),
        special("run/deps", SpecialKind::Directory, 0o711, (1, 2)),
        special("tmp/one/two/f", file("spool", 12, 4), 0o4755, (0, 0)),
        special("tmp/link", SpecialKind::Symlink(b"/run/\xff".to_vec()), 0o777, (7, 8)),
        special("run/lock/x", file("other", 0, 6), 0o644, (0, 0)),
    ];
    image.run.passing = vec![given("run/pass", "passing\n"), given("tmp/one/pass", "")];
    let ran = image.ran();
    let old = 1_600_000_000;
    let told: Vec<String> = ran.tail.iter().map(|line| line.replace(&old.to_string(), "OLD")).collect();
    assert_eq!(told[0].split(' ').take(2).collect::<Vec<_>>(), ["drwxrwxrwt", "0:0"]);
    assert_eq!(
        told[1..],
        [
            "drwx--x--x 1:2 OLD /run/deps",
            "-rw-r----- 33:34 OLD /run/deps/a",
            "-rw-r----- 33:34 OLD /run/deps/b",
            "prw------- 0:0 OLD /run/deps/pipe",
            "-rw-r--r-- 0:0 OLD /run/lock/x",
            "drwxr-xr-x 0:0 1700000000 /tmp/one",
            "drwxr-xr-x 0:0 1700000000 /tmp/one/two",
            "-rwsr-xr-x 0:0 OLD /tmp/one/two/f",
            "-rw-r--r-- 0:0 1700000000 /run/pass",
            "lrwxrwxrwx 7:8 OLD /tmp/link",
            "depends",
            "depends",
            "two",
            "passing",
            "other",
            "/run/\u{fffd}",
            "14",
        ]
    );
    assert_eq!(Changes::read(&image.path("capture.tar")).lines, [""; 0]);
}

#[test]
fn scratch_stands_nowhere_else() {
    let Some(mut image) = Image::new("true") else { return };
    let refused = |image: &Image, says: &str| {
        let fault = image.try_run().unwrap_err();
        assert_eq!((fault.code, fault.blame), ("sandbox/image", Blame::Build), "{fault}");
        assert!(fault.message.contains(says), "{fault}");
    };
    for elsewhere in ["etc/x", "run", "tmp", "dev/shm/x", "runs/x"] {
        image.run.scratch = vec![special(elsewhere, SpecialKind::Directory, 0o755, (0, 0))];
        refused(&image, &format!("`/{elsewhere}`"));
        image.run.scratch.clear();
        image.run.sealed = vec![path(elsewhere)];
        refused(&image, &format!("`/{elsewhere}`"));
        image.run.sealed.clear();
    }
    image.run.scratch = vec![special("run/x", SpecialKind::Hardlink(path("upper/x")), 0o755, (0, 0))];
    refused(&image, "`/upper/x`");
    let link = special("run/up", SpecialKind::Symlink(b"/etc".to_vec()), 0o777, (0, 0));
    image.run.scratch = vec![link.clone(), special("run/up/x", SpecialKind::Fifo, 0o755, (0, 0))];
    refused(&image, "`/run/up/x`");
    image.run.scratch = vec![link];
    image.run.shown = vec![Shown { host: image.path("image"), at: path("run/up/imgbuild-test") }];
    refused(&image, "`/run/up/imgbuild-test`");
    image.run.shown.clear();
    image.run.sealed = vec![path("run/up")];
    refused(&image, "`/run/up`");
    assert!(!Path::new("/etc/imgbuild-test").exists());
}

#[test]
fn thousands_of_small_files_are_cheap() {
    let Some(mut image) = Image::new("/bin/busybox find /run /tmp -type f | /bin/busybox wc -l") else {
        return;
    };
    let text: String = (0..8000).map(|number| format!("{number:04}")).collect();
    fs::write(image.path("spool"), text).unwrap();
    let spool = image.path("spool");
    image.run.scratch = (0..8000)
        .map(|number| {
            let kind = SpecialKind::File { file: spool.clone(), offset: number * 4, size: 4 };
            special(&format!("run/many/{}/{number}", number % 100), kind, 0o644, (0, 0))
        })
        .collect();
    let begun = Instant::now();
    assert_eq!(image.ran().tail, ["8000"]);
    let took = begun.elapsed();
    eprintln!("8,000 small files take {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    // More files of the host than a process may have open by default.
    fs::create_dir(image.path("own")).unwrap();
    for number in 0..2000 {
        let file = image.path(&format!("own/{number}"));
        fs::write(&file, format!("{number}")).unwrap();
        let kind = SpecialKind::File { file, offset: 0, size: 1 };
        image.run.scratch.push(special(&format!("tmp/own/{number}"), kind, 0o644, (0, 0)));
    }
    assert_eq!(image.ran().tail, ["10000"]);
}

#[test]
fn what_is_sealed_stays_as_it_is() {
    let script = "b=/bin/busybox; no() { if (eval \"$1\") > /dev/null 2>&1; then echo \"DID: $1\"; fi; }
        cd /run/hook; $b cat f in/f shown/a; $b ls /run/empty
        for at in f new in/f in/new shown/a shown/new /run/empty/new; do no \"echo x >> $at\"; done; no '$b rm f'
        no '$b chmod 777 f'; no '$b mv /run/hook /run/other'; no '$b rm -r /run/empty'; no '$b ln f /run/f'
        no '$b mount -o remount,rw /run/hook'; no '$b umount /run/hook'; no '$b touch -d 2001-01-01 f'
        $b touch /run/free /tmp/free; $b cat f";
    let Some(mut image) = Image::new(script) else { return };
    fs::write(image.path("spool"), "sealed\n").unwrap();
    fs::create_dir(image.path("folder")).unwrap();
    fs::write(image.path("folder/a"), "shown\n").unwrap();
    let file = || SpecialKind::File { file: image.path("spool"), offset: 0, size: 7 };
    image.run.scratch =
        vec![special("run/hook/f", file(), 0o666, (0, 0)), special("run/hook/in/f", file(), 0o666, (0, 0))];
    image.run.sealed = vec![path("run/hook"), path("run/hook/in"), path("run/empty")];
    image.run.shown = vec![Shown { host: image.path("folder"), at: path("run/hook/shown") }];
    assert_eq!(image.ran().tail, ["sealed", "sealed", "shown", "sealed"]);
    image.run.sealed = vec![path("run/hook/f")];
    let fault = image.try_run().unwrap_err();
    assert!(fault.message.contains("seal `/run/hook/f`"), "{fault}");
}

#[test]
fn the_host_is_shown_in_run_and_tmp_too() {
    let script = format!(
        "{LIST}; cd /run/deps; $b cat base/a /tmp/file between/deep/a own; list /run/deps /run/deps/between
        ! $b touch base/new; ! $b touch between/deep/new; ! echo x > /tmp/file; ! echo x > base/out/new; ! echo x > base/etc/new
        $b touch new between/new; $b ls base/"
    );
    let Some(mut image) = Image::new(&script) else { return };
    fs::create_dir(image.path("folder")).unwrap();
    fs::write(image.path("folder/a"), "shown\n").unwrap();
    symlink("../../../../../../tmp", image.path("folder/out")).unwrap();
    symlink("/etc", image.path("folder/etc")).unwrap();
    fs::write(image.path("spool"), "own\n").unwrap();
    let own = SpecialKind::File { file: image.path("spool"), offset: 0, size: 4 };
    image.run.scratch = vec![
        special("run/deps", SpecialKind::Directory, 0o750, (0, 3)),
        special("run/deps/own", own, 0o644, (0, 0)),
    ];
    image.run.shown = vec![
        Shown { host: image.path("folder"), at: path("run/deps/base") },
        Shown { host: image.path("folder"), at: path("run/deps/between/deep") },
        Shown { host: image.path("folder/a"), at: path("tmp/file") },
    ];
    image.run.commands[0].arguments[1] =
        image.run.commands[0].arguments[1].replace("base/etc/new", "base/a/new");
    let ran = image.ran();
    let quiet: Vec<&String> =
        ran.tail.iter().filter(|line| !line.contains("ead-only") && !line.contains("an't")).collect();
    assert_eq!(
        quiet,
        [
            "shown",
            "shown",
            "shown",
            "own",
            "drwxr-x--- 0:3 1600000000 /run/deps",
            "drwxr-xr-x 0:0 1700000000 /run/deps/between",
            "a",
            "etc",
            "out",
        ]
    );
    // Through a link of the host's folder nothing is made or mounted.
    image.run.passing = vec![given("run/deps/base/out/imgbuild-test", "x")];
    let _ = image.try_run();
    image.run.passing.clear();
    image.run.shown.push(Shown { host: image.path("folder"), at: path("run/deps/base/out/imgbuild-test") });
    assert_eq!(image.try_run().unwrap_err().code, "sandbox/image");
    assert!(!Path::new("/tmp/imgbuild-test").exists());
    assert_eq!(fs::read_dir(image.path("folder")).unwrap().count(), 3);
}

/// Folders of the host that its programs need.
const SYSTEM: [&str; 11] =
    ["bin", "etc", "gnu", "lib", "lib32", "lib64", "libx32", "nix", "opt", "sbin", "usr"];

#[test]
fn programs_of_the_host_work_on_an_image() {
    let script = "cd $T; cat etc/given etc/own /etc/passwd > /tmp/all; wc -l < /tmp/all; id -u; pwd; cat etc/passing /run/dep /run/in
        for f in / . /imgbuild /root /run /sys /var; do echo $f: $(ls -A $f); done; echo $HOME; test ! -e proc
        stat -c '%u:%g %a %n' etc etc/own usr/bin/su; test $(ls -A /usr/share | wc -l) = 0; ! grep -q . /etc/os-release
        mkdir -p opt/new; echo made > opt/new/file; ln opt/new/file opt/new/link; mkfifo opt/new/fifo
        chown 33:34 opt/new/fifo; chmod 4755 opt/new/file; rm etc/gone; rm -r etc/again; mkdir etc/again
        echo passed > etc/passing; touch usr/later; ls shown; touch /tmp/x /run/x /root/x /var/tmp/x /dev/shm/x";
    let Some(mut image) = Image::new(script) else { return };
    for name in ["own", "gone", "again/old"] {
        image.file(&format!("etc/{name}"), "x\n");
    }
    fs::remove_dir(image.path("image/tmp")).unwrap();
    fs::write(image.path("spool"), "su").unwrap();
    let su = SpecialKind::File { file: image.path("spool"), offset: 0, size: 2 };
    let run = &mut image.run;
    run.view = View::Host;
    run.environment = [("T".to_string(), TARGET.to_string())].into();
    run.specials = vec![special("usr/bin/su", su, 0o4755, (0, 5))];
    run.files = vec![given("etc/given", "g\n")];
    run.passing = vec![given("etc/passing", "passing\n"), given("run/dep", "dep\n")];
    run.remove = vec![Removal { path: path("usr/later"), what: Removed::Whole }];
    run.hidden = ["/usr/share", "/etc/os-release", "/no/such"].map(PathBuf::from).to_vec();
    fs::create_dir(image.path("folder")).unwrap();
    fs::write(image.path("folder/in"), "in\n").unwrap();
    let shown = [("folder/in", "run/in"), ("folder", "imgbuild/target/shown"), ("folder", "imgbuild/deps")];
    image.run.shown = shown.map(|(host, at)| Shown { host: image.path(host), at: path(at) }).to_vec();
    let ran = image.ran();
    let accounts = fs::read_to_string("/etc/passwd").unwrap().lines().count();
    let mut root: Vec<&str> = SYSTEM.into_iter().filter(|name| Path::new("/").join(name).exists()).collect();
    root.extend(["dev", "imgbuild", "proc", "root", "run", "sys", "tmp", "var"]);
    root.sort_unstable();
    assert_eq!(ran.tail[0], (accounts + 2).to_string());
    assert_eq!(
        ran.tail[1..],
        [
            "0",
            TARGET,
            "passing",
            "dep",
            "in",
            &format!("/: {}", root.join(" ")),
            ".: bin etc shown usr var",
            "/imgbuild: deps nothing target",
            "/root:",
            "/run: dep in lock",
            "/sys:",
            "/var: tmp",
            "/root",
            "0:0 755 etc",
            "0:0 644 etc/own",
            "0:5 4755 usr/bin/su",
            "in",
        ]
    );
    assert_eq!(
        Changes::read(&image.path("capture.tar")).lines,
        [
            "d 755 0:0 etc",
            "d 755 0:0 etc/again",
            "o 644 0:0 etc/again",
            "f 644 0:0 etc/given g",
            "w 644 0:0 etc/gone",
            "d 755 0:0 opt",
            "d 755 0:0 opt/new",
            "p 644 33:34 opt/new/fifo",
            "f 4755 0:0 opt/new/file made",
            "h 4755 0:0 opt/new/link = opt/new/file",
            "d 755 0:0 usr",
        ]
    );
}

/// Every line must fail, or do nothing to the host.
#[test]
fn a_hostile_program_of_the_host_achieves_nothing() {
    let script = r#"
        set +e; T=/imgbuild/target
        no() { if (eval "$1") >/dev/null 2>&1; then echo "DID: $1"; fi; }
        no 'ls -A /root | grep .'; no 'ls -A /run | grep -v lock'; no 'ls -A /tmp | grep .'; no 'ls -A /var/tmp | grep .'; no 'ls -A /sys | grep .'
        no 'echo x >> /etc/passwd'; no 'touch /usr/imgbuild-test'; no 'touch /etc/imgbuild-test'; no 'rm /etc/passwd'; no 'chmod 777 /etc'
        no 'chown 33 /etc/passwd'; no 'ln /etc/passwd /etc/imgbuild-test'; no 'ln /etc/passwd $T/x'; no 'mv /etc/passwd /tmp/x'
        no 'touch -d 2001-01-01 /etc/passwd'; no 'chmod u+s /usr/bin/id'; no 'setfattr -n user.x -v y /etc/passwd'; no 'rmdir /opt'
        no 'echo x > /proc/self/root/etc/imgbuild-test'; no 'echo x > $T/../../etc/imgbuild-test'; no 'touch /imgbuild-test'; no 'rmdir /imgbuild'
        no 'ln -s /etc $T/link; echo x > $T/link/imgbuild-test'; no 'mv /imgbuild/target /imgbuild/x'; no 'touch /imgbuild/x'; no 'rm /bin'
        for at in / /etc /usr /etc/ssh /etc/shadow; do for how in remount,rw remount,bind,rw rw,remount,bind,dev; do no "mount -o $how $at"; done; done
        for at in /etc/shadow /etc/ssh /etc /usr /proc / $T; do no "umount $at"; no "umount -l $at"; done
        no 'mount --bind / /tmp'; no 'mount -t tmpfs x /etc'; no 'mount -t proc p /tmp'; no 'mount -t overlay -o lowerdir=/etc:/usr o /tmp'
        no 'mount --bind $T /etc'; no 'pivot_root $T $T/x'; no 'mount --make-rshared /'; no 'losetup -f /etc/passwd'
        no 'unshare -m true'; no 'unshare -U true'; no 'unshare -Ur umount /etc/shadow'; no 'nsenter -t 1 -m true'; no 'nsenter -t 1 -U true'
        for at in /etc/shadow /etc/shadow- /etc/gshadow /etc/gshadow- /etc/sudoers; do no "grep . $at"; no "echo x > $at"; no "rm $at"; done
        no 'ls -A /etc/ssh | grep .'; no 'ls -A /etc/ssl/private | grep .'; no 'touch /etc/ssh/x'; no 'rmdir /etc/ssh'; no 'chmod 777 /etc/ssh'
        for up in .. ../.. ../../.. ../../../../..; do no "test -e $T/$up/$HOST"; no "test -e $T/$up/home"; no "test -e $T/$up/boot"; done
        no 'test -e $HOST'; no 'test -e /home'; no 'test -e /srv'; no 'test -e /boot'; no 'test -e /mnt'; no 'test -e /media'; no 'test -e /var/lib'
        no 'mknod $T/x b 254 0 && head -c 1 $T/x'; no 'mknod /tmp/x c 1 1 && head -c 1 /tmp/x'; no 'mknod /dev/x b 254 0 && head -c 1 /dev/x'
        no 'mknod $T/y c 1 3 && echo x > $T/y'; no 'test -e /dev/vda'; no 'test -e /dev/kmsg'; no 'chmod 600 /dev/null'; no 'cat < /dev/tty'
        no 'ls /proc/1/root/'; no 'chroot /proc/1/root true'; no 'cat /proc/1/environ'; no 'ls -A /proc/1/fd/*/ | grep .'; no 'ls /proc/1/cwd/'
        no 'for f in /proc/1/fd/*; do head -c 1 $f && exit; done; false'; no 'head -c 1 /proc/1/mem'; no 'readlink /proc/1/exe'
        no 'echo b > /proc/sysrq-trigger'; no 'echo x > /proc/sys/kernel/core_pattern'; no 'grep . /proc/keys'; no 'head -c 1 /proc/kcore | grep .'
        no 'kill -9 1; test ! -e /proc/1'; no 'kill -9 $HOST_PID'; no 'test -e /proc/$HOST_PID'; no 'hostname hostile'; no 'dmesg | grep .'
        no 'test -e /proc/self/fd/3'; no 'chroot $T /bin/sh -c "umount /etc/shadow"'; no 'grep "NoNewPrivs:.*0" /proc/self/status'
        no 'grep -v " /etc/sub[ug]id " /proc/self/mountinfo | grep -E "/(home|work|root/|image|tmp/\.)"'; no 'grep -E " (/etc|/usr|/opt|/etc/shadow|/etc/ssh|/) rw" /proc/self/mountinfo'
        # By the handle of its root a whole file system could be opened.
        no 'perl -e "open(my \$at, q(<), q(/usr)); my \$h = pack(q(IiII), 8, 1, 2, 0); exit(syscall(304, fileno(\$at), \$h, 0x10000) < 0)"'
        test "$(id -u) $(id -g) $(id -G) $(hostname) $(umask)" = "0 0 0 localhost 0022" || echo "DID: $(id)"
        mkdir -p $T/etc; echo captured > $T/etc/well; test -w $T/etc || echo "DID: not writable"; rm -f $T/x $T/y $T/link"#;
    let Some(mut image) = Image::new(script) else { return };
    let host = image.path("").display().to_string();
    let own = std::process::id().to_string();
    image.run.environment =
        [("HOST", host.as_str()), ("HOST_PID", &own)].map(|(name, value)| (name.into(), value.into())).into();
    image.run.view = View::Host;
    let state = || {
        let found = |at: &str| {
            let found = fs::symlink_metadata(at).unwrap();
            (found.len(), found.mode(), found.uid(), found.modified().unwrap())
        };
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        (["/etc", "/etc/passwd", "/etc/shadow", "/usr", "/bin", "/dev/null"].map(found), mounts)
    };
    let before = state();
    let ran = image.ran();
    assert_eq!(ran.tail, [""; 0], "what a program could do and should not");
    assert_eq!(
        Changes::read(&image.path("capture.tar")).lines,
        ["d 755 0:0 etc", "f 644 0:0 etc/well captured"]
    );
    assert_eq!(state(), before);
    for at in ["/etc/imgbuild-test", "/usr/imgbuild-test", "/imgbuild-test"] {
        assert!(!Path::new(at).exists(), "{at}");
    }
}

#[test]
fn the_hosts_programs_run_without_its_settings() {
    let script = "echo $(ls -A /) -- $(ls -A /etc); ! touch /etc/x /x 2>/dev/null";
    let Some(mut image) = Image::new(script) else { return };
    image.run.view = View::Programs;
    let ran = image.ran();
    let (root, settings) = ran.tail[0].split_once(" -- ").unwrap();
    assert!(!root.split(' ').any(|name| ["home", "opt", "srv"].contains(&name)), "{root}");
    let loaders = ["alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d"];
    assert!(settings.split(' ').all(|name| loaders.contains(&name)), "{settings}");
}

#[test]
fn what_is_to_go_goes() {
    let script = "b=/bin/busybox; $b mkdir -p /var/cache/apt/sub /var/log; for f in a.bin b.bin c; do echo x > /var/cache/apt/$f; done
        echo long > /var/log/dpkg.log; $b ln -s /etc /var/link";
    let Some(mut image) = Image::new(script) else { return };
    image.file("var/lib/apt/lists/a", "x");
    image.file("etc/machine-id", "x");
    let removal = |at: &str, what| Removal { path: path(at), what };
    image.run.remove = vec![
        removal("var/cache/apt/*.bin", Removed::Whole),
        removal("var/cache/apt/sub", Removed::Whole),
        removal("var/lib/apt/lists", Removed::Inside),
        removal("var/log/*", Removed::Content),
        removal("var/link/machine-id", Removed::Whole),
        removal("not/there", Removed::Whole),
    ];
    assert_eq!(
        image.changes().lines,
        [
            "d 755 0:0 etc",
            "w 644 0:0 etc/machine-id",
            "d 755 0:0 var",
            "d 755 0:0 var/cache",
            "d 755 0:0 var/cache/apt",
            "f 644 0:0 var/cache/apt/c x",
            "d 755 0:0 var/lib",
            "d 755 0:0 var/lib/apt",
            "d 755 0:0 var/lib/apt/lists",
            "w 644 0:0 var/lib/apt/lists/a",
            "l 777 0:0 var/link -> /etc",
            "d 755 0:0 var/log",
            "f 644 0:0 var/log/dpkg.log ",
        ]
    );
}

/// Every line must fail, or do nothing outside.
#[test]
fn a_hostile_program_achieves_nothing() {
    let script = r#"
        set +e; /bin/busybox --install -s /bin
        no() { if (eval "$1") >/dev/null 2>&1; then echo "DID: $1"; fi; }
        no 'test -e $HOST'; no 'test -e /tmp/*'; no 'ls -A /sys | grep .'; no 'test -e /dev/vda'; no 'test -e /dev/kmsg'
        no 'mknod /x b 254 0 && head -c 1 /x'; no 'mknod /dev/x c 1 1 && head -c 1 /dev/x'
        no 'mknod /tmp/x c 1 3 && echo x > /tmp/x'
        no 'mount -t tmpfs x /tmp'; no 'mount -o remount,rw /proc'; no 'umount /proc'; no 'mount -t proc p /tmp'
        no 'umount /'; no 'pivot_root . .'; no 'unshare -m true'; no 'unshare -U true'; no 'unshare -n true'
        no 'nsenter -t 1 -m true'; no 'chroot /proc/1/root true'; no 'ls /proc/1/root/'; no 'cat /proc/1/environ'
        no 'readlink /proc/1/fd/0'; no 'head -c 1 /proc/1/mem'; no 'cat /proc/1/maps'; no 'ls -A /proc/1/fd/*/ | grep .'
        no 'for f in /proc/1/fd/*; do head -c 1 $f && exit; done; false'
        no 'kill -9 1; test ! -e /proc/1'; no 'kill -STOP 1; false'; no 'kill -9 $HOST_PID'; no 'test -e /proc/$HOST_PID'
        no 'echo b > /proc/sysrq-trigger'; no 'echo x > /proc/sys/kernel/core_pattern'; no 'sysctl -w kernel.panic=1'
        no 'echo 1 > /proc/sys/vm/drop_caches'; no 'head -c 1 /proc/kcore | grep .'; no 'head -c 1 /proc/kmsg | grep .'
        no 'grep . /proc/keys'; no 'grep . /proc/timer_list'; no 'ls /proc/bus | grep .'; no 'dmesg | grep .'
        no 'cat < /dev/tty'; no 'stty -F /dev/tty'; no 'hostname hostile'; no 'date -s 2000-01-01; test $(date +%Y) = 2000'
        no 'ip link add x type dummy'; no 'nc -w 1 127.0.0.1 $PORT < /dev/null'; no 'ip route | grep .'
        no 'ip link | grep "^[2-9]:" | grep UP'; no 'ifconfig lo down'
        no 'chmod 600 /dev/null'; no 'rm /dev/full && mknod /dev/full b 254 0'; no 'swapoff -a'; no 'insmod /x'
        no 'renice -n -20 $$'; no 'ulimit -c 1'; no 'test -e /proc/self/fd/3'; no 'reboot -f'
        no 'grep "NoNewPrivs:.*0" /proc/self/status'; no 'losetup /dev/loop0 /bin/busybox'; no 'test -t 0'; no 'test $(ls /proc | grep -c "^[0-9]*$") -gt 8'
        no 'grep -E "/(home|work|root|image|tmp/\.)" /proc/self/mountinfo'
        test "$(id -u) $(id -g) $(id -G) $(hostname) $(umask)" = "0 0 0 localhost 0022" || echo "DID: $(id)"
        test "$(ulimit -n)" = 1024 || echo "DID: ulimit $(ulimit -n)"
        ping -c 1 127.0.0.1 > /dev/null 2>&1; ifconfig lo | grep -q UP || echo "DID: no lo"
        grep CapEff /proc/self/status | grep -qE '00000000[0-9a-f]{8}$' || echo "DID: $(grep CapEff /proc/self/status)"
        grep CapEff /proc/self/status | sed 's/.*\(.\).......$/\1/' | grep -q '[02468a-e]' || echo DID"#;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let Some(mut image) = Image::new(script) else { return };
    let port = listener.local_addr().unwrap().port().to_string();
    let host = image.path("").display().to_string();
    let own = std::process::id().to_string();
    image.run.environment = [("HOST", host.as_str()), ("PORT", &port), ("HOST_PID", &own)]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
    let ran = image.ran();
    assert_eq!(ran.tail, [""; 0], "what a program could do and should not");
    drop(listener);
}

/// An image whose folders are links to elsewhere, which nothing follows out of it.
#[test]
fn a_hostile_image_is_refused_or_harmless() {
    for own in ["proc", "dev", "run", "sys"] {
        let Some(image) = Image::new("true") else { return };
        symlink("/etc", image.path("image").join(own)).unwrap();
        let fault = image.try_run().unwrap_err();
        assert_eq!((fault.code, fault.blame), ("sandbox/image", Blame::Build));
        assert!(fault.message.contains(&format!("`/{own}` in the image")), "{fault}");
    }
    let Some(mut image) = Image::new("true") else { return };
    symlink("../../../../../../..", image.path("image/out")).unwrap();
    image.run.passing = vec![given("out/etc/hostile", "x")];
    assert_eq!(image.try_run().unwrap_err().code, "sandbox/image");
    image.run.passing.clear();
    image.run.shown = vec![Shown { host: image.path("image"), at: path("out/x") }];
    assert_eq!(image.try_run().unwrap_err().code, "sandbox/image");
    image.run.shown.clear();
    image.run.files = vec![given("out/etc/hostile", "x")];
    assert_eq!(image.changes().lines, ["d 755 0:0 etc", "f 644 0:0 etc/hostile x"]);
    assert!(!Path::new("/etc/hostile").exists());
    image.run.files.clear();
    image.run.specials = vec![special("out/x", SpecialKind::Fifo, 0o644, (0, 0))];
    assert_eq!(image.try_run().unwrap_err().code, "sandbox/image");
    image.run.specials = vec![
        special("up", SpecialKind::Symlink(b"/etc".to_vec()), 0o777, (0, 0)),
        special("up/hostile", SpecialKind::Fifo, 0o644, (0, 0)),
    ];
    assert_eq!(image.try_run().unwrap_err().code, "sandbox/image");
    assert!(!Path::new("/etc/hostile").exists());
}

const DEEP: &str = "b=/bin/busybox; n=$($b printf %0200d 0)
    for i in 1 2 3; do $b mkdir -p $n/$n/$n/$n/$n/$n/$n/$n/$n/$n; $b mkdir /t; $b mv $n /t; $b mkdir -p $n/$n/$n/$n/$n/$n/$n/$n/$n
    $b mv /t/$n $n/$n/$n/$n/$n/$n/$n/$n/$n; $b rmdir /t; done";

#[test]
fn what_cannot_be_a_layer_is_no_capture() {
    for (script, says) in [
        ("echo x > /etc/.wh.passwd", "the removal of another file"),
        ("/bin/busybox truncate -s 100G /etc/sparse", "sparse"),
        (DEEP, "long"),
    ] {
        let Some(image) = Image::new(script) else { return };
        let fault = image.try_run().unwrap_err();
        assert_eq!((fault.code, fault.blame), ("sandbox/capture", Blame::Build), "{script}");
        assert!(fault.message.contains(says), "{fault}");
        assert!(!image.run.capture.unwrap().exists());
    }
}

#[test]
fn what_is_left_running_is_ended_and_named() {
    let script =
        "(trap '' TERM HUP; /bin/busybox setsid /bin/busybox sleep 4242 & /bin/busybox sleep 4242) & true";
    let Some(image) = Image::new(script) else { return };
    let ran = image.ran();
    assert_eq!(ran.left, ["busybox"]);
    assert!(!runs("sleep\u{0}4242"));
}

/// By whatever way it hides from who started it.
#[test]
fn daemons_are_ended_and_named() {
    let script = "b=/bin/busybox; cd /tmp; for n in session nohup twice; do
            printf '#!/bin/sh\\n/bin/busybox sleep 4245; :' > $n; $b chmod 755 $n; done
        $b setsid ./session > /dev/null 2>&1 < /dev/null & (trap '' HUP; ./nohup) > /dev/null 2>&1 < /dev/null &
        (trap '' TERM HUP INT; ($b setsid ./twice > /dev/null 2>&1 < /dev/null &) &) ; $b sleep 0.3; exit 0";
    let Some(image) = Image::new(script) else { return };
    let begun = Instant::now();
    let ran = image.ran();
    assert_eq!(ran.left, ["busybox", "nohup", "session", "twice"]);
    assert!(!runs("sleep\u{0}4245"));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_flood_of_output_is_bounded() {
    let Some(image) = Image::new("/bin/busybox yes flood | /bin/busybox head -c 1073741824; echo end") else {
        return;
    };
    let before = most_memory();
    assert_eq!(image.ran().tail.last().map(String::as_str), Some("flooend"));
    let grown = most_memory() - before;
    assert!(grown < 256 << 20, "a quarter of what was printed would be {grown} bytes");
    let log = fs::metadata(&image.run.log).unwrap().len();
    assert!((64 << 20..(64 << 20) + 100).contains(&log), "{log}");
    let text = fs::read(&image.run.log).unwrap();
    assert!(text.starts_with(b"flood\n") && text.ends_with(b"flood\nflooend\n"));
    assert!(
        String::from_utf8_lossy(&text[(32 << 20) - 10..(32 << 20) + 60])
            .contains("[imgbuild left out 960 MiB here]")
    );
}

/// The most memory that this process had, in bytes. Other tests run in it meanwhile.
fn most_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn what_is_masked_is_told_nowhere() {
    let script = r#"b=/bin/busybox; printf 'a %s b\n' "$SECRET"; printf hunter; $b sleep 0.1; printf 2-and; $b sleep 0.1
        echo -more; echo "$SECRET$SECRET" >&2; printf '\000\377%s\001\n' "$SECRET"; echo ab; echo begun hunter2
        "/no/$SECRET" || true; printf '#!/bin/sh\n$b sleep 4246; :' > "/tmp/$SECRET"; $b chmod 755 "/tmp/$SECRET"
        export b; "/tmp/$SECRET" > /dev/null 2>&1 & $b sleep 0.2"#;
    let Some(mut image) = Image::new(script) else { return };
    let secret = "hunter2-and";
    image.run.environment = [("SECRET".to_string(), secret.to_string())].into();
    image.run.masked = vec![b"hunter2".to_vec(), secret.into(), b"ab".to_vec()];
    let call = Call { program: format!("/no/{secret}"), ..Call::default() };
    image.run.commands.push(call);
    let mut told = Vec::new();
    let ran = Launcher::of(IMGBUILD)
        .run_image(&image.run, &AtomicBool::new(false), &mut |line| told.push(line.to_string()))
        .unwrap();
    assert_eq!(
        ran.tail,
        [
            "a *** b",
            "***-more",
            "******",
            "\u{fffd}\u{fffd}***\u{fffd}",
            "ab",
            "begun ***",
            "/bin/sh: /no/***: not found",
            "imgbuild: cannot start `/no/***`: no such file or directory",
        ]
    );
    assert_eq!((told, ran.left), (ran.tail, ["***", "busybox"].map(String::from).to_vec()));
    let log = fs::read(&image.run.log).unwrap();
    assert!(log.starts_with(b"a *** b\n***-more\n******\n\0\xff***\x01\nab\n"));
    image.run.commands = vec![shell("/bin/busybox yes $SECRET-$SECRET | /bin/busybox head -c 268435456")];
    image.ran();
    let log = fs::read(&image.run.log).unwrap();
    assert!((64 << 20..(64 << 20) + 100).contains(&log.len()), "{}", log.len());
    let mut rest = log.split(|byte| *byte == b'\n').filter(|line| *line != b"***-***");
    let odd: Vec<&[u8]> = rest.by_ref().take(9).collect();
    assert!(odd.len() < 6 && !odd.concat().windows(6).any(|part| part == b"hunter"), "{odd:?}");
}

#[test]
fn a_run_can_be_interrupted_and_has_a_limit() {
    let Some(mut image) = Image::new("echo begun; /bin/busybox sleep 4243") else { return };
    let stop = AtomicBool::new(false);
    let begun = Instant::now();
    let fault = Launcher::of(IMGBUILD)
        .run_image(&image.run, &stop, &mut |_| stop.store(true, Ordering::Relaxed))
        .unwrap_err();
    assert_eq!((fault.code, fault.output.as_slice()), ("sandbox/interrupted", &["begun".to_string()][..]));
    image.run.timeout = Some(Duration::from_millis(300));
    assert_eq!(image.try_run().unwrap_err().code, "sandbox/timeout");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(!runs("sleep\u{0}4243") && !image.run.capture.unwrap().exists());
}

/// What the host's programs offer under an abstract name is in the network namespace, and in no root.
#[test]
fn with_the_network_comes_nothing_else_of_the_host() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let name = format!("imgbuild-test-{}", std::process::id());
    let perl = "use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0);
        connect($s, sockaddr_un(qq(\\0$ENV{NAME}))) and exit 2; exit($! == 1 ? 0 : 3)";
    let script = format!("/usr/bin/perl -e '{perl}'; /bin/busybox nc -w 5 127.0.0.1 $PORT");
    let Some(mut image) = Image::new(&script) else { return };
    if !Path::new("/usr/bin/perl").exists() || !landlock_can() {
        return skip("this machine lacks perl, or Linux 6.12 with Landlock").unwrap_or_default();
    }
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || std::io::Write::write_all(&mut listener.accept().unwrap().0, b"heard\n"));
    let system = ["/usr", "/lib", "/lib64"].into_iter().filter(|folder| Path::new(folder).is_dir());
    image.run.shown = system.map(|at| Shown { host: at.into(), at: path(at) }).collect();
    image.run.network = true;
    image.run.environment = [("NAME", name), ("PORT", port)].map(|(name, value)| (name.into(), value)).into();
    assert_eq!(image.ran().tail, ["heard"]);
}

fn landlock_can() -> bool {
    let version = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    // Where that list cannot be read, all that the kernel has is on.
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or("landlock".into());
    (numbers.next(), numbers.next()) >= (Some(6), Some(12)) && modules.contains("landlock")
}

/// What is written to one end, and what came out of two.
fn talked(image: &Image, typed: &str) -> (ImageRan, String, String) {
    let (input, mut keys) = std::io::pipe().unwrap();
    let (mut out, output) = std::io::pipe().unwrap();
    let (mut bad, errors) = std::io::pipe().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = std::io::Write::write_all(&mut keys, typed.as_bytes());
        });
        let said = scope.spawn(move || std::io::read_to_string(&mut out).unwrap());
        let errors_said = scope.spawn(move || std::io::read_to_string(&mut bad).unwrap());
        let console = Console { input: input.as_fd(), output: output.as_fd(), errors: errors.as_fd() };
        let ran =
            Launcher::of(IMGBUILD).run_interactive(&image.run, console, &AtomicBool::new(false)).unwrap();
        drop((input, output, errors));
        (ran, said.join().unwrap(), errors_said.join().unwrap())
    })
}

#[test]
fn people_can_talk_through_pipes() {
    let Some(mut image) = Image::new("echo before; /bin/busybox sleep 0.2") else { return };
    image.run.commands.push(Call { program: "/bin/sh".into(), ..Call::default() });
    let (ran, out, bad) = talked(&image, "echo out; echo bad >&2; echo x > /etc/x; test -t 0 || exit 3\n");
    assert_eq!((out.as_str(), bad.as_str()), ("before\nout\n", "bad\n"));
    assert_eq!((ran.exits, ran.failed), (vec![Exit::Code(0), Exit::Code(3)], None));
    let changes = Changes::read(image.run.capture.as_deref().unwrap());
    assert_eq!(changes.lines, ["d 755 0:0 etc", "f 644 0:0 etc/x x"]);
    image.run.commands = vec![Call {
        program: "/bin/busybox".into(),
        arguments: vec!["wc".into(), "-c".into()],
        ..Call::default()
    }];
    let long = "x".repeat(3_000_000);
    assert_eq!(talked(&image, &long).1.trim(), "3000000");
    image.run.commands[0].arguments = vec!["cat".into()];
    assert_eq!(talked(&image, &long).1.len(), 3_000_000, "neither side waits for the other");
}

/// Sets the flag if whoever holds it panics, so that nobody waits for what it would have typed.
struct EndsIt<'a>(&'a AtomicBool);

impl Drop for EndsIt<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

#[test]
fn people_can_talk_on_a_terminal() {
    let Some(mut image) = Image::new("echo before") else { return };
    image.run.commands.push(Call { program: "/bin/sh".into(), ..Call::default() });
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&ours).unwrap();
    let theirs = ioctl_tiocgptpeer(&ours, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    let size = |rows, columns| Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&ours, size(33, 77)).unwrap();
    let before = format!("{:?}", tcgetattr(&theirs).unwrap());
    let mut keys = fs::File::from(ours.try_clone().unwrap());
    let type_in = |text: &str| std::io::Write::write_all(&mut &keys, text.as_bytes()).unwrap();
    let said = std::sync::Mutex::new(String::new());
    // The same test runs elsewhere at the same time, as somebody else.
    let seconds = format!("7{}", std::process::id());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut piece = [0; 4096];
            while let Ok(length) =
                std::io::Read::read(&mut fs::File::from(ours.try_clone().unwrap()), &mut piece)
            {
                said.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..length]));
                if said.lock().unwrap().contains("THE END") {
                    break;
                }
            }
        });
        scope.spawn(|| {
            let _guard = EndsIt(&stop);
            let shows = |text: &str| wait_until(10, text, || said.lock().unwrap().contains(text));
            shows("before");
            type_in("/bin/busybox tty; /bin/busybox stty size\n");
            shows("33 77");
            tcsetwinsize(&ours, size(44, 88)).unwrap();
            std::thread::sleep(Duration::from_millis(200));
            type_in("/bin/busybox stty size\n");
            shows("44 88");
            type_in(&format!("/bin/busybox sleep {seconds}\n"));
            wait_until(10, "it sleeps", || runs(&format!("sleep\u{0}{seconds}")));
            type_in("\u{3}");
            type_in("echo x > /etc/x; exit 7\n");
        });
        let console = Console { input: theirs.as_fd(), output: theirs.as_fd(), errors: theirs.as_fd() };
        let ran = Launcher::of(IMGBUILD).run_interactive(&image.run, console, &stop).unwrap();
        std::io::Write::write_all(&mut fs::File::from(theirs.try_clone().unwrap()), b"THE END").unwrap();
        assert_eq!(ran.exits, [Exit::Code(0), Exit::Code(7)]);
    });
    assert!(said.lock().unwrap().contains("/dev/pts/0"), "a terminal of its own");
    assert_eq!(format!("{:?}", tcgetattr(&theirs).unwrap()), before, "as it was");
    assert_eq!(Changes::read(image.run.capture.as_deref().unwrap()).lines.len(), 2);
    let _ = std::io::Write::flush(&mut keys);
}

/// This test's own program is started again as a victim: its image's programs never end, and it is killed.
#[test]
#[allow(clippy::disallowed_methods, reason = "tells the victim that it is one")]
fn whoever_is_killed_leaves_nothing() {
    if let Ok(seconds) = std::env::var("IMGBUILD_TESTS_VICTIM") {
        let sleep = format!("/bin/busybox sleep {seconds}");
        let image = Image::new(&format!(
            "({sleep} &); /bin/busybox chown 33 /etc; /bin/busybox setsid {sleep}; true"
        ));
        let _ = image.unwrap().try_run();
        return;
    }
    if Launcher::of(IMGBUILD).images_available().is_err() {
        return;
    }
    let seconds = format!("8{}", std::process::id());
    let sleeper = format!("sleep\u{0}{seconds}");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "whoever_is_killed_leaves_nothing"])
        .env("IMGBUILD_TESTS_VICTIM", &seconds)
        .spawn()
        .unwrap();
    wait_until(10, "it runs", || runs(&sleeper));
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait_until(10, "all has ended", || !runs(&sleeper));
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
}

/// Prints the digest of a capture, for the test below.
#[test]
#[ignore = "run by another test"]
fn tell_a_digest() {
    let script = "b=/bin/busybox; $b mkdir -p /opt/a; $b chown 33:34 /opt/a; echo x > /opt/a/x; $b chown 65533 /opt/a/x
        $b chmod 2755 /opt/a/x; $b mkfifo /opt/p; $b rm -r /etc/gone; $b mkdir /etc/gone; $b chmod 700 /usr/bin/ping";
    let mut image = Image::new(script).unwrap();
    image.file("etc/gone/x", "");
    fs::write(image.path("spool"), "ping").unwrap();
    let mut ping = special(
        "usr/bin/ping",
        SpecialKind::File { file: image.path("spool"), offset: 0, size: 4 },
        0o755,
        (0, 0),
    );
    let capability = vec![1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    ping.xattrs = vec![(b"security.capability".to_vec(), capability), (b"user.x".to_vec(), b"y".to_vec())];
    image.run.specials = vec![ping];
    assert_eq!(image.changes().lines.len(), 11);
    let bytes = fs::read(image.run.capture.unwrap()).unwrap();
    println!("digest {}", imgbuild::key::Digest::of(&bytes));
}

#[test]
fn root_and_a_plain_user_capture_the_same_bytes() {
    if !is_root() || Image::new("").is_none() {
        return;
    }
    let arguments = ["--exact", "tell_a_digest", "--ignored", "--nocapture"];
    let own = Command::new(std::env::current_exe().unwrap()).args(arguments).output().unwrap();
    let Some(plain) = as_plain_user(&arguments) else { return };
    let digest = |run: std::process::Output| {
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        let line = said.lines().find(|line| line.contains("digest ")).map(String::from);
        line.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&run.stderr)))
    };
    assert_eq!(digest(own), digest(plain));
}

/// Where user namespaces are refused, root goes on without one.
#[test]
fn root_can_do_without_a_user_namespace() {
    if std::env::args().any(|argument| argument == "--exact") || !is_root() || Image::new("").is_none() {
        return;
    }
    let inner = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$0\" --exact a_hostile_program_achieves_nothing \
                 a_hostile_program_of_the_host_achieves_nothing programs_of_the_host_work_on_an_image \
                 scratch_stands_in_run_and_tmp what_is_sealed_stays_as_it_is \
                 what_programs_change_is_captured what_plain_folders_cannot_hold_is_there --test-threads=1";
    let mut run = Command::new("unshare")
        .args(["--user", "sh", "-c", "read go; exec sh -c \"$1\" \"$0\""])
        .arg(std::env::current_exe().unwrap())
        .arg(inner)
        // What is skipped there is not tried at all.
        .env("IMGBUILD_TESTS", "all")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let users = |process: &str| fs::read_link(format!("/proc/{process}/ns/user")).unwrap();
    let number = run.id().to_string();
    wait_until(10, "it has users of its own", || users(&number) != users("self"));
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{number}/{map}"), "0 0 65536\n").unwrap();
    }
    std::io::Write::write_all(&mut run.stdin.take().unwrap(), b"go\n").unwrap();
    let run = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(said.contains("7 passed"), "{said}{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn without_ids_a_user_is_told_what_to_do() {
    if !is_root() || Image::new("").is_none() {
        return;
    }
    let ids = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let run = Command::new("setpriv")
        .args(ids)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "refused_for_want_of_ids", "--ignored"])
        .current_dir("/")
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
}

/// Run by the test above, as a user without sub-ids.
#[test]
#[ignore = "needs a user without sub-ids"]
fn refused_for_want_of_ids() {
    let fault = Launcher::of(IMGBUILD).images_available().unwrap_err();
    assert_eq!((fault.code, fault.blame), ("sandbox/refused", Blame::Machine));
    let help = fault.help.unwrap();
    assert!(help.contains("--add-subuids 100000-165535") || help.contains("uidmap"), "{help}");
}

#[test]
fn a_sandbox_is_cheap() {
    let Some(image) = Image::new("true") else { return };
    let mut times: Vec<Duration> = (0..20)
        .map(|_| {
            let begun = Instant::now();
            image.ran();
            begun.elapsed()
        })
        .collect();
    times.sort();
    eprintln!("an empty run takes {:?} (median), {:?} (best)", times[10], times[0]);
    assert!(times[0] < Duration::from_millis(100));
}
