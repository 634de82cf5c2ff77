//! When the queue will be empty, and when it will be full, as things go now.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::flush::FlushStatus;
use crate::queue::{Queue, SLED_FACTOR, Summary};
use crate::runtime::room::free_bytes;
use crate::store::QuarantineFull;
use crate::store::bounds::Bounds;

/// How far back the rate of rows is measured, and how close two looks at it are at least.
const WINDOW: Duration = Duration::from_secs(60);
const APART: Duration = Duration::from_secs(1);

/// What the queue may take.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(default)]
pub struct Limits {
    /// Most bytes of rows.
    pub max_queue_bytes: u64,
    /// Bytes that stay free on the disk.
    pub min_free_disk: u64,
    /// Bytes that are free there, those among them that the queue's files have and do not use. Unknown: none.
    pub free_bytes: Option<u64>,
    /// Most bytes of messages in quarantine.
    pub max_quarantine_bytes: u64,
    /// Whether a full quarantine loses its oldest messages.
    pub quarantine_drops: bool,
}

impl Limits {
    /// What the settings come to for this queue on its disk, as that is now.
    pub(super) fn of(bounds: &Bounds, queue: &Queue) -> Limits {
        let path = queue.dir().path();
        let allowed = bounds.on(path);
        let free = free_bytes(path).ok();
        Limits {
            max_queue_bytes: allowed.max_queue_bytes,
            min_free_disk: allowed.min_free_disk,
            free_bytes: free.map(|free| free + queue.unused_bytes()),
            max_quarantine_bytes: allowed.max_quarantine_bytes,
            quarantine_drops: bounds.quarantine_full == QuarantineFull::DropOldest,
        }
    }
}

/// Rows that come in, by the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Rates {
    /// Rows appended.
    pub rows_in: f64,
    /// Their bytes.
    pub bytes_in: f64,
    /// Rows that ClickHouse acknowledged.
    pub rows_out: f64,
}

/// What came in and went out since the instance started.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(default)]
pub struct Counted {
    /// Rows appended.
    pub rows_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Rows that ClickHouse acknowledged.
    pub rows_out: u64,
}

/// How it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Forecast {
    /// Inserts until all is sent that is queued then. `None` if more comes in than they can carry.
    pub inserts: Option<u64>,
    /// When that is, Unix ms, if inserts work. `None` likewise.
    pub drained_ms: Option<u64>,
    /// When reading pauses for want of room, Unix ms. `None` if it does not come to that.
    pub full_ms: Option<u64>,
}

impl Forecast {
    /// From what is queued and what comes in. `sends` says whether inserts work now.
    pub fn of(
        queue: &Summary,
        flush: &FlushStatus,
        rates: &Rates,
        limits: &Limits,
        sends: bool,
        now_ms: u64,
    ) -> Forecast {
        let slot = flush.interval_ms.max(1) as f64 / 1000.0 * f64::from(flush.sharers.max(1));
        let (rows, bytes) = queue.to_send();
        let an_insert = bytes_an_insert(queue, flush);
        let left = an_insert - rates.bytes_in * slot;
        let inserts = match rows {
            0 => Some(0),
            _ if left > 0.0 => Some((bytes as f64 / left).ceil().max(1.0) as u64),
            _ => None,
        };
        let drained_ms = inserts.map(|n| {
            let slots = n.saturating_sub(1) as f64 * slot * 1000.0;
            flush.next_slot_ms.max(now_ms) + slots as u64
        });
        let grows = rates.bytes_in - if sends { an_insert / slot } else { 0.0 };
        let room = limits.max_queue_bytes.saturating_sub(queue.bytes) as f64;
        let disk = limits.free_bytes.map_or(f64::INFINITY, |free| {
            free.saturating_sub(limits.min_free_disk) as f64 / SLED_FACTOR
        });
        let seconds = room.min(disk) / grows;
        // Ten years are never.
        let full_ms =
            (grows > 0.0 && seconds < 315_360_000.0).then(|| now_ms + (seconds * 1000.0) as u64);
        Forecast {
            inserts,
            drained_ms: drained_ms.filter(|_| rows > 0),
            full_ms,
        }
    }
}

