//! Outputs: what images are written as. A file a kind; [`KINDS`] lists them.
//!
//! Each is a function of a stack of layers and writes to a path aside; putting it into its place is for whoever called.

mod btrfs;
mod checksums;
pub mod config;
mod cpio;
pub mod disk;
mod ext4;
mod files;
mod filesystem;
mod fit;
mod folder;
mod given;
mod iso;
pub mod iso9660;
mod machine;
mod made;
mod oci;
mod own;
mod seed;
mod tar;
mod tarball;
mod tool;
pub mod trial;
mod unfit;
mod xfs;

use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::Format;
use crate::fault::{Fault, Faults, Place};
use crate::lang::{Child, Field, Form, Node, Spanned, Word};
use crate::work::{Folders, Output, World};

/// Reads the output that a node asks for.
pub type Decode = fn(&Node, &Target<'_>, &Folders, &mut Faults) -> Option<Arc<dyn Output>>;

/// What an output is written for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The image's name.
    pub image: &'a str,
    /// Its version, if stated.
    pub version: Option<&'a str>,
    /// The hypervisor's name, if it is one's.
    pub hypervisor: Option<&'a str>,
    /// The disk that it has, and how that boots.
    pub machine: &'a disk::Machine,
    /// All its outputs.
    pub siblings: &'a [Sibling],
}

/// An output of the same target.
#[derive(Clone, Debug)]
pub struct Sibling {
    /// What kind of output it is.
    pub kind: &'static str,
    /// Where it is written, from the project's folder.
    pub path: PathBuf,
    /// Where it is asked for.
    pub place: Place,
    /// The disk that it stands on, if it is not whole by itself.
    pub backing: Option<PathBuf>,
    /// What is said of its format.
    pub format: Option<String>,
}

impl Sibling {
    /// Whether it is that output.
    fn is(&self, output: &dyn Output) -> bool {
        (self.kind, &self.place) == (output.kind(), output.place())
    }

    /// What its file is called.
    fn file(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl Target<'_> {
    /// What its files are called, in front of what tells their kind: `IMAGE` or `IMAGE-HYPERVISOR`.
    pub fn title(&self) -> String {
        title(self.image, self.hypervisor)
    }

    /// The first output of one of these kinds, the earlier kinds first.
    pub fn sibling(&self, kinds: &[&str]) -> Option<&Sibling> {
        kinds.iter().find_map(|kind| self.siblings.iter().find(|sibling| sibling.kind == *kind))
    }
}

/// What the files of a target are called, in front of what tells their kind.
pub fn title(image: &str, hypervisor: Option<&str>) -> String {
    hypervisor.map_or(image.to_string(), |hypervisor| format!("{image}-{hypervisor}"))
}

/// A kind of output.
#[derive(Debug)]
pub struct Kind {
    /// Its declaration.
    pub word: &'static Word,
    /// The output that a node asks for.
    pub decode: Decode,
}

/// Every kind of output.
pub static KINDS: &[Kind] = &[
    tar::KIND,
    cpio::KIND,
    iso::KIND,
    oci::KIND,
    folder::KIND,
    filesystem::EXT4,
    filesystem::BTRFS,
    filesystem::XFS,
    filesystem::SQUASHFS,
    filesystem::EROFS,
    disk::RAW,
    disk::QCOW2,
    disk::VMDK,
    disk::VDI,
    disk::VHD,
    disk::VHDX,
    disk::KERNEL,
    disk::UKI,
    disk::RAMDISK,
    machine::MACHINE,
    machine::OVA,
    machine::METADATA,
    checksums::KIND,
];

/// `output KIND …`
pub static WORD: Word = Word {
    name: "output",
    summary: "a file, or a folder, that is written",
    docs: "What is written, and how, its kind says. Without `path` it is `build/IMAGE-HYPERVISOR.EXT` in the project's \
           folder, or `build/IMAGE.EXT` for an output of the image itself. It appears there whole, or not at all.",
    example: "image \"server\" {\n    overlays \"site\"\n    output \"tar\" compression=\"zstd\"\n}\n",
    properties: &[Field::new(
        "path",
        Form::Path,
        "The file, or the folder, that is written; a relative path starts at the project's folder.",
    )
    .default("build/IMAGE-HYPERVISOR.EXT")],
    kinds: Some(|| KINDS.iter().map(|kind| kind.word).collect()),
    ..Word::BARE
};

/// An output in an image or a hypervisor.
pub const CHILD: Child = Child::many(&WORD);

/// The output of an `output` node; none for what is not whole.
pub fn decode(
    node: &Node,
    target: &Target<'_>,
    folders: &Folders,
    faults: &mut Faults,
) -> Option<Arc<dyn Output>> {
    let kind = KINDS.iter().find(|kind| node.kind.is_some_and(|word| std::ptr::eq(word, kind.word)))?;
    if node.whole { (kind.decode)(node, target, folders, faults) } else { None }
}

/// What all outputs have.
#[derive(Debug)]
struct Stated {
    place: Place,
    path: Option<Spanned<String>>,
}

impl Stated {
    fn of(node: &Node) -> Stated {
        Stated { place: node.place.clone(), path: node.text("path") }
    }

