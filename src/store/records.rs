//! Records: what the step with a certain key made.

use std::fmt::Write as _;
use std::fs;

use super::Store;
use super::aside::keep_whole;
use crate::fault::Fault;
use crate::key::{Digest, Key};
use crate::layer::LayerId;

/// What a step made, and what it cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The layers, lowest first.
    pub layers: Vec<LayerId>,
    /// How long it took.
    pub seconds: f64,
    /// What the step found out while it ran, one line each: facts that have to hold for the record to be of use.
    pub found: Vec<String>,
}

const FIRST_LINE: &str = "imgbuild-record 1";

impl Store {
    /// What the step with that key made, if that is known.
    pub fn record(&self, key: Digest) -> Option<Record> {
        read(&fs::read_to_string(self.sharded("records", &key, "")).ok()?)
    }

    /// Remembers what a step made.
    pub fn keep_record(&self, key: &Key, record: &Record) -> Result<(), Fault> {
        let digest = key.digest();
        keep_whole(&self.sharded("records", &digest, ""), text(key, record).as_bytes())
    }

    /// Forgets what a step made.
    pub fn forget_record(&self, key: Digest) {
        let _ = fs::remove_file(self.sharded("records", &key, ""));
    }
}

fn text(key: &Key, record: &Record) -> String {
    let mut text = format!("{FIRST_LINE}\nseconds {}\n", record.seconds);
    for layer in &record.layers {
        let _ = writeln!(text, "layer {layer}");
    }
    for found in &record.found {
        let _ = writeln!(text, "found {found}");
    }
    for line in key.text().lines() {
        let _ = writeln!(text, "key {line}");
    }
    let digest = Digest::of(&text);
    let _ = writeln!(text, "end {digest}");
    text
}

fn read(text: &str) -> Option<Record> {
    let at = text.trim_end().rfind('\n')? + 1;
    let (body, end) = text.split_at(at);
    let digest: Digest = end.strip_prefix("end ")?.trim_end().parse().ok()?;
    if Digest::of(body) != digest {
        return None;
    }
    let mut record = Record::default();
    let mut lines = body.lines();
    (lines.next()? == FIRST_LINE).then_some(())?;
    for line in lines {
        match line.split_once(' ')? {
            ("seconds", seconds) => record.seconds = seconds.parse().ok()?,
            ("layer", id) => record.layers.push(LayerId(id.parse().ok()?)),
            ("found", found) => record.found.push(found.to_string()),
            _ => {}
        }
    }
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_round_trips_and_damage_is_noticed() {
        let record =
            Record { layers: vec![LayerId(Digest::of("a"))], seconds: 1.25, found: vec!["ovld x y".into()] };
        let text = text(&Key::new("overlay", 1), &record);
        assert_eq!(read(&text), Some(record));
        assert_eq!(read(&text.replace("1.25", "1.26")), None);
        assert_eq!(read(&text[..text.len() - 3]), None);
        assert_eq!(read(""), None);
    }
}
