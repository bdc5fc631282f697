//! What is asked for when programs of an image are to run, and what that gave.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::PATH;
use super::super::wire::Exit;
use super::text;
use crate::layer::EntryPath;

/// Programs to run in an image's file system, and what they find there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRun {
    /// Folders of the host that make up the image, the lowest first. All in them is root's, whoever owns it here. The
    /// caller, and nobody else, may own and must not change what is in them meanwhile. At most 400.
    pub lowers: Vec<PathBuf>,
    /// What plain folders cannot hold; stands above them. A folder on the way that is not named here is as it is below.
    pub specials: Vec<Special>,
    /// Files, root's, that are written before the first program starts, and captured.
    pub files: Vec<Given>,
    /// Files, root's, that are there while the programs run. Nothing at these paths is captured, whatever happens to
    /// them: there, the image stays as it was. Those below `run/` and `tmp/` stand in the sandbox's own folders.
    pub passing: Vec<Given>,
    /// What stands in the sandbox's own `/run` and `/tmp`, which are never captured, before the first program starts:
    /// paths begin with `run/` or `tmp/`, and any other is refused. Folders on the way that are not named here are
    /// root's, 0755. Contents may come from many files of the host, or from parts of one.
    pub scratch: Vec<Special>,
    /// Folders in `/run` and `/tmp` in which no program can change anything once they are filled; made where they are
    /// not there. What is around such a folder can be changed, also its place, by renaming a folder further out: so
    /// name one right in `/run` or `/tmp`. A file in it that has another name outside can be changed there.
    #[serde(with = "text::paths")]
    pub sealed: Vec<EntryPath>,
    /// Files and folders of the host that are shown, read-only. Mount points are made where there is none: in the
    /// image below all else, so that they are never captured, and in `/run` and `/tmp`, also between what is there.
    pub shown: Vec<Shown>,
    /// Files of the host that programs write to, as [`ImageRun::shown`] but for that.
    pub written: Vec<Shown>,
    /// Which root the programs see.
    pub view: View,
    /// Files and folders of the host that [`View::Host`] does not show even where it shows what is around them. What
    /// is not there is left out; so is a folder without which no program would run.
    pub hidden: Vec<PathBuf>,
    /// Whether programs find `/dev/kvm`, as this machine has it.
    pub kvm: bool,
    /// Whether programs can reach the network; without it there is only their own loopback.
    pub network: bool,
    /// The environment of all programs, beside [`ImageRun::environment`]'s usual one, which it overrides.
    pub environment: BTreeMap<String, String>,
    /// Run one after the other, until one that must succeed does not.
    pub commands: Vec<Call>,
    /// Removed after the last program, before the capture.
    pub remove: Vec<Removal>,
    /// A file of the host that gets the changes, as a tar: PAX, sorted by path, owners as numbers, with OCI whiteouts.
    /// Not written where a program failed that must not, but see [`ImageRun::capture_always`].
    pub capture: Option<PathBuf>,
    /// Whether what was changed is captured also where a program failed that must not, so that it can be looked at as it
    /// is: [`ImageRun::remove`] is not heeded then. After an interruption or a timeout there is never a capture.
    pub capture_always: bool,
    /// Times in the capture that are later than this are this: seconds since 1970.
    pub epoch: i64,
    /// A file of the host where all that the programs print goes; of more than 64 MiB, the first and the last half.
    pub log: PathBuf,
    /// Byte strings, passwords say, that appear nowhere in what is told of the programs: not in the log, not in a line.
    /// `***` stands for each, however the programs print it, and for all of those that overlap. Nothing is known of
    /// one that is printed otherwise than as it is, or in parts with something between. Those of less than 4 bytes are
    /// left out. Not heeded by [`Launcher::run_interactive`](super::super::Launcher::run_interactive).
    #[serde(skip)]
    pub masked: Vec<Vec<u8>>,
    /// How long all of it may take.
    pub timeout: Option<Duration>,
}

/// Which root an image's programs see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum View {
    /// The image's own.
    #[default]
    Image,
    /// The host's folders of programs and their settings, read-only, with the sandbox's own `/dev`, `/proc`, `/run`,
    /// `/sys`, `/tmp`, `/var/tmp` and an empty home `/root`; nothing else of the host. The image is at [`TARGET`],
    /// with nothing mounted in it: what is changed there is captured. All other paths of an [`ImageRun`] are in the
    /// image as ever, but those of [`ImageRun::shown`] and [`Call::folder`], which are as programs see them. Secrets
    /// such as `/etc/shadow` are hidden, from root too; else root sees what root may read in those folders.
    Host,
    /// As [`View::Host`], with less of the host: of its settings only its loader's, and nothing of `/opt`. For programs
    /// that read what may be hostile.
    Programs,
}

/// Where programs that see the host find the image.
pub const TARGET: &str = "/imgbuild/target";

