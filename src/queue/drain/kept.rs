//! Batches after their first fate: rejected ones sent again, delivered ones kept for a while.

use std::time::Duration;

use crate::queue::change::Change;
use crate::queue::{Batch, BatchState, CommandError, Lane, LaneState, Queue, QueueError};

impl Queue {
    /// Puts a rejected batch back, under its own token, for the next slot; or lets one go that is held
    /// because ClickHouse may have forgotten its token. Durable when it returns.
    ///
    /// # Errors
    /// [`CommandError::NoBatch`], [`CommandError::NotRejected`], or a failure of the queue.
    pub fn retry_batch(&self, seq: u64) -> Result<Batch, CommandError> {
        self.decide_batch(seq, CommandError::NotRejected { seq }, |batch| {
            batch.retried = true;
            // A person looked: it is sent once more without asking.
            (batch.doubt.vouched, batch.doubt.there) = (true, false);
        })
    }

    /// A person saw that ClickHouse has the rows of a batch of which it cannot tell, or which it refused: it is
    /// acknowledged in place of its next attempt. Durable when it returns.
    ///
    /// # Errors
    /// [`CommandError::NoBatch`], [`CommandError::NotInDoubt`], or a failure of the queue.
    pub fn call_stored(&self, seq: u64) -> Result<Batch, CommandError> {
        self.decide_batch(seq, CommandError::NotInDoubt { seq }, |batch| {
            batch.may_be_stored = true;
            batch.doubt.there = true;
        })
    }

    /// Seals a batch anew that waits for a person, or says `no` of one that does not.
    fn decide_batch(
        &self,
        seq: u64,
        no: CommandError,
        decide: impl FnOnce(&mut Batch),
    ) -> Result<Batch, CommandError> {
        self.check()?;
        let batch = {
            let mut state = self.state();
            let batch = state.batches.get(&seq);
            let mut batch = batch.ok_or(CommandError::NoBatch { seq })?.clone();
            if !batch.is_in_doubt() {
                return Err(no);
            }
            batch.state = BatchState::Sealed;
            decide(&mut batch);
            let mut change = Change::default();
            change.batch(&batch);
            self.write(&mut state, change, "write to")?;
            batch
        };
        self.sync()?;
        Ok(batch)
    }

    /// ClickHouse has the batch, and it is kept: its rows are queued no longer, its blocks stay
    /// until [`Queue::release_delivered`].
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn deliver(&self, batch: &Batch, now_ms: u64) -> Result<(), QueueError> {
        let mut kept = batch.clone();
        kept.state = BatchState::Delivered { at_ms: now_ms };
        kept.may_be_stored = true;
        self.take_off(&kept)?;
        self.sync()?;
        kept.ranges
            .iter()
            .try_for_each(|r| self.forget_if_spent(r.lane))
    }

    /// Seals a delivered batch again under its own token: its rows are queued once more.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn redeliver(&self, batch: &Batch) -> Result<(), QueueError> {
        self.check()?;
        let mut again = batch.clone();
        again.state = BatchState::Sealed;
        again.retried = true;
        (again.doubt.vouched, again.doubt.there) = (true, false);
        {
            let mut state = self.state();
            let changed = self.lanes_with(&state.lanes, &again, |lane, range| {
                lane.rows += range.rows;
                lane.bytes += range.bytes;
            });
            let mut change = Change::default();
            change.batch(&again);
            changed.into_iter().for_each(|lane| change.lane(lane));
            self.write(&mut state, change, "seal a batch again in")?;
        }
        self.sync()
    }

    /// Removes delivered batches that are older than `keep`. One from the future, after the clock
    /// was set back, counts as delivered now.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn release_delivered(&self, keep: Duration, now_ms: u64) -> Result<(), QueueError> {
        let delivered: Vec<(Batch, u64)> = self
            .state()
            .batches
            .values()
            .filter_map(|b| match b.state {
                BatchState::Delivered { at_ms } => Some((b.clone(), at_ms)),
                _ => None,
            })
            .collect();
        let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        for (mut batch, at_ms) in delivered {
            if at_ms > now_ms {
                batch.state = BatchState::Delivered { at_ms: now_ms };
                self.update_batch(&batch)?;
            } else if now_ms - at_ms >= keep_ms {
                batch.state = BatchState::Acked;
                self.update_batch(&batch)?;
                self.sync()?;
                self.remove_acked(&batch)?;
            }
        }
        Ok(())
    }

    /// Makes the tails of lanes that are not open eligible, held ones too, and returns how many
    /// rows that were. For a person who knows that no other instance has them or will read them.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn include_tails(&self) -> Result<u64, QueueError> {
        let mut rows = 0;
        for lane in self.tails() {
            rows += self.tail_rows(&lane)?;
            self.update_lane(lane.id, |l| {
                l.eligible = l.next;
                l.state = LaneState::Ended;
            })?;
        }
        self.sync()?;
        Ok(rows)
    }

    /// Rows of a lane from its eligible offset on.
    ///
    /// # Errors
    /// [`QueueError`] if a block cannot be read.
    pub fn tail_rows(&self, lane: &Lane) -> Result<u64, QueueError> {
        let (mut rows, mut at) = (0, lane.eligible);
        while let Some((block, _)) = self.block_at(lane.id, at)? {
            rows += u64::from(block.rows);
            at = block.next;
        }
        Ok(rows)
    }
}
