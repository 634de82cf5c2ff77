//! One request a slot, whatever happens: the time of the last attempt is on the disk before the
//! attempt's first byte, so neither a crash nor a restart starts another one early.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::queue::{Queue, QueueError};
use crate::runtime::clock::{Moment, Uptime};

/// Name under which the queue keeps the last [`Attempt`].
const ATTEMPT: &str = "attempt";

/// The last request to the proxy that was not refused by its limiter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it started, Unix ms.
    pub start_ms: u64,
    /// The same by the clock that nobody sets.
    #[serde(default)]
    pub uptime: Option<Uptime>,
    /// What it was: an insert's token, `check`, or a statement's object.
    pub what: String,
    /// How it ended; `None` while it is under way or if the process died.
    pub outcome: Option<String>,
}

impl Attempt {
    fn start(&self) -> Moment {
        Moment {
            wall_ms: self.start_ms,
            uptime: self.uptime.clone(),
        }
    }
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
    /// Takes up where the last process left off. An attempt in the future, as after a reboot with
    /// the clock set back, counts as made now.
    ///
    /// # Errors
    /// [`QueueError`] if the last attempt cannot be read.
    pub fn load(queue: &'a Queue, interval: Duration, now: &Moment) -> Result<Self, QueueError> {
        // Written as null where the very first attempt used no slot.
        let last: Option<Attempt> = queue.load::<Option<Attempt>>(ATTEMPT)?.flatten();
        let wait = last.as_ref().map_or(Duration::ZERO, |a| {
            interval.saturating_sub(now.since(&a.start()))
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
    pub fn begin(&mut self, what: &str, now: Moment) -> Result<(), QueueError> {
        let attempt = Attempt {
            start_ms: now.wall_ms,
            uptime: now.uptime,
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
    pub fn not_used(&mut self, pause: Duration, now: &Moment) -> Result<(), QueueError> {
        self.last = self.before.take();
        self.queue.save(ATTEMPT, &self.last)?;
        let of_before = self.last.as_ref().map_or(Duration::ZERO, |a| {
            self.interval.saturating_sub(now.since(&a.start()))
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
    now: &Moment,
) -> Result<(Option<Attempt>, u64), QueueError> {
    let limiter = Limiter::load(queue, interval, now)?;
    let next = now.wall_ms + limiter.wait().as_millis() as u64;
    Ok((limiter.last, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::fixture::Fixture;

    const INTERVAL: Duration = Duration::from_secs(63);

    fn with_queue(f: impl FnOnce(&Queue)) {
        f(Fixture::new().q());
    }

    /// A moment on a machine whose clock was never set.
    fn at(ms: u64) -> Moment {
        set(ms, ms)
    }

    /// One whose wall clock says something else.
    fn set(wall_ms: u64, ms: u64) -> Moment {
        Moment {
            wall_ms,
            uptime: Some(Uptime {
                boot: "this".into(),
                ms,
            }),
        }
    }

    fn about(got: Duration, want_secs: u64) -> bool {
        let want = Duration::from_secs(want_secs);
        got <= want && got + Duration::from_secs(5) > want
    }

    #[test]
    fn the_first_request_need_not_wait() {
        with_queue(|q| {
            let limiter = Limiter::load(q, INTERVAL, &at(1_000_000)).unwrap();
            assert_eq!(limiter.wait(), Duration::ZERO);
        });
    }

    #[test]
    fn a_restart_right_after_an_attempt_waits_the_rest_of_the_slot() {
        with_queue(|q| {
            let mut limiter = Limiter::load(q, INTERVAL, &at(1_000_000)).unwrap();
            limiter.begin("x", at(1_000_000)).unwrap();
            let again = Limiter::load(q, INTERVAL, &at(1_020_000)).unwrap();
            assert!(about(again.wait(), 43), "{:?}", again.wait());
        });
    }

    #[test]
    fn a_clock_that_was_set_changes_no_slot() {
        for wall_ms in [0, 86_400_000] {
            with_queue(|q| {
                let mut limiter = Limiter::load(q, INTERVAL, &at(1_000_000)).unwrap();
                limiter.begin("x", at(1_000_000)).unwrap();
                let again = Limiter::load(q, INTERVAL, &set(wall_ms, 1_020_000)).unwrap();
                assert!(about(again.wait(), 43), "{:?}", again.wait());
            });
        }
    }

    #[test]
    fn an_attempt_in_the_future_of_another_boot_is_clamped_to_one_interval() {
        with_queue(|q| {
            let mut limiter = Limiter::load(q, INTERVAL, &at(9_000_000)).unwrap();
            limiter.begin("x", at(9_000_000)).unwrap();
            let mut now = at(1_000_000);
            now.uptime = None;
            let again = Limiter::load(q, INTERVAL, &now).unwrap();
            assert!(about(again.wait(), 63), "{:?}", again.wait());
        });
    }

    /// Such a data dir once did not open again: `null` was not read as an attempt.
    #[test]
    fn a_first_attempt_that_used_no_slot_leaves_none_behind() {
        with_queue(|q| {
            let mut limiter = Limiter::load(q, INTERVAL, &at(0)).unwrap();
            limiter.begin("first", at(1_000_000)).unwrap();
            limiter.not_used(Duration::ZERO, &at(1_000_000)).unwrap();
            let again = Limiter::load(q, INTERVAL, &at(1_000_001)).unwrap();
            assert_eq!((again.last(), again.wait()), (None, Duration::ZERO));
        });
    }

    #[test]
    fn a_refused_attempt_gives_the_slot_back_but_not_the_one_before_it() {
        with_queue(|q| {
            let mut limiter = Limiter::load(q, INTERVAL, &at(0)).unwrap();
            limiter.begin("first", at(1_000_000)).unwrap();
            limiter.begin("second", at(1_063_000)).unwrap();
            limiter
                .not_used(Duration::from_secs(3), &at(1_063_100))
                .unwrap();
            assert!(about(limiter.wait(), 3), "{:?}", limiter.wait());
            let again = Limiter::load(q, INTERVAL, &at(1_063_100)).unwrap();
            assert_eq!(again.wait(), Duration::ZERO);
            assert_eq!(again.last().unwrap().what, "first");
        });
    }
}
