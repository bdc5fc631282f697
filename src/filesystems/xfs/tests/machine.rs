//! What a machine has for making and mounting disks; what it lacks is said.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::filesystems::{self, FileSystem, Part, lacking};

/// Bytes of a test's disk, most of which are never written.
const SIZE: u64 = 1 << 30;

/// A disk that is one xfs file system.
pub struct Disk {
    folder: TempDir,
    image: String,
}

impl Disk {
    /// A new one, made with these options; none if this machine cannot.
    pub fn made(options: &str) -> Option<Disk> {
        let mkfs = tool("mkfs.xfs")?;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk");
        File::create(&path).and_then(|file| file.set_len(SIZE)).expect("a disk");
        let image = path.display().to_string();
        let options: Vec<&str> = options.split_whitespace().chain(["-q", &image]).collect();
        // As xfs's own tests have it: what is too small for anybody's use, too.
        let small = ["TEST_DEV", "TEST_DIR", "QA_CHECK_FS"].map(|variable| (variable, "1"));
        finished(command(&mkfs).args(&options).envs(small));
        Some(Disk { folder, image })
    }

    pub fn image(&self) -> &str {
        &self.image
    }

    pub fn open(&self) -> Box<dyn FileSystem> {
        open(File::open(&self.image).expect("a disk")).expect("a file system")
    }

    /// What `what` gives for it, mounted; none if this machine cannot.
    pub fn mounted<T>(&self, what: impl FnOnce(&Path) -> T) -> Option<T> {
        let mount = Mount::of(self)?;
        let given = what(&mount.0);
        drop(mount);
        self.wait();
        Some(given)
    }

    /// Waits until it is nowhere mounted: a program with mounts of its own, begun meanwhile, has this one, too.
    fn wait(&self) {
        const PATIENCE: Duration = Duration::from_secs(60);
        const PAUSE: Duration = Duration::from_millis(20);
        let start = Instant::now();
        while is_held(&self.image) {
            assert!(start.elapsed() < PATIENCE, "{} is still mounted somewhere", self.image);
            sleep(PAUSE);
        }
    }

    /// Commands of xfs_db(8), which writes; none if this machine has no such thing.
    pub fn change(&self, commands: &[&str]) -> Option<()> {
        let commands = commands.iter().flat_map(|command| ["-c", command]);
        let all: Vec<&str> = ["-x"].into_iter().chain(commands).chain([self.image.as_str()]).collect();
        run(&tool("xfs_db")?, &all);
        Some(())
    }

    /// Gives an inode the [`attributes`] without mounting it.
    pub fn attributes(&self, number: u64) -> Option<()> {
        let set = |(name, value): &(Vec<u8>, Vec<u8>)| {
            let name = String::from_utf8_lossy(name);
            format!("attr_set -u -v {} {}", value.len(), name.trim_start_matches("user."))
        };
        let inode = format!("inode {number}");
        let commands: Vec<String> = [inode].into_iter().chain(made().iter().map(set)).collect();
        self.change(&commands.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What `what` gives while a byte of the superblock has these bits, too, and its checksum is right.
    pub fn with_superblock<T>(&self, at: usize, bits: u8, what: impl FnOnce(File) -> T) -> T {
        const SECTOR: usize = 512;
        const SUM: usize = 224;
        let file = OpenOptions::new().read(true).write(true).open(&self.image).expect("a disk");
        let mut sector = vec![0; SECTOR];
        file.read_exact_at(&mut sector, 0).expect("a superblock");
        let before = sector.clone();
        sector[at] |= bits;
        sector[SUM..SUM + 4].fill(0);
        let sum = crc32c::crc32c(&sector).to_le_bytes();
        sector[SUM..SUM + 4].copy_from_slice(&sum);
        file.write_all_at(&sector, 0).expect("a superblock");
        let given = what(file.try_clone().expect("a disk"));
        file.write_all_at(&before, 0).expect("a superblock");
        given
    }
}

/// The attributes that a disk can be given, sorted.
pub fn attributes() -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all = made();
    all.sort();
    all
}

/// Many short attributes, and then some long ones. Their values are what xfs_db(8) makes.
fn made() -> Vec<(Vec<u8>, Vec<u8>)> {
    let lengths = (0..200).map(|number| 1 + number % 40 * 3).chain([250, 3_000, 20_000]);
    let one = |(number, length)| (format!("user.attribute-{number}").into_bytes(), vec![b'v'; length]);
    lengths.enumerate().map(one).collect()
}

/// The file system that a whole disk is.
pub fn open(file: File) -> std::io::Result<Box<dyn FileSystem>> {
    let size = file.metadata()?.len();
    Ok(filesystems::open("xfs", Part::new(file, 0, size))?.expect("xfs is known"))
}

/// A disk that is mounted, until this is gone.
struct Mount(PathBuf);

impl Mount {
    fn of(disk: &Disk) -> Option<Mount> {
        let at = disk.folder.path().join("mounted");
        fs::create_dir_all(&at).expect("a folder");
        let (from, to) = (disk.image.as_str(), at.display().to_string());
        let mount = tool("mount")?;
        let output = command(&mount).args(["-t", "xfs", "-o", "loop", from, &to]).output().expect("mount(8)");
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            return skipped(&format!("a Linux that mounts such an xfs ({})", why.trim()));
        }
        Some(Mount(at))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let output = command(Path::new("umount")).arg(&self.0).output();
        if !output.is_ok_and(|output| output.status.success()) && !std::thread::panicking() {
            panic!("`{}` is still mounted", self.0.display());
        }
    }
}

/// Whether a loop device has the file.
fn is_held(image: &str) -> bool {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut files = devices.map(|device| fs::read_to_string(device.path().join("loop/backing_file")));
    files.any(|file| file.is_ok_and(|file| file.trim_end() == image))
}

/// A program; none if this machine lacks it.
pub fn tool(program: &str) -> Option<PathBuf> {
    let folders = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"];
    let found = folders.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.is_file());
    found.or_else(|| skipped(program))
}

pub fn run(program: &Path, arguments: &[&str]) {
    finished(command(program).args(arguments));
}

fn finished(command: &mut Command) {
    let output = command.output().expect("a program that starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {told}", output.status);
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

fn skipped<T>(lack: &str) -> Option<T> {
    lacking::skipped(lack);
    None
}
