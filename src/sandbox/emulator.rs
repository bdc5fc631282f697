//! QEMU, which boots what was built.
//!
//! It is the one program of the host that starts as it is: it needs the caller's terminal, `/dev/kvm` and the network, and
//! what it runs is in a machine of its own. It ends with this process, however that ends.

pub mod firmware;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::kernel::end_with_parent;
use super::{Exit, PATH, resolve_program};
use crate::fault::Fault;

/// A machine to emulate.
#[derive(Clone, Debug)]
pub struct Emulated {
    /// Its architecture, as Debian names it.
    pub arch: String,
    /// Bytes.
    pub memory: u64,
    /// How many processors.
    pub cpus: i64,
    /// How many network cards.
    pub nics: i64,
    /// Its disk, if it has one, and the format of that, as QEMU names it.
    pub disk: Option<(PathBuf, &'static str)>,
    /// The disk that its disk stands on, if that is not where the disk's own file says.
    pub backing: Option<PathBuf>,
    /// Whether the disk keeps what is written to it.
    pub keep: bool,
    /// What starts it.
    pub start: Start,
    /// Where the kernel speaks, if that is known.
    pub console: Option<String>,
    /// The port of this machine from which connections go to port 22 of that one.
    pub ssh: Option<u16>,
    /// A folder for what only lives as long as the machine.
    pub folder: PathBuf,
}

/// What starts a machine.
#[derive(Clone, Debug)]
pub enum Start {
    /// A BIOS.
    Bios,
    /// EFI, and its variables, which stay as they are.
    Efi(PathBuf, PathBuf),
    /// Kernel, initramfs and command line.
    Kernel(PathBuf, Option<PathBuf>, String),
}

impl Start {
    /// What is in the folder of an `output "kernel"` or `output "ramdisk"`, which the emulator sees as `seen`.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn of_folder(folder: &Path, seen: &Path) -> Result<Start, Fault> {
        let cmdline = folder.join("cmdline");
        let told = fs::read_to_string(&cmdline).map_err(|error| Fault::io("read", &cmdline, &error))?;
        let initramfs = ["initrd.img", "initramfs"].into_iter().find(|name| folder.join(name).is_file());
        let initramfs = initramfs.map(|name| seen.join(name));
        Ok(Start::Kernel(seen.join("vmlinuz"), initramfs, told.trim_end().to_string()))
    }
}

/// What to wait for on the serial line.
#[derive(Clone, Copy, Debug)]
pub struct Wait<'a> {
    /// The text; without one, for the end.
    pub text: Option<&'a str>,
    /// How long.
    pub timeout: Option<Duration>,
}

/// How waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The text came.
    Found,
    /// The time was over.
    TimedOut,
    /// The machine ended before.
    Ended(Exit),
}

/// An emulator that was found.
#[derive(Debug)]
pub struct Emulator {
    program: PathBuf,
    /// Whether guests run on the processor itself.
    kvm: bool,
}

