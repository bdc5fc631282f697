//! Trees read back as overlayfs shows them, against the merge that they are made from.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::atomic::AtomicBool;

use super::*;
use crate::deb::fetch::Fetcher;
use crate::fault::{Place, Source};
use crate::layer::LayerWriter;
use crate::store::{Access, Store};
use crate::tree::Memory;
use crate::work::StackLayer;

const EPOCH: i64 = 1000;

/// A store with a stack of layers.
pub(in crate::work) struct Bench {
    _folder: tempfile::TempDir,
    world: World,
}

impl Bench {
    pub(in crate::work) fn new() -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let world = World {
            project: at("project"),
            manifest_files: Vec::new(),
            kept: at("kept"),
            store: Store::open(&at("cache"), Access::Use).expect("a store"),
            memory: Memory::new(&at("memory"), false),
            epoch: EPOCH,
            overlay_path: Vec::new(),
            hidden: Vec::new(),
            merges: Merges::default(),
            shared: crate::work::Shared::default(),
            fetcher: Fetcher::new(at("cache"), None, true),
            threads: 2,
            program: PathBuf::new(),
        };
        Bench { _folder: folder, world }
    }

    /// A stack of these layers, each of lines `KIND[:MODE] PATH [CONTENT or TARGET]`.
    pub(in crate::work) fn stack(&self, layers: &[Vec<String>]) -> Stack {
        let mut stack = Stack::default();
        for lines in layers {
            let path = self.world.store.stage().expect("a stage").path("layer.tar");
            let mut writer = LayerWriter::new(File::create_new(&path).expect("a file"));
            let mut entries: Vec<(Entry, String)> = lines.iter().map(|line| entry(line)).collect();
            entries.sort_by(|left, right| left.0.order(&right.0));
            for (entry, content) in entries {
                match entry.kind {
                    Kind::File { .. } => {
                        writer.file(entry, content.len() as u64, &mut content.as_bytes()).map(drop)
                    }
                    _ => writer.entry(entry),
                }
                .expect("written");
            }
            let (_, index) = writer.finish().expect("written");
            let layer = self.world.store.keep_layer(&path, index).expect("kept");
            let place = Place::new(&Source::new("image.kdl", ""), 0..0);
            stack.layers.push(StackLayer {
                name: "l".into(),
                step: "overlay:l".into(),
                kind: "overlay",
                place,
                layer,
                found: Vec::new(),
                joins: false,
            });
        }
        stack
    }

    fn root(&self, stack: &Stack, groups: &[usize]) -> Result<Root, Fault> {
        let cancel = AtomicBool::new(false);
        root(
            stack,
            groups,
            &self.world,
            &Job { cancel: &cancel, say: &|_| (), warn: &|_| (), log: PathBuf::new() },
        )
    }
}

fn entry(line: &str) -> (Entry, String) {
    let mut words = line.split(' ');
    let (kind, mode) = words.next().expect("a kind").split_once(':').unwrap_or_default();
    let path = EntryPath::parse(words.next().expect("a path")).expect("a path");
    let content = words.next().unwrap_or_default().to_string();
    let kind = match kind {
        "d" | "D" => Kind::Directory,
        "l" => Kind::Symlink(content.clone().into()),
        "h" => Kind::Hardlink(EntryPath::parse(&content).expect("a path")),
        "p" => Kind::Fifo,
        "c" => Kind::Character(1, 3),
        "w" => Kind::Whiteout,
        _ => Kind::File { size: 0, digest: Digest::of(""), offset: 0 },
    };
    let mode = u32::from_str_radix(mode, 8).expect("a mode");
    let mtime = if content == "late" { EPOCH + 5 } else { i64::from(mode % 97) };
    let entry = Entry { kind, mode, mtime, weak: line.starts_with('d'), ..Entry::passage(path, 0) };
    (entry, content)
}

pub(in crate::work) fn lines(text: &[&str]) -> Vec<String> {
    text.iter().map(ToString::to_string).collect()
}