/// An entry of an image that a plain folder of the host cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Special {
    /// Where.
    #[serde(with = "text::path")]
    pub path: EntryPath,
    /// What.
    pub kind: SpecialKind,
    /// Permission bits with set-user-ID, set-group-ID and sticky: at most 0o7777.
    pub mode: u32,
    /// The user's number, as the image has it.
    pub user: u32,
    /// The group's number.
    pub group: u32,
    /// Last modification, seconds since 1970.
    pub mtime: i64,
    /// Extended attributes.
    #[serde(with = "text::pairs")]
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a [`Special`] is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpecialKind {
    /// A directory.
    Directory,
    /// A regular file with a content that is a part of a file of the host.
    File {
        /// The host's file.
        file: PathBuf,
        /// Its first byte that counts.
        offset: u64,
        /// How many count.
        size: u64,
    },
    /// Another name of a special file that is no other name itself.
    Hardlink(#[serde(with = "text::path")] EntryPath),
    /// A symbolic link and the text of its target.
    Symlink(#[serde(with = "text")] Vec<u8>),
    /// A named pipe.
    Fifo,
}

/// A small file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// Where. Links on the way are followed, inside the image, for [`ImageRun::files`], and refused for
    /// [`ImageRun::passing`].
    #[serde(with = "text::path")]
    pub path: EntryPath,
    /// Permission bits.
    pub mode: u32,
    /// Its content.
    #[serde(with = "text::length")]
    pub bytes: Vec<u8>,
}

/// Something of the host that is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The host's file or folder.
    pub host: PathBuf,
    /// Where programs see it.
    #[serde(with = "text::path")]
    pub at: EntryPath,
}

/// One program to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its path inside, or its name on `PATH`.
    pub program: String,
    /// Its arguments, without its own name.
    pub arguments: Vec<String>,
    /// Where it starts; `/` if empty.
    pub folder: String,
    /// What it reads on its standard input; nothing is `/dev/null`.
    #[serde(with = "text::maybe_length")]
    pub stdin: Option<Vec<u8>>,
    /// Whether the run ends with it if it does not end with code 0.
    pub must_succeed: bool,
    /// Its own environment, which overrides that of all.
    pub environment: BTreeMap<String, String>,
}

/// Something to remove. The last name of its path may hold `*`, which stands for any bytes; what is not there is fine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Where. Links on the way are followed inside the image; the last name is taken as it is.
    #[serde(with = "text::path")]
    pub path: EntryPath,
    /// How much of it.
    pub what: Removed,
}

/// How much a [`Removal`] removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Removed {
    /// It, and what is in it.
    Whole,
    /// What is in the directory.
    Inside,
    /// The content of the regular file.
    Content,
}

/// What a run gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRan {
    /// How the programs ended that were started, in their order. A program that is not there is code 127, one that
    /// cannot be run 126, as shells have it.
    pub exits: Vec<Exit>,
    /// Which of them failed that must not.
    pub failed: Option<usize>,
    /// The last lines that were printed.
    pub tail: Vec<String>,
    /// The names of programs that still ran in the end, and were ended; sorted.
    pub left: Vec<String>,
    /// Whether [`ImageRun::capture`] was written.
    pub captured: bool,
}

impl ImageRun {
    /// The environment that every program has before [`ImageRun::environment`] and [`Call::environment`].
    pub(super) fn usual_environment() -> [(&'static str, &'static str); 8] {
        [
            ("HOME", "/root"),
            ("LANG", "C.UTF-8"),
            ("LOGNAME", "root"),
            ("PATH", PATH),
            ("SHELL", "/bin/sh"),
            ("TMPDIR", "/tmp"),
            ("TZ", "UTC"),
            ("USER", "root"),
        ]
    }

    /// What does not go into a JSON text, in one order.
    pub(in crate::sandbox) fn bytes(&self) -> Vec<&[u8]> {
        let given = self.files.iter().chain(&self.passing).map(|given| given.bytes.as_slice());
        given.chain(self.commands.iter().filter_map(|call| call.stdin.as_deref())).collect()
    }

    /// The same, to be filled.
    pub(in crate::sandbox) fn bytes_mut(&mut self) -> Vec<&mut Vec<u8>> {
        let given = self.files.iter_mut().chain(&mut self.passing).map(|given| &mut given.bytes);
        given.chain(self.commands.iter_mut().filter_map(|call| call.stdin.as_mut())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_beside_the_text() {
        let path = EntryPath::parse(b"etc/\xff").unwrap();
        let given = Given { path: path.clone(), mode: 0o644, bytes: vec![7; 3] };
        let call = Call { stdin: Some(b"in".to_vec()), ..Call::default() };
        let special = Special {
            path,
            kind: SpecialKind::Symlink(b"\xfe/x".to_vec()),
            mode: 0o4755,
            user: 0,
            group: 1,
            mtime: 2,
            xattrs: vec![(b"user.x".to_vec(), vec![0, 255])],
        };
        let run = ImageRun {
            files: vec![given.clone()],
            passing: vec![given],
            commands: vec![Call::default(), call],
            specials: vec![special],
            sealed: vec![EntryPath::parse(b"run/\xff").unwrap()],
            view: View::Host,
            ..ImageRun::default()
        };
        let text = serde_json::to_string(&run).unwrap();
        let mut read: ImageRun = serde_json::from_str(&text).unwrap();
        let mut bytes = run.bytes().into_iter();
        read.bytes_mut().into_iter().for_each(|place| place.copy_from_slice(bytes.next().unwrap()));
        assert_eq!(read, run);
    }
}
