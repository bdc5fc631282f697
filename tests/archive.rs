//! Debian's archive, as good and as bad mirrors serve it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod archive_server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use archive_server::{Archive, Compression, Deb, Files, Key, Reply, Server};
use imgbuild::deb::fetch::Fetcher;
use imgbuild::deb::http::Patience;
use imgbuild::deb::index::Index;
use imgbuild::deb::openpgp::Keyring;
use imgbuild::deb::release::Release;
use imgbuild::deb::universe::{Universe, closure};
use imgbuild::deb::{self, Source};
use imgbuild::fault::Fault;
use imgbuild::key::Digest;
use imgbuild::store::clock;
use pgp::composed::{KeyType, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::ser::Serialize as _;

static GO: AtomicBool = AtomicBool::new(false);

const PATIENCE: Patience = Patience {
    connect: Duration::from_millis(1000),
    silence: Duration::from_millis(300),
    pause: Duration::from_millis(5),
    slow: Duration::from_secs(60),
    slowest: 512,
};

/// A mirror with a small archive, and who fetches from it.
struct Scene {
    folder: tempfile::TempDir,
    key: Key,
    archive: Archive,
    server: Server,
    source: Source,
    fetcher: Fetcher,
}

impl Scene {
    fn new() -> Scene {
        Scene::of(Archive::debian("trixie", debs()), Key::new())
    }

    fn of(archive: Archive, key: Key) -> Scene {
        let server = Server::start(archive.build(&key));
        let folder = tempfile::tempdir().unwrap();
        let keyring = key.write(folder.path());
        let source = archive.source("debian trixie", &[&server.url], Some(&keyring));
        let fetcher = fetcher(folder.path(), false);
        Scene { folder, key, archive, server, source, fetcher }
    }

    fn release(&self) -> Result<Release, Fault> {
        self.fetcher.release(&self.source, "amd64", true, &GO)
    }

    fn indexes(&self) -> Result<Vec<Index>, Fault> {
        self.fetcher.packages(&self.source, &self.release()?, "amd64", &GO)
    }

    fn universe(&self) -> Universe {
        Universe::new(self.indexes().unwrap(), "amd64")
    }

    fn deb(&self, deb: &deb::Deb) -> Result<PathBuf, Fault> {
        self.fetcher.deb(deb, &self.source.mirrors, &GO, &|_| {})
    }

    /// The package `app`, as the index has it.
    fn app(&self) -> deb::Deb {
        self.universe().newest("app").unwrap().to_deb()
    }
}

fn fetcher(folder: &Path, offline: bool) -> Fetcher {
    Fetcher::with_patience(folder.join("kept"), None, offline, PATIENCE)
}

fn debs() -> Vec<Deb> {
    let noise: Vec<u8> = (0..200_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    vec![
        Deb::new("app", "1.2-1", "amd64", "Depends: lib (>= 2), libc-virtual\nPriority: optional\n")
            .file("usr/bin/app", 0o755, "#!/bin/sh\n")
            .file("usr/share/app/noise", 0o644, noise)
            .script("postinst", "#!/bin/sh\nexit 0\n")
            .packed(Compression::None),
        Deb::new("lib", "2:2.0~rc1-1", "amd64", "").packed(Compression::Zst),
        Deb::new("lib", "2:2.0-1", "amd64", "").link("usr/lib/lib.so", "lib.so.2").packed(Compression::Gz),
        Deb::new("data", "1", "all", "Provides: libc-virtual\nEssential: yes\nTask: t1\n")
            .packed(Compression::None),
    ]
}

fn code<T: std::fmt::Debug>(result: Result<T, Fault>) -> (&'static str, String) {
    let fault = result.unwrap_err();
    assert!(fault.help.is_some(), "no way out of: {fault}");
    (fault.code, fault.message)
}

#[test]
fn a_good_archive_is_read_and_fetched() {
    let scene = Scene::new();
    let universe = scene.universe();
    let chosen = closure(&universe, &["app"]).unwrap();
    let ids: Vec<String> = chosen.iter().map(|package| package.to_deb().id()).collect();
    assert_eq!(ids, ["app_1.2-1_amd64", "data_1_all", "lib_2:2.0-1_amd64"]);
    assert!(universe.newest("data").unwrap().essential());

    let app = scene.app();
    assert!(scene.fetcher.has(&app).is_none());
    let told = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let progress = |bytes: u64| told.store(usize::try_from(bytes).unwrap(), Ordering::Relaxed);
    let path = scene.fetcher.deb(&app, &scene.source.mirrors, &stop, &progress).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), scene.archive.debs[0].build());
    assert_eq!(told.load(Ordering::Relaxed) as u64, app.size);
    assert_eq!(scene.fetcher.has(&app), Some(path));

    // Nothing is fetched twice.
    scene.server.forget();
    scene.deb(&app).unwrap();
    scene.fetcher.release(&scene.source, "amd64", false, &GO).unwrap();
    assert_eq!(scene.server.paths(), [""; 0]);
    scene.indexes().unwrap();
    assert_eq!(scene.server.paths(), ["dists/trixie/InRelease"]);
}

