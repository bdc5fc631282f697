//! The same bytes, whatever was built before: projects made up by chance are edited, and after each edit a build in an
//! old cache gives what a build in a new one gives, and runs what the plan said, and nothing else.
//!
//! `IMGBUILD_TEST_SEEDS=FROM..TO` chooses other projects than the usual few, `IMGBUILD_TEST_ROUNDS` how often each is
//! edited.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod project;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File, FileTimes};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use project::{Chance, Project, difference};

/// A made-up project, and what of its manifest may change.
struct Made {
    project: Project,
    chance: Chance,
    scripts: bool,
    overlays: Vec<&'static str>,
    outputs: Vec<(&'static str, String)>,
    setup: Option<String>,
    epoch: Option<u64>,
    comment: String,
    asked_order: bool,
    greeting: String,
    /// Files that were taken away, to be put back as they were.
    away: Vec<PathBuf>,
}

/// What an edit must lead to.
#[derive(Debug, PartialEq)]
enum Expect {
    /// What a clean build says.
    Anything,
    /// No step runs.
    Nothing,
    /// Exactly this step runs.
    Only(&'static str),
}

const KINDS: &[&str] =
    &["tar", "iso", "cpio", "oci", "dir", "tar\" compression=\"xz", "tar\" compression=\"zstd"];

impl Made {
    fn new(seed: u64, scripts: bool) -> Made {
        let mut chance = Chance(seed);
        let mut overlays = vec!["plain", "kept", "packed", "loose", "shadowed"];
        if scripts {
            overlays.extend(["script", "asker", "programs"]);
        }
        chance.shuffle(&mut overlays);
        let first = *chance.one(KINDS);
        let second = *chance.one(KINDS);
        let outputs = vec![
            (first, "image".to_string()),
            (second, "qemu".to_string()),
            (*chance.one(KINDS), "lxc".to_string()),
        ];
        let mut made = Made {
            project: Project::new(),
            chance,
            scripts,
            overlays,
            outputs,
            setup: None,
            epoch: None,
            comment: String::new(),
            asked_order: false,
            greeting: "hello".into(),
            away: Vec::new(),
        };
        made.fill();
        made.manifest();
        made
    }

    /// The files of the project.
    fn fill(&mut self) {
        for folder in
            ["overlays/plain", "overlays/kept", "search1/shadowed", "search2/shadowed", "base", "extra"]
        {
            for name in ["etc/one", "etc/two", "usr/bin/tool", "srv/deep/er/file"] {
                let content = self.content();
                self.project.write(&format!("{folder}/{name}"), content);
            }
            self.project.mode(&format!("{folder}/usr/bin/tool"), 0o755);
            self.project.link(&format!("{folder}/etc/link"), "one");
        }
        self.pack("overlays-tar/packed.tar.gz");
        self.pack("overlays-tar/loose.tar");
        self.pack("base.tar");
        let content = self.content();
        self.project.write("motd", content);
        let content = self.content();
        self.project.write("input/file", content);
        if self.scripts {
            self.hook_scripts();
            self.project.write("search1/script/files/etc/scripted", "scripted");
            self.project.write("search1/script/files/etc/other", "another");
            self.project.script(
                "search1/script/tar",
                "echo \"$SETUP\" > /tmp/setup\ncp -r files /tmp/root\ncp /tmp/setup /tmp/root/etc/setup\n\
                 cat \"$INPUT\" > /tmp/root/etc/input\ntar cf \"$1\" -C /tmp/root .",
            );
            self.project.script("search1/asker/tar", "d=$($XCLUSTER ovld asked)\ntar cf \"$1\" -C \"$d\" .");
            self.project.write("search2/asked/etc/asked", "asked");
            self.project.write("search2/asked/etc/more", "more");
            self.project.script(
                "search1/programs/tar",
                "mkdir /tmp/root\n$XCLUSTER install_prog --dest=/tmp/root true\ntar cf \"$1\" -C /tmp/root .",
            );
        }
    }

