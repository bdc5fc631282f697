//! Tars that were made to do harm, as an overlay, as a base, and as what an overlay's script wrote: each is refused by
//! name or comes out harmless, soon, and nothing outside the image changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod tools;

use std::fs;
use std::io::Write;
use std::time::Duration;

use tools::tree;
use tools::{Project, is_root, skip};

/// A member of a tar, byte by byte.
struct Member {
    name: Vec<u8>,
    kind: u8,
    link: Vec<u8>,
    content: Vec<u8>,
    /// The size that its header claims, if not the content's.
    size: Option<[u8; 12]>,
    uid: [u8; 8],
    mtime: [u8; 12],
    device: (u32, u32),
}

fn member(kind: u8, name: impl AsRef<[u8]>) -> Member {
    Member {
        name: name.as_ref().to_vec(),
        kind,
        link: Vec::new(),
        content: Vec::new(),
        size: None,
        uid: *b"0000000\0",
        mtime: *b"00000000001\0",
        device: (0, 0),
    }
}

fn file(name: impl AsRef<[u8]>, content: &str) -> Member {
    Member { content: content.as_bytes().to_vec(), ..member(b'0', name) }
}

fn symlink(name: &str, link: &str) -> Member {
    Member { link: link.as_bytes().to_vec(), ..member(b'2', name) }
}

fn hard_link(name: &str, link: &str) -> Member {
    Member { link: link.as_bytes().to_vec(), ..member(b'1', name) }
}

/// An extended header with these records.
fn pax(records: &[(&str, &[u8])]) -> Member {
    let mut content = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length =
            (1..).map(|digits| rest + digits).find(|sum| sum.to_string().len() + rest == *sum).unwrap();
        content.extend_from_slice(format!("{length} {key}=").as_bytes());
        content.extend_from_slice(value);
        content.push(b'\n');
    }
    Member { content, ..member(b'x', "PaxHeader") }
}

