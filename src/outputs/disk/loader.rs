//! Boot loaders: what they put on a disk so that a firmware finds the kernel.
//!
//! Programs and modules come from trees of tools; nothing of this machine is asked, and no firmware told: what EFI starts
//! stands where it looks on a disk that it does not know (UEFI specification 2.10, 3.5.1.1).

use std::fs::File;
use std::path::Path;

use super::fat::{Files, Source};
use super::kernel::{Ids, Kernel, cmdline};
use super::spec::{Boot, Content, Disk, Loader, Table};
use super::table::SECTOR;
use crate::fault::{Fault, Place};
use crate::layer::merge::Node;
use crate::layer::{EntryPath, Merged};
use crate::outputs::own::Own;
use crate::outputs::tool::{Tool, inside};
use crate::sandbox::image::{ImageRun, Special, SpecialKind, View};
use crate::work::{Aids, Job, Stack, World};

/// The names of one architecture.
struct Names {
    /// What EFI starts.
    efi: &'static str,
    /// What systemd calls it.
    systemd: &'static str,
    /// What grub calls it.
    grub: &'static str,
    /// The package with grub's modules for EFI, and where its programs are.
    grub_tools: &'static [&'static str],
}

fn names(arch: &str) -> Option<Names> {
    Some(match arch {
        "amd64" => Names {
            efi: "BOOTX64.EFI",
            systemd: "x64",
            grub: "x86_64-efi",
            grub_tools: &["grub-efi-amd64-bin", "grub-common"],
        },
        "arm64" => Names {
            efi: "BOOTAA64.EFI",
            systemd: "aa64",
            grub: "arm64-efi",
            grub_tools: &["grub-efi-arm64-bin", "grub-common"],
        },
        _ => return None,
    })
}

/// grub's modules that every disk needs.
const MODULES: &str = "part_gpt part_msdos ext2 fat search search_fs_uuid normal configfile linux serial terminal echo test ls \
                       cat sleep reboot halt gzio";

const GRUB_BIOS: &[&str] = &["grub-pc-bin", "grub-common"];
const SYSTEMD_BOOT: &[&str] = &["systemd-boot-efi"];
/// What a unified kernel is made with.
pub const UKIFY: &[&str] = &["systemd-ukify", "systemd-boot-efi"];

/// Where a disk has room for a loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    bios: bool,
    /// The partition that EFI reads.
    esp: Option<usize>,
}

fn room(disk: &Disk, arch: &str) -> Room {
    let bios = match disk.table {
        Table::Gpt => disk.of_kind("bios-boot").is_some(),
        Table::Mbr => true,
        Table::None => false,
    };
    Room { bios: bios && arch == "amd64", esp: disk.of_kind("esp") }
}

/// Whether a disk boots with a BIOS.
pub fn boots_with_bios(boot: &Boot, disk: &Disk) -> bool {
    boot.loader == Loader::Grub && room(disk, &boot.arch).bios
}

/// Whether a disk boots with EFI.
pub fn boots_with_efi(boot: &Boot, disk: &Disk) -> bool {
    boot.loader != Loader::None && room(disk, &boot.arch).esp.is_some()
}

/// What is wrong with a loader on a disk, before anything is built.
pub fn check(boot: &Boot, disk: &Disk) -> Option<Fault> {
    let place = boot.place.as_ref().unwrap_or(&disk.place);
    let name = match boot.loader {
        Loader::None => return None,
        Loader::Grub => "grub",
        Loader::SystemdBoot => "systemd-boot",
        Loader::Uki => "a unified kernel",
    };
    if let Some(fault) = check_arch(boot, name) {
        return Some(fault.at(place, "this is to boot"));
    }
    let Room { bios, esp } = room(disk, &boot.arch);
    let has_place = esp.is_some() || (bios && boot.loader == Loader::Grub);
    if has_place {
        return None;
    }
    let way = match boot.loader {
        Loader::Grub => {
            "add `partition \"bios\" size=\"1MiB\"` in front, for a BIOS, or `partition \"esp\" filesystem=\"vfat\" \
             mount=\"/boot/efi\"`, for EFI; or say `boot loader=\"none\"`"
        }
        _ => "add `partition \"esp\" filesystem=\"vfat\" mount=\"/efi\"`",
    };
    let fault = Fault::error("boot/place", format!("there is no place for {name} on this disk"));
    Some(fault.at(&disk.place, "this disk").help(way))
}

/// What is wrong with making `name` here for the architecture.
pub fn check_arch(boot: &Boot, name: &str) -> Option<Fault> {
    if names(&boot.arch).is_some() && boot.arch == crate::deb::own_arch() {
        return None;
    }
    let fault = Fault::error("boot/arch", format!("imgbuild has no {name} for {} here", boot.arch));
    Some(fault.help(
        "what boots is made for amd64 and arm64, on a machine of the same kind; `boot loader=\"none\"` needs none",
    ))
}

