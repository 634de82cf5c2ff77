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

#[test]
fn a_rescued_disk_is_replayed_without_kafka() {
    let mut w = World::new();
    let program = w.queued(3000);
    let words = w.refused(&["replay"]);
    assert!(words.contains("stopped"), "{words}");
    program.stop();
    w.setup.set("--kafka-brokers", "127.0.0.1:1");
    w.setup.set("--flush-interval", "1s");
    let said = String::from_utf8(w.ok(&["replay"])).unwrap();
    assert!(said.contains("3000 rows sent, 0 left"), "{said}");
    assert!(w.clickhouse.state().rows == w.kafka.expected);
    w.clickhouse.assert_no_violation();
}

#[test]
fn delivered_batches_are_sent_again_only_if_they_are_gone() {
    let mut w = World::new();
    w.setup.set("--keep-delivered", "1h");
    w.kafka.produce(1, 3000);
    let program = w.setup.run();
    w.setup
        .wait_status(|s| s["queue"]["delivered_rows"] == 3000);
    assert_eq!(w.setup.status()["queue"]["rows"], 0);
    w.refused(&["replay", "--delivered"]);
    program.stop();
    // The table was emptied, and with it what it knew of tokens.
    let forget = |w: &World, answer: &str| {
        let mut state = w.clickhouse.state();
        state.rows.clear();
        state.tokens.clear();
        state.answers.insert("xxh3".into(), answer.into());
    };
    forget(&w, "");
    w.ok(&["replay", "--delivered"]);
    assert!(w.clickhouse.state().rows == w.kafka.expected);
    let all = w.clickhouse.requests();
    let inserts = all.iter().filter_map(|r| r.token.as_ref());
    let tokens: std::collections::BTreeSet<_> = inserts.clone().collect();
    assert_eq!(inserts.count(), 2 * tokens.len(), "each token twice");

    // Of every row that is asked for as often as it is in the batch, or more.
    let hashes: Vec<String> = all
        .iter()
        .filter_map(|r| r.sql.split_once("h IN ("))
        .flat_map(|(_, rest)| rest.split(')').next().unwrap().split(','))
        .map(str::to_owned)
        .collect();
    let answer =
        |hashes: &[String]| -> String { hashes.iter().map(|h| format!("{h}\t9\n")).collect() };
    forget(&w, &answer(&hashes));
    let said = String::from_utf8(w.ok(&["replay", "--delivered"])).unwrap();
    assert!(said.contains("is there"), "{said}");
    assert_eq!(w.clickhouse.rows(), 0);
    forget(&w, &answer(&hashes[..1]));
    let words = w.refused(&["replay", "--delivered"]);
    assert!(words.contains("partly"), "{words}");
    assert_eq!(w.clickhouse.rows(), 0);
    forget(&w, &answer(&hashes[..1]));
    w.ok(&["replay", "--delivered", "--force"]);
    assert!(w.clickhouse.rows() > 0);
    w.clickhouse.assert_no_violation();
}

#[test]
fn a_repaired_queue_is_whole_and_delivers_the_rest() {
    let mut w = World::new();
    let program = w.queued(3000);
    let words = w.refused(&["repair"]);
    assert!(words.contains("stopped"), "{words}");
    program.stop();
    let said = String::from_utf8(w.ok(&["repair"])).unwrap();
    assert!(said.contains("3000 rows"), "{said}");
    assert_eq!(w.json(&["verify", "--json"])["rows"], 3000);
    w.setup.set("--flush-interval", "1s");
    let program = w.setup.run();
    program.wait_log("installation");
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
    assert!(w.clickhouse.state().rows == w.kafka.expected);
}

/// Bits of sled's own files are flipped: whatever it makes of them, nothing panics, and a repair
/// either leaves a whole queue or says that it cannot.
#[test]
fn damage_to_the_files_never_ends_in_a_panic() {
    let mut w = World::new();
    w.queued(3000).stop();
    let db = w.setup.data_dir().join("queue/db");
    let whole = fs::read(&db).unwrap();
    for n in 1..8 {
        let mut bytes = whole.clone();
        let used = bytes.iter().rposition(|b| *b != 0).unwrap();
        bytes[used * n / 8] ^= 0x10;
        fs::write(&db, &bytes).unwrap();
        for words in [&["verify"][..], &["export"], &["repair"]] {
            let out = w.call(words);
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(
                out.status.code().is_some_and(|c| c <= 1),
                "{words:?}: {said}"
            );
        }
        let found = w.call(&["verify", "--json"]);
        let found: Value = serde_json::from_slice(&found.stdout).unwrap();
        let store = found["damage"][0]["part"] == "store";
        assert!(store || found["damage"] == serde_json::json!([]), "{found}");
        for entry in fs::read_dir(w.setup.data_dir()).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with("queue") {
                fs::remove_dir_all(entry.path()).unwrap();
            }
        }
        fs::create_dir_all(db.parent().unwrap()).unwrap();
    }
}

#[test]
fn a_copied_data_dir_does_not_run_before_it_is_adopted() {
    let mut w = World::new();
    let program = w.queued(3000);
    let words = w.refused(&["adopt"]);
    assert!(words.contains("an instance runs"), "{words}");
    program.stop();
    let data = w.setup.data_dir();
    let copy = data.with_file_name("copy");
    let cp = std::process::Command::new("cp")
        .arg("-a")
        .args([&data, &copy])
        .status();
    assert!(cp.unwrap().success());
    w.setup.set("--data-dir", copy.to_str().unwrap());
    w.setup.set("--flush-interval", "1s");
    for command in ["run", "replay"] {
        let words = w.refused(&[command]);
        assert!(words.contains("anonymizer adopt"), "{words}");
    }
    assert_eq!(
        w.json(&["verify", "--json"])["damage"],
        serde_json::json!([])
    );
    let said = String::from_utf8(w.ok(&["adopt"])).unwrap();
    assert!(said.contains("3000 rows are HELD"), "{said}");
    let said = String::from_utf8(w.ok(&["replay"])).unwrap();
    assert!(said.contains("0 rows sent, 3000 left"), "{said}");
    // The original is not touched by any of it.
    w.setup.set("--data-dir", data.to_str().unwrap());
    w.ok(&["replay"]);
    assert!(w.clickhouse.state().rows == w.kafka.expected);
}
