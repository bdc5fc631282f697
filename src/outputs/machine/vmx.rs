//! A machine of VMware's: lines of `NAME = "VALUE"`, of which VMware adds those that are missing.

use std::fmt::Write as _;

use super::{Described, Start};

pub(super) fn machine(told: &Described<'_>) -> String {
    let arm = told.machine.arch() == "arm64";
    let (memory, cpus) = (told.memory().to_string(), told.machine.cpus().to_string());
    let firmware = if matches!(told.start, Start::Efi) || arm { "efi" } else { "bios" };
    let guest = if arm { "arm-other5xlinux-64" } else { "other5xlinux-64" };
    let mut lines = vec![
        (".encoding".to_string(), "UTF-8"),
        ("config.version".into(), "8"),
        ("virtualHW.version".into(), if arm { "20" } else { "17" }),
        ("displayName".into(), told.name),
        ("guestOS".into(), guest),
        ("firmware".into(), firmware),
        ("memsize".into(), &memory),
        ("numvcpus".into(), &cpus),
    ];
    // Bridges that the controllers below are behind.
    lines.extend((0..8).filter(|bridge| *bridge == 0 || *bridge > 3).flat_map(|bridge| {
        let name = |what: &str| format!("pciBridge{bridge}.{what}");
        let mut lines = vec![(name("present"), "TRUE")];
        if bridge > 3 {
            lines.extend([(name("virtualDev"), "pcieRootPort"), (name("functions"), "8")]);
        }
        lines
    }));
    lines.extend([
        ("sata0.present".into(), "TRUE"),
        ("sata0:0.present".into(), "TRUE"),
        ("sata0:0.fileName".into(), told.disk),
    ]);
    for nic in 0..told.machine.nics() {
        let name = |what: &str| format!("ethernet{nic}.{what}");
        let values = [
            ("present", "TRUE"),
            ("virtualDev", "vmxnet3"),
            ("connectionType", "nat"),
            ("addressType", "generated"),
        ];
        lines.extend(values.map(|(what, value)| (name(what), value)));
    }
    lines.iter().fold(String::new(), |mut text, (name, value)| {
        // What ends a value is written as a number.
        let value = value.replace('|', "|7C").replace('"', "|22");
        let _ = writeln!(text, "{name} = \"{value}\"");
        text
    })
}
