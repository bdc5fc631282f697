//! Builds that are killed, caches that are damaged, disks that are full: nothing half-written is ever seen under a
//! final name, and the next build gives what a clean one gives.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod project;

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use project::{Chance, Project, difference};

/// Several overlays and outputs of all kinds; `version` tells its contents from those of another.
fn fill(project: &Project, size: usize, version: u64) {
    let mut overlays = String::new();
    let mut chance = Chance(version);
    for number in 0..6 {
        let name = format!("part{number}");
        // Half of it can be compressed, so that all kinds of outputs have some work.
        let mut content = chance.bytes(size);
        content.extend(vec![b'a' + number; size]);
        project.write(&format!("overlays/{name}/srv/{name}"), content);
        project.write(&format!("overlays/{name}/etc/{name}"), format!("{version}\n"));
        overlays.push_str(&format!(" \"{name}\""));
    }
    project.write(
        "image.kdl",
        format!(
            "image \"box\" {{\n    overlays{overlays}\n    output \"tar\"\n    output \"tar\" compression=\"xz\" level=1\n    \
             output \"iso\"\n    output \"cpio\" compression=\"gzip\"\n    output \"oci\"\n    output \"dir\"\n}}\n"
        ),
    );
}

fn clean(project: &Project, size: usize, version: u64) -> BTreeMap<String, String> {
    fill(project, size, version);
    project.clean()
}

/// The outputs, each with all that is in it.
fn by_output(found: &BTreeMap<String, String>) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut outputs: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (path, what) in found {
        let output = path.split('/').nth(1).unwrap().to_string();
        outputs.entry(output).or_default().insert(path.clone(), what.clone());
    }
    outputs.retain(|output, _| !output.starts_with('.'));
    outputs
}

/// What is left of work in hand.
fn leftovers(project: &Project) -> Vec<PathBuf> {
    let list =
        |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let aside = |path: &PathBuf| path.to_string_lossy().contains(".imgbuild-");
    list(project.path("build")).filter(aside).chain(list(project.cache.join("1/tmp"))).collect()
}

#[test]
fn a_killed_build_leaves_nothing_half_written() {
    let kills = project::switch("IMGBUILD_TEST_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap());
    const SIZE: usize = 300_000;
    let project = Project::new();
    let versions = [clean(&project, SIZE, 1), clean(&project, SIZE, 2)];
    let whole: Vec<_> = versions.iter().map(by_output).collect();
    let mut chance = Chance(kills as u64);
    let start = Instant::now();
    fill(&project, SIZE, 1);
    project.build();
    let longest = start.elapsed().as_millis() as usize + 1;
    let mut before = 0;
    for kill in 0..kills {
        let now = 1 - before;
        fill(&project, SIZE, now as u64 + 1);
        let mut child = project.start(&["build", "--json"]);
        std::thread::sleep(Duration::from_micros(chance.below(longest * 1000) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        for (output, found) in by_output(&project.outputs()) {
            let is_whole = whole.iter().any(|whole| whole[&output] == found);
            assert!(is_whole, "{output} is half written after kill {kill}");
        }
        if chance.coin() {
            project.build();
            let outputs = project.outputs();
            assert!(outputs == versions[now], "after kill {kill}:{}", difference(&outputs, &versions[now]));
            assert_eq!(leftovers(&project), Vec::<PathBuf>::new(), "after kill {kill}");
            assert!(project.build().ran.is_empty(), "a second build after kill {kill}");
        }
        before = now;
    }
}

/// Files of the cache, in order.
fn kept(project: &Project) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => walk(&entry.path(), found),
                false => found.push(entry.path()),
            }
        }
    }
    let mut found = Vec::new();
    walk(&project.cache, &mut found);
    found.sort();
    found
}

/// Damages a file of the cache; says how.
fn hurt(path: &Path, how: usize, chance: &mut Chance) -> &'static str {
    let times = FileTimes::new().set_modified(fs::metadata(path).unwrap().modified().unwrap());
    let mut bytes = fs::read(path).unwrap();
    match how {
        0 if !bytes.is_empty() => {
            let at = chance.below(bytes.len());
            bytes[at] ^= 1 << chance.below(8);
            fs::write(path, bytes).unwrap();
            File::open(path).unwrap().set_times(times).unwrap();
            "a bit flipped"
        }
        1 => {
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            "cut in half"
        }
        2 => {
            fs::write(path, "").unwrap();
            "emptied"
        }
        3 => {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
            fs::write(path.join("inside"), "").unwrap();
            "a folder now"
        }
        4 => {
            bytes.extend_from_slice(b"more\n");
            fs::write(path, bytes).unwrap();
            "grown"
        }
        _ => {
            fs::remove_file(path).unwrap();
            "gone"
        }
    }
}

