//! Does `reconcile` find every minute that differs, and no other?
//!
//! Record times are a little ahead, so that the counts are complete for them and hold their minutes.

use std::fs;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anonymizer::record::synth::Synth;
use serde_json::Value;

use crate::support::fake_clickhouse::{Fault, row};
use crate::support::program::Program;
use crate::support::wait::PATIENCE;
use crate::support::world::World;

/// With the first minute of the records, seconds of Unix time.
type Counted = World<u64>;

/// Minutes that the records are spread over.
const MINUTES: u64 = 5;

fn counted() -> Counted {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    World::new().and(|_| (now.as_secs() / 60 + 2) * 60)
}

impl Counted {
    fn produce(&mut self, seed: u64, count: usize) {
        let records = Synth::new(seed, 0).take(count).zip(0u64..);
        let messages: Vec<Vec<u8>> = records
            .map(|(mut record, i)| {
                record.timestamp_epoch_milli = (self.own + i % MINUTES * 60) * 1000 + i % 60_000;
                let mut message = Vec::new();
                record.encode_into(&mut message);
                message
            })
            .collect();
        self.kafka.send(&messages);
    }

    /// Waits until all is stored and acknowledged.
    fn settle(&self) {
        self.wait_all_stored();
        self.wait_queued(0);
    }

    fn run_settled(&self) -> Program {
        let program = self.setup.run();
        self.settle();
        program
    }

    fn reconcile(&self, words: &[&str]) -> Output {
        let mut command = self.setup.command("reconcile");
        command.arg("--json").args(words).output().unwrap()
    }

    /// What it found where nothing differs.
    fn agrees(&self, words: &[&str]) -> Value {
        let out = self.reconcile(words);
        let said = String::from_utf8_lossy(&out.stderr);
        let found: Value = serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|e| panic!("{words:?}: {e}: {said}"));
        assert!(out.status.success(), "{said}: {}", found["differences"]);
        assert_eq!(found["differences"], serde_json::json!([]));
        found
    }

    /// Minutes after the first, what was found and expected, and the likely cause of each difference.
    fn differs(&self, words: &[&str]) -> Vec<(i64, i64, i64, String)> {
        let out = self.reconcile(words);
        assert_eq!(out.status.code(), Some(3), "{words:?}");
        let found: Value = serde_json::from_slice(&out.stdout).unwrap();
        let of = |d: &Value| {
            assert_eq!(d["seconds"], 60);
            let number = |name: &str| d[name].as_i64().unwrap();
            (
                (number("start") - self.own as i64) / 60,
                number("found"),
                number("at_least"),
                d["likely"].as_str().unwrap().to_owned(),
            )
        };
        let all = found["differences"].as_array().unwrap();
        all.iter().map(of).collect()
    }

    /// What it says where it cannot compare.
    fn refuses(&self, words: &[&str]) -> String {
        let out = self.reconcile(words);
        assert_eq!(out.status.code(), Some(1), "{words:?}");
        String::from_utf8(out.stderr).unwrap()
    }

    /// The minute of a stored row, after the first.
    fn minute_of(&self, row: &[u8]) -> u64 {
        let second = u32::from_le_bytes(row[..4].try_into().unwrap());
        (u64::from(second) - self.own) / 60
    }
}

fn sum(found: &Value, name: &str) -> i64 {
    let partitions = found["partitions"].as_array().unwrap();
    partitions.iter().map(|p| p[name].as_i64().unwrap()).sum()
}

