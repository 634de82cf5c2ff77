//! What is found in ClickHouse: types, engines, the user's profile, and a proxy that drops parameters.

use crate::World;
use crate::support::nginx::Nginx;
use crate::support::relay::{Loss, Relay};

/// Settings of a profile, each of which alone stores other rows, or a resend twice, if nothing is pinned.
const PROFILE: &str = "deduplicate_insert=disable,insert_deduplicate=0,async_insert=1,\
    additional_result_filter=0,max_insert_block_size_bytes=100,max_insert_block_size=100,\
    min_insert_block_size_rows=10,use_strict_insert_block_limits=1,group_by_overflow_mode=any,\
    deduplicate_blocks_in_dependent_materialized_views=0,\
    input_format_with_types_use_header=0,materialized_views_ignore_errors=1,max_insert_threads=4";

/// Settings of a profile, each of which alone makes answers of the system's tables unreadable, or an error.
const ANSWERS: &str = "limit=2,use_query_cache=1,force_primary_key=1,max_query_size=20000,\
    output_format_json_array_of_rows=1";

fn held_for(w: &World, words: &str) {
    w.setup.wait_status(|s| {
        let hold = s["flush"]["hold"].as_str();
        hold.is_some_and(|hold| hold.contains(words))
    });
}

/// Asks past the filter of the profile.
fn number(w: &World, sql: &str) -> u64 {
    let url = format!("{}/?additional_result_filter=&force_primary_key=0", w.url());
    let mut answer = ureq::post(&url).send(sql).unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    text.trim().parse().unwrap()
}

#[test]
fn types_that_differ_are_named_and_no_row_is_stored_wrong() {
    let mut w = World::new();
    let alter = |w: &World, column: &str, kind: &str| {
        let sql = format!("ALTER TABLE http_log MODIFY COLUMN {column} {kind} CODEC(ZSTD(1))");
        w.sql(&sql).unwrap();
    };
    alter(&w, "request_time_milli", "Float64");
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    held_for(
        &w,
        "http_log.request_time_milli is Float64 and must be UInt64",
    );
    alter(&w, "request_time_milli", "Decimal(18, 3)");
    held_for(&w, "is Decimal(18, 3) and must be UInt64");
    alter(&w, "request_time_milli", "UInt64");
    w.wait_rows(300);

    // While rows come: the header of the next insert names the type that was.
    alter(&w, "bytes_sent", "Int64");
    w.kafka.produce(2, 300);
    held_for(&w, "http_log.bytes_sent is Int64 and must be UInt64");
    assert_eq!(w.number("SELECT count() FROM http_log"), 300);
    alter(&w, "bytes_sent", "UInt64");
    w.wait_rows(600);

    // The same values in the same bytes: taken, and named as they are now.
    alter(&w, "url", "LowCardinality(String)");
    w.kafka.produce(3, 300);
    w.finish(program);
}

#[test]
fn a_table_that_forgets_a_resend_is_named() {
    let mut w = World::new();
    let columns = w.sql("SHOW CREATE TABLE http_log FORMAT TSVRaw").unwrap();
    w.sql("DROP TABLE http_log SYNC").unwrap();
    let (columns, _) = columns.split_once("ENGINE").unwrap();
    w.sql(&format!("{columns} ENGINE = Memory")).unwrap();
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    held_for(
        &w,
        "http_log is a Memory, which does not recognise a resend",
    );
    w.sql("DROP TABLE http_log SYNC").unwrap();
    program.wait_log("created http_log;");
    w.finish(program);
}

/// A server of one shard, for tables that pass on what comes to them.
const CLUSTER: &str = "<clickhouse><remote_servers><here><shard><replica><host>127.0.0.1</host>\
    <port>9000</port></replica></shard></here></remote_servers></clickhouse>";