#[test]
fn an_index_comes_by_its_digest() {
    let scene = Scene::new();
    scene.indexes().unwrap();
    let paths = scene.server.paths();
    assert_eq!(paths.len(), 2, "{paths:?}");
    assert!(paths[1].starts_with("dists/trixie/main/binary-amd64/by-hash/SHA256/"), "{paths:?}");
}

#[test]
fn an_index_that_is_not_there_by_its_digest_comes_by_its_name() {
    let scene = Scene::new();
    scene.server.remove(|path| path.contains("by-hash") || path.ends_with(".xz"));
    assert_eq!(scene.indexes().unwrap()[0].len(), 4);
    assert_eq!(scene.server.paths().last().unwrap(), "dists/trixie/main/binary-amd64/Packages.gz");
}

#[test]
fn release_and_its_signature_may_be_two_files() {
    let scene = Scene::new();
    scene.server.remove(|path| path.ends_with("InRelease"));
    assert_eq!(scene.release().unwrap().codename, "trixie");
    assert_eq!(scene.server.paths().len(), 3);
    let offline = fetcher(scene.folder.path(), true);
    assert_eq!(offline.release(&scene.source, "amd64", false, &GO).unwrap().codename, "trixie");
}

#[test]
fn what_is_not_signed_is_refused() {
    let scene = Scene::new();
    scene.server.serve(scene.archive.unsigned());
    let (kind, message) = code(scene.release());
    assert_eq!(kind, "deb/signature");
    assert!(message.contains("not signed"), "{message}");

    let mut files = scene.archive.unsigned();
    let release = files["dists/trixie/Release"].clone();
    files.insert("dists/trixie/InRelease".into(), release);
    scene.server.serve(files);
    assert_eq!(code(scene.release()).0, "deb/signature");
}

#[test]
fn another_key_is_refused() {
    let scene = Scene::new();
    scene.server.serve(scene.archive.build(&Key::new()));
    let (kind, message) = code(scene.release());
    assert_eq!(kind, "deb/signature");
    assert!(message.contains("not in the keyring"), "{message}");
    // Debian's own keys do not vouch for it either.
    let source = Source { keyring: None, ..scene.source.clone() };
    assert_eq!(code(scene.fetcher.release(&source, "amd64", true, &GO)).0, "deb/signature");
}

#[test]
fn a_changed_release_file_is_refused() {
    for change in ["Origin: Debian", "Codename: trixie"] {
        let scene = Scene::new();
        scene.server.change("dists/trixie/InRelease", |bytes| {
            let text = String::from_utf8(bytes.clone()).unwrap();
            *bytes = text.replace(change, &format!("{change}x")).into_bytes();
        });
        let (kind, message) = code(scene.release());
        assert_eq!(kind, "deb/signature");
        assert!(message.contains("changed"), "{message}");
    }
}

#[test]
fn nothing_may_stand_around_what_is_signed() {
    let edits: [fn(&str) -> String; 5] = [
        |text| format!("Origin: Evil\n{text}"),
        |text| format!("{text}\nOrigin: Evil\n"),
        |text| text.replacen("\n\n", "\nOrigin: Evil\n\n", 1),
        |text| text.replacen("-----BEGIN PGP SIGNATURE-----", "-----BEGIN PGP MESSAGE-----", 1),
        |text| text[..text.len() / 2].to_string(),
    ];
    for edit in edits {
        let scene = Scene::new();
        scene.server.change("dists/trixie/InRelease", |bytes| {
            *bytes = edit(std::str::from_utf8(bytes).unwrap()).into_bytes();
        });
        assert_eq!(code(scene.release()).0, "deb/signature");
    }
}

