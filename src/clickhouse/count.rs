//! How often ClickHouse has certain rows.

use std::collections::BTreeMap;

use super::error::SinkError;
use super::sql::{quote, within};
use crate::row::CONTENT_HASH_SQL;

/// Which rows are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountQuery {
    /// Content hashes of the rows.
    pub hashes: Vec<u64>,
    /// The first and the last of their times.
    pub times: (u32, u32),
}

impl CountQuery {
    /// One SELECT. Its answer goes to [`parse`](Self::parse).
    pub fn sql(&self, database: &str, table: &str) -> String {
        let hashes: Vec<String> = self.hashes.iter().map(u64::to_string).collect();
        let (from, to) = self.times;
        format!(
            "SELECT {CONTENT_HASH_SQL} AS h, count() FROM {}.{} WHERE {} AND h IN ({}) GROUP BY h \
             FORMAT TabSeparated",
            quote(database),
            quote(table),
            within("timestamp", from.into(), to.into()),
            hashes.join(",")
        )
    }

    /// How often each row is there, by its hash; a row that is not there is left out.
    ///
    /// # Errors
    /// [`SinkError::Hold`] if it is no answer to [`sql`](Self::sql).
    pub fn parse(answer: &str) -> Result<BTreeMap<u64, u64>, SinkError> {
        let pair = |line: &str| {
            let (hash, count) = line.split_once('\t')?;
            Some((hash.parse().ok()?, count.parse().ok()?))
        };
        let all: Option<BTreeMap<u64, u64>> = answer.lines().map(pair).collect();
        all.ok_or_else(|| SinkError::Hold {
            code: None,
            words: format!("cannot read the count: {answer:?}"),
            ambiguous: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_line_for_each_row_that_is_there() {
        let counts = CountQuery::parse("18446744073709551615\t2\n7\t1\n").unwrap();
        assert_eq!(counts, [(7, 1), (u64::MAX, 2)].into());
        assert!(CountQuery::parse("").unwrap().is_empty());
        for bad in ["<html>", "7", "7\tx", "-7\t1"] {
            assert!(CountQuery::parse(bad).is_err(), "{bad}");
        }
    }
}
