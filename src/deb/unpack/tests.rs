//! Packages made by hand, whole and hostile.

use super::*;
use crate::deb::ar::tests::archive;
use crate::store::Access;

const CONTROL: &str =
    "Package: greet\nVersion: 1.0-1\nArchitecture: amd64\nMulti-Arch: same\nDescription: hello\n";

/// A tar of these members: kind as in ls(1), mode, path, content or target.
fn tarball(members: &[(char, u32, &str, &str)]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for (kind, mode, path, content) in members {
        let mut header = tar::Header::new_gnu();
        let (kind, size) = match kind {
            'd' => (tar::EntryType::Directory, 0),
            'l' => (tar::EntryType::Symlink, 0),
            'h' => (tar::EntryType::Link, 0),
            'c' => (tar::EntryType::Char, 0),
            'p' => (tar::EntryType::Fifo, 0),
            _ => (tar::EntryType::Regular, content.len()),
        };
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        if matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link) {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_entry_type(kind);
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(if path.contains("mail") { 8 } else { 0 });
        header.set_mtime(2_000_000_000);
        header.set_size(size as u64);
        if kind == tar::EntryType::Char {
            header.set_device_major(1).expect("a number");
            header.set_device_minor(3).expect("a number");
        }
        header.set_cksum();
        let content = if size > 0 { content.as_bytes() } else { b"" };
        out.append(&header, content).expect("memory");
    }
    out.into_inner().expect("memory")
}

/// A package with these archives, uncompressed.
fn package(control: &[(char, u32, &str, &str)], data: &[(char, u32, &str, &str)]) -> Vec<u8> {
    let (control, data) = (tarball(control), tarball(data));
    archive(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar", &data)])
}

fn whole() -> Vec<u8> {
    package(
        &[
            ('d', 0o755, "./", ""),
            ('f', 0o644, "./control", CONTROL),
            ('f', 0o755, "./postinst", "#!/bin/sh\n"),
        ],
        &[('d', 0o755, "./", ""), ('f', 0o755, "./bin/greet", "hello")],
    )
}

struct Bench {
    folder: tempfile::TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("cache"), Access::Use).expect("a store");
        Bench { folder, store }
    }

    fn unpack(&self, bytes: &[u8]) -> Result<Unpacked, Fault> {
        let path = self.folder.path().join("greet.deb");
        std::fs::write(&path, bytes).expect("written");
        let deb = Deb {
            name: "greet".into(),
            version: "1.0-1".into(),
            arch: "amd64".into(),
            size: bytes.len() as u64,
            digest: Digest::of(bytes),
            path: "greet.deb".into(),
            source: "debian trixie".into(),
        };
        unpack(&path, &deb, &self.store, &|| Ok(()))
    }

    fn refused(&self, bytes: &[u8]) -> String {
        match self.unpack(bytes) {
            Ok(unpacked) => format!("it was unpacked: {}", unpacked.layer.index.to_text()),
            Err(fault) => {
                assert_eq!(fault.code, "deb/refused");
                fault.message
            }
        }
    }
}

/// The entries without digests and offsets.
fn told(unpacked: &Unpacked) -> Vec<String> {
    let text = unpacked.layer.index.to_text();
    let entries = text.lines().filter(|line| !line.starts_with("imgbuild") && !line.starts_with("end"));
    let short = |line: &str| {
        let words = line.split(' ').filter(|word| word.len() != 64 && !word.starts_with('@'));
        words.collect::<Vec<_>>().join(" ")
    };
    entries.map(short).collect()
}

fn content(unpacked: &Unpacked, path: &str) -> String {
    let entry = unpacked.layer.index.entries.iter().find(|entry| entry.path.as_bytes() == path.as_bytes());
    String::from_utf8(unpacked.layer.bytes(entry.expect(path), 1000).expect("read")).expect("text")
}

