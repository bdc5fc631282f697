//! The examples, as somebody who tries them would: built in a copy, and built again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use imgbuild::sandbox::Launcher;

const IMGBUILD: &str = env!("CARGO_BIN_EXE_imgbuild");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

/// Where test files of packages keep what they share.
const SHARED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/packages-cache");

/// What plain users share; empty at first.
static OF_PLAIN_USERS: LazyLock<PathBuf> = LazyLock::new(|| {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plain-cache");
    let _ = fs::remove_dir_all(&cache);
    fs::create_dir_all(cache.join("1")).unwrap();
    cache
});

/// A copy of one example.
struct Example {
    folder: tempfile::TempDir,
    name: &'static str,
    cache: PathBuf,
}

impl Example {
    /// One with packages, and with a cache that all of these share; none where there can be no packages.
    fn debian(name: &'static str) -> Option<Example> {
        if !can_debian() {
            return None;
        }
        let mut example = Example::copy(name);
        example.cache = PathBuf::from(SHARED);
        // The mirror may have newer packages by now than the lock, and the old ones no more.
        example.run(&["update"]);
        Some(example)
    }

    /// One with a cache of its own.
    fn copy(name: &'static str) -> Example {
        let folder = tempfile::tempdir().unwrap();
        let copied =
            Command::new("cp").arg("-R").arg(Path::new(EXAMPLES).join(name)).arg(folder.path()).status();
        assert!(copied.unwrap().success());
        let example = Example { cache: folder.path().join("cache"), folder, name };
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
        command.env("HOME", self.folder.path()).env("IMGBUILD_CACHE", &self.cache);
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

    /// Builds it as a plain user, with nothing but what was downloaded and what such users made: what is written must be
    /// the same.
    fn same_as_plain_user(&self) {
        if !Path::new("/usr/bin/newuidmap").exists() || !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: not root, or without newuidmap");
        }
        let written = self.written();
        let ids = self.folder.path().join("ids");
        fs::write(&ids, "65534:100000:65536\n").unwrap();
        // What others download meanwhile may come and go.
        let script = "cp -Rn \"$2/1/downloads\" \"$1/1\" 2>/dev/null || true
            chown 65534:65534 \"$1\" \"$1/1\"; chown -R 65534:65534 \"$1/1/downloads\"
            chown -R 65534:65534 \"$0\"; chmod 755 \"$0\"; chown 0:0 \"$0/ids\"; shift 2
            mount --bind \"$0/ids\" /etc/subuid; mount --bind \"$0/ids\" /etc/subgid; cd \"$0\"
            exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"";
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-ec", script])
            .args([self.folder.path(), &*OF_PLAIN_USERS, &self.cache])
            .args([IMGBUILD, "-C", self.name, "--cache"])
            .arg(&*OF_PLAIN_USERS)
            .env("HOME", self.folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(written == self.written(), "{}: other bytes as a plain user", self.name);
    }

    fn written(&self) -> BTreeMap<String, Vec<u8>> {
        // What imgbuild notes of a folder that it wrote stands beside it.
        let build = self.path("build");
        let (mut folders, mut written) = (vec![build.clone()], BTreeMap::new());
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                let is_note = text(path.file_name().unwrap()).starts_with('.');
                if path.is_dir() {
                    folders.push(path);
                } else if !is_note {
                    let name = text(path.strip_prefix(&build).unwrap().as_os_str());
                    written.insert(name, fs::read(path).unwrap());
                }
            }
        }
        written
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
            "elements",
            "filesystems",
            "flavours",
            "hooks",
            "hypervisors",
            "include",
            "initramfs",
            "machines",
            "many",
            "oci",
            "quickstart",
            "run-parts",
            "xcluster"
        ]
    );
}

/// Whether images can be made of packages here; says so if not.
fn can_debian() -> bool {
    let lacks = Launcher::of(IMGBUILD).images_available().err().map(|fault| fault.to_string());
    let apt = Path::new("/etc/apt/sources.list").exists() || Path::new("/etc/apt/sources.list.d").exists();
    if lacks.is_none() && apt {
        return true;
    }
    #[allow(clippy::disallowed_methods, reason = "a switch of the tests themselves")]
    let all = std::env::var("IMGBUILD_TESTS").is_ok_and(|wanted| wanted == "all");
    assert!(!all, "{lacks:?}");
    eprintln!("skipped: {}", lacks.unwrap_or_else(|| "this machine's apt has no mirror".into()));
    false
}