#[test]
fn no_byte_can_be_changed_unseen() {
    let key = Key::new();
    let text = "Origin: Debian\nSuite: stable\n\n- x\nDate: now\nSHA256:\n 12 1 a\n 34 2 b";
    let signed = key.clear_sign(text);
    let keyring = Keyring::parse(&key.public()).unwrap();
    let now = clock::seconds();
    let good = keyring.open(&signed, now).unwrap().text;
    assert_eq!(good, text);
    let mut refused = 0;
    for at in 0..signed.len() {
        for new in [signed[at] ^ 1, b'\n', b'\r', b' ', b'-', 0] {
            let mut changed = signed.clone();
            changed[at] = new;
            match keyring.open(&changed, now) {
                // A carriage return ends a line for the signature; a Release file may not hold one.
                Ok(found) => assert_eq!(found.text.replace('\r', "\n"), good, "byte {at} as {new}"),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > signed.len() * 4, "{refused} of {}", signed.len() * 6);
}

#[test]
fn weak_digests_are_refused() {
    for hash in [HashAlgorithm::Sha1, HashAlgorithm::Md5] {
        let scene = Scene::of(
            Archive::debian("trixie", debs()),
            Key { hash, ..Key::with(KeyType::Rsa(2048), clock::seconds() - 1000, None) },
        );
        let (kind, message) = code(scene.release());
        assert_eq!(kind, "deb/signature");
        assert!(message.contains("can be forged"), "{message}");
        scene.server.remove(|path| path.ends_with("InRelease"));
        assert_eq!(code(scene.release()).0, "deb/signature");
    }
}

#[test]
fn keys_and_signatures_have_their_time() {
    let now = clock::seconds();
    let refused = [
        (Key::with(KeyType::Ed25519Legacy, now - 1000, Some(500)), "has expired"),
        (Key { time: now - 1000, lasts: Some(500), ..Key::new() }, "has expired"),
        (Key { time: now + 300_000, ..Key::new() }, "of the future"),
        (Key::with(KeyType::Ed25519Legacy, now + 300_000, None), "of the future"),
    ];
    for (key, reason) in refused {
        let scene = Scene::of(Archive::debian("trixie", debs()), key);
        let (kind, message) = code(scene.release());
        assert_eq!(kind, "deb/signature");
        assert!(message.contains(reason), "{message}");
    }
    for key in [
        Key::with(KeyType::Ed25519Legacy, now - 1000, Some(5000)),
        Key { time: now - 1000, lasts: Some(5000), ..Key::new() },
        Key { by_subkey: true, ..Key::new() },
        Key { hash: HashAlgorithm::Sha256, ..Key::with(KeyType::Rsa(2048), now - 1000, None) },
    ] {
        assert!(Scene::of(Archive::debian("trixie", debs()), key).release().is_ok());
    }
}

#[test]
fn keyrings_hold_several_keys_armoured_or_not() {
    let (one, two) = (Key::new(), Key { by_subkey: true, ..Key::new() });
    let signed = two.clear_sign("Origin: x\n- dashed\n-----dashes\nend");
    let now = clock::seconds();
    for bytes in
        [[one.public(), two.public()].concat(), format!("{}\n{}", one.armored(), two.armored()).into_bytes()]
    {
        let keyring = Keyring::parse(&bytes).unwrap();
        assert_eq!(keyring.fingerprints().len(), 2);
        assert_eq!(keyring.open(&signed, now).unwrap().text, "Origin: x\n- dashed\n-----dashes\nend");
    }
    let other = Keyring::parse(&one.public()).unwrap();
    assert!(other.open(&signed, now).is_err());
    assert!(Keyring::parse(b"").is_err() && Keyring::parse(b"no keys here").is_err());
    assert!(Keyring::debian().unwrap().fingerprints().len() >= 9);
    assert!(Keyring::ubuntu().unwrap().fingerprints().len() >= 2);
}

#[test]
fn revoked_keys_and_strange_subkeys_are_refused() {
    let now = clock::seconds();
    let key = Key { by_subkey: true, ..Key::new() };
    let signed = key.clear_sign("Origin: x\n");
    let open = |key: &SignedPublicKey| Keyring::parse(&key.to_bytes().unwrap()).unwrap().open(&signed, now);
    let public = SignedPublicKey::from(key.secret.clone());
    assert!(open(&public).is_ok());

    let mut revoked = public.clone();
    revoked.details.revocation_signatures.push(key.revocation());
    assert!(open(&revoked).unwrap_err().contains("revoked"));

    // The subkey of one key beside another key.
    let mut other = SignedPublicKey::from(Key::new().secret);
    other.public_subkeys = public.public_subkeys.clone();
    assert!(open(&other).unwrap_err().contains("not bound"));

    // A subkey that never said that it belongs there.
    let mut silent = public;
    silent.public_subkeys[0].signatures[0] = key.binding_without_back();
    assert!(open(&silent).unwrap_err().contains("not made for signing"));
}

#[test]
fn an_expired_release_file_is_refused_unless_that_is_meant() {
    let mut archive = Archive::debian("trixie", debs());
    archive.date -= 10 * 86_400;
    archive.valid_until = Some(archive.date + 7 * 86_400);
    let mut scene = Scene::of(archive, Key::new());
    let (kind, message) = code(scene.release());
    assert_eq!(kind, "deb/expired");
    assert!(message.contains("2 days ago") || message.contains("3 days ago"), "{message}");
    scene.source.check_valid_until = false;
    assert!(scene.release().is_ok());
}

#[test]
fn a_release_file_of_the_future_is_refused() {
    let mut archive = Archive::debian("trixie", debs());
    archive.date += 3 * 86_400;
    assert_eq!(code(Scene::of(archive, Key::new()).release()).0, "deb/future");
}

#[test]
fn another_suite_is_refused() {
    let scene = Scene::new();
    let mut files = scene.server_files();
    let moved: Files =
        files.iter().map(|(path, bytes)| (path.replace("trixie", "sid"), bytes.clone())).collect();
    files.extend(moved);
    scene.server.serve(files);
    let source = Source { suite: "sid".into(), ..scene.source.clone() };
    assert_eq!(code(scene.fetcher.release(&source, "amd64", true, &GO)).0, "deb/suite");
}

impl Scene {
    fn server_files(&self) -> Files {
        self.archive.build(&self.key)
    }
}

#[test]
fn an_older_release_file_is_not_taken_for_a_newer_one() {
    let scene = Scene::new();
    scene.release().unwrap();
    let mut older = scene.archive.clone();
    older.date -= 86_400;
    scene.server.serve(older.build(&scene.key));
    let (kind, message) = code(scene.release());
    assert_eq!(kind, "deb/replay");
    assert!(message.contains(&scene.server.url), "{message}");
    // Another process knows it too.
    let other = fetcher(scene.folder.path(), false);
    assert_eq!(code(other.release(&scene.source, "amd64", true, &GO)).0, "deb/replay");
    let mut newer = scene.archive.clone();
    newer.date += 60;
    scene.server.serve(newer.build(&scene.key));
    assert_eq!(scene.release().unwrap().date, newer.date);
}

#[test]
fn a_changed_index_is_refused() {
    let scene = Scene::new();
    let mut files = scene.server_files();
    for (_, bytes) in files.iter_mut().filter(|(path, _)| path.contains("binary-amd64")) {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    }
    scene.server.serve(files);
    let (kind, message) = code(scene.indexes());
    assert_eq!(kind, "deb/fetch");
    assert!(message.contains("SHA-256"), "{message}");
}

#[test]
fn an_index_of_another_length_is_refused() {
    for length in [-10i64, 10] {
        let scene = Scene::new();
        let mut files = scene.server_files();
        for (_, bytes) in files.iter_mut().filter(|(path, _)| path.contains("binary-amd64")) {
            bytes.resize(usize::try_from(bytes.len() as i64 + length).unwrap(), 0);
        }
        scene.server.serve(files);
        let (kind, message) = code(scene.indexes());
        assert_eq!(kind, "deb/fetch");
        assert!(message.contains("bytes where the index says"), "{message}");
    }
}

#[test]
fn an_index_grows_no_larger_than_the_release_file_says() {
    let scene = Scene::new();
    let mut files = scene.archive.unsigned();
    let bomb = Compression::Xz.pack(&vec![b'\n'; 50 << 20]);
    let path = "dists/trixie/main/binary-amd64/Packages.xz";
    let old = Digest::of(&files[path]).to_string();
    let release = String::from_utf8(files["dists/trixie/Release"].clone()).unwrap();
    let line = release.lines().find(|line| line.contains(&old)).unwrap();
    let release = release
        .replace(line, &format!(" {} {} main/binary-amd64/Packages.xz", Digest::of(&bomb), bomb.len()));
    files.insert(path.into(), bomb);
    files.insert("dists/trixie/InRelease".into(), scene.key.clear_sign(&release));
    scene.server.serve(files);
    let (kind, message) = code(scene.indexes());
    assert_eq!(kind, "deb/index");
    assert!(message.contains("not what the Release file says"), "{message}");
}

#[test]
fn endless_answers_end() {
    let scene = Scene::new();
    let app = scene.app();
    scene.server.hook(|_| Some(Reply::Endless));
    let start = Instant::now();
    let (_, message) = code(scene.deb(&app));
    assert!(message.contains("more than"), "{message}");
    let (_, message) = code(scene.release());
    assert!(message.contains("too large"), "{message}");
    let fresh = fetcher(&scene.folder.path().join("fresh"), false);
    scene.server.hook(|request| request.path.contains("binary-").then_some(Reply::Endless));
    let release = scene.release().unwrap();
    let (_, message) = code(fresh.packages(&scene.source, &release, "amd64", &GO));
    assert!(message.contains("more than"), "{message}");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_package_that_is_not_what_the_index_says_is_refused() {
    let scene = Scene::new();
    let app = scene.app();
    scene.server.change(&app.path, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let (kind, message) = code(scene.deb(&app));
    assert_eq!(kind, "deb/fetch");
    assert!(message.contains("SHA-256"), "{message}");
    scene.server.change(&app.path, |bytes| bytes.push(0));
    assert!(code(scene.deb(&app)).1.contains("bytes where the index says"));
    let long = scene.archive.debs[0].build();
    scene.server.hook(move |_| Some(Reply::Unmeasured([long.as_slice(), b"x"].concat())));
    assert!(code(scene.deb(&app)).1.contains("more than"));
    assert!(scene.fetcher.has(&app).is_none());
    assert!(
        kept(&scene).iter().all(|name| !name.contains(&app.digest.to_string()) || name.ends_with(".part"))
    );
}

/// The names of all files that the fetcher keeps.
fn kept(scene: &Scene) -> Vec<String> {
    let downloads = scene.folder.path().join("kept/downloads");
    let folders = std::fs::read_dir(downloads).unwrap().flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten());
    files.map(|file| file.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_kept_package_that_was_damaged_is_fetched_again() {
    let scene = Scene::new();
    let app = scene.app();
    let path = scene.deb(&app).unwrap();
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, vec![0; good.len()]).unwrap();
    let later = fetcher(scene.folder.path(), false);
    assert!(later.has(&app).is_none());
    let path = later.deb(&app, &scene.source.mirrors, &GO, &|_| {}).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), good);
}

#[test]
fn a_connection_that_goes_silent_ends() {
    let scene = Scene::new();
    let app = scene.app();
    scene.server.hook(|request| request.path.ends_with(".deb").then_some(Reply::Silent(1000)));
    let start = Instant::now();
    let (kind, message) = code(scene.deb(&app));
    assert_eq!(kind, "deb/fetch");
    assert!(message.contains("silent"), "{message}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(scene.server.paths().iter().filter(|path| path.ends_with(".deb")).count(), 3, "three tries");
}

#[test]
fn a_mirror_that_only_drips_is_too_slow() {
    let scene = Scene::new();
    let app = scene.app();
    let patience = Patience { slow: Duration::ZERO, slowest: u64::MAX / 1_000_000, ..PATIENCE };
    let strict = Fetcher::with_patience(scene.folder.path().join("strict"), None, false, patience);
    let (_, message) = code(strict.deb(&app, &scene.source.mirrors, &GO, &|_| {}));
    assert!(message.contains("too slowly"), "{message}");
}

#[test]
fn stopping_does_not_wait_for_a_silent_mirror() {
    let scene = Scene::new();
    let app = scene.app();
    scene.server.hook(|_| Some(Reply::Silent(10)));
    let patient = Patience { silence: Duration::from_secs(20), ..PATIENCE };
    let patient = Fetcher::with_patience(scene.folder.path().join("other"), None, false, patient);
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let package = scope.spawn(|| patient.deb(&app, &scene.source.mirrors, &stop, &|_| {}));
        let release = scope.spawn(|| patient.release(&scene.source, "amd64", true, &stop));
        std::thread::sleep(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(package.join().unwrap().unwrap_err().code, "deb/stopped");
        assert_eq!(release.join().unwrap().unwrap_err().code, "deb/stopped");
    });
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_broken_connection_is_taken_up_where_it_broke() {
    let scene = Scene::new();
    let app = scene.app();
    let tries = AtomicUsize::new(0);
    scene.server.hook(move |request| {
        let first = request.path.ends_with(".deb") && tries.fetch_add(1, Ordering::Relaxed) < 1;
        first.then_some(Reply::Broken(50_000))
    });
    let path = scene.deb(&app).unwrap();
    assert_eq!(Digest::of(std::fs::read(path).unwrap()), app.digest);
    let from: Vec<Option<usize>> = scene
        .server
        .requests()
        .iter()
        .filter(|request| request.path == app.path)
        .map(|request| request.from)
        .collect();
    assert_eq!(from, [None, Some(50_000)]);
}

#[test]
fn a_mirror_that_cannot_resume_starts_anew() {
    let scene = Scene::new();
    let app = scene.app();
    let whole = scene.archive.debs[0].build();
    let tries = AtomicUsize::new(0);
    scene.server.hook(move |request| match (request.path.ends_with(".deb"), tries.load(Ordering::Relaxed)) {
        (true, 0) => {
            tries.store(1, Ordering::Relaxed);
            Some(Reply::Broken(50_000))
        }
        (true, _) => Some(Reply::Unmeasured(whole.clone())),
        _ => None,
    });
    let path = scene.deb(&app).unwrap();
    assert_eq!(Digest::of(std::fs::read(path).unwrap()), app.digest);
    assert_eq!(scene.server.requests().last().unwrap().from, Some(50_000));
}

#[test]
fn two_builds_fetch_a_package_once() {
    let scene = Scene::new();
    let app = scene.app();
    scene.server.forget();
    scene.server.hook(|_| {
        std::thread::sleep(Duration::from_millis(100));
        None
    });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            // Each as if it were another process.
            let other = fetcher(scene.folder.path(), false);
            let (app, mirrors) = (&app, &scene.source.mirrors);
            scope.spawn(move || other.deb(app, mirrors, &GO, &|_| {}).unwrap());
        }
    });
    assert_eq!(scene.server.paths(), [app.path]);
    assert!(kept(&scene).iter().all(|name| !name.ends_with(".part")), "{:?}", kept(&scene));
}