#[test]
fn a_package_becomes_its_files_and_its_part_of_the_database() {
    let bench = Bench::new();
    let unpacked = bench
        .unpack(&package(
            &[
                ('f', 0o644, "./control", CONTROL),
                ('f', 0o600, "./conffiles", "/etc/greet.conf\nremove-on-upgrade /etc/old.conf\n"),
                ('f', 0o775, "./preinst", "#!/bin/sh\n"),
                ('f', 0o644, "./list", "nonsense"),
            ],
            &[
                ('d', 0o755, "./", ""),
                ('d', 0o755, "./usr/", ""),
                ('d', 0o2775, "./usr/mail/", ""),
                ('f', 0o4755, "./usr/z", "suid"),
                ('h', 0o4755, "./usr/a", "./usr/z"),
                ('d', 0o755, "./etc/", ""),
                ('f', 0o644, "./etc/greet.conf", "conf"),
                ('l', 0o777, "./etc/link", "/etc/greet.conf"),
                ('c', 0o666, "./null", ""),
            ],
        ))
        .expect("unpacked");
    assert_eq!(
        told(&unpacked),
        [
            "d 0755~ 0 0 2000000000 .",
            "d 0755~ 0 0 2000000000 etc",
            "f 0644 0 0 2000000000 etc/greet.conf.dpkg-new 4",
            "l 0777 0 0 2000000000 etc/link /etc/greet.conf",
            "c 0666 0 0 2000000000 null 1 3",
            "d 0755~ 0 0 2000000000 usr",
            "f 4755 0 0 2000000000 usr/a 4",
            "d 2775~ 0 8 2000000000 usr/mail",
            "h 4755 0 0 2000000000 usr/z usr/a",
            "d 0755~ 0 0 2000000000 var",
            "d 0755~ 0 0 2000000000 var/lib",
            "d 0755~ 0 0 2000000000 var/lib/dpkg",
            "d 0755~ 0 0 2000000000 var/lib/dpkg/info",
            "f 0600 0 0 2000000000 var/lib/dpkg/info/greet:amd64.conffiles 48",
            "f 0644 0 0 2000000000 var/lib/dpkg/info/greet:amd64.list 69",
            "f 0755 0 0 2000000000 var/lib/dpkg/info/greet:amd64.preinst 10",
        ]
    );
    let list = "/.\n/usr\n/usr/mail\n/usr/z\n/usr/a\n/etc\n/etc/greet.conf\n/etc/link\n/null\n";
    assert_eq!(content(&unpacked, "var/lib/dpkg/info/greet:amd64.list"), list);
    assert_eq!(content(&unpacked, "usr/a"), "suid");
    assert_eq!(unpacked.control.to_text(), CONTROL);
    assert!(bench.store.verify_layer(unpacked.layer.id), "the layer's tar is as its index says");
}

#[test]
fn a_conffile_that_is_a_hard_link_keeps_its_content() {
    let bench = Bench::new();
    let control = [('f', 0o644, "./control", CONTROL), ('f', 0o644, "./conffiles", "/etc/a\n")];
    let data =
        [('d', 0o755, "./etc/", ""), ('f', 0o644, "./etc/a", "x"), ('h', 0o644, "./etc/a.d", "./etc/a")];
    let unpacked = bench.unpack(&package(&control, &data)).expect("unpacked");
    let told = told(&unpacked);
    assert_eq!(
        told[1..3],
        ["f 0644 0 0 2000000000 etc/a.d 1", "h 0644 0 0 2000000000 etc/a.dpkg-new etc/a.d"]
    );
}

#[test]
fn every_compression_gives_the_same_layer() {
    let bench = Bench::new();
    let expected = bench.unpack(&whole()).expect("unpacked").layer.id;
    let control = tarball(&[
        ('d', 0o755, "./", ""),
        ('f', 0o644, "./control", CONTROL),
        ('f', 0o755, "./postinst", "#!/bin/sh\n"),
    ]);
    let data = tarball(&[('d', 0o755, "./", ""), ('f', 0o755, "./bin/greet", "hello")]);
    let gzip = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).expect("memory");
        out.finish().expect("memory")
    };
    let xz = |bytes: &[u8]| {
        let mut out = xz2::write::XzEncoder::new(Vec::new(), 0);
        out.write_all(bytes).expect("memory");
        out.finish().expect("memory")
    };
    let bzip2 = |bytes: &[u8]| {
        let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        out.write_all(bytes).expect("memory");
        out.finish().expect("memory")
    };
    let zstd = |bytes: &[u8]| ::zstd::encode_all(bytes, 1).expect("memory");
    let cases = [
        (("control.tar.gz", gzip(&control)), ("data.tar.xz", xz(&data))),
        (("control.tar.xz", xz(&control)), ("data.tar.bz2", bzip2(&data))),
        (("control.tar.zst/", zstd(&control)), ("data.tar.zst", zstd(&data))),
    ];
    for (control, data) in cases {
        let bytes = archive(&[
            ("debian-binary", b"2.0\n"),
            ("_gpgorigin", b"ignored"),
            (control.0, &control.1),
            (data.0, &data.1),
            ("more", b"ignored"),
        ]);
        assert_eq!(bench.unpack(&bytes).expect(data.0).layer.id, expected, "{}", data.0);
        let cut = &bytes[..bytes.len() - 80];
        assert!(bench.refused(cut).contains("cut short"), "{}", data.0);
    }
    let named_wrong = archive(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", &gzip(&control)),
        ("data.tar.xz", &gzip(&data)),
    ]);
    assert!(bench.refused(&named_wrong).contains("`data.tar.xz` is not compressed as its name says"));
    let damaged = xz(&data);
    let damaged = &damaged[..damaged.len() - 12];
    let damaged =
        archive(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar.xz", damaged)]);
    assert!(bench.refused(&damaged).contains("the xz data ends too early"));
}

