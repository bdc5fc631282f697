//! Processes of this machine, as a test waits for them to come and to go.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::time::{Duration, Instant};

/// Waits until it is done; `seconds` is how long that may take.
pub fn wait_until(seconds: u64, what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(seconds), "not within {seconds} seconds: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process with this in its command line runs anywhere on this machine.
pub fn runs(command: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).contains(command))
}
