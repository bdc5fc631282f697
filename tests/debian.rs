//! Debian's base and packages, from the archive that this machine's apt has: the same tree as mmdebstrap makes, one that
//! dpkg and apt are content with, and the same bytes whoever builds it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod archive_server;
mod debian_tree;
mod project;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use archive_server::{Archive, Deb, Key, Server};
use debian_tree::{self as tree, Tree};
use imgbuild::deb::{Source, sources};
use project::{Project, digest, give_to_plain_user, is_root, sandboxes, skipped};

const SERVER: &[&str] = &[
    "systemd-sysv",
    "openssh-server",
    "iproute2",
    "curl",
    "python3-minimal",
    "linux-image-cloud-amd64",
    // Triggers, alternatives, accounts, conffiles, capabilities.
    "man-db",
    "nginx-light",
    "cron",
    "sudo",
    "iputils-ping",
    "vim-tiny",
];

/// Images by name, suite, and what is on top.
const IMAGES: [(&str, &str, &[&str]); 4] = [
    ("bookworm", "bookworm", &[]),
    ("trixie", "trixie", &[]),
    ("bookworm-server", "bookworm", SERVER),
    ("trixie-server", "trixie", SERVER),
];

/// The time of images where nobody states one.
const EPOCH: &str = "1735689600";

/// Debian's sources of this machine for a suite; none, and the test says so, if something is missing here.
fn mirrors(suite: &str) -> Option<Vec<Source>> {
    let found = sources::host(Path::new("/etc/apt"), "debian", suite, "amd64");
    if !cfg!(target_arch = "x86_64") || found.is_empty() {
        skipped("a mirror of Debian for amd64 in its apt sources");
        return None;
    }
    Some(found)
}

fn has_tools(tools: &[&str]) -> bool {
    let lacks = |name: &&&str| imgbuild::sandbox::resolve_program(name, imgbuild::sandbox::PATH).is_none();
    let lacking: Vec<&str> = tools.iter().filter(lacks).copied().collect();
    if !lacking.is_empty() {
        skipped(&lacking.join(", "));
    }
    lacking.is_empty()
}

/// A project with all the images, built once for all tests.
fn built() -> Option<&'static Project> {
    static BUILT: OnceLock<Option<Project>> = OnceLock::new();
    let make = || {
        mirrors("trixie")?;
        if !sandboxes() {
            return None;
        }
        let project = Project::new();
        let image = |(name, suite, packages): &(&str, &str, &[&str])| {
            let packages: String = packages.iter().map(|name| format!("        {name}\n")).collect();
            format!(
                "image \"{name}\" {{\n    base \"debian\" suite=\"{suite}\"\n    packages {{\n{packages}    }}\n    \
                 output \"tar\"\n}}\n"
            )
        };
        project.write("image.kdl", IMAGES.iter().map(image).collect::<String>());
        project.build();
        Some(project)
    };
    BUILT.get_or_init(make).as_ref()
}

fn tar(project: &Project, name: &str) -> PathBuf {
    project.path(&format!("build/{name}.tar"))
}

fn as_mmdebstrap_makes_it(name: &str) {
    let (_, suite, packages) = IMAGES.iter().find(|image| image.0 == name).unwrap();
    if !is_root() {
        return skipped("root, for mmdebstrap");
    }
    let (Some(sources), Some(project)) = (mirrors(suite), built()) else { return };
    if !has_tools(&["mmdebstrap"]) {
        return;
    }
    let folder = tempfile::tempdir_in(project.outer()).unwrap();
    let theirs = folder.path().join("theirs.tar");
    let mut command = Command::new("mmdebstrap");
    command.args(["--mode=root", "--variant=minbase", "--quiet", "--format=tar"]);
    if !packages.is_empty() {
        command.arg(format!("--include={}", packages.join(",")));
    }
    command.arg(suite).arg(&theirs).args(sources.iter().map(line_of));
    let done = command
        .env("TMPDIR", folder.path())
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let (wanted, got) = (Tree::read(&theirs), Tree::read(&tar(project, name)));
    let differences = tree::differences(&wanted, &got);
    assert!(differences.is_empty(), "{name}:\n{}", differences.join("\n"));
}

/// A source as a line of apt's (sources.list(5)).
fn line_of(source: &Source) -> String {
    let option = if source.check_valid_until { "" } else { "[check-valid-until=no] " };
    format!("deb {option}{} {} {}", source.mirrors[0], source.suite, source.components.join(" "))
}

#[test]
fn bookworm_is_as_mmdebstrap_makes_it() {
    as_mmdebstrap_makes_it("bookworm");
}

#[test]
fn trixie_is_as_mmdebstrap_makes_it() {
    as_mmdebstrap_makes_it("trixie");
}

#[test]
fn a_bookworm_server_is_as_mmdebstrap_makes_it() {
    as_mmdebstrap_makes_it("bookworm-server");
}

#[test]
fn a_trixie_server_is_as_mmdebstrap_makes_it() {
    as_mmdebstrap_makes_it("trixie-server");
}

