//! Other tools' ways with scripts, held against those tools: Debian's run-parts, `dib-run-parts`, diskimage-builder.
//!
//! Of diskimage-builder, Debian has only `dib-run-parts`; the rest is asked for where it was installed with pip, into
//! `target/diskimage-builder` or for `python3` as a whole (`.ci/test` does the first).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use imgbuild::fault::{Faults, Place, Source};
use imgbuild::hooks::element::{self, Element, Part, Shelf, part, resolve};
use imgbuild::hooks::names::{Dialect, Entry, What, environment};
use imgbuild::hooks::order;
use imgbuild::hooks::package_installs::{self, Conditions, Outcome, Wanted};
use imgbuild::hooks::pkg_map::{PackageNames, ServiceNames, System};
use imgbuild::lang::Spanned;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tools::tool;

/// Folders that each order is compared in.
const FOLDERS: u64 = 250;

#[test]
fn run_parts_runs_the_same_scripts_in_the_same_order() {
    let Some(program) = tool("run-parts", "debianutils") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut ran = 0;
    for seed in 0..FOLDERS {
        let path = folder.path().join(seed.to_string());
        fill(&path, &mut StdRng::seed_from_u64(seed), b"");
        let entries = entries(&path);
        let run = Dialect::RunParts.select(&entries).run;
        assert_eq!(run, said(Command::new(&program).arg("--test").arg(&path), &path), "seed {seed}");
        assert_eq!(run, Dialect::List.select(&entries).run);
        let mut named: Vec<Vec<u8>> = entries
            .into_iter()
            .filter(|entry| entry.what == What::File && Dialect::RunParts.counts(&entry.name))
            .map(|entry| entry.name)
            .collect();
        named.sort();
        assert_eq!(named, said(Command::new(&program).arg("--list").arg(&path), &path), "seed {seed}");
        ran += run.len();
    }
    assert!(ran > 1000, "{ran} scripts are too few to tell");
}

#[test]
fn dib_run_parts_runs_the_same_scripts_in_the_same_order() {
    let Some(program) = tool("dib-run-parts", "python3-dib-utils") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (mut ran, mut differing) = (0, 0);
    for seed in 0..FOLDERS {
        let path = folder.path().join(seed.to_string());
        // A name with a line feed in it is two names to this program.
        fill(&path, &mut StdRng::seed_from_u64(seed), b"\n");
        let entries = entries(&path);
        let run = Dialect::Dib.select(&entries).run;
        assert_eq!(run, said(Command::new(&program).arg("--list").arg(&path), &path), "seed {seed}");
        differing += usize::from(run != Dialect::RunParts.select(&entries).run);
        ran += run.len();
    }
    assert!(ran > 1000 && differing > 100, "{ran} scripts, {differing} other orders: too few to tell");
}

#[test]
fn dib_run_parts_reads_the_same_environment() {
    let Some(program) = tool("dib-run-parts", "python3-dib-utils") else { return };
    for seed in 0..40 {
        let folder = tempfile::tempdir().unwrap();
        let (path, log) = (folder.path().join("environment.d"), folder.path().join("log"));
        fill(&path, &mut StdRng::seed_from_u64(seed), b"\n");
        let entries = entries(&path);
        for (number, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.what == What::File) {
            let text = format!("echo {number} >> {}\n", log.display());
            let file = path.join(OsStr::from_bytes(&entry.name));
            // A link leads to another entry's file: it is to say its own number.
            fs::remove_file(&file).unwrap();
            fs::write(&file, text).unwrap();
        }
        fs::create_dir(folder.path().join("install.d")).unwrap();
        let mut command = Command::new(&program);
        tools::answer(command.arg(folder.path().join("install.d")).env("LC_ALL", "C"));
        let read = fs::read_to_string(&log).unwrap_or_default();
        let read: Vec<&Vec<u8>> =
            read.lines().map(|number| &entries[number.parse::<usize>().unwrap()].name).collect();
        assert_eq!(environment(&entries).run.iter().collect::<Vec<_>>(), read, "seed {seed}");
    }
}

