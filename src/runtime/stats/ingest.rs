//! What is read of Kafka and stored in the queue.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::table::metrics;
use super::weighted::Weighted;

/// Why a message could not become a row: one of few words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    reason: &'static str,
}

metrics! {
    /// See the module.
    pub struct IngestStats {
        rows_appended: Counter, "rows_appended", "Rows appended to the queue";
        bytes_appended: Counter, "appended_bytes", "Compressed bytes appended to the queue";
        quarantined: Family<Reason, Counter>, "quarantined_messages",
            "Messages that could not become rows, by reason";
        values_with_more: Counter, "values_with_more",
            "Kafka values with bytes behind their record, which were not read";
        commits_failed: Counter, "commits_failed", "Kafka commits without an acknowledgement";
        kafka_clients_failed: Counter, "kafka_clients_failed",
            "New Kafka clients that could not be made; each is tried again";
        partitions_assigned: Gauge, "partitions_assigned", "Kafka partitions held";
        paused: Gauge, "paused", "1 while reading from Kafka is paused for disk, quarantine or commits";
        kafka_to_queue: Weighted = Weighted::new(&[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
            300.0, 1800.0, 21_600.0, 86_400.0, 604_800.0]), "kafka_to_queue_seconds",
            "Rows by the time from their append in Kafka until they were synced to the queue. All rows of a \
             block are taken to be as old as its first message, so it is never too low, and too high by \
             sync_interval at most. Kafka's time is the producer's clock, unless the topic has LogAppendTime";
    }
}

impl IngestStats {
    /// A block of rows was appended.
    pub fn appended(&self, rows: u32, bytes: usize) {
        self.rows_appended.inc_by(u64::from(rows));
        self.bytes_appended.inc_by(bytes as u64);
    }

    /// Rows are on the disk: of each block when Kafka got its first message, Unix ms, and how many.
    pub fn synced(&self, blocks: impl Iterator<Item = (i64, u32)>, now_ms: u64) {
        for (kafka_ms, rows) in blocks.filter(|(kafka_ms, _)| *kafka_ms > 0) {
            self.kafka_to_queue
                .observe_since(kafka_ms.unsigned_abs(), u64::from(rows), now_ms);
        }
    }

    /// Has a reason there from the start, at 0.
    pub fn expect_reasons(&self, reasons: &[&'static str]) {
        for reason in reasons {
            self.quarantined.get_or_create(&Reason { reason }).inc_by(0);
        }
    }

    /// Counts a message that could not become a row.
    pub fn quarantined(&self, reason: &'static str) {
        self.quarantined.get_or_create(&Reason { reason }).inc();
    }
}
