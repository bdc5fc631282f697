//! Outputs that are kernels: `kernel`, `uki` and `ramdisk`, for who brings the kernel to the disk, or needs no disk.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Machine;
use super::kernel::{Ids, cmdline, kernels, newest};
use super::loader::{self, Making};
use crate::codec::Format;
use crate::fault::{Fault, Faults, Place};
use crate::key::Key;
use crate::lang::{Node, Spanned, Word};
use crate::layer::Merged;
use crate::layer::copy::copy_by_kernel;
use crate::layer::merge::Node as TreeNode;
use crate::outputs::folder::settle;
use crate::outputs::{Compress, Kind, Stated, Target, cpio};
use crate::work::{Facts, Folders, Job, Output, Stack, World, Writing, Written};

pub(in crate::outputs) const KERNEL: Kind = Kind { word: &KERNEL_WORD, decode };
pub(in crate::outputs) const UKI: Kind = Kind { word: &UKI_WORD, decode };
pub(in crate::outputs) const RAMDISK: Kind = Kind { word: &RAMDISK_WORD, decode };

static KERNEL_WORD: Word = Word {
    name: "kernel",
    summary: "the kernel that goes with a disk, for a hypervisor that starts it itself",
    docs: "A folder with the image's newest kernel as `vmlinuz`, its initramfs as `initrd.img` if it has one, and \
           `cmdline`: what the kernel has to be told to find `/` on the disk of the same target.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    packages { linux-image-cloud-amd64; systemd-sysv \
              }\n    boot loader=\"none\" console=\"hvc0\"\n    output \"raw\"\n    output \"kernel\"\n}\n",
    ..Word::BARE
};

static UKI_WORD: Word = Word {
    name: "uki",
    summary: "kernel, initramfs and command line in one program of EFI",
    docs: "A unified kernel image of the image's newest kernel, which finds `/` on the disk of the same target. Written by \
           the ukify of a locked Debian tree that imgbuild brings itself; it is not signed.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    packages { linux-image-cloud-amd64; systemd-sysv \
              }\n    boot loader=\"uki\" console=\"ttyS0\"\n    output \"uki\"\n}\n",
    ..Word::BARE
};

static RAMDISK_WORD: Word = Word {
    name: "ramdisk",
    summary: "a kernel, and the whole image as its initramfs",
    docs: "A folder with the image's newest kernel as `vmlinuz`, the image as `initramfs`, compressed with zstd, and `cmdline`: \
           what `boot` says that the kernel is told. PXE and Ironic load it. The image needs an `/init`, and what it boots with is no part of it that is worth having: \
           leave initramfs-tools out.",
    example: "image \"deploy\" {\n    base \"debian\" suite=\"trixie\"\n    packages { linux-image-cloud-amd64; \
              systemd-sysv }\n    files {\n        link \"/init\" to=\"/sbin/init\"\n    }\n    output \"ramdisk\"\n}\n",
    ..Word::BARE
};

#[derive(Debug)]
struct Beside {
    stated: Stated,
    what: What,
    title: String,
    machine: Machine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Kernel,
    Uki,
    Ramdisk,
}

fn decode(
    node: &Node,
    target: &Target<'_>,
    _folders: &Folders,
    _faults: &mut Faults,
) -> Option<Arc<dyn Output>> {
    let what = match node.kind?.name {
        "uki" => What::Uki,
        "ramdisk" => What::Ramdisk,
        _ => What::Kernel,
    };
    let (title, machine) = (target.image.to_string(), target.machine.clone());
    Some(Arc::new(Beside { stated: Stated::of(node), what, title, machine }))
}

/// The image `title` as a kernel and its initramfs, asked for at `place`.
pub fn ramdisk(
    title: &str,
    machine: &Machine,
    place: &Place,
    path: Option<Spanned<String>>,
) -> Arc<dyn Output> {
    let stated = Stated { place: place.clone(), path };
    let (title, machine) = (title.to_string(), machine.clone());
    Arc::new(Beside { stated, what: What::Ramdisk, title, machine })
}

/// How the image is packed for a kernel: each that Debian has can read it.
const PACKED: Compress = Compress { format: Format::Zstd, level: None };

