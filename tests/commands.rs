//! The commands around a build: `cache`, `clean`, `init`, the pages, and the user's configuration.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "a test ends so")]

mod space;

use insta::assert_snapshot;
use space::Space;

const MANIFEST: &str =
    "overlay \"spare\"\nimage \"a\" {\n    overlays \"site\"\n    output \"tar\"\n    output \"dir\"\n}\n";

fn project() -> Space {
    let space = Space::new(MANIFEST);
    space.write("overlays/site/etc/motd", "hello\n").write("overlays/spare/s", "s\n");
    space
}

#[test]
fn the_cache_is_filled_listed_and_emptied() {
    let space = project();
    assert_snapshot!(space.run("cache list"), @"the cache is empty");
    assert!(!space.cache().exists(), "looking makes nothing");
    assert_snapshot!(space.run("cache add"), @"
    --- standard error
    2 overlays are in the cache (4.5 KiB)
    ");
    assert_snapshot!(space.run("cache add nope"), @"
    --- standard error
    error: the manifest has no overlay `nope` [overlay/unknown]
    help: there are `site` and `spare`
    --- exit code 2
    ");
    assert_snapshot!(space.run("plan"), @"
    run    output:tar@a  it has not been built yet (image.kdl:4)
    run    output:dir@a  it has not been built yet (image.kdl:5)
    2 steps to run, 1 fresh
    ");
    let list = space.ok("cache list");
    assert!(list.contains("just now        overlay:site\n") && list.contains("\n2 layers, "), "{list}");
    assert_snapshot!(space.run("cache gc"), @"
    --- standard error
    nothing to remove
    ");
    assert_snapshot!(space.run("cache gc --max-age 0 --max-size 1B"), @"
    --- standard error
    removed 2 layers (4.8 KiB)
    ");
    space.ok("cache add site");
    assert_snapshot!(space.run("cache clear"), @"
    --- standard error
    removed 1 layer (2.7 KiB)
    ");
}

#[test]
fn damage_is_found_removed_and_made_again() {
    let space = project();
    space.ok("cache add site");
    assert_snapshot!(space.run("cache verify"), @"the one layer is whole");
    let layers = space.cache().join("1/layers");
    let files = walk(&layers);
    let tar = files.iter().find(|path| path.extension().is_some_and(|end| end == "tar")).expect("a layer");
    let mut bytes = std::fs::read(tar).expect("read");
    bytes[1024 + 512] ^= 1;
    std::fs::write(tar, bytes).expect("written");
    let answer = space.run("cache verify");
    assert_eq!(answer.code, 1);
    assert!(answer.out.contains("was damaged and is removed"), "{answer}");
    assert!(walk(&layers).is_empty());
    assert_eq!(space.ok("cat site etc/motd"), "hello\n");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn clean_removes_what_was_built_and_nothing_else() {
    let space = project();
    space.ok("build");
    assert_snapshot!(space.run("clean --dry-run"), @"
    --- standard error
    would remove build/a.dir
    would remove build/a.tar
    ");
    // A broken manifest is not in the way.
    space.write("image.kdl", "imgae {").write("build/a.dir/mine", "mine");
    assert_snapshot!(space.run("clean"), @"
    --- standard error
    left build/a.dir: it was changed after it was built
    removed build/a.tar
    ");
    assert_eq!(space.read("build/a.dir/mine"), "mine");
    std::fs::remove_file(space.path("build/a.dir/mine")).expect("removed");
    space.write("image.kdl", MANIFEST);
    space.ok("build");
    space.ok("clean");
    assert!(!space.has("build"), "the folder goes with the last of them");
    assert_snapshot!(space.run("clean"), @"
    --- standard error
    nothing to remove
    ");
}

#[test]
fn every_starting_point_builds_once() {
    let list = Space::empty().ok("init --list");
    assert_eq!(list.lines().count(), 5);
    for name in list.lines().filter_map(|line| line.split_whitespace().next()) {
        let space = Space::empty();
        space.ok(&format!("init {name}"));
        space.ok("check");
        // What takes a mirror is tried with the examples.
        if name == "debian" || (name == "xcluster" && !runs_scripts()) {
            continue;
        }
        space.ok("build");
        let again = space.run("build");
        assert!(again.err.starts_with("nothing to do"), "{name}: {again}");
    }
}

/// Whether this machine can run an overlay's script.
fn runs_scripts() -> bool {
    let available = imgbuild::sandbox::Launcher::of(env!("CARGO_BIN_EXE_imgbuild")).available();
    #[allow(clippy::disallowed_methods, reason = "how tests are told that nothing may be missing")]
    let all = std::env::var("IMGBUILD_TESTS").is_ok_and(|which| which == "all");
    match available {
        Ok(()) => true,
        Err(fault) => {
            assert!(!all, "{fault}");
            eprintln!("skipped: this machine lacks a sandbox ({fault})");
            false
        }
    }
}

#[test]
fn init_overwrites_nothing() {
    let space = Space::empty();
    space.write("overlays/site/etc/motd", "mine\n");
    assert_snapshot!(space.run("init"), @"
    --- standard error
    wrote image.kdl
    left overlays/site/etc/motd as it is
    now: imgbuild
    ");
    assert_eq!(space.read("overlays/site/etc/motd"), "mine\n");
    assert_snapshot!(space.run("init oci"), @"
    --- standard error
    error: `image.kdl` is there already [init/there]
    help: it is left as it is; begin in another folder, or move it away
    --- exit code 2
    ");
    assert_snapshot!(space.run("init overlay"), @"
    --- standard error
    error: there is no starting point `overlay` [init/unknown]
    help: did you mean `overlays`?
    --- exit code 2
    ");
}

#[test]
fn flavours_need_no_project() {
    let space = Space::empty();
    assert_snapshot!(space.run("flavours"), @"
    base            stock  what almost every image wants: a name, ip, certificates, nothing left over
    devuser         stock  a user to develop and look around with
    growroot        stock  the root file system grows to its disk at the first boot
    local-config    stock  the proxy and the ssh keys of whoever builds, as far as they are named
    serial-console  stock  a login on the serial line
    ssh-host-keys   stock  every machine makes the keys of its sshd itself, at its first boot
    vm              stock  what a virtual machine needs beyond a container: a kernel, an init, a network
    ");
    assert_snapshot!(space.run("flavours growrot"), @"
    --- standard error
    error: no flavour is called `growrot` [flavour/unknown]
    help: did you mean `growroot`?
    --- exit code 2
    ");
    let answer = space.run("flavours -f nowhere.kdl");
    assert_eq!(answer.code, 2, "a manifest that is named must be there: {answer}");
}

#[test]
fn the_pages_need_no_project() {
    let mut space = Space::empty();
    space.set("IMGBUILD_CACHE", "/proc/nowhere");
    space.write_home(".config/imgbuild/config.kdl", "this is wrong\n");
    for shell in ["bash", "zsh", "fish"] {
        let text = space.ok(&format!("completions {shell}"));
        assert!(text.contains("message-format") && text.contains("cache"), "{shell}");
    }
    let page = space.ok("man");
    assert_eq!(page.matches("\n.TH ").count(), 1, "one page");
    for command in ["IMGBUILD PLAN", "IMGBUILD CACHE GC", "IMGBUILD LS"] {
        assert!(page.contains(&format!(".SH \"{command}\"")), "{command}");
    }
    space.ok("man --dir pages");
    assert!(space.has("pages/imgbuild.1") && space.has("pages/imgbuild-cache-gc.1"));
    assert!(space.ok("help cache gc").contains("--max-size <SIZE>"));
    assert!(space.ok("help output oci").contains("entrypoint"), "a word of the manifest");
    let both = space.ok("help overlay");
    assert!(both.contains("--tar <FILE>") && both.contains("permissions"), "a command and a word");
    assert_eq!(space.ok("help"), space.ok("--help"));
    assert_snapshot!(space.run("help pln"), @"
    --- standard error
    error: no command, and no word of a manifest, is called `pln` [help/unknown]
    help: did you mean `imgbuild help plan`?
    --- exit code 2
    ");
}

#[test]
fn the_users_configuration_is_weaker_than_the_command_line() {
    let mut space = project();
    space.write_home(".config/imgbuild/config.kdl", "jobs 2\ncache \"store\"\n");
    space.ok("build");
    assert!(space.cache().exists() && !space.home().join(".config/imgbuild/store").exists());
    space.set("IMGBUILD_CACHE", "");
    space.ok("plan");
    space.ok("cache add");
    assert!(space.home().join(".config/imgbuild/store/1").exists(), "relative to the file");
    space.write_home(".config/imgbuild/config.kdl", "jobs 0\ncahce \"store\"\n");
    let answer = space.run("plan --message-format short");
    assert_snapshot!(answer, @"
    --- standard error
    [home]/.config/imgbuild/config.kdl:1:6: error: `0` is not a whole number from 1 to 1024 [value/unfit]
    [home]/.config/imgbuild/config.kdl:2:1: error: unknown word `cahce` [word/unknown]
      help: did you mean `cache`?
    --- exit code 2
    ");
}
