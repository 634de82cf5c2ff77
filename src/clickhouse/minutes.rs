//! How many rows ClickHouse has of each minute, or day, of their own time.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::SinkError;
use super::sql::{quote, within};
use crate::row::minutes::Span;

/// Rows of which record times are asked for, and how finely. All are seconds of Unix time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinutesQuery {
    /// Rows of these seconds.
    pub range: Range<u64>,
    /// By the minute within these, by UTC day elsewhere. **Whole days**, so that an answer's start
    /// tells which it is.
    pub fine: Range<u64>,
}

impl MinutesQuery {
    /// One SELECT, which reads the column `timestamp` alone. Its answer goes to
    /// [`parse`](Self::parse).
    ///
    /// Arithmetic on seconds instead of `toStartOfMinute`: no time zone of the server or the column
    /// has a say.
    pub fn sql(&self, database: &str, table: &str) -> String {
        let last = |end: u64| end.saturating_sub(1).min(u64::from(u32::MAX));
        let MinutesQuery { range, fine } = self;
        format!(
            "SELECT if(toUnixTimestamp(timestamp) >= {} AND toUnixTimestamp(timestamp) < {}, \
             intDiv(toUnixTimestamp(timestamp), 60) * 60, \
             intDiv(toUnixTimestamp(timestamp), 86400) * 86400) AS start, count() \
             FROM {}.{} WHERE {} \
             GROUP BY start ORDER BY start FORMAT TabSeparated",
            fine.start,
            fine.end,
            quote(database),
            quote(table),
            within("timestamp", range.start, last(range.end))
        )
    }

    /// Reads the answer to [`sql`](Self::sql): the minutes and days that have rows, in order.
    ///
    /// # Errors
    /// [`SinkError::Hold`] if it is none.
    pub fn parse(&self, answer: &str) -> Result<Vec<(Span, u64)>, SinkError> {
        let line = |line: &str| {
            let (start, rows) = line.split_once('\t')?;
            let start: u32 = start.parse().ok()?;
            let fine = self.fine.contains(&u64::from(start));
            let seconds = if fine { 60 } else { 86_400 };
            start
                .is_multiple_of(seconds)
                .then_some((Span { start, seconds }, rows.parse().ok()?))
        };
        let all = answer.lines().map(|l| line(l).ok_or(l));
        all.collect::<Result<_, &str>>()
            .map_err(|line| SinkError::Hold {
                code: None,
                words: format!(
                    "cannot read the counts: {:?}",
                    line.chars().take(200).collect::<String>()
                ),
                ambiguous: false,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: MinutesQuery = MinutesQuery {
        range: 0..1 << 33,
        fine: 86_400..2 * 86_400,
    };

    #[test]
    fn an_answer_is_minutes_within_and_days_without() {
        let spans = QUERY
            .parse("0\t7\n86400\t2\n86460\t1\n172800\t3\n")
            .unwrap();
        let of = |start, seconds, rows| (Span { start, seconds }, rows);
        assert_eq!(
            spans,
            [
                of(0, 86_400, 7),
                of(86_400, 60, 2),
                of(86_460, 60, 1),
                of(172_800, 86_400, 3)
            ]
        );
        for bad in ["<html>", "60\t1", "86401\t1", "86400\tx", "86400 1"] {
            assert!(QUERY.parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_bounds_are_such_that_datetime_holds_them() {
        let sql = QUERY.sql("de`fault", "http_log");
        assert!(sql.contains("FROM `de\\`fault`.`http_log`"), "{sql}");
        assert!(sql.contains(" BETWEEN 0 AND 4294967295"), "{sql}");
    }

    #[test]
    fn no_time_zone_of_the_server_or_of_a_partition_key_has_a_say() {
        let sql = QUERY.sql("default", "http_log");
        let condition = sql.split("WHERE").nth(1).unwrap();
        assert!(!condition.contains("toDateTime"), "{sql}");
    }
}