/// In each round every kind of file is damaged, and something of the project changes or an output goes, so that what is
/// damaged is needed.
#[test]
fn a_damaged_cache_is_as_good_as_none() {
    let scripts = project::sandboxes();
    let project = Project::new();
    fill(&project, 5000, 1);
    if scripts {
        project.script("overlays/script/tar", "tar cf \"$1\" -C \"$($XCLUSTER ovld part0)\" etc");
        let text = fs::read_to_string(project.path("image.kdl")).unwrap();
        project.write(
            "image.kdl",
            text.replace("    output \"iso\"", "    overlays \"script\"\n    output \"iso\""),
        );
    }
    // Long enough for its parsed text to be kept.
    let text = fs::read_to_string(project.path("image.kdl")).unwrap();
    project.write("image.kdl", format!("{}{text}", "// a comment\n".repeat(1000)));
    project.build();
    let mut bad = Vec::new();
    let kinds: [(&str, &str); 11] = [
        ("/layers/", ".tar"),
        ("/layers/", ".index"),
        ("/layers/", ".seal"),
        ("/records/", ""),
        ("/listings/", ""),
        ("/parsed/", ""),
        ("/journal", ""),
        ("/trees/", ""),
        ("/blocks/", ""),
        ("/1/lock", ""),
        ("/1/", ""),
    ];
    let mut chance = Chance(7);
    let mut expected = project.outputs();
    for (number, (room, ending)) in kinds.into_iter().enumerate() {
        for how in 0..6 {
            for need in [(number + how) % 3, (number + how + 1) % 3] {
                let mut said = "";
                let mut hurt_ones = 0;
                for path in kept(&project) {
                    let name = path.to_string_lossy().into_owned();
                    if name.contains(room) && name.ends_with(ending) && path.exists() {
                        said = hurt(&path, how, &mut chance);
                        hurt_ones += 1;
                    }
                }
                match need {
                    0 => {}
                    1 => fs::remove_dir_all(project.path("build")).unwrap(),
                    _ => project.write("overlays/part1/etc/part1", chance.letters(5)),
                }
                let what = format!("{hurt_ones} of {room}*{ending} {said}, need {need}");
                let ended = project.run(&["build", "--json"]);
                if ended.code != Some(0) {
                    bad.push(format!(
                        "{what}: {}{}",
                        ended.out.lines().find(|l| l.contains("failed")).unwrap_or(""),
                        ended.err
                    ));
                    fs::remove_dir_all(&project.cache).unwrap();
                    project.build();
                    expected = project.clean();
                    continue;
                }
                let again = project.build().ran;
                if !again.is_empty() {
                    bad.push(format!("{what}: a second build ran {again:?}"));
                }
                if need == 2 {
                    expected = project.clean();
                }
                let outputs = project.outputs();
                if outputs != expected {
                    bad.push(format!("{what}: {}", difference(&outputs, &expected)));
                }
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// Runs `body` in a shell with mounts of its own, where `small` is a file system of a mebibyte.
fn with_small_disk(project: &Project, body: &str) -> Option<project::Ended> {
    if !project::is_root() {
        project::skipped("the right to mount: run it as root");
        return None;
    }
    let small = project.outer().join("small");
    fs::create_dir_all(&small).unwrap();
    let script = format!(
        "set -u\nmount -t tmpfs -o size=1m none {small} || exit 99\ncd {root}\n{body}",
        small = small.display(),
        root = project.root.display()
    );
    let done = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .env("IMGBUILD", project::program())
        .env("SMALL", &small)
        .env("CACHE", &project.cache)
        .env("HOME", project.outer())
        .env_remove("IMGBUILD_CACHE")
        .output()
        .unwrap();
    if done.status.code() == Some(99) {
        project::skipped("the right to mount");
        return None;
    }
    Some(project::Ended {
        code: done.status.code(),
        out: String::from_utf8(done.stdout).unwrap(),
        err: String::from_utf8(done.stderr).unwrap(),
    })
}

#[test]
fn a_full_cache_is_told_and_mended_by_space() {
    let project = Project::new();
    let expected = clean(&project, 200_000, 1);
    let Some(ended) = with_small_disk(
        &project,
        "\"$IMGBUILD\" --message-format short --cache \"$SMALL/c\"; echo \"code $?\"\nfind build -type f 2>/dev/null | grep imgbuild-\n\
         mount -o remount,size=50m \"$SMALL\"\n\"$IMGBUILD\" --cache \"$SMALL/c\" || echo again $?\n\
         \"$IMGBUILD\" build --json --cache \"$SMALL/c\" | grep -c '\"event\":\"ran\"'",
    ) else {
        return;
    };
    assert!(ended.out.starts_with("code 3\n"), "{ended:?}");
    assert!(ended.err.contains("no space left on device") && ended.err.contains("small/c"), "{ended:?}");
    assert!(ended.err.contains("free some space"), "{ended:?}");
    assert_eq!(ended.out, "code 3\n0\n", "{ended:?}");
    let outputs = project.outputs();
    assert!(outputs == expected, "{}", difference(&outputs, &expected));
}

#[test]
fn a_full_output_folder_is_told_and_mended_by_space() {
    let project = Project::new();
    let expected = clean(&project, 100_000, 1);
    let Some(ended) = with_small_disk(
        &project,
        "mkdir build; mount --bind \"$SMALL\" build\n\
         \"$IMGBUILD\" -k --message-format short --cache \"$CACHE\"; echo \"code $?\"\nls -A build | grep imgbuild-\nfor f in build/*; do cp -a $f \"$CACHE\"/kept-${f##*/}; done\n\
         mount -o remount,size=50m \"$SMALL\"\n\"$IMGBUILD\" --cache \"$CACHE\" || echo again $?\n\
         \"$IMGBUILD\" build --json --cache \"$CACHE\" | grep -c '\"event\":\"ran\"'\n\
         cp -a build built",
    ) else {
        return;
    };
    assert_eq!(ended.out, "code 3\n0\n", "{ended:?}");
    assert!(ended.err.contains("no space left on device") && ended.err.contains("build/"), "{ended:?}");
    assert!(ended.err.contains("path="), "{ended:?}");
    let _ = fs::remove_dir(project.path("build"));
    fs::rename(project.path("built"), project.path("build")).unwrap();
    let outputs = project.outputs();
    assert!(outputs == expected, "{}", difference(&outputs, &expected));
    for entry in fs::read_dir(&project.cache).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(name) = name.strip_prefix("kept-").filter(|_| entry.path().is_file()) {
            assert_eq!(
                format!("{} ", project::digest(&entry.path())),
                expected[&format!("/{name}")],
                "half written: {name}"
            );
        }
    }
}

#[test]
fn folders_that_may_not_be_written_are_named() {
    let mut project = Project::new();
    fill(&project, 1000, 1);
    if project::is_root() {
        project.prefix =
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"].map(str::to_string).to_vec();
        if Command::new("setpriv").arg("--version").output().is_err() {
            return project::skipped("setpriv (Debian: util-linux)");
        }
    }
    fs::set_permissions(project.outer(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(&project.cache).unwrap();
    fs::create_dir_all(project.path("build")).unwrap();
    let modes = |cache: u32, build: u32| {
        fs::set_permissions(&project.cache, fs::Permissions::from_mode(cache)).unwrap();
        fs::set_permissions(project.path("build"), fs::Permissions::from_mode(build)).unwrap();
    };
    modes(0o555, 0o777);
    let ended = project.run(&["build"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.err.contains("cache") && ended.err.contains("--cache"), "{ended:?}");
    modes(0o777, 0o555);
    let ended = project.run(&["build"]);
    assert!(matches!(ended.code, Some(1 | 3)), "{ended:?}");
    assert!(ended.err.contains("build") && ended.err.contains("permission denied"), "{ended:?}");
    modes(0o777, 0o777);
    assert_eq!(project.run(&["build"]).code, Some(0));
    // To look, nothing need be written.
    modes(0o555, 0o555);
    assert_eq!(project.run(&["plan", "--exit-code"]).code, Some(0));
    modes(0o777, 0o777);
}
