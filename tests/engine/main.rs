//! The real ClickHouse engine, and what it refuses.
//!
//! - Timestamps spread over a century do not make an insert fail, nor cost thousands of parts.
//! - A table dropped under the program is created again, and what comes then arrives.
//! - Rows that a constraint of the table refuses are set aside with the server's words; the next ones
//!   arrive.
//! - A wrong database holds, and inserts go on once it is there.
//! - An engine that restarts loses and doubles nothing, nor do lost answers and cut requests.
//! - A wrong password holds, and inserts go on with the right one.
//! - Too many parts, many partitions in one insert, and a full disk of the server lose nothing.
//! - The totals are those of the raw rows: module `totals`; and so is what the view tells of them: module
//!   `traffic`; what becomes of them when a view goes or is replaced: module `views`.
//! - ClickHouse is upgraded while an answer is lost: module `upgrades`.
//! - Which refusals prove that nothing was stored: module `refusals`.
//! - Replicated tables, as far as one engine goes: module `replicas`.
//! - Types, engines and settings that would store rows wrong or a resend twice hold, and a proxy that drops
//!   parameters: module `schema`.
//! - `reconcile` agrees with the engine's own counts, by the minute and by the day, and names what was
//!   deleted there; not what a change of the server's time zone hides.
//! - Totals and `reconcile` stay right when what is masked changes: module `policy`.
//!
//! Kafka is the mock cluster; there is no proxy, and a request a second.

mod policy;
mod refusals;
mod replicas;
mod schema;
#[path = "../support/mod.rs"]
mod support;
mod totals;
mod traffic;
mod upgrades;
mod views;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anonymizer::record::synth::Synth;
use serde_json::Value;
use support::fake_clickhouse::{Multiset, parse_rows};
use support::kafka::Kafka;
use support::program::{Program, Setup};
use support::relay::{Loss, Relay};
use support::small_disk::SmallDisk;
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
    password: &'static str,
    kafka: Kafka,
    setup: Setup,
}

impl World {
    fn new() -> World {
        let world = World::stopped("");
        world.stack.start();
        world
    }

    /// With an engine that does not run yet, and wants a password.
    fn stopped(password: &'static str) -> World {
        World::with(password, "")
    }

