//! The machine of a test: QEMU in the sandbox of its tree, and the shell that comes into it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Trial;
use crate::fault::Fault;
use crate::layer::EntryPath;
use crate::outputs::disk::{Firmware, qemu_name};
use crate::outputs::tool::inside;
use crate::sandbox::emulator::{Emulated, GUEST_SAID, Start, arguments, guest, line, program_for};
use crate::sandbox::image::{Call, Given, ImageRan, ImageRun, Shown};
use crate::sandbox::{Exit, Launcher};
use crate::work::{Job, World};

/// The emulator and its EFI, for machines of each architecture.
pub(super) const EMULATOR_AMD64: &[&str] = &["qemu-system-x86", "ovmf"];
pub(super) const EMULATOR_ARM64: &[&str] = &["qemu-system-arm", "qemu-efi-aarch64"];

/// Where the machine's lines are, what it writes, its disk and the folder of its kernel.
const LINES: &str = "run/imgbuild/lines";
const DISK: &str = "run/imgbuild/disk";
const KERNEL: &str = "run/imgbuild/kernel";

/// The name of the console's line, and of the shell's.
pub(super) const CONSOLE: &str = "line";
pub(super) const SHELL: &str = "shell";
/// What the shell says when it is there.
pub(super) const READY: &str = "imgbuild-ready";

impl Trial {
    /// The run of the machine. Its lines are in `lines`; `kvm` lets it run on the processor itself.
    pub(super) fn machine(
        &self,
        tree: &ImageRun,
        (disk, kernel): (&Path, Option<&Path>),
        lines: &Path,
        kvm: bool,
    ) -> Result<ImageRun, Fault> {
        let start = match (self.machine.firmware(), kernel) {
            (Firmware::Efi, _) => efi(self.machine.arch()),
            (Firmware::Kernel, Some(kernel)) => kernel_of(kernel)?,
            _ => Start::Bios,
        };
        let emulated = Emulated {
            arch: self.machine.arch().into(),
            memory: self.machine.memory(),
            // Emulated processors wait for each other: on a busy machine, until the guest takes itself for dead.
            cpus: if kvm { self.machine.cpus() } else { 1 },
            nics: self.machine.nics(),
            disk: (absolute(DISK), qemu_name(self.disk)),
            keep: false,
            start,
            console: None,
            ssh: None,
            folder: PathBuf::new(),
        };
        let words = arguments(&emulated, kvm).into_iter().map(|word| word.to_string_lossy().into_owned());
        let call = Call {
            program: program_for(self.machine.arch()).into(),
            arguments: words.chain(self.lines()).collect(),
            ..Call::default()
        };
        let shown = [(disk, DISK)].into_iter().chain(kernel.map(|kernel| (kernel, KERNEL)));
        let shown = shown.map(|(host, at)| Shown { host: host.into(), at: inside(at) });
        Ok(ImageRun {
            shown: shown.collect(),
            written: vec![Shown { host: lines.into(), at: inside(LINES) }],
            // What is written to the disk, too, which is thrown away: more than fits memory.
            environment: [("TMPDIR".to_string(), format!("/{LINES}"))].into(),
            commands: vec![call],
            kvm,
            log: lines.join("emulator.log"),
            ..tree.clone()
        })
    }

    /// The console, and a second serial line with a shell.
    fn lines(&self) -> Vec<String> {
        let arm = self.machine.arch() == "arm64";
        let device = |name: &str| format!("pipe,id={name},path=/{LINES}/{name}");
        let mut words = ["-chardev".into(), device(CONSOLE), "-monitor".into(), "none".into()].to_vec();
        words.extend(line(self.machine.console()));
        if !self.runs_commands() {
            return words;
        }
        words.extend(["-chardev".into(), device(SHELL)]);
        // The second one, whether the console is the first or none.
        let is_first = !words.contains(&"-serial".to_string());
        let null = ["-serial".to_string(), "null".into()];
        words.extend(null.into_iter().take(if is_first && !arm { 2 } else { 0 }));
        words.extend(match arm {
            true => ["-device".into(), format!("pci-serial,chardev={SHELL}")],
            false => ["-serial".into(), format!("chardev:{SHELL}")],
        });
        for (name, text) in credentials(if arm { "ttyS0" } else { "ttyS1" }) {
            let text = STANDARD.encode(text);
            words.extend([
                "-smbios".into(),
                format!("type=11,value=io.systemd.credential.binary:{name}={text}"),
            ]);
        }
        words
    }
}

/// What systemd is given by the machine itself (systemd.system-credentials(7)): a unit, and that somebody wants it.
fn credentials(tty: &str) -> [(&'static str, String); 2] {
    let unit = format!(
        "[Unit]\nDescription=A shell for imgbuild's test\n[Service]\nType=simple\nEnvironment=HOME=/root\n\
         ExecStart=/bin/sh -c 'exec </dev/{tty} >/dev/{tty} 2>&1; stty raw -echo; echo {READY}; cat | /bin/sh'\n"
    );
    let wish = "[Unit]\nWants=imgbuild-test.service\n".to_string();
    [("systemd.extra-unit.imgbuild-test.service", unit), ("systemd.unit-dropin.multi-user.target", wish)]
}

fn absolute(path: &str) -> PathBuf {
    Path::new("/").join(path)
}

/// Where the tree has EFI.
fn efi(arch: &str) -> Start {
    let (code, variables) = match arch {
        "arm64" => ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
        _ => ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    };
    Start::Efi(code.into(), variables.into())
}

/// What is in the folder of a kernel.
fn kernel_of(folder: &Path) -> Result<Start, Fault> {
    let cmdline = folder.join("cmdline");
    let told = fs::read_to_string(&cmdline).map_err(|error| Fault::io("read", &cmdline, &error))?;
    let initramfs = folder.join("initrd.img").is_file().then(|| absolute(KERNEL).join("initrd.img"));
    Ok(Start::Kernel(absolute(KERNEL).join("vmlinuz"), initramfs, told.trim_end().to_string()))
}

/// Whether a guest runs on the processor itself: `/dev/kvm` may be there and not work.
pub(super) fn kvm_works(arch: &str, tree: &ImageRun, lines: &Path, world: &World, job: &Job<'_>) -> bool {
    const TRIAL: &str = "run/imgbuild/trial";
    let is_there = || File::options().read(true).write(true).open("/dev/kvm").is_ok();
    if arch != "amd64" || crate::deb::own_arch() != arch || !is_there() {
        return false;
    }
    let (sector, words) = guest(&absolute(TRIAL));
    let path = EntryPath::parse(TRIAL).unwrap_or_default();
    let run = ImageRun {
        passing: vec![Given { path, mode: 0o600, bytes: sector }],
        commands: vec![Call {
            program: program_for(arch).into(),
            arguments: words.into_iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            ..Call::default()
        }],
        kvm: true,
        timeout: Some(Duration::from_secs(5)),
        log: lines.join("trial.log"),
        ..tree.clone()
    };
    let ran = Launcher::of(&world.program).run_image(&run, job.cancel, &mut |_| {});
    ran.is_ok_and(|ran| ran.exits == [Exit::Code(GUEST_SAID)])
}

/// Runs the machine until it ends, or until `stop` is set.
pub(super) fn run(run: &ImageRun, stop: &AtomicBool, world: &World) -> Result<ImageRan, Fault> {
    Launcher::of(&world.program).run_image(run, stop, &mut |_| {})
}
