//! `files`: single files, links and directories that the manifest states itself.

use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::PathBuf;

use crate::fault::{Fault, Faults, Place};
use crate::key::{Digest, Key};
use crate::lang::{Child, Field, Form, Node, Owner, Spanned, Word};
use crate::layer::merge::Merged;
use crate::layer::{Entry, EntryPath, Kind, LayerWriter};
use crate::work::{Facts, Folders, Job, Made, Stack, Step, World};

/// `files { … }`
pub static WORD: Word = Word {
    name: "files",
    summary: "single files, links and directories",
    docs: "For what is too small for an overlay. The block is a layer, in its place among the others; what stands later \
           in it wins.",
    example: "image \"server\" {\n    files {\n        file \"/etc/motd\" content=\"welcome\\n\"\n        file \
              \"/usr/local/bin/backup\" from=\"scripts/backup\" mode=\"0755\"\n        link \"/etc/localtime\" \
              to=\"/usr/share/zoneinfo/UTC\"\n        directory \"/var/lib/backup\" mode=\"0700\"\n        remove \
              \"/etc/nginx/sites-enabled/default\"\n    }\n    output \"tar\"\n}\n",
    arguments: &[Field::new("name", Form::Name, "What the step is called.").default("its number")],
    children: &[Child::many(&FILE), Child::many(&LINK), Child::many(&DIRECTORY), Child::many(&REMOVE)],
    ..Word::BARE
};

const MODE: Field = Field::new("mode", Form::Mode, "Permission bits.");
const OWNER: Field = Field::new("owner", Form::Owner, "User and group.").default("root:root");
const TO: Field = Field::new("path", Form::ImagePath, "Where in the image.").required();

static FILE: Word = Word {
    name: "file",
    summary: "a file, from the project or stated here",
    docs: "With `from`, a file of the project; with `content`, the text itself, in which `${NAME}` stands for a variable \
           and `$${` for `${`. It has one of the two.",
    example: "image \"server\" {\n    files {\n        file \"/etc/motd\" content=\"welcome\\n\"\n    }\n    output \"tar\"\n}\n",
    arguments: &[TO],
    properties: &[
        Field::new("from", Form::Path, "The file that it is a copy of."),
        Field::new("content", Form::Text, "What it holds."),
        MODE.default("0644, or 0755 if `from` can be executed"),
        OWNER,
    ],
    ..Word::BARE
};

static LINK: Word = Word {
    name: "link",
    summary: "a symbolic link",
    docs: "`to` is the text of the link; it need not exist.",
    example: "image \"server\" {\n    files {\n        link \"/etc/localtime\" to=\"/usr/share/zoneinfo/UTC\"\n    }\n    output \"tar\"\n}\n",
    arguments: &[TO],
    properties: &[Field::new("to", Form::Text, "Where it leads.").required(), OWNER],
    ..Word::BARE
};

static DIRECTORY: Word = Word {
    name: "directory",
    summary: "a directory",
    docs: "Made if it is not there; its mode and owner are set even if it is.",
    example: "image \"server\" {\n    files {\n        directory \"/var/lib/backup\" mode=\"0700\"\n    }\n    output \"tar\"\n}\n",
    arguments: &[TO],
    properties: &[MODE.default("0755"), OWNER],
    ..Word::BARE
};

static REMOVE: Word = Word {
    name: "remove",
    summary: "remove what the layers below brought",
    docs: "A file, or a directory with all that is in it. Nothing happens if it is not there.",
    example: "image \"server\" {\n    files {\n        remove \"/usr/share/doc\"\n    }\n    output \"tar\"\n}\n",
    arguments: &[TO],
    ..Word::BARE
};

/// What a `files` block states.
#[derive(Debug)]
pub struct Files {
    id: String,
    name: String,
    place: Place,
    items: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    place: Place,
    path: EntryPath,
    what: What,
    mode: Option<u32>,
    owner: Owner,
}

#[derive(Debug)]
enum What {
    File { shown: Spanned<String>, path: PathBuf },
    Content(String),
    Link(String),
    Directory,
    Remove,
}

