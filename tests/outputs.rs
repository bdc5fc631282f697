//! What imgbuild writes, read back by the programs that people read it with, path by path.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod tools;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev};
use tools::tree::{self, Item, Tree};
use tools::{Project, answer, is_root, tool};

/// The time that imgbuild gives to what has none of its own: 2025-01-01.
const EPOCH: i64 = 1_735_689_600;

/// A root file system with one of everything; what a plain user cannot make is left out for them.
fn everything(root: &Path) {
    let folder = |name: &str| fs::create_dir_all(root.join(name)).unwrap();
    ["bin", "dev", "etc", "run", "srv/empty", "usr/lib", "home/b"].iter().for_each(|name| folder(name));
    symlink("usr/lib", root.join("lib")).unwrap();
    symlink("/nowhere/at all", root.join("usr/lib/dangling")).unwrap();
    let file = |name: &OsStr, content: &[u8], mode: u32| {
        fs::write(root.join(name), content).unwrap();
        fs::set_permissions(root.join(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    file("etc/passwd".as_ref(), b"root:x:0:0::/:/bin/sh\nweb:x:4711:4711::/srv:/bin/false\n", 0o644);
    file("etc/group".as_ref(), b"root:x:0:\nwebmasters:x:4712:\n", 0o644);
    file("etc/shadow".as_ref(), b"", 0o600);
    file(".hidden at the top".as_ref(), b"dot", 0o640);
    file("bin/ping".as_ref(), &vec![7; 70_000], 0o4755);
    file(OsStr::from_bytes(b"srv/not \xff\xfe UTF-8"), b"bytes", 0o644);
    file("srv/new\nline".as_ref(), b"odd", 0o644);
    file("srv/-rf".as_ref(), b"odd too", 0o644);
    file(OsStr::new(&format!("srv/{}", "long".repeat(40))), b"longer than a header's field", 0o644);
    let deep = format!("srv/{}/{}", "d".repeat(200), "e".repeat(200));
    folder(&deep);
    file(OsStr::new(&format!("{deep}/end")), b"longer than its prefix, too", 0o644);
    for other in ["home/b/second", "srv/third"] {
        fs::hard_link(root.join(".hidden at the top"), root.join(other)).unwrap();
    }
    fs::set_permissions(root.join("run"), PermissionsExt::from_mode(0o1777)).unwrap();
    let special = |name: &str, kind, device| {
        rustix::fs::mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(0o620), device).unwrap();
    };
    special("run/pipe", FileType::Fifo, 0);
    let xattr = |name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(root.join("bin/ping"), name, value, XattrFlags::empty())
    };
    // Not every file system has them.
    let _ = xattr("user.note", b"kept\0whole");
    if is_root() {
        special("dev/null", FileType::CharacterDevice, makedev(1, 3));
        special("dev/vda", FileType::BlockDevice, makedev(259, 70_000));
        chown(root.join("home/b"), Some(3_000_000_000), Some(2_097_152)).unwrap();
        // cap_net_raw+ep, as the kernel stores it (linux/capability.h, version 2).
        let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let _ = xattr("security.capability", &capability);
    }
}

/// A project whose image is `everything` and an overlay on top, with these outputs; and the tree that has to come out.
fn project(outputs: &str) -> (Project, Tree) {
    let project = Project::new(&format!(
        "image \"all\" {{\n    base \"dir\" from=\"../root\"\n    overlays \"site\"\n{outputs}}}\n\
         overlay \"site\" owner=\"web:webmasters\"\n"
    ));
    let root = project.beside("root");
    everything(&root);
    project.write("overlays/site/lib/site.conf", "through a link");
    project.write("overlays/site/srv/empty/page", "page");
    let mut wanted = tree::read(&root);
    // No time is later than the epoch.
    wanted.values_mut().for_each(|item| item.time = item.time.min(EPOCH));
    for (path, content) in [("usr/lib/site.conf", "through a link"), ("srv/empty/page", "page")] {
        let what = format!("file {content:?}");
        let access = (0o644, 4711, 4712);
        wanted.insert(path.into(), Item { what, access, time: EPOCH, same_as: None, xattrs: Vec::new() });
    }
    (project, wanted)
}

/// `wanted` as somebody else than root can have it.
fn unpacked_by_caller(mut wanted: Tree) -> Tree {
    if !is_root() {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        wanted.values_mut().for_each(|item| item.access = (item.access.0, own.0, own.1));
    }
    wanted
}

fn unpack(program: &Path, archive: &Path, into: &Path) -> Tree {
    let mut command = Command::new(program);
    command.arg("-xpf").arg(archive).arg("-C").arg(into).args(["--numeric-owner", "--xattrs"]);
    if !program.ends_with("bsdtar") {
        command.arg("--xattrs-include=*");
    }
    answer(&mut command);
    tree::read(into)
}

#[test]
fn a_tar_is_unpacked_by_gnu_tar_and_bsdtar_as_what_went_in() {
    let outputs = "    output \"tar\"\n    output \"tar\" compression=\"gzip\"\n    output \"tar\" compression=\"xz\"\n    \
                   output \"tar\" compression=\"zstd\"\n    output \"dir\"\n";
    let (project, wanted) = project(outputs);
    project.build();
    let wanted = unpacked_by_caller(wanted);
    tree::same(&wanted, &tree::read(&project.at("build/all.dir")), "output \"dir\"");
    let tars = [("tar", "tar"), ("bsdtar", "libarchive-tools")];
    let helpers = [("tar", ""), ("tar.gz", "gzip"), ("tar.xz", "xz"), ("tar.zst", "zstd")];
    for (program, package) in tars {
        let Some(path) = tool(program, package) else { continue };
        for (ending, helper) in helpers {
            if !helper.is_empty() && program == "tar" && tool(helper, helper).is_none() {
                continue;
            }
            let archive = project.at(format!("build/all.{ending}"));
            let into = project.beside(&format!("{program}-{ending}"));
            tree::same(&wanted, &unpack(&path, &archive, &into), &format!("{program} of {ending}"));
            let listed = answer(Command::new(&path).arg("-tf").arg(&archive));
            let lines = listed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
            assert_eq!(lines, wanted.len(), "{program} lists every path of {ending} once");
        }
    }
}

/// As GNU tar writes them: the attributes of a file with two names once, at the first that it comes across.
fn linked() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_pax_extensions([("SCHILY.xattr.user.note", b"kept".as_slice())]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o755);
    header.set_size(4);
    tar.append_data(&mut header, "second", b"text".as_slice()).unwrap();
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Link);
    tar.append_link(&mut header, "first", "second").unwrap();
    tar.into_inner().unwrap()
}

