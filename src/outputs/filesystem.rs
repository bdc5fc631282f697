//! `output "ext4"`, `output "squashfs"`, `output "erofs"`: the image as a file system in a file.
//!
//! An ext4 is written here; the others' own tools write them, out of the image's tar. Nothing is unpacked and nothing
//! mounted. What would be drawn at random or taken from the clock (UUIDs, hash seeds, times) comes from the layers.

use std::fs::File;
use std::sync::Arc;

use super::files::number;
use super::fit;
use super::made::Made;
use super::own::Own;
use super::seed::Seed;
use super::tarball::Tarball;
use super::tool::{OUT, Tool};
use super::{Kind, Stated, Target, label};
use crate::fault::{Fault, Faults, Place};
use crate::key::Key;
use crate::lang::{Field, Form, Node, Spanned, Word};
use crate::layer::{EntryPath, Merged};
use crate::work::{Facts, Folders, Output, World, Writing, Written};

pub(super) const EXT4: Kind = Kind { word: &EXT4_WORD, decode };
pub(super) const BTRFS: Kind = Kind { word: &BTRFS_WORD, decode };
pub(super) const XFS: Kind = Kind { word: &XFS_WORD, decode };
pub(super) const SQUASHFS: Kind = Kind { word: &SQUASHFS_WORD, decode };
pub(super) const EROFS: Kind = Kind { word: &EROFS_WORD, decode };

static EXT4_WORD: Word = Word {
    name: "ext4",
    summary: "the image as an ext4 file system",
    docs: "A file system and nothing around it: no table of partitions, no boot loader. Its UUID and what else is random \
           comes from what is in it, so that the same image is the same bytes. It has the features that Debian's mke2fs \
           gives one, and resize2fs can grow it a thousandfold; the file is sparse where nothing is.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    output \"ext4\" size=\"4GiB\" label=\"root\"\n}\n",
    properties: &[
        Field::new("size", Form::Size, "Its size: a multiple of 1 MiB.")
            .default("what is in it, a tenth more, and 64 MiB"),
        Field::new("label", Form::Text, "What it is called: up to 16 bytes.").default("none"),
    ],
    ..Word::BARE
};

static BTRFS_WORD: Word = Word {
    name: "btrfs",
    summary: "the image as a btrfs file system",
    docs: "On one device, without subvolumes: data once and metadata twice, as mkfs.btrfs makes it. Its UUIDs come from \
           what is in it, so that the same image is the same bytes. Written by imgbuild itself; a file that is sparse where \
           nothing is.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    output \"btrfs\" size=\"4GiB\" \
              label=\"root\"\n}\n",
    properties: &[
        Field::new("size", Form::Size, "Its size: a multiple of 1 MiB, and 109 MiB at least.")
            .default("what is in it, a tenth more, and 64 MiB"),
        Field::new("label", Form::Text, "What it is called: up to 255 bytes.").default("none"),
    ],
    ..Word::BARE
};

static XFS_WORD: Word = Word {
    name: "xfs",
    summary: "the image as an xfs file system",
    docs: "Its UUID comes from what is in it, so that the same image is the same bytes. Written by imgbuild itself; a file \
           that is sparse where nothing is. A symbolic link can have 1023 bytes, extended attributes of a file about 4000.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    output \"xfs\" size=\"4GiB\" \
              label=\"root\"\n}\n",
    properties: &[
        Field::new("size", Form::Size, "Its size: a multiple of 1 MiB, and 300 MiB at least.")
            .default("what is in it, a tenth more, and 64 MiB"),
        Field::new("label", Form::Text, "What it is called: up to 12 bytes.").default("none"),
    ],
    ..Word::BARE
};

static SQUASHFS_WORD: Word = Word {
    name: "squashfs",
    summary: "the image as a squashfs file system, compressed and only to be read",
    docs: "Written by the mksquashfs of a locked Debian tree that imgbuild brings itself.",
    example: "image \"live\" {\n    overlays \"site\"\n    output \"squashfs\" compression=\"xz\"\n}\n",
    properties: &[
        Field::new(
            "compression",
            Form::OneOf(&["zstd", "xz", "gzip", "lz4", "lzo"]),
            "How its blocks are compressed.",
        )
        .default("zstd"),
        Field::new(
            "level",
            Form::Integer { min: 1, max: 22 },
            "How hard: zstd 1 to 22, gzip and lzo 1 to 9.",
        )
        .default("zstd 3, gzip 9, lzo 8"),
    ],
    ..Word::BARE
};

