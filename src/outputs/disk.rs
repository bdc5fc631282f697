//! Outputs that are disks: `raw`, `qcow2`, `vmdk`, `vdi`, `vhd`, `vhdx`.
//!
//! A disk is put together as a sparse file: the table, then each partition in its place, written there by who makes its
//! file system. Nothing is mounted, and no loop device needed. The other formats are made from that by qemu-img. Several
//! outputs of one disk put it together once.
//!
//! What is said of a disk is in `spec`, what must not be in `rules`, the words in [`words`]; `layout` says where things
//! lie, `table` tells it to others, `fat` writes what firmware reads, `loader` what starts the `kernel`. Outputs that are
//! kernels are in `beside`.

mod assemble;
mod backing;
mod beside;
mod convert;
mod fat;
pub mod formats;
mod fstab;
mod kernel;
mod layout;
mod loader;
mod rules;
pub(super) mod spec;
mod table;
pub mod words;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::{Kind, Sibling, Stated, Target};
use crate::fault::{Fault, Faults, Place};
use crate::key::Key;
use crate::lang::{Field, Form, Node, Spanned, Word};
use crate::layer::Merged;
use crate::work::{Facts, Folders, Output, Stack, World, Writing, Written};

pub(super) use assemble::Assembly;
use backing::Backing;
pub(super) use convert::Format;
use spec::{Boot, Content, Disk, Hardware, Loader};

pub(super) const RAW: Kind = Kind { word: &RAW_WORD, decode };
pub(super) const QCOW2: Kind = Kind { word: &QCOW2_WORD, decode };
pub(super) const VMDK: Kind = Kind { word: &VMDK_WORD, decode };
pub(super) const VDI: Kind = Kind { word: &VDI_WORD, decode };
pub(super) const VHD: Kind = Kind { word: &VHD_WORD, decode };
pub(super) const VHDX: Kind = Kind { word: &VHDX_WORD, decode };
pub use beside::ramdisk;
pub(super) use beside::{KERNEL, RAMDISK, UKI};

static RAW_WORD: Word = Word {
    name: "raw",
    summary: "a disk, byte by byte",
    docs: "What `disk` and `boot` say, in a file that is sparse where nothing is.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    packages { linux-image-cloud-amd64; systemd-sysv \
              }\n    output \"raw\"\n}\n",
    ..Word::BARE
};

static QCOW2_WORD: Word = Word {
    name: "qcow2",
    summary: "a disk for QEMU, KVM and OpenStack",
    docs: "What `disk` and `boot` say. Written by the qemu-img of a locked Debian tree that imgbuild brings itself.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    packages { linux-image-cloud-amd64; systemd-sysv \
              }\n    output \"qcow2\" compression=\"zstd\"\n}\n",
    properties: &[
        Field::new(
            "compression",
            Form::OneOf(&["none", "zlib", "zstd"]),
            "How its clusters are compressed; `zstd` needs QEMU 5.1 to be read.",
        )
        .default("none"),
        backing::FIELD,
    ],
    ..Word::BARE
};

static VMDK_WORD: Word = Word {
    name: "vmdk",
    summary: "a disk for VMware",
    docs: "What `disk` and `boot` say. `stream` is compressed, as it is imported; `sparse` can be written to as it is.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    packages { linux-image-amd64; systemd-sysv }\n    \
              output \"vmdk\" format=\"sparse\"\n}\n",
    properties: &[Field::new("format", Form::OneOf(&["stream", "sparse"]), "How it lies in the file.")
        .default("stream")],
    ..Word::BARE
};

static VDI_WORD: Word = Word {
    name: "vdi",
    summary: "a disk for VirtualBox",
    docs: "What `disk` and `boot` say.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    packages { linux-image-amd64; systemd-sysv }\n    \
              output \"vdi\"\n}\n",
    ..Word::BARE
};

static VHD_WORD: Word = Word {
    name: "vhd",
    summary: "a disk for Hyper-V's first generation, and for Azure",
    docs: "What `disk` and `boot` say. Azure takes `fixed=#true`, whose size is a whole number of MiB.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    packages { linux-image-cloud-amd64; systemd-sysv \
              }\n    output \"vhd\" fixed=#true\n}\n",
    properties: &[
        Field::new("fixed", Form::Flag, "Whether all of the disk is in the file.").default("#false")
    ],
    ..Word::BARE
};

static VHDX_WORD: Word = Word {
    name: "vhdx",
    summary: "a disk for Hyper-V",
    docs: "What `disk` and `boot` say.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    packages { linux-image-cloud-amd64; systemd-sysv \
              }\n    output \"vhdx\"\n}\n",
    ..Word::BARE
};

#[derive(Debug)]
struct DiskImage {
    stated: Stated,
    format: Format,
    /// What its file is called where no path is stated.
    file: String,
    /// What the image is called.
    title: String,
    machine: Machine,
    /// Whether no other output of the same target is of the same disk.
    is_alone: bool,
    /// What its file stands on.
    backing: Option<Backing>,
}

