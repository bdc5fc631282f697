//! `test`: real machines that boot in QEMU's, and do what they should, or do not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod based;
mod project;

use std::fs;

use based::debian;
use insta::assert_snapshot;

const TRIALS: &str = r#"
image "web" {
    base "debian" suite="trixie"
    packages { linux-image-cloud-amd64; systemd-sysv; udev }
    files { file "/etc/greeting" content="hello"; }
    disk { partition "root" filesystem="ext4" mount="/"; }
    boot loader="none" console="ttyS0"
    machine memory="512MiB"
    output "raw"
    output "kernel"
    test "boots" timeout=900 {
        wait-for "login:"
        run "systemctl is-system-running --wait; grep hello /etc/greeting"
        run "findmnt -n -o FSTYPE / && test \"$(cat /etc/greeting)\" = hello"
    }
    test "fails" timeout=900 {
        run "echo this much; ls /nothing"
    }
}
"#;

#[test]
fn tests_boot_what_was_built() {
    let Some(project) = debian(TRIALS) else { return };
    let plain = project.run(&["plan"]);
    assert!(!plain.out.contains("test:") && !plain.out.contains("tools:qemu-system"), "{}", plain.out);
    let told =
        project.run(&["test", "--keep-going", "--junit", "build/report.xml", "--message-format", "short"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    let failure: Vec<&str> = told.err.lines().filter(|line| line.contains("image.kdl")).collect();
    assert_snapshot!(failure.join("\n"), @r#"
    image.kdl:17:13: error: the test `fails` failed: `echo this much; ls /nothing` ended with 2 [test/failed]
    "#);
    assert!(told.err.contains("/nothing"), "what it said: {}", told.err);
    assert!(told.err.contains("\n1 of 2 tests passed\n"), "{}", told.err);
    assert!(told.err.contains("what the console said is in `build/web.fails.log`"), "{}", told.err);
    let log = fs::read_to_string(project.path("build/web.boots.log")).unwrap();
    assert!(log.contains("Linux version") && log.contains("login:"), "{log}");
    assert!(
        log.contains("\n+ findmnt -n -o FSTYPE / && test \"$(cat /etc/greeting)\" = hello\next4\n"),
        "{log}"
    );
    let log = fs::read_to_string(project.path("build/web.fails.log")).unwrap();
    assert!(
        log.contains("Linux version") && log.contains("\n+ echo this much; ls /nothing\nthis much\n"),
        "{log}"
    );
    let why = project.run(&["why", "test:fails"]).out;
    assert!(why.contains("it failed when it ran last"), "{why}");
    let report = fs::read_to_string(project.path("build/report.xml")).unwrap();
    assert!(report.contains(r#"tests="2" failures="1" errors="0" skipped="0""#), "{report}");
    assert!(
        report.contains(
            "<failure message=\"the test `fails` failed: `echo this much; ls /nothing` ended with 2\" \
             type=\"test/failed\">image.kdl:17\nthis much\n"
        ),
        "{report}"
    );
    assert!(report.contains("what the console said is in `build/web.fails.log`</failure>"), "{report}");
    assert!(!report.contains("name=\"fails\" time=\"0.000\""), "{report}");
    assert!(report.contains(r#"<testcase classname="web" name="boots" time=""#), "{report}");

    // What failed is imgbuild's, too, and a report can go where no file is.
    let told = project.run(&["clean", "--dry-run"]);
    assert!(told.err.contains("would remove build/web.fails.log"), "{told:?}");
    std::os::unix::fs::symlink("/proc/self/fd/1", project.path("stdout")).unwrap();
    let told = project.run(&["test", "--junit", "stdout", "nothing"]);
    assert!(told.code == Some(2) && project.path("stdout").is_symlink(), "{told:?}");

    // Skipped is right: by what the disk is, not by when it was written.
    let manifest = TRIALS.replace("ls /nothing", "ls /");
    project.write("image.kdl", &manifest);
    let plan = project.run(&["plan", "--tests"]).out;
    assert!(plan.contains("test:fails@web") && !plan.contains("test:boots@web"), "{plan}");
    project.write("image.kdl", manifest.replace("findmnt -n", "findmnt"));
    let plan = project.run(&["plan", "--tests"]).out;
    assert!(plan.contains("test:boots@web") && plan.contains("run was `findmnt -n -o"), "{plan}");
    project.write(
        "image.kdl",
        manifest.replace("\"hello\"", "\"bye\"").replace("test \"fails\" timeout=900", "test \"fails\""),
    );
    let plan = project.run(&["plan", "--tests"]).out;
    assert!(plan.contains("test:boots@web") && plan.contains("test:fails@web"), "{plan}");
}

/// A console that has to be logged into, and a machine that ends too early: without systemd.
#[test]
fn a_console_can_be_spoken_to() {
    let Some(project) = debian(
        r##"
image "small" {
    base "debian" suite="trixie"
    packages { linux-image-cloud-amd64 }
    files {
        file "/sbin/init" mode="0755" content="#!/bin/sh\necho your name:\nread name\necho hello, $name\nexec /bin/sh\n"
    }
    disk { partition "root" filesystem="ext4" mount="/"; }
    boot loader="none" console="ttyS0" cmdline="quiet panic=-1"
    machine memory="512MiB" nics=0
    output "raw"
    output "kernel"
    test "talks" timeout=600 {
        wait-for "your name:"
        send "World"
        wait-for "hello, World"
        run "test \"$(cat /proc/1/comm)\" = sh" on="console"
        run "LONG" on="console"
    }
    test "ends" timeout=600 {
        wait-for "your name:"
        send "World"
        wait-for "hello, World"
        send "echo o >/proc/sysrq-trigger"
        wait-for "never said"
    }
    hypervisor "pxe" {
        files { link "/init" to="/sbin/init"; }
        machine memory="1GiB" nics=0
        output "ramdisk"
        test "loads" timeout=600 {
            wait-for "your name:"
            send "PXE"
            wait-for "hello, PXE"
        }
    }
}
"##,
    ) else {
        return;
    };
    // More than a terminal takes as one line.
    let long = format!("test {0} = {0}", "x".repeat(9000));
    let manifest = fs::read_to_string(project.path("image.kdl")).unwrap();
    project.write("image.kdl", manifest.replace("LONG", &long));
    let told = project.run(&["test", "--keep-going", "--message-format", "short"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    let failure: Vec<&str> = told.err.lines().filter(|line| line.contains("image.kdl")).collect();
    assert_snapshot!(failure.join("\n"), @r#"
    image.kdl:25:18: error: the test `ends` failed: the machine ended, and `never said` did not come [test/failed]
    "#);
    assert!(fs::read_to_string(project.path("build/small.talks.log")).unwrap().contains("hello, World"));
    let none = project.run(&["test", "nothing"]);
    assert_eq!(none.code, Some(2));

    // The next version is what it has beyond this one.
    fs::create_dir(project.path("disks")).unwrap();
    fs::rename(project.path("build/small.raw"), project.path("disks/1,0.raw")).unwrap();
    let next = manifest.split("    test \"ends\"").next().unwrap().replace("echo hello", "echo again");
    let next = next.replace("output \"raw\"", "output \"qcow2\" backing=\"disks/1,0.raw\"");
    project.write("image.kdl", next.replace("hello, World", "again, World").replace("LONG", "true") + "}\n");
    let told = project.run(&["test"]);
    assert_eq!(told.code, Some(0), "{told:?}");
}

/// What a machine left on its disk is there for the next one that may write there, until a build makes the disk anew.
#[test]
fn a_kept_disk_is_kept() {
    const INIT: &str = "#!/bin/sh\\nmount -o remount,rw /\\nn=$(ls /kept* 2>/dev/null | wc -l)\\ntouch /kept$n\\nsync\\necho \
                        there were $n\\nexec /bin/sh\\n";
    let Some(project) = debian(&format!(
        "image \"small\" {{\n    base \"debian\" suite=\"trixie\"\n    packages {{ linux-image-cloud-amd64 }}\n    files {{ file \
         \"/sbin/init\" mode=\"0755\" content=\"{INIT}\"; }}\n    disk {{ partition \"root\" filesystem=\"ext4\" mount=\"/\"; \
         }}\n    boot loader=\"none\" console=\"ttyS0\" cmdline=\"quiet\"\n    machine memory=\"512MiB\" nics=0\n    output \
         \"raw\"\n    output \"kernel\"\n}}\n"
    )) else {
        return;
    };
    if imgbuild::sandbox::resolve_program("qemu-system-x86_64", imgbuild::sandbox::PATH).is_none() {
        return project::skipped("qemu-system-x86_64");
    }
    let boots = |more: &[&str], text: &str| {
        let words = ["boot", "small", "--timeout", "300", "--wait-for", text];
        let told = project.run(&[words.as_slice(), more].concat());
        assert_eq!(told.code, Some(0), "{more:?} {text}: {told:?}");
    };
    boots(&["--keep"], "there were 0");
    boots(&["--keep"], "there were 1");
    boots(&["--keep"], "there were 2");
    // Nor is it lost to one that keeps nothing.
    boots(&[], "there were 3");
    assert_eq!(project.run(&["build"]).code, Some(0));
    boots(&["--keep"], "there were 0");
}
