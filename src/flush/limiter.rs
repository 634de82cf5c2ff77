//! One request a slot, whatever happens: the time of the last attempt is on the disk before the
//! attempt's first byte, so neither a crash nor a restart starts another one early. Several instances take
//! turns ([`Turns`]).

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::refusals::chance;
use super::turns::{At, Kept, Turns};
use crate::clickhouse::Heard;
use crate::queue::{Queue, QueueError};
use crate::runtime::clock::{Moment, Uptime, now_ms};

/// Name under which the queue keeps the last [`Attempt`].
const ATTEMPT: &str = "attempt";

/// Name under which it keeps what is known of others at the proxy.
const TURNS: &str = "turns";

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
    turns: Turns,
    kept: Kept,
    /// What [`Turns`] counts from, and when the attempt under way began.
    origin: Instant,
    began: Instant,
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
        let since = last.as_ref().map(|a| now.since(&a.start()));
        let wait = since.map_or(Duration::ZERO, |since| interval.saturating_sub(since));
        let origin = Instant::now();
        let last_ms = since.map(|since| -millis(since));
        let kept = queue.load(TURNS)?;
        let mut turns = Turns::new(millis(interval), last_ms, kept);
        let at = At {
            steady: 0,
            wall: now.wall_ms as i64,
        };
        let turn = Duration::from_millis(turns.resumes(at, &mut chance).max(0) as u64);
        Ok(Limiter {
            queue,
            interval,
            last,
            before: None,
            free_at: origin + wait.max(turn),
            kept: turns.kept(),
            turns,
            origin,
            began: origin,
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
        let at = self.at(attempt.start_ms);
        self.queue.save(ATTEMPT, &attempt)?;
        self.queue.sync()?;
        self.before = self.last.replace(attempt);
        let late = Instant::now().saturating_duration_since(self.free_at);
        self.turns.begins(at, millis(late));
        self.began = Instant::now();
        self.free_at = self.began + self.interval;
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
        let began = millis(self.began - self.origin);
        let next = self.turns.accepted(began, self.at(now_ms()), &mut chance);
        self.next_at(next);
        self.keep_turns()
    }

    /// The proxy's limiter refused the attempt, which used no slot. Another may start after the time that is
    /// returned, and not before the server's `retry_after`.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn refused(&mut self, retry_after: Duration, now: &Moment) -> Result<Duration, QueueError> {
        let next = self.turns.refused(self.at(now.wall_ms), &mut chance);
        let steady = millis(self.origin.elapsed());
        let pause = Duration::from_millis((next - steady).max(0) as u64).max(retry_after);
        self.not_used(pause, now)?;
        self.keep_turns()?;
        Ok(self.wait())
    }

    /// What an answer said of the proxy's clock.
    pub fn heard(&mut self, heard: &Heard) {
        let ms = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
        self.turns
            .heard(ms(heard.sent_ms), ms(heard.heard_ms), ms(heard.date_ms));
    }

    /// About how many share the proxy's slot, this instance included.
    pub fn sharers(&self) -> u32 {
        self.turns.sharers()
    }

    fn at(&self, wall_ms: u64) -> At {
        At {
            steady: millis(self.origin.elapsed()),
            wall: wall_ms as i64,
        }
    }

    fn next_at(&mut self, steady: i64) {
        let next = self.origin + Duration::from_millis(steady.max(0) as u64);
        self.free_at = self.free_at.max(next);
    }

    fn keep_turns(&mut self) -> Result<(), QueueError> {
        let kept = self.turns.kept();
        if kept != self.kept {
            self.kept = kept;
            self.queue.save(TURNS, &kept)?;
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

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
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

    /// `Retry-After: 0`, or a date that is past, once made 4,284 requests in 7 s.
    #[test]
    fn nobody_can_ask_for_requests_without_a_pause() {
        with_queue(|q| {
            let mut limiter = Limiter::load(q, INTERVAL, &at(0)).unwrap();
            for secs in [0, 0, 0, 600] {
                limiter.begin("x", at(1_000_000)).unwrap();
                let asked = Duration::from_secs(secs);
                let pause = limiter.refused(asked, &at(1_000_000)).unwrap();
                assert!(pause >= Duration::from_secs(2), "{pause:?}");
                assert!(pause + Duration::from_secs(5) >= asked, "{pause:?}");
            }
        });
    }

    #[test]
    fn that_the_slot_is_shared_is_known_after_a_restart() {
        with_queue(|q| {
            let mut limiter = Limiter::load(q, INTERVAL, &at(1_000_000)).unwrap();
            limiter.begin("x", at(1_000_000)).unwrap();
            limiter.refused(Duration::ZERO, &at(1_000_000)).unwrap();
            limiter.begin("x", at(1_004_000)).unwrap();
            limiter.ended("stored").unwrap();
            assert_eq!(limiter.sharers(), 2);
            let again = Limiter::load(q, INTERVAL, &at(1_004_000)).unwrap();
            assert_eq!(again.sharers(), 2);
            assert!(again.wait() >= INTERVAL - Duration::from_secs(5));
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