    /// The scripts of hooks: they run on the host's side, so that the image needs no programs.
    fn hook_scripts(&mut self) {
        let (word, comment) = (self.chance.letters(2), self.chance.letters(2));
        self.project.script("scripts/data", &format!("# {comment}\necho {word} > data"));
        let (word, comment) = (self.chance.letters(2), self.chance.letters(2));
        self.project.script(
            "scripts/host",
            &format!("# {comment}\nmkdir -p $TARGET/etc\ncat $EXTRA_DATA/data $IN > $TARGET/etc/hooked\necho {word} $SETUP >> $TARGET/etc/hooked"),
        );
    }

    fn content(&mut self) -> String {
        let length = 1 + self.chance.below(40);
        self.chance.letters(length)
    }

    /// A tar, compressed if its name says so, of files made up.
    fn pack(&mut self, name: &str) {
        let mut tar = tar::Builder::new(Vec::new());
        for path in ["etc/packed", "etc/two", "opt/tool"] {
            let content = self.content();
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(*self.chance.one(&[0o644, 0o755, 0o600]));
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1_000_000 + self.chance.below(1000) as u64);
            tar.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        let bytes = tar.into_inner().unwrap();
        if name.ends_with("gz") {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&bytes).unwrap();
            return self.project.write(name, gzip.finish().unwrap());
        }
        self.project.write(name, bytes);
    }

    fn manifest(&mut self) {
        let mut text = format!("// {}\ninclude \"common.kdl\"\n", self.comment);
        let search = if self.asked_order { "\"search2\" \"search1\"" } else { "\"search1\" \"search2\"" };
        let _ = writeln!(text, "search {{\n    overlays {search} \"overlays\"\n}}");
        if let Some(epoch) = self.epoch {
            let _ = writeln!(text, "epoch {epoch}");
        }
        let base = if self.outputs[0].0.len().is_multiple_of(2) {
            "\"tar\" from=\"base.tar\""
        } else {
            "\"dir\" from=\"base\""
        };
        let names: String = self.overlays.iter().map(|name| format!(" \"{name}\"")).collect();
        let mut files = FILES.replace("GREETING", &self.greeting);
        if self.outputs.iter().any(|(kind, _)| *kind == "iso") {
            // The tars of a CD-ROM cannot remove anything, and asking for it is refused.
            files = files.replace("        remove \"/etc/two\"\n", "");
        }
        let _ = writeln!(text, "image \"box\" {{\n    base {base}\n    overlays{names}\n{files}");
        if self.scripts {
            text.push_str(HOOKS);
        }
        let _ = writeln!(text, "    when SETUP=\"ipv6\" {{\n        overlays \"extra\"\n    }}");
        for (kind, target) in &self.outputs {
            let output = format!("output \"{kind}\"");
            let _ = match target.as_str() {
                "image" => writeln!(text, "    {output}"),
                name => writeln!(
                    text,
                    "    hypervisor \"{name}\" {{\n        overlays \"late\"\n        {output}\n    }}"
                ),
            };
        }
        text.push_str("}\n");
        self.project.write("image.kdl", text);
        let input = if self.scripts { SCRIPT } else { "" };
        self.project.write("common.kdl", format!("{COMMON}{input}"));
        self.project.write("overlays/late/etc/late", "late");
        self.project.arguments =
            self.setup.iter().flat_map(|value| ["--set".to_string(), format!("SETUP={value}")]).collect();
    }

    /// Every regular file of the project that an overlay brings.
    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for folder in ["overlays", "search1", "search2", "base", "extra", "input"] {
            walk(&self.project.path(folder), &mut found);
        }
        found.push(self.project.path("motd"));
        found.retain(|path| !path.ends_with("tar"));
        found.sort();
        found
    }

    fn file(&mut self) -> PathBuf {
        let files = self.files();
        self.chance.one(&files).clone()
    }

