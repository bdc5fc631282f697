//! Reading foreign tars, which may be hostile, into entries.
//!
//! ustar, GNU and `pax` (POSIX.1-2017) archives. Nothing of an entry is trusted: its path cannot climb, links on its way
//! are followed inside the root only, headers must have the right checksum, extended headers have a limit, and what is
//! not understood (sparse files, multi-volume parts) is refused by name instead of being guessed at.
//!
//! Contents are hashed while they pass, and kept aside in a spool, because a tar may name its members in any order and
//! a layer has only one.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use tar::{EntryType, Header, PaxExtensions};

use super::entry::{Entry, Kind};
use super::header::{BLOCK, padding};
use super::index::Index;
use super::merge::{BadMerge, Merged};
use super::path::{BadPath, EntryPath};
use super::write::LayerWriter;
use crate::key::{Digest, Hasher};
use crate::lang::Owner;
use crate::lang::value::Id;

/// How entries are taken over.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The directory that they go to.
    pub to: EntryPath,
    /// Whom they belong to; the archive's own numbers without it.
    pub owner: Option<Owner>,
    /// Seconds since 1970.
    pub epoch: i64,
    /// Whether times up to the epoch are kept; otherwise all are the epoch.
    pub keep_times: bool,
    /// Whether the archive's own root entry says how the image's root is to be (a base's does).
    pub root_counts: bool,
}

/// What is wrong with a tar.
#[derive(Debug)]
pub enum BadTar {
    /// The system could not read or write.
    Io(io::Error),
    /// It is no tar, or not a whole one.
    Broken {
        /// Byte in the (uncompressed) archive; 0 where it is about the whole of it.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// An entry is refused.
    Entry {
        /// Its name as the archive has it, lossy.
        name: String,
        /// Why.
        what: String,
    },
}

impl fmt::Display for BadTar {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadTar::Io(error) => out.write_str(&crate::fault::reason(error)),
            BadTar::Broken { at: 0, what } => out.write_str(what),
            BadTar::Broken { at, what } => write!(out, "{what} (at byte {at})"),
            BadTar::Entry { name, what } => write!(out, "its entry `{name}` is refused: {what}"),
        }
    }
}

impl From<io::Error> for BadTar {
    fn from(error: io::Error) -> BadTar {
        BadTar::Io(error)
    }
}

/// The entries of a foreign tar; the offset of a content says where it lies in the spool.
#[derive(Debug, Default)]
pub struct Gathered {
    merged: Merged,
    /// Markers about what is below, which the merge of one layer would use up.
    whiteouts: BTreeMap<EntryPath, Kind>,
    names: Vec<EntryPath>,
}

impl Gathered {
    /// The paths as the tar has them, in its order, before links on their way are followed.
    pub fn names(&self) -> &[EntryPath] {
        &self.names
    }

    /// Leaves out every path that `keep` refuses; other names of a file that goes keep its content.
    pub fn retain(&mut self, keep: impl Fn(&EntryPath) -> bool) {
        self.merged.retain(&keep);
        self.whiteouts.retain(|path, _| keep(path));
    }

    /// The entries, to be changed in place; paths must stay.
    pub fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.merged.nodes_mut().map(|node| &mut node.entry)
    }

    /// The entries in the order of a layer.
    pub fn into_entries(mut self) -> Vec<Entry> {
        self.merged.settle();
        let mut entries: Vec<Entry> = self.merged.nodes().map(|node| node.entry.clone()).collect();
        for (path, kind) in self.whiteouts {
            let there = self.merged.get(&path).map(|node| node.entry.kind == Kind::Directory);
            let kind = match (kind, there) {
                // Removed below and made anew here: a directory hides what it had below, anything else replaces it.
                (Kind::Whiteout, Some(true)) => Kind::Opaque,
                (Kind::Whiteout, Some(false)) => continue,
                (kind, _) => kind,
            };
            entries.push(Entry {
                path,
                kind,
                mode: 0o644,
                owner: Owner::ROOT,
                mtime: 0,
                xattrs: vec![],
                weak: false,
            });
        }
        entries.sort_by(Entry::order);
        entries
    }
}

