//! Solving: which packages a list of names stands for.
//!
//! Debian's own apt decides, so that the answer is exactly Debian's. This file writes what apt reads and reads what it
//! answers; it starts nothing. apt is shown indexes that were verified before, as if it had fetched them itself, and
//! simulates: apt-get(8) `--simulate`, apt.conf(5), apt_preferences(5), sources.list(5).

use std::fmt::Write as _;

use super::{Deb, Wish};

/// Where the files stand when apt reads them.
pub const FOLDER: &str = "/solve";

/// One component of one source, as apt is shown it.
#[derive(Debug)]
pub struct List<'a> {
    /// The position of the source among all.
    pub source: usize,
    /// The suite as sources.list names it.
    pub suite: &'a str,
    /// The component.
    pub component: &'a str,
    /// The fields of its Release file that say what it is (`Origin`, `Suite`, `Codename` …), as they stand there.
    pub release: String,
    /// The stanzas.
    pub packages: &'a [u8],
}

/// A set of packages to be found.
#[derive(Debug)]
pub struct Problem<'a> {
    /// The architecture.
    pub arch: &'a str,
    /// What there is to choose from.
    pub lists: &'a [List<'a>],
    /// The control stanzas of what is there already and stays as it is.
    pub installed: &'a [String],
    /// Packages by name that are wanted before any wish: a base's.
    pub roots: &'a [String],
    /// What is wished for, and what is to be left out.
    pub wishes: &'a [&'a Wish],
    /// Packages that keep their versions as far as they can: the lock's.
    pub keep: &'a [Deb],
    /// Whether recommended packages come along.
    pub recommends: bool,
}

/// A file for apt: its path below [`FOLDER`], and what is in it.
pub type File = (String, Vec<u8>);

/// The files that apt is to be shown.
pub fn files(problem: &Problem<'_>) -> Vec<File> {
    let mut files = vec![
        ("apt.conf".into(), configuration(problem).into_bytes()),
        ("preferences".into(), preferences(problem).into_bytes()),
        ("status".into(), status(problem.installed).into_bytes()),
        ("extended_states".into(), Vec::new()),
    ];
    let mut sources = String::new();
    for list in problem.lists {
        let List { source, suite, component, .. } = list;
        let suite = suite.trim_end_matches('/');
        let _ = writeln!(sources, "deb [trusted=yes] http://a{source} {suite} {component}");
        let stem = format!("lists/a{source}_dists_{}", escape(suite));
        let release = format!("{stem}_Release");
        if !files.iter().any(|(path, _)| *path == release) {
            files.push((release, list.release.clone().into_bytes()));
        }
        let packages = format!("{stem}_{}_binary-{}_Packages", escape(component), problem.arch);
        files.push((packages, list.packages.to_vec()));
    }
    files.push(("sources.list".into(), sources.into_bytes()));
    files
}

/// The command that answers, with its arguments.
pub fn command(problem: &Problem<'_>) -> Vec<String> {
    let mut command: Vec<String> = ["apt-get", "--simulate", "install"].map(String::from).to_vec();
    command.extend(problem.roots.iter().cloned());
    command.extend(problem.wishes.iter().filter(|wish| !wish.out).map(|wish| argument(wish)));
    command
}

/// The environment that it runs in.
pub fn environment() -> [(&'static str, String); 3] {
    [
        ("APT_CONFIG", format!("{FOLDER}/apt.conf")),
        ("LC_ALL", "C.UTF-8".to_string()),
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_string()),
    ]
}

/// What apt would do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Packages to be installed, in the order in which apt would unpack them: name, version, architecture.
    pub install: Vec<(String, String, String)>,
    /// Names of packages that are there and would change: another version, or gone.
    pub disturbed: Vec<String>,
}

/// Reads what `apt-get --simulate` printed: lines such as
/// `Inst NAME[:ARCH] [OLD] (VERSION ORIGIN [ARCH]) …` and `Remv NAME [OLD]`.
pub fn read_answer(text: &str) -> Answer {
    let mut answer = Answer::default();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("Remv ") {
            answer.disturbed.extend(rest.split(' ').next().map(bare));
        } else if let Some((name, rest)) = line.strip_prefix("Inst ").and_then(|rest| rest.split_once(' ')) {
            if rest.starts_with('[') {
                answer.disturbed.push(bare(name));
            }
            answer.install.extend(installed(name, rest));
        }
    }
    answer
}

/// What apt complains about, its own words, without what it always says.
pub fn complaints(text: &str) -> Vec<String> {
    let idle =
        ["Reading ", "Building ", "NOTE:", "      ", "Note, ", "Some packages could not", "requested an"];
    let idle_too =
        ["or been moved out", "distribution that some", "The following information may", "or if you are"];
    let says = |line: &&str| {
        let line = line.trim_end();
        !line.is_empty() && !idle.iter().chain(&idle_too).any(|idle| line.starts_with(idle))
    };
    text.lines().filter(says).map(str::to_string).collect()
}

