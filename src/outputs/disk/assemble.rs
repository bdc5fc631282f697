//! Putting a disk together, in a sparse file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::SeekFrom as Hole;
use rustix::io::Errno;

use super::Machine;
use super::fat::{self, Fat, Files, Source};
use super::fstab::fstab;
use super::kernel::{Ids, kernels};
use super::layout::Layout;
use super::loader::{Bios, Making, Put, grub_settings};
use super::spec::{Content, Disk, Loader, Partition, Table};
use super::table::{self, SECTOR, Slot};
use crate::fault::{Fault, Place};
use crate::key::Digest;
use crate::lang::Spanned;
use crate::layer::copy::copy_by_kernel;
use crate::layer::merge::Node;
use crate::layer::{EntryPath, Kind, Merged};
use crate::outputs::given::layer_of;
use crate::outputs::made::Made;
use crate::outputs::own::Own;
use crate::outputs::seed::uuid_bytes;
use crate::wording;
use crate::work::{Aids, Job, SharedFile, Stack, StackLayer, World, layer_facts};

/// A disk that is to be put together.
pub struct Assembly<'a> {
    pub machine: &'a Machine,
    /// What the image is called.
    pub title: &'a str,
    /// The output.
    pub place: &'a Place,
    pub stack: &'a Stack,
    pub aids: &'a Aids,
    pub world: &'a World,
    pub job: &'a Job<'a>,
}

