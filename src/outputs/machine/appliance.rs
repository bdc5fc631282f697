//! `output "ova"`: a machine and its disk in one file, as VMware and VirtualBox import it.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use super::ovf::{self, Package};
use crate::fault::{Fault, Faults, Place};
use crate::key::Digest;
use crate::lang::{Node, Spanned, Word};
use crate::outputs::disk::{Assembly, Firmware, Format, Machine};
use crate::outputs::{Kind, Stated, Target};
use crate::work::{Facts, Folders, Output, World, Writing, Written};

pub(in crate::outputs) const OVA: Kind = Kind { word: &WORD, decode };

static WORD: Word = Word {
    name: "ova",
    summary: "a machine with its disk in one file, for VMware and VirtualBox",
    docs: "What `machine` says as a descriptor (Open Virtualization Format 1.1), a manifest with the digests, and what `disk` \
           and `boot` say as a compressed VMDK. Its disk is on a SATA controller and its network card an E1000, which \
           `linux-image-amd64` has drivers for, and the cloud kernel has not.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    packages { linux-image-amd64; systemd-sysv }\n    \
              machine memory=\"2GiB\" cpus=2\n    output \"ova\"\n}\n",
    ..Word::BARE
};

#[derive(Debug)]
struct Appliance {
    stated: Stated,
    title: String,
    image: String,
    machine: Machine,
}

fn decode(node: &Node, target: &Target<'_>, _: &Folders, faults: &mut Faults) -> Option<Arc<dyn Output>> {
    if target.machine.firmware() == Firmware::Kernel {
        faults.push(
            Fault::error(
                "machine/loader",
                "such a machine has to start by itself, and its disk has no boot loader",
            )
            .at(&node.place, "this output")
            .help("give it one: `boot loader=\"grub\"`"),
        );
    }
    let (title, image, machine) = (target.title(), target.image.to_string(), target.machine.clone());
    Some(Arc::new(Appliance { stated: Stated::of(node), title, image, machine }))
}

const DISK: Format = Format::Vmdk { stream: true };

impl Output for Appliance {
    fn kind(&self) -> &'static str {
        "ova"
    }
    fn extension(&self) -> String {
        "ova".into()
    }
    fn place(&self) -> &Place {
        &self.stated.place
    }
    fn path(&self) -> Option<&Spanned<String>> {
        self.stated.path.as_ref()
    }
    fn tools(&self) -> Vec<&'static [&'static str]> {
        self.machine.tools().into_iter().chain(DISK.tools()).collect()
    }

    fn facts(&self, world: &World) -> Result<Facts, Fault> {
        let mut facts = self.machine.facts(&self.image, world)?;
        facts.key.fact("ova", 1);
        facts.key.fact("name", &self.title);
        self.machine.hardware_facts(&mut facts.key);
        DISK.facts(&mut facts.key);
        Ok(facts)
    }

    fn write(&self, writing: Writing<'_>) -> Result<Written, Fault> {
        let Writing { world, job, stack, path, aids, .. } = writing;
        let place = &self.stated.place;
        let (machine, title) = (&self.machine, self.image.as_str());
        let (key, raw) = Assembly { machine, title, place, stack, aids: &aids, world, job }.shared()?;
        let stage = world.store.stage()?;
        let disk = stage.path("disk.vmdk");
        DISK.convert(raw.path(), &disk, key, (&aids, place), world, job)?;
        let capacity = length(raw.path())?;
        let written = self.pack(capacity, &disk, path, world.epoch);
        let _ = fs::remove_file(&disk);
        written.map(|()| Written::default()).map_err(|error| Fault::io("write", path, &error))
    }
}

impl Appliance {
    /// The descriptor first, the manifest behind it, then what they speak of (DSP0243, chapter 5.3).
    fn pack(&self, capacity: u64, disk: &Path, path: &Path, epoch: i64) -> io::Result<()> {
        let name = |extension: &str| format!("{}.{extension}", self.title);
        let size = fs::metadata(disk)?.len();
        let descriptor = ovf::descriptor(&Package {
            name: &self.title,
            file: (&name("vmdk"), size),
            capacity,
            memory: self.machine.memory() >> 20,
            cpus: self.machine.cpus(),
            nics: self.machine.nics(),
            is_efi: self.machine.firmware() == Firmware::Efi,
        });
        let manifest = format!(
            "SHA256({})= {}\nSHA256({})= {}\n",
            name("ovf"),
            Digest::of(&descriptor),
            name("vmdk"),
            Digest::read(File::open(disk)?)?
        );
        let mut tar = tar::Builder::new(BufWriter::with_capacity(1 << 20, File::create_new(path)?));
        let mut add = |name: String, size: u64, content: &mut dyn Read| {
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(u64::try_from(epoch).unwrap_or_default());
            header.set_size(size);
            tar.append_data(&mut header, name, content)
        };
        add(name("ovf"), descriptor.len() as u64, &mut descriptor.as_bytes())?;
        add(name("mf"), manifest.len() as u64, &mut manifest.as_bytes())?;
        add(name("vmdk"), size, &mut BufReader::with_capacity(1 << 20, File::open(disk)?))?;
        tar.into_inner()?.flush()
    }
}

fn length(path: &Path) -> Result<u64, Fault> {
    fs::metadata(path).map(|metadata| metadata.len()).map_err(|error| Fault::io("read", path, &error))
}