fn installed(name: &str, rest: &str) -> Option<(String, String, String)> {
    let inside = rest.split_once('(')?.1.split_once(')')?.0;
    let (version, origin) = inside.split_once(' ')?;
    let arch = origin.rsplit_once('[')?.1.strip_suffix(']')?;
    Some((bare(name), version.to_string(), arch.to_string()))
}

fn bare(name: &str) -> String {
    name.split(':').next().unwrap_or(name).to_string()
}

fn argument(wish: &Wish) -> String {
    let name = &wish.name.value;
    match (&wish.version, &wish.suite) {
        (Some(version), _) => format!("{name}={}", version.value),
        (None, Some(suite)) => format!("{name}/{}", suite.value),
        (None, None) => name.clone(),
    }
}

fn configuration(problem: &Problem<'_>) -> String {
    let Problem { arch, recommends, .. } = problem;
    format!(
        "Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\n\
         Dir::Etc::sourcelist \"{FOLDER}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
         Dir::Etc::preferences \"{FOLDER}/preferences\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
         Dir::State::lists \"{FOLDER}/lists\";\nDir::State::status \"{FOLDER}/status\";\n\
         Dir::State::extended_states \"{FOLDER}/extended_states\";\n\
         Dir::Cache::pkgcache \"\";\nDir::Cache::srcpkgcache \"\";\n\
         APT::Architecture \"{arch}\";\nAPT::Architectures {{ \"{arch}\"; }};\n\
         APT::Install-Recommends \"{recommends}\";\nAPT::Get::Assume-Yes \"true\";\nAPT::Sandbox::User \"root\";\n\
         APT::Get::Show-User-Simulation-Note \"false\";\nAcquire::Languages \"none\";\nDebug::NoLocking \"true\";\n"
    )
}

/// What is locked is preferred to all else, what is left out to nothing.
fn preferences(problem: &Problem<'_>) -> String {
    let mut text = String::new();
    let named = |deb: &&Deb| {
        let wished = problem.wishes.iter().find(|wish| wish.name.value == deb.name);
        wished.is_none_or(|wish| wish.version.is_none() && wish.suite.is_none())
    };
    for Deb { name, version, .. } in problem.keep.iter().filter(named) {
        let _ = writeln!(text, "Package: {name}\nPin: version {version}\nPin-Priority: 1001\n");
    }
    for wish in problem.wishes.iter().filter(|wish| wish.out) {
        let _ = writeln!(text, "Package: {}\nPin: release *\nPin-Priority: -1\n", wish.name.value);
    }
    text
}

/// dpkg's status file with these packages, each of which is to stay as it is.
fn status(installed: &[String]) -> String {
    let mut text = String::new();
    for stanza in installed {
        let lines = stanza.lines().filter(|line| !line.starts_with("Status:") && !line.is_empty());
        let mut lines = lines.map(|line| format!("{line}\n"));
        text.extend(lines.next());
        text.push_str("Status: hold ok installed\n");
        text.extend(lines);
        text.push('\n');
    }
    text
}

/// apt's own way of making a file's name of a part of a URI: `/` becomes `_`, and `_` is quoted.
fn escape(part: &str) -> String {
    part.replace('_', "%5f").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_answers_is_read() {
        let text = "Reading package lists...\nInst libc6 (2.41-12 Debian:13.7/stable [amd64]) []\n\
                    Conf libc6 (2.41-12 Debian:13.7/stable [amd64])\n\
                    Inst apt [3.0.2] (3.0.3 Debian:13.7/stable [amd64])\nRemv nano [8.4-1]\n\
                    Inst adduser (3.152 Debian:13.7/stable, Debian:13/x [all])\n";
        let answer = read_answer(text);
        let names: Vec<&str> = answer.install.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["libc6", "apt", "adduser"]);
        assert_eq!(answer.install[2], ("adduser".into(), "3.152".into(), "all".into()));
        assert_eq!(answer.disturbed, ["apt", "nano"]);
    }

    #[test]
    fn the_status_keeps_what_is_there() {
        let text = status(&["Package: a\nVersion: 1\n".into()]);
        assert_eq!(text, "Package: a\nStatus: hold ok installed\nVersion: 1\n\n");
    }

    #[test]
    fn names_of_lists_are_those_that_apt_looks_for() {
        assert_eq!(escape("trixie/updates"), "trixie_updates");
        assert_eq!(escape("non_free"), "non%5ffree");
    }
}
