//! The flusher thread: when a slot is free, **seal, sync, insert, ack**.
//!
//! This file decides what the next request is; `insert.rs` makes an insert and carries out what its
//! answer asks for. A batch is fixed on disk, with its token and settings, before its first byte is
//! sent, and after an attempt that may have stored it the same rows go out again under the same token
//! until ClickHouse has them.

mod ask;
mod fill;
mod insert;
pub mod limiter;
mod native;
mod pace;
mod pack;
mod question;
mod replay;
mod spool;
mod tables;

use std::sync::Mutex;
use std::time::Duration;

use crossbeam_channel::Receiver;
use serde::{Deserialize, Serialize};

use crate::queue::{Batch, PackedFormat, Queue, QueueError, SealBounds};
use crate::runtime::clock::{Moment, now_ms, rfc3339};
use crate::runtime::shutdown::Shutdown;
use crate::runtime::stats::Stats;
use crate::sink::{BodyLimit, Schema, Sink, SinkError, insert_settings};
pub use fill::{Filler, Filling, Wanted};
use limiter::Limiter;
use pace::Pace;
pub use pack::PackError;
pub use question::Question;
pub use replay::Presence;
pub use spool::Spool;
use tables::{Need, Tables};

/// Names under which the queue keeps what was learnt: the body limit, and ClickHouse's pace.
const BODY_LIMIT: &str = "body_limit";
const PACE: &str = "pace";

/// Packing a body once takes at most this part of the time between two requests; it may take a few
/// tries, most of them while the slot is not free.
const PACK_SHARE: u32 = 8;

/// How often the flusher looks for rows while there are none.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Settings of the flusher.
pub struct FlushOptions {
    /// Smallest time between the starts of two requests.
    pub interval: Duration,
    /// Most rows in a batch.
    pub max_rows: u64,
    /// Most bytes in a body, before anything is learnt.
    pub max_body_bytes: u64,
    /// URL, for what is remembered about it.
    pub url: String,
    /// Database, likewise.
    pub database: String,
    /// Table, likewise.
    pub table: String,
    /// Format of packed rows.
    pub packed_format: PackedFormat,
    /// Whether missing tables are created.
    pub create_tables: bool,
    /// Longest time a request may take.
    pub request_timeout: Duration,
    /// How long a delivered batch stays on the disk.
    pub keep_delivered: Duration,
}

/// What the flusher does now, for people.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FlushStatus {
    /// Start of the last attempt that was not refused by the limiter, Unix ms.
    pub last_attempt_ms: Option<u64>,
    /// How it ended.
    pub last_outcome: Option<String>,
    /// When the next request may start, Unix ms.
    pub next_slot_ms: u64,
    /// Why inserts are held, if they are.
    pub hold: Option<String>,
    /// The largest body that is tried next.
    pub body_limit: u64,
    /// How long ClickHouse recognises a resend, in seconds, if this instance alone inserts once a
    /// slot; `n` instances divide it by `n`. `None` before the tables were checked.
    #[serde(default)]
    pub dedup_horizon_s: Option<u64>,
}

/// The flusher's state.
pub struct Flusher<'a> {
    queue: &'a Queue,
    sink: Sink,
    options: FlushOptions,
    limiter: Limiter<'a>,
    tables: Tables<'a>,
    body_limit: BodyLimit,
    pace: Pace,
    filler: Filler,
    /// The packed body of the batch with this token.
    spool: Option<(String, Spool)>,
    shutdown: &'a Shutdown,
    stats: &'a Stats,
    status: &'a Mutex<FlushStatus>,
    unreachable: u32,
    /// The batch before was rejected for its data: a second one in a row is no accident.
    rejected_before: bool,
    questions: Receiver<Question>,
    /// One that the proxy's limiter refused: it is asked again.
    question: Option<Question>,
}

