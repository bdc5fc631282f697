//! Choosing packages as Debian's own apt does: many sets on top of a base that imgbuild built, each compared with what
//! that base's own apt says from the archive's whole, untrimmed indexes in files that apt itself fetched and named.
//!
//! Every twentieth set is compared; `IMGBUILD_TEST_SETS=1` compares every one, which takes some minutes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod project;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use imgbuild::deb::fetch::Fetcher;
use imgbuild::deb::sources;
use imgbuild::fault::{Fault, Faults};
use imgbuild::manifest::{self, Said, Texts};
use imgbuild::resolve::{self, Options, Resolved};
use imgbuild::store::{Access, Store};
use imgbuild::tree::Memory;
use imgbuild::work::{Folders, World};

use project::{Project, is_root, program, skipped, switch};

/// What both suites have. `NAME=VERSION` and `NAME/SUITE` as apt has them, `!NAME` is left out, `+` in front of all lets
/// recommended packages come along. `SUITE` stands for the suite's name.
const SETS: &str = include_str!("solving/sets");

/// Sets that are always compared: of several providers that are equal in all else, apt takes the one that its lists
/// mention first.
const ALWAYS: [&str; 1] = ["podman"];

/// Sets that cannot be had.
const IMPOSSIBLE: [&str; 6] = [
    "systemd-sysv sysvinit-core",
    "nginx !nginx-common",
    "exim4-daemon-light postfix",
    "openssh-server !openssh-sftp-server",
    "bind9 !bind9-libs",
    "git !git-man",
];

/// Where imgbuild means to differ: the set, and why.
const DIFFERENT: [(&str, &str); 0] = [];

#[test]
fn sets_on_bookworm_are_those_that_its_apt_chooses() {
    compare("bookworm");
}

#[test]
fn sets_on_trixie_are_those_that_its_apt_chooses() {
    compare("trixie");
}

/// What stands for how much a base has: the patterns with which mmdebstrap asks apt (apt-patterns(7)).
const VARIANTS: [(&str, &[&str]); 4] = [
    ("essential", &["?and(OWN, ?essential)"]),
    ("minbase", &["?and(OWN, ?or(?essential, ?priority(required)))", "apt"]),
    ("buildd", &["?and(OWN, ?or(?essential, ?priority(required)))", "apt", "build-essential"]),
    (
        "standard",
        &[
            "?and(OWN, ?or(?essential, ?priority(required), ?priority(important), ?priority(standard)))",
            "apt",
        ],
    ),
];

/// `NAME_VERSION_ARCH` of all that comes.
type Chosen = BTreeSet<String>;

