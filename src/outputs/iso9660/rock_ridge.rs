//! What Rock Ridge adds to the records of the primary hierarchy: system use entries (IEEE P1281, "SUSP") and what
//! they say of POSIX files (IEEE P1282, "RRIP" 1.12).

use super::field::{SECTOR, both_u32, padding, short_date};

/// What `PX` and `TF` say of a file.
pub(super) struct Attributes {
    /// Type and permissions, as `st_mode` has them.
    pub mode: u32,
    pub links: u32,
    /// A number that no other file has.
    pub serial: u32,
    pub mtime: i64,
}

/// `PX` (RRIP 4.1.1) and `TF` (4.1.6). Readers take the dates that are not given from the record.
pub(super) fn attributes(of: &Attributes) -> [Vec<u8>; 2] {
    const ROOT_USER: u32 = 0;
    const MODIFIED: u8 = 0x02;
    let posix = [of.mode, of.links, ROOT_USER, ROOT_USER, of.serial].map(both_u32).concat();
    let times = [&[MODIFIED][..], &short_date(of.mtime)].concat();
    [entry(b"PX", &posix), entry(b"TF", &times)]
}

/// `NM` (RRIP 4.1.4): the full name, in as many entries as it takes.
pub(super) fn name(name: &str) -> Vec<Vec<u8>> {
    const CONTINUE: u8 = 0x01;
    const LONGEST: usize = 250;
    let pieces: Vec<&[u8]> = name.as_bytes().chunks(LONGEST).collect();
    let flags = |number| if number + 1 < pieces.len() { CONTINUE } else { 0 };
    pieces
        .iter()
        .enumerate()
        .map(|(number, piece)| entry(b"NM", &[&[flags(number)], *piece].concat()))
        .collect()
}

/// `SL` (RRIP 4.1.3): a link's target, a component a part of the path, in as many entries as it takes.
pub(super) fn link(target: &str) -> Vec<Vec<u8>> {
    const CONTINUE: u8 = 0x01;
    const LONGEST: usize = 250;
    let mut fields: Vec<Vec<u8>> = vec![Vec::new()];
    for component in components(target) {
        match fields.last_mut() {
            Some(field) if field.len() + component.len() <= LONGEST => field.extend(component),
            _ => fields.push(component),
        }
    }
    let flags = |number| if number + 1 < fields.len() { CONTINUE } else { 0 };
    fields
        .iter()
        .enumerate()
        .map(|(number, field)| entry(b"SL", &[&[flags(number)], &field[..]].concat()))
        .collect()
}

fn components(target: &str) -> Vec<Vec<u8>> {
    const CURRENT: u8 = 0x02;
    const PARENT: u8 = 0x04;
    const ROOT: u8 = 0x08;
    let root = target.starts_with('/').then(|| vec![ROOT, 0]);
    let parts = target.split('/').filter(|part| !part.is_empty()).flat_map(|part| match part {
        "." => vec![vec![CURRENT, 0]],
        ".." => vec![vec![PARENT, 0]],
        part => component(part),
    });
    root.into_iter().chain(parts).collect()
}

/// One part of a path; in pieces if it is longer than an entry takes.
fn component(part: &str) -> Vec<Vec<u8>> {
    const CONTINUE: u8 = 0x01;
    const LONGEST: usize = 248;
    let pieces: Vec<&[u8]> = part.as_bytes().chunks(LONGEST).collect();
    let flags = |number| if number + 1 < pieces.len() { CONTINUE } else { 0 };
    let head = |number: usize| [flags(number), pieces[number].len() as u8];
    pieces.iter().enumerate().map(|(number, piece)| [&head(number)[..], piece].concat()).collect()
}

/// `SP` (SUSP 5.3), the first entry of the root's first record: entries follow from the start of each system use area.
pub(super) fn sharing_protocol() -> Vec<u8> {
    entry(b"SP", &[0xbe, 0xef, 0])
}

/// `ER` (SUSP 5.5): the extension in use is RRIP 1.12, in the words of its section 4.3.
pub(super) fn extension_reference() -> Vec<u8> {
    const IDENTIFIER: &[u8] = b"IEEE_P1282";
    const DESCRIPTOR: &[u8] = b"THE IEEE P1282 PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS";
    const SOURCE: &[u8] =
        b"PLEASE CONTACT THE IEEE STANDARDS DEPARTMENT, PISCATAWAY, NJ, USA FOR THE P1282 SPECIFICATION";
    const VERSION: u8 = 1;
    let head = [IDENTIFIER.len() as u8, DESCRIPTOR.len() as u8, SOURCE.len() as u8, VERSION];
    entry(b"ER", &[&head[..], IDENTIFIER, DESCRIPTOR, SOURCE].concat())
}

/// The sectors for the entries that a record has no room for.
pub(super) struct Continuation {
    /// The first of the sectors.
    pub sector: u32,
    /// What they hold.
    pub bytes: Vec<u8>,
}

impl Continuation {
    /// What stands in a record that has `room` bytes; the entries behind that are put here and found through a `CE`
    /// (SUSP 5.1).
    pub(super) fn place(&mut self, entries: &[Vec<u8>], room: usize) -> Vec<u8> {
        if entries.iter().map(Vec::len).sum::<usize>() <= room {
            return entries.concat();
        }
        let mut used = CE_LENGTH;
        let kept = entries.iter().take_while(|entry| {
            used += entry.len();
            used <= room
        });
        let (inside, outside) = entries.split_at(kept.count());
        let mut area = inside.concat();
        area.extend(self.put(&outside.concat()));
        area
    }

    /// Puts `bytes` where they don't cross a sector, which Linux would refuse.
    fn put(&mut self, bytes: &[u8]) -> Vec<u8> {
        let left = padding(self.bytes.len() as u64);
        if bytes.len() > left {
            self.bytes.resize(self.bytes.len() + left, 0);
        }
        let sector = self.sector + (self.bytes.len() / SECTOR) as u32;
        let offset = (self.bytes.len() % SECTOR) as u32;
        self.bytes.extend(bytes);
        entry(b"CE", &[sector, offset, bytes.len() as u32].map(both_u32).concat())
    }
}

const CE_LENGTH: usize = 28;

/// A system use entry (SUSP 4): signature, length, version 1, data.
fn entry(signature: &[u8; 2], data: &[u8]) -> Vec<u8> {
    let [first, second] = *signature;
    let mut bytes = vec![first, second, 4 + data.len() as u8, 1];
    bytes.extend(data);
    bytes
}
