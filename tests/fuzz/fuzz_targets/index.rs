//! Any text as a layer's index: refused, or written again as it was.

#![no_main]

use imgbuild::layer::Index;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(index) = Index::from_text(text) else { return };
    let written = index.to_text();
    let again = Index::from_text(&written).expect("what imgbuild wrote, it reads");
    assert_eq!(again.to_text(), written);
    assert_eq!(again.id(), index.id());
});