#[test]
fn elements_come_to_the_same_as_in_diskimage_builder() {
    let Some(builder) = Builder::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut cases = Vec::new();
    for seed in 0..400 {
        let path = folder.path().join(seed.to_string());
        cases.push((vec![path.clone()], generate_elements(&path, &mut StdRng::seed_from_u64(seed))));
    }
    let own = builder.elements();
    let names = folders(&own);
    let mut random = StdRng::seed_from_u64(1);
    let systems = ["debian", "debian-minimal", "ubuntu", "ubuntu-minimal", "fedora", "opensuse", "gentoo"];
    for _ in 0..200 {
        let count = random.gen_range(0..5);
        let mut wanted: Vec<String> = names.choose_multiple(&mut random, count).cloned().collect();
        let system = systems.choose(&mut random).unwrap().to_string();
        wanted.retain(|name| *name != system);
        wanted.push(system);
        cases.push((vec![own.clone()], wanted));
    }
    let task = |(path, wanted): &(Vec<PathBuf>, Vec<String>)| json!({"what": "resolve", "path": path, "wanted": wanted});
    let answers = builder.ask(&cases.iter().map(task).collect::<Vec<Value>>());
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    for ((path, wanted), ends) in cases.iter().zip(&answers) {
        *met.entry(check_resolved(path, wanted, ends.as_array().unwrap())).or_default() += 1;
    }
    assert!(met.values().all(|count| *count >= 10) && met.len() == 4, "too little was met: {met:?}");
}

#[test]
fn packages_are_asked_for_as_in_diskimage_builder() {
    let Some(builder) = Builder::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut cases: Vec<(PathBuf, Vec<String>, BTreeMap<String, String>)> = Vec::new();
    for seed in 0..300 {
        let path = folder.path().join(seed.to_string());
        let mut random = StdRng::seed_from_u64(seed);
        let elements = generate_packages(&path, &mut random);
        cases.push((path, elements, variables(&mut random)));
    }
    let own = builder.elements();
    for element in folders(&own) {
        for seed in 0..3 {
            cases.push((own.clone(), vec![element.clone()], variables(&mut StdRng::seed_from_u64(seed))));
        }
    }
    let task = |(path, elements, variables): &(PathBuf, Vec<String>, BTreeMap<String, String>)| json!({"what": "squash", "path": path, "elements": elements, "environment": variables});
    let answers = builder.ask(&cases.iter().map(task).collect::<Vec<Value>>());
    let (mut packages, mut errors) = (0, 0);
    for ((path, elements, variables), answer) in cases.iter().zip(&answers) {
        let ours = packages_asked_for(path, elements, variables);
        let theirs: Option<BTreeSet<String>> = answer.get("lines").map(|lines| {
            lines.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_string()).collect()
        });
        packages += theirs.as_ref().map_or(0, BTreeSet::len);
        errors += usize::from(theirs.is_none());
        assert_eq!(
            ours.as_ref().ok(),
            theirs.as_ref(),
            "{path:?} {elements:?} {variables:?}\n{ours:?}\n{answer}"
        );
    }
    assert!(packages > 1000 && errors > 5, "{packages} packages and {errors} errors are too few to tell");
}