/// Reads the tar that `source` yields, whose first byte is `source`'s first. Contents go to `spool`; without one,
/// offsets say where the contents are in `source` itself.
pub fn read_tar<'a>(
    source: &'a mut (dyn Read + 'a),
    rules: &'a Rules,
    spool: Option<&'a mut (dyn Write + 'a)>,
) -> Result<Gathered, BadTar> {
    let mut reader = TarReader {
        source,
        at: 0,
        rules,
        spool,
        spooled: 0,
        global: BTreeMap::new(),
        gathered: Gathered::default(),
        buffer: vec![0; 256 * 1024],
    };
    let mut entries = 0u64;
    while reader.member()? {
        entries += 1;
        if entries > MOST_ENTRIES {
            return Err(reader.broken("it has more than five million entries"));
        }
    }
    Ok(reader.gathered)
}

/// Writes `entries`, whose contents lie in `spool` at their offsets, as a layer's tar.
pub fn write_from_spool<W: Write>(
    entries: Vec<Entry>,
    spool: &std::fs::File,
    out: W,
) -> io::Result<(W, Index)> {
    let mut writer = LayerWriter::new(out);
    for entry in entries {
        match entry.kind {
            Kind::File { size, digest, offset } => {
                let written = writer.file(entry, size, &mut At { file: spool, at: offset, left: size })?;
                if written != digest {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "it changed while it was read"));
                }
            }
            _ => writer.entry(entry)?,
        }
    }
    writer.finish()
}

/// `left` bytes of a file from `at` on.
pub struct At<'a> {
    /// The file.
    pub file: &'a std::fs::File,
    /// The next byte.
    pub at: u64,
    /// How many are left.
    pub left: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..room], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// An extended header longer than this is refused.
const MOST_EXTENDED: u64 = 1 << 20;
const MOST_ENTRIES: u64 = 5_000_000;

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

struct TarReader<'a> {
    source: &'a mut (dyn Read + 'a),
    at: u64,
    rules: &'a Rules,
    spool: Option<&'a mut (dyn Write + 'a)>,
    spooled: u64,
    global: Records,
    gathered: Gathered,
    buffer: Vec<u8>,
}