    /// Changes something; says what, and what must follow from it.
    fn edit(&mut self) -> (String, Expect) {
        let number = self.chance.below(35);
        let file = self.file();
        let shown = file.strip_prefix(&self.project.root).unwrap().display().to_string();
        let said = |what: &str| (format!("{what} {shown}"), Expect::Anything);
        match number {
            0 | 1 => {
                let length = fs::metadata(&file).unwrap().len() as usize;
                fs::write(&file, self.chance.letters(length)).unwrap();
                said("other content, same size:")
            }
            2 => {
                let times = times(&file);
                let length = fs::metadata(&file).unwrap().len() as usize;
                fs::write(&file, self.chance.letters(length)).unwrap();
                set_times(&file, times);
                said("other content, same size and time:")
            }
            3 => {
                let content = self.content();
                fs::write(&file, content).unwrap();
                said("other content:")
            }
            4 => {
                let mode = fs::metadata(&file).unwrap().permissions().mode() ^ 0o111;
                fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
                said("executable or not:")
            }
            5 => {
                let mode = fs::metadata(&file).unwrap().permissions().mode() ^ 0o044;
                fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
                said("readable by others or not:")
            }
            6 => {
                let mut to = file.clone();
                to.set_file_name(self.chance.letters(5));
                if shown == "motd" || shown == "input/file" {
                    return said("nothing becomes of");
                }
                fs::rename(&file, &to).unwrap();
                said("renamed:")
            }
            7 => {
                let other = self.file();
                if other != file {
                    let between = self.project.path("between");
                    fs::rename(&file, &between).unwrap();
                    fs::rename(&other, &file).unwrap();
                    fs::rename(&between, &other).unwrap();
                }
                said("swapped with another:")
            }
            8 => {
                let folder =
                    *self.chance.one(&["overlays/plain", "overlays/kept", "base", "search1/shadowed"]);
                let target = self.chance.letters(3);
                self.project.link(&format!("{folder}/etc/link"), &target);
                (format!("other target: {folder}/etc/link"), Expect::Anything)
            }
            9 | 10 if !shown.starts_with("base/") => {
                set_times(&file, FileTimes::new().set_modified(SystemTime::UNIX_EPOCH));
                (format!("touched: {shown}"), Expect::Nothing)
            }
            11 => {
                if let Some(away) = self.away.pop() {
                    let from = self.project.outer().join("away").join(name_of(&away));
                    if away.parent().unwrap().exists() {
                        fs::rename(from, &away).unwrap();
                        return (format!("restored: {}", away.display()), Expect::Anything);
                    }
                }
                said("nothing becomes of")
            }
            12 if shown != "motd" && shown != "input/file" => {
                let away = self.project.outer().join("away");
                fs::create_dir_all(&away).unwrap();
                fs::rename(&file, away.join(name_of(&file))).unwrap();
                self.away.push(file);
                said("taken away:")
            }
            13 => {
                // Another file, same size and time, in its place.
                let times = times(&file);
                let length = fs::metadata(&file).unwrap().len() as usize;
                let other = self.project.path("between");
                fs::write(&other, self.chance.letters(length)).unwrap();
                fs::set_permissions(&other, fs::metadata(&file).unwrap().permissions()).unwrap();
                set_times(&other, times);
                if self.chance.coin() {
                    fs::rename(&other, &file).unwrap();
                } else {
                    fs::remove_file(&file).unwrap();
                    fs::hard_link(&other, &file).unwrap();
                    fs::remove_file(&other).unwrap();
                }
                said("replaced by another, same size and time:")
            }
            14 => {
                let other = self.file();
                if other != file && fs::metadata(&other).unwrap().dev() == fs::metadata(&file).unwrap().dev()
                {
                    fs::remove_file(&file).unwrap();
                    fs::hard_link(&other, &file).unwrap();
                }
                said("a hard link to another:")
            }
            15 => {
                // The same bytes in another file: a copy.
                let copy = self.project.path("between");
                fs::copy(&file, &copy).unwrap();
                fs::rename(&copy, &file).unwrap();
                said("replaced by its copy:")
            }
            16 => {
                self.setup = self
                    .chance
                    .one(&[None, Some("ipv4"), Some("ipv6"), Some("ipv4,ipv6")])
                    .map(str::to_string);
                self.manifest();
                (format!("SETUP is {:?}", self.setup), Expect::Anything)
            }
            17 => {
                let value = self.chance.letters(3);
                self.project.environment.insert("FROM_ENV".into(), value);
                ("the environment".into(), Expect::Anything)
            }
            18 => {
                self.comment = self.chance.letters(8);
                self.manifest();
                ("a comment in the manifest".into(), Expect::Nothing)
            }
            19 => {
                self.chance.shuffle(&mut self.overlays);
                self.manifest();
                (format!("the order {:?}", self.overlays), Expect::Anything)
            }
            20 => {
                self.asked_order = !self.asked_order;
                self.manifest();
                ("the search path".into(), Expect::Anything)
            }
            21 => {
                let (here, there) = ("search1/asked", "search0");
                let (here, there) = (self.project.path(here), self.project.outer().join(there));
                match here.exists() {
                    true => {
                        let _ = fs::remove_dir_all(&there);
                        fs::rename(&here, &there).unwrap();
                    }
                    false if self.scripts => self.project.write("search1/asked/etc/asked", "shadow"),
                    false => {}
                }
                ("an overlay of the same name, nearer".into(), Expect::Anything)
            }
            22 if self.scripts => {
                let name = *self.chance.one(&["script", "asker", "programs"]);
                let path = self.project.path(&format!("search1/{name}/tar"));
                let comment = self.chance.letters(6);
                File::options()
                    .append(true)
                    .open(path)
                    .unwrap()
                    .write_all(format!("\n# {comment}\n").as_bytes())
                    .unwrap();
                let step = match name {
                    "script" => "overlay:script",
                    "asker" => "overlay:asker",
                    _ => "overlay:programs",
                };
                (format!("a comment in {step}"), Expect::Only(step))
            }
            23 => {
                let packed =
                    *self.chance.one(&["overlays-tar/packed.tar.gz", "overlays-tar/loose.tar", "base.tar"]);
                self.pack(packed);
                (format!("packed anew: {packed}"), Expect::Anything)
            }
            24 => {
                self.epoch = *self.chance.one(&[None, Some(1_600_000_000), Some(1_700_000_000)]);
                self.manifest();
                (format!("the epoch is {:?}", self.epoch), Expect::Anything)
            }
            25 => {
                let number = self.chance.below(self.outputs.len());
                self.outputs[number].0 = *self.chance.one(KINDS);
                self.manifest();
                (format!("the outputs are {:?}", self.outputs), Expect::Anything)
            }
            26 | 27 => self.hurt_outputs(),
            28 | 29 => self.hurt_cache(),
            31 | 32 if self.scripts => {
                self.hook_scripts();
                ("the scripts of hooks".into(), Expect::Anything)
            }
            30 => {
                self.greeting = self.chance.letters(4);
                self.manifest();
                ("a text in the manifest".into(), Expect::Anything)
            }
            _ => {
                let content = self.content();
                let name = self.chance.letters(6);
                let folder = *self.chance.one(&[
                    "overlays/plain",
                    "overlays/kept/new",
                    "search2/shadowed",
                    "base/srv",
                ]);
                self.project.write(&format!("{folder}/{name}"), content);
                (format!("new: {folder}/{name}"), Expect::Anything)
            }
        }
    }

