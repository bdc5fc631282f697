//! That decoders read what is declared, no less and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::words::{Topic, words};
use crate::fault::Source;
use crate::lang::node::reads;
use crate::lang::raw::{RawNode, RawValue, from_document};
use crate::lang::{Child, Scope, Word, syntax};
use crate::manifest::{self, Said, Texts};
use crate::work::Folders;

/// Every word in every block that it may stand in, `when` in itself once.
const EVERYTHING: &str = r#"
include "common.kdl"
search { overlays "overlays"; hooks "hooks"; flavours "flavours" }
epoch "2025-06-01"
variable "SETUP" default="ipv4" env=#true list=#true docs="what runs" { one-of "ipv4" "ipv6" }
overlay "site" from="overlays/a" to="/srv" owner="1:2" modes="keep" timeout=5 {
    include "*"
    exclude "*~"
    permissions "x" mode="0600" owner="root"
    variables "SETUP"
    input "script" variable="SCRIPT"
}
packages-list "common" { curl version="8.*" suite="trixie-backports" hold=#true; libc6:i386 }
packages-list "file" from="list"
packages-list "flavoured" { gcc }
hook-list "named" from="list" phase="install" dialect="list"
hook-list "folder" from="hooks" dialect="run-parts" on-failure="go-on" directory="hooks" interpreter="sh" network=#true timeout=5
hook-list "stated" {
    env "SETUP" A="b"
    input "script" variable="SCRIPT"
    secret "file" from="script" variable="FILE"
    secret "variable" env="SETUP"
    hook "one" run="true" interpreter="sh" network=#true timeout=5 {
        env "SETUP" A="b"
        input "script" variable="SCRIPT"
        secret "file" from="script" variable="FILE"
        secret "variable" env="SETUP"
    }
    hook "two" from="hooks/script" after="one"
}
hook-list "late" { hook "eight" run="true"; }
hook-list "last" { hook "ten" run="true"; }
flavour "bare"
flavour "least" { setting "WHICH" default="a"; }
flavour "more" { setting "WHICH" default="a"; }
flavour "most" { setting "WHICH" default="a"; }
flavour "all" summary="all of it" docs="more" {
    needs "bare"
    provides "other"
    setting "WHICH" default="a" docs="which one"
    packages "flavoured" recommends=#true { make version="1" suite="sid" hold=#true }
    files "flavoured" {
        file "/i" from="script" mode="0644" owner="root"
        file "/j" content="${WHICH}"
        link "/k" to="/i" owner="root"
        directory "/l" mode="0700" owner="root"
        remove "/m"
    }
    hooks "named" phase="finalise" {
        hook "three" run="true" interpreter="sh" network=#true timeout=5 { env "SETUP" A="b"; }
        hook "four" from="hooks/script" after="three"
    }
}
image "zeroth" {
    flavours "all" WHICH="b"
    hooks "folder" phase="install" { hook "five" run="true"; }
    base "ubuntu" suite="noble" arch="arm64" variant="buildd" proxy="http://p" keyring="key" check-valid-until=#false {
        components "main"
        mirror "http://a" { suites "*" }
        snapshot "http://a" { suites "*" }
        repository "more" url="http://b" suite="./" keyring="key" check-valid-until=#false
        repository "most" url="http://b" suite="stable" keyring="key" { components "main" }
    }
    packages "common" recommends=#true { g++ version="1" suite="sid" hold=#true }
    hypervisor "qemu" {
        flavours "bare" "more" WHICH="c"
        hooks "stated" phase="install" { hook "six" run="true"; }
        when SETUP="ipv4" {
            flavours "most" WHICH="d"
            hooks "late" phase="install" { hook "seven" run="true"; }
        }
        packages "file" recommends=#true { ssh-server^ version="1" suite="sid" hold=#true }
        when SETUP="ipv4" { packages "common" recommends=#true { vim version="1" suite="sid" hold=#true } }
        output "tar" path="zeroth.tar"
        output "raw"
        output "kernel"
        when SETUP="ipv4" {
            config from="script" path="zeroth.config"
            test "two" timeout=1 { wait-for "a"; send "b"; run "c" on="shell"; }
            disk size="1GiB" table="gpt" align="1MiB" fstab=#true { partition "a" size="1%" filesystem="ext4" mount="/" options="ro" label="a" type="root" flags="grow"; partition "b" size="1MiB" from="script"; }
            boot loader="none" console="ttyS0" cmdline="quiet" timeout=1; machine memory="1GiB" cpus=2 nics=1 firmware="efi"
        }
    }
    when SETUP="ipv4" {
        disk room="1GiB" table="gpt" align="1MiB" fstab=#true { partition "a" filesystem="ext4" mount="/" options="ro" label="a" type="root" flags="grow"; partition "b" size="1MiB" from="script"; }
        boot loader="none" console="ttyS0" cmdline="quiet" timeout=1; machine memory="1GiB" cpus=2 nics=1 firmware="efi"
        packages "file" recommends=#true { nano version="1" suite="sid" hold=#true }
        output "raw" path="zeroth.raw"
        output "kernel" path="zeroth.kernel"
        config from="script" path="zeroth.own.config"
        test "one" timeout=1 { wait-for "a"; send "b"; run "c" on="shell"; }
        flavours "least" WHICH="b"
        hooks "last" phase="install" { hook "nine" run="true"; }
    }
}
image "minus" {
    base "debian" suite="sid" arch="arm64" variant="buildd" proxy="http://p" keyring="key" check-valid-until=#false {
        components "main"
        mirror "http://a" { suites "*" }
        snapshot "http://a" { suites "*" }
        repository "more" url="http://b" suite="./" keyring="key" check-valid-until=#false
        repository "most" url="http://b" suite="stable" keyring="key" { components "main" }
    }
    output "tar" path="minus.tar"
}
image "first" version="1" {
    config from="script" path="first.own.config"
    base "tar" from="rootfs.tar"
    overlays "site"
    files "own" {
        file "/a" from="script" mode="0644" owner="root"
        file "/b" content="b"
        link "/c" to="/a" owner="root"
        directory "/d" mode="0700" owner="root"
        remove "/e"
    }
    hypervisor "qemu" kind="qemu" {
        overlays "b"
        files "more" { remove "/f" }
        output "tar" path="first.tar" compression="zstd" level=3
        disk size="1GiB" table="gpt" align="1MiB" fstab=#true { partition "a" size="1%" filesystem="ext4" mount="/" options="ro" label="a" type="root" flags="grow"; partition "b" size="1MiB" from="script"; }
        boot loader="none" console="ttyS0" cmdline="quiet" timeout=1; machine memory="1GiB" cpus=2 nics=1 firmware="efi"
        config from="script" path="first.config"
        output "raw"
        output "kernel"
        test "one" timeout=1 { wait-for "a"; send "b"; run "c" on="shell"; }
        when SETUP="ipv4" {
            overlays "c"
            files "most" { remove "/g" }
            output "dir" path="first"
            when SETUP="ipv4" { overlays "d" }
        }
    }
    output "cpio" path="first.cpio" compression="xz" level=3
    output "ext4" path="first.ext4" size="1GiB" label="root"
    output "btrfs" path="first.btrfs" size="1GiB" label="root"
    output "xfs" path="first.xfs" size="1GiB" label="root"
    output "squashfs" path="first.squashfs" compression="zstd" level=3
    output "erofs" path="first.erofs" compression="zstd" level=3
    disk room="1GiB" table="gpt" align="1MiB" fstab=#true { partition "a" filesystem="ext4" mount="/" options="ro" label="a" type="root" flags="grow"; partition "b" size="1MiB" from="script"; }
    boot loader="none" console="ttyS0" cmdline="quiet" timeout=1; machine memory="1GiB" cpus=2 nics=1 firmware="efi"
    output "raw" path="first.raw"
    output "qcow2" path="first.qcow2" compression="zstd" backing="base.raw"
    output "vmdk" path="first.vmdk" format="stream"
    output "vdi" path="first.vdi"
    output "vhd" path="first.vhd" fixed=#true
    output "vhdx" path="first.vhdx"
    output "kernel" path="first.kernel"
    output "uki" path="first.efi"
    output "ramdisk" path="first.ramdisk"
    output "machine" format="xl" path="first.cfg" folder="/a"
    output "metadata" format="incus" path="first.metadata"
    output "checksums" algorithm="sha256" path="first.sums"
    test "one" timeout=1 { wait-for "a"; send "b"; run "c" on="shell"; }
    when SETUP="ipv4" {
        overlays "a"
        files "some" { remove "/h" }
        hypervisor "lxc" kind="lxc" { output "dir" }
        output "iso" path="first.iso" label="L" cidata="overlays/a" script="script"
        when SETUP="ipv6" { overlays "never" }
    }
}
image "third" {
    overlays "a"
    output "ova" path="third.ova"
}
image "second" {
    when SETUP="ipv4" { base "dir" from="overlays/a" }
    output "oci" path="second" tag="a:1" format="layout" layers="each" arch="amd64" user="0" workdir="/" compression="zstd" level=3 {
        entrypoint "/a"
        command "b"
        env A="b"
        label a="b"
        port "80"
        volume "/v"
    }
}
"#;

