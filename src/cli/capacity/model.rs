//! How much disk a rate of rows needs. Pure: factors and a plan in, bytes out.
//!
//! A totals table holds a row for each *group*: each distinct set of dimensions within a minute, an
//! hour or a day. Of `n` rows in such a bucket, the groups are
//!
//! ```text
//!     groups(n) = n * r0 * (1 + (n / a)^b)^(-c)        n = rows a second * seconds of the bucket
//! ```
//!
//! At few rows nearly every row is a group of its own (`r0` of them: a client asks for some things
//! twice); from about `a` rows on, groups repeat and their share falls as `n^(-b*c)`. The four numbers
//! of each table are fitted to counts of synthetic traffic at 9 rates from 0.5 to 10,000 rows a second
//! (`data/capacity/groups.csv`, `ops/characterize --capacity`), and lie within 10 % of 8 other rates
//! with another seed. Bytes are measured (`data/capacity/factors.json`). Traffic of another shape has
//! other factors: [`Measured`] takes them from a ClickHouse that has some.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The raw table, as it is called unless the setting says otherwise.
pub const RAW: &str = "http_log";

/// Share of the tables' disk that parts take which are not merged yet, or are being merged: the old
/// and the new part are both there. An allowance, not a measurement.
pub const MERGE_SHARE: f64 = 0.3;

/// What was measured and fitted, of all tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Factors {
    /// Bytes on disk of a row in the raw table.
    pub raw_bytes_per_row: f64,
    /// Bytes on disk of a row in the queue, sled's own included.
    pub queue_bytes_per_row: f64,
    /// Bytes on disk of a message in Kafka, in the producer's batches, compressed with lz4.
    pub kafka_bytes_per_message: f64,
    /// Each totals table.
    pub totals: Vec<TableFactors>,
}

/// One totals table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableFactors {
    /// Its name.
    pub name: String,
    /// Seconds that one of its times covers.
    pub bucket_s: f64,
    /// Bytes on disk of one of its rows.
    pub bytes_per_group: f64,
    /// How many rows it has.
    pub growth: Growth,
}

/// `r0 * (1 + (n / a)^b)^(-c)`; see the module.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// Groups a row while groups hardly repeat.
    pub r0: f64,
    /// Rows in a bucket from which they do.
    pub a: f64,
    /// How sharply that begins.
    pub b: f64,
    /// With `b`, how fast the share falls.
    pub c: f64,
}

impl Growth {
    /// Groups for each row, of `rows` in one bucket. Never more than one, never more than fitted.
    pub fn groups_per_row(&self, rows: f64) -> f64 {
        let share = self.r0 * (1.0 + (rows / self.a).powf(self.b)).powf(-self.c);
        share.min(1.0)
    }
}

/// What is to be stored, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Rows a second, on average over days.
    pub rate: f64,
    /// How long raw rows stay.
    pub retention: Duration,
    /// How long the totals stay.
    pub totals_retention: Duration,
    /// How long ClickHouse may be away while rows wait in the queue.
    pub queue: Duration,
    /// How long Kafka keeps messages.
    pub kafka_retention: Duration,
    /// Copies of each message in Kafka.
    pub kafka_replicas: u32,
}

/// Disk of one table, the queue or Kafka.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Item {
    /// What it is.
    pub name: String,
    /// Its rows for each raw row.
    pub rows_per_row: f64,
    /// Its bytes for each raw row.
    pub bytes_per_row: f64,
    /// How long it keeps them, in seconds.
    pub kept_s: u64,
    /// Bytes on disk in the end.
    pub bytes: f64,
}

/// The whole estimate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// Rows a second.
    pub rate: f64,
    /// The raw table, then each totals table.
    pub tables: Vec<Item>,
    /// For parts that are not merged yet, in bytes: [`MERGE_SHARE`] of the tables.
    pub merging_bytes: f64,
    /// Everything that ClickHouse needs, in bytes, for each replica.
    pub clickhouse_bytes: f64,
    /// The program's queue.
    pub queue: Item,
    /// Kafka's log, all copies.
    pub kafka: Item,
}

impl Factors {
    /// Those that this version was measured with.
    pub fn built_in() -> Factors {
        serde_json::from_str(include_str!("../../../data/capacity/factors.json"))
            .expect("BUG: data/capacity/factors.json is not what the fit writes")
    }

    /// The disk that a plan needs.
    pub fn estimate(&self, plan: &Plan) -> Estimate {
        let item = |name: &str, rows_per_row: f64, bytes_per_row: f64, kept: Duration| Item {
            name: name.to_owned(),
            rows_per_row,
            bytes_per_row,
            kept_s: kept.as_secs(),
            bytes: plan.rate * kept.as_secs_f64() * bytes_per_row,
        };
        let mut tables = vec![item(RAW, 1.0, self.raw_bytes_per_row, plan.retention)];
        for t in &self.totals {
            let share = t.growth.groups_per_row(plan.rate * t.bucket_s);
            tables.push(item(
                &t.name,
                share,
                share * t.bytes_per_group,
                plan.totals_retention,
            ));
        }
        let merged: f64 = tables.iter().map(|t| t.bytes).sum();
        let copies = f64::from(plan.kafka_replicas);
        Estimate {
            rate: plan.rate,
            tables,
            merging_bytes: merged * MERGE_SHARE,
            clickhouse_bytes: merged * (1.0 + MERGE_SHARE),
            queue: item("queue", 1.0, self.queue_bytes_per_row, plan.queue),
            kafka: item(
                "kafka",
                copies,
                copies * self.kafka_bytes_per_message,
                plan.kafka_retention,
            ),
        }
    }