#[test]
fn names_are_looked_up_as_in_diskimage_builder() {
    let Some(builder) = Builder::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut files: Vec<PathBuf> = (0..20)
        .map(|seed| {
            let file = folder.path().join(seed.to_string());
            fs::write(&file, generate_map(&mut StdRng::seed_from_u64(seed)).to_string()).unwrap();
            file
        })
        .collect();
    let own = builder.elements();
    files.extend(
        folders(&own).iter().map(|name| own.join(name).join("pkg-map")).filter(|file| file.is_file()),
    );
    let mut cases = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let names: BTreeSet<&str> = text.split('"').skip(1).step_by(2).chain(["none"]).collect();
        for (distribution, release) in
            [("debian", "trixie"), ("ubuntu", "noble"), ("centos", "8-stream"), ("plan9", "4")]
        {
            cases.extend(names.iter().map(|name| (file.clone(), distribution, release, name.to_string())));
        }
    }
    let task = |(file, distribution, release, name): &(PathBuf, &str, &str, String)| json!({"what": "names", "file": file, "distribution": distribution, "release": release, "name": name});
    let answers = builder.ask(&cases.iter().map(task).collect::<Vec<Value>>());
    for ((file, distribution, release, name), answer) in cases.iter().zip(&answers) {
        let mut faults = Faults::new();
        let map = PackageNames::read(&source(file), &mut faults);
        assert!(!faults.has_errors(), "{file:?}: {faults:#?}");
        let ours = map.packages(name, System { distribution, release: Some(release) }).join(" ");
        let theirs: Vec<&str> =
            answer["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        assert_eq!(ours, theirs.join(" "), "{file:?} {distribution} {release} {name}");
    }
    assert!(cases.len() > 1000, "{} names are too few to tell", cases.len());
}

#[test]
fn services_are_called_as_in_diskimage_builder() {
    let Some(builder) = Builder::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut tasks = Vec::new();
    for seed in 0..30 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut text = String::new();
        for number in 0..random.gen_range(1..6) {
            text.push_str(&format!("service-{number}:"));
            let keys = ["default", "debian", "ubuntu", "redhat", "fedora", "suse"];
            let count = random.gen_range(0..4);
            let names = keys.choose_multiple(&mut random, count).map(|key| format!("{key}: {key}-{number}"));
            text.push_str(&format!(" {{{}}}\n", names.collect::<Vec<_>>().join(", ")));
        }
        let file = folder.path().join(seed.to_string());
        fs::write(&file, text).unwrap();
        for distribution in ["debian", "ubuntu", "fedora", "opensuse", "plan9"] {
            tasks.push(json!({"what": "services", "file": file, "distribution": distribution}));
        }
    }
    for (task, answer) in tasks.iter().zip(builder.ask(&tasks)) {
        let mut faults = Faults::new();
        let source = source(Path::new(task["file"].as_str().unwrap()));
        let map = ServiceNames::read(&source, &mut faults);
        assert!(faults.list.is_empty(), "{faults:#?}");
        assert_eq!(json!(map.services(task["distribution"].as_str().unwrap())), answer, "{}", source.text);
    }
}

#[test]
fn the_elements_of_diskimage_builder_have_parts_that_are_known() {
    let Some(builder) = Builder::find() else { return };
    let own = builder.elements();
    let mut met = BTreeSet::new();
    for name in folders(&own) {
        let inside: Vec<(String, bool)> = fs::read_dir(own.join(&name))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.path().is_dir()))
            .collect();
        let listed = || inside.iter().map(|(name, is_folder)| (name.as_str(), *is_folder));
        for (name, is_folder) in listed() {
            let part = part(name, is_folder);
            let scripts = matches!(part, Part::Scripts(_) | Part::Foreign(_));
            let data = ["dracut.conf.d", "modprobe.d", "yum.repos.d"];
            assert!(!is_folder || !name.ends_with(".d") || scripts || data.contains(&name), "{name}");
            met.insert(format!("{part:?}"));
        }
        let common = |name: &str| name.starts_with("README") || name.starts_with("__") || name == "bin";
        let bare = listed().all(|(name, _)| common(name));
        assert!(bare || element::is_element(listed()) || name == "containerfile", "{name}");
    }
    assert!(met.len() > 15, "{met:?}");
}

