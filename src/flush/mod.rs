//! The flusher thread: when a slot is free, **seal, sync, insert, ack**.
//!
//! Every decision on an answer is [`SinkError`]'s; here it is only carried out. A batch is fixed on
//! disk, with its token and settings, before its first byte is sent, and after an attempt that may
//! have stored it the same rows go out again under the same token until ClickHouse has them.

pub mod limiter;
mod tables;

use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::encode::COLUMNS;
use crate::queue::{Batch, BatchState, Queue, QueueError, SealBounds};
use crate::runtime::clock::now_ms;
use crate::runtime::shutdown::Shutdown;
use crate::runtime::stats::Stats;
use crate::sink::{BodyLimit, InsertRequest, Schema, Sink, SinkError, insert_settings};
use limiter::Limiter;
use tables::{Need, Tables};

/// Name under which the queue keeps the learnt body limit.
const BODY_LIMIT: &str = "body_limit";

/// How often the flusher looks for rows while there are none.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Pause after the limiter's 503, plus up to as much again by chance: several instances may share
/// one address, and a refused request costs nothing.
const LIMITED_PAUSE: Duration = Duration::from_secs(3);

/// Longest pause between attempts to reach a proxy that cannot be connected to.
const UNREACHABLE_PAUSE: Duration = Duration::from_secs(30);

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
    /// Whether missing tables are created.
    pub create_tables: bool,
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
}

