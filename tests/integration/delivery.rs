//! Does every record arrive exactly once, whatever ClickHouse answers and whenever we are killed?
//!
//! The real program as a process, librdkafka's mock cluster, and a ClickHouse that is strict and
//! fails on demand.

use std::time::{Duration, Instant};

use anonymizer::queue::{DataDir, Queue};

use crate::support::fake_clickhouse::{Fault, Outcome, Seen, State};
use crate::support::program::Program;
use crate::support::wait::PATIENCE;
use crate::support::world::World;

#[test]
fn records_arrive_once_and_offsets_are_committed() {
    let mut w = World::new();
    w.kafka.produce(1, 3000);
    w.finish(w.setup.run());
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
    w.finish(w.setup.run());
}

/// Waits until a request for the batch was answered, after its answer was lost.
fn wait_asked(w: &World) {
    let asked = |s: &State| s.requests.iter().any(|r| r.sql.contains("'running' AS"));
    w.clickhouse.wait_until(asked, PATIENCE);
}

#[test]
fn a_batch_whose_answer_was_lost_is_asked_for_and_not_sent_again() {
    let mut w = World::new();
    w.kafka.produce(1, 3000);
    let program = w.run_when_read([Fault::ApplyThenDrop]);
    wait_asked(&w);
    w.wait_queued(0);
    program.wait_log("it is not sent again");
    program.stop();
    w.assert_exactly_once();
    assert_eq!(w.inserts().len(), 1);
}

/// A topic that carries everything twice: what is there are the rows of the first time.
#[test]
fn a_batch_whose_rows_are_all_there_by_another_batch_is_sent_again_and_not_lost() {
    let mut w = World::new();
    w.clickhouse.state().started = 1000;
    let program = w.run_with([]);
    w.kafka.produce(1, 3000);
    w.clickhouse.wait_until(|s| s.row_count() == 3000, PATIENCE);
    w.clickhouse.fail(Fault::ResetAfterBody);
    w.kafka.produce(1, 3000);
    program.wait_log("its token tells whether it is there");
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
    w.assert_exactly_once();
}

/// The token is tried once: a way that swallows each answer ends it by the rows.
#[test]
fn a_batch_that_is_there_is_not_sent_for_ever_where_no_answer_comes() {
    let mut w = World::new();
    w.clickhouse.state().started = 1000;
    // Time to drop the second answer, too.
    w.setup.set("--flush-interval", "5s");
    w.kafka.produce(1, 3000);
    let program = w.run_when_read([Fault::ApplyThenDrop]);
    program.wait_log("its token tells whether it is there");
    w.clickhouse.fail(Fault::ApplyThenDrop);
    program.wait_log("it is not sent again");
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
    w.assert_exactly_once();
    assert_eq!(w.inserts().len(), 2);
}

/// Found by the hostile schedules: what ClickHouse said was believed after a restart, too.
#[test]
fn what_clickhouse_said_of_a_batch_before_a_restart_is_asked_anew() {
    let mut w = World::new().with("--flush-interval", "5s");
    w.kafka.produce(1, 3000);
    let program = w.run_when_read([Fault::ResetAfterBody]);
    program.wait_log("ClickHouse has nothing of batch");
    program.stop();
    // The first attempt arrives after all, and others fill the window.
    w.clickhouse.state().rows = w.kafka.expected.clone();
    let sent = w.inserts().len();
    w.finish(w.setup.run());
    assert_eq!(w.inserts().len(), sent);
}

#[test]
fn few_rows_whose_answer_was_lost_are_resent_under_their_token_and_not_doubled() {
    let mut w = World::new();
    let program = w.run_with([Fault::ApplyThenDrop]);
    // Others may have the same: so few say nothing, and the token decides.
    w.kafka.produce(1, 5);
    w.clickhouse.wait_until(
        |s| {
            s.requests
                .iter()
                .any(|r| r.outcome == Outcome::Deduplicated)
        },
        PATIENCE,
    );
    w.finish(program);
}

/// What differs between the first attempt of a batch, whose answer is lost, and the next one.
pub enum Since {
    /// ClickHouse is of another release, which does not know its tokens.
    Upgraded,
    /// Other writers filled the window.
    OthersWrote,
    /// The tables are others, with nothing in them.
    Replaced,
    /// The proxy sends to another server now, with the same tables and nothing in them.
    OtherServer,
    /// ClickHouse is of another release, and its profile has it answer in part.
    UpgradedAndCutShort,
}