#[test]
fn texts_that_nobody_would_write_are_faults_and_nothing_worse() {
    let mut random = StdRng::seed_from_u64(7);
    let variables = variables(&mut random);
    let conditions = Conditions { arch: "amd64", variables: &variables, install_type: "source" };
    let tokens = [
        "a",
        "- ",
        ": ",
        "? ",
        "\n",
        "\n  ",
        "\n    ",
        "\t",
        " ",
        "&x ",
        "*x",
        "<<: ",
        "!!str ",
        "!<x> ",
        "%YAML 1.2\n",
        "---\n",
        "...\n",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\"",
        "'",
        "\\",
        "\\x4",
        "\\ud800",
        "|",
        ">",
        "-",
        "+",
        "2",
        "#",
        "@",
        "`",
        "ä",
        "\u{feff}",
        "\u{85}",
        "\u{2028}",
        "\0",
        "\r",
        "phase: install.d",
        "when: DIB_A = 1",
        "null",
        "true",
    ];
    let whole = |random: &mut StdRng| match random.gen_range(0..3) {
        0 => generate_package_installs(false, random),
        1 => generate_map(random).to_string(),
        _ => String::new(),
    };
    for _ in 0..20_000 {
        let mut text: Vec<char> = whole(&mut random).chars().collect();
        for _ in 0..random.gen_range(1..20) {
            let at = random.gen_range(0..=text.len());
            if random.gen_bool(0.2) {
                text.truncate(at);
            } else {
                text.splice(at..at, tokens.choose(&mut random).unwrap().chars());
            }
        }
        let source = Source::new("package-installs.json", text.into_iter().collect::<String>());
        let mut faults = Faults::new();
        package_installs::read("e", &source, &conditions, &mut faults);
        PackageNames::read(&source, &mut faults);
        ServiceNames::read(&source, &mut faults);
        order::names(&source, &mut faults);
        Element::new("e", Some(&source), Some(&source));
        for fault in &faults.list {
            assert!(fault.help.as_ref().is_some_and(|help| !help.is_empty()), "{fault:#?}");
            let unfit = |letter: char| letter.is_control() && letter != '\t';
            assert!(!fault.labels.is_empty() && !fault.message.contains(unfit), "{fault:#?}");
        }
    }
}

/// diskimage-builder, as its own Python modules.
struct Builder {
    python: PathBuf,
}

impl Builder {
    fn find() -> Option<Builder> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/diskimage-builder/bin/python3");
        let common = ["/usr/local/bin/python3", "/usr/bin/python3"].map(PathBuf::from);
        let found = [own].into_iter().chain(common).find(|python| {
            let mut command = Command::new(python);
            command.args(["-c", "import diskimage_builder.element_dependencies"]);
            command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        });
        if found.is_none() {
            // Not `tools::skip`: Debian does not have it, so that it is no part of what tests can insist on.
            eprintln!("skipped: this machine lacks diskimage-builder (PyPI: diskimage-builder)");
        }
        found.map(|python| Builder { python })
    }

    /// The answers to these tasks, in their order.
    fn ask(&self, tasks: &[Value]) -> Vec<Value> {
        let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialects/driver.py");
        let mut command = Command::new(&self.python);
        command.arg("-B").arg(driver).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stdin, text) = (child.stdin.take().unwrap(), json!(tasks).to_string());
        let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{err}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The folder of its own elements.
    fn elements(&self) -> PathBuf {
        let answers = self.ask(&[json!({"what": "elements"})]);
        PathBuf::from(answers[0].as_str().unwrap())
    }
}

/// A folder of elements.
struct Folder<'a>(&'a Path);

impl Shelf for Folder<'_> {
    fn element(&self, name: &str) -> Result<Option<Element>, Faults> {
        let folder = self.0.join(name);
        let read =
            |file: &str| Some(folder.join(file)).filter(|file| file.is_file()).map(|file| source(&file));
        let (depends, provides) = (read("element-deps"), read("element-provides"));
        Ok(folder.is_dir().then(|| Element::new(name, depends.as_ref(), provides.as_ref())))
    }

    fn names(&self) -> Vec<String> {
        folders(self.0)
    }
}

