//! Names, texts and times as ClickHouse's SQL has them.

/// `name` as an identifier of ClickHouse's SQL.
pub(in crate::clickhouse) fn quote(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

/// `value` as a string of ClickHouse's SQL.
pub(in crate::clickhouse) fn text(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Rows of these seconds of Unix time, as a condition. Not `column >= toDateTime(...)`: of a table whose
/// partitions are years of the server's time zone ClickHouse reads the wrong ones once that zone has
/// changed. Parts of other times are left out by this as well.
pub(in crate::clickhouse) fn within(column: &str, first: u64, last: u64) -> String {
    format!("toUnixTimestamp({column}) BETWEEN {first} AND {last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_quoted() {
        assert_eq!(quote("http_log"), "`http_log`");
        assert_eq!(quote("a`b\\c"), "`a\\`b\\\\c`");
    }
}
