//! `output "metadata"`: what Incus and LXC are told of a container's file system that comes beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec::Format;
use crate::fault::{Fault, Faults, Place};
use crate::key::Key;
use crate::lang::{Field, Form, Node, Spanned, Word};
use crate::layer::{EntryPath, Merged};
use crate::outputs::given::layer_of;
use crate::outputs::{Compress, Kind, Stated, Target, tar};
use crate::work::{Facts, Folders, Output, Stack, StackLayer, World, Writing, Written};

pub(in crate::outputs) const METADATA: Kind = Kind { word: &WORD, decode };

static WORD: Word = Word {
    name: "metadata",
    summary: "what Incus or LXC are told of a container's file system",
    docs: "A tar.xz that goes with `output \"squashfs\"` or `output \"tar\" compression=\"xz\"`. For Incus and LXD: `incus image \
           import METADATA ROOTFS --alias NAME`; for LXC: `lxc-create -n NAME -t local -- -m METADATA -f ROOTFS`. What \
           system it is, is read from the image's own `/usr/lib/os-release`.",
    example: "image \"web\" {\n    base \"debian\" suite=\"trixie\"\n    packages { systemd-sysv }\n    output \"squashfs\"\n    \
              output \"metadata\" format=\"incus\"\n}\n",
    properties: &[Field::new("format", Form::OneOf(&["incus", "lxc"]), "Who reads it.").default("incus")],
    ..Word::BARE
};

#[derive(Debug)]
struct Metadata {
    stated: Stated,
    is_lxc: bool,
    title: String,
    version: Option<String>,
    arch: String,
}

fn decode(node: &Node, target: &Target<'_>, _: &Folders, faults: &mut Faults) -> Option<Arc<dyn Output>> {
    if target.sibling(&["squashfs", "tar"]).is_none() {
        faults.push(
            Fault::warning("metadata/alone", "no output beside this one is the file system that it tells of")
                .at(&node.place, "this output")
                .help("add one to the same block: `output \"squashfs\"`, or `output \"tar\" compression=\"xz\"`"),
        );
    }
    Some(Arc::new(Metadata {
        stated: Stated::of(node),
        is_lxc: node.text("format").is_some_and(|format| format.value == "lxc"),
        title: target.title(),
        version: target.version.map(String::from),
        arch: target.machine.arch().to_string(),
    }))
}

const PACKED: Compress = Compress { format: Format::Xz, level: None };

impl Output for Metadata {
    fn kind(&self) -> &'static str {
        "metadata"
    }
    fn extension(&self) -> String {
        "metadata.tar.xz".into()
    }
    fn place(&self) -> &Place {
        &self.stated.place
    }
    fn path(&self) -> Option<&Spanned<String>> {
        self.stated.path.as_ref()
    }

    fn facts(&self, world: &World) -> Result<Facts, Fault> {
        let mut key = Key::new("output-metadata", 1);
        key.fact("epoch", world.epoch);
        key.fact("format", if self.is_lxc { "lxc" } else { "incus" });
        key.fact("name", &self.title);
        key.fact_if("version", self.version.as_ref());
        key.fact("arch", &self.arch);
        PACKED.facts(&mut key);
        Ok(Facts::new(key))
    }

    fn write(&self, writing: Writing<'_>) -> Result<Written, Fault> {
        let Writing { world, job, stack, path, aids, .. } = writing;
        let merged = world.image(stack)?;
        let system = System::of(&merged, stack);
        let files = if self.is_lxc { self.lxc() } else { self.incus(&system, world.epoch) };
        let layer = StackLayer {
            name: "metadata".into(),
            step: format!("metadata of {}", self.title),
            kind: "metadata",
            place: self.stated.place.clone(),
            layer: layer_of(files, world)?,
            found: Vec::new(),
            joins: false,
        };
        tar::write(PACKED, &Stack { layers: vec![layer] }, path, aids.earlier, world, job)
    }
}

type Texts = BTreeMap<EntryPath, Option<Vec<u8>>>;

impl Metadata {
    /// Incus' image format: `metadata.yaml` (<https://linuxcontainers.org/incus/docs/main/reference/image_format/>).
    fn incus(&self, system: &System, epoch: i64) -> Texts {
        let version = self.version.iter().map(|version| format!(" {version}")).collect::<String>();
        let properties = [
            ("architecture", self.arch.clone()),
            ("description", format!("{}{version}", self.title)),
            ("name", self.title.clone()),
            ("os", system.os.clone()),
            ("release", system.release.clone()),
        ];
        let mut text = format!(
            "architecture: {}\ncreation_date: {epoch}\nproperties:\n",
            crate::deb::kernel_arch(&self.arch)
        );
        for (name, value) in properties.iter().filter(|(_, value)| !value.is_empty()) {
            // A JSON string is a YAML string.
            text.push_str(&format!("  {name}: {}\n", serde_json::Value::from(value.as_str())));
        }
        texts(&[("metadata.yaml", &text)])
    }

    /// What lxc-create's template `local` reads: the beginning of a container's configuration, for root and for others.
    fn lxc(&self) -> Texts {
        let arch = crate::deb::kernel_arch(&self.arch);
        let config = format!("lxc.include = LXC_TEMPLATE_CONFIG/common.conf\nlxc.arch = {arch}\n");
        let include = "lxc.include = LXC_TEMPLATE_CONFIG/userns.conf\n";
        let message = format!("You just created a container of {}.\n", self.title);
        texts(&[
            ("config", &config),
            ("config-user", &format!("{include}{config}")),
            ("create-message", &message),
            ("excludes-user", ""),
            ("templates", ""),
        ])
    }
}

fn texts(files: &[(&str, &str)]) -> Texts {
    let text = |(name, text): &(&str, &str)| {
        (EntryPath::parse(*name).unwrap_or_default(), Some(text.as_bytes().to_vec()))
    };
    files.iter().map(text).collect()
}

/// Which system an image is, as os-release(5) tells.
#[derive(Debug, Default)]
struct System {
    os: String,
    release: String,
}

impl System {
    fn of(merged: &Merged, stack: &Stack) -> System {
        const MOST: u64 = 64 << 10;
        let path = EntryPath::parse("usr/lib/os-release").unwrap_or_default();
        let bytes = merged.file(&path).and_then(|node| {
            let layer = stack.layer_of(node)?;
            layer.bytes(&node.entry, MOST).ok()
        });
        let text = String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.map(|value| value.trim_matches(['"', '\'']).to_string()).filter(|value| !value.is_empty())
        };
        let release = value("VERSION_CODENAME").or_else(|| value("VERSION_ID"));
        System { os: value("ID").unwrap_or_default(), release: release.unwrap_or_default() }
    }
}
