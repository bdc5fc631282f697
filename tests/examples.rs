//! The examples, as somebody who tries them would: built in a copy, and built again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use imgbuild::sandbox::Launcher;

const IMGBUILD: &str = env!("CARGO_BIN_EXE_imgbuild");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

/// A copy of one example, with a cache of its own.
struct Example {
    folder: tempfile::TempDir,
    name: &'static str,
}

impl Example {
    fn copy(name: &'static str) -> Example {
        let folder = tempfile::tempdir().unwrap();
        let copied =
            Command::new("cp").arg("-R").arg(Path::new(EXAMPLES).join(name)).arg(folder.path()).status();
        assert!(copied.unwrap().success());
        let example = Example { folder, name };
        // What somebody built in the original is no part of it.
        let _ = fs::remove_dir_all(example.path("build"));
        example
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(self.name).join(name)
    }

    fn try_run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(IMGBUILD);
        // In one word: a folder may be called as a command is.
        command.arg(format!("-C{}", self.name)).args(arguments).current_dir(self.folder.path()).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", self.folder.path()).env("IMGBUILD_CACHE", self.folder.path().join("cache"));
        command.output().unwrap()
    }

    /// Runs imgbuild, and gives all that it said.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{} {arguments:?}: {said}", self.name);
        said
    }

    /// Checks it, builds it, and builds it again; gives what it wrote: name and content.
    fn build(&self, outputs: &[&str]) -> BTreeMap<String, Vec<u8>> {
        let checked = self.try_run(&["check"]);
        assert!(checked.status.success() && checked.stdout.is_empty(), "{checked:?}");
        let said = self.run(&[]);
        assert!(said.contains("steps ran"), "{said}");
        let written = self.written();
        assert_eq!(written.keys().map(String::as_str).collect::<Vec<_>>(), outputs, "{said}");

        let again = self.run(&[]);
        assert!(again.contains("nothing to do"), "{again}");
        let plan = self.run(&["plan", "--exit-code"]);
        assert!(plan.contains("nothing to do"), "{plan}");
        assert!(written == self.written(), "the second build wrote something");
        written
    }

    fn written(&self) -> BTreeMap<String, Vec<u8>> {
        let files = fs::read_dir(self.path("build")).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| (text(path.file_name().unwrap()), fs::read(path).unwrap())).collect()
    }
}

fn text(name: &OsStr) -> String {
    name.to_str().unwrap().to_string()
}

