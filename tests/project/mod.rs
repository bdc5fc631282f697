//! A project in a folder of its own, built by the real program, and what its outputs hold.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests; each uses a part"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The program: another one than was built with this test, if somebody names it.
pub fn program() -> String {
    switch("IMGBUILD_TEST_PROGRAM").unwrap_or(env!("CARGO_BIN_EXE_imgbuild").to_string())
}

/// A project, its cache, and what the caller says beside the manifest.
pub struct Project {
    _keep: Option<tempfile::TempDir>,
    pub root: PathBuf,
    pub cache: PathBuf,
    pub arguments: Vec<String>,
    pub environment: BTreeMap<String, String>,
    /// Words in front of the program: `setpriv …`.
    pub prefix: Vec<String>,
}

/// How a run of the program ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// What a build did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Did {
    pub ran: BTreeSet<String>,
    pub changed: BTreeSet<String>,
}

impl Project {
    pub fn new() -> Project {
        let folder = tempfile::Builder::new().prefix("imgbuild-test-").tempdir().unwrap();
        let outer = folder.path().canonicalize().unwrap();
        let project = Project::at(outer.join("project"), outer.join("cache"));
        fs::create_dir(&project.root).unwrap();
        Project { _keep: Some(folder), ..project }
    }

    pub fn at(root: PathBuf, cache: PathBuf) -> Project {
        Project {
            _keep: None,
            root,
            cache,
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            prefix: Vec::new(),
        }
    }

    /// The folder around the project.
    pub fn outer(&self) -> &Path {
        self.root.parent().unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn link(&self, name: &str, target: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        symlink(target, path).unwrap();
    }

    pub fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// An overlay's `tar` script.
    pub fn script(&self, name: &str, body: &str) {
        self.write(name, format!("#!/bin/sh\nset -e\n{body}\n"));
        self.mode(name, 0o755);
    }

    /// The program, about to run in the project with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut words: Vec<String> = self.prefix.clone();
        words.push(program());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(arguments).args(&self.arguments);
        command.current_dir(&self.root).stdin(Stdio::null());
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.outer().join("home"));
        command.env("IMGBUILD_CACHE", &self.cache).envs(&self.environment);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        let done = self.command(arguments).output().unwrap();
        Ended {
            code: done.status.code(),
            out: String::from_utf8(done.stdout).unwrap(),
            err: String::from_utf8(done.stderr).unwrap(),
        }
    }

    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Builds; it must go well.
    pub fn build(&self) -> Did {
        let ended = self.run(&["build", "--json"]);
        assert_eq!(ended.code, Some(0), "a build: {}{}", ended.out, ended.err);
        Did::read(&ended.out)
    }

    /// Each step's state.
    pub fn plan(&self) -> BTreeMap<String, String> {
        let ended = self.run(&["plan", "--json"]);
        assert_eq!(ended.code, Some(0), "a plan: {}{}", ended.out, ended.err);
        let answer: Value = serde_json::from_str(&ended.out).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_string();
        answer["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| (text(&step["id"]), text(&step["state"])))
            .collect()
    }

    /// The same project in another folder, with nothing built and nothing known.
    pub fn copy(&self, name: &str) -> Project {
        let outer = self.outer().join(name);
        let _ = fs::remove_dir_all(&outer);
        fs::create_dir_all(&outer).unwrap();
        let copy = Project {
            arguments: self.arguments.clone(),
            environment: self.environment.clone(),
            prefix: self.prefix.clone(),
            ..Project::at(outer.join("project"), outer.join("cache"))
        };
        fs::create_dir(&copy.root).unwrap();
        let names = fs::read_dir(&self.root).unwrap().map(|entry| entry.unwrap().path());
        let all: Vec<PathBuf> = names.filter(|path| !path.ends_with("build")).collect();
        let done = Command::new("cp").arg("-a").args(all).arg(&copy.root).status().unwrap();
        assert!(done.success(), "cp");
        copy
    }

    /// What a build of the project as it is now gives when nothing is known.
    pub fn clean(&self) -> BTreeMap<String, String> {
        let copy = self.copy("clean");
        copy.build();
        let outputs = copy.outputs();
        fs::remove_dir_all(copy.outer()).unwrap();
        outputs
    }

    /// Everything below `build`, with all that counts of it.
    pub fn outputs(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        look(&self.path("build"), "", &mut found);
        found
    }
}