/// The trees with what a loader is made from.
pub fn tools(boot: &Boot, disk: &Disk) -> Vec<&'static [&'static str]> {
    let Room { bios, esp } = room(disk, &boot.arch);
    match boot.loader {
        Loader::Grub => {
            let efi = names(&boot.arch).filter(|_| esp.is_some()).map(|names| names.grub_tools);
            bios.then_some(GRUB_BIOS).into_iter().chain(efi).collect()
        }
        Loader::SystemdBoot => vec![SYSTEMD_BOOT],
        Loader::Uki => vec![UKIFY],
        Loader::None => Vec::new(),
    }
}

/// What all loaders are made from.
pub struct Making<'a> {
    pub boot: &'a Boot,
    pub disk: &'a Disk,
    pub ids: &'a Ids,
    /// What the image is called.
    pub title: &'a str,
    pub kernels: &'a [Kernel<'a>],
    pub merged: &'a Merged,
    pub stack: &'a Stack,
    pub aids: &'a Aids,
    pub world: &'a World,
    pub job: &'a Job<'a>,
    pub place: &'a Place,
}

/// What a loader puts on a disk, beside files of the image.
#[derive(Debug, Default)]
pub struct Put<'a> {
    /// The partition of what EFI reads, and what stands there.
    pub esp: Option<(usize, Files<'a>)>,
    /// The first 440 bytes of the disk, and what stands in the gap or in the partition for it.
    pub bios: Option<Bios>,
}

/// What a BIOS starts.
#[derive(Debug)]
pub struct Bios {
    boot: Vec<u8>,
    pub core: Vec<u8>,
}