static EROFS_WORD: Word = Word {
    name: "erofs",
    summary: "the image as an EROFS file system, only to be read",
    docs: "Its UUID comes from what is in it. Written by the mkfs.erofs of a locked Debian tree that imgbuild brings \
           itself.",
    example: "image \"appliance\" {\n    overlays \"site\"\n    output \"erofs\" compression=\"lz4hc\"\n}\n",
    properties: &[
        Field::new(
            "compression",
            Form::OneOf(&["none", "lz4", "lz4hc", "lzma", "deflate", "zstd"]),
            "How it is compressed.",
        )
        .default("none"),
        Field::new(
            "level",
            Form::Integer { min: 0, max: 109 },
            "How hard: lz4hc 0 to 12, lzma 0 to 9 and 100 to 109, deflate 1 to 9, zstd 0 to 22.",
        )
        .default("the tool's own"),
    ],
    ..Word::BARE
};

#[derive(Debug)]
struct FileSystem {
    stated: Stated,
    how: How,
}

/// Which file system, and what is said of it.
#[derive(Debug)]
enum How {
    Own { own: Own, size: Option<Spanned<u64>>, label: Option<String> },
    Squashfs(Compression),
    Erofs(Compression),
}

#[derive(Debug)]
struct Compression {
    name: String,
    level: Option<i64>,
}

fn decode(
    node: &Node,
    _target: &Target<'_>,
    _folders: &Folders,
    faults: &mut Faults,
) -> Option<Arc<dyn Output>> {
    let name = node.kind?.name;
    let how = match name {
        _ if let Some(own) = Own::named(name) => {
            let size = whole_size(node, "size", faults);
            let fault = size.as_ref().and_then(|size| own.check_size(size.value, &size.place));
            fault.into_iter().for_each(|fault| faults.push(fault));
            How::Own { own, size, label: label(node, name, faults) }
        }
        "squashfs" => {
            let mut how = compression(node, "zstd", &SQUASHFS_LEVELS, faults);
            // The tool's own, 15, takes ten times as long for a tenth less.
            how.level = how.level.or((how.name == "zstd").then_some(3));
            How::Squashfs(how)
        }
        _ => How::Erofs(compression(node, "none", &EROFS_LEVELS, faults)),
    };
    Some(Arc::new(FileSystem { stated: Stated::of(node), how }))
}

/// The size of a file system or a disk: a multiple of 1 MiB, up to [`LARGEST`].
pub(super) fn whole_size(node: &Node, field: &str, faults: &mut Faults) -> Option<Spanned<u64>> {
    let size = node.size(field)?;
    check_size(size.value, &size.place, faults).then_some(size)
}

/// Whether a file system or a disk, or a part of one, can be that large; a fault where it cannot.
pub(super) fn check_size(size: u64, place: &Place, faults: &mut Faults) -> bool {
    let message = match size {
        0 => "nothing has no size at all".into(),
        size if size % fit::STEP != 0 => {
            "the size of a file system or a disk is a multiple of 1 MiB".to_string()
        }
        LARGEST.. => format!("no file system and no disk can have {} or more", crate::wording::size(LARGEST)),
        _ => return true,
    };
    faults.push(Fault::error("size/odd", message).at(place, "this size"));
    false
}

/// What is larger than any: bytes. Sums of as many as a disk has still fit a number.
const LARGEST: u64 = 1 << 50;

/// A compression, and the ranges of its levels.
type Levels = (&'static str, &'static [(i64, i64)]);

const SQUASHFS_LEVELS: [Levels; 3] = [("zstd", &[(1, 22)]), ("gzip", &[(1, 9)]), ("lzo", &[(1, 9)])];
const EROFS_LEVELS: [Levels; 4] =
    [("lz4hc", &[(0, 12)]), ("lzma", &[(0, 9), (100, 109)]), ("deflate", &[(1, 9)]), ("zstd", &[(0, 22)])];

fn compression(node: &Node, default: &str, levels: &[Levels], faults: &mut Faults) -> Compression {
    let name = node.text("compression").map_or(default.to_string(), |name| name.value);
    let level = node.integer("level");
    if let Some(level) = &level {
        let ranges = levels.iter().find(|(of, _)| *of == name).map(|(_, ranges)| *ranges).unwrap_or_default();
        if !ranges.iter().any(|(least, most)| (*least..=*most).contains(&level.value)) {
            let told: Vec<String> = ranges.iter().map(|(least, most)| format!("{least} to {most}")).collect();
            let fault = Fault::error("output/level", format!("`{name}` has no level {}", level.value))
                .at(&level.place, "this level");
            faults.push(match told.is_empty() {
                true => fault.help("remove the level"),
                false => fault.help(format!("it has {}", told.join(" and "))),
            });
        }
    }
    Compression { name, level: level.map(|level| level.value) }
}

