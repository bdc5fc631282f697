//! Any bytes as a manifest: faults or a manifest, soon, and no panic.

#![no_main]

use imgbuild::lang::syntax;
use imgbuild::manifest::{self, Said, Texts};
use imgbuild::work::Folders;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(source) = syntax::from_bytes("image.kdl", bytes.to_vec()) else { return };
    // An include would read this machine's files.
    if source.text.contains("include") {
        return;
    }
    let folders = Folders { here: "/nonexistent".into(), home: None };
    let texts = Texts::of_source(&source, &folders);
    let said = Said { folders, ..Said::default() };
    let read = manifest::read(&texts, &said);
    assert!(read.manifest.is_some() || read.faults.has_errors(), "no manifest, and nobody says why");
    for fault in &read.faults.list {
        for label in &fault.labels {
            assert!(label.place.end <= source.text.len(), "{fault}");
        }
    }
});
