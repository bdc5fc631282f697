//! A domain of Xen's (xl.cfg(5)).

use std::fmt::Write as _;

use super::{Described, Start};

pub(super) fn domain(told: &Described<'_>) -> String {
    let kind = if matches!(told.start, Start::Kernel(..)) { "pv" } else { "hvm" };
    let mut text = format!(
        "name = {}\ntype = \"{kind}\"\nmemory = {}\nvcpus = {}\n",
        quoted(told.name),
        told.memory(),
        told.machine.cpus()
    );
    match told.start {
        Start::Kernel(folder, has_initramfs, cmdline) => {
            let at = |file: &str| quoted(&told.at(&format!("{folder}/{file}")));
            let _ = writeln!(text, "kernel = {}", at("vmlinuz"));
            if has_initramfs {
                let _ = writeln!(text, "ramdisk = {}", at("initrd.img"));
            }
            let _ = writeln!(text, "cmdline = {}", quoted(cmdline));
        }
        Start::Efi => text.push_str("firmware = \"ovmf\"\nserial = \"pty\"\n"),
        Start::Bios => text.push_str("serial = \"pty\"\n"),
    }
    // `target` takes all that is behind it, so it comes last (xl-disk-configuration(5)).
    let format = told.format;
    let disk = format!("format={format}, vdev=xvda, access=rw, target={}", told.at(told.disk));
    let _ = writeln!(text, "disk = [ {} ]", quoted(&disk));
    let nics = vec!["\"\""; usize::try_from(told.machine.nics()).unwrap_or_default()];
    let _ = writeln!(text, "vif = [ {} ]", nics.join(", "));
    text
}

/// A string of xl's: a backslash makes what is behind it itself.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
