//! The real ClickHouse engine, and what it refuses.
//!
//! - Timestamps spread over a century do not make an insert fail, nor cost thousands of parts.
//! - A table dropped under the program is created again, and what comes then arrives.
//! - Rows that a constraint of the table refuses are set aside with the server's words; the next ones
//!   arrive.
//! - A wrong database holds, and inserts go on once it is there.
//! - An engine that restarts loses and doubles nothing.
//! - The totals are those of the raw rows: module `totals`.
//!
//! Kafka is the mock cluster; there is no proxy, and a request a second.

#[path = "../support/mod.rs"]
mod support;
mod totals;

use std::time::{Duration, Instant};

use anonymizer::synth::Synth;
use serde_json::Value;
use support::kafka::Kafka;
use support::program::{Program, Setup};
use support::stack::{Stack, free_port};

const PATIENCE: Duration = Duration::from_secs(90);

/// Asks ClickHouse.
fn sql(port: u16, sql: &str) -> Result<String, ureq::Error> {
    let url = format!("http://127.0.0.1:{port}/");
    ureq::post(&url).send(sql)?.body_mut().read_to_string()
}

struct World {
    stack: Stack,
    port: u16,
    kafka: Kafka,
    setup: Setup,
}

impl World {
    fn new() -> World {
        let port = free_port();
        let stack = Stack::up(&["clickhouse"], vec![("CLICKHOUSE_PORT", port.to_string())]);
        let kafka = Kafka::start(3);
        let setup = Setup::at(&kafka, &format!("http://127.0.0.1:{port}"));
        World {
            stack,
            port,
            kafka,
            setup,
        }
    }

    fn sql(&self, text: &str) -> Result<String, ureq::Error> {
        sql(self.port, text)
    }

    fn number(&self, sql: &str) -> u64 {
        self.sql(sql).unwrap().trim().parse().unwrap()
    }

    fn wait_rows(&self, want: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.number("SELECT count() FROM http_log") < want {
            assert!(Instant::now() < deadline, "{want} rows never came");
            std::thread::sleep(Duration::from_millis(100));
        }
        self.setup
            .wait_status(|s| s["queue"]["rows"] == 0 || !s["queue"]["batches"].is_null());
        assert_eq!(self.number("SELECT count() FROM http_log"), want);
    }

    fn run(&self) -> Program {
        let program = self.setup.run();
        program.wait_log("the tables exist");
        program
    }
}

#[test]
fn a_century_of_timestamps_is_one_insert_with_few_parts() {
    let mut w = World::new();
    let last_ms = u64::from(u32::MAX) * 1000;
    let messages: Vec<Vec<u8>> = Synth::new(1, 0)
        .take(60_000)
        .enumerate()
        .map(|(i, mut record)| {
            record.timestamp_epoch_milli = last_ms / 60_000 * i as u64;
            let mut message = Vec::new();
            record.encode_into(&mut message);
            message
        })
        .collect();
    w.kafka.send(&messages);
    let program = w.run();
    w.wait_rows(60_000);
    program.stop();
    let years = "SELECT uniqExact(toYear(timestamp)) FROM http_log";
    assert!(w.number(years) > 130);
    let parts = "SELECT count() FROM system.parts WHERE table = 'http_log' AND active";
    assert!(w.number(parts) < 1000);
    let totals = "SELECT sum(requests) FROM http_log_totals";
    assert_eq!(w.number(totals), 60_000);
}

#[test]
fn a_dropped_table_is_created_again() {
    let mut w = World::new();
    w.kafka.produce(1, 300);
    let program = w.run();
    w.wait_rows(300);
    w.sql("DROP TABLE http_log SYNC").unwrap();
    w.kafka.produce(2, 300);
    program.wait_log("created http_log");
    w.wait_rows(300);
    program.stop();
}

#[test]
fn rows_that_a_constraint_refuses_step_aside() {
    let mut w = World::new();
    w.sql("ALTER TABLE http_log ADD CONSTRAINT c CHECK resource_id != 77777777")
        .unwrap();
    let message = |resource_id| {
        let mut record = Synth::new(1, 1_700_000_000_000).next().unwrap();
        record.resource_id = resource_id;
        let mut message = Vec::new();
        record.encode_into(&mut message);
        message
    };
    let program = w.run();
    w.kafka.send(&[message(77_777_777)]);
    let status = w
        .setup
        .wait_status(|s| !s["queue"]["batches"][0]["state"]["rejected"].is_null());
    let rejected: &Value = &status["queue"]["batches"][0]["state"]["rejected"];
    assert_eq!(rejected["code"], 469, "{rejected}");
    w.kafka.send(&[message(7)]);
    w.wait_rows(1);
    program.stop();
}

#[test]
fn a_database_that_is_not_there_holds_until_it_is() {
    let mut w = World::new();
    w.setup.set("--clickhouse-database", "later");
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    let status = w.setup.wait_status(|s| !s["flush"]["hold"].is_null());
    assert!(
        status["flush"]["hold"].as_str().unwrap().contains("later"),
        "{status}"
    );
    w.sql("CREATE DATABASE later").unwrap();
    let deadline = Instant::now() + PATIENCE;
    while w.sql("SELECT count() FROM later.http_log").ok().as_deref() != Some("300\n") {
        assert!(Instant::now() < deadline, "{}", program.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    program.stop();
}

#[test]
fn an_engine_that_restarts_loses_and_doubles_nothing() {
    let mut w = World::new();
    w.kafka.produce(1, 3000);
    let program = w.run();
    w.wait_rows(3000);
    w.stack.restart();
    w.kafka.produce(2, 3000);
    w.wait_rows(6000);
    program.stop();
    let distinct = "SELECT count() FROM (SELECT DISTINCT * FROM http_log)";
    assert!(w.number(distinct) > 5900, "rows of two seeds differ");
}
