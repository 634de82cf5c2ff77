//! The totals on the real engine: always those of the raw rows, however a batch was sent.

use std::fmt::Write as _;
use std::process::Command;

use anonymizer::clickhouse::{
    InsertDone, InsertRequest, Sink, SinkError, SinkOptions, insert_settings,
};
use anonymizer::record::synth::{Synth, SynthRecord};
use anonymizer::row::columns;

use crate::support::stack::{Stack, free_port};

/// What each table has: seconds of a row, dimensions.
const TABLES: &[(&str, u32, &[&str])] = &[
    ("http_log_totals", 60, ALL),
    ("http_log_totals_1d", 86_400, ALL),
    ("http_log_address_1d", 86_400, &["remote_addr"]),
    ("http_log_1m", 60, WITHOUT_ADDRESS),
    ("http_log_1h", 3_600, WITHOUT_ADDRESS),
    ("http_log_1d", 86_400, WITHOUT_ADDRESS),
];
pub const ALL: &[&str] = &[
    "resource_id",
    "response_status",
    "cache_status",
    "remote_addr",
];
const WITHOUT_ADDRESS: &[&str] = &["resource_id", "response_status", "cache_status"];

/// 2025-11-01 13:37:21 UTC.
pub const START: u64 = 1_762_004_241;

pub struct Engine {
    _stack: Stack,
    port: u16,
    sink: Sink,
}

impl Engine {
    pub fn start() -> Engine {
        let port = free_port();
        let stack = Stack::up(&["clickhouse"], vec![("CLICKHOUSE_PORT", port.to_string())]);
        let options = SinkOptions {
            url: format!("http://127.0.0.1:{port}"),
            database: "default".into(),
            table: "http_log".into(),
            user: None,
            password: None,
            tls: Default::default(),
            request_timeout: crate::PATIENCE,
        };
        Engine {
            _stack: stack,
            port,
            sink: Sink::new(&options).unwrap(),
        }
    }

    pub fn sql(&self, sql: &str) -> String {
        crate::sql(self.port, sql).unwrap_or_else(|e| panic!("{e}: {sql}"))
    }

    /// What the server says, be it an error.
    pub fn answer(&self, sql: &str) -> String {
        let url = format!("http://127.0.0.1:{}/", self.port);
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let mut answer = agent.post(&url).send(sql).unwrap();
        answer.body_mut().read_to_string().unwrap()
    }

    /// Sends rows as the program does, but for `changed` settings.
    pub fn send(
        &self,
        token: &str,
        rows: &[Vec<u8>],
        changed: &[(&str, &str)],
    ) -> Result<InsertDone, SinkError> {
        let body = zstd::encode_all(&rows.concat()[..], 1).unwrap();
        let mut settings = insert_settings(token, rows.len() as u64);
        for (name, value) in changed {
            settings.retain(|s| s.0 != *name);
            settings.push((name.to_string(), value.to_string()));
        }
        // The gateway refuses an id that still runs; a failed query is over when it is answered.
        let request = InsertRequest {
            format: "RowBinary",
            token: token.into(),
            rows: rows.len() as u64,
            body_len: body.len() as u64,
            settings,
            columns: columns::names(),
        };
        self.sink.insert(&request, &mut &body[..])
    }

    /// Requests and bytes are the same everywhere.
    fn assert_sums(&self, rows: usize) {
        let raw = self.sql("SELECT count(), sum(bytes_sent) FROM http_log");
        assert_eq!(raw.split('\t').next(), Some(&rows.to_string()[..]));
        for (table, ..) in TABLES {
            let sums = self.sql(&format!(
                "SELECT sum(requests), sum(bytes_sent) FROM {table}"
            ));
            assert_eq!(sums, raw, "{table}");
        }
    }

    /// Every group of every table, by each set of its dimensions, has the sums of its raw rows.
    fn assert_groups(&self) {
        for (table, seconds, dimensions) in TABLES {
            for by in subsets(dimensions) {
                let keys = list(&by);
                let raw = self.sql(&digest(&format!(
                    "SELECT intDiv(toUInt32(timestamp), {seconds}) * {seconds} AS t{keys}, \
                     sum(bytes_sent) AS b, count() AS n FROM http_log GROUP BY ALL"
                )));
                let totals = self.sql(&digest(&format!(
                    "SELECT toUInt32(time) AS t{keys}, \
                     sum(bytes_sent) AS b, sum(requests) AS n FROM {table} GROUP BY ALL"
                )));
                assert_eq!(totals, raw, "{table} by {by:?}");
            }
        }
    }
}

