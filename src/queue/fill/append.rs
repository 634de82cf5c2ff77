//! Appending blocks of rows as they are read.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use crate::privacy::Quarantined;
use crate::queue::change::Change;
use crate::queue::format::block::BlockHeader;
use crate::queue::{
    Lane, LaneId, LaneState, QuarantineTotals, Queue, QueueError, State, quarantine,
};
use crate::record::Mark;
use crate::row::minutes::Minutes;

/// A block ready to append.
#[derive(Debug, Clone)]
pub struct PackedBlock {
    /// First offset covered.
    pub first: i64,
    /// Offset after the last one covered.
    pub next: i64,
    /// Rows in it; with none, only the lane's next offset and the quarantined messages are stored.
    pub rows: u32,
    /// Bytes before compression.
    pub raw_len: u32,
    /// One zstd frame.
    pub frame: Vec<u8>,
    /// The rows by minute, merged.
    pub minutes: Minutes,
    /// When it was read, Unix ms.
    pub appended_ms: u64,
    /// See [`crate::row::RowBlock::kafka_ms`].
    pub kafka_ms: i64,
    /// Messages of the span that could not become rows.
    pub quarantined: Vec<Quarantined>,
    /// See [`crate::row::RowBlock::last`].
    pub last: Option<Mark>,
}

/// What one transaction of appends changes.
struct Appended {
    change: Change,
    lanes: BTreeMap<LaneId, Lane>,
    totals: QuarantineTotals,
}

impl Appended {
    /// False, and nothing is added, if it does not lie at the end of an open lane.
    fn add(&mut self, state: &State, id: LaneId, block: &PackedBlock) -> bool {
        let Some(current) = self.lanes.get(&id).or_else(|| state.lanes.get(&id)) else {
            return false;
        };
        if current.state != LaneState::Open || block.first < current.next {
            return false;
        }
        debug_assert_eq!(block.minutes.rows(), u64::from(block.rows));
        let mut lane = current.clone();
        lane.next = block.next;
        if let Some(last) = block.last {
            lane.trail.push(block.first, last);
        }
        if block.rows > 0 {
            lane.rows += u64::from(block.rows);
            lane.bytes += block.frame.len() as u64;
            let header = BlockHeader {
                lane: id,
                first: block.first,
                next: block.next,
                rows: block.rows,
                raw_len: block.raw_len,
                minutes_len: 0,
                frame_len: block.frame.len() as u32,
                appended_ms: block.appended_ms,
                kafka_ms: u64::try_from(block.kafka_ms).ok().filter(|ms| *ms > 0),
                checksum: 0,
            };
            self.change.block(&header, &block.minutes, &block.frame);
        }
        for entry in &block.quarantined {
            let value = quarantine::write_entry(&lane, block.appended_ms, entry);
            self.totals.add(&value);
            self.change.entry(id, entry.offset, value);
        }
        self.lanes.insert(id, lane);
        true
    }

    fn into_change(mut self, state: &State) -> Change {
        self.lanes
            .into_values()
            .for_each(|lane| self.change.lane(lane));
        if self.totals != state.quarantine {
            self.change.quarantine(self.totals);
        }
        self.change
    }
}

impl Queue {
    /// [`Queue::append_all`] of one block.
    ///
    /// # Errors
    /// As there.
    pub fn append(&self, lane: LaneId, block: &PackedBlock) -> Result<bool, QueueError> {
        let appended = self.append_all(std::slice::from_ref(&(lane, block.clone())))?;
        Ok(appended == [true])
    }

    /// Appends blocks to open lanes: rows, next offsets and quarantined messages, all in one
    /// transaction. Durable after [`Queue::sync`]. sled writes its buffer out twice for a transaction,
    /// however small.
    ///
    /// Returns for each whether it was stored. It is not if its lane is no longer open or it does not
    /// lie at the lane's end: rows of an ownership that has ended are read again by whoever holds the
    /// partition.
    ///
    /// # Errors
    /// [`QueueError`] if they cannot be written; the queue is then poisoned.
    pub fn append_all(&self, blocks: &[(LaneId, PackedBlock)]) -> Result<Vec<bool>, QueueError> {
        self.check()?;
        let mut state = self.state();
        let mut all = Appended {
            change: Change::default(),
            lanes: BTreeMap::new(),
            totals: state.quarantine,
        };
        let stored: Vec<bool> = blocks
            .iter()
            .map(|(lane, block)| all.add(&state, *lane, block))
            .collect();
        let change = all.into_change(&state);
        if change.is_empty() {
            return Ok(stored);
        }
        self.appended.fetch_add(1, Ordering::SeqCst);
        for ((lane, block), _) in blocks.iter().zip(&stored).filter(|(_, stored)| **stored) {
            self.set_fences(&mut state, *lane, block)?;
        }
        self.write(&mut state, change, "append to")?;
        Ok(stored)
    }
}
