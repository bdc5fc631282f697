//! Any bytes as a tar: what is read can be written as a layer, and read again it is the same layer.

#![no_main]

use std::fs::File;
use std::io::{Cursor, Write};

use imgbuild::layer::read::{Rules, read_tar, write_from_spool};
use imgbuild::layer::{EntryPath, Index};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let rules = Rules {
        to: EntryPath::root(),
        owner: None,
        epoch: 1_735_689_600,
        keep_times: true,
        root_counts: true,
    };
    let Some((tar, index)) = layer(bytes, &rules) else { return };
    let again = layer(&tar, &rules).expect("what imgbuild wrote, it reads");
    assert!(again.0 == tar, "a layer's tar is the same when it is read and written again");
    assert_eq!(strong(again.1).to_text(), strong(index).to_text());
});

/// That a layer merely passes through a directory shows in no tar.
fn strong(mut index: Index) -> Index {
    index.entries.iter_mut().for_each(|entry| entry.weak = false);
    index
}

fn layer(bytes: &[u8], rules: &Rules) -> Option<(Vec<u8>, Index)> {
    let mut spooled = Vec::new();
    let gathered = read_tar(&mut Cursor::new(bytes), rules, Some(&mut spooled)).ok()?;
    let mut spool = in_memory();
    spool.write_all(&spooled).expect("memory can be written");
    Some(write_from_spool(gathered.into_entries(), &spool, Vec::new()).expect("what was gathered can be written"))
}

fn in_memory() -> File {
    rustix::fs::memfd_create("spool", rustix::fs::MemfdFlags::CLOEXEC).expect("a file in memory").into()
}
