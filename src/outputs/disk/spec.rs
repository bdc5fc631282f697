//! What a manifest says of a disk and of how it boots, and what it must not say.

use std::path::PathBuf;
use std::sync::Arc;

use super::words::{FLAGS, LOADERS};
use crate::fault::{Fault, Faults, Place};
use crate::key::Key;
use crate::lang::{Node, Share, Spanned};
use crate::outputs::filesystem::whole_size;
use crate::outputs::label;
use crate::outputs::own::Own;
use crate::wording;
use crate::work::Folders;

/// A disk.
#[derive(Debug)]
pub struct Disk {
    /// Where it is asked for: the disk's own place, or that of the output which needs one.
    pub place: Place,
    /// Bytes.
    pub size: Option<Spanned<u64>>,
    /// Bytes that are free on `/` where there is no size.
    pub room: u64,
    pub table: Table,
    /// Bytes.
    pub align: u64,
    pub partitions: Vec<Partition>,
    /// Whether the image gets a line for each mount point.
    pub fstab: bool,
}

/// How partitions are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// UEFI specification 2.10, chapter 5.
    Gpt,
    /// The table in the first sector: four partitions.
    Mbr,
    /// One file system and nothing around it.
    None,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Table::Gpt => "gpt",
            Table::Mbr => "mbr",
            Table::None => "none",
        }
    }
}

/// A part of a disk.
#[derive(Debug)]
pub struct Partition {
    pub name: String,
    pub place: Place,
    pub size: Option<Spanned<Share>>,
    pub content: Content,
    pub label: Option<String>,
    /// An absolute path without a slash at its end, but for `/`.
    pub mount: Option<Spanned<String>>,
    pub options: String,
    pub kind: &'static str,
    pub flags: Vec<&'static str>,
}

/// What is in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Own(Own),
    Vfat,
    Swap,
    /// Nothing, or what a boot loader puts there.
    Empty,
    /// A file of the project.
    File(PathBuf),
}

impl Content {
    fn name(&self) -> &'static str {
        match self {
            Content::Own(own) => own.name(),
            Content::Vfat => "vfat",
            Content::Swap => "swap",
            Content::Empty => "nothing",
            Content::File(_) => "file",
        }
    }
}

/// How a disk boots.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Where that is said; none where it is not.
    pub place: Option<Place>,
    pub loader: Loader,
    pub console: Option<String>,
    pub cmdline: Option<String>,
    /// Seconds.
    pub timeout: i64,
    /// The architecture, as Debian names it.
    pub arch: String,
}

/// What starts the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    Grub,
    SystemdBoot,
    /// Kernel, initramfs and command line in one program of EFI (UAPI.5 UKI).
    Uki,
    /// The hypervisor itself.
    None,
}

/// The machine that a disk is for.
#[derive(Clone, Debug)]
pub struct Hardware {
    /// Bytes.
    pub memory: u64,
    pub cpus: i64,
    /// Network cards.
    pub nics: i64,
    /// Whether it has EFI; none where nothing is said.
    pub efi: Option<bool>,
    /// Where that is said; none where nothing is.
    pub place: Option<Place>,
}

/// More than any machine has: bytes.
const MOST_MEMORY: u64 = 64 << 40;

impl Hardware {
    /// What nobody says anything of.
    pub const USUAL: Hardware = Hardware { memory: 1 << 30, cpus: 2, nics: 1, efi: None, place: None };

    /// What a `machine` node says.
    pub fn of(node: &Node, faults: &mut Faults) -> Hardware {
        let memory = node.size("memory").map_or(Hardware::USUAL.memory, |memory| {
            if memory.value == 0 || memory.value % (1 << 20) != 0 || memory.value > MOST_MEMORY {
                let message = "the memory of a machine is a multiple of 1 MiB, up to 64 TiB";
                faults.push(Fault::error("machine/memory", message).at(&memory.place, "this one is not"));
            }
            memory.value
        });
        let cpus = node.integer("cpus").map_or(Hardware::USUAL.cpus, |cpus| cpus.value);
        let nics = node.integer("nics").map_or(Hardware::USUAL.nics, |nics| nics.value);
        let efi = node.text("firmware").map(|firmware| firmware.value == "efi");
        Hardware { memory, cpus, nics, efi, place: Some(node.place.clone()) }
    }
}

