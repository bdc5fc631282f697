//! `config`: a hypervisor's own files, beside what is written for it.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Stated;
use super::folder::settle;
use crate::fault::{Fault, Faults, Place};
use crate::key::Key;
use crate::lang::{Child, Field, Form, Node, Spanned, Word};
use crate::layer::copy::copy_by_kernel;
use crate::tree::{Detail, Filter, Item, Tree, What};
use crate::wording;
use crate::work::{Facts, Folders, Output, World, Writing, Written};

/// `config from=PATH`
pub static WORD: Word = Word {
    name: "config",
    summary: "a hypervisor's own files, which go with what is written for it",
    docs: "The folder, or the file, as it is in the project: vps.conf, a domain, scripts. It appears as a folder \
           `build/IMAGE-HYPERVISOR.config`; nothing of it goes into the image. Modes are 0644, and 0755 of folders and of what \
           may be run, whatever the umask is that they came here with.",
    example: "image \"server\" {\n    overlays \"site\"\n    hypervisor \"openvz\" {\n        config from=\"conf/openvz\"\n        \
              output \"tar\" compression=\"gzip\"\n    }\n}\n",
    properties: &[
        Field::new("from", Form::Path, "The folder, or the file.").required(),
        Field::new(
            "path",
            Form::Path,
            "The folder that is written; a relative path starts at the project's folder.",
        )
        .default("build/IMAGE-HYPERVISOR.config"),
    ],
    ..Word::BARE
};

/// `config` in an image or a hypervisor.
pub const CHILD: Child = Child::once(&WORD);

#[derive(Debug)]
struct Config {
    stated: Stated,
    from: Spanned<PathBuf>,
}

/// What a `config` node asks for; none for one that is not whole.
pub fn decode(node: &Node, folders: &Folders, faults: &mut Faults) -> Option<Arc<dyn Output>> {
    let from = node.text("from")?;
    let path = folders.path(&from);
    if !path.exists() {
        faults.push(
            Fault::error("config/missing", format!("there is no `{}`", folders.shown(&path)))
                .at(&from.place, "these files"),
        );
        return None;
    }
    let stated = Stated { place: node.place.clone(), path: node.text("path") };
    Some(Arc::new(Config { stated, from: from.map(|_| path) }))
}

impl Config {
    fn tree(&self, world: &World) -> Result<Arc<Tree>, Fault> {
        let tree = world.memory.tree(&self.from.value, &Filter::all(), Detail::Plain, false);
        tree.map_err(|fault| fault.at(&self.from.place, "named here"))
    }

    /// A configuration is files, folders and links.
    fn check(&self, name: &[u8], item: &Item, world: &World) -> Result<(), Fault> {
        if matches!(item.what, What::Folder(_) | What::File(_) | What::Symlink(_)) {
            return Ok(());
        }
        let path = self.from.value.join(OsStr::from_bytes(name));
        let shown = wording::printable(&world.shown(&path));
        let message = format!("`{shown}` is a pipe, a socket or a device, which is no configuration");
        Err(Fault::error("config/unfit", message)
            .at(&self.from.place, "in here")
            .help("move it out of this folder"))
    }
}

impl Output for Config {
    fn kind(&self) -> &'static str {
        "config"
    }
    fn extension(&self) -> String {
        "config".into()
    }
    fn place(&self) -> &Place {
        &self.stated.place
    }
    fn path(&self) -> Option<&Spanned<String>> {
        self.stated.path.as_ref()
    }
    fn is_folder(&self) -> bool {
        true
    }
    fn needs_image(&self) -> bool {
        false
    }

    fn facts(&self, world: &World) -> Result<Facts, Fault> {
        let mut facts = Facts::new(Key::new("output-config", 1));
        facts.key.fact("epoch", world.epoch);
        if self.from.value.is_dir() {
            let tree = self.tree(world)?;
            tree.visit(&mut |name: &[u8], item: &Item| self.check(name, item, world))?;
            facts.tree("config", &self.from.value, world, tree);
            return Ok(facts);
        }
        let file = world.memory.file(&self.from.value);
        let file = file.map_err(|fault| fault.at(&self.from.place, "named here"))?;
        facts.key.fact("name", self.from.value.file_name().unwrap_or_default().to_string_lossy());
        facts.key.fact("executable", is_executable(&self.from.value));
        facts.file("config", &self.from.value, world, file);
        Ok(facts)
    }

    fn write(&self, writing: Writing<'_>) -> Result<Written, Fault> {
        let Writing { world, job, path, .. } = writing;
        let from = &self.from.value;
        fs::create_dir(path).map_err(|error| Fault::io("make", path, &error))?;
        if !from.is_dir() {
            let mode = if is_executable(from) { 0o755 } else { 0o644 };
            copy(from, &path.join(from.file_name().unwrap_or_default()), mode)?;
            return settle(path, world.epoch).map(|()| Written::default());
        }
        self.tree(world)?.visit(&mut |name: &[u8], item: &Item| {
            job.go_on()?;
            let name = OsStr::from_bytes(name);
            put(item, &from.join(name), &path.join(name))
        })?;
        settle(path, world.epoch).map(|()| Written::default())
    }
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o100 != 0)
}

fn put(item: &Item, from: &Path, to: &Path) -> Result<(), Fault> {
    match &item.what {
        What::Folder(_) => fs::create_dir(to).map_err(|error| Fault::io("make", to, &error)),
        What::File(_) => copy(from, to, item.mode(Detail::Plain)),
        What::Symlink(target) => {
            symlink(OsStr::from_bytes(target), to).map_err(|error| Fault::io("make", to, &error))
        }
        // It was checked.
        _ => Ok(()),
    }
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<(), Fault> {
    let input = File::open(from).map_err(|error| Fault::io("read", from, &error))?;
    let write = || -> io::Result<()> {
        let mut output = File::create_new(to)?;
        copy_by_kernel(&input, 0, input.metadata()?.len(), &mut output)?;
        // Whatever the umask is.
        output.set_permissions(Permissions::from_mode(mode))
    };
    write().map_err(|error| Fault::io("write", to, &error))
}
