//! What a live instance tells: the `status` answer, the gauges, and a line a minute in the log.

use std::sync::Mutex;
use std::time::Duration;

use crossbeam_channel::Sender;
use serde::{Deserialize, Serialize};

use super::clock::{Moment, now_ms, rfc3339};
use super::shutdown::Shutdown;
use super::stats::Stats;
use crate::flush::limiter;
use crate::flush::{FlushStatus, Question};
use crate::ownership::{LOST_RANGES, LostRange};
use crate::queue::{BatchState, LaneState, Queue, QueueError, Summary};

const LINE_EVERY: Duration = Duration::from_secs(60);

/// All that `status` shows. Holds no row and no address.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// Whether it was told by a live instance, or read from its data dir.
    pub live: bool,
    /// Installation id.
    pub installation: String,
    /// What is queued.
    pub queue: Summary,
    /// Bytes of the queue's files.
    pub disk_bytes: u64,
    /// Partitions held now.
    pub partitions: Vec<i32>,
    /// Offsets that Kafka no longer had.
    pub lost: Vec<LostRange>,
    /// The flusher.
    pub flush: FlushStatus,
}

/// Where a live instance's figures come from.
pub struct Report<'a> {
    /// The queue.
    pub queue: &'a Queue,
    /// The counters.
    pub stats: &'a Stats,
    /// The flusher's own words.
    pub flush: &'a Mutex<FlushStatus>,
    /// Kafka topic.
    pub topic: &'a str,
    /// To the flusher, which has the only way to ClickHouse.
    pub questions: &'a Sender<Question>,
}

impl Report<'_> {
    /// Everything, now.
    ///
    /// # Errors
    /// [`QueueError`] if the queue cannot be read.
    pub fn status(&self) -> Result<Status, QueueError> {
        Ok(Status {
            live: true,
            installation: self.queue.installation().to_owned(),
            queue: self.queue.summary()?,
            disk_bytes: self.queue.disk_bytes(),
            partitions: self.stats.partitions(),
            lost: self.queue.load(LOST_RANGES)?.unwrap_or_default(),
            flush: self
                .flush
                .lock()
                .expect("BUG: the flusher panicked")
                .clone(),
        })
    }

    /// Sets the gauges that are read off the queue.
    ///
    /// # Errors
    /// [`QueueError`] if the queue cannot be read.
    pub fn measure(&self) -> Result<Status, QueueError> {
        let status = self.status()?;
        let (q, now) = (&status.queue, now_ms());
        let age = q.oldest_ms.map_or(0, |ms| now.saturating_sub(ms) / 1000);
        self.stats.queue_rows.set(q.rows as i64);
        self.stats.queue_bytes.set(q.bytes as i64);
        self.stats.queue_disk_bytes.set(status.disk_bytes as i64);
        self.stats.queue_oldest_seconds.set(age as i64);
        self.stats.quarantine_bytes.set(q.quarantine.bytes as i64);
        self.stats
            .quarantine_dropped
            .set(q.quarantine.dropped as i64);
        let held = q
            .lanes
            .iter()
            .filter(|l| matches!(l.state, LaneState::Held(_)));
        self.stats.held_lanes.set(held.count() as i64);
        let rejected = q
            .batches
            .iter()
            .filter(|b| matches!(b.state, BatchState::Rejected { .. }));
        self.stats.rejected_batches.set(rejected.count() as i64);
        let lost: i64 = status.lost.iter().map(|l| l.to - l.from).sum();
        self.stats.lost_offsets.set(lost);
        let slot = status.flush.next_slot_ms.saturating_sub(now) / 1000;
        self.stats.next_slot_seconds.set(slot as i64);
        Ok(status)
    }

    /// A line a minute, until a stop is requested.
    ///
    /// # Errors
    /// If the queue cannot be read.
    pub fn run(&self, shutdown: &Shutdown) -> anyhow::Result<()> {
        while !shutdown.wait(LINE_EVERY) {
            let s = self.measure()?;
            log::info!(
                "{} rows queued in {} bytes, oldest {} s; {} partitions; {} rows inserted so far; next slot in {} s{}",
                s.queue.rows,
                s.queue.bytes,
                self.stats.queue_oldest_seconds.get(),
                s.partitions.len(),
                self.stats.rows_inserted.get(),
                self.stats.next_slot_seconds.get(),
                if s.flush.hold.is_some() {
                    "; INSERTS ARE HELD"
                } else {
                    ""
                }
            );
        }
        Ok(())
    }
}

