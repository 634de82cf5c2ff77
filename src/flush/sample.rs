//! Rows of a batch that stand for all of it, to ask whether ClickHouse has it.
//!
//! ClickHouse stores what a batch has of a partition whole or not at all. Whatever the partitions are,
//! none is finer than an hour, so each hour of the batch is asked for on its own.

use std::collections::{BTreeMap, BTreeSet};

use crate::clickhouse::{Evidence, PresenceQuery};
use crate::queue::{Batch, Queue, QueueError, unpack};
use crate::row::content_hash;
use crate::row::read::rows;

/// Distinct rows that are asked for, at most: a query of 60 KiB. Hours, likewise.
const MOST: usize = 2000;

/// So many rows, each found exactly as often as the batch has it, are no accident. One that is there
/// more often has a twin in another batch, and says nothing.
const TELLING: usize = 10;

/// How much of a batch is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// All of it.
    Whole,
    /// Its rows have twins, or are few: it may be there or not.
    Unclear,
    /// Some hours of it.
    Part,
    /// Nothing: of each hour a row is missing.
    Nothing,
}

/// A row of the sample.
#[derive(Clone, Copy, Debug)]
struct Sampled {
    /// How often the batch has it.
    times: u64,
    timestamp: u32,
    bytes_sent: u64,
}

/// The rows with the lowest hashes of each hour: a fair choice, and the same each time.
#[derive(Debug, Default)]
pub struct Sample {
    hours: BTreeMap<u32, BTreeMap<u64, Sampled>>,
}

impl Sample {
    /// Reads the batch. `None` if it is of more hours than can be asked for.
    pub fn of(queue: &Queue, batch: &Batch) -> Result<Option<Sample>, QueueError> {
        let mut sample = Sample::default();
        for block in queue.range_blocks(&batch.ranges) {
            let (header, frame) = block?;
            let raw = unpack(&header, &frame)?;
            for row in rows(&raw).flatten() {
                sample.add(content_hash(&row), row.timestamp, row.bytes_sent);
                if sample.hours.len() > MOST {
                    return Ok(None);
                }
            }
        }
        let most = sample.most();
        for rows in sample.hours.values_mut() {
            while rows.len() > most {
                rows.pop_last();
            }
        }
        Ok(Some(sample))
    }

    /// Most rows of an hour.
    fn most(&self) -> usize {
        (MOST / self.hours.len().max(1)).max(1)
    }

    fn add(&mut self, hash: u64, timestamp: u32, bytes_sent: u64) {
        let hour = self.hours.entry(timestamp / 3600).or_default();
        let row = hour.entry(hash).or_insert(Sampled {
            times: 0,
            timestamp,
            bytes_sent,
        });
        row.times += 1;
        let most = self.most();
        let hour = self.hours.entry(timestamp / 3600).or_default();
        // The bound only falls, so a row that went does not come back.
        while hour.len() > most {
            hour.pop_last();
        }
    }

    /// The question for these rows, and for the insert `query_id`.
    pub fn query<'a>(
        &self,
        database: &'a str,
        table: &'a str,
        query_id: &'a str,
    ) -> PresenceQuery<'a> {
        let all = || self.hours.values().flatten();
        PresenceQuery {
            database,
            table,
            query_id,
            hashes: all().map(|(hash, _)| *hash).collect(),
            times: all().map(|(_, row)| row.timestamp).collect(),
            bytes_sent: all().map(|(_, row)| row.bytes_sent).collect(),
            hours: self.hours.keys().copied().collect::<BTreeSet<u32>>(),
        }
    }

    /// How much of the batch the answer shows.
    ///
    /// `by_the_hour`: an hour of an insert is stored whole or not at all. Then rows that are there without the
    /// rest of their hour are another batch's.
    pub fn share(&self, found: &Evidence, by_the_hour: bool) -> Share {
        let (mut whole, mut missing, mut telling, mut found_any) = (0, 0, 0, false);
        for rows in self.hours.values() {
            let have = |hash: &u64| found.rows.get(hash).copied().unwrap_or(0);
            if rows.iter().any(|(hash, row)| have(hash) < row.times) {
                missing += 1;
            } else {
                whole += 1;
            }
            found_any |= rows.iter().any(|(hash, row)| have(hash) >= row.times);
            let exact = |(hash, row): &(&u64, &Sampled)| have(hash) == row.times;
            telling += rows.iter().filter(exact).count();
        }
        match (whole, missing) {
            (_, 0) if telling >= TELLING => Share::Whole,
            (_, 0) => Share::Unclear,
            (0, _) if by_the_hour || !found_any => Share::Nothing,
            _ => Share::Part,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rows: &[(u64, u32)]) -> Sample {
        let mut sample = Sample::default();
        for (hash, timestamp) in rows {
            sample.add(*hash, *timestamp, 1);
        }
        sample
    }

    fn evidence(rows: impl IntoIterator<Item = (u64, u64)>) -> Evidence {
        Evidence {
            rows: rows.into_iter().collect(),
            ..Evidence::default()
        }
    }

    #[test]
    fn a_batch_is_there_only_if_rows_without_twins_say_so() {
        let twelve: Vec<(u64, u32)> = (0..12).map(|n| (n, 100)).collect();
        let sample = sample(&twelve);
        let f = |times: [u64; 12], want| {
            let found = evidence((0..12).zip(times));
            assert_eq!(sample.share(&found, true), want, "{times:?}");
        };
        f([1; 12], Share::Whole);
        f([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2], Share::Whole);
        f([1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2], Share::Unclear);
        f([2; 12], Share::Unclear);
        f([0; 12], Share::Nothing);
        // What is there are twins: an hour comes whole or not at all.
        f([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0], Share::Nothing);
        // A row that the batch has twice must be there twice.
        let mut double = twelve.clone();
        double.push((0, 100));
        let found = evidence((0..12).map(|n| (n, 1)));
        assert_eq!(
            super::tests::sample(&double).share(&found, true),
            Share::Nothing
        );
    }

    #[test]
    fn each_hour_is_told_apart() {
        let rows: Vec<(u64, u32)> = (0..40).map(|n| (n, 100 + (n as u32 % 2) * 3600)).collect();
        let sample = sample(&rows);
        let evens = (0..40).filter(|n| n % 2 == 0).map(|n| (n, 1));
        assert_eq!(sample.share(&evidence(evens), true), Share::Part);
        assert_eq!(sample.query("d", "t", "q").hours.len(), 2);
    }

    #[test]
    fn few_rows_decide_only_that_they_are_not_there() {
        let sample = sample(&[(1, 0), (2, 0)]);
        assert_eq!(
            sample.share(&evidence([(1, 1), (2, 1)]), true),
            Share::Unclear
        );
        assert_eq!(sample.share(&evidence([(1, 1)]), true), Share::Nothing);
        // Where the user's own partitions are finer, it may be a part of the batch.
        assert_eq!(sample.share(&evidence([(1, 1)]), false), Share::Part);
        assert_eq!(sample.share(&evidence([]), false), Share::Nothing);
    }

    #[test]
    fn a_batch_of_many_rows_is_asked_for_by_a_bounded_question() {
        let mut sample = Sample::default();
        for n in 0..30_000u64 {
            sample.add(n * 7919 % 30_011, (n % 97) as u32 * 3600, n);
        }
        let query = sample.query("d", "t", "q");
        assert!(query.hashes.len() <= MOST, "{}", query.hashes.len());
        assert_eq!(query.hours.len(), 97);
    }
}