/// Holds what a choice comes to against all the ways in which it can end there; says which kind of end was met.
fn check_resolved(path: &[PathBuf], wanted: &[String], ends: &[Value]) -> &'static str {
    let list = Source::new("wanted", wanted.join("\n"));
    let place = Place::new(&list, 0..1);
    let spanned: Vec<Spanned<String>> =
        wanted.iter().map(|name| Spanned::new(name.clone(), &place)).collect();
    let shelf = Folder(&path[0]);
    let told = || format!("{path:?} {wanted:?}\n{ends:?}");
    match resolve(&spanned, &[], &shelf) {
        Ok(resolved) => {
            assert_eq!(in_order(&resolved.elements), None, "{}", told());
            let names: BTreeSet<&str> =
                resolved.elements.iter().map(|element| element.name.as_str()).collect();
            if ends.contains(&json!({"elements": names})) {
                return if ends.len() > 1 { "one of several ends" } else { "elements" };
            }
            // What nothing has is an error there although an element that was looked at later provides it.
            let provided = |end: &Value| {
                let missing = end["missing"].as_str().unwrap_or_else(|| panic!("{}\n{names:?}", told()));
                resolved
                    .elements
                    .iter()
                    .any(|element| element.provides.iter().any(|name| name.value == missing))
            };
            assert!(ends.iter().any(provided), "{}\n{names:?}", told());
            "one of several ends"
        }
        Err(faults) => {
            let failed = |end: &Value| end.get("elements").is_none();
            assert!(ends.iter().any(failed), "{}\n{faults:?}", told());
            let missing = faults.list.iter().any(|fault| fault.message.starts_with("there is no element"));
            if missing { "missing" } else { "provided" }
        }
    }
}

/// The first need that is met too late, where it could be met: an element that needs another that does not need it.
fn in_order(elements: &[Element]) -> Option<(&str, &str)> {
    let by_name: BTreeMap<&str, (usize, &Element)> = elements
        .iter()
        .enumerate()
        .map(|(number, element)| (element.name.as_str(), (number, element)))
        .collect();
    let reaches = |from: &str, to: &str| {
        let (mut seen, mut queue) = (BTreeSet::from([from.to_string()]), vec![from.to_string()]);
        while let Some(name) = queue.pop() {
            for needed in by_name.get(name.as_str()).into_iter().flat_map(|(_, element)| &element.depends) {
                if needed.value == to {
                    return true;
                }
                if seen.insert(needed.value.clone()) {
                    queue.push(needed.value.clone());
                }
            }
        }
        false
    };
    for (number, element) in elements.iter().enumerate() {
        for needed in &element.depends {
            if let Some((other, (at, needed))) = by_name.get_key_value(needed.value.as_str())
                && *at > number
                && !reaches(&needed.name, &element.name)
                && elements.iter().all(|element| element.provides.is_empty())
            {
                return Some((&element.name, other));
            }
        }
    }
    None
}

/// What elements install and remove, in the words of the driver; or what is wrong with their files.
fn packages_asked_for(
    path: &Path,
    elements: &[String],
    variables: &BTreeMap<String, String>,
) -> Result<BTreeSet<String>, Faults> {
    let install_type = &variables["DIB_DEFAULT_INSTALLTYPE"];
    let conditions = Conditions { arch: &variables["ARCH"], variables, install_type };
    let mut faults = Faults::new();
    let mut wanted = Vec::new();
    for element in elements {
        for file in ["package-installs.json", "package-installs.yaml"] {
            let file = path.join(element).join(file);
            if file.exists() {
                wanted.extend(package_installs::read(element, &source(&file), &conditions, &mut faults));
            }
        }
    }
    if faults.has_errors() {
        return Err(faults);
    }
    let line = |wanted: &Wanted, what: &str| {
        format!("{} {what} {} {}", wanted.phase.folder(), wanted.package.value, wanted.element)
    };
    let lines = package_installs::settle(wanted).into_iter().flat_map(|wanted| match wanted.outcome {
        Outcome::Install => vec![line(&wanted, "install")],
        Outcome::LeaveOut => vec![line(&wanted, "uninstall")],
        Outcome::BuildOnly => vec![line(&wanted, "install"), line(&wanted, "uninstall")],
    });
    Ok(lines.collect())
}

