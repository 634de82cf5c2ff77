//! A person gives a rejected batch up.

use crate::queue::change::Change;
use crate::queue::counts::{ByLane, Tally};
use crate::queue::format::dropped::{DROPPED_MINUTES, DroppedMinutes};
use crate::queue::{BatchState, CommandError, DROPPED_BATCHES, DroppedBatch, Queue};

impl Queue {
    /// Removes a rejected batch and its rows for good. That it was, and what was in it, is written down in
    /// the transaction that takes it off, and its rows count as lost; a crash in between is finished at the
    /// next start. Durable when it returns.
    ///
    /// # Errors
    /// [`CommandError::NoBatch`], [`CommandError::NotDroppable`], or a failure of the queue.
    pub fn drop_batch(&self, seq: u64, now_ms: u64) -> Result<DroppedBatch, CommandError> {
        self.check()?;
        let found = self.state().batches.get(&seq).cloned();
        let found = found.ok_or(CommandError::NoBatch { seq })?;
        if !matches!(found.state, BatchState::Rejected { .. }) {
            return Err(CommandError::NotDroppable { seq });
        }
        // Its blocks do not change, so they need no lock.
        let rows = match found.counted {
            true => ByLane::new(),
            false => self.batch_minutes(&found)?,
        };
        let mut state = self.state();
        let same = state
            .batches
            .get(&seq)
            .filter(|now| now.state == found.state);
        let dropped = same.and_then(|batch| DroppedBatch::of(batch, state.lanes.values()));
        let mut dropped = dropped.ok_or(CommandError::NotDroppable { seq })?;
        dropped.dropped_ms = now_ms;
        self.count_appended(&mut state)?;
        let mut change = Change::default();
        let mut all: Vec<DroppedBatch> = self.load(DROPPED_BATCHES)?.unwrap_or_default();
        all.push(dropped.clone());
        change.named(DROPPED_BATCHES, &all);
        if found.may_be_stored {
            let mut minutes: DroppedMinutes = self.load(DROPPED_MINUTES)?.unwrap_or_default();
            for (minute, rows) in rows.values().flatten() {
                *minutes.entry(*minute).or_default() += rows;
            }
            change.named(DROPPED_MINUTES, &minutes);
        }
        let lost = Self::settled_rows(&state, rows, |n| Tally {
            lost: n,
            ..Tally::default()
        });
        change.counts(self.guard(lost.onto(&self.trees()?.counts))?);
        let mut gone = found;
        (gone.state, gone.counted) = (BatchState::Acked, true);
        change.batch(&gone);
        let changed = self.lanes_with(&state.lanes, &gone, |lane, range| {
            lane.rows -= range.rows;
            lane.bytes -= range.bytes;
        });
        changed.into_iter().for_each(|lane| change.lane(lane));
        self.write(&mut state, change, "drop a batch in")?;
        drop(state);
        self.sync()?;
        self.remove_acked(&gone)?;
        self.sync()?;
        Ok(dropped)
    }
}
