//! Tar files and folders that no step knows, read as layers.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::subject::Contents;
use rustix::fs::{MemfdFlags, Mode, OFlags};

use crate::codec::{self, Compression};
use crate::fault::{Fault, Place, Source};
use crate::layer::read::{BadTar, Rules, read_tar};
use crate::layer::{Entry, EntryPath, Index};
use crate::steps::folder::{Times, entries};
use crate::store::Layer;
use crate::tree::{Detail, Filter, Memory};
use crate::work::{Stack, StackLayer};

/// Whether a file begins as a tar does, or as what is compressed: what stands further behind is of a file in there.
pub fn is_one(file: &File) -> bool {
    const MAGIC: std::ops::Range<usize> = 257..262;
    let mut start = [0; 512];
    let length = file.read_at(&mut start, 0).unwrap_or_default();
    start[MAGIC] == *b"ustar" || codec::sniff(&start[..length]) != Compression::None
}

/// The tar file at `path` as a stack of one layer.
pub fn tar(path: &Path, contents: Contents) -> Result<Stack, Fault> {
    let failed = |error: io::Error| Fault::io("read", path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let mut start = Vec::new();
    (&file).take(512).read_to_end(&mut start).map_err(failed)?;
    file.rewind().map_err(failed)?;
    let (entries, contents) = match codec::sniff(&start) {
        Compression::None => {
            let mut source = BufReader::with_capacity(1 << 18, &file);
            let entries = gathered(&mut source, None::<&mut io::Sink>).map_err(|bad| refused(path, &bad))?;
            check_end(path, &entries, file.metadata().map_err(failed)?.len())?;
            (entries, file.try_clone().map_err(failed)?)
        }
        _ => unpacked(path, &file, contents)?,
    };
    let index = Index { entries, tar_size: 0 };
    let layer =
        Layer { id: index.id(), index: Arc::new(index), tar: Arc::new(contents), path: path.to_path_buf() };
    Ok(stack_of(path, layer))
}

/// A layer that is the file at `path`, as a stack.
fn stack_of(path: &Path, layer: Layer) -> Stack {
    let name = path.display().to_string();
    let place = Place::new(&Source::new(name.clone(), ""), 0..0);
    let (step, found) = (name.clone(), Vec::new());
    Stack { layers: vec![StackLayer { step, kind: "file", name, place, layer, found, joins: false }] }
}

/// What is in the folder at `path`, as the system has it.
pub fn folder(path: &Path) -> Result<Vec<Entry>, Fault> {
    // What is only looked at is not remembered.
    let memory = Memory::new(Path::new("/dev/null"), false);
    let tree = memory.tree(path, &Filter::all(), Detail::Whole, true)?;
    let mut entries = entries(&tree, &EntryPath::root(), Times { epoch: i64::MAX, keep: true })?;
    entries.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(entries)
}

/// The entries of a compressed tar, and its contents where they are asked for.
fn unpacked(path: &Path, file: &File, contents: Contents) -> Result<(Vec<Entry>, File), Fault> {
    let failed = |error: io::Error| Fault::io("read", path, &error);
    let mut source = codec::reader(BufReader::with_capacity(1 << 18, file)).map_err(failed)?;
    let spool = match contents {
        Contents::Kept => nameless().map_err(|error| Fault::io("write", &std::env::temp_dir(), &error))?,
        Contents::Unread => file.try_clone().map_err(failed)?,
    };
    let mut into: Box<dyn Write + '_> = match contents {
        Contents::Kept => Box::new(BufWriter::with_capacity(1 << 20, &spool)),
        Contents::Unread => Box::new(io::sink()),
    };
    let entries = gathered(&mut source, Some(&mut into)).map_err(|bad| refused(path, &bad))?;
    // Damage behind the tar's end is damage too.
    let behind = io::copy(&mut source, &mut io::sink()).map_err(failed)?;
    check_end(path, &entries, behind)?;
    into.flush().map_err(|error| Fault::io("write", &std::env::temp_dir(), &error))?;
    drop(into);
    Ok((entries, spool))
}

/// Zeros are an empty tar, but where there is much of it they are a disk, or what else nobody knows.
fn check_end(path: &Path, entries: &[Entry], bytes: u64) -> Result<(), Fault> {
    const MOST: u64 = 64 << 10;
    if !entries.is_empty() || bytes <= MOST {
        return Ok(());
    }
    let message =
        format!("`{}` begins with zeros: it is no tar, and no disk that can be looked into", path.display());
    Err(Fault::build("tar/refused", message).help(HELP))
}

fn gathered<W: Write>(source: &mut dyn Read, spool: Option<&mut W>) -> Result<Vec<Entry>, BadTar> {
    let rules =
        Rules { to: EntryPath::root(), owner: None, epoch: i64::MAX, keep_times: true, root_counts: true };
    let mut source = source;
    let spool = spool.map(|spool| spool as &mut dyn Write);
    Ok(read_tar(&mut source, &rules, spool)?.into_entries())
}

/// A file without a name, gone when it is closed: on the disk, or in memory where the disk has none such.
fn nameless() -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let on_disk = rustix::fs::open(std::env::temp_dir(), flags, Mode::from_raw_mode(0o600));
    let file = on_disk.or_else(|_| rustix::fs::memfd_create("imgbuild", MemfdFlags::CLOEXEC))?;
    Ok(File::from(file))
}

/// What can be looked at.
pub const HELP: &str = "this command reads tar files, disks and folders; an output of another kind is looked at by its target's name";

fn refused(path: &Path, bad: &BadTar) -> Fault {
    match bad {
        BadTar::Io(error) => Fault::io("read", path, error),
        _ => Fault::build("tar/refused", format!("cannot read `{}`: {bad}", path.display())).help(HELP),
    }
}
