//! Hooks: what one costs beside its own time, and a changed one on a server image, against buildah and mkosi.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::debian::{SERVER, manifest, mirror};
use super::{Bench, Project, Random};

/// Hooks on a Debian server.
pub fn hooks(bench: &Bench) {
    let Some(mirror) = mirror() else {
        return println!("| hooks | skipped: this machine's apt has no mirror | | | |");
    };
    cost(bench, &mirror);
    changed(bench, &mirror);
}

/// How many hooks that do nothing are run at once.
const MANY: usize = 20;

/// Hooks that do nothing but are new each time, on a minimal base: against as many empty namespaces.
fn cost(bench: &Bench, mirror: &str) {
    let project = bench.project("hooks-cost");
    let next = Cell::new(0);
    let write = || {
        next.set(next.get() + 1);
        let hook = |number| format!("        hook \"h{number}\" run=\"# {}\"\n", next.get());
        let hooks: String = (0..MANY).map(hook).collect();
        let more = format!("    hooks {{\n{hooks}    }}\n");
        project.write("image.kdl", manifest(mirror, &more).as_bytes());
    };
    write();
    project.imgbuild(&[]);
    let unshare = format!(
        "for n in $(seq {MANY}); do unshare --user --map-root-user --mount --pid --fork --ipc --uts --net true; done"
    );
    bench.pair(
        &format!("{MANY} new hooks that do nothing, on Debian minbase, against as many `unshare … true`"),
        9,
        &format!("30 ms a hook: {} ms", 30 * MANY),
        || {
            write();
            project.imgbuild(&["shell", "server", "--", "true"]);
        },
        || project.run("sh", &["-c", &unshare]),
    );
}

/// A hook that is another one each time, on a server with a kernel and 2,000 files of an overlay, to tar.
fn changed(bench: &Bench, mirror: &str) {
    let project = bench.project("hooks-server");
    let mut random = Random(3);
    for number in 0..2000 {
        let bytes: Vec<u8> = (0..500 + random.next() as usize % 8000).map(|_| random.next() as u8).collect();
        project.write(&format!("overlays/site/srv/www/d{:02}/f{number:04}", number / 40), &bytes);
    }
    let more = format!(
        "    packages {{ {} }}\n    overlays \"site\"\n    hooks {{\n        hook \"setup\" from=\"setup\" \
         interpreter=\"sh\"\n    }}\n",
        SERVER.replace(' ', "; ")
    );
    project.write("image.kdl", manifest(mirror, &more).as_bytes());
    let next = Cell::new(0);
    let write = || {
        next.set(next.get() + 1);
        let text =
            format!("set -e\necho bench-{} > /etc/hostname\nsystemctl enable ssh.service\n", next.get());
        project.write("setup", text.as_bytes());
    };
    write();
    project.imgbuild(&[]);
    let ours = || {
        write();
        project.imgbuild(&[]);
    };
    let against = |row: &str, goal: &str, theirs: &dyn Fn()| {
        bench.pair(row, 5, goal, ours, || {
            write();
            theirs();
        });
    };
    let buildah = Buildah::of(&project);
    against(
        "a changed hook on a Debian server with kernel and 2,000 files of an overlay, to tar, against `buildah build -o`",
        "< 0.2",
        &|| buildah.run("b bud -q --isolation chroot -t image -o type=tar,dest=theirs.tar ."),
    );
    against("the same, against buildah's layers, the mounted tree packed by GNU tar", "", &|| {
        buildah.run(
            "b bud -q --isolation chroot --layers -t image .; c=$(b from --pull-never image); m=$(b mount $c); \
             tar -C $m -cf theirs.tar .; b rm $c >/dev/null",
        );
    });
    match mkosi(&project, mirror) {
        Some(mkosi) => against("the same, against mkosi, incremental", "< 0.2", &mkosi),
        None => println!(
            "| hooks against mkosi | skipped: this machine has no mkosi of version 25 or newer | | | |"
        ),
    }
    let (tar, copy) = (project.folder.join("build/server.tar"), project.folder.join("copy.tar"));
    against("the same, against `cp` of the tar", "", &|| {
        let _ = std::fs::remove_file(&copy);
        project.run("cp", &[tar.as_os_str(), copy.as_os_str()]);
    });
}

/// The same with buildah: base and overlay are layers that it has, and the hook is run.
struct Buildah {
    folder: PathBuf,
}

impl Buildah {
    fn of(project: &Project) -> Buildah {
        project.write("Base", b"FROM scratch\nADD build/server.tar /\n");
        project.write(
            "Containerfile",
            b"FROM localhost/base\nCOPY overlays/site /\nCOPY setup /tmp/setup\nRUN sh /tmp/setup\n",
        );
        let buildah = Buildah { folder: project.folder.clone() };
        buildah.run("b bud -q --isolation chroot -f Base -t base .");
        buildah.run("b bud -q --isolation chroot --layers -t image .");
        buildah
    }

    fn run(&self, shell: &str) {
        let prelude = "set -e; b() { buildah --root $PWD/b/root --runroot $PWD/b/run --storage-driver overlay \"$@\"; }; ";
        run(&self.folder, &format!("{prelude}{shell}"));
    }
}

/// The same with mkosi, which keeps what it has installed from run to run.
fn mkosi(project: &Project, mirror: &str) -> Option<impl Fn() + use<>> {
    let version = Command::new("mkosi").arg("--version").output().ok()?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let version: u32 = version.split_whitespace().nth(1)?.split('.').next()?.parse().ok()?;
    if version < 25 {
        return None;
    }
    let packages = SERVER.replace(' ', "\n    ");
    let beside = project.folder.with_file_name("mkosi-work");
    for name in ["work", "packages"] {
        std::fs::create_dir_all(beside.join(name)).expect("a folder");
    }
    let configuration = format!(
        "[Distribution]\nDistribution=debian\nRelease=bookworm\n\n[Output]\nFormat=tar\nCompressOutput=none\nOutputDirectory=out\n\n\
         [Build]\nIncremental=yes\nBuildSources=\nCacheDirectory=cache\nWorkspaceDirectory={beside}/work\n\
         PackageCacheDirectory={beside}/packages\n\n[Content]\nBootable=no\nWithDocs=yes\nPackages=\n    {packages}\n\
         ExtraTrees=overlays/site\nPostInstallationScripts=setup.chroot\n",
        beside = beside.display(),
    );
    let sources = format!(
        "Types: deb\nURIs: {mirror}\nSuites: bookworm\nComponents: main\nSigned-By: \
         /usr/share/keyrings/debian-archive-keyring.gpg\n"
    );
    project.write("mkosi/mkosi.conf", configuration.as_bytes());
    project.write("mkosi/mkosi.sandbox/etc/apt/sources.list.d/mkosi.sources", sources.as_bytes());
    let folder = project.folder.join("mkosi");
    let shell = "set -e; mkdir -p out cache; [ -e overlays ] || ln -s ../overlays overlays; \
                 (echo '#!/bin/sh'; cat ../setup) > setup.chroot; chmod +x setup.chroot; mkosi -f build";
    run(&folder, shell);
    Some(move || run(&folder, shell))
}

fn run(folder: &Path, shell: &str) {
    let done = Command::new("sh").args(["-c", shell]).current_dir(folder).output().expect("sh");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
