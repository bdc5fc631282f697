//! Faults to show in tests, as imgbuild would find them.

use crate::cli::messages::Look;
use crate::fault::{Fault, Place, Source};
use std::sync::Arc;

pub(super) const LOOK: Look = Look { colour: false, width: 80, unicode: true };

pub(super) const MANIFEST: &str = r#"// Servers.
search {
    overlays "overlays" "~/overlays"
}

image "pptp-server" {
    base "debian" suite="trixie"
	overlays "timezon" "site"
    hypervisor "qemu" {
        output "qcow2"
        output "qcow2"
        disk size="4GiB" {
            partition "esp"
            partition "root"
        }
    }
}
"#;

pub(super) fn manifest() -> Arc<Source> {
    Source::new("image.kdl", MANIFEST)
}

pub(super) fn place(source: &Arc<Source>, what: &str) -> Place {
    let start = source.text.find(what).expect("it stands there");
    Place::new(source, start..start + what.len())
}

pub(super) fn unknown() -> Fault {
    let manifest = manifest();
    Fault::error("overlay/unknown", "there is no overlay `timezon`")
        .at(&place(&manifest, "\"timezon\""), "in none of the folders that are searched")
        .at(&place(&manifest, "\"overlays\" \"~/overlays\""), "which are these")
        .help("did you mean `timezone`?")
}

pub(super) fn twice() -> Fault {
    let manifest = manifest();
    let again = MANIFEST.rfind("output").expect("it stands there");
    Fault::warning("output/twice", "the output `qcow2` is asked for twice")
        .at(&Place::new(&manifest, again..again + 14), "again here")
        .at(&place(&manifest, "output \"qcow2\""), "first here")
}

pub(super) fn small() -> Fault {
    let manifest = manifest();
    let disk = MANIFEST.find("disk").expect("it stands there");
    let end = MANIFEST[disk..].find('}').expect("it stands there");
    Fault::build(
        "disk/too-small",
        "the disk is 4 GiB, but what goes into it takes 5.3 GiB { and a journal } on top of that",
    )
    .at(&Place::new(&manifest, disk..disk + end + 1), "this disk")
}

pub(super) fn failed() -> Fault {
    let hook = Source::new("hooks/20-motd, new", "set -e\napt-get install nginx\n");
    let mut fault = Fault::build("hook/failed", "hook `20-motd` failed with exit code 100")
        .at(&place(&hook, "apt-get install nginx"), "")
        .at(&place(&manifest(), "image \"pptp-server\""), "for this image")
        .help("`imgbuild shell hook:setup/20-motd` opens a shell where it stood");
    fault.output = vec![
        String::from("Reading package lists... 10%\rReading package lists... Done"),
        String::from("\x1b[1;31mE:\x1b[0m Unable to locate package nginx"),
        String::from("::set-output name=100%::gone"),
    ];
    fault
}

pub(super) fn full() -> Fault {
    Fault::machine("io/no-space", "cannot write `build/a.tar`: no space left on device")
        .help("free some space there")
}

/// Everything that people or programs could put in, with what drives a terminal in it.
pub(super) fn hostile() -> Fault {
    let source =
        Source::new("ev\x1b[il\u{202e}.kdl", "image \"a\x1b[2J\u{9b}\" {\r\n\tno\u{2066}pe\x07 1\r\n}");
    let mut fault = Fault::error("lang/unknown", "there is no word `no\u{2066}pe\x07`\nhere")
        .at(&place(&source, "no\u{2066}pe\x07"), "not a\x1bword")
        .at(&place(&source, "\"a\x1b[2J\u{9b}\""), "in this\nimage")
        .help("say \x1b]0;title\x07 it\u{202e} right");
    fault.output = vec![String::from("\x1b]0;title\x07a\u{202e}b\x1b\x08c")];
    fault
}
