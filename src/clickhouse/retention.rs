//! The DDL with an end: TTL clauses, for those who decide that rows may go. The files have none.
//!
//! Removing rows out of a table by year would write the year's parts anew again and again. So a table
//! with a TTL has a partition a day or a month, all rows of which expire at one moment: then parts are
//! dropped whole, which costs nothing. The partitions are counted modulo the retention, so that
//! timestamps from anywhere cannot cost thousands of them.

use std::time::Duration;

use super::schema::{ObjectKind, SchemaObject};
use crate::runtime::span;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Beyond these days a partition is a month.
const DAYS_OF_PARTITIONS: u64 = 60;
/// Days from the start of a row's partition that it stays beyond the retention: one for the rest of
/// its own day, and one for a server in another time zone.
const DAY_TTL: u64 = 2;
/// The same where a partition is a month.
const MONTH_TTL: u64 = 32;
/// What every table of the files has; the column and its time zone follow.
const BY_YEAR: &str = "PARTITION BY toYear(";

/// How long rows are kept at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention(u64);

impl Retention {
    /// From one day to 40 years, in whole days, rounded up. `Date`, which the TTL is computed in, ends
    /// 43 years after `DateTime`.
    ///
    /// # Errors
    /// What would be taken, in words that follow "is not".
    pub fn parse(text: &str) -> Result<Self, String> {
        let accepted = || "a time from 1d to 40y, such as 30d, 6months or 2y".to_string();
        let time = span::within(text, DAY, DAY * 40 * 366).ok_or_else(accepted)?;
        Ok(Self(time.as_secs().div_ceil(DAY.as_secs())))
    }

    /// In days.
    pub fn days(self) -> u64 {
        self.0
    }

    /// In days, for the disk: how long the first row of a partition stays, which goes with its last.
    pub fn most_days(self) -> u64 {
        if self.0 <= DAYS_OF_PARTITIONS {
            self.0 + DAY_TTL
        } else {
            self.0 + MONTH_TTL
        }
    }

    /// The table with this TTL. `None` if it is no table of the files.
    pub fn apply(self, table: &SchemaObject) -> Option<String> {
        if table.kind != ObjectKind::Table {
            return None;
        }
        let (before, rest) = table.sql.split_once(BY_YEAR)?;
        let (arguments, after) = rest.split_once(')')?;
        let column = arguments.split(',').next()?;
        let days = self.0;
        let (number, partitions, start, ttl) = if days <= DAYS_OF_PARTITIONS {
            ("toRelativeDayNum", days + 8, "toDate", days + DAY_TTL)
        } else {
            let months = days / 28 + 4;
            (
                "toRelativeMonthNum",
                months,
                "toStartOfMonth",
                days + MONTH_TTL,
            )
        };
        let (order, settings) = after.split_once("\nSETTINGS")?;
        Some(format!(
            "{before}PARTITION BY {number}({column}, 'UTC') % {partitions}{order}\n\
             TTL {start}({column}, 'UTC') + toIntervalDay({ttl})\nSETTINGS{settings}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::Schema;
    use super::*;

    #[test]
    fn times_are_days_or_refused() {
        let f = |text: &str, want: Option<u64>| {
            assert_eq!(
                Retention::parse(text).ok().map(Retention::days),
                want,
                "{text}"
            );
        };
        f("30d", Some(30));
        f("36h", Some(2));
        f("2y", Some(731));
        f("40y", Some(14_610));
        for bad in ["", "23h", "41y", "30", "-1d", "forever"] {
            f(bad, None);
        }
    }

    /// Else a change of the server's time zone hides rows from whoever asks for a time.
    #[test]
    fn every_partition_is_of_utc_with_and_without_an_end() {
        for object in Schema::new("default", "edge").unwrap().objects() {
            let with_end = [30, 731].map(|days| Retention(days).apply(object));
            for sql in with_end.into_iter().flatten().chain([object.sql.clone()]) {
                let key = sql.lines().find(|line| line.contains("PARTITION BY"));
                assert!(key.is_none_or(|key| key.contains(", 'UTC')")), "{key:?}");
                assert_eq!(key.is_some(), object.kind == ObjectKind::Table, "{sql}");
            }
        }
    }

    #[test]
    fn every_table_takes_a_ttl() {
        let schema = Schema::new("default", "edge").unwrap();
        for object in schema.objects() {
            let f = |days: u64, want: &[&str]| {
                let Some(sql) = Retention(days).apply(object) else {
                    assert_ne!(object.kind, ObjectKind::Table, "{}", object.name);
                    return;
                };
                assert!(!sql.contains("toYear"), "{sql}");
                assert!(sql.contains("deduplication_window"), "{sql}");
                let ttl = format!("toIntervalDay({})", Retention(days).most_days());
                assert!(sql.contains(&ttl), "{ttl}: {sql}");
                for part in want {
                    assert!(sql.contains(part), "{part}: {sql}");
                }
            };
            f(30, &["toRelativeDayNum(time", "% 38", "toIntervalDay(32)"]);
            f(
                731,
                &["toRelativeMonthNum(time", "% 30", "toIntervalDay(763)"],
            );
        }
    }
}
