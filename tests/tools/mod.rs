//! A project in a folder of its own, built by the real program, and the foreign tools that read what came out.

#![allow(dead_code, reason = "every test file uses a part of it")]

pub mod tree;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A project with its cache.
pub struct Project {
    folder: tempfile::TempDir,
    /// The project's folder.
    pub path: PathBuf,
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub out: String,
    /// What it wrote to standard error.
    pub err: String,
    /// How long it took.
    pub took: Duration,
}

impl Project {
    /// A project with this manifest.
    pub fn new(manifest: &str) -> Project {
        let project = Project::empty();
        project.write("image.kdl", manifest);
        project
    }

    /// A project without a manifest.
    pub fn empty() -> Project {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("project");
        fs::create_dir(&path).unwrap();
        Project { folder, path }
    }

    /// The path of something in the project.
    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// A folder beside the project, for what is unpacked.
    pub fn beside(&self, name: &str) -> PathBuf {
        let path = self.folder.path().canonicalize().unwrap().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Writes a file, with the folders on its way.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Writes a program.
    pub fn script(&self, name: &str, content: &str) {
        self.write(name, content);
        fs::set_permissions(self.at(name), PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// Runs imgbuild in the project.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ran {
        self.run_with(arguments, &[])
    }

    /// Runs imgbuild in the project with these variables in its environment.
    pub fn run_with<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(&str, &str)],
    ) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imgbuild"));
        command
            .args(arguments)
            .current_dir(&self.path)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", self.folder.path())
            .env("IMGBUILD_CACHE", self.folder.path().join("cache"))
            .envs(environment.iter().copied());
        ran(&mut command)
    }

    /// Builds everything; fails with what was said if that fails.
    pub fn build(&self) {
        let ran = self.run(["build"]);
        assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    }
}

/// Runs a program to its end.
pub fn ran(command: &mut Command) -> Ran {
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: start.elapsed(),
    }
}

/// Runs a program that has to succeed; gives its standard output.
pub fn answer(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{err}", output.status);
    output.stdout
}

/// A foreign program; says so and gives none if this machine lacks it.
pub fn tool(program: &str, package: &str) -> Option<PathBuf> {
    let folders = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"];
    let found = folders.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.is_file());
    found.or_else(|| skip(&format!("this machine lacks {program} (Debian: {package})")))
}

/// Leaves a test out, in plain words; with `IMGBUILD_TESTS=all` nothing may be left out.
#[allow(clippy::disallowed_methods, reason = "a switch of the tests themselves")]
pub fn skip<T>(why: &str) -> Option<T> {
    assert!(std::env::var("IMGBUILD_TESTS").as_deref() != Ok("all"), "{why}");
    eprintln!("skipped: {why}");
    None
}

/// Whether owners, devices and all extended attributes can be set.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
