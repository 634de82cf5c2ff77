//! What may differ between an insert whose answer is lost and the next look at ClickHouse: another release on
//! the same data, whose hashes of tokens differ; totals that are not what the raw rows are; a window that
//! others have filled. Nothing may be stored twice, in the raw table or in the totals.

use crate::World;
use crate::support::relay::{Loss, Relay};

const TOTALS: [&str; 6] = ["totals", "totals_1d", "address_1d", "1m", "1h", "1d"];

/// A world with `rows` rows in ClickHouse `release`, by an insert whose answer was lost, and no program.
fn lost(release: &str, rows: usize) -> World {
    let mut w = World::stopped("");
    w.stack.set("CLICKHOUSE_RELEASE", release);
    w.stack.start();
    let relay = Relay::start(0, &w.url());
    w.setup.set("--clickhouse-url", &relay.url());
    // Time enough to stop the program before it asks.
    w.setup.set("--flush-interval", "10s");
    let program = w.run();
    relay.lose(Loss::Answer);
    w.kafka.produce(1, rows);
    program.wait_log("request failed, will be made again");
    program.kill();
    assert_eq!(w.number("SELECT count() FROM http_log"), rows as u64);
    w.setup.set("--flush-interval", "1s");
    w
}

fn restart_as(w: &mut World, release: &str) {
    w.stack.stop();
    w.stack.set("CLICKHOUSE_RELEASE", release);
    w.stack.start();
    assert!(w.sql("SELECT version()").unwrap().starts_with(release));
}

/// Goes on, and all rows are there once.
fn goes_on(mut w: World) {
    let program = w.setup.run();
    w.kafka.produce(2, 300);
    w.finish(program);
    let raw = w.number("SELECT count() FROM http_log");
    for table in TOTALS {
        let requests = format!("SELECT sum(requests) FROM http_log_{table}");
        assert_eq!(w.number(&requests), raw, "{table}");
    }
}

#[test]
fn an_upgrade_that_changes_the_hashes_of_tokens_doubles_nothing() {
    let mut w = lost("26.1", 300);
    restart_as(&mut w, "26.9");
    goes_on(w);
}

#[test]
fn an_upgrade_that_keeps_a_hash_of_tokens_doubles_nothing() {
    // So few rows are not told from others: the token decides.
    let mut w = lost("26.1", 5);
    restart_as(&mut w, "26.3");
    goes_on(w);
}

#[test]
fn few_rows_are_held_after_an_upgrade_that_changes_the_hashes_of_tokens() {
    let mut w = lost("26.1", 5);
    restart_as(&mut w, "26.9");
    is_held(&w, "26.1.2.1", 5);
}

#[test]
fn totals_that_lack_the_rows_are_noticed_after_an_upgrade() {
    let mut w = lost("26.1", 300);
    restart_as(&mut w, "26.9");
    w.sql("TRUNCATE TABLE http_log_1h").unwrap();
    is_held(&w, "http_log_1h", 300);
}

#[test]
fn a_window_that_another_writer_filled_doubles_nothing() {
    let w = lost("26.9", 5);
    for table in [""].into_iter().chain(TOTALS) {
        let table = format!("http_log_{table}");
        let table = table.trim_end_matches('_');
        let window = "non_replicated_deduplication_window = 10";
        w.sql(&format!("ALTER TABLE {table} MODIFY SETTING {window}"))
            .unwrap();
    }
    for n in 0..12 {
        w.sql(&format!(
            "INSERT INTO http_log (timestamp, resource_id) SETTINGS insert_deduplication_token = 'other-{n}' \
             VALUES (now(), {n})"
        ))
        .unwrap();
    }
    is_held(&w, "were written since", 5 + 12);
}

/// Others fill the windows with rows of a year, and drop it: the numbers of blocks are as before.
#[test]
fn a_window_that_was_filled_and_dropped_is_not_taken_for_unused() {
    let mut w = World::new();
    let everywhere = |w: &World, statement: &str| {
        for table in [""].into_iter().chain(TOTALS) {
            let table = format!("http_log_{table}");
            let table = table.trim_end_matches('_');
            w.sql(&format!("ALTER TABLE {table} {statement}")).unwrap();
        }
    };
    everywhere(
        &w,
        "MODIFY SETTING non_replicated_deduplication_window = 10",
    );
    let others = |w: &World, from: u64, to: u64| {
        for n in from..to {
            w.sql(&format!(
                "INSERT INTO http_log (timestamp, resource_id) SETTINGS \
                 insert_deduplication_token = 'other-{n}' \
                 VALUES (toDateTime('2050-01-01 12:00:00', 'UTC'), {n})"
            ))
            .unwrap();
        }
    };
    others(&w, 0, 1);
    let relay = Relay::start(0, &w.url());
    w.setup.set("--clickhouse-url", &relay.url());
    w.setup.set("--flush-interval", "10s");
    let program = w.run();
    relay.lose(Loss::Answer);
    w.kafka.produce(1, 5);
    program.wait_log("request failed, will be made again");
    program.kill();
    others(&w, 1, 13);
    everywhere(&w, "DROP PARTITION 2050");
    w.setup.set("--flush-interval", "1s");
    is_held(&w, "were dropped since", 5);
}

/// A topic that carries everything twice, and a second time that does not arrive: the rows of the first time
/// are there, as many as the batch has.
#[test]
fn a_batch_whose_rows_are_all_twins_is_sent_again_and_not_taken_for_stored() {
    let mut w = World::new();
    let relay = Relay::start(0, &w.url());
    w.setup.set("--clickhouse-url", &relay.url());
    // All rows of the second time are read before their slot.
    w.setup.set("--flush-interval", "6s");
    let program = w.run();
    w.kafka.produce(1, 3000);
    w.wait_rows(3000);
    relay.lose(Loss::RequestAfter(20_000));
    w.kafka.produce(1, 3000);
    program.wait_log("its token tells whether it is there");
    w.finish(program);
}

/// Goes on, says `why` it holds, and sends nothing.
fn is_held(w: &World, why: &str, raw: u64) {
    let program = w.setup.run();
    let status = w.setup.wait_status(|s| !s["flush"]["hold"].is_null());
    let hold = status["flush"]["hold"].as_str().unwrap();
    assert!(hold.contains("cannot tell") && hold.contains(why), "{hold}");
    program.stop();
    assert_eq!(w.number("SELECT count() FROM http_log"), raw);
}
