//! The configuration of a container of OpenVZ (vps.conf(5), ctid.conf(5)).

use std::fmt::Write as _;

use super::Described;

pub(super) fn container(told: &Described<'_>) -> String {
    let mut text = format!(
        "ONBOOT=\"no\"\nOSTEMPLATE=\"{}\"\nPHYSPAGES=\"0:{}M\"\nSWAPPAGES=\"0:{}M\"\nCPUS=\"{}\"\n",
        told.name,
        told.memory(),
        told.memory(),
        told.machine.cpus(),
    );
    if let Some(size) = told.machine.disk_size() {
        let kib = size >> 10;
        let _ = writeln!(text, "DISKSPACE=\"{kib}:{kib}\"");
    }
    let nics: Vec<String> = (0..told.machine.nics()).map(|nic| format!("ifname=eth{nic}")).collect();
    if !nics.is_empty() {
        let _ = writeln!(text, "NETIF=\"{}\"", nics.join(";"));
    }
    text
}
