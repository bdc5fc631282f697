//! What the README and the changelog show is so: manifests check clean, and sessions print what stands there.
//!
//! A ```` ```kdl ```` block is a whole manifest, and is right, unless it is marked `kdl,must-fail`. A ```` ```console ````
//! block is a session in a clone of this repository: lines after `$ ` are run, the others are what they print. All
//! sessions of a document follow each other. Blocks marked `sh` are not run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const IMGBUILD: &str = env!("CARGO_BIN_EXE_imgbuild");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A fenced block: what it is marked with, the line where it begins, its text.
struct Block {
    mark: String,
    line: usize,
    text: String,
}

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).unwrap()
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(mark) => {
                inside = true;
                blocks.push(Block { mark: mark.into(), line: number + 1, text: String::new() });
            }
            None if inside => blocks.last_mut().unwrap().text += &format!("{line}\n"),
            None => {}
        }
    }
    assert!(!inside, "a block has no end");
    blocks
}

/// A folder with a copy of the examples, for sessions.
struct Clone(tempfile::TempDir);

impl Clone {
    fn new() -> Clone {
        let clone = Clone(tempfile::tempdir().unwrap());
        let copied =
            Command::new("cp").arg("-R").arg(Path::new(ROOT).join("examples")).arg(clone.0.path()).status();
        assert!(copied.unwrap().success());
        // What somebody built in the original is in no clone.
        let removed = clone.shell("rm -rf examples/*/build");
        assert!(removed.status.success());
        clone
    }

    /// Runs a line of a shell there, with imgbuild on the path; all that it prints is in `stdout`.
    fn shell(&self, line: &str) -> Output {
        let programs = Path::new(IMGBUILD).parent().unwrap().display();
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{{ {line}\n}} 2>&1")).current_dir(self.0.path()).env_clear();
        command.env("PATH", format!("{programs}:/usr/bin:/bin")).env("HOME", self.0.path());
        command.output().unwrap()
    }
}

/// Without what differs from run to run: times, and the order of steps that ran beside each other.
fn settled(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(|line| without_times(line.trim_end())).collect();
    for group in lines.chunk_by_mut(|one, next| one.starts_with("ran ") && next.starts_with("ran ")) {
        group.sort();
    }
    lines.join("\n")
}

/// `ran overlay:etc 12 ms` becomes `ran overlay:etc TIME`.
fn without_times(line: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in line.split(' ') {
        let unit = word.trim_end_matches([')', ',']);
        let number = |word: &str| word.trim_start_matches('(').parse::<f64>().is_ok();
        match words.last_mut() {
            Some(last) if matches!(unit, "ms" | "s" | "min") && number(last) => *last = "TIME",
            _ => words.push(word),
        }
    }
    words.join(" ")
}

#[test]
fn manifests_are_right() {
    for name in ["README.md", "CHANGELOG.md"] {
        for block in blocks(&document(name)).iter().filter(|block| block.mark.starts_with("kdl")) {
            let folder = tempfile::tempdir().unwrap();
            for overlay in ["etc", "site", "ipv6", "serial-console", "network", "xnet"] {
                fs::create_dir_all(folder.path().join("overlays").join(overlay)).unwrap();
            }
            fs::write(folder.path().join("rootfs.tar.xz"), "").unwrap();
            fs::create_dir(folder.path().join("packages-lists")).unwrap();
            fs::write(folder.path().join("packages-lists/common"), "less\n").unwrap();
            for (name, text) in [
                ("hooks-lists/setup", "setup\n"),
                ("hooks/setup", "#!/bin/sh\n"),
                ("scripts/app", ""),
                ("downloads/app.tar", ""),
            ] {
                let path = folder.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, text).unwrap();
                fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            }
            fs::write(folder.path().join("image.kdl"), &block.text).unwrap();
            let mut check = Command::new(IMGBUILD);
            check.arg("check").current_dir(folder.path()).env_clear().env("HOME", folder.path());
            let output = check.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let right = block.mark != "kdl,must-fail";
            assert_eq!(output.status.success(), right, "{name}:{}: {said}", block.line);
        }
    }
}

#[test]
fn a_manifest_is_the_quickstart() {
    let shown = document("README.md");
    let quickstart = document("examples/quickstart/image.kdl");
    let (_comment, manifest) = quickstart.split_once("\n\n").unwrap();
    assert!(
        blocks(&shown).iter().any(|block| block.text == manifest),
        "it shows another one than\n{manifest}"
    );
}

#[test]
fn sessions_print_what_is_shown() {
    let clone = Clone::new();
    let mut lines = 0;
    for block in blocks(&document("README.md")).iter().filter(|block| block.mark == "console") {
        let mut printed = String::new();
        for line in block.text.lines().filter_map(|line| line.strip_prefix("$ ")) {
            lines += 1;
            let output = clone.shell(line);
            printed += &format!("$ {line}\n{}", String::from_utf8(output.stdout).unwrap());
        }
        assert_eq!(
            settled(&printed),
            settled(&block.text),
            "README.md:{}: it printed\n{printed}",
            block.line
        );
    }
    assert!(lines > 5, "the README shows no session");
}

#[test]
fn every_command_is_described_and_every_described_one_is_there() {
    let help = Command::new(IMGBUILD).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let list = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    let mut there: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    there.sort_unstable();

    // In the first column of the table: a command with what follows it, or one more of a row that has several.
    let readme = document("README.md");
    let table = readme.split("## The commands").nth(1).and_then(|rest| rest.split("\n\n").nth(1)).unwrap();
    let cells = table.lines().filter_map(|line| line.split('|').nth(1));
    let shown = cells
        .filter(|cell| !cell.contains("imgbuild cache"))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let word =
        |shown: &str| shown.trim_start_matches("imgbuild ").split(' ').next().unwrap_or_default().to_string();
    let mut described: Vec<String> = shown.map(word).filter(|word| !word.starts_with('[')).collect();
    described.extend(["build".to_string(), "cache".to_string()]);
    described.sort_unstable();
    assert_eq!(described, there);
}

#[test]
fn links_lead_somewhere() {
    for name in ["README.md", "CHANGELOG.md"] {
        let text = document(name);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let heading = |line: &str| {
                let title = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                line.starts_with('#') && link.strip_prefix('#') == Some(&title)
            };
            let there = link.starts_with("https://") || Path::new(ROOT).join(link).exists();
            let there = there || text.lines().any(heading);
            assert!(there, "{name}: {link}");
        }
    }
}

#[test]
fn only_times_and_the_order_of_what_ran_are_settled() {
    assert_eq!(settled("ran b 3 ms\nran a 1.5 s\n2 steps (0 ms)"), "ran a TIME\nran b TIME\n2 steps TIME");
    assert_ne!(settled("1 step to run"), settled("2 steps to run"));
    assert_ne!(settled("66 KiB"), settled("67 KiB"));
}
