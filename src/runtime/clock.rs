//! The time: as people set it, and as the machine counts it, for what outlives the process.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A wall clock that differs by so much from what it was has been set.
const SET_MS: u64 = 1000;

/// Settings of the wall clock that are remembered.
const MOST_STRETCHES: usize = 64;

/// How the wall clock of this process was set.
static WALL: Mutex<Wall> = Mutex::new(Wall {
    stretches: Vec::new(),
});

/// Milliseconds of Unix time; 0 before 1970.
pub fn now_ms() -> u64 {
    let mut wall = WALL.lock().unwrap_or_else(PoisonError::into_inner);
    let (before, now, after) = (uptime_ms(), wall_ms(), uptime_ms());
    // Else something else ran in between, and the two say nothing of each other.
    if after - before < SET_MS / 4 {
        wall.note(now, after);
    }
    now
}

/// A moment that [`now_ms`] told, as the wall clock tells it today: with it ages are right, whoever has set the
/// clock since. One from before this process, or to come, stays as it is.
pub fn as_of_now(ms: u64) -> u64 {
    WALL.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_of_now(ms)
}

fn wall_ms() -> u64 {
    unix_ms(SystemTime::now())
}

/// Milliseconds of Unix time at `at`; 0 before 1970.
pub fn unix_ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
}

/// Time since the machine started, suspended or not; nobody sets it.
fn uptime_ms() -> u64 {
    let since = clock_gettime(ClockId::Boottime);
    since.tv_sec as u64 * 1000 + since.tv_nsec as u64 / 1_000_000
}

/// What the wall clock has shown, from each time that it was set to the next.
#[derive(Debug, Default)]
struct Wall {
    stretches: Vec<Stretch>,
}

/// A time in which nobody set it.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// What it showed first and last.
    from: u64,
    to: u64,
    /// How much it is ahead of the machine's uptime.
    ahead: i64,
}

impl Wall {
    fn note(&mut self, wall: u64, uptime: u64) {
        let ahead = wall as i64 - uptime as i64;
        match self.stretches.last_mut() {
            Some(last) if last.ahead.abs_diff(ahead) < SET_MS => last.to = last.to.max(wall),
            _ => {
                if self.stretches.len() >= MOST_STRETCHES {
                    self.stretches.remove(0);
                }
                self.stretches.push(Stretch {
                    from: wall,
                    to: wall,
                    ahead,
                });
            }
        }
    }

    fn as_of_now(&self, ms: u64) -> u64 {
        let shown = |s: &&Stretch| (s.from..=s.to).contains(&ms);
        let then = self.stretches.iter().rev().find(shown);
        match (then, self.stretches.last()) {
            (Some(then), Some(now)) => ms.saturating_add_signed(now.ahead - then.ahead),
            _ => ms,
        }
    }
}

/// A point of Unix time as RFC 3339, in whole seconds.
pub fn rfc3339(ms: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(ms);
    humantime::format_rfc3339_seconds(at).to_string()
}

/// The same with milliseconds.
pub fn rfc3339_millis(ms: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(ms);
    humantime::format_rfc3339_millis(at).to_string()
}

/// A moment by both clocks. How long ago it was can be told after a restart, also if somebody has set
/// the wall clock since; after a reboot the wall clock is all there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Unix time, ms.
    pub wall_ms: u64,
    /// Time since the machine started, which nobody sets; `None` where it is not known.
    pub uptime: Option<Uptime>,
}

/// A time since a start of the machine, suspended or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uptime {
    /// Linux's id of that start.
    pub boot: String,
    /// Milliseconds since.
    pub ms: u64,
}

impl Moment {
    /// This one.
    pub fn now() -> Moment {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        Moment {
            wall_ms: now_ms(),
            uptime: boot.map(|boot| Uptime {
                boot: boot.trim().to_owned(),
                ms: uptime_ms(),
            }),
        }
    }

    /// The time from `earlier` to this moment; nothing if it lies in the future, as after the wall
    /// clock was set back.
    pub fn since(&self, earlier: &Moment) -> Duration {
        let ms = match (&self.uptime, &earlier.uptime) {
            (Some(now), Some(then)) if now.boot == then.boot => now.ms.saturating_sub(then.ms),
            _ => self.wall_ms.saturating_sub(earlier.wall_ms),
        };
        Duration::from_millis(ms)
    }

    /// Whether it lies behind `now`, by the wall clock of another start of the machine.
    pub fn is_to_come(&self, now: &Moment) -> bool {
        let same_boot = match (&self.uptime, &now.uptime) {
            (Some(a), Some(b)) => a.boot == b.boot,
            _ => false,
        };
        !same_boot && self.wall_ms > now.wall_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(wall_ms: u64, boot: &str, ms: u64) -> Moment {
        Moment {
            wall_ms,
            uptime: Some(Uptime {
                boot: boot.into(),
                ms,
            }),
        }
    }

    #[test]
    fn a_wall_clock_that_was_set_does_not_matter_until_a_reboot() {
        let then = moment(1_000_000, "a", 5_000);
        let ms = |now: Moment| now.since(&then).as_millis();
        assert_eq!(ms(moment(1_002_000, "a", 7_000)), 2_000);
        assert_eq!(ms(moment(9_999_999, "a", 7_000)), 2_000);
        assert_eq!(ms(moment(0, "a", 7_000)), 2_000);
        assert_eq!(ms(moment(1_003_000, "b", 1_000)), 3_000);
        assert_eq!(ms(moment(0, "b", 9_000)), 0);
    }

    #[test]
    fn moments_of_before_the_clock_was_set_are_told_by_the_new_one() {
        const DAY: u64 = 86_400_000;
        let mut wall = Wall::default();
        assert_eq!(wall.as_of_now(7), 7);
        // The process begins at 10 days, by an uptime of 1 s.
        for ms in 0..10 {
            wall.note(10 * DAY + ms * 1000, 1000 + ms * 1000);
        }
        assert_eq!(wall.as_of_now(10 * DAY + 5000), 10 * DAY + 5000);
        // A day ahead, 10 s after its begin.
        wall.note(11 * DAY + 10_000, 11_000);
        assert_eq!(wall.as_of_now(10 * DAY + 5000), 11 * DAY + 5000);
        assert_eq!(wall.as_of_now(11 * DAY + 10_000), 11 * DAY + 10_000);
        assert_eq!(wall.as_of_now(10 * DAY - 1), 10 * DAY - 1, "of before");
        // And back, to what it has shown before: what it shows now is taken for now.
        wall.note(10 * DAY + 5000, 12_000);
        wall.note(10 * DAY + 6000, 13_000);
        assert_eq!(wall.as_of_now(11 * DAY + 10_000), 10 * DAY + 4000);
        assert_eq!(wall.as_of_now(10 * DAY + 5500), 10 * DAY + 5500);
        assert_eq!(wall.as_of_now(10 * DAY + 9000), 10 * DAY + 3000);
        // What is remembered has a bound.
        for n in 0..1000 {
            wall.note(20 * DAY + n * DAY * 2, 20_000 + n * DAY);
        }
        assert_eq!(wall.stretches.len(), MOST_STRETCHES);
    }

    #[test]
    fn the_machine_tells_both() {
        let (first, second) = (Moment::now(), Moment::now());
        assert!(first.uptime.is_some());
        assert!(second.since(&first) < Duration::from_secs(60));
    }
}
