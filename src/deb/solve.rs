//! Solving: which packages a list of names stands for.
//!
//! Debian's own apt decides, so that the answer is exactly Debian's. This file writes what apt reads and reads what it
//! answers; it starts nothing. apt is shown indexes that were verified before, as if it had fetched them itself, and
//! simulates: apt-get(8) `--simulate`, apt.conf(5), apt_preferences(5), sources.list(5).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Wish;

/// Where the files stand when apt reads them.
pub const FOLDER: &str = "/solve";

/// One component of one source, as apt is shown it.
#[derive(Debug)]
pub struct List<'a> {
    /// The position of the source among all.
    pub source: usize,
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
    /// The control stanzas of what is there already.
    pub installed: &'a [String],
    /// Whether that stays as it is, whatever is wished for.
    pub firm: bool,
    /// Packages by name that are wanted before any wish: a base's.
    pub roots: &'a [String],
    /// What is wished for, and what is to be left out.
    pub wishes: &'a [&'a Wish],
    /// Versions that packages, by name, keep as far as they can: the lock's.
    pub keep: &'a BTreeMap<String, String>,
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
        ("status".into(), status(problem).into_bytes()),
        ("extended_states".into(), Vec::new()),
    ];
    let mut sources = String::new();
    // Names of our own: those of an archive may be anything, and apt knows a suite by its Release file.
    for (number, list) in problem.lists.iter().enumerate() {
        let source = list.source;
        let _ = writeln!(sources, "deb [trusted=yes] http://a{source} suite part{number}");
        let stem = format!("lists/a{source}_dists_suite");
        let release = format!("{stem}_Release");
        if !files.iter().any(|(path, _)| *path == release) {
            files.push((release, list.release.clone().into_bytes()));
        }
        let packages = format!("{stem}_part{number}_binary-{}_Packages", problem.arch);
        files.push((packages, list.packages.to_vec()));
    }
    files.push(("sources.list".into(), sources.into_bytes()));
    files
}

/// The command that answers, with its arguments.
pub fn command(problem: &Problem<'_>) -> Vec<String> {
    let mut command: Vec<String> = ["apt-get", "--simulate", "install"].map(String::from).to_vec();
    if !problem.firm {
        command.extend(["--allow-downgrades", "--allow-remove-essential"].map(String::from));
    }
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
    /// Packages that are there and would change, by name: the version that takes their place, or none.
    pub disturbed: BTreeMap<String, Option<String>>,
}

/// Reads what `apt-get --simulate` printed: lines such as
/// `Inst NAME[:ARCH] [OLD] (VERSION ORIGIN [ARCH]) …` and `Remv NAME [OLD]`.
pub fn read_answer(text: &str) -> Answer {
    let mut answer = Answer::default();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("Remv ") {
            answer.disturbed.extend(rest.split(' ').next().map(|name| (bare(name), None)));
        } else if let Some((name, rest)) = line.strip_prefix("Inst ").and_then(|rest| rest.split_once(' ')) {
            let Some(package) = installed(name, rest) else { continue };
            if rest.starts_with('[') {
                answer.disturbed.insert(package.0.clone(), Some(package.1.clone()));
            }
            answer.install.push(package);
        }
    }
    answer
}

/// What apt complains about, its own words, without what it always says.
pub fn complaints(text: &str) -> Vec<String> {
    let idle = ["Reading ", "Building ", "Note, ", "Some packages could not", "requested an"];
    let idle_too = [
        "or been moved out",
        "distribution that some",
        "The following information may",
        "or if you are",
        "E: Unable to correct problems",
    ];
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
    let stated = |name: &str| {
        let mut wishes = problem.wishes.iter().filter(|wish| bare(&wish.name.value) == name);
        wishes.any(|wish| wish.version.is_some() || wish.suite.is_some())
    };
    for (name, version) in problem.keep.iter().filter(|(name, _)| !stated(name)) {
        let _ = writeln!(text, "Package: {name}\nPin: version {version}\nPin-Priority: 1001\n");
    }
    for wish in problem.wishes.iter().filter(|wish| wish.out) {
        let _ = writeln!(text, "Package: {}\nPin: release *\nPin-Priority: -1\n", wish.name.value);
    }
    text
}

/// dpkg's status file with what is there.
fn status(problem: &Problem<'_>) -> String {
    let mut text = String::new();
    let want = if problem.firm { "hold" } else { "install" };
    for stanza in problem.installed {
        let lines = stanza.lines().filter(|line| !line.starts_with("Status:") && !line.is_empty());
        let mut lines = lines.map(|line| format!("{line}\n"));
        text.extend(lines.next());
        let _ = writeln!(text, "Status: {want} ok installed");
        text.extend(lines);
        text.push('\n');
    }
    text
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
        let disturbed = [("apt".to_string(), Some("3.0.3".to_string())), ("nano".to_string(), None)];
        assert_eq!(answer.disturbed, BTreeMap::from(disturbed));
    }

    fn problem<'a>(installed: &'a [String], keep: &'a BTreeMap<String, String>) -> Problem<'a> {
        Problem {
            arch: "amd64",
            lists: &[],
            installed,
            firm: true,
            roots: &[],
            wishes: &[],
            keep,
            recommends: false,
        }
    }

    #[test]
    fn the_status_keeps_what_is_there() {
        let (installed, keep) = (["Package: a\nVersion: 1\n".to_string()], BTreeMap::new());
        let firm = problem(&installed, &keep);
        assert_eq!(status(&firm), "Package: a\nStatus: hold ok installed\nVersion: 1\n\n");
        let loose = Problem { firm: false, ..firm };
        assert_eq!(status(&loose), "Package: a\nStatus: install ok installed\nVersion: 1\n\n");
    }

    #[test]
    fn each_index_has_a_list_of_its_own() {
        let list = |source: usize, packages: &'static str| List {
            source,
            release: format!("Codename: {source}\n"),
            packages: packages.as_bytes(),
        };
        let keep = BTreeMap::from([("nano".to_string(), "1:2".to_string())]);
        let lists = [list(0, "one"), list(0, "two"), list(1, "three")];
        let files = files(&Problem { lists: &lists, ..problem(&[], &keep) });
        let file = |name: &str| {
            let found = files.iter().find(|(path, _)| path == name).unwrap();
            String::from_utf8(found.1.clone()).unwrap()
        };
        assert_eq!(file("lists/a0_dists_suite_part1_binary-amd64_Packages"), "two");
        assert_eq!(file("lists/a1_dists_suite_Release"), "Codename: 1\n");
        assert!(file("sources.list").ends_with("deb [trusted=yes] http://a1 suite part2\n"));
        assert_eq!(file("preferences"), "Package: nano\nPin: version 1:2\nPin-Priority: 1001\n\n");
    }

    #[test]
    fn what_apt_complains_of_is_kept_whole() {
        let text = "Reading package lists...\nSome packages could not be installed. This may mean that you have\n\
                    requested an impossible situation\nThe following packages have unmet dependencies:\n \
                    one : Depends: two\n       Conflicts: three\nE: Unable to correct problems, you have held broken packages.\n";
        let kept = [
            "The following packages have unmet dependencies:",
            " one : Depends: two",
            "       Conflicts: three",
        ];
        assert_eq!(complaints(text), kept);
    }
}
