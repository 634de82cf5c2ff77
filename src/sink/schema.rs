//! The tables and views this program needs: the one DDL, under the configured name, and the check.
//!
//! The files of `ops/clickhouse` are part of the program, in the order of their names, which is the
//! order of creation: totals, then the raw table, then the views that join them. A view created
//! before its source has rows is complete; one created later is wrong for ever. So nothing is inserted
//! until all of them are known to exist.

use std::collections::BTreeMap;

use super::ddl::{head, rename, statements};

/// The DDL, in the order of creation. A new file in `ops/clickhouse` is added here and nowhere else.
const FILES: &[(&str, &str)] = &[
    (
        "10-totals.sql",
        include_str!("../../ops/clickhouse/10-totals.sql"),
    ),
    (
        "20-http_log.sql",
        include_str!("../../ops/clickhouse/20-http_log.sql"),
    ),
    (
        "30-views.sql",
        include_str!("../../ops/clickhouse/30-views.sql"),
    ),
    (
        "40-traffic.sql",
        include_str!("../../ops/clickhouse/40-traffic.sql"),
    ),
];

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// Holds rows, so it needs a deduplication window.
    Table,
    /// Fills a table from the rows of another as they come.
    MaterializedView,
    /// A stored question.
    View,
}

/// One object to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaObject {
    /// Its name without the database.
    pub name: String,
    /// What it is.
    pub kind: ObjectKind,
    /// The statement that creates it where it is missing. Names are unqualified: the request's
    /// database holds them.
    pub sql: String,
}

/// The objects under the configured names.
#[derive(Debug, Clone)]
pub struct Schema {
    database: String,
    table: String,
    objects: Vec<SchemaObject>,
}

/// What the check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SchemaState {
    /// Names of objects that do not exist, in the order of creation.
    pub missing: Vec<String>,
    /// Names of tables without a deduplication window: a resend would be stored twice there.
    pub without_window: Vec<String>,
    /// What exists, by name. A UUID that changed says that a table was replaced.
    pub found: BTreeMap<String, Found>,
    /// ClickHouse's version, `26.9.2.1`; empty if nothing exists.
    pub version: String,
}

/// An object that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// ClickHouse's engine name.
    pub engine: String,
    /// ClickHouse's UUID of the table.
    pub uuid: String,
    /// How many inserts into one partition the table remembers; `None` for what holds no rows.
    pub window: Option<u64>,
}

impl SchemaState {
    /// Whether inserting is safe: everything exists, and every table knows a resend.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.without_window.is_empty()
    }

    /// How many inserts the table with the smallest window remembers: beyond that a resend would be
    /// stored again. `None` if no table deduplicates.
    pub fn window(&self) -> Option<u64> {
        self.found.values().filter_map(|f| f.window).min()
    }

    /// Whether this ClickHouse deduplicates views by the token at all: 24.7 and newer (ClickHouse
    /// PR 61601). True where the version cannot be read.
    pub fn knows_tokens_in_views(&self) -> bool {
        let mut parts = self.version.split('.').map_while(|n| n.parse::<u32>().ok());
        match (parts.next(), parts.next()) {
            (Some(major), Some(minor)) => (major, minor) >= (24, 7),
            _ => true,
        }
    }
}

/// Why the DDL or an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The configured table name would have to be quoted, which the DDL's unquoted names cannot be.
    #[error(
        "clickhouse_table: {0:?} cannot name the tables made from it; use letters, digits and _ only"
    )]
    Name(String),
    /// A statement of the embedded DDL is not understood.
    #[error("{file}: cannot read the statement that begins {start:?}")]
    Statement {
        /// The file.
        file: &'static str,
        /// Its first characters.
        start: String,
    },
    /// ClickHouse's answer to the check does not have the columns that were asked for.
    #[error("cannot read the answer to the schema check: {0:?}")]
    Answer(String),
}

impl Schema {
    /// The embedded DDL with `table` in place of `http_log`.
    pub fn new(database: &str, table: &str) -> Result<Self, SchemaError> {
        let plain = table
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && table.bytes().next().is_some_and(|b| !b.is_ascii_digit());
        if !plain {
            return Err(SchemaError::Name(table.to_string()));
        }
        let mut objects = Vec::new();
        for (file, text) in FILES {
            for statement in statements(text) {
                let sql = rename(&statement, table);
                let (kind, name) = head(&sql).ok_or_else(|| SchemaError::Statement {
                    file,
                    start: sql.chars().take(60).collect(),
                })?;
                objects.push(SchemaObject { name, kind, sql });
            }
        }
        Ok(Self {
            database: database.to_string(),
            table: table.to_string(),
            objects,
        })
    }

    /// The name of the raw table.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The objects in the order of creation.
    pub fn objects(&self) -> &[SchemaObject] {
        &self.objects
    }

    /// One SELECT that tells what exists. Its answer goes to [`parse_check`](Self::parse_check).
    ///
    /// Columns: name, engine, uuid, then the window of a plain and of a replicated table, each from
    /// the table's settings or else the server's default, and the server's version.
    pub fn check_query(&self) -> String {
        let names: Vec<String> = self.objects.iter().map(|o| text(&o.name)).collect();
        let window = |name: &str| {
            format!(
                "if(match(engine_full, '[ ,]{name} *='), \
                 extract(engine_full, '[ ,]{name} *= *([0-9]+)'), \
                 (SELECT value FROM system.merge_tree_settings WHERE name = '{name}'))"
            )
        };
        format!(
            "SELECT name, engine, toString(uuid), {}, {}, version() FROM system.tables \
             WHERE database = {} AND name IN ({}) ORDER BY name FORMAT TabSeparated",
            window("non_replicated_deduplication_window"),
            window("replicated_deduplication_window"),
            text(&self.database),
            names.join(", ")
        )
    }

