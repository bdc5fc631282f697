//! What tests of file systems need of the machine, and what becomes of them where it is not there.

#![allow(clippy::panic, clippy::print_stderr, reason = "tests")]

/// Says that a test cannot be made here; fails if all are asked for.
#[allow(clippy::disallowed_methods, reason = "whether what is missing may be skipped is the tester's word")]
pub fn skipped(lack: &str) {
    assert!(std::env::var("IMGBUILD_TESTS").as_deref() != Ok("all"), "this machine lacks {lack}");
    eprintln!("skipped: this machine lacks {lack}");
}
