//! What is asked of ClickHouse.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::table::metrics;
use super::weighted::Weighted;

/// How a request ended: one of few words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    outcome: &'static str,
}

/// ClickHouse answered that the rows are stored.
const STORED: &str = "stored";
/// ClickHouse has the rows of an insert whose answer was lost.
const FOUND: &str = "found";
/// A question was answered, or a table made.
const ANSWERED: &str = "answered";

/// Bounds in seconds of what takes about a minute, or hours.
const DELAYS: [f64; 12] = [
    15.0, 30.0, 60.0, 90.0, 120.0, 180.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0, 604_800.0,
];

metrics! {
    /// See the module.
    pub struct FlushStats {
        inserts: Family<Outcome, Counter>, "inserts",
            "Inserts by how they ended: `stored`, `found` if ClickHouse had the rows of an insert whose answer \
             was lost, or what went wrong";
        queries: Family<Outcome, Counter>, "queries",
            "Other requests than inserts by how they ended: `answered`, or what went wrong";
        rows_inserted: Counter, "rows_inserted", "Rows that ClickHouse acknowledged";
        next_slot_seconds: Gauge, "next_slot_seconds", "Time until the next request may start";
        body_limit_bytes: Gauge, "body_limit_bytes",
            "The largest body that is tried next, learned from what the proxy takes and refuses";
        insert_duration: Weighted = Weighted::new(&[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
            120.0, 300.0]), "insert_duration_seconds",
            "Inserts that were stored, by the time from the request's start to ClickHouse's answer";
        insert_rows: Weighted = Weighted::new(&[1.0, 100.0, 1e3, 1e4, 1e5, 2.5e5, 5e5, 1e6, 2.5e6, 5e6, 1e7]),
            "insert_rows", "Inserts that were stored, by their rows";
        insert_bytes: Weighted = Weighted::new(&[1024.0, 16_384.0, 262_144.0, 1_048_576.0, 4_194_304.0,
            16_777_216.0, 67_108_864.0, 268_435_456.0, 1_073_741_824.0]), "insert_body_bytes",
            "Inserts that were stored, by the bytes of their body, compressed";
        record_to_stored: Weighted = Weighted::new(&DELAYS), "record_to_stored_seconds",
            "Rows by the time from their own timestamp until ClickHouse acknowledged them. Rows are counted by \
             the minute, and taken to be of its middle: each is exact to 30 s, their mean nearly so. A \
             timestamp of the future counts as 0";
        queue_to_stored: Weighted = Weighted::new(&DELAYS), "queue_to_stored_seconds",
            "Rows by the time from their append to the queue until ClickHouse acknowledged them, exact";
    }
}

impl FlushStats {
    /// Has what may go wrong there from the start, at 0.
    pub fn expect(&self, labels: &[&'static str]) {
        for outcome in labels.iter().copied().chain([STORED, FOUND]) {
            self.inserts.get_or_create(&Outcome { outcome }).inc_by(0);
        }
        for outcome in labels.iter().copied().chain([ANSWERED]) {
            self.queries.get_or_create(&Outcome { outcome }).inc_by(0);
        }
    }

    /// Rows are stored.
    pub fn stored(&self, rows: u64, body_bytes: u64, took: Duration) {
        self.insert_ended(STORED);
        self.rows_inserted.inc_by(rows);
        self.insert_duration.observe(took.as_secs_f64());
        self.insert_rows.observe(rows as f64);
        self.insert_bytes.observe(body_bytes as f64);
    }

    /// Rows of an insert whose answer was lost were found.
    pub fn found(&self, rows: u64) {
        self.insert_ended(FOUND);
        self.rows_inserted.inc_by(rows);
    }

    /// An insert ended otherwise.
    pub fn insert_failed(&self, label: &'static str) {
        self.insert_ended(label);
    }

    /// A request that is no insert was answered.
    pub fn answered(&self) {
        self.query_failed(ANSWERED);
    }

    /// A request that is no insert was not answered.
    pub fn query_failed(&self, outcome: &'static str) {
        self.queries.get_or_create(&Outcome { outcome }).inc();
    }

    fn insert_ended(&self, outcome: &'static str) {
        self.inserts.get_or_create(&Outcome { outcome }).inc();
    }
}