#[test]
fn what_no_package_may_hold_is_refused() {
    let bench = Bench::new();
    let control = ('f', 0o644, "./control", CONTROL);
    let file = ('f', 0o644, "./usr/x", "x");
    let with = |text: &str| package(&[('f', 0o644, "./control", text)], &[file]);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"<html>".to_vec(), "not a Debian package"),
        (archive(&[("debian-binary", b"3.0\n")]), "its format is `3.0`"),
        (archive(&[("debian-binary", b"2.0\n"), ("data.tar", b"")]), "it has no `control.tar`"),
        (archive(&[("control.tar", b"")]), "its first member is not `debian-binary`"),
        (archive(&[("debian-binary", b"2.0\n"), ("control.tar.lzma", b"x")]), "it has no `control.tar`"),
        (package(&[file], &[file]), "its control archive has `usr`"),
        (package(&[('f', 0o644, "./postinst", "x")], &[file]), "no control file"),
        (
            package(&[control, ('l', 0o777, "./postinst", "/bin/sh")], &[file]),
            "its control archive has `postinst`",
        ),
        (package(&[control, ('f', 0o644, "./a b", "")], &[file]), "its control archive has `a b`"),
        (package(&[control, ('f', 0o644, "./conffiles", "etc/x\n")], &[file]), "no absolute path"),
        (with("nonsense"), "its control file is refused"),
        (with(&CONTROL.replace("1.0-1", "1.0-2")), "its Version is `1.0-2`, not `1.0-1`"),
        (with(&CONTROL.replace("greet", "grief")), "its Package is `grief`, not `greet`"),
        (with(&CONTROL.replace("amd64", "arm64")), "its Architecture is `arm64`, not `amd64`"),
        (package(&[control], &[('f', 0o644, "../x", "x")]), "its path has a `..`"),
        (package(&[control], &[('h', 0o644, "./x", "../../etc/shadow")]), "its path has a `..`"),
        (package(&[control], &[('h', 0o644, "./x", "./missing")]), "which is no file that came before it"),
        (package(&[control], &[('f', 0o644, "./usr/.wh.x", "")]), "a name that stands for a removal"),
        (
            package(&[control], &[('f', 0o644, "./var/lib/dpkg/info/libc6.preinst", "x")]),
            "a file of dpkg's database",
        ),
    ];
    for (bytes, expected) in cases {
        let message = bench.refused(&bytes);
        assert!(message.contains(expected), "{message}\nshould say: {expected}");
    }
    let mut cut = whole();
    cut.truncate(cut.len() - 700);
    assert!(bench.refused(&cut).contains("cut short"));
}

#[test]
fn links_inside_a_package_lead_nowhere_else() {
    let bench = Bench::new();
    let data = [('l', 0o777, "./out", "/etc"), ('f', 0o644, "./out/shadow", "x")];
    let unpacked = bench.unpack(&package(&[('f', 0o644, "./control", CONTROL)], &data)).expect("unpacked");
    assert_eq!(told(&unpacked)[1], "f 0644 0 0 2000000000 etc/shadow 1", "inside the image's root");
}

#[test]
fn a_large_package_goes_through_a_file() {
    let bench = Bench::new();
    let large = "\0".repeat(IN_MEMORY + 4096);
    let data =
        [('f', 0o644, "./a", "first"), ('f', 0o644, "./large", large.as_str()), ('f', 0o644, "./z", "last")];
    let control = tarball(&[('f', 0o644, "./control", CONTROL)]);
    let data = ::zstd::encode_all(tarball(&data).as_slice(), 1).expect("memory");
    let bytes = archive(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar.zst", &data)]);
    let unpacked = bench.unpack(&bytes).expect("unpacked");
    assert!(bench.store.verify_layer(unpacked.layer.id));
    assert_eq!((content(&unpacked, "a"), content(&unpacked, "z")), ("first".into(), "last".into()));
}

#[test]
fn unpacking_ends_when_nobody_waits() {
    let bench = Bench::new();
    bench.unpack(&whole()).expect("unpacked");
    let deb = Deb {
        name: "greet".into(),
        version: "1.0-1".into(),
        arch: "amd64".into(),
        size: 0,
        digest: Digest::of(""),
        path: String::new(),
        source: String::new(),
    };
    let path = bench.folder.path().join("greet.deb");
    let calls = std::cell::Cell::new(0);
    let go_on = || {
        calls.set(calls.get() + 1);
        if calls.get() > 3 { Err(Fault::build("build/interrupted", "interrupted")) } else { Ok(()) }
    };
    let ended = unpack(&path, &deb, &bench.store, &go_on).map(drop);
    assert_eq!(ended.map_err(|fault| fault.code), Err("build/interrupted"));
}
