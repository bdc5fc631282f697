//! A script that starts QEMU (qemu-system(1)): the machine's serial line is the terminal.

use super::{Described, Start};
use crate::outputs::disk::formats::qemu_name;
use crate::sandbox::emulator::{board, firmware, in_list, line, no_protocol, program_for};

pub(super) fn script(told: &Described<'_>) -> String {
    let machine = told.machine;
    let mut words = board(machine.arch(), machine.memory(), machine.cpus(), machine.nics(), None);
    words.extend(["-accel", "kvm", "-accel", "tcg", "-cpu", "max"].map(String::from));
    words.extend(["-chardev", "stdio,id=line,mux=on,signal=off", "-mon", "chardev=line"].map(String::from));
    words.extend(line(machine.console()));
    let format = qemu_name(told.format);
    let file = in_list(no_protocol(told.disk).as_ref());
    words.extend(["-drive".into(), format!("if=virtio,format={format},file={}", file.display())]);
    if let Start::Kernel(folder, has_initramfs, cmdline) = told.start {
        words.extend(["-kernel".into(), format!("{folder}/vmlinuz"), "-append".into(), cmdline.into()]);
        if has_initramfs {
            words.extend(["-initrd".into(), format!("{folder}/initrd.img")]);
        }
    }
    let mut text = String::from(
        "#!/bin/sh\n# Starts the machine with its serial line on the terminal (Ctrl-A X ends it). More words go to QEMU.\n\
         cd \"$(dirname \"$0\")\" || exit 1\n",
    );
    if matches!(told.start, Start::Efi) {
        text.push_str(&efi(machine.arch()));
        words.extend(["-bios".into(), "$efi".into()]);
    }
    text.push_str(&format!("exec {} \\\n", program_for(machine.arch())));
    for (number, word) in words.iter().enumerate() {
        // An option and its value on one line.
        let begins = word.starts_with('-') || number == 0;
        text.push_str(if begins { "    " } else { " " });
        text.push_str(&quoted(word));
        text.push_str(if words.get(number + 1).is_none_or(|next| next.starts_with('-')) {
            " \\\n"
        } else {
            ""
        });
    }
    text.push_str("    \"$@\"\n");
    text
}

/// Looks for EFI where distributions have it for emulated machines of that architecture.
fn efi(arch: &str) -> String {
    let files: Vec<&str> = firmware::whole(arch).collect();
    format!(
        "for efi in \"${{EFI:-}}\" {}; do\n    [ -r \"$efi\" ] && break\ndone\n[ -r \"$efi\" ] || \
         {{ echo \"no EFI is here: name one with EFI=FILE\" >&2; exit 1; }}\n",
        files.join(" ")
    )
}

/// A word of a shell.
fn quoted(word: &str) -> String {
    match word {
        "$efi" => "\"$efi\"".into(),
        word if word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=,./:".contains(&byte)) => {
            word.into()
        }
        word => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
