//! What a live instance tells: the `status` answer, the gauges, and a line a minute in the log.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;
use log::Level;

use super::forecast::{Counted, Forecast, Limits, Meter};
use super::gauges;
use super::history::{History, Look};
use super::judge::judge;
use super::status::{Kafka, Status, kafka, visible};
use super::verdict::{Code, Verdict};
use crate::flush::{FlushStatus, Question};
use crate::kafka::Consumer;
use crate::queue::{DROPPED_BATCHES, LOST_RANGES, Queue, QueueError, Which};
use crate::row::tap::Taps;
use crate::runtime::clock::{as_of_now, now_ms};
use crate::runtime::room::free_bytes;
use crate::runtime::shutdown::Shutdown;
use crate::runtime::stats::{Stats, limit};
use crate::store::bounds::Bounds;

/// How often it is looked, and after how many looks a line is written.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const LOOKS_A_LINE: u32 = 6;

/// Where a live instance's figures come from.
pub struct Report<'a> {
    /// The queue.
    pub queue: &'a Queue,
    /// The counters.
    pub stats: &'a Stats,
    /// The flusher's own words.
    pub flush: &'a Mutex<FlushStatus>,
    /// The group's member.
    pub consumer: &'a Consumer,
    /// Kafka topic.
    pub topic: &'a str,
    /// What the queue may take; the free bytes are asked for.
    pub bounds: Bounds,
    /// To the flusher, which has the only way to ClickHouse.
    pub questions: &'a Sender<Question>,
    /// Where rows can be looked at.
    pub taps: &'a Taps,
    /// For the rates.
    pub meter: Meter,
    /// How each partition stood when it was looked last.
    pub stood: Mutex<BTreeMap<i32, Stood>>,
    /// The last day.
    pub history: History,
    /// Name, value and source of each setting; secrets are covered.
    pub settings: Vec<(String, String, String)>,
}

/// How a partition stood.
#[derive(Debug)]
pub struct Stood {
    /// Where it was read to.
    read: Option<i64>,
    /// Since when, or when nothing waited last, Unix ms.
    since_ms: u64,
    /// See [`crate::observe::status::Partition::visible_through_ms`]; once it is so, it stays so.
    visible_through_ms: Option<u64>,
}