/// Sends `rows` rows, loses the answer, and lets that happen.
pub fn lost_before(since: Since, rows: usize) -> (World, Program) {
    let mut w = World::new();
    w.clickhouse.state().version = Some(("25.8.2.1", ""));
    w.clickhouse.state().server_id = "a";
    w.clickhouse.state().window = Some(5);
    w.kafka.produce(1, rows);
    let program = w.run_when_read([Fault::Hang(PATIENCE)]);
    let whole = |r: &Seen| r.token.is_some() && r.content_length == Some(r.body_read);
    let sent = |s: &State| s.requests.iter().any(whole);
    w.clickhouse.wait_until(sent, PATIENCE);
    program.kill();
    w.clickhouse.release();
    let want = rows as u64;
    w.clickhouse.wait_until(|s| s.row_count() == want, PATIENCE);
    let mut state = w.clickhouse.state();
    state.tokens.clear();
    match since {
        Since::Upgraded => state.version = Some(("26.9.2.1", "new_unified_hash")),
        Since::OthersWrote => state.blocks += 10,
        Since::Replaced => {
            state.uuid = Some("00000000-0000-0000-0000-000000000002".into());
            state.rows.clear();
        }
        Since::OtherServer => {
            state.server_id = "b";
            state.rows.clear();
        }
        Since::UpgradedAndCutShort => {
            state.version = Some(("26.9.2.1", "new_unified_hash"));
            state.cuts_answers = true;
        }
    }
    drop(state);
    let program = w.setup.run();
    (w, program)
}

#[test]
fn an_upgrade_of_clickhouse_while_an_answer_is_lost_doubles_nothing() {
    let (w, program) = lost_before(Since::Upgraded, 300);
    w.finish(program);
    assert_eq!(w.inserts().len(), 1, "the new release would store it again");
}

#[test]
fn a_window_that_other_writers_filled_doubles_nothing() {
    let (w, program) = lost_before(Since::OthersWrote, 300);
    w.finish(program);
    assert_eq!(w.inserts().len(), 1, "nobody knows the token");
}

#[test]
fn a_batch_that_is_not_in_the_tables_that_replaced_its_own_is_sent_to_them() {
    let (w, program) = lost_before(Since::Replaced, 300);
    w.finish(program);
    assert_eq!(w.inserts().len(), 2);
}

#[test]
fn a_batch_that_nobody_can_tell_of_is_held_until_a_person_looked() {
    for since in [Since::Upgraded, Since::OthersWrote] {
        // Too few to be told from those of another batch.
        let (w, program) = lost_before(since, 5);
        let status = w.setup.wait_status(|s| !s["flush"]["hold"].is_null());
        let why = status["flush"]["hold"].as_str().unwrap();
        assert!(why.contains("ClickHouse cannot tell"), "{why}");
        assert_eq!(w.inserts().len(), 1);
        program.stop();
    }
}

#[test]
fn what_a_person_has_to_do_is_said_as_long_as_it_is_to_be_done() {
    let (w, program) = lost_before(Since::OthersWrote, 5);
    w.held_for("ClickHouse cannot tell");
    program.kill();
    // As after that many attempts that got no answer.
    let queue = Queue::open(DataDir::lock(&w.setup.data_dir()).unwrap()).unwrap();
    let mut batch = queue.summary().unwrap().batches.remove(0);
    batch.doubt.unanswered = 3;
    queue.update_batch(&batch).unwrap();
    queue.sync().unwrap();
    drop(queue);
    let program = w.setup.run();
    w.held_for("ClickHouse cannot tell");
    // It looks at the batch again and again, and asks anew only after ten slots.
    let told = Instant::now();
    while told.elapsed() < Duration::from_secs(4) {
        let status = w.setup.status();
        let why = status["flush"]["hold"].as_str().unwrap_or_default();
        assert!(why.contains("Look whether its rows are there"), "{why}");
    }
    program.stop();
}

#[test]
fn a_batch_that_another_server_may_have_is_held() {
    let (w, program) = lost_before(Since::OtherServer, 300);
    let why = w.hold();
    assert!(
        why.contains("another server (a) than the one that answers now (b)"),
        "{why}"
    );
    assert_eq!(w.inserts().len(), 1);
    program.stop();
}

#[test]
fn a_batch_that_one_of_several_servers_in_turn_may_have_is_held() {
    let mut w = World::new();
    w.clickhouse.state().in_turn = true;
    let program = w.run_with([]);
    for seed in 1..=3 {
        w.stores(seed, 300);
        w.wait_queued(0);
    }
    program.wait_log("several servers answer at this address in turn");
    w.clickhouse.fail(Fault::ApplyThenDrop);
    // One, which can only be a batch of its own; of so few the token would decide.
    w.kafka.produce(4, 1);
    let why = w.hold();
    assert!(
        why.contains("in turn (another, fake)") || why.contains("in turn (fake, another)"),
        "{why}"
    );
    program.stop();
    w.assert_exactly_once();
}

