//! The check as a question: one SELECT that tells what is there.

use super::settings;
use super::state::MOST_PARTITIONS;
use super::{ObjectKind, Schema};
use crate::clickhouse::sql::text;

/// Settings of a table that the window depends on.
pub(super) const PLAIN: &str = "non_replicated_deduplication_window";
pub(super) const REPLICATED: &str = "replicated_deduplication_window";
pub(super) const REPLICATED_SECONDS: &str = "replicated_deduplication_window_seconds";

impl Schema {
    /// One SELECT that tells what exists. It is sent with the parameters `pinned`, of an insert, so that
    /// it also tells whether they arrive. Its answer goes to [`parse_check`](Self::parse_check).
    pub fn check_query(&self, pinned: &[(String, String)]) -> String {
        self.check_query_and(pinned, &[])
    }

    /// The same, and other SELECTs of lines beside it.
    pub fn check_query_and(&self, pinned: &[(String, String)], others: &[String]) -> String {
        let mut parts = vec![
            server(),
            self.tables(),
            self.blocks(),
            self.columns(),
            settings_of(settings::names(pinned)),
        ];
        parts.extend_from_slice(others);
        format!(
            "SELECT kind, name, fields FROM ({}) FORMAT JSONEachRow",
            parts.join(" UNION ALL ")
        )
    }

    /// Our objects that exist. A setting is the table's own, or else the server's default.
    fn tables(&self) -> String {
        let names: Vec<String> = self.objects.iter().map(|o| text(&o.name)).collect();
        let setting = |name: &str| {
            // Replicated tables have defaults of their own.
            let default = |of: &str| format!("(SELECT any(value) FROM {of} WHERE name = '{name}')");
            format!(
                "'{name}', if(match(engine_full, '[ ,]{name} *='), \
                 extract(engine_full, '[ ,]{name} *= *([0-9]+)'), \
                 if(startsWith(engine, 'Replicated'), {}, {}))",
                default("system.replicated_merge_tree_settings"),
                default("system.merge_tree_settings"),
            )
        };
        format!(
            "SELECT 'table' AS kind, name, map('engine', engine, 'uuid', toString(uuid), {}, {}, {}, \
             'select', as_select, 'partition', partition_key, 'target', extract(create_table_query, ' TO ([^ ]+) '), \
             'refreshes', toString(match(create_table_query, ' REFRESH (EVERY|AFTER) ')), \
             'dependents', arrayStringConcat(arrayMap((d, t) -> concat(d, '.', t), \
             dependencies_database, dependencies_table), ' ')) \
             AS fields FROM system.tables WHERE database = {} AND name IN ({})",
            setting(PLAIN),
            setting(REPLICATED),
            setting(REPLICATED_SECONDS),
            text(&self.database),
            names.join(", ")
        )
    }

    /// How many blocks were written into each table, by all its writers. A plain table numbers them
    /// through, a replicated one within each partition.
    fn blocks(&self) -> String {
        let names: Vec<String> = self.objects.iter().map(|o| text(&o.name)).collect();
        format!(
            "SELECT 'blocks' AS kind, table AS name, map('plain', toString(max(b)), 'replicated', \
             toString(sum(b)), 'partitions', arrayStringConcat(arrayMap(p -> concat(p.2, ':', toString(p.3), \
             ':', toString(p.1)), arraySlice(arrayReverseSort(groupArray((b, partition_id, a))), 1, \
             {MOST_PARTITIONS})), ' ')) AS fields FROM (SELECT table, partition_id, \
             min(min_block_number) AS a, max(max_block_number) AS b \
             FROM system.parts WHERE database = {} AND table IN ({}) GROUP BY table, partition_id) \
             GROUP BY table",
            text(&self.database),
            names.join(", ")
        )
    }

    /// The columns of our tables.
    fn columns(&self) -> String {
        let tables = self.objects.iter().filter(|o| o.kind == ObjectKind::Table);
        let names: Vec<String> = tables.map(|o| text(&o.name)).collect();
        format!(
            "SELECT 'column' AS kind, name, map('table', table, 'type', type, 'default_kind', \
             toString(default_kind)) AS fields FROM system.columns \
             WHERE database = {} AND table IN ({})",
            text(&self.database),
            names.join(", ")
        )
    }
}

/// The server.
fn server() -> String {
    "SELECT 'server' AS kind, '' AS name, map('version', version(), 'id', \
     toString(serverUUID()), 'name', displayName(), \
     'started', toString(toUnixTimestamp(now()) - uptime()), 'hashes', (SELECT any(value) \
     FROM system.server_settings WHERE name = 'insert_deduplication_version')) AS fields"
        .to_owned()
}

/// Settings, by name. A server that does not know one says nothing of it.
fn settings_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(text).collect();
    format!(
        "SELECT 'setting' AS kind, name, map('value', value, 'fixed', toString(readonly)) AS fields \
         FROM system.settings WHERE name IN ({})",
        names.join(", ")
    )
}
