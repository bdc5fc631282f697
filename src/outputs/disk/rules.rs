//! What must not be said of a disk, its partitions taken together.

use super::layout::Layout;
use super::spec::{Content, Disk, Partition, Table};
use crate::fault::{Fault, Faults};
use crate::lang::Share;
use crate::outputs::filesystem::check_size;
use crate::wording;

/// Bytes that a FAT file system can have.
const FAT_SIZES: std::ops::Range<u64> = 4 << 20..2 << 40;

impl Disk {
    /// Tells what is wrong, but for sizes.
    pub fn check(&self, faults: &mut Faults) {
        self.check_twice(faults);
        self.check_table(faults);
        self.partitions.iter().for_each(|part| check_type(part, self.table, faults));
        self.partitions.iter().for_each(|part| check_mount(part, faults));
        if self.mounted("/").is_none() && !self.partitions.is_empty() {
            faults.push(
                Fault::error("disk/root", "no partition of this disk is mounted at `/`")
                    .at(&self.place, "this disk")
                    .help("give the one with the system `mount=\"/\"`"),
            );
        }
    }

    /// Names, mount points and labels tell partitions apart.
    fn check_twice(&self, faults: &mut Faults) {
        let told = |part: &Partition| {
            let mount = part.mount.as_ref().map(|mount| mount.value.clone());
            let told =
                [("name", Some(part.name.clone())), ("mount point", mount), ("label", part.label.clone())];
            told.into_iter().filter_map(|(what, value)| Some((what, value?)))
        };
        for (number, part) in self.partitions.iter().enumerate() {
            for (what, value) in told(part) {
                let same = |other: &&Partition| told(other).any(|(of, known)| of == what && known == value);
                let Some(first) = self.partitions.iter().take(number).find(same) else { continue };
                let message = format!("two partitions have the {what} `{}`", wording::printable(&value));
                let fault = Fault::error("partition/twice", message);
                faults.push(fault.at(&part.place, "this one").at(&first.place, "and this one"));
            }
        }
    }

    fn check_table(&self, faults: &mut Faults) {
        // What the table of an MBR counts sectors with.
        const LARGEST_MBR: u64 = 2 << 40;
        let (most, what) = match self.table {
            Table::Gpt => (128, "a GPT"),
            Table::Mbr => (4, "an MBR"),
            Table::None => (1, "a disk without a table"),
        };
        if let Some(part) = self.partitions.get(most) {
            let message = format!("{what} has up to {}", wording::count(most, "partition"));
            faults.push(Fault::error("disk/partitions", message).at(&part.place, "one too many"));
        }
        let mut loaders = self.partitions.iter().filter(|part| part.kind == "esp");
        if let (Some(first), Some(second)) = (loaders.next(), loaders.next()) {
            faults.push(
                Fault::error("partition/type", "two partitions are of the type `esp`")
                    .at(&second.place, "this one")
                    .at(&first.place, "and this one")
                    .help("the boot loader is in one: give the other `type=\"data\"`"),
            );
        }
        let large = self.size.iter().find(|size| size.value > LARGEST_MBR);
        if let Some(size) = large.filter(|_| self.table == Table::Mbr) {
            faults.push(
                Fault::error("disk/size", "an MBR tells up to 2 TiB")
                    .at(&size.place, "this size")
                    .help("`table=\"gpt\"` tells more"),
            );
        }
    }

