//! Flavours: `imgbuild flavours` tells of them, and imgbuild's own make what they say, in both suites.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod project;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use imgbuild::deb::sources;
use project::{Project, is_root, sandboxes, skipped};
use serde_json::Value;

const OWN: &str = r#"flavour "tools" summary="what we look with" docs="More of it." {
    needs "base"
    setting "PAGER" default="less" docs="What shows long texts."
    setting "SITE" docs="Where it stands."
    packages { "${PAGER}"; strace }
    files { file "/etc/site" content="${SITE} ${IMGBUILD_ARCH}\n"; }
    hooks phase="first-boot" { hook "late" run="true"; }
    hooks { hook "early" run="true"; }
}
"#;

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn all_that_can_be_found_are_listed() {
    let project = Project::new();
    let names = |out: &str| -> Vec<String> {
        lines(out)
            .iter()
            .map(|line| format!("{} {}", line["name"].as_str().unwrap(), line["source"].as_str().unwrap()))
            .collect()
    };
    let stock = [
        "base stock",
        "devuser stock",
        "growroot stock",
        "local-config stock",
        "serial-console stock",
        "ssh-host-keys stock",
        "vm stock",
    ];
    // There is no project, and none is needed.
    let ended = project.run(&["flavours", "--json"]);
    assert_eq!((ended.code, names(&ended.out)), (Some(0), stock.map(String::from).to_vec()), "{}", ended.err);
    assert!(!project.cache.exists(), "looking makes nothing");
    for line in lines(&ended.out) {
        assert!(line["summary"].as_str().is_some_and(|text| text.len() > 10), "{line}");
        assert!(line["readme"].as_str().is_some_and(|text| text.len() > 40), "{line}");
        assert!(line["place"].is_null(), "{line}");
        let settings = line["settings"].as_array().unwrap();
        assert!(
            settings.iter().all(|setting| setting["default"].is_string() && setting["docs"] != ""),
            "{line}"
        );
    }

    project.write("flavours/tools/flavour.kdl", OWN);
    project.write("flavours/vm/README.md", "vm\n==\n\nOurs is stronger.\n");
    project.write("flavours/vm/install.d/10-x", "#!/bin/sh\n");
    project.mode("flavours/vm/install.d/10-x", 0o755);
    project.write(
        "image.kdl",
        "flavour \"site\" summary=\"all of ours\"\nimage \"a\" {\n    oputput \"tar\"\n}\n",
    );
    let ended = project.run(&["flavours"]);
    // What is wrong elsewhere is none of its business.
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.out.contains("site            image.kdl:1     all of ours\n"), "{}", ended.out);
    assert!(ended.out.contains("tools           flavours/tools  what we look with\n"), "{}", ended.out);
    assert!(ended.out.contains("vm              flavours/vm     Ours is stronger.\n"), "{}", ended.out);
    let vm = lines(&project.run(&["flavours", "vm", "--json"]).out);
    assert_eq!(vm[0]["hooks"][0]["phase"], "install");
    assert_eq!(vm[0]["hooks"][0]["name"], "10-x");

    // One that is wrong is told, and the others are listed.
    project.write("flavours/broken/flavour.kdl", "flavour \"other\"\n");
    let ended = project.run(&["flavours"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("flavours/broken/flavour.kdl") && ended.out.contains("\ntools "), "{ended:?}");
}

