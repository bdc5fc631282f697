//! One package as one layer: what dpkg does when it unpacks, without dpkg.
//!
//! The layer has the package's files as dpkg leaves them before it configures (conffiles under `.dpkg-new`), and the
//! package's part of dpkg's database: `var/lib/dpkg/info/NAME[:ARCH].list` and the members of its control archive.
//! It depends on nothing but the .deb, so every image shares it: times are as packed, directories are weak (dpkg
//! leaves those that are there as they are), and paths are as packed, so that they follow the image's own `/bin`.
//! The stanza, which dpkg keeps in one file for all packages, is given beside the layer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use super::Deb;
use super::ar::{self, Member};
use super::control::Control;
use crate::codec::{self, Compression};
use crate::fault::Fault;
use crate::key::Digest;
use crate::lang::Owner;
use crate::layer::read::{At, BadTar, Gathered, Rules, read_tar};
use crate::layer::{Entry, EntryPath, Index, Kind, LayerWriter, Merged};
use crate::store::{Layer, Store};

/// The ending under which dpkg keeps a conffile until it configures the package.
pub const NEW: &str = ".dpkg-new";

/// Where dpkg keeps what it knows of each package.
pub const INFO: &str = "var/lib/dpkg/info";

/// A package that was unpacked.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// Its files and its part of dpkg's database.
    pub layer: Layer,
    /// Its stanza.
    pub control: Control,
}

/// Unpacks the package in the file `path`, which must be `deb`, into a layer of `store`; ends early with what `go_on` says.
/// The file's digest was compared with `deb`'s by whoever gave it.
///
/// # Errors
///
/// `deb/refused` for a file that is no whole package, is another one, or holds what no package may.
pub fn unpack(
    path: &Path,
    deb: &Deb,
    store: &Store,
    go_on: &dyn Fn() -> Result<(), Fault>,
) -> Result<Unpacked, Fault> {
    go_on()?;
    let file = File::open(path).map_err(|error| Fault::io("read", path, &error))?;
    let unpacking = Unpacking { path, deb, file, store, go_on };
    let (control, data) = unpacking.parts()?;
    let scripts = unpacking.scripts(&control)?;
    let files = unpacking.files(&data, &scripts)?;
    let layer = unpacking.write(files, &scripts)?;
    Ok(Unpacked { layer, control: scripts.control })
}

/// Bytes that a package may have when unpacked.
const MOST_UNPACKED: u64 = 16 << 30;

/// Bytes that its control archive may have when unpacked, and how many members.
const MOST_CONTROL: u64 = 64 << 20;
const MOST_CONTROL_MEMBERS: usize = 1000;

/// Contents up to this are kept in memory on their way.
const IN_MEMORY: usize = 64 << 20;

struct Unpacking<'a> {
    path: &'a Path,
    deb: &'a Deb,
    file: File,
    store: &'a Store,
    go_on: &'a dyn Fn() -> Result<(), Fault>,
}

/// What the control archive holds.
struct Scripts {
    control: Control,
    /// By name, without `control` itself: mode, time and content.
    members: BTreeMap<String, (u32, i64, Vec<u8>)>,
    conffiles: BTreeSet<EntryPath>,
    /// The latest time in it.
    time: i64,
}

/// What the data archive holds.
struct Files<'a> {
    entries: Vec<Entry>,
    contents: Spool<'a>,
    /// Paths as packed, in the order of the archive.
    names: Vec<EntryPath>,
}

