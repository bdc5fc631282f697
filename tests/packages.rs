//! Packages through the program: a real base from the host's mirror, and a small signed repository beside it that this
//! test serves, changes, and breaks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod archive_server;
mod project;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use archive_server::{Archive, Deb, Key, Server};
use imgbuild::key::Digest;
use imgbuild::lock::Lock;
use project::{Ended, Project, skipped};

/// A project, a repository, and its key.
struct Scene {
    project: Project,
    server: Server,
    key: Key,
    archive: Archive,
}

impl Scene {
    fn new(debs: Vec<Deb>) -> Option<Scene> {
        Scene::of(Archive::debian("bookworm", debs))
    }

    fn of(archive: Archive) -> Option<Scene> {
        let host = imgbuild::deb::sources::host(Path::new("/etc/apt"), "debian", "bookworm", "amd64");
        if host.is_empty() {
            skipped("a mirror of Debian in /etc/apt");
            return None;
        }
        if !project::sandboxes() {
            return None;
        }
        let key = Key::new();
        let server = Server::start(archive.build(&key));
        // The base is the same everywhere here.
        let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("packages-cache");
        let mut project = Project::new();
        project.cache = cache;
        project.write("third.gpg", key.public());
        Some(Scene { project, server, key, archive })
    }

    /// From now on, the repository has these packages.
    fn serve(&mut self, debs: Vec<Deb>) {
        self.archive.debs = debs;
        self.archive.date += 60;
        self.server.serve(self.archive.build(&self.key));
    }

    /// The manifest: an image with these packages, and more in its block.
    fn write(&self, packages: &str, more: &str) {
        self.project.write("image.kdl", format!("image \"box\" {}", self.image(packages, more)));
    }

    fn image(&self, packages: &str, more: &str) -> String {
        let packages =
            if packages.is_empty() { String::new() } else { format!("packages {{\n{packages}\n}}\n") };
        let (url, suite) = (&self.server.url, &self.archive.suite);
        format!(
            "{{\nbase \"debian\" suite=\"bookworm\" {{\ncomponents \"main\"\n\
             repository \"third\" url=\"{url}\" suite=\"{suite}\" keyring=\"third.gpg\"\n}}\n{packages}{more}output \"tar\"\n}}\n"
        )
    }

    fn lock(&self) -> String {
        fs::read_to_string(self.project.path("image.lock.kdl")).unwrap()
    }

    /// `NAME VERSION` of all packages of the set of that id.
    fn set(&self, id: &str) -> Vec<String> {
        let lock = Lock::read(&self.project.path("image.lock.kdl")).unwrap().unwrap();
        let found = lock.solution(id).map(|solution| solution.debs()).unwrap_or_default();
        found.into_iter().map(|deb| format!("{} {}", deb.name, deb.version)).collect()
    }

    /// A run that fails like this, and says all of that.
    fn fails(&self, arguments: &[&str], code: i32, said: &[&str]) -> Ended {
        let ended = self.project.run(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}{}", ended.out, ended.err);
        // As wide as the messages need.
        let told: String =
            ended.err.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        for said in said {
            assert!(told.contains(said), "{arguments:?} does not say `{said}`: {}", ended.err);
        }
        ended
    }
}

fn plain(name: &str, version: &str) -> Deb {
    Deb::new(name, version, "amd64", "").file(&format!("usr/share/{name}"), 0o644, version)
}

fn needs(name: &str, version: &str, more: &str) -> Deb {
    Deb::new(name, version, "all", &if more.is_empty() { String::new() } else { format!("{more}\n") })
}

const PLAN: [&str; 3] = ["plan", "--message-format", "short"];

