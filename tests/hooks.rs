//! Hooks through the program: which runs when, what it sees, what its key holds, what becomes of what it says and
//! leaves, and what people are told where it fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod based;
mod processes;
mod project;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, FileTimes};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use based::{debian, project, rootless, says, tar_entries};
use insta::assert_snapshot;
use processes::{runs, wait_until};
use project::{Ended, Project, is_root, skipped};

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

const PHASES: &str = r#"
hook-list "shared" {
    hook "both" run="echo shared >> /order"
}
image "box" {
    base "tar" from="base.tar"
    hooks phase="cleanup" { hook "c" run="echo cleanup $IMGBUILD_HYPERVISOR >> $TARGET/order"; }
    hooks phase="finalise" { hook "f" run="echo finalise >> /order"; }
    hooks phase="block-device" { hook "b" run="echo block-device >> $TARGET/order; cat $EXTRA_DATA/data >> $TARGET/order"; }
    hooks phase="first-boot" { hook "fb" run="echo first"; }
    hooks "shared" { hook "po" run="echo post-install >> /order"; }
    files { file "/made" content="made" ; }
    hooks phase="install" { hook "i" run="echo install >> /order; test ! -e /made"; }
    hooks phase="pre-install" { hook "p" run="echo pre-install >> /order; cat $EXTRA_DATA/data >> /order"; }
    hooks phase="extra-data" { hook "e" run="echo data > data; test ! -e /order"; }
    output "tar"
    hypervisor "one" {
        hooks { hook "po" run="test -e /made; echo own post-install >> /order"; }
        hooks phase="finalise" { hook "of" run="echo own finalise >> /order"; }
        hooks phase="pre-install" { hook "op" run="echo own pre-install >> /order; cat $EXTRA_DATA/data >> /order"; }
        hooks phase="extra-data" { hook "e" run="echo more >> data"; }
        output "tar"
        output "iso"
        output "oci"
    }
    hypervisor "two" {
        hooks phase="install" { hook "i" run="echo own install >> /order"; }
        output "dir"
    }
}
"#;

#[test]
fn phases_run_in_their_order_and_what_is_shared_runs_once() {
    let Some(project) = project(PHASES) else { return };
    let ran = project.build().ran;
    let hooks: Vec<&str> = ran.iter().filter_map(|id| id.strip_prefix("hook:")).collect();
    assert_eq!(
        hooks,
        [
            "b@box",
            "b@box:one",
            "b@box:two",
            "c@box",
            "c@box:one",
            "c@box:two",
            "e@box",
            "e@box:one",
            "f@box",
            "f@box:one",
            "f@box:two",
            "i@box",
            "i@box:two",
            "of@box:one",
            "op@box:one",
            "p@box",
            "po@box",
            "po@box:one",
            "shared/both@box",
        ]
    );
    let order = |target: &str| project.run(&["cat", target, "/order"]).out.replace('\n', ", ");
    let shared = "pre-install, data, install, shared, post-install, ";
    let last = "block-device, data, finalise, ";
    assert_eq!(order("box"), format!("{shared}{last}cleanup, "));
    assert_eq!(
        order("box:one"),
        format!(
            "{shared}own pre-install, data, more, own post-install, block-device, data, more, finalise, own finalise, \
             cleanup one, "
        )
    );
    assert_eq!(order("box:two"), format!("{shared}own install, {last}cleanup two, "));
    assert_eq!(
        project.run(&["cat", "box:one", "/var/lib/imgbuild/first-boot.d/00-fb"]).out,
        "#!/bin/sh -e\necho first\n"
    );
    // What is only for hooks is in no output, and what is listed is what there is.
    for target in ["box", "box:one", "box:two"] {
        let listed = project.run(&["ls", target]);
        assert_eq!(listed.code, Some(0), "{listed:?}");
        assert!(
            !listed.out.lines().any(|line| line.contains(" data ") || line.contains("hook:e@")),
            "{}",
            listed.out
        );
    }
    assert!(
        !project.path("build/box-two.dir/data").exists() && project.path("build/box-two.dir/order").exists()
    );
    assert_eq!(project.run(&["diff", "box", "box:two"]).out, "~ order (size 80 → 96)\n");
    let again = project.run(&["build"]);
    assert!(again.err.starts_with("nothing to do: 29 steps fresh"), "{again:?}");
    let copy = project.copy("again");
    copy.build();
    assert_eq!(project::difference(&project.outputs(), &copy.outputs()), "");
}

#[test]
fn what_an_image_runs_for_each_target_has_a_name_of_its_own() {
    let Some(project) = project("") else { return };
    let write = |inner: &str, outer: &str| {
        project.write(
            "image.kdl",
            format!(
                "hook-list \"l\" phase=\"finalise\" {{\n    hook \"x\" run=\"echo x >> /order\"\n}}\nimage \"box\" {{\n    \
                 base \"tar\" from=\"base.tar\"\n    {outer}\n    hypervisor \"one\" {{\n        {inner}\n        output \
                 \"tar\"\n    }}\n}}\n"
            ),
        );
    };
    let one = "hooks phase=\"finalise\" { hook \"f\" run=\"echo f >> /order\"; }";
    write(&one.replace("f >>", "own >>"), one);
    let told = project.run(&["check", "--message-format", "short"]);
    assert_eq!(
        told.err,
        "image.kdl:8:39: error: the hook `f` stands twice [hook/twice]\n  help: give one of them another name\n"
    );
    // In phases of its own a hypervisor may call a hook as its image does.
    write(&one.replace("finalise", "install"), one);
    project.build();
    write("hooks \"l\"", "hooks \"l\"");
    let told = project.run(&["check", "--message-format", "short"]);
    assert_eq!(
        told.err,
        "image.kdl:8:15: warning: the list `l` is in this image already [hook-list/twice]\n  help: remove one of them\n"
    );
    project.build();
    assert_eq!(project.run(&["cat", "box:one", "/order"]).out, "x\n");
}

