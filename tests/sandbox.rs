//! Overlays' `tar` scripts, really run: what they may rely on, and what they cannot do.
//!
//! Everything here runs as the caller, and once more as a plain user where the caller is root.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod processes;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use imgbuild::fault::{Blame, Fault};
use imgbuild::sandbox::{Asked, Launcher, PATH, TarRun, TarScript, find_overlay, resolve_program};
use processes::{runs, wait_until};

const IMGBUILD: &str = env!("CARGO_BIN_EXE_imgbuild");

/// A project with overlays in `ovl`, of which `main` is run.
struct Project {
    folder: tempfile::TempDir,
    script: TarScript,
}

impl Project {
    /// The overlay `main` with this script, if this machine can run one.
    fn new(body: &str) -> Option<Project> {
        Project::within(&std::env::temp_dir(), body)
    }

    fn within(outer: &Path, body: &str) -> Option<Project> {
        if let Err(fault) = Launcher::of(IMGBUILD).available() {
            return skip(&format!("{fault}: {}", fault.help.clone().unwrap_or_default()));
        }
        let folder = tempfile::tempdir_in(outer).unwrap();
        let path = folder.path().canonicalize().unwrap();
        fs::create_dir(path.join("stage")).unwrap();
        let script = TarScript {
            overlay: path.join("ovl/main"),
            search: vec![path.join("none"), path.join("ovl"), path.join("more")],
            variables: BTreeMap::new(),
            inputs: Vec::new(),
            hidden: vec![path.clone(), PathBuf::from("/home"), path.join("none")],
            epoch: 1_600_000_000,
            stage: path.join("stage"),
            log: path.join("log"),
            timeout: Some(Duration::from_secs(60)),
        };
        let project = Project { folder, script };
        project.overlay("ovl/main", body);
        Some(project)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn overlay(&self, name: &str, body: &str) {
        let folder = self.path(name);
        fs::create_dir_all(&folder).unwrap();
        let tar = folder.join("tar");
        fs::write(&tar, format!("#!/bin/sh\nset -e\ndir=$(readlink -f $(dirname $0))\n{body}\n")).unwrap();
        fs::set_permissions(tar, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn run(&self) -> Result<TarRun, Fault> {
        Launcher::of(IMGBUILD).run_tar_script(&self.script, &AtomicBool::new(false), &mut |_| {})
    }

    /// Runs, and gives the names and texts of the files in the tar.
    fn files(&self) -> BTreeMap<String, String> {
        let run = self.run().unwrap_or_else(|fault| panic!("{fault}: {:#?}", fault.output));
        read_tar(&run.tar)
    }
}

fn read_tar(path: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(fs::File::open(path).unwrap());
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().trim_start_matches("./").to_string();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        files.insert(name, String::from_utf8_lossy(&bytes).trim_end().to_string());
    }
    files
}

#[allow(clippy::disallowed_methods, reason = "a switch of the tests themselves")]
fn skip<T>(why: &str) -> Option<T> {
    assert!(std::env::var("IMGBUILD_TESTS").as_deref() != Ok("all"), "{why}");
    eprintln!("skipped: {why}");
    None
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Every test here, by a user without any power.
#[test]
fn all_of_this_as_a_plain_user() {
    if !is_root() {
        return;
    }
    let own = std::env::current_exe().unwrap();
    let ids = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let run = Command::new("setpriv")
        .args(ids)
        .arg(own)
        .args(["--test-threads=2"])
        .current_dir("/")
        .env("HOME", "/nonexistent")
        .env("TMPDIR", "/tmp")
        .output();
    let Ok(run) = run else {
        return skip("this machine lacks setpriv (Debian: util-linux)").unwrap_or_default();
    };
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.contains("test result: ok") && !said.contains("0 passed"), "{said}");
}

#[test]
fn a_script_sees_what_it_was_given() {
    let body = r#"
        tmp=$(mktemp -d); pwd > $tmp/pwd; cd $tmp
        echo "$SETUP" > setup; echo "$SOURCE_DATE_EPOCH $TZ $LANG $USER $HOME $TMPDIR" > fixed
        id -u > uid; umask > umask; hostname > host; echo "$0" > zero
        env | cut -d= -f1 | sort | tr '\n' ' ' > names
        cat $dir/data > own; cat "$INPUT" > input; touch $HOME/x /run/x /var/tmp/x /dev/shm/x
        readlink /proc/self/fd/0 > stdin; cat; tty > tty || true; echo hello >&2
        bash -c 'cat <(echo substituted)' > bash
        tar -cf out.tar setup fixed uid umask host pwd zero names own input stdin tty bash
        mv out.tar "$1""#;
    let Some(mut project) = Project::new(body) else { return };
    fs::write(project.path("ovl/main/data"), "mine").unwrap();
    fs::create_dir(project.path("inputs")).unwrap();
    fs::write(project.path("inputs/a"), "declared").unwrap();
    project.script.inputs = vec![project.path("inputs")];
    let input = project.path("inputs/a").display().to_string();
    project.script.variables = [("SETUP", "ipv6,extra"), ("INPUT", &input)]
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .into();
    let files = project.files();
    assert_eq!(files["setup"], "ipv6,extra");
    assert_eq!(files["fixed"], "1600000000 UTC C.UTF-8 imgbuild /home/imgbuild /tmp");
    assert_eq!(
        (files["uid"].as_str(), files["umask"].as_str(), files["host"].as_str()),
        ("1000", "0022", "imgbuild")
    );
    assert_eq!(files["pwd"], project.path("ovl/main").display().to_string());
    assert_eq!(files["zero"], project.path("ovl/main/tar").display().to_string());
    assert_eq!(
        files["names"].trim(),
        "HOME INPUT LANG LOGNAME OLDPWD PATH PWD SETUP SOURCE_DATE_EPOCH TMPDIR TZ USER XCLUSTER"
    );
    assert_eq!((files["own"].as_str(), files["input"].as_str()), ("mine", "declared"));
    assert_eq!((files["stdin"].as_str(), files["bash"].as_str()), ("/dev/null", "substituted"));
    assert_eq!(fs::read_to_string(&project.script.log).unwrap(), "hello\n");
    assert_eq!(fs::read_dir(&project.script.stage).unwrap().count(), 1);
}

#[test]
fn xcluster_shows_overlays_when_they_are_asked_for() {
    let body = r#"
        mkdir /tmp/x; cd /tmp/x
        ls $dir/.. > before; ls -d $dir/../other $dir/../../more >> before 2>&1 || true
        $XCLUSTER ovld gone > gone 2> gone.err && exit 9; echo $? > gone.rc
        $($XCLUSTER ovld other)/tar - | tar -x
        other=$($XCLUSTER ovld other); [ $other = $($XCLUSTER ovld other) ]
        cp $other/../other/secret again
        $XCLUSTER ovld far > far; cat $(cat far)/secret > far.secret
        $XCLUSTER ovld main > main
        ls $dir/.. > after; echo x > $other/x 2>/dev/null && exit 8
        tar -cf $1 *"#;
    let Some(project) = Project::new(body) else { return };
    project.overlay("ovl/other", r#"cd $dir; [ $1 = - ]; tar -cf "$1" secret"#);
    fs::write(project.path("ovl/other/secret"), "of other").unwrap();
    fs::create_dir_all(project.path("ovl/hidden")).unwrap();
    fs::create_dir_all(project.path("elsewhere/far")).unwrap();
    fs::write(project.path("elsewhere/far/secret"), "of far").unwrap();
    fs::create_dir(project.path("more")).unwrap();
    symlink(project.path("elsewhere/far"), project.path("more/far")).unwrap();
    let run = project.run().unwrap_or_else(|fault| panic!("{fault}: {:#?}", fault.output));
    let files = read_tar(&run.tar);
    assert!(files["before"].starts_with("main\n"), "{}", files["before"]);
    assert!(files["before"].contains("other': No such file"), "{}", files["before"]);
    assert_eq!((files["gone"].as_str(), files["gone.rc"].as_str()), ("", "1"));
    assert_eq!(files["gone.err"], "ERROR: Ovl not found [gone]");
    assert_eq!((files["secret"].as_str(), files["again"].as_str()), ("of other", "of other"));
    assert_eq!((files["far.secret"].as_str(), files["after"].as_str()), ("of far", "main\nother"));
    assert_eq!(files["far"], project.path("more/far").display().to_string());
    let asked = |name: &str, at: Option<&str>| Asked::Overlay {
        name: name.into(),
        found: at.map(|at| project.path(at)),
    };
    assert_eq!(
        run.asked,
        [
            asked("gone", None),
            asked("other", Some("ovl/other")),
            asked("far", Some("more/far")),
            asked("main", Some("ovl/main"))
        ]
    );
    for (name, at) in [("other", "ovl/other"), ("far", "more/far")] {
        assert_eq!(find_overlay(name, &project.script.search), Some(project.path(at)));
    }
}

#[test]
fn xcluster_copies_programs_and_says_what_it_read() {
    let body = r#"
        mkdir /tmp/x; cd /tmp/x
        $XCLUSTER install_prog --dest=/tmp/x/a sh /usr/bin/env | grep . && exit 7
        $XCLUSTER libs env > libs
        $XCLUSTER cplib --dest=/tmp/x/b env; $XCLUSTER cploader --root=/tmp/x/c
        cp libs base; $XCLUSTER install_prog --base-libs=base env --dest=/tmp/x/d
        cp /bin/true made; $XCLUSTER install_prog --dest=/tmp/x/e ./made
        eval $($XCLUSTER env --kver=6.1); echo "$__kver" > env; $XCLUSTER env >> env
        for d in a b c d e; do (cd $d; find . -type f | LC_ALL=C sort) > $d.list; done
        tar -cf $1 libs env *.list; /tmp/x/a/bin/env true"#;
    let Some(mut project) = Project::new(body) else { return };
    project.script.variables = [("QUOTE", "it's"), ("__x", "1")].map(|(n, v)| (n.into(), v.into())).into();
    let run = project.run().unwrap_or_else(|fault| panic!("{fault}: {:#?}", fault.output));
    let files = read_tar(&run.tar);
    let shell = resolve_program("sh", PATH).unwrap();
    let env = resolve_program("env", PATH).unwrap();
    let libraries: Vec<PathBuf> = files["libs"].lines().map(PathBuf::from).collect();
    assert!(libraries.iter().any(|library| library.to_string_lossy().contains("/libc.")), "{libraries:?}");
    let copied = libraries.iter().map(|library| format!(".{}", library.display())).collect::<Vec<_>>();
    assert!(copied.iter().all(|library| files["a.list"].contains(library)), "{}", files["a.list"]);
    assert!(files["a.list"].contains(&format!("./bin/{}", shell.file_name().unwrap().to_string_lossy())));
    assert_eq!(files["b.list"].lines().collect::<Vec<_>>(), copied);
    assert!(files["c.list"].contains("/ld-"), "{}", files["c.list"]);
    assert_eq!(files["d.list"], "./bin/env");
    assert!(files["e.list"].contains("./bin/made"));
    assert_eq!(files["env"], "6.1\nQUOTE='it'\\''s'\n__x='1'");
    assert!(matches!(&run.asked[0], Asked::Program { name, found: Some(found), files }
        if name == "sh" && *found == shell && files[0] == shell && files.len() > 1));
    let all = |asked: &Asked| {
        matches!(asked, Asked::Program { name, found: Some(found), files }
        if name == &env.display().to_string() && *found == env && files[1..] == libraries)
    };
    assert!(run.asked.iter().any(all), "{:#?}", run.asked);
    assert!(
        run.asked.iter().any(|asked| matches!(asked, Asked::Files { files } if files == &libraries)),
        "{:#?}",
        run.asked
    );
}

#[test]
fn a_script_that_fails_says_why() {
    let Some(mut project) = Project::new("") else { return };
    let fails = |body: &str| {
        project.overlay("ovl/main", body);
        let fault = project.run().expect_err(body);
        assert_eq!(fs::read_dir(project.path("stage")).unwrap().count(), 0, "{body}");
        (fault.code, fault.message, fault.help.unwrap_or_default(), fault.output)
    };
    let (code, message, help, output) = fails("seq 30; echo x > $1; exit 3");
    assert_eq!(code, "sandbox/failed");
    assert!(message.ends_with("ovl/main/tar` ended with exit code 3") && help.contains("/log`"), "{message}");
    assert_eq!((output.len(), output[0].as_str(), output[19].as_str()), (20, "11", "30"));
    assert!(fails("kill -SEGV $$").1.ends_with("signal 11 (segmentation fault)"));
    assert_eq!(fails("true").0, "sandbox/no-tar");
    assert_eq!(fails(": > $1").0, "sandbox/no-tar");
    assert_eq!(fails("ln -s /etc/passwd $1").0, "sandbox/no-tar");
    assert_eq!(fails("mkfifo $1").0, "sandbox/no-tar");
    assert_eq!(fails("mkdir -p $1/x; chmod 0 $1").0, "sandbox/no-tar");
    let (code, message, ..) =
        fails("$XCLUSTER install_prog --dest=/tmp/d sh no-such || true; tar -cf $1 -C /tmp d");
    assert_eq!(code, "sandbox/missing-program");
    assert!(message.ends_with("lacks: program `no-such`"), "{message}");
    assert!(fails("$XCLUSTER ovld mian").2.contains("did you mean `main`?"));
    fs::set_permissions(project.path("ovl/main/tar"), PermissionsExt::from_mode(0o644)).unwrap();
    let fault = project.run().unwrap_err();
    assert_eq!((fault.code, fault.blame), ("sandbox/not-started", Blame::Build));
    assert!(fault.help.unwrap().contains("chmod +x"));
    for own in ["/", "/dev/shm", "/dev/null"] {
        project.script.inputs = vec![PathBuf::from(own)];
        assert_eq!(project.run().unwrap_err().code, "sandbox/own-folder", "{own}");
    }
}

/// There are folders of the sandbox's own at these places; what is in the host's is shown when it was asked for.
#[test]
fn a_project_may_lie_where_scratch_folders_do() {
    for folder in ["/dev/shm", "/tmp", "/var/tmp"] {
        let body =
            "echo text > /dev/shm/scratch; cp /dev/shm/scratch $dir/../other/* /tmp; tar -C /tmp -cf $1 .";
        let body = format!("{body}; test \"$(ls {folder} | grep -c tmp)\" -le 1");
        let Some(mut project) = Project::within(Path::new(folder), &body) else { return };
        project.overlay("ovl/other", "");
        project.script.inputs = vec![project.path("ovl/other")];
        assert!(project.files().contains_key("tar"), "{folder}");
    }
}

/// Every line must fail, or do nothing outside.
#[test]
fn a_hostile_script_achieves_nothing() {
    let body = r#"
        no() { if (eval "$1") >/dev/null 2>&1; then echo "DID: $1"; fi; }
        no 'ls -A /run /root | grep -v : | grep .'; no 'ls /var | grep -v tmp'; no 'ls /srv /mnt /boot /sys'
        no 'echo x > /usr/hostile'; no 'echo x > /etc/hostile'; no 'touch /hostile'; no 'rm /etc/passwd'
        no 'touch $dir/hostile'; no 'chmod 777 $dir/tar'; no 'chown 0 $dir/tar'; no 'mkdir $dir/../hostile'
        no 'ls $PROJECT/secret'; no 'cat $PROJECT/ovl/other/tar'; no 'test -e $PROJECT/ovl/other'
        no 'cat /etc/shadow'; no 'ls /home | grep -v imgbuild'; no 'ln /etc/passwd $1/../x'; no 'dmesg'
        no 'mknod /tmp/vda b 254 0'; no 'mknod /tmp/null c 1 3'; no 'test -e /dev/vda'; no 'test -e /dev/kmsg'
        no 'chmod 600 /dev/null'; no 'touch /dev/zero'; no 'rm /dev/full'; no 'cat /dev/tty'
        no 'mount -o remount,rw /usr'; no 'mount -o remount,bind,rw /'; no 'umount /etc'; no 'mount -t tmpfs x /tmp'
        no 'unshare -m true'; no 'unshare -Ur true'; no 'unshare -Urm true'; no 'chroot / true'
        no 'setpriv --reuid 33 true'; no 'su -c true'; no 'sudo -n true'; no 'ulimit -c 1'; no 'hostname hostile'
        no 'grep "^Cap" /proc/self/status | grep -v "0000000000000000$"'; no 'grep "NoNewPrivs:.*0" /proc/self/status'
        no 'kill -9 1; false'; no 'kill -TERM 1; false'; no 'strace -p 1'; no 'nsenter -t 1 -m true'
        no 'ls /proc/1/root/'; no 'readlink /proc/1/fd/0'; no 'cat /proc/1/environ'; no 'cat /proc/1/mem'
        no 'ls /proc | grep -v "^[0-9]*$" | grep -v self'; no 'test $(ls /proc | grep -c "^[0-9]*$") -gt 12'
        no 'echo x > /proc/sys/kernel/core_pattern'; no 'echo b > /proc/sysrq-trigger'; no 'head -c 1 /proc/kcore'
        no 'bash -c "exec 3<>/dev/tcp/127.0.0.1/$PORT"'; no 'ip link add x type dummy'; no 'test -e /proc/self/fd/3'
        no 'cat /imgbuild/nothing'; no 'chmod 644 /imgbuild/nothing'; no 'rm /imgbuild/socket'
        echo safe > /tmp/safe; tar -C /tmp -cf $1 safe"#;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let Some(mut project) = Project::new(body) else { return };
    project.overlay("ovl/other", "");
    fs::write(project.path("secret"), "x").unwrap();
    let outer = project.path("").display().to_string();
    let port = listener.local_addr().unwrap().port().to_string();
    project.script.variables =
        [("PROJECT", outer.trim_end_matches('/')), ("PORT", &port)].map(|(n, v)| (n.into(), v.into())).into();
    let run = project.run().unwrap_or_else(|fault| panic!("{fault}: {:#?}", fault.output));
    assert_eq!(run.tail, [""; 0], "what a script could do and should not");
    for path in ["/usr/hostile", "/etc/hostile", "/hostile"] {
        assert!(!Path::new(path).exists(), "{path}");
    }
}

/// A project in a folder that is shown otherwise, hidden there.
#[test]
fn what_is_hidden_is_hidden_inside_the_system_too() {
    if !is_root() {
        return;
    }
    let body = "! test -e $dir/../../secret; ls $dir/../.. > /tmp/l; test -e $dir/tar; test -e /usr/bin/env
        ! cat $INPUT; $XCLUSTER ovld other; ! touch $dir/../../x; tar -C /tmp -cf $1 l";
    let Some(mut project) = Project::within(Path::new("/usr/local"), body) else { return };
    project.overlay("ovl/other", "");
    fs::write(project.path("secret"), "x").unwrap();
    let home = tempfile::NamedTempFile::new_in("/usr/local").unwrap();
    project.script.hidden.extend([home.path().to_path_buf(), "/".into(), "/usr/sbin".into()]);
    project.script.variables = [("INPUT".to_string(), home.path().display().to_string())].into();
    assert_eq!(project.files()["l"], "ovl");
}

#[test]
fn what_a_script_leaves_running_ends_with_it() {
    let body = "(trap '' TERM HUP; setsid sleep 4242 & sleep 4242) & echo x > /tmp/x; tar -C /tmp -cf $1 x";
    let Some(project) = Project::new(body) else { return };
    let begun = Instant::now();
    project.run().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(!runs("sleep\u{0}4242"));
}

#[test]
fn a_flood_of_output_is_bounded() {
    let Some(project) = Project::new("yes flood | head -c 1G; echo x > /tmp/x; tar -C /tmp -cf $1 x") else {
        return;
    };
    project.run().unwrap();
    assert!(fs::metadata(&project.script.log).unwrap().len() < 3 << 20);
}

#[test]
fn a_flood_of_requests_is_bounded() {
    let rude = "import socket; keep = []
for i in range(200):
    one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); one.connect('/imgbuild/socket'); keep.append(one)
    if i % 3: one.send([b'x', b'{' * 9000, b'\\\"Exported\\\"'][i % 3])";
    let body = format!(
        "command -v python3 >/dev/null && python3 -c \"{rude}\"
        i=0; while [ $i -lt 400 ]; do $XCLUSTER ovld x$i 2>/dev/null || true; i=$((i+1)); done
        echo x > /tmp/x; tar -C /tmp -cf $1 x"
    );
    let Some(project) = Project::new(&body) else { return };
    assert_eq!(project.run().unwrap().asked.len(), 400);
}

#[test]
fn a_deep_result_is_removed() {
    let body = "cd ${1%/*}; i=0; while [ $i -lt 1100 ]; do mkdir d; cd -P d; i=$((i+1)); done
        chmod 0 . ${1%/*}; exit 1";
    let Some(project) = Project::new(body) else { return };
    let fault = project.run().unwrap_err();
    assert!(fault.message.ends_with("exit code 1"), "{fault} {:?}", fault.output);
    assert_eq!(fs::read_dir(&project.script.stage).unwrap().count(), 0);
}

#[test]
fn a_run_can_be_interrupted_and_has_a_limit() {
    let Some(mut project) = Project::new("echo begun; sleep 4243; true") else { return };
    let stop = AtomicBool::new(false);
    let begun = Instant::now();
    let fault = Launcher::of(IMGBUILD)
        .run_tar_script(&project.script, &stop, &mut |_| stop.store(true, Ordering::Relaxed))
        .unwrap_err();
    assert_eq!((fault.code, fault.output.as_slice()), ("sandbox/interrupted", &["begun".to_string()][..]));
    project.script.timeout = Some(Duration::from_millis(200));
    assert_eq!(project.run().unwrap_err().code, "sandbox/timeout");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(!runs("sleep\u{0}4243"));
}

/// This test's own program is started again as a victim: it runs a script that never ends, and is killed.
#[test]
#[allow(clippy::disallowed_methods, reason = "tells the victim that it is one")]
fn whoever_is_killed_leaves_nothing() {
    if let Ok(seconds) = std::env::var("IMGBUILD_TESTS_VICTIM") {
        let project = Project::new(&format!("(sleep {seconds} &); setsid sleep {seconds}; true")).unwrap();
        let _ = project.run();
        return;
    }
    if Launcher::of(IMGBUILD).available().is_err() {
        return;
    }
    let seconds = format!("9{}", std::process::id());
    let sleeper = format!("sleep\u{0}{seconds}");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "whoever_is_killed_leaves_nothing"])
        .env("IMGBUILD_TESTS_VICTIM", &seconds)
        .spawn()
        .unwrap();
    wait_until(10, "it runs", || runs(&sleeper));
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait_until(10, "all has ended", || !runs(&sleeper));
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
}

#[test]
fn many_run_at_once() {
    let body = "echo $0 > /tmp/x; $XCLUSTER ovld main > /tmp/y; tar -C /tmp -cf $1 x y";
    let projects: Vec<Project> = (0..8).filter_map(|_| Project::new(body)).collect();
    std::thread::scope(|scope| {
        for project in &projects {
            scope.spawn(|| assert_eq!(project.files()["y"], project.path("ovl/main").display().to_string()));
        }
    });
}

/// Where user namespaces are refused, root goes on without one, and the script has no more power for it.
#[test]
fn root_can_do_without_a_user_namespace() {
    if std::env::args().any(|argument| argument == "--exact") || !is_root() {
        return;
    }
    let inner = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$0\" --exact a_hostile_script_achieves_nothing \
                 xcluster_shows_overlays_when_they_are_asked_for a_script_that_fails_says_why --test-threads=1";
    let run = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", inner])
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(said.contains("3 passed"), "{said}{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn a_machine_that_refuses_is_told_what_to_do() {
    let inner = "echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all \"$0\" \
                 --exact refused_for_a_helper --ignored";
    if is_root() {
        let run = Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c", inner])
            .arg(std::env::current_exe().unwrap())
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{}{}",
            String::from_utf8_lossy(&run.stdout),
            String::from_utf8_lossy(&run.stderr)
        );
    }
}

/// Run by the test above, where nothing is allowed.
#[test]
#[ignore = "needs a machine that refuses"]
fn refused_for_a_helper() {
    let fault = Launcher::of(IMGBUILD).available().unwrap_err();
    assert_eq!((fault.code, fault.blame), ("sandbox/refused", Blame::Machine));
    assert!(fault.message.contains("cannot make a user namespace"), "{fault}");
    assert!(fault.help.unwrap().contains("user.max_user_namespaces"));
}

#[test]
fn a_sandbox_is_cheap() {
    let Some(project) = Project::new("") else { return };
    let launcher = Launcher::of(IMGBUILD);
    let mut times: Vec<Duration> = (0..20)
        .map(|_| {
            let begun = Instant::now();
            launcher.available().unwrap();
            begun.elapsed()
        })
        .collect();
    times.sort();
    eprintln!("a sandbox takes {:?} (median), {:?} (best)", times[10], times[0]);
    assert!(times[0] < Duration::from_millis(100));
    drop(project);
}
