//! What goes with an image: machines as hypervisors read them, metadata of containers, checksums, a hypervisor's own files.
//! Read by whom they are for: libvirt's schema, QEMU, qemu-img, LXC, the coreutils, tar.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod based;
mod mounted;
mod project;

use std::fs;
use std::path::Path;
use std::process::Command;

use imgbuild::sandbox::{PATH, resolve_program};
use insta::assert_snapshot;
use mounted::odd_project;
use project::{Project, is_root, skipped};

/// Whether all of these programs are here.
fn has(programs: &[&str]) -> bool {
    let lacks = programs.iter().find(|name| resolve_program(name, PATH).is_none());
    lacks.inspect(|name| skipped(name)).is_none()
}

/// What a program prints in `folder`; it has to end well.
fn told(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).current_dir(folder).env("PATH", PATH).args(arguments).output().unwrap();
    assert!(done.status.success(), "{program} {arguments:?}: {done:?}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// A system that somebody else starts, and all that tells of it.
const TOLD: &str = r#"
image "box" version="1.0" {
    base "tar" from="odd.tar"
    files {
        file "/boot/vmlinuz-1" content="kernel"
        file "/boot/initrd.img-1" content="initramfs"
    }
    machine memory="512MiB" cpus=2 nics=2
    hypervisor "xen" {
        config from="conf/xen"
        boot loader="none" console="hvc0" cmdline="a=\"b\" <&>"
        output "machine" format="libvirt" folder="/srv/some disks"
        output "machine" format="qemu"
        output "checksums" algorithm="sha512"
    }
    hypervisor "openvz" {
        config from="conf/vps.conf" path="build/openvz"
        disk size="1GiB" { partition "root" filesystem="ext4" mount="/"; }
        output "machine" format="openvz"
    }
}
"#;

fn told_project() -> Option<Project> {
    let project = odd_project(&TOLD.replace(
        "        output \"machine\" format=\"libvirt\"",
        "        output \"raw\"\n        output \"kernel\"\n        output \"machine\" format=\"xl\"\n        output \"machine\" \
         format=\"libvirt\"",
    ))?;
    project.write("conf/xen/start", "#!/bin/sh\n");
    project.mode("conf/xen/start", 0o755);
    project.write("conf/xen/more/xl.conf", "one\n");
    project.link("conf/xen/link", "start");
    project.write("conf/vps.conf", "ONBOOT=yes\n");
    Some(project)
}

#[test]
fn a_machine_is_told_as_its_hypervisor_reads_it() {
    const SCHEMA: &str = "/usr/share/libvirt/schemas/domain.rng";
    let Some(project) = told_project() else { return };
    project.build();
    let text = |name: &str| {
        let text = fs::read_to_string(project.path(&format!("build/{name}"))).unwrap();
        // Which it is, follows from what is on the disk.
        let uuid =
            text.split_once("root=UUID=").and_then(|(_, rest)| rest.get(..36)).unwrap_or("none").to_string();
        text.replace(&uuid, "WHICH")
    };
    assert_snapshot!(text("box-xen.cfg"), @r#"
    name = "box-xen"
    type = "pv"
    memory = 512
    vcpus = 2
    kernel = "/var/lib/xen/images/box-xen.kernel/vmlinuz"
    ramdisk = "/var/lib/xen/images/box-xen.kernel/initrd.img"
    cmdline = "root=UUID=WHICH ro console=hvc0 a=\"b\" <&>"
    disk = [ "format=raw, vdev=xvda, access=rw, target=/var/lib/xen/images/box-xen.raw" ]
    vif = [ "", "" ]
    "#);
    assert_snapshot!(text("box-xen.sh"), @r#"
    #!/bin/sh
    # Starts the machine with its serial line on the terminal (Ctrl-A X ends it). More words go to QEMU.
    cd "$(dirname "$0")" || exit 1
    exec qemu-system-x86_64 \
        -machine q35 \
        -display none \
        -nodefaults \
        -m 512M \
        -smp 2 \
        -device virtio-rng-pci \
        -device virtio-net-pci,netdev=net0 \
        -netdev user,id=net0 \
        -device virtio-net-pci,netdev=net1 \
        -netdev user,id=net1 \
        -accel kvm \
        -accel tcg \
        -cpu max \
        -chardev stdio,id=line,mux=on,signal=off \
        -mon chardev=line \
        -device virtio-serial-pci \
        -device virtconsole,chardev=line \
        -drive if=virtio,format=raw,file=box-xen.raw \
        -kernel box-xen.kernel/vmlinuz \
        -append 'root=UUID=WHICH ro console=hvc0 a="b" <&>' \
        -initrd box-xen.kernel/initrd.img \
        "$@"
    "#);
    assert_snapshot!(text("box-xen.xml"), @r#"
    <domain type='kvm'>
      <name>box-xen</name>
      <memory unit='MiB'>512</memory>
      <vcpu>2</vcpu>
      <os>
        <type arch='x86_64' machine='q35'>hvm</type>
        <kernel>/srv/some disks/box-xen.kernel/vmlinuz</kernel>
        <initrd>/srv/some disks/box-xen.kernel/initrd.img</initrd>
        <cmdline>root=UUID=WHICH ro console=hvc0 a=&quot;b&quot; &lt;&amp;&gt;</cmdline>
      </os>
      <features><acpi/><apic/></features>
      <cpu mode='host-passthrough'/>
      <devices>
        <disk type='file' device='disk'>
          <driver name='qemu' type='raw'/>
          <source file='/srv/some disks/box-xen.raw'/>
          <target dev='vda' bus='virtio'/>
        </disk>
        <interface type='network'>
          <source network='default'/>
          <model type='virtio'/>
        </interface>
        <interface type='network'>
          <source network='default'/>
          <model type='virtio'/>
        </interface>
        <console type='pty'>
          <target type='virtio'/>
        </console>
        <rng model='virtio'>
          <backend model='random'>/dev/urandom</backend>
        </rng>
      </devices>
    </domain>
    "#);
    assert_snapshot!(text("box-openvz.conf"), @r#"
    ONBOOT="no"
    OSTEMPLATE="box-openvz"
    PHYSPAGES="0:512M"
    SWAPPAGES="0:512M"
    CPUS="2"
    DISKSPACE="1048576:1048576"
    NETIF="ifname=eth0;ifname=eth1"
    "#);
    if !Path::new(SCHEMA).is_file() {
        skipped("libvirt's schemas");
    } else if has(&["xmllint"]) {
        told(&project.path("build"), "xmllint", &["--noout", "--relaxng", SCHEMA, "box-xen.xml"]);
    }
    assert!(project.build().ran.is_empty());
}

#[test]
fn the_script_starts_qemu() {
    let Some(project) = told_project() else { return };
    if !has(&["qemu-system-x86_64", "timeout"]) {
        return;
    }
    project.build();
    // A machine that stands still as soon as it is there runs until somebody ends it.
    let script = project.path("build/box-xen.sh");
    let mut command = Command::new("timeout");
    command.env("PATH", PATH).env("TMPDIR", project.outer()).arg("5").arg(&script).args(["-S", "-snapshot"]);
    let done = command.output().unwrap();
    // It is no kernel, which QEMU says: all else was to its liking.
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("kernel") || done.status.code() == Some(124), "{done:?}");
    assert!(!said.contains("invalid option") && !said.contains("not find"), "{said}");
}

#[test]
fn own_files_go_with_what_is_written() {
    let Some(project) = told_project() else { return };
    project.build();
    let folder = project.path("build/box-xen.config");
    assert_eq!(fs::read_to_string(folder.join("more/xl.conf")).unwrap(), "one\n");
    assert_eq!(fs::read_link(folder.join("link")).unwrap(), Path::new("start"));
    assert!(told(&folder, "stat", &["-c", "%a", "start"]).starts_with("755"));
    assert_eq!(fs::read_to_string(project.path("build/openvz/vps.conf")).unwrap(), "ONBOOT=yes\n");
    // Each is an input of its own, and of the checksums.
    project.write("conf/xen/more/xl.conf", "two\n");
    let did = project.build();
    assert_eq!(
        did.ran.into_iter().collect::<Vec<_>>(),
        ["output:checksums.sha512@box:xen", "output:config@box:xen"]
    );
    told(&project.path("build"), "sha512sum", &["--check", "--strict", "box-xen.sha512"]);
    project.mode("conf/vps.conf", 0o755);
    assert_eq!(project.build().ran.into_iter().collect::<Vec<_>>(), ["output:config@box:openvz"]);
}

#[test]
fn checksums_are_of_what_is_there() {
    let Some(project) = told_project() else { return };
    let did = project.build();
    assert!(did.ran.contains("output:checksums.sha512@box:xen"));
    let listed = told(&project.path("build"), "sha512sum", &["--check", "--strict", "box-xen.sha512"]);
    assert_snapshot!(listed, @r#"
    box-xen.config/more/xl.conf: OK
    box-xen.config/start: OK
    box-xen.raw: OK
    box-xen.kernel/cmdline: OK
    box-xen.kernel/initrd.img: OK
    box-xen.kernel/vmlinuz: OK
    box-xen.cfg: OK
    box-xen.xml: OK
    box-xen.sh: OK
    "#);
    assert!(project.build().ran.is_empty());
    // An output that is made again as it was leaves them alone; one that is another does not.
    fs::remove_file(project.path("build/box-xen.raw")).unwrap();
    assert_eq!(project.build().ran.into_iter().collect::<Vec<_>>(), ["output:raw@box:xen"]);
    project.write(
        "image.kdl",
        fs::read_to_string(project.path("image.kdl")).unwrap().replace("nics=2", "nics=1"),
    );
    let why = project.run(&["why", "output:checksums.sha512@box:xen"]).out;
    assert!(why.contains("output:machine.cfg@box:xen is another one"), "{why}");
    assert!(project.build().ran.contains("output:checksums.sha512@box:xen"));
    told(&project.path("build"), "sha512sum", &["--check", "--strict", "box-xen.sha512"]);
    assert_eq!(project.outputs(), project.clean(), "as if nothing had been there");
}

/// Outputs that read others, in whatever order they stand and whatever way their paths are spelt.
const READERS: &str = r#"
image "box" {
    base "tar" from="odd.tar"
    files { file "/boot/vmlinuz-1" content="kernel"; }
    output "checksums" path="sums/../sums/./all"
    config from="conf"
    output "raw" path="disks/a:b,c.raw"
    output "kernel"
    output "machine" format="qemu" path="scripts/start"
    boot loader="none" console="ttyS0"
    test "boots" { wait-for "login:"; }
}
"#;

fn readers() -> Option<Project> {
    let project = odd_project(READERS)?;
    project.write("conf/start", "#!/bin/sh\n");
    project.write("conf/more/of.conf", "one\n");
    Some(project)
}

#[test]
fn outputs_find_those_that_they_are_of() {
    let Some(project) = readers() else { return };
    project.build();
    let listed = told(&project.path("sums"), "sha256sum", &["--check", "--strict", "all"]);
    assert_snapshot!(listed, @r#"
    ../build/box.config/more/of.conf: OK
    ../build/box.config/start: OK
    ../disks/a:b,c.raw: OK
    ../build/box.kernel/cmdline: OK
    ../build/box.kernel/vmlinuz: OK
    ../scripts/start: OK
    "#);
    let script = fs::read_to_string(project.path("scripts/start")).unwrap();
    assert!(script.contains("file=../disks/a:b,,c.raw \\\n"), "{script}");
    assert!(script.contains("-kernel ../build/box.kernel/vmlinuz \\\n"), "{script}");
    assert!(project.build().ran.is_empty());
    // A name with a colon is no protocol where it stands alone.
    let beside = READERS.replace("scripts/start", "disks/start");
    project.write("image.kdl", beside);
    project.build();
    let script = fs::read_to_string(project.path("disks/start")).unwrap();
    assert!(script.contains("file=./a:b,,c.raw \\\n"), "{script}");
}

/// What is not made from the image does not wait for it, and is not made again with it.
#[test]
fn own_files_and_checksums_know_nothing_of_layers() {
    let Some(project) = readers() else { return };
    let own =
        READERS.replace("    output \"raw\" path=\"disks/a:b,c.raw\"\n", "").replace("output \"kernel\"", "");
    let own = own.replace("    output \"machine\" format=\"qemu\" path=\"scripts/start\"\n", "");
    let own = own.replace("    test \"boots\" { wait-for \"login:\"; }\n", "");
    project.write("image.kdl", &own);
    let outputs =
        |did: project::Did| did.ran.into_iter().filter(|id| id.starts_with("output:")).collect::<Vec<_>>();
    assert_eq!(outputs(project.build()), ["output:checksums.sha256@box", "output:config@box"]);
    project.write("image.kdl", own.replace("content=\"kernel\"", "content=\"another\""));
    assert!(outputs(project.build()).is_empty());
}

#[test]
fn neither_the_umask_nor_the_clock_is_in_folders() {
    let Some(project) = readers() else { return };
    project.mode("conf/start", 0o700);
    let modes = |umask: &str| {
        let program = project.command(&["build"]);
        let mut shell = Command::new("sh");
        shell.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.current_dir(program.get_current_dir().unwrap()).env("PATH", PATH);
        let ended = shell
            .args(["-c", &format!("umask {umask}; exec {} build", project::program())])
            .output()
            .unwrap();
        assert!(ended.status.success(), "{ended:?}");
        told(&project.path("build"), "find", &["box.config", "box.kernel", "-printf", "%p %m %Ts\n"])
            .lines()
            .map(String::from)
            .collect::<std::collections::BTreeSet<_>>()
    };
    let open = modes("022");
    fs::remove_dir_all(project.path("build")).unwrap();
    let closed = modes("077");
    assert_eq!(open, closed);
    assert!(open.contains("box.config 755 1735689600"), "{open:?}");
    assert!(open.contains("box.config/start 755 1735689600"), "{open:?}");
    assert!(open.contains("box.config/more/of.conf 644 1735689600"), "{open:?}");
    assert!(open.contains("box.kernel/vmlinuz 644 1735689600"), "{open:?}");
}

#[test]
fn an_appliance_is_one_file_of_machine_and_disk() {
    let Some(project) = odd_project(
        r#"
image "box" {
    base "tar" from="odd.tar"
    disk { partition "root" filesystem="ext4" mount="/"; }
    boot loader="none"
    output "raw"
    hypervisor "virtualbox" {
        disk { partition "esp" filesystem="vfat" mount="/efi" size="64MiB"; partition "root" filesystem="ext4" mount="/"; }
        boot loader="systemd-boot"
        files { file "/boot/vmlinuz-1" content="kernel"; }
        machine memory="768MiB" cpus=3 nics=1
        output "raw"
        output "ova"
    }
}
"#,
    ) else {
        return;
    };
    if !has(&["qemu-img", "xmllint"]) {
        return;
    }
    project.build();
    let folder = project.path("build");
    let ova = "box-virtualbox.ova";
    // The descriptor first, then the manifest, as the standard wants them.
    assert_eq!(
        told(&folder, "tar", &["tf", ova]),
        "box-virtualbox.ovf\nbox-virtualbox.mf\nbox-virtualbox.vmdk\n"
    );
    fs::create_dir(folder.join("out")).unwrap();
    told(&folder, "tar", &["-C", "out", "-xf", ova]);
    let out = folder.join("out");
    for line in fs::read_to_string(out.join("box-virtualbox.mf")).unwrap().lines() {
        let (name, sum) = line.strip_prefix("SHA256(").unwrap().split_once(")= ").unwrap();
        assert!(told(&out, "sha256sum", &[name]).starts_with(sum), "{line}");
    }
    told(
        &folder,
        "qemu-img",
        &["compare", "-f", "raw", "-F", "vmdk", "box-virtualbox.raw", "out/box-virtualbox.vmdk"],
    );
    let value = |path: &str| {
        let path = format!("string({path})");
        told(&out, "xmllint", &["--xpath", &path, "box-virtualbox.ovf"]).trim().to_string()
    };
    let size = fs::metadata(out.join("box-virtualbox.vmdk")).unwrap().len();
    assert_eq!(value("//*[local-name()='File']/@*[local-name()='size']"), size.to_string());
    let disk = fs::metadata(folder.join("box-virtualbox.raw")).unwrap().len();
    assert_eq!(value("//*[local-name()='Disk']/@*[local-name()='capacity']"), disk.to_string());
    let item = |kind: u32, what: &str| {
        value(&format!(
            "//*[local-name()='Item'][*[local-name()='ResourceType']={kind}]/*[local-name()='{what}']"
        ))
    };
    assert_eq!((item(3, "VirtualQuantity"), item(4, "VirtualQuantity")), ("3".into(), "768".into()));
    assert_eq!(item(17, "Parent"), item(20, "InstanceID"));
    let first = project::digest(&folder.join(ova));
    fs::remove_dir_all(&out).unwrap();
    fs::remove_file(folder.join(ova)).unwrap();
    project.build();
    assert_eq!(project::digest(&folder.join(ova)), first, "the same bytes");
}

#[test]
fn lxc_makes_a_container_and_runs_in_it() {
    let Some(project) = based::project(
        "image \"box\" {\n    base \"tar\" from=\"base.tar\"\n    files { directory \"/proc\"; directory \"/sys\"; directory \
         \"/dev\"; directory \"/var\"; }\n    hypervisor \"lxc\"\n}\n",
    ) else {
        return;
    };
    if !is_root() || !has(&["lxc-create", "lxc-execute", "xz"]) {
        return;
    }
    project.build();
    let containers = project.outer().join("containers");
    fs::create_dir(&containers).unwrap();
    let at = containers.to_str().unwrap();
    let file = |name: &str| project.path(&format!("build/{name}")).to_str().unwrap().to_string();
    let (metadata, rootfs) = (file("box-lxc.metadata.tar.xz"), file("box-lxc.tar.xz"));
    told(
        &containers,
        "lxc-create",
        &["-P", at, "-n", "box", "-t", "local", "--", "-m", &metadata, "-f", &rootfs],
    );
    // The bridge and the policies of a host that has LXC set up are not what is looked at here.
    let path = containers.join("box/config");
    let config = fs::read_to_string(&path).unwrap();
    assert!(config.contains("/common.conf\nlxc.arch = x86_64\n"), "{config}");
    let kept =
        config.lines().filter(|line| !line.starts_with("lxc.net") && !line.starts_with("lxc.apparmor"));
    fs::write(&path, kept.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let run = Command::new("lxc-execute")
        .env("PATH", PATH)
        .args(["-P", at, "-n", "box", "--", "/bin/busybox", "echo", "hello from inside"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    if said.contains("cgroup") {
        // Where control groups are not the caller's, nobody can bring them; the container was made all the same.
        return eprintln!("not run: LXC has no control groups here: {said}");
    }
    assert_eq!(String::from_utf8_lossy(&run.stdout), "hello from inside\n", "{said}");
}

#[test]
fn nspawn_runs_in_the_folder() {
    let Some(project) = based::project(
        "image \"box\" {\n    base \"tar\" from=\"base.tar\"\n    files { file \"/usr/lib/os-release\" content=\"ID=box\\n\"; \
         directory \"/proc\"; directory \"/sys\"; directory \"/dev\"; directory \"/run\"; directory \"/tmp\"; directory \
         \"/var\"; }\n    output \"dir\"\n}\n",
    ) else {
        return;
    };
    if !is_root() || !has(&["systemd-nspawn"]) {
        return;
    }
    project.build();
    // Neither a unit nor a machine is made of it: who has no systemd runs it, too.
    let plain = ["--quiet", "--pipe", "--register=no", "--keep-unit", "--directory", "build/box.dir"];
    let words =
        [plain.as_slice(), &["/bin/busybox", "sh", "-c", "echo hello from inside; cat /usr/lib/os-release"]]
            .concat();
    assert_eq!(told(&project.root, "systemd-nspawn", &words), "hello from inside\nID=box\n");
}

#[test]
fn incus_is_told_what_the_image_is() {
    let Some(project) = odd_project(
        "image \"box\" version=\"2\" {\n    base \"tar\" from=\"odd.tar\"\n    files { file \"/usr/lib/os-release\" \
         content=\"NAME=x\\nID=debian\\nVERSION_CODENAME=trixie\\n\"; }\n    output \"metadata\"\n    output \"tar\"\n}\n",
    ) else {
        return;
    };
    project.build();
    let text = told(&project.path("build"), "tar", &["-xOf", "box.metadata.tar.xz", "metadata.yaml"]);
    assert_snapshot!(text, @r#"
    architecture: x86_64
    creation_date: 1735689600
    properties:
      architecture: "amd64"
      description: "box 2"
      name: "box"
      os: "debian"
      release: "trixie"
    "#);
}

#[test]
fn what_cannot_be_told_is_told_before_any_work() {
    let project = Project::new();
    project.write("overlays/site/etc/motd", "x\n");
    project.write(
        "image.kdl",
        r#"image "box" {
    overlays "site"
    output "machine" format="vmx"
    output "machine" format="hyperv"
    output "machine"
    output "checksums"
    hypervisor "one" {
        boot loader="none"
        output "raw"
        output "ova"
        output "machine" format="xl" folder="relative"
        output "machine" format="qemu" folder="/a"
        test "boots" { }
        test "boots" { wait-for "login:"; }
        config from="missing"
    }
    hypervisor "two" {
        output "dir"
        output "checksums"
        machine nics=9
        test "boots" { wait-for "a"; run; wait "b"; }
    }
    hypervisor "three" {
        output "raw"
        output "machine" format="openvz" folder="/a"
        test "types" { send "x"; }
        test "blank" { wait-for ""; run " "; }
    }
}
"#,
    );
    let told = project.run(&["check", "--message-format", "short"]);
    assert_eq!(told.code, Some(2), "{told:?}");
    assert_snapshot!(told.err, @r#"
    image.kdl:3:29: error: vmx needs a disk, and no output beside it is `vmdk` [machine/disk]
      help: add `output "vmdk"`
    image.kdl:4:29: error: `hyperv` is not `libvirt`, `qemu`, `vmx`, `xl` or `openvz` [value/unfit]
    image.kdl:5:5: error: `output` lacks `format=` [property/missing]
      help: add `format=`: who reads it
    image.kdl:10:9: error: such a machine has to start by itself, and its disk has no boot loader [machine/loader]
      help: give it one: `boot loader="grub"`
    image.kdl:11:9: error: this machine has no boot loader, and its kernel is not written [machine/kernel]
      help: add `output "kernel"` beside it
    image.kdl:11:45: error: the folder of a disk is an absolute path [machine/folder]
    image.kdl:12:9: error: this machine has no boot loader, and its kernel is not written [machine/kernel]
      help: add `output "kernel"` beside it
    image.kdl:12:47: error: the disk is named by its way from this file, and has no folder of its own [machine/folder]
    image.kdl:13:9: error: this test asks for nothing [test/empty]
      help: say what has to come: `wait-for "login:"`, or `run "COMMAND"`
    image.kdl:13:14: error: this machine has no boot loader, and its kernel is not written [test/kernel]
      help: add `output "kernel"` beside it
    image.kdl:14:9: error: the test `boots` stands twice [test/twice]
    image.kdl:14:14: error: this machine has no boot loader, and its kernel is not written [test/kernel]
      help: add `output "kernel"` beside it
    image.kdl:15:21: error: there is no `missing` [config/missing]
    image.kdl:19:9: error: there is no output beside this one that has a digest [checksums/none]
      help: add one to the same block, as `output "tar"`, or remove this one
    image.kdl:20:22: error: `9` is not a whole number from 0 to 8 [value/unfit]
    image.kdl:21:14: error: there is no disk beside this test that could boot [test/disk]
      help: add one to the same block: `output "raw"`, or `output "qcow2"`
    image.kdl:21:38: error: `run` lacks its command [argument/missing]
      help: write `run "COMMAND"`
    image.kdl:21:43: error: unknown word `wait` in `test` [word/unknown]
      help: there are `wait-for`, `send` and `run`
    image.kdl:25:49: error: a container has no disk, which a folder could be of [machine/folder]
    image.kdl:26:9: error: this test only types, and passes whatever happens [test/passes]
      help: say what has to come: `wait-for "login:"`, or `run "COMMAND"`
    image.kdl:27:33: error: nothing is asked for here [test/blank]
    image.kdl:27:41: error: nothing is asked for here [test/blank]
    "#);
}

#[test]
fn what_only_the_projects_files_tell_is_told_before_any_work() {
    let project = Project::new();
    project.write("overlays/site/etc/motd", "x\n");
    fs::create_dir(project.path("conf")).unwrap();
    told(&project.path("conf"), "mkfifo", &["pipe"]);
    project.write("more/of.conf", "x\n");
    project.write(
        "image.kdl",
        r#"image "box" {
    overlays "site"
    config from="conf"
    hypervisor "one" {
        config from="more" path="more/../more/../more/build"
        output "tar"
    }
    hypervisor "two" {
        output "tar" path="build/../build/./two"
        output "cpio" path="build/two"
    }
}
"#,
    );
    let told = project.run(&["plan", "--message-format", "short"]);
    assert_snapshot!(told.err, @r#"
    image.kdl:10:9: error: two outputs would be written to `build/two` [output/twice]
      help: give one of them another place with `path=`
    "#);
    project.write(
        "image.kdl",
        fs::read_to_string(project.path("image.kdl")).unwrap().replace("./two", "./three"),
    );
    let told = project.run(&["plan", "--message-format", "short"]);
    assert_snapshot!(told.err, @r#"
    image.kdl:3:17: error: `conf/pipe` is a pipe, a socket or a device, which is no configuration [config/unfit]
      help: move it out of this folder
    "#);
    fs::remove_file(project.path("conf/pipe")).unwrap();
    let told = project.run(&["plan", "--message-format", "short"]);
    assert_snapshot!(told.err, @r#"
    image.kdl:5:9: error: `more/../more/../more/build` would be written into `more`, which `output:config@box:one` reads [output/source]
      help: give it another place with `path=`; without one it goes to `build/`
    "#);
}

#[test]
fn a_target_is_a_ramdisk_whatever_its_outputs_are() {
    let Some(project) = based::project(
        "image \"box\" {\n    base \"tar\" from=\"base.tar\"\n    files { file \"/boot/vmlinuz-1\" content=\"kernel\"; link \"/init\" \
         to=\"/bin/busybox\"; }\n    boot console=\"ttyS0\" cmdline=\"quiet\"\n    output \"tar\"\n    hypervisor \"pxe\" { output \"ramdisk\"; }\n}\n",
    ) else {
        return;
    };
    if !has(&["cpio", "zstd"]) {
        return;
    }
    let made = project.run(&["ramdisk", "box", "--output", "netboot"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(!project.path("build/box.tar").exists(), "nothing else was asked for");
    assert_eq!(fs::read_to_string(project.path("netboot/vmlinuz")).unwrap(), "kernel");
    assert_eq!(fs::read_to_string(project.path("netboot/cmdline")).unwrap(), "console=ttyS0 quiet\n");
    let listed = told(&project.root, "sh", &["-c", "zstd -dc netboot/initramfs | cpio -t --quiet"]);
    assert!(listed.lines().any(|line| line == "init") && listed.contains("bin/busybox"), "{listed}");
    let again = project.run(&["ramdisk", "box", "--output", "netboot"]);
    assert!(again.err.contains("nothing to do"), "{again:?}");
    // A target that has one writes its own.
    assert_eq!(project.run(&["ramdisk", "pxe"]).code, Some(0));
    assert!(project.path("build/box-pxe.ramdisk/initramfs").exists());
    let unknown = project.run(&["ramdisk", "bxo", "--message-format", "short"]);
    assert!(unknown.code == Some(2) && unknown.err.contains("did you mean `box`?"), "{unknown:?}");
}

#[test]
fn this_machines_programs_can_write_formats() {
    let Some(project) = odd_project(
        "image \"box\" {\n    base \"tar\" from=\"odd.tar\"\n    boot loader=\"none\"\n    output \"raw\"\n    output \"qcow2\"\n    output \"checksums\"\n}\n",
    ) else {
        return;
    };
    if !has(&["qemu-img"]) {
        return;
    }
    let host = |words: &[&str]| project.run(&[&["--host-tools"], words].concat());
    let ended = host(&["build"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!project.path("image.lock.kdl").exists(), "nothing is locked that is not used");
    let folder = project.path("build");
    told(&folder, "qemu-img", &["compare", "-f", "raw", "-F", "qcow2", "box.raw", "box.qcow2"]);
    assert!(host(&["build"]).err.contains("nothing to do"));
    // Their libraries are in no key: what is of a file goes by the file.
    fs::remove_file(folder.join("box.qcow2")).unwrap();
    let did = project::Did::read(&host(&["build", "--json"]).out);
    assert!(did.ran.contains("output:checksums.sha256@box"), "{did:?}");
    assert!(host(&["build"]).err.contains("nothing to do"));
    // Another program is another key.
    let plan = project.run(&["plan"]).out;
    assert!(plan.contains("run    output:qcow2@box") && !plan.contains("output:raw@box"), "{plan}");
    project.build();
    let locked = fs::read_to_string(project.path("image.lock.kdl")).unwrap();
    assert!(locked.contains("qemu-utils"), "{locked}");
    assert_eq!(host(&["build"]).code, Some(0));
    assert_eq!(fs::read_to_string(project.path("image.lock.kdl")).unwrap(), locked, "what is locked stays");
    project.write(
        "image.kdl",
        "image \"box\" {\n    base \"tar\" from=\"odd.tar\"\n    boot loader=\"grub\"\n    output \"raw\"\n    output \"erofs\"\n}\n",
    );
    if resolve_program("mkfs.erofs", PATH).is_none() {
        let refused = host(&["plan", "--message-format", "short"]);
        assert_eq!(refused.code, Some(3), "{refused:?}");
        assert!(refused.err.contains("there is no `mkfs.erofs` on this machine [tools/host]"), "{refused:?}");
        assert!(refused.err.contains("it is in Debian's package `erofs-utils`"), "{refused:?}");
    }
}