impl Unpacking<'_> {
    /// The two archives in it.
    fn parts(&self) -> Result<(Member, Member), Fault> {
        let mut members = ar::members(&self.file).map_err(|error| self.unreadable(error))?;
        members.retain(|member| !member.name.starts_with('_'));
        let mut members = members.into_iter();
        let version = members.next().filter(|member| member.name == "debian-binary");
        let version = version.ok_or_else(|| self.refused("its first member is not `debian-binary`"))?;
        let mut text = String::new();
        let read = self.at(&version).take(100).read_to_string(&mut text);
        read.map_err(|error| self.unreadable(error))?;
        if !text.starts_with("2.") || !text.ends_with('\n') {
            let shown = crate::wording::printable(text.trim_end());
            return Err(self.refused(&format!("its format is `{shown}`, not 2.0")));
        }
        let mut part = |name: &str| {
            let member = members.next().filter(|member| {
                let ending = member.name.strip_prefix(name);
                ending.is_some_and(|ending| matches!(ending, "" | ".gz" | ".xz" | ".zst" | ".bz2"))
            });
            member.ok_or_else(|| self.refused(&format!("it has no `{name}` where that belongs")))
        };
        Ok((part("control.tar")?, part("data.tar")?))
    }

    /// Reads the control archive and checks that the package is the one that was meant.
    fn scripts(&self, member: &Member) -> Result<Scripts, Fault> {
        let mut bytes = Vec::new();
        let gathered = self.tar(member, MOST_CONTROL, &mut bytes)?;
        let entries = gathered.into_entries();
        if entries.len() > MOST_CONTROL_MEMBERS {
            return Err(self.refused("its control archive has too many members"));
        }
        let mut members = BTreeMap::new();
        for entry in entries.into_iter().filter(|entry| !entry.path.is_root()) {
            let name = member_name(&entry).ok_or_else(|| {
                self.refused(&format!("its control archive has `{}`, which is none of its files", entry.path))
            })?;
            let Kind::File { size, offset, .. } = entry.kind else { continue };
            // Both are below the limit that the spool was read with.
            let content = bytes.get(offset as usize..(offset + size) as usize).unwrap_or_default().to_vec();
            members.insert(name, (entry.mode & 0o755, entry.mtime, content));
        }
        let (_, _, control) =
            members.remove("control").ok_or_else(|| self.refused("it has no control file"))?;
        let control = Control::parse(&String::from_utf8_lossy(&control))
            .map_err(|what| self.refused(&format!("its control file is refused: {what}")))?;
        self.is_meant(&control)?;
        // dpkg makes the list itself.
        members.remove("list");
        let time = members.values().map(|(_, time, _)| *time).max().unwrap_or_default();
        let conffiles =
            members.get("conffiles").map(|(_, _, content)| content.as_slice()).unwrap_or_default();
        let conffiles = conffile_paths(conffiles)
            .ok_or_else(|| self.refused("its list of conffiles has a line that is no absolute path"))?;
        Ok(Scripts { control, members, conffiles, time })
    }

    fn is_meant(&self, control: &Control) -> Result<(), Fault> {
        let expected =
            [("Package", &self.deb.name), ("Version", &self.deb.version), ("Architecture", &self.deb.arch)];
        for (field, expected) in expected {
            let found = control.text(field);
            if found != expected {
                let found = crate::wording::printable(&found.chars().take(100).collect::<String>());
                return Err(self.refused(&format!("its {field} is `{found}`, not `{expected}`")));
            }
        }
        let (first, rest) = (control.package().bytes().next(), control.package().bytes());
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let named =
            first.is_some_and(letter) && rest.clone().all(|byte| letter(byte) || b"+-.".contains(&byte));
        let arch = control.text("Architecture");
        let arch_named = !arch.is_empty() && arch.bytes().all(|byte| letter(byte) || byte == b'-');
        if !named || !arch_named || rest.len() > 200 || arch.len() > 100 {
            return Err(self.refused("its name or its architecture is none that Debian has"));
        }
        Ok(())
    }

    /// Reads the data archive.
    fn files(&self, member: &Member, scripts: &Scripts) -> Result<Files<'_>, Fault> {
        let told: u64 = scripts.control.text("Installed-Size").parse().unwrap_or_default();
        let mut contents = Spool::new(self.store, told.saturating_mul(1024));
        let gathered = self.tar(member, MOST_UNPACKED, &mut contents)?;
        contents.finish().map_err(|error| Fault::io("write", self.store.root(), &error))?;
        let names = gathered.names().to_vec();
        if let Some(name) = names.iter().find(|name| Entry::marker(name).is_some()) {
            let what = format!("it has `{name}`, a name that stands for a removal in layers");
            return Err(self.refused(&what));
        }
        let info = |path: &EntryPath| path.below(&info_folder()).is_some_and(|below| !below.is_empty());
        if let Some(name) = names.iter().find(|name| info(name)) {
            return Err(self.refused(&format!("it brings `{name}`, a file of dpkg's database")));
        }
        let mut entries = gathered.into_entries();
        let keeps_folders = self.deb.name == "base-files";
        for entry in &mut entries {
            entry.weak = entry.kind == Kind::Directory && !keeps_folders;
        }
        if !scripts.conffiles.is_empty() {
            entries = set_aside(entries, &scripts.conffiles)
                .map_err(|bad| self.refused(&format!("its conffiles cannot be set aside: {bad}")))?;
        }
        Ok(Files { entries, contents, names })
    }

    fn tar(&self, member: &Member, most: u64, spool: &mut dyn Write) -> Result<Gathered, Fault> {
        // Times are clamped to what every format can say, and to no epoch: that is for whoever writes an image.
        let rules = Rules {
            to: EntryPath::root(),
            owner: None,
            epoch: i64::from(u32::MAX),
            keep_times: true,
            root_counts: true,
        };
        let mut start = Vec::new();
        let read = self.at(member).take(16).read_to_end(&mut start);
        read.map_err(|error| self.unreadable(error))?;
        if codec::sniff(&start) != compression(&member.name) {
            return Err(self.refused(&format!("its `{}` is not compressed as its name says", member.name)));
        }
        let packed = BufReader::with_capacity(1 << 16, self.at(member));
        let unpacked = codec::reader_of_proven(packed).map_err(|error| self.unreadable(error))?;
        let mut source = Limited { inner: unpacked, left: most, go_on: self.go_on };
        let result = read_tar(&mut source, &rules, Some(spool));
        // Damage behind the tar's end is damage too.
        let rest = io::copy(&mut source, &mut io::sink());
        (self.go_on)()?;
        let gathered = result.map_err(|bad| match bad {
            BadTar::Io(error) => self.unreadable(error),
            bad => self.refused(&format!("in its `{}`, {bad}", member.name)),
        })?;
        rest.map_err(|error| self.unreadable(error))?;
        Ok(gathered)
    }

    /// Writes files and database in one order.
    fn write(&self, files: Files<'_>, scripts: &Scripts) -> Result<Layer, Fault> {
        let database = database(&files.names, scripts);
        let path = self.store.stage()?.path("layer.tar");
        let write = || -> io::Result<Index> {
            let mut writer = LayerWriter::new(BufWriter::with_capacity(1 << 20, File::create_new(&path)?));
            let mut database = database.into_iter().peekable();
            for entry in files.entries {
                while let Some((own, content)) = database.next_if(|(own, _)| own.path <= entry.path) {
                    if own.path != entry.path {
                        put(&mut writer, own, &content)?;
                    }
                }
                match entry.kind {
                    Kind::File { size, digest, offset } => {
                        files.contents.copy(&mut writer, entry, (offset, size), digest)?;
                    }
                    _ => writer.entry(entry)?,
                }
            }
            database.try_for_each(|(own, content)| put(&mut writer, own, &content))?;
            Ok(writer.finish()?.1)
        };
        let index = write().map_err(|error| Fault::io("write", &path, &error))?;
        (self.go_on)()?;
        self.store.keep_layer(&path, index)
    }

    fn at(&self, member: &Member) -> At<'_> {
        At { file: &self.file, at: member.offset, left: member.size }
    }

    fn unreadable(&self, error: io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::Other => {
                self.refused(&crate::fault::reason(&error))
            }
            _ => Fault::io("read", self.path, &error),
        }
    }

    fn refused(&self, what: &str) -> Fault {
        Fault::build("deb/refused", format!("cannot unpack the package `{}`: {what}", self.deb.id()))
            .help(format!("remove `{}`, so that it is fetched again", self.path.display()))
    }
}

