//! The whole program on real parts: Apache Kafka, nginx at one request a minute, ClickHouse's engine,
//! all started by `ops/stack` in directories and on ports of their own. Takes about four minutes, so
//! plain `cargo test` leaves it out: `cargo test --test end_to_end`.
//!
//! With 1,000,000 records over 6 partitions, messages that are no records among them, and a proxy
//! that takes 64 MiB:
//! - after a SIGKILL in the middle of reading and one in the middle of an insert, ClickHouse holds
//!   every record once: count, sums, and counts by status, resource and masked address are those of
//!   what was produced; and so do the totals;
//! - the killed insert goes out again under the same token;
//! - a message that cannot be a row is in quarantine, once, whatever was killed;
//! - no unmasked address is in a stored block, a sealed batch or a quarantine entry, in a log line at
//!   level debug, a status answer or a metric, nor in ClickHouse;
//! - no request is made in a slot that is used, whatever was killed;
//! - SIGTERM ends the program with exit code 0 within 10 s, and `status` then works without it.
//!
//! With nginx's default limit of 1 MiB:
//! - refused bodies (413) cost no slot: an insert passes in the slot of the first refusal;
//! - the limit that was learnt holds after a restart;
//! - what has arrived is part of what was produced, and what has not is still queued.

mod checks;
mod program;
mod stack;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use checks::{Odd, Plain, Row, Totals};
use program::Program;
use stack::{Stack, until};

const TICK: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_million_records_survive_a_kill() {
    const COUNT: u64 = 1_000_000;
    const SEED: u64 = 11;
    let stack = Stack::up("million", "64m");
    let start_ms = now_ms();
    let plain = std::thread::spawn(move || Plain::of_synth(SEED, start_ms, COUNT));
    // The odd ones first: they are read, and set aside, before the first kill.
    let odd = Odd::load();
    stack.produce(&odd.messages);
    let mut program = Program::new(&stack);
    let mut want = Totals::of_summary(&program.produce(COUNT, SEED, start_ms));
    odd.rows.iter().for_each(|row| want.add(row));
    let mut plain = plain.join().expect("the producer's addresses");
    plain.odd.extend(odd.addresses);

    program.start();
    let appended = until("a quarter of the rows to be queued", TICK, || {
        program
            .metric("rows_appended_total")
            .filter(|n| *n > want.count / 4)
    });
    program.status();
    program.kill();
    stack.say(&format!(
        "killed in the middle of reading, {appended} rows queued"
    ));
    let kept = program.stored();
    assert!(
        (1..want.count).contains(&kept.rows),
        "{} rows queued",
        kept.rows
    );
    assert!(kept.quarantined > 0);
    let offline = program.status();
    assert_eq!(offline["live"], false);
    assert_eq!(offline["queue"]["rows"], kept.rows);

    program.start();
    let (token, bytes) = until("the first insert", TICK * 5, || {
        let status = program.status();
        let batch = status["queue"]["batches"].get(0)?;
        let tried = batch["attempts"].as_u64()? > 0;
        tried.then_some((
            batch["token"].as_str()?.to_owned(),
            batch["bytes"].as_u64()?,
        ))
    });
    // From here on ClickHouse stores the batch whether or not anybody waits for the answer.
    until("its whole body to be at ClickHouse", TICK / 4, || {
        let is_there = stack.has_body_of(bytes);
        assert!(
            is_there || stack.inserts(&token).is_empty(),
            "the insert was answered before it could be killed"
        );
        is_there.then_some(())
    });
    program.kill();
    stack.say("killed in the middle of an insert");
    let kept = program.stored();
    let sealed = kept.sealed.expect("the batch is still sealed");
    assert_eq!((sealed.token, sealed.may_be_stored), (token.clone(), true));

    program.start();
    let mut before = None;
    until(
        "all rows to be in ClickHouse, and acknowledged",
        SECOND,
        || {
            let stored = stack.count();
            assert!(
                stored <= want.count,
                "{stored} rows, {} produced",
                want.count
            );
            let queued = program.metric("queue_rows")?;
            if before.replace((stored, queued)) != Some((stored, queued)) {
                stack.say(&format!("{stored} rows in ClickHouse, {queued} queued"));
            }
            (stored == want.count && program.status()["queue"]["rows"] == 0).then_some(())
        },
    );
    let live = program.status();
    program.stop();
    let stopped = program.status();
    assert_eq!(
        (&live["live"], &stopped["live"]),
        (&true.into(), &false.into())
    );
    assert_eq!(stopped["queue"]["rows"], 0);

    want.compare(&Totals::in_clickhouse(&stack));
    checks::totals_are_those_of_the_rows(&stack);
    assert_eq!(program.stored().quarantined, odd.quarantined);
    assert!(
        !stack.inserts(&token).is_empty(),
        "the killed insert did not come through the proxy"
    );
    checks::one_request_a_slot(&stack.requests());
    plain.absent_from(&program.said());
}

#[test]
fn the_default_body_limit_is_learnt_and_kept() {
    const COUNT: u64 = 150_000;
    const SEED: u64 = 12;
    const DEFAULT_LIMIT: u64 = 1 << 20;
    let stack = Stack::up("limit", "1m");
    let start_ms = now_ms();
    let mut program = Program::new(&stack);
    program.produce(COUNT, SEED, start_ms);

    program.start();
    until("all rows to be queued", TICK * 5, || {
        (program.metric("rows_appended_total")? == COUNT).then_some(())
    });
    let queued = program.status();
    assert_eq!(queued["queue"]["rows"], COUNT);
    assert!(
        queued["queue"]["bytes"].as_u64() > Some(2 * DEFAULT_LIMIT),
        "too few rows to meet the limit: {queued}"
    );
    let first = until("the first insert to pass", SECOND / 4, || {
        stack.inserts("").into_iter().find(|r| r.passed())
    });
    // Its answer may still be on the way.
    until("its acknowledgement", TICK * 5, || {
        program.metric("rows_inserted_total").filter(|n| *n > 0)
    });
    let refused = stack.refused_bodies();
    let shortest = *refused.iter().min().expect("the first body is too long");
    let requests = stack.requests();
    let tried = requests.iter().find(|r| r.too_large()).unwrap().start;
    assert!(
        (tried..tried + 60.0).contains(&first.start),
        "413 cost a slot: first refusal {tried}, first insert {}",
        first.start
    );
    let learnt = program.status()["flush"]["body_limit"].as_u64();
    assert!(learnt < Some(shortest), "{learnt:?} of {shortest}");
    stack.say(&format!("{} bodies refused in one slot", refused.len()));
    program.stop();

    program.start();
    assert_eq!(program.status()["flush"]["body_limit"].as_u64(), learnt);
    until("the second insert to pass", SECOND / 4, || {
        let passed = stack.inserts("").into_iter().filter(|r| r.passed());
        (passed.count() >= 2).then_some(())
    });
    program.stop();
    let again = &stack.refused_bodies()[refused.len()..];
    assert!(
        again.iter().all(|bytes| *bytes < shortest),
        "the limit was forgotten: {again:?} refused, and {refused:?} before the restart"
    );

    checks::one_request_a_slot(&stack.requests());
    let arrived = Row::all(&stack.query("SELECT * FROM http_log FORMAT RowBinary"));
    let left = program.status()["queue"]["rows"].as_u64();
    assert_eq!(left.map(|left| left + arrived.len() as u64), Some(COUNT));
    checks::are_part_of(&arrived, SEED, start_ms, COUNT);
    Plain::of_synth(SEED, start_ms, COUNT).absent_from(&program.said());
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock after 1970").as_millis() as u64
}