impl Report<'_> {
    /// Everything, now.
    ///
    /// # Errors
    /// [`QueueError`] if the queue cannot be read.
    pub fn status(&self) -> Result<Status, QueueError> {
        let now = now_ms();
        let queue = self.queue.summary()?;
        let partitions = self.stats.partitions();
        let flush = self
            .flush
            .lock()
            .expect("BUG: the flusher panicked")
            .clone();
        let counted = Counted {
            rows_in: self.stats.ingest.rows_appended.get(),
            bytes_in: self.stats.ingest.bytes_appended.get(),
            rows_out: self.stats.flush.rows_inserted.get(),
        };
        let rates = self.meter.look(&counted);
        let limits = self.limits();
        let sends = flush.hold.is_none() && flush.failing.is_none();
        let forecast = Forecast::of(&queue, &flush, &rates, &limits, sends, now);
        let seen = self.consumer.seen();
        let mut kafka = kafka(&queue, self.topic, &partitions, &seen, &BTreeMap::new());
        kafka.client = self.stats.kafka.get();
        kafka.group = self.stats.group.get();
        kafka.commits = self.stats.commits.get();
        kafka.pause = self.stats.pause.get();
        self.stands(&mut kafka, now);
        kafka.visible_through_ms = visible::of_all(&queue, self.topic, &kafka.partitions);
        let mut status = Status {
            verdict: Verdict::default(),
            told_ms: now,
            live: true,
            // Taken for a moved volume once Kafka has told.
            copy: match self.queue.refuse_copy() {
                Err(e) if e.is_copy() => Some(e.to_string()),
                _ => None,
            },
            installation: self.queue.installation().to_owned(),
            privacy: self.queue.policies()?,
            queue,
            disk_bytes: self.queue.disk_bytes(),
            partitions,
            kafka,
            lost: self.queue.load(LOST_RANGES)?.unwrap_or_default(),
            dropped: self.queue.load(DROPPED_BATCHES)?.unwrap_or_default(),
            flush,
            limits,
            counted,
            rates,
            forecast,
        };
        status.restate(as_of_now);
        status.verdict = judge(&status, now);
        Ok(status)
    }

    /// What the queue may take now.
    pub fn limits(&self) -> Limits {
        Limits::of(&self.bounds, self.queue)
    }

    /// Notes since when nothing was read of a partition whose records wait, and how far it could be seen.
    fn stands(&self, kafka: &mut Kafka, now: u64) {
        let mut stood = self.stood.lock().unwrap_or_else(PoisonError::into_inner);
        stood.retain(|p, _| kafka.partitions.iter().any(|of| of.partition == *p));
        for of in &mut kafka.partitions {
            let waits = of.unread.is_some_and(|n| n > 0) && kafka.pause.is_none();
            let at = stood.entry(of.partition).or_insert(Stood {
                read: of.read,
                since_ms: now,
                visible_through_ms: None,
            });
            if !waits || at.read != of.read {
                (at.read, at.since_ms) = (of.read, now);
            }
            of.still_since_ms = waits.then_some(at.since_ms);
            of.visible_through_ms = of.visible_through_ms.or(at.visible_through_ms);
            at.visible_through_ms = of.visible_through_ms;
        }
    }

    /// Sets the gauges that are read off the queue.
    ///
    /// # Errors
    /// [`QueueError`] if the queue cannot be read.
    pub fn measure(&self) -> Result<Status, QueueError> {
        let status = self.status()?;
        gauges::set(self.stats, &status);
        // A disk that cannot be asked pauses reading, and says so; the last answer stands here.
        if let Ok(free) = free_bytes(self.queue.dir().path()) {
            limit(&self.stats.queue.disk_free_bytes, free);
        }
        Ok(status)
    }

    /// What a sample of the history is made of.
    pub fn look(&self, s: &Status) -> Look {
        let oldest = s.queue.oldest_ms;
        Look {
            appended: self.stats.ingest.rows_appended.get(),
            inserted: self.stats.flush.rows_inserted.get(),
            queue_rows: s.queue.rows,
            queue_bytes: s.queue.bytes,
            oldest_s: oldest.map_or(0, |ms| now_ms().saturating_sub(ms) / 1000),
            unread: s.kafka.unread,
            insert: s
                .flush
                .stored
                .as_ref()
                .map(|i| (i.at_ms, i.bytes, i.took_ms)),
        }
    }

    /// Samples for the charts, and a line a minute, until a stop is requested.
    ///
    /// # Errors
    /// If the queue cannot be read.
    pub fn run(&self, shutdown: &Shutdown) -> anyhow::Result<()> {
        // Rates are measured from here on.
        self.status()?;
        for look in 1u32.. {
            if shutdown.wait(LOOK_EVERY) {
                break;
            }
            if self.stats.pause.get().is_some() {
                self.consumer.ask_ends(&self.stats.partitions());
            }
            let s = self.measure()?;
            self.sample(&s);
            if !look.is_multiple_of(LOOKS_A_LINE) {
                continue;
            }
            let level = match s.verdict.code {
                Code::Ok => Level::Info,
                Code::Delayed | Code::Paused => Level::Warn,
                Code::Held | Code::AtRisk | Code::Lost => Level::Error,
            };
            log::log!(
                level,
                "{}; {} partitions, {} rows inserted so far",
                s.verdict.sentence,
                s.partitions.len(),
                self.stats.flush.rows_inserted.get(),
            );
        }
        Ok(())
    }

    /// Why messages are in quarantine, and how many for each reason, the most first: of the first page of
    /// them, which is 2,048 or 1 MiB. A message's own words are in none.
    ///
    /// # Errors
    /// [`QueueError`] if the queue cannot be read.
    pub fn reasons(&self, status: &Status) -> Result<Vec<(String, u64)>, QueueError> {
        if status.queue.quarantined == 0 {
            return Ok(Vec::new());
        }
        let page = self.queue.quarantine_page(Which::default())?;
        let mut counts = BTreeMap::new();
        for entry in page.entries {
            *counts.entry(entry.message.reason).or_insert(0) += 1;
        }
        let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        Ok(counts)
    }

    /// Adds what came since the last sample to that of this minute. At the end of the process, too: else its
    /// last rows would be in none.
    pub fn sample(&self, status: &Status) {
        self.history.keep(now_ms(), &self.look(status));
    }
}
