//! A space to try the program in: a project, a cache and a home of its own, gone with the test.
//!
//! ```ignore
//! mod space;
//! let space = space::Space::new("image \"a\" {\n    overlays \"site\"\n    output \"tar\"\n}\n");
//! space.write("overlays/site/etc/motd", "hello\n");
//! insta::assert_snapshot!(space.run("plan"), @"…");
//! assert_eq!(space.run("").code, 0);
//! ```
//!
//! What the program says comes back with the space's own folders named (`[project]`, `[cache]`, `[home]`, `[space]`)
//! and times as `[time]`, so that a whole answer can stand in a test. Where a message has such a folder in it, ask for
//! `--message-format short`: the other one breaks its lines where the folder's real name makes it.

#![allow(dead_code, reason = "no test needs all of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A project with a cache and a home.
pub struct Space {
    folder: tempfile::TempDir,
    root: PathBuf,
    variables: Vec<(String, String)>,
}

/// What the program said, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The exit code; 128 and its number if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Space {
    /// A project with that manifest.
    pub fn new(manifest: &str) -> Space {
        let space = Space::empty();
        space.write("image.kdl", manifest);
        space
    }

    /// A project without a manifest.
    pub fn empty() -> Space {
        // Not below /dev, which sandboxes have one of their own of.
        let folder = tempfile::Builder::new().prefix("imgbuild-test-").tempdir();
        let folder = folder.expect("a temporary folder");
        let root = folder.path().canonicalize().expect("a folder that is there");
        for name in ["project", "home", "tmp"] {
            fs::create_dir(root.join(name)).expect("a folder");
        }
        Space { folder, root, variables: Vec::new() }
    }

    /// The absolute path of a file of the project.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join("project").join(name)
    }

    /// The caller's home.
    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// The cache.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Writes a file of the project, with the folders on its way.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Space {
        write(&self.path(name), content.as_ref());
        self
    }

    /// Writes a program of the project.
    pub fn script(&self, name: &str, content: &str) -> &Space {
        self.write(name, content);
        fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o755)).expect("a mode");
        self
    }

    /// Writes a file in the caller's home.
    pub fn write_home(&self, name: &str, content: &str) -> &Space {
        write(&self.home().join(name), content.as_bytes());
        self
    }

    /// Makes a symbolic link in the project.
    pub fn link(&self, name: &str, target: &str) -> &Space {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::os::unix::fs::symlink(target, path).expect("a link");
        self
    }

    /// The text of a file of the project.
    pub fn read(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap_or_else(|_| panic!("`{name}` is no text"))
    }

    /// The bytes of a file of the project.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("cannot read `{name}`: {error}"))
    }

    /// Whether the project has that file.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    /// Sets an environment variable for every later command.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Space {
        self.variables.push((name.to_string(), value.to_string()));
        self
    }

    /// Runs imgbuild in the project; `line` is split at blanks.
    pub fn run(&self, line: &str) -> Answer {
        self.call(&line.split_ascii_whitespace().collect::<Vec<_>>())
    }

    /// Runs imgbuild with these arguments.
    pub fn call(&self, arguments: &[&str]) -> Answer {
        let output = self.command(arguments).output().expect("imgbuild runs");
        self.answer(&output)
    }

    /// Runs imgbuild, which has to succeed; gives what it wrote to standard output.
    pub fn ok(&self, line: &str) -> String {
        let answer = self.run(line);
        assert_eq!(answer.code, 0, "imgbuild {line}\n{answer}");
        answer.out
    }

    /// Runs imgbuild, which has to succeed; gives the bytes that it wrote to standard output, as they are.
    pub fn ok_bytes(&self, line: &str) -> Vec<u8> {
        let output = self.command(&line.split_ascii_whitespace().collect::<Vec<_>>()).output();
        let output = output.expect("imgbuild runs");
        assert!(output.status.success(), "imgbuild {line}\n{}", self.answer(&output));
        output.stdout
    }

    /// Runs a line of the shell in the project, with `imgbuild` on its path.
    pub fn shell(&self, line: &str) -> Answer {
        let program = Path::new(env!("CARGO_BIN_EXE_imgbuild"));
        let path = format!("{}:{PATH}", program.parent().expect("a folder").display());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]);
        let output = self.prepared(command).env("PATH", path).output().expect("a shell");
        self.answer(&output)
    }

    /// imgbuild in the project with these arguments, to be run by hand.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imgbuild"));
        command.args(arguments);
        self.prepared(command)
    }

    /// A command in the project, with nothing of the caller's environment.
    fn prepared(&self, mut command: Command) -> Command {
        command
            .current_dir(self.path(""))
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", self.home())
            .env("TMPDIR", self.root.join("tmp"))
            .env("LC_ALL", "C.UTF-8")
            .env("IMGBUILD_CACHE", self.cache())
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// What a command of [`Space::command`] said.
    pub fn answer(&self, output: &Output) -> Answer {
        let signal = || 128 + std::os::unix::process::ExitStatusExt::signal(&output.status).unwrap_or(0);
        Answer {
            code: output.status.code().unwrap_or_else(signal),
            out: self.normal(&String::from_utf8_lossy(&output.stdout)),
            err: self.normal(&String::from_utf8_lossy(&output.stderr)),
        }
    }

    /// The text with the space's folders named and times as `[time]`.
    pub fn normal(&self, text: &str) -> String {
        let mut text = text.to_string();
        for name in ["project", "cache", "home"] {
            text = text.replace(&self.root.join(name).display().to_string(), &format!("[{name}]"));
        }
        without_times(&text.replace(&self.root.display().to_string(), "[space]"))
    }
}

/// The whole of it: standard output, then standard error and the exit code where they say something.
impl fmt::Display for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.out)?;
        if !self.err.is_empty() {
            write!(out, "--- standard error\n{}", self.err)?;
        }
        if self.code != 0 {
            writeln!(out, "--- exit code {}", self.code)?;
        }
        Ok(())
    }
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, content).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

/// `12 ms`, `3.4 s`, `2 min 5 s` become `[time]`; so does the value of `"seconds":` and `"at":` in JSON.
fn without_times(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|letter: char| letter.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let length =
            from.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(from.len());
        let (number, behind) = from.split_at(length);
        let key = ["\"seconds\":", "\"at\":"];
        let in_json = key.iter().any(|key| out.trim_end().ends_with(key));
        let inside_word = out.ends_with(|letter: char| letter.is_alphanumeric() || "-_".contains(letter));
        let unit = [" ms", " s", " min "].iter().find(|unit| begins_word(behind, unit));
        match unit {
            _ if inside_word => {
                out.push_str(number);
                rest = behind;
            }
            Some(unit) => {
                rest = &behind[unit.len()..];
                // The seconds behind minutes are part of the same time.
                if *unit != " min " {
                    out.push_str("[time]");
                }
            }
            None if in_json => {
                out.push_str("[time]");
                rest = behind
                    .trim_start_matches(|letter: char| letter.is_ascii_digit() || "e-".contains(letter));
            }
            None => {
                out.push_str(number);
                rest = behind;
            }
        }
    }
    out + rest
}

fn begins_word(text: &str, word: &str) -> bool {
    let ends = |rest: &str| word.ends_with(' ') || !rest.starts_with(|letter: char| letter.is_alphanumeric());
    text.strip_prefix(word).is_some_and(ends)
}
