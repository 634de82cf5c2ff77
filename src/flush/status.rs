//! What the flusher does now, for people: the request under way, what fails and since when, what holds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answers::Answers;
use super::{Flusher, Hold};
use crate::clickhouse::SinkError;
use crate::queue::{Batch, Queue, QueueError};
use crate::runtime::clock::{Moment, now_ms};
use crate::runtime::conditions::Trouble;
use crate::runtime::stats::limit;

/// Name under which the queue keeps the last [`Stored`].
const STORED: &str = "stored";

/// A request that was not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct InFlight {
    /// What it is: `insert`, `check`, or a statement's object.
    pub what: String,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of its body.
    pub bytes: u64,
    /// When it began, Unix ms.
    pub since_ms: u64,
}

/// The last insert that ClickHouse acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Stored {
    /// When, Unix ms.
    pub at_ms: u64,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of its body.
    pub bytes: u64,
    /// Bytes that the queue held of it.
    pub queued_bytes: u64,
    /// How long the request took, ms.
    pub took_ms: u64,
}

/// What the flusher does now, for people.
#[derive(Clone, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct FlushStatus {
    /// Start of the last attempt that was not refused by the limiter, Unix ms.
    pub last_attempt_ms: Option<u64>,
    /// How it ended.
    pub last_outcome: Option<String>,
    /// When the next request may start, Unix ms.
    pub next_slot_ms: u64,
    /// Smallest time between the starts of two requests, ms.
    pub interval_ms: u64,
    /// About how many share the proxy's slot, this instance included, as its refusals tell; 1: nobody else
    /// was noticed, 0: not known.
    pub sharers: u32,
    /// Longest time a request may take, ms.
    pub request_timeout_ms: u64,
    /// The request under way.
    pub in_flight: Option<InFlight>,
    /// What has failed since the last request that was answered well; its kind is the label of `inserts`.
    pub failing: Option<Trouble>,
    /// The last insert that was stored.
    pub stored: Option<Stored>,
    /// The last requests and what came of them, since the start.
    pub answers: Answers,
    /// Why inserts are held, if they are.
    pub hold: Option<String>,
    /// What kind of hold it is: a stable word, see [`Hold`].
    pub hold_kind: Option<String>,
    /// Since when, Unix ms.
    pub hold_since_ms: Option<u64>,
    /// Tables and views that are to be created before the first row, one a slot.
    pub to_create: usize,
    /// The largest body that is tried next.
    pub body_limit: u64,
    /// Most rows of the next insert.
    pub most_rows: u64,
    /// How long a token is trusted, in seconds, if this instance alone inserts, once a slot into one
    /// partition, or as much is written as all writers wrote between two looks; what they write is counted
    /// when it matters. `None` before the tables were checked.
    pub dedup_horizon_s: Option<u64>,
}

impl FlushStatus {
    /// The request under way ended.
    fn ended(&mut self, outcome: &str, words: &str) {
        if let Some(f) = self.in_flight.take() {
            let what = (f.what.as_str(), f.rows, f.bytes);
            self.answers.add(what, f.since_ms, outcome, words);
        }
    }
}

/// The last insert that ClickHouse acknowledged, also by an earlier process.
///
/// # Errors
/// [`QueueError`] if it cannot be read.
pub fn last_stored(queue: &Queue) -> Result<Option<Stored>, QueueError> {
    queue.load(STORED)
}

impl Flusher<'_> {
    /// Takes the slot for a request, and shows it as under way.
    pub(super) fn begin(&mut self, what: &str) -> Result<(), QueueError> {
        self.limiter.begin(what, Moment::now())?;
        self.sends(what, 0, 0);
        Ok(())
    }

    /// The same for an insert.
    pub(super) fn begin_insert(&mut self, batch: &Batch, bytes: u64) -> Result<(), QueueError> {
        self.limiter.begin(&batch.token, Moment::now())?;
        self.sends("insert", batch.rows, bytes);
        Ok(())
    }

    fn sends(&self, what: &str, rows: u64, bytes: u64) {
        let mut status = self.status();
        status.in_flight = Some(InFlight {
            what: what.to_owned(),
            rows,
            bytes,
            since_ms: now_ms(),
        });
        drop(status);
        self.show_slot();
    }

    /// A request was answered well.
    pub(super) fn answered(&mut self, outcome: &str) -> Result<(), QueueError> {
        self.tell_time();
        self.limiter.ended(outcome)?;
        let mut status = self.status();
        status.ended("ok", outcome);
        status.failing = None;
        Ok(())
    }

    /// Keeps what was stored.
    pub(super) fn took(
        &mut self,
        batch: &Batch,
        bytes: u64,
        took: Duration,
    ) -> Result<(), QueueError> {
        let stored = Stored {
            at_ms: now_ms(),
            rows: batch.rows,
            bytes,
            queued_bytes: batch.bytes,
            took_ms: took.as_millis() as u64,
        };
        self.queue.save(STORED, &stored)?;
        self.status().stored = Some(stored);
        Ok(())
    }

    /// A request of a command was not: no row waits for it.
    pub(super) fn not_answered(&mut self, e: &SinkError) -> Result<(), QueueError> {
        self.status().ended(e.label(), &e.to_string());
        self.tell_time();
        self.limiter.ended(e.label())
    }

    /// Shows that a request failed.
    pub(super) fn fails(&self, e: &SinkError) {
        let mut status = self.status();
        let words = e.to_string();
        status.ended(e.label(), &words);
        // Its batch is set aside, and what is sent next is another one.
        if matches!(e, SinkError::Reject { .. }) {
            status.failing = None;
            return;
        }
        Trouble::met(&mut status.failing, e.label(), &words);
    }

    pub(super) fn hold(&self, kind: Hold, why: &str) {
        let mut status = self.status();
        if status.hold.as_deref() != Some(why) {
            log::error!("inserts are held, rows are kept: {why}");
        }
        status.hold = Some(why.to_owned());
        status.hold_kind = Some(kind.word().to_owned());
        status.hold_since_ms.get_or_insert_with(now_ms);
    }

    pub(super) fn unhold(&self) {
        let mut status = self.status();
        (status.hold_since_ms, status.hold_kind) = (None, None);
        if status.hold.take().is_some() {
            log::info!("inserts go on");
        }
    }

    pub(super) fn show(&self) {
        let mut status = self.status();
        status.last_attempt_ms = self.limiter.last().map(|a| a.start_ms);
        status.last_outcome = self.limiter.last().and_then(|a| a.outcome.clone());
        status.interval_ms = self.options.interval.as_millis() as u64;
        status.sharers = self.limiter.sharers();
        status.request_timeout_ms = self.options.request_timeout.as_millis() as u64;
        status.to_create = self.tables.missing();
        status.body_limit = self.body_limit.limit();
        limit(&self.stats.flush.body_limit_bytes, status.body_limit);
        status.most_rows = self
            .pace
            .rows(self.options.request_timeout, self.options.max_rows);
        status.dedup_horizon_s = self.dedup_horizon().map(|h| h.as_secs());
        drop(status);
        self.show_slot();
    }

    fn show_slot(&self) {
        self.status().next_slot_ms = now_ms() + self.limiter.wait().as_millis() as u64;
    }

    pub(super) fn status(&self) -> std::sync::MutexGuard<'_, FlushStatus> {
        self.status
            .lock()
            .expect("BUG: a thread panicked while it told its status")
    }
}
