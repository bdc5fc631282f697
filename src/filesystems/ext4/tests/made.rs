//! Images, what the kernel sees in them, and what is told of them.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

pub use crate::filesystems::lacking::skipped;
use crate::filesystems::{FileSystem, InodeKind, Part, open};
use crate::key::Digest;

/// What is said of each path.
pub type Lines = BTreeMap<Vec<u8>, String>;

/// A file with a file system, in a folder of its own.
pub struct Image {
    pub folder: TempDir,
    pub path: PathBuf,
}

impl Image {
    /// What `mke2fs` makes; none if this machine lacks it.
    pub fn made(size: u64, arguments: &[&str]) -> Option<Image> {
        let folder = tempfile::Builder::new().prefix("imgbuild-ext4-").tempdir().unwrap();
        let path = folder.path().join("image");
        File::create(&path).unwrap().set_len(size).unwrap();
        let image = Image { folder, path };
        let shown = image.path.to_str().unwrap();
        run("mke2fs", &[&["-q", "-F"], arguments, &[shown]].concat()).map(|_| image)
    }

    /// A copy of it as it is now.
    pub fn copied(&self) -> Image {
        let folder = tempfile::Builder::new().prefix("imgbuild-ext4-").tempdir().unwrap();
        let path = folder.path().join("image");
        let done = Command::new("cp").arg("--sparse=always").arg(&self.path).arg(&path).status().unwrap();
        assert!(done.success(), "cp");
        Image { folder, path }
    }

    pub fn opened(&self) -> io::Result<Box<dyn FileSystem>> {
        opened(File::open(&self.path).unwrap())
    }

    /// What is told of it.
    pub fn told(&self) -> Lines {
        told(self.opened().unwrap().as_ref()).unwrap()
    }

    /// It, mounted; none if that cannot be done here.
    pub fn mounted(&self, options: &str) -> Option<Mounted> {
        if !rustix::process::geteuid().is_root() {
            skipped("root, to mount file systems");
            return None;
        }
        let at = self.folder.path().join("mounted");
        fs::create_dir_all(&at).unwrap();
        let options = format!("loop,{options}");
        run("mount", &["-o", &options, self.path.to_str().unwrap(), at.to_str().unwrap()])?;
        Some(Mounted(at, self.path.clone()))
    }

    /// What debugfs(8) does to it.
    pub fn debugfs(&self, request: &str) -> Option<String> {
        run("debugfs", &["-w", "-R", request, self.path.to_str().unwrap()])
    }
}

pub fn opened(file: File) -> io::Result<Box<dyn FileSystem>> {
    let size = file.metadata().unwrap().len();
    Ok(open("ext4", Part::new(file, 0, size))?.unwrap())
}