impl Output for FileSystem {
    fn kind(&self) -> &'static str {
        match self.how {
            How::Own { own, .. } => own.name(),
            How::Squashfs(_) => "squashfs",
            How::Erofs(_) => "erofs",
        }
    }
    fn extension(&self) -> String {
        self.kind().to_string()
    }
    fn place(&self) -> &Place {
        &self.stated.place
    }
    fn path(&self) -> Option<&Spanned<String>> {
        self.stated.path.as_ref()
    }
    fn tools(&self) -> Vec<&'static [&'static str]> {
        match self.how {
            How::Own { .. } => Vec::new(),
            How::Squashfs(_) => vec![&["squashfs-tools"]],
            How::Erofs(_) => vec![&["erofs-utils"]],
        }
    }

    fn facts(&self, world: &World) -> Result<Facts, Fault> {
        let mut key = Key::new("output-file-system", 2);
        key.fact("kind", self.kind());
        key.fact("epoch", world.epoch);
        match &self.how {
            How::Own { size, label, .. } => {
                key.fact_if("size", size.as_ref().map(|size| size.value));
                key.fact_if("label", label.as_ref());
            }
            How::Squashfs(compression) | How::Erofs(compression) => {
                key.fact("compression", &compression.name);
                key.fact_if("level", compression.level);
            }
        }
        Ok(Facts::new(key))
    }

    fn write(&self, writing: Writing<'_>) -> Result<Written, Fault> {
        let Writing { world, job, stack, path, aids, .. } = writing;
        let failed = |error: std::io::Error| Fault::io("write", path, &error);
        let (merged, place) = (world.image(stack)?, &self.stated.place);
        let uuid = Seed::of(stack, "").uuid("file system");
        let out = File::create_new(path).map_err(failed)?;
        let tool = match &self.how {
            How::Own { own, size, label } => {
                let whole =
                    size.clone().map_or_else(|| own.roomy(&merged).map(|size| Spanned::new(size, place)), Ok);
                let whole = whole.map_err(|fault| fault.at(place, "this output"))?;
                out.set_len(whole.value).map_err(failed)?;
                let (label, epoch) = (label.as_deref(), world.epoch);
                let threads = world.threads;
                let made = Made { merged: &merged, stack, uuid: &uuid, label, epoch, threads };
                own.write(&made, (&out, path), (0, &whole), place, job)?;
                return Ok(Written::default());
            }
            How::Squashfs(compression) => squashfs(compression, &merged, world),
            How::Erofs(compression) => erofs(compression, &uuid, world),
        };
        let tree = aids.tool(self.tools().concat().first().copied().unwrap_or_default())?;
        tool.write_from(&Tarball::of(merged.nodes(), stack), (tree, place), path, world, job)?;
        Ok(Written::default())
    }
}

fn squashfs(compression: &Compression, merged: &Merged, world: &World) -> Tool {
    let mut words: Vec<String> =
        ["-", OUT, "-tar", "-noappend", "-no-progress", "-quiet", "-comp"].map(String::from).to_vec();
    words.push(compression.name.clone());
    if let Some(level) = compression.level {
        words.extend(["-Xcompression-level".into(), level.to_string()]);
    }
    words.extend(["-mkfs-time".into(), world.epoch.max(0).to_string()]);
    // What a tar says of the root is not looked at.
    if let Some(root) = merged.get(&EntryPath::root()).map(|node| &node.entry) {
        words.extend(["-root-mode".into(), format!("{:o}", root.mode)]);
        words.extend(["-root-uid".into(), number(&root.owner.user).to_string()]);
        words.extend(["-root-gid".into(), number(&root.owner.group).to_string()]);
        words.extend(["-root-time".into(), root.mtime.max(0).to_string()]);
    }
    words.extend(["-processors".into(), world.threads.to_string()]);
    Tool::new("mksquashfs", words)
}

fn erofs(compression: &Compression, uuid: &str, world: &World) -> Tool {
    let mut words = vec!["--quiet".to_string(), "--tar=f".into(), "--mkfs-time".into()];
    words.push(format!("-T{}", world.epoch.max(0)));
    words.push(format!("-U{uuid}"));
    let name = &compression.name;
    match compression.level {
        _ if name == "none" => {}
        Some(level) => words.push(format!("-z{name},{level}")),
        None => words.push(format!("-z{name}")),
    }
    // Without a source it reads its standard input.
    words.push(OUT.into());
    Tool::new("mkfs.erofs", words)
}
