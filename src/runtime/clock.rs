//! Wall-clock time, for what outlives the process.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds of Unix time; 0 before 1970.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
}

/// A point of Unix time as RFC 3339, in whole seconds.
pub fn rfc3339(ms: u64) -> String {
    let at = UNIX_EPOCH + std::time::Duration::from_millis(ms);
    humantime::format_rfc3339_seconds(at).to_string()
}
