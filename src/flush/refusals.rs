//! How long to wait after a request that used no slot: it costs nothing, unless the proxy counts it.
//!
//! Some limiters count what they refuse (HAProxy's `http_req_rate`): who asks again every few seconds
//! keeps the count up and is refused for ever. So pauses grow until they are as long as a slot and more,
//! whatever `Retry-After` says below that, and no answer makes requests follow each other at once.

mod lasting;

use std::time::{Duration, Instant};

use crate::clickhouse::SinkError;
use lasting::Lasting;

/// First pause after a limiter's 503 or 429, plus up to as much again by chance: several instances may
/// share one address. nginx's limiter does not count what it refuses, so a few tries are for free.
const LIMITED: Duration = Duration::from_secs(3);

/// The pause after a 413 while the limit is searched for: a dozen tries find it.
const TOO_LARGE: Duration = Duration::from_millis(500);

/// So many 413 in a row are no search any more: something refuses every body.
const SEARCH: u32 = 20;

/// First pause after a connection that failed, and the longest.
const UNREACHABLE: Duration = Duration::from_secs(1);
const UNREACHABLE_MOST: Duration = Duration::from_secs(30);

/// Refusals in a row, by kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Refusals {
    limited: u32,
    too_large: u32,
    unreachable: u32,
    /// That no request got through, and since when.
    lasting: Option<Lasting>,
}

impl Refusals {
    /// A request got through.
    pub fn end(&mut self) {
        if let Some(words) = self.lasting.and_then(|l| l.end(Instant::now())) {
            log::info!("{words}");
        }
        *self = Refusals::default();
    }

    /// Logs `e`, after which the next request is made in `pause`: louder once no request has got through
    /// for long.
    pub fn tell(&mut self, e: &SinkError, url: &str, interval: Duration, pause: Duration) {
        let now = Instant::now();
        let lasting = self.lasting.get_or_insert_with(|| Lasting::new(now));
        if let Some((level, words)) = lasting.met(now, e, url, interval, pause) {
            log::log!(level, "{words}");
        }
    }

    /// How long to wait after `e`, which used no slot. `chance` is from 0 to 1.
    pub fn pause(&mut self, e: &SinkError, interval: Duration, chance: f64) -> Duration {
        let with_chance = |pause: Duration| pause + pause.mul_f64(chance);
        match e {
            SinkError::Limited { retry_after, .. } => {
                self.limited = self.limited.saturating_add(1);
                let pause = with_chance(grown(LIMITED, self.limited, interval));
                pause.max(retry_after.unwrap_or_default())
            }
            SinkError::TooLarge { .. } => {
                self.too_large = self.too_large.saturating_add(1);
                match self.too_large.checked_sub(SEARCH) {
                    None | Some(0) => TOO_LARGE.min(interval),
                    Some(beyond) => with_chance(grown(LIMITED, beyond, interval)),
                }
            }
            _ => {
                self.unreachable = self.unreachable.saturating_add(1).min(5);
                let pause = UNREACHABLE * (1 << (self.unreachable - 1));
                with_chance(pause).min(UNREACHABLE_MOST).min(interval)
            }
        }
    }
}

/// `first`, half as long again with each refusal, until it is `most`.
fn grown(first: Duration, times: u32, most: Duration) -> Duration {
    // Beyond 20 times it is an hour and a half, longer than any interval that makes sense.
    let factor = 1.5f64.powi(times.clamp(1, 20) as i32 - 1);
    first.mul_f64(factor).min(most)
}

/// From 0 to 1.
pub fn chance() -> f64 {
    f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(63);

    fn limited(retry_after: Option<u64>) -> SinkError {
        SinkError::Limited {
            retry_after: retry_after.map(Duration::from_secs),
            body_sent: false,
        }
    }

    /// `Retry-After: 0`, or a date that is past, once made 4,284 requests in 7 s.
    #[test]
    fn nobody_can_ask_for_requests_without_a_pause() {
        let mut refusals = Refusals::default();
        let mut waited = Duration::ZERO;
        let mut requests = 0;
        while waited < Duration::from_secs(3600) {
            let retry_after = [None, Some(0), Some(1)][requests % 3];
            let pause = refusals.pause(&limited(retry_after), INTERVAL, 0.0);
            assert!(pause >= LIMITED, "{pause:?}");
            waited += pause;
            requests += 1;
        }
        assert!(requests < 70, "{requests} in an hour");
        assert_eq!(
            refusals.pause(&limited(Some(600)), INTERVAL, 1.0).as_secs(),
            600
        );
        refusals.end();
        assert_eq!(refusals.pause(&limited(Some(0)), INTERVAL, 0.0), LIMITED);
    }

    /// HAProxy's `http_req_rate(60s)` with one request allowed: what it refuses counts as well. Asked
    /// every 3 to 6 s it refused 87 of 89.
    #[test]
    fn a_limiter_that_counts_what_it_refuses_is_waited_out() {
        let mut refusals = Refusals::default();
        let (mut now, mut seen, mut passed) = (0.0, Vec::new(), 0);
        // Somebody else's request, say, comes 20 s after each of ours that passed, and a count begins.
        while now < 3600.0 {
            seen.push(now);
            seen.retain(|at| now - at < 60.0);
            let chance = f64::from(seen.len() as u32 % 10) / 10.0;
            if seen.len() == 1 {
                passed += 1;
                refusals.end();
                now += 20.0;
            } else {
                now += refusals
                    .pause(&limited(None), INTERVAL, chance)
                    .as_secs_f64();
            }
        }
        assert!(passed >= 12, "{passed} in an hour");
    }

    #[test]
    fn a_413_to_everything_is_not_asked_again_at_once() {
        let e = SinkError::TooLarge {
            body_len: 1,
            words: String::new(),
            code: None,
            body_sent: false,
            ambiguous: false,
        };
        let mut refusals = Refusals::default();
        let pauses: Vec<Duration> = (0..60).map(|_| refusals.pause(&e, INTERVAL, 0.0)).collect();
        assert!(pauses[..12].iter().all(|p| *p == TOO_LARGE));
        assert_eq!(pauses[59], INTERVAL);
    }
}
