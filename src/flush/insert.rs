//! One insert, and what its answer asks for. Every decision on an answer is [`SinkError`]'s; here it is
//! only carried out.

use std::io::Read as _;
use std::time::{Duration, Instant};

use super::fill::pack_ranges;
use super::pack::Packing;
use super::refusals::chance;
use super::settle::TRIES;
use super::{BODY_LIMIT, Flusher, Hold, PACE, PackError, Spool};
use crate::clickhouse::{InsertRequest, SinkError, insert_settings};
use crate::queue::{Ahead, Batch, BatchState, QueueError, RowTimes};
use crate::row::{columns, encode};
use crate::runtime::clock::{Moment, now_ms};

/// An attempt that ends unanswered after this long was too much for ClickHouse or the proxy's patience.
const SLOW: Duration = Duration::from_secs(15);

impl Flusher<'_> {
    /// The order that neither loses nor doubles a batch. `begin` syncs the seal, the mark that an
    /// attempt may store it, and the limiter's slot, before the first byte leaves.
    ///
    /// Returns false if nothing may be sent now.
    pub(super) fn insert(&mut self, mut batch: Batch) -> Result<bool, QueueError> {
        if batch.settings.is_empty() {
            // Made by `repair`, which knows nothing of ClickHouse.
            batch.settings = insert_settings(&batch.token, self.options.max_rows);
        }
        let mut source = match self.source(&batch) {
            Ok(source) => source,
            Err(PackError::Queue(e)) => return Err(e),
            Err(PackError::Stopped) => return Ok(true),
            Err(e @ PackError::Write(_)) => {
                self.hold(Hold::Disk, &format!("batch {}: {e}", batch.seq));
                self.limiter.put_off(self.options.interval);
                return Ok(true);
            }
        };
        if !self.may_send()? {
            self.spool = source.map(|spool| (batch.token.clone(), spool));
            return Ok(false);
        }
        // A frame of its own before the others; a token knows rows, so it may be another one each time.
        let header = match batch.sends_header() {
            true => zstd::encode_all(&encode::header(self.tables.types())[..], 3),
            false => Ok(Vec::new()),
        };
        let header =
            header.map_err(|e| QueueError::io("cannot pack", self.queue.dir().path(), e))?;
        let rows_len = source.as_ref().map_or(batch.bytes, Spool::body_len);
        let body_len = header.len() as u64 + rows_len;
        let (before, vouched) = (batch.clone(), self.vouched.take());
        self.absent = None;
        let known = self.tables.known();
        let (server, started) = (known.server.clone(), known.started);
        batch.begin_attempt(now_ms(), server, started, self.tables.marks());
        self.queue.update_batch(&batch)?;
        self.begin_insert(&batch, body_len)?;
        let request = InsertRequest {
            token: batch.token.clone(),
            rows: batch.rows,
            body_len,
            settings: self.settings(&batch),
            columns: columns::names(),
            format: batch.format(),
        };
        let began = Instant::now();
        let unreadable = |e| QueueError::io("cannot read", self.queue.dir().path(), e);
        let answer = match &mut source {
            Some(spool) => match spool.rewound() {
                Ok(body) => self.sink.insert(&request, &mut header.chain(body)),
                Err(e) => return Err(unreadable(e)),
            },
            None => std::thread::scope(|scope| {
                let mut frames =
                    Ahead::start(scope, self.queue.body(&batch)).map_err(unreadable)?;
                let answer = self.sink.insert(&request, &mut header.chain(&mut frames));
                frames.take_error().map_or(Ok(answer), Err)
            })?,
        };
        // Kept for a resend, which then need not pack again.
        self.spool = source.map(|spool| (batch.token.clone(), spool));
        match answer {
            Ok(done) => {
                let waited = self.queue.row_times(&batch)?;
                self.release(&batch)?;
                let now = now_ms();
                self.stats.flush.stored(batch.rows, body_len, done.elapsed);
                self.waited(&waited, now);
                if let Some(name) = &done.answered_by {
                    self.tables.answered_by(name)?;
                }
                if batch.retried && done.written_rows == Some(0) {
                    log::warn!(
                        "ClickHouse knows the token of batch {} and stored nothing anew: it has the \
                         rows, or somebody deleted them since",
                        batch.seq
                    );
                }
                self.stored(&batch, body_len, done.elapsed)?;
            }
            Err(e) => {
                if e.may_be_stored() && began.elapsed() >= SLOW {
                    self.pace
                        .unanswered(batch.rows, self.options.request_timeout);
                    self.queue.save(PACE, &self.pace)?;
                }
                if e.may_be_stored() {
                    batch.doubt.unanswered += u32::from(e.may_be_too_much());
                } else {
                    batch.may_be_stored = before.may_be_stored;
                    batch.ambiguous_ms = before.ambiguous_ms;
                    batch.doubt = before.doubt;
                    self.vouched = vouched;
                }
                self.queue.update_batch(&batch)?;
                self.refused(batch, &e)?;
            }
        }
        Ok(true)
    }

    /// What is pinned with the batch, what an older program did not pin yet, and what this server knows
    /// besides.
    fn settings(&self, batch: &Batch) -> Vec<(String, String)> {
        let mut all = batch.settings.clone();
        let ours = insert_settings(&batch.token, self.options.max_rows);
        for (name, value) in ours.iter().chain(self.tables.settings()) {
            if all.iter().all(|(known, _)| known != name) {
                all.push((name.clone(), value.clone()));
            }
        }
        all
    }

    /// The packed body of a batch, made again if this process has not made it; `None` if its frames
    /// are sent as they are.
    fn source(&mut self, batch: &Batch) -> Result<Option<Spool>, PackError> {
        let Some(packed) = batch.packed else {
            return Ok(None);
        };
        if let Some((token, spool)) = self.spool.take()
            && token == batch.token
        {
            return Ok(Some(spool));
        }
        let shutdown = self.shutdown;
        let stop = || shutdown.requested();
        let packing = Packing {
            format: packed.format,
            level: packed.level,
        };
        pack_ranges(self.queue, &batch.ranges, batch.rows, packing, &stop).map(Some)
    }

    /// ClickHouse has the batch.
    fn release(&mut self, batch: &Batch) -> Result<(), QueueError> {
        self.spool = None;
        if self.options.keep_delivered.is_zero() {
            self.queue.ack(batch)
        } else {
            self.queue.deliver(batch, now_ms())
        }
    }

    /// How long the rows of a batch waited that ClickHouse has now.
    fn waited(&self, times: &RowTimes, now_ms: u64) {
        let stats = &self.stats.flush;
        for (at, rows) in times.appended() {
            stats.queue_to_stored.observe_since(at, rows, now_ms);
        }
        for (at, rows) in times.of_records() {
            stats.record_to_stored.observe_since(at, rows, now_ms);
        }
    }

    /// ClickHouse has a batch whose answer was lost, as it said when it was asked.
    pub(super) fn acknowledge(&mut self, batch: &Batch) -> Result<(), QueueError> {
        let waited = self.queue.row_times(batch)?;
        self.release(batch)?;
        let now = now_ms();
        self.stats.flush.found(batch.rows);
        self.waited(&waited, now);
        self.insert_held = false;
        self.unhold();
        self.refusals.end();
        self.rejected_before = false;
        Ok(())
    }

    /// A batch was too much for its way or for ClickHouse, by bytes or by rows.
    pub(super) fn too_much(&mut self, batch: &Batch) -> Result<(), QueueError> {
        let body_len = batch.packed.map_or(batch.bytes, |p| p.bytes);
        self.body_limit.refused(body_len, 0);
        self.queue.save(BODY_LIMIT, &self.body_limit)?;
        self.pace.too_many(batch.rows);
        self.queue.save(PACE, &self.pace)
    }

    fn stored(&mut self, batch: &Batch, body_len: u64, took: Duration) -> Result<(), QueueError> {
        self.insert_held = false;
        self.unhold();
        self.refusals.end();
        self.rejected_before = false;
        self.body_limit.taken(body_len, self.queue.has_eligible());
        self.queue.save(BODY_LIMIT, &self.body_limit)?;
        let timeout = self.options.request_timeout;
        self.pace.stored(batch.rows, took, timeout);
        self.queue.save(PACE, &self.pace)?;
        log::info!(
            "inserted {} rows in {body_len} bytes{} in {:.1} s (attempt {})",
            batch.rows,
            batch.packed.map_or(String::new(), |p| format!(
                " (packed from {} as {} at zstd {})",
                batch.bytes,
                p.format.name(),
                p.level
            )),
            took.as_secs_f64(),
            batch.attempts
        );
        self.took(batch, body_len, took)?;
        self.answered(&format!("stored {} rows", batch.rows))
    }

    /// Carries out what an error asks for; the batch's own record is up to date.
    fn refused(&mut self, mut batch: Batch, e: &SinkError) -> Result<(), QueueError> {
        self.stats.flush.insert_failed(e.label());
        self.account(e)?;
        if e.doubts_schema() {
            self.tables.forget()?;
        }
        match e {
            SinkError::Limited { .. } | SinkError::Retry { .. } => {}
            SinkError::TooLarge { body_len, .. } => return self.too_large(batch, e, *body_len),
            // It may name a table that the check finds: then the words stand until an insert is taken.
            SinkError::Missing { .. } => {
                self.insert_held = true;
                self.hold(Hold::of(e), &e.to_string());
                self.tables.forget()?;
            }
            SinkError::Hold { .. } => {
                self.insert_held = true;
                self.hold(Hold::of(e), &e.to_string());
            }
            SinkError::Unreadable { .. } => {
                return Err(QueueError::Damaged {
                    what: format!("batch {}: {e}", batch.seq),
                });
            }
            SinkError::Reject { code, words, .. } if !self.rejected_before || batch.retried => {
                // A second try that a person asked for says nothing about other batches.
                self.rejected_before |= !batch.retried;
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
                let why = format!("two batches in a row were refused for their data: {e}");
                self.hold(Hold::Data, &why);
            }
        }
        Ok(())
    }

    /// Does the slot's bookkeeping for an error, and logs it.
    pub(super) fn account(&mut self, e: &SinkError) -> Result<(), QueueError> {
        self.fails(e);
        self.tell_time();
        if e.used_slot() {
            self.refusals.end();
            self.limiter.ended(e.label())?;
            if let Some(pause) = e.retry_after() {
                self.limiter.put_off(pause);
            }
            if !e.is_hold() {
                log::warn!("request failed, will be made again: {e}");
            }
            return Ok(());
        }
        let pause = if let SinkError::Limited { retry_after, .. } = e {
            let asked = retry_after.unwrap_or_default();
            self.limiter.refused(asked, &Moment::now())?
        } else {
            let pause = self.refusals.pause(e, self.options.interval, chance());
            self.limiter.not_used(pause, &Moment::now())?;
            pause
        };
        if !matches!(e, SinkError::TooLarge { .. }) {
            // Who shares the slot is refused about half of the way to its turn.
            let slot = self.options.interval * (self.limiter.sharers() / 2).max(1);
            self.refusals.tell(e, &self.options.url, slot, pause);
        }
        Ok(())
    }

    /// Tells the limiter what the last answer said of the time.
    pub(super) fn tell_time(&mut self) {
        if let Some(heard) = self.sink.heard() {
            self.limiter.heard(&heard);
        }
    }

    fn too_large(
        &mut self,
        mut batch: Batch,
        e: &SinkError,
        body_len: u64,
    ) -> Result<(), QueueError> {
        let single = batch.ranges.iter().map(|r| r.blocks).sum::<u32>() == 1;
        let learnt = self
            .body_limit
            .refused(body_len, if single { body_len } else { 0 });
        self.queue.save(BODY_LIMIT, &self.body_limit)?;
        if learnt && self.queue.unseal(&batch)? {
            log::info!("{e}; next at most {} bytes", self.body_limit.limit());
            return Ok(());
        }
        if batch.may_be_stored {
            let why = format!(
                "batch {} may be stored, and its size is refused now: {e}; ClickHouse is asked whether it \
                 has it. If it cannot tell, raise client_max_body_size",
                batch.seq
            );
            self.hold(Hold::TooLarge, &why);
            // It is asked for at once, and divided if nothing of it is there.
            batch.doubt.vouched = false;
            self.vouched = None;
            batch.doubt.unanswered = batch.doubt.unanswered.max(TRIES);
            // A 413 costs no slot, but nothing is gained by asking every moment.
            self.limiter.put_off(self.options.interval);
            return self.queue.update_batch(&batch);
        }
        let why = match single {
            true => "one block is too much",
            false => "later rows were sealed since, so it is not cut anew",
        };
        log::error!(
            "batch {}: {why}: {e}; set aside and kept. Raise client_max_body_size and retry it",
            batch.seq
        );
        batch.state = BatchState::Rejected {
            code: 413,
            words: e.to_string(),
        };
        self.queue.update_batch(&batch)
    }
}