#[test]
fn a_release_file_is_asked_for_again_after_an_hour() {
    let scene = Scene::new();
    scene.release().unwrap();
    scene.server.forget();
    scene.fetcher.release(&scene.source, "amd64", false, &GO).unwrap();
    assert_eq!(scene.server.paths(), [""; 0]);
    let folder =
        std::fs::read_dir(scene.folder.path().join("kept/releases")).unwrap().next().unwrap().unwrap();
    let file = std::fs::File::options().write(true).open(folder.path().join("InRelease")).unwrap();
    let made = file.metadata().unwrap().modified().unwrap();
    file.set_modified(made - Duration::from_secs(3700)).unwrap();
    scene.fetcher.release(&scene.source, "amd64", false, &GO).unwrap();
    assert_eq!(scene.server.paths(), ["dists/trixie/InRelease"]);
}

#[test]
fn what_was_left_by_another_process_is_checked_from_its_start() {
    let scene = Scene::new();
    let app = scene.app();
    let name = app.digest.to_string();
    let part = scene.folder.path().join("kept/downloads").join(&name[..2]).join(format!("{name}.part"));
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    std::fs::write(&part, vec![b'x'; 70_000]).unwrap();
    let path = scene.deb(&app).unwrap();
    assert_eq!(Digest::of(std::fs::read(path).unwrap()), app.digest);
    assert!(!part.exists());
}

