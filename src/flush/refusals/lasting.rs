//! Requests that do not get through for long: one refusal is nothing, sixty in a row are for a person to
//! look at.

use std::time::{Duration, Instant};

use log::Level;

use crate::clickhouse::SinkError;
use crate::runtime::clock::{now_ms, rfc3339};
use crate::runtime::logging::grouped;

/// After so many slots it is no accident: others may have taken one or two.
const SLOTS: u32 = 3;

/// How often it is told then.
const EVERY: Duration = Duration::from_secs(60);

/// That no request got through, since when, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Lasting {
    since: Instant,
    since_ms: u64,
    times: u64,
    /// When it was told that it lasts.
    told: Option<Instant>,
}

impl Lasting {
    /// It begins.
    pub fn new(now: Instant) -> Lasting {
        Lasting {
            since: now,
            since_ms: now_ms(),
            times: 0,
            told: None,
        }
    }

    /// A request did not get through. What is to be said of it, if anything; `pause` is the time to the
    /// next one.
    pub fn met(
        &mut self,
        now: Instant,
        e: &SinkError,
        url: &str,
        interval: Duration,
        pause: Duration,
    ) -> Option<(Level, String)> {
        self.times += 1;
        let is_limiter = matches!(e, SinkError::Limited { .. });
        let pause = pause.as_secs();
        if now - self.since <= interval.saturating_mul(SLOTS) {
            return Some(match is_limiter {
                true => {
                    let words = format!("the proxy's limiter refused; trying again in {pause} s");
                    (Level::Info, words)
                }
                false => (
                    Level::Warn,
                    format!("cannot reach {url}: {e}; trying again"),
                ),
            });
        }
        if self.told.is_some_and(|told| now < told + EVERY) {
            return None;
        }
        self.told = Some(now);
        let last = match is_limiter {
            true => "the proxy's limiter refuses".to_owned(),
            false => format!("{url} cannot be reached: {e}"),
        };
        let look = match is_limiter {
            true => format!(
                "Look what else takes slots of the proxy, and whether its limit passes a request each {} \
                 (flush_interval)",
                humantime::format_duration(interval)
            ),
            false => "Look whether the proxy and ClickHouse run, and at the network".to_owned(),
        };
        Some((
            Level::Warn,
            format!(
                "no request got through since {} ({}, {} tries): {last}. Nothing is lost, rows wait on \
                 the disk. {look}; trying again in {pause} s",
                rfc3339(self.since_ms),
                self.lasted(now),
                grouped(self.times),
            ),
        ))
    }

    /// A request got through. What is to be said, if it was told that none did.
    pub fn end(&self, now: Instant) -> Option<String> {
        self.told?;
        Some(format!(
            "a request got through, after {} and {} tries in vain",
            self.lasted(now),
            grouped(self.times)
        ))
    }

    fn lasted(&self, now: Instant) -> humantime::FormattedDuration {
        humantime::format_duration(Duration::from_secs((now - self.since).as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(63);

    fn limited() -> SinkError {
        SinkError::Limited {
            retry_after: None,
            body_sent: false,
        }
    }

    /// A limiter that refused 61 times in 4 minutes once said so in INFO alone.
    #[test]
    fn a_limiter_that_goes_on_refusing_is_warned_of_with_since_when_and_how_often() {
        let start = Instant::now();
        let mut lasting = Lasting::new(start);
        let mut told = Vec::new();
        for s in (0..600).step_by(4) {
            let now = start + Duration::from_secs(s);
            let pause = Duration::from_secs(4);
            if let Some((level, words)) = lasting.met(now, &limited(), "http://p", INTERVAL, pause)
            {
                told.push((s, level, words));
            }
        }
        let loud: Vec<_> = told.iter().filter(|t| t.1 == Level::Warn).collect();
        let at: Vec<u64> = loud.iter().map(|t| t.0).collect();
        assert_eq!(at, [192, 252, 312, 372, 432, 492, 552]);
        // 3 slots of 63 s are 189 s.
        assert!(told.iter().all(|t| t.1 == Level::Warn || t.0 <= 189));
        let words = &loud[1].2;
        for part in [
            &rfc3339(lasting.since_ms)[..],
            "(4m 12s, 64 tries)",
            "limiter refuses",
            "Nothing is lost",
            "each 1m 3s (flush_interval)",
            "trying again in 4 s",
        ] {
            assert!(words.contains(part), "no {part:?} in {words}");
        }
        let end = start + Duration::from_secs(600);
        let words = lasting.end(end).unwrap();
        assert_eq!(
            words,
            "a request got through, after 10m and 150 tries in vain"
        );
    }

    #[test]
    fn what_is_soon_over_is_no_matter() {
        let start = Instant::now();
        let mut lasting = Lasting::new(start);
        let pause = Duration::from_secs(4);
        let (level, words) = lasting
            .met(start, &limited(), "http://p", INTERVAL, pause)
            .unwrap();
        assert_eq!(level, Level::Info);
        assert_eq!(words, "the proxy's limiter refused; trying again in 4 s");
        assert_eq!(lasting.end(start), None);
    }
}
