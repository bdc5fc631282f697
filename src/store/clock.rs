//! The clock. Nothing that is read here ever reaches an output.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970, as the kernel stamps files with them: its coarse clock, a tick or so behind.
pub fn now() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

/// Seconds since 1970 for ages that people read.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub fn seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
}