    /// Tells what is wrong with sizes, if each by itself was understood.
    pub fn check_sizes(&self, faults: &mut Faults) {
        let open: Vec<&Partition> = self.partitions.iter().filter(|part| part.size.is_none()).collect();
        if let ([first, second, ..], Some(size)) = (open.as_slice(), &self.size) {
            faults.push(
                Fault::error("partition/size", "two partitions of a disk with a size have none")
                    .at(&second.place, "this one")
                    .at(&first.place, "and this one")
                    .at(&size.place, "the disk has this size")
                    .help("give one of them a size, or a part of what is left: `size=\"50%\"`"),
            );
        }
        let mut all_known = true;
        for part in &self.partitions {
            let Some(size) = &part.size else { continue };
            match size.value {
                Share::Percent(_) if self.size.is_none() => faults.push(
                    Fault::error("partition/size", "a part of a disk that has no size is no size")
                        .at(&size.place, "this part")
                        .at(&self.place, "of this disk")
                        .help("give the disk a size, or the partition one in bytes"),
                ),
                Share::Bytes(bytes) => {
                    let known = check_size(bytes, &size.place, faults);
                    all_known &= known;
                    if known && part.content == Content::Vfat && !FAT_SIZES.contains(&bytes) {
                        let message = "a FAT file system has 4 MiB or more, and less than 2 TiB";
                        faults.push(Fault::error("partition/size", message).at(&size.place, "this size"));
                    }
                    if let (true, Content::Own(own)) = (known, &part.content) {
                        own.check_size(bytes, &size.place).into_iter().for_each(|fault| faults.push(fault));
                    }
                }
                Share::Percent(_) => {}
            }
        }
        if all_known {
            self.check_sum(faults);
        }
        self.check_shares(faults);
        let mut swaps = self.partitions.iter().filter(|part| part.content == Content::Swap);
        if let Some(part) = swaps.find(|part| part.size.is_none() && self.size.is_none()) {
            faults.push(
                Fault::error("partition/size", "swap has nothing in it that would give it a size")
                    .at(&part.place, "this partition")
                    .help("give it one: `size=\"512MiB\"`"),
            );
        }
    }
}

impl Disk {
    /// Behind one that takes all that is left, nothing is left.
    fn check_shares(&self, faults: &mut Faults) {
        let share = |part: &Partition| part.size.as_ref().map(|size| size.value);
        let takes_all = |part: &Partition| matches!(share(part), Some(Share::Percent(100)));
        let Some(first) = self.partitions.iter().position(takes_all).filter(|_| self.size.is_some()) else {
            return;
        };
        let is_late = |number: usize, part: &Partition| match share(part) {
            Some(Share::Percent(_)) => number > first,
            Some(Share::Bytes(_)) => false,
            None => part.kind != "bios-boot",
        };
        let late = self.partitions.iter().enumerate().find(|(number, part)| is_late(*number, part));
        let (Some((_, late)), Some(size)) = (late, &self.partitions[first].size) else { return };
        faults.push(
            Fault::error("partition/size", format!("nothing is left for the partition `{}`", late.name))
                .at(&late.place, "this one")
                .at(&size.place, "all that is left is taken here")
                .help("give both a part: of what is left, each takes its own, in turn"),
        );
    }

    /// What is stated must fit what is stated: no build finds more room.
    fn check_sum(&self, faults: &mut Faults) {
        let Some(size) = &self.size else { return };
        let least = Layout::least(self);
        if least > size.value {
            faults.push(
                Fault::error(
                    "disk/size",
                    format!("these partitions do not fit into {}", wording::size(size.value)),
                )
                .at(&size.place, "this size")
                .help(format!("they need {} at least", wording::size(least))),
            );
        }
    }
}

/// What the kernel fills, and what is needed before anything is mounted, is no partition of its own.
fn check_mount(part: &Partition, faults: &mut Faults) {
    const KERNEL: [&str; 4] = ["/dev", "/proc", "/run", "/sys"];
    let is_kernel = |mount: &str| {
        KERNEL
            .iter()
            .any(|of| mount.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    };
    let is_none = |mount: &&crate::lang::Spanned<String>| mount.value == "/etc" || is_kernel(&mount.value);
    let Some(mount) = part.mount.as_ref().filter(is_none) else { return };
    let message = format!("`{}` is no place for a partition", mount.value);
    let why = if mount.value == "/etc" {
        "it has to be there before anything is mounted: leave it on `/`"
    } else {
        "the kernel fills it when it runs: leave it on `/`"
    };
    faults.push(Fault::error("partition/mount", message).at(&mount.place, "this mount point").help(why));
}

/// What a boot loader looks for has to be what it looks for.
fn check_type(part: &Partition, table: Table, faults: &mut Faults) {
    let fault = match (part.kind, &part.content) {
        ("esp", content) if *content != Content::Vfat => {
            Fault::error("partition/type", "a partition of the type `esp` has a vfat file system")
                .help("`filesystem=\"vfat\"`")
        }
        ("bios-boot", content) if *content != Content::Empty => {
            Fault::error("partition/type", "a partition of the type `bios-boot` has no file system")
                .help("leave `filesystem` out")
        }
        ("bios-boot", _) if table != Table::Gpt => {
            Fault::error("partition/type", "only a disk with a GPT has a `bios-boot` partition")
                .help("remove it: on other disks grub lies in front of the first partition")
        }
        _ => return,
    };
    faults.push(fault.at(&part.place, "this partition"));
}
