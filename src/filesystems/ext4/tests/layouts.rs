//! Every layout that mke2fs(8) makes: what is told is what the kernel sees.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use super::made::{Image, differences, run, seen};
use crate::filesystems::InodeKind;

/// What can be made and mounted: whether large values of attributes, and late times, have a place, and arguments.
const LAYOUTS: [(&str, &str); 28] = [
    ("", "-t ext4 -b 4096"),
    ("large", "-t ext4 -O ea_inode -b 4096"),
    ("", "-t ext4 -O ^orphan_file,^metadata_csum_seed -b 4096"),
    ("", "-t ext4 -O ^metadata_csum,uninit_bg,^64bit -b 4096"),
    ("", "-t ext4 -O ^metadata_csum,uninit_bg,64bit -b 4096"),
    ("", "-t ext4 -O ^metadata_csum,^uninit_bg,^flex_bg -b 4096"),
    ("", "-t ext4 -O ^extent,^64bit -b 4096"),
    ("", "-t ext4 -O ^dir_index -b 4096"),
    ("", "-t ext4"),
    ("", "-t ext4 -b 1024"),
    ("", "-t ext4 -b 2048 -O ^has_journal"),
    ("small", "-t ext4 -I 128 -b 4096"),
    ("", "-t ext4 -I 512 -O inline_data -b 4096"),
    ("", "-t ext4 -I 1024 -O inline_data,ea_inode -b 4096"),
    ("", "-t ext4 -O inline_data -b 4096"),
    ("", "-t ext4 -O bigalloc -C 65536 -b 4096"),
    ("", "-t ext4 -O bigalloc -b 1024 -C 8192"),
    ("", "-t ext4 -O meta_bg,^resize_inode -b 4096"),
    ("", "-t ext4 -b 1024 -O meta_bg,^resize_inode -g 1024"),
    ("", "-t ext4 -b 1024 -g 1024 -O sparse_super2,meta_bg,^resize_inode"),
    ("", "-t ext4 -O large_dir -b 4096"),
    ("", "-t ext4 -O fast_commit,stable_inodes,encrypt -b 4096"),
    ("", "-t ext4 -b 1024 -g 2048 -O ^sparse_super,^resize_inode,meta_bg"),
    ("small", "-t ext2 -b 1024 -I 128"),
    ("", "-t ext2 -b 4096"),
    ("", "-t ext3 -b 4096"),
    ("", "-t ext3 -b 1024 -O ^filetype"),
    ("bare", "-t ext2 -r 0 -b 1024"),
];

/// What can be made of a folder, and which kernels are not all able to mount, or take a while to.
const MADE: [&str; 5] = [
    "-t ext4 -b 65536",
    "-t ext4 -b 32768 -O ^metadata_csum",
    "-t ext4 -b 4096 -O casefold -E encoding=utf8",
    "-t ext4 -b 4096 -O mmp,quota,project,verity",
    "-t ext4",
];

#[test]
fn what_is_told_is_what_the_kernel_sees() {
    for (has, arguments) in LAYOUTS {
        let words: Vec<&str> = arguments.split(' ').collect();
        let Some(image) = Image::made(96 << 20, &words) else { return };
        let Some(mounted) = image.mounted("rw") else { return };
        fill(&mounted.0, has);
        drop(mounted);
        let Some(mounted) = image.mounted("ro") else { return };
        let expected = seen(&mounted.0);
        drop(mounted);
        assert!(expected.len() > 340, "{}", expected.len());
        let told = image.told();
        assert!(told == expected, "{arguments}: {:#?}", differences(&told, &expected));
        assert_eq!(image.opened().unwrap().waiting(), None, "{arguments}");
    }
}

