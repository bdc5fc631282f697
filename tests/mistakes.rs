//! Manifests and command lines with mistakes in them, beside exactly what people are told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod tools;

use std::time::Duration;

use insta::assert_snapshot;
use tools::Project;

/// What imgbuild says in a project of these files, off a terminal; how it ended stands behind it.
fn told(files: &[(&str, &str)], arguments: &[&str]) -> String {
    let bytes: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    told_bytes(&bytes, arguments)
}

fn told_bytes(files: &[(&str, &[u8])], arguments: &[&str]) -> String {
    let project = Project::empty();
    files.iter().for_each(|(name, content)| project.write(name, content));
    let ran = project.run(arguments);
    assert!(ran.took < Duration::from_secs(2), "{arguments:?} took {:?}", ran.took);
    format!("{}{}exit code {}", ran.err, ran.out, ran.code.unwrap())
}

const COMMON: &str = r#"overlay "site" {
    exclude "[z-a]"
    permissions "x" mode="999" owner="a:b:c"
    variables "NOPE"
}
overlay "gone" from="overlays/tiemzone"
image "files" {
    files {
        file "/x"
        file "x/../../y" content="a"
        link "/"
    }
    output "tar"
}
"#;

const IMAGE: &str = r#"include "common.kdl"
variable "SETUP" default="ipv4" list=#true {
    one-of "ipv4" "ipv6"
}
search {
    overlays "overlays" "nowhere"
}
overlya "x"
overlay "timezone" form="x"
overlay "timezone"
image "server" verison="1" {
    overlays "timezon" "timezone" "timezone"
    output "tar" compression="lzma" level=30
    output "tra"
    output "oci" tag="Web" {
        port "http"
    }
    when SETUP="ipv5" {
        overlays "timezone"
    }
    when SETPU="ipv4" {
        overlays "timezone"
    }
    when {
        overlays "timezone"
    }
    hypervisor "mine" {
        overlays "nothing-like-it"
    }
}
image "server" {
    output "tar" level=3
}
image "empty" {
}
image "levels" {
    output "tar" compression="gzip" level=12
}
image {
    output "tar"
}
image "c d" {
    output "tar"
}
"#;

const GOOD: &str = r#"image "server" {
    output "tar"
    hypervisor "qemu" {
        output "cpio"
    }
}
"#;