/// What is at each path, with the first of its other names.
type Seen = BTreeMap<String, String>;

/// What overlayfs shows of the trees, with the specials on top.
fn seen(root: &Root) -> Seen {
    let mut seen = Seen::new();
    let mut inodes: BTreeMap<String, u64> = BTreeMap::new();
    for lower in &root.lowers {
        look(lower, lower, &mut seen, &mut inodes);
    }
    let mut first: BTreeMap<u64, String> = BTreeMap::new();
    for (path, inode) in &inodes {
        let first = first.entry(*inode).or_insert_with(|| path.clone());
        if first != path
            && let Some(text) = seen.get_mut(path)
        {
            *text = format!("same as {first}");
        }
    }
    for special in root.specials.iter().filter(|special| !special.path.is_root()) {
        put(&mut seen, &special.path.to_string(), tell_special(special));
    }
    seen
}

fn look(root: &Path, folder: &Path, seen: &mut Seen, inodes: &mut BTreeMap<String, u64>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let metadata = fs::symlink_metadata(&path).expect("metadata");
        let name = path.strip_prefix(root).expect("below").display().to_string();
        let (mode, time) = (metadata.mode() & 0o7777, metadata.mtime());
        assert_eq!(metadata.uid(), rustix::process::geteuid().as_raw(), "{name} is the builder's own");
        inodes.remove(&name);
        if metadata.is_dir() {
            put(seen, &name, format!("d {mode:o} {time}"));
            look(root, &path, seen, inodes);
        } else if metadata.is_symlink() {
            let target = fs::read_link(&path).expect("a link");
            put(seen, &name, format!("l {time} {}", target.display()));
        } else if metadata.file_type().is_char_device() {
            assert_eq!(metadata.rdev(), 0, "{name} is a whiteout");
            remove(seen, &name);
        } else {
            let content = Digest::of(fs::read(&path).expect("a file"));
            put(seen, &name, format!("f {mode:o} {time} {content}"));
            inodes.insert(name, metadata.ino());
        }
    }
    // What was replaced has no inode any more.
    inodes.retain(|path, _| seen.get(path).is_some_and(|text| text.starts_with('f')));
}

fn put(seen: &mut Seen, path: &str, text: String) {
    let both_folders = text.starts_with("d ") && seen.get(path).is_some_and(|there| there.starts_with("d "));
    if !both_folders {
        remove(seen, path);
    }
    seen.insert(path.to_string(), text);
}

fn remove(seen: &mut Seen, path: &str) {
    seen.retain(|other, _| other != path && !other.starts_with(&format!("{path}/")));
}

/// What the merge says.
fn wanted(root: &Root) -> Seen {
    let there = |entry: &Entry| !matches!(entry.kind, Kind::Character(..)) && !entry.path.is_root();
    let entries = root.merged.nodes().map(|node| &node.entry).filter(|entry| there(entry));
    entries.map(|entry| (entry.path.to_string(), tell(entry))).collect()
}

fn tell(entry: &Entry) -> String {
    let Entry { mode, mtime, .. } = entry;
    match &entry.kind {
        Kind::Directory => format!("d {mode:o} {mtime}"),
        Kind::File { digest, .. } => format!("f {mode:o} {mtime} {digest}"),
        Kind::Symlink(target) => {
            format!("l {mtime} {}", Path::new(std::ffi::OsStr::from_bytes(target)).display())
        }
        Kind::Hardlink(target) => format!("same as {target}"),
        other => format!("{other:?} {mode:o}"),
    }
}

fn bytes(kind: &SpecialKind) -> Vec<u8> {
    let SpecialKind::File { file, offset, size } = kind else { return Vec::new() };
    let mut bytes = vec![0; *size as usize];
    let file = File::open(file).expect("a file");
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, *offset).expect("read");
    bytes
}

