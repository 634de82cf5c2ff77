//! sled's panics as errors.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::queue::QueueError;

/// sled 0.34 panics on some damage instead of saying so.
pub(in crate::queue) fn guarded<T>(
    f: impl FnOnce() -> Result<T, QueueError>,
) -> Result<T, QueueError> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let words = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(QueueError::Damaged {
            what: format!("sled gave up: {}", words.unwrap_or_default()),
        })
    })
}
