//! Does every record arrive exactly once, whatever ClickHouse answers and whenever we are killed?
//!
//! The real program as a process, librdkafka's mock cluster, and a ClickHouse that is strict and
//! fails on demand.

use std::time::Duration;

use crate::support::fake_clickhouse::{FakeClickHouse, Fault, Outcome};
use crate::support::kafka::Kafka;
use crate::support::program::{PATIENCE, Program, Setup};
use crate::support::wall_clock::WallClock;

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

    /// A program that has checked the tables, so that the faults meet its inserts.
    fn run_with(&self, faults: impl IntoIterator<Item = Fault>) -> Program {
        let program = self.setup.run();
        program.wait_log("the tables exist");
        self.clickhouse.state().faults.extend(faults);
        program
    }

    fn wait_all_stored(&self) {
        let want = self.kafka.expected_rows();
        self.clickhouse
            .wait_until(|s| s.row_count() >= want, PATIENCE);
    }

    fn assert_exactly_once(&self) {
        self.clickhouse.assert_holds_once(&self.kafka.expected);
    }

    /// Inserts that reached ClickHouse, not its proxy only.
    fn inserts(&self) -> Vec<crate::support::fake_clickhouse::Seen> {
        let mut all = self.clickhouse.requests();
        all.retain(|r| r.token.is_some() && r.outcome != Outcome::Refused);
        all
    }
}

#[test]
fn records_arrive_once_and_offsets_are_committed() {
    let mut w = World::new();
    w.kafka.produce(1, 3000);
    let program = w.setup.run();
    w.wait_all_stored();
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
    w.assert_exactly_once();
    assert_eq!(
        w.kafka.committed(),
        [(0, 1000), (1, 1000), (2, 1000)].into()
    );
}

#[test]
fn a_restart_goes_on_where_the_last_run_ended() {
    let mut w = World::new();
    w.kafka.produce(1, 3000);
    let program = w.setup.run();
    w.wait_all_stored();
    program.stop();
    w.kafka.produce(2, 3000);
    let program = w.setup.run();
    w.wait_all_stored();
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
    w.assert_exactly_once();
}

#[test]
fn a_lost_answer_is_resent_under_the_same_token_and_not_doubled() {
    let mut w = World::new();
    let program = w.run_with([Fault::ApplyThenDrop]);
    w.kafka.produce(1, 3000);
    w.clickhouse.wait_until(
        |s| {
            s.requests
                .iter()
                .any(|r| r.outcome == Outcome::Deduplicated)
        },
        PATIENCE,
    );
    w.wait_all_stored();
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
    w.assert_exactly_once();
}

#[test]
fn a_kill_while_an_insert_is_under_way_neither_loses_nor_doubles() {
    let mut w = World::new();
    let program = w.run_with([Fault::Hang(PATIENCE)]);
    w.kafka.produce(1, 3000);
    w.clickhouse
        .wait_until(|s| s.requests.iter().any(|r| r.token.is_some()), PATIENCE);
    program.kill();
    w.clickhouse.release();
    let program = w.setup.run();
    w.wait_all_stored();
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
    w.assert_exactly_once();
}

#[test]
fn a_kill_under_an_insert_leaves_the_batch_marked() {
    let mut w = World::new();
    let program = w.run_with([Fault::Hang(PATIENCE)]);
    w.kafka.produce(1, 300);
    w.clickhouse
        .wait_until(|s| s.requests.iter().any(|r| r.token.is_some()), PATIENCE);
    program.kill();
    let batch = &w.setup.status()["queue"]["batches"][0];
    assert_eq!(batch["may_be_stored"], true, "{batch}");
    w.clickhouse.release();
}

#[test]
fn a_batch_whose_token_may_be_forgotten_is_held() {
    let mut w = World::new();
    let clock = WallClock::of(&mut w.setup);
    // With a request a second, ClickHouse remembers a token for one second.
    w.clickhouse.state().window = Some(1);
    let program = w.run_with([Fault::Hang(PATIENCE)]);
    w.kafka.produce(1, 300);
    w.clickhouse
        .wait_until(|s| s.requests.iter().any(|r| r.token.is_some()), PATIENCE);
    program.kill();
    w.clickhouse.release();
    let sent = w.inserts().len();
    // A restart is faster than that.
    clock.set(2000);
    let program = w.setup.run();
    let status = w.setup.wait_status(|s| !s["flush"]["hold"].is_null());
    let why = status["flush"]["hold"].as_str().unwrap();
    assert!(why.contains("forgotten its token"), "{why}");
    assert_eq!(w.inserts().len(), sent);
    program.stop();
}

#[test]
fn a_batch_that_may_be_stored_is_not_sent_to_a_table_that_was_replaced() {
    let mut w = World::new();
    let program = w.run_with([
        Fault::ApplyThenDrop,
        Fault::ExceptionHeader {
            http: 404,
            code: 60,
        },
    ]);
    w.clickhouse.state().uuid = Some("00000000-0000-0000-0000-000000000002".into());
    w.kafka.produce(1, 300);
    let status = w.setup.wait_status(|s| !s["flush"]["hold"].is_null());
    let why = status["flush"]["hold"].as_str().unwrap();
    assert!(why.contains("replaced"), "{why}");
    let sent = w.inserts().len();
    program.stop();
    assert_eq!(sent, 2);
}

