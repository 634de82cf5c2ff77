//! Do the commands that look at, save and send what is stored do what they say, beside a live
//! instance and on a data dir without one?

use std::collections::HashMap;
use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::support::fake_clickhouse::{FakeClickHouse, Fault, Multiset, parse_rows};
use crate::support::kafka::Kafka;
use crate::support::program::{PATIENCE, Program, Setup};

struct World {
    kafka: Kafka,
    clickhouse: FakeClickHouse,
    setup: Setup,
}

impl World {
    fn new() -> World {
        let kafka = Kafka::start(3);
        let clickhouse = FakeClickHouse::start();
        let setup = Setup::new(&kafka, &clickhouse);
        World {
            kafka,
            clickhouse,
            setup,
        }
    }

    /// A live instance with `rows` rows queued and no slot to send them.
    fn queued(&mut self, rows: usize) -> Program {
        self.setup.set("--flush-interval", "1h");
        self.kafka.produce(1, rows);
        let program = self.setup.run();
        self.setup.wait_status(|s| s["queue"]["rows"] == rows);
        program
    }

    fn call(&self, words: &[&str]) -> Output {
        self.setup
            .command(words[0])
            .args(&words[1..])
            .output()
            .unwrap()
    }

    /// Stdout of a command that must succeed.
    fn ok(&self, words: &[&str]) -> Vec<u8> {
        let out = self.call(words);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{words:?}: {said}");
        out.stdout
    }

    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_slice(&self.ok(words)).unwrap()
    }

    /// What a command says that must fail.
    fn refused(&self, words: &[&str]) -> String {
        let out = self.call(words);
        assert!(!out.status.success(), "{words:?} must fail");
        String::from_utf8_lossy(&out.stderr).into_owned()
    }
}

fn multiset(body: &[u8]) -> Multiset {
    let mut all: Multiset = HashMap::new();
    for row in parse_rows(body).unwrap() {
        *all.entry(row).or_default() += 1;
    }
    all
}

#[test]
fn verify_finds_a_whole_queue_whole_live_and_stopped() {
    let mut w = World::new();
    let program = w.queued(3000);
    let live = w.json(&["verify", "--json"]);
    assert_eq!(live["rows"], 3000);
    program.stop();
    let offline = w.json(&["verify", "--json"]);
    assert_eq!(offline["rows"], 3000);
    assert_eq!(offline["damage"], serde_json::json!([]));
}

#[test]
fn verify_calls_nothing_damaged_while_rows_come_and_go() {
    let mut w = World::new();
    let program = w.setup.run();
    program.wait_log("the tables exist");
    for seed in 1..6 {
        w.kafka.produce(seed, 3000);
        for _ in 0..4 {
            let found = w.json(&["verify", "--json"]);
            assert_eq!(found["damage"], serde_json::json!([]));
        }
    }
    program.stop();
}

#[test]
fn export_writes_each_row_once_live_and_stopped_to_a_file_and_to_stdout() {
    let mut w = World::new();
    let program = w.queued(3000);
    let dir = tempfile::tempdir().unwrap();
    let check = |w: &World, name: &str| {
        let file = dir.path().join(name);
        let path = file.to_str().unwrap();
        w.ok(&["export", "--format", "rowbinary", "--output", path]);
        assert_eq!(multiset(&fs::read(&file).unwrap()), w.kafka.expected);
        let stdout = w.ok(&["export", "--format", "rowbinary"]);
        assert_eq!(multiset(&stdout), w.kafka.expected);
        assert_eq!(w.ok(&["export"]).split(|b| *b == b'\n').count(), 3001);
        let again = w.refused(&["export", "--output", path]);
        assert!(again.contains("File exists"), "{again}");
    };
    check(&w, "live");
    program.stop();
    check(&w, "offline");
}

#[test]
fn a_rejected_batch_is_listed_exported_and_retried_live_and_stopped() {
    let mut w = World::new();
    let program = w.setup.run();
    program.wait_log("the tables exist");
    // As a person would see it: refused at first, refused again at the first retry.
    w.clickhouse.state().faults.extend([REJECTED, REJECTED]);
    w.kafka.produce(1, 300);
    let rejected = |s: &Value| s["queue"]["batches"][0]["state"]["rejected"].is_object();
    w.setup.wait_status(rejected);
    let seq = w.json(&["batches", "list", "--json"])[0]["seq"].to_string();
    let listed = String::from_utf8(w.ok(&["batches", "list"])).unwrap();
    assert!(listed.contains("asked for by the test"), "{listed}");
    let words = w.refused(&["batches", "retry", "77"]);
    assert!(words.contains("no batch 77"), "{words}");
    w.ok(&["batches", "retry", &seq]);
    w.setup
        .wait_status(|s| rejected(s) && s["queue"]["batches"][0]["attempts"] == 2);
    let exported = w.ok(&["batches", "export", &seq, "--format", "rowbinary"]);
    // It may hold a part of the rows only.
    assert!(exported.len() > 100 && parse_rows(&exported).is_some());
    w.setup
        .wait_status(|s| s["queue"]["batches"].as_array().unwrap().len() == 1);
    program.stop();

    assert_eq!(w.json(&["batches", "show", &seq])["attempts"], 2);
    assert_eq!(
        w.ok(&["batches", "export", &seq, "--format", "rowbinary"]),
        exported
    );
    w.ok(&["batches", "retry", &seq]);
    w.refused(&["batches", "retry", &seq]);
    let program = w.setup.run();
    let want = w.kafka.expected_rows();
    w.clickhouse.wait_until(|s| s.row_count() >= want, PATIENCE);
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
    assert!(w.clickhouse.state().rows == w.kafka.expected);
    w.clickhouse.assert_no_violation();
}

/// ClickHouse refuses the data.
const REJECTED: Fault = Fault::ExceptionHeader {
    http: 400,
    code: 131,
};
