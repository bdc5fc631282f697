//! `imgbuild shell`: in the state of a target or a step, and what becomes of what it changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod project;

use imgbuild::sandbox::{Launcher, PATH, resolve_program};
use project::{Project, program};

/// An image that is one static busybox, if this machine can run it.
fn project() -> Option<Project> {
    let busybox = resolve_program("busybox", PATH);
    let lacks = match (&busybox, Launcher::of(program()).images_available()) {
        (None, _) => "this machine lacks busybox (Debian: busybox-static)".to_string(),
        (_, Err(fault)) => fault.to_string(),
        (Some(_), Ok(())) => String::new(),
    };
    if !lacks.is_empty() {
        assert!(project::switch("IMGBUILD_TESTS").as_deref() != Some("all"), "{lacks}");
        eprintln!("skipped: {lacks}");
        return None;
    }
    let project = Project::new();
    project.write("image.kdl", MANIFEST);
    project.write("overlays/upper/etc/motd", "upper\n");
    let bin = project.root.join("overlays/tools/bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::copy(busybox?, bin.join("busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", bin.join("sh")).unwrap();
    Some(project)
}

const MANIFEST: &str = r#"
overlay "tools"
overlay "upper"
image "box" {
    files {
        file "/etc/motd" content="lower\n"
        file "/etc/passwd" content="root:x:0:0::/:/bin/sh\nweb:x:33:33::/:/bin/sh\n"
        file "/srv/of-web" content="x" owner="web:33" mode="0640"
    }
    overlays "tools" "upper"
    output "tar"
}
"#;

#[test]
fn a_shell_has_the_state_of_a_target_or_a_step() {
    let Some(project) = project() else { return };
    let run = |what: &str, script: &str| project.run(&["shell", what, "--", "/bin/sh", "-c", script]);
    let ended =
        run("box", "read motd </etc/motd; echo $motd; busybox stat -c '%u:%g %a' /srv/of-web; busybox id -u");
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "upper\n33:33 640\n0\n"), "{ended:?}");
    let below = run("overlay:tools", "read motd </etc/motd; echo $motd");
    assert_eq!((below.code, below.out.as_str()), (Some(0), "lower\n"), "{below:?}");
    assert_eq!(run("box", "exit 7").code, Some(1));
    assert_eq!(run("box", "busybox ls /proc/1/root /home 2>&1 | busybox grep -c work").out.trim(), "0");
}

#[test]
fn changes_are_thrown_away_or_kept_as_an_overlay() {
    let Some(project) = project() else { return };
    let script = "echo new >/etc/motd; busybox rm /srv/of-web; busybox mkdir -p /var/lib/new; \
                  busybox chown 33:33 /var/lib/new";
    assert_eq!(project.run(&["shell", "box", "--", "/bin/sh", "-c", script]).code, Some(0));
    let motd = || project.run(&["cat", "box", "/etc/motd"]).out;
    assert_eq!(motd(), "upper\n", "thrown away");

    let kept = project.run(&["shell", "box", "--keep", "changes.tar", "--", "/bin/sh", "-c", script]);
    assert_eq!(kept.code, Some(0), "{kept:?}");
    let twice = project.run(&["shell", "box", "--keep", "changes.tar", "--", "/bin/sh", "-c", script]);
    assert_eq!(twice.code, Some(2), "what is there is not overwritten: {twice:?}");
    let manifest = MANIFEST
        .replace("overlays \"tools\" \"upper\"", "overlays \"tools\" \"upper\" \"changes\"")
        .replace("overlay \"tools\"", "overlay \"tools\"\noverlay \"changes\" from=\"changes.tar\"");
    project.write("image.kdl", &manifest);
    assert_eq!(motd(), "new\n");
    let listed = project.run(&["ls", "box"]).out;
    assert!(listed.contains(" var/lib/new") && !listed.contains("of-web"), "{listed}");
}

#[test]
fn what_is_no_image_or_has_no_shell_is_told() {
    let Some(project) = project() else { return };
    let unknown = project.run(&["shell", "bx"]);
    assert!(unknown.code == Some(2) && unknown.err.contains("`bx` is no target"), "{unknown:?}");
    let none = project.run(&["shell", "files:1@box"]);
    assert!(none.code == Some(1) && none.err.contains("there is no shell in it"), "{none:?}");
    let missing = project.run(&["shell", "box", "--", "/bin/nothing"]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
}
