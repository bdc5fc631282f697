//! Outputs that describe the machine around a disk, as its hypervisor reads that: `machine`, `ova`, `metadata`.
//!
//! What a machine is, `machine`, `disk` and `boot` say; each format is a file of this room and makes a text of a
//! [`Described`].

mod appliance;
mod libvirt;
mod metadata;
mod openvz;
mod ovf;
mod qemu;
mod vmx;
mod xl;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::disk::{Firmware, Machine};
use super::{Kind, Sibling, Stated, Target};
use crate::fault::{Fault, Faults, Place};
use crate::key::Key;
use crate::lang::{Field, Form, Node, Spanned, Word};
use crate::wording;
use crate::work::folders::{real, way};
use crate::work::{Facts, Folders, Output, World, Writing, Written};

pub(super) use appliance::OVA;
pub(super) use metadata::METADATA;

pub(super) const MACHINE: Kind = Kind { word: &WORD, decode };

static WORD: Word = Word {
    name: "machine",
    summary: "what a hypervisor is told of the machine that the image is for",
    docs: "Memory, processors, network cards and firmware as `machine` says, with the disk that the same block writes, and \
           the folder of `output \"kernel\"` where the hypervisor starts the kernel. `libvirt` is a domain for `virsh \
           define`; `qemu` a script that starts it; `vmx` a machine of VMware's, whose disk has to be `vmdk` with \
           `format=\"sparse\"`; `xl` a domain of Xen's; `openvz` the configuration of a container (vps.conf).",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    packages { linux-image-cloud-amd64; systemd-sysv \
              }\n    machine memory=\"2GiB\" cpus=4\n    output \"qcow2\"\n    output \"machine\" format=\"libvirt\"\n}\n",
    properties: &[
        Field::new("format", Form::OneOf(&NAMES), "Who reads it.").required(),
        Field::new(
            "folder",
            Form::Text,
            "Where the disk will lie on the hypervisor's host: an absolute path; for `qemu` and `vmx` it lies beside \
             this file.",
        )
        .default("/var/lib/libvirt/images, /var/lib/xen/images"),
    ],
    ..Word::BARE
};

/// Who reads a description.
#[derive(Debug)]
struct Reader {
    name: &'static str,
    extension: &'static str,
    /// The formats of disks that it can have, the best first; none if it needs no disk.
    disks: &'static [&'static str],
    /// Where the disk lies unless that is said.
    folder: &'static str,
    write: fn(&Described<'_>) -> String,
    is_program: bool,
}

const READERS: [Reader; 5] = [
    Reader {
        name: "libvirt",
        extension: "xml",
        disks: OF_QEMU,
        folder: "/var/lib/libvirt/images",
        write: libvirt::domain,
        is_program: false,
    },
    Reader {
        name: "qemu",
        extension: "sh",
        disks: OF_QEMU,
        folder: BESIDE,
        write: qemu::script,
        is_program: true,
    },
    Reader {
        name: "vmx",
        extension: "vmx",
        disks: &["vmdk"],
        folder: BESIDE,
        write: vmx::machine,
        is_program: false,
    },
    Reader {
        name: "xl",
        extension: "cfg",
        disks: &["raw", "qcow2", "vhd"],
        folder: "/var/lib/xen/images",
        write: xl::domain,
        is_program: false,
    },
    Reader {
        name: "openvz",
        extension: "conf",
        disks: &[],
        folder: "",
        write: openvz::container,
        is_program: false,
    },
];

const NAMES: [&str; READERS.len()] = {
    let mut names = [""; READERS.len()];
    let mut number = 0;
    while number < names.len() {
        names[number] = READERS[number].name;
        number += 1;
    }
    names
};

/// What QEMU has as a machine's disk.
const OF_QEMU: &[&str] = &["qcow2", "raw", "vmdk", "vdi", "vhdx", "vhd"];

/// Of a reader that takes the disk by its way from the description.
const BESIDE: &str = ".";

/// A machine as it is told to whoever runs it.
struct Described<'a> {
    /// What it is called: `IMAGE` or `IMAGE-HYPERVISOR`.
    name: &'a str,
    machine: &'a Machine,
    start: Start<'a>,
    /// The disk's file, in its folder or from the description; empty where there is none.
    disk: &'a str,
    /// The disk's format, as outputs are called.
    format: &'static str,
    /// Where these files lie.
    folder: &'a str,
}

/// What starts a machine.
enum Start<'a> {
    Bios,
    Efi,
    /// The hypervisor has the kernel: its folder, whether an initramfs is in it, and what the kernel is told.
    Kernel(&'a str, bool, &'a str),
}

impl Described<'_> {
    /// Memory in MiB.
    fn memory(&self) -> u64 {
        self.machine.memory() >> 20
    }

    /// Where a file of it lies.
    fn at(&self, file: &str) -> String {
        format!("{}/{file}", self.folder)
    }
}

#[derive(Debug)]
struct Description {
    stated: Stated,
    reader: &'static Reader,
    title: String,
    /// The image's name: what the disk is told to be of.
    image: String,
    machine: Machine,
    disk: Option<Sibling>,
    /// The kernel's folder.
    kernel: Option<Sibling>,
    folder: String,
}