#[test]
fn rows_deleted_or_added_in_clickhouse_are_named_by_their_minute_live_and_stopped() {
    let mut w = counted();
    w.produce(1, 600);
    let program = w.run_settled();
    let found = w.agrees(&[]);
    assert_eq!(
        (found["minutes"].as_u64(), found["days"].as_u64()),
        (Some(5), Some(0))
    );
    assert_eq!((sum(&found, "stored"), sum(&found, "queued")), (600, 0));
    assert_eq!(found["found"], 600);

    {
        let mut state = w.clickhouse.state();
        state.rows.retain(|row, _| w.minute_of(row) != 1);
        let one = state.rows.keys().find(|row| w.minute_of(row) == 3).cloned();
        state.rows.remove(&one.unwrap());
        let mut other = row(7);
        other[..4].copy_from_slice(&(w.own as u32 + 4 * 60 + 59).to_le_bytes());
        state.rows.insert(other, 1);
    }
    let check = |w: &Counted| {
        let all = w.differs(&[]);
        let numbers: Vec<_> = all.iter().map(|d| (d.0, d.1, d.2)).collect();
        assert_eq!(numbers, [(1, 0, 120), (3, 119, 120), (4, 121, 120)]);
        for ((.., likely), word) in all.iter().zip(["none", "deleted", "writer"]) {
            assert!(likely.contains(word), "{likely}");
        }
        // Of a part of the time, only what differs there.
        let (from, to) = ((w.own + 120).to_string(), (w.own + 240).to_string());
        let at = |s: &str| humantime_of(s.parse().unwrap());
        let some = w.differs(&["--from", &at(&from), "--to", &at(&to)]);
        assert_eq!(some.iter().map(|d| d.0).collect::<Vec<_>>(), [3]);
    };
    check(&w);
    program.stop();
    check(&w);
    w.clickhouse.assert_no_violation();
}

fn humantime_of(second: u64) -> String {
    anonymizer::runtime::clock::rfc3339(second * 1000)
}

#[test]
fn the_question_waits_for_a_slot_and_its_failure_holds_nothing() {
    let mut w = counted();
    w.setup.set("--flush-interval", "2s");
    w.produce(1, 300);
    let program = w.run_settled();
    // The limiter's refusal is asked again; what ClickHouse says is told.
    w.clickhouse.fail(Fault::Limited503(Some("1")));
    w.agrees(&[]);
    w.clickhouse.fail(Fault::ExceptionHeader {
        http: 500,
        code: 241,
    });
    let words = w.refuses(&[]);
    assert!(words.contains("asked for by the test"), "{words}");
    assert!(w.setup.status()["flush"]["hold"].is_null());
    w.produce(2, 300);
    w.settle();
    w.agrees(&[]);
    program.stop();
    w.agrees(&[]);
    let all = w.clickhouse.requests();
    let slots: Vec<_> = all.iter().filter(|r| r.status != 503).collect();
    assert!(slots.iter().filter(|r| r.sql.contains("AS start")).count() >= 3);
    for pair in slots.windows(2) {
        // They are begun 2 s apart; on a busy machine one comes late. Without a slot there is no distance.
        let distance = pair[1].at - pair[0].at;
        assert!(distance.as_millis() >= 1000, "{distance:?}");
    }
}

#[test]
fn the_counts_of_all_instances_are_summed() {
    let mut w = counted();
    let other = w.another();
    let (one, two) = (w.setup.run(), other.run());
    let partitions = |s: &Value| s["partitions"].as_array().map_or(0, Vec::len);
    w.setup.wait_status(|s| (1..3).contains(&partitions(s)));
    other.wait_status(|s| (1..3).contains(&partitions(s)));
    w.produce(1, 900);
    w.settle();
    other.wait_status(|s| s["queue"]["rows"] == 0);

    let theirs = other.data_dir();
    let theirs = theirs.to_str().unwrap();
    let found = w.agrees(&[theirs]);
    assert_eq!(sum(&found, "consumed"), 900);
    let alone = w.differs(&[]);
    assert_eq!(alone.len() as u64, MINUTES);
    assert!(alone[0].3.contains("not given"), "{alone:?}");
    let words = w.refuses(&[w.setup.data_dir().to_str().unwrap()]);
    assert!(words.contains("given twice"), "{words}");

    // Counts that were written on another machine, and the instance is stopped.
    let out = other
        .command("reconcile")
        .args(["--counts-only", "--json"])
        .output();
    let file = w.setup.data_dir().with_file_name("counts.json");
    fs::write(&file, out.unwrap().stdout).unwrap();
    two.stop();
    w.agrees(&[file.to_str().unwrap()]);
    w.agrees(&[theirs]);
    fs::write(&file, "{}").unwrap();
    let words = w.refuses(&[file.to_str().unwrap()]);
    assert!(words.contains("counts.json is no output"), "{words}");
    one.stop();
}

