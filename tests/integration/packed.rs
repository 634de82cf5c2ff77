//! Does a backlog go out in full bodies, once each, whatever happens between two attempts?

use crate::support::fake_clickhouse::{Fault, Outcome, Seen};
use crate::support::kafka::Kafka;
use crate::support::wait::PATIENCE;
use crate::support::world::World;

const LIMIT: u64 = 256 << 10;

const RECORDS: usize = 30_000;

/// Records that take several bodies of [`LIMIT`], queued while ClickHouse is away.
fn with_a_backlog() -> World {
    with_a_backlog_of_bytes().0
}

/// With the bytes that the rows take as stored: more, the smaller the blocks they came in.
fn with_a_backlog_of_bytes() -> (World, u64) {
    let mut kafka = Kafka::start(3);
    kafka.produce(1, RECORDS);
    let limit = LIMIT.to_string();
    let w = World::on(kafka)
        .with("--max-body-bytes", &limit)
        .by(|_| "http://127.0.0.1:1".into());
    let program = w.setup.run();
    let queue = w.wait_queued(RECORDS)["queue"].take();
    program.stop();
    (w.by(|url| url), queue["bytes"].as_u64().unwrap())
}

#[test]
fn a_backlog_goes_out_in_full_bodies_of_more_rows() {
    let (w, stored) = with_a_backlog_of_bytes();
    w.finish(w.setup.run());
    let full: Vec<Seen> = w.inserts();
    let (last, full) = full.split_last().unwrap();
    assert!(last.rows > 0);
    let len = |insert: &Seen| insert.content_length.unwrap();
    for insert in full {
        // A block is up to a tenth of so small a body.
        assert!(
            (LIMIT * 8 / 10..=LIMIT).contains(&len(insert)),
            "{insert:?}"
        );
    }
    let rows: u64 = full.iter().map(|insert| insert.rows).sum();
    let sent: u64 = full.iter().map(len).sum();
    let as_stored = rows * stored / RECORDS as u64;
    // In another order a sixth less.
    assert!(
        sent < as_stored * 95 / 100,
        "{rows} rows: {sent} bytes of {as_stored}"
    );
}

#[test]
fn a_kill_after_the_first_attempt_sends_the_same_rows_in_a_body_made_again() {
    let w = with_a_backlog();
    let program = w.run_with([]);
    // Begun before the fault, an insert may have gone through.
    w.clickhouse.state().faults.push_back(Fault::Hang(PATIENCE));
    let taken = |r: &Seen| {
        r.outcome == Outcome::Running && r.token.is_some() && Some(r.body_read) == r.content_length
    };
    w.clickhouse.wait_until(
        |s| s.faults.is_empty() && s.requests.iter().any(taken),
        PATIENCE,
    );
    program.kill();
    w.clickhouse.release();
    w.clickhouse.wait_until(|s| s.row_count() > 0, PATIENCE);
    {
        // As if it had never arrived: what is there is not sent again.
        let mut state = w.clickhouse.state();
        state.rows.clear();
        state.tokens.clear();
    }
    let program = w.setup.run();
    w.wait_all_stored();
    w.wait_queued(0);
    w.assert_exactly_once();
    let log = program.log();
    assert!(
        log.lines()
            .any(|l| l.contains("packed from") && l.contains("(attempt 2)")),
        "{log}"
    );
    program.stop();
    let inserts = w.inserts();
    let twice = inserts.windows(2).find(|two| two[0].token == two[1].token);
    let [first, again] = twice.expect("sent twice") else {
        unreachable!("windows of two")
    };
    assert_eq!(first.rows, again.rows);
}

#[test]
fn a_limit_that_nobody_told_is_found_and_filled() {
    let mut w = with_a_backlog();
    w.setup.set("--max-body-bytes", "512KiB");
    w.clickhouse.state().body_limit = Some(LIMIT);
    w.finish(w.setup.run());
    let most = w.inserts().iter().map(|r| r.rows).max().unwrap();
    assert!(most > LIMIT / 35, "{most} rows at most");
}