impl<'a> Flusher<'a> {
    /// Takes up what the last process left.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be read.
    pub fn new(
        queue: &'a Queue,
        sink: Sink,
        schema: Schema,
        options: FlushOptions,
        shutdown: &'a Shutdown,
        stats: &'a Stats,
        status: &'a Mutex<FlushStatus>,
    ) -> Result<Flusher<'a>, QueueError> {
        let limiter = Limiter::load(queue, options.interval, &Moment::now())?;
        let place = format!("{} {} {}", options.url, options.database, options.table);
        let tables = Tables::load(queue, schema, &place, options.create_tables)?;
        let mut body_limit: BodyLimit = queue
            .load(BODY_LIMIT)?
            .unwrap_or_else(|| BodyLimit::new(&options.url, options.max_body_bytes));
        body_limit.adopt(&options.url, options.max_body_bytes);
        Ok(Flusher {
            queue,
            sink,
            options,
            limiter,
            tables,
            body_limit,
            pace: queue.load(PACE)?.unwrap_or_default(),
            filler: Filler::default(),
            spool: None,
            shutdown,
            stats,
            status,
            unreachable: 0,
            rejected_before: false,
            questions: crossbeam_channel::never(),
            question: None,
        })
    }

    /// Returns only when stopping. A request under way is ended first.
    ///
    /// # Errors
    /// [`QueueError`]: the queue failed; a sealed batch stays as it is.
    pub fn run(&mut self) -> Result<(), QueueError> {
        loop {
            self.show();
            self.queue
                .release_delivered(self.options.keep_delivered, now_ms())?;
            self.prepare()?;
            self.queue.fold_counts(now_ms())?;
            self.queue.compact_if_due()?;
            self.queue.renew_if_due()?;
            if self.shutdown.wait(self.limiter.wait()) {
                return Ok(());
            }
            if !self.step()? && self.shutdown.wait(LOOK_EVERY) {
                return Ok(());
            }
        }
    }

    /// Makes one request, if there is anything to do. Returns whether there was.
    fn step(&mut self) -> Result<bool, QueueError> {
        if self.answer_question()? {
            return Ok(true);
        }
        let sealed = self.queue.sealed_batch();
        let ambiguous = sealed.as_ref().is_some_and(|b| b.may_be_stored);
        match self.tables.need(ambiguous) {
            // A batch that may be stored is settled first.
            Need::Nothing if self.tables.is_due() && !ambiguous => {
                return self.check_tables().map(|()| true);
            }
            Need::Nothing => {}
            Need::Check => return self.check_tables().map(|()| true),
            Need::Create { name, sql } => return self.create(&name, &sql).map(|()| true),
            Need::Hold(why) => {
                self.hold(&why);
                // Somebody may have created them: ask again, at the limiter's pace.
                self.tables.forget()?;
                return self.check_tables().map(|()| true);
            }
        }
        let batch = match sealed {
            Some(batch) => batch,
            None => match self.seal(false)? {
                Some(batch) => batch,
                None => return Ok(false),
            },
        };
        if self.is_beyond_horizon(&batch) {
            self.hold(&format!(
                "batch {} may have been stored at {}, and ClickHouse may have forgotten its token \
                 since: look whether its {} rows are there, then retry or drop it",
                batch.seq,
                rfc3339(batch.ambiguous_ms),
                batch.rows
            ));
            return Ok(false);
        }
        self.insert(batch).map(|()| true)
    }

    /// How long ClickHouse recognises a resend: its window, at one insert a slot. An insert adds an
    /// entry in each partition that it touches, which the window counts on its own.
    fn dedup_horizon(&self) -> Option<Duration> {
        let window = u32::try_from(self.tables.window()?).unwrap_or(u32::MAX);
        Some(self.options.interval.saturating_mul(window))
    }

    /// Whether a resend of the batch could be stored again, because it is too long ago that it may
    /// have been stored.
    fn is_beyond_horizon(&self, batch: &Batch) -> bool {
        let since = Duration::from_millis(now_ms().saturating_sub(batch.ambiguous_ms));
        batch.may_be_stored && self.dedup_horizon().is_some_and(|horizon| since >= horizon)
    }

    /// Seals and packs a batch while the slot is not free yet, if what waits fills a body anyway.
    fn prepare(&mut self) -> Result<(), QueueError> {
        let idle = !self.limiter.wait().is_zero()
            && self.queue.sealed_batch().is_none()
            && self.tables.need(false) == Need::Nothing;
        if idle {
            self.seal(true)?;
        }
        Ok(())
    }

    /// Seals the next batch; with `only_full` only if more waits than fits into it.
    fn seal(&mut self, only_full: bool) -> Result<Option<Batch>, QueueError> {
        let max_rows = self.options.max_rows;
        let bounds = SealBounds {
            rows: self.pace.rows(self.options.request_timeout, max_rows),
            bytes: self.body_limit.limit(),
        };
        let patience = match self.body_limit.is_settled() {
            // While the limit is searched for, bodies are refused often: packing them is for nothing.
            false => Duration::ZERO,
            true if only_full => self.options.interval / PACK_SHARE,
            // The slot is free already.
            true => self.options.interval / PACK_SHARE / 4,
        };
        let shutdown = self.shutdown;
        let wanted = Wanted {
            bounds,
            patience,
            format: self.options.packed_format,
            only_full,
            stop: &|| shutdown.requested(),
        };
        let Filling { plan, packed } = match self.filler.fill(self.queue, wanted) {
            Ok(Some(filling)) => filling,
            Ok(None) | Err(PackError::Stopped | PackError::Write(_)) => return Ok(None),
            Err(PackError::Queue(e)) => return Err(e),
        };
        let (packed, spool) = packed.unzip();
        let settings = |token: &str| insert_settings(token, max_rows);
        let batch = self.queue.seal_plan(plan, packed, now_ms(), settings)?;
        self.spool = spool.map(|spool| (batch.token.clone(), spool));
        Ok(Some(batch))
    }

    fn check_tables(&mut self) -> Result<(), QueueError> {
        self.limiter.begin("check", Moment::now())?;
        match self.tables.check(&self.sink)? {
            Ok(state) => {
                self.limiter.ended("answered")?;
                if state.missing.is_empty() {
                    log::info!("the tables exist");
                    let ambiguous = self.queue.sealed_batch().is_some_and(|b| b.may_be_stored);
                    // They may exist and yet be others: then the hold stands.
                    if self.tables.need(ambiguous) == Need::Nothing {
                        self.unhold();
                    }
                } else {
                    let wait = self.options.interval * (state.missing.len() as u32 + 1);
                    log::warn!(
                        "missing in ClickHouse: {}; creating takes one request each, the first \
                         rows follow in about {}",
                        state.missing.join(", "),
                        humantime::format_duration(wait)
                    );
                }
                Ok(())
            }
            Err(e) => self.query_failed(&e),
        }
    }

    fn create(&mut self, name: &str, sql: &str) -> Result<(), QueueError> {
        self.limiter.begin(name, Moment::now())?;
        match self.sink.query(sql) {
            Ok(_) => {
                self.tables.created(name);
                log::info!("created {name}; {} to go", self.tables.missing());
                self.limiter.ended("created")
            }
            Err(e) => self.query_failed(&e),
        }
    }

    fn query_failed(&mut self, e: &SinkError) -> Result<(), QueueError> {
        self.stats.insert(e.label());
        self.account(e)?;
        if e.is_hold() || matches!(e, SinkError::Reject { .. }) {
            self.hold(&e.to_string());
        }
        Ok(())
    }

    fn hold(&self, why: &str) {
        let mut status = self.status();
        if status.hold.as_deref() != Some(why) {
            log::error!("inserts are held, rows are kept: {why}");
        }
        status.hold = Some(why.to_owned());
        self.stats.hold.set(1);
    }

    fn unhold(&self) {
        if self.status().hold.take().is_some() {
            log::info!("inserts go on");
        }
        self.stats.hold.set(0);
    }

    fn show(&self) {
        let mut status = self.status();
        status.last_attempt_ms = self.limiter.last().map(|a| a.start_ms);
        status.last_outcome = self.limiter.last().and_then(|a| a.outcome.clone());
        status.next_slot_ms = now_ms() + self.limiter.wait().as_millis() as u64;
        status.body_limit = self.body_limit.limit();
        status.dedup_horizon_s = self.dedup_horizon().map(|h| h.as_secs());
    }

    fn status(&self) -> std::sync::MutexGuard<'_, FlushStatus> {
        self.status
            .lock()
            .expect("BUG: a thread panicked while it told its status")
    }
}