#[test]
fn everything_that_is_wrong_is_told_at_once_across_includes() {
    assert_snapshot!(told(&[("image.kdl", IMAGE), ("common.kdl", COMMON), ("overlays/timezone/x", ""), ("overlays/site/tar", "")], &["check", "--message-format", "short", "--set", "SETPU=ipv6"]), @r#"
    imgbuild: error: `--set SETPU=…`: no variable is called `SETPU` [variable/unknown]
      help: did you mean `SETUP`?
    common.kdl:1:9: error: `overlays/site/tar` is not executable [overlay/script]
      help: run `chmod +x overlays/site/tar`; if it is just a file, say `exclude "/tar"`
    common.kdl:2:13: error: `[z-a]` is not a pattern: invalid range; 'z' > 'a' [pattern/bad]
      help: `*` and `?` stay within a name, `**` crosses folders, `[ab]` and `{a,b}` are choices; `\` takes a letter as it is
    common.kdl:3:26: error: `999` is not permission bits in octal such as `"0644"` [value/unfit]
    common.kdl:3:38: error: `a:b:c` is not an owner such as `"www-data:www-data"` [value/unfit]
    common.kdl:4:15: error: no variable is called `NOPE` [variable/unknown]
      help: there is `SETUP`
    common.kdl:6:21: error: `overlays/tiemzone` does not exist [overlay/missing]
      help: did you mean `overlays/timezone`?
    common.kdl:9:9: error: this file has neither `from=` nor `content=` [files/content]
      help: add one of them
    common.kdl:10:14: error: `x/../../y` is not an absolute path inside the image [value/unfit]
    common.kdl:11:9: error: `link` lacks `to=` [property/missing]
      help: add `to=`: where it leads
    common.kdl:11:14: error: `/` cannot be a link [files/root]
      help: name a path below it
    image.kdl:6:25: warning: there is no folder `nowhere` [search/missing]
      help: make it, or remove it from the search path
    image.kdl:8:1: error: unknown word `overlya` [word/unknown]
      help: did you mean `overlay`?
    image.kdl:9:20: error: `overlay` has no property `form` [property/unknown]
      help: did you mean `from`?
    image.kdl:10:9: error: the overlay `timezone` is declared twice [overlay/twice]
    image.kdl:11:16: error: `image` has no property `verison` [property/unknown]
      help: did you mean `version`?
    image.kdl:12:14: error: no overlay is called `timezon` [overlay/unknown]
      help: did you mean `timezone`?
    image.kdl:12:35: warning: `timezone` is in this image already [overlays/twice]
      help: remove one of them
    image.kdl:13:30: error: `lzma` is not `none`, `gzip`, `xz` or `zstd` [value/unfit]
    image.kdl:13:43: error: `30` is not a whole number from 0 to 22 [value/unfit]
    image.kdl:14:12: error: there is no output of kind `tra` [kind/unknown]
      help: did you mean `tar`?
    image.kdl:15:22: error: `Web` is no name for a container image [oci/tag]
      help: write `name:tag`, the name in lower case with `a-z 0-9 . _ - /`
    image.kdl:16:14: error: `http` is not a port [oci/port]
      help: write `"80"`, `"80/tcp"` or `"53/udp"`
    image.kdl:18:16: error: `SETUP` is never `ipv5` [variable/never]
      help: did you mean `ipv4`?
    image.kdl:21:16: error: no variable is called `SETPU` [variable/unknown]
      help: did you mean `SETUP`?
    image.kdl:24:5: error: `when` names no variable [when/empty]
      help: write `when NAME="value" { … }`
    image.kdl:27:5: error: the hypervisor `mine` has no output [output/none]
      help: add one to its block: `output "tar"`
    image.kdl:28:18: error: no overlay is called `nothing-like-it` [overlay/unknown]
      help: looked in `overlays`; declare it with `overlay "nothing-like-it" from=…`
    image.kdl:31:7: error: the image `server` is declared twice [image/twice]
    image.kdl:32:24: error: there is a level, but nothing is compressed [output/level]
      help: say how with `compression=`, or remove the level
    image.kdl:34:1: error: the image `empty` has no output [output/none]
      help: add one to its block: `output "tar"`
    image.kdl:37:43: error: gzip has no level 12 [output/level]
      help: it has 1 to 9
    image.kdl:39:1: error: `image` lacks its name [argument/missing]
      help: write `image "NAME"`
    image.kdl:42:7: error: `c d` is not a name [value/unfit]
      help: a name has letters and digits of ASCII and `._+-`, begins with a letter or a digit, and is at most 128 long
    exit code 2
    "#);
}

#[test]
fn a_circle_of_includes_is_shown_edge_by_edge() {
    assert_snapshot!(told(&[("image.kdl", r#"include "b.kdl"
"#), ("b.kdl", r#"// second
include "c.kdl"
"#), ("c.kdl", r#"include "image.kdl"
"#)], &["check"]), @r#"
    error: `image.kdl`, `b.kdl` and `c.kdl` include each other in a circle
           [include/cycle]
       ╭─[image.kdl:1:9]
     1 │ include "b.kdl"
       ·         ───┬───
       ·            ╰── `b.kdl` is included here
       ╰────
       ╭─[b.kdl:2:9]
     1 │ // second
     2 │ include "c.kdl"
       ·         ───┬───
       ·            ╰── `c.kdl` is included here
       ╰────
       ╭─[c.kdl:1:9]
     1 │ include "image.kdl"
       ·         ─────┬─────
       ·              ╰── `image.kdl` is included here
       ╰────
    help: move what they share into a third file, and include that
    exit code 2
    "#);
}

#[test]
fn a_doubled_name_is_shown_with_the_first() {
    assert_snapshot!(told(&[("image.kdl", r#"image "server" {
    output "tar"
}
image "server" {
    output "cpio"
}
"#)], &["check"]), @r#"
    error: the image `server` is declared twice [image/twice]
       ╭─[image.kdl:4:7]
     1 │ image "server" {
       ·       ────┬───
       ·           ╰── first here
     2 │     output "tar"
     3 │ }
     4 │ image "server" {
       ·       ────┬───
       ·           ╰── again
     5 │     output "cpio"
       ╰────
    exit code 2
    "#);
}

#[test]
fn an_overlay_that_is_missing_is_looked_for_nearby() {
    assert_snapshot!(told(&[("image.kdl", r#"image "a" {
    overlays "netwrok"
    output "tar"
}
"#), ("overlays/network/x", "")], &["check"]), @r#"
    error: no overlay is called `netwrok` [overlay/unknown]
       ╭─[image.kdl:2:14]
     1 │ image "a" {
     2 │     overlays "netwrok"
       ·              ────┬────
       ·                  ╰── not declared, and not found on the search path
     3 │     output "tar"
       ╰────
    help: did you mean `network`?
    exit code 2
    "#);
    assert_snapshot!(told(&[("image.kdl", r#"image "a" {
    overlays "network"
    output "tar"
}
"#)], &["check", "--message-format", "short"]), @r#"
    image.kdl:2:14: error: no overlay is called `network` [overlay/unknown]
      help: say where overlays are: `search { overlays "overlays" }`, or `from=`
    exit code 2
    "#);
    assert_snapshot!(told(&[("image.kdl", r#"search {
    overlays "ovl/network"
}
image "a" {
    overlays "network"
    output "tar"
}
"#), ("ovl/network/tar", "X")], &["check", "--message-format", "short"]), @r#"
    image.kdl:2:14: warning: `ovl/network` is itself an overlay [search/overlay]
      help: did you mean its parent, `ovl`?
    image.kdl:5:14: error: no overlay is called `network` [overlay/unknown]
      help: `ovl/network` on the search path is itself the overlay; did you mean its parent, `ovl`?
    exit code 2
    "#);
}

#[test]
fn variables_are_held_to_what_they_may_be() {
    assert_snapshot!(told(&[("image.kdl", r#"variable "A" default="x" {
    one-of "a" "b"
}
variable "B" {
    one-of "a"
}
variable "A"
image "i" {
    files {
        file "/a" content="${NOPE} $A ${A"
    }
    output "tar"
}
"#)], &["check", "--message-format", "short", "--set", "B=c"]), @r#"
    image.kdl:1:22: error: `A` cannot be `x`, its default [variable/unfit]
      help: it is `a` or `b`
    image.kdl:4:10: error: `B` cannot be `c`, as `--set` says [variable/unfit]
      help: it is `a`
    image.kdl:7:10: error: the variable `A` is declared twice [variable/twice]
    image.kdl:10:9: error: this file has neither `from=` nor `content=` [files/content]
      help: add one of them
    image.kdl:10:27: error: no variable is called `NOPE` [variable/unknown]
      help: declare it with `variable "NOPE"`, or write `$${NOPE}` for the text itself
    exit code 2
    "#);
    assert_snapshot!(told(&[("image.kdl", GOOD)], &["check", "--message-format", "short", "--set", "nothing"]), @r#"
    imgbuild: error: `--set nothing` sets nothing [command/set]
      help: write `--set NAME=VALUE`
    exit code 2
    "#);
    assert_snapshot!(told(&[("image.kdl", GOOD)], &["check", "--message-format", "short", "--set", "X=1"]), @r#"
    imgbuild: error: `--set X=…`: no variable is called `X` [variable/unknown]
      help: declare it in the manifest with `variable "X"`
    exit code 2
    "#);
}

#[test]
fn outputs_do_not_overwrite_each_other() {
    assert_snapshot!(told(&[("image.kdl", r#"image "i" {
    output "tar" path="out/x"
    output "cpio" path="out/x"
    output "dir" path="out"
}
"#)], &["check", "--message-format", "short"]), @r#"
    image.kdl:3:5: error: two outputs would be written to `out/x` [output/twice]
      help: give one of them another place with `path=`
    image.kdl:4:5: error: an output would be written into `out`, which is another output [output/twice]
      help: give one of them another place with `path=`
    exit code 2
    "#);
}

#[test]
fn a_target_or_command_that_is_none_is_guessed() {
    assert_snapshot!(told(&[("image.kdl", GOOD)], &["chekc"]), @r#"
    error: there is no target `chekc` [target/unknown]
    help: did you mean the command `imgbuild check`?
    exit code 2
    "#);
    assert_snapshot!(told(&[("image.kdl", GOOD)], &["build", "servre", "server:qume", "qemu2"]), @r#"
    error: there is no target `servre` [target/unknown]
    help: did you mean `server`?

    error: there is no target `server:qume` [target/unknown]
    help: did you mean `server:qemu`?

    error: there is no target `qemu2` [target/unknown]
    help: did you mean `qemu`?
    exit code 2
    "#);
    assert_snapshot!(told(&[("image.kdl", GOOD)], &["why", "overlay:none"]), @r#"
    error: there is no step `overlay:none` [step/unknown]
    help: there are `output:tar@server` and `output:cpio@server:qemu`
    exit code 2
    "#);
    assert_snapshot!(told(&[("image.kdl", GOOD)], &["server", "check"]), @r#"
    error: targets and options of a build stand before a command [command/order]
    help: write them behind it: `imgbuild COMMAND …`
    exit code 2
    "#);
    assert_snapshot!(told(&[("image.kdl", GOOD)], &["--message-format", "short", "check"]), @r#"
    image.kdl: nothing is wrong (1 image, 2 targets)
    exit code 0
    "#);
}

#[test]
fn a_manifest_that_is_not_there_is_told_by_the_path_that_was_typed() {
    assert_snapshot!(told(&[], &[]), @r#"
    error: cannot read `image.kdl`: no such file or directory [manifest/read]
    help: name another file with `-f FILE` or another folder with `-C DIR`;
          `imgbuild init` begins a project here
    exit code 2
    "#);
    assert_snapshot!(told(&[("image.kdl", GOOD)], &["-C", "nowhere"]), @r#"
    error: cannot read `nowhere/image.kdl`: no such file or directory
           [manifest/read]
    help: name another file with `-f FILE` or another folder with `-C DIR`;
          `imgbuild init` begins a project here
    exit code 2
    "#);
    assert_snapshot!(told(&[("image.kdl", GOOD)], &["-f", "nope.kdl", "check"]), @r#"
    error: cannot read `nope.kdl`: no such file or directory [manifest/read]
    help: name another file with `-f FILE` or another folder with `-C DIR`;
          `imgbuild init` begins a project here
    exit code 2
    "#);
    assert_snapshot!(told(&[("sub.kdl/image.kdl", GOOD)], &["-f", "sub.kdl"]), @r#"
    error: `sub.kdl` is a folder [manifest/read]
    help: name the manifest itself; for a folder that holds one there is `-C DIR`
    exit code 2
    "#);
    assert_snapshot!(told(&[("image.kdl", r#"include "gone.kdl"
"#)], &["check"]), @r#"
    error: cannot read `gone.kdl`: no such file or directory [manifest/read]
       ╭─[image.kdl:1:9]
     1 │ include "gone.kdl"
       ·         ─────┬────
       ·              ╰── included here
       ╰────
    help: a path to include starts at the folder of the file that it stands in
    exit code 2
    "#);
    assert_snapshot!(told(&[("image.kdl", "")], &["check"]), @r#"
    error: the manifest declares no image [image/none]
    help: add one: `image "NAME" { overlays "…"; output "tar" }`
    exit code 2
    "#);
}

#[test]
fn slips_of_the_pen_are_understood() {
    assert_snapshot!(told(&[("image.kdl", r#"image "x" {
    packages nginx=1.26 curl
    files { file "/a" content="b"; } output "tar"
    output tar compression=true
"#)], &["check", "--message-format", "short"]), @r#"
    image.kdl:1:11: error: the block of `image "x"` is not closed [kdl/unclosed]
      help: add a `}` where the block ends
    image.kdl:3:38: error: `output` stands behind a block that has ended [kdl/same-line]
      help: values and properties go before the `{`; another node begins on a new line or behind `;`
    image.kdl:4:28: error: `true` stands without its `#` [kdl/bare-bool]
      help: write `compression=#true`, or `compression="true"` if it is a text
    exit code 2
    "#);
    assert_snapshot!(told_bytes(&[("image.kdl", &b"image \"a\" {\n    output \"t\xffr\"\n}\n"[..])], &["check", "--message-format", "short"]), @r#"
    image.kdl:2:14: error: `image.kdl` is not UTF-8: byte 25 (0xff) begins no character [kdl/utf8]
      help: save it as UTF-8; is it a text file at all?
    exit code 2
    "#);
    assert_snapshot!(told_bytes(&[("image.kdl", &b"image \"a\0b\" {\n}\n"[..])], &["check", "--message-format", "short"]), @r#"
    image.kdl:1:9: error: this is no text: it holds NUL bytes [kdl/character]
      help: name a text file in UTF-8
    exit code 2
    "#);
    assert_snapshot!(told_bytes(&[("image.kdl", &b"\xff\xfei\0m\0a\0g\0e\0 \0\"\0a\0\"\0\n\0"[..])], &["check", "--message-format", "short"]), @r#"
    image.kdl:1:1: error: `image.kdl` is not UTF-8: byte 0 (0xff) begins no character [kdl/utf8]
      help: it looks like UTF-16; save it as UTF-8
    exit code 2
    "#);
}

/// Nothing that a file may hold makes reading it slow, long-winded, or the end of the process.
#[test]
fn a_file_that_is_no_manifest_is_refused_at_once() {
    let braces = "a {".repeat(100_000);
    let garbage = vec![b'{'; 100 << 20];
    let comments = "/*".repeat(100_000);
    let slashdashed = "/- a {".repeat(50);
    let quotes = "\"".repeat(99_999);
    let nul = vec![0; 1 << 20];
    let random: Vec<u8> =
        (0..1 << 20).map(|number: u32| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let files: [&[u8]; 7] = [
        braces.as_bytes(),
        &garbage,
        comments.as_bytes(),
        slashdashed.as_bytes(),
        quotes.as_bytes(),
        &nul,
        &random,
    ];
    for file in files {
        let told = told_bytes(&[("image.kdl", file)], &["check"]);
        assert!(told.ends_with("exit code 2"), "{told}");
        assert!(told.len() < 20_000, "{} bytes for one bad file", told.len());
    }
}

#[test]
fn an_output_never_lands_on_what_the_build_reads() {
    let manifest = r#"
overlay "site" from="site"
image "server" {
    overlays "site"
    output "tar" path="site/server.tar"
    output "iso" path="image.kdl"
}
"#;
    let files = [("image.kdl", manifest), ("site/etc/motd", "hi\n")];
    assert_snapshot!(told(&files, &["plan", "--message-format", "short"]), @"
    image.kdl:5:5: error: `site/server.tar` would be written into `site`, which `overlay:site` reads [output/source]
      help: give it another place with `path=`; without one it goes to `build/`
    image.kdl:6:5: error: `image.kdl` would be written over the manifest itself [output/manifest]
      help: give it another place with `path=`; without one it goes to `build/`
    exit code 2
    ");
}

#[test]
fn an_output_that_is_misspelt_is_told_of_once() {
    let manifest = "image \"server\" {\n    files { file \"/a\" content=\"\" }\n    ouptut \"tar\"\n}\n";
    assert_snapshot!(told(&[("image.kdl", manifest)], &["check", "--message-format", "short"]), @"
    image.kdl:3:5: error: unknown word `ouptut` in `image` [word/unknown]
      help: did you mean `output`?
    exit code 2
    ");
}

const PACKAGES: &str = r#"packages-list "common" {
    curl
    nano
    "nginx=1.26.0"
    "vim/trixie-backports"
    Git
    curl
    "7zip" version=1.10
    g++ version="8 1" { x }
    !less version="1"
    !more hold=#true
    mc suite="../x" verison="1"
}
packages-list "common" { curl }
packages-list "file" from="packages-lists/file" { wget }
packages-list "gone" from="packages-lists/flie"
image "server" {
    base "debian" suite="trixie" arch="x86_64" keyring="no.gpg" {
        mirror "ftp://mirror.example/debian"
        mirror "http://mirror.example/debian" { suites "a b" }
        repository "one" url="http://one.example" suite="./" keyring="no.gpg" { components "main" }
        repository "one" url="http://one.example" suite="x"
    }
    packages "comon" "common" "file" curl nginx=1.26 recommends=#true { nano; !jq }
    packages "file" recommends=#false { jq version="1.7"; !nano }
    hypervisor "qemu" {
        packages { jq version="1.6"; !curl; git; curl:i386 }
        output "tar"
    }
}
image "scratch" {
    base "scratch"
    packages { curl }
    output "tar"
}
image "nothing" {
    hypervisor "qemu" {
        packages "file"
        output "tar"
    }
}
image "suiteless" {
    base "ubuntu"
    packages { curl }
    output "tar"
}
"#;

#[test]
fn packages_are_held_to_what_they_can_be() {
    let list = "# a list of another tool\ncurl wget=1.25.* # more\n!nano +x\n\nWget=1\nvim/\njq=\n";
    let files = [("image.kdl", PACKAGES), ("packages-lists/file", list)];
    assert_snapshot!(told(&files, &["check", "--message-format", "short"]), @r#"
    image.kdl:4:5: error: `nginx=1.26.0` is not a package such as `curl`, `libc6:amd64` or `!nano` [value/unfit]
      help: write `nginx version="1.26.0"`
    image.kdl:5:5: error: `vim/trixie-backports` is not a package such as `curl`, `libc6:amd64` or `!nano` [value/unfit]
      help: write `vim suite="trixie-backports"`
    image.kdl:6:5: error: `Git` is not a package such as `curl`, `libc6:amd64` or `!nano` [value/unfit]
      help: names of packages are in lower case: `git`
    image.kdl:7:5: error: `curl` stands here twice [word/twice]
      help: keep one of them
    image.kdl:8:20: error: `1.10` is read as a number here, and its text is lost [value/unfit]
      help: put it in quotes: `"1.10"`
    image.kdl:9:17: error: `8 1` is not a version [package/version]
      help: write it as Debian does, `"8.14.1-2"`, or with a `*` for what may differ: `"8.14.*"`
    image.kdl:9:25: error: unknown word `x` in `g++` [word/unknown]
      help: this word takes no block
    image.kdl:10:19: error: `less` is left out, so nothing else can be said of it [package/out]
      help: remove the `!`, or what is said beside it
    image.kdl:11:5: error: `more` is left out, so nothing else can be said of it [package/out]
      help: remove the `!`, or what is said beside it
    image.kdl:12:14: error: `../x` is not a suite [suite/unfit]
      help: a suite is called as in the archive: `"trixie-backports"`
    image.kdl:12:21: error: `mc` has no property `verison` [property/unknown]
      help: did you mean `version`?
    image.kdl:14:15: error: the list of packages `common` is declared twice [packages-list/twice]
    image.kdl:15:51: error: a list is read from a file, or stated here [packages-list/both]
      help: make two lists of it; an image names both: `packages "one" "other"`
    image.kdl:16:27: error: cannot read `packages-lists/flie`: no such file or directory [packages-list/read]
      help: did you mean `packages-lists/file`?
    image.kdl:18:39: error: `x86_64` is not `amd64`, `arm64`, `armel`, `armhf`, `i386`, `loong64`, `mips64el`, `ppc64el` or 2 more [value/unfit]
    image.kdl:18:56: error: there is no key file `no.gpg` [keyring/missing]
      help: put the archive's public key there, as it is published (binary or armored); a path starts at the folder of this file
    image.kdl:19:16: error: `ftp://mirror.example/debian` is not a URL such as `"http://HOST/debian"` [value/unfit]
    image.kdl:20:56: error: `a b` is not a suite [suite/unfit]
      help: a suite is called as in the archive: `"trixie"`, `"trixie-security"`; `*` stands for the base's own
    image.kdl:21:70: error: there is no key file `no.gpg` [keyring/missing]
      help: put the archive's public key there, as it is published (binary or armored); a path starts at the folder of this file
    image.kdl:21:81: error: a suite that ends with a slash is a folder, and has no components [repository/flat]
      help: remove the components, or the slash
    image.kdl:22:9: error: `repository` lacks `keyring=` [property/missing]
      help: add `keyring=`: the public keys of which one must have signed it: a file of OpenPGP keys, binary or armored
    image.kdl:22:9: error: two repositories are called `one` [repository/twice]
      help: a repository with several suites is one of each, with names that tell them apart
    image.kdl:24:14: error: no list of packages is called `comon` [packages-list/unknown]
      help: did you mean `common`?
    image.kdl:24:38: error: no list of packages is called `curl` [packages-list/unknown]
      help: a package is named in the block: `packages { curl }`; a list is declared with `packages-list "curl" { … }`
    image.kdl:24:43: error: `packages` has no property `nginx` [property/unknown]
      help: names stand in the block: `packages { nginx … }`
    image.kdl:25:5: error: recommended packages are wanted, and are not [packages/recommends]
      help: it holds for all packages of an image, so say it once
    image.kdl:25:14: warning: the list `file` is in this image already [packages-list/twice]
      help: remove one of them
    image.kdl:25:41: error: `jq` is asked for and left out [packages/contradiction]
      help: keep one of them; what an image says itself is stronger than its lists
    image.kdl:25:59: error: `nano` is asked for and left out [packages/contradiction]
      help: keep one of them; what an image says itself is stronger than its lists
    image.kdl:27:20: error: `jq` is asked for and left out [packages/contradiction]
      help: what a hypervisor asks for goes on top of the image's packages, and leaves them as they are
    image.kdl:27:38: error: `curl` is asked for and left out [packages/contradiction]
      help: what a hypervisor asks for goes on top of the image's packages, and leaves them as they are
    image.kdl:33:5: error: this image has no base that packages can be added to [packages/base]
      help: give it one: `base "debian" suite="trixie"`, or `base "ubuntu"`
    image.kdl:38:9: error: this image has no base that packages can be added to [packages/base]
      help: give it one: `base "debian" suite="trixie"`, or `base "ubuntu"`
    image.kdl:43:5: error: `base` lacks `suite=` [property/missing]
      help: add `suite=`: the suite, by its code name: `trixie`, `noble`
    packages-lists/file:3:7: error: `+x` is not a package [packages-list/line]
      help: a list has names such as `curl`, `curl=8.14.1-2`, `curl/trixie-backports`, `!nano`; `#` begins a comment
    packages-lists/file:5:1: error: `Wget=1` is not a package [packages-list/line]
      help: a list has names such as `curl`, `curl=8.14.1-2`, `curl/trixie-backports`, `!nano`; `#` begins a comment
    packages-lists/file:6:1: error: `` is not a suite [suite/unfit]
      help: a suite is called as in the archive: `"trixie-backports"`
    packages-lists/file:7:1: error: `` is not a version [package/version]
      help: write it as Debian does, `"8.14.1-2"`, or with a `*` for what may differ: `"8.14.*"`
    exit code 2
    "#);
}

#[test]
fn a_list_of_packages_may_differ_from_an_image_that_says_otherwise() {
    let manifest = r#"packages-list "a" { curl version="8.*"; nano; vim }
packages-list "b" { curl hold=#true; !nano; vim version="9" }
image "own" {
    base "debian" suite="trixie"
    packages "a" "b" { nano; vim version="8" }
    output "tar"
}
image "lists" {
    base "debian" suite="trixie"
    packages "a"
    packages "b"
    output "tar"
}
"#;
    assert_snapshot!(told(&[("image.kdl", manifest)], &["check", "--message-format", "short"]), @r#"
    image.kdl:2:38: error: `nano` is asked for and left out [packages/contradiction]
      help: keep one of them; what an image says itself is stronger than its lists
    exit code 2
    "#);
}

#[test]
fn the_lock_is_no_place_for_an_output() {
    let manifest = "image \"i\" {\n    output \"tar\" path=\"image.lock.kdl\"\n}\n";
    assert_snapshot!(told(&[("image.kdl", manifest)], &["build", "--message-format", "short"]), @r#"
    image.kdl:2:5: error: `image.lock.kdl` would be written over the manifest's lock [output/manifest]
      help: give it another place with `path=`; without one it goes to `build/`
    exit code 2
    "#);
}
