//! When the rows of a batch came, for what is measured of them.

use std::collections::BTreeMap;

use crate::queue::{Batch, Queue, QueueError};

/// Rows by the time that they came.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RowTimes {
    /// By when they were appended, Unix ms.
    appended: BTreeMap<u64, u64>,
    /// By the minute of their own time.
    minutes: BTreeMap<u32, u64>,
}

/// The middle of a minute, which its rows are taken to be of.
const HALF_A_MINUTE_MS: u64 = 30_000;

impl RowTimes {
    /// When they were appended, Unix ms, and how many.
    pub fn appended(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.appended.iter().map(|(at, rows)| (*at, *rows))
    }

    /// Their own time, Unix ms, exact to half a minute, and how many.
    pub fn of_records(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let middle = |minute: u32| u64::from(minute) * 60_000 + HALF_A_MINUTE_MS;
        self.minutes
            .iter()
            .map(move |(m, rows)| (middle(*m), *rows))
    }
}

impl Queue {
    /// When the rows of a batch came. Only before it is acknowledged: its blocks go then.
    ///
    /// # Errors
    /// [`QueueError`] if a block is damaged.
    pub fn row_times(&self, batch: &Batch) -> Result<RowTimes, QueueError> {
        let mut times = RowTimes::default();
        for range in &batch.ranges {
            for head in self.heads_of(range) {
                let head = head?;
                let rows = u64::from(head.header.rows);
                *times.appended.entry(head.header.appended_ms).or_default() += rows;
                for (minute, rows) in head.minutes.iter() {
                    *times.minutes.entry(minute).or_default() += u64::from(rows);
                }
            }
        }
        Ok(times)
    }
}