/// Queued bytes that one insert carries at most, as the last one did.
fn bytes_an_insert(queue: &Summary, flush: &FlushStatus) -> f64 {
    let packed = flush.stored.as_ref().map_or(1.0, |s| match s.bytes {
        0 => 1.0,
        bytes => (s.queued_bytes as f64 / bytes as f64).max(1.0),
    });
    let by_bytes = flush.body_limit as f64 * packed;
    if queue.rows == 0 || flush.most_rows == 0 {
        return by_bytes;
    }
    let a_row = queue.bytes as f64 / queue.rows as f64;
    by_bytes.min(flush.most_rows as f64 * a_row)
}

/// Measures [`Rates`] from counters that only grow.
#[derive(Debug, Default)]
pub struct Meter(Mutex<VecDeque<(Instant, [u64; 3])>>);

impl Meter {
    /// What is counted now. Returns the rates of the last minute.
    pub fn look(&self, counted: &Counted) -> Rates {
        let counters = [counted.rows_in, counted.bytes_in, counted.rows_out];
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if looks.back().is_none_or(|(at, _)| now - *at >= APART) {
            looks.push_back((now, counters));
        }
        while looks.len() > 2 && looks.get(1).is_some_and(|(at, _)| now - *at >= WINDOW) {
            looks.pop_front();
        }
        let Some((at, first)) = looks.front() else {
            return Rates::default();
        };
        let seconds = (now - *at).as_secs_f64();
        if seconds < APART.as_secs_f64() {
            return Rates::default();
        }
        let [rows_in, bytes_in, rows_out] =
            [0, 1, 2].map(|i| counters[i].saturating_sub(first[i]) as f64 / seconds);
        Rates {
            rows_in,
            bytes_in,
            rows_out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::fixture::Fixture;

    fn queue(rows: u64, bytes: u64) -> Summary {
        Summary {
            rows,
            bytes,
            ..Fixture::new().q().summary().unwrap()
        }
    }

    fn flush() -> FlushStatus {
        FlushStatus {
            interval_ms: 60_000,
            next_slot_ms: 30_000,
            body_limit: 1_000_000,
            most_rows: 1_000_000,
            ..FlushStatus::default()
        }
    }

    fn limits() -> Limits {
        Limits {
            max_queue_bytes: 100_000_000,
            ..Limits::default()
        }
    }

    #[test]
    fn a_backlog_is_drained_insert_by_insert_and_what_comes_in_meanwhile() {
        let f = |bytes, bytes_in: f64| {
            let rates = Rates {
                bytes_in,
                ..Rates::default()
            };
            let q = queue(bytes / 100, bytes);
            let found = Forecast::of(&q, &flush(), &rates, &limits(), true, 0);
            (found.inserts, found.drained_ms)
        };
        assert_eq!(f(0, 0.0), (Some(0), None));
        assert_eq!(f(100, 0.0), (Some(1), Some(30_000)));
        assert_eq!(f(2_500_000, 0.0), (Some(3), Some(150_000)));
        // Nearly half of each insert is taken by what comes in.
        assert_eq!(f(2_500_000, 8_000.0), (Some(5), Some(270_000)));
        assert_eq!(f(2_500_000, 20_000.0), (None, None), "it grows");
    }

    #[test]
    fn it_is_full_when_the_first_bound_is_met_and_never_while_inserts_keep_up() {
        let rates = Rates {
            bytes_in: 10_000.0,
            ..Rates::default()
        };
        let q = queue(100, 50_000_000);
        let mut limits = limits();
        let f =
            |limits: &Limits, sends| Forecast::of(&q, &flush(), &rates, limits, sends, 0).full_ms;
        assert_eq!(f(&limits, true), None);
        assert_eq!(f(&limits, false), Some(5_000_000));
        limits.free_bytes = Some(3_000_000);
        assert_eq!(f(&limits, false), Some(200_000), "the disk is first");
    }

    #[test]
    fn rows_bound_an_insert_as_bytes_do() {
        let few_rows = FlushStatus {
            most_rows: 10,
            ..flush()
        };
        let found = Forecast::of(
            &queue(100, 100_000),
            &few_rows,
            &Rates::default(),
            &limits(),
            true,
            0,
        );
        assert_eq!(found.inserts, Some(10));
    }
}