impl Did {
    pub fn read(out: &str) -> Did {
        let mut did = Did::default();
        for line in out.lines() {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no event: {line}"));
            // What was made again on another's behalf only begins.
            if matches!(event["event"].as_str(), Some("ran" | "started")) {
                did.ran.insert(event["step"].as_str().unwrap().to_string());
            }
            if event["changed"].as_bool() == Some(true) {
                did.changed.insert(event["step"].as_str().unwrap().to_string());
            }
        }
        did
    }
}

fn look(folder: &Path, below: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = format!("{below}/{}", path.file_name().unwrap().to_string_lossy());
        // Beside a folder stands whose it is.
        if below.is_empty() && name.starts_with("/.") && name.ends_with(".imgbuild") {
            continue;
        }
        let metadata = fs::symlink_metadata(&path).unwrap();
        let inside = !below.is_empty();
        // An output's own time and mode are no part of it; those of what is in a folder are.
        let outside = if inside {
            format!("{:o} {}:{} {}", metadata.mode(), metadata.uid(), metadata.gid(), metadata.mtime())
        } else {
            String::new()
        };
        let content = if metadata.is_dir() {
            look(&path, &name, found);
            "folder".to_string()
        } else if metadata.is_symlink() {
            format!("link {:?}", fs::read_link(&path).unwrap())
        } else {
            digest(&path)
        };
        found.insert(name, format!("{content} {outside}"));
    }
}

pub fn digest(path: &Path) -> String {
    let bytes = fs::read(path).unwrap();
    format!("{} {}", bytes.len(), imgbuild::key::Digest::of(&bytes))
}

/// What differs between two sets of outputs, in words.
pub fn difference(left: &BTreeMap<String, String>, right: &BTreeMap<String, String>) -> String {
    let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let told = names.into_iter().filter(|name| left.get(*name) != right.get(*name));
    told.map(|name| format!("\n  {name}: {:?} / {:?}", left.get(name), right.get(name))).collect()
}

/// A few numbers that look like chance and are the same from run to run: splitmix64 (Steele, Lea, Flood 2014).
pub struct Chance(pub u64);

impl Chance {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From zero to one below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    pub fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    pub fn one<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[self.below(things.len())]
    }

    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for at in (1..things.len()).rev() {
            things.swap(at, self.below(at + 1));
        }
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.number() as u8).collect()
    }

    /// A few letters.
    pub fn letters(&mut self, length: usize) -> String {
        (0..length).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }
}

/// Makes `project` one of a plain user with ids of its own, all of whose files are hers.
pub fn give_to_plain_user(project: &mut Project) {
    let ids = project.outer().join("ids");
    fs::write(&ids, "65534:100000:65536\n").unwrap();
    let done = Command::new("chown").args(["-R", "65534:65534"]).arg(project.outer()).status().unwrap();
    assert!(done.success(), "chown");
    fs::set_permissions(project.outer(), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(&ids, Some(0), Some(0)).unwrap();
    let script = "mount --bind \"$0\" /etc/subuid; mount --bind \"$0\" /etc/subgid
        exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"";
    let words = ["unshare", "--mount", "sh", "-ec", script, ids.to_str().unwrap()];
    project.prefix = words.map(String::from).to_vec();
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[allow(clippy::disallowed_methods, reason = "a test's own switch")]
pub fn switch(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Says that a test cannot be made here; fails if all are asked for.
pub fn skipped(lack: &str) {
    assert!(switch("IMGBUILD_TESTS").as_deref() != Some("all"), "this machine lacks {lack}");
    eprintln!("skipped: this machine lacks {lack}");
}

/// Whether scripts can be run here.
pub fn sandboxes() -> bool {
    match imgbuild::sandbox::Launcher::of(program()).available() {
        Ok(()) => true,
        Err(fault) => {
            skipped(&format!("sandboxes ({fault})"));
            false
        }
    }
}
