use super::*;
use crate::key::Digest;

fn deb(name: &str, version: &str) -> Deb {
    Deb {
        name: name.into(),
        version: version.into(),
        arch: "amd64".into(),
        size: 3 << 20,
        digest: Digest::of(format!("{name} {version}")),
        path: format!("pool/main/{name}_{version}_amd64.deb"),
        source: "debian trixie".into(),
    }
}

fn lock() -> Lock {
    let locked = |name, version, asked: Option<&str>| Locked {
        deb: deb(name, version),
        asked: asked.map(String::from),
    };
    Lock {
        solutions: vec![
            Solution {
                id: "image server".into(),
                request: vec![
                    "suite trixie".into(),
                    "package curl version=${X} \"\\\n\u{2028}\u{202e}".into(),
                ],
                releases: vec![Release {
                    source: "debian trixie".into(),
                    suite: "trixie".into(),
                    date: 1_757_151_675,
                }],
                packages: vec![
                    locked("libc6", "2.41-12", None),
                    locked("curl", "1:8.14.1-2~a+b", Some("common")),
                ],
            },
            Solution {
                id: "base debian trixie amd64 minbase".into(),
                request: Vec::new(),
                releases: Vec::new(),
                packages: Vec::new(),
            },
        ],
    }
}

fn read(text: &str) -> Result<Lock, Vec<String>> {
    read::lock("image.lock.kdl", text.as_bytes().to_vec()).map_err(|faults| {
        let told = faults.list.iter().map(|fault| {
            let place = fault.labels.first().map(|label| label.place.to_string()).unwrap_or_default();
            format!("{place}: {fault} [{}] {}", fault.code, fault.help.as_deref().unwrap_or_default())
        });
        told.collect()
    })
}

fn sorted(mut lock: Lock) -> Lock {
    lock.solutions.sort_by(|left, right| left.id.cmp(&right.id));
    for solution in &mut lock.solutions {
        solution.packages.sort_by(|left, right| left.deb.name.cmp(&right.deb.name));
    }
    lock
}

#[test]
fn what_is_written_is_read_again() {
    let text = lock().to_text();
    assert_eq!(read(&text), Ok(sorted(lock())));
    let mut turned = lock();
    turned.solutions.reverse();
    turned.solutions[1].packages.reverse();
    assert_eq!(turned.to_text(), text, "the order of what is in it decides nothing");
}

#[test]
fn a_lock_is_a_line_for_each_package() {
    let mut lock = lock();
    lock.solutions[0].request.pop();
    let text = lock.to_text();
    let lines: Vec<&str> = text.lines().skip(2).collect();
    assert_eq!(
        lines,
        [
            "lock version=1",
            "",
            "solution \"base debian trixie amd64 minbase\" {",
            "}",
            "",
            "solution \"image server\" {",
            "    request \"suite trixie\"",
            "    release \"debian trixie\" suite=\"trixie\" date=\"2025-09-06T09:41:15Z\"",
            "    package \"curl\" \"1:8.14.1-2~a+b\" arch=\"amd64\" size=3145728 \
             sha256=\"7799b50b910504919f629d3eceae643ac64890ef28d4941183f9e5cbb5e89c6d\" \
             path=\"pool/main/curl_1:8.14.1-2~a+b_amd64.deb\" source=\"debian trixie\" for=\"common\"",
            "    package \"libc6\" \"2.41-12\" arch=\"amd64\" size=3145728 \
             sha256=\"ef4ab11da6bc7c2c77b4343f1c7d021aaddcb43a2941d45bf5e73a86ceff76b9\" \
             path=\"pool/main/libc6_2.41-12_amd64.deb\" source=\"debian trixie\"",
            "}",
        ]
    );
}

#[test]
fn a_file_is_written_when_it_differs() {
    let folder = tempfile::tempdir().expect("folder");
    let path = Lock::path(&folder.path().join("image.kdl"));
    assert_eq!(path, folder.path().join("image.lock.kdl"));
    assert_eq!(Lock::read(&path), Ok(None));
    assert_eq!(lock().write(&path), Ok(true));
    assert_eq!(lock().write(&path), Ok(false));
    assert_eq!(Lock::read(&path), Ok(Some(sorted(lock()))));
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).expect("folder").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["image.lock.kdl"], "nothing is left beside it");
}

#[test]
fn a_conflict_of_a_merge_is_called_that() {
    let text = lock().to_text().replace("    request", "<<<<<<< HEAD\n    request");
    assert_eq!(
        read(&text),
        Err(vec![
            "image.lock.kdl:9: `image.lock.kdl` holds a conflict of a merge [lock/conflict] take either side \
             (`git checkout --ours`, or `--theirs`), then run `imgbuild update`"
                .into()
        ])
    );
}

#[test]
fn a_newer_lock_is_refused_before_its_words_are_looked_at() {
    assert_eq!(
        read("lock version=2 by=\"somebody\"\nsolutions {\n}\n"),
        Err(vec![
            "image.lock.kdl:1: `image.lock.kdl` was written by a newer imgbuild [lock/newer] use that imgbuild here, \
             too; or remove the lock, and all versions are chosen again"
                .into()
        ])
    );
    assert_eq!(read("").map_err(|faults| faults.len()), Err(1), "an empty file is no lock");
}