fn decode(node: &Node, target: &Target<'_>, _: &Folders, faults: &mut Faults) -> Option<Arc<dyn Output>> {
    let format = node.text("format")?;
    let reader = READERS.iter().find(|reader| reader.name == format.value)?;
    let disk = target.sibling(reader.disks).cloned();
    if disk.is_none() && !reader.disks.is_empty() {
        faults.push(no_disk(reader.name, reader.disks, &format.place));
    }
    let is_stream = |disk: &Sibling| disk.format.as_deref() != Some("sparse");
    if let Some(disk) = disk.as_ref().filter(|disk| reader.name == "vmx" && is_stream(disk)) {
        faults.push(
            Fault::error(
                "machine/stream",
                "this `vmdk` is stream-optimised, which is imported, and attached to no machine as it is",
            )
            .at(&disk.place, "this disk")
            .at(&node.place, "this machine has it")
            .help("write one that is attached: `output \"vmdk\" format=\"sparse\"`"),
        );
    }
    let kernel = target.sibling(&["kernel"]).cloned();
    if !reader.disks.is_empty() && target.machine.firmware() == Firmware::Kernel && kernel.is_none() {
        let message = "this machine has no boot loader, and its kernel is not written";
        faults.push(
            Fault::error("machine/kernel", message)
                .at(&node.place, "this output")
                .help("add `output \"kernel\"` beside it"),
        );
    }
    let folder = folder(node, reader, faults);
    let (title, image, machine) = (target.title(), target.image.to_string(), target.machine.clone());
    Some(Arc::new(Description {
        stated: Stated::of(node),
        reader,
        title,
        image,
        machine,
        disk,
        kernel,
        folder,
    }))
}

/// There is no disk that a description could tell of.
fn no_disk(what: &str, disks: &[&str], place: &Place) -> Fault {
    let first = disks.first().copied().unwrap_or_default();
    let message = format!("{what} needs a disk, and no output beside it is {}", wording::either(disks));
    Fault::error("machine/disk", message).at(place, "this one").help(format!("add `output \"{first}\"`"))
}

fn folder(node: &Node, reader: &Reader, faults: &mut Faults) -> String {
    let Some(folder) = node.text("folder") else { return reader.folder.into() };
    let fault = match reader.folder {
        "" => "a container has no disk, which a folder could be of",
        BESIDE => "the disk is named by its way from this file, and has no folder of its own",
        _ if !folder.value.starts_with('/') || folder.value.chars().any(char::is_control) => {
            "the folder of a disk is an absolute path"
        }
        _ => return folder.value.trim_end_matches('/').to_string(),
    };
    faults.push(Fault::error("machine/folder", fault).at(&folder.place, "this folder"));
    String::new()
}

impl Output for Description {
    fn kind(&self) -> &'static str {
        "machine"
    }
    fn extension(&self) -> String {
        self.reader.extension.into()
    }
    fn place(&self) -> &Place {
        &self.stated.place
    }
    fn path(&self) -> Option<&Spanned<String>> {
        self.stated.path.as_ref()
    }

    fn facts(&self, world: &World) -> Result<Facts, Fault> {
        let mut facts = self.machine.facts(&self.image, world)?;
        facts.key.fact("machine", format_args!("1 {}", self.reader.name));
        self.machine.hardware_facts(&mut facts.key);
        facts.key.fact("name", &self.title);
        facts.key.fact("folder", &self.folder);
        let file = |sibling: &Sibling| format!("{} {}", sibling.kind, self.file(sibling, world));
        facts.key.fact_if("disk", self.disk.as_ref().map(file));
        facts.key.fact_if("kernel", self.kernel.as_ref().map(file));
        Ok(facts)
    }

    fn write(&self, writing: Writing<'_>) -> Result<Written, Fault> {
        let Writing { world, stack, path, .. } = writing;
        let told = self.machine.cmdline(&self.image, stack, world)?;
        let has_initramfs = self.machine.has_initramfs(&world.image(stack)?);
        let file = |sibling: &Option<Sibling>| {
            sibling.as_ref().map(|sibling| self.file(sibling, world)).unwrap_or_default()
        };
        let (kernel, disk) = (&file(&self.kernel), &file(&self.disk));
        let start = match self.machine.firmware() {
            Firmware::Kernel => Start::Kernel(kernel, has_initramfs, &told),
            Firmware::Efi => Start::Efi,
            Firmware::Bios => Start::Bios,
        };
        let format = self.disk.as_ref().map_or("", |disk| disk.kind);
        let (name, machine, folder) = (&self.title, &self.machine, &self.folder);
        let text = (self.reader.write)(&Described { name, machine, start, disk, format, folder });
        let mode = if self.reader.is_program { 0o755 } else { 0o644 };
        let written =
            fs::write(path, text).and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)));
        written.map_err(|error| Fault::io("write", path, &error))?;
        Ok(Written::default())
    }
}

impl Description {
    /// What it calls the file of another output.
    fn file(&self, sibling: &Sibling, world: &World) -> String {
        if self.folder != BESIDE {
            return sibling.file();
        }
        let here = self.stated.goes_to("machine", world);
        let here = real(here.parent().unwrap_or(&here));
        way(&here, &real(&world.project.join(&sibling.path))).display().to_string()
    }
}

/// States a machine's hardware.
impl Machine {
    pub(super) fn hardware_facts(&self, key: &mut Key) {
        key.fact("memory", format_args!("{} bytes", self.memory()));
        key.fact("cpus", self.cpus());
        key.fact("nics", self.nics());
        key.fact("firmware", self.firmware().name());
    }
}
