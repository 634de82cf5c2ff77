//! Whether ClickHouse has certain rows, in the raw table and in the totals: one SELECT, as lines beside
//! those of the schema check.
//!
//! Rows are told by a hash of their content. Of the totals nothing can be told by row, so they are added
//! up: over the hours and days of the rows they must have as many requests as the raw table has rows, of
//! whatever batch.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::sql::{quote, text, within};
use crate::row::CONTENT_HASH_SQL;

const HOUR: u32 = 3600;
const DAY: u32 = 86_400;

/// Tables of the totals by the end of their names: is it made of hours, and of days? The raw table has
/// hours; the totals by the minute join both kinds.
const TOTALS: &[(&str, bool, bool)] = &[
    ("_totals", true, true),
    ("_1m", true, false),
    ("_1h", true, false),
    ("_totals_1d", false, true),
    ("_address_1d", false, true),
    ("_1d", false, true),
];

/// Which rows are asked for.
#[derive(Debug, Clone)]
pub struct PresenceQuery<'a> {
    /// The raw table's database.
    pub database: &'a str,
    /// The raw table.
    pub table: &'a str,
    /// The id of the insert that may still run.
    pub query_id: &'a str,
    /// Content hashes of the rows.
    pub hashes: Vec<u64>,
    /// Their times.
    pub times: BTreeSet<u32>,
    /// `bytes_sent` of them: a cheap way past most other rows.
    pub bytes_sent: BTreeSet<u64>,
    /// Hours of Unix time in which the batch has rows.
    pub hours: BTreeSet<u32>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// How often each row asked for is there.
    pub rows: BTreeMap<u64, u64>,
    /// Whether the insert still runs.
    pub running: bool,
    /// Names of totals that do not agree with the raw rows, or with those that they are made from.
    pub disagree: Vec<String>,
}

#[derive(Deserialize)]
struct Line {
    kind: String,
    name: String,
    fields: BTreeMap<String, String>,
}

impl PresenceQuery<'_> {
    /// The SELECTs, for `Schema::check_query_and`.
    pub fn parts(&self) -> Vec<String> {
        let mut parts = vec![self.running(), self.rows()];
        parts.push(self.sums(self.table, "timestamp", "countIf(", true, false));
        for (end, hours, days) in TOTALS {
            let table = format!("{}{end}", self.table);
            parts.push(self.sums(&table, "time", "sumIf(requests, ", *hours, *days));
        }
        parts
    }

    fn running(&self) -> String {
        let id = text(self.query_id);
        format!(
            "SELECT 'running' AS kind, '' AS name, map('n', toString(count())) AS fields \
             FROM system.processes WHERE query_id = {id}"
        )
    }

    fn rows(&self) -> String {
        let (from, to) = bounds(&self.times);
        format!(
            "SELECT 'row' AS kind, toString({CONTENT_HASH_SQL}) AS name, \
             map('n', toString(count())) AS fields FROM {}.{} \
             WHERE {} \
             AND toUnixTimestamp(timestamp) IN ({}) AND bytes_sent IN ({}) \
             AND {CONTENT_HASH_SQL} IN ({}) GROUP BY name",
            quote(self.database),
            quote(self.table),
            within("timestamp", from.into(), to.into()),
            list(&self.times),
            list(&self.bytes_sent),
            list(&self.hashes),
        )
    }

    /// A table's rows or requests over the hours, and over the days that they are of.
    fn sums(&self, table: &str, time: &str, what: &str, hours: bool, days: bool) -> String {
        let day_set: BTreeSet<u32> = self.hours.iter().map(|h| h * HOUR / DAY).collect();
        let (first, last) = bounds(&day_set);
        let sum = |wanted: bool, length: u32, of: String| match wanted {
            true => format!("toString({what}intDiv(toUnixTimestamp({time}), {length}) IN ({of})))"),
            false => "''".to_owned(),
        };
        format!(
            "SELECT 'sum' AS kind, '{table}' AS name, map('hours', {}, 'days', {}) AS fields \
             FROM {}.{} WHERE {}",
            sum(hours, HOUR, list(&self.hours)),
            sum(days, DAY, list(&day_set)),
            quote(self.database),
            quote(table),
            within(
                time,
                (first * DAY).into(),
                last.saturating_mul(DAY).saturating_add(DAY - 1).into(),
            ),
        )
    }
}