#[test]
fn after_orders_hooks() {
    let Some(project) = project("") else { return };
    let write = |hooks: &str, own: &str| {
        project.write(
            "image.kdl",
            format!(
                "image \"box\" {{\n    base \"tar\" from=\"base.tar\"\n{hooks}\n    hypervisor \"vm\" {{\n{own}\n        \
                 output \"tar\"\n    }}\n}}\n"
            ),
        );
    };
    let hook =
        |name: &str, after: &str| format!("hook \"{name}\" run=\"echo {name} >> /order\" after=\"{after}\"");
    let block =
        |phase: &str, hooks: &[String]| format!("hooks phase=\"{phase}\" {{\n{}\n}}", hooks.join("\n"));
    let three = [hook("a", "c b"), hook("b", ""), hook("c", "")];
    write(&block("post-install", &three), &block("post-install", &[hook("d", "e a"), hook("e", "")]));
    project.build();
    assert_eq!(project.run(&["cat", "box:vm", "/order"]).out, "b\nc\na\ne\nd\n");
    let told = |hooks: &str, own: &str| {
        write(hooks, own);
        let ended = project.run(&["check", "--message-format", "short"]);
        format!("{}exit code {}", ended.err, ended.code.unwrap())
    };
    let circle = [hook("a", "b"), hook("b", "c"), hook("c", "a"), hook("d", "")];
    assert_snapshot!(told(&block("install", &circle), ""), @r#"
    image.kdl:4:6: error: `a`, `b` and `c` wait for each other [hook/circle]
      help: remove one `after`
    exit code 2
    "#);
    assert_snapshot!(told(&block("install", &[hook("a", "bee"), hook("bees", "")]), ""), @r#"
    image.kdl:4:39: error: no hook `bee` runs here [hook/after]
      help: did you mean `bees`?
    exit code 2
    "#);
    let late = format!("{}\n{}", block("install", &[hook("a", "z")]), block("cleanup", &[hook("z", "")]));
    assert_snapshot!(told(&late, ""), @r#"
    image.kdl:4:39: error: `z` runs in the phase `cleanup`, behind the phase `install` of `a` [hook/after]
    exit code 2
    "#);
    // What the image runs behind its hypervisors cannot be before what they run themselves.
    assert_snapshot!(told(&block("cleanup", &[hook("z", "")]), &block("install", &[hook("a", "z")])), @r#"
    image.kdl:8:39: error: `z` runs in the phase `cleanup`, behind the phase `install` of `a` [hook/after]
    exit code 2
    "#);
}

#[test]
fn a_hook_that_makes_the_same_layer_cuts_off_what_follows() {
    let Some(project) = project(
        "image \"box\" {\n    base \"tar\" from=\"base.tar\"\n    hooks {\n        hook \"one\" from=\"one\"\n        hook \
         \"two\" run=\"cat /one > /two\"\n        hook \"idle\" run=\"cat /two > /dev/null; touch /two\"\n    }\n    output \
         \"tar\"\n}\n",
    ) else {
        return;
    };
    project.script("one", "echo one > /one");
    project.build();
    project.script("one", "# the same\necho one > /one");
    assert_eq!(
        project.plan(),
        BTreeMap::from(
            [
                ("base:tar base.tar", "fresh"),
                ("hook:one@box", "run"),
                ("hook:two@box", "maybe"),
                ("hook:idle@box", "maybe"),
                ("output:tar@box", "maybe"),
            ]
            .map(|(id, state)| (id.to_string(), state.to_string()))
        )
    );
    let ended = project.run(&["build"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let lines: Vec<&str> = ended.err.lines().collect();
    assert!(lines[0].starts_with("ran hook:one@box (the same layer as before) "), "{ended:?}");
    assert!(lines[1].starts_with("1 of 5 steps ran because one changed (image.kdl:4), in "), "{ended:?}");
    assert_eq!(lines.len(), 2, "{ended:?}");
    // One that changes makes what reads it run, and that cuts off the rest where it only touches.
    project.script("one", "echo uno > /one");
    assert_eq!(
        project.build().ran,
        set(&["hook:one@box", "hook:two@box", "hook:idle@box", "output:tar@box"])
    );
    let idle = project.run(&["ls", "box", "--json"]);
    assert!(!idle.out.contains("hook:idle"), "touching is no change: {}", idle.out);
}

const KEYS: &str = r#"
variable "GIVEN" default="given" env=#true
variable "OTHER" default="other" env=#true
image "script" {
    base "tar" from="base.tar"
    hooks { hook "x" from="scripts/x"; }
    output "tar"
}
image "stated" {
    base "tar" from="base.tar"
    hooks { hook "x" run="echo text > /x"; }
    output "tar"
}
image "env" {
    base "tar" from="base.tar"
    hooks { hook "x" run="echo $A > /x" { env A="value"; }; }
    output "tar"
}
image "variable" {
    base "tar" from="base.tar"
    hooks { hook "x" run="echo $GIVEN > /x" { env "GIVEN"; }; }
    output "tar"
}
image "input" {
    base "tar" from="base.tar"
    hooks { hook "x" run="cat $IN > /x" { input "in/file" variable="IN"; }; }
    output "tar"
}
image "folder" {
    base "tar" from="base.tar"
    hooks { hook "x" run="cd $IN; find . -exec stat -c '%a %n' {} + > /x" { input "in/folder" variable="IN"; }; }
    output "tar"
}
image "interpreter" {
    base "tar" from="base.tar"
    hooks { hook "x" from="scripts/plain" interpreter="sh -u"; }
    output "tar"
}
image "network" {
    base "tar" from="base.tar"
    hooks { hook "x" run="echo network > /x" network=#false; }
    output "tar"
}
image "data" {
    base "tar" from="base.tar"
    hooks phase="extra-data" { hook "d" run="echo data > data"; }
    hooks { hook "x" run="cat $EXTRA_DATA/data > /x"; }
    output "tar"
}
image "below" {
    base "tar" from="base.tar"
    files { file "/below" from="in/below"; }
    hooks { hook "x" run="cat /below > /x"; }
    output "tar"
}
image "list" {
    base "tar" from="base.tar"
    hooks "listed"
    output "tar"
}
hook-list "listed" from="lists/listed"
hook-list "unused" from="lists/unused"
"#;

#[test]
fn a_key_holds_all_that_a_hook_declares_and_nothing_else() {
    let Some(mut project) = project(KEYS) else { return };
    project.script("scripts/x", "echo x > /x");
    project.script("hooks/l1", "echo l1 >> /x");
    project.script("hooks/l2", "echo l2 >> /x");
    project.write("lists/listed", "l1\nl2 # and so on\n");
    project.write("lists/unused", "l2\n");
    project.write("scripts/plain", "echo plain > /x\n");
    project.write("in/file", "file");
    project.write("in/below", "below");
    project.write("in/folder/one", "one");
    project.write("in/folder/deep/two", "two");
    project.write("near", "nobody's");
    let first = project.build().ran;
    let hooks = first.iter().filter(|id| id.starts_with("hook:")).count();
    assert_eq!(hooks, 13);
    let manifest = |project: &Project, from: &str, to: &str| {
        let text = fs::read_to_string(project.path("image.kdl")).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from}");
        project.write("image.kdl", text.replace(from, to));
    };
    // Exactly these steps run for sure, and exactly these in the end.
    let edited = |project: &Project, what: &str, runs: &[&str], and: &[&str]| {
        let plan = project.plan();
        let planned: BTreeSet<String> =
            plan.into_iter().filter(|(_, state)| state == "run").map(|(id, _)| id).collect();
        assert_eq!(planned, set(runs), "the plan: {what}");
        assert_eq!(project.build().ran, set(&[runs, and].concat()), "{what}");
        let again = project.build().ran;
        assert!(again.is_empty(), "{what}: again {again:?}");
    };
    let one = |project: &Project, what: &str, image: &str| {
        let hook = format!("hook:x@{image}");
        let output = format!("output:tar@{image}");
        edited(project, what, &[&hook], &[&output]);
    };
    project.script("scripts/x", "echo xx > /x");
    one(&project, "a script", "script");
    manifest(&project, "echo text", "echo another");
    one(&project, "a text", "stated");
    manifest(&project, "hook \"x\" run=\"echo another", "hook \"y\" run=\"echo another");
    edited(&project, "a name", &["hook:y@stated"], &[]);
    manifest(&project, "A=\"value\"", "A=\"another\"");
    one(&project, "a value", "env");
    project.environment.insert("GIVEN".into(), "taken".into());
    one(&project, "a variable of the caller's that the manifest takes", "variable");
    project.write("in/file", "elif");
    one(&project, "an input", "input");
    project.mode("in/file", 0o600);
    edited(&project, "an input's mode", &["hook:x@input"], &[]);
    manifest(&project, "\"in/file\" variable", "\"./in/../in/file\" variable");
    project.build();
    project.write("in/folder/deep/two", "owt");
    project.mode("in/folder/deep/two", 0o755);
    one(&project, "a mode in a folder", "folder");
    fs::rename(project.path("in/folder/one"), project.path("in/folder/uno")).unwrap();
    one(&project, "a name in a folder", "folder");
    project.write("in/folder/uno", "eno");
    edited(&project, "a content in a folder", &["hook:x@folder"], &[]);
    manifest(&project, "\"sh -u\"", "\"sh -e\"");
    edited(&project, "an interpreter", &["hook:x@interpreter"], &[]);
    project.write("scripts/plain", "echo plane > /x\n");
    one(&project, "a script that an interpreter runs", "interpreter");
    manifest(&project, "network=#false", "network=#true");
    edited(&project, "the network", &["hook:x@network"], &[]);
    manifest(&project, "echo data > data", "echo atad > data");
    edited(&project, "extra data", &["hook:d@data"], &["hook:x@data", "output:tar@data"]);
    project.write("in/below", "woleb");
    edited(&project, "a layer below", &["files:1@below"], &["hook:x@below", "output:tar@below"]);
    project.script("hooks/l1", "echo 1l >> /x");
    let (l1, l2, output) = ("hook:listed/l1@list", "hook:listed/l2@list", "output:tar@list");
    edited(&project, "the first of a list", &[l1], &[l2, output]);
    project.script("hooks/l2", "echo 2l >> /x");
    edited(&project, "the second of a list", &[l2], &[output]);
    project.write("lists/listed", "l2\nl1\n");
    edited(&project, "the order of a list", &[l2], &[l1, output]);
    let all = project.plan();
    manifest(&project, "variable \"OTHER\"", "epoch 1000000000\nvariable \"OTHER\"");
    let plan = project.plan();
    // What stands on others is known to run only when these have.
    let alone = |id: &&String| id.starts_with("hook:") && plan[*id] != "run" && plan[*id] != "maybe";
    assert_eq!(all.keys().filter(alone).count(), 0, "the epoch: {plan:?}");
    let ran = project.build().ran;
    assert_eq!(ran.iter().filter(|id| id.starts_with("hook:")).count(), hooks, "the epoch: {ran:?}");

    let nothing = |project: &Project, what: &str| {
        let ended = project.run(&["plan", "--exit-code"]);
        assert_eq!(ended.code, Some(0), "{what}: {ended:?}");
        let ran = project.build().ran;
        assert!(ran.is_empty(), "{what}: {ran:?}");
    };
    for file in ["scripts/x", "scripts/plain", "in/file", "in/folder/uno", "hooks/l1", "lists/listed"] {
        let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
        File::open(project.path(file)).unwrap().set_times(times).unwrap();
    }
    nothing(&project, "times");
    project.write("near", "somebody's");
    project.write("in/near", "somebody's");
    project.write("hooks/l3", "#!/bin/sh\n");
    project.write("scripts/y", "#!/bin/sh\n");
    nothing(&project, "files beside");
    project.mode("scripts/x", 0o700);
    project.mode("hooks/l1", 0o711);
    nothing(&project, "who may run a script");
    manifest(&project, "hook-list \"unused\" from=\"lists/unused\"\n", "");
    nothing(&project, "a list that nobody uses");
    let text = fs::read_to_string(project.path("image.kdl")).unwrap();
    let (head, images) = text.split_once("image \"script\"").unwrap();
    let (first, rest) = images.split_once("image \"below\"").unwrap();
    let (below, lists) = rest.split_once("hook-list").unwrap();
    project
        .write("image.kdl", format!("{head}image \"below\"{below}image \"script\"{first}hook-list{lists}"));
    nothing(&project, "the order of images");
    for (name, value) in [
        ("OTHER", "nobody asks"),
        ("TZ", "Asia/Tokyo"),
        ("LANG", "de_DE.UTF-8"),
        ("LC_ALL", "tr_TR.UTF-8"),
        ("A", "the caller's"),
        ("PATH", "/usr/bin:/bin"),
        ("TMPDIR", "/nowhere"),
        ("DEBIAN_FRONTEND", "dialog"),
    ] {
        project.environment.insert(name.into(), value.into());
        nothing(&project, name);
    }
    let home = project.outer().join("another-home");
    project.environment.insert("HOME".into(), home.to_str().unwrap().into());
    nothing(&project, "the home");
    project.prefix = ["sh", "-c", "umask 0077; exec \"$0\" \"$@\""].map(String::from).to_vec();
    nothing(&project, "the umask");
    // Somewhere else, with the same cache: hooks have run.
    let mut copy = project.copy("elsewhere");
    copy.cache = project.cache.clone();
    let ran = copy.build().ran;
    assert!(ran.iter().all(|id| id.starts_with("output:")) && !ran.is_empty(), "another folder: {ran:?}");
    // And with nothing known, the same bytes.
    assert_eq!(project::difference(&project.outputs(), &project.clean()), "");
}

/// Looks for what a hook must not find, and prints it.
const LOOK: &str = r#"
found() { echo "FOUND $*"; }
for path in "$WHERE" "$WHERE/canary" "$WHERE/image.kdl" "$OUTER" "$OUTER/home" "$OUTER/cache" "/proc/1/root$WHERE" \
    "/proc/1/cwd/canary" "/proc/1/environ" "/dev/shm/$MARK" "/tmp/$MARK" "/var/tmp/$MARK" "/run/user" "/proc/1/fd/0"
do
    if cat "$path" > /dev/null 2>&1 || ls "$path/" > /dev/null 2>&1; then found "$path"; fi
done
for process in /proc/[0-9]*; do
    for one in cwd root; do
        if ls "$process/$one/" 2>/dev/null | grep -q -x -e canary -e image.kdl; then found "$process/$one"; fi
    done
    if tr '\0' '\n' < "$process/cmdline" 2>/dev/null | grep -q -F "$OUTER"; then found "$process/cmdline"; fi
done
if grep -F -e "$WHERE" -e "$OUTER/cache" -e "$OUTER/home" /proc/mounts /proc/self/mountinfo; then found mounts; fi
if env | grep -e "^CALLER" -e "^SSH_AUTH_SOCK" -e "^DBUS" -e the-callers; then found environment; fi
[ "$HOME" = /root ] || found "HOME=$HOME"
if ls -A "$HOME/" 2>/dev/null | grep .; then found "$HOME"; fi
if grep -q "@$MARK" /proc/net/unix; then found "abstract sockets"; fi
if busybox nc -w 2 127.0.0.1 "$PORT" < /dev/null; then found "port $PORT"; fi
if busybox nslookup localhost.example 2>/dev/null | grep -q -i "^name"; then found DNS; fi
if ls /proc/net/dev >/dev/null 2>&1 && grep -v -e lo: -e '|' /proc/net/dev; then found "network devices"; fi
for path in /usr/written /etc/written /bin/written /proc/sys/kernel/hostname /sys/written /dev/written; do
    if [ "$IMGBUILD_PHASE" = cleanup ] && (echo x > "$path") 2>/dev/null && [ "${path#/dev}" = "$path" ]; then found "wrote $path"; fi
done
if (echo x > /proc/sys/kernel/hostname) 2>/dev/null; then found "wrote /proc"; fi
if mount -t tmpfs none /tmp 2>/dev/null; then found "mounted"; fi
if mknod /tmp/disk b 8 0 2>/dev/null; then found "made a device"; fi
echo looked
"#;

fn look_around(mut project: Project) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let met = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&met);
    std::thread::spawn(move || {
        listener.incoming().for_each(|_| {
            count.fetch_add(1, Ordering::SeqCst);
        })
    });
    let mark = format!("imgbuild-test-{}-{port}", std::process::id());
    let address =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&mark)
            .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let shared = Path::new("/dev/shm").join(&mark);
    fs::write(&shared, "x").unwrap();
    let outer = project.outer().to_str().unwrap().to_string();
    let here = project.root.to_str().unwrap().to_string();
    // Not as they stand, or the hook would find them in its own environment.
    let body = LOOK
        .replace("$WHERE", &here)
        .replace("$OUTER", &outer)
        .replace("$MARK", &mark)
        .replace("$PORT", &port);
    project.write("look", format!("#!/bin/sh\n{body}"));
    project.mode("look", 0o755);
    project.write("canary", "canary");
    project.write("home/x", "x");
    fs::create_dir_all(project.outer().join("home")).unwrap();
    fs::write(project.outer().join("home/token"), "x").unwrap();
    for (name, value) in [
        ("CALLER", "the-callers"),
        ("SSH_AUTH_SOCK", "/run/user/the-callers"),
        ("LD_LIBRARY_PATH", "/the-callers"),
        ("BASH_ENV", "/the-callers"),
    ] {
        project.environment.insert(name.into(), value.into());
    }
    project.write(
        "image.kdl",
        format!(
            "image \"box\" {{\n    base \"tar\" from=\"base.tar\"\n    hooks {{ hook \"inside\" from=\"look\"; }}\n    hooks \
             phase=\"cleanup\" {{ hook \"outside\" from=\"look\"; }}\n    hooks phase=\"extra-data\" {{ hook \"before\" \
             from=\"look\"; }}\n    hooks phase=\"finalise\" {{ hook \"online\" network=#true run=\"nc -w 2 127.0.0.1 \
             {port} < /dev/null && echo connected\"; }}\n    output \"tar\"\n}}\n"
        ),
    );
    if !project.prefix.is_empty() {
        rootless(&mut project);
    }
    let ended = project.run(&["build"]);
    fs::remove_file(&shared).unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for name in ["inside", "outside", "before"] {
        let log = log(&project, name);
        assert!(log.contains("looked\n") && !log.contains("FOUND"), "{name}: {log}");
    }
    // The port could be reached, then.
    assert!(log(&project, "online").contains("connected"), "{}", log(&project, "online"));
    assert_eq!(met.load(Ordering::SeqCst), 1);
}

/// All that a hook printed.
fn log(project: &Project, name: &str) -> String {
    String::from_utf8_lossy(&fs::read(log_path(project, name)).unwrap()).into_owned()
}

fn log_path(project: &Project, name: &str) -> PathBuf {
    let projects = fs::read_dir(project.cache.join("1/projects")).unwrap();
    let logs =
        projects.flat_map(|project| fs::read_dir(project.unwrap().path().join("logs")).into_iter().flatten());
    let begins = format!("hook_{name}_");
    let mut found = logs.map(|log| log.unwrap().path());
    let own = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&begins);
    found.find(own).unwrap_or_else(|| panic!("no log of {name}"))
}

#[test]
fn a_hook_sees_what_it_declares_and_nothing_else() {
    let Some(project) = project("") else { return };
    look_around(project);
}

#[test]
fn neither_does_one_of_a_plain_user() {
    let Some(mut project) = project("") else { return };
    if !is_root() {
        return skipped("root, to be a plain user with ids of its own");
    }
    project.prefix = vec!["rootless".into()];
    look_around(project);
}

const SECRETS: &str = r#"
image "box" {
    base "tar" from="base.tar"
    hooks {
        hook "use" run="""
            cat $TOKEN; echo; echo x$(cat $TOKEN)y >&2
            head -c 9 $TOKEN; sleep 0.1; tail -c +10 $TOKEN; echo
            sed 's/^/| /' /run/imgbuild/secrets/key
            wc -c < /run/imgbuild/secrets/key
            cp $TOKEN /tmp/token; cp $TOKEN /run/token; cp $TOKEN /root/gone; rm /root/gone
            END
            """ {
            secret "token" env="APP_TOKEN" variable="TOKEN"
            secret "key" from="key.txt"
        }
    }
    output "tar"
}
"#;

const TOKEN: &str = "correct-horse-battery-staple";
const KEY: &str = "-----BEGIN KEY-----\nYWJjZGVmZ2hpamtsbW5vcA\ncXJzdHV2d3h5ejAxMjM0\n-----END KEY-----\n";

/// Every file below `folder` that has one of these in it.
fn holders(folder: &Path, needles: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(holders(&path, needles));
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap();
            let has = |needle: &&&str| bytes.windows(needle.len()).any(|part| part == needle.as_bytes());
            found.extend(needles.iter().find(has).map(|_| path));
        }
    }
    found
}

