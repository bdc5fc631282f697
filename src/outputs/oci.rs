//! `output "oci"`: a container image.
//!
//! OCI image format specification 1.1 (image layout, index, manifest, configuration), and the archive that
//! `docker load` takes (Docker image specification 1.2).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::tarball::{Tarball, copy_by_kernel};
use super::{Compress, Kind, LEVEL, Stated, Target};
use crate::codec::{Encoder, Format, Layout, Settings};
use crate::fault::{Fault, Faults, Place};
use crate::key::{Digest, Hasher, Key};
use crate::lang::{Child, Field, Form, Node, Owner, Spanned, Word};
use crate::layer::header::{END, header, padding};
use crate::layer::merge::Node as TreeNode;
use crate::layer::{Entry, EntryPath, Kind as EntryKind, Merged};
use crate::work::{Facts, Folders, Job, Output, Reuse, Stack, World, Written};

pub(super) const KIND: Kind = Kind { word: &WORD, decode };

static WORD: Word = Word {
    name: "oci",
    summary: "a container image",
    docs: "A layer of the image for every layer here, so that images that share overlays share them in a registry too, or \
           one for all with `layers=\"squash\"`. `format` chooses between one tar file with an OCI image layout \
           (`skopeo copy oci-archive:FILE …`, `podman load`), the same as a folder, and what `docker load` takes.",
    example: "image \"web\" {\n    overlays \"site\"\n    output \"oci\" tag=\"web:1.0\" user=\"33:33\" {\n        \
              entrypoint \"/usr/bin/web\" \"--port\" \"8080\"\n        env LANG=\"C.UTF-8\"\n        label \
              org.opencontainers.image.title=\"web\"\n        port \"8080/tcp\"\n    }\n}\n",
    properties: &[
        Field::new("tag", Form::Text, "Its name, `NAME:TAG`; without `:TAG`, `latest`.")
            .default("the image's name, and its version"),
        Field::new(
            "format",
            Form::OneOf(&["archive", "layout", "docker"]),
            "One tar file, a folder, or what `docker \
            load` takes.",
        )
        .default("archive"),
        Field::new(
            "layers",
            Form::OneOf(&["each", "squash"]),
            "A layer for every layer here, or one for all.",
        )
        .default("each"),
        Field::new("arch", Form::Name, "The architecture that it is for, as Go calls it: `amd64`, `arm64` …")
            .default("amd64"),
        Field::new("user", Form::Text, "Whom its program runs as: `user` or `user:group`, names or numbers."),
        Field::new("workdir", Form::ImagePath, "The directory that its program starts in."),
        Field::new(
            "compression",
            Form::OneOf(&["none", "gzip", "zstd"]),
            "How layers are compressed; `docker` takes none.",
        )
        .default("gzip"),
        LEVEL,
    ],
    children: &[
        Child::once(&ENTRYPOINT),
        Child::once(&COMMAND),
        Child::many(&ENV),
        Child::many(&LABEL),
        Child::once(&PORT),
        Child::once(&VOLUME),
    ],
    ..Word::BARE
};

macro_rules! list_word {
    ($name:ident, $word:literal, $summary:literal, $docs:literal, $value:literal, $example:literal) => {
        static $name: Word = Word {
            name: $word,
            summary: $summary,
            docs: $docs,
            example: concat!("image \"web\" {\n    output \"oci\" {\n        ", $example, "\n    }\n}\n"),
            rest: Some(Field::new("value", Form::Text, $value).required()),
            ..Word::BARE
        };
    };
}

list_word!(
    ENTRYPOINT,
    "entrypoint",
    "the program that runs",
    "As the container starts; what `command` says, or who starts it, comes behind it.",
    "The program, then its arguments, one each.",
    "entrypoint \"/sbin/init\""
);
list_word!(
    COMMAND,
    "command",
    "arguments that whoever starts it may replace",
    "They follow those of `entrypoint`; without one, the first of them is the program.",
    "An argument.",
    "command \"--help\""
);
list_word!(
    PORT,
    "port",
    "ports that it listens on",
    "They are only told: whoever starts the container decides which can be reached.",
    "`NUMBER`, `NUMBER/tcp`, `NUMBER/udp` or `NUMBER/sctp`; a number alone is tcp.",
    "port \"80/tcp\" \"443/tcp\""
);
list_word!(
    VOLUME,
    "volume",
    "directories for data",
    "They hold what outlives a container.",
    "A directory of the image.",
    "volume \"/var/lib/data\""
);

static ENV: Word = Word {
    name: "env",
    summary: "environment variables of its program",
    docs: "`NAME=\"VALUE\"`, any number of them. Where a name is given twice, the last one counts.",
    example: "image \"web\" {\n    output \"oci\" {\n        env LANG=\"C.UTF-8\" TZ=\"UTC\"\n    }\n}\n",
    free_properties: Some(Field::new("NAME", Form::Text, "The variable's value.")),
    ..Word::BARE
};