#[test]
fn decoders_read_what_is_declared_and_nothing_else() {
    let folder = tempfile::tempdir().expect("folder");
    project(folder.path());
    let folders = Folders { here: folder.path().to_path_buf(), home: None };
    reads::take();
    let texts = Texts::load(Path::new("image.kdl"), &folders, None);
    let environment = Scope::from([("SETUP".into(), "ipv4".into())]);
    let said = Said { folders, environment, ..Said::default() };
    let read = manifest::read(&texts, &said);
    assert_eq!(messages(&read.faults.list), Vec::<&str>::new());
    // What a flavour says of itself is for those who ask.
    let (_, faults) = manifest::flavours(&texts, &said, Some("all"));
    assert_eq!(messages(&faults.list), Vec::<&str>::new());

    let table = Table::new();
    let mut nodes = BTreeMap::new();
    table.nodes("image.kdl", EVERYTHING, &mut nodes);
    table.nodes("common.kdl", COMMON, &mut nodes);
    let (declared, read) = (table.declared(), table.read(reads::take(), &nodes));
    let difference =
        |one: &BTreeSet<Field>, other: &BTreeSet<Field>| one.difference(other).cloned().collect();
    let unread: Vec<Field> = difference(&declared, &read);
    let undeclared: Vec<Field> = difference(&read, &declared);
    assert!(unread.is_empty(), "declared, but read by no decoder (as block, word, field): {unread:#?}");
    assert!(undeclared.is_empty(), "read by a decoder, but not declared: {undeclared:#?}");
}

