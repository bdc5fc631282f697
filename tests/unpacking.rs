//! Packages of Debian unpacked without dpkg, as dpkg unpacks them.
//!
//! The packages come from the mirror that this machine's apt uses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod tools;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use imgbuild::deb::Deb;
use imgbuild::deb::control::Control;
use imgbuild::deb::dpkg::{self, Below, Package};
use imgbuild::deb::fetch::Fetcher;
use imgbuild::deb::unpack::{Unpacked, unpack};
use imgbuild::fault::{Place, Source};
use imgbuild::key::Digest;
use imgbuild::layer::{Kind, LayerWriter};
use imgbuild::store::{Access, Layer, Store};
use imgbuild::tree::Memory;
use imgbuild::work::{Stack, StackLayer, World};
use tools::{answer, is_root, skip, tool};

/// Times that packages have are kept up to here.
const EPOCH: i64 = 1_700_000_000;

/// What a minimal base has, and a few packages that do more when they are configured.
const BASE: &[&str] = &["apt"];
const MORE: &[&str] = &["openssh-server", "python3-minimal", "curl", "man-db"];

#[test]
fn the_database_and_the_files_are_as_dpkg_leaves_them() {
    let Some(bench) = Bench::new("bookworm") else { return };
    let (base, _) = bench.download();
    let unpacked = bench.unpack(&base);
    let packages: Vec<Package> = packages(&unpacked);
    let order = dpkg::order(&packages, &Below::default());
    assert_eq!(order.by_dpkg, [], "all of a base is unpacked as layers");
    let files = dpkg::database(&packages, &order, &Below::default());

    let real = bench.folder.path().join("real");
    bench.unpack_by_dpkg(&base, &real);
    for (path, text) in &files {
        let there = fs::read_to_string(real.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let (ours, theirs): (Vec<&str>, Vec<&str>) =
            (text.split("\n\n").collect(), there.split("\n\n").collect());
        let differing = ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs);
        assert_eq!(differing, None, "{path}");
        assert_eq!(ours.len(), theirs.len(), "{path}");
    }
    let mut stack = Stack::default();
    bench.push(&mut stack, "links", bench.links());
    for number in &order.layers {
        bench.push(&mut stack, packages[*number].name(), unpacked[*number].layer.clone());
    }
    let merged = stack.image(i64::from(u32::MAX)).unwrap();
    let mut wrong = String::new();
    for node in merged.nodes().filter(|node| !node.entry.path.is_root()) {
        let path = real.join(node.entry.path.as_os_str());
        let entry = &node.entry;
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            if entry.path.as_bytes().ends_with(b".preinst") {
                continue;
            }
            let _ = writeln!(wrong, "{}: dpkg does not have it", entry.path);
            continue;
        };
        let kind = match &entry.kind {
            Kind::Directory => metadata.is_dir(),
            Kind::Symlink(target) => {
                use std::os::unix::ffi::OsStrExt;
                fs::read_link(&path).is_ok_and(|there| there.as_os_str().as_bytes() == target)
            }
            Kind::File { digest, .. } => fs::read(&path).is_ok_and(|bytes| Digest::of(bytes) == *digest),
            Kind::Hardlink(target) => {
                metadata.ino() == fs::symlink_metadata(real.join(target.as_os_str())).unwrap().ino()
            }
            other => panic!("{other:?}"),
        };
        let mode = metadata.is_symlink() || metadata.mode() & 0o7777 == entry.mode;
        let owner = format!("{}:{}", metadata.uid(), metadata.gid());
        let owned = owner == format!("{}:{}", entry.owner.user, entry.owner.group);
        let is_list = path.extension().is_some_and(|extension| extension == "list");
        let time = metadata.is_dir() || metadata.is_symlink() || is_list || metadata.mtime() == entry.mtime;
        if !(kind && mode && owned && time) {
            let _ = writeln!(
                wrong,
                "{} {entry:?}: {:o} {owner} {}",
                entry.path,
                metadata.mode(),
                metadata.mtime()
            );
        }
    }
    // And nothing more but dpkg's own files.
    let mut todo = vec![real.clone()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(&real).unwrap();
            if entry.file_type().unwrap().is_dir() {
                todo.push(path.clone());
            }
            use std::os::unix::ffi::OsStrExt;
            let there = imgbuild::layer::EntryPath::parse(name.as_os_str().as_bytes()).unwrap();
            let known = merged.get(&there).is_some() || files.contains_key(name.to_str().unwrap_or_default());
            if !known && !of_dpkg(name.to_str().unwrap_or_default()) {
                let _ = writeln!(wrong, "{there}: only dpkg has it");
            }
        }
    }
    assert_eq!(wrong, "");
}