/// What is in a partition, ready to be written.
enum Filling<'a> {
    Own(Own, &'a Merged),
    Fat(Files<'a>),
    Swap,
    Empty,
    /// grub's core.
    Bios,
    File(File, u64),
}

const MIB: u64 = 1 << 20;

impl Assembly<'_> {
    /// Writes the disk to `path`, where nothing is.
    ///
    /// # Errors
    ///
    /// Something does not fit, there is no kernel, a tool fails, or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Fault> {
        let failed = |error: io::Error| Fault::io("write", path, &error);
        let disk = &*self.machine.disk;
        let ids = Ids::of(self.machine, self.title, self.stack, self.world)?;
        let (stack, merged) = self.image(&ids)?;
        let kernels = kernels(&merged);
        let making = Making {
            boot: &self.machine.boot,
            disk,
            ids: &ids,
            title: self.title,
            kernels: &kernels,
            merged: &merged,
            stack: &stack,
            aids: self.aids,
            world: self.world,
            job: self.job,
            place: self.place,
        };
        let Put { mut esp, bios } = making.put()?;
        let trees = disk.partitions.iter().map(|part| self.below(&merged, part));
        let trees: Vec<Merged> = trees.collect::<Result<_, _>>()?;
        let mut fillings = Vec::new();
        for (number, (part, tree)) in disk.partitions.iter().zip(&trees).enumerate() {
            let of_loader = esp.take_if(|(of, _)| *of == number).map(|(_, files)| files);
            fillings.push(filling(part, tree, of_loader.unwrap_or_default())?);
        }
        let wanted = fillings.iter().map(|filling| wanted(filling, bios.as_ref())).collect::<Result<_, _>>();
        let wanted = self.with_room(wanted.map_err(|fault| fault.at(self.place, "this output"))?);
        let layout = Layout::of(disk, &wanted, self.place)?;
        let mut out = File::create_new(path).map_err(failed)?;
        self.put_table(&out, &layout, &ids).map_err(failed)?;
        if let Some(bios) = &bios {
            self.put_bios(&out, bios, &layout).map_err(failed)??;
        }
        let parts = disk.partitions.iter().zip(layout.places).zip(&ids.filesystems);
        for (((part, place), id), filling) in parts.zip(fillings) {
            self.job.go_on()?;
            self.fill(&mut out, path, filling, (part, place, id), &stack)?;
        }
        Ok(())
    }

    /// The disk as other outputs of the same target may have it, too, and the key that says all of it.
    ///
    /// # Errors
    ///
    /// Of [`Assembly::write`].
    pub fn shared(&self) -> Result<(Digest, Arc<SharedFile>), Fault> {
        let mut key = self.machine.facts(self.title, self.world)?.key;
        layer_facts(&mut key, &self.stack.below(), false);
        let key = key.digest();
        Ok((key, self.world.shared.file(key, self.world, |path| self.write(path))?))
    }

    /// Makes the file as large as the disk, and writes the table of its partitions.
    fn put_table(&self, out: &File, layout: &Layout, ids: &Ids) -> io::Result<()> {
        let Machine { disk, boot, .. } = self.machine;
        out.set_len(layout.size)?;
        let slots = slots(disk, layout, ids);
        let pieces = table::pieces(disk.table, &slots, layout.size / SECTOR, &ids.disk, &boot.arch);
        pieces.iter().try_for_each(|(at, bytes)| out.write_all_at(bytes, *at))
    }

    /// The image as it is on the disk: with mount points, fstab and what the boot loader reads there.
    fn image(&self, ids: &Ids) -> Result<(Stack, Merged), Fault> {
        let disk = &*self.machine.disk;
        let merged = self.world.image(self.stack)?;
        let mut files: BTreeMap<EntryPath, Option<Vec<u8>>> = BTreeMap::new();
        let at = |path: &str| EntryPath::parse(path.trim_start_matches('/')).unwrap_or_default();
        for mount in disk.partitions.iter().filter_map(|part| part.mount.as_ref()) {
            check_mount(mount, &merged)?;
            files.insert(at(&mount.value), None);
        }
        if disk.fstab {
            let path = at("etc/fstab");
            let image = merged.file(&path).map(|node| self.read(node)).transpose()?;
            files.insert(path, Some(fstab(disk, ids, &image.unwrap_or_default())));
        }
        let boot = &self.machine.boot;
        let path = at("boot/grub/grub.cfg");
        if boot.loader == Loader::Grub && merged.get(&path).is_none() {
            let settings = grub_settings(boot, disk, ids, self.title, &kernels(&merged));
            files.insert(path, Some(settings.into_bytes()));
        }
        let mut stack = self.stack.clone();
        stack.layers.push(StackLayer {
            name: "disk".into(),
            step: format!("disk of {}", self.title),
            kind: "disk",
            place: self.place.clone(),
            layer: layer_of(files, self.world)?,
            found: Vec::new(),
            joins: false,
        });
        let merged = self.world.image(&stack)?;
        Ok((stack, merged))
    }

    /// A small file of the image.
    fn read(&self, node: &Node) -> Result<Vec<u8>, Fault> {
        const MOST: u64 = 1 << 20;
        let path = Path::new("/").join(node.entry.path.as_os_str());
        let layer = self.stack.layer_of(node).filter(|_| node.entry.kind.size() <= MOST);
        let layer = layer.ok_or_else(|| {
            let message = format!("the image's `{}` is larger than {}", path.display(), wording::size(MOST));
            Fault::build("disk/fstab", message).at(self.place, "this output")
        })?;
        layer.bytes(&node.entry, MOST).map_err(|error| Fault::io("read", &layer.path, &error))
    }

    /// What the image has where the partition is mounted, but for what is on others, as a tree of its own.
    fn below(&self, merged: &Merged, part: &Partition) -> Result<Merged, Fault> {
        let at = |mount: &Spanned<String>| {
            EntryPath::parse(mount.value.trim_start_matches('/')).unwrap_or_default()
        };
        let Some(root) = &part.mount.as_ref().map(at) else { return Ok(Merged::default()) };
        let mounts = self.machine.disk.partitions.iter().filter_map(|part| part.mount.as_ref()).map(at);
        let is_inside =
            |mount: &EntryPath| mount != root && mount.below(root).is_some_and(|below| !below.is_empty());
        let others: Vec<EntryPath> = mounts.filter(is_inside).collect();
        let is_here = |path: &EntryPath| {
            let elsewhere = |mount: &EntryPath| path.below(mount).is_some_and(|below| !below.is_empty());
            path.below(root).is_some() && !others.iter().any(elsewhere)
        };
        if root.is_root() && others.is_empty() {
            return Ok(merged.clone());
        }
        let mut here = Merged::default();
        // A file with names on several partitions is one on each.
        let mut first: BTreeMap<EntryPath, EntryPath> = BTreeMap::new();
        for node in merged.nodes().filter(|node| is_here(&node.entry.path)) {
            let mut node = node.clone();
            if let Kind::Hardlink(target) = node.entry.kind.clone() {
                let known = if is_here(&target) { Some(target.clone()) } else { first.get(&target).cloned() };
                match (known, merged.get(&target)) {
                    (Some(known), _) => node.entry.kind = Kind::Hardlink(inner(&known, root)),
                    (None, Some(file)) => {
                        first.insert(target, node.entry.path.clone());
                        let path = node.entry.path.clone();
                        node = file.clone();
                        node.entry.path = path;
                    }
                    (None, None) => continue,
                }
            }
            node.entry.path = inner(&node.entry.path, root);
            let Node { entry, layer, .. } = node;
            here.add(layer, entry)
                .map_err(|bad| Fault::build("layer/merge", format!("a partition cannot be filled: {bad}")))?;
        }
        here.settle();
        Ok(here)
    }

    /// The root's file system has the room that the disk is to have.
    fn with_room(&self, mut wanted: Vec<u64>) -> Vec<u64> {
        let disk = &self.machine.disk;
        if let Some(root) = disk.mounted("/").and_then(|root| wanted.get_mut(root)) {
            *root = (*root + disk.room).next_multiple_of(MIB);
        }
        wanted
    }

    fn put_bios(&self, out: &File, bios: &Bios, layout: &Layout) -> io::Result<Result<(), Fault>> {
        let disk = &self.machine.disk;
        let (at, room) =
            match (disk.table, disk.of_kind("bios-boot").and_then(|part| layout.places.get(part))) {
                (Table::Gpt, Some(place)) => *place,
                (Table::Mbr, _) => (SECTOR, layout.places.first().map_or(0, |(first, _)| first - SECTOR)),
                _ => return Ok(Ok(())),
            };
        let core = bios.core_at(at / SECTOR);
        if core.len() as u64 > room {
            let message = format!("grub needs {}", wording::size(core.len() as u64));
            let place = disk.of_kind("bios-boot").map_or(&disk.place, |part| &disk.partitions[part].place);
            return Ok(Err(Fault::build("output/too-small", message).at(place, "this is too small for it")));
        }
        out.write_all_at(&core, at)?;
        out.write_all_at(&bios.first_sector(at / SECTOR), 0)?;
        Ok(Ok(()))
    }

    fn fill(
        &self,
        out: &mut File,
        path: &Path,
        filling: Filling<'_>,
        (part, (at, size), uuid): (&Partition, (u64, u64), &str),
        stack: &Stack,
    ) -> Result<(), Fault> {
        let failed = |error: io::Error| Fault::io("write", path, &error);
        let told = part.size.as_ref().map_or(&part.place, |size| &size.place);
        match filling {
            Filling::Empty | Filling::Bios => Ok(()),
            Filling::Own(own, merged) => {
                let World { epoch, threads, .. } = *self.world;
                let made = Made { merged, stack, uuid, label: part.label.as_deref(), epoch, threads };
                own.write(&made, (out, path), (at, &Spanned::new(size, told)), self.place, self.job)
            }
            Filling::Fat(files) => {
                let id = u32::from_str_radix(&uuid.replace('-', ""), 16).unwrap_or(1);
                let fat = Fat { files, label: part.label.as_deref(), id, epoch: self.world.epoch };
                fat.write((out, path), (at, size), stack, told)
            }
            Filling::Swap => swap(uuid, part.label.as_deref(), size)
                .iter()
                .try_for_each(|(offset, bytes)| out.write_all_at(bytes, at + offset))
                .map_err(failed),
            Filling::File(_, length) if length > size => {
                Err(too_large(length, size, part).at(told, "this partition"))
            }
            Filling::File(file, _) => copy_sparse(&file, out, at).map_err(failed),
        }
    }
}