#[test]
fn hooks() {
    let Some(example) = Example::debian("hooks") else { return };
    example.build(&["server-container.oci.tar", "server-vm.tar.zst"]);
    let cat = |target: &str, path: &str| example.run(&["cat", target, path]);
    assert_eq!(cat("server:vm", "/etc/motd"), "Добро пожаловать, welcome to example.org\n");
    assert!(cat("server:vm", "/etc/hosts").contains("server.example.org"));
    assert_eq!(cat("server:vm", "/opt/app/greeting"), "hello\n");
    assert!(cat("server:vm", "/etc/contents").contains("etc/securetty\n"));
    assert!(
        !cat("server:container", "/etc/contents").contains("etc/securetty\n"),
        "that hook is the other's"
    );
    assert!(example.run(&["ls", "server:vm", "/var/lib/imgbuild/first-boot.d"]).contains("00-identity"));
    assert!(!example.run(&["ls", "server:vm", "/usr/share"]).contains("usr/share/doc/apt"));
    example.same_as_plain_user();

    // Of two hypervisors' hooks and all that they share, only what sees the variable runs again.
    let plan = example.run(&["plan", "--set", "SITE=example.net"]);
    assert!(plan.contains("run    hook:setup/very-simple-hook@server"), "{plan}");
    assert!(plan.contains("`SITE=example.org`, now `SITE=example.net`"), "{plan}");
}

#[test]
fn run_parts() {
    let Some(example) = Example::debian("run-parts") else { return };
    example.build(&["instance-kvm.tar.zst", "instance-xen-pvm.tar.zst"]);
    assert_eq!(example.run(&["cat", "instance:kvm", "/etc/timezone"]), "Etc/UTC\n");
    assert!(example.run(&["cat", "instance:kvm", "/etc/shadow"]).starts_with("root:*:"));
    assert_eq!(example.run(&["cat", "instance:xen-pvm", "/etc/console"]), "hvc0\n");
    example.same_as_plain_user();

    // What stands beside the scripts counts as theirs; one that is no script any more is told of.
    fs::write(example.path("hooks/root.password"), "!\n").unwrap();
    assert!(example.run(&["plan"]).contains("run    hook:customize/defaultpasswords@instance"));
    let script = example.path("hooks/timezone");
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let told = example.run(&["check"]);
    assert!(told.contains("hooks/timezone` does not run: it is not executable"), "{told}");
}

#[test]
fn elements() {
    let Some(example) = Example::debian("elements") else { return };
    example.build(&["web.tar.zst"]);
    assert_eq!(example.run(&["cat", "web", "/etc/motd"]), "a machine of web\n");
    assert_eq!(example.run(&["cat", "web", "/var/www/index.html"]), "<h1>example.org</h1>\n");
    assert!(example.run(&["packages", "web"]).contains("mini-httpd"));
    assert!(!example.run(&["ls", "web"]).contains("in_target.d"), "nothing of the elements is in the image");
    example.same_as_plain_user();
}

#[test]
fn debian_server() {
    let Some(example) = Example::debian("debian-server") else { return };
    let written = example.build(&["server-qemu.qcow2", "server.oci.tar", "server.tar.zst"]);
    assert!(written["server.tar.zst"].len() > 1 << 20);
    assert!(example.run(&["cat", "server:qemu", "/srv/www/index.html"]).contains("It works."));
    let listed = example.run(&["ls", "server:qemu", "/boot"]);
    assert!(listed.contains("boot/vmlinuz-") && listed.contains("boot/initrd.img-"), "{listed}");
    assert!(example.run(&["packages", "server"]).contains("openssh-server"));
    let shell = example.run(&["shell", "server", "--", "dpkg", "--audit"]);
    assert_eq!(shell, "", "dpkg has nothing to complain of");
}

#[test]
fn filesystems() {
    let Some(example) = Example::debian("filesystems") else { return };
    let written = example.build(&["appliance.erofs", "appliance.ext4", "appliance.squashfs"]);
    assert!(written["appliance.squashfs"].len() < written["appliance.erofs"].len());
    assert_eq!(written["appliance.ext4"].len(), 512 << 20);
    assert!(example.run(&["plan"]).contains("nothing to do"));
    example.same_as_plain_user();
}

#[test]
fn machines() {
    let Some(example) = Example::debian("machines") else { return };
    let written = example.build(&[
        "web-lxc.metadata.tar.xz",
        "web-lxc.tar.xz",
        "web-oci.oci.tar",
        "web-qemu.qcow2",
        "web-qemu.sha256",
        "web-qemu.xml",
        "web-vmware.vmdk",
        "web-xen.cfg",
        "web-xen.kernel/cmdline",
        "web-xen.kernel/initrd.img",
        "web-xen.kernel/vmlinuz",
        "web-xen.raw",
    ]);
    let cmdline = String::from_utf8_lossy(&written["web-xen.kernel/cmdline"]).into_owned();
    assert!(cmdline.starts_with("root=UUID=") && cmdline.ends_with(" ro console=hvc0\n"), "{cmdline}");
    // What all have in common stands in the plan once.
    let plan = example.run(&["plan", "--all"]);
    for shared in ["overlay:web ", "packages:web ", "base:debian trixie amd64 minbase "] {
        assert_eq!(plan.matches(shared).count(), 1, "{shared}: {plan}");
    }
    example.same_as_plain_user();
}

#[test]
fn flavours() {
    let Some(example) = Example::debian("flavours") else { return };
    let listed = example.run(&["flavours"]);
    for there in
        ["\nvm ", "\ngrowroot ", "\nsite            flavours/flavours/site  what all machines of this site"]
    {
        assert!(listed.contains(there), "{there}: {listed}");
    }
    assert!(example.run(&["flavours", "site"]).contains("note in `/etc/born`"));
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
