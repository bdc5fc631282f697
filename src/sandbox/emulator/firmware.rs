//! EFI for emulated machines, where distributions have it.

use std::path::Path;

use super::Start;
use crate::fault::Fault;

/// The code, and the variables that it begins with, each a flash chip of the machine; Debian's first.
const PAIRS: [(&str, &str, &str); 6] = [
    ("amd64", "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("amd64", "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("amd64", "/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("amd64", "/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("arm64", "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
    ("arm64", "/usr/share/edk2/aarch64/QEMU_EFI.fd", "/usr/share/edk2/aarch64/QEMU_VARS.fd"),
];

/// Files for QEMU's `-bios`, which keeps no variables; Debian's first.
const WHOLE: [(&str, &str); 4] = [
    ("amd64", "/usr/share/ovmf/OVMF.fd"),
    ("amd64", "/usr/share/edk2/ovmf/OVMF_CODE.fd"),
    ("arm64", "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"),
    ("arm64", "/usr/share/edk2/aarch64/QEMU_EFI.fd"),
];

/// EFI, as this machine has it for machines of `arch`.
///
/// # Errors
///
/// There is none.
pub fn here(arch: &str) -> Result<Start, Fault> {
    if let Some(start) = pairs(arch).find(|(code, _)| Path::new(code).is_file()) {
        return Ok(start_of(start));
    }
    let package = if arch == "arm64" { "qemu-efi-aarch64" } else { "ovmf" };
    let fault = Fault::machine("boot/firmware", "there is no EFI for emulated machines here");
    Err(fault.help(format!("it is in Debian's package `{package}`")))
}

/// EFI, where Debian has it for machines of `arch`.
pub fn of_debian(arch: &str) -> Start {
    let [(_, code, variables), ..] = PAIRS;
    start_of(pairs(arch).next().unwrap_or((code, variables)))
}

/// The files that may be all of EFI for machines of `arch`; they are PCs unless they are of ARM.
pub fn whole(arch: &str) -> impl Iterator<Item = &'static str> {
    let arch = if arch == "arm64" { "arm64" } else { "amd64" };
    WHOLE.iter().filter(move |(of, _)| *of == arch).map(|(_, file)| *file)
}

fn pairs(arch: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    PAIRS.iter().filter(move |(of, ..)| *of == arch).map(|(_, code, variables)| (*code, *variables))
}

fn start_of((code, variables): (&str, &str)) -> Start {
    Start::Efi(code.into(), variables.into())
}
