//! A row's content as one number that ClickHouse computes alike, to ask whether it has the row.

use std::fmt::{Display, Formatter, Result};

use xxhash_rust::xxh3::xxh3_64;

use super::columns::{COLUMNS, Row, Value};

/// ClickHouse's expression for [`content_hash`], over the columns of the table.
pub const CONTENT_HASH_SQL: ContentHashSql = ContentHashSql;

/// See [`CONTENT_HASH_SQL`].
pub struct ContentHashSql;

impl Display for ContentHashSql {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str("xxh3(concat(")?;
        for (i, column) in COLUMNS.iter().enumerate() {
            let (name, is_last) = (column.name, i + 1 == COLUMNS.len());
            match column.kind {
                "DateTime" => write!(f, "toString(toUnixTimestamp({name})), '\\t', ")?,
                "String" if is_last => write!(f, "{name}")?,
                "String" => write!(f, "toString(length({name})), '\\t', {name}, ")?,
                _ => write!(f, "toString({name}), '\\t', ")?,
            }
        }
        f.write_str("))")
    }
}

/// XXH3-64 of all columns, lengths among them, so that no two rows give the same text. The last one, a
/// text, ends with the row.
pub fn content_hash(row: &Row<'_>) -> u64 {
    let mut text = Vec::new();
    for (i, column) in COLUMNS.iter().enumerate() {
        match (column.value)(row) {
            Value::Time(seconds) => text.extend_from_slice(format!("{seconds}\t").as_bytes()),
            Value::Number(n) => text.extend_from_slice(format!("{n}\t").as_bytes()),
            Value::Text(bytes) => {
                if i + 1 < COLUMNS.len() {
                    text.extend_from_slice(format!("{}\t", bytes.len()).as_bytes());
                }
                text.extend_from_slice(bytes);
            }
        }
    }
    xxh3_64(&text)
}