pub fn subsets<'a>(of: &[&'a str]) -> Vec<Vec<&'a str>> {
    (0..1usize << of.len())
        .map(|bits| {
            let chosen = of.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
            chosen.map(|(_, name)| *name).collect()
        })
        .collect()
}

/// `, a, b`, as texts: LowCardinality and String have different hashes.
fn list(names: &[&str]) -> String {
    names.iter().fold(String::new(), |mut text, name| {
        write!(text, ", toString({name}) AS d_{name}").unwrap();
        text
    })
}

/// How many groups, and one number of all that is in them.
pub fn digest(groups: &str) -> String {
    format!("SELECT count(), sum(cityHash64(*)) FROM ({groups})")
}

/// A row as the program stores it.
fn row(record: &SynthRecord) -> Vec<u8> {
    let mut row = Vec::new();
    row.extend(((record.timestamp_epoch_milli / 1000) as u32).to_le_bytes());
    for number in [
        record.resource_id,
        record.bytes_sent,
        record.request_time_milli,
    ] {
        row.extend(number.to_le_bytes());
    }
    row.extend(record.response_status.to_le_bytes());
    let end = record.remote_addr.rfind(['.', ':']).unwrap();
    let masked = format!("{}X", &record.remote_addr[..=end]);
    for text in [record.cache_status, record.method, &masked, "/"] {
        assert!(text.len() < 128, "one-byte length");
        row.push(text.len() as u8);
        row.extend(text.as_bytes());
    }
    row
}

/// Rows `seconds` long in all, from [`START`] on.
pub fn rows(seed: u64, count: u64, seconds: u64) -> Vec<Vec<u8>> {
    let step = std::time::Duration::from_millis(seconds * 1000 / count);
    let synth = Synth::new(seed, START * 1000).with_interval(step);
    synth.take(count as usize).map(|r| row(&r)).collect()
}

/// Rows at times from 1970 to 2106.
pub fn century(count: u64) -> Vec<Vec<u8>> {
    let last_ms = u64::from(u32::MAX) * 1000 + 999;
    let spread = Synth::new(3, 0).take(count as usize).zip(0u64..);
    spread
        .map(|(mut record, i)| {
            record.timestamp_epoch_milli =
                (u128::from(last_ms) * u128::from(i) / u128::from(count - 1)) as u64;
            row(&record)
        })
        .collect()
}

#[test]
fn every_group_of_every_table_has_the_sums_of_its_raw_rows() {
    let engine = Engine::start();
    // More than one of the engine's blocks of 65,409 rows each.
    let all = rows(1, 140_000, 5 * 86_400);
    for (i, batch) in all.chunks(70_000).enumerate() {
        engine.send(&format!("batch{i}"), batch, &[]).unwrap();
        engine.assert_sums((i + 1) * 70_000);
    }
    engine.send("century", &century(5_000), &[]).unwrap();
    engine.assert_sums(145_000);
    engine.assert_groups();
    for (table, ..) in TABLES {
        engine.sql(&format!("OPTIMIZE TABLE {table} FINAL"));
    }
    engine.assert_groups();
}

#[test]
fn a_resend_counts_once() {
    let engine = Engine::start();
    let batch = rows(1, 5_000, 600);
    for _ in 0..3 {
        engine.send("minutes", &batch, &[]).unwrap();
        engine.assert_sums(batch.len());
    }
}

#[test]
fn a_batch_that_is_sent_three_times_counts_once() {
    let engine = Engine::start();
    let mut stored = 0;
    let blocks = [
        ("max_insert_block_size", "9000"),
        ("min_insert_block_size_rows", "9000"),
    ];
    let unchanged: &[(&str, &str)] = &[];
    let shapes = [
        ("days", rows(2, 140_000, 5 * 86_400), unchanged),
        ("blocks", rows(3, 50_000, 5 * 86_400), &blocks),
        ("century", century(5_000), unchanged),
    ];
    for (name, batch, changed) in &shapes {
        stored += batch.len();
        for _ in 0..3 {
            engine.send(name, batch, changed).unwrap();
            engine.assert_sums(stored);
        }
    }
    // All of them once more, long after: each token is still known.
    for (name, batch, changed) in &shapes {
        engine.send(name, batch, changed).unwrap();
    }
    engine.assert_sums(stored);
}