#[test]
fn names_that_nothing_stands_behind_are_told_at_once() {
    let debs = vec![
        plain("third-hello", "1.0"),
        plain("third-hello", "1.1"),
        needs("third-one", "1", "Provides: third-any"),
        needs("third-two", "1", "Provides: third-any"),
    ];
    let Some(scene) = Scene::new(debs) else { return };
    scene.write(
        "third-helo\nthird-any\n\"third-hello:armhf\"\nthird-two version=\"9.*\"\nthird-one suite=\"sidd-none\"",
        "",
    );
    let ended = scene.project.run(&PLAN);
    assert_ne!(ended.code, Some(0));
    // A suite that nobody has stops before names are looked at.
    scene.write("third-helo\nthird-any\n\"third-hello:armhf\"\nthird-hello version=\"9.*\"", "");
    scene.fails(
        &PLAN,
        2,
        &[
            "image.kdl:7:1: error: there is no package `third-helo`",
            "did you mean `third-hello`?",
            "image.kdl:8:1: error: `third-any` is no package but something that 2 packages provide",
            "`third-one` and `third-two`",
            "`third-hello` is wanted for `armhf`",
            "`third-hello` cannot be had in version `9.*`",
            "there is `1.1` and `1.0`",
        ],
    );
}

#[test]
fn what_cannot_be_together_is_told_in_apts_words() {
    let debs = vec![
        needs("third-left", "1", "Conflicts: third-right"),
        needs("third-right", "1", ""),
        needs("third-needy", "1", "Depends: third-middle"),
        needs("third-middle", "1", "Depends: third-absent (>= 2)"),
        needs("third-foe", "1", "Conflicts: base-files"),
    ];
    let Some(scene) = Scene::new(debs) else { return };
    scene.write("third-left\nthird-right", "");
    scene.fails(
        &["plan"],
        2,
        &["the packages of `box` cannot be installed together", "third-left : Conflicts: third-right"],
    );
    scene.write("third-needy", "");
    scene.fails(&["plan"], 2, &["third-middle", "third-needy", "third-absent"]);
    scene.write("third-foe", "");
    scene.fails(&["plan"], 2, &["box", "third-foe"]);
}

#[test]
fn a_lock_is_followed_without_the_network() {
    let Some(mut scene) = Scene::new(vec![plain("third-hello", "1.0")]) else { return };
    scene.write("third-hello", "");
    scene.fails(
        &["build", "--locked"],
        2,
        &["the lock does not have the packages of `box`", "without `--locked`"],
    );
    scene.project.build();
    let lock = scene.lock();
    assert_eq!(scene.set("image box"), ["third-hello 1.0"]);
    assert!(lock.contains("for=\"box\""), "{lock}");

    scene.server.forget();
    assert!(scene.project.build().ran.is_empty());
    fs::remove_dir_all(scene.project.path("build")).unwrap();
    scene.project.build();
    for arguments in [["build", "--locked"], ["build", "--offline"]] {
        assert_eq!(scene.project.run(&arguments).code, Some(0), "{arguments:?}");
    }
    assert_eq!(scene.server.paths(), Vec::<String>::new(), "the lock says all");

    // What is new on the mirror is not taken before the lock lets go.
    scene.serve(vec![plain("third-hello", "2.0")]);
    assert_eq!(scene.project.run(&["build", "--refresh"]).code, Some(0));
    assert_eq!(scene.lock(), lock);
    fs::remove_file(scene.project.path("image.lock.kdl")).unwrap();
    assert_eq!(scene.project.run(&["build", "--refresh"]).code, Some(0));
    assert_eq!(scene.set("image box"), ["third-hello 2.0"]);

    scene.write("third-hello\nnano", "");
    scene.fails(&["build", "--locked"], 2, &["the lock was made for other packages of `box`"]);
    let empty = scene.project.copy("empty");
    let ended = empty.run(&["build", "--offline"]);
    assert_ne!(ended.code, Some(0));
    assert!(ended.err.contains("--offline"), "{}", ended.err);
}

