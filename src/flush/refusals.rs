//! How long to wait after a request that used no slot and was not refused by the limiter (for that see
//! `turns`): it costs nothing, but no answer makes requests follow each other at once.

mod lasting;

use std::time::{Duration, Instant};

use crate::clickhouse::SinkError;
use lasting::Lasting;

/// First pause once every body is refused, plus up to as much again by chance.
const ALL_TOO_LARGE: Duration = Duration::from_secs(3);

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
            SinkError::TooLarge { .. } => {
                self.too_large = self.too_large.saturating_add(1);
                match self.too_large.checked_sub(SEARCH) {
                    None | Some(0) => TOO_LARGE.min(interval),
                    Some(beyond) => with_chance(grown(ALL_TOO_LARGE, beyond, interval)),
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
