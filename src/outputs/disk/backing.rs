//! A qcow2 that stands on another disk: only what differs from that is in it.
//!
//! qemu-img tells the difference when a qcow2 that stands on the whole disk is put onto the other one; what is the same in
//! both is not taken along.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::convert::{Clusters, TOOLS};
use super::formats::{START, format_of, qcow2_names_others};
use crate::fault::{Fault, Faults};
use crate::lang::{Field, Form, Node, Spanned};
use crate::outputs::tool::{OUT, Tool, Tree, inside};
use crate::sandbox::emulator::no_protocol;
use crate::sandbox::image::Shown;
use crate::work::folders::{real, way};
use crate::work::{Aids, Facts, Folders, Job, World};

pub(super) const FIELD: Field = Field::new(
    "backing",
    Form::Path,
    "A disk, raw or qcow2, that this one stands on: what both have in common is not in the file, which names that one by the \
     way from its own folder. QEMU needs both.",
);

/// Where the disk is in the sandbox, the one that it is to stand on, and the difference before it is compressed.
const DISK: &str = "run/imgbuild/in";
const BACKING: &str = "run/imgbuild/backing";
const DIFFERENCE: &str = "run/imgbuild/difference";

/// A disk that others stand on.
#[derive(Debug)]
pub(super) struct Backing {
    path: Spanned<PathBuf>,
    /// `raw` or `qcow2`.
    format: &'static str,
}

impl Backing {
    /// The one that an output's node names; none where it names none, or one that will not do.
    pub fn of(node: &Node, folders: &Folders, faults: &mut Faults) -> Option<Backing> {
        let stated = node.text("backing")?;
        let path = folders.path(&stated);
        let wrong =
            |code: &'static str, message: String| Fault::error(code, message).at(&stated.place, "this disk");
        let shown = folders.shown(&path);
        match own_format(&path) {
            Ok(Some(format)) => return Some(Backing { path: stated.map(|_| path), format }),
            Ok(None) => faults.push(
                wrong(
                    "backing/format",
                    format!("`{shown}` is neither raw nor a qcow2 that is whole by itself"),
                )
                .help("make it one: `qemu-img convert -O qcow2 DISK NEW.qcow2`"),
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                faults.push(wrong("backing/missing", format!("there is no `{shown}`")));
            }
            Err(error) => faults.push(Fault::io("read", &path, &error).at(&stated.place, "this disk")),
        }
        None
    }

    pub fn facts(&self, output: &Path, facts: &mut Facts, world: &World) -> Result<(), Fault> {
        let file = world.memory.file(&self.path.value);
        let file = file.map_err(|fault| fault.at(&self.path.place, "this disk"))?;
        facts.file("backing", &self.path.value, world, file);
        facts.key.fact("backing-name", self.name(output));
        facts.key.fact("backing-format", self.format);
        Ok(())
    }

    /// What a file at `output` calls it.
    fn name(&self, output: &Path) -> String {
        let folder = real(output.parent().unwrap_or(output));
        no_protocol(&way(&folder, &real(&self.path.value)).to_string_lossy())
    }

    /// Writes what the disk at `raw` has beyond it to the file at `path`, which is there and goes to `goes_to`.
    ///
    /// # Errors
    ///
    /// qemu-img fails, or the file cannot be written.
    pub fn write(
        &self,
        clusters: Clusters,
        (raw, path, goes_to): (&Path, &Path, &Path),
        (aids, place): (&Aids, &crate::fault::Place),
        world: &World,
        job: &Job<'_>,
    ) -> Result<(), Fault> {
        let tree = (aids.tool(TOOLS[0])?, place);
        let (disk, backing, difference) = (at(DISK), at(BACKING), at(DIFFERENCE));
        let format = self.format;
        let run = |words: &[&str], shown: &[(&Path, &str)], out: &Path| -> Result<(), Fault> {
            let mut tool = Tool::new("qemu-img", words.iter().map(|word| word.to_string()).collect());
            let both = std::iter::once((self.path.value.as_path(), BACKING)).chain(shown.iter().copied());
            tool.shown = both.map(|(host, at)| Shown { host: host.into(), at: inside(at) }).collect();
            tool.write(tree as Tree<'_>, out, world, job)
        };
        let stage = world.store.stage()?;
        let first = if clusters == Clusters::Plain { path.to_path_buf() } else { stage.path("difference") };
        if first != path {
            File::create_new(&first).map_err(|error| Fault::io("write", &first, &error))?;
        }
        let whole = [(raw, DISK)];
        run(&["create", "-q", "-f", "qcow2", "-b", &disk, "-F", "raw", OUT], &whole, &first)?;
        run(&["rebase", "-f", "qcow2", "-b", &backing, "-F", format, OUT], &whole, &first)?;
        if let Some(kind) = clusters.name() {
            let kind = format!("compression_type={kind}");
            let words =
                ["convert", "-c", "-f", "qcow2", "-O", "qcow2", "-o", &kind, "-B", &backing, "-F", format];
            run(&[words.as_slice(), &[&difference, OUT]].concat(), &[(&first, DIFFERENCE)], path)?;
        }
        // Only the name: what it is to be called is not what it is called here.
        run(&["rebase", "-u", "-f", "qcow2", "-b", &self.name(goes_to), "-F", format, OUT], &[], path)
    }
}

fn at(path: &str) -> String {
    format!("/{path}")
}

/// Whether the disk at `path` is raw or a qcow2; none if it is in another format, or names files of its own.
fn own_format(path: &Path) -> io::Result<Option<&'static str>> {
    let file = File::open(path)?;
    let mut start = [0; START];
    let length = if file.metadata()?.is_file() { file.read_at(&mut start, 0)? } else { 0 };
    let start = start.get(..length).unwrap_or_default();
    Ok(match format_of(start) {
        Some("qcow2") if !qcow2_names_others(start) => Some("qcow2"),
        None if length > 0 && is_raw(&file)? => Some("raw"),
        _ => None,
    })
}

/// Whether it is whole sectors, without the footer of a fixed VHD.
fn is_raw(file: &File) -> io::Result<bool> {
    let size = file.metadata()?.len();
    let mut footer = [0; 8];
    let Some(at) = size.checked_sub(512).filter(|_| size.is_multiple_of(512)) else { return Ok(false) };
    file.read_exact_at(&mut footer, at)?;
    Ok(&footer != b"conectix")
}