/// What a part of that name is compressed with.
fn compression(name: &str) -> Compression {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("gz") => Compression::Gzip,
        Some("xz") => Compression::Xz,
        Some("zst") => Compression::Zstd,
        Some("bz2") => Compression::Bzip2,
        _ => Compression::None,
    }
}

/// The name of a member of the control archive; none for what cannot be one.
fn member_name(entry: &Entry) -> Option<String> {
    let name = std::str::from_utf8(entry.path.as_bytes()).ok()?;
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    let fits = !name.starts_with('.') && name.len() <= 100 && name.bytes().all(letter);
    (fits && matches!(entry.kind, Kind::File { .. })).then(|| name.to_string())
}

/// The paths in a list of conffiles (deb-conffiles(5)), those of files that are to go left out.
fn conffile_paths(text: &[u8]) -> Option<BTreeSet<EntryPath>> {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).filter(|line| !line.is_empty());
    let lines = lines.filter(|line| !line.starts_with(b"remove-on-upgrade "));
    lines.map(|line| line.starts_with(b"/").then(|| EntryPath::parse(line).ok())?).collect()
}

/// Puts conffiles under the names that they have until the package is configured.
fn set_aside(
    mut entries: Vec<Entry>,
    conffiles: &BTreeSet<EntryPath>,
) -> Result<Vec<Entry>, crate::layer::merge::BadMerge> {
    let aside =
        |path: &EntryPath| path.parent().unwrap_or_default().join(&[path.name(), NEW.as_bytes()].concat());
    for entry in entries.iter_mut().filter(|entry| entry.kind != Kind::Directory) {
        if conffiles.contains(&entry.path) {
            entry.path = aside(&entry.path);
        }
        if let Kind::Hardlink(target) = &mut entry.kind
            && conffiles.contains(target)
        {
            *target = aside(target);
        }
    }
    // The new names may change which of a file's names comes first.
    entries.sort_by_key(|entry| matches!(entry.kind, Kind::Hardlink(_)));
    let mut merged = Merged::default();
    merged.add_layer(0, &entries)?;
    merged.settle();
    Ok(merged.nodes().map(|node| node.entry.clone()).collect())
}