const COMMON: &str = "variable \"OTHER\" default=\"\"\n";

fn project(folder: &Path) {
    for name in ["a", "b", "c", "d"] {
        fs::create_dir_all(folder.join("overlays").join(name)).expect("overlay");
    }
    for name in ["hooks", "flavours"] {
        fs::create_dir(folder.join(name)).expect("folder");
    }
    let script = folder.join("hooks/script");
    fs::write(&script, "#!/bin/sh\n").expect("script");
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).expect("mode");
    for (name, text) in [
        ("image.kdl", EVERYTHING),
        ("common.kdl", COMMON),
        ("script", ""),
        ("rootfs.tar", ""),
        ("key", ""),
        ("list", ""),
        ("base.raw", &" ".repeat(512)),
    ] {
        fs::write(folder.join(name), text).expect("file");
    }
}

fn messages(faults: &[crate::fault::Fault]) -> Vec<&str> {
    faults.iter().map(|fault| fault.message.as_str()).collect()
}

/// The block (or `kind of`), the word, and its field.
type Field = (String, String, String);

/// A node: the word whose block it stands in, its own, and its kind.
struct Standing {
    within: Option<&'static Word>,
    word: &'static Word,
    kind: Option<&'static Word>,
}

type Nodes = BTreeMap<(String, usize), Standing>;

