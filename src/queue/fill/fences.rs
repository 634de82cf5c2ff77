//! Fences: keys without a value, set ahead of a lane's blocks.
//!
//! sled splits a leaf once it holds more than [`LEAF`] entries, and then writes both halves whole. Blocks
//! that arrive in the last leaf of their lane are so written three times, which took 1.7 times their
//! bytes on the disk. Fences are what splits instead: they arrive first, a few bytes each, and the blocks
//! behind them fall into leaves that are done, where each is written once. (`ops/bench disk`)
//!
//! They carry nothing. A missing one costs a copy of some blocks; all of a lane's go with it.

use std::collections::VecDeque;

use crate::queue::format::block::{self, is_no_fence};
use crate::queue::{LaneId, PackedBlock, Queue, QueueError, State};

/// Most entries of a leaf in sled 0.34.7 (`Node::should_split`); half of them stay when it splits.
const LEAF: usize = 16;

/// Fences ahead of the next block: more than a leaf that may still split can hold.
const AHEAD: usize = LEAF + 2;

/// Fences a block: a leaf that is done then has 9 of them and 4 or 5 blocks, which is below [`LEAF`], and
/// below the ten changes after which sled writes a leaf anew (`PAGE_CONSOLIDATION_THRESHOLD`).
const PER_BLOCK: i64 = 2;

/// Behind all that a lane can ever hold: its last leaf would hold the first blocks of the next lane,
/// too, and write them each time it splits.
fn end() -> impl Iterator<Item = i64> {
    (1..=LEAF as i64).map(|n| i64::MAX - n)
}

/// The offsets of a lane's fences that no block has passed.
#[derive(Default)]
pub(in crate::queue) struct Fences(VecDeque<i64>);

impl Fences {
    /// Where fences must be set before a block of so many rows is written at `first`. Rows, not offsets,
    /// of which a gap in the partition may take any number.
    fn before(&mut self, first: i64, rows: u32) -> Vec<i64> {
        while self.0.front().is_some_and(|fence| *fence <= first) {
            self.0.pop_front();
        }
        let step = (i64::from(rows) / PER_BLOCK).max(1);
        let last = self.0.back().copied().unwrap_or(first);
        let new = (1..).map_while(|n| last.checked_add(step.checked_mul(n)?));
        let new: Vec<i64> = new.take(AHEAD.saturating_sub(self.0.len())).collect();
        self.0.extend(&new);
        new
    }
}

/// Behind the block that may start at `offset`.
fn key(lane: LaneId, offset: i64) -> [u8; 13] {
    let mut key = [0; 13];
    key[..12].copy_from_slice(&block::key(lane, offset));
    key
}

impl Queue {
    /// To be called before a block is written.
    ///
    /// # Errors
    /// [`QueueError`] if they cannot be written.
    pub(in crate::queue) fn set_fences(
        &self,
        state: &mut State,
        lane: LaneId,
        block: &PackedBlock,
    ) -> Result<(), QueueError> {
        if block.rows == 0 {
            return Ok(());
        }
        let is_first = !state.fences.contains_key(&lane);
        let fences = state.fences.entry(lane).or_default();
        let mut new = fences.before(block.first, block.rows);
        if is_first {
            new.extend(end());
        }
        let trees = self.trees()?;
        for offset in new {
            let set = trees.blocks.insert(key(lane, offset), &[]);
            self.guard(set.map_err(QueueError::store("write to")))?;
        }
        Ok(())
    }

    /// Removes those of `lane` from `from` on and below `to`. No block may be left among them.
    ///
    /// # Errors
    /// [`QueueError`] if they cannot be read or removed.
    pub(in crate::queue) fn remove_fences(
        &self,
        lane: LaneId,
        from: i64,
        to: i64,
    ) -> Result<(), QueueError> {
        let trees = self.trees()?;
        let mut at = key(lane, from);
        let end = block::key(lane, to);
        // Not one long iterator of sled's: it pins memory without bound.
        loop {
            let found = trees.blocks.range::<&[u8], _>(&at[..]..&end[..]).next();
            let Some(found) = found else {
                return Ok(());
            };
            let is_fence = !is_no_fence(&found);
            let (key, _) = found.map_err(QueueError::store("read"))?;
            at[4..12].copy_from_slice(&key[4..12]);
            if is_fence {
                let removed = trees.blocks.remove(key);
                self.guard(removed.map_err(QueueError::store("remove from")))?;
            }
        }
    }
}