impl Boot {
    /// How an image of `arch` boots where nothing is said.
    pub fn unsaid(arch: &str) -> Boot {
        let (console, cmdline) = (None, None);
        Boot { place: None, loader: Loader::Grub, console, cmdline, timeout: 0, arch: arch.to_string() }
    }

    /// What a `boot` node says, for an image of `arch`.
    pub fn of(node: &Node, arch: &str, faults: &mut Faults) -> Boot {
        let mut boot = Boot { place: Some(node.place.clone()), ..Boot::unsaid(arch) };
        let loader = node.text("loader").map(|loader| loader.value);
        boot.loader = match LOADERS.iter().position(|known| loader.as_deref() == Some(known)) {
            Some(1) => Loader::SystemdBoot,
            Some(2) => Loader::Uki,
            Some(3) => Loader::None,
            _ => Loader::Grub,
        };
        boot.console = node.text("console").map(|console| console.value);
        boot.timeout = node.integer("timeout").map_or(0, |timeout| timeout.value);
        if let Some(cmdline) = node.text("cmdline") {
            if cmdline.value.chars().any(char::is_control) {
                faults.push(
                    Fault::error("boot/cmdline", "a command line of the kernel is one line")
                        .at(&cmdline.place, "this one has control characters"),
                );
            }
            boot.cmdline = Some(cmdline.value);
        }
        boot
    }

    pub fn facts(&self, key: &mut Key) {
        key.fact("loader", LOADERS[self.loader as usize]);
        key.fact_if("console", self.console.as_ref());
        key.fact_if("cmdline", self.cmdline.as_ref());
        key.fact("timeout", self.timeout);
        key.fact("arch", &self.arch);
    }

    /// What the kernel is told beside where `/` is.
    pub fn words(&self) -> String {
        let console = self.console.iter().map(|console| format!("console={console}"));
        console.chain(self.cmdline.clone()).collect::<Vec<_>>().join(" ")
    }
}

/// Room is for what has no size.
fn check_room(node: &Node, room: Option<&Spanned<u64>>, size: Option<&Spanned<u64>>, faults: &mut Faults) {
    let Some(room) = room else { return };
    let mut told = |message: &str, size: &Place, what: &str| {
        faults.push(
            Fault::error("disk/room", message)
                .at(&room.place, "this room")
                .at(size, what)
                .help("leave one of them out"),
        );
    };
    if let Some(size) = size {
        told("a disk with a size has no room beyond what is on it", &size.place, "it has this size");
    }
    let is_root = |part: &&Node| part.text("mount").is_some_and(|mount| mount.value == "/");
    if let Some(size) = node.children("partition").find(is_root).and_then(|part| part.share("size")) {
        told("a partition with a size has no room beyond what is in it", &size.place, "`/` has this size");
    }
}

