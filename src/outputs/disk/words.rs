//! The words of disks: what is on one, and how it boots.

use crate::lang::{Child, Field, Form, Word};

/// `disk …`
pub static DISK: Word = Word {
    name: "disk",
    summary: "the disk that images of disks are of: its size, its table, its partitions",
    docs: "Outputs such as `qcow2` and `raw` write it. Without this word a disk has what its boot loader needs, and one \
           ext4 file system for all the rest, as large as it has to be; with it and without partitions it has the same, of \
           this size. A hypervisor's own disk stands in place of the image's.\n\nPartitions lie on it in the order of the text. Where the disk has a size, one partition without a \
           size gets what the others leave; else each is as large as what is in it, with a tenth more and 64 MiB. All \
           UUIDs come from what is on the disk, so that the same image is the same bytes.\n\nWhat has a mount point gets a \
           line in the image's `/etc/fstab`, in front of the lines that are there for other mount points.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    packages { linux-image-cloud-amd64 }\n    disk \
              size=\"8GiB\" {\n        partition \"esp\" size=\"128MiB\" filesystem=\"vfat\" mount=\"/efi\"\n        partition \
              \"swap\" size=\"512MiB\" filesystem=\"swap\"\n        partition \"root\" size=\"50%\" filesystem=\"ext4\" \
              mount=\"/\"\n        partition \"srv\" filesystem=\"ext4\" mount=\"/srv\" label=\"data\"\n    }\n    boot \
              loader=\"systemd-boot\"\n    output \"raw\"\n}\n",
    properties: &[
        Field::new("size", Form::Size, "Its size: a multiple of 1 MiB.").default("what is on it"),
        Field::new("room", Form::Size, "What is free on `/` beyond that, where the disk has no size.")
            .default("0"),
        Field::new(
            "table",
            Form::OneOf(&["gpt", "mbr", "none"]),
            "How partitions are told; `none` is one file system and nothing around it.",
        )
        .default("gpt"),
        Field::new("align", Form::Size, "Partitions begin at multiples of this.").default("1MiB"),
        Field::new("fstab", Form::Flag, "Whether mount points are written to the image's `/etc/fstab`.")
            .default("#true"),
    ],
    children: &[Child::many(&PARTITION)],
    ..Word::BARE
};

/// What a partition can be for.
pub const TYPES: &[&str] =
    &["linux", "root", "esp", "bios-boot", "swap", "home", "srv", "var", "boot", "lvm", "raid", "data"];

/// What a partition can be marked as.
pub const FLAGS: &[&str] = &["boot", "read-only", "no-auto", "grow"];

static PARTITION: Word = Word {
    name: "partition",
    summary: "a part of a disk",
    docs: "Its type is told by what is in it, where none is stated: a partition for `/` is `root`, swap is `swap`, vfat is \
           `esp`. A partition named `bios` without a file system is `bios-boot`, which grub needs on a disk with a GPT to \
           boot with a BIOS.\n\nbtrfs is one of a single device, without subvolumes, of 109 MiB at least; xfs has 300 MiB \
           at least.",
    example: "image \"server\" {\n    overlays \"site\"\n    disk table=\"mbr\" {\n        partition \"root\" \
              filesystem=\"ext4\" mount=\"/\" flags=\"boot\"\n    }\n    output \"raw\"\n}\n",
    arguments: &[Field::new("name", Form::Name, "Its name, which a GPT has, too.").required()],
    properties: &[
        Field::new(
            "size",
            Form::Share,
            "Its size, or how much of what the partitions before it and those with sizes leave.",
        )
        .default("what is left, or what is in it"),
        Field::new(
            "filesystem",
            Form::OneOf(&["ext4", "btrfs", "xfs", "vfat", "swap", "none"]),
            "What it is formatted with.",
        )
        .default("none"),
        Field::new("mount", Form::ImagePath, "Where it is mounted; what the image has there is in it."),
        Field::new("options", Form::Text, "How it is mounted.").default("defaults"),
        Field::new("label", Form::Text, "What its file system is called."),
        Field::new("from", Form::Path, "A file whose content it has, in place of a file system."),
        Field::new("type", Form::OneOf(TYPES), "What it is for."),
        Field::new(
            "flags",
            Form::Text,
            "Marks, separated by commas: `boot`, `read-only`, `no-auto`, `grow`.",
        )
        .default("none"),
    ],
    ..Word::BARE
};

/// `boot …`
pub static BOOT: Word = Word {
    name: "boot",
    summary: "how a disk boots",
    docs: "The kernel and its initramfs are the image's own: the newest of `/boot/vmlinuz-*`, with `/boot/initrd.img-*` of \
           the same version. The loader comes from a locked Debian tree that imgbuild brings itself: no image needs one. \
           `grub` boots with a BIOS and with EFI, as far as the disk has a place for each; `systemd-boot` and `uki` with \
           EFI. With `none` the hypervisor brings the kernel: `output \"kernel\"` writes it.\n\nThe kernel is told where \
           `/` is; `console` and `cmdline` are added to that.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    packages { linux-image-cloud-amd64 }\n    boot \
              loader=\"uki\" console=\"ttyS0\" cmdline=\"quiet\"\n    output \"qcow2\"\n}\n",
    properties: &[
        Field::new("loader", Form::OneOf(LOADERS), "What starts the kernel.").default("grub"),
        Field::new("console", Form::Name, "Where the kernel and the loader speak: `ttyS0`, `hvc0`, `tty0`.")
            .default("the kernel's own"),
        Field::new("cmdline", Form::Text, "What else the kernel is told."),
        Field::new("timeout", Form::Integer { min: 0, max: 3600 }, "Seconds that a menu waits.").default("0"),
    ],
    ..Word::BARE
};

/// Every boot loader.
pub const LOADERS: &[&str] = &["grub", "systemd-boot", "uki", "none"];

/// `machine …`
pub static MACHINE: Word = Word {
    name: "machine",
    summary: "the machine that the image is for",
    docs: "`imgbuild boot` makes such a one, `test` tries the image in it, and `output \"machine\"` and `output \"ova\"` \
           describe it. It changes nothing in an image.",
    example: "image \"server\" {\n    base \"debian\" suite=\"trixie\"\n    packages { linux-image-cloud-amd64; systemd-sysv \
              }\n    machine memory=\"2GiB\" cpus=4\n    output \"qcow2\"\n}\n",
    properties: &[
        Field::new("memory", Form::Size, "Its memory: a multiple of 1 MiB.").default("1GiB"),
        Field::new("cpus", Form::Integer { min: 1, max: 512 }, "How many processors it has.").default("2"),
        Field::new("nics", Form::Integer { min: 0, max: 8 }, "How many network cards it has.").default("1"),
        Field::new("firmware", Form::OneOf(&["bios", "efi"]), "What starts the boot loader.")
            .default("bios, where the disk boots with one"),
    ],
    ..Word::BARE
};