/// Engines, and what they are called, of a table in front of `behind`, or with rows of its own.
fn without_tokens(behind: &str) -> [(&'static str, String); 7] {
    let of =
        |engine: &'static str, arguments: String| (engine, format!("ENGINE = {engine}{arguments}"));
    [
        of("Distributed", format!("(here, default, {behind})")),
        of(
            "Buffer",
            format!("(default, {behind}, 1, 1, 1, 1, 1, 1, 1)"),
        ),
        of("Memory", String::new()),
        of("Null", String::new()),
        of("Log", String::new()),
        ("View", String::new()),
        (
            "MaterializedView",
            "ENGINE = MergeTree ORDER BY resource_id".into(),
        ),
    ]
}

/// Makes `table` one of this engine; its own rows and tokens are in `behind`.
fn replace(w: &World, table: &str, behind: &str, engine: &str, clause: &str) {
    let kind = match engine {
        "View" => "VIEW",
        "MaterializedView" => "MATERIALIZED VIEW",
        _ => "TABLE",
    };
    let source = match kind {
        "TABLE" => format!("AS {behind} {clause}"),
        _ => format!("{clause} AS SELECT * FROM {behind}"),
    };
    w.sql(&format!("DROP TABLE {table} SYNC")).unwrap();
    w.sql(&format!("CREATE {kind} {table} {source}")).unwrap();
}

/// As the table of the rows, and as one that a view fills.
#[test]
fn what_does_not_recognise_a_resend_is_named_and_gets_no_row() {
    let mut w = World::stopped("");
    let config = w.stack.dir().join("cluster.xml");
    std::fs::write(&config, CLUSTER).unwrap();
    w.stack
        .set("CLICKHOUSE_CONFIG", &config.display().to_string());
    w.stack.start();
    for table in ["http_log", "http_log_1h"] {
        let behind = format!("behind_{table}");
        w.sql(&format!("CREATE TABLE {behind} AS {table}")).unwrap();
    }
    w.kafka.produce(1, 300);
    for table in ["http_log", "http_log_1h"] {
        let behind = format!("behind_{table}");
        let show = format!("SHOW CREATE TABLE {table} FORMAT TSVRaw");
        let ours = w.sql(&show).unwrap();
        replace(&w, table, &behind, "Memory", "ENGINE = Memory");
        let program = w.setup.run();
        for (engine, clause) in without_tokens(&behind) {
            replace(&w, table, &behind, engine, &clause);
            held_for(
                &w,
                &format!("{table} is a {engine}, which does not recognise a resend"),
            );
        }
        program.stop();
        for table in [&behind, "http_log"] {
            assert_eq!(w.number(&format!("SELECT count() FROM {table}")), 0);
        }
        w.sql(&format!("DROP TABLE {table} SYNC")).unwrap();
        w.sql(&ours).unwrap();
    }
    // Its owner may take it. (The shard behind the Distributed one has no port to read it by.)
    w.setup.set("--allow-duplicates", "http_log");
    let [_, (engine, clause), ..] = without_tokens("behind_http_log");
    replace(&w, "http_log", "behind_http_log", engine, &clause);
    let program = w.run();
    w.finish(program);
}

#[test]
fn a_view_that_fills_another_table_is_named() {
    let mut w = World::new();
    w.sql("DROP TABLE http_log_fill_1h SYNC").unwrap();
    w.sql(
        "CREATE MATERIALIZED VIEW http_log_fill_1h TO http_log_1d AS SELECT time, resource_id, \
         response_status, cache_status, bytes_sent, requests FROM http_log_1m",
    )
    .unwrap();
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    held_for(
        &w,
        "http_log_fill_1h fills http_log_1d and must fill http_log_1h",
    );
    w.sql("DROP TABLE http_log_fill_1h SYNC").unwrap();
    w.finish(program);
}

#[test]
fn a_profile_that_would_store_something_else_changes_nothing() {
    let mut w = World::with("", PROFILE);
    w.stack.start();
    let relay = Relay::start(0, &w.url());
    w.setup.set("--clickhouse-url", &relay.url());
    let program = w.run();
    for seed in [1, 2] {
        relay.lose(Loss::Answer);
        w.kafka.produce(seed, 3000);
        w.setup
            .wait_status(|s| s["queue"]["rows"] == 0 && !relay.is_due());
    }
    program.stop();
    assert_eq!(number(&w, "SELECT count() FROM http_log"), 6000);
    for table in ["totals", "totals_1d", "address_1d", "1m", "1h", "1d"] {
        let sql = format!("SELECT sum(requests) FROM http_log_{table}");
        assert_eq!(number(&w, &sql), 6000, "{table}");
    }
}

#[test]
fn a_profile_that_spoils_answers_changes_nothing() {
    let mut w = World::with("", ANSWERS);
    w.stack.start();
    let relay = Relay::start(0, &w.url());
    w.setup.set("--clickhouse-url", &relay.url());
    let program = w.run();
    relay.lose(Loss::Answer);
    w.kafka.produce(1, 3000);
    program.wait_log("is sent again: its token tells");
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
    assert_eq!(number(&w, "SELECT count() FROM http_log"), 3000);
}

#[test]
fn a_setting_that_the_profile_fixes_is_named() {
    let mut w = World::with("", "!insert_deduplicate=0");
    w.stack.start();
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    held_for(&w, "insert_deduplicate");
    assert_eq!(w.number("SELECT count() FROM http_log"), 0);
    program.stop();
}

/// nginx passes on the question alone, as a proxy with a list of known parameters does.
#[test]
fn a_proxy_that_drops_parameters_is_named_before_a_row_is_stored() {
    let mut w = World::new();
    let nginx = Nginx::start(&format!(
        "proxy_pass {}/?query=$arg_query&database=$arg_database;",
        w.url()
    ));
    let straight = w.url();
    w.setup.set("--clickhouse-url", &nginx.url());
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    held_for(
        &w,
        "do not reach ClickHouse as they are sent: insert_deduplication_token",
    );
    assert_eq!(w.number("SELECT count() FROM http_log"), 0);
    program.stop();
    w.setup.set("--clickhouse-url", &straight);
    let program = w.setup.run();
    w.finish(program);
}

/// The statements of `schema print --cluster`.
pub fn of_a_cluster() -> Vec<String> {
    let print = [
        "schema",
        "print",
        "--cluster",
        "edge",
        "--retention",
        "30d",
        "--json",
    ];
    let printed = std::process::Command::new(env!("CARGO_BIN_EXE_anonymizer"))
        .args(print)
        .output();
    let printed: serde_json::Value = serde_json::from_slice(&printed.unwrap().stdout).unwrap();
    let items = printed["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["sql"].as_str().unwrap().to_owned())
        .collect()
}

/// Whole, with their ON CLUSTER, which one engine only reads; module `replicas` runs the rest of them.
#[test]
fn the_statements_for_a_cluster_are_what_the_engine_reads() {
    let w = World::new();
    let statements = of_a_cluster();
    let mut replicated = 0;
    for sql in &statements {
        let tree = w.sql(&format!("EXPLAIN AST {sql}")).unwrap();
        assert!(tree.starts_with("CreateQuery"), "{sql}: {tree}");
        replicated += usize::from(tree.contains("Function Replicated"));
    }
    assert_eq!(replicated, 7, "{statements:?}");
}