impl<'a> Making<'a> {
    /// What the loader puts on the disk.
    ///
    /// # Errors
    ///
    /// There is no kernel; its tools fail.
    pub fn put(&self) -> Result<Put<'a>, Fault> {
        const OR_ELSE: &str = "; or say that the hypervisor brings it: `boot loader=\"none\"`";
        let newest = || super::kernel::newest(self.kernels, self.boot, self.place, OR_ELSE);
        let Room { bios, esp } = room(self.disk, &self.boot.arch);
        let mut put = Put::default();
        match self.boot.loader {
            Loader::None => {}
            Loader::Grub => {
                newest()?;
                put.bios = bios.then(|| self.grub_bios()).transpose()?;
                put.esp = esp.map(|esp| Ok::<_, Fault>((esp, self.grub_efi()?))).transpose()?;
            }
            Loader::SystemdBoot => {
                newest()?;
                put.esp = esp.map(|esp| Ok::<_, Fault>((esp, self.systemd_boot()?))).transpose()?;
            }
            Loader::Uki => {
                let uki = self.uki(newest()?)?;
                let path = format!("EFI/BOOT/{}", self.names()?.efi);
                put.esp = esp.map(|esp| (esp, Files::from([(path, Source::Bytes(uki))])));
            }
        }
        Ok(put)
    }

    fn names(&self) -> Result<Names, Fault> {
        names(&self.boot.arch).ok_or_else(|| Fault::machine("internal", "an architecture without a loader"))
    }

    fn systemd_boot(&self) -> Result<Files<'a>, Fault> {
        let names = self.names()?;
        let tree = self.aids.tool(SYSTEMD_BOOT[0])?;
        let program =
            tree_file(tree, &format!("usr/lib/systemd/boot/efi/systemd-boot{}.efi", names.systemd))?;
        let mut files = Files::new();
        files
            .insert(format!("EFI/systemd/systemd-boot{}.efi", names.systemd), Source::Bytes(program.clone()));
        files.insert(format!("EFI/BOOT/{}", names.efi), Source::Bytes(program));
        let settings = format!("timeout {}\nconsole-mode keep\n", self.boot.timeout);
        files.insert("loader/loader.conf".into(), Source::Bytes(settings.into_bytes()));
        files.insert("loader/entries.srel".into(), Source::Bytes(b"type1\n".to_vec()));
        for kernel in self.kernels {
            let folder = format!("{}/{}", self.title, kernel.version);
            // Boot Loader Specification (UAPI.1), type #1.
            let mut entry = format!(
                "title {}\nversion {}\nsort-key {}\noptions {}\nlinux /{folder}/linux\n",
                self.title,
                kernel.version,
                self.title,
                cmdline(self.boot, self.disk, self.ids)
            );
            files.insert(format!("{folder}/linux"), Source::Node(kernel.kernel));
            if let Some(initramfs) = kernel.initramfs {
                entry.push_str(&format!("initrd /{folder}/initrd\n"));
                files.insert(format!("{folder}/initrd"), Source::Node(initramfs));
            }
            // What stands behind a `+` would be taken for a count of tries.
            let path = format!("loader/entries/{}-{}.conf", self.title, kernel.version.replace('+', "_"));
            files.insert(path, Source::Bytes(entry.into_bytes()));
        }
        Ok(files)
    }

    /// Kernel, initramfs and command line in one program of EFI, by ukify(1).
    pub fn uki(&self, kernel: &Kernel<'_>) -> Result<Vec<u8>, Fault> {
        let systemd = self.names()?.systemd;
        let release = EntryPath::parse("usr/lib/os-release").ok().and_then(|path| self.merged.file(&path));
        let layer = release.and_then(|node| Some((node, self.stack.layer_of(node)?)));
        let release = layer.and_then(|(node, layer)| layer.bytes(&node.entry, 64 << 10).ok());
        let mut words = vec![
            "build".to_string(),
            "--linux=/run/imgbuild/linux".into(),
            format!("--cmdline={}", cmdline(self.boot, self.disk, self.ids)),
            format!("--uname={}", kernel.version),
            format!("--efi-arch={systemd}"),
            format!("--stub=/usr/lib/systemd/boot/efi/linux{systemd}.efi.stub"),
            format!("--output={}", crate::outputs::tool::OUT),
        ];
        if let Some(text) =
            release.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| !text.contains('\0'))
        {
            words.push(format!("--os-release={text}"));
        }
        let mut finds = vec![self.found("run/imgbuild/linux", kernel.kernel)?];
        if let Some(initramfs) = kernel.initramfs {
            words.push("--initrd=/run/imgbuild/initrd".into());
            finds.push(self.found("run/imgbuild/initrd", initramfs)?);
        }
        let tool = Tool { finds, ..Tool::new("ukify", words) };
        self.made(&tool, UKIFY[0])
    }

    /// A file of the image where a tool finds it.
    fn found(&self, path: &str, node: &Node) -> Result<Special, Fault> {
        let lost = || Fault::machine("internal", "a layer was lost");
        let layer = self.stack.layer_of(node).ok_or_else(lost)?;
        let crate::layer::Kind::File { size, offset, .. } = node.entry.kind else { return Err(lost()) };
        Ok(Special {
            path: inside(path),
            kind: SpecialKind::File { file: layer.path.clone(), offset, size },
            mode: 0o644,
            user: 0,
            group: 0,
            mtime: node.entry.mtime,
            xattrs: Vec::new(),
        })
    }

    fn grub_efi(&self) -> Result<Files<'a>, Fault> {
        let names = self.names()?;
        let modules = ["all_video", "efi_gop"];
        let image = self.grub_image(names.grub, &modules, names.grub_tools)?;
        Ok(Files::from([(format!("EFI/BOOT/{}", names.efi), Source::Bytes(image))]))
    }

    fn grub_bios(&self) -> Result<Bios, Fault> {
        let core = self.grub_image("i386-pc", &["biosdisk", "all_video"], GRUB_BIOS)?;
        let tree = self.aids.tool(GRUB_BIOS[0])?;
        Ok(Bios { boot: tree_file(tree, "usr/lib/grub/i386-pc/boot.img")?, core })
    }

    /// grub with all modules that it needs, which looks for its settings on the disk: grub-mkimage(1).
    fn grub_image(&self, platform: &str, own: &[&str], tools: &[&str]) -> Result<Vec<u8>, Fault> {
        const SETTINGS: &str = "run/imgbuild/load.cfg";
        let (part, folder) = boot_folder(self.disk);
        // What can read the file system that has the kernel, beside those that are always there.
        let system = match self.disk.partitions.get(part).map(|part| &part.content) {
            Some(Content::Own(own)) if *own != Own::Ext4 => Some(own.name()),
            _ => None,
        };
        let text =
            format!("search.fs_uuid {} root\nset prefix=($root){folder}/grub\n", self.ids.filesystem(part));
        let file = self.world.store.stage()?.path("load.cfg");
        std::fs::write(&file, &text).map_err(|error| Fault::io("write", &file, &error))?;
        let mut words: Vec<String> = vec!["-d".into(), format!("/usr/lib/grub/{platform}")];
        words.extend(["-O".into(), platform.into(), "-p".into(), format!("{folder}/grub")]);
        words.extend(["-c".into(), format!("/{SETTINGS}"), "-o".into(), crate::outputs::tool::OUT.into()]);
        words.extend(MODULES.split(' ').chain(own.iter().copied()).chain(system).map(String::from));
        let settings = Special {
            path: inside(SETTINGS),
            kind: SpecialKind::File { file, offset: 0, size: text.len() as u64 },
            mode: 0o644,
            user: 0,
            group: 0,
            mtime: self.world.epoch,
            xattrs: Vec::new(),
        };
        let tool = Tool { finds: vec![settings], ..Tool::new("grub-mkimage", words) };
        self.made(&tool, tools.first().copied().unwrap_or_default())
    }

    /// What a tool makes.
    fn made(&self, tool: &Tool, tree: &str) -> Result<Vec<u8>, Fault> {
        let path = self.world.store.stage()?.path("made");
        let failed = |error: std::io::Error| Fault::io("write", &path, &error);
        File::create_new(&path).map_err(failed)?;
        tool.write((self.aids.tool(tree)?, self.place), &path, self.world, self.job)?;
        let bytes = std::fs::read(&path).map_err(failed)?;
        let _ = std::fs::remove_file(&path);
        Ok(bytes)
    }
}