#[test]
fn redirections_are_followed_but_not_in_circles() {
    let scene = Scene::new();
    let app = scene.app();
    let url = scene.server.url.clone();
    scene.server.hook(move |request| {
        let path = request.path.strip_prefix("pool/")?;
        Some(Reply::Status(302, format!("Location: {url}/elsewhere/{path}\r\n"), Vec::new()))
    });
    let mut files = scene.server_files();
    let bytes = files[&app.path].clone();
    files.insert(app.path.replace("pool/", "elsewhere/"), bytes);
    scene.server.serve(files);
    scene.deb(&app).unwrap();

    scene
        .server
        .hook(|request| Some(Reply::Status(301, format!("Location: /{}\r\n", request.path), Vec::new())));
    let (_, message) = code(scene.release());
    assert!(message.contains("in circles"), "{message}");
    scene.server.hook(|_| Some(Reply::Status(301, "Location: file:///etc/passwd\r\n".into(), Vec::new())));
    assert!(code(scene.release()).1.contains("neither"));
}

#[test]
fn the_next_mirror_takes_over() {
    let mut scene = Scene::new();
    let bad = Server::start(scene.server_files());
    bad.hook(|_| Some(Reply::Status(503, String::new(), Vec::new())));
    scene.source.mirrors = vec![bad.url.clone(), "http://127.0.0.1:9".into(), scene.server.url.clone()];
    let app = scene.app();
    scene.deb(&app).unwrap();

    let lying = Server::start(scene.archive.build(&Key::new()));
    scene.source.mirrors = vec![lying.url.clone(), scene.server.url.clone()];
    lying.hook(|request| request.path.ends_with(".deb").then(|| Reply::Body(vec![0; 1000])));
    assert!(scene.release().is_ok());
    let fresh = fetcher(&scene.folder.path().join("fresh"), false);
    fresh.deb(&app, &scene.source.mirrors, &GO, &|_| {}).unwrap();
    assert!(lying.paths().iter().any(|path| path.ends_with(".deb")));

    scene.source.mirrors = vec![lying.url.clone(), bad.url.clone()];
    assert!(code(scene.release()).1.contains("1 mirror more"));
}