#[test]
fn a_file_keeps_its_attributes_whichever_of_its_names_comes_first() {
    let project = Project::new(
        "image \"whole\" {\n    base \"tar\" from=\"linked.tar\"\n    output \"tar\"\n}\n\
         image \"less\" {\n    base \"tar\" from=\"linked.tar\"\n    files {\n        remove \"/second\"\n    }\n    \
         output \"tar\"\n}\n",
    );
    project.write("linked.tar", linked());
    project.build();
    for image in ["whole", "less"] {
        let mut tar = tar::Archive::new(fs::File::open(project.at(format!("build/{image}.tar"))).unwrap());
        let mut entries = tar.entries().unwrap().map(|entry| entry.unwrap());
        let mut file = entries.find(|entry| entry.path_bytes().as_ref() == b"first").unwrap();
        assert_eq!(file.header().entry_type(), tar::EntryType::Regular, "{image}");
        let mut told = file.pax_extensions().unwrap().unwrap().map(|one| one.unwrap());
        assert!(told.any(|one| one.key_bytes() == b"SCHILY.xattr.user.note" && one.value_bytes() == b"kept"));
    }
}

#[test]
fn a_cpio_is_unpacked_by_gnu_cpio_and_bsdtar_as_what_went_in() {
    let (project, wanted) = project("    output \"cpio\"\n");
    project.build();
    let mut wanted = unpacked_by_caller(wanted);
    // cpio has no extended attributes.
    wanted.values_mut().for_each(|item| item.xattrs.clear());
    let archive = project.at("build/all.cpio");
    if let Some(cpio) = tool("cpio", "cpio") {
        let into = project.beside("cpio");
        let options = ["-idm", "--quiet", "--no-absolute-filenames", "-F"];
        answer(Command::new(cpio).args(options).arg(&archive).current_dir(&into));
        // GNU cpio sets a directory's time before it fills it, and a symbolic link's not at all.
        let no_times = |mut tree: Tree| {
            let files = |item: &&mut Item| item.what.starts_with("file");
            tree.values_mut().filter(|item| !files(item)).for_each(|item| item.time = 0);
            tree
        };
        tree::same(&no_times(wanted.clone()), &no_times(tree::read(&into)), "cpio");
    }
    if let Some(bsdtar) = tool("bsdtar", "libarchive-tools") {
        tree::same(&wanted, &unpack(&bsdtar, &archive, &project.beside("bsdtar")), "bsdtar");
    }
}

