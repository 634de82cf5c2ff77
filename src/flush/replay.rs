//! Flushing without Kafka: drain what is queued, or send delivered batches once more.

use std::collections::BTreeMap;

use super::{Flusher, LOOK_EVERY};
use crate::clickhouse::CountQuery;
use crate::queue::{Batch, QueueError, unpack};
use crate::row::content_hash;
use crate::row::read::rows;

/// Distinct rows of a batch that are asked for: a query of 40 KiB. A batch of no more is compared
/// whole; of a larger one, a part of 1 % that is gone is missed once in 10^8.
const SAMPLE: usize = 2000;

/// How much of a batch ClickHouse has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Rows asked for, each as often as the batch has it.
    pub asked: u64,
    /// How many of them ClickHouse has.
    pub found: u64,
}

impl Flusher<'_> {
    /// Sends until nothing sealed or eligible is left, or a stop is requested. Returns whether it
    /// is all done.
    ///
    /// # Errors
    /// [`QueueError`]: the queue failed; a sealed batch stays as it is.
    pub fn drain(&mut self) -> Result<bool, QueueError> {
        loop {
            if self.queue.sealed_batch().is_none() && !self.queue.has_eligible() {
                return Ok(true);
            }
            self.show();
            if self.shutdown.wait(self.limiter.wait()) {
                return Ok(false);
            }
            if !self.step()? && self.shutdown.wait(LOOK_EVERY) {
                return Ok(false);
            }
        }
    }

    /// Asks ClickHouse how much of a batch it has: one slot, more if it does not answer. `None` if
    /// a stop was requested.
    ///
    /// Rows are told apart by their content: by the hash of all their columns, within the batch's
    /// times. **The limit**: a row that another batch has with the same content counts as found.
    ///
    /// # Errors
    /// [`QueueError`]: the queue failed, or the batch is damaged.
    pub fn presence(&mut self, batch: &Batch) -> Result<Option<Presence>, QueueError> {
        let sample = self.sample(batch)?;
        let query = CountQuery {
            hashes: sample.rows.keys().copied().collect(),
            times: sample.times,
        };
        let sql = query.sql(&self.options.database, &self.options.table);
        loop {
            if self.shutdown.wait(self.limiter.wait()) {
                return Ok(None);
            }
            self.begin("count")?;
            let answer = self.sink.query(&sql);
            let answer = answer.and_then(|text| CountQuery::parse(&text));
            match answer {
                Ok(have) => {
                    self.answered("answered")?;
                    let found = sample
                        .rows
                        .iter()
                        .map(|(hash, times)| have.get(hash).copied().unwrap_or(0).min(*times));
                    return Ok(Some(Presence {
                        asked: sample.rows.values().sum(),
                        found: found.sum(),
                    }));
                }
                Err(e) => self.query_failed(&e)?,
            }
        }
    }

    fn sample(&self, batch: &Batch) -> Result<Sample, QueueError> {
        let mut s = Sample {
            rows: BTreeMap::new(),
            times: (u32::MAX, 0),
        };
        for block in self.queue.range_blocks(&batch.ranges) {
            let (header, frame) = block?;
            let raw = unpack(&header, &frame)?;
            for row in rows(&raw).flatten() {
                s.times = (s.times.0.min(row.timestamp), s.times.1.max(row.timestamp));
                *s.rows.entry(content_hash(&row)).or_default() += 1;
                // The lowest hashes are a fair choice, and the same each time.
                if s.rows.len() > SAMPLE {
                    s.rows.pop_last();
                }
            }
        }
        Ok(s)
    }
}

struct Sample {
    /// How often each row is in the batch, by its hash.
    rows: BTreeMap<u64, u64>,
    times: (u32, u32),
}
