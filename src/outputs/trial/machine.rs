//! The machine of a test: QEMU in the sandbox of its tree, and the shell that comes into it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Files, Trial};
use crate::fault::Fault;
use crate::outputs::disk::Firmware;
use crate::outputs::disk::formats::qemu_name;
use crate::outputs::tool::inside;
use crate::sandbox::emulator::{Emulated, GUEST_SAID, Start, arguments, firmware, guest, line, program_for};
use crate::sandbox::image::{Call, Given, ImageRan, ImageRun, Shown};
use crate::sandbox::{Exit, Launcher};
use crate::work::{Job, World};

/// The emulator and its EFI, for machines of each architecture.
pub(super) const EMULATOR_AMD64: &[&str] = &["qemu-system-x86", "ovmf"];
pub(super) const EMULATOR_ARM64: &[&str] = &["qemu-system-arm", "qemu-efi-aarch64"];

/// Where the machine's lines are, what it writes, its disk, what that stands on, and the folder of its kernel.
const LINES: &str = "run/imgbuild/lines";
const DISK: &str = "run/imgbuild/disk";
const BACKING: &str = "run/imgbuild/backing";
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
        files: Files<'_>,
        lines: &Path,
        kvm: bool,
    ) -> Result<ImageRun, Fault> {
        let start = self.start(files.kernel)?;
        let emulated = Emulated {
            arch: self.machine.arch().into(),
            memory: self.machine.memory(),
            // Emulated processors wait for each other: on a busy machine, until the guest takes itself for dead.
            cpus: if kvm { self.machine.cpus() } else { 1 },
            nics: self.machine.nics(),
            disk: self.disk.as_ref().map(|disk| (absolute(DISK), qemu_name(disk.kind))),
            backing: self.backing().map(|_| absolute(BACKING)),
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
        let shown = [(files.disk, DISK), (self.backing(), BACKING), (files.kernel, KERNEL)].into_iter();
        let shown = shown.filter_map(|(host, at)| Some(Shown { host: host?.into(), at: inside(at) }));
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

    /// The disk that its disk stands on. QEMU would look for it beside that, which it sees alone.
    fn backing(&self) -> Option<&Path> {
        self.disk.as_ref()?.backing.as_deref()
    }

    fn start(&self, kernel: Option<&Path>) -> Result<Start, Fault> {
        let mut start = match (kernel, self.machine.firmware()) {
            (Some(kernel), _) => Start::of_folder(kernel, &absolute(KERNEL))?,
            (None, Firmware::Efi) => firmware::of_debian(self.machine.arch()),
            (None, _) => Start::Bios,
        };
        if let Start::Kernel(.., told) = &mut start
            && self.gives_by_cmdline()
        {
            for (name, text) in credentials(SECOND_OF_ARM) {
                told.push_str(&format!(" systemd.set_credential_binary={name}:{}", STANDARD.encode(text)));
            }
        }
        Ok(start)
    }

    /// Whether credentials are in the kernel's command line: without EFI, a machine of arm64 has no SMBIOS.
    fn gives_by_cmdline(&self) -> bool {
        let is_arm = self.machine.arch() == "arm64";
        self.runs_commands() && is_arm && self.kernel.is_some()
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
        let tty = if arm { SECOND_OF_ARM } else { "ttyS1" };
        for (name, text) in credentials(tty).into_iter().filter(|_| !self.gives_by_cmdline()) {
            let text = STANDARD.encode(text);
            words.extend([
                "-smbios".into(),
                format!("type=11,value=io.systemd.credential.binary:{name}={text}"),
            ]);
        }
        words
    }
}

/// The second serial line of a machine of arm64: the first one is no ttyS.
const SECOND_OF_ARM: &str = "ttyS0";

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

/// Whether a guest runs on the processor itself; tried once a process.
pub(super) fn kvm_works(arch: &str, tree: &ImageRun, lines: &Path, world: &World, job: &Job<'_>) -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    arch == "amd64"
        && crate::deb::own_arch() == arch
        && *WORKS.get_or_init(|| guest_runs(arch, tree, lines, world, job))
}

/// `/dev/kvm` may be there and not work.
fn guest_runs(arch: &str, tree: &ImageRun, lines: &Path, world: &World, job: &Job<'_>) -> bool {
    const TRIAL: &str = "run/imgbuild/trial";
    if File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return false;
    }
    let (sector, words) = guest(&absolute(TRIAL));
    let run = ImageRun {
        passing: vec![Given { path: inside(TRIAL), mode: 0o600, bytes: sector }],
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