fn tell_special(special: &Special) -> String {
    let Special { mode, mtime, kind, .. } = special;
    match kind {
        SpecialKind::Directory => format!("d {mode:o} {mtime}"),
        SpecialKind::File { .. } => format!("f {mode:o} {mtime} {}", Digest::of(bytes(kind))),
        SpecialKind::Symlink(target) => {
            format!("l {mtime} {}", Path::new(std::ffi::OsStr::from_bytes(target)).display())
        }
        SpecialKind::Hardlink(target) => format!("same as {target}"),
        SpecialKind::Fifo => format!("{:?} {mode:o}", Kind::Fifo),
    }
}

#[test]
fn trees_and_specials_together_are_the_image() {
    let bench = Bench::new();
    let stack = bench.stack(&[
        lines(&[
            "d:755 etc",
            "f:644 etc/a one",
            "f:600 etc/b two",
            "d:1777 tmp",
            "f:644 tmp/x x",
            "l:777 lib usr/lib",
        ]),
        lines(&[
            "d:755 usr/lib",
            "f:4755 usr/lib/su su",
            "f:644 usr/lib/c late",
            "h:644 usr/lib/d usr/lib/c",
        ]),
        lines(&["w:644 etc/a", "f:644 lib/e e", "f:644 etc/b four", "p:644 pipe", "c:666 null"]),
        lines(&["f:644 usr/lib/c new", "w:644 tmp/x"]),
    ]);
    let root = bench.root(&stack, &[0, 2]).expect("a root");
    assert_eq!(seen(&root), wanted(&root));
    assert_eq!(root.lowers.len(), 2);
    let specials: Vec<String> = root.specials.iter().map(|special| special.path.to_string()).collect();
    assert_eq!(specials, ["/", "pipe", "tmp", "usr", "usr/lib", "usr/lib/su"]);
    let su = root.specials.last().expect("a special");
    assert_eq!(bytes(&su.kind), b"su");

    let again = bench.root(&stack, &[0, 2]).expect("a root");
    assert_eq!(again.lowers, root.lowers);
    assert_eq!(bench.world.store.verify_trees(), (2, vec![]));
    let mut fewer = stack;
    fewer.layers.truncate(2);
    assert_eq!(bench.root(&fewer, &[0]).expect("a root").lowers, root.lowers[..1], "shared from below");
}

/// Names that have changed sides: files become directories and links, and back.
#[test]
fn any_layers_in_any_groups_give_the_image() {
    let bench = Bench::new();
    let mut chance = 1u64;
    let mut number = |end: u64| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) % end
    };
    for round in 0..60 {
        let mut layers = Vec::new();
        for _ in 0..5 {
            let mut layer: BTreeMap<String, String> = BTreeMap::new();
            let mut files: Vec<String> = Vec::new();
            for _ in 0..number(6) {
                let names = ["a", "b", "c"];
                let mut path = names[number(3) as usize].to_string();
                for _ in 0..number(3) {
                    path = format!("{path}/{}", names[number(3) as usize]);
                }
                let line = match number(9) {
                    0 => format!("d:755 {path}"),
                    1 => format!("D:750 {path}"),
                    2 => format!("l:777 {path} c"),
                    3 => format!("w:644 {path}"),
                    4 => format!("f:2755 {path} s"),
                    5 if !files.is_empty() => format!("h:644 {path} {}", files[0]),
                    other => format!("f:644 {path} {}", if other == 8 { "late" } else { "x" }),
                };
                if line.starts_with('f') && files.is_empty() {
                    files.push(path.clone());
                }
                layer.entry(path).or_insert(line);
            }
            layers.push(layer.into_values().collect());
        }
        let stack = bench.stack(&layers);
        let groups = [0, 1 + number(2) as usize, 3 + number(2) as usize];
        // Links that lead in a circle, or to what is replaced, make no image.
        let Ok(root) = bench.root(&stack, &groups) else { continue };
        assert_eq!(seen(&root), wanted(&root), "round {round}: {layers:?} {groups:?}");
    }
    assert!(bench.world.store.trees().len() > 60);
    assert_eq!(bench.world.store.verify_trees().1, []);
}
