//! A view that fills the totals is dropped, or replaced while a batch may be stored. ClickHouse says
//! nothing to an insert without it, so only a look can tell; the raw rows arrive once in any case.

use crate::World;
use crate::support::relay::{Loss, Relay};
use crate::support::wall_clock::{DAY_MS, WallClock};

const VIEW: &str = "http_log_fill_totals";

/// The statement of the view, as `ops/clickhouse/` has it.
fn ddl() -> String {
    let file = std::fs::read_to_string("ops/clickhouse/30-views.sql").unwrap();
    let (_, rest) = file.split_once("CREATE MATERIALIZED VIEW").unwrap();
    let (statement, _) = rest.split_once(';').unwrap();
    assert!(statement.contains(&format!("{VIEW} TO http_log_totals ")));
    format!("CREATE MATERIALIZED VIEW{statement}")
}

fn requests(w: &World) -> u64 {
    w.number("SELECT sum(requests) FROM http_log_totals")
}

#[test]
fn a_dropped_view_is_made_again_at_the_next_look() {
    let mut w = World::new();
    let clock = WallClock::of(&mut w.setup);
    let program = w.run();
    w.kafka.produce(1, 300);
    w.wait_rows(300);
    assert_eq!(requests(&w), 300);
    w.sql(&format!("DROP TABLE {VIEW} SYNC")).unwrap();
    w.kafka.produce(2, 300);
    w.wait_rows(600);
    assert_eq!(requests(&w), 300, "what LIMITATIONS.md says");
    clock.set(DAY_MS + 60_000);
    program.wait_log(&format!("created {VIEW}"));
    w.kafka.produce(3, 300);
    w.finish(program);
    assert_eq!(requests(&w), 600);
}

#[test]
fn a_view_replaced_while_a_batch_may_be_stored_doubles_nothing() {
    let mut w = World::new();
    let relay = Relay::start(0, &w.url());
    w.setup.set("--clickhouse-url", &relay.url());
    w.setup.set("--flush-interval", "5s");
    let program = w.run();
    relay.lose(Loss::Answer);
    w.kafka.produce(1, 300);
    program.wait_log("request failed, will be made again");
    assert_eq!(w.number("SELECT count() FROM http_log"), 300);
    w.sql(&format!("DROP TABLE {VIEW} SYNC")).unwrap();
    w.sql(&ddl()).unwrap();
    w.finish(program);
    // This engine knows the blocks of the new view, too, as those of the token. (Older ones know them
    // by the view's id.)
    assert_eq!(requests(&w), 300);
}

/// What a person may have changed is not replaced unasked.
#[test]
fn an_earlier_versions_traffic_is_named_until_it_is_dropped() {
    let mut w = World::new();
    let earlier =
        "SELECT sum(requests) AS requests FROM http_log_totals WHERE time >= {from:DateTime}";
    w.sql("DROP VIEW traffic").unwrap();
    w.sql(&format!("CREATE VIEW traffic AS {earlier}")).unwrap();
    let program = w.run();
    program.wait_log("the view traffic is an earlier version's");
    w.kafka.produce(1, 300);
    w.wait_rows(300);
    program.stop();
    w.sql("DROP VIEW traffic").unwrap();
    let clock = WallClock::of(&mut w.setup);
    clock.set(DAY_MS + 60_000);
    let program = w.run();
    program.wait_log("created traffic");
    w.finish(program);
}
