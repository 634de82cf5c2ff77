//! The time: as people set it, and as the machine counts it, for what outlives the process.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Milliseconds of Unix time; 0 before 1970.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
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
        let since = clock_gettime(ClockId::Boottime);
        Moment {
            wall_ms: now_ms(),
            uptime: boot.map(|boot| Uptime {
                boot: boot.trim().to_owned(),
                ms: since.tv_sec as u64 * 1000 + since.tv_nsec as u64 / 1_000_000,
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
    fn the_machine_tells_both() {
        let (first, second) = (Moment::now(), Moment::now());
        assert!(first.uptime.is_some());
        assert!(second.since(&first) < Duration::from_secs(60));
    }
}
