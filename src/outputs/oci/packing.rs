//! How a container image is packed: blobs by their digests, in a folder or in a tar.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::OciOutput;
use super::configuration::split_tag;
use crate::codec::{Encoder, Format, Layout, Settings};
use crate::fault::Fault;
use crate::key::{Digest, Hasher};
use crate::layer::header::{END, header, padding};
use crate::layer::merge::Node as TreeNode;
use crate::layer::{Entry, EntryPath, Kind as EntryKind};
use crate::outputs::tarball::{Tarball, copy_by_kernel};
use crate::work::{Job, Stack, World};

/// A layer that is packed.
pub(super) struct Layered {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// The digest of its tar, not compressed.
    pub(super) diff_id: Digest,
    /// The step that made it.
    pub(super) step: String,
}

/// What the image's members refer to by digest.
pub(super) struct Blobs {
    /// A folder for those that are files.
    pub(super) stage: PathBuf,
    pub(super) blobs: Vec<Blob>,
}

pub(super) struct Blob {
    digest: Digest,
    size: u64,
    content: BlobContent,
}

enum BlobContent {
    File(File),
    Text(String),
}

impl Blobs {
    fn add(&mut self, text: String) -> (Digest, u64) {
        let (digest, size) = (Digest::of(&text), text.len() as u64);
        self.blobs.push(Blob { digest, size, content: BlobContent::Text(text) });
        (digest, size)
    }

    /// Each blob once, by digest.
    fn members(&mut self, folder: &str, ending: &str) -> io::Result<Vec<Member>> {
        let mut members = BTreeMap::new();
        for blob in self.blobs.drain(..) {
            let name = format!("{folder}{}{ending}", blob.digest);
            members.insert(name.clone(), Member { name, size: blob.size, content: blob.content });
        }
        Ok(members.into_values().collect())
    }
}

/// A file of the image.
pub(super) struct Member {
    name: String,
    size: u64,
    content: BlobContent,
}

impl Member {
    fn text(name: &str, text: String) -> Member {
        Member { name: name.to_string(), size: text.len() as u64, content: BlobContent::Text(text) }
    }

    fn write(&self, out: &mut File) -> io::Result<()> {
        match &self.content {
            BlobContent::Text(text) => out.write_all(text.as_bytes()),
            BlobContent::File(file) => copy_by_kernel(file, 0, self.size, out),
        }
    }
}

pub(super) fn write_folder(path: &Path, members: &[Member]) -> io::Result<()> {
    fs::create_dir_all(path.join("blobs/sha256"))?;
    members.iter().try_for_each(|member| member.write(&mut File::create_new(path.join(&member.name))?))
}

pub(super) fn write_archive(path: &Path, members: &[Member], epoch: i64) -> io::Result<()> {
    let mut out = File::create_new(path)?;
    let mut folders = vec!["blobs", "blobs/sha256"];
    for member in members {
        if member.name.starts_with("blobs/") {
            for folder in folders.drain(..) {
                out.write_all(&header(&Entry::passage(EntryPath::parse(folder).unwrap_or_default(), epoch)))?;
            }
        }
        let kind = EntryKind::File { size: member.size, digest: Digest::from_bytes([0; 32]), offset: 0 };
        let path = EntryPath::parse(&member.name).unwrap_or_default();
        out.write_all(&header(&Entry { kind, mode: 0o644, weak: false, ..Entry::passage(path, epoch) }))?;
        member.write(&mut out)?;
        out.write_all(&END[..padding(member.size)])?;
    }
    out.write_all(&END)?;
    out.stream_position().map(drop)
}

impl OciOutput {
    /// Packs the layer of these nodes.
    pub(super) fn layer<'n>(
        &self,
        nodes: impl Iterator<Item = &'n TreeNode>,
        step: &str,
        world: &World,
        job: &Job<'_>,
        stack: &Stack,
        blobs: &mut Blobs,
    ) -> Result<Layered, Fault> {
        let path = blobs.stage.join(format!("blob-{}", blobs.blobs.len()));
        let failed = |error: io::Error| Fault::io("write", &path, &error);
        let tarball = Tarball::of(nodes, stack);
        let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
        let out = Hashed { out: BufWriter::with_capacity(1 << 20, file), hasher: Hasher::new(), size: 0 };
        let settings = Settings {
            format: self.compress.format,
            level: self.compress.level,
            layout: Layout::Frames,
            threads: world.threads,
        };
        let encoder = Encoder::new(settings, None, out).map_err(failed)?;
        let mut tee = Hashed { out: encoder, hasher: Hasher::new(), size: 0 };
        tarball.write(&mut tee, job)?.map_err(failed)?;
        let diff_id = tee.hasher.finish();
        let out = tee.out.finish().map_err(failed)?.out;
        let (digest, size) = (out.hasher.finish(), out.size);
        let file = out.out.into_inner().map_err(|error| failed(error.into_error()))?;
        blobs.blobs.push(Blob { digest, size, content: BlobContent::File(file) });
        Ok(Layered { digest, size, diff_id, step: step.to_string() })
    }

    /// An image layout, OCI image format specification 1.1.
    pub(super) fn layout_members(
        &self,
        config: String,
        layers: &[Layered],
        blobs: &mut Blobs,
    ) -> io::Result<Vec<Member>> {
        let config = blobs.add(config);
        let media_type = match self.compress.format {
            Format::None => "application/vnd.oci.image.layer.v1.tar".to_string(),
            format => format!("application/vnd.oci.image.layer.v1.tar+{}", format.name()),
        };
        let layers: Vec<Value> =
            layers.iter().map(|layer| descriptor(&media_type, layer.digest, layer.size)).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", config.0, config.1),
            "layers": layers,
        });
        let manifest = blobs.add(manifest.to_string());
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", manifest.0, manifest.1);
        entry["platform"] = json!({ "architecture": self.arch, "os": "linux" });
        if let Some(tag) = &self.tag {
            entry["annotations"] = json!({
                "io.containerd.image.name": tag,
                "org.opencontainers.image.ref.name": split_tag(tag).1,
            });
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry],
        });
        let mut members = blobs.members("blobs/sha256/", "")?;
        members.push(Member::text("index.json", index.to_string()));
        members.push(Member::text("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#.to_string()));
        Ok(members)
    }

    /// What `docker load` takes.
    pub(super) fn docker_members(
        &self,
        config: String,
        layers: &[Layered],
        blobs: &mut Blobs,
    ) -> io::Result<Vec<Member>> {
        let mut members = blobs.members("", ".tar")?;
        let config_name = format!("{}.json", Digest::of(&config));
        let names: Vec<String> = layers.iter().map(|layer| format!("{}.tar", layer.digest)).collect();
        let tags: Vec<String> = self
            .tag
            .iter()
            .map(|tag| {
                let (name, version) = split_tag(tag);
                format!("{name}:{version}")
            })
            .collect();
        let manifest = json!([{ "Config": config_name, "RepoTags": tags, "Layers": names }]);
        members.push(Member::text(&config_name, config));
        members.push(Member::text("manifest.json", manifest.to_string()));
        Ok(members)
    }
}

fn descriptor(media_type: &str, digest: Digest, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size })
}

/// Counts and hashes what passes.
struct Hashed<W> {
    out: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