fn contains(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

/// Whether this machine can do what an example needs beside imgbuild; says so if not.
fn can(program: Option<(&str, &str)>) -> bool {
    let lacks = Launcher::of(IMGBUILD).available().err().map(|fault| fault.to_string()).or_else(|| {
        let (program, package) = program?;
        let found = imgbuild::sandbox::resolve_program(program, imgbuild::sandbox::PATH).is_some();
        (!found).then(|| format!("this machine lacks {program} (Debian: {package})"))
    });
    if let Some(lacks) = &lacks {
        #[allow(clippy::disallowed_methods, reason = "a switch of the tests themselves")]
        let all = std::env::var("IMGBUILD_TESTS").is_ok_and(|wanted| wanted == "all");
        assert!(!all, "{lacks}");
        eprintln!("skipped: {lacks}");
    }
    lacks.is_none()
}

const BUSYBOX: Option<(&str, &str)> = Some(("busybox", "busybox-static"));

#[test]
fn every_example_is_tried_here() {
    let mut there: Vec<String> =
        fs::read_dir(EXAMPLES).unwrap().map(|entry| text(&entry.unwrap().file_name())).collect();
    there.sort();
    assert_eq!(
        there,
        [
            "debian-server",
            "flavours",
            "hypervisors",
            "include",
            "initramfs",
            "many",
            "oci",
            "quickstart",
            "xcluster"
        ]
    );
}

/// Whether packages can be had here and made an image of; says so if not.
fn has_packages() -> bool {
    let lacks = Launcher::of(IMGBUILD).images_available().err().map(|fault| fault.to_string());
    let apt = Path::new("/etc/apt/sources.list").exists() || Path::new("/etc/apt/sources.list.d").exists();
    if lacks.is_some() || !apt {
        #[allow(clippy::disallowed_methods, reason = "a switch of the tests themselves")]
        let all = std::env::var("IMGBUILD_TESTS").is_ok_and(|wanted| wanted == "all");
        assert!(!all, "{lacks:?}");
        eprintln!("skipped: {}", lacks.unwrap_or_else(|| "this machine's apt has no mirror".into()));
        return false;
    }
    true
}

#[test]
fn debian_server() {
    if !has_packages() {
        return;
    }
    let example = Example::copy("debian-server");
    // The mirror may have newer packages by now than the lock, and the old ones no more.
    example.run(&["update"]);
    let written = example.build(&["server-vm.tar.zst", "server.oci.tar", "server.tar.zst"]);
    assert!(written["server.tar.zst"].len() > 1 << 20);
    assert!(example.run(&["cat", "server:vm", "/srv/www/index.html"]).contains("It works."));
    let listed = example.run(&["ls", "server:vm", "/boot"]);
    assert!(listed.contains("boot/vmlinuz-") && listed.contains("boot/initrd.img-"), "{listed}");
    assert!(example.run(&["packages", "server"]).contains("openssh-server"));
    let shell = example.run(&["shell", "server", "--", "dpkg", "--audit"]);
    assert_eq!(shell, "", "dpkg has nothing to complain of");
}

#[test]
fn flavours() {
    if !has_packages() {
        return;
    }
    let example = Example::copy("flavours");
    let listed = example.run(&["flavours"]);
    for there in
        ["\nvm ", "\ngrowroot ", "\nsite            flavours/flavours/site  what all machines of this site"]
    {
        assert!(listed.contains(there), "{there}: {listed}");
    }
    assert!(example.run(&["flavours", "site"]).contains("note in `/etc/born`"));
    // The mirror may have newer packages by now than the lock, and the old ones no more.
    example.run(&["update"]);
    example.build(&["workbench-kvm.tar.zst", "workbench-xen.tar.zst"]);
    let getty =
        |device: &str| format!("/etc/systemd/system/getty.target.wants/serial-getty@{device}.service");
    for (target, device) in [("workbench:kvm", "ttyS0"), ("workbench:xen", "hvc0")] {
        assert!(
            example.run(&["ls", target, "/etc/systemd/system"]).contains(&getty(device)[1..]),
            "{target}"
        );
    }
    assert!(
        example.run(&["cat", "workbench:kvm", "/etc/issue.d/site.issue"]).contains("operator@example.org")
    );
    assert!(
        example.run(&["cat", "workbench:xen", "/home/dev/.ssh/authorized_keys"]).contains("team@example.org")
    );
    // Another developer is another user, with the same keys; the packages stay as they are.
    let plan = example.run(&["plan", "--set", "ME=ada"]);
    assert!(plan.contains("hook:devuser/user@workbench") && !plan.contains("packages:workbench"), "{plan}");
}

#[test]
fn quickstart() {
    let example = Example::copy("quickstart");
    let written = example.build(&["hello.iso", "hello.tar.zst"]);
    assert!(contains(&written["hello.iso"], "It works."));

    fs::write(example.path("overlays/site/index.html"), "changed\n").unwrap();
    let plan = example.run(&["plan"]);
    assert!(plan.contains("overlays/site/index.html changed"), "{plan}");
    assert!(plan.contains("1 step to run, 2 perhaps, 2 fresh"), "{plan}");
    // Another time, but the same files again: nothing behind them has to be done.
    fs::remove_file(example.path("overlays/site/index.html")).unwrap();
    fs::copy(
        Path::new(EXAMPLES).join("quickstart/overlays/site/index.html"),
        example.path("overlays/site/index.html"),
    )
    .unwrap();
    assert!(example.run(&[]).contains("nothing to do"));
}

#[test]
fn hypervisors() {
    let example = Example::copy("hypervisors");
    let plan = example.run(&["plan"]);
    for shared in ["overlay:router", "overlay:container"] {
        let steps = plan
            .lines()
            .filter(|line| line.starts_with("run") && line.split_whitespace().nth(1) == Some(shared));
        assert_eq!(steps.count(), 1, "{plan}");
    }
    example.build(&["router-lxc.tar.xz", "router-openvz.tar.gz", "router-qemu.cpio.gz"]);
}

#[test]
fn include() {
    let example = Example::copy("include");
    let written = example.build(&["database.tar", "web.tar"]);
    assert!(contains(&written["web.tar"], "web.example.com\n"));

    let plan = example.run(&["plan", "--set", "STAGE=test"]);
    assert!(plan.contains("2 steps to run, 6 fresh"), "only the image that asks for STAGE: {plan}");
    example.run(&["--set", "DOMAIN=example.org"]);
    assert!(contains(&example.written()["database.tar"], "database.example.org\n"));
}

#[test]
fn many() {
    let example = Example::copy("many");
    let written = example.build(&["cluster.iso"]);
    for name in ["000node-001.tar", "099node-100.tar", "103node-104.tar"] {
        assert!(contains(&written["cluster.iso"], name), "{name}");
    }
}

#[test]
fn the_generator_writes_what_is_there() {
    let example = Example::copy("many");
    let before = listing(&example.path(""));
    assert!(Command::new(example.path("generate")).status().unwrap().success());
    assert!(before == listing(&example.path("")), "run examples/many/generate");
}

/// Every file below a folder, with its content.
fn listing(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(listing(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn xcluster() {
    if !can(None) {
        return;
    }
    let example = Example::copy("xcluster");
    let written = example.build(&["cluster.iso"]);
    let iso = &written["cluster.iso"];
    for (name, there) in [("00network.tar", true), ("03site.tar", true), ("04tests.tar", false)] {
        assert_eq!(contains(iso, name), there, "{name}");
    }
    assert!(contains(iso, "inet dhcp"), "without SETUP, `default` comes");

    // A script that another one asked for counts as its own.
    let script = example.path("ovl/network/default/etc/interfaces");
    fs::write(script, "auto eth1\n").unwrap();
    let plan = example.run(&["plan"]);
    for step in ["run    overlay:network", "run    overlay:xnet"] {
        assert!(plan.contains(step), "{plan}");
    }

    example.run(&["--set", "SETUP=ipv6,test"]);
    let iso = &example.written()["cluster.iso"];
    assert!(contains(iso, "inet6 auto") && contains(iso, "04tests.tar"));
}

#[test]
fn initramfs() {
    if !can(BUSYBOX) {
        return;
    }
    Example::copy("initramfs").build(&["initramfs.cpio.zst"]);
}

#[test]
fn oci() {
    if !can(BUSYBOX) {
        return;
    }
    let written = Example::copy("oci").build(&["web.oci.tar"]);
    assert!(contains(&written["web.oci.tar"], "oci-layout"));
}