/// A file system that is mounted as long as this is there: where, and out of which file.
pub struct Mounted(pub PathBuf, PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // A process that another test is about to start has all that is open here for a moment, and one with mounts of
        // its own has those from here as long as it runs.
        for _ in 0..200 {
            let _ = Command::new("umount").arg("-q").arg(&self.0).stderr(Stdio::null()).status();
            if !self.is_in_use() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Mounted {
    /// Whether a loop device is of the file.
    fn is_in_use(&self) -> bool {
        let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
        let mut files = devices.filter_map(|device| fs::read(device.path().join("loop/backing_file")).ok());
        files.any(|file| file.starts_with(self.1.as_os_str().as_bytes()))
    }
}

/// Runs `program`, which has to do well; none if this machine lacks it.
pub fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let path = "/usr/sbin:/sbin:/usr/bin:/bin";
    match Command::new(program).args(arguments).env("PATH", path).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{program} {arguments:?}: {said}");
            Some(String::from_utf8_lossy(&output.stdout).into_owned() + &said)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            skipped(program);
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

/// All that is told of a file system.
pub fn told(system: &dyn FileSystem) -> io::Result<Lines> {
    let (mut lines, mut left) = (Lines::new(), vec![(Vec::new(), system.root())]);
    while let Some((path, number)) = left.pop() {
        let inode = system.inode(number)?;
        if inode.kind == InodeKind::Directory {
            for (name, number) in system.names(number)? {
                left.push(([path.as_slice(), b"/", &name].concat(), number));
            }
        }
        let content = match inode.kind {
            InodeKind::Regular | InodeKind::Symlink => content(system.content(number)?)?,
            _ => String::new(),
        };
        lines.insert(path, line(&inode, &system.xattrs(number)?, &content));
    }
    Ok(lines)
}

fn line(inode: &crate::filesystems::Inode, xattrs: &[(Vec<u8>, Vec<u8>)], content: &str) -> String {
    let shown = |bytes: &[u8]| match bytes.len() {
        0..64 => bytes.escape_ascii().to_string(),
        length => format!("{length} {}", Digest::of(bytes)),
    };
    let xattrs: Vec<String> =
        xattrs.iter().map(|(name, value)| format!("{}={}", name.escape_ascii(), shown(value))).collect();
    format!("{inode:?} {} {content}", xattrs.join(" "))
}

fn content(mut from: impl Read) -> io::Result<String> {
    let mut hasher = sha2::Sha256::default();
    let mut bytes = vec![0; 1 << 18];
    let mut all = 0;
    loop {
        let read = from.read(&mut bytes)?;
        if read == 0 {
            break;
        }
        all += read;
        sha2::Digest::update(&mut hasher, &bytes[..read]);
    }
    Ok(format!("{all} bytes {:?}", sha2::Digest::finalize(hasher)))
}

/// All that the kernel tells of a folder that a file system is mounted at, or that one is made of.
pub fn seen(root: &Path) -> Lines {
    let (mut lines, mut left) = (Lines::new(), vec![(Vec::new(), root.to_path_buf())]);
    while let Some((path, place)) = left.pop() {
        let metadata = fs::symlink_metadata(&place).unwrap();
        let kind = kind(&metadata);
        if kind == InodeKind::Directory {
            for entry in fs::read_dir(&place).unwrap() {
                let entry = entry.unwrap();
                left.push(([path.as_slice(), b"/", entry.file_name().as_bytes()].concat(), entry.path()));
            }
        }
        let content = match kind {
            InodeKind::Regular => content(File::open(&place).unwrap()).unwrap(),
            InodeKind::Symlink => content(fs::read_link(&place).unwrap().as_os_str().as_bytes()).unwrap(),
            _ => String::new(),
        };
        let inode = crate::filesystems::Inode {
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: metadata.mtime(),
            size: metadata.size(),
            links: u32::try_from(metadata.nlink()).unwrap(),
        };
        lines.insert(path, line(&inode, &xattrs(&place), &content));
    }
    lines
}

fn kind(metadata: &fs::Metadata) -> InodeKind {
    let (of, device) = (metadata.file_type(), metadata.rdev());
    let numbers = (rustix::fs::major(device), rustix::fs::minor(device));
    match () {
        () if of.is_dir() => InodeKind::Directory,
        () if of.is_symlink() => InodeKind::Symlink,
        () if of.is_char_device() => InodeKind::Character(numbers.0, numbers.1),
        () if of.is_block_device() => InodeKind::Block(numbers.0, numbers.1),
        () if of.is_fifo() => InodeKind::Fifo,
        () if of.is_socket() => InodeKind::Socket,
        () => InodeKind::Regular,
    }
}

fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap();
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::lgetxattr(path, CString::new(name).unwrap(), &mut value[..]).unwrap();
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    found.sort();
    found
}

/// What differs, shortly.
pub fn differences(told: &Lines, seen: &Lines) -> Vec<String> {
    let mut paths: Vec<&Vec<u8>> = told.keys().chain(seen.keys()).collect();
    paths.sort();
    paths.dedup();
    let differ = paths.into_iter().filter(|path| told.get(*path) != seen.get(*path)).take(10);
    differ
        .map(|path| {
            format!("{}:\n  told {:?}\n  seen {:?}", path.escape_ascii(), told.get(path), seen.get(path))
        })
        .collect()
}