impl Emulator {
    /// The one of this machine for `arch`; `native` says that it may use KVM, which may be there and not work: `folder` is
    /// for a short trial.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn find(arch: &str, native: bool, folder: &Path) -> Result<Emulator, Fault> {
        let name = program_for(arch);
        let Some(program) = resolve_program(name, PATH) else {
            let package = if arch == "arm64" { "qemu-system-arm" } else { "qemu-system-x86" };
            let fault = Fault::machine("boot/emulator", format!("there is no `{name}` on this machine"));
            return Err(fault.help(format!("it is in Debian's package `{package}`")));
        };
        let kvm = native && kvm_works(&program, folder);
        Ok(Emulator { program, kvm })
    }

    /// Whether the processor is emulated, which takes its time.
    pub fn is_slow(&self) -> bool {
        !self.kvm
    }

    /// Runs the machine with its serial line on the caller's terminal, until it ends.
    ///
    /// # Errors
    ///
    /// It cannot be started, or `stop` was set.
    pub fn run(&self, machine: &Emulated, stop: &AtomicBool) -> Result<Exit, Fault> {
        let failed = |error: io::Error| Fault::io("start", &self.program, &error);
        let mut command = self.command(machine);
        command.args(["-chardev", "stdio,id=line,mux=on,signal=off", "-mon", "chardev=line"]);
        command.args(line(machine.console.as_deref()));
        let _terminal = Terminal::keep();
        let mut child = Running(command.spawn().map_err(failed)?);
        loop {
            if let Some(status) = child.0.try_wait().map_err(failed)? {
                return Ok(exit_of(status));
            }
            if stop.load(Ordering::Relaxed) {
                return Err(Fault::build("build/interrupted", "interrupted"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs the machine and copies its serial line to `out`, until what is waited for happens.
    ///
    /// # Errors
    ///
    /// It cannot be started, or `stop` was set.
    pub fn watch(
        &self,
        machine: &Emulated,
        wait: Wait<'_>,
        stop: &AtomicBool,
        out: &mut dyn Write,
    ) -> Result<Waited, Fault> {
        let failed = |error: io::Error| Fault::io("start", &self.program, &error);
        let mut child = Running(self.watched(machine).spawn().map_err(failed)?);
        let lost = || Fault::machine("boot/lost", "the emulator has no serial line");
        let mut line = child.0.stdout.take().ok_or_else(lost)?;
        let begun = Instant::now();
        let mut seen = Seen::new(wait.text);
        let mut piece = [0; 4096];
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(Fault::build("build/interrupted", "interrupted"));
            }
            if wait.timeout.is_some_and(|limit| begun.elapsed() >= limit) {
                return Ok(Waited::TimedOut);
            }
            if !says_something(&line).map_err(failed)? {
                continue;
            }
            let length = line.read(&mut piece).map_err(failed)?;
            let told = &piece[..length];
            // Whoever listens may have gone; the machine has not.
            let _ = out.write_all(told).and_then(|()| out.flush());
            if seen.take(told) {
                return Ok(Waited::Found);
            }
            if length == 0 {
                let status = child.0.wait().map_err(failed)?;
                return Ok(Waited::Ended(exit_of(status)));
            }
        }
    }

    /// With the serial line on its standard output.
    fn watched(&self, machine: &Emulated) -> Command {
        let mut command = self.command(machine);
        command
            .args(["-chardev", "stdio,id=line", "-monitor", "none"])
            .args(line(machine.console.as_deref()));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    fn command(&self, machine: &Emulated) -> Command {
        let mut command = Command::new(&self.program);
        end_with_parent(&mut command);
        // What is not to be kept is written there, and goes with it.
        command.args(arguments(machine, self.kvm)).env("TMPDIR", &machine.folder);
        command
    }
}

/// What QEMU is told of a machine, but for its lines; `kvm` lets guests run on the processor itself.
pub fn arguments(machine: &Emulated, kvm: bool) -> Vec<OsString> {
    let Emulated { arch, memory, cpus, nics, ssh, .. } = machine;
    let processor = match kvm {
        true => ["-accel", "kvm", "-cpu", "host"],
        false => ["-accel", "tcg,thread=multi", "-cpu", "max"],
    };
    let mut words: Vec<OsString> = processor.map(OsString::from).into();
    words.extend(board(arch, *memory, *cpus, *nics, *ssh).into_iter().map(OsString::from));
    let mut drive = |options: &str, file: &Path| {
        let mut word = OsString::from(format!("{options},file="));
        word.push(in_list(file.as_os_str()));
        words.extend(["-drive".into(), word]);
    };
    if let Some((disk, format)) = &machine.disk {
        let kept = if machine.keep { "off" } else { "on" };
        let backing = machine.backing.as_ref().map(|backing| in_list(backing.as_os_str()));
        let backing = backing.map(|backing| format!(",backing.file.filename={}", backing.to_string_lossy()));
        drive(&format!("if=virtio,format={format},snapshot={kept}{}", backing.unwrap_or_default()), disk);
    }
    match &machine.start {
        Start::Bios => {}
        Start::Efi(code, variables) => {
            drive("if=pflash,format=raw,readonly=on", code);
            drive("if=pflash,format=raw,snapshot=on", variables);
        }
        Start::Kernel(kernel, initramfs, told) => {
            words.extend(["-kernel".into(), kernel.into(), "-append".into(), told.into()]);
            words.extend(initramfs.iter().flat_map(|initramfs| ["-initrd".into(), initramfs.into()]));
        }
    }
    words
}

/// What QEMU is told of a machine but its disk and what starts it: its architecture, bytes of memory, processors, network
/// cards, and the port from which connections go to the first one's port 22. It has no screen.
pub fn board(arch: &str, memory: u64, cpus: i64, nics: i64, ssh: Option<u16>) -> Vec<String> {
    let kind = if arch == "arm64" { "virt" } else { "q35" };
    let (memory, cpus) = (format!("{}M", memory >> 20), cpus.to_string());
    let mut words = ["-machine", kind, "-display", "none", "-nodefaults", "-m", &memory, "-smp", &cpus]
        .map(String::from)
        .to_vec();
    words.extend(["-device", "virtio-rng-pci"].map(String::from));
    for nic in 0..nics {
        let forward = ssh.filter(|_| nic == 0).map(|port| format!(",hostfwd=tcp:127.0.0.1:{port}-:22"));
        words.extend(["-device".into(), format!("virtio-net-pci,netdev=net{nic}")]);
        words.extend(["-netdev".into(), format!("user,id=net{nic}{}", forward.unwrap_or_default())]);
    }
    words
}

/// What QEMU is told so that the console, or else the serial line, is the character device called `line`.
pub fn line(console: Option<&str>) -> Vec<String> {
    let words: &[&str] = match console {
        Some(console) if console.starts_with("hvc") => {
            &["-device", "virtio-serial-pci", "-device", "virtconsole,chardev=line"]
        }
        _ => &["-serial", "chardev:line"],
    };
    words.iter().map(|word| word.to_string()).collect()
}

/// The program that emulates machines of `arch`, as Debian names that.
pub fn program_for(arch: &str) -> &'static str {
    if arch == "arm64" { "qemu-system-aarch64" } else { "qemu-system-x86_64" }
}

/// A file in a list of options, in which commas are doubled.
pub fn in_list(file: &OsStr) -> OsString {
    let bytes = file.as_bytes().iter();
    OsString::from_vec(
        bytes.flat_map(|byte| std::iter::repeat_n(*byte, 1 + usize::from(*byte == b','))).collect(),
    )
}

/// What QEMU is told of a file that is named by its way: what is in front of a colon would be a protocol.
pub fn no_protocol(file: &str) -> String {
    let protocol = file.split_once(':').is_some_and(|(before, _)| !before.contains('/'));
    if protocol { format!("./{file}") } else { file.to_string() }
}

/// What QEMU ends with where [`guest`] runs: twice what it says, and one.
pub const GUEST_SAID: i32 = 0x21;

/// A guest that shows whether KVM works: a boot sector that says so through a device made for that, and what QEMU is told
/// to run it from `path`.
pub fn guest(path: &Path) -> (Vec<u8>, Vec<OsString>) {
    // finit; mov dx, 0xf4; mov al, 0x10; out dx, al; hlt. Where KVM itself is nested in something that only imitates it,
    // the first of these already ends the guest.
    const GUEST: [u8; 10] = [0x9b, 0xdb, 0xe3, 0xba, 0xf4, 0x00, 0xb0, 0x10, 0xee, 0xf4];
    let mut sector = vec![0; 512];
    sector[..GUEST.len()].copy_from_slice(&GUEST);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let mut drive = OsString::from("if=ide,format=raw,snapshot=on,file=");
    drive.push(in_list(path.as_os_str()));
    let words = ["-accel", "kvm", "-cpu", "host", "-m", "64", "-display", "none", "-nodefaults", "-device"];
    let mut words: Vec<OsString> = words.map(OsString::from).into();
    words.extend(["isa-debug-exit,iobase=0xf4,iosize=0x04".into(), "-drive".into(), drive]);
    (sector, words)
}

/// Whether a guest runs.
fn kvm_works(program: &Path, folder: &Path) -> bool {
    const LIMIT: Duration = Duration::from_secs(3);
    if File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return false;
    }
    if !cfg!(target_arch = "x86_64") {
        return true;
    }
    let disk = folder.join("trial");
    let (sector, words) = guest(&disk);
    if fs::write(&disk, sector).is_err() {
        return false;
    }
    let mut command = Command::new(program);
    command.args(words).env("TMPDIR", folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    end_with_parent(&mut command);
    let Ok(child) = command.spawn() else { return false };
    let mut child = Running(child);
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        match child.0.try_wait() {
            Ok(Some(status)) => return status.code() == Some(GUEST_SAID),
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Err(_) => return false,
        }
    }
    false
}

/// Waits a little for the machine to say something, or to end; gives whether it did.
fn says_something(line: &ChildStdout) -> io::Result<bool> {
    const SHORT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    match poll(&mut [PollFd::new(line, PollFlags::IN)], Some(&SHORT)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(false),
        Ok(_) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn exit_of(status: std::process::ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    }
}

/// A text that is looked for in pieces.
struct Seen<'a> {
    text: Option<&'a str>,
    tail: Vec<u8>,
}

impl<'a> Seen<'a> {
    fn new(text: Option<&'a str>) -> Seen<'a> {
        Seen { text, tail: Vec::new() }
    }

    /// Whether it has come with this piece.
    fn take(&mut self, piece: &[u8]) -> bool {
        let Some(text) = self.text.map(str::as_bytes) else { return false };
        self.tail.extend_from_slice(piece);
        if memchr::memmem::find(&self.tail, text).is_some() {
            return true;
        }
        let kept = self.tail.len().saturating_sub(text.len());
        self.tail.drain(..kept);
        false
    }
}

/// The caller's terminal as it was: an emulator that is ended leaves it as it likes it.
struct Terminal(Option<Termios>);

impl Terminal {
    fn keep() -> Terminal {
        Terminal(tcgetattr(rustix::stdio::stdin()).ok())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

/// An emulator that ends with whoever started it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