#[test]
fn a_cd_is_read_by_isoinfo_and_unpacked_as_xcluster_boots() {
    let Some(isoinfo) = tool("isoinfo", "genisoimage") else { return };
    let project = Project::new(
        "image \"vm\" {\n    base \"dir\" from=\"../root\"\n    overlays \"one\" \"two\"\n    output \"iso\" \
         script=\"boot.sh\" cidata=\"seed\" label=\"mine\"\n    output \"dir\"\n}\n",
    );
    everything(&project.beside("root"));
    project.script("overlays/one/etc/rc", "#!/bin/sh\necho one\n");
    project.write("overlays/two/etc/rc", "two\n");
    project.write("boot.sh", "echo boot\n");
    project.write("seed/user-data", "#cloud-config\n");
    project.write("seed/meta-data", "instance-id: i\n");
    project.build();
    let iso = project.at("build/vm.iso");
    let ask = |arguments: &[&str]| answer(Command::new(&isoinfo).arg("-i").arg(&iso).args(arguments));
    let header = String::from_utf8(ask(&["-d"])).unwrap();
    assert!(header.contains("Volume id: mine\n"), "{header}");
    let names = "/00base.tar\n/01one.tar\n/02two.tar\n/meta-data\n/script\n/user-data\n";
    for names_of in ["-R", "-J"] {
        // isoinfo shows Joliet's version numbers.
        assert_eq!(sorted(&ask(&[names_of, "-f"])).replace(";1\n", "\n"), names, "{names_of}");
        let version = if names_of == "-J" { ";1" } else { "" };
        let content = |name: &str| ask(&[names_of, "-x", &format!("{name}{version}")]);
        assert_eq!(content("/script"), b"echo boot\n", "{names_of}");
        assert_eq!(content("/user-data"), b"#cloud-config\n", "{names_of}");
    }
    // find *.tar | sort | tar -x
    let (disc, into) = (project.beside("disc"), project.beside("booted"));
    for name in names.lines().filter(|name| name.ends_with(".tar")) {
        let bytes = ask(&["-R", "-x", name]);
        let joliet = ask(&["-J", "-x", &format!("{name};1")]);
        assert!(bytes == joliet, "{name} is the same file in both trees");
        fs::write(disc.join(&name[1..]), bytes).unwrap();
    }
    let Some(tar) = tool("tar", "tar") else { return };
    for name in names.lines().filter(|name| name.ends_with(".tar")) {
        unpack(&tar, &disc.join(&name[1..]), &into);
    }
    tree::same(&tree::read(&project.at("build/vm.dir")), &tree::read(&into), "a booting machine");
}