impl Member {
    fn bytes(&self) -> Vec<u8> {
        let mut header = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, b"0000644\0");
        put(108, &self.uid);
        put(116, b"0000000\0");
        let size = format!("{:011o}\0", self.content.len());
        put(124, &self.size.unwrap_or(size.as_bytes().try_into().unwrap()));
        put(136, &self.mtime);
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}\0", self.device.0).as_bytes());
        put(337, format!("{:07o}\0", self.device.1).as_bytes());
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut bytes = header.to_vec();
        bytes.extend_from_slice(&self.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

fn tar(members: &[Member]) -> Vec<u8> {
    let mut bytes: Vec<u8> = members.iter().flat_map(Member::bytes).collect();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// What becomes of a hostile tar.
enum End {
    /// It is refused, and the message has this in it.
    Refused(&'static str),
    /// The image has exactly these paths, beside its root.
    Holds(&'static [&'static str]),
}

use End::{Holds, Refused};

const ROLES: [&str; 3] = ["overlay", "base", "script"];

/// Takes the tar in as an overlay, as a base, and as what a script wrote.
fn meets(name: &str, tar: &[u8], end: &End) {
    for role in ROLES {
        meets_as(role, name, tar, end);
    }
}

fn meets_as(role: &str, name: &str, tar: &[u8], end: &End) {
    let (content, file) = match role {
        "overlay" => ("overlays \"evil\"", "evil.tar"),
        "base" => ("base \"tar\" from=\"evil.tar\"", "evil.tar"),
        _ => ("overlays \"script\"", "overlays/script/evil"),
    };
    let declared = if role == "overlay" { "overlay \"evil\" from=\"evil.tar\"\n" } else { "" };
    let project = Project::new(&format!("{declared}image \"i\" {{\n    {content}\n    output \"dir\"\n}}\n"));
    if role == "script" {
        project.script("overlays/script/tar", "#!/bin/sh\ncat \"$(dirname \"$0\")/evil\" > \"$1\"\n");
    }
    project.write(file, tar);
    fs::write(project.beside("outside").join("victim"), "as it was").unwrap();
    let before = tree::read(&project.beside("outside"));
    let ran = project.run(["--message-format", "short"]);
    let told = format!("{name} as {role}: {ran:#?}");
    if ran.code == Some(3) && role == "script" {
        return skip(&ran.err).unwrap_or_default();
    }
    assert!(ran.took < Duration::from_secs(20), "{told}");
    assert!(before == tree::read(&project.beside("outside")), "{told}");
    let root = project.at("build/i.dir");
    match end {
        Refused(why) => {
            assert_eq!(ran.code, Some(1), "{told}");
            assert!(ran.err.contains(why), "{told}");
            assert!(ran.err.len() < 2000 && !ran.err.contains("/cache/"), "{told}");
            assert!(!root.exists(), "{told}");
        }
        Holds(paths) => {
            assert_eq!(ran.code, Some(0), "{told}");
            let tree = tree::read(&root);
            let got: Vec<&str> = tree.keys().map(String::as_str).filter(|path| *path != ".").collect();
            assert_eq!(got, *paths, "{told}");
        }
    }
}

#[test]
fn paths_that_climb_are_refused_and_absolute_ones_stay_inside() {
    meets("..", &tar(&[file("../outside/victim", "evil")]), &Refused("`../outside/victim`"));
    meets("a/../..", &tar(&[file("a/../../outside/victim", "evil")]), &Refused("`a/../../outside/victim`"));
    meets("absolute", &tar(&[file("/victim", "evil")]), &Holds(&["victim"]));
    meets(
        "long ..",
        &tar(&[pax(&[("path", b"../outside/victim")]), file("x", "")]),
        &Refused("`../outside/victim`"),
    );
    meets("NUL", &tar(&[pax(&[("path", b"a\0b")]), file("x", "")]), &Refused("is refused"));
    meets("not UTF-8", &tar(&[file(b"\xff\xfe", "")]), &Holds(&["\\xff\\xfe"]));
    let long = Member { content: vec![b'a'; 100_000], ..member(b'L', "././@LongLink") };
    meets("100,000 bytes", &tar(&[long, file("x", "")]), &Refused("is refused"));
}

#[test]
fn links_lead_nowhere_but_inside() {
    let through = [symlink("way", "../../outside"), file("way/victim", "evil")];
    meets("write through", &tar(&through), &Holds(&["outside", "outside/victim", "way"]));
    let chain = [symlink("a", "/../.."), symlink("b", "a/outside"), file("b/victim", "evil")];
    meets("chain", &tar(&chain), &Holds(&["a", "b", "outside", "outside/victim"]));
    let over = [symlink("victim", "/outside/victim"), file("victim", "evil")];
    meets("over a link", &tar(&over), &Holds(&["victim"]));
    meets("loop", &tar(&[symlink("a", "b"), symlink("b", "a"), file("a/x", "")]), &Refused("`a/x`"));
    meets("hard link out", &tar(&[hard_link("a", "../outside/victim")]), &Refused("`a`"));
    meets("hard link to nothing", &tar(&[hard_link("a", "/etc/passwd")]), &Refused("`a`"));
    let linked = [symlink("way", "../../outside"), hard_link("a", "way/victim")];
    meets("hard link through a link", &tar(&linked), &Refused("`a`"));
    meets("hard link to itself", &tar(&[hard_link("a", "a")]), &Refused("`a`"));
    meets("hard link to a directory", &tar(&[member(b'5', "d"), hard_link("a", "d")]), &Refused("`a`"));
}

#[test]
fn of_what_comes_twice_the_last_counts() {
    meets("file", &tar(&[file("a", "1"), file("a", "2")]), &Holds(&["a"]));
    meets("file over directory", &tar(&[file("a/b", "1"), file("a", "2")]), &Holds(&["a"]));
    meets("directory over file", &tar(&[file("a", "1"), file("a/b", "2")]), &Holds(&["a", "a/b"]));
}

#[test]
fn devices_are_taken_as_they_are_or_refused() {
    let null = Member { device: (1, 3), ..member(b'3', "null") };
    meets("device", &tar(&[null]), &Holds(if is_root() { &["null"] } else { &[] }));
    let none = Member { device: (0o777_7777, 0o777_7777), ..member(b'4', "none") };
    meets("no device", &tar(&[none]), &Refused("`none`"));
    meets("another type", &tar(&[member(b'Z', "odd")]), &Refused("`odd`"));
    meets("a part of another volume", &tar(&[member(b'M', "part")]), &Refused("`part`"));
}

#[test]
fn sizes_that_lie_are_found_out_before_anything_is_made() {
    let claims = |size: &[u8; 12]| Member { size: Some(*size), ..file("big", "x") };
    meets("8 GiB", &tar(&[claims(b"77777777777\0")]), &Refused("cut short inside `big`"));
    meets(
        "2^63",
        &tar(&[claims(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff")]),
        &Refused("cut short inside `big`"),
    );
    meets("negative", &tar(&[claims(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")]), &Refused("tar"));
    meets("no number", &tar(&[claims(b"12345678901z")]), &Refused("size is no number"));
    let sizes = |size: &[u8]| tar(&[pax(&[("size", size)]), file("big", "x")]);
    meets("pax size", &sizes(b"18446744073709551615"), &Refused("`big`"));
    meets("pax size that is none", &sizes(b"-1"), &Refused("`big`"));
}

#[test]
fn sparse_files_are_refused_however_long_they_claim_to_be() {
    let mut old = member(b'S', "endless").bytes();
    // realsize, as GNU tar has it at byte 483: 8 GiB.
    old[483..495].copy_from_slice(b"77777777777\0");
    old[148..156].copy_from_slice(b"        ");
    let sum: u32 = old.iter().map(|byte| u32::from(*byte)).sum();
    old[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    old.resize(old.len() + 1024, 0);
    meets("old GNU", &old, &Refused("`endless`"));
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"endless"),
        ("GNU.sparse.realsize", b"9223372036854775807"),
    ];
    meets("PAX 1.0", &tar(&[pax(&records), file("GNUSparseFile.1/endless", "0\n")]), &Refused("sparse"));
}

#[test]
fn broken_archives_are_refused_at_the_byte_where_they_break() {
    let whole = tar(&[file("a", "content"), file("b", "content")]);
    meets("cut in a header", &whole[..1300], &Refused("cut short"));
    meets("cut in a content", &whole[..600], &Refused("cut short"));
    meets("empty", b"", &Refused("empty"));
    meets("garbage", &[0x5a; 4096], &Refused("not a tar"));
    let mut bent = whole;
    bent[1024 + 3] ^= 1;
    meets("checksum", &bent, &Refused("checksum"));
}

#[test]
fn extended_headers_have_a_limit_and_must_make_sense() {
    let long = vec![b'x'; 2 << 20];
    meets("2 MiB", &tar(&[pax(&[("comment", &long)]), file("a", "")]), &Refused("longer than 1 MiB"));
    let endless = Member { size: Some(*b"77777777777\0"), ..member(b'x', "PaxHeader") };
    meets("8 GiB", &tar(&[endless]), &Refused("longer than 1 MiB"));
    let lying = Member { content: b"99999999999999999999 path=x\n".to_vec(), ..member(b'x', "PaxHeader") };
    meets("a record's length", &tar(&[lying, file("a", "")]), &Refused("extended header makes no sense"));
    // Each may be large, and there may be many; it must not take time by their product.
    let value = vec![b'x'; 100_000];
    let many: Vec<Member> = (0..200)
        .flat_map(|number| [pax(&[("comment", &value)]), file(format!("f{:03}", number % 2), "")])
        .collect();
    meets("many", &tar(&many), &Holds(&["f000", "f001"]));
}

#[test]
fn times_and_owners_beyond_their_ranges_do_no_harm() {
    let at = |mtime: &[u8; 12]| Member { mtime: *mtime, ..file("a", "") };
    meets("before 1970", &tar(&[at(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0")]), &Holds(&["a"]));
    meets("no end", &tar(&[at(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")]), &Holds(&["a"]));
    meets("pax time", &tar(&[pax(&[("mtime", b"-99999999999999999999.5")]), file("a", "")]), &Holds(&["a"]));
    // An overlay belongs to root whatever it says; a base says whom it belongs to.
    let uid = Member { uid: *b"\x80\0\0\x01\0\0\0\0", ..file("a", "") };
    meets_as("overlay", "uid", &tar(&[uid]), &Holds(&["a"]));
    let uid = Member { uid: *b"\x80\0\0\x01\0\0\0\0", ..file("a", "") };
    meets_as("base", "uid", &tar(&[uid]), &Refused("`a`"));
}

#[test]
fn what_unpacks_to_a_thousand_times_its_size_is_read_without_being_kept() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    gzip.write_all(&tar(&[file("a", "")])).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..256).for_each(|_| gzip.write_all(&zeros).unwrap());
    let bomb = gzip.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    meets("zeros behind the end", &bomb, &Holds(&["a"]));
    let mut cut = bomb;
    cut.truncate(1000);
    meets("cut", &cut, &Refused("ends too early"));
}
