//! The last day, a sample a minute, for the charts: in memory, and in a small file beside the queue, so
//! that a restart does not forget it.
//!
//! The file is not synced, and nothing depends on it: what is torn, foreign or damaged is a gap or a
//! history that begins anew, and one that cannot be written ends with the process.
//!
//! A sample has its place by its minute. So nothing has to be moved or searched, a minute without a
//! sample is one that an older sample has the place of, and a clock that was set writes where the minute
//! that it shows belongs.

mod file;
mod sample;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::queue::DataDir;
use file::HistoryFile;
pub use sample::Sample;

/// Minutes kept: a day.
pub const MINUTES: usize = 1440;

/// Milliseconds of one.
const MINUTE_MS: u64 = 60_000;

/// See the module.
pub struct History(Mutex<Ring>);

struct Ring {
    /// At the place of each minute the last sample that was made of one with that place.
    samples: Vec<Option<Sample>>,
    /// None if it could not be opened, or not be written any more.
    file: Option<HistoryFile>,
    /// Rows in and out by the counters of this process, when they were looked at last.
    counted: (u64, u64),
    /// The last insert that is in a sample, by when it ended, Unix ms.
    inserted_ms: u64,
}

/// What a sample is made of. Counters are those of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// Rows appended.
    pub appended: u64,
    /// Rows inserted.
    pub inserted: u64,
    /// Rows queued.
    pub queue_rows: u64,
    /// Bytes queued.
    pub queue_bytes: u64,
    /// Age of the oldest row, s.
    pub oldest_s: u64,
    /// Records in Kafka that were not read; `None` if that is not known.
    pub unread: Option<u64>,
    /// The last insert: when it ended (Unix ms), the bytes of its body, and how long it took, ms.
    pub insert: Option<(u64, u64, u64)>,
}

impl History {
    /// Reads what an earlier process left in `dir`. Cannot fail: without a file it begins anew.
    pub fn open(dir: &DataDir) -> History {
        let (file, samples) = match HistoryFile::open(dir) {
            Ok((file, samples)) => (Some(file), samples),
            Err(e) => {
                log::warn!("the charts forget the last day at a restart: {e:#}");
                (None, vec![None; MINUTES])
            }
        };
        History(Mutex::new(Ring {
            samples,
            file,
            counted: (0, 0),
            inserted_ms: 0,
        }))
    }

    /// Keeps a sample of this minute. A second one adds its rows to the first.
    pub fn keep(&self, now_ms: u64, look: &Look) {
        let mut ring = self.lock();
        let sample = ring.sample(now_ms, look);
        ring.counted = (look.appended, look.inserted);
        if let Some((ended_ms, ..)) = look.insert {
            ring.inserted_ms = ended_ms;
        }
        let at = place(sample.minute);
        ring.samples[at] = Some(sample);
        if let Some(file) = &ring.file
            && let Err(e) = file.write(at, &sample)
        {
            log::warn!("the charts forget the last day at a restart: {e:#}");
            ring.file = None;
        }
    }

    /// The last day with this moment as its end, a minute each, `None` where there was no sample.
    /// [`MINUTES`] of them, and the minute of the first.
    pub fn last_day(&self, now_ms: u64, look: &Look) -> (u64, Vec<Option<Sample>>) {
        let ring = self.lock();
        let now = ring.sample(now_ms, look);
        let first = (now.minute + 1).saturating_sub(MINUTES as u64);
        let of = |minute| ring.samples[place(minute)].filter(|s| s.minute == minute);
        let mut all: Vec<_> = (first..now.minute).map(of).collect();
        all.push(Some(now));
        (first, all)
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// What would be kept of this moment.
    fn sample(&self, now_ms: u64, look: &Look) -> Sample {
        let minute = now_ms / MINUTE_MS;
        let before = self.samples[place(minute)].filter(|s| s.minute == minute);
        let before = before.unwrap_or_default();
        // One that an earlier process made is not of this minute, unless it ended in it.
        let insert = look
            .insert
            .filter(|(at, ..)| *at > self.inserted_ms && at / MINUTE_MS + 1 >= minute);
        let (insert_bytes, insert_ms) = match insert {
            Some((_, bytes, ms)) => (bytes, ms),
            None => (before.insert_bytes, before.insert_ms),
        };
        let more = |now: u64, then: u64| now.saturating_sub(then);
        Sample {
            minute,
            rows_in: before
                .rows_in
                .saturating_add(more(look.appended, self.counted.0)),
            rows_out: before
                .rows_out
                .saturating_add(more(look.inserted, self.counted.1)),
            queue_rows: look.queue_rows,
            queue_bytes: look.queue_bytes,
            oldest_s: look.oldest_s,
            insert_bytes,
            insert_ms,
            unread: look.unread,
        }
    }
}

fn place(minute: u64) -> usize {
    (minute % MINUTES as u64) as usize
}