/// A folder with entries of all kinds under names of all kinds of bytes, but for those in `without`.
fn fill(folder: &Path, random: &mut StdRng, without: &[u8]) {
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("target"), "").unwrap();
    for _ in 0..random.gen_range(0..25) {
        let name = name(random);
        if name.iter().any(|byte| without.contains(byte)) {
            continue;
        }
        let path = folder.join(OsStr::from_bytes(&name));
        if fs::symlink_metadata(&path).is_ok() {
            continue;
        }
        match random.gen_range(0..20) {
            0 => fs::create_dir(&path).unwrap(),
            1 => symlink("nowhere", &path).unwrap(),
            2 => symlink(".", &path).unwrap(),
            3 => symlink("target", &path).unwrap(),
            4 => {
                let mode = rustix::fs::Mode::from_raw_mode(0o755);
                rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            }
            _ => {
                fs::write(&path, ["", "#!/bin/sh\n", "x=1\n"][random.gen_range(0..3)]).unwrap();
                let mode = [0o755, 0o755, 0o755, 0o700, 0o744, 0o644, 0o600][random.gen_range(0..7)];
                fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            }
        }
    }
    let mode = if random.gen_bool(0.5) { 0o755 } else { 0o644 };
    fs::set_permissions(folder.join("target"), PermissionsExt::from_mode(mode)).unwrap();
}

/// A name: most look like a script's, some have anything in them.
fn name(random: &mut StdRng) -> Vec<u8> {
    let mut name = Vec::new();
    if random.gen_bool(0.2) {
        name.extend(b"-");
    }
    if random.gen_bool(0.7) {
        let digits = *[1, 1, 2, 2, 2, 3, 20].choose(random).unwrap();
        name.extend((0..digits).map(|_| *b"0012345699".choose(random).unwrap()));
    }
    let palette: &[u8] = match random.gen_range(0..10) {
        0 => b".~# +=,:@\\$*?'\"\xc3\xa4\xff\x01\t\nabz",
        1 => b".bash-_",
        _ => b"abzABZ019-_",
    };
    name.extend((0..random.gen_range(0..6)).map(|_| *palette.choose(random).unwrap()));
    if random.gen_bool(0.1) {
        name.extend(*[b".sh".as_slice(), b"~", b".bak", b".dpkg-old"].choose(random).unwrap());
    }
    if name.is_empty() || name == b"." || name == b".." { b"x".to_vec() } else { name }
}

/// What is known of the entries of a folder.
fn entries(folder: &Path) -> Vec<Entry> {
    let entry = |entry: fs::DirEntry| {
        let path = entry.path();
        let metadata = fs::metadata(&path).ok();
        let what = match &metadata {
            None => What::Dangling,
            Some(metadata) if metadata.is_file() => What::File,
            Some(metadata) if metadata.is_dir() => What::Folder,
            Some(_) => What::Other,
        };
        Entry {
            name: entry.file_name().into_vec(),
            what,
            executable: metadata.is_some_and(|metadata| metadata.permissions().mode() & 0o111 != 0),
            interpreted: what == What::File && fs::read(&path).unwrap().starts_with(b"#!"),
        }
    };
    fs::read_dir(folder).unwrap().map(|found| entry(found.unwrap())).collect()
}

/// The names in the folder that a program says, a line each. It may complain of links to nothing.
fn said(command: &mut Command, folder: &Path) -> Vec<Vec<u8>> {
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output().unwrap();
    let prefix = [folder.as_os_str().as_bytes(), b"/"].concat();
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| line.strip_prefix(prefix.as_slice()).expect("a path").to_vec()).collect()
}