#[test]
fn a_package_that_is_gone_is_told_of() {
    let scene = Scene::new();
    let app = scene.app();
    scene.server.remove(|path| path.starts_with("pool/"));
    let (kind, message) = code(scene.deb(&app));
    assert_eq!(kind, "deb/not-found");
    assert!(message.contains("app_1.2-1_amd64") && message.contains(&scene.server.url), "{message}");
    assert_eq!(scene.server.paths().iter().filter(|path| path.ends_with(".deb")).count(), 1, "no second try");
}

#[test]
fn a_path_that_leads_out_of_the_archive_is_refused() {
    let scene = Scene::new();
    let app = scene.app();
    scene.server.forget();
    for path in ["../../etc/passwd", "/etc/passwd", "pool/../../x", ""] {
        let deb = deb::Deb { path: path.into(), ..app.clone() };
        assert_eq!(code(scene.deb(&deb)).0, "deb/path");
    }
    assert_eq!(scene.server.paths(), [""; 0]);
}

#[test]
fn offline_uses_what_is_kept_and_asks_nobody() {
    let scene = Scene::new();
    let offline = fetcher(scene.folder.path(), true);
    assert_eq!(code(offline.release(&scene.source, "amd64", false, &GO)).0, "deb/offline");
    let app = scene.app();
    assert_eq!(code(offline.deb(&app, &scene.source.mirrors, &GO, &|_| {})).0, "deb/offline");
    scene.deb(&app).unwrap();
    scene.server.forget();
    let release = offline.release(&scene.source, "amd64", true, &GO).unwrap();
    assert_eq!(offline.packages(&scene.source, &release, "amd64", &GO).unwrap()[0].len(), 4);
    assert!(offline.deb(&app, &scene.source.mirrors, &GO, &|_| {}).is_ok());
    assert_eq!(scene.server.paths(), [""; 0]);
    // What is kept is not believed either.
    let kept = std::fs::read_dir(scene.folder.path().join("kept/releases")).unwrap().next().unwrap().unwrap();
    let kept = kept.path().join("InRelease");
    let text = std::fs::read_to_string(&kept).unwrap().replace("stable", "staple");
    std::fs::write(&kept, text).unwrap();
    assert_eq!(code(offline.release(&scene.source, "amd64", false, &GO)).0, "deb/offline");
}

#[test]
fn a_flat_repository_is_read() {
    for folder in [".", "sub/dir"] {
        let archive = Archive::flat(folder, debs());
        let mut scene = Scene::of(archive, Key::new());
        scene.source.name = "third".into();
        let app = scene.app();
        assert_eq!(app.source, "third");
        scene.deb(&app).unwrap();
    }
}

#[test]
fn a_repository_without_a_key_is_refused() {
    let scene = Scene::of(Archive::flat("x", debs()), Key::new());
    let source = Source { name: "third".into(), keyring: None, ..scene.source.clone() };
    assert_eq!(code(scene.fetcher.release(&source, "amd64", true, &GO)).0, "deb/no-key");
    let missing = Source { keyring: Some("/nonexistent/key.gpg".into()), ..source };
    assert!(
        scene
            .fetcher
            .release(&missing, "amd64", true, &GO)
            .unwrap_err()
            .message
            .contains("/nonexistent/key.gpg")
    );
    assert_eq!(scene.server.paths(), [""; 0]);
}

