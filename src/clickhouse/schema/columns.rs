//! The columns: names, types, and whether a value can be given.
//!
//! RowBinary says nothing of types: where the table has others, ClickHouse reads other rows than were
//! written, and stores them without a word.

use std::collections::BTreeMap;

use super::state::Column;
use super::{Found, Problem, SchemaObject};
use crate::row::columns;

/// What is wrong with the columns that `object`'s statement gives it. Other columns beside them are the
/// user's own: ClickHouse fills them in.
pub(super) fn problems(object: &SchemaObject, found: &Found) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, wanted) in object.columns() {
        let place = format!("{}.{name}", object.name);
        let words = match found.columns.get(&name) {
            None => format!("{place} is not there and must be {wanted}"),
            Some(Column { kind, .. }) if !reads_as(kind, &wanted) => format!(
                "{place} is {kind} and must be {wanted}: ALTER TABLE {} MODIFY COLUMN {name} {wanted}, \
                 or a table made anew",
                object.name
            ),
            Some(Column { default_kind, .. })
                if !["", "DEFAULT"].contains(&default_kind.as_str()) =>
            {
                format!("{place} is {default_kind}, which no insert can fill; it must be {wanted}")
            }
            Some(_) => continue,
        };
        problems.push(Problem::differs(&object.name, words));
    }
    problems
}

/// Whether a column of type `kind` holds the values of type `wanted`, and has the same bytes in RowBinary.
///
/// The whole list of what may differ: `LowCardinality`, which is how values are kept, and the time zone of
/// a `DateTime`, which is how they are shown.
pub(super) fn reads_as(kind: &str, wanted: &str) -> bool {
    plain(kind) == plain(wanted)
}

/// `kind` without what may differ.
fn plain(kind: &str) -> &str {
    let inner = kind
        .strip_prefix("LowCardinality(")
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap_or(kind);
    let zone = inner
        .strip_prefix("DateTime('")
        .and_then(|rest| rest.strip_suffix("')"));
    zone.map_or(inner, |_| "DateTime")
}

/// The types that `table` has for the columns of a row, in their order. `None` if one is not there.
pub(super) fn types(table: &BTreeMap<String, Column>) -> Option<Vec<String>> {
    let kind = |ours: &columns::Column| table.get(ours.name).map(|c| c.kind.clone());
    columns::COLUMNS.iter().map(kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse::Schema;

    #[test]
    fn only_what_has_the_same_bytes_and_values_may_differ() {
        let f = |kind: &str, wanted: &str, same: bool| {
            assert_eq!(reads_as(kind, wanted), same, "{kind} for {wanted}");
        };
        f("UInt64", "UInt64", true);
        f("LowCardinality(UInt64)", "UInt64", true);
        f("String", "LowCardinality(String)", true);
        f("LowCardinality(String)", "String", true);
        f("DateTime('Europe/Prague')", "DateTime", true);
        for (kind, wanted) in [
            ("DateTime64(3)", "DateTime"),
            ("DateTime64(0, 'UTC')", "DateTime"),
            ("UInt32", "DateTime"),
            ("Date", "DateTime"),
            ("UInt32", "UInt64"),
            ("Int64", "UInt64"),
            ("Float64", "UInt64"),
            ("Decimal(18, 3)", "UInt64"),
            ("DateTime64(3)", "UInt64"),
            ("Nullable(UInt64)", "UInt64"),
            ("LowCardinality(Nullable(String))", "String"),
            ("FixedString(10)", "String"),
            ("Enum8('HIT' = 1)", "String"),
            ("IPv4", "String"),
            ("Int16", "UInt16"),
        ] {
            f(kind, wanted, false);
        }
    }

    #[test]
    fn a_column_that_is_missing_differs_or_cannot_be_filled_is_named() {
        let schema = Schema::new("default", "http_log").unwrap();
        let of = |name: &str| schema.objects().iter().find(|o| o.name == name).unwrap();
        let column = |kind: &str, default_kind: &str| Column {
            kind: kind.into(),
            default_kind: default_kind.into(),
        };
        for table in ["http_log", "http_log_1d"] {
            let columns = of(table).columns().into_iter();
            let mut found = Found {
                columns: columns.map(|(n, k)| (n, column(&k, ""))).collect(),
                ..Found::default()
            };
            found
                .columns
                .insert("mine".into(), column("Array(Int8)", "ALIAS"));
            found
                .columns
                .insert("bytes_sent".into(), column("UInt64", "DEFAULT"));
            assert_eq!(problems(of(table), &found), []);
            let mut f = |with: Option<Column>, says: &str| {
                found.columns.remove("bytes_sent");
                found
                    .columns
                    .extend(with.map(|c| ("bytes_sent".to_owned(), c)));
                let all = problems(of(table), &found);
                assert!(all.len() == 1 && all[0].words.contains(says), "{all:?}");
                assert!(
                    all[0].words.starts_with(&format!("{table}.bytes_sent is ")),
                    "{all:?}"
                );
                assert!(!all[0].may_be_allowed());
            };
            f(None, "is not there and must be UInt64");
            f(
                Some(column("Decimal(18, 3)", "")),
                "is Decimal(18, 3) and must be UInt64",
            );
            f(
                Some(column("Nullable(UInt64)", "")),
                "is Nullable(UInt64) and must be UInt64",
            );
            for kind in ["MATERIALIZED", "ALIAS", "EPHEMERAL"] {
                f(Some(column("UInt64", kind)), kind);
            }
        }
    }

    #[test]
    fn the_raw_table_of_the_ddl_has_the_columns_that_are_written() {
        let schema = Schema::new("default", "edge").unwrap();
        let raw = schema.objects().iter().find(|o| o.name == "edge").unwrap();
        let columns = raw.columns();
        assert_eq!(columns.len(), columns::COLUMNS.len());
        for ((name, kind), ours) in columns.iter().zip(columns::COLUMNS) {
            assert_eq!(name, ours.name);
            assert!(reads_as(kind, ours.kind), "{name}: {kind}, {}", ours.kind);
        }
    }
}