impl Evidence {
    /// Reads the lines that [`PresenceQuery::parts`] asked for, among others.
    ///
    /// `None` if they are not all there.
    pub fn parse(answer: &str, table: &str) -> Option<Evidence> {
        let mut found = Evidence::default();
        let (mut asked, mut sums) = (false, BTreeMap::new());
        for line in answer.lines() {
            let Line { kind, name, fields } = serde_json::from_str(line).ok()?;
            let number = |name: &str| fields.get(name)?.parse::<u64>().ok();
            match kind.as_str() {
                "running" => {
                    asked = true;
                    found.running = number("n")? > 0;
                }
                "row" => {
                    found.rows.insert(name.parse().ok()?, number("n")?);
                }
                "sum" => {
                    sums.insert(name, (number("hours"), number("days")));
                }
                _ => {}
            }
        }
        let (raw, _) = *sums.get(table)?;
        let (_, days) = *sums.get(&format!("{table}_totals"))?;
        for (end, by_hour, by_day) in TOTALS {
            let name = format!("{table}{end}");
            let (h, d) = *sums.get(&name)?;
            let hours_differ = *by_hour && h? != raw?;
            let days_differ = *by_day && d? != days?;
            if hours_differ || days_differ {
                found.disagree.push(name);
            }
        }
        asked.then_some(found)
    }
}

fn bounds(of: &BTreeSet<u32>) -> (u32, u32) {
    let first = of.first().copied().unwrap_or(0);
    (first, of.last().copied().unwrap_or(first))
}

fn list<'a, T: ToString + 'a>(of: impl IntoIterator<Item = &'a T>) -> String {
    let texts: Vec<String> = of.into_iter().map(T::to_string).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> PresenceQuery<'static> {
        PresenceQuery {
            database: "d`b",
            table: "t",
            query_id: "it's",
            hashes: vec![7, 9],
            times: [7200, 90_000].into(),
            bytes_sent: [5].into(),
            hours: [2, 25].into(),
        }
    }

    #[test]
    fn every_table_is_added_up_by_its_own_measure() {
        let parts = query().parts();
        assert_eq!(parts.len(), 2 + 1 + TOTALS.len());
        let all = parts.join("\n");
        for name in [
            "t",
            "t_totals",
            "t_1m",
            "t_1h",
            "t_totals_1d",
            "t_address_1d",
            "t_1d",
        ] {
            assert!(all.contains(&format!("FROM `d\\`b`.`{name}` ")), "{name}");
        }
        assert!(all.contains("query_id = 'it\\'s'"));
        // Whole days, so that tables by day can be compared.
        assert!(all.contains("toUnixTimestamp(time) BETWEEN 0 AND 172799"));
        assert!(all.contains("IN (7,9) GROUP BY name"));
    }

    /// An answer in which the tables have these requests by hour and by day.
    fn answer(sums: &[(&str, &str, &str)]) -> String {
        let line = |kind: &str, name: &str, fields: serde_json::Value| {
            serde_json::json!({"kind": kind, "name": name, "fields": fields}).to_string() + "\n"
        };
        let mut answer = line("server", "", serde_json::json!({"version": "26.9.2.1"}));
        answer += &line("running", "", serde_json::json!({"n": "0"}));
        answer += &line("row", "7", serde_json::json!({"n": "2"}));
        for (name, hours, days) in sums {
            answer += &line(
                "sum",
                name,
                serde_json::json!({"hours": hours, "days": days}),
            );
        }
        answer
    }

    const ALIKE: [(&str, &str, &str); 7] = [
        ("t", "3", ""),
        ("t_totals", "3", "8"),
        ("t_1m", "3", ""),
        ("t_1h", "3", ""),
        ("t_totals_1d", "", "8"),
        ("t_address_1d", "", "8"),
        ("t_1d", "", "8"),
    ];

    #[test]
    fn totals_that_differ_from_the_raw_rows_are_named() {
        let found = Evidence::parse(&answer(&ALIKE), "t").unwrap();
        assert_eq!(found.rows, [(7, 2)].into());
        assert!(!found.running && found.disagree.is_empty());
        for (at, name) in [(2, "t_1m"), (3, "t_1h"), (5, "t_address_1d"), (6, "t_1d")] {
            let mut sums = ALIKE;
            let by_hour = !sums[at].1.is_empty();
            sums[at] = (
                name,
                if by_hour { "2" } else { "" },
                if by_hour { "" } else { "7" },
            );
            let found = Evidence::parse(&answer(&sums), "t").unwrap();
            assert_eq!(found.disagree, [name]);
        }
        let mut sums = ALIKE;
        sums[0].1 = "2";
        let found = Evidence::parse(&answer(&sums), "t").unwrap();
        assert_eq!(found.disagree, ["t_totals", "t_1m", "t_1h"]);
    }

    #[test]
    fn an_answer_that_lacks_a_line_proves_nothing() {
        for left_out in 0..ALIKE.len() {
            let mut sums = ALIKE.to_vec();
            sums.remove(left_out);
            assert_eq!(Evidence::parse(&answer(&sums), "t"), None, "{left_out}");
        }
        let whole = answer(&ALIKE);
        let cut = whole.replace("running", "something");
        assert_eq!(Evidence::parse(&cut, "t"), None);
        assert_eq!(Evidence::parse("<html>", "t"), None);
    }
}
