//! What the queue holds. All of it is read off the queue when it is asked for.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::limits::Seconds;
use super::table::metrics;

metrics! {
    /// See the module.
    pub struct QueueStats {
        rows: Gauge, "queue_rows", "Rows queued";
        bytes: Gauge, "queue_bytes", "Compressed bytes queued";
        disk_bytes: Gauge, "queue_disk_bytes", "Bytes of the queue's files";
        oldest_seconds: Gauge, "queue_oldest_seconds",
            "Time since the oldest row queued was appended; 0 if there is none";
        disk_free_bytes: Gauge, "disk_free_bytes", "Bytes free on the disk of the data dir";
        quarantine_messages: Gauge, "quarantine_messages", "Messages in quarantine";
        quarantine_bytes: Gauge, "quarantine_bytes", "Bytes of the messages in quarantine";
        quarantine_dropped: Counter, "quarantine_dropped_messages",
            "Messages in quarantine that were dropped for room, since the data dir was made: each is lost";
        lost_offsets: Counter, "lost_offsets",
            "Offsets that Kafka no longer had when they were due, since the data dir was made";
        last_loss: Seconds, "last_loss_timestamp_seconds",
            "When lost offsets were noticed last, Unix time; 0 if none ever were";
        dropped_batches: Counter, "dropped_batches",
            "Batches refused by ClickHouse that a person dropped, since the data dir was made";
        dropped_rows: Counter, "dropped_rows",
            "Rows of those batches: each is lost, but where an insert had stored it all the same";
        held_lanes: Gauge, "held_lanes", "Stored row ranges that wait for a person";
        rejected_batches: Gauge, "rejected_batches", "Batches that ClickHouse refused for their data";
    }
}