/// grub's settings, in the image: a line of its menu for each kernel.
pub fn grub_settings(boot: &Boot, disk: &Disk, ids: &Ids, title: &str, kernels: &[Kernel<'_>]) -> String {
    let (_, folder) = boot_folder(disk);
    let mut text = format!("set timeout={}\n", boot.timeout);
    let serial = boot.console.as_deref().and_then(|console| console.strip_prefix("ttyS"));
    if let Some(unit) = serial.filter(|unit| unit.bytes().all(|byte| byte.is_ascii_digit())) {
        text.push_str(&format!("serial --unit={unit} --speed=115200\n"));
        text.push_str("terminal_input console serial\nterminal_output console serial\n");
    }
    for kernel in kernels {
        let version = &kernel.version;
        let told = escaped(&cmdline(boot, disk, ids));
        text.push_str(&format!("menuentry '{title}, Linux {version}' {{\n"));
        text.push_str(&format!("    linux {folder}/vmlinuz-{version} {told}\n"));
        if kernel.initramfs.is_some() {
            text.push_str(&format!("    initrd {folder}/initrd.img-{version}\n"));
        }
        text.push_str("}\n");
    }
    text
}

/// Words that grub's shell takes as they are.
fn escaped(words: &str) -> String {
    let special = |letter: char| "\\\"'$;|&<>{}#()".contains(letter);
    words.chars().flat_map(|letter| special(letter).then_some('\\').into_iter().chain([letter])).collect()
}

/// The partition that has `/boot`, and where it is in there.
fn boot_folder(disk: &Disk) -> (usize, &'static str) {
    match disk.mounted("/boot") {
        Some(part) => (part, ""),
        None => (disk.mounted("/").unwrap_or_default(), "/boot"),
    }
}

impl Bios {
    /// What stands in the first sector, up to the table, where the rest lies from sector `core` on.
    pub fn first_sector(&self, core: u64) -> Vec<u8> {
        // grub's include/grub/i386/pc/boot.h: where the rest begins, and a jump that only floppies need.
        const SECTOR_OF_CORE: usize = 0x5c;
        const DRIVE_CHECK: usize = 0x66;
        let mut boot = self.boot.clone();
        boot.resize(super::table::BOOT_CODE, 0);
        boot[SECTOR_OF_CORE..SECTOR_OF_CORE + 8].copy_from_slice(&core.to_le_bytes());
        boot[DRIVE_CHECK..DRIVE_CHECK + 2].copy_from_slice(&[0x90, 0x90]);
        boot
    }

    /// The rest, which begins at sector `first`: its own first sector says where the others are.
    pub fn core_at(&self, first: u64) -> Vec<u8> {
        // Where the real mode's code of the second sector is loaded: GRUB_BOOT_I386_PC_KERNEL_SEG and 0x20.
        const SEGMENT: u16 = 0x820;
        let mut core = self.core.clone();
        core.resize(core.len().next_multiple_of(SECTOR as usize).max(2 * SECTOR as usize), 0);
        let others = core.len() / SECTOR as usize - 1;
        let list = SECTOR as usize - 12;
        core[list..list + 8].copy_from_slice(&(first + 1).to_le_bytes());
        core[list + 8..list + 10].copy_from_slice(&u16::try_from(others).unwrap_or(u16::MAX).to_le_bytes());
        core[list + 10..list + 12].copy_from_slice(&SEGMENT.to_le_bytes());
        core
    }
}

/// A file of a tree of tools.
fn tree_file(tree: &ImageRun, path: &str) -> Result<Vec<u8>, Fault> {
    let own = (tree.view == View::Host).then(|| Path::new("/").join(path));
    let mut found = own.into_iter().chain(tree.lowers.iter().rev().map(|lower| lower.join(path)));
    let missing = || Fault::build("output/tool", format!("the boot loader's package has no `/{path}`"));
    // A link would lead out of the tree.
    let is_file = |path: &std::path::PathBuf| path.symlink_metadata().is_ok_and(|found| found.is_file());
    let path = found.find(is_file).ok_or_else(missing)?;
    std::fs::read(&path).map_err(|error| Fault::io("read", &path, &error))
}
