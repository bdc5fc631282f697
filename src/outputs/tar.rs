//! `output "tar"`: the image as one tar.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use super::tarball::Tarball;
use super::{COMPRESSIONS, Compress, Kind, LEVEL, Stated, Target};
use crate::codec::{Earlier, Encoder, Format, Layout, Settings};
use crate::fault::{Fault, Faults, Place};
use crate::key::Key;
use crate::lang::{Field, Node, Spanned, Word};
use crate::work::{Facts, Folders, Job, Output, Stack, World, Writing, Written};

pub(super) const KIND: Kind = Kind { word: &WORD, decode };

static WORD: Word = Word {
    name: "tar",
    summary: "the image as one tar",
    docs: "In the order of its paths, owners as numbers, with extended attributes, hard links and devices (`pax` format). \
           Compressed on all cores; what did not change since the last time is not compressed again.",
    example: "image \"server\" {\n    overlays \"site\"\n    output \"tar\" compression=\"zstd\" level=9\n}\n",
    properties: &[Field::new("compression", COMPRESSIONS, "How it is compressed.").default("none"), LEVEL],
    ..Word::BARE
};

#[derive(Debug)]
struct TarOutput {
    stated: Stated,
    compress: Compress,
}

fn decode(
    node: &Node,
    _target: &Target<'_>,
    _folders: &Folders,
    faults: &mut Faults,
) -> Option<Arc<dyn Output>> {
    Some(Arc::new(TarOutput { stated: Stated::of(node), compress: Compress::of(node, Format::None, faults) }))
}

impl Output for TarOutput {
    fn kind(&self) -> &'static str {
        "tar"
    }
    fn extension(&self) -> String {
        self.compress.extension("tar")
    }
    fn place(&self) -> &Place {
        &self.stated.place
    }
    fn path(&self) -> Option<&Spanned<String>> {
        self.stated.path.as_ref()
    }

    fn facts(&self, world: &World) -> Result<Facts, Fault> {
        let mut key = Key::new("output-tar", 1);
        self.compress.facts(&mut key);
        key.fact("epoch", world.epoch);
        Ok(Facts::new(key))
    }

    fn write(&self, writing: Writing<'_>) -> Result<Written, Fault> {
        let Writing { world, job, stack, path, aids, .. } = writing;
        write(self.compress, stack, path, aids.earlier, world, job)
    }
}

/// Writes the image to `path` as a tar.
pub(super) fn write(
    compress: Compress,
    stack: &Stack,
    path: &Path,
    earlier: Option<Earlier>,
    world: &World,
    job: &Job<'_>,
) -> Result<Written, Fault> {
    let failed = |error: std::io::Error| Fault::io("write", path, &error);
    let merged = world.image(stack)?;
    let tarball = Tarball::of(merged.nodes(), stack);
    let mut out = File::create_new(path).map_err(failed)?;
    if compress.format == Format::None {
        tarball.write_file(&mut out, job)?.map_err(failed)?;
        return Ok(Written::default());
    }
    let settings = Settings {
        format: compress.format,
        level: compress.level,
        layout: Layout::Frames,
        threads: world.threads,
    };
    let out = BufWriter::with_capacity(1 << 20, out);
    let mut encoder = Encoder::new(settings, earlier, out).map_err(failed)?;
    tarball.write(&mut encoder, job)?.map_err(failed)?;
    Ok(Written { blocks: encoder.finish().map_err(failed)?.blocks })
}