impl TarReader<'_> {
    fn broken(&self, what: &str) -> BadTar {
        BadTar::Broken { at: self.at, what: what.to_string() }
    }

    /// Reads one member with its extended headers; false at the end.
    fn member(&mut self) -> Result<bool, BadTar> {
        let mut records = self.global.clone();
        loop {
            let Some(header) = self.header()? else { return Ok(false) };
            let size = self.declared_size(&header)?;
            match header.entry_type() {
                EntryType::XHeader => records.extend(self.records(size)?),
                EntryType::XGlobalHeader => {
                    let global = self.records(size)?;
                    self.global.extend(global);
                    records = self.global.clone();
                }
                EntryType::GNULongName => {
                    let name = self.long_text(size)?;
                    records.insert(b"path".to_vec(), name);
                }
                EntryType::GNULongLink => {
                    let target = self.long_text(size)?;
                    records.insert(b"linkpath".to_vec(), target);
                }
                _ => {
                    self.take(&header, size, &records)?;
                    return Ok(true);
                }
            }
        }
    }

    /// The next header; none at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, BadTar> {
        let mut header = Header::new_old();
        let read = self.fill(header.as_mut_bytes())?;
        if read == 0 {
            return if self.at == 0 { Err(self.broken("it is empty, not a tar")) } else { Ok(None) };
        }
        if read < 512 {
            return Err(if self.at < 512 { not_a_tar() } else { self.broken("it is cut short") });
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if !checksum_holds(&header) {
            let first = self.at == BLOCK;
            return Err(if first { not_a_tar() } else { self.broken("a header's checksum is wrong") });
        }
        Ok(Some(header))
    }

    fn declared_size(&self, header: &Header) -> Result<u64, BadTar> {
        header.entry_size().map_err(|_| self.broken("a header's size is no number"))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, BadTar> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.source.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.at += filled as u64;
        Ok(filled)
    }

    fn small(&mut self, size: u64) -> Result<Vec<u8>, BadTar> {
        if size > MOST_EXTENDED {
            return Err(self.broken("an extended header is longer than 1 MiB"));
        }
        let mut bytes = vec![0; size as usize + padding(size)];
        if self.fill(&mut bytes)? < bytes.len() {
            return Err(self.broken("it is cut short"));
        }
        bytes.truncate(size as usize);
        Ok(bytes)
    }

    fn long_text(&mut self, size: u64) -> Result<Vec<u8>, BadTar> {
        let mut text = self.small(size)?;
        if text.last() == Some(&0) {
            text.pop();
        }
        Ok(text)
    }

    fn records(&mut self, size: u64) -> Result<Records, BadTar> {
        let bytes = self.small(size)?;
        let mut records = Records::new();
        for record in PaxExtensions::new(&bytes) {
            let record = record.map_err(|_| self.broken("an extended header makes no sense"))?;
            records.insert(record.key_bytes().to_vec(), record.value_bytes().to_vec());
        }
        Ok(records)
    }

    fn take(&mut self, header: &Header, declared: u64, records: &Records) -> Result<(), BadTar> {
        let name =
            records.get(b"path".as_slice()).cloned().unwrap_or_else(|| header.path_bytes().into_owned());
        let shown = shown(&name);
        let refuse = |what: String| BadTar::Entry { name: shown.clone(), what };
        if records.keys().any(|key| key.starts_with(b"GNU.sparse.")) || header.entry_type().is_gnu_sparse() {
            return Err(refuse("it is stored as a sparse file; pack it again without `--sparse`".into()));
        }
        let size = match records.get(b"size".as_slice()) {
            Some(text) => decimal(text).ok_or_else(|| refuse("its size is no number".into()))?,
            None => declared,
        };
        let kind = self.kind(header, &name, size, records).map_err(refuse)?;
        let path = EntryPath::parse(&name).map_err(|bad: BadPath| refuse(bad.to_string()))?;
        let path = EntryPath::parse(self.rules.to.join(path.as_bytes()).as_bytes())
            .map_err(|bad| refuse(bad.to_string()))?;
        let mut entry = self.attributes(header, records, path, kind).map_err(refuse)?;
        self.content(&mut entry, size)?;
        self.gather(entry).map_err(|bad| refuse(bad.to_string()))
    }

    fn kind(&self, header: &Header, name: &[u8], size: u64, records: &Records) -> Result<Kind, String> {
        let target = || {
            let target = records.get(b"linkpath".as_slice()).cloned();
            target.or_else(|| header.link_name_bytes().map(|name| name.into_owned())).unwrap_or_default()
        };
        match header.entry_type() {
            EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => Ok(Kind::Directory),
            EntryType::Regular | EntryType::Continuous => {
                Ok(Kind::File { size, digest: Digest::from_bytes([0; 32]), offset: 0 })
            }
            EntryType::Directory => Ok(Kind::Directory),
            EntryType::Symlink => symlink(target()),
            EntryType::Link => {
                let target = EntryPath::parse(target())
                    .map_err(|bad| format!("it is a hard link, and of that {bad}"))?;
                Ok(Kind::Hardlink(self.rules.to.join(target.as_bytes())))
            }
            EntryType::Char => device(header).map(|(major, minor)| Kind::Character(major, minor)),
            EntryType::Block => device(header).map(|(major, minor)| Kind::Block(major, minor)),
            EntryType::Fifo => Ok(Kind::Fifo),
            other => Err(format!(
                "its type `{}` is not one that can be unpacked",
                char::from(other.as_byte()).escape_default()
            )),
        }
    }

    fn attributes(
        &self,
        header: &Header,
        records: &Records,
        path: EntryPath,
        kind: Kind,
    ) -> Result<Entry, String> {
        let mode = header.mode().map_err(|_| "its mode is no number")? & 0o7777;
        let owner = match &self.rules.owner {
            Some(owner) => owner.clone(),
            None => Owner {
                user: account(records.get(b"uid".as_slice()), &header.as_old().uid, header.uid())
                    .ok_or("its owner is no number")?,
                group: account(records.get(b"gid".as_slice()), &header.as_old().gid, header.gid())
                    .ok_or("its group is no number")?,
            },
        };
        let mtime = match records.get(b"mtime".as_slice()) {
            Some(text) => whole_seconds(text),
            None => header.mtime().ok().and_then(|seconds| i64::try_from(seconds).ok()),
        };
        let mtime = match mtime {
            Some(seconds) if self.rules.keep_times => seconds.clamp(0, self.rules.epoch),
            _ => self.rules.epoch,
        };
        let mut xattrs: Vec<(Vec<u8>, Vec<u8>)> = records
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value.clone())))
            .collect();
        if xattrs.iter().any(|(name, _)| name.is_empty() || name.len() > 255 || name.contains(&0)) {
            return Err("an extended attribute has no possible name".into());
        }
        xattrs.sort();
        let mode = if matches!(kind, Kind::Symlink(_)) { 0o777 } else { mode };
        // A script that packs its temporary folder has `./` with that folder's mode, which nobody means for `/`.
        let weak = kind == Kind::Directory && path == self.rules.to && !self.rules.root_counts;
        Ok(Entry { path, kind, mode: if weak { 0o755 } else { mode }, owner, mtime, xattrs, weak })
    }

    /// Hashes the content on its way to the spool, or past it.
    fn content(&mut self, entry: &mut Entry, size: u64) -> Result<(), BadTar> {
        let start = if self.spool.is_some() { self.spooled } else { self.at };
        let mut hasher = Hasher::new();
        let is_file = matches!(entry.kind, Kind::File { .. });
        let mut left = size;
        let mut buffer = std::mem::take(&mut self.buffer);
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let read = self.fill(&mut buffer[..room])?;
            if read < room {
                return Err(self.broken(&format!("it is cut short inside `{}`", entry.path)));
            }
            if is_file {
                hasher.update(&buffer[..room]);
                if let Some(spool) = &mut self.spool {
                    spool.write_all(&buffer[..room])?;
                    self.spooled += room as u64;
                }
            }
            left -= room as u64;
        }
        let rest = padding(size);
        if self.fill(&mut buffer[..rest])? < rest {
            return Err(self.broken(&format!("it is cut short behind `{}`", entry.path)));
        }
        self.buffer = buffer;
        if is_file {
            entry.kind = Kind::File { size, digest: hasher.finish(), offset: start };
        }
        Ok(())
    }

    fn gather(&mut self, entry: Entry) -> Result<(), BadMerge> {
        self.gathered.names.push(entry.path.clone());
        if let (Kind::File { .. }, Some((path, kind))) = (&entry.kind, Entry::marker(&entry.path)) {
            self.gathered.whiteouts.insert(path, kind);
            return Ok(());
        }
        self.gathered.merged.add(0, entry).map(drop)
    }
}

