//! `xcluster`, as a script of an overlay calls it inside a sandbox.
//!
//! The commands and what they print are those of `xcluster.sh` (github.com/Nordix/xcluster) that scripts use: `ovld`,
//! `env`, `install_prog`, `cplib`, `libs`, `cploader`. Standard output holds the answer and nothing else: many a script
//! writes its tar there. Different on purpose: a missing program is an error, and is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send,
    socket_with,
};

use super::host_programs::{self, Libraries, PATH, resolve_program};
use super::wire::{Answer, PACKET, Request};
use super::{SOCKET, root};

/// Answers one call; the arguments come without the program's own name.
pub(super) fn answer(
    arguments: impl Iterator<Item = OsString>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> ExitCode {
    let call = Call::read(arguments.map(text), environment.map(|(name, value)| (text(name), text(value))));
    match call.run() {
        Ok(answer) => match io::stdout().write_all(answer.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            // There is nobody else to tell.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn text(value: OsString) -> String {
    value.into_string().unwrap_or_else(|value| value.to_string_lossy().into_owned())
}

/// One call.
struct Call {
    command: String,
    operands: Vec<String>,
    /// The environment, with the options in it: `--base-libs=x` is the variable `__base_libs`.
    variables: BTreeMap<String, String>,
}

impl Call {
    fn read(
        arguments: impl Iterator<Item = String>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Call {
        let mut variables: BTreeMap<String, String> = environment.collect();
        let mut operands = Vec::new();
        for argument in arguments {
            match argument.strip_prefix("--").filter(|option| !option.is_empty()) {
                Some(option) => {
                    let (name, value) = option.split_once('=').unwrap_or((option, "yes"));
                    variables.insert(format!("__{}", name.replace('-', "_")), value.to_string());
                }
                None => operands.push(argument),
            }
        }
        let command = if operands.is_empty() { String::new() } else { operands.remove(0) };
        Call { command, operands, variables }
    }

    /// The answer for standard output, or what went wrong for standard error.
    fn run(&self) -> Result<String, String> {
        match self.command.as_str() {
            "ovld" => self.ovld(),
            "env" => self.env(),
            "install_prog" => self.install_prog(),
            "cplib" => self.cplib(),
            "libs" => self.libs(),
            "cploader" => self.cploader(),
            command => Err(format!(
                "ERROR: imgbuild's xcluster does not know `{command}`, but cplib, cploader, env, install_prog, libs, ovld"
            )),
        }
    }

    fn ovld(&self) -> Result<String, String> {
        let name = self.operands.first().ok_or("ERROR: no overlay named")?;
        match ask(&Request::Overlay(name.clone()))? {
            Answer::Overlay(Some(path)) => Ok(format!("{}\n", path.display())),
            _ => Err(format!("ERROR: Ovl not found [{name}]")),
        }
    }

    fn env(&self) -> Result<String, String> {
        let Answer::Exported(names) = ask(&Request::Exported)? else { return Err("ERROR: no answer".into()) };
        let told = |name: &str| name.starts_with("__") || names.iter().any(|exported| exported == name);
        let lines = self.variables.iter().filter(|(name, _)| told(name) && is_shell_name(name));
        Ok(lines.map(|(name, value)| format!("{name}={}\n", quoted(value))).collect())
    }

    fn install_prog(&self) -> Result<String, String> {
        let dest = self.dest()?;
        let bin = dest.join("bin");
        self.each_program(|program, libraries| {
            copy_into(program, &bin)?;
            libraries.iter().try_for_each(|library| copy_below(library, &dest))
        })
    }

    fn cplib(&self) -> Result<String, String> {
        let dest = self.dest()?;
        self.each_program(|_, libraries| libraries.iter().try_for_each(|library| copy_below(library, &dest)))
    }

    fn libs(&self) -> Result<String, String> {
        let mut all = BTreeSet::new();
        self.each_program(|_, libraries| {
            all.extend(libraries.iter().cloned());
            Ok(())
        })?;
        Ok(all.iter().map(|library| format!("{}\n", library.display())).collect())
    }

    fn cploader(&self) -> Result<String, String> {
        let dest = self.dest()?;
        let loader =
            host_programs::libraries(Path::new("/bin/sh")).ok().and_then(|libraries| libraries.loader);
        let loader = loader.ok_or("ERROR: this machine's loader was not found (`ldd /bin/sh`)")?;
        tell_files(vec![loader.clone()])?;
        copy_below(&loader, &dest).map(|()| String::new())
    }

    /// Does `act` with every program and the libraries that are to be copied with it. What is missing is told, and
    /// the rest done all the same, so that a script's author learns of everything at once.
    fn each_program(
        &self,
        mut act: impl FnMut(&Path, &[PathBuf]) -> Result<(), String>,
    ) -> Result<String, String> {
        let base = self.base_libraries()?;
        let mut missing = Vec::new();
        for name in &self.operands {
            let Some(program) = resolve_program(name, self.path()) else {
                missing.push(format!("program `{name}`"));
                tell(&Request::Program { name: name.clone(), found: None, files: Vec::new() })?;
                continue;
            };
            let libraries = host_programs::libraries(&program)
                .map_err(|error| format!("ERROR: cannot run ldd: {error}"))?;
            missing
                .extend(libraries.missing.iter().map(|library| format!("library `{library}` of `{name}`")));
            let wanted = self.wanted(libraries, &base);
            self.tell_program(name, &program, &wanted)?;
            act(&program, &wanted)?;
        }
        for what in &missing {
            tell(&Request::Missing(what.clone()))?;
        }
        if missing.is_empty() {
            Ok(String::new())
        } else {
            Err(format!("ERROR: not found: {}", missing.join(", ")))
        }
    }

    fn wanted(&self, libraries: Libraries, base: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
        let workspace = self.option("XCLUSTER_WORKSPACE");
        let own = |library: &Path| workspace.is_some_and(|workspace| library.starts_with(workspace));
        libraries.found.into_iter().filter(|library| !base.contains(library) && !own(library)).collect()
    }

    /// Tells what was used of the host. A file that the script made is no fact about the host.
    fn tell_program(&self, name: &str, program: &Path, libraries: &[PathBuf]) -> Result<(), String> {
        let mut files: Vec<PathBuf> =
            libraries.iter().filter(|library| of_the_host(library)).cloned().collect();
        if !of_the_host(program) {
            return tell_files(files);
        }
        files.insert(0, program.to_path_buf());
        // The same name on the usual path leads to the same file again; a path of the script's own would not.
        let usual = !name.contains('/') && resolve_program(name, PATH).as_deref() == Some(program);
        let name = if usual { name.to_string() } else { program.display().to_string() };
        tell(&Request::Program { name, found: Some(program.to_path_buf()), files })
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn path(&self) -> &str {
        self.option("PATH").unwrap_or(PATH)
    }

    fn dest(&self) -> Result<PathBuf, String> {
        let dest = self.option("__dest").or(self.option("__root")).ok_or("ERROR: no --dest=")?;
        fs::create_dir_all(dest).map_err(|error| format!("ERROR: cannot make {dest}: {error}"))?;
        Ok(PathBuf::from(dest))
    }

    /// The libraries that the base image has already: a file with a path a line.
    fn base_libraries(&self) -> Result<BTreeSet<PathBuf>, String> {
        let Some(file) = self.option("__base_libs") else { return Ok(BTreeSet::new()) };
        let text = fs::read_to_string(file).map_err(|error| format!("ERROR: cannot read {file}: {error}"))?;
        Ok(text.lines().map(|line| PathBuf::from(line.trim())).collect())
    }
}

fn is_shell_name(name: &str) -> bool {
    name.chars().all(|letter| letter == '_' || letter.is_ascii_alphanumeric())
}

/// `value` as one word of a shell.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// Copies `file` into the folder, under its own name.
fn copy_into(file: &Path, folder: &Path) -> Result<(), String> {
    let target = folder.join(file.file_name().unwrap_or_default());
    let copy = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        // A second copy replaces the first, which may be read-only.
        match fs::remove_file(&target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::copy(file, &target)?,
        };
        let mode = fs::metadata(file)?.permissions().mode() & 0o777;
        fs::set_permissions(&target, Permissions::from_mode(mode))
    };
    copy().map_err(|error| format!("ERROR: cannot copy {} to {}: {error}", file.display(), target.display()))
}

/// Copies `file`, what it links to, to its own absolute path below `dest`.
fn copy_below(file: &Path, dest: &Path) -> Result<(), String> {
    let folder = file.parent().unwrap_or(file);
    copy_into(file, &dest.join(folder.strip_prefix("/").unwrap_or(folder)))
}

fn of_the_host(file: &Path) -> bool {
    file.canonicalize().is_ok_and(|real| root::SYSTEM.iter().any(|folder| real.starts_with(folder)))
}

fn tell_files(files: Vec<PathBuf>) -> Result<(), String> {
    if files.is_empty() { Ok(()) } else { tell(&Request::Files(files)) }
}

fn tell(request: &Request) -> Result<(), String> {
    match ask(request)? {
        Answer::Noted => Ok(()),
        _ => Err("ERROR: xcluster was called too often".into()),
    }
}

fn ask(request: &Request) -> Result<Answer, String> {
    let asked = || -> io::Result<Answer> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &SocketAddrUnix::new(SOCKET)?)?;
        send(&socket, &serde_json::to_vec(request)?, SendFlags::NOSIGNAL)?;
        let mut packet = vec![0; PACKET];
        let (length, _) = recv(&socket, packet.as_mut_slice(), RecvFlags::empty())?;
        Ok(serde_json::from_slice(packet.get(..length).unwrap_or_default())?)
    };
    asked().map_err(|error| format!("ERROR: xcluster works inside imgbuild's sandbox only: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(arguments: &[&str]) -> Call {
        let arguments = arguments.iter().map(|argument| argument.to_string());
        Call::read(arguments, [("__dest".to_string(), "/env".to_string())].into_iter())
    }

    #[test]
    fn options_stand_anywhere_and_are_variables() {
        let read = call(&["install_prog", "--base-libs=/b", "ls", "--dest=/d", "cat", "--flag", "--"]);
        assert_eq!(read.command, "install_prog");
        assert_eq!(read.operands, ["ls", "cat", "--"]);
        assert_eq!(read.option("__base_libs"), Some("/b"));
        assert_eq!(read.option("__dest"), Some("/d"), "an option wins over the environment");
        assert_eq!(read.option("__flag"), Some("yes"));
        assert_eq!(call(&["cplib"]).option("__dest"), Some("/env"));
        assert!(call(&["mkcdrom"]).run().is_err_and(|error| error.contains("does not know `mkcdrom`")));
    }

    #[test]
    fn values_survive_an_eval() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert!(!is_shell_name("BASH_FUNC_x%%"));
    }
}