    /// Where it goes; `file` is what it is called in `build/` where no path is stated.
    fn goes_to(&self, file: &str, world: &World) -> PathBuf {
        let usual = || world.project.join("build").join(file);
        self.path.as_ref().map_or_else(usual, |path| world.project.join(&path.value))
    }
}

/// The longest label of each file system: bytes (ext4(5), btrfs' 256 with their end, xfs(5), mkswap(8); FAT has 8
/// of a name and 3 of an extension).
const LABELS: [(&str, usize); 5] = [("ext4", 16), ("btrfs", 255), ("xfs", 12), ("swap", 16), ("vfat", 11)];

/// What a file system is called.
fn label(node: &Node, filesystem: &str, faults: &mut Faults) -> Option<String> {
    let label = node.text("label")?;
    let most = LABELS.iter().find(|(of, _)| *of == filesystem).map_or(0, |(_, most)| *most);
    let length = label.value.len();
    let (code, message) = match most {
        0 => ("label/unfit", "there is no file system that this label could be of".to_string()),
        most if length > most => {
            ("label/long", format!("a label of {filesystem} has up to {most} bytes; this one has {length}"))
        }
        _ if label.value.is_empty() || label.value.chars().any(char::is_control) => {
            ("label/unfit", "a label has at least one letter, and no control characters".to_string())
        }
        _ if filesystem == "vfat" && !is_fat_label(&label.value) => (
            "label/unfit",
            "a label of vfat has letters and digits of ASCII, `_`, `-` and, inside, spaces".to_string(),
        ),
        _ => return Some(label.value),
    };
    faults.push(Fault::error(code, message).at(&label.place, "this label"));
    None
}

/// Whether every reader of FAT takes it for the same.
fn is_fat_label(label: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b" _-".contains(&byte);
    label.bytes().all(known) && label.trim() == label && !label.eq_ignore_ascii_case("no name")
}

const COMPRESSIONS: Form = Form::OneOf(&["none", "gzip", "xz", "zstd"]);

const LEVEL: Field = Field::new(
    "level",
    Form::Integer { min: 0, max: 22 },
    "How hard to compress: gzip 1 to 9, xz 0 to 9, zstd 1 to 22.",
)
.default("gzip 6, xz 6, zstd 3");

/// How an output is compressed.
#[derive(Clone, Copy, Debug)]
struct Compress {
    format: Format,
    level: Option<i32>,
}

impl Compress {
    fn of(node: &Node, default: Format, faults: &mut Faults) -> Compress {
        let format = node.text("compression").map_or(default, |name| {
            Format::ALL.into_iter().find(|format| format.name() == name.value).unwrap_or(default)
        });
        let level = node.integer("level");
        if let Some(level) = &level {
            check_level(format, level, faults);
        }
        Compress { format, level: level.and_then(|level| i32::try_from(level.value).ok()) }
    }

    /// `tar.xz`.
    fn extension(self, base: &str) -> String {
        match self.format.extension() {
            "" => base.to_string(),
            extension => format!("{base}.{extension}"),
        }
    }

    fn facts(self, key: &mut crate::key::Key) {
        key.fact("compression", self.format.name());
        if self.format != Format::None {
            key.fact_if("level", self.level.or(self.format.default_level()));
            key.fact("compressor", crate::codec::VERSION);
        }
    }
}

fn check_level(format: Format, level: &Spanned<i64>, faults: &mut Faults) {
    let fault = match format.levels() {
        None => Fault::error("output/level", "there is a level, but nothing is compressed")
            .help("say how with `compression=`, or remove the level"),
        Some(levels) if !levels.contains(&i32::try_from(level.value).unwrap_or(i32::MAX)) => {
            Fault::error("output/level", format!("{} has no level {}", format.name(), level.value))
                .help(format!("it has {} to {}", levels.start(), levels.end()))
        }
        Some(_) => return,
    };
    faults.push(fault.at(&level.place, "this level"));
}
