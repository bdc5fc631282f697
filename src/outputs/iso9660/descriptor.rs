//! Volume descriptors (ECMA-119, section 8): what a reader finds first, at sector 16.

use super::field::{NO_DATE, SECTOR, both_u16, both_u32, long_date};
use super::names::Dialect;
use super::record::{DIRECTORY, Extent, Record, SELF};

/// What the primary descriptor (8.4) and the one of Joliet (8.5) say.
pub(super) struct Descriptor<'a> {
    pub dialect: Dialect,
    pub label: &'a str,
    pub epoch: i64,
    /// The sectors of the whole volume.
    pub volume: u32,
    /// The path table with the low byte first, and the first sector of the one with the high byte first.
    pub path_tables: (Extent, u32),
    pub root: Extent,
    pub root_mtime: i64,
}

impl Descriptor<'_> {
    /// The descriptor's sector.
    pub(super) fn encode(&self) -> Vec<u8> {
        const LEVEL_3: &[u8] = b"%/E";
        const FILE_STRUCTURE: u8 = 1;
        let joliet = self.dialect == Dialect::Joliet;
        let mut bytes = header(if joliet { 2 } else { 1 });
        bytes.push(0); // the escape sequences below are registered ones
        bytes.extend(self.text("", 32)); // system
        bytes.extend(self.text(self.label, 32));
        bytes.extend([0; 8]);
        bytes.extend(both_u32(self.volume));
        bytes.extend(field(if joliet { LEVEL_3 } else { b"" }, 32));
        bytes.extend(both_u16(1)); // volumes in the set
        bytes.extend(both_u16(1)); // this one's number
        bytes.extend(both_u16(SECTOR as u16));
        let (low_first, high_first) = self.path_tables;
        bytes.extend(both_u32(low_first.length));
        bytes.extend(low_first.sector.to_le_bytes());
        bytes.extend([0; 4]); // no second copy
        bytes.extend(high_first.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.root());
        bytes.extend(self.texts());
        bytes.extend(self.dates());
        bytes.push(FILE_STRUCTURE);
        field(&bytes, SECTOR)
    }

    fn root(&self) -> Vec<u8> {
        let (extent, mtime) = (self.root, self.root_mtime);
        Record { identifier: SELF, extent, mtime, flags: DIRECTORY, system_use: &[] }.encode()
    }

    fn texts(&self) -> Vec<u8> {
        let (set, publisher, preparer) = (self.text("", 128), self.text("", 128), self.text("", 128));
        let application = self.text("IMGBUILD", 128);
        let (copyright, summary, references) = (self.text("", 37), self.text("", 37), self.text("", 37));
        [set, publisher, preparer, application, copyright, summary, references].concat()
    }

    fn dates(&self) -> [u8; 4 * 17] {
        let made = long_date(self.epoch);
        let [created, modified, expires, effective] = [made, made, NO_DATE, NO_DATE];
        let mut bytes = [0; 4 * 17];
        for (field, date) in bytes.chunks_exact_mut(17).zip([created, modified, expires, effective]) {
            field.copy_from_slice(&date);
        }
        bytes
    }

    /// `text` in a field of `length` bytes, cut or filled with blanks.
    fn text(&self, text: &str, length: usize) -> Vec<u8> {
        let blanks = " ".repeat(length);
        let whole = self.dialect.encode(&format!("{text}{blanks}"));
        let fitting = match self.dialect {
            Dialect::Primary => length,
            // A field of odd length ends in a zero byte.
            Dialect::Joliet => length - length % 2,
        };
        field(&whole[..fitting], length)
    }
}

/// The descriptor that says that no more follow (8.3).
pub(super) fn terminator() -> Vec<u8> {
    field(&header(255), SECTOR)
}

fn header(kind: u8) -> Vec<u8> {
    const VERSION: u8 = 1;
    [&[kind][..], b"CD001", &[VERSION]].concat()
}

/// `bytes` followed by zeros up to `length`.
fn field(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut field = bytes.to_vec();
    field.resize(length, 0);
    field
}