struct Table {
    topics: Vec<Topic>,
}

impl Table {
    fn new() -> Table {
        Table { topics: words() }
    }

    fn title(&self, word: Option<&'static Word>) -> String {
        let topic = word.and_then(|word| self.topics.iter().find(|topic| topic.is(word)));
        topic.map_or("the top".into(), |topic| topic.title.clone())
    }

    /// A field of a word in every block that it stands in; a field of a kind once.
    fn declared(&self) -> BTreeSet<Field> {
        let mut declared = BTreeSet::new();
        for topic in &self.topics {
            let blocks: Vec<String> = match topic.kind_of {
                Some(_) => vec![String::from("kind of")],
                None => topic.standing.iter().map(|standing| self.title(standing.within)).collect(),
            };
            for block in blocks {
                let fields = topic.fields().map(|field| field.name.to_string());
                declared.extend(fields.map(|field| (block.clone(), topic.title.clone(), field)));
            }
        }
        declared
    }

    fn read(&self, reads: Vec<reads::Read>, nodes: &Nodes) -> BTreeSet<Field> {
        let mut read = BTreeSet::new();
        for (place, field) in reads {
            let node =
                nodes.get(&(place.source.name.clone(), place.start)).expect("a node that was read is there");
            let words = [Some(node.word), node.kind];
            let holds = |word: &&'static Word| {
                let names = word.children.iter().map(|child| child.word).chain(word.free_children);
                names.into_iter().any(|child| child.name == field)
            };
            if words.iter().flatten().any(holds) && !declares(node.word, &field) {
                continue;
            }
            if node.kind.is_none() || declares(node.word, &field) {
                read.insert((self.title(node.within), self.title(Some(node.word)), field.clone()));
            }
            if node.kind.is_some() {
                read.insert(("kind of".into(), self.title(node.kind), field));
            }
        }
        read
    }

    fn nodes(&self, name: &str, text: &str, nodes: &mut Nodes) {
        let source = Source::new(name, text);
        let document = syntax::parse(&source).expect("KDL");
        self.block(name, &from_document(&document, text), manifest::words::TOP, None, None, nodes);
    }

    fn block(
        &self,
        name: &str,
        raw: &[RawNode],
        words: &[Child],
        free: Option<&'static Word>,
        within: Option<&'static Word>,
        nodes: &mut Nodes,
    ) {
        for raw in raw {
            let word = words.iter().find(|child| child.word.name == raw.name).map(|child| child.word);
            let word = word.or(free).expect("a word");
            let first = raw.entries.first().map(|entry| &entry.value);
            let kind = word.kinds().into_iter().find(|kind| first == Some(&RawValue::Text(kind.name.into())));
            nodes.insert((name.into(), raw.head_span.0 as usize), Standing { within, word, kind });
            for inner in [Some(word), kind].into_iter().flatten() {
                let known: Vec<RawNode> = raw
                    .children
                    .iter()
                    .filter(|raw| {
                        let fixed = inner.children.iter().any(|child| child.word.name == raw.name);
                        fixed || inner.free_children.is_some()
                    })
                    .cloned()
                    .collect();
                self.block(name, &known, inner.children, inner.free_children, Some(inner), nodes);
            }
        }
    }
}

fn declares(word: &Word, field: &str) -> bool {
    let fields = word.arguments.iter().chain(&word.rest).chain(word.properties).chain(&word.own_name);
    fields.into_iter().any(|declared| declared.name == field)
}