fn secret_project(end: &str) -> Option<Project> {
    let mut project = project(&SECRETS.replace("END", end))?;
    project.environment.insert("APP_TOKEN".into(), TOKEN.into());
    project.write("key.txt", KEY);
    project.mode("key.txt", 0o600);
    Some(project)
}

const PARTS: [&str; 3] = [TOKEN, "YWJjZGVmZ2hpamtsbW5vcA", "cXJzdHV2d3h5ejAxMjM0"];

#[test]
fn a_secret_is_in_no_layer_no_key_and_no_log() {
    let Some(mut project) = secret_project("") else { return };
    let ended = project.run(&["build"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(log(&project, "use"), "***\nx***y\n***\n| ***\n| ***\n| ***\n| ***\n82\n");
    let kept = |project: &Project| holders(&project.cache, &PARTS);
    assert_eq!(kept(&project), Vec::<PathBuf>::new());
    assert_eq!(holders(&project.path("build"), &PARTS), Vec::<PathBuf>::new());
    let why = project.run(&["why", "--key", "hook:use@box"]);
    assert!(why.out.contains("secret token\n") && !why.out.contains(TOKEN), "{why:?}");
    // A new one makes no new image, nor does none at all where nothing has to run.
    project.environment.insert("APP_TOKEN".into(), "another-one-of-these".into());
    assert!(project.build().ran.is_empty());
    project.environment.remove("APP_TOKEN");
    fs::remove_file(project.path("key.txt")).unwrap();
    assert!(project.build().ran.is_empty());
    // Where it would, that is told before any work begins.
    project.write("image.kdl", SECRETS.replace("END", "true").replace("base.tar", "./base.tar"));
    let told = project.run(&["build", "--message-format", "short"]);
    assert_eq!(
        (told.code, told.err.as_str()),
        (
            Some(3),
            "image.kdl:13:13: error: the secret `token` is not there: `APP_TOKEN` is not set [secret/missing]\n  help: set \
             it: `APP_TOKEN=… imgbuild`\nimage.kdl:14:13: error: the secret `key` cannot be read from `key.txt`: no such \
             file or directory [secret/missing]\n  help: put it there, or name another file\n"
        )
    );
    project.environment.insert("APP_TOKEN".into(), " pin".into());
    project.write("key.txt", "a\nb\n");
    let told = project.run(&["build", "--message-format", "short"]);
    assert_eq!(told.code, Some(3), "{told:?}");
    assert_eq!(
        told.err.matches("is shorter than 4 bytes: no log could be kept free of it").count(),
        2,
        "{told:?}"
    );
    assert_eq!(kept(&project), Vec::<PathBuf>::new());
}

#[test]
fn a_secret_that_is_left_in_the_image_is_refused() {
    let Some(project) =
        secret_project("mkdir -p /etc/app; (head -c 3000 /dev/zero; cat $TOKEN) > /etc/app/conf")
    else {
        return;
    };
    let ended = project.run(&["build", "--message-format", "short"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.err.contains(
            "image.kdl:13:13: error: the hook `use` left the secret `token` in `/etc/app/conf` [secret/left]\n  help: \
             remove it before the script ends: everybody who has the image could read it\n"
        ),
        "{ended:?}"
    );
    assert_eq!(holders(&project.cache, &PARTS), Vec::<PathBuf>::new());
    assert!(!project.path("build/box.tar").exists());
}

#[test]
fn what_is_kept_of_a_failure_holds_no_secret() {
    let Some(mut project) =
        secret_project("cat $TOKEN /run/imgbuild/secrets/key > /left; echo more > /more; exit 3")
    else {
        return;
    };
    let ended = project.run(&["build"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(holders(&project.cache, &PARTS), Vec::<PathBuf>::new());
    assert!(!ended.err.contains(TOKEN), "{ended:?}");
    // The state is there, with stars for the secrets that were left, and with the secrets where they were.
    let script = "cat /left /more; cat $TOKEN; wc -c < /run/imgbuild/secrets/key";
    let shell = |project: &Project| project.run(&["shell", "--failed", "--", "sh", "-c", script]);
    let stars = "*".repeat(TOKEN.len() + KEY.trim_end().len());
    let told = shell(&project);
    assert_eq!(told.out, format!("{stars}\nmore\n{TOKEN}82\n"), "{told:?}");
    // They come from where they always do.
    project.environment.insert("APP_TOKEN".into(), "renewed".into());
    assert_eq!(shell(&project).out, format!("{stars}\nmore\nrenewed82\n"));
    assert_eq!(holders(&project.cache, &PARTS), Vec::<PathBuf>::new());
    let before = project.run(&["shell", "hook:use@box", "--before", "--", "sh", "-c", "ls /; cat $TOKEN"]);
    assert!(before.out.ends_with("renewed") && !before.out.contains("left"), "{before:?}");
}

/// The image box with these hooks of `post-install`.
fn with_hooks(hooks: &str) -> Option<Project> {
    project(&format!(
        "image \"box\" {{\n    base \"tar\" from=\"base.tar\"\n    hooks {{\n{hooks}\n    }}\n    output \"tar\"\n}}\n"
    ))
}

/// A build that fails, and what it said, as wide as it is.
fn fails(project: &Project) -> String {
    let ended = project.run(&["build"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    says(project, &ended)
}

#[test]
fn what_is_left_running_is_ended_and_named() {
    let Some(project) = with_hooks(
        "        hook \"a\" run=\"sleep 4711 & echo done > /a; nohup busybox sleep 4711 > /dev/null 2>&1 &\"",
    ) else {
        return;
    };
    let ended = project.run(&["build"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_snapshot!(says(&project, &ended), @r#"
    warning: `sleep` still ran in the end, and was ended [step/left]
       ╭─[image.kdl:4:14]
     3 │     hooks {
     4 │         hook "a" run="sleep 4711 & echo done > /a; nohup busybox s…
       ·              ─┬─
       ·               ╰── this hook
     5 │     }
       ╰────
    help: end it in what started it: only files stay in an image
    "#);
    assert!(!runs("sleep\u{0}4711"));
    assert_eq!(project.run(&["cat", "box", "/a"]).out, "done\n");
}

#[test]
fn a_flood_costs_a_bounded_log_and_no_memory() {
    let Some(project) =
        with_hooks("        hook \"a\" run=\"yes flood | head -c 1073741824; echo; echo end\"")
    else {
        return;
    };
    let mut child = project.start(&["build"]);
    let mut most = 0;
    let ended = loop {
        most = most.max(most_memory(child.id()));
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(ended.success() && most > 0);
    assert!(most < 256 << 20, "it took {most} bytes");
    let log = fs::read(log_path(&project, "a")).unwrap();
    assert!(((60 << 20)..(65 << 20)).contains(&log.len()), "{}", log.len());
    assert!(log.starts_with(b"flood\n") && log.ends_with(b"\nend\n"));
}

/// The most memory that the process or a child of it had so far, in bytes.
fn most_memory(process: u32) -> u64 {
    let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
    let status = read("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    let own = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() * 1024;
    let children = read(&format!("task/{process}/children"));
    let children = children.split_whitespace().filter_map(|child| child.parse().ok()).map(most_memory);
    children.fold(own, u64::max)
}

#[test]
fn what_a_hook_prints_passes_through() {
    let Some(project) = with_hooks(
        "        hook \"a\" run=#\"printf 'h\\303\\251llo \\342\\202\\254\\n\\000\\377\\001 raw\\n\\033[31mred\\033[0m\\n'; exit 1\"#",
    ) else {
        return;
    };
    let told = fails(&project);
    assert_eq!(
        fs::read(log_path(&project, "a")).unwrap(),
        b"h\xc3\xa9llo \xe2\x82\xac\n\0\xff\x01 raw\n\x1b[31mred\x1b[0m\n"
    );
    assert!(told.contains("héllo €") && told.contains(" raw") && !told.contains('\u{1b}'), "{told}");
}

#[test]
fn scripts_that_fail_are_told_with_their_line() {
    let Some(project) = project("") else { return };
    let tell = |phase: &str, hook: &str| {
        project.write(
            "image.kdl",
            format!(
                "image \"box\" {{\n    base \"tar\" from=\"base.tar\"\n    hooks phase=\"{phase}\" {{\n        {hook}\n    \
                 }}\n    output \"tar\"\n}}\n"
            ),
        );
        fails(&project)
    };
    project.write("fail.sh", "#!/bin/sh\nset -e\necho first\nif true; then\n    nothing-like-it --now\nfi\n");
    project.mode("fail.sh", 0o755);
    assert_snapshot!(tell("install", "hook \"ten\" from=\"fail.sh\""), @r#"
    error: the hook `ten` failed: its script ended with 127 [hook/failed]
       ╭─[fail.sh:5:5]
     4 │ if true; then
     5 │     nothing-like-it --now
       ·     ──────────┬──────────
       ·               ╰── it failed here
     6 │ fi
       ╰────
       ╭─[image.kdl:4:14]
     3 │     hooks phase="install" {
     4 │         hook "ten" from="fail.sh"
       ·              ──┬──
       ·                ╰── this hook
     5 │     }
       ╰────
    last lines:
        first
        /run/imgbuild/hooks/install.d/ten: line 5: nothing-like-it: not found
    help: the whole output is in
          `LOG`;
          `imgbuild shell --failed` opens a shell where it failed
    1 step of 3 failed, 1 ran, 1 not begun; the next build goes on at step 2
    "#);
    assert_snapshot!(tell("install", "hook \"ten\" run=\"\"\"\n            echo begun\n            echo ${UNSET?is not set}\n            echo behind\n            \"\"\""), @r#"
    continues at step 2 of 3, hook:ten@box
    error: the hook `ten` failed: its script ended with 2 [hook/failed]
       ╭─[image.kdl:6:13]
     3 │     hooks phase="install" {
     4 │         hook "ten" run="""
       ·              ──┬──
       ·                ╰── this hook
     5 │             echo begun
     6 │             echo ${UNSET?is not set}
       ·             ────────────┬───────────
       ·                         ╰── it failed here
     7 │             echo behind
       ╰────
    last lines:
        begun
        /run/imgbuild/hooks/install.d/ten: line 2: UNSET: is not set
    help: the whole output is in
          `LOG`;
          `imgbuild shell --failed` opens a shell where it failed
    1 step of 3 failed, 0 ran, 1 not begun; the next build goes on at step 2
    "#);
    assert_snapshot!(tell("install", "hook \"ten\" run=\"false\""), @r#"
    continues at step 2 of 3, hook:ten@box
    error: the hook `ten` failed: its script ended with 1 [hook/failed]
       ╭─[image.kdl:4:14]
     3 │     hooks phase="install" {
     4 │         hook "ten" run="false"
       ·              ──┬──
       ·                ╰── this hook
     5 │     }
       ╰────
    help: the whole output is in
          `LOG`;
          `imgbuild shell --failed` opens a shell where it failed
    1 step of 3 failed, 0 ran, 1 not begun; the next build goes on at step 2
    "#);
    assert_snapshot!(tell("install", "hook \"ten\" interpreter=\"python9 -I\" run=\"x\""), @r#"
    continues at step 2 of 3, hook:ten@box
    error: the hook `ten` failed: its script ended with 127 [hook/failed]
       ╭─[image.kdl:4:14]
     3 │     hooks phase="install" {
     4 │         hook "ten" interpreter="python9 -I" run="x"
       ·              ──┬──
       ·                ╰── this hook
     5 │     }
       ╰────
    last lines:
        imgbuild: cannot start `python9`: no such file or directory
    help: it is run by `python9`, which has to be in the image;
          `imgbuild shell --failed` opens a shell where it failed
    1 step of 3 failed, 0 ran, 1 not begun; the next build goes on at step 2
    "#);
    project.write("bang", "#!/usr/bin/python9 -I\n");
    project.mode("bang", 0o755);
    assert_snapshot!(tell("install", "hook \"ten\" from=\"bang\""), @r#"
    continues at step 2 of 3, hook:ten@box
    error: the hook `ten` failed: its script ended with 127 [hook/failed]
       ╭─[image.kdl:4:14]
     3 │     hooks phase="install" {
     4 │         hook "ten" from="bang"
       ·              ──┬──
       ·                ╰── this hook
     5 │     }
       ╰────
    last lines:
        imgbuild: cannot start `/run/imgbuild/hooks/install.d/ten`: no such file or directory
    help: it is run by `/usr/bin/python9 -I`, which has to be in the image;
          `imgbuild shell --failed` opens a shell where it failed
    1 step of 3 failed, 0 ran, 1 not begun; the next build goes on at step 2
    "#);
    assert_snapshot!(tell("install", "hook \"ten\" run=\"kill -9 $$\""), @r#"
    continues at step 2 of 3, hook:ten@box
    error: the hook `ten` failed: its script was ended by signal 9 [hook/failed]
       ╭─[image.kdl:4:14]
     3 │     hooks phase="install" {
     4 │         hook "ten" run="kill -9 $$"
       ·              ──┬──
       ·                ╰── this hook
     5 │     }
       ╰────
    help: the whole output is in
          `LOG`;
          `imgbuild shell --failed` opens a shell where it failed
    1 step of 3 failed, 0 ran, 1 not begun; the next build goes on at step 2
    "#);
    assert_snapshot!(tell("install", "hook \"ten\" timeout=1 run=\"echo begun; sleep 60\""), @r#"
    continues at step 2 of 3, hook:ten@box
    error: it took longer than 1.0 s [sandbox/timeout]
       ╭─[image.kdl:4:14]
     3 │     hooks phase="install" {
     4 │         hook "ten" timeout=1 run="echo begun; sleep 60"
       ·              ──┬──
       ·                ╰── this hook
     5 │     }
       ╰────
    last lines:
        begun
    help: allow it more time, or see what it waits for
    1 step of 3 failed, 0 ran, 1 not begun; the next build goes on at step 2
    "#);
    project.write("plain", "echo no bang; exit 7\n");
    project.mode("plain", 0o755);
    assert_snapshot!(tell("install", "hook \"ten\" from=\"plain\""), @r#"
    continues at step 2 of 3, hook:ten@box
    error: the hook `ten` failed: its script ended with 7 [hook/failed]
       ╭─[image.kdl:4:14]
     3 │     hooks phase="install" {
     4 │         hook "ten" from="plain"
       ·              ──┬──
       ·                ╰── this hook
     5 │     }
       ╰────
    last lines:
        no bang
    help: the whole output is in
          `LOG`;
          `imgbuild shell --failed` opens a shell where it failed
    1 step of 3 failed, 0 ran, 1 not begun; the next build goes on at step 2
    "#);
    let has = |name: &str| Path::new("/usr/bin").join(name).exists();
    if has("bash") {
        project.write("fail.bash", "#!/bin/bash\nset -euo pipefail\nwanted() {\n    cat \"$1\" | nothing-like-it\n}\nwanted /etc/hostname\n");
        project.mode("fail.bash", 0o755);
        assert_snapshot!(tell("cleanup", "hook \"ten\" from=\"fail.bash\""), @r#"
        continues at step 2 of 3, hook:ten@box
        error: the hook `ten` failed: its script ended with 127 [hook/failed]
           ╭─[fail.bash:4:5]
         3 │ wanted() {
         4 │     cat "$1" | nothing-like-it
           ·     ─────────────┬────────────
           ·                  ╰── it failed here
         5 │ }
           ╰────
           ╭─[image.kdl:4:14]
         3 │     hooks phase="cleanup" {
         4 │         hook "ten" from="fail.bash"
           ·              ──┬──
           ·                ╰── this hook
         5 │     }
           ╰────
        last lines:
            /run/imgbuild/hooks/cleanup.d/ten: line 4: nothing-like-it: command not found
        help: the whole output is in
              `LOG`;
              `imgbuild shell --failed` opens a shell where it failed
        1 step of 3 failed, 0 ran, 1 not begun; the next build goes on at step 2
        "#);
    }
    if has("python3") {
        let hook = "hook \"ten\" interpreter=\"python3\" run=\"\"\"\n            import json\n            print('begun')\n            json.loads('{')\n            \"\"\"";
        assert_snapshot!(tell("cleanup", hook).lines().filter(|line| !line.contains("/usr/lib")).collect::<Vec<_>>().join("\n"), @r#"
        continues at step 2 of 3, hook:ten@box
        error: the hook `ten` failed: its script ended with 1 [hook/failed]
           ╭─[image.kdl:7:13]
         3 │     hooks phase="cleanup" {
         4 │         hook "ten" interpreter="python3" run="""
           ·              ──┬──
           ·                ╰── this hook
         5 │             import json
         6 │             print('begun')
         7 │             json.loads('{')
           ·             ───────┬───────
           ·                    ╰── it failed here
         8 │             """
           ╰────
        last lines:
            begun
            Traceback (most recent call last):
              File "/run/imgbuild/hooks/cleanup.d/ten", line 3, in <module>
                json.loads('{')
                return _default_decoder.decode(s)
                       ^^^^^^^^^^^^^^^^^^^^^^^^^^
                obj, end = self.raw_decode(s, idx=_w(s, 0).end())
                           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
                obj, end = self.scan_once(s, idx)
                           ^^^^^^^^^^^^^^^^^^^^^^
            json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)
        help: the whole output is in
              `LOG`;
              `imgbuild shell --failed` opens a shell where it failed
        1 step of 3 failed, 0 ran, 1 not begun; the next build goes on at step 2
        "#);
    }
    if has("perl") {
        assert_snapshot!(tell("cleanup", "hook \"ten\" interpreter=\"perl -w\" run=\"\"\"\n            print \"begun\\n\";\n            die \"no more\";\n            \"\"\""), @r#"
        continues at step 2 of 3, hook:ten@box
        error: the hook `ten` failed: its script ended with 255 [hook/failed]
           ╭─[image.kdl:6:13]
         3 │     hooks phase="cleanup" {
         4 │         hook "ten" interpreter="perl -w" run="""
           ·              ──┬──
           ·                ╰── this hook
         5 │             print "begun\n";
         6 │             die "no more";
           ·             ───────┬──────
           ·                    ╰── it failed here
         7 │             """
           ╰────
        last lines:
            no more at /run/imgbuild/hooks/cleanup.d/ten line 3.
            begun
        help: the whole output is in
              `LOG`;
              `imgbuild shell --failed` opens a shell where it failed
        1 step of 3 failed, 0 ran, 1 not begun; the next build goes on at step 2
        "#);
    }
}

#[test]
fn a_shell_finds_the_state_in_which_a_hook_failed() {
    let Some(mut project) = project(
        r#"image "box" {
    base "tar" from="base.tar"
    hooks phase="extra-data" { hook "e" run="echo data > data"; }
    hooks phase="install" {
        hook "inside" run="echo half > /half; rm /etc/group; exit $CODE" {
            env CODE="3"
            input "input" variable="IN"
        }
    }
    hooks phase="cleanup" { hook "outside" run="echo half > $TARGET/other; exit 4"; }
    output "tar"
}
"#,
    ) else {
        return;
    };
    project.write("input", "input\n");
    let shell =
        |project: &Project, script: &str| project.run(&["shell", "--failed", "--", "sh", "-c", script]).out;
    let inside = "pwd; cat /half $EXTRA_DATA/data $IN; ls /etc; echo $CODE; ls /run/imgbuild/hooks/install.d";
    fails(&project);
    assert_eq!(shell(&project, inside), "/\nhalf\ndata\ninput\npasswd\n3\ninside\n");
    let outside = "pwd; cat $TARGET/other $EXTRA_DATA/data; ls -d /usr /half; ls /run/imgbuild/hooks/cleanup.d; ls $TARGET/etc";
    let text = fs::read_to_string(project.path("image.kdl")).unwrap();
    project.write("image.kdl", text.replace("CODE=\"3\"", "CODE=\"0\""));
    fails(&project);
    assert_eq!(shell(&project, outside), "/\nhalf\ndata\n/usr\noutside\npasswd\n");
    if is_root() {
        rootless(&mut project);
        fails(&project);
        assert_eq!(shell(&project, outside), "/\nhalf\ndata\n/usr\noutside\npasswd\n");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let Some(project) = project(MISTAKES) else { return };
    project.script("hooks/10-network", "true");
    project.script("hooks/20-users", "true");
    project.write("hooks/30-plain", "true\n");
    project.write("lists/setup", "10-network\n20-user\n\n# nothing\n30-plain\n10-network\n");
    project.write("lists/good", "20-users\n");
    project.write("lists/bad", "10-network;rm\n");
    project.script("parts/10-x", "true");
    let ended = project.run(&["check", "--message-format", "short"]);
    assert_snapshot!(format!("{}exit code {}", ended.err, ended.code.unwrap()), @r#"
    image.kdl:2:11: error: the list of hooks `setup` is declared twice [hook-list/twice]
    image.kdl:3:23: error: cannot read `lists/setpu`: no such file or directory [hook-list/read]
      help: did you mean `lists/setup`?
    image.kdl:6:5: error: a list is read from a file or folder, or stated here [hook-list/both]
      help: make two lists of it; an image names both: `hooks "one" "other"`
    image.kdl:8:28: error: `on-failure` is for a folder of the dialect `run-parts` [hook-list/dialect]
      help: remove it, or say `dialect="run-parts"`
    image.kdl:8:46: error: `directory` is for a folder of the dialect `run-parts` [hook-list/dialect]
      help: remove it, or say `dialect="run-parts"`
    image.kdl:11:62: error: there is no folder `partz` [hook-list/directory]
      help: did you mean `parts`?
    image.kdl:13:5: error: hooks of another tool stand in a folder [hook-list/dialect]
      help: name the folder with `from=`, or leave the dialect out
    image.kdl:15:24: error: `finalize` is not `extra-data`, `pre-install`, `install`, `post-install`, `block-device`, `finalise`, `cleanup` or `first-boot` [value/unfit]
      help: did you mean `finalise`?
    image.kdl:15:43: error: `runparts` is not `list`, `run-parts` or `dib` [value/unfit]
      help: did you mean `run-parts`?
    image.kdl:15:62: error: `0` is not a whole number from 1 to 86400 [value/unfit]
    image.kdl:17:13: error: no variable is called `NOPE` [variable/unknown]
      help: declare it with `variable "NOPE"`
    image.kdl:17:25: error: `9X` cannot be an environment variable [env/name]
      help: letters, digits and `_`, not beginning with a digit
    image.kdl:17:33: error: `A-B` cannot be an environment variable [env/name]
      help: letters, digits and `_`, not beginning with a digit
    image.kdl:18:15: error: `inptu` does not exist [input/missing]
    image.kdl:19:32: error: `9X` cannot be an environment variable [env/name]
      help: letters, digits and `_`, not beginning with a digit
    image.kdl:22:15: error: two inputs would stand at `/run/imgbuild/input/hooks` [input/twice]
      help: give one of them another name, or name the folder that has both
    image.kdl:23:9: error: this secret has neither `from=` nor `env=` [secret/from]
      help: add one of them
    image.kdl:24:9: error: this secret has both `from=` and `env=` [secret/from]
      help: keep one of them
    image.kdl:25:37: error: `A-B` cannot be an environment variable [env/name]
      help: letters, digits and `_`, not beginning with a digit
    image.kdl:27:10: error: the hook `said/a` stands twice [hook/twice]
      help: give one of them another name
    image.kdl:28:30: error: this hook has both `run=` and `from=` [hook/both]
      help: keep one of them
    image.kdl:29:19: error: `hooks/30-plain` is not executable [hook/executable]
      help: run `chmod +x hooks/30-plain`, or say what runs it: `interpreter="sh"`
    image.kdl:30:19: error: `hooks` is not a file [hook/missing]
      help: a folder of hooks is a list: `hook-list "NAME" from="FOLDER"`
    image.kdl:31:19: error: cannot read `hooks/20-user`: no such file or directory [hook/missing]
      help: did you mean `hooks/20-users`?
    image.kdl:32:10: error: no hook is called `20-usres` [hook/unknown]
      help: did you mean `20-users`?
    image.kdl:33:31: error: no hook `g` runs here [hook/after]
      help: there are `said/a`, `said/a`, `said/f` and `fb`
    image.kdl:34:5: error: `hook` lacks its name [argument/missing]
      help: write `hook "NAME"`
    image.kdl:38:11: error: no list of hooks is called `setpu` [hook-list/unknown]
      help: did you mean `setup`?
    image.kdl:38:26: warning: the list `said` is in this image already [hook-list/twice]
      help: remove one of them
    image.kdl:38:39: error: `never` is not `extra-data`, `pre-install`, `install`, `post-install`, `block-device`, `finalise`, `cleanup` or `first-boot` [value/unfit]
    image.kdl:40:9: error: an `input` means nothing to a hook of the booted image [hook/first-boot]
      help: remove it; what the hook needs then, an overlay brings
    image.kdl:40:9: error: a `secret` means nothing to a hook of the booted image [hook/first-boot]
      help: remove it; what the hook needs then, an overlay brings
    image.kdl:40:9: error: `network` means nothing to a hook of the booted image [hook/first-boot]
      help: remove it; what the hook needs then, an overlay brings
    image.kdl:40:9: error: a `timeout` means nothing to a hook of the booted image [hook/first-boot]
      help: remove it; what the hook needs then, an overlay brings
    lists/bad:1:1: error: no hook is called `10-network;rm` [hook/unknown]
      help: did you mean `10-network`?
    lists/setup:2:1: error: no hook is called `20-user` [hook/unknown]
      help: did you mean `20-users`?
    lists/setup:5:1: error: `hooks/30-plain` is not executable [hook/executable]
      help: run `chmod +x hooks/30-plain`, or say what runs it: `interpreter="sh"`
    lists/setup:6:1: warning: `10-network` stands here twice [hooks/order-twice]
      help: take one of the lines out
    exit code 2
    "#);
}

const MISTAKES: &str = r#"hook-list "setup" from="lists/setup"
hook-list "setup" from="lists/good"
hook-list "gone" from="lists/setpu"
hook-list "bad" from="lists/bad"
hook-list "both" from="lists/good" {
    hook "x" run="true"
}
hook-list "odd" on-failure="go-on" directory="parts" {
    hook "x" run="true"
}
hook-list "parts" from="parts" dialect="run-parts" directory="partz"
hook-list "stated" dialect="dib" {
    hook "x" run="true"
}
hook-list "said" phase="finalize" dialect="runparts" timeout=0 {
    hook "a" run="true" {
        env "NOPE" "9X"="x" A-B="x"
        input "inptu"
        input "hooks" variable="9X"
        input "parts/10-x"
        input "lists/../parts/10-x"
        input "../project/hooks"
        secret "s"
        secret "t" from="x" env="X"
        secret "u" env="X" variable="A-B"
    }
    hook "a" run="true"
    hook "b" run="true" from="hooks/20-users"
    hook "c" from="hooks/30-plain"
    hook "d" from="hooks"
    hook "e" from="hooks/20-user"
    hook "20-usres"
    hook "f" run="true" after="g"
    hook
}
image "box" {
    base "tar" from="base.tar"
    hooks "setpu" "said" "said" phase="never"
    hooks phase="first-boot" {
        hook "fb" run="true" network=#true timeout=5 {
            input "hooks"
            secret "s" env="X"
        }
    }
    output "tar"
}
"#;

#[test]
fn hooks_are_found_by_their_names() {
    let Some(mut project) = project(
        "search {\n    hooks \"mine\"\n}\nhook-list \"setup\" from=\"setup\"\nhook-list \"folder\" from=\"scripts\"\nimage \
         \"box\" {\n    base \"tar\" from=\"base.tar\"\n    hooks \"setup\" \"folder\" {\n        hook \"single\"\n    }\n    \
         output \"tar\"\n}\n",
    ) else {
        return;
    };
    let script = |name: &str| project.script(name, &format!("echo {name} >> /order"));
    script("mine/one");
    script("mine/single");
    script("../behind/one");
    script("../behind/two");
    script("../before/three");
    script("../before/single");
    ["scripts/20-b", "scripts/10-a", "scripts/9", "scripts/x.sh", "scripts/a b"]
        .iter()
        .for_each(|name| script(name));
    project.write("scripts/data", "no script\n");
    project.write("scripts/forgotten", "#!/bin/sh\n");
    // The order of the text.
    project.write("setup", "# in this order\nthree\none # of them\ntwo\n");
    let short = |project: &Project, arguments: &[&str]| {
        let arguments = [arguments, &["--message-format", "short"]].concat();
        project.run(&arguments).err
    };
    assert_snapshot!(short(&project, &["check"]), @r#"
    image.kdl:5:25: warning: `scripts/a b` does not run: its name does not count [hooks/skipped]
      help: rename it to `a-b`; names of scripts are of ASCII letters, digits, `_` and `-`
    image.kdl:5:25: warning: `scripts/forgotten` does not run: it is not executable [hooks/skipped]
      help: `chmod +x scripts/forgotten`
    image.kdl:5:25: warning: `scripts/x.sh` does not run: its name does not count [hooks/skipped]
      help: rename it to `x`; names of scripts are of ASCII letters, digits, `_` and `-`
    setup:2:1: error: no hook is called `three` [hook/unknown]
      help: looked in `mine`; or give it a `run=` or `from=`
    setup:4:1: error: no hook is called `two` [hook/unknown]
      help: looked in `mine`; or give it a `run=` or `from=`
    "#);
    project.arguments = ["--hooks", "../behind"].map(String::from).to_vec();
    let before = project.outer().join("before");
    project.environment.insert("IMGBUILD_HOOK_PATH".into(), before.to_str().unwrap().into());
    assert_snapshot!(short(&project, &["check"]), @r#"
    image.kdl:5:25: warning: `scripts/a b` does not run: its name does not count [hooks/skipped]
      help: rename it to `a-b`; names of scripts are of ASCII letters, digits, `_` and `-`
    image.kdl:5:25: warning: `scripts/forgotten` does not run: it is not executable [hooks/skipped]
      help: `chmod +x scripts/forgotten`
    image.kdl:5:25: warning: `scripts/x.sh` does not run: its name does not count [hooks/skipped]
      help: rename it to `x`; names of scripts are of ASCII letters, digits, `_` and `-`
    "#);
    project.build();
    assert_eq!(
        project.run(&["cat", "box", "/order"]).out.lines().collect::<Vec<_>>(),
        [
            "../before/three",
            "mine/one",
            "../behind/two",
            "scripts/10-a",
            "scripts/20-b",
            "scripts/9",
            "../before/single"
        ]
    );
}

const SHAPES: &str = r#"
image "box" {
    base "tar" from="base.tar"
    hooks {
        hook "make" run="""
            mkdir -p /d/sub /over/old; echo 1 > /d/one; echo 2 > /d/two; echo 3 > /d/sub/three; echo x > /over/old/x
            ln /d/one /d/uno; ln -s one /d/link; mkfifo /d/fifo; echo s > /suid; chown web:web /suid; chmod 6755 /suid
            chown -h web:33 /d/link; mkdir /sticky; chmod 1777 /sticky; mkdir -p /to; ln -s to /linked
            dd if=/dev/zero of=/sparse bs=1 count=1 seek=1000000 2>/dev/null
            """
        hook "unmake" run="""
            rm /d/two /d/link; rm -r /d/sub; mkdir /d/sub; echo 4 > /d/sub/four
            rm -r /over; mkdir /over; echo y > /over/y; mv /d/uno /d/eins; chown 7:8 /d
            if mknod /dev0 c 1 3 2>/dev/null; then exit 9; fi
            rm /linked; ln -s d /linked; rm /suid; mkdir /suid
            """
    }
    hooks phase="cleanup" {
        hook "outside" run="""
            cd $TARGET; rm d/fifo; mv sticky glued; chown 33:33 glued; chmod 2711 to; touch -d @5 d/one
            if command -v setcap >/dev/null; then cp bin/busybox ping; setcap cap_net_raw+ep ping; fi
            """
    }
    output "tar"
}
"#;

#[test]
fn what_hooks_change_is_the_same_for_root_and_a_plain_user() {
    let Some(project) = project(SHAPES) else { return };
    project.build();
    let entries = tar_entries(&project.path("build/box.tar"));
    let of = |path: &str| entries.get(path).map(String::as_str).unwrap_or("nothing");
    for gone in ["d/two", "d/link", "d/sub/three", "over/old", "d/uno", "d/fifo", "sticky", "dev0"] {
        assert_eq!(of(gone), "nothing", "{gone}");
    }
    assert_eq!(of("d"), "Directory 755 7:8");
    assert_eq!(of("d/sub/four"), "Regular 644 0:0");
    assert_eq!(of("over/y"), "Regular 644 0:0");
    assert_eq!(of("suid"), "Directory 755 0:0");
    assert_eq!(of("glued"), "Directory 1777 33:33");
    assert_eq!(of("to"), "Directory 2711 0:0");
    assert_eq!(of("linked"), "Symlink 777 0:0 d");
    // An overlay copies a file that is renamed: other names of it stay what they were.
    assert_eq!((of("d/one"), of("d/eins")), ("Regular 644 0:0", "Regular 644 0:0"));
    let copy = project.copy("again");
    copy.build();
    let same = |other: &Project, whose: &str| {
        let difference = project::difference(&project.outputs(), &other.outputs());
        assert_eq!(difference, "", "{whose}");
    };
    same(&copy, "with nothing known");
    if !is_root() {
        return skipped("root, to be a plain user with ids of its own");
    }
    let mut plain = project.copy("plain");
    rootless(&mut plain);
    plain.build();
    same(&plain, "of a plain user");
}

#[test]
fn a_folder_in_place_of_a_link_is_told() {
    let Some(project) = with_hooks(
        "        hook \"a\" run=\"mkdir /to; ln -s to /link\"\n        hook \"b\" run=\"rm /link; mkdir /link; echo x > /link/x\"",
    ) else {
        return;
    };
    assert_snapshot!(fails(&project), @r#"
    error: `/link` was a symbolic link and became a directory, which a layer cannot
           say [layer/folder-over-link]
       ╭─[image.kdl:5:14]
     4 │         hook "a" run="mkdir /to; ln -s to /link"
     5 │         hook "b" run="rm /link; mkdir /link; echo x > /link/x"
       ·              ─┬─
       ·               ╰── this hook
     6 │     }
       ╰────
    help: make it a directory in an overlay below, or another link
    1 step of 4 failed, 2 ran, 1 not begun; the next build goes on at step 3
    "#);
}

#[test]
fn extra_data_is_added_to_and_taken_from() {
    let Some(project) = project(
        r#"image "box" {
    base "tar" from="base.tar"
    hooks phase="extra-data" {
        hook "one" run="mkdir -p d/e; echo 1 > d/e/f; echo 2 > g; ln g h; ln -s g l; chmod 600 g; echo x > d/gone"
        hook "two" run="rm -r d/e; mkdir d/e; echo 3 > d/e/new; rm g d/gone; chmod 755 h"
        hook "three" run="touch listed; find . | sort > listed"
    }
    hooks { hook "see" run="cd $EXTRA_DATA; cat listed > /seen; cat d/e/new h >> /seen; stat -c %a h >> /seen; if (echo x > new) 2>/dev/null; then echo changed; fi"; }
    hooks phase="cleanup" { hook "outside" run="cd $EXTRA_DATA; cp listed $TARGET/listed; test ! -e new"; }
    output "tar"
}
"#,
    ) else {
        return;
    };
    project.build();
    let listed = ".\n./d\n./d/e\n./d/e/new\n./h\n./l\n./listed\n";
    assert_eq!(project.run(&["cat", "box", "/seen"]).out, format!("{listed}3\n2\n755\n"));
    assert_eq!(project.run(&["cat", "box", "/listed"]).out, listed);
}

#[test]
fn whoever_is_killed_leaves_nothing() {
    let marker = format!("9{}", std::process::id());
    let Some(project) =
        with_hooks(&format!("        hook \"a\" run=\"echo x > /x; (sleep {marker} &); sleep {marker}\""))
    else {
        return;
    };
    let sleeper = format!("sleep\u{0}{marker}");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut child = project.command(&["build"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until(60, "it runs", || runs(&sleeper));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until(60, "all has ended", || !runs(&sleeper));
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
    assert!(!project.path("build/box.tar").exists());
    let text = fs::read_to_string(project.path("image.kdl")).unwrap();
    project.write("image.kdl", text.replace(&format!("(sleep {marker} &); sleep {marker}"), "true"));
    assert_eq!(project.build().ran, set(&["hook:a@box", "output:tar@box"]));
    assert_eq!(project.run(&["cat", "box", "/x"]).out, "x\n");
}

#[test]
fn what_only_hooks_need_is_kept_as_long_as_they_do() {
    let Some(project) = project(
        "image \"box\" {\n    base \"tar\" from=\"base.tar\"\n    hooks phase=\"extra-data\" { hook \"d\" run=\"echo data > \
         data\"; }\n    hooks { hook \"x\" run=\"cat $EXTRA_DATA/data > /x\"; }\n    output \"tar\"\n}\n",
    ) else {
        return;
    };
    project.build();
    let gc = project.run(&["cache", "gc"]);
    assert_eq!(gc.code, Some(0), "{gc:?}");
    assert!(project.build().ran.is_empty(), "what is used stays");
    // With all of its layers gone, what an edit needs is made again.
    fs::remove_dir_all(project.cache.join("1/layers")).unwrap();
    let text = fs::read_to_string(project.path("image.kdl")).unwrap();
    project.write("image.kdl", text.replace("> /x", ">> /x"));
    project.build();
    assert_eq!(project.run(&["cat", "box", "/x"]).out, "data\n");
}

#[test]
fn hooks_work_on_a_debian() {
    let Some(project) = debian(
        r#"image "box" {
    base "debian" suite="bookworm"
    packages { nano; }
    hooks phase="pre-install" {
        hook "pre" run="test ! -e /bin/nano; echo mine > /etc/nanorc; test $IMGBUILD_SUITE = bookworm"
    }
    hooks phase="install" {
        hook "in" run="test -x /bin/nano; dpkg-query -W nano; useradd -m -u 1234 somebody; echo x > ~somebody/x; chown somebody: ~somebody/x"
    }
    hooks {
        hook "post" run="systemctl start nothing 2>/dev/null || service nothing start 2>/dev/null || true; invoke-rc.d cron start || true"
    }
    hypervisor "vm" {
        packages { vim-tiny; }
        hooks phase="pre-install" { hook "vm" run="test -x /bin/nano; test ! -e /usr/bin/vim.tiny"; }
        hooks { hook "vm2" run="test -x /usr/bin/vim.tiny; apt-get -y purge vim-tiny"; }
        output "tar"
    }
    output "tar"
}
"#,
    ) else {
        return;
    };
    project.build();
    // What a hook wrote before the package came, dpkg leaves alone.
    assert_eq!(project.run(&["cat", "box", "/etc/nanorc"]).out, "mine\n");
    let entries = tar_entries(&project.path("build/box.tar"));
    assert_eq!(entries.get("home/somebody/x").map(String::as_str), Some("Regular 644 1234:1234"));
    assert!(!entries.keys().any(|path| path.starts_with("run/imgbuild") || path == "usr/sbin/policy-rc.d"));
    let vm = tar_entries(&project.path("build/box-vm.tar"));
    assert!(vm.contains_key("usr/bin/nano") && !vm.contains_key("usr/bin/vim.tiny"));
    assert_eq!(project.run(&["plan", "--exit-code"]).code, Some(0));
    let packages = project.run(&["packages", "box"]);
    assert!(packages.out.contains("nano"), "{packages:?}");
}

#[test]
fn an_initramfs_has_what_hooks_put_into_it_and_knows_no_other_hook() {
    // The cache remembers what earlier runs of this test have made.
    let run = based::unique();
    let first = format!("first-{run}");
    let manifest = |mark: &str, other: &str| {
        format!(
            r##"image "box" {{
    base "debian" suite="bookworm"
    hooks phase="pre-install" {{
        hook "early" run=#"""
            mkdir -p /etc/initramfs-tools/hooks
            printf '#!/bin/sh\necho {mark} > $DESTDIR/mark\n' > /etc/initramfs-tools/hooks/mark
            chmod +x /etc/initramfs-tools/hooks/mark
            echo {other} > /etc/other
            """#
    }}
    hooks {{ hook "other" run="echo {other} > /etc/another"; }}
    hypervisor "vm" {{
        packages {{ linux-image-cloud-amd64; initramfs-tools; }}
        hooks {{ hook "behind" run="ls /boot > /boot/listed"; }}
        output "tar"
    }}
}}
"##
        )
    };
    let Some(project) = debian(&manifest(&first, "one")) else { return };
    let mark = |project: &Project| {
        let listed = project.run(&["ls", "box:vm"]).out;
        let name =
            listed.split_whitespace().find(|word| word.starts_with("boot/initrd.img-")).unwrap().to_string();
        let done = project.command(&["cat", "box:vm", &format!("/{name}")]).output().unwrap().stdout;
        based::in_initramfs(&done, "mark")
    };
    project.build();
    assert_eq!(mark(&project).as_deref(), Some(format!("{first}\n").as_str()));
    project.write("image.kdl", manifest(&first, &format!("two-{run}")));
    let ran = project.build().ran;
    assert!(ran.contains("hook:other@box") && ran.contains("hook:early@box"), "{ran:?}");
    assert!(!ran.contains("initramfs:box:vm"), "{ran:?}");
    project.write("image.kdl", manifest(&format!("second-{run}"), &format!("two-{run}")));
    let ran = project.build().ran;
    assert!(ran.contains("initramfs:box:vm"), "{ran:?}");
    assert_eq!(mark(&project).as_deref(), Some(format!("second-{run}\n").as_str()));
    let ended: Ended = project.run(&["plan", "--exit-code"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