    /// Reads the answer to [`check_query`](Self::check_query).
    pub fn parse_check(&self, answer: &str) -> Result<SchemaState, SchemaError> {
        let mut state = SchemaState::default();
        for line in answer.lines() {
            let columns: Vec<&str> = line.split('\t').collect();
            let [name, engine, uuid, plain, replicated, version] = columns[..] else {
                return Err(SchemaError::Answer(line.chars().take(200).collect()));
            };
            let window = if engine.starts_with("Replicated") || engine.starts_with("Shared") {
                replicated
            } else {
                plain
            };
            // Only MergeTree tables deduplicate; a Distributed one leaves it to the tables behind it.
            let window = engine
                .contains("MergeTree")
                .then(|| window.parse::<u64>().unwrap_or(0));
            if window == Some(0) {
                state.without_window.push(name.to_string());
            }
            state.version = version.to_string();
            let found = Found {
                engine: engine.to_string(),
                uuid: uuid.to_string(),
                window,
            };
            state.found.insert(name.to_string(), found);
        }
        let absent = |o: &&SchemaObject| !state.found.contains_key(&o.name);
        state.missing = self
            .objects
            .iter()
            .filter(absent)
            .map(|o| o.name.clone())
            .collect();
        Ok(state)
    }
}

/// `value` as a string of ClickHouse's SQL.
fn text(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::super::ddl::{ASK, NAME};
    use super::*;

    #[test]
    fn the_embedded_ddl_is_understood() {
        let schema = Schema::new("default", "http_log").unwrap();
        let raw = schema
            .objects()
            .iter()
            .find(|o| o.name == "http_log")
            .unwrap();
        assert_eq!(raw.kind, ObjectKind::Table);
        // Sorted by file name is the order of creation.
        assert!(FILES.is_sorted_by_key(|(name, _)| name));
        for object in schema.objects() {
            let named = object.name.starts_with(NAME) || object.name == ASK;
            assert!(named, "{}", object.name);
            if object.kind == ObjectKind::Table {
                assert!(
                    object.sql.contains("deduplication_window"),
                    "{}",
                    object.name
                );
            }
        }
    }

    #[test]
    fn another_table_name_takes_every_object_with_it() {
        let schema = Schema::new("db", "edge").unwrap();
        for object in schema.objects() {
            assert!(object.name.starts_with("edge"), "{}", object.name);
            assert_eq!(rename(&object.sql, "x"), object.sql, "a name is left");
        }
        let f = |sql: &str, want: &str| assert_eq!(rename(sql, "edge"), want);
        f("FROM http_log_ip_1m", "FROM edge_ip_1m");
        f("`http_log`.x(http_log)", "`edge`.x(edge)");
        f("my_http_log xhttp_log", "my_http_log xhttp_log");
        f("EXISTS traffic AS", "EXISTS edge_traffic AS");
        f("traffic_1 http_log_traffic", "traffic_1 edge_traffic");
        assert_eq!(
            rename("traffic http_log", "traffic"),
            "traffic_traffic traffic"
        );
        assert_eq!(rename("traffic http_log", NAME), "traffic http_log");
        for bad in ["", "1x", "a-b", "a.b", "a`b"] {
            assert!(Schema::new("db", bad).is_err(), "{bad}");
        }
    }

    fn three() -> Schema {
        let object = |name: &str, kind| SchemaObject {
            name: name.into(),
            kind,
            sql: String::new(),
        };
        Schema {
            database: "it's".into(),
            table: "t".into(),
            objects: vec![
                object("t_1m", ObjectKind::Table),
                object("t", ObjectKind::Table),
                object("t_view", ObjectKind::MaterializedView),
            ],
        }
    }

    #[test]
    fn the_check_names_what_is_missing_and_what_has_no_window() {
        let schema = three();
        let query = schema.check_query();
        assert!(query.contains(r"database = 'it\'s'"), "{query}");
        assert!(query.contains("IN ('t_1m', 't', 't_view')"), "{query}");

        let f = |answer: &str, missing: &[&str], without: &[&str]| {
            let state = schema.parse_check(answer).unwrap();
            assert_eq!(state.missing, missing);
            assert_eq!(state.without_window, without);
        };
        f("", &["t_1m", "t", "t_view"], &[]);
        let whole = "t\tMergeTree\tu1\t10000\t10000\t26.9.2.1\nt_1m\tSummingMergeTree\tu2\t10000\t10000\t26.9.2.1\nt_view\tMaterializedView\tu3\t0\t10000\t26.9.2.1\n";
        f(whole, &[], &[]);
        assert!(schema.parse_check(whole).unwrap().is_complete());
        assert_eq!(schema.parse_check(whole).unwrap().found["t"].uuid, "u1");
        f(
            "t\tReplicatedMergeTree\tu\t0\t100\t26.9.2.1\nt_1m\tSummingMergeTree\tu\t0\t100\t26.9.2.1\n",
            &["t_view"],
            &["t_1m"],
        );
        f(
            "t\tReplicatedMergeTree\tu\t100\t0\t26.9.2.1\nt_1m\tDistributed\tu\t0\t0\t26.9.2.1\n",
            &["t_view"],
            &["t"],
        );
        assert!(schema.parse_check("<html>").is_err());
    }
}
