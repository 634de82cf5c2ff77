//! One insert, and what its answer asks for. Every decision on an answer is [`SinkError`]'s; here it is
//! only carried out.

use std::time::{Duration, Instant};

use super::fill::pack_ranges;
use super::pack::Packing;
use super::{BODY_LIMIT, Flusher, PACE, PackError, Spool};
use crate::encode::COLUMNS;
use crate::queue::{Ahead, Batch, BatchState, QueueError};
use crate::runtime::clock::{Moment, now_ms};
use crate::sink::{InsertRequest, SinkError, insert_settings};

/// Pause after the limiter's 503, plus up to as much again by chance: several instances may share
/// one address, and a refused request costs nothing.
const LIMITED_PAUSE: Duration = Duration::from_secs(3);

/// An attempt that ends unanswered after this long was too much for ClickHouse or the proxy's patience.
const SLOW: Duration = Duration::from_secs(15);

/// Longest pause between attempts to reach a proxy that cannot be connected to.
const UNREACHABLE_PAUSE: Duration = Duration::from_secs(30);

impl Flusher<'_> {
    /// The order that neither loses nor doubles a batch. `begin` syncs the seal, the mark that an
    /// attempt may store it, and the limiter's slot, before the first byte leaves.
    pub(super) fn insert(&mut self, mut batch: Batch) -> Result<(), QueueError> {
        if batch.settings.is_empty() {
            // Made by `repair`, which knows nothing of ClickHouse.
            batch.settings = insert_settings(&batch.token, self.options.max_rows);
        }
        let mut source = match self.source(&batch) {
            Ok(source) => source,
            Err(PackError::Queue(e)) => return Err(e),
            Err(PackError::Stopped) => return Ok(()),
            Err(e @ PackError::Write(_)) => {
                self.hold(&format!("batch {}: {e}", batch.seq));
                self.limiter.put_off(self.options.interval);
                return Ok(());
            }
        };
        let body_len = source.as_ref().map_or(batch.bytes, Spool::body_len);
        let (stored_before, ambiguous_before) = (batch.may_be_stored, batch.ambiguous_ms);
        batch.attempts += 1;
        batch.may_be_stored = true;
        batch.ambiguous_ms = now_ms();
        self.queue.update_batch(&batch)?;
        self.limiter.begin(&batch.token, Moment::now())?;
        let request = InsertRequest {
            token: batch.token.clone(),
            rows: batch.rows,
            body_len,
            settings: batch.settings.clone(),
            columns: COLUMNS,
            format: batch.packed.map(|p| p.format).unwrap_or_default().name(),
        };
        let began = Instant::now();
        let unreadable = |e| QueueError::io("cannot read", self.queue.dir().path(), e);
        let answer = match &mut source {
            Some(spool) => match spool.rewound() {
                Ok(body) => self.sink.insert(&request, body),
                Err(e) => return Err(unreadable(e)),
            },
            None => std::thread::scope(|scope| {
                let mut frames =
                    Ahead::start(scope, self.queue.body(&batch)).map_err(unreadable)?;
                let answer = self.sink.insert(&request, &mut frames);
                frames.take_error().map_or(Ok(answer), Err)
            })?,
        };
        // Kept for a resend, which then need not pack again.
        self.spool = source.map(|spool| (batch.token.clone(), spool));
        match answer {
            Ok(done) => {
                if self.options.keep_delivered.is_zero() {
                    self.queue.ack(&batch)?;
                } else {
                    self.queue.deliver(&batch, now_ms())?;
                }
                if batch.retried && done.written_rows == Some(0) {
                    log::warn!(
                        "ClickHouse knows the token of batch {} and stored nothing anew: it has the \
                         rows, or somebody deleted them since",
                        batch.seq
                    );
                }
                self.spool = None;
                self.stored(&batch, body_len, done.elapsed)
            }
            Err(e) => {
                if e.may_be_stored() && began.elapsed() >= SLOW {
                    self.pace.unanswered(batch.rows);
                    self.queue.save(PACE, &self.pace)?;
                }
                batch.may_be_stored = stored_before || e.may_be_stored();
                if !e.may_be_stored() {
                    batch.ambiguous_ms = ambiguous_before;
                }
                self.queue.update_batch(&batch)?;
                self.refused(batch, &e)
            }
        }
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

    fn stored(&mut self, batch: &Batch, body_len: u64, took: Duration) -> Result<(), QueueError> {
        self.stats.insert("stored");
        self.stats.rows_inserted.inc_by(batch.rows);
        self.unhold();
        self.unreachable = 0;
        self.rejected_before = false;
        self.tables.settled();
        self.body_limit.taken(body_len, self.queue.has_eligible());
        self.queue.save(BODY_LIMIT, &self.body_limit)?;
        self.pace.stored(batch.rows, took);
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
                self.hold(&format!(
                    "two batches in a row were refused for their data: {e}"
                ));
            }
        }
        Ok(())
    }

    /// Does the slot's bookkeeping for an error, and logs it.
    pub(super) fn account(&mut self, e: &SinkError) -> Result<(), QueueError> {
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
        self.limiter.not_used(pause, &Moment::now())
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
}

/// `base`, and up to as much again by chance.
fn jitter(base: Duration) -> Duration {
    let chance = getrandom::u32().unwrap_or(0);
    base + base.mul_f64(f64::from(chance) / f64::from(u32::MAX))
}