/// Elements that need and provide each other at random; gives a choice of them.
fn generate_elements(folder: &Path, random: &mut StdRng) -> Vec<String> {
    let count = random.gen_range(2..8);
    let names: Vec<String> = (0..count).map(|number| format!("e{number}")).collect();
    let virtual_names = ["v0", "v1"].map(String::from);
    for name in &names {
        let element = folder.join(name);
        fs::create_dir_all(&element).unwrap();
        let needs = random.gen_range(0..3);
        let mut needed: Vec<String> = names.choose_multiple(random, needs).cloned().collect();
        if random.gen_bool(0.2) {
            needed.push(virtual_names.choose(random).unwrap().clone());
        }
        if random.gen_bool(0.02) {
            needed.push("none".into());
        }
        if random.gen_bool(0.4) {
            // What `p0` provides has needs of its own, or is nothing: it matters which of the two is looked at first.
            needed.extend(["p0".into(), "q0".into()]);
        }
        if !needed.is_empty() {
            let blank = ["\n", "\n\n", " \n  "].choose(random).unwrap();
            fs::write(element.join("element-deps"), needed.join(blank)).unwrap();
        }
        if random.gen_bool(0.15) {
            let provided = virtual_names.iter().chain(&names).collect::<Vec<_>>();
            fs::write(element.join("element-provides"), provided.choose(random).unwrap()).unwrap();
        }
    }
    fs::create_dir_all(folder.join("p0")).unwrap();
    fs::write(folder.join("p0/element-provides"), "q0\n").unwrap();
    if random.gen_bool(0.5) {
        fs::create_dir_all(folder.join("q0")).unwrap();
        fs::write(folder.join("q0/element-deps"), &names[0]).unwrap();
    }
    fs::create_dir_all(folder.join("os")).unwrap();
    fs::write(folder.join("os/element-provides"), "operating-system\n").unwrap();
    let count = random.gen_range(1..3);
    let mut wanted: Vec<String> = names.choose_multiple(random, count).cloned().collect();
    wanted.push("os".into());
    wanted
}

/// Elements that ask for packages in all kinds of ways; gives their names.
///
/// Not among them is what this program does otherwise: a package that is both removed and asked for under a condition.
fn generate_packages(folder: &Path, random: &mut StdRng) -> Vec<String> {
    let elements: Vec<String> = (0..random.gen_range(1..4)).map(|number| format!("e-{number}")).collect();
    for element in &elements {
        fs::create_dir_all(folder.join(element)).unwrap();
        for (file, likely) in [("package-installs.json", 0.3), ("package-installs.yaml", 0.9)] {
            if random.gen_bool(likely) {
                let text = generate_package_installs(file.ends_with("json"), random);
                fs::write(folder.join(element).join(file), text).unwrap();
            }
        }
    }
    elements
}

fn generate_package_installs(json: bool, random: &mut StdRng) -> String {
    let mut packages = serde_json::Map::new();
    for number in 0..8 {
        if random.gen_bool(0.5) {
            continue;
        }
        let entry = |random: &mut StdRng| if number < 4 { removal(random) } else { condition(random) };
        let value = match random.gen_range(0..6) {
            0 => Value::Null,
            1 => Value::Array((0..random.gen_range(0..3)).map(|_| entry(random)).collect()),
            _ => entry(random),
        };
        packages.insert(format!("package{number}"), value);
    }
    if json {
        return serde_json::to_string_pretty(&packages).unwrap().replace("  ", "\t");
    }
    let mut text = String::from(if packages.is_empty() { "{}\n" } else { "# packages\n" });
    for (name, value) in packages {
        match value {
            Value::Null => text.push_str(&format!("{name}:\n")),
            Value::Object(words) if !words.is_empty() => {
                text.push_str(&format!("{name}:\n"));
                for (word, value) in words {
                    let value = match value {
                        Value::Bool(true) => String::from("True"),
                        Value::String(text) if random.gen_bool(0.5) => text,
                        value => value.to_string(),
                    };
                    text.push_str(&format!("  {word}: {value}\n"));
                }
            }
            value => text.push_str(&format!("{name}: {value}\n")),
        }
    }
    text
}

