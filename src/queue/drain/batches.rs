//! Batches: sealing, attempts, acknowledgement.

use std::collections::BTreeMap;

use crate::queue::change::Change;
use crate::queue::counts::{ByLane, Tally};
use crate::queue::upkeep::reopen::REMOVAL;
use crate::queue::{
    Batch, BatchState, Body, Doubt, Lane, LaneId, Packed, Plan, Queue, QueueError, Range,
    SealBounds,
};

impl Queue {
    /// Fixes the next batch: the oldest eligible blocks, within `bounds`, sent as they are stored.
    /// Returns `None` if nothing is eligible. As [`Queue::seal_plan`].
    ///
    /// # Errors
    /// [`QueueError`] if a block is damaged or the batch cannot be written.
    pub fn seal(
        &self,
        bounds: SealBounds,
        now_ms: u64,
        settings: impl FnOnce(&str) -> Vec<(String, String)>,
    ) -> Result<Option<Batch>, QueueError> {
        match self.plan(bounds)? {
            Some(plan) => self.seal_plan(plan, None, now_ms, settings).map(Some),
            None => Ok(None),
        }
    }

    /// Fixes what [`Queue::plan`] chose as a batch. `settings` are made from its token. **Not
    /// durable before [`Queue::sync`]**, and not to be sent before it.
    ///
    /// # Errors
    /// [`QueueError`] if the batch cannot be written.
    pub fn seal_plan(
        &self,
        plan: Plan,
        packed: Option<Packed>,
        now_ms: u64,
        settings: impl FnOnce(&str) -> Vec<(String, String)>,
    ) -> Result<Batch, QueueError> {
        self.check()?;
        let mut state = self.state();
        let seq = state.next_batch;
        let token = format!("{}-{seq}-{:016x}", self.installation, plan.digest);
        let batch = Batch {
            seq,
            settings: settings(&token),
            token,
            sealed_ms: now_ms,
            oldest_ms: plan.oldest_ms,
            rows: plan.rows,
            bytes: plan.bytes,
            packed,
            has_header: true,
            ranges: plan.ranges,
            attempts: 0,
            ambiguous_ms: 0,
            may_be_stored: false,
            doubt: Doubt::default(),
            state: BatchState::Sealed,
            retried: false,
            counted: false,
            cut: false,
        };
        let moved = self.lanes_with(&state.lanes, &batch, |lane, range| lane.sealed = range.to);
        let mut change = Change::default();
        change.new_batch(&batch);
        moved.into_iter().for_each(|lane| change.lane(lane));
        self.write(&mut state, change, "seal a batch in")?;
        Ok(batch)
    }

    /// The oldest sealed batch that waits to be inserted.
    pub fn sealed_batch(&self) -> Option<Batch> {
        self.state()
            .batches
            .values()
            .find(|b| b.state == BatchState::Sealed)
            .cloned()
    }

    /// Whether a seal would find something.
    pub fn has_eligible(&self) -> bool {
        self.state().lanes.values().any(|l| l.sealed < l.eligible)
    }

    /// Keeps a change of a batch's record. Durable after [`Queue::sync`].
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn update_batch(&self, batch: &Batch) -> Result<(), QueueError> {
        self.check()?;
        let mut change = Change::default();
        change.batch(batch);
        self.write(&mut self.state(), change, "write to")
    }

    /// ClickHouse has the batch: releases its rows. The record says so before the first block
    /// goes, so a crash in between is finished at the next start.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn ack(&self, batch: &Batch) -> Result<(), QueueError> {
        let mut acked = batch.clone();
        acked.state = BatchState::Acked;
        self.take_off(&acked)?;
        self.sync()?;
        self.remove_acked(&acked)
    }

    /// Writes the record of a batch that ClickHouse has, takes its rows off its lanes' sums, and
    /// counts them as stored.
    pub(in crate::queue) fn take_off(&self, acked: &Batch) -> Result<(), QueueError> {
        self.check()?;
        let mut acked = acked.clone();
        // Its blocks do not change, so they need no lock.
        let rows = match acked.counted {
            true => ByLane::new(),
            false => self.batch_minutes(&acked)?,
        };
        acked.counted = true;
        let mut state = self.state();
        self.count_appended(&mut state)?;
        let mut change = Change::default();
        let stored = Self::settled_rows(&state, rows, |n| Tally {
            stored: n,
            ..Tally::default()
        });
        change.counts(self.guard(stored.onto(&self.trees()?.counts))?);
        change.batch(&acked);
        let changed = self.lanes_with(&state.lanes, &acked, |lane, range| {
            lane.rows -= range.rows;
            lane.bytes -= range.bytes;
        });
        changed.into_iter().for_each(|lane| change.lane(lane));
        self.write(&mut state, change, "acknowledge a batch in")
    }

    /// Gives the blocks of the newest sealed batch back, so that they can be sealed otherwise.
    /// Refused (false) if an attempt may have stored it: then it must never be regrouped.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn unseal(&self, batch: &Batch) -> Result<bool, QueueError> {
        self.check()?;
        let mut state = self.state();
        if batch.may_be_stored || batch.state != BatchState::Sealed {
            return Ok(false);
        }
        let back = self.lanes_with(&state.lanes, batch, |lane, range| lane.sealed = range.from);
        let in_order = batch.ranges.iter().all(|r| {
            state
                .lanes
                .get(&r.lane)
                .is_some_and(|lane| lane.sealed == r.to)
        });
        if !in_order {
            return Ok(false);
        }
        let mut change = Change::default();
        change.forget_batch(batch.seq);
        back.into_iter().for_each(|lane| change.lane(lane));
        self.write(&mut state, change, "unseal a batch of")?;
        Ok(true)
    }

    /// The batch's frames, one after the other, read as they are sent.
    pub fn body<'a>(&'a self, batch: &'a Batch) -> Body<'a> {
        Body::new(self, batch)
    }

    pub(in crate::queue) fn finish_acked(&self) -> Result<(), QueueError> {
        let acked: Vec<Batch> = self
            .state()
            .batches
            .values()
            .filter(|b| b.state == BatchState::Acked)
            .cloned()
            .collect();
        acked.iter().try_for_each(|b| self.remove_acked(b))
    }

    pub(in crate::queue) fn remove_acked(&self, batch: &Batch) -> Result<(), QueueError> {
        for range in &batch.ranges {
            for head in self.heads_of(range) {
                let mut change = Change::default();
                change.remove_block(&head?.header);
                self.write_records(&change, "remove from")?;
                self.churned(REMOVAL);
            }
            self.forget(range);
            self.remove_fences(range.lane, range.from, range.to)?;
        }
        let mut change = Change::default();
        change.forget_batch(batch.seq);
        self.write(&mut self.state(), change, "remove from")?;
        batch
            .ranges
            .iter()
            .try_for_each(|r| self.forget_if_spent(r.lane))
    }

    pub(in crate::queue) fn lanes_with(
        &self,
        lanes: &BTreeMap<LaneId, Lane>,
        batch: &Batch,
        change: impl Fn(&mut Lane, &Range),
    ) -> Vec<Lane> {
        batch
            .ranges
            .iter()
            .filter_map(|range| {
                let mut lane = lanes.get(&range.lane)?.clone();
                change(&mut lane, range);
                Some(lane)
            })
            .collect()
    }
}