#[test]
fn one_is_told_of() {
    let project = Project::new();
    project.write("flavours/tools/flavour.kdl", OWN);
    let ended = project.run(&["flavours", "tools"]);
    let told = "tools  flavours/tools\nwhat we look with\n\nsettings\n  PAGER=less\n      What shows long texts.\n  SITE (must be \
                set)\n      Where it stands.\n\nneeds\n  base\n\npackages\n  less\n  strace\n\nfiles\n  /etc/site\n\nhooks\n  \
                post-install  early\n  first-boot    late\n\nMore of it.\n";
    assert_eq!((ended.out.as_str(), ended.code), (told, Some(0)), "{}", ended.err);
    let ended = project.run(&["flavours", "tolls"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("did you mean `tools`?"), "{}", ended.err);
}

#[test]
fn what_an_empty_setting_names_is_left_out_and_what_is_set_is_told_at_its_place() {
    let project = Project::new();
    let flavour = "flavour \"keys\" {\n    setting \"FROM\" default=\"\"\n    files {\n        file \"/keys\" \
                   from=\"${FROM}\"\n        file \"/own\" content=\"own\"\n    }\n}\n";
    project.write("flavours/keys/flavour.kdl", flavour);
    let image = |set: &str| format!("image \"a\" {{\n    flavours \"keys\" {set}\n    output \"dir\"\n}}\n");
    project.write("image.kdl", image(""));
    project.build();
    assert!(project.path("build/a.dir/own").exists() && !project.path("build/a.dir/keys").exists());
    // It starts at the folder of the manifest that says it, not of the flavour that uses it.
    project.write("here/keys.pub", "a key\n");
    project.write("image.kdl", image("FROM=\"here/keys.pub\""));
    project.build();
    assert_eq!(fs::read_to_string(project.path("build/a.dir/keys")).unwrap(), "a key\n");
    project.write("image.kdl", image("FROM=\"here/kyes.pub\""));
    let ended = project.run(&["build"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("image.kdl:2:") && !ended.err.contains("flavour.kdl"), "{}", ended.err);
}

const ALL: &str = r#"
image "bookworm" {
    base "debian" suite="bookworm"
    flavours "vm" "devuser" "local-config" "serial-console" "ssh-host-keys" "growroot" \
        KERNEL="" HOSTNAME="host_1.example.org" USER="me" PASSWORD="secret" PASSWORDLESS_SUDO="yes" \
        AUTHORIZED_KEYS="ssh-ed25519 AAAA me" PROXY="http://proxy:3128" KEYS_FROM="keys/other.pub"
    packages { openssh-server }
    output "dir"
}
image "trixie" {
    base "debian" suite="trixie"
    flavours "vm" "devuser" "local-config" "serial-console" "ssh-host-keys" "growroot" \
        KERNEL="" HOSTNAME="host_1.example.org" USER="me" PASSWORD="secret" PASSWORDLESS_SUDO="yes" \
        AUTHORIZED_KEYS="ssh-ed25519 AAAA me" PROXY="http://proxy:3128" KEYS_FROM="keys/other.pub"
    packages { openssh-server }
    output "dir"
}
image "older_init" {
    base "debian" suite="bookworm"
    flavours "base" "serial-console" "ssh-host-keys" "growroot" DEVICE="hvc0"
    packages { sysvinit-core; initscripts; openssh-server }
    output "dir"
}
"#;

/// A tree that the tests look into.
struct Tree(PathBuf);

impl Tree {
    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap_or_default()
    }

    fn has(&self, path: &str) -> bool {
        self.0.join(path).symlink_metadata().is_ok()
    }

    fn mode(&self, path: &str) -> (u32, u32, u32) {
        let metadata = self.0.join(path).symlink_metadata().unwrap();
        (metadata.permissions().mode() & 0o7777, metadata.uid(), metadata.gid())
    }
}

#[test]
fn the_stock_makes_what_it_says() {
    let mirror = |suite: &str| !sources::host(Path::new("/etc/apt"), "debian", suite, "amd64").is_empty();
    if !cfg!(target_arch = "x86_64") || !mirror("bookworm") || !mirror("trixie") {
        return skipped("a mirror of Debian for amd64 in its apt sources");
    }
    if !is_root() {
        return skipped("root, for folders with files of others");
    }
    if !sandboxes() {
        return;
    }
    let project = Project::new();
    project.write("keys/other.pub", "ssh-ed25519 BBBB other\n");
    project.write("image.kdl", ALL);
    project.build();
    for suite in ["bookworm", "trixie"] {
        of_virtual_machines(&Tree(project.path(&format!("build/{suite}.dir"))), suite);
    }
    of_another_init(&Tree(project.path("build/older_init.dir")));

    // What is taken is in the key: other keys are another image, and only what takes them is made again.
    project.write("keys/other.pub", "ssh-ed25519 CCCC other\n");
    let plan = project.plan();
    let runs: Vec<&String> = plan.iter().filter(|(_, state)| *state == "run").map(|(step, _)| step).collect();
    assert_eq!(runs, ["hook:local-config/keys@bookworm", "hook:local-config/keys@trixie"]);
}

fn of_virtual_machines(tree: &Tree, suite: &str) {
    assert_eq!(tree.read("etc/hostname"), "host_1.example.org\n", "{suite}");
    assert!(tree.read("etc/hosts").contains("\n127.0.1.1 host_1.example.org host_1\n"), "{suite}");
    assert!(tree.read("etc/fstab").contains("\nLABEL=root / auto "), "{suite}");
    for path in [
        "usr/sbin/init",
        "usr/bin/ip",
        "usr/sbin/update-ca-certificates",
        "usr/bin/sudo",
        "usr/sbin/sfdisk",
        "etc/systemd/network/80-dhcp.network",
        "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
        "etc/systemd/system/sysinit.target.wants/systemd-resolved.service",
        "etc/systemd/system/getty.target.wants/serial-getty@ttyS0.service",
        "usr/lib/systemd/system/imgbuild-first-boot.service",
        "var/lib/imgbuild/first-boot.d/00-growroot",
    ] {
        assert!(tree.has(path), "{suite}: {path}");
    }
    // Its first line has the path, and no more is known to begin with.
    let passwd = tree.read("etc/passwd");
    assert!(passwd.contains("\nme:x:1000:1000::/home/me:/bin/bash\n"), "{suite}: {passwd}");
    assert!(
        tree.read("etc/group").lines().any(|line| line.starts_with("sudo:") && line.ends_with(":me")),
        "{suite}"
    );
    assert_eq!(tree.read("home/me/.ssh/authorized_keys"), "ssh-ed25519 AAAA me\n", "{suite}");
    assert_eq!(tree.mode("home/me/.ssh/authorized_keys"), (0o600, 1000, 1000), "{suite}");
    assert_eq!(tree.read("root/.ssh/authorized_keys"), "ssh-ed25519 BBBB other\n", "{suite}");
    assert_eq!(tree.mode("root/.ssh"), (0o700, 0, 0), "{suite}");
    assert_eq!(tree.mode("etc/sudoers.d/90-devuser"), (0o440, 0, 0), "{suite}");
    let shadow = tree.read("etc/shadow");
    let hash = shadow.lines().find_map(|line| line.strip_prefix("me:")?.split(':').next()).unwrap();
    let salt = format!("$6${}$", hash.split('$').nth(2).unwrap());
    let script = "print crypt(\"secret\", $ARGV[0]) eq $ARGV[1] ? \"yes\" : \"no\"";
    let answer = Command::new("perl").args(["-e", script, &salt, hash]).output().unwrap();
    assert_eq!(answer.stdout, b"yes", "{suite}: the password is hers");
    assert!(tree.read("etc/environment").contains("https_proxy=http://proxy:3128\n"), "{suite}");
    assert!(tree.read("etc/apt/apt.conf.d/80-proxy").contains("http://proxy:3128"), "{suite}");
    // Debian's own package has what the flavour would bring.
    assert!(tree.has("usr/lib/systemd/system/imgbuild-ssh-host-keys.service"), "{suite}");
    assert!(!tree.read("etc/default/ssh").contains("ssh-keygen"), "{suite}: once is enough");
    assert!(!tree.has("usr/lib/systemd/system/sshd.service.d"), "{suite}");
    no_rests(tree, suite);
}

fn of_another_init(tree: &Tree) {
    assert_eq!(tree.read("etc/hostname"), "older-init\n", "a machine's name has no `_`");
    let inittab = tree.read("etc/inittab");
    assert!(inittab.contains("\nhvc0:2345:respawn:/usr/sbin/getty -L 115200 hvc0 vt102\n"), "{inittab}");
    let at = |part: &str| inittab.find(part).unwrap();
    assert!(at("/usr/lib/imgbuild/first-boot") < at(":respawn:/sbin/getty"), "{inittab}");
    assert!(at("/etc/init.d/rc 2") < at("/usr/lib/imgbuild/first-boot"), "{inittab}");
    assert!(tree.read("etc/default/ssh").contains("/usr/bin/ssh-keygen -A"));
    assert!(!tree.has("etc/ssh/ssh_host_ed25519_key"));
    no_rests(tree, "older_init");
}

fn no_rests(tree: &Tree, name: &str) {
    for folder in ["var/lib/apt/lists", "var/cache/apt/archives"] {
        let left = fs::read_dir(tree.0.join(folder)).into_iter().flatten().flatten();
        let left: Vec<_> =
            left.map(|entry| entry.file_name()).filter(|file| file != "lock" && file != "partial").collect();
        assert!(left.is_empty(), "{name}: {folder} has {left:?}");
    }
}
