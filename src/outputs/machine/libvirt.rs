//! A domain of libvirt's (<https://libvirt.org/formatdomain.html>), for QEMU.

use std::fmt::Write as _;

use super::{Described, Start};
use crate::outputs::disk::formats::qemu_name;
use crate::wording::xml;

pub(super) fn domain(told: &Described<'_>) -> String {
    let arm = told.machine.arch() == "arm64";
    let (arch, board) = if arm { ("aarch64", "virt") } else { ("x86_64", "q35") };
    let firmware = if matches!(told.start, Start::Efi) { " firmware='efi'" } else { "" };
    let format = qemu_name(told.format);
    let features = if arm { "<acpi/><gic/>" } else { "<acpi/><apic/>" };
    let mut text = String::new();
    let _ = write!(
        text,
        "<domain type='kvm'>\n  <name>{}</name>\n  <memory unit='MiB'>{}</memory>\n  <vcpu>{}</vcpu>\n  \
         <os{firmware}>\n    <type arch='{arch}' machine='{board}'>hvm</type>\n{}  </os>\n  \
         <features>{features}</features>\n  <cpu mode='host-passthrough'/>\n  <devices>\n    \
         <disk type='file' device='disk'>\n      <driver name='qemu' type='{format}'/>\n      \
         <source file='{}'/>\n      <target dev='vda' bus='virtio'/>\n    </disk>\n",
        xml(told.name),
        told.memory(),
        told.machine.cpus(),
        start(told),
        xml(&told.at(told.disk)),
    );
    for _ in 0..told.machine.nics() {
        text.push_str(
            "    <interface type='network'>\n      <source network='default'/>\n      <model type='virtio'/>\n    \
             </interface>\n",
        );
    }
    text.push_str(match told.machine.console() {
        Some(console) if console.starts_with("hvc") => {
            "    <console type='pty'>\n      <target type='virtio'/>\n    </console>\n"
        }
        _ => "    <serial type='pty'/>\n    <console type='pty'/>\n",
    });
    text.push_str(
        "    <rng model='virtio'>\n      <backend model='random'>/dev/urandom</backend>\n    </rng>\n  \
         </devices>\n</domain>\n",
    );
    text
}

fn start(told: &Described<'_>) -> String {
    let Start::Kernel(folder, has_initramfs, cmdline) = told.start else {
        return "    <boot dev='hd'/>\n".into();
    };
    let at = |file: &str| xml(&told.at(&format!("{folder}/{file}")));
    let mut text = format!("    <kernel>{}</kernel>\n", at("vmlinuz"));
    if has_initramfs {
        let _ = writeln!(text, "    <initrd>{}</initrd>", at("initrd.img"));
    }
    let _ = writeln!(text, "    <cmdline>{}</cmdline>", xml(cmdline));
    text
}