#[test]
fn an_archive_laid_out_as_ubuntus_is_read() {
    let mut debs = debs();
    debs.push(Deb::new("extra", "1ubuntu1", "amd64", "").component("universe"));
    debs.push(Deb::new("extra32", "1", "i386", ""));
    let scene = Scene::of(Archive::ubuntu("noble", debs), Key::new());
    let indexes = scene.indexes().unwrap();
    assert_eq!(indexes.iter().map(Index::len).collect::<Vec<_>>(), [4, 1]);
    let universe = Universe::new(indexes, "amd64");
    assert!(universe.newest("extra").is_some() && universe.newest("extra32").is_none());
}

#[test]
fn packages_for_all_architectures_may_stand_apart() {
    let archive = Archive { all_apart: true, ..Archive::debian("trixie", debs()) };
    let scene = Scene::of(archive, Key::new());
    assert_eq!(scene.indexes().unwrap().iter().map(Index::len).collect::<Vec<_>>(), [3, 1]);
    assert!(scene.universe().newest("data").is_some());
}

#[test]
fn components_and_architectures_are_known() {
    let scene = Scene::new();
    let release = scene.release().unwrap();
    let source = Source { components: vec!["mian".into()], ..scene.source.clone() };
    let fault = scene.fetcher.packages(&source, &release, "amd64", &GO).unwrap_err();
    assert_eq!((fault.code, fault.help.as_deref()), ("deb/component", Some("did you mean `main`?")));
    assert_eq!(code(scene.fetcher.packages(&scene.source, &release, "s390x", &GO)).0, "deb/arch");
    assert_eq!(code(scene.fetcher.release(&scene.source, "s390x", false, &GO)).0, "deb/arch");
}

#[test]
fn a_folder_may_be_a_mirror() {
    let scene = Scene::new();
    let root = scene.folder.path().join("mirror x");
    for (path, bytes) in scene.server_files() {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let source = Source { mirrors: vec![format!("file://{}", root.display())], ..scene.source.clone() };
    let release = scene.fetcher.release(&source, "amd64", true, &GO).unwrap();
    let indexes = scene.fetcher.packages(&source, &release, "amd64", &GO).unwrap();
    let app = Universe::new(indexes, "amd64").newest("app").unwrap().to_deb();
    scene.fetcher.deb(&app, &source.mirrors, &GO, &|_| {}).unwrap();
    assert_eq!(scene.server.paths(), [""; 0]);
}

#[test]
fn a_proxy_is_asked_for_whole_urls() {
    let scene = Scene::new();
    let source = Source { mirrors: vec!["http://nowhere.invalid/".into()], ..scene.source.clone() };
    let proxy = scene.server.url.replace("http://", "http://me:secret@");
    let through = Fetcher::with_patience(scene.folder.path().join("through"), Some(proxy), false, PATIENCE);
    let release = through.release(&source, "amd64", true, &GO).unwrap();
    through.packages(&source, &release, "amd64", &GO).unwrap();
    let requests = scene.server.requests();
    assert_eq!(requests[0].target, "http://nowhere.invalid/dists/trixie/InRelease");
    assert!(requests[0].headers.contains(&"host: nowhere.invalid".to_string()), "{requests:?}");
    assert!(
        requests
            .iter()
            .all(|one| one.headers.contains(&"proxy-authorization: Basic bWU6c2VjcmV0".to_string()))
    );
    assert!(
        requests.len() >= 2 && requests.iter().all(|one| one.target.starts_with("http://nowhere.invalid/"))
    );
}

#[test]
fn tls_goes_through_a_proxy_unseen() {
    let scene = Scene::new();
    let source = Source { mirrors: vec!["https://nowhere.invalid/debian".into()], ..scene.source.clone() };
    let proxy = Some(scene.server.url.clone());
    let through = Fetcher::with_patience(scene.folder.path().join("through"), proxy, false, PATIENCE);
    assert_eq!(code(through.release(&source, "amd64", true, &GO)).0, "deb/fetch");
    let requests = scene.server.requests();
    assert!(
        !requests.is_empty() && requests.iter().all(|one| one.target == "nowhere.invalid:443"),
        "{requests:?}"
    );
}

#[test]
fn messages_hold_no_passwords() {
    let scene = Scene::new();
    let mirror = scene.server.url.replace("http://", "http://me:secret@");
    let source = Source { mirrors: vec![mirror.clone()], ..scene.source.clone() };
    scene.fetcher.release(&source, "amd64", true, &GO).unwrap();
    assert!(scene.server.requests()[0].headers.contains(&"authorization: Basic bWU6c2VjcmV0".to_string()));
    let app = scene.app();
    scene.server.serve(Files::new());
    for fault in [
        scene.fetcher.release(&source, "amd64", true, &GO).unwrap_err(),
        scene.fetcher.deb(&app, &[mirror], &GO, &|_| {}).unwrap_err(),
    ] {
        assert!(!format!("{fault:?}").contains("secret"), "{fault:?}");
        assert!(fault.message.contains(&scene.server.url), "{fault}");
    }
}

#[test]
fn packages_come_while_others_are_used() {
    let scene = Scene::new();
    let debs: Vec<deb::Deb> = scene.universe().packages().map(|package| package.to_deb()).collect();
    let mirrors = scene.source.mirrors.clone();
    scene.server.forget();
    let all = debs.iter().map(|deb| (deb.clone(), mirrors.clone())).collect();
    let prefetch = scene.fetcher.prefetch(all, 3);
    for deb in debs.iter().rev() {
        scene.deb(deb).unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while prefetch.left() > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(prefetch.left(), 0);
    let mut paths = scene.server.paths();
    paths.sort();
    let mut expected: Vec<String> = debs.iter().map(|deb| deb.path.clone()).collect();
    expected.sort();
    assert_eq!(paths, expected, "each once");
}

#[test]
fn a_prefetch_that_is_dropped_ends_and_leaves_the_rest_to_who_asks() {
    let scene = Scene::new();
    let app = scene.app();
    scene.server.forget();
    let silent = std::sync::Arc::new(AtomicBool::new(true));
    let hook = silent.clone();
    scene.server.hook(move |_| hook.load(Ordering::Relaxed).then_some(Reply::Silent(10)));
    let prefetch = scene.fetcher.prefetch(vec![(app.clone(), scene.source.mirrors.clone())], 1);
    while scene.server.paths().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    silent.store(false, Ordering::Relaxed);
    drop(prefetch);
    scene.deb(&app).unwrap();
}

#[test]
fn what_speaks_no_tls_is_told_of() {
    let scene = Scene::new();
    let mirror = scene.server.url.replace("http:", "https:");
    let source = Source { mirrors: vec![mirror], ..scene.source.clone() };
    assert_eq!(code(scene.fetcher.release(&source, "amd64", true, &GO)).0, "deb/fetch");
}

/// The packages and signatures of these tests are such as Debian's own tools take, where there are such tools.
#[test]
fn debians_tools_read_what_the_tests_make() {
    let scene = Scene::new();
    for (number, deb) in debs().iter().enumerate() {
        let path = scene.folder.path().join(format!("{number}.deb"));
        std::fs::write(&path, deb.build()).unwrap();
        let to = scene.folder.path().join(number.to_string());
        let Ok(status) = Command::new("dpkg-deb").arg("-x").args([&path, &to]).status() else {
            eprintln!("skipped: there is no dpkg-deb");
            return;
        };
        assert!(status.success(), "{number}");
        let info =
            Command::new("dpkg-deb").args(["-f".as_ref(), path.as_os_str()]).arg("Package").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&info.stdout).trim(), deb.field("Package"));
    }
    assert!(scene.folder.path().join("0/usr/bin/app").is_file());
    let release = scene.folder.path().join("InRelease");
    std::fs::write(&release, &scene.server_files()["dists/trixie/InRelease"]).unwrap();
    let keyring = scene.source.keyring.as_ref().unwrap();
    match Command::new("gpgv").arg("--keyring").arg(keyring).arg(release).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => eprintln!("skipped: there is no gpgv"),
    }
}