/// The step of a `files` node; `user` is the image or target that it belongs to, `number` its position there, from 1.
pub fn decode(node: &Node, folders: &Folders, user: &str, number: usize, faults: &mut Faults) -> Files {
    let name = node.text("name").map_or(number.to_string(), |name| name.value);
    let items = node.children.iter().filter_map(|child| item(child, folders, faults)).collect();
    Files {
        id: format!("files:{name}@{user}"),
        name: format!("files-{name}"),
        place: node.place.clone(),
        items,
    }
}

fn item(node: &Node, folders: &Folders, faults: &mut Faults) -> Option<Item> {
    let stated = node.text("path")?;
    let path = EntryPath::parse(&stated.value).ok()?;
    if path.is_root() && node.word.name != "directory" {
        let fault = Fault::error("files/root", format!("`/` cannot be a {}", node.word.name));
        faults.push(fault.at(&stated.place, "this path").help("name a path below it"));
        return None;
    }
    let owner = || node.owner("owner").map_or(Owner::ROOT, |owner| owner.value);
    let (what, mode, owner) = match node.word.name {
        "file" => (file(node, folders, faults)?, node.mode("mode"), owner()),
        "link" => (What::Link(node.text("to")?.value), None, owner()),
        "directory" => (What::Directory, node.mode("mode"), owner()),
        _ => (What::Remove, None, Owner::ROOT),
    };
    Some(Item { place: node.place.clone(), path, what, mode, owner })
}

fn file(node: &Node, folders: &Folders, faults: &mut Faults) -> Option<What> {
    if !node.whole {
        // What is wrong with it is told already, and may be with the very `content=` that seems to lack.
        return None;
    }
    match (node.text("from"), node.text("content")) {
        (Some(shown), None) => Some(What::File { path: folders.path(&shown), shown }),
        (None, Some(content)) => Some(What::Content(content.value)),
        (from, _) => {
            let (problem, help) = match from {
                None => ("neither `from=` nor `content=`", "add one of them"),
                Some(_) => ("both `from=` and `content=`", "keep one of them"),
            };
            faults.push(
                Fault::error("files/content", format!("this file has {problem}"))
                    .at(&node.place, "here")
                    .help(help),
            );
            None
        }
    }
}

impl Step for Files {
    fn id(&self) -> String {
        self.id.clone()
    }
    fn kind(&self) -> &'static str {
        "files"
    }
    fn name(&self) -> String {
        self.name.clone()
    }
    fn place(&self) -> &Place {
        &self.place
    }

    fn facts(&self, world: &World, _parallel: bool) -> Result<Facts, Fault> {
        let mut facts = Facts::new(Key::new("files", 1));
        for item in &self.items {
            let fact =
                format!("/{}", String::from_utf8_lossy(item.path.as_bytes()).replace([' ', '\n'], "_"));
            let mode = item.mode.map_or("-".to_string(), |mode| format!("{mode:04o}"));
            // The path itself stands in the value too: a fact's name has no blanks.
            facts.key.fact(
                &fact,
                format_args!(
                    "{mode} {} {} {:?}",
                    item.owner,
                    item.what.word(),
                    item.path.as_bytes().escape_ascii().to_string()
                ),
            );
            match &item.what {
                What::File { path, shown } => {
                    let file =
                        world.memory.file(path).map_err(|fault| fault.at(&shown.place, "named here"))?;
                    facts.file(&fact, path, world, file);
                    facts.key.fact(&fact, if is_executable(path) { "executable" } else { "plain" });
                }
                What::Content(text) => facts.key.fact(&fact, Digest::of(text)),
                What::Link(target) => facts.key.fact(&fact, target),
                What::Directory | What::Remove => {}
            }
        }
        facts.key.fact("epoch", world.epoch);
        Ok(facts)
    }

    fn make(&self, world: &World, _below: &Stack, job: &Job<'_>) -> Result<Made, Fault> {
        job.go_on()?;
        let mut gathered = Merged::default();
        let mut removed = Vec::new();
        let mut sources: Vec<(EntryPath, &Item)> = Vec::new();
        for item in &self.items {
            let entry = item.entry(world)?;
            if entry.is_whiteout() {
                gathered.retain(|path| path.below(&entry.path).is_none());
                removed.push(entry);
                continue;
            }
            let failed = |bad| Fault::build("files/merge", format!("{bad}")).at(&item.place, "this path");
            sources.push((gathered.add(0, entry).map_err(failed)?, item));
        }
        let mut entries: Vec<Entry> = gathered.nodes().map(|node| node.entry.clone()).collect();
        for mut entry in removed {
            // Removed and stated again: a directory hides what it had below, anything else replaces it anyway.
            match gathered.get(&entry.path).map(|node| &node.entry.kind) {
                Some(Kind::Directory) => entry.kind = Kind::Opaque,
                Some(_) => continue,
                None => {}
            }
            entries.push(entry);
        }
        entries.sort_by(Entry::order);
        entries.dedup_by(|left, right| left.path == right.path && left.kind == right.kind);
        self.write(entries, &sources, world)
    }
}

