//! The DDL for a cluster: tables that its replicas share, and tables that read all its shards.
//!
//! Rows are inserted into the tables of one shard, under the same names as on a single server; those with
//! `_all` behind the name read all shards and take no inserts. Replicated tables keep tokens for as long as
//! `..._window_seconds` says, an hour by default, so both bounds are set.

use super::ddl::replace_name;
use super::schema::{ObjectKind, SchemaObject};
use super::sql::text;

/// What each table of the files sets, and what takes its place.
const PLAIN: &str = "non_replicated_deduplication_window = 10000";
const REPLICATED: &str =
    "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800";

/// Behind the name of what reads all shards.
const ALL: &str = "_all";

/// The objects on all servers of `cluster`, and after them those that read all shards.
pub fn on_cluster(objects: &[SchemaObject], database: &str, cluster: &str) -> Vec<SchemaObject> {
    let on = format!(" ON CLUSTER {}", text(cluster));
    let is_table = |o: &&SchemaObject| o.kind == ObjectKind::Table;
    let tables: Vec<&SchemaObject> = objects.iter().filter(is_table).collect();
    let mut all: Vec<SchemaObject> = objects.iter().map(|o| replicated(o, &on)).collect();
    for table in &tables {
        let name = format!("{}{ALL}", table.name);
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {name}{on} AS {}\nENGINE = Distributed({}, {}, {})",
            table.name,
            text(cluster),
            text(database),
            text(&table.name),
        );
        let kind = ObjectKind::Table;
        all.push(SchemaObject { name, kind, sql });
    }
    for view in objects.iter().filter(|o| o.kind == ObjectKind::View) {
        let mut sql = replicated(view, &on).sql;
        for name in tables.iter().map(|t| &t.name).chain([&view.name]) {
            sql = replace_name(&sql, name, &format!("{name}{ALL}"));
        }
        let (name, kind) = (format!("{}{ALL}", view.name), view.kind);
        all.push(SchemaObject { name, kind, sql });
    }
    all
}

/// The statement with the engine of a replica, on all servers.
fn replicated(object: &SchemaObject, on: &str) -> SchemaObject {
    let head = format!("IF NOT EXISTS {}", object.name);
    let mut sql = object.sql.replacen(&head, &format!("{head}{on}"), 1);
    if object.kind == ObjectKind::Table {
        sql = sql
            .replacen("ENGINE = ", "ENGINE = Replicated", 1)
            .replacen(PLAIN, REPLICATED, 1);
    }
    SchemaObject {
        sql,
        ..object.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse::Schema;

    #[test]
    fn every_table_is_replicated_with_both_bounds_of_its_window_and_read_over_all_shards() {
        let schema = Schema::new("logs", "edge").unwrap();
        let objects = schema.objects();
        let all = on_cluster(objects, "logs", "it's");
        let tables = objects.iter().filter(|o| o.kind == ObjectKind::Table);
        let tables: Vec<&str> = tables.map(|o| o.name.as_str()).collect();
        assert_eq!(all.len(), objects.len() + tables.len() + 1);
        for o in &all {
            assert!(o.sql.contains(r" ON CLUSTER 'it\'s'"), "{}", o.sql);
            assert!(!o.sql.contains("non_replicated"), "{}", o.sql);
        }
        for table in tables {
            let sql = |name: &str| &all.iter().find(|o| o.name == name).unwrap().sql;
            assert!(sql(table).contains("\nENGINE = Replicated"), "{table}");
            assert!(sql(table).contains(REPLICATED), "{table}");
            let reads = format!(r"Distributed('it\'s', 'logs', '{table}')");
            assert!(sql(&format!("{table}_all")).contains(&reads), "{table}");
        }
        let traffic = &all.last().unwrap();
        assert_eq!(traffic.name, "edge_traffic_all");
        for name in ["edge_1m_all", "edge_totals_1d_all", "edge_address_1d_all"] {
            assert!(traffic.sql.contains(name), "{name}: {}", traffic.sql);
        }
        assert!(!traffic.sql.contains("FROM edge_1m\n"), "{}", traffic.sql);
    }
}
