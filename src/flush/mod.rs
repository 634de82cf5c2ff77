//! The flusher thread: when a slot is free, **seal, sync, insert, ack**.
//!
//! This file decides what the next request is; `insert.rs` makes an insert and carries out what its
//! answer asks for. A batch is fixed on disk, with its token and settings, before its first byte is
//! sent. After an attempt that may have stored it `settle.rs` asks ClickHouse for its rows, and it is
//! acknowledged, or the same rows go out again under the same token, or a person has to look.

mod answers;
mod ask;
mod fill;
mod hold;
mod horizon;
mod insert;
mod known;
pub mod limiter;
mod look;
mod owner;
mod pace;
mod pack;
mod question;
mod refusals;
mod replay;
mod sample;
mod settle;
mod spool;
mod status;
mod tables;
mod turns;
mod window;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::clickhouse::{
    AllowedDuplicates, BodyLimit, Schema, SchemaState, Scheme, Sink, SinkError, insert_settings,
};
use crate::queue::{Batch, PackedFormat, Queue, QueueError, SealBounds};
use crate::runtime::clock::{Moment, now_ms};
use crate::runtime::shutdown::Shutdown;
use crate::runtime::stats::Stats;
pub use answers::{Answered, Answers};
pub use fill::{Filler, Filling, Wanted};
pub use hold::Hold;
use limiter::Limiter;
pub use look::{Fit, ObjectFound, TablesFound};
use pace::Pace;
pub use pack::PackError;
pub use question::{Question, Reply};
use refusals::Refusals;
pub use replay::Presence;
pub use spool::Spool;
pub use status::{FlushStatus, InFlight, Stored, last_stored};
use tables::{Need, Tables};

/// Names under which the queue keeps what was learnt: the body limit, and ClickHouse's pace.
const BODY_LIMIT: &str = "body_limit";
const PACE: &str = "pace";

/// Bytes of a body that its header may take: names and types of nine columns.
const HEADER_ROOM: u64 = 512;

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
    /// Tables that are taken though they do not recognise a resend.
    pub allow_duplicates: AllowedDuplicates,
    /// Longest time a request may take.
    pub request_timeout: Duration,
    /// How long a delivered batch stays on the disk.
    pub keep_delivered: Duration,
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
    refusals: Refusals,
    /// What holds is the answer to an insert: that the tables are in order does not end it.
    insert_held: bool,
    /// The batch before was rejected for its data: a second one in a row is no accident.
    rejected_before: bool,
    /// Whom to ask before anything is sent; `None` for commands.
    owner: Option<owner::Owner>,
    questions: Receiver<Question>,
    /// One that the proxy's limiter refused: it is asked again.
    question: Option<Question>,
    /// The slot before was a question's.
    asked: bool,
    /// A batch that ClickHouse could not tell of, and when it was asked.
    unsettled: Option<(u64, Instant)>,
    /// The batch that may go out by what ClickHouse said, and when that was.
    vouched: Option<(u64, Instant)>,
    /// The batch of which ClickHouse said last that it has nothing.
    absent: Option<u64>,
    /// Questions for a batch in a row that were not answered.
    unanswered_questions: u32,
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
        status
            .lock()
            .expect("BUG: a thread panicked while it told its status")
            .stored = last_stored(queue)?;
        let place = format!("{} {} {}", options.url, options.database, options.table);
        let tables = Tables::load(
            queue,
            schema,
            &place,
            options.create_tables,
            options.allow_duplicates.clone(),
            options.max_rows,
            window::needed(options.interval, options.request_timeout),
        )?;
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
            refusals: Refusals::default(),
            insert_held: false,
            rejected_before: false,
            owner: None,
            questions: crossbeam_channel::never(),
            question: None,
            asked: false,
            unsettled: None,
            vouched: None,
            absent: None,
            unanswered_questions: 0,
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

    /// Makes one request, if there is anything to do. Returns whether there was. Questions and inserts
    /// take turns: commands that ask on and on must not keep rows waiting.
    fn step(&mut self) -> Result<bool, QueueError> {
        if !std::mem::take(&mut self.asked) {
            self.asked = self.answer_question()?;
            return Ok(self.asked || self.advance()?);
        }
        Ok(self.advance()? || self.answer_question()?)
    }

    /// The next request of the flusher's own.
    fn advance(&mut self) -> Result<bool, QueueError> {
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
                self.hold(Hold::Tables, &why);
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
        match self.settle(&batch)? {
            Some(asked) => Ok(asked),
            None => self.insert(batch),
        }
    }

    /// How long a token is trusted, with one insert a slot into one partition, or as much as all writers were
    /// seen to write. What they did since an attempt is counted when it matters (`horizon.rs`).
    fn dedup_horizon(&self) -> Option<Duration> {
        let window = self.tables.window()?;
        let blocks = window.entries / Scheme::entries(self.tables.known().server.scheme) / 2;
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        let alone = self.options.interval.saturating_mul(blocks);
        let hours = |rate: f64| Duration::try_from_secs_f64(f64::from(blocks) / rate * 3600.0).ok();
        let seen = self.tables.known().blocks_an_hour.and_then(hours);
        let horizon = seen.map_or(alone, |seen| seen.min(alone));
        Some(window.age.map_or(horizon, |age| horizon.min(age / 2)))
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
            bytes: self.body_limit.limit().saturating_sub(HEADER_ROOM),
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
        self.begin("check")?;
        match self.tables.check(&self.sink)? {
            Ok(state) => self.tables_answered(&state),
            Err(e) => self.query_failed(&e),
        }
    }

    /// A check was answered.
    fn tables_answered(&mut self, state: &SchemaState) -> Result<(), QueueError> {
        self.stats.flush.answered();
        self.answered("answered")?;
        if !state.problems.is_empty() {
            // `need` tells them.
        } else if state.missing.is_empty() {
            log::info!("the tables exist");
            let ambiguous = self.queue.sealed_batch().is_some_and(|b| b.may_be_stored);
            // They may exist and yet be others: then the hold stands.
            if self.tables.need(ambiguous) == Need::Nothing && !self.insert_held {
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

    fn create(&mut self, name: &str, sql: &str) -> Result<(), QueueError> {
        self.begin(name)?;
        match self.sink.query(sql) {
            Ok(_) => {
                self.tables.created(name);
                log::info!("created {name}; {} to go", self.tables.missing());
                self.stats.flush.answered();
                self.answered("created")
            }
            Err(e) => self.query_failed(&e),
        }
    }

    fn query_failed(&mut self, e: &SinkError) -> Result<(), QueueError> {
        self.stats.flush.query_failed(e.label());
        self.account(e)?;
        if e.is_hold() || matches!(e, SinkError::Reject { .. }) {
            self.hold(Hold::of(e), &e.to_string());
        }
        Ok(())
    }
}