impl Files {
    fn write(
        &self,
        entries: Vec<Entry>,
        sources: &[(EntryPath, &Item)],
        world: &World,
    ) -> Result<Made, Fault> {
        let path = world.store.stage()?.path("layer.tar");
        let failed = |error: io::Error| Fault::io("write", &path, &error);
        let out = File::create_new(&path).map_err(failed)?;
        let mut writer = LayerWriter::new(BufWriter::new(out));
        for entry in entries {
            let Kind::File { size, digest, .. } = entry.kind else {
                writer.entry(entry).map_err(failed)?;
                continue;
            };
            let item = sources.iter().rev().find(|(path, _)| *path == entry.path).map(|(_, item)| *item);
            let Some(item) = item else { continue };
            let mut content = item.what.open()?;
            let written = writer.file(entry, size, &mut content);
            if written.map_err(|error| Fault::io("copy", &path, &error).at(&item.place, "this file"))?
                != digest
            {
                return Err(Fault::build("source/changed", "a file changed while it was read")
                    .at(&item.place, "this one"));
            }
        }
        let (_, index) = writer.finish().map_err(failed)?;
        Ok(Made { layer: world.store.keep_layer(&path, index)?, found: Vec::new() })
    }
}

impl Item {
    fn entry(&self, world: &World) -> Result<Entry, Fault> {
        let (kind, mode) = match &self.what {
            What::File { path, shown } => {
                let (size, digest) =
                    world.memory.file(path).map_err(|fault| fault.at(&shown.place, "named here"))?;
                (Kind::File { size, digest, offset: 0 }, if is_executable(path) { 0o755 } else { 0o644 })
            }
            What::Content(text) => {
                (Kind::File { size: text.len() as u64, digest: Digest::of(text), offset: 0 }, 0o644)
            }
            What::Link(target) => (Kind::Symlink(target.as_bytes().to_vec()), 0o777),
            What::Directory => (Kind::Directory, 0o755),
            What::Remove => (Kind::Whiteout, 0o644),
        };
        Ok(Entry {
            path: self.path.clone(),
            kind,
            mode: self.mode.unwrap_or(mode),
            owner: self.owner.clone(),
            mtime: world.epoch,
            xattrs: Vec::new(),
            weak: false,
        })
    }
}

impl What {
    fn word(&self) -> &'static str {
        match self {
            What::File { .. } => "file",
            What::Content(_) => "content",
            What::Link(_) => "link",
            What::Directory => "directory",
            What::Remove => "remove",
        }
    }

    fn open(&self) -> Result<Box<dyn Read + '_>, Fault> {
        match self {
            What::File { path, .. } => {
                Ok(Box::new(File::open(path).map_err(|error| Fault::io("read", path, &error))?))
            }
            What::Content(text) => Ok(Box::new(text.as_bytes())),
            _ => Ok(Box::new(io::empty())),
        }
    }
}

fn is_executable(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o100 != 0)
}
