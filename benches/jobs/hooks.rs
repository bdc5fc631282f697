//! Hooks: what one costs beside its own time, and a changed one on a server image, against buildah.

use std::cell::Cell;

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
    let names: Vec<&str> = SERVER.split(' ').collect();
    let more = format!(
        "    packages {{ {} }}\n    overlays \"site\"\n    hooks {{\n        hook \"setup\" from=\"setup\" \
         interpreter=\"sh\"\n    }}\n",
        names.join("; ")
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
    let theirs = buildah(&project);
    bench.pair(
        "a changed hook on a Debian server with kernel and 2,000 files of an overlay, to tar, against buildah",
        5,
        "< 0.2",
        || {
            write();
            project.imgbuild(&[]);
        },
        || {
            write();
            theirs();
        },
    );
}

/// The same with buildah: base and overlay are layers that it has cached, the hook is run, and the tree is packed.
fn buildah(project: &Project) -> impl Fn() + use<> {
    project.write("Base", b"FROM scratch\nADD build/server.tar /\n");
    project.write(
        "Containerfile",
        b"FROM localhost/base\nCOPY overlays/site /\nCOPY setup /tmp/setup\nRUN sh /tmp/setup\n",
    );
    let folder = project.folder.clone();
    let run = move |shell: &str| {
        let prelude = "set -e; b() { buildah --root $PWD/b/root --runroot $PWD/b/run --storage-driver overlay \"$@\"; }; ";
        let done = std::process::Command::new("sh")
            .args(["-c", &format!("{prelude}{shell}")])
            .current_dir(&folder)
            .output()
            .expect("sh");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    run("b bud -q --isolation chroot -f Base -t base .");
    run("b bud -q --isolation chroot --layers -t image .");
    move || {
        run(
            "b bud -q --isolation chroot --layers -t image .; c=$(b from --pull-never image); m=$(b mount $c); \
             tar -C $m -cf theirs.tar .; b rm $c >/dev/null",
        );
    }
}