/// Runs a script as root of the tree in `root`, with nothing of it mounted afterwards.
fn inside(root: &Path, script: &str) -> (bool, String) {
    let outer = "mount --make-rprivate /; mount -t proc proc \"$0/proc\"; mount -t tmpfs tmpfs \"$0/run\"
        for name in null zero urandom; do mount --bind /dev/$name \"$0/dev/$name\"; done
        exec chroot \"$0\" /bin/sh -ec \"$1\"";
    let done = Command::new("unshare")
        .args(["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "sh", "-ec", outer])
        .arg(root)
        .arg(script)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn dpkg_apt_and_sshd_are_content_with_it() {
    if !is_root() {
        return skipped("root, for a chroot");
    }
    for suite in ["bookworm", "trixie"] {
        let (Some(sources), Some(project)) = (mirrors(suite), built()) else { return };
        let folder = tempfile::tempdir_in(project.outer()).unwrap();
        let root = folder.path();
        let tar = tar(project, &format!("{suite}-server"));
        let done =
            Command::new("tar").args(["--numeric-owner", "-xpf"]).arg(tar).arg("-C").arg(root).status();
        assert!(done.unwrap().success(), "tar");
        let quiet =
            |script: &str| assert_eq!(inside(root, script), (true, String::new()), "{suite}: {script}");
        quiet("dpkg --audit");
        quiet("dpkg --verify");
        let (_, said) = inside(root, "apt-get --simulate autoremove");
        assert!(said.contains("0 to remove"), "{suite}: {said}");

        // The keys of an SSH server are made on the first boot, and only then does it start.
        let unit = fs::read_to_string(root.join("usr/lib/systemd/system/imgbuild-ssh-host-keys.service"));
        let unit = unit.unwrap();
        let run = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let (works, said) = inside(root, "mkdir -p /run/sshd; /usr/sbin/sshd -t");
        assert!(!works && said.contains("no hostkeys"), "{suite}: {said}");
        let (works, said) = inside(root, &format!("{run}; mkdir -p /run/sshd; /usr/sbin/sshd -t"));
        assert!(works, "{suite}: {said}");
        let (works, said) =
            inside(root, "SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no ssh.service ssh.socket");
        assert!(works && !said.contains("imgbuild"), "{suite}: {said}");

        let lines: String = sources.iter().map(|source| line_of(source) + "\n").collect();
        fs::write(root.join("etc/apt/sources.list"), lines).unwrap();
        for name in ["hosts", "resolv.conf"] {
            let _ = fs::copy(Path::new("/etc").join(name), root.join("etc").join(name));
        }
        let (works, said) = inside(root, "apt-get -q update; apt-get -qy install hello; hello");
        assert!(works && said.contains("Hello, world!\n"), "{suite}: {said}");
        quiet("dpkg --audit; dpkg --verify");
    }
}

#[test]
fn nothing_of_this_machine_is_in_it() {
    let Some(project) = built() else { return };
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let outer = project.outer().to_str().unwrap();
    let mut foreign: Vec<&str> = vec![outer];
    foreign.extend([host.trim()].into_iter().filter(|name| name.len() > 5 && *name != "localhost"));
    for (name, ..) in IMAGES {
        let path = tar(project, name);
        let bytes = fs::read(&path).unwrap();
        for word in &foreign {
            assert_eq!(memchr::memmem::find(&bytes, word.as_bytes()), None, "`{word}` is in {name}");
        }
        let tree = Tree::read(&path);
        let none =
            ["etc/resolv.conf", "etc/hostname", "usr/sbin/policy-rc.d", "etc/dpkg/dpkg.cfg.d/imgbuild"];
        for path in none {
            assert!(tree.get(path).is_none(), "{path} is in {name}");
        }
        // A service that had been started would have left its id, or its socket, there.
        let run: Vec<&String> = tree.paths().filter(|path| path.starts_with("run/")).collect();
        assert_eq!(run, ["run/lock"], "{name}");
    }
}

fn can_be_plain_user() -> bool {
    if !is_root() {
        skipped("root, to become somebody else");
        return false;
    }
    has_tools(&["setpriv", "unshare", "newuidmap", "newgidmap"])
}

#[test]
fn the_same_bytes_by_somebody_else_elsewhere_with_one_job() {
    let Some(project) = built() else { return };
    if !can_be_plain_user() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut other = Project::at(folder.path().join("there"), folder.path().join("another cache"));
    fs::create_dir(&other.root).unwrap();
    for name in ["image.kdl", "image.lock.kdl"] {
        fs::copy(project.path(name), other.path(name)).unwrap();
    }
    give_to_plain_user(&mut other);
    // A server has all that its base has.
    const TWICE: [&str; 2] = ["bookworm", "trixie-server"];
    let ended = other.run(&[&["build", "--locked", "--jobs", "1"], &TWICE[..]].concat());
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
    for name in TWICE {
        let (one, two) = (tar(project, name), tar(&other, name));
        if digest(&one) != digest(&two) {
            let (one, two) = (Tree::read(&one), Tree::read(&two));
            panic!("{name}:\n{}", tree::plain_differences(&one, &two).join("\n"));
        }
    }
}

/// A project with a package `odd` of our own on top of trixie.
struct Odd {
    project: Project,
    key: Key,
    server: Server,
}

impl Odd {
    /// The base comes from what all tests have built.
    fn new(postinst: &str) -> Option<Odd> {
        let built = built()?;
        let key = Key::new();
        let server = Server::start(Odd::archive("1", postinst).build(&key));
        let folder = built.outer().join(format!("odd-{}", server.url.rsplit(':').next().unwrap()));
        let project = Project::at(folder.join("project"), built.cache.clone());
        fs::create_dir_all(&project.root).unwrap();
        key.write(&project.root);
        let keyring = key.write(&project.root);
        project.write(
            "image.kdl",
            format!(
                "image \"odd\" {{\n    base \"debian\" suite=\"trixie\" {{\n        repository \"third\" url=\"{}\" \
                 suite=\"odd/\" keyring=\"{}\"\n    }}\n    packages {{\n        odd\n    }}\n    output \"tar\"\n}}\n",
                server.url,
                keyring.display(),
            ),
        );
        Some(Odd { project, key, server })
    }

    fn archive(version: &str, postinst: &str) -> Archive {
        let deb = Deb::new("odd", version, "amd64", "").file("usr/share/odd/file", 0o644, "odd");
        let text = format!("#!/bin/sh\nset -e\n{postinst}\n");
        Archive::flat("odd", vec![deb.script("postinst", &text)])
    }

    /// Serves a package that can be configured, and builds with it.
    fn mend_and_build(&self) {
        self.server.serve(Odd::archive("2", "echo well > /etc/odd").build(&self.key));
        fs::remove_file(self.project.path("image.lock.kdl")).unwrap();
        let ended = self.project.run(&["build", "--refresh"]);
        assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
    }
}

#[test]
fn a_package_that_fails_is_named_with_its_last_words() {
    let Some(odd) = Odd::new("echo before; echo 'it cannot be' >&2; exit 3") else { return };
    let ended = odd.project.run(&["build"]);
    assert_eq!(ended.code, Some(1), "{}{}", ended.out, ended.err);
    for word in ["the package `odd`", "it cannot be", "exit status 3", "image.kdl:6", ".log"] {
        assert!(ended.err.contains(word), "{word}: {}", ended.err);
    }
    let log = ended.err.split('`').find(|part| part.ends_with(".log")).unwrap();
    assert!(fs::read_to_string(odd.project.path(log)).unwrap().contains("it cannot be"), "{log}");
    odd.mend_and_build();
    let tree = Tree::read(&tar(&odd.project, "odd"));
    assert!(tree.get("etc/odd").is_some() && tree.get("usr/share/odd/file").is_some());
}

#[test]
fn killed_while_it_configures_it_leaves_nothing() {
    // A time that no other sleep has.
    let marker = format!("90{}.25", std::process::id());
    let Some(mut odd) = Odd::new(&format!("sleep {marker}")) else { return };
    if !can_be_plain_user() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let _ = fs::remove_dir_all(&cache);
    let copy = Command::new("cp").args(["-a", "--reflink=auto"]).arg(&odd.project.cache).arg(&cache).status();
    assert!(copy.unwrap().success(), "cp");
    let root = folder.path().join("project");
    fs::rename(&odd.project.root, &root).unwrap();
    let manifest = fs::read_to_string(root.join("image.kdl")).unwrap();
    let old = odd.project.root.to_str().unwrap();
    fs::write(root.join("image.kdl"), manifest.replace(old, root.to_str().unwrap())).unwrap();
    odd.project = Project::at(root, cache);
    give_to_plain_user(&mut odd.project);

    let mut child = odd.project.start(&["build"]);
    let start = Instant::now();
    while running(&marker).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(120), "its script never ran");
        if child.try_wait().unwrap().is_some() {
            let ended = child.wait_with_output().unwrap();
            panic!("{}", String::from_utf8_lossy(&ended.stderr));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let start = Instant::now();
    while !running(&marker).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(10), "still there: {:?}", running(&marker));
        std::thread::sleep(Duration::from_millis(20));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(folder.path().to_str().unwrap()), "{mounts}");
    let mut foreign = Vec::new();
    foreign_files(folder.path(), &mut foreign);
    foreign.retain(|path| !path.ends_with("ids"));
    assert_eq!(foreign, Vec::<PathBuf>::new(), "files of others");

    odd.mend_and_build();
    assert!(Tree::read(&tar(&odd.project, "odd")).get("etc/odd").is_some());
}

/// Processes whose command line has the word.
fn running(word: &str) -> Vec<String> {
    let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(word)).collect()
}

fn foreign_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.uid() != 65534 {
            found.push(path.clone());
        }
        if metadata.is_dir() {
            foreign_files(&path, found);
        }
    }
}
