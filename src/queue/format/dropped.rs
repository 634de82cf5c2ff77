//! Rejected batches that a person dropped: what was in them is lost, and stays named.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::queue::{Batch, BatchState, Lane, LaneId};

/// Rows of one lane in a batch that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DroppedRange {
    /// Kafka topic, as in [`Lane::topic`].
    pub topic: String,
    /// Kafka partition.
    pub partition: i32,
    /// First offset.
    pub from: i64,
    /// Offset after the last one.
    pub to: i64,
    /// Rows of these offsets.
    pub rows: u64,
}

/// A batch that a person dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DroppedBatch {
    /// Its number.
    pub seq: u64,
    /// Its token.
    pub token: String,
    /// When it was dropped, Unix ms; 0 before.
    pub dropped_ms: u64,
    /// Where its rows came from.
    pub ranges: Vec<DroppedRange>,
    /// Rows in it.
    pub rows: u64,
    /// ClickHouse's code.
    pub code: u32,
    /// Why ClickHouse refused it.
    pub words: String,
    /// An insert may have stored it all the same.
    pub may_be_stored: bool,
    /// Its rows were counted as stored before, so they are not counted as lost.
    pub counted: bool,
}

/// Name under which the queue keeps the list of [`DroppedBatch`]es.
pub const DROPPED_BATCHES: &str = "dropped_batches";

/// Name under which it keeps the rows by minute of those that may be stored, for `reconcile`.
pub(in crate::queue) const DROPPED_MINUTES: &str = "dropped_minutes";

/// Rows by minute.
pub(in crate::queue) type DroppedMinutes = BTreeMap<u32, u64>;

impl std::fmt::Display for DroppedRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let topic = self.topic.split(['@', '#']).next().unwrap_or_default();
        write!(
            f,
            "{topic} p{} offsets {}..{} ({} rows)",
            self.partition, self.from, self.to, self.rows
        )
    }
}

impl DroppedBatch {
    /// Its places, for people.
    pub fn places(&self) -> String {
        let all: Vec<String> = self.ranges.iter().map(DroppedRange::to_string).collect();
        all.join(", ")
    }

    /// What is lost with a batch, given the lanes that it is of. `None` if it is not rejected.
    pub fn of<'a>(
        batch: &Batch,
        lanes: impl IntoIterator<Item = &'a Lane>,
    ) -> Option<DroppedBatch> {
        let BatchState::Rejected { code, words } = &batch.state else {
            return None;
        };
        let lanes: BTreeMap<LaneId, &Lane> = lanes.into_iter().map(|l| (l.id, l)).collect();
        let ranges = batch.ranges.iter().map(|range| {
            let unknown = Lane::unknown(range.lane, range.from);
            let lane = lanes.get(&range.lane).copied().unwrap_or(&unknown);
            DroppedRange {
                topic: lane.topic.clone(),
                partition: lane.partition,
                from: range.from,
                to: range.to,
                rows: range.rows,
            }
        });
        Some(DroppedBatch {
            seq: batch.seq,
            token: batch.token.clone(),
            dropped_ms: 0,
            ranges: ranges.collect(),
            rows: batch.rows,
            code: *code,
            words: words.clone(),
            may_be_stored: batch.may_be_stored,
            counted: batch.counted,
        })
    }
}