impl Disk {
    /// What a `disk` node says.
    pub fn of(node: &Node, folders: &Folders, faults: &mut Faults) -> Disk {
        let table = match node.text("table").map(|table| table.value).as_deref() {
            Some("mbr") => Table::Mbr,
            Some("none") => Table::None,
            _ => Table::Gpt,
        };
        let (size, room) = (whole_size(node, "size", faults), whole_size(node, "room", faults));
        check_room(node, room.as_ref(), size.as_ref(), faults);
        let align = node.size("align");
        if let Some(align) = align.iter().find(|align| !is_alignment(align.value)) {
            faults.push(
                Fault::error("disk/align", "an alignment is a power of two from 4KiB to 1GiB")
                    .at(&align.place, "this one is not"),
            );
        }
        let disk = Disk {
            place: node.place.clone(),
            size,
            room: room.map_or(0, |room| room.value),
            table,
            align: align.map_or(1 << 20, |align| align.value),
            partitions: node
                .children("partition")
                .filter_map(|node| Partition::of(node, table, folders, faults))
                .collect(),
            fstab: node.maybe_flag("fstab").unwrap_or(true),
        };
        // What was said wrongly would be told once more, as if it had not been said.
        if !node.children("partition").any(|part| is_unfit(part, faults)) {
            disk.check_sizes(faults);
        }
        disk.check(faults);
        disk
    }

    /// The same with what is usually on one, if it says nothing of that.
    pub fn completed(self: &Arc<Disk>, loader: Loader, arch: &str) -> Arc<Disk> {
        if !self.partitions.is_empty() {
            return Arc::clone(self);
        }
        let usual = Disk::usual(&self.place, loader, arch);
        // Without a boot loader it needs no table; one that is not the usual one was asked for.
        let table = if self.table == Table::Gpt { usual.table } else { self.table };
        let mut partitions = usual.partitions;
        partitions.retain(|part| match table {
            Table::Gpt => true,
            Table::Mbr => part.kind != "bios-boot",
            Table::None => part.kind == "root",
        });
        let (place, size) = (self.place.clone(), self.size.clone());
        Arc::new(Disk {
            place,
            size,
            room: self.room,
            table,
            align: self.align,
            partitions,
            fstab: self.fstab,
        })
    }

    /// The disk of who does not say what is on it: what its boot loader needs, and one file system for all the rest.
    pub fn usual(place: &Place, loader: Loader, arch: &str) -> Disk {
        let part = |name: &str, content, mount: Option<&str>, kind| Partition {
            name: name.into(),
            place: place.clone(),
            size: None,
            content,
            label: None,
            mount: mount.map(|mount| Spanned::new(mount.to_string(), place)),
            options: if kind == "esp" { "umask=0077".into() } else { "defaults".into() },
            kind,
            flags: Vec::new(),
        };
        let mut partitions = Vec::new();
        if loader == Loader::Grub && arch == "amd64" {
            partitions.push(part("bios", Content::Empty, None, "bios-boot"));
        }
        match loader {
            Loader::Grub => partitions.push(part("esp", Content::Vfat, Some("/boot/efi"), "esp")),
            Loader::SystemdBoot | Loader::Uki => {
                partitions.push(part("esp", Content::Vfat, Some("/efi"), "esp"));
            }
            Loader::None => {}
        }
        partitions.push(part("root", Content::Own(Own::Ext4), Some("/"), "root"));
        let table = if loader == Loader::None { Table::None } else { Table::Gpt };
        let place = place.clone();
        Disk { place, size: None, room: 0, table, align: 1 << 20, partitions, fstab: true }
    }

    /// All that is said of it; what is in files is stated by [`Disk::files`].
    pub fn facts(&self, key: &mut Key) {
        key.fact_if("size", self.size.as_ref().map(|size| size.value));
        key.fact("table", self.table.name());
        key.fact("align", self.align);
        key.fact("room", self.room);
        key.fact("fstab", self.fstab);
        for part in &self.partitions {
            let size = match part.size.as_ref().map(|size| size.value) {
                Some(Share::Bytes(bytes)) => bytes.to_string(),
                Some(Share::Percent(percent)) => format!("{percent}%"),
                None => "-".into(),
            };
            let (name, content, kind) = (&part.name, part.content.name(), &part.kind);
            key.fact("partition", format_args!("{name} {size} {content} {kind} {}", part.flags.join(",")));
            key.fact_if(&format!("mount-{name}"), part.mount.as_ref().map(|mount| &mount.value));
            key.fact(&format!("options-{name}"), &part.options);
            key.fact_if(&format!("label-{name}"), part.label.as_ref());
        }
    }