/// Everything that one can have. What has `large` can have attributes of any size; what is `small` has inodes without
/// room for late times; what is `bare` would not be what it is with attributes.
fn fill(root: &Path, has: &str) {
    things(root);
    // 32 bits of seconds, or 34.
    owners_and_times(root, if matches!(has, "small" | "bare") { 1 << 30 } else { 1 << 33 });
    if has != "bare" {
        attributes(root, has);
    }
    sparse(root);
    many_names(root, 300);
}

/// A little of it, in a few megabytes.
pub fn fill_little(root: &Path, has: &str) {
    things(root);
    fs::remove_file(root.join("file-3000000")).unwrap();
    owners_and_times(root, 1 << 33);
    attributes(root, has);
    many_names(root, 60);
    let file = File::create(root.join("pieces")).unwrap();
    (0..300).for_each(|number| file.write_all_at(&bytes(10), number * 8192).unwrap());
}

fn things(root: &Path) {
    for folder in ["empty", "dev", "links", "sticky"] {
        fs::create_dir(root.join(folder)).unwrap();
    }
    for size in [0, 1, 59, 60, 61, 100, 156, 160, 400, 1023, 1024, 1025, 4096, 50_000, 3_000_000] {
        fs::write(root.join(format!("file-{size}")), bytes(size)).unwrap();
    }
    for length in [1, 58, 59, 60, 61, 200, 1000] {
        symlink("t".repeat(length), root.join(format!("links/{length}"))).unwrap();
    }
    let linked = root.join("links/linked");
    fs::write(&linked, "linked").unwrap();
    (0..5).for_each(|number| fs::hard_link(&linked, root.join(format!("links/again-{number}"))).unwrap());
    for (name, kind, major, minor) in [
        ("null", FileType::CharacterDevice, 1, 3),
        ("large", FileType::CharacterDevice, 0xabc, 0xf_edcb),
        ("disk", FileType::BlockDevice, 8, 300),
        ("pipe", FileType::Fifo, 0, 0),
    ] {
        let device = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(CWD, root.join("dev").join(name), kind, Mode::from(0o640), device).unwrap();
    }
    UnixListener::bind(root.join("dev/socket")).unwrap();
    fs::write(root.join("n".repeat(255)), "a long name").unwrap();
    fs::write(root.join("\u{fc}mlaut \"quoted\"\n"), "an odd one").unwrap();
}

/// Bytes that are no zeros, and other ones in each block.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 7 % 251) as u8 + 1).collect()
}

fn owners_and_times(root: &Path, latest: i64) {
    for (name, mode, uid, gid, mtime) in [
        ("sticky", 0o3777, 1000, 50, 0),
        ("file-1", 0o4755, 1_000_000, 70_000, -1),
        ("file-60", 0o2711, 0xffff, 0x1_0000, i64::from(i32::MIN)),
        ("file-100", 0, 0, 0xffff_fffe, latest),
        ("file-1024", 0o444, 33, 33, (1 << 31) - 1),
        ("dev/null", 0o666, 0, 0, 1 << 30),
    ] {
        let path = root.join(name);
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(CWD, &path, Some(uid), Some(gid), AtFlags::empty()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let time = Timespec { tv_sec: mtime, tv_nsec: 5 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
    }
}

fn attributes(root: &Path, has: &str) {
    let set = |path: &str, name: &str, value: &[u8]| {
        let done = rustix::fs::lsetxattr(root.join(path), name, value, XattrFlags::empty());
        assert!(done.is_ok(), "{name} of {path}: {done:?}");
    };
    set("file-1", "security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    set("file-1", "user.empty", b"");
    set("file-60", "user.x", b"y");
    set("file-60", "trusted.overlay.opaque", b"y");
    set("file-60", "security.selinux", b"system_u:object_r:etc_t:s0\0");
    set("file-61", "user.long", &[7; 700]);
    set("file-61", "user.\u{fc}mlaut", b"\0\xff\n");
    set("links/200", "trusted.of-a-link", b"1");
    set("dev/null", "security.of-a-device", b"2");
    set("empty", "user.of-a-folder", b"3");
    let acl = access_list(&[
        (1, 7, !0),
        (2, 5, 1000),
        (2, 4, 70_000),
        (4, 5, !0),
        (8, 6, 33),
        (16, 7, !0),
        (32, 0, !0),
    ]);
    set("file-100", "system.posix_acl_access", &acl);
    set("sticky", "system.posix_acl_access", &acl);
    set("sticky", "system.posix_acl_default", &acl);
    if has == "large" {
        set("file-4096", "user.large", &bytes(20_000));
        set("file-4096", "user.largest", &bytes(65_536));
        set("file-4096", "user.small", b"1");
    }
}

/// An access list as programs write it: who, what, and the number of whom.
fn access_list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, number) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(number.to_le_bytes());
    }
    list
}