#[test]
fn the_hosts_own_mirror_is_read() {
    for suite in ["bookworm", "trixie"] {
        let sources = deb::sources::host(Path::new("/etc/apt"), "debian", suite, "amd64");
        if sources.is_empty() {
            eprintln!("skipped: this host has no apt sources of Debian");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let fetcher = Fetcher::new(folder.path().to_path_buf(), None, false);
        let mut indexes = Vec::new();
        for source in &sources {
            let release = match fetcher.release(source, "amd64", false, &GO) {
                Ok(release) => release,
                Err(fault) if fault.code == "deb/fetch" => {
                    eprintln!("skipped: {fault}");
                    return;
                }
                Err(fault) => panic!("{fault:?}"),
            };
            assert!(release.check(source, clock::seconds()).is_ok());
            let start = Instant::now();
            fetcher.release(source, "amd64", false, &GO).unwrap();
            eprintln!("{}: checked again in {:?}", source.name, start.elapsed());
            indexes.extend(fetcher.packages(source, &release, "amd64", &GO).unwrap());
        }
        let text: Vec<Vec<u8>> = indexes.iter().map(|index| index.trimmed(|_| true)).collect();
        let start = Instant::now();
        for text in text {
            Index::parse(text, "x", "trimmed").unwrap();
        }
        eprintln!("{suite}: trimmed, read in {:?}", start.elapsed());
        let start = Instant::now();
        let universe = Universe::new(indexes, "amd64");
        let chosen = closure(&universe, &["apt", "base-files", "dash"]).unwrap();
        eprintln!("{suite}: {} packages, {:?}", universe.len(), start.elapsed());
        assert!(universe.len() > 50_000 && (10..200).contains(&chosen.len()), "{}", chosen.len());
        let small = chosen.iter().min_by_key(|package| package.size()).unwrap().to_deb();
        let mirrors = &sources.iter().find(|source| source.name == small.source).unwrap().mirrors;
        let path = fetcher.deb(&small, mirrors, &GO, &|_| {}).unwrap();
        assert!(std::fs::read(path).unwrap().starts_with(b"!<arch>\n"));
    }
}
