//! What is queued, in sums.

use serde::Serialize;

use super::{Batch, BatchState, Lane, LaneId, QuarantineTotals, Queue, QueueError};

/// What is queued, for people and metrics.
#[derive(Clone, Debug, Serialize, serde::Deserialize, PartialEq, schemars::JsonSchema)]
pub struct Summary {
    /// Rows stored: sealed, eligible and tail.
    pub rows: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Rows from eligible offsets on: waiting for a commit to be acknowledged or resolved.
    pub tail_lanes: usize,
    /// When the oldest row was appended, Unix ms.
    pub oldest_ms: Option<u64>,
    /// The oldest row that is to be sent, of each lane that has one.
    #[serde(default)]
    pub waiting: Vec<Waiting>,
    /// Rows of delivered batches that are kept (`keep_delivered`); not among `rows`.
    #[serde(default)]
    pub delivered_rows: u64,
    /// Bytes of their frames.
    #[serde(default)]
    pub delivered_bytes: u64,
    /// Messages in quarantine.
    pub quarantined: u64,
    /// Their bytes, and how many were dropped.
    pub quarantine: QuarantineTotals,
    /// Every lane.
    pub lanes: Vec<Lane>,
    /// Every batch.
    pub batches: Vec<Batch>,
}

/// Where the rows of a lane begin that are to be sent.
#[derive(
    Clone, Copy, Debug, Serialize, serde::Deserialize, PartialEq, Eq, schemars::JsonSchema,
)]
pub struct Waiting {
    /// The lane.
    pub lane: LaneId,
    /// When Kafka got the first of them, Unix ms, as far as it is known.
    pub kafka_ms: Option<u64>,
}

/// Below which offset no row of a lane is to be sent any more.
pub fn sent_up_to(batches: &[Batch], lane: &Lane) -> i64 {
    let sealed = batches.iter().filter(|b| b.state == BatchState::Sealed);
    let waiting = sealed.flat_map(|b| &b.ranges).filter(|r| r.lane == lane.id);
    waiting.map(|r| r.from).min().unwrap_or(lane.sealed)
}

impl Summary {
    /// Rows that inserts will carry, and their bytes: all but those that wait for a person.
    pub fn to_send(&self) -> (u64, u64) {
        let rejected = self
            .batches
            .iter()
            .filter(|b| matches!(b.state, BatchState::Rejected { .. }));
        let held = self.lanes.iter().filter(|l| l.is_held());
        let aside = rejected
            .map(|b| (b.rows, b.bytes))
            .chain(held.map(|l| (l.rows, l.bytes)));
        aside.fold((self.rows, self.bytes), |(rows, bytes), (r, b)| {
            (rows.saturating_sub(r), bytes.saturating_sub(b))
        })
    }
}

/// sled keeps about this much of its file per byte of blocks (`ops/bench disk`).
pub const SLED_FACTOR: f64 = 1.5;

impl Queue {
    /// What is queued.
    ///
    /// # Errors
    /// [`QueueError`] if the oldest block of a lane cannot be read.
    pub fn summary(&self) -> Result<Summary, QueueError> {
        let (lanes, batches, quarantine): (Vec<Lane>, Vec<Batch>, _) = {
            let state = self.state();
            (
                state.lanes.values().cloned().collect(),
                state.batches.values().cloned().collect(),
                state.quarantine,
            )
        };
        let delivered = || {
            let of = |b: &&Batch| matches!(b.state, BatchState::Delivered { .. });
            batches.iter().filter(of)
        };
        // Below `sealed` every row is in a batch, and delivered ones are not queued.
        let waiting = batches.iter().filter(|b| !b.is_delivered());
        let mut oldest_ms = waiting.map(|b| b.oldest_ms).min();
        let mut waiting = Vec::new();
        for lane in lanes.iter().filter(|l| l.rows > 0) {
            let head = |from| Ok::<_, QueueError>(self.block_at(lane.id, from)?.map(|(h, _)| h));
            let unsealed = head(lane.sealed)?;
            if let Some(header) = unsealed {
                let ms = header.appended_ms;
                oldest_ms = Some(oldest_ms.map_or(ms, |o: u64| o.min(ms)));
            }
            // Mostly no batch waits, and it is the same block.
            let first = match sent_up_to(&batches, lane) {
                from if from == lane.sealed => unsealed,
                from => head(from)?,
            };
            // A held tail waits for a person.
            let first = first.filter(|h| !lane.is_held() || h.first < lane.eligible);
            waiting.extend(first.map(|header| Waiting {
                lane: lane.id,
                kafka_ms: header.kafka_ms,
            }));
        }
        Ok(Summary {
            rows: lanes.iter().map(|l| l.rows).sum(),
            bytes: lanes.iter().map(|l| l.bytes).sum(),
            tail_lanes: lanes.iter().filter(|l| l.has_tail()).count(),
            oldest_ms,
            waiting,
            delivered_rows: delivered().map(|b| b.rows).sum(),
            delivered_bytes: delivered().map(|b| b.bytes).sum(),
            quarantined: quarantine.entries,
            quarantine,
            lanes,
            batches,
        })
    }

    /// Bytes of all frames stored, those of delivered batches that are kept among them.
    pub fn bytes(&self) -> u64 {
        let state = self.state();
        let of = |b: &&Batch| matches!(b.state, BatchState::Delivered { .. });
        let kept = state.batches.values().filter(of).map(|b| b.bytes);
        state.lanes.values().map(|l| l.bytes).chain(kept).sum()
    }

    /// [`Queue::bytes`], and those in quarantine.
    pub fn held_bytes(&self) -> u64 {
        let quarantine = self.state().quarantine.bytes;
        self.bytes() + quarantine
    }

    /// Bytes of sled's files. They shrink only when they are mostly empty; the space is used again.
    pub fn disk_bytes(&self) -> u64 {
        self.trees()
            .ok()
            .and_then(|trees| trees.db.size_on_disk().ok())
            .unwrap_or(0)
    }

    /// Bytes of them that are used again before they grow, about.
    pub fn unused_bytes(&self) -> u64 {
        let used = (self.held_bytes() as f64 * SLED_FACTOR) as u64;
        self.disk_bytes().saturating_sub(used)
    }
}
