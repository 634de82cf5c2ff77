//! Every metric, in a described table for each area. Times are in seconds, sizes in bytes.

mod flush;
mod ingest;
mod limits;
mod process;
mod queue;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod weighted;
mod words;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::conditions::Condition;
pub use flush::FlushStats;
pub use ingest::IngestStats;
pub use limits::{Limits, limit, limit_time};
pub use queue::QueueStats;
pub use state::StateStats;
pub use weighted::Weighted;

/// What all metrics of ours begin with.
const PREFIX: &str = "anonymizer";

/// What the threads count. Starts at zero with the process; what must survive it is in the queue.
#[derive(Debug, Default)]
pub struct Stats {
    /// What is read of Kafka.
    pub ingest: IngestStats,
    /// What the queue holds.
    pub queue: QueueStats,
    /// What is asked of ClickHouse.
    pub flush: FlushStats,
    /// How it stands.
    pub state: StateStats,
    /// The settings that bound something.
    pub limits: Limits,
    /// Lines of the log that nobody read.
    pub log_lines_dropped: Counter,
    /// Lines of the log that were like one of the minute before.
    pub log_lines_repeated: Counter,
    assigned: Mutex<BTreeSet<i32>>,
    /// Why nothing more is read from Kafka now.
    pub pause: Condition,
    /// Why Kafka cannot be read on as it should.
    pub kafka: Condition,
    /// Why Kafka does not tell where to go on in partitions that were assigned.
    pub group: Condition,
    /// Why Kafka acknowledges no commit.
    pub commits: Condition,
}

impl Stats {
    /// The metrics as OpenMetrics text, for `/metrics`.
    ///
    /// # Errors
    /// If they cannot be written as text, which none excludes.
    pub fn open_metrics(&self) -> Result<String, std::fmt::Error> {
        let mut all = Registry::default();
        let ours = all.sub_registry_with_prefix(PREFIX);
        self.ingest.register(ours);
        self.queue.register(ours);
        self.flush.register(ours);
        self.state.register(ours);
        self.limits.register(ours);
        ours.register(
            "log_lines_dropped",
            "Lines of the log that were dropped, because nobody read it",
            self.log_lines_dropped.clone(),
        );
        ours.register(
            "log_lines_repeated",
            "Lines of the log that were like one of the minute before: told once a minute, with their \
             count",
            self.log_lines_repeated.clone(),
        );
        process::register_build(ours);
        process::register(&mut all);
        let mut text = String::new();
        encode(&mut text, &all)?;
        Ok(text)
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

    fn change(&self, change: impl FnOnce(&mut BTreeSet<i32>)) {
        let mut held = self
            .assigned
            .lock()
            .expect("BUG: a thread panicked while counting");
        change(&mut held);
        self.ingest.partitions_assigned.set(held.len() as i64);
    }
}

/// Sets a counter that is kept elsewhere, as in the queue.
pub fn set_counter(counter: &Counter, value: u64) {
    counter.inner().store(value, Ordering::Relaxed);
}
