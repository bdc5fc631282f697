//! `output "dir"`: the image as a folder.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use super::{Kind, Stated, Target};
use crate::fault::{Fault, Faults, Place};
use crate::key::Key;
use crate::lang::value::Id;
use crate::lang::{Node, Spanned, Word};
use crate::layer::merge::Node as TreeNode;
use crate::layer::{Entry, Kind as EntryKind};
use crate::work::{Facts, Folders, Output, Stack, World, Writing, Written};

pub(super) const KIND: Kind = Kind { word: &WORD, decode };

static WORD: Word = Word {
    name: "dir",
    summary: "the image as a folder",
    docs: "As root, with owners, devices and all extended attributes. As anybody else, everything belongs to whoever \
           builds, device nodes are left out, and of the extended attributes only those that a user may set are kept. \
           The folder is replaced as a whole; what else was put there goes.",
    example: "image \"server\" {\n    overlays \"site\"\n    output \"dir\"\n}\n",
    ..Word::BARE
};

#[derive(Debug)]
struct FolderOutput {
    stated: Stated,
}

fn decode(
    node: &Node,
    _target: &Target<'_>,
    _folders: &Folders,
    _faults: &mut Faults,
) -> Option<Arc<dyn Output>> {
    Some(Arc::new(FolderOutput { stated: Stated::of(node) }))
}

impl Output for FolderOutput {
    fn kind(&self) -> &'static str {
        "dir"
    }
    fn extension(&self) -> String {
        "dir".into()
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

    fn facts(&self, world: &World) -> Result<Facts, Fault> {
        let mut key = Key::new("output-dir", 1);
        key.fact("epoch", world.epoch);
        key.fact("as", if is_root() { "root" } else { "user" });
        Ok(Facts::new(key))
    }

    fn write(&self, writing: Writing<'_>) -> Result<Written, Fault> {
        let Writing { world, job, stack, path, .. } = writing;
        let merged = world.image(stack)?;
        let tree = Folder { root: path, as_root: is_root() };
        fs::create_dir(path).map_err(|error| Fault::io("make", path, &error))?;
        for node in merged.nodes() {
            job.go_on()?;
            let place = tree.place(&node.entry);
            tree.make(node, stack, &place).map_err(|error| Fault::io("write", &place, &error))?;
        }
        // What is put into a directory changes its time, and what may not be written to could not be filled: last.
        for node in merged.nodes().collect::<Vec<_>>().into_iter().rev() {
            if node.entry.kind == EntryKind::Directory {
                let place = tree.place(&node.entry);
                tree.attributes(&node.entry, &place).map_err(|error| Fault::io("write", &place, &error))?;
            }
        }
        Ok(Written::default())
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

struct Folder<'a> {
    root: &'a Path,
    as_root: bool,
}

impl Folder<'_> {
    /// Every directory on the way is one that was made here, never a link: merged paths have none in them.
    fn place(&self, entry: &Entry) -> PathBuf {
        self.root.join(entry.path.as_os_str())
    }

    fn make(&self, node: &TreeNode, stack: &Stack, place: &Path) -> io::Result<()> {
        let entry = &node.entry;
        match &entry.kind {
            EntryKind::Directory if entry.path.is_root() => return Ok(()),
            EntryKind::Directory => return fs::create_dir(place),
            EntryKind::File { size, .. } => {
                let mut out = File::create_new(place)?;
                if let Some(layer) = stack.layer_of(node) {
                    let copied = io::copy(&mut layer.content(entry).take(*size), &mut out)?;
                    if copied != *size {
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                    }
                }
            }
            EntryKind::Symlink(target) => symlink(OsStr::from_bytes(target), place)?,
            EntryKind::Hardlink(holder) => return fs::hard_link(self.root.join(holder.as_os_str()), place),
            EntryKind::Fifo => special(place, FileType::Fifo, 0)?,
            EntryKind::Character(..) | EntryKind::Block(..) if !self.as_root => return Ok(()),
            EntryKind::Character(major, minor) => {
                special(place, FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))?;
            }
            EntryKind::Block(major, minor) => {
                special(place, FileType::BlockDevice, rustix::fs::makedev(*major, *minor))?;
            }
            EntryKind::Whiteout | EntryKind::Opaque => return Ok(()),
        }
        self.attributes(entry, place)
    }

    /// Owner first: changing it takes set-user-ID bits away.
    fn attributes(&self, entry: &Entry, place: &Path) -> io::Result<()> {
        if let (true, Id::Number(user), Id::Number(group)) =
            (self.as_root, &entry.owner.user, &entry.owner.group)
        {
            lchown(place, Some(*user), Some(*group))?;
        }
        if !matches!(entry.kind, EntryKind::Symlink(_)) {
            fs::set_permissions(place, fs::Permissions::from_mode(entry.mode))?;
        }
        for (name, value) in &entry.xattrs {
            let set = rustix::fs::lsetxattr(place, name.as_slice(), value, XattrFlags::empty());
            if self.as_root || name.starts_with(b"user.") {
                set?;
            }
        }
        set_time(place, entry.mtime)
    }
}

/// Gives a file its time: seconds since 1970.
fn set_time(place: &Path, time: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: time, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, place, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Gives a folder that was just written, and all that is in it, the time of everything, and modes that know only of what
/// may be run: neither the clock nor the umask is in any output.
///
/// # Errors
///
/// It cannot be read, or written to.
pub(super) fn settle(folder: &Path, epoch: i64) -> Result<(), Fault> {
    let settle_one = |path: &Path| -> io::Result<()> {
        let metadata = fs::symlink_metadata(path)?;
        if !metadata.is_symlink() {
            let runs = metadata.is_dir() || metadata.mode() & 0o100 != 0;
            fs::set_permissions(path, fs::Permissions::from_mode(if runs { 0o755 } else { 0o644 }))?;
        }
        set_time(path, epoch)
    };
    let failed = |path: &Path, error: io::Error| Fault::io("write", path, &error);
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, error))? {
        let path = entry.map_err(|error| failed(folder, error))?.path();
        if path.is_dir() && !path.is_symlink() {
            settle(&path, epoch)?;
        } else {
            settle_one(&path).map_err(|error| failed(&path, error))?;
        }
    }
    // Last: what is done inside changes its time.
    settle_one(folder).map_err(|error| failed(folder, error))
}

fn special(place: &Path, kind: FileType, device: u64) -> io::Result<()> {
    Ok(rustix::fs::mknodat(CWD, place, kind, Mode::from_raw_mode(0o600), device)?)
}