#[test]
fn a_change_of_the_manifest_changes_as_little_as_it_can() {
    let old = || vec![plain("third-hello", "1.0"), plain("third-lib", "1.0")];
    let app = |version: &str| needs("third-app", version, "Depends: third-lib, third-only");
    let rest = || vec![app("1"), plain("third-only", "1"), plain("third-new", "1")];
    let Some(mut scene) = Scene::new(old().into_iter().chain(rest()).collect()) else { return };
    scene.write("third-hello\nthird-app", "");
    scene.project.build();
    let before = ["third-app 1", "third-hello 1.0", "third-lib 1.0", "third-only 1"];
    assert_eq!(scene.set("image box"), before);
    let first = scene.lock();

    // There is newer now, and what is locked is still there.
    let newer = [plain("third-hello", "2.0"), plain("third-lib", "2.0")];
    scene.serve(old().into_iter().chain(newer.clone()).chain(rest()).collect());
    scene.write("third-hello\nthird-app\nthird-new", "");
    assert_eq!(scene.project.run(&["build", "--refresh"]).code, Some(0));
    let lines = |text: &str| -> BTreeSet<String> { text.lines().map(String::from).collect() };
    let packages = |lines: Vec<&String>| -> Vec<String> {
        lines.into_iter().filter(|line| line.contains("    package ")).cloned().collect()
    };
    let (was, is) = (lines(&first), lines(&scene.lock()));
    let (gone, came) = (packages(was.difference(&is).collect()), packages(is.difference(&was).collect()));
    assert!(gone.is_empty() && came.len() == 1 && came[0].contains("third-new"), "{gone:?} {came:?}");

    scene.write("third-hello\nthird-new", "");
    assert_eq!(scene.project.run(&["build"]).code, Some(0));
    assert_eq!(
        scene.set("image box"),
        ["third-hello 1.0", "third-new 1"],
        "what only third-app needed is gone"
    );

    // The mirror gave up the old versions: what is in the cache is still built.
    scene.serve(newer.into_iter().chain(rest()).collect());
    let mut copy = scene.project.copy("copy");
    copy.cache = scene.project.cache.clone();
    copy.build();
    assert_eq!(fs::read_to_string(copy.path("image.lock.kdl")).unwrap(), scene.lock());
}

#[test]
fn what_no_mirror_has_any_more_is_named_with_the_way_out() {
    let Some(scene) = Scene::new(vec![plain("third-hello", "1.0")]) else { return };
    scene.write("third-hello", "");
    scene.project.build();
    let lock = scene.lock();
    let path = scene.project.path("image.lock.kdl");

    // A version that was never here, and is nowhere now.
    let lost = plain("third-hello", "1.5").file("usr/share/lost", 0o644, scene.server.url.clone());
    let (old, new) = (plain("third-hello", "1.0").build(), lost.build());
    let changed = lock
        .replace("\"third-hello\" \"1.0\"", "\"third-hello\" \"1.5\"")
        .replace("third-hello_1.0", "third-hello_1.5")
        .replace(&Digest::of(&old).to_string(), &Digest::of(&new).to_string())
        .replace(&format!("size={} ", old.len()), &format!("size={} ", new.len()));
    assert_ne!(changed, lock);
    fs::write(&path, &changed).unwrap();
    scene.fails(&["build"], 1, &["third-hello_1.5_amd64", "imgbuild update", "snapshot"]);
    scene.fails(&["build", "--offline"], 1, &["third-hello_1.5_amd64", "--offline"]);

    // An edit that does not fit the file, and one that is none.
    let other = Digest::of("another").to_string();
    fs::write(&path, lock.replace(&Digest::of(&old).to_string(), &other)).unwrap();
    scene.fails(&["build"], 1, &["third-hello"]);
    fs::write(&path, lock.replace("third-hello_1.0_amd64.deb", "../../../etc/passwd")).unwrap();
    scene.fails(&["build"], 2, &["is not a path below a mirror"]);
    fs::write(&path, format!("<<<<<<< ours\n{lock}=======\n>>>>>>> theirs\n")).unwrap();
    scene.fails(&["build"], 2, &["holds a conflict of a merge", "imgbuild update"]);
}

#[test]
fn a_package_that_was_tampered_with_is_not_used() {
    let deb = plain("third-tampered", "1.0");
    let marked = deb.file("usr/share/mark", 0o644, format!("{:?}", std::time::Instant::now()));
    let Some(scene) = Scene::new(vec![marked.clone()]) else { return };
    scene.server.change(&marked.path(), |bytes| *bytes.last_mut().unwrap() ^= 1);
    scene.write("third-tampered", "");
    scene.fails(&["build"], 1, &["third-tampered_1.0_amd64"]);
    assert!(!scene.project.path("build/box.tar").exists());
}

