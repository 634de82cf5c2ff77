//! Every counter and gauge, in one described table.

use std::collections::BTreeSet;
use std::sync::Mutex;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Outcome of an attempt to insert.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    /// `stored`, or the label of what went wrong.
    pub outcome: String,
}

/// What the threads count. Starts at zero with the process; what must survive it is in the queue.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "`registry` describes each")]
pub struct Stats {
    pub rows_appended: Counter,
    pub rows_inserted: Counter,
    pub quarantined: Counter,
    pub quarantine_bytes: Gauge,
    pub quarantine_dropped: Gauge,
    pub commits_failed: Counter,
    pub inserts: Family<Outcome, Counter>,
    pub queue_rows: Gauge,
    pub queue_bytes: Gauge,
    pub queue_disk_bytes: Gauge,
    pub queue_oldest_seconds: Gauge,
    pub lost_offsets: Gauge,
    pub held_lanes: Gauge,
    pub rejected_batches: Gauge,
    pub paused: Gauge,
    pub hold: Gauge,
    pub next_slot_seconds: Gauge,
    pub partitions_assigned: Gauge,
    assigned: Mutex<BTreeSet<i32>>,
}

impl Stats {
    /// The metrics by name, for `/metrics`.
    pub fn registry(&self) -> Registry {
        let mut r = Registry::with_prefix("anonymizer");
        r.register(
            "rows_appended",
            "Rows appended to the queue",
            self.rows_appended.clone(),
        );
        r.register(
            "rows_inserted",
            "Rows that ClickHouse acknowledged",
            self.rows_inserted.clone(),
        );
        r.register(
            "quarantined",
            "Messages that could not become rows",
            self.quarantined.clone(),
        );
        r.register(
            "quarantine_bytes",
            "Bytes of the messages in quarantine",
            self.quarantine_bytes.clone(),
        );
        r.register(
            "quarantine_dropped",
            "Messages in quarantine that were dropped for room, ever: each is lost",
            self.quarantine_dropped.clone(),
        );
        r.register(
            "commits_failed",
            "Kafka commits without an acknowledgement",
            self.commits_failed.clone(),
        );
        r.register(
            "inserts",
            "Attempts to insert, by outcome",
            self.inserts.clone(),
        );
        r.register("queue_rows", "Rows queued", self.queue_rows.clone());
        r.register(
            "queue_bytes",
            "Compressed bytes queued",
            self.queue_bytes.clone(),
        );
        r.register(
            "queue_disk_bytes",
            "Bytes of the queue's files",
            self.queue_disk_bytes.clone(),
        );
        r.register(
            "queue_oldest_seconds",
            "Age of the oldest row queued",
            self.queue_oldest_seconds.clone(),
        );
        r.register(
            "lost_offsets",
            "Offsets that Kafka no longer had when they were due",
            self.lost_offsets.clone(),
        );
        r.register(
            "held_lanes",
            "Stored row ranges that wait for a person",
            self.held_lanes.clone(),
        );
        r.register(
            "rejected_batches",
            "Batches that ClickHouse refused for their data",
            self.rejected_batches.clone(),
        );
        r.register(
            "paused",
            "1 while reading from Kafka is paused for disk or commits",
            self.paused.clone(),
        );
        r.register(
            "hold",
            "1 while inserts are held until a person acts",
            self.hold.clone(),
        );
        r.register(
            "next_slot_seconds",
            "Seconds until the next request may start",
            self.next_slot_seconds.clone(),
        );
        r.register(
            "partitions_assigned",
            "Kafka partitions held",
            self.partitions_assigned.clone(),
        );
        r
    }

    /// Partitions were taken.
    pub fn assigned(&self, partitions: impl Iterator<Item = i32>) {
        self.change(|held| held.extend(partitions));
    }

    /// Partitions were let go.
    pub fn revoked(&self, partitions: &[i32]) {
        self.change(|held| held.retain(|p| !partitions.contains(p)));
    }

    /// The partitions held now.
    pub fn partitions(&self) -> Vec<i32> {
        let held = self
            .assigned
            .lock()
            .expect("BUG: a thread panicked while counting");
        held.iter().copied().collect()
    }

    /// Counts an attempt to insert.
    pub fn insert(&self, outcome: &str) {
        let labels = Outcome {
            outcome: outcome.to_owned(),
        };
        self.inserts.get_or_create(&labels).inc();
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<i32>)) {
        let mut held = self
            .assigned
            .lock()
            .expect("BUG: a thread panicked while counting");
        change(&mut held);
        self.partitions_assigned.set(held.len() as i64);
    }
}
