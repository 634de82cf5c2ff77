//! Durable counts of rows, per partition and minute of the record's timestamp, for `reconcile`.
//!
//! - *consumed*: appended here, and not thrown away again as another instance's.
//! - *stored*: in a batch that ClickHouse has acknowledged.
//! - *lost*: gone with damage that `repair` could not save, or in a rejected batch that a person dropped.
//!
//! What is consumed and neither stored nor lost is queued: it lies in a block. So the counts are a
//! second book over the blocks, and `verify` compares the two.
//!
//! **When they are written.** Rows are counted by the sync that makes them durable, all of one group
//! in one transaction with how far each lane is counted ([`super::Lane::counted`]); what a crash left
//! uncounted is counted at the next open, from the blocks. *Stored* grows in the transaction that
//! says that the batch is, and a tail that is dropped is taken off in the transaction that drops it.
//! The sum over all instances then has each record once.

mod book;
mod by_lane;
mod chunk;
mod report;
mod span;

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(super) use book::{Book, book, is_whole, write_off};
pub(super) use by_lane::{ByLane, Chunks, add_rows};
pub use report::{COUNTS_FORMAT, Counted, Counts, PartitionCounts};
pub use span::Spans;
pub(super) use span::Window;

use super::{Batch, Lane, Queue, QueueError, State};
use crate::queue::LaneId;
use crate::queue::change::Change;
use crate::queue::format::block;
use crate::queue::format::dropped::{DROPPED_MINUTES, DroppedMinutes};
use crate::row::minutes::Span;

/// Name in `meta`: when counting began, Unix ms.
pub(super) const SINCE: &str = "counts_since";

/// How long minutes are kept apart unless a setting says otherwise.
pub(super) const KEEP: Duration = Duration::from_secs(40 * 86_400);

/// Rows of a span. Signed: while the clock is set, what was counted in a day may leave in a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Appended, and not dropped as another instance's.
    pub consumed: i64,
    /// Acknowledged by ClickHouse.
    pub stored: i64,
    /// Gone with damage, or dropped by a person.
    pub lost: i64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.consumed += other.consumed;
        self.stored += other.stored;
        self.lost += other.lost;
    }
}

impl Tally {
    /// What lies in blocks.
    pub fn queued(&self) -> i64 {
        self.consumed - self.stored - self.lost
    }
}

/// Changes of counts that are not written yet, by chunk.
#[derive(Default)]
pub(super) struct Changes(BTreeMap<Vec<u8>, chunk::Chunk>);

impl Changes {
    /// Rows of a lane, each minute's as `tally` makes it of their number.
    pub fn add(
        &mut self,
        lane: &Lane,
        window: Window,
        rows: impl IntoIterator<Item = (u32, u64)>,
        tally: impl Fn(i64) -> Tally,
    ) {
        let prefix = chunk::prefix(&lane.topic, lane.partition);
        for (minute, rows) in rows {
            self.add_span(&prefix, window.span(minute), tally(rows as i64));
        }
    }

    fn add_span(&mut self, prefix: &[u8], span: Span, tally: Tally) {
        let (kind, number, place) = chunk::place(span);
        let chunk = self.0.entry(chunk::key(prefix, kind, number)).or_default();
        *chunk.entry(place).or_default() += tally;
    }

    /// The chunks as they will be, to be inserted in a transaction.
    pub fn onto(self, counts: &sled::Tree) -> Result<Chunks, QueueError> {
        let mut out = Vec::with_capacity(self.0.len());
        for (key, changes) in self.0 {
            let mut whole = match counts.get(&key).map_err(QueueError::store("read"))? {
                Some(value) => chunk::read(&key, &value)?,
                None => chunk::Chunk::new(),
            };
            for (place, tally) in changes {
                *whole.entry(place).or_default() += tally;
            }
            whole.retain(|_, tally| *tally != Tally::default());
            let value = chunk::write(&whole);
            out.push((key, value));
        }
        Ok(out)
    }
}

impl Queue {
    /// How long rows are counted by the minute; older ones are counted by day from the next
    /// [`Queue::fold_counts`] on.
    pub fn keep_counts(&self, keep: Duration) {
        self.state().keep_counts = keep;
    }

    /// Moves the window of minutes to now, and adds up the days that leave it. Cheap while there are
    /// none: to be called now and then.
    ///
    /// # Errors
    /// [`QueueError`] if counts cannot be read or written.
    pub fn fold_counts(&self, now_ms: u64) -> Result<(), QueueError> {
        self.check()?;
        let mut state = self.state();
        let window = Window::around(now_ms, state.keep_counts);
        if window == state.window {
            return Ok(());
        }
        state.window = window;
        let mut at = Vec::new();
        while let Some(prefix) = self.partition_from(&at)? {
            self.fold(&prefix, 0..window.from)?;
            self.fold(&prefix, window.to..u32::MAX)?;
            at = prefix;
            at.push(u8::MAX);
        }
        Ok(())
    }