#[test]
fn an_instance_killed_while_it_reads_and_the_one_that_takes_over_count_each_record_once() {
    let mut w = counted();
    let other = w.another();
    let one = w.setup.run();
    w.setup
        .wait_status(|s| s["partitions"].as_array().is_some_and(|p| p.len() == 3));
    for seed in 1..4 {
        w.produce(seed, 1500);
    }
    // Whatever is appended and not committed at that moment is read again by the other one.
    one.kill();
    let two = other.run();
    let want = w.kafka.expected_rows();
    // What the killed one had committed is its own to send.
    let one = w.setup.run();
    w.clickhouse.wait_until(|s| s.row_count() >= want, PATIENCE);
    w.wait_queued(0);
    other.wait_status(|s| s["queue"]["rows"] == 0);
    let found = w.agrees(&[other.data_dir().to_str().unwrap()]);
    assert_eq!(sum(&found, "consumed"), want as i64);
    assert_eq!(sum(&found, "stored"), want as i64);
    one.stop();
    two.stop();
    assert!(w.clickhouse.state().rows == w.kafka.expected);
}

#[test]
fn queued_rejected_and_quarantined_rows_are_expected_to_be_missing() {
    let mut w = counted();
    let program = w.run_with([]);
    w.clickhouse.fail(Fault::ExceptionHeader {
        http: 400,
        code: 131,
    });
    w.produce(1, 300);
    w.kafka.send(&[b"no capnp".to_vec()]);
    let rejected = |s: &Value| s["queue"]["batches"][0]["state"]["rejected"].is_object();
    w.setup.wait_status(rejected);
    w.setup.wait_status(|s| s["queue"]["quarantined"] == 1);
    // The rest, if the rejected batch had a part of the rows only.
    let left = |s: &Value| {
        let batch = &s["queue"]["batches"][0]["rows"];
        s["queue"]["rows"] == *batch && s["queue"]["batches"].as_array().unwrap().len() == 1
    };
    let status = w.setup.wait_status(left);
    let found = w.agrees(&[]);
    assert_eq!(
        sum(&found, "rejected"),
        status["queue"]["rows"].as_i64().unwrap()
    );
    assert_eq!(
        (sum(&found, "consumed"), sum(&found, "quarantined")),
        (300, 1)
    );
    let seq = status["queue"]["batches"][0]["seq"].to_string();
    let retried = w.setup.command("batches").args(["retry", &seq]).output();
    assert!(retried.unwrap().status.success());
    w.settle();
    let found = w.agrees(&[]);
    assert_eq!((sum(&found, "rejected"), sum(&found, "stored")), (0, 300));
    program.stop();
}