/// A file of `length` bytes is to be in a partition of `size`.
fn too_large(length: u64, size: u64, part: &Partition) -> Fault {
    // Not rounded: it is to be written there.
    let (told, needed) = (wording::size(size), length.div_ceil(MIB));
    let message = format!("the file of this partition does not fit into {told}: it needs {needed} MiB");
    let help = match part.size {
        Some(_) => format!("say `size=\"{needed}MiB\"`"),
        None => "make the disk larger".into(),
    };
    Fault::build("output/too-small", message).help(help)
}

/// What is to be in a partition: of `tree`, or as it says.
fn filling<'m>(part: &Partition, tree: &'m Merged, of_loader: Files<'m>) -> Result<Filling<'m>, Fault> {
    Ok(match &part.content {
        Content::Own(own) => Filling::Own(*own, tree),
        Content::Vfat => {
            let mut files = fat::files_of(tree, part)?;
            for (path, source) in of_loader {
                // What the image has there, it has for a reason.
                if !files.contains_key(&path) || matches!(source, Source::Node(_)) {
                    files.insert(path, source);
                }
            }
            Filling::Fat(files)
        }
        Content::Swap => Filling::Swap,
        Content::Empty if part.kind == "bios-boot" => Filling::Bios,
        Content::Empty => Filling::Empty,
        Content::File(path) => {
            let failed = |error: io::Error| Fault::io("read", path, &error).at(&part.place, "this partition");
            let file = File::open(path).map_err(failed)?;
            let size = file.metadata().map_err(failed)?.len();
            Filling::File(file, size)
        }
    })
}