fn removal(random: &mut StdRng) -> Value {
    let mut words = serde_json::Map::new();
    if random.gen_bool(0.3) {
        words.insert("uninstall".into(), json!(true));
    }
    if random.gen_bool(0.3) {
        words.insert("build-only".into(), json!(true));
    }
    if random.gen_bool(0.3) {
        words.insert("phase".into(), json!(phase(random)));
    }
    Value::Object(words)
}

fn condition(random: &mut StdRng) -> Value {
    let mut words = serde_json::Map::new();
    if random.gen_bool(0.3) {
        words.insert("phase".into(), json!(phase(random)));
    }
    if random.gen_bool(0.3) {
        let word = ["arch", "not-arch"].choose(random).unwrap();
        let list = ["amd64", "arm64", "amd64,arm64", "ppc64,s390x"].choose(random).unwrap();
        words.insert(word.to_string(), json!(list));
    }
    if random.gen_bool(0.2) {
        words.insert("installtype".into(), json!(["source", "package"].choose(random).unwrap()));
    }
    if random.gen_bool(0.2) {
        words.insert("dib_python_version".into(), json!(random.gen_range(2..4)));
    }
    if random.gen_bool(0.4) {
        let one = |random: &mut StdRng| {
            let variable = ["DIB_A", "DIB_B", "DIB_A", "DIB_B", "DIB_A", "DIB_NONE"].choose(random).unwrap();
            let sign = [" = ", "=", " != ", "!= ", " =", "!="].choose(random).unwrap();
            format!("{variable}{sign}{}", ["1", "x", "generic kernel"].choose(random).unwrap())
        };
        let list = (0..random.gen_range(1..3)).map(|_| one(random)).collect::<Vec<_>>();
        let said = if list.len() == 1 { json!(list[0]) } else { json!(list) };
        words.insert("when".into(), said);
    }
    Value::Object(words)
}

fn phase(random: &mut StdRng) -> &'static str {
    ["pre-install.d", "install.d", "post-install.d"].choose(random).unwrap()
}

fn variables(random: &mut StdRng) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut set = |name: &str, values: &[&str], random: &mut StdRng| {
        variables.insert(name.to_string(), values.choose(random).unwrap().to_string());
    };
    set("ARCH", &["amd64", "arm64", "ppc64"], random);
    set("DIB_A", &["1", "x", ""], random);
    set("DIB_B", &["1", "generic kernel"], random);
    set("DIB_PYTHON_VERSION", &["2", "3"], random);
    set("DIB_DEFAULT_INSTALLTYPE", &["source", "package"], random);
    set("DIB_INSTALLTYPE_e_1", &["source", "package"], random);
    set("DIB_RELEASE", &["trixie", "xenial"], random);
    variables
}

/// A `pkg-map` with tables of all kinds.
fn generate_map(random: &mut StdRng) -> Value {
    let table = |random: &mut StdRng| {
        let pairs = (0..5).filter(|_| random.gen_bool(0.5)).map(|number| {
            let value = format!("package-{}", number * 10);
            (format!("name{number}"), if number == 3 { json!("") } else { json!(value) })
        });
        Value::Object(pairs.collect())
    };
    json!({
        "default": table(random),
        "family": {"debian": table(random), "redhat": table(random)},
        "distro": {"debian": table(random), "ubuntu": table(random)},
        "release": {"ubuntu": {"noble": table(random)}, "centos": {"8": table(random)}},
    })
}

/// The names of the folders in a folder, in the order of their bytes.
fn folders(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir() && !entry.file_name().as_bytes().starts_with(b"__"))
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn source(file: &Path) -> std::sync::Arc<Source> {
    Source::new(file.display().to_string(), fs::read_to_string(file).unwrap())
}