#[test]
fn a_dropped_batch_stays_named_and_none_of_its_rows_is_missing_without_a_reason() {
    for live in [true, false] {
        let mut w = counted();
        let program = w.run_with([]);
        w.clickhouse.fail(Fault::ExceptionHeader {
            http: 400,
            code: 131,
        });
        w.produce(1, 300);
        let status = w.setup.wait_status(|s| {
            let batch = &s["queue"]["batches"][0];
            batch["state"]["rejected"].is_object()
                && s["queue"]["rows"] == batch["rows"]
                && s["queue"]["batches"].as_array().unwrap().len() == 1
        });
        let seq = status["queue"]["batches"][0]["seq"].to_string();
        let rows = status["queue"]["rows"].as_i64().unwrap();
        let program = match live {
            true => Some(program),
            false => {
                program.stop();
                None
            }
        };
        let words = w.refused(&["batches", "drop", &seq]);
        assert!(
            words.contains(&format!("{rows} rows would be lost")),
            "{words}"
        );
        assert!(words.contains("http_log p0 offsets 0.."), "{words}");
        assert!(words.contains("asked for by the test"), "{words}");
        assert_eq!(w.setup.status()["queue"]["rows"], rows);
        assert!(
            w.refused(&["batches", "drop", "77", "--yes"])
                .contains("no batch 77")
        );

        let dropped = w.json(&["batches", "drop", &seq, "--yes", "--json"]);
        assert_eq!(dropped["rows"], rows);
        let check = || {
            let status = w.setup.status();
            assert_eq!(status["queue"]["rows"], 0);
            assert_eq!(status["dropped"], serde_json::json!([dropped]));
            let text = w.said(&["status"]);
            assert!(
                text.contains(&format!("LOST            {rows} rows of batch")),
                "{text}"
            );
            let found = w.agrees(&[]);
            assert_eq!((sum(&found, "lost"), sum(&found, "dropped")), (rows, rows));
            assert_eq!(found["batches_dropped"], rows);
            assert_eq!(
                w.json(&["verify", "--json"])["damage"],
                serde_json::json!([])
            );
        };
        check();
        if let Some(program) = program {
            program.stop();
            check();
        }
        w.ok(&["repair"]);
        check();
        let program = w.setup.run();
        let metrics = metrics(&program);
        for sample in [
            "dropped_batches_total 1".to_owned(),
            format!("dropped_rows_total {rows}"),
        ] {
            assert!(
                metrics.contains(&format!("\nanonymizer_{sample}\n")),
                "{metrics}"
            );
        }
        program.stop();
    }
}

/// As Prometheus gets them.
fn metrics(program: &Program) -> String {
    program.wait_log("metrics at http://");
    let log = program.log();
    let rest = log.split("metrics at http://").nth(1).unwrap();
    let address = rest.split(['/', ' ', ',', '\n']).next().unwrap();
    let mut answer = ureq::get(format!("http://{address}/metrics"))
        .call()
        .unwrap();
    answer.body_mut().read_to_string().unwrap()
}

#[test]
fn a_batch_without_an_answer_is_in_order_whether_it_is_stored_or_not() {
    for stored in [true, false] {
        let mut w = counted();
        let program = w.setup.run();
        program.wait_log("the tables exist");
        w.clickhouse.fail(match stored {
            true => Fault::ApplyThenDrop,
            false => Fault::ResetMidBody,
        });
        // The question whether it is there hangs until we have looked.
        w.clickhouse.fail(Fault::Hang(PATIENCE));
        w.produce(1, 30);
        w.clickhouse.wait_until(|s| s.faults.is_empty(), PATIENCE);
        program.kill();
        assert_eq!(w.clickhouse.rows(), if stored { 30 } else { 0 });
        let found = w.agrees(&[]);
        assert!(found["in_flight"].as_u64() > Some(0), "{found}");
        assert_eq!(sum(&found, "stored"), 0);
        w.clickhouse.release();
    }
}

#[test]
fn rows_from_before_the_counts_are_no_difference() {
    let mut w = counted();
    w.produce(1, 300);
    // Of 2023, and so by the day.
    w.clickhouse.state().rows.insert(row(7), 3);
    let program = w.run_settled();
    let found = w.agrees(&[]);
    assert_eq!(found["uncounted_before"], 3);
    program.stop();
}

#[test]
fn commands_that_ask_on_and_on_do_not_keep_rows_waiting() {
    /// Ends the commands, also when the test fails.
    struct Enough<'a>(&'a AtomicBool);
    impl Drop for Enough<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let mut w = counted();
    w.produce(1, 600);
    let program = w.run_settled();
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _enough = Enough(&enough);
        // More of them than slots: one waits whenever a slot is free.
        let enough = &enough;
        for _ in 0..4 {
            let mut command = w.setup.command("reconcile");
            scope.spawn(move || {
                while !enough.load(Ordering::SeqCst) {
                    let _ = command.output();
                }
            });
        }
        let asked = w.clickhouse.requests().len() + 3;
        w.clickhouse
            .wait_until(|s| s.requests.len() >= asked, PATIENCE);
        w.produce(2, 600);
        w.settle();
    });
    program.stop();
}
