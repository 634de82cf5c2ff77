//! How many rows ClickHouse takes in the time that an answer may take.
//!
//! An insert that outlasts `request_timeout`, or the proxy's own patience (nginx: 60 s), is stored and
//! not known to be; sent again it takes as long again. So batches stay well below that.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An insert is planned to take at most this part of the time that it may take.
const PART: f64 = 0.5;

/// One that took less than this part could have had several times the rows.
const QUICK: f64 = 0.1;

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
    /// The last insert was not answered, though of so few rows that they were not the reason.
    #[serde(default)]
    hung: bool,
}

impl Pace {
    /// An insert of `rows` rows took `elapsed` of the `timeout` that it had.
    pub fn stored(&mut self, rows: u64, elapsed: Duration, timeout: Duration) {
        self.hung = false;
        if rows < TELLING_ROWS {
            return;
        }
        let now = elapsed.as_secs_f64() / rows as f64;
        self.seconds_a_row = now.max(0.8 * self.seconds_a_row + 0.2 * now);
        // A server that was slow once is tried with more again: with much more where it was quick.
        let is_quick = elapsed < timeout.mul_f64(QUICK);
        let more = |c: u64| c.saturating_add(if is_quick { c } else { c / 4 });
        self.ceiling = self
            .ceiling
            .map(|c| if rows >= c / 2 { more(c) } else { c });
    }

    /// An insert of `rows` rows was not answered within `timeout`. Of far fewer rows than it takes in that
    /// time a second one in a row is needed: a server that hangs once says nothing of how many it takes, one
    /// that became slow does not answer the next one either.
    pub fn unanswered(&mut self, rows: u64, timeout: Duration) {
        let is_known = self.seconds_a_row > 0.0;
        let should_pass = is_known && rows <= self.rows_within(timeout.mul_f64(PART)) / 2;
        if should_pass && !std::mem::replace(&mut self.hung, true) {
            return;
        }
        self.too_many(rows);
    }

    /// So many rows are too many for it.
    pub fn too_many(&mut self, rows: u64) {
        let half = (rows / 2).max(LEAST_ROWS);
        self.ceiling = Some(self.ceiling.map_or(half, |c| c.min(half)));
    }

    /// Most rows of an insert that is answered well within `timeout`, and at most `max`.
    pub fn rows(&self, timeout: Duration, max: u64) -> u64 {
        let in_time = self.rows_within(timeout.mul_f64(PART));
        let ceiling = self.ceiling.unwrap_or(u64::MAX);
        in_time.min(ceiling).max(LEAST_ROWS).min(max)
    }

    fn rows_within(&self, time: Duration) -> u64 {
        if self.seconds_a_row > 0.0 {
            (time.as_secs_f64() / self.seconds_a_row) as u64
        } else {
            u64::MAX
        }
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
        pace.stored(100_000, Duration::from_secs(10), TIMEOUT);
        assert_eq!(pace.rows(TIMEOUT, 1_000_000), 300_000);
        // Few rows say nothing.
        pace.stored(10, Duration::from_secs(10), TIMEOUT);
        assert_eq!(pace.rows(TIMEOUT, 1_000_000), 300_000);
        // It is slower at once, and faster by and by.
        pace.stored(100_000, Duration::from_secs(20), TIMEOUT);
        assert_eq!(pace.rows(TIMEOUT, 1_000_000), 150_000);
        pace.stored(100_000, Duration::from_secs(1), TIMEOUT);
        assert!((150_000..250_000).contains(&pace.rows(TIMEOUT, 1_000_000)));
    }

    #[test]
    fn an_insert_without_answer_halves_the_next_and_answers_bring_it_back() {
        let mut pace = Pace::default();
        pace.unanswered(800_000, TIMEOUT);
        assert_eq!(pace.rows(TIMEOUT, 1_000_000), 400_000);
        pace.unanswered(400_000, TIMEOUT);
        assert_eq!(pace.rows(TIMEOUT, 1_000_000), 200_000);
        for _ in 0..10 {
            let rows = pace.rows(TIMEOUT, 1_000_000);
            pace.stored(rows, Duration::from_millis(rows / 100), TIMEOUT);
        }
        assert_eq!(pace.rows(TIMEOUT, 1_000_000), 1_000_000);
    }

    #[test]
    fn the_bound_never_stops_the_flow() {
        let mut pace = Pace::default();
        for _ in 0..50 {
            pace.unanswered(pace.rows(TIMEOUT, 1_000_000), TIMEOUT);
        }
        pace.stored(10_000, Duration::from_secs(600), TIMEOUT);
        assert_eq!(pace.rows(TIMEOUT, 1_000_000), LEAST_ROWS);
    }

    /// A soak found it: for an hour after one insert that hung, the next ones were small.
    #[test]
    fn a_small_insert_that_hangs_once_does_not_bound_the_next() {
        let mut pace = Pace::default();
        pace.stored(172_985, Duration::from_millis(7200), TIMEOUT);
        let before = pace.rows(TIMEOUT, 1_000_000);
        pace.unanswered(16_306, TIMEOUT);
        assert_eq!(pace.rows(TIMEOUT, 1_000_000), before);
        // Nor do two that were not one after the other.
        pace.stored(16_306, Duration::from_millis(600), TIMEOUT);
        pace.unanswered(16_306, TIMEOUT);
        assert!(pace.rows(TIMEOUT, 1_000_000) >= before);
        pace.unanswered(16_306, TIMEOUT);
        assert_eq!(pace.rows(TIMEOUT, 1_000_000), LEAST_ROWS);
        // Quick again, it has its bound back within some inserts.
        for _ in 0..7 {
            let rows = pace.rows(TIMEOUT, 1_000_000);
            pace.stored(rows, Duration::from_millis(rows / 100), TIMEOUT);
        }
        assert!(pace.rows(TIMEOUT, 1_000_000) >= before);
    }
}
