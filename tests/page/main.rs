//! The page in a browser: does Chromium show each state without an error, a request to anywhere else, a fault
//! that axe-core finds, or a line that is wider than a telephone?
//!
//! `tests/python/page_look.py` drives the browser; `ops/page-test` installs what it needs and runs this. The
//! pictures are in `target/pages/`.

#[path = "../support/mod.rs"]
mod support;

/// A queue as a long outage leaves it.
#[path = "../../ops/lib/bench/fill.rs"]
#[allow(dead_code, reason = "the benchmarks use the rest")]
mod fill;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anonymizer::observe::history::{History, Look};
use anonymizer::queue::DataDir;
use anonymizer::runtime::clock::now_ms;
use serde_json::Value;

use support::fake_clickhouse::Fault;
use support::kafka::messages;
use support::program::Program;
use support::world::World;

impl World {
    /// Waits until the verdict has this code and the rest is as wanted, and looks at the page.
    fn look(&self, program: &Program, name: &str, code: &str, is_so: impl Fn(&Value) -> bool) {
        // Before it has the lock, a look at the status might take it away.
        program.wait_log(" at http://");
        self.setup
            .wait_status(|s| s["verdict"]["code"] == code && is_so(s));
        let log = program.log();
        let (_, address) = log.split_once(" at http://").unwrap();
        let address = address.split('/').next().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let env =
            |name| std::env::var(name).unwrap_or_else(|_| panic!("{name}: run ops/page-test"));
        let verdict = code.to_uppercase().replace('_', " ");
        let out = Command::new(env("PYTHON"))
            .arg(root.join("tests/python/page_look.py"))
            .args([&format!("http://{address}/"), name, &verdict])
            .arg(root.join("target/pages"))
            .arg(env("AXE"))
            .output()
            .unwrap();
        let said = [out.stdout, out.stderr].concat();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn nothing_was_read_yet() {
    let w = World::of(2);
    let program = w.setup.run();
    program.wait_log("the tables exist");
    w.look(&program, "empty", "ok", |s| s["queue"]["rows"] == 0);
    w.finish(program);
}

/// A day with a night in it, an hour without the program, and an outage of ClickHouse.
fn a_day(w: &World) {
    let dir = DataDir::lock(&w.setup.data_dir()).unwrap();
    let history = History::open(&dir);
    let first = now_ms() / 60_000 - 1440;
    let mut look = Look::default();
    for minute in (0..1440).filter(|m| !(600..660).contains(m)) {
        let rate = 0.6 + 0.4 * (minute as f64 / 1440.0 * std::f64::consts::TAU).sin();
        let rows = (60_000.0 * rate) as u64 + minute % 7 * 900;
        let is_away = (1000..1090).contains(&minute);
        let waiting = if is_away { look.queue_rows } else { 0 };
        look.appended += rows;
        look.inserted += if is_away { 0 } else { look.queue_rows };
        look.queue_rows = rows + waiting;
        look.queue_bytes = look.queue_rows * 33;
        look.oldest_s = if is_away { (minute - 999) * 60 } else { 60 };
        look.unread = Some(rows / 40);
        let at_ms = (first + minute) * 60_000 + 30_000;
        look.insert = (!is_away).then_some((at_ms, rows * 30, 400 + rows / 100));
        history.keep(at_ms, &look);
    }
}

#[test]
fn rows_go_their_way() {
    let mut w = World::of(12);
    a_day(&w);
    let program = w.setup.run();
    for seed in 1..6 {
        w.stores(seed, 20_000);
    }
    w.look(&program, "well", "ok", |s| s["queue"]["rows"] == 0);
    w.finish(program);
}

#[test]
fn ten_million_rows_wait() {
    let w = World::of(2).with("--flush-interval", "1h");
    let queue = fill::open(&w.setup.data_dir());
    // A few blocks, again and again.
    let mut writer = fill::Writer::new(&queue, 5000);
    let mut rows = 0;
    while rows < 10_000_000 {
        rows += writer.append().0;
    }
    writer.sync();
    drop(writer);
    drop(queue);
    let program = w.setup.run();
    w.look(&program, "backlog", "delayed", |s| {
        s["queue"]["rows"].as_u64() >= Some(9_000_000) && s["partitions"][1] == 1
    });
    program.kill();
}

#[test]
fn clickhouse_is_away() {
    let mut w = World::of(3).with("--clickhouse-url", "http://127.0.0.1:1");
    let program = w.setup.run();
    w.kafka.produce(1, 20_000);
    w.look(&program, "clickhouse-away", "delayed", |s| {
        s["queue"]["rows"] == 20_000
    });
    program.stop();
}

#[test]
fn the_proxy_refuses_on_and_on() {
    let mut w = World::of(3);
    let program = w.run_with((0..100).map(|_| Fault::Limited503(None)));
    w.kafka.produce(1, 20_000);
    w.look(&program, "refused", "delayed", |s| {
        s["flush"]["failing"]["times"].as_u64() >= Some(2)
    });
    program.stop();
}

#[test]
fn a_request_hangs() {
    let mut w = World::of(3).with("--request-timeout", "10m");
    let program = w.run_with([Fault::Hang(Duration::from_secs(600))]);
    w.kafka.produce(1, 20_000);
    // From a minute on, and then for as long as the looks take; before that it is not late.
    w.look(&program, "hangs", "delayed", |s| {
        s["flush"]["in_flight"]["what"] == "insert"
    });
    program.kill();
}

#[test]
fn a_person_must_act() {
    let mut w = World::of(3);
    let (http, code) = (403, 516);
    let program = w.run_with((0..1000).map(|_| Fault::ExceptionHeader { http, code }));
    w.kafka.produce(1, 20_000);
    w.look(&program, "held", "held", |_| true);
    program.stop();
}

#[test]
fn a_batch_was_refused_for_its_data() {
    let mut w = World::of(3);
    let (http, code) = (400, 69);
    let program = w.run_with([Fault::ExceptionHeader { http, code }]);
    w.kafka.produce(1, 20_000);
    w.look(&program, "rejected", "held", |s| {
        s["queue"]["batches"][0]["state"]["rejected"].is_object()
    });
    program.stop();
}

#[test]
fn kafka_is_away() {
    let w = World::of(3).with("--kafka-brokers", "127.0.0.1:1");
    let program = w.setup.run();
    w.look(&program, "kafka-away", "delayed", |_| true);
    program.stop();
}

/// So many messages that cannot become rows.
fn noise(count: usize) -> Vec<Vec<u8>> {
    vec![vec![0xfe; 100]; count]
}

#[test]
fn the_quarantine_is_full() {
    let mut w = World::of(1).with("--max-quarantine-bytes", "1MiB");
    let program = w.setup.run();
    w.kafka.send(&noise(12_000));
    w.look(&program, "paused", "paused", |_| true);
    program.stop();
}

#[test]
fn messages_will_be_dropped() {
    let mut w = World::of(1)
        .with("--max-quarantine-bytes", "1MiB")
        .with("--quarantine-full", "drop-oldest");
    let program = w.setup.run();
    // Until four fifths are used, and not all.
    for sent in (1..).map(|n| n * 200) {
        w.kafka.send(&noise(200));
        let status = w.setup.wait_status(|s| s["queue"]["quarantined"] == sent);
        if status["verdict"]["code"] == "at_risk" {
            break;
        }
    }
    w.look(&program, "at-risk", "at_risk", |_| true);
    program.stop();
}

#[test]
fn the_disk_is_full() {
    let w = World::of(1).with("--min-free-disk", "100TiB");
    let program = w.setup.run();
    w.look(&program, "disk-full", "paused", |s| {
        s["verdict"]["findings"][0]["what"] == "disk-full"
    });
    program.stop();
}

#[test]
fn retention_took_records() {
    let mut w = World::of(1);
    let program = w.setup.run();
    w.stores(1, 300);
    program.stop();
    // The mock cluster keeps 5 MiB a partition.
    w.kafka.send(&messages(2, 50_000));
    let program = w.setup.run();
    w.look(&program, "lost-range", "lost", |s| {
        s["verdict"]["findings"][0]["what"] == "lost" && s["queue"]["rows"] == 0
    });
    program.kill();
}

#[test]
fn messages_were_dropped() {
    let mut w = World::of(1)
        .with("--max-quarantine-bytes", "1MiB")
        .with("--quarantine-full", "drop-oldest");
    let program = w.setup.run();
    w.kafka.send(&noise(12_000));
    w.look(&program, "lost", "lost", |_| true);
    program.stop();
}