    /// The partition that is mounted at `path`.
    pub fn mounted(&self, path: &str) -> Option<usize> {
        let at = |part: &Partition| part.mount.as_ref().is_some_and(|mount| mount.value == path);
        self.partitions.iter().position(at)
    }

    /// The first partition of that type.
    pub fn of_kind(&self, kind: &str) -> Option<usize> {
        self.partitions.iter().position(|part| part.kind == kind)
    }
}

/// Whether a value of this node was left out, as it did not fit.
fn is_unfit(node: &Node, faults: &Faults) -> bool {
    let within = |place: &Place| {
        place.source == node.place.source && (node.place.start..node.place.end).contains(&place.start)
    };
    let of_node = |fault: &Fault| fault.labels.iter().any(|label| within(&label.place));
    faults.list.iter().any(|fault| fault.code == "value/unfit" && of_node(fault))
}

fn is_alignment(bytes: u64) -> bool {
    bytes.is_power_of_two() && (4096..=1 << 30).contains(&bytes)
}

impl Partition {
    fn of(node: &Node, table: Table, folders: &Folders, faults: &mut Faults) -> Option<Partition> {
        let name = node.text("name")?.value;
        let filesystem = node.text("filesystem");
        let named = filesystem.as_ref().map_or("none", |filesystem| filesystem.value.as_str());
        let from = node.text("from");
        let content = match (named, &from) {
            (name, _) if let Some(own) = Own::named(name) => Content::Own(own),
            ("vfat", _) => Content::Vfat,
            ("swap", _) => Content::Swap,
            (_, Some(from)) => Content::File(file(from, folders, faults)),
            (_, None) => Content::Empty,
        };
        if let (Some(from), true) = (&from, named != "none") {
            faults.push(
                Fault::error("partition/content", "a partition has a file system, or the content of a file")
                    .at(&from.place, "this file")
                    .at(
                        filesystem.as_ref().map_or(&node.place, |filesystem| &filesystem.place),
                        "it has this",
                    )
                    .help("leave one of them out"),
            );
        }
        let mount = mount(node, &content, faults);
        // FAT's labels are capitals (dosfslabel(8)).
        let is_fat = content == Content::Vfat;
        let capitals = |label: String| if is_fat { label.to_ascii_uppercase() } else { label };
        let label = label(node, named, faults).map(capitals);
        Some(Partition {
            kind: kind(node, &name, &content, mount.as_ref()),
            flags: flags(node, table, faults),
            options: options(node, &content, faults),
            size: node.share("size"),
            place: node.place.clone(),
            name,
            content,
            label,
            mount,
        })
    }

    /// The line of fstab(5) that its file system stands for.
    pub fn has_fstab_line(&self) -> bool {
        self.content == Content::Swap || self.mount.is_some()
    }
}

/// Where the file is that is all of a partition; tells of one that is none.
fn file(from: &Spanned<String>, folders: &Folders, faults: &mut Faults) -> PathBuf {
    let path = folders.path(from);
    if !path.is_file() {
        let shown = folders.shown(&path);
        let (message, help) = match path.exists() {
            true => (
                format!("`{shown}` is no file"),
                "name a file; what the image has in a folder goes there with `filesystem=` and `mount=`",
            ),
            false => {
                (format!("there is no `{shown}`"), "paths start at the folder of the file that they stand in")
            }
        };
        faults
            .push(Fault::error("partition/file", message).at(&from.place, "what is to be in it").help(help));
    }
    path
}

