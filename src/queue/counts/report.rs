//! What the counts say, for people and for `reconcile`.

use std::collections::BTreeMap;
use std::ops::{AddAssign, Range};

use serde::{Deserialize, Serialize};

use super::{Queue, QueueError, SINCE, Spans, Tally, chunk, no_count};
use crate::queue::format::dropped::{DROPPED_MINUTES, DroppedMinutes};
use crate::queue::{
    Batch, BatchState, DROPPED_BATCHES, DroppedBatch, LOST_RANGES, Lane, LostRange,
};
use crate::row::minutes::Span;

/// Version of [`Counts`] as a file.
pub const COUNTS_FORMAT: u32 = 1;

/// All that one instance counted of a range of record times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// [`COUNTS_FORMAT`].
    pub format: u32,
    /// Installation id.
    pub installation: String,
    /// When counting began, Unix ms.
    pub since_ms: u64,
    /// When these were read, Unix ms.
    pub taken_ms: u64,
    /// The range: seconds of Unix time, the end not included.
    pub from: u64,
    /// See `from`.
    pub to: u64,
    /// Minutes and days that have rows, in order.
    pub spans: Vec<Counted>,
    /// The same range by partition.
    pub partitions: Vec<PartitionCounts>,
    /// Messages that a full quarantine dropped, of all partitions and times.
    pub quarantine_dropped: u64,
}

/// Rows of a minute or day, of all partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// First second, Unix time.
    pub start: u32,
    /// 60 or 86,400.
    pub seconds: u32,
    /// See [`Tally::consumed`].
    pub consumed: i64,
    /// See [`Tally::stored`].
    pub stored: i64,
    /// In the queue, and not in a rejected batch.
    pub queued: i64,
    /// In batches that ClickHouse refused.
    pub rejected: i64,
    /// See [`Tally::lost`].
    pub lost: i64,
    /// Of those queued or rejected: an insert may have stored them, its answer is not known.
    pub in_flight: i64,
    /// Of those lost: a person dropped them, and an insert may have stored them all the same.
    #[serde(default)]
    pub lost_or_stored: i64,
}

impl Counted {
    /// Its minute or day.
    pub fn span(&self) -> Span {
        Span {
            start: self.start,
            seconds: self.seconds,
        }
    }
}

/// Rows of a partition, and what of it has no record time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionCounts {
    /// Topic, as in [`Lane::topic`].
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// See [`Counted`].
    pub consumed: i64,
    /// See [`Counted`].
    pub stored: i64,
    /// See [`Counted`].
    pub queued: i64,
    /// See [`Counted`].
    pub rejected: i64,
    /// See [`Counted`].
    pub lost: i64,
    /// Messages in quarantine now. They are no rows, and their time is not known.
    pub quarantined: u64,
    /// Offsets that Kafka no longer had.
    pub lost_offsets: i64,
    /// Rows of rejected batches that a person dropped, of all times; they are among `lost`.
    #[serde(default)]
    pub dropped: i64,
}

impl AddAssign<&PartitionCounts> for PartitionCounts {
    fn add_assign(&mut self, other: &PartitionCounts) {
        self.topic.clone_from(&other.topic);
        self.partition = other.partition;
        self.consumed += other.consumed;
        self.stored += other.stored;
        self.queued += other.queued;
        self.rejected += other.rejected;
        self.lost += other.lost;
        self.quarantined += other.quarantined;
        self.lost_offsets += other.lost_offsets;
        self.dropped += other.dropped;
    }
}

/// Rows in batches of some kind, by partition and span.
type Waiting = BTreeMap<(String, i32), BTreeMap<u32, i64>>;

impl Queue {
    /// The counts of the seconds in `range`. A day that only a part of it covers is left out, unless
    /// its minutes are counted.
    ///
    /// # Errors
    /// [`QueueError`] if counts or blocks cannot be read.
    pub fn counts(&self, range: Range<u64>, now_ms: u64) -> Result<Counts, QueueError> {
        // First what waits: rows stored meanwhile then count twice in what may be there, not never.
        let (rejected, in_flight) = self.waiting()?;
        {
            let mut state = self.state();
            self.count_appended(&mut state)?;
        }
        let mut all = Spans::default();
        let mut partitions: BTreeMap<(String, i32), PartitionCounts> = BTreeMap::new();
        let mut at = Vec::new();
        while let Some(prefix) = self.partition_from(&at)? {
            let (name, spans) = self.spans_of(&prefix)?;
            let mut sum = Tally::default();
            for (span, tally) in spans.iter().filter(|(span, _)| span.is_within(&range)) {
                all.add(span, tally);
                sum += tally;
            }
            let of = partition_counts(&mut partitions, &name);
            (of.consumed, of.stored, of.lost) = (sum.consumed, sum.stored, sum.lost);
            of.queued = sum.queued();
            at = prefix;
            at.push(u8::MAX);
        }
        let mut counted: BTreeMap<Span, Counted> = all
            .iter()
            .map(|(span, tally)| (span, of_tally(span, tally)))
            .collect();
        for (name, rows) in &rejected {
            for (minute, rows) in rows {
                let span = all.span_of(*minute);
                if let Some(counted) = counted.get_mut(&span) {
                    counted.rejected += rows;
                    counted.queued -= rows;
                    let of = partition_counts(&mut partitions, name);
                    of.rejected += rows;
                    of.queued -= rows;
                }
            }
        }
        for (minute, rows) in in_flight.values().flatten() {
            if let Some(counted) = counted.get_mut(&all.span_of(*minute)) {
                counted.in_flight += rows;
            }
        }
        let perhaps: DroppedMinutes = self.load(DROPPED_MINUTES)?.unwrap_or_default();
        for (minute, rows) in perhaps {
            if let Some(counted) = counted.get_mut(&all.span_of(minute)) {
                counted.lost_or_stored += rows as i64;
            }
        }
        self.without_time(&mut partitions)?;
        Ok(Counts {
            format: COUNTS_FORMAT,
            installation: self.installation().to_owned(),
            since_ms: self.load(SINCE)?.unwrap_or(0),
            taken_ms: now_ms,
            from: range.start,
            to: range.end,
            spans: counted.into_values().collect(),
            partitions: partitions.into_values().collect(),
            quarantine_dropped: self.quarantine_totals().dropped,
        })
    }

