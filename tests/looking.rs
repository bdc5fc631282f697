//! Looking into steps: the states before and after them, those that failed, and a shell in the middle of a build.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod archive_server;
mod project;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use archive_server::{Archive, Deb, Key, Server};
use imgbuild::deb::sources;
use imgbuild::sandbox::{Launcher, PATH, resolve_program};
use project::{Ended, Project, give_to_plain_user, is_root, program, sandboxes, skipped};

const MANIFEST: &str = r#"
overlay "tools"
overlay "upper"
image "box" {
    files {
        file "/etc/motd" content="lower\n"
    }
    overlays "tools" "upper"
    output "tar"
}
"#;

/// An image that is one static busybox, if this machine can run it.
fn busybox_project() -> Option<Project> {
    let busybox = resolve_program("busybox", PATH);
    if busybox.is_none() || Launcher::of(program()).images_available().is_err() {
        skipped("busybox, or sandboxes of images");
        return None;
    }
    let project = Project::new();
    project.write("image.kdl", MANIFEST);
    project.write("overlays/upper/etc/motd", "upper\n");
    let bin = project.root.join("overlays/tools/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::copy(busybox?, bin.join("busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", bin.join("sh")).unwrap();
    Some(project)
}

/// The same for a plain user, too, if there can be one.
fn busybox_projects() -> Vec<Project> {
    let mut projects: Vec<Project> = busybox_project().into_iter().collect();
    if let Some(mut project) = busybox_project().filter(|_| can_be_plain_user()) {
        give_to_plain_user(&mut project);
        projects.push(project);
    }
    projects
}

fn can_be_plain_user() -> bool {
    let tools = ["setpriv", "unshare", "newuidmap", "newgidmap"];
    let can = is_root() && tools.iter().all(|name| resolve_program(name, PATH).is_some());
    if !can {
        skipped("root, or programs to become somebody else");
    }
    can
}

#[test]
fn a_state_is_that_before_a_step_or_after_it() {
    for project in busybox_projects() {
        let motd = |flag: &str, what: &str| {
            let script = "read motd </etc/motd; echo $motd";
            let ended = project.run(&["shell", flag, what, "--", "/bin/sh", "-c", script]);
            assert_eq!(ended.code, Some(0), "{ended:?}");
            ended.out.trim().to_string()
        };
        assert_eq!(motd("--before", "overlay:upper"), "lower");
        assert_eq!(motd("--after", "overlay:upper"), "upper");
        assert_eq!(motd("--before", "output:tar@box"), "upper", "what it would pack");
        assert!(!project.path("build").exists(), "layers are enough");
        project.build();
        assert_eq!(motd("--before", "upper"), "lower", "of a step that is fresh, too");
        let said = project.run(&["shell", "--before", "upper", "--", "/bin/sh", "-c", ":"]).err;
        assert_eq!(said, "in the state before overlay:upper\n");
        let target = project.run(&["shell", "--before", "box"]);
        assert!(target.code == Some(2) && target.err.contains("`box` is a target"), "{target:?}");
        for wrong in [["--before", "--after"], ["--before", "--failed"]] {
            assert_eq!(project.run(&["shell", wrong[0], wrong[1], "upper"]).code, Some(2), "{wrong:?}");
        }
        assert_eq!(project.run(&["shell"]).code, Some(2));
        let none = project.run(&["shell", "--failed"]);
        assert!(none.code == Some(2) && none.err.contains("nothing failed"), "{none:?}");
        let well = project.run(&["shell", "--failed", "upper"]);
        assert!(well.err.contains("`overlay:upper` did not fail when it last ran"), "{well:?}");
        let unknown = project.run(&["shell", "--failed", "overlay:uper"]);
        assert!(
            unknown.code == Some(2) && unknown.err.contains("did you mean `overlay:upper`?"),
            "{unknown:?}"
        );
    }
}

#[test]
fn off_a_terminal_a_build_stops_at_its_break() {
    for project in busybox_projects() {
        let stop = |words: &[&str]| {
            let ended = project.run(words);
            assert_eq!(ended.code, Some(0), "{ended:?}");
            ended
        };
        let first = stop(&["--break", "before", "overlay:upper"]);
        assert!(first.err.contains("stopped before overlay:upper: 2 of 4 steps ran in "), "{first:?}");
        assert!(first.err.contains("look with `imgbuild shell overlay:upper --before`"), "{first:?}");
        assert_eq!(project.plan()["overlay:upper"], "run");
        let after = stop(&["build", "--break", "after", "upper", "--json"]);
        assert!(
            after.out.contains(r#"{"event":"stopped","when":"after","step":"overlay:upper"}"#),
            "{after:?}"
        );
        assert_eq!(project.plan()["output:tar@box"], "run");
        let output = stop(&["--break", "after", "output:tar@box"]);
        assert!(output.err.contains("stopped after output:tar@box: 1 of 4 steps ran"), "{output:?}");
        assert!(project.build().ran.is_empty());
        let fresh = stop(&["--break", "before", "overlay:upper"]);
        assert!(fresh.err.contains("stopped before overlay:upper: 0 of 4 steps ran"), "{fresh:?}");

        let unknown = project.run(&["--break", "before", "overlay:uper"]);
        assert!(
            unknown.code == Some(2) && unknown.err.contains("did you mean `overlay:upper`?"),
            "{unknown:?}"
        );
        let word = project.run(&["--break", "beside", "overlay:upper"]);
        assert!(word.code == Some(2) && word.err.contains("is neither before nor after"), "{word:?}");
        assert_eq!(project.run(&["--break", "before"]).code, Some(2));
    }
}

/// Runs the program on a terminal of its own; `typed` is typed when `prompt` has appeared.
fn on_terminal(project: &Project, arguments: &[&str], prompt: &str, typed: &str) -> (Option<i32>, String) {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
    let outer = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    unlockpt(&outer).unwrap();
    let inner = || ioctl_tiocgptpeer(&outer, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    let mut command = project.command(arguments);
    command.env("TERM", "xterm");
    command.stdin(Stdio::from(inner())).stdout(Stdio::from(inner())).stderr(Stdio::from(inner()));
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut outer = File::from(outer);
    let (mut said, mut left) = (String::new(), Some(typed));
    let mut piece = [0; 4096];
    // The other end is closed when nobody has it open any more.
    while let Ok(length @ 1..) = outer.read(&mut piece) {
        said.push_str(&String::from_utf8_lossy(&piece[..length]));
        if said.contains(prompt)
            && let Some(typed) = left.take()
        {
            outer.write_all(typed.as_bytes()).unwrap();
        }
    }
    (child.wait().unwrap().code(), said)
}

#[test]
fn on_a_terminal_a_build_goes_on_behind_its_break_or_stops() {
    for project in busybox_projects() {
        let at = ["--break", "before", "overlay:upper", "--color", "never"];
        let hint = "before overlay:upper: `exit 0` goes on with the build, `exit 1` stops it";
        let script = "read motd </etc/motd; echo motd is $motd; echo thrown away >/etc/motd; exit ";
        let (code, said) = on_terminal(&project, &at, hint, &format!("{script}1\n"));
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("motd is lower"), "{said}");
        assert!(said.contains("stopped before overlay:upper: 2 of 4 steps ran"), "{said}");
        assert!(!project.path("build/box.tar").exists());

        let (code, said) = on_terminal(&project, &at, hint, &format!("{script}0\n"));
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("motd is lower") && said.contains("ran output:tar@box"), "{said}");
        assert_eq!(project.run(&["cat", "box", "etc/motd"]).out, "upper\n", "changes are thrown away");
        assert!(project.build().ran.is_empty());
        let after = ["--break", "after", "output:tar@box", "--color", "never"];
        let (code, said) = on_terminal(&project, &after, "after output:tar@box: ", &format!("{script}0\n"));
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("motd is upper") && said.contains("nothing to do: 4 steps fresh"), "{said}");
    }
}