    /// These factors with the sizes of a ClickHouse that holds real traffic. The growth keeps its form
    /// and is scaled so that it gives, at the rate that was measured, the groups that were found.
    ///
    /// # Errors
    /// [`MeasureError`] if the answer lacks a table, or there was too little traffic to learn from.
    pub fn measured(&self, found: &Measured) -> Result<Factors, MeasureError> {
        let table = |name: &str| {
            let m = found.tables.get(name);
            m.ok_or_else(|| MeasureError::Missing(name.to_owned()))
        };
        let raw = table(RAW)?;
        if raw.of_the_day < LEAST_ROWS {
            return Err(MeasureError::TooFew(raw.of_the_day));
        }
        let mut factors = self.clone();
        factors.raw_bytes_per_row = raw.bytes_per_row(RAW)?;
        let rate = raw.of_the_day as f64 / DAY_S;
        for t in &mut factors.totals {
            let m = table(&t.name)?;
            t.bytes_per_group = m.bytes_per_row(&t.name)?;
            let share = m.of_the_day as f64 / raw.of_the_day as f64;
            t.growth.r0 *= share / t.growth.groups_per_row(rate * t.bucket_s);
        }
        Ok(factors)
    }
}

const DAY_S: f64 = 86_400.0;

/// Rows of a day below which groups are too much by chance to learn from.
const LEAST_ROWS: u64 = 10_000;

/// What a ClickHouse said of its tables; [`measure_query`] asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Measured {
    tables: BTreeMap<String, Size>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    rows: u64,
    bytes: u64,
    of_the_day: u64,
}

impl Size {
    fn bytes_per_row(&self, name: &str) -> Result<f64, MeasureError> {
        if self.rows == 0 {
            return Err(MeasureError::Missing(name.to_owned()));
        }
        Ok(self.bytes as f64 / self.rows as f64)
    }
}

/// Why sizes cannot be taken from an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MeasureError {
    /// Not an answer to [`measure_query`].
    #[error(
        "this is no answer to the question of --print-question: {0:?}; it has a line for each table: \
         name, rows, bytes, rows of yesterday, separated by tabs"
    )]
    Answer(String),
    /// A table is not there or is empty.
    #[error(
        "table {0} has no rows on this server; behind a Distributed table, ask one of the shards"
    )]
    Missing(String),
    /// Too little traffic.
    #[error(
        "only {0} rows of yesterday (UTC) are there: at least {LEAST_ROWS} are needed to learn from"
    )]
    TooFew(u64),
}

impl Measured {
    /// Reads the answer to [`measure_query`]; names may begin with `table` instead of [`RAW`].
    ///
    /// # Errors
    /// [`MeasureError::Answer`].
    pub fn parse(answer: &str, table: &str) -> Result<Measured, MeasureError> {
        let mut tables = BTreeMap::new();
        for line in answer.lines().filter(|l| !l.trim().is_empty()) {
            let wrong = || MeasureError::Answer(line.chars().take(100).collect());
            let columns: Vec<&str> = line.split('\t').collect();
            let [name, rows, bytes, of_the_day] = columns[..] else {
                return Err(wrong());
            };
            let name = name.strip_prefix(table).ok_or_else(wrong)?;
            let number = |text: &str| text.trim().parse().map_err(|_| wrong());
            let size = Size {
                rows: number(rows)?,
                bytes: number(bytes)?,
                of_the_day: number(of_the_day)?,
            };
            tables.insert(format!("{RAW}{name}"), size);
        }
        Ok(Measured { tables })
    }
}

/// One SELECT that tells rows and bytes of every table, from `system.parts`, and how many rows each has
/// of yesterday (UTC). Of the raw table it reads one column of that day.
pub fn measure_query(factors: &Factors, database: &str, table: &str) -> String {
    let name = |t: &str| t.replacen(RAW, table, 1);
    let all = std::iter::once((RAW, "timestamp"))
        .chain(factors.totals.iter().map(|t| (t.name.as_str(), "time")));
    let counts: Vec<String> = all
        .map(|(t, time)| {
            let t = name(t);
            format!(
                "SELECT '{t}' AS table, count() AS of_the_day FROM `{database}`.`{t}` WHERE \
                 toUnixTimestamp({time}) >= intDiv(toUnixTimestamp(now()), 86400) * 86400 - 86400 AND \
                 toUnixTimestamp({time}) < intDiv(toUnixTimestamp(now()), 86400) * 86400"
            )
        })
        .collect();
    format!(
        "SELECT table, rows, bytes, of_the_day FROM (SELECT table, sum(rows) AS rows, \
         sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND database = '{database}' \
         GROUP BY table) AS parts INNER JOIN ({}) AS counts USING (table) ORDER BY table \
         FORMAT TabSeparated",
        counts.join(" UNION ALL ")
    )
}

#[cfg(test)]
mod tests;