#[test]
fn a_failure_inside_a_view_is_healed_by_the_resend() {
    let engine = Engine::start();
    let mut stored = 0;
    for (i, (table, ..)) in TABLES.iter().enumerate() {
        engine.sql(&format!(
            "ALTER TABLE {table} ADD CONSTRAINT c CHECK requests = 0"
        ));
        let batch = rows(i as u64, 20_000, 3 * 86_400);
        for _ in 0..2 {
            let error = engine.send(table, &batch, &[]).unwrap_err();
            assert!(error.to_string().contains("469"), "{table}: {error}");
        }
        engine.sql(&format!("ALTER TABLE {table} DROP CONSTRAINT c"));
        stored += batch.len();
        for _ in 0..2 {
            engine.send(table, &batch, &[]).unwrap();
            engine.assert_sums(stored);
        }
    }
    engine.assert_groups();
}

#[test]
fn nothing_is_stored_while_a_table_of_the_totals_is_missing() {
    let engine = Engine::start();
    for (table, ..) in TABLES {
        let create = engine.sql(&format!("SHOW CREATE TABLE {table} FORMAT TSVRaw"));
        engine.sql(&format!("DROP TABLE {table} SYNC"));
        let error = engine.send(table, &rows(1, 5_000, 600), &[]).unwrap_err();
        assert!(
            matches!(error, SinkError::Missing { code: 60, .. }),
            "{table}: {error}"
        );
        assert_eq!(
            engine.sql("SELECT count() FROM http_log").trim(),
            "0",
            "{table}"
        );
        engine.sql(&create);
    }
    for (table, ..) in TABLES {
        engine.send(table, &rows(1, 5_000, 600), &[]).unwrap();
    }
    engine.assert_sums(TABLES.len() * 5_000);
}

#[test]
fn what_the_readme_says_works() {
    let engine = Engine::start();
    let readme = include_str!("../../README.md");
    let says = |start: &str| {
        let block = readme
            .split("\n\n")
            .filter(|b| b.trim_start().starts_with(start));
        block.map(str::trim).collect::<Vec<_>>()
    };
    engine.send("a", &rows(1, 20_000, 2 * 86_400), &[]).unwrap();
    // As if the totals had been made after the raw table.
    for (table, ..) in TABLES {
        engine.sql(&format!("TRUNCATE TABLE {table}"));
    }
    for statement in says("INSERT INTO http_log_totals") {
        engine.sql(statement);
    }
    engine.assert_sums(20_000);
    engine.assert_groups();
    let asked = says("SELECT");
    assert!(asked.len() >= 2, "{asked:?}");
    for question in asked {
        engine.sql(question);
    }
}

#[test]
fn rows_go_when_the_retention_that_was_asked_for_ends() {
    let engine = Engine::start();
    let printed = Command::new(env!("CARGO_BIN_EXE_anonymizer"))
        .args(["schema", "print", "--clickhouse-table", "edge"])
        .args(["--retention", "30d", "--totals-retention", "2y"])
        .output()
        .unwrap();
    let text = String::from_utf8(printed.stdout).unwrap();
    for statement in text.split(";\n").filter(|s| !s.trim().is_empty()) {
        engine.sql(statement);
    }
    // The smallest retention has the largest number of partitions; no timestamp may be refused.
    engine.sql(
        "INSERT INTO edge (timestamp, resource_id, remote_addr) SELECT t, n, 'X' FROM (SELECT arrayJoin([\
         (now(), 1), (now() - INTERVAL 29 DAY, 2), (now() - INTERVAL 60 DAY, 3), (now() - INTERVAL 700 DAY, 4), \
         (now() - INTERVAL 900 DAY, 5), (toDateTime(0), 6), (toDateTime(4294967295), 7)]) AS r, r.1 AS t, r.2 AS n)",
    );
    for (table, left) in [
        ("edge", "1,2,7"),
        ("edge_totals", "1,2,3,4,7"),
        ("edge_1h", "1,2,3,4,7"),
    ] {
        engine.sql(&format!("OPTIMIZE TABLE {table} FINAL"));
        let ids = engine.sql(&format!(
            "SELECT arrayStringConcat(arraySort(groupUniqArray(resource_id)), ',') FROM {table}"
        ));
        assert_eq!(ids.trim(), left, "{table}");
    }
    let asked = "SELECT sum(requests) FROM edge_traffic(from = 0, to = 4294967295, step = 0, \
                 by = '', resource = [1, 4], status = [], cache = [], address = [])";
    assert_eq!(engine.sql(asked).trim(), "2");
}