/// The folder that dpkg's database is in.
fn info_folder() -> EntryPath {
    // A constant that is a clean path.
    EntryPath::root().join(INFO.as_bytes())
}

/// The package's part of dpkg's database, with the folders on the way, in the order of paths.
fn database(names: &[EntryPath], scripts: &Scripts) -> Vec<(Entry, Vec<u8>)> {
    let mut path = EntryPath::root();
    let mut entries: Vec<(Entry, Vec<u8>)> = Vec::new();
    for component in info_folder().components() {
        path = path.join(component);
        entries.push((Entry::passage(path.clone(), scripts.time), Vec::new()));
    }
    let mut file = |member: &str, mode: u32, time: i64, content: Vec<u8>| {
        let name = format!("{}.{member}", scripts.control.database_name());
        let kind = Kind::File { size: content.len() as u64, digest: Digest::of(&content), offset: 0 };
        let entry = Entry {
            path: path.join(name.as_bytes()),
            kind,
            mode,
            owner: Owner::ROOT,
            mtime: time,
            xattrs: Vec::new(),
            weak: false,
        };
        entries.push((entry, content));
    };
    file("list", 0o644, scripts.time, list(names));
    for (member, (mode, time, content)) in &scripts.members {
        file(member, *mode, *time, content.clone());
    }
    entries.sort_by(|left, right| left.0.path.cmp(&right.0.path));
    entries
}

/// The paths of a package as dpkg lists them: absolute, a line each, in the order of the archive, each once.
fn list(names: &[EntryPath]) -> Vec<u8> {
    let mut seen = BTreeSet::new();
    let mut text = Vec::new();
    for name in names.iter().filter(|name| seen.insert(*name)) {
        text.push(b'/');
        text.extend_from_slice(if name.is_root() { b"." } else { name.as_bytes() });
        text.push(b'\n');
    }
    text
}

fn put<W: Write>(writer: &mut LayerWriter<W>, entry: Entry, content: &[u8]) -> io::Result<()> {
    match entry.kind {
        Kind::File { digest, .. } => writer.known_file(entry, content, digest),
        _ => writer.entry(entry),
    }
}

/// Contents on their way: in memory, and from [`IN_MEMORY`] on in a file that has no name.
struct Spool<'a> {
    memory: Vec<u8>,
    file: Option<BufWriter<File>>,
    store: &'a Store,
}

impl<'a> Spool<'a> {
    /// A spool that is likely to get so many bytes.
    fn new(store: &'a Store, likely: u64) -> Spool<'a> {
        let room = usize::try_from(likely).unwrap_or(usize::MAX).min(IN_MEMORY);
        Spool { memory: Vec::with_capacity(room), file: None, store }
    }

    /// Copies a content whose digest is known.
    fn copy<W: Write>(
        &self,
        writer: &mut LayerWriter<W>,
        entry: Entry,
        (offset, size): (u64, u64),
        digest: Digest,
    ) -> io::Result<()> {
        match &self.file {
            Some(file) => {
                let mut content = At { file: file.get_ref(), at: offset, left: size };
                writer.known_content(entry, size, digest, &mut content)
            }
            None => {
                // All that was written is there, and it is at most `IN_MEMORY`.
                let content = self.memory.get(offset as usize..(offset + size) as usize);
                writer.known_file(entry, content.ok_or(io::ErrorKind::UnexpectedEof)?, digest)
            }
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }

    fn spill(&mut self) -> io::Result<&mut BufWriter<File>> {
        let stage = self.store.stage().map_err(|fault| io::Error::other(fault.message))?;
        let path = stage.path("contents");
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        // Only the open file is needed: it is gone when it is closed.
        let _ = std::fs::remove_file(&path);
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&std::mem::take(&mut self.memory))?;
        Ok(self.file.insert(file))
    }
}

impl Write for Spool<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write_all(bytes)?,
            None if self.memory.len() + bytes.len() <= IN_MEMORY => self.memory.extend_from_slice(bytes),
            None => self.spill()?.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that gives no more than so many bytes, and fails as soon as nobody waits for the work any more.
struct Limited<'a, R> {
    inner: R,
    left: u64,
    go_on: &'a dyn Fn() -> Result<(), Fault>,
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.go_on)().map_err(|fault| io::Error::other(fault.message))?;
        let read = self.inner.read(buffer)?;
        let left = self.left.checked_sub(read as u64);
        self.left =
            left.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is too large when unpacked"))?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