/// The flusher's state.
pub struct Flusher<'a> {
    queue: &'a Queue,
    sink: Sink,
    options: FlushOptions,
    limiter: Limiter<'a>,
    tables: Tables<'a>,
    body_limit: BodyLimit,
    shutdown: &'a Shutdown,
    stats: &'a Stats,
    status: &'a Mutex<FlushStatus>,
    unreachable: u32,
    /// The batch before was rejected for its data: a second one in a row is no accident.
    rejected_before: bool,
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
        let limiter = Limiter::load(queue, options.interval, now_ms())?;
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
            shutdown,
            stats,
            status,
            unreachable: 0,
            rejected_before: false,
        })
    }

    /// Returns only when stopping. A request under way is ended first.
    ///
    /// # Errors
    /// [`QueueError`]: the queue failed; a sealed batch stays as it is.
    pub fn run(&mut self) -> Result<(), QueueError> {
        loop {
            self.show();
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
        let sealed = self.queue.sealed_batch();
        let ambiguous = sealed.as_ref().is_some_and(|b| b.may_be_stored);
        match self.tables.need(ambiguous) {
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
            None => match self.seal()? {
                Some(batch) => batch,
                None => return Ok(false),
            },
        };
        self.insert(batch).map(|()| true)
    }

    fn seal(&mut self) -> Result<Option<Batch>, QueueError> {
        let bounds = SealBounds {
            rows: self.options.max_rows,
            bytes: self.body_limit.limit(),
        };
        let max_rows = self.options.max_rows;
        self.queue
            .seal(bounds, now_ms(), |token| insert_settings(token, max_rows))
    }

    /// The order that neither loses nor doubles a batch. `begin` syncs the seal, the mark that an
    /// attempt may store it, and the limiter's slot, before the first byte leaves.
    fn insert(&mut self, mut batch: Batch) -> Result<(), QueueError> {
        let stored_before = batch.may_be_stored;
        batch.attempts += 1;
        batch.may_be_stored = true;
        self.queue.update_batch(&batch)?;
        self.limiter.begin(&batch.token, now_ms())?;
        let request = InsertRequest {
            token: batch.token.clone(),
            rows: batch.rows,
            body_len: batch.bytes,
            settings: batch.settings.clone(),
            columns: COLUMNS,
        };
        let mut body = self.queue.body(&batch);
        let answer = self.sink.insert(&request, &mut body);
        if let Some(e) = body.take_error() {
            return Err(e);
        }
        drop(body);
        match answer {
            Ok(done) => {
                self.queue.ack(&batch)?;
                self.stored(&batch, done.elapsed)
            }
            Err(e) => {
                batch.may_be_stored = stored_before || e.may_be_stored();
                self.queue.update_batch(&batch)?;
                self.refused(batch, &e)
            }
        }
    }

    fn stored(&mut self, batch: &Batch, took: Duration) -> Result<(), QueueError> {
        self.stats.insert("stored");
        self.stats.rows_inserted.inc_by(batch.rows);
        self.unhold();
        self.unreachable = 0;
        self.rejected_before = false;
        self.body_limit
            .taken(batch.bytes, self.queue.has_eligible());
        self.queue.save(BODY_LIMIT, &self.body_limit)?;
        log::info!(
            "inserted {} rows in {} bytes in {:.1} s (attempt {})",
            batch.rows,
            batch.bytes,
            took.as_secs_f64(),
            batch.attempts
        );
        self.limiter.ended(&format!("stored {} rows", batch.rows))
    }

    /// Carries out what an error asks for; the batch's own record is up to date.
    fn refused(&mut self, mut batch: Batch, e: &SinkError) -> Result<(), QueueError> {
        self.stats.insert(e.label());
        self.account(e)?;
        match e {
            SinkError::Limited { .. } | SinkError::Retry { .. } => {}
            SinkError::TooLarge { body_len, .. } => return self.too_large(batch, *body_len),
            SinkError::Missing { .. } => self.tables.forget()?,
            SinkError::Hold { .. } => self.hold(&e.to_string()),
            SinkError::Unreadable { .. } => {
                return Err(QueueError::Damaged {
                    what: format!("batch {}: {e}", batch.seq),
                });
            }
            SinkError::Reject { code, words, .. } if !self.rejected_before => {
                self.rejected_before = true;
                log::error!(
                    "ClickHouse refuses the data of batch {} ({} rows, set aside and kept{}): {words}",
                    batch.seq,
                    batch.rows,
                    if batch.may_be_stored {
                        "; it may be stored"
                    } else {
                        ""
                    },
                );
                batch.state = BatchState::Rejected {
                    code: *code,
                    words: words.clone(),
                };
                self.queue.update_batch(&batch)?;
                self.queue.sync()?;
            }
            SinkError::Reject { .. } => {
                self.hold(&format!(
                    "two batches in a row were refused for their data: {e}"
                ));
            }
        }
        Ok(())
    }

    /// Does the slot's bookkeeping for an error, and logs it.
    fn account(&mut self, e: &SinkError) -> Result<(), QueueError> {
        if e.used_slot() {
            self.unreachable = 0;
            self.limiter.ended(e.label())?;
            if let Some(pause) = e.retry_after() {
                self.limiter.put_off(pause);
            }
            if !e.is_hold() {
                log::warn!("request failed, will be made again: {e}");
            }
            return Ok(());
        }
        let pause = match e {
            SinkError::TooLarge { .. } => Duration::ZERO,
            SinkError::Limited { retry_after, .. } => {
                log::info!("the proxy's limiter refused; trying again soon");
                retry_after.unwrap_or_else(|| jitter(LIMITED_PAUSE))
            }
            _ => {
                log::warn!("cannot reach {}: {e}; trying again", self.options.url);
                self.unreachable = (self.unreachable + 1).min(5);
                jitter(Duration::from_secs(1 << (self.unreachable - 1))).min(UNREACHABLE_PAUSE)
            }
        };
        self.limiter.not_used(pause, now_ms())
    }

    fn too_large(&mut self, mut batch: Batch, body_len: u64) -> Result<(), QueueError> {
        let single = batch.ranges.iter().map(|r| r.blocks).sum::<u32>() == 1;
        let learnt = self
            .body_limit
            .refused(body_len, if single { body_len } else { 0 });
        self.queue.save(BODY_LIMIT, &self.body_limit)?;
        if learnt && self.queue.unseal(&batch)? {
            log::info!(
                "a body of {body_len} bytes is too large for the proxy; next at most {}",
                self.body_limit.limit()
            );
            return Ok(());
        }
        if batch.may_be_stored {
            self.hold(&format!(
                "batch {} of {body_len} bytes may be stored, so it must not be cut, and the proxy \
                 now refuses its size: raise client_max_body_size to let it pass",
                batch.seq
            ));
            // A 413 costs no slot, but nothing is gained by asking every moment.
            self.limiter.put_off(self.options.interval);
            return Ok(());
        }
        log::error!(
            "one block of {body_len} bytes is too large for the proxy; set aside and kept. Raise \
             client_max_body_size and retry it"
        );
        batch.state = BatchState::Rejected {
            code: 413,
            words: format!("a body of {body_len} bytes is too large for the proxy"),
        };
        self.queue.update_batch(&batch)
    }

    fn check_tables(&mut self) -> Result<(), QueueError> {
        self.limiter.begin("check", now_ms())?;
        match self.tables.check(&self.sink)? {
            Ok(state) => {
                self.limiter.ended("answered")?;
                if state.missing.is_empty() {
                    log::info!("the tables exist");
                    self.unhold();
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
        self.limiter.begin(name, now_ms())?;
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
    }

    fn status(&self) -> std::sync::MutexGuard<'_, FlushStatus> {
        self.status
            .lock()
            .expect("BUG: a thread panicked while it told its status")
    }
}

/// `base`, and up to as much again by chance.
fn jitter(base: Duration) -> Duration {
    let chance = getrandom::u32().unwrap_or(0);
    base + base.mul_f64(f64::from(chance) / f64::from(u32::MAX))
}
