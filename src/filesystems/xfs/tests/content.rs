//! What people have on disks.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{
    CWD, FallocateFlags, FileType, Mode, Timespec, Timestamps, UTIME_NOW, XattrFlags, fallocate,
    ioctl_ficlone, lsetxattr, makedev, mknodat, utimensat,
};

/// Something of everything.
pub fn everything(root: &Path) {
    for count in [0, 1, 5, 40, 400, 4_000] {
        folder(&root.join(format!("folder-{count}")), count);
    }
    files(&root.join("files"));
    special(&root.join("special"));
    times(&root.join("times"));
    attributes(&root.join("attributes"), 600);
    owners(&root.join("owners"));
}

/// A folder of `count` names, where others were removed.
pub fn folder(at: &Path, count: usize) {
    fs::create_dir(at).expect("a folder");
    let name = |number: usize| at.join(format!("{number}-{}", "n".repeat(number * 7 % 200)));
    (0..count + count / 5).for_each(|number| drop(File::create(name(number)).expect("a file")));
    (0..count / 5).for_each(|number| fs::remove_file(name(number * 6)).expect("removed"));
}

/// Contents: nothing, little, much, holes, many pieces, reserved, shared.
fn files(at: &Path) {
    fs::create_dir(at).expect("a folder");
    let file = |name: &str| File::create_new(at.join(name)).expect("a file");
    file("empty");
    file("small").write_all_at(b"small", 0).expect("written");
    let large: Vec<u8> = (0..3_000_001u32).map(|number| (number / 7) as u8).collect();
    file("large").write_all_at(&large, 0).expect("written");
    let huge = file("huge");
    huge.write_all_at(b"begin", 5_000).expect("written");
    huge.write_all_at(b"end", (1 << 40) - 3).expect("written");
    pieces(&at.join("pieces"), 30);
    pieces(&at.join("many-pieces"), 3_000);
    let reserved = file("reserved");
    fallocate(&reserved, FallocateFlags::empty(), 0, 1 << 20).expect("reserved");
    reserved.write_all_at(b"written", 300_000).expect("written");
    fallocate(file("reserved-behind"), FallocateFlags::KEEP_SIZE, 0, 1 << 20).expect("reserved");
    let shared = file("shared");
    // Without the feature it stays empty.
    if ioctl_ficlone(&shared, File::open(at.join("large")).expect("a file")).is_ok() {
        shared.write_all_at(b"its own", 1_000_000).expect("written");
    }
    fs::hard_link(at.join("small"), at.join("another-name")).expect("a link");
}

/// A file of `count` extents, since what is between them is a hole: more than an inode lists.
pub fn pieces(at: &Path, count: u64) {
    let file = File::create_new(at).expect("a file");
    (0..count).for_each(|number| {
        file.write_all_at(&[number as u8 | 1; 100], number * 2 * 4096 + 50).expect("written");
    });
}

pub fn special(at: &Path) {
    fs::create_dir(at).expect("a folder");
    for length in [1, 50, 100, 300, 700, 1_023] {
        symlink("l".repeat(length), at.join(format!("link-{length}"))).expect("a link");
    }
    let make = |name: &str, kind: FileType, (major, minor)| {
        mknodat(CWD, at.join(name), kind, Mode::from(0o640), makedev(major, minor)).expect("a device");
    };
    make("null", FileType::CharacterDevice, (1, 3));
    // As large as Linux lets them be here.
    make("largest", FileType::CharacterDevice, (511, (1 << 18) - 1));
    make("disk", FileType::BlockDevice, (259, 70_000));
    make("pipe", FileType::Fifo, (0, 0));
    drop(UnixListener::bind(at.join("socket")).expect("a socket"));
}

fn times(at: &Path) {
    fs::create_dir(at).expect("a folder");
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    for seconds in
        [-2_147_483_648, -1_000, -1, 0, 1_700_000_000, 2_147_483_647, 4_000_000_000, 16_000_000_000]
    {
        let path = at.join(format!("{seconds}"));
        File::create(&path).expect("a file");
        let times = Timestamps {
            last_access: now,
            last_modification: Timespec { tv_sec: seconds, tv_nsec: 600_000_000 },
        };
        utimensat(CWD, &path, &times, rustix::fs::AtFlags::empty()).expect("a time");
    }
}

/// Attributes: in the inode, in a block, with blocks of their own, `most` of them, and none any more.
pub fn attributes(at: &Path, most: usize) {
    fs::create_dir(at).expect("a folder");
    let make = |name: &str, attributes: &[(&str, &[u8])]| {
        let path = at.join(name);
        File::create_new(&path).expect("a file");
        for (name, value) in attributes {
            lsetxattr(&path, *name, value, XattrFlags::empty())
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    };
    // Version 2, `cap_net_raw` effective and permitted.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    make("capability", &[("security.capability", &capability)]);
    make(
        "few",
        &[("user.one", b"1"), ("user.nothing", b""), ("trusted.two", b"2"), ("security.selinux", b"a:b:c\0")],
    );
    make("block", &[("user.long", &[b'v'; 1_500]), ("user.short", b"v"), ("trusted.short", b"other")]);
    let longest = vec![b'x'; 64 << 10];
    make(
        "longest",
        &[("user.longest", &longest), ("user.x", &longest[..5_000]), ("security.x", &longest[..20_000])],
    );
    let names: Vec<String> =
        (0..most).map(|number| format!("user.{number}{}", "n".repeat(number % 120))).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    make("many", &many);
    access_lists(at);
    make("removed", &many);
    let removed = at.join("removed");
    names.iter().for_each(|name| rustix::fs::lremovexattr(&removed, name.as_str()).expect("removed"));
}

/// Access lists: the owner, two users, the group, another, the mask, all others.
fn access_lists(at: &Path) {
    let entries = [(1u16, 6u16, u32::MAX), (2, 4, 1_000), (2, 6, 70_000), (4, 4, u32::MAX), (8, 5, 33)];
    let entries = entries.into_iter().chain([(16, 7, u32::MAX), (32, 0, u32::MAX)]);
    let entry = |(tag, permissions, id): (u16, u16, u32)| {
        [tag.to_le_bytes().as_slice(), &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let list: Vec<u8> = 2u32.to_le_bytes().into_iter().chain(entries.flat_map(entry)).collect();
    let folder = at.join("listed");
    fs::create_dir(&folder).expect("a folder");
    for name in ["system.posix_acl_access", "system.posix_acl_default"] {
        lsetxattr(&folder, name, &list, XattrFlags::empty()).expect("an access list");
    }
    fs::create_dir(folder.join("inherits")).expect("a folder");
    File::create(folder.join("inherits, too")).expect("a file");
}

fn owners(at: &Path) {
    fs::create_dir(at).expect("a folder");
    for (name, mode, owner) in
        [("one", 0o4755, (0, 0)), ("two", 0o2111, (70_000, 5)), ("3", 0o600, (4_000_000_000, 9))]
    {
        let path = at.join(name);
        File::create(&path).expect("a file");
        chown(&path, Some(owner.0), Some(owner.1)).expect("an owner");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    }
    fs::set_permissions(at, fs::Permissions::from_mode(0o1777)).expect("a mode");
}