fn sparse(root: &Path) {
    // Where blocks are of 1 KiB, all kinds of lists of blocks.
    let file = File::create(root.join("sparse")).unwrap();
    for at in [5 << 10, 100 << 10, 1 << 20, 70 << 20] {
        file.write_all_at(&bytes(3000), at).unwrap();
    }
    file.set_len((71 << 20) + 77).unwrap();
    // Extents for two levels of blocks.
    let file = File::create(root.join("pieces")).unwrap();
    (0..1500).for_each(|number| file.write_all_at(&bytes(100), number * 8192).unwrap());
    file.set_len(1500 * 8192).unwrap();
    let file = File::create(root.join("reserved")).unwrap();
    let done = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 400_000);
    // ext2 and ext3 cannot.
    if done.is_ok() {
        file.write_all_at(b"written", 200_000).unwrap();
    }
}

fn many_names(root: &Path, count: usize) {
    let folder = root.join("many");
    fs::create_dir(&folder).unwrap();
    for number in 0..count {
        let name = format!("{number}-{}", "x".repeat(number * 7 % 200));
        fs::write(folder.join(name), [number as u8]).unwrap();
    }
    // Entries of nothing, before and after others.
    for number in (0..count).step_by(5) {
        fs::remove_file(folder.join(format!("{number}-{}", "x".repeat(number * 7 % 200)))).unwrap();
    }
    for number in 0..70 {
        fs::create_dir(folder.join(format!("folder-{number}"))).unwrap();
    }
}

#[test]
fn a_folder_has_one_name_or_fifty_thousand() {
    for arguments in ["-t ext4 -b 1024", "-t ext2 -b 1024"] {
        let words: Vec<&str> = [arguments, "-N 60000"].iter().flat_map(|words| words.split(' ')).collect();
        let Some(image) = Image::made(128 << 20, &words) else { return };
        let Some(mounted) = image.mounted("rw") else { return };
        fs::create_dir(mounted.0.join("one")).unwrap();
        fs::write(mounted.0.join("one/name"), "x").unwrap();
        fs::create_dir(mounted.0.join("all")).unwrap();
        let first = mounted.0.join("all/0");
        File::create(&first).unwrap();
        // ext2 has 32,000 links to a file at most.
        for number in 1..50_000 {
            let path = mounted.0.join(format!("all/{number}"));
            if number % 2 == 0 { File::create(path).map(drop) } else { fs::hard_link(&first, path) }.unwrap();
        }
        let expected = seen(&mounted.0);
        assert_eq!(expected.len(), 50_000 + 5, "{arguments}");
        drop(mounted);
        let told = image.told();
        assert!(told == expected, "{arguments}: {:#?}", differences(&told, &expected));
    }
}