    /// Rows of rejected batches, and of batches that may be stored; those whose rows are counted as
    /// stored already are neither.
    fn waiting(&self) -> Result<(Waiting, Waiting), QueueError> {
        let (batches, lanes) = {
            let state = self.state();
            let batches: Vec<Batch> = state.batches.values().cloned().collect();
            (batches, state.lanes.clone())
        };
        let (mut rejected, mut in_flight) = (Waiting::new(), Waiting::new());
        for batch in batches.iter().filter(|b| !b.counted) {
            let is_rejected = matches!(batch.state, BatchState::Rejected { .. });
            if !is_rejected && !batch.may_be_stored {
                continue;
            }
            for (id, rows) in self.batch_minutes(batch)? {
                let lane = lanes.get(&id).cloned();
                let lane = lane.unwrap_or_else(|| Lane::unknown(id, 0));
                let name = (lane.topic, lane.partition);
                for (minute, rows) in rows {
                    if is_rejected {
                        let of = rejected.entry(name.clone()).or_default();
                        *of.entry(minute).or_default() += rows as i64;
                    }
                    if batch.may_be_stored {
                        let of = in_flight.entry(name.clone()).or_default();
                        *of.entry(minute).or_default() += rows as i64;
                    }
                }
            }
        }
        Ok((rejected, in_flight))
    }

    /// Name and counts of the partition whose keys begin with `prefix`. Under the state lock: a day
    /// that is folded meanwhile would be there twice.
    fn spans_of(&self, prefix: &[u8]) -> Result<((String, i32), Spans), QueueError> {
        let _state = self.state();
        let mut spans = Spans::default();
        let mut name = None;
        let mut at = prefix.to_vec();
        let mut end = prefix.to_vec();
        end.push(u8::MAX);
        let trees = self.trees()?;
        while let Some(entry) = trees.counts.range(at..end.clone()).next() {
            let (key, value) = entry.map_err(QueueError::store("read"))?;
            let parsed = chunk::parse_key(&key).ok_or_else(|| no_count(&key))?;
            name.get_or_insert_with(|| (parsed.topic.to_owned(), parsed.partition));
            for (place, tally) in chunk::read(&key, &value)? {
                let span = chunk::span(parsed.kind, parsed.number, place);
                spans.add(span.ok_or_else(|| no_count(&key))?, tally);
            }
            at = key.to_vec();
            at.push(0);
        }
        Ok((name.unwrap_or_default(), spans))
    }

    fn without_time(
        &self,
        partitions: &mut BTreeMap<(String, i32), PartitionCounts>,
    ) -> Result<(), QueueError> {
        for entry in self.quarantined() {
            let entry = entry?;
            let name = (entry.topic, entry.partition);
            partition_counts(partitions, &name).quarantined += 1;
        }
        let lost: Vec<LostRange> = self.load(LOST_RANGES)?.unwrap_or_default();
        for lost in lost {
            let name = (lost.topic, lost.partition);
            partition_counts(partitions, &name).lost_offsets += lost.to - lost.from;
        }
        let dropped: Vec<DroppedBatch> = self.load(DROPPED_BATCHES)?.unwrap_or_default();
        for range in dropped.into_iter().flat_map(|batch| batch.ranges) {
            let name = (range.topic, range.partition);
            partition_counts(partitions, &name).dropped += range.rows as i64;
        }
        Ok(())
    }
}

fn of_tally(span: Span, tally: Tally) -> Counted {
    Counted {
        start: span.start,
        seconds: span.seconds,
        consumed: tally.consumed,
        stored: tally.stored,
        queued: tally.queued(),
        lost: tally.lost,
        ..Counted::default()
    }
}

fn partition_counts<'a>(
    all: &'a mut BTreeMap<(String, i32), PartitionCounts>,
    name: &(String, i32),
) -> &'a mut PartitionCounts {
    all.entry(name.clone()).or_insert_with(|| PartitionCounts {
        topic: name.0.clone(),
        partition: name.1,
        ..PartitionCounts::default()
    })
}
