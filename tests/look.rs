//! Looking inside: `ls`, `cat`, `diff`, `overlay`.

mod space;

use insta::assert_snapshot;
use space::Space;

const MANIFEST: &str = r#"
overlay "spare" owner="www-data"
image "server" {
    overlays "base" "site"
    files {
        remove "/etc/old"
    }
    output "tar" compression="gzip"
    hypervisor "qemu" {
        output "cpio"
    }
}
"#;

fn server() -> Space {
    let space = Space::new(MANIFEST);
    space.write("overlays/base/etc/motd", "hello\n").write("overlays/base/etc/old", "old\n");
    space.link("overlays/base/etc/issue", "/etc/motd").script("overlays/base/bin/x", "#!/bin/sh\n");
    space.write("overlays/site/etc/motd", "site\n");
    space.write("overlays/spare/s", "s\n").write("overlays/loose/l", "l\n");
    space
}

#[test]
fn ls_says_what_there_is_and_where_each_path_comes_from() {
    let space = server();
    assert_snapshot!(space.run("ls"), @"
    server
      overlay:base
      overlay:site
      files:1@server
      → build/server.tar.gz
    server:qemu
      overlay:base
      overlay:site
      files:1@server
      → build/server-qemu.cpio
    ");
    assert_snapshot!(space.run("ls qemu"), @"
    drwxr-xr-x  0:0   0  /                       overlay:base
    drwxr-xr-x  0:0   0  bin                     overlay:base
    -rwxr-xr-x  0:0  10  bin/x                   overlay:base
    drwxr-xr-x  0:0   0  etc                     overlay:base
    lrwxrwxrwx  0:0   0  etc/issue -> /etc/motd  overlay:base
    -rw-r--r--  0:0   5  etc/motd                overlay:site (hides overlay:base)
    ");
    assert!(!space.has("build"), "only layers are built for it");
    assert_snapshot!(space.run("ls files:1@server"), @"w---------  0:0  0  etc/old (removed below)");
    assert_snapshot!(space.run("ls server etc/motd --json"), @r#"{"path":"etc/motd","kind":"file","mode":"0644","owner":"0:0","mtime":1735689600,"size":5,"digest":"ba1759da69db12eb17bd9914d1f27d9674eae0e2c47ea5fadef5bdf07de02d53","target":null,"device":null,"step":"overlay:site","hides":["overlay:base"]}"#);
}

#[test]
fn a_name_is_a_target_an_overlay_a_step_or_a_path() {
    let space = server();
    space.ok("build server:qemu server");
    std::fs::copy(space.path("build/server.tar.gz"), space.path("copy")).expect("a copy");
    assert_snapshot!(space.run("ls copy etc"), @"
    drwxr-xr-x  0:0  0  etc
    lrwxrwxrwx  0:0  0  etc/issue -> /etc/motd
    -rw-r--r--  0:0  5  etc/motd
    ");
    // Not declared, but on the search path; declared, but not used.
    assert_snapshot!(space.run("ls loose"), @"-rw-r--r--  0:0  2  l");
    assert_snapshot!(space.run("ls spare"), @"-rw-r--r--  www-data:www-data  2  s");
    assert_snapshot!(space.run("ls ./overlays/spare").out.split_whitespace().last().unwrap_or_default(), @"s");
    assert_snapshot!(space.run("ls sever"), @"
    --- standard error
    error: `sever` is no target, overlay, step, tar file, disk or folder
           [look/unknown]
    help: did you mean `server`?
    --- exit code 2
    ");
    assert_snapshot!(space.run("ls image.kdl --message-format short"), @"
    --- standard error
    imgbuild: error: cannot read `[project]/image.kdl`: it is not a tar [tar/refused]
      help: this command reads tar files, disks and folders; an output of another kind is looked at by its target's name
    --- exit code 1
    ");
    std::fs::remove_file(space.path("image.kdl")).expect("removed");
    assert_eq!(space.run("ls copy etc/motd").code, 0, "a tar needs no manifest");
}

#[test]
fn the_path_of_an_output_is_the_file_that_is_there() {
    let space = server();
    for asked in ["ls", "cat", "extract kernel"] {
        let line = format!("{asked} build/server-qemu.cpio {}", if asked == "cat" { "etc/motd" } else { "" });
        let answer = space.run(&line);
        assert!(
            answer.code == 2 && answer.err.contains("`build/server-qemu.cpio` is not built yet"),
            "{answer}"
        );
    }
    assert_snapshot!(space.run("diff build/server.tar.gz server"), @"
    --- standard error
    error: `build/server.tar.gz` is not built yet [look/unbuilt]
    help: `imgbuild build server` builds it; what it will hold is seen by the name
          `server`
    --- exit code 2
    ");
    space.ok("build");
    assert_snapshot!(space.run("diff build/server.tar.gz server"), @"");
    space.write("overlays/site/etc/motd", "changed\n");
    assert_eq!(space.ok("cat build/server.tar.gz etc/motd"), "site\n", "as it was built");
    assert_eq!(space.ok("cat server etc/motd"), "changed\n");
    assert_eq!(space.ok("cat output:tar.gz@server etc/motd"), "changed\n", "a step is the manifest's");
    std::fs::write(space.path("build/server.tar.gz"), "altered").expect("written");
    assert_snapshot!(space.run("ls build/server.tar.gz --message-format short"), @"
    --- standard error
    imgbuild: error: cannot read `[project]/build/server.tar.gz`: it is not a tar [tar/refused]
      help: this command reads tar files, disks and folders; an output of another kind is looked at by its target's name
    --- exit code 1
    ");
}

#[test]
fn a_kernel_is_written_where_it_can_be_or_not_at_all() {
    let space = server();
    space.write("overlays/site/boot/vmlinuz-1", "kernel");
    assert_snapshot!(space.run("extract kernel server -o new/folder"), @"new/folder/server-vmlinuz");
    space.write("taken", "").write("held/server-vmlinuz/in", "");
    assert_snapshot!(space.run("extract kernel server -o taken --message-format short"), @"
    --- standard error
    imgbuild: error: cannot make `[project]/taken`: file exists [io/failed]
      help: name a folder that can be written to: `-o DIR`
    --- exit code 1
    ");
    assert_snapshot!(space.run("extract kernel server -o held --message-format short"), @"
    --- standard error
    imgbuild: error: cannot write `[project]/held/server-vmlinuz`: is a directory [io/failed]
      help: name a folder that can be written to: `-o DIR`
    --- exit code 1
    ");
    assert_snapshot!(space.run("extract kernel server -o /proc/nowhere --message-format short"), @"
    --- standard error
    imgbuild: error: cannot make `/proc/nowhere`: no such file or directory [io/failed]
      help: name a folder that can be written to: `-o DIR`
    --- exit code 1
    ");
    assert_snapshot!(space.run("extract kernel base"), @"
    --- standard error
    error: there is no kernel in `base` [extract/kernel]
    help: nothing is at `/boot/vmlinuz-*`
    --- exit code 2
    ");
}

#[test]
fn one_half_of_several_targets_names_none() {
    let space = Space::new(
        "image \"a\" {\n    hypervisor \"q\" {\n        output \"tar\"\n    }\n}\n\
         image \"b\" {\n    hypervisor \"q\" {\n        output \"tar\"\n    }\n}\n",
    );
    assert_snapshot!(space.run("ls q"), @"
    --- standard error
    error: `q` is 2 targets [target/ambiguous]
    help: say which: `a:q` or `b:q`
    --- exit code 2
    ");
    assert_eq!(space.run("ls b").code, 0);
}

#[test]
fn cat_follows_links_and_stays_inside() {
    let space = server();
    space.link("overlays/site/etc/out", "../../../../../../etc/hostname");
    assert_eq!(space.ok("cat server /etc/issue"), "site\n");
    assert_eq!(space.ok("cat base etc/issue"), "hello\n");
    space.ok("build");
    std::fs::copy(space.path("build/server.tar.gz"), space.path("copy")).expect("a copy");
    assert_eq!(space.ok("cat copy etc/issue"), "site\n", "a compressed tar");
    assert_eq!(space.ok("cat ./overlays base/etc/motd"), "hello\n");
    assert_snapshot!(space.run("cat server etc/out"), @"
    --- standard error
    error: `etc/out` in `server` leads to `../../../../../../etc/hostname`, which is
           no file in it [look/link]
    --- exit code 2
    ");
    assert_snapshot!(space.run("cat server etc"), @"
    --- standard error
    error: `etc` in `server` is a directory [look/directory]
    help: see what is in it with `imgbuild ls server etc`
    --- exit code 2
    ");
    assert_snapshot!(space.run("cat server etc/motdd"), @"
    --- standard error
    error: `server` has no `etc/motdd` [look/missing]
    help: did you mean `etc/motd`?
    --- exit code 2
    ");
    assert_eq!(space.run("cat server ../etc/passwd").code, 2);
}

#[test]
fn diff_tells_path_by_path_and_by_its_exit_code() {
    let space = server();
    assert_snapshot!(space.run("diff base site"), @"
    - bin
    - bin/x
    - etc/issue
    ~ etc/motd (size 6 → 5)
    - etc/old
    --- exit code 1
    ");
    space.ok("build");
    std::fs::copy(space.path("build/server.tar.gz"), space.path("copy")).expect("a copy");
    assert_snapshot!(space.run("diff copy server"), @"");
    space.script("overlays/site/etc/motd", "echo\n");
    assert_snapshot!(space.run("diff copy server"), @"
    ~ etc/motd (content, mode 0644 → 0755)
    --- exit code 1
    ");
    assert_snapshot!(space.run("diff copy server --json"), @r#"
    {"path":"etc/motd","change":"changed","what":["content","mode 0644 → 0755"]}
    --- exit code 1
    "#);
}

#[test]
fn devices_are_told_apart_by_their_numbers() {
    let space = server();
    let tar = |name: &str, minor: u32, first: &str| {
        let mut tar = tar::Builder::new(std::fs::File::create(space.path(name)).expect("a file"));
        let mut add = |path: &str, kind: tar::EntryType, link: Option<&str>| {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(kind);
            header.set_mode(0o600);
            header.set_size(0);
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            header.set_device_major(1).expect("a field");
            header.set_device_minor(minor).expect("a field");
            link.map_or(Ok(()), |link| header.set_link_name(link)).expect("a link");
            tar.append_data(&mut header, path, std::io::empty()).expect("written");
        };
        add("a", tar::EntryType::Regular, None);
        add("b", tar::EntryType::Regular, None);
        add("name", tar::EntryType::Link, Some(first));
        add("null", tar::EntryType::Char, None);
        tar.finish().expect("written");
    };
    tar("old.tar", 3, "a");
    tar("new.tar", 5, "b");
    assert_snapshot!(space.run("ls old.tar null --json"), @r#"{"path":"null","kind":"character","mode":"0600","owner":"0:0","mtime":0,"size":0,"digest":null,"target":null,"device":{"major":1,"minor":3},"step":null,"hides":[]}"#);
    assert_snapshot!(space.run("diff old.tar new.tar"), @"
    ~ name (target a → b)
    ~ null (device 1:3 → 1:5)
    --- exit code 1
    ");
}

#[test]
fn an_overlay_is_written_out_as_a_tar() {
    let space = server();
    assert_snapshot!(space.run("overlay site"), @"
    drwxr-xr-x  0:0  0  etc
    -rw-r--r--  0:0  5  etc/motd
    ");
    let names = |bytes: &[u8]| -> Vec<String> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().expect("a tar").flatten();
        entries.map(|entry| entry.path().expect("a path").display().to_string()).collect()
    };
    assert_eq!(names(&space.ok_bytes("overlay site --tar -")), ["etc/", "etc/motd"]);
    space.ok("overlay loose --tar x.tar");
    assert_eq!(names(&space.bytes("x.tar")), ["l"]);
    assert_snapshot!(space.run("overlay bas"), @"
    --- standard error
    error: no overlay is called `bas` [overlay/unknown]
    help: did you mean `base`?
    --- exit code 2
    ");
}

#[test]
fn a_layer_that_cannot_be_built_is_told_as_in_a_build() {
    let space = Space::new("image \"a\" {\n    base \"tar\" from=\"bad.tar\"\n    output \"tar\"\n}\n");
    space.write("bad.tar", "x".repeat(2048));
    let answer = space.run("ls a");
    assert_eq!((answer.code, answer.out.as_str()), (1, ""));
    assert!(answer.err.contains("bad.tar") && answer.err.contains("image.kdl:2"), "{answer}");
}

#[test]
fn a_layer_that_is_gone_is_made_again() {
    let space = server();
    let image = space.ok("ls server");
    std::fs::remove_dir_all(space.cache().join("1/layers")).expect("removed");
    assert_eq!(space.ok("ls server"), image);
}

#[test]
fn nobody_reading_is_no_error_and_names_drive_no_terminal() {
    let space = server();
    for number in 0..1500 {
        space.write(&format!("overlays/site/many/{number}"), "");
    }
    assert_snapshot!(space.shell("(imgbuild ls server; echo $? >&2) | head -1"), @"
    drwxr-xr-x  0:0   0  /                       overlay:base
    --- standard error
    0
    ");
    assert_eq!(space.shell("(imgbuild overlay site --tar -; echo $? >&2) | head -c 3").err, "0\n");
    space.write("overlays/spare/\u{1b}[2J", "");
    assert!(!space.ok("ls spare").contains('\u{1b}'));
    assert!(!space.ok("ls spare --json").contains('\u{1b}'));
}

#[test]
fn the_root_of_a_base_is_what_the_folder_was() {
    use std::os::unix::fs::PermissionsExt;
    let space = Space::new("image \"a\" {\n    base \"dir\" from=\"root\"\n    output \"tar\"\n}\n");
    space.write("root/etc/motd", "hi\n");
    let mode = |mode| {
        std::fs::set_permissions(space.path("root"), std::fs::Permissions::from_mode(mode)).expect("a mode")
    };
    mode(0o710);
    space.ok("build");
    assert!(
        space.shell("tar -tvf build/a.tar").out.starts_with("drwx--x--- "),
        "the folder's own mode is the root's"
    );
    mode(0o750);
    assert_eq!(space.run("plan --exit-code").code, 10, "and a part of its key");
}