    /// With an engine that does not run yet, and a user whose profile has these settings.
    fn with(password: &'static str, profile: &str) -> World {
        let port = free_port();
        let environment = vec![
            ("CLICKHOUSE_PORT", port.to_string()),
            ("CLICKHOUSE_PASSWORD", password.to_owned()),
            ("CLICKHOUSE_PROFILE", profile.to_owned()),
        ];
        let kafka = Kafka::start(3);
        let setup = Setup::at(&kafka, &format!("http://127.0.0.1:{port}"));
        World {
            stack: Stack::new(&["clickhouse"], environment),
            port,
            password,
            kafka,
            setup,
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn sql(&self, sql: &str) -> Result<String, ureq::Error> {
        ureq::post(&self.url())
            .header("X-ClickHouse-User", "default")
            .header("X-ClickHouse-Key", self.password)
            .send(sql)?
            .body_mut()
            .read_to_string()
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

    /// Waits until all that was produced is there, and each row as often as it was produced.
    fn finish(&self, program: Program) {
        self.wait_rows(self.kafka.expected_rows());
        let status = self.setup.wait_status(|s| s["queue"]["rows"] == 0);
        assert!(status["flush"]["hold"].is_null(), "{status}");
        program.stop();
        let mut stored = Multiset::new();
        for row in parse_rows(&self.rows()).unwrap() {
            *stored.entry(row).or_default() += 1;
        }
        assert!(stored == self.kafka.expected, "other rows than produced");
    }

    /// All rows, as they were sent.
    fn rows(&self) -> Vec<u8> {
        let mut answer = ureq::post(&self.url())
            .header("X-ClickHouse-User", "default")
            .header("X-ClickHouse-Key", self.password)
            .send("SELECT * FROM http_log FORMAT RowBinary")
            .unwrap();
        let body = answer.body_mut().with_config().limit(1 << 30);
        body.read_to_vec().unwrap()
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
        .take(20_000)
        .enumerate()
        .map(|(i, mut record)| {
            record.timestamp_epoch_milli = last_ms / 20_000 * i as u64;
            let mut message = Vec::new();
            record.encode_into(&mut message);
            message
        })
        .collect();
    w.kafka.send(&messages);
    let program = w.run();
    w.finish(program);
    let years = "SELECT uniqExact(toYear(timestamp, 'UTC')) FROM http_log";
    assert!(w.number(years) > 130);
    let parts = "SELECT count() FROM system.parts WHERE table = 'http_log' AND active";
    assert!(w.number(parts) < 1000);
    let totals = "SELECT sum(requests) FROM http_log_totals";
    assert_eq!(w.number(totals), 20_000);
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
    w.finish(program);
}

#[test]
fn lost_answers_and_cut_requests_neither_lose_nor_double() {
    let mut w = World::new();
    let relay = Relay::start(0, &w.url());
    w.setup.set("--clickhouse-url", &relay.url());
    let program = w.run();
    let losses = [
        Loss::Answer,
        Loss::RequestAfter(20_000),
        Loss::Answer,
        Loss::RequestAfter(0),
    ];
    for (seed, loss) in (1..).zip(losses) {
        relay.lose(loss);
        w.kafka.produce(seed, 3000);
        w.wait_rows(w.kafka.expected_rows());
        assert!(!relay.is_due());
    }
    w.finish(program);
}

/// A batch of several blocks of the format, sent again by the next process after a lost answer: questions for
/// it are not answered either, so that the token has to tell.
#[test]
fn packed_columns_are_stored_once() {
    let mut w = World::new();
    let relay = Relay::start(0, &w.url());
    w.setup.set("--packed-format", "native");
    w.setup.set("--max-body-bytes", "3MiB");
    // Time to pack in.
    w.setup.set("--flush-interval", "8s");
    w.setup.set("--clickhouse-url", "http://127.0.0.1:1");
    let program = w.setup.run();
    // The mock cluster keeps 5 MiB of a partition.
    for seed in 1..=6 {
        w.kafka.produce(seed, 50_000);
        w.setup.wait_status(|s| s["queue"]["rows"] == seed * 50_000);
    }
    program.stop();
    w.setup.set("--clickhouse-url", &relay.url());
    let lose = || {
        relay.lose(Loss::Answer);
        let deadline = Instant::now() + PATIENCE;
        while relay.is_due() {
            assert!(Instant::now() < deadline, "nothing was asked");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let program = w.run();
    lose();
    program.kill();
    let program = w.setup.run();
    (0..3).for_each(|_| lose());
    program.wait_log("as Native");
    let log = program.log();
    assert!(log.contains("(attempt 2)"), "{log}");
    w.finish(program);
    let totals = "SELECT sum(requests) FROM http_log_totals";
    assert_eq!(w.number(totals), 300_000);
}

#[test]
fn a_wrong_password_holds_until_it_is_right() {
    let mut w = World::stopped("right");
    w.stack.start();
    let file = w.setup.data_dir().with_file_name("password");
    std::fs::write(&file, "wrong\n").unwrap();
    w.setup
        .set("--clickhouse-password-file", &file.display().to_string());
    w.setup.set("--clickhouse-user", "default");
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    let status = w.setup.wait_status(|s| !s["flush"]["hold"].is_null());
    let why = status["flush"]["hold"].as_str().unwrap();
    assert!(why.contains("code 516 (AUTHENTICATION_FAILED)"), "{why}");
    program.stop();
    std::fs::write(&file, "right\n").unwrap();
    let program = w.run();
    w.finish(program);
}

#[test]
fn too_many_parts_are_waited_out() {
    let mut w = World::new();
    w.sql("SYSTEM STOP MERGES http_log").unwrap();
    w.sql(
        "ALTER TABLE http_log MODIFY SETTING parts_to_delay_insert = 1, parts_to_throw_insert = 2",
    )
    .unwrap();
    let program = w.run();
    for seed in 1..5 {
        w.kafka.produce(seed, 300);
        if seed < 3 {
            w.wait_rows(w.kafka.expected_rows());
        }
    }
    program.wait_log("code 252 (TOO_MANY_PARTS)");
    w.sql("ALTER TABLE http_log RESET SETTING parts_to_delay_insert, parts_to_throw_insert")
        .unwrap();
    w.sql("SYSTEM START MERGES http_log").unwrap();
    w.finish(program);
}

#[test]
fn many_partitions_in_one_insert_are_stored() {
    let mut w = World::new();
    // Partitions of another's making: a day each, a thousand of them, where ClickHouse by default takes 100.
    let ddl = std::fs::read_to_string("ops/clickhouse/20-http_log.sql").unwrap();
    let ddl = ddl.replace(
        "toYear(timestamp, 'UTC')",
        "intDiv(toUnixTimestamp(timestamp), 86400)",
    );
    w.sql("DROP TABLE http_log SYNC").unwrap();
    w.sql(ddl.trim_end().trim_end_matches(';')).unwrap();
    let messages: Vec<Vec<u8>> = Synth::new(1, 0)
        .take(2_000)
        .enumerate()
        .map(|(i, mut record)| {
            record.timestamp_epoch_milli = 86_400_000 * (i as u64 % 1_000);
            let mut message = Vec::new();
            record.encode_into(&mut message);
            message
        })
        .collect();
    w.kafka.send(&messages);
    let program = w.run();
    w.finish(program);
    let partitions = "SELECT uniqExact(partition) FROM system.parts WHERE table = 'http_log'";
    assert_eq!(w.number(partitions), 1_000);
}

#[test]
fn a_full_disk_of_the_server_is_waited_out() {
    let mut w = World::stopped("");
    let at = w.stack.dir().join("data/clickhouse/engine");
    let Some(disk) = SmallDisk::mount(&w.stack.dir().join("disk"), &at, 200) else {
        return;
    };
    w.stack.start();
    w.kafka.produce(1, 300);
    let program = w.run();
    w.wait_rows(300);
    let filler = disk.fill();
    w.kafka.produce(2, 3000);
    program.wait_log("request failed, will be made again: HTTP 500, code 243");
    std::fs::remove_file(filler).unwrap();
    w.finish(program);
    w.stack.stop();
}

/// A table of an earlier version, whose years were the server's, in a server whose time zone has changed.
#[test]
fn reconcile_finds_rows_whose_year_has_become_another() {
    let mut w = World::stopped("");
    w.stack.set("TZ", "America/New_York");
    w.stack.start();
    let ddl = std::fs::read_to_string("ops/clickhouse/20-http_log.sql").unwrap();
    let earlier = ddl.replace("toYear(timestamp, 'UTC')", "toYear(timestamp)");
    w.sql("DROP TABLE http_log SYNC").unwrap();
    w.sql(earlier.trim_end().trim_end_matches(';')).unwrap();
    // The last hours of a year of UTC, and the first of the next, which are of the former one there.
    let new_year = 1_798_761_600;
    let messages: Vec<Vec<u8>> = Synth::new(1, 0)
        .take(600)
        .zip(0u64..)
        .map(|(mut record, i)| {
            record.timestamp_epoch_milli = (new_year - 9 * 3600 + i * 108) * 1000;
            let mut message = Vec::new();
            record.encode_into(&mut message);
            message
        })
        .collect();
    w.kafka.send(&messages);
    let program = w.run();
    program
        .wait_log("the partitions of http_log (toYear(timestamp)) are of the server's time zone");
    w.wait_rows(600);
    program.stop();
    for zone in ["Europe/London", "Asia/Tokyo"] {
        w.stack.stop();
        w.stack.set("TZ", zone);
        w.stack.start();
        assert_eq!(w.sql("SELECT timezone()").unwrap().trim(), zone);
        let mut reconcile = w.setup.command("reconcile");
        let out = reconcile
            .args(["--json", "--from", "2027-01-01T00:00:00Z"])
            .output()
            .unwrap();
        let found: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(found["differences"].as_array().unwrap().len(), 0, "{found}");
        assert_eq!(found["found"], 300, "{found}");
    }
}

#[test]
fn reconcile_agrees_until_rows_are_deleted() {
    let mut w = World::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let soon = (now.as_secs() / 60 + 2) * 60;
    let messages: Vec<Vec<u8>> = Synth::new(1, 0)
        .take(600)
        .zip(0u64..)
        .map(|(mut record, i)| {
            // Most within three minutes, some on days all over a century.
            let second = match i % 10 {
                0 => i * 7_000_000,
                _ => soon + i % 180,
            };
            record.timestamp_epoch_milli = second * 1000;
            let mut message = Vec::new();
            record.encode_into(&mut message);
            message
        })
        .collect();
    w.kafka.send(&messages);
    let program = w.run();
    w.wait_rows(600);
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    let reconcile = |code: i32| -> Value {
        let out = w.setup.command("reconcile").arg("--json").output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{said}");
        serde_json::from_slice(&out.stdout).unwrap()
    };
    let found = reconcile(0);
    assert_eq!(
        (&found["found"], &found["minutes"]),
        (&600.into(), &3.into())
    );
    assert!(found["days"].as_u64() > Some(50), "{found}");
    let day = 5 * 70_000_000 / 86_400;
    w.sql(&format!(
        "ALTER TABLE http_log DELETE WHERE intDiv(toUnixTimestamp(timestamp), 60) = {} \
         OR intDiv(toUnixTimestamp(timestamp), 86400) = {day} SETTINGS mutations_sync = 2",
        soon / 60 + 1
    ))
    .unwrap();
    program.stop();
    let found = reconcile(3);
    let starts: Vec<u64> = found["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["start"].as_u64().unwrap())
        .collect();
    assert_eq!(starts, [day * 86_400, soon + 60]);
}