#[test]
fn a_profile_that_cuts_answers_short_doubles_nothing() {
    let (w, program) = lost_before(Since::UpgradedAndCutShort, 300);
    w.finish(program);
    assert_eq!(w.inserts().len(), 1);
}

#[test]
fn raw_rows_without_their_totals_are_not_taken_for_stored() {
    let mut w = World::new();
    w.clickhouse.state().disagree.insert("http_log_1h".into());
    let program = w.run_with([Fault::ApplyThenDrop]);
    w.kafka.produce(1, 300);
    // The token is known: the resend fills the totals.
    let again = |s: &State| {
        let known = |r: &Seen| r.outcome == Outcome::Deduplicated;
        s.requests.iter().any(known)
    };
    w.clickhouse.wait_until(again, PATIENCE);
    w.finish(program);
}

/// Sends 12,000 rows in one batch, on a way of which `narrow` makes it too much.
fn too_big(narrow: impl FnOnce(&mut State)) {
    let mut w = World::new();
    w.kafka.produce(1, 12_000);
    narrow(&mut w.clickhouse.state());
    let program = w.run_when_read([]);
    program.wait_log("got no answer in 3 attempts");
    w.wait_all_stored();
    program.wait_log("it is divided");
    w.finish(program);
}

#[test]
fn a_batch_too_big_for_clickhouse_is_divided_until_it_passes() {
    too_big(|state| state.most_rows = Some(7000));
}

#[test]
fn a_batch_too_big_for_its_way_is_divided_until_it_passes() {
    too_big(|state| state.cut_bodies = Some(250 << 10));
}

#[test]
fn a_kill_while_an_insert_is_under_way_neither_loses_nor_doubles() {
    let mut w = World::new();
    let program = w.run_with([Fault::Hang(PATIENCE)]);
    w.kafka.produce(1, 3000);
    w.wait_insert();
    program.kill();
    w.clickhouse.release();
    w.finish(w.setup.run());
}

#[test]
fn a_kill_under_an_insert_leaves_the_batch_marked() {
    let mut w = World::new();
    let program = w.run_with([Fault::Hang(PATIENCE)]);
    w.kafka.produce(1, 300);
    w.wait_insert();
    program.kill();
    let batch = &w.setup.status()["queue"]["batches"][0];
    assert_eq!(batch["may_be_stored"], true, "{batch}");
    w.clickhouse.release();
}

/// A filter that does not like ClickHouse's answer, then a proxy that takes less than before.
#[test]
fn a_batch_that_a_filter_answered_for_is_not_cut_anew() {
    let mut w = World::new();
    let program = w.run_with([
        Fault::ApplyThenStatus(403),
        Fault::Refused {
            status: 413,
            retry_after: None,
        },
    ]);
    w.kafka.produce(1, 3000);
    w.finish(program);
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
    w.finish(program);
    let tokens: Vec<_> = w.inserts().iter().filter_map(|r| r.token.clone()).collect();
    // The later faults met the question whether the first one was stored.
    assert!(tokens.len() >= 2, "{tokens:?}");
    assert_eq!(tokens[0], tokens[1], "the same batch again: {tokens:?}");
}

#[test]
fn requests_keep_their_distance_across_a_kill() {
    let mut w = World::new().with("--flush-interval", "8s");
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
        // The attempt is written down before it is sent; on a busy machine one arrives late, and the next not.
        assert!(distance >= Duration::from_secs(4), "{distance:?}");
    }
    w.assert_exactly_once();
}

#[test]
fn the_limiters_refusal_costs_nothing_and_loses_nothing() {
    let mut w = World::new();
    let program = w.run_with([Fault::Limited503(Some("1")), Fault::Limited503(Some("1"))]);
    w.stores(1, 300);
    program.stop();
    w.assert_exactly_once();
}

#[test]
fn a_body_too_large_is_cut_smaller_and_the_limit_is_kept() {
    let mut w = World::new();
    w.clickhouse.limit_body(Some(60_000));
    w.kafka.produce(1, 4500);
    w.finish(w.setup.run());
    let refused = |w: &World| {
        let all = w.clickhouse.requests();
        all.iter().filter(|r| r.status == 413).count()
    };
    let before = refused(&w);
    assert!(before > 0);
    w.kafka.produce(2, 4500);
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
    let status = w.wait_queued(0);
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
    let hold = w.hold();
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
    w.wait_insert();
    program.stop();
    w.clickhouse.release();
    let program = w.setup.run();
    w.wait_all_stored();
    program.stop();
    w.assert_exactly_once();
}