    /// Adds up the minutes of some days of a partition, a day at a time.
    fn fold(&self, prefix: &[u8], minutes: std::ops::Range<u32>) -> Result<(), QueueError> {
        let end = chunk::key(prefix, chunk::MINUTES, minutes.end / 60);
        let mut from = chunk::key(prefix, chunk::MINUTES, minutes.start / 60);
        loop {
            let trees = self.trees()?;
            // All chunks of the day of the first one.
            let mut day = None;
            let mut last = None;
            let mut change = Change::default();
            let mut changes = Changes::default();
            for entry in trees.counts.range(from.clone()..end.clone()).take(24) {
                let (key, value) = entry.map_err(QueueError::store("read"))?;
                let first = chunk::parse_key(&key).and_then(|k| chunk::span(k.kind, k.number, 0));
                let first = first.ok_or_else(|| no_count(&key))?;
                let of = Span::day_of(first.first_minute());
                if *day.get_or_insert(of) != of {
                    break;
                }
                for tally in chunk::read(&key, &value)?.into_values() {
                    changes.add_span(prefix, of, tally);
                }
                change.remove_counts(&key);
                last = Some(key.to_vec());
            }
            let Some(last) = last else {
                return Ok(());
            };
            from = last;
            from.push(0);
            change.counts(changes.onto(&trees.counts)?);
            drop(trees);
            self.write_records(&change, "add up counts of")?;
        }
    }

    /// What the keys of the first partition at or above `at` begin with.
    fn partition_from(&self, at: &[u8]) -> Result<Option<Vec<u8>>, QueueError> {
        let trees = self.trees()?;
        let Some(entry) = trees.counts.range(at..).next() else {
            return Ok(None);
        };
        let (key, _) = entry.map_err(QueueError::store("read"))?;
        let parsed = chunk::parse_key(&key).ok_or_else(|| no_count(&key))?;
        Ok(Some(parsed.prefix.to_vec()))
    }

    /// Counts what was appended since the last time, in one transaction.
    pub(super) fn count_appended(&self, state: &mut State) -> Result<(), QueueError> {
        if state.uncounted.is_empty() {
            return Ok(());
        }
        let mut change = Change::default();
        let mut changes = Changes::default();
        for (id, rows) in &state.uncounted {
            // A lane with rows is never forgotten.
            let Some(lane) = state.lanes.get(id) else {
                continue;
            };
            let rows = rows.iter().map(|(minute, rows)| (*minute, *rows));
            changes.add(lane, state.window, rows, |n| Tally {
                consumed: n,
                ..Tally::default()
            });
            let mut lane = lane.clone();
            lane.counted = lane.next;
            change.lane(lane);
        }
        change.counts(self.guard(changes.onto(&self.trees()?.counts))?);
        change.counted();
        self.write(state, change, "count rows in")
    }

    /// Takes up the rows that the last process appended and did not count.
    pub(super) fn find_uncounted(&self) -> Result<(), QueueError> {
        let (lanes, batches): (Vec<Lane>, Vec<Batch>) = {
            let state = self.state();
            let counted = state.batches.values().filter(|b| b.counted);
            (
                state.lanes.values().cloned().collect(),
                counted.cloned().collect(),
            )
        };
        let mut uncounted = ByLane::new();
        for lane in lanes {
            let mut at = lane.counted;
            while let Some((block, value)) = self.block_at(lane.id, at)? {
                // After an adoption: what the original delivered is not this one's.
                if !batches.iter().any(|b| b.covers(&block)) {
                    let minutes = block::read_minutes(&block, &value)?;
                    add_rows(&mut uncounted, lane.id, &minutes);
                }
                at = block.next;
            }
        }
        self.state().uncounted = uncounted;
        Ok(())
    }

    /// The rows of a batch by lane and minute.
    pub(super) fn batch_minutes(&self, batch: &Batch) -> Result<ByLane, QueueError> {
        let mut all = ByLane::new();
        for range in &batch.ranges {
            for head in self.heads_of(range) {
                add_rows(&mut all, range.lane, &head?.minutes);
            }
        }
        Ok(all)
    }

    /// The changes by which the rows of a batch become stored or lost ones, as `tally` makes them.
    pub(super) fn settled_rows(
        state: &State,
        rows: ByLane,
        tally: impl Fn(i64) -> Tally,
    ) -> Changes {
        let mut changes = Changes::default();
        for (id, rows) in rows {
            match state.lanes.get(&id) {
                Some(lane) => changes.add(lane, state.window, rows, &tally),
                // Its record was lost with damage, and what was consumed of it counts as lost.
                None => changes.add(&Lane::unknown(id, 0), state.window, rows, |n| Tally {
                    consumed: n,
                    ..tally(n)
                }),
            }
        }
        changes
    }

    /// Begins the counts anew, with what is queued now: those of a copy are its original's.
    pub(super) fn recount(&self, now_ms: u64) -> Result<(), QueueError> {
        let trees = self.trees()?;
        self.guard(trees.counts.clear().map_err(QueueError::store("clear")))?;
        self.save(SINCE, &now_ms)?;
        self.save(DROPPED_MINUTES, &DroppedMinutes::default())?;
        let lanes: Vec<LaneId> = self.state().lanes.keys().copied().collect();
        for lane in lanes {
            // No row of it is counted any more, but sealed ones still are to be.
            self.update_lane(lane, |l| l.counted = 0)?;
        }
        self.find_uncounted()
    }
}

fn no_count(key: &[u8]) -> QueueError {
    QueueError::Damaged {
        what: format!("counts under the key {key:02x?}"),
    }
}

#[cfg(test)]
mod tests;