/// What starts a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// A BIOS.
    Bios,
    /// EFI.
    Efi,
    /// The hypervisor, which has the kernel.
    Kernel,
}

impl Firmware {
    /// The word that keys have.
    pub fn name(self) -> &'static str {
        match self {
            Firmware::Bios => "bios",
            Firmware::Efi => "efi",
            Firmware::Kernel => "kernel",
        }
    }
}

/// A disk, how it boots, and the machine around it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The disk that is spoken of, if one is.
    stated: Option<Arc<Disk>>,
    pub(super) disk: Arc<Disk>,
    pub(super) boot: Arc<Boot>,
    hardware: Hardware,
}

impl Machine {
    /// What `disk`, `boot` and `machine` say among the words of an image, of `arch`; `place` stands for a disk that nothing
    /// is said of.
    pub fn of(
        children: &[&Node],
        arch: &str,
        place: &Place,
        folders: &Folders,
        faults: &mut Faults,
    ) -> Machine {
        Machine::unsaid(arch, place).with(children, place, folders, faults)
    }

    /// The one that nothing is said of.
    pub fn unsaid(arch: &str, place: &Place) -> Machine {
        let boot = Boot::unsaid(arch);
        let disk = Arc::new(Disk::usual(place, boot.loader, arch));
        Machine { stated: None, disk, boot: Arc::new(boot), hardware: Hardware::USUAL }
    }

    /// The same with what is said among the words of one of its hypervisors.
    pub fn with(&self, children: &[&Node], place: &Place, folders: &Folders, faults: &mut Faults) -> Machine {
        let boot = spec::stated(children, &words::BOOT, faults)
            .map(|node| Arc::new(Boot::of(node, &self.boot.arch, faults)));
        let boot = boot.unwrap_or_else(|| Arc::clone(&self.boot));
        let disk = spec::stated(children, &words::DISK, faults)
            .map(|node| Arc::new(Disk::of(node, folders, faults)));
        let stated = disk.or_else(|| self.stated.clone());
        let usual = || Arc::new(Disk::usual(place, boot.loader, &boot.arch));
        let disk = stated.as_ref().map(|disk| disk.completed(boot.loader, &boot.arch)).unwrap_or_else(usual);
        let hardware = spec::stated(children, &words::MACHINE, faults).map(|node| Hardware::of(node, faults));
        Machine { disk, stated, boot, hardware: hardware.unwrap_or_else(|| self.hardware.clone()) }
    }

    /// Whether it says something by that word: `disk`, `boot` or `machine`.
    pub fn says(&self, word: &str) -> bool {
        [
            (words::DISK.name, self.stated.is_some()),
            (words::BOOT.name, self.boot.place.is_some()),
            (words::MACHINE.name, self.hardware.place.is_some()),
        ]
        .contains(&(word, true))
    }

    /// Bytes of memory.
    pub fn memory(&self) -> u64 {
        self.hardware.memory
    }

    /// How many processors it has.
    pub fn cpus(&self) -> i64 {
        self.hardware.cpus
    }

    /// How many network cards it has.
    pub fn nics(&self) -> i64 {
        self.hardware.nics
    }

    /// Where the kernel speaks, if that is said.
    pub fn console(&self) -> Option<&str> {
        self.boot.console.as_deref()
    }

    /// Bytes of its disk, if that is said.
    pub(super) fn disk_size(&self) -> Option<u64> {
        self.disk.size.as_ref().map(|size| size.value)
    }

    /// Whether the newest kernel of the image has an initramfs.
    pub(super) fn has_initramfs(&self, image: &Merged) -> bool {
        kernel::kernels(image).first().is_some_and(|kernel| kernel.initramfs.is_some())
    }

    /// The architecture, as Debian names it.
    pub fn arch(&self) -> &str {
        &self.boot.arch
    }

    /// What starts it: as is said, else a BIOS where its disk boots with one.
    pub fn firmware(&self) -> Firmware {
        let usual = || !loader::boots_with_bios(&self.boot, &self.disk);
        match self.boot.loader {
            Loader::None => Firmware::Kernel,
            _ if self.hardware.efi.unwrap_or_else(usual) => Firmware::Efi,
            _ => Firmware::Bios,
        }
    }

    /// What the kernel is told on the disk of `stack`, as an image of that title.
    ///
    /// # Errors
    ///
    /// Files of the project that are on the disk cannot be read.
    pub(super) fn cmdline(&self, title: &str, stack: &Stack, world: &World) -> Result<String, Fault> {
        let ids = kernel::Ids::of(self, title, stack, world)?;
        Ok(kernel::cmdline(&self.boot, &self.disk, &ids))
    }

    /// What is wrong with both together, before anything is built.
    pub fn check(&self) -> Option<Fault> {
        loader::check(&self.boot, &self.disk).or_else(|| self.check_firmware())
    }

