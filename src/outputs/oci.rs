//! `output "oci"`: a container image.
//!
//! OCI image format specification 1.1 (image layout, index, manifest, configuration), and the archive that
//! `docker load` takes (Docker image specification 1.2).

mod configuration;
mod packing;
mod words;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::{Compress, Kind, Stated, Target};
use crate::codec::Format;
use crate::fault::{Fault, Faults, Place};
use crate::key::Key;
use crate::lang::{Node, Spanned};
use crate::work::{Facts, Folders, Job, Output, Stack, World, Writing, Written};
use configuration::{checked_tag, own_tag, run};
use packing::{Blobs, Layered, write_archive, write_folder};

pub(super) const KIND: Kind = Kind { word: &words::WORD, decode };

#[derive(Debug)]
struct OciOutput {
    stated: Stated,
    tag: Option<String>,
    form: Packing,
    squash: bool,
    arch: String,
    compress: Compress,
    /// The part of the configuration that says how to run it.
    run: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Archive,
    Layout,
    Docker,
}

fn decode(
    node: &Node,
    target: &Target<'_>,
    _folders: &Folders,
    faults: &mut Faults,
) -> Option<Arc<dyn Output>> {
    let form = match node.text("format").map(|form| form.value).as_deref() {
        Some("layout") => Packing::Layout,
        Some("docker") => Packing::Docker,
        _ => Packing::Archive,
    };
    let compress = match form {
        Packing::Docker => docker_compression(node, faults),
        _ => Compress::of(node, Format::Gzip, faults),
    };
    Some(Arc::new(OciOutput {
        stated: Stated::of(node),
        tag: match node.text("tag") {
            Some(tag) => checked_tag(&tag, faults),
            None => Some(own_tag(target)),
        },
        form,
        squash: node.text("layers").is_some_and(|layers| layers.value == "squash"),
        arch: node.text("arch").map_or("amd64".into(), |arch| arch.value),
        compress,
        run: run(node, faults),
    }))
}

fn docker_compression(node: &Node, faults: &mut Faults) -> Compress {
    if let Some(stated) = node.text("compression").filter(|stated| stated.value != "none") {
        faults.push(
            Fault::error("oci/compression", "the layers of a `docker` archive are not compressed")
                .at(&stated.place, "this compression")
                .help("remove it, or use `format=\"archive\"`"),
        );
        return Compress { format: Format::None, level: None };
    }
    Compress::of(node, Format::None, faults)
}

impl Output for OciOutput {
    fn kind(&self) -> &'static str {
        "oci"
    }
    fn extension(&self) -> String {
        match self.form {
            Packing::Archive => "oci.tar".into(),
            Packing::Layout => "oci".into(),
            Packing::Docker => "docker.tar".into(),
        }
    }
    fn place(&self) -> &Place {
        &self.stated.place
    }
    fn path(&self) -> Option<&Spanned<String>> {
        self.stated.path.as_ref()
    }
    fn is_folder(&self) -> bool {
        self.form == Packing::Layout
    }
    fn names_layers(&self) -> bool {
        true
    }

    fn facts(&self, world: &World) -> Result<Facts, Fault> {
        let mut key = Key::new("output-oci", 2);
        key.fact("format", format_args!("{:?}", self.form));
        key.fact("layers", if self.squash { "squash" } else { "each" });
        key.fact("arch", &self.arch);
        key.fact_if("tag", self.tag.as_ref());
        key.fact("config", &self.run);
        self.compress.facts(&mut key);
        key.fact("epoch", world.epoch);
        Ok(Facts::new(key))
    }

    fn write(&self, writing: Writing<'_>) -> Result<Written, Fault> {
        let Writing { world, job, stack, path, .. } = writing;
        let mut blobs = Blobs { stage: world.store.stage()?.path("oci"), blobs: Vec::new() };
        fs::create_dir(&blobs.stage).map_err(|error| Fault::io("make", &blobs.stage, &error))?;
        let written = self.compose(world, job, stack, path, &mut blobs);
        // Left to the next sweep if it cannot be removed.
        let _ = fs::remove_dir_all(&blobs.stage);
        written.map(|()| Written::default())
    }
}

impl OciOutput {
    fn compose(
        &self,
        world: &World,
        job: &Job<'_>,
        stack: &Stack,
        path: &Path,
        blobs: &mut Blobs,
    ) -> Result<(), Fault> {
        let layers = self.layers(world, job, stack, blobs)?;
        let config = self.config(world.epoch, &layers).to_string();
        let failed = |error: io::Error| Fault::io("write", path, &error);
        let members = match self.form {
            Packing::Docker => self.docker_members(config, &layers, blobs).map_err(failed)?,
            _ => self.layout_members(config, &layers, blobs).map_err(failed)?,
        };
        job.go_on()?;
        match self.form {
            Packing::Layout => write_folder(path, &members),
            _ => write_archive(path, &members, world.epoch),
        }
        .map_err(failed)
    }

    /// The layers of the image: one for all, or one for each group of layers here.
    fn layers(
        &self,
        world: &World,
        job: &Job<'_>,
        stack: &Stack,
        blobs: &mut Blobs,
    ) -> Result<Vec<Layered>, Fault> {
        if self.squash {
            let merged = world.image(stack)?;
            return Ok(vec![self.layer(merged.nodes(), "squashed", world, job, stack, blobs)?]);
        }
        let mut layers = Vec::new();
        for group in stack.groups(world.epoch)? {
            let step = stack.face(&group.layers).map(|layer| layer.step.as_str()).unwrap_or_default();
            layers.push(self.layer(group.nodes.iter(), step, world, job, stack, blobs)?);
        }
        Ok(layers)
    }
}
