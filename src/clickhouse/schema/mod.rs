//! The tables and views this program needs: the one DDL, under the configured name, and the check.
//!
//! The files of `ops/clickhouse` are part of the program, in the order of their names, which is the
//! order of creation: totals, then the raw table, then the views that join them. A view created
//! before its source has rows is complete; one created later is wrong for ever. So nothing is inserted
//! until all of them are known to exist.
//!
//! `question.rs` asks what is there, `check.rs` reads the answer, `state.rs` says what was found;
//! `columns.rs`, `earlier.rs`, `engines.rs`, `settings.rs` and `views.rs` judge it.

mod check;
mod columns;
mod earlier;
mod engines;
mod question;
mod settings;
mod state;
mod version;
mod views;

pub use super::ddl::ObjectKind;
use super::ddl::{columns, head, rename, statements};

pub use self::state::{Found, Problem, SchemaState, Window};
pub use self::version::OLDEST;
pub use self::version::Version;

/// The DDL, in the order of creation. A new file in `ops/clickhouse` is added here and nowhere else.
const FILES: &[(&str, &str)] = &[
    (
        "10-totals.sql",
        include_str!("../../../ops/clickhouse/10-totals.sql"),
    ),
    (
        "20-http_log.sql",
        include_str!("../../../ops/clickhouse/20-http_log.sql"),
    ),
    (
        "30-views.sql",
        include_str!("../../../ops/clickhouse/30-views.sql"),
    ),
    (
        "40-traffic.sql",
        include_str!("../../../ops/clickhouse/40-traffic.sql"),
    ),
];

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

impl SchemaObject {
    /// Name and type of each column that its statement gives a table.
    pub fn columns(&self) -> Vec<(String, String)> {
        match self.kind {
            ObjectKind::Table => columns(&self.sql),
            ObjectKind::MaterializedView | ObjectKind::View => Vec::new(),
        }
    }
}

/// The objects under the configured names.
#[derive(Debug, Clone)]
pub struct Schema {
    database: String,
    table: String,
    objects: Vec<SchemaObject>,
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
}