fn mount(node: &Node, content: &Content, faults: &mut Faults) -> Option<Spanned<String>> {
    let mount = node.text("mount")?.map(|path| match path.trim_end_matches('/') {
        "" => "/".to_string(),
        path => path.to_string(),
    });
    if !matches!(content, Content::Own(_) | Content::Vfat) {
        faults.push(
            Fault::error(
                "partition/mount",
                "there is no file system in this partition that could be mounted",
            )
            .at(&mount.place, "mounted here")
            .help("give it one: `filesystem=\"ext4\"`"),
        );
        return None;
    }
    if *content == Content::Vfat && mount.value == "/" {
        faults.push(
            Fault::error("partition/mount", "vfat cannot hold a system: it has no owners and no links")
                .at(&mount.place, "mounted here")
                .help("`filesystem=\"ext4\"` can"),
        );
    }
    let odd = |letter: char| letter.is_whitespace() || letter.is_control() || letter == '\\';
    if mount.value.contains(odd) || mount.value.contains("//") {
        faults.push(
            Fault::error("partition/mount", "a mount point has no spaces, backslashes and doubled slashes")
                .at(&mount.place, "this one has"),
        );
    }
    Some(mount)
}

fn options(node: &Node, content: &Content, faults: &mut Faults) -> String {
    let usual = if *content == Content::Vfat { "umask=0077" } else { "defaults" };
    let Some(options) = node.text("options") else { return usual.into() };
    if options.value.is_empty() || options.value.contains(char::is_whitespace) {
        faults.push(
            Fault::error("partition/options", "mount options are words separated by commas")
                .at(&options.place, "these are not")
                .help("as in `options=\"noatime,nodev\"`"),
        );
    }
    options.value
}

fn kind(node: &Node, name: &str, content: &Content, mount: Option<&Spanned<String>>) -> &'static str {
    let stated = node.text("type").map(|kind| kind.value);
    if let Some(known) = super::words::TYPES.iter().find(|known| stated.as_deref() == Some(**known)) {
        return known;
    }
    match (content, mount.map(|mount| mount.value.as_str())) {
        (Content::Vfat, None | Some("/efi" | "/boot/efi" | "/boot")) => "esp",
        (Content::Vfat, Some(_)) => "data",
        (Content::Swap, _) => "swap",
        (_, Some("/")) => "root",
        (_, Some("/home")) => "home",
        (_, Some("/srv")) => "srv",
        (Content::Empty, None) if name.starts_with("bios") => "bios-boot",
        _ => "linux",
    }
}

fn flags(node: &Node, table: Table, faults: &mut Faults) -> Vec<&'static str> {
    let Some(stated) = node.text("flags") else { return Vec::new() };
    let mut flags = Vec::new();
    for word in stated.value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let fault = match FLAGS.iter().find(|known| **known == word) {
            Some(flag) if *flag == "boot" || table == Table::Gpt => {
                flags.push(*flag);
                continue;
            }
            Some(flag) => Fault::error("partition/flag", format!("only a GPT has the flag `{flag}`"))
                .help("remove it, or give the disk `table=\"gpt\"`"),
            None if word == "primary" => {
                Fault::error("partition/flag", "there is no flag `primary`: every partition is primary")
                    .help("remove it")
            }
            None => {
                let message = format!("there is no flag `{}`", wording::printable(word));
                let near = wording::suggest(word, FLAGS.iter().copied());
                Fault::error("partition/flag", message).maybe_help(near)
            }
        };
        faults.push(fault.at(&stated.place, "these flags"));
    }
    flags
}

/// The node of that word, `disk`, `boot` or `machine`, among `children`; a second one is a fault.
pub fn stated<'n>(
    children: &[&'n Node],
    word: &'static crate::lang::Word,
    faults: &mut Faults,
) -> Option<&'n Node> {
    let mut nodes = children.iter().filter(|node| std::ptr::eq(node.word, word));
    let first = nodes.next()?;
    if let Some(second) = nodes.next() {
        let message = format!("`{}` stands twice", word.name);
        faults.push(
            Fault::error("disk/twice", message).at(&second.place, "again").at(&first.place, "first here"),
        );
    }
    Some(first)
}