#[test]
fn a_terabyte_of_nothing_takes_no_memory() {
    let Some(image) = Image::made(64 << 20, &["-t", "ext4"]) else { return };
    let Some(mounted) = image.mounted("rw") else { return };
    let file = File::create(mounted.0.join("sparse")).unwrap();
    file.write_all_at(b"first", 1 << 20).unwrap();
    file.write_all_at(b"last", 1 << 40).unwrap();
    drop((file, mounted));
    let system = image.opened().unwrap();
    let names = system.names(system.root()).unwrap();
    let (_, number) = names.into_iter().find(|(name, _)| name == b"sparse").unwrap();
    assert_eq!(system.inode(number).unwrap().size, (1 << 40) + 4);
    let mut head = Vec::new();
    system.content(number).unwrap().take((1 << 20) + 7).read_to_end(&mut head).unwrap();
    assert!(head[..1 << 20].iter().all(|byte| *byte == 0));
    assert_eq!(head[1 << 20..], *b"first\0\0");
}

#[test]
fn what_no_kernel_here_may_mount_is_what_it_was_made_of() {
    let Some(first) = Image::made(64 << 20, &["-t", "ext4", "-b", "1024"]) else { return };
    let Some(source) = first.mounted("rw") else { return };
    fill(&source.0, "small");
    fs::remove_dir(source.0.join("lost+found")).unwrap();
    fs::remove_file(source.0.join("sparse")).unwrap();
    let root = source.0.to_str().unwrap();
    for arguments in MADE {
        let words: Vec<&str> = arguments.split(' ').chain(["-d", root]).collect();
        let Some(image) = Image::made(192 << 20, &words) else { return };
        let (mut told, mut expected) = (image.told(), seen(&source.0));
        // Folders are as large as their blocks, and mke2fs adds one.
        for lines in [&mut told, &mut expected] {
            lines.retain(|path, line| !line.contains("Directory") && path != b"/lost+found");
        }
        // Not all that make them know sockets.
        for lines in [&mut told, &mut expected] {
            lines.retain(|path, _| path != b"/dev/socket");
        }
        assert!(expected.len() > 200, "{}", expected.len());
        assert!(told == expected, "{arguments}: {:#?}", differences(&told, &expected));
    }
}

#[test]
fn an_encrypted_folder_has_names_and_its_files_say_what_they_are() {
    let Some(image) = Image::made(64 << 20, &["-t", "ext4", "-O", "encrypt"]) else { return };
    let Some(mounted) = image.mounted("rw") else { return };
    let folder = mounted.0.join("secret");
    fs::create_dir(&folder).unwrap();
    let (root, shown) = (mounted.0.to_str().unwrap(), folder.to_str().unwrap());
    let script = format!(
        "key=$(head -c 64 /dev/zero | tr '\\0' k | xfs_io -c add_enckey {root} | sed 's/.* //') && xfs_io -c \"set_encpolicy $key\" {shown}"
    );
    if run("sh", &["-c", "command -v xfs_io || echo none"]).is_none_or(|said| said.trim() == "none") {
        return super::made::skipped("xfs_io");
    }
    run("sh", &["-ec", &script]);
    for number in 0..50 {
        fs::write(folder.join(format!("a file {number}")), "plain").unwrap();
    }
    symlink("target", folder.join("link")).unwrap();
    fs::write(mounted.0.join("plain"), "plain").unwrap();
    drop(mounted);
    let system = image.opened().unwrap();
    let root = system.names(system.root()).unwrap();
    let number = |name: &[u8]| root.iter().find(|(known, _)| known == name).unwrap().1;
    let names = system.names(number(b"secret")).unwrap();
    assert_eq!(names.len(), 51);
    for (name, number) in names {
        assert!(!name.contains(&b'/') && !name.starts_with(b"a file"), "{}", name.escape_ascii());
        let kind = system.inode(number).unwrap().kind;
        assert!(matches!(kind, InodeKind::Regular | InodeKind::Symlink));
        assert_eq!(system.xattrs(number).unwrap(), []);
        let refused = system.content(number).err().map(|error| error.to_string());
        assert_eq!(refused.as_deref(), Some("it is encrypted"));
    }
    let mut plain = String::new();
    system.content(number(b"plain")).unwrap().read_to_string(&mut plain).unwrap();
    assert_eq!(plain, "plain");
}