#[test]
fn what_was_changed_by_hand_is_held_against_what_it_can_be() {
    let good = "package \"a\" \"1\" arch=\"amd64\" size=1 sha256=\"DIGEST\" path=\"p/a.deb\" source=\"s\"";
    let good = good.replace("DIGEST", &Digest::of("").to_string());
    let lines: Vec<String> = [
        ("\"a\"", "\"../a\""),
        ("\"1\"", "\"1 2\""),
        ("amd64", "AMD"),
        ("size=1", "size=0"),
        ("sha256=\"e3", "sha256=\"x"),
        ("p/a.deb", "p/../../a.deb"),
        ("p/a.deb", "/p/a.deb"),
        ("p/a.deb", "p/a.deb?x"),
        ("source=", "sauce="),
    ]
    .iter()
    .map(|(from, to)| good.replacen(from, to, 1))
    .collect();
    let text = format!(
        "lock version=1\nsolution \"x\" {{\n{good}\n{good}\n{}\n}}\nsolution \"x\"\n",
        lines.join("\n")
    );
    let faults = read(&text).expect_err("faults");
    assert!(faults.iter().all(|fault| fault.contains(" [") && !fault.ends_with("] ")), "each has a way out");
    let told: Vec<&str> =
        faults.iter().filter_map(|fault| fault.strip_prefix("image.lock.kdl:")?.split(" [").next()).collect();
    assert_eq!(
        told,
        [
            "8: `0` is not a whole number from 1 up",
            "13: `package` has no property `sauce`",
            "13: `package` lacks `source=`",
            "4: `a:amd64` stands here twice",
            "5: `../a` is not a package's name",
            "6: `1 2` is not a version",
            "7: `AMD` is not an architecture",
            "9: `xb0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855` is not a SHA-256 digest",
            "10: `p/../../a.deb` is not a path below a mirror",
            "11: `/p/a.deb` is not a path below a mirror",
            "12: `p/a.deb?x` is not a path below a mirror",
            "15: the solution `x` stands here twice",
        ]
    );
}

#[test]
fn changes_are_told_by_name() {
    let all = Deb { arch: "all".into(), ..deb("tzdata", "2") };
    let old = [
        deb("nano", "8.4-1"),
        deb("openssl", "3.5.1-1"),
        deb("vim", "2:9.2"),
        deb("zlib1g", "1"),
        deb("tzdata", "1"),
    ];
    let bytes = Deb { digest: Digest::of("other"), ..deb("zlib1g", "1") };
    let new = [deb("openssl", "3.5.4-1"), deb("curl", "8.14.1-2"), deb("vim", "9.9"), bytes, all];
    let changes = changes(&old, &new);
    let lines: Vec<String> = changes.list.iter().map(Change::to_string).collect();
    assert_eq!(
        lines,
        [
            "+ curl 8.14.1-2",
            "- nano 8.4-1",
            "  openssl 3.5.1-1 → 3.5.4-1",
            "  tzdata 1 → 2",
            "  vim 2:9.2 → 9.9 (older)",
            "  zlib1g 1 (other bytes)",
        ]
    );
    assert_eq!(changes.total(), (5, 15 << 20));
    assert_eq!(changes.summary(|deb| deb.name == "vim"), "4 packages to fetch, 12 MiB");
    assert_eq!(changes.summary(|_| true), "nothing to fetch");
    assert!(super::changes(&old, &old).is_empty());
}

#[test]
fn what_imgbuild_wrote_is_read_without_the_language() {
    let mut plain = lock();
    plain.solutions[0].request.pop();
    let text = plain.to_text();
    assert_eq!(read::as_written(&text), Some(sorted(plain)));
    // Anything else goes the long way, which knows what to say of it.
    for (from, to) in
        [("curl\"", "../curl\""), ("size=3145728", "size=03145728"), ("\n}", "\n\n}"), (" arch", "  arch")]
    {
        assert_eq!(read::as_written(&text.replacen(from, to, 1)), None, "{from} {to}");
    }
    assert_eq!(read::as_written(&lock().to_text()), None, "an escape");
}

#[test]
fn every_example_is_read() {
    for word in [&words::LOCK, &words::SOLUTION, &words::REQUEST, &words::RELEASE, &words::PACKAGE] {
        let version = if std::ptr::eq(word, &words::LOCK) { "" } else { "lock version=1\n" };
        assert_eq!(read(&format!("{version}{}", word.example)).err(), None, "{}", word.name);
    }
}

const MANIFEST: &str = r#"
packages-list "common" { curl; vim hold=#true }
image "server" {
    base "debian" suite="trixie" arch="arm64" {
        components "main" "contrib"
        mirror "http://mirror.example"
        repository "node" url="http://node.example" suite="./" keyring="key"
        repository "more" url="http://more.example" suite="stable" keyring="key"
    }
    packages "common" recommends=#true { g++ suite="sid"; curl version="8.*"; !nano }
    output "tar"
}
"#;

#[test]
fn a_request_is_what_decides_and_nothing_else() {
    use crate::manifest::{Said, Texts, read};
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("key"), "").expect("key");
    let folders = crate::work::Folders { here: folder.path().to_path_buf(), home: None };
    let texts = Texts::of_source(&crate::fault::Source::new("image.kdl", MANIFEST), &folders);
    let read = read(&texts, &Said { folders, ..Said::default() });
    let manifest = read.manifest.unwrap_or_else(|| panic!("{:#?}", read.faults));
    let image = &manifest.images[0];
    let spec = image.debian.as_ref().expect("a base");
    assert_eq!(base_id(spec), "base debian trixie arm64 minbase");
    assert_eq!(image_id("server", Some("qemu")), "image server hypervisor qemu");
    assert_eq!(
        request(spec, &image.packages, image.recommends),
        [
            "distribution debian",
            "suite trixie",
            "arch arm64",
            "variant minbase",
            "components main contrib",
            "repository more stable main",
            "repository node ./",
            "recommends",
            "package curl version=8.*",
            "package g++ suite=sid",
            "package vim",
            "without nano",
        ]
    );
}
