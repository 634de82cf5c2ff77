//! Appending blocks of rows as they are read.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use sled::Transactional as _;

use super::counts;
use super::layout::{self, BlockHeader};
use super::{Lane, LaneState, QuarantineTotals, Queue, QueueError, State, cache, json, quarantine};
use crate::minutes::Minutes;
use crate::record::{LaneId, Quarantined};

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
    /// Messages of the span that could not become rows.
    pub quarantined: Vec<Quarantined>,
}

/// What one transaction of appends writes.
struct Write {
    blocks: Vec<([u8; 12], Vec<u8>)>,
    lanes: BTreeMap<LaneId, Lane>,
    quarantined: Vec<([u8; 12], Vec<u8>)>,
    totals: QuarantineTotals,
}

impl Write {
    fn of(state: &State) -> Write {
        Write {
            blocks: Vec::new(),
            lanes: BTreeMap::new(),
            quarantined: Vec::new(),
            totals: state.quarantine,
        }
    }

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
                checksum: 0,
            };
            let value = layout::write_block(&header, &block.minutes, &block.frame);
            self.blocks.push((layout::key(id, block.first), value));
        }
        for entry in &block.quarantined {
            let value = quarantine::write_entry(&lane, block.appended_ms, entry);
            self.totals.add(&value);
            self.quarantined
                .push((layout::key(id, entry.offset), value));
        }
        self.lanes.insert(id, lane);
        true
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
        let mut write = Write::of(&state);
        let stored: Vec<bool> = blocks
            .iter()
            .map(|(lane, block)| write.add(&state, *lane, block))
            .collect();
        let appended = || blocks.iter().zip(&stored).filter(|(_, stored)| **stored);
        if appended().next().is_none() {
            return Ok(stored);
        }
        self.appended.fetch_add(1, Ordering::SeqCst);
        let trees = self.trees()?;
        for ((lane, block), _) in appended() {
            self.set_fences(&mut state, &trees, *lane, block)?;
        }
        let written = (&trees.blocks, &trees.lanes, &trees.quarantine, &trees.meta).transaction(
            |(blocks, lanes, quarantine, meta)| {
                for (key, value) in &write.blocks {
                    blocks.insert(key, value.as_slice())?;
                }
                for (id, lane) in &write.lanes {
                    lanes.insert(&layout::lane_key(*id), json(lane))?;
                }
                for (key, value) in &write.quarantined {
                    quarantine.insert(key, value.as_slice())?;
                }
                if !write.quarantined.is_empty() {
                    meta.insert(super::quarantine::TOTALS, json(&write.totals))?;
                }
                Ok(())
            },
        );
        self.transaction_result("append to", written)?;
        for (key, value) in &write.blocks {
            self.churned(value.len());
            self.guard(cache::let_go(&trees, key))?;
        }
        state.lanes.extend(write.lanes);
        state.quarantine = write.totals;
        for ((lane, block), _) in appended() {
            counts::add_rows(&mut state.uncounted, *lane, &block.minutes);
        }
        Ok(stored)
    }
}
