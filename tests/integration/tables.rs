//! Is anything inserted where the rows would be stored wrong, or a resend twice?
//!
//! The real program, librdkafka's mock cluster, and a ClickHouse whose types, engines, settings and version
//! vary. The same on the real engine: `engine::schema`.

use crate::support::fake_clickhouse::{Fault, Seen};
use crate::support::wait::PATIENCE;
use crate::support::world::World;

#[test]
fn a_column_of_another_type_holds_and_is_named_with_both_types() {
    let mut w = World::of(1);
    let column = "http_log.request_time_milli";
    w.clickhouse
        .state()
        .types
        .insert(column.into(), "Float64".into());
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    let hold = w.hold();
    let want = "http_log.request_time_milli is Float64 and must be UInt64";
    assert!(hold.contains(want), "{hold}");
    // The same width, so that ClickHouse would store 24 as 0.024.
    w.clickhouse
        .state()
        .types
        .insert(column.into(), "Decimal(18, 3)".into());
    w.held_for("request_time_milli is Decimal(18, 3) and must be UInt64");
    assert_eq!(w.inserts().len(), 0);
    w.clickhouse.state().types.remove(column);
    w.finish(program);
}

#[test]
fn a_type_that_changes_while_rows_come_stores_none_of_them_wrong() {
    let mut w = World::of(1);
    let program = w.run_with([]);
    w.kafka.produce(1, 300);
    w.clickhouse.wait_until(|s| s.row_count() == 300, PATIENCE);
    let column = "http_log.bytes_sent".to_string();
    w.clickhouse
        .state()
        .types
        .insert(column.clone(), "Int64".into());
    w.kafka.produce(2, 300);
    w.held_for("http_log.bytes_sent is Int64 and must be UInt64");
    assert_eq!(w.clickhouse.rows(), 300);
    w.clickhouse.state().types.remove(&column);
    w.finish(program);
}

#[test]
fn a_type_that_means_the_same_is_taken_and_named_by_each_insert() {
    let mut w = World::of(1);
    for (column, kind) in [
        ("http_log.timestamp", "DateTime('Europe/Prague')"),
        ("http_log.method", "String"),
        ("http_log.url", "LowCardinality(String)"),
    ] {
        w.clickhouse
            .state()
            .types
            .insert(column.into(), kind.into());
    }
    w.kafka.produce(1, 300);
    w.finish(w.setup.run());
}

#[test]
fn a_repeated_answer_that_a_row_is_cut_looks_at_the_tables_again() {
    let mut w = World::of(1);
    let program = w.run_with([]);
    let cut = Fault::ExceptionHeader {
        http: 400,
        code: 33,
    };
    w.clickhouse.state().faults.extend([cut.clone(), cut]);
    w.kafka.produce(1, 300);
    w.clickhouse.wait_until(|s| s.row_count() == 300, PATIENCE);
    let checks = |r: &&Seen| r.sql.contains("system.columns");
    assert_eq!(w.clickhouse.requests().iter().filter(checks).count(), 2);
    w.finish(program);
}

#[test]
fn parameters_that_a_proxy_drops_are_named_before_a_row_is_sent() {
    let mut w = World::of(1);
    let lost = ["insert_deduplication_token", "insert_deduplicate"];
    w.clickhouse.state().lost_parameters.extend(lost);
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    w.held_for("insert_deduplication_token, insert_deduplicate.");
    assert_eq!(w.inserts().len(), 0);
    w.clickhouse.state().lost_parameters.clear();
    w.finish(program);
}

#[test]
fn a_table_that_does_not_recognise_a_resend_holds_unless_its_owner_takes_it() {
    let mut w = World::of(1);
    for (table, engine) in [("http_log", "Distributed"), ("http_log_1h", "Null")] {
        w.clickhouse
            .state()
            .engines
            .insert(table.into(), engine.into());
    }
    w.clickhouse
        .state()
        .without_window
        .insert("http_log_1d".into());
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    let hold = w.hold();
    for words in [
        "http_log is a Distributed, which does not recognise a resend",
        "http_log_1h is a Null",
        "ALTER TABLE http_log_1d MODIFY SETTING non_replicated_deduplication_window",
    ] {
        assert!(hold.contains(words), "{words}: {hold}");
    }
    program.stop();
    let allowed = "http_log,http_log_1d";
    w.setup.set("--allow-duplicates", allowed);
    let program = w.setup.run();
    let hold = w.hold();
    assert!(!hold.contains("http_log_1d"), "{hold}");
    assert!(hold.contains("http_log_1h"), "{hold}");
    program.stop();
    assert_eq!(w.inserts().len(), 0);
    w.setup
        .set("--allow-duplicates", &format!("{allowed},http_log_1h"));
    w.finish(w.setup.run());
}

#[test]
fn a_setting_that_overrides_ours_is_pinned_where_it_is_known_and_held_where_it_is_fixed() {
    let mut w = World::of(1);
    w.clickhouse.state().settings = vec![("deduplicate_insert", "disable", true)];
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    w.held_for("deduplicate_insert is \"disable\", must be \"enable\"");
    assert_eq!(w.inserts().len(), 0);
    w.clickhouse.state().settings = vec![("deduplicate_insert", "disable", false)];
    w.clickhouse.wait_until(|s| s.row_count() == 300, PATIENCE);
    let insert = w.inserts().remove(0);
    assert!(
        insert.head.contains("&deduplicate_insert=enable"),
        "{}",
        insert.head
    );
    // One that this server does not know is not sent: it would refuse every insert.
    assert!(!insert.head.contains("use_strict_insert_block_limits"));
    w.finish(program);
}

#[test]
fn a_release_that_was_not_seen_to_store_a_resend_once_is_held() {
    let mut w = World::of(1);
    w.clickhouse.state().version = Some(("24.12.3.47", ""));
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    w.held_for("ClickHouse 24.12.3.47 was not seen to store a resend once");
    assert_eq!(w.inserts().len(), 0);
    w.clickhouse.state().version = None;
    w.finish(program);
}