    fn hurt_outputs(&mut self) -> (String, Expect) {
        let mut found = Vec::new();
        walk(&self.project.path("build"), &mut found);
        found.sort();
        if found.is_empty() {
            return ("no output to hurt".into(), Expect::Anything);
        }
        let path = self.chance.one(&found).clone();
        let shown = path.strip_prefix(&self.project.root).unwrap().display().to_string();
        let how = self.chance.below(4);
        let times = times(&path);
        let mut bytes = fs::read(&path).unwrap();
        match how {
            0 => fs::remove_file(&path).unwrap(),
            1 if !bytes.is_empty() => {
                let at = self.chance.below(bytes.len());
                bytes[at] ^= 1;
                fs::write(&path, bytes).unwrap();
                set_times(&path, times);
            }
            2 => fs::write(&path, &bytes[..bytes.len() / 2]).unwrap(),
            _ => set_times(&path, FileTimes::new().set_modified(SystemTime::UNIX_EPOCH)),
        }
        (format!("an output hurt ({how}): {shown}"), Expect::Anything)
    }

    fn hurt_cache(&mut self) -> (String, Expect) {
        let room = *self.chance.one(&["layers", "records", "listings", "projects", "", "some", "some"]);
        if room == "some" {
            let mut found = Vec::new();
            walk(&self.project.cache, &mut found);
            found.sort();
            for path in found {
                if self.chance.below(4) == 0 {
                    fs::remove_file(path).unwrap();
                }
            }
            return ("some of the cache is gone".into(), Expect::Anything);
        }
        let _ = fs::remove_dir_all(self.project.cache.join("1").join(room));
        (format!("of the cache `{room}` is gone"), Expect::Anything)
    }