static LABEL: Word = Word {
    name: "label",
    summary: "what registries and tools show of it",
    docs: "`NAME=\"VALUE\"`, any number of them. Where a name is given twice, the last one counts. The names that tools \
           know begin with `org.opencontainers.image.`.",
    example: "image \"web\" {\n    output \"oci\" {\n        label org.opencontainers.image.title=\"web\"\n    }\n}\n",
    free_properties: Some(Field::new("NAME", Form::Text, "The label's value.")),
    ..Word::BARE
};

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

/// `IMAGE:VERSION`, as far as the names can stand in a tag.
fn own_tag(target: &Target<'_>) -> String {
    let letter = |letter: char| {
        if letter.is_ascii_lowercase() || letter.is_ascii_digit() || "._-".contains(letter) {
            letter
        } else {
            '-'
        }
    };
    let named = match target.hypervisor {
        Some(hypervisor) => format!("{}-{hypervisor}", target.image),
        None => target.image.to_string(),
    };
    let name: String = named.to_lowercase().chars().map(letter).collect();
    let version = target.version.filter(|version| is_version(version)).unwrap_or("latest");
    format!("{name}:{version}")
}

/// Whether it can stand behind the colon of a tag.
fn is_version(version: &str) -> bool {
    !version.is_empty()
        && version.len() <= 128
        && !version.starts_with(['.', '-'])
        && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// `NAME[:TAG]` as the OCI distribution specification allows them.
fn checked_tag(tag: &Spanned<String>, faults: &mut Faults) -> Option<String> {
    let (name, version) = split_tag(&tag.value);
    let name_fits = name.split('/').all(|part| {
        part.starts_with(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-:".contains(&byte))
    });
    if name_fits && is_version(version) {
        return Some(tag.value.clone());
    }
    faults.push(
        Fault::error(
            "oci/tag",
            format!("`{}` is no name for a container image", crate::wording::printable(&tag.value)),
        )
        .at(&tag.place, "this tag")
        .help("write `name:tag`, the name in lower case with `a-z 0-9 . _ - /`"),
    );
    None
}

fn split_tag(tag: &str) -> (&str, &str) {
    match tag.rsplit_once(':') {
        Some((name, version)) if !version.contains('/') => (name, version),
        _ => (tag, "latest"),
    }
}

/// The configuration's `config` object, with the members that were stated.
fn run(node: &Node, faults: &mut Faults) -> Value {
    let mut config = serde_json::Map::new();
    let texts = |word: &str| -> Vec<Spanned<String>> {
        node.child(word).map(|child| child.texts("value")).unwrap_or_default()
    };
    let values = |word: &str| -> Vec<String> { texts(word).into_iter().map(|text| text.value).collect() };
    let set = |values: Vec<String>| -> Value { values.into_iter().map(|value| (value, json!({}))).collect() };
    let free = |word: &str| -> BTreeMap<String, String> {
        let children = node.children(word);
        children
            .flat_map(|child| {
                child.free().map(|(name, value)| (name.to_string(), value.value)).collect::<Vec<_>>()
            })
            .collect()
    };
    if let Some(user) = node.text("user") {
        config.insert("User".into(), json!(user.value));
    }
    let ports =
        texts("port").into_iter().filter_map(|port| checked_port(&port, faults)).collect::<Vec<String>>();
    if !ports.is_empty() {
        config.insert("ExposedPorts".into(), set(ports));
    }
    let env: Vec<String> = free("env").into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    for (name, list) in [("Env", env), ("Entrypoint", values("entrypoint")), ("Cmd", values("command"))] {
        if !list.is_empty() {
            config.insert(name.into(), json!(list));
        }
    }
    if !values("volume").is_empty() {
        config.insert("Volumes".into(), set(values("volume")));
    }
    if let Some(folder) = node.text("workdir") {
        config.insert("WorkingDir".into(), json!(folder.value));
    }
    let labels = free("label");
    if !labels.is_empty() {
        config.insert("Labels".into(), json!(labels));
    }
    Value::Object(config)
}

fn checked_port(port: &Spanned<String>, faults: &mut Faults) -> Option<String> {
    let (number, protocol) = port.value.split_once('/').unwrap_or((&port.value, "tcp"));
    if number.parse::<u16>().is_ok_and(|number| number > 0) && matches!(protocol, "tcp" | "udp" | "sctp") {
        return Some(format!("{number}/{protocol}"));
    }
    faults.push(
        Fault::error("oci/port", format!("`{}` is not a port", crate::wording::printable(&port.value)))
            .at(&port.place, "this port")
            .help("write `\"80\"`, `\"80/tcp\"` or `\"53/udp\"`"),
    );
    None
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
        let mut key = Key::new("output-oci", 1);
        key.fact("format", format_args!("{:?}", self.form));
        key.fact("layers", if self.squash { "squash" } else { "each" });
        key.fact("arch", &self.arch);
        key.fact_if("tag", self.tag.as_ref());
        key.fact("config", &self.run);
        self.compress.facts(&mut key);
        key.fact("epoch", world.epoch);
        Ok(Facts::new(key))
    }

    fn write(
        &self,
        world: &World,
        job: &Job<'_>,
        stack: &Stack,
        path: &Path,
        _reuse: Reuse,
    ) -> Result<Written, Fault> {
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

    fn layers(
        &self,
        world: &World,
        job: &Job<'_>,
        stack: &Stack,
        blobs: &mut Blobs,
    ) -> Result<Vec<Layered>, Fault> {
        let mut layers = Vec::new();
        if self.squash {
            let merged = stack.image(world.epoch)?;
            let nodes: Vec<&TreeNode> = merged.nodes().collect();
            layers.push(self.layer(&nodes, "squashed", world, job, stack, blobs)?);
            return Ok(layers);
        }
        // Owners are numbers only in the image as a whole, so they are taken from there.
        let image = stack.image(world.epoch)?;
        let mut below = Merged::default();
        for (number, layer) in stack.layers.iter().enumerate() {
            let mut nodes = own_nodes(&mut below, number, &layer.layer.index.entries, &image);
            for node in &mut nodes {
                node.entry.mtime = node.entry.mtime.min(world.epoch);
            }
            let nodes: Vec<&TreeNode> = nodes.iter().collect();
            layers.push(self.layer(&nodes, &layer.step, world, job, stack, blobs)?);
        }
        Ok(layers)
    }

    fn layer(
        &self,
        nodes: &[&TreeNode],
        step: &str,
        world: &World,
        job: &Job<'_>,
        stack: &Stack,
        blobs: &mut Blobs,
    ) -> Result<Layered, Fault> {
        let path = blobs.stage.join(format!("blob-{}", blobs.blobs.len()));
        let failed = |error: io::Error| Fault::io("write", &path, &error);
        let tarball = Tarball::of(nodes.iter().copied(), stack);
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

    /// OCI image configuration.
    fn config(&self, epoch: i64, layers: &[Layered]) -> Value {
        let created = timestamp(epoch);
        let history: Vec<Value> = layers
            .iter()
            .map(|layer| json!({ "created": created, "created_by": format!("imgbuild {}", layer.step) }))
            .collect();
        let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", layer.diff_id)).collect();
        json!({
            "created": created,
            "architecture": self.arch,
            "os": "linux",
            "config": self.run,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": history,
        })
    }

    fn layout_members(
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

    fn docker_members(
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

/// What the layer adds to those below it, as a layer of its own: paths where they landed, and its whiteouts.
fn own_nodes(below: &mut Merged, number: usize, entries: &[Entry], image: &Merged) -> Vec<TreeNode> {
    let mut markers: BTreeMap<EntryPath, Entry> = BTreeMap::new();
    for entry in entries {
        // Cannot fail: the whole stack was merged before.
        let landed = below.add(number, entry.clone());
        if let (Ok(path), true) = (landed, entry.is_whiteout()) {
            markers.insert(path.clone(), Entry { path, ..entry.clone() });
        }
    }
    below.settle();
    let mut nodes: Vec<TreeNode> = below.nodes().filter(|node| node.layer == number).cloned().collect();
    for marker in markers.into_values() {
        nodes.push(TreeNode { entry: marker, layer: number });
    }
    for node in &mut nodes {
        number_owner(&mut node.entry, image);
    }
    nodes.sort_by(|left, right| left.entry.order(&right.entry));
    nodes
}

/// Whoever owns the path in the whole image; a path that a later layer hides belongs to root.
fn number_owner(entry: &mut Entry, image: &Merged) {
    use crate::lang::value::Id;
    if matches!((&entry.owner.user, &entry.owner.group), (Id::Number(_), Id::Number(_))) {
        return;
    }
    entry.owner = image.get(&entry.path).map_or(Owner::ROOT, |node| node.entry.owner.clone());
}

struct Layered {
    digest: Digest,
    size: u64,
    diff_id: Digest,
    step: String,
}

struct Blobs {
    stage: PathBuf,
    blobs: Vec<Blob>,
}

struct Blob {
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

struct Member {
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

fn write_folder(path: &Path, members: &[Member]) -> io::Result<()> {
    fs::create_dir_all(path.join("blobs/sha256"))?;
    members.iter().try_for_each(|member| member.write(&mut File::create_new(path.join(&member.name))?))
}

fn write_archive(path: &Path, members: &[Member], epoch: i64) -> io::Result<()> {
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

/// RFC 3339 in UTC.
fn timestamp(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = crate::lang::value::civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}