/// What dpkg has for itself.
fn of_dpkg(path: &str) -> bool {
    let files = ["var/lib/dpkg/status-old", "var/lib/dpkg/triggers"];
    let starts = ["var/lib/dpkg/lock", "var/lib/dpkg/triggers/"];
    files.contains(&path) || starts.iter().any(|start| path.starts_with(start))
}

/// A store, and an apt of the test's own.
struct Bench {
    suite: String,
    folder: tempfile::TempDir,
    world: World,
}

impl Bench {
    fn new(suite: &str) -> Option<Bench> {
        tool("apt-get", "apt")?;
        tool("dpkg-deb", "dpkg")?;
        if !is_root() {
            return skip("only root can unpack as dpkg does");
        }
        let folder = tempfile::Builder::new().prefix("imgbuild-deb-").tempdir_in("/dev/shm").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let world = World {
            project: folder.path().join("project"),
            manifest_files: Vec::new(),
            kept: folder.path().join("kept"),
            store: Store::open(&folder.path().join("cache"), Access::Use).unwrap(),
            memory: Memory::new(&folder.path().join("memory"), false),
            epoch: EPOCH,
            overlay_path: Vec::new(),
            hidden: Vec::new(),
            merges: imgbuild::work::roots::Merges::default(),
            shared: imgbuild::work::Shared::default(),
            fetcher: Fetcher::new(folder.path().join("fetched"), None, true),
            threads: 2,
            program: PathBuf::new(),
        };
        Some(Bench { suite: suite.to_string(), folder, world })
    }

    /// The packages of the base, and those on top of it.
    fn download(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let apt = self.folder.path().join("apt");
        for folder in ["lists/partial", "archives/partial", "etc/preferences.d", "etc/apt.conf.d"] {
            fs::create_dir_all(apt.join(folder)).unwrap();
        }
        fs::write(apt.join("status"), "").unwrap();
        fs::write(apt.join("sources"), format!("deb {} {} main\n", mirror(), self.suite)).unwrap();
        let at = apt.display();
        let text = format!(
            "Dir::State \"{at}\";\nDir::State::lists \"{at}/lists\";\nDir::State::status \"{at}/status\";\n\
             Dir::Cache \"{at}\";\nDir::Cache::archives \"{at}/archives\";\nDir::Etc::parts \"{at}/etc/apt.conf.d\";\n\
             Dir::Etc::sourcelist \"{at}/sources\";\nDir::Etc::sourceparts \"-\";\n\
             Dir::Etc::preferencesparts \"{at}/etc/preferences.d\";\nAPT::Sandbox::User \"root\";\n\
             APT::Install-Recommends \"0\";\nAcquire::Check-Date \"0\";\nAcquire::Languages \"none\";\n\
             Debug::NoLocking \"1\";\n"
        );
        fs::write(apt.join("conf"), text).unwrap();
        let get = |words: &[&str]| {
            let conf = apt.join("conf");
            let out = answer(Command::new("apt-get").env("APT_CONFIG", &conf).arg("-qq").args(words));
            String::from_utf8(out).unwrap()
        };
        get(&["update"]);
        let conf = apt.join("conf");
        let available = answer(Command::new("apt-cache").env("APT_CONFIG", &conf).arg("dumpavail"));
        let available = String::from_utf8_lossy(&available).into_owned();
        let is_base = |stanza: &&str| {
            stanza.lines().any(|line| line == "Essential: yes" || line == "Priority: required")
        };
        let name = |stanza: &str| {
            stanza.lines().find_map(|line| line.strip_prefix("Package: ")).unwrap().to_string()
        };
        let mut names: Vec<String> = available.split("\n\n").filter(is_base).map(name).collect();
        names.extend(BASE.iter().map(ToString::to_string));
        let chosen = |names: &[String]| -> Vec<PathBuf> {
            let words: Vec<&str> = names.iter().map(String::as_str).collect();
            get(&[&["install", "-y", "--download-only"], words.as_slice()].concat());
            let mut debs: Vec<PathBuf> =
                fs::read_dir(apt.join("archives")).unwrap().map(|entry| entry.unwrap().path()).collect();
            debs.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
            debs.sort();
            debs
        };
        let base = chosen(&names);
        names.extend(MORE.iter().map(ToString::to_string));
        let mut more = chosen(&names);
        more.retain(|path| !base.contains(path));
        (base, more)
    }