    /// After an edit: the plan is kept, the outputs are right, and a second build does nothing.
    fn check(&self, expect: &Expect) -> Result<(), String> {
        let plan = self.project.plan();
        let ran = self.project.build().ran;
        let of = |states: &[&str]| -> BTreeSet<String> {
            plan.iter()
                .filter(|(_, state)| states.contains(&state.as_str()))
                .map(|(id, _)| id.clone())
                .collect()
        };
        let (must, may) = (of(&["run"]), of(&["run", "maybe"]));
        if !must.is_subset(&ran) || !ran.is_subset(&may) {
            return Err(format!("planned {plan:?}, ran {ran:?}"));
        }
        match expect {
            Expect::Nothing if !ran.is_empty() => return Err(format!("needless: {ran:?}")),
            Expect::Only(step) if !ran.iter().eq([step]) => {
                return Err(format!("instead of {step} ran {ran:?}"));
            }
            _ => {}
        }
        let again = self.project.build().ran;
        if !again.is_empty() {
            return Err(format!("a second build ran {again:?}"));
        }
        let (outputs, clean) = (self.outputs(), self.project.clean());
        if outputs != clean {
            return Err(format!("not what a clean build gives:{}", difference(&outputs, &clean)));
        }
        Ok(())
    }

    /// The outputs that the manifest asks for now: others stay where they are.
    fn outputs(&self) -> std::collections::BTreeMap<String, String> {
        let mut found = self.project.outputs();
        let wanted: BTreeSet<String> = self
            .outputs
            .iter()
            .map(|(kind, target)| {
                let (kind, compression) = kind.split_once("\" compression=\"").unwrap_or((kind, ""));
                let ending = match (kind, compression) {
                    (kind, "xz") => format!("{kind}.xz"),
                    (kind, "zstd") => format!("{kind}.zst"),
                    ("oci", _) => "oci.tar".into(),
                    (kind, _) => kind.to_string(),
                };
                if target == "image" { format!("/box.{ending}") } else { format!("/box-{target}.{ending}") }
            })
            .collect();
        found.retain(|path, _| {
            wanted.iter().any(|wanted| path == wanted || path.starts_with(&format!("{wanted}/")))
        });
        found
    }
}

const FILES: &str = r#"    files {
        file "/etc/motd" from="motd"
        file "/etc/greeting" content="GREETING ${SETUP} ${FROM_ENV}\n"
        link "/etc/localtime" to="/usr/share/zoneinfo/${FROM_ENV}"
        directory "/var/made" mode="0700"
        remove "/etc/two"
    }"#;

const HOOKS: &str = r#"    hooks phase="extra-data" {
        hook "data" from="scripts/data"
    }
    hooks phase="cleanup" {
        hook "last" run="wc -c < $TARGET/etc/hooked > $TARGET/etc/length" after="host"
        hook "host" from="scripts/host" {
            env "SETUP"
            input "input/file" variable="IN"
        }
    }
"#;

const COMMON: &str = r#"variable "SETUP" default="ipv4" list=#true {
    one-of "ipv4" "ipv6"
}
variable "FROM_ENV" default="UTC" env=#true
overlay "plain" from="overlays/plain"
overlay "kept" from="overlays/kept" modes="keep" to="/kept"
overlay "packed" from="overlays-tar/packed.tar.gz"
overlay "loose" from="overlays-tar/loose.tar" owner="keep"
overlay "extra" from="extra"
"#;

const SCRIPT: &str = r#"overlay "script" {
    variables "SETUP"
    input "input/file" variable="INPUT"
}
"#;

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => walk(&entry.path(), found),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

fn name_of(path: &Path) -> String {
    path.display().to_string().replace('/', "%")
}

fn times(path: &Path) -> FileTimes {
    FileTimes::new().set_modified(fs::metadata(path).unwrap().modified().unwrap())
}

fn set_times(path: &Path, times: FileTimes) {
    File::open(path).unwrap().set_times(times).unwrap();
}

