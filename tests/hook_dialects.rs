//! Hooks of other tools through the program: folders as ganeti's instance-debootstrap runs them, and elements of
//! diskimage-builder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod based;
mod project;

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::time::SystemTime;

use based::{debian, project, rootless, says};
use insta::assert_snapshot;
use project::{Project, is_root};

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

fn short(project: &Project, arguments: &[&str]) -> String {
    let ended = project.run(&[arguments, &["--message-format", "short"]].concat());
    format!("{}{}exit code {}", ended.out, ended.err, ended.code.unwrap())
}

/// A folder of hooks of ganeti's kind, and an image that uses it.
fn parts(list: &str) -> Option<Project> {
    let project = project(&format!(
        "hook-list \"parts\" from=\"os/hooks\" dialect=\"run-parts\" {list}\nimage \"box\" version=\"7\" {{\n    base \"tar\" \
         from=\"base.tar\"\n    hooks \"parts\"\n    hypervisor \"kvm\" {{\n        output \"tar\"\n    }}\n}}\n"
    ))?;
    project.script(
        "os/hooks/10-first",
        "cat \"$(dirname \"$0\")/helper\" > $TARGET/first; pwd >> $TARGET/first",
    );
    project.script("os/hooks/20-second", "echo second >> $TARGET/second");
    project.write("os/hooks/helper", "help\n");
    project.write("os/hooks/README", "what it is\n");
    Some(project)
}

