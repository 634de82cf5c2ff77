//! When the client is made anew: every partition leaves the group for it, so not more often than it helps.

use std::time::{Duration, Instant};

/// Pause after a new client, which grows while the next one is wanted right behind it.
const FIRST: Duration = Duration::from_secs(10);
const MOST: Duration = Duration::from_secs(160);

/// Pause after a client that could not be made, which grows as well.
const FIRST_FAILED: Duration = Duration::from_secs(1);
const MOST_FAILED: Duration = Duration::from_secs(60);

/// Whether, and from when on, a new client is due.
#[derive(Default)]
pub struct Renewal {
    wanted: bool,
    /// When the last one was made, and the pause behind it.
    made: Option<(Instant, Duration)>,
    /// When one could not be made, and the pause behind that.
    failed: Option<(Instant, Duration)>,
}

impl Renewal {
    /// Something cannot be read with the client that is.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    pub fn is_due(&self, now: Instant) -> bool {
        let is_over =
            |pause: Option<(Instant, Duration)>| pause.is_none_or(|(at, p)| now >= at + p);
        self.wanted && is_over(self.made) && is_over(self.failed)
    }

    /// There is a new client. If it was wanted as soon as the last pause let it, the last one did not help.
    pub fn made(&mut self, now: Instant) {
        let pause = match self.made {
            Some((at, last)) if now < at + last * 2 => (last * 2).min(MOST),
            _ => FIRST,
        };
        *self = Renewal {
            made: Some((now, pause)),
            ..Renewal::default()
        };
    }

    /// None could be made. Returns when it is tried again.
    pub fn failed(&mut self, now: Instant) -> Duration {
        let pause = match self.failed {
            Some((_, last)) => (last * 2).min(MOST_FAILED),
            None => FIRST_FAILED,
        };
        self.failed = Some((now, pause));
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds from each new client to the next, which is wanted so long after each.
    fn pauses(wanted_after: u64) -> Vec<u64> {
        let (mut renewal, mut now) = (Renewal::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let last = now;
            now += Duration::from_secs(wanted_after);
            renewal.want();
            while !renewal.is_due(now) {
                now += Duration::from_secs(1);
            }
            pauses.push((now - last).as_secs());
            renewal.made(now);
            assert!(!renewal.is_due(now + MOST), "nothing wants one");
        }
        pauses
    }

    #[test]
    fn new_clients_that_do_not_help_become_rare() {
        assert_eq!(pauses(1), [1, 10, 20, 40, 80, 160, 160, 160]);
        assert_eq!(pauses(600), [600; 8]);
    }

    #[test]
    fn a_client_that_cannot_be_made_is_tried_again_with_growing_pauses() {
        let (mut renewal, mut now) = (Renewal::default(), Instant::now());
        renewal.want();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert!(renewal.is_due(now));
            let pause = renewal.failed(now);
            assert!(!renewal.is_due(now));
            pauses.push(pause.as_secs());
            now += pause;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        renewal.made(now);
        renewal.want();
        assert!(renewal.is_due(now + FIRST));
    }
}