#[test]
fn a_build_says_where_it_goes_on() {
    if !sandboxes() {
        return;
    }
    let project = Project::new();
    project
        .write("image.kdl", "image \"a\" {\n    overlays \"one\" \"two\" \"three\"\n    output \"tar\"\n}\n");
    project.write("overlays/one/etc/one", "1");
    project.write("overlays/three/etc/three", "3");
    project.script("overlays/two/tar", "exit 1");
    let failed = project.run(&["build", "-k"]);
    assert_eq!(failed.code, Some(1));
    let closing = "1 step of 4 failed, 2 ran, 1 not begun; the next build goes on at step 2\n";
    assert!(failed.err.ends_with(closing), "{failed:?}");
    assert!(!failed.err.contains("shell --failed"), "there is nothing to look at: {failed:?}");
    let look = project.run(&["shell", "--failed"]);
    assert!(look.code == Some(2) && look.err.contains("`overlay:two` failed"), "{look:?}");
    let json = project.run(&["build", "--json"]).out;
    assert!(
        json.contains(r#""continues_at":2}"#) && json.contains(r#""continues_at":2,"outputs""#),
        "{json}"
    );

    project.script("overlays/two/tar", "cd /tmp; : >two; tar cf \"$1\" two");
    let mended = project.run(&["build"]);
    assert_eq!(mended.code, Some(0), "{mended:?}");
    assert!(mended.err.starts_with("continues at step 2 of 4, overlay:two\n"), "{mended:?}");
    project.write("overlays/three/etc/three", "4");
    assert!(!project.run(&["build"]).err.contains("continues"));
}

/// A project with a package of our own whose script fails, on top of the smallest base.
struct Odd {
    project: Project,
    key: Key,
    server: Server,
}

impl Odd {
    fn new(as_user: bool) -> Option<Odd> {
        if !cfg!(target_arch = "x86_64")
            || sources::host(Path::new("/etc/apt"), "debian", "trixie", "amd64").is_empty()
        {
            skipped("a mirror of Debian for amd64 in its apt sources");
            return None;
        }
        if !sandboxes() || (as_user && !can_be_plain_user()) {
            return None;
        }
        let mut project = Project::new();
        let key = Key::new();
        let server = Server::start(Odd::archive("1", FAILS).build(&key));
        let keyring = key.write(&project.root);
        project.write("image.kdl", Odd::manifest(&server.url, &keyring));
        if as_user {
            give_to_plain_user(&mut project);
        }
        Some(Odd { project, key, server })
    }

    fn manifest(url: &str, keyring: &Path) -> String {
        format!(
            "image \"odd\" {{\n    base \"debian\" suite=\"trixie\" variant=\"essential\" {{\n        \
             repository \"third\" url=\"{url}\" suite=\"odd/\" keyring=\"{}\"\n    }}\n    packages {{\n        \
             odd\n    }}\n    output \"tar\"\n}}\n",
            keyring.display()
        )
    }

    fn archive(version: &str, postinst: &str) -> Archive {
        let deb = Deb::new("odd", version, "amd64", "").file("usr/share/odd/file", 0o644, "odd");
        Archive::flat("odd", vec![deb.script("postinst", &format!("#!/bin/sh\nset -e\n{postinst}\n"))])
    }

    fn shell(&self, words: &[&str], script: &str) -> Ended {
        self.project.run(&[&["shell"], words, &["--", "/bin/sh", "-c", script]].concat())
    }

    /// All files of a state but dpkg's own.
    fn files(&self, words: &[&str]) -> BTreeSet<String> {
        let ended = self.shell(words, "find / -xdev -type f");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let own = |line: &&str| !line.starts_with("/var/lib/dpkg/") && *line != "/var/log/dpkg.log";
        ended.out.lines().filter(own).map(String::from).collect()
    }
}

const FAILS: &str = "echo began > /etc/odd; mkdir -p /var/lib/odd; echo half > /var/lib/odd/half
    chown 33:33 /var/lib/odd/half; chmod 2755 /var/lib/odd; echo words > /var/log/odd.log; rm /etc/issue
    echo 'it cannot be' >&2; exit 3";

fn a_failed_state_is_kept(as_user: bool) {
    let Some(odd) = Odd::new(as_user) else { return };
    let failed = odd.project.run(&["build"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(
        failed.err.contains("`imgbuild shell --failed` opens a shell where it failed\n"),
        "{}",
        failed.err
    );
    let manifest = odd.project.path("image.kdl");
    let named = odd.project.run(&["-f", manifest.to_str().unwrap(), "-k"]);
    let command = format!("`imgbuild -f {} shell --failed packages:odd`", manifest.display());
    assert!(named.err.contains(&command), "{}", named.err);

    // Exactly what the script did, as its programs see it, and no more.
    let (before, after) = (odd.files(&["--before", "packages:odd"]), odd.files(&["--failed"]));
    let new: Vec<&String> = after.difference(&before).collect();
    assert_eq!(new, ["/etc/odd", "/var/lib/odd/half", "/var/log/odd.log"]);
    let gone: Vec<&String> = before.difference(&after).collect();
    assert_eq!(gone, ["/etc/issue"]);
    let script = "cat /etc/odd; stat -c '%u:%g %a' /var/lib/odd/half; stat -c %a /var/lib/odd; dpkg -s odd | \
                  grep ^Status; echo $DEBIAN_FRONTEND; /usr/sbin/policy-rc.d; echo $?; echo new >/etc/new";
    let wanted = "began\n33:33 644\n2755\nStatus: install ok half-configured\nnoninteractive\n101\n";
    for words in [&["--failed"][..], &["packages:odd", "--failed", "--keep", "kept.tar"]] {
        let ended = odd.shell(words, script);
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), wanted), "{ended:?}");
        assert!(ended.err.starts_with("in the state in which packages:odd failed\n"), "{ended:?}");
        assert!(!ended.err.contains("since then"), "{ended:?}");
    }
    let kept = odd.project.run(&["ls", "./kept.tar"]).out;
    assert!(kept.contains(" etc/new") && !kept.contains("odd") && !kept.contains("dpkg"), "{kept}");
    let begins =
        odd.shell(&["packages:odd", "--before"], "dpkg -s odd | grep ^Status; echo $DEBIAN_FRONTEND");
    assert_eq!(begins.out, "Status: install ok unpacked\nnoninteractive\n", "{begins:?}");

    let text = fs::read_to_string(&manifest).unwrap();
    odd.project.write("image.kdl", format!("epoch \"2024-01-01\"\n{text}"));
    let changed = odd.shell(&["--failed"], "cat /etc/odd");
    assert!(changed.out == "began\n" && changed.err.contains("since then "), "{changed:?}");
    odd.project.write("image.kdl", &text);

    // The way out that the message names: mended, it goes on, and there is nothing to look at any more.
    odd.server.serve(Odd::archive("2", "echo well > /etc/odd; sleep 300 >/dev/null 2>&1 &").build(&odd.key));
    fs::remove_file(odd.project.path("image.lock.kdl")).unwrap();
    let mended = odd.project.run(&["build", "--refresh", "--message-format", "short"]);
    assert_eq!(mended.code, Some(0), "{mended:?}");
    assert!(
        mended.err.contains("warning: `sleep` still ran in the end, and was ended [step/left]"),
        "{mended:?}"
    );
    let nothing = odd.project.run(&["shell", "--failed"]);
    assert!(nothing.code == Some(2) && nothing.err.contains("nothing failed"), "{nothing:?}");
    assert!(odd.project.build().ran.is_empty());
}

#[test]
fn a_failed_state_is_kept_for_root() {
    a_failed_state_is_kept(false);
}

#[test]
fn a_failed_state_is_kept_for_a_plain_user() {
    a_failed_state_is_kept(true);
}

#[test]
fn a_failed_state_goes_with_the_cache() {
    let Some(odd) = Odd::new(false) else { return };
    assert_eq!(odd.project.run(&["build"]).code, Some(1));
    assert_eq!(odd.shell(&["--failed"], "cat /etc/odd").out, "began\n");
    odd.project.run(&["cache", "gc", "--max-age", "0"]);
    let gone = odd.project.run(&["shell", "--failed"]);
    assert!(gone.code == Some(2) && gone.err.contains("is no longer in the cache"), "{gone:?}");
    assert_eq!(odd.project.run(&["build"]).code, Some(1), "as the message says");
    assert_eq!(odd.shell(&["--failed"], "cat /etc/odd").out, "began\n");
    odd.project.run(&["cache", "clear"]);
    assert!(odd.project.run(&["shell", "--failed"]).err.contains("nothing failed"));
}