#[test]
fn a_folder_of_ganetis_runs_on_the_hosts_side() {
    let Some(mut project) = parts("") else { return };
    project.script(
        "os/hooks/30-environment",
        "env | sort | grep -v -e ^_= -e ^PWD= -e ^OLDPWD= -e ^SHLVL= > $TARGET/environment\nls $TARGET > $TARGET/listed\n\
         . ./common.sh\nlog_error told >&2\ncleanup\nchroot $TARGET /bin/busybox echo inside > $TARGET/chrooted",
    );
    project.build();
    let cat = |project: &Project, path: &str| project.run(&["cat", "box:kvm", path]).out;
    assert_eq!(cat(&project, "/first"), "help\n/run/imgbuild/os\n");
    assert_eq!(cat(&project, "/chrooted"), "inside\n");
    assert!(cat(&project, "/listed").contains("bin\n"));
    assert_snapshot!(cat(&project, "/environment"), @r#"
    ARCH=amd64
    BLOCKDEV=
    DEBIAN_FRONTEND=noninteractive
    DEBUG_LEVEL=0
    DISK_COUNT=0
    EXTRA_DATA=/run/imgbuild/extra-data
    EXTRA_PKGS=
    FSYSDEV=
    HOME=/root
    HYPERVISOR=
    IMGBUILD_ARCH=amd64
    IMGBUILD_IMAGE=box
    IMGBUILD_PHASE=post-install
    IMGBUILD_VERSION=7
    INSTANCE_NAME=box
    INSTANCE_OS=imgbuild
    INSTANCE_REINSTALL=0
    LANG=C.UTF-8
    LOGNAME=root
    NIC_COUNT=0
    OS_API_VERSION=20
    OS_NAME=imgbuild
    OS_VARIANT=
    PARTITION_STYLE=none
    PATH=/run/imgbuild/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    SHELL=/bin/sh
    SOURCE_DATE_EPOCH=1735689600
    SUITE=
    TARGET=/imgbuild/target
    TMPDIR=/tmp
    TZ=UTC
    USER=root
    "#);
    if is_root() {
        let outputs = project.outputs();
        let mut plain = project.copy("plain");
        rootless(&mut plain);
        plain.build();
        assert_eq!(project::difference(&outputs, &plain.outputs()), "");
    }
    // The folder that it starts in, as an OS definition has it.
    project.write("os/common.sh", "echo mine\n");
    project.write("os/variants.list", "bookworm\n");
    let text = fs::read_to_string(project.path("image.kdl")).unwrap();
    project.write("image.kdl", text.replace("run-parts\"", "run-parts\" directory=\"os\""));
    project.script(
        "os/hooks/30-environment",
        ". ./common.sh > $TARGET/sourced; cat variants.list >> $TARGET/sourced",
    );
    project.build();
    assert_eq!(cat(&project, "/sourced"), "mine\nbookworm\n");
    project.environment.insert("EXTRA_PKGS".into(), "the-callers".into());
    assert!(project.build().ran.is_empty());
}

#[test]
fn what_stands_beside_a_script_counts_and_other_scripts_do_not() {
    let Some(project) = parts("") else { return };
    let (first, second, output) =
        ("hook:parts/10-first@box", "hook:parts/20-second@box", "output:tar@box:kvm");
    assert!(project.build().ran.is_superset(&set(&[first, second, output])));
    project.script(
        "os/hooks/10-first",
        "# again\ncat \"$(dirname \"$0\")/helper\" > $TARGET/first; pwd >> $TARGET/first",
    );
    assert_eq!(project.build().ran, set(&[first]), "a script");
    project.write("os/hooks/helper", "aid\n");
    assert_eq!(project.build().ran, set(&[first, second, output]), "a helper");
    project.mode("os/hooks/README", 0o600);
    project.mode("os/hooks/20-second", 0o700);
    let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
    File::open(project.path("os/hooks/helper")).unwrap().set_times(times).unwrap();
    assert!(project.build().ran.is_empty(), "who may read it");
    project.script("os/hooks/15-new", "true");
    // The others have no other helpers than before.
    assert_eq!(project.build().ran, set(&["hook:parts/15-new@box", output]), "one more");
    fs::rename(project.path("os/hooks/15-new"), project.path("os/hooks/25-new")).unwrap();
    assert_eq!(project.build().ran, set(&["hook:parts/25-new@box", output]), "another name");
}

#[test]
fn what_would_be_passed_over_in_silence_is_told() {
    let Some(project) = parts("") else { return };
    project.script("os/hooks/30.sh", "exit 9");
    project.script("os/hooks/40~", "exit 9");
    project.write("os/hooks/50-forgotten", "#!/bin/sh\nexit 9\n");
    project.write("os/hooks/data.txt", "no script\n");
    project.link("os/hooks/60-dangling", "nowhere");
    fs::create_dir(project.path("os/hooks/70-folder")).unwrap();
    assert_snapshot!(short(&project, &["check"]), @r#"
    image.kdl:1:24: warning: `os/hooks/30.sh` does not run: its name does not count [hooks/skipped]
      help: rename it to `30`; names of scripts are of ASCII letters, digits, `_` and `-`
    image.kdl:1:24: warning: `os/hooks/50-forgotten` does not run: it is not executable [hooks/skipped]
      help: `chmod +x os/hooks/50-forgotten`
    image.kdl:1:24: warning: `os/hooks/60-dangling` does not run: it is a link to nothing [hooks/skipped]
      help: mend the link or remove it
    exit code 0
    "#);
    project.build();
}

#[test]
fn the_first_that_fails_ends_a_folder_or_the_others_go_on() {
    let Some(project) = parts("") else { return };
    project.script("os/hooks/12-fails", "echo fails; exit 3");
    project.script("os/hooks/15-killed", "echo killed; kill -9 $$");
    let log = |name: &str| {
        let projects = fs::read_dir(project.cache.join("1/projects")).unwrap();
        projects
            .flat_map(|one| fs::read_dir(one.unwrap().path().join("logs")).unwrap())
            .any(|log| log.unwrap().file_name().to_str().unwrap().starts_with(name))
    };
    let ended = project.run(&["build"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_snapshot!(says(&project, &ended), @r#"
    error: the hook `parts/12-fails` failed: its script ended with 3 [hook/failed]
       ╭─[image.kdl:1:24]
     1 │ hook-list "parts" from="os/hooks" dialect="run-parts"
       ·                        ─────┬────
       ·                             ╰── this hook
     2 │ image "box" version="7" {
       ╰────
    last lines:
        fails
    help: the whole output is in
          `LOG`;
          `imgbuild shell --failed` opens a shell where it failed
    1 step of 6 failed, 2 ran, 3 not begun; the next build goes on at step 3
    "#);
    assert!(log("hook_parts_12-fails") && !log("hook_parts_15-killed") && !log("hook_parts_20-second"));

    let Some(project) = parts("on-failure=\"go-on\"") else { return };
    project.script("os/hooks/12-fails", "echo fails; exit 3");
    project.script("os/hooks/15-killed", "echo killed; kill -9 $$");
    let ended = project.run(&["build"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_snapshot!(says(&project, &ended), @r#"
    error: 2 hooks of `parts` failed [hook/failed]
       ╭─[image.kdl:1:24]
     1 │ hook-list "parts" from="os/hooks" dialect="run-parts" on-failure="…
       ·                        ─────┬────┬┬
       ·                             │    │╰── this hook
       ·                             │    ╰── `12-fails`: its script ended with 3
       ·                             ╰── `15-killed`: its script was ended by signal 9
     2 │ image "box" version="7" {
       ╰────
    last lines:
        fails
        killed
    help: the whole output is in
          `LOG`;
          `imgbuild shell --failed` opens a shell where it failed
    1 step of 3 failed, 1 ran, 1 not begun; the next build goes on at step 2
    "#);
    // The others ran: the state has what they did, and the shell starts where they do.
    let shell = project.run(&[
        "shell",
        "--failed",
        "--",
        "sh",
        "-c",
        "cat $TARGET/second; pwd; ls common.sh; cat ../hooks/*/helper",
    ]);
    assert_eq!(shell.out, "second\n/run/imgbuild/os\ncommon.sh\nhelp\n", "{shell:?}");
    assert!(shell.err.contains("/12-fails\n"), "the one that failed: {shell:?}");
    for name in ["12-fails", "15-killed"] {
        project.script(&format!("os/hooks/{name}"), "echo fine >> $TARGET/fine");
    }
    project.build();
    assert_eq!(project.run(&["cat", "box:kvm", "/fine"]).out, "fine\nfine\n");
    project.script("os/hooks/12-fails", "# the same\necho fine >> $TARGET/fine");
    assert_eq!(project.build().ran, set(&["hook:parts@box"]), "they are one step");
}

/// Two elements, of which the first needs the second.
fn elements(manifest: &str) -> Option<Project> {
    let project = debian(manifest)?;
    let own = |name: &str, body: &str| {
        project.write(&format!("flavours/{name}"), format!("#!/bin/bash\nset -eu\n{body}\n"));
        project.mode(&format!("flavours/{name}"), 0o755);
    };
    project.write("flavours/first/element-deps", "second\n");
    project.write("flavours/first/README.rst", "The first.\n");
    project.write(
        "flavours/first/pkg-map",
        "{\"family\": {\"debian\": {\"editor\": \"nano\"}, \"redhat\": {\"editor\": \"vi\"}}}\n",
    );
    project.write("flavours/first/package-installs.yaml", "editor:\ned:\n  build-only: True\n");
    project.write("flavours/first/svc-map", "editing:\n  default: editord\n  debian: nanod\n");
    project.write("flavours/first/environment.d/20-own.bash", "export FROM_FIRST=first-${FROM_SECOND}\n");
    project.write("flavours/first/install.d/helper", "beside\n");
    project.write("flavours/first/static/etc/of-first", "static\n");
    project.write("flavours/first/init-scripts/systemd/first.service", "[Service]\nExecStart=/bin/true\n");
    project.write("flavours/first/init-scripts/upstart/first.conf", "start\n");
    own(
        "first/extra-data.d/10-data",
        "cp $TMP_HOOKS_PATH/install.d/helper $TMP_HOOKS_PATH/copied; echo $PWD > $TMP_HOOKS_PATH/where",
    );
    own("first/pre-install.d/10-pre", "test ! -e /bin/nano; test -e /etc/of-first; echo pre >> /order");
    own("first/install.d/100-last", "echo last >> /order");
    own("first/install.d/20-middle", "echo middle $FROM_FIRST $SETTING >> /order");
    own("second/install.d/5-first", "echo first of $IMAGE_ELEMENT >> /order; test -z \"${DIB_ROOT_ONLY:-}\"");
    project.write("flavours/second/environment.d/10-own", "export FROM_SECOND=second\n");
    own(
        "second/install.d/30-tools",
        "cd $(dirname $0)\ncat helper > /tools\ncat ../copied >> /tools\n\
         install-packages -m first editor\npkg-map --element first editor >> /tools\nsvc-map editing >> /tools\n\
         sudo -u root FOO=bar /bin/sh -c 'echo sudo $FOO' >> /tools\n\
         if (echo x > $TMP_HOOKS_PATH/written) 2>/dev/null; then echo written; fi\n\
         echo $TMP_HOOKS_PATH $DISTRO_NAME $DIB_RELEASE $ARCH >> /tools\n\
         eval declare -A elements=($(get_image_element_array))\necho ${elements[second]} >> /tools\n\
         command -v ed > /dev/null",
    );
    own("second/finalise.d/10-end", "echo end >> /order; ! command -v ed");
    own("second/cleanup.d/10-outside", "echo cleanup $(ls $TMP_MOUNT_PATH/order) >> $TARGET_ROOT/order");
    Some(project)
}

const ELEMENTS: &str = "image \"box\" {\n    base \"debian\" suite=\"bookworm\"\n    flavours \"first\" SETTING=\"set\"\n    \
                        output \"tar\"\n}\n";

#[test]
fn elements_run_as_diskimage_builder_runs_them() {
    let Some(project) = elements(ELEMENTS) else { return };
    project.build();
    let cat = |path: &str| project.run(&["cat", "box", path]).out;
    assert_eq!(
        cat("/order"),
        "pre\nfirst of second first\nmiddle first-second set\nlast\nend\ncleanup /imgbuild/target/order\n"
    );
    assert_eq!(
        cat("/tools"),
        "beside\nbeside\nnano\nnanod\nsudo bar\n/tmp/in_target.d debian bookworm amd64\n/tmp/in_target.d\n"
    );
    assert_eq!(cat("/etc/of-first"), "static\n");
    assert!(cat("/usr/lib/systemd/system/first.service").contains("ExecStart=/bin/true"));
    let listed = project.run(&["ls", "box"]).out;
    assert!(
        !listed.contains("in_target.d") && !listed.contains("/copied") && !listed.contains("run/imgbuild"),
        "{listed}"
    );
    assert!(listed.contains("bin/nano ") && !listed.contains(" bin/ed "), "{listed}");
    assert!(project.build().ran.is_empty());

    // That which removes packages is imgbuild's own.
    let is_own = |id: &String| id.starts_with("hook:") && id != "hook:packages/99-build-only@box";
    let hooks: BTreeSet<String> = project.plan().into_keys().filter(is_own).collect();
    let hooks_of = |project: &Project, what: &str| {
        let ran = project.build().ran;
        let again = project.build().ran;
        assert!(again.is_empty(), "{what}: {again:?}");
        ran.into_iter().filter(|id| id.starts_with("hook:")).collect::<BTreeSet<String>>()
    };
    let edit = |name: &str, from: &str, to: &str| {
        let path = project.path(&format!("flavours/{name}"));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{name}");
        fs::write(path, text.replace(from, to)).unwrap();
    };
    // The cache remembers what earlier runs of this test have made.
    let run = based::unique();
    // One script, and those behind it only as far as its layer is another one.
    edit("first/install.d/20-middle", "set -eu", &format!("# {run}\nset -eu"));
    assert_eq!(hooks_of(&project, "a script"), set(&["hook:first/install.d/20-middle@box"]));
    for (name, from, to) in [("first/README.rst", "first", "second"), ("first/pkg-map", "\"vi\"", "\"vim\"")]
    {
        edit(name, from, to);
        assert_eq!(hooks_of(&project, name), set(&[]), "{name}");
    }
    project.write("flavours/first/tests/x", "x");
    assert_eq!(hooks_of(&project, "tests"), set(&[]));
    edit("first/environment.d/20-own.bash", "export", &format!("export OTHER={run}; export"));
    assert_eq!(hooks_of(&project, "environment.d"), hooks, "every script reads it");
    edit(
        "first/pkg-map",
        "\"editor\": \"nano\"",
        "\"editor\": \"nano\", \"more\": \"less-RUN\"".replace("RUN", &run).as_str(),
    );
    assert!(hooks_of(&project, "pkg-map").contains("hook:second/install.d/30-tools@box"));
    edit("first/extra-data.d/10-data", "echo $PWD", &format!("echo {run} $PWD"));
    assert!(
        hooks_of(&project, "extra-data.d").is_superset(&set(&[
            "hook:first/extra-data.d/10-data@box",
            "hook:second/install.d/30-tools@box"
        ]))
    );
}

#[test]
fn elements_reach_the_network_where_it_is_said() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    std::thread::spawn(move || {
        server.incoming().for_each(|client| drop(client.unwrap().write_all(b"online\n")))
    });
    let Some(project) = debian(
        "image \"box\" {\n    base \"debian\" suite=\"bookworm\"\n    flavours \"first\"\n    flavours \"third\"\n    \
         output \"tar\"\n}\n",
    ) else {
        return;
    };
    let body = format!(
        "#!/bin/bash\n(exec 3</dev/tcp/127.0.0.1/{port} && cat <&3) 2>/dev/null || echo offline=$DIB_OFFLINE\n"
    );
    for (name, phase) in
        [("first", "install.d"), ("second", "extra-data.d"), ("second", "finalise.d"), ("third", "install.d")]
    {
        let to = if phase == "extra-data.d" { "$TMP_HOOKS_PATH/data" } else { "/of-$(basename $0)" };
        let script = format!("flavours/{name}/{phase}/10-{name}");
        project.write(&script, body.replace("\n(", &format!("\nexec > {to}\n(")));
        project.mode(&script, 0o755);
    }
    project.write("flavours/first/element-deps", "second\n");
    project.script("flavours/first/post-install.d/10-data", "cat $TMP_HOOKS_PATH/data > /data");
    project.build();
    let told = || {
        ["of-10-first", "of-10-second", "data", "of-10-third"]
            .map(|path| project.run(&["cat", "box", path]).out)
    };
    assert_eq!(told(), ["offline=1\n"; 4]);
    let manifest = fs::read_to_string(project.path("image.kdl")).unwrap();
    project.write("image.kdl", manifest.replace("\"first\"", "\"first\" network=#true"));
    let why = project.run(&["why", "hook:second/finalise.d/10-second@box"]).out;
    assert!(why.contains("network") && why.contains("DIB_OFFLINE"), "{why}");
    project.build();
    // What `first` needs is online as well; the others stay as they are.
    assert_eq!(told(), ["online\n", "online\n", "online\n", "offline=1\n"]);
    assert!(project.build().ran.is_empty());
    project.write(
        "flavours/second/source-repository-tool",
        "# what for\ntool git /tmp/tool https://example.org/tool\n",
    );
    assert_snapshot!(short(&project, &["check"]), @r#"
    flavours/second/source-repository-tool:2:1: warning: `tool` of the flavour `second` is not fetched [flavour/left]
      help: fetch it in a hook of phase `extra-data` with `network=#true`, or put it into an overlay
    exit code 0
    "#);
}

#[test]
fn what_an_element_lacks_is_told() {
    let Some(project) = elements(ELEMENTS) else { return };
    project.write("flavours/second/install.d/40-forgotten", "#!/bin/bash\n");
    project.write("flavours/second/install.d/50-odd.sh~", "#!/bin/bash\n");
    project.mode("flavours/second/install.d/50-odd.sh~", 0o755);
    project.script("flavours/second/root.d/10-base", "true");
    project.script("flavours/first/install.d/5-first", "true");
    project.write("flavours/second/element-deps", "thrid\n");
    fs::create_dir_all(project.path("flavours/third/install.d")).unwrap();
    project.script("flavours/third/install.d/1-x", "true");
    assert_snapshot!(short(&project, &["check"]), @r#"
    flavours/second/element-deps:1:1: error: there is no element `thrid` [hooks/element]
      help: did you mean `third`?
    exit code 2
    "#);
    project.write("flavours/second/element-deps", "third\n");
    assert_snapshot!(short(&project, &["check"]), @r#"
    image.kdl:3:5: warning: `flavours/second/install.d/40-forgotten` does not run: it is not executable [hooks/skipped]
      help: `chmod +x flavours/second/install.d/40-forgotten`
    image.kdl:3:5: warning: `root.d` of the flavour `second` is not run: the base is what the manifest says [flavour/left]
      help: name a `base` in the manifest
    image.kdl:3:5: warning: `flavours/first/install.d/5-first` runs in place of `flavours/second/install.d/5-first`, which has the same name [flavour/hidden]
      help: rename one of them
    exit code 0
    "#);
    project.write("flavours/third/element-provides", "first\n");
    assert_snapshot!(short(&project, &["check"]), @r#"
    image.kdl:3:14: error: `third` takes the place of `first` [hooks/element]
      help: take one of them out, or what needs it
    exit code 2
    "#);
}

#[test]
fn a_script_of_an_element_that_fails_is_told() {
    let Some(project) = elements(ELEMENTS) else { return };
    project.write(
        "flavours/second/install.d/30-tools",
        "#!/bin/bash\nset -eu\necho begun\ninstall-packages cowsay\necho behind\n",
    );
    let ended = project.run(&["build"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let told = says(&project, &ended);
    let (from, to) = (told.find("error:").unwrap(), told.find("help:").unwrap());
    assert_snapshot!(&told[from..to], @r#"
    error: the hook `second/install.d/30-tools` failed: its script ended with 1
           [hook/failed]
       ╭─[image.kdl:3:5]
     2 │     base "debian" suite="bookworm"
     3 │     flavours "first" SETTING="set"
       ·     ───────────────┬──────────────
       ·                    ╰── this hook
     4 │     output "tar"
       ╰────
    last lines:
        begun
        install-packages: not in the image: cowsay
        install-packages: name them in the manifest: packages { cowsay }
    "#);
    let script = "ls $TMP_HOOKS_PATH/install.d $TMP_HOOKS_PATH/copied; cat /order; (echo x > $TMP_HOOKS_PATH/x) 2>/dev/null || echo sealed; command -v install-packages";
    let shell = project.run(&["shell", "--failed", "--", "sh", "-c", script]);
    assert_eq!(
        shell.out,
        "/tmp/in_target.d/copied\n\n/tmp/in_target.d/install.d:\n30-tools\nhelper\npre\nfirst of second first\nmiddle \
         first-second set\nsealed\n/run/imgbuild/bin/install-packages\n",
        "{shell:?}"
    );
    let before = project.run(&[
        "shell",
        "hook:first/extra-data.d/10-data@box",
        "--before",
        "--",
        "sh",
        "-c",
        "ls $TMP_HOOKS_PATH",
    ]);
    assert!(before.out.contains("install.d\n") && before.out.contains("environment.d\n"), "{before:?}");
    assert!(!Path::new("/tmp/in_target.d").exists());
}
