//! The settings that bound something, so that alerts and dashboards need no constants.

use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

use super::table::metrics;

/// Seconds that need not be whole.
pub type Seconds = Gauge<f64, std::sync::atomic::AtomicU64>;

metrics! {
    /// See the module.
    pub struct Limits {
        max_queue_bytes: Gauge, "max_queue_bytes", "Setting max_queue_bytes, on the disk as it is: reading pauses at that";
        min_free_disk_bytes: Gauge, "min_free_disk_bytes",
            "Setting min_free_disk on the disk as it is, or what stays free in any case: reading pauses below it";
        max_quarantine_bytes: Gauge, "max_quarantine_bytes", "Setting max_quarantine_bytes, on the disk as it is";
        max_body_bytes: Gauge, "max_body_bytes", "Setting max_body_bytes";
        max_batch_rows: Gauge, "max_batch_rows", "Setting max_batch_rows";
        flush_interval: Seconds, "flush_interval_seconds", "Setting flush_interval";
        request_timeout: Seconds, "request_timeout_seconds", "Setting request_timeout";
        sync_interval: Seconds, "sync_interval_seconds", "Setting sync_interval";
        freshness_target: Seconds, "freshness_target_seconds", "Setting freshness_target";
    }
}

/// Sets a limit, or the most that a gauge holds.
pub fn limit(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// Sets a limit of time.
pub fn limit_time(gauge: &Seconds, value: Duration) {
    gauge.set(value.as_secs_f64());
}