#[test]
fn a_cd_refuses_what_unpacking_its_tars_could_not_do() {
    let project = Project::new(
        "image \"vm\" {\n    overlays \"a\"\n    files { remove \"/etc/old\"; }\n    output \"iso\"\n}\n",
    );
    project.write("overlays/a/etc/old", "");
    let ran = project.run(["--message-format", "short"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("`files:1@vm` removes `/etc/old`"), "{}", ran.err);
}

fn sorted(lines: &[u8]) -> String {
    let mut lines: Vec<&str> = std::str::from_utf8(lines).unwrap().lines().collect();
    lines.sort_unstable();
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_hundred_and_one_overlays_keep_their_order_on_a_cd() {
    let Some(isoinfo) = tool("isoinfo", "genisoimage") else { return };
    // The names run against their order, so that only the numbers can keep it.
    let names: Vec<String> = (0..101).map(|number| format!("o{:03}", 100 - number)).collect();
    let project = Project::new(&format!(
        "image \"many\" {{\n    overlays \"{}\"\n    output \"iso\"\n}}\n",
        names.join("\" \"")
    ));
    for (number, name) in names.iter().enumerate() {
        project.write(&format!("overlays/{name}/last"), number.to_string());
    }
    project.build();
    let listed = answer(Command::new(isoinfo).args(["-R", "-f", "-i"]).arg(project.at("build/many.iso")));
    let wanted: String =
        names.iter().enumerate().map(|(number, name)| format!("/{number:03}{name}.tar\n")).collect();
    assert_eq!(sorted(&listed), wanted);
}

/// A container's content: busybox, and an overlay that goes through a link, removes, and empties a directory.
fn container(output: &str) -> Option<Project> {
    let busybox = tool("busybox", "busybox-static")?;
    let project = Project::new(&format!(
        "image \"web\" version=\"1.0\" {{\n    base \"dir\" from=\"../root\"\n    overlays \"site\"\n    output \"dir\"\n    \
         {output}\n}}\n"
    ));
    let root = project.beside("root");
    everything(&root);
    for folder in ["proc", "sys", "etc/full"] {
        fs::create_dir(root.join(folder)).unwrap();
    }
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    fs::write(root.join("etc/gone"), "").unwrap();
    fs::write(root.join("etc/full/old"), "").unwrap();
    project.write("overlays/site/lib/x", "through lib -> usr/lib");
    project.write("overlays/site/etc/.wh.gone", "");
    project.write("overlays/site/etc/full/.wh..wh..opq", "");
    project.write("overlays/site/etc/full/new", "");
    Some(project)
}

const RUN: &str = "{ entrypoint \"/bin/busybox\" \"echo\"; command \"it runs\"; env PLACE=\"here\"; }";

fn skopeo(skopeo: &Path, from: &str, to: &str) {
    answer(Command::new(skopeo).args(["--insecure-policy", "copy", "--quiet", from, to]));
}

#[test]
fn a_container_image_is_unpacked_by_umoci_and_runs_under_runc() {
    let Some(umoci) = tool("umoci", "umoci") else { return };
    let Some(project) = container(&format!("output \"oci\" format=\"layout\" tag=\"web:1.0\" {RUN}")) else {
        return;
    };
    project.build();
    let bundle = project.beside("bundles").join("web");
    let mut unpack = Command::new(umoci);
    unpack.args(["unpack", "--image"]).arg(format!("{}:1.0", project.at("build/web.oci").display()));
    if !is_root() {
        unpack.arg("--rootless");
    }
    answer(unpack.arg(&bundle));
    if is_root() {
        let mut wanted = tree::read(&project.at("build/web.dir"));
        let mut got = tree::read(&bundle.join("rootfs"));
        // The root itself is umoci's own.
        assert!(wanted.remove(".").is_some() && got.remove(".").is_some());
        tree::same(&wanted, &got, "umoci");
    }
    let Some(runc) = tool("runc", "runc") else { return };
    assert_eq!(String::from_utf8(run_container(&runc, &bundle)).unwrap(), "it runs\n");
}

/// Runs the bundle as umoci configured it, but without a terminal; gives what it said.
fn run_container(runc: &Path, bundle: &Path) -> Vec<u8> {
    let config = bundle.join("config.json");
    let text = fs::read_to_string(&config).unwrap().replace("\"terminal\": true", "\"terminal\": false");
    fs::write(config, text).unwrap();
    let state = bundle.join("state");
    let name = format!("imgbuild-test-{}", std::process::id());
    answer(Command::new(runc).arg("--root").arg(state).args(["run", "--bundle"]).arg(bundle).arg(name))
}

#[test]
fn a_container_image_is_taken_by_skopeo_in_each_of_its_formats() {
    let Some(program) = tool("skopeo", "skopeo") else { return };
    let outputs = format!(
        "output \"oci\" tag=\"registry.example/web:1.0\" {RUN}; output \"oci\" compression=\"zstd\" \
         path=\"build/zstd.tar\"; output \"oci\" format=\"docker\" tag=\"web:1.0\" {RUN}; output \"oci\" \
         layers=\"squash\" path=\"build/squashed.tar\""
    );
    let Some(project) = container(&outputs) else { return };
    project.build();
    let at = |name: &str| project.at(format!("build/{name}")).display().to_string();
    let inspected =
        answer(Command::new(&program).arg("inspect").arg(format!("oci-archive:{}", at("web.oci.tar"))));
    let inspected: serde_json::Value = serde_json::from_slice(&inspected).unwrap();
    assert_eq!(inspected["Env"], serde_json::json!(["PLACE=here"]));
    assert_eq!(inspected["Created"], "2025-01-01T00:00:00Z");
    assert_eq!(inspected["Layers"].as_array().unwrap().len(), 2);
    let to = |name: &str| project.beside("copies").join(name).display().to_string();
    skopeo(&program, &format!("oci-archive:{}", at("web.oci.tar")), &format!("dir:{}", to("dir")));
    skopeo(&program, &format!("oci-archive:{}", at("zstd.tar")), &format!("dir:{}", to("zstd")));
    skopeo(&program, &format!("oci-archive:{}", at("squashed.tar")), &format!("dir:{}", to("squashed")));
    let docker = format!("docker-archive:{}:web:1.0", at("web.docker.tar"));
    skopeo(
        &program,
        &format!("oci-archive:{}", at("web.oci.tar")),
        &format!("docker-archive:{}", to("docker.tar")),
    );
    skopeo(&program, &docker, &format!("oci:{}:web", to("layout")));
    // The configuration is the same image, whatever carries it.
    let config =
        |from: String| answer(Command::new(&program).args(["inspect", "--config", "--raw"]).arg(from));
    assert_eq!(config(docker), config(format!("oci-archive:{}", at("web.oci.tar"))));
}

#[test]
fn every_output_is_the_same_bytes_twice_and_in_another_folder() {
    let outputs = "    output \"tar\"\n    output \"tar\" compression=\"gzip\"\n    output \"tar\" compression=\"xz\"\n    \
                   output \"tar\" compression=\"zstd\"\n    output \"cpio\" compression=\"zstd\"\n    output \"iso\"\n    \
                   output \"oci\"\n    output \"oci\" format=\"docker\"\n";
    let (here, _) = project(outputs);
    let (there, _) = project(outputs);
    here.build();
    there.build();
    let first = files(&here.at("build"));
    assert_eq!(first.len(), 8);
    assert!(first == files(&there.at("build")), "another folder and another cache change nothing");
    fs::remove_dir_all(here.at("build")).unwrap();
    fs::remove_dir_all(here.beside("cache")).unwrap();
    here.build();
    assert!(first == files(&here.at("build")), "nor does another run");
    let again = here.run(["plan", "--exit-code"]);
    assert_eq!(again.code, Some(0), "and then there is nothing to do: {}", again.out);
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| (path.file_name().unwrap().into(), fs::read(path).unwrap());
    files.into_iter().map(read).collect()
}
