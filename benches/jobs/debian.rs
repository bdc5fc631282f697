//! Debian images against mmdebstrap, with the packages downloaded already on both sides.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::time::Instant;

use super::{Bench, Project, Random};

/// What the server has beyond a minimal base.
pub const SERVER: &str = "systemd-sysv openssh-server iproute2 curl python3-minimal linux-image-cloud-amd64";

/// A minimal base, and a server with a kernel, to tar.
pub fn debian(bench: &Bench) {
    let Some(mirror) = mirror() else {
        return println!("| debian | skipped: this machine's apt has no mirror | | | |");
    };
    minbase(bench, &mirror);
    server(bench, &mirror);
}

fn minbase(bench: &Bench, mirror: &str) {
    let project = bench.project("debian-minbase");
    project.write("image.kdl", manifest(mirror, "").as_bytes());
    project.imgbuild(&[]);
    let theirs = mmdebstrap(&project, mirror, "");
    bench.fresh_pair(
        "Debian minbase to tar, no layers yet, against mmdebstrap",
        5,
        "< 0.28",
        || keep_downloads(&project),
        || project.imgbuild(&[]),
        &theirs,
    );
    let epoch = Cell::new(1_600_000_000);
    bench.pair(
        "the same, the packages are layers already",
        5,
        "< 0.2",
        || {
            // Packages are layers whatever the epoch is; all that stands on them is made again.
            epoch.set(epoch.get() + 1);
            project.write(
                "image.kdl",
                format!("epoch \"{}\"\n{}", epoch.get(), manifest(mirror, "")).as_bytes(),
            );
            project.imgbuild(&[]);
        },
        &theirs,
    );
}

fn server(bench: &Bench, mirror: &str) {
    let project = bench.project("debian-server");
    let mut random = Random(3);
    for number in 0..2000 {
        let bytes: Vec<u8> = (0..500 + random.next() as usize % 8000).map(|_| random.next() as u8).collect();
        project.write(&format!("overlays/site/srv/www/d{:02}/f{number:04}", number / 40), &bytes);
    }
    let image = |more: &str| {
        let names: Vec<&str> = SERVER.split(' ').chain(more.split_whitespace()).collect();
        manifest(mirror, &format!("    packages {{ {} }}\n    overlays \"site\"\n", names.join("; ")))
    };
    project.write("image.kdl", image("").as_bytes());
    project.imgbuild(&[]);
    let theirs = mmdebstrap(&project, mirror, &SERVER.replace(' ', ","));
    bench.fresh_pair(
        "a Debian server with kernel, initramfs and 2,000 files of an overlay to tar, no layers yet, against mmdebstrap",
        3,
        "< 0.3",
        || keep_downloads(&project),
        || project.imgbuild(&[]),
        &theirs,
    );
    let disk = image("").replace("output \"tar\"", "boot console=\"ttyS0\"\n    output \"qcow2\"");
    project.write("image.kdl", disk.as_bytes());
    project.imgbuild(&[]);
    bench.fresh_pair(
        "the same to a qcow2 that boots with a BIOS and with EFI, against mmdebstrap to a tar",
        3,
        "",
        || keep_downloads(&project),
        || project.imgbuild(&[]),
        &theirs,
    );
    bench.pair(
        "one file of the overlay changed, to that qcow2, against the same",
        3,
        "",
        || {
            project.write("overlays/site/srv/www/d00/f0000", format!("{:?}", Instant::now()).as_bytes());
            project.imgbuild(&[]);
        },
        &theirs,
    );
    project.write("image.kdl", image("").as_bytes());
    project.imgbuild(&[]);
    let names = ["nano", "less", "rsync"];
    let next = Cell::new(0);
    bench.pair(
        "the same, one package added to its list",
        names.len(),
        "< 0.15",
        || {
            let name = names[next.get() % names.len()];
            next.set(next.get() + 1);
            project.write("image.kdl", image(name).as_bytes());
            project.imgbuild(&[]);
        },
        &theirs,
    );
}

/// A manifest of bookworm's minbase and more, to tar.
pub fn manifest(mirror: &str, more: &str) -> String {
    format!(
        "image \"server\" {{\n    base \"debian\" suite=\"bookworm\" {{\n        mirror \"{mirror}\" {{\n            \
         suites \"bookworm\"\n        }}\n    }}\n{more}    output \"tar\"\n}}\n"
    )
}

/// The first mirror of Debian's main archive that the machine's apt has.
pub fn mirror() -> Option<String> {
    let sources = imgbuild::deb::sources::host(Path::new("/etc/apt"), "debian", "bookworm", "amd64");
    sources.into_iter().next()?.mirrors.into_iter().next()
}

/// Forgets all but what was downloaded.
fn keep_downloads(project: &Project) {
    for room in ["layers", "records", "trees", "projects", "listings"] {
        let _ = fs::remove_dir_all(project.cache().join("1").join(room));
    }
    let _ = fs::remove_dir_all(project.folder.join("build"));
}

/// mmdebstrap for the same packages, which it finds downloaded.
fn mmdebstrap(project: &Project, mirror: &str, include: &str) -> impl Fn() + use<> {
    let archives = project.folder.join("archives");
    fs::create_dir_all(&archives).expect("a folder");
    let lock = fs::read_to_string(project.folder.join("image.lock.kdl")).expect("the lock");
    for line in lock.lines().filter(|line| line.trim_start().starts_with("package ")) {
        let words: Vec<&str> = line.split('"').collect();
        let value = |name: &str| {
            let at = words.iter().position(|word| word.trim_start().ends_with(name)).expect("a property");
            words[at + 1]
        };
        let (name, version, digest) = (words[1], words[3].replace(':', "%3a"), value("sha256="));
        let file = project.cache().join("1/downloads").join(&digest[..2]).join(digest);
        fs::copy(file, archives.join(format!("{name}_{version}_{}.deb", value("arch=")))).expect("a package");
    }
    let shell = format!(
        "rm -f theirs.tar; TMPDIR=$PWD mmdebstrap --quiet --mode=root --variant=minbase {include} --skip=download/empty \
         --setup-hook='mkdir -p \"$1\"/var/cache/apt/archives && cp {archives}/*.deb \"$1\"/var/cache/apt/archives/' {overlay} \
         bookworm theirs.tar 'deb {mirror} bookworm main'",
        include = if include.is_empty() { String::new() } else { format!("--include={include}") },
        archives = archives.display(),
        overlay = if include.is_empty() { "" } else { "--customize-hook='cp -R overlays/site/. \"$1\"'" },
    );
    let folder = project.folder.clone();
    move || {
        let done =
            std::process::Command::new("sh").args(["-c", &shell]).current_dir(&folder).output().expect("sh");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}