fn compare(suite: &str) {
    let Some(bench) = Bench::new(suite) else { return };
    let mut wrong = Vec::new();
    let status = bench.status.clone();
    let every = switch("IMGBUILD_TEST_SETS").and_then(|every| every.parse().ok()).filter(|every| *every > 0);
    let every: usize = every.unwrap_or(20);
    let counts = |(number, set): &(usize, &str)| number % every == 0 || ALWAYS.contains(set);
    let sets = SETS.lines().enumerate().filter(counts).map(|(_, set)| set.replace("SUITE", suite));
    let sets: Vec<String> = sets.collect();
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    assert!(sets.len() >= 100 / every);

    let ours = bench.resolve(&sets, "minbase").unwrap_or_else(|faults| panic!("{}", told(&faults)));
    let theirs = bench.ask_all(&sets, &status);
    for (number, (set, theirs)) in sets.iter().zip(theirs).enumerate() {
        let ours = ours.sets.get(&format!("image s{number}")).map(|set| chosen(set)).unwrap_or_default();
        match theirs {
            Ok(theirs) if theirs == ours => {}
            Ok(theirs) => wrong.push(format!("{suite}: `{set}`: {}", difference(&ours, &theirs))),
            Err(said) => wrong.push(format!("{suite}: `{set}` cannot be had, says apt: {said}")),
        }
    }
    let excused = |line: &String| DIFFERENT.iter().any(|(set, _)| line.contains(&format!("`{set}`")));
    wrong.retain(|line| !excused(line));

    // What cannot be had is told for every set at once.
    let faults = bench.resolve(&IMPOSSIBLE, "minbase").expect_err("nothing of it can be had");
    for (number, (set, theirs)) in IMPOSSIBLE.iter().zip(bench.ask_all(&IMPOSSIBLE, &status)).enumerate() {
        assert!(theirs.is_err(), "{suite}: apt finds a way for `{set}`");
        let told = faults.list.iter().any(|fault| fault.message.contains(&format!("`s{number}`")));
        let told = told && faults.list.iter().all(|fault| !fault.labels.is_empty());
        assert!(told, "{suite}: `{set}` is not complained of: {}", self::told(&faults));
    }

    for (variant, patterns) in VARIANTS {
        let ours = bench.resolve(&["nano"], variant).unwrap_or_else(|faults| panic!("{}", told(&faults)));
        let base = ours.sets.iter().find(|(id, _)| id.starts_with("base ")).unwrap().1;
        let own = format!("?or(?archive(^{suite}$), ?codename(^{suite}$))");
        let patterns: Vec<String> = patterns.iter().map(|pattern| pattern.replace("OWN", &own)).collect();
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        match bench.ask(variant, &patterns, "", "", false) {
            Ok(theirs) if theirs == chosen(base) => {}
            Ok(theirs) => wrong.push(format!("{suite}: {variant}: {}", difference(&chosen(base), &theirs))),
            Err(said) => wrong.push(format!("{suite}: {variant}: {said}")),
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn told(faults: &Faults) -> String {
    let told = |fault: &Fault| format!("{}\n{}\n", fault.message, fault.output.join("\n"));
    faults.list.iter().map(told).collect()
}

fn chosen(set: &resolve::Set) -> Chosen {
    set.packages.iter().map(|locked| locked.deb.id()).collect()
}

fn difference(ours: &Chosen, theirs: &Chosen) -> String {
    let (more, less): (Vec<_>, Vec<_>) =
        (ours.difference(theirs).collect(), theirs.difference(ours).collect());
    format!("only here {more:?}, only apt's {less:?}")
}

/// A base that was built, and apt in it.
struct Bench {
    project: Project,
    suite: String,
    root: PathBuf,
    /// What is installed there, all of it held.
    status: String,
}

impl Bench {
    fn new(suite: &str) -> Option<Bench> {
        if !is_root() || !project::sandboxes() {
            skipped("root's rights, to change the root of apt");
            return None;
        }
        let host = sources::host(Path::new("/etc/apt"), "debian", suite, "amd64");
        if host.is_empty() {
            skipped("a mirror of Debian in /etc/apt");
            return None;
        }
        let project = Project::new();
        project.write(
            "image.kdl",
            format!("{}\noutput \"dir\" path=\"root\"\n}}\n", image("s", suite, "minbase")),
        );
        project.build();
        let root = project.path("root");
        let status = fs::read_to_string(root.join("var/lib/dpkg/status")).unwrap();
        let bench = Bench {
            suite: suite.into(),
            root,
            status: status.replace("install ok installed", "hold ok installed"),
            project,
        };
        let lines = host
            .iter()
            .map(|source| format!("deb [trusted=yes] {} {} main\n", source.mirrors[0], source.suite));
        bench.write("oracle/sources.list", &lines.collect::<String>());
        bench.write("oracle/empty", "");
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(bench.root.join("oracle").join(folder)).unwrap();
        }
        // The network is outside, and so is an apt that fetches; lists are the same for every version.
        let outside = bench.configuration(&bench.root.join("oracle"), "empty");
        bench.write("oracle/outside", &outside);
        let conf = bench.root.join("oracle/outside");
        let done = Command::new("apt-get").env("APT_CONFIG", conf).args(["-qq", "update"]).status().unwrap();
        assert!(done.success(), "apt-get update");
        Some(bench)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn configuration(&self, at: &Path, status: &str) -> String {
        let at = at.display();
        format!(
            "Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::preferences \"{at}/{status}.preferences\";\n\
             Dir::Etc::preferencesparts \"/dev/null\";\nDir::State \"{at}\";\nDir::State::lists \"{at}/lists\";\n\
             Dir::State::status \"{at}/{status}\";\nDir::State::extended_states \"{at}/none\";\n\
             Dir::Cache \"{at}/cache\";\nDir::Cache::pkgcache \"\";\nAPT::Architecture \"amd64\";\n\
             APT::Architectures {{ \"amd64\"; }};\nAPT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n\
             Acquire::Check-Date \"false\";\nDebug::NoLocking \"true\";\n"
        )
    }

    /// What apt answers for each set, two at once.
    fn ask_all(&self, sets: &[&str], status: &str) -> Vec<Result<Chosen, String>> {
        let next = AtomicUsize::new(0);
        let answers = Mutex::new(BTreeMap::new());
        let work = || {
            while let Some((number, set)) =
                Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, sets.get(at)?)))
            {
                let (recommends, words) = words(set);
                let mut preferences = String::new();
                for name in words.iter().filter_map(|word| word.strip_prefix('!')) {
                    writeln!(preferences, "Package: {name}\nPin: version *\nPin-Priority: -1\n").unwrap();
                }
                let words: Vec<&str> = words.into_iter().filter(|word| !word.starts_with('!')).collect();
                let answer = self.ask(&format!("set{number}"), &words, &preferences, status, recommends);
                answers.lock().unwrap().insert(number, answer);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(work);
            scope.spawn(work);
        });
        answers.into_inner().unwrap().into_values().collect()
    }

    /// What apt answers.
    fn ask(
        &self,
        name: &str,
        words: &[&str],
        preferences: &str,
        status: &str,
        recommends: bool,
    ) -> Result<Chosen, String> {
        self.write(&format!("oracle/{name}"), status);
        self.write(&format!("oracle/{name}.preferences"), preferences);
        self.write(&format!("oracle/{name}.conf"), &self.configuration(Path::new("/oracle"), name));
        let done = Command::new("chroot")
            .arg(&self.root)
            .args(["/usr/bin/apt-get", "--simulate", "-y", "-o"])
            .arg(format!("APT::Install-Recommends={recommends}"))
            // For apt, apt itself is essential; mmdebstrap asks it not to think so of a base.
            .args(status.is_empty().then_some("-opkgCacheGen::ForceEssential=,"))
            .args(status.is_empty().then_some("-oDir::Cache::srcpkgcache="))
            .arg("install")
            .args(words)
            .env_clear()
            .env("APT_CONFIG", format!("/oracle/{name}.conf"))
            .env("LC_ALL", "C")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .unwrap();
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).into_owned());
        }
        let text = String::from_utf8(done.stdout).unwrap();
        let come = |line: &str| {
            let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
            let inside = rest.strip_prefix('(')?.split_once(')')?.0;
            let (version, rest) = inside.split_once(' ')?;
            let arch = rest.split_once('[')?.1.trim_end_matches(']');
            Some(format!("{name}_{version}_{arch}"))
        };
        let lines = text.lines().filter(|line| line.starts_with("Inst ") || line.starts_with("Remv "));
        lines.map(|line| come(line).ok_or_else(|| format!("changes what is there: {line}"))).collect()
    }

    /// What imgbuild chooses for each set, as the images `s0`, `s1`, …
    fn resolve(&self, sets: &[&str], variant: &str) -> Result<Resolved, Faults> {
        let mut text = String::new();
        for (number, set) in sets.iter().enumerate() {
            text += &image(&format!("s{number}"), &self.suite, variant);
            let (recommends, words) = words(set);
            writeln!(text, "packages recommends=#{recommends} {{").unwrap();
            for word in words {
                let (name, version) = word.split_once('=').unwrap_or((word, ""));
                let (name, suite) = name.split_once('/').unwrap_or((name, ""));
                write!(text, "\"{name}\"").unwrap();
                [("version", version), ("suite", suite)]
                    .into_iter()
                    .filter(|(_, said)| !said.is_empty())
                    .for_each(|(word, said)| write!(text, " {word}=\"{said}\"").unwrap());
                text.push('\n');
            }
            text += "}\noutput \"tar\"\n}\n";
        }
        let name = format!("{variant}-{}.kdl", sets.len());
        self.project.write(&name, text);
        let cache = &self.project.cache;
        let folders = Folders { here: self.project.root.clone(), home: None };
        let said = Said { folders: folders.clone(), ..Said::default() };
        let store = Store::open(cache, Access::Use).unwrap();
        let read = manifest::read(&Texts::load(Path::new(&name), &folders, None), &said);
        let manifest = read.manifest.ok_or(read.faults)?;
        let world = World {
            project: self.project.root.clone(),
            manifest_files: Vec::new(),
            kept: self.project.outer().join("kept"),
            memory: Memory::new(&self.project.outer().join("memory"), false),
            store,
            epoch: manifest.epoch,
            overlay_path: Vec::new(),
            hidden: Vec::new(),
            merges: imgbuild::work::roots::Merges::default(),
            shared: imgbuild::work::Shared::default(),
            fetcher: Fetcher::new(cache.clone(), None, false),
            threads: 2,
            program: PathBuf::from(program()),
        };
        let options = Options { host_sources: PathBuf::from("/etc/apt"), ..Options::default() };
        resolve::resolve(&manifest, None, &world, &options, &AtomicBool::new(false), &|_| {})
    }
}

/// Whether recommended packages come along, and the names.
fn words(set: &str) -> (bool, Vec<&str>) {
    let plain = set.trim_start_matches('+');
    (plain.len() < set.len(), plain.split_whitespace().collect())
}

/// The start of an image.
fn image(name: &str, suite: &str, variant: &str) -> String {
    format!(
        "image \"{name}\" {{\nbase \"debian\" suite=\"{suite}\" variant=\"{variant}\" {{ components \"main\" }}\n"
    )
}