#[test]
fn repositories_of_all_layouts_serve() {
    let debs = || vec![plain("third-hello", "1.0")];
    for archive in
        [Archive::flat("stable", debs()), Archive::flat(".", debs()), Archive::ubuntu("noble", debs())]
    {
        let shown = archive.suite.clone();
        let Some(scene) = Scene::of(archive) else { return };
        scene.write("third-hello", "");
        let ended = scene.project.run(&["build"]);
        assert_eq!(ended.code, Some(0), "{shown}: {}", ended.err);
        assert_eq!(scene.set("image box"), ["third-hello 1.0"], "{shown}");
        let times = ended.err.matches("reading the index of third").count();
        assert_eq!(times, 1, "{shown}: {}", ended.err);
        // Another's key.
        scene.project.write("third.gpg", Key::new().public());
        fs::remove_file(scene.project.path("image.lock.kdl")).unwrap();
        scene.fails(&["build", "--refresh"], 1, &["is refused", "keyring"]);
    }
}

#[test]
fn images_share_a_base_and_what_is_below_gives_way() {
    let first = vec![plain("third-lib", "1.0"), needs("third-app", "1", "Depends: third-lib")];
    let Some(mut scene) = Scene::new(first.clone()) else { return };
    let two = |extra: &str| {
        let hypervisor =
            format!("hypervisor \"qemu\" {{\npackages {{\nnano\n{extra}}}\noutput \"tar\"\n}}\n");
        let (one, two) = (scene.image("third-app", &hypervisor), scene.image("third-lib", ""));
        format!("image \"one\" {one}image \"two\" {two}")
    };
    scene.project.write("image.kdl", two(""));
    scene.project.build();
    let lock = scene.lock();
    assert_eq!(lock.matches("solution \"base ").count(), 1, "{lock}");
    assert_eq!(scene.set("image one"), ["third-app 1", "third-lib 1.0"]);
    assert_eq!(scene.set("image two"), ["third-lib 1.0"]);
    let top = scene.set("image one hypervisor qemu");
    assert!(
        top.iter().any(|name| name.starts_with("nano ")) && !top.iter().any(|name| name.contains("third"))
    );

    // What is wanted on top needs a newer library than the image below has.
    let text = two("third-top\n");
    let newer = [plain("third-lib", "2.0"), needs("third-top", "1", "Depends: third-lib (= 2.0)")];
    scene.serve(first.into_iter().chain(newer).collect());
    scene.project.write("image.kdl", text);
    let ended = scene.project.run(&["build", "--refresh"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(scene.set("image one"), ["third-app 1", "third-lib 2.0"]);
    assert_eq!(scene.set("image two"), ["third-lib 1.0"], "nobody needs it there");
}

#[test]
fn a_new_version_with_the_same_files_is_configured_anew() {
    let Some(mut scene) = Scene::new(vec![needs("third-meta", "1.0", "")]) else { return };
    scene.write("third-meta", "");
    let versions = |scene: &Scene| {
        let built = scene.project.run(&["build"]);
        assert_eq!(built.code, Some(0), "{built:?}");
        let status = scene.project.run(&["cat", "box", "/var/lib/dpkg/status"]).out;
        let stanza = status.split("\n\n").find(|stanza| stanza.starts_with("Package: third-meta\n"));
        stanza.and_then(|stanza| stanza.lines().find(|line| line.starts_with("Version:"))).map(str::to_string)
    };
    assert_eq!(versions(&scene).as_deref(), Some("Version: 1.0"));
    // Its layer is the same to the last byte: what the package says of itself is what changes.
    scene.serve(vec![needs("third-meta", "1.1", "")]);
    let updated = scene.project.run(&["update", "third-meta"]);
    assert_eq!(updated.code, Some(0), "{updated:?}");
    assert!(updated.out.contains("third-meta 1.0 → 1.1"), "{updated:?}");
    assert_eq!(versions(&scene).as_deref(), Some("Version: 1.1"));
    let plan = scene.project.run(&["plan", "--exit-code"]);
    assert_eq!(plan.code, Some(0), "{plan:?}");
}
