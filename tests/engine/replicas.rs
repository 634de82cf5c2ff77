//! Replicated tables on the real engine, with a real ZooKeeper. The engine in a process registers no replica that
//! others could fetch from, so each stays read-only, as one that lost its Keeper: what is tried is what comes
//! before the first row, and that none is lost or taken for stored.

use crate::World;
use crate::schema::of_a_cluster;
use crate::support::stack::{Stack, free_port};

const SECONDS: &str = "replicated_deduplication_window_seconds = 604800";

/// An engine that knows Keeper and answers at once when it may not write, with no table.
fn world() -> (World, Stack) {
    let port = free_port();
    let keeper = Stack::up(&["zookeeper"], vec![("ZOOKEEPER_PORT", port.to_string())]);
    let mut w = World::with("", "insert_keeper_max_retries=0");
    let file = w.stack.dir().join("keeper.xml");
    let config = format!(
        "<clickhouse><zookeeper><node><host>127.0.0.1</host><port>{port}</port></node></zookeeper>\
         <macros><shard>1</shard><replica>a</replica></macros>\
         <default_replica_path>/tables/{{shard}}/{{database}}/{{table}}</default_replica_path>\
         <default_replica_name>{{replica}}</default_replica_name>\
         <remote_servers><edge><shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard></edge>\
         </remote_servers></clickhouse>"
    );
    std::fs::write(&file, config).unwrap();
    w.stack
        .set("CLICKHOUSE_CONFIG", &file.display().to_string());
    w.stack.start();
    for name in names(&w, "") {
        w.sql(&format!("DROP TABLE {name} SYNC")).unwrap();
    }
    (w, keeper)
}

fn names(w: &World, engine: &str) -> Vec<String> {
    let sql = format!(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(engine, '{engine}') \
         ORDER BY engine LIKE '%View' DESC"
    );
    w.sql(&sql).unwrap().lines().map(str::to_owned).collect()
}

/// The statements for a cluster, each by itself: the engine in a process has no queue for ON CLUSTER.
fn statements() -> impl Iterator<Item = String> {
    of_a_cluster().into_iter().map(|sql| {
        assert!(sql.contains(" ON CLUSTER 'edge'"), "{sql}");
        sql.replacen(" ON CLUSTER 'edge'", "", 1)
    })
}

#[test]
fn a_replica_that_may_not_write_keeps_rows_queued() {
    let (mut w, _keeper) = world();
    for sql in statements() {
        w.sql(&sql).unwrap();
    }
    assert_eq!(names(&w, "Replicated").len(), 7);
    assert_eq!(names(&w, "Distributed").len(), 7);
    w.kafka.produce(1, 300);
    // With the windows that the statements set, and the engine's own answers to what is asked of them.
    let program = w.run();
    program.wait_log("code 242 (TABLE_IS_READ_ONLY)");
    let status = w.setup.wait_status(|s| s["queue"]["rows"] == 300);
    assert!(status["flush"]["hold"].is_null(), "{status}");
    program.stop();
    assert_eq!(w.number("SELECT count() FROM http_log"), 0);
}

#[test]
fn a_replicated_table_that_forgets_a_resend_too_soon_is_named() {
    let (w, _keeper) = world();
    for sql in statements() {
        assert!(!sql.contains("ENGINE = Replicated") || sql.contains(SECONDS));
        w.sql(&sql.replace(SECONDS, "replicated_deduplication_window_seconds = 60"))
            .unwrap();
    }
    let program = w.setup.run();
    let status = w.setup.wait_status(|s| s["flush"]["hold"].is_string());
    let words = status["flush"]["hold"].as_str().unwrap();
    assert!(words.contains("http_log"), "{words}");
    assert!(
        words.contains("replicated_deduplication_window_seconds = 604800"),
        "{words}"
    );
    program.stop();
}