    /// Unpacks them all, two at a time.
    fn unpack(&self, debs: &[PathBuf]) -> Vec<Unpacked> {
        let debs: Vec<(Deb, &PathBuf)> = debs.iter().map(|path| (deb(path), path)).collect();
        let next = AtomicUsize::new(0);
        let start = Instant::now();
        let work = || {
            let mut done = Vec::new();
            while let Some((deb, path)) = debs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let unpacked = unpack(path, deb, &self.world.store, &|| Ok(()))
                    .unwrap_or_else(|fault| panic!("{fault}"));
                done.push((deb.id(), unpacked));
            }
            done
        };
        let mut done: BTreeMap<String, Unpacked> = std::thread::scope(|scope| {
            let threads = [scope.spawn(work), scope.spawn(work)];
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        eprintln!("{} packages unpacked in {:.2} s", debs.len(), start.elapsed().as_secs_f64());
        debs.iter().map(|(deb, _)| done.remove(&deb.id()).unwrap()).collect()
    }

    /// The links of a merged `/usr`.
    fn links(&self) -> Layer {
        let path = self.world.store.stage().unwrap().path("links.tar");
        let mut writer = LayerWriter::new(fs::File::create_new(&path).unwrap());
        for entry in dpkg::links("amd64", EPOCH) {
            writer.entry(entry).unwrap();
        }
        let (_, index) = writer.finish().unwrap();
        self.world.store.keep_layer(&path, index).unwrap()
    }

    fn push(&self, stack: &mut Stack, name: &str, layer: Layer) {
        let place = Place::new(&Source::new("image.kdl", ""), 0..0);
        stack.layers.push(StackLayer {
            name: name.into(),
            step: format!("deb:{name}"),
            kind: "deb",
            place,
            layer,
            found: Vec::new(),
            joins: true,
        });
    }

    /// What dpkg itself makes of them.
    fn unpack_by_dpkg(&self, debs: &[PathBuf], real: &Path) {
        for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"] {
            fs::create_dir_all(real.join(folder)).unwrap();
        }
        fs::write(real.join("var/lib/dpkg/status"), "").unwrap();
        for entry in dpkg::links("amd64", EPOCH) {
            let path = real.join(entry.path.as_os_str());
            match &entry.kind {
                Kind::Symlink(target) => {
                    use std::os::unix::ffi::OsStrExt;
                    std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target), path).unwrap();
                }
                _ => fs::create_dir_all(path).unwrap(),
            }
        }
        // No script of a package runs: outside a sandbox none may, and inside this root there is no shell yet.
        let debs: Vec<PathBuf> = debs.iter().map(|deb| self.without_preinst(deb)).collect();
        let dpkg = |debs: &[&PathBuf]| {
            let mut command = Command::new("dpkg");
            command.arg(format!("--root={}", real.display()));
            answer(command.args(["--force-depends", "--unpack"]).args(debs));
        };
        let first = |path: &&PathBuf| path.to_string_lossy().contains("/base-files_");
        let (first, rest): (Vec<&PathBuf>, Vec<&PathBuf>) = debs.iter().partition(first);
        dpkg(&first);
        dpkg(&rest);
    }

    /// The same package without its preinst, as a file beside the folder of the others.
    fn without_preinst(&self, deb: &Path) -> PathBuf {
        let (tree, packed) = (self.folder.path().join("tree"), self.folder.path().join("without-preinst"));
        fs::create_dir_all(&packed).unwrap();
        let packed = packed.join(deb.file_name().unwrap());
        answer(Command::new("dpkg-deb").arg("--raw-extract").args([deb, &tree]));
        let _ = fs::remove_file(tree.join("DEBIAN/preinst"));
        answer(Command::new("dpkg-deb").args(["-Znone", "--build"]).args([&tree, &packed]));
        fs::remove_dir_all(&tree).unwrap();
        packed
    }
}

/// The mirror that this machine's apt uses.
fn mirror() -> String {
    let files = fs::read_dir("/etc/apt/sources.list.d").unwrap().map(|entry| entry.unwrap().path());
    let sources = files.filter(|path| path.extension().is_some_and(|extension| extension == "sources"));
    let text: String = sources.map(|path| fs::read_to_string(path).unwrap()).collect();
    let main = text.split("\n\n").find(|stanza| stanza.contains("Suites: bookworm ")).unwrap_or(&text);
    main.lines().find_map(|line| line.strip_prefix("URIs: ")).expect("a mirror").trim().to_string()
}

fn packages(unpacked: &[Unpacked]) -> Vec<Package> {
    unpacked.iter().map(|one| Package::read(one.control.clone(), &one.layer).unwrap()).collect()
}

/// What an index would say of the package.
fn deb(path: &Path) -> Deb {
    let text = answer(Command::new("dpkg-deb").arg("-f").arg(path));
    let control = Control::parse(&String::from_utf8(text).unwrap()).unwrap();
    let bytes = fs::read(path).unwrap();
    Deb {
        name: control.text("Package").into(),
        version: control.text("Version").into(),
        arch: control.text("Architecture").into(),
        size: bytes.len() as u64,
        digest: Digest::of(&bytes),
        path: path.display().to_string(),
        source: "debian".into(),
    }
}