fn not_a_tar() -> BadTar {
    BadTar::Broken { at: 0, what: "it is not a tar".to_string() }
}

/// The name as a message shows it: lossy, printable, and not endless.
fn shown(name: &[u8]) -> String {
    let text = crate::wording::printable(&String::from_utf8_lossy(&name[..name.len().min(200)]));
    if name.len() > 200 { format!("{text}…") } else { text }
}

fn checksum_holds(header: &Header) -> bool {
    let stated = header.cksum().ok();
    let bytes = header.as_bytes();
    let sum: u32 = bytes
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    stated == Some(sum)
}

fn symlink(target: Vec<u8>) -> Result<Kind, String> {
    if target.is_empty() || target.len() > 4095 || target.contains(&0) {
        return Err("it is a symbolic link whose target is empty, too long, or has a NUL byte".into());
    }
    Ok(Kind::Symlink(target))
}

fn device(header: &Header) -> Result<(u32, u32), String> {
    let number = |read: io::Result<Option<u32>>| read.ok().flatten();
    match (number(header.device_major()), number(header.device_minor())) {
        (Some(major @ 0..=0xfff), Some(minor @ 0..=0xf_ffff)) => Ok((major, minor)),
        _ => Err("its device number is none that Linux has".into()),
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// An extended header's number or the field's own; a field that was left empty means root.
fn account(record: Option<&Vec<u8>>, field: &[u8], header: io::Result<u64>) -> Option<Id> {
    let empty = field.iter().all(|byte| matches!(byte, 0 | b' '));
    let number = match record {
        Some(text) => decimal(text),
        None if empty => Some(0),
        None => header.ok(),
    };
    number.and_then(|number| u32::try_from(number).ok()).filter(|number| *number != u32::MAX).map(Id::Number)
}

/// `1735689600.123456789` without its fraction, as pax writes times.
fn whole_seconds(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    text.split('.').next()?.parse().ok()
}