#[test]
fn rows_stay_queued_until_clickhouse_has_them() {
    let mut w = World::new();
    let program = w.run_with([
        Fault::ExceptionHeader {
            http: 500,
            code: 252,
        },
        Fault::ExceptionHeader {
            http: 200,
            code: 209,
        },
        Fault::Status(502),
        Fault::ResetMidBody,
    ]);
    w.kafka.produce(1, 3000);
    w.wait_all_stored();
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
    w.assert_exactly_once();
    let tokens: Vec<_> = w.inserts().iter().filter_map(|r| r.token.clone()).collect();
    assert!(tokens.len() >= 5, "{tokens:?}");
    assert_eq!(tokens[0], tokens[3], "the same batch again: {tokens:?}");
}

#[test]
fn requests_keep_their_distance_across_a_kill() {
    let mut w = World::new();
    w.setup.set("--flush-interval", "4s");
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    w.clickhouse
        .wait_until(|s| !s.requests.is_empty(), PATIENCE);
    program.kill();
    let program = w.setup.run();
    w.wait_all_stored();
    program.stop();
    let requests = w.clickhouse.requests();
    for pair in requests.windows(2) {
        let distance = pair[1].at - pair[0].at;
        // The attempt is written down before it is sent, so the distance can only be larger.
        assert!(distance >= Duration::from_millis(3900), "{distance:?}");
    }
    w.assert_exactly_once();
}

#[test]
fn the_limiters_refusal_costs_nothing_and_loses_nothing() {
    let mut w = World::new();
    let program = w.run_with([Fault::Limited503(Some("1")), Fault::Limited503(Some("1"))]);
    w.kafka.produce(1, 300);
    w.wait_all_stored();
    program.stop();
    w.assert_exactly_once();
}

#[test]
fn a_body_too_large_is_cut_smaller_and_the_limit_is_kept() {
    let mut w = World::new();
    w.clickhouse.limit_body(Some(60_000));
    w.kafka.produce(1, 9000);
    let program = w.setup.run();
    w.wait_all_stored();
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
    w.assert_exactly_once();
    let refused = |w: &World| {
        let all = w.clickhouse.requests();
        all.iter().filter(|r| r.status == 413).count()
    };
    let before = refused(&w);
    assert!(before > 0);
    w.kafka.produce(2, 9000);
    let program = w.setup.run();
    w.wait_all_stored();
    program.stop();
    w.assert_exactly_once();
    let largest = w
        .clickhouse
        .requests()
        .iter()
        .filter_map(|r| r.content_length)
        .max();
    let after: Vec<u64> = w
        .clickhouse
        .requests()
        .iter()
        .filter(|r| r.status == 413)
        .skip(before)
        .filter_map(|r| r.content_length)
        .collect();
    assert!(
        after.iter().all(|len| Some(*len) < largest),
        "{after:?} of {largest:?}"
    );
}

#[test]
fn an_undecodable_message_is_quarantined_and_the_rest_arrives() {
    let mut w = World::new();
    w.kafka.produce(1, 300);
    w.kafka
        .send(&[b"no capnp from 192.0.2.77".to_vec(), Vec::new()]);
    w.kafka.produce(2, 300);
    let program = w.setup.run();
    w.wait_all_stored();
    let status = w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    assert_eq!(status["queue"]["quarantined"], 2);
    let log = program.log();
    program.stop();
    assert!(!log.contains("192.0.2.77"), "{log}");
    w.assert_exactly_once();
}

#[test]
fn missing_tables_are_created_one_statement_a_slot_before_the_first_row() {
    let mut w = World::new();
    w.clickhouse.state().missing.insert("http_log".into());
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    w.clickhouse.wait_until(|s| !s.ddl.is_empty(), PATIENCE);
    w.clickhouse.state().missing.clear();
    w.wait_all_stored();
    program.stop();
    w.assert_exactly_once();
    let kinds: Vec<&str> = w
        .clickhouse
        .requests()
        .iter()
        .map(|r| match &r.sql {
            s if s.starts_with("SELECT") => "check",
            s if s.starts_with("CREATE") => "create",
            _ => "insert",
        })
        .collect();
    assert_eq!(kinds[..4], ["check", "create", "check", "insert"]);
}

#[test]
fn a_missing_view_of_the_totals_is_named_and_held_and_one_to_ask_is_not() {
    let mut w = World::new();
    w.setup.switch_on("--no-create-tables");
    w.clickhouse
        .state()
        .missing
        .extend(["http_log_fill_1h".to_string(), "traffic".to_string()]);
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    let status = w.setup.wait_status(|s| !s["flush"]["hold"].is_null());
    let hold = status["flush"]["hold"].as_str().unwrap();
    assert!(
        hold.contains("http_log_fill_1h") && !hold.contains("traffic"),
        "{hold}"
    );
    program.wait_log("rows that it holds will not be in the totals");
    assert_eq!(w.clickhouse.rows(), 0);
    w.clickhouse.state().missing.remove("http_log_fill_1h");
    w.wait_all_stored();
    program.stop();
    assert!(w.clickhouse.state().ddl.is_empty());
    w.assert_exactly_once();
}

#[test]
fn a_stop_ends_in_time_while_clickhouse_hangs() {
    let mut w = World::new();
    let program = w.run_with([Fault::Hang(PATIENCE)]);
    w.kafka.produce(1, 300);
    w.clickhouse
        .wait_until(|s| s.requests.iter().any(|r| r.token.is_some()), PATIENCE);
    program.stop();
    w.clickhouse.release();
    let program = w.setup.run();
    w.wait_all_stored();
    program.stop();
    w.assert_exactly_once();
}