    /// What is wrong with the firmware that is asked for: nothing on the disk boots with it.
    fn check_firmware(&self) -> Option<Fault> {
        let (efi, place) = (self.hardware.efi?, self.hardware.place.as_ref()?);
        let boots = if efi { loader::boots_with_efi } else { loader::boots_with_bios };
        if self.boot.loader == Loader::None || boots(&self.boot, &self.disk) {
            return None;
        }
        let (what, help) = match efi {
            true => (
                "EFI",
                "add `partition \"esp\" filesystem=\"vfat\" mount=\"/efi\"` to its disk, or leave `firmware` out",
            ),
            false => (
                "a BIOS",
                "`boot loader=\"grub\"` does, from a GPT with `partition \"bios\" size=\"1MiB\"` in front; or leave `firmware` out",
            ),
        };
        let message = format!("this machine starts with {what}, and nothing on its disk boots with that");
        Some(Fault::error("boot/firmware", message).at(place, "this machine").help(help))
    }

    /// The trees with what a disk is written with.
    pub(super) fn tools(&self) -> Vec<&'static [&'static str]> {
        loader::tools(&self.boot, &self.disk).into_iter().collect()
    }

    /// All that a disk depends on but its layers.
    pub(super) fn facts(&self, title: &str, world: &World) -> Result<Facts, Fault> {
        let mut facts = Facts::new(Key::new("disk", 2));
        facts.key.fact("epoch", world.epoch);
        facts.key.fact("title", title);
        self.disk.facts(&mut facts.key);
        self.boot.facts(&mut facts.key);
        for part in &self.disk.partitions {
            if let Content::File(path) = &part.content {
                let file =
                    world.memory.file(path).map_err(|fault| fault.at(&part.place, "this partition"))?;
                facts.file(&format!("content-{}", part.name), path, world, file);
            }
        }
        Ok(facts)
    }
}

fn decode(
    node: &Node,
    target: &Target<'_>,
    folders: &Folders,
    faults: &mut Faults,
) -> Option<Arc<dyn Output>> {
    let format = Format::of(node)?;
    let (title, machine) = (target.image.to_string(), target.machine.clone());
    let of_disk = |sibling: &&Sibling| formats::has_disk(sibling.kind);
    let is_alone = target.siblings.iter().filter(of_disk).count() == 1;
    let backing = match format {
        Format::Qcow2(_) => Backing::of(node, folders, faults),
        _ => None,
    };
    let (stated, file) = (Stated::of(node), format!("{}.{}", target.title(), format.name()));
    Some(Arc::new(DiskImage { stated, file, format, title, machine, is_alone, backing }))
}

impl Output for DiskImage {
    fn kind(&self) -> &'static str {
        self.format.name()
    }
    fn extension(&self) -> String {
        self.format.name().to_string()
    }
    fn place(&self) -> &Place {
        &self.stated.place
    }
    fn path(&self) -> Option<&Spanned<String>> {
        self.stated.path.as_ref()
    }
    fn tools(&self) -> Vec<&'static [&'static str]> {
        let mut tools = self.machine.tools();
        tools.extend(self.format.tools());
        tools
    }

    fn facts(&self, world: &World) -> Result<Facts, Fault> {
        let mut facts = self.machine.facts(&self.title, world)?;
        self.format.facts(&mut facts.key);
        if let Some(backing) = &self.backing {
            backing.facts(&self.stated.goes_to(&self.file, world), &mut facts, world)?;
        }
        Ok(facts)
    }

    fn write(&self, writing: Writing<'_>) -> Result<Written, Fault> {
        let Writing { world, job, stack, path, goes_to, aids } = writing;
        let assembly = Assembly {
            machine: &self.machine,
            title: &self.title,
            place: &self.stated.place,
            stack,
            aids: &aids,
            world,
            job,
        };
        if self.format == Format::Raw && self.is_alone {
            return assembly.write(path).map(|()| Written::default());
        }
        let (key, raw) = assembly.shared()?;
        if self.format == Format::Raw {
            return copy(raw.path(), path).map(|()| Written::default());
        }
        let by = (&aids, &self.stated.place);
        match (&self.backing, self.format) {
            (Some(backing), Format::Qcow2(clusters)) => {
                File::create_new(path).map_err(|error| Fault::io("write", path, &error))?;
                backing.write(clusters, (raw.path(), path, goes_to), by, world, job)
            }
            _ => self.format.convert(raw.path(), path, key, by, world, job),
        }
        .map(|()| Written::default())
    }
}

/// Copies a disk, with its holes.
fn copy(from: &Path, to: &Path) -> Result<(), Fault> {
    let failed = |error: std::io::Error| Fault::io("write", to, &error);
    let input = File::open(from).map_err(failed)?;
    let mut output = File::create_new(to).map_err(failed)?;
    assemble::copy_sparse(&input, &mut output, 0).map_err(failed)
}
