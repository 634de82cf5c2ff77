//! One request a slot, whatever happens: the time of the last attempt is on the disk before the
//! attempt's first byte, so neither a crash nor a restart starts another one early.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::queue::{Queue, QueueError};

/// Name under which the queue keeps the last [`Attempt`].
const ATTEMPT: &str = "attempt";

/// The last request to the proxy that was not refused by its limiter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it started, Unix ms.
    pub start_ms: u64,
    /// What it was: an insert's token, `check`, or a statement's object.
    pub what: String,
    /// How it ended; `None` while it is under way or if the process died.
    pub outcome: Option<String>,
}

/// See the module. All requests of one data dir go through one limiter.
pub struct Limiter<'a> {
    queue: &'a Queue,
    interval: Duration,
    last: Option<Attempt>,
    /// The last attempt but one, to go back to if the last one used no slot.
    before: Option<Attempt>,
    /// When a request may start, on the clock that nobody sets.
    free_at: Instant,
}

impl<'a> Limiter<'a> {
    /// Takes up where the last process left off. `now_ms` is the time by the wall clock; an
    /// attempt in its future, after the clock was set back, counts as made now.
    ///
    /// # Errors
    /// [`QueueError`] if the last attempt cannot be read.
    pub fn load(queue: &'a Queue, interval: Duration, now_ms: u64) -> Result<Self, QueueError> {
        // Written as null where the very first attempt used no slot.
        let last: Option<Attempt> = queue.load::<Option<Attempt>>(ATTEMPT)?.flatten();
        let wait = last.as_ref().map_or(Duration::ZERO, |a| {
            let since = Duration::from_millis(now_ms.saturating_sub(a.start_ms));
            interval.saturating_sub(since)
        });
        Ok(Limiter {
            queue,
            interval,
            last,
            before: None,
            free_at: Instant::now() + wait,
        })
    }

    /// How long until a request may start.
    pub fn wait(&self) -> Duration {
        self.free_at.saturating_duration_since(Instant::now())
    }

    /// Takes the slot: writes the attempt down and syncs. Only then may its first byte be sent.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be made durable.
    pub fn begin(&mut self, what: &str, now_ms: u64) -> Result<(), QueueError> {
        let attempt = Attempt {
            start_ms: now_ms,
            what: what.to_owned(),
            outcome: None,
        };
        self.queue.save(ATTEMPT, &attempt)?;
        self.queue.sync()?;
        self.before = self.last.replace(attempt);
        self.free_at = Instant::now() + self.interval;
        Ok(())
    }

    /// The attempt used the slot and ended.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn ended(&mut self, outcome: &str) -> Result<(), QueueError> {
        if let Some(last) = &mut self.last {
            last.outcome = Some(outcome.to_owned());
            self.queue.save(ATTEMPT, last)?;
        }
        Ok(())
    }

    /// The attempt used no slot: another may start after `pause`, but not before the slot of the
    /// attempt before it is over.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn not_used(&mut self, pause: Duration, now_ms: u64) -> Result<(), QueueError> {
        self.last = self.before.take();
        self.queue.save(ATTEMPT, &self.last)?;
        let of_before = self.last.as_ref().map_or(Duration::ZERO, |a| {
            let since = Duration::from_millis(now_ms.saturating_sub(a.start_ms));
            self.interval.saturating_sub(since)
        });
        self.free_at = Instant::now() + pause.max(of_before);
        Ok(())
    }

    /// Puts the next request off by at least `pause`, as the server asked.
    pub fn put_off(&mut self, pause: Duration) {
        self.free_at = self.free_at.max(Instant::now() + pause);
    }

    /// The last attempt that was not refused.
    pub fn last(&self) -> Option<&Attempt> {
        self.last.as_ref()
    }
}

/// The last attempt and when the next may start (Unix ms), for a process that only looks.
///
/// # Errors
/// [`QueueError`] if it cannot be read.
pub fn peek(
    queue: &Queue,
    interval: Duration,
    now_ms: u64,
) -> Result<(Option<Attempt>, u64), QueueError> {
    let limiter = Limiter::load(queue, interval, now_ms)?;
    let next = now_ms + limiter.wait().as_millis() as u64;
    Ok((limiter.last, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::DataDir;

    const INTERVAL: Duration = Duration::from_secs(63);

    fn with_queue(f: impl FnOnce(&Queue)) {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::open(DataDir::lock(dir.path()).unwrap()).unwrap();
        f(&queue);
    }

    fn about(got: Duration, want_secs: u64) -> bool {
        let want = Duration::from_secs(want_secs);
        got <= want && got + Duration::from_secs(5) > want
    }

    #[test]
    fn the_first_request_need_not_wait() {
        with_queue(|q| {
            let limiter = Limiter::load(q, INTERVAL, 1_000_000).unwrap();
            assert_eq!(limiter.wait(), Duration::ZERO);
        });
    }

    #[test]
    fn a_restart_right_after_an_attempt_waits_the_rest_of_the_slot() {
        with_queue(|q| {
            let mut limiter = Limiter::load(q, INTERVAL, 1_000_000).unwrap();
            limiter.begin("x", 1_000_000).unwrap();
            let again = Limiter::load(q, INTERVAL, 1_020_000).unwrap();
            assert!(about(again.wait(), 43), "{:?}", again.wait());
        });
    }

    #[test]
    fn an_attempt_in_the_future_is_clamped_to_one_interval() {
        with_queue(|q| {
            let mut limiter = Limiter::load(q, INTERVAL, 9_000_000).unwrap();
            limiter.begin("x", 9_000_000).unwrap();
            let again = Limiter::load(q, INTERVAL, 1_000_000).unwrap();
            assert!(about(again.wait(), 63), "{:?}", again.wait());
        });
    }

    /// Such a data dir once did not open again: `null` was not read as an attempt.
    #[test]
    fn a_first_attempt_that_used_no_slot_leaves_none_behind() {
        with_queue(|q| {
            let mut limiter = Limiter::load(q, INTERVAL, 0).unwrap();
            limiter.begin("first", 1_000_000).unwrap();
            limiter.not_used(Duration::ZERO, 1_000_000).unwrap();
            let again = Limiter::load(q, INTERVAL, 1_000_001).unwrap();
            assert_eq!((again.last(), again.wait()), (None, Duration::ZERO));
        });
    }

    #[test]
    fn a_refused_attempt_gives_the_slot_back_but_not_the_one_before_it() {
        with_queue(|q| {
            let mut limiter = Limiter::load(q, INTERVAL, 0).unwrap();
            limiter.begin("first", 1_000_000).unwrap();
            limiter.begin("second", 1_063_000).unwrap();
            limiter.not_used(Duration::from_secs(3), 1_063_100).unwrap();
            assert!(about(limiter.wait(), 3), "{:?}", limiter.wait());
            let again = Limiter::load(q, INTERVAL, 1_063_100).unwrap();
            assert_eq!(again.wait(), Duration::ZERO);
            assert_eq!(again.last().unwrap().what, "first");
        });
    }
}