/// A mount point has to be where it says: through a link, what the image has there would be hidden.
fn check_mount(mount: &Spanned<String>, merged: &Merged) -> Result<(), Fault> {
    let mut at = EntryPath::root();
    for name in mount.value.split('/').filter(|name| !name.is_empty()) {
        at = at.join(name.as_bytes());
        let kind = merged.get(&at).map(|node| &node.entry.kind);
        let what = match kind {
            None | Some(Kind::Directory) => continue,
            Some(Kind::Symlink(_)) => "a symbolic link",
            Some(_) => "no folder",
        };
        let message = format!("nothing can be mounted at `{}`: in the image, `/{at}` is {what}", mount.value);
        return Err(Fault::build("partition/mount", message)
            .at(&mount.place, "mounted here")
            .help("name the folder itself"));
    }
    Ok(())
}

/// The path in a file system that is mounted at `root`.
fn inner(path: &EntryPath, root: &EntryPath) -> EntryPath {
    path.below(root).and_then(|below| EntryPath::parse(below).ok()).unwrap_or_default()
}

/// Bytes of a partition that nothing is said of.
fn wanted(filling: &Filling<'_>, bios: Option<&Bios>) -> Result<u64, Fault> {
    let bytes = match filling {
        Filling::Own(own, merged) => own.roomy(merged)?,
        Filling::Fat(files) => fat::roomy(files),
        Filling::Bios => bios.map_or(0, |bios| bios.core.len() as u64),
        Filling::File(_, length) => *length,
        Filling::Swap | Filling::Empty => 0,
    };
    Ok(bytes.max(1).next_multiple_of(MIB))
}

fn slots(disk: &Disk, layout: &Layout, ids: &Ids) -> Vec<Slot> {
    let slot = |(number, part): (usize, &Partition)| {
        let (at, size) = layout.places.get(number).copied().unwrap_or_default();
        Slot {
            first: at / SECTOR,
            sectors: size / SECTOR,
            kind: part.kind,
            uuid: ids.partitions.get(number).cloned().unwrap_or_default(),
            name: part.name.clone(),
            flags: part.flags.clone(),
        }
    };
    disk.partitions.iter().enumerate().map(slot).collect()
}

/// The header of a swap area (mkswap(8), Linux's `union swap_header`): the pieces that are not zero.
fn swap(uuid: &str, label: Option<&str>, size: u64) -> [(u64, Vec<u8>); 2] {
    const PAGE: u64 = 4096;
    let last = u32::try_from(size / PAGE - 1).unwrap_or(u32::MAX);
    let mut info = [1u32.to_le_bytes(), last.to_le_bytes(), 0u32.to_le_bytes()].concat();
    info.extend(uuid_bytes(uuid));
    info.extend(label.unwrap_or_default().bytes());
    [(1024, info), (PAGE - 10, b"SWAPSPACE2".to_vec())]
}

/// Copies what is in `from` to `at` in `to`, and leaves out what is a hole.
pub fn copy_sparse(from: &File, to: &mut File, at: u64) -> io::Result<()> {
    let length = from.metadata()?.len();
    if to.metadata()?.len() < at + length {
        to.set_len(at + length)?;
    }
    let mut next = 0;
    while next < length {
        let start = match rustix::fs::seek(from, Hole::Data(next)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            // A file system that knows no holes.
            Err(Errno::INVAL) => next,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(from, Hole::Hole(start)).unwrap_or(length).min(length);
        to.seek(SeekFrom::Start(at + start))?;
        copy_by_kernel(from, start, end - start, to)?;
        next = end;
    }
    Ok(())
}