/// The status of a data dir that no instance runs on.
///
/// # Errors
/// [`QueueError`] if the queue cannot be read.
pub fn offline(queue: &Queue, interval: Duration) -> Result<Status, QueueError> {
    let (last, next_slot_ms) = limiter::peek(queue, interval, &Moment::now())?;
    Ok(Status {
        live: false,
        installation: queue.installation().to_owned(),
        queue: queue.summary()?,
        disk_bytes: queue.disk_bytes(),
        partitions: Vec::new(),
        lost: queue.load(LOST_RANGES)?.unwrap_or_default(),
        flush: FlushStatus {
            last_attempt_ms: last.as_ref().map(|a| a.start_ms),
            last_outcome: last.and_then(|a| a.outcome),
            next_slot_ms,
            ..FlushStatus::default()
        },
    })
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |ms: Option<u64>| ms.map_or("-".to_owned(), rfc3339);
        let q = &self.queue;
        writeln!(
            f,
            "instance        {}",
            if self.live { "live" } else { "not running" }
        )?;
        writeln!(f, "installation    {}", self.installation)?;
        writeln!(
            f,
            "queued          {} rows, {} bytes ({} on disk)",
            q.rows, q.bytes, self.disk_bytes
        )?;
        if q.delivered_rows > 0 {
            writeln!(
                f,
                "delivered, kept {} rows, {} bytes",
                q.delivered_rows, q.delivered_bytes
            )?;
        }
        writeln!(f, "oldest row      {}", at(q.oldest_ms))?;
        writeln!(
            f,
            "quarantined     {} messages, {} bytes",
            q.quarantined, q.quarantine.bytes
        )?;
        if q.quarantine.dropped > 0 {
            writeln!(
                f,
                "LOST            {} messages dropped from a full quarantine",
                q.quarantine.dropped
            )?;
        }
        if self.live {
            writeln!(f, "partitions      {:?}", self.partitions)?;
        }
        for lane in &q.lanes {
            writeln!(
                f,
                "  {} p{}: sealed below {}, eligible below {}, read below {}{}",
                lane.topic,
                lane.partition,
                lane.sealed,
                lane.eligible,
                lane.next,
                match &lane.state {
                    LaneState::Open => String::new(),
                    LaneState::Ended => " (of an earlier ownership)".to_owned(),
                    LaneState::Held(why) => format!(" HELD: {why}"),
                }
            )?;
        }
        for batch in &q.batches {
            let note = if batch.may_be_stored {
                ", may be stored"
            } else {
                ""
            };
            match &batch.state {
                BatchState::Sealed => writeln!(
                    f,
                    "batch {}         {} rows, {} attempts{note}",
                    batch.seq, batch.rows, batch.attempts
                )?,
                BatchState::Acked | BatchState::Delivered { .. } => {}
                BatchState::Rejected { words, .. } => writeln!(
                    f,
                    "batch {}         {} rows REJECTED{note}: {words}",
                    batch.seq, batch.rows
                )?,
            }
        }
        for l in &self.lost {
            writeln!(
                f,
                "LOST            {} p{} offsets {}..{} (noticed {})",
                l.topic,
                l.partition,
                l.from,
                l.to,
                rfc3339(l.noticed_ms)
            )?;
        }
        let outcome = self.flush.last_outcome.as_deref().unwrap_or("-");
        writeln!(
            f,
            "last request    {} {outcome}",
            at(self.flush.last_attempt_ms)
        )?;
        write!(f, "next slot       {}", rfc3339(self.flush.next_slot_ms))?;
        if let Some(seconds) = self.flush.dedup_horizon_s {
            let horizon = humantime::format_duration(Duration::from_secs(seconds));
            write!(
                f,
                "\nresend window   {horizon}, divided by the number of instances"
            )?;
        }
        if let Some(why) = &self.flush.hold {
            write!(f, "\nHELD            {why}")?;
        }
        Ok(())
    }
}
