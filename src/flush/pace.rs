//! How many rows ClickHouse takes in the time that an answer may take.
//!
//! An insert that outlasts `request_timeout`, or the proxy's own patience (nginx: 60 s), is stored and
//! not known to be; sent again it takes as long again. So batches stay well below that.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An insert is planned to take at most this part of the time that it may take.
const PART: f64 = 0.5;

/// Inserts of fewer rows say more of the way than of ClickHouse.
const TELLING_ROWS: u64 = 10_000;

/// No bound falls below this.
const LEAST_ROWS: u64 = 10_000;

/// What is known of ClickHouse's speed. Kept in the data dir between runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Seconds that a row takes, the slower ones counting more.
    seconds_a_row: f64,
    /// Most rows since an insert was not answered in time.
    ceiling: Option<u64>,
}

impl Pace {
    /// An insert of `rows` rows took `elapsed`.
    pub fn stored(&mut self, rows: u64, elapsed: Duration) {
        if rows < TELLING_ROWS {
            return;
        }
        let now = elapsed.as_secs_f64() / rows as f64;
        self.seconds_a_row = now.max(0.8 * self.seconds_a_row + 0.2 * now);
        // A server that was slow once is tried with more again.
        self.ceiling = self
            .ceiling
            .map(|c| if rows >= c / 2 { c + c / 4 } else { c });
    }

    /// An insert of `rows` rows was not answered in time.
    pub fn unanswered(&mut self, rows: u64) {
        let half = (rows / 2).max(LEAST_ROWS);
        self.ceiling = Some(self.ceiling.map_or(half, |c| c.min(half)));
    }

    /// Most rows of an insert that is answered well within `timeout`, and at most `max`.
    pub fn rows(&self, timeout: Duration, max: u64) -> u64 {
        let in_time = if self.seconds_a_row > 0.0 {
            (timeout.as_secs_f64() * PART / self.seconds_a_row) as u64
        } else {
            u64::MAX
        };
        let ceiling = self.ceiling.unwrap_or(u64::MAX);
        in_time.min(ceiling).max(LEAST_ROWS).min(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    #[test]
    fn an_unknown_server_gets_all() {
        assert_eq!(Pace::default().rows(TIMEOUT, 1_000_000), 1_000_000);
    }

    #[test]
    fn a_slow_server_gets_what_it_takes_in_half_the_time() {
        let mut pace = Pace::default();
        pace.stored(100_000, Duration::from_secs(10));
        assert_eq!(pace.rows(TIMEOUT, 1_000_000), 300_000);
        // Few rows say nothing.
        pace.stored(10, Duration::from_secs(10));
        assert_eq!(pace.rows(TIMEOUT, 1_000_000), 300_000);
        // It is slower at once, and faster by and by.
        pace.stored(100_000, Duration::from_secs(20));
        assert_eq!(pace.rows(TIMEOUT, 1_000_000), 150_000);
        pace.stored(100_000, Duration::from_secs(1));
        assert!((150_000..250_000).contains(&pace.rows(TIMEOUT, 1_000_000)));
    }

    #[test]
    fn an_insert_without_answer_halves_the_next_and_answers_bring_it_back() {
        let mut pace = Pace::default();
        pace.unanswered(800_000);
        assert_eq!(pace.rows(TIMEOUT, 1_000_000), 400_000);
        pace.unanswered(400_000);
        assert_eq!(pace.rows(TIMEOUT, 1_000_000), 200_000);
        for _ in 0..20 {
            let rows = pace.rows(TIMEOUT, 1_000_000);
            pace.stored(rows, Duration::from_millis(rows / 100));
        }
        assert_eq!(pace.rows(TIMEOUT, 1_000_000), 1_000_000);
    }

    #[test]
    fn the_bound_never_stops_the_flow() {
        let mut pace = Pace::default();
        for _ in 0..50 {
            pace.unanswered(pace.rows(TIMEOUT, 1_000_000));
        }
        pace.stored(10_000, Duration::from_secs(600));
        assert_eq!(pace.rows(TIMEOUT, 1_000_000), LEAST_ROWS);
    }
}