fn campaign(seeds: std::ops::Range<u64>, rounds: usize) {
    let scripts = project::sandboxes()
        && imgbuild::sandbox::Launcher::of(project::program()).images_available().is_ok();
    let mut bad = Vec::new();
    for seed in seeds {
        let mut made = Made::new(seed, scripts);
        let mut history = vec!["the first build".to_string()];
        let mut expect = Expect::Anything;
        for round in 0..=rounds {
            if round > 0 {
                let (what, must) = made.edit();
                history.push(what);
                expect = must;
            }
            if let Err(why) = made.check(&expect) {
                let last: Vec<&String> = history.iter().rev().take(4).collect();
                bad.push(format!("seed {seed}, round {round}, after {last:?}: {why}"));
                break;
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n\n"));
}

#[test]
fn an_edited_project_is_built_as_if_it_were_new() {
    let rounds = project::switch("IMGBUILD_TEST_ROUNDS").map_or(12, |rounds| rounds.parse().unwrap());
    let seeds = project::switch("IMGBUILD_TEST_SEEDS").unwrap_or("1..4".into());
    let (from, to) = seeds.split_once("..").unwrap();
    campaign(from.parse().unwrap()..to.parse().unwrap(), rounds);
}

/// A folder in which nothing matched is looked into again, though the folder around it did not change.
#[test]
fn a_file_that_comes_to_match_is_seen() {
    let project = Project::new();
    project.write(
        "image.kdl",
        "overlay \"conf\" {\n    include \"*.conf\"\n}\nimage \"box\" {\n    overlays \"conf\"\n    output \"tar\"\n}\n",
    );
    project.write("overlays/conf/etc/one.conf", "1");
    project.write("overlays/conf/etc/deep/er/readme", "no");
    for _ in 0..3 {
        project.build();
        // Until no time is of this very moment any more.
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
    project.write("overlays/conf/etc/deep/er/two.conf", "2");
    project.build();
    let (outputs, clean) = (project.outputs(), project.clean());
    assert!(outputs == clean, "{}", difference(&outputs, &clean));
}

/// What a script reads is changed after it read it: its result must not pass for one of what is there now.
#[test]
fn an_edit_while_a_script_runs_is_not_lost() {
    if !project::sandboxes() {
        return;
    }
    for (asked, edited) in [("", "overlays/slow/data"), ("$XCLUSTER ovld asked", "overlays/asked/data")] {
        let project = Project::new();
        project.write("image.kdl", "image \"box\" {\n    overlays \"slow\"\n    output \"tar\"\n}\n");
        project.write(edited, "old");
        let folder = if asked.is_empty() { "$(dirname \"$0\")".to_string() } else { format!("$({asked})") };
        project.script(
            "overlays/slow/tar",
            &format!("cd \"{folder}\"\ntar cf \"$1\" data\necho taken\nsleep 1"),
        );
        std::thread::sleep(std::time::Duration::from_millis(30));
        let child = project.start(&["build", "--json"]);
        std::thread::sleep(std::time::Duration::from_millis(700));
        project.write(edited, "new");
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stdout));
        project.build();
        let (outputs, clean) = (project.outputs(), project.clean());
        assert!(outputs == clean, "{edited}: {}", difference(&outputs, &clean));
    }
}

/// Steps that would make one layer at one time: one makes it, and the others take what became of that.
#[test]
fn what_several_make_at_once_is_made_once() {
    if !project::sandboxes() {
        return;
    }
    let images: String = ('a'..='f')
        .map(|name| {
            format!("overlay \"{name}\" from=\"slow\"\nimage \"{name}\" {{ overlays \"{name}\"; output \"tar\"; }}\n")
        })
        .collect();
    let made = |script: &str, code: i32| {
        let project = Project::new();
        project.write("overlays/low/etc/low", "x\n");
        project.script("slow/tar", script);
        project.write("image.kdl", format!("overlay \"low\"\n{images}"));
        let ended = project.run(&["build", "--json", "--jobs", "6"]);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        (project, project::Did::read(&ended.out), ended)
    };
    let count = |did: &project::Did| did.ran.iter().filter(|id| id.starts_with("overlay:")).count();
    let pack = "cd $(mktemp -d)\nmkdir etc\necho x >etc/made\ntar -cf \"$1\" etc";
    let scripts =
        [format!("sleep 1\n{pack}"), format!("low=$($XCLUSTER ovld low)\nsleep 1\ntest -d $low\n{pack}")];
    for script in &scripts {
        let (project, did, _) = made(script, 0);
        assert_eq!(count(&did), 1 + usize::from(did.ran.contains("overlay:low")), "{script}: {did:?}");
        let digests: std::collections::BTreeSet<String> =
            ('a'..='f').map(|name| project::digest(&project.path(&format!("build/{name}.tar")))).collect();
        assert_eq!(digests.len(), 1);
        assert!(project.build().ran.is_empty(), "{script}");
    }
    // One that fails is not tried again by the others.
    let (_, _, ended) = made("sleep 1\nexit 3", 1);
    assert_eq!(ended.out.matches("\"event\":\"failed\"").count(), 1, "{}", ended.out);
}

/// Whoever names a device wants it written to, which imgbuild does not do.
#[test]
fn an_output_replaces_no_device() {
    let project = Project::new();
    project.write("overlays/site/etc/motd", "x\n");
    project.write("image.kdl", "image \"box\" { overlays \"site\"; output \"tar\" path=\"pipe\"; }\n");
    let pipe = project.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let ended = project.run(&["build", "--message-format", "short"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.err.contains("is a device, a pipe or a socket, where a file is to be written [output/device]"),
        "{ended:?}"
    );
    assert!(!fs::symlink_metadata(pipe).unwrap().is_file());
}

/// Two manifests in one folder are two projects.
#[test]
fn what_another_manifest_wrote_is_not_cleaned() {
    let project = Project::new();
    project.write("overlays/site/etc/motd", "x\n");
    for (file, image) in [("image.kdl", "one"), ("other.kdl", "two")] {
        project.write(file, format!("image \"{image}\" {{ overlays \"site\"; output \"tar\"; }}\n"));
        assert_eq!(project.run(&["-f", file, "build"]).code, Some(0));
    }
    assert_eq!(project.run(&["-f", "other.kdl", "clean"]).code, Some(0));
    assert!(project.path("build/one.tar").exists() && !project.path("build/two.tar").exists());
    assert!(project.build().ran.is_empty());
    assert_eq!(project.run(&["clean"]).code, Some(0));
    assert!(!project.path("build").exists());
}

/// What whoever starts imgbuild ignores, as a shell does for what it puts into the background, no program inside ignores.
#[test]
fn programs_begin_with_signals_as_they_are() {
    if !project::sandboxes() {
        return;
    }
    let project = Project::new();
    project.script(
        "overlays/site/tar",
        "cd $(mktemp -d)\ngrep SigIgn /proc/self/status >ignored\ntar -cf \"$1\" ignored",
    );
    project.write("image.kdl", "image \"box\" { overlays \"site\"; output \"dir\"; }\n");
    let program = project.command(&["build"]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &format!("trap '' INT HUP QUIT TERM; exec {} build", project::program())]);
    shell.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = shell.current_dir(program.get_current_dir().unwrap()).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let ignored = fs::read_to_string(project.path("build/box.dir/ignored")).unwrap();
    let ignored = u64::from_str_radix(ignored.trim_start_matches("SigIgn:").trim(), 16).unwrap();
    // Above are those that the C library keeps for itself.
    assert_eq!(ignored & 0x7fff_ffff, 0, "{ignored:x}");
}

/// A link in an output's place is replaced: what it leads to is another output's.
#[test]
fn a_link_in_an_outputs_place_is_no_other_output() {
    let project = Project::new();
    project.write("overlays/site/etc/motd", "x\n");
    project.write(
        "image.kdl",
        "image \"box\" { overlays \"site\"; output \"tar\" path=\"build/one.tar\"; output \"tar\" path=\"build/latest.tar\"; }\n",
    );
    project.build();
    fs::remove_file(project.path("build/latest.tar")).unwrap();
    project.link("build/latest.tar", "one.tar");
    project.build();
    assert!(!project.path("build/latest.tar").is_symlink());
    assert!(project.build().ran.is_empty());
}