impl Output for Beside {
    fn kind(&self) -> &'static str {
        match self.what {
            What::Kernel => "kernel",
            What::Uki => "uki",
            What::Ramdisk => "ramdisk",
        }
    }
    fn extension(&self) -> String {
        if self.what == What::Uki { "efi".into() } else { self.kind().into() }
    }
    fn place(&self) -> &Place {
        &self.stated.place
    }
    fn path(&self) -> Option<&Spanned<String>> {
        self.stated.path.as_ref()
    }
    fn is_folder(&self) -> bool {
        self.what != What::Uki
    }
    fn tools(&self) -> Vec<&'static [&'static str]> {
        if self.what == What::Uki { vec![loader::UKIFY] } else { Vec::new() }
    }

    fn facts(&self, world: &World) -> Result<Facts, Fault> {
        if self.what == What::Ramdisk {
            let mut key = Key::new("output-ramdisk", 1);
            key.fact("epoch", world.epoch);
            PACKED.facts(&mut key);
            key.fact("cmdline", self.machine.boot.words());
            return Ok(Facts::new(key));
        }
        let mut facts = self.machine.facts(&self.title, world)?;
        facts.key.fact("kernel", self.kind());
        Ok(facts)
    }

    fn check(&self, _names: &[String]) -> Option<Fault> {
        let fault = loader::check_arch(&self.machine.boot, "a unified kernel")?;
        (self.what == What::Uki).then(|| fault.at(&self.stated.place, "this output"))
    }

    fn write(&self, writing: Writing<'_>) -> Result<Written, Fault> {
        let Writing { world, job, stack, path, aids, .. } = writing;
        let place = &self.stated.place;
        let merged = world.image(stack)?;
        let kernels = kernels(&merged);
        let kernel = newest(&kernels, &self.machine.boot, place, "")?;
        let machine = &self.machine;
        let ids = Ids::of(machine, &self.title, stack, world)?;
        if self.what == What::Uki {
            let making = Making {
                boot: &machine.boot,
                disk: &machine.disk,
                ids: &ids,
                title: &self.title,
                kernels: &kernels,
                merged: &merged,
                stack,
                aids: &aids,
                world,
                job,
                place,
            };
            let uki = making.uki(kernel)?;
            fs::write(path, uki).map_err(|error| Fault::io("write", path, &error))?;
            return Ok(Written::default());
        }
        fs::create_dir(path).map_err(|error| Fault::io("make", path, &error))?;
        copy(kernel.kernel, stack, &path.join("vmlinuz"))?;
        let told = match self.what {
            What::Ramdisk => {
                self.ramdisk(&merged, stack, &path.join("initramfs"), world, job)?;
                machine.boot.words()
            }
            _ => {
                if let Some(initramfs) = kernel.initramfs {
                    copy(initramfs, stack, &path.join("initrd.img"))?;
                }
                cmdline(&machine.boot, &machine.disk, &ids)
            }
        };
        let file = path.join("cmdline");
        fs::write(&file, told + "\n").map_err(|error| Fault::io("write", &file, &error))?;
        settle(path, world.epoch).map(|()| Written::default())
    }
}

impl Beside {
    fn ramdisk(
        &self,
        merged: &Merged,
        stack: &Stack,
        path: &Path,
        world: &World,
        job: &Job<'_>,
    ) -> Result<(), Fault> {
        let init = crate::layer::EntryPath::parse("init").unwrap_or_default();
        if merged.get(&init).is_none() {
            let fault = Fault::build(
                "ramdisk/init",
                "there is no `/init` in this image, which the kernel would start",
            );
            return Err(fault.at(&self.stated.place, "this output").help(
                "add one: `files { link \"/init\" to=\"/sbin/init\" }`; it has to be the image's own init, or a script",
            ));
        }
        cpio::write(PACKED, stack, path, None, world, job).map(|_| ())
    }
}

/// Writes a file of the image to `path`.
fn copy(node: &TreeNode, stack: &Stack, path: &Path) -> Result<(), Fault> {
    let failed = |error: io::Error| Fault::io("write", path, &error);
    let layer = stack.layer_of(node).ok_or_else(|| Fault::machine("internal", "a layer was lost"))?;
    let mut out = File::create_new(path).map_err(failed)?;
    let crate::layer::Kind::File { size, offset, .. } = node.entry.kind else { return Ok(()) };
    copy_by_kernel(&layer.tar, offset, size, &mut out).map_err(failed)
}
